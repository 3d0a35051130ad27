"""`allocator simulate` as a user meets it: tables, JSON, exit status, one line for bad input."""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from allocator.cli.console import print_line, print_table, progress_bar
from allocator.cli.main import main
from allocator.cli.overrides import amounts, duration, weights
from allocator.sim import Scenario
from allocator.sim.scenario import SHIPPED

HEADER = "; MaxNodes: 2\n; MaxProcs: 8\n; Queue: 1 night\n"
JOBS = "".join(
    f"{i} {10 * i} {i} 60 3 -1 -1 3 90 -1 1 {i % 30} 1 -1 1 -1 -1 -1\n" for i in range(1, 100)
)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "log.swf.gz"
    path.write_bytes(gzip.compress((HEADER + JOBS).encode()))
    return path


def run(*args: object) -> int:
    return main(["simulate", *map(str, args)])


def rows(output: str, title: str) -> dict[str, list[str]]:
    """The first word of each row of a table -> the other words."""
    lines = output.partition(f"\n{title}\n")[2].split("\n\n")[0].splitlines()[2:]
    return {line.split()[0]: line.split()[1:] for line in lines}


def test_what_is_printed(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(trace) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    assert "log.swf.gz (swf): 99 jobs of 30 tenants, submitted over 16m 20s\n" in output
    assert "cluster: 2 machines (the header: MaxNodes 2, MaxProcs 8)\n  2xcpus:4\n" in output
    top = rows(output, "Top-level roles, each with all below it")
    assert top["night"][0] == "1"
    assert top["night"][5:7] == ["99", "297"]
    assert rows(output, "All jobs")["recorded"][0] == "99"
    assert (
        rows(output, "Cluster, as used by running tasks (mean: while jobs arrive)")["cpus"][0]
        == "8"
    )
    assert "cycles skipped" in output
    # 30 roles: the largest 20, and one line for the rest.
    own = rows(output, "Roles with frameworks")
    assert len([role for role in own if role.startswith("night/user")]) == 20
    assert own["10"][:2] == ["others", "(--all-roles)"]


def test_all_roles(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(trace, "--all-roles") == 0
    output = capsys.readouterr().out
    assert len([line for line in output.splitlines() if line.startswith("night/user")]) == 30
    assert "others" not in output


def test_the_output_depends_on_the_seed_alone(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def found(seed: object) -> tuple[str, dict[str, Any]]:
        assert run(trace, "--seed", seed, "--json", tmp_path / "out.json") == 0
        data = json.loads((tmp_path / "out.json").read_text("utf-8"))
        timing = {"wall_s", "cycles_s", "cycle_p50_us", "cycle_p99_us", "engine_s"}
        assert set(data.pop("timing")) == timing
        return capsys.readouterr().out.partition("Measured on this machine")[0], data

    assert found(1) == found(1)
    assert found(1)[1] != found("other")[1]


def test_json(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = ["--weights", "night=2,night/user1=3", "--weights", "night/user2=0.5"]
    assert run(trace, *options, "--horizon", "5m", "--no-gang", "--json", out) == 0
    data = json.loads(out.read_text("utf-8"))
    assert data["options"]["weights"] == {"night": 2.0, "night/user1": 3.0, "night/user2": 0.5}
    assert (data["options"]["horizon_s"], data["options"]["gang"]) == (300.0, False)
    assert data["end_s"] == 300.0
    counts = data["counts"]
    parts = ("finished", "running", "waiting", "never_fits")
    assert counts["submitted"] == sum(counts[part] for part in parts) == 31
    assert {role["role"]: role["weight"] for role in data["roles"]}["night/user1"] == 3.0
    assert data["recorded"]["jobs"] == 99
    assert set(data) == {
        *("trace", "options", "cluster", "defects", "arrivals_s", "end_s", "counts", "waits"),
        *("use", "recorded", "roles", "cycles", "fairness", "series", "tasks_lost", "timing"),
    }


def test_machines_and_scale(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(trace, "--machines", "4xcpus:2;mem:1024", "--scale", "0.5", "--sorter", "naive") == 0
    output = capsys.readouterr().out
    assert "(4xcpus:2;mem:1024; scaled by 0.5)\n  2xcpus:2;mem:1024\n" in output


def test_a_built_in_workload(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--workload", "mesos", "--scale", "0.5") == 0
    assert "40 machines (built in; scaled by 0.5)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["{dir}/none.swf"], "{dir}/none.swf: no such file"),
        (["{dir}/bad.swf"], "{dir}/bad.swf:4: 3 fields instead of 18"),
        (
            ["{dir}/cut.swf"],
            "{dir}/cut.swf:1: truncated gzip: the file ends in the middle of its data",
        ),
        (["{dir}/odd"], "{dir}/odd:1: unknown format"),
        (["{dir}/odd", "--format", "dlrm"], "{dir}/odd:1: no column 'instance_sn' in header"),
        (["{trace}", "--machines", "{dir}/none"], "{dir}/none: no such file"),
        (["{trace}", "--machines", "2xcpus"], "2xcpus: no such file"),
        (["{trace}", "--machines", "2xcpus:x"], "resource 'cpus:x'"),
        (["{trace}", "--weights", "day=2"], "weight of role 'day': the trace has no such role"),
        (["{trace}", "--weights", "day=2,day=3"], "weight of role 'day': given twice, 2 and 3"),
        (
            ["{trace}", "--weights", "night=2", "--weights", "night=2"],
            "weight of role 'night': given twice, 2 and 2",
        ),
        (["-", "--machines", "-"], "standard input can be read once only"),
        (["{trace}", "--scale", "0"], "scale 0.0: not a positive number"),
        (["{trace}", "--horizon", "0"], "horizon 0.0: not a positive number of seconds"),
        (["--workload", "mesos", "--machines", "x"], "--machines and --format go with a trace"),
        (
            ["{trace}", "--json", "{dir}/no/such/folder.json"],
            "{dir}/no/such/folder.json: No such file",
        ),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    args: list[str],
    message: str,
    trace: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bad.swf").write_text(HEADER + "1 2 3\n" + JOBS)
    (tmp_path / "cut.swf").write_bytes(trace.read_bytes()[:40])
    (tmp_path / "odd").write_text("what,is,this\n")
    names = {"dir": str(tmp_path), "trace": str(trace)}
    assert run(*[arg.format(**names) for arg in args]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"allocator simulate: {message.format(**names)}")
    assert errors.count("\n") == 1


def test_lenient(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.swf"
    path.write_text(HEADER + "1 2 3\n" + JOBS)
    assert run(path, "--lenient") == 0
    output = capsys.readouterr().out
    assert rows(output, "Oddities of the input, and what was done")["malformed"][-1] == "1"


@pytest.mark.parametrize(
    "args", [[], ["x", "--workload", "mesos"], ["x", "--interval", "soon"], ["x", "--weights", "a"]]
)
def test_wrong_arguments(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*args)
    assert caught.value.code == 2
    assert "allocator simulate: error:" in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("--help")
    assert "allocator simulate --workload mesos" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5h", 5400), ("30d", 2592000), ("2m", 120), (".5s", 0.5), ("1w", 604800)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1", "1y", "nan", "1e3", "1h 30m"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a time"):
        duration(text)


def test_weights() -> None:
    assert weights("eng=2, eng/prod=0.5") == [("eng", 2.0), ("eng/prod", 0.5)]


@pytest.mark.parametrize("text", ["eng", "=2", "eng=", "eng=two", "eng=1,"])
def test_bad_weights(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="ROLE=WEIGHT"):
        weights(text)


# Scenarios.

SCENARIO = """\
title = "Small"
seed = 3
horizon = "1h"
[cluster]
machines = "2x cpus:4;mem:1000"
[roles.b]
weight = 2
[[workload.tenant]]
name = "a"
rate = "60/h"
demand = "cpus:1"
duration = "exponential 5m"
[[workload.tenant]]
name = "b"
rate = "60/h"
demand = "cpus:1"
duration = "exponential 5m"
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SCENARIO)
    return path


def found(tmp_path: Path, *args: object) -> dict[str, Any]:
    assert run(*args, "--json", tmp_path / "out.json") == 0
    data: dict[str, Any] = json.loads((tmp_path / "out.json").read_text("utf-8"))
    data.pop("timing")
    return data


def test_a_scenario(scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = found(tmp_path, scenario)
    output = capsys.readouterr().out
    assert output.startswith("Small (synthetic): ")
    assert "cluster: 2 machines (the scenario)" in output
    assert data["options"]["weights"] == {"b": 2.0}
    assert data["options"]["scenario"]["seed"] == 3
    assert data["end_s"] == 3600.0
    packed = tmp_path / "packed.toml.gz"
    packed.write_bytes(gzip.compress(SCENARIO.encode()))
    assert found(tmp_path, packed) == data


def test_options_override_keys(scenario: Path, tmp_path: Path) -> None:
    plain = ["--weights", "a=3,b=0.5", "--sorter", "naive", "--horizon", "30m", "--seed", "x"]
    plain += ["--quota", "a=cpus:2", "--quota", "b=cpus:1;mem:10", "--limit", "b=cpus:3;mem:10"]
    plain += ["--fairness-exclude", "mem", "--min-allocatable", "cpus:0.1", "--interval", "2s"]
    plain += ["--machines", "3x cpus:8", "--machines", "1x cpus:2;mem:1000", "--scale", "2"]
    plain += ["--no-gang", "--refuse-seconds", "1m"]
    sets = {
        "roles.a.weight": "3",
        "roles.b.weight": "0.5",
        "policy.sorter": "naive",
        "horizon": "1800.0",
        "seed": "x",
        "roles.a.guarantee": "cpus:2",
        "roles.b.guarantee": "cpus:1;mem:10",
        "roles.b.limit": "cpus:3;mem:10",
        "policy.fairness_exclude": '["mem"]',
        "policy.min_allocatable": '["cpus:0.1"]',
        "policy.interval": "2.0",
        "cluster.machines": '["3x cpus:8", "1x cpus:2;mem:1000"]',
        "cluster.scale": "2.0",
        'tenants."*".gang': "false",
        "tenants.*.refuse": "60.0",
    }
    by_plain = found(tmp_path, scenario, *plain)
    by_set = found(tmp_path, scenario, *(f"--set={key}={value}" for key, value in sets.items()))
    assert by_plain == by_set
    assert by_plain["options"]["scenario"]["roles"]["b"] == {
        "weight": 0.5,
        "guarantee": "cpus:1;mem:10",
        "limit": "cpus:3;mem:10",
    }
    assert by_plain["cluster"]["machines"] == 8
    # The last one counts, and `--set` after the plain ones.
    again = [*plain, "--set", "seed=1", "--set", "seed=2"]
    assert found(tmp_path, scenario, *again)["options"]["seed"] == 2


def test_options_of_traces_override_too(trace: Path, tmp_path: Path) -> None:
    plain = found(tmp_path, trace, "--weights", "night=2", "--no-gang")
    keys = ("--set", "roles.night.weight=2.0", "--set", "tenants.*.gang=false")
    assert found(tmp_path, trace, *keys) == plain
    assert plain["options"]["scenario"]["workload"] == {"trace": "log.swf.gz"}


def test_machines_are_named_relative_to_where_one_stands(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    Path("nodes").write_text("5x cpus:4\n")
    assert found(tmp_path, "../small.toml", "--machines", "nodes")["cluster"]["machines"] == 5
    assert run(scenario, "--machines", "nodes", "--machines", "1x cpus:2") == 2


def test_what_a_name_names(
    trace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quota").write_bytes(trace.read_bytes())
    assert run("quota") == 0
    assert capsys.readouterr().out.startswith("quota (swf): 99 jobs")
    Path("quota").unlink()
    assert run("./quota") == 2
    assert capsys.readouterr().err.startswith("allocator simulate: ./quota: no such file")
    assert run("quotas") == 2
    assert "no scenario of this name is shipped: starvation, quota" in capsys.readouterr().err
    # A shipped one, made short.
    assert run("quota", "--horizon", "1m") == 0
    assert capsys.readouterr().out.startswith(Scenario.load("quota").title)
    Path("quota.toml").write_text(SCENARIO)
    assert run("quota.toml") == 0
    assert capsys.readouterr().out.startswith("Small")
    assert "quota" in SHIPPED


def test_all_problems_of_a_scenario_are_told(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario.write_text(SCENARIO.replace("weight = 2", 'weight = "2"').replace("rate", "rat", 1))
    assert run(scenario, "--set", "policy.sorterr=drf", "--quota", "a=cpus:9") == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.splitlines() == [
        f"{scenario}:7: roles.b.weight: '2'; expected a number from 1e-09 to 1e+09",
        f'{scenario}:8: workload.tenant[0].rate: nothing; expected a rate such as "20/h", or '
        'arrivals = "at-once"',
        f"{scenario}:10: workload.tenant[0].rat: unknown key; expected rate",
        f"{scenario}: policy.sorterr: unknown key; expected sorter",
        f"{scenario}: roles.a.guarantee: cpus:9; expected at most cpus:8, which the cluster has",
        "5 problems",
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["{scenario}", "--weights", "c=2"], "weight of role 'c': the trace has no such role"),
        (["{scenario}", "--quota", "a=cpus:1", "--quota", "a=cpus:2"], "quota of role 'a': given"),
        (["{scenario}", "--set", "sed=4"], "{scenario}: sed: unknown key; expected seed"),
        (["{dir}/none.toml"], "{dir}/none.toml: no such file; expected a file, or one of"),
    ],
)
def test_what_a_scenario_cannot_take(
    args: list[str],
    message: str,
    scenario: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = {"dir": str(tmp_path), "scenario": str(scenario)}
    assert run(*[arg.format(**names) for arg in args]) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.removeprefix("allocator simulate: ").startswith(message.format(**names))


@pytest.mark.parametrize("text", ["", "eng", "=cpus:1", "eng="])
def test_bad_amounts(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not of the form ROLE=cpus:4"):
        amounts(text)


# What all subcommands print with.


def test_tables_are_plain_and_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("[bold]", ["name", "n"], [["[red]x[/]", "1"], ["y" * 200, "20"]])
    title, header, rule, first, second = capsys.readouterr().out.splitlines()[1:6]
    assert title == "[bold]"
    assert header.split() == ["name", "n"]
    assert len(rule) == len(header) == len(first) == len(second)
    assert first.split() == ["[red]x[/]", "1"]
    assert second == "y" * 200 + "   20"


def test_names_move_no_cursor_of_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("told", ["name"], [["\x1b[31mred\n\x07"]])
    print_line("two\nlines, \x9b2J")
    out = capsys.readouterr().out
    assert out.splitlines()[-3:] == [r"\x1b[31mred\n\x07", "two", r"lines, \x9b2J"]


def test_no_progress_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("cycles", total=2) as advance:
        advance()
        advance(1.0)
    assert capsys.readouterr() == ("", "")
