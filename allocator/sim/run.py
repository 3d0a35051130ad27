"""The state of one run: what happens, when, and what it leads to.

Events mark time; `_cycle` is the only place where tasks start.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any

import numpy as np

from allocator.clock import ManualClock
from allocator.contract import Offer
from allocator.engine import Allocator
from allocator.errors import InvalidValue, shown
from allocator.resources import Resources
from allocator.sim._bins import HeatMap
from allocator.sim._jobs import JobTable
from allocator.sim._ledger import Ledger
from allocator.sim._placing import Grants, Hand, Need, Reservation
from allocator.sim._scheduler import Start
from allocator.sim.backfill import Backfill
from allocator.sim.desk import Desk
from allocator.sim.framework import Framework, Needs, lost_need
from allocator.sim.outages import Change, Outages
from allocator.sim.placed import FirstWork
from allocator.sim.record import Integers
from allocator.sim.setting import Setting
from allocator.sim.stage import Stage
from allocator.sim.timed import TimedEngine
from allocator.sim.trace import Job

#: Cycles in a row with offers of which nothing starts, while nothing else is to come, before the
#: run is over: without filters, offers that fit nobody would go round for ever.
STALLED_CYCLES = 1000

#: Called now and then with the part of the jobs that are done (0 to 1) and the simulated time.
#: If it returns False, the run ends there.
Progress = Callable[[float, float], object]

#: Cycles from one such call to the next.
_PROGRESS_EVERY = 16

#: Beyond this, instants on the grid cannot be told apart (a double has 53 bits).
_MAX_CYCLES = 2**52

#: Resources made of amounts are kept for the next time, so many at most.
MAX_MADE = 65536

#: Pools of machines, and columns of time, in the heat map, at most.
_HEAT_SIZE = 200

#: Of what happens at one instant, tasks end first, then machines are lost or back.
_FIRST, _SECOND = 0, 1


class Run:
    """One run of a setting.

    Parameters
    ----------
    setting : Setting
    points : int
        Intervals of the series at most.
    make : callable
        Makes the allocator.
    """

    def __init__(self, setting: Setting, points: int, make: Callable[..., Allocator]) -> None:
        self.setting = setting
        self.stage = stage = Stage(setting)
        self.trace = setting.trace
        self._interval_s = setting.policy.interval_s
        self._clock = ManualClock()
        #: Returns the simulated time.
        self.now_s: Callable[[], float] = self._clock
        self._horizon_s = math.inf if setting.horizon_s is None else setting.horizon_s
        self.ids = [machine.id for machine in setting.machines]
        self.agents = {id: index for index, id in enumerate(self.ids)}
        self.frameworks = stage.frameworks()
        self.jobs = JobTable(len(setting.placed) + len(self.trace.jobs))
        self._outages = Outages(setting.machines, setting.events, setting.policy.seed)
        self.heat = HeatMap(stage.amounts, _HEAT_SIZE, _HEAT_SIZE)
        self.ledger = Ledger(
            stage.parents, self._capacity(), stage.counted, self.trace.last_submit_s, points
        )
        #: (instant, what comes first, tie-break, what to do then, with what)
        self._events: list[tuple[float, int, int, Callable[[Any], None], Any]] = []
        self._numbers = count()
        self._next_job = 0
        #: places in the order of age; those of lost tasks are below 0
        self._n_orders = 0
        self._n_lost_orders = 0
        #: submitted jobs that have not finished and may yet
        self._n_live = 0
        #: tasks that run, in the order of their start, where that must be known
        self._running: dict[int, tuple[Framework, Start]] = {}
        #: what ended since the last cycle and has yet to be given back
        self._freed: list[Offer] = []
        #: position on the grid of the last cycle, run or skipped
        self._grid = -1
        self._last_change_s = 0.0
        self._fruitless_cycles = 0
        self.n_revives = self.n_skipped = 0
        self.cycle_ns: array[int] = array("q")
        self._backfill = self._make_backfill()
        self._watch_policy()
        first = FirstWork(self)
        self._fixed = first.fixed
        self.engine = TimedEngine(lambda: stage.allocator(make, self._clock, first.used))
        self.desk = Desk(self)
        for framework in dict.fromkeys(first.waiting):
            self.revive(framework)
        for change in self._outages.first_changes():
            self.at(change.at_s, self._befall, change, _SECOND)

    # Setting up.

    def _capacity(self) -> Integers:
        """Return what is up, by axis. O(machines × axes)."""
        up: Integers = self.stage.amounts[self._outages.up].sum(axis=0, dtype=np.int64)
        return up

    def _make_backfill(self) -> Backfill | None:
        easy = [f for f in self.frameworks.values() if f.behaviour.backfill == "easy"]
        if not easy:
            return None
        backfill = Backfill(easy, self.stage.amounts, self.ledger)
        for id in self.setting.inactive:
            backfill.set_open(self.agents[id], False)
        return backfill

    def _watch_policy(self) -> None:
        """Have the ledger know quotas and reservations."""
        stage = self.stage
        for role, policy in self.setting.roles.items():
            if policy.guarantee or policy.limit:
                least, most = policy.guarantee.milli, policy.limit
                self.ledger.set_quota(
                    stage.rows[role],
                    [least.get(name, -1) for name in stage.names],
                    [most.get(name, -1) for name in stage.names],
                )
        for machine in stage.reserved:
            self._count_reserved(machine, 1)

    def _count_reserved(self, machine: int, sign: int) -> None:
        for role, amounts in self.stage.reserved.get(machine, {}).items():
            row = self.stage.rows[role]
            self.ledger.reserve(row, self.now_s(), self.stage.vector(amounts), sign)

    @property
    def reservation(self) -> Reservation | None:
        """What the oldest waiting job has reserved, if anything."""
        return None if self._backfill is None else self._backfill.reservation

    def holds_back(self, framework: Framework) -> bool:
        """Tell whether others keep clear of what a job of a framework has reserved."""
        return self._backfill is not None and self._backfill.holder is framework

    def reserves_anew(self, framework: Framework) -> bool:
        """After a framework has started tasks: tell whether they had a reservation.

        Another job has it then, if any.
        """
        if self._backfill is None or not self.holds_back(framework):
            return False
        before = self._backfill.reservation
        self._backfill.look(self.now_s())
        after = self._backfill.reservation
        return before is not None and (after is None or after.order != before.order)

    # Running.

    def run(self, progress: Progress | None) -> None:
        """Run until nothing is left to happen, or to the horizon."""
        turns = 0
        while True:
            grid = self._next_grid()
            if grid is None or grid * self._interval_s > self._horizon_s:
                break
            if grid > self._grid + 1:
                self.engine.skip_cycles(grid - self._grid - 1)
                self.n_skipped += grid - self._grid - 1
            self._grid = grid
            instant_s = grid * self._interval_s
            self._happen(instant_s)
            self._clock.advance_to(instant_s)
            self._cycle()
            turns += 1
            if progress is None or turns % _PROGRESS_EVERY:
                continue
            if progress(self._done(), instant_s) is False:
                self._horizon_s = instant_s
                break
        if math.isfinite(self._horizon_s):
            self._happen(self._horizon_s)

    def _next_grid(self) -> int | None:
        """Return the position of the next cycle that can do something, None if none ever can."""
        event_s = self._next_event_s()
        due_s = self.engine.next_due()
        if event_s == math.inf and due_s > self.now_s():
            # What is left may be offered again when filters end, to frameworks that have looked at
            # it already: nothing comes of it.
            return None
        if self._fruitless_cycles >= STALLED_CYCLES and not self.has_to_come():
            return None
        instant_s = min(event_s, due_s)
        if instant_s > self._horizon_s:
            return None
        if self.setting.every_cycle:
            return self._grid + 1
        return max(self._grid + 1, self._grid_at(instant_s))

    def has_to_come(self) -> bool:
        """Tell whether anything is to happen but that offers are not kept open any more."""
        return self._next_job < len(self.trace.jobs) or len(self._events) > self.desk.n_holds

    def _grid_at(self, instant_s: float) -> int:
        """Return the first position on the grid at or after an instant."""
        interval_s = self._interval_s
        if instant_s > _MAX_CYCLES * interval_s:
            raise InvalidValue(
                f"interval {shown(interval_s)}: something happens at {instant_s:g} s, after more"
                " cycles than can be counted; a horizon ends the run before"
            )
        grid = math.ceil(instant_s / interval_s)
        while grid * interval_s < instant_s:
            grid += 1
        while (grid - 1) * interval_s >= instant_s:
            grid -= 1
        return grid

    def _next_event_s(self) -> float:
        jobs = self.trace.jobs
        if self._next_job < len(jobs):
            next_s = jobs[self._next_job].submit_s
            return min(next_s, self._events[0][0]) if self._events else next_s
        if self._n_live == 0 and (self.setting.events or self.desk.n_held):
            return math.inf  # machines may come and go, but no work is left
        return self._events[0][0] if self._events else math.inf

    def _happen(self, until_s: float) -> None:
        """Let happen, in order of time, what happens up to an instant; ends before arrivals."""
        jobs = self.trace.jobs
        events = self._events
        while (now_s := self._next_event_s()) <= until_s:
            self._clock.advance_to(now_s)
            if events and events[0][0] <= now_s:
                _, _, _, action, what = heappop(events)
                action(what)
            else:
                self._submit(jobs[self._next_job])
                self._next_job += 1
        self._give_back()

    def at(
        self, instant_s: float, action: Callable[[Any], None], what: Any, turn: int = _FIRST
    ) -> None:
        """Have something happen at an instant."""
        heappush(self._events, (instant_s, turn, next(self._numbers), action, what))

    def at_cycle(self, n: int, action: Callable[[Any], None], what: Any) -> None:
        """Have something happen n cycles on."""
        self.at((self._grid + n) * self._interval_s, action, what)

    def keep_open(self, framework: Framework, amounts: tuple[int, ...], sign: int) -> None:
        """Book an offer that is kept open (1), or not any more (-1)."""
        now_s = self._last_change_s = self.now_s()
        self.ledger.keep_open(framework.row, now_s, amounts, sign)

    def _give_back(self) -> None:
        """Have the engine know what has ended."""
        if self._freed:
            self.engine.release(self._freed)
            self._freed = []

    # Jobs.

    def _submit(self, job: Job) -> None:
        framework = self.frameworks[job.tenant]
        needs = self.stage.plan(framework, job.shape)
        now_s = self._last_change_s = self.now_s()
        requested_s = job.run_s if job.requested_s is None else job.requested_s
        row = self.jobs.add(
            framework.index,
            job.submit_s,
            job.run_s,
            requested_s,
            job.shape.n_tasks,
            needs is not None,
        )
        self.ledger.submitted(framework.row, now_s, needs)
        if needs is None:
            return
        self.note_live()
        self.desk.disturb(framework)
        if self.queue(framework, row, needs, self.desk.held_hand(framework)):
            self.revive(framework)

    def note_live(self) -> None:
        """Count a job that has yet to finish."""
        self._n_live += 1

    def queue(self, framework: Framework, row: int, needs: Needs, held: Hand | None = None) -> bool:
        """Queue what a job starts; tell whether to revive."""
        order = self._n_orders
        self._n_orders += len(needs)
        if self._backfill is not None:
            self._backfill.submitted()
        requested_s = self.jobs.requested_of(row)
        return framework.scheduler.submit(
            row, order, requested_s, needs, self.now_s(), self.reservation, held
        )

    def revive(self, framework: Framework) -> None:
        """Have a framework be offered everything again."""
        framework.scheduler.revived()
        self.engine.revive(framework.tenant.name)
        self.n_revives += 1

    def begin(self, framework: Framework, start: Start, *, is_new: bool = True) -> None:
        """Have tasks run from now on; `is_new`: the run starts them."""
        now_s = self.now_s()
        jobs, row = self.jobs, framework.row
        self._last_change_s = now_s
        self._fruitless_cycles = 0
        if start.kept is not None:
            self.ledger.take_reserved(row, now_s, self._reserved_part(start.kept), 1)
        self.ledger.started(row, now_s, start.need, start.grants, is_new)
        self.heat.change(now_s, start.need, start.grants, 1)
        if jobs.started(start.job, now_s, start.grants.n_tasks):
            self.ledger.all_started(row, now_s)
        self._watch(framework, start, now_s)

    def _watch(self, framework: Framework, start: Start, now_s: float) -> None:
        """Have the end of tasks that start come to pass."""
        run_s = self.jobs.run_of(start.job)
        if self._backfill is not None:
            self._backfill.started(start, now_s + self.jobs.requested_of(start.job))
        if self.setting.events:
            self._running[id(start)] = framework, start
        if math.isfinite(run_s):
            self.at(now_s + run_s, self._end, (framework, start))

    def _end(self, what: tuple[Framework, Start]) -> None:
        framework, start = what
        if not start.grants.n:
            return  # lost before
        now_s = self._last_change_s = self.now_s()
        if self._backfill is not None:
            self._backfill.ended(start)
        self._running.pop(id(start), None)
        self._free(framework, start, start.grants, start.kept)
        framework.scheduler.ended(start, start.grants)
        row = framework.row
        self.ledger.ended(row, now_s, start.need, start.grants)
        self.heat.change(now_s, start.need, start.grants, -1)
        if start.kept is not None:
            self.ledger.take_reserved(row, now_s, self._reserved_part(start.kept), -1)
        if self.jobs.ended(start.job, now_s, start.grants.n_tasks):
            self.ledger.finished(row)
            self._n_live -= 1

    def _free(
        self, framework: Framework, start: Start, grants: Grants, kept: list[Resources] | None
    ) -> None:
        """Note what the engine is to be given back."""
        name, role = framework.tenant.name, framework.tenant.role
        for i, (agent, _, group, n) in enumerate(grants):
            held = self.resources_of(start.need, group, n) if kept is None else kept[i]
            self._freed.append(Offer("", name, role, self.ids[agent], held))

    def _reserved_part(self, kept: list[Resources]) -> list[int]:
        sums: dict[str, int] = {}
        for resources in kept:
            for name, amount in resources.reserved().quantities().milli.items():
                sums[name] = sums.get(name, 0) + amount
        return self.stage.vector(sums)

    def resources_of(self, need: Need, group: int, n: int) -> Resources:
        """Return what n tasks of a group of a need take; made only once."""
        made = need.made.get((group, n))
        if made is None:
            if len(need.made) >= MAX_MADE:
                need.made.clear()
            taken = need.tasks[group][1]
            made = Resources.from_milli({self.stage.names[axis]: n * m for axis, m in taken})
            need.made[group, n] = made
        return made

    # Cycles.

    def _cycle(self) -> None:
        """Run one cycle and let every framework answer its offers."""
        if self._backfill is not None:
            self._ask_again(self._backfill)
        offers, took_ns = self.engine.allocate()
        self.cycle_ns.append(took_ns)
        if offers.rescinded:
            self.desk.time_out(offers.rescinded)
        if len(offers):
            self._fruitless_cycles += 1
            self.desk.answer(offers)
        self.desk.answer_restless()
        if self._backfill is not None:
            self._ask_again(self._backfill)

    def _ask_again(self, backfill: Backfill) -> None:
        """Where a reservation has changed, revive frameworks that may start something now."""
        if not backfill.look(self.now_s()):
            return
        holder = backfill.holder
        if backfill.is_due(self.now_s()):
            assert holder is not None
            self.revive(holder)
        for framework in self.frameworks.values():
            scheduler = framework.scheduler
            if scheduler.suppressed or not (scheduler.barred or framework is holder):
                continue
            if scheduler.still_fits(
                self.now_s(), self.reservation, self.desk.held_hand(framework), gangs_only=False
            ):
                self.revive(framework)

    # Machines.

    def _befall(self, change: Change) -> None:
        """Have machines be drained, lost or back."""
        self._give_back()
        following: Change | None = None
        if change.action == "notice":
            drained, following = self._outages.notice(change)
            for machine in drained:
                self._close(machine)
        elif change.action == "lose":
            lost, following = self._outages.lose(change)
            if lost:
                self._lose(lost)
        else:
            self._bring_back(self._outages.bring_back(change))
        if following is not None:
            self.at(following.at_s, self._befall, following, _SECOND)

    def _close(self, machine: int) -> None:
        """Have nothing start on a machine any more."""
        self.engine.call("deactivate_agent", self.ids[machine])
        self.desk.give_up(machine)
        if self._backfill is not None:
            self._backfill.set_open(machine, False)

    def _lose(self, machines: tuple[int, ...]) -> None:
        """Have machines leave at once, and what runs there wait again."""
        now_s = self._last_change_s = self.now_s()
        down = np.zeros(len(self.ids), np.uint8)
        down[list(machines)] = 1
        for framework, start in reversed(list(self._running.values())):
            self._lose_tasks(framework, start, down)
        for machine in machines:
            self._close(machine)
            self.engine.call("remove_agent", self.ids[machine])
            for framework in self.frameworks.values():
                framework.scheduler.refused.forget(machine)
            self.heat.set_up(now_s, machine, False)
            self._count_reserved(machine, -1)
        self.ledger.set_capacity(now_s, self._capacity())

    def _lose_tasks(
        self, framework: Framework, start: Start, down: np.ndarray[Any, np.dtype[np.uint8]]
    ) -> None:
        before = list(start.grants) if start.kept is not None else []
        gone = start.grants.split(down)
        if gone is None:
            return
        now_s, row = self.now_s(), framework.row
        if not start.grants.n:
            del self._running[id(start)]
        if self._backfill is not None:
            self._backfill.lost(start, gone)
        framework.scheduler.ended(start, gone)
        self.ledger.lost(row, now_s, start.need, gone)
        self.heat.change(now_s, start.need, gone, -1)
        if start.kept is not None:
            is_lost = [bool(down[agent]) for agent, *_ in before]
            lost = [kept for kept, is_gone in zip(start.kept, is_lost, strict=True) if is_gone]
            start.kept = [k for k, is_gone in zip(start.kept, is_lost, strict=True) if not is_gone]
            self.ledger.take_reserved(row, now_s, self._reserved_part(lost), -1)
        if self.jobs.lost(start.job, now_s, gone.n_tasks):
            self.ledger.waits_again(row, now_s)
        self._put_back(framework, start, gone)

    def _put_back(self, framework: Framework, start: Start, gone: Grants) -> None:
        """Have tasks that were lost wait at the head of their queue, or for their machine."""
        if start.job in self._fixed.jobs:
            self._fixed.lost(framework, start, gone)
            return
        need, times = start.need, gone.n_tasks
        if need.n_tasks > 1:
            counts: dict[int, int] = {}
            for _, _, group, n in gone:
                counts[group] = counts.get(group, 0) + n
            need, times = lost_need(need, counts), 1
        self._n_lost_orders -= 1
        requested_s = self.jobs.requested_of(start.job)
        framework.scheduler.put_back(start.job, self._n_lost_orders, requested_s, times, need)
        self.revive(framework)

    def _bring_back(self, machines: tuple[int, ...]) -> None:
        """Have machines be there again, with nothing on them but what belongs to them.

        Or have them not be drained any more.
        """
        now_s = self._last_change_s = self.now_s()
        begun: list[tuple[Framework, Start]] = []
        for machine in machines:
            id = self.ids[machine]
            if self.engine.knows(id):
                self.engine.call("activate_agent", id)
            else:
                fixed = self._fixed.back(machine)
                begun += fixed
                used = self._fixed.used(fixed) or None
                self.engine.call("add_agent", id, self.stage.has(machine), used=used)
                self.heat.set_up(now_s, machine, True)
                self._count_reserved(machine, 1)
            is_open = id not in self.setting.inactive
            if not is_open:
                self.engine.call("deactivate_agent", id)
            if self._backfill is not None:
                self._backfill.set_open(machine, is_open)
        self.ledger.set_capacity(now_s, self._capacity())
        for framework, start in begun:
            self.begin(framework, start)

    # Afterwards.

    def _done(self) -> float:
        counts = self.ledger.counts(self.ledger.n_rows - 1)
        settled = 2 * (counts["finished"] + counts["never_fits"]) + counts["running"]
        return settled / (2 * (len(self.trace.jobs) + len(self.setting.placed)) or 1)

    @property
    def end_s(self) -> float:
        """When the run has ended."""
        counts = self.ledger.counts(self.ledger.n_rows - 1)
        unfinished = counts["running"] or counts["waiting"]
        if unfinished and math.isfinite(self._horizon_s):
            return self._horizon_s
        return self._last_change_s
