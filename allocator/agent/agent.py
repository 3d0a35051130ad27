"""The policy of an agent: what is known of its tasks, and what follows from what happens.

Synchronous and free of I/O: what the master says and what a runtime tells goes in, instructions are
left behind (`take`), which somebody else carries out, in order.

E1. A task is in `tasks` from its launch until its terminal status was acknowledged, or its
    framework was removed and its container has ended.
E2. Each status has a uuid, and is in its task's `waiting` from when it is made until it is
    acknowledged: in order, the oldest first. All of them go with each registration.
E3. What must be known after a restart is noted (`Note`) before what follows from it is done.
"""

from __future__ import annotations

import base64
import os
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from allocator.agent.checks import TaskInvalid, check_task
from allocator.agent.instructions import (
    Cancel,
    Checked,
    Container,
    Ended,
    Event,
    Expired,
    Forget,
    Guard,
    Instruction,
    Leave,
    Limitation,
    Looked,
    Note,
    NotStarted,
    Report,
    Start,
    Started,
    Stop,
    in_words,
)
from allocator.agent.probes import check_probes
from allocator.resources import Resources
from allocator.wire import messages as m

#: How long a task may take to end where nothing is said, in seconds.
GRACE_SECONDS: Final = 3.0

#: Reasons of what an executor would tell; so would it, where there is no reason.
_OF_EXECUTORS: Final = frozenset(
    {None, "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED", "REASON_TASK_CHECK_STATUS_UPDATED"}
)

TERMINAL: Final = frozenset({"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR"})


class Task:
    """A task, and the container that it runs in."""

    __slots__ = (
        "check_status",
        "container",
        "framework_info",
        "grace",
        "group",
        "has_expired",
        "has_started",
        "healthy",
        "history",
        "is_running",
        "is_unwanted",
        "killed",
        "role",
        "state",
        "waiting",
    )

    def __init__(
        self, container: Container, framework_info: m.FrameworkInfo | None, role: str
    ) -> None:
        self.container = container
        self.framework_info = framework_info
        self.role = role
        self.state = "TASK_STAGING"
        #: The others that are launched with it, all or none, and it.
        self.group: tuple[Task, ...] = (self,)
        #: Whether the runtime has been told to start it and has not told its end.
        self.is_running = False
        #: Whether the runtime told that it was started.
        self.has_started = False
        #: Why it is being ended; None while nobody wants that.
        self.killed: str | None = None
        #: Whether it has taken all the time that it may.
        self.has_expired = False
        #: What its health check found last, and its check.
        self.healthy: bool | None = None
        self.check_status = nothing_found(container.task.check)
        #: How long it may take to end, in seconds.
        self.grace = grace_seconds(container.task.kill_policy)
        #: Its framework was removed: nobody wants to hear of it.
        self.is_unwanted = False
        #: The first status of each state.
        self.history: dict[str, m.TaskStatus] = {}
        #: Statuses that were not acknowledged (E2).
        self.waiting: deque[m.TaskStatus] = deque()

    @property
    def info(self) -> m.TaskInfo:
        """What was launched."""
        return self.container.task

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from all others of the agent."""
        return (self.container.framework_id, self.container.task.task_id.value)


class Agent:
    """One agent and its tasks.

    Parameters
    ----------
    info : AgentInfo
        What it says of itself; without an id until a master has given it one.
    version, pid : str
        What it registers with.
    wall : callable
        The time of the calendar, in seconds since 1970.
    new_id : callable
        Gives ids of containers.
    tells_starting : bool
        Whether frameworks are told that tasks are about to run.
    """

    def __init__(
        self,
        info: m.AgentInfo,
        *,
        version: str,
        pid: str,
        wall: Callable[[], float],
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        tells_starting: bool = True,
    ) -> None:
        self.info = info
        self.version = version
        self.pid = pid
        self._wall = wall
        self._new_id = new_id
        self._tells_starting = tells_starting
        self.tasks: dict[tuple[str, str], Task] = {}
        self._by_container: dict[str, Task] = {}
        #: Tasks that were launched and ended, by terminal state.
        self.n_ended = dict.fromkeys(sorted(TERMINAL), 0)
        #: Set when the master has no place for it: it leaves when nothing runs any more.
        self._leaving: str | None = None
        self._out: list[Instruction] = []

    @property
    def id(self) -> str:
        """Its id; empty until a master has given it one."""
        return "" if self.info.id is None else self.info.id.value

    def take(self) -> list[Instruction]:
        """Return what is to be done, in order, and forget it. O(1)."""
        out, self._out = self._out, []
        return out

    # Registering.

    def registration(self) -> m.AgentRegistration:
        """Return what the master is told of the agent whenever it comes (back). O(tasks)."""
        wanted = [task for task in self.tasks.values() if not task.is_unwanted]
        told: set[str] = set()
        tasks = []
        for task in wanted:
            framework_id = task.container.framework_id
            tasks.append(
                m.KnownTask(
                    framework_id=m.Value(value=framework_id),
                    role=task.role,
                    state=task.state,
                    task=task.info,
                    statuses=list(task.history.values()),
                    # Once for each framework.
                    framework_info=None if framework_id in told else task.framework_info,
                )
            )
            told.add(framework_id)
        return m.AgentRegistration(
            agent_info=self.info,
            version=self.version,
            pid=self.pid,
            tasks=tasks or None,
            statuses=[status for task in wanted for status in task.waiting] or None,
        )

    def registered(self, id: str) -> None:
        """Take the id that the master gave, or confirmed."""
        if self.id != id:
            self.info = msgspec.structs.replace(self.info, id=m.Value(value=id))

    # What the master says.

    def launch(
        self,
        framework_id: str,
        framework_info: m.FrameworkInfo | None,
        role: str,
        infos: Iterable[m.TaskInfo],
    ) -> None:
        """LAUNCH: tasks that have nothing to do with one another."""
        for info in infos:
            self._launch(framework_id, framework_info, role, [info], None)

    def launch_group(
        self,
        framework_id: str,
        framework_info: m.FrameworkInfo | None,
        role: str,
        infos: Iterable[m.TaskInfo],
        executor: Mapping[str, Any] | None,
    ) -> None:
        """LAUNCH_GROUP: tasks of which all are launched or none."""
        self._launch(framework_id, framework_info, role, list(infos), executor or {})

    def _launch(
        self,
        framework_id: str,
        framework_info: m.FrameworkInfo | None,
        role: str,
        infos: list[m.TaskInfo],
        executor: Mapping[str, Any] | None,
    ) -> None:
        if any((framework_id, info.task_id.value) in self.tasks for info in infos):
            return  # it came before
        tasks = [self._add(framework_id, framework_info, role, info) for info in infos]
        for task in tasks:
            task.group = tuple(tasks)
            self._note(task, launch_entry(task))
        try:
            for task in tasks:
                check_task(task.info, executor)
                check_probes(f"task {task.key[1]!r}", task.info.health_check, task.info.check)
        except TaskInvalid as error:
            for task in tasks:
                self._report(task, "TASK_ERROR", "REASON_TASK_INVALID", str(error))
            return
        for task in tasks:
            task.is_running = True
            if self._tells_starting:
                self._report(task, "TASK_STARTING", None, None)
            self._out.append(Start(task.container))

    def _add(
        self,
        framework_id: str,
        framework_info: m.FrameworkInfo | None,
        role: str,
        info: m.TaskInfo,
        container_id: str | None = None,
    ) -> Task:
        container = Container(
            container_id or self._new_id(),
            self.id,
            framework_id,
            info.task_id.value,
            user_of(info, framework_info),
            info,
        )
        task = Task(container, framework_info, role)
        self.tasks[task.key] = task
        self._by_container[container.id] = task
        return task

    def kill(self, framework_id: str, task_id: str, policy: m.KillPolicy | None = None) -> None:
        """KILL: have a task end. One of a group takes the others with it."""
        task = self.tasks.get((framework_id, task_id))
        if task is None:
            return
        if policy is not None and policy.grace_period is not None:
            task.grace = max(policy.grace_period.seconds, 0.0)
        for each in task.group:
            why = "Killed" if each is task else f"Task {task_id!r} of its group was killed"
            self._kill(each, why)

    def _kill(self, task: Task, why: str) -> None:
        if not task.is_running:
            return
        entry = {"kill": why, "grace": task.grace}
        self._note(task, {**entry, "expired": True} if task.has_expired else entry)
        if task.killed is None:
            task.killed = why
            if task.has_started and knows_killing(task) and not task.is_unwanted:
                self._report(task, "TASK_KILLING", None, why)
        if task.has_started:
            self._out.append(Stop(task.container.id, task.grace))
        else:
            self._out.append(Cancel(task.container.id))

    def acknowledge(self, framework_id: str, task_id: str, uuid: str) -> None:
        """ACKNOWLEDGE: a status, and with it all before it, were taken in by the framework."""
        task = self.tasks.get((framework_id, task_id))
        if task is None or all(status.uuid != uuid for status in task.waiting):
            return
        while task.waiting.popleft().uuid != uuid:
            pass
        if task.state in TERMINAL and not task.waiting:
            self._drop(task)
        else:
            self._note(task, {"acknowledged": uuid})

    def shut_down_framework(self, framework_id: str) -> None:
        """SHUTDOWN_FRAMEWORK: end its tasks; nobody hears of them any more."""
        for task in [task for task in self.tasks.values() if task.key[0] == framework_id]:
            self._disown(task)

    def _disown(self, task: Task) -> None:
        if task.is_unwanted:
            return
        task.is_unwanted = True
        task.waiting.clear()
        if task.is_running:
            self._note(task, {"unwanted": True})
            self._kill(task, "Its framework was removed")
        else:
            self._drop(task)

    def shut_down(self, message: str) -> None:
        """SHUTDOWN: the master has no place for the agent; end all, then leave."""
        self._leaving = message
        for task in list(self.tasks.values()):
            self._disown(task)
        self._leave_if_idle()

    def _leave_if_idle(self) -> None:
        if self._leaving is not None and not self.tasks:
            self._out.append(Leave(self._leaving))

    # What the runtime tells.

    def happened(self, event: Event) -> None:
        """Take in what became of a container; of one that is not known, nothing."""
        task = self._by_container.get(event.container_id)
        if task is None:
            return
        match event:
            case Started():
                self._started(task)
            case NotStarted(_, message):
                self._not_started(task, message)
            case Ended(_, wait_status, limitation):
                self._ended(task, wait_status, limitation)
            case Checked(_, is_healthy, is_fatal):
                self._checked(task, is_healthy, is_fatal)
            case Looked(_, status):
                self._looked(task, status)
            case Expired():
                self._expired(task)

    def _started(self, task: Task) -> None:
        task.has_started = True
        if task.killed is not None:
            self._out.append(Stop(task.container.id, task.grace))
        if all(each.has_started for each in task.group):
            for each in task.group:
                if each.is_running and each.killed is None:
                    if each.state in ("TASK_STAGING", "TASK_STARTING"):
                        self._report(each, "TASK_RUNNING", None, None)
                    if needs_guard(each.info):
                        self._out.append(Guard(each.container, self._since(each)))

    def _since(self, task: Task) -> float:
        status = task.history.get("TASK_RUNNING")
        return status.timestamp if status is not None and status.timestamp else self._wall()

    def _checked(self, task: Task, is_healthy: bool, is_fatal: bool) -> None:
        if task.killed is not None or not task.is_running:
            return
        if task.healthy != is_healthy:
            task.healthy = is_healthy
            self._report(task, "TASK_RUNNING", "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED", None)
        if is_fatal:
            self._kill(task, "Its health check failed too often")

    def _looked(self, task: Task, status: dict[str, Any]) -> None:
        if task.killed is None and task.is_running and task.check_status != status:
            task.check_status = status
            self._report(task, "TASK_RUNNING", "REASON_TASK_CHECK_STATUS_UPDATED", None)

    def _expired(self, task: Task) -> None:
        if task.killed is None and task.is_running:
            task.has_expired = True
            task.grace = 0.0
            self._kill(task, "It has taken longer than max_completion_time")

    def _not_started(self, task: Task, message: str) -> None:
        task.is_running = False
        if task.is_unwanted:
            self._drop(task)
            return
        if task.killed is None:
            self._report(task, "TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED", message)
        else:
            self._report(task, "TASK_KILLED", "REASON_TASK_KILLED_DURING_LAUNCH", task.killed)
        self._end_group(task)

    def _ended(self, task: Task, wait_status: int | None, limitation: Limitation | None) -> None:
        task.is_running = False
        if task.is_unwanted:
            self._drop(task)
            return
        text = in_words(wait_status)
        if task.has_expired:
            reason = "REASON_MAX_COMPLETION_TIME_REACHED"
            self._report(task, "TASK_FAILED", reason, task.killed)
        elif task.killed is not None:
            during = None if "TASK_RUNNING" in task.history else "REASON_TASK_KILLED_DURING_LAUNCH"
            self._report(task, "TASK_KILLED", during, text)
        elif limitation is not None:
            self._report(task, "TASK_FAILED", limitation.reason, limitation.message, limitation)
        elif wait_status == 0:
            self._report(task, "TASK_FINISHED", None, text)
            return
        else:
            self._report(task, "TASK_FAILED", "REASON_COMMAND_EXECUTOR_FAILED", text)
        self._end_group(task)

    def _end_group(self, task: Task) -> None:
        """Have the others of a group end after one that did not end well."""
        for each in task.group:
            if each is not task and each.killed is None:
                self._kill(each, f"Task {task.key[1]!r} of its group has ended")

    def _report(
        self,
        task: Task,
        state: str,
        reason: str | None,
        message: str | None,
        limitation: Limitation | None = None,
    ) -> None:
        """Make a status, and keep it until it is acknowledged (E2)."""
        container = task.container
        status = m.TaskStatus(
            task_id=task.info.task_id,
            state=state,
            agent_id=m.Value(value=container.agent_id),
            executor_id=m.Value(value=container.executor_id),
            framework_id=m.Value(value=container.framework_id),
            source="SOURCE_EXECUTOR" if reason in _OF_EXECUTORS else "SOURCE_AGENT",
            reason=reason,
            message=message,
            timestamp=self._wall(),
            uuid=base64.b64encode(os.urandom(16)).decode("ascii"),
            healthy=task.healthy,
            check_status=task.check_status,
            container_status={"container_id": {"value": container.id}},
            limitation=None
            if limitation is None
            else {"resources": Resources(limitation.resources).to_json()},
        )
        self._take_in(task, status)
        self._note(task, {"status": status})
        self._out.append(Report(status))

    def _take_in(self, task: Task, status: m.TaskStatus) -> None:
        task.state = status.state
        task.history.setdefault(status.state, status)
        task.waiting.append(status)
        if status.state in TERMINAL:
            self.n_ended[status.state] += 1

    def _note(self, task: Task, entry: Mapping[str, object]) -> None:
        self._out.append(Note(task.container.id, entry))

    def _drop(self, task: Task) -> None:
        del self.tasks[task.key]
        del self._by_container[task.container.id]
        self._out.append(Forget(task.container.id))
        self._leave_if_idle()

    # After a restart.

    def recover(self, container_id: str, entries: list[dict[str, Any]]) -> Container | None:
        """Take in a task as its notes say it was.

        Returns
        -------
        Container or None
            What the runtime is asked about, before `resume`; None where the task has ended.

        Raises
        ------
        msgspec.ValidationError
            The notes make no sense.
        """
        launch = msgspec.convert(entries[0], LaunchEntry, strict=False)
        task = self._add(
            launch.framework_id, launch.framework_info, launch.role, launch.task, container_id
        )
        for entry in entries[1:]:
            self._recover_entry(task, entry)
        task.is_running = task.state not in TERMINAL
        if task.is_running:
            return task.container
        if task.is_unwanted or not task.waiting:
            self._drop(task)
        return None

    def _recover_entry(self, task: Task, entry: dict[str, Any]) -> None:
        if "status" in entry:
            status = msgspec.convert(entry["status"], m.TaskStatus)
            task.healthy, task.check_status = status.healthy, status.check_status
            self._take_in(task, status)
        elif "acknowledged" in entry:
            while task.waiting and task.waiting.popleft().uuid != entry["acknowledged"]:
                pass
        elif "kill" in entry:
            task.killed, task.grace = str(entry["kill"]), float(entry["grace"])
            task.has_expired = bool(entry.get("expired"))
        elif entry.get("unwanted"):
            task.is_unwanted = True
            task.waiting.clear()

    def rejoin_groups(self, groups: Iterable[list[str]]) -> None:
        """Have recovered tasks be of the groups that they were launched in."""
        for ids in groups:
            group = tuple(self._by_container[id] for id in ids if id in self._by_container)
            for task in group:
                task.group = group


class LaunchEntry(m.Message, kw_only=True):
    """The first note of a task: what was launched, and for whom."""

    framework_id: str
    framework_info: m.FrameworkInfo | None = None
    role: str
    task: m.TaskInfo
    #: The containers of its group, itself included.
    group: list[str] | None = None


def launch_entry(task: Task) -> dict[str, object]:
    """Return the first note of a task."""
    ids = [each.container.id for each in task.group]
    return {
        "framework_id": task.container.framework_id,
        "framework_info": task.framework_info,
        "role": task.role,
        "task": task.info,
        **({"group": ids} if len(ids) > 1 else {}),
    }


def user_of(info: m.TaskInfo, framework_info: m.FrameworkInfo | None) -> str | None:
    """Return who is to run a task; None if nobody is named."""
    named = (info.command or {}).get("user")
    if isinstance(named, str) and named:
        return named
    return (framework_info.user or None) if framework_info is not None else None


def nothing_found(check: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what is told of a check that was not made; None without one."""
    kind = None if check is None else check.get("type")
    return {"type": kind, kind.lower(): {}} if isinstance(kind, str) else None


def needs_guard(info: m.TaskInfo) -> bool:
    """Tell whether a task has checks, or a time that it may take."""
    return any(
        each is not None for each in (info.health_check, info.check, info.max_completion_time)
    )


def grace_seconds(policy: m.KillPolicy | None) -> float:
    """Return how long a task may take to end."""
    if policy is None or policy.grace_period is None:
        return GRACE_SECONDS
    return max(policy.grace_period.seconds, 0.0)


def knows_killing(task: Task) -> bool:
    """Tell whether a task's framework knows the state of tasks that are asked to end."""
    info = task.framework_info
    capabilities = () if info is None else info.capabilities or ()
    return any(each.type == "TASK_KILLING_STATE" for each in capabilities)
