"""YuniKorn: the queues of one partition, plain or inside a ConfigMap."""

from __future__ import annotations

import base64
import binascii
import gzip
import io
from collections.abc import Iterator
from typing import Any

from allocator.errors import InvalidValue, shown
from allocator.files import Input
from allocator.sim.importers.documents import Document
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
from allocator.sim.importers.yamls import yaml_documents

_QUEUE_HINTS = ("yunikorn.apache.org/queue", "queue")
_DEFAULT = "default"
_ROOT = "root"
_KEY = "queues.yaml"


class Room:
    """Reads the configuration of YuniKorn."""

    HINTS = frozenset(_QUEUE_HINTS)

    def __init__(self, source: Source, options: Options) -> None:
        self._source = source
        self._wanted = options.partition
        #: partition -> its queues, as the file has them, with where they stand
        self._partitions: dict[str, list[tuple[Json, Document]]] = {}
        self._is_there = False

    @staticmethod
    def knows(item: Object) -> bool:
        """Tell whether an object holds a configuration of YuniKorn."""
        if item.kind == "ConfigMap":
            data = {**mapping(item.value.get("data")), **mapping(item.value.get("binaryData"))}
            return _KEY in data or f"{_KEY}.gz" in data
        return item.kind == "" and isinstance(item.value.get("partitions"), list)

    def take(self, item: Object) -> None:
        """Read a configuration. Raises `DumpError`, `InvalidValue`."""
        if item.kind == "":
            self._take(item.value, item.document)
            return
        for text in _texts(item):
            for _, value in yaml_documents(text):
                self._take(mapping(value), item.document)

    def _take(self, value: Json, document: Document) -> None:
        for partition in listing(value.get("partitions")):
            partition = mapping(partition)
            name = str(partition.get("name") or _DEFAULT)
            if name.startswith("<"):
                raise document.error(f"partition {shown(name)}: a placeholder")
            known = self._partitions.setdefault(name, [])
            if any(partition == other for other, _ in known):
                self._source.tell("given twice", "partitions given more than once", name)
            else:
                known.append((partition, document))

    def finish(self) -> None:
        """Make roles of the queues of one partition. Raises `InvalidValue`, `DumpError`."""
        if not self._partitions:
            return
        name = self._chosen()
        for other in self._partitions:
            if other != name:
                text = "partitions left out: each is its own cluster (--partition)"
                self._source.tell("partitions", text, other)
        for partition, document in self._partitions[name]:
            for key, what in (
                ("placementrules", "placement rules of YuniKorn"),
                ("limits", "limits of users and groups of YuniKorn"),
                ("preemption", "preemption of YuniKorn"),
                ("nodesortpolicy", "node sorting of YuniKorn"),
                ("statedumpfilepath", "state dumps of YuniKorn"),
            ):
                found = partition.get(key)
                if found:
                    n = len(found) if isinstance(found, list) else 1
                    self._source.lacks(what, name, n)
            queues = listing(partition.get("queues"))
            roots = [q for q in queues if str(mapping(q).get("name")).lower() == _ROOT]
            if roots and len(queues) == 1:
                self._root(roots[0], document)
                queues = listing(roots[0].get("queues"))
            for queue in queues:
                self._queue(mapping(queue), (), document)
        text = "queues have no weights; sorting compares use with what is guaranteed, or is fifo"
        self._source.tell("weights", text, name)
        self._is_there = True

    def _chosen(self) -> str:
        if self._wanted is not None:
            if self._wanted not in self._partitions:
                known = ", ".join(self._partitions)
                raise InvalidValue(f"partition {shown(self._wanted)} is none of {known}")
            return self._wanted
        if _DEFAULT in self._partitions or len(self._partitions) > 1:
            if _DEFAULT not in self._partitions:
                known = ", ".join(self._partitions)
                raise InvalidValue(f"partitions {known}: --partition says which")
            return _DEFAULT
        return next(iter(self._partitions))

    def _root(self, root: Json, document: Document) -> None:
        if root.get("resources"):
            raise document.error("resources of the queue root, which YuniKorn refuses")
        self._count(root, _ROOT)

    def _queue(self, queue: Json, above: Path, document: Document) -> None:
        name = queue.get("name")
        if not name:
            raise document.error(f"a queue without a name below {shown('/'.join(above))}")
        path = (*above, *(part for part in str(name).split(".") if part != _ROOT or above))
        resources = mapping(queue.get("resources"))
        made = Queue(
            path,
            entitlement=named(all_amounts(resources.get("guaranteed"))),
            limit=named(all_amounts(resources.get("max"))),
        )
        for key, one in resources.items():
            if one:
                inner = " ".join(f"{n} {x}" for n, x in mapping(one).items())
                made.words.append(f"{key} {inner}")
        self._count(queue, "/".join(path))
        self._source.add_queue(made, document)
        for inner in listing(queue.get("queues")):
            self._queue(mapping(inner), path, document)

    def _count(self, queue: Json, name: str) -> None:
        for key, what in (
            ("limits", "limits of users and groups of YuniKorn"),
            ("childtemplate", "templates of queues made at run time"),
            ("maxapplications", "maxapplications of queues"),
            ("properties", "properties of queues: sorting, priorities, preemption"),
            ("adminacl", "access lists of queues"),
            ("submitacl", "access lists of queues"),
        ):
            found = queue.get(key)
            if found:
                self._source.lacks(what, name, len(found) if isinstance(found, list) else 1)

    def client(self, pod: Pod) -> tuple[Path, str] | None:
        """Return the role and framework of a pod; None if YuniKorn does not know it. O(length)."""
        name = pod.hint(*_QUEUE_HINTS) if self._is_there else ""
        path = tuple(part for part in name.split(".") if part and part != _ROOT)
        return (path, pod.namespace) if path in self._source.queues else None


def _texts(item: Object) -> Iterator[str]:
    """Yield the configurations in a ConfigMap, unpacked."""
    text = mapping(item.value.get("data")).get(_KEY)
    if isinstance(text, str):
        yield text
    packed: dict[str, Any] = dict(mapping(item.value.get("binaryData")))
    for key, one in packed.items():
        if key not in (_KEY, f"{_KEY}.gz"):
            continue
        try:
            content = base64.b64decode("".join(str(one).split()), validate=True)
            with Input(io.BytesIO(content)) as file:
                yield file.read(1 << 26).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError, gzip.BadGzipFile) as error:
            raise item.document.error(f"{key}: {error}") from None
