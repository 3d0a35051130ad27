"""Work that runs when a run begins."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from allocator.resources import EMPTY, Resources
from allocator.sim._placing import Grants, Hand, Need, grants_of, place
from allocator.sim._scheduler import Start
from allocator.sim.framework import Framework, needs_of
from allocator.sim.reserving import chosen
from allocator.sim.setting import Placed
from allocator.sim.trace import Shape, Tasks

if TYPE_CHECKING:
    from allocator.sim.run import Run
    from allocator.sim.stage import Used


class FirstWork:
    """Has the placed work of a setting run from the beginning, each a job of its own.

    `used` maps machine -> framework -> what it uses there; `waiting` are the frameworks of which
    some work fitted nowhere; `fixed` is what belongs to its machine.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._free = run.stage.amounts.copy()
        #: machine with reservations -> what is left there
        self._left: dict[int, Resources] = {}
        self.used: Used = {}
        self.waiting: list[Framework] = []
        self.fixed = FixedWork(run)
        for placed in run.setting.placed:
            self._begin(run.frameworks[placed.tenant], placed)

    def _begin(self, framework: Framework, placed: Placed) -> None:
        """Have one kind of equal tasks run, as far as there is room; the others wait."""
        run, stage = self._run, self._run.stage
        shape = Shape((Tasks(placed.count, placed.demand),))
        behaviour = replace(framework.behaviour, kind="greedy", gang=False)
        ((times, need),) = needs_of(shape, behaviour, stage.axes, stage.kinds)
        grants = self._place(framework, need, placed)
        row = run.jobs.add(
            framework.index, 0.0, placed.run_s, placed.run_s, placed.count, fits=True
        )
        run.ledger.submitted(framework.row, 0.0, ((times, need),))
        run.note_live()
        if grants.n:
            start = Start(row, need, grants)
            start.kept = self._use(framework, need, grants)
            if placed.fixed:
                self.fixed.jobs.add(row)
            run.begin(framework, start, is_new=False)
        rest = times - grants.n_tasks
        if rest:
            run.queue(framework, row, ((rest, need),))
            self.waiting.append(framework)

    def _place(self, framework: Framework, need: Need, placed: Placed) -> Grants:
        """Find room: on the machine that is named, then first fit over all. O(machines)."""
        wanted = placed.count
        first = [] if placed.machine is None else [self._run.agents[placed.machine]]
        everywhere = () if placed.fixed else range(len(self._free))
        found = []
        for machines in (first, everywhere):
            hand = Hand(need.n_axes)
            for machine in machines:
                hand.add(machine, self._room(machine, framework), wanted)
            for agent, _, group, n in place(need, wanted, hand, {}) if wanted else ():
                found.append((agent, group, n))
                wanted -= n
                for axis, amount in need.tasks[group][1]:
                    self._free[agent, axis] -= n * amount
        return grants_of(found)

    def _room(self, machine: int, framework: Framework) -> list[int]:
        """Return what a framework may have of a machine, thousandths by axis."""
        if machine not in self._run.stage.reserved:
            room: list[int] = self._free[machine].tolist()
            return room
        left = self._left.get(machine, self._run.stage.has(machine))
        mine = left.allocatable_to(framework.tenant.role)
        return self._run.stage.vector(mine.quantities().milli)

    def _use(self, framework: Framework, need: Need, grants: Grants) -> list[Resources] | None:
        """Note what is used where; return the resources of each grant if some are reserved."""
        run, kept = self._run, []
        for agent, _, group, n in grants:
            taken = run.resources_of(need, group, n)
            if agent in run.stage.reserved:
                there = self._left.get(agent, run.stage.has(agent))
                mine = there.allocatable_to(framework.tenant.role)
                taken = chosen(mine, taken.quantities().milli)
                self._left[agent] = there - taken
            kept.append(taken)
            by_framework = self.used.setdefault(agent, {})
            name = framework.tenant.name
            by_framework[name] = by_framework.get(name, EMPTY) + taken
        return kept if run.stage.reserved else None


class FixedWork:
    """Placed work that belongs to its machine: it is lost with it, and back with it.

    `jobs` has the rows of what is such work.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.jobs: set[int] = set()
        #: machine that is down -> what runs there again when it is back
        self._away: dict[int, list[tuple[Framework, int, Need, Grants]]] = {}

    def lost(self, framework: Framework, start: Start, gone: Grants) -> None:
        """Have what was lost wait for its machine. O(1)."""
        machine = next(iter(gone))[0]
        self._away.setdefault(machine, []).append((framework, start.job, start.need, gone))

    def back(self, machine: int) -> list[tuple[Framework, Start]]:
        """Return what begins anew on a machine that is back, with nothing on it. O(entries)."""
        run, found = self._run, []
        left = run.stage.has(machine)
        for framework, job, need, grants in self._away.pop(machine, ()):
            start = Start(job, need, grants)
            if run.stage.reserved:
                start.kept = []
                for _, _, group, n in grants:
                    amounts = run.resources_of(need, group, n).quantities().milli
                    mine = chosen(left.allocatable_to(framework.tenant.role), amounts)
                    start.kept.append(mine)
                    left -= mine
            found.append((framework, start))
        return found

    def used(self, begun: list[tuple[Framework, Start]]) -> dict[str, dict[str, Resources]]:
        """Return framework -> role -> what is in use of a machine by what begins there."""
        used: dict[str, dict[str, Resources]] = {}
        for framework, start in begun:
            tenant = framework.tenant
            for index, (_, _, group, n) in enumerate(start.grants):
                plain = self._run.resources_of(start.need, group, n)
                held = plain if start.kept is None else start.kept[index]
                by_role = used.setdefault(tenant.name, {})
                by_role[tenant.role] = by_role.get(tenant.role, EMPTY) + held
        return used
