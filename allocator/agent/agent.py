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

import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from allocator.agent.checks import TaskInvalid, check_task
from allocator.agent.executors import Executor, Executors, Timeouts
from allocator.agent.instructions import (
    Cancel,
    Checked,
    Container,
    Ended,
    Event,
    Expired,
    Guard,
    Instruction,
    Leave,
    Limitation,
    Looked,
    NotStarted,
    Start,
    Started,
    Stop,
    in_words,
)
from allocator.agent.ledger import Ledger, Past
from allocator.agent.probes import check_probes
from allocator.agent.tasks import (
    TERMINAL,
    LaunchEntry,
    Task,
    has_capability,
    launch_entry,
    needs_guard,
    user_of,
)
from allocator.resources import Resources
from allocator.wire import messages as m

_TIMEOUTS: Final = Timeouts()


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
    timeouts : Timeouts
        How long executors may take.
    runs_nothing : bool
        What it runs needs nothing: it tells of no start, takes no executor, remembers no end.
    """

    def __init__(
        self,
        info: m.AgentInfo,
        *,
        version: str,
        pid: str,
        wall: Callable[[], float],
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        timeouts: Timeouts = _TIMEOUTS,
        runs_nothing: bool = False,
    ) -> None:
        self.info = info
        self.version = version
        self.pid = pid
        self._wall = wall
        self._new_id = new_id
        self._runs_nothing = runs_nothing
        self._ledger = Ledger(wall, remembers=not runs_nothing)
        self._report = self._ledger.report
        self.executors = Executors(self._ledger, new_id, timeouts, lambda: self.info)
        #: Tasks that have a container of their own, by its id.
        self._by_container: dict[str, Task] = {}
        #: Set when the master has no place for it: it leaves when nothing runs any more.
        self._leaving: str | None = None

    @property
    def id(self) -> str:
        """Its id; empty until a master has given it one."""
        return "" if self.info.id is None else self.info.id.value

    @property
    def tasks(self) -> Mapping[tuple[str, str], Task]:
        """Its tasks, by the ids of their framework and their own (E1)."""
        return self._ledger.tasks

    @property
    def n_ended(self) -> Mapping[str, int]:
        """How many tasks were launched and ended, by terminal state."""
        return self._ledger.n_ended

    @property
    def past(self) -> Mapping[str, Past]:
        """What has ended, by framework."""
        return self._ledger.past

    def take(self) -> list[Instruction]:
        """Return what is to be done, in order, and forget it. O(1)."""
        if self._leaving is not None and not self.tasks and not self.executors.known:
            self._ledger.do(Leave(self._leaving))
            self._leaving = None
        return self._ledger.take()

    def in_use(self) -> Resources:
        """Return what its tasks and executors take. O(tasks)."""
        held = [task.info.resources for task in self.tasks.values() if task.is_running]
        held += [executor.info.resources for executor in self.executors.known.values()]
        return sum((Resources(each or []) for each in held), Resources())

    def grace(self) -> float:
        """Return how long it may take until all it runs has ended, in seconds. O(tasks)."""
        executors = self.executors.known.values()
        times = [task.grace for task in self.tasks.values()]
        return max([*times, *(each.shutdown_seconds for each in executors)], default=0.0)

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
                    executor_id=None
                    if task.runs_in is None
                    else m.Value(value=task.container.executor_id),
                )
            )
            told.add(framework_id)
        executors = [
            m.KnownExecutor(
                framework_id=m.Value(value=each.key[0]),
                role=each.entry.role,
                executor=each.info,
                framework_info=each.entry.framework_info,
            )
            for each in self.executors.known.values()
            if not each.is_unwanted
        ]
        return m.AgentRegistration(
            agent_info=self.info,
            version=self.version,
            pid=self.pid,
            tasks=tasks or None,
            statuses=[status for task in wanted for status in task.waiting] or None,
            executors=executors or None,
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

    def launch_by_executor(
        self,
        framework_id: str,
        framework_info: m.FrameworkInfo | None,
        role: str,
        infos: list[m.TaskInfo],
        info: m.ExecutorInfo,
        *,
        is_new: bool,
        is_grouped: bool,
    ) -> None:
        """LAUNCH and LAUNCH_GROUP of tasks that an executor runs, which may be launched, too.

        Parameters
        ----------
        is_new : bool
            Whether the master counts on the executor being launched.
        is_grouped : bool
            Whether the executor is told of all tasks at once.
        """
        if any((framework_id, each.task_id.value) in self.tasks for each in infos):
            return  # it came before
        why: str | None = None
        executor: Executor | None = None
        try:
            if self._runs_nothing:
                raise TaskInvalid("the null runtime runs commands alone")
            executor = self.executors.prepare(
                framework_id, framework_info, role, info, is_new=is_new
            )
        except TaskInvalid as error:
            why = str(error)
            self.executors.refuse(framework_id, info)
        id, runs_in = info.executor_id.value, None if executor is None else executor.container.id
        tasks = [
            self._add(framework_id, framework_info, role, each, executor_id=id, runs_in=runs_in)
            for each in infos
        ]
        for task in tasks:
            task.group, task.is_grouped = tuple(tasks), is_grouped
            self._ledger.note(task, launch_entry(task))
        if executor is not None:
            self.executors.launch(executor, tasks)
        elif why is None:
            text = "Its executor has ended"
            self.executors.lose(tasks, "REASON_EXECUTOR_TERMINATED", text)
        else:
            self._refuse(tasks, why)

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
            self._ledger.note(task, launch_entry(task))
        try:
            for task in tasks:
                check_task(task.info, executor)
                check_probes(f"task {task.key[1]!r}", task.info.health_check, task.info.check)
        except TaskInvalid as error:
            self._refuse(tasks, str(error))
            return
        for task in tasks:
            task.is_running = True
            if not self._runs_nothing:
                self._report(task, "TASK_STARTING", None, None)
            self._ledger.do(Start(task.container))

    def _refuse(self, tasks: list[Task], why: str) -> None:
        for task in tasks:
            self._report(task, "TASK_ERROR", "REASON_TASK_INVALID", why)

    def _add(
        self,
        framework_id: str,
        framework_info: m.FrameworkInfo | None,
        role: str,
        info: m.TaskInfo,
        container_id: str | None = None,
        *,
        executor_id: str | None = None,
        runs_in: str | None = None,
    ) -> Task:
        container = Container(
            container_id or self._new_id(),
            self.id,
            framework_id,
            info.task_id.value if executor_id is None else executor_id,
            user_of(info.command, framework_info),
            info,
        )
        task = Task(container, framework_info, role, runs_in)
        self._ledger.tasks[task.key] = task
        if runs_in is None:
            self._by_container[container.id] = task
        return task

    def kill(self, framework_id: str, task_id: str, policy: m.KillPolicy | None = None) -> None:
        """KILL: have a task end. One of a group takes the others with it."""
        task = self.tasks.get((framework_id, task_id))
        if task is None:
            return
        if policy is not None and policy.grace_period is not None:
            task.grace = max(policy.grace_period.seconds, 0.0)
        if task.runs_in is not None:
            self.executors.kill(task, policy)
            return
        for each in task.group:
            why = "Killed" if each is task else f"Task {task_id!r} of its group was killed"
            self._kill(each, why)

    def shut_down_executor(self, framework_id: str, executor_id: str) -> None:
        """SHUTDOWN_EXECUTOR: have an executor end; that of a command is the command."""
        key = (framework_id, executor_id)
        task = self.tasks.get(key)
        if key not in self.executors.known and task is not None and task.runs_in is None:
            self.kill(*key)
        else:
            self.executors.shut_down(*key)

    def _kill(self, task: Task, why: str) -> None:
        if not task.is_running:
            return
        entry = {"kill": why, "grace": task.grace}
        self._ledger.note(task, {**entry, "expired": True} if task.has_expired else entry)
        if task.killed is None:
            task.killed = why
            knows_killing = has_capability(task.framework_info, "TASK_KILLING_STATE")
            if task.has_started and knows_killing and not task.is_unwanted:
                self._report(task, "TASK_KILLING", None, why)
        if task.has_started:
            self._ledger.do(Stop(task.container.id, task.grace))
        else:
            self._ledger.do(Cancel(task.container.id))

    def acknowledge(self, framework_id: str, task_id: str, uuid: str) -> None:
        """ACKNOWLEDGE: a status, and with it all before it, were taken in by the framework."""
        task = self.tasks.get((framework_id, task_id))
        if task is not None:
            self._ledger.acknowledge(task, uuid)
            self._forget(task)

    def shut_down_framework(self, framework_id: str) -> None:
        """SHUTDOWN_FRAMEWORK: end its tasks; nobody hears of them any more."""
        for task in [task for task in self.tasks.values() if task.key[0] == framework_id]:
            self._disown(task)
        self.executors.shut_down_framework(framework_id)

    def _disown(self, task: Task) -> None:
        if task.is_unwanted:
            return
        self._ledger.disown(task)
        if task.runs_in is None and task.is_running:
            self._kill(task, "Its framework was removed")
        self._forget(task)

    def _forget(self, task: Task) -> None:
        """Hear nothing any more of the container of a task that was dropped."""
        if task.key not in self.tasks:
            self._by_container.pop(task.container.id, None)

    def shut_down(self, message: str) -> None:
        """SHUTDOWN: the master has no place for the agent; end all, then leave."""
        self._leaving = message
        for task in list(self.tasks.values()):
            self._disown(task)
        self.executors.shut_down_framework(None)

    # What the runtime tells.

    def happened(self, event: Event) -> None:
        """Take in what became of a container; of one that is not known, nothing."""
        if event.container_id in self.executors:
            self.executors.happened(event)
            return
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
            self._ledger.do(Stop(task.container.id, task.grace))
        if all(each.has_started for each in task.group):
            for each in task.group:
                if each.is_running and each.killed is None:
                    self._report_running(each)
                    if needs_guard(each.info):
                        self._ledger.do(Guard(each.container, self._since(each)))

    def _report_running(self, task: Task) -> None:
        if task.state in ("TASK_STAGING", "TASK_STARTING"):
            self._report(task, "TASK_RUNNING", None, None)

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
        if task.has_started and task.killed is None:
            self._report_running(task)  # others of its group may not have started yet
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

    def _drop(self, task: Task) -> None:
        self._ledger.drop(task)
        self._forget(task)

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
            launch.framework_id,
            launch.framework_info,
            launch.role,
            launch.task,
            container_id,
            executor_id=launch.executor_id,
            runs_in=launch.runs_in,
        )
        task.is_grouped = launch.runs_in is not None and launch.group is not None
        for entry in entries[1:]:
            self._recover_entry(task, entry)
        task.is_running = task.state not in TERMINAL
        is_there = task.runs_in is None or self.executors.rejoin(task)
        if task.is_running and is_there:
            return task.container if task.runs_in is None else None
        if task.is_running and not task.is_unwanted:
            text = "Its executor has ended"
            self.executors.lose([task], "REASON_EXECUTOR_TERMINATED", text)
        elif task.is_unwanted or not task.waiting:
            self._drop(task)
        return None

    def _recover_entry(self, task: Task, entry: dict[str, Any]) -> None:
        if "status" in entry:
            status = msgspec.convert(entry["status"], m.TaskStatus)
            task.healthy, task.check_status = status.healthy, status.check_status
            self._ledger.take_in(task, status)
            if status.uuid is not None and task.uuids is not None:
                task.uuids.append(status.uuid)
        elif entry.get("sent"):
            task.is_sent = True
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
        by_notes = {task.container.id: task for task in self.tasks.values()}
        for ids in groups:
            group = tuple(by_notes[id] for id in ids if id in by_notes)
            for task in group:
                task.group = group
