"""Ratios, each of two times taken in one run, so that they hold on any machine."""

from __future__ import annotations

import statistics
import time

from allocator.resources import Resources
from allocator.sim import compare
from allocator.sorter import DRFSorter

from .grid import sizes

ONE_TASK = Resources("cpus:1;mem:512")


class CompiledShare:
    """The compiled ordering's time for a SingleRole cycle, in percent of another ordering's.

    Less is better, as asv takes it of every benchmark: 3.3 % is 30 times as fast, 0.5 % 200 times.
    """

    params = (["naive", "sorted"], [1000], sizes(smoke=[10], default=[100, 1000], full=[100, 1000]))
    param_names = ("sorter", "agents", "frameworks")
    unit = "% of its time"
    timeout = 600

    def track_cold_cycle(self, sorter: str, n_agents: int, n_frameworks: int) -> float:
        comparison = compare.Comparison(n_agents, n_frameworks)
        compare.run(comparison, [sorter, "drf"], repeat=3, seed=0)
        if comparison.difference is not None:
            raise AssertionError(comparison.difference)
        ratio = comparison.ratio(sorter)
        assert ratio is not None
        return round(100 / ratio, 4)


class AllocatedAtScale:
    """What 1000 × `allocated` costs with many clients, against the same with 100."""

    params = (sizes(smoke=[1000], default=[100_000], full=[10_000, 100_000]), [False, True])
    param_names = ("clients", "asking_who_is_first")
    unit = "times as long as with 100 clients"
    timeout = 600

    def track_allocated_x1000(self, n_clients: int, ask: bool) -> float:
        many, few = activated_sorter(n_clients), activated_sorter(100)
        # Turn by turn, so that a slow minute of the machine is shared by both.
        seconds = [(allocate_x1000(many, ask), allocate_x1000(few, ask)) for _ in range(9)]
        of_many, of_few = zip(*seconds, strict=True)
        return round(statistics.median(of_many) / statistics.median(of_few), 3)


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
