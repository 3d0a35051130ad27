"""Pods that belong to their machine: whose use they are, and what becomes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allocator.cli.main import main
from allocator.engine import Allocator
from allocator.errors import InvalidRole, InvalidValue
from allocator.sim import Scenario, ScenarioError, simulate
from allocator.sim.changes import RemoveAgents
from allocator.sim.importers import Imported, read
from allocator.sim.scenario.dump import dump_from

pytest.importorskip("yaml")
pytest.importorskip("defusedxml")

Json = dict[str, Any]


def pod(name: str, namespace: str, cpu: int, owner: str = "", **annotations: str) -> Json:
    kind, _, whose = owner.partition("/")
    metadata: Json = {"name": name, "namespace": namespace, "annotations": annotations}
    if owner:
        metadata["ownerReferences"] = [{"kind": kind, "name": whose}]
    requests = {"requests": {"cpu": str(cpu)}}
    spec = {"nodeName": "n", "containers": [{"name": "c", "resources": requests}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    ready = [{"type": "Ready", "status": "True"}]
    status = {"allocatable": {"cpu": "16"}, "conditions": ready}
    items = [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "status": status},
        pod("agent", "monitoring", 1, "DaemonSet/agent"),
        pod("proxy", "kube-system", 2, "DaemonSet/proxy"),
        pod("api", "kube-system", 3, "Node/n"),
        pod("old", "kube-system", 1, **{"kubernetes.io/config.source": "file"}),
        pod("dns", "kube-system", 1, "ReplicaSet/dns"),
        pod("job", "team", 4),
    ]
    path = tmp_path / "dump.json"
    path.write_text(json.dumps({"kind": "List", "items": items}))
    return path


def running(found: Imported) -> dict[str, float]:
    return {role: held["cpus"] for role, held in found.to_json()["running"].items()}


def test_pods_that_cannot_move_are_their_name_spaces(dump: Path) -> None:
    found = read("kubernetes", dump)
    assert running(found) == {"monitoring": 1, "kube-system": 7, "team": 4}
    assert [t.count for t in found.told if "which cannot move" in t.text] == [4]


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("*", {"*": 7, "kube-system": 1, "team": 4}),
        ("kube-system", {"kube-system": 8, "team": 4}),
        ("system/daemons", {"system/daemons": 7, "kube-system": 1, "team": 4}),
    ],
)
def test_or_of_a_role_of_their_own(dump: Path, role: str, expected: dict[str, float]) -> None:
    found = read("kubernetes", dump, daemons_role=role)
    assert running(found) == expected
    assert {t.framework for t in found.tenants.values() if t.role == role} >= {"daemons"}
    assert ("monitoring" in found.roles) is False
    engine = Allocator.restore(found.snapshot())
    assert engine.roles[role].allocated["cpus"] == expected[role]
    result = simulate(found.scenario().with_(horizon="1m"))
    assert result.use["cpus"].peak == 12
    assert result.counts.waiting == 0


def test_on_the_command_line(
    dump: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    argv = ["import", "kubernetes", str(dump), "--daemons-role"]
    assert main([*argv, "*", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["running"]["*"] == {
        "tasks": 4,
        "tasks_without_requests": 0,
        "cpus": 7,
    }
    assert main([*argv, "a b", "-o", str(tmp_path / "lab")]) == 2
    assert "'a b'" in capsys.readouterr().err
    assert not (tmp_path / "lab").exists()


def test_a_role_that_is_none_and_another_system_are_refused(dump: Path) -> None:
    for wrong in ("", "a//b", "-x", "a b"):
        with pytest.raises(InvalidRole):
            read("kubernetes", dump, daemons_role=wrong)
    with pytest.raises(InvalidValue, match="daemons_role says nothing to mesos"):
        read("mesos", dump, daemons_role="*")


# They belong to their machine.


def test_pods_that_cannot_move_are_fixed(dump: Path) -> None:
    placed = read("kubernetes", dump).scenario().setting().placed
    assert {(p.tenant, str(p.demand), p.fixed) for p in placed} == {
        ("monitoring", "cpus:1", True),
        ("kube-system", "cpus:2", True),
        ("kube-system", "cpus:3", True),
        ("kube-system", "cpus:1", True),
        ("kube-system", "cpus:1", False),
        ("team", "cpus:4", False),
    }


def cluster(*running: Json, reserved: Json | None = None) -> Json:
    """Return a scenario with two machines, the first of which is away from 10 to 30 s."""
    machines = [{"id": id, "resources": {"cpus": 8}} for id in ("m", "n")]
    if reserved:
        machines[0]["reserved"] = reserved
    dump = dump_from({"machines": machines, "running": list(running)}, "cluster.json")
    events = [{"at": 10, "action": "fail", "machines": ["m"], "for": 20}]
    return {
        "horizon": 40,
        "cluster": {"file": dump, "event": events},
        "workload": {"cluster": dump},
    }


FIXED = {"tenant": "d", "demand": {"cpus": 2}, "machine": "m", "tasks": 2, "fixed": True}
LOOSE = {"tenant": "t", "demand": {"cpus": 3}, "machine": "m"}


@pytest.mark.parametrize("reserved", [None, {"d": {"cpus": 3}}])
def test_what_is_fixed_is_lost_and_back_with_its_machine(reserved: Json | None) -> None:
    result = simulate(Scenario.from_dict(cluster(FIXED, LOOSE, reserved=reserved)))
    assert result.record is not None
    edges_s = result.record.series.edges_s
    at = [int(np.searchsorted(edges_s, second)) for second in (5, 15, 25, 35)]
    curves = result.to_json()["series"]["roles"]
    # 4 cpus but while its machine is away; what may move goes to the other machine at once
    assert [curves["d"]["use"]["cpus"][i] for i in at] == [4, 0, 0, 4]
    assert [curves["d"]["queue"][i] for i in at] == [0, 1, 1, 0]
    assert [curves["t"]["use"]["cpus"][i] for i in at] == [3, 3, 3, 3]
    assert (result.counts.running, result.to_json()["tasks_lost"]) == (2, 3)


def test_the_engine_knows_of_what_is_back() -> None:
    made: list[Allocator] = []

    def make(**options: Any) -> Allocator:
        made.append(Allocator(**options))
        return made[0]

    given = Scenario.from_dict(cluster(FIXED, reserved={"d": {"cpus": 3}})).setting()
    simulate(given, engine=make)
    agent = made[0].agents["m"]
    assert str(agent.allocated) == "cpus(d):3;cpus:1"
    assert str(agent.available) == "cpus:4"


def test_what_is_fixed_to_a_machine_that_is_removed_is_gone() -> None:
    given = Scenario.from_dict(cluster(FIXED, LOOSE)).setting()
    changed = RemoveAgents("m").on_setting(given)
    assert [(p.tenant, p.machine) for p in changed.placed] == [("t", None)]
    assert simulate(changed).use["cpus"].peak == 3


def test_what_is_fixed_names_its_machine() -> None:
    homeless = {key: value for key, value in FIXED.items() if key != "machine"}
    with pytest.raises(ScenarioError, match=r"running\[1\]\.fixed: given; expected none without"):
        cluster(LOOSE, homeless)


def test_work_on_machines_that_are_not_there() -> None:
    with pytest.raises(ScenarioError, match=r"running\[0\]\.machine: 'x'; expected the id of one"):
        cluster({**LOOSE, "machine": "x"})
    data = cluster(FIXED, LOOSE)
    other = {**data, "cluster": {"machines": "2x cpus:8"}}
    result = simulate(Scenario.from_dict(other))
    # what may move runs elsewhere, what belonged to a machine is gone with it
    assert (result.use["cpus"].peak, result.counts.running) == (3, 1)
