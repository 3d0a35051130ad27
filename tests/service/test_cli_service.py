"""The commands that talk to a master: real processes on both sides."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service import serving
from tests.service.launching import run
from tests.service.serving import FrameworkClient, Process


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def master(folder: Path) -> Iterator[Process]:
    with serving.master(folder / "m", "--allocation-interval", "0.1") as process:
        yield process


@pytest.fixture(scope="module")
def agents(master: Process, folder: Path) -> Iterator[Process]:
    given = ("--master", master.url, "--port", "0", "--runtime", "null", "--count", "2")
    resources = ("--resources", "cpus:4;mem:1024;disk:0", "--hostname", "n")
    with Process("agent", *given, *resources, log=folder / "agent.log") as process:
        wait_until(lambda: len(listed(master, "agents")) == 2)
        yield process


def command(master: Process, *arguments: str) -> subprocess.CompletedProcess[str]:
    return serving.run(*arguments, "--master", master.url)


def listed(master: Process, *arguments: str) -> Any:
    """Return what a command writes as JSON."""
    done = command(master, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def wait_until(holds: Any) -> None:
    deadline = time.monotonic() + serving.PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_framework_runs_a_command_many_times(master: Process, agents: Process) -> None:
    done = command(
        master, "framework", "run", "--command", "true", "--count", "30", "--role", "eng"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("30 finished in ")
    told = listed(master, "framework", "run", "--command", "sleep 0.1", "--count", "3")
    assert (told["finished"], told["failed"], told["failures"]) == (3, 0, {})
    tasks = listed(master, "tasks", "--completed", "--framework", told["framework_id"])
    assert [task["state"] for task in tasks] == ["TASK_FINISHED"] * 3
    assert listed(master, "status")["frameworks"] == {"connected": 0, "registered": 0}


def test_a_framework_whose_tasks_fail(tmp_path: Path) -> None:
    with serving.master(tmp_path / "m", "--allocation-interval", "0.1") as process:
        given = ("--master", process.url, "--port", "0", "--work-dir", str(tmp_path / "work"))
        given += ("--runtime", "process")
        with Process("agent", *given, "--resources", "cpus:4", log=tmp_path / "log") as agent:
            done = command(process, "framework", "run", "--command", "exit 3", "--count", "2")
            assert done.returncode == 1
            assert done.stdout.startswith("2 failed in ")
            assert done.stderr == "  2 × Command exited with status 3\n"
            agent.stop()


def test_ctrl_c_takes_a_framework_down(master: Process, agents: Process) -> None:
    given = ("framework", "run", "--command", "for ever")
    started = subprocess.Popen(
        [sys.executable, "-m", "allocator", *given, "--master", master.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: "TASK_RUNNING" in listed(master, "status")["tasks"])
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=serving.PATIENCE_SECONDS)
    assert (started.returncode, out, err) == (130, "", "")
    wait_until(lambda: not listed(master, "tasks"))


def test_tables_have_what_json_has(master: Process, agents: Process) -> None:
    with FrameworkClient(master.url, roles=["eng/a"]) as framework:
        run(framework, t1="for ever")
        framework.wait("UPDATE")
        rows = command(master, "tasks").stdout.splitlines()
        (row,) = (line.split() for line in rows if line.startswith("t1 "))
        assert row[1] == "running"
        assert row[2] == framework.framework_id
        assert row[4] == "cpus:0.1"
        rows = command(master, "agents").stdout.splitlines()
        assert [line.split()[0] for line in rows if line.startswith("n-")] == ["n-0", "n-1"]
        assert any("0.1/4" in line for line in rows)
        roles = {role["name"]: role for role in listed(master, "roles")}
        assert roles["eng/a"]["frameworks"] == [framework.framework_id]
        assert "eng/a" in command(master, "roles").stdout
        status = command(master, "status").stdout
        assert "agents      2 active of 2" in status
        assert "TASK_RUNNING" in status
        framework.send("TEARDOWN")


def test_quota_and_weights_are_set(master: Process, agents: Process) -> None:
    assert command(master, "weights", "set", "eng=2", "ops=0.5").returncode == 0
    assert listed(master, "weights") == [
        {"role": "eng", "weight": 2.0},
        {"role": "ops", "weight": 0.5},
    ]
    assert "eng" in command(master, "weights").stdout
    given = ("--guarantee", "cpus:2;mem:64", "--limit", "cpus:6")
    assert command(master, "quota", "set", "ops", *given).returncode == 0
    assert listed(master, "quota") == [
        {"role": "ops", "guarantees": {"cpus": 2.0, "mem": 64.0}, "limits": {"cpus": 6.0}}
    ]
    row = next(line for line in command(master, "quota").stdout.splitlines() if "ops" in line)
    assert row.split() == ["ops", "cpus:2;mem:64", "cpus:6"]
    done = command(master, "quota", "set", "ops", "--guarantee", "cpus:1000")
    assert done.returncode == 2
    assert "cpus" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (
        command(master, "quota", "set", "ops", "--guarantee", "cpus:1000", "--force").returncode
        == 0
    )
    assert command(master, "quota", "unset", "ops").returncode == 0
    assert listed(master, "quota") == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["status", "--master", "http://127.0.0.1:1"], "allocator master"),
        (["status", "--master", "nowhere"], "nowhere"),
        (["weights", "set", "eng"], "eng=2"),
        (["quota", "set", "eng"], "--guarantee"),
        (["quota", "set", "eng", "--limit", "cpus"], "--limit"),
        (["framework", "run", "--command", "x", "--task", "cpus"], "--task"),
        (["framework", "run", "--command", "x", "--role", "a//b"], "a//b"),
        (["framework", "run", "--command", "x", "--master", "http://127.0.0.1:1"], "refused"),
        (["tasks", "--credential", "/nowhere"], "/nowhere"),
    ],
)
def test_errors_say_what_to_do(arguments: list[str], text: str) -> None:
    assert text in serving.refused(*arguments).stderr.splitlines()[-1]


def test_who_asks_must_be_known(tmp_path: Path) -> None:
    file, own = serving.credentials(tmp_path, "ops", "s3cret"), tmp_path / "credential"
    own.touch(0o600)
    own.write_text('{"principal":"ops","secret":"s3cret"}')
    with serving.master(tmp_path / "m", "--credentials", str(file)) as process:
        done = command(process, "status")
        assert done.returncode == 2
        assert "--credential FILE" in done.stderr
        assert listed(process, "status", "--credential", str(own))["agents"]["registered"] == 0
        given = ("--master", process.url, "--runtime", "null", "--port", "0")
        with Process("agent", *given, "--credential", str(own), log=tmp_path / "log") as agent:
            wait_until(lambda: listed(process, "agents", "--credential", str(own)))
            agent.stop()
            assert "s3cret" not in agent.log.read_text()
