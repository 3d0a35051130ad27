"""A division: who gets how many tasks, and what that means."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from allocator.errors import FairnessError, shown
from allocator.fairness.asked import (
    Asked,
    Capacity,
    Demands,
    Floats,
    Numbers,
    checked_number,
    read,
)

#: What is left of a name, as a part of its capacity, when it counts as saturated.
EXACT, ITERATED = 1e-9, 1e-6


class Division:
    """How a capacity is divided among tenants, in tasks that may be parts of one.

    Made by the functions of this package. Mappings are from tenants or from resource names.

    Attributes
    ----------
    tasks : dict of str to float
        How many tasks each tenant runs.
    shares : dict of str to float
        The dominant share of each, not divided by its weight.
    allocation : dict of str to dict of str to float
        What each holds of what it demands.
    used, left : dict of str to float
        How much of each name is held, and how much is not.
    saturated : frozenset of str
        The names of which nothing is left: no more than 1e-9 of the capacity, in divisions that
        are iterated for (`drfh`, `ceei`) 1e-6.
    by_group : dict of str to list of float, or None
        Of `drfh`: the tasks of each tenant on each group of machines, in order.
    capacity, demands, weights, bounds
        What was asked: amounts of the whole, demands of a task, positive weights (of `hdrf` also
        those of inner paths), and the most tasks, infinite where there is no bound.
    groups : tuple of (float, dict)
        The groups of machines, each their number and what one has; empty if none were given.
    """

    def __init__(
        self,
        asked: Asked,
        tasks: Floats,
        *,
        weights: Mapping[str, float],
        entitlements: Floats | None = None,
        on_groups: Floats | None = None,
        tolerance: float = EXACT,
    ) -> None:
        self._asked = asked
        self._tasks = tasks
        self._entitlements = entitlements
        self._on_groups = on_groups
        self._tolerance = tolerance
        self.weights: dict[str, float] = {**dict.fromkeys(asked.tenants, 1.0), **weights}

    @cached_property
    def tasks(self) -> dict[str, float]:
        """How many tasks each tenant runs. O(n), once."""
        return self._by_tenant(self._tasks)

    @cached_property
    def shares(self) -> dict[str, float]:
        """The dominant share of each tenant. O(n k), once."""
        return self._by_tenant(self._tasks * self._asked.dominant)

    @cached_property
    def allocation(self) -> dict[str, dict[str, float]]:
        """What each tenant holds of what it demands. O(n k), once."""
        held = self._tasks[:, None] * self._asked.demands
        return self._named_rows(held)

    @cached_property
    def used(self) -> dict[str, float]:
        """How much of each name is held. O(n k), once."""
        return self._by_name(self._tasks @ self._asked.demands)

    @cached_property
    def left(self) -> dict[str, float]:
        """How much of each name is not held; never below 0. O(n k), once."""
        used = self._tasks @ self._asked.demands
        return self._by_name(np.maximum(self._asked.capacity - used, 0.0))

    @cached_property
    def saturated(self) -> frozenset[str]:
        """The names of which nothing is left. O(n k), once."""
        return frozenset(
            name
            for name, capacity in self.capacity.items()
            if capacity > 0 and self.left[name] <= self._tolerance * capacity
        )

    @cached_property
    def by_group(self) -> dict[str, list[float]] | None:
        """The tasks of each tenant on each group of machines, if it is known. O(n g), once."""
        if self._on_groups is None:
            return None
        return dict(zip(self._asked.tenants, self._on_groups.tolist(), strict=True))

    @cached_property
    def capacity(self) -> dict[str, float]:
        """What there is of each name. O(k), once."""
        return self._by_name(self._asked.capacity)

    @cached_property
    def demands(self) -> dict[str, dict[str, float]]:
        """What a task of each tenant takes. O(n k), once."""
        return self._named_rows(self._asked.demands)

    @cached_property
    def bounds(self) -> dict[str, float]:
        """The most tasks of each tenant. O(n), once."""
        return self._by_tenant(self._asked.bounds)

    @cached_property
    def groups(self) -> tuple[tuple[float, dict[str, float]], ...]:
        """The groups of machines, if the capacity was given as such. O(g k), once."""
        if not self._asked.grouped:
            return ()
        rows = (self._by_name(row) for row in self._asked.machines)
        return tuple(zip(self._asked.counts.tolist(), rows, strict=True))

    @property
    def entitlements(self) -> dict[str, float]:
        """What part of the capacity the weights entitle each tenant to. O(n)."""
        return self._by_tenant(entitlements_of(self))

    def __repr__(self) -> str:
        tasks = ", ".join(f"{tenant}: {n:.6g}" for tenant, n in [*self.tasks.items()][:10])
        more = ", …" if len(self.tasks) > 10 else ""
        return f"<Division {tasks}{more}>"

    def _by_tenant(self, values: Floats) -> dict[str, float]:
        return dict(zip(self._asked.tenants, values.tolist(), strict=True))

    def _by_name(self, values: Floats) -> dict[str, float]:
        return dict(zip(self._asked.names, values.tolist(), strict=True))

    def _named_rows(self, rows: Floats) -> dict[str, dict[str, float]]:
        demanded = self._asked.demands > 0
        names = self._asked.names
        return {
            tenant: {name: x for name, x, there in zip(names, row, has, strict=True) if there}
            for tenant, row, has in zip(
                self._asked.tenants, rows.tolist(), demanded.tolist(), strict=True
            )
        }


def entitlements_of(division: Division) -> Floats:
    """Return what part of the capacity each tenant is entitled to, in order. O(n)."""
    if division._entitlements is not None:
        return division._entitlements
    weights = division._asked.weights
    parts: Floats = weights / weights.sum()
    return parts


def division(
    capacity: Capacity,
    demands: Demands,
    given: Mapping[str, float],
    *,
    weights: Numbers | None = None,
    tasks: Numbers | None = None,
) -> Division:
    """Return the division in which tenants run given numbers of tasks, for the measures.

    Parameters
    ----------
    capacity, demands, weights, tasks
        As of `drf`.
    given : mapping of str to float
        Tenant to tasks that it runs; 0 where it is left out.

    Returns
    -------
    Division

    Raises
    ------
    FairnessError
        As of `drf`; also if more is given than there is, or than a tenant's bound. O(n k).

    Examples
    --------
    >>> division({"cpus": 9}, {"a": {"cpus": 1}}, {"a": 4}).left
    {'cpus': 5.0}
    """
    asked, own = read(capacity, demands, weights, tasks)
    if not isinstance(given, Mapping):
        raise FairnessError(f"what is given maps tenants to tasks, not {shown(given)}")
    place = {tenant: index for index, tenant in enumerate(asked.tenants)}
    runs = np.zeros(len(asked.tenants))
    for tenant, value in given.items():
        if tenant not in place:
            raise FairnessError(f"given: {shown(tenant)} ({shown(value)}) is not among the tenants")
        runs[place[tenant]] = checked_number(value, f"given to {shown(tenant)}")
        if runs[place[tenant]] > asked.bounds[place[tenant]] * (1 + EXACT):
            bound = asked.bounds[place[tenant]]
            raise FairnessError(f"given to {shown(tenant)}: {value} tasks, of at most {bound:g}")
    used = runs @ asked.demands
    for column in np.flatnonzero(used > asked.capacity * (1 + EXACT))[:1]:
        name, there = asked.names[column], asked.capacity[column]
        raise FairnessError(f"{shown(name)}: {used[column]:g} is given of {there:g}")
    return Division(asked, runs, weights=own)
