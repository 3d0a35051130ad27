"""What a run leaves behind: frames, JSON, folders."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allocator.errors import InvalidValue
from allocator.fairness import deviation, hdrf
from allocator.roles import ancestry
from allocator.sim import Result, Scenario, simulate
from allocator.sim.record import Curves

CURVES = ("share", "fair_share", "in_need", "queue", "running", "offers")

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


# Series.


def test_the_series_tile_the_run_in_at_most_so_many_intervals() -> None:
    scenario = Scenario.from_dict(SCENARIO)
    for points in (1, 7, 500):
        result = simulate(scenario, points=points)
        series = result.to_json()["series"]
        n = len(series["start_s"])
        assert 1 <= n <= points
        assert series["start_s"][0] == 0
        assert series["end_s"][-1] == result.end_s
        assert series["start_s"][1:] == series["end_s"][:-1]
        told = [*series["roles"].values(), series["cluster"]]
        for curves in told:
            assert all(len(curves[name]) == n for name in CURVES)
            assert curves["use"].keys() == {"cpus", "gpus", "mem"}
            assert all(len(levels) == n for levels in curves["use"].values())
        assert series["roles"].keys() == {"analyst", "eng", "eng/batch", "eng/ci"}
        assert series["cluster"]["capacity"].keys() == {"cpus", "gpus", "mem"}
        assert sum(series["cluster"]["offers"]) == result.cycles.offers


def test_the_area_under_a_curve_is_what_the_jobs_took(result: Result) -> None:
    pytest.importorskip("pandas")
    series, jobs = result.series_frame(), result.jobs_frame()
    length = series["end_s"] - series["start_s"]
    area = (series["running"] * length).groupby(series["role"]).sum()
    seconds = jobs.groupby("role")["task_seconds"].sum()
    for role in ("eng/ci", "eng/batch", "analyst"):
        assert area[role] == pytest.approx(seconds[role], rel=1e-9)
    assert area["eng"] == pytest.approx(area["eng/ci"] + area["eng/batch"], rel=1e-9)
    assert area[""] == pytest.approx(jobs["task_seconds"].sum(), rel=1e-9)
    cpus = (series["use.cpus"] * length)[series["role"] == "eng/ci"].sum()
    assert cpus == pytest.approx(2 * seconds["eng/ci"], rel=1e-9)


def test_the_series_frame_says_what_the_json_does(result: Result) -> None:
    pytest.importorskip("pandas")
    frame, series = result.series_frame(), result.to_json()["series"]
    assert list(frame) == [
        *("role", "start_s", "end_s", "share", "fair_share"),
        *("in_need", "queue", "running", "offers", "use.cpus", "use.gpus", "use.mem"),
        *("capacity.cpus", "capacity.gpus", "capacity.mem"),
    ]
    assert list(dict.fromkeys(frame["role"])) == ["", *sorted(series["roles"])]
    for role, rows in frame.groupby("role"):
        told = series["roles"].get(role, series["cluster"])
        assert rows["start_s"].tolist() == series["start_s"]
        for name in CURVES:
            assert rows[name].tolist() == told[name]
        assert rows["use.mem"].tolist() == told["use"]["mem"]
        known = rows["capacity.cpus"].dropna().tolist()
        assert known == (series["cluster"]["capacity"]["cpus"] if role == "" else [])


# Fair shares.


def own_need(result: Result, curves: Curves, i: int) -> dict[str, dict[str, float]]:
    """Return what each leaf role needs in an interval, by names with some of it."""
    record = result.record
    assert curves.need is not None
    found = {
        role: {
            name: float(curves.need[row, axis, i])
            for axis, name in enumerate(record.names)
            if curves.need[row, axis, i] > 0
        }
        for row, role in enumerate(record.roles)
        if record.is_leaf[row]
    }
    return {role: demand for role, demand in found.items() if demand}


def test_the_fair_share_is_that_of_one_divisible_task_a_leaf_role(result: Result) -> None:
    record, curves = result.record, result.record.series
    weights = dict(zip(record.roles, record.weights, strict=True))
    for i in range(0, len(curves.edges_s) - 1, 7):
        capacity = {name: float(curves.capacity[axis, i]) for axis, name in enumerate(record.names)}
        if not all(capacity.values()):
            continue  # while the machines with GPUs are down
        demands = own_need(result, curves, i)
        if not demands:
            continue
        paths = {path for leaf in demands for path in ancestry(leaf)}
        given = {path: weight for path, weight in weights.items() if path in paths}
        division = hdrf(capacity, demands, weights=given, tasks=dict.fromkeys(demands, 1.0))
        for row, role in enumerate(record.roles):
            below = [leaf for leaf in demands if (leaf + "/").startswith(role + "/")]
            used = {
                name: sum(division.allocation[leaf].get(name, 0.0) for leaf in below)
                for name in capacity
            }
            expected = max(used[name] / capacity[name] for name in capacity)
            assert result.fair_share[row, i] == pytest.approx(expected, abs=1e-9)
        together = max(used / capacity[name] for name, used in division.used.items())
        assert result.fair_share[-1, i] == pytest.approx(together, abs=1e-9)
    assert (result.fair_share >= 0).all()
    assert (result.fair_share <= 1 + 1e-9).all()


def test_a_role_with_others_below_it_competes_with_them() -> None:
    tenant = {"jobs": 400, "arrivals": "at-once", "demand": "cpus:1;mem:1", "duration": "1m"}
    tenants = [{"name": name, "role": name, **tenant} for name in ("eng", "eng/ci", "ops")]
    for at, told in enumerate(tenants):
        told["name"] = f"t{at}"
    scenario = {
        "horizon": "10m",
        "cluster": {"machines": ["24x cpus:1;mem:1000"]},
        "roles": {"eng/ci": {"weight": 3.0}},
        "workload": {"tenant": tenants},
    }
    result = simulate(Scenario.from_dict(scenario))
    roles = result.to_json()["series"]["roles"]
    middle = len(roles["eng"]["share"]) // 2
    fair = {role: curves["fair_share"][middle] for role, curves in roles.items()}
    # Half for ops; of the other half a quarter for eng itself, which has the weight 1 there.
    assert fair == pytest.approx({"eng": 1 / 2, "eng/ci": 3 / 8, "ops": 1 / 2})
    assert roles["eng/ci"]["share"][middle] == pytest.approx(3 / 8, abs=0.02)
    assert result.fairness["roles"].keys() == {"eng/ci", "ops"}


def greedy(weights: tuple[float, float]) -> dict[str, Any]:
    """Return two tenants that want more than there is, from the beginning to the end."""
    tenant = {"jobs": 400, "arrivals": "at-once", "demand": "cpus:1;mem:1", "duration": "1m"}
    return {
        "horizon": "20m",
        "cluster": {"machines": ["30x cpus:1;mem:1000"]},
        "roles": {"a": {"weight": weights[0]}, "b": {"weight": weights[1]}},
        "workload": {"tenant": [{"name": "a", **tenant}, {"name": "b", **tenant}]},
    }


def test_greedy_tenants_get_their_fair_shares_by_weight() -> None:
    result = simulate(Scenario.from_dict(greedy((1.0, 2.0))))
    series = result.to_json()["series"]
    middle = len(series["start_s"]) // 4
    assert series["roles"]["a"]["fair_share"][middle] == pytest.approx(1 / 3)
    assert series["roles"]["b"]["fair_share"][middle] == pytest.approx(2 / 3)
    fairness = result.fairness
    assert fairness["all"]["mean"] < 0.02
    assert fairness["jain"] > 0.99
    # The same shares are far from fair where the weights are equal.
    unfair = replace(result.record, weights=(1.0, 1.0))
    far = replace(result, record=unfair).fairness
    assert far["roles"]["a"]["mean"] == pytest.approx(1 / 6, abs=0.02)
    assert far["jain"] == pytest.approx(1 / (2 * (1 / 9 + 4 / 9)), abs=0.02)
    assert deviation(result) == fairness


def test_deviations_are_weighted_by_need(result: Result) -> None:
    record, measured = result.record, result.record.measured
    assert measured is not None
    assert 250 <= len(measured.edges_s) - 1 <= 500
    row = record.roles.index("eng/batch")
    same = simulate(Scenario.from_dict(SCENARIO), points=500)
    assert np.array_equal(same.record.series.edges_s, measured.edges_s)
    weights = np.diff(measured.edges_s) * measured.in_need[row]
    pairs = sorted(
        (abs(share - fair), weight)
        for share, fair, weight in zip(
            measured.share[row].tolist(), same.fair_share[row].tolist(), weights, strict=True
        )
        if weight > 0
    )
    far = result.fairness["roles"]["eng/batch"]
    total = sum(weight for _, weight in pairs)
    assert far["mean"] == pytest.approx(sum(d * w for d, w in pairs) / total)
    assert far["worst"] == pairs[-1][0]
    up_to, p95 = 0.0, None
    for distance, weight in pairs:
        up_to += weight
        if up_to >= 0.95 * total * (1 - 1e-12):
            p95 = distance
            break
    assert far["p95"] == pytest.approx(p95)
    # Whatever the points of the series are.
    assert simulate(Scenario.from_dict(SCENARIO), points=3).fairness == result.fairness


def test_who_was_never_in_need_has_no_deviation() -> None:
    tenant = {"name": "a", "jobs": 1, "arrivals": "at-once", "demand": "cpus:1", "duration": "1m"}
    scenario = {"cluster": {"machines": ["1x cpus:2"]}, "workload": {"tenant": [tenant]}}
    nobody = {"mean": None, "p95": None, "worst": None}
    assert simulate(Scenario.from_dict(scenario)).fairness == {
        "roles": {"a": nobody},
        "all": nobody,
        "jain": None,
    }


def test_a_run_that_takes_no_time_has_one_interval() -> None:
    tenant = {"name": "a", "jobs": 1, "arrivals": "at-once", "demand": "gpus:1", "duration": "1m"}
    scenario = {
        "horizon": "1s",
        "cluster": {"machines": ["1x cpus:2", "1x gpus:1"], "event": []},
        "workload": {"tenant": [{**tenant, "tasks": 2}]},
    }
    result = simulate(Scenario.from_dict(scenario))
    told = result.to_json()
    assert len(told["series"]["start_s"]) == 1
    assert result.report().count('id="verdict"') == 1


# Equal wherever it ran.

TELL = """
import hashlib, json, sys
sys.path.insert(0, "tests")
from tests.simulation.test_results import SCENARIO
from allocator.sim import Scenario, simulate
result = simulate(Scenario.from_dict(SCENARIO))
told = result.to_json()
del told["timing"]
frames = [result.jobs_frame(), result.series_frame(), result.roles_frame()]
text = json.dumps(told) + "".join(frame.to_csv() for frame in frames)
print(hashlib.sha256(text.encode()).hexdigest())
"""


def test_equal_runs_tell_the_same_whatever_the_hash_seed() -> None:
    pytest.importorskip("pandas")
    told = {
        subprocess.run(
            [sys.executable, "-c", TELL],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(told) == 1


# In a folder.


@pytest.fixture
def folder(result: Result, tmp_path: Path) -> Path:
    pytest.importorskip("pyarrow")
    pytest.importorskip("pandas")
    result.save(tmp_path / "out")
    return tmp_path / "out"


def test_what_was_saved_is_what_is_loaded(result: Result, folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        *("result.json", "jobs.parquet", "series.parquet", "report.html")
    }
    loaded = Result.load(folder)
    assert loaded == result
    assert loaded.to_json() == result.to_json() == json.loads((folder / "result.json").read_text())
    assert loaded.jobs_frame().equals(result.jobs_frame())
    assert loaded.series_frame().equals(result.series_frame())
    assert loaded.roles_frame().equals(result.roles_frame())
    assert loaded.report() == result.report() == (folder / "report.html").read_text("utf-8")
    assert loaded != replace(result, end_s=result.end_s + 1)


def test_the_files_are_frames_for_others(result: Result, folder: Path) -> None:
    pandas = pytest.importorskip("pandas")
    assert pandas.read_parquet(folder / "jobs.parquet").equals(result.jobs_frame())
    assert pandas.read_parquet(folder / "series.parquet").equals(result.series_frame())


def test_a_result_is_replaced_and_nothing_else_is(
    result: Result, folder: Path, tmp_path: Path
) -> None:
    result.save(folder)
    (tmp_path / "empty").mkdir()
    result.save(tmp_path / "empty")
    assert Result.load(tmp_path / "empty") == result
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    with pytest.raises(InvalidValue, match=r"mine: holds something else"):
        result.save(mine)
    assert [path.name for path in mine.iterdir()] == ["thesis.tex"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidValue, match="file: not a folder"):
        result.save(tmp_path / "file")


FILES = ("result.json", "jobs.parquet", "series.parquet", "report.html")


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for damaged in (b"", whole[:middle], flipped, whole[:-1], b"\x00" * len(whole)):
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        (copy / name).write_bytes(damaged)
        with pytest.raises(InvalidValue, match=rf"copy/{name}: damaged"):
            Result.load(copy)
        shutil.rmtree(copy)
    (folder / name).unlink()
    with pytest.raises(InvalidValue, match=rf"out/{name}: missing"):
        Result.load(folder)


def test_no_byte_of_what_was_saved_may_differ(folder: Path) -> None:
    series = folder / "series.parquet"
    whole = series.read_bytes()
    places = [
        *range(0, len(whole), max(1, len(whole) // 300)),
        *range(len(whole) - 100, len(whole)),
    ]
    for place in places:
        flipped = whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :]
        series.write_bytes(flipped)
        with pytest.raises(InvalidValue, match=r"series\.parquet: damaged"):
            Result.load(folder)
    series.write_bytes(whole)
    assert Result.load(folder)


def test_files_of_two_results_do_not_make_one(folder: Path, tmp_path: Path) -> None:
    simulate(Scenario.from_dict({**SCENARIO, "seed": 4})).save(tmp_path / "other")
    for name in ("result.json", "jobs.parquet", "report.html"):
        shutil.copytree(folder, tmp_path / name)
        shutil.copy(tmp_path / "other" / name, tmp_path / name / name)
        with pytest.raises(InvalidValue, match=rf"{name}/{name}: damaged"):
            Result.load(tmp_path / name)


ONE = {"name": "a", "jobs": 2, "arrivals": "at-once", "demand": "cpus:1", "duration": "1m"}


@pytest.mark.parametrize(
    "changes",
    [
        {"workload": {"tenant": [{**ONE, "start": "1h"}]}, "horizon": "1m"},
        {"workload": {"tenant": [{**ONE, "demand": "cpus:3", "tasks": 9}]}},
        {"cluster.event": [{"at": "0s", "action": "fail", "machines": 2}], "horizon": "1h"},
        {"policy.fairness_exclude": ["cpus"]},
    ],
    ids=["no job came", "none fits", "no machine is up", "nothing counts"],
)
def test_runs_of_next_to_nothing_leave_everything(tmp_path: Path, changes: dict[str, Any]) -> None:
    for name in ("pyarrow", "pandas", "matplotlib"):
        pytest.importorskip(name)
    scenario = {"cluster": {"machines": ["2x cpus:5"]}, "workload": {"tenant": [ONE]}}
    result = simulate(Scenario.from_dict(scenario).with_(**changes))
    result.save(tmp_path / "out")
    loaded = Result.load(tmp_path / "out")
    assert loaded == result
    assert loaded.jobs_frame().equals(result.jobs_frame())
    assert len(result.roles_frame()) == 1
    assert result.plot(tmp_path / "plots", ["svg"])
    assert result.report().count("<section") == 12


def test_work_that_ran_from_the_beginning_is_kept_too(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("pandas")
    result = simulate(Scenario.load("hdrf").with_(horizon="10m"))
    result.save(tmp_path)
    assert Result.load(tmp_path) == result


# Pictures.


def test_the_curves_are_drawn_as_svg_and_png(result: Result, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    written = result.plot(tmp_path / "a")
    names = {"shares", "roles", "utilisation", "queues", "waits", "quota", "cycles", "machines"}
    assert {path.name for path in written} == {f"{n}.{s}" for n in names for s in ("svg", "png")}
    for path in written:
        begin = path.read_bytes()[:200]
        assert begin.startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml")
    # The same run gives the same files, but for the times of cycles.
    again = simulate(Scenario.from_dict(SCENARIO)).plot(tmp_path / "b", ["svg"])
    for path in again:
        same = path.read_bytes() == (tmp_path / "a" / path.name).read_bytes()
        assert same or path.stem == "cycles"


def test_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    names = ["a$\\frac{$", "_hidden", "\u5730"]
    scenario = {
        "cluster": {"machines": "2x cpus:4"},
        "roles": {name: {"limit": "cpus:3"} for name in names},
        "workload": {"tenant": [{**ONE, "name": name, "jobs": 20} for name in names]},
    }
    result = simulate(Scenario.from_dict(scenario))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result.plot(tmp_path, ["svg"])
    # Each glyph of a text is a comment before its outline.
    for plot in ("shares", "waits"):
        drawn = (tmp_path / f"{plot}.svg").read_text("utf-8")
        assert all(f"{name} -->" in drawn for name in names), plot


def test_notebooks_are_shown_tables_and_plots(result: Result) -> None:
    assert repr(result).startswith("<Result of 'Two queues and an analyst': ")
    shown = result._repr_html_()
    assert shown.count("<svg") > 5
    assert "<table" in shown
    assert "<script" not in shown
