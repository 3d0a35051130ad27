"""YARN: the files of both schedulers, and what the ResourceManager answers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from allocator.errors import shown
from allocator.sim.importers.amounts import Amounts, Milli, number, rounded, total_of
from allocator.sim.importers.documents import Document
from allocator.sim.importers.options import Options
from allocator.sim.importers.source import Path, Queue, Source, Work
from allocator.sim.importers.yarn.capacity import PREFIX, Capacities
from allocator.sim.importers.yarn.fair import Allocations
from allocator.sim.importers.yarn.rest import Schedulers, Use, node_of
from allocator.sim.importers.yarn.words import (
    Json,
    as_json,
    listing,
    local,
    path_of,
    resource_info,
)

_WAITS = frozenset(("NEW", "NEW_SAVING", "SUBMITTED", "ACCEPTED"))
_ENDED = frozenset(("FINISHED", "FAILED", "KILLED", "FINISHING"))


class Reader:
    """Reads files and answers of YARN."""

    def __init__(self, source: Source, options: Options) -> None:
        self._source = source
        self._options = options
        self._configurations: list[tuple[dict[str, str], Document]] = []
        self._schedulers = Schedulers(source)
        self._factors: dict[Path, Fraction] = {}
        self._apps: dict[str, tuple[Json, Document]] = {}
        #: machine -> what is in use there, by nobody who is named
        self._used: dict[str, Milli] = {}

    def take(self, document: Document) -> bool:
        """Read a document; False if it is none of YARN. Raises `DumpError`, `InvalidValue`."""
        if document.form == "xml":
            return self._take_xml(document)
        if document.form != "json" or not isinstance(document.value, dict):
            return False
        return self._take_answer(document.value, document)

    def _take_xml(self, document: Document) -> bool:
        root = document.value
        tag = local(root.tag)
        if tag == "configuration":
            return self._take_configuration(root, document)
        if tag == "allocations":
            Allocations(self._source, document).read()
            return True
        return self._take_answer({tag: as_json(root)}, document)

    def _take_configuration(self, root: Any, document: Document) -> bool:
        properties: dict[str, str] = {}
        for child in root:
            if local(child.tag) == "include":
                self._source.tell("properties", "XInclude, which is not followed", document.file)
            cells = {local(cell.tag): (cell.text or "").strip() for cell in child}
            if "name" in cells:
                properties[cells["name"]] = cells.get("value", "")
        return self._take_properties(properties, document)

    def _take_properties(self, properties: dict[str, str], document: Document) -> bool:
        if not any(key.startswith(PREFIX) for key in properties):
            return False
        if f"{PREFIX}root.queues" not in properties:
            raise document.error(f"no property {PREFIX}root.queues")
        self._configurations.append((properties, document))
        return True

    def _take_answer(self, value: dict[str, Any], document: Document) -> bool:
        """Read an answer of the ResourceManager, or properties as Ambari keeps them."""
        known = False
        for holder in (value, *(one for one in listing(value.get("items")))):
            if isinstance(holder, dict) and isinstance(holder.get("properties"), dict):
                properties = {str(key): str(x) for key, x in holder["properties"].items()}
                known = self._take_properties(properties, document) or known
        scheduler = value.get("scheduler")
        info = scheduler.get("schedulerInfo") if isinstance(scheduler, dict) else None
        if isinstance(info, dict):
            self._schedulers.take(info, document)
            known = True
        for key, inner, take in (
            ("nodes", "node", self._node),
            ("apps", "app", self._app),
        ):
            listed = value.get(key)
            if isinstance(listed, dict) and inner in listed:
                known = True
                for one in listing(listed[inner]):
                    if not isinstance(one, dict):
                        raise document.error(f"{shown(one)} is no object", key)
                    take(one, document)
        return known

    def _node(self, info: Json, document: Document) -> None:
        node, used = node_of(info, document)
        self._source.add_node(node, document)
        self._used[node.id] = rounded(used)

    def _app(self, app: Json, document: Document) -> None:
        id = str(app.get("id") or "")
        if not id:
            raise document.error("an application without an id")
        known = self._apps.setdefault(id, (app, document))
        if known[0] is app:
            return
        if _held(known[0]) != _held(app) or known[0].get("queue") != app.get("queue"):
            raise document.error(
                f"application {shown(id)} is given twice, with different content:"
                " dumps of two clusters, or of two times"
            )
        self._source.tell("given twice", "applications given more than once, counted once", id)

    # In the end.

    def finish(self) -> None:
        """Decide what queues have and who uses what. Raises `DumpError`, `InvalidValue`."""
        total = self._total()
        for properties, document in self._configurations:
            capacities = Capacities(self._source, properties, document)
            capacities.read(total)
            self._factors.update(capacities.factors)
        self._factors.update(self._schedulers.factors)
        running = [one for one in self._apps.values() if _state(one[0]) == "RUNNING"]
        for app, document in self._apps.values():
            self._take_app(app, document)
        if not running:
            for use in self._schedulers.uses:
                self._take_use(use)
        elif self._schedulers.uses:
            text = "use by queue, which is that of the applications, counted once"
            self._source.tell("tasks", text, n=len(self._schedulers.uses))
        self._take_margins()
        if self._options.user_limits:
            self._limit_users()

    def _total(self) -> Milli | None:
        machines = self._options.machines()
        amounts = [dict(m.resources.milli) for m in machines]
        nodes = self._source.nodes.values()
        if nodes:
            amounts = [node.amounts for node in nodes if not node.state or node.stays]
        return total_of(amounts) if amounts else None

    def _path(self, queue: str) -> Path:
        """Return the path of a queue that an application names: whole, or its last name."""
        path = path_of(queue)
        queues = self._source.queues
        if path in queues or len(path) != 1:
            return path or ("default",)
        leaves = [known for known in queues if known[-1] == path[0]]
        return leaves[0] if len(leaves) == 1 else path

    def _take_app(self, app: Json, document: Document) -> None:
        state = _state(app)
        source = self._source
        if state in _ENDED:
            source.not_running["finished"] += 1
            return
        user = str(app.get("user") or "unknown")
        path = (*self._path(str(app.get("queue") or "default")), user)
        framework = "/".join(path)
        for each, count in _asked(app):
            source.waiting.append(Work(framework, path, rounded(each), count))
        if state in _WAITS:
            source.not_running[state.lower()] += 1
            if not _asked(app):
                text = "applications that wait, whose containers are not told"
                source.tell("tasks", text, str(app.get("id")))
                source.waiting.append(Work(framework, path, {}))
            return
        held = rounded(_held(app))
        n = int(max(Fraction(1), number(app.get("runningContainers") or 1)))
        if held:
            for demand, count in _even(held, n):
                source.running.append(Work(framework, path, demand, count))
        else:
            source.running.append(Work(framework, path, {}))
        if number(app.get("reservedMB") or 0) > 0:
            source.lacks("reserved containers", str(app.get("id")))

    def _take_use(self, use: Use) -> None:
        path = (*use.path, use.user) if use.user else use.path
        for demand, count in _even(use.amounts, use.containers):
            self._source.running.append(Work("/".join(path), path, demand, count))

    def _take_margins(self) -> None:
        """Tell use by machine, or keep it where nothing says whose it is."""
        used = {id: amounts for id, amounts in self._used.items() if amounts}
        if not used:
            return
        if any(work.demand for work in self._source.running):
            text = "use by machine, which no queue is told of: use by queue is placed first fit"
            for id in used:
                self._source.tell("unplaced", text, id)
            return
        for id, amounts in used.items():
            text = "use by machine of unknown queues: role *"
            self._source.tell("roles", text, id)
            self._source.running.append(Work("unknown", ("*",), amounts, machine=id, is_task=False))

    def _limit_users(self) -> None:
        """Limit users to so much of their queue's capacity."""
        for path in {work.path for work in (*self._source.running, *self._source.waiting)}:
            queue = self._source.queues.get(path[:-1])
            factor = self._factors.get(path[:-1])
            if queue is None or factor is None or path in self._source.queues:
                continue
            own = Queue(path, words=[f"user-limit-factor {float(factor):g}"])
            percent = queue.entitlement_percent
            if isinstance(percent, Fraction):
                own.limit_percent = min(Fraction(100), percent * factor)
            elif percent is not None:
                own.limit_percent = {n: min(Fraction(100), x * factor) for n, x in percent.items()}
            elif queue.entitlement:
                own.limit = {name: x * factor for name, x in queue.entitlement.items()}
            self._source.queues[path] = own
            text = "user-limit-factor as a limit on users"
            self._source.tell("limits", text, "/".join(path))


def _state(app: Json) -> str:
    return str(app.get("state") or "RUNNING").upper()


def _held(app: Json) -> Amounts:
    """Return what an application holds; -1 stands for nothing."""
    found = {
        name: number(app.get(key) or 0)
        for name, key in (("mem", "allocatedMB"), ("cpus", "allocatedVCores"))
    }
    return {name: amount for name, amount in found.items() if amount > 0}


def _asked(app: Json) -> list[tuple[Amounts, int]]:
    """Return the containers that an application waits for."""
    found = []
    for one in listing(app.get("resourceRequests")):
        each = resource_info(one.get("capability"))
        count = int(number(one.get("numContainers") or 0))
        if count > 0 and any(each.values()) and one.get("resourceName", "*") == "*":
            found.append((each, count))
    return found


def _even(amounts: Milli, n: int) -> list[tuple[Milli, int]]:
    """Return n equal parts, the last one with what is left over."""
    common = {name: amount // n for name, amount in amounts.items()}
    rest = {name: amount - common[name] * (n - 1) for name, amount in amounts.items()}
    parts = [({k: x for k, x in common.items() if x}, n - 1)] if n > 1 else []
    return [*parts, ({name: x for name, x in rest.items() if x}, 1)]
