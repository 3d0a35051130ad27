"""The operator API's calls: what they answer, change, write down and tell those who watch."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from allocator import Resources
from allocator.master import agents, operator
from allocator.master.reading import Reader
from allocator.wire.decode import encode
from allocator.wire.refusal import CallRefused
from tests.service.world import World, agent, uuid

Json = dict[str, Any]


@pytest.fixture
def world() -> World:
    return World()


def refused(world: World, status: int, named: str, type: str, **content: Any) -> None:
    """Check that a call is refused so, and changes nothing."""
    before = world.master.engine.snapshot(), dict(world.rows)
    with pytest.raises(CallRefused, match=named) as refusal:
        world.operate(type, **content)
    world.carry_out()
    assert refusal.value.status == status
    assert (world.master.engine.snapshot(), world.rows) == before


def read(world: World, type: str) -> Any:
    """Return what a read answers."""
    reply = world.operate(type)
    assert reply is not None
    assert reply["type"] == type
    return reply[type.lower()]


# Reads.


def test_reads_show_what_there_is(world: World) -> None:
    framework, _, _, agent_id = world.running(roles=["eng/a"], name="spark")
    state = read(world, "GET_STATE")
    (task,) = state["get_tasks"]["tasks"]
    assert task["task_id"] == {"value": "t1"}
    assert task["framework_id"] == {"value": framework}
    assert task["agent_id"] == {"value": agent_id}
    assert (task["name"], task["state"]) == ("t", "TASK_RUNNING")
    assert [status["state"] for status in task["statuses"]] == ["TASK_RUNNING"]
    assert Resources(task["resources"]) == Resources("cpus:1;mem:64")
    (shown,) = state["get_frameworks"]["frameworks"]
    assert shown["framework_info"]["id"] == {"value": framework}
    assert shown["framework_info"]["roles"] == ["eng/a"]
    assert (shown["active"], shown["connected"], shown["recovered"]) == (True, True, False)
    assert shown["registered_time"] == {"nanoseconds": 10**18}
    assert Resources(shown["allocated_resources"]) == Resources("cpus:1;mem:64")
    (known,) = state["get_agents"]["agents"]
    assert known["agent_info"]["id"] == {"value": agent_id}
    assert known["agent_info"]["hostname"] == "h1"
    assert (known["active"], known["deactivated"]) == (True, False)
    assert Resources(known["total_resources"]) == Resources("cpus:4;mem:1024")
    assert Resources(known["allocated_resources"]) == Resources("cpus:1;mem:64")
    for part in ("get_tasks", "get_frameworks", "get_agents", "get_executors"):
        assert read(world, part.upper()) == state[part]


def test_roles_have_their_ancestors(world: World) -> None:
    framework, *_ = world.running(roles=["eng/a"])
    world.operate("UPDATE_WEIGHTS", weight_infos=[{"role": "ops", "weight": 2}])
    roles = {role["name"]: role for role in read(world, "GET_ROLES")["roles"]}
    assert list(roles) == ["eng", "eng/a", "ops"]
    assert roles["eng/a"]["frameworks"] == [{"value": framework}]
    assert Resources(roles["eng"]["resources"]) == Resources("cpus:1;mem:64")
    assert (roles["ops"]["weight"], roles["eng"]["weight"]) == (2, 1)


def test_small_reads(world: World) -> None:
    assert read(world, "GET_HEALTH") == {"healthy": True}
    assert read(world, "GET_VERSION")["version_info"]["version"]
    assert read(world, "GET_MASTER")["master_info"]["id"] == "m1"
    names = [flag["name"] for flag in read(world, "GET_FLAGS")["flags"]]
    assert "agent_reregister_timeout" in names
    metrics = {each["name"]: each["value"] for each in read(world, "GET_METRICS")["metrics"]}
    assert metrics["allocator/mesos/allocation_runs"] == 0


# Weights.


def test_weights_are_set_written_down_and_shown(world: World) -> None:
    infos = [{"role": "eng/a", "weight": 2.5}, {"role": "eng", "weight": "3"}]
    assert world.operate("UPDATE_WEIGHTS", weight_infos=infos) is None
    assert world.master.engine.role("eng/a").weight == 2.5
    assert read(world, "GET_WEIGHTS") == {
        "weight_infos": [{"role": "eng", "weight": 3.0}, {"role": "eng/a", "weight": 2.5}]
    }
    assert world.rows["weights", "eng"] == {"weight": 3.0}


@pytest.mark.parametrize(
    ("infos", "named"),
    [
        ([{"role": "a", "weight": 2}, {"role": "b", "weight": 0}], "'b'"),
        ([{"role": "a", "weight": -1}], "'a'"),
        ([{"role": "a", "weight": "NaN"}], "nan"),
        ([{"role": "a", "weight": "Infinity"}], "inf"),
        ([{"role": "a//b", "weight": 1}], "a//b"),
        ([{"role": "a", "weight": 1}, {"role": "a", "weight": 2}], "twice"),
    ],
)
def test_weights_that_cannot_be(world: World, infos: list[Json], named: str) -> None:
    refused(world, 400, named, "UPDATE_WEIGHTS", weight_infos=infos)
    assert world.master.weights == {}


def test_weights_may_be_put_as_a_list(world: World) -> None:
    caller = operator.Caller(None, world.check, dict, world.model)
    operator.put_weights(world.master, b'\xef\xbb\xbf[{"role":"eng","weight":4}]', caller)
    assert world.master.weights == {"eng": 4.0}
    for body in (b"", b"{}", b'{"role":"eng","weight":4}', b"[4]", b"[" * 200, b'[{"role":"eng"}]'):
        with pytest.raises(CallRefused) as refusal:
            operator.put_weights(world.master, body, caller)
        assert refusal.value.status == 400


def test_whatever_is_set_is_shown_at_once(world: World) -> None:
    reader = Reader(world.master)

    def shown() -> Any:
        answer = asyncio.run(reader.answer("/weights", "", {}, None))
        return json.loads(answer.body)

    assert shown() == []
    world.operate("UPDATE_WEIGHTS", weight_infos=[{"role": "eng", "weight": 1}])
    assert shown() == [{"role": "eng", "weight": 1.0}]


# Quota.


def config(role: str, guarantees: Json | None = None, limits: Json | None = None) -> Json:
    """Return one quota in v1 form."""
    return {
        "role": role,
        "guarantees": {name: {"value": value} for name, value in (guarantees or {}).items()},
        "limits": {name: {"value": value} for name, value in (limits or {}).items()},
    }


def test_quota_is_set_written_down_shown_and_removed(world: World) -> None:
    world.register(agent("h1"))
    configs = [config("eng", {"cpus": 2}, {"cpus": 3, "mem": 0}), config("eng/a", {"cpus": 1})]
    assert world.operate("UPDATE_QUOTA", quota_configs=configs) is None
    status = read(world, "GET_QUOTA")["status"]
    assert status["configs"] == configs
    assert [info["role"] for info in status["infos"]] == ["eng", "eng/a"]
    assert Resources(status["infos"][0]["guarantee"]) == Resources("cpus:2")
    assert dict(world.master.engine.role("eng").quota.limit) == {"cpus": 3, "mem": 0}
    world.operate("UPDATE_QUOTA", quota_configs=[config("eng/a"), config("eng")])
    assert read(world, "GET_QUOTA")["status"] == {"infos": [], "configs": []}
    assert not [key for key in world.rows if key[0] == "quotas"]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("configs", "named"),
    [
        ([config("a", {"cpus": 1}), config("a", {"cpus": 2})], "twice"),
        ([config("a", {"cpus": 2}, {"cpus": 1})], "'a'"),
        ([config("a", {"cpus": 1}), config("a/b", {"cpus": 2})], "'a'"),
        ([config("ok", {"cpus": 1}), config("a/../b", {"cpus": 1})], "a/../b"),
        ([config("a", {"cpus": -1})], "-1"),
        ([config("a", limits={"cpus": "NaN"})], "nan"),
    ],
)
def test_quota_that_cannot_be_is_refused_even_by_force(
    world: World, force: bool, configs: list[Json], named: str
) -> None:
    world.register(agent("h1"))
    refused(world, 400, named, "UPDATE_QUOTA", quota_configs=configs, force=force)
    assert world.master.quotas == {}


def test_guarantees_beyond_all_agents_take_force(world: World) -> None:
    world.register(agent("h1", "cpus:4;mem:1024"))
    # 3 + 2 > 4; what eng/a is guaranteed is part of what eng is.
    world.operate("UPDATE_QUOTA", quota_configs=[config("eng", {"cpus": 3})])
    world.operate("UPDATE_QUOTA", quota_configs=[config("eng/a", {"cpus": 2})])
    configs = [config("ops", {"cpus": 2})]
    refused(world, 400, "cpus:5", "UPDATE_QUOTA", quota_configs=configs)
    refused(world, 400, "gpus:1", "UPDATE_QUOTA", quota_configs=[config("ops", {"gpus": 1})])
    world.operate("UPDATE_QUOTA", quota_configs=configs, force=True)
    assert world.master.engine.role("ops").quota.guarantee["cpus"] == 2


def test_a_limit_below_consumption_takes_force(world: World) -> None:
    world.running(roles=["eng/a"])
    configs = [config("eng", limits={"cpus": 0.5})]
    refused(world, 400, "cpus:1", "UPDATE_QUOTA", quota_configs=configs)
    world.operate("UPDATE_QUOTA", quota_configs=configs, force=True)
    assert dict(world.master.engine.role("eng").quota.limit) == {"cpus": 0.5}


def test_offers_beyond_a_new_limit_are_rescinded(world: World) -> None:
    for name in ("h1", "h2", "h3"):
        world.register(agent(name, "cpus:4;mem:1024"))
    world.register(agent("h4", "mem:64"))
    _, stream = world.subscribe(roles=["eng/a"])
    _, other = world.subscribe(roles=["ops"])
    world.cycle()
    offers, untouched = world.offers(stream), world.offers(other)
    world.operate("UPDATE_QUOTA", quota_configs=[config("eng", limits={"cpus": 4})])
    rescinded = [e["rescind"]["offer_id"]["value"] for e in world.take(stream, "RESCIND")]
    kept = [o for o in offers if o["id"]["value"] not in rescinded]
    cpus = [Resources(offer["resources"])["cpus"] for offer in offers]
    # Open offers of 4 cpus each: as many go as are beyond one.
    assert len(rescinded) == max(cpus.count(4) - 1, 0)
    assert sum(Resources(offer["resources"])["cpus"] for offer in kept) <= 4
    assert world.take(other) == []
    assert set(world.master.offers) == {o["id"]["value"] for o in (*kept, *untouched)}


# Maintenance.

SECOND = 10**9


def window(*machines: Json, start: int = 2 * 10**18, **more: Any) -> Json:
    """Return a window of maintenance in v1 form."""
    return {
        "machine_ids": list(machines),
        "unavailability": {"start": {"nanoseconds": start}, **more},
    }


def plan(world: World, *windows: Json) -> None:
    """Replace the schedule."""
    world.operate("UPDATE_MAINTENANCE_SCHEDULE", schedule={"windows": list(windows)})


def test_frameworks_on_machines_that_go_are_asked_to_leave(world: World) -> None:
    framework, stream, _, agent_id = world.running()
    world.cycle()
    (offer,) = world.offers(stream)
    assert "unavailability" not in offer
    planned = window({"hostname": "H1"}, duration={"nanoseconds": 60 * SECOND})
    plan(world, planned)
    assert [event["type"] for event in world.take(stream)] == ["RESCIND"]
    assert world.rows["maintenance", "schedule"] == {"windows": [planned]}
    world.cycle()
    events = world.take(stream)
    (inverse,) = [
        i
        for e in events
        if e["type"] == "INVERSE_OFFERS"
        for i in e["inverse_offers"]["inverse_offers"]
    ]
    (offer,) = [o for e in events if e["type"] == "OFFERS" for o in e["offers"]["offers"]]
    assert offer["unavailability"] == inverse["unavailability"] == planned["unavailability"]
    assert inverse["agent_id"] == {"value": agent_id}
    assert inverse["framework_id"] == {"value": framework}
    (machine,) = read(world, "GET_MAINTENANCE_STATUS")["status"]["draining_machines"]
    assert machine == {"id": {"hostname": "H1"}, "statuses": []}
    world.clock.advance(5)
    world.call(
        "ACCEPT_INVERSE_OFFERS",
        framework,
        stream,
        inverse_offer_ids=[inverse["id"]],
        filters={"refuse_seconds": 1000},
    )
    (machine,) = read(world, "GET_MAINTENANCE_STATUS")["status"]["draining_machines"]
    (status,) = machine["statuses"]
    assert status["status"] == "ACCEPT"
    assert status["framework_id"] == {"value": framework}
    assert status["timestamp"] == {"nanoseconds": 10**18 + 5 * SECOND}
    assert read(world, "GET_MAINTENANCE_SCHEDULE")["schedule"] == {"windows": [planned]}
    plan(world, planned)  # the same again: the answer holds
    assert read(world, "GET_MAINTENANCE_STATUS")["status"]["draining_machines"] == [machine]


def test_a_request_to_leave_is_taken_back_with_the_plan(world: World) -> None:
    _, stream, _, _ = world.running()
    plan(world, window({"ip": "127.0.0.1"}))
    world.cycle()
    (event,) = world.take(stream, "INVERSE_OFFERS")
    id = event["inverse_offers"]["inverse_offers"][0]["id"]
    plan(world)
    (event,) = world.take(stream, "RESCIND_INVERSE_OFFER")
    assert event["rescind_inverse_offer"]["inverse_offer_id"] == id
    world.cycle()
    assert "unavailability" not in world.offers(stream)[0]
    assert read(world, "GET_MAINTENANCE_STATUS")["status"] == {"draining_machines": []}


def test_a_new_stream_is_asked_anew(world: World) -> None:
    framework, stream, _, _ = world.running(failover_timeout=60)
    plan(world, window({"hostname": "h1"}))
    world.cycle()
    assert len(world.take(stream, "INVERSE_OFFERS")) == 1
    world.master.disconnect(stream)
    _, stream = world.subscribe(framework, failover_timeout=60)
    world.cycle()
    assert len(world.take(stream, "INVERSE_OFFERS")) == 1


def test_agents_that_come_later_are_planned_for(world: World) -> None:
    plan(world, window({"hostname": "h1", "ip": "127.0.0.1"}), window({"hostname": "h2"}))
    world.register(agent("h1"), agent("h2"), agent("h3"))
    _, stream = world.subscribe()
    world.cycle()
    planned = {o["hostname"]: "unavailability" in o for o in world.offers(stream)}
    assert planned == {"h1": True, "h2": True, "h3": False}


@pytest.mark.parametrize(
    ("windows", "named"),
    [
        ([window({"hostname": "a"}), window({"hostname": "A"})], "twice"),
        ([window({"hostname": "a"}, {"hostname": "a"})], "twice"),
        ([window()], "at least one"),
        ([window({})], "hostname"),
        ([window({"hostname": "", "ip": ""})], "hostname"),
        ([window({"ip": "1.2.3"})], "1.2.3"),
        ([window({"ip": "::1"}, duration={"nanoseconds": -1})], "negative"),
    ],
)
def test_schedules_that_cannot_be(world: World, windows: list[Json], named: str) -> None:
    schedule = {"windows": windows}
    refused(world, 400, named, "UPDATE_MAINTENANCE_SCHEDULE", schedule=schedule)


# Reservations.


def reserved(amount: float, role: str = "eng", **more: Any) -> Json:
    """Return reserved cpus in v1 form."""
    return {
        "name": "cpus",
        "type": "SCALAR",
        "scalar": {"value": amount},
        "reservations": [{"type": "DYNAMIC", "role": role, **more}],
    }


def test_reserving_takes_back_offers_in_the_way_and_no_others(world: World) -> None:
    session = world.register(agent("h1"), agent("h2"))
    first, _ = [each["id"] for each in world.take(session)[0]["agents"]]
    _, stream = world.subscribe()
    world.cycle()
    on_agent = {o["agent_id"]["value"]: o["id"]["value"] for o in world.offers(stream)}
    asked = {"agent_id": {"value": first}, "resources": [reserved(3)]}
    world.operate("RESERVE_RESOURCES", **asked)
    assert [e["rescind"]["offer_id"]["value"] for e in world.take(stream)] == [on_agent[first]]
    assert world.master.engine.agent(first).total.reserved("eng")["cpus"] == 3
    assert Resources(world.rows["agents", first]["resources"]).reserved("eng")["cpus"] == 3
    refused(world, 409, "cpus", "RESERVE_RESOURCES", **asked)
    asked["resources"] = [reserved(2)]
    world.operate("UNRESERVE_RESOURCES", **asked)
    assert world.master.engine.agent(first).total.reserved("eng")["cpus"] == 1
    refused(world, 409, "cpus", "UNRESERVE_RESOURCES", **asked)


def test_reserving_what_tasks_use_is_a_conflict(world: World) -> None:
    _, stream, _, agent_id = world.running()
    world.cycle()
    world.offers(stream)
    asked = {"agent_id": {"value": agent_id}, "resources": [reserved(4)]}
    refused(world, 409, "cpus", "RESERVE_RESOURCES", **asked)
    assert world.take(stream) == []
    refused(world, 400, "x9", "RESERVE_RESOURCES", **{**asked, "agent_id": {"value": "x9"}})
    refused(world, 400, "-4", "RESERVE_RESOURCES", **{**asked, "resources": [reserved(-4)]})


def test_reservations_are_not_made_in_the_name_of_others(world: World) -> None:
    session = world.register(agent("h1"))
    id = world.take(session)[0]["agents"][0]["id"]
    world.principal = "ops"
    asked = {"agent_id": {"value": id}, "resources": [reserved(1, principal="eve")]}
    refused(world, 400, "eve", "RESERVE_RESOURCES", **asked)
    world.operate("RESERVE_RESOURCES", **{**asked, "resources": [reserved(1, principal="ops")]})


# Taking out.


def test_teardown(world: World) -> None:
    framework, stream, session, agent_id = world.running()
    assert world.operate("TEARDOWN", framework_id={"value": framework}) is None
    assert world.ended == [stream]
    assert [record["type"] for record in world.take(session)] == ["SHUTDOWN_FRAMEWORK"]
    assert world.master.engine.agent(agent_id).allocated == Resources()
    shown = read(world, "GET_FRAMEWORKS")
    assert shown["frameworks"] == []
    assert len(shown["completed_frameworks"]) == 1
    (task,) = read(world, "GET_TASKS")["completed_tasks"]
    assert task["state"] == "TASK_KILLED"
    refused(world, 400, framework, "TEARDOWN", framework_id={"value": framework})


@pytest.mark.parametrize(
    ("aware", "state"), [(False, "TASK_LOST"), (True, "TASK_GONE_BY_OPERATOR")]
)
def test_an_agent_that_is_gone_does_not_come_back(world: World, aware: bool, state: str) -> None:
    capabilities = [{"type": "PARTITION_AWARE"}] if aware else []
    _, stream, session, agent_id = world.running(capabilities=capabilities)
    id = {"value": agent_id}
    world.operate("MARK_AGENT_GONE", agent_id=id)
    sent = world.take(stream)
    assert [e["update"]["status"]["state"] for e in sent if e["type"] == "UPDATE"] == [state]
    assert [record["type"] for record in world.take(session)] == ["SHUTDOWN"]
    assert world.master.agents == {}
    assert ("agents", agent_id) not in world.rows
    assert ("gone_agents", agent_id) in world.rows
    world.operate("MARK_AGENT_GONE", agent_id=id)
    session = world.register(agent("h1", id=agent_id))
    assert [record["type"] for record in world.take(session)] == ["REGISTERED", "SHUTDOWN"]
    assert world.master.agents == {}
    refused(world, 404, "x9", "MARK_AGENT_GONE", agent_id={"value": "x9"})


def test_tasks_on_an_unreachable_agent_go_with_it(world: World) -> None:
    aware = [{"type": "PARTITION_AWARE"}]
    framework, stream, _, agent_id = world.running(capabilities=aware)
    for _ in range(world.options.max_agent_ping_timeouts + 1):
        agents.ping(world.master)
    world.carry_out()
    assert world.states(stream) == ["TASK_UNREACHABLE"]
    (task,) = read(world, "GET_TASKS")["unreachable_tasks"]
    assert task["state"] == "TASK_UNREACHABLE"
    world.operate("MARK_AGENT_GONE", agent_id={"value": agent_id})
    assert world.states(stream) == ["TASK_GONE_BY_OPERATOR"]
    assert not world.master.frameworks[framework].unreachable


# Watching.


class Watcher:
    """Keeps what it was told, as somebody who watches does."""

    def __init__(self, world: World) -> None:
        self._world = world
        world.master.is_watched = True
        first = json.loads(encode(operator.snapshot(world.master, world.model)))
        world.published.clear()
        assert first["type"] == "SUBSCRIBED"
        state = first["subscribed"]["get_state"]
        self.tasks = {
            (t["framework_id"]["value"], t["task_id"]["value"]): t["state"]
            for part in ("tasks", "unreachable_tasks")
            for t in state["get_tasks"][part]
        }
        self.agents = {a["agent_info"]["id"]["value"] for a in state["get_agents"]["agents"]}
        self.frameworks = {
            f["framework_info"]["id"]["value"]: f["connected"]
            for f in state["get_frameworks"]["frameworks"]
        }

    def follow(self) -> list[str]:
        """Take in what was published; return the types."""
        events, self._world.published[:] = list(self._world.published), []
        for event in events:
            content = event[event["type"].lower()]
            getattr(self, "_" + event["type"].lower())(content)
        return [event["type"] for event in events]

    def _task_added(self, content: Json) -> None:
        task = content["task"]
        key = (task["framework_id"]["value"], task["task_id"]["value"])
        assert key not in self.tasks
        self.tasks[key] = task["state"]

    def _task_updated(self, content: Json) -> None:
        key = (content["framework_id"]["value"], content["status"]["task_id"]["value"])
        assert key in self.tasks
        self.tasks[key] = content["state"]

    def _agent_added(self, content: Json) -> None:
        id = content["agent"]["agent_info"]["id"]["value"]
        assert id not in self.agents
        self.agents.add(id)

    def _agent_removed(self, content: Json) -> None:
        self.agents.remove(content["agent_id"]["value"])

    def _framework_added(self, content: Json) -> None:
        framework = content["framework"]
        id = framework["framework_info"]["id"]["value"]
        assert id not in self.frameworks
        self.frameworks[id] = framework["connected"]

    def _framework_updated(self, content: Json) -> None:
        framework = content["framework"]
        id = framework["framework_info"]["id"]["value"]
        assert id in self.frameworks
        self.frameworks[id] = framework["connected"]

    def _framework_removed(self, content: Json) -> None:
        del self.frameworks[content["framework_info"]["id"]["value"]]


def test_whoever_watches_is_told_each_change_once_in_order(world: World) -> None:
    capabilities = [{"type": "PARTITION_AWARE"}]
    framework, stream, session, agent_id = world.running(
        capabilities=capabilities, failover_timeout=60
    )
    watcher = Watcher(world)
    world.cycle()
    world.launch(framework, stream, world.offers(stream)[0], "t2")
    assert watcher.follow() == ["TASK_ADDED"]
    world.report(session, agent_id, framework, "t2", "TASK_FINISHED", uuid(5))
    assert watcher.follow() == ["TASK_UPDATED"]
    world.acknowledge(framework, stream, agent_id, "t2", uuid(5))
    world.master.disconnect(stream)
    world.carry_out()
    assert watcher.follow() == ["FRAMEWORK_UPDATED"]
    assert watcher.frameworks == {framework: False}
    world.register(agent("h2"))
    other, _ = world.subscribe()
    assert watcher.follow() == ["AGENT_ADDED", "FRAMEWORK_ADDED"]
    for _ in range(world.options.max_agent_ping_timeouts + 1):
        agents.ping(world.master)
    world.carry_out()
    assert sorted(watcher.follow()) == ["AGENT_REMOVED", "AGENT_REMOVED", "TASK_UPDATED"]
    assert watcher.tasks[framework, "t1"] == "TASK_UNREACHABLE"
    world.operate("TEARDOWN", framework_id={"value": other})
    world.advance(61)
    assert watcher.follow() == ["FRAMEWORK_REMOVED", "FRAMEWORK_REMOVED"]
    assert (watcher.agents, watcher.frameworks) == (set(), {})


def test_tasks_that_come_with_their_agent_are_told_of(world: World) -> None:
    framework, _, _, agent_id = world.running(capabilities=[{"type": "PARTITION_AWARE"}])
    info = world.master.frameworks[framework].tasks["t1"].info
    for _ in range(world.options.max_agent_ping_timeouts + 1):
        agents.ping(world.master)
    world.carry_out()
    watcher = Watcher(world)
    world.register(agent("h1", id=agent_id, tasks=[brought(framework, info)]))
    assert watcher.follow() == ["AGENT_ADDED", "TASK_UPDATED"]
    assert watcher.tasks == {(framework, "t1"): "TASK_RUNNING"}


def test_statuses_that_come_with_a_new_task_are_told_once(world: World) -> None:
    framework, _, _, agent_id = world.running()
    info = world.master.frameworks[framework].tasks["t1"].info
    world.restart()
    watcher = Watcher(world)
    states = ("TASK_STARTING", "TASK_RUNNING")
    started, runs = (
        {"task_id": {"value": "t1"}, "state": state, "uuid": uuid(number), "source": "SOURCE_AGENT"}
        | {"framework_id": {"value": framework}, "agent_id": {"value": agent_id}}
        for number, state in enumerate(states)
    )
    task = {**brought(framework, info), "statuses": [started, runs]}
    world.register(agent("h1", id=agent_id, tasks=[task], statuses=[runs]))
    (added,) = [e["task_added"]["task"] for e in world.published if e["type"] == "TASK_ADDED"]
    (updated,) = [e["task_updated"] for e in world.published if e["type"] == "TASK_UPDATED"]
    assert [each["uuid"] for each in added["statuses"]] == [uuid(0)]
    assert updated["status"]["uuid"] == uuid(1)
    assert watcher.follow()[-1] == "TASK_UPDATED"
    assert watcher.tasks == {(framework, "t1"): "TASK_RUNNING"}


def test_nobody_watching_costs_no_events(world: World) -> None:
    world.running()
    assert world.published == []


def brought(framework: str, info: object, state: str = "TASK_RUNNING") -> Json:
    """Return a task as an agent brings it."""
    task = json.loads(encode(info))
    return {"framework_id": {"value": framework}, "role": "*", "state": state, "task": task}
