"""The whole of it: a published client, a master and an agent with real containers.

`make clients` installs pymesos; without it, or without root and cgroups, these are skips.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.agent.machine import (
    cgroup_of,
    processes_below,
    remove_roots,
    root_name,
    skip_without,
    tree,
    usable_cgroups,
)
from tests.service import serving
from tests.service.serving import PATIENCE_SECONDS, Json, Process
from tests.service.test_real_clients import CLIENTS, PYTHON, SCRIPTS, needs, run

#: As pymesos has it, unmodified.
EXECUTOR = CLIENTS / "examples/executor.py"


class Client:
    """A framework of pymesos, and what it said."""

    def __init__(self, script: str, url: str, *arguments: str) -> None:
        self.popen = subprocess.Popen(
            [PYTHON, SCRIPTS / script, urlsplit(url).netloc, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.said: list[Json] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.popen.kill()
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            assert pipe is not None
            pipe.close()

    def wait(self, event: str, **fields: object) -> Json:
        """Return the next that it says of an event with these fields."""
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            said: Json = json.loads(line)
            self.said.append(said)
            if said["event"] == event and fields.items() <= said.items():
                return said
        raise AssertionError(f"no {event}: {self.said}")

    def begin(self) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()

    def leave(self) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.close()
        self.wait("stopped")


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(0.05)


@pytest.fixture
def root() -> Iterator[str]:
    """Where the agent's cgroups are."""
    needs("pymesos")
    skip_without(usable_cgroups())
    yield root_name()
    remove_roots()


@pytest.fixture
def master(root: str, tmp_path: Path) -> Iterator[Process]:
    given = ("--heartbeat-interval", "0.5", "--allocation-interval", "0.05")
    with serving.master(tmp_path / "master", *given) as process:
        yield process


@pytest.fixture
def agent(master: Process, root: str, tmp_path: Path) -> Iterator[Process]:
    given = ("--master", master.url, "--port", "0", "--work-dir", str(tmp_path / "agent"))
    kind = ("--runtime", "linux", "--cgroups-root", root)
    resources = ("--resources", "cpus:3;mem:2048;disk:0")
    with Process("agent", *given, *kind, *resources, log=tmp_path / "log") as process:
        yield process
        assert process.stop(signal.SIGUSR1) == 0


def namespace(pid: int | str) -> str:
    return os.readlink(f"/proc/{pid}/ns/pid")


def test_a_task_is_in_a_container_of_its_own(master: Process, agent: Process, root: str) -> None:
    with Client("with_pymesos_greedy.py", master.url, "spin", "while :; do :; done", "2") as client:
        client.wait("subscribed")
        client.begin()
        id = client.wait("update", state="TASK_RUNNING")["container"]

        def seconds() -> float:
            (row,) = httpx.get(f"{agent.url}/containers").json()
            found = row["statistics"]
            return float(found["cpus_user_time_secs"] + found["cpus_system_time_secs"])

        (row,) = httpx.get(f"{agent.url}/containers").json()
        assert row["container_id"] == id
        below = tree(row["status"]["executor_pid"])
        assert len(below) >= 2
        for pid in below:
            paths = cgroup_of(pid)
            assert paths.get("memory", paths.get("")) == f"/{root}/{id}"
            assert namespace(pid) != namespace("self")
        before = seconds()
        until(lambda: seconds() > before + 0.2)
        client.leave()
    until(lambda: not httpx.get(f"{agent.url}/containers").json())
    assert processes_below(root) == set()
    assert not [*Path("/sys/fs/cgroup").glob(f"*/{root}/{id}")]
    assert not any(Path(f"/proc/{pid}").exists() for pid in below)
    with Client("with_pymesos_greedy.py", master.url, "next", "true", "3") as client:
        client.begin()  # all that there is
        client.wait("update", state="TASK_FINISHED")
        client.leave()


def test_shares_are_as_weights(master: Process, agent: Process) -> None:
    weights = [{"role": "one", "weight": 1.0}, {"role": "two", "weight": 2.0}]
    assert httpx.put(f"{master.url}/weights", json=weights).status_code == 200
    given = (master.url,)
    with (
        Client("with_pymesos_greedy.py", *given, "one", "sleep 1000", "0.1") as one,
        Client("with_pymesos_greedy.py", *given, "two", "sleep 1000", "0.1") as two,
    ):
        for client in (one, two):
            client.wait("subscribed")
        for client in (one, two):
            client.begin()

        def n_running() -> dict[str, int]:
            state = httpx.get(f"{master.url}/state").json()
            return {
                framework["name"]: sum(t["state"] == "TASK_RUNNING" for t in framework["tasks"])
                for framework in state["frameworks"]
            }

        until(lambda: sum(n_running().values()) == 30)
        assert n_running() == {"one": 10, "two": 20}
        for client in (one, two):
            client.leave()


def test_the_example_executor_of_pymesos(master: Process, agent: Process, tmp_path: Path) -> None:
    if not EXECUTOR.exists():
        pytest.skip("the example of pymesos is not there: make clients")
    said = run(PYTHON, SCRIPTS / "with_pymesos_executor.py", urlsplit(master.url).netloc, EXECUTOR)
    told: dict[str, list[str]] = {}
    for each in said:
        if each["event"] == "update":
            told.setdefault(each["task"], []).append(each["state"])
    assert told == {id: ["TASK_RUNNING", "TASK_FINISHED"] for id in ("t1", "t2")}
    runs = "agents/*/frameworks/*/executors/MinimalExecutor/runs/latest"
    (sandbox,) = (tmp_path / "agent").glob(runs)
    heard = (sandbox / "stderr").read_text()
    assert "Hello from t1!" in heard
    assert "Hello from t2!" in heard
    until(lambda: not httpx.get(f"{agent.url}/containers").json())
    state = httpx.get(f"{master.url}/state").json()
    (slave,) = state["slaves"]
    assert slave["used_resources"]["cpus"] == 0
