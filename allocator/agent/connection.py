"""The connection to the master: registers, hears what it says, and reports, for ever.

Two connections of HTTP: one on which the answer to REGISTER goes on as a stream of records, and one
for all further calls, one after the other. When either fails, or nothing is heard for too long,
both are closed, and all begins anew at once, then at least once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol

import msgspec

from allocator.agent.agent import Agent
from allocator.agent.discovery import Discovery
from allocator.agent.instructions import Exited, Say
from allocator.errors import AllocatorError
from allocator.wire import messages as m
from allocator.wire.client import Address, Connection, ConnectionFailed, Head
from allocator.wire.decode import encode
from allocator.wire.recordio import RecordReader

_LOG = logging.getLogger("allocator.agent")

_PATH: Final = "/api/v1/agents"

#: The most that one call holds: the master refuses bodies of 8 MB, and takes no other call
#: meanwhile.
_MAX_REGISTER_BYTES: Final = 2**18
_MAX_STATUSES: Final = 2000
#: Messages of executors beyond this are lost.
_MAX_SAID: Final = 1000

#: How long is waited before it is tried again: between these, in seconds.
_RETRY_SECONDS: Final = (0.4, 0.9)
_CONNECT_SECONDS: Final = 2.5
#: A busy master may take some time to take in thousands of agents.
_ANSWER_SECONDS: Final = 60.0
#: After how many ping intervals without a word the master counts as lost.
_SILENT_PINGS: Final = 3.0

#: How long an agent that leaves waits for the master to take note.
_UNREGISTER_SECONDS: Final = 3.0

_MAX_REDIRECTS: Final = 5


class Redirected(AllocatorError):
    """Another master leads."""

    def __init__(self, address: Address) -> None:
        super().__init__(f"{address} leads")
        self.address = address


class Refused(AllocatorError):
    """The master does not want what was sent."""


class Listener(Protocol):
    """Who is told what the master says."""

    def heard(self, records: Iterable[m.ToAgents]) -> None:
        """Take in records, in order."""

    def registered(self, agents: Iterable[tuple[Agent, str]]) -> None:
        """Take in the ids that agents have from now on."""


class Link:
    """Keeps agents registered with the master.

    Parameters
    ----------
    discovery : Discovery
    agents : mapping of Agent
        Those to register; one that is taken out is not registered again.
    listener : Listener
    headers : mapping
        That every request has: the credential, say.
    """

    def __init__(
        self,
        discovery: Discovery,
        agents: Mapping[Agent, None],
        listener: Listener,
        headers: Mapping[str, str],
    ) -> None:
        self._discovery = discovery
        self._agents = agents
        self._listener = listener
        self._headers = {**headers, "Content-Type": "application/json"}
        #: Where a master was last; tried when nobody answers where one should be.
        self._last: Address | None = None
        #: Why there is no master, as it was logged last; None while there is one.
        self._lost: str | None = None
        self.connected = False
        self.master_hostname: str | None = None
        # Of the session under way.
        #: Agents whose registration was put together: what they report from then on is to be sent.
        self._speaking: set[Agent] = set()
        #: Agents of each REGISTER that was not answered yet.
        self._registering: deque[list[Agent]] = deque()
        self._statuses: list[m.TaskStatus] = []
        self._exits: list[m.ExecutorEnd] = []
        self._said: deque[m.FromExecutor] = deque()
        self._must_pong = False
        #: Done when the master knows that the agents leave.
        self._leaving: asyncio.Future[None] | None = None
        self._woken = asyncio.Event()
        self._silent_seconds = _ANSWER_SECONDS

    # What is to be sent.

    def report(self, agent: Agent, status: m.TaskStatus) -> None:
        """Send a status, with the others that wait. O(1).

        An agent that is not registered tells it when it registers.
        """
        if agent in self._speaking:
            self._statuses.append(status)
            self._woken.set()

    def say(self, agent: Agent, said: Exited | Say) -> None:
        """Send what is to be said of an executor, or by it, after the statuses that wait. O(1).

        Of an agent that is not registered nothing is said: which executors it has it tells when it
        registers, and nobody promised that a message arrives.
        """
        if agent not in self._speaking:
            return
        if isinstance(said, Exited):
            self._exits.append(said.end)
        elif len(self._said) < _MAX_SAID:
            self._said.append(said.message)
        self._woken.set()

    async def unregister(self) -> None:
        """Take the agents off the master for good, if it can be reached; return when it knows."""
        if not self.connected:
            return
        self._leaving = asyncio.get_running_loop().create_future()
        self._woken.set()
        with contextlib.suppress(TimeoutError, ConnectionFailed):
            async with asyncio.timeout(_UNREGISTER_SECONDS):
                await self._leaving

    # For ever.

    async def run(self) -> None:
        """Keep the agents registered until cancelled."""
        while True:
            try:
                await self._try()
            except AllocatorError as error:
                self._note_lost(error)
            await asyncio.sleep(random.uniform(*_RETRY_SECONDS))

    def _note_lost(self, error: AllocatorError) -> None:
        """Log a failure, if it is another one than before: there may be thousands."""
        if str(error) != self._lost:
            self._lost = str(error)
            _LOG.warning("no master", extra={"fields": {"reason": str(error)}})

    async def _try(self) -> None:
        """Register where a master should be, or was; returns when that is over."""
        try:
            address = await self._discovery.find()
            await self._follow(address)
        except ConnectionFailed:
            last, self._last = self._last, None
            if last is None:
                raise
            await self._follow(last)

    async def _follow(self, address: Address) -> None:
        for _ in range(_MAX_REDIRECTS):
            try:
                await self._session(address)
                return
            except Redirected as redirected:
                address = redirected.address
        raise ConnectionFailed("masters send us from one to the other; none leads")

    # A session.

    async def _session(self, address: Address) -> None:
        """Register at a master and serve until the session is over; raises why it is."""
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._end_session)
            stream = await Connection.open(address, _CONNECT_SECONDS)
            stack.callback(stream.close)
            batches = self._registrations()
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    head = await stream.begin("POST", _PATH, self._headers, next(batches))
                    await self._check(stream, head)
            except TimeoutError:
                raise ConnectionFailed(f"{address} does not answer") from None
            calls = await Connection.open(address, _CONNECT_SECONDS)
            stack.callback(calls.close)
            headers = {**self._headers, "Mesos-Stream-Id": head.headers.get("mesos-stream-id", "")}
            self._last = address
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._hear(stream, head))
                    group.create_task(self._speak(calls, headers, batches))
            except BaseExceptionGroup as failures:
                raise failures.exceptions[0] from None

    def _end_session(self) -> None:
        self.connected = False
        self._speaking.clear()
        self._registering.clear()
        self._statuses.clear()
        self._exits.clear()
        self._said.clear()
        self._must_pong = False

    def _registrations(self) -> Iterator[bytes]:
        """Yield REGISTER calls for all agents, each put together when it is asked for."""
        agents = list(self._agents)
        while agents:
            batch: list[Agent] = []
            raw: list[msgspec.Raw] = []
            n_bytes = 0
            while agents and n_bytes < _MAX_REGISTER_BYTES:
                agent = agents[0]
                json = encode(agent.registration())
                if batch and n_bytes + len(json) > _MAX_REGISTER_BYTES:
                    break
                del agents[0]
                batch.append(agent)
                raw.append(msgspec.Raw(json))
                n_bytes += len(json)
            self._speaking.update(batch)
            self._registering.append(batch)
            yield encode({"type": "REGISTER", "register": {"agents": raw}})

    async def _check(self, stream: Connection, head: Head) -> None:
        """Raise unless the master took us in."""
        if head.status in (301, 302, 303, 307, 308):
            raise Redirected(stream.address.at(head.headers.get("location", "")))
        if head.status != 200:
            body = b"".join([piece async for piece in stream.pieces(head)])
            text = " ".join(body.decode("utf-8", "replace").split())[:500]
            raise Refused(f"{stream.address} refuses the agent ({head.status}): {text}")

    async def _hear(self, stream: Connection, head: Head) -> None:
        """Take in records until the stream ends, or is silent for too long."""
        reader = RecordReader()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._silent_seconds) as timeout:
                async for piece in stream.pieces(head):
                    self._take_in([m.TO_AGENTS.decode(record) for record in reader.feed(piece)])
                    timeout.reschedule(loop.time() + self._silent_seconds)
        except TimeoutError:
            raise ConnectionFailed(f"{stream.address} has said nothing for long") from None
        except (msgspec.DecodeError, AllocatorError) as error:
            raise ConnectionFailed(f"{stream.address}: {error}") from None
        raise ConnectionFailed(f"{stream.address} ended the stream")

    def _take_in(self, records: list[m.ToAgents]) -> None:
        for record in records:
            if record.type == "REGISTERED":
                self._registered(record)
            elif record.type == "PING":
                self._must_pong = True
                self._woken.set()
        self._listener.heard(records)

    def _registered(self, record: m.ToAgents) -> None:
        if not self._registering:
            raise ConnectionFailed("the master answers what was not asked")
        batch = self._registering.popleft()
        told = record.agents or []
        if len(told) != len(batch):
            raise ConnectionFailed("the master took in other agents than there are")
        if record.ping_timeout_seconds:
            self._silent_seconds = _SILENT_PINGS * record.ping_timeout_seconds + 1.0
        self.master_hostname = (record.master_info or {}).get("hostname")
        self._listener.registered((agent, each.id) for agent, each in zip(batch, told, strict=True))
        self.connected = True
        if not self._registering:
            self._lost = None
            _LOG.info("registered", extra={"fields": {"agents": len(self._speaking)}})

    async def _speak(
        self, calls: Connection, headers: Mapping[str, str], batches: Iterator[bytes]
    ) -> None:
        """Register what is left to register, then send whatever there is to send."""
        for body in batches:
            await self._post(calls, headers, body)
        while True:
            await self._woken.wait()
            self._woken.clear()
            while (call := self._next_call()) is not None:
                await self._post(calls, headers, encode(call))
            if self._leaving is not None and not self._leaving.done():
                ids = [{"value": agent.id} for agent in self._speaking]
                call = {"type": "UNREGISTER", "unregister": {"agent_ids": ids}}
                await self._post(calls, headers, encode(call))
                self._leaving.set_result(None)

    def _next_call(self) -> dict[str, object] | None:
        """Return what is to be sent next, None if there is nothing; statuses come before ends."""
        must_pong, self._must_pong = self._must_pong, False
        if self._statuses:
            sent = self._statuses[:_MAX_STATUSES]
            del self._statuses[:_MAX_STATUSES]
            return {"type": "UPDATE", "update": {"statuses": sent}}
        if self._exits:
            ends, self._exits = self._exits, []
            return {"type": "EXITED", "exited": {"executors": ends}}
        if self._said:
            return {"type": "MESSAGE", "message": {"messages": [self._said.popleft()]}}
        return _PONG if must_pong else None

    async def _post(self, calls: Connection, headers: Mapping[str, str], body: bytes) -> None:
        response = await calls.request("POST", _PATH, headers, body, timeout=_ANSWER_SECONDS)
        if response.status >= 300:
            raise Refused(f"{calls.address} refuses ({response.status}): {response.text}")


_PONG: Final[dict[str, object]] = {"type": "PONG"}
