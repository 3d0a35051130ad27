"""Sweeps: every point on the same seeds, the same wherever it runs, nothing run twice."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from allocator.cli.main import main
from allocator.errors import InvalidValue
from allocator.sim import Scenario, ScenarioError
from allocator.sim.sweeps import Sweep, parse_grid, sweep
from allocator.sim.sweeps.report import write_report
from allocator.sim.sweeps.running import run_point
from allocator.sim.sweeps.statistics import by_point, mean_of, paired, student
from allocator.sim.sweeps.workers import WorkerLost, Workers

DATA: dict[str, Any] = {
    "title": "Two",
    "seed": 5,
    "horizon": "20m",
    "cluster": {"machines": "2x cpus:4"},
    "workload": {
        "tenant": [
            {"name": name, "rate": "60/h", "demand": "cpus:1", "duration": "exponential 5m"}
            for name in ("a", "b")
        ]
    },
}
GRID = {"policy.sorter": ["drf", "random"], "workload.load": [0.5, 2.0, 3.0]}


@pytest.fixture
def scenario() -> Scenario:
    return Scenario.from_dict(DATA)


class Counting:
    """An executor that runs in this thread, and counts."""

    def __init__(self, call: Callable[..., Any] | None = None) -> None:
        self.n_calls = 0
        self._call = call

    def submit(self, call: Callable[..., Any], /, *args: Any) -> Future[Any]:
        self.n_calls += 1
        future: Future[Any] = Future()
        try:
            future.set_result((self._call or call)(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def told(found: Sweep) -> list[Any]:
    return [
        (run.id, run.point, run.repeat, run.seed, run.status, run.error, run.measures)
        for run in found.runs
    ]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "runs").iterdir()}


def rows_of(folder: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / "index.sqlite") as index:
        found = list(index.execute("select id, point, seed, status, error, file from runs"))
    index.close()
    return sorted(found)


def test_every_point_on_the_same_seeds(scenario: Scenario) -> None:
    found = sweep(scenario, GRID, repeat=2, executor=Counting())
    assert [(*run.point.values(), run.repeat, run.seed) for run in found.runs] == [
        (sorter, load, repeat, 5 + repeat)
        for sorter in ("drf", "random")
        for load in (0.5, 2.0, 3.0)
        for repeat in (0, 1)
    ]
    assert {run.status for run in found.runs} == {"done"}
    assert len({run.id for run in found.runs}) == 12
    # One seed draws the same jobs under each policy.
    finished = {(*r.point.values(), r.repeat): r.measures["finished"] for r in found.runs}
    assert finished["drf", 0.5, 0] == finished["random", 0.5, 0] != finished["drf", 3.0, 0]
    assert set(found.runs[0].measures) == {
        *("end_s", "finished", "waiting", "wait_p50_s", "wait_p95_s", "use.cpus"),
        *("deviation_mean", "jain", "share.a", "share.b"),
    }


def test_seeds_of_text(scenario: Scenario) -> None:
    named = scenario.with_(seed="s")
    found = sweep(named, {}, repeat=2, executor=Counting())
    assert [(run.point, run.seed) for run in found.runs] == [({}, "s/0"), ({}, "s/1")]


def test_the_same_wherever_it_runs(scenario: Scenario, tmp_path: Path) -> None:
    here = sweep(scenario, GRID, repeat=2, out=tmp_path / "a", executor=Counting())
    there = sweep(scenario, GRID, repeat=2, out=tmp_path / "b", workers=2)
    with ThreadPoolExecutor(2) as executor:
        threads = sweep(scenario, GRID, repeat=2, out=tmp_path / "c", executor=executor)
    assert told(here) == told(there) == told(threads)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b") == files_of(tmp_path / "c")
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b") == rows_of(tmp_path / "c")
    assert told(sweep(scenario, GRID, repeat=2, executor=Counting())) == told(here)


def test_the_index_and_the_files(scenario: Scenario, tmp_path: Path) -> None:
    found = sweep(scenario, {"workload.load": [2.0]}, out=tmp_path, executor=Counting())
    (run,) = found.runs
    assert rows_of(tmp_path) == [
        (run.id, '{"workload.load": 2.0}', "5", "done", None, f"runs/{run.id}.json")
    ]
    result = json.loads((tmp_path / "runs" / f"{run.id}.json").read_text("utf-8"))
    assert result["counts"]["finished"] == run.measures["finished"]
    assert "timing" not in result


def test_nothing_is_run_twice(scenario: Scenario, tmp_path: Path) -> None:
    executor = Counting()
    first = sweep(scenario, GRID, repeat=2, out=tmp_path, executor=executor)
    assert executor.n_calls == 12
    again = sweep(scenario, GRID, repeat=3, out=tmp_path, executor=executor)
    assert executor.n_calls == 18
    assert [run for run in told(again) if run[2] < 2] == told(first)
    # Another scenario is something else.
    sweep(scenario.with_(horizon="10m"), {"workload.load": [2.0]}, out=tmp_path, executor=executor)
    assert executor.n_calls == 19


def test_the_content_of_files_counts(tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text("2x cpus:4\n")
    data = {**DATA, "cluster": {"file": "nodes"}}

    def ids() -> str:
        (run,) = sweep(Scenario.from_dict(data, base=tmp_path), {}, executor=Counting()).runs
        return run.id

    first = ids()
    assert ids() == first
    (tmp_path / "nodes").write_text("3x cpus:4\n")
    assert ids() != first


def test_a_failed_run_is_a_row_and_is_not_retried_unasked(
    scenario: Scenario, tmp_path: Path
) -> None:
    def failing(scenario: Scenario, point: Any, attempt: int) -> Any:
        if point.changes["workload.load"] == 2.0:
            scenario = None  # type: ignore[assignment]
        return run_point(scenario, point)

    executor = Counting(failing)
    grid = {"workload.load": [1.0, 2.0]}
    found = sweep(scenario, grid, out=tmp_path, executor=executor)
    assert [run.status for run in found.runs] == ["done", "failed"]
    assert found.n_failed == 1
    error = found.runs[1].error
    assert error == "AttributeError: 'NoneType' object has no attribute 'with_'"
    assert [row[3:] for row in rows_of(tmp_path) if row[3] == "failed"] == [("failed", error, None)]
    assert told(sweep(scenario, grid, out=tmp_path, executor=executor)) == told(found)
    assert executor.n_calls == 2
    mended = sweep(scenario, grid, out=tmp_path, executor=Counting(), retry_failed=True)
    assert [run.status for run in mended.runs] == ["done", "done"]


def test_a_lost_worker_is_replaced_up_to_three_times(scenario: Scenario) -> None:
    lost: dict[float, int] = {1.0: 3, 2.0: 4}

    def losing(scenario: Scenario, point: Any, attempt: int) -> Any:
        load = point.changes["workload.load"]
        if attempt < lost[load]:
            raise WorkerLost("gone")
        return run_point(scenario, point)

    executor = Counting(losing)
    found = sweep(scenario, {"workload.load": [1.0, 2.0]}, executor=executor)
    assert executor.n_calls == 8
    assert [run.status for run in found.runs] == ["done", "failed"]
    assert found.runs[1].error == "the worker was lost 4 times: gone"


def test_a_worker_that_dies_takes_nothing_with_it() -> None:
    workers = Workers(2)
    try:
        futures = [workers.submit(os.getpid) for _ in range(4)]
        pids = {future.result(60) for future in futures}
        assert os.getpid() not in pids
        dying = workers.submit(os._exit, 3)
        with pytest.raises(WorkerLost):
            dying.result(60)
        others = [workers.submit(os.getpid) for _ in range(8)]
        assert all(future.result(60) != os.getpid() for future in others)
    finally:
        workers.close()
    with pytest.raises(ProcessLookupError):
        os.kill(max(pids), 0)


def test_workers_print_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    workers = Workers(1)
    try:
        assert workers.submit(print, "hello").result(60) is None
    finally:
        workers.close()
    assert capfd.readouterr() == ("", "hello\n")


def test_a_killed_process_in_the_middle_of_a_sweep(scenario: Scenario) -> None:
    """Whatever a worker was at, it is run again; the result is the same."""
    killed: list[Any] = []

    class Killing(Workers):
        def submit(self, call: Callable[..., Any], /, *args: Any) -> Future[Any]:
            _, point, attempt = args
            if attempt < 2 and point.changes["workload.load"] == 2.0:
                killed.append(point)
                return super().submit(os._exit, 3)
            return super().submit(call, *args)

    executor = Killing(1)
    try:
        found = sweep(scenario, GRID, executor=executor)
    finally:
        executor.close()
    assert len(killed) == 4
    assert told(found) == told(sweep(scenario, GRID, executor=Counting()))


def test_interrupted_and_resumed(tmp_path: Path) -> None:
    """Ctrl-C ends it with 130 and keeps what is done; a second call runs only the others."""
    path = tmp_path / "s.toml"
    path.write_text(
        'horizon = "3h"\ncluster.machines = "20x cpus:4"\n[[workload.tenant]]\nname = "a"\n'
        'rate = "2000/h"\ndemand = "cpus:1"\nduration = "2m"\n'
    )
    out = tmp_path / "out"
    arguments = ["sweep", str(path), "--repeat", "40", "-o", str(out), "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "allocator", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while process.poll() is None and len(list((out / "runs").glob("*.json"))) < 3:
        threading.Event().wait(0.01)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output, errors) == (130, b"", b"")
    n_done = len(rows_of(out))
    assert 3 <= n_done < 40
    assert {row[3] for row in rows_of(out)} == {"done"}
    executor = Counting()
    found = sweep(Scenario.load(path), {}, repeat=40, out=out, executor=executor)
    assert executor.n_calls == 40 - n_done
    assert [run.status for run in found.runs] == ["done"] * 40


def test_what_cannot_be_swept(scenario: Scenario, tmp_path: Path) -> None:
    executor = Counting()
    grid = {"policy.sorter": ["drf", "dfr"], "sed": [1, 2]}
    with pytest.raises(ScenarioError) as caught:
        sweep(scenario, grid, executor=executor)
    assert [problem.key for problem in caught.value.problems] == ["sed", "policy.sorter"]
    for wrong in ({"seed": []}, {"seed": [1, 1]}):
        with pytest.raises(InvalidValue, match="grid seed: at least one value, each once"):
            sweep(scenario, wrong, executor=executor)
    with pytest.raises(InvalidValue, match=r"grid policy\.sorter: a list of values, not 'drf'"):
        sweep(scenario, {"policy.sorter": "drf"}, executor=executor)
    with pytest.raises(InvalidValue, match="repeat 0: not a number from 1 on"):
        sweep(scenario, {}, repeat=0, executor=executor)
    with pytest.raises(InvalidValue, match="2000000 runs, more than 1000000"):
        sweep(scenario, {"seed": [1, 2]}, repeat=10**6, executor=executor)
    (tmp_path / "mine").write_text("x")
    with pytest.raises(InvalidValue, match="is not empty, and no folder of a sweep"):
        sweep(scenario, {}, out=tmp_path, executor=executor)
    assert executor.n_calls == 0


def test_a_damaged_folder_is_named(scenario: Scenario, tmp_path: Path) -> None:
    (run,) = sweep(scenario, {}, out=tmp_path, executor=Counting()).runs
    file = tmp_path / str(run.file)
    file.write_text("{")
    with pytest.raises(InvalidValue, match=f"{run.id}.json: Expecting property name"):
        sweep(scenario, {}, out=tmp_path, executor=Counting())
    file.unlink()
    with pytest.raises(InvalidValue, match="No such file"):
        sweep(scenario, {}, out=tmp_path, executor=Counting())
    (tmp_path / "index.sqlite").write_bytes(b"x" * 4096)
    with pytest.raises(InvalidValue, match=r"index\.sqlite: file is not a database"):
        sweep(scenario, {}, out=tmp_path, executor=Counting())


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a=1,2.5,x", [1, 2.5, "x"]),
        ("a=drf,hdrf", ["drf", "hdrf"]),
        ("a=true,false", [True, False]),
        ("a=[1, 2],[3]", [[1, 2], [3]]),
        ("a={ cpus = 1, mem = 2 },{}", [{"cpus": 1, "mem": 2}, {}]),
        ("a=1h,2h", ["1h", "2h"]),
        ("a='x,y',z", ["x,y", "z"]),
        ("a=1..3/3", [1, 2, 3]),
        ("a=1..2/3", [1.0, 1.5, 2.0]),
        ("a=0.5..1.5/5", [0.5, 0.75, 1.0, 1.25, 1.5]),
        ("a=-1..1/3", [-1, 0, 1]),
        ("a=1..8,1..4", ["1..8", "1..4"]),
        ("a=1..8", ["1..8"]),
    ],
)
def test_grids(text: str, values: list[Any]) -> None:
    key, found = parse_grid(text)
    assert key == "a"
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize("text", ["", "a", "a=", "=1", "a=1..2/1", "a=2..1/3", "a..b=1"])
def test_what_is_no_grid(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_grid(text)


def test_an_id_depends_on_all_that_the_result_does(scenario: Scenario) -> None:
    points = sweep(scenario, {"workload.load": [1.0]}, repeat=2, executor=Counting()).runs
    assert points[0].id != points[1].id
    other = sweep(scenario.with_(title="Other"), {"workload.load": [1.0]}, executor=Counting())
    assert other.runs[0].id != points[0].id


# What it says.


def test_means_and_paired_differences(scenario: Scenario) -> None:
    found = sweep(scenario, GRID, repeat=4, executor=Counting())
    points = by_point(found)
    assert [tuple(point.point.values()) for point in points][:2] == [("drf", 0.5), ("drf", 2.0)]
    values = [run.measures["finished"] for run in found.runs[:4]]
    mean = points[0].means["finished"]
    assert mean is not None
    assert mean.mean == pytest.approx(sum(values) / 4)
    differences = paired(found, "workload.load")
    assert [(d.first, d.other, d.point) for d in differences[:2]] == [
        (0.5, 2.0, {"policy.sorter": "drf"}),
        (0.5, 3.0, {"policy.sorter": "drf"}),
    ]
    expected = [
        other.measures["finished"] - one.measures["finished"]
        for one, other in zip(found.runs[:4], found.runs[4:8], strict=True)
    ]
    assert differences[0].means["finished"] == mean_of(expected)
    with pytest.raises(InvalidValue, match="key 'seed': not one of the grid"):
        paired(found, "seed")


def test_intervals_are_those_of_student() -> None:
    # Quantiles from the tables of Abramowitz and Stegun.
    for freedom, expected in ((1, 12.706), (9, 2.262), (11, 2.201), (30, 2.042), (120, 1.980)):
        assert student(freedom) == pytest.approx(expected, abs=6e-4)
    single = mean_of([4.0])
    assert single is not None
    assert (single.mean, single.half, single.n) == (4.0, None, 1)
    assert mean_of([]) is None


def test_frame(scenario: Scenario) -> None:
    pytest.importorskip("pandas")
    frame = sweep(scenario, GRID, repeat=2, executor=Counting()).frame()
    assert list(frame.columns[:6]) == [
        *("policy.sorter", "workload.load", "seed", "repeat", "status", "error"),
    ]
    assert {"end_s", "finished", "waiting", "wait_p50_s", "use.cpus", "share.a"} <= set(frame)
    assert len(frame) == 12
    assert (frame["share.a"] + frame["share.b"]).between(0, 1).all()


def test_a_frame_says_what_it_needs(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    found = sweep(scenario, {}, executor=Counting())
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match=r"drf-allocator\[lab\]"):
        found.frame()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s.toml"
    path.write_text(
        'cluster.machines = "2x cpus:4"\n[[workload.tenant]]\nname = "a"\njobs = 10\n'
        'rate = "60/h"\ndemand = "cpus:1"\nduration = "2m"\n'
    )
    out = str(tmp_path / "out")
    arguments = ["sweep", str(path), "--grid", "policy.sorter=drf,random", "--repeat", "2"]
    arguments += ["--set", "horizon=1h", "-o", out, "--workers", "1"]
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert first.startswith("4 runs: 4 done, 0 failed\n")
    assert "policy.sorter: differences on the same seeds" in first
    assert "random against drf" in first
    assert main(arguments) == 0
    assert capsys.readouterr().out == first
    with sqlite3.connect(Path(out, "index.sqlite")) as index:
        index.execute("update runs set status = 'failed', error = 'broke', file = null")
    index.close()
    assert main(arguments) == 1
    assert "  policy.sorter=drf seed=0: broke\n" in capsys.readouterr().out
    assert main([*arguments, "--retry-failed"]) == 0


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--grid", "sed=1,2"], "quota.toml: sed: unknown key; expected seed\n1 problems\n"),
        (["--set", "sed=1"], "quota.toml: sed: unknown key; expected seed\n1 problems\n"),
        (["--grid", "seed=1", "--grid", "seed=2"], "allocator sweep: grid 'seed': given twice\n"),
    ],
)
def test_what_the_command_cannot_take(
    options: list[str], error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["sweep", "quota", *options, "-o", str(out)]) == 2
    assert capsys.readouterr() == ("", error)
    assert not out.exists()


def test_dask_finds_the_same_and_survives_a_worker_that_is_killed(
    scenario: Scenario, tmp_path: Path
) -> None:
    distributed = pytest.importorskip("distributed")
    here = sweep(scenario, GRID, repeat=2, executor=Counting())
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True
    )
    with cluster, distributed.Client(cluster) as client:
        killed: list[int] = []

        def progress(n_done: int, n_runs: int) -> None:
            if n_done and not killed:
                killed.append(next(worker.process.pid for worker in cluster.workers.values()))
                os.kill(killed[0], signal.SIGKILL)

        there = sweep(scenario, GRID, repeat=2, executor=client, progress=progress)
        assert killed
        assert told(here) == told(there)
        file = tmp_path / "scenario.toml"
        file.write_text(SCENARIO)
        given = ["--grid", "seed=1,2", "-o", str(tmp_path / "out")]
        address = cluster.scheduler_address
        assert main(["sweep", str(file), *given, "--dask", address]) == 0
        assert [row[3] for row in rows_of(tmp_path / "out")] == ["done", "done"]


SCENARIO = """
horizon = "10m"
[cluster]
machines = "2x cpus:4"
[[workload.tenant]]
name = "a"
rate = "60/h"
demand = "cpus:1"
duration = "exponential 5m"
"""


def test_the_report_needs_nothing_from_elsewhere(scenario: Scenario, tmp_path: Path) -> None:
    found = sweep(scenario, GRID, repeat=2, executor=Counting())
    text = write_report(found, "Two <tenants>", tmp_path).read_text("utf-8")
    assert "Two &lt;tenants&gt;" in text
    for name in ("src=", "href=", "url(", "@import", "<script"):
        assert name not in text
    assert text.count("<tr>") == 1 + 6 + 1 + 3 + 1 + 4  # heads, points, two keys' differences
    assert "policy.sorter: less the same at drf" in text
