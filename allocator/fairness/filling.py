"""Divisions by progressive filling: everybody's share grows alike until something is full."""

from __future__ import annotations

from typing import Literal

import numpy as np

from allocator.errors import FairnessError, shown
from allocator.fairness.asked import Asked, Capacity, Demands, Floats, Numbers, read
from allocator.fairness.divided import Division


def drf(
    capacity: Capacity,
    demands: Demands,
    *,
    weights: Numbers | None = None,
    tasks: Numbers | None = None,
    method: Literal["filling", "lp"] = "filling",
) -> Division:
    """Divide by weighted Dominant Resource Fairness.

    Dominant shares divided by weights grow alike; where a name is full, those who demand it stop
    and the others go on: the lexicographic max-min of share / weight.

    Parameters
    ----------
    capacity : quantities, or sequence of (count, quantities)
        What there is; machines are pooled.
    demands : mapping of str to quantities
        Tenant to what one of its tasks takes.
    weights : mapping of str to float, optional
        Tenant to weight; 1 where it is left out.
    tasks : mapping of str to float or None, optional
        Tenant to the most tasks it can use; no bound where it is left out, None or infinite.
    method : {"filling", "lp"}
        How it is computed: exactly by events, or by linear programs (needs SciPy). Both agree to
        1e-9 in tasks.

    Returns
    -------
    Division

    Raises
    ------
    FairnessError
        If a tenant demands nothing or what is not there, a name or tenant is unknown, a number is
        negative, infinite or none, or the capacity is empty. O(k (n k + n log n)) by filling.

    Notes
    -----
    Ghodsi et al., Dominant Resource Fairness (NSDI 2011); with bounds and weights as in Parkes,
    Procaccia, Shah, Beyond Dominant Resource Fairness (EC 2012).

    Examples
    --------
    >>> division = drf({"cpus": 9, "mem": 18}, {"a": "cpus:1;mem:4", "b": "cpus:3;mem:1"})
    >>> {tenant: round(n, 9) for tenant, n in division.tasks.items()}
    {'a': 3.0, 'b': 2.0}
    """
    asked, own = read(capacity, demands, weights, tasks)
    if method == "lp":
        from allocator.fairness.linear import lexicographic, pooled

        runs = lexicographic(pooled(asked)).sum(axis=1)
    elif method == "filling":
        runs = filled(asked, asked.dominant)
    else:
        raise FairnessError(f"method is filling or lp, not {shown(method)}")
    return Division(asked, runs, weights=own)


def asset(
    capacity: Capacity,
    demands: Demands,
    *,
    weights: Numbers | None = None,
    tasks: Numbers | None = None,
) -> Division:
    """Divide by asset fairness: the sums of everybody's shares of all names grow alike.

    Parameters, returns and errors are those of `drf`, Ghodsi et al. 2011, section 4.1.1.

    Examples
    --------
    >>> division = asset({"cpus": 9, "mem": 18}, {"a": "cpus:1;mem:4", "b": "cpus:3;mem:1"})
    >>> {tenant: round(n, 9) for tenant, n in division.tasks.items()}
    {'a': 2.52, 'b': 2.16}
    """
    asked, own = read(capacity, demands, weights, tasks)
    return Division(asked, filled(asked, asked.parts.sum(axis=1)), weights=own)


def filled(asked: Asked, rates: Floats) -> Floats:
    """Return the tasks when (tasks × rate) / weight grows alike for all who can go on.

    In each turn the level is found at which the next name is full: what is used of a name grows
    piecewise linearly with the level, its slope falling where tenants reach their bounds.
    O(k (n k + n log n)).
    """
    parts = asked.parts
    speeds = asked.weights / rates  # tasks a unit of the level
    ends = asked.bounds / speeds  # level at which a tenant reaches its bound
    tasks = np.zeros(len(rates))
    growing = np.ones(len(rates), dtype=bool)
    level = 0.0
    while growing.any():
        at = np.flatnonzero(growing)
        at = at[np.argsort(ends[at], kind="stable")]
        taken = tasks[~growing] @ parts[~growing]
        full_at = _full_at(parts[at], speeds[at], asked.bounds[at], ends[at], 1.0 - taken)
        level = max(level, float(full_at.min()))
        if level == np.inf:
            tasks[at] = asked.bounds[at]
            break
        # What gets full within rounding of this level is full now.
        full = full_at <= level * (1 + 1e-13)
        stopping = at[(parts[at][:, full] > 0).any(axis=1)]
        tasks[stopping] = np.minimum(speeds[stopping] * level, asked.bounds[stopping])
        growing[stopping] = False
    return tasks


def _full_at(parts: Floats, speeds: Floats, bounds: Floats, ends: Floats, left: Floats) -> Floats:
    """Return the level at which each name is full, infinite if never; tenants go by `ends`."""
    n, k = parts.shape
    slopes = np.zeros((n + 1, k))  # of what is used, once the first m are at their bounds
    slopes[:n] = np.cumsum((speeds[:, None] * parts)[::-1], axis=0)[::-1]
    fixed = np.zeros((n + 1, k))  # what those use
    finite = np.isfinite(bounds)
    fixed[1:] = np.cumsum(np.where(finite, bounds, 0.0)[:, None] * parts, axis=0)
    reached = np.where(np.isfinite(ends), ends, 0.0)[:, None]
    levels = np.full(k, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        used = np.where(finite[:, None], fixed[:n] + slopes[:n] * reached, np.inf)
        for column in range(k):
            if slopes[0, column] > 0:
                # The first bound at which more would be used than is left, or past all of them.
                m = int(np.argmax(np.append(used[:, column], np.inf) >= left[column]))
                if slopes[m, column] > 0:
                    rest = left[column] - fixed[m, column]
                    levels[column] = max(0.0, rest / slopes[m, column])
    return levels
