"""Importing what others write, odd and hostile: forms, traps, bounds."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.errors import InvalidValue
from allocator.sim.importers import DumpError, Imported, read
from allocator.sim.importers.amounts import milli, number, quantity
from allocator.sim.importers.kubernetes.requests import effective_request, plain_key
from allocator.sim.importers.names import Names
from allocator.sim.importers.slurm.hostlist import hosts, numbers
from allocator.sim.importers.slurm.words import gres, states, tres
from allocator.sim.importers.yarn.words import fair_resources

pytest.importorskip("yaml")
pytest.importorskip("defusedxml")

NODE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "n1"},
    "status": {"allocatable": {"cpu": "8", "memory": "16Gi"}},
}


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """Return what imports texts, each a file of its own."""

    def load(system: str, *contents: str | bytes, **options: Any) -> Imported:
        paths = []
        for index, content in enumerate(contents):
            path = tmp_path / f"dump-{index}"
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            paths.append(path)
        return read(system, paths, **options)

    return load


def told(found: Imported) -> str:
    return "\n".join(f"{t.count} {t.kind}: {t.text} {t.objects}" for t in found.told)


# Files.


def test_a_pipe_is_as_good_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    content = gzip.compress(b"\xef\xbb\xbf" + json.dumps(NODE).encode())
    writer = threading.Thread(target=path.write_bytes, args=(content,))
    writer.start()
    assert list(read("kubernetes", path).machines) == ["n1"]
    writer.join()


def test_folders_are_read_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("b", "a", ".hidden"):
        text = json.dumps({**NODE, "metadata": {"name": name}})
        (tmp_path / "in" / name).write_text(text, "utf-8")
    assert list(read("kubernetes", tmp_path).machines) == ["a", "b"]


def test_documents_of_each_form_hold_the_same(load: Any) -> None:
    other = {**NODE, "metadata": {"name": "n2"}}
    untyped = {key: value for key, value in NODE.items() if key != "kind"}
    forms = [
        json.dumps({"kind": "List", "items": [NODE, other]}),
        json.dumps({"items": [untyped, other], "kind": "NodeList"}),
        json.dumps([NODE, other]),
        json.dumps(NODE) + "\n" + json.dumps(other),
        "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n"
        "status: {allocatable: {cpu: 8, memory: 16Gi}}\n---\n---\n" + json.dumps(other),
    ]
    totals = [load("kubernetes", form).to_json()["total"] for form in forms]
    assert totals == [{"cpus": 16, "mem": 32768}] * len(forms)


def test_the_same_file_twice_counts_once(load: Any) -> None:
    text = json.dumps(NODE)
    found = load("kubernetes", text, text)
    assert found.to_json()["machines"]["count"] == 1
    assert "given more than once" in told(found)


@pytest.mark.parametrize("text", ["", "\n\n", "---\n", "{}", "[]", "words", "<a/>"])
def test_what_says_nothing_is_refused_by_name(load: Any, text: str) -> None:
    for system in ("kubernetes", "slurm", "yarn", "mesos"):
        with pytest.raises(DumpError, match="dump-0"):
            load(system, text)


def entity_bomb() -> str:
    lines = ['<!ENTITY a "aaaaaaaaaa">']
    for i in range(9):
        inner = f"&{chr(97 + i)};" * 10
        lines.append(f'<!ENTITY {chr(98 + i)} "{inner}">')
    return f"<?xml version='1.0'?><!DOCTYPE x [{''.join(lines)}]><allocations>&j;</allocations>"


def anchor_bomb() -> str:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for index in range(9):
        inner = f"*{chr(97 + index)}, " * 10
        lines.append(f"{chr(98 + index)}: &{chr(98 + index)} [{inner}]")
    return "\n".join(lines)


BOMBS = {
    "entities": ("yarn", entity_bomb()),
    "external entity": (
        "yarn",
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><allocations>&e;</allocations>',
    ),
    "anchors": ("kubernetes", anchor_bomb()),
    "an anchor within itself": ("kubernetes", "&a [*a]"),
    "deep JSON": ("kubernetes", '{"items": [' + '{"a":' * 100_000),
    "deep JSON of another": ("mesos", "[" * 100_000),
    "deep YAML": ("kubernetes", "[" * 10_000),
    "deep XML": ("yarn", "<allocations>" + "<queue name='a'>" * 2000 + "</queue>" * 2000),
    "deep XML, closed": (
        "yarn",
        "<allocations>" + "<queue name='a'>" * 2000 + "</queue>" * 2000 + "</allocations>",
    ),
    "a huge number": (
        "kubernetes",
        json.dumps(NODE).replace('"8"', "1e999999999"),
    ),
    "a number of many digits": ("kubernetes", json.dumps(NODE).replace('"8"', "9" * 5000)),
    "no number": (
        "mesos",
        '{"slaves": [{"id": "a", "resources": {"cpus": NaN}}], "frameworks": []}',
    ),
    "hosts without end": ("slurm", "ClusterName=c\nNodeName=n[1-999999999] CPUs=4"),
    "tasks without end": ("slurm", "JobID|State|Account\n1_[1-5,x]|PENDING|a\n"),
    "UTF-16": ("slurm", "NodeName=a CPUs=1".encode("utf-16")),
    "Latin-1": ("slurm", b"JobID|State\n1|RUNNING\xe9"),
    "half of a gzip": ("mesos", gzip.compress(b'{"slaves": []}' * 100)[:-12]),
}


@pytest.mark.parametrize("name", BOMBS)
def test_hostile_files_are_refused_in_one_line(load: Any, name: str) -> None:
    system, content = BOMBS[name]
    with pytest.raises(DumpError) as caught:
        load(system, content)
    assert "dump-0" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("system", ["kubernetes", "slurm", "yarn", "mesos"])
def test_truncated_json_is_refused_with_its_line(load: Any, system: str) -> None:
    text = json.dumps({"items": [NODE], "nodes": [NODE]}, indent=1)
    with pytest.raises(DumpError, match=r"line \d+"):
        load(system, text[: len(text) // 2])


def test_two_clusters_at_once_are_refused(load: Any) -> None:
    other = json.dumps(NODE).replace("16Gi", "32Gi")
    with pytest.raises(DumpError, match=r"dump-1.*'n1' is given twice"):
        load("kubernetes", json.dumps(NODE), other)
    with pytest.raises(DumpError, match="'a' is given twice"):
        load("slurm", "NodeName=a CPUTot=4 State=IDLE", "NodeName=a CPUTot=8 State=IDLE")
    agents = '{"slaves": [{"id": "a", "resources": {"cpus": %d}}]}'
    with pytest.raises(DumpError, match="'a' is given twice"):
        load("mesos", agents % 1, agents % 2)


def test_a_table_made_for_print_is_refused(load: Any) -> None:
    with pytest.raises(DumpError, match="Table"):
        load("kubernetes", json.dumps({"kind": "Table", "rows": []}))


def test_files_of_another_kind_are_told_beside_good_ones(load: Any) -> None:
    for other in ('{"slaves": []}', "# Notes\n\n* a: [b\n\tc: d", ""):
        found = load("kubernetes", json.dumps(NODE), other)
        assert "dump-1" in told(found)


# Amounts and names.


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100m", Fraction(1, 10)),
        ("1n", Fraction(1, 10**9)),
        ("1.5Gi", Fraction(3 * 2**29)),
        ("1E", Fraction(10**18)),
        ("1E3", Fraction(1000)),
        ("1e-3", Fraction(1, 1000)),
        (".5", Fraction(1, 2)),
        ("2.", Fraction(2)),
        (4, Fraction(4)),
    ],
)
def test_quantities(text: Any, value: Fraction) -> None:
    assert quantity(text) == value


@pytest.mark.parametrize("text", ["", "1K", "1 Gi", "Gi", "1ee3", "0x10", "1_000", "12:30", True])
def test_what_is_no_quantity(text: Any) -> None:
    with pytest.raises(InvalidValue):
        quantity(text)


@given(st.fractions(min_value=0, max_value=10**9))
def test_amounts_are_rounded_half_up(value: Fraction) -> None:
    assert 0 <= (milli(value) - value * 1000) + Fraction(1, 2) <= 1


@given(st.lists(st.text(min_size=1), min_size=1, max_size=3))
def test_any_name_becomes_a_role(parts: list[str]) -> None:
    names = Names()
    role = names.role(tuple(parts))
    assert role.count("/") == len(parts) - 1 or parts == ["*"]
    assert names.role(tuple(parts)) == role


def test_two_names_that_would_be_one_are_refused_with_both(load: Any) -> None:
    text = (
        "{apiVersion: scheduling.run.ai/v2, kind: Queue, metadata: {name: 'a b'}}\n---\n"
        "{apiVersion: scheduling.run.ai/v2, kind: Queue, metadata: {name: 'a%20b'}}\n"
    )
    with pytest.raises(InvalidValue, match=r"'a b' and 'a%20b'"):
        load("kubernetes", text)


def test_numbers_keep_every_digit() -> None:
    assert number("88.5100000000053") * 10**13 == 885100000000053
    assert number("1.17950094136177e-12") > 0
    assert milli(number("1.17950094136177e-12")) == 0


# Kubernetes.


def pod(name: str = "p", **spec: Any) -> str:
    return json.dumps({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name}, "spec": spec})


def container(cpu: str, **more: Any) -> dict[str, Any]:
    return {"name": cpu, "resources": {"requests": {"cpu": cpu}}, **more}


def test_the_effective_request_counts_what_runs_together(load: Any) -> None:
    spec = {
        "nodeName": "n1",
        "containers": [container("1"), container("500m")],
        "initContainers": [
            container("200m", restartPolicy="Always"),
            container("3"),
            container("100m", restartPolicy="Always"),
        ],
        "overhead": {"cpu": "10m"},
    }
    found = load("kubernetes", json.dumps(NODE), pod(**spec))
    # at most 3 + the sidecar before it, or 1.5 + both sidecars; and the overhead
    assert found.to_json()["per_machine"] == {"n1": {"cpus": 3.21}}


def test_a_limit_without_a_request_is_one_and_the_pods_own_replaces_the_sum(load: Any) -> None:
    limited = {"name": "c", "resources": {"limits": {"cpu": "2", "memory": "1Gi"}}}
    whole = {"requests": {"cpu": "1"}}
    found = load("kubernetes", pod("a", nodeName="n", containers=[limited], resources=whole))
    assert found.to_json()["running_total"]["cpus"] == 1
    assert found.to_json()["running_total"]["mem"] == 1024


def test_use_beyond_a_machine_and_on_unknown_ones_is_placed_elsewhere(load: Any) -> None:
    nodes = [json.dumps({**NODE, "metadata": {"name": f"n{i}"}}) for i in (1, 2)]
    pods = [
        pod("a", nodeName="n1", containers=[container("6")]),
        pod("b", nodeName="n1", containers=[container("4")]),
        pod("c", nodeName="gone", containers=[container("3")]),
        pod("d", nodeName="gone", containers=[container("5")]),
    ]
    found = load("kubernetes", *nodes, *pods)
    assert found.to_json()["unplaced"] == {"default": {"cpus": 12}}
    assert [(w.machine, w.demand["cpus"]) for w in found.placement.found] == [
        ("n2", 4000),
        ("n2", 3000),
    ]
    assert [w.demand["cpus"] for w in found.placement.unfit] == [5000]
    assert "there is no room" in told(found)
    setting = found.scenario().setting()
    assert sum(p.demand.milli["cpus"] for p in setting.placed) == 18_000


def test_a_machine_that_is_full_in_the_source_is_full(load: Any) -> None:
    memory = {"requests": {"memory": "1048577"}}  # 1.00000095 MiB: up by less than a thousandth
    small = json.dumps(NODE).replace("16Gi", str(3 * 1048577))
    pods = [
        pod(str(i), nodeName="n1", containers=[{"name": "c", "resources": memory}]) for i in "abc"
    ]
    found = load("kubernetes", small, *pods)
    assert found.to_json()["unplaced"] == {}
    odd = json.dumps(NODE).replace("16Gi", "1048000")  # 0.99945 MiB, 3 of a third each
    third = {"requests": {"memory": str(1048000 // 3)}}
    pods = [
        pod(str(i), nodeName="n1", containers=[{"name": "c", "resources": third}]) for i in "abc"
    ]
    assert load("kubernetes", odd, *pods).to_json()["unplaced"] == {}


def test_quota_of_a_name_space_is_the_smallest(load: Any) -> None:
    text = "".join(
        f"---\nkind: ResourceQuota\napiVersion: v1\nmetadata: {{name: q{i}, namespace: a}}\n"
        f"spec: {{hard: {{requests.cpu: {cpu}, pods: 3}}{more}}}\n"
        for i, cpu, more in ((1, 4, ""), (2, 2, ""), (3, 1, ", scopes: [BestEffort]"))
    )
    found = load("kubernetes", text)
    assert found.to_json()["roles"]["a"]["limit"] == {"cpus": 2}
    assert "quotas with scopes" in told(found)


KUEUE = """
apiVersion: kueue.x-k8s.io/v1beta2
kind: Cohort
metadata: {name: org}
spec:
  resourceGroups:
  - coveredResources: [cpu]
    flavors: [{name: any, resources: [{name: cpu, nominalQuota: 10}]}]
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ClusterQueue
metadata: {name: a}
spec:
  cohortName: org
  resourceGroups:
  - coveredResources: [cpu]
    flavors:
    - name: any
      resources: [{name: cpu, nominalQuota: 20, borrowingLimit: 5, lendingLimit: 12}]
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ClusterQueue
metadata: {name: b}
spec:
  cohortName: org
  fairSharing: {weight: "0.5"}
  resourceGroups:
  - coveredResources: [cpu]
    flavors: [{name: any, resources: [{name: cpu, nominalQuota: 10}]}]
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ClusterQueue
metadata: {name: alone}
spec:
  resourceGroups:
  - coveredResources: [cpu]
    flavors: [{name: any, resources: [{name: cpu, nominalQuota: 7}]}]
"""


def test_kueue(load: Any) -> None:
    roles = load("kubernetes", KUEUE).to_json()["roles"]
    assert roles["org"]["entitlement"] == {"cpus": 40}
    assert roles["org/a"]["limit"] == {"cpus": 25}
    assert roles["org/a"]["guarantee"] == {"cpus": 8}
    assert roles["org/b"]["limit"] == {}
    assert roles["alone"]["limit"] == {"cpus": 7}
    assert (roles["org/a"]["weight"], roles["org/b"]["weight"]) == (2, 1)
    own = load("kubernetes", KUEUE, entitlements="none").to_json()["roles"]
    assert (own["org/a"]["weight"], own["org/b"]["weight"]) == (1, 0.5)
    hard = load("kubernetes", KUEUE, entitlements="guarantee").to_json()["roles"]
    assert [hard[p]["guarantee"]["cpus"] for p in ("org", "org/a", "org/b", "alone")] == [
        *(40, 20, 10),
        7,
    ]


def test_guarantees_are_cut_to_the_cluster(load: Any) -> None:
    found = load("kubernetes", KUEUE, entitlements="guarantee", cluster="2x cpus:10")
    roles = found.to_json()["roles"]
    assert roles["org"]["guarantee"]["cpus"] + roles["alone"]["guarantee"]["cpus"] <= 20
    assert "cut to the 20" in told(found)
    assert found.scenario().setting().roles["org"].guarantee.milli["cpus"] > 0
    found.snapshot()


VOLCANO = """
apiVersion: scheduling.volcano.sh/v1beta1
kind: Queue
metadata: {name: %s, annotations: {volcano.sh/hierarchy: %s, volcano.sh/hierarchy-weights: %s}}
"""


def test_volcano_weights_of_an_inner_node_must_agree(load: Any) -> None:
    text = VOLCANO % ("a", "root/eng/a", "1/2/3") + "---" + VOLCANO % ("b", "root/eng/b", "1/5/3")
    with pytest.raises(DumpError, match=r"'a' and 'b'"):
        load("kubernetes", text)
    orphan = "apiVersion: scheduling.volcano.sh/v1beta1\nkind: Queue\n"
    with pytest.raises(DumpError, match="'nobody' is not there"):
        load("kubernetes", orphan + "metadata: {name: a}\nspec: {parent: nobody}\n")


def test_kai_units_and_limits(load: Any) -> None:
    text = """
apiVersion: scheduling.run.ai/v2
kind: Queue
metadata: {name: a}
spec:
  resources:
    cpu: {quota: 1500, limit: -1, overQuotaWeight: 3}
    memory: {quota: 1000}
    gpu: {quota: -1, limit: 4, overQuotaWeight: 2}
"""
    role = load("kubernetes", text, entitlements="none").to_json()["roles"]["a"]
    assert role["weight"] == 2
    assert role["entitlement"] == {"cpus": 1.5, "mem": 953.674}
    assert role["limit"] == {"gpus": 4, "mem": 953.674}


# Slurm.


def test_host_lists() -> None:
    assert hosts("c[1-2,09-11],d") == ["c1", "c2", "c09", "c10", "c11", "d"]
    assert hosts("r[1-2]n[1-2]-ib") == ["r1n1-ib", "r1n2-ib", "r2n1-ib", "r2n2-ib"]
    assert hosts("(null)") == []
    for text in ("a[1-2", "a]1[", "a[3-1]", "a,,b", "a[1-99999999]"):
        with pytest.raises(InvalidValue):
            hosts(text)
    assert numbers("[4-9%2]") == 6


def test_slurm_words() -> None:
    assert tres("cpu=2,mem=1.5G,gres/gpu=3,gres/gpu:a100=1,gres/gpu:1g.5gb=2")["gpus"] == 1
    assert gres("gpu:tesla(S:0,1):2")[0] == {"gpus": 2}
    assert states("mix-") == ["MIXED", "PLANNED"]
    assert states("idle", ["DRAIN"]) == ["IDLE", "DRAIN"]


JOB = """JobId=7 JobName=a b
   UserId=ann(1000) Account=bio JobState=RUNNING Reason=None
   NumNodes=2 NumCPUs=6 Partition=batch NodeList=n[1-2] OverSubscribe=OK
   AllocTRES=cpu=6,mem=6G,node=2,gres/gpu=2
     Nodes=n1 CPU_IDs=0-3 Mem=4096 GRES=gpu:a:1(IDX:0)
     Nodes=n2 CPU_IDs=0,2 Mem=2048 GRES=gpu:a:1(IDX:1)

JobId=8 ArrayJobId=8 ArrayTaskId=1-10%2 UserId=bob(7) Account=bio JobState=PENDING
   NumNodes=1 NumCPUs=1 ReqTRES=cpu=1,mem=1G,node=1
"""
NODES = "\n".join(
    f"NodeName=n{i} CPUEfctv=8 CPUTot=8 RealMemory=9000 MemSpecLimit=808 Gres=gpu:a:2 State={s}"
    for i, s in ((1, "MIXED"), (2, "MIXED+DRAIN"), (3, "DOWN*"), (4, "IDLE+DRAIN"))
)
SHARES = """Account|User|RawShares|NormShares|RawUsage|NormUsage|FairShare
root|||1|0||
 bio||3|||0|
  bio|ann|2|||0|
  bio|bob|parent|||0|
"""


def test_slurm_text_forms_together(load: Any) -> None:
    found = load("slurm", JOB, NODES, SHARES)
    value = found.to_json()
    assert value["total"] == {"cpus": 32, "gpus": 8, "mem": 32768}
    assert value["per_machine"] == {
        "n1": {"cpus": 4, "gpus": 1, "mem": 4096},
        "n2": {"cpus": 2, "gpus": 1, "mem": 2048},
    }
    assert value["running"]["bio/ann"]["tasks"] == 1
    assert value["waiting"] == {"bio": {"tasks": 10, "cpus": 10, "mem": 10240}}
    assert (value["roles"]["bio"]["weight"], value["roles"]["bio/ann"]["weight"]) == (3, 2)
    assert "bio/bob" not in value["roles"]
    assert set(found.machines) == {"n1", "n2", "n4"}
    assert found.inactive == {"n2", "n4"}
    assert value["machines"]["unusable"] == 3


def test_sacctmgr_and_sacct(load: Any) -> None:
    tree = (
        "Cluster|Account|User|Share|GrpTRES|ParentName\n"
        "c|root||1||\nc|sci||1||root\nc|bio||4|cpu=10,mem=1T,gres/gpu=2|sci\nc|bio|ann|3||\n"
    )
    rows = (
        "JobID|User|Account|State|NNodes|ReqCPUS|ReqMem|AllocTRES|NodeList\n"
        "1|ann|bio|RUNNING|2|4|3000Mc||n[1-2]\n"
        "1.batch|||RUNNING|1|2||cpu=2|n1\n"
        "2_[1-3]|ann|bio|PENDING|1|1|500Mn||None assigned\n"
        "3|ann|bio|CANCELLED by 7|1|1|1G||None assigned\n"
        "4+1|ann|bio|SUSPENDED|1|2||cpu=2,mem=2G|n1\n"
    )
    value = load("slurm", tree, rows).to_json()
    assert value["roles"]["sci/bio"]["weight"] == 4
    assert value["roles"]["sci/bio"]["limit"] == {"cpus": 10, "gpus": 2, "mem": 1048576}
    assert value["running"]["sci/bio/ann"] == {
        "tasks": 2,
        "tasks_without_requests": 0,
        "cpus": 4,
        "mem": 12000 + 2048,
    }
    assert value["per_machine"]["n2"] == {"cpus": 2, "mem": 6000}
    assert value["waiting"] == {"sci/bio/ann": {"tasks": 3, "cpus": 3, "mem": 1500}}
    assert value["not_running"] == {"pending": 1, "finished": 1}


def test_slurm_conf(load: Any) -> None:
    text = (
        "ClusterName=c\nPriorityType=priority/multifactor\nPriorityDecayHalfLife=7-0\n"
        "NodeName=DEFAULT Sockets=2 CoresPerSocket=4 ThreadsPerCore=2 RealMemory=1000\n"
        "NodeName=n[01-03] # a comment\nNodeName=g1 CPUs=4 \\\n  Gres=gpu:a100:2 State=DRAIN\n"
        "PartitionName=p Nodes=n[01-02] Default=YES\n"
    )
    found = load("slurm", text)
    assert found.to_json()["total"] == {"cpus": 52, "gpus": 2, "mem": 4000}
    assert "PriorityDecayHalfLife 7-0" in told(found)
    assert list(load("slurm", text, partition="p").machines) == ["n01", "n02"]


# YARN.


def capacity(**properties: str) -> str:
    body = "".join(
        f"<property><name>yarn.scheduler.capacity.{key.replace('__', '.')}</name>"
        f"<value> {value} </value></property>"
        for key, value in properties.items()
    )
    return f"<configuration>{body}</configuration>"


def test_capacity_amounts_and_mixed_vectors(load: Any) -> None:
    text = capacity(
        root__queues="a,b,c",
        root__a__capacity="[memory=1024,vcores=4]",
        root__b__capacity="[memory=50%,vcores=25%]",
        root__c__capacity="[memory=1w,vcores=3w]",
    )
    with pytest.raises(DumpError, match="--cluster"):
        load("yarn", text)
    roles = load("yarn", text, cluster="2x cpus:10;mem:2048").to_json()["roles"]
    assert roles["a"]["entitlement"] == {"cpus": 4, "mem": 1024}
    assert roles["b"]["entitlement"] == {"cpus": 4, "mem": 1536}
    assert roles["c"]["entitlement"] == {"cpus": 12, "mem": 1536}


def test_maximum_capacity_is_a_product_down_the_path(load: Any) -> None:
    text = capacity(
        root__queues="a",
        root__a__queues="b",
        root__a__capacity="100",
        root__a__b__capacity="100",
        **{"root__a__maximum-capacity": "50", "root__a__b__maximum-capacity": "50"},
    )
    roles = load("yarn", text, cluster="4x cpus:10;mem:1000").to_json()["roles"]
    assert roles["a/b"]["limit_percent"] == 25
    assert roles["a/b"]["limit"] == {"cpus": 10, "mem": 1000}


@pytest.mark.parametrize(
    ("text", "amounts", "percent"),
    [
        ("1024 mb, 2 vcores", {"mem": 1024, "cpus": 2}, None),
        ("25.5%", {}, Fraction(51, 2)),
        ("10% cpu, 20% memory", {}, {"cpus": 10, "mem": 20}),
        ("vcores=3, memory-mb=10%", {"cpus": 3}, {"mem": 10}),
    ],
)
def test_resources_of_the_fair_scheduler(text: str, amounts: Any, percent: Any) -> None:
    assert fair_resources(text) == (amounts, percent)


def test_applications_without_machines_are_unplaced(load: Any) -> None:
    apps = {
        "apps": {
            "app": {
                "id": "a1",
                "state": "RUNNING",
                "queue": "default",
                "user": "ann",
                "allocatedMB": 3000,
                "allocatedVCores": 3,
                "runningContainers": 3,
            }
        }
    }
    nodes = {
        "nodes": {
            "node": [
                {
                    "id": f"h{i}:1",
                    "state": state,
                    "availMemoryMB": 4096,
                    "availableVirtualCores": 4,
                    "usedMemoryMB": 0,
                    "usedVirtualCores": 0,
                }
                for i, state in enumerate(("RUNNING", "LOST", "DECOMMISSIONING"))
            ]
        }
    }
    queues = capacity(root__queues="default", root__default__capacity="40")
    found = load("yarn", json.dumps(apps), json.dumps(nodes), queues, user_limits=True)
    value = found.to_json()
    assert value["unplaced"] == {"default/ann": {"cpus": 3, "mem": 3000}}
    assert value["running"]["default/ann"]["tasks"] == 3
    assert list(found.machines) == ["h0:1", "h2:1"]
    # 40 % of what stays, for the queue and with factor 1 for each user
    assert value["roles"]["default/ann"]["limit"] == {"cpus": 3.2, "mem": 3276.8}


# Mesos.


STATE: dict[str, Any] = {
    "slaves": [
        {
            "id": "S0",
            "resources": {"cpus": 8, "mem": 1000, "ports": "[1-10]"},
            "reserved_resources": {"eng": {"cpus": 2}},
            "active": True,
        }
    ],
    "frameworks": [
        {
            "id": "F0",
            "name": "x y",
            "roles": ["eng", "sci"],
            "suppressed_roles": ["eng"],
            "tasks": [
                {
                    "id": "t",
                    "slave_id": "S0",
                    "state": "TASK_RUNNING",
                    "role": "eng",
                    "resources": {"cpus": 3.0000000000001, "mem": 10, "ports": "[1-2, 3-3]"},
                }
            ],
            "executors": [
                {"executor_id": "e", "slave_id": "S0", "resources": {"cpus": 0.1, "mem": 32}}
            ],
            "used_resources": {"cpus": 3.1, "mem": 42},
        }
    ],
}
ROLES = '{"roles": [{"name": "eng", "weight": 2, "quota": {"limit": {"cpus": 0}}}]}'


def test_mesos(load: Any) -> None:
    found = load("mesos", json.dumps(STATE), ROLES)
    value = found.to_json()
    assert value["per_machine"] == {"S0": {"cpus": 3.1, "mem": 42}}
    assert value["unplaced"] == {}
    assert value["roles"]["eng"] == {
        "weight": 2,
        "guarantee": {},
        "limit": {"cpus": 0},
        "entitlement": {},
    }
    snapshot = found.snapshot()
    agent = snapshot["agents"]["S0"]
    assert "cpus(eng):2" in agent["resources"]
    held = {h["role"]: h["allocated"] for h in agent["holdings"]}
    assert "cpus(eng):2" in held["eng"]
    assert "ports:[1-3]" in held["eng"]
    assert snapshot["frameworks"]["x y"]["roles"] == ["eng", "sci"]
    assert {t.name for t in found.tenants.values()} == {"x y in eng", "x y in sci"}


def variants() -> Iterator[str]:
    text = json.dumps(STATE)
    for old in ("8", "3.0000000000001", '"S0"', '"TASK_RUNNING"', "1000", '"[1-10]"', "0.1"):
        for new in ("null", "-1", '"x"', "[]", "{}", "true", "1e40", '""', "99999999999999999999"):
            yield text.replace(old, new, 1)


@pytest.mark.parametrize("text", list(variants()))
def test_odd_values_are_imported_or_refused_in_one_line(load: Any, text: str) -> None:
    try:
        found = load("mesos", text)
        if found.machines:
            found.snapshot()
            found.scenario()
    except InvalidValue as error:
        refusal = str(error)
    else:
        refusal = "imported"
    assert "\n" not in refusal


@given(
    st.lists(
        st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    part: st.dictionaries(
                        st.sampled_from(["cpu", "memory", "nvidia.com/gpu"]),
                        st.sampled_from(["1", "250m", "1Gi", "0", 2]),
                    )
                    for part in ("requests", "limits")
                },
            ),
            max_size=3,
        ),
        max_size=6,
    )
)
def test_equal_pods_are_read_once_as_if_each_were(pods: list[list[dict[str, Any]]]) -> None:
    specs = [{"containers": [{"name": "c", "resources": r} for r in pod]} for pod in pods]
    keys = [plain_key(spec, {}) for spec in specs]
    wanted = [effective_request(spec) for spec in specs]
    for key, request in zip(keys, wanted, strict=True):
        same = [w for k, w in zip(keys, wanted, strict=True) if k == key]
        assert all(other == request for other in same)
    assert None not in keys
    assert plain_key({"initContainers": [{"name": "i"}]}, {}) is None
