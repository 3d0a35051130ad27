"""Pods and jobs: what runs, what waits, and what is neither."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from allocator.errors import InvalidValue, shown
from allocator.sim.importers.amounts import Milli, number, rounded
from allocator.sim.importers.kubernetes.requests import effective_request, plain_key
from allocator.sim.importers.kubernetes.words import (
    Json,
    Object,
    is_true,
    listing,
    mapping,
    named,
    whole,
)
from allocator.sim.importers.source import Source

#: Labels and annotations of the pod that holds a whole GPU for those that share it.
_RESERVATIONS = ("app.runai.resource.reservation", "kai.scheduler/resource-reservation")
#: So many kinds of pods are remembered, by what they ask for.
_MAX_DEMANDS = 10_000
POD_PHASES = ("Pending", "Running", "Succeeded", "Failed", "Unknown")
#: Which kind of tasks of a job of Volcano a pod is one of.
TASK = "volcano.sh/task-spec"
_RESERVED_INDEX = "run.ai/reserve_for_gpu_index"


@dataclass(slots=True)
class Pod:
    """A pod that runs or waits, or equal ones of a job.

    Parameters
    ----------
    namespace : str
    machine : str or None
        Where it is bound.
    demand : dict
        What each holds, in thousandths.
    count : int
    hints : tuple of (str, str)
        Labels and annotations by which queue systems know it.
    owner : str
        The object that made it, `KIND/NAME`.
    gpu_memory : int
        So many MiB of a GPU, if it shares one by memory.
    selector : tuple of (str, str)
        The labels that its machine must have.
    is_fixed : bool
        Whether it belongs to its machine: of a DaemonSet, or static.
    """

    namespace: str
    machine: str | None
    demand: Milli
    count: int = 1
    hints: tuple[tuple[str, str], ...] = ()
    owner: str = ""
    gpu_memory: int = 0
    selector: tuple[tuple[str, str], ...] = ()
    is_fixed: bool = False

    def hint(self, *keys: str) -> str:
        """Return the first of these labels and annotations that it has. O(hints)."""
        known = dict(self.hints)
        return next((known[key] for key in keys if key in known), "")


class Pods:
    """Collects pods; those that are given twice must be the same."""

    def __init__(self, source: Source, hint_keys: frozenset[str]) -> None:
        self._source = source
        self._hint_keys = hint_keys
        #: name space and name -> pod, or the word for one that neither runs nor waits
        self._known: dict[tuple[str, str], Pod | str] = {}
        #: whether something that the last pod asks for is too little to count
        self._lost = False
        #: what plain containers say -> what they hold, and whether some is too little to count
        self._demands: dict[Any, tuple[Milli, bool]] = {}
        #: equal demands and hints are kept once
        self._shared: dict[Any, Any] = {}

    def __iter__(self) -> Iterator[Pod]:
        return (pod for pod in self._known.values() if isinstance(pod, Pod))

    def __len__(self) -> int:
        return len(self._known)

    def take(self, pod: Object) -> None:
        """Take a pod. Raises `DumpError`, `InvalidValue`."""
        key = (pod.namespace, pod.name or f"{pod.document.file} {pod.document.place}")
        found = self._pod(pod)
        known = self._known.get(key)
        if known is None:
            self._known[key] = found
            self._count(pod, found)
        elif known == found:
            text = "pods given more than once, counted once"
            self._source.tell("given twice", text, f"{pod.namespace}/{pod.name}")
        else:
            raise pod.document.error(
                f"pod {shown(pod.namespace + '/' + pod.name)} is given twice,"
                " with different content: dumps of two clusters, or of two times"
            )

    def _pod(self, pod: Object) -> Pod | str:
        spec = pod.value.get("spec")
        if not spec:
            return "without_spec"
        phase = pod.status.get("phase")
        if phase in ("Succeeded", "Failed"):
            return "finished"
        if _is_reservation(pod):
            return "reservations of shared GPUs"
        demand, gpu_memory = self._demand(pod)
        machine = pod.spec.get("nodeName") or None
        return Pod(
            sys.intern(pod.namespace),
            sys.intern(str(machine)) if machine else None,
            demand,
            hints=self._once(self._hints(pod)),
            owner=_owner(pod),
            gpu_memory=gpu_memory,
            selector=self._once(_pairs(pod.spec.get("nodeSelector"))),
            is_fixed=_is_fixed(pod),
        )

    def _demand(self, pod: Object) -> tuple[Milli, int]:
        """Return what a pod holds, and the MiB of a GPU that it shares."""
        annotations = pod.annotations
        shares_gpu = "gpu-fraction" in annotations or "gpu-memory" in annotations
        key = None if shares_gpu else plain_key(pod.spec, pod.status)
        if key in self._demands:
            demand, self._lost = self._demands[key]
            return demand, 0
        found = named(effective_request(pod.spec, pod.status))
        gpu_memory = 0
        if not found.get("gpus"):
            if annotations.get("gpu-fraction") is not None:
                devices = annotations.get("gpu-fraction-num-devices") or 1
                found["gpus"] = number(annotations["gpu-fraction"]) * number(devices)
            elif annotations.get("gpu-memory") is not None:
                gpu_memory = whole(annotations["gpu-memory"])
        demand = rounded(found)
        self._lost = any(amount and name not in demand for name, amount in found.items())
        demand = self._shared.setdefault(frozenset(demand.items()), demand)
        if key is not None and len(self._demands) < _MAX_DEMANDS:
            self._demands[key] = demand, self._lost
        return demand, gpu_memory

    def _hints(self, pod: Object) -> tuple[tuple[str, str], ...]:
        labels, annotations = pod.labels, pod.annotations
        return tuple(
            (key, str(found.get(key)))
            for key in sorted(self._hint_keys)
            for found in (labels, annotations)
            if found.get(key) is not None
        )

    def _once(self, value: Any) -> Any:
        return self._shared.setdefault(value, value)

    def _count(self, pod: Object, found: Pod | str) -> None:
        """Count what a new pod is, and what of it is not modelled."""
        source = self._source
        title = f"{pod.namespace}/{pod.name}"
        if isinstance(found, str):
            source.not_running[found] += 1
            return
        if found.machine is None:
            source.not_running["unbound"] += 1
        if found.is_fixed:
            source.tell("tasks", "pods of DaemonSets and static pods, which cannot move", title)
        for what in _features(pod.spec, pod.annotations):
            source.lacks(what, title)
        if self._lost:
            source.tell("tasks", "requests that round to 0, which hold nothing", title)


def _is_reservation(pod: Object) -> bool:
    labels = pod.labels
    return any(key in labels for key in _RESERVATIONS) or _RESERVED_INDEX in pod.annotations


def _is_fixed(pod: Object) -> bool:
    return _owner(pod).startswith(("DaemonSet/", "Node/")) or pod.annotations.get(
        "kubernetes.io/config.source"
    ) in ("file", "http")


def _owner(pod: Object) -> str:
    owners = listing(mapping(pod.value.get("metadata")).get("ownerReferences"))
    return sys.intern(f"{owners[0].get('kind')}/{owners[0].get('name')}") if owners else ""


def _pairs(value: Any) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((str(key), str(one)) for key, one in mapping(value).items()))


def _features(spec: Json, annotations: Json) -> Iterator[str]:
    """Yield what a pod has that nothing here models."""
    if spec.get("nodeSelector"):
        yield "node selectors of pods"
    affinity = mapping(spec.get("affinity"))
    for key in ("nodeAffinity", "podAffinity", "podAntiAffinity"):
        if affinity.get(key):
            yield f"{key} of pods"
    if spec.get("topologySpreadConstraints"):
        yield "topology spread of pods"
    if str(spec.get("priority") or 0) != "0":
        yield "priorities of pods"
    if spec.get("preemptionPolicy") == "Never":
        yield "preemption policies of pods"
    if spec.get("schedulingGates"):
        yield "gates of pods"
    if spec.get("resourceClaims"):
        yield "resource claims of pods (DRA)"
    if annotations.get("alibabacloud.com/gpu-mem") is not None:
        yield "shares of GPUs by annotation (alibabacloud.com/gpu-mem)"


# Jobs.


@dataclass(slots=True)
class Job:
    """A job, or a kind of tasks in one: how many pods it wants at once.

    Its pods name it as `owner`, and the kind as `task`; what made it is `made_by`.
    """

    title: str
    owner: str
    made_by: str
    namespace: str
    wanted: int
    active: int
    demand: Milli
    hints: tuple[tuple[str, str], ...]
    #: whether its pods start all at once
    is_gang: bool = False
    task: str = ""


def jobs_of(job: Object, hint_keys: frozenset[str]) -> list[Job]:
    """Return what a Job, or a job of Volcano, wants. Raises `InvalidValue`."""
    if job.group == "batch.volcano.sh":
        return _volcano_jobs(job, hint_keys)
    for condition in listing(job.status.get("conditions")):
        if condition.get("type") in ("Complete", "Failed") and is_true(condition.get("status")):
            return []
    spec = job.spec
    parallel = whole(spec.get("parallelism"), 1)
    done = whole(job.status.get("succeeded"))
    left = whole(spec.get("completions"), parallel + done) - done
    wanted = max(0, min(parallel, left))
    template = mapping(spec.get("template"))
    return [_job(job, template, wanted, whole(job.status.get("active")), hint_keys, {})]


def _volcano_jobs(job: Object, hint_keys: frozenset[str]) -> list[Job]:
    phase = mapping(job.status.get("state")).get("phase")
    if phase in ("Completed", "Failed", "Terminated", "Aborted"):
        return []
    queue = str(job.spec.get("queue") or "default")
    own = {"scheduling.volcano.sh/queue-name": queue}
    counts = mapping(job.status.get("taskStatusCount"))
    left = {phase: whole(job.status.get(phase.lower())) for phase in ("Succeeded", "Running")}
    found: list[Job] = []
    listed = [mapping(task) for task in listing(job.spec.get("tasks"))]
    n_pods = sum(whole(task.get("replicas"), 1) for task in listed)
    is_gang = whole(job.spec.get("minAvailable"), n_pods) >= n_pods
    for task in listed:
        name, wanted = str(task.get("name") or ""), whole(task.get("replicas"), 1)
        told = mapping(mapping(counts.get(name)).get("phase")) if counts else left
        done = min(wanted, whole(told.get("Succeeded")))
        active = min(wanted - done, whole(told.get("Running")))
        left = {"Succeeded": left["Succeeded"] - done, "Running": left["Running"] - active}
        template = mapping(task.get("template"))
        found.append(_job(job, template, wanted - done, active, hint_keys, own))
        found[-1].is_gang, found[-1].task = is_gang, name
    return found


def _job(
    job: Object, template: Json, wanted: int, active: int, keys: frozenset[str], own: dict[str, str]
) -> Job:
    inner = mapping(template.get("metadata"))
    hints = {
        key: str(found[key])
        for found in (
            mapping(inner.get("annotations")),
            mapping(inner.get("labels")),
            job.annotations,
            job.labels,
            own,
        )
        for key in keys
        if found.get(key) is not None
    }
    demand = rounded(named(effective_request(mapping(template.get("spec")))))
    owner = f"Job/{job.name}"
    return Job(
        job.title,
        owner,
        _owner(job),
        job.namespace,
        wanted,
        min(active, wanted),
        demand,
        tuple(sorted(hints.items())),
    )


def share_of_memory(gpu_memory: int, device_mib: str | None) -> int:
    """Return thousandths of a GPU. Raises `InvalidValue` if the device's memory is not known."""
    if not device_mib:
        raise InvalidValue("the memory of its GPU is not known")
    return round(Fraction(gpu_memory * 1000) / number(device_mib))
