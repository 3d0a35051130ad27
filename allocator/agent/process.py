"""The process runtime: a task is a process group with a sandbox folder, under an init of its own.

The init (`init.c`) outlives the agent, and writes into the notes of its container who it is and how
the task ended; so a later agent finds running tasks, and the true exit status of those that ended
meanwhile. An init is watched through a pidfd, whoever its parent is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from allocator.agent import processes
from allocator.agent.checkpoint import Checkpoint
from allocator.agent.containers import protocol
from allocator.agent.instructions import Container, Ended, Event, Limitation, NotStarted, Started
from allocator.agent.limits import Options, amounts, given_limits
from allocator.agent.runtime import Runtime
from allocator.agent.sandboxes import (
    LaunchFailed,
    Owner,
    Sandboxes,
    command_line,
    error_in_words,
    find_owner,
    raise_file_limit,
    refuse_what_is_not_done,
)

_LOG = logging.getLogger("allocator.agent")

_INIT: Final = Path(__file__).with_name("allocator-init")

#: What the init takes SIGUSR1 for: the end of all that is in the container.
_MAKE_END: Final = signal.SIGUSR1

_STEPS: Final = {
    "sandbox": "its folder cannot be entered",
    "user": "its user cannot be taken on",
    "exec": "its program cannot be run",
}


class _Running(NamedTuple):
    """A container that runs, by its init."""

    container: Container
    pidfd: int
    pid: int
    is_child: bool
    #: The most that was ever read, of the user and of the system: what is shown never falls.
    seconds: list[float]


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
        self._sandboxes = Sandboxes(checkpoint.work_dir, environment)
        self._running: dict[str, _Running] = {}
        #: Reports of inits that did not say yet whether their task runs: container id → pipe.
        self._reports: dict[str, int] = {}
        #: Those that are being ended for a limit.
        self._limitations: dict[str, Limitation] = {}
        #: The limit of open files that the agent was started with, and tasks have.
        self._soft_files = raise_file_limit()

    # Starting.

    def start(self, container: Container) -> None:
        """Start the container's init."""
        try:
            self._start(container)
        except (OSError, LaunchFailed) as error:
            self._sandboxes.remove(container)
            text = str(error) if isinstance(error, LaunchFailed) else error_in_words(error)
            self.tell(NotStarted(container.id, f"Not started: {text}"))

    def _start(self, container: Container) -> None:
        refuse_what_is_not_done(container)
        owner = find_owner(container)
        sandbox = self._sandboxes.make(container, owner)
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
            self._sandboxes.variables(container, sandbox),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(sandbox / "stdout"), output, 0o640),
                (os.POSIX_SPAWN_OPEN, 2, str(sandbox / "stderr"), output, 0o640),
                (os.POSIX_SPAWN_DUP2, report, 3),
            ],
            setsid=True,
        )

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
        self._running[container.id] = _Running(container, pidfd, pid, is_child, [0.0, 0.0])
        asyncio.get_running_loop().add_reader(pidfd, self._init_ended, container.id)

    def _init_ended(self, container_id: str) -> None:
        if container_id in self._reports:
            self._reported(container_id)  # it came before the end
        running = self._running.pop(container_id)
        self._sandboxes.touch(running.container)
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
            self._sandboxes.remove(container)
            why = _STEPS.get(words[0], words[0])
            return NotStarted(container.id, f"Not started: {why}: {os.strerror(int(words[1]))}")
        limitation = self._limitations.pop(container.id, None)
        return Ended(container.id, int(kind) if kind.isdigit() else None, limitation)

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

    def limit(self, container_id: str, limitation: Limitation) -> None:
        """Have the init kill all."""
        if container_id in self._running:
            self._limitations.setdefault(container_id, limitation)
            self.make_end(container_id)

    def signal(self, container_id: str, number: int) -> None:
        """Send a signal to the program alone."""
        running = self._running.get(container_id)
        if running is None:
            return
        program = processes.first_child(running.pid)
        if program is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(program, number)

    async def run_inside(self, container: Container, command: Mapping[str, Any]) -> int:
        """Run a command in its sandbox, as its user; what it writes is not kept."""
        sandbox = self._sandboxes.directory(container)
        program, arguments = command_line(command)
        owner = find_owner(container)
        identity: dict[str, Any] = {}
        if owner is not None:
            identity = {"user": owner.uid, "group": owner.gid, "extra_groups": owner.groups}
        process = await asyncio.create_subprocess_exec(
            *arguments,
            executable=program,
            env=self._sandboxes.variables(container, sandbox, command),
            cwd=sandbox,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            umask=0o022,
            **identity,
        )
        try:
            code = await process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        return code << 8 if code >= 0 else -code

    # What is known.

    def pid(self, container_id: str) -> int | None:
        """Return the pid of a container's init; None if it has ended."""
        running = self._running.get(container_id)
        return None if running is None else running.pid

    def statistics(self, container_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return what containers use, by id. O(processes of the machine)."""
        found = {}
        table = processes.read()
        for id in container_ids:
            running = self._running.get(id)
            usage = None if running is None else processes.usage(table, running.pid)
            if running is None or usage is None or id in self._reports:
                continue
            task = running.container.task
            limits = amounts(task.resources or [], given_limits(task), Options())
            running.seconds[:] = map(max, running.seconds, (usage.user, usage.system))
            user, system = running.seconds
            found[id] = processes.statistics(usage._replace(user=user, system=system), limits)
        return found

    # After a restart.

    def prepare(self, container: Container) -> tuple[Path, Owner | None]:
        """Make its sandbox."""
        owner = find_owner(container)
        return self._sandboxes.make(container, owner), owner

    def discard(self, container: Container) -> None:
        """Remove its sandbox."""
        self._sandboxes.remove(container)

    def recover(self, container: Container) -> bool:
        """Find a container's init again, or what it left."""
        pid = self._known_init(container.id)
        if pid is None:
            self._sandboxes.remove(container)
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
        if not pid.isdecimal() or boot_id != read_boot_id():
            return 0
        return int(pid) if start_time == str(protocol.start_time(int(pid))) else 0

    def close(self) -> None:
        """Watch nothing any more; containers go on."""
        super().close()
        loop = asyncio.get_running_loop()
        for file in (*self._reports.values(), *(each.pidfd for each in self._running.values())):
            loop.remove_reader(file)
            os.close(file)
        self._reports.clear()
        self._running.clear()

    def directory(self, container: Container) -> Path:
        """Return the sandbox of a container."""
        return self._sandboxes.directory(container)

    def forget(self, container_id: str) -> None:
        """Sandboxes stay for people to look at."""


def check_init() -> None:
    """Refuse to run without the init, saying how to build it; raises `LaunchFailed`."""
    if not os.access(_INIT, os.X_OK):
        raise LaunchFailed(f"{_INIT} is missing; build it with `python setup.py build_ext -i`")


def read_boot_id() -> str:
    """Return what tells this run of the machine from others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""
