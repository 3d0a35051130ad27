"""The master as a process: HTTP, from the socket to the policy."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.service import serving
from tests.service.serving import AgentsClient, FrameworkClient, Json, Process

AGENT = {
    "agent_info": {
        "hostname": "h1",
        "port": 5051,
        "resources": [
            {"name": "cpus", "type": "SCALAR", "scalar": {"value": 4}},
            {"name": "mem", "type": "SCALAR", "scalar": {"value": 1024}},
        ],
    }
}


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serving.master(tmp_path_factory.mktemp("master")) as process:
        yield process


def post(
    master: Process, body: object, content_type: str | None = "application/json", **headers: str
) -> httpx.Response:
    given = dict(headers) if content_type is None else {"Content-Type": content_type, **headers}
    content = body if isinstance(body, bytes) else str(body).encode()
    return httpx.post(f"{master.url}/api/v1/scheduler", content=content, headers=given)


def test_answers_anybody(master: Process) -> None:
    assert (r := httpx.get(f"{master.url}/health")).status_code == 200
    assert r.content == b""
    version = httpx.get(f"{master.url}/master/version.json/").json()
    assert {"version", "build_date", "build_time", "build_user"} <= version.keys()
    assert all(part.isdigit() for part in version["version"].split("."))
    r = httpx.get(f"{master.url}/redirect?x=1")
    assert (r.status_code, r.headers["location"]) == (307, f"//{urlsplit(master.url).netloc}")
    assert httpx.head(f"{master.url}/version").status_code == 200
    r = httpx.post(f"{master.url}/health")
    assert (r.status_code, r.headers["allow"]) == (405, "GET, HEAD")


def test_errors_come_in_the_order_of_the_contract(master: Process) -> None:
    r = httpx.get(f"{master.url}/api/v1/scheduler")
    assert (r.status_code, r.headers["allow"]) == (405, "POST")
    assert httpx.get(f"{master.url}/nowhere").status_code == 404
    assert post(master, "{", None).status_code == 400
    assert post(master, "{", "text/plain").status_code == 415
    assert post(master, "").status_code == 400
    assert post(master, "{").status_code == 400
    assert post(master, '{"type":"NOTHING","framework_id":3}').status_code == 501
    assert post(master, '{"type":"SUBSCRIBE"}').status_code == 400
    subscribe = '{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n"}}}'
    assert post(master, subscribe, Accept="text/html").status_code == 406
    r = post(master, subscribe, **{"Mesos-Stream-Id": "x"})
    assert r.status_code == 400
    assert r.headers["content-type"] == "text/plain; charset=utf-8"
    assert r.text.count("\n") <= 1
    assert post(master, '{"type":"REVIVE","framework_id":{"value":"f"}}').status_code == 400
    deep = '{"type":"SUBSCRIBE","x":' + "[" * 200 + "]" * 200 + "}"
    assert post(master, deep).status_code == 400


def test_weights_are_put_as_curl_does(master: Process) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", "application/json"):
        r = httpx.put(
            f"{master.url}/weights",
            content=b'[{"role":"put","weight":2}]',
            headers={"Content-Type": kind},
        )
        assert (r.status_code, r.content) == (200, b"")
    assert {"role": "put", "weight": 2.0} in httpx.get(f"{master.url}/weights").json()
    undone = httpx.put(f"{master.url}/weights", content=b'[{"role":"put","weight":1}]')
    assert undone.status_code == 200


def test_body_has_a_bound(master: Process) -> None:
    assert post(master, b" " * (8 * 2**20 + 1)).status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(9):
            yield b" " * 2**20

    r = httpx.post(
        f"{master.url}/api/v1/scheduler",
        content=chunks(),
        headers={"Content-Type": "application/json"},
    )
    assert r.status_code == 413


def test_head_has_a_bound(master: Process) -> None:
    r = httpx.get(f"{master.url}/health", headers={"X": "x" * 70_000})
    assert r.status_code == 431


def test_launch_from_subscription_to_the_end(master: Process) -> None:
    with (
        FrameworkClient(master.url, roles=["eng"]) as framework,
        AgentsClient(master.url, AGENT) as agent,
    ):
        offer = framework.wait("OFFERS")["offers"]["offers"][0]
        assert offer["agent_id"]["value"] == agent.ids[0]
        task = {
            "name": "t",
            "task_id": {"value": "t1"},
            "agent_id": offer["agent_id"],
            "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}}],
            "command": {"value": "true"},
        }
        operation = {"type": "LAUNCH", "launch": {"task_infos": [task]}}
        r = framework.send("ACCEPT", offer_ids=[offer["id"]], operations=[operation])
        assert (r.status_code, r.content, r.headers["content-length"]) == (202, b"", "0")
        assert agent.wait("LAUNCH")
        status = {
            "task_id": {"value": "t1"},
            "framework_id": {"value": framework.framework_id},
            "agent_id": offer["agent_id"],
            "state": "TASK_FINISHED",
            "source": "SOURCE_EXECUTOR",
            "timestamp": 1.0,
            "uuid": "AAAAAAAAAAAAAAAAAAAAAA==",
        }
        r = agent.call({"type": "UPDATE", "update": {"statuses": [status]}})
        assert r.status_code == 202
        told = framework.wait("UPDATE")["update"]["status"]
        assert told["state"] == "TASK_FINISHED"
        r = framework.send(
            "ACKNOWLEDGE",
            agent_id=offer["agent_id"],
            task_id={"value": "t1"},
            uuid=told["uuid"],
        )
        assert r.status_code == 202
        assert agent.wait("ACKNOWLEDGE")["uuid"] == status["uuid"]
        assert framework.send("TEARDOWN").status_code == 202
        assert {record["type"] for record in framework.rest()} <= {"HEARTBEAT", "OFFERS"}


def test_each_record_is_a_chunk(master: Process) -> None:
    address = urlsplit(master.url)
    body = b'{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n"}}}'
    with socket.create_connection((address.hostname, address.port), 60) as connection:
        connection.sendall(
            b"POST /api/v1/scheduler HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        data = b""
        while b"HEARTBEAT" not in data:
            data += connection.recv(65536)
    chunk = data.partition(b"\r\n\r\n")[2].split(b"\r\n")
    for size, content in zip(chunk[::2], chunk[1::2], strict=False):
        length, _, record = content.partition(b"\n")
        assert (int(size, 16), int(length)) == (len(content), len(record))


def test_late_head_is_refused(tmp_path: Path) -> None:
    with serving.master(tmp_path, "--header-timeout", "0.2") as process:
        address = urlsplit(process.url)
        with socket.create_connection((address.hostname, address.port), 60) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost:")
            assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")
            assert connection.recv(65536) == b""


def test_signals_end_streams_and_the_process(tmp_path: Path) -> None:
    with (
        serving.master(tmp_path) as process,
        FrameworkClient(process.url) as framework,
    ):
        assert framework.next()["type"] == "HEARTBEAT"
        process.popen.terminate()
        with pytest.raises(StopIteration):
            framework.next()
        assert process.stop() == 0
        assert process.logged()[-1]["message"] == "stopping"


def test_a_body_that_does_not_come_is_not_waited_for_at_the_end(tmp_path: Path) -> None:
    with serving.master(tmp_path, "--header-timeout", "600") as process:
        address = urlsplit(process.url)
        with socket.create_connection((address.hostname, address.port), 60) as connection:
            connection.sendall(
                b"POST /api/v1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n"
            )
            assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")  # it reads the body
            connection.sendall(b"{")
            assert process.stop() == 0
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(65536) == b""
        assert [line["level"] for line in process.logged()] == ["info", "info"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--ip", "0.0.0.0"], "--credentials"),
        (["--ip", "here"], "is no IP address"),
        (["--port", "70000"], "70000"),
        (["--credentials", "/nowhere"], "/nowhere"),
        (["--acls", "/nowhere"], "/nowhere"),
        (["--tls-cert", "/nowhere"], "--tls-key"),
        (["--heartbeat-interval", "nan"], "nan"),
        (["--work-dir", "/dev/null/x"], "/dev/null/x"),
    ],
)
def test_refuses_to_start(arguments: list[str], text: str, tmp_path: Path) -> None:
    done = serving.refused("master", "--work-dir", tmp_path, "--port", "0", *arguments)
    (line,) = done.stderr.splitlines()
    assert text in line


def test_taken_port_is_refused(master: Process, tmp_path: Path) -> None:
    port = str(urlsplit(master.url).port)
    done = serving.refused("master", "--port", port, "--work-dir", tmp_path)
    assert port in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_credentials_are_asked_for(tmp_path: Path) -> None:
    file = serving.credentials(tmp_path, "ops", "s3cret")
    with serving.master(tmp_path / "m", "--credentials", str(file)) as process:
        url = f"{process.url}/api/v1/scheduler"
        assert httpx.get(f"{process.url}/health").status_code == 200
        r = httpx.post(url)
        assert r.status_code == 401
        assert r.headers["www-authenticate"] == 'Basic realm="allocator"'
        assert httpx.post(url, auth=("ops", "wrong")).status_code == 401
        assert httpx.post(url, auth=("ops", "s3cret")).status_code == 400
        token = httpx.BasicAuth("ops", "s3cret")._auth_header.removeprefix("Basic ")
        r = httpx.post(url, headers={"Authorization": f"Bearer {token}"})
        assert r.status_code == 400
        process.stop()
        assert "s3cret" not in process.log.read_text()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return serving.certificate(tmp_path_factory.mktemp("tls"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_tls(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = certificate
    with serving.master(tmp_path, "--tls-cert", str(cert), "--tls-key", str(key)) as process:
        assert process.url.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(cert))
        with httpx.Client(verify=trusted) as client:
            assert client.get(f"{process.url}/health").status_code == 200
        with FrameworkClient(process.url) as framework:
            assert framework.next()["type"] == "HEARTBEAT"
            process.popen.terminate()
            assert framework.rest() == []
        assert process.stop() == 0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_key_of_another_certificate_is_refused(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    cert, _ = certificate
    other = tmp_path / "other.pem"
    made = subprocess.run(["openssl", "genrsa", "2048"], check=True, capture_output=True)
    other.write_bytes(made.stdout)
    tls = ("--tls-cert", cert, "--tls-key", other)
    done = serving.refused("master", "--work-dir", tmp_path / "m", "--port", "0", *tls)
    assert str(cert) in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "more",
    [
        {"framework_info": {"roles": ["a//b"]}},
        {"framework_info": {"roles": ["a", "a"]}},
        {"framework_info": {"role": "a", "roles": ["a"]}},
        {"framework_info": {"roles": [" "]}},
        {"framework_info": {"roles": ["a"]}, "suppressed_roles": ["b"]},
        {"offer_constraints": {"role_constraints": {"*": {"groups": []}}}},
        {"offer_constraints": {"role_constraints": {"*": {"groups": [{}]}}}},
        {"framework_info": {"failover_timeout": "NaN"}},
    ],
)
def test_content_that_is_refused_is_told_in_the_stream(master: Process, more: Json) -> None:
    info = {"user": "u", "name": "n", **more.get("framework_info", {})}
    subscribe = {**more, "framework_info": info}
    body = {"type": "SUBSCRIBE", "subscribe": subscribe}
    with serving.Subscription(master.url, "/api/v1/scheduler", body) as stream:
        assert stream.response.status_code == 200
        records = stream.rest()
    assert [record["type"] for record in records] == ["ERROR"]
    assert records[0]["error"]["message"]


@pytest.mark.parametrize(
    "filters",
    [
        {"*": {"min_allocatable_resources": 1}},
        {"*": {"min_allocatable_resources": {"quantities": [{"quantities": {"cpus": 1}}]}}},
        {"*": []},
        [],
    ],
)
def test_offer_filters_of_another_type_are_refused(master: Process, filters: object) -> None:
    info = {"user": "u", "name": "n", "offer_filters": filters}
    body = {"type": "SUBSCRIBE", "subscribe": {"framework_info": info}}
    assert post(master, json.dumps(body)).status_code == 400


def test_offer_constraints_of_another_type_are_refused(master: Process) -> None:
    info = {"user": "u", "name": "n"}
    subscribe = {"framework_info": info, "offer_constraints": {"role_constraints": [1]}}
    body = {"type": "SUBSCRIBE", "subscribe": subscribe}
    assert post(master, json.dumps(body)).status_code == 400


def test_state_shows_what_was_set(master: Process) -> None:
    flags = httpx.get(f"{master.url}/state").json()["flags"]
    assert flags["heartbeat_interval"] == "15.0"
    assert flags["port"] == "0"
    assert "credentials" not in flags


def test_pipelined_requests_wait_in_the_socket(master: Process) -> None:
    address = urlsplit(master.url)
    n_requests = 20_000
    request = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    before = resident_mib(master)
    with socket.create_connection((address.hostname, address.port), 60) as connection:
        sender = threading.Thread(target=connection.sendall, args=(request * n_requests,))
        sender.start()
        answers = data = b""
        n_answers = 0
        while n_answers < n_requests:
            data = connection.recv(65536)
            assert data
            answers += data
            n_answers += answers.count(b"HTTP/1.1 200 OK\r\n")
            answers = answers[-16:]  # of a line that is not there in full
        sender.join()
    assert resident_mib(master) - before < 20


def resident_mib(process: Process) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024
