"""A task of an agent, and what has to be known of it after a restart."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from allocator.agent.instructions import Container
from allocator.wire import messages as m

#: How long a task may take to end where nothing is said, in seconds.
GRACE_SECONDS: Final = 3.0

#: After which nothing comes.
TERMINAL: Final = frozenset(
    {"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR"}
    | {"TASK_LOST", "TASK_DROPPED", "TASK_GONE"}
)


class Task:
    """A task, and the container that it runs in.

    One of an executor has no container of its own: it runs in the executor's, and under the id of
    its `container` there are only its notes.
    """

    __slots__ = (
        "check_status",
        "container",
        "framework_info",
        "grace",
        "group",
        "has_expired",
        "has_started",
        "healthy",
        "history",
        "is_grouped",
        "is_running",
        "is_sent",
        "is_unwanted",
        "killed",
        "role",
        "runs_in",
        "state",
        "uuids",
        "waiting",
    )

    def __init__(
        self,
        container: Container,
        framework_info: m.FrameworkInfo | None,
        role: str,
        runs_in: str | None = None,
    ) -> None:
        self.container = container
        self.framework_info = framework_info
        self.role = role
        #: The id of the executor's container; None: it has one of its own.
        self.runs_in = runs_in
        self.state = "TASK_STAGING"
        #: The others that are launched with it, all or none, and it.
        self.group: tuple[Task, ...] = (self,)
        #: Whether an executor is to be told of its whole group at once.
        self.is_grouped = False
        #: Whether the runtime has been told to start it and has not told its end; of an executor's,
        #: whether it has not ended.
        self.is_running = False
        #: Whether the runtime told that it was started.
        self.has_started = False
        #: Whether its executor was told of it.
        self.is_sent = False
        #: Why it is being ended; None while nobody wants that.
        self.killed: str | None = None
        #: Whether it has taken all the time that it may.
        self.has_expired = False
        #: What its health check found last, and its check.
        self.healthy: bool | None = None
        self.check_status = nothing_found(container.task.check)
        #: How long it may take to end, in seconds.
        self.grace = grace_seconds(container.task.kill_policy)
        #: Its framework was removed: nobody wants to hear of it.
        self.is_unwanted = False
        #: The first status of each state.
        self.history: dict[str, m.TaskStatus] = {}
        #: Statuses that were not acknowledged (E2).
        self.waiting: deque[m.TaskStatus] = deque()
        #: Those of the last statuses of an executor, which may say one twice; None of a command.
        self.uuids: deque[str] | None = None if runs_in is None else deque(maxlen=MAX_WAITING)

    @property
    def info(self) -> m.TaskInfo:
        """What was launched."""
        return self.container.task

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from all others of the agent."""
        return (self.container.framework_id, self.container.task.task_id.value)

    @property
    def container_id(self) -> str:
        """The container that it runs in."""
        return self.runs_in or self.container.id


#: How many statuses of one task are kept for a framework that does not acknowledge them.
MAX_WAITING: Final = 1000


class LaunchEntry(m.Message, kw_only=True):
    """The first note of a task: what was launched, and for whom."""

    framework_id: str
    framework_info: m.FrameworkInfo | None = None
    role: str
    task: m.TaskInfo
    #: The containers of its group, itself included.
    group: list[str] | None = None
    #: Of an executor's task: the executor, and its container.
    executor_id: str | None = None
    runs_in: str | None = None


def launch_entry(task: Task) -> dict[str, object]:
    """Return the first note of a task."""
    ids = [each.container.id for each in task.group]
    entry: dict[str, object] = {
        "framework_id": task.container.framework_id,
        "framework_info": task.framework_info,
        "role": task.role,
        "task": task.info,
    }
    if len(ids) > 1 or task.is_grouped:
        entry["group"] = ids
    if task.runs_in is not None:
        entry |= {"executor_id": task.container.executor_id, "runs_in": task.runs_in}
    return entry


def user_of(
    command: Mapping[str, Any] | None, framework_info: m.FrameworkInfo | None
) -> str | None:
    """Return who is to run a command; None if nobody is named."""
    named = (command or {}).get("user")
    if isinstance(named, str) and named:
        return named
    return (framework_info.user or None) if framework_info is not None else None


def nothing_found(check: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what is told of a check that was not made; None without one."""
    kind = None if check is None else check.get("type")
    return {"type": kind, kind.lower(): {}} if isinstance(kind, str) else None


def needs_guard(info: m.TaskInfo) -> bool:
    """Tell whether a task has checks, or a time that it may take."""
    return any(
        each is not None for each in (info.health_check, info.check, info.max_completion_time)
    )


def grace_seconds(policy: m.KillPolicy | None) -> float:
    """Return how long a task may take to end."""
    if policy is None or policy.grace_period is None:
        return GRACE_SECONDS
    return max(policy.grace_period.seconds, 0.0)


def has_capability(framework_info: m.FrameworkInfo | None, name: str) -> bool:
    """Tell whether a framework said that it can do something."""
    capabilities = () if framework_info is None else framework_info.capabilities or ()
    return any(each.type == name for each in capabilities)
