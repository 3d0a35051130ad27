"""What a master knows after a restart: all that the one before acknowledged, and nothing twice."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from allocator import Resources
from allocator.errors import AllocatorError
from allocator.master.instructions import Persist
from allocator.master.recovery import restore
from allocator.master.registry import Registry, RegistryError
from allocator.master.scheduler import ContentRefused
from allocator.wire.decode import encode
from allocator.wire.refusal import CallRefused
from tests.service.world import World, agent, status, uuid

Json = dict[str, Any]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry(tmp_path / "registry") as registry:
        yield registry


@pytest.fixture
def world(registry: Registry) -> World:
    return World(registry)


def brought(framework: str, info: object, state: str = "TASK_RUNNING", role: str = "*") -> Json:
    """Return a task as an agent brings it."""
    task = json.loads(encode(info))
    return {"framework_id": {"value": framework}, "role": role, "state": state, "task": task}


def back(world: World, agent_id: str, *tasks: Json, **more: Any) -> str:
    """Have an agent come back with tasks; return its session."""
    return world.register(agent("h1", id=agent_id, tasks=list(tasks), **more))


def test_policy_is_there_again(world: World) -> None:
    world.register(agent("h1"))
    world.operate("UPDATE_WEIGHTS", weight_infos=[{"role": "eng", "weight": 2}])
    world.operate("UPDATE_WEIGHTS", weight_infos=[{"role": "ops", "weight": 1}])
    limits = {"cpus": {"value": 3}, "mem": {"value": 0}}
    world.operate(
        "UPDATE_QUOTA",
        quota_configs=[{"role": "eng", "guarantees": {"cpus": {"value": 2}}, "limits": limits}],
    )
    away = {"start": {"nanoseconds": 2 * 10**18}}
    window = {"machine_ids": [{"hostname": "h1"}], "unavailability": away}
    world.operate("UPDATE_MAINTENANCE_SCHEDULE", schedule={"windows": [window]})
    before = [world.operate(t) for t in ("GET_WEIGHTS", "GET_QUOTA", "GET_MAINTENANCE_SCHEDULE")]
    world.restart()
    after = [world.operate(t) for t in ("GET_WEIGHTS", "GET_QUOTA", "GET_MAINTENANCE_SCHEDULE")]
    assert after == before
    role = world.master.engine.role("eng")
    assert (role.weight, role.quota.guarantee["cpus"]) == (2, 2)
    assert dict(role.quota.limit) == {"cpus": 3, "mem": 0}


def test_a_framework_goes_on_after_a_restart(world: World) -> None:
    framework, _, _, agent_id = world.running(roles=["eng"], failover_timeout=60)
    info = world.master.frameworks[framework].tasks["t1"].info
    world.restart()
    known = world.master.frameworks[framework]
    assert (known.recovered, known.connected, known.active) == (True, False, False)
    assert (known.roles, known.info.name) == (("eng",), "test")
    assert list(world.master.recovered_agents) == [agent_id]
    session = back(world, agent_id, brought(framework, info, role="eng"))
    assert world.take(session, "REGISTERED")[0]["agents"][0]["id"] == agent_id
    assert not world.master.recovered_agents
    assert known.tasks["t1"].state == "TASK_RUNNING"
    assert world.master.engine.agent(agent_id).allocated == Resources("cpus:1;mem:64")
    world.cycle()
    id, stream = world.subscribe(framework, roles=["eng"], failover_timeout=60)
    assert id == framework
    assert not known.recovered
    world.call("RECONCILE", framework, stream, tasks=[])
    assert world.states(stream) == ["TASK_RUNNING"]
    world.cycle()
    (offer,) = world.offers(stream)
    assert Resources(offer["resources"]) == Resources("cpus:3;mem:960")
    world.advance(700)  # nothing was forgotten that would be due
    assert framework in world.master.frameworks


def test_tasks_are_known_whoever_comes_first(world: World) -> None:
    framework, _, _, agent_id = world.running(roles=["eng"], failover_timeout=60)
    info = world.master.frameworks[framework].tasks["t1"].info
    world.restart()
    _, stream = world.subscribe(framework, roles=["eng"])
    # It may be there: nothing is said of it until its agent is back.
    world.call("RECONCILE", framework, stream, tasks=[{"task_id": {"value": "t1"}}])
    assert world.states(stream) == []
    back(world, agent_id, brought(framework, info, role="eng"))
    assert world.states(stream) == ["TASK_RUNNING"]


def test_a_status_that_was_not_acknowledged_comes_again(world: World) -> None:
    framework, stream, session, agent_id = world.running(failover_timeout=60)
    info = world.master.frameworks[framework].tasks["t1"].info
    world.report(session, agent_id, framework, "t1", "TASK_FINISHED", uuid(2))
    assert world.states(stream) == ["TASK_FINISHED"]
    world.restart()
    waiting = status(agent_id, framework, "t1", "TASK_FINISHED", uuid(2))
    session = back(world, agent_id, brought(framework, info, "TASK_FINISHED"), statuses=[waiting])
    assert world.master.engine.agent(agent_id).allocated == Resources()
    _, stream = world.subscribe(framework)
    assert world.states(stream) == ["TASK_FINISHED"]
    world.take(session)
    world.acknowledge(framework, stream, agent_id, "t1", uuid(2))
    assert world.take(session, "ACKNOWLEDGE")[0]["uuid"] == uuid(2)
    assert [task.id for task in world.master.frameworks[framework].completed] == ["t1"]


def test_ids_are_never_given_twice(world: World) -> None:
    frameworks, ids = [], []
    for _ in range(3):
        frameworks.append(world.subscribe()[0])
        session = world.register(agent("h1"))
        ids.append(world.take(session)[0]["agents"][0]["id"])
        world.restart()
    assert len({*frameworks, *ids}) == 6


@pytest.mark.parametrize("seconds", [0, 60])
def test_a_framework_that_does_not_come_back_is_removed_in_its_time(
    world: World, seconds: float
) -> None:
    framework, _, _, agent_id = world.running(failover_timeout=seconds)
    info = world.master.frameworks[framework].tasks["t1"].info
    world.restart()
    session = back(world, agent_id, brought(framework, info))
    world.take(session)
    wait = seconds or world.options.agent_reregister_timeout
    world.advance(wait - 1)
    assert framework in world.master.frameworks
    world.advance(2)
    assert framework not in world.master.frameworks
    assert [record["type"] for record in world.take(session)] == ["SHUTDOWN_FRAMEWORK"]
    assert world.master.engine.agent(agent_id).allocated == Resources()


def test_a_deadline_outlives_the_master(world: World) -> None:
    framework, stream, _, _ = world.running(failover_timeout=60)
    world.master.disconnect(stream)
    world.carry_out()
    world.clock.advance(30)
    world.restart()
    world.advance(29)
    assert framework in world.master.frameworks
    world.advance(2)
    assert framework not in world.master.frameworks


def test_a_deadline_that_passed_without_a_master_leaves_time_to_come_back(world: World) -> None:
    framework, stream, _, _ = world.running(failover_timeout=60)
    world.master.disconnect(stream)
    world.carry_out()
    world.clock.advance(1000)
    world.restart()
    world.advance(9)
    assert framework in world.master.frameworks
    world.advance(2)
    assert framework not in world.master.frameworks


@pytest.mark.parametrize(("jump", "seconds"), [(10**8, 10), (-(10**8), 60)])
def test_a_calendar_that_jumps_takes_no_time_away_and_gives_no_more(
    world: World, jump: float, seconds: float
) -> None:
    framework, stream, _, _ = world.running(failover_timeout=60)
    world.master.disconnect(stream)
    world.carry_out()
    world.epoch += jump
    world.restart()
    world.advance(seconds - 1)
    assert framework in world.master.frameworks
    world.advance(2)
    assert framework not in world.master.frameworks


def test_a_running_master_does_not_look_at_the_calendar(world: World) -> None:
    framework, stream, _, _ = world.running(failover_timeout=60)
    world.master.disconnect(stream)
    world.epoch += 10**8
    world.advance(59)
    assert framework in world.master.frameworks
    world.epoch -= 10**9
    world.advance(2)
    assert framework not in world.master.frameworks


def test_what_was_removed_does_not_come_back(world: World) -> None:
    framework, _, _, agent_id = world.running(failover_timeout=60)
    info = world.master.frameworks[framework].tasks["t1"].info
    world.operate("TEARDOWN", framework_id={"value": framework})
    session = world.register(agent("h2"))
    gone = world.take(session)[0]["agents"][0]["id"]
    world.operate("MARK_AGENT_GONE", agent_id={"value": gone})
    world.restart()
    with pytest.raises(ContentRefused, match="has been removed"):
        world.subscribe(framework)
    session = back(world, agent_id, brought(framework, info))
    assert [r["type"] for r in world.take(session)] == ["REGISTERED", "SHUTDOWN_FRAMEWORK"]
    assert world.master.engine.agent(agent_id).allocated == Resources()
    session = world.register(agent("h2", id=gone))
    assert [r["type"] for r in world.take(session)] == ["REGISTERED", "SHUTDOWN"]
    assert world.operate("MARK_AGENT_GONE", agent_id={"value": gone}) is None


def test_agents_that_do_not_come_back_are_unreachable(world: World) -> None:
    world.options = world.options._replace(agent_reregister_timeout=100)
    framework, _, _, agent_id = world.running(
        failover_timeout=1000, capabilities=[{"type": "PARTITION_AWARE"}]
    )
    info = world.master.frameworks[framework].tasks["t1"].info
    world.restart()
    _, stream = world.subscribe(framework, capabilities=[{"type": "PARTITION_AWARE"}])
    world.take(stream)
    world.advance(99)
    assert agent_id in world.master.recovered_agents
    world.advance(2)
    assert not world.master.recovered_agents
    assert [event["failure"]["agent_id"]["value"] for event in world.take(stream)] == [agent_id]
    asked = {"task_id": {"value": "t1"}, "agent_id": {"value": agent_id}}
    world.call("RECONCILE", framework, stream, tasks=[asked])
    assert world.states(stream) == ["TASK_UNREACHABLE"]
    world.restart()
    assert list(world.master.unreachable_agents) == [agent_id]
    back(world, agent_id, brought(framework, info))
    assert not world.master.unreachable_agents
    world.restart()
    assert list(world.master.recovered_agents) == [agent_id]


def test_reservations_outlive_master_and_agent(world: World) -> None:
    session = world.register(agent("h1", "cpus:4;mem:1024;disk:100"))
    agent_id = world.take(session)[0]["agents"][0]["id"]
    cpus = Resources(
        '[{"name":"cpus","type":"SCALAR","scalar":{"value":3},'
        '"reservations":[{"type":"DYNAMIC","role":"eng"}]}]'
    )
    world.operate("RESERVE_RESOURCES", agent_id={"value": agent_id}, resources=cpus.to_json())

    def total() -> Resources:
        return world.master.engine.agent(agent_id).total

    kept = total()
    world.restart()
    world.register(agent("h1", "cpus:4;mem:1024;disk:100", id=agent_id))
    assert total() == kept
    # It comes with more, and then with less, of which the reservation is kept.
    world.register(agent("h1", "cpus:6;mem:512;disk:100", id=agent_id))
    assert total() == cpus + Resources("cpus:3;mem:512;disk:100")
    world.restart()
    world.register(agent("h1", "cpus:3;mem:512", id=agent_id))
    assert total() == cpus + Resources("mem:512")
    world.register(agent("h1", "cpus:2;mem:512", id=agent_id))
    assert total() == Resources("cpus:2;mem:512")


def test_what_a_task_reserved_stays_reserved_though_it_was_not_written_down(world: World) -> None:
    framework, _, _, agent_id = world.running(roles=["eng"], failover_timeout=60)
    info = json.loads(encode(world.master.frameworks[framework].tasks["t1"].info))
    for entry in info["resources"]:
        entry["reservations"] = [{"type": "DYNAMIC", "role": "eng"}]
    world.restart()
    back(world, agent_id, brought(framework, info, role="eng"))
    view = world.master.engine.agent(agent_id)
    assert view.allocated == Resources(info["resources"])
    assert view.total.quantities() == Resources("cpus:4;mem:1024").quantities()


def test_an_agent_too_small_for_its_tasks_offers_nothing(world: World) -> None:
    framework, _, _, agent_id = world.running(failover_timeout=60)
    info = world.master.frameworks[framework].tasks["t1"].info
    world.restart()
    small = agent("h1", "cpus:0.5;mem:1024", id=agent_id, tasks=[brought(framework, info)])
    world.register(small)
    _, stream = world.subscribe(framework)
    world.cycle()
    offered = [Resources(offer["resources"])["cpus"] for offer in world.offers(stream)]
    assert sum(offered) == 0
    assert world.master.engine.agent(agent_id).allocated == Resources("cpus:1;mem:64")


def test_frameworks_that_only_agents_know_are_waited_for(world: World) -> None:
    framework, _, _, agent_id = world.running(roles=["eng"])
    info = world.master.frameworks[framework].tasks["t1"].info
    fresh = World()  # its registry is gone
    task = {
        **brought(framework, info, role="eng"),
        "framework_info": {"user": "root", "name": "test", "roles": ["eng"]},
    }
    back(fresh, agent_id, task)
    known = fresh.master.frameworks[framework]
    assert (known.recovered, known.connected, list(known.tasks)) == (True, False, ["t1"])
    assert fresh.master.engine.agent(agent_id).allocated == Resources("cpus:1;mem:64")
    _, stream = fresh.subscribe(framework, roles=["eng"])
    fresh.call("RECONCILE", framework, stream, tasks=[])
    assert fresh.states(stream) == ["TASK_RUNNING"]


def test_offers_wait_for_agents_where_there_are_quotas(world: World) -> None:
    session = world.register(agent("h1"), agent("h2"), agent("h3"))
    ids = [each["id"] for each in world.take(session)[0]["agents"]]
    quota = {"role": "eng", "guarantees": {"cpus": {"value": 1}}}
    world.operate("UPDATE_QUOTA", quota_configs=[quota])
    world.restart()
    _, stream = world.subscribe(roles=["ops"])
    back(world, ids[0])
    world.cycle()
    assert world.offers(stream) == []
    back(world, ids[1])  # 0.8 of 3, rounded down
    world.cycle()
    assert len(world.offers(stream)) == 2


def test_a_registry_that_cannot_be_is_named(registry: Registry) -> None:
    registry.apply([Persist("weights", "eng", {"weight": -1})])
    with pytest.raises(RegistryError, match="weights"):
        World(registry)
    registry.apply([Persist("weights", "eng", None), Persist("frameworks", "f7", {"x": 1})])
    with pytest.raises(RegistryError, match="framework f7"):
        World(registry)


# Random histories: what was acknowledged is there after the end at any moment.


class History:
    """Random calls on a master that ends at any moment, and what was acknowledged by it."""

    def __init__(self, world: World, random: random.Random) -> None:
        self.world = world
        self.random = random
        self.weights: dict[str, float] = {}
        self.quotas: dict[str, float] = {}
        self.frameworks: dict[str, str | None] = {}
        self.removed: set[str] = set()
        self.agents: dict[str, str | None] = {}
        self.gone: set[str] = set()
        self.reserved: dict[str, float] = {}

    def step(self) -> None:
        """Do something; one that is refused is not acknowledged."""
        act = self.random.choice(
            [
                self.weigh,
                self.limit,
                self.subscribe,
                self.teardown,
                self.register,
                self.mark_gone,
                self.reserve,
                self.lose,
                self.crash,
            ]
        )
        try:
            act()
        except (CallRefused, ContentRefused):
            self.world.carry_out()

    def role(self) -> str:
        return self.random.choice(["a", "a/b", "c", "*"])

    def weigh(self) -> None:
        role, weight = self.role(), self.random.choice([0.5, 1, 2, -1])
        self.world.operate("UPDATE_WEIGHTS", weight_infos=[{"role": role, "weight": weight}])
        self.weights[role] = weight

    def limit(self) -> None:
        role, amount = self.role(), self.random.choice([0, 1, 2, 50])
        guarantees = {"cpus": {"value": amount}} if amount else {}
        config = {"role": role, "guarantees": guarantees}
        self.world.operate("UPDATE_QUOTA", quota_configs=[config], force=self.random.random() < 0.5)
        if amount:
            self.quotas[role] = amount
        else:
            self.quotas.pop(role, None)

    def subscribe(self) -> None:
        known = [*self.frameworks, *self.removed]
        id = self.random.choice(known) if known and self.random.random() < 0.6 else None
        framework, stream = self.world.subscribe(
            id, roles=sorted({self.role(), "a"}), failover_timeout=10**6
        )
        assert framework not in self.removed
        assert (id is not None) == (framework in self.frameworks)
        self.frameworks[framework] = stream

    def teardown(self) -> None:
        if self.frameworks:
            id = self.random.choice(list(self.frameworks))
            self.world.operate("TEARDOWN", framework_id={"value": id})
            del self.frameworks[id]
            self.removed.add(id)

    def register(self) -> None:
        known = [*self.agents, *self.gone]
        id = self.random.choice(known) if known and self.random.random() < 0.6 else None
        session = self.world.register(agent("h1", "cpus:8;mem:1024", id=id))
        sent = self.world.take(session)
        assert (id in self.gone) == (sent[-1]["type"] == "SHUTDOWN")
        if id not in self.gone:
            given = sent[0]["agents"][0]["id"]
            assert (id is not None) == (given in self.agents)
            self.agents[given] = session

    def mark_gone(self) -> None:
        if self.agents and self.random.random() < 0.3:
            id = self.random.choice(list(self.agents))
            self.world.operate("MARK_AGENT_GONE", agent_id={"value": id})
            del self.agents[id]
            self.reserved.pop(id, None)
            self.gone.add(id)

    def reserve(self) -> None:
        if self.agents:
            id = self.random.choice(list(self.agents))
            entry = Resources("cpus:1").to_json()[0]
            entry["reservations"] = [{"type": "DYNAMIC", "role": "a"}]
            call = self.random.choice(["RESERVE_RESOURCES", "UNRESERVE_RESOURCES"])
            self.world.operate(call, agent_id={"value": id}, resources=[entry])
            self.reserved[id] = self.reserved.get(id, 0) + (1 if call[0] == "R" else -1)

    def lose(self) -> None:
        here = list(self.world.master.agents.values())
        if here:
            self.world.master.lose_agent(self.random.choice(here))
            self.world.carry_out()

    def crash(self) -> None:
        """Let the process end, perhaps before the last of what it says is carried out."""
        self.world.master.take()
        self.world.restart()

    def check(self) -> None:
        """Check that the master knows all that was acknowledged, each thing once."""
        master = self.world.master
        assert master.weights == self.weights
        assert {r: q["guarantees"]["cpus"] for r, q in master.quotas.items()} == self.quotas
        for role, weight in self.weights.items():
            if role in master.engine.roles:
                assert master.engine.role(role).weight == weight
        assert master.frameworks.keys() == self.frameworks.keys()
        assert set(master.removed_frameworks) == self.removed
        places = [master.agents, master.recovered_agents, master.unreachable_agents]
        assert sorted(id for place in places for id in place) == sorted(self.agents)
        assert set(master.gone_agents) == self.gone
        for id, cpus in self.reserved.items():
            (known,) = [place[id] for place in places if id in place]
            assert known.resources.reserved("a")["cpus"] == cpus


@pytest.mark.parametrize("seed", range(12))
def test_random_histories(registry: Registry, seed: int) -> None:
    history = History(World(registry), random.Random(seed))
    for _ in range(150):
        history.step()
        history.check()
    history.crash()
    history.check()


def test_restoring_writes_nothing(world: World, registry: Registry) -> None:
    world.running(failover_timeout=60)
    before = {table: registry.load(table) for table in ("frameworks", "agents")}
    restore(World().master, registry)
    assert {table: registry.load(table) for table in ("frameworks", "agents")} == before
    with pytest.raises(AllocatorError):
        world.master.engine.recover(1, {})  # agents are there
