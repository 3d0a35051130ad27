"""A master as a process: what is read before it serves, and in which order it starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import ssl
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import uvicorn
import uvloop

from allocator import Allocator
from allocator.errors import AllocatorError
from allocator.master import recovery
from allocator.master.events import MasterInfo
from allocator.master.ha import Election
from allocator.master.limits import LimitedProtocol
from allocator.master.master import Master, Options
from allocator.master.reading import Reader
from allocator.master.registry import Registry, RegistryInUse
from allocator.master.server import Access, Application
from allocator.master.service import Service
from allocator.version import dotted_version
from allocator.wire.acls import Acls
from allocator.wire.listening import bind, read_credentials, read_tls
from allocator.wire.log import configure_log
from allocator.wire.requests import authority
from allocator.wire.zookeeper import Ensemble

#: What an offer must at least have, as Mesos' masters have it by default.
MIN_ALLOCATABLE: Final = ("cpus:0.01", "mem:32")

#: How many connections may wait to be taken in.
_BACKLOG: Final = 2048

#: How long requests under way may take to end when the master stops, in seconds.
_GRACE_SECONDS: Final = 5

#: How long until a registry that is in use is tried again, in seconds.
_RETRY_SECONDS: Final = 0.5

_LOG = logging.getLogger("allocator.master")


class Settings(NamedTuple):
    """What the command line says; times in seconds."""

    ip: str = "127.0.0.1"
    port: int = 5050
    work_dir: Path = Path("allocator-master")
    registry: Path | None = None
    ha: str | None = None
    ha_session_timeout: float = 10.0
    hostname: str | None = None
    options: Options = Options()
    allocation_interval: float = 1.0
    recovery_timeout: float = 600.0
    offer_timeout: float = 0.0
    credentials: Path | None = None
    acls: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    max_streams: int = 10_000
    header_timeout: float = 10.0
    idle_timeout: float = 75.0

    def flags(self) -> dict[str, str]:
        """Return what is set, as `/state` shows it: name → text."""
        given = {name: value for name, value in self._asdict().items() if name != "options"}
        shown = {name: str(value) for name, value in given.items() if value is not None}
        return dict(sorted({**shown, **self.options.flags()}.items()))


def run(settings: Settings) -> int:
    """Run a master until SIGTERM or SIGINT, and return the exit status.

    Raises
    ------
    AllocatorError, OSError
        It cannot start: nothing listens then.
    """
    access = read_access(settings)
    tls = read_tls(settings.tls_cert, settings.tls_key)
    ensemble = None if settings.ha is None else Ensemble.read(settings.ha)
    settings.work_dir.mkdir(parents=True, exist_ok=True)
    # With others, whoever leads opens it.
    registry = open_registry(settings) if ensemble is None else None
    try:
        listener = bind(settings.ip, settings.port, _BACKLOG)
    except BaseException:
        if registry is not None:
            registry.close()
        raise
    configure_log()
    # A connection is a file; the soft limit is one for programs that use select().
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # What is made in a call goes with it by its references; cycles are few, and each search for
    # them looks at all that is known of tasks.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    return uvloop.run(_Process(settings, access, tls, listener).run(registry, ensemble))


def read_access(settings: Settings) -> Access:
    """Return who is let in; raises `InvalidValue` where all would be, from anywhere."""
    credentials = read_credentials(settings.credentials, settings.ip, "could do anything")
    return Access(credentials, Acls() if settings.acls is None else Acls.read(settings.acls))


def open_registry(settings: Settings) -> Registry:
    """Return the registry, a new one if there is none."""
    return Registry(settings.registry or settings.work_dir / "registry.sqlite")


def new_master(settings: Settings, port: int) -> Master:
    """Return a master that knows nothing yet, with an id that no other has."""
    id = str(uuid.uuid4())
    hostname = settings.hostname or settings.ip
    engine = Allocator(
        min_allocatable=MIN_ALLOCATABLE,
        allocation_interval=settings.allocation_interval,
        recovery_timeout=settings.recovery_timeout,
        offer_timeout=settings.offer_timeout or None,
        offer_prefix=f"{id}-",
    )
    info = MasterInfo(id, settings.ip, port, hostname, dotted_version())
    return Master(engine, info, settings.options, flags=settings.flags())


class _Process:
    """A master that serves, and leads: at once, or when it is elected.

    Parameters
    ----------
    settings : Settings
    access : Access
    tls : SSLContext or None
    listener : socket
    """

    def __init__(
        self,
        settings: Settings,
        access: Access,
        tls: ssl.SSLContext | None,
        listener: socket.socket,
    ) -> None:
        self._settings = settings
        self._listener = listener
        port = listener.getsockname()[1]
        self._master = new_master(settings, port)
        self._application = Application(access, self._leader, Reader(self._master))
        self._server = _Server(_config(settings, self._application, tls))
        self._scheme = "http" if tls is None else "https"
        self._server.ready = f"listening on {self._scheme}://{authority(settings.ip, port)}"
        self._election: Election | None = None

    async def run(self, registry: Registry | None, ensemble: Ensemble | None) -> int:
        """Serve until told to stop, and return the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._server.stop)
        if registry is not None:
            await self._lead(registry)
        if ensemble is None:
            await self._server.serve(sockets=[self._listener])
            return 0
        info = {**self._master.info.to_json(), "scheme": self._scheme}
        self._election = Election(ensemble, info, self._settings.ha_session_timeout)
        self._election.start()
        contending = asyncio.create_task(self._contend(self._election))
        contending.add_done_callback(lambda _: self._server.stop())
        await self._server.serve(sockets=[self._listener])
        has_failed = contending.done()
        contending.cancel()
        await asyncio.gather(contending, return_exceptions=True)
        await self._election.stop()
        return 1 if has_failed else 0

    def _leader(self) -> str | None:
        """Return where the master is that leads, if any does."""
        if self._election is None:
            return authority(self._master.info.hostname, self._master.info.port)
        leader = self._election.leader
        if leader is None:
            return None
        if leader.get("id") == self._master.info.id and self._server.service is None:
            return None  # it still reads the registry
        return authority(leader["hostname"], leader["port"])

    async def _lead(self, registry: Registry) -> None:
        """Take over what the registry knows, and answer requests from now on."""
        settings = self._settings
        recovery.restore(self._master, registry)
        self._master.elected_time = self._master.wall()
        service = Service(
            self._master,
            registry,
            allocation_interval=settings.allocation_interval,
            max_streams=settings.max_streams,
        )
        await service.start()
        self._server.service = service
        self._application.lead(service)

    async def _contend(self, election: Election) -> None:
        """Lead once elected, and until then no more; end if it cannot."""
        await election.won()
        _LOG.info("elected")
        losing = asyncio.create_task(_end_when_lost(election))
        try:
            await self._lead(await self._open_registry())
            await losing
        except (AllocatorError, OSError) as error:
            _LOG.critical("cannot lead", extra={"fields": {"reason": str(error)}})
        finally:
            losing.cancel()

    async def _open_registry(self) -> Registry:
        """Return the registry once the master that led before has left it (Z2)."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await loop.run_in_executor(None, open_registry, self._settings)
            except RegistryInUse:
                _LOG.warning("the registry is in use by the master that led before")
                await asyncio.sleep(_RETRY_SECONDS)


async def _end_when_lost(election: Election) -> None:
    """End at once when this master leads no more: nothing is acknowledged from then on."""
    await election.lost()
    _LOG.critical("not connected to ZooKeeper, and so not the leader any more")
    os._exit(1)


def _config(
    settings: Settings, application: Application, tls: ssl.SSLContext | None
) -> uvicorn.Config:
    class Protocol(LimitedProtocol):
        header_timeout = settings.header_timeout

    config = uvicorn.Config(
        application,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=settings.idle_timeout,  # type: ignore[arg-type]  # of call_later
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    config.load()
    config.ssl = tls
    return config


class _Server(uvicorn.Server):
    """Says on stdout when it is ready; ends the service's streams when it stops."""

    ready = ""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        #: What answers requests, as long as this master leads.
        self.service: Service | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process: uvicorn would raise them again at the end."""
        yield

    def stop(self) -> None:
        """End as soon as what is under way has ended."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve from now on."""
        await super().startup(sockets)
        print(self.ready, flush=True)
        _LOG.info(self.ready)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, end the streams, and let requests under way end."""
        for server in self.servers:
            server.close()
        _LOG.info("stopping")
        if self.service is not None:
            await self.service.stop()
        await super().shutdown(sockets)
        sys.stdout.flush()
