"""Imports held to the contract of each system, on small dumps in the systems' own words."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.cli.main import main
from allocator.engine import Allocator
from allocator.resources import Quantities
from allocator.sim import simulate
from allocator.sim.fit import fit, text_of
from allocator.sim.importers import DumpError, Imported, read
from allocator.sim.importers.names import Names
from allocator.sim.importers.policy import ENTITLEMENTS
from allocator.sim.importers.policy import roles_of as roles_of_source
from allocator.sim.importers.source import Queue, Source
from allocator.sim.scenario import ScenarioError
from allocator.sim.scenario.dump import dump_from
from tests.simulation.test_importers import capacity

pytest.importorskip("yaml")
pytest.importorskip("defusedxml")

Json = dict[str, Any]


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """Return what imports texts and objects, each a file of its own."""

    def load(system: str, *contents: str | Json, **options: Any) -> Imported:
        paths = []
        for index, content in enumerate(contents):
            path = tmp_path / f"dump-{index}"
            path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
            paths.append(path)
        return read(system, paths, **options)

    return load


def told(found: Imported) -> str:
    return "\n".join(f"{t.count} {t.kind}: {t.text} {t.objects}" for t in found.told)


# Kubernetes.


def listed(*items: Json) -> Json:
    return {"apiVersion": "v1", "kind": "List", "items": list(items)}


def made(group: str, kind: str, name: str, **own: Any) -> Json:
    metadata = {"name": name, **own.pop("metadata", {})}
    return {"apiVersion": group, "kind": kind, "metadata": metadata, **own}


def node(name: str, **amounts: str) -> Json:
    ready = [{"type": "Ready", "status": "True"}]
    return made("v1", "Node", name, status={"allocatable": amounts, "conditions": ready})


def pod(name: str, cpu: str, machine: str | None = None, **metadata: Any) -> Json:
    spec: Json = {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}
    if machine:
        spec["nodeName"] = machine
    phase = "Running" if machine else "Pending"
    metadata = {"namespace": "team", **metadata}
    return made("v1", "Pod", name, metadata=metadata, spec=spec, status={"phase": phase})


def resource_quota(name: str, namespace: str, **hard: str) -> Json:
    hard = {key.replace("__", "/").replace("_", "."): value for key, value in hard.items()}
    metadata = {"namespace": namespace}
    return made("v1", "ResourceQuota", name, metadata=metadata, spec={"hard": hard})


def cluster_queue(name: str, cohort: str = "", **quota: Any) -> Json:
    resource = {"name": "cpu", **quota}
    group = {"coveredResources": ["cpu"], "flavors": [{"name": "f", "resources": [resource]}]}
    spec: Json = {"resourceGroups": [group], **({"cohort": cohort} if cohort else {})}
    return made("kueue.x-k8s.io/v1beta1", "ClusterQueue", name, spec=spec)


def local_queue(name: str, queue: str) -> Json:
    metadata = {"namespace": "team"}
    spec = {"clusterQueue": queue}
    return made("kueue.x-k8s.io/v1beta1", "LocalQueue", name, metadata=metadata, spec=spec)


def owned_by(kind: str, name: str) -> Json:
    return {"ownerReferences": [{"kind": kind, "name": name, "controller": True}]}


def job(name: str, metadata: Json, parallelism: int = 3) -> Json:
    template = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}}
    metadata = {"namespace": "team", **metadata}
    spec = {"parallelism": parallelism, "template": template}
    return made("batch/v1", "Job", name, metadata=metadata, spec=spec)


def workload(name: str, count: int = 3, metadata: Json | None = None, **status: Any) -> Json:
    template = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}}
    spec = {"queueName": "lq", "podSets": [{"name": "main", "count": count, "template": template}]}
    metadata = {"namespace": "team", **(metadata or {})}
    group = "kueue.x-k8s.io/v1beta1"
    return made(group, "Workload", name, metadata=metadata, spec=spec, status=status)


def admitted(queue: str, count: int = 3) -> Json:
    usage = {"name": "main", "count": count, "resourceUsage": {"cpu": str(2 * count)}}
    return {"clusterQueue": queue, "podSetAssignments": [usage]}


def roles_of(found: Imported, key: str) -> Json:
    return {path: role[key] for path, role in found.to_json()["roles"].items() if role[key]}


def test_machines_of_one_name_in_two_clusters_are_told_apart(load: Any) -> None:
    machines = [node("n", cpu="8"), node("n", cpu="8")]
    assert load("kubernetes", *machines).to_json()["machines"]["count"] == 1
    for index, machine in enumerate(machines):
        machine["metadata"]["uid"] = f"uid-{index}"
    with pytest.raises(DumpError, match="dump-1: machine 'n' is given twice"):
        load("kubernetes", *machines)


def test_of_several_quotas_the_least_of_each_name_binds(load: Any) -> None:
    found = load(
        "kubernetes",
        listed(
            resource_quota("a", "team", cpu="5", requests_cpu="6", requests_nvidia_com__gpu="2"),
            resource_quota("b", "team", requests_amd_com__gpu="1", requests_nvidia_com__gpu="4"),
        ),
    )
    assert found.to_json()["roles"]["team"]["limit"] == {"cpus": 5, "gpus": 3}


def test_quotas_of_name_spaces_whose_pods_have_other_roles_are_told(load: Any) -> None:
    dump = listed(
        node("n", cpu="8"),
        resource_quota("a", "team", cpu="5"),
        pod("p", "1", "n", labels={"own": "red"}),
    )
    found = load("kubernetes", dump, role_label="own")
    assert set(found.roles) == {"team", "red"}
    assert "quotas of name spaces, whose pods have the roles of their labels instead" in told(found)


def test_preemption_policies_of_pods_are_counted(load: Any) -> None:
    never = pod("p", "1", "n")
    never["spec"]["preemptionPolicy"] = "Never"
    text = told(load("kubernetes", listed(node("n", cpu="8"), never, pod("q", "1", "n"))))
    assert "1 not modelled: preemption policies of pods" in text


def test_entitlements_above_the_cluster_are_cut_to_it_before_they_are_guarantees(load: Any) -> None:
    queues = [
        cluster_queue("a", "c", nominalQuota="1000000000"),
        cluster_queue("b", "c", nominalQuota="50"),
    ]
    found = load("kubernetes", listed(node("n", cpu="200"), *queues), entitlements="guarantee")
    assert roles_of(found, "guarantee") == {"c/a": {"cpus": 160}, "c/b": {"cpus": 40}}


AMOUNTS = st.dictionaries(
    st.sampled_from(("cpus", "mem")), st.integers(0, 40).map(Fraction), max_size=2
)
PATHS = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map(tuple)
QUEUES = st.dictionaries(PATHS, st.tuples(AMOUNTS, AMOUNTS, AMOUNTS), min_size=1, max_size=8)


@given(QUEUES, st.integers(5, 80), st.integers(5, 80))
def test_whatever_queues_say_their_guarantees_fit_and_hard_ones_stay(
    queues: dict[tuple[str, ...], tuple[Any, Any, Any]], cpus: int, mem: int
) -> None:
    total = {"cpus": cpus * 1000, "mem": mem * 1000}
    guarantees: dict[str, dict[str, dict[str, int]]] = {}
    for mode in ENTITLEMENTS:
        source = Source("kubernetes")
        for path, (soft, hard, limit) in queues.items():
            amounts = {"entitlement": dict(soft), "guarantee": dict(hard), "limit": dict(limit)}
            source.queues[path] = Queue(path, **amounts)
        roles = roles_of_source(source, Names(), mode, total)
        engine = Allocator()
        engine.set_quotas(
            {
                path: {"guarantee": Quantities.from_milli(role.guarantee), "limit": limit}
                for path, role in roles.items()
                for limit in [Quantities.from_milli(role.limit)]
            }
        )
        guarantees[mode] = {path: role.guarantee for path, role in roles.items()}
        for name, whole in total.items():
            tops = [path for path in roles if "/" not in path]
            assert sum(together(guarantees[mode], path, name) for path in tops) <= whole
    assert guarantees["weight"] == guarantees["none"]
    for path, held in guarantees["weight"].items():
        for name, amount in held.items():
            assert guarantees["guarantee"][path].get(name, 0) >= amount


def together(guarantees: dict[str, dict[str, int]], path: str, name: str) -> int:
    """Return what is guaranteed in a subtree."""
    below = [own for own in guarantees if own.rpartition("/")[0] == path]
    inner = sum(together(guarantees, own, name) for own in below)
    return max(guarantees[path].get(name, 0), inner)


def test_soft_guarantees_give_way_to_hard_ones(load: Any) -> None:
    queues = [
        cluster_queue("a", "c", nominalQuota="200"),
        cluster_queue("b", "c", nominalQuota="60", lendingLimit="10"),
    ]
    for mode, guarantees in {
        "weight": {"c/b": {"cpus": 50}},
        "none": {"c/b": {"cpus": 50}},
        # of 150 beside the 50 that are hard, 200 and 10 are wanted
        "guarantee": {"c/a": {"cpus": 142.857}, "c/b": {"cpus": 57.142}},
    }.items():
        found = load("kubernetes", listed(node("n", cpu="200"), *queues), entitlements=mode)
        assert roles_of(found, "guarantee") == guarantees


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {"kueue.x-k8s.io/queue-name": "lq"}},
        {"labels": {"kueue.x-k8s.io/local-queue-name": "lq"}},
        {"labels": {"kueue.x-k8s.io/cluster-queue-name": "a"}},
        {"annotations": {"kueue.x-k8s.io/workload": "w"}},
        owned_by("Job", "j"),
        owned_by("Job", "j-of-set"),
        owned_by("Job", "labelled"),
    ],
    ids=["label", "local queue", "cluster queue", "workload", "job", "job of a set", "its label"],
)
def test_pods_of_kueue_are_known_by_all_that_leads_to_their_queue(
    load: Any, metadata: Json
) -> None:
    dump = listed(
        node("n", cpu="8"),
        cluster_queue("a", "c", nominalQuota="4"),
        local_queue("lq", "a"),
        workload("w", metadata=owned_by("Job", "j"), admission=admitted("a")),
        workload("ws", metadata=owned_by("JobSet", "s"), admission=admitted("a")),
        job("j", {}),
        job("j-of-set", owned_by("JobSet", "s")),
        job("labelled", {"labels": {"kueue.x-k8s.io/queue-name": "lq"}}),
        pod("p", "1", "n", **metadata),
    )
    running = load("kubernetes", dump).to_json()["running"]
    assert running == {"c/a": {"tasks": 1, "tasks_without_requests": 0, "cpus": 1}}


def test_workloads_are_known_by_the_queue_that_admitted_them(load: Any) -> None:
    dump = [node("n", cpu="8"), cluster_queue("a", "c", nominalQuota="4")]
    found = load("kubernetes", listed(*dump, workload("w", admission=admitted("a")))).to_json()
    assert found["running"]["c/a"] == {"tasks": 3, "tasks_without_requests": 0, "cpus": 6}
    assert found["unplaced"] == {"team/lq": {"cpus": 6}}


@pytest.mark.parametrize("key", ["nominalQuota", "borrowingLimit", "lendingLimit"])
def test_negative_quotas_are_refused(load: Any, key: str) -> None:
    with pytest.raises(DumpError, match="dump-0: '-1' is negative"):
        load("kubernetes", cluster_queue("q", "c", **{"nominalQuota": "4", key: "-1"}))


def test_pods_that_workloads_gave_back_hold_nothing(load: Any) -> None:
    given = [{"name": "main", "count": 1}]
    found = load(
        "kubernetes",
        listed(
            cluster_queue("a", "c", nominalQuota="4"),
            workload("w", admission=admitted("a"), reclaimablePods=given),
        ),
    )
    assert found.to_json()["running_total"]["cpus"] == 4


def test_deactivated_workloads_do_not_wait(load: Any) -> None:
    idle = workload("w")
    idle["spec"]["active"] = False
    queues = [cluster_queue("a", "c", nominalQuota="4"), local_queue("lq", "a")]
    found = load("kubernetes", listed(*queues, idle, workload("v")))
    assert found.to_json()["waiting"] == {"c/a": {"tasks": 3, "cpus": 6}}
    assert "1 not running: deactivated workloads of Kueue" in told(found)


def test_jobs_of_one_name_in_two_name_spaces_are_two(load: Any) -> None:
    other = job("j", {"namespace": "other"})
    found = load(
        "kubernetes",
        listed(
            cluster_queue("a", "c", nominalQuota="4"),
            local_queue("lq", "a"),
            workload("w", metadata=owned_by("Job", "j")),
            other,
        ),
    )
    assert {role: x["tasks"] for role, x in found.to_json()["waiting"].items()} == {
        "c/a": 3,
        "other": 3,
    }


def test_machines_carry_the_flavors_whose_labels_they_have(load: Any) -> None:
    machines = [node(name, cpu="8") for name in ("a", "b", "c")]
    for machine, gpu in zip(machines, ("h100", "a100"), strict=False):
        machine["metadata"]["labels"] = {"gpu": gpu, "other": "x"}
    flavors = [
        made("kueue.x-k8s.io/v1beta1", "ResourceFlavor", name, spec={"nodeLabels": labels})
        for name, labels in {"fast": {"gpu": "h100"}, "all": {}, "x": {"other": "x"}}.items()
    ]
    found = load("kubernetes", listed(*machines, *flavors))
    flavor_of = {id: node.attributes.get("flavor") for id, node in found.machines.items()}
    assert flavor_of == {"a": "fast,x", "b": "x", "c": None}


def without_kind(item: Json) -> Json:
    return {key: value for key, value in item.items() if key not in ("apiVersion", "kind")}


def test_lists_are_taken_apart_wherever_they_stand(load: Any) -> None:
    typed = {
        "apiVersion": "v1",
        "kind": "NodeList",
        "items": [without_kind(node("a", cpu="1"))],
    }
    other = listed(node("b", cpu="2"))
    for dump in (listed(typed, other), [typed, other]):
        text = json.dumps(dump)
        assert load("kubernetes", text).to_json()["total"] == {"cpus": 3}
    queues = {
        "apiVersion": "kueue.x-k8s.io/v1beta1",
        "kind": "ClusterQueueList",
        "items": [without_kind(cluster_queue("q", nominalQuota="4"))],
    }
    assert roles_of(load("kubernetes", queues), "limit") == {"q": {"cpus": 4}}


def test_what_has_a_phase_is_not_always_a_pod(load: Any) -> None:
    """A list that is sorted by keys says what its items are after them."""
    claim = {"phase": "Pending", "capacity": {"storage": "1Gi"}}
    others: list[Json] = [
        {"metadata": {"name": "x"}, "status": {"phase": "Active"}},
        {"metadata": {"name": "y"}, "spec": {"accessModes": []}, "status": claim},
    ]
    found = load("kubernetes", node("n", cpu="8"), {"apiVersion": "v1", "items": others})
    assert found.to_json()["not_running"] == {}
    assert list(found.machines) == ["n"]
    pods: list[Json] = [{"metadata": {"name": "p"}, "status": {"phase": "Running"}}]
    found = load("kubernetes", node("n", cpu="8"), {"apiVersion": "v1", "items": pods})
    assert found.to_json()["not_running"] == {"without_spec": 1}


def test_jobs_of_as_many_pods_as_kubernetes_counts_are_written(load: Any) -> None:
    found = load("kubernetes", listed(node("n", cpu="5"), job("j", {}, parallelism=2**31 - 1)))
    assert [job.shape.n_tasks for job in found.scenario().setting().trace.jobs] == [2**31 - 1]


def volcano_queue(name: str, **spec: Any) -> Json:
    status = {"state": spec.pop("state", "Open")}
    group = "scheduling.volcano.sh/v1beta1"
    return made(group, "Queue", name, spec=spec, status=status)


def test_parents_of_volcano_are_guaranteed_what_their_children_are(load: Any) -> None:
    held = {"guarantee": {"resource": {"cpu": "2"}}}
    dump = listed(
        volcano_queue("top"),
        volcano_queue("mid", parent="top", guarantee={"resource": {"memory": "1Gi"}}),
        volcano_queue("a", parent="mid", **held),
        volcano_queue("b", parent="mid", **held),
    )
    guarantees = roles_of(load("kubernetes", dump), "guarantee")
    both = {"cpus": 4, "mem": 1024}
    assert guarantees == {
        "top": both,
        "top/mid": both,
        "top/mid/a": {"cpus": 2},
        "top/mid/b": {"cpus": 2},
    }


def volcano_job(queue: str) -> Json:
    template = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}}
    spec = {"queue": queue, "tasks": [{"name": "t", "replicas": 2, "template": template}]}
    metadata = {"namespace": "team"}
    return made("batch.volcano.sh/v1alpha1", "Job", "j", metadata=metadata, spec=spec)


def test_pods_of_volcano_are_known_by_what_volcano_writes_on_them(load: Any) -> None:
    own = {"volcano.sh/queue-name": "q", "volcano.sh/job-name": "j"}
    queues = [node("n", cpu="8"), volcano_queue("q")]
    by_label = listed(*queues, pod("p", "1", "n", labels=own))
    assert list(load("kubernetes", by_label).to_json()["running"]) == ["q"]
    by_job = listed(*queues, volcano_job("q"), pod("p", "1", "n", **owned_by("Job", "j")))
    found = load("kubernetes", by_job).to_json()
    assert list(found["running"]) == ["q"]
    assert found["waiting"] == {"q": {"tasks": 1, "cpus": 1}}


def volcano_tasks(**status: Any) -> Json:
    """Return a job of 1 server of 1 cpu and 3 workers of 2 cpus each."""
    tasks = []
    for name, n in {"server": 1, "worker": 3}.items():
        requests = {"cpu": "1" if name == "server" else "2"}
        template = {"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}}
        tasks.append({"name": name, "replicas": n, "template": template})
    spec = {"queue": "q", "minAvailable": 1, "tasks": tasks}
    metadata = {"namespace": "team"}
    group = "batch.volcano.sh/v1alpha1"
    return made(group, "Job", "j", metadata=metadata, spec=spec, status=status)


def test_pods_of_volcano_are_of_the_tasks_that_they_name(load: Any) -> None:
    queue, machine = volcano_queue("q"), node("n", cpu="20")
    named = [
        pod(
            f"w{i}",
            "2",
            "n",
            **owned_by("Job", "j"),
            annotations={"volcano.sh/task-spec": "worker"},
        )
        for i in range(2)
    ]
    found = load("kubernetes", listed(queue, machine, volcano_tasks(), *named)).to_json()
    assert found["waiting"] == {"q": {"tasks": 2, "cpus": 3}}
    silent = [pod(f"w{i}", "2", "n", **owned_by("Job", "j")) for i in range(3)]
    found = load("kubernetes", listed(queue, machine, volcano_tasks(), *silent)).to_json()
    assert found["waiting"]["q"]["tasks"] == 1


def test_tasks_of_volcano_that_succeeded_do_not_wait(load: Any) -> None:
    counts = {
        "server": {"phase": {"Running": 1}},
        "worker": {"phase": {"Succeeded": 2, "Pending": 1}},
    }
    told_apart = volcano_tasks(succeeded=2, running=1, taskStatusCount=counts)
    found = load("kubernetes", listed(volcano_queue("q"), told_apart)).to_json()
    assert found["waiting"] == {"q": {"tasks": 1, "cpus": 2}}
    assert found["running_total"]["cpus"] == 1
    together = volcano_tasks(succeeded=2, running=1)
    found = load("kubernetes", listed(volcano_queue("q"), together)).to_json()
    assert found["waiting"]["q"]["tasks"] == found["running_total"]["tasks"] == 1


def test_closed_queues_have_no_new_demand(load: Any) -> None:
    machine = node("n", cpu="8")
    for state, starts in {"Open": True, "Closed": False}.items():
        dump = listed(machine, volcano_queue("q", state=state), volcano_job("q"))
        found = load("kubernetes", dump)
        assert found.to_json()["waiting"] == {"q": {"tasks": 2, "cpus": 2}}
        assert bool(found.wanted()) is starts
        suppressed = found.snapshot()["frameworks"]["team"]["suppressed"]
        assert suppressed == ([] if starts else ["q"])
        assert ("take nothing new, which go on waiting" in told(found)) is not starts


def kai_queue(name: str, **resources: Json) -> Json:
    return made("scheduling.run.ai/v2", "Queue", name, spec={"resources": resources})


def test_weights_of_kai_are_those_of_gpus_where_machines_have_some(load: Any) -> None:
    none: Json = {"quota": -1, "limit": -1}
    queues = [
        kai_queue("a", cpu={**none, "overQuotaWeight": 2}, gpu={**none, "overQuotaWeight": 5}),
        kai_queue("b", cpu={**none, "overQuotaWeight": 3}, gpu={**none, "overQuotaWeight": 7}),
    ]
    with_gpus = {"a": 5, "b": 7}
    assert roles_of(load("kubernetes", listed(*queues)), "weight") == with_gpus
    gpus = node("n", **{"cpu": "8", "nvidia.com/gpu": "1"})
    assert roles_of(load("kubernetes", listed(gpus, *queues)), "weight") == with_gpus
    plain = load("kubernetes", listed(node("n", cpu="8"), *queues))
    assert roles_of(plain, "weight") == {"a": 2, "b": 3}
    elsewhere = load("kubernetes", listed(*queues), cluster="2x cpus:4")
    assert roles_of(elsewhere, "weight") == {"a": 2, "b": 3}


def elastic_quota(name: str, namespace: str = "team", **own: Any) -> Json:
    labels = {
        f"quota.scheduling.koordinator.sh/{key.replace('_', '-')}": value
        for key, value in own.pop("labels", {}).items()
    }
    metadata = {"namespace": namespace, "labels": labels}
    group = "scheduling.sigs.k8s.io/v1alpha1"
    return made(group, "ElasticQuota", name, metadata=metadata, spec=own)


def test_the_root_quota_of_koordinator_is_the_cluster(load: Any) -> None:
    dump = listed(
        elastic_quota("koordinator-root-quota", min={"cpu": "100"}),
        elastic_quota("a", min={"cpu": "4"}, labels={"parent": "koordinator-root-quota"}),
    )
    assert set(load("kubernetes", dump).roles) == {"a"}


def test_quotas_that_lend_nothing_weigh_as_those_that_do(load: Any) -> None:
    dump = listed(
        node("n", cpu="100"),
        elastic_quota("a", min={"cpu": "10"}),
        elastic_quota("b", min={"cpu": "30"}, labels={"allow_lent_resource": "false"}),
    )
    for mode, weights in {"weight": {"a": 1, "b": 3}, "none": {"a": 1, "b": 1}}.items():
        found = load("kubernetes", dump, entitlements=mode)
        assert roles_of(found, "weight") == weights
        assert roles_of(found, "guarantee") == {"b": {"cpus": 30}}


def test_quotas_of_one_name_in_two_name_spaces_are_two(load: Any) -> None:
    dump = listed(
        node("n", cpu="100"),
        elastic_quota("own", "red", min={"cpu": "10"}),
        elastic_quota("own", "blue", min={"cpu": "20"}),
        pod("p", "1", "n", namespace="blue"),
    )
    found = load("kubernetes", dump)
    assert roles_of(found, "weight") == {"blue%2Fown": 2, "red%2Fown": 1}
    assert list(found.to_json()["running"]) == ["blue%2Fown"]


# Slurm.

SLURM_NODE = """NodeName={name} Arch=x86_64 CoresPerSocket=16
   CPUAlloc=0 CPUEfctv={cpus} CPUTot=32 CPULoad=0.00
   Gres={gres}
   RealMemory=64000 AllocMem=0 Sockets=2 MemSpecLimit=0
   State={state} ThreadsPerCore=1 TmpDisk=1000
   Partitions=batch

"""
SLURM_JOB = """JobId={id} {array}JobName=x
   UserId=bob(1001) GroupId=g(1001) MCS_label=N/A
   Priority=1 Account=phys QOS=normal
   JobState={state} Reason=None
   Partition=batch AllocNode:Sid=login:1
   NodeList={nodes}
   NumNodes=1 NumCPUs=4
   ReqTRES=cpu=4,mem=8G,node=1,billing=4
   AllocTRES=cpu=4,mem=8G,node=1,billing=4
   OverSubscribe=OK Contiguous=0

"""


def slurm_node(name: str, cpus: int = 32, state: str = "IDLE", gres: str = "(null)") -> str:
    return SLURM_NODE.format(name=name, cpus=cpus, state=state, gres=gres)


def slurm_job(id: int, nodes: str = "a", state: str = "RUNNING", array: str = "") -> str:
    return SLURM_JOB.format(id=id, nodes=nodes, state=state, array=array)


def slurmrestd(**lists: list[Json]) -> Json:
    return {"meta": {"slurm": {"version": {"major": "24"}}}, **lists}


def set_to(number: int) -> Json:
    return {"set": True, "infinite": False, "number": number}


def json_job(id: int, state: str = "RUNNING", **own: Any) -> Json:
    asked = "cpu=4,mem=8G,node=1"
    job = {"job_id": id, "job_state": [state], "account": "phys", "user_name": "bob"}
    return {**job, "nodes": "a", "tres_alloc_str": asked, "tres_req_str": asked, **own}


SACCT = """JobID|User|Account|State|AllocTRES|ReqTRES|NNodes|NodeList
10_[2-5%1]|bob|phys|PENDING||cpu=4,mem=8G|1|None assigned
10_1|bob|phys|RUNNING|cpu=4,mem=8G|cpu=4|1|a
30+1|bob|phys|RUNNING|cpu=4,mem=8G|cpu=4|1|a
40|bob|phys|RUNNING|cpu=4,mem=8G|cpu=4|1|a
"""


def test_jobs_of_slurm_that_several_tools_tell_of_count_once(load: Any) -> None:
    text = "".join(
        (
            slurm_job(10, "(null)", "PENDING", "ArrayJobId=10 ArrayTaskId=2-5%1 "),
            slurm_job(11, array="ArrayJobId=10 ArrayTaskId=1 "),
            slurm_job(31, array="HetJobId=30 HetJobOffset=1 HetJobIdSet=30-31 "),
            slurm_job(40),
        )
    )
    none = {"set": False, "infinite": False, "number": 0}
    array = {"array_job_id": set_to(10)}
    listed = [
        json_job(11, **array, array_task_id=set_to(1)),
        json_job(10, "PENDING", **array, array_task_id=none, array_task_string="2-5%1"),
        json_job(31, het_job_id=set_to(30), het_job_offset=set_to(1)),
        json_job(40, array_job_id=set_to(0), het_job_id=set_to(0), het_job_offset=set_to(0)),
    ]
    dumps = (text, slurmrestd(jobs=listed), SACCT)
    for chosen in (dumps[:1], dumps[:2], dumps[1:], dumps[2:], dumps):
        found = load("slurm", slurm_node("a"), *chosen).to_json()
        assert found["running_total"]["tasks"] == 3
        assert found["waiting"]["phys/bob"]["tasks"] == 4
        assert ("given twice" in {one["kind"] for one in found["told"]}) is (len(chosen) > 1)


@pytest.mark.parametrize(
    "partition",
    [
        "PartitionName=batch AllowGroups=ALL\n   OverSubscribe=EXCLUSIVE State=UP\n\n",
        "ClusterName=c\nPartitionName=DEFAULT Shared=EXCLUSIVE\nPartitionName=batch Nodes=a\n",
        slurmrestd(partitions=[{"name": "batch", "maximums": {"oversubscribe": {"jobs": 0}}}]),
    ],
    ids=["scontrol", "slurm.conf", "JSON"],
)
def test_jobs_of_exclusive_partitions_have_their_machines_whole(
    load: Any, partition: str | Json
) -> None:
    plain = load("slurm", slurm_node("a"), slurm_job(1)).to_json()
    assert plain["per_machine"] == {"a": {"cpus": 4, "mem": 8192}}
    found = load("slurm", slurm_node("a"), partition, slurm_job(1)).to_json()
    assert found["per_machine"] == {"a": {"cpus": 32, "mem": 64000}}
    assert found["running_total"]["tasks"] == 1


def test_limits_of_associations_that_are_not_modelled_are_counted(load: Any) -> None:
    rows = (
        "Account|User|Share|GrpJobs|GrpTRES|MaxTRES\n"
        "phys||10||cpu=64,mem=100G|cpu=8\n"
        "phys|bob|3|5||\n"
    )
    found = load("slurm", rows)
    assert found.to_json()["roles"]["phys"]["limit"] == {"cpus": 64, "mem": 102400}
    assert "1 not modelled: MaxTRES of associations ('phys',)" in told(found)
    assert "1 not modelled: GrpJobs of associations ('phys/bob',)" in told(found)
    most: Json = {
        "jobs": {"total": {"set": False, "infinite": True, "number": 0}, "active": set_to(5)},
        "tres": {
            "group": {"minutes": [], "active": [{"type": "cpu", "name": "", "count": 64}]},
            "per": {"job": [{"type": "cpu", "name": "", "count": 8}]},
        },
    }
    one = {"account": "phys", "user": "", "parent_account": "root", "shares_raw": 1, "max": most}
    found = load("slurm", slurmrestd(associations=[one]))
    assert found.to_json()["roles"]["phys"]["limit"] == {"cpus": 64}
    assert "1 not modelled: max.jobs.active of associations" in told(found)
    assert "1 not modelled: max.tres.per.job of associations" in told(found)
    assert "max.jobs.total" not in told(found)
    assert "max.tres.group" not in told(found)


def test_machines_that_wait_for_a_reboot_take_work_until_they_drain(load: Any) -> None:
    states = ("IDLE+REBOOT_REQUESTED", "MIXED@", "IDLE+DRAIN+REBOOT_REQUESTED", "DOWN^")
    nodes = "".join(slurm_node(f"n{i}", state=state) for i, state in enumerate(states))
    assert load("slurm", nodes).to_json()["machines"]["why"] == {
        "n2": "IDLE+DRAIN+REBOOT_REQUESTED",
        "n3": "DOWN+REBOOT_ISSUED",
    }


def test_jobs_without_allocation_hold_what_they_asked_for(load: Any) -> None:
    text = slurm_job(1, state="CONFIGURING").replace(
        "AllocTRES=cpu=4,mem=8G,node=1,billing=4", "AllocTRES=(null)"
    )
    found = load("slurm", slurm_node("a"), text).to_json()
    assert found["per_machine"] == {"a": {"cpus": 4, "mem": 8192}}


def test_errors_name_a_file_once(load: Any) -> None:
    with pytest.raises(DumpError) as caught:
        load("slurm", slurm_node("a"), slurm_node("a", cpus=16))
    assert str(caught.value).count("dump-1") == 1
    assert "dump-1: line 1: machine 'a' is given twice" in str(caught.value)


# What is written.


def started(found: Imported) -> dict[str, int]:
    """Return how many tasks start in each role where some do, when the imported cluster runs."""
    roles = simulate(found.scenario()).roles
    return {r.role: r.counts.tasks_started for r in roles if r.counts.tasks_started}


def pending_job(id: int, n_nodes: int, array: str = "") -> str:
    text = slurm_job(id, "(null)", "PENDING", array)
    return text.replace("NumNodes=1 ", f"NumNodes={n_nodes} ").replace(
        "ReqTRES=cpu=4,mem=8G,node=1", f"ReqTRES=cpu={20 * n_nodes},mem=2G,node={n_nodes}"
    )


def test_tasks_of_arrays_start_one_by_one_and_machines_of_a_job_at_once(load: Any) -> None:
    machines = slurm_node("a") + slurm_node("b") + slurm_node("c")
    array = pending_job(7, 1, "ArrayJobId=7 ArrayTaskId=1-5 ")
    assert started(load("slurm", machines, array)) == {"phys": 3, "phys/bob": 3}
    wide = pending_job(8, 2)
    assert started(load("slurm", machines, wide)) == {"phys": 2, "phys/bob": 2}
    # of three jobs on two machines each, one fits
    wide_array = pending_job(9, 2, "ArrayJobId=9 ArrayTaskId=1-3 ")
    assert started(load("slurm", machines, wide_array)) == {"phys": 2, "phys/bob": 2}
    assert started(load("slurm", slurm_node("a"), wide)) == {}


def test_pods_of_a_job_start_one_by_one_and_gangs_at_once(load: Any) -> None:
    machine = node("n", cpu="5")
    plain = listed(machine, job("j", {}))
    assert started(load("kubernetes", plain)) == {"team": 2}
    queues = [cluster_queue("a", nominalQuota="9"), local_queue("lq", "a")]
    assert started(load("kubernetes", listed(machine, *queues, workload("w")))) == {}
    assert started(load("kubernetes", listed(machine, *queues, workload("w", count=2)))) == {"a": 2}
    few = listed(node("n", cpu="1"), volcano_queue("q"), volcano_job("q"))
    assert started(load("kubernetes", few)) == {}
    alone = volcano_job("q")
    alone["spec"]["minAvailable"] = 1
    some = listed(node("n", cpu="1"), volcano_queue("q"), alone)
    assert started(load("kubernetes", some)) == {"q": 1}


def test_waiting_jobs_of_a_cluster_are_bounded() -> None:
    machine = {"id": "a", "resources": {"cpus": 1}}
    many = [{"tenant": "t", "demand": {"cpus": 1}, "jobs": 6_000_000}] * 2
    with pytest.raises(ScenarioError, match="12000000 jobs in all; expected at most 10000000"):
        dump_from({"machines": [machine], "waiting": many}, "cluster.json")
    found = dump_from({"machines": [machine], "waiting": [{**many[0], "jobs": 2}]}, "x")
    assert [job.id for job in found.waiting] == ["waiting-0-0", "waiting-0-1"]


def test_a_snapshot_may_be_written_into_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump, folder = tmp_path / "dump.json", tmp_path / "new" / "lab"
    dump.write_text(json.dumps(listed(node("n", cpu="5"))), "utf-8")
    given = ["import", "kubernetes", str(dump), "-o", str(folder)]
    assert main([*given, "--snapshot", str(folder / "no" / "lab.json")]) == 2
    assert capsys.readouterr().err == (
        f"allocator import: {folder}/no/lab.json: No such file or directory\n"
    )
    assert not (tmp_path / "new").exists()
    assert main([*given, "--snapshot", str(folder / "lab.json")]) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "cluster.json",
        "lab.json",
        "scenario.toml",
    ]


# YARN.


def test_vectors_of_yarn_are_of_the_machines_that_work(load: Any) -> None:
    capacities = {
        "queues": "a,b",
        "a_capacity": "[memory=100,vcores=1]",
        "b_capacity": "[memory=100%,vcores=2w]",
    }
    has = {"availMemoryMB": 1000, "availableVirtualCores": 10, "usedMemoryMB": 0}
    machines = [{"id": "a:1", "state": "RUNNING", **has}, {"id": "b:1", "state": "LOST", **has}]
    answer = {"nodes": {"node": machines}}
    found = load("yarn", capacity_xml(**capacities), answer)
    assert found.to_json()["roles"]["b"]["entitlement"] == {"cpus": 9, "mem": 900}


# Fit.


def full_engine() -> Allocator:
    """Return an engine of two machines with 1 and 2 cpus left, of two kinds."""
    engine = Allocator(seed=1)
    for id, used in {"a": 9, "b": 8}.items():
        held = {"other": {"other": f"cpus:{used}"}}
        engine.add_agent(id, "cpus:10;mem:100", attributes={"kind": id.upper()}, used=held)
    engine.add_framework("other", ["other"])
    return engine


def test_the_smallest_change_is_where_the_least_is_lacking() -> None:
    found = fit(full_engine(), "eng", "cpus:4")
    assert [text_of(change) for change in found.changes] == [
        "free cpus:2 on agent b, which framework other uses in role other"
        " → eng on b: cpus:4;mem:100",
        "ask for no more than cpus:2 a task",
    ]
    assert text_of(fit(full_engine(), "eng", "cpus:11").changes[0]) == (
        "ask for no more than cpus:2 a task"
    )


def test_changes_are_of_machines_that_the_job_may_run_on() -> None:
    found = fit(full_engine(), "eng", "cpus:4", kind="A")
    assert [text_of(change) for change in found.changes] == [
        "free cpus:3 on agent a, which framework other uses in role other"
        " → eng on a: cpus:4;mem:100",
        "ask for no more than cpus:1 a task",
    ]


def test_nobody_is_told_to_ask_for_nothing() -> None:
    found = fit(full_engine(), "eng", "cpus:1", tasks=4)
    assert found.n_placed == 3
    assert [text_of(change) for change in found.changes] == [
        "free cpus:1 on agent a, which framework other uses in role other"
        " → eng on a: cpus:1;mem:100"
    ]


def test_quotas_of_numbers_of_pods_are_no_resource(load: Any) -> None:
    queue = cluster_queue("q", nominalQuota="4")
    queue["spec"]["resourceGroups"][0]["flavors"][0]["resources"] += [
        {"name": "pods", "nominalQuota": "50"}
    ]
    found = load("kubernetes", queue)
    assert roles_of(found, "limit") == roles_of(found, "entitlement") == {"q": {"cpus": 4}}
    assert "1 not modelled: quotas of numbers of pods of Kueue ('q',)" in told(found)


def test_a_queue_and_a_name_space_of_one_name_are_one_role(load: Any) -> None:
    quota = resource_quota("own", "q", cpu="3", memory="1Gi")
    for queue in (
        cluster_queue("q", nominalQuota="4"),
        volcano_queue("q", capability={"cpu": "4"}),
        kai_queue("q", cpu={"quota": -1, "limit": 4000}),
        elastic_quota("q", max={"cpu": "4"}),
    ):
        found = load("kubernetes", listed(quota, queue))
        assert roles_of(found, "limit") == {"q": {"cpus": 3, "mem": 1024}}
        assert "1 queues: queues of the name of a name space with quotas" in told(found)


def test_a_cohort_and_a_queue_that_would_be_one_role_are_both_named(load: Any) -> None:
    queues = [cluster_queue("c", nominalQuota="1"), cluster_queue("q", "c", nominalQuota="1")]
    text = "ClusterQueue 'c' and a cohort of this name would both become role 'c'"
    with pytest.raises(DumpError, match=text):
        load("kubernetes", listed(*queues))


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DumpError, match=f"{tmp_path}: nothing in it"):
        read("kubernetes", tmp_path)


def capacity_xml(**capacities: str) -> str:
    return capacity(**{f"root__{key.replace('_', '__')}": x for key, x in capacities.items()})


def test_percentages_of_yarn_are_products_by_name(load: Any) -> None:
    queues = {"queues": "a,b", "a_queues": "x,y", "a_x_queues": "z", "a_y_queues": "u"}
    capacities = {
        "a_capacity": "[memory=50%,vcores=25%]",
        "b_capacity": "[memory=50%,vcores=75%]",
        "a_x_capacity": "[memory=100%,vcores=40%]",
        "a_y_capacity": "[memory=0%,vcores=60%]",
        "a_x_z_capacity": "100",
        "a_y_u_capacity": "[memory=100%,vcores=100%]",
    }
    text = capacity_xml(**queues, **capacities)
    found = load("yarn", text, cluster="10x cpus:10;mem:1000")
    assert roles_of(found, "entitlement") == {
        "a": {"cpus": 25, "mem": 5000},
        "a/x": {"cpus": 10, "mem": 5000},
        "a/x/z": {"cpus": 10, "mem": 5000},
        "a/y": {"cpus": 15, "mem": 0},
        "a/y/u": {"cpus": 15, "mem": 0},
        "b": {"cpus": 75, "mem": 5000},
    }


def test_users_are_limited_to_their_part_of_a_vector(load: Any) -> None:
    text = capacity_xml(
        queues="a,b",
        a_capacity="[memory=20%,vcores=60%]",
        a_user_limit_factor="2",
        b_capacity="[memory=80%,vcores=40%]",
    ).replace("a.user.limit.factor", "a.user-limit-factor")
    app = {"id": "1", "user": "bob", "queue": "a", "state": "RUNNING", "allocatedMB": 100}
    apps = {"apps": {"app": [app]}}
    found = load("yarn", text, apps, cluster="10x cpus:10;mem:1000", user_limits=True)
    assert roles_of(found, "limit") == {"a/bob": {"cpus": 100, "mem": 4000}}


def test_limits_of_the_root_of_the_fair_scheduler_are_counted(load: Any) -> None:
    root = '<queue name="root"><maxResources>50%</maxResources><queue name="a"/></queue>'
    found = load("yarn", f"<allocations>{root}</allocations>")
    assert set(found.roles) == {"a"}
    assert "1 not modelled: maxResources of the root queue ('50%',)" in told(found)


# Mesos.


def test_frameworks_of_mesos_keep_their_capabilities_and_quiet_roles(load: Any) -> None:
    state = {
        "slaves": [{"id": "S0", "hostname": "n0.x", "resources": {"cpus": 8, "gpus": 1}}],
        "frameworks": [
            {"id": "F0", "name": "plain", "role": "eng", "capabilities": []},
            {"id": "F1", "name": "silent", "role": "eng"},
            {
                "id": "F2",
                "name": "many",
                "roles": ["eng", "sci"],
                "suppressed_roles": ["sci"],
                "capabilities": ["MULTI_ROLE", "SHARED_RESOURCES", "FROM_THE_FUTURE"],
            },
        ],
    }
    info = {
        "id": {"value": "F3"},
        "name": "v1",
        "roles": ["sci"],
        "capabilities": [{"type": "GPU_RESOURCES"}],
    }
    answer = {
        "type": "GET_FRAMEWORKS",
        "get_frameworks": {"frameworks": [{"framework_info": info, "active": True}]},
    }
    snapshot = load("mesos", state, answer).snapshot()
    assert snapshot["agents"]["S0"]["hostname"] == "n0.x"
    can = {name: one["capabilities"] for name, one in snapshot["frameworks"].items()}
    assert can == {
        "plain": [],
        "silent": ["GPU_RESOURCES", "MULTI_ROLE"],
        "many": ["MULTI_ROLE", "SHARED_RESOURCES"],
        "v1": ["GPU_RESOURCES"],
    }
    quiet = {name: one["suppressed"] for name, one in snapshot["frameworks"].items()}
    assert quiet == {"plain": [], "silent": [], "many": ["sci"], "v1": []}


def mesos_agent(id: str, **own: Any) -> Json:
    return {"id": id, "resources": {"cpus": 8, "mem": 1000}, **own}


def test_roles_of_mesos_are_known_whichever_file_says_them(load: Any) -> None:
    task = {"id": "t", "slave_id": "S0", "state": "TASK_RUNNING", "resources": {"cpus": 1}}
    used = {"cpus": 1}
    state = {
        "slaves": [mesos_agent("S0")],
        "frameworks": [{"id": "F", "name": "m", "role": "eng", "tasks": [task]}],
    }
    summary = {
        "slaves": [mesos_agent("S0")],
        "frameworks": [{"id": "F", "name": "m", "used_resources": used, "TASK_RUNNING": 1}],
    }
    for files in ((state, summary), (summary, state)):
        found = load("mesos", *files)
        assert list(found.to_json()["running"]) == ["eng"]
        assert "role the dump does not say" not in told(found)
    assert "role the dump does not say" in told(load("mesos", summary))


def test_frameworks_of_fewer_tasks_than_none_are_refused(load: Any) -> None:
    framework = {"id": "F", "name": "m", "used_resources": {"cpus": 1}, "TASK_RUNNING": -5}
    with pytest.raises(DumpError, match="-5 is negative"):
        load("mesos", {"slaves": [mesos_agent("S0")], "frameworks": [framework]})


def test_what_agents_use_beyond_all_frameworks_is_kept(load: Any) -> None:
    task = {"id": "t", "slave_id": "S0", "state": "TASK_RUNNING", "resources": {"cpus": 1}}
    framework = {"id": "F", "name": "m", "role": "eng", "tasks": [task]}
    agents = [
        mesos_agent("S0", used_resources={"cpus": 3, "mem": 200}),
        mesos_agent("S1", used_resources={"cpus": 2}),
        mesos_agent("S2"),
    ]
    state = {"slaves": agents, "frameworks": [{**framework, "used_resources": {"cpus": 2}}]}
    found = load("mesos", state)
    value = found.to_json()
    # of 4 cpus beyond the task, one is the framework's somewhere, in an executor
    assert value["unplaced"] == {"m": {"cpus": 1}}
    assert value["per_machine"] == {"S0": {"cpus": 2, "mem": 200}, "S1": {"cpus": 2}}
    assert value["running_total"] == {"tasks": 1, "tasks_without_requests": 0, "cpus": 1}
    assert "2 roles: use of agents that no framework is said to have" in told(found)
    held = found.snapshot()["frameworks"]["unknown"]["roles"]
    assert held == ["*"]
    agents[0]["used_resources"], agents[1]["used_resources"] = {"cpus": 1}, {"cpus": 1}
    assert load("mesos", state).to_json()["per_machine"] == {"S0": {"cpus": 1}}


def test_what_agents_use_alone_is_of_the_roles_that_they_tell(load: Any) -> None:
    def scalar(name: str, value: float, role: str) -> Json:
        amount = {"name": name, "type": "SCALAR", "scalar": {"value": value}}
        return {**amount, "allocation_info": {"role": role}}

    allocated = [scalar("cpus", 1, "a"), scalar("cpus", 2, "b"), scalar("mem", 10, "a")]
    total = [scalar("cpus", 8, "*"), scalar("mem", 100, "*")]
    info = {"id": {"value": "S0"}, "hostname": "n0"}
    agent = {"agent_info": info, "total_resources": total, "allocated_resources": allocated}
    found = load("mesos", {"type": "GET_AGENTS", "get_agents": {"agents": [agent]}})
    assert found.to_json()["per_machine"] == {"S0": {"cpus": 3, "mem": 10}}
    holdings = found.snapshot()["agents"]["S0"]["holdings"]
    assert {one["role"]: one["allocated"] for one in holdings} == {
        "a": "cpus:1;mem:10",
        "b": "cpus:2",
    }
