"""Several masters and a real ZooKeeper: one leads, and what it acknowledged is the next one's."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from allocator.errors import InvalidValue
from allocator.wire.zookeeper import Ensemble, lowest, read_info
from tests.service import serving
from tests.service.serving import PATIENCE_SECONDS, AgentsClient, FrameworkClient, Process
from tests.service.world import agent

kazoo = pytest.importorskip("kazoo.client")

Json = dict[str, Any]

#: As Debian's package has them.
JARS = Path("/usr/share/java/zookeeper.jar")
needs_zookeeper = pytest.mark.skipif(
    not JARS.exists() or shutil.which("java") is None, reason="ZooKeeper is not installed"
)

SESSION_SECONDS = "2"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def until(holds: Callable[[], Any]) -> Any:
    """Return what is true at last."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if found := holds():
                return found
        time.sleep(0.05)
    raise AssertionError("it did not come true")


class ZooKeeper:
    """A server of its own, with nothing in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"127.0.0.1:{free_port()}"
        port = self.address.rpartition(":")[2]
        lines = [
            f"dataDir={folder}/data",
            f"clientPort={port}",
            "clientPortAddress=127.0.0.1",
            "tickTime=500",
            "admin.enableServer=false",
        ]
        (folder / "zoo.cfg").write_text("\n".join(lines))
        self.start()

    def start(self) -> None:
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        with (self.folder / "zookeeper.log").open("ab") as log:
            self.popen = subprocess.Popen(
                ["java", "-cp", str(JARS), "-Xmx128m", main, str(self.folder / "zoo.cfg")],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        host, _, port = self.address.partition(":")

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex((host, int(port))) == 0

        until(listens)

    def stop(self) -> None:
        self.popen.kill()
        self.popen.wait()


@pytest.fixture(scope="module")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeper]:
    server = ZooKeeper(tmp_path_factory.mktemp("zookeeper"))
    yield server
    server.stop()


class Masters:
    """Masters of one cluster, with one registry."""

    def __init__(self, folder: Path, zookeeper: ZooKeeper) -> None:
        self.folder = folder
        self.url = f"zk://{zookeeper.address}/{folder.name}"
        self.processes: list[Process] = []

    def start(self, *arguments: str | Path) -> Process:
        """Start one more."""
        master = serving.master(
            self.folder / f"m{len(self.processes)}",
            *("--ha", self.url, "--ha-session-timeout", SESSION_SECONDS),
            *("--registry", str(self.folder / "registry"), *map(str, arguments)),
        )
        self.processes.append(master)
        return master

    def leader(self) -> Process:
        """Return the one that leads, once one does."""
        return until(lambda: next((m for m in self.processes if leads(m)), None))


def leads(master: Process) -> bool:
    return master.popen.poll() is None and operate(master, "GET_HEALTH").status_code == 200


def operate(master: Process, type: str, **content: Any) -> httpx.Response:
    body = {"type": type, type.lower(): content}
    return httpx.post(f"{master.url}/api/v1", json=body, follow_redirects=False)


@pytest.fixture
def masters(tmp_path: Path, zookeeper: ZooKeeper) -> Iterator[Masters]:
    cluster = Masters(tmp_path, zookeeper)
    yield cluster
    for process in cluster.processes:
        process.kill()


@needs_zookeeper
def test_one_leads_and_the_others_say_who(masters: Masters, zookeeper: ZooKeeper) -> None:
    first = masters.start()
    assert masters.leader() is first
    second = masters.start()
    where = urlsplit(first.url).netloc
    path = "/master/state.json?jsonp=f&x=%2F"
    response = until(lambda: (r := httpx.get(second.url + path)).status_code == 307 and r)
    assert response.headers["location"] == f"//{where}{path}"
    for path in ("/api/v1/scheduler", "/api/v1", "/api/v1/agents"):
        response = httpx.post(second.url + path, content=b"{")
        assert (response.status_code, response.headers["location"]) == (307, f"//{where}{path}")
    for master in masters.processes:
        assert httpx.get(f"{master.url}/redirect").headers["location"] == f"//{where}"
        assert httpx.get(f"{master.url}/health").status_code == 200
        assert httpx.get(f"{master.url}/version").status_code == 200
        assert httpx.get(f"{master.url}/master/metrics/snapshot").json()
        assert b"allocator" in httpx.get(f"{master.url}/metrics").content
    # What Mesos' clients read.
    client = kazoo.KazooClient(hosts=zookeeper.address)
    client.start()
    nodes = client.get_children(f"/{masters.folder.name}")
    assert len(nodes) == 2
    node = lowest(nodes)
    info = json.loads(client.get(f"/{masters.folder.name}/{node}")[0])
    client.stop()
    client.close()
    assert f"{info['address']['ip']}:{info['address']['port']}" == where
    assert (info["hostname"], info["port"]) == ("127.0.0.1", urlsplit(first.url).port)
    assert info["ip"] == 0x0100007F


@needs_zookeeper
def test_a_leader_that_stops_makes_room_at_once(masters: Masters) -> None:
    first = masters.start()
    masters.leader()
    second = masters.start()
    assert first.stop() == 0
    assert masters.leader() is second
    assert second.stop() == 0


@needs_zookeeper
def test_nothing_acknowledged_is_lost_when_a_leader_dies(masters: Masters) -> None:
    weights: dict[str, float] = {}
    framework_ids: list[str] = []
    agent_ids: list[str] = []
    for _ in range(2):
        masters.start()
    for turn in range(3):
        leader = masters.leader()
        shown = operate(leader, "GET_WEIGHTS").json()["get_weights"]["weight_infos"]
        assert {info["role"]: info["weight"] for info in shown} == weights
        known = operate(leader, "GET_FRAMEWORKS").json()["get_frameworks"]["frameworks"]
        assert [f["framework_info"]["id"]["value"] for f in known] == framework_ids
        with (
            FrameworkClient(leader.url, failover_timeout=600) as framework,
            AgentsClient(leader.url, agent(f"h{turn}")) as agents,
        ):
            framework_ids.append(framework.framework_id)
            agent_ids += agents.ids
            for n in range(20):
                role = f"r{turn}-{n}"
                infos = [{"role": role, "weight": n + 1}]
                assert operate(leader, "UPDATE_WEIGHTS", weight_infos=infos).status_code == 200
                weights[role] = n + 1
            leader.kill()
        masters.start()
    leader = masters.leader()
    found = operate(leader, "GET_AGENTS").json()["get_agents"]["recovered_agents"]
    assert sorted(info["id"]["value"] for info in found) == sorted(agent_ids)
    with FrameworkClient(
        leader.url, id={"value": framework_ids[0]}, failover_timeout=600
    ) as framework:
        assert framework.framework_id == framework_ids[0]


@needs_zookeeper
def test_agents_find_the_leader(masters: Masters, tmp_path: Path) -> None:
    masters.start()
    masters.start()
    leader = masters.leader()
    (tmp_path / "agents").mkdir()
    agents = Process(
        *("agent", "--master", masters.url, "--runtime", "null", "--count", "2"),
        *("--resources", "cpus:1;mem:64", "--port", "0", "--work-dir", str(tmp_path / "agents")),
        log=tmp_path / "agents" / "log",
    )

    def ids(master: Process) -> set[str]:
        found = operate(master, "GET_AGENTS").json()["get_agents"]["agents"]
        return {each["agent_info"]["id"]["value"] for each in found}

    with agents:
        until(lambda: len(ids(leader)) == 2)
        before = ids(leader)
        leader.kill()
        until(lambda: ids(masters.leader()) == before)


@needs_zookeeper
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_agents_find_the_leader_by_tls(masters: Masters, tmp_path: Path) -> None:
    cert, key = serving.certificate(tmp_path)
    for _ in range(2):
        masters.start("--tls-cert", cert, "--tls-key", key)
    trusted = httpx.Client(verify=ssl.create_default_context(cafile=str(cert)))

    def leader() -> Process | None:
        running = [m for m in masters.processes if m.popen.poll() is None]
        health = {"type": "GET_HEALTH"}
        answers = [(m, trusted.post(f"{m.url}/api/v1", json=health)) for m in running]
        for _, answer in answers:
            if answer.status_code == 307:  # a reference without a scheme: that of the request
                assert answer.headers["location"].startswith("//")
        return next((m for m, answer in answers if answer.status_code == 200), None)

    agents = Process(
        *("agent", "--master", masters.url, "--runtime", "null", "--resources", "cpus:1;mem:64"),
        *("--port", "0", "--work-dir", str(tmp_path / "agent")),
        log=tmp_path / "agent.log",
        env={"SSL_CERT_FILE": str(cert)},
    )
    with agents, trusted:
        first = until(leader)
        assert first.url.startswith("https://")
        until(lambda: trusted.get(f"{first.url}/slaves").json()["slaves"])
        first.kill()
        second = until(leader)
        assert second is not first
        until(lambda: trusted.get(f"{second.url}/slaves").json()["slaves"])


@needs_zookeeper
def test_a_leader_without_zookeeper_ends(tmp_path: Path) -> None:
    zookeeper = ZooKeeper(tmp_path)
    cluster = Masters(tmp_path, zookeeper)
    try:
        leader, other = cluster.start(), cluster.start()
        if cluster.leader() is other:
            leader, other = other, leader
        zookeeper.stop()
        assert leader.popen.wait(PATIENCE_SECONDS) == 1
        until(lambda: operate(other, "GET_HEALTH").status_code in (307, 503))
        assert any("ZooKeeper" in line["message"] for line in leader.logged())
        zookeeper.start()
        assert cluster.leader() is other
    finally:
        zookeeper.stop()
        for process in cluster.processes:
            process.kill()


@needs_zookeeper
def test_a_leader_that_slept_leads_no_more(masters: Masters) -> None:
    first = masters.start()
    masters.leader()
    second = masters.start()
    first.popen.send_signal(signal.SIGSTOP)
    # It may wake at any time, so the registry is not another's yet.
    until(lambda: [line for line in second.logged() if line["message"] == "elected"])
    assert operate(second, "GET_HEALTH").status_code in (307, 503)
    first.popen.send_signal(signal.SIGCONT)
    assert first.popen.wait(PATIENCE_SECONDS) == 1
    assert masters.leader() is second


def test_nobody_leads_while_zookeeper_is_not_there(tmp_path: Path) -> None:
    url = f"zk://127.0.0.1:{free_port()}/allocator"
    with serving.master(tmp_path, "--ha", url) as master:
        assert httpx.get(f"{master.url}/state").status_code == 503
        assert httpx.get(f"{master.url}/redirect").status_code == 503
        assert httpx.get(f"{master.url}/health").status_code == 200
        assert master.stop() == 0


# Addresses and nodes.


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("http://a:1/b", "zk://"),
        ("zk://a:1", "path"),
        ("zk://a:1/", "path"),
        ("zk://a:x/b", "a:x"),
        ("zk://a:0/b", "a:0"),
        ("zk://:1/b", "':1'"),
        ("zk://a:1,/b", "''"),
    ],
)
def test_addresses_that_cannot_be(url: str, named: str) -> None:
    with pytest.raises(InvalidValue, match=named):
        Ensemble.read(url)


def test_a_password_is_not_repeated() -> None:
    assert Ensemble.read("zk://me:secret@a:1/b").auth == "me:secret"
    with pytest.raises(InvalidValue) as refusal:
        Ensemble.read("zk://me:secret@a:1/")
    assert "secret" not in str(refusal.value)


def test_the_lowest_node_leads() -> None:
    assert lowest([]) is None
    assert lowest(["log_replicas", "json.info_"]) is None
    assert lowest(["json.info_0000000010", "json.info_9"]) == "json.info_9"
    for data in (b"", b"{", b"[]", b'{"hostname":"h"}', b'{"hostname":"h","port":"1"}'):
        assert read_info(data) is None
