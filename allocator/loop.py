"""The allocation loop: an asyncio task that runs the engine's cycles when they are due."""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from allocator.engine.metrics import PREFIX, Latency
from allocator.errors import InvalidValue, NotAllowed, shown

if TYPE_CHECKING:
    from allocator.engine import Allocator, Offers
    from allocator.engine._changes import Changes

#: What the loop does with the offers of a cycle; may be a coroutine function.
OnOffers = Callable[["Offers"], Awaitable[None] | None]


class AllocationLoop:
    """Run an engine's cycles in an asyncio task: all agents at intervals, changed ones at once.

    The engine stays synchronous and free of I/O. Each call that may make an offer possible marks
    the agents concerned; the loop is woken by what changes (`engine.changes`) and asks the engine
    for them. All agents marked by the time the task gets its turn form one batch, served by one
    `engine.allocate(batch)`; whatever happens, a full cycle over all agents runs every `interval`.
    One batch is served at a time: agents marked meanwhile wait for the next. What is given back
    without a filter is offered again as soon as the loop is free, so what nobody wants should be
    declined with one.

    All methods belong to the event loop's thread, as the engine itself does.

    Parameters
    ----------
    engine : Allocator
        The engine to run.
    on_offers : callable
        Called with the `Offers` of each cycle that made any, inverse ones included, or rescinded
        some; may return an awaitable, which is awaited before the next batch.
    interval : float
        Seconds from one full cycle to the next. The first runs at once.

    Raises
    ------
    InvalidValue
        If `interval` is not a positive, finite number.

    Notes
    -----
    A failure in `on_offers` or in the engine ends the loop, and is raised by whoever waits for it:
    by `stop`, by the end of `async with`, or by awaiting the task that `start` returned.

    Marks, batches, the immediate answer to events and the two latencies are those of Mesos'
    allocator process; there, too, events between two runs are served together.

    Examples
    --------
    >>> import allocator, asyncio
    >>> async def main():
    ...     engine = allocator.Allocator(seed=1)
    ...     engine.add_framework("spark", roles=["eng"])
    ...     made = asyncio.Queue()
    ...     async with allocator.AllocationLoop(engine, made.put_nowait, interval=60):
    ...         engine.add_agent("a1", "cpus:4")
    ...         return [(offer.agent, offer.framework) for offer in await made.get()]
    >>> asyncio.run(main())
    [('a1', 'spark')]
    """

    def __init__(self, engine: Allocator, on_offers: OnOffers, interval: float = 1.0) -> None:
        if not (math.isfinite(interval) and interval > 0):
            raise InvalidValue(f"the interval is a positive, finite time, not {shown(interval)}")
        self._engine = engine
        self._on_offers = on_offers
        self._interval = interval
        #: Agents marked by hand since the last batch -> nothing; a dict, to keep their order.
        self._marked: dict[str, None] = {}
        #: Whether the next batch is a full cycle.
        self._all_marked = False
        #: When the loop was first woken since the last batch, by `time.monotonic`, or infinity.
        self._woken_at = math.inf
        #: What wakes the loop, while it runs.
        self._changes: Changes | None = None
        #: The task, until its end was waited for by `stop`.
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        #: Set by marks, by `stop` and when the next full cycle is due; belongs to one event loop.
        self._woken = asyncio.Event()
        #: How long each `engine.allocate` took, in ms.
        self.allocation_run = Latency()
        #: How long each batch waited, in ms, from its oldest mark or from when its cycle was due.
        self.allocation_run_latency = Latency()

    @property
    def running(self) -> bool:
        """Whether the loop was started and neither stopped nor failed. O(1)."""
        return self._task is not None and not self._task.done()

    def start(self) -> asyncio.Task[None]:
        """Start the task in the running event loop and return it.

        Raises
        ------
        NotAllowed
            If this loop is started already.
        RuntimeError
            If no event loop runs.
        """
        if self._task is not None:
            raise NotAllowed("the allocation loop is started already")
        self._stopping = False
        self._woken = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="allocation-loop")
        # Not a `finally` in the task: one that is cancelled before its first step has none.
        self._task.add_done_callback(self._stop_reading)
        self._changes = self._engine.changes(self._wake)
        return self._task

    async def stop(self) -> None:
        """Let the batch under way end, then end the task; does nothing on a stopped loop.

        Called from `on_offers`, it only asks the loop to end after the batch under way, for which
        it cannot wait. A stopped loop can be started again.

        Raises
        ------
        Exception
            What made the loop fail, if it did.
        """
        task = self._task
        if task is None:
            return
        self._stopping = True
        self._woken.set()
        if task is asyncio.current_task():
            return
        await asyncio.wait([task])
        if self._task is task:
            self._task = None
        if not task.cancelled():
            task.result()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def mark(self, agent_id: str) -> None:
        """Have the next batch look at this agent, unless the engine has lost it by then. O(1)."""
        self._marked[agent_id] = None
        self._wake()

    def mark_all(self) -> None:
        """Have the next batch be a full cycle over all agents. O(1)."""
        self._all_marked = True
        self._wake()

    def metrics(self) -> dict[str, float]:
        """Return how long batches waited, in milliseconds, under the key of Mesos' metrics.

        `allocator/mesos/allocation_run_latency_ms`, also with `/count`, `/max`, `/min`, `/p50` …
        `/p9999`; only the count before any batch. How long runs took is told by the engine that ran
        them, as `allocator/mesos/allocation_run_ms`, so that the two can be put together.
        """
        return dict(self.allocation_run_latency.statistics(f"{PREFIX}/allocation_run_latency_ms"))

    def _wake(self) -> None:
        self._woken_at = min(self._woken_at, time.monotonic())
        self._woken.set()

    def _stop_reading(self, _task: asyncio.Task[None]) -> None:
        if self._changes is not None:
            self._changes.close()
            self._changes = None

    async def _run(self) -> None:
        due = time.monotonic()
        while not self._stopping:
            await self._wait_until(due)
            now = time.monotonic()
            if now >= due:
                self._all_marked = True
                self._woken_at = min(self._woken_at, due)
                due = _next_due(due, self._interval, now)
            if not self._stopping:
                await self._serve(now)

    async def _wait_until(self, due: float) -> None:
        """Return at the time `due` or when woken; always lets the rest of the event loop run."""
        await asyncio.sleep(0)
        timer = asyncio.get_running_loop().call_later(due - time.monotonic(), self._woken.set)
        try:
            await self._woken.wait()
        finally:
            timer.cancel()
        self._woken.clear()

    async def _serve(self, now: float) -> None:
        """Serve the agents that are marked, if any are."""
        waited = now - self._woken_at
        agents = self._take_marks()
        if agents == []:
            return
        self.allocation_run_latency.record(waited * 1e3)
        begin = time.perf_counter()
        offers = self._engine.allocate(agents)
        self.allocation_run.record((time.perf_counter() - begin) * 1e3)
        self._forget_own_changes()
        if offers or offers.inverse or offers.rescinded:
            outcome = self._on_offers(offers)
            if inspect.isawaitable(outcome):
                await outcome

    def _take_marks(self) -> list[str] | None:
        """Return the agents that the next batch is about, None for all."""
        marked = self._marked
        is_full, self._all_marked = self._all_marked, False
        self._marked, self._woken_at = {}, math.inf
        self._clear_changes()
        touched = None if is_full else self._engine.touched_agents()
        if touched is None:
            return None
        known = [agent for agent in marked if agent in self._engine.agents]
        return list(dict.fromkeys([*known, *touched]))

    def _forget_own_changes(self) -> None:
        """Sleep on, unless others who were woken by the batch called the engine at once."""
        self._clear_changes()
        if self._engine.touched_agents() != [] or self._marked or self._all_marked:
            self._wake()
        else:
            self._woken.clear()
            self._woken_at = math.inf

    def _clear_changes(self) -> None:
        """Have the next change wake the loop."""
        if self._changes is not None:
            self._changes.clear()


def _next_due(due: float, interval: float, now: float) -> float:
    """When the full cycle after the one due at `due` is due, where that one begins only `now`.

    Cycles missed while something took long are left out, not made up for in a burst.
    """
    following = due + interval
    return following if following > now else now + interval
