"""What the ResourceManager's REST API answers: the scheduler, nodes and applications."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from allocator.errors import shown
from allocator.sim.importers.amounts import Amounts, Milli, number, rounded
from allocator.sim.importers.documents import Document
from allocator.sim.importers.source import Node, Path, Queue, Source
from allocator.sim.importers.yarn.words import Json, listing, path_of, resource_info

_UNUSED = Fraction(-1)
#: States of nodes that take nothing new; of the first, those that stay part of the cluster.
_DRAINED = ("DECOMMISSIONING",)
_WORKS = ("RUNNING", "NEW")


# The scheduler.


@dataclass(slots=True)
class Use:
    """What is in use of a queue, by a user or by nobody who is named."""

    path: Path
    user: str
    amounts: Milli
    containers: int


class Schedulers:
    """Reads `/scheduler`, of either scheduler."""

    def __init__(self, source: Source) -> None:
        self._source = source
        #: (queue, user) -> what is in use
        self._uses: dict[tuple[Path, str], Use] = {}
        self.factors: dict[Path, Fraction] = {}

    @property
    def uses(self) -> list[Use]:
        """What is in use, by queue and user. O(uses)."""
        return list(self._uses.values())

    def _add_use(self, use: Use) -> None:
        """Take a use once, however often it is told of."""
        self._uses.setdefault((use.path, use.user), use)

    def take(self, info: Json, document: Document) -> None:
        """Read what the scheduler says. Raises `DumpError`, `InvalidValue`."""
        if "fair" in str(info.get("type") or "").lower() or "rootQueue" in info:
            for child in _children(info.get("rootQueue") or {}, "childQueues"):
                self._fair(child, (), document)
            return
        whole = list(_all_queues(info))
        is_plain = all(_mode(queue) in ("percentage", "weight") for queue in whole)
        for child in _children(info, "queues"):
            self._capacity(child, (), document, is_plain=is_plain)

    def _capacity(self, info: Json, above: Path, document: Document, *, is_plain: bool) -> None:
        path = _path(info, above, document)
        queue = Queue(path)
        parts = _partitions(info)
        own = parts.pop("", {})
        weight = number(info.get("weight", -1) or 0)
        capacity = number(info.get("capacity", 0) or 0)
        queue.weight = weight if weight != _UNUSED else capacity
        least = resource_info(own.get("effectiveMinResource"))
        queue.entitlement = least if any(least.values()) else {}
        if is_plain and info.get("absoluteCapacity") is not None:
            queue.entitlement_percent = number(info["absoluteCapacity"])
        if info.get("absoluteMaxCapacity") is not None:
            queue.limit_percent = number(info["absoluteMaxCapacity"])
        most = resource_info(own.get("effectiveMaxResource"))
        bounded = number(info.get("absoluteMaxCapacity", 100) or 0) < 100 or not is_plain
        if bounded and any(most.values()):
            queue.limit = most
            queue.limit_percent = None if not is_plain else queue.limit_percent
        queue.words.append(f"capacity {info.get('capacity')}, maximum {info.get('maxCapacity')}")
        self._state(queue, info)
        for label in parts:
            self._source.lacks("node labels", f"{'/'.join(path)}: {label}")
        self._count(info, path)
        self._source.add_queue(queue, document)
        inner = _children(info, "queues")
        for child in inner:
            self._capacity(child, path, document, is_plain=is_plain)
        if not inner:
            self.factors[path] = number(info.get("userLimitFactor", 1) or 1)
            self._use(info, path)

    def _state(self, queue: Queue, info: Json) -> None:
        state = str(info.get("state") or "RUNNING")
        if state not in ("RUNNING", ""):
            queue.state = state
            self._source.tell("queues", f"queues that are {state}", "/".join(queue.path))
        if str(info.get("creationMethod") or "static") != "static":
            text = "queues that were made at run time"
            self._source.tell("queues", text, "/".join(queue.path))

    def _count(self, info: Json, path: Path) -> None:
        title = "/".join(path)
        if info.get("userLimitFactor") is not None:
            self._source.lacks("user-limit-factor of queues", title)
        if str(info.get("preemptionDisabled", "true")).lower() == "false":
            self._source.lacks("preemption", title)
        if number(info.get("queuePriority", 0) or 0):
            self._source.lacks("priorities of queues", title)

    def _use(self, info: Json, path: Path) -> None:
        """Take what is in use of a leaf, by user where that is said."""
        users = info.get("users")
        named = listing(users.get("user") if isinstance(users, dict) else users)
        left = resource_info(info.get("resourcesUsed") or info.get("usedResources"))
        for user in named:
            held = resource_info(user.get("resourcesUsed"))
            if any(held.values()):
                self._add_use(Use(path, str(user.get("username")), rounded(held), 1))
                left = {name: max(Fraction(0), x - held.get(name, 0)) for name, x in left.items()}
        if any(left.values()):
            n = int(number(info.get("numContainers") or info.get("allocatedContainers") or 1))
            self._add_use(Use(path, "", rounded(left), max(1, n if not named else 1)))

    def _fair(self, info: Json, above: Path, document: Document) -> None:
        path = path_of(str(info.get("queueName") or ""))
        if not path:
            raise document.error(f"a queue without a name below {shown('/'.join(above))}")
        queue = Queue(path, weight=number(info["weight"]) if info.get("weight") else None)
        queue.entitlement = {
            name: x for name, x in resource_info(info.get("minResources")).items() if x
        }
        queue.limit = resource_info(info.get("maxResources"))
        if info.get("schedulingPolicy") not in (None, "DRF"):
            policy = str(info["schedulingPolicy"]).lower()
            self._source.lacks(f"queues of policy {policy}", "/".join(path))
        self._source.add_queue(queue, document)
        inner = _children(info, "childQueues")
        for child in inner:
            self._fair(child, path, document)
        if not inner:
            self._use(info, path)


def _children(info: Json, key: str) -> list[Json]:
    inner = info.get(key)
    if isinstance(inner, dict) and "queueName" not in inner:
        inner = inner.get("queue")
    found = listing(inner)
    return [one for one in found if isinstance(one, dict)]


def _all_queues(info: Json) -> Iterator[Json]:
    for child in _children(info, "queues"):
        yield child
        yield from _all_queues(child)


def _mode(info: Json) -> str:
    mode = info.get("mode")
    if mode:
        return str(mode)
    absolute = str(info.get("isAbsoluteResource", "false")).lower() == "true"
    return "absolute" if absolute else "percentage"


def _path(info: Json, above: Path, document: Document) -> Path:
    name = str(info.get("queueName") or "").strip()
    dotted = str(info.get("queuePath") or "").strip()
    path = path_of(dotted) if dotted else (*above, name.rpartition(".")[2])
    if not path or not path[-1]:
        raise document.error(f"a queue without a name below {shown('/'.join(above))}")
    return path


def _partitions(info: Json) -> dict[str, Json]:
    """Return node label -> what is said of it."""
    capacities = info.get("capacities") or {}
    found = {}
    for one in listing(capacities.get("queueCapacitiesByPartition")):
        found[str(one.get("partitionName") or "")] = one
    return found


# Nodes.


def node_of(info: Json, document: Document) -> tuple[Node, Amounts]:
    """Return a machine, and what is in use there. Raises `DumpError`, `InvalidValue`."""
    id = str(info.get("id") or "")
    if not id:
        raise document.error("a node without an id")
    used = _node_amounts(info, "usedMemoryMB", "usedVirtualCores", "usedResource")
    free = _node_amounts(info, "availMemoryMB", "availableVirtualCores", "availableResource")
    has = resource_info(info.get("totalResource")) or {
        name: used.get(name, Fraction(0)) + free.get(name, Fraction(0)) for name in {**used, **free}
    }
    state = str(info.get("state") or "RUNNING")
    node = Node(id, rounded(has), attributes={"rack": str(info.get("rack") or "")})
    labels = [str(label) for label in listing(info.get("nodeLabels")) if label]
    if labels:
        node.attributes["labels"] = ",".join(labels)
    if state not in _WORKS or (state == "NEW" and not node.amounts):
        node.state, node.stays = state, state in _DRAINED
    return node, used


def _node_amounts(info: Json, memory: str, cores: str, whole: str) -> Amounts:
    found = resource_info(info.get(whole))
    for name, key in (("mem", memory), ("cpus", cores)):
        if info.get(key) is not None:
            found[name] = max(Fraction(0), number(info[key]))
    return found
