"""What a sweep says in the mean: intervals of each point, and differences on the same seeds."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from allocator.errors import InvalidValue, shown
from allocator.sim.sweeps.store import DONE
from allocator.sim.sweeps.sweep import Run, Sweep

#: 97.5 % of Student's t lie below, by degrees of freedom from 1 on.
_T975 = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)

_Z975 = statistics.NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of `n` numbers, and half the width of its 95 % interval (None of a single one)."""

    mean: float
    half: float | None
    n: int


def told(mean: Mean | None) -> str:
    """Return a mean with half of its interval, as people read it.

    Examples
    --------
    >>> told(Mean(43211.3, 12.0, 3)), told(None)
    ('43,211 ± 12', '-')
    """
    if mean is None:
        return "-"
    return short(mean.mean) + ("" if mean.half is None else f" ± {short(mean.half)}")


def short(value: float) -> str:
    """Return a number to four digits, and to its last one before the point.

    Examples
    --------
    >>> short(43211.3), short(0.123456), short(0.0)
    ('43,211', '0.1235', '0')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def mean_of(values: Sequence[float]) -> Mean | None:
    """Return the mean of numbers with its 95 % interval by Student's t; None of none. O(n).

    Examples
    --------
    >>> found = mean_of([1.0, 2.0, 3.0])
    >>> found.mean, round(found.half, 3)
    (2.0, 2.484)
    """
    if not values:
        return None
    mean = statistics.fmean(values)
    if len(values) == 1:
        return Mean(mean, None, 1)
    half = student(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return Mean(mean, half, len(values))


def student(freedom: int) -> float:
    """Return below what 97.5 % of Student's t lie, to four digits. O(1).

    Beyond 10 degrees of freedom by its expansion (Abramowitz and Stegun, 26.7.5).
    """
    if freedom <= len(_T975):
        return _T975[freedom - 1]
    z = _Z975
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


@dataclass(frozen=True, slots=True)
class PointMeans:
    """One point of a sweep: its runs, how many of them failed, and the means of the measures."""

    point: Mapping[str, Any]
    n_runs: int
    n_failed: int
    means: Mapping[str, Mean | None]


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more a measure is at one value of a key than at its first, on the same seeds.

    `point` is the rest of the point.
    """

    key: str
    first: Any
    other: Any
    point: Mapping[str, Any]
    means: Mapping[str, Mean | None]


def by_point(found: Sweep) -> list[PointMeans]:
    """Return each point's means over its runs that are done, in the order of the runs. O(runs)."""
    measures = measures_of_all(found)
    points = []
    for runs in _grouped(found.runs, lambda run: run.point):
        done = [run for run in runs if run.status == DONE]
        means = {
            name: mean_of(_numbers(run.measures.get(name) for run in done)) for name in measures
        }
        points.append(PointMeans(runs[0].point, len(runs), len(runs) - len(done), means))
    return points


def paired(found: Sweep, key: str) -> list[Difference]:
    """Compare the values of a key with its first one, run by run on the same seeds.

    Raises
    ------
    InvalidValue
        If the grid has no such key. O(runs × measures).
    """
    if key not in found.keys:
        raise InvalidValue(f"key {shown(key)}: not one of the grid, {', '.join(found.keys)}")
    differences = []
    for runs in _grouped(found.runs, lambda run: _without(run.point, key)):
        first, *others = _grouped(runs, lambda run: run.point[key])
        before = {run.repeat: run for run in first if run.status == DONE}
        for other in others:
            pairs = [
                (before[run.repeat], run)
                for run in other
                if run.status == DONE and run.repeat in before
            ]
            means = {name: mean_of(_changes(pairs, name)) for name in measures_of_all(found)}
            differences.append(
                Difference(
                    key,
                    first[0].point[key],
                    other[0].point[key],
                    _without(first[0].point, key),
                    means,
                )
            )
    return differences


def measures_of_all(found: Sweep) -> list[str]:
    """Return the names of the measures that any run has. O(runs × measures)."""
    return list(dict.fromkeys(name for run in found.runs for name in run.measures))


def _without(point: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in point.items() if name != key}


def _grouped(runs: Sequence[Run], by: Callable[[Run], Any]) -> list[list[Run]]:
    """Return the runs in groups, in order of first appearance."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps(by(run), sort_keys=True, default=str), []).append(run)
    return list(groups.values())


def _numbers(values: Any) -> list[float]:
    return [float(value) for value in values if value is not None]


def _changes(pairs: Sequence[tuple[Run, Run]], name: str) -> list[float]:
    both = [(one.measures.get(name), other.measures.get(name)) for one, other in pairs]
    return [other - one for one, other in both if one is not None and other is not None]
