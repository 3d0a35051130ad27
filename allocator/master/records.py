"""What the master knows of frameworks, agents and tasks; who decides upon it is `Master`."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from allocator.resources import Resources
from allocator.wire.messages import AgentInfo, ExecutorInfo, FrameworkInfo, TaskInfo

#: How many completed frameworks are kept, and how many completed and unreachable tasks of each.
MAX_COMPLETED_FRAMEWORKS: Final = 50
MAX_COMPLETED_TASKS: Final = 1000
MAX_UNREACHABLE_TASKS: Final = 1000
#: How many ids of removed frameworks, agents gone and unreachable agents are kept, as Mesos does
#: with agents.
MAX_REMEMBERED: Final = 100 * 1024

Json = dict[str, Any]


class Task:
    """A task, from its launch until it is completed and forgotten."""

    __slots__ = (
        "acknowledged",
        "agent_id",
        "executor_id",
        "fragment",
        "framework_id",
        "holds",
        "id",
        "info",
        "is_terminal",
        "kill",
        "resend_interval",
        "resources",
        "role",
        "state",
        "statuses",
        "waiting",
    )

    def __init__(
        self, info: TaskInfo, framework_id: str, agent_id: str, role: str, resources: Resources
    ) -> None:
        self.id = info.task_id.value
        self.info = info
        self.framework_id = framework_id
        self.agent_id = agent_id
        self.executor_id = ""
        self.role = role
        self.resources = resources
        self.state = "TASK_STAGING"
        #: Whether its latest status is one after which nothing comes.
        self.is_terminal = False
        #: Whether the engine counts its resources as allocated.
        self.holds = True
        #: State → the first status of it, in order of arrival.
        self.statuses: dict[str, Json] = {}
        #: The statuses that the framework has not acknowledged, oldest first; only the first of
        #: them is under way.
        self.waiting: deque[Json] = deque()
        #: The uuid of the last status that it has acknowledged: an agent that comes back may bring
        #: that one, and those before it, once more.
        self.acknowledged: str | None = None
        #: What its agent was told when its framework wanted it killed: told again if that may have
        #: been lost.
        self.kill: Json | None = None
        #: How long after it was sent the first of them is sent again, in seconds.
        self.resend_interval = 0.0
        #: JSON of what of it never changes, as `/state` shows it; None until it is written.
        self.fragment: bytes | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from all others."""
        return (self.framework_id, self.id)


class Executor:
    """What runs tasks of a framework on one agent, from its launch until it is gone."""

    __slots__ = ("agent_id", "framework_id", "id", "info", "resources", "role")

    def __init__(
        self, info: ExecutorInfo, framework_id: str, agent_id: str, role: str, resources: Resources
    ) -> None:
        self.id = info.executor_id.value
        self.info = info
        self.framework_id = framework_id
        self.agent_id = agent_id
        self.role = role
        #: What it takes besides what its tasks take.
        self.resources = resources

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from all others of its agent."""
        return (self.framework_id, self.id)


class Framework:
    """A framework, connected or not."""

    __slots__ = (
        "active",
        "capabilities",
        "completed",
        "connected",
        "constraints",
        "executors",
        "id",
        "info",
        "inverse_offers",
        "offers",
        "principal",
        "recovered",
        "registered_time",
        "remove_at",
        "reregistered_time",
        "roles",
        "stream_id",
        "suppressed",
        "tasks",
        "unreachable",
        "unregistered_time",
    )

    def __init__(
        self, id: str, info: FrameworkInfo, roles: tuple[str, ...], principal: str | None
    ) -> None:
        self.id = id
        self.info = info
        self.roles = roles
        self.suppressed: frozenset[str] = frozenset()
        self.constraints: Json | None = None
        self.principal = principal
        self.capabilities = capabilities_of(info)
        self.connected = False
        self.active = False
        #: Known from the registry or from agents only, until it subscribes.
        self.recovered = False
        self.stream_id: str | None = None
        self.registered_time = 0.0
        self.reregistered_time: float | None = None
        self.unregistered_time = 0.0
        #: When it is removed unless it comes back, by the steady clock; None while connected.
        self.remove_at: float | None = None
        #: Its open offers, the oldest first: id → when it was made, by the calendar.
        self.offers: dict[str, float] = {}
        #: Inverse offers under way: id → agent id.
        self.inverse_offers: dict[str, str] = {}
        self.tasks: dict[str, Task] = {}
        #: By the ids of its agent and its own.
        self.executors: dict[tuple[str, str], Executor] = {}
        self.unreachable: dict[str, Task] = {}
        #: The oldest first; it grows, and is another one when something is taken out of it.
        self.completed: deque[Task] = deque(maxlen=MAX_COMPLETED_TASKS)

    @property
    def is_partition_aware(self) -> bool:
        """Whether it knows the states of tasks that cannot be reached."""
        return "PARTITION_AWARE" in self.capabilities

    @property
    def failover_timeout(self) -> float:
        """How long it may be away, in seconds."""
        return max(self.info.failover_timeout or 0.0, 0.0)


class Agent:
    """An agent that is registered, or was and is waited for."""

    __slots__ = (
        "active",
        "executors",
        "hostname",
        "id",
        "info",
        "inverse_answers",
        "inverse_offers",
        "ip",
        "offers",
        "pid",
        "port",
        "registered_time",
        "reregistered_time",
        "resources",
        "session",
        "tasks",
        "unavailability",
        "unreachable_time",
        "version",
    )

    def __init__(self, id: str, info: AgentInfo, resources: Resources) -> None:
        self.id = id
        self.info = info
        self.hostname = info.hostname
        self.port = info.port or 0
        self.ip = "127.0.0.1"
        self.pid = ""
        self.version = ""
        #: What it has, conversions (reservations, volumes) included.
        self.resources = resources
        #: The process that it is part of, connected or not; None before and after.
        self.session: str | None = None
        self.active = True
        self.registered_time = 0.0
        self.reregistered_time: float | None = None
        #: Since when it cannot be reached, by the calendar; None while it is here or waited for.
        self.unreachable_time: float | None = None
        #: When it is to be away, in v1 form; None if nothing is planned.
        self.unavailability: Json | None = None
        #: Inverse offers under way: id → framework id.
        self.inverse_offers: dict[str, str] = {}
        #: Framework id → when it answered an inverse offer last, by the calendar.
        self.inverse_answers: dict[str, float] = {}
        #: Its open offers, the oldest first: id → when it was made, by the calendar.
        self.offers: dict[str, float] = {}
        self.tasks: dict[tuple[str, str], Task] = {}
        #: By the ids of its framework and its own.
        self.executors: dict[tuple[str, str], Executor] = {}


class Session:
    """A process that is one agent or many, connected by one stream."""

    __slots__ = ("agents", "id", "last_heard", "n_missed", "principal")

    def __init__(self, id: str, principal: str | None, now: float) -> None:
        self.id = id
        self.principal = principal
        self.agents: dict[str, Agent] = {}
        self.last_heard = now
        #: Pings that it has not answered, one after the other.
        self.n_missed = 0


def capabilities_of(info: FrameworkInfo) -> frozenset[str]:
    """Return the names of a framework's capabilities."""
    return frozenset(capability.type for capability in info.capabilities or ())
