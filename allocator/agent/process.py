"""The process runtime: a task is a session of processes in a sandbox folder; nothing limits it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from allocator.agent import processes
from allocator.agent.checkpoint import Checkpoint
from allocator.agent.containers.containers import End
from allocator.agent.instructions import Event
from allocator.agent.launching import LaunchingRuntime
from allocator.agent.limits import Options


class ProcessRuntime(LaunchingRuntime):
    """Runs tasks as plain processes.

    Parameters
    ----------
    tell : callable
        As of `Runtime`.
    checkpoint : Checkpoint
        The work dir.
    environment : mapping
        Variables that all tasks have.
    """

    def __init__(
        self,
        tell: Callable[[list[Event]], None],
        checkpoint: Checkpoint,
        environment: Mapping[str, str],
    ) -> None:
        super().__init__(tell, checkpoint, environment, None, Options())
        #: The most that was ever read of each, of the user and of the system, in seconds: what is
        #: shown never falls, though what ends takes its time with it.
        self._times: dict[str, tuple[float, float]] = {}

    def statistics(self, container_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return what containers use, by id. O(processes of the machine)."""
        found = {}
        table = processes.Table()
        for id in container_ids:
            container, pid = self._known.get(id), self.pid(id)
            usage = None if pid is None else table.usage(pid)
            if container is None or usage is None:
                continue
            user, system = map(max, (usage.user, usage.system), self._times.get(id, (0.0, 0.0)))
            self._times[id] = user, system
            usage = usage._replace(user=user, system=system)
            found[id] = processes.statistics(usage, self._amounts(container))
        return found

    def ended(self, container_id: str, end: End) -> None:
        """Take in that a container has ended."""
        self._times.pop(container_id, None)
        super().ended(container_id, end)
