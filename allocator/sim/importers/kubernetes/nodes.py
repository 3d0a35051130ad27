"""Nodes: machines, and why some take nothing new."""

from __future__ import annotations

from allocator.errors import shown
from allocator.sim.importers.amounts import rounded
from allocator.sim.importers.kubernetes.words import (
    GPU_MILLI,
    Json,
    Object,
    amounts,
    is_true,
    listing,
    mapping,
    named,
    whole,
)
from allocator.sim.importers.source import Node, Source

#: Labels that say which model of GPU a machine has.
_MODELS = (
    "nvidia.com/gpu.product",
    "amd.com/gpu.product-name",
    "alibabacloud.com/gpu-card-model",
    "cloud.google.com/gke-accelerator",
    "accelerator",
)
_REGIONS = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
_ZONES = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
#: Taints that say what the node's state says anyway.
_OF_STATE = "node.kubernetes.io/"


def node_of(node: Object, source: Source) -> Node:
    """Return a machine; what is odd about it is told. Raises `DumpError`, `InvalidValue`."""
    if not node.name:
        raise node.document.error("a node without a name")
    has = node.status.get("allocatable")
    if has is None and node.status.get("capacity") is not None:
        source.tell("machines", "capacity taken, for want of allocatable", node.name)
        has = node.status["capacity"]
    found = amounts(has)
    if GPU_MILLI in found:
        text = f"{GPU_MILLI} is the capacity of the GPUs again, in thousandths: not added to them"
        source.tell("machines", text, node.name)
    for name, text in mapping(has).items():
        if name not in _USUAL and str(text).endswith("k"):
            source.tell("machines", f"{name} in thousands", f"{node.name}: {shown(text)}")
    state, stays = _state(node, source)
    taints = [t for t in listing(node.spec.get("taints")) if _binds(mapping(t))]
    if taints and not state:
        source.lacks("taints of machines", node.name)
    labels = {str(key): str(value) for key, value in node.labels.items()}
    kind = next((labels[key] for key in _MODELS if labels.get(key)), "")
    return Node(
        node.name,
        rounded(named(found)),
        kind="-".join(kind.split()),
        attributes=labels,
        most_tasks=whole(found["pods"]) if "pods" in found else None,
        region=next((labels[key] for key in _REGIONS if labels.get(key)), None),
        zone=next((labels[key] for key in _ZONES if labels.get(key)), None),
        state=state,
        stays=stays,
        uid=str(mapping(node.value.get("metadata")).get("uid") or ""),
    )


_USUAL = frozenset(("cpu", "memory", "ephemeral-storage", "pods"))


def _binds(taint: Json) -> bool:
    return taint.get("effect") in ("NoSchedule", "NoExecute") and not str(
        taint.get("key") or ""
    ).startswith(_OF_STATE)


def _state(node: Object, source: Source) -> tuple[str, bool]:
    """Return why a node takes nothing new, and whether it is there nevertheless."""
    if is_true(node.spec.get("unschedulable")):
        return "spec.unschedulable true (cordoned)", True
    for condition in listing(node.status.get("conditions")):
        if mapping(condition).get("type") == "Ready":
            status = str(condition.get("status"))
            if status == "True":
                return "", False
            why = "unreachable" if status == "Unknown" else "not ready"
            return f"Ready is {status} ({why})", False
    source.tell("machines", "no condition Ready: taken as ready", node.name)
    return "", False
