"""ResourceQuotas: limits of name spaces."""

from __future__ import annotations

from allocator.errors import shown
from allocator.sim.importers.amounts import Amounts, limit_by, positive, quantity
from allocator.sim.importers.kubernetes.words import Object, mapping, named
from allocator.sim.importers.options import Options
from allocator.sim.importers.source import Queue, Source

_REQUESTS = "requests."


class ResourceQuotas:
    """Collects the quotas of name spaces; of several, the smallest binds."""

    def __init__(self, source: Source, options: Options) -> None:
        self._source = source
        self._by_label = options.role_label is not None
        self._known: dict[tuple[str, str], Object] = {}
        #: name space -> the least that its quotas say, under the source's names
        self._least: dict[str, Amounts] = {}
        #: name space -> its quotas, for people
        self._words: dict[str, list[str]] = {}

    def take(self, item: Object) -> None:
        """Take a quota. Raises `DumpError`, `InvalidValue`."""
        known = self._known.setdefault((item.namespace, item.name), item)
        if known is not item and known.value.get("spec") != item.value.get("spec"):
            raise item.document.error(
                f"ResourceQuota {shown(item.name)} is given twice, with different content"
            )
        if known is not item:
            return
        title = f"{item.namespace}/{item.name}"
        if item.spec.get("scopes") or item.spec.get("scopeSelector"):
            self._source.lacks("quotas with scopes", title)
            return
        least = self._least.setdefault(item.namespace or "default", {})
        for name, text in mapping(item.spec.get("hard")).items():
            resource = str(name).removeprefix(_REQUESTS)
            asks = str(name).startswith(_REQUESTS) and resource != "storage"
            if (
                asks
                or resource in ("cpu", "memory", "ephemeral-storage")
                or resource.startswith("hugepages-")
            ):
                amount = positive(quantity(text), text)
                limit_by(least, {resource: amount})
            else:
                self._source.lacks("quotas of limits and of numbers of objects", f"{title}: {name}")
        self._words.setdefault(item.namespace or "default", []).append(f"ResourceQuota {item.name}")

    def finish(self) -> None:
        """Make limits of what was taken: of devices that count as one, their sum.

        After the queues of others: a queue of a name space's name is one role with it. O(quotas).
        """
        for namespace, least in self._least.items():
            path = (namespace,)
            if path in self._source.queues:
                text = "queues of the name of a name space with quotas: one role, both limits bind"
                self._source.tell("queues", text, namespace)
            queue = self._source.queues.setdefault(path, Queue(path))
            queue.words += self._words[namespace]
            limit_by(queue.limit, named(least))
            if least and self._by_label:
                text = "quotas of name spaces, whose pods have the roles of their labels instead"
                self._source.lacks(text, namespace)
