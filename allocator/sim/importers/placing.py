"""Where running work stands: on the machines that the dump names, the rest first fit.

Rounding may make a machine that is full seem over by a thousandth a task: so much is trimmed. What
is beyond that, on machines that the dump does not list, or nowhere, is unplaced and put where there
is room, in the order of the dump; on what is reserved for others only where there is none besides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from allocator.sim.importers.amounts import Milli
from allocator.sim.importers.source import Node, Path, Source, Work

#: Role -> what is reserved for it on a machine, and not in use.
_Rests = dict[Path, Milli]


@dataclass(slots=True)
class Placement:
    """Running work by where it stands.

    Parameters
    ----------
    placed : list of Work
        On the machines that the dump names.
    unplaced : list of Work
        Without a machine; what first fit finds for each stands in `found`.
    found : list of Work
        The unplaced where they fit.
    unfit : list of Work
        What fits nowhere now.
    """

    placed: list[Work] = field(default_factory=list)
    unplaced: list[Work] = field(default_factory=list)
    found: list[Work] = field(default_factory=list)
    unfit: list[Work] = field(default_factory=list)


def place(source: Source, nodes: Mapping[str, Node]) -> Placement:
    """Place all running work that asks for something.

    Parameters
    ----------
    source : Source
        What is odd is told to it.
    nodes : mapping
        The machines that are part of the cluster.

    Notes
    -----
    O(work × names), and machines for each that is unplaced.
    """
    free = {id: dict(node.amounts) for id, node in nodes.items()}
    n_tasks = dict.fromkeys(nodes, 0)
    result = Placement()
    for work in source.running:
        if not work.demand:
            continue
        if work.machine is not None and work.machine in free:
            held, rest = _hold(work, free[work.machine], n_tasks)
            result.placed += held
            if rest:
                text = "tasks beyond what their machine has, placed where there is room"
                source.tell("unplaced", text, work.framework, rest.count)
                result.unplaced.append(replace(rest, machine=None))
            continue
        if work.machine is not None:
            text = "tasks on machines that are not listed, placed where there is room"
            source.tell("unplaced", text, work.machine, work.count)
        else:
            _tell_nowhere(source, work)
        result.unplaced += _pieces(replace(work, machine=None), nodes.values())
    _first_fit(source, result, free, nodes)
    return result


def _tell_nowhere(source: Source, work: Work) -> None:
    if work.is_task:
        text = "tasks whose machine the dump does not say, placed where there is room"
        source.tell("unplaced", text, work.framework, work.count)
    else:
        text = "use beyond the tasks that are listed, placed where there is room"
        source.tell("unplaced", text, work.framework)


def _hold(work: Work, free: Milli, n_tasks: dict[str, int]) -> tuple[list[Work], Work | None]:
    """Take what fits, a thousandth a task trimmed; return what is held and what is left."""
    machine = work.machine or ""
    room = min(free.get(name, 0) // amount for name, amount in work.demand.items())
    whole = max(0, min(work.count, room))
    held = [replace(work, count=whole)] if whole else []
    _take(free, work.demand, whole)
    left = work.count - whole
    n_tasks[machine] += work.count
    if left:
        trimmed = {n: min(x, free.get(n, 0)) for n, x in work.demand.items()}
        over = max(x - trimmed[n] for n, x in work.demand.items())
        if over <= n_tasks[machine]:
            held.append(replace(work, demand={n: x for n, x in trimmed.items() if x}, count=1))
            _take(free, trimmed, 1)
            left -= 1
    return [one for one in held if one.demand], replace(work, count=left) if left else None


def _take(free: Milli, demand: Milli, times: int) -> None:
    for name, amount in demand.items():
        free[name] = free.get(name, 0) - amount * times


def _pieces(work: Work, nodes: Iterable[Node]) -> list[Work]:
    """Return work that is no task cut so that a piece fits a machine; tasks stay whole."""
    if work.is_task or not work.demand:
        return [work]
    parts = min(
        (
            max(-(-amount // node.amounts[name]) for name, amount in work.demand.items())
            for node in nodes
            if all(name in node.amounts for name in work.demand)
        ),
        default=1,
    )
    if parts <= 1:
        return [work]
    common = {name: amount // parts for name, amount in work.demand.items()}
    rest = {name: x - common[name] * (parts - 1) for name, x in work.demand.items()}
    return [replace(work, demand=common, count=parts - 1), replace(work, demand=rest, count=1)]


def _first_fit(
    source: Source, result: Placement, free: dict[str, Milli], nodes: Mapping[str, Node]
) -> None:
    """Put the unplaced where there is room: where nobody else reserved it, then anywhere."""
    rests = _unused(result.placed, nodes)
    left = _fit(result.unplaced, result, free, rests)
    if rests:
        left = _fit(left, result, free, {})
    result.unfit += left
    for work in left if free else ():
        text = "unplaced tasks for which there is no room: they wait"
        source.tell("unplaced", text, work.framework, work.count)


def _fit(
    unplaced: Iterable[Work], result: Placement, free: dict[str, Milli], rests: dict[str, _Rests]
) -> list[Work]:
    """Put work on the first machines that have room for it; return what found none."""
    rooms = list(free.items())
    #: demand and role -> the first machine that may have room for it: room only shrinks
    begin: dict[tuple[object, ...], int] = {}
    unfit = []
    for work in unplaced:
        left = work.count
        key = (tuple(work.demand.items()), work.path if rests else ())
        for index in range(begin.get(key, 0), len(rooms)):
            begin[key] = index
            id, room = rooms[index]
            there = rests.get(id)
            mine = _open_to(work, room, there) if there else room
            fits = min(mine.get(name, 0) // amount for name, amount in work.demand.items())
            n_here = max(0, min(left, fits))
            if n_here:
                _take(room, work.demand, n_here)
                result.found.append(replace(work, machine=id, count=n_here))
                _use(there or {}, result.found[-1])
                left -= n_here
            if not left:
                break
        if left:
            begin[key] = len(rooms)
            unfit.append(replace(work, count=left))
    return unfit


def _unused(placed: Iterable[Work], nodes: Mapping[str, Node]) -> dict[str, _Rests]:
    """Return machine -> role -> what is reserved for it there and not in use by it."""
    rests = {
        id: {path: dict(own) for path, own in node.reserved.items()}
        for id, node in nodes.items()
        if node.reserved
    }
    for work in placed if rests else ():
        _use(rests.get(work.machine or "", {}), work)
    return rests


def _open_to(work: Work, room: Milli, rests: _Rests) -> Milli:
    """Return what of a machine's room is not reserved for others."""
    others = [own for path, own in rests.items() if not _may_have(work, path)]
    return {name: x - sum(own.get(name, 0) for own in others) for name, x in room.items()}


def _may_have(work: Work, path: Path) -> bool:
    """Tell whether what is reserved for a role is for work, too: of that role or below it."""
    return work.path[: len(path)] == path


def _use(rests: _Rests, work: Work) -> None:
    """Have work use what is reserved for its role, the nearest first."""
    for name, amount in work.demand.items() if rests else ():
        left = amount * work.count
        for path in sorted(rests, key=len, reverse=True):
            if _may_have(work, path):
                part = min(left, rests[path].get(name, 0))
                rests[path][name] = rests[path].get(name, 0) - part
                left -= part
