"""The states of a task and what becomes of its statuses (Mesos' names).

    STAGING ──▶ STARTING ──▶ RUNNING ──▶ FINISHED | FAILED | KILLED | ERROR | LOST | …
       │            │        │    ▲
       │            ▼        ▼    │
       └──────▶  KILLING     UNREACHABLE   (the agent is away; back when it returns)

What an agent reports is believed; the master itself makes the statuses of tasks that never reached
an agent, or whose agent is away. Statuses of an agent carry a uuid: the framework gets one at a
time, again and again until it acknowledges it, and then the next.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from allocator.master.records import Task

Json = dict[str, Any]

#: After which nothing comes, and nothing is held any more.
TERMINAL: Final = frozenset(
    {
        "TASK_FINISHED",
        "TASK_FAILED",
        "TASK_KILLED",
        "TASK_ERROR",
        "TASK_LOST",
        "TASK_DROPPED",
        "TASK_GONE",
        "TASK_GONE_BY_OPERATOR",
    }
)
#: All states that a task may be in.
STATES: Final = (
    "TASK_STAGING",
    "TASK_STARTING",
    "TASK_RUNNING",
    "TASK_KILLING",
    "TASK_UNREACHABLE",
    *sorted(TERMINAL),
)
#: All that an agent may report.
REPORTED: Final = frozenset(
    {"TASK_STARTING", "TASK_RUNNING", "TASK_KILLING", "TASK_FINISHED", "TASK_FAILED"}
    | {"TASK_KILLED", "TASK_ERROR", "TASK_LOST", "TASK_GONE", "TASK_DROPPED", "TASK_STAGING"}
)

#: After how long a status is sent again, doubling up to the last, in seconds.
FIRST_RESEND: Final = 10.0
LAST_RESEND: Final = 600.0


def status_of_master(
    task_id: str,
    state: str,
    reason: str | None,
    message: str,
    timestamp: float,
    agent_id: str | None = None,
) -> Json:
    """Return a status that the master makes: it has no uuid, and is sent once."""
    status: Json = {
        "task_id": {"value": task_id},
        "state": state,
        "source": "SOURCE_MASTER",
        "message": message,
        "timestamp": timestamp,
    }
    if reason is not None:
        status["reason"] = reason
    if agent_id is not None:
        status["agent_id"] = {"value": agent_id}
    return status


def kill_message(framework_id: str, task_id: str) -> Json:
    """Return what an agent is told for a task to end."""
    return {
        "type": "KILL",
        "framework_id": {"value": framework_id},
        "task_id": {"value": task_id},
    }


def shutdown_message(framework_id: str, executor_id: str) -> Json:
    """Return what an agent is told for an executor to end."""
    return {
        "type": "SHUTDOWN_EXECUTOR",
        "framework_id": {"value": framework_id},
        "executor_id": {"value": executor_id},
    }


def note_status(task: Task, status: Json) -> None:
    """Take a status into a task's history: the first one of each state, in order of arrival."""
    state = status["state"]
    task.state = state
    if state not in task.statuses or "healthy" in status or "container_status" in status:
        task.statuses[state] = status


class Resends:
    """Tasks whose first waiting status is sent again, after twice as long each time.

    Those in one queue have the same interval, and so are due in the order in which they came. What
    was acknowledged is held no longer.
    """

    def __init__(self) -> None:
        #: Interval in seconds → task → when it is due, the soonest first.
        self._queues: dict[float, OrderedDict[Task, float]] = {}

    def begin(self, task: Task, now: float) -> None:
        """Have its first waiting status be sent again after a while. O(1)."""
        self.stop(task)
        self._add(task, FIRST_RESEND, now)

    def again(self, task: Task, now: float) -> None:
        """Have it be sent again after twice as long as before. O(1)."""
        self._add(task, min(2 * task.resend_interval, LAST_RESEND), now)

    def _add(self, task: Task, interval: float, now: float) -> None:
        task.resend_interval = interval
        self._queues.setdefault(interval, OrderedDict())[task] = now + interval

    def stop(self, task: Task) -> None:
        """Have nothing of it be sent again. O(1)."""
        queue = self._queues.get(task.resend_interval)
        if queue is not None:
            queue.pop(task, None)

    def take_due(self, now: float) -> list[Task]:
        """Take out and return the tasks that are due, the soonest first. O(due · log due)."""
        due = []
        for queue in self._queues.values():
            while queue and next(iter(queue.values())) <= now:
                task, at = queue.popitem(last=False)
                due.append((at, task))
        return [task for _, task in sorted(due, key=lambda each: each[0])]
