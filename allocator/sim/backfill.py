"""EASY backfilling: the oldest waiting job reserves its start, and younger ones do not delay it.

Where some tenants backfill so, the oldest of their waiting jobs that room alone holds up has a
reservation: the earliest instant at which all its waiting tasks have room, if those that run
take as long as they say. No younger job, of whatever tenant, starts tasks that say they run beyond
that instant, but in room that the reservation leaves. Jobs that would exceed a limit wait for
other reasons, and reserve nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from sortedcontainers import SortedDict

from allocator.sim._ledger import Ledger
from allocator.sim._placing import Grants, Hand, Need, Reservation, add_taken, place
from allocator.sim._scheduler import Start
from allocator.sim.framework import Framework

_ANY_NUMBER = 2**62


class Backfill:
    """Keeps the reservation of the oldest waiting job.

    Parameters
    ----------
    frameworks : iterable of Framework
        Those whose jobs reserve their start.
    capacity : (machines, axes) int64
        What each machine has.
    ledger : Ledger
        Knows what limits leave.
    """

    def __init__(
        self, frameworks: Iterable[Framework], capacity: NDArray[np.int64], ledger: Ledger
    ) -> None:
        self._frameworks = list(frameworks)
        self._capacity = capacity
        self._ledger = ledger
        #: machine × axis: what no task takes; nothing is negative but on machines that are closed
        self._free = capacity.copy()
        self._open = np.ones(len(capacity), bool)
        #: (when it says that it ends, number) -> tasks that run
        self._running: SortedDict[tuple[float, int], Start] = SortedDict()
        #: id of a start -> its key in `_running`
        self._keys: dict[int, tuple[float, int]] = {}
        self._n_started = 0
        self._is_current = False
        #: place in the order of age of the last that was due
        self._due: int | None = None
        self.reservation: Reservation | None = None
        #: the framework whose job has the reservation
        self.holder: Framework | None = None

    def started(self, start: Start, end_s: float) -> None:
        """Take note of tasks that say they end at an instant. O(grants + log starts)."""
        key = (end_s, self._n_started)
        self._n_started += 1
        self._keys[id(start)] = key
        self._running[key] = start
        add_taken(self._free, start.need, start.grants, -1)
        self._is_current = False

    def ended(self, start: Start) -> None:
        """Take note that all that is left of a start has ended. O(grants + log starts)."""
        del self._running[self._keys.pop(id(start))]
        add_taken(self._free, start.need, start.grants, 1)
        self._is_current = False

    def lost(self, start: Start, gone: Grants) -> None:
        """Take note that tasks of a start were lost, and are not in it any more. O(grants)."""
        add_taken(self._free, start.need, gone, 1)
        if not start.grants.n:
            del self._running[self._keys.pop(id(start))]
        self._is_current = False

    def set_open(self, machine: int, is_open: bool) -> None:
        """Have a machine take tasks, or not. O(1)."""
        self._open[machine] = is_open
        self._is_current = False

    def submitted(self) -> None:
        """Take note of a job that has come. O(1)."""
        if self.reservation is None:
            self._is_current = False

    def look(self, now_s: float) -> bool:
        """Have the reservation be that of the present state; tell whether it may be another.

        O(starts × log starts + machines × axes × log starts) where something has changed.
        """
        if self._is_current:
            return False
        self._is_current = True
        self.reservation = self.holder = None
        waiting = [
            (oldest, framework)
            for framework in self._frameworks
            if (oldest := framework.scheduler.oldest()) is not None
        ]
        waiting.sort(key=lambda each: each[0][0])
        for (order, _, need, times), framework in waiting:
            if not self._ledger.leaves_room(framework.row, need, times):
                continue
            self.reservation = self._reserve(now_s, order, need, times, framework)
            if self.reservation is not None:
                self.holder = framework
                break
        return True

    def is_due(self, now_s: float) -> bool:
        """Tell, once of each reservation, whether its job may start now. O(1)."""
        reservation = self.reservation
        if reservation is None or reservation.start_s > now_s or reservation.order == self._due:
            return False
        self._due = reservation.order
        return True

    def _reserve(
        self, now_s: float, order: int, need: Need, times: int, framework: Framework
    ) -> Reservation | None:
        """Return the reservation of a job, None if it has no room even when nothing runs."""
        ends = list(self._running.items())
        free = np.where(self._open[:, np.newaxis], self._free, 0)
        # The least number of starts to end, in order, by bisection; `free` is with `gone` ended.
        low, high, gone = 0, len(ends), 0
        while low < high:
            middle = (low + high) // 2
            self._have_ended(free, ends, gone, middle)
            gone = middle
            if self._place(free, need, times, framework) is not None:
                high = middle
            else:
                low = middle + 1
        start_s = max(now_s, ends[low - 1][0][0]) if low else now_s
        if math.isinf(start_s):
            return None
        n_gone = bisect_right(ends, start_s, key=lambda each: each[0][0])
        self._have_ended(free, ends, gone, n_gone)
        extra = self._place(free, need, times, framework)
        return None if extra is None else Reservation(start_s, order, extra)

    def _have_ended(
        self,
        free: NDArray[np.int64],
        ends: list[tuple[tuple[float, int], Start]],
        before: int,
        after: int,
    ) -> None:
        """Change what is free from when so many starts have ended to when others have."""
        for _, start in ends[min(before, after) : max(before, after)]:
            add_taken(free, start.need, start.grants, 1 if after > before else -1)

    def _place(
        self, free: NDArray[np.int64], need: Need, times: int, framework: Framework
    ) -> NDArray[np.int64] | None:
        """Return what a job leaves of what is free, None if it does not fit."""
        hand = Hand(free.shape[1])
        machines = np.flatnonzero(self._open)
        # First where there is no room yet, which leaves more to those that may start now.
        axes = [axis for axis, _ in need.tasks[0][1]]
        amounts = [amount for _, amount in need.tasks[0][1]]
        room_now = np.maximum(self._free[machines][:, axes] // amounts, 0).min(
            axis=1, initial=2**62
        )
        machines = machines[np.argsort(room_now, kind="stable")]
        room = min(framework.scheduler.room, _ANY_NUMBER)
        hand.add_rows(machines, np.arange(len(free)), free, np.arange(free.shape[1]), room)
        grants = place(need, times, hand, dict(framework.scheduler.running))
        if not grants.n or (need.n_tasks == 1 and grants.n_tasks < times):
            return None
        extra = free.copy()
        add_taken(extra, need, grants, -1)
        return extra
