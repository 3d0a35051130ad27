"""What an agent shows of itself: `/state`, `/health`, `/version`, `/metrics/snapshot`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from allocator.agent.agent import TERMINAL, Agent, Task
from allocator.agent.server import Answer, Request, Route, Routes, json_answer
from allocator.agent.service import Service
from allocator.resources import Resources
from allocator.version import build_info

Json = dict[str, Any]

#: Shown even where there is nothing of them.
_ALWAYS: Final = ("cpus", "gpus", "mem", "disk")

#: Metrics' name → state of tasks.
_ENDED: Final = {
    "finished": "TASK_FINISHED",
    "failed": "TASK_FAILED",
    "killed": "TASK_KILLED",
    "error": "TASK_ERROR",
}


class Facts:
    """What is known of the process, and does not change.

    Parameters
    ----------
    service : Service
    pid : str
        `agent@ip:port`.
    flags : mapping
        What the command line said.
    id : str or None
        What it is called where no master gives it an id.
    """

    def __init__(
        self, service: Service, pid: str, flags: Mapping[str, str], id: str | None = None
    ) -> None:
        self._service = service
        self._pid = pid
        self._id = id
        self.flags = dict(flags)
        self._start_time = time.time()
        self.build = build_info()

    def routes(self) -> Routes:
        """Return what answers each path."""
        answers: dict[str, Callable[[], Json]] = {
            "/state": self.state,
            "/version": lambda: self.build,
            "/metrics/snapshot": self.metrics,
        }

        def health(request: Request) -> Answer:
            return Answer(b"", "text/plain; charset=utf-8")

        def answering(make: Callable[[], Json]) -> Route:
            return Route(lambda request: json_answer(make(), request.query))

        return {
            "/health": Route(health),
            "/metrics": Route(self._exposition),
            **{path: answering(make) for path, make in answers.items()},
        }

    def _exposition(self, request: Request) -> Answer:
        """Return the metrics as Prometheus reads them."""
        lines: list[str] = []
        for name, value in self.metrics().items():
            plain = re.sub(r"[^a-zA-Z0-9_]", "_", name)
            lines += (f"# HELP {plain} In Mesos: {name}", f"# TYPE {plain} gauge")
            lines.append(f"{plain} {value!r}")
        text = "\n".join((*lines, "")).encode()
        return Answer(text, "text/plain; version=0.0.4; charset=utf-8")

    def state(self) -> Json:
        """Return `/state`: of a process that is many agents, what the first is and all run."""
        agents = self._service.all_agents
        first = agents[0]
        total = sum((Resources(agent.info.resources or []) for agent in agents), Resources())
        link = self._service.link
        state: Json = {
            **self.build,
            "start_time": self._start_time,
            "id": self._id or first.id,
            "pid": self._pid,
            "hostname": first.info.hostname,
            "capabilities": [each.type for each in first.info.capabilities or ()],
            "resources": amounts(total),
            "reserved_resources": {},
            "unreserved_resources": amounts(total),
            "attributes": {each["name"]: _value(each) for each in first.info.attributes or ()},
            "flags": self.flags,
            "frameworks": self._frameworks(agents),
            "completed_frameworks": [],
        }
        if link is not None and link.master_hostname:
            state["master_hostname"] = link.master_hostname
        if len(agents) > 1:
            state["agents"] = [
                {"id": agent.id, "hostname": agent.info.hostname, "tasks": len(agent.tasks)}
                for agent in agents
            ]
        return state

    def _frameworks(self, agents: list[Agent]) -> list[Json]:
        frameworks: dict[str, Json] = {}
        for agent in agents:
            for task in agent.tasks.values():
                id = task.container.framework_id
                if id not in frameworks:
                    frameworks[id] = _framework(id, task)
                frameworks[id]["executors"].append(self._executor(task))
        return list(frameworks.values())

    def _executor(self, task: Task) -> Json:
        """Return the executor that a command stands for."""
        container = task.container
        is_over = task.state in TERMINAL
        json: Json = {
            "id": container.executor_id,
            "name": f"Command Executor (Task: {container.executor_id})",
            "source": container.executor_id,
            "container": container.id,
            "resources": amounts(Resources(task.info.resources or [])),
            "role": task.role,
            "tasks": [] if is_over else [_task(task)],
            "queued_tasks": [],
            "completed_tasks": [_task(task)] if is_over else [],
        }
        directory = self._service.runtime.directory(container)
        if directory is not None:
            json["directory"] = str(directory)
        return json

    def metrics(self) -> dict[str, float]:
        """Return numbers by Mesos' names. O(tasks)."""
        agents = self._service.all_agents
        link = self._service.link
        metrics: dict[str, float] = {
            "slave/uptime_secs": time.time() - self._start_time,
            "slave/registered": float(link is not None and link.connected),
            "slave/container_launch_errors": self._service.n_launch_errors,
            "slave/tasks_lost": 0,
            "containerizer/mesos/container_destroy_errors": 0,
        }
        tasks = [task for agent in agents for task in agent.tasks.values()]
        for name in ("staging", "starting", "running", "killing"):
            state = f"TASK_{name.upper()}"
            metrics[f"slave/tasks_{name}"] = sum(task.state == state for task in tasks)
        metrics["slave/executors_running"] = sum(task.is_running for task in tasks)
        for name, state in _ENDED.items():
            metrics[f"slave/tasks_{name}"] = sum(agent.n_ended[state] for agent in agents)
        total = sum((Resources(agent.info.resources or []) for agent in agents), Resources())
        used = sum(
            (Resources(task.info.resources or []) for task in tasks if task.is_running),
            Resources(),
        )
        for name in _ALWAYS:
            of_all, in_use = (float(each.quantities().get(name, 0)) for each in (total, used))
            metrics[f"slave/{name}_total"] = of_all
            metrics[f"slave/{name}_used"] = in_use
            metrics[f"slave/{name}_percent"] = in_use / of_all if of_all else 0.0
        return metrics


def amounts(resources: Resources) -> Json:
    """Return resources by name, as people read them: numbers, or text of ranges and sets."""
    found: Json = dict.fromkeys(_ALWAYS, 0.0)
    for name in resources.names:
        value = resources[name]
        found[name] = float(value) if isinstance(value, int | float) else str(value)
    return found


def _value(attribute: Mapping[str, Any]) -> object:
    match attribute["type"]:
        case "SCALAR":
            return attribute["scalar"]["value"]
        case "TEXT":
            return attribute["text"]["value"]
        case _:
            ranges = attribute["ranges"]["range"]
            return "[" + ", ".join(f"{each['begin']}-{each['end']}" for each in ranges) + "]"


def _framework(id: str, task: Task) -> Json:
    info = task.framework_info
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
