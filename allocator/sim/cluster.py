"""The machines a trace runs on: groups of equal ones, written by hand, read, or derived."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from allocator.errors import InvalidValue, shown
from allocator.resources import Quantities
from allocator.resources.fixed import MAX_MILLI

#: More machines than this are refused: a slip of the pen, not a cluster.
MAX_MACHINES = 1_000_000

_MAX_COUNT_DIGITS = 20

_SPEC = re.compile(r"(?P<count>\d+)\s*x\s*(?P<resources>[^@]+)(@(?P<kind>\S+))?")


@dataclass(frozen=True, slots=True)
class MachineGroup:
    """A number of equal machines.

    `kind` is what jobs may ask for: a cluster's name or a GPU model; empty if nobody can.
    """

    count: int
    resources: Quantities
    kind: str = ""

    def __str__(self) -> str:
        suffix = f"@{self.kind}" if self.kind else ""
        return f"{self.count}x{self.resources}{suffix}"


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine; it becomes one agent.

    `reserved` has role -> what of its resources is reserved for it, in pairs.
    """

    id: str
    resources: Quantities
    kind: str
    reserved: tuple[tuple[str, Quantities], ...] = ()


def looks_like_spec(text: str) -> bool:
    """Tell a machine group written out from the name of a file. O(length)."""
    return re.match(r"\d+\s*x[^/]*:", text) is not None


def parse_group(text: str) -> MachineGroup:
    """Read one machine group, `COUNTxRESOURCES[@KIND]`.

    Raises
    ------
    InvalidValue
        If the text has another form, the count is out of range, or a machine would be empty.
    ResourceError
        If the resources are malformed. O(length).

    Examples
    --------
    >>> str(parse_group("20xcpus:80;mem:517018@zewura"))
    '20xcpus:80;mem:517018@zewura'
    """
    match = _SPEC.fullmatch(text.strip())
    if match is None:
        raise InvalidValue(f"machines {shown(text)}: not of the form COUNTxRESOURCES[@KIND]")
    resources = Quantities(match["resources"].strip())
    # A text of thousands of digits is a number that Python does not read.
    count = int(match["count"]) if len(match["count"]) < _MAX_COUNT_DIGITS else 0
    if not 0 < count <= MAX_MACHINES or not resources.milli:
        what = f"1 to {MAX_MACHINES} machines that are not empty"
        raise InvalidValue(f"machines {shown(text)}: {what}")
    return MachineGroup(count, resources, match["kind"] or "")


def machines(cluster: Iterable[MachineGroup]) -> Iterator[Machine]:
    """Yield each machine of the groups, named after its kind and numbered from 0."""
    number: dict[str, int] = {}
    for group in cluster:
        name = group.kind or "node"
        for _ in range(group.count):
            index = number.get(name, 0)
            number[name] = index + 1
            yield Machine(f"{name}-{index:04d}", group.resources, group.kind)


def totals(cluster: Iterable[MachineGroup]) -> Quantities:
    """Return the sum over all machines. O(number of groups × names)."""
    total: dict[str, int] = {}
    for group in cluster:
        for name, amount in group.resources.milli.items():
            total[name] = total.get(name, 0) + amount * group.count
    return Quantities.from_milli(total)


def check_size(cluster: Sequence[MachineGroup], source: str) -> None:
    """Refuse a cluster that no engine can hold. O(number of groups × names).

    Raises
    ------
    InvalidValue
        If there are too many machines, or too much of a resource; it names `source`.
    """
    n_machines = sum(group.count for group in cluster)
    if n_machines > MAX_MACHINES:
        raise InvalidValue(f"{source}: {n_machines} machines, more than {MAX_MACHINES}")
    for name in sorted({name for group in cluster for name in group.resources.milli}):
        total = sum(group.count * group.resources.milli.get(name, 0) for group in cluster)
        if total > MAX_MILLI:
            raise InvalidValue(f"{source}: {total // 1000} {name} in all are over-large")


def merged(rows: Iterable[MachineGroup]) -> tuple[MachineGroup, ...]:
    """Join groups of equal machines, in order of first appearance. O(number of rows)."""
    counts: dict[tuple[Quantities, str], int] = {}
    for row in rows:
        key = (row.resources, row.kind)
        counts[key] = counts.get(key, 0) + row.count
    return tuple(MachineGroup(n, resources, kind) for (resources, kind), n in counts.items())


def scaled(cluster: Sequence[MachineGroup], factor: float) -> tuple[MachineGroup, ...]:
    """Return the cluster with about `factor` times as many machines of each kind.

    The whole numbers are chosen by largest remainder, so that their sum is the rounded total and
    proportions are kept as well as they can be; at least one machine stays.

    Raises
    ------
    InvalidValue
        If the factor is not positive and finite, or makes too much (`check_size`).
        O(n log n) in the number of groups.
    """
    if not 0 < factor < float("inf"):
        raise InvalidValue(f"scale {shown(factor)}: not a positive number")
    exact = [group.count * Fraction(factor) for group in cluster]
    counts = [int(count) for count in exact]
    wanted = max(1, round(sum(exact)))
    by_remainder = sorted(range(len(cluster)), key=lambda i: (counts[i] - exact[i], i))
    for index in by_remainder[: wanted - sum(counts)]:
        counts[index] += 1
    result = tuple(
        replace(group, count=count) for group, count in zip(cluster, counts, strict=True) if count
    )
    check_size(result, f"scale {shown(factor)}")
    return result
