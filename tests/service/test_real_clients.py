"""Frameworks written for Mesos, by clients as published: pymesos, mesoshttp, mesos-framework.

`make clients` installs them; one that is not there is a skip.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.service import serving
from tests.service.serving import Process

CLIENTS = Path(os.environ.get("ALLOCATOR_CLIENTS", Path(__file__).parents[2] / ".clients"))
SCRIPTS = Path(__file__).parent / "clients"
PYTHON = CLIENTS / "python/bin/python"
NODE = shutil.which("node")

Json = serving.Json


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("cluster")
    # mesoshttp reads a record when the next one begins: with each heartbeat, if nothing else comes.
    with (
        serving.master(folder / "master", "--heartbeat-interval", "0.5") as process,
        serving.agent(folder / "agent", process.url, "--resources", "cpus:4;mem:1024"),
    ):
        yield process


def run(*arguments: str | Path, env: dict[str, str] | None = None) -> list[Json]:
    """Run a framework; return what it said before it was torn down."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        timeout=4 * serving.PATIENCE_SECONDS,
        env={**os.environ, **(env or {})},
        check=False,
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"event": "stopped"} in said, done.stdout + done.stderr
    return said


def check(master: Process, said: list[Json], name: str) -> None:
    """Check that three tasks finished and were acknowledged, and that the framework is gone."""
    assert said[0]["event"] == "subscribed"
    states: dict[str, list[str]] = {}
    for told in said:
        if told["event"] == "update":
            states.setdefault(told["task"], []).append(told["state"])
    assert len(states) == 3
    for seen in states.values():
        steps = [state for state in seen if state != "TASK_STARTING"]
        assert steps == ["TASK_RUNNING", "TASK_FINISHED"]
    state = httpx.get(f"{master.url}/state").json()
    (framework,) = [f for f in state["completed_frameworks"] if f["name"] == name]
    assert framework["id"] == said[0]["framework_id"]
    done = [task["state"] for task in framework["completed_tasks"]]
    assert done == ["TASK_FINISHED"] * 3
    assert framework["tasks"] == []


def needs(module: str) -> None:
    has = PYTHON.exists() and subprocess.run([PYTHON, "-c", f"import {module}"], check=False)
    if not has or has.returncode != 0:
        pytest.skip(f"{module} is not installed: make clients")


# Asked for before the master, which is not started for a skip.


@pytest.fixture(scope="module")
def pymesos() -> None:
    needs("pymesos")


@pytest.fixture(scope="module")
def mesoshttp() -> None:
    needs("mesoshttp")


@pytest.fixture(scope="module")
def node() -> str:
    if NODE is None or not (CLIENTS / "node_modules/mesos-framework").exists():
        pytest.skip("mesos-framework is not installed: make clients")
    return NODE


def test_pymesos(pymesos: None, master: Process) -> None:
    check(master, run(PYTHON, SCRIPTS / "with_pymesos.py", urlsplit(master.url).netloc), "pymesos")


def test_mesoshttp(mesoshttp: None, master: Process) -> None:
    check(master, run(PYTHON, SCRIPTS / "with_mesoshttp.py", master.url), "mesoshttp")


def test_mesos_framework(node: str, master: Process, tmp_path: Path) -> None:
    address = urlsplit(master.url)
    said = run(
        node,
        SCRIPTS / "with_mesos_framework.js",
        str(address.hostname),
        str(address.port),
        tmp_path,
        env={"NODE_PATH": str(CLIENTS / "node_modules")},
    )
    check(master, said, "mesos-framework")
