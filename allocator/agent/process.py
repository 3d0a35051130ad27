"""The process runtime: a task is a process group with a sandbox folder, under an init of its own.

The init (`init.c`) outlives the agent, and writes into the notes of its container who it is and how
the task ended; so a later agent finds running tasks, and the true exit status of those that ended
meanwhile. An init is watched through a pidfd, whoever its parent is.

    WORK/agents/AGENT/frameworks/FRAMEWORK/executors/TASK/runs/CONTAINER   a sandbox
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import pwd
import resource
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from allocator.agent.checkpoint import Checkpoint
from allocator.agent.instructions import Container, Ended, Event, NotStarted, Started
from allocator.agent.runtime import Runtime
from allocator.agent.sweep import remove
from allocator.errors import AllocatorError

_LOG = logging.getLogger("allocator.agent")

_INIT: Final = Path(__file__).with_name("allocator-init")

#: What the init takes SIGUSR1 for: the end of all that is in the container.
_MAKE_END: Final = signal.SIGUSR1

#: Of the agent's environment, what tasks have.
_INHERITED: Final = ("PATH", "HOME", "LANG")

_STEPS: Final = {
    "sandbox": "its folder cannot be entered",
    "user": "its user cannot be taken on",
    "exec": "its program cannot be run",
}


class LaunchFailed(AllocatorError):
    """A container that cannot be started; the text says why."""


class _Running(NamedTuple):
    """A container that runs, by its init."""

    container: Container
    pidfd: int
    pid: int
    is_child: bool


class ProcessRuntime(Runtime):
    """Runs tasks as plain processes.

    Parameters
    ----------
    tell : callable
        As of `Runtime`.
    checkpoint : Checkpoint
        The work dir.
    environment : mapping
        Variables that all tasks have.

    Raises
    ------
    LaunchFailed
        The init was not built.
    """

    def __init__(
        self,
        tell: Callable[[list[Event]], None],
        checkpoint: Checkpoint,
        environment: Mapping[str, str],
    ) -> None:
        super().__init__(tell)
        check_init()
        self._checkpoint = checkpoint
        self._environment = dict(environment)
        self._running: dict[str, _Running] = {}
        #: Reports of inits that did not say yet whether their task runs: container id → pipe.
        self._reports: dict[str, int] = {}
        #: The limit of open files that the agent was started with, and tasks have.
        self._soft_files = raise_file_limit()

    # Starting.

    def start(self, container: Container) -> None:
        """Start the container's init."""
        try:
            self._start(container)
        except (OSError, LaunchFailed) as error:
            self._remove_sandbox(container)
            text = str(error) if isinstance(error, LaunchFailed) else _in_words(error)
            self.tell(NotStarted(container.id, f"Not started: {text}"))

    def _start(self, container: Container) -> None:
        refuse_what_is_not_done(container)
        owner = find_owner(container)
        sandbox = self._make_sandbox(container, owner)
        program, argv = command_line(container.task.command or {})
        read_end, write_end = os.pipe()
        try:
            pid = self._spawn(container, sandbox, owner, [program, *argv], write_end)
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self._watch(container, pid, is_child=True)
        os.set_blocking(read_end, False)
        self._reports[container.id] = read_end
        asyncio.get_running_loop().add_reader(read_end, self._reported, container.id)

    def _spawn(
        self,
        container: Container,
        sandbox: Path,
        owner: Owner | None,
        command: list[str],
        report: int,
    ) -> int:
        """Start the init, without a copy of this process on the way."""
        notes = str(self._checkpoint.folder(container.id))
        given = [notes, str(sandbox), "-" if owner is None else owner.text, str(self._soft_files)]
        output = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        return os.posix_spawn(
            _INIT,
            [_INIT.name, *given, *command],
            self._variables(container, sandbox),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(sandbox / "stdout"), output, 0o640),
                (os.POSIX_SPAWN_OPEN, 2, str(sandbox / "stderr"), output, 0o640),
                (os.POSIX_SPAWN_DUP2, report, 3),
            ],
            setsid=True,
        )

    def _variables(self, container: Container, sandbox: Path) -> dict[str, str]:
        """Return the environment of a task: later ones win, and nothing else of ours is in it."""
        variables = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        variables.update(
            MESOS_SANDBOX=str(sandbox),
            MESOS_CONTAINER_ID=container.id,
            MESOS_FRAMEWORK_ID=container.framework_id,
            MESOS_EXECUTOR_ID=container.executor_id,
            MESOS_AGENT_ID=container.agent_id,
            MESOS_SLAVE_ID=container.agent_id,
            MESOS_TASK_ID=container.task.task_id.value,
            MESOS_DIRECTORY=str(sandbox),
        )
        variables.update(self._environment)
        command = container.task.command or {}
        for variable in (command.get("environment") or {}).get("variables") or ():
            variables[variable["name"]] = variable.get("value", "")
        return variables

    def _reported(self, container_id: str) -> None:
        """Take in what an init says of its start; nothing, if it ended before it could."""
        file = self._reports.pop(container_id)
        asyncio.get_running_loop().remove_reader(file)
        text = os.read(file, 512).decode("ascii", "replace")
        os.close(file)
        if text == "R":
            self.tell(Started(container_id))

    # Watching.

    def _watch(self, container: Container, pid: int, *, is_child: bool) -> None:
        pidfd = os.pidfd_open(pid)
        self._running[container.id] = _Running(container, pidfd, pid, is_child)
        asyncio.get_running_loop().add_reader(pidfd, self._init_ended, container.id)

    def _init_ended(self, container_id: str) -> None:
        if container_id in self._reports:
            self._reported(container_id)  # it came before the end
        running = self._running.pop(container_id)
        with contextlib.suppress(OSError):
            os.utime(self.directory(running.container))  # its age counts from here
        asyncio.get_running_loop().remove_reader(running.pidfd)
        os.close(running.pidfd)
        if running.is_child:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(running.pid, 0)
        self.tell(self._end_of(running.container))

    def _end_of(self, container: Container) -> Event:
        """Return how a container ended whose init has ended."""
        try:
            text = (self._checkpoint.folder(container.id) / "status").read_text("ascii")
        except (OSError, UnicodeDecodeError):
            text = ""
        kind, *words = text.split() or [""]
        if kind == "F" and len(words) == 2 and words[1].isdigit():
            self._remove_sandbox(container)
            why = _STEPS.get(words[0], words[0])
            return NotStarted(container.id, f"Not started: {why}: {os.strerror(int(words[1]))}")
        return Ended(container.id, int(kind) if kind.isdigit() else None)

    # Ending.

    def ask_to_end(self, container_id: str) -> None:
        """Send SIGTERM to the task's process group, by its init."""
        self._signal(container_id, signal.SIGTERM)

    def make_end(self, container_id: str) -> None:
        """Have the init kill all."""
        self._signal(container_id, _MAKE_END)

    def _signal(self, container_id: str, number: int) -> None:
        running = self._running.get(container_id)
        if running is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(running.pidfd, number)

    # After a restart.

    def recover(self, container: Container) -> bool:
        """Find a container's init again, or what it left."""
        pid = self._known_init(container.id)
        if pid is None:
            self._remove_sandbox(container)
            text = "Not started: the agent ended before"
            self.tell(NotStarted(container.id, text))
            return False
        if pid:
            with contextlib.suppress(ProcessLookupError):
                self._watch(container, pid, is_child=False)
        event = self._end_of(container) if container.id not in self._running else None
        if not isinstance(event, NotStarted):
            self.tell(Started(container.id))
        if event is not None:
            self.tell(event)
        return True

    def abandon(self, container_id: str) -> None:
        """Kill the init that has these notes; its task dies with it."""
        pid = self._known_init(container_id)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _known_init(self, container_id: str) -> int | None:
        """Return the process of a container's init, 0 if it has ended; None if there never was one.

        There will never be one then: whichever is first to make the file has it.
        """
        file = self._checkpoint.folder(container_id) / "init"
        with contextlib.suppress(FileExistsError):
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            return None
        words = file.read_text("ascii", "replace").split()
        if len(words) != 3:
            return None  # ours, of a former recovery
        pid, start_time, boot_id = words
        is_it = boot_id == read_boot_id() and start_time == start_time_of(pid)
        return int(pid) if is_it else 0

    def close(self) -> None:
        """Watch nothing any more; containers go on."""
        super().close()
        loop = asyncio.get_running_loop()
        for file in (*self._reports.values(), *(each.pidfd for each in self._running.values())):
            loop.remove_reader(file)
            os.close(file)
        self._reports.clear()
        self._running.clear()

    # Sandboxes.

    def directory(self, container: Container) -> Path:
        """Return the sandbox of a container."""
        return (
            self._checkpoint.work_dir.absolute()
            / "agents"
            / _segment(container.agent_id)
            / "frameworks"
            / _segment(container.framework_id)
            / "executors"
            / _segment(container.executor_id)
            / "runs"
            / container.id
        )

    def _make_sandbox(self, container: Container, owner: Owner | None) -> Path:
        sandbox = self.directory(container)
        sandbox.parent.mkdir(parents=True, exist_ok=True)
        sandbox.mkdir()
        sandbox.chmod(0o750)
        latest = sandbox.parent / "latest"
        new = sandbox.parent / f".latest.{container.id}"
        new.symlink_to(container.id)
        new.replace(latest)
        if owner is not None:
            os.chown(sandbox, owner.uid, owner.gid)
            for name in ("stdout", "stderr"):
                file = os.open(sandbox / name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
                os.fchown(file, owner.uid, owner.gid)
                os.close(file)
        return sandbox

    def _remove_sandbox(self, container: Container) -> None:
        remove(self.directory(container))

    def forget(self, container_id: str) -> None:
        """Sandboxes stay for people to look at."""


class Owner(NamedTuple):
    """Who a task is run as."""

    uid: int
    gid: int
    groups: tuple[int, ...]

    @property
    def text(self) -> str:
        """As the init reads it."""
        groups = ",".join(str(group) for group in self.groups)
        return f"{self.uid}:{self.gid}:{groups}" if groups else f"{self.uid}:{self.gid}"


def find_owner(container: Container) -> Owner | None:
    """Return who a task is to be run as; None: whoever runs the agent.

    That is the command's user, else the framework's, if this machine knows such a one. An agent
    that is not root runs everything as itself.

    Raises
    ------
    LaunchFailed
        The command names a user that there is not, or that the agent cannot become.
    """
    named = (container.task.command or {}).get("user")
    try:
        entry = pwd.getpwnam(container.user) if container.user else None
    except KeyError:
        entry = None
    if named and entry is None:
        raise LaunchFailed(f"there is no user {named!r} on this machine")
    if entry is None or entry.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        if named:
            raise LaunchFailed(f"the agent is not root, and cannot become {named!r}")
        return None
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return Owner(entry.pw_uid, entry.pw_gid, tuple(groups))


def refuse_what_is_not_done(container: Container) -> None:
    """Refuse what a task asks for and plain processes cannot give; raises `LaunchFailed`."""
    command, info = container.task.command or {}, container.task.container or {}
    if command.get("uris"):
        raise LaunchFailed("command.uris are not fetched by this agent")
    for name in ("docker", "oci"):
        if info.get(name):
            raise LaunchFailed(f"container.{name} needs another runtime than process")
    if (info.get("mesos") or {}).get("image"):
        raise LaunchFailed("container.mesos.image needs another runtime than process")


def command_line(command: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the program of a command, and its argv.

    Examples
    --------
    >>> command_line({"value": "echo $HOME"})
    ('/bin/sh', ['sh', '-c', 'echo $HOME'])
    >>> command_line({"shell": False, "value": "echo", "arguments": ["echo", "x"]})
    ('echo', ['echo', 'x'])
    """
    value = command["value"]
    if command.get("shell", True):
        return "/bin/sh", ["sh", "-c", value]
    return value, list(command.get("arguments") or [value])


def check_init() -> None:
    """Refuse to run without the init, saying how to build it; raises `LaunchFailed`."""
    if not os.access(_INIT, os.X_OK):
        raise LaunchFailed(f"{_INIT} is missing; build it with `python setup.py build_ext -i`")


def raise_file_limit() -> int:
    """Let this process have as many open files as it may; return how many it could have before.

    Each container that runs is one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft


def read_boot_id() -> str:
    """Return what tells this run of the machine from others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def start_time_of(pid: str) -> str | None:
    """Return when a process was started, in ticks since the machine was; None if there is none."""
    try:
        stat = Path("/proc", pid, "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    return stat[stat.rindex(")") + 2 :].split()[19]


def _segment(id: str) -> str:
    """Return an id as the name of a folder."""
    name = quote(id, safe=" !$&'()*+,:;=@[]{}~")
    return name.replace(".", "%2E") if name in (".", "..") else name


def _in_words(error: OSError) -> str:
    text = error.strerror or errno.errorcode.get(error.errno or 0, "error")
    return f"{text}: {error.filename}" if error.filename else text
