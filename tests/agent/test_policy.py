"""The policy of an agent alone: what is told of tasks and executors, and why; nothing runs."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from typing import Any

import pytest

from allocator.agent.agent import Agent
from allocator.agent.executors import Executor, Subscribe, Unacknowledged, Update
from allocator.agent.instructions import (
    Cancel,
    Ended,
    Event,
    Exited,
    Expired,
    Forget,
    Instruction,
    Limitation,
    Note,
    NotStarted,
    Report,
    Resize,
    Start,
    Started,
    Stop,
    ToExecutor,
    Wake,
    Woken,
)
from allocator.agent.null import NullRuntime
from allocator.agent.service import Service, in_order
from allocator.agent.state import Facts
from allocator.agent.tasks import MAX_WAITING
from allocator.agent.watch import WatchOptions
from allocator.resources import Resources
from allocator.wire import messages as m
from allocator.wire.decode import encode
from allocator.wire.refusal import CallRefused

Json = dict[str, Any]

DISK = Limitation("REASON_CONTAINER_LIMITATION_DISK", "Disk usage exceeded", {"disk": 5.0})


class Host:
    """An agent's policy, and what it wanted done."""

    def __init__(self, notes: dict[str, list[Json]] | None = None, **given: Any) -> None:
        self.ids = itertools.count(len(notes or ()))
        info = m.AgentInfo(hostname="h", id=m.Value(value="S0"), resources=[])
        self.agent = Agent(
            info,
            version="1",
            pid="agent@h",
            wall=lambda: 1.0,
            new_id=lambda: f"c{next(self.ids)}",
            **given,
        )
        self.did: list[Instruction] = []
        self.notes: dict[str, list[Json]] = {}
        for id, entries in in_order((notes or {}).items()):
            self.notes[id] = entries
            if "executor" in entries[0]:
                self.agent.executors.recover(id, entries)
            else:
                self.agent.recover(id, entries)
        self.agent.executors.recovered()
        self.take()

    def take(self) -> list[Instruction]:
        """Return what is to be done, of which notes are taken."""
        taken = self.agent.take()
        for each in taken:
            if isinstance(each, Note):
                self.notes.setdefault(each.container_id, []).append(json.loads(encode(each.entry)))
            elif isinstance(each, Forget):
                self.notes.pop(each.container_id, None)
        self.did += taken
        return taken

    def happened(self, *events: Event) -> list[Instruction]:
        for event in events:
            self.agent.happened(event)
        return self.take()

    def of(self, kind: type) -> list[Any]:
        return [each for each in self.did if isinstance(each, kind)]

    def told(self) -> list[tuple[str, str, str | None]]:
        """Return task, state and reason of all statuses."""
        statuses = [each.status for each in self.of(Report)]
        return [(status.task_id.value, status.state, status.reason) for status in statuses]

    def launch(self, *ids: str, capabilities: tuple[str, ...] = (), **more: Any) -> None:
        info = m.FrameworkInfo(
            user="", name="f", capabilities=[m.Capability(type=name) for name in capabilities]
        )
        executor, is_new = more.pop("executor", None), more.pop("is_new", True)
        given = {"command": {"value": "true"}} if executor is None else {}
        tasks = [task(id, **{**given, **more}) for id in ids]
        if executor is None:
            self.agent.launch("F", info, "*", tasks)
        else:
            of = {"is_new": is_new, "is_grouped": len(ids) > 1}
            self.agent.launch_by_executor("F", info, "*", tasks, executor, **of)
        self.take()

    # Executors.

    @property
    def executor(self) -> Executor:
        return self.agent.executors.find("F", "e")

    def subscribe(self, *knows: str, updates: tuple[m.TaskStatus, ...] = ()) -> list[Json]:
        """Have the executor subscribe; return what it is sent."""
        call = Subscribe(
            unacknowledged_tasks=[Unacknowledged(task_id=m.Value(value=id)) for id in knows],
            unacknowledged_updates=[Update(status=status) for status in updates],
        )
        self.agent.executors.subscribe(self.executor, call)
        return self.sent(self.take())

    def sent(self, instructions: list[Instruction]) -> list[Json]:
        return [each.event for each in instructions if isinstance(each, ToExecutor)]

    def tell(self, id: str, state: str, number: int = 0) -> list[Json]:
        """Have the executor tell of a task; return what it is sent."""
        self.agent.executors.update(self.executor, status(id, state, number))
        return self.sent(self.take())


def task(id: str, **more: Any) -> m.TaskInfo:
    cpus = Resources("cpus:1;mem:32").to_json()
    named = {"task_id": m.Value(value=id), "agent_id": m.Value(value="S0")}
    return m.TaskInfo(name=id, resources=cpus, **named, **more)


def status(id: str, state: str, number: int = 0) -> m.TaskStatus:
    uuid = base64.b64encode(number.to_bytes(16, "big")).decode()
    return m.TaskStatus(task_id=m.Value(value=id), state=state, uuid=uuid)


def executor_info(**more: Any) -> m.ExecutorInfo:
    given = {"command": {"value": "run"}, "resources": Resources("cpus:0.5").to_json(), **more}
    return m.ExecutorInfo(executor_id=m.Value(value="e"), **given)


STARTING = ("t", "TASK_STARTING", None)
RUNNING = ("t", "TASK_RUNNING", None)


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([Started("c0"), Ended("c0", 0)], [RUNNING, ("t", "TASK_FINISHED", None)]),
        (
            [Started("c0"), Ended("c0", 9)],
            [RUNNING, ("t", "TASK_FAILED", "REASON_COMMAND_EXECUTOR_FAILED")],
        ),
        ([NotStarted("c0", "x")], [("t", "TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED")]),
        ([Started("c0"), Ended("c0", 9, DISK)], [RUNNING, ("t", "TASK_FAILED", DISK.reason)]),
        (
            [Started("c0"), Expired("c0"), Ended("c0", 9)],
            [RUNNING, ("t", "TASK_FAILED", "REASON_MAX_COMPLETION_TIME_REACHED")],
        ),
        (
            ["kill", NotStarted("c0", "x")],
            [("t", "TASK_KILLED", "REASON_TASK_KILLED_DURING_LAUNCH")],
        ),
        (
            ["kill", Started("c0"), Ended("c0", 15)],
            [("t", "TASK_KILLED", "REASON_TASK_KILLED_DURING_LAUNCH")],
        ),
        ([Started("c0"), "kill", Ended("c0", 0)], [RUNNING, ("t", "TASK_KILLED", None)]),
    ],
)
def test_reasons(events: list[Any], told: list[tuple[str, str, str | None]]) -> None:
    host = Host()
    host.launch("t")
    for event in events:
        if event == "kill":
            host.agent.kill("F", "t")
            host.take()
        else:
            host.happened(event)
    assert host.told() == [STARTING, *told]
    last = host.of(Report)[-1].status
    assert last.container_status == {"container_id": {"value": "c0"}}
    if DISK.reason == last.reason:
        assert last.limitation["resources"][0]["scalar"] == {"value": 5.0}
    assert host.agent.n_ended[last.state] == 1


def test_one_of_a_group_that_ends_before_the_others_have_started_did_run() -> None:
    host = Host()
    host.launch("t", "u")
    host.happened(Started("c0"), Ended("c0", 0), Started("c1"))
    finished = ("t", "TASK_FINISHED", None)
    assert [told for told in host.told() if told[0] == "t"] == [STARTING, RUNNING, finished]
    assert host.told()[-1] == ("u", "TASK_RUNNING", None)


def test_one_that_is_killed_before_it_was_started_need_not_be() -> None:
    host = Host()
    host.launch("t")
    host.agent.kill("F", "t")
    assert [type(each) for each in host.take()] == [Note, Cancel]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"command": None}, "neither"),
        ({"command": {}}, "no value"),
        ({"executor": {"executor_id": {"value": "e"}}, "command": {"value": "x"}}, "executor"),
    ],
)
def test_one_that_makes_no_sense(more: Json, words: str) -> None:
    host = Host()
    host.agent.launch("F", None, "*", [task("t", **more)])
    host.take()
    (told,) = host.of(Report)
    assert (told.status.state, told.status.reason) == ("TASK_ERROR", "REASON_TASK_INVALID")
    assert words in told.status.message
    assert not host.of(Start)


# Executors.


@pytest.fixture
def host() -> Host:
    """One whose executor has task t, which runs."""
    this = Host()
    this.launch("t", executor=executor_info())
    this.happened(Started("c0"))
    this.subscribe()
    this.tell("t", "TASK_RUNNING", 1)
    return this


def test_what_is_done_for_the_first_task() -> None:
    host = Host()
    host.launch("t", executor=executor_info())
    (start,) = host.of(Start)
    assert (start.container.id, start.container.executor_id) == ("c0", "e")
    assert Resources(start.container.task.resources) == Resources("cpus:1.5;mem:32")
    assert host.told() == []  # it is the executor's to tell
    (wake,) = [each for each in host.happened(Started("c0")) if isinstance(each, Wake)]
    assert wake.seconds == 60
    assert [event["type"] for event in host.subscribe()] == ["SUBSCRIBED", "LAUNCH"]
    assert host.of(Wake)[-1].seconds is None


def test_a_status_is_noted_told_and_then_acknowledged(host: Host) -> None:
    host.agent.executors.update(host.executor, status("t", "TASK_FINISHED", 2))
    kinds = [type(each) for each in host.take()]
    assert kinds == [Note, Report, Resize, ToExecutor]
    assert Resources(host.of(Resize)[-1].container.task.resources) == Resources("cpus:0.5")
    told = host.of(Report)[-1].status
    assert (told.executor_id.value, told.source) == ("e", "SOURCE_EXECUTOR")
    assert told.container_status == {"container_id": {"value": "c0"}}
    # What is told twice, or of what has ended, or of what never was, is heard no more.
    for id, number in (("t", 2), ("t", 3), ("u", 4)):
        (event,) = host.tell(id, "TASK_RUNNING", number)
        assert event["type"] == "ACKNOWLEDGED"
    assert len(host.of(Report)) == 2


def test_no_more_statuses_wait_than_may(host: Host) -> None:
    for number in range(2, MAX_WAITING + 1):
        host.tell("t", "TASK_RUNNING", number)
    with pytest.raises(CallRefused) as refused:
        host.tell("t", "TASK_RUNNING", 5000)
    assert refused.value.status == 503
    host.tell("t", "TASK_FINISHED", 5001)
    assert host.told()[-1] == ("t", "TASK_FINISHED", None)


def test_a_task_that_was_not_given_to_it_is_killed_at_once() -> None:
    host = Host()
    host.launch("t", executor=executor_info())
    host.agent.kill("F", "t")
    host.take()
    assert host.told() == [("t", "TASK_KILLED", "REASON_TASK_KILLED_DURING_LAUNCH")]
    assert host.of(Cancel)  # one without tasks would not know when to end
    assert any(isinstance(each, Stop) for each in host.happened(Started("c0")))


def test_with_a_group_that_was_not_given_all_of_it_is() -> None:
    host = Host()
    host.launch("t", "u", executor=executor_info())
    host.agent.kill("F", "u")
    host.take()
    assert {(id, state) for id, state, _ in host.told()} == {
        ("t", "TASK_KILLED"),
        ("u", "TASK_KILLED"),
    }


def test_when_it_ends_its_tasks_do_and_then_the_master_hears_of_it(host: Host) -> None:
    host.launch("u", executor=executor_info(), is_new=False)
    host.agent.kill("F", "u")
    host.take()
    did = host.happened(Ended("c0", 3 << 8))
    assert host.told()[-2:] == [
        ("t", "TASK_FAILED", "REASON_EXECUTOR_TERMINATED"),
        ("u", "TASK_KILLED", None),
    ]
    kinds = [type(each) for each in did]
    assert kinds.index(Exited) > max(i for i, kind in enumerate(kinds) if kind is Report)
    (end,) = host.of(Exited)
    assert (end.end.executor_id.value, end.end.status) == ("e", 3 << 8)
    host.launch("v", executor=executor_info(), is_new=False)
    assert host.told()[-1] == ("v", "TASK_LOST", "REASON_EXECUTOR_TERMINATED")
    host.launch("w", executor=executor_info(), is_new=False, capabilities=("PARTITION_AWARE",))
    assert host.told()[-1] == ("w", "TASK_DROPPED", "REASON_EXECUTOR_TERMINATED")
    host.launch("x", executor=executor_info(), is_new=True)
    assert host.of(Start)[-1].container.executor_id == "e"


def test_over_its_limit_its_tasks_are_told_so(host: Host) -> None:
    host.happened(Ended("c0", 9, DISK))
    assert host.told()[-1] == ("t", "TASK_FAILED", DISK.reason)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([NotStarted("c0", "x")], "REASON_CONTAINER_LAUNCH_FAILED"),
        (
            [Started("c0"), Woken("c0"), Ended("c0", 9)],
            "REASON_EXECUTOR_REGISTRATION_TIMEOUT",
        ),
    ],
)
def test_one_that_never_subscribes(events: list[Event], reason: str) -> None:
    host = Host()
    host.launch("t", executor=executor_info())
    host.happened(*events)
    assert host.told() == [("t", "TASK_FAILED", reason)]
    assert host.of(Exited)


def test_one_that_is_late_though_it_came_in_time_is_let_be(host: Host) -> None:
    host.happened(Woken("c0"))
    assert not host.of(Stop)
    host.agent.executors.disconnected("c0")
    assert [each.seconds for each in host.take() if isinstance(each, Wake)] == [900]


def test_one_that_makes_no_sense_is_told_to_the_master() -> None:
    host = Host()
    host.launch("t", executor=executor_info(command={"value": 1}))
    assert host.told() == [("t", "TASK_ERROR", "REASON_TASK_INVALID")]
    assert host.of(Exited)
    host = Host(runs_nothing=True)
    host.launch("t", executor=executor_info())
    assert host.told() == [("t", "TASK_ERROR", "REASON_TASK_INVALID")]
    assert host.of(Exited)


def test_the_executor_of_a_command_is_the_command(host: Host) -> None:
    host.launch("cmd")
    (start,) = [each for each in host.of(Start) if each.container.executor is None]
    host.happened(Started(start.container.id))
    host.agent.shut_down_executor("F", "cmd")
    assert any(isinstance(each, Stop) for each in host.take())
    host.happened(Ended(start.container.id, 15))
    assert host.told()[-1] == ("cmd", "TASK_KILLED", None)
    host.agent.shut_down_executor("F", "e")
    assert host.sent(host.take()) == [{"type": "SHUTDOWN"}]
    host.agent.shut_down_executor("F", "nothing")
    host.take()
    assert host.of(Exited)[-1].end.executor_id.value == "nothing"


def test_limits_of_tasks_are_its(host: Host) -> None:
    host.launch("u", executor=executor_info(), is_new=False, limits={"mem": m.Limit(value=100.0)})
    limits = host.of(Resize)[-1].container.task.limits
    assert limits == {"mem": m.Limit(value=132.0)}
    host.launch("v", executor=executor_info(), is_new=False, limits={"cpus": m.Limit()})
    limits = host.of(Resize)[-1].container.task.limits
    assert limits == {"mem": m.Limit(value=164.0), "cpus": m.Limit()}


# After a restart.


def test_a_task_that_was_sent_and_never_came_is_lost(host: Host) -> None:
    host.launch("u", executor=executor_info(), is_new=False)
    host.launch("v", executor=executor_info(), is_new=False)
    again = Host(host.notes)
    again.happened(Started("c0"))
    assert again.of(Wake)[-1].seconds == 900
    assert [event["type"] for event in again.subscribe("v")] == ["SUBSCRIBED"]
    assert again.told() == [("u", "TASK_LOST", "REASON_AGENT_RESTARTED")]
    assert list(again.executor.tasks) == ["t", "v"]


def test_one_that_was_not_sent_is(host: Host) -> None:
    host.agent.executors.disconnected("c0")
    host.launch("u", executor=executor_info(), is_new=False)
    again = Host(host.notes)
    again.happened(Started("c0"))
    assert [event["type"] for event in again.subscribe("t")] == ["SUBSCRIBED", "LAUNCH"]


def test_a_kill_is_carried_to_its_end(host: Host) -> None:
    host.agent.executors.disconnected("c0")
    host.agent.kill("F", "t")
    host.take()
    again = Host(host.notes)
    again.happened(Started("c0"))
    assert [event["type"] for event in again.subscribe("t")] == ["SUBSCRIBED", "KILL"]


def test_what_it_told_meanwhile_is_heard(host: Host) -> None:
    again = Host(host.notes)
    again.happened(Started("c0"))
    sent = again.subscribe("t", updates=(status("t", "TASK_FINISHED", 9),))
    assert [event["type"] for event in sent] == ["SUBSCRIBED", "ACKNOWLEDGED"]
    assert again.told() == [("t", "TASK_FINISHED", None)]
    again.agent.acknowledge("F", "t", status("t", "", 9).uuid or "")
    again.take()
    assert set(again.notes) == {"c0"}


def test_one_that_ended_while_nobody_looked(host: Host) -> None:
    again = Host(host.notes)
    again.happened(Started("c0"), Ended("c0", 0))
    assert again.told() == [("t", "TASK_FAILED", "REASON_EXECUTOR_TERMINATED")]
    assert set(again.notes) == {"c1"}  # until the task's end is acknowledged


def test_one_of_which_only_a_task_is_known(host: Host) -> None:
    del host.notes["c0"]
    again = Host(host.notes)
    assert again.told() == [("t", "TASK_LOST", "REASON_EXECUTOR_TERMINATED")]


def test_one_of_a_framework_that_was_removed(host: Host) -> None:
    host.agent.shut_down_framework("F")
    assert host.sent(host.take()) == [{"type": "SHUTDOWN"}]
    again = Host(host.notes)
    assert any(isinstance(each, Stop) for each in again.happened(Started("c0")))
    again.happened(Ended("c0", 0))
    assert (again.notes, again.told(), again.of(Exited)) == ({}, [], [])
    assert not again.agent.executors.known


def test_what_the_master_is_brought(host: Host) -> None:
    brought = host.agent.registration()
    (known,) = brought.executors or ()
    assert (known.framework_id.value, known.executor.executor_id.value) == ("F", "e")
    (task_known,) = brought.tasks or ()
    assert (task_known.executor_id or m.Value(value="")).value == "e"


def test_what_cannot_be_destroyed_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allocator.agent.runtime._DESTROY_SECONDS", 0.02)

    class Stubborn(NullRuntime):
        def make_end(self, container_id: str) -> None:
            """It does not."""

    async def run() -> None:
        runtime = Stubborn(lambda events: None)
        for id in ("c1", "c2"):
            runtime.stop(id, 0.0)
        await asyncio.sleep(0.01)
        runtime.tell(Ended("c2", 9))
        while not runtime.n_destroy_errors:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        assert runtime.n_destroy_errors == 1
        runtime.close()

    asyncio.run(run())


def test_lost_tasks_and_executors_are_counted(host: Host) -> None:
    service = Service([host.agent], NullRuntime, None, keeps_tasks=False, watching=WatchOptions())
    before = Facts(service, "agent@h", {}).metrics()
    assert (before["slave/executors_running"], before["slave/executors_registering"]) == (1, 0)
    assert (before["slave/tasks_running"], before["slave/frameworks_active"]) == (1, 1)
    assert before["slave/cpus_used"] == 1.5
    host.agent.executors.disconnected("c0")
    waiting = Facts(service, "agent@h", {}).metrics()
    assert (waiting["slave/executors_running"], waiting["slave/executors_registering"]) == (0, 1)
    host.happened(Ended("c0", 0))
    host.launch("u", executor=executor_info(), is_new=False)
    after = Facts(service, "agent@h", {}).metrics()
    assert (after["slave/tasks_lost"], after["slave/tasks_failed"]) == (1, 1)
    assert (after["slave/executors_terminated"], after["slave/cpus_used"]) == (1, 0)


def test_only_so_much_of_the_past_is_shown() -> None:
    host = Host()
    for number in range(200):
        host.launch(f"t{number}")
        host.happened(Started(f"c{number}"), Ended(f"c{number}", 0))
        for each in host.of(Report)[-3:]:
            host.agent.acknowledge("F", f"t{number}", each.status.uuid)
    assert len(host.agent.past["F"].executors) == 150
    assert not host.agent.tasks
