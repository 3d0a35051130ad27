"""`allocator import` and `allocator fit`: what is written, printed and refused."""

from __future__ import annotations

import gzip
import io
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from allocator.cli.main import main
from allocator.engine import Allocator
from allocator.sim import Scenario, simulate

pytest.importorskip("yaml")
pytest.importorskip("defusedxml")


def node(name: str, cpu: str = "8", **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"nvidia.com/gpu.product": "a100"}},
        "spec": more,
        "status": {
            "allocatable": {"cpu": cpu, "memory": "16Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod(name: str, machine: str | None, cpu: str = "2", namespace: str = "eng") -> dict[str, Any]:
    spec: dict[str, Any] = {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}
    if machine:
        spec["nodeName"] = machine
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    items = [
        node("n1"),
        node("n2"),
        node("n3", unschedulable=True),
        pod("a", "n1", "6"),
        pod("b", "n2", "6", "sci"),
        pod("c", None),
    ]
    path = tmp_path / "dump.json"
    path.write_text(json.dumps({"kind": "List", "items": items}), "utf-8")
    return path


def run(capsys: pytest.CaptureFixture[str], *argv: object, status: int = 0) -> str:
    assert main([str(arg) for arg in argv]) == status
    captured = capsys.readouterr()
    if status == 2:
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        return captured.err
    return captured.out


def test_a_folder_is_written_that_loads_runs_and_reads_the_same(
    dump: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "lab"
    out = run(capsys, "import", "kubernetes", dump, "-o", folder)
    assert "3 machines, 1 of which take nothing new" in out
    text = (folder / "scenario.toml").read_text("utf-8")
    data = tomllib.loads(text)
    assert data["cluster"]["file"] == data["workload"]["cluster"] == "cluster.json"
    assert data["roles"]["eng"] == {"weight": 1}
    setting = Scenario.load(folder / "scenario.toml").setting()
    assert [machine.id for machine in setting.machines] == ["n1", "n2", "n3"]
    assert setting.inactive == {"n3"}
    assert {(p.tenant, p.machine, str(p.demand)) for p in setting.placed} == {
        ("eng", "n1", "cpus:6"),
        ("sci", "n2", "cpus:6"),
    }
    result = simulate(Scenario.load(folder / "scenario.toml"))
    # cpus: 6 + 6 ran, and the pod that waits finds 2 on n1 or n2
    assert result.use["cpus"].peak == 14


def test_the_same_import_again_is_fine_and_another_is_refused(
    dump: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "lab"
    run(capsys, "import", "kubernetes", dump, "-o", folder)
    run(capsys, "import", "kubernetes", dump, "-o", folder)
    path = folder / "scenario.toml"
    edited = path.read_text("utf-8").replace("weight = 1", "weight = 2", 1)
    path.write_text(edited, "utf-8")
    err = run(capsys, "import", "kubernetes", dump, "-o", folder, status=2)
    assert "--force" in err
    assert path.read_text("utf-8") == edited
    run(capsys, "import", "kubernetes", dump, "-o", folder, "--force")
    assert path.read_text("utf-8") != edited


def test_nothing_is_written_where_a_dump_is_refused(
    dump: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.json"
    broken.write_bytes(dump.read_bytes()[:-40])
    folder, snapshot = tmp_path / "lab", tmp_path / "lab.json"
    options = ("-o", folder, "--snapshot", snapshot)
    err = run(capsys, "import", "kubernetes", broken, *options, status=2)
    assert str(broken) in err
    assert "line 1" in err
    queues = tmp_path / "queues.yaml"
    queues.write_text("kind: Namespace\nmetadata: {name: x}\n", "utf-8")
    run(capsys, "import", "kubernetes", queues, *options, status=2)
    assert not folder.exists()
    assert not snapshot.exists()


def test_json_from_standard_input_gzip_with_a_mark(
    dump: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = gzip.compress(b"\xef\xbb\xbf" + dump.read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(packed)))
    found = json.loads(run(capsys, "import", "kubernetes", "-", "--json"))
    assert found["system"] == "kubernetes"
    assert found["machines"] == {
        "count": 3,
        "unusable": 1,
        "why": {"n3": "spec.unschedulable true (cordoned)"},
    }
    assert found["total"] == {"cpus": 24, "mem": 49152}
    assert found["running"]["eng"] == {"tasks": 1, "tasks_without_requests": 0, "cpus": 6}
    assert found["waiting"] == {"eng": {"tasks": 1, "cpus": 2}}
    assert found["not_running"] == {"unbound": 1}


def test_strict_refuses_what_is_not_modelled(
    dump: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "import", "kubernetes", dump, "--strict")
    other = tmp_path / "other.txt"
    other.write_text("what: else\n", "utf-8")
    err = run(capsys, "import", "kubernetes", dump, other, "--strict", status=2)
    assert str(other) in err
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}}
    more = tmp_path / "more.json"
    more.write_text(json.dumps({**quota, "spec": {"hard": {"limits.cpu": "4"}}}), "utf-8")
    err = run(capsys, "import", "kubernetes", dump, more, "--strict", status=2)
    assert "not modelled" in err


def test_a_snapshot_is_one_of_an_engine(
    dump: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lab.json"
    run(capsys, "import", "kubernetes", dump, "--snapshot", path)
    engine = Allocator.restore(json.loads(path.read_text("utf-8")))
    assert str(engine.agent("n1").available) == "cpus:2;mem:16384"
    assert engine.agent("n3").active is False
    assert engine.framework("eng").roles == ("eng",)
    assert "weight" in run(capsys, "whatif", path, "--set-weight", "eng=3")
    assert "fits" in run(capsys, "fit", path, "--role", "eng", "--task", "cpus:2", "--tasks", "2")


@pytest.mark.parametrize("as_scenario", [True, False])
def test_fit(
    dump: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], as_scenario: bool
) -> None:
    folder, snapshot = tmp_path / "lab", tmp_path / "lab.json"
    run(capsys, "import", "kubernetes", dump, "-o", folder, "--snapshot", snapshot)
    subject = folder / "scenario.toml" if as_scenario else snapshot
    ask = ("fit", subject, "--role", "eng")
    found = json.loads(run(capsys, *ask, "--task", "cpus:1", "--tasks", 4, "--json"))
    assert found["fits"] is True
    assert found["machines"] == {"n1": 2, "n2": 2}
    # Two cpus are left on n1 and on n2 each; n3 is cordoned.
    gang = (*ask, "--task", "cpus:2;mem:1024", "--tasks", 3, "--gang", "--kind", "a100")
    found = json.loads(run(capsys, *gang, "--json", status=1))
    assert (found["fits"], found["placed"]) == (False, 2)
    reasons = {reason["label"]: reason["machines"] for reason in found["reasons"]}
    assert reasons["too little left for a task"] >= 1
    assert found["to_end"]["amounts"] == {"cpus": 2}
    assert found["to_end"]["machine"] in ("n1", "n2")
    assert "end first" in run(capsys, *gang, status=1)
    err = run(capsys, *ask, "--task", "cpus:1", "--kind", "h100", status=2)
    assert "a100" in err
    run(capsys, *ask, "--task", "cpus:0", status=2)
    run(capsys, "fit", subject, "--role", "a//b", "--task", "cpus:1", status=2)


def test_fit_tells_of_limits_and_guarantees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Allocator(seed=1)
    engine.add_agent("n1", "cpus:8;mem:1000")
    engine.set_quota("eng", limit="cpus:2")
    engine.set_quota("sci", guarantee="cpus:6")
    path = tmp_path / "snapshot.json"
    path.write_text(json.dumps(engine.snapshot()), "utf-8")
    run(capsys, "fit", path, "--role", "eng", "--task", "cpus:2")
    out = run(capsys, "fit", path, "--role", "eng", "--task", "cpus:3", status=1)
    assert "over limit of role eng" in out
    out = run(capsys, "fit", path, "--role", "art", "--task", "cpus:3", status=1)
    assert "held back" in out


def test_options_of_another_system_are_refused(
    dump: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    err = run(capsys, "import", "slurm", dump, "--split-flavors", status=2)
    assert "split_flavors says nothing to slurm" in err
