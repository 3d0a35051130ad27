"""SingleRole: the cycle of the published figures, on every implementation of the ordering."""

from __future__ import annotations

import gc

from allocator.sim import single_role
from allocator.sim.compare import naive_work

from .engines import CLUSTERS, OneCallEach, look_at
from .grid import sizes

#: The naive ordering is left out where it would look at more entries: some seconds a cycle.
NAIVE_LIMIT = 10_000_000


class SingleRole(OneCallEach):
    """One cold cycle, until each `Offer` was looked at, or its offers as columns.

    asv keeps Python's collector off while it times; `collecting` leaves it on, as a service does.
    """

    params = (
        ["naive", "sorted", "drf"],
        list(CLUSTERS),
        sizes(
            smoke=[100], default=[1000, 10_000], full=[1000, 5000, 10_000, 20_000, 30_000, 50_000]
        ),
        sizes(smoke=[10], default=[100, 1000], full=[1, 50, 100, 200, 500, 1000, 3000, 6000]),
    )
    param_names = ("sorter", "cluster", "agents", "frameworks")

    def setup(self, sorter: str, cluster: str, n_agents: int, n_frameworks: int) -> None:
        if sorter == "naive" and naive_work(n_agents, n_frameworks) > NAIVE_LIMIT:
            raise NotImplementedError("the naive ordering would take minutes")
        resources, minima = CLUSTERS[cluster]
        self.engine = single_role.build(
            n_agents,
            n_frameworks,
            sorter=sorter,
            agent_resources=resources,
            min_allocatable=minima,
        )

    def time_cold_cycle(self, *_: object) -> None:
        look_at(self.engine.allocate())

    def time_cold_cycle_collecting(self, *_: object) -> None:
        gc.enable()  # until the timer of the next call turns it off again
        look_at(self.engine.allocate())

    def time_cold_cycle_columns(self, *_: object) -> None:
        self.engine.allocate().columns()
