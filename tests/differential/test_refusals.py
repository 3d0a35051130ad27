"""A call that is refused leaves no trace, also with sums near 2**63 thousandths (contract §8).

All that the reference and the engines keep is compared before and after each refused call; they
refuse the same calls with the same errors. `ALLOCATOR_HISTORIES` and `ALLOCATOR_FIRST_SEED` as in
`test_histories`.
"""

from __future__ import annotations

import os

import pytest

from tests.differential.history import Call, History, call
from tests.differential.judge import Judge, explained, run
from tests.differential.workload import FEATURES, HUGE_AMOUNTS, Workload

N_HISTORIES = int(os.environ.get("ALLOCATOR_HISTORIES", "2000")) // 10
FIRST_SEED = int(os.environ.get("ALLOCATOR_FIRST_SEED", "0"))
N_CALLS = 80
PER_TEST = 20

THEMES = (
    frozenset({HUGE_AMOUNTS}),
    frozenset({HUGE_AMOUNTS, "quota"}),
    FEATURES - {"recovery"} | {HUGE_AMOUNTS},
    FEATURES,
)


@pytest.mark.parametrize("first", range(FIRST_SEED, FIRST_SEED + N_HISTORIES, PER_TEST))
def test_histories_of_refusals(first: int) -> None:
    for seed in range(first, min(first + PER_TEST, FIRST_SEED + N_HISTORIES)):
        check(seed)


def check(seed: int) -> None:
    workload = Workload(seed, THEMES[seed % len(THEMES)])
    sorters = ("drf", "naive", "sorted") if seed % 3 == 0 else ("drf",)
    judge = Judge(workload.options(seed), sorters, every=10, refusals=True)
    try:
        for _ in range(N_CALLS):
            workload.shown(judge.do(workload.next(judge.reference)))
        judge.compare()
    except Exception as cause:  # an engine that crashes is as wrong as one that disagrees
        told = explained(History(judge.options, judge.calls), sorters, cause, refusals=True)
        pytest.fail(f"history {seed}: {told}", pytrace=False)


MOST = "cpus:9223372036854775.807"


def the_second_agent_is_too_many() -> list[Call]:
    return [
        call("add_agent", "a1", "cpus:9223372036854775"),
        call("add_agent", "a2", "cpus:9223372036854775"),
        call("add_agent", "a2", "cpus:0.807"),
        call("add_agent", "a3", "cpus:0.001"),
        call("add_agents", ["a3", "a4"], "mem:4611686018427387.904"),
        call("add_agents", ["a3", "a4"], "mem:4611686018427387.903"),
    ]


def use_beyond_a_total_counts() -> list[Call]:
    """What is still in use of an agent that shrank, and what may come into use, have one bound."""
    return [
        call("add_framework", "f1"),
        call("add_agent", "a1", MOST, used={"f1": {"*": MOST}}),
        call("update_agent", "a1", resources="mem:1"),
        call("add_agent", "a2", MOST),
        call("add_agent", "a2", "cpus:0.001", used={"f2": {"*": "cpus:0.001"}}),
        call("add_resources", "a1", "cpus:0.001", used={"f2": {"*": "cpus:0.001"}}),
        call("release", "f1", "a1", "*", "cpus:5"),
        call("add_resources", "a1", "cpus:5", used={"f2": {"*": "cpus:5"}}),
        call("add_agent", "a2", "cpus:5"),
        call("release", "f1", "a1", "*", "cpus:5"),
        call("add_agent", "a2", "cpus:5"),
        call("add_framework", "f2"),
        call("allocate"),
    ]


def the_use_of_a_framework_that_comes_is_within_the_bound() -> list[Call]:
    return [
        call("add_agent", "a1", MOST, used={"f1": {"*": MOST}}),
        call("update_agent", "a1", resources=""),
        call("add_agent", "a2", MOST, used={"f1": {"*": MOST}}),
        call("update_agents", ["a1"], MOST),
        call("remove_agent", "a1"),
        call("add_agent", "a2", MOST, used={"f1": {"*": MOST}}),
        call("add_framework", "f1", used={"a2": {"*": MOST}}),
    ]


def totals_of_several_agents_are_judged_in_the_end() -> list[Call]:
    return [
        call("add_agents", ["a1", "a2"], {"cpus": ["9223372036854775", 0]}),
        call("update_agents", ["a2", "a1"], {"cpus": ["9223372036854775", "1"]}),
        call("update_agents", ["a2", "a1"], {"cpus": ["9223372036854775", "0.807"]}),
    ]


def a_total_cannot_change_the_type_of_what_is_in_use() -> list[Call]:
    """Else a cycle could offer what cannot be added to what is offered already."""
    volume = {
        "name": "disk",
        "type": "SCALAR",
        "scalar": {"value": 4},
        "disk": {"persistence": {"id": "v1"}},
        "shared": {},
    }
    smaller = {**volume, "scalar": {"value": 2}}
    return [
        call("add_framework", "f1", capabilities=["SHARED_RESOURCES"]),
        call("add_agent", "a1", "ports:[1-9];cpus:1"),
        call("add_agent", "a2", [volume]),
        call("allocate"),
        call("update_agent", "a1", resources="ports:5"),
        call("update_agents", ["a1", "a2"], "ports:{a}"),
        call("update_agent", "a1", resources="cpus:2"),
        call("add_resources", "a1", "ports:5"),
        call("update_agent", "a2", resources=[smaller]),
        call("update_agent", "a2", resources="cpus:1"),
        call("add_resources", "a2", [smaller]),
        call("allocate"),
    ]


def guarantees_and_headroom_at_the_bound() -> list[Call]:
    """What is available less what is required is as negative as can be."""
    return [
        call("add_framework", "f1", ["eng"]),
        call("add_framework", "f2", ["ops"]),
        call("add_agent", "a1", MOST, used={"f1": {"eng": MOST}}),
        call("add_agent", "a2", "mem:5"),
        call("set_quota", "ops", guarantee=MOST),
        call("update_agent", "a1", resources="mem:1"),
        call("allocate"),
        call("set_quota", "eng", guarantee="cpus:1", limit="cpus:1"),
        call("remove_quota", "ops"),
        call("set_quota", "eng", guarantee="cpus:1", limit="cpus:1"),
        call("allocate"),
    ]


CORNERS = [
    the_second_agent_is_too_many,
    use_beyond_a_total_counts,
    the_use_of_a_framework_that_comes_is_within_the_bound,
    totals_of_several_agents_are_judged_in_the_end,
    a_total_cannot_change_the_type_of_what_is_in_use,
    guarantees_and_headroom_at_the_bound,
]


@pytest.mark.parametrize("corner", CORNERS, ids=lambda corner: corner.__name__)
def test_corner(corner) -> None:
    run(History({"seed": 7}, corner()), ("drf", "naive", "sorted"), refusals=True)
