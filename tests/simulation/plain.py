"""What the simulator's compiled modules do, in plain Python that recomputes everything."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from allocator.sim._placing import Grants, Need

Row = list[int]


def amounts(need: Need, group: int) -> dict[int, int]:
    """What one task takes, by axis."""
    return dict(need.tasks[group][1])


@dataclass
class Space:
    """What one offer has left, and how many tasks may still come."""

    agent: int
    free: Row
    room: int


@dataclass
class Reserved:
    """The reservation of the oldest waiting job; `extra` is by machine and axis."""

    start_s: float
    order: int
    extra: list[Row]


@dataclass
class Entry:
    order: int
    times: int
    job: int
    requested_s: float
    need: Need


Grant = tuple[int, int, int]  # agent, group, tasks


def copied(spaces: Iterable[Space]) -> list[Space]:
    return [Space(space.agent, list(space.free), space.room) for space in spaces]


class PlainScheduler:
    """As `allocator.sim._scheduler.Scheduler`."""

    def __init__(self, name: str, n_axes: int, seed: int | str, room: int) -> None:
        self.room = room
        self.suppressed = True
        self.barred = False
        self.running: dict[tuple[str, int], int] = {}
        self.waiting: list[Entry] = []
        self.refused: dict[int, Row] = {}
        self.n_axes = n_axes
        self.random = random.Random(f"{seed}/{name}")
        self.vain_revives = 0
        self.pausing = False

    def submit(
        self,
        job: int,
        order: int,
        requested_s: float,
        needs: Sequence[tuple[int, Need]],
        now_s: float,
        reserved: Reserved | None = None,
    ) -> bool:
        ask = self.suppressed
        for times, need in needs:
            entry = Entry(order, times, job, requested_s, need)
            order += 1
            if self.barred or all(other.need is not need for other in self.waiting):
                ask = ask or self.can_start(entry, now_s, reserved)
            self.waiting.append(entry)
        return ask

    def put_back(self, job: int, order: int, requested_s: float, times: int, need: Need) -> None:
        self.waiting.insert(0, Entry(order, times, job, requested_s, need))

    def is_barred(self, entry: Entry, now_s: float, reserved: Reserved | None) -> bool:
        return (
            reserved is not None
            and entry.order > reserved.order
            and now_s + entry.requested_s > reserved.start_s
        )

    def can_start(self, entry: Entry, now_s: float, reserved: Reserved | None) -> bool:
        bars = self.is_barred(entry, now_s, reserved)
        spaces = [Space(agent, list(free), self.room) for agent, free in self.refused.items()]
        running = dict(self.running)
        extra = [list(row) for row in reserved.extra] if bars and reserved else None
        if self.place(entry.need, 1, spaces, running, extra):
            return True
        self.barred = self.barred or bars
        return False

    def place(
        self,
        need: Need,
        times: int,
        spaces: list[Space],
        running: dict[tuple[str, int], int],
        extra: list[Row] | None,
    ) -> list[Grant]:
        """Place a need, first fit: as many as fit of single tasks, else all or none."""
        if need.n_tasks == 1:
            return self.place_group(need, 0, times, spaces, running, extra)
        tried, counts = copied(spaces), dict(running)
        left = None if extra is None else [list(row) for row in extra]
        found: list[Grant] = []
        for group, (count, _, _) in enumerate(need.tasks):
            part = self.place_group(need, group, count, tried, counts, left)
            if sum(n for _, _, n in part) < count:
                return []
            found += part
        spaces[:] = tried
        running.clear()
        running.update(counts)
        if extra is not None and left is not None:
            extra[:] = left
        return found

    def place_group(
        self,
        need: Need,
        group: int,
        count: int,
        spaces: list[Space],
        running: dict[tuple[str, int], int],
        extra: list[Row] | None,
    ) -> list[Grant]:
        found = []
        for space in spaces:
            n = 0
            while n < count and self.fits_one(need, group, space, running, extra):
                n += 1
                space.room -= 1
                for axis, amount in amounts(need, group).items():
                    space.free[axis] -= amount
                    if extra is not None:
                        extra[space.agent][axis] -= amount
                if need.spread is not None:
                    key = (need.spread.group, space.agent)
                    running[key] = running.get(key, 0) + 1
            if n:
                found.append((space.agent, group, n))
                count -= n
        return found

    def fits_one(
        self,
        need: Need,
        group: int,
        space: Space,
        running: dict[tuple[str, int], int],
        extra: list[Row] | None,
    ) -> bool:
        if need.mask is not None and not need.mask[space.agent]:
            return False
        if space.room < 1:
            return False
        if need.spread is not None:
            there = running.get((need.spread.group, space.agent), 0)
            if there >= need.spread.limit:
                return False
        return all(
            space.free[axis] >= amount and (extra is None or extra[space.agent][axis] >= amount)
            for axis, amount in amounts(need, group).items()
        )

    def fill(
        self, spaces: list[Space], now_s: float, reserved: Reserved | None = None
    ) -> list[tuple[int, list[Grant]]]:
        starts = []
        longest: dict[int, float] = {}
        for entry in sorted(self.waiting, key=lambda each: each.order):
            if entry.requested_s > longest.get(id(entry.need), math.inf):
                continue
            bars = self.is_barred(entry, now_s, reserved)
            extra = reserved.extra if bars and reserved else None
            grants = self.place(entry.need, entry.times, spaces, self.running, extra)
            if grants:
                starts.append((entry.job, grants))
                entry.times -= sum(n for _, _, n in grants) if entry.need.n_tasks == 1 else 1
            if entry.times == 0:
                self.waiting.remove(entry)
                if reserved is not None and entry.order == reserved.order:
                    break
            elif bars and reserved:
                self.barred = True
                longest[id(entry.need)] = reserved.start_s - now_s
            else:
                longest[id(entry.need)] = -1.0
        if starts:
            self.vain_revives = 0
        return starts

    def refuse(self, spaces: list[Space]) -> None:
        for space in spaces:
            known = self.refused.setdefault(space.agent, [0] * self.n_axes)
            known[:] = [max(pair) for pair in zip(known, space.free, strict=True)]

    def still_fits(
        self, now_s: float, reserved: Reserved | None = None, gangs_only: bool = True
    ) -> bool:
        seen: set[int] = set()
        for entry in sorted(self.waiting, key=lambda each: each.order):
            first = id(entry.need) not in seen
            seen.add(id(entry.need))
            if gangs_only and entry.need.n_tasks == 1:
                continue
            if (first or not self.is_barred(entry, now_s, reserved)) and self.can_start(
                entry, now_s, reserved
            ):
                return True
        return False

    def pause_before_revive(self, now_s: float, reserved: Reserved | None = None) -> int | None:
        if self.pausing or not self.still_fits(now_s, reserved):
            return None
        power = min(self.vain_revives, 8)
        self.vain_revives += 1
        if power == 0:
            return 0
        self.pausing = True
        return self.random.randint(1, 2**power)

    def revived(self) -> None:
        self.suppressed = self.barred = False
        self.refused.clear()

    def ended(self, need: Need, grants: list[Grant]) -> None:
        for agent, _, n in grants:
            if need.spread is not None:
                self.running[need.spread.group, agent] -= n


# The books.


@dataclass
class Facts:
    """What is so for one role itself, without those below it; vectors by axis."""

    n_axes: int
    held: Row = field(default_factory=list)
    open: Row = field(default_factory=list)
    use: Row = field(default_factory=list)
    waiting: Row = field(default_factory=list)
    reserved: Row = field(default_factory=list)
    own: Row = field(default_factory=list)
    n_running: int = 0
    jobs_waiting: int = 0

    def __post_init__(self) -> None:
        for name in ("held", "open", "use", "waiting", "reserved", "own"):
            setattr(self, name, [0] * self.n_axes)


#: All levels of one row: share, in need, queue, running, use, need, consumed.
Levels = tuple[float, float, float, float, tuple[float, ...], tuple[float, ...], tuple[int, ...]]


class PlainLedger:
    """As `allocator.sim._ledger.Ledger`: writes down all levels after every event."""

    def __init__(
        self, parents: Any, capacity: Any, counted: Any, mark_s: float, points: int
    ) -> None:
        self.parents = [int(parent) for parent in parents]
        self.counted = [bool(each) for each in counted]
        self.capacity = [int(amount) for amount in capacity]
        self.n_axes = len(self.capacity)
        self.facts = [Facts(self.n_axes) for _ in self.parents]
        self.quotas: dict[int, tuple[Row, Row]] = {}
        self.offers: list[tuple[float, int, int]] = []
        #: (instant, levels of each row, capacity) from then on
        self.history: list[tuple[float, list[Levels], Row]] = [(0.0, self.levels(), [*capacity])]

    def members(self, row: int) -> list[Facts]:
        """The facts of a row's subtree; of all for the row after the last."""
        if row == len(self.parents):
            return self.facts
        return [facts for r, facts in enumerate(self.facts) if row in self.path(r)]

    def path(self, row: int) -> list[int]:
        found = []
        while row >= 0:
            found.append(row)
            row = self.parents[row]
        return found

    def levels(self) -> list[Levels]:
        return [self.levels_of(self.members(row)) for row in range(len(self.parents) + 1)]

    def levels_of(self, members: list[Facts]) -> Levels:
        def total(name: str) -> Row:
            return [sum(getattr(f, name)[axis] for f in members) for axis in range(self.n_axes)]

        held, kept, use, waiting = total("held"), total("open"), total("use"), total("waiting")
        shares = [
            (held[axis] + kept[axis]) / self.capacity[axis]
            for axis in range(self.n_axes)
            if self.counted[axis] and self.capacity[axis]
        ]
        queue = sum(f.jobs_waiting for f in members)
        reserved, own = total("reserved"), total("own")
        return (
            max(shares, default=0.0),
            float(queue > 0),
            float(queue),
            float(sum(f.n_running for f in members)),
            tuple(amount / 1000 for amount in use),
            tuple((a + b) / 1000 for a, b in zip(use, waiting, strict=True)),
            tuple(r + h + k - o for r, h, k, o in zip(reserved, held, kept, own, strict=True)),
        )

    def note(self, now_s: float) -> None:
        self.history.append((now_s, self.levels(), list(self.capacity)))

    # Events.

    def hold(self, row: int, need: Need, grants: Grants, sign: int, waits: bool) -> None:
        facts = self.facts[row]
        for _, _, group, n in grants:
            _, taken, used = need.tasks[group]
            facts.n_running += sign * n
            for axis, amount in taken:
                facts.held[axis] += sign * n * amount
            for axis, amount in used:
                facts.use[axis] += sign * n * amount
                if waits:
                    facts.waiting[axis] -= sign * n * amount

    def submitted(self, row: int, now_s: float, needs: Any) -> None:
        if needs is not None:
            self.facts[row].jobs_waiting += 1
            for times, need in needs:
                for count, _, used in need.tasks:
                    for axis, amount in used:
                        self.facts[row].waiting[axis] += times * count * amount
            self.note(now_s)

    def started(
        self, row: int, now_s: float, need: Need, grants: Grants, is_new: bool = True
    ) -> None:
        self.hold(row, need, grants, 1, True)
        self.note(now_s)

    def ended(self, row: int, now_s: float, need: Need, grants: Grants) -> None:
        self.hold(row, need, grants, -1, False)
        self.note(now_s)

    def lost(self, row: int, now_s: float, need: Need, grants: Grants) -> None:
        self.hold(row, need, grants, -1, True)
        self.note(now_s)

    def all_started(self, row: int, now_s: float) -> None:
        self.facts[row].jobs_waiting -= 1
        self.note(now_s)

    def waits_again(self, row: int, now_s: float) -> None:
        self.facts[row].jobs_waiting += 1
        self.note(now_s)

    def keep_open(self, row: int, now_s: float, amounts: Sequence[int], sign: int) -> None:
        self.add(self.facts[row].open, amounts, sign, now_s)

    def reserve(self, row: int, now_s: float, amounts: Sequence[int], sign: int) -> None:
        self.add(self.facts[row].reserved, amounts, sign, now_s)

    def take_reserved(self, row: int, now_s: float, amounts: Sequence[int], sign: int) -> None:
        self.add(self.facts[row].own, amounts, sign, now_s)

    def add(self, to: Row, amounts: Sequence[int], sign: int, now_s: float) -> None:
        to[:] = [a + sign * b for a, b in zip(to, amounts, strict=True)]
        self.note(now_s)

    def offered(self, row: int, now_s: float, n: int, goes_on: bool) -> None:
        self.offers.append((now_s, row, n))

    def set_capacity(self, now_s: float, capacity: Any) -> None:
        self.capacity = [int(amount) for amount in capacity]
        self.note(now_s)

    def set_quota(self, row: int, guarantee: Row, limit: Row) -> None:
        self.quotas[row] = guarantee, limit

    # Afterwards.

    def spans(self, end_s: float) -> list[tuple[float, float, list[Levels], Row]]:
        """(from, to, levels, capacity) of all spans that last."""
        ends = [instant for instant, _, _ in self.history[1:]] + [end_s]
        return [
            (begin, end, levels, capacity)
            for (begin, levels, capacity), end in zip(self.history, ends, strict=True)
            if end > begin
        ]

    def average(
        self, edges: Sequence[float], row: int, field: int, axis: int | None
    ) -> list[float]:
        """The averages over intervals of one level: of the capacity where `row` is -1."""
        found = []
        spans = self.spans(edges[-1])
        for low, high in pairwise(edges):
            area = 0.0
            for begin, end, levels, capacity in spans:
                span = min(end, high) - max(begin, low)
                if span > 0:
                    level: Any = levels[row][field] if row >= 0 else capacity
                    value = level if axis is None else level[axis]
                    area += span * (value / 1000 if row < 0 else value)
            found.append(area / (high - low))
        return found

    def met(self, row: int, axis: int, end_s: float) -> float:
        """The part of the time in which a guarantee is met, or all that is wanted."""
        guarantee = self.quotas[row][0][axis]
        met = sum(
            end - begin
            for begin, end, levels, _ in self.spans(end_s)
            if levels[row][6][axis] >= min(guarantee, round(1000 * levels[row][5][axis]))
        )
        return met / end_s

    def most(self, row: int, axis: int) -> int:
        return max(levels[row][6][axis] for _, levels, _ in self.history)
