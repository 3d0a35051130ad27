"""The process and the Linux runtime: real tasks of a real agent, launched through a real master."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from allocator.agent.checkpoint import Checkpoint
from tests.agent.machine import remove_roots, root_name, skip_without, usable_cgroups
from tests.service import serving
from tests.service.launching import (
    accept,
    launch,
    next_offer,
    next_states,
    next_status,
    open_offer,
    run,
    task,
)
from tests.service.serving import FrameworkClient, Json, Process

#: What some shells add to their environment.
OF_SHELLS = {"_", "SHLVL", "OLDPWD"}


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serving.master(
        tmp_path_factory.mktemp("master"), "--allocation-interval", "0.1"
    ) as process:
        yield process


#: Options of the runtime that is tested.
_options: list[str] = []


@pytest.fixture(params=["process", "linux"], autouse=True)
def runtime(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have agents of the test run tasks in one of two ways."""
    _options[:] = ["--runtime", request.param]
    if request.param == "process":
        yield
        return
    skip_without(usable_cgroups())
    _options.extend(["--cgroups-root", root_name()])
    yield
    remove_roots()


def start_agent(master: Process, folder: Path, *more: str) -> Process:
    work = ("--work-dir", str(folder / "work"), "--runtime", "process")
    given = ("--master", master.url, "--port", "0", *work, *more)
    given = (*_options, *given)
    return Process("agent", "--resources", "cpus:4;mem:1024;disk:0", *given, log=folder / "log")


@pytest.fixture
def agent(master: Process, tmp_path: Path) -> Iterator[Process]:
    with start_agent(master, tmp_path) as process:
        yield process
        process.stop(signal.SIGUSR1)


@pytest.fixture
def framework(master: Process, agent: Process) -> Iterator[FrameworkClient]:
    with FrameworkClient(master.url, user="", failover_timeout=60) as client:
        yield client
        client.send("TEARDOWN")


def sandbox(tmp_path: Path, id: str) -> Path:
    """Return the sandbox of the latest run of a task."""
    (found,) = (tmp_path / "work" / "agents").glob(f"*/frameworks/*/executors/{id}/runs/latest")
    return found.resolve()


def is_running(mark: str) -> bool:
    """Tell whether some process has these words among its arguments."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return any(mark in line for line in listed.stdout.splitlines())


def wait_until_gone(mark: str) -> None:
    deadline = time.monotonic() + serving.PATIENCE_SECONDS
    while is_running(mark):
        assert time.monotonic() < deadline, mark
        time.sleep(0.02)


def wait_until_forgotten(notes: Path) -> None:
    """Wait until an agent has no notes any more: it has heard that all ends were taken in."""
    deadline = time.monotonic() + serving.PATIENCE_SECONDS
    while [*notes.iterdir()]:
        assert time.monotonic() < deadline, [*notes.iterdir()]
        time.sleep(0.02)


def test_exit_statuses(framework: FrameworkClient, tmp_path: Path) -> None:
    run(framework, ok="echo out; echo err >&2", bad="exit 3", shot="kill -9 $$")
    ended = {}
    for _ in range(6):
        status = next_status(framework)
        ended[status["task_id"]["value"], status["state"]] = status
    messages = {key: status.get("message") for key, status in ended.items()}
    assert messages == {
        ("ok", "TASK_RUNNING"): None,
        ("bad", "TASK_RUNNING"): None,
        ("shot", "TASK_RUNNING"): None,
        ("ok", "TASK_FINISHED"): "Command exited with status 0",
        ("bad", "TASK_FAILED"): "Command exited with status 3",
        ("shot", "TASK_FAILED"): "Command terminated with signal SIGKILL",
    }
    assert len({status["uuid"] for status in ended.values()}) == 6
    assert (sandbox(tmp_path, "ok") / "stdout").read_text() == "out\n"
    assert (sandbox(tmp_path, "ok") / "stderr").read_text() == "err\n"
    assert sandbox(tmp_path, "ok").stat().st_mode & 0o777 == 0o750


def test_what_a_task_has(framework: FrameworkClient, tmp_path: Path) -> None:
    offer = next_offer(framework)
    shell = "env; echo =; ls -l /proc/self/fd | wc -l; umask; grep -E 'Sig[BI]' /proc/self/status"
    command: Json = {
        "value": f"{shell}; ps -o sid=,pgid=,pid= -p $$; tr '\\0' '\\n' < /proc/$PPID/environ >&2",
        "environment": {"variables": [{"name": "A", "value": "b c"}]},
    }
    launch(framework, offer, task("t", command, offer["agent_id"]))
    assert next_states(framework, 2) == {"t": ["TASK_RUNNING", "TASK_FINISHED"]}
    folder = sandbox(tmp_path, "t")
    environment, _, rest = (folder / "stdout").read_text().partition("=\n")
    variables = dict(line.split("=", 1) for line in environment.splitlines())
    agent_id = offer["agent_id"]["value"]
    expected = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    assert variables.pop("PWD") == str(folder)  # of the shell's own making
    assert {name: value for name, value in variables.items() if name not in OF_SHELLS} == {
        **expected,
        "MESOS_SANDBOX": str(folder),
        "MESOS_DIRECTORY": str(folder),
        "MESOS_CONTAINER_ID": folder.name,
        "MESOS_FRAMEWORK_ID": framework.framework_id,
        "MESOS_EXECUTOR_ID": "t",
        "MESOS_TASK_ID": "t",
        "MESOS_AGENT_ID": agent_id,
        "MESOS_SLAVE_ID": agent_id,
        "A": "b c",
    }
    n_lines, umask, blocked, ignored, ids = rest.splitlines()
    assert int(n_lines) == 5  # "total", 0, 1, 2, and the folder that is listed
    assert umask == "0022"
    assert int(blocked.split()[1], 16) == int(ignored.split()[1], 16) == 0
    assert len(set(ids.split())) == 1  # it leads a session and a group of its own
    init = {line.partition("=")[0] for line in (folder / "stderr").read_text().splitlines()}
    assert init <= variables.keys() - OF_SHELLS


def test_a_task_is_about_to_run_then_runs(framework: FrameworkClient) -> None:
    run(framework, t="true")
    seen = []
    while len(seen) < 3:
        status = framework.wait("UPDATE")["update"]["status"]
        seen.append((status["state"], status["source"]))
        acknowledged = {name: status[name] for name in ("agent_id", "task_id", "uuid")}
        framework.send("ACKNOWLEDGE", **acknowledged)
    states = ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"]
    assert seen == [(state, "SOURCE_EXECUTOR") for state in states]


def test_what_a_task_asks_for_is_fetched(framework: FrameworkClient, tmp_path: Path) -> None:
    (tmp_path / "words").write_text("hello")
    offer = next_offer(framework)
    uris = {"t": str(tmp_path / "words"), "u": "https://example.org/words"}
    tasks = [
        task(id, {"value": "cat words", "uris": [{"value": uri}]}, offer["agent_id"])
        for id, uri in uris.items()
    ]
    launch(framework, offer, *tasks)
    told = [next_status(framework) for _ in range(3)]
    (failed,) = [status for status in told if status["task_id"]["value"] == "u"]
    assert (failed["state"], failed["reason"]) == ("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED")
    assert "scheme is https" in failed["message"]
    assert (sandbox(tmp_path, "t") / "stdout").read_text() == "hello"


def test_a_command_without_a_shell(framework: FrameworkClient, tmp_path: Path) -> None:
    offer = next_offer(framework)
    command = {"shell": False, "value": "printf", "arguments": ["printf", "%s|", "$HOME", "a b"]}
    launch(framework, offer, task("argv", command, offer["agent_id"]))
    assert next_states(framework, 2) == {"argv": ["TASK_RUNNING", "TASK_FINISHED"]}
    assert (sandbox(tmp_path, "argv") / "stdout").read_text() == "$HOME|a b|"


def test_a_program_that_there_is_not(framework: FrameworkClient, tmp_path: Path) -> None:
    offer = next_offer(framework)
    command = {"shell": False, "value": "/nowhere/program"}
    launch(framework, offer, task("none", command, offer["agent_id"]))
    status = next_status(framework)
    assert (status["state"], status["reason"]) == ("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED")
    assert "No such file" in status["message"]
    assert not [*tmp_path.glob("work/agents/*/frameworks/*/executors/none/runs/*-*")]


def test_kill_asks_first(framework: FrameworkClient, tmp_path: Path) -> None:
    run(framework, polite="trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done")
    next_status(framework)
    wait_for_text(sandbox(tmp_path, "polite") / "stdout", "up")
    framework.send("KILL", task_id={"value": "polite"})
    status = next_status(framework)
    assert (status["state"], status["message"]) == ("TASK_KILLED", "Command exited with status 0")
    assert "bye" in (sandbox(tmp_path, "polite") / "stdout").read_text()


def test_kill_insists_after_the_grace(framework: FrameworkClient, tmp_path: Path) -> None:
    offer = next_offer(framework)
    policy = {"grace_period": {"nanoseconds": int(0.1e9)}}
    stubborn = "trap '' TERM; echo up; setsid sleep 7777.1 & while :; do sleep 0.05; done"
    launch(framework, offer, task("no", stubborn, offer["agent_id"], kill_policy=policy))
    next_status(framework)
    wait_for_text(sandbox(tmp_path, "no") / "stdout", "up")
    framework.send("KILL", task_id={"value": "no"})
    status = next_status(framework)
    assert status["state"] == "TASK_KILLED"
    assert status["message"] == "Command terminated with signal SIGKILL"
    assert not is_running("sleep 7777.1")


def test_what_a_task_leaves_behind_ends_with_it(framework: FrameworkClient) -> None:
    run(framework, parent="setsid sh -c 'setsid sleep 7777.2 & sleep 7777.2' & sleep 0.2")
    assert next_states(framework, 2) == {"parent": ["TASK_RUNNING", "TASK_FINISHED"]}
    assert not is_running("sleep 7777.2")


def launch_group(framework: FrameworkClient, **commands: str | Json) -> None:
    """Launch a group of tasks of some ids and commands on the next offer."""
    offer = next_offer(framework)
    tasks = [task(id, command, offer["agent_id"]) for id, command in commands.items()]
    executor = {"type": "DEFAULT", "executor_id": {"value": "e"}}
    group = {"executor": executor, "task_group": {"tasks": tasks}}
    accept(framework, offer, {"type": "LAUNCH_GROUP", "launch_group": group})


def test_of_a_group_all_are_launched_or_none(framework: FrameworkClient) -> None:
    launch_group(framework, one="sleep 7777.3", two={"shell": False, "value": "/nowhere"})
    assert next_states(framework, 2) == {"one": ["TASK_KILLED"], "two": ["TASK_FAILED"]}
    assert not is_running("sleep 7777.3")


def test_a_group_ends_with_one_that_fails(framework: FrameworkClient, tmp_path: Path) -> None:
    waits = f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; exit 1"
    launch_group(framework, one="sleep 7777.4", two=waits, three="true")
    states = next_states(framework, 4)
    assert states.pop("three") == ["TASK_RUNNING", "TASK_FINISHED"]
    assert states == {"one": ["TASK_RUNNING"], "two": ["TASK_RUNNING"]}
    (tmp_path / "go").touch()
    assert next_states(framework, 2) == {"one": ["TASK_KILLED"], "two": ["TASK_FAILED"]}
    assert not is_running("sleep 7777.4")


def wait_for_text(file: Path, text: str) -> None:
    deadline = time.monotonic() + serving.PATIENCE_SECONDS
    while not (file.exists() and text in file.read_text()):
        assert time.monotonic() < deadline, file
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_tasks_outlive_the_agent(master: Process, tmp_path: Path, number: int) -> None:
    with FrameworkClient(master.url, failover_timeout=60) as framework:
        with start_agent(master, tmp_path) as agent:
            flag = tmp_path / "flag"
            offer = run(
                framework,
                stays=f"while [ ! -e {flag} ]; do sleep 0.05; done; exit 7",
                ends=f"while [ ! -e {flag}.1 ]; do sleep 0.05; done; exit 4",
            )
            assert next_states(framework, 2) == {
                "stays": ["TASK_RUNNING"],
                "ends": ["TASK_RUNNING"],
            }
            assert agent.stop(number) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
        Path(f"{flag}.1").touch()  # while nobody watches
        wait_until_gone(f"{flag}.1 ")
        with start_agent(master, tmp_path) as agent:
            status = next_status(framework, lambda status: status["task_id"]["value"] == "ends")
            assert (status["state"], status["message"]) == (
                "TASK_FAILED",
                "Command exited with status 4",
            )
            assert status["agent_id"] == offer["agent_id"]
            state = httpx.get(f"{agent.url}/state").json()
            assert state["id"] == offer["agent_id"]["value"]
            flag.touch()
            status = next_status(framework, lambda status: status["task_id"]["value"] == "stays")
            assert status["message"] == "Command exited with status 7"
            wait_until_forgotten(tmp_path / "work/meta/containers")
            assert agent.stop() == 0
        framework.send("TEARDOWN")


def test_what_cannot_be_noted_ends_no_agent(
    framework: FrameworkClient, agent: Process, tmp_path: Path
) -> None:
    """As on a full disk: nothing is launched then, and what runs is told of all the same."""
    notes, away = tmp_path / "work/meta/containers", tmp_path / "away"
    stays = f"while [ ! -e {tmp_path}/flag ]; do sleep 0.05; done; exit 7"
    run(framework, stays=stays, ends="sleep 7777.9")
    assert next_states(framework, 2) == {"stays": ["TASK_RUNNING"], "ends": ["TASK_RUNNING"]}
    notes.rename(away)
    notes.symlink_to("/proc/self")  # in which nobody makes anything
    offer = open_offer(framework)
    launch(framework, offer, task("no", "true", offer["agent_id"]))
    status = next_status(framework)
    assert (status["state"], status["reason"]) == ("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED")
    assert "cannot be noted" in status["message"]
    framework.send("KILL", task_id={"value": "ends"})
    assert next_states(framework, 1) == {"ends": ["TASK_KILLED"]}
    assert not is_running("sleep 7777.9")
    notes.unlink()
    away.rename(notes)
    (tmp_path / "flag").touch()
    assert next_status(framework)["message"] == "Command exited with status 7"
    offer = open_offer(framework)
    launch(framework, offer, task("yes", "true", offer["agent_id"]))
    assert next_states(framework, 2) == {"yes": ["TASK_RUNNING", "TASK_FINISHED"]}


def test_a_note_is_written_as_a_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Checkpoint(tmp_path)
    checkpoint.note("c", {"first": 1})
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr("os.write", lambda file, data: write(file, data[:5]))
        assert not checkpoint.try_note("c", {"second": 2})
    assert checkpoint.try_note("c", {"third": 3})
    assert list(checkpoint.load()) == [("c", [{"first": 1}, {"third": 3}])]
    checkpoint.close()


def test_what_was_not_acknowledged_is_told_again(master: Process, tmp_path: Path) -> None:
    with FrameworkClient(master.url, failover_timeout=60) as framework:
        with start_agent(master, tmp_path) as agent:
            run(framework, t="true")
            first = framework.wait("UPDATE")["update"]["status"]
            agent.stop(signal.SIGKILL)
        with start_agent(master, tmp_path) as agent:
            acknowledged = {name: first[name] for name in ("agent_id", "task_id", "uuid")}
            framework.send("ACKNOWLEDGE", **acknowledged)
            assert next_states(framework, 2) == {"t": ["TASK_RUNNING", "TASK_FINISHED"]}
            framework.send("TEARDOWN")
            agent.stop()


def test_usr1_takes_all_down(master: Process, tmp_path: Path) -> None:
    with FrameworkClient(master.url) as framework:
        with start_agent(master, tmp_path) as agent:
            run(framework, t="sleep 7777.5")
            assert next_states(framework, 1) == {"t": ["TASK_RUNNING"]}
            assert is_running("sleep 7777.5")
            assert agent.stop(signal.SIGUSR1) == 0
        assert not is_running("sleep 7777.5")
        assert next_status(framework)["state"] == "TASK_LOST"
        framework.send("TEARDOWN")


def test_teardown_ends_tasks(master: Process, agent: Process) -> None:
    with FrameworkClient(master.url) as framework:
        run(framework, t="sleep 7777.6")
        assert next_states(framework, 1) == {"t": ["TASK_RUNNING"]}
        framework.send("TEARDOWN")
    wait_until_gone("sleep 7777.6")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--master", "nowhere"], "nowhere"),
        (["--master", "zk://host"], "zk://host"),
        (["--master", "http://127.0.0.1:1", "--count", "2"], "--runtime null"),
        (["--master", "http://127.0.0.1:1", "--resources", "cpus"], "cpus"),
        (["--master", "http://127.0.0.1:1", "--attributes", "rack"], "rack"),
        (["--master", "http://127.0.0.1:1", "--ip", "0.0.0.0"], "--credentials"),
        (["--master", "http://127.0.0.1:1", "--credential", "/nowhere"], "/nowhere"),
        (["--master", "http://127.0.0.1:1", "--work-dir", "/dev/null/x"], "/dev/null/x"),
        (["--master", "http://127.0.0.1:1", "--executor-environment", "[]"], "[]"),
        ([], "--master"),
    ],
)
def test_refuses_to_start(arguments: list[str], text: str, tmp_path: Path) -> None:
    given = ["--port", "0", "--work-dir", str(tmp_path), *arguments]
    done = serving.refused("agent", *given)
    assert text in done.stderr.splitlines()[-1]


def test_a_work_dir_is_one_agents(master: Process, agent: Process, tmp_path: Path) -> None:
    work_dir = str(tmp_path / "work")
    done = serving.refused("agent", "--master", master.url, "--port", "0", "--work-dir", work_dir)
    assert work_dir in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_taken_port_is_refused(master: Process, agent: Process, tmp_path: Path) -> None:
    port = agent.url.rpartition(":")[2]
    given = ("--master", master.url, "--port", port, "--work-dir", tmp_path / "other")
    done = serving.refused("agent", *given)
    assert port in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_no_less_than_its_tasks_use(master: Process, tmp_path: Path) -> None:
    with FrameworkClient(master.url) as framework:
        with start_agent(master, tmp_path) as agent:
            run(framework, t="sleep 7777.7")
            assert next_states(framework, 1) == {"t": ["TASK_RUNNING"]}
            agent.stop()
        given = ("--master", master.url, "--port", "0", "--work-dir", str(tmp_path / "work"))
        given += ("--runtime", "process")
        done = serving.refused("agent", *given, "--resources", "cpus:0;mem:1024")
        assert "--resources" in done.stderr.splitlines()[-1]
        with start_agent(master, tmp_path) as agent:
            agent.stop(signal.SIGUSR1)
        assert not is_running("sleep 7777.7")


def test_old_sandboxes_are_removed(master: Process, tmp_path: Path) -> None:
    with (
        start_agent(master, tmp_path, "--gc-delay", "0.1") as agent,
        FrameworkClient(master.url) as framework,
    ):
        run(framework, over="true", on="sleep 7777.8")
        states = next_states(framework, 3)
        assert states == {"over": ["TASK_RUNNING", "TASK_FINISHED"], "on": ["TASK_RUNNING"]}
        deadline = time.monotonic() + serving.PATIENCE_SECONDS
        while [*tmp_path.glob("work/agents/*/frameworks/*/executors/over")]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert sandbox(tmp_path, "on").is_dir()
        framework.send("TEARDOWN")
        agent.stop(signal.SIGUSR1)


def test_credentials_of_readers(master: Process, tmp_path: Path) -> None:
    file = serving.credentials(tmp_path, "ops", "s3cret")
    with start_agent(master, tmp_path, "--credentials", str(file)) as agent:
        assert httpx.get(f"{agent.url}/health").status_code == 200
        r = httpx.get(f"{agent.url}/state")
        assert (r.status_code, r.headers["www-authenticate"]) == (401, 'Basic realm="allocator"')
        assert httpx.get(f"{agent.url}/state", auth=("ops", "wrong")).status_code == 401
        with httpx.Client(auth=("ops", "s3cret")) as client:
            for _ in range(3):
                assert client.get(f"{agent.url}/slave(1)/state.json").status_code == 200
        agent.stop(signal.SIGUSR1)


def test_tasks_outlive_the_master(tmp_path: Path) -> None:
    options = ("--allocation-interval", "0.1")
    flag = tmp_path / "flag"
    with serving.master(tmp_path / "m", *options) as master:
        port = int(master.url.rpartition(":")[2])
        with (
            start_agent(master, tmp_path) as agent,
            FrameworkClient(master.url, failover_timeout=600) as framework,
        ):
            mark = f"while [ ! -e {flag}"
            offer = run(framework, t=f"{mark} ]; do sleep 0.05; done; exit 5")
            assert next_states(framework, 1) == {"t": ["TASK_RUNNING"]}
            master.kill()
            flag.touch()  # while no master is there
            wait_until_gone(mark)
            with serving.master(tmp_path / "m", *options, port=port) as other:
                id = {"value": framework.framework_id}
                with FrameworkClient(other.url, failover_timeout=600, id=id) as again:
                    status = next_status(again, lambda status: status["state"] == "TASK_FAILED")
                    assert status["message"] == "Command exited with status 5"
                    assert next_offer(again)["agent_id"] == offer["agent_id"]
                    again.send("TEARDOWN")
                agent.stop(signal.SIGUSR1)
