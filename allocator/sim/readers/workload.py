"""What a reader hands over, and what all readers share in making it."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from allocator.errors import shown
from allocator.resources import Quantities
from allocator.resources.fixed import MAX_MILLI, MILLI
from allocator.sim.cluster import MachineGroup
from allocator.sim.trace import LONGEST_S, Job, Shape, Spread, Tasks, Tenant

#: No number of a trace may be larger: the engine could not hold so much of anything.
LARGEST = MAX_MILLI // MILLI

NOT_POSITIVE = "run time not positive: job dropped"
UNSORTED = "rows out of submission order: sorted"


class Malformed(ValueError):
    """A line that its reader cannot use; the text says why."""


@dataclass(slots=True)
class Workload:
    """Jobs as read, before they are put in order and given a cluster.

    Submission times count from wherever the file counts. `default_cluster` makes the machines for
    a trace that comes without, and says which in words.
    """

    jobs: list[Job]
    tenants: dict[str, Tenant]
    default_cluster: Callable[[Sequence[Job]], tuple[tuple[MachineGroup, ...], str]] | None = None
    defects: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    end_s: float | None = None
    #: Resource names left out where no machine has any: asked for, but not known of the cluster.
    optional: frozenset[str] = frozenset()


class Shapes:
    """Makes each distinct shape once, so that a long trace holds few of them."""

    def __init__(self) -> None:
        self._shapes: dict[object, Shape] = {}

    def of(
        self,
        *tasks: tuple[int, Mapping[str, int]],
        kinds: frozenset[str] = frozenset(),
        spread: Spread | None = None,
    ) -> Shape:
        """Return the shape of (count, demand in thousandths) pairs.

        Raises
        ------
        Malformed
            If a task would ask for nothing. O(size of the pairs).
        """
        key = (tuple((n, tuple(demand.items())) for n, demand in tasks), kinds, spread)
        shape = self._shapes.get(key)
        if shape is None:
            if not all(n > 0 and any(demand.values()) for n, demand in tasks):
                raise Malformed("asks for nothing")
            groups = tuple(Tasks(n, Quantities.from_milli(dict(demand))) for n, demand in tasks)
            shape = self._shapes[key] = Shape(groups, kinds, spread)
        return shape


def tenant_named(role: str, tenants: dict[str, Tenant]) -> str:
    """Return `role` as the name of a tenant, made on first sight: one framework in one role."""
    if role not in tenants:
        tenants[role] = Tenant(role, role)
    return role


def role_name(text: str) -> str:
    """Return `text` as one name of a role path, with `_` for what a name must not have.

    Examples
    --------
    >>> role_name("No Class/-1"), role_name("-x"), role_name("*")
    ('No_Class_-1', '_x', '_')
    """
    name = "".join("_" if c.isspace() or c in "/\0\x08\x7f" else c for c in text)
    if name in ("", ".", "..", "*"):
        return "_"
    return "_" + name[1:] if name.startswith("-") else name


def number(text: str, what: str) -> float:
    """Return a number that an engine can hold, or raise `Malformed` naming `what`.

    Examples
    --------
    >>> number("-1.5", "field 4")
    -1.5
    """
    try:
        value = float(text)
    except ValueError:
        raise Malformed(f"{what} {shown(text)} is not a number") from None
    if math.isnan(value) or "inf" in text.lower():
        raise Malformed(f"{what} {shown(text)} is not finite")
    if abs(value) > LARGEST:
        raise Malformed(f"{what} {shown(text)} is over-large")
    return value


def amount(text: str, what: str) -> float:
    """Return a number that is not negative, or raise `Malformed` naming `what`."""
    value = number(text, what)
    if value < 0:
        raise Malformed(f"{what} {shown(text)} is negative")
    return value


def seconds(text: str, what: str) -> float:
    """Return a time, which may be negative, or raise `Malformed` naming `what`."""
    value = number(text, what)
    if abs(value) > LONGEST_S:
        raise Malformed(f"{what} {shown(text)} is too long a time")
    return value


def instant(text: str, what: str) -> float:
    """Return a time that is not negative, or raise `Malformed` naming `what`."""
    amount(text, what)
    return seconds(text, what)


def whole(text: str, what: str) -> int:
    """Return an integer, or raise `Malformed` naming `what`."""
    value = number(text, what)
    if value != int(value):
        raise Malformed(f"{what} {shown(text)} is not a whole number")
    return int(value)


def milli(value: float, what: str) -> int:
    """Return an amount in thousandths, rounding half up as resources do, or raise `Malformed`."""
    rounded = math.floor(value * MILLI + 0.5)
    if rounded > MAX_MILLI:
        raise Malformed(f"{what} {value:g} is over-large")
    return rounded


def in_order(workload: Workload) -> tuple[tuple[Job, ...], float]:
    """Return the jobs by submission, the first at time 0, and the time that 0 was in the file.

    Rows that come before an earlier one are counted as a defect. O(n log n).
    """
    jobs = workload.jobs
    if not jobs:
        return (), 0.0
    descents = sum(a.submit_s > b.submit_s for a, b in pairwise(jobs))
    if descents:
        workload.defects[UNSORTED] += descents
    ordered = sorted(jobs, key=lambda job: job.submit_s)
    origin = ordered[0].submit_s
    if origin == 0:
        return tuple(ordered), 0.0
    return tuple(_shifted(job, origin) for job in ordered), origin


def _shifted(job: Job, origin: float) -> Job:
    start = job.recorded_start_s
    return replace(
        job,
        submit_s=job.submit_s - origin,
        recorded_start_s=None if start is None else start - origin,
    )


def reshaped(jobs: Sequence[Job], change: Callable[[Shape], Shape]) -> tuple[list[Job], int]:
    """Return the jobs with changed shapes, and how many changed. O(n)."""
    shapes: dict[int, Shape] = {}
    kept, n_changed = [], 0
    for job in jobs:
        shape = shapes.get(id(job.shape))
        if shape is None:
            shape = shapes[id(job.shape)] = change(job.shape)
        if shape is job.shape:
            kept.append(job)
        else:
            kept.append(replace(job, shape=shape))
            n_changed += 1
    return kept, n_changed


def without(shape: Shape, names: frozenset[str]) -> Shape:
    """Return the shape without its demand for `names`; itself if it has none."""
    if not any(names & tasks.demand.milli.keys() for tasks in shape.tasks):
        return shape
    stripped = tuple(
        Tasks(
            tasks.count,
            Quantities.from_milli({k: v for k, v in tasks.demand.milli.items() if k not in names}),
        )
        for tasks in shape.tasks
    )
    return replace(shape, tasks=stripped)


def of_any_kind(shape: Shape) -> Shape:
    """Return the shape for machines of any kind; itself if it is."""
    return replace(shape, kinds=frozenset()) if shape.kinds else shape
