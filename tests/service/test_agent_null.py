"""The null runtime: one process that is many agents, against a real master."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service import serving
from tests.service.launching import launch, next_states, task
from tests.service.serving import FrameworkClient, Json, Process


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serving.master(tmp_path_factory.mktemp("master")) as process:
        yield process


def null_agents(master: Process, folder: Path, *more: str) -> Process:
    given = ("--master", master.url, "--runtime", "null", "--port", "0", *more)
    return Process("agent", *given, log=folder / "agent.log")


def test_commands_end_as_they_say(master: Process, tmp_path: Path) -> None:
    with (
        null_agents(master, tmp_path, "--count", "3", "--hostname", "n") as agents,
        FrameworkClient(master.url) as framework,
    ):
        offers: list[Json] = []
        while len(offers) < 3:
            offers += framework.wait("OFFERS")["offers"]["offers"]
        assert sorted(offer["hostname"] for offer in offers) == ["n-0", "n-1", "n-2"]
        commands = {"t": "true", "s": "sleep 0.2", "u": "make"}
        agent_id = offers[0]["agent_id"]
        launch(framework, offers[0], *(task(id, each, agent_id) for id, each in commands.items()))
        states = next_states(framework, 5)
        assert states["t"] == states["s"] == ["TASK_RUNNING", "TASK_FINISHED"]
        assert states["u"] == ["TASK_RUNNING"]
        metrics = httpx.get(f"{agents.url}/slave(1)/metrics/snapshot.json").json()
        assert metrics["slave/tasks_running"] == 1
        assert metrics["slave/tasks_finished"] == 2
        framework.send("KILL", task_id={"value": "u"})
        assert next_states(framework, 1) == {"u": ["TASK_KILLED"]}
        framework.send("TEARDOWN")
        assert agents.stop() == 0


def test_its_own_paths(master: Process, tmp_path: Path) -> None:
    with null_agents(master, tmp_path) as agent:
        assert (r := httpx.get(f"{agent.url}/agent/health")).status_code == 200
        assert r.content == b""
        state = httpx.get(f"{agent.url}/state.json/").json()
        assert state["hostname"].endswith("-0")
        assert {"cpus", "gpus", "mem", "disk"} <= state["resources"].keys()
        version = httpx.get(f"{agent.url}/version?jsonp=f")
        assert version.headers["content-type"] == "text/javascript"
        assert version.text.startswith("f({")
        r = httpx.post(f"{agent.url}/state")
        assert (r.status_code, r.headers["allow"]) == (405, "GET, HEAD")
        assert httpx.get(f"{agent.url}/nowhere").status_code == 404
        assert httpx.get(f"{agent.url}/state?jsonp=1").status_code == 400


def test_an_idle_agent_is_small(master: Process, tmp_path: Path) -> None:
    with null_agents(master, tmp_path) as agent:
        status = Path(f"/proc/{agent.pid}/status").read_text()
        (resident,) = (line.split()[1] for line in status.splitlines() if "VmRSS" in line)
        assert int(resident) <= 40 * 1024
        maps = Path(f"/proc/{agent.pid}/maps").read_text()
        assert "numpy" not in maps
        assert "allocator/engine" not in maps
