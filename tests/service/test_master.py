"""The policy of the master: who is told what, and what the engine has meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from allocator import Resources
from allocator.master import agents
from allocator.master.scheduler import ContentRefused
from allocator.wire.refusal import CallRefused
from tests.service.world import World, agent, status, uuid


@pytest.fixture
def world() -> World:
    return World()


# Subscribing.


def test_a_stream_begins_with_subscribed_and_a_heartbeat(world: World) -> None:
    id, stream = world.subscribe(roles=["eng/a", "ops"])
    first, second = world.take(stream)
    assert id == "m1-0000"
    assert first["type"] == "SUBSCRIBED"
    assert first["subscribed"]["framework_id"] == {"value": id}
    assert first["subscribed"]["heartbeat_interval_seconds"] == 15
    assert first["subscribed"]["master_info"]["ip"] == 0x0100007F
    assert second == {"type": "HEARTBEAT"}
    assert world.master.engine.framework(id).roles == ("eng/a", "ops")
    assert ("frameworks", id) in world.rows


@pytest.mark.parametrize(
    ("info", "named"),
    [
        ({"roles": ["a//b"]}, "a//b"),
        ({"roles": ["a", "a"]}, "twice"),
        ({"role": "a", "roles": ["a"]}, "both"),
        ({"roles": ["/a"]}, "/a"),
    ],
)
def test_content_that_is_refused_changes_nothing(
    world: World, info: dict[str, object], named: str
) -> None:
    with pytest.raises(ContentRefused, match=named):
        world.subscribe(**info)
    assert not world.master.frameworks
    assert not world.rows


def test_ids_that_disagree_are_refused(world: World) -> None:
    with pytest.raises(CallRefused, match="equal"):
        world.subscribe("f1", inner_id="f2")
    assert not world.master.frameworks


def test_a_second_stream_ends_the_first_and_takes_over(world: World) -> None:
    framework, first, _, agent_id = world.running(failover_timeout=60)
    world.cycle()
    assert world.offers(first)
    _, second = world.subscribe(framework, failover_timeout=60)
    assert [event["type"] for event in world.take(first)] == ["ERROR"]
    assert world.ended == [first]
    assert [event["type"] for event in world.take(second)] == ["SUBSCRIBED", "HEARTBEAT"]
    assert not world.master.offers
    assert "t1" in world.master.frameworks[framework].tasks
    world.cycle()
    assert [offer["agent_id"]["value"] for offer in world.offers(second)] == [agent_id]


def test_a_framework_that_stays_away_is_removed_and_its_tasks_killed(world: World) -> None:
    framework, stream, session, agent_id = world.running(failover_timeout=60)
    world.master.disconnect(stream)
    world.advance(59)
    assert framework in world.master.frameworks
    world.advance(2)
    assert framework not in world.master.frameworks
    assert [record["type"] for record in world.take(session)] == ["SHUTDOWN_FRAMEWORK"]
    assert world.master.engine.agent(agent_id).allocated == Resources()
    assert ("frameworks", framework) not in world.rows
    with pytest.raises(ContentRefused, match="Framework has been removed"):
        world.subscribe(framework)


# Offers and tasks.


def test_offers_have_what_clients_need(world: World) -> None:
    world.register(agent("h1", "cpus:4;mem:1024;ports:[31000-32000]"))
    framework, stream = world.subscribe(roles=["eng"])
    world.cycle()
    (offer,) = world.offers(stream)
    assert offer["id"]["value"] == "m1-O1"
    assert offer["framework_id"]["value"] == framework
    assert offer["hostname"] == "h1"
    assert offer["url"]["address"]["ip"] == "127.0.0.1"
    assert offer["allocation_info"] == {"role": "eng"}
    for entry in offer["resources"]:
        assert entry["role"] == "*"
        assert entry["allocation_info"] == {"role": "eng"}
    assert Resources(offer["resources"]) == Resources("cpus:4;mem:1024;ports:[31000-32000]")


def test_a_task_from_launch_to_completion(world: World) -> None:
    session = world.register(agent("h1"))
    agent_id = world.take(session)[0]["agents"][0]["id"]
    framework, stream = world.subscribe()
    world.cycle()
    world.launch(framework, stream, world.offers(stream)[0], "t1", "t2")
    (launch,) = world.take(session)
    assert launch["type"] == "LAUNCH"
    assert launch["agent_id"] == {"value": agent_id}
    assert [task["task_id"]["value"] for task in launch["tasks"]] == ["t1", "t2"]
    used = Resources("cpus:2;mem:128")
    assert world.master.engine.agent(agent_id).allocated == used
    # One status at a time: the next follows its acknowledgement.
    world.report(session, agent_id, framework, "t1", "TASK_RUNNING", uuid(1))
    world.report(session, agent_id, framework, "t1", "TASK_FINISHED", uuid(2))
    assert world.states(stream) == ["TASK_RUNNING"]
    assert world.master.engine.agent(agent_id).allocated == Resources("cpus:1;mem:64")
    world.acknowledge(framework, stream, agent_id, "t1", uuid(9))  # fits nothing
    assert world.states(stream) == []
    world.acknowledge(framework, stream, agent_id, "t1", uuid(1))
    assert world.states(stream) == ["TASK_FINISHED"]
    assert world.take(session, "ACKNOWLEDGE")[0]["uuid"] == uuid(1)
    known = world.master.frameworks[framework]
    assert "t1" in known.tasks  # in its terminal state, until that is acknowledged
    world.acknowledge(framework, stream, agent_id, "t1", uuid(2))
    assert list(known.tasks) == ["t2"]
    assert [task.id for task in known.completed] == ["t1"]
    assert [*known.completed[0].statuses] == ["TASK_RUNNING", "TASK_FINISHED"]


def test_statuses_are_sent_again_until_acknowledged(world: World) -> None:
    framework, stream, session, agent_id = world.running()
    world.report(session, agent_id, framework, "t1", "TASK_FINISHED", uuid(2))
    counts = []
    for _ in range(8):
        counts.append(len(world.states(stream)))
        world.advance(10)
    # At once, then after 10, 20 and 40 s.
    assert counts == [1, 1, 0, 1, 0, 0, 0, 1]


@pytest.mark.parametrize(("aware", "state"), [(False, "TASK_LOST"), (True, "TASK_DROPPED")])
def test_a_launch_on_an_offer_that_is_gone(world: World, aware: bool, state: str) -> None:
    world.register(agent("h1"))
    capabilities = [{"type": "PARTITION_AWARE"}] if aware else []
    framework, stream = world.subscribe(capabilities=capabilities)
    world.cycle()
    (offer,) = world.offers(stream)
    world.call("DECLINE", framework, stream, offer_ids=[offer["id"]])
    world.launch(framework, stream, offer, "t1")
    (event,) = world.take(stream, "UPDATE")
    assert event["update"]["status"]["state"] == state
    assert event["update"]["status"]["reason"] == "REASON_INVALID_OFFERS"
    assert "uuid" not in event["update"]["status"]


def test_an_invalid_task_is_told_and_the_valid_one_beside_it_runs(world: World) -> None:
    session = world.register(agent("h1"))
    framework, stream = world.subscribe()
    world.cycle()
    (offer,) = world.offers(stream)
    world.launch(framework, stream, offer, "t1", "t1", "t2", resources="cpus:1;mem:64")
    (event,) = world.take(stream, "UPDATE")
    assert event["update"]["status"]["state"] == "TASK_ERROR"
    assert event["update"]["status"]["reason"] == "REASON_TASK_INVALID"
    launched = [t["task_id"]["value"] for r in world.take(session, "LAUNCH") for t in r["tasks"]]
    assert launched == ["t1", "t2"]


def test_more_than_the_offers_hold_is_an_error(world: World) -> None:
    session = world.register(agent("h1"))
    framework, stream = world.subscribe()
    world.cycle()
    world.launch(framework, stream, world.offers(stream)[0], "t1", resources="cpus:5;mem:64")
    assert world.states(stream) == ["TASK_ERROR"]
    assert world.take(session, "LAUNCH") == []
    assert not world.master.offers


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"limits": {"cpus": {"value": 0.5}}}, "limits cpus to less than the 1.0 it uses"),
        ({"limits": {"mem": {"value": "Infinity"}, "disk": {"value": 9}}}, "limits 'disk'"),
        ({"max_completion_time": {"nanoseconds": -1}}, "max_completion_time below 0"),
        ({"kill_policy": {"grace_period": {"nanoseconds": -1}}}, "grace_period below 0"),
        ({"limits": {"cpus": {"value": 1}, "mem": {"value": "Infinity"}}}, None),
        ({"max_completion_time": {"nanoseconds": 0}, "limits": {"pids": {"value": 9}}}, None),
    ],
)
def test_limits_and_times_that_make_no_sense(
    world: World, more: dict[str, Any], named: str | None
) -> None:
    session = world.register(agent("h1"))
    framework, stream = world.subscribe()
    world.cycle()
    (offer,) = world.offers(stream)
    world.launch(framework, stream, offer, "t1", resources="cpus:1", **more)
    told = [event["update"]["status"] for event in world.take(stream, "UPDATE")]
    assert [each["reason"] for each in told] == (["REASON_TASK_INVALID"] if named else [])
    assert all(named in each["message"] for each in told)
    assert len(world.take(session, "LAUNCH")) == (0 if named else 1)


def test_an_accept_without_operations_declines(world: World) -> None:
    world.register(agent("h1"))
    framework, stream = world.subscribe()
    world.cycle()
    world.call("ACCEPT", framework, stream, offer_ids=[world.offers(stream)[0]["id"]])
    world.cycle()
    assert world.offers(stream) == []  # refused for 5 seconds
    world.clock.advance(6)
    world.cycle()
    assert len(world.offers(stream)) == 1


def test_reserve_create_and_launch_in_one_accept(world: World) -> None:
    session = world.register(agent("h1", "cpus:4;mem:1024;disk:100"))
    agent_id = world.take(session)[0]["agents"][0]["id"]
    framework, stream = world.subscribe(roles=["eng"])
    world.cycle()
    (offer,) = world.offers(stream)
    reserved = [
        {
            "name": "cpus",
            "type": "SCALAR",
            "scalar": {"value": 2},
            "reservations": [{"type": "DYNAMIC", "role": "eng"}],
        }
    ]
    task = {
        "name": "t",
        "task_id": {"value": "t1"},
        "agent_id": offer["agent_id"],
        "resources": reserved,
        "command": {"value": "true"},
    }
    world.call(
        "ACCEPT",
        framework,
        stream,
        offer_ids=[offer["id"]],
        operations=[
            {"type": "RESERVE", "reserve": {"resources": reserved}},
            {"type": "UNRESERVE", "unreserve": {"resources": [{**reserved[0], "name": "gpus"}]}},
            {"type": "LAUNCH", "launch": {"task_infos": [task]}},
        ],
    )
    assert world.states(stream) == []
    assert world.master.engine.agent(agent_id).allocated == Resources(reserved)
    assert world.master.engine.agent(agent_id).total.reserved("eng")["cpus"] == 2
    assert Resources(world.rows["agents", agent_id]["resources"]).reserved("eng")["cpus"] == 2


def reserved(name: str, amount: float, role: str = "eng") -> dict[str, object]:
    stack = [{"type": "DYNAMIC", "role": role}]
    amounts = {"type": "SCALAR", "scalar": {"value": amount}}
    return {"name": name, **amounts, "reservations": stack}


def test_offers_accepted_together_are_reserved_together(world: World) -> None:
    session = world.register(agent("h1", "cpus:4;mem:1024"))
    agent_id = world.take(session)[0]["agents"][0]["id"]
    framework, stream = world.subscribe(roles=["eng"])
    world.cycle()
    (offer,) = world.offers(stream)
    world.launch(framework, stream, offer, "t1", resources="cpus:1;mem:64")
    world.advance(6)
    world.cycle()
    (rest,) = world.offers(stream)
    world.report(session, agent_id, framework, "t1", "TASK_FINISHED", uuid(1))
    world.cycle()
    (given_back,) = world.offers(stream)
    ids = [rest["id"], given_back["id"]]
    operations = [
        {"type": "RESERVE", "reserve": {"resources": [reserved("cpus", 5)]}},  # none have so much
        {"type": "RESERVE", "reserve": {"resources": [reserved("cpus", 3.5), reserved("mem", 9)]}},
        {"type": "UNRESERVE", "unreserve": {"resources": [reserved("cpus", 3.25)]}},
    ]
    world.call("ACCEPT", framework, stream, offer_ids=ids, operations=operations)
    known = world.master.engine.agent(agent_id)
    assert known.total.reserved("eng") == Resources([reserved("cpus", 0.25), reserved("mem", 9)])
    assert known.total.quantities() == Resources("cpus:4;mem:1024").quantities()
    assert not known.offered


def test_a_framework_reserves_for_the_role_of_its_offer_alone(world: World) -> None:
    session = world.register(agent("h1", "cpus:4;mem:1024"))
    agent_id = world.take(session)[0]["agents"][0]["id"]
    framework, stream = world.subscribe(roles=["eng"])

    def reserve(*roles: str) -> None:
        world.cycle()
        (offer,) = world.offers(stream)
        stack = [{"type": "DYNAMIC", "role": role} for role in roles]
        entry = {"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}, "reservations": stack}
        source = {**entry, "reservations": stack[:-1]}
        made = {"source": [source], "resources": [entry]}
        world.call(
            "ACCEPT",
            framework,
            stream,
            offer_ids=[offer["id"]],
            operations=[{"type": "RESERVE", "reserve": made}],
            filters={"refuse_seconds": 0},
        )

    for roles in (["eng"], ["ops"], ["eng", "eng/web"]):
        reserve(*roles)
    total = world.master.engine.agent(agent_id).total
    assert {entry.reservations[-1].role for entry in total if entry.reservations} == {"eng"}
    assert total.reserved("eng")["cpus"] == 1


def test_a_frameworks_own_minimum_stands_for_the_engines(world: World) -> None:
    world.register(agent("h1", "cpus:1;mem:64"), agent("h2", "cpus:4;mem:1024"))
    least = {"quantities": [{"quantities": {"cpus": {"value": 2}}}]}
    filters = {"eng": {"min_allocatable_resources": least}}
    framework, stream = world.subscribe(roles=["eng"], offer_filters=filters)
    world.cycle()
    assert [offer["hostname"] for offer in world.offers(stream)] == ["h2"]
    info = {"user": "root", "name": "test", "id": {"value": framework}, "roles": ["eng"]}
    world.call("UPDATE_FRAMEWORK", framework, stream, framework_info=info)
    world.cycle()
    assert [offer["hostname"] for offer in world.offers(stream)] == ["h1"]


def test_offers_of_a_role_that_a_framework_leaves_are_rescinded(world: World) -> None:
    world.register(agent("h1"), agent("h2"))
    framework, stream = world.subscribe(roles=["eng", "ops"])
    world.cycle()
    offers = {offer["allocation_info"]["role"]: offer["id"] for offer in world.offers(stream)}
    assert offers.keys() == {"eng", "ops"}
    info = {"user": "root", "name": "test", "id": {"value": framework}, "roles": ["ops", "web"]}
    world.call("UPDATE_FRAMEWORK", framework, stream, framework_info=info)
    assert world.take(stream) == [{"type": "RESCIND", "rescind": {"offer_id": offers["eng"]}}]
    assert list(world.master.offers) == [offers["ops"]["value"]]
    world.cycle()
    assert [offer["allocation_info"]["role"] for offer in world.offers(stream)] == ["web"]


def test_constraints_say_which_agents_are_offered(world: World) -> None:
    racks = [{"name": "rack", "type": "TEXT", "text": {"value": rack}} for rack in ("r1", "r2")]
    for name, rack in zip(("h1", "h2"), racks, strict=True):
        registration = agent(name)
        registration["agent_info"]["attributes"] = [rack]
        world.register(registration)
    selector, predicate = {"attribute_name": "rack"}, {"text_equals": {"value": "r2"}}
    group = {"attribute_constraints": [{"selector": selector, "predicate": predicate}]}
    constraints = {"role_constraints": {"*": {"groups": [group]}}}
    framework, stream = world.subscribe()
    info = {"user": "root", "name": "test", "id": {"value": framework}}
    update = {"framework_info": info, "offer_constraints": constraints}
    world.call("UPDATE_FRAMEWORK", framework, stream, **update)
    world.cycle()
    assert [offer["hostname"] for offer in world.offers(stream)] == ["h2"]
    world.rows.clear()
    update["offer_constraints"] = {"role_constraints": {"*": {"groups": [{}]}}}
    with pytest.raises(CallRefused, match="group"):
        world.call("UPDATE_FRAMEWORK", framework, stream, **update)
    assert not world.rows


# Killing and asking.


def test_kill_reaches_the_agent(world: World) -> None:
    framework, stream, session, _ = world.running()
    world.call("KILL", framework, stream, task_id={"value": "t1"})
    (kill,) = world.take(session)
    assert (kill["type"], kill["task_id"]["value"]) == ("KILL", "t1")


@pytest.mark.parametrize(
    ("aware", "on_agent", "state"),
    [
        (False, False, "TASK_LOST"),
        (False, True, "TASK_LOST"),
        (True, False, "TASK_UNKNOWN"),
        (True, True, "TASK_GONE"),
    ],
)
def test_kill_and_reconcile_of_a_task_that_is_not_known(
    world: World, aware: bool, on_agent: bool, state: str
) -> None:
    session = world.register(agent("h1"))
    agent_id = world.take(session)[0]["agents"][0]["id"]
    capabilities = [{"type": "PARTITION_AWARE"}] if aware else []
    framework, stream = world.subscribe(capabilities=capabilities)
    task = {"task_id": {"value": "t9"}}
    if on_agent:
        task["agent_id"] = {"value": agent_id}
    world.call("KILL", framework, stream, **task)
    assert world.states(stream) == [state]
    world.call("RECONCILE", framework, stream, tasks=[task])
    assert world.states(stream) == [state]


def test_reconcile_tells_the_latest_states(world: World) -> None:
    framework, stream, _, _ = world.running()
    world.call("RECONCILE", framework, stream, tasks=[])
    (event,) = world.take(stream)
    told = event["update"]["status"]
    assert (told["state"], told["reason"]) == ("TASK_RUNNING", "REASON_RECONCILIATION")
    assert "uuid" not in told


def test_a_uuid_that_is_none_is_refused(world: World) -> None:
    framework, stream, _, agent_id = world.running()
    with pytest.raises(CallRefused, match="base64"):
        world.acknowledge(framework, stream, agent_id, "t1", "x")


def test_roles_of_others_are_ignored_as_a_whole(world: World) -> None:
    framework, stream = world.subscribe(roles=["eng", "ops"])
    world.call("SUPPRESS", framework, stream, roles=["eng", "foreign"])
    assert world.master.engine.framework(framework).suppressed == frozenset()
    world.call("SUPPRESS", framework, stream, roles=["eng"])
    assert world.master.engine.framework(framework).suppressed == {"eng"}
    world.call("REVIVE", framework, stream)
    assert world.master.engine.framework(framework).suppressed == frozenset()


def test_who_may_call(world: World) -> None:
    framework, stream = world.subscribe()
    with pytest.raises(CallRefused, match="no framework"):
        world.call("DECLINE", "f9", stream, offer_ids=[])
    with pytest.raises(CallRefused, match="not the framework's"):
        world.call("DECLINE", framework, "s9", offer_ids=[])
    world.master.disconnect("s9")  # another stream's end
    assert framework in world.master.frameworks


# Agents.


@pytest.mark.parametrize(("aware", "state"), [(False, "TASK_LOST"), (True, "TASK_UNREACHABLE")])
def test_an_agent_that_misses_its_pings(world: World, aware: bool, state: str) -> None:
    capabilities = [{"type": "PARTITION_AWARE"}] if aware else []
    framework, stream, session, agent_id = world.running(capabilities=capabilities)
    for _ in range(world.options.max_agent_ping_timeouts):
        agents.ping(world.master)
    world.carry_out()
    assert agent_id in world.master.agents
    agents.ping(world.master)
    world.carry_out()
    assert agent_id not in world.master.agents
    assert agent_id in world.master.unreachable_agents
    sent = world.take(stream)
    assert [e["update"]["status"]["state"] for e in sent if e["type"] == "UPDATE"] == [state]
    assert [e["failure"] for e in sent if e["type"] == "FAILURE"] == [
        {"agent_id": {"value": agent_id}}
    ]
    assert world.ended == [session]
    assert ("t1" in world.master.frameworks[framework].unreachable) is aware


def test_an_unreachable_agent_that_comes_back_brings_its_tasks(world: World) -> None:
    framework, stream, _, agent_id = world.running(capabilities=[{"type": "PARTITION_AWARE"}])
    for _ in range(world.options.max_agent_ping_timeouts + 1):
        agents.ping(world.master)
    world.carry_out()
    world.take(stream)
    known = world.master.frameworks[framework].unreachable["t1"]
    session = world.register(agent("h1", id=agent_id, tasks=[brought(framework, known.info)]))
    assert world.take(session)[0]["agents"][0]["id"] == agent_id
    assert world.states(stream) == ["TASK_RUNNING"]
    assert world.master.engine.agent(agent_id).allocated == Resources("cpus:1;mem:64")
    assert not world.master.frameworks[framework].unreachable
    assert not world.master.unreachable_agents


def test_asked_about_a_task_of_an_unreachable_agent(world: World) -> None:
    framework, stream, *_ = world.running(capabilities=[{"type": "PARTITION_AWARE"}])
    for _ in range(world.options.max_agent_ping_timeouts + 1):
        agents.ping(world.master)
    world.carry_out()
    (told,) = [e["update"]["status"] for e in world.take(stream) if e["type"] == "UPDATE"]
    assert told["unreachable_time"]
    world.call("RECONCILE", framework, stream, tasks=[{"task_id": {"value": "t1"}}])
    world.call("KILL", framework, stream, task_id={"value": "t1"})
    again = [event["update"]["status"] for event in world.take(stream)]
    assert [each.get("reason") for each in again] == ["REASON_RECONCILIATION", None]
    for field in ("state", "agent_id", "unreachable_time"):
        assert [each[field] for each in again] == [told[field]] * 2


def brought(framework: str, info: object, state: str = "TASK_RUNNING") -> dict[str, object]:
    """Return a task as an agent brings it."""
    import msgspec

    task = msgspec.to_builtins(info)
    return {"framework_id": {"value": framework}, "role": "*", "state": state, "task": task}


def test_an_agent_that_reconnects_keeps_its_tasks_and_loses_what_it_does_not_have(
    world: World,
) -> None:
    framework, stream, session, agent_id = world.running()
    world.cycle()
    world.launch(framework, stream, world.offers(stream)[0], "t2")
    agents.disconnect(world.master, session)
    world.cycle()
    assert world.offers(stream) == []
    info = world.master.frameworks[framework].tasks["t1"].info
    world.register(agent("h1", id=agent_id, tasks=[brought(framework, info)]))
    assert world.states(stream) == ["TASK_LOST"]  # t2 never reached it
    assert world.master.engine.agent(agent_id).allocated == Resources("cpus:1;mem:64")
    world.cycle()
    assert len(world.offers(stream)) == 1


def test_a_status_that_comes_twice_counts_once(world: World) -> None:
    framework, stream, session, agent_id = world.running()
    for _ in range(2):
        world.report(session, agent_id, framework, "t1", "TASK_FINISHED", uuid(2))
    assert world.states(stream) == ["TASK_FINISHED"]
    world.acknowledge(framework, stream, agent_id, "t1", uuid(2))
    assert world.states(stream) == []
    # It is not known any more: the agent need not keep it.
    world.take(session)
    world.report(session, agent_id, framework, "t1", "TASK_FINISHED", uuid(2))
    assert [record["type"] for record in world.take(session)] == ["ACKNOWLEDGE"]


def test_one_process_may_be_many_agents(world: World) -> None:
    session = world.register(agent("h1"), agent("h2"), agent("h3"))
    (registered,) = world.take(session)
    assert [each["hostname"] for each in registered["agents"]] == ["h1", "h2", "h3"]
    assert [each["id"] for each in registered["agents"]] == ["m1-S0", "m1-S1", "m1-S2"]


def test_statuses_of_foreign_agents_are_refused(world: World) -> None:
    framework, _, _, agent_id = world.running()
    other = world.register(agent("h2"))
    with pytest.raises(CallRefused, match="not of this session"):
        world.update(other, status(agent_id, framework, "t1", "TASK_FINISHED", uuid(2)))


def test_two_agents_that_are_one_are_refused(world: World) -> None:
    with pytest.raises(CallRefused, match="twice"):
        world.register(agent("h1", id="a"), agent("h2", id="a"))
    assert not world.master.sessions
