"""Those who look at the page: each gets a picture at once, and then one whenever it is another.

A picture is made once for all, only while somebody looks, at most twice a second and for no more
than a tenth of the time. A viewer who is slow gets the latest one when it is ready for it, and
those between never: nothing piles up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Hashable
from typing import Any, Final

from allocator.wire.decode import encode

Json = dict[str, Any]

#: The least time between two pictures, in seconds.
LEAST_SECONDS: Final = 0.5

#: The part of the time that is spent on pictures is at most 1 / this.
_PATIENCE: Final = 10

_LOG = logging.getLogger("allocator.master")


def event(data: Json, name: str | None = None) -> bytes:
    r"""Return an event of a stream of server-sent events.

    Examples
    --------
    >>> event({"a": 1}), event({}, "cycles")
    (b'data: {"a":1}\n\n', b'event: cycles\ndata: {}\n\n')
    """
    head = b"" if name is None else b"event: %b\n" % name.encode("ascii")
    return head + b"data: %b\n\n" % encode(data)


class Viewer:
    """One who looks: what is to be sent next, at most one event of each name.

    Parameters
    ----------
    heartbeat : float
        A comment is sent when nothing else was for so long, in seconds.
    """

    def __init__(self, heartbeat: float) -> None:
        self._heartbeat = heartbeat
        self._waiting: dict[str, bytes] = {}
        self._woken = asyncio.Event()
        self.ended = False

    def put(self, name: str, event: bytes) -> None:
        """Send an event, in place of the one of its name that was not sent yet. O(1)."""
        self._waiting[name] = event
        self._woken.set()

    def end(self) -> None:
        """End the stream. O(1)."""
        self.ended = True
        self._woken.set()

    async def events(self) -> AsyncIterator[bytes]:
        """Yield what is to be sent, until the end."""
        while not self.ended:
            try:
                async with asyncio.timeout(self._heartbeat):
                    await self._woken.wait()
            except TimeoutError:
                yield b": still here\n\n"
                continue
            self._woken.clear()
            waiting, self._waiting = self._waiting, {}
            if waiting and not self.ended:
                yield b"".join(waiting.values())


class Viewers:
    """All who look.

    Parameters
    ----------
    picture : callable
        Makes a picture.
    seen : callable
        Returns something that is another whenever the picture may be.
    cycles : callable
        Returns how many cycles there were, and how long the last ones took.
    """

    def __init__(
        self,
        picture: Callable[[], Json],
        seen: Callable[[], Hashable],
        cycles: Callable[[], tuple[int, list[float]]],
    ) -> None:
        self._picture = picture
        self._seen = seen
        self._cycles = cycles
        self._viewers: dict[Viewer, None] = {}
        self._task: asyncio.Task[None] | None = None
        #: The last picture, what was seen before it was made, and when that was.
        self._made: tuple[bytes, Hashable, float] | None = None
        self._n_cycles = 0
        #: How long the last picture took, in seconds.
        self._took = 0.0

    def __len__(self) -> int:
        return len(self._viewers)

    def add(self, heartbeat: float) -> Viewer:
        """Let one more look; the picture is there at once."""
        viewer = Viewer(heartbeat)
        viewer.put("picture", self._recent())
        self._viewers[viewer] = None
        if self._task is None:
            self._task = asyncio.create_task(self._watch(), name="viewers")
        return viewer

    def drop(self, viewer: Viewer) -> None:
        """Note that one has gone. O(1)."""
        self._viewers.pop(viewer, None)

    def end(self) -> None:
        """End all streams. O(viewers)."""
        for viewer in self._viewers:
            viewer.end()
        if self._task is not None:
            self._task.cancel()

    async def _watch(self) -> None:
        """Make pictures as long as somebody looks."""
        try:
            while self._viewers:
                await asyncio.sleep(max(LEAST_SECONDS, _PATIENCE * self._took))
                self._look()
        except Exception:  # the page stands still, and nothing else does
            _LOG.exception("no picture could be made")
            for viewer in self._viewers:
                viewer.end()
        finally:
            self._task = self._made = None

    def _look(self) -> None:
        """Send what is new to all."""
        n_cycles, latest = self._cycles()
        if self._made is None or self._seen() != self._made[1]:
            name, sent = "picture", self._make()
        elif n_cycles != self._n_cycles:
            name, sent = "cycles", event({"cycles": latest}, "cycles")
        else:
            return
        self._n_cycles = n_cycles
        for viewer in self._viewers:
            viewer.put(name, sent)

    def _recent(self) -> bytes:
        """Return a picture that is right, or so new that the next one comes soon."""
        if self._made is not None:
            picture, seen, when = self._made
            if time.monotonic() - when < LEAST_SECONDS or seen == self._seen():
                return picture
        return self._make()

    def _make(self) -> bytes:
        begin = time.monotonic()
        seen = self._seen()
        made = event(self._picture())
        self._made = (made, seen, begin)
        self._took = time.monotonic() - begin
        return made
