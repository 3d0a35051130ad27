"""An agent as a process: what is read before it registers, how it starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from allocator.agent import detect, executor_api, listing, operator
from allocator.agent.agent import Agent
from allocator.agent.checkpoint import Checkpoint
from allocator.agent.containers import cgroups, oci
from allocator.agent.containers.cgroups import NoCgroups, Root
from allocator.agent.containers.oci import Oci
from allocator.agent.discovery import Discovery, discovery
from allocator.agent.executors import Timeouts, shutdown_seconds
from allocator.agent.files import Files
from allocator.agent.instructions import Container, Event
from allocator.agent.limits import Options
from allocator.agent.null import NullRuntime
from allocator.agent.runtime import Runtime
from allocator.agent.server import Access, Protocol, Routes
from allocator.agent.service import Service
from allocator.agent.state import Facts
from allocator.agent.sweep import sweep_for_ever
from allocator.agent.tokens import Tokens
from allocator.agent.watch import WatchOptions
from allocator.errors import InvalidValue
from allocator.resources import Resources
from allocator.version import dotted_version
from allocator.wire import messages as m
from allocator.wire.acls import Acls
from allocator.wire.credentials import own_headers
from allocator.wire.listening import bind, read_credentials, read_tls
from allocator.wire.log import configure_log
from allocator.wire.requests import authority

_LOG = logging.getLogger("allocator.agent")

#: How many connections may wait to be taken in.
_BACKLOG: Final = 128

#: How long tasks may take to end when the agent leaves for good, in seconds, beyond their grace.
_LEAVE_SECONDS: Final = 10.0

_TOKEN_VARIABLE: Final = "MESOS_EXECUTOR_AUTHENTICATION_TOKEN"

_CAPABILITIES: Final = ("MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT")


class Settings(NamedTuple):
    """What the command line says."""

    #: None: it runs what is launched at itself.
    master: str | None
    #: None: linux for root, else process.
    runtime: str | None = None
    n_agents: int = 1
    resources: str | None = None
    attributes: str | None = None
    hostname: str | None = None
    ip: str = "127.0.0.1"
    port: int = 5051
    work_dir: Path | None = None
    credential: Path | None = None
    credentials: Path | None = None
    acls: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    executor_environment: Mapping[str, str] = {}
    executor_registration_timeout: float = 60.0
    recovery_timeout: float = 900.0
    gc_delay: float = 604800.0
    cgroups_root: str = "allocator"
    cgroups_hierarchy: Path = Path("/sys/fs/cgroup")
    pids_limit: int = 1024
    cgroups_enable_cfs: bool = True
    cgroups_limit_swap: bool = False
    container_disk_watch_interval: float = 15.0
    enforce_container_disk_quota: bool = True
    log_size: int = 10 * 2**20
    log_keep: int = 9
    fetch_limit: int = 2**32
    #: None: the first of those that are known which works.
    oci_runtime: str | None = None
    oci_roots: Sequence[Path] = ()
    flags: Mapping[str, str] = {}


def in_seconds(seconds: float) -> str:
    """Return a time as Mesos writes it.

    Examples
    --------
    >>> in_seconds(900.0), in_seconds(0.5)
    ('900secs', '0.5secs')
    """
    return f"{int(seconds) if seconds.is_integer() else seconds}secs"


def default_work_dir() -> Path:
    """Return where an agent keeps what it knows, if nothing is said."""
    if os.geteuid() == 0:
        return Path("/var/lib/allocator/agent")
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "allocator" / "agent"


def run(settings: Settings) -> int:
    """Run an agent, or many, until told to stop, and return the exit status.

    Raises
    ------
    AllocatorError, OSError
        It cannot start: nothing listens then.
    """
    if settings.runtime is None:
        kind = "linux" if os.geteuid() == 0 else "process"
        settings = settings._replace(runtime=kind, flags={"runtime": kind, **settings.flags})
    find = None if settings.master is None else discovery(settings.master)
    headers = own_headers(settings.credential)
    acls = None if settings.acls is None else Acls.read(settings.acls)
    credentials = read_credentials(settings.credentials, settings.ip, "could read all")
    access = Access(credentials, acls)
    tls = read_tls(settings.tls_cert, settings.tls_key)
    is_null = settings.runtime == "null"
    folder = settings.work_dir or (None if is_null else default_work_dir())
    resources = detect.resources(settings.resources, folder or Path.cwd())
    attributes = detect.attributes(settings.attributes)
    with contextlib.ExitStack() as stack:
        checkpoint = None
        if folder is not None:
            checkpoint = Checkpoint(folder)
            stack.callback(checkpoint.close)
        listener = bind(settings.ip, settings.port, _BACKLOG)
        stack.callback(listener.close)
        configure_log()
        root = None
        if settings.runtime in ("linux", "oci"):
            root = find_root(settings)
            stack.callback(root.close)
        runtime = None
        if settings.runtime == "oci" and checkpoint is not None and root is not None:
            state = checkpoint.containers.with_name("oci").absolute()
            check_folders("--oci-root", settings.oci_roots)
            runtime = oci.find(settings.oci_runtime, state, root.name)
        link = None if find is None else (find, headers)
        process = _Process(settings, link, access, tls, checkpoint, listener, root, runtime)
        asyncio.run(process.run(resources, attributes))
    return 0


def find_root(settings: Settings) -> Root:
    """Return where containers' cgroups are; raises `AllocatorError` if there can be none."""
    if os.geteuid() != 0:
        raise NoCgroups(f"--runtime {settings.runtime}: needs root; `--runtime process` does not")
    return Root(cgroups.find(settings.cgroups_hierarchy), settings.cgroups_root)


def check_folders(option: str, folders: Sequence[Path]) -> None:
    """Refuse what is no folder; raises `InvalidValue`."""
    for folder in folders:
        if not folder.is_dir():
            raise InvalidValue(f"{option} {folder}: is no folder")


class _Process:
    """One process: its agents, its server and its connection to the master."""

    def __init__(
        self,
        settings: Settings,
        link: tuple[Discovery, Mapping[str, str]] | None,
        access: Access,
        tls: ssl.SSLContext | None,
        checkpoint: Checkpoint | None,
        listener: socket.socket,
        root: Root | None,
        runtime: Oci | None,
    ) -> None:
        self._settings = settings
        self._link = link
        if access.credentials is not None and checkpoint is not None:
            access = access._replace(tokens=Tokens(checkpoint.key()))
        self._access = access
        self._tls = tls
        self._checkpoint = checkpoint
        self._listener = listener
        self._root = root
        self._oci = runtime
        self._port: int = listener.getsockname()[1]

    async def run(self, resources: Resources, attributes: list[dict[str, object]]) -> None:
        """Recover, serve and register until a signal comes, or the master wants no agent of it."""
        loop = asyncio.get_running_loop()
        stop, leave = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGUSR1, leave.set)
        service = self._service(resources, attributes)
        routes, ready = self._routes(service), asyncio.Event()
        access = self._access._replace(ready=ready)
        server = await loop.create_server(
            lambda: Protocol(routes, access), sock=self._listener, ssl=self._tls
        )
        service.recover()
        await service.runtime.recovered()
        ready.set()
        waits: list[asyncio.Task[object]] = [
            loop.create_task(event.wait()) for event in (stop, leave, service.left)
        ]
        sweeping = loop.create_task(self._sweep(service))
        waits.append(loop.create_task(service.watch.run()))
        if self._link is not None:
            waits.append(loop.create_task(service.connect(*self._link).run()))
        scheme = "http" if self._tls is None else "https"
        print(f"listening on {scheme}://{self._authority}", flush=True)
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # a defect of the link: raises it
        if leave.is_set():
            await self._leave(service)
        _LOG.info("stopping")
        for task in (*waits, sweeping):
            task.cancel()
        await asyncio.gather(*waits, sweeping, return_exceptions=True)
        server.close()
        service.close()
        if self._link is not None:
            self._link[0].close()

    def _routes(self, service: Service) -> Routes:
        id = "standalone" if self._link is None else None
        facts = Facts(service, f"agent@{self._authority}", self._settings.flags, id)
        files = Files(None if self._checkpoint is None else self._checkpoint.work_dir)
        return {
            **facts.routes(),
            **listing.routes(service),
            **files.routes(),
            **operator.routes(service, facts, files),
            **executor_api.routes(service, self._access.tokens),
        }

    @property
    def _authority(self) -> str:
        return authority(self._settings.ip, self._port)

    async def _sweep(self, service: Service) -> None:
        if self._checkpoint is not None:
            work_dir, delay = self._checkpoint.work_dir, self._settings.gc_delay
            await sweep_for_ever(work_dir, delay, service.has_container)

    async def _leave(self, service: Service) -> None:
        """Unregister, and end all tasks and containers."""
        if service.link is not None:
            await service.link.unregister()
        service.shut_down("It was told to leave")
        grace = max((agent.grace() for agent in service.all_agents), default=0.0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace + _LEAVE_SECONDS):
                await service.left.wait()
                while service.containers:
                    await asyncio.sleep(0.01)

    def _service(self, resources: Resources, attributes: list[dict[str, object]]) -> Service:
        settings = self._settings
        ids = self._checkpoint.ids() if self._checkpoint is not None else []
        agents = []
        for number in range(settings.n_agents):
            id = ids[number] if number < len(ids) else ""
            agents.append(self._agent(number, id, resources, attributes))
        watching = WatchOptions(
            settings.container_disk_watch_interval,
            settings.enforce_container_disk_quota,
            settings.log_size,
            settings.log_keep,
            settings.fetch_limit,
        )
        keeps_tasks = settings.runtime != "null"
        return Service(
            agents,
            self._runtime(),
            self._checkpoint,
            keeps_tasks=keeps_tasks,
            watching=watching,
            executor_variables=self._executor_variables,
        )

    def _executor_variables(self, container: Container) -> dict[str, str]:
        """Return what an executor finds in its environment besides what a task does."""
        info = container.executor
        assert info is not None
        tokens, settings = self._access.tokens, self._settings
        # From its own machine, whichever addresses the agent listens on.
        ip = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.ip, settings.ip)
        proof = {} if tokens is None else {_TOKEN_VARIABLE: tokens.token(container.id)}
        return {
            "MESOS_AGENT_ENDPOINT": authority(ip, self._port),
            "MESOS_SLAVE_PID": f"agent@{self._authority}",
            # Whatever its framework says: all that runs outlives the agent.
            "MESOS_CHECKPOINT": "1",
            "MESOS_RECOVERY_TIMEOUT": in_seconds(settings.recovery_timeout),
            "MESOS_SUBSCRIPTION_BACKOFF_MAX": "2secs",
            "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": in_seconds(shutdown_seconds(info)),
            **proof,
        }

    def _agent(
        self, number: int, id: str, resources: Resources, attributes: list[dict[str, object]]
    ) -> Agent:
        settings = self._settings
        hostname = settings.hostname or socket.gethostname()
        pid = f"agent@{self._authority}"
        if settings.runtime == "null":
            hostname = f"{hostname}-{number}"
            pid = f"agent({number})@{self._authority}"
        info = m.AgentInfo(
            hostname=hostname,
            port=self._port,
            id=m.Value(value=id) if id else None,
            resources=resources.to_json(),
            attributes=attributes or None,
            capabilities=[m.Capability(type=name) for name in _CAPABILITIES],
        )
        return Agent(
            info,
            version=dotted_version(),
            pid=pid,
            wall=time.time,
            timeouts=Timeouts(settings.executor_registration_timeout, settings.recovery_timeout),
            runs_nothing=settings.runtime == "null",
        )

    def _runtime(self) -> Callable[[Callable[[list[Event]], None]], Runtime]:
        if self._settings.runtime == "null":
            return NullRuntime
        assert self._checkpoint is not None
        checkpoint, environment = self._checkpoint, self._settings.executor_environment
        if self._root is None:
            from allocator.agent.process import ProcessRuntime

            return lambda tell: ProcessRuntime(tell, checkpoint, environment)
        from allocator.agent.linux import LinuxRuntime

        root, settings = self._root, self._settings
        options = Options(
            settings.pids_limit, settings.cgroups_enable_cfs, settings.cgroups_limit_swap
        )
        if self._oci is None:
            return lambda tell: LinuxRuntime(tell, checkpoint, environment, root, options)
        from allocator.agent.oci import OciRuntime

        runtime, roots = self._oci, settings.oci_roots
        return lambda tell: OciRuntime(tell, checkpoint, environment, root, options, runtime, roots)
