"""The policy and what it needs to act: streams, the registry, time. Knows asyncio, but no server.

A call changes what is known at once; what it has to say goes into the streams at once, in order;
the call itself is answered when the registry has what must outlive the process (V4). Calls that
wait for the registry meanwhile share one commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from allocator import Offers
from allocator.errors import AllocatorError
from allocator.loop import AllocationLoop
from allocator.master import agents, events, operator, page, scheduler, why
from allocator.master.instructions import EndStream, Instruction, Persist, Publish, Send
from allocator.master.master import Master
from allocator.master.reading import Reader
from allocator.master.records import Framework, Session
from allocator.master.registry import Registry, RegistryError
from allocator.master.streams import Stream
from allocator.master.viewers import Viewer, Viewers
from allocator.wire import messages as m
from allocator.wire.decode import encode
from allocator.wire.refusal import UNAVAILABLE, CallRefused

T = TypeVar("T")

_LOG = logging.getLogger("allocator.master")

_HEARTBEAT = encode(events.HEARTBEAT)

#: How often what is due in time is looked for, in seconds.
_TICK_SECONDS = 0.25

#: So many cycles' times are shown.
_SHOWN_CYCLES = 120


class Service:
    """Carries out what the policy says.

    Parameters
    ----------
    master : Master
    registry : Registry
    allocation_interval : float
        Seconds between full cycles.
    max_streams : int
        How many streams may be open at once.
    """

    def __init__(
        self,
        master: Master,
        registry: Registry,
        *,
        allocation_interval: float = 1.0,
        max_streams: int = 10_000,
    ) -> None:
        self.master = master
        self._registry = registry
        self._loop = AllocationLoop(master.engine, self._offer, interval=allocation_interval)
        self.reader = Reader(
            master, loop_metrics=self._loop.metrics, elected_time=master.elected_time
        )
        #: What the page at `/ui` shows.
        self.subject = page.Subject(
            master, self.reader.used, lambda: self._loop.allocation_run.latest(_SHOWN_CYCLES)
        )
        self._viewers = Viewers(lambda: page.picture(self.subject), self._generation, self._cycles)
        #: One explanation is sought at a time.
        self._explaining = asyncio.Lock()
        self._max_streams = max_streams
        #: Of frameworks and of agents' processes, by stream id.
        self._streams: dict[str, Stream] = {}
        #: Of those who watch by the operator API, by stream id.
        self._watchers: dict[str, Stream] = {}
        #: What the registry does not have yet: (table, key) → the latest of it.
        self._unsaved: dict[tuple[str, str], Persist] = {}
        self._saving: asyncio.Task[None] | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="registry")
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    # Life.

    async def start(self) -> None:
        """Begin to run cycles, and to do what is due in time."""
        self._loop.start()
        self._tasks = [asyncio.create_task(self._tick()), asyncio.create_task(self._ping())]

    async def stop(self) -> None:
        """End all streams and run no cycle any more; tasks go on running on their agents.

        Calls are refused from now on, and that readers leave is nothing that happened to us.
        """
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await self._loop.stop()
        self.reader.close()
        for stream in (*self._streams.values(), *self._watchers.values()):
            stream.end()
        self._viewers.end()
        if self._unsaved:
            with contextlib.suppress(CallRefused):
                await self._saved()
        self._writer.shutdown()
        self._registry.close()

    def _offer(self, offers: Offers) -> None:
        self.master.offer(offers)
        self._carry_out(self.master.take())

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            await self._act_alone(self.master.tick)
            if self._unsaved:  # the disk was full, say; whoever called was told so
                with contextlib.suppress(CallRefused):
                    await self._saved()
            self.reader.keep_up()

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(self.master.options.agent_ping_timeout)
            await self._act_alone(lambda: agents.ping(self.master))

    async def _act_alone(self, act: Callable[[], None]) -> None:
        """Act where nobody waits for an answer."""
        with contextlib.suppress(CallRefused):  # told by `_saved`, and tried again
            await self.call(act)

    # Calls.

    async def call(self, act: Callable[[], T]) -> T:
        """Have the policy act, carry out what follows, and return once that will outlive us.

        Raises
        ------
        CallRefused
            Of the policy; or 503 where the registry cannot be written. What was done stays done
            then, and the registry is given it again with the next call.
        """
        if self._stopping:
            raise CallRefused(UNAVAILABLE, "the master is stopping")
        try:
            result = act()
        finally:
            must_save = self._carry_out(self.master.take())
        if must_save:
            await self._saved()
        return result

    def _carry_out(self, instructions: Iterable[Instruction]) -> bool:
        """Carry instructions out, in order; return whether something is to be saved."""
        must_save = False
        for instruction in instructions:
            match instruction:
                case Send(stream_id, record):
                    if (stream := self._streams.get(stream_id)) is not None:
                        stream.put(encode(record))
                case EndStream(stream_id):
                    if (stream := self._streams.pop(stream_id, None)) is not None:
                        stream.end()
                case Publish(event):
                    if self._watchers:
                        record_bytes = encode(event)
                        for watcher in self._watchers.values():
                            watcher.put(record_bytes)
                case Persist(table, key, _):
                    self._unsaved[table, key] = instruction
                    must_save = True
        return must_save

    async def _saved(self) -> None:
        """Return when all that is unsaved now is on the disk."""
        if self._saving is not None:
            # What is being written now may have been taken up before our changes came.
            with contextlib.suppress(RegistryError):
                await asyncio.shield(self._saving)
        if self._saving is None and self._unsaved:
            self._saving = asyncio.create_task(self._save())
        try:
            if self._saving is not None:
                await asyncio.shield(self._saving)
        except RegistryError as error:
            _LOG.error("the registry cannot be written", extra={"fields": {"reason": str(error)}})
            raise CallRefused(UNAVAILABLE, f"the registry cannot be written: {error}") from None

    async def _save(self) -> None:
        changes, self._unsaved = self._unsaved, {}
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._writer, self._registry.apply, list(changes.values()))
        except RegistryError:
            self._unsaved = {**changes, **self._unsaved}
            raise
        finally:
            self._saving = None

    # Streams.

    def _new_stream(self) -> tuple[str, Stream]:
        self._check_room()
        return str(uuid.uuid4()), Stream()

    def _check_room(self) -> None:
        """Raise `CallRefused` (503) if as many streams are open as may be."""
        n_open = len(self._streams) + len(self._watchers) + len(self._viewers)
        if n_open >= self._max_streams:
            raise CallRefused(UNAVAILABLE, f"{n_open} streams are open, as many as may be")

    def _beat(self, stream: Stream) -> None:
        """Put a heartbeat into a stream at each interval, as long as it is open."""
        if not stream.ended:
            stream.put(_HEARTBEAT)
            self._beat_later(stream)

    def _beat_later(self, stream: Stream) -> None:
        interval = self.master.options.heartbeat_interval
        asyncio.get_running_loop().call_later(interval, self._beat, stream)

    async def subscribe(self, call: m.SubscribeCall, principal: str | None) -> tuple[str, Stream]:
        """SUBSCRIBE of the scheduler API: return the id of the stream, and the stream.

        One that is refused for its content has a stream with one ERROR. Raises `CallRefused`.
        """
        id = scheduler.check_ids(call, principal)
        stream_id, stream = self._new_stream()

        def act() -> Framework:
            profile = scheduler.read_profile(call.subscribe)
            self._streams[stream_id] = stream
            return scheduler.subscribe(self.master, id, profile, principal, stream_id)

        try:
            await self.call(act)
        except scheduler.ContentRefused as error:
            self._streams.pop(stream_id, None)
            stream.put(encode(events.error(str(error))))
            stream.end()
        except CallRefused:
            await self.left(stream_id)  # it is not told, so it is not connected
            raise
        else:
            self._beat_later(stream)
        return stream_id, stream

    async def register(self, call: m.RegisterCall, principal: str | None) -> tuple[str, Stream]:
        """REGISTER of agents: return the id of the session, and its stream."""
        stream_id, stream = self._new_stream()

        def act() -> Session:
            self._streams[stream_id] = stream
            return agents.register(self.master, call, principal, stream_id)

        try:
            await self.call(act)
        except CallRefused:
            await self.left(stream_id)
            raise
        return stream_id, stream

    async def watch(self) -> tuple[str, Stream]:
        """SUBSCRIBE of the operator API: all that there is, and then each change, once, in order.

        Returns the id of the stream, and the stream. Raises `CallRefused`.
        """
        await self.reader.write_in_v1()
        stream_id, stream = self._new_stream()
        stream.put(encode(operator.snapshot(self.master, self.reader.model)))
        stream.put(_HEARTBEAT)
        self._watchers[stream_id] = stream
        self.master.is_watched = True
        self._beat_later(stream)
        return stream_id, stream

    async def left(self, stream_id: str) -> None:
        """Note that the reader of a stream has gone."""
        if self._watchers.pop(stream_id, None) is not None:
            self.master.is_watched = bool(self._watchers)
            return
        self._streams.pop(stream_id, None)
        if stream_id in self.master.sessions:
            await self._act_alone(lambda: agents.disconnect(self.master, stream_id))
            return
        await self._act_alone(lambda: self.master.disconnect(stream_id))

    # The page.

    def view(self) -> Viewer:
        """Return a stream of pictures for the page; raises `CallRefused`."""
        if self._stopping:
            raise CallRefused(UNAVAILABLE, "the master is stopping")
        self._check_room()
        return self._viewers.add(self.master.options.heartbeat_interval)

    def stop_viewing(self, viewer: Viewer) -> None:
        """Note that who looked at the page has gone. O(1)."""
        self._viewers.drop(viewer)

    def _generation(self) -> tuple[int, int]:
        self.reader.keep_up()
        return self.reader.generation

    def _cycles(self) -> tuple[int, list[float]]:
        run = self._loop.allocation_run
        return run.count, run.latest(_SHOWN_CYCLES)

    async def explain(self, question: why.Question) -> page.Json:
        """Return why a framework is offered nothing, or no more; raises `CallRefused`.

        It is sought on a copy of the engine, in a thread, so that offers go on meanwhile.
        """
        why.check(self.master, question)
        async with self._explaining:
            twin = self.master.engine.fork()
            try:
                explanation = await asyncio.to_thread(twin.explain, *question)
            except AllocatorError as error:
                raise why.refused(error) from None
        return why.answer(self.master, question, explanation)
