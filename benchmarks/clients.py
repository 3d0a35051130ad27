"""Frameworks that cost little themselves: v1 scheduler calls over bare sockets, pipelined."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]


class Calls(asyncio.Protocol):
    """A connection on which calls are sent without waiting for the answers of those before."""

    def __init__(self, host: str) -> None:
        self._host = host.encode()
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self.n_sent = 0
        self.n_answered = 0
        self.refused: list[bytes] = []
        self.idle = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        begin = 0
        while (end := data.find(b"\r\n\r\n", begin)) >= 0:
            head = data[begin:end]
            length = 0
            if b"content-length: 0" not in head:
                length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                if len(data) < end + 4 + length:
                    break
            if not head.startswith(b"HTTP/1.1 20"):
                self.refused.append(data[begin : end + 4 + length])
            begin = end + 4 + length
            self.n_answered += 1
        self._rest = data[begin:]
        if self.n_answered == self.n_sent:
            self.idle.set()

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()

    def send(self, path: bytes, body: bytes, stream_id: bytes) -> None:
        """Send a call."""
        assert self._transport is not None
        if self._transport.is_closing():
            return  # the framework is gone
        self.n_sent += 1
        self.idle.clear()
        self._transport.write(
            b"POST %b HTTP/1.1\r\nHost: %b\r\nContent-Type: application/json\r\n"
            b"Mesos-Stream-Id: %b\r\nContent-Length: %d\r\n\r\n%b"
            % (path, self._host, stream_id, len(body), body)
        )


class Framework:
    """A framework: hands each event to `on_event`, acknowledges each status."""

    def __init__(
        self, host: str, port: int, on_event: Callable[[Framework, Json], None], **info: Any
    ) -> None:
        self._address = (host, port)
        self._info = {"user": "root", "name": "load", **info}
        self._on_event = on_event
        self.id = ""
        self.stream_id = b""
        self.calls = Calls(f"{host}:{port}")
        #: Of their own, so that they wait for no launch.
        self.acknowledgements = Calls(f"{host}:{port}")
        self.subscribed = asyncio.Event()
        #: The task that runs it, for as long as it is wanted.
        self.reading: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Subscribe, and read until the stream ends."""
        loop = asyncio.get_running_loop()
        for calls in (self.calls, self.acknowledgements):
            await loop.create_connection(lambda calls=calls: calls, *self._address)
        reader, writer = await asyncio.open_connection(*self._address, limit=2**24)
        body = {"type": "SUBSCRIBE", "subscribe": {"framework_info": self._info}}
        text = json.dumps(body).encode()
        writer.write(
            b"POST /api/v1/scheduler HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(text), text)
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        self.stream_id = head.lower().split(b"mesos-stream-id: ")[1].split(b"\r\n")[0]
        try:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                chunk = await reader.readexactly(size + 2)
                self._take(json.loads(chunk[chunk.index(b"\n") : -2]))
        finally:
            writer.close()
            for calls in (self.calls, self.acknowledgements):
                calls.close()

    def _take(self, event: Json) -> None:
        if event["type"] == "SUBSCRIBED":
            self.id = event["subscribed"]["framework_id"]["value"]
            self.subscribed.set()
        elif event["type"] == "UPDATE" and "uuid" in (status := event["update"]["status"]):
            fields = {name: status[name] for name in ("agent_id", "task_id", "uuid")}
            self._send(self.acknowledgements, "ACKNOWLEDGE", fields)
        self._on_event(self, event)

    async def leave(self) -> None:
        """Wait for the end of the stream."""
        if self.reading is not None:
            await self.reading

    def send(self, type: str, content: Json | None = None) -> None:
        """Send a call."""
        self._send(self.calls, type, content)

    def _send(self, calls: Calls, type: str, content: Json | None) -> None:
        body: Json = {"type": type, "framework_id": {"value": self.id}}
        if content is not None:
            body[type.lower()] = content
        calls.send(b"/api/v1/scheduler", json.dumps(body).encode(), self.stream_id)


def launch(offers: list[Json], tasks: list[Json]) -> Json:
    """Return an ACCEPT of offers that launches tasks, the rest refused for long."""
    return {
        "offer_ids": [offer["id"] for offer in offers],
        "operations": [{"type": "LAUNCH", "launch": {"task_infos": tasks}}],
        "filters": {"refuse_seconds": 1e6},
    }


def task(id: str, offer: Json, command: str, cpus: float, mem: float, **more: Any) -> Json:
    """Return a task of v1 JSON."""
    return {
        "name": id,
        "task_id": {"value": id},
        "agent_id": offer["agent_id"],
        "command": {"value": command},
        "resources": [
            {"name": "cpus", "type": "SCALAR", "scalar": {"value": cpus}},
            {"name": "mem", "type": "SCALAR", "scalar": {"value": mem}},
        ],
        **more,
    }


def now() -> float:
    """Return seconds of the steady clock."""
    return time.perf_counter()
