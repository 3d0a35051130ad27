"""Faults through the real process: kill -9 under load, a full disk, readers and senders that stick.

ALLOCATOR_KILLS, ALLOCATOR_CONNECTIONS ask for more than the little that every run takes.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from allocator import Resources
from tests.service import serving
from tests.service.serving import (
    PATIENCE_SECONDS,
    AgentsClient,
    FrameworkClient,
    Process,
    Subscription,
)
from tests.service.world import agent

Json = dict[str, Any]

N_KILLS = int(os.environ.get("ALLOCATOR_KILLS", "3"))
N_CONNECTIONS = int(os.environ.get("ALLOCATOR_CONNECTIONS", "500"))

ENDED = ("TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_LOST", "TASK_DROPPED", "TASK_ERROR")


def operate(url: str, type: str, **content: Any) -> httpx.Response:
    body = {"type": type, type.lower(): content}
    return httpx.post(f"{url}/api/v1", json=body, timeout=PATIENCE_SECONDS)


def read(url: str, type: str) -> Any:
    return operate(url, type).json()[type.lower()]


def until(holds: Callable[[], Any], what: str) -> Any:
    """Return what is true at last."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if found := holds():
                return found
        time.sleep(0.05)
    raise AssertionError(what)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Worker(threading.Thread):
    """Does something again and again, over all ends of the master, until told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stopping = threading.Event()
        self.failure: str | None = None

    def run(self) -> None:
        while not self.stopping.is_set() and self.failure is None:
            try:
                self.work()
            except (httpx.HTTPError, StopIteration):
                time.sleep(0.02)
            except AssertionError as error:
                self.failure = f"{type(self).__name__}: {error}"

    def work(self) -> None:
        raise NotImplementedError


class Operator(Worker):
    """Sets weights, and knows what was acknowledged."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._n = 0
        #: Role → the last weight that was acknowledged; each is larger than those before.
        self.acknowledged: dict[str, float] = {}

    def work(self) -> None:
        self._n += 1
        role, weight = f"r{self._n % 7}", float(self._n)
        infos = [{"role": role, "weight": weight}]
        response = operate(self._url, "UPDATE_WEIGHTS", weight_infos=infos)
        assert response.status_code in (200, 503), response.text
        if response.status_code == 200:
            self.acknowledged[role] = weight

    def check(self) -> None:
        """Check that what was acknowledged before is there, or what was sent after it."""
        acknowledged = dict(self.acknowledged)
        infos = read(self._url, "GET_WEIGHTS")["weight_infos"]
        known = {info["role"]: info["weight"] for info in infos}
        for role, weight in acknowledged.items():
            assert known.get(role, 0) >= weight, (role, weight, known)
            assert int(known[role]) % 7 == int(role[1:])


class Runner(Worker):
    """A framework that runs short tasks, and comes back under its id."""

    def __init__(self, url: str, role: str) -> None:
        super().__init__()
        self._url = url
        self._role = role
        self.id: str | None = None
        self.n_ended = 0
        self._n_tasks = 0

    def work(self) -> None:
        known = {} if self.id is None else {"id": {"value": self.id}}
        with FrameworkClient(
            self._url, roles=[self._role], failover_timeout=3600, **known
        ) as client:
            if client.response.status_code == 503:
                return
            assert client.response.status_code == 200
            assert self.id in (None, client.framework_id), client.framework_id
            assert client.framework_id
            self.id = client.framework_id
            while not self.stopping.is_set():
                record = client.next()
                assert record["type"] != "ERROR", record
                if record["type"] == "OFFERS":
                    for offer in record["offers"]["offers"]:
                        self._launch(client, offer)
                elif record["type"] == "UPDATE":
                    self._acknowledge(client, record["update"]["status"])

    def _launch(self, client: FrameworkClient, offer: Json) -> None:
        self._n_tasks += 1
        entries = [
            {"name": name, "type": "SCALAR", "scalar": {"value": value}}
            for name, value in (("cpus", 0.5), ("mem", 32))
        ]
        task = {
            "name": "t",
            "task_id": {"value": f"t{self._n_tasks}"},
            "agent_id": offer["agent_id"],
            "resources": entries,
            "command": {"value": "sleep 0.1"},
        }
        operation = {"type": "LAUNCH", "launch": {"task_infos": [task]}}
        client.send(
            "ACCEPT",
            offer_ids=[offer["id"]],
            operations=[operation],
            filters={"refuse_seconds": 0.2},
        )

    def _acknowledge(self, client: FrameworkClient, status: Json) -> None:
        if status["state"] in ENDED:
            self.n_ended += 1
        if "uuid" in status:
            fields = {name: status[name] for name in ("agent_id", "task_id", "uuid")}
            client.send("ACKNOWLEDGE", **fields)


AGENTS = "cpus:2;mem:256"


class Cluster:
    """A master that is killed again and again, agents, and those who load it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.master = self.start()
        (folder / "agents").mkdir()
        self.agents = Process(
            *("agent", "--master", self.url, "--runtime", "null", "--count", "3"),
            *("--resources", AGENTS, "--work-dir", str(folder / "agents"), "--port", "0"),
            log=folder / "agents" / "log",
        )
        found = until(self._agents, "the agents register")
        self.totals = {id: Resources(agent["total_resources"]) for id, agent in found}
        self.operator = Operator(self.url)
        self.runners = [Runner(self.url, "eng/a"), Runner(self.url, "ops")]
        for worker in self.workers:
            worker.start()

    @property
    def workers(self) -> list[Worker]:
        return [self.operator, *self.runners]

    def start(self) -> Process:
        return serving.master(
            self.folder / "m",
            *("--heartbeat-interval", "0.2", "--allocation-interval", "0.1"),
            port=self.port,
        )

    def _agents(self) -> list[tuple[str, Json]]:
        agents = read(self.url, "GET_AGENTS")["agents"]
        found = [(agent["agent_info"]["id"]["value"], agent) for agent in agents]
        return found if len(found) == 3 else []

    def check(self) -> None:
        """Check that all is there again, that nothing is twice, and that it goes on."""
        self.operator.check()
        agents = dict(until(self._agents, "the agents come back"))
        assert agents.keys() == self.totals.keys()
        known = {f["framework_info"]["id"]["value"] for f in self._frameworks()}
        assert {runner.id for runner in self.runners if runner.id} <= known
        before = [runner.n_ended for runner in self.runners]
        for runner, n in zip(self.runners, before, strict=True):
            until(lambda r=runner, n=n: r.n_ended > n or r.failure, "frameworks go on")
        state = read(self.url, "GET_STATE")
        self._check_use(state)
        assert [worker.failure for worker in self.workers if worker.failure] == []

    def _frameworks(self) -> list[Json]:
        found: list[Json] = read(self.url, "GET_FRAMEWORKS")["frameworks"]
        return found

    def _check_use(self, state: Json) -> None:
        """Check that an agent's tasks fit in what it has, and that they are all that it has."""
        used: dict[str, Resources] = {id: Resources() for id in self.totals}
        seen = set()
        for task in state["get_tasks"]["tasks"]:
            key = (task["framework_id"]["value"], task["task_id"]["value"])
            assert key not in seen
            seen.add(key)
            if task["state"] not in ENDED:
                used[task["agent_id"]["value"]] += Resources(task["resources"])
        for shown in state["get_agents"]["agents"]:
            id = shown["agent_info"]["id"]["value"]
            assert Resources(shown["total_resources"]) == self.totals[id]
            assert Resources(shown["allocated_resources"]) == used[id]
            assert self.totals[id] >= used[id]

    def stop(self) -> None:
        for worker in self.workers:
            worker.stopping.set()
        self.agents.kill()
        for worker in self.workers:
            worker.join(PATIENCE_SECONDS)
        self.master.kill()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.stop()


def test_kill_at_random_moments_under_load(cluster: Cluster) -> None:
    chance = random.Random(7)
    for _ in range(N_KILLS):
        time.sleep(chance.uniform(0, 1.5))
        cluster.master.kill()
        cluster.master = cluster.start()
        cluster.check()
    assert all(runner.n_ended > 0 for runner in cluster.runners)
    assert len(cluster.operator.acknowledged) == 7


# Disks.


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk(tmp_path: Path, small_disk: Path) -> None:
    registry = ("--registry", str(small_disk / "registry"))
    with serving.master(tmp_path / "m", *registry) as master:

        def weigh(role: str, weight: float) -> int:
            infos = [{"role": role, "weight": weight}]
            return operate(master.url, "UPDATE_WEIGHTS", weight_infos=infos).status_code

        assert weigh("before", 2) == 200
        with (small_disk / "filler").open("wb", 0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(b"x" * 4096)
        codes = [weigh(f"full{n}" * 50, 2) for n in range(50)]
        assert codes[-1] == 503
        assert httpx.get(f"{master.url}/health").status_code == 200
        assert read(master.url, "GET_WEIGHTS")["weight_infos"]
        # Who is not told that it is connected is not.
        with FrameworkClient(master.url, name="n" * 10_000, failover_timeout=9) as client:
            assert client.response.status_code == 503
            (framework,) = read(master.url, "GET_FRAMEWORKS")["frameworks"]
            assert not framework["connected"]
        with AgentsClient(master.url, agent("h" * 1000)) as client:
            assert client.response.status_code == 503
            (known,) = read(master.url, "GET_AGENTS")["agents"]
            assert not known["active"]
        (small_disk / "filler").unlink()
        assert weigh("after", 3) == 200
        master.kill()
    with serving.master(tmp_path / "m", *registry) as master:
        infos = read(master.url, "GET_WEIGHTS")["weight_infos"]
        known = {info["role"]: info["weight"] for info in infos}
    assert (known["before"], known["after"]) == (2, 3)
    # What was not acknowledged was kept, and written with the next that could be.
    assert all(f"full{n}" * 50 in known for n in range(50))


# Readers.


def connect(url: str) -> socket.socket:
    place = urlsplit(url)
    assert place.hostname is not None
    assert place.port is not None
    return socket.create_connection((place.hostname, place.port), PATIENCE_SECONDS)


def request(path: str, body: bytes, length: int | None = None) -> bytes:
    """Return a POST as it goes over the wire."""
    n_bytes = len(body) if length is None else length
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {n_bytes}\r\n\r\n".encode() + body


def test_watchers_that_do_not_read_are_cut_off(tmp_path: Path) -> None:
    with serving.master(tmp_path) as master:
        files = Path(f"/proc/{master.pid}/fd")

        def n_open() -> int:
            return len(list(files.iterdir()))

        n_before = n_open()
        stuck = connect(master.url)
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.sendall(request("/api/v1", b'{"type":"SUBSCRIBE"}'))
        stuck.recv(100)
        with Subscription(master.url, "/api/v1", {"type": "SUBSCRIBE"}) as watcher:
            watcher.wait("HEARTBEAT")
            # Some 50 MB of events: more than may wait for one reader.
            n_frameworks = 50
            for number in range(n_frameworks):
                labels = {"labels": [{"key": "k", "value": "v" * 2**20}]}
                FrameworkClient(master.url, name=f"f{number}", labels=labels).close()
                watcher.wait("FRAMEWORK_REMOVED")
        until(lambda: n_open() <= n_before, "the watcher that does not read is cut off")
        stuck.close()
        assert httpx.get(f"{master.url}/health").status_code == 200


# Senders.

BODIES = {
    "empty": b"",
    "truncated": b'{"type":"UPDATE_WEIGHTS","update_weights":{"weight_infos":[{"role"',
    "nested": b"[" * 100_000,
    "nested objects": b'{"type":"GET_STATE","a":' * 10_000,
    "not UTF-8": b'{"type":"\xff\xfe"}',
    "lone surrogate": b'{"type":"\\ud800"}',
    "not UTF-8 in a field": b'{"type":"UPDATE_WEIGHTS","update_weights":{"weight_infos":'
    b'[{"role":"\xc3","weight":1}]}}',
    "zeros": b"\0" * 1000,
    "large number": b'{"type":"UPDATE_WEIGHTS","update_weights":{"weight_infos":'
    b'[{"role":"a","weight":' + b"9" * 5000 + b"}]}}",
    "list": b"[1]",
    "text": b'"GET_STATE"',
    "large": b'{"type":"GET_STATE","x":"' + b"x" * (8 * 2**20) + b'"}',
}


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serving.master(tmp_path_factory.mktemp("m"), "--header-timeout", "1") as process:
        yield process


@pytest.mark.parametrize("path", ["/api/v1", "/api/v1/scheduler", "/api/v1/agents", "/weights"])
@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_are_none(master: Process, path: str, name: str) -> None:
    method = "PUT" if path == "/weights" else "POST"
    headers = {"Content-Type": "application/json"}
    response = httpx.request(
        method, master.url + path, content=BODIES[name], headers=headers, timeout=PATIENCE_SECONDS
    )
    assert 400 <= response.status_code < 600
    assert response.status_code not in (500, 503)
    assert len(response.content) < 1000
    assert read(master.url, "GET_WEIGHTS") == {"weight_infos": []}


def test_senders_that_leave_or_stick(master: Process) -> None:
    waiting = []
    for length in (1, 10_000, 2**22):
        for body in (b"", b'{"type":'):
            for path in ("/api/v1", "/api/v1/scheduler", "/api/v1/agents"):
                leaving = connect(master.url)
                leaving.sendall(request(path, body, length + len(body)))
                leaving.close()
                waiting.append(connect(master.url))
                waiting[-1].sendall(request(path, body, length + len(body)))
    for each in waiting:
        said = b""
        while data := each.recv(1000):
            said += data
        assert said.startswith(b"HTTP/1.1 408")
        each.close()
    assert httpx.get(f"{master.url}/health").status_code == 200


def test_connections_that_are_opened_and_left(master: Process) -> None:
    idle = [connect(master.url) for _ in range(N_CONNECTIONS)]
    assert httpx.get(f"{master.url}/health", timeout=PATIENCE_SECONDS).status_code == 200
    for each in idle:
        with contextlib.suppress(ConnectionResetError):
            while each.recv(1000):
                pass
        each.close()
    assert httpx.get(f"{master.url}/health").status_code == 200
    errors = [line for line in master.logged() if line["level"] in ("error", "critical")]
    assert errors == []
