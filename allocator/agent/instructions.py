"""What the policy of an agent wants done, and what it is told by a runtime."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from allocator.wire.messages import (
    ExecutorEnd,
    ExecutorInfo,
    FromExecutor,
    TaskInfo,
    TaskStatus,
)

Json: TypeAlias = dict[str, Any]


class Container(NamedTuple):
    """What a task or an executor runs in, or what somebody launched at the agent itself."""

    id: str
    agent_id: str
    framework_id: str
    executor_id: str
    #: Who runs it; None or a name that this machine does not know: whoever runs the agent.
    user: str | None
    #: What it runs; of a container that is of no task, put together from the call or the executor.
    task: TaskInfo
    #: The executor whose container it is.
    executor: ExecutorInfo | None = None
    #: What is in an executor's environment besides what is in a task's.
    variables: Mapping[str, str] = {}

    @property
    def is_of_task(self) -> bool:
        """Whether a framework launched it, through a master."""
        return bool(self.framework_id)

    @property
    def executor_name(self) -> str:
        """What people call it."""
        if self.executor is not None:
            return self.executor.name or ""
        return f"Command Executor (Task: {self.executor_id})" if self.is_of_task else ""

    @property
    def source(self) -> str:
        """What its framework says it is of."""
        return self.executor_id if self.executor is None else self.executor.source or ""


class Start(NamedTuple):
    """Start a container; the runtime answers with `Started` or `NotStarted`."""

    container: Container


class Stop(NamedTuple):
    """End a container: ask it to, and after so many seconds do not ask any more."""

    container_id: str
    grace_seconds: float
    #: False: it was asked to in another way.
    asks: bool = True


class Resize(NamedTuple):
    """Hold a container to the resources that it has now."""

    container: Container


class Wake(NamedTuple):
    """Tell `Woken` after so many seconds, and not what was to be told before; None: not at all."""

    container_id: str
    seconds: float | None


class ToExecutor(NamedTuple):
    """Send an executor an event, if it is connected."""

    container_id: str
    event: Json


class Exited(NamedTuple):
    """Tell the master that an executor is gone."""

    end: ExecutorEnd


class Say(NamedTuple):
    """Tell the master what an executor says to its framework."""

    message: FromExecutor


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


Instruction: TypeAlias = (
    Start | Cancel | Stop | Resize | Wake | Guard | Note | Forget | Report | Leave
) | (ToExecutor | Exited | Say)


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


class Woken(NamedTuple):
    """The time that was asked for is over."""

    container_id: str


Event: TypeAlias = Started | NotStarted | Ended | Checked | Looked | Expired | Woken


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
