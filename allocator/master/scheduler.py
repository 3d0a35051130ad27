"""The calls of the scheduler API; what they have in common stands in `Master`.

Each is a function of the master, the framework that calls, and the call. It either raises
`CallRefused` and changes nothing, or returns, and the caller answers 202. Checks before a call
is looked at (who may call, is the stream right) are `check_caller`'s.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from allocator.errors import AllocatorError
from allocator.master import events, forms
from allocator.master.accepting import accept, refuse_seconds
from allocator.master.master import ENGINE_CAPABILITIES, Master, minimum_of
from allocator.master.records import Framework, Json, Task, capabilities_of
from allocator.master.tasks import kill_message, shutdown_message, status_of_master
from allocator.roles import validate_role
from allocator.wire import messages as m
from allocator.wire.refusal import BAD_REQUEST, FORBIDDEN, CallRefused

#: What makes a framework another one, and so may not change while it is registered.
FIXED_FIELDS: Final = ("user", "checkpoint", "principal")

#: The longest failover timeout, as many seconds as fit in 64 bits of nanoseconds.
MAX_FAILOVER_SECONDS: Final = 2**63 / 1e9


class ContentRefused(AllocatorError):
    """A SUBSCRIBE whose content is refused: its stream has one ERROR event, and ends."""


class Profile(NamedTuple):
    """What a framework asks for, as it was read."""

    info: m.FrameworkInfo
    roles: tuple[str, ...]
    suppressed: frozenset[str]
    constraints: Json | None


# Subscribing.


def check_ids(call: m.SubscribeCall, principal: str | None) -> str | None:
    """Return the id that a SUBSCRIBE names, None for a new framework.

    Raises
    ------
    CallRefused
        The two ids disagree, or the principal is not the one that called.
    """
    info = call.subscribe.framework_info
    ids = [None if id is None else id.value for id in (call.framework_id, info.id)]
    # An empty id stands for none, as clients in C++ send it.
    outer, inner = (id or None for id in ids)
    if outer != inner:
        raise CallRefused(
            BAD_REQUEST,
            f"framework_id {outer!r} and framework_info.id {inner!r} are both absent or equal",
        )
    if principal is not None and info.principal not in (None, "", principal):
        raise CallRefused(
            BAD_REQUEST, f"framework_info.principal {info.principal!r} is not who called"
        )
    return outer


def read_profile(subscribe: m.Subscribe) -> Profile:
    """Return what a framework asks for; raises `ContentRefused`."""
    info = subscribe.framework_info
    if info.role is not None and info.roles:
        raise ContentRefused("framework_info has both role and roles; roles is enough")
    given = info.roles if info.roles else [info.role or "*"]
    try:
        roles = tuple(validate_role(role) for role in given)
    except AllocatorError as error:
        raise ContentRefused(str(error)) from None
    if not abs(info.failover_timeout or 0) <= MAX_FAILOVER_SECONDS:
        raise ContentRefused(f"failover_timeout {info.failover_timeout} is no time in seconds")
    if len(set(roles)) < len(roles):
        twice = next(role for role in roles if roles.count(role) > 1)
        raise ContentRefused(f"role {twice!r} is there twice")
    suppressed = frozenset(subscribe.suppressed_roles or ())
    for role in suppressed:
        if role not in roles:
            raise ContentRefused(f"suppressed role {role!r} is not among the framework's roles")
    return Profile(info, roles, suppressed, read_constraints(subscribe.offer_constraints))


def read_constraints(constraints: Json | None) -> Json | None:
    """Return constraints by role, as the engine takes them; None if there are none."""
    if not constraints:
        return None
    by_role = constraints.get("role_constraints")
    return by_role if by_role else None


def subscribe(
    master: Master, id: str | None, profile: Profile, principal: str | None, stream_id: str
) -> Framework:
    """Connect a framework, new or known, by a stream of its own.

    Raises
    ------
    ContentRefused
        It was removed before, or the engine refuses what it asks for.
    CallRefused
        It is another principal's.
    """
    if id is not None and id in master.removed_frameworks:
        raise ContentRefused("Framework has been removed")
    known = None if id is None else master.frameworks.get(id)
    # One that only agents told of may be anybody's.
    if known is not None and known.principal not in (None, principal):
        raise CallRefused(FORBIDDEN, f"framework {id!r} is another principal's")
    try:
        if known is None:
            framework = register(master, id, profile, principal, stream_id)
        else:
            framework = take_over(master, known, profile, stream_id)
            framework.principal = principal
    except CallRefused:
        raise
    except AllocatorError as error:
        raise ContentRefused(str(error)) from None
    seconds = master.options.heartbeat_interval
    master.send(framework, events.subscribed(framework, seconds, master.info))
    master.send(framework, events.HEARTBEAT)
    master.send_all_waiting(framework)
    master.persist_framework(framework)
    return framework


def register(
    master: Master, id: str | None, profile: Profile, principal: str | None, stream_id: str
) -> Framework:
    """Take in a framework that was not known. An id that it brings is taken as it is."""
    fresh = id is None
    framework = Framework(
        master.new_framework_id() if id is None else id, profile.info, profile.roles, principal
    )
    framework.suppressed = profile.suppressed
    framework.constraints = profile.constraints
    framework.connected = framework.active = True
    framework.stream_id = stream_id
    framework.registered_time = master.wall()
    if not fresh:
        framework.reregistered_time = framework.registered_time
    master.add_framework(framework)
    return framework


def take_over(master: Master, framework: Framework, profile: Profile, stream_id: str) -> Framework:
    """Give a framework that is known, connected or not, a new stream in place of the old."""
    change_profile(master, framework, profile)
    if framework.stream_id is not None:
        master.send(framework, events.error("Framework failed over"))
        master.end_stream(framework)
        # What is on offer belongs to the former stream.
        master.take_back_offers(framework)
    framework.stream_id = stream_id
    framework.connected = framework.active = True
    framework.recovered = False
    master.came_back(framework)
    framework.reregistered_time = master.wall()
    master.engine.activate_framework(framework.id)
    master.mark(framework)
    master.publish(forms.framework_updated, master.engine, framework)
    return framework


def change_profile(master: Master, framework: Framework, profile: Profile) -> None:
    """Have a framework ask for something else; raises what the engine refuses."""
    capabilities = capabilities_of(profile.info)
    master.engine.update_framework(
        framework.id,
        roles=profile.roles,
        suppressed=profile.suppressed,
        capabilities=capabilities & ENGINE_CAPABILITIES,
        min_allocatable=minimum_of(profile.info.offer_filters),
        constraints=profile.constraints,
    )
    framework.info = profile.info
    framework.roles = profile.roles
    framework.suppressed = profile.suppressed
    framework.constraints = profile.constraints
    framework.capabilities = capabilities
    master.mark(framework)


def update_framework(master: Master, framework: Framework, call: m.UpdateFrameworkCall) -> None:
    """UPDATE_FRAMEWORK: all of it or nothing; raises `CallRefused`."""
    try:
        profile = read_profile(call.update_framework)
        for field in FIXED_FIELDS:
            before, after = getattr(framework.info, field), getattr(profile.info, field)
            if (before or None) != (after or None):
                raise ContentRefused(f"the {field} of a framework cannot change to {after!r}")
        id = profile.info.id
        if id is None or id.value != framework.id:
            raise ContentRefused("framework_info.id is not the framework's")
        change_profile(master, framework, profile)
    except ContentRefused as error:
        raise CallRefused(BAD_REQUEST, str(error)) from None
    except AllocatorError as error:
        raise CallRefused(BAD_REQUEST, str(error)) from None
    left = [id for id in framework.offers if master.offers[id].role not in framework.roles]
    master.rescind(left, tell=True)
    master.persist_framework(framework)
    master.publish(forms.framework_updated, master.engine, framework)


# All other calls.


def check_caller(
    master: Master, call: m.SchedulerCall, principal: str | None, stream_id: str | None
) -> Framework:
    """Return the framework that calls.

    Raises
    ------
    CallRefused
        400 no id, or none that is registered; 403 another's, or not connected; 400 the stream id
        is missing or not that of its stream.
    """
    id = None if call.framework_id is None else call.framework_id.value
    framework = None if id is None else master.frameworks.get(id)
    if framework is None:
        raise CallRefused(BAD_REQUEST, f"there is no framework {id!r}")
    if framework.principal != principal:
        raise CallRefused(FORBIDDEN, f"framework {id!r} is another principal's")
    if not framework.connected:
        raise CallRefused(FORBIDDEN, f"framework {id!r} is not connected")
    if stream_id is None:
        raise CallRefused(BAD_REQUEST, "the call has no Mesos-Stream-Id header")
    if stream_id != framework.stream_id:
        raise CallRefused(BAD_REQUEST, f"Mesos-Stream-Id {stream_id!r} is not the framework's")
    return framework


def teardown(master: Master, framework: Framework, call: m.TeardownCall) -> None:
    """TEARDOWN."""
    master.remove_framework(framework)


def decline(master: Master, framework: Framework, call: m.DeclineCall) -> None:
    """DECLINE; offers that are gone are passed over."""
    seconds = refuse_seconds(call.decline.filters)
    open_ids = [id.value for id in call.decline.offer_ids if id.value in framework.offers]
    ids = list(dict.fromkeys(open_ids))
    if ids:
        master.engine.decline(ids, refuse_seconds=seconds)
        for id in ids:
            master.close_offer(id)


def accept_inverse(master: Master, framework: Framework, call: m.AcceptInverseCall) -> None:
    """ACCEPT_INVERSE_OFFERS."""
    _answer_inverse(master, framework, call.accept_inverse_offers, "ACCEPT")


def decline_inverse(master: Master, framework: Framework, call: m.DeclineInverseCall) -> None:
    """DECLINE_INVERSE_OFFERS."""
    _answer_inverse(master, framework, call.decline_inverse_offers, "DECLINE")


def _answer_inverse(
    master: Master, framework: Framework, answer: m.InverseAnswer, status: str
) -> None:
    seconds = refuse_seconds(answer.filters)
    for id in answer.inverse_offer_ids:
        if id.value in framework.inverse_offers:
            agent = master.close_inverse_offer(framework, id.value)
            agent.inverse_answers[framework.id] = master.wall()
            master.engine.answer_inverse(framework.id, agent.id, status, refuse_seconds=seconds)


def revive(master: Master, framework: Framework, call: m.ReviveCall) -> None:
    """REVIVE; one that names a foreign role is ignored as a whole."""
    roles = _own_roles(framework, call.revive)
    if roles is not None:
        master.engine.revive(framework.id, roles)
        _note_suppressed(master, framework, framework.suppressed.difference(roles))


def suppress(master: Master, framework: Framework, call: m.SuppressCall) -> None:
    """SUPPRESS; one that names a foreign role is ignored as a whole."""
    roles = _own_roles(framework, call.suppress)
    if roles is not None:
        master.engine.suppress(framework.id, roles)
        _note_suppressed(master, framework, framework.suppressed.union(roles))


def _own_roles(framework: Framework, given: m.Roles | None) -> Iterable[str] | None:
    named = [] if given is None else list(given.roles or ())
    if given is not None and given.role is not None:
        named.append(given.role)
    if not named:
        return framework.roles
    return named if set(named) <= set(framework.roles) else None


def _note_suppressed(master: Master, framework: Framework, suppressed: frozenset[str]) -> None:
    if suppressed != framework.suppressed:
        framework.suppressed = suppressed
        master.mark(framework)


def kill(master: Master, framework: Framework, call: m.KillCall) -> None:
    """KILL: the agent is told; of a task that is not known the framework is told what is known."""
    id = call.kill.task_id.value
    task = framework.tasks.get(id)
    if task is None:
        agent_id = None if call.kill.agent_id is None else call.kill.agent_id.value
        status = _unknown(master, framework, id, agent_id, None)
        if status is not None:
            master.send(framework, events.update(status))
        return
    if task.is_terminal:
        return
    message = kill_message(framework.id, id)
    if call.kill.kill_policy is not None:
        message["kill_policy"] = call.kill.kill_policy
    task.kill = message
    agent = master.agents.get(task.agent_id)
    if agent is not None:
        master.tell_agent(agent, message)


def _unknown(
    master: Master, framework: Framework, id: str, agent_id: str | None, reason: str | None
) -> Json | None:
    """Return the status of a task that is not known.

    Its agent may be one that is waited for: then nothing is known for certain, and None returned.
    """
    if agent_id in master.recovered_agents or (agent_id is None and master.recovered_agents):
        return None
    state, message = "TASK_LOST", "There is no such task"
    unreachable = framework.unreachable.get(id)
    if unreachable is not None:
        agent_id = unreachable.agent_id
    if framework.is_partition_aware:
        if unreachable is not None or (agent_id in master.unreachable_agents):
            state, message = "TASK_UNREACHABLE", "The agent cannot be reached"
        elif agent_id in master.gone_agents:
            state, message = "TASK_GONE_BY_OPERATOR", "The agent is gone"
        elif agent_id in master.agents:
            state, message = "TASK_GONE", "There is no such task on the agent"
        else:
            state = "TASK_UNKNOWN"
    status = status_of_master(id, state, reason, message, master.wall(), agent_id)
    since = {} if unreachable is None else unreachable.statuses.get(state, {})
    if "unreachable_time" in since:
        status["unreachable_time"] = since["unreachable_time"]
    return status


def reconcile(master: Master, framework: Framework, call: m.ReconcileCall) -> None:
    """RECONCILE: the latest state of these tasks, or of all that have not ended."""
    reason = "REASON_RECONCILIATION"
    if not call.reconcile.tasks:
        for task in list(framework.tasks.values()):
            if not task.is_terminal:
                master.send(framework, events.update(_latest(master, task)))
        return
    for asked in call.reconcile.tasks:
        task_known = framework.tasks.get(asked.task_id.value)
        agent_id = None if asked.agent_id is None else asked.agent_id.value
        status = (
            _unknown(master, framework, asked.task_id.value, agent_id, reason)
            if task_known is None
            else _latest(master, task_known)
        )
        if status is not None:
            master.send(framework, events.update(status))


def _latest(master: Master, task: Task) -> Json:
    message = "Reconciliation: the latest state of the task"
    status = status_of_master(
        task.id, task.state, "REASON_RECONCILIATION", message, master.wall(), task.agent_id
    )
    known = task.statuses.get(task.state, {})
    for field in ("healthy", "container_status", "executor_id", "labels", "check_status"):
        if field in known:
            status[field] = known[field]
    return status


def acknowledge(master: Master, framework: Framework, call: m.AcknowledgeCall) -> None:
    """ACKNOWLEDGE; one that fits nothing is ignored."""
    uuid = call.acknowledge.uuid
    try:
        is_uuid = len(base64.b64decode(uuid, validate=True)) == 16
    except (binascii.Error, ValueError):
        is_uuid = False
    if not is_uuid:
        raise CallRefused(BAD_REQUEST, f"uuid {uuid[:60]!r} is not base64 of 16 bytes")
    id = call.acknowledge.task_id.value
    task = framework.tasks.get(id) or framework.unreachable.get(id)
    if task is not None and task.agent_id == call.acknowledge.agent_id.value:
        master.acknowledge(framework, task, uuid)


def message(master: Master, framework: Framework, call: m.MessageCall) -> None:
    """MESSAGE: handed on to the agent, which hands it on to the executor."""
    agent = master.agents.get(call.message.agent_id.value)
    if agent is not None:
        master.tell_agent(
            agent,
            {
                "type": "MESSAGE",
                "framework_id": {"value": framework.id},
                "executor_id": {"value": call.message.executor_id.value},
                "data": call.message.data,
            },
        )


def shutdown(master: Master, framework: Framework, call: m.ShutdownCall) -> None:
    """SHUTDOWN: handed on to the agent."""
    agent = master.agents.get(call.shutdown.agent_id.value)
    if agent is not None:
        id = call.shutdown.executor_id.value
        master.tell_agent(agent, shutdown_message(framework.id, id))


def request(master: Master, framework: Framework, call: m.RequestCall) -> None:
    """REQUEST: the engine offers by need, not by request."""


#: Type → what it does; SUBSCRIBE has a way of its own.
CALLS: Final[dict[str, Callable[[Master, Framework, Any], None]]] = {
    "TEARDOWN": teardown,
    "ACCEPT": accept,
    "DECLINE": decline,
    "ACCEPT_INVERSE_OFFERS": accept_inverse,
    "DECLINE_INVERSE_OFFERS": decline_inverse,
    "REVIVE": revive,
    "SUPPRESS": suppress,
    "KILL": kill,
    "SHUTDOWN": shutdown,
    "ACKNOWLEDGE": acknowledge,
    "RECONCILE": reconcile,
    "MESSAGE": message,
    "REQUEST": request,
    "UPDATE_FRAMEWORK": update_framework,
}
