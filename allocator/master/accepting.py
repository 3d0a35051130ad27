"""ACCEPT: operations on offers, one after the other, and then what is left goes back.

The engine converts an open offer in place (RESERVE, CREATE, …); what tasks take is noted while the
operations go on, and kept in one answer to the engine at the end. An operation that the offers do
not allow is left out, and the rest goes on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from allocator.contract import Offer
from allocator.errors import AllocatorError
from allocator.master import events
from allocator.master.master import Master
from allocator.master.records import Executor, Framework, Json, Task
from allocator.master.spreading import spread
from allocator.master.tasks import status_of_master
from allocator.resources import Resource, Resources
from allocator.resources.conversions import Operation, convert, operation_from_json
from allocator.wire import messages as m

EMPTY: Final = Resources()

INVALID_OFFERS: Final = "REASON_INVALID_OFFERS"
TASK_INVALID: Final = "REASON_TASK_INVALID"

#: What a task may be held to, beyond what it asks for.
LIMITED: Final = ("cpus", "mem", "pids")

#: Operations that turn resources into other ones; the engine reads them in their v1 JSON form.
CONVERSIONS: Final = frozenset(
    {"RESERVE", "UNRESERVE", "CREATE", "DESTROY", "GROW_VOLUME", "SHRINK_VOLUME"}
)


def accept(master: Master, framework: Framework, call: m.AcceptCall) -> None:
    """ACCEPT; without operations a DECLINE."""
    operations = call.accept.operations or []
    ids = list(dict.fromkeys(id.value for id in call.accept.offer_ids))
    seconds = refuse_seconds(call.accept.filters)
    offers = _open_offers(master, framework, ids)
    if offers is None:
        for info in _tasks_of(operations):
            _reject_task(master, framework, info, INVALID_OFFERS, "An offer is not valid any more")
        _give_back(master, [id for id in ids if id in framework.offers], [], seconds)
        return
    acceptance = Acceptance(master, framework, offers)
    for operation in operations:
        acceptance.carry_out(operation)
    _give_back(master, ids, acceptance.kept, seconds)
    acceptance.launch()


def refuse_seconds(filters: m.Filters | None) -> float:
    """Return how long what is given back is refused; 5 seconds if nothing is said."""
    if filters is None or filters.refuse_seconds is None:
        return 5.0
    return filters.refuse_seconds


def roles_to_reserve(call: m.AcceptCall) -> list[str]:
    """Return the roles whose reservations an ACCEPT makes or undoes. O(entries)."""
    roles: list[str] = []
    for operation in call.accept.operations or ():
        parts: list[list[Json]] = []
        if operation.reserve is not None:
            parts += operation.reserve.resources, operation.reserve.source or []
        if operation.unreserve is not None:
            parts.append(operation.unreserve.resources)
        for part in parts:
            with contextlib.suppress(AllocatorError):  # what is malformed does nothing
                roles += innermost_roles(Resources(part))
    return roles


def innermost_roles(entries: Iterable[Resource]) -> list[str]:
    """Return the roles of the innermost reservations: those that are made or undone."""
    return list(dict.fromkeys(e.reservations[-1].role for e in entries if e.reservations))


def _open_offers(master: Master, framework: Framework, ids: list[str]) -> list[Offer] | None:
    """Return offers that are open, of one agent and one role; None if they are not all that."""
    if not ids or not all(id in framework.offers for id in ids):
        return None
    offers = [master.engine.open_offers[id] for id in ids]
    if len({(offer.agent, offer.role) for offer in offers}) > 1:
        return None
    return offers


def _give_back(
    master: Master, ids: list[str], kept: list[Resources], refuse_seconds: float
) -> None:
    """Answer the engine: what is kept of each offer; nothing is, where `kept` is empty."""
    if not ids:
        return
    if kept:
        master.engine.accept(ids, kept, refuse_seconds=refuse_seconds)
    else:
        master.engine.decline(ids, refuse_seconds=refuse_seconds)
    for id in ids:
        master.close_offer(id)


def _tasks_of(operations: list[m.Operation]) -> Iterator[m.TaskInfo]:
    for operation in operations:
        if operation.launch is not None:
            yield from operation.launch.task_infos or ()
        if operation.launch_group is not None:
            yield from operation.launch_group.task_group.tasks


def _reject_task(
    master: Master, framework: Framework, info: m.TaskInfo, reason: str, message: str
) -> None:
    """Tell a framework that a task was not launched."""
    if reason == TASK_INVALID:
        state = "TASK_ERROR"
    else:
        state = "TASK_DROPPED" if framework.is_partition_aware else "TASK_LOST"
    status = status_of_master(
        info.task_id.value, state, reason, message, master.wall(), info.agent_id.value
    )
    master.send(framework, events.update(status))


class Acceptance:
    """One ACCEPT while its operations are carried out.

    Parameters
    ----------
    master : Master
    framework : Framework
    offers : list of Offer
        Open, of one agent and one role.
    """

    def __init__(self, master: Master, framework: Framework, offers: list[Offer]) -> None:
        self._master = master
        self._framework = framework
        self._agent = master.agents[offers[0].agent]
        self._role = offers[0].role
        #: What is in each offer now, conversions included.
        self._offers = offers
        #: What tasks keep of each offer.
        self._kept = [EMPTY] * len(offers)
        #: Executors that are launched with the tasks.
        self._executors: dict[str, Executor] = {}
        #: What is launched in the end.
        self._launches: list[_Launch] = []

    @property
    def kept(self) -> list[Resources]:
        """What is kept of each offer; empty where nothing is kept of any."""
        return self._kept if any(self._kept) else []

    def carry_out(self, operation: m.Operation) -> None:
        """Carry one operation out, or leave it out if the offers do not allow it."""
        if operation.type == "LAUNCH" and operation.launch is not None:
            for info in operation.launch.task_infos or ():
                self._take_tasks([info], None)
        elif operation.type == "LAUNCH_GROUP" and operation.launch_group is not None:
            group = operation.launch_group
            self._take_tasks(group.task_group.tasks, group.executor)
        elif operation.type in CONVERSIONS:
            self._convert(operation)

    def _convert(self, operation: m.Operation) -> None:
        """Convert the first offer that allows it, else all, in what no task has taken of them."""
        if operation.reserve is not None and not self._may_reserve(operation.reserve.resources):
            return
        json = msgspec.to_builtins(operation)
        agent = self._master.engine.agent(self._agent.id)
        for place, offer in enumerate(self._offers):
            try:
                convert(
                    offer.resources - self._kept[place],
                    json,
                    existing=agent.total,
                    shared_in_use=agent.offered + agent.allocated - offer.resources,
                )
                self._offers[place] = self._master.engine.apply(offer, json)
            except AllocatorError:
                continue
            self._master.agent_converted(self._agent)
            return
        if len(self._offers) > 1:
            with contextlib.suppress(AllocatorError):
                self._convert_together(operation_from_json(json))

    def _convert_together(self, operation: Operation) -> None:
        """Convert what the offers hold together, a part of it in each."""
        lefts = [o.resources - kept for o, kept in zip(self._offers, self._kept, strict=True)]
        total = self._master.engine.agent(self._agent.id).total
        convert(sum(lefts, EMPTY), operation, existing=total)
        for place, parts in enumerate(spread(operation, lefts) or ()):
            if parts:
                self._offers[place] = self._master.engine.apply(self._offers[place], parts)
        self._master.agent_converted(self._agent)

    def _may_reserve(self, resources: list[Json]) -> bool:
        """Tell whether all are to be reserved for the role that they were offered to (Mesos)."""
        with contextlib.suppress(AllocatorError):  # what is malformed is left to the engine
            return all(role == self._role for role in innermost_roles(Resources(resources)))
        return True

    # Tasks.

    def _take_tasks(self, infos: list[m.TaskInfo], group: Json | None) -> None:
        """Set aside what tasks need, all of a group or none, or tell what is wrong.

        `group` is the executor of a group, None for tasks that are launched alone.
        """
        before, executors = list(self._kept), dict(self._executors)
        tasks: list[Task] = []
        try:
            for info in infos:
                if any(info.task_id.value == task.id for task in tasks):
                    raise TaskRefused(f"task id {info.task_id.value!r} is there twice")
                tasks.append(self._task(info, is_grouped=group is not None))
            executor = self._executor_of(infos, group)
            for task in tasks:
                task.executor_id = "" if executor is None else executor.id
        except (TaskRefused, AllocatorError) as error:
            self._kept, self._executors = before, executors
            for info in infos:
                _reject_task(self._master, self._framework, info, TASK_INVALID, str(error))
            return
        is_new = len(self._executors) > len(executors)
        self._launches.append(_Launch(tasks, group, executor, launches_executor=is_new))

    def _executor_of(self, infos: list[m.TaskInfo], group: Json | None) -> Executor | None:
        """Return what runs tasks if it is none of the agent's own; a new one is set aside."""
        given = infos[0].executor if group is None and infos else group
        info = None if given is None else read_executor(given, is_grouped=group is not None)
        if info is None:
            return None
        id = info.executor_id.value
        known = self._executors.get(id) or self._agent.executors.get((self._framework.id, id))
        if known is not None:
            if not is_same(known.info, info):
                raise TaskRefused(f"executor {id!r} is another one than runs on the agent")
            return known
        wanted = Resources(info.resources or [])
        self._keep(f"executor {id!r}", wanted)
        executor = Executor(info, self._framework.id, self._agent.id, self._role, wanted)
        self._executors[id] = executor
        return executor

    def _task(self, info: m.TaskInfo, *, is_grouped: bool) -> Task:
        id = info.task_id.value
        if (
            id in self._framework.tasks
            or id in self._framework.unreachable
            or self._launches_id(id)
        ):
            raise TaskRefused(f"task id {id!r} is in use")
        check_task(info, self._agent.id, is_grouped=is_grouped)
        wanted = Resources(info.resources or [])
        if not wanted:
            raise TaskRefused(f"task {id!r} has no resources")
        check_bounds(info, wanted)
        self._keep(f"task {id!r}", wanted)
        return Task(info, self._framework.id, self._agent.id, self._role, wanted)

    def _launches_id(self, id: str) -> bool:
        return any(task.id == id for launch in self._launches for task in launch.tasks)

    def _keep(self, who: str, wanted: Resources) -> None:
        """Take what somebody needs out of the offers, the first ones first."""
        rest = wanted
        kept = list(self._kept)
        for place, offer in enumerate(self._offers):
            left = offer.resources - kept[place]
            beyond = rest.minus_floor(left)
            kept[place] = kept[place] + (rest - beyond)
            rest = beyond
        if rest:
            raise TaskRefused(f"{who} uses {wanted}, of which the offers lack {rest}")
        self._kept = kept

    def launch(self) -> None:
        """Launch what was set aside: the engine has it as allocated now."""
        for executor in self._executors.values():
            self._master.add_executor(self._framework, executor)
        for launch in self._launches:
            for task in launch.tasks:
                self._master.add_task(self._framework, task)
        alone = [task for each in self._launches if each.is_alone for task in each.tasks]
        launches = [each for each in self._launches if not each.is_alone]
        for launch in [_Launch(alone, None, None), *launches] if alone else launches:
            message = launch_message(self._framework, launch, self._role)
            self._master.tell_agent(self._agent, message)


class _Launch(NamedTuple):
    """Tasks that an agent is told of at once."""

    tasks: list[Task]
    #: The executor of a group, as it was given; None where the tasks are of none.
    group: Json | None
    #: What runs them, if it is none of the agent's own.
    executor: Executor | None
    #: Whether it is launched with them.
    launches_executor: bool = False

    @property
    def is_alone(self) -> bool:
        """Whether it is a task that has nothing to do with others."""
        return self.group is None and self.executor is None


class TaskRefused(AllocatorError):
    """A task that cannot be launched."""


def read_executor(given: Json, *, is_grouped: bool) -> m.ExecutorInfo | None:
    """Return what a framework has its tasks run by; None if the agent's own does that.

    Raises
    ------
    TaskRefused
        It makes no sense.
    """
    try:
        info = msgspec.convert(given, m.ExecutorInfo, strict=False)
    except msgspec.ValidationError as error:
        raise TaskRefused(f"the executor: {error}") from None
    id, kind = info.executor_id.value, info.type or ("DEFAULT" if is_grouped else "CUSTOM")
    if kind == "DEFAULT" and is_grouped:
        return None
    if kind != "CUSTOM":
        raise TaskRefused(f"executor {id!r} of a task is of type CUSTOM, not {kind!r}")
    if not _is_name(id):
        raise TaskRefused(f"executor id {id!r} is not a name")
    if not (info.command or {}).get("value"):
        raise TaskRefused(f"executor {id!r} has no command")
    if info.shutdown_grace_period is not None and info.shutdown_grace_period.nanoseconds < 0:
        raise TaskRefused(f"executor {id!r} has a shutdown_grace_period below 0")
    return info


def is_same(known: m.ExecutorInfo, given: m.ExecutorInfo) -> bool:
    """Tell whether two descriptions are of the same executor."""
    resources = [Resources(each.resources or []) for each in (known, given)]
    plain = [
        msgspec.structs.replace(each, framework_id=None, resources=None, type=None)
        for each in (known, given)
    ]
    return resources[0] == resources[1] and plain[0] == plain[1]


def _is_name(id: str) -> bool:
    return bool(id) and "/" not in id and id not in (".", "..") and id.isprintable()


def check_task(info: m.TaskInfo, agent_id: str, *, is_grouped: bool) -> None:
    """Refuse a task that no agent could launch; raises `TaskRefused`."""
    id = info.task_id.value
    if not _is_name(id):
        raise TaskRefused(f"task id {id!r} is not a name")
    if info.agent_id.value != agent_id:
        raise TaskRefused(f"task {id!r} is for agent {info.agent_id.value!r}, not {agent_id!r}")
    if is_grouped:
        if info.executor is not None:
            raise TaskRefused(f"task {id!r} of a group has an executor of its own")
    elif (info.command is None) == (info.executor is None):
        raise TaskRefused(f"task {id!r} has either a command or an executor")


def check_bounds(info: m.TaskInfo, wanted: Resources) -> None:
    """Refuse limits below what a task asks for, and times below zero; raises `TaskRefused`."""
    id, amounts = info.task_id.value, wanted.quantities()
    for name, limit in (info.limits or {}).items():
        if name not in LIMITED:
            raise TaskRefused(f"task {id!r} limits {name!r}, which is none of {', '.join(LIMITED)}")
        if limit.value is not None and limit.value < amounts[name]:
            raise TaskRefused(f"task {id!r} limits {name} to less than the {amounts[name]} it uses")
    policy = info.kill_policy
    times = {
        "max_completion_time": info.max_completion_time,
        "kill_policy.grace_period": None if policy is None else policy.grace_period,
    }
    for name, time in times.items():
        if time is not None and time.nanoseconds < 0:
            raise TaskRefused(f"task {id!r} has a {name} below 0")


def launch_message(framework: Framework, launch: _Launch, role: str) -> Json:
    """Return what an agent is told to launch; a group is all or nothing."""
    message: Json = {
        "type": "LAUNCH" if launch.group is None else "LAUNCH_GROUP",
        "framework_id": {"value": framework.id},
        "framework_info": framework.info,
        "role": role,
        "tasks": [task.info for task in launch.tasks],
    }
    if launch.group is not None:
        message["executor"] = launch.group
    if launch.executor is not None:
        message["executor"] = launch.executor.info
        message["launch_executor"] = launch.launches_executor
    return message
