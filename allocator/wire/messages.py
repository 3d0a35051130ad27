"""What comes in: the v1 scheduler and operator calls, and what an agent's process sends.

Field names are those of Mesos' `v1/*.proto` in their JSON form; only what is acted upon is typed.
What is merely shown again (labels, discovery, container, …) stays as it came. Every optional field
is None when absent or null.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from allocator.resources.fixed import MAX_MILLI, MILLI

Json = dict[str, Any]


class Message(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The base of all messages; fields that are None are left out when one is written."""


class Value(Message, kw_only=True):
    """An id: `{"value": …}`."""

    value: str


class Number(Message, kw_only=True):
    """An amount: `{"value": …}`."""

    value: float


class Limit(Message, kw_only=True):
    """The most that may be used of something; None is no limit, `"Infinity"` on the way in."""

    value: float | None = None

    def __post_init__(self) -> None:
        if self.value is not None and not self.value >= 0:
            raise ValueError(f"a limit is at least 0, not {self.value}")
        if self.value == math.inf:
            self.value = None  # JSON has no such number
        elif self.value is not None and self.value > MAX_MILLI / MILLI:
            raise ValueError(f"a limit of {self.value} is over-large")


class Duration(Message, kw_only=True):
    """`{"nanoseconds": …}`."""

    nanoseconds: int

    @property
    def seconds(self) -> float:
        """The same in seconds."""
        return self.nanoseconds / 1e9


# Frameworks.


class Capability(Message, kw_only=True):
    """`{"type": …}`."""

    type: str


class ResourceQuantities(Message, kw_only=True):
    """Amounts by resource name."""

    quantities: dict[str, Number]


class MinAllocatable(Message, kw_only=True):
    """Amounts, of which an offer has any one; none of them: any offer will do."""

    quantities: list[ResourceQuantities] | None = None


class OfferFilters(Message, kw_only=True):
    """Which offers of a role a framework wants to see."""

    min_allocatable_resources: MinAllocatable | None = None


class FrameworkInfo(Message, kw_only=True):
    """What a framework says of itself."""

    user: str
    name: str
    id: Value | None = None
    failover_timeout: float | None = None
    checkpoint: bool | None = None
    role: str | None = None
    roles: list[str] | None = None
    hostname: str | None = None
    principal: str | None = None
    webui_url: str | None = None
    capabilities: list[Capability] | None = None
    labels: Json | None = None
    offer_filters: dict[str, OfferFilters] | None = None


class Filters(Message, kw_only=True):
    """How long what is given back is refused, in seconds."""

    refuse_seconds: float | None = None


class KillPolicy(Message, kw_only=True):
    """How long a task may take to end."""

    grace_period: Duration | None = None


class TaskInfo(Message, kw_only=True):
    """A task that a framework launches."""

    name: str
    task_id: Value
    agent_id: Value
    resources: list[Json] | None = None
    executor: Json | None = None
    command: Json | None = None
    container: Json | None = None
    health_check: Json | None = None
    check: Json | None = None
    kill_policy: KillPolicy | None = None
    data: str | None = None
    labels: Json | None = None
    discovery: Json | None = None
    limits: dict[str, Limit] | None = None
    max_completion_time: Duration | None = None


class ExecutorInfo(Message, kw_only=True):
    """What runs tasks for a framework: `TaskInfo.executor`, or that of a group."""

    executor_id: Value
    type: str | None = None
    framework_id: Value | None = None
    command: Json | None = None
    container: Json | None = None
    resources: list[Json] | None = None
    name: str | None = None
    source: str | None = None
    data: str | None = None
    discovery: Json | None = None
    labels: Json | None = None
    shutdown_grace_period: Duration | None = None


class Launch(Message, kw_only=True):
    """The tasks of a LAUNCH."""

    task_infos: list[TaskInfo] | None = None


class TaskGroup(Message, kw_only=True):
    """Tasks that live and die together."""

    tasks: list[TaskInfo]


class LaunchGroup(Message, kw_only=True):
    """The tasks of a LAUNCH_GROUP, and their executor."""

    executor: Json
    task_group: TaskGroup


class ReserveOperation(Message, kw_only=True):
    """RESERVE: what the resources are after it; `source`, what they were."""

    resources: list[Json]
    source: list[Json] | None = None


class UnreserveOperation(Message, kw_only=True):
    """UNRESERVE: what the resources were."""

    resources: list[Json]


class VolumesOperation(Message, kw_only=True):
    """CREATE and DESTROY."""

    volumes: list[Json]


class GrowOperation(Message, kw_only=True):
    """GROW_VOLUME."""

    volume: Json
    addition: Json


class ShrinkOperation(Message, kw_only=True):
    """SHRINK_VOLUME; `subtract` in MB."""

    volume: Json
    subtract: Number


class Operation(Message, kw_only=True):
    """One operation of an ACCEPT."""

    type: str
    id: Value | None = None
    launch: Launch | None = None
    launch_group: LaunchGroup | None = None
    reserve: ReserveOperation | None = None
    unreserve: UnreserveOperation | None = None
    create: VolumesOperation | None = None
    destroy: VolumesOperation | None = None
    grow_volume: GrowOperation | None = None
    shrink_volume: ShrinkOperation | None = None


# Scheduler calls: the content of each, then the whole body by type.


class Subscribe(Message, kw_only=True):
    """SUBSCRIBE and UPDATE_FRAMEWORK."""

    framework_info: FrameworkInfo
    suppressed_roles: list[str] | None = None
    offer_constraints: Json | None = None


class Accept(Message, kw_only=True):
    """ACCEPT."""

    offer_ids: list[Value]
    operations: list[Operation] | None = None
    filters: Filters | None = None


class Decline(Message, kw_only=True):
    """DECLINE."""

    offer_ids: list[Value]
    filters: Filters | None = None


class InverseAnswer(Message, kw_only=True):
    """ACCEPT_INVERSE_OFFERS and DECLINE_INVERSE_OFFERS."""

    inverse_offer_ids: list[Value]
    filters: Filters | None = None


class Roles(Message, kw_only=True):
    """REVIVE and SUPPRESS: some roles, all if none are named."""

    role: str | None = None
    roles: list[str] | None = None


class Kill(Message, kw_only=True):
    """KILL."""

    task_id: Value
    agent_id: Value | None = None
    kill_policy: KillPolicy | None = None


class Shutdown(Message, kw_only=True):
    """SHUTDOWN of an executor."""

    executor_id: Value
    agent_id: Value


class Acknowledge(Message, kw_only=True):
    """ACKNOWLEDGE; `uuid` in base64."""

    agent_id: Value
    task_id: Value
    uuid: str


class ReconcileTask(Message, kw_only=True):
    """One task that a framework asks about."""

    task_id: Value
    agent_id: Value | None = None


class Reconcile(Message, kw_only=True):
    """RECONCILE; no tasks: all of them."""

    tasks: list[ReconcileTask] | None = None


class ExecutorMessage(Message, kw_only=True):
    """MESSAGE to an executor; `data` in base64."""

    agent_id: Value
    executor_id: Value
    data: str


class Request(Message, kw_only=True):
    """REQUEST; what is in it is not acted upon."""

    requests: list[Json] | None = None


class SchedulerCall(Message, kw_only=True):
    """What all scheduler calls have."""

    type: str
    framework_id: Value | None = None


class SubscribeCall(SchedulerCall, kw_only=True):
    """SUBSCRIBE."""

    subscribe: Subscribe


class TeardownCall(SchedulerCall, kw_only=True):
    """TEARDOWN."""


class AcceptCall(SchedulerCall, kw_only=True):
    """ACCEPT."""

    accept: Accept


class DeclineCall(SchedulerCall, kw_only=True):
    """DECLINE."""

    decline: Decline


class AcceptInverseCall(SchedulerCall, kw_only=True):
    """ACCEPT_INVERSE_OFFERS."""

    accept_inverse_offers: InverseAnswer


class DeclineInverseCall(SchedulerCall, kw_only=True):
    """DECLINE_INVERSE_OFFERS."""

    decline_inverse_offers: InverseAnswer


class ReviveCall(SchedulerCall, kw_only=True):
    """REVIVE; the message may be absent."""

    revive: Roles | None = None


class SuppressCall(SchedulerCall, kw_only=True):
    """SUPPRESS; the message may be absent."""

    suppress: Roles | None = None


class KillCall(SchedulerCall, kw_only=True):
    """KILL."""

    kill: Kill


class ShutdownCall(SchedulerCall, kw_only=True):
    """SHUTDOWN."""

    shutdown: Shutdown


class AcknowledgeCall(SchedulerCall, kw_only=True):
    """ACKNOWLEDGE."""

    acknowledge: Acknowledge


class ReconcileCall(SchedulerCall, kw_only=True):
    """RECONCILE."""

    reconcile: Reconcile


class MessageCall(SchedulerCall, kw_only=True):
    """MESSAGE."""

    message: ExecutorMessage


class RequestCall(SchedulerCall, kw_only=True):
    """REQUEST."""

    request: Request


class UpdateFrameworkCall(SchedulerCall, kw_only=True):
    """UPDATE_FRAMEWORK."""

    update_framework: Subscribe


def _decoders(calls: dict[str, type[Any]]) -> dict[str, msgspec.json.Decoder[Any]]:
    # Not strict: numbers may be text, doubles "Infinity" too.
    return {type: msgspec.json.Decoder(call, strict=False) for type, call in calls.items()}


#: Type → decoder of the whole body.
SCHEDULER_CALLS: Final = _decoders(
    {
        "SUBSCRIBE": SubscribeCall,
        "TEARDOWN": TeardownCall,
        "ACCEPT": AcceptCall,
        "DECLINE": DeclineCall,
        "ACCEPT_INVERSE_OFFERS": AcceptInverseCall,
        "DECLINE_INVERSE_OFFERS": DeclineInverseCall,
        "REVIVE": ReviveCall,
        "SUPPRESS": SuppressCall,
        "KILL": KillCall,
        "SHUTDOWN": ShutdownCall,
        "ACKNOWLEDGE": AcknowledgeCall,
        "RECONCILE": ReconcileCall,
        "MESSAGE": MessageCall,
        "REQUEST": RequestCall,
        "UPDATE_FRAMEWORK": UpdateFrameworkCall,
    }
)


# Operator calls.


class WeightInfo(Message, kw_only=True):
    """A role's weight."""

    role: str
    weight: float


class UpdateWeights(Message, kw_only=True):
    """UPDATE_WEIGHTS."""

    weight_infos: list[WeightInfo]


class QuotaConfig(Message, kw_only=True):
    """A role's guarantees and limits by resource name."""

    role: str
    guarantees: dict[str, Number] | None = None
    limits: dict[str, Number] | None = None


class UpdateQuota(Message, kw_only=True):
    """UPDATE_QUOTA."""

    force: bool | None = None
    quota_configs: list[QuotaConfig]


class MachineId(Message, kw_only=True):
    """A machine by name, address or both."""

    hostname: str | None = None
    ip: str | None = None


class Unavailability(Message, kw_only=True):
    """When machines are away; without a duration for good."""

    start: Duration
    duration: Duration | None = None


class Window(Message, kw_only=True):
    """Machines that are away at the same time."""

    machine_ids: list[MachineId]
    unavailability: Unavailability


class Schedule(Message, kw_only=True):
    """All that is planned."""

    windows: list[Window] | None = None


class UpdateSchedule(Message, kw_only=True):
    """UPDATE_MAINTENANCE_SCHEDULE."""

    schedule: Schedule


class AgentResources(Message, kw_only=True):
    """RESERVE_RESOURCES and UNRESERVE_RESOURCES."""

    agent_id: Value
    resources: list[Json]
    source: list[Json] | None = None


class OfFramework(Message, kw_only=True):
    """TEARDOWN."""

    framework_id: Value


class OfAgent(Message, kw_only=True):
    """MARK_AGENT_GONE."""

    agent_id: Value


class GetMetrics(Message, kw_only=True):
    """GET_METRICS."""

    timeout: Duration | None = None


class OperatorCall(Message, kw_only=True):
    """A call without a message of its own."""

    type: str


class GetMetricsCall(OperatorCall, kw_only=True):
    """GET_METRICS; the message may be absent."""

    get_metrics: GetMetrics | None = None


class UpdateWeightsCall(OperatorCall, kw_only=True):
    """UPDATE_WEIGHTS."""

    update_weights: UpdateWeights


class UpdateQuotaCall(OperatorCall, kw_only=True):
    """UPDATE_QUOTA."""

    update_quota: UpdateQuota


class UpdateScheduleCall(OperatorCall, kw_only=True):
    """UPDATE_MAINTENANCE_SCHEDULE."""

    update_maintenance_schedule: UpdateSchedule


class ReserveCall(OperatorCall, kw_only=True):
    """RESERVE_RESOURCES."""

    reserve_resources: AgentResources


class UnreserveCall(OperatorCall, kw_only=True):
    """UNRESERVE_RESOURCES."""

    unreserve_resources: AgentResources


class OperatorTeardownCall(OperatorCall, kw_only=True):
    """TEARDOWN."""

    teardown: OfFramework


class MarkAgentGoneCall(OperatorCall, kw_only=True):
    """MARK_AGENT_GONE."""

    mark_agent_gone: OfAgent


#: Operator calls that only look and take no message.
READS: Final = (
    "GET_HEALTH",
    "GET_FLAGS",
    "GET_VERSION",
    "GET_STATE",
    "GET_AGENTS",
    "GET_FRAMEWORKS",
    "GET_EXECUTORS",
    "GET_TASKS",
    "GET_ROLES",
    "GET_WEIGHTS",
    "GET_QUOTA",
    "GET_MAINTENANCE_STATUS",
    "GET_MAINTENANCE_SCHEDULE",
    "GET_MASTER",
)

#: Type → decoder of the whole body.
OPERATOR_CALLS: Final = _decoders(
    {
        **dict.fromkeys(READS, OperatorCall),
        "SUBSCRIBE": OperatorCall,
        "GET_METRICS": GetMetricsCall,
        "UPDATE_WEIGHTS": UpdateWeightsCall,
        "UPDATE_QUOTA": UpdateQuotaCall,
        "UPDATE_MAINTENANCE_SCHEDULE": UpdateScheduleCall,
        "RESERVE_RESOURCES": ReserveCall,
        "UNRESERVE_RESOURCES": UnreserveCall,
        "TEARDOWN": OperatorTeardownCall,
        "MARK_AGENT_GONE": MarkAgentGoneCall,
    }
)


# What an agent's process sends; a process may be many agents.


class TaskStatus(Message, kw_only=True):
    """What became of a task."""

    task_id: Value
    state: str
    agent_id: Value | None = None
    executor_id: Value | None = None
    framework_id: Value | None = None
    source: str | None = None
    reason: str | None = None
    message: str | None = None
    data: str | None = None
    timestamp: float | None = None
    uuid: str | None = None
    healthy: bool | None = None
    labels: Json | None = None
    container_status: Json | None = None
    check_status: Json | None = None
    limitation: Json | None = None


class AgentInfo(Message, kw_only=True):
    """What an agent says of itself."""

    hostname: str
    port: int | None = None
    id: Value | None = None
    resources: list[Json] | None = None
    attributes: list[Json] | None = None
    domain: Json | None = None
    capabilities: list[Capability] | None = None


class KnownTask(Message, kw_only=True):
    """A task that an agent has: what was launched, by whom, and its latest state."""

    framework_id: Value
    role: str
    state: str
    task: TaskInfo
    statuses: list[TaskStatus] | None = None
    framework_info: FrameworkInfo | None = None
    #: Of a task that an executor runs which the framework brought.
    executor_id: Value | None = None


class KnownExecutor(Message, kw_only=True):
    """An executor that an agent has."""

    framework_id: Value
    role: str
    executor: ExecutorInfo
    framework_info: FrameworkInfo | None = None


class AgentRegistration(Message, kw_only=True):
    """An agent that comes or comes back, with its tasks and the statuses not acknowledged yet."""

    agent_info: AgentInfo
    version: str | None = None
    pid: str | None = None
    tasks: list[KnownTask] | None = None
    statuses: list[TaskStatus] | None = None
    executors: list[KnownExecutor] | None = None


class Register(Message, kw_only=True):
    """REGISTER."""

    agents: list[AgentRegistration]


class Update(Message, kw_only=True):
    """UPDATE."""

    statuses: list[TaskStatus]


class Unregister(Message, kw_only=True):
    """UNREGISTER."""

    agent_ids: list[Value]


class ExecutorEnd(Message, kw_only=True):
    """An executor that is gone; `status` as wait(2) has it, None if nobody knows."""

    agent_id: Value
    framework_id: Value
    executor_id: Value
    status: int | None = None


class Exited(Message, kw_only=True):
    """EXITED."""

    executors: list[ExecutorEnd]


class FromExecutor(Message, kw_only=True):
    """What an executor says to its framework; `data` in base64."""

    agent_id: Value
    framework_id: Value
    executor_id: Value
    data: str


class FromExecutors(Message, kw_only=True):
    """MESSAGE."""

    messages: list[FromExecutor]


class AgentsCall(Message, kw_only=True):
    """A call without a message of its own."""

    type: str


class RegisterCall(AgentsCall, kw_only=True):
    """REGISTER."""

    register: Register


class UpdateCall(AgentsCall, kw_only=True):
    """UPDATE."""

    update: Update


class UnregisterCall(AgentsCall, kw_only=True):
    """UNREGISTER."""

    unregister: Unregister


class ExitedCall(AgentsCall, kw_only=True):
    """EXITED."""

    exited: Exited


class FromExecutorsCall(AgentsCall, kw_only=True):
    """MESSAGE."""

    message: FromExecutors


#: Type → decoder of the whole body.
AGENT_CALLS: Final = _decoders(
    {
        "REGISTER": RegisterCall,
        "PONG": AgentsCall,
        "UPDATE": UpdateCall,
        "UNREGISTER": UnregisterCall,
        "EXITED": ExitedCall,
        "MESSAGE": FromExecutorsCall,
    }
)


# What an agents' process is told: records of its stream.


class Registered(Message, kw_only=True):
    """An agent that was taken in, by its id."""

    id: str
    hostname: str | None = None


class ToAgents(Message, kw_only=True):
    """A record of any type; which fields are there depends on it (docs/agent-protocol.md)."""

    type: str
    agents: list[Registered] | None = None
    master_info: Json | None = None
    ping_timeout_seconds: float | None = None
    agent_id: Value | None = None
    framework_id: Value | None = None
    framework_info: FrameworkInfo | None = None
    role: str | None = None
    tasks: list[TaskInfo] | None = None
    executor: Json | None = None
    launch_executor: bool | None = None
    executor_id: Value | None = None
    data: str | None = None
    task_id: Value | None = None
    kill_policy: KillPolicy | None = None
    uuid: str | None = None
    message: str | None = None


#: Decoder of the records.
TO_AGENTS: Final = msgspec.json.Decoder(ToAgents, strict=False)
