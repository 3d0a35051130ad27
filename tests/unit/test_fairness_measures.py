"""Measures: known values, what DRF promises, and what others break."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.fairness import (
    FairnessError,
    asset,
    ceei,
    division,
    drf,
    envy,
    envy1,
    hdrf,
    jain,
    pareto_slack,
    sharing_incentive,
    strategy_gain,
)

HUNDRED = {"cpus": 100, "mem": 100}
TWO = {"a": {"cpus": 16, "mem": 1}, "b": {"cpus": 1, "mem": 2}}
ALIKE = {"a": {"cpus": 1}, "b": {"cpus": 1}}


def test_ceei_of_ghodsi_2011() -> None:
    """Section 4.1.2 and theorem 2, where a lie of user 1 pays."""
    found = ceei({"cpus": 9, "mem": 18}, {"A": "cpus:1;mem:4", "B": "cpus:3;mem:1"})
    assert found.tasks == pytest.approx({"A": 45 / 11, "B": 18 / 11}, rel=1e-6)
    assert found.saturated == {"cpus", "mem"}
    assert ceei(HUNDRED, TWO).tasks == pytest.approx({"a": 100 / 31, "b": 1500 / 31}, rel=1e-6)
    lied = ceei(HUNDRED, {**TWO, "a": {"cpus": 16, "mem": 8}})
    assert lied.tasks["a"] == pytest.approx(25 / 6, rel=1e-6)
    gain = strategy_gain(ceei, HUNDRED, TWO, "a", {"cpus": 16, "mem": 8})
    assert gain == pytest.approx(25 / 6 / (100 / 31) - 1, rel=1e-6)


@pytest.mark.parametrize("unit", [1e-9, 1e12])
def test_ceei_in_any_unit(unit: float) -> None:
    demands = {t: {name: x * unit for name, x in d.items()} for t, d in TWO.items()}
    found = ceei({name: x * unit for name, x in HUNDRED.items()}, demands)
    assert found.tasks == pytest.approx({"a": 100 / 31, "b": 1500 / 31}, rel=1e-6)


def test_ceei_with_incomes_and_bounds() -> None:
    assert ceei({"cpus": 12}, ALIKE, weights={"a": 3}).tasks == pytest.approx({"a": 9, "b": 3})
    assert ceei({"cpus": 12}, ALIKE, tasks={"a": 2}).tasks == pytest.approx({"a": 2, "b": 10})
    found = ceei({"cpus": 12}, ALIKE, tasks={"a": 2, "b": 0})
    assert found.tasks == pytest.approx({"a": 2, "b": 0})
    assert found.saturated == frozenset()


@pytest.mark.parametrize("seed", range(60))
def test_ceei_with_incomes_that_are_worlds_apart(seed: int) -> None:
    rng = random.Random(seed)
    capacity = {name: rng.choice([1e-9, 1.0, 1e12]) for name in ("cpus", "mem", "gpus")}
    demands = {
        f"t{i}": {name: rng.choice([0, 1e-6, rng.random()]) * x for name, x in capacity.items()}
        for i in range(8)
    }
    for demand in demands.values():
        demand["cpus"] += 0.01 * capacity["cpus"]
    weights = {tenant: 10 ** rng.uniform(-9, 9) for tenant in demands}
    bounds = {tenant: rng.choice([None, None, 0, rng.random() * 8]) for tenant in demands}
    found = ceei(capacity, demands, weights=weights, tasks=bounds)
    assert envy(found) < 1e-6
    assert pareto_slack(found) < 1e-6
    assert all(found.used[name] <= x * (1 + 1e-9) for name, x in capacity.items())


@pytest.mark.parametrize("seed", range(40))
def test_at_the_prices_of_ceei_the_market_clears(seed: int) -> None:
    """A small shift of what one has to another lowers the product: the first-order condition."""
    rng = random.Random(seed)
    names = [f"r{j}" for j in range(rng.randint(1, 3))]
    demands = {}
    for i in range(rng.randint(2, 6)):
        drawn = {name: rng.choice([0, 0.1, rng.random()]) for name in names}
        demands[f"t{i}"] = {name: x for name, x in drawn.items() if x} or {names[0]: 0.5}
    weights = {tenant: rng.choice([1, 2, 3.5]) for tenant in demands}
    bounds = {tenant: rng.choice([None, None, rng.random() * 3]) for tenant in demands}
    capacity = dict.fromkeys(names, 1.0)
    found = ceei(capacity, demands, weights=weights, tasks=bounds)
    product = sum(w * math.log(found.tasks[t]) for t, w in weights.items() if found.bounds[t])
    for _ in range(200):
        others = {t: n * math.exp(rng.gauss(0, 0.3)) for t, n in found.tasks.items()}
        others = {t: min(n, found.bounds[t]) for t, n in others.items()}
        used = [sum(n * demands[t].get(name, 0) for t, n in others.items()) for name in names]
        scale = min(1.0, 1 / max(used))
        other = sum(w * math.log(others[t] * scale) for t, w in weights.items() if found.bounds[t])
        assert other <= product + 1e-6


def test_jain() -> None:
    assert jain([1, 1, 1]) == 1
    assert jain([1, 0, 0, 0]) == 0.25
    assert jain([0, 0]) == 1
    assert jain({"a": 1, "b": 3}) == 0.8
    assert jain(x for x in (1e200, 1e200)) == 1
    assert jain([1e-200, 1e-200]) == 1


@pytest.mark.parametrize("values", [[], [-1], [math.nan], [math.inf], ["1"], [None], [True], 3])
def test_jain_of_nonsense(values: Any) -> None:
    with pytest.raises(FairnessError):
        jain(values)


def test_envy() -> None:
    found = division({"cpus": 10}, ALIKE, {"a": 2, "b": 5})
    assert envy(found) == pytest.approx(0.3)
    # b is entitled to 2.5 times what a is: 5 of b's are as good as 2; or to four times, then to 8.
    assert envy(division({"cpus": 10}, ALIKE, {"a": 2, "b": 5}, weights={"b": 2.5})) == 0
    assert envy(division({"cpus": 10}, ALIKE, {"a": 2, "b": 5}, weights={"b": 4})) == (
        pytest.approx(0.3)
    )
    assert envy(division({"cpus": 10}, ALIKE, {"a": 2, "b": 5}, tasks={"a": 2.5})) == (
        pytest.approx(0.05)
    )
    # What b has is of no use for a.
    other = division({"cpus": 9, "mem": 9}, {"a": "cpus:1;mem:1", "b": "cpus:1"}, {"a": 1, "b": 8})
    assert envy(other) == 0


def test_envy_by_entitlements_down_the_path() -> None:
    demands = {"eng/a": {"cpus": 1}, "eng/b": {"cpus": 1}, "ops": {"cpus": 1}}
    assert envy(hdrf({"cpus": 12}, demands)) == pytest.approx(0)
    flat = division({"cpus": 12}, demands, {"eng/a": 3, "eng/b": 3, "ops": 6})
    assert envy(flat) == pytest.approx(0.25)


def test_envy_up_to_one_task() -> None:
    demands = {"a": {"cpus": 1, "mem": 2}, "b": {"cpus": 2, "mem": 2}}
    # a could run 3 in (4 − 1) × ⟨2, 2⟩.
    assert envy1({"a": 1, "b": 4}, demands) == 2
    assert envy1({"a": 3, "b": 4}, demands) == 0
    assert envy1({"b": 1}, demands) == 0
    assert envy1({"a": 0, "b": 2}, demands) == 1
    tenth = {"a": {"cpus": 0.1}, "b": {"cpus": 0.3}}
    assert envy1({"a": 0, "b": 2}, tenth) == 3
    assert envy1({}, {}) == 0


@pytest.mark.parametrize("holdings", [{"c": 1}, {"a": 1.5}, {"a": -1}, {"a": math.nan}, 3])
def test_holdings_are_whole_tasks_of_tenants(holdings: Any) -> None:
    with pytest.raises(FairnessError):
        envy1(holdings, ALIKE)


@pytest.mark.parametrize("seed", range(30))
def test_sequential_minmax_leaves_no_envy_beyond_one_task(seed: int) -> None:
    """Parkes, Procaccia, Shah 2012, theorem 5.3."""
    rng = random.Random(seed)
    demands = {
        f"t{i}": {"cpus": rng.randint(1, 8), "mem": rng.randint(1, 8)}
        for i in range(rng.randint(2, 5))
    }
    size = 60
    held = dict.fromkeys(demands, 0)
    left = {"cpus": size, "mem": size}
    while True:
        fits = [t for t, d in demands.items() if all(left[n] >= x for n, x in d.items())]
        if len(fits) < len(demands):
            break
        # Whose next task leaves the largest dominant share smallest.
        best = min(fits, key=lambda t: ((held[t] + 1) * max(demands[t].values()), t))
        held[best] += 1
        for name, amount in demands[best].items():
            left[name] -= amount
    assert envy1(held, demands) == 0


def test_sharing_incentive() -> None:
    found = asset({"cpus": 30, "mem": 30}, {"1": {"cpus": 1, "mem": 3}, "2": {"cpus": 1, "mem": 1}})
    # User 2 would run 15 on half of all, and has 12.
    assert sharing_incentive(found) == pytest.approx(0.2)
    assert sharing_incentive(division({"cpus": 8}, ALIKE, {"a": 2, "b": 5})) == 0.5
    assert sharing_incentive(division({"cpus": 8}, ALIKE, {"a": 2}, tasks={"a": 2, "b": 0})) == 0
    assert sharing_incentive(
        division({"cpus": 8}, ALIKE, {"a": 2, "b": 5}, weights={"b": 3})
    ) == pytest.approx(1 - 5 / 6)


def test_pareto_slack() -> None:
    assert pareto_slack(division({"cpus": 10}, ALIKE, {"a": 2, "b": 5})) == pytest.approx(0.3)
    assert pareto_slack(
        division({"cpus": 10}, ALIKE, {"a": 2, "b": 5}, tasks={"a": 3, "b": 5})
    ) == pytest.approx(0.1)


def test_a_lie_of_what_is_not_asked_for_runs_nothing() -> None:
    assert strategy_gain(drf, HUNDRED, TWO, "a", {"cpus": 16}) == -1
    assert strategy_gain(drf, HUNDRED, TWO, "a", TWO["a"]) == 0
    assert strategy_gain(drf, HUNDRED, TWO, "a", TWO["b"], tasks={"a": 0}) == 0
    with pytest.raises(FairnessError, match="'c'"):
        strategy_gain(drf, HUNDRED, TWO, "c", {"cpus": 1})


amounts = st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0]) | st.floats(0.01, 10)
demand = st.tuples(amounts, amounts, amounts).filter(any)


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    """Draw capacity, demands, weights and bounds."""
    names = ("cpus", "mem", "gpus")
    drawn = draw(st.lists(demand, min_size=1, max_size=6))
    tenants = [f"t{i}" for i in range(len(drawn))]
    return {
        "capacity": {name: draw(st.floats(0.5, 50)) for name in names},
        "demands": {
            t: dict(zip(names, d, strict=True)) for t, d in zip(tenants, drawn, strict=True)
        },
        "weights": {t: draw(st.sampled_from([1.0, 2.0, 0.3])) for t in tenants},
        "tasks": {t: draw(st.none() | st.floats(0, 20)) for t in tenants},
    }


@given(problems())
def test_what_drf_promises(problem: dict[str, Any]) -> None:
    found = drf(**problem)
    assert envy(found) <= 1e-9
    assert sharing_incentive(found) <= 1e-9
    assert pareto_slack(found) <= 1e-9
    assert all(found.used[name] <= x * (1 + 1e-9) for name, x in found.capacity.items())


@given(problems(), demand)
def test_no_lie_pays_under_drf(problem: dict[str, Any], lie: tuple[float, float, float]) -> None:
    capacity, demands = problem.pop("capacity"), problem.pop("demands")
    report = dict(zip(("cpus", "mem", "gpus"), lie, strict=True))
    problem["tasks"] = {}
    assert strategy_gain(drf, capacity, demands, "t0", report, **problem) <= 1e-9
