"""Which machines are up, drained or down, and when that changes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from allocator.sim.cluster import Machine
from allocator.sim.setting import ClusterEvent


@dataclass(frozen=True, slots=True)
class Change:
    """What befalls the machines at some positions: `notice`, `lose` or `bring_back`."""

    at_s: float
    action: str
    event: int
    machines: tuple[int, ...] = ()


class Outages:
    """The state of each machine, and what the events of a setting make of it.

    Machines are drawn when an event takes effect: those of a drain at its notice.

    Parameters
    ----------
    machines : sequence of Machine
    events : sequence of ClusterEvent
    seed : int or str
        Of the run.
    """

    def __init__(
        self, machines: Sequence[Machine], events: Sequence[ClusterEvent], seed: int | str
    ) -> None:
        self._events = events
        self._seed = seed
        self._kinds = [machine.kind for machine in machines]
        self._places = {machine.id: index for index, machine in enumerate(machines)}
        self.up = np.ones(len(machines), bool)
        #: machine -> the events that drain it, and have not taken it yet
        self._draining: dict[int, set[int]] = {}
        #: machine that is down -> when it is back
        self._back_s: dict[int, float] = {}

    def first_changes(self) -> list[Change]:
        """Return what the events begin with, in their order. O(events)."""
        return [
            Change(max(0.0, event.at_s - event.notice_s), "notice", index)
            if event.action == "drain"
            else Change(event.at_s, "lose" if event.action == "fail" else "bring_back", index)
            for index, event in enumerate(self._events)
        ]

    def is_open(self, machine: int) -> bool:
        """Tell whether a machine is up and not drained. O(1)."""
        return bool(self.up[machine]) and machine not in self._draining

    def notice(self, change: Change) -> tuple[tuple[int, ...], Change]:
        """Announce a drain; return its machines, and what is to follow. O(machines)."""
        event = self._events[change.event]
        drawn = tuple(m for m in self._drawn(change.event, self.is_open) if self.up[m])
        for machine in drawn:
            self._draining.setdefault(machine, set()).add(change.event)
        return drawn, Change(event.at_s, "lose", change.event, drawn)

    def lose(self, change: Change) -> tuple[tuple[int, ...], Change | None]:
        """Take machines down; return those that were up, and their return, if any is known.

        A machine that is down already is back no sooner. O(machines).
        """
        event = self._events[change.event]
        if event.action == "drain":
            hit = tuple(m for m in change.machines if change.event in self._draining.get(m, ()))
        else:
            hit = self._drawn(change.event, lambda machine: bool(self.up[machine]))
        back_s = math.inf if event.for_s is None else event.at_s + event.for_s
        for machine in hit:
            self._back_s[machine] = max(back_s, self._back_s.get(machine, 0.0))
        lost = tuple(machine for machine in hit if self.up[machine])
        for machine in lost:
            self.up[machine] = False
            self._draining.pop(machine, None)
        if math.isinf(back_s) or not hit:
            return lost, None
        return lost, Change(back_s, "bring_back", change.event, hit)

    def bring_back(self, change: Change) -> tuple[int, ...]:
        """Return the machines that are back: up again, or not drained any more. O(machines)."""
        event = self._events[change.event]
        if event.action == "return":
            drawn = self._drawn(change.event, lambda machine: not self.is_open(machine))
            back = tuple(machine for machine in drawn if not self.is_open(machine))
        else:  # the end of an outage
            back = tuple(m for m in change.machines if self._back_s.get(m) == change.at_s)
        for machine in back:
            self.up[machine] = True
            self._draining.pop(machine, None)
            self._back_s.pop(machine, None)
        return back

    def _drawn(self, index: int, admits: Callable[[int], bool]) -> tuple[int, ...]:
        """Return the machines of an event: those it names, or a draw of those admitted."""
        event = self._events[index]
        if event.n_machines is None:
            return tuple(self._places[id] for id in event.ids)
        pool = [
            machine
            for machine, kind in enumerate(self._kinds)
            if admits(machine) and event.kind in (None, kind)
        ]
        draw = random.Random(f"{self._seed}/cluster/{index}")
        return tuple(sorted(draw.sample(pool, min(event.n_machines, len(pool)))))
