"""KAI: queues with a quota, a weight and a limit for each resource."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from allocator.errors import InvalidValue, shown
from allocator.sim.importers.amounts import MIB, number
from allocator.sim.importers.kubernetes.pods import Pod
from allocator.sim.importers.kubernetes.words import Json, Object, mapping
from allocator.sim.importers.options import Options
from allocator.sim.importers.source import Path, Queue, Source

GROUP = "scheduling.run.ai"
_QUEUE_HINTS = ("kai.scheduler/queue", "runai/queue", "project")
#: Name -> the engine's name, and how many of its units one is: millicores, 10^6 bytes, devices.
_RESOURCES = {
    "cpu": ("cpus", Fraction(1, 1000)),
    "memory": ("mem", Fraction(10**6, MIB)),
    "gpu": ("gpus", Fraction(1)),
}


class Room:
    """Reads the queues of KAI."""

    HINTS = frozenset(_QUEUE_HINTS)

    def __init__(self, source: Source, options: Options) -> None:
        self._source = source
        self._options = options
        self._queues: dict[str, Object] = {}
        self._paths: dict[str, Path] = {}

    @staticmethod
    def knows(item: Object) -> bool:
        """Tell whether an object is one of KAI."""
        return item.group == GROUP

    def take(self, item: Object) -> None:
        """Read a queue. Raises `DumpError`."""
        if item.kind != "Queue":
            self._source.lacks(f"{item.kind} of KAI", item.name)
            return
        if not item.name:
            raise item.document.error("a queue without a name")
        known = self._queues.setdefault(item.name, item)
        if known is not item and known.value != item.value:
            raise item.document.error(
                f"queue {shown(item.name)} is given twice, with different content"
            )

    def finish(self) -> None:
        """Make roles of queues. Raises `DumpError`."""
        has_gpus = self._has_gpus() if self._queues else False
        for name, item in self._queues.items():
            path = self._path(name, item)
            self._paths[name] = path
            try:
                self._source.add_queue(self._queue(item, path, has_gpus=has_gpus), item.document)
            except InvalidValue as error:
                raise item.document.error(f"queue {shown(name)}: {error}") from None

    def _has_gpus(self) -> bool:
        """Tell whether there are GPUs: on machines if there are any, else in what queues say."""
        machines = [dict(node.amounts) for node in self._source.nodes.values()] or [
            dict(machine.resources.milli) for machine in self._options.machines()
        ]
        if machines:
            return any(amounts.get("gpus") for amounts in machines)
        return any(
            mapping(mapping(item.spec.get("resources")).get("gpu")) if _is_map(item) else True
            for item in self._queues.values()
        )

    def _path(self, name: str, item: Object) -> Path:
        path: list[str] = []
        while name:
            if name in path:
                raise item.document.error(f"queue {shown(name)} is its own ancestor")
            path.append(name)
            if name not in self._queues:
                text = "queues that are parents, but not there: taken as plain ones"
                self._source.tell("queues", text, name)
                break
            name = str(self._queues[name].spec.get("parentQueue") or "")
        return tuple(reversed(path))

    def _queue(self, item: Object, path: Path, *, has_gpus: bool) -> Queue:
        queue = Queue(path)
        source = self._source
        weights: dict[str, Fraction] = {}
        for name, unit, own in _resources(item):
            quota = number(own.get("quota", 0) or 0)
            limit = number(own.get("limit", 0) or 0)
            weights[name] = number(own.get("overQuotaWeight", 1))
            queue.words.append(name + "".join(f" {key} {value}" for key, value in own.items()))
            if quota == -1:
                text = "quotas of -1, all that is asked for: no entitlement"
                source.tell("entitlements", text, f"{item.name}: {name}")
            else:
                queue.entitlement[name] = _checked(quota, "quota") * unit
            if limit > 0:
                queue.limit[name] = limit * unit
            elif limit == 0 and quota != -1:
                text = "limits of 0 or none: nothing beyond the quota, which is the limit"
                source.tell("limits", text, f"{item.name}: {name}")
                queue.limit[name] = quota * unit
            elif limit != -1 and limit != 0:
                _checked(limit, "limit")
        queue.weight = weights.get("gpus" if has_gpus else "cpus", Fraction(1))
        source.tell("weights", "overQuotaWeight, which weighs the surplus alone", item.name)
        if len(set(weights.values())) > 1:
            text = "weights that differ by resource, of which one is taken"
            source.tell("weights", text, item.name)
        if item.spec.get("priority") is not None:
            source.lacks("priorities of queues of KAI", item.name)
        for key in ("preemptMinRuntime", "reclaimMinRuntime"):
            if item.spec.get(key) is not None:
                source.lacks(f"{key} of KAI", item.name)
        return queue

    def client(self, pod: Pod) -> tuple[Path, str] | None:
        """Return the role and framework of a pod; None if KAI does not know it. O(1)."""
        path = self._paths.get(pod.hint(*_QUEUE_HINTS))
        return (path, pod.namespace) if path else None


def _is_map(item: Object) -> bool:
    resources = item.spec.get("resources")
    return isinstance(resources, dict) and isinstance(resources.get("gpu") or {}, dict)


def _resources(item: Object) -> Iterator[tuple[str, Fraction, Json]]:
    """Yield what a queue says of each resource; raises `InvalidValue` for placeholders."""
    for key, value in mapping(item.spec.get("resources")).items():
        if key not in _RESOURCES:
            raise InvalidValue(f"{shown(key)} is none of {', '.join(_RESOURCES)}")
        yield (*_RESOURCES[key], mapping(value))


def _checked(value: Fraction, what: str) -> Any:
    if value < 0:
        raise InvalidValue(f"a {what} of {float(value):g}")
    return value
