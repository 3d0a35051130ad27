"""Executors that frameworks bring, at the master: what they hold, who is told what."""

from __future__ import annotations

from typing import Any

import pytest

from allocator.resources import Resources
from tests.service.world import Json, World, agent, executor, scalars, uuid


class Cluster:
    """A master, one agent of cpus:4;mem:1024 and a framework."""

    def __init__(self) -> None:
        self.world = World()
        self.session = self.world.register(agent("h1"))
        self.agent_id = self.world.take(self.session)[0]["agents"][0]["id"]
        self.framework, self.stream = self.world.subscribe(failover_timeout=100)

    def offer(self) -> Json:
        self.world.cycle()
        (offer,) = self.world.offers(self.stream)
        return offer

    def launch(self, *ids: str, **more: Any) -> None:
        self.world.launch(self.framework, self.stream, self.offer(), *ids, **more)

    def accept(self, *operations: Json) -> None:
        """Accept an offer for what is said."""
        given = {"offer_ids": [self.offer()["id"]], "filters": {"refuse_seconds": 0}}
        self.world.call("ACCEPT", self.framework, self.stream, operations=list(operations), **given)

    def task(self, id: str, **more: Any) -> Json:
        given = {"name": id, "task_id": {"value": id}, "agent_id": {"value": self.agent_id}}
        return {**given, "resources": scalars("cpus:1;mem:64"), **more}

    def launch_tasks(self, *tasks: Json) -> None:
        self.accept({"type": "LAUNCH", "launch": {"task_infos": list(tasks)}})

    @property
    def used(self) -> Resources:
        return self.world.master.engine.agent(self.agent_id).allocated

    def told(self) -> list[Json]:
        """Return what the agent was told since the last look."""
        return self.world.take(self.session)

    def refused(self) -> list[str]:
        """Return what was wrong with tasks that were not launched."""
        statuses = [event["update"]["status"] for event in self.world.take(self.stream, "UPDATE")]
        assert {(s["state"], s["reason"]) for s in statuses} <= {
            ("TASK_ERROR", "REASON_TASK_INVALID")
        }
        return [status["message"] for status in statuses]

    def exit(self, id: str, status: int | None = 0) -> None:
        end: Json = {
            "agent_id": {"value": self.agent_id},
            "framework_id": {"value": self.framework},
            "executor_id": {"value": id},
        }
        self.world.say(self.session, "EXITED", executors=[{**end, "status": status}])


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_it_is_launched_with_its_first_task_and_holds_its_own(cluster: Cluster) -> None:
    cluster.launch("t1", "t2", executor=executor("e"))
    first, second = cluster.told()
    assert (first["type"], first["launch_executor"]) == ("LAUNCH", True)
    assert first["executor"]["executor_id"] == {"value": "e"}
    assert first["tasks"][0]["executor"]["command"] == {"value": "run"}
    assert second["launch_executor"] is False
    assert cluster.used == Resources("cpus:2.25;mem:160")
    framework = cluster.world.master.frameworks[cluster.framework]
    assert framework.tasks["t1"].executor_id == "e"


def test_a_later_task_finds_it_there(cluster: Cluster) -> None:
    cluster.launch("t1", executor=executor("e"))
    cluster.told()
    cluster.launch("t2", executor=executor("e", framework_id={"value": cluster.framework}))
    assert [each["launch_executor"] for each in cluster.told()] == [False]
    assert cluster.used == Resources("cpus:2.25;mem:160")


def test_when_it_is_gone_its_framework_is_told_and_it_holds_nothing(cluster: Cluster) -> None:
    cluster.launch("t1", executor=executor("e"))
    cluster.exit("e", 9)
    (failure,) = cluster.world.take(cluster.stream, "FAILURE")
    assert failure["failure"] == {
        "agent_id": {"value": cluster.agent_id},
        "executor_id": {"value": "e"},
        "status": 9,
    }
    assert cluster.used == Resources("cpus:1;mem:64")
    cluster.exit("e")  # said twice, heard once
    assert cluster.world.take(cluster.stream, "FAILURE") == []
    cluster.told()
    cluster.launch("t2", executor=executor("e"))
    assert [each["launch_executor"] for each in cluster.told()] == [True]


def test_offers_must_have_room_for_both(cluster: Cluster) -> None:
    cluster.launch("t1", resources="cpus:4;mem:64", executor=executor("e"))
    assert cluster.refused() == [
        "executor 'e' uses cpus:0.25;mem:32, of which the offers lack cpus:0.25"
    ]
    assert cluster.used == Resources()
    cluster.launch("t1", resources="cpus:3.75;mem:64", executor=executor("e"))
    assert cluster.used == Resources("cpus:4;mem:96")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"executor_id": {"value": "a/b"}}, "not a name"),
        ({"executor_id": None}, "executor_id"),
        ({"command": None}, "no command"),
        ({"type": "DEFAULT"}, "CUSTOM, not 'DEFAULT'"),
        ({"resources": [{"name": "cpus"}]}, "cpus"),
        ({"shutdown_grace_period": {"nanoseconds": -1}}, "below 0"),
    ],
)
def test_one_that_makes_no_sense_is_a_task_error(cluster: Cluster, more: Json, words: str) -> None:
    cluster.launch("t1", executor={**executor("e"), **more})
    (message,) = cluster.refused()
    assert words in message
    assert cluster.told() == []
    assert cluster.used == Resources()


def test_another_one_of_the_same_id_is_refused(cluster: Cluster) -> None:
    cluster.launch("t1", executor=executor("e"))
    cluster.launch("t2", executor=executor("e", "cpus:1"))
    assert cluster.refused() == ["executor 'e' is another one than runs on the agent"]
    both = cluster.task("t3", command={"value": "x"}, executor=executor("e"))
    cluster.launch_tasks(both, cluster.task("t4"))
    assert len(cluster.refused()) == 2


def test_a_group_may_have_one_of_its_own(cluster: Cluster) -> None:
    def launch(by: Json, *tasks: Json) -> Json:
        group = {"executor": by, "task_group": {"tasks": list(tasks)}}
        cluster.accept({"type": "LAUNCH_GROUP", "launch_group": group})
        (message,) = cluster.told()
        assert message["type"] == "LAUNCH_GROUP"
        return message

    told = launch(executor("e", type="CUSTOM"), cluster.task("a"), cluster.task("b"))
    assert told["launch_executor"] is True
    told = launch(
        {"executor_id": {"value": "d"}, "type": "DEFAULT"},
        cluster.task("c", command={"value": "x"}),
    )
    assert "launch_executor" not in told
    assert cluster.used == Resources("cpus:3.25;mem:224")


def test_messages_go_both_ways(cluster: Cluster) -> None:
    cluster.launch("t1", executor=executor("e"))
    cluster.told()
    to = {"agent_id": {"value": cluster.agent_id}, "executor_id": {"value": "e"}}
    cluster.world.call("MESSAGE", cluster.framework, cluster.stream, **to, data="aGk=")
    cluster.world.call("SHUTDOWN", cluster.framework, cluster.stream, **to)
    message, shutdown = cluster.told()
    assert (message["type"], message["data"]) == ("MESSAGE", "aGk=")
    assert shutdown["type"] == "SHUTDOWN_EXECUTOR"
    assert shutdown["executor_id"] == message["executor_id"] == {"value": "e"}
    said = {**to, "framework_id": {"value": cluster.framework}, "data": "eW8="}
    cluster.world.say(cluster.session, "MESSAGE", messages=[said])
    (event,) = cluster.world.take(cluster.stream, "MESSAGE")
    assert event["message"] == {**to, "data": "eW8="}


def test_a_framework_that_leaves_takes_it_along(cluster: Cluster) -> None:
    cluster.launch("t1", executor=executor("e"))
    cluster.world.report(
        cluster.session, cluster.agent_id, cluster.framework, "t1", "TASK_FINISHED", uuid(1)
    )
    cluster.world.acknowledge(cluster.framework, cluster.stream, cluster.agent_id, "t1", uuid(1))
    cluster.told()
    assert cluster.used == Resources("cpus:0.25;mem:32")
    cluster.world.call("TEARDOWN", cluster.framework, cluster.stream)
    assert [each["type"] for each in cluster.told()] == ["SHUTDOWN_FRAMEWORK"]
    assert cluster.used == Resources()


def test_an_agent_that_comes_back_says_which_it_has(cluster: Cluster) -> None:
    """What it does not bring is gone; what it should not have, it is told to end."""
    cluster.launch("t1", executor=executor("e"))
    cluster.launch("t2", executor=executor("f"))
    task = {**cluster.task("t2"), "executor": executor("f")}
    known = {"framework_id": {"value": cluster.framework}, "role": "*"}
    brought = {
        "tasks": [{**known, "state": "TASK_RUNNING", "task": task, "executor_id": {"value": "f"}}],
        "executors": [{**known, "executor": executor(id)} for id in ("f", "g")],
    }
    cluster.world.take(cluster.stream)
    session = cluster.world.register(agent("h1", id=cluster.agent_id, **brought))
    (failure,) = cluster.world.take(cluster.stream, "FAILURE")
    assert failure["failure"]["executor_id"] == {"value": "e"}
    assert cluster.used == Resources("cpus:1.25;mem:96")
    told = [each for each in cluster.world.take(session) if each["type"] == "SHUTDOWN_EXECUTOR"]
    assert [each["executor_id"] for each in told] == [{"value": "g"}]


@pytest.mark.parametrize("has_task", [True, False])
def test_another_master_is_told_of_it(cluster: Cluster, has_task: bool) -> None:
    info = {"user": "root", "name": "test", "id": {"value": cluster.framework}}
    known = {"framework_id": {"value": cluster.framework}, "role": "*"}
    task = {**cluster.task("t"), "executor": executor("e")}
    brought: Json = {"executors": [{**known, "executor": executor("e"), "framework_info": info}]}
    if has_task:
        of = {"task": task, "executor_id": {"value": "e"}}
        brought["tasks"] = [{**known, **of, "state": "TASK_RUNNING"}]
    cluster.world.restart()
    session = cluster.world.register(agent("h1", id=cluster.agent_id, **brought))
    assert cluster.used == Resources("cpus:1.25;mem:96" if has_task else "cpus:0.25;mem:32")
    master = cluster.world.master
    assert master.frameworks[cluster.framework].info.name == "test"
    if has_task:
        assert master.frameworks[cluster.framework].tasks["t"].executor_id == "e"
    master.remove_agent(master.agents[cluster.agent_id], "TASK_UNREACHABLE")
    assert master.frameworks[cluster.framework].executors == {}
    cluster.world.register(agent("h1", id=cluster.agent_id, **brought))
    assert cluster.used.scalars() == Resources(
        "cpus:1.25;mem:96" if has_task else "cpus:0.25;mem:32"
    )
    assert session


def test_what_is_shown(cluster: Cluster) -> None:
    cluster.launch("t1", executor=executor("e", name="The one", labels={"labels": [{"key": "k"}]}))
    (shown,) = cluster.world.operate("GET_EXECUTORS")["get_executors"]["executors"]  # type: ignore[index]
    assert shown["agent_id"] == {"value": cluster.agent_id}
    info = shown["executor_info"]
    assert (info["name"], info["type"]) == ("The one", "CUSTOM")
    assert info["framework_id"] == {"value": cluster.framework}
