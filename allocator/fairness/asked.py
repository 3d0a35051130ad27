"""What a division is asked for: capacity, demands, weights and bounds, read and checked once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from allocator.errors import FairnessError, InvalidValue, shown
from allocator.resources import Quantities

Floats: TypeAlias = npt.NDArray[np.float64]

#: Amounts by resource name: a mapping, text such as "cpus:9;mem:18", or `Quantities`.
Amounts: TypeAlias = Mapping[str, float] | str | Quantities

#: What is there: amounts, or groups of alike machines, each their number and what one has.
Capacity: TypeAlias = Amounts | Sequence[tuple[float, Amounts]]

#: Tenant → what one of its tasks takes.
Demands: TypeAlias = Mapping[str, Amounts]

#: Tenant → number; of bounds, None and infinity stand for none.
Numbers: TypeAlias = Mapping[str, float] | Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Asked:
    """A problem of n tenants, k names and g groups of machines, as arrays."""

    tenants: tuple[str, ...]
    names: tuple[str, ...]
    #: (g,) how many machines each group has.
    counts: Floats
    #: (g, k) what a machine of each group has.
    machines: Floats
    #: (k,) what all groups have together.
    capacity: Floats
    #: (n, k) what a task takes.
    demands: Floats
    #: (n,) positive.
    weights: Floats
    #: (n,) the most tasks, infinite where there is no bound.
    bounds: Floats
    #: Whether the capacity was given as groups.
    grouped: bool

    @property
    def parts(self) -> Floats:
        """What part of the capacity a task takes, (n, k)."""
        safe = np.where(self.capacity > 0, self.capacity, 1.0)
        return self.demands / safe

    @property
    def dominant(self) -> Floats:
        """What dominant share a task has, (n,)."""
        largest: Floats = self.parts.max(axis=1)
        return largest


def read(
    capacity: Capacity,
    demands: Demands,
    weights: Numbers | None,
    tasks: Numbers | None,
    others: Iterable[str] = (),
) -> tuple[Asked, dict[str, float]]:
    """Return a problem as arrays, and all weights that are given; `others` may have one, too.

    Raises
    ------
    FairnessError
        If anything makes no sense; it names tenant or resource and value. O(n k).
    """
    counts, groups, grouped = _read_groups(capacity)
    names = tuple(dict.fromkeys(name for group in groups for name in group))
    column = {name: index for index, name in enumerate(names)}
    machines = np.zeros((len(groups), len(names)))
    for row, group in enumerate(groups):
        for name, amount in group.items():
            machines[row, column[name]] = amount
    with np.errstate(over="ignore"):
        together = counts @ machines
    if not together.any():
        raise FairnessError(f"capacity {shown(capacity)} is empty")
    if not np.isfinite(together).all():
        raise FairnessError(f"capacity {shown(capacity)}: what all have together is over-large")
    if not isinstance(demands, Mapping):
        raise FairnessError(f"demands map tenants to quantities, not {shown(demands)}")
    tenants = tuple(demands)
    matrix = _read_demands(demands, column)
    _check_servable(tenants, names, matrix, together)
    given = _read_weights(weights, {*tenants, *others})
    asked = Asked(
        tenants=tenants,
        names=names,
        counts=counts,
        machines=machines,
        capacity=together,
        demands=matrix,
        weights=np.array([given.get(tenant, 1.0) for tenant in tenants]),
        bounds=_read_bounds(tasks, tenants),
        grouped=grouped,
    )
    return asked, given


def amounts_of(source: object, what: str) -> Mapping[str, Any]:
    """Return amounts by name, of which a mapping's are still to be checked."""
    if isinstance(source, str):
        try:
            source = Quantities(source)
        except InvalidValue as error:
            raise FairnessError(f"{what}: {error}") from None
    if isinstance(source, Quantities):
        return {name: milli / 1000 for name, milli in source.milli.items()}
    if isinstance(source, Mapping):
        return source
    raise FairnessError(f"{what}: quantities map names to amounts, not {shown(source)}")


def checked_number(value: object, what: str, *, least: float = 0.0) -> float:
    """Return a finite number that is not below `least`; raises `FairnessError` naming `what`."""
    if isinstance(value, Real) and not isinstance(value, (bool, np.bool_)):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number) and number >= least:
            return number
    raise FairnessError(f"{what}: {shown(value)} is not a finite number of at least {least:g}")


def _read_groups(capacity: object) -> tuple[Floats, list[dict[str, float]], bool]:
    """Return the number of machines of each group, what one has, and whether there are groups."""
    if isinstance(capacity, (str, Mapping, Quantities)) or not isinstance(capacity, Iterable):
        return np.ones(1), [_checked_amounts(capacity, "capacity")], False
    counts, groups = [], []
    for number, group in enumerate(capacity):
        what = f"capacity, group {number}"
        if isinstance(group, str) or not isinstance(group, Sequence) or len(group) != 2:
            raise FairnessError(f"{what} is a count and quantities, not {shown(group)}")
        count = checked_number(group[0], f"{what}, count")
        if count <= 0:
            raise FairnessError(f"{what}: a count is positive, not {shown(group[0])}")
        counts.append(count)
        groups.append(_checked_amounts(group[1], what))
    if not groups:
        raise FairnessError(f"capacity {shown(capacity)} is empty")
    return np.array(counts), groups, True


def _checked_amounts(source: object, what: str) -> dict[str, float]:
    amounts = {}
    for name, amount in amounts_of(source, what).items():
        if not isinstance(name, str):
            raise FairnessError(f"{what}: {shown(name)} is not the name of a resource")
        amounts[name] = checked_number(amount, f"{what}, {shown(name)}")
    return amounts


def _read_demands(demands: Demands, column: Mapping[str, int]) -> Floats:
    """Return a row for each tenant. O(n k)."""
    names: list[str] = []
    amounts: list[float] = []
    sizes: list[int] = []
    for tenant, source in demands.items():
        of_task = source if type(source) is dict else amounts_of(source, f"demand of {tenant!r}")
        names.extend(of_task)
        amounts.extend(of_task.values())
        sizes.append(len(of_task))
    rows = np.repeat(np.arange(len(sizes)), sizes)
    columns = [column.get(name, -1) for name in names]
    matrix = np.zeros((len(sizes), len(column)))
    values = _as_floats(amounts)
    if values is None or -1 in columns or not (np.isfinite(values).all() and (values >= 0).all()):
        raise _wrong_demand(demands, column)
    matrix[rows, columns] = values
    for row in np.flatnonzero(~(matrix > 0).any(axis=1))[:1]:
        tenant = list(demands)[row]
        raise FairnessError(f"{tenant!r} demands nothing: {shown(demands[tenant])}")
    return matrix


def _as_floats(amounts: list[float]) -> Floats | None:
    """Return numbers as an array, None if some are not such that it is as they say."""
    if not {type(amount) for amount in amounts} <= {int, float} and not all(
        isinstance(amount, Real) and not isinstance(amount, (bool, np.bool_)) for amount in amounts
    ):
        return None
    try:
        return np.array([float(amount) for amount in amounts])
    except OverflowError:
        return None


def _wrong_demand(demands: Demands, column: Mapping[str, int]) -> FairnessError:
    """Return what is wrong with some demand."""
    for tenant, source in demands.items():
        what = f"demand of {shown(tenant)}"
        for name, amount in amounts_of(source, what).items():
            if name not in column:
                return FairnessError(
                    f"{what}: {shown(name)} ({shown(amount)}) is not in the capacity, which has"
                    f" {', '.join(column)}"
                )
            try:
                checked_number(amount, f"{what}, {shown(name)}")
            except FairnessError as error:
                return error
    raise AssertionError("a demand is wrong and none is found to be")


def _check_servable(
    tenants: Sequence[str], names: Sequence[str], demands: Floats, capacity: Floats
) -> None:
    """Refuse a demand for what nobody has."""
    for row, column in np.argwhere((demands > 0) & (capacity <= 0))[:1]:
        raise FairnessError(
            f"demand of {shown(tenants[row])}: {demands[row, column]} of {shown(names[column])},"
            " of which the capacity has 0"
        )


def _items(given: object, what: str, known: set[str]) -> Iterator[tuple[str, object]]:
    """Yield what is given by tenant; raises `FairnessError` if one is not known."""
    if given is None:
        return
    if not isinstance(given, Mapping):
        raise FairnessError(f"{what} map tenants to numbers, not {shown(given)}")
    for tenant, value in given.items():
        if tenant not in known:
            raise FairnessError(
                f"{what}: {shown(tenant)} ({shown(value)}) is not among the tenants"
            )
        yield tenant, value


def _read_weights(weights: object, known: set[str]) -> dict[str, float]:
    given = {}
    for tenant, value in _items(weights, "weights", known):
        weight = checked_number(value, f"weight of {shown(tenant)}")
        if weight <= 0:
            raise FairnessError(f"weight of {shown(tenant)}: {shown(value)} is not positive")
        given[tenant] = weight
    return given


def _read_bounds(tasks: object, tenants: Sequence[str]) -> Floats:
    bounds = np.full(len(tenants), np.inf)
    place = {tenant: index for index, tenant in enumerate(tenants)}
    for tenant, value in _items(tasks, "tasks", set(tenants)):
        if value is not None and not (isinstance(value, float) and value == math.inf):
            bounds[place[tenant]] = checked_number(value, f"tasks of {shown(tenant)}")
    return bounds
