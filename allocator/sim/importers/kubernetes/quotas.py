"""ResourceQuotas: limits of name spaces."""

from __future__ import annotations

from fractions import Fraction

from allocator.errors import shown
from allocator.sim.importers.amounts import Amounts, positive, quantity
from allocator.sim.importers.kubernetes.words import Object, mapping, named
from allocator.sim.importers.source import Queue, Source

_REQUESTS = "requests."


class ResourceQuotas:
    """Collects the quotas of name spaces; of several, the smallest binds."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._known: dict[tuple[str, str], Object] = {}

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
        limit: Amounts = {}
        for name, text in mapping(item.spec.get("hard")).items():
            resource = str(name).removeprefix(_REQUESTS)
            asks = str(name).startswith(_REQUESTS) and resource != "storage"
            if (
                asks
                or resource in ("cpu", "memory", "ephemeral-storage")
                or "hugepages-" in resource
            ):
                limit.update(_limit(resource, positive(quantity(text), text)))
            else:
                self._source.lacks("quotas of limits and of numbers of objects", f"{title}: {name}")
        path = (item.namespace or "default",)
        queue = self._source.queues.setdefault(path, Queue(path))
        for name, amount in limit.items():
            queue.limit[name] = min(amount, queue.limit.get(name, amount))
        queue.words.append(f"ResourceQuota {item.name}")


def _limit(resource: str, amount: Fraction) -> Amounts:
    return named({resource: amount})
