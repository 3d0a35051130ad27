"""Exact divisions, as ratios to a stable sort of a million doubles; see `reach.py`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from allocator.fairness import drf, drfh, hdrf

from .reach import ratio, scaled, seconds
from .sorting import tree_paths

NAMES = ("cpus", "mem", "disk", "gpus")


def demands_of(tenants: list[str]) -> dict[str, dict[str, float]]:
    """Return what tasks take, drawn alike each time."""
    drawn = np.random.default_rng(7).random((len(tenants), len(NAMES)))
    rows = (dict(zip(NAMES, row, strict=True)) for row in drawn.tolist())
    return dict(zip(tenants, rows, strict=True))


def sorting() -> float:
    """Return the seconds of the yardstick."""
    values = np.random.default_rng(7).random(scaled(1_000_000))
    return seconds(lambda: np.argsort(values, kind="stable"))


class Divisions:
    """Divisions from what is asked to tasks and shares by tenant."""

    unit = "ratio"
    timeout = 600

    def track_drf(self) -> float:
        """DRF of 10 000 tenants and 4 names: reach 0.5."""
        demands = demands_of([f"t{n}" for n in range(scaled(10_000))])
        return ratio(lambda: divided(lambda: drf(dict.fromkeys(NAMES, 1e6), demands)), sorting)

    def track_drf_with_bounds(self) -> float:
        """DRF of 10 000 tenants and 4 names with weights and bounds: reach 0.5."""
        demands = demands_of([f"t{n}" for n in range(scaled(10_000))])
        drawn = np.random.default_rng(8).random((len(demands), 2)) + 0.1
        weights = dict(zip(demands, drawn[:, 0].tolist(), strict=True))
        tasks = dict(zip(demands, (drawn[:, 1] * 100).tolist(), strict=True))
        capacity = dict.fromkeys(NAMES, 1e5)
        return ratio(
            lambda: divided(lambda: drf(capacity, demands, weights=weights, tasks=tasks)), sorting
        )

    def track_drfh(self) -> float:
        """DRFH of 100 tenants on 20 groups of machines with 4 names: reach 20."""
        drawn = np.random.default_rng(9).random((20, len(NAMES))) * 100 + 1
        machines = [
            (n + 1, dict(zip(NAMES, row, strict=True))) for n, row in enumerate(drawn.tolist())
        ]
        demands = demands_of([f"t{n}" for n in range(scaled(100))])
        return ratio(lambda: divided(lambda: drfh(machines, demands)), sorting)

    def track_hdrf(self) -> float:
        """Hierarchical DRF of a full tree of 1056 paths with bounds: reach 20."""
        paths = tree_paths(3, 32)
        demands = demands_of(paths)
        tasks = {path: 1.0 + n % 7 for n, path in enumerate(paths)}
        capacity = dict.fromkeys(NAMES, 1e3)
        return ratio(lambda: divided(lambda: hdrf(capacity, demands, tasks=tasks)), sorting)


def divided(make: Callable[[], object]) -> float:
    """Return the seconds of a division until its tasks and shares are looked at."""

    def look() -> None:
        division = make()
        division.tasks, division.shares  # type: ignore[attr-defined]  # noqa: B018

    return seconds(look)
