"""An agent without a master: containers launched at it, in both runtimes, and what it answers."""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from allocator.agent import detect
from allocator.agent.checkpoint import Checkpoint
from allocator.agent.containers.cgroups import Cgroups
from allocator.agent.instructions import Container, Event, NotStarted
from allocator.agent.process import ProcessRuntime
from allocator.wire import messages as m
from allocator.wire.credentials import hashed
from tests.agent.machine import processes_below, remove_roots, root_name, skip_without
from tests.service import serving
from tests.service.serving import PATIENCE_SECONDS, Json, Process, wait_for

#: Without a shell in between.
SLEEP: Json = {"shell": False, "value": "sleep", "arguments": ["sleep", "99"]}


class Agent(Process):
    """A standalone agent, and a client of it."""

    def __init__(self, folder: Path, *given: str) -> None:
        self.client = httpx.Client(timeout=PATIENCE_SECONDS)
        work = ("--work-dir", str(folder / "work"), "--resources", "cpus:4;mem:1024;disk:0")
        super().__init__("agent", "--standalone", "--port", "0", *work, *given, log=folder / "log")
        self.work = folder / "work"
        self.client.base_url = httpx.URL(self.url)

    def call(self, type: str, content: Json | None = None) -> httpx.Response:
        body = {"type": type} if content is None else {"type": type, type.lower(): content}
        return self.client.post("/api/v1", json=body)

    def of(self, type: str, id: str, **more: object) -> httpx.Response:
        return self.call(type, {"container_id": {"value": id}, **more})

    def launch(self, id: str, command: str | Json, **more: object) -> httpx.Response:
        given = {"value": command} if isinstance(command, str) else command
        return self.of("LAUNCH_CONTAINER", id, command=given, **more)

    def wait(self, id: str) -> Json:
        r = self.of("WAIT_CONTAINER", id)
        assert r.status_code == 200, r.text
        return r.json()["wait_container"]  # type: ignore[no-any-return]

    def containers(self, **query: str) -> list[Json]:
        return self.client.get("/containers", params=query).json()  # type: ignore[no-any-return]

    def kill(self) -> None:
        self.client.close()
        super().kill()

    def close(self) -> None:
        assert self.stop(signal.SIGUSR1) == 0


@pytest.fixture
def agent(tmp_path: Path, kind: tuple[str, ...]) -> Iterator[Agent]:
    with Agent(tmp_path, *kind) as process:
        yield process
        process.close()


def test_ends_are_told_until_they_are_removed(agent: Agent) -> None:
    assert agent.launch("a", "echo out; exit 3").status_code == 200
    ended = {"exit_status": 768, "message": "Command exited with status 3"}
    assert agent.wait("a") == agent.wait("a") == ended
    assert (agent.work / "containers/a/stdout").read_text() == "out\n"
    assert agent.launch("a", "true").status_code == 202
    assert agent.of("KILL_CONTAINER", "a").status_code == 404
    assert agent.of("REMOVE_CONTAINER", "a").status_code == 200
    assert not (agent.work / "containers/a").exists()
    for type in ("WAIT_CONTAINER", "KILL_CONTAINER", "REMOVE_CONTAINER"):
        assert agent.of(type, "a").status_code == 404
    assert agent.launch("a", "exit 0").status_code == 200
    assert agent.wait("a")["exit_status"] == 0


def test_signals(agent: Agent) -> None:
    handler = "trap 'exit 5' USR1; echo > ready; while :; do sleep 0.01; done"
    assert agent.launch("handles", handler).status_code == 200
    assert agent.launch("plain", SLEEP).status_code == 200
    assert agent.launch("stubborn", "trap '' TERM; setsid sleep 98 & sleep 99").status_code == 200
    assert agent.of("REMOVE_CONTAINER", "plain").status_code == 409
    assert agent.of("KILL_CONTAINER", "plain", signal=65).status_code == 400
    assert agent.of("KILL_CONTAINER", "plain", signal=15).status_code == 200
    assert agent.wait("plain")["exit_status"] == 15
    assert agent.of("KILL_CONTAINER", "stubborn").status_code == 200
    assert agent.wait("stubborn")["exit_status"] == 9
    wait_for((agent.work / "containers/handles/ready").exists)
    assert agent.of("KILL_CONTAINER", "handles", signal=10).status_code == 200
    assert agent.wait("handles")["exit_status"] == 5 << 8


def test_many_wait_for_one(agent: Agent) -> None:
    agent.launch("a", SLEEP)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        waits = [pool.submit(agent.wait, "a") for _ in range(8)]
        # One who does not wait for the answer takes nothing from the others.
        body = {"type": "WAIT_CONTAINER", "wait_container": {"container_id": {"value": "a"}}}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{agent.url}/api/v1", json=body, timeout=0.2)
        assert agent.of("KILL_CONTAINER", "a", signal=2).status_code == 200
        assert {wait.result()["exit_status"] for wait in waits} == {2}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"command": {"value": ""}}, "no value"),
        *(
            ({"command": {"value": "x", "environment": {"variables": [bad]}}}, words)
            for bad, words in (
                ({"name": "A=B"}, "A=B"),
                ({"name": "A"}, "variable A"),
                ({"name": "A", "type": "SECRET", "secret": {"type": "VALUE"}}, "is a SECRET"),
            )
        ),
        ({"command": {"value": "true"}, "resources": "cpus:-1"}, "-1"),
        ({"command": {"value": "true"}, "resources": "cpus(eng):1"}, "unreserved"),
        ({"command": {"value": "true"}, "resources": 7}, "resources"),
        (
            {
                "command": {"value": "true"},
                "resources": "cpus:1",
                "limits": {"cpus": {"value": 0.5}},
            },
            "below",
        ),
        ({"command": {"value": "true"}, "limits": {"disk": {"value": 5}}}, "disk"),
        ({"command": {"value": "true"}, "limits": {"mem": {"value": "nan"}}}, "limit"),
        ({"command": {"value": "true"}, "limits": {"cpus": {"value": 1e308}}}, "over-large"),
        ({"command": {"shell": False, "value": "/no/program"}}, "No such file"),
        ({"command": {"shell": False, "value": "/etc/passwd"}}, "Permission denied"),
        ({"command": {"value": "true", "user": "no-such-user"}}, "no-such-user"),
        ({"command": {"value": "true", "user": 7}}, "user"),
        ({"command": {"value": "true", "environment": [1]}}, "environment"),
        ({"command": {"value": "true"}, "container": {"hostname": 7}}, "hostname"),
        ({"command": {"value": "true"}, "container": {"hostname": "x" * 65}}, "hostname"),
        ({"command": {"value": "true"}, "container": {"type": "DOCKER"}}, "MESOS"),
        ({"command": {"value": "true"}, "container": {"volumes": [{}]}}, "volumes"),
        ({"command": {"value": "true"}, "container": {"mesos": {"image": {"x": 1}}}}, "image"),
        ({"command": {"value": "true"}, "container": {"rlimit_info": 7}}, "rlimit"),
        *(
            ({"command": {"value": "true"}, "container": {"rlimit_info": {"rlimits": bad}}}, words)
            for bad, words in (
                (7, "rlimits"),
                ([7], "7 is no limit"),
                ([{"type": "RLMT_X"}], "RLMT_X"),
                ([{"type": "RLMT_NOFILE", "soft": 5}], "is no limit"),
                ([{"type": "RLMT_NOFILE", "soft": "5", "hard": "6"}], "is no limit"),
                ([{"type": "RLMT_NOFILE", "soft": -1, "hard": 2**64}], "is no limit"),
                ([{"type": "RLMT_NOFILE", "soft": 6, "hard": 5}], "resource limits"),
            )
        ),
    ],
)
def test_what_cannot_be_launched(agent: Agent, more: Json, words: str) -> None:
    r = agent.of("LAUNCH_CONTAINER", "bad", **more)
    assert r.status_code == 400
    assert words in r.text
    assert agent.of("WAIT_CONTAINER", "bad").status_code == 404
    assert agent.containers() == []
    assert not (agent.work / "containers/bad").exists()
    assert not (agent.work / "meta/containers/bad").exists()
    assert agent.launch("bad", "true").status_code == 200


def test_limits_of_processes(agent: Agent) -> None:
    rlimits = [
        {"type": "RLMT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLMT_CORE"},
        {"type": "RLMT_FSIZE", "soft": 2**20, "hard": 2**64 - 1},
    ]
    info = {"type": "MESOS", "rlimit_info": {"rlimits": rlimits}}
    agent.launch("a", "ulimit -n; ulimit -Hn; ulimit -c; ulimit -Hf", container=info)
    assert agent.wait("a")["exit_status"] == 0
    shown = (agent.work / "containers/a/stdout").read_text().split()
    assert shown == ["100", "200", "unlimited", "unlimited"]


def test_ids(agent: Agent) -> None:
    for bad in ("", "x" * 243, "a/b", "a b", "a.b", "..", "a\\b", "a\nb", "tasks"):
        r = agent.launch(bad, "true")
        assert r.status_code == 400, (bad, r.text)
    for good in ("x" * 242, "ä" * 121, "-", "cgroup"):
        assert agent.launch(good, "true").status_code == 200, good
        assert agent.wait(good)["exit_status"] == 0
    nested = {"value": "a", "parent": {"value": "b"}}
    r = agent.call("LAUNCH_CONTAINER", {"container_id": nested, "command": {"value": "true"}})
    assert r.status_code == 501


def test_containers_are_listed_with_what_they_use(agent: Agent) -> None:
    more = {"resources": "cpus:0.5;mem:64", "limits": {"cpus": {"value": "Infinity"}}}
    assert agent.launch("busy", "while :; do :; done").status_code == 200
    assert agent.launch("idle", "sleep 99", **more).status_code == 200
    first, second = agent.containers()
    assert [first["container_id"], second["container_id"]] == ["busy", "idle"]
    names = ("executor_id", "executor_name", "framework_id", "source")
    assert {first[name] for name in names} == {""}
    statistics = second["statistics"]
    assert statistics["mem_limit_bytes"] == 64 * 2**20
    assert "cpus_limit" not in statistics
    assert statistics["processes"] == statistics["threads"] >= 2
    assert statistics["mem_total_bytes"] > 0
    status = first["status"]
    assert status["container_id"] == {"value": "busy"}
    assert Path(f"/proc/{status['executor_pid']}").exists()

    def cpu_time() -> float:
        (found,) = agent.containers(container_id="busy")
        return float(found["statistics"]["cpus_user_time_secs"])

    before = cpu_time()
    while cpu_time() <= before:
        pass
    assert agent.containers(container_id="other") == []
    assert agent.containers(framework_id="") == []
    assert len(agent.containers(whatever="x")) == 2
    for query in ({"container_id": "busy", "framework_id": "f"}, {"executor_id": "e"}):
        assert agent.client.get("/containers", params=query).status_code == 400
    rows = agent.client.get("/slave(1)/monitor/statistics.json").json()
    assert [sorted(row) for row in rows] == [sorted((*names, "statistics"))] * 2
    shown = agent.call("GET_CONTAINERS", {"show_standalone": True}).json()["get_containers"]
    assert [each["container_id"]["value"] for each in shown["containers"]] == ["busy", "idle"]
    assert agent.call("GET_CONTAINERS").json()["get_containers"] == {"containers": []}


def test_a_killed_agent_finds_its_containers_again(tmp_path: Path, kind: tuple[str, ...]) -> None:
    with Agent(tmp_path, *kind) as agent:
        agent.launch("stays", "sleep 99")
        agent.launch("ends", "while [ ! -e end ]; do sleep 0.01; done; exit 7")
        agent.launch("ended", "exit 4")
        agent.wait("ended")
        pids = {row["container_id"]: row["status"]["executor_pid"] for row in agent.containers()}
        agent.kill()
    (tmp_path / "work/containers/ends/end").touch()
    (tmp_path / "work/containers/unknown").mkdir()
    notes = tmp_path / "work/meta/containers"
    (notes / "corrupt").mkdir()
    (notes / "corrupt/notes").write_text("{")
    with Agent(tmp_path, *kind) as agent:
        assert agent.wait("ends")["exit_status"] == 7 << 8
        assert agent.wait("ended")["exit_status"] == 4 << 8
        (row,) = agent.containers()
        assert row["container_id"] == "stays"
        assert row["status"]["executor_pid"] == pids["stays"]
        assert agent.launch("stays", "true").status_code == 202
        assert agent.of("REMOVE_CONTAINER", "ended").status_code == 200
        assert agent.of("WAIT_CONTAINER", "corrupt").status_code == 404
        agent.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids.values())


def parent(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("PPid:")[2].split()[0])


def runs(pid: int) -> bool:
    """Tell whether a process is there, and not only waits for pid 1 to take notice of its end."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def test_one_launcher_is_taken_over_and_reaps_all(tmp_path: Path, kind: tuple[str, ...]) -> None:
    pids: dict[str, int] = {}
    for life in range(3):
        with Agent(tmp_path, *kind) as agent:
            assert agent.launch(f"c{life}", SLEEP).status_code == 200
            rows = agent.containers()
            pids = {row["container_id"]: row["status"]["executor_pid"] for row in rows}
            agent.kill()
    assert len(pids) == 3
    (launcher,) = {parent(pid) for pid in pids.values()}
    while Path(f"/proc/{pids['c0']}").exists():  # nobody but the launcher is there to reap it
        with contextlib.suppress(ProcessLookupError):
            os.kill(pids["c0"], signal.SIGKILL)
    with Agent(tmp_path, *kind) as agent:
        assert agent.wait("c0")["exit_status"] == 9
        assert parent(pids["c1"]) == launcher
        assert agent.of("KILL_CONTAINER", "c1", signal=15).status_code == 200
        assert agent.wait("c1")["exit_status"] == 15
        assert not Path(f"/proc/{pids['c1']}").exists()
        agent.kill()
    os.kill(pids["c2"], signal.SIGKILL)
    while runs(launcher):  # its last child has ended, and no agent is there
        pass
    with Agent(tmp_path, *kind) as agent:
        assert agent.wait("c2")["exit_status"] == 9
        agent.close()


def test_limits_of_memory(tmp_path: Path, found: Cgroups | str) -> None:
    skip_without(found)
    name = root_name()
    with Agent(tmp_path, "--cgroups-root", name) as agent:
        command = f"{sys.executable} -c 'x = bytearray(2**30)'; true"
        agent.launch("eats", command, resources="mem:32")
        end = agent.wait("eats")
        assert end["state"] == "TASK_FAILED"
        assert end["reason"] == "REASON_CONTAINER_LIMITATION_MEMORY"
        assert end["limitation"]["resources"][0]["name"] == "mem"
        assert end["message"].startswith("Memory limit exceeded")
        agent.close()
    assert not processes_below(name)
    remove_roots()


def test_a_defect_is_that_of_one_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: object) -> None:
        raise ZeroDivisionError

    async def run() -> list[Event]:
        told: list[Event] = []
        checkpoint = Checkpoint(tmp_path)
        runtime = ProcessRuntime(told.extend, checkpoint, {})
        info = m.TaskInfo(name="a", task_id=m.Value(value="a"), agent_id=m.Value(value=""))
        runtime.start(Container("a", "", "", "", None, info))
        await asyncio.sleep(0)
        runtime.close()
        checkpoint.close()
        return told

    monkeypatch.setattr(ProcessRuntime, "_plan", fails)
    words = "Not started: the agent failed; its log says how"
    assert asyncio.run(run()) == [NotStarted("a", words)]


# What it answers, whatever the runtime.


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Agent]:
    with Agent(tmp_path, "--runtime", "process") as process:
        yield process
        process.close()


def test_checks_of_calls(plain: Agent) -> None:
    post = plain.client.post
    assert plain.client.get("/api/v1").status_code == 405
    assert plain.client.get("/api/v1").headers["Allow"] == "POST"
    assert post("/api/v1", content=b"{}").status_code == 400
    assert post("/api/v1", content=b"{}", headers={"Content-Type": "text/x"}).status_code == 415
    json_type = {"Content-Type": "application/json; charset=utf-8"}
    deep = b'{"type":"GET_HEALTH","x":' + b"[" * 101 + b"]" * 101 + b"}"
    for body in (b"", b"{", b"[]", b"{}", b'{"type":7}', deep):
        assert post("/api/v1", content=body, headers=json_type).status_code == 400, body
    assert plain.call("NO_SUCH_CALL").status_code == 501
    assert plain.call("KILL_CONTAINER").status_code == 400
    assert post("/api/v1", content=b" " * (8 * 2**20 + 1), headers=json_type).status_code == 413
    assert plain.call("GET_HEALTH").json() == {
        "type": "GET_HEALTH",
        "get_health": {"healthy": True},
    }


def test_reads(plain: Agent) -> None:
    state = plain.client.get("/agent/state/").json()
    assert state["id"] == "standalone"
    assert state["resources"]["cpus"] == 4
    for call in (
        "VERSION",
        "FLAGS",
        "METRICS",
        "STATE",
        "FRAMEWORKS",
        "EXECUTORS",
        "TASKS",
        "AGENT",
    ):
        r = plain.call(f"GET_{call}")
        assert (r.status_code, r.json()["type"]) == (200, f"GET_{call}")
    r = plain.client.get("/containers", params={"jsonp": "f"})
    assert (r.text, r.headers["Content-Type"]) == ("f([]);", "text/javascript")
    r = plain.client.post("/containers")
    assert r.status_code == 405
    assert "GET" in r.headers["Allow"]
    assert plain.client.get("/nothing").status_code == 404
    text = plain.client.get("/metrics").text
    assert "slave_cpus_total 4.0" in text
    assert plain.client.get("/metrics/snapshot").json()["slave/cpus_total"] == 4


def test_what_it_has_is_shown_as_in_mesos(tmp_path: Path) -> None:
    text = "cpus(eng):1;cpus:2;mem:0;disk:9;ports:[31000-31009,32000-32000];disks:{b,a}"
    switch = "--no-enforce_container_disk_quota"
    named = ("--resources", text, switch, "--gc_delay", "60")
    with Agent(tmp_path, "--runtime", "process", *named) as agent:
        state = agent.client.get("/state").json()
        rest = {"disk": 9.0, "disks": "{a, b}", "ports": "[31000-31009, 32000-32000]"}
        none = {"gpus": 0.0, "mem": 0.0}
        assert state["resources"] == {"cpus": 3.0, **none, **rest}
        assert state["reserved_resources"] == {"eng": {"cpus": 1.0, "disk": 0.0, **none}}
        assert state["unreserved_resources"] == {"cpus": 2.0, **none, **rest}
        flags = state["flags"]
        assert flags.items() >= {
            ("runtime", "process"),
            ("enforce_container_disk_quota", "false"),
            ("cgroups_enable_cfs", "true"),
            ("gc_delay", "60"),
            ("count", "1"),
        }
        agent.close()


@pytest.mark.parametrize(
    "text", ['[{"name": "mem", "type": "SCALAR", "scalar": {"value": 7}}]', '{"mem": 7}']
)
def test_what_is_named_in_json_is_not_detected_too(tmp_path: Path, text: str) -> None:
    found = detect.resources(text, tmp_path)
    assert found["mem"] == 7
    assert found["cpus"] == len(os.sched_getaffinity(0))
    none = '[{"name": "mem", "type": "SCALAR", "scalar": {"value": 0}}]'
    assert detect.resources(none, tmp_path)["mem"] == 0


def test_an_idle_agent_is_small(plain: Agent) -> None:
    status = Path(f"/proc/{plain.pid}/status").read_text()
    (resident,) = (line.split()[1] for line in status.splitlines() if "VmRSS" in line)
    assert int(resident) <= 40 * 1024
    mapped = Path(f"/proc/{plain.pid}/maps").read_text()
    assert "/allocator/" in mapped
    assert not [name for name in ("numpy", "/engine/", "/sorter/", "/simulator/") if name in mapped]


def test_pipelined_requests_are_answered_in_order(plain: Agent) -> None:
    plain.launch("a", "sleep 0.3")
    body = b'{"type":"WAIT_CONTAINER","wait_container":{"container_id":{"value":"a"}}}'
    head = b"Host: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", plain.client.base_url.port or 0)) as client:
        client.sendall(
            b"POST /api/v1 HTTP/1.1\r\n" + head + body + b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        client.sendall(b"GET /state HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        client.settimeout(PATIENCE_SECONDS)
        text = b"".join(iter(lambda: client.recv(65536), b"")).decode()
    places = [text.index(each) for each in ("wait_container", "build_user", '"standalone"')]
    assert places == sorted(places)


def test_credentials_rights_and_tls(tmp_path: Path) -> None:
    entries = [{"principal": each, "secret": hashed("s")} for each in ("ops", "guest")]
    (tmp_path / "credentials").write_text(json.dumps({"credentials": entries}))
    (tmp_path / "credentials").chmod(0o600)
    rule = {"principals": {"values": ["guest"]}, "paths": {"values": ["/api/v1"]}}
    denied = {**rule, "paths": {"type": "NONE"}}
    acls = {"get_endpoints": [rule, denied]}
    (tmp_path / "acls").write_text(json.dumps(acls))
    request = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout key -out cert"
    subprocess.run(request.split(), cwd=tmp_path, check=True, capture_output=True)
    tls = ("--tls-cert", str(tmp_path / "cert"), "--tls-key", str(tmp_path / "key"))
    access = ("--credentials", str(tmp_path / "credentials"), "--acls", str(tmp_path / "acls"))
    with Agent(tmp_path, "--runtime", "process", *tls, *access) as agent:
        assert agent.url.startswith("https://")
        with httpx.Client(base_url=agent.url, verify=False) as client:
            for path in ("/state", "/containers", "/api/v1", "/metrics", "/nothing"):
                r = client.get(path)
                assert r.status_code == 401
                assert r.headers["WWW-Authenticate"] == 'Basic realm="allocator"'
            for path in ("/health", "/version"):
                assert client.get(path).status_code == 200
            assert client.get("/state", auth=("ops", "wrong")).status_code == 401
            assert client.get("/state", auth=("ops", "s")).status_code == 200
            bearer = base64.b64encode(b"ops:s").decode()
            r = client.get("/containers", headers={"Authorization": f"Bearer {bearer}"})
            assert r.json() == []
            assert client.get("/containers", auth=("guest", "s")).status_code == 403
            body = {"type": "GET_HEALTH"}
            assert client.post("/api/v1", json=body, auth=("guest", "s")).status_code == 200
        assert agent.stop() == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((), "--master"),
        (("--standalone", "--master", "http://127.0.0.1:1"), "not allowed with"),
        (("--standalone", "--port", "70000"), "70000"),
        (("--standalone", "--runtime", "docker"), "docker"),
        (("--standalone", "--ip", "0.0.0.0"), "--credentials"),
        (("--standalone", "--tls-cert", "/nowhere"), "together"),
        (("--standalone", "--acls", "/nowhere"), "/nowhere"),
        (("--standalone", "--nowhere", "x"), "agent: error: unrecognized arguments: --nowhere x"),
    ],
)
def test_what_it_does_not_start_with(tmp_path: Path, given: tuple[str, ...], words: str) -> None:
    work = ("--port", "0", "--work-dir", str(tmp_path), "--runtime", "process")
    (line,) = serving.refused("agent", *work, *given).stderr.splitlines()
    assert words in line
