"""What an agent shows of itself: `/state`, `/health`, `/version`, `/metrics/snapshot`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from allocator.agent.agent import Agent
from allocator.agent.frameworks import ALWAYS, amounts, frameworks
from allocator.agent.server import Answer, Request, Route, Routes, json_answer
from allocator.agent.service import Service
from allocator.resources import Resources
from allocator.version import build_info

Json = dict[str, Any]

#: Metrics' name → states of tasks.
_ENDED: Final = {
    "finished": ("TASK_FINISHED",),
    "failed": ("TASK_FAILED",),
    "killed": ("TASK_KILLED",),
    "error": ("TASK_ERROR",),
    "lost": ("TASK_LOST",),
    "dropped": ("TASK_DROPPED",),
    "gone": ("TASK_GONE",),
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
            "reserved_resources": _reserved(total),
            "unreserved_resources": amounts(total.unreserved()),
            "attributes": {each["name"]: _value(each) for each in first.info.attributes or ()},
            "flags": self.flags,
            **frameworks(agents, self._service.runtime),
        }
        if link is not None and link.master_hostname:
            state["master_hostname"] = link.master_hostname
        if len(agents) > 1:
            state["agents"] = [
                {"id": agent.id, "hostname": agent.info.hostname, "tasks": len(agent.tasks)}
                for agent in agents
            ]
        return state

    def metrics(self) -> dict[str, float]:
        """Return numbers by Mesos' names. O(tasks)."""
        agents = self._service.all_agents
        link = self._service.link
        metrics: dict[str, float] = {
            "slave/uptime_secs": time.time() - self._start_time,
            "slave/registered": float(link is not None and link.connected),
            "slave/container_launch_errors": self._service.n_launch_errors,
            "containerizer/mesos/container_destroy_errors": self._service.runtime.n_destroy_errors,
            **_of_executors(agents),
        }
        tasks = [task for agent in agents for task in agent.tasks.values()]
        for name in ("staging", "starting", "running", "killing"):
            state = f"TASK_{name.upper()}"
            metrics[f"slave/tasks_{name}"] = sum(task.state == state for task in tasks)
        for name, states in _ENDED.items():
            ended = (agent.n_ended[state] for agent in agents for state in states)
            metrics[f"slave/tasks_{name}"] = sum(ended)
        total = sum((Resources(agent.info.resources or []) for agent in agents), Resources())
        used = sum((agent.in_use() for agent in agents), Resources())
        for name in ALWAYS:
            of_all, in_use = (float(each.quantities().get(name, 0)) for each in (total, used))
            metrics[f"slave/{name}_total"] = of_all
            metrics[f"slave/{name}_used"] = in_use
            metrics[f"slave/{name}_percent"] = in_use / of_all if of_all else 0.0
        return metrics


def _reserved(total: Resources) -> Json:
    """Return what is reserved, by the role it is reserved to."""
    roles = sorted({entry.role for entry in total.reserved() if entry.role is not None})
    return {role: amounts(total.reserved(role)) for role in roles}


def _of_executors(agents: Iterable[Agent]) -> dict[str, float]:
    """Return how many frameworks and executors there are; each command counts as one that runs."""
    n_running = n_registering = n_terminating = n_terminated = 0
    active: set[str] = set()
    for agent in agents:
        active.update(framework for framework, _ in (*agent.tasks, *agent.executors.known))
        n_running += sum(t.is_running and t.runs_in is None for t in agent.tasks.values())
        for executor in agent.executors.known.values():
            n_terminating += executor.is_ending
            n_running += executor.is_connected and not executor.is_ending
            n_registering += not executor.is_connected and not executor.is_ending
        n_terminated += agent.executors.n_ended
    return {
        "slave/frameworks_active": len(active),
        "slave/executors_registering": n_registering,
        "slave/executors_running": n_running,
        "slave/executors_terminating": n_terminating,
        "slave/executors_terminated": n_terminated,
    }


def _value(attribute: Mapping[str, Any]) -> object:
    match attribute["type"]:
        case "SCALAR":
            return attribute["scalar"]["value"]
        case "TEXT":
            return attribute["text"]["value"]
        case _:
            ranges = attribute["ranges"]["range"]
            return "[" + ", ".join(f"{each['begin']}-{each['end']}" for each in ranges) + "]"
