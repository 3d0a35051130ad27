"""SingleRole: the cycle of the published figures, on every implementation of the ordering."""

from __future__ import annotations

from allocator.sim import single_role
from allocator.sim.compare import naive_work

from .engines import OneCallEach, look_at
from .grid import sizes

#: The naive ordering is left out where it would look at more entries: some seconds a cycle.
NAIVE_LIMIT = 10_000_000


class SingleRole(OneCallEach):
    """One cold cycle, until each `Offer` was looked at, or its offers as columns."""

    params = (
        ["naive", "sorted", "drf"],
        sizes(
            smoke=[100], default=[1000, 10_000], full=[1000, 5000, 10_000, 20_000, 30_000, 50_000]
        ),
        sizes(smoke=[10], default=[100, 1000], full=[1, 50, 100, 200, 500, 1000, 3000, 6000]),
    )
    param_names = ("sorter", "agents", "frameworks")

    def setup(self, sorter: str, n_agents: int, n_frameworks: int) -> None:
        if sorter == "naive" and naive_work(n_agents, n_frameworks) > NAIVE_LIMIT:
            raise NotImplementedError("the naive ordering would take minutes")
        self.engine = single_role.build(n_agents, n_frameworks, sorter=sorter)

    def time_cold_cycle(self, *_: object) -> None:
        look_at(self.engine.allocate())

    def time_cold_cycle_columns(self, *_: object) -> None:
        self.engine.allocate().columns()
