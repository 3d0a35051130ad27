"""What is measured, under the names that Mesos gives it, flat or for Prometheus."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily

from allocator.master.master import Master
from allocator.master.tasks import TERMINAL
from allocator.resources import Quantities

#: The states that are counted as they are; terminal ones are counted as they come.
_PASSING: Final = ("STAGING", "STARTING", "RUNNING", "KILLING", "UNREACHABLE")

_NOTHING: Final = Quantities()


def snapshot(master: Master, loop: Callable[[], Mapping[str, float]] = dict) -> dict[str, float]:
    """Return all metrics by name. O(tasks + agents + roles × names).

    Parameters
    ----------
    master : Master
    loop : callable
        Returns what the allocation loop measures.
    """
    return {
        **dict(_of_master(master)),
        **dict(_of_tasks(master)),
        **dict(_of_resources(master)),
        **master.engine.metrics(),
        **loop(),
    }


def _of_master(master: Master) -> Iterator[tuple[str, float]]:
    """Yield how many frameworks and agents there are, and how they are."""
    frameworks, agents = master.frameworks.values(), master.agents.values()
    n_active = sum(framework.active for framework in frameworks)
    n_connected = sum(framework.connected for framework in frameworks)
    yield "master/uptime_secs", master.wall() - master.start_time
    yield "master/elected", 0 if master.elected_time is None else 1
    yield "master/frameworks_active", n_active
    yield "master/frameworks_inactive", len(frameworks) - n_active
    yield "master/frameworks_connected", n_connected
    yield "master/frameworks_disconnected", len(frameworks) - n_connected
    n_active = sum(agent.active for agent in agents)
    n_connected = sum(agent.active for agent in agents)
    yield "master/slaves_active", n_active
    yield "master/slaves_inactive", len(agents) - n_active
    yield "master/slaves_connected", n_connected
    yield "master/slaves_disconnected", len(agents) - n_connected
    yield "master/slaves_unreachable", len(master.unreachable_agents)
    yield "master/outstanding_offers", len(master.offers)


def _of_tasks(master: Master) -> Iterator[tuple[str, float]]:
    """Yield how many tasks are in states that pass, and how many ended in which since the start."""
    states: Counter[str] = Counter()
    for framework in master.frameworks.values():
        states.update([task.state for task in framework.tasks.values()])
        states["TASK_UNREACHABLE"] += len(framework.unreachable)
    for state in _PASSING:
        yield f"master/tasks_{state.lower()}", states[f"TASK_{state}"]
    for state in sorted(TERMINAL):
        name = state.removeprefix("TASK_").lower()
        yield f"master/tasks_{name}", master.n_tasks_ended.get(state, 0)


def _of_resources(master: Master) -> Iterator[tuple[str, float]]:
    """Yield what all agents have together, and how much of it tasks use."""
    metrics = master.engine.metrics()
    top = [role.allocated for path, role in master.engine.roles.items() if "/" not in path]
    used = sum(top, start=_NOTHING)
    for name in ("cpus", "gpus", "mem", "disk"):
        total = metrics.get(f"allocator/mesos/resources/{name}/total", 0.0)
        yield f"master/{name}_total", total
        yield f"master/{name}_used", used[name]
        yield f"master/{name}_percent", used[name] / total if total else 0.0


# For Prometheus.

#: What stands in the name of a metric of the allocator, and becomes a label.
_OF_ROLE: Final = re.compile(
    r"(?P<before>allocator/mesos/(?:quota/|offer_filters/)?roles)/(?P<role>.+)/"
    r"(?P<after>active|shares/dominant|resources/(?P<resource>.+)/\w+)"
)
_OF_RESOURCE: Final = re.compile(r"allocator/mesos/resources/(?P<resource>.+)/\w+")


class Sample(NamedTuple):
    """A metric as Prometheus names it."""

    name: str
    labels: tuple[tuple[str, str], ...]


def sample_of(name: str) -> Sample:
    """Return what a metric is called: roles and resources are labels, a slash is an underscore.

    Examples
    --------
    >>> sample_of("allocator/mesos/quota/roles/eng/dev/resources/cpus/limit")  # doctest: +ELLIPSIS
    Sample(name='allocator_mesos_quota_roles_resources_limit', labels=(('role', 'eng/dev'), ...))
    """
    labels: tuple[tuple[str, str], ...] = ()
    if match := _OF_ROLE.fullmatch(name):
        labels = (("role", match["role"]),)
        name = f"{match['before']}/{match['after']}"
    else:
        match = _OF_RESOURCE.fullmatch(name)
    if match and match["resource"] is not None:
        labels += (("resource", match["resource"]),)
        head, _, tail = name.rpartition(f"/{match['resource']}/")
        name = f"{head}/{tail}"
    return Sample(re.sub(r"[^a-zA-Z0-9_]", "_", name), labels)


class _Collector:
    """Hands metrics to prometheus-client."""

    def __init__(self, metrics: Mapping[str, float]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics, those of one name together."""
        families: dict[str, GaugeMetricFamily] = {}
        for name, value in self._metrics.items():
            sample = sample_of(name)
            family = families.get(sample.name)
            if family is None:
                labels = [label for label, _ in sample.labels]
                family = GaugeMetricFamily(sample.name, "In Mesos: " + _shown(name), labels=labels)
                families[sample.name] = family
            family.add_metric([value for _, value in sample.labels], value)
        yield from families.values()


def _shown(name: str) -> str:
    """Return a metric's name with what is a label in angle brackets."""
    if match := _OF_ROLE.fullmatch(name):
        after = match["after"]
        if match["resource"] is not None:
            after = "resources/<resource>/" + after.rpartition("/")[2]
        return f"{match['before']}/<role>/{after}"
    if _OF_RESOURCE.fullmatch(name):
        return "allocator/mesos/resources/<resource>/" + name.rpartition("/")[2]
    return name


def exposition(metrics: Mapping[str, float]) -> bytes:
    """Return metrics in Prometheus' text form. O(metrics)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(metrics))
    return generate_latest(registry)
