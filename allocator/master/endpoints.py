"""What each path shows that is read: texts out of the model, put together.

A function for each path. What is large goes on a little at a time, so that nobody else waits long:
`Pace` says when it is time to let others have their turn.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cache
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from allocator.contract import RoleView
from allocator.master import forms
from allocator.master._writer import agents_text, json_text, tasks_text
from allocator.master.master import Master
from allocator.master.model import Model, separated
from allocator.master.records import Framework, Task
from allocator.master.tasks import STATES
from allocator.resources import Resources
from allocator.version import build_info

Json = dict[str, Any]

#: How long others wait at a time while something large is written, in seconds.
TURN_SECONDS: Final = 0.003

#: How many tasks or agents are written between two looks at the time.
_AT_ONCE: Final = 256

#: How many tasks `/tasks` shows unless something else is asked for.
_DEFAULT_LIMIT: Final = 100

_NOTHING: Final = Resources()


class View(NamedTuple):
    """What endpoints write from."""

    master: Master
    model: Model
    elected_time: float


class Endpoint(NamedTuple):
    """How a path is written.

    `write` is called when the model is up to date, and before it awaits anything takes what it
    shows; `parameters` are the names that it understands in a query.
    """

    write: Callable[[View, Mapping[str, str]], Awaitable[list[bytes]]]
    parameters: frozenset[str] = frozenset()
    #: Whether it shows agents with resources in v1 form.
    in_full: bool = False
    #: What makes it another: `all` that happens, what becomes of `roles`, or `nothing`.
    changes_with: Literal["all", "roles", "nothing"] = "all"


class Pace:
    """Has others take their turn from time to time."""

    def __init__(self) -> None:
        self._until = time.perf_counter() + TURN_SECONDS

    async def step(self) -> None:
        """Let others have their turn if it is time."""
        if time.perf_counter() > self._until:
            await asyncio.sleep(0)
            self._until = time.perf_counter() + TURN_SECONDS


@cache
def _build() -> Json:
    """Return version and build, which stay as they are."""
    return build_info()


# The whole.


async def state(view: View, query: Mapping[str, str]) -> list[bytes]:
    """`/state`. O(agents / 8 + tasks / 32), to take texts that stand."""
    master, model = view.master, view.model
    parts = [json_text(_state_head(view))[:-1], b',"slaves":[']
    parts += model.agents()
    parts.append(b'],"recovered_slaves":[')
    parts += model.recovered()
    parts.append(b'],"frameworks":[')
    parts += model.frameworks(master.frameworks.values())
    parts.append(b'],"completed_frameworks":[')
    parts += model.frameworks(master.completed)
    parts.append(b'],"orphan_tasks":[],"unregistered_frameworks":[]}')
    return parts


def _state_head(view: View) -> Json:
    """Return what stands before the lists."""
    master, info = view.master, view.master.info
    n_inactive = view.model.n_inactive
    head: Json = {
        **_build(),
        "start_time": master.start_time,
        "elected_time": view.elected_time,
        "id": info.id,
        "pid": info.pid,
        "hostname": info.hostname,
        "capabilities": [],
        "activated_slaves": len(master.agents) - n_inactive,
        "deactivated_slaves": n_inactive,
        "unreachable_slaves": len(master.unreachable_agents),
        "leader": info.pid,
        "leader_info": {
            "id": info.id,
            "pid": info.pid,
            "port": info.port,
            "hostname": info.hostname,
        },
        "flags": dict(view.master.flags),
    }
    if master.options.cluster is not None:
        head["cluster"] = master.options.cluster
    return head


# Agents, frameworks and tasks.


async def slaves(view: View, query: Mapping[str, str]) -> list[bytes]:
    """`/slaves`, all or one."""
    master, id = view.master, query.get("slave_id")
    if id is None:
        listed, recovered = view.model.agents(in_full=True), view.model.recovered()
    else:
        views = master.engine.agents
        agent, waited_for = master.agents.get(id), master.recovered_agents.get(id)
        listed = [] if agent is None else [agents_text([agent], views, in_full=True)]
        recovered = [] if waited_for is None else [agents_text([waited_for], views)]
    return [b'{"slaves":[', *listed, b'],"recovered_slaves":[', *recovered, b"]}"]


async def frameworks(view: View, query: Mapping[str, str]) -> list[bytes]:
    """`/frameworks`, all or one."""
    id = query.get("framework_id")
    registered, completed = _frameworks(view.master, id)
    return [
        b'{"frameworks":[',
        *view.model.frameworks(registered),
        b'],"completed_frameworks":[',
        *view.model.frameworks(completed),
        b'],"unregistered_frameworks":[]}',
    ]


def _frameworks(master: Master, id: str | None) -> tuple[list[Framework], list[Framework]]:
    """Return the frameworks that are registered and those that are completed, perhaps only one."""
    if id is None:
        return list(master.frameworks.values()), list(master.completed)
    registered = master.frameworks.get(id)
    return (
        [] if registered is None else [registered],
        [framework for framework in master.completed if framework.id == id],
    )


async def tasks(view: View, query: Mapping[str, str]) -> list[bytes]:
    """`/tasks`: a page of all tasks by the time of their first status. O(tasks log tasks)."""
    registered, completed = _frameworks(view.master, query.get("framework_id"))
    id = query.get("task_id")
    found = [
        task
        for framework in (*registered, *completed)
        for task in _tasks_of(framework)
        if id is None or task.id == id
    ]
    pace = Pace()
    await pace.step()
    limit = _integer(query.get("limit"), _DEFAULT_LIMIT)
    first = max(_integer(query.get("offset"), 0), 0)
    end = len(found) if limit < 0 else first + limit
    order = await _in_order(found, pace, is_ascending=query.get("order") == "asc")
    texts: list[bytes] = []
    page = [found[place] for place in order[first:end]]
    for begin in range(0, len(page), _AT_ONCE):
        texts.append(tasks_text(page[begin : begin + _AT_ONCE]))
        await pace.step()
    return [b'{"tasks":[', *separated(texts), b"]}"]


def _tasks_of(framework: Framework) -> Iterable[Task]:
    return (
        *framework.tasks.values(),
        *framework.unreachable.values(),
        *framework.completed,
    )


async def _in_order(tasks: list[Task], pace: Pace, *, is_ascending: bool) -> list[int]:
    """Return the places of tasks by the time of their first status; those without are the last."""
    times = np.empty(len(tasks))
    for place, task in enumerate(tasks):
        first = next(iter(task.statuses.values()), None)
        times[place] = np.inf if first is None else first.get("timestamp") or 0.0
        if place % _AT_ONCE == 0:
            await pace.step()
    if not is_ascending:
        times = -times
    # Numpy lets go of the interpreter's lock while it sorts.
    order = await asyncio.to_thread(np.argsort, times, kind="stable")
    found: list[int] = order.tolist()
    return found


def _integer(text: str | None, otherwise: int) -> int:
    """Return the integer that a text is; `otherwise` if it is none."""
    try:
        return int(text or "")
    except ValueError:
        return otherwise


async def state_summary(view: View, query: Mapping[str, str]) -> list[bytes]:
    """`/state-summary`: agents and frameworks with counts of tasks. O(tasks)."""
    master = view.master
    heads = [(each.id, view.model.head(each)) for each in master.frameworks.values()]
    agents, views = list(master.agents.values()), master.engine.agents
    listed = [(each.id, _tasks_of(each)) for each in master.frameworks.values()]
    pace = Pace()
    by_agent: defaultdict[str, Counts] = defaultdict(Counts)
    by_framework: defaultdict[str, Counts] = defaultdict(Counts)
    for id, tasks in listed:
        for number, task in enumerate(tasks):
            by_framework[id].add(task.state, task.agent_id)
            by_agent[task.agent_id].add(task.state, id)
            if number % _AT_ONCE == 0:
                await pace.step()
    agent_texts = []
    for agent in agents:
        text = agents_text([agent], views)
        agent_texts.append(_with_counts(text[:-1], "framework_ids", by_agent[agent.id]))
        await pace.step()
    framework_texts = [_with_counts(head, "slave_ids", by_framework[id]) for id, head in heads]
    about = {"hostname": master.info.hostname, "cluster": master.options.cluster or ""}
    return [
        json_text(about)[:-1],
        b',"slaves":[',
        *separated(agent_texts),
        b'],"frameworks":[',
        *separated(framework_texts),
        b"]}",
    ]


class Counts:
    """How many tasks are in which state, and where, or whose."""

    __slots__ = ("by_state", "ids")

    def __init__(self) -> None:
        self.by_state = dict.fromkeys(STATES, 0)
        self.ids: dict[str, None] = {}

    def add(self, state: str, id: str) -> None:
        """Count a task."""
        self.by_state[state] = self.by_state.get(state, 0) + 1
        self.ids[id] = None


def _with_counts(text: bytes, name: str, counts: Counts) -> bytes:
    """Return an object that has no closing brace yet with the counts of its tasks."""
    return text + b"," + json_text({**counts.by_state, name: list(counts.ids)})[1:]


# Roles, weights and quotas.


async def roles(view: View, query: Mapping[str, str]) -> list[bytes]:
    """`/roles`, by name. O(roles + open offers)."""
    master = view.master
    passed_over = uncharged(master)
    pace, texts = Pace(), []
    shown = shown_roles(master)
    for path in shown:
        role = master.engine.roles.get(path)
        texts.append(json_text(_role(master, path, role, passed_over.get(path, _NOTHING))))
        await pace.step()
    return [b'{"roles":[', *separated(texts), b"]}"]


def shown_roles(master: Master) -> list[str]:
    """Return the roles with a framework, a weight, a quota, a reservation, and their ancestors."""
    found = {role for role, weight in master.weights.items() if weight != 1}
    found.update(master.quotas)
    for path, role in master.engine.roles.items():
        if role.frameworks or role.reserved or role.allocated or role.offered:
            found.add(path)
    for path in list(found):
        while "/" in path:
            path = path.rpartition("/")[0]
            found.add(path)
    return sorted(found)


def _role(master: Master, path: str, role: RoleView | None, uncharged: Resources) -> Json:
    """Return a role; `uncharged` is what is on offer to it that counts against no quota."""
    allocated, offered, reserved, consumed = (
        [_NOTHING] * 4
        if role is None
        else map(Resources, (role.allocated, role.offered, role.reserved, role.consumed))
    )
    quota = master.quotas.get(path) or {"guarantees": {}, "limits": {}}
    charged = offered.minus_floor(uncharged)
    return {
        "name": path,
        "weight": master.weights.get(path, 1.0),
        "quota": {
            "role": path,
            "guarantee": quota["guarantees"],
            "limit": quota["limits"],
            "consumed": dict(consumed.minus_floor(charged).quantities()),
        },
        "resources": allocated + offered,
        "allocated": allocated,
        "offered": offered,
        "reserved": reserved,
        "frameworks": [] if role is None else list(role.frameworks),
    }


def uncharged(master: Master) -> dict[str, Resources]:
    """Return what of the open offers counts against no quota: role and ancestors → scalars.

    That is what is reserved, which counts whether it is on offer or not, and what is revocable.
    O(open offers).
    """
    found: dict[str, Resources] = {}
    for offer in master.offers.values():
        special = offer.resources.special().scalars()
        if not special:
            continue
        free = special - special.unreserved().nonrevocable()
        path = offer.role
        while path:
            amounts = Resources(free.quantities())
            found[path] = found.get(path, _NOTHING) + amounts
            path = path.rpartition("/")[0]
    return found


async def weights(view: View, query: Mapping[str, str]) -> list[bytes]:
    """`/weights`: those that were set."""
    return [json_text(forms.weight_infos(view.master.weights))]


async def quota(view: View, query: Mapping[str, str]) -> list[bytes]:
    """`/quota`: those that were set."""
    return [json_text(forms.quota_status(view.master.quotas))]


async def version(view: View, query: Mapping[str, str]) -> list[bytes]:
    """`/version`."""
    return [json_text(_build())]


#: Path → how it is written.
ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    "/state": Endpoint(state),
    "/state-summary": Endpoint(state_summary),
    "/slaves": Endpoint(slaves, frozenset({"slave_id"}), in_full=True),
    "/frameworks": Endpoint(frameworks, frozenset({"framework_id"})),
    "/tasks": Endpoint(tasks, frozenset({"limit", "offset", "order", "framework_id", "task_id"})),
    "/roles": Endpoint(roles, changes_with="roles"),
    "/weights": Endpoint(weights, changes_with="roles"),
    "/quota": Endpoint(quota, changes_with="roles"),
    "/version": Endpoint(version, changes_with="nothing"),
}
