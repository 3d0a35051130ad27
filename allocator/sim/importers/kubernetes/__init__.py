"""Kubernetes: nodes, pods, jobs and quotas, and the queues of the systems that share it.

Each queue system is a room with `knows`, `take`, `finish` and `client`; `ROOMS` lists them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from allocator.sim.importers.documents import Document
from allocator.sim.importers.kubernetes import (
    armada,
    elasticquota,
    kai,
    kueue,
    volcano,
    yunikorn,
)
from allocator.sim.importers.kubernetes.nodes import node_of
from allocator.sim.importers.kubernetes.pods import (
    POD_PHASES,
    TASK,
    Job,
    Pod,
    Pods,
    jobs_of,
    share_of_memory,
)
from allocator.sim.importers.kubernetes.quotas import ResourceQuotas
from allocator.sim.importers.kubernetes.words import Object, is_true, mapping
from allocator.sim.importers.options import Options
from allocator.sim.importers.source import Path, Source, Work

#: The queue systems, in the order in which they are asked whose a pod is.
ROOMS = (kueue.Room, volcano.Room, yunikorn.Room, kai.Room, armada.Room, elasticquota.Room)

#: The framework of what belongs to its machine, where that has a role of its own.
DAEMONS = "daemons"

#: Objects that say nothing that is asked here.
_PASSED = frozenset(("Namespace", "LimitRange"))


class Reader:
    """Reads objects of Kubernetes."""

    def __init__(self, source: Source, options: Options) -> None:
        self._source = source
        self._options = options
        self._rooms: list[Any] = [room(source, options) for room in ROOMS]
        self._kueue = next(room for room in self._rooms if isinstance(room, kueue.Room))
        self._hint_keys: frozenset[str] = frozenset().union(*(room.HINTS for room in ROOMS))
        if options.role_label:
            self._hint_keys |= {options.role_label}
        self._pods = Pods(source, self._hint_keys)
        self._quotas = ResourceQuotas(source, options)
        self._jobs: dict[str, tuple[Object, list[Job]]] = {}
        #: (name space, owner as pods name it) -> a job, which says whose the pods are
        self._owners: dict[tuple[str, str], Job] = {}

    def take(self, document: Document) -> bool:
        """Read an object; False if it is none that is known. Raises `DumpError`, `InvalidValue`."""
        if document.form == "xml" or not isinstance(document.value, dict):
            return False
        item = _object(document)
        if item.kind in ("Table", "Status"):
            raise document.error(f"kind {item.kind}: made for print, without what objects say")
        if item.group == "" and item.kind == "Node":
            self._source.add_node(node_of(item, self._source), document)
        elif item.group == "" and item.kind == "Pod":
            self._pods.take(item)
        elif item.group == "" and item.kind == "ResourceQuota":
            self._quotas.take(item)
        elif item.kind == "Job" and item.group in ("batch", "batch.volcano.sh"):
            self._jobs[f"{item.namespace}/{item.title}"] = item, jobs_of(item, self._hint_keys)
        else:
            return self._take_queue(item)
        return True

    def _take_queue(self, item: Object) -> bool:
        for room in self._rooms:
            if room.knows(item):
                room.take(item)
                return True
        if item.kind not in _PASSED:
            self._source.tell("objects", f"objects of kind {item.kind or '?'}, passed over")
            return False
        return True

    def finish(self) -> None:
        """Decide whose the pods are. Raises `DumpError`, `InvalidValue`."""
        for room in self._rooms:
            room.finish()
        self._quotas.finish()
        self._owners = {(j.namespace, j.owner): j for _, jobs in self._jobs.values() for j in jobs}
        owned: Counter[tuple[str, str, str]] = Counter()
        for pod in self._pods:
            self._take_work(pod)
            if pod.owner:
                owned[pod.namespace, pod.owner, pod.hint(TASK)] += 1
        workloads = self._kueue.finish_work(has_pods=len(self._pods) > 0)
        for item, jobs in self._jobs.values():
            if (item.namespace, f"Job/{item.name}") in workloads:
                continue
            if not jobs:
                self._source.tell("not running", "finished jobs", item.name)
            for job in jobs:
                self._take_job(job, _taken(job, owned), item)
        self._kueue.split(self._source.nodes)

    def _client(self, pod: Pod) -> tuple[Path, str]:
        if pod.is_fixed and self._options.daemons_role:
            return tuple(self._options.daemons_role.split("/")), DAEMONS
        label = self._options.role_label
        if label:
            value = pod.hint(label)
            return (value or pod.namespace,), pod.namespace
        job = self._owners.get((pod.namespace, pod.owner))
        return self._in_queue(pod) or (job and self._in_queue(_pod_of(job))) or _in_namespace(pod)

    def _in_queue(self, pod: Pod) -> tuple[Path, str] | None:
        for room in self._rooms:
            found: tuple[Path, str] | None = room.client(pod)
            if found is not None:
                return found
        return None

    def _take_work(self, pod: Pod) -> None:
        path, framework = self._client(pod)
        demand = pod.demand
        if pod.gpu_memory:
            node = self._source.nodes.get(pod.machine or "")
            memory = node.attributes.get("nvidia.com/gpu.memory") if node else None
            if memory:
                demand = {**demand, "gpus": share_of_memory(pod.gpu_memory, memory)}
            else:
                text = "shares of GPUs by memory, on GPUs of unknown memory"
                self._source.lacks(text, pod.namespace)
        work = Work(framework, path, demand, pod.count, pod.machine, fixed=pod.is_fixed)
        (self._source.running if pod.machine else self._source.waiting).append(work)

    def _take_job(self, job: Job, n_owned: int, item: Object) -> None:
        """Take what a job wants beyond the pods of it that the dump has."""
        active = 0 if len(self._pods) else job.active
        waiting = max(0, job.wanted - (n_owned if len(self._pods) else active))
        for count, into in ((active, self._source.running), (waiting, self._source.waiting)):
            if count:
                path, framework = self._client(_pod_of(job))
                gang = count if job.is_gang else 1
                into.append(Work(framework, path, job.demand, count, gang=gang))
        if waiting and is_true(item.spec.get("suspend")):
            self._source.tell("tasks", "suspended jobs, which wait", job.title)


def _taken(job: Job, owned: Counter[tuple[str, str, str]]) -> int:
    """Take the pods of a job that are there: of its kind, else those that do not say theirs."""
    n_taken = 0
    for task in dict.fromkeys((job.task, "")):
        n = min(job.wanted - n_taken, owned[job.namespace, job.owner, task])
        owned[job.namespace, job.owner, task] -= n
        n_taken += n
    return n_taken


def _pod_of(job: Job) -> Pod:
    return Pod(job.namespace, None, job.demand, hints=job.hints, owner=job.made_by)


def _in_namespace(pod: Pod) -> tuple[Path, str]:
    return (pod.namespace,), pod.namespace


def _object(document: Document) -> Object:
    """Return a document as an object; one without a kind is told by what it says."""
    value: Mapping[str, Any] = document.value
    metadata = mapping(value.get("metadata"))
    group, _, _ = str(value.get("apiVersion") or document.list_version).rpartition("/")
    kind = str(value.get("kind") or document.list_kind or "")
    if not kind and metadata:
        kind = _guessed(value)
    name = metadata.get("name") or value.get("name") or ""
    if kind in ("Pod", "ResourceQuota", "LocalQueue", "Workload", "Job"):
        namespace = str(metadata.get("namespace") or ("" if kind == "LocalQueue" else "default"))
    else:
        namespace = str(metadata.get("namespace") or "")
    return Object(kind, group, str(name), namespace, value, document)


def _guessed(value: Mapping[str, Any]) -> str:
    spec, status = mapping(value.get("spec")), mapping(value.get("status"))
    if "accessModes" in spec:
        return ""  # a volume, which has a phase and a capacity, too
    if "containers" in spec or "podIP" in status or status.get("phase") in POD_PHASES:
        return "Pod"
    if "allocatable" in status or "capacity" in status or "nodeInfo" in status:
        return "Node"
    return "ResourceQuota" if "hard" in spec else ""
