"""What commands and executors have in common: the tasks of an agent, and what is told of them."""

from __future__ import annotations

import base64
import os
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from allocator.agent.instructions import Forget, Instruction, Limitation, Note, Report
from allocator.agent.tasks import TERMINAL, Task
from allocator.resources import Resources
from allocator.wire import messages as m

if TYPE_CHECKING:
    from allocator.agent.executors import Executor

#: Reasons of what an executor would tell; so would it, where there is no reason.
_OF_EXECUTORS: Final = frozenset(
    {None, "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED", "REASON_TASK_CHECK_STATUS_UPDATED"}
)

#: How many frameworks are remembered that have nothing on the agent any more, and how many
#: executors of each framework, as in Mesos.
MAX_FRAMEWORKS: Final = 50
MAX_EXECUTORS: Final = 150


class Past:
    """What a framework had on the agent: tasks that ran commands, and executors."""

    def __init__(self, info: m.FrameworkInfo | None) -> None:
        self.info = info
        self.executors: deque[Task | Executor] = deque(maxlen=MAX_EXECUTORS)


class Ledger:
    """The tasks of an agent, their statuses, and what is to be done.

    Parameters
    ----------
    wall : callable
        The time of the calendar, in seconds since 1970.
    remembers : bool
        Whether what has ended is kept, to be shown.
    """

    def __init__(self, wall: Callable[[], float], *, remembers: bool) -> None:
        self.wall = wall
        self._remembers = remembers
        self.tasks: dict[tuple[str, str], Task] = {}
        #: Tasks that were launched and ended, by terminal state.
        self.n_ended = dict.fromkeys(sorted(TERMINAL), 0)
        #: What has ended, by framework; the one in which something ended last is the last.
        self.past: OrderedDict[str, Past] = OrderedDict()
        self._out: list[Instruction] = []

    def take(self) -> list[Instruction]:
        """Return what is to be done, in order, and forget it. O(1)."""
        out, self._out = self._out, []
        return out

    def do(self, instruction: Instruction) -> None:
        """Have something done."""
        self._out.append(instruction)

    def note(self, task: Task, entry: Mapping[str, object]) -> None:
        """Have something written down of a task (E3)."""
        self._out.append(Note(task.container.id, entry))

    # Statuses.

    def report(
        self,
        task: Task,
        state: str,
        reason: str | None,
        message: str | None,
        limitation: Limitation | None = None,
    ) -> None:
        """Make a status, and keep it until it is acknowledged (E2)."""
        container = task.container
        resources = None if limitation is None else Resources(limitation.resources).to_json()
        status = m.TaskStatus(
            task_id=task.info.task_id,
            state=state,
            agent_id=m.Value(value=container.agent_id),
            executor_id=m.Value(value=container.executor_id),
            framework_id=m.Value(value=container.framework_id),
            source="SOURCE_EXECUTOR" if reason in _OF_EXECUTORS else "SOURCE_AGENT",
            reason=reason,
            message=message,
            timestamp=self.wall(),
            uuid=base64.b64encode(os.urandom(16)).decode("ascii"),
            healthy=task.healthy,
            check_status=task.check_status,
            container_status={"container_id": {"value": task.container_id}},
            limitation=None if resources is None else {"resources": resources},
        )
        self.keep(task, status)

    def keep(self, task: Task, status: m.TaskStatus) -> None:
        """Take a status in, and keep it until it is acknowledged (E2)."""
        self.take_in(task, status)
        self.note(task, {"status": status})
        self._out.append(Report(status))

    def take_in(self, task: Task, status: m.TaskStatus) -> None:
        """Take a status in that is noted."""
        task.state = status.state
        task.history.setdefault(status.state, status)
        task.waiting.append(status)
        if status.state in TERMINAL:
            self.n_ended[status.state] += 1

    def acknowledge(self, task: Task, uuid: str) -> None:
        """Keep a status no longer, and none before it; one that is not waiting: nothing."""
        if all(status.uuid != uuid for status in task.waiting):
            return
        while task.waiting.popleft().uuid != uuid:
            pass
        if task.state in TERMINAL and not task.waiting:
            self.drop(task)
        else:
            self.note(task, {"acknowledged": uuid})

    def disown(self, task: Task) -> None:
        """Note that nobody wants to hear of a task any more; one that has ended is dropped."""
        task.is_unwanted = True
        task.waiting.clear()
        if task.is_running:
            self.note(task, {"unwanted": True})
        else:
            self.drop(task)

    def drop(self, task: Task) -> None:
        """Keep nothing of a task but what is shown of the past."""
        del self.tasks[task.key]
        self._out.append(Forget(task.container.id))
        if task.runs_in is None:
            self.remember(task.container.framework_id, task.framework_info, task)

    def remember(
        self, framework_id: str, info: m.FrameworkInfo | None, ended: Task | Executor
    ) -> None:
        """Show something as ended from now on, and no longer what ended long before."""
        if not self._remembers:
            return
        past = self.past.setdefault(framework_id, Past(info))
        past.executors.append(ended)
        self.past.move_to_end(framework_id)
        while len(self.past) > MAX_FRAMEWORKS:
            self.past.popitem(last=False)
