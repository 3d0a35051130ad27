"""A dump as what the lab runs on: machines, roles, work, and what was told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

from allocator.errors import InvalidValue
from allocator.resources import Quantities
from allocator.roles import ancestry
from allocator.sim.cluster import MAX_MACHINES, Machine
from allocator.sim.importers.amounts import (
    Amounts,
    Milli,
    add_milli,
    plain,
    quantities,
    total_of,
)
from allocator.sim.importers.holding import Client, holding
from allocator.sim.importers.names import Names
from allocator.sim.importers.placing import place
from allocator.sim.importers.policy import Entitlements, Role, roles_of
from allocator.sim.importers.source import Node, Outage, Source, Told, Work

if TYPE_CHECKING:
    from allocator.sim.scenario import Scenario

Json = dict[str, Any]
#: Client -> what it holds of one machine, and the ranges and sets with it.
Held = dict[Client, tuple[Milli, list[str]]]


@dataclass(frozen=True, slots=True)
class Tenant:
    """A framework in one role: whose name work goes by in a scenario."""

    name: str
    framework: str
    role: str


class Imported:
    """What a dump says, decided.

    Made by `read`. Machines that take nothing new and hold nothing are not in `machines`, but those
    that are drained or cordoned are.

    Attributes
    ----------
    system : str
    machines : dict
        Machine id -> `Node`, of all that are part of the cluster, in the order of the dump.
    roles : dict
        Role path -> `Role`.
    running, waiting : list of Work
        All of it, in the order of the dump, those that ask for nothing with it.
    told : list of Told
        What people should know, counted.
    reserved : dict
        Machine id -> role path -> what stays reserved for it there, in thousandths.
    outages : list of Outage
        Planned maintenance.
    """

    def __init__(
        self, source: Source, mode: Entitlements, machines: Sequence[Machine] = ()
    ) -> None:
        self.system = source.system
        self._source = source
        self._names = Names()
        if source.nodes and machines:
            source.tell("machines", "the dump has machines: those of --cluster are not used")
        elif machines:
            source.nodes = {m.id: Node(m.id, dict(m.resources.milli), m.kind) for m in machines}
        source.running = [work for work in source.running if work.count > 0]
        source.waiting = [work for work in source.waiting if work.count > 0]
        self._holding = {work.machine for work in source.running if work.demand}
        self.machines = {id: node for id, node in source.nodes.items() if self._is_kept(node)}
        self._tell_machines()
        total = total_of(node.amounts for node in self.machines.values())
        self.roles = roles_of(source, self._names, mode, total if self.machines else None)
        self._add_roles()
        self.placement = place(source, self.machines)
        self._tell_work()
        #: machine -> role -> what is reserved for it there
        self.reserved = self._reservations()

    @property
    def running(self) -> list[Work]:
        """All work that runs. O(1)."""
        return self._source.running

    @property
    def waiting(self) -> list[Work]:
        """All work that waits. O(1)."""
        return self._source.waiting

    @property
    def told(self) -> list[Told]:
        """What people should know, counted. O(n log n)."""
        return self._source.told

    @property
    def inactive(self) -> frozenset[str]:
        """The machines on which nothing new starts. O(machines)."""
        return frozenset(id for id, node in self.machines.items() if node.state)

    def _is_kept(self, node: Node) -> bool:
        return bool(node.amounts) and (not node.state or node.stays or node.id in self._holding)

    def _tell_machines(self) -> None:
        source = self._source
        for id, node in source.nodes.items():
            if id not in self.machines:
                why = node.state or "has nothing"
                source.tell("machines", f"machines left out: {why}", id)
            elif node.state:
                source.tell("machines", f"machines that take nothing new: {node.state}", id)
            if node.reserved and id in self.machines:
                source.tell("reservations", "machines with static reservations for roles", id)
        if len(self.machines) > MAX_MACHINES:
            raise InvalidValue(f"{len(self.machines)} machines, more than {MAX_MACHINES}")

    def _add_roles(self) -> None:
        """Add the roles of work, and of frameworks and reservations, that no queue is for."""
        source = self._source
        paths = [work.path for work in (*source.running, *source.waiting)]
        paths += [path for own in source.frameworks.values() for path in own]
        paths += [path for node in self.machines.values() for path in node.reserved]
        for path in dict.fromkeys(paths):
            for depth in range(1, len(path) + 1):
                role = self._names.role(path[:depth])
                self.roles.setdefault(role, Role(role))
        for before, role in self._names.encoded.items():
            source.tell("names", "names that no role may have, encoded", f"{before} -> {role}")

    def _tell_full(self) -> None:
        """Tell of machines that run as many tasks as they may, whatever is left there."""
        n_tasks = Counter(w.machine for w in self.running if w.machine is not None)
        for id, node in self.machines.items():
            if node.most_tasks is not None and n_tasks[id] >= node.most_tasks:
                text = "machines that run as many tasks as they may: numbers of tasks have no limit"
                self._source.lacks(text, id)

    def _tell_work(self) -> None:
        source = self._source
        self._tell_full()
        asks_nothing = sum(work.n_tasks for work in source.running if not work.demand)
        n_running = sum(work.n_tasks for work in source.running)
        if asks_nothing:
            text = f"of {n_running} running tasks ask for nothing: no share sees them"
            source.tell("tasks", text, None, asks_nothing)
        for work in source.waiting:
            text = "waiting tasks" if work.demand else "waiting tasks that ask for nothing"
            source.tell("tasks", text, self.role(work), work.n_tasks)
            if self.role(work) in self.closed:
                text = "tasks of queues that take nothing new, which go on waiting"
                source.tell("queues", text, self.role(work), work.n_tasks)
        for what, n in source.not_running.items():
            source.tell("not running", f"tasks: {what}", None, n)

    @cached_property
    def closed(self) -> frozenset[str]:
        """The roles whose queue, or one above it, takes no new work. O(roles × depth)."""
        own = {path for path, role in self.roles.items() if role.queue and role.queue.state}
        return frozenset(path for path in self.roles if own.intersection(ancestry(path)))

    def wanted(self) -> list[Work]:
        """Return what waits and may start: not that of queues which take nothing new. O(work)."""
        return [w for w in self.waiting if w.demand and self.role(w) not in self.closed]

    def role(self, work: Work) -> str:
        """Return the role of work. O(1)."""
        return self._names.role(work.path)

    # As JSON.

    def to_json(self) -> Json:
        """Return everything as `allocator import --json` prints it. O(size)."""
        source = self._source
        unusable = {id: node.state for id, node in source.nodes.items() if node.state}
        per_machine: dict[str, Milli] = {}
        for work in source.running:
            if work.machine is not None and work.demand:
                add_milli(per_machine.setdefault(work.machine, {}), work.demand, work.count)
        unplaced: dict[str, Milli] = {}
        for work in self.placement.unplaced:
            add_milli(unplaced.setdefault(work.framework, {}), work.demand, work.count)
        return {
            "system": self.system,
            "machines": {
                "count": len(source.nodes),
                "unusable": len(unusable),
                "why": unusable,
            },
            "total": plain(total_of(node.amounts for node in source.nodes.values())),
            "per_machine": {id: plain(used) for id, used in per_machine.items()},
            "roles": {path: self._role_json(role) for path, role in sorted(self.roles.items())},
            "running": self._running_json(),
            "running_total": self._sums([w for w in source.running if w.is_task], empty=True),
            "unplaced": {key: plain(amounts) for key, amounts in unplaced.items()},
            "waiting": self._waiting_json(),
            "not_running": dict(source.not_running),
            "told": [
                {"kind": t.kind, "count": t.count, "text": t.text, "objects": list(t.objects)}
                for t in self.told
            ],
        }

    def _role_json(self, role: Role) -> Json:
        found: Json = {
            "weight": int(role.weight) if role.weight.is_integer() else role.weight,
            "guarantee": plain(role.guarantee),
            "limit": plain(role.limit),
            "entitlement": plain(role.entitlement),
        }
        queue = role.queue
        if queue is not None:
            for key in ("entitlement_percent", "limit_percent"):
                percent = getattr(queue, key)
                if percent is not None:
                    found[key] = _percent(percent)
            if queue.state:
                found["state"] = queue.state
        return found

    def _key(self, work: Work) -> str:
        """Return what people know running work by."""
        return work.framework if self._source.by_framework else self.role(work)

    def _running_json(self) -> Json:
        groups: dict[str, list[Work]] = {}
        if self._source.by_framework:
            groups = {framework: [] for framework in self._source.frameworks}
        for work in self._source.running:
            if work.is_task:
                groups.setdefault(self._key(work), []).append(work)
        return {key: self._sums(works, empty=True) for key, works in groups.items()}

    def _waiting_json(self) -> Json:
        groups: dict[str, list[Work]] = {}
        for work in self._source.waiting:
            groups.setdefault(self.role(work), []).append(work)
        return {key: self._sums(works, empty=False) for key, works in groups.items()}

    @staticmethod
    def _sums(works: list[Work], *, empty: bool) -> Json:
        held: Milli = {}
        for work in works:
            add_milli(held, work.demand, work.count)
        found: Json = {"tasks": sum(work.n_tasks for work in works)}
        if empty:
            found["tasks_without_requests"] = sum(w.n_tasks for w in works if not w.demand)
        return {**found, **plain(held)}

    # As what the lab runs on.

    @cached_property
    def tenants(self) -> dict[tuple[str, str], Tenant]:
        """(framework, role) -> tenant, of all work; each of its own name. O(work)."""
        pairs = dict.fromkeys(
            (work.framework, self.role(work)) for work in (*self.running, *self.waiting)
        )
        for framework, paths in self._source.frameworks.items():
            pairs.update(dict.fromkeys((framework, self._names.role(path)) for path in paths))
        n_roles: dict[str, int] = {}
        for framework, _ in pairs:
            n_roles[framework] = n_roles.get(framework, 0) + 1
        found: dict[tuple[str, str], Tenant] = {}
        taken = {framework for framework, n in n_roles.items() if n == 1}
        for framework, role in pairs:
            name = framework
            if n_roles[framework] > 1:
                name = f"{framework} in {role}"
                while name in taken:
                    name += "'"
                taken.add(name)
            found[framework, role] = Tenant(name, framework, role)
        return found

    def tenant(self, work: Work) -> Tenant:
        """Return whose work it is. O(1)."""
        return self.tenants[work.framework, self.role(work)]

    def to_place(self) -> list[Work]:
        """Return what runs when a run begins, equal tasks of a machine together. O(work)."""
        merged: dict[tuple[Any, ...], int] = {}
        first: dict[tuple[Any, ...], Work] = {}
        placement = self.placement
        # beside reservations that give way, first fit is found once, for run and snapshot alike
        found = (*placement.found, *placement.unfit) if self.reserved else placement.unplaced
        for work in (*placement.placed, *found):
            where = (work.machine, work.fixed)
            key = (work.framework, work.path, where, tuple(work.demand.items()))
            first.setdefault(key, work)
            merged[key] = merged.get(key, 0) + work.count
        return [_counted(first[key], n) for key, n in merged.items()]

    def held_on(self, machines: Collection[str]) -> dict[str, Held]:
        """Return machine -> what is held there when a run begins, by whom. O(work × names)."""
        found: dict[str, Held] = {}
        for work in (*self.placement.placed, *self.placement.found):
            if work.machine is None or work.machine not in machines:
                continue
            by_client = found.setdefault(work.machine, {})
            amounts, others = by_client.setdefault((work.framework, self.role(work)), ({}, []))
            add_milli(amounts, work.demand, work.count)
            if work.others:
                others.append(work.others)
        return found

    @cached_property
    def outages(self) -> list[Outage]:
        """What is planned of machines that are part of the cluster. O(machines)."""
        kept = [
            replace(one, machines=tuple(id for id in one.machines if id in self.machines))
            for one in self._source.outages
        ]
        return [one for one in kept if one.machines]

    def _reservations(self) -> dict[str, dict[str, Milli]]:
        """Return what stays reserved beside what is held. O(work × names)."""
        nodes = {id: node.reserved for id, node in self.machines.items() if node.reserved}
        held = self.held_on(nodes) if nodes else {}
        found = {}
        for id, reserved in nodes.items():
            by_role = {self._names.role(path): own for path, own in reserved.items()}
            by_client = {client: own for client, (own, _) in held.get(id, {}).items()}
            here = holding(self.machines[id].amounts, by_role, by_client)
            if here.gave_way:
                text = "machines where others hold what is reserved, which gives way"
                self._source.tell("reservations", text, id)
            found[id] = {role: own for role, own in here.reserved.items() if any(own.values())}
        return found

    def scenario(self) -> Scenario:
        """Return a scenario of it, as `-o` writes one.

        Raises
        ------
        InvalidValue
            If the dump has no machines. O(size).
        """
        from allocator.sim.importers.writing import scenario_of

        return scenario_of(self)

    def snapshot(self) -> Json:
        """Return the snapshot of an engine in this state, for `explain` and `whatif`.

        Raises
        ------
        InvalidValue
            If the dump has no machines. O(size).
        """
        from allocator.sim.importers.snapshots import snapshot_of

        return snapshot_of(self)

    def need_machines(self) -> None:
        """Raise `InvalidValue` if there is no machine to run on."""
        if not self.machines:
            raise InvalidValue(
                "no machine in these files that takes or holds anything; give a scenario's machines"
                " with --cluster"
            )

    def framework_roles(self) -> dict[str, list[str]]:
        """Return framework -> its roles, in order of appearance. O(work)."""
        found: dict[str, list[str]] = {}
        for framework, role in self.tenants:
            found.setdefault(framework, []).append(role)
        return found

    def suppressed(self, framework: str) -> frozenset[str]:
        """Return the roles in which a framework wants nothing for now, or gets nothing new."""
        own = self._source.suppressed.get(framework, ())
        return frozenset(map(self._names.role, own)) | self.closed

    def capabilities(self, framework: str) -> frozenset[str] | None:
        """Return what a framework can deal with, in Mesos' words; None if the dump is silent."""
        return self._source.capabilities.get(framework)

    def disconnected(self) -> frozenset[str]:
        """Return the frameworks that take no part. O(1)."""
        return frozenset(self._source.inactive)

    def role_of_path(self, path: tuple[str, ...]) -> str:
        """Return the role of a source's path. O(length)."""
        return self._names.role(path)

    def resources(self, node: Node) -> Quantities:
        """Return what a machine has. O(names)."""
        return quantities(node.amounts)


def _counted(work: Work, count: int) -> Work:
    return replace(work, count=count, tasks=None, gang=1)


def _percent(value: Fraction | Amounts) -> Any:
    if isinstance(value, dict):
        return {name: _percent(x) for name, x in value.items()}
    rounded = round(float(value), 6)
    return int(rounded) if rounded.is_integer() else rounded
