"""`/state` of the published clusters: kept texts against writers of JSON over the same in dicts.

The master is built straight from records, as if null agents had registered and reported. Ours is
timed from the change to the body, joined; the others' dicts stand ready, one of them changed.
"""

from __future__ import annotations

import importlib
import json
import statistics
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from allocator import Allocator, ManualClock
from allocator.master import master as policy  # not `Master`: asv would take it for a benchmark
from allocator.master.endpoints import View, state
from allocator.master.events import MasterInfo
from allocator.master.model import Model
from allocator.master.records import Agent, Framework, Task
from allocator.master.tasks import note_status
from allocator.resources import Resources
from allocator.wire import messages as m

from . import plain_state
from .grid import sizes

AGENT_RESOURCES = Resources("cpus:20;mem:10240")
TASK_RESOURCES = Resources("cpus:0.1;mem:5")
ROLE = "*"
LABELS = {"labels": [{"key": f"key{n}", "value": f"value{n}"} for n in range(10)]}
#: Of the first status.
BEGIN = 1_700_000_000.123456

#: agents → (frameworks, completed ones, tasks of each on each agent).
CLUSTERS = {
    100: (10, 10, 10),
    1000: (5, 0, 2),
    10_000: (5, 0, 2),
    20_000: (5, 0, 2),
    40_000: (5, 0, 2),
}


class Cluster:
    """A master with so many agents, frameworks and tasks."""

    def __init__(self, n_agents: int) -> None:
        n_frameworks, n_completed, n_tasks = CLUSTERS.get(n_agents, (10, 10, 10))
        clock = ManualClock()
        engine = Allocator(seed=0, clock=clock, offer_prefix="m-")
        info = MasterInfo("m", "127.0.0.1", 5050, "localhost", "1.11.0")
        self.master = master = policy.Master(engine, info, clock=clock, wall=lambda: BEGIN)
        agent_ids = [f"m-S{n}" for n in range(n_agents)]
        for number in range(n_frameworks):
            self._add_framework(f"m-{number:04d}", agent_ids, n_tasks)
        held = sum([TASK_RESOURCES] * n_tasks, start=Resources())
        used = {framework: {ROLE: held} for framework in master.frameworks}
        for id in agent_ids:
            self._add_agent(id, used)
        for number in range(n_completed):
            self._complete_framework(f"m-{n_frameworks + number:04d}", agent_ids, n_tasks)
        self.tasks = [t for f in master.frameworks.values() for t in f.tasks.values()]
        for task in self.tasks:
            master.agents[task.agent_id].tasks[task.key] = task
        self.model = Model(master)
        self.view = View(master, self.model, master.start_time)
        self.n_changes = 0
        self.body()

    def _framework(self, id: str) -> Framework:
        info = m.FrameworkInfo(user="root", name=f"framework {id}", id=m.Value(value=id))
        framework = Framework(id, info, (ROLE,), None)
        framework.registered_time = BEGIN
        return framework

    def _add_framework(self, id: str, agent_ids: list[str], n_tasks: int) -> None:
        framework = self._framework(id)
        framework.connected = framework.active = True
        for agent_id in agent_ids:
            for number in range(n_tasks):
                task = new_task(f"{agent_id}-{number}", id, agent_id)
                framework.tasks[task.id] = task
        self.master.add_framework(framework)

    def _complete_framework(self, id: str, agent_ids: list[str], n_tasks: int) -> None:
        framework = self._framework(id)
        framework.unregistered_time = BEGIN
        for agent_id in agent_ids:
            for number in range(n_tasks):
                task = new_task(f"{agent_id}-{number}", id, agent_id)
                note_status(task, new_status("TASK_FINISHED", BEGIN + 1))
                task.is_terminal, task.holds = True, False
                framework.completed.append(task)
        self.master.completed.append(framework)

    def _add_agent(self, id: str, used: dict[str, dict[str, Resources]]) -> None:
        master = self.master
        info = m.AgentInfo(hostname=f"host-{id}", port=5051, id=m.Value(value=id))
        agent = master.agents[id] = Agent(id, info, AGENT_RESOURCES)
        agent.registered_time = BEGIN
        agent.version = "1.11.0"
        master.engine.add_agent(id, AGENT_RESOURCES, used=used)

    def change(self, task: Task) -> None:
        """Have a task report, as `Master.status` does with its place."""
        self.n_changes += 1
        note_status(task, new_status("TASK_RUNNING", BEGIN + self.n_changes, healthy=True))
        master = self.master
        master.mark(task)
        master.mark(master.frameworks[task.framework_id])
        master.mark(master.agents[task.agent_id])

    def change_all(self) -> None:
        """Have all that is registered change."""
        for task in self.tasks:
            self.change(task)

    def body(self) -> bytes:
        """Return `/state` as it is sent."""
        while not self.model.advance(1.0):
            pass
        return b"".join(self.parts())

    def parts(self) -> list[bytes]:
        """Return what the body is joined from."""
        writing = state(self.view, {})
        try:
            writing.send(None)
        except StopIteration as stopped:
            found: list[bytes] = stopped.value
            return found
        raise AssertionError("it waits for nothing")


def new_task(id: str, framework_id: str, agent_id: str) -> Task:
    """Return a task that runs."""
    info = m.TaskInfo(
        name=f"task {id}",
        task_id=m.Value(value=id),
        agent_id=m.Value(value=agent_id),
        command={"value": "sleep 1000"},
        labels=LABELS,
    )
    task = Task(info, framework_id, agent_id, ROLE, TASK_RESOURCES)
    note_status(task, new_status("TASK_RUNNING", BEGIN))
    return task


def new_status(state: str, timestamp: float, **more: Any) -> dict[str, Any]:
    """Return a status."""
    return {"state": state, "timestamp": timestamp, "uuid": "AAAAAAAAAAAAAAAAAAAAAA==", **more}


def _compact_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@lru_cache
def writer_of(name: str) -> Callable[[object], bytes]:
    """Return what writes dicts as JSON in bytes; raises `NotImplementedError`, asv's skip."""
    if name == "json":
        return _compact_json
    try:
        module = importlib.import_module({"python-rapidjson": "rapidjson"}.get(name, name))
    except ModuleNotFoundError:
        raise NotImplementedError(f"{name} is not installed") from None
    if name == "msgspec":
        encode: Callable[[object], bytes] = module.json.encode
        return encode
    if name == "orjson":
        dumps: Callable[[object], bytes] = module.dumps
        return dumps
    return lambda value: module.dumps(value).encode()


WRITERS = ["json", "python-rapidjson", "msgspec", "orjson"]

cluster = lru_cache(maxsize=1)(Cluster)


class State:
    """One `/state` after `one` task, `all` or `none` changed, by each writer."""

    params = (
        ["ours", "ours, in parts", *WRITERS],
        ["none", "one", "all"],
        sizes(smoke=[10], default=[100, 1000], full=list(CLUSTERS)),
    )
    param_names = ("writer", "changed", "agents")
    number = 1
    timeout = 600

    def setup(self, writer: str, changed: str, n_agents: int) -> None:
        self.cluster = cluster(n_agents)
        if not writer.startswith("ours"):
            self.write = writer_of(writer)
            self.plain = plain_state.state(self.cluster.master)
        if changed == "one":
            self.cluster.change(self.cluster.tasks[0])
        elif changed == "all":
            self.cluster.change_all()

    def time_body(self, writer: str, changed: str, n_agents: int) -> None:
        if writer == "ours":
            self.cluster.body()
        elif writer == "ours, in parts":
            self.cluster.model.advance(60.0)
            self.cluster.parts()
        elif changed == "all":
            self.write(plain_state.state(self.cluster.master))
        else:
            self.write(self.plain)


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def ratio(theirs: Callable[[], float], ours: Callable[[], float], turns: int = 9) -> float:
    """Return how many times as long theirs takes, by the median of turns that alternate."""
    pairs = [(theirs(), ours()) for _ in range(turns)]
    of_theirs, of_ours = zip(*pairs, strict=True)
    return statistics.median(of_theirs) / statistics.median(of_ours)


class StateReach:
    """How many times as fast as another writer; more is better, unlike elsewhere."""

    params = ([*WRITERS],)
    param_names = ("writer",)
    unit = "times as fast"
    timeout = 600

    def setup(self, writer: str) -> None:
        self.write = writer_of(writer)
        self.cluster = cluster(sizes(smoke=[10], default=[100], full=[100])[0])
        self.plain = plain_state.state(self.cluster.master)

    def track_one_changed(self, writer: str) -> float:
        """One of 20 000 tasks changed, to the writer over dicts that stand ready.

        Reach: 20 to python-rapidjson, 5 to orjson.
        """

        def ours() -> float:
            self.cluster.change(self.cluster.tasks[len(self.cluster.tasks) // 2])
            return seconds(self.cluster.body)

        return ratio(lambda: seconds(lambda: self.write(self.plain)), ours)

    def track_all_changed(self, writer: str) -> float:
        """All changed, to the writer over dicts that stand ready: reach 3 to python-rapidjson."""
        return ratio(lambda: seconds(lambda: self.write(self.plain)), self._all_changed)

    def track_all_changed_with_dicts(self, writer: str) -> float:
        """All changed, to building the dicts and writing them: reach 1 to orjson."""
        master = self.cluster.master
        return ratio(
            lambda: seconds(lambda: self.write(plain_state.state(master))), self._all_changed, 5
        )

    def _all_changed(self) -> float:
        self.cluster.change_all()
        return seconds(self.cluster.body)
