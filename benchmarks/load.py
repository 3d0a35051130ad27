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
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
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
        self._stderr = self.log.open("a")
        self._processes: list[subprocess.Popen[str]] = []
        given = ("--port", "0", "--work-dir", str(folder / "master"), *arguments)
        self.url = self.start("master", *given)
        address = urlsplit(self.url)
        self.host, self.port = str(address.hostname), int(address.port or 0)
        if n_agents:
            self.add_agents(n_agents, resources)

    def add_agents(self, n_agents: int, resources: str = AGENT) -> None:
        """Start a process of so many null agents."""
        folder = self.log.parent / f"agents{len(self._processes)}"
        count = ("--runtime", "null", "--count", str(n_agents), "--resources", resources)
        self.start("agent", "--master", self.url, "--port", "0", "--work-dir", str(folder), *count)

    def start(self, *arguments: str) -> str:
        """Start a command of `allocator`; return where it listens."""
        process = subprocess.Popen(
            [sys.executable, "-m", "allocator", *arguments],
            stdout=subprocess.PIPE,
            stderr=self._stderr,
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
        return self._status("VmHWM")

    @property
    def mib(self) -> float:
        """The size of the master."""
        return self._status("VmRSS")

    def _status(self, name: str) -> float:
        status = Path(f"/proc/{self._processes[0].pid}/status").read_text()
        return int(status.split(f"{name}:")[1].split()[0]) / 1024

    @property
    def cpu_seconds(self) -> list[float]:
        """What the master, and each process of agents, took of the processors so far."""
        return [_cpu_seconds(process.pid) for process in self._processes]

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End all processes: the master, the others before it by a signal."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM if process is self._processes[0] else number)
            if number != signal.SIGTERM:
                process.wait()  # it has to tell the master
        for process in self._processes:
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        self._stderr.close()
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

    def __init__(
        self, n_tasks: int, command: str, cpus: float, mem: float, most: int, labels: int = 0
    ) -> None:
        self.n_tasks = n_tasks
        labelled = [{"key": f"key{index}", "value": f"value{index}"} for index in range(labels)]
        self._more: Json = {"labels": {"labels": labelled}} if labels else {}
        self.command = command
        self.cpus, self.mem, self.most = cpus, mem, most
        self.n_launched = 0
        #: Tasks that got where they should: a status may be sent more than once.
        self.there: set[str] = set()
        self.done = asyncio.Event()
        self.states: dict[str, int] = {}

    def take(self, framework: Framework, event: Json) -> None:
        """Take one event in."""
        if event["type"] == "OFFERS":
            for offer in event["offers"]["offers"]:
                self.answer(framework, offer)
        elif event["type"] == "UPDATE":
            status = event["update"]["status"]
            state = status["state"]
            self.states[state] = self.states.get(state, 0) + 1
            if state == ("TASK_FINISHED" if self.command == "true" else "TASK_RUNNING"):
                self.there.add(status["task_id"]["value"])
            if len(self.there) == self.n_tasks:
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
        tasks = [self.task(index, offer) for index in range(first, first + n)]
        framework.send("ACCEPT", launch([offer], tasks))

    def task(self, index: int, offer: Json) -> Json:
        """Return a task to launch."""
        return task(f"t{index}", offer, self.command, self.cpus, self.mem, **self._more)


class Steady(Launcher):
    """Launches no more than it gets to acknowledge."""

    def answer(self, framework: Framework, offer: Json) -> None:
        """Launch in an offer what there is room for, or decline it for a moment."""
        if framework.acknowledgements.n_sent - framework.acknowledgements.n_answered > 100:
            filters = {"refuse_seconds": 0.1}
            framework.send("DECLINE", {"offer_ids": [offer["id"]], "filters": filters})
        else:
            super().answer(framework, offer)


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


class Decliner:
    """Declines each offer after some time; notes how long until its agent is offered again."""

    def __init__(self, hold_seconds: float, seed: int = 7) -> None:
        self._hold = hold_seconds
        self._random = random.Random(seed)
        self._declined: dict[str, float] = {}
        #: From a decline to the agent's next offer, in seconds.
        self.waits: list[float] = []
        self.n_offers = 0

    def take(self, framework: Framework, event: Json) -> None:
        """Take one event in."""
        if event["type"] != "OFFERS":
            return
        loop = asyncio.get_running_loop()
        for offer in event["offers"]["offers"]:
            self.n_offers += 1
            declined = self._declined.pop(offer["agent_id"]["value"], None)
            if declined is not None:
                self.waits.append(now() - declined)
            if self._hold:
                loop.call_later(self._random.uniform(0, self._hold), self.decline, framework, offer)
            else:
                self.decline(framework, offer)

    def decline(self, framework: Framework, offer: Json) -> None:
        """Give an offer back, without a filter."""
        self._declined[offer["agent_id"]["value"]] = now()
        filters = {"refuse_seconds": 0}
        framework.send("DECLINE", {"offer_ids": [offer["id"]], "filters": filters})


async def offers(n_agents: int, n_frameworks: int, seconds: float, hold_seconds: float) -> Json:
    """Offer agents to frameworks that decline, for so long."""
    with cluster(n_agents) as services:
        decliner = Decliner(hold_seconds)
        frameworks = [
            Framework(services.host, services.port, decliner.take, name=f"f{index}")
            for index in range(n_frameworks)
        ]
        reading = [asyncio.create_task(framework.run()) for framework in frameworks]
        for framework in frameworks:
            await framework.subscribed.wait()
        await asyncio.sleep(3)
        decliner.waits.clear()
        decliner.n_offers = 0
        begin = now()
        await asyncio.sleep(seconds)
        taken = now() - begin
        waits = sorted(decliner.waits)
        for task_ in reading:
            task_.cancel()
        return {
            "offers a second": round(decliner.n_offers / taken),
            **quantiles(waits, "from a decline to the next offer"),
            "CPU seconds of master, agents": [round(each, 1) for each in services.cpu_seconds],
        }


async def state(
    n_agents: int, n_frameworks: int, n_clients: int, seconds: float, encoding: str, changing: bool
) -> Json:
    """Ask for `/state` with wrk, alone and with so many at once; 10 tasks a framework and agent."""
    return await asked(n_agents, n_frameworks, (1, n_clients), seconds, encoding, changing)


async def asked(
    n_agents: int,
    n_frameworks: int,
    counts: Iterable[int],
    seconds: float,
    encoding: str,
    changing: bool,
) -> Json:
    """Ask for `/state` with wrk, with so many clients at once, one count after the other.

    The clients are another process than the framework that is offered agents meanwhile.
    """
    with cluster(n_agents) as services:
        running = [
            await filled(services, 10 * n_agents, "run", torn_down=torn_down)
            for torn_down in [True] * n_frameworks + [False] * n_frameworks
        ]
        decliner = Decliner(1.0)
        spare = Framework(services.host, services.port, decliner.take, name="spare")
        reading = [asyncio.create_task(spare.run())]
        if changing:
            reading.append(asyncio.create_task(toggle(running[-1])))
        services.add_agents(10)
        await asyncio.sleep(2)
        found: Json = {}
        for n in counts:
            decliner.waits.clear()
            command = ["wrk", "-t1", f"-c{n}", f"-d{seconds:.0f}", "--latency", "--timeout", "30"]
            process = await asyncio.create_subprocess_exec(
                *(*command, "-H", f"Accept-Encoding: {encoding}", f"{services.url}/state"),
                stdout=asyncio.subprocess.PIPE,
            )
            out, _ = await process.communicate()
            told = dict(told_by_wrk(out.decode()))
            found |= {f"{n} clients, {name}": value for name, value in told.items()}
            found[f"{n} clients, mean, ms"] = round(1e3 * n / float(told["Requests/sec"]), 2)
            found |= quantiles(sorted(decliner.waits), f"next offer meanwhile, {n} clients")
        for each in reading:
            each.cancel()
        return found


def told_by_wrk(report: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of what a report of wrk says."""
    wanted = ("50%", "99%", "Requests/sec:", "Transfer/sec:")
    for line in report.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] in wanted:
            yield words[0].strip(":"), words[1]


#: Keeps tasks from being collected with frameworks that nobody holds.
_READING: set[asyncio.Task[None]] = set()


async def filled(
    services: Cluster, n_tasks: int, command: str, *, torn_down: bool = False
) -> Framework:
    """Return a framework once its tasks run, or are done; torn down then, if so wanted."""
    launcher = Launcher(n_tasks, command, 0.1, 5, 10, labels=10)
    framework = Framework(services.host, services.port, launcher.take)
    framework.reading = asyncio.create_task(framework.run())
    _READING.add(framework.reading)
    framework.reading.add_done_callback(_READING.discard)
    await framework.subscribed.wait()
    await asyncio.wait_for(launcher.done.wait(), 300)
    await framework.acknowledgements.idle.wait()
    if torn_down:
        framework.send("TEARDOWN")
    return framework


async def toggle(framework: Framework) -> None:
    """Have something of a framework change some twenty times a second."""
    while True:
        for call in ("SUPPRESS", "REVIVE"):
            framework.send(call)
            await asyncio.sleep(0.05)


class Poller:
    """A client that asks for `/state` over one connection and keeps nothing of it."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._request = f"GET /state HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()

    async def poll(self, n_polls: int) -> None:
        """Ask so often, one request after the other."""
        reader, writer = await asyncio.open_connection(*self._address, limit=2**22)
        for _ in range(n_polls):
            writer.write(self._request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 200"), head
            left = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            while left:
                left -= len(await reader.read(min(left, 2**20)))
        writer.close()


async def watch(n_agents: int, n_subscribers: int, n_tasks: int) -> Json:
    """Tell subscribers of the operator API of tasks that start and finish."""
    with cluster(n_agents) as services:
        loop = asyncio.get_running_loop()
        subscribers = [Subscriber(2 * n_tasks) for _ in range(n_subscribers)]
        for subscriber in subscribers:
            await loop.create_connection(lambda made=subscriber: made, services.host, services.port)
        for subscriber in subscribers:
            await subscriber.subscribed.wait()
        begin = now()
        await filled(services, n_tasks, "true")
        launched = now() - begin
        await asyncio.wait_for(asyncio.gather(*(each.done.wait() for each in subscribers)), 300)
        seconds = now() - begin
        n_events = sum(subscriber.n_seen for subscriber in subscribers)
        return {
            "events told a second": round(n_events / seconds),
            "last one told after the last task, ms": round(1e3 * (seconds - launched), 1),
            "tasks a second meanwhile": round(n_tasks / launched),
            "CPU seconds of master, agents": [round(each, 1) for each in services.cpu_seconds],
        }


class Subscriber(asyncio.Protocol):
    """Counts the changes of tasks that it is told of."""

    def __init__(self, n_expected: int) -> None:
        self._n_expected = n_expected
        self._rest = b""
        self.n_seen = 0
        self.subscribed = asyncio.Event()
        self.done = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        body = b'{"type":"SUBSCRIBE"}'
        transport.write(
            b"POST /api/v1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        self.n_seen += data.count(_TOLD)
        self._rest = data[max(data.rfind(_TOLD) + len(_TOLD), len(data) - len(_TOLD) + 1) :]
        self.subscribed.set()
        if self.n_seen >= self._n_expected:
            self.done.set()


#: What each event of a task that changed has once.
_TOLD = b'"type":"TASK_UPDATED"'


async def soak(n_agents: int, seconds: float, n_rounds_warm: int) -> Json:
    """Have frameworks, subscribers and readers come and go; tell how the master grows meanwhile.

    Each round a framework launches 60 tasks that finish at once and is torn down, and a subscriber
    of the operator API leaves without a word. The master is at its size when it keeps as many
    frameworks and tasks as it ever does.
    """
    with cluster(n_agents) as services:
        poller = Poller(services.host, services.port)
        staying = Framework(services.host, services.port, Steady(10**9, "true", 1, 5, 5).take)
        reading = asyncio.create_task(staying.run())
        sizes = []
        n_rounds = 0
        begin = now()
        while n_rounds < n_rounds_warm or now() - begin < seconds:
            subscriber = Subscriber(10**9)
            transport, _ = await asyncio.get_running_loop().create_connection(
                lambda made=subscriber: made, services.host, services.port
            )
            framework = await filled(services, 60, "true", torn_down=True)
            await poller.poll(3)
            transport.close()
            await framework.leave()
            n_rounds += 1
            if n_rounds >= n_rounds_warm:
                sizes.append(services.mib)
        reading.cancel()
        await asyncio.wait([reading])
        return {
            "frameworks": n_rounds,
            "MiB at ten times, from the first rounds on": [
                round(sizes[len(sizes) * tenth // 10]) for tenth in range(10)
            ],
            "MiB at the end": round(sizes[-1]),
        }


def quantiles(seconds: list[float], what: str) -> Json:
    """Return mean, median and 99th percentile of sorted times, in milliseconds."""
    if not seconds:
        raise AssertionError(f"nothing was measured: {what}")
    places = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    n = len(seconds)
    found = {name: seconds[min(int(n * place), n - 1)] for name, place in places.items()}
    found["mean"] = sum(seconds) / n
    return {f"{what}, {name}, ms": round(1e3 * each, 1) for name, each in found.items()}


def main() -> None:
    """Run one kind of load and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name, work, defaults in KINDS:
        kind = kinds.add_parser(name, help=work.__doc__)
        for key, default in defaults.items():
            flag = "--" + key.removeprefix("n_").replace("_", "-")
            kind.add_argument(flag, dest=key, type=type(default), default=default)
        kind.set_defaults(work=work)
    given: dict[str, Any] = vars(parser.parse_args())
    given.pop("kind")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the processes end, too
    print(json.dumps(asyncio.run(given.pop("work")(**given)), indent=1))


#: Name, what runs, and its parameters.
KINDS: list[tuple[str, Any, dict[str, Any]]] = [
    ("tasks", tasks, {"n_agents": 1000, "n_tasks": 5000}),
    (
        "offers",
        offers,
        {"n_agents": 1000, "n_frameworks": 1000, "seconds": 10.0, "hold_seconds": 2.0},
    ),
    ("watch", watch, {"n_agents": 100, "n_subscribers": 1000, "n_tasks": 200}),
    ("soak", soak, {"n_agents": 10, "seconds": 3600.0, "n_rounds_warm": 100}),
    (
        "state",
        state,
        {
            "n_agents": 100,
            "n_frameworks": 10,
            "n_clients": 20,
            "seconds": 10.0,
            "encoding": "identity",
            "changing": 0,
        },
    ),
]


if __name__ == "__main__":
    main()
