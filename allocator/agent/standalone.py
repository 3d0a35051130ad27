"""Containers that somebody launches at the agent itself, by the operator API.

One is known from its launch until it is removed: while it runs, and its end afterwards. A launch, a
kill of all in it and its end are noted before they are told. At most `MAX_ENDS` ends are known: the
oldest are removed with their sandboxes.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from allocator.agent.checkpoint import Checkpoint
from allocator.agent.instructions import Container, Ended, Event, NotStarted, Started, in_words
from allocator.agent.runtime import Runtime
from allocator.resources import Resources
from allocator.wire import messages as m
from allocator.wire.decode import cut
from allocator.wire.refusal import (
    BAD_REQUEST,
    CONFLICT,
    NOT_FOUND,
    UNAVAILABLE,
    CallRefused,
)

_LOG = logging.getLogger("allocator.agent")

Json = dict[str, Any]

MAX_ENDS: Final = 1000


class _Known:
    """One container."""

    __slots__ = ("container", "end", "is_ending", "launching", "waiters")

    def __init__(self, container: Container) -> None:
        self.container = container
        #: Done when its program runs, with None, or cannot be run, with the reason.
        self.launching: asyncio.Future[str | None] | None = None
        #: Whether all in it is being killed.
        self.is_ending = False
        #: How it ended, as WAIT_CONTAINER tells it.
        self.end: Json | None = None
        self.waiters: list[asyncio.Future[Json]] = []


class Standalone:
    """The containers of no task.

    Parameters
    ----------
    runtime : Runtime
    checkpoint : Checkpoint
    start, recover : callable
        Have the runtime start a container, or take one over.
    """

    def __init__(
        self,
        runtime: Runtime,
        checkpoint: Checkpoint,
        start: Callable[[Container], None],
        recover: Callable[[Container], bool],
    ) -> None:
        self._runtime = runtime
        self._checkpoint = checkpoint
        self._start = start
        self._recover = recover
        self._known: dict[str, _Known] = {}
        #: Those that have ended, the first first.
        self._ended: dict[str, None] = {}
        self._folder = checkpoint.work_dir.absolute() / "containers"
        self._is_leaving = False
        #: Folders that are being removed.
        self._removals: set[asyncio.Future[None]] = set()

    def __contains__(self, container_id: object) -> bool:
        return container_id in self._known

    # Calls.

    async def launch(self, id: str, task: m.TaskInfo) -> None:
        """Start a container; returns when its program runs.

        Raises
        ------
        CallRefused
            400: it cannot be started, and nothing is left of it; 503: the agent leaves.
        """
        if self._is_leaving:
            raise CallRefused(UNAVAILABLE, "the agent ends all containers, and leaves")
        user = (task.command or {}).get("user") or None
        known = self._known[id] = _Known(Container(id, "", "", "", user, task))
        known.launching = asyncio.get_running_loop().create_future()
        try:
            self._checkpoint.note(id, {"standalone": task})
        except OSError as error:
            del self._known[id]
            self._checkpoint.forget(id)
            raise CallRefused(BAD_REQUEST, f"{cut(id)}: cannot be noted: {error}") from None
        self._start(known.container)
        why_not = await asyncio.shield(known.launching)
        if why_not is not None:
            raise CallRefused(BAD_REQUEST, f"{cut(id)}: {cut(why_not)}")

    async def wait(self, id: str) -> Json:
        """Return how a container ended, once nothing is left of it; raises `CallRefused` (404)."""
        known = self._find(id)
        if known.end is not None:
            return known.end
        waiter: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        known.waiters.append(waiter)
        try:
            return await waiter
        finally:
            known.waiters.remove(waiter)

    def kill(self, id: str, number: int) -> None:
        """Send a signal, 9 to all in it; raises `CallRefused` (404, 400)."""
        known = self._find(id)
        if known.end is not None:
            raise CallRefused(NOT_FOUND, f"container {cut(id)} has ended")
        if not 1 <= number <= 64:
            raise CallRefused(BAD_REQUEST, f"signal {number} is not among 1 to 64")
        if number == signal.SIGKILL:
            self._end(known)
        else:
            self._runtime.signal(id, number)

    def _end(self, known: _Known) -> None:
        if not known.is_ending:
            self._checkpoint.try_note(known.container.id, {"kill": True})
            known.is_ending = True
        if known.launching is None:
            self._runtime.destroy(known.container.id)

    def remove(self, id: str) -> None:
        """Forget how a container ended, and remove its sandbox; raises `CallRefused` (404, 409)."""
        known = self._find(id)
        if known.end is None:
            raise CallRefused(CONFLICT, f"container {cut(id)} runs; kill it first")
        self._forget(known)

    def _find(self, id: str) -> _Known:
        known = self._known.get(id)
        if known is None:
            raise CallRefused(NOT_FOUND, f"there is no container {cut(id)}")
        return known

    def end_all(self) -> None:
        """Kill all that run, and launch none any more."""
        self._is_leaving = True
        for known in self._known.values():
            if known.end is None:
                self._end(known)

    # What is told.

    def happened(self, event: Event) -> None:
        """Take in what became of a container."""
        known = self._known[event.container_id]
        match event:
            case Started():
                self._launched(known, None)
                if known.is_ending:
                    self._runtime.destroy(event.container_id)
            case NotStarted(id, message):
                del self._known[id]
                self._runtime.forget(id)
                self._checkpoint.forget(id)
                self._launched(known, message)
                self._tell(known, {"message": message})
            case Ended():
                self._has_ended(known, event)

    def _launched(self, known: _Known, why_not: str | None) -> None:
        if known.launching is not None:
            known.launching.set_result(why_not)
            known.launching = None

    def _has_ended(self, known: _Known, event: Ended) -> None:
        end: Json = {"message": in_words(event.wait_status)}
        if event.wait_status is not None:
            end["exit_status"] = event.wait_status
        if event.limitation is not None:
            reason, message, resources = event.limitation
            limited = {"resources": Resources(resources).to_json()}
            end |= {"state": "TASK_FAILED", "reason": reason, "message": message}
            end["limitation"] = limited
        self._checkpoint.try_note(event.container_id, {"ended": end})
        self._remember(known, end)
        self._tell(known, end)

    def _remember(self, known: _Known, end: Json) -> None:
        known.end = end
        self._ended[known.container.id] = None
        while len(self._ended) > MAX_ENDS:
            self._forget(self._known[next(iter(self._ended))])

    def _tell(self, known: _Known, end: Json) -> None:
        for waiter in known.waiters:
            if not waiter.done():
                waiter.set_result(end)

    # Removing.

    def _forget(self, known: _Known) -> None:
        id = known.container.id
        del self._known[id], self._ended[id]
        self._discard(self._folder / id)
        self._runtime.forget(id)
        self._checkpoint.forget(id)

    def _discard(self, folder: Path) -> None:
        """Take a folder out of the way at once, and remove it when there is time."""
        gone = folder.with_name(f".{uuid.uuid4()}")  # no container's: those have no dots
        try:
            folder.rename(gone)
        except FileNotFoundError:
            return
        self._remove(gone)

    def _remove(self, folder: Path) -> None:
        loop = asyncio.get_running_loop()
        removal = loop.run_in_executor(None, lambda: shutil.rmtree(folder, ignore_errors=True))
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

    # After a restart.

    def recover(self, id: str, entries: list[Json]) -> None:
        """Take in a container as its notes say it was; raises `ValidationError` if they do not."""
        task = msgspec.convert(entries[0]["standalone"], m.TaskInfo, strict=False)
        user = (task.command or {}).get("user") or None
        known = _Known(Container(id, "", "", "", user, task))
        known.is_ending = any("kill" in entry for entry in entries)
        end = next((entry["ended"] for entry in entries if "ended" in entry), None)
        self._known[id] = known
        if end is not None:
            self._remember(known, end)
        else:
            self._recover(known.container)

    def remove_others(self) -> None:
        """Remove the sandboxes of containers that are not known."""
        if not self._folder.is_dir():
            return
        for folder in self._folder.iterdir():
            if folder.name not in self._known:
                _LOG.warning("unknown sandbox", extra={"fields": {"directory": str(folder)}})
                self._remove(folder)
