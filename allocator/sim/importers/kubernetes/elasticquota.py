"""ElasticQuota of Koordinator, of scheduler-plugins and of nos."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from typing import Any

from allocator.errors import shown
from allocator.sim.importers.amounts import quantity
from allocator.sim.importers.kubernetes.pods import Pod
from allocator.sim.importers.kubernetes.words import (
    Json,
    Object,
    all_amounts,
    listing,
    mapping,
    named,
)
from allocator.sim.importers.options import Options
from allocator.sim.importers.source import Path, Queue, Source

GROUPS = ("scheduling.sigs.k8s.io", "scheduling.x-k8s.io", "nos.nebuly.com")
_PREFIX = "quota.scheduling.koordinator.sh/"
_NAME = f"{_PREFIX}name"
_PARENTS = (f"{_PREFIX}parent-quota-name", f"{_PREFIX}parent")
_ROOTS = ("", "root", "koordinator-root-quota")


class Room:
    """Reads elastic quotas."""

    HINTS = frozenset((_NAME,))

    def __init__(self, source: Source, options: Options) -> None:
        self._source = source
        #: (name space, name) -> quota
        self._quotas: dict[tuple[str, str], Object] = {}
        #: name -> quota, as children and pods name it
        self._named: dict[str, Object] = {}
        self._paths: dict[str, Path] = {}
        self._of_namespace: dict[str, Path] = {}

    @staticmethod
    def knows(item: Object) -> bool:
        """Tell whether an object is an elastic quota."""
        return item.kind in ("ElasticQuota", "CompositeElasticQuota") and item.group in GROUPS

    def take(self, item: Object) -> None:
        """Read a quota. Raises `DumpError`."""
        if not item.name:
            raise item.document.error("an ElasticQuota without a name")
        known = self._quotas.setdefault((item.namespace, item.name), item)
        self._named.setdefault(item.name, item)
        if known is not item and known.value != item.value:
            raise item.document.error(
                f"ElasticQuota {shown(item.name)} is given twice, with different content"
            )

    def finish(self) -> None:
        """Make roles of quotas. Raises `DumpError`."""
        n_of_name = Counter(name for _, name in self._quotas)
        for (namespace, name), item in self._quotas.items():
            if name in _ROOTS:
                self._source.tell("queues", "quotas of the root, which is the cluster", name)
                continue
            path = self._path(name, item)
            if n_of_name[name] > 1:
                path = (*path[:-1], f"{namespace}/{name}")
            self._paths.setdefault(name, path)
            self._source.add_queue(self._queue(item, path), item.document)
            for own in self._namespaces(item):
                self._of_namespace.setdefault(own, path)

    def _path(self, name: str, item: Object) -> Path:
        path: list[str] = []
        own = item.labels
        while name not in _ROOTS:
            if name in path:
                raise item.document.error(f"quota {shown(name)} is its own ancestor")
            if path and name in self._named:
                own = self._named[name].labels
            path.append(name)
            if name not in self._named:
                text = "quotas that are parents, but not there: taken as plain ones"
                self._source.tell("queues", text, name)
                break
            name = next((str(own[key]) for key in _PARENTS if own.get(key)), "")
        return tuple(reversed(path))

    def _queue(self, item: Object, path: Path) -> Queue:
        least = named(all_amounts(item.spec.get("min")))
        queue = Queue(path, limit=named(all_amounts(item.spec.get("max"))), entitlement=least)
        lends = item.labels.get(f"{_PREFIX}allow-lent-resource")
        if lends is not None and str(lends).lower() == "false":
            queue.guarantee = {name: amount for name, amount in least.items() if amount}
            queue.words.append("allow-lent-resource false")
        for key in ("min", "max"):
            found = mapping(item.spec.get(key))
            if found:
                queue.words.append(f"{key} " + " ".join(f"{n} {x}" for n, x in found.items()))
        queue.weight = self._weight(item)
        return queue

    def _weight(self, item: Object) -> Fraction | None:
        """Return the weight that an annotation says, of cpus before others."""
        text = item.annotations.get(f"{_PREFIX}shared-weight")
        if text is None:
            return None
        found = self._read(item, "shared-weight", text)
        try:
            weights = {name: quantity(x) for name, x in mapping(found).items()}
        except ValueError:
            weights = {}
        if not weights:
            return None
        if len(set(weights.values())) > 1:
            text = "weights that differ by resource, of which one is taken"
            self._source.tell("weights", text, item.name)
        return weights.get("cpu", next(iter(weights.values())))

    def _read(self, item: Object, key: str, text: Any) -> Json:
        """Return an annotation that should be JSON; nothing, and told, if it is not."""
        try:
            found = json.loads(text, parse_float=Decimal) if isinstance(text, str) else None
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, (dict, list)):
            return found if isinstance(found, dict) else {str(one): one for one in found}
        self._source.tell("annotations", f"{key} that is no JSON: ignored", item.name)
        return {}

    def _namespaces(self, item: Object) -> list[str]:
        text = item.annotations.get(f"{_PREFIX}namespaces")
        own = [str(one) for one in listing(item.spec.get("namespaces"))]
        own += list(self._read(item, "namespaces", text)) if text is not None else []
        return own or ([item.namespace] if item.namespace else [])

    def client(self, pod: Pod) -> tuple[Path, str] | None:
        """Return the role and framework of a pod; None if no quota is for it. O(1)."""
        path = self._paths.get(pod.hint(_NAME)) or self._of_namespace.get(pod.namespace)
        return (path, pod.namespace) if path else None
