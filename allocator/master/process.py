"""A master as a process: what is read before it serves, and in which order it starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
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
from allocator.errors import InvalidValue
from allocator.master import recovery
from allocator.master.events import MasterInfo
from allocator.master.limits import LimitedProtocol
from allocator.master.master import Master, Options
from allocator.master.registry import Registry
from allocator.master.server import Access, Application
from allocator.master.service import Service
from allocator.version import dotted_version
from allocator.wire.acls import Acls
from allocator.wire.credentials import Credentials
from allocator.wire.log import configure_log

#: What an offer must at least have, as Mesos' masters have it by default.
MIN_ALLOCATABLE: Final = ("cpus:0.01", "mem:32")

#: How long requests under way may take to end when the master stops, in seconds.
_GRACE_SECONDS: Final = 5

_LOG = logging.getLogger("allocator.master")


class Settings(NamedTuple):
    """What the command line says; times in seconds."""

    ip: str = "127.0.0.1"
    port: int = 5050
    work_dir: Path = Path("allocator-master")
    registry: Path | None = None
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


def run(settings: Settings) -> int:
    """Run a master until SIGTERM or SIGINT, and return the exit status.

    Raises
    ------
    AllocatorError, OSError
        It cannot start: nothing listens then.
    """
    access = read_access(settings)
    tls = read_tls(settings)
    registry = open_registry(settings)
    try:
        listener = bind(settings)
    except BaseException:
        registry.close()
        raise
    configure_log()
    # What is made in a call goes with it by its references; cycles are few, and each search for
    # them looks at all that is known of tasks.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    uvloop.run(_serve(settings, access, tls, registry, listener))
    return 0


def read_access(settings: Settings) -> Access:
    """Return who is let in; raises `InvalidValue` where all would be, from anywhere."""
    credentials = None if settings.credentials is None else Credentials.read(settings.credentials)
    try:
        is_loopback = ipaddress.ip_address(settings.ip).is_loopback
    except ValueError:
        raise InvalidValue(f"--ip {settings.ip}: is no IP address") from None
    if credentials is None and not is_loopback:
        raise InvalidValue(
            f"--ip {settings.ip}: whoever reaches it could do anything; give --credentials FILE "
            "(`allocator credentials PRINCIPAL` makes its entries), or an address of loopback"
        )
    return Access(credentials, Acls() if settings.acls is None else Acls.read(settings.acls))


def read_tls(settings: Settings) -> ssl.SSLContext | None:
    """Return what encrypts connections, None if nothing does."""
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise InvalidValue("--tls-cert and --tls-key are given together")
    for path in (cert, key):
        path.open("rb").close()  # for an error that names the file
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except ssl.SSLError as error:
        raise InvalidValue(f"{cert}, {key}: {error.reason or error}") from None
    return context


def open_registry(settings: Settings) -> Registry:
    """Return the registry, in a folder that is created if need be."""
    settings.work_dir.mkdir(parents=True, exist_ok=True)
    return Registry(settings.registry or settings.work_dir / "registry.sqlite")


def bind(settings: Settings) -> socket.socket:
    """Return a socket that has its address, and does not listen yet."""
    family = socket.AF_INET6 if ":" in settings.ip else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.ip, settings.port))
        # Two may have bound the same port; only one can listen.
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"{error.strerror}: {settings.ip}:{settings.port}") from None
    return listener


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
    return Master(engine, info, settings.options)


async def _serve(
    settings: Settings,
    access: Access,
    tls: ssl.SSLContext | None,
    registry: Registry,
    listener: socket.socket,
) -> None:
    port = listener.getsockname()[1]
    master = new_master(settings, port)
    recovery.restore(master, registry)
    service = Service(
        master,
        registry,
        allocation_interval=settings.allocation_interval,
        max_streams=settings.max_streams,
    )
    application = Application(access, lambda: authority(master.info.hostname, port))
    application.lead(service)
    server = _Server(_config(settings, application, tls), service)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    scheme = "http" if tls is None else "https"
    server.ready = f"listening on {scheme}://{authority(settings.ip, port)}"
    await server.serve(sockets=[listener])


def authority(host: str, port: int) -> str:
    """Return host and port as a URL has them.

    Examples
    --------
    >>> authority("::1", 5050)
    '[::1]:5050'
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
        backlog=2048,
        timeout_keep_alive=settings.idle_timeout,  # type: ignore[arg-type]  # of call_later
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    config.load()
    config.ssl = tls
    return config


class _Server(uvicorn.Server):
    """Says on stdout when it is ready; ends the service's streams when it stops."""

    ready = ""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process: uvicorn would raise them again at the end."""
        yield

    def stop(self) -> None:
        """End as soon as what is under way has ended."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve from now on."""
        await self._service.start()
        await super().startup(sockets)
        print(self.ready, flush=True)
        _LOG.info(self.ready, extra={"fields": {"id": self._service.master.info.id}})

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, end the streams, and let requests under way end."""
        for server in self.servers:
            server.close()
        _LOG.info("stopping")
        await self._service.stop()
        await super().shutdown(sockets)
        sys.stdout.flush()
