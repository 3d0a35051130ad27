"""What each role's share should have been, and how far from it the run was.

The fair share of an interval is that under hierarchical DRF of one divisible task a leaf role,
bounded by 1, whose demand is the time average of what the role's running and waiting tasks need;
the capacity is the average of what is up, the weights are those of the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allocator.roles import ancestry
from allocator.sim.record import Curves, Floats, Record

#: What is left of a role's need when that of the roles below it is taken off, if it is nothing:
#: so small a part of it may be due to rounding.
_ROUNDING = 1e-9

_P95 = 0.95


def fair_shares(record: Record, curves: Curves) -> Floats:
    """Return the fair share of each role, and of all together, in each interval.

    Parameters
    ----------
    record : Record
        Roles, weights and names.
    curves : Curves
        Intervals of the run, with what was needed in them.

    Returns
    -------
    float64 array (R + 1, n)
        Rows as in the record; a role above others has what these have together.

    Notes
    -----
    O(intervals × a division among the roles in it). An interval in which as much was needed as in
    the one before costs nothing.
    """
    assert curves.need is not None
    counted = [axis for axis, name in enumerate(record.names) if name not in record.excluded]
    names = [record.names[axis] for axis in counted]
    above = _rows_above(record.roles)
    own: Floats = _own_need(record, curves.need)[:, counted]
    capacity = curves.capacity[counted]
    n_rows, n = curves.share.shape
    found = np.zeros((n_rows, n))
    for i in range(n):
        if i and _same(own, i) and _same(capacity, i):
            found[:, i] = found[:, i - 1]
        else:
            found[:, i] = _fair(record, names, own[..., i], capacity[:, i], above)
    return found


def _same(levels: Floats, i: int) -> bool:
    return bool((levels[..., i] == levels[..., i - 1]).all())


def _rows_above(roles: Sequence[str]) -> list[list[int]]:
    """Return the rows of each role and of all above it, the cluster's last."""
    rows = {role: row for row, role in enumerate(roles)}
    return [[*(rows[path] for path in ancestry(role)), len(roles)] for role in roles]


def _own_need(record: Record, need: Floats) -> Floats:
    """Return what each role needs itself, without the roles below it: (R, N, n)."""
    own = need[:-1].copy()
    rows = {role: row for row, role in enumerate(record.roles)}
    for row, role in enumerate(record.roles):
        parent = rows.get(role.rpartition("/")[0])
        if parent is not None:
            own[parent] -= need[row]
    for row, (is_leaf, has) in enumerate(zip(record.is_leaf, record.has_framework, strict=True)):
        if not has:
            own[row] = 0.0
        elif not is_leaf:
            own[row][own[row] <= _ROUNDING * need[row]] = 0.0
    return own


def _fair(
    record: Record,
    names: Sequence[str],
    own: Floats,
    capacity: Floats,
    above: Sequence[Sequence[int]],
) -> Floats:
    """Return the fair shares of one interval: (R + 1,)."""
    # Here, not above: whoever asks for no fair share loads no SciPy.
    from allocator.fairness import hdrf

    there = capacity > 0
    in_need = (own > 0).any(axis=1) & ~(own[:, ~there] > 0).any(axis=1)
    rows = np.flatnonzero(in_need).tolist()
    use = np.zeros((len(own) + 1, len(names)))
    if rows:
        demands = {
            record.roles[row]: {
                name: amount
                for name, amount in zip(names, own[row].tolist(), strict=True)
                if amount > 0
            }
            for row in rows
        }
        paths = {record.roles[at] for row in rows for at in above[row][:-1]}
        weights = {
            role: weight
            for role, weight in zip(record.roles, record.weights, strict=True)
            if role in paths and weight != 1.0
        }
        total = {name: c for name, c in zip(names, capacity.tolist(), strict=True) if c > 0}
        division = hdrf(total, demands, weights=weights, tasks=dict.fromkeys(demands, 1.0))
        tasks = division.tasks
        for row in rows:
            part = min(tasks[record.roles[row]], 1.0)
            for at in above[row]:
                use[at] += part * own[row]
    shares: Floats = (use[:, there] / capacity[there]).max(axis=1, initial=0.0)
    return shares


def measure(
    record: Record, fair_share: Floats, share_in_need: Mapping[str, float | None]
) -> dict[str, Any]:
    """Return how far leaf roles in need were from their fair shares, as `Result.fairness` says.

    Parameters
    ----------
    record : Record
        With the run's own intervals.
    fair_share : float64 array (R + 1, n)
        Of these intervals.
    share_in_need : mapping
        Role -> its mean share while in need, None if it never was.
    """
    from allocator.fairness import jain

    curves = record.measured
    assert curves is not None
    assert curves.need is not None
    rows = [
        row
        for row, is_leaf in enumerate(record.is_leaf)
        if is_leaf and (curves.need[row] > 0).any()
    ]
    weights = np.diff(curves.edges_s) * curves.in_need[rows]
    far = np.abs(curves.share[rows] - fair_share[rows])
    per_weight = [
        share / record.weights[row]
        for row in rows
        if (share := share_in_need[record.roles[row]]) is not None
    ]
    return {
        "roles": {record.roles[row]: _spread(far[i], weights[i]) for i, row in enumerate(rows)},
        "all": _spread(far.ravel(), weights.ravel()),
        "jain": jain(per_weight) if per_weight else None,
    }


def _spread(values: Floats, weights: Floats) -> dict[str, float | None]:
    """Return the weighted mean, the weighted nearest-rank p95 and the largest of some values."""
    counted: NDArray[np.bool_] = weights > 0
    if not counted.any():
        return {"mean": None, "p95": None, "worst": None}
    order = np.argsort(values[counted], kind="stable")
    ascending, weights = values[counted][order], weights[counted][order]
    up_to = np.cumsum(weights)
    rank = int(np.searchsorted(up_to, _P95 * up_to[-1]))
    mean = math.fsum((ascending * weights).tolist()) / math.fsum(weights.tolist())
    return {"mean": mean, "p95": float(ascending[rank]), "worst": float(ascending[-1])}
