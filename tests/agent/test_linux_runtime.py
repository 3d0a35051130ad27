"""The Linux runtime: what tasks of a real agent are limited to, and what the kernel is asked."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from allocator.agent.containers.cgroups import Cgroups
from tests.agent.machine import (
    PATIENCE_SECONDS,
    cgroup_of,
    is_gone,
    processes_below,
    remove_roots,
    root_name,
    skip_without,
)
from tests.service import serving
from tests.service.launching import launch, next_offer, next_status, run, task
from tests.service.serving import FrameworkClient, Json, Process


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("master")
    with serving.master(folder, "--allocation-interval", "0.1") as process:
        yield process


@pytest.fixture
def name(found: Cgroups | str) -> Iterator[str]:
    """Where the agent's cgroups are."""
    skip_without(found)
    yield root_name()
    remove_roots()


def start_agent(master: Process, folder: Path, name: str, *more: str) -> Process:
    given = ("--master", master.url, "--port", "0", "--work-dir", str(folder / "work"))
    kind = ("--runtime", "linux", "--cgroups-root", name, "--resources", "cpus:4;mem:1024;disk:0")
    return Process("agent", *given, *kind, *more, log=folder / "log")


@pytest.fixture
def framework(master: Process) -> Iterator[FrameworkClient]:
    with FrameworkClient(master.url, user="", failover_timeout=60) as client:
        yield client
        client.send("TEARDOWN")


def scalar(name: str, amount: float) -> Json:
    return {"name": name, "type": "SCALAR", "scalar": {"value": amount}}


def running(framework: FrameworkClient, status: Json) -> str:
    """Return the container of a task that runs."""
    assert status["state"] == "TASK_RUNNING", status
    return str(status["container_status"]["container_id"]["value"])


def wait_until_gone(name: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while processes_below(name):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_task_is_limited_to_what_it_was_offered(
    master: Process, framework: FrameworkClient, tmp_path: Path, name: str, found: Cgroups
) -> None:
    if found.kind == "v2":
        pytest.skip("limits are v1's here")
    with start_agent(master, tmp_path, name, "--pids_limit", "77") as agent:
        offer = next_offer(framework)
        limits = {"mem": {"value": 128}, "cpus": {"value": 2}}
        info = task("t", "sleep 1000", offer["agent_id"], limits=limits)
        info["resources"] = [scalar("cpus", 0.5), scalar("mem", 64)]
        launch(framework, offer, info)
        id = running(framework, next_status(framework))
        of = {
            controller: found.hierarchies[found.of(controller)].path
            for controller in ("cpu", "memory", "pids")
        }
        values = {
            file: (of[file.partition(".")[0]] / name / id / file).read_text().strip()
            for file in (
                "cpu.shares",
                "cpu.cfs_quota_us",
                "memory.limit_in_bytes",
                "memory.soft_limit_in_bytes",
                "pids.max",
            )
        }
        assert values == {
            "cpu.shares": "512",
            "cpu.cfs_quota_us": "200000",
            "memory.limit_in_bytes": str(128 * 2**20),
            "memory.soft_limit_in_bytes": str(64 * 2**20),
            "pids.max": "77",
        }
        (pid, *_) = processes_below(name)
        assert cgroup_of(pid)["memory"] == f"/{name}/{id}"
        assert agent.stop(signal.SIGUSR1) == 0
    wait_until_gone(name)


def test_out_of_memory_is_told_to_the_framework(
    master: Process, framework: FrameworkClient, tmp_path: Path, name: str
) -> None:
    with start_agent(master, tmp_path, name) as agent:
        offer = next_offer(framework)
        info = task("t", "python3 -c 'x = bytearray(2**30)'; true", offer["agent_id"])
        info["resources"].append(scalar("mem", 32))
        launch(framework, offer, info)
        running(framework, next_status(framework))
        status = next_status(framework)
        assert status["state"] == "TASK_FAILED"
        assert status["reason"] == "REASON_CONTAINER_LIMITATION_MEMORY"
        assert status["message"].startswith("Memory limit exceeded: it is 32 MB")
        (limited,) = status["limitation"]["resources"]
        assert (limited["name"], limited["scalar"]) == ("mem", {"value": 32})
        agent.stop(signal.SIGUSR1)


def test_an_agent_that_was_killed_finds_all_again(
    master: Process, framework: FrameworkClient, tmp_path: Path, name: str
) -> None:
    with start_agent(master, tmp_path, name) as agent:
        run(framework, stays="sleep 1000", ends="while [ ! -e end ]; do sleep 0.01; done; exit 7")
        ids = {}
        for _ in range(2):
            status = next_status(framework)
            ids[status["task_id"]["value"]] = running(framework, status)
        pids = processes_below(name)
        agent.kill()
    (sandbox,) = tmp_path.glob("work/agents/*/frameworks/*/executors/ends/runs/*-*")
    (sandbox / "end").touch()
    with start_agent(master, tmp_path, name) as agent:
        status = next_status(framework, lambda status: status["state"] != "TASK_RUNNING")
        assert status["task_id"]["value"] == "ends"
        assert (status["state"], status["message"]) == (
            "TASK_FAILED",
            "Command exited with status 7",
        )
        assert processes_below(name) < pids
        framework.send("KILL", task_id={"value": "stays"}, agent_id=status["agent_id"])
        status = next_status(framework)
        assert (status["task_id"]["value"], status["state"]) == ("stays", "TASK_KILLED")
        assert not processes_below(name)
        assert all(is_gone(pid) for pid in pids)
        agent.stop(signal.SIGUSR1)


def test_two_agents_do_not_share_their_cgroups(master: Process, tmp_path: Path, name: str) -> None:
    with start_agent(master, tmp_path, name) as agent:
        (tmp_path / "other").mkdir()
        with pytest.raises(AssertionError, match="another agent has its containers below"):
            start_agent(master, tmp_path / "other", name)
        agent.stop(signal.SIGUSR1)


def test_no_cgroups_are_no_linux_runtime(master: Process, tmp_path: Path, name: str) -> None:
    with pytest.raises(AssertionError, match=r"no cgroups are mounted at or below /nowhere"):
        start_agent(master, tmp_path, name, "--cgroups-hierarchy", "/nowhere")
