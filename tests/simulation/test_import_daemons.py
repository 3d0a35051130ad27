"""Whose use pods are that belong to their machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from allocator.cli.main import main
from allocator.engine import Allocator
from allocator.errors import InvalidRole, InvalidValue
from allocator.sim import simulate
from allocator.sim.importers import Imported, read

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
