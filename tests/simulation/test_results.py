"""What a run leaves behind: frames, JSON, folders."""

from __future__ import annotations

import json

import numpy as np
import pytest

from allocator.sim import Result, Scenario, simulate

SCENARIO = {
    "title": "Two queues and an analyst",
    "seed": 3,
    "horizon": "4h",
    "cluster": {
        "machines": ["6x cpus:16;mem:64000", "2x cpus:16;mem:64000;gpus:4 @gpu"],
        "event": [{"at": "1h", "action": "fail", "machines": 2, "for": "20m"}],
    },
    "roles": {
        "eng": {"weight": 2.0, "guarantee": "cpus:32"},
        "eng/batch": {"limit": {"cpus": 64}},
    },
    "workload": {
        "tenant": [
            {"name": "ci", "role": "eng/ci", "rate": "40/h", "demand": "cpus:2;mem:8000",
             "duration": "exponential 20m"},
            {"name": "batch", "role": "eng/batch", "rate": "20/h", "tasks": "4..8",
             "demand": "cpus:1;mem:4000", "duration": "lognormal 40m 0.5"},
            {"name": "analyst", "rate": "30/h", "tasks": "1..4",
             "demand": ["cpus:4;mem:16000", "cpus:1;mem:1000;gpus:1"], "duration": "30m"},
            {"name": "too-big", "role": "analyst", "jobs": 2, "arrivals": "at-once",
             "tasks": 9, "demand": "gpus:1", "duration": "10m"},
        ]
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(Scenario.from_dict(SCENARIO))


def test_a_row_a_job_tells_what_became_of_it(result: Result) -> None:
    pytest.importorskip("pandas")
    jobs = result.jobs_frame()
    assert list(jobs) == [
        "job", "tenant", "role", "state", "submit_s", "start_s", "end_s", "wait_s", "tasks",
        "tasks_lost", "task_seconds", "slowdown",
    ]  # fmt: skip
    counts = result.counts
    assert jobs["job"].is_unique
    assert len(jobs) == counts.submitted
    assert jobs["state"].value_counts().to_dict() == {
        state: n
        for state, n in (
            ("finished", counts.finished),
            ("running", counts.running),
            ("waiting", counts.waiting),
            ("never", counts.never_fits),
        )
        if n
    }
    assert set(jobs["tenant"]) == {"ci", "batch", "analyst", "too-big"}
    assert (jobs["role"][jobs["tenant"] == "too-big"] == "analyst").all()
    assert set(jobs["state"][jobs["tenant"] == "too-big"]) == {"never"}
    started = jobs[jobs["start_s"].notna()]
    assert (started["wait_s"] == started["start_s"] - started["submit_s"]).all()
    assert jobs["start_s"].isna().sum() == counts.waiting + counts.never_fits
    assert (jobs["end_s"].notna() == (jobs["state"] == "finished")).all()
    assert jobs["tasks_lost"].sum() == result.to_json()["tasks_lost"] > 0


def test_slowdown_is_of_finished_jobs_and_counts_a_run_as_ten_seconds_at_least() -> None:
    pytest.importorskip("pandas")
    tenant = {"name": "a", "jobs": 3, "arrivals": "at-once", "demand": "cpus:1", "duration": "4s"}
    scenario = {
        "cluster": {"machines": ["1x cpus:1"]},
        "workload": {"tenant": [tenant, {**tenant, "name": "b", "jobs": 1, "duration": "40s"}]},
    }
    jobs = simulate(Scenario.from_dict(scenario)).jobs_frame()
    run_s = jobs["end_s"] - jobs["start_s"]
    assert sorted(run_s) == [4, 4, 4, 40]
    expected = ((jobs["wait_s"] + run_s) / np.maximum(run_s, 10)).clip(lower=1)
    assert jobs["slowdown"].tolist() == expected.tolist()
    cut = simulate(Scenario.from_dict({**scenario, "horizon": "6s"})).jobs_frame()
    assert (cut["slowdown"].notna() == (cut["state"] == "finished")).all()
    assert set(cut["state"]) == {"finished", "running", "waiting"}


def test_each_role_tells_its_quota_and_what_it_lost(result: Result) -> None:
    told = result.to_json()
    roles = {role["role"]: role for role in told["roles"]}
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert roles["analyst"]["quota"] == {"guarantee": {}, "limit": {}}
    guarantee = roles["eng"]["quota"]["guarantee"]
    assert guarantee.keys() == {"cpus"}
    assert guarantee["cpus"]["amount"] == 32
    assert 0.9 < guarantee["cpus"]["met"] <= 1
    limit = roles["eng/batch"]["quota"]["limit"]["cpus"]
    assert limit["amount"] == 64
    assert 0 < limit["peak"] <= 64
    top = [role for role in told["roles"] if "/" not in role["role"]]
    assert sum(role["tasks_lost"] for role in top) == told["tasks_lost"]
    assert roles["eng"]["tasks_lost"] == sum(
        roles[role]["tasks_lost"] for role in ("eng/ci", "eng/batch")
    )


def test_frames_say_what_they_need(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match=r"drf-allocator\[lab\]"):
        result.jobs_frame()
