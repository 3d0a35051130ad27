"""What the benchmarks of whole engines share: who is timed, how often, and plain clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from allocator import Allocator, ManualClock, Offers, reference
from allocator.sim.compare import naive_work
from allocator.sim.single_role import AGENT_RESOURCES

#: `Allocator(sorter=…)`, and the reference, which recomputes everything at each decision.
SORTERS = ["reference", "naive", "drf"]

#: The same, and the compiled engine with the minima that a Mesos master has.
ENGINES = [*SORTERS, "drf, minima"]

#: Of a cluster: what each agent has, and the engine's `min_allocatable`. The minima are those that
#: a Mesos master has unless it is told otherwise.
MESOS_MINIMA = ({"cpus": 0.01}, {"mem": 32})
WITH_PORTS = f"{AGENT_RESOURCES};ports:[31000-32000]"
CLUSTERS = {
    "scalars": (AGENT_RESOURCES, None),
    "scalars, minima": (AGENT_RESOURCES, MESOS_MINIMA),
    "ports": (WITH_PORTS, None),
    "ports, minima": (WITH_PORTS, MESOS_MINIMA),
}

#: The reference is left out where agents² · frameworks is more: some seconds a cycle.
REFERENCE_LIMIT = 2_000_000

#: The naive ordering is left out where it would look at more entries: some seconds a cycle.
NAIVE_LIMIT = 10_000_000


class OneCallEach:
    """Settings for asv: the work changes the engine, so each timed call has a setup of its own."""

    number = 1
    warmup_time = 0.0
    rounds = 1
    repeat = (3, 10, 10.0)
    timeout = 1800


def build(
    sorter: str, n_agents: int, n_frameworks: int, *, n_cycles: int = 1, minima: Any = None
) -> Allocator:
    """Return an empty engine for a cluster of about so many agents and frameworks.

    Raises `NotImplementedError`, which asv shows as `n/a`, if `n_cycles` cycles that look at
    everything would take it minutes.
    """
    sorter, _, with_minima = sorter.partition(", ")
    minima = MESOS_MINIMA if with_minima else minima
    clock = ManualClock()
    if sorter == "reference":
        if n_cycles * n_agents**2 * n_frameworks > REFERENCE_LIMIT:
            raise NotImplementedError("the reference would take minutes")
        # The parameters and methods that are used here are the same.
        return cast(Allocator, reference.Allocator(seed=0, clock=clock, min_allocatable=minima))
    if sorter == "naive" and n_cycles * naive_work(n_agents, n_frameworks) > NAIVE_LIMIT:
        raise NotImplementedError("the naive ordering would take minutes")
    return Allocator(sorter=sorter, seed=0, clock=clock, min_allocatable=minima)


def add_agents(engine: Allocator, n_agents: int, resources: Any) -> None:
    """Add `agent0`, `agent1`, …, all alike."""
    engine.add_agents([f"agent{index}" for index in range(n_agents)], resources)


def add_frameworks(engine: Allocator, n_frameworks: int, role: str) -> list[str]:
    """Add `framework0`, `framework1`, …, all in one role; return their names."""
    names = [f"framework{index}" for index in range(n_frameworks)]
    engine.add_frameworks(names, roles=(role,))
    return names


def look_at(offers: Offers) -> None:
    """Look at each offer, so that each is made where that happens when it is looked at."""
    for _ in offers:
        pass


def decline_all(engine: Allocator, offers: Sequence[Any], refuse_seconds: float | None) -> None:
    """Decline all offers for so long, None without filters: at once, but by the reference."""
    if isinstance(offers, Offers):
        engine.decline(offers, refuse_seconds=refuse_seconds)
    else:
        decline_each(engine, offers, refuse_seconds)


def decline_each(engine: Allocator, offers: Sequence[Any], refuse_seconds: float | None) -> None:
    """Decline the offers in as many calls."""
    for offer in offers:
        engine.decline(offer, refuse_seconds=refuse_seconds)
