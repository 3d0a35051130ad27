"""Mesos masters: `/state` and its relatives, of any age, and the operator API.

Everything maps one to one. What a master counts as used beyond the tasks that it lists, the
executors of old ones, is kept without a machine.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from allocator.errors import InvalidValue, ResourceError, shown
from allocator.resources import Resources
from allocator.sim.importers.amounts import (
    Amounts,
    Milli,
    add_milli,
    number,
    positive,
    rounded,
    total_of,
)
from allocator.sim.importers.documents import Document
from allocator.sim.importers.maintenance import Maintenance
from allocator.sim.importers.options import Options
from allocator.sim.importers.source import Node, Path, Queue, Source, Work

Json = Mapping[str, Any]

#: States in which a task holds its resources.
_RUNNING = frozenset(("TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING"))
_RANGES = re.compile(r"(\d+)\s*-\s*(\d+)")


@dataclass(slots=True)
class _Framework:
    id: str
    name: str
    roles: list[Path]
    used: Milli
    #: Without its tasks, only how many there are.
    n_tasks: int | None = None
    held: Milli = field(default_factory=dict)
    says_use: bool = False


class Reader:
    """Reads the answers of a master."""

    def __init__(self, source: Source, options: Options) -> None:
        self._source = source
        self._options = options
        self._frameworks: dict[str, _Framework] = {}
        #: task -> (framework id, work), of those that hold something; by framework and task id
        self._tasks: dict[tuple[str, str], Work] = {}
        self._orphans: set[str] = set()
        #: agent -> role, where it is told -> what is in use there
        self._used: dict[str, dict[str, Milli]] = {}
        self._maintenance = Maintenance(source, options.taken)
        #: tasks that hold nothing any more, though they stand among those that run
        self._ended: set[tuple[str, str]] = set()

    def take(self, document: Document) -> bool:
        """Read an answer; False if it is none of a master."""
        value = document.value
        if document.form != "json":
            return False
        if value in ({}, []):
            return True  # as /maintenance/schedule and /weights answer where there is nothing
        if isinstance(value, list):
            return self._take_weights(value, document)
        if not isinstance(value, dict):
            return False
        known = [self._take_part(part, document) for part in _parts(value)]
        return any(known) or str(value.get("type")).startswith("GET_MAINTENANCE_")

    def _take_part(self, part: Json, document: Document) -> bool:
        known = False
        for key, take in (
            ("slaves", self._agent),
            ("agents", self._agent),
            ("frameworks", self._framework),
            ("tasks", self._task),
            ("orphan_tasks", self._orphan),
            ("executors", self._executor),
            ("roles", self._role),
            ("infos", self._quota),
            ("configs", self._quota),
            ("weight_infos", self._role),
            ("windows", self._maintenance.take),
            ("down_machines", self._maintenance.down),
            ("draining_machines", self._draining),
        ):
            found = part.get(key)
            if isinstance(found, list):
                known = known or key not in ("executors",)
                for one in found:
                    if not isinstance(one, dict):
                        if key == "roles" and isinstance(one, str):
                            continue  # the names alone, as GET_STATE once had them
                        raise document.error(f"{key}: {shown(one)} is no object")
                    take(one, document)
        self._count_gone(part)
        self._maintenance.saw(part.get("start_time"), part.get("elected_time"))
        return known

    def _count_gone(self, part: Json) -> None:
        """Count what holds nothing: completed frameworks, machines that are yet to come back."""
        gone = part.get("completed_frameworks")
        if isinstance(gone, list) and gone:
            self._source.tell("not running", "finished frameworks, which hold nothing", n=len(gone))
        for key in ("recovered_slaves", "recovered_agents", "unreachable_slaves"):
            if isinstance(part.get(key), list) and part[key]:
                self._source.tell("machines", f"{key}, left out", n=len(part[key]))

    # Machines.

    def _draining(self, machine: Json, document: Document) -> None:
        """Pass over a machine that is planned to go: the schedule says when."""

    def _agent(self, agent: Json, document: Document) -> None:
        info = agent.get("agent_info") or agent
        id = _value(info.get("id"))
        if not id:
            raise document.error("an agent without an id")
        amounts, others, reserved = _resources(agent, info)
        domain = (info.get("domain") or {}).get("fault_domain") or {}
        node = Node(
            id,
            rounded(amounts),
            attributes=_attributes(info.get("attributes")),
            region=_value((domain.get("region") or {}).get("name")) or None,
            zone=_value((domain.get("zone") or {}).get("name")) or None,
            others=others,
            reserved={_path(role): rounded(own) for role, own in reserved.items()},
            exact=_exact(agent, info),
        )
        if agent.get("deactivated") or agent.get("active") is False:
            drained = agent.get("drain_info")
            node.state, node.stays = ("draining" if drained else "deactivated"), True
        if hostname := info.get("hostname"):
            node.attributes.setdefault("hostname", str(hostname))
        self._source.add_node(node, document)
        used = agent.get("used_resources", agent.get("allocated_resources"))
        if used is not None:
            self._used.setdefault(id, _by_role(used))
        self._maintenance.agent(id, agent, info, document)
        self._maintenance.saw(agent.get("registered_time"), agent.get("reregistered_time"))

    # Frameworks and what they hold.

    def _framework(self, framework: Json, document: Document) -> None:
        info = framework.get("framework_info") or framework
        id = _value(info.get("id")) or _value(framework.get("id"))
        name = str(info.get("name") or framework.get("name") or id)
        if not id:
            raise document.error("a framework without an id")
        is_known = id in self._frameworks
        if is_known:
            self._source.tell("given twice", "frameworks given more than once, counted once", name)
        known = self._frameworks.setdefault(id, _Framework(id, name, [], {}))
        known.roles = known.roles or _roles_of(info, framework)
        self._take_use(known, framework)
        self._maintenance.saw(framework.get("registered_time"), framework.get("reregistered_time"))
        if framework.get("active") is False or framework.get("connected") is False:
            self._source.inactive.add(id)
        if quiet := _suppressed(framework, known.roles):
            self._source.suppressed[id] = quiet
        if isinstance(listed := info.get("capabilities"), list):
            can = {str(one.get("type") if isinstance(one, dict) else one) for one in listed}
            self._source.capabilities[id] = frozenset(can)
        for offer in _list(framework.get("offers")):
            amounts = offer.get("resources") if isinstance(offer, dict) else None
            what = f"open offer to {name}" + (f" of {_brief(amounts)}" if amounts else "")
            self._source.tell("offers", "open offers: offered is not used", what)
            self._tell_dust(amounts)
        self._tell_dust(framework.get("offered_resources"))
        for task in _list(framework.get("tasks")):
            self._task(task, document, id)
        for executor in _list(framework.get("executors")):
            self._executor(executor, document, id)
        done = framework.get("completed_tasks")
        for task in _list(done):
            self._saw_statuses(task)
        n_done = len(done) if isinstance(done, list) else done if isinstance(done, int) else 0
        if n_done and not is_known:
            self._source.not_running["finished"] += n_done

    def _given_roles(self, name: str) -> list[Path]:
        """Return the role of a framework for which no file says any."""
        given = self._options.frameworks.get(name)
        if given is None:
            self._source.tell("roles", "frameworks whose role the dump does not say: *", name)
        return [_path(given or "*")]

    def _take_use(self, known: _Framework, framework: Json) -> None:
        used = framework.get("used_resources", framework.get("allocated_resources"))
        if used is not None and not known.says_use:
            known.used = rounded(_scalars(used))
            known.says_use = True
        if "tasks" not in framework and any(key.startswith("TASK_") for key in framework):
            counts = [framework.get(state) or 0 for state in _RUNNING]
            known.n_tasks = sum(int(positive(number(n), n)) for n in counts)

    def _tell_dust(self, amounts: Any) -> None:
        if amounts:
            for name, amount in _scalars(amounts).items():
                if 0 < amount < Fraction(1, 2000):
                    text = "amounts below 0.0005, dust of floating point, dropped"
                    self._source.tell("dust", text, f"{float(amount):g} {name}")

    def _task(self, task: Json, document: Document, framework: str = "") -> None:
        framework = _value(task.get("framework_id")) or framework
        id = _value(task.get("id")) or _value(task.get("task_id"))
        state = str(task.get("state") or "TASK_RUNNING")
        if state not in _RUNNING:
            if (framework, id) in self._ended:
                return
            self._ended.add((framework, id))
            ended = "unreachable" if state == "TASK_UNREACHABLE" else "finished"
            self._source.not_running[ended] += 1
            self._source.tell("not running", f"tasks in {state} among those that run", id)
            return
        work = self._holding(task, framework)
        self._saw_statuses(task)
        known = self._tasks.setdefault((framework, id), work)
        if known is work:
            return
        if known != work:
            raise document.error(f"task {shown(id)} is given twice, with different content")
        self._source.tell("given twice", "tasks given more than once, counted once", id)

    def _saw_statuses(self, task: Json) -> None:
        statuses = task.get("statuses") if isinstance(task, dict) else None
        for one in _list(statuses):
            self._maintenance.saw(one.get("timestamp") if isinstance(one, dict) else None)

    def _holding(self, task: Json, framework: str) -> Work:
        resources = task.get("resources") or {}
        role = str(task.get("role") or _allocated_role(resources) or "")
        amounts, others = _scalars(resources), _others(resources)
        for name, amount in amounts.items():
            if 0 < amount < Fraction(1, 2000):
                self._source.tell("dust", f"amounts of {name} below 0.0005, dropped", framework)
        machine = _value(task.get("slave_id")) or _value(task.get("agent_id")) or None
        return Work(
            framework, _path(role) if role else (), rounded(amounts), machine=machine, others=others
        )

    def _orphan(self, task: Json, document: Document) -> None:
        framework = _value(task.get("framework_id"))
        if str(task.get("state") or "TASK_RUNNING") in _RUNNING:
            self._orphans.add(framework)
            self._source.tell("tasks", "orphan tasks, whose framework is not there", framework)
        self._task(task, document, framework)

    def _executor(self, executor: Json, document: Document, framework: str = "") -> None:
        info = executor.get("executor_info") or executor
        framework = _value(info.get("framework_id")) or framework
        work = self._holding({**executor, **info}, framework)
        work.machine = _value(executor.get("slave_id") or executor.get("agent_id")) or work.machine
        work.is_task = False
        id = _value(info.get("executor_id"))
        self._tasks.setdefault((framework, f"executor {id} on {work.machine}"), work)

    # Roles.

    def _take_weights(self, value: list[Any], document: Document) -> bool:
        if not value or not all(isinstance(o, dict) and "weight" in o for o in value):
            return False
        for one in value:
            self._role(one, document)
        return True

    def _role(self, role: Json, document: Document) -> None:
        name = str(role.get("name") or role.get("role") or "")
        if not name:
            raise document.error("a role without a name")
        queue = self._queue(name)
        if role.get("weight") is not None:
            queue.weight = number(role["weight"])
            queue.words.append(f"weight {queue.weight}")
        quota = role.get("quota")
        if isinstance(quota, dict):
            other = quota.get("role")
            if other is not None and other != name:
                text = "roles whose quota names another role, taken as their own"
                self._source.tell("roles", text, f"{name}: {other}")
            self._set_quota(queue, quota)

    def _queue(self, name: str) -> Queue:
        path = _path(name)
        return self._source.queues.setdefault(path, Queue(path))

    def _quota(self, quota: Json, document: Document) -> None:
        if not quota.get("role"):
            raise document.error("a quota without a role")
        self._set_quota(self._queue(str(quota["role"])), quota)

    @staticmethod
    def _set_quota(queue: Queue, quota: Json) -> None:
        guarantee = quota.get("guarantees", quota.get("guarantee"))
        limit = quota.get("limits", quota.get("limit"))
        if guarantee:
            queue.guarantee = {name: x for name, x in _scalars(guarantee).items() if x}
            queue.words.append(f"guarantee {_brief(guarantee)}")
        if limit:
            queue.limit = _scalars(limit)
            queue.words.append(f"limit {_brief(limit)}")

    # In the end.

    def finish(self) -> None:
        """Decide who runs what."""
        source = self._source
        self._maintenance.finish()
        names = self._names()
        for one in self._frameworks.values():
            one.roles = one.roles or self._given_roles(one.name)
        for framework, work in ((key[0], work) for key, work in self._tasks.items()):
            known = self._frameworks.get(framework)
            if known is not None:
                work.path = work.path or (known.roles[0] if known.roles else ("*",))
                add_milli(known.held, work.demand)
            elif not work.path:
                work.path = ("*",)
            work.framework = names.get(framework, framework or "orphans")
            source.running.append(work)
        for id, one in self._frameworks.items():
            source.frameworks[names[id]] = list(one.roles)
            self._take_rest(one, names[id])
        self._take_unknown()
        source.inactive = {names[id] for id in source.inactive}
        source.suppressed = {names[id]: own for id, own in source.suppressed.items()}
        source.capabilities = {names[id]: own for id, own in source.capabilities.items()}
        paths = {path for own in source.frameworks.values() for path in own}
        paths |= {work.path for work in source.running} | set(source.queues)
        source.by_framework = paths <= {("*",)}

    def _names(self) -> dict[str, str]:
        """Return framework id -> its name, with the id where several have it."""
        counts: dict[str, int] = {}
        for framework in self._frameworks.values():
            counts[framework.name] = counts.get(framework.name, 0) + 1
        return {
            f.id: f.name if counts[f.name] == 1 else f"{f.name} ({f.id})"
            for f in self._frameworks.values()
        }

    def _take_rest(self, framework: _Framework, name: str) -> None:
        """Keep what a framework uses beyond its tasks."""
        if not framework.says_use:
            return
        rest = {n: x - framework.held.get(n, 0) for n, x in framework.used.items()}
        rest = {n: x for n, x in rest.items() if x > 0}
        role = framework.roles[0] if framework.roles else ("*",)
        if not rest:
            return
        n_tasks = framework.n_tasks
        if n_tasks:
            text = "tasks of which only the sums are known, taken as equal"
            self._source.tell("unplaced", text, name, n_tasks)
            for part, count in _even(rest, n_tasks):
                self._source.running.append(Work(name, role, part, count))
            return
        brief = ";".join(f"{n}:{x / 1000:g}" for n, x in rest.items())
        text = "use beyond the tasks that are listed: executors, on machines that are not named"
        self._source.tell("unplaced", text, f"{name} {brief}")
        self._source.running.append(Work(name, role, rest, is_task=False))

    def _take_unknown(self) -> None:
        """Keep what agents count as used beyond all that frameworks are said to use."""
        rests = {id: total_of(by_role.values()) for id, by_role in self._used.items()}
        loose: Milli = {}
        n_works: Counter[str] = Counter()
        for work in self._source.running:
            if work.machine in rests:
                n_works[work.machine] += work.count
                add_milli(rests[work.machine], work.demand, -work.count)
            elif work.machine not in self._source.nodes:
                add_milli(loose, work.demand, work.count)
        for id, rest in rests.items():
            elsewhere = {n: min(x, loose.get(n, 0)) for n, x in rest.items() if x > 0}
            add_milli(loose, elsewhere, -1)
            # all of them were rounded
            dust = 1 + n_works[id]
            rest = {n: x - elsewhere[n] for n, x in rest.items() if x - elsewhere.get(n, x) > dust}
            if rest:
                self._take_unknown_of(id, rest, is_all=rest == total_of(self._used[id].values()))

    def _take_unknown_of(self, id: str, rest: Milli, *, is_all: bool) -> None:
        """Keep use of an agent; by role if nothing of it is known otherwise."""
        for role, amounts in (self._used[id] if is_all else {"": rest}).items():
            work = Work("unknown", _path(role or "*"), amounts, machine=id, is_task=False)
            self._source.running.append(work)
        text = "use of agents that no framework is said to have: framework unknown"
        self._source.tell("roles", text, id)


def _roles_of(info: Json, framework: Json) -> list[Path]:
    """Return the roles that a framework says; none if it does not."""
    roles = info.get("roles") or framework.get("roles")
    if isinstance(roles, list) and roles:
        return [_path(str(role)) for role in roles]
    role = info.get("role") or framework.get("role")
    return [_path(str(role))] if role else []


def _by_role(used: Any) -> dict[str, Milli]:
    """Return what is in use by role, where a list of resources says whose they are."""
    listed = used if isinstance(used, list) else [used]
    found: dict[str, Milli] = {}
    for one in listed:
        part = [one] if isinstance(used, list) else one
        role = str(_allocated_role(part) or "")
        add_milli(found.setdefault(role, {}), rounded(_scalars(part)), 1)
    return {role: amounts for role, amounts in found.items() if amounts}


def _even(amounts: Milli, n: int) -> Iterator[tuple[Milli, int]]:
    """Yield equal parts, the last one with what is left over."""
    common = {name: amount // n for name, amount in amounts.items()}
    rest = {name: amount - common[name] * (n - 1) for name, amount in amounts.items()}
    if n > 1:
        yield {name: x for name, x in common.items() if x}, n - 1
    yield {name: x for name, x in rest.items() if x}, 1


def _parts(value: dict[str, Any]) -> Iterator[Json]:
    """Yield an answer, or what an answer of the operator API holds within."""
    kind = value.get("type")
    if not isinstance(kind, str):
        if any(isinstance(value.get(key), dict) for key in ("get_state", "status")):
            for key in ("get_state", "status"):
                yield from _inner(value.get(key))
        yield value
        return
    inner = value.get(kind.lower())
    yield from _inner(inner)


def _inner(value: Any) -> Iterator[Json]:
    if isinstance(value, dict):
        yield value
        for key, one in value.items():
            if key.startswith("get_") or key in ("status", "schedule"):
                yield from _inner(one)


def _value(value: Any) -> str:
    """Return an id, given as text or as `{"value": …}`."""
    if isinstance(value, dict):
        value = value.get("value")
    return "" if value is None else str(value)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _path(role: str) -> Path:
    return ("*",) if role == "*" else tuple(role.split("/"))


def _suppressed(framework: Json, roles: list[Path]) -> frozenset[Path]:
    """Return the roles in which a framework wants nothing."""
    quiet = framework.get("suppressed_roles")
    if isinstance(quiet, list) and roles:
        return frozenset(_path(str(role)) for role in quiet).intersection(roles)
    return frozenset(roles if framework.get("suppressed") is True else ())


def _attributes(value: Any) -> dict[str, str]:
    """Return attributes, by name or as a v1 list, as text."""
    if isinstance(value, dict):
        return {str(name): str(one) for name, one in value.items()}
    found = {}
    for one in _list(value):
        inner = one.get("text") or one.get("scalar") or one.get("ranges") or {}
        found[str(one.get("name"))] = str(inner.get("value", inner))
    return found


# Resources: {"cpus": 1, "ports": "[1-2]"}, or a list of v1 entries.


def _scalars(value: Any) -> Amounts:
    """Return the scalars among resources, exactly; revocable ones are left out."""
    found: Amounts = {}
    if isinstance(value, dict):
        for name, one in value.items():
            inner = one.get("value") if isinstance(one, dict) else one
            if inner is not None and not (isinstance(inner, str) and inner[:1] in ("[", "{")):
                found[str(name)] = number(inner)
        return found
    for entry in _list(value):
        if isinstance(entry.get("scalar"), dict) and not entry.get("revocable"):
            name = str(entry.get("name"))
            found[name] = found.get(name, Fraction(0)) + number(entry["scalar"].get("value", 0))
    return found


def _others(value: Any) -> str:
    """Return the ranges and sets among resources, as text."""
    found = []
    if isinstance(value, dict):
        pairs = [(str(name), one) for name, one in value.items() if isinstance(one, str)]
    else:
        pairs = [(str(e.get("name")), _other_text(e)) for e in _list(value)]
    for name, text in pairs:
        if text.startswith("[") and (ranges := _RANGES.findall(text)):
            found.append(f"{name}:[{','.join(f'{a}-{b}' for a, b in ranges)}]")
        elif text.startswith("{") and text.strip("{} "):
            found.append(f"{name}:{text.replace(' ', '')}")
    return ";".join(found)


def _other_text(entry: Json) -> str:
    ranges = (entry.get("ranges") or {}).get("range")
    if isinstance(ranges, str):
        return ranges
    if isinstance(ranges, list):
        pairs = [f"{int(one['begin'])}-{int(one['end'])}" for one in ranges]
        return f"[{','.join(pairs)}]"
    items = (entry.get("set") or {}).get("item")
    return f"{{{','.join(map(str, items))}}}" if isinstance(items, list) else ""


def _resources(agent: Json, info: Json) -> tuple[Amounts, str, dict[str, Amounts]]:
    """Return what an agent has: scalars, ranges and sets, and what is reserved for whom."""
    total = agent.get("total_resources") or agent.get("resources") or info.get("resources") or {}
    if not isinstance(total, (dict, list)):
        raise InvalidValue(f"resources {shown(total)}")
    reserved: dict[str, Amounts] = {}
    full = agent.get("reserved_resources_full")
    if isinstance(full, dict) and full:
        reserved = {str(role): _scalars(own) for role, own in full.items()}
    elif isinstance(agent.get("reserved_resources"), dict):
        reserved = {str(role): _scalars(own) for role, own in agent["reserved_resources"].items()}
    elif isinstance(total, list):
        for entry in total:
            role = _reserved_role(entry)
            if role:
                own = reserved.setdefault(role, {})
                for name, amount in _scalars([entry]).items():
                    own[name] = own.get(name, Fraction(0)) + amount
    return _scalars(total), _others(total), reserved


def _exact(agent: Json, info: Json) -> dict[Path, Resources]:
    """Return role -> its reserved scalars with all that the dump says of them, of those it does."""
    full = agent.get("reserved_resources_full")
    listed = agent.get("total_resources") or agent.get("resources") or info.get("resources")
    by_role: dict[str, list[Json]] = {}
    if isinstance(full, dict) and full:
        by_role = {str(role): _list(own) for role, own in full.items()}
    else:
        for entry in _list(listed):
            by_role.setdefault(_reserved_role(entry), []).append(entry)
        by_role.pop("", None)
    found = {}
    for role, entries in by_role.items():
        scalars = [_plain(entry) for entry in entries if isinstance(entry.get("scalar"), dict)]
        with suppress(ResourceError):  # what this engine does not know counts by amounts
            resources = Resources(scalars).nonrevocable()
            if not resources.shared():
                found[_path(role)] = resources
    return found


def _plain(entry: Json) -> Json:
    """Return an entry without the dust of floating point, nor whom it is offered to."""
    own = {key: value for key, value in entry.items() if key != "allocation_info"}
    return {**own, "scalar": {"value": float(number(entry["scalar"].get("value", 0)))}}


def _reserved_role(entry: Json) -> str:
    stack = entry.get("reservations")
    if isinstance(stack, list) and stack:
        return str(stack[-1].get("role") or "")
    role = str(entry.get("role") or "*")
    return "" if role == "*" else role


def _allocated_role(resources: Any) -> str:
    for entry in _list(resources):
        role = (entry.get("allocation_info") or {}).get("role")
        if role:
            return str(role)
    return ""


def _brief(resources: Any) -> str:
    return ";".join(f"{name}:{float(x):g}" for name, x in _scalars(resources).items())
