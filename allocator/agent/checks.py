"""Which tasks an agent can run at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from allocator.agent.containers import protocol
from allocator.errors import AllocatorError, shown
from allocator.wire.messages import TaskInfo

#: What the kernel takes.
_MAX_HOSTNAME: Final = 64


class TaskInvalid(AllocatorError):
    """A task that cannot be run; the text says why."""


def check_task(info: TaskInfo, executor: Mapping[str, Any] | None) -> None:
    """Refuse a task that no agent of this kind can run.

    Parameters
    ----------
    info : TaskInfo
    executor : mapping or None
        That of its group; None for a task that is launched alone.

    Raises
    ------
    TaskInvalid
    """
    id = info.task_id.value
    if info.executor is not None:
        raise TaskInvalid(f"task {id!r} has an executor; this agent runs commands alone")
    if executor is not None and executor.get("type", "DEFAULT") != "DEFAULT":
        raise TaskInvalid(f"the executor of a group is of type DEFAULT, not {executor['type']!r}")
    if info.command is None:
        raise TaskInvalid(f"task {id!r} has neither a command nor an executor")
    check_container(f"task {id!r}", info.container)
    check_command(f"task {id!r}", info.command, is_optional=has_bundle(info.container))


def has_bundle(info: Mapping[str, Any] | None) -> bool:
    """Tell whether a ContainerInfo names what says itself what it runs."""
    image = (info or {}).get("oci")
    return isinstance(image, dict) and image.get("bundle") is not None


def check_command(whose: str, command: object, *, is_optional: bool = False) -> None:
    """Refuse a command that cannot be run; raises `TaskInvalid`.

    Where it is optional, it need not say what to run.
    """
    if not isinstance(command, Mapping):
        raise TaskInvalid(f"the command of {whose} is {shown(command)}, which is no object")
    value = command.get("value")
    if value is None and is_optional:
        value = "-"
    if not isinstance(value, str) or not value or "\0" in value:
        raise TaskInvalid(f"the command of {whose} has no value that is text")
    if not isinstance(command.get("shell", True), bool):
        raise TaskInvalid(f"command.shell of {whose} is true or false")
    if command.get("user") is not None and not _is_text(command["user"]):
        raise TaskInvalid(f"command.user of {whose} is {shown(command['user'])}, which is no name")
    arguments = command.get("arguments") or []
    if not isinstance(arguments, list) or not all(_is_text(each) for each in arguments):
        raise TaskInvalid(f"command.arguments of {whose} are texts")
    environment = command.get("environment")
    if environment is None:
        return
    if not isinstance(environment, dict):
        raise TaskInvalid(f"command.environment of {whose} has variables")
    check_variables(whose, environment.get("variables") or [])


def check_container(whose: str, info: Mapping[str, Any] | None) -> None:
    """Refuse a ContainerInfo that makes no sense; raises `TaskInvalid`."""
    given = info or {}
    hostname = given.get("hostname")
    if hostname is not None and (not _is_text(hostname) or len(hostname.encode()) > _MAX_HOSTNAME):
        raise TaskInvalid(f"container.hostname of {whose} is {shown(hostname)}, which is no name")
    limits = given.get("rlimit_info")
    rlimits = limits.get("rlimits") if isinstance(limits, dict) else limits
    if rlimits is None:
        return
    if not isinstance(limits, dict) or not isinstance(rlimits, list):
        raise TaskInvalid(f"container.rlimit_info of {whose} has rlimits, which are a list")
    for each in rlimits:
        if not isinstance(each, dict) or not _is_limit(each):
            raise TaskInvalid(f"container.rlimit_info of {whose}: {shown(each)} is no limit")


def _is_limit(limit: dict[str, Any]) -> bool:
    """Tell whether something is a limit: of a known type, with both ends or none."""
    ends = [limit.get(name) for name in ("soft", "hard")]
    are_numbers = all(type(end) is int and 0 <= end < 2**64 for end in ends)
    is_known = protocol.rlimit(str(limit.get("type"))) is not None
    return is_known and (are_numbers or ends == [None, None])


def check_variables(whose: str, variables: Any) -> None:
    """Refuse variables of an environment that cannot be set; raises `TaskInvalid`."""
    if not isinstance(variables, list):
        raise TaskInvalid(f"the variables of {whose} are a list")
    seen = set()
    for variable in variables:
        name = variable.get("name") if isinstance(variable, dict) else None
        if not _is_text(name) or not name or "=" in name or name in seen:
            raise TaskInvalid(f"{whose} has a variable {shown(name)}, which is no name, or two")
        if variable.get("type", "VALUE") != "VALUE":
            raise TaskInvalid(f"variable {name} of {whose} is a {variable['type']}, not a VALUE")
        if not _is_text(variable.get("value")):
            raise TaskInvalid(f"variable {name} of {whose} has no value that is text")
        seen.add(name)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value
