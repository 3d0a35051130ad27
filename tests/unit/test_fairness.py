"""Divisions: known values, the papers' tables, what is refused, and units of all sizes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from allocator.errors import InvalidValue
from allocator.fairness import (
    Division,
    FairnessError,
    asset,
    ceei,
    division,
    drf,
    drfh,
    hdrf,
)
from allocator.resources import Quantities

Rule = Callable[..., Division]

GHODSI = {"cpus": 9, "mem": 18}
A_AND_B = {"A": {"cpus": 1, "mem": 4}, "B": {"cpus": 3, "mem": 1}}


def tasks_of(division: Division) -> list[float]:
    return [*division.tasks.values()]


@pytest.mark.parametrize(
    ("rule", "expected"), [(drf, [3, 2]), (hdrf, [3, 2]), (asset, [2.52, 2.16])]
)
@pytest.mark.parametrize("unit", [1e-9, 1, 1e12])
def test_the_example_of_ghodsi_2011(rule: Rule, expected: list[float], unit: float) -> None:
    """Section 4: 9 cpus and 18 GB; tasks of ⟨1, 4⟩ and ⟨3, 1⟩."""
    capacity = {name: amount * unit for name, amount in GHODSI.items()}
    demands = {t: {name: x * unit for name, x in d.items()} for t, d in A_AND_B.items()}
    assert tasks_of(rule(capacity, demands)) == pytest.approx(expected, rel=1e-9)


def test_what_a_division_tells() -> None:
    found = drf(GHODSI, A_AND_B, weights={"A": 1}, tasks={"B": None})
    assert found.shares == pytest.approx({"A": 2 / 3, "B": 2 / 3})
    assert found.allocation == {
        "A": pytest.approx({"cpus": 3, "mem": 12}),
        "B": pytest.approx({"cpus": 6, "mem": 2}),
    }
    assert found.used == pytest.approx({"cpus": 9, "mem": 14})
    assert found.left == pytest.approx({"cpus": 0, "mem": 4})
    assert found.saturated == {"cpus"}
    assert found.capacity == GHODSI
    assert found.demands == A_AND_B
    assert found.weights == {"A": 1, "B": 1}
    assert found.bounds == {"A": math.inf, "B": math.inf}
    assert found.groups == ()
    assert found.by_group is None
    assert "A: 3" in repr(found)


def test_filling_goes_on_after_a_name_is_full() -> None:
    demands = {"a": {"cpus": 1}, "b": {"cpus": 1, "mem": 1}, "c": {"mem": 1}}
    found = drf({"cpus": 10, "mem": 30}, demands)
    # a and b stop at half of the cpus, c has the rest of the memory.
    assert tasks_of(found) == pytest.approx([5, 5, 25])


def test_weights_and_bounds() -> None:
    demands = {"a": {"cpus": 1}, "b": {"cpus": 1}, "c": {"cpus": 1}}
    found = drf({"cpus": 12}, demands, weights={"b": 2}, tasks={"c": 1.5})
    assert tasks_of(found) == pytest.approx([3.5, 7, 1.5])
    found = drf({"cpus": 12}, demands, tasks={"a": 1, "b": 2, "c": 3})
    assert tasks_of(found) == [1, 2, 3]
    assert found.saturated == frozenset()
    found = drf({"cpus": 6}, demands, tasks={"a": 1, "b": 2, "c": 3})
    assert found.saturated == {"cpus"}


def test_asset_fairness_may_break_the_sharing_incentive() -> None:
    """Ghodsi 2011, theorem 1."""
    found = asset({"cpus": 30, "mem": 30}, {"1": {"cpus": 1, "mem": 3}, "2": {"cpus": 1, "mem": 1}})
    assert tasks_of(found) == pytest.approx([6, 12])


def test_capacity_and_demands_have_many_forms() -> None:
    expected = tasks_of(drf(GHODSI, A_AND_B))
    for capacity in ("cpus:9;mem:18", Quantities("cpus:9;mem:18"), [(9, {"cpus": 1, "mem": 2})]):
        for demands in (A_AND_B, {"A": "cpus:1;mem:4", "B": Quantities("cpus:3;mem:1")}):
            assert tasks_of(drf(capacity, demands)) == pytest.approx(expected)
    pooled = drf([(2.5, {"cpus": 2}), (4, {"cpus": 1, "mem": 4.5})], A_AND_B)
    assert pooled.capacity == GHODSI
    assert pooled.groups == ((2.5, {"cpus": 2, "mem": 0}), (4, {"cpus": 1, "mem": 4.5}))


def test_names_that_nobody_asks_for_are_fine() -> None:
    found = drf({**GHODSI, "gpus": 0, "disk": 5}, A_AND_B)
    assert tasks_of(found) == pytest.approx([3, 2])
    assert found.saturated == {"cpus"}
    zero = drf(GHODSI, {"A": {**A_AND_B["A"], "mem": 0}, "B": A_AND_B["B"]})
    assert zero.allocation["A"].keys() == {"cpus"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (({}, A_AND_B), "{}"),
        (({"cpus": 0}, {"A": {"cpus": 1}}), "empty"),
        (([], A_AND_B), "empty"),
        (({"cpus": math.inf}, {"A": {"cpus": 1}}), "inf"),
        (({"cpus": -1}, {"A": {"cpus": 1}}), "'cpus': -1"),
        (({"cpus": "1"}, {"A": {"cpus": 1}}), "'1'"),
        (([(0, {"cpus": 1})], {"A": {"cpus": 1}}), "group 0.*0"),
        (([(-2, {"cpus": 1})], {"A": {"cpus": 1}}), "-2"),
        (([{"cpus": 1}], {"A": {"cpus": 1}}), "group 0"),
        ((3, {"A": {"cpus": 1}}), "3"),
        ((GHODSI, {"A": {}}), "'A' demands nothing"),
        ((GHODSI, {"A": {"cpus": 0}}), "'A' demands nothing"),
        ((GHODSI, {"A": {"cpus": -3}}), "'A', 'cpus': -3"),
        ((GHODSI, {"A": {"cpus": math.nan}}), "'A', 'cpus': nan"),
        ((GHODSI, {"A": {"cpus": math.inf}}), "'A', 'cpus': inf"),
        ((GHODSI, {"A": {"cpus": True}}), "'A', 'cpus': True"),
        ((GHODSI, {"A": {"cpus": "1"}}), "'A', 'cpus': '1'"),
        ((GHODSI, {"A": {"cpus": 10**400}}), "'A', 'cpus'"),
        ((GHODSI, {"A": {"gpus": 1}}), "'A': 'gpus'"),
        (({**GHODSI, "gpus": 0}, {"A": {"gpus": 1}}), "'A': 1.0 of 'gpus'"),
        ((GHODSI, {"A": "cpus:x"}), "'A'.*cpus:x"),
        ((GHODSI, {"A": 3}), "'A'.*3"),
        ((GHODSI, ["A"]), "A"),
    ],
)
@pytest.mark.parametrize("rule", [drf, drfh, hdrf, asset, ceei])
def test_nonsense_is_refused_by_name(rule: Rule, arguments: tuple[Any, Any], named: str) -> None:
    with pytest.raises(FairnessError, match=named):
        rule(*arguments)
    assert issubclass(FairnessError, InvalidValue)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"weights": {"C": 1}}, "weights: 'C'"),
        ({"weights": {"A": 0}}, "'A': 0 is not positive"),
        ({"weights": {"A": -1}}, "'A': -1"),
        ({"weights": {"A": math.inf}}, "'A': inf"),
        ({"weights": {"A": None}}, "'A': None"),
        ({"weights": [1]}, r"\[1\]"),
        ({"tasks": {"C": 1}}, "tasks: 'C'"),
        ({"tasks": {"A": -1}}, "'A': -1"),
        ({"tasks": {"A": math.nan}}, "'A': nan"),
        ({"tasks": {"A": "3"}}, "'A': '3'"),
    ],
)
@pytest.mark.parametrize("rule", [drf, drfh, hdrf, asset, ceei])
def test_weights_and_bounds_are_checked(rule: Rule, more: dict[str, Any], named: str) -> None:
    with pytest.raises(FairnessError, match=named):
        rule(GHODSI, A_AND_B, **more)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(FairnessError, match="'simplex'"):
        drf(GHODSI, A_AND_B, method="simplex")  # type: ignore[arg-type]


def test_nobody_is_divided_among() -> None:
    for rule in (drf, drfh, hdrf, asset, ceei):
        assert rule(GHODSI, {}).tasks == {}
        assert rule(GHODSI, {}).left == GHODSI


def test_a_division_from_elsewhere() -> None:
    found = division(GHODSI, A_AND_B, {"A": 3}, weights={"A": 2}, tasks={"A": 3})
    assert found.tasks == {"A": 3, "B": 0}
    assert found.left == {"cpus": 6, "mem": 6}
    division(GHODSI, A_AND_B, {"A": 3 * (1 + 1e-12), "B": 2})


@pytest.mark.parametrize(
    ("given", "more", "named"),
    [
        ({"A": 3, "B": 2.1}, {}, "'cpus': 9.3 is given of 9"),
        ({"C": 1}, {}, "'C'"),
        ({"A": -1}, {}, "'A': -1"),
        ({"A": math.nan}, {}, "'A': nan"),
        ({"A": 2}, {"tasks": {"A": 1}}, "'A': 2 tasks, of at most 1"),
        ([3], {}, r"\[3\]"),
    ],
)
def test_more_than_there_is_cannot_be_given(given: Any, more: dict[str, Any], named: str) -> None:
    with pytest.raises(FairnessError, match=named):
        division(GHODSI, A_AND_B, given, **more)


def slowly(
    parts: list[list[float]], rates: list[float], weights: list[float], bounds: list[float]
) -> list[float]:
    """Fill a capacity of 1 of each name, from event to event, one tenant at a time."""
    tasks = [0.0] * len(parts)
    growing = {i for i, bound in enumerate(bounds) if bound > 0}
    left = [1.0] * len(parts[0])
    while growing:
        speeds = {i: weights[i] / rates[i] for i in growing}
        steps = [(bounds[i] - tasks[i]) / speeds[i] for i in growing]
        for name, rest in enumerate(left):
            used = math.fsum(speeds[i] * parts[i][name] for i in growing)
            steps += [rest / used] if used else []
        step = min(steps)
        for i in growing:
            tasks[i] += speeds[i] * step
        left = [
            max(0.0, 1 - math.fsum(t * p[n] for t, p in zip(tasks, parts, strict=True)))
            for n in range(len(left))
        ]
        growing = {
            i
            for i in growing
            if tasks[i] < bounds[i] * (1 - 1e-13)
            and not any(p and rest < 1e-13 for p, rest in zip(parts[i], left, strict=True))
        }
    return tasks


def by_programs(capacity: Any, demands: Any, **more: Any) -> Division:
    return drf(capacity, demands, method="lp", **more)


@pytest.mark.parametrize("rule", [drf, by_programs, asset])
@pytest.mark.parametrize("seed", range(40))
def test_filling_agrees_with_a_slow_one(rule: Rule, seed: int) -> None:
    rng = random.Random(seed)
    n, k = rng.randint(1, 12), rng.randint(1, 4)
    names = [f"r{j}" for j in range(k)]
    parts = [[rng.choice([0.0, rng.random(), 0.1]) for _ in names] for _ in range(n)]
    for row in parts:
        row[rng.randrange(k)] += 0.01
    weights = [rng.choice([1.0, 2.0, rng.random() + 0.1]) for _ in range(n)]
    bounds = [rng.choice([math.inf, math.inf, rng.random() * 5, 0.0]) for _ in range(n)]
    rates = [sum(row) if rule is asset else max(row) for row in parts]
    found = rule(
        dict.fromkeys(names, 1.0),
        {f"t{i}": dict(zip(names, row, strict=True)) for i, row in enumerate(parts)},
        weights={f"t{i}": weight for i, weight in enumerate(weights)},
        tasks={f"t{i}": bound for i, bound in enumerate(bounds)},
    )
    assert tasks_of(found) == pytest.approx(slowly(parts, rates, weights, bounds), rel=1e-9)
