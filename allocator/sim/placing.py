"""Fitting tasks into what machines have left, in whole thousandths.

Amounts are vectors over the trace's resource names, each name one position ("axis").
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from allocator.resources import Quantities
from allocator.sim.trace import Shape, Spread

#: The demand of one task: (axis, thousandths) of each resource it needs.
Demand = tuple[tuple[int, int], ...]

#: (group, agent index) -> running tasks, for shapes that are spread.
Running = dict[tuple[str, int], int]


class Space:
    """What one machine has left, as far as its scheduler knows, and may still be started there.

    `free` is consumed as tasks are placed; `room` is the number of tasks that may come.
    """

    __slots__ = ("agent", "free", "room")

    def __init__(self, agent: int, free: list[int], room: int) -> None:
        self.agent = agent
        self.free = free
        self.room = room


@dataclass(frozen=True, slots=True)
class Grant:
    """Room for `count` tasks of one demand in a space."""

    space: Space
    count: int
    demand: Demand


@dataclass(frozen=True, slots=True, eq=False)
class Need:
    """What starts at once or not at all: tasks, and the machines that they may run on.

    Parameters
    ----------
    tasks : tuple of (int, Demand)
        Counts of equal tasks.
    agents : frozenset of int or None
        The agents admitted; None for all.
    spread : Spread or None
        A bound on the tasks per machine.
    n_tasks : int
        The number of tasks.
    total : Demand
        The sum over all tasks.
    """

    tasks: tuple[tuple[int, Demand], ...]
    agents: frozenset[int] | None
    spread: Spread | None
    n_tasks: int
    total: Demand


def _need(
    tasks: tuple[tuple[int, Demand], ...], agents: frozenset[int] | None, spread: Spread | None
) -> Need:
    sums: dict[int, int] = {}
    for count, demand in tasks:
        for axis, amount in demand:
            sums[axis] = sums.get(axis, 0) + count * amount
    n_tasks = sum(count for count, _ in tasks)
    return Need(tasks, agents, spread, n_tasks, tuple(sums.items()))


def needs_of(
    shape: Shape, axes: Mapping[str, int], kinds: Sequence[str], *, gang: bool
) -> tuple[tuple[int, Need], ...]:
    """Return what a job of this shape starts: (how many times, need).

    As a gang that is all of its tasks, once; else each task for itself.

    Parameters
    ----------
    axes : mapping
        Resource name -> position in the vectors.
    kinds : sequence of str
        The kind of each agent, by agent index.
    """
    agents = None
    if shape.kinds:
        agents = frozenset(i for i, kind in enumerate(kinds) if kind in shape.kinds)
    tasks = tuple((t.count, _demand(t.demand, axes)) for t in shape.tasks)
    if gang:
        return ((1, _need(tasks, agents, shape.spread)),)
    return tuple((n, _need(((1, demand),), agents, shape.spread)) for n, demand in tasks)


def _demand(quantities: Quantities, axes: Mapping[str, int]) -> Demand:
    return tuple((axes[name], amount) for name, amount in quantities.milli.items())


def place(
    need: Need, times: int, spaces: Iterable[Space], running: Running
) -> tuple[int, list[Grant]]:
    """Place a need up to `times` times, first fit over the spaces.

    Consumes what is placed from the spaces and counts spread tasks as running. A need of several
    tasks is placed once, or not at all.

    Returns
    -------
    (int, list of Grant)
        How many times it was placed, and where. O(spaces × names).
    """
    if need.n_tasks == 1:
        grants: list[Grant] = []
        left = _place_tasks(need, times, need.tasks[0][1], spaces, running, grants)
        return times - left, grants
    grants = []
    for count, demand in need.tasks:
        if _place_tasks(need, count, demand, spaces, running, grants):
            take_back(need, grants, running)
            return 0, []
    return 1, grants


def take_back(need: Need, grants: list[Grant], running: Running) -> None:
    """Undo grants of a need. O(grants × names)."""
    for grant in grants:
        _move(need, grant, running, -1)


def _place_tasks(
    need: Need,
    count: int,
    demand: Demand,
    spaces: Iterable[Space],
    running: Running,
    grants: list[Grant],
) -> int:
    """Place as many of `count` tasks as fit, add to `grants`, and return how many do not."""
    for space in spaces:
        fitting = _fitting(need, demand, count, space, running)
        if fitting > 0:
            grant = Grant(space, fitting, demand)
            _move(need, grant, running, 1)
            grants.append(grant)
            count -= fitting
            if count == 0:
                break
    return count


def _fitting(need: Need, demand: Demand, wanted: int, space: Space, running: Running) -> int:
    if need.agents is not None and space.agent not in need.agents:
        return 0
    fitting = min(wanted, space.room)
    free = space.free
    for axis, amount in demand:
        times = free[axis] // amount
        if times < fitting:
            fitting = times
    if need.spread is not None:
        there = running.get((need.spread.group, space.agent), 0)
        fitting = min(fitting, need.spread.limit - there)
    return fitting


def _move(need: Need, grant: Grant, running: Running, sign: int) -> None:
    space, count = grant.space, sign * grant.count
    space.room -= count
    for axis, amount in grant.demand:
        space.free[axis] -= count * amount
    if need.spread is not None:
        count_running(need.spread, space.agent, count, running)


def count_running(spread: Spread, agent: int, change: int, running: Running) -> None:
    """Add to the spread tasks that run on an agent. O(1)."""
    key = (spread.group, agent)
    there = running.get(key, 0) + change
    if there:
        running[key] = there
    else:
        running.pop(key, None)
