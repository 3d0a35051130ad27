"""How fair a division is: measures that are 0 where nobody has a complaint."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from allocator.errors import FairnessError, shown
from allocator.fairness.asked import (
    Amounts,
    Capacity,
    Demands,
    Floats,
    amounts_of,
    checked_number,
    read,
)
from allocator.fairness.divided import Division, entitlements_of

#: Tenants that are compared with all others at once.
_ROWS = 256

#: What part of a name's capacity rounding may leave.
_REST = 1e-12

#: What a number of tasks may lack of a whole one by rounding.
_ROUNDING = 1e-9


def jain(values: Iterable[float] | Mapping[Any, float]) -> float:
    """Return Jain's fairness index: (Σx)² / (n Σx²), from 1/n (one has all) to 1 (all alike).

    Parameters
    ----------
    values : iterable of float
        Not negative; of a mapping its values. All zeros are alike.

    Raises
    ------
    FairnessError
        If there are none, or one is negative, infinite or no number. O(n).

    Notes
    -----
    Jain, Chiu, Hawe, A Quantitative Measure of Fairness (DEC-TR-301, 1984).

    Examples
    --------
    >>> jain([1, 1, 2]), jain([0, 0])
    (0.8888888888888888, 1.0)
    """
    if isinstance(values, Mapping):
        values = values.values()
    if not isinstance(values, Iterable):
        raise FairnessError(f"values are numbers, one for each, not {shown(values)}")
    numbers = [checked_number(value, f"values, {n}") for n, value in enumerate(values)]
    if not numbers:
        raise FairnessError("the index of no values is not defined")
    largest = max(numbers)
    if largest == 0:
        return 1.0
    exponent = math.frexp(largest)[1]
    parts = [math.ldexp(number, -exponent) for number in numbers]  # so that no square overflows
    return math.fsum(parts) ** 2 / (len(parts) * math.fsum(part * part for part in parts))


def envy(division: Division) -> float:
    """Return by how much somebody prefers what another has.

    The largest, over pairs, of max(0, the dominant share of the tasks that i could run with what j
    has, scaled by i's entitlement over j's, as far as i's bound allows, − i's share). A tenant is
    entitled to its part of all weights; in a division by `hdrf`, to the product down its path of
    weight / weights of all siblings. O(n² k).

    Examples
    --------
    >>> from allocator.fairness import division
    >>> envy(division({"cpus": 10}, {"a": {"cpus": 1}, "b": {"cpus": 1}}, {"a": 2, "b": 3}))
    0.1
    """
    asked, tasks = division._asked, division._tasks
    entitlements = entitlements_of(division)
    worst = 0.0
    for rows in _chunks(len(tasks)):
        could = _exchange(asked.demands[rows], asked.demands) * tasks
        could *= entitlements[rows, None] / entitlements
        could = np.minimum(could, asked.bounds[rows, None])
        more = could.max(axis=1, initial=0.0) - tasks[rows]
        worst = max(worst, float((more * asked.dominant[rows]).max(initial=0.0)))
    return worst


def envy1(holdings: Mapping[str, int], demands: Demands) -> int:
    """Return by how many whole tasks somebody prefers what another has less one of its tasks.

    Parameters
    ----------
    holdings : mapping of str to int
        Tenant to whole tasks; 0 where it is left out.
    demands : mapping of str to quantities
        Tenant to what one of its tasks takes.

    Returns
    -------
    int
        The largest, over pairs, of max(0, ⌊tasks of i in (n_j − 1) d_j⌋ − n_i).

    Raises
    ------
    FairnessError
        If holdings are not whole or of unknown tenants, or demands make no sense. O(n² k).

    Notes
    -----
    Envy-freeness up to one bundle: Parkes, Procaccia, Shah 2012, section 5.

    Examples
    --------
    >>> envy1({"a": 1, "b": 4}, {"a": {"cpus": 1}, "b": {"cpus": 1}})
    2
    """
    names = {name for source in _each(demands) for name in source}
    asked, _ = read(dict.fromkeys(names, 1.0) or {"": 1.0}, demands, None, None)
    if not isinstance(holdings, Mapping):
        raise FairnessError(f"holdings map tenants to whole tasks, not {shown(holdings)}")
    place = {tenant: index for index, tenant in enumerate(asked.tenants)}
    runs = np.zeros(len(place))
    for tenant, held in holdings.items():
        if tenant not in place:
            raise FairnessError(f"holdings: {shown(tenant)} ({shown(held)}) demands nothing")
        runs[place[tenant]] = checked_number(held, f"holdings of {shown(tenant)}")
        if runs[place[tenant]] != int(runs[place[tenant]]):
            raise FairnessError(f"holdings of {shown(tenant)}: {shown(held)} tasks are not whole")
    worst = 0
    for rows in _chunks(len(runs)):
        could = _exchange(asked.demands[rows], asked.demands) * np.maximum(runs - 1, 0)
        whole = np.floor(could * (1 + _ROUNDING)).max(axis=1, initial=0.0)
        worst = max(worst, int((whole - runs[rows]).max(initial=0.0)))
    return worst


def sharing_incentive(division: Division) -> float:
    """Return what part of its tasks somebody lacks of what it would run on its own part.

    The largest of max(0, 1 − tasks / own), where own is what a tenant would run with its entitled
    part of the capacity, of every machine in a division by `drfh`, as far as its bound. O(n g k).

    Examples
    --------
    >>> from allocator.fairness import asset
    >>> demands = {"a": {"cpus": 1, "mem": 3}, "b": {"cpus": 1, "mem": 1}}
    >>> round(sharing_incentive(asset({"cpus": 30, "mem": 30}, demands)), 9)
    0.2
    """
    asked = division._asked
    there = asked.capacity[None, :]
    if division._on_groups is not None:
        there = asked.machines * asked.counts[:, None]
    own = np.zeros(len(asked.tenants))
    with np.errstate(divide="ignore", invalid="ignore"):
        for group in there:
            runs = np.where(asked.demands > 0, group / asked.demands, np.inf)
            own += runs.min(axis=1)
    own = np.minimum(own * entitlements_of(division), asked.bounds)
    entitled = own > 0
    lacking = 1 - division._tasks[entitled] / own[entitled]
    return float(lacking.max(initial=0.0))


def pareto_slack(division: Division) -> float:
    """Return by how much one tenant's dominant share could grow while nobody has fewer tasks.

    O(n k); of a division by `drfh` a linear program for each tenant, as the others may be moved
    to other machines.

    Examples
    --------
    >>> from allocator.fairness import division
    >>> pareto_slack(division({"cpus": 10, "mem": 10}, {"a": {"cpus": 1, "mem": 2}}, {"a": 3}))
    0.4
    """
    asked, tasks = division._asked, division._tasks
    if division._on_groups is not None:
        from allocator.fairness.linear import largest_gain

        return largest_gain(asked, tasks * asked.dominant)
    left = asked.capacity - tasks @ asked.demands
    left[left <= _REST * asked.capacity] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        fits = np.where(asked.demands > 0, left / asked.demands, np.inf).min(axis=1, initial=np.inf)
    gains = np.minimum(fits, asked.bounds - tasks) * asked.dominant
    return float(gains.max(initial=0.0))


def strategy_gain(
    rule: Callable[..., Division],
    capacity: Capacity,
    demands: Demands,
    tenant: str,
    report: Amounts,
    **more: Any,
) -> float:
    """Return what a tenant gains by a lie: its true tasks with the lie / with the truth − 1.

    Parameters
    ----------
    rule : callable
        `drf`, `drfh`, `hdrf`, `asset`, `ceei`, or one that takes the same.
    capacity, demands
        Of the rule; demands are true.
    tenant : str
        Who lies.
    report : quantities
        What it says that one of its tasks takes.
    **more
        Further arguments of the rule.

    Returns
    -------
    float
        Negative where the lie hurts; 0 where it has no tasks either way.

    Raises
    ------
    FairnessError
        If the tenant is unknown, and as the rule. Twice the rule.

    Examples
    --------
    >>> from allocator.fairness import ceei
    >>> demands = {"a": {"cpus": 16, "mem": 1}, "b": {"cpus": 1, "mem": 2}}
    >>> capacity = {"cpus": 100, "mem": 100}
    >>> gain = strategy_gain(ceei, capacity, demands, "a", {"cpus": 16, "mem": 8})
    >>> round(gain, 6)
    0.291667
    """
    if not isinstance(demands, Mapping) or tenant not in demands:
        raise FairnessError(f"{shown(tenant)} is not among the tenants")
    honest = rule(capacity, demands, **more)
    told = rule(capacity, {**demands, tenant: report}, **more)
    needs = honest.demands[tenant]
    held = told.allocation[tenant]
    runs = min(held.get(name, 0.0) / amount for name, amount in needs.items() if amount > 0)
    runs = min(runs, honest.bounds[tenant])
    if honest.tasks[tenant] > 0:
        return runs / honest.tasks[tenant] - 1
    return math.inf if runs > 0 else 0.0


def _each(demands: object) -> Iterable[Mapping[str, Any]]:
    if not isinstance(demands, Mapping):
        raise FairnessError(f"demands map tenants to quantities, not {shown(demands)}")
    return (amounts_of(source, f"demand of {shown(tenant)}") for tenant, source in demands.items())


def _chunks(n: int) -> Iterable[slice]:
    return (slice(begin, begin + _ROWS) for begin in range(0, n, _ROWS))


def _exchange(wants: Floats, demands: Floats) -> Floats:
    """Return how many tasks of each row of `wants` fit in a task of each tenant, (rows, n)."""
    found = np.full((len(wants), len(demands)), np.inf)
    for column in range(demands.shape[1]):
        asks = wants[:, column] > 0
        ratio = demands[None, :, column] / wants[asks, column, None]
        found[asks] = np.minimum(found[asks], ratio)
    return found
