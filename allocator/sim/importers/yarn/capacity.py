"""The CapacityScheduler's configuration: percentages, weights, amounts, and vectors of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from allocator.errors import shown
from allocator.sim.importers.amounts import Amounts, Milli, number
from allocator.sim.importers.documents import Document
from allocator.sim.importers.source import Path, Queue, Source
from allocator.sim.importers.yarn.words import product, value_of, vector

PREFIX = "yarn.scheduler.capacity."
_ROOT = "root"
_STATE = "state"

#: The end of a property -> what of it is not modelled.
_COUNTED = {
    "user-limit-factor": "user-limit-factor: a lone user gets at most so much of its queue",
    "minimum-user-limit-percent": "minimum-user-limit-percent of queues",
    "maximum-am-resource-percent": "shares for application masters (maximum-am-resource-percent)",
    "maximum-applications": "maximum-applications",
    "ordering-policy": "ordering policies of queues",
    "acl_submit_applications": "access lists",
    "acl_administer_queue": "access lists",
    "accessible-node-labels": "node labels",
    "default-node-label-expression": "node labels",
    "disable_preemption": "preemption",
    "priority": "priorities of queues",
    "maximum-allocation-mb": "largest containers",
    "maximum-allocation-vcores": "largest containers",
    "maximum-application-lifetime": "lifetimes of applications",
    "default-application-lifetime": "lifetimes of applications",
    "queue-mappings": "placement rules",
    "enabled": "queues made at run time",
}

Value = dict[str, tuple[Fraction, str]] | tuple[Fraction, str] | None


@dataclass(slots=True)
class _Entry:
    path: Path
    dotted: str
    capacity: Value
    maximum: Value
    state: str
    factor: Fraction
    children: list[str] = field(default_factory=list)
    effective: Amounts = field(default_factory=dict)


class Capacities:
    """Reads the properties of a CapacityScheduler."""

    def __init__(self, source: Source, properties: Mapping[str, str], document: Document) -> None:
        self._source = source
        self._document = document
        self._values = {
            key.strip()[len(PREFIX) :]: value.strip()
            for key, value in properties.items()
            if key.strip().startswith(PREFIX)
        }
        self._entries: dict[str, _Entry] = {}
        #: path -> user-limit-factor
        self.factors: dict[Path, Fraction] = {}

    def read(self, total: Milli | None) -> None:
        """Make queues of all that the lists of queues name. Raises `DumpError`, `InvalidValue`."""
        if f"{_ROOT}.queues" not in self._values:
            raise self._document.error(f"no property {PREFIX}{_ROOT}.queues")
        self._walk(_ROOT, ())
        root = self._entries[_ROOT]
        if total is not None:
            root.effective = {name: Fraction(x, 1000) for name, x in total.items()}
        self._settle(root, total)
        for entry in self._entries.values():
            if entry.path:
                self._source.add_queue(self._queue(entry), self._document)
                self.factors[entry.path] = entry.factor
        text = "capacities: YARN orders siblings by what they use of theirs, here by dominant share"
        self._source.tell("weights", text, n=len(self._entries) - 1)
        self._count()

    def _walk(self, dotted: str, path: Path) -> None:
        get = self._values.get
        if dotted in self._entries:
            raise self._document.error(f"queue {shown(dotted)} is listed twice")
        if len(path) > 100:
            raise self._document.error(f"queue {shown(dotted)} is too deep")
        factor = get(f"{dotted}.user-limit-factor") or get("user-limit-factor") or "1"
        entry = _Entry(
            path,
            dotted,
            self._value(dotted, "capacity"),
            self._value(dotted, "maximum-capacity"),
            get(f"{dotted}.{_STATE}") or "",
            number(factor),
        )
        self._entries[dotted] = entry
        for name in (get(f"{dotted}.queues") or "").split(","):
            if name.strip():
                child = f"{dotted}.{name.strip()}"
                entry.children.append(child)
                self._walk(child, (*path, name.strip()))

    def _value(self, dotted: str, key: str) -> Value:
        text = self._values.get(f"{dotted}.{key}")
        if not text:
            return None
        if "${" in text:
            self._source.tell("properties", "variables, which are not looked up", dotted)
            return None
        return vector(text) if text.startswith("[") else value_of(text)

    # Capacities.

    def _settle(self, entry: _Entry, total: Milli | None) -> None:
        """Find what the children of a queue are entitled to, of what the queue is."""
        children = [self._entries[name] for name in entry.children]
        kinds = {kind for child in children for kind in _kinds(child.capacity)}
        if len(kinds) > 1:
            if total is None:
                raise self._document.error(
                    f"queues below {shown(entry.dotted)} mix amounts, percentages and weights:"
                    " give the cluster's machines with them (--cluster)"
                )
            self._mix(entry, children)
        for child in children:
            if not child.effective:
                child.effective = _own(child.capacity, entry.effective)
            self._settle(child, total)

    @staticmethod
    def _mix(entry: _Entry, children: list[_Entry]) -> None:
        """Give amounts first, percentages of the rest, and what is left by weight."""
        for name, whole in entry.effective.items():
            wanted = {child.dotted: _of(child.capacity, name) for child in children}
            fixed = sum((x for x, kind in wanted.values() if kind == ""), Fraction(0))
            rest = max(Fraction(0), whole - fixed)
            parts = sum((x for x, kind in wanted.values() if kind == "%"), Fraction(0))
            left = max(Fraction(0), rest * (100 - parts) / 100)
            weights = sum((x for x, kind in wanted.values() if kind == "w"), Fraction(0))
            for child in children:
                x, kind = wanted[child.dotted]
                if kind == "%":
                    x = rest * x / 100
                elif kind == "w":
                    x = left * x / weights if weights else Fraction(0)
                child.effective[name] = x

    def _queue(self, entry: _Entry) -> Queue:
        queue = Queue(entry.path)
        parent = self._entries[entry.dotted.rpartition(".")[0]]
        siblings = [self._entries[name] for name in parent.children]
        kinds = {kind for one in siblings for kind in _kinds(one.capacity)}
        capacity = entry.capacity
        if isinstance(capacity, tuple) and len(kinds) == 1 and capacity[1] in ("", "%"):
            queue.weight = capacity[0]
            queue.entitlement_percent = self._absolute(entry)
        elif isinstance(capacity, tuple) and len(kinds) == 1:
            queue.weight = capacity[0]
        elif isinstance(capacity, dict) and kinds == {"w"}:
            queue.weight = max(x for x, _ in capacity.values())
        elif isinstance(capacity, dict) and kinds == {"%"}:
            queue.entitlement_percent = self._absolute(entry)
        elif capacity is not None:
            queue.entitlement = dict(entry.effective)
        self._limit(queue, entry, parent)
        queue.state = entry.state if entry.state.upper() == "STOPPED" else ""
        if queue.state:
            self._source.tell("queues", "queues that are STOPPED", "/".join(entry.path))
        for key in ("capacity", "maximum-capacity"):
            text = self._values.get(f"{entry.dotted}.{key}")
            if text:
                queue.words.append(f"{key} {text}")
        return queue

    def _absolute(self, entry: _Entry) -> Fraction | Amounts | None:
        """Return a queue's percentage of the cluster, of all that it has or by name.

        None where no percentages lead to it; what a vector does not name is none of it.
        """
        if not entry.path:
            return Fraction(100)
        above = self._absolute(self._entries[entry.dotted.rpartition(".")[0]])
        capacity = entry.capacity
        if above is None or capacity is None or set(_kinds(capacity)) != {"%"}:
            return None
        if isinstance(capacity, tuple):
            own, parts = capacity[0], above
            if isinstance(parts, Fraction):
                return parts * own / 100
            return {name: x * own / 100 for name, x in parts.items()}
        of = above if isinstance(above, dict) else dict.fromkeys(capacity, above)
        return {name: of.get(name, Fraction(0)) * x / 100 for name, (x, _) in capacity.items()}

    # Limits.

    def _limit(self, queue: Queue, entry: _Entry, parent: _Entry) -> None:
        above = self._source.queues.get(parent.path)
        own = entry.maximum
        if isinstance(own, dict) and any(kind == "" for _, kind in own.values()):
            queue.limit = {name: x for name, (x, kind) in own.items() if kind == ""}
            return
        percent: Fraction | Amounts = Fraction(100)
        if isinstance(own, dict):
            percent = {name: x for name, (x, _) in own.items()}
        elif own is not None and own[0] >= 0:
            percent = own[0]
        if above is not None and above.limit and isinstance(percent, Fraction):
            queue.limit = {name: x * percent / 100 for name, x in above.limit.items()}
            return
        queue.limit_percent = product(above.limit_percent if above else None, percent)

    # What is not modelled.

    def _count(self) -> None:
        source = self._source
        known = set(self._entries)
        for key, value in self._values.items():
            dotted, _, name = key.rpartition(".")
            if key == "resource-calculator" and value.endswith("DefaultResourceCalculator"):
                source.lacks("DefaultResourceCalculator: memory alone counts", key)
            elif name in ("capacity", "queues", "maximum-capacity") and dotted not in known:
                text = "properties of queues that no list of queues names, ignored"
                source.tell("properties", text, f"{key}={value}")
            elif name in _COUNTED and _says_something(name, value):
                source.lacks(_COUNTED[name], dotted.removeprefix(f"{_ROOT}.") or key)
            elif ".auto-create-child-queue" in key or "auto-queue-creation" in key:
                source.lacks("queues made at run time", key)


def _says_something(name: str, value: str) -> bool:
    return value.strip() not in ("", "-1") and not (name.startswith("acl_") and value == "*")


def _kinds(value: Value) -> Iterator[str]:
    """Yield the kinds in a capacity; a plain number is a percentage."""
    if isinstance(value, dict):
        yield from (kind for _, kind in value.values())
    elif value is not None:
        yield value[1] or "%"


def _of(value: Value, name: str) -> tuple[Fraction, str]:
    if isinstance(value, dict):
        return value.get(name, (Fraction(0), ""))
    return (Fraction(0), "") if value is None else (value[0], value[1] or "%")


def _own(value: Value, above: Amounts) -> Amounts:
    """Return what a capacity of one kind is in amounts, as far as it can be told."""
    if isinstance(value, dict):
        return {
            name: x if kind == "" else above.get(name, Fraction(0)) * x / 100
            for name, (x, kind) in value.items()
            if kind != "w"
        }
    if value is None or value[1] == "w":
        return {}
    return {name: x * value[0] / 100 for name, x in above.items()}
