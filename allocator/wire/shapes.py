"""Of which JSON type each field of a call is, also of those that are handed on as they came.

`wire.messages` types what is acted upon; a command, a resource or a label stays what it was. Here
are the JSON types of all of it, as Mesos' `v1/*.proto` have them, so that a call with a text where
an object belongs is refused whole. A number may be text, true and false may not.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

_NUMBER: Final = r"^[-+]?((\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?|Infinity|inf|NaN|nan)$"

Number = float | Annotated[str, msgspec.Meta(pattern=_NUMBER)] | None
Flag = bool | None
Text = str | None
Json = dict[str, Any] | None


class Shape(msgspec.Struct, kw_only=True):
    """The base of all: every field may be absent, or null; others are not looked at."""


class Value(Shape, kw_only=True):
    """An id."""

    value: Text = None


class Amount(Shape, kw_only=True):
    """A number."""

    value: Number = None


class Duration(Shape, kw_only=True):
    """A time."""

    nanoseconds: Number = None


class Label(Shape, kw_only=True):
    """A key, and perhaps a value."""

    key: Text = None
    value: Text = None


class Labels(Shape, kw_only=True):
    """Labels."""

    labels: list[Label] | None = None


# Resources.


class Range(Shape, kw_only=True):
    """From one number to another."""

    begin: Number = None
    end: Number = None


class Ranges(Shape, kw_only=True):
    """Ranges."""

    range: list[Range] | None = None


class Items(Shape, kw_only=True):
    """A set."""

    item: list[str] | None = None


class Allocation(Shape, kw_only=True):
    """To whom resources are allocated."""

    role: Text = None


class Reservation(Shape, kw_only=True):
    """For whom resources are kept."""

    type: Text = None
    role: Text = None
    principal: Text = None
    labels: Labels | None = None


class Persistence(Shape, kw_only=True):
    """What makes a volume outlive its task."""

    id: Text = None
    principal: Text = None


class Volume(Shape, kw_only=True):
    """A folder that a container sees."""

    mode: Text = None
    container_path: Text = None
    host_path: Text = None
    image: Json = None
    source: Json = None


class Root(Shape, kw_only=True):
    """Where a disk is."""

    root: Text = None


class DiskSource(Shape, kw_only=True):
    """What a disk is of."""

    type: Text = None
    path: Root | None = None
    mount: Root | None = None
    vendor: Text = None
    id: Text = None
    metadata: Labels | None = None
    profile: Text = None


class Disk(Shape, kw_only=True):
    """DiskInfo."""

    persistence: Persistence | None = None
    volume: Volume | None = None
    source: DiskSource | None = None


class Resource(Shape, kw_only=True):
    """Resource."""

    provider_id: Value | None = None
    name: Text = None
    type: Text = None
    scalar: Amount | None = None
    ranges: Ranges | None = None
    set: Items | None = None
    role: Text = None
    allocation_info: Allocation | None = None
    reservation: Reservation | None = None
    reservations: list[Reservation] | None = None
    disk: Disk | None = None
    revocable: Json = None
    shared: Json = None


# What tasks and executors are.


class Variable(Shape, kw_only=True):
    """A variable of an environment."""

    name: Text = None
    type: Text = None
    value: Text = None
    secret: Json = None


class Environment(Shape, kw_only=True):
    """Variables."""

    variables: list[Variable] | None = None


class Uri(Shape, kw_only=True):
    """What is fetched into a sandbox."""

    value: Text = None
    executable: Flag = None
    extract: Flag = None
    cache: Flag = None
    output_file: Text = None


class Command(Shape, kw_only=True):
    """CommandInfo."""

    uris: list[Uri] | None = None
    environment: Environment | None = None
    shell: Flag = None
    value: Text = None
    arguments: list[str] | None = None
    user: Text = None


class Rlimit(Shape, kw_only=True):
    """A limit of processes."""

    type: Text = None
    soft: Number = None
    hard: Number = None


class Rlimits(Shape, kw_only=True):
    """RLimitInfo."""

    rlimits: list[Rlimit] | None = None


class Container(Shape, kw_only=True):
    """ContainerInfo; `oci` is ours."""

    type: Text = None
    volumes: list[Volume] | None = None
    hostname: Text = None
    docker: Json = None
    mesos: Json = None
    network_infos: list[dict[str, Any]] | None = None
    linux_info: Json = None
    rlimit_info: Rlimits | None = None
    tty_info: Json = None
    oci: Json = None


class Http(Shape, kw_only=True):
    """A GET."""

    protocol: Text = None
    scheme: Text = None
    port: Number = None
    path: Text = None
    statuses: list[float] | None = None


class Tcp(Shape, kw_only=True):
    """A connection."""

    protocol: Text = None
    port: Number = None


class HealthCheck(Shape, kw_only=True):
    """HealthCheck."""

    type: Text = None
    command: Command | None = None
    http: Http | None = None
    tcp: Tcp | None = None
    delay_seconds: Number = None
    interval_seconds: Number = None
    timeout_seconds: Number = None
    grace_period_seconds: Number = None
    consecutive_failures: Number = None


class CheckedCommand(Shape, kw_only=True):
    """CheckInfo.Command."""

    command: Command | None = None


class Check(Shape, kw_only=True):
    """CheckInfo."""

    type: Text = None
    command: CheckedCommand | None = None
    http: Http | None = None
    tcp: Tcp | None = None
    delay_seconds: Number = None
    interval_seconds: Number = None
    timeout_seconds: Number = None


class Port(Shape, kw_only=True):
    """A port that others are told of."""

    number: Number = None
    name: Text = None
    protocol: Text = None
    visibility: Text = None
    labels: Labels | None = None


class Ports(Shape, kw_only=True):
    """Ports."""

    ports: list[Port] | None = None


class Discovery(Shape, kw_only=True):
    """DiscoveryInfo."""

    visibility: Text = None
    name: Text = None
    environment: Text = None
    location: Text = None
    version: Text = None
    ports: Ports | None = None
    labels: Labels | None = None


class Executor(Shape, kw_only=True):
    """ExecutorInfo."""

    executor_id: Value | None = None
    type: Text = None
    framework_id: Value | None = None
    command: Command | None = None
    container: Container | None = None
    resources: list[Resource] | None = None
    name: Text = None
    source: Text = None
    data: Text = None
    discovery: Discovery | None = None
    shutdown_grace_period: Duration | None = None
    labels: Labels | None = None


class Task(Shape, kw_only=True):
    """TaskInfo, as far as it is handed on."""

    resources: list[Resource] | None = None
    executor: Executor | None = None
    command: Command | None = None
    container: Container | None = None
    health_check: HealthCheck | None = None
    check: Check | None = None
    labels: Labels | None = None
    discovery: Discovery | None = None


# Operations.


class Launch(Shape, kw_only=True):
    """LAUNCH."""

    task_infos: list[Task] | None = None


class TaskGroup(Shape, kw_only=True):
    """Tasks that live and die together."""

    tasks: list[Task] | None = None


class LaunchGroup(Shape, kw_only=True):
    """LAUNCH_GROUP."""

    executor: Executor | None = None
    task_group: TaskGroup | None = None


class Conversion(Shape, kw_only=True):
    """RESERVE, UNRESERVE, CREATE, DESTROY, GROW_VOLUME and SHRINK_VOLUME."""

    source: list[Resource] | None = None
    resources: list[Resource] | None = None
    volumes: list[Resource] | None = None
    volume: Resource | None = None
    addition: Resource | None = None


class Operation(Shape, kw_only=True):
    """Offer.Operation."""

    launch: Launch | None = None
    launch_group: LaunchGroup | None = None
    reserve: Conversion | None = None
    unreserve: Conversion | None = None
    create: Conversion | None = None
    destroy: Conversion | None = None
    grow_volume: Conversion | None = None
    shrink_volume: Conversion | None = None


class Accept(Shape, kw_only=True):
    """The content of ACCEPT."""

    operations: list[Operation] | None = None


class AgentRequest(Shape, kw_only=True):
    """What a framework would like to be offered."""

    agent_id: Value | None = None
    resources: list[Resource] | None = None


class Request(Shape, kw_only=True):
    """The content of REQUEST."""

    requests: list[AgentRequest] | None = None


# Frameworks.


class Pattern(Shape, kw_only=True):
    """What a text matches."""

    regex: Text = None


class Predicate(Shape, kw_only=True):
    """What is asked of an attribute."""

    exists: Json = None
    not_exists: Json = None
    text_equals: Value | None = None
    text_not_equals: Value | None = None
    text_matches: Pattern | None = None
    text_not_matches: Pattern | None = None


class Selector(Shape, kw_only=True):
    """Which attribute."""

    attribute_name: Text = None
    pseudoattribute_type: Text = None


class AttributeConstraint(Shape, kw_only=True):
    """What is asked of which attribute."""

    selector: Selector | None = None
    predicate: Predicate | None = None


class Group(Shape, kw_only=True):
    """Constraints that an agent meets together."""

    attribute_constraints: list[AttributeConstraint] | None = None


class RoleConstraints(Shape, kw_only=True):
    """Groups, of which an agent meets one."""

    groups: list[Group] | None = None


class OfferConstraints(Shape, kw_only=True):
    """OfferConstraints."""

    role_constraints: dict[str, RoleConstraints] | None = None


class FrameworkInfo(Shape, kw_only=True):
    """FrameworkInfo, as far as it is handed on."""

    checkpoint: Flag = None
    labels: Labels | None = None


class Subscribe(Shape, kw_only=True):
    """The content of SUBSCRIBE and UPDATE_FRAMEWORK."""

    framework_info: FrameworkInfo | None = None
    offer_constraints: OfferConstraints | None = None


class UpdateQuota(Shape, kw_only=True):
    """The content of UPDATE_QUOTA."""

    force: Flag = None


class Call(Shape, kw_only=True):
    """The calls that have fields of this kind; one call has the content of one type."""

    subscribe: Subscribe | None = None
    update_framework: Subscribe | None = None
    accept: Accept | None = None
    request: Request | None = None
    update_quota: UpdateQuota | None = None
    reserve_resources: Conversion | None = None
    unreserve_resources: Conversion | None = None


#: The types of calls that have such fields.
SHAPED: Final = frozenset(
    {"SUBSCRIBE", "UPDATE_FRAMEWORK", "ACCEPT", "REQUEST"}
    | {"UPDATE_QUOTA", "RESERVE_RESOURCES", "UNRESERVE_RESOURCES"}
)

_DECODER: Final = msgspec.json.Decoder(Call)


def check_shape(type: str, body: bytes) -> None:
    """Refuse a call in which a field is of another JSON type than it should be. O(size).

    Raises
    ------
    msgspec.ValidationError
        It names the field.

    Examples
    --------
    >>> check_shape("UPDATE_QUOTA", b'{"update_quota":{"force":true}}')
    >>> check_shape("UPDATE_QUOTA", b'{"update_quota":{"force":"true"}}')
    Traceback (most recent call last):
    msgspec.ValidationError: Expected `bool | null`, got `str` - at `$.update_quota.force`
    """
    if type in SHAPED:
        _DECODER.decode(body)
