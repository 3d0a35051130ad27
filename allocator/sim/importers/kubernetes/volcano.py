"""Volcano: queues of the plugins proportion, capacity and drf."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from allocator.errors import shown
from allocator.sim.importers.amounts import Amounts, add, number
from allocator.sim.importers.kubernetes.pods import TASK, Pod
from allocator.sim.importers.kubernetes.words import (
    Object,
    all_amounts,
    amounts,
    is_true,
    mapping,
    named,
)
from allocator.sim.importers.options import Options
from allocator.sim.importers.source import Path, Queue, Source

GROUPS = ("scheduling.volcano.sh", "scheduling.incubator.k8s.io")
#: What people write, and what Volcano writes on the pods of its jobs.
_QUEUES = ("scheduling.volcano.sh/queue-name", "volcano.sh/queue-name")
_POD_GROUPS = ("scheduling.k8s.io/group-name", "scheduling.volcano.sh/group-name")
_HIERARCHY = "volcano.sh/hierarchy"
_WEIGHTS = "volcano.sh/hierarchy-weights"
_ROOT = "root"


class Room:
    """Reads the queues of Volcano."""

    HINTS = frozenset((*_QUEUES, *_POD_GROUPS, TASK))

    def __init__(self, source: Source, options: Options) -> None:
        self._source = source
        self._options = options
        self._queues: dict[str, Object] = {}
        self._groups: dict[tuple[str, str], str] = {}
        self._paths: dict[str, Path] = {}

    @staticmethod
    def knows(item: Object) -> bool:
        """Tell whether an object is one of Volcano."""
        return item.group in GROUPS

    def take(self, item: Object) -> None:
        """Read a queue or pod group. Raises `DumpError`."""
        if item.kind == "PodGroup":
            self._groups[item.namespace, item.name] = str(item.spec.get("queue") or "default")
        elif item.kind == "Queue":
            if not item.name:
                raise item.document.error("a queue without a name")
            known = self._queues.setdefault(item.name, item)
            if known is not item and known.value != item.value:
                raise item.document.error(
                    f"queue {shown(item.name)} is given twice, with different content"
                )

    def finish(self) -> None:
        """Make roles of queues. Raises `DumpError`."""
        if not self._queues:
            return
        plugin = self._options.plugin or self._guess()
        how = "as said" if self._options.plugin else "guessed from the fields that are there"
        self._source.tell("queues", f"plugin of Volcano: {plugin}, {how}", n=len(self._queues))
        #: inner path -> (weight, the object that said it)
        self._inner: dict[Path, tuple[Fraction, Object]] = {}
        for name, item in self._queues.items():
            if name == _ROOT:
                continue
            if plugin == "drf" and item.annotations.get(_HIERARCHY):
                self._annotated(item)
            else:
                self._plain(item, plugin)
        self._raise_parents()

    def _raise_parents(self) -> None:
        """Guarantee to parents at least what is guaranteed below them."""
        queues = self._source.queues
        below: dict[Path, list[Queue]] = {path[:-1]: [] for path in self._paths.values()}
        for path, queue in queues.items():
            if path[:-1] in below:
                below[path[:-1]].append(queue)
        for path in sorted(below.keys() & queues.keys(), key=len, reverse=True):
            together: Amounts = {}
            for queue in below[path]:
                add(together, queue.guarantee)
            own = queues[path].guarantee
            own.update({name: max(x, own.get(name, Fraction(0))) for name, x in together.items()})

    def _guess(self) -> str:
        items = self._queues.values()
        if any(item.annotations.get(_HIERARCHY) for item in items):
            return "drf"
        keys = ("deserved", "parent", "guarantee")
        return "capacity" if any(i.spec.get(k) for i in items for k in keys) else "proportion"

    def _annotated(self, item: Object) -> None:
        """Make roles of a path and its weights, which stand in annotations."""
        path = str(item.annotations[_HIERARCHY]).strip("/").split("/")
        texts = str(item.annotations.get(_WEIGHTS) or "/".join("1" * len(path))).split("/")
        if len(texts) != len(path):
            raise item.document.error(
                f"queue {shown(item.name)}: {len(path)} levels and {len(texts)} weights"
            )
        self._source.tell("weights", "tree and weights of annotations: spec.weight is not used")
        weights = [number(text) for text in texts]
        if path[0] == _ROOT:
            path, weights = path[1:], weights[1:]
        for depth in range(1, len(path) + 1):
            inner = tuple(path[:depth])
            weight, first = self._inner.setdefault(inner, (weights[depth - 1], item))
            if weight != weights[depth - 1]:
                raise item.document.error(
                    f"queues {shown(first.name)} and {shown(item.name)} weigh"
                    f" {shown('/'.join(inner))} differently: {float(weight):g} and"
                    f" {float(weights[depth - 1]):g}"
                )
            queue = self._source.queues.setdefault(inner, Queue(inner))
            queue.weight = weight
        leaf = self._source.queues[tuple(path)]
        leaf.words.append(f"queue {item.name}: {_HIERARCHY} {item.annotations[_HIERARCHY]}")
        self._paths[item.name] = tuple(path)
        self._fill(leaf, item, "drf")

    def _plain(self, item: Object, plugin: str) -> None:
        path = self._path(item.name, item)
        self._paths[item.name] = path
        queue = self._source.queues.setdefault(path, Queue(path))
        weight = item.spec.get("weight")
        if weight is not None:
            queue.weight = number(weight)
            queue.words.append(f"weight {weight}")
        self._fill(queue, item, plugin)

    def _path(self, name: str, item: Object) -> Path:
        path: list[str] = []
        while name != _ROOT:
            if name in path:
                raise item.document.error(f"queue {shown(name)} is its own ancestor")
            path.append(name)
            parent = str(self._queues[name].spec.get("parent") or _ROOT)
            if parent != _ROOT and parent not in self._queues:
                raise self._queues[name].document.error(
                    f"queue {shown(name)}: its parent {shown(parent)} is not there"
                )
            name = parent
        return tuple(reversed(path))

    def _fill(self, queue: Queue, item: Object, plugin: str) -> None:
        source, spec = self._source, item.spec
        queue.limit = named(all_amounts(spec.get("capability")))
        queue.guarantee = named(amounts(mapping(spec.get("guarantee")).get("resource")))
        deserved = named(amounts(spec.get("deserved")))
        if plugin == "capacity":
            queue.entitlement = deserved
        elif deserved:
            text = f"deserved of queues, which the plugin {plugin} does not read"
            source.tell("entitlements", text, item.name)
        for key in ("capability", "guarantee", "deserved"):
            if spec.get(key):
                queue.words.append(f"{key} {_brief(spec[key])}")
        if spec.get("reclaimable") is not None and not is_true(spec["reclaimable"]):
            text = "queues that are not reclaimable: nothing is reclaimed here"
            source.tell("queues", text, item.name)
        if plugin == "proportion":
            text = "weights of the share of what is deserved, capped by request and capability"
            source.tell("weights", text, item.name)
        for key in ("affinity", "priority", "extendClusters", "dequeueStrategy"):
            if spec.get(key):
                source.lacks(f"{key} of queues of Volcano", item.name)
        state = str(item.status.get("state") or spec.get("state") or "Open")
        if state in ("Closed", "Closing"):
            queue.state = state
            source.tell("queues", f"queues that are {state}", item.name)

    def client(self, pod: Pod) -> tuple[Path, str] | None:
        """Return the role and framework of a pod; None if Volcano does not know it. O(1)."""
        group = (pod.namespace, pod.hint(*_POD_GROUPS))
        name = pod.hint(*_QUEUES) or self._groups.get(group, "")
        path = self._paths.get(name)
        return (path, pod.namespace) if path else None


def _brief(value: Any) -> str:
    return " ".join(f"{key} {one}" for key, one in mapping(value).items())
