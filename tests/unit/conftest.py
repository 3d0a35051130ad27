"""Engines on a manual clock, over each of the orderings by dominant shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from allocator import Allocator, ManualClock


@pytest.fixture(params=["drf", "naive", "sorted", "hdrf", "naive-hdrf"])
def ordering(request: pytest.FixtureRequest) -> str:
    """Each of the orderings by dominant share, and of those of hierarchical DRF."""
    return str(request.param)


@pytest.fixture
def clock() -> ManualClock:
    """A clock that moves when told."""
    return ManualClock()


@pytest.fixture
def make(ordering: str, clock: ManualClock) -> Callable[..., Allocator]:
    """Return a maker of engines; options of its own go before."""

    def made(**options: Any) -> Allocator:
        return Allocator(**{"sorter": ordering, "seed": 7, "clock": clock, **options})

    return made


@pytest.fixture
def engine(make: Callable[..., Allocator]) -> Allocator:
    """An engine with default options."""
    return make()
