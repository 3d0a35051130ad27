"""SingleRole: many agents, many frameworks, one role, and one cold cycle over all of them.

The workload behind the published figures of Mesos' allocator: each agent's resources are offered
whole to the framework that is neediest at that moment, so that ordering the frameworks is the
work. It depends on its parameters alone, never on the time.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable
from typing import NamedTuple

from allocator.clock import ManualClock
from allocator.engine import Allocator, Offers
from allocator.resources import QuantitiesLike, ResourcesLike

#: What each agent has, as in the Mesos allocator benchmarks.
AGENT_RESOURCES = "cpus:24;mem:4096;disk:4096"

#: The role of all frameworks.
ROLE = "batch"


class ColdCycle(NamedTuple):
    """One cycle and how long it took until each of its offers had been looked at, in seconds."""

    offers: Offers
    seconds: float


def build(
    n_agents: int,
    n_frameworks: int,
    *,
    sorter: str = "drf",
    seed: int = 0,
    agent_resources: ResourcesLike = AGENT_RESOURCES,
    min_allocatable: Iterable[QuantitiesLike] | None = None,
) -> Allocator:
    """Return an engine with the cluster, before its first cycle.

    Parameters
    ----------
    n_agents, n_frameworks : int
        The size of the cluster. All agents are alike, all frameworks are in one role.
    sorter : str
        Who orders roles and frameworks: a name in `allocator.sorter.SORTERS`.
    seed : int
        Decides the order of agents in each cycle.
    agent_resources : resources
        What each agent has.
    min_allocatable : list of quantities, optional
        What an offer must at least contain any one of.

    Raises
    ------
    InvalidValue
        If there is no such sorter.
    ResourceError
        If the resources or the minima are malformed.

    Notes
    -----
    O(n_agents + n_frameworks) calls.

    Examples
    --------
    >>> engine = build(n_agents=3, n_frameworks=2)
    >>> [offer.framework for offer in engine.allocate()]
    ['f0', 'f1', 'f0']
    """
    engine = Allocator(
        sorter=sorter, seed=seed, clock=ManualClock(), min_allocatable=min_allocatable
    )
    for index in range(n_frameworks):
        engine.add_framework(f"f{index}", roles=(ROLE,))
    for index in range(n_agents):
        engine.add_agent(f"a{index}", agent_resources)
    return engine


def run_cold_cycle(engine: Allocator) -> ColdCycle:
    """Run one cycle, look at each of its offers, and time the two together.

    Garbage collection waits meanwhile, as in `timeit`: when it strikes says nothing about who
    happens to run then.
    """
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        begin = time.perf_counter()
        offers = engine.allocate()
        for _ in offers:
            pass
        seconds = time.perf_counter() - begin
    finally:
        if was_enabled:
            gc.enable()
    return ColdCycle(offers, seconds)
