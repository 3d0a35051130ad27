"""Policy against policy: whatever gets lost between master and agents, in the end they agree.

One master, two agents and a framework live through a random history of launches, kills, ends,
broken connections, restarts of agents and of the master, and agents that are away for too long.
Some tasks are run by executors, whose streams break, and lose what is on its way, when agents die.
Then all is repaired, and whatever was said must have arrived.
"""

from __future__ import annotations

import base64
import itertools
import json
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator import Resources
from allocator.agent.agent import Agent
from allocator.agent.executors import Subscribe
from allocator.agent.instructions import (
    Container,
    Ended,
    Exited,
    Forget,
    Leave,
    Note,
    NotStarted,
    Report,
    Start,
    Started,
    Stop,
    ToExecutor,
)
from allocator.agent.service import in_order, take_record
from allocator.master import agents
from allocator.master.instructions import Persist
from allocator.wire import messages as m
from allocator.wire.decode import encode
from allocator.wire.refusal import CallRefused
from tests.service import world
from tests.service.world import Json, World

#: The last that may be heard of a task.
TERMINAL = frozenset(
    {"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR"}
    | {"TASK_LOST", "TASK_DROPPED", "TASK_GONE"}
)


class Executor:
    """What runs in an executor's container."""

    def __init__(self) -> None:
        self.is_connected = False
        #: What it was sent and has not read.
        self.inbox: deque[Json] = deque()
        #: Tasks of which it has told nothing that was acknowledged; those that have not ended.
        self.new: set[str] = set()
        self.seen: set[str] = set()
        self.tasks: dict[str, bool] = {}
        #: What it told and was not acknowledged, by uuid.
        self.updates: dict[str, Json] = {}

    def hang_up(self) -> None:
        """Lose the stream, with all that is on its way."""
        self.is_connected = False
        self.inbox.clear()

    def read(self) -> bool:
        """Read all that came; return whether it is to end."""
        while self.inbox:
            event = self.inbox.popleft()
            content = event.get(event["type"].lower(), {})
            match event["type"]:
                case "LAUNCH":
                    id = content["task"]["task_id"]["value"]
                    assert id not in self.seen, "a task was started twice"
                    self.seen.add(id)
                    self.new.add(id)
                    self.tasks[id] = False
                case "KILL":
                    id = content["task_id"]["value"]
                    if id in self.tasks:
                        self.tasks[id] = True
                case "ACKNOWLEDGED":
                    self.new.discard(content["task_id"]["value"])
                    self.updates.pop(content["uuid"], None)
                case "SHUTDOWN":
                    return True
        return False


class Machine:
    """An agent's machine: its policy, what runs, what is noted, and its line to the master."""

    def __init__(self, hostname: str) -> None:
        self.hostname = hostname
        self.id = ""
        #: Container → whether it was told that it started; they outlive the agent.
        self.running: dict[str, bool] = {}
        #: Containers that ended while nobody told.
        self.ended: dict[str, int] = {}
        self.notes: dict[str, list[Json]] = {}
        self.reported: list[str] = []
        #: By container, as long as that runs.
        self.executors: dict[str, Executor] = {}
        self.exits: list[Json] = []
        self.session: str | None = None
        self.inbox: deque[Json] = deque()
        self.outbox: list[Json] = []
        self._ids = itertools.count()
        self.agent = self._new_agent()

    def _new_agent(self) -> Agent:
        info = m.AgentInfo(
            hostname=self.hostname,
            id=m.Value(value=self.id) if self.id else None,
            resources=Resources("cpus:4;mem:1024").to_json(),
        )
        return Agent(
            info,
            version="1",
            pid=f"agent@{self.hostname}",
            wall=lambda: 1.0,
            new_id=lambda: f"{self.hostname}-c{next(self._ids)}",
        )

    def carry_out(self) -> None:
        for instruction in self.agent.take():
            match instruction:
                case Note(id, entry):
                    self.notes.setdefault(id, []).append(json.loads(encode(entry)))
                case Start(container):
                    self.running[container.id] = False
                    if container.executor is not None:
                        self.executors[container.id] = Executor()
                case ToExecutor(id, event):
                    if id in self.executors and self.executors[id].is_connected:
                        self.executors[id].inbox.append(json.loads(encode(event)))
                case Exited(end):
                    if self.session is not None:
                        self.exits.append(json.loads(encode(end)))
                case Stop(id, _):
                    if self.running.pop(id, None) is not None:
                        self.ended[id] = 15
                case Report(status):
                    assert status.uuid is not None
                    self.reported.append(status.uuid)
                    if self.session is not None:
                        self.outbox.append(json.loads(encode(status)))
                case Forget(id):
                    self.notes.pop(id, None)
                case Leave():
                    raise AssertionError("nobody told it to leave")

    def happened(self, event: Started | NotStarted | Ended) -> None:
        self.agent.happened(event)
        self.carry_out()

    def start_all(self) -> None:
        for id, told in list(self.running.items()):
            if not told:
                self.running[id] = True
                self.happened(Started(id))

    def tell_ends(self) -> None:
        for id, status in list(self.ended.items()):
            self.ended.pop(id, None)
            if id in self.notes:
                self.happened(Ended(id, status))

    # Executors.

    def running_executors(self) -> Iterator[tuple[str, Executor]]:
        """Yield those whose containers run."""
        for id in [id for id in self.executors if id not in self.running]:
            del self.executors[id]
        yield from [(id, each) for id, each in self.executors.items() if self.running[id]]

    def subscribe_executors(self) -> None:
        known = self.agent.executors
        for id, executor in self.running_executors():
            if not executor.is_connected and id in known:
                (of,) = [each for each in known.known.values() if each.container.id == id]
                tasks = [{"task_id": {"value": task}} for task in executor.new]
                updates = [{"status": status} for status in executor.updates.values()]
                call = {"unacknowledged_tasks": tasks, "unacknowledged_updates": updates}
                executor.is_connected = True
                known.subscribe(of, msgspec.convert(call, Subscribe))
                self.carry_out()

    def run_executors(self, n: int) -> None:
        """Have executors read what came, and tell of a task each."""
        for id, executor in self.running_executors():
            if executor.read():
                del self.running[id]
                self.ended[id] = 0
            elif executor.tasks and executor.is_connected:
                task = sorted(executor.tasks)[n % len(executor.tasks)]
                over = "TASK_KILLED" if executor.tasks[task] else "TASK_FINISHED"
                self.tell(id, executor, task, over if n % 3 else "TASK_RUNNING")

    def tell(self, container_id: str, executor: Executor, task: str, state: str) -> None:
        uuid = base64.b64encode(next(_uuids).to_bytes(16, "big")).decode()
        status = {"task_id": {"value": task}, "state": state, "uuid": uuid}
        executor.updates[uuid] = status
        if state != "TASK_RUNNING":
            del executor.tasks[task]
        known = self.agent.executors
        (of,) = [each for each in known.known.values() if each.container.id == container_id]
        known.update(of, msgspec.convert(status, m.TaskStatus))
        self.carry_out()

    def break_streams(self) -> None:
        for id, executor in self.running_executors():
            executor.hang_up()
            self.agent.executors.disconnected(id)
            self.carry_out()

    def restart(self) -> None:
        """Die and come again, knowing what is noted."""
        self.hang_up()
        for executor in self.executors.values():
            executor.hang_up()
        self.agent = self._new_agent()
        found: list[Container] = []
        for id, entries in in_order(self.notes.items()):
            if "executor" in entries[0]:
                self.agent.executors.recover(id, entries)
                continue
            container = self.agent.recover(id, entries)
            if container is not None:
                found.append(container)
        found += self.agent.executors.recovered()
        self.carry_out()
        for container in found:
            if container.id in self.running:
                self.running[container.id] = True
                self.happened(Started(container.id))
            elif container.id in self.ended:
                self.happened(Started(container.id))
            else:
                self.happened(NotStarted(container.id, "the agent ended before"))

    def hang_up(self) -> None:
        """Lose the line, with all that is on its way; the master may not know."""
        self.session = None
        self.inbox.clear()
        self.outbox.clear()
        self.exits.clear()


_uuids = itertools.count(2**64)


class Rows:
    """A registry that forgets nothing, and writes to no disk."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Any] = {}

    def load(self, kind: str) -> dict[str, Any]:
        return {key: value for (table, key), value in self._rows.items() if table == kind}

    def apply(self, changes: Iterable[Persist]) -> None:
        for table, key, value in changes:
            self._rows.pop((table, key), None)
            if value is not None:
                self._rows[table, key] = json.loads(encode(value))


class History:
    """A cluster, and what its framework did and heard."""

    def __init__(self, *, aware: bool) -> None:
        self.world = World(Rows())  # type: ignore[arg-type]
        self.machines = [Machine("h1"), Machine("h2")]
        self.info: Json = {"failover_timeout": 1e6}
        if aware:
            self.info["capabilities"] = [{"type": "PARTITION_AWARE"}]
        self.framework, self.stream = self.world.subscribe(**self.info)
        self.offers: list[Json] = []
        self.launched: list[str] = []
        self.heard: dict[str, list[str]] = {}
        self.uuids: set[str] = set()
        self.acknowledged: set[str] = set()
        self.waiting: deque[Json] = deque()
        self.restarted = False

    # What the framework does.

    def listen(self) -> None:
        for event in self.world.take(self.stream):
            if event["type"] == "OFFERS":
                self.offers += event["offers"]["offers"]
            elif event["type"] == "RESCIND":
                gone = event["rescind"]["offer_id"]
                self.offers = [offer for offer in self.offers if offer["id"] != gone]
            elif event["type"] == "UPDATE":
                self.hear(event["update"]["status"])

    def hear(self, status: Json) -> None:
        self.heard.setdefault(status["task_id"]["value"], []).append(status["state"])
        if "uuid" in status:
            assert status["uuid"] not in self.acknowledged, f"told twice: {status}"
            self.uuids.add(status["uuid"])
            self.waiting.append(status)

    def launch(self, n: int) -> None:
        self.world.cycle()
        self.listen()
        if self.offers:
            offer = self.offers.pop(0)
            ids = [f"t{len(self.launched) + i}" for i in range(1 + n % 2)]
            self.launched += ids
            by = world.executor(f"e{n % 2}") if n > 4 else None
            self.world.launch(self.framework, self.stream, offer, *ids, executor=by)
            self.listen()

    def kill(self, n: int) -> None:
        if self.launched:
            id = self.launched[n % len(self.launched)]
            self.world.call("KILL", self.framework, self.stream, task_id={"value": id})
            self.listen()
            if (self.heard.get(id) or [""])[-1] == "TASK_UNKNOWN":
                self.heard[id].pop()

    def acknowledge(self, n: int) -> None:
        self.listen()
        if self.waiting:
            status = self.waiting.popleft()
            id, agent_id = status["task_id"]["value"], status["agent_id"]["value"]
            tasks = self.world.master.frameworks[self.framework]
            known = tasks.tasks.get(id) or tasks.unreachable.get(id)
            if known is not None and [*known.waiting][:1] == [status]:
                self.acknowledged.add(status["uuid"])
            self.world.acknowledge(self.framework, self.stream, agent_id, id, status["uuid"])
            self.listen()

    def subscribe_again(self, n: int) -> None:
        if n % 2:
            self.world.master.disconnect(self.stream)
            self.world.carry_out()
        self.listen()
        self.offers.clear()
        self.waiting.clear()  # sent again at once
        _, self.stream = self.world.subscribe(self.framework, **self.info)
        self.listen()

    # What happens to agents.

    def machine(self, n: int) -> Machine:
        return self.machines[n % 2]

    def register(self, n: int) -> None:
        machine = self.machine(n)
        if machine.session is None:
            registration = json.loads(encode(machine.agent.registration()))
            machine.session = self.world.register(registration)
            self.receive(n, at_most=1)
            assert machine.id
            self.listen()

    def receive(self, n: int, at_most: int = 1000) -> None:
        machine = self.machine(n)
        if machine.session is None:
            return
        machine.inbox += self.world.take(machine.session)
        for _ in range(min(at_most, len(machine.inbox))):
            record = m.TO_AGENTS.decode(encode(machine.inbox.popleft()))
            if record.type == "REGISTERED":
                assert record.agents is not None
                machine.id = record.agents[0].id
                machine.agent.registered(machine.id)
            elif record.agent_id is not None:
                take_record(machine.agent, record)
                machine.carry_out()

    def receive_one(self, n: int) -> None:
        self.receive(n, at_most=1)

    def send(self, n: int) -> None:
        machine = self.machine(n)
        if machine.session is not None and (machine.outbox or machine.exits):
            sent, machine.outbox = machine.outbox, []
            exits, machine.exits = machine.exits, []
            try:
                if sent:
                    self.world.update(machine.session, *sent)
                if exits:
                    self.world.say(machine.session, "EXITED", executors=exits)
            except CallRefused:  # the master has ended the session
                machine.hang_up()
            self.listen()

    def cut(self, n: int) -> None:
        """Break the line, and both know."""
        machine = self.machine(n)
        if machine.session is not None:
            agents.disconnect(self.world.master, machine.session)
            self.world.carry_out()
            machine.hang_up()

    def break_silently(self, n: int) -> None:
        self.machine(n).hang_up()

    def subscribe_executors(self, n: int) -> None:
        self.machine(n).subscribe_executors()

    def run_executors(self, n: int) -> None:
        self.machine(n).run_executors(n)

    def break_streams(self, n: int) -> None:
        self.machine(n).break_streams()

    def restart_agent(self, n: int) -> None:
        self.machine(n).restart()

    def start(self, n: int) -> None:
        self.machine(n).start_all()

    def end(self, n: int) -> None:
        machine = self.machine(n)
        if machine.running:
            id = sorted(machine.running)[n % len(machine.running)]
            if machine.running[id]:
                del machine.running[id]
                machine.ended[id] = (n % 3) << 8
        machine.tell_ends()

    def end_untold(self, n: int) -> None:
        machine = self.machine(n)
        for id in sorted(machine.running)[:1]:
            if machine.running[id]:
                del machine.running[id]
                machine.ended[id] = 0

    def miss_pings(self, n: int) -> None:
        """Let all that do not answer be away for too long."""
        master = self.world.master
        for machine in self.machines:
            if machine.session in master.sessions and machine.session is not None:
                master.sessions[machine.session].n_missed = -1
        for _ in range(self.world.options.max_agent_ping_timeouts + 1):
            agents.ping(master)
            for machine in self.machines:
                if machine.session in master.sessions and machine.session is not None:
                    master.sessions[machine.session].n_missed = 0
        self.world.carry_out()
        self.listen()

    def restart_master(self, n: int) -> None:
        """Have another master take over what the registry has."""
        self.world.restart()
        self.restarted = True
        for machine in self.machines:
            machine.hang_up()
        self.acknowledged.clear()  # the agents may not have heard of it
        self.subscribe_again(0)

    # The end.

    def settle(self) -> None:
        """Repair all, and let all that runs end."""
        for _ in range(60):
            for n in range(2):
                self.start(n)
                machine = self.machine(n)
                machine.subscribe_executors()
                machine.run_executors(1)
                for id in sorted(machine.running):
                    if machine.running.pop(id):
                        machine.ended[id] = 0
                machine.tell_ends()
                if machine.session not in self.world.master.sessions:
                    machine.hang_up()
                self.register(n)
                self.receive(n)
                self.send(n)
            while self.waiting:
                self.acknowledge(0)

    def reconcile(self) -> None:
        """Ask for what nothing was heard of: launches may have been lost with a master."""
        ids = [id for id in self.launched if (self.heard.get(id) or [""])[-1] not in TERMINAL]
        if ids:
            tasks = [{"task_id": {"value": id}} for id in ids]
            self.world.call("RECONCILE", self.framework, self.stream, tasks=tasks)
            for status in self.world.take(self.stream, "UPDATE"):
                told = status["update"]["status"]
                assert told["state"] in ("TASK_LOST", "TASK_UNKNOWN"), told
                self.heard.setdefault(told["task_id"]["value"], []).append("TASK_LOST")

    def check(self) -> None:
        framework = self.world.master.frameworks[self.framework]
        assert framework.tasks == {}
        assert framework.unreachable == {}
        assert framework.executors == {}
        for machine in self.machines:
            assert machine.agent.tasks == {}
            assert machine.agent.executors.known == {}
            assert self.world.master.agents[machine.id].executors == {}
            assert machine.notes == {}
            assert self.world.master.engine.agent(machine.id).allocated == Resources()
            assert set(machine.reported) <= self.uuids, "a status was lost"
        if self.restarted:
            self.reconcile()
        for id in self.launched:
            assert (self.heard.get(id) or ["nothing"])[-1] in TERMINAL, (id, self.heard.get(id))


RULES: list[Callable[[History, int], None]] = [
    History.launch,
    History.launch,
    History.kill,
    History.acknowledge,
    History.acknowledge,
    History.subscribe_again,
    History.register,
    History.register,
    History.receive,
    History.receive_one,
    History.send,
    History.send,
    History.cut,
    History.break_silently,
    History.restart_agent,
    History.subscribe_executors,
    History.subscribe_executors,
    History.run_executors,
    History.run_executors,
    History.break_streams,
    History.start,
    History.start,
    History.end,
    History.end_untold,
    History.miss_pings,
    History.restart_master,
]


#: What does not happen often.
FAULTS = {
    *(History.cut, History.break_silently, History.break_streams, History.restart_agent),
    *(History.miss_pings, History.restart_master, History.subscribe_again, History.end),
}


def live_through(aware: bool, steps: Iterable[tuple[int, int]]) -> None:
    history = History(aware=aware)
    history.register(0)
    history.register(1)
    for rule, n in steps:
        RULES[rule](history, n)
    history.settle()
    history.check()


@pytest.mark.parametrize("aware", [False, True])
@given(
    steps=st.lists(st.tuples(st.sampled_from(range(len(RULES))), st.integers(0, 9)), max_size=60)
)
@settings(max_examples=150, deadline=None)
def test_master_and_agents_agree_in_the_end(aware: bool, steps: list[tuple[int, int]]) -> None:
    live_through(aware, steps)


@pytest.mark.parametrize("seed", range(20))
def test_so_they_do_after_long_histories(seed: int) -> None:
    """In which executors come to run many tasks, which what comes together at random seldom has."""
    draw = random.Random(seed)
    weights = [1 if rule in FAULTS else 8 for rule in RULES]
    rules = draw.choices(range(len(RULES)), weights, k=400)
    steps = [(rule, draw.randrange(10)) for rule in rules]
    live_through(bool(seed % 2), steps)
