"""Ratios, each of two times taken in one run, so that they hold on any machine.

Less is better, as asv takes it of every benchmark. The docstring of each says what is held
against what, and within what it is to stay (`reach`). The unit of many is `Y(n, f)`.
"""

from __future__ import annotations

import gc
import heapq
import statistics
import time
from collections.abc import Callable
from typing import Any

from allocator import Allocator, Offers
from allocator.resources import Resources
from allocator.sim import compare, single_role
from allocator.sorter import DRFSorter

from . import agents, answers, declines, frameworks, quotas
from .engines import CLUSTERS, look_at
from .grid import sizes

ONE_TASK = Resources("cpus:1;mem:512")

#: The part of each size that is measured; only the whole says anything of the reach.
SCALE = sizes(smoke=[0.01], default=[1.0], full=[1.0])[0]

#: How often each side of a ratio is measured; its median counts.
TURNS = sizes(smoke=[1], default=[7], full=[7])[0]


def scaled(n: int) -> int:
    """Return n in the size of the grid."""
    return max(2, round(n * SCALE))


LARGE_AND_SMALL = f"{scaled(2500)}+{scaled(500)}"


def seconds(work: Callable[[], object], *, collecting: bool = False) -> float:
    """Return how long one call of `work` takes.

    Garbage collection waits, as in `timeit`, unless `collecting` leaves it on.
    """
    gc.collect()
    if not collecting:
        gc.disable()
    try:
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin
    finally:
        gc.enable()


def ratio(one: Callable[[], float], other: Callable[[], float], turns: int = TURNS) -> float:
    """Return the median of the seconds that `one` returns, divided by that of `other`.

    Turn by turn, so that a slow minute of the machine is shared by both.
    """
    pairs = [(one(), other()) for _ in range(turns)]
    of_one, of_other = zip(*pairs, strict=True)
    return statistics.median(of_one) / statistics.median(of_other)


def Y(n: int, f: int) -> float:
    """Return the seconds of n times `heapreplace` on a heap of f `(float, int, int)` tuples.

    About what an ideal ordering alone costs from Python, n decisions among f frameworks.
    """
    heap = [(0.0, 0, index) for index in range(f)]

    def serve_neediest() -> None:
        for _ in range(n):
            share, times, index = heap[0]
            heapq.heapreplace(heap, (share + 0.001, times + 1, index))

    return seconds(serve_neediest)


def timed(kind: type[Any], *params: object) -> float:
    """Return the seconds of the operation that another benchmark times."""
    benchmark = kind()
    benchmark.setup(*params)
    return seconds(lambda: benchmark.time_operation(*params))


def empty_cycle(engine: Allocator) -> float:
    """Return the seconds of a cycle that offers nothing and follows another such."""
    assert not engine.allocate()
    return seconds(lambda: [engine.allocate() for _ in range(100)]) / 100


def cold_cycle(
    n_agents: int,
    n_frameworks: int,
    look: Callable[[Offers], object] = Offers.columns,
    *,
    cluster: str = "scalars",
    collecting: bool = False,
) -> float:
    """Return the seconds of a cold SingleRole cycle, until its offers were looked at."""
    engine = single_role_of(cluster, n_agents, n_frameworks)
    return seconds(lambda: look(engine.allocate()), collecting=collecting)


def single_role_of(cluster: str, n_agents: int, n_frameworks: int) -> Allocator:
    """Return a SingleRole cluster of one kind before its first cycle."""
    resources, minima = CLUSTERS[cluster]
    return single_role.build(
        scaled(n_agents), scaled(n_frameworks), agent_resources=resources, min_allocatable=minima
    )


class SingleRole:
    """Cold cycles, and those after them."""

    unit = "ratio"
    timeout = 600

    def track_offers_as_columns(self) -> float:
        """SingleRole 10k × 1k, offers as columns, in Y(10k, 1k): reach 1.5."""
        return ratio(lambda: cold_cycle(10_000, 1000), lambda: Y(scaled(10_000), scaled(1000)))

    def track_each_offer_looked_at(self) -> float:
        """SingleRole 10k × 1k, each Offer looked at, in Y(10k, 1k): reach 4."""
        return ratio(
            lambda: cold_cycle(10_000, 1000, look_at), lambda: Y(scaled(10_000), scaled(1000))
        )

    def track_collecting(self) -> float:
        """SingleRole 10k × 1k, each Offer looked at, Python's collector on to off."""
        return ratio(
            lambda: cold_cycle(10_000, 1000, look_at, collecting=True),
            lambda: cold_cycle(10_000, 1000, look_at),
        )

    def track_minima(self) -> float:
        """SingleRole 10k × 1k with ports, Mesos' default minima to none: reach 1.15."""
        return ratio(
            lambda: cold_cycle(10_000, 1000, cluster="ports, minima"),
            lambda: cold_cycle(10_000, 1000, cluster="ports"),
        )

    def track_minima_one_percent_freed(self) -> float:
        """After 1 % of the offers went back, with ports, Mesos' minima to none: reach 1.15."""
        return ratio(lambda: one_percent_freed("ports, minima"), lambda: one_percent_freed("ports"))

    def track_offer_among_50k_agents(self) -> float:
        """Time an offer, 50k agents to 1k, at 1k frameworks: reach 1.5."""
        return ratio(lambda: cold_cycle(50_000, 1000) / 50, lambda: cold_cycle(1000, 1000))

    def track_offer_among_10k_frameworks(self) -> float:
        """Time an offer, 10k frameworks to 100, at 10k agents: reach 3."""
        return ratio(lambda: cold_cycle(10_000, 10_000), lambda: cold_cycle(10_000, 100))

    def track_empty_cycle(self) -> float:
        """Nothing to offer, to the cold cycle, at 10k × 1k: reach 0.001."""
        return ratio(lambda: empty(10_000), lambda: cold_cycle(10_000, 1000))

    def track_empty_cycle_among_50k_agents(self) -> float:
        """Nothing to offer, 50k agents to 10k, at 1k frameworks: reach 2."""
        return ratio(lambda: empty(50_000), lambda: empty(10_000))

    def track_one_percent_freed(self) -> float:
        """After 1 % of the offers went back, to the cold cycle, at 10k × 1k: reach 0.03."""
        return ratio(one_percent_freed, lambda: cold_cycle(10_000, 1000))


def empty(n_agents: int) -> float:
    """Return the seconds of a cycle after a cold one that gave all away."""
    engine = single_role.build(scaled(n_agents), scaled(1000))
    engine.allocate()
    return empty_cycle(engine)


def one_percent_freed(cluster: str = "scalars") -> float:
    """Return the seconds of a cycle after 1 % of the offers were declined."""
    engine = single_role_of(cluster, 10_000, 1000)
    open_offers = [offer.id for offer in engine.allocate()]
    return freed_cycle(engine, open_offers, scaled(10_000) // 100)


def freed_cycle(engine: Allocator, open_offers: list[str], n_freed: int) -> float:
    """Return the seconds of a cycle after so many of the open offers were declined for an hour.

    The mean of some such cycles, with nothing between them but the declines.
    """
    n_cycles = 0
    taken = 0.0
    while n_cycles < 10 and taken < 0.1:
        engine.decline(open_offers[:n_freed], refuse_seconds=3600.0)
        del open_offers[:n_freed]
        begin = time.perf_counter()
        offers = engine.allocate()
        offers.columns()
        taken += time.perf_counter() - begin
        open_offers += [offer.id for offer in offers]
        n_cycles += 1
    return taken / n_cycles


class Declines:
    """Offers that are declined for ever."""

    unit = "ratio"
    timeout = 600

    def track_round(self) -> float:
        """DeclineOffers 10k × 200, first cycle and all declines at once, to the cycle: reach 3."""
        params = "drf", scaled(10_000), scaled(200)
        return ratio(
            lambda: timed(declines.DeclineOffers, "round", *params),
            lambda: seconds(declines.cluster(*params).allocate),
        )

    def track_average_round(self) -> float:
        """DeclineOffers 10k × 200, the average of its 200 rounds, to the first cycle."""
        n_rounds = scaled(200)
        params = "drf", scaled(10_000), n_rounds
        return ratio(
            lambda: seconds(lambda: declines.all_rounds(declines.cluster(*params))) / n_rounds,
            lambda: seconds(declines.cluster(*params).allocate),
            turns=1,
        )

    def track_first_quiet_cycle(self) -> float:
        """Once all of 10k × 50 is declined for ever, the first cycle to a cold one: reach 2."""
        params = "drf", scaled(10_000), scaled(50)
        return ratio(
            lambda: timed(declines.DeclineOffers, "first_quiet_cycle", *params),
            lambda: timed(declines.DeclineOffers, "cycle", *params),
            turns=3,
        )

    def track_all_declined(self) -> float:
        """All of 10k × 50 declined for ever, the cycle then, to the cold one: reach 0.001."""
        params = "drf", scaled(10_000), scaled(50)
        return ratio(
            lambda: empty_cycle(declines.all_declined(*params)),
            lambda: seconds(declines.cluster(*params).allocate),
        )


class Quotas:
    """Cycles with guarantees and limits."""

    unit = "ratio"
    timeout = 600

    def track_large_and_small(self) -> float:
        """LargeAndSmallQuota 2500+500, to SingleRole of its 3500 offers: reach 5."""
        return ratio(
            lambda: timed(quotas.LargeAndSmallQuota, "full_cycle", "drf", LARGE_AND_SMALL),
            lambda: cold_cycle(3500, 3000, look_at),
        )

    def track_large_and_small_empty(self) -> float:
        """LargeAndSmallQuota 2500+500, the empty cycle after it, to that SingleRole: reach 0.01."""
        after = quotas.LargeAndSmallQuota()
        after.setup("empty_cycle", "drf", LARGE_AND_SMALL)
        return ratio(lambda: empty_cycle(after.engine), lambda: cold_cycle(3500, 3000, look_at))

    def track_quota_to_none(self) -> float:
        """NonQuotaVsQuota, 1000 roles, with quota to without: reach 1.5."""
        params = "full_cycle", "drf", scaled(1000)
        return ratio(
            lambda: timed(quotas.NonQuotaVsQuota, *params, True),
            lambda: timed(quotas.NonQuotaVsQuota, *params, False),
        )


class MultiFrameworkAllocations:
    """All of three kinds of frameworks' tasks."""

    unit = "ratio"
    timeout = 1800

    def track_to_reference(self) -> float:
        """MultiFrameworkAllocations, to the reference at a part of the cluster: reach 0.01."""
        share = sizes(smoke=[0.05], default=[0.25], full=[0.25])[0]
        return ratio(lambda: all_run("drf", share), lambda: all_run("reference", share), turns=1)


def all_run(sorter: str, share: float) -> float:
    """Return the seconds until all tasks run."""
    benchmark = frameworks.MultiFrameworkAllocations()
    benchmark.setup(sorter, share)
    return seconds(benchmark.time_until_all_run)


class AddAndUpdateAgent:
    """Agents that are in use, all in one call: the call alone, and with the cycle it causes."""

    params = ([False, True],)
    param_names = ("cycle",)
    unit = "ratio"
    timeout = 600

    def track_add(self, cycle: bool) -> float:
        """AddAndUpdateAgent 10k × 200, all agents added in one call, in Y(10k, 200): reach 6."""
        return in_yardsticks("add_agents_at_once", cycle)

    def track_update(self, cycle: bool) -> float:
        """AddAndUpdateAgent 10k × 200, all agents updated in one call, in Y(10k, 200): reach 6."""
        return in_yardsticks("update_agents_at_once", cycle)


def in_yardsticks(operation: str, cycle: bool) -> float:
    """Return the time of an operation on all agents in Y(agents, frameworks)."""
    n_agents, n_frameworks = scaled(10_000), scaled(200)

    def once() -> float:
        benchmark = agents.AddAndUpdateAgent()
        benchmark.setup(operation, "drf", n_agents, n_frameworks)
        call = getattr(benchmark, operation)
        return seconds(lambda: (call(), benchmark.engine.allocate()) if cycle else call())

    return ratio(once, lambda: Y(n_agents, n_frameworks))


class OneByOne:
    """Calls for one agent or one offer each, where no two are alike."""

    params = (list(agents.FORMS),)
    param_names = ("form",)
    unit = "ratio"
    timeout = 600

    def track_add(self, form: str) -> float:
        """10k agents, each different, in Y(10k, 1k): reach 31 from text, 18 from `Resources`."""
        n_agents = scaled(10_000)
        return ratio(
            lambda: timed(agents.AddDifferentAgents, form, "drf", n_agents),
            lambda: Y(n_agents, scaled(1000)),
        )


class AnswersOneByOne:
    """Answers to one offer each, all of them looked at before."""

    params = (["decline", "accept"],)
    param_names = ("answer",)
    unit = "ratio"
    timeout = 600

    def track_answers(self, answer: str) -> float:
        """10k offers, in Y(10k, 1k): reach 6.5 to decline, 9.7 to accept a part."""
        params = answer, "each", scaled(10_000), scaled(1000)
        return ratio(lambda: answered(*params), lambda: Y(scaled(10_000), scaled(1000)))


def answered(*params: Any) -> float:
    """Return the seconds of the answers that another benchmark times."""
    benchmark = answers.Answers()
    benchmark.setup(*params)
    return seconds(lambda: benchmark.time_answers(*params))


class CompiledShare:
    """The compiled ordering's time for a SingleRole cycle, in percent of another ordering's.

    Each offer is looked at. 3.3 % is 30 times as fast, 0.5 % 200 times.
    """

    params = (
        ["naive", "sorted"],
        sizes(smoke=[100], default=[1000], full=[1000, 10_000]),
        sizes(smoke=[10], default=[100, 1000], full=[100, 1000]),
    )
    param_names = ("sorter", "agents", "frameworks")
    unit = "% of its time"
    timeout = 1800

    def track_cold_cycle(self, sorter: str, n_agents: int, n_frameworks: int) -> float:
        """SingleRole 10k × 1k in percent of the naive ordering: reach 0.1."""
        comparison = compare.Comparison(n_agents, n_frameworks)
        compare.run(comparison, [sorter, "drf"], repeat=3 if n_agents < 10_000 else 1, seed=0)
        if comparison.difference is not None:
            raise AssertionError(comparison.difference)
        found = comparison.ratio(sorter)
        assert found is not None
        return round(100 / found, 4)


class AllocatedAtScale:
    """What 1000 × `allocated` costs with many clients, against the same with 100."""

    params = (sizes(smoke=[1000], default=[100_000], full=[10_000, 100_000]), [False, True])
    param_names = ("clients", "asking_who_is_first")
    unit = "times as long as with 100 clients"
    timeout = 600

    def track_allocated_x1000(self, n_clients: int, ask: bool) -> float:
        """1000 × `allocated` among 100k clients, to the same among 100."""
        many, few = activated_sorter(n_clients), activated_sorter(100)
        return round(
            ratio(lambda: allocate_x1000(many, ask), lambda: allocate_x1000(few, ask), turns=9), 3
        )


def activated_sorter(n_clients: int) -> DRFSorter:
    """Return a compiled sorter whose clients are active, have nothing and are in order."""
    sorter = DRFSorter()
    sorter.add_agent("agent", "cpus:1000000;mem:1000000000")
    for index in range(n_clients):
        sorter.add(f"client{index}")
        sorter.activate(f"client{index}")
    sorter.sort()
    return sorter


def allocate_x1000(sorter: DRFSorter, ask: bool) -> float:
    """Return the seconds that 1000 allocations to the neediest client, or to each in turn, take.

    With `ask`, the neediest client is asked for each time; it moves to behind all that have less.
    Without, the clients are taken as one order has them, so that each moves from the front too.
    """
    if ask:
        begin = time.perf_counter()
        for _ in range(1000):
            sorter.allocated(next(sorter.order()), "agent", ONE_TASK)
        return time.perf_counter() - begin
    clients = (sorter.sort() * 10)[:1000]
    begin = time.perf_counter()
    for client in clients:
        sorter.allocated(client, "agent", ONE_TASK)
    return time.perf_counter() - begin
