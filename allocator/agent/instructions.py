"""What the policy of an agent wants done, and what it is told by a runtime."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from allocator.wire.messages import TaskInfo, TaskStatus

Json: TypeAlias = dict[str, Any]


class Container(NamedTuple):
    """What a task runs in, or what somebody launched at the agent itself."""

    id: str
    agent_id: str
    framework_id: str
    executor_id: str
    #: Who runs it; None or a name that this machine does not know: whoever runs the agent.
    user: str | None
    #: What it runs; of a container that is of no task, put together from the call.
    task: TaskInfo

    @property
    def is_of_task(self) -> bool:
        """Whether a framework launched it, through a master."""
        return bool(self.framework_id)


class Start(NamedTuple):
    """Start a container; the runtime answers with `Started` or `NotStarted`."""

    container: Container


class Stop(NamedTuple):
    """End a container: ask it to, and after so many seconds do not ask any more."""

    container_id: str
    grace_seconds: float


class Cancel(NamedTuple):
    """A container that was not started yet need not be."""

    container_id: str


class Guard(NamedTuple):
    """Watch over a container that runs: tell what its checks find, and when its time is over."""

    container: Container
    #: When it was running, in seconds since 1970.
    since: float


class Note(NamedTuple):
    """Write down what has to be known of a container after a restart, before anything else."""

    container_id: str
    entry: Mapping[str, object]


class Forget(NamedTuple):
    """Keep nothing of a container: its end was told and acknowledged."""

    container_id: str


class Report(NamedTuple):
    """Tell the master a status."""

    status: TaskStatus


class Leave(NamedTuple):
    """The agent is none of the master's, and runs nothing any more."""

    message: str


Instruction: TypeAlias = Start | Cancel | Stop | Guard | Note | Forget | Report | Leave


class Started(NamedTuple):
    """The container runs what it was started for."""

    container_id: str


class NotStarted(NamedTuple):
    """The container could not be started; nothing is left of it."""

    container_id: str
    message: str


class Limitation(NamedTuple):
    """Which limit a container was ended for."""

    #: As a task's status has it.
    reason: str
    message: str
    #: What it was limited to: `mem` or `disk`, in MB.
    resources: dict[str, float]


class Ended(NamedTuple):
    """The container has ended, with the status that wait(2) had; None if nobody knows it."""

    container_id: str
    wait_status: int | None
    limitation: Limitation | None = None


class Checked(NamedTuple):
    """A health check was made; fatal: it was the last failure that is put up with."""

    container_id: str
    is_healthy: bool
    is_fatal: bool


class Looked(NamedTuple):
    """A check was made that is told, whatever it found."""

    container_id: str
    #: As CheckStatusInfo has it.
    status: Json


class Expired(NamedTuple):
    """A task has taken all the time that it may."""

    container_id: str


Event: TypeAlias = Started | NotStarted | Ended | Checked | Looked | Expired


def in_words(wait_status: int | None) -> str:
    """Return how a command ended.

    Examples
    --------
    >>> in_words(3 << 8), in_words(9)
    ('Command exited with status 3', 'Command terminated with signal SIGKILL')
    """
    if wait_status is None:
        return "Command ended; its exit status is not known"
    if os.WIFSIGNALED(wait_status):
        number = os.WTERMSIG(wait_status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = str(number)
        return f"Command terminated with signal {name}"
    return f"Command exited with status {os.waitstatus_to_exitcode(wait_status)}"
