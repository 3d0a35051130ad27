"""Synthetic work: what is drawn, how, and that nothing else changes it."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.resources import Quantities
from allocator.sim import Job, Scenario, ScenarioError, mesos_workload
from allocator.sim.scenario.distributions import Random, read_durations, read_tasks
from allocator.sim.scenario.synthetic import jobs_of, tenants_of

MACHINES = {"machines": "10x cpus:64;mem:1000;gpus:4"}
TENANT: dict[str, Any] = {
    "name": "a",
    "jobs": 200,
    "rate": "60/h",
    "tasks": "1..8",
    "demand": ["cpus:1;mem:4", {"cpus": 4, "widgets.x": 0}],
    "duration": "exponential 10m",
}


def jobs(*tenants: dict[str, Any], **keys: Any) -> tuple[Job, ...]:
    data = {"cluster": MACHINES, "workload": {"tenant": list(tenants)}, **keys}
    return Scenario.from_dict(data).setting().trace.jobs


def of(name: str, found: tuple[Job, ...]) -> list[Job]:
    return [job for job in found if job.tenant == name]


def submissions(**keys: Any) -> list[float]:
    return [job.submit_s for job in jobs({**TENANT, **keys.pop("tenant", {})}, **keys)]


def test_a_tenant_draws_the_same_whoever_else_there_is() -> None:
    alone = jobs(TENANT)
    assert len(alone) == 200
    beside = jobs({**TENANT, "name": "b"}, TENANT, {**TENANT, "name": "c", "copies": 3})
    assert of("a", beside) == list(alone)
    assert [j.run_s for j in of("b", beside)] != [j.run_s for j in alone]
    # One purpose does not disturb another.
    other = jobs({**TENANT, "tasks": 1, "demand": "cpus:1"})
    assert [(j.submit_s, j.run_s) for j in other] == [(j.submit_s, j.run_s) for j in alone]
    # More jobs are more of the same, and so are those up to a horizon.
    assert jobs({**TENANT, "jobs": 300})[:200] == alone
    endless = {key: value for key, value in TENANT.items() if key != "jobs"}
    horizon_s = alone[99].submit_s + 1e-6
    assert jobs(endless, horizon=horizon_s) == alone[:100]


def test_the_seed_decides() -> None:
    assert jobs(TENANT) == jobs(TENANT, seed=0) == jobs(TENANT, seed="0")
    assert len({submissions(seed=seed)[0] for seed in (0, 1, "a", "0/1", -1, 2**70)}) == 6


def test_jobs_stand_in_order_with_ids_and_shared_shapes() -> None:
    found = jobs(TENANT, {**TENANT, "name": "b"})
    times = [job.submit_s for job in found]
    assert times == sorted(times)
    assert {job.id for job in of("b", found)} == {f"b-{index}" for index in range(200)}
    shapes = {id(job.shape): job.shape for job in found}.values()
    assert len(shapes) == len(set(shapes)) == 16
    assert {q for s in shapes for t in s.tasks for q in [str(t.demand)]} == {
        "cpus:1;mem:4",
        "cpus:4",
    }


def test_copies_are_tenants_of_their_own() -> None:
    data = {
        "cluster": MACHINES,
        "workload": {
            "tenant": [
                {**TENANT, "copies": 3},
                {**TENANT, "name": "b", "role": "eng/b", "copies": 2},
                {**TENANT, "name": "c", "copies": 1},
            ]
        },
    }
    trace = Scenario.from_dict(data).setting().trace
    roles = {name: tenant.role for name, tenant in trace.tenants.items()}
    assert roles == {
        "a000": "a000",
        "a001": "a001",
        "a002": "a002",
        "b000": "eng/b",
        "b001": "eng/b",
        "c": "c",
    }
    assert len({tuple(j.submit_s for j in of(name, trace.jobs)) for name in roles}) == 6


# When jobs come.


def test_arrivals() -> None:
    at_once = {key: value for key, value in TENANT.items() if key != "rate"}
    at_once |= {"arrivals": "at-once", "jobs": 3, "start": "1m"}
    assert [job.submit_s for job in jobs(at_once)] == [60] * 3
    even = submissions(tenant={"arrivals": "uniform", "start": 10, "jobs": 4})
    assert even == [10, 70, 130, 190]
    endless = {key: value for key, value in TENANT.items() if key != "jobs"}
    found = jobs({**endless, "arrivals": "uniform"}, horizon="4m")
    assert [job.submit_s for job in found] == [0, 60, 120, 180]
    drawn = submissions(tenant={"start": "1h"})
    assert 3600 < drawn[0] < drawn[-1]


def test_poisson_gaps_have_the_mean_and_the_spread_of_their_rate() -> None:
    times = np.array(submissions(tenant={"jobs": 40_000}))
    gaps = np.diff(times, prepend=0.0)
    # Of n exponential gaps of mean 60 s, the mean has a deviation of 60/√n = 0.3 s.
    assert abs(gaps.mean() - 60) < 1.5
    assert abs(gaps.std() - 60) < 3
    assert abs((gaps > 60).mean() - math.exp(-1)) < 0.015
    # The first job comes after a gap, too.
    firsts = [submissions(tenant={"jobs": 1}, seed=seed)[0] for seed in range(400)]
    assert abs(np.mean(firsts) - 60) < 15


def test_a_load_brings_jobs_closer_together() -> None:
    one = submissions()
    data = {"cluster": MACHINES, "workload": {"tenant": [TENANT], "load": 2}}
    scenario = Scenario.from_dict(data)
    assert [j.submit_s for j in scenario.setting().trace.jobs] == [submit_s / 2 for submit_s in one]
    # Up to a horizon there are twice as many.
    endless = scenario.with_({"workload.tenant.a.jobs": None, "horizon": "50h"})
    loaded = endless.setting().trace
    assert abs(len(loaded.jobs) - 6000) < 350
    assert 49.5 * 3600 < loaded.last_submit_s < 50 * 3600
    assert abs(len(endless.with_({"workload.load": 1}).setting().trace.jobs) - 3000) < 250


def test_a_trace_under_a_load() -> None:
    trace = mesos_workload(0.1)
    late = tuple(replace(job, submit_s=10.0, recorded_start_s=12.0) for job in trace.jobs[-5:])
    trace = replace(trace, jobs=(*trace.jobs[:5], *late), end_s=100.0)
    scenario = Scenario.from_dict({"workload": {"trace": trace}})
    setting = scenario.setting()
    assert setting.trace == trace
    # Without a horizon, a recording ends where it ended.
    assert setting.horizon_s == 100
    assert scenario.with_(horizon="1m").setting().horizon_s == 60
    loaded = scenario.with_({"workload.load": 4}).setting().trace
    assert {job.submit_s for job in loaded.jobs} == {0.0, 2.5}
    assert {job.recorded_start_s for job in loaded.jobs} == {None}
    assert loaded.end_s == 25


# What is drawn.


@given(st.integers(1, 50), st.text(max_size=5))
def test_a_prefix_of_draws_is_the_draw_of_fewer(n: int, tenant: str) -> None:
    durations = read_durations("uniform 1s..2h")
    longer = durations.draw(n + 10, Random(1, tenant, "duration"))
    assert longer[:n].tolist() == durations.draw(n, Random(1, tenant, "duration")).tolist()


@given(
    st.sampled_from(
        ["uniform 1ms..3h", "exponential 2m", "lognormal 10m 2.5", "90s", "exponential 1w"]
    ),
    st.integers(),
)
def test_durations_are_positive_whole_microseconds(text: str, seed: int) -> None:
    drawn = read_durations(text).draw(100, Random(seed, "a", "duration"))
    assert (drawn > 0).all()
    assert (drawn == np.rint(drawn * 1e6) / 1e6).all()


@pytest.mark.parametrize(
    ("text", "mean", "median"),
    [
        ("10m", 600, 600),
        ("uniform 10m..20m", 900, 900),
        ("exponential 10m", 600, 600 * math.log(2)),
        ("lognormal 10m 0.5", 600 * math.exp(0.125), 600),
        ("lognormal 10m 0", 600, 600),
    ],
)
def test_distributions_have_the_mean_and_the_median_that_they_say(
    text: str, mean: float, median: float
) -> None:
    drawn = read_durations(text).draw(40_000, Random("s", "a", "duration"))
    assert drawn.mean() == pytest.approx(mean, rel=0.03)
    assert np.median(drawn) == pytest.approx(median, rel=0.03)
    if text.startswith("uniform"):
        assert 600 <= drawn.min() < 601 < 1199 < drawn.max() <= 1200


def test_tasks_and_demands_are_drawn_alike() -> None:
    found = jobs({**TENANT, "jobs": 8000})
    counts = np.bincount([job.shape.n_tasks for job in found])
    assert counts[0] == 0
    assert len(counts) == 9
    assert (abs(counts[1:] - 1000) < 150).all()
    large = sum(job.shape.tasks[0].demand == Quantities("cpus:4") for job in found)
    assert abs(large - 4000) < 300
    listed = read_tasks([1, 1, 8]).draw(9000, Random(0, "a", "tasks"))
    assert abs((listed == 8).sum() - 3000) < 250
    assert set(listed.tolist()) == {1, 8}


def test_jobs_of_nobody() -> None:
    assert jobs_of([], 0, math.inf, 1.0) == ()
    assert tenants_of([]) == {}


# The same everywhere.

SCRIPT = """
import json, sys
from allocator.sim import Scenario
jobs = Scenario.from_dict(json.loads(sys.argv[1])).setting().trace.jobs
print(json.dumps([(j.id, j.submit_s, j.run_s, str(j.shape.tasks)) for j in jobs]))
"""


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_same_in_another_process(hash_seed: str) -> None:
    data = {"cluster": MACHINES, "workload": {"tenant": [TENANT, {**TENANT, "name": "b"}]}}
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.getcwd()}
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(data)],
        env=environment,
        capture_output=True,
        check=True,
        text=True,
    )
    here = [
        [j.id, j.submit_s, j.run_s, str(j.shape.tasks)]
        for j in Scenario.from_dict(data).setting().trace.jobs
    ]
    assert json.loads(found.stdout) == here


def test_the_same_as_ever() -> None:
    """Guards against a change of the generator, which would change every result."""
    drawn = [(job.submit_s, job.run_s, job.shape.n_tasks) for job in jobs(TENANT)[:2]]
    assert drawn == [(31.815343, 174.746949, 4), (56.606448, 343.767359, 5)]


def test_a_scenario_goes_to_another_process(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text('[workload]\nbuiltin = "mesos"\n')
    scenario = pickle.loads(pickle.dumps(Scenario.load(tmp_path / "s.toml")))
    assert scenario.setting().trace == mesos_workload()


# What stood in a cluster.


def test_running_and_waiting_work_of_a_cluster(tmp_path: Path) -> None:
    dump = {
        "system": "test",
        "machines": [
            {"id": "m1", "resources": {"cpus": 8}, "kind": "big"},
            {"id": "m2", "resources": "cpus:8", "active": False},
            {"id": "m3", "resources": "cpus:8", "kind": "big"},
        ],
        "running": [
            {"tenant": "x", "role": "r/x", "machine": "m1", "demand": "cpus:1", "tasks": 3},
            {"tenant": "y", "demand": {"cpus": 0.5}, "run_s": 60},
        ],
        "waiting": [
            {"tenant": "x", "role": "r/x", "demand": "cpus:2", "tasks": 2, "run_s": 30, "id": "j"},
            {"tenant": "x", "demand": "", "submit_s": 1},
        ],
    }
    (tmp_path / "cluster.json").write_text(json.dumps(dump))
    data = {
        "cluster": {"file": "cluster.json"},
        "workload": {"cluster": "cluster.json", "tenant": [{**TENANT, "demand": "cpus:1"}]},
        "tenants": {"x": {"kinds": "big"}},
    }
    setting = Scenario.from_dict(data, base=tmp_path).setting()
    assert [machine.id for machine in setting.machines] == ["m1", "m2", "m3"]
    assert [str(group) for group in setting.trace.cluster] == ["2xcpus:8@big", "1xcpus:8"]
    assert setting.inactive == {"m2"}
    assert {name: tenant.role for name, tenant in setting.trace.tenants.items()} == {
        "x": "r/x",
        "y": "y",
        "a": "a",
    }
    first, second = setting.placed
    assert (first.tenant, first.machine, str(first.demand), first.count) == ("x", "m1", "cpus:1", 3)
    assert (second.machine, second.run_s) == (None, 60.0)
    assert math.isinf(first.run_s)
    waiting, *drawn = setting.trace.jobs
    assert (waiting.id, waiting.tenant, waiting.submit_s, waiting.run_s) == ("j", "x", 0.0, 30.0)
    assert waiting.shape.n_tasks == 2
    assert len(drawn) == 200


def test_a_cluster_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    data = {"cluster": {"file": "cluster.json"}, "workload": {"cluster": "cluster.json"}}

    def machines() -> list[str]:
        setting = Scenario.from_dict(data, base=tmp_path).setting()
        return [machine.id for machine in setting.machines]

    for names in (["a"], ["a", "b"], ["c"]):
        content = [{"id": name, "resources": {"cpus": 1}} for name in names]
        path.write_text(json.dumps({"machines": content}))
        assert machines() == machines() == names
    path.unlink()
    with pytest.raises(ScenarioError, match="No such file"):
        machines()
