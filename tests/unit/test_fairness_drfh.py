"""DRF on machines that differ: the paper's example, and max-min by its own definition."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from allocator.fairness import (
    Division,
    FairnessError,
    division,
    drf,
    drfh,
    envy,
    pareto_slack,
    sharing_incentive,
)

pytest.importorskip("scipy", reason="the extra lab is not installed")
from scipy.optimize import linprog

WANG = [(1, {"cpus": 2, "mem": 12}), (1, {"cpus": 12, "mem": 2})]
USERS = {"1": {"cpus": 0.2, "mem": 1}, "2": {"cpus": 1, "mem": 0.2}}


@pytest.mark.parametrize("unit", [1e-9, 1, 1e12])
def test_the_example_of_wang_2014(unit: float) -> None:
    """Section 3: each user runs 10 tasks, on the server that suits it."""
    machines = [(n, {name: x * unit for name, x in has.items()}) for n, has in WANG]
    demands = {user: {name: x * unit for name, x in d.items()} for user, d in USERS.items()}
    found = drfh(machines, demands)
    assert found.tasks == pytest.approx({"1": 10, "2": 10}, rel=1e-6)
    assert found.shares == pytest.approx({"1": 5 / 7, "2": 5 / 7}, rel=1e-6)
    assert found.by_group == {
        "1": pytest.approx([10, 0], abs=1e-5),
        "2": pytest.approx([0, 10], abs=1e-5),
    }
    assert found.groups == tuple((1.0, has) for _, has in machines)
    # The memory of the one and the cpus of the other are left.
    assert found.left == pytest.approx({"cpus": 2 * unit, "mem": 2 * unit}, rel=1e-5)


def test_a_task_that_fits_no_machine_gets_none() -> None:
    machines = [(3, {"cpus": 4}), (2, {"gpus": 2, "mem": 8})]
    demands = {"both": {"cpus": 1, "gpus": 1}, "cpus": {"cpus": 1}, "gpus": {"gpus": 1, "mem": 1}}
    found = drfh(machines, demands)
    assert found.tasks == pytest.approx({"both": 0, "cpus": 12, "gpus": 4})
    assert found.by_group is not None
    assert found.by_group["both"] == [0, 0]
    assert found.tasks["both"] == 0.0


def test_counts_need_not_be_whole_and_one_machine_is_a_group() -> None:
    assert drfh([(1.5, {"cpus": 2})], {"a": {"cpus": 1}}).tasks == pytest.approx({"a": 3})
    alone = drfh({"cpus": 3}, {"a": {"cpus": 1}})
    assert alone.tasks == pytest.approx({"a": 3})
    assert alone.groups == ()


def test_bounds_and_weights() -> None:
    demands = {"a": {"cpus": 1}, "b": {"cpus": 1}, "c": {"cpus": 1}}
    found = drfh([(2, {"cpus": 6})], demands, weights={"b": 2}, tasks={"c": 1.5, "a": None})
    assert found.tasks == pytest.approx({"a": 3.5, "b": 7, "c": 1.5})
    assert drfh([(2, {"cpus": 6})], demands, tasks=dict.fromkeys("abc", 0)).tasks["a"] == 0


@pytest.mark.parametrize("machines", [[(-1, {"cpus": 1})], [(1, {"cpus": math.inf})], [], {}])
def test_nonsense_is_refused(machines: Any) -> None:
    with pytest.raises(FairnessError):
        drfh(machines, {"a": {"cpus": 1}})


def instance(seed: int) -> tuple[list[tuple[float, dict[str, float]]], dict[str, Any]]:
    """Return groups of machines, and demands, weights and bounds as keywords."""
    rng = random.Random(seed)
    names = [f"r{j}" for j in range(rng.randint(1, 3))]
    groups = [
        (rng.choice([1, 2, 3.5]), {name: rng.choice([0, 1, 4, rng.random() * 8]) for name in names})
        for _ in range(rng.randint(1, 4))
    ]
    groups.append((1, dict.fromkeys(names, 2.0)))
    demands = {}
    for i in range(rng.randint(1, 7)):
        drawn = {name: rng.choice([0, 0.1, rng.random()]) for name in names}
        demands[f"t{i}"] = {name: x for name, x in drawn.items() if x} or {names[0]: 1}
    weights = {tenant: rng.choice([1, 2, 0.5]) for tenant in demands}
    tasks = {tenant: rng.choice([None, None, rng.random() * 9]) for tenant in demands}
    return groups, {"demands": demands, "weights": weights, "tasks": tasks}


def most_of(found: Division, tenant: str, kept: Mapping[str, float]) -> float:
    """Return the most tasks of a tenant while others keep theirs, by a program made here."""
    places = [(t, g) for t in found.demands for g in range(len(found.groups))]
    rows, limits = [], []
    for g, (count, has) in enumerate(found.groups):
        for name, amount in has.items():
            rows.append([found.demands[t].get(name, 0) * (at == g) for t, at in places])
            limits.append(count * amount)
    for other, tasks in kept.items():
        rows.append([-float(t == other) for t, _ in places])
        limits.append(-tasks * (1 - 1e-9))
    objective = [-float(t == tenant) for t, _ in places]
    solved = linprog(objective, A_ub=np.array(rows), b_ub=np.array(limits))
    assert solved.status == 0
    return -float(solved.fun)


@pytest.mark.parametrize("seed", range(40))
def test_nobody_gets_more_but_from_those_who_have_less(seed: int) -> None:
    """What max-min fairness is: all that a tenant could gain, one no better off would lose."""
    groups, asked = instance(seed)
    found = drfh(groups, **asked)
    levels = {t: share / found.weights[t] for t, share in found.shares.items()}
    assert found.by_group is not None
    for tenant, tasks in found.tasks.items():
        assert sum(found.by_group[tenant]) == pytest.approx(tasks)
        assert tasks <= found.bounds[tenant] * (1 + 1e-6)
        if tasks < found.bounds[tenant] * (1 - 1e-6):
            # Its own bound left aside: it is not what stops it.
            kept = {t: n for t, n in found.tasks.items() if levels[t] <= levels[tenant] + 1e-7}
            most = most_of(found, tenant, kept)
            assert most == pytest.approx(tasks, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("seed", range(40))
def test_what_it_promises(seed: int) -> None:
    groups, asked = instance(seed)
    found = drfh(groups, **asked)
    assert envy(found) < 1e-6
    assert pareto_slack(found) < 1e-6
    assert all(found.used[n] <= found.capacity[n] * (1 + 1e-9) for n in found.capacity)


@pytest.mark.parametrize("seed", range(20))
def test_on_alike_machines_it_is_drf(seed: int) -> None:
    _, asked = instance(seed)
    names = {name for demand in asked["demands"].values() for name in demand}
    machine = dict.fromkeys(names, 3.0)
    expected = drf([(4, machine)], **asked)
    found = drfh([(1, machine), (3, machine)], **asked)
    largest = max(expected.tasks.values())
    assert found.tasks == pytest.approx(expected.tasks, abs=1e-6 * largest)


def test_the_own_part_is_that_of_every_machine() -> None:
    found = drfh(WANG, USERS)
    # Half of each machine: 5 tasks on the one that suits, 1 on the other.
    assert sharing_incentive(found) == 0
    half = drfh(WANG, USERS, tasks={"1": 3})
    assert sharing_incentive(half) == 0
    assert pareto_slack(half) < 1e-9


def test_others_may_be_moved_for_a_gain() -> None:
    found = drfh(WANG, {**USERS, "3": {"mem": 1}}, tasks={"3": 0})
    # 3 would have what is left of memory but for its bound.
    assert pareto_slack(found) == pytest.approx(0, abs=1e-9)
    more = drfh([(2, {"cpus": 1})], {"a": {"cpus": 1}, "b": {"cpus": 1}}, tasks={"a": 0.5, "b": 1})
    assert pareto_slack(more) == pytest.approx(0, abs=1e-9)
    # Of the pool, as if one machine: 3.2 of 14 GB are left, and 3.2 cpus.
    pooled = division(WANG, USERS, {"1": 9, "2": 9})
    assert pareto_slack(pooled) == pytest.approx(3.2 / 14)
