"""The policy of executors that frameworks bring: what runs tasks in a container of its own.

E4. An executor is known from its launch until its container has ended; the master hears of that
    (`Exited`) after the last status of its tasks. What follows from E1 to E3 holds of its tasks.
E5. A task is sent to its executor once, and that is noted before: one that was sent, of which the
    executor knows nothing when it subscribes again, was lost on the way.
E6. The container of an executor has its own resources and those of its tasks that have not ended.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from allocator.agent.checks import check_command, check_container
from allocator.agent.instructions import (
    Cancel,
    Container,
    Ended,
    Event,
    Exited,
    Forget,
    Limitation,
    Note,
    NotStarted,
    Resize,
    Say,
    Start,
    Started,
    Stop,
    ToExecutor,
    Wake,
    Woken,
    in_words,
)
from allocator.agent.ledger import Ledger
from allocator.agent.tasks import MAX_WAITING, TERMINAL, Task, has_capability, user_of
from allocator.resources import Resources
from allocator.wire import messages as m
from allocator.wire.decode import cut
from allocator.wire.refusal import BAD_REQUEST, FORBIDDEN, UNAVAILABLE, CallRefused

Json = dict[str, Any]

#: How long an executor may take to shut down where nothing is said, in seconds.
SHUTDOWN_SECONDS: Final = 5.0
#: How many tasks that an executor has had are shown, as in Mesos.
MAX_TASKS: Final = 200

_LIMITED: Final = ("cpus", "mem")
#: What executors may tell.
_TOLD: Final = TERMINAL | {"TASK_STARTING", "TASK_RUNNING", "TASK_KILLING"}


class Unacknowledged(m.Message, kw_only=True):
    """A task of which an executor has told nothing that was acknowledged."""

    task_id: m.Value


class Update(m.Message, kw_only=True):
    """UPDATE."""

    status: m.TaskStatus


class Subscribe(m.Message, kw_only=True):
    """SUBSCRIBE."""

    unacknowledged_tasks: list[Unacknowledged] | None = None
    unacknowledged_updates: list[Update] | None = None


class ExecutorEntry(m.Message, kw_only=True):
    """The first note of an executor."""

    framework_id: str
    framework_info: m.FrameworkInfo | None = None
    role: str
    info: m.ExecutorInfo


class Timeouts(NamedTuple):
    """How long executors may take; in seconds."""

    #: To subscribe after they were started.
    registration: float = 60.0
    #: To subscribe again after the agent, or the connection to it, was gone.
    recovery: float = 900.0


class Executor:
    """An executor, and the tasks that it runs."""

    __slots__ = (
        "completed",
        "container",
        "entry",
        "has_started",
        "is_connected",
        "is_ending",
        "is_launched",
        "is_recovered",
        "is_unwanted",
        "n_sent",
        "tasks",
        "why",
    )

    def __init__(self, container: Container, entry: ExecutorEntry) -> None:
        #: With the resources that it has now (E6).
        self.container = container
        self.entry = entry
        #: Those that have not ended, by id, the first launched first.
        self.tasks: dict[str, Task] = {}
        #: Those that have ended, the first first.
        self.completed: deque[Task] = deque(maxlen=MAX_TASKS)
        #: How many tasks it was sent.
        self.n_sent = 0
        #: Whether the runtime was told to start it, and told that it was started.
        self.is_launched = False
        self.has_started = False
        #: Whether it was started by a former life of the agent.
        self.is_recovered = False
        self.is_connected = False
        self.is_ending = False
        #: Its framework was removed.
        self.is_unwanted = False
        #: Reason and message of the end of tasks that end with it, where something else is said
        #: than how it ended.
        self.why: tuple[str, str] | None = None

    @property
    def info(self) -> m.ExecutorInfo:
        """What its framework says of it."""
        return self.entry.info

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from all others of the agent."""
        return (self.entry.framework_id, self.info.executor_id.value)

    @property
    def shutdown_seconds(self) -> float:
        """How long it may take to shut down."""
        return shutdown_seconds(self.info)

    def resources(self) -> Resources:
        """Return what its container has (E6). O(tasks)."""
        held = [each.info.resources or [] for each in self.tasks.values()]
        return sum((Resources(each) for each in held), Resources(self.info.resources or []))


class Executors:
    """The executors of an agent.

    Parameters
    ----------
    ledger : Ledger
        The agent's.
    new_id : callable
        Gives ids of containers.
    timeouts : Timeouts
    agent_info : callable
        Returns what the agent says of itself.
    """

    def __init__(
        self,
        ledger: Ledger,
        new_id: Callable[[], str],
        timeouts: Timeouts,
        agent_info: Callable[[], m.AgentInfo],
    ) -> None:
        self._ledger = ledger
        self._new_id = new_id
        self._timeouts = timeouts
        self._agent_info = agent_info
        #: By framework id and its own.
        self.known: dict[tuple[str, str], Executor] = {}
        self._by_container: dict[str, Executor] = {}
        self.n_ended = 0

    def __contains__(self, container_id: object) -> bool:
        return container_id in self._by_container

    # What the master says.

    def prepare(
        self,
        framework_id: str,
        framework_info: m.FrameworkInfo | None,
        role: str,
        info: m.ExecutorInfo,
        *,
        is_new: bool,
    ) -> Executor | None:
        """Return the executor that is to run tasks; None if there should be one, and is not.

        Raises
        ------
        TaskInvalid
            It cannot be run.
        """
        executor = self.known.get((framework_id, info.executor_id.value))
        if executor is not None or not is_new:
            return None if executor is not None and executor.is_ending else executor
        check_container(f"executor {info.executor_id.value!r}", info.container)
        check_command(f"executor {info.executor_id.value!r}", info.command or {})
        info = msgspec.structs.replace(
            info, framework_id=m.Value(value=framework_id), type="CUSTOM"
        )
        entry = ExecutorEntry(
            framework_id=framework_id, framework_info=framework_info, role=role, info=info
        )
        executor = self._add(self._new_id(), entry)
        note = {"executor": entry}
        self._ledger.do(Note(executor.container.id, note))
        return executor

    def _add(self, container_id: str, entry: ExecutorEntry) -> Executor:
        info, agent_id = entry.info, self._agent_info().id or m.Value(value="")
        id = info.executor_id
        task = m.TaskInfo(
            name=info.name or id.value,
            task_id=id,
            agent_id=agent_id,
            command=info.command,
            container=info.container,
        )
        user = user_of(info.command, entry.framework_info)
        of = (agent_id.value, entry.framework_id, id.value)
        executor = Executor(Container(container_id, *of, user, task, executor=info), entry)
        self.known[executor.key] = executor
        self._by_container[container_id] = executor
        return executor

    def launch(self, executor: Executor, tasks: Sequence[Task]) -> None:
        """Have an executor run tasks; it is started if it was not."""
        for task in tasks:
            task.is_running = True
            executor.tasks[task.key[1]] = task
        self._resize(executor, is_told=executor.is_launched)
        if not executor.is_launched:
            executor.is_launched = True
            self._ledger.do(Start(executor.container))
        if executor.is_connected:
            self._deliver(executor)

    def lose(self, tasks: Iterable[Task], reason: str, message: str) -> None:
        """Tell of tasks that no executor runs."""
        for task in tasks:
            is_aware = has_capability(task.framework_info, "PARTITION_AWARE")
            state = "TASK_DROPPED" if is_aware else "TASK_LOST"
            task.is_running = False
            self._ledger.report(task, state, reason, message)

    def refuse(self, framework_id: str, info: m.ExecutorInfo) -> None:
        """Tell the master that an executor is not there, which was to be launched."""
        self._exited((framework_id, info.executor_id.value), None)

    def _exited(self, key: tuple[str, str], wait_status: int | None) -> None:
        agent_id = self._agent_info().id or m.Value(value="")
        framework_id, id = (m.Value(value=value) for value in key)
        self._ledger.do(
            Exited(
                m.ExecutorEnd(
                    agent_id=agent_id,
                    framework_id=framework_id,
                    executor_id=id,
                    status=wait_status,
                )
            )
        )

    def _resize(self, executor: Executor, *, is_told: bool = True) -> None:
        """Have the container of an executor have what it should (E6)."""
        task = msgspec.structs.replace(
            executor.container.task,
            resources=executor.resources().to_json(),
            limits=limits_of(executor),
        )
        executor.container = executor.container._replace(task=task)
        if is_told:
            self._ledger.do(Resize(executor.container))

    def _deliver(self, executor: Executor) -> None:
        """Send an executor the tasks that it was not sent, those of a group at once (E5)."""
        for task in list(executor.tasks.values()):
            if task.is_sent:
                continue
            group = task.group if task.is_grouped else (task,)
            for each in group:
                each.is_sent = True
                executor.n_sent += 1
                self._ledger.note(each, {"sent": True})
            infos = [each.info for each in group]
            if task.is_grouped:
                event: Json = {"type": "LAUNCH_GROUP"}
                event["launch_group"] = {"task_group": {"tasks": infos}}
            else:
                event = {"type": "LAUNCH", "launch": {"task": task.info}}
            self._send(executor, event)

    def _send(self, executor: Executor, event: Json) -> None:
        self._ledger.do(ToExecutor(executor.container.id, event))

    def kill(self, task: Task, policy: m.KillPolicy | None) -> None:
        """Have an executor end a task; one that it was not sent has ended, with its group."""
        executor = self._by_container.get(task.runs_in or "")
        if executor is None or not task.is_running:
            return
        if task.is_sent:
            task.killed = "Killed"
            self._ledger.note(task, {"kill": task.killed, "grace": task.grace})
            self._send_kill(executor, task, policy)
            return
        for each in task.group if task.is_grouped else (task,):
            text = "Killed before it was given to the executor"
            self._end(executor, each, "TASK_KILLED", "REASON_TASK_KILLED_DURING_LAUNCH", text)
        if not executor.tasks and not executor.n_sent:
            self._shut_down(executor)  # one that never had a task does not know when to end

    def _send_kill(self, executor: Executor, task: Task, policy: m.KillPolicy | None) -> None:
        if executor.is_connected:
            kill: Json = {"task_id": task.info.task_id}
            if policy is not None:
                kill["kill_policy"] = policy
            self._send(executor, {"type": "KILL", "kill": kill})

    def message(self, framework_id: str, executor_id: str, data: str) -> None:
        """Hand on what a framework says, if the executor is connected."""
        executor = self.known.get((framework_id, executor_id))
        if executor is not None and executor.is_connected:
            self._send(executor, {"type": "MESSAGE", "message": {"data": data}})

    def shut_down(self, framework_id: str, executor_id: str) -> None:
        """Have an executor end; one that is not there is told to the master once more."""
        executor = self.known.get((framework_id, executor_id))
        if executor is None:
            self._exited((framework_id, executor_id), None)
        else:
            self._shut_down(executor)

    def shut_down_framework(self, framework_id: str | None) -> None:
        """Have all executors of a framework, None of all, end; nobody hears of them any more."""
        for executor in list(self.known.values()):
            if framework_id in (None, executor.entry.framework_id) and not executor.is_unwanted:
                executor.is_unwanted = True
                self._ledger.do(Note(executor.container.id, {"unwanted": True}))
                self._shut_down(executor)

    def _shut_down(self, executor: Executor) -> None:
        if executor.is_ending:
            return
        executor.is_ending = True
        id = executor.container.id
        self._ledger.do(Note(id, {"ending": True}))
        if not executor.has_started:
            self._ledger.do(Cancel(id))
            return
        if executor.is_connected:
            self._send(executor, {"type": "SHUTDOWN"})
        self._ledger.do(Wake(id, None))
        self._ledger.do(Stop(id, executor.shutdown_seconds, asks=not executor.is_connected))

    # What executors say.

    def find(self, framework_id: str, executor_id: str) -> Executor:
        """Return an executor that calls; raises `CallRefused`."""
        executor = self.known.get((framework_id, executor_id))
        if executor is None:
            text = f"there is no executor {cut(executor_id)} of framework {cut(framework_id)}"
            raise CallRefused(BAD_REQUEST, text)
        return executor

    def subscribe(self, executor: Executor, call: Subscribe) -> None:
        """SUBSCRIBE, which was checked: a stream leads to the executor from now on."""
        executor.is_connected = True
        info = executor.entry.framework_info or m.FrameworkInfo(user="", name="")
        subscribed = {
            "executor_info": executor.info,
            "framework_info": msgspec.structs.replace(info, id=executor.info.framework_id),
            "agent_info": self._agent_info(),
            "container_id": {"value": executor.container.id},
        }
        self._ledger.do(Wake(executor.container.id, None))
        self._send(executor, {"type": "SUBSCRIBED", "subscribed": subscribed})
        if executor.is_ending:
            self._send(executor, {"type": "SHUTDOWN"})
        for update in call.unacknowledged_updates or ():
            with contextlib.suppress(CallRefused):  # too many wait: it will tell that again
                self.update(executor, update.status)
        knows = {each.task_id.value for each in call.unacknowledged_tasks or ()}
        self._find_lost(executor, knows)
        if not executor.is_ending:
            self._deliver(executor)

    def _find_lost(self, executor: Executor, knows: set[str]) -> None:
        """Tell of tasks that were sent and never came (E5); have others end that should."""
        for id, task in list(executor.tasks.items()):
            if task.is_sent and task.state == "TASK_STAGING" and id not in knows:
                if not task.is_unwanted:
                    text = "It was lost on the way to its executor"
                    self.lose([task], "REASON_AGENT_RESTARTED", text)
                self._over(executor, task)
                self._resize(executor)
            elif task.is_sent and task.killed is not None:
                self._send_kill(executor, task, None)

    def disconnected(self, container_id: str) -> None:
        """Note that the stream to an executor has ended: it may subscribe again for some time."""
        executor = self._by_container.get(container_id)
        if executor is not None:
            executor.is_connected = False
            if not executor.is_ending:
                self._ledger.do(Wake(container_id, self._timeouts.recovery))

    def update(self, executor: Executor, status: m.TaskStatus) -> None:
        """UPDATE: what became of a task; raises `CallRefused`."""
        check_status(executor, status)
        task = self._ledger.tasks.get((executor.key[0], status.task_id.value))
        uuid = status.uuid or ""
        known = () if task is None or task.uuids is None else task.uuids
        is_its = task is not None and task.runs_in == executor.container.id
        if task is not None and is_its and task.is_running and uuid not in known:
            is_over = status.state in TERMINAL
            if len(task.waiting) >= MAX_WAITING and not is_over:
                text = f"task {cut(task.key[1])} has {MAX_WAITING} statuses that wait"
                raise CallRefused(UNAVAILABLE, f"{text} for its framework")
            if task.uuids is not None:
                task.uuids.append(uuid)
            task.is_running = not is_over
            if not task.is_unwanted:
                self._ledger.keep(task, completed(status, task))
            if is_over:
                self._over(executor, task)
                self._resize(executor)
        acknowledged = {"task_id": status.task_id, "uuid": uuid}
        self._send(executor, {"type": "ACKNOWLEDGED", "acknowledged": acknowledged})

    def said(self, executor: Executor, data: str) -> None:
        """MESSAGE: handed on to the framework."""
        agent_id = m.Value(value=executor.container.agent_id)
        framework_id, id = (m.Value(value=value) for value in executor.key)
        self._ledger.do(
            Say(
                m.FromExecutor(
                    agent_id=agent_id, framework_id=framework_id, executor_id=id, data=data
                )
            )
        )

    # What the runtime tells.

    def happened(self, event: Event) -> None:
        """Take in what became of an executor's container."""
        executor = self._by_container[event.container_id]
        match event:
            case Started(id):
                executor.has_started = True
                after = self._timeouts
                seconds = after.recovery if executor.is_recovered else after.registration
                if executor.is_ending:
                    self._ledger.do(Stop(id, executor.shutdown_seconds))
                elif not executor.is_connected:
                    self._ledger.do(Wake(id, seconds))
            case NotStarted(_, text):
                executor.why = executor.why or ("REASON_CONTAINER_LAUNCH_FAILED", text)
                self._ended(executor, None, None)
            case Ended(_, wait_status, limitation):
                self._ended(executor, wait_status, limitation)
            case Woken(id):
                if not executor.is_connected and not executor.is_ending:
                    self._too_late(executor)

    def _too_late(self, executor: Executor) -> None:
        """End an executor that did not subscribe in time."""
        again = executor.is_recovered or executor.n_sent > 0
        seconds = self._timeouts.recovery if again else self._timeouts.registration
        kind = "REREGISTRATION" if again else "REGISTRATION"
        text = f"The executor did not subscribe {'again ' if again else ''}within {seconds:g} s"
        executor.why = (f"REASON_EXECUTOR_{kind}_TIMEOUT", text)
        executor.is_ending = True
        self._ledger.do(Note(executor.container.id, {"why": list(executor.why)}))
        self._ledger.do(Stop(executor.container.id, 0.0))

    def _ended(
        self, executor: Executor, wait_status: int | None, limitation: Limitation | None
    ) -> None:
        """Tell the end of all that an executor ran, then its own (E4)."""
        reason, text = executor.why or (
            "REASON_EXECUTOR_TERMINATED",
            in_words(wait_status).replace("Command", "Executor"),
        )
        for task in list(executor.tasks.values()):
            if task.killed is not None:
                self._end(executor, task, "TASK_KILLED", None, text)
            elif limitation is not None:
                told = (limitation.reason, limitation.message, limitation)
                self._end(executor, task, "TASK_FAILED", *told)
            else:
                self._end(executor, task, "TASK_FAILED", reason, text)
        self.n_ended += 1
        del self.known[executor.key], self._by_container[executor.container.id]
        self._ledger.do(Wake(executor.container.id, None))
        if not executor.is_unwanted:
            self._exited(executor.key, wait_status)
        self._ledger.do(Forget(executor.container.id))
        self._ledger.remember(executor.key[0], executor.entry.framework_info, executor)

    def _end(
        self,
        executor: Executor,
        task: Task,
        state: str,
        reason: str | None,
        text: str,
        limitation: Limitation | None = None,
    ) -> None:
        task.is_running = False
        if not task.is_unwanted:
            self._ledger.report(task, state, reason, text, limitation)
        self._over(executor, task)

    def _over(self, executor: Executor, task: Task) -> None:
        """Have a task that has ended be of the past."""
        del executor.tasks[task.key[1]]
        executor.completed.append(task)
        if task.is_unwanted:
            self._ledger.drop(task)

    # After a restart.

    def recover(self, container_id: str, entries: list[Json]) -> Executor:
        """Take in an executor as its notes say it was; raises `ValidationError`."""
        entry = msgspec.convert(entries[0]["executor"], ExecutorEntry, strict=False)
        executor = self._add(container_id, entry)
        executor.is_recovered = executor.is_launched = True
        for note in entries[1:]:
            if "why" in note:
                reason, text = note["why"]
                executor.why = (str(reason), str(text))
            executor.is_unwanted |= bool(note.get("unwanted"))
            executor.is_ending |= bool(note.get("ending"))
        executor.is_ending |= executor.why is not None
        return executor

    def rejoin(self, task: Task) -> bool:
        """Have a task that was recovered be its executor's; False if that is gone."""
        executor = self._by_container.get(task.runs_in or "")
        if executor is None:
            return False
        if task.is_running:
            executor.tasks[task.key[1]] = task
        executor.n_sent += task.is_sent
        return True

    def recovered(self) -> list[Container]:
        """Return the containers that the runtime is asked about, with what they should have."""
        for executor in self.known.values():
            self._resize(executor, is_told=False)
        return [executor.container for executor in self.known.values()]


def check_status(executor: Executor, status: m.TaskStatus) -> None:
    """Refuse what an executor may not tell; raises `CallRefused`."""
    try:
        is_uuid = len(base64.b64decode(status.uuid or "", validate=True)) == 16
    except (binascii.Error, ValueError):
        is_uuid = False
    if not is_uuid:
        raise CallRefused(BAD_REQUEST, f"uuid {cut(repr(status.uuid))} is not base64 of 16 bytes")
    if status.executor_id is not None and status.executor_id.value != executor.key[1]:
        raise CallRefused(BAD_REQUEST, "executor_id of the status is not the executor's")
    if status.source not in (None, "SOURCE_EXECUTOR"):
        raise CallRefused(BAD_REQUEST, f"source {cut(repr(status.source))} is not SOURCE_EXECUTOR")
    if status.state not in _TOLD:
        raise CallRefused(BAD_REQUEST, f"state {cut(repr(status.state))} is none that is reported")


def check_updates(executor: Executor, call: Subscribe) -> None:
    """Refuse a SUBSCRIBE that tells what it may not; raises `CallRefused`."""
    for update in call.unacknowledged_updates or ():
        check_status(executor, update.status)


def check_subscribed(executor: Executor) -> None:
    """Refuse what an executor says before it has subscribed; raises `CallRefused`."""
    if not executor.is_connected:
        raise CallRefused(FORBIDDEN, "the executor is not subscribed")


def completed(status: m.TaskStatus, task: Task) -> m.TaskStatus:
    """Return a status with what the agent knows better than the executor."""
    container = task.container
    given = status.container_status or {}
    return msgspec.structs.replace(
        status,
        task_id=task.info.task_id,
        agent_id=m.Value(value=container.agent_id),
        executor_id=m.Value(value=container.executor_id),
        framework_id=m.Value(value=container.framework_id),
        source="SOURCE_EXECUTOR",
        container_status={"container_id": {"value": task.container_id}, **given},
    )


def shutdown_seconds(info: m.ExecutorInfo) -> float:
    """Return how long an executor may take to shut down."""
    period = info.shutdown_grace_period
    return SHUTDOWN_SECONDS if period is None else max(period.seconds, 0.0)


def limits_of(executor: Executor) -> dict[str, m.Limit] | None:
    """Return the limits of an executor's container: what its tasks may use, if one may use more.

    That of a task that says nothing is what it was promised, and so is the executor's own.
    """
    found: dict[str, m.Limit] = {}
    tasks = list(executor.tasks.values())
    for name in _LIMITED:
        given = [(task.info.limits or {}).get(name) for task in tasks]
        if not any(given):
            continue
        total = _amount(executor.info.resources, name)
        for task, limit in zip(tasks, given, strict=True):
            is_none = limit is not None and limit.value is None
            most = _amount(task.info.resources, name) if limit is None else limit.value or 0.0
            total = float("inf") if is_none else total + most
        found[name] = m.Limit(value=total)
    return found or None


def _amount(resources: list[Json] | None, name: str) -> float:
    return float(Resources(resources or []).quantities().get(name, 0))
