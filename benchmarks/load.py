"""Whole services under load: a master and agents as processes, frameworks over real sockets.

python -m benchmarks.load tasks --agents 10000 --tasks 50000
python -m benchmarks.load offers --agents 1000 --frameworks 1000
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .clients import Framework, Json, launch, now, task

AGENT = "cpus:20;mem:10240"


class Cluster:
    """A master and a process of null agents, in a folder that goes with them."""

    def __init__(self, n_agents: int, *arguments: str, resources: str = AGENT) -> None:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self.log = folder / "log"
        self._processes: list[subprocess.Popen[str]] = []
        given = ("--port", "0", "--work-dir", str(folder / "master"), *arguments)
        self.url = self._start("master", *given)
        address = urlsplit(self.url)
        self.host, self.port = str(address.hostname), int(address.port or 0)
        if n_agents:
            self.add_agents(n_agents, resources)

    def add_agents(self, n_agents: int, resources: str = AGENT) -> None:
        """Start a process of so many null agents."""
        folder = self.log.parent / f"agents{len(self._processes)}"
        count = ("--runtime", "null", "--count", str(n_agents), "--resources", resources)
        self._start("agent", "--master", self.url, "--port", "0", "--work-dir", str(folder), *count)

    def _start(self, *arguments: str) -> str:
        process = subprocess.Popen(
            [sys.executable, "-m", "allocator", *arguments],
            stdout=subprocess.PIPE,
            stderr=self.log.open("a"),
            text=True,
        )
        self._processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(self.log.read_text())
        return line.removeprefix("listening on ").strip()

    @property
    def peak_mib(self) -> float:
        """The greatest size of the master so far."""
        status = Path(f"/proc/{self._processes[0].pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    @property
    def cpu_seconds(self) -> list[float]:
        """What the master, and each process of agents, took of the processors so far."""
        return [_cpu_seconds(process.pid) for process in self._processes]

    def stop(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()
        self._folder.cleanup()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def cluster(n_agents: int, *arguments: str, resources: str = AGENT) -> Iterator[Cluster]:
    """Start a cluster for as long as the block runs."""
    made = Cluster(n_agents, *arguments, resources=resources)
    try:
        yield made
    finally:
        made.stop()


class Launcher:
    """Launches so many tasks on what is offered, as many an offer as it has room for."""

    def __init__(self, n_tasks: int, command: str, cpus: float, mem: float, most: int) -> None:
        self.n_tasks = n_tasks
        self.command = command
        self.cpus, self.mem, self.most = cpus, mem, most
        self.n_launched = 0
        #: Tasks that got where they should: a status may be sent more than once.
        self.there: set[str] = set()
        self.begin = 0.0
        self.end = 0.0
        self.done = asyncio.Event()
        self.states: dict[str, int] = {}

    def take(self, framework: Framework, event: Json) -> None:
        """Take one event in."""
        if event["type"] == "OFFERS":
            self.begin = self.begin or now()
            for offer in event["offers"]["offers"]:
                self.answer(framework, offer)
        elif event["type"] == "UPDATE":
            status = event["update"]["status"]
            state = status["state"]
            self.states[state] = self.states.get(state, 0) + 1
            if state == ("TASK_FINISHED" if self.command == "true" else "TASK_RUNNING"):
                self.there.add(status["task_id"]["value"])
            if len(self.there) == self.n_tasks and not self.done.is_set():
                self.end = now()
                self.done.set()

    def answer(self, framework: Framework, offer: Json) -> None:
        """Launch what is left to launch in an offer, or decline it."""
        room = {r["name"]: r.get("scalar", {}).get("value", 0) for r in offer["resources"]}
        n = min(
            int(room.get("cpus", 0) / self.cpus + 1e-9),
            int(room.get("mem", 0) / self.mem + 1e-9),
            self.most,
            self.n_tasks - self.n_launched,
        )
        if n <= 0:
            filters = {"refuse_seconds": 1e6}
            framework.send("DECLINE", {"offer_ids": [offer["id"]], "filters": filters})
            return
        first = self.n_launched
        self.n_launched += n
        tasks = [
            task(f"t{index}", offer, self.command, self.cpus, self.mem)
            for index in range(first, first + n)
        ]
        framework.send("ACCEPT", launch([offer], tasks))


async def tasks(n_agents: int, n_tasks: int) -> Json:
    """Launch tasks that finish at once, from subscription to the last acknowledgement."""
    with cluster(n_agents) as services:
        launcher = Launcher(n_tasks, "true", 0.1, 5, -(-n_tasks // n_agents))
        framework = Framework(services.host, services.port, launcher.take)
        reading = asyncio.create_task(framework.run())
        await framework.subscribed.wait()
        begin = now()
        await asyncio.wait_for(launcher.done.wait(), 600)
        await framework.acknowledgements.idle.wait()
        seconds = now() - begin
        reading.cancel()
        assert not framework.calls.refused, framework.calls.refused[0]
        return {
            "tasks a second": round(n_tasks / seconds),
            "seconds": round(seconds, 2),
            "CPU seconds of master, agents, framework": [
                *(round(each, 1) for each in services.cpu_seconds),
                round(_cpu_seconds(os.getpid()), 1),
            ],
            "master's peak, MiB": round(services.peak_mib),
            "statuses": launcher.states,
        }


def main() -> None:
    """Run one kind of load and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    kind = kinds.add_parser("tasks")
    kind.add_argument("--agents", type=int, default=1000)
    kind.add_argument("--tasks", type=int, default=5000)
    given: dict[str, Any] = vars(parser.parse_args())
    if given["kind"] == "tasks":
        print(json.dumps(asyncio.run(tasks(given["agents"], given["tasks"]))))


if __name__ == "__main__":
    main()
