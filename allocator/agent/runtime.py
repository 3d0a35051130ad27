"""What runs containers: the seam between the policy and how a machine does it."""

from __future__ import annotations

import abc
import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from allocator.agent.instructions import Container, Ended, Event, Limitation, NotStarted
from allocator.agent.sandboxes import LaunchFailed, Owner

_LOG = logging.getLogger("allocator.agent")

#: How long it may take until nothing is left of a container that is destroyed, as in Mesos.
_DESTROY_SECONDS: Final = 60.0


class Runtime(abc.ABC):
    """Runs containers, and tells what becomes of them.

    Parameters
    ----------
    tell : callable
        Is given lists of `Started`, `NotStarted` and `Ended`, never while a method here is called.
    """

    def __init__(self, tell: Callable[[list[Event]], None]) -> None:
        self._tell = tell
        self._events: list[Event] = []
        #: When containers that were asked to end are made to.
        self._deadlines: dict[str, asyncio.TimerHandle] = {}
        #: When those that were made to should have ended.
        self._ends: dict[str, asyncio.TimerHandle] = {}
        #: How many had not.
        self.n_destroy_errors = 0

    @abc.abstractmethod
    def start(self, container: Container) -> None:
        """Start a container: `Started` or `NotStarted` follows, then `Ended` after the former."""

    def prepare(self, container: Container) -> tuple[Path, Owner | None]:
        """Make the folder of a container that is to be started; return it and whose it is.

        Raises `LaunchFailed` or `OSError`.
        """
        raise LaunchFailed("command.uris need a runtime that has sandboxes")

    def discard(self, container: Container) -> None:
        """Remove the folder of a container that is not started after all."""
        return

    @abc.abstractmethod
    def recover(self, container: Container) -> bool:
        """Take over a container of a former life of the agent.

        True if it was started then: `Started`, and `Ended` once it has ended, follow. False if it
        was not, and never will be.
        """

    @abc.abstractmethod
    def ask_to_end(self, container_id: str) -> None:
        """Ask a container to end, as SIGTERM does; one that has ended: nothing."""

    @abc.abstractmethod
    def make_end(self, container_id: str) -> None:
        """End a container and all in it at once, as SIGKILL does; one that has ended: nothing."""

    @abc.abstractmethod
    def limit(self, container_id: str, limitation: Limitation) -> None:
        """End a container at once for a limit that it went over, which `Ended` tells then."""

    @abc.abstractmethod
    def signal(self, container_id: str, number: int) -> None:
        """Send a signal to a container's program; one that has ended: nothing."""

    @abc.abstractmethod
    async def run_inside(self, container: Container, command: Mapping[str, Any]) -> int:
        """Run a command as a container's own, and return its end as wait(2) has it.

        Killed when this is cancelled. Raises `AllocatorError` or `OSError` if it cannot be run.
        """

    def resize(self, container: Container) -> None:
        """Hold a container to the resources that it has now; what limits nothing: nothing."""
        return

    def pid(self, container_id: str) -> int | None:
        """Return the host's pid of a container's first process; None if it has none."""
        return None

    def statistics(self, container_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return what containers use, by id, in one pass; one that cannot be read is left out."""
        return {}

    def directory(self, container: Container) -> Path | None:
        """Return the folder in which a container runs; None if it has none."""
        return None

    @abc.abstractmethod
    def abandon(self, container_id: str) -> None:
        """End what may run of a container that nobody knows."""

    async def recovered(self) -> None:
        """Remove what nobody knows: all that is known was recovered, or abandoned."""
        return

    @abc.abstractmethod
    def forget(self, container_id: str) -> None:
        """Keep nothing of a container that has ended, but what people may look at later."""

    def close(self) -> None:
        """Leave containers as they are, and tell nothing any more."""
        for timers in (self._deadlines, self._ends):
            for handle in timers.values():
                handle.cancel()
            timers.clear()
        self._events.clear()

    def stop(self, container_id: str, grace_seconds: float, *, asks: bool = True) -> None:
        """Ask a container to end, unless that was done, and make it after so many seconds.

        Asked again, the time can only become shorter.
        """
        loop = asyncio.get_running_loop()
        before = self._deadlines.get(container_id)
        when = loop.time() + grace_seconds
        if before is None or when < before.when():
            if before is not None:
                before.cancel()
            self._deadlines[container_id] = loop.call_at(when, self.destroy, container_id)
        if before is None and asks:
            self.ask_to_end(container_id)

    def destroy(self, container_id: str) -> None:
        """Make a container end, and count it as an error if that takes very long."""
        if container_id not in self._ends:
            loop = asyncio.get_running_loop()
            self._ends[container_id] = loop.call_later(
                _DESTROY_SECONDS, self._not_destroyed, container_id
            )
        self.make_end(container_id)

    def _not_destroyed(self, container_id: str) -> None:
        self.n_destroy_errors += 1
        fields = {"container_id": container_id, "after_s": _DESTROY_SECONDS}
        _LOG.error("container that cannot be destroyed", extra={"fields": fields})

    def tell(self, event: Event) -> None:
        """Tell an event, with others, as soon as what goes on now is over."""
        if isinstance(event, Ended | NotStarted):
            for timers in (self._deadlines, self._ends):
                handle = timers.pop(event.container_id, None)
                if handle is not None:
                    handle.cancel()
        if not self._events:
            asyncio.get_running_loop().call_soon(self._tell_all)
        self._events.append(event)

    def _tell_all(self) -> None:
        events, self._events = self._events, []
        if events:
            self._tell(events)
