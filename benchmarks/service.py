"""A master and agents as processes under load over real sockets (`benchmarks.load`)."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

from . import load
from .grid import sizes


class _Service:
    """What these share; asv passes over a name with an underscore."""

    timeout = 1800
    unit = "ms"

    def found(self, work: Any, *params: object) -> load.Json:
        """Return what a load found."""
        found: load.Json = asyncio.run(work(*params))
        return found


class Tasks(_Service):
    """Tasks that finish at once, launched on null agents, from offers to acknowledgements."""

    params = sizes(smoke=["4, 20"], default=["1000, 10000"], full=["1000, 10000", "10000, 50000"])
    param_names = ("agents, tasks",)

    def track_task(self, size: str) -> float:
        """Return the time a task: reach 0.5 ms at 10 000 agents and 50 000 tasks."""
        n_agents, n_tasks = (int(number) for number in size.split(","))
        return 1e3 / float(self.found(load.tasks, n_agents, n_tasks)["tasks a second"])


class Offers(_Service):
    """Agents declined after up to two seconds, by frameworks with a stream each."""

    params = sizes(smoke=["4, 4"], default=["1000, 1000"], full=["1000, 1000"])
    param_names = ("agents, frameworks",)

    def track_p99_to_next_offer(self, size: str) -> float:
        """Return the time from a decline to the next offer: reach 1250 ms."""
        seconds = 2.5 if size == "4, 4" else 10.0
        n_agents, n_frameworks = (int(number) for number in size.split(","))
        found = self.found(load.offers, n_agents, n_frameworks, seconds, 2.0)
        return float(found["from a decline to the next offer, p99, ms"])


class Subscribers(_Service):
    """Events of the operator API to many subscribers."""

    params = sizes(smoke=[10], default=[1000], full=[1000])
    param_names = ("subscribers",)

    def track_1000_events(self, n_subscribers: int) -> float:
        """Return the time of 1000 events told."""
        found = self.found(load.watch, 10, n_subscribers, 20)
        return 1e6 / float(found["events told a second"])


class StatePolled(_Service):
    """`/state` of the published cluster, 20 000 tasks, while agents are offered and declined."""

    params = (
        sizes(smoke=[2], default=[1, 20, 50], full=[1, 5, 10, 20, 50, 100]),
        sizes(smoke=["gzip"], default=["identity", "gzip"], full=["identity", "gzip"]),
        sizes(smoke=[True], default=[False, True], full=[False, True]),
    )
    param_names = ("clients", "encoding", "changing")

    def setup(self, n_clients: int, encoding: str, changing: bool) -> None:
        if shutil.which("wrk") is None:
            raise NotImplementedError("wrk is not installed")

    def _load(self, n_clients: int, encoding: str, changing: bool) -> load.Json:
        n_agents, n_frameworks, seconds = sizes(
            smoke=[(2, 1, 1)], default=[(100, 10, 6)], full=[(100, 10, 20)]
        )[0]
        given = (n_agents, n_frameworks, (n_clients,), seconds, encoding, changing)
        return self.found(load.asked, *given)

    def track_mean(self, n_clients: int, encoding: str, changing: bool) -> float:
        """Return the mean time of an answer."""
        found = self._load(n_clients, encoding, changing)
        return float(found[f"{n_clients} clients, mean, ms"])

    def track_p99_to_next_offer(self, n_clients: int, encoding: str, changing: bool) -> float:
        """Return the time from a decline to the next offer meanwhile: reach 50 ms."""
        found = self._load(n_clients, encoding, changing)
        return float(found[f"next offer meanwhile, {n_clients} clients, p99, ms"])
