"""The compiled scheduler and ledger against plain ones that recompute everything."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from allocator.resources import Quantities
from allocator.sim import Shape, Spread, Tasks, simulate
from allocator.sim import run as run_module
from allocator.sim._ledger import Ledger
from allocator.sim._placing import Hand, Need, Reservation
from allocator.sim._scheduler import Scheduler, Start
from allocator.sim.framework import lost_need, needs_of
from allocator.sim.record import Curves
from allocator.sim.setting import Behaviour
from tests.simulation.plain import Grant, PlainLedger, PlainScheduler, Reserved, Space
from tests.simulation.settings import random_setting

AXES = {"cpus": 0, "mem": 1}
N_AGENTS = 5
KINDS = ["p", "p", "q", "q", ""]


class Pair:
    """One framework's scheduler, compiled and plain, through the same history."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        room = rng.choice([1, 2, 10**6])
        self.compiled = Scheduler("f", 2, seed, room)
        self.plain = PlainScheduler("f", 2, seed, room)
        self.room = room
        self.needs = [self.random_needs() for _ in range(4)]
        self.running: list[tuple[Start, list[Grant]]] = []
        self.now_s = 0.0
        self.n_orders = self.n_lost = self.n_jobs = 0
        self.reservation: Reservation | None = None
        self.reserved: Reserved | None = None

    def random_needs(self) -> tuple[tuple[int, Need], ...]:
        rng = self.rng
        tasks = tuple(
            Tasks(
                rng.randint(1, 4), Quantities({"cpus": rng.randint(1, 4), "mem": rng.randint(1, 4)})
            )
            for _ in range(rng.choice([1, 1, 2]))
        )
        kinds = frozenset({rng.choice("pq")}) if rng.random() < 0.3 else frozenset[str]()
        spread = Spread("s", 2) if rng.random() < 0.3 else None
        behaviour = Behaviour(gang=rng.random() < 0.5)
        return needs_of(Shape(tasks, kinds, spread), behaviour, AXES, KINDS)

    def reserve(self) -> None:
        """Have some job, old or young, reserve its start; or none."""
        if self.rng.random() < 0.5:
            self.reservation = self.reserved = None
            return
        extra = [[1000 * self.rng.randint(0, 6) for _ in AXES] for _ in range(N_AGENTS)]
        start_s = self.now_s + self.rng.choice([-1.0, 5.0, 30.0])
        order = self.rng.randint(-3, self.n_orders)
        self.reservation = Reservation(start_s, order, np.array(extra, np.int64))
        self.reserved = Reserved(start_s, order, extra)

    def submit(self) -> None:
        needs, requested_s = self.rng.choice(self.needs), self.rng.choice([1.0, 10.0, 50.0])
        given = self.n_jobs, self.n_orders, requested_s, needs, self.now_s
        assert self.compiled.submit(*given, self.reservation) == self.plain.submit(
            *given, self.reserved
        )
        self.n_jobs += 1
        self.n_orders += len(needs)

    def offer(self) -> None:
        """Offer some machines' rests, start what fits, and refuse what is left, or not."""
        hand, spaces = Hand(2), []
        for agent in self.rng.sample(range(N_AGENTS), self.rng.randint(1, N_AGENTS)):
            free = [1000 * self.rng.randint(0, 9), 1000 * self.rng.randint(0, 9)]
            hand.add(agent, free, self.room)
            spaces.append(Space(agent, free, self.room))
        starts = self.compiled.fill(hand, self.now_s, self.reservation)
        found = self.plain.fill(spaces, self.now_s, self.reserved)
        grants = [[(agent, group, n) for agent, _, group, n in start.grants] for start in starts]
        assert [(start.job, g) for start, g in zip(starts, grants, strict=True)] == found
        assert [hand.left(row) for row in range(hand.n)] == [space.free for space in spaces]
        if self.rng.random() < 0.8:
            self.compiled.refuse(hand)
            self.plain.refuse(spaces)
        self.running += zip(starts, grants, strict=True)

    def end(self) -> None:
        """Have tasks end, or be lost and wait again."""
        if not self.running:
            return
        start, grants = self.running.pop(self.rng.randrange(len(self.running)))
        self.compiled.ended(start, start.grants)
        self.plain.ended(start.need, grants)
        if self.rng.random() < 0.5:
            need, times = start.need, sum(n for _, _, n in grants)
            if need.n_tasks > 1:
                counts: dict[int, int] = {}
                for _, group, n in grants:
                    counts[group] = counts.get(group, 0) + n
                need, times = lost_need(need, counts), 1
            self.n_lost -= 1
            self.compiled.put_back(start.job, self.n_lost, 10.0, times, need)
            self.plain.put_back(start.job, self.n_lost, 10.0, times, need)

    def look_ahead(self) -> None:
        pause = self.compiled.pause_before_revive(self.now_s, self.reservation)
        assert pause == self.plain.pause_before_revive(self.now_s, self.reserved)
        for gangs_only in (True, False):
            assert self.compiled.still_fits(
                self.now_s, self.reservation, None, gangs_only
            ) == self.plain.still_fits(self.now_s, self.reserved, gangs_only)
        if pause == 0 or self.rng.random() < 0.2:
            self.compiled.revived()
            self.plain.revived()
        if pause and self.rng.random() < 0.5:
            self.compiled.end_pause()
            self.plain.pausing = False

    def check(self) -> None:
        assert self.compiled.waits == bool(self.plain.waiting)
        # Whether anything was found to be barred depends on how far each has looked; a scheduler
        # that thinks so asks more often, and that is all.
        self.plain.barred = self.compiled.barred
        there = {key: n for key, n in self.plain.running.items() if n}
        assert self.compiled.running == there
        oldest = self.compiled.oldest()
        if oldest is not None:
            first = min(self.plain.waiting, key=lambda each: each.order)
            assert oldest == (first.order, first.job, first.need, first.times)


@pytest.mark.parametrize("seed", range(60))
def test_schedulers_decide_alike(seed: int) -> None:
    pair = Pair(seed)
    steps = [pair.submit, pair.submit, pair.offer, pair.end, pair.look_ahead, pair.reserve]
    for _ in range(150):
        pair.now_s += pair.rng.choice([0.0, 1.0])
        pair.rng.choice(steps)()
        pair.check()


class Books:
    """Hands each event on to both ledgers, and each question to the compiled one."""

    def __init__(self, *given: Any) -> None:
        self.compiled = Ledger(*given)
        self.plain = PlainLedger(*given)

    def __getattr__(self, name: str) -> Any:
        ask, note = getattr(self.compiled, name), getattr(self.plain, name, None)
        if note is None:
            return ask

        def both(*given: Any) -> Any:
            note(*given)
            return ask(*given)

        return both


@pytest.mark.parametrize("seed", range(25))
def test_ledgers_agree(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Books] = []

    def make(*given: Any) -> Books:
        made.append(Books(*given))
        return made[-1]

    monkeypatch.setattr(run_module, "Ledger", make)
    monkeypatch.setattr("allocator.sim.run.Backfill", lambda *given: backfill_of(*given))
    result = simulate(random_setting(seed), points=9)
    (books,), record = made, result.record
    assert record is not None
    curves, plain = record.series, books.plain
    edges = curves.edges_s.tolist()
    for row in range(len(record.roles) + 1):
        for field, name in enumerate(("share", "in_need", "queue", "running")):
            found = getattr(curves, name)[row].tolist()
            assert found == pytest.approx(plain.average(edges, row, field, None), abs=1e-9)
        for field, name in ((4, "use"), (5, "need")):
            for axis in range(len(record.names)):
                found = getattr(curves, name)[row, axis].tolist()
                assert found == pytest.approx(plain.average(edges, row, field, axis), abs=1e-9)
    for axis in range(len(record.names)):
        expected = plain.average(edges, -1, 0, axis)
        assert curves.capacity[axis].tolist() == pytest.approx(expected)
    check_offers(curves, plain, len(record.roles))
    check_quotas(result, plain)


def backfill_of(frameworks: Any, capacity: Any, books: Books) -> Any:
    from allocator.sim.backfill import Backfill

    return Backfill(frameworks, capacity, books.compiled)


def check_offers(curves: Curves, plain: PlainLedger, n_roles: int) -> None:
    for row in range(n_roles + 1):
        instants = [
            min(now_s, curves.edges_s[-1])
            for now_s, of, n in plain.offers
            if row in (*plain.path(of), n_roles)
            for _ in range(n)
        ]
        expected, _ = np.histogram(instants, curves.edges_s)
        assert curves.offers[row].tolist() == expected.tolist()


def check_quotas(result: Any, plain: PlainLedger) -> None:
    record = result.record
    for role, quota in record.quota.items():
        row = record.roles.index(role)
        for name, (_, met) in quota.guarantee.items():
            axis = record.names.index(name)
            assert met == pytest.approx(plain.met(row, axis, result.end_s))
        for name, (_, peak) in quota.limit.items():
            assert peak == plain.most(row, record.names.index(name)) / 1000
