"""The FairScheduler's allocation file."""

from __future__ import annotations

from typing import Any

from allocator.errors import InvalidValue, shown
from allocator.sim.importers.amounts import number
from allocator.sim.importers.documents import Document
from allocator.sim.importers.source import Path, Queue, Source
from allocator.sim.importers.yarn.words import fair_resources, local, path_of

_QUEUES = ("queue", "pool")
_ROOT = "root"
#: Tag -> what of it is not modelled.
_COUNTED = {
    "maxChildResources": "maxChildResources, of queues made at run time",
    "maxRunningApps": "maxRunningApps",
    "maxRunningJobs": "maxRunningApps",
    "maxAMShare": "maxAMShare",
    "queueMaxAMShareDefault": "maxAMShare",
    "maxContainerAllocation": "maxContainerAllocation",
    "allowPreemptionFrom": "preemption",
    "minSharePreemptionTimeout": "preemption",
    "fairSharePreemptionTimeout": "preemption",
    "fairSharePreemptionThreshold": "preemption",
    "defaultFairSharePreemptionTimeout": "preemption",
    "defaultMinSharePreemptionTimeout": "preemption",
    "defaultFairSharePreemptionThreshold": "preemption",
    "reservation": "reservations of queues",
    "aclSubmitApps": "access lists",
    "aclAdministerApps": "access lists",
    "userMaxAppsDefault": "userMaxAppsDefault",
    "userMaxJobsDefault": "userMaxAppsDefault",
    "queueMaxAppsDefault": "queueMaxAppsDefault",
}
_READ = frozenset(
    (
        *("weight", "minResources", "maxResources", "schedulingPolicy", "schedulingMode"),
        *("defaultQueueSchedulingPolicy", "defaultQueueSchedulingMode", "queueMaxResourcesDefault"),
        *("user", "queuePlacementPolicy", *_QUEUES),
    )
)


class Allocations:
    """Reads an allocation file."""

    def __init__(self, source: Source, document: Document) -> None:
        self._source = source
        self._document = document
        root = document.value
        self._root = root
        self._policy = (
            _text(root, "defaultQueueSchedulingPolicy")
            or _text(root, "defaultQueueSchedulingMode")
            or "fair"
        )
        self._max_default = _text(root, "queueMaxResourcesDefault")

    def read(self) -> None:
        """Make queues. Raises `DumpError`, `InvalidValue`."""
        for child in self._root:
            tag = local(child.tag)
            if tag in _QUEUES:
                self._queue(child, ())
            elif tag == "user":
                name = f"user {child.get('name')}"
                for inner in child:
                    self._count(inner, name)
            elif tag == "queuePlacementPolicy":
                n_rules = sum(1 for rule in child if local(rule.tag) == "rule")
                self._source.lacks("placement rules", None, n_rules)
            else:
                self._count(child, "")

    def _count(self, element: Any, name: str) -> None:
        tag = local(element.tag)
        if tag in _COUNTED:
            self._source.lacks(_COUNTED[tag], name or (element.text or "").strip())
        elif tag not in _READ:
            self._source.lacks(f"<{tag}> of the allocation file", name or tag)

    def _queue(self, element: Any, above: Path) -> None:
        name = (element.get("name") or "").strip()
        if not name:
            raise self._document.error(f"a queue without a name below {shown('/'.join(above))}")
        path = (*above, *(path_of(name) if not above else name.split(".")))
        if path:
            self._take(element, path)
        for tag in () if path else ("minResources", "maxResources"):
            if _text(element, tag):
                self._source.lacks(f"{tag} of the root queue", _text(element, tag))
        for child in element:
            if local(child.tag) in _QUEUES:
                self._queue(child, path)
            else:
                self._count(child, "/".join(path) or _ROOT)

    def _take(self, element: Any, path: Path) -> None:
        title = "/".join(path)
        queue = Queue(path)
        try:
            weight = _text(element, "weight")
            queue.weight = number(weight) if weight else None
            least = _text(element, "minResources")
            if least:
                queue.entitlement, queue.entitlement_percent = fair_resources(least)
            most = _text(element, "maxResources") or self._max_default
            if most:
                queue.limit, queue.limit_percent = fair_resources(most)
        except InvalidValue as error:
            raise self._document.error(f"queue {shown(title)}: {error}") from None
        for key in ("weight", "minResources", "maxResources"):
            text = _text(element, key)
            if text:
                queue.words.append(f"{key} {text}")
        policy = _text(element, "schedulingPolicy") or _text(element, "schedulingMode")
        policy = (policy or self._policy).rpartition(".")[2].lower()
        if not policy.startswith(("drf", "dominant")):
            how = "memory alone counts" if policy.startswith("fair") else "first come, first served"
            self._source.lacks(f"queues of policy {policy}: {how}", title)
        for depth in range(1, len(path)):
            self._source.queues.setdefault(path[:depth], Queue(path[:depth]))
        if self._source.queues.get(path) == Queue(path):
            del self._source.queues[path]
        self._source.add_queue(queue, self._document)


def _text(element: Any, tag: str) -> str:
    for child in element:
        if local(child.tag) == tag:
            return (child.text or "").strip()
    return ""
