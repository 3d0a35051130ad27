"""Streams of records that stay open: bounded queues from the policy to connections."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from allocator.wire.recordio import framed

#: What may wait in a stream for its reader; past either it is cut off.
MAX_QUEUED_BYTES: Final = 32 * 2**20
MAX_QUEUED_RECORDS: Final = 100_000

#: About so much is handed on at a time: what is handed on counts no more as waiting.
_BATCH_BYTES: Final = 64 * 1024


class Stream:
    r"""Records on their way to one reader, who is cut off if it does not keep up.

    Examples
    --------
    >>> async def main():
    ...     stream = Stream()
    ...     stream.put(b"{}")
    ...     stream.end()
    ...     return [batch async for batch in stream.batches()]
    >>> asyncio.run(main())
    [[b'2\n{}']]
    """

    def __init__(self) -> None:
        self._queue: deque[bytes] = deque()
        self._n_bytes = 0
        self._woken = asyncio.Event()
        self._ending = False
        #: Called when the stream is cut off, its reader being too slow.
        self.when_overrun: Callable[[], None] | None = None

    def put(self, record: bytes) -> None:
        """Send a record; what is too much for the reader ends the stream. O(1)."""
        if self._ending:
            return
        self._queue.append(record)
        self._n_bytes += len(record)
        n_records = len(self._queue)
        # One record always fits: how large it may be is its writer's matter.
        if n_records > MAX_QUEUED_RECORDS or (self._n_bytes > MAX_QUEUED_BYTES and n_records > 1):
            self._queue.clear()
            self._n_bytes = 0
            self.end()
            if self.when_overrun is not None:
                self.when_overrun()
        self._woken.set()

    @property
    def ended(self) -> bool:
        """Whether nothing is taken in any more."""
        return self._ending

    def end(self) -> None:
        """End the stream once what was put is out. O(1)."""
        self._ending = True
        self._woken.set()

    async def batches(self) -> AsyncIterator[list[bytes]]:
        """Yield records, framed, as many together as there are, until the stream ends."""
        while True:
            while self._queue:
                batch = []
                n_bytes = 0
                while self._queue and n_bytes < _BATCH_BYTES:
                    record = self._queue.popleft()
                    n_bytes += len(record)
                    batch.append(framed(record))
                self._n_bytes -= n_bytes
                yield batch
            if self._ending:
                return
            self._woken.clear()
            await self._woken.wait()
