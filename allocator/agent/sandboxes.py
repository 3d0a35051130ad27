"""What a task finds when it starts, whatever runs it: its folder, environment, user, command.

WORK/agents/AGENT/frameworks/FRAMEWORK/executors/TASK/runs/CONTAINER   a task's sandbox
WORK/containers/CONTAINER                                              that of no task
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import resource
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from allocator.agent.instructions import Container
from allocator.agent.sweep import remove
from allocator.errors import AllocatorError

#: Of the agent's environment, what tasks have.
_INHERITED: Final = ("PATH", "HOME", "LANG")


class LaunchFailed(AllocatorError):
    """A container that cannot be started; the text says why."""


class Sandboxes:
    """The folders of an agent's tasks, and what is in their environment.

    Parameters
    ----------
    work_dir : Path
    environment : mapping
        Variables that all tasks have.
    """

    def __init__(self, work_dir: Path, environment: Mapping[str, str]) -> None:
        self._root = work_dir.absolute()
        self._environment = dict(environment)

    def directory(self, container: Container) -> Path:
        """Return the sandbox of a container."""
        if not container.is_of_task:
            return self._root / "containers" / container.id
        return (
            self._root
            / "agents"
            / _segment(container.agent_id)
            / "frameworks"
            / _segment(container.framework_id)
            / "executors"
            / _segment(container.executor_id)
            / "runs"
            / container.id
        )

    def make(self, container: Container, owner: Owner | None) -> Path:
        """Make the sandbox of a container, unless that was done; raises `OSError`."""
        sandbox = self.directory(container)
        sandbox.parent.mkdir(parents=True, exist_ok=True)
        try:
            sandbox.mkdir()
        except FileExistsError:
            return sandbox
        sandbox.chmod(0o750)
        if container.is_of_task:
            new = sandbox.parent / f".latest.{container.id}"
            new.symlink_to(container.id)
            new.replace(sandbox.parent / "latest")
        if owner is not None:
            os.chown(sandbox, owner.uid, owner.gid)
            for name in ("stdout", "stderr"):
                file = os.open(sandbox / name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
                os.fchown(file, owner.uid, owner.gid)
                os.close(file)
        return sandbox

    def remove(self, container: Container) -> None:
        """Remove the sandbox of a container."""
        if container.is_of_task:
            remove(self.directory(container))
        else:
            shutil.rmtree(self.directory(container), ignore_errors=True)

    def touch(self, container: Container) -> None:
        """Have the age of a sandbox count from now."""
        with contextlib.suppress(OSError):
            os.utime(self.directory(container))

    def variables(
        self, container: Container, sandbox: Path | None, inside: Mapping[str, Any] | None = None
    ) -> dict[str, str]:
        """Return the environment of a task: later ones win, and nothing else of ours is in it.

        That of a command that is run inside has more; that of a bundle, which has no sandbox in
        it and an environment of its own, less.
        """
        variables = {"MESOS_CONTAINER_ID": container.id}
        if sandbox is not None:
            variables = {name: os.environ[name] for name in _INHERITED if name in os.environ}
            variables.update(MESOS_SANDBOX=str(sandbox), MESOS_CONTAINER_ID=container.id)
        if container.is_of_task:
            variables.update(
                MESOS_FRAMEWORK_ID=container.framework_id,
                MESOS_EXECUTOR_ID=container.executor_id,
                MESOS_AGENT_ID=container.agent_id,
                MESOS_SLAVE_ID=container.agent_id,
            )
            if sandbox is not None:
                variables["MESOS_DIRECTORY"] = str(sandbox)
            if container.executor is None:
                variables["MESOS_TASK_ID"] = container.task.task_id.value
        variables.update(container.variables)
        variables.update(self._environment)
        for command in (container.task.command or {}, inside or {}):
            variables.update(command_variables(command))
        return variables


class Owner(NamedTuple):
    """Who a task is run as."""

    uid: int
    gid: int
    groups: tuple[int, ...]


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


def refuse_what_is_not_done(container: Container, allowed: str = "") -> None:
    """Refuse what a task asks for and the runtime cannot give; raises `LaunchFailed`."""
    info = container.task.container or {}
    for name in ("docker", "oci"):
        if info.get(name) is not None and name != allowed:
            raise LaunchFailed(f"container.{name} needs a runtime that this agent has not")
    mesos = info.get("mesos")
    if isinstance(mesos, dict) and mesos.get("image"):
        raise LaunchFailed("container.mesos.image needs a runtime that this agent has not")
    if info.get("volumes"):
        raise LaunchFailed("container.volumes are not mounted by this agent")


def command_variables(command: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables of a command."""
    given = (command.get("environment") or {}).get("variables") or ()
    return {variable["name"]: variable.get("value", "") for variable in given}


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


def raise_file_limit() -> int:
    """Let this process have as many open files as it may; return how many it could have before.

    Each container that runs is one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft


def _segment(id: str) -> str:
    """Return an id as the name of a folder."""
    name = quote(id, safe=" !$&'()*+,:;=@[]{}~")
    return name.replace(".", "%2E") if name in (".", "..") else name


def error_in_words(error: OSError) -> str:
    """Return what went wrong, and with what file."""
    text = error.strerror or errno.errorcode.get(error.errno or 0, "error")
    return f"{text}: {error.filename}" if error.filename else text
