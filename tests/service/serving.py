"""Real processes of the command line, and what talks to them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import httpx

from allocator.wire.recordio import RecordReader

Json = dict[str, Any]

#: For what needs some time on a busy machine; a failure takes as long.
PATIENCE_SECONDS = 60.0

for each in (*map(httpx.__dict__.get, ("get", "post", "put", "request")), httpx.Client.__init__):
    # Its own are 5 s, which a busy machine may take.
    getattr(each, "__kwdefaults__")["timeout"] = httpx.Timeout(PATIENCE_SECONDS)  # noqa: B009

JSON = {"Content-Type": "application/json"}


def run(
    *arguments: str | Path, input: str | None = None, timeout: float = PATIENCE_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run a command of `allocator` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "allocator", *arguments],
        input=input,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def wait_for(holds: Callable[[], object]) -> None:
    """Wait until something holds, which what others do brings about."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def refused(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command that says why it cannot be done, and does nothing."""
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    return done


def credentials(folder: Path, principal: str, secret: str) -> Path:
    """Return a credentials file, of an entry as the command makes it."""
    made = run("credentials", principal, input=f"{secret}\n")
    assert made.returncode == 0, made.stderr
    file = folder / "credentials"
    file.touch(0o600)
    file.write_text(f'{{"credentials":[{made.stdout}]}}')
    return file


def certificate(folder: Path) -> tuple[Path, Path]:
    """Return a certificate of this machine that its own key signed, and the key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", key, "-out", cert),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


class Process(contextlib.AbstractContextManager["Process"]):
    """A command of `allocator` that says `listening on URL` when it is ready."""

    def __init__(self, *arguments: str, log: Path, env: dict[str, str] | None = None) -> None:
        self.log = log
        self._stderr: IO[bytes] = log.open("ab")
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "allocator", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        try:
            self.url = self._ready()
        except BaseException:
            self.kill()
            raise

    def _ready(self) -> str:
        assert self.popen.stdout is not None
        if not select.select([self.popen.stdout], [], [], PATIENCE_SECONDS)[0]:
            raise AssertionError(f"not ready: {self.log.read_text()}")
        line = self.popen.stdout.readline().decode()
        if not line.startswith("listening on "):
            raise AssertionError(f"{line!r}, {self.log.read_text()}")
        return line.removeprefix("listening on ").strip()

    @property
    def pid(self) -> int:
        return self.popen.pid

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end and return the exit status."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        try:
            return self.popen.wait(PATIENCE_SECONDS)
        finally:
            self.kill()

    def kill(self) -> None:
        """End the process as `kill -9` does, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):
            self.popen.kill()
        self.popen.wait()
        if self.popen.stdout is not None:
            self.popen.stdout.close()
        self._stderr.close()

    def logged(self) -> list[Json]:
        """Return what it wrote to its log."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def __exit__(self, *_: object) -> None:
        self.kill()


def master(folder: Path, *arguments: str, port: int = 0) -> Process:
    """Start a master whose registry lies in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    given = ("--port", str(port), "--work-dir", str(folder), *arguments)
    return Process("master", *given, log=folder / "log")


class Subscription(contextlib.AbstractContextManager[Any]):
    """The stream of a framework, an agents' process or a subscriber of the operator API."""

    def __init__(
        self, url: str, path: str, body: Json, headers: dict[str, str] | None = None
    ) -> None:
        self._client = httpx.Client(base_url=url, timeout=PATIENCE_SECONDS, verify=False)
        self._exit = contextlib.ExitStack()
        self._exit.enter_context(self._client)
        self.response = self._exit.enter_context(
            self._client.stream("POST", path, json=body, headers={**JSON, **(headers or {})})
        )
        self.id = self.response.headers.get("Mesos-Stream-Id", "")
        self._path = path
        self._headers = headers or {}
        self._records = self._read()
        #: All that came.
        self.seen: list[Json] = []

    def _read(self) -> Iterator[Json]:
        reader = RecordReader()
        for data in self.response.iter_raw():
            for record in reader.feed(data):
                yield json.loads(record)

    def next(self) -> Json:
        """Return the next record; raises `StopIteration` at the end of the stream."""
        record = next(self._records)
        self.seen.append(record)
        return record

    def of(self, type: str) -> list[Json]:
        """Return the records of a type that came."""
        return [record for record in self.seen if record["type"] == type]

    def rest(self) -> list[Json]:
        """Return the records that are to come, once the stream has ended."""
        return list(self._records)

    def wait(self, type: str, holds: Callable[[Json], bool] = lambda record: True) -> Json:
        """Return the next record of a type of which something holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            record = self.next()
            if record["type"] == type and holds(record):
                return record
        raise AssertionError(f"no {type}; seen: {[record['type'] for record in self.seen]}")

    def call(self, body: Json, headers: dict[str, str] | None = None) -> httpx.Response:
        """Send a further call over a connection of its own."""
        given = {**JSON, **self._headers, "Mesos-Stream-Id": self.id, **(headers or {})}
        with httpx.Client(base_url=self._client.base_url, verify=False) as client:
            return client.post(self._path, json=body, headers=given)

    def close(self) -> None:
        """Leave."""
        self._exit.close()

    def __exit__(self, *_: object) -> None:
        self.close()


class FrameworkClient(Subscription):
    """A framework that speaks the v1 scheduler API by hand."""

    def __init__(self, url: str, headers: dict[str, str] | None = None, **info: Any) -> None:
        info = {"user": "root", "name": "test", **info}
        body: Json = {"type": "SUBSCRIBE", "subscribe": {"framework_info": info}}
        if "id" in info:
            body["framework_id"] = info["id"]
        super().__init__(url, "/api/v1/scheduler", body, headers)
        self.framework_id = ""
        #: Ids of offers that were accepted.
        self.answered: set[str] = set()
        if self.response.status_code == 200:
            first = self.next()
            if first["type"] == "SUBSCRIBED":
                self.framework_id = first["subscribed"]["framework_id"]["value"]

    def send(self, type: str, **content: Any) -> httpx.Response:
        """Send a call of the framework."""
        body: Json = {"type": type, "framework_id": {"value": self.framework_id}}
        if content:
            body[type.lower()] = content
        return self.call(body)


class AgentsClient(Subscription):
    """An agents' process that speaks the agents' API by hand."""

    def __init__(self, url: str, *agents: Json, headers: dict[str, str] | None = None) -> None:
        body = {"type": "REGISTER", "register": {"agents": list(agents)}}
        super().__init__(url, "/api/v1/agents", body, headers)
        self.ids: list[str] = []
        if self.response.status_code == 200:
            self.ids = [agent["id"] for agent in self.wait("REGISTERED")["agents"]]


def agent(folder: Path, url: str, *arguments: str) -> Process:
    """Start an agent that runs tasks as plain processes, of a master at a URL."""
    folder.mkdir(parents=True, exist_ok=True)
    given = ("--master", url, "--port", "0", "--work-dir", str(folder), "--runtime", "process")
    return Process("agent", *given, *arguments, log=folder / "log")
