"""Armada: queues by priority factor, and the clusters and workloads of its simulator."""

from __future__ import annotations

from allocator.errors import shown
from allocator.sim.cluster import MAX_MACHINES
from allocator.sim.importers.amounts import number, rounded
from allocator.sim.importers.kubernetes.pods import Pod
from allocator.sim.importers.kubernetes.words import (
    Json,
    Object,
    amounts,
    listing,
    mapping,
    name_of,
    named,
    whole,
)
from allocator.sim.importers.options import Options
from allocator.sim.importers.source import Node, Path, Queue, Source, Work

GROUP = "armadaproject.io"
_QUEUE = "armada_queue_id"


class Room:
    """Reads queues of Armada, and what its simulator runs."""

    HINTS = frozenset((_QUEUE,))

    def __init__(self, source: Source, options: Options) -> None:
        self._source = source
        #: queue -> the work that its simulator gives it
        self._workloads: dict[str, Json] = {}

    @staticmethod
    def knows(item: Object) -> bool:
        """Tell whether an object is one of Armada."""
        if item.group == GROUP:
            return True
        clusters = item.value.get("clusters")
        queues = item.value.get("queues")
        return item.kind == "" and (
            _has(clusters, "nodeTemplates")
            or _has(clusters, "pools")
            or _has(queues, "jobTemplates")
        )

    def take(self, item: Object) -> None:
        """Read a queue, clusters or a workload. Raises `DumpError`, `InvalidValue`."""
        if item.kind == "Queue":
            self._queue(item)
        elif item.kind:
            self._source.lacks(f"{item.kind} of Armada", item.name)
        for cluster in listing(item.value.get("clusters")):
            self._cluster(cluster, item)
        if item.kind == "":
            for queue in listing(item.value.get("queues")):
                self._workload(queue, item)

    def _queue(self, item: Object) -> None:
        name = item.name
        if not name:
            raise item.document.error("a queue without a name")
        factor = number(item.value.get("priorityFactor", 1))
        if factor <= 0:
            raise item.document.error(f"queue {shown(name)}: a priorityFactor of {float(factor):g}")
        queue = Queue((name,), weight=1 / factor, words=[f"priorityFactor {float(factor):g}"])
        limits = mapping(item.value.get("resourceLimits"))
        if limits:
            queue.limit_percent = {name_of(str(n)): number(x) * 100 for n, x in limits.items()}
        self._source.add_queue(queue, item.document)
        if item.value.get("permissions"):
            self._source.lacks("permissions of queues of Armada", name)

    def _cluster(self, cluster: object, item: Object) -> None:
        found = mapping(cluster)
        pools = {str(p) for p in (found.get("pool"),) if p} | {
            str(mapping(p).get("pool")) for p in listing(found.get("pools"))
        }
        templates = list(listing(found.get("nodeTemplates")))
        for pool in listing(found.get("pools")):
            for group in listing(mapping(pool).get("clusterGroups")):
                for inner in listing(mapping(group).get("clusters")):
                    self._cluster(inner, item)
        for place, template in enumerate(templates):
            template = mapping(template)
            total = mapping(template.get("totalResources"))
            has = rounded(named(amounts(total.get("resources", total))))
            count = whole(template.get("number"), 1)
            if count + len(self._source.nodes) > MAX_MACHINES:
                raise item.document.error(f"{count} machines, more than {MAX_MACHINES} in all")
            name = str(found.get("name") or "cluster")
            prefix = name if len(templates) == 1 else f"{name}-{place}"
            labels = {str(k): str(v) for k, v in mapping(template.get("labels")).items()}
            for index in range(count):
                node = Node(f"{prefix}-{index:04d}", has, attributes=labels)
                self._source.add_node(node, item.document)
            if template.get("taints"):
                self._source.lacks("taints of machines", prefix, count)
        if len(pools) > 1 or pools - {"default", "None"}:
            self._source.lacks("pools of Armada", ", ".join(sorted(pools)))

    def _workload(self, queue: object, item: Object) -> None:
        found = mapping(queue)
        name = str(found.get("name") or "")
        if not name:
            raise item.document.error("a queue without a name")
        weight = number(found.get("weight", 1) or 1)
        known = self._source.queues.setdefault((name,), Queue((name,), weight=weight))
        if known.weight != weight:
            raise item.document.error(f"queue {shown(name)} is given twice, with other weights")
        before = self._workloads.setdefault(name, found)
        if before is not found:
            if before != found:
                raise item.document.error(
                    f"work of queue {shown(name)} is given twice, and differs"
                )
            self._source.tell("given twice", "work given more than once, counted once", name)
            return
        for template in listing(found.get("jobTemplates")):
            needs = mapping(mapping(template).get("requirements"))
            asked = mapping(needs.get("resourceRequirements")).get("requests")
            demand = rounded(named(amounts(asked)))
            self._source.waiting.append(
                Work(name, (name,), demand, whole(template.get("number"), 1))
            )
            if template.get("priorityClassName"):
                self._source.lacks("priority classes of Armada", name)
            if template.get("dependencies"):
                self._source.lacks("dependencies of jobs of Armada", name)

    def finish(self) -> None:
        """Nothing is left to do."""

    def client(self, pod: Pod) -> tuple[Path, str] | None:
        """Return the role and framework of a pod; None if Armada does not know it. O(1)."""
        path = (pod.hint(_QUEUE),)
        return (path, path[0]) if path[0] and path in self._source.queues else None


def _has(value: object, key: str) -> bool:
    return isinstance(value, list) and any(isinstance(one, dict) and key in one for one in value)
