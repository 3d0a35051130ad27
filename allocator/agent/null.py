"""The null runtime: tasks that need nothing, to load a master with many agents.

A task runs at once. The command `true` finishes at once, `sleep S` after S seconds, any other runs
until it is killed. Nothing outlives the process.
"""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import Callable, Mapping
from typing import Any

from allocator.agent.instructions import Container, Ended, Event, Limitation, Started
from allocator.agent.runtime import Runtime


class NullRuntime(Runtime):
    """Runs nothing."""

    def __init__(self, tell: Callable[[list[Event]], None]) -> None:
        super().__init__(tell)
        #: What runs: container id → when it ends by itself, None if never.
        self._running: dict[str, asyncio.TimerHandle | None] = {}

    def start(self, container: Container) -> None:
        """Have it run, and end when its command would."""
        id = container.id
        self.tell(Started(id))
        seconds = duration(container.task.command or {})
        if seconds == 0:
            self.tell(Ended(id, 0))
        elif seconds is None:
            self._running[id] = None
        else:
            loop = asyncio.get_running_loop()
            self._running[id] = loop.call_later(seconds, self._end, id, 0)

    def _end(self, container_id: str, wait_status: int) -> None:
        timer = self._running.pop(container_id)
        if timer is not None:
            timer.cancel()
        self.tell(Ended(container_id, wait_status))

    def recover(self, container: Container) -> bool:
        """Nothing of a former life is there."""
        return False

    def ask_to_end(self, container_id: str) -> None:
        """End it at once."""
        if container_id in self._running:
            self._end(container_id, signal.SIGTERM)

    def make_end(self, container_id: str) -> None:
        """End it at once."""
        if container_id in self._running:
            self._end(container_id, signal.SIGKILL)

    def limit(self, container_id: str, limitation: Limitation) -> None:
        """End it at once."""
        self.make_end(container_id)

    def signal(self, container_id: str, number: int) -> None:
        """There is no program."""

    async def run_inside(self, container: Container, command: Mapping[str, Any]) -> int:
        """All that is checked is well."""
        return 0

    def abandon(self, container_id: str) -> None:
        """Nothing of a former life is there."""

    def forget(self, container_id: str) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """End nothing any more."""
        super().close()
        for timer in self._running.values():
            if timer is not None:
                timer.cancel()


def duration(command: Mapping[str, Any]) -> float | None:
    """Return how long a command takes, in seconds; None for ever.

    Examples
    --------
    >>> [duration({"value": value}) for value in ("true", "sleep 0.5", "sleep x", "make")]
    [0.0, 0.5, None, None]
    """
    value = command.get("value", "")
    words = value.split() if command.get("shell", True) else list(command.get("arguments") or [])
    if words == ["true"] or (not words and value == "true"):
        return 0.0
    if len(words) == 2 and words[0] == "sleep":
        try:
            seconds = float(words[1])
        except ValueError:
            return None
        return seconds if 0 <= seconds < math.inf else None
    return None
