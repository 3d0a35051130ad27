"""What a master shows as dicts, built from its records, nothing kept: `/state` as it was."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from allocator.contract import Offer
from allocator.master.events import entries
from allocator.master.records import Agent, Executor, Framework, Task
from allocator.resources import Resources, ranges
from allocator.version import build_info

if TYPE_CHECKING:  # asv takes classes with a method `time_…` for benchmarks
    from allocator.master.master import Master

Json = dict[str, Any]

NOTHING = Resources()


def amounts(resources: Resources) -> Json:
    """Return amounts by name: numbers, or text for ranges and sets."""
    found: Json = {"cpus": 0.0, "gpus": 0.0, "mem": 0.0, "disk": 0.0}
    others: dict[str, Any] = {}
    for entry in resources:
        name = entry.name + ("_revocable" if entry.revocable else "")
        value = entry.value
        if isinstance(value, int):
            others[name] = others.get(name, 0) + value
        elif isinstance(value, tuple):
            others[name] = ranges.union(others.get(name, ()), value)
        else:
            others[name] = others.get(name, frozenset()) | value
    for name in sorted(others):
        found[name] = _amount(others[name])
    return found


def _amount(value: Any) -> float | str:
    if isinstance(value, int):
        return value / 1000
    if isinstance(value, tuple):
        return "[" + ", ".join(f"{low}-{high}" for low, high in value) + "]"
    return "{" + ", ".join(sorted(value)) + "}"


def task_json(task: Task) -> Json:
    """Return a task."""
    info = task.info
    found: Json = {
        "id": task.id,
        "name": info.name,
        "framework_id": task.framework_id,
        "executor_id": task.executor_id,
        "slave_id": task.agent_id,
        "resources": amounts(task.resources),
        "role": task.role,
    }
    if info.limits:
        found["limits"] = {name: _number(limit.value) for name, limit in info.limits.items()}
    if info.command and isinstance(info.command.get("user"), str):
        found["user"] = info.command["user"]
    found.update(_labels(info.labels))
    for name in ("discovery", "container", "health_check"):
        if getattr(info, name) is not None:
            found[name] = getattr(info, name)
    found["state"] = task.state
    found["statuses"] = [_status(status) for status in task.statuses.values()]
    return found


def _status(status: Json) -> Json:
    found = {"state": status["state"], "timestamp": status.get("timestamp") or 0.0}
    found.update(_labels(status.get("labels")))
    for name in ("container_status", "healthy"):
        if status.get(name) is not None:
            found[name] = status[name]
    return found


def _labels(labels: Json | None) -> Json:
    found = labels.get("labels") if labels else None
    return {"labels": found} if found else {}


def _number(number: float) -> float | str:
    if math.isfinite(number):
        return number
    return "Infinity" if number > 0 else "-Infinity"


def offer_json(offer: Offer) -> Json:
    """Return an open offer."""
    return {
        "id": offer.id,
        "framework_id": offer.framework,
        "allocation_info": {"role": offer.role},
        "slave_id": offer.agent,
        "resources": amounts(offer.resources),
    }


def agent_json(master: Master, agent: Agent, *, in_full: bool = False) -> Json:
    """Return an agent, one that is registered or waited for."""
    view = master.engine.agents.get(agent.id)
    total = agent.resources if view is None else view.total
    reserved = {role: total.reserved(role) for role in _roles_of(total)}
    found: Json = {
        "id": agent.id,
        "hostname": agent.hostname,
        "port": agent.port,
        "attributes": _attributes(agent.info.attributes or []),
        "pid": agent.pid or f"slave(1)@{agent.ip}:{agent.port}",
        "registered_time": agent.registered_time,
        "resources": amounts(total),
        "reserved_resources": {role: amounts(of_role) for role, of_role in reserved.items()},
        "unreserved_resources": amounts(total.unreserved()),
        "active": agent.active and view is not None,
        "deactivated": False,
        "version": agent.version,
        "capabilities": [capability.type for capability in agent.info.capabilities or ()],
    }
    if agent.info.domain is not None:
        found["domain"] = agent.info.domain
    if agent.reregistered_time is not None:
        found["reregistered_time"] = agent.reregistered_time
    if view is not None:
        found["used_resources"] = amounts(view.allocated)
        found["offered_resources"] = amounts(view.offered)
    if view is not None and in_full:
        found["reserved_resources_full"] = {r: entries(held) for r, held in reserved.items()}
        found["unreserved_resources_full"] = entries(total.unreserved())
        found["used_resources_full"] = entries(view.allocated)
        found["offered_resources_full"] = entries(view.offered)
    return found


def _roles_of(total: Resources) -> list[str]:
    return [role for role in dict.fromkeys(entry.role for entry in total) if role is not None]


def _attributes(attributes: list[Json]) -> Json:
    found: Json = {}
    for attribute in attributes:
        if attribute["type"] == "SCALAR":
            value: Any = attribute["scalar"]["value"]
        elif attribute["type"] == "RANGES":
            pairs = [(each["begin"], each["end"]) for each in attribute["ranges"]["range"]]
            value = _amount(tuple(pairs))
        elif attribute["type"] == "SET":
            value = "{" + ", ".join(attribute["set"]["item"]) + "}"
        else:
            value = attribute["text"]["value"]
        found.setdefault(attribute["name"], value)
    return found


def executor_json(executor: Executor) -> Json:
    """Return an executor."""
    return {
        "executor_id": executor.id,
        "name": executor.info.name or "",
        "framework_id": executor.framework_id,
        "command": executor.info.command,
        "resources": amounts(executor.resources),
        "role": executor.role,
        "type": "CUSTOM",
        "slave_id": executor.agent_id,
        **_labels(executor.info.labels),
    }


def framework_json(master: Master, framework: Framework) -> Json:
    """Return a framework with its tasks and offers."""
    info = framework.info
    offers = [master.offers[id] for id in framework.offers]
    used = _sum(task.resources for task in framework.tasks.values() if task.holds)
    used += _sum(executor.resources for executor in framework.executors.values())
    offered = _sum(offer.resources for offer in offers)
    constraints = framework.constraints
    found: Json = {
        "id": framework.id,
        "name": info.name,
        "hostname": info.hostname or "",
        "webui_url": info.webui_url or "",
        "capabilities": sorted(framework.capabilities),
        "active": framework.active,
        "connected": framework.connected,
        "recovered": framework.recovered,
        "user": info.user,
        "failover_timeout": framework.failover_timeout,
        "checkpoint": info.checkpoint or False,
        "registered_time": framework.registered_time,
        "unregistered_time": framework.unregistered_time,
        "used_resources": amounts(used),
        "offered_resources": amounts(offered),
        "resources": amounts(used + offered),
        "roles": list(framework.roles),
        "offer_constraints": {"role_constraints": constraints} if constraints else {},
        "executors": [executor_json(executor) for executor in framework.executors.values()],
        "tasks": [task_json(task) for task in framework.tasks.values()],
        "unreachable_tasks": [task_json(task) for task in framework.unreachable.values()],
        "completed_tasks": [task_json(task) for task in framework.completed],
        "offers": [offer_json(offer) for offer in offers],
        **_labels(info.labels),
    }
    if framework.reregistered_time is not None:
        found["reregistered_time"] = framework.reregistered_time
    if principal := framework.principal or info.principal:
        found["principal"] = principal
    return found


def _sum(held: Iterable[Resources]) -> Resources:
    return sum(held, start=NOTHING)


def state(master: Master) -> Json:
    """Return all of `/state`."""
    info = master.info
    active = [agent for agent in master.agents.values() if agent.active]
    found: Json = {
        **build_info(),
        "start_time": master.start_time,
        "elected_time": master.start_time,
        "id": info.id,
        "pid": info.pid,
        "hostname": info.hostname,
        "capabilities": [],
        "activated_slaves": len(active),
        "deactivated_slaves": len(master.agents) - len(active),
        "unreachable_slaves": len(master.unreachable_agents),
        "leader": info.pid,
        "leader_info": {
            "id": info.id,
            "pid": info.pid,
            "port": info.port,
            "hostname": info.hostname,
        },
        "flags": dict(master.flags),
        "slaves": [agent_json(master, agent) for agent in master.agents.values()],
        "recovered_slaves": [
            agent_json(master, agent) for agent in master.recovered_agents.values()
        ],
        "frameworks": [framework_json(master, each) for each in master.frameworks.values()],
        "completed_frameworks": [framework_json(master, each) for each in master.completed],
        "orphan_tasks": [],
        "unregistered_frameworks": [],
    }
    if master.options.cluster is not None:
        found["cluster"] = master.options.cluster
    return found
