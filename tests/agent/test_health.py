"""Health checks, checks and the time that a task may take, through a real master."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from allocator.agent.checks import TaskInvalid
from allocator.agent.containers.cgroups import Cgroups
from allocator.agent.probes import read_probe
from tests.agent.machine import remove_roots, root_name, skip_without
from tests.service import serving
from tests.service.launching import accept, launch, next_offer, next_states, next_status, task
from tests.service.serving import FrameworkClient, Json, Process

#: At once, and often.
SOON = {"delay_seconds": 0, "interval_seconds": 0.1, "grace_period_seconds": 0}


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("master")
    with serving.master(folder, "--allocation-interval", "0.1") as process:
        yield process


@pytest.fixture(params=["process", "linux"])
def kind(request: pytest.FixtureRequest, found: Cgroups | str) -> Iterator[tuple[str, ...]]:
    """The runtime, as options."""
    if request.param == "linux":
        skip_without(found)
        yield ("--runtime", "linux", "--cgroups-root", root_name())
        remove_roots()
    else:
        yield ("--runtime", "process")


def start_agent(master: Process, folder: Path, kind: tuple[str, ...]) -> Process:
    given = ("--master", master.url, "--port", "0", "--work-dir", str(folder / "work"))
    resources = ("--resources", "cpus:4;mem:1024;disk:0")
    return Process("agent", *given, *resources, *kind, log=folder / "log")


@pytest.fixture
def agent(master: Process, tmp_path: Path, kind: tuple[str, ...]) -> Iterator[Process]:
    with start_agent(master, tmp_path, kind) as process:
        yield process
        assert process.stop(signal.SIGUSR1) == 0


@pytest.fixture
def framework(master: Process) -> Iterator[FrameworkClient]:
    with FrameworkClient(master.url, user="", failover_timeout=60) as client:
        yield client
        client.send("TEARDOWN")


def of_health(status: Json) -> tuple[str, str | None, bool | None]:
    return status["state"], status.get("reason"), status.get("healthy")


HEALTH = "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED"


def sandbox(folder: Path, id: str) -> Path:
    """Return the sandbox of a task."""
    (found,) = folder.glob(f"work/agents/*/frameworks/*/executors/{id}/runs/latest")
    return found


def test_a_command_that_fails_ends_the_task(
    framework: FrameworkClient, agent: Process, tmp_path: Path
) -> None:
    offer = next_offer(framework)
    checked = {"type": "COMMAND", "command": {"value": '! test -e bad && test "$A" = b'}, **SOON}
    command = {
        "value": "sleep 99",
        "environment": {"variables": [{"name": "A", "value": "b"}]},
    }
    launch(framework, offer, task("t", command, offer["agent_id"], health_check=checked))
    assert of_health(next_status(framework)) == ("TASK_RUNNING", None, None)
    assert of_health(next_status(framework)) == ("TASK_RUNNING", HEALTH, True)
    (sandbox(tmp_path, "t") / "bad").touch()
    assert of_health(next_status(framework)) == ("TASK_RUNNING", HEALTH, False)
    last = next_status(framework)
    assert (last["state"], last["healthy"]) == ("TASK_KILLED", False)


def test_a_command_that_is_cut_off_as_the_task_ends_has_not_failed(
    framework: FrameworkClient, agent: Process, tmp_path: Path
) -> None:
    offer = next_offer(framework)
    command = {"value": "touch begun; sleep 99"}
    checked = {"type": "COMMAND", "command": command, **SOON, "consecutive_failures": 1}
    waits = "while ! test -e go; do sleep 0.05; done"
    launch(framework, offer, task("t", waits, offer["agent_id"], health_check=checked))
    assert next_status(framework)["state"] == "TASK_RUNNING"
    serving.wait_for((sandbox(tmp_path, "t") / "begun").exists)
    (sandbox(tmp_path, "t") / "go").touch()
    status = next_status(framework)
    assert (status["state"], status.get("healthy")) == ("TASK_FINISHED", None)


def test_tcp_and_http(framework: FrameworkClient, agent: Process, master: Process) -> None:
    """The master's own port is one that answers."""
    offer = next_offer(framework)
    port = int(master.url.rpartition(":")[2])
    http = {"type": "HTTP", "http": {"port": port, "path": "/health"}, **SOON}
    lost = {"type": "HTTP", "http": {"port": port, "path": "/nothing"}, **SOON}
    tcp = {"type": "TCP", "tcp": {"port": port}, **SOON}
    kinds = {"http": http, "tcp": tcp, "lost": {**lost, "consecutive_failures": 1}}
    tasks = [
        task(id, "sleep 99", offer["agent_id"], health_check=each) for id, each in kinds.items()
    ]
    launch(framework, offer, *tasks)
    seen: dict[str, list[tuple[str, bool | None]]] = {id: [] for id in kinds}
    while not (all(len(each) >= 2 for each in seen.values()) and len(seen["lost"]) == 3):
        status = next_status(framework)
        seen[status["task_id"]["value"]].append((status["state"], status.get("healthy")))
    running = ("TASK_RUNNING", None)
    assert seen["http"] == seen["tcp"] == [running, ("TASK_RUNNING", True)]
    assert seen["lost"] == [running, ("TASK_RUNNING", False), ("TASK_KILLED", False)]


def test_a_check_is_told_and_ends_nothing(
    framework: FrameworkClient, agent: Process, tmp_path: Path
) -> None:
    offer = next_offer(framework)
    soon = {name: SOON[name] for name in ("delay_seconds", "interval_seconds")}
    command = {"command": {"value": "test -e found || exit 3"}}
    check = {"type": "COMMAND", "command": command, **soon}
    launch(framework, offer, task("t", "sleep 99", offer["agent_id"], check=check))
    statuses = [next_status(framework) for _ in range(2)]
    (sandbox(tmp_path, "t") / "found").touch()
    statuses.append(next_status(framework))
    assert [status.get("check_status") for status in statuses] == [
        {"type": "COMMAND", "command": {}},
        {"type": "COMMAND", "command": {"exit_code": 3}},
        {"type": "COMMAND", "command": {"exit_code": 0}},
    ]
    assert {status["state"] for status in statuses} == {"TASK_RUNNING"}
    assert statuses[1]["reason"] == "REASON_TASK_CHECK_STATUS_UPDATED"


def test_a_task_that_takes_too_long(
    framework: FrameworkClient, master: Process, tmp_path: Path, kind: tuple[str, ...]
) -> None:
    """The clock goes on while the agent is away."""
    with start_agent(master, tmp_path, kind) as agent:
        offer = next_offer(framework)
        more = {"max_completion_time": {"nanoseconds": 2_000_000_000}}
        info = task("t", "trap '' TERM; while :; do sleep 0.1; done", offer["agent_id"], **more)
        launch(framework, offer, info)
        assert next_status(framework)["state"] == "TASK_RUNNING"
        agent.kill()
    with start_agent(master, tmp_path, kind) as agent:
        status = next_status(framework, lambda status: status["state"] != "TASK_RUNNING")
        agent.stop(signal.SIGUSR1)
    assert status["state"] == "TASK_FAILED"
    assert status["reason"] == "REASON_MAX_COMPLETION_TIME_REACHED"


def test_one_of_a_group_that_ends_badly_ends_the_others(
    framework: FrameworkClient, agent: Process, tmp_path: Path
) -> None:
    offer = next_offer(framework)
    waits = "while ! test -e go; do sleep 0.05; done; exit 3"
    tasks = [
        task(id, shell, offer["agent_id"])
        for id, shell in {"good": "sleep 99", "bad": waits}.items()
    ]
    executor = {"type": "DEFAULT", "executor_id": {"value": "e"}}
    group = {"executor": executor, "task_group": {"tasks": tasks}}
    accept(framework, offer, {"type": "LAUNCH_GROUP", "launch_group": group})
    assert [next_status(framework)["state"] for _ in range(2)] == ["TASK_RUNNING"] * 2
    (sandbox(tmp_path, "bad") / "go").touch()
    last = next_states(framework, 2)
    assert last == {"good": ["TASK_KILLED"], "bad": ["TASK_FAILED"]}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "type ''"),
        ({"type": "TCP"}, "'TCP' without"),
        ({"type": "TCP", "tcp": {"port": 0}}, "0 is no port"),
        ({"type": "HTTP", "http": {}}, "port"),
        ({"type": "HTTP", "http": {"port": 1, "path": "x"}}, "'x' is no path"),
        ({"type": "HTTP", "http": {"port": 1, "path": "/ HTTP/1.1\r\nX: y"}}, "is no path"),
        ({"type": "HTTP", "http": {"port": 1, "scheme": "ftp"}}, "'ftp' is neither"),
        ({"type": "COMMAND", "command": {"value": ""}}, "no value"),
        ({"type": "TCP", "tcp": {"port": 1}, "delay_seconds": -1}, "at least 0"),
    ],
)
def test_checks_that_make_no_sense(given: Json, words: str) -> None:
    with pytest.raises(TaskInvalid, match=words):
        read_probe("task 't'", given, is_health=True)


@pytest.mark.parametrize("command", [5, "true", [{"value": "true"}], True])
def test_a_check_whose_command_is_no_object(command: object) -> None:
    given = {"type": "COMMAND", "command": {"command": command}}
    with pytest.raises(TaskInvalid, match="no object"):
        read_probe("task 't'", given, is_health=False)
