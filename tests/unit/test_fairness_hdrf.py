"""Hierarchical DRF as a function: the paper's examples, and the sorter with ever smaller tasks."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

import pytest

from allocator.fairness import FairnessError, drf, hdrf
from allocator.sorter import HDRFSorter

CPU, GPU = {"cpus": 1.0}, {"gpus": 1.0}

#: Thousandths are fine enough: what every name's capacity is in the sorter.
WHOLE = 10**9


class SmallSteps:
    """A sorter to which tasks of a small part of the capacity are given, one at a time."""

    def __init__(
        self,
        capacity: Mapping[str, float],
        demands: Mapping[str, Mapping[str, float]],
        weights: Mapping[str, float],
        bounds: Mapping[str, float],
        n_steps: int,
    ) -> None:
        dominant = max(d[name] / capacity[name] for d in demands.values() for name in d)
        #: Of a task, which is given at once.
        self.part = 1 / (n_steps * dominant)
        self.bounds = bounds
        self.sorter = HDRFSorter()
        self.sorter.add_agent("all", dict.fromkeys(capacity, WHOLE))
        self.left = dict.fromkeys(capacity, float(WHOLE))
        self.demands = {
            tenant: {
                name: round(amount / capacity[name] * self.part * WHOLE, 3)
                for name, amount in demand.items()
            }
            for tenant, demand in demands.items()
        }
        for path, weight in weights.items():
            self.sorter.update_weight(path, weight)
        self.steps = dict.fromkeys(demands, 0)
        self.active = {tenant for tenant in demands if bounds.get(tenant, math.inf) > 0}
        for tenant in demands:
            self.sorter.add(tenant)
            if tenant in self.active:
                self.sorter.activate(tenant)
        self.sorter.add("~rest")

    def tasks(self) -> dict[str, float]:
        """Return what each tenant runs when nobody can be given more."""
        while self.step():
            pass
        return {tenant: n * self.part for tenant, n in self.steps.items()}

    def step(self) -> bool:
        """Give the neediest that fits a little; tell whether there was one."""
        for tenant in self.sorter.order():
            if all(self.left[name] >= x for name, x in self.demands[tenant].items()):
                break
        else:
            return False
        self.sorter.allocated(tenant, "all", self.demands[tenant])
        self.steps[tenant] += 1
        for name, amount in self.demands[tenant].items():
            self.left[name] -= amount
        if self.steps[tenant] * self.part >= self.bounds.get(tenant, math.inf):
            self.sorter.deactivate(tenant)
            self.active.discard(tenant)
        self.take_rests()
        return True

    def take_rests(self) -> None:
        """Have somebody aside hold what is less than a step of those who may want it."""
        for name, left in self.left.items():
            wanted = [self.demands[tenant].get(name, 0) for tenant in self.active]
            if 0 < left < max(wanted, default=0):
                self.sorter.allocated("~rest", "all", {name: round(left, 3)})
                self.left[name] = 0


PATHS = ("a", "b", "c", "d/x", "d/y", "d/z", "e/x", "e/y", "e", "f/g/x", "f/g/y", "f/h")


@pytest.mark.parametrize("seed", range(60))
def test_it_agrees_with_filling_in_small_steps(seed: int) -> None:
    rng = random.Random(seed)
    names = ("cpus", "gpus", "mem")[: rng.choice([1, 2, 2, 3])]
    capacity = {name: rng.choice([10.0, 30.0, 100.0]) for name in names}
    tenants = rng.sample(PATHS, rng.randint(2, 9))
    demands = {}
    for tenant in tenants:
        drawn = {name: rng.choice([0, 0, 1, 1, 2, 3, 0.5]) for name in names}
        demands[tenant] = {name: x for name, x in drawn.items() if x} or {names[0]: 1}
    parts = [tenant.split("/") for tenant in tenants]
    prefixes = sorted({"/".join(p[: i + 1]) for p in parts for i in range(len(p))})
    weights = {path: rng.choice([1, 2, 3]) for path in prefixes if rng.random() < 0.3}
    bounds = {tenant: rng.choice([0, 1, 5, 20]) for tenant in tenants if rng.random() < 0.4}
    expected = SmallSteps(capacity, demands, weights, bounds, n_steps=1500).tasks()
    found = hdrf(capacity, demands, weights=weights, tasks=bounds)
    for tenant in tenants:
        a_task = max(x / capacity[name] for name, x in demands[tenant].items())
        assert found.tasks[tenant] * a_task == pytest.approx(expected[tenant] * a_task, abs=0.015)


@pytest.mark.parametrize(
    ("size", "demands", "expected"),
    [
        (10, {"n1": {"cpus": 1, "gpus": 1}, "n2/a": CPU, "n2/b": GPU}, [5, 5, 5]),
        (10, {"n1": GPU, "n2/a": CPU, "n2/b": GPU}, [5, 10, 5]),
        (30, {"a": CPU, "b": CPU, "c/cpu": CPU, "c/gpu": GPU, "d": GPU}, [10, 10, 10, 15, 15]),
    ],
)
@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e12])
def test_examples_of_the_paper(
    size: int, demands: Mapping[str, Mapping[str, float]], expected: list[int], unit: float
) -> None:
    scaled = {t: {name: x * unit for name, x in d.items()} for t, d in demands.items()}
    division = hdrf({"cpus": size * unit, "gpus": size * unit}, scaled)
    assert [*division.tasks.values()] == pytest.approx(expected, rel=1e-9)


def test_weights_belong_to_subtrees() -> None:
    demands = {"eng/a": CPU, "eng/b": CPU, "ops": CPU}
    division = hdrf({"cpus": 12}, demands, weights={"eng": 2, "eng/b": 3})
    assert [*division.tasks.values()] == pytest.approx([2, 6, 4])
    assert division.weights == {"eng/a": 1, "eng/b": 3, "ops": 1, "eng": 2}
    assert division.entitlements == pytest.approx({"eng/a": 1 / 6, "eng/b": 1 / 2, "ops": 1 / 3})


def test_a_path_with_paths_below_it_is_a_leaf_of_weight_one_among_them() -> None:
    demands = {"eng": CPU, "eng/b": CPU, "ops": CPU}
    division = hdrf({"cpus": 12}, demands, weights={"eng": 5, "eng/b": 4})
    assert [*division.tasks.values()] == pytest.approx([2, 8, 2])
    assert division.entitlements == pytest.approx({"eng": 1 / 6, "eng/b": 2 / 3, "ops": 1 / 6})


@pytest.mark.parametrize("seed", range(30))
def test_where_nothing_is_nested_it_is_drf(seed: int) -> None:
    """Also one level further down, where it goes another way."""
    rng = random.Random(seed)
    capacity = {"cpus": 10.0, "gpus": 4.0}
    demands = {
        f"t{n}": {"cpus": rng.choice([0, 1, 2]), "gpus": rng.choice([0.5, 1])} for n in range(6)
    }
    weights = {tenant: rng.choice([1, 2, 5]) for tenant in demands}
    bounds = {tenant: rng.choice([None, 1, 3]) for tenant in demands}
    expected = drf(capacity, demands, weights=weights, tasks=bounds).tasks
    assert hdrf(capacity, demands, weights=weights, tasks=bounds).tasks == expected
    nested = hdrf(
        capacity,
        {f"top/{tenant}": demand for tenant, demand in demands.items()},
        weights={f"top/{tenant}": weight for tenant, weight in weights.items()},
        tasks={f"top/{tenant}": bound for tenant, bound in bounds.items()},
    )
    assert [*nested.tasks.values()] == pytest.approx([*expected.values()], rel=1e-9)


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "a/..", "a b", 3])
def test_malformed_paths_are_refused(path: str) -> None:
    with pytest.raises(FairnessError):
        hdrf({"cpus": 1}, {"ok": CPU, path: CPU})


def test_a_weight_of_no_path_is_refused() -> None:
    with pytest.raises(FairnessError, match="'eng/c' \\(2\\) is not among the tenants"):
        hdrf({"cpus": 1}, {"eng/a": CPU}, weights={"eng/c": 2})
