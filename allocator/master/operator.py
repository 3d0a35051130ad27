"""The calls of the operator API; what they have in common with others stands in `Master`.

Each is a function of the master, the call, and who calls. It either raises `CallRefused` and
changes nothing, or returns: what a read asked for, or None where there is nothing to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from allocator.contract import Offer
from allocator.errors import AllocatorError, shown
from allocator.master import forms
from allocator.master.accepting import innermost_roles
from allocator.master.events import entries, time_json
from allocator.master.master import Master
from allocator.master.model import Model
from allocator.master.quotas import check_quotas, engine_quotas, read_quotas, rescind_beyond
from allocator.master.records import Agent, Json
from allocator.master.schedule import Schedule
from allocator.resources import Reservation, Resource, Resources
from allocator.resources.conversions import Reserve, Unreserve, convert
from allocator.version import build_info
from allocator.wire import messages as m
from allocator.wire.acls import Names
from allocator.wire.decode import read_value
from allocator.wire.refusal import BAD_REQUEST, CONFLICT, NOT_FOUND, CallRefused

#: Raises `CallRefused` (403) unless who calls may do an action to all of these.
Check: TypeAlias = Callable[[str, Iterable[Names]], None]


class Caller(NamedTuple):
    """Who calls, by what it may do; and what the master measures and shows."""

    principal: str | None
    check: Check
    #: Returns name → number.
    metrics: Callable[[], Mapping[str, float]]
    model: Model


Conversion = TypeVar("Conversion", Reserve, Unreserve)
Call: TypeAlias = Callable[[Master, Any, Caller], Json | None]


def status_of(type: str) -> int:
    """Return the HTTP status of an answer to a call that was not refused."""
    return 202 if type in ("RESERVE_RESOURCES", "UNRESERVE_RESOURCES") else 200


# Reads.


def get_tasks(master: Master, model: Model) -> Json:
    """Return all tasks, also those that ended and are still kept. O(length of the texts)."""
    frameworks = [*master.frameworks.values(), *master.completed]
    return {
        "tasks": _listed(model.tasks_in_v1(frameworks, "tasks")),
        "unreachable_tasks": _listed(model.tasks_in_v1(frameworks, "unreachable")),
        "completed_tasks": _listed(model.tasks_in_v1(frameworks, "completed")),
    }


def _listed(parts: list[bytes]) -> msgspec.Raw:
    return msgspec.Raw(b"".join((b"[", *parts, b"]")))


def get_frameworks(master: Master, model: Model) -> Json:
    """Return all frameworks, also those that were removed and are still kept. O(roles of each)."""
    return {
        "frameworks": [forms.framework_json(f, model.held(f)) for f in master.frameworks.values()],
        "completed_frameworks": [forms.framework_json(f, None) for f in master.completed],
    }


def get_agents(master: Master, model: Model) -> Json:
    """Return the agents that are registered, and those that are waited for."""
    return {
        "agents": _listed(model.agents_in_v1()),
        "recovered_agents": [forms.agent_info(agent) for agent in master.recovered_agents.values()],
    }


def get_executors(master: Master) -> Json:
    """Return the executors that frameworks brought. O(executors)."""
    frameworks = master.frameworks.values()
    return {"executors": [forms.executor_json(e) for f in frameworks for e in f.executors.values()]}


def get_state(master: Master, model: Model) -> Json:
    """Return all of it."""
    return {
        "get_tasks": get_tasks(master, model),
        "get_executors": get_executors(master),
        "get_frameworks": get_frameworks(master, model),
        "get_agents": get_agents(master, model),
    }


def get_roles(master: Master) -> Json:
    """Return the roles that there are, with what their subtrees are offered and use."""
    return {
        "roles": [
            {
                "name": path,
                "weight": role.weight,
                "frameworks": [{"value": id} for id in role.frameworks],
                "resources": entries(Resources(role.allocated + role.offered)),
            }
            for path, role in master.engine.roles.items()
        ]
    }


def get_maintenance_status(master: Master) -> Json:
    """Return the machines that are to be away, and what frameworks there say to that."""
    statuses: dict[int, list[Json]] = {}
    for agent in master.agents.values():
        planned = master.schedule.planned(agent.hostname, agent.ip)
        if planned is not None:
            statuses.setdefault(id(planned), []).extend(_inverse_statuses(master, agent))
    machines = [
        {"id": planned.machine, "statuses": statuses.get(id(planned), [])}
        for planned in master.schedule
    ]
    return {"status": {"draining_machines": machines}}


def _inverse_statuses(master: Master, agent: Agent) -> list[Json]:
    answers = master.engine.inverse_statuses(agent.id)
    return [
        {
            "status": answer,
            "framework_id": {"value": framework},
            "timestamp": time_json(agent.inverse_answers.get(framework, 0.0)),
        }
        for framework, answer in answers.items()
    ]


def get_master(master: Master) -> Json:
    """Return who this is."""
    return {
        "master_info": master.info.to_json(),
        "start_time": master.start_time,
        "elected_time": master.elected_time,
    }


def get_flags(master: Master) -> Json:
    """Return what was set when the master was started."""
    return {"flags": [{"name": name, "value": text} for name, text in master.flags.items()]}


#: Type → what a read returns under its name in lower case.
READS: Final[dict[str, Callable[[Master], Json]]] = {
    "GET_HEALTH": lambda master: {"healthy": True},
    "GET_FLAGS": get_flags,
    "GET_VERSION": lambda master: {"version_info": build_info()},
    "GET_EXECUTORS": get_executors,
    "GET_ROLES": get_roles,
    "GET_WEIGHTS": lambda master: {"weight_infos": forms.weight_infos(master.weights)},
    "GET_QUOTA": lambda master: {"status": forms.quota_status(master.quotas)},
    "GET_MAINTENANCE_STATUS": get_maintenance_status,
    "GET_MAINTENANCE_SCHEDULE": lambda master: {"schedule": {"windows": master.schedule.windows}},
    "GET_MASTER": get_master,
}

#: The same of what is large, out of texts that are kept.
LARGE_READS: Final[dict[str, Callable[[Master, Model], Json]]] = {
    "GET_STATE": get_state,
    "GET_AGENTS": get_agents,
    "GET_FRAMEWORKS": get_frameworks,
    "GET_TASKS": get_tasks,
}


def _reading(type: str, read: Callable[[Master], Json]) -> Call:
    def answer(master: Master, call: m.OperatorCall, caller: Caller) -> Json:
        check_reading(caller)
        return {"type": type, type.lower(): read(master)}

    return answer


def _reading_much(type: str, read: Callable[[Master, Model], Json]) -> Call:
    def answer(master: Master, call: m.OperatorCall, caller: Caller) -> Json:
        check_reading(caller)
        caller.model.advance(math.inf, in_v1=True)  # what is not written yet, if anything
        return {"type": type, type.lower(): read(master, caller.model)}

    return answer


def check_reading(caller: Caller) -> None:
    """Raise `CallRefused` unless who calls may read by this API."""
    caller.check("get_endpoints", ["/api/v1"])


def get_metrics(master: Master, call: m.GetMetricsCall, caller: Caller) -> Json:
    """GET_METRICS."""
    check_reading(caller)
    metrics = [{"name": name, "value": value} for name, value in caller.metrics().items()]
    return {"type": "GET_METRICS", "get_metrics": {"metrics": metrics}}


def snapshot(master: Master, model: Model) -> Json:
    """Return the first event for somebody who watches: all that there is. O(its length)."""
    model.advance(math.inf, in_v1=True)
    return {
        "type": "SUBSCRIBED",
        "subscribed": {
            "get_state": get_state(master, model),
            "heartbeat_interval_seconds": master.options.heartbeat_interval,
        },
    }


# Policy.


def update_weights(master: Master, call: m.UpdateWeightsCall, caller: Caller) -> None:
    """UPDATE_WEIGHTS."""
    set_weights(master, call.update_weights.weight_infos, caller)


def put_weights(master: Master, body: bytes, caller: Caller) -> None:
    """PUT of a list of weights; raises `CallRefused` as all calls do."""
    set_weights(master, read_value(body, _WEIGHTS), caller)


_WEIGHTS: Final = msgspec.json.Decoder(list[m.WeightInfo], strict=False)


def set_weights(master: Master, infos: list[m.WeightInfo], caller: Caller) -> None:
    """Weigh roles, all of them or none."""
    weights = {info.role: info.weight for info in infos}
    caller.check("update_weights", weights)
    check_distinct_roles(info.role for info in infos)
    try:
        master.engine.set_weights(weights)
    except AllocatorError as error:
        raise CallRefused(BAD_REQUEST, str(error)) from None
    master.weights.update(weights)
    master.policy_generation += 1
    for role, weight in weights.items():
        master.persist("weights", role, {"weight": weight})


def check_distinct_roles(roles: Iterable[str]) -> None:
    """Raise `CallRefused` if a role is there twice."""
    seen = set()
    for role in roles:
        if role in seen:
            raise CallRefused(BAD_REQUEST, f"role {shown(role)} is there twice")
        seen.add(role)


def update_quota(master: Master, call: m.UpdateQuotaCall, caller: Caller) -> None:
    """UPDATE_QUOTA: all of them or none."""
    configs = call.update_quota.quota_configs
    caller.check("update_quotas", [config.role for config in configs])
    check_distinct_roles(config.role for config in configs)
    try:
        quotas = read_quotas(configs)
        if not call.update_quota.force:
            check_quotas(master, quotas)
        master.engine.set_quotas(engine_quotas(quotas))
    except AllocatorError as error:
        raise CallRefused(BAD_REQUEST, str(error)) from None
    master.policy_generation += 1
    for role, quota in quotas.items():
        if quota["guarantees"] or quota["limits"]:
            master.quotas[role] = quota
            master.persist("quotas", role, quota)
        else:
            master.quotas.pop(role, None)
            master.persist("quotas", role, None)
    for role in quotas:
        rescind_beyond(master, role)


def update_maintenance_schedule(master: Master, call: m.UpdateScheduleCall, caller: Caller) -> None:
    """UPDATE_MAINTENANCE_SCHEDULE: the whole of it is another one from now on."""
    try:
        schedule = Schedule(call.update_maintenance_schedule.schedule.windows or ())
    except AllocatorError as error:
        raise CallRefused(BAD_REQUEST, str(error)) from None
    changed = master.schedule.changed(schedule)
    caller.check("update_maintenance_schedules", [planned.names for planned in changed])
    master.schedule = schedule
    master.persist("maintenance", "schedule", {"windows": schedule.windows})
    for agent in master.agents.values():
        master.plan_for(agent)


# Agents and frameworks.


def reserve_resources(master: Master, call: m.ReserveCall, caller: Caller) -> None:
    """RESERVE_RESOURCES."""
    asked = call.reserve_resources
    operation = _operation(lambda: Reserve(asked.resources, asked.source))
    _convert(master, asked, operation, caller)


def unreserve_resources(master: Master, call: m.UnreserveCall, caller: Caller) -> None:
    """UNRESERVE_RESOURCES."""
    asked = call.unreserve_resources
    operation = _operation(lambda: Unreserve(asked.resources))
    _convert(master, asked, operation, caller)


def _operation(make: Callable[[], Conversion]) -> Conversion:
    try:
        return make()
    except AllocatorError as error:
        raise CallRefused(BAD_REQUEST, str(error)) from None


def _convert(
    master: Master, asked: m.AgentResources, operation: Reserve | Unreserve, caller: Caller
) -> None:
    """Convert what an agent has available, taking back what is on offer and in the way."""
    source = operation.source if isinstance(operation, Reserve) else None
    reserved = [*operation.resources, *(source or ())]
    caller.check("reserve_resources", innermost_roles(reserved))
    agent = master.agents.get(asked.agent_id.value)
    if agent is None:
        raise CallRefused(BAD_REQUEST, f"there is no agent {shown(asked.agent_id.value)}")
    _check_reserved(reserved, caller)
    view = master.engine.agent(agent.id)
    pool = view.available + view.offered
    try:
        after = convert(pool, operation, existing=view.total, shared_in_use=view.allocated)
    except AllocatorError as error:
        raise CallRefused(CONFLICT, str(error)) from None
    needed = pool.minus_floor(after)
    master.rescind(_in_the_way(master, agent, needed), tell=True)
    master.engine.apply_available(agent.id, operation)
    master.agent_converted(agent)


def _check_reserved(entries: Iterable[Resource], caller: Caller) -> None:
    """Raise `CallRefused` for a reservation in another principal's name."""
    for entry in entries:
        for reservation in entry.reservations[-1:]:
            _check_principal(reservation, caller)


def _check_principal(reservation: Reservation, caller: Caller) -> None:
    if caller.principal is not None and reservation.principal not in (None, caller.principal):
        raise CallRefused(
            BAD_REQUEST,
            f"the reservation's principal {shown(reservation.principal)} is not who called",
        )


def _in_the_way(master: Master, agent: Agent, needed: Resources) -> list[str]:
    """Return the open offers without which an agent has available what is needed.

    Younger ones go first; those that have nothing of it stay open. O(offers on the agent).
    """
    missing = needed.minus_floor(master.engine.agent(agent.id).available)
    taken: list[str] = []
    for id in reversed(agent.offers):
        if not missing:
            break
        offer: Offer = master.engine.open_offers[id]
        rest = missing.minus_floor(offer.resources)
        if rest != missing:
            taken.append(id)
            missing = rest
    return taken


def teardown(master: Master, call: m.OperatorTeardownCall, caller: Caller) -> None:
    """TEARDOWN."""
    id = call.teardown.framework_id.value
    framework = master.frameworks.get(id)
    if framework is None:
        raise CallRefused(BAD_REQUEST, f"there is no framework {shown(id)}")
    caller.check("teardown_frameworks", [framework.principal])
    master.remove_framework(framework)


def mark_agent_gone(master: Master, call: m.MarkAgentGoneCall, caller: Caller) -> None:
    """MARK_AGENT_GONE; done again, it changes nothing."""
    id = call.mark_agent_gone.agent_id.value
    agent = (
        master.agents.get(id)
        or master.recovered_agents.get(id)
        or master.unreachable_agents.get(id)
    )
    caller.check("mark_agents_gone", [id if agent is None else (agent.hostname, id)])
    if agent is not None:
        master.declare_gone(agent)
    elif id not in master.gone_agents:
        raise CallRefused(NOT_FOUND, f"there is no agent {shown(id)}")


#: Type → what it does; SUBSCRIBE has a way of its own.
CALLS: Final[dict[str, Call]] = {
    **{type: _reading(type, read) for type, read in READS.items()},
    **{type: _reading_much(type, read) for type, read in LARGE_READS.items()},
    "GET_METRICS": get_metrics,
    "UPDATE_WEIGHTS": update_weights,
    "UPDATE_QUOTA": update_quota,
    "UPDATE_MAINTENANCE_SCHEDULE": update_maintenance_schedule,
    "RESERVE_RESOURCES": reserve_resources,
    "UNRESERVE_RESOURCES": unreserve_resources,
    "TEARDOWN": teardown,
    "MARK_AGENT_GONE": mark_agent_gone,
}
