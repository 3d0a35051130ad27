"""DeclineOffers, SuppressOffers, ReviveOffers: frameworks in `*` that want nothing.

The parameters are those of Apache Mesos' benchmarks of the same names. Their agents have part of
their resources in use, so that every framework holds something and shares differ.
"""

from __future__ import annotations

import math
from functools import lru_cache

from allocator import Allocator
from allocator.resources import Resources

from .engines import ENGINES, OneCallEach, add_frameworks, build, decline_all, decline_each, look_at
from .grid import sizes

TOTAL = Resources("cpus:24;mem:4096;disk:4096;ports:[31000-32000]")
IN_USE = Resources(
    "cpus:16;mem:2014;disk:1024;ports:["
    + ",".join(f"{port}-{port + 8}" for port in range(31000, 31160, 10))
    + "]"
)

#: Percent of the frameworks that suppress or revive: a fifth more after each cycle.
PERCENTS = sizes(smoke=[20, 100], default=[20, 80, 100], full=[0, 20, 40, 60, 80, 100])


def cluster(sorter: str, n_agents: int, n_frameworks: int, *, n_cycles: int = 2) -> Allocator:
    """Return an engine before its first cycle; agents are in use by the frameworks, round-robin."""
    engine = build(sorter, n_agents, n_frameworks, n_cycles=n_cycles)
    names = add_frameworks(engine, n_frameworks, "*")
    users = [names[index % n_frameworks] for index in range(n_agents)]
    used = {"framework": users, "role": "*", "resources": IN_USE}
    engine.add_agents([f"agent{index}" for index in range(n_agents)], TOTAL, used=used)
    return engine


def all_rounds(engine: Allocator) -> int:
    """Decline for ever whatever comes, until nothing comes; return the number of declines."""
    n_declined = 0
    while offers := engine.allocate():
        decline_all(engine, offers, math.inf)
        n_declined += len(offers)
    return n_declined


def run_rounds(engine: Allocator, n_rounds: int) -> None:
    """Decline for ever what each of so many cycles offers."""
    for _round in range(n_rounds):
        decline_all(engine, engine.allocate(), math.inf)


@lru_cache(maxsize=1)
def all_declined(sorter: str, n_agents: int, n_frameworks: int) -> Allocator:
    """Return an engine in which each framework declined each agent for ever.

    A cycle changes nothing of it that takes time, so one does for all timed calls of a process.
    """
    engine = cluster(sorter, n_agents, n_frameworks, n_cycles=n_frameworks)
    assert all_rounds(engine) == n_agents * n_frameworks
    return engine


class DeclineOffers(OneCallEach):
    """Every offer is declined for ever, in the end each agent by each framework.

    `cycle` is the first one, `declines` the declines of its offers in one call, `declines_each` in
    as many calls as offers, `round` cycle and declines together. Each of F rounds offers all
    agents; F more that make no offers follow: `all_rounds` is all 2 · F.
    """

    params = (
        ["cycle", "declines", "declines_each", "round", "all_rounds"],
        ENGINES,
        sizes(smoke=[20], default=[30, 1000, 10_000], full=[1000, 5000, 10_000, 20_000, 50_000]),
        sizes(smoke=[5], default=[20, 50, 200], full=[1, 50, 100, 200, 500, 1000]),
    )
    param_names = ("operation", "sorter", "agents", "frameworks")

    #: The most declines for which all rounds are run: some seconds.
    most_declines = sizes(smoke=[1000], default=[500_000], full=[2_000_000])[0]

    def setup(self, operation: str, sorter: str, n_agents: int, n_frameworks: int) -> None:
        self.n_frameworks = n_frameworks
        to_the_end = operation in ("all_rounds", "first_quiet_cycle")
        if to_the_end and n_agents * n_frameworks > self.most_declines:
            raise NotImplementedError("the declines would take minutes")
        n_cycles = n_frameworks if to_the_end else 1
        self.engine = cluster(sorter, n_agents, n_frameworks, n_cycles=n_cycles)
        if operation in ("declines", "declines_each"):
            self.offers = self.engine.allocate()
        if operation == "first_quiet_cycle":
            run_rounds(self.engine, n_frameworks)

    def time_operation(self, operation: str, *_: object) -> None:
        if operation in ("cycle", "first_quiet_cycle"):
            look_at(self.engine.allocate())
        elif operation == "declines":
            decline_all(self.engine, self.offers, math.inf)
        elif operation == "declines_each":
            decline_each(self.engine, self.offers, math.inf)
        else:
            run_rounds(self.engine, 1 if operation == "round" else 2 * self.n_frameworks)


class AllDeclined(OneCallEach):
    """Ten cycles that find nothing to do: each framework declined each agent for ever.

    The largest cluster has 50 million filters; setting it up takes minutes and 2 GB.
    """

    params = (
        ENGINES,
        # "agents × frameworks".
        sizes(
            smoke=["20x5"],
            default=["30x20", "1000x50", "10000x50"],
            full=["1000x50", "5000x50", "10000x50", "50000x50", "50000x1000"],
        ),
    )
    param_names = ("sorter", "cluster")

    def setup(self, sorter: str, size: str) -> None:
        n_agents, n_frameworks = (int(number) for number in size.split("x"))
        self.engine = all_declined(sorter, n_agents, n_frameworks)

    def time_cycle_x10(self, *_: object) -> None:
        for _cycle in range(10):
            self.engine.allocate()


#: Agents, frameworks, and how many percent of them call.
PARTS_OF_CLUSTERS = (
    sizes(smoke=[20], default=[50, 10_000], full=[1000, 5000, 10_000, 20_000, 50_000]),
    sizes(smoke=[5], default=[50, 1000], full=[1, 50, 100, 200, 500, 1000, 3000, 6000]),
    PERCENTS,
)


class SuppressOffers(OneCallEach):
    """All agents are on offer again, without filters, and a part of the frameworks suppresses."""

    params = (
        ["suppress", "cycle"],
        ENGINES,
        *PARTS_OF_CLUSTERS,
    )
    param_names = ("operation", "sorter", "agents", "frameworks", "percent")

    def setup(
        self, operation: str, sorter: str, n_agents: int, n_frameworks: int, percent: int
    ) -> None:
        self.engine = cluster(sorter, n_agents, n_frameworks)
        decline_all(self.engine, self.engine.allocate(), None)
        self.chosen = [f"framework{i}" for i in range(n_frameworks * percent // 100)]
        if operation == "cycle":
            self.suppress()

    def suppress(self) -> None:
        for framework in self.chosen:
            self.engine.suppress(framework)

    def time_operation(self, operation: str, *_: object) -> None:
        if operation == "suppress":
            self.suppress()
        else:
            look_at(self.engine.allocate())


class ReviveOffers(OneCallEach):
    """All declined for ever what they were offered and suppressed; a part of them revives."""

    params = (
        ["revive", "cycle"],
        ENGINES,
        *PARTS_OF_CLUSTERS,
    )
    param_names = ("operation", "sorter", "agents", "frameworks", "percent")

    def setup(
        self, operation: str, sorter: str, n_agents: int, n_frameworks: int, percent: int
    ) -> None:
        self.engine = cluster(sorter, n_agents, n_frameworks)
        decline_all(self.engine, self.engine.allocate(), math.inf)
        for index in range(n_frameworks):
            self.engine.suppress(f"framework{index}")
        assert not self.engine.allocate()
        self.chosen = [f"framework{i}" for i in range(n_frameworks * percent // 100)]
        if operation == "cycle":
            self.revive()

    def revive(self) -> None:
        for framework in self.chosen:
            self.engine.revive(framework)

    def time_operation(self, operation: str, *_: object) -> None:
        if operation == "revive":
            self.revive()
        else:
            look_at(self.engine.allocate())
