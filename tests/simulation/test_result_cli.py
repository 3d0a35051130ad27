"""`allocator simulate`: what it writes, shows, and tells when it is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from allocator.cli import simulate as command
from allocator.cli.interrupting import interruption
from allocator.cli.main import main
from allocator.sim import Result, Scenario, simulate

TOML = """
title = "One tenant"
horizon = "{horizon}"
[cluster]
machines = ["4x cpus:4;mem:4000"]
[[workload.tenant]]
name = "a"
rate = "{rate}"
demand = "cpus:1;mem:500"
duration = "exponential 20m"
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "one.toml"
    path.write_text(TOML.format(horizon="3h", rate="60/h"))
    return path


def run(*args: object) -> int:
    return main(["simulate", "--no-progress", *map(str, args)])


def test_a_folder_a_file_and_pictures(scenario: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("matplotlib")
    out, plots, file = tmp_path / "out", tmp_path / "plots", tmp_path / "all.json"
    assert run(scenario, "-o", out, "--plots", plots, "--json", file, "--points", 9) == 0
    loaded = Result.load(out)
    assert loaded.to_json() == json.loads(file.read_text()) != {}
    assert len(loaded.to_json()["series"]["start_s"]) <= 9
    assert {path.suffix for path in plots.iterdir()} == {".svg", ".png"}
    assert {"shares.svg", "roles.png"} <= {path.name for path in plots.iterdir()}
    expected = simulate(Scenario.load(scenario), points=9)
    assert loaded.series_frame().equals(expected.series_frame())
    assert run(scenario, "--output", out) == 0


@pytest.mark.parametrize("points", ["0", "-1", "x", "1.5"])
def test_points_are_a_positive_number(
    scenario: Path, points: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(scenario, f"--points={points}")
    assert f"--points: '{points}' is no positive integer" in capsys.readouterr().err


def test_a_folder_with_something_else_is_refused_before_the_run(
    scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(command, "simulate", lambda *args, **given: pytest.fail("it ran"))
    assert run(scenario, "-o", tmp_path) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        f"allocator simulate: {tmp_path}: holds something else than a result, which is kept"
    ]


def test_what_is_missing_is_told_before_the_run(
    scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(command, "simulate", lambda *args, **given: pytest.fail("it ran"))
    for module, option in (("pyarrow.parquet", "-o"), ("matplotlib", "--plots")):
        monkeypatch.setitem(sys.modules, module, None)
        assert run(scenario, option, tmp_path / "out") == 2
        assert "drf-allocator[lab], which is not installed" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_report_is_shown_in_a_browser(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(command.webbrowser, "open", lambda url: opened.append(url) or True)
    assert run(scenario, "--open") == 0
    alone = Path(opened[0].removeprefix("file://"))
    assert 'id="verdict"' in alone.read_text("utf-8")
    pytest.importorskip("pyarrow")
    assert run(scenario, "--open", "-o", tmp_path / "out") == 0
    assert opened[1] == (tmp_path / "out" / "report.html").as_uri()


# Ctrl-C.


def test_false_from_progress_ends_a_run_there() -> None:
    scenario = Scenario.load("starvation")
    told: list[tuple[float, float]] = []

    def progress(part: float, now_s: float) -> bool:
        told.append((part, now_s))
        return len(told) < 5

    cut = simulate(scenario, progress=progress)
    assert len(told) == 5
    assert cut.end_s == told[-1][1]
    # The same as with a horizon there.
    whole = simulate(scenario.with_(horizon=cut.end_s))
    series = cut.to_json()["series"]
    assert series == whole.to_json()["series"]
    assert cut.counts == whole.counts


def test_only_the_first_interrupt_is_noted() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruption() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_gives_the_report_so_far(tmp_path: Path) -> None:
    path, file = tmp_path / "long.toml", tmp_path / "so-far.json"
    path.write_text(TOML.format(horizon="500d", rate="40/h"))
    command: list[Any] = [sys.executable, "-m", "allocator", "simulate", path, "--json", file]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    # It takes SIGINT for its own once it simulates; before, it just ends.
    deadline = time.monotonic() + 60
    status = Path(f"/proc/{process.pid}/status")
    while time.monotonic() < deadline and process.poll() is None:
        caught = int(status.read_text().split("SigCgt:")[1].split()[0], 16)
        if caught & 1 << (signal.SIGINT - 1):
            break
        time.sleep(0.05)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "interrupted after" in err
    assert "All jobs" in out
    data = json.loads(file.read_text())
    assert 0 < data["end_s"] < 500 * 86400
    assert data["counts"]["submitted"] > 0
