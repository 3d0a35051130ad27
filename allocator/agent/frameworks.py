"""The frameworks of an agent as `/state` shows them, with their executors and tasks.

A task that runs a command stands for an executor of its own, as Mesos' command executor would.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from allocator.agent.agent import Agent
from allocator.agent.executors import Executor
from allocator.agent.instructions import Container
from allocator.agent.runtime import Runtime
from allocator.agent.tasks import TERMINAL, Task
from allocator.resources import Resources
from allocator.wire import messages as m

Json = dict[str, Any]

#: Shown even where there is nothing of them.
ALWAYS: Final = ("cpus", "gpus", "mem", "disk")


def frameworks(agents: Iterable[Agent], runtime: Runtime) -> Json:
    """Return the frameworks that have something on an agent, and those that had. O(tasks)."""
    now: dict[str, Json] = {}
    past: dict[str, Json] = {}
    for agent in agents:
        for executor in agent.executors.known.values():
            id, info = executor.key[0], executor.entry.framework_info
            at = now.setdefault(id, _framework(id, info))
            at["executors"].append(_executor(executor, runtime))
        for task in agent.tasks.values():
            id = task.container.framework_id
            at = now.setdefault(id, _framework(id, task.framework_info))
            if task.runs_in is None:
                at["executors"].append(_command(task, runtime))
        for id, had in agent.past.items():
            at = now[id] if id in now else past.setdefault(id, _framework(id, had.info))
            at["completed_executors"] += [
                _command(ended, runtime) if isinstance(ended, Task) else _executor(ended, runtime)
                for ended in had.executors
            ]
    return {
        "frameworks": list(now.values()),
        "completed_frameworks": [each for id, each in past.items() if id not in now],
    }


def amounts(resources: Resources) -> Json:
    """Return resources by name, as people read them: numbers, or text of ranges and sets."""
    found: Json = dict.fromkeys(ALWAYS, 0.0)
    for name in resources.names:
        found[name] = _amount(resources[name])
    return found


def _amount(value: float | tuple[tuple[int, int], ...] | frozenset[str]) -> float | str:
    if isinstance(value, tuple):
        return "[" + ", ".join(f"{first}-{last}" for first, last in value) + "]"
    if isinstance(value, frozenset):
        return "{" + ", ".join(sorted(value)) + "}"
    return float(value)


def _framework(id: str, info: m.FrameworkInfo | None) -> Json:
    return {
        "id": id,
        "name": "" if info is None else info.name,
        "user": "" if info is None else info.user,
        "failover_timeout": 0.0 if info is None else info.failover_timeout or 0.0,
        "checkpoint": info is not None and bool(info.checkpoint),
        "hostname": "" if info is None else info.hostname or "",
        "roles": [] if info is None else list(info.roles or [info.role or "*"]),
        "executors": [],
        "completed_executors": [],
    }


def _command(task: Task, runtime: Runtime) -> Json:
    """Return the executor that a command stands for."""
    is_over = task.state in TERMINAL
    return {
        **_of_container(task.container, runtime),
        "resources": amounts(Resources(task.info.resources or [])),
        "role": task.role,
        "tasks": [] if is_over else [_task(task)],
        "queued_tasks": [],
        "completed_tasks": [_task(task)] if is_over else [],
    }


def _executor(executor: Executor, runtime: Runtime) -> Json:
    """Return an executor that a framework brought."""
    tasks = executor.tasks.values()
    json = {
        **_of_container(executor.container, runtime),
        "resources": amounts(executor.resources()),
        "role": executor.entry.role,
        "type": "CUSTOM",
        "tasks": [_task(task) for task in tasks if task.is_sent],
        "queued_tasks": [_task(task) for task in tasks if not task.is_sent],
        "completed_tasks": [_task(task) for task in executor.completed],
    }
    labels = (executor.info.labels or {}).get("labels")
    return json if not labels else {**json, "labels": labels}


def _of_container(container: Container, runtime: Runtime) -> Json:
    """Return what an executor shows of its container."""
    json = {
        "id": container.executor_id,
        "name": container.executor_name,
        "source": container.source,
        "container": container.id,
    }
    directory = runtime.directory(container)
    return json if directory is None else {**json, "directory": str(directory)}


def _task(task: Task) -> Json:
    container = task.container
    return {
        "id": task.info.task_id.value,
        "name": task.info.name,
        "framework_id": container.framework_id,
        "executor_id": container.executor_id,
        "slave_id": container.agent_id,
        "state": task.state,
        "resources": amounts(Resources(task.info.resources or [])),
        "role": task.role,
        "statuses": [
            {"state": status.state, "timestamp": status.timestamp}
            for status in task.history.values()
        ],
        **({} if task.info.labels is None else {"labels": task.info.labels.get("labels", [])}),
    }
