"""A framework that runs one command many times: its policy, and the connection to the master.

`Runner` is free of I/O: events go in, calls are left behind in `out`.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from allocator.cli.asking import CONNECT_SECONDS, MasterRefused, connect, refusal
from allocator.resources import Resources
from allocator.wire.client import Address, Connection, ConnectionFailed
from allocator.wire.decode import encode
from allocator.wire.recordio import RecordReader

Json = dict[str, Any]

#: After which nothing comes of a task, and it ran.
_ENDED: Final = {
    "TASK_FINISHED": "finished",
    "TASK_FAILED": "failed",
    "TASK_KILLED": "killed",
    "TASK_ERROR": "failed",
}
#: Nobody knows what became of it, or it never ran: it is launched anew.
_LOST: Final = frozenset(
    {"TASK_LOST", "TASK_DROPPED", "TASK_GONE", "TASK_GONE_BY_OPERATOR", "TASK_UNKNOWN"}
)

#: How long what is not needed is refused, in seconds.
_REFUSE_SECONDS: Final = 3600.0

#: How long the framework may be away, and tries to come back, in seconds.
FAILOVER_SECONDS: Final = 60.0

#: Connections for calls, and how many calls are sent over one before their answers are waited for.
_N_CONNECTIONS: Final = 2
_MAX_AT_ONCE: Final = 64

_PATH: Final = "/api/v1/scheduler"
_ANSWER_SECONDS: Final = 60.0


class Runner:
    """What is to run, what runs, and what has ended.

    Parameters
    ----------
    name, command : str
    resources : Resources
        What each task takes.
    count : int
        How many are to end.
    """

    def __init__(self, name: str, command: str, resources: Resources, count: int) -> None:
        self._name = name
        self._command = command
        self._resources = resources
        self._count = count
        self._n_launched = 0
        #: How many are still to be launched.
        self._n_left = count
        self._running: set[str] = set()
        self._suppressed = False
        #: How many ended in which way.
        self.ended: Counter[str] = Counter()
        #: Message → how many tasks did not finish with it.
        self.failures: Counter[str] = Counter()
        #: Calls to be sent, in order: type and content.
        self.out: list[tuple[str, Json]] = []

    def command(self) -> str:
        """Return what the next task runs."""
        return self._command

    @property
    def is_done(self) -> bool:
        """Whether all have ended."""
        return self.ended.total() >= self._count

    def offers(self, offers: list[Json]) -> None:
        """Launch what fits on offers, and give back the rest."""
        for offer in offers:
            tasks = self._tasks_for(offer)
            # What is needed soon again is given back without a word on when.
            seconds = _REFUSE_SECONDS if not self._n_left else 1.0
            filters = {"refuse_seconds": seconds}
            ids = [offer["id"]]
            if tasks:
                launch = {"type": "LAUNCH", "launch": {"task_infos": tasks}}
                content = {"offer_ids": ids, "operations": [launch], "filters": filters}
                self.out.append(("ACCEPT", content))
            else:
                self.out.append(("DECLINE", {"offer_ids": ids, "filters": filters}))
        if not self._n_left and not self._suppressed:
            self._suppressed = True
            self.out.append(("SUPPRESS", {}))

    def _tasks_for(self, offer: Json) -> list[Json]:
        rest = Resources(offer["resources"])
        tasks = []
        while self._n_left and rest >= self._resources:
            rest = rest - self._resources
            tasks.append(self._task(offer["agent_id"]))
        return tasks

    def _task(self, agent_id: Json) -> Json:
        id = f"{self._name}-{self._n_launched}"
        self._n_launched += 1
        self._n_left -= 1
        self._running.add(id)
        return {
            "name": self._name,
            "task_id": {"value": id},
            "agent_id": agent_id,
            "resources": self._resources.to_json(),
            "command": {"value": self.command()},
        }

    def update(self, status: Json) -> None:
        """Take in a status, and acknowledge it."""
        if "uuid" in status:
            content = {name: status[name] for name in ("agent_id", "task_id", "uuid")}
            self.out.append(("ACKNOWLEDGE", content))
        id, state = status["task_id"]["value"], status["state"]
        if id not in self._running:
            return
        if state in _ENDED:
            self._running.remove(id)
            self.ended[_ENDED[state]] += 1
            if state != "TASK_FINISHED":
                self.failures[status.get("message") or state] += 1
        elif state in _LOST:
            self._running.remove(id)
            self._launch_again()

    def _launch_again(self) -> None:
        self._n_left += 1
        if self._suppressed:
            self._suppressed = False
            self.out.append(("REVIVE", {}))

    def came_back(self) -> None:
        """Ask what became of what runs: launches may have been lost."""
        if self._running:
            tasks = [{"task_id": {"value": id}} for id in sorted(self._running)]
            self.out.append(("RECONCILE", {"tasks": tasks}))


class Session:
    """Connects a runner to the master, again whenever it was lost.

    Parameters
    ----------
    runner : Runner
    address : Address
        Of a master; one that does not lead sends us on.
    headers : mapping
        That every request has.
    role : str
    advanced : callable
        Told how many tasks have ended since the last time.
    """

    def __init__(
        self,
        runner: Runner,
        address: Address,
        headers: Mapping[str, str],
        name: str,
        role: str,
        advanced: Callable[[int], None],
    ) -> None:
        self._runner = runner
        self._address = address
        self._headers = {**headers, "Content-Type": "application/json"}
        self._info: Json = {
            "user": getpass.getuser(),
            "name": name,
            "roles": [role],
            "failover_timeout": FAILOVER_SECONDS,
            "capabilities": [{"type": "PARTITION_AWARE"}],
        }
        self._advanced = advanced
        self._n_told = 0
        self.framework_id: str | None = None
        self._stream_id = ""
        self._queue: asyncio.Queue[tuple[str, Json]] = asyncio.Queue()

    async def run(self) -> None:
        """Return when all tasks have ended; raises `MasterRefused`."""
        deadline: float | None = None
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self._serve()
                return
            except ConnectionFailed as error:
                if self.framework_id is None:
                    raise MasterRefused(str(error)) from None
                now = loop.time()
                if self._stream_id:
                    self._stream_id, deadline = "", now + FAILOVER_SECONDS
                if deadline is not None and now > deadline:
                    raise MasterRefused(f"{error}; the master did not come back") from None
                await asyncio.sleep(random.uniform(0.3, 0.8))

    async def _tear_down(self) -> None:
        """Remove the framework, while its stream is open: what still runs is killed."""
        if self.framework_id is None:
            return
        with contextlib.suppress(ConnectionFailed, MasterRefused):
            connection = await Connection.open(self._address, CONNECT_SECONDS)
            try:
                await self._send(connection, [("TEARDOWN", {})])
            finally:
                connection.close()

    async def _serve(self) -> None:
        """Subscribe, act until all is done or we are cancelled, and remove the framework.

        Raises `ConnectionFailed` at the stream's end, and removes nothing then.
        """
        stream = await self._subscribe()
        try:
            await self._act(stream)
        except ConnectionFailed:
            raise
        except BaseException:
            await self._tear_down()
            raise
        else:
            await self._tear_down()
        finally:
            stream[0].close()

    async def _act(self, stream: tuple[Connection, Any]) -> None:
        """Hear and send until all is done."""
        self._queue = asyncio.Queue()
        workers = [asyncio.create_task(self._work()) for _ in range(_N_CONNECTIONS)]
        hearing = asyncio.create_task(self._hear(stream))
        try:
            await asyncio.wait([*workers, hearing], return_when=asyncio.FIRST_COMPLETED)
            for task in (hearing, *workers):
                if task.done():
                    task.result()
        finally:
            for task in (hearing, *workers):
                task.cancel()
            await asyncio.gather(hearing, *workers, return_exceptions=True)

    async def _subscribe(self) -> tuple[Connection, Any]:
        content: Json = {"framework_info": dict(self._info)}
        body: Json = {"type": "SUBSCRIBE", "subscribe": content}
        if self.framework_id is not None:
            body["framework_id"] = content["framework_info"]["id"] = {"value": self.framework_id}
        while True:
            if self.framework_id is None:
                connection = await connect(self._address)
            else:
                connection = await Connection.open(self._address, CONNECT_SECONDS)
            try:
                head = await connection.begin("POST", _PATH, self._headers, encode(body))
                if head.status == 200:
                    self._stream_id = head.headers.get("mesos-stream-id", "")
                    return connection, head
                if head.status == 307:
                    self._address = self._address.at(head.headers.get("location", ""))
                    connection.close()
                    continue
                text = b"".join([piece async for piece in connection.pieces(head)])
                raise refusal(head.status, text.decode("utf-8", "replace"), self._address)
            except BaseException:
                connection.close()
                raise

    async def _hear(self, stream: tuple[Connection, Any]) -> None:
        """Take in events until all is done."""
        connection, head = stream
        reader = RecordReader()
        async for piece in connection.pieces(head):
            for record in reader.feed(piece):
                self._take_in(msgspec.json.decode(record))
            for call in self._runner.out:
                self._queue.put_nowait(call)
            self._runner.out.clear()
            self._tell_advance()
            if self._runner.is_done:
                await self._queue.join()
                return
        raise ConnectionFailed(f"{self._address} ended the stream")

    def _tell_advance(self) -> None:
        n_ended = self._runner.ended.total()
        self._advanced(n_ended - self._n_told)
        self._n_told = n_ended

    def _take_in(self, event: Json) -> None:
        match event["type"]:
            case "SUBSCRIBED":
                is_back = self.framework_id is not None
                self.framework_id = event["subscribed"]["framework_id"]["value"]
                if is_back:
                    self._runner.came_back()
            case "OFFERS":
                self._runner.offers(event["offers"]["offers"])
            case "UPDATE":
                self._runner.update(event["update"]["status"])
            case "ERROR":
                raise MasterRefused(f"{self._address}: {event['error']['message']}")

    async def _work(self) -> None:
        """Send calls, as many at once as there are."""
        connection = await Connection.open(self._address, CONNECT_SECONDS)
        try:
            while True:
                calls = [await self._queue.get()]
                while len(calls) < _MAX_AT_ONCE and not self._queue.empty():
                    calls.append(self._queue.get_nowait())
                await self._send(connection, calls)
                for _ in calls:
                    self._queue.task_done()
        finally:
            connection.close()

    async def _send(self, connection: Connection, calls: list[tuple[str, Json]]) -> None:
        framework_id = {"value": self.framework_id}
        bodies = [
            encode(
                {
                    "type": type,
                    "framework_id": framework_id,
                    **({type.lower(): content} if content else {}),
                }
            )
            for type, content in calls
        ]
        headers = {**self._headers, "Mesos-Stream-Id": self._stream_id}
        answers = await connection.post_all(_PATH, headers, bodies, timeout=_ANSWER_SECONDS)
        for answer in answers:
            if answer.status in (307, 403, 503):
                raise ConnectionFailed(f"{self._address} does not lead any more")
            if answer.status >= 300:
                raise refusal(answer.status, answer.text, self._address)
