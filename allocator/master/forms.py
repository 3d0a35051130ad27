"""Frameworks, agents and tasks as the operator API shows them: in the v1 form of `master.proto`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec

from allocator import Allocator
from allocator.master.events import entries, time_json
from allocator.master.records import Agent, Executor, Framework, Json, Task
from allocator.resources import Resources
from allocator.wire.decode import encode
from allocator.wire.messages import Value


def task_json(task: Task) -> Json:
    """Return a task. O(its statuses)."""
    json: Json = {
        "name": task.info.name,
        "task_id": {"value": task.id},
        "framework_id": {"value": task.framework_id},
        "agent_id": {"value": task.agent_id},
        "state": task.state,
        "resources": entries(task.resources, task.role),
        "statuses": list(task.statuses.values()),
    }
    if task.executor_id:
        json["executor_id"] = {"value": task.executor_id}
    if task.waiting:
        json["status_update_state"] = task.waiting[0]["state"]
        json["status_update_uuid"] = task.waiting[0]["uuid"]
    for field in ("labels", "discovery", "container", "health_check", "kill_policy"):
        value = getattr(task.info, field)
        if value is not None:
            json[field] = value
    return json


def tasks_text(tasks: Iterable[Task]) -> bytes:
    """Return the JSON of tasks, with commas between them. O(their statuses)."""
    return encode([task_json(task) for task in tasks])[1:-1]


def agents_text(engine: Allocator, agents: Iterable[Agent]) -> bytes:
    """Return the JSON of agents that are registered, with commas between them. O(entries)."""
    return encode([agent_json(engine, agent) for agent in agents])[1:-1]


def executor_state(executor: Executor) -> Json:
    """Return an executor as `/state` shows it."""
    info = executor.info
    json: Json = {
        "executor_id": executor.id,
        "name": info.name or "",
        "framework_id": executor.framework_id,
        "command": info.command or {},
        "resources": executor.resources,
        "role": executor.role,
        "type": "CUSTOM",
        "slave_id": executor.agent_id,
    }
    if info.labels and info.labels.get("labels"):
        json["labels"] = info.labels["labels"]
    return json


def executor_json(executor: Executor) -> Json:
    """Return an executor, and where it runs."""
    info = msgspec.structs.replace(
        executor.info,
        type="CUSTOM",
        framework_id=Value(value=executor.framework_id),
        resources=entries(executor.resources, executor.role),
    )
    return {"executor_info": info, "agent_id": {"value": executor.agent_id}}


#: What a framework uses, and what it is offered, each by role.
HeldByRole: TypeAlias = tuple[Mapping[str, Resources], Mapping[str, Resources]]


def framework_json(framework: Framework, held: HeldByRole | None) -> Json:
    """Return a framework, with what it holds, which is None if it is not registered. O(roles)."""
    json: Json = {
        "framework_info": framework_info(framework),
        "active": framework.active,
        "connected": framework.connected,
        "recovered": framework.recovered,
        "registered_time": time_json(framework.registered_time),
    }
    if framework.reregistered_time is not None:
        json["reregistered_time"] = time_json(framework.reregistered_time)
    if framework.unregistered_time:
        json["unregistered_time"] = time_json(framework.unregistered_time)
    if framework.constraints:
        json["offer_constraints"] = {"role_constraints": framework.constraints}
    if held is not None:
        allocated, offered = held
        json["allocated_resources"] = _in_roles(allocated)
        json["offered_resources"] = _in_roles(offered)
    return json


def _in_roles(by_role: Mapping[str, Resources]) -> list[Json]:
    return [entry for role, total in sorted(by_role.items()) for entry in entries(total, role)]


def held_of(engine: Allocator, framework: Framework) -> HeldByRole | None:
    """Return what a framework holds; None if it is not registered. O(agents on which it does)."""
    view = engine.frameworks.get(framework.id)
    return None if view is None else (_by_role(view.allocated), _by_role(view.offered))


def framework_info(framework: Framework) -> Json:
    """Return what a framework says of itself, with its id, and its roles whatever it said."""
    json: Json = msgspec.to_builtins(framework.info)
    json.pop("role", None)
    return {**json, "id": {"value": framework.id}, "roles": list(framework.roles)}


def _by_role(by_agent: dict[str, dict[str, Resources]]) -> dict[str, Resources]:
    """Return what is held on all agents together, by role. O(agents), and O(names) a value."""
    n_of: dict[str, Counter[Resources]] = {}
    for held in by_agent.values():
        for role, resources in held.items():
            n_of.setdefault(role, Counter())[resources] += 1
    return {role: _sum(n) for role, n in n_of.items()}


def _sum(n_of: Counter[Resources]) -> Resources:
    """Return the sum of values that are there so often each: many are the same."""
    milli: Counter[str] = Counter()
    special = Resources()
    for resources, n in n_of.items():
        for name, amount in resources.plain_milli.items():
            milli[name] += n * amount
        special = sum([resources.special()] * n, start=special)
    return Resources.from_milli(milli) + special


def agent_json(engine: Allocator, agent: Agent) -> Json:
    """Return an agent that is registered. O(entries)."""
    view = engine.agent(agent.id)
    json: Json = {
        "agent_info": agent_info(agent),
        "active": agent.active,
        "deactivated": False,
        "version": agent.version,
        "pid": agent.pid,
        "registered_time": time_json(agent.registered_time),
        "total_resources": entries(agent.resources),
        "allocated_resources": entries(view.allocated),
        "offered_resources": entries(view.offered),
        "capabilities": msgspec.to_builtins(agent.info.capabilities or []),
    }
    if agent.reregistered_time is not None:
        json["reregistered_time"] = time_json(agent.reregistered_time)
    return json


def agent_info(agent: Agent) -> Json:
    """Return what an agent says of itself, with its id."""
    return {**msgspec.to_builtins(agent.info), "id": {"value": agent.id}}


# Events, for those who watch.


def task_added(task: Task) -> Json:
    """Return the event of a task that was launched, or came with its agent."""
    return {"type": "TASK_ADDED", "task_added": {"task": task_json(task)}}


def task_updated(task: Task, status: Json) -> Json:
    """Return the event of a status."""
    updated: Json = {
        "framework_id": {"value": task.framework_id},
        "status": status,
        "state": task.state,
    }
    return {"type": "TASK_UPDATED", "task_updated": updated}


def framework_added(engine: Allocator, framework: Framework) -> Json:
    """Return the event of a framework that was taken in."""
    added = {"framework": framework_json(framework, held_of(engine, framework))}
    return {"type": "FRAMEWORK_ADDED", "framework_added": added}


def framework_updated(engine: Allocator, framework: Framework) -> Json:
    """Return the event of a framework that came, left, or asks for something else."""
    updated = {"framework": framework_json(framework, held_of(engine, framework))}
    return {"type": "FRAMEWORK_UPDATED", "framework_updated": updated}


def framework_removed(framework: Framework) -> Json:
    """Return the event of a framework that was removed."""
    removed = {"framework_info": framework_info(framework)}
    return {"type": "FRAMEWORK_REMOVED", "framework_removed": removed}


def agent_added(engine: Allocator, agent: Agent) -> Json:
    """Return the event of an agent that came, or came back."""
    return {"type": "AGENT_ADDED", "agent_added": {"agent": agent_json(engine, agent)}}


def agent_removed(agent: Agent) -> Json:
    """Return the event of an agent that was removed."""
    return {"type": "AGENT_REMOVED", "agent_removed": {"agent_id": {"value": agent.id}}}


# Policy.


def weight_infos(weights: Mapping[str, float]) -> list[Json]:
    """Return the weights that were set, by role."""
    return [{"role": role, "weight": weights[role]} for role in sorted(weights)]


def quota_status(quotas: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Json:
    """Return the quotas that were set, by role, in the newer form (`configs`) and the older."""
    by_role = [(role, quotas[role]) for role in sorted(quotas)]
    return {
        "infos": [
            {"role": role, "guarantee": entries(Resources(quota["guarantees"]))}
            for role, quota in by_role
        ],
        "configs": [
            {
                "role": role,
                **{kind: {n: {"value": v} for n, v in quota[kind].items()} for kind in quota},
            }
            for role, quota in by_role
        ],
    }
