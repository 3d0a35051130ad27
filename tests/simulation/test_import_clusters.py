"""Dumps of real clusters, where they are at hand: right values, worked out by hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from allocator.errors import AllocatorError
from allocator.sim import Scenario, simulate
from allocator.sim.importers import SYSTEMS, Imported, read
from allocator.sim.importers.writing import write_folder

pytest.importorskip("yaml")
pytest.importorskip("defusedxml")

CLUSTERS = Path(
    os.environ.get("ALLOCATOR_CLUSTERS", Path(__file__).parents[3] / "shared" / "clusters")
)

pytestmark = pytest.mark.skipif(
    not CLUSTERS.is_dir(), reason=f"no dumps in {CLUSTERS} (ALLOCATOR_CLUSTERS names a folder)"
)

EXPECTED = CLUSTERS / "expected.json"
CASES = (
    {case["id"]: case for case in json.loads(EXPECTED.read_text("utf-8"))["cases"]}
    if EXPECTED.exists()
    else {}
)
FILES = sorted(
    path
    for path in (CLUSTERS.rglob("*") if CLUSTERS.is_dir() else ())
    if path.is_file() and path.suffix != ".md" and path != EXPECTED
)
#: The queue systems that share Kubernetes have folders of their own.
OF_KUBERNETES = ("kueue", "volcano", "yunikorn", "kai", "armada", "elasticquota")

#: What the dumps' keys are called here.
NAMES = {"mem_mb": "mem", "disk_mb": "disk"}
#: Facts that must be told: case -> words of each, all of which stand in one line.
TOLD = {
    "k8s-kind": (("taints", "2"), ("unbound", "1"), ("finished", "1")),
    "k8s-openb": (("Ready", "1213"), ("gpu-milli", "not added")),
    "k8s-pai": (("rdma/hca", "1k"), ("not listed",), ("without_spec", "1")),
    "slurm-text-24.11": (("machine the dump does not say", "11"),),
    "slurm-fox": (("no header",), ("steps", "179")),
    "mesos-ovh1": (
        ("executors", "Storm!!! cpus:4.5;mem:9000"),
        ("executors", "hdfs cpus:0.3;mem:1152"),
        ("dust", "0.0005"),
        ("offers", "cpus:8.4"),
        ("finished", "3001"),
        ("finished frameworks", "9"),
    ),
    "yarn-fair-conversion": (
        ("weights of 0", "3"),
        ("maxChildResources",),
        ("userMaxAppsDefault",),
        ("queueMaxAppsDefault",),
        ("maxRunningApps",),
        ("maxAMShare",),
        ("maxContainerAllocation",),
        ("reservation",),
        ("placement rules", "5"),
        ("access lists",),
        ("policy fair", "3"),
        ("percentages",),
    ),
    "yarn-ambari": (
        ("unfunded",),
        ("STOPPED", "Marketing/Advertising"),
        ("user-limit-factor",),
        ("minimum-user-limit-percent",),
        ("DefaultResourceCalculator",),
    ),
    "kueue-workshop": (
        ("2 flavors added up", "gpus:2"),
        ("named", "organization"),
        ("borrowingLimit",),
    ),
    "volcano-hierarchical-jobs": (("annotations", "spec.weight", "4"),),
    "yunikorn-core": (("partitions", "gpu"), ("limits of users", "2"), ("placement rules", "2")),
}


def imported(case: dict[str, Any], **options: Any) -> Imported:
    system = case["system"]
    system = system if system in SYSTEMS else "kubernetes"
    return read(system, [CLUSTERS / name for name in case["files"]], **options)


def amounts(entry: dict[str, Any]) -> dict[str, float]:
    """Return the amounts among the keys of an expected value."""
    known = ("cpus", "mem_mb", "disk_mb", "gpus")
    found = {name: x for name, x in entry.items() if name in known or "/" in name}
    return {NAMES.get(name, name).replace("/", "."): x for name, x in found.items() if x}


def check_amounts(found: dict[str, Any], wanted: dict[str, Any], n: int = 1) -> None:
    extra = ("tasks", "tasks_without_requests")
    assert {k for k, x in found.items() if k not in extra and x} == amounts(wanted).keys()
    for name, amount in amounts(wanted).items():
        tolerance = 0.0005 if name == "cpus" else 0.001 * n
        assert found[name] == pytest.approx(amount, abs=tolerance), name
    for key in extra:
        if key in wanted:
            assert found[key] == wanted[key], key


@pytest.mark.parametrize("name", CASES)
def test_right_values(name: str) -> None:
    case = CASES[name]
    found = imported(case, entitlements="none").to_json()
    check_machines(case, found)
    for path, wanted in case.get("roles", {}).items():
        check_role(found["roles"][path], wanted)
    if case.get("roles"):
        assert found["roles"].keys() == case["roles"].keys()
    running = case.get("running") or case.get("frameworks", {})
    if running:
        assert found["running"].keys() == running.keys()
    for key, wanted in running.items():
        check_amounts(found["running"][key], wanted, max(1, wanted["tasks"]))
    if "running_total" in case:
        n_tasks = case["running_total"]["tasks"]
        check_amounts(found["running_total"], case["running_total"], n_tasks)
    for key, wanted in case.get("unplaced", {}).items():
        check_amounts(found["unplaced"][key], wanted)
    for key, wanted in case.get("not_running", {}).items():
        assert found["not_running"][key] == wanted
    if "n_tenants" in case:
        assert len(found["running"]) == case["n_tenants"]


def check_machines(case: dict[str, Any], found: dict[str, Any]) -> None:
    wanted = case.get("machines", {})
    for key in wanted.keys() & {"count", "unusable", "why"}:
        assert found["machines"][key] == wanted[key]
    if "total" in case:
        total = {**case["total"], **{k: x for k, x in case.get("also", {}).items() if "/" in k}}
        check_amounts(found["total"], total, wanted["count"])
    for id, used in case.get("per_machine", {}).items():
        full = [one for one in found["per_machine"] if one.endswith(f"-{id}")]
        assert len(full) == 1
        check_amounts(found["per_machine"][full[0]], used, 100)


def check_role(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    if wanted["weight"]:
        assert found["weight"] == wanted["weight"]
    else:
        assert found["weight"] == 0.001  # a thousandth of the least weight, 1
    check_amounts(found["limit"], wanted.get("limit", {}))
    check_amounts(found["entitlement"], wanted.get("guaranteed", {}))
    assert found.get("state") == wanted.get("state")
    if "absolute_percent" in wanted:
        assert found["entitlement_percent"] == wanted["absolute_percent"]
    percent = found.get("limit_percent")
    if isinstance(percent, dict):
        check_amounts(percent, wanted["limit_percent"])
    else:
        assert percent == wanted.get("limit_percent")


@pytest.mark.parametrize("name", [name for name in TOLD if name in CASES])
def test_what_must_be_told(name: str) -> None:
    told = imported(CASES[name]).to_json()["told"]
    lines = [f"{t['count']} {t['kind']} {t['text']} {t['objects']}" for t in told]
    for words in TOLD[name]:
        assert any(all(word in line for word in words) for line in lines), (words, lines)


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(CLUSTERS)) for p in FILES])
def test_each_file_is_imported_or_refused_in_one_line(path: Path, tmp_path: Path) -> None:
    top = path.relative_to(CLUSTERS).parts[0]
    system = "kubernetes" if top in OF_KUBERNETES else top
    for name in (system,) if system in SYSTEMS else tuple(SYSTEMS):
        refusal = ""
        try:
            found = read(name, [path])
        except AllocatorError as error:
            refusal = str(error)
        if refusal:
            assert refusal.startswith(str(path))
            assert "\n" not in refusal
        else:
            assert name == system
            check_conserved(found)


def check_conserved(found: Imported) -> None:
    """What is placed, unplaced or asks for nothing is all that runs; a scenario of it loads."""
    held: dict[str, int] = {}
    for work in (*found.placement.placed, *found.placement.unplaced):
        for name, amount in work.demand.items():
            held[name] = held.get(name, 0) + amount * work.count
    runs: dict[str, int] = {}
    for work in found.running:
        for name, amount in work.demand.items():
            runs[name] = runs.get(name, 0) + amount * work.count
    n_tasks = sum(work.count for work in found.running)
    assert held.keys() == runs.keys()
    assert all(0 <= runs[name] - held[name] <= n_tasks for name in runs)
    if found.machines:
        assert isinstance(found.scenario(), Scenario)
        snapshot = found.snapshot()
        assert snapshot["agents"].keys() == found.machines.keys()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("mode", ["weight", "guarantee", "none"])
def test_each_case_runs_on_machines_of_another_scenario(name: str, mode: str) -> None:
    found = imported(CASES[name], entitlements=mode, cluster="8x cpus:64;mem:512000;gpus:8")
    assert found.machines
    check_conserved(found)


#: Dumps whose machines and work are known, together.
CLUSTERS_AS_THEY_STOOD = {
    "slurm/restd-24.05": "slurm",
    "slurm/restd-24.11": "slurm",
    "slurm/text-24.11": "slurm",
    "kubernetes/k8rs": "kubernetes",
    "kubernetes/pai": "kubernetes",
    "kubernetes/mig": "kubernetes",
    "mesos/ovh1-0.22": "mesos",
    "mesos/dcos-cassandra": "mesos",
    "mesos/mesos-dns-0.19": "mesos",
    "mesos/dcos-subscribe": "mesos",
    "yarn/rest/nodes.json": "yarn",
}


@pytest.mark.parametrize("name", CLUSTERS_AS_THEY_STOOD)
def test_a_scenario_that_was_written_loads_simulates_and_is_the_same(
    name: str, tmp_path: Path
) -> None:
    path = CLUSTERS / name
    files = [p for p in path.iterdir() if p.name != "table-pods.json"] if path.is_dir() else [path]
    found = read(CLUSTERS_AS_THEY_STOOD[name], sorted(files))
    write_folder(found, str(tmp_path))
    written = Scenario.load(tmp_path / "scenario.toml").setting()
    kept = found.scenario().setting()
    for part in ("machines", "inactive", "roles", "placed", "policy", "behaviours"):
        assert getattr(written, part) == getattr(kept, part)
    assert written.trace.jobs == kept.trace.jobs
    assert written.trace.tenants == kept.trace.tenants
    result = simulate(Scenario.load(tmp_path / "scenario.toml"))
    held: dict[str, int] = {}
    for work in (*found.placement.placed, *found.placement.found):
        for key, amount in work.demand.items():
            held[key] = held.get(key, 0) + amount * work.count
    for key, amount in held.items():
        assert round(result.use[key].peak * 1000) >= amount, key


@pytest.mark.parametrize("name", CASES)
def test_the_same_files_twice_count_once(name: str) -> None:
    case = CASES[name]
    twice = imported({**case, "files": [*case["files"], *case["files"]]}).to_json()
    once = imported(case).to_json()
    for key in once.keys() - {"told"}:
        assert twice[key] == once[key], key
