"""Executors that frameworks bring: real ones, of a real agent, through a real master."""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from allocator.agent.containers.cgroups import Cgroups
from tests.agent.machine import remove_roots, root_name, skip_without
from tests.service import serving
from tests.service.launching import accept, launch, next_status, open_offer, task
from tests.service.serving import PATIENCE_SECONDS, FrameworkClient, Json, Process

SCRIPT = Path(__file__).with_name("executor.py")


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


def start_agent(master: Process, folder: Path, kind: tuple[str, ...], *more: str) -> Process:
    given = ("--master", master.url, "--port", "0", "--work-dir", str(folder / "work"))
    resources = ("--resources", "cpus:4;mem:1024;disk:0")
    return Process("agent", *given, *resources, *kind, *more, log=folder / "log")


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


def scalar(name: str, amount: float) -> Json:
    return {"name": name, "type": "SCALAR", "scalar": {"value": amount}}


def executor(id: str = "e", *arguments: str, **more: object) -> Json:
    """Return an executor that runs the script."""
    command = {"value": " ".join((sys.executable, str(SCRIPT), *arguments))}
    resources = [scalar("cpus", 0.1), scalar("mem", 64)]
    given = {"executor_id": {"value": id}, "name": "The one", "source": "tests"}
    return {**given, "command": command, "resources": resources, **more}


def of_executor(id: str, offer: Json, by: Json | None = None, **todo: object) -> Json:
    """Return a task that an executor runs, and what that is to do."""
    info = task(id, "", offer["agent_id"], executor=by or executor())
    del info["command"]
    if by is not None and by.get("type") == "CUSTOM":
        del info["executor"]
    info["data"] = base64.b64encode(json.dumps(todo).encode()).decode()
    info["resources"].append(scalar("mem", 32))
    return info


def heard(folder: Path, id: str = "e") -> list[Json]:
    """Return what an executor has heard, and written to the end of the line."""
    (sandbox,) = (folder / "work" / "agents").glob(f"*/frameworks/*/executors/{id}/runs/latest")
    lines, _, _ = (sandbox / "stdout").read_text().rpartition("\n")
    return [json.loads(line) for line in lines.splitlines()]


def wait_for(folder: Path, type: str, n: int = 1) -> None:
    """Wait until an executor has heard events of a type so often."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while sum(event.get("type") == type for event in heard(folder)) < n:
        assert time.monotonic() < deadline, heard(folder)
        time.sleep(0.02)


def test_tasks_run_and_end_as_their_executor_says(
    framework: FrameworkClient, agent: Process, tmp_path: Path
) -> None:
    offer = open_offer(framework)
    whole = ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"]
    launch(
        framework,
        offer,
        of_executor("t1", offer, tell=whole),
        of_executor("t2", offer),
    )
    told: dict[str, list[Json]] = {}
    while sum(map(len, told.values())) < 3:
        status = next_status(framework)
        told.setdefault(status["task_id"]["value"], []).append(status)
    assert [status["state"] for status in told["t1"]] == ["TASK_RUNNING", "TASK_FINISHED"]
    (running,) = told["t2"]
    assert running["state"] == "TASK_RUNNING"
    assert (running["executor_id"], running["source"]) == ({"value": "e"}, "SOURCE_EXECUTOR")
    wait_for(tmp_path, "ACKNOWLEDGED", 4)
    first, *rest = heard(tmp_path)
    assert first["type"] == "SUBSCRIBED"
    subscribed = first["subscribed"]
    assert subscribed["executor_info"]["executor_id"] == {"value": "e"}
    assert subscribed["framework_info"]["id"] == {"value": framework.framework_id}
    assert subscribed["agent_info"]["id"] == offer["agent_id"]
    assert subscribed["container_id"] == running["container_status"]["container_id"]
    launched = [event["launch"]["task"]["name"] for event in rest if event["type"] == "LAUNCH"]
    assert launched == ["t1", "t2"]
    framework.send("KILL", task_id={"value": "t2"})
    status = next_status(framework)
    assert (status["task_id"]["value"], status["state"]) == ("t2", "TASK_KILLED")


def test_what_is_shown(framework: FrameworkClient, agent: Process, master: Process) -> None:
    offer = open_offer(framework)
    launch(framework, offer, of_executor("t1", offer), of_executor("t2", offer, tell=[]))
    next_status(framework)
    (row,) = httpx.get(f"{agent.url}/containers").json()
    assert (row["executor_id"], row["executor_name"], row["source"]) == ("e", "The one", "tests")
    (shown,) = httpx.get(f"{agent.url}/state").json()["frameworks"]
    (found,) = shown["executors"]
    assert (found["id"], found["container"], found["type"]) == ("e", row["container_id"], "CUSTOM")
    assert found["resources"]["mem"] == 128
    assert found["resources"]["cpus"] == pytest.approx(0.3)
    assert [each["id"] for each in found["tasks"]] == ["t1", "t2"]
    assert Path(found["directory"]).is_dir()
    metrics = httpx.get(f"{agent.url}/metrics/snapshot").json()
    assert metrics["slave/executors_running"] == metrics["slave/frameworks_active"] == 1
    assert metrics["slave/mem_used"] == 128
    state = httpx.get(f"{master.url}/state").json()
    (known,) = [each for each in state["frameworks"] if each["id"] == framework.framework_id]
    assert [each["executor_id"] for each in known["executors"]] == ["e"]
    assert {each["executor_id"] for each in known["tasks"]} == {"e"}
    assert known["used_resources"]["mem"] == 128
    calls = {"GET_EXECUTORS": "executors", "GET_TASKS": "launched_tasks"}
    for type, key in calls.items():
        r = httpx.post(f"{agent.url}/api/v1", json={"type": type}).json()
        assert len(r[type.lower()][key]) == (1 if key == "executors" else 2)


def test_messages_go_there_and_back(framework: FrameworkClient, agent: Process) -> None:
    offer = open_offer(framework)
    launch(framework, offer, of_executor("t1", offer))
    next_status(framework)
    to = {"agent_id": offer["agent_id"], "executor_id": {"value": "e"}}
    assert framework.send("MESSAGE", **to, data="aGVsbG8=").status_code == 202
    assert framework.wait("MESSAGE")["message"] == {**to, "data": "aGVsbG8="}


def failure_of(framework: FrameworkClient, n: int = 0) -> Json:
    """Return the first failure of an executor, or the one after n others, once it has come."""
    while len(told := [e for e in framework.of("FAILURE") if "executor_id" in e["failure"]]) <= n:
        framework.wait("FAILURE")
    return told[n]["failure"]  # type: ignore[no-any-return]


def test_when_it_exits_its_tasks_fail(
    framework: FrameworkClient, agent: Process, tmp_path: Path
) -> None:
    offer = open_offer(framework)
    launch(framework, offer, of_executor("t1", offer))
    next_status(framework)
    offer = open_offer(framework)
    launch(framework, offer, of_executor("t2", offer, exit=3))
    told = {}
    while len(told) < 2:
        status = next_status(framework, lambda status: status["state"] != "TASK_RUNNING")
        told[status["task_id"]["value"]] = status
    for status in told.values():
        assert status["state"] == "TASK_FAILED"
        assert status["reason"] == "REASON_EXECUTOR_TERMINATED"
        assert status["message"] == "Executor exited with status 3"
    assert failure_of(framework) == {
        "agent_id": offer["agent_id"],
        "executor_id": {"value": "e"},
        "status": 3 << 8,
    }
    past = httpx.get(f"{agent.url}/state").json()
    shown = [*past["frameworks"], *past["completed_frameworks"]]
    (found,) = [each for f in shown for each in f["completed_executors"]]
    assert [each["id"] for each in found["completed_tasks"]] == ["t1", "t2"]
    assert found["tasks"] == []


def test_another_is_started_after_one_has_ended(
    framework: FrameworkClient, agent: Process, master: Process
) -> None:
    for n, id in enumerate(("t1", "t2")):
        offer = open_offer(framework)
        launch(framework, offer, of_executor(id, offer, tell=["TASK_FINISHED"], exit=0))
        assert next_status(framework)["state"] == "TASK_FINISHED"
        assert failure_of(framework, n)["status"] == 0
    state = httpx.get(f"{master.url}/state").json()
    (shown,) = [each for each in state["frameworks"] if each["id"] == framework.framework_id]
    assert shown["used_resources"]["mem"] == shown["used_resources"]["cpus"] == 0


def test_one_that_is_told_to_shut_down(
    framework: FrameworkClient, agent: Process, tmp_path: Path
) -> None:
    offer = open_offer(framework)
    launch(framework, offer, of_executor("t1", offer))
    next_status(framework)
    framework.send("SHUTDOWN", agent_id=offer["agent_id"], executor_id={"value": "e"})
    status = next_status(framework)
    assert (status["state"], status["reason"]) == ("TASK_FAILED", "REASON_EXECUTOR_TERMINATED")
    assert failure_of(framework)["status"] == 0
    assert heard(tmp_path)[-1] == {"type": "SHUTDOWN"}


def test_one_that_does_not_subscribe_in_time(
    framework: FrameworkClient, master: Process, tmp_path: Path, kind: tuple[str, ...]
) -> None:
    more = ("--executor_registration_timeout", "0.5")
    with start_agent(master, tmp_path, kind, *more) as agent:
        offer = open_offer(framework)
        launch(framework, offer, of_executor("t1", offer, executor("e", "silent")))
        status = next_status(framework)
        assert status["state"] == "TASK_FAILED"
        assert status["reason"] == "REASON_EXECUTOR_REGISTRATION_TIMEOUT"
        assert failure_of(framework)["executor_id"] == {"value": "e"}
        agent.stop(signal.SIGUSR1)


def test_one_that_cannot_be_started(framework: FrameworkClient, agent: Process) -> None:
    offer = open_offer(framework)
    by = executor(command={"shell": False, "value": "/nowhere"})
    launch(framework, offer, of_executor("t1", offer, by))
    status = next_status(framework)
    assert (status["state"], status["reason"]) == ("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED")
    assert "No such file" in status["message"]
    assert "status" not in failure_of(framework)


def test_a_group_of_its_own(framework: FrameworkClient, agent: Process, tmp_path: Path) -> None:
    offer = open_offer(framework)
    by = executor(type="CUSTOM")
    tasks = [of_executor(id, offer, by, tell=["TASK_FINISHED"]) for id in ("a", "b")]
    group = {"executor": by, "task_group": {"tasks": tasks}}
    accept(framework, offer, {"type": "LAUNCH_GROUP", "launch_group": group})
    assert {next_status(framework)["task_id"]["value"] for _ in range(2)} == {"a", "b"}
    assert [event["type"] for event in heard(tmp_path)][:2] == ["SUBSCRIBED", "LAUNCH_GROUP"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_comes_back_when_the_agent_does(
    framework: FrameworkClient,
    master: Process,
    tmp_path: Path,
    kind: tuple[str, ...],
    number: int,
) -> None:
    with start_agent(master, tmp_path, kind) as agent:
        port = agent.url.rpartition(":")[2]
        offer = open_offer(framework)
        launch(framework, offer, of_executor("t1", offer), of_executor("t2", offer))
        for _ in range(2):
            assert next_status(framework)["state"] == "TASK_RUNNING"
        agent.stop(number)
    wait_for(tmp_path, "DISCONNECTED")
    with start_agent(master, tmp_path, kind, "--port", port) as agent:
        wait_for(tmp_path, "SUBSCRIBED", 2)
        framework.send("KILL", task_id={"value": "t1"})
        status = next_status(framework)
        assert (status["task_id"]["value"], status["state"]) == ("t1", "TASK_KILLED")
        offer = open_offer(framework)
        launch(framework, offer, of_executor("t3", offer, tell=["TASK_FINISHED"]))
        status = next_status(framework)
        assert (status["task_id"]["value"], status["state"]) == ("t3", "TASK_FINISHED")
        (row,) = httpx.get(f"{agent.url}/containers").json()
        assert row["executor_id"] == "e"
        agent.stop(signal.SIGUSR1)


def test_one_that_does_not_come_back(
    framework: FrameworkClient, master: Process, tmp_path: Path, kind: tuple[str, ...]
) -> None:
    """The next agent has another port, where it is not looked for."""
    with start_agent(master, tmp_path, kind) as agent:
        offer = open_offer(framework)
        launch(framework, offer, of_executor("t1", offer))
        next_status(framework)
        agent.kill()
    with start_agent(master, tmp_path, kind, "--recovery-timeout", "0.5") as agent:
        status = next_status(framework, lambda status: status["state"] != "TASK_RUNNING")
        assert status["state"] == "TASK_FAILED"
        assert status["reason"] == "REASON_EXECUTOR_REREGISTRATION_TIMEOUT"
        assert failure_of(framework)["executor_id"] == {"value": "e"}
        agent.stop(signal.SIGUSR1)


def test_its_environment(framework: FrameworkClient, agent: Process, tmp_path: Path) -> None:
    offer = open_offer(framework)
    by = executor(
        "e", command={"value": "env; exit 1"}, shutdown_grace_period={"nanoseconds": 10**9}
    )
    launch(framework, offer, of_executor("t1", offer, by))
    next_status(framework)
    (sandbox,) = tmp_path.glob("work/agents/*/frameworks/*/executors/e/runs/latest")
    lines = (sandbox / "stdout").read_text().splitlines()
    found = {name: value for name, _, value in (line.partition("=") for line in lines)}
    endpoint = agent.url.removeprefix("http://")
    assert {name: value for name, value in found.items() if name.startswith("MESOS_")} == {
        "MESOS_AGENT_ENDPOINT": endpoint,
        "MESOS_AGENT_ID": offer["agent_id"]["value"],
        "MESOS_CHECKPOINT": "1",
        "MESOS_CONTAINER_ID": sandbox.resolve().name,
        "MESOS_DIRECTORY": str(sandbox.resolve()),
        "MESOS_EXECUTOR_ID": "e",
        "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": "1secs",
        "MESOS_FRAMEWORK_ID": framework.framework_id,
        "MESOS_RECOVERY_TIMEOUT": "900secs",
        "MESOS_SANDBOX": str(sandbox.resolve()),
        "MESOS_SLAVE_ID": offer["agent_id"]["value"],
        "MESOS_SLAVE_PID": f"agent@{endpoint}",
        "MESOS_SUBSCRIPTION_BACKOFF_MAX": "2secs",
    }


def test_what_it_has_when_it_is_fetched_first(
    framework: FrameworkClient, agent: Process, tmp_path: Path
) -> None:
    """Its second task comes while its files are copied, and counts all the same."""
    (tmp_path / "big").write_bytes(bytes(2**24))
    offer = open_offer(framework)
    uris = [{"value": str(tmp_path / "big"), "output_file": f"big{n}"} for n in range(20)]
    by = executor("e")
    by["command"]["uris"] = uris
    launch(framework, offer, of_executor("t1", offer, by), of_executor("t2", offer, by))
    for _ in range(2):
        assert next_status(framework)["state"] == "TASK_RUNNING"
    (row,) = httpx.get(f"{agent.url}/containers").json()
    assert row["statistics"]["mem_limit_bytes"] >> 20 == 64 + 32 + 32


def test_its_container_has_what_its_tasks_have(
    framework: FrameworkClient,
    master: Process,
    tmp_path: Path,
    found: Cgroups | str,
) -> None:
    machine, name = skip_without(found), root_name()
    memory = machine.hierarchies[machine.of("memory")].path
    file = "memory.max" if machine.kind == "v2" else "memory.limit_in_bytes"
    kind = ("--runtime", "linux", "--cgroups-root", name)
    with start_agent(master, tmp_path, kind) as agent:

        def limit_mb() -> int:
            (row,) = httpx.get(f"{agent.url}/containers").json()
            limit = int((memory / name / row["container_id"] / file).read_text()) >> 20
            assert row["statistics"]["mem_limit_bytes"] >> 20 == limit
            return limit

        offer = open_offer(framework)
        launch(framework, offer, of_executor("t1", offer))
        next_status(framework)
        assert limit_mb() == 64 + 32
        offer = open_offer(framework)
        launch(framework, offer, of_executor("t2", offer))
        next_status(framework)
        assert limit_mb() == 64 + 32 + 32
        (row,) = httpx.get(f"{agent.url}/containers").json()
        assert row["statistics"]["cpus_limit"] == pytest.approx(0.3)
        framework.send("KILL", task_id={"value": "t1"})
        assert next_status(framework)["state"] == "TASK_KILLED"
        assert limit_mb() == 64 + 32
        offer = open_offer(framework)
        launch(framework, offer, of_executor("t3", offer, tell=[], eat=2**28))
        reasons = {next_status(framework)["reason"] for _ in range(2)}
        assert reasons == {"REASON_CONTAINER_LIMITATION_MEMORY"}
        assert agent.stop(signal.SIGUSR1) == 0
    remove_roots()


# What it may not.


@pytest.fixture
def running(framework: FrameworkClient, agent: Process) -> Json:
    """What a call of an executor that runs has."""
    offer = open_offer(framework)
    launch(framework, offer, of_executor("t1", offer))
    next_status(framework)
    return {
        "framework_id": {"value": framework.framework_id},
        "executor_id": {"value": "e"},
    }


UUID = base64.b64encode(bytes(16)).decode()


@pytest.mark.parametrize(
    ("call", "status", "words"),
    [
        ({"type": "SUBSCRIBE"}, 400, "subscribe"),
        ({"type": "SUBSCRIBED"}, 501, "SUBSCRIBED"),
        ({"type": "UPDATE"}, 400, "update"),
        ({"type": "MESSAGE", "message": {}}, 400, "data"),
        ({"type": "MESSAGE", "message": {"data": "x"}, "executor_id": {"value": "f"}}, 400, "f"),
        ({"type": "UPDATE", "update": {"status": {"state": "TASK_LOST"}}}, 400, "uuid"),
        ({"type": "UPDATE", "update": {"status": {"uuid": UUID}}}, 400, "state"),
        (
            {"type": "UPDATE", "update": {"status": {"state": "TASK_STAGING", "uuid": UUID}}},
            400,
            "STAGING",
        ),
        (
            {
                "type": "UPDATE",
                "update": {
                    "status": {"state": "TASK_LOST", "uuid": UUID, "source": "SOURCE_AGENT"}
                },
            },
            400,
            "SOURCE_AGENT",
        ),
    ],
)
def test_calls_that_are_refused(
    agent: Process, running: Json, call: Json, status: int, words: str
) -> None:
    if "status" in call.get("update", {}):
        call["update"]["status"]["task_id"] = {"value": "t1"}
    r = httpx.post(f"{agent.url}/api/v1/executor", json={**running, **call})
    assert (r.status_code, words in r.text) == (status, True), r.text
    assert httpx.get(f"{agent.url}/api/v1/executor").status_code == 405


def test_who_cannot_read_events_gets_none(agent: Process, running: Json) -> None:
    r = httpx.post(
        f"{agent.url}/api/v1/executor",
        json={**running, "type": "SUBSCRIBE", "subscribe": {}},
        headers={"Accept": "application/x-protobuf"},
    )
    assert r.status_code == 406


def test_a_second_stream_ends_the_first(
    agent: Process, running: Json, framework: FrameworkClient, tmp_path: Path
) -> None:
    """Then the first one's executor subscribes again, and so ends the second."""
    body = {**running, "type": "SUBSCRIBE", "subscribe": {}}
    with httpx.stream("POST", f"{agent.url}/api/v1/executor", json=body, timeout=60) as r:
        assert r.headers["Content-Type"] == "application/json"
        pieces = b"".join(r.iter_raw())
    assert b"SUBSCRIBED" in pieces
    wait_for(tmp_path, "SUBSCRIBED", 2)


def test_with_credentials_it_has_a_token_of_its_own(
    framework: FrameworkClient, master: Process, tmp_path: Path, kind: tuple[str, ...]
) -> None:
    credentials = serving.credentials(tmp_path, "ops", "s3cret")
    with start_agent(master, tmp_path, kind, "--credentials", str(credentials)) as agent:
        for id in ("e", "f"):
            offer = open_offer(framework)
            launch(framework, offer, of_executor(f"t-{id}", offer, executor(id)))
            assert next_status(framework)["state"] == "TASK_RUNNING"
        tokens = {}
        for row in httpx.get(f"{agent.url}/containers", auth=("ops", "s3cret")).json():
            init = row["status"]["executor_pid"]
            (child,) = Path(f"/proc/{init}/task/{init}/children").read_text().split()[:1]
            environment = Path(f"/proc/{child}/environ").read_bytes().decode().split("\0")
            (token,) = [e for e in environment if e.startswith("MESOS_EXECUTOR_AUTH")]
            tokens[row["executor_id"]] = token.partition("=")[2]
        ids = {"framework_id": {"value": framework.framework_id}, "executor_id": {"value": "e"}}
        call = {**ids, "type": "MESSAGE", "message": {"data": "eA=="}}

        def say(**given: object) -> int:
            return httpx.post(f"{agent.url}/api/v1/executor", json=call, **given).status_code  # type: ignore[arg-type]

        def bearer(id: str) -> dict[str, str]:
            return {"Authorization": f"Bearer {tokens[id]}"}

        assert say() == 401
        assert say(headers={"Authorization": "Bearer eDp5"}) == 401
        assert say(headers=bearer("f")) == 403
        assert say(auth=("ops", "s3cret")) == 403
        assert say(headers=bearer("e")) == 202
        r = httpx.get(f"{agent.url}/state", headers=bearer("e"))
        assert r.status_code == 401
        agent.stop(signal.SIGUSR1)


def test_teardown_shuts_it_down(master: Process, agent: Process, tmp_path: Path) -> None:
    with FrameworkClient(master.url) as framework:
        offer = open_offer(framework)
        launch(framework, offer, of_executor("t1", offer))
        next_status(framework)
        framework.send("TEARDOWN")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while httpx.get(f"{agent.url}/containers").json():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert heard(tmp_path)[-1] == {"type": "SHUTDOWN"}
    assert os.listdir(tmp_path / "work/meta/containers") == []
