"""Calls of several clients at random, while the agent is killed again and again."""

from __future__ import annotations

import contextlib
import random
import threading
from pathlib import Path

import httpx

from tests.agent.test_standalone import Agent
from tests.service.serving import PATIENCE_SECONDS, Json

EXITS = 3 << 8


class Client(threading.Thread):
    """Launches and kills at random until the agent does not answer, and knows what it said."""

    def __init__(self, url: str, name: str, launched: set[str]) -> None:
        super().__init__()
        self._http = httpx.Client(base_url=url, timeout=PATIENCE_SECONDS)
        self._name = name
        self._draw = random.Random(name)
        #: Whose launch was acknowledged, and whose kill.
        self.launched = set(launched)
        self.killed: set[str] = set()
        self.wrong: list[str] = []

    def _call(self, type: str, id: str, **more: object) -> httpx.Response:
        content: Json = {"container_id": {"value": id}, **more}
        return self._http.post("/api/v1", json={"type": type, type.lower(): content})

    def run(self) -> None:
        with self._http:
            for number in range(10_000):
                try:
                    self._step(f"{self._name}-{number}")
                except httpx.HTTPError:
                    return

    def _step(self, id: str) -> None:
        command = {"value": self._draw.choice(["sleep 1000", "exit 3"])}
        r = self._call("LAUNCH_CONTAINER", id, command=command, resources="cpus:0.1;mem:32")
        if r.status_code == 200:
            self.launched.add(id)
        elif r.status_code != 503:  # the agent leaves
            self.wrong.append(r.text)
        if self._draw.random() < 0.5:
            victim = self._draw.choice(sorted(self.launched))
            r = self._call("KILL_CONTAINER", victim)
            if r.status_code == 200:
                self.killed.add(victim)
            elif r.status_code != 404:
                self.wrong.append(r.text)


def processes_of(folder: Path) -> list[str]:
    """Return the processes whose sandbox is below a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"MESOS_SANDBOX={folder}/".encode() in (process / "environ").read_bytes():
                found.append(process.name)
    return found


def test_what_was_acknowledged_holds_when_the_agent_is_killed(
    tmp_path: Path, kind: tuple[str, ...]
) -> None:
    launched: set[str] = set()
    killed: set[str] = set()
    for life in range(4):
        with Agent(tmp_path, *kind) as agent:
            running = {row["container_id"] for row in agent.containers()}
            for id in launched:
                if id in killed or id not in running:
                    assert agent.wait(id)["exit_status"] in (EXITS, 9)
                else:
                    assert agent.of("KILL_CONTAINER", id, signal=18).status_code in (200, 404)
            clients = [Client(agent.url, f"c{life}-{n}", launched) for n in range(3)]
            for client in clients:
                client.start()
            while sum(len(client.launched) - len(launched) for client in clients) < 25:
                assert any(client.is_alive() for client in clients)
            agent.kill() if life < 3 else agent.close()
            for client in clients:
                client.join()
            assert [client.wrong for client in clients] == [[]] * 3
            launched.update(*(client.launched for client in clients))
            killed.update(*(client.killed for client in clients))
    assert not processes_of(tmp_path)
