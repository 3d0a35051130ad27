"""How large the benchmarks are: `ALLOCATOR_BENCH_GRID` is `smoke`, `default` or `full`."""

import os
from typing import TypeVar

T = TypeVar("T")

GRID = os.environ.get("ALLOCATOR_BENCH_GRID", "default")
if GRID not in ("smoke", "default", "full"):
    raise ValueError(f"ALLOCATOR_BENCH_GRID is smoke, default or full, not {GRID!r}")


def sizes(*, smoke: list[T], default: list[T], full: list[T]) -> list[T]:
    """Return the list for the chosen grid.

    `smoke` shows in seconds that a benchmark runs, `default` compares two commits in minutes,
    `full` has the sizes of the published benchmarks and takes hours.
    """
    return {"smoke": smoke, "default": default, "full": full}[GRID]
