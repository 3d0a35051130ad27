"""What the page at `/ui` is told, as JSON: the picture of the cluster, and rows that were found.

Free of I/O, and of what serves it. A picture has the first `SHOWN` of each kind and says how many
there are, so that it stays small however large the cluster is; the rest is found by `find`.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from allocator.contract import AgentView, Offer, RoleView
from allocator.errors import AllocatorError
from allocator.master.endpoints import Pace, shown_roles, uncharged
from allocator.master.master import Master
from allocator.master.records import Agent, Framework, Task
from allocator.resources import Quantities, Resources
from allocator.version import dotted_version
from allocator.wire.decode import cut
from allocator.wire.refusal import BAD_REQUEST, CallRefused

Json = dict[str, Any]

#: At most so many rows of a kind are in a picture, or found.
SHOWN: Final = 100

#: So many roles are: the tree is of little use in part.
SHOWN_ROLES: Final = 500

#: How many records are looked at between two looks at the time.
_AT_ONCE: Final = 256

_NOTHING: Final = Quantities()

#: The resources that are shown first, and everywhere.
_FIRST: Final = ("cpus", "mem", "gpus", "disk")


class Subject(NamedTuple):
    """What pictures are made of.

    `used` returns what a framework's tasks hold, `cycles` how long the last cycles took, in
    milliseconds, the latest at the end.
    """

    master: Master
    used: Callable[[str], Resources]
    cycles: Callable[[], Sequence[float]]


def picture(subject: Subject) -> Json:
    """Return all that the page shows at first. O(tasks + roles + agents), little of each."""
    master = subject.master
    total, offered = _capacity(master), _open(master)
    by_state = _states(master)
    return {
        "time": master.wall(),
        "master": _master(master),
        "totals": _totals(master, total, offered),
        "counts": _counts(master, by_state),
        "roles": roles(master, total),
        "frameworks": _page(master.frameworks.values(), lambda f: framework_row(subject, f, total)),
        "agents": _page(master.agents.values(), lambda a: agent_row(master, a)),
        "tasks": {
            "n": sum(by_state.values()),
            "rows": [task_row(master, task) for task in latest_tasks(master, SHOWN)],
        },
        "offers": _page(master.offers.values(), lambda o: offer_row(master, o)),
        "cycles": list(subject.cycles()),
    }


def _page(records: Iterable[Any], row: Callable[[Any], Json]) -> Json:
    listed = list(records)
    return {"n": len(listed), "rows": [row(record) for record in listed[:SHOWN]]}


def _master(master: Master) -> Json:
    info = master.info
    return {
        "id": info.id,
        "hostname": info.hostname,
        "port": info.port,
        "cluster": master.options.cluster or "",
        "version": dotted_version(),
        "start_time": master.start_time,
    }


# The whole.


def _capacity(master: Master) -> Mapping[str, float]:
    """Return what all agents have together: name → amount."""
    prefix, suffix = "allocator/mesos/resources/", "/total"
    return {
        name.removeprefix(prefix).removesuffix(suffix): amount
        for name, amount in master.engine.metrics().items()
        if name.startswith(prefix) and name.endswith(suffix)
    }


def _tops(master: Master) -> Iterator[RoleView]:
    for path, role in master.engine.roles.items():
        if "/" not in path:
            yield role


def _open(master: Master) -> Quantities:
    return sum((role.offered for role in _tops(master)), start=_NOTHING)


def _totals(master: Master, total: Mapping[str, float], offered: Quantities) -> list[Json]:
    """Return by resource what there is, is used and is on offer."""
    used = sum((role.allocated for role in _tops(master)), start=_NOTHING)
    names = [*_FIRST, *sorted(total.keys() - set(_FIRST))]
    return [
        {"name": name, "total": total[name], "used": used[name], "offered": offered[name]}
        for name in names
        if total.get(name)
    ]


def _states(master: Master) -> Counter[str]:
    """Return how many tasks are in which state."""
    found: Counter[str] = Counter()
    for framework in master.frameworks.values():
        found.update([task.state for task in framework.tasks.values()])
        found["TASK_UNREACHABLE"] += len(framework.unreachable)
    return +found


def _counts(master: Master, by_state: Mapping[str, int]) -> Json:
    frameworks, agents = master.frameworks.values(), master.agents.values()
    return {
        "agents": len(agents),
        "agents_inactive": sum(not agent.active for agent in agents),
        "agents_unreachable": len(master.unreachable_agents),
        "agents_recovering": len(master.recovered_agents),
        "frameworks": len(frameworks),
        "frameworks_connected": sum(framework.connected for framework in frameworks),
        "frameworks_completed": len(master.completed),
        "offers": len(master.offers),
        "tasks": dict(sorted(by_state.items())),
        "tasks_ended": dict(sorted(master.n_tasks_ended.items())),
    }


# Roles.


def roles(master: Master, total: Mapping[str, float]) -> Json:
    """Return the tree of roles: each with its share of the cluster, and the fair one."""
    paths = shown_roles(master)
    fair = fair_shares(master, paths)
    free = uncharged(master) if master.quotas else {}
    rows = [
        {**role_row(master, path, fair.get(path), total), "quota": quota_row(master, path, free)}
        for path in paths[:SHOWN_ROLES]
    ]
    return {"n": len(paths), "rows": rows}


def fair_shares(master: Master, paths: Iterable[str]) -> dict[str, float]:
    """Return what part of the cluster each role is due if all want as much as they can get.

    Roles of one parent divide its part by their weights; only those take part that hold something
    or have a framework that is connected, in their subtree. Frameworks in a parent itself count as
    one child of weight 1, as in the order of offers. O(roles).
    """
    engine_roles = master.engine.roles
    takes_part: dict[str, None] = {}
    own: set[str] = set()
    for path in paths:
        role = engine_roles.get(path)
        if role is None:
            continue
        is_asking = any(master.frameworks[id].active for id in role.frameworks)
        if is_asking:
            own.add(path)
        if is_asking or role.allocated or role.offered:
            for above in _line(path):
                takes_part[above] = None
    weights: dict[str, float] = {}
    for path in takes_part:
        parent = path.rpartition("/")[0]
        weights[parent] = weights.get(parent, 0.0) + master.weights.get(path, 1.0)
    for path in own & weights.keys():
        weights[path] += 1.0
    fair = {"": 1.0}
    for path in sorted(takes_part, key=lambda path: path.count("/")):
        parent = path.rpartition("/")[0]
        fair[path] = fair[parent] * master.weights.get(path, 1.0) / weights[parent]
    return fair


def _line(path: str) -> Iterator[str]:
    """Yield a role and its ancestors."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def role_row(master: Master, path: str, fair: float | None, total: Mapping[str, float]) -> Json:
    """Return a role; shares are parts of the cluster, without its weight."""
    role = master.engine.roles.get(path)
    allocated = _NOTHING if role is None else role.allocated
    offered = _NOTHING if role is None else role.offered
    name, share = dominant(allocated + offered, total)
    return {
        "id": path,
        "weight": master.weights.get(path, 1.0),
        "share": share,
        # Its own: what is on offer may be more of another resource.
        "used_share": dominant(allocated, total)[1],
        "dominant": name,
        "fair": fair,
        "allocated": dict(allocated),
        "offered": dict(offered),
        "frameworks": 0 if role is None else len(role.frameworks),
        "filters": 0 if role is None else role.filters,
    }


def quota_row(master: Master, path: str, free: Mapping[str, Resources]) -> list[Json]:
    """Return by resource what a role is guaranteed and may have, and how much of it is gone.

    `consumed` is what is used or reserved, `offered` what open offers take of the quota beside.
    """
    quota, role = master.quotas.get(path), master.engine.roles.get(path)
    if quota is None:
        return []
    consumed = _NOTHING if role is None else role.consumed
    charged = _NOTHING
    if role is not None:
        charged = role.offered.minus_floor(free.get(path, Resources()).counts())
    return [
        {
            "name": name,
            "guarantee": quota["guarantees"].get(name),
            "limit": quota["limits"].get(name),
            "consumed": max(consumed[name] - charged[name], 0.0),
            "offered": charged[name],
        }
        for name in sorted({**quota["guarantees"], **quota["limits"]}, key=_place)
    ]


def _place(name: str) -> tuple[int, str]:
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)


def dominant(held: Quantities, total: Mapping[str, float]) -> tuple[str, float]:
    """Return of which resource most of all there is is held, and what part; `("", 0)` if none.

    Examples
    --------
    >>> dominant(Quantities({"cpus": 2, "mem": 10}), {"cpus": 4.0, "mem": 100.0})
    ('cpus', 0.5)
    """
    shares = {name: held[name] / total[name] for name in held if total.get(name)}
    if not shares:
        return "", 0.0
    name = max(shares, key=lambda name: shares[name])
    return name, shares[name]


# Rows.


def framework_row(subject: Subject, framework: Framework, total: Mapping[str, float]) -> Json:
    """Return a framework. O(roles of it)."""
    used = subject.used(framework.id).counts()
    name, share = dominant(used, total)
    return {
        "id": framework.id,
        "name": framework.info.name,
        "user": framework.info.user,
        "principal": framework.principal or "",
        "roles": list(framework.roles),
        "suppressed": sorted(framework.suppressed),
        "connected": framework.connected,
        "active": framework.active,
        "recovered": framework.recovered,
        "tasks": len(framework.tasks),
        "unreachable": len(framework.unreachable),
        "completed": len(framework.completed),
        "offers": len(framework.offers),
        "used": dict(used),
        "share": share,
        "dominant": name,
        "registered_time": framework.registered_time,
    }


def agent_row(master: Master, agent: Agent) -> Json:
    """Return an agent that is registered."""
    view: AgentView = master.engine.agents[agent.id]
    return {
        "id": agent.id,
        "hostname": agent.hostname,
        "pid": agent.pid,
        "state": _agent_state(agent),
        "attributes": {name: _text(value) for name, value in view.attributes.items()},
        "total": dict(view.total.counts()),
        "used": dict(view.allocated.counts()),
        "offered": dict(view.offered.counts()),
        "tasks": len(agent.tasks),
        "registered_time": agent.registered_time,
    }


def _agent_state(agent: Agent) -> str:
    if not agent.active:
        return "inactive"
    return "draining" if agent.unavailability is not None else "active"


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def task_row(master: Master, task: Task) -> Json:
    """Return a task."""
    framework = master.frameworks.get(task.framework_id)
    last = next(reversed(task.statuses.values()), None)
    return {
        "id": task.id,
        "framework_id": task.framework_id,
        "name": task.info.name,
        "framework": "" if framework is None else framework.info.name,
        "role": task.role,
        "agent_id": task.agent_id,
        "agent": _hostname(master, task.agent_id),
        "state": task.state.removeprefix("TASK_").lower(),
        "since": None if last is None else last.get("timestamp"),
        "message": "" if last is None else cut(last.get("message") or ""),
        "resources": dict(task.resources.counts()),
    }


def _hostname(master: Master, agent_id: str) -> str:
    agent = master.agents.get(agent_id) or master.unreachable_agents.get(agent_id)
    return agent_id if agent is None else agent.hostname


def latest_tasks(master: Master, n: int) -> list[Task]:
    """Return the tasks that changed last, the latest first, running or ended. O(frameworks × n).

    Of each framework only those launched last are looked at.
    """
    found: list[Task] = []
    for framework in master.frameworks.values():
        for tasks in (framework.tasks.values(), framework.unreachable.values()):
            found += itertools.islice(reversed(tasks), n)
        found += itertools.islice(reversed(framework.completed), n)
    return heapq.nlargest(n, found, key=_changed_at)


def _changed_at(task: Task) -> float:
    """Return when a task changed last; one of which nothing was heard yet is the latest."""
    last = next(reversed(task.statuses.values()), None)
    return float("inf") if last is None else float(last.get("timestamp") or 0.0)


def offer_row(master: Master, offer: Offer) -> Json:
    """Return an open offer."""
    framework = master.frameworks[offer.framework]
    return {
        "id": offer.id,
        "framework_id": offer.framework,
        "framework": framework.info.name,
        "role": offer.role,
        "agent": master.agents[offer.agent].hostname,
        "agent_id": offer.agent,
        "since": framework.offers[offer.id],
        "resources": dict(offer.resources.counts()),
    }


# Finding.


async def find(subject: Subject, kind: str, text: str) -> Json:
    """Return the rows of a kind that have all words of a text, at most `SHOWN`, and their number.

    Others have their turn meanwhile. Raises `CallRefused` (400) for a kind that there is not.
    O(records of the kind).
    """
    words = text.lower().split()
    records, told, row = _of_kind(subject, kind)
    pace, n = Pace(), 0
    found: list[Any] = []
    for place, record in enumerate(records):
        if place % _AT_ONCE == 0:
            await pace.step()
        if all(word in told(record).lower() for word in words):
            n += 1
            if len(found) < SHOWN:
                found.append(record)
    rows = []
    for record in found:
        try:
            rows.append(row(record))
        except (KeyError, AllocatorError):  # gone while we looked
            n -= 1
    return {"kind": kind, "text": text, "n": n, "rows": rows}


def _of_kind(
    subject: Subject, kind: str
) -> tuple[list[Any], Callable[[Any], str], Callable[[Any], Json]]:
    """Return all records of a kind, what is looked for words in, and what makes their rows."""
    master = subject.master
    if kind == "tasks":
        tasks = [
            task
            for framework in master.frameworks.values()
            for task in (*framework.tasks.values(), *framework.unreachable.values())
        ]
        tasks += [task for each in master.frameworks.values() for task in each.completed]
        return tasks[::-1], lambda task: _told_of_task(master, task), lambda t: task_row(master, t)
    if kind == "agents":
        agents = list(master.agents.values())
        return agents, _told_of_agent, lambda agent: agent_row(master, agent)
    if kind == "frameworks":
        total = _capacity(master)
        frameworks = list(master.frameworks.values())
        return frameworks, _told_of_framework, lambda f: framework_row(subject, f, total)
    if kind == "offers":
        offers = list(master.offers.values())
        return offers, lambda o: _told_of_offer(master, o), lambda o: offer_row(master, o)
    raise CallRefused(
        BAD_REQUEST, f"kind {cut(kind)} is none of agents, frameworks, offers and tasks"
    )


def _told_of_task(master: Master, task: Task) -> str:
    framework = master.frameworks.get(task.framework_id)
    name = "" if framework is None else framework.info.name
    parts = (task.id, task.info.name, name, task.role, _hostname(master, task.agent_id))
    return " ".join((*parts, task.state.removeprefix("TASK_"), task.framework_id, task.agent_id))


def _told_of_agent(agent: Agent) -> str:
    return f"{agent.hostname} {agent.id} {_agent_state(agent)} {agent.info.attributes or ''}"


def _told_of_framework(framework: Framework) -> str:
    info = framework.info
    roles = " ".join(framework.roles)
    return f"{info.name} {framework.id} {roles} {info.user} {framework.principal or ''}"


def _told_of_offer(master: Master, offer: Offer) -> str:
    framework, agent = master.frameworks.get(offer.framework), master.agents.get(offer.agent)
    name = "" if framework is None else framework.info.name
    hostname = "" if agent is None else agent.hostname
    return f"{offer.id} {name} {offer.role} {hostname}"
