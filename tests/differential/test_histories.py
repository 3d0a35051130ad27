"""The engine against the reference on random histories (contract §8).

`ALLOCATOR_HISTORIES` says how many (2000 without it), `ALLOCATOR_FIRST_SEED` where their seeds
begin, so that a night's run of other histories is

    ALLOCATOR_HISTORIES=100000 ALLOCATOR_FIRST_SEED=1000000 pytest -n auto tests/differential

A history that fails is printed as Python, as short as it can be made.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.differential.history import History
from tests.differential.judge import Judge, explained
from tests.differential.workload import FEATURES, Workload

N_HISTORIES = int(os.environ.get("ALLOCATOR_HISTORIES", "2000"))
FIRST_SEED = int(os.environ.get("ALLOCATOR_FIRST_SEED", "0"))
N_CALLS = 100
#: Views, which cost more than the calls, are compared after so many of them.
VIEW_EVERY = 5
#: Histories in one test, so that the tests of several processes share the work evenly.
PER_TEST = 50

#: Options beyond the workload's own, and the sorters of the engines that run side by side.
VARIANTS: tuple[tuple[dict[str, Any], tuple[str, ...]], ...] = (
    ({}, ("drf",)),
    ({}, ("drf",)),
    ({}, ("drf", "naive", "sorted")),
    ({}, ("drf",)),
    ({}, ("random",)),
    ({}, ("drf",)),
    ({"framework_sorter": "random"}, ("drf", "naive", "sorted")),
    ({"role_sorter": "random"}, ("drf", "naive", "sorted")),
    ({}, ("hdrf",)),
    ({}, ("hdrf", "naive-hdrf")),
    ({"sorter_options": {"saturation": 0.25}}, ("hdrf", "naive-hdrf")),
)

#: What histories are about: everything together, one thing alone, or nothing beyond the basics.
THEMES: tuple[frozenset[str], ...] = (
    FEATURES,
    frozenset(),
    FEATURES,
    frozenset({"quota"}),
    FEATURES,
    FEATURES - {"snapshot", "recovery"},
    frozenset({"quota", "reservations", "special"}),
)


@pytest.mark.parametrize("first", range(FIRST_SEED, FIRST_SEED + N_HISTORIES, PER_TEST))
def test_histories(first: int) -> None:
    last = min(first + PER_TEST, FIRST_SEED + N_HISTORIES)
    for seed in range(first, last):
        check(seed)


def check(seed: int) -> None:
    more, sorters = VARIANTS[seed % len(VARIANTS)]
    workload = Workload(seed, THEMES[seed % len(THEMES)])
    judge = Judge({**workload.options(seed), **more}, sorters, VIEW_EVERY)
    try:
        for _ in range(N_CALLS):
            workload.shown(judge.do(workload.next(judge.reference)))
        judge.compare()
    except Exception as cause:  # an engine that crashes is as wrong as one that disagrees
        told = explained(History(judge.options, judge.calls), sorters, cause)
        pytest.fail(f"history {seed}: {told}", pytrace=False)
