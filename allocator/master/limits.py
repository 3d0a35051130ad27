"""What a connection may cost: uvicorn's HTTP protocol, with bounds on heads, bodies and time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sized
from typing import Final

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from allocator.wire.requests import MAX_HEAD_BYTES

#: What the kernel takes of a response at a time. Were it as much as it likes, megabytes, so many
#: readers who are ready at once would hold up all others while these are copied.
_SEND_BYTES: Final = 64 * 1024

_TEXTS: Final = {
    400: "The request is not HTTP.",
    408: "The request did not come in time.",
    431: f"The head of the request is larger than {MAX_HEAD_BYTES} bytes.",
}


class _Flow(FlowControl):
    """Reads no more while requests wait in the pipeline: what is sent waits in the socket."""

    def __init__(self, transport: asyncio.Transport, pipeline: Sized) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        """Read on, unless requests wait."""
        if not self._pipeline:
            super().resume_reading()


class LimitedProtocol(HttpToolsProtocol):
    """Closes connections whose head or body does not come in time, or whose head is too large.

    Subclasses have `header_timeout`: a head has so long to be complete, and so long may a body be
    without a byte, in seconds.
    """

    header_timeout: float = 10.0

    _timer: asyncio.TimerHandle | None = None
    _in_head = True
    _n_head_bytes = 0
    _status = 400

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        opened: socket.socket = transport.get_extra_info("socket")
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
        self._wait()

    def shutdown(self) -> None:
        """Close the connection, or once it has its answer; what is not all there gets none."""
        super().shutdown()
        if self.cycle is not None and self.cycle.more_body and not self.cycle.response_started:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what came, unless the head is too large with it."""
        if self._in_head:
            self._n_head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._n_head_bytes > MAX_HEAD_BYTES:
            self._refuse(431)

    def on_message_begin(self) -> None:
        """Wait for the rest of a head."""
        super().on_message_begin()
        self._wait()

    def on_headers_complete(self) -> None:
        """Wait for the body."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD_BYTES:
            self._status = 431
            raise ValueError("the head is too large")
        self._in_head = False
        self._n_head_bytes = 0
        self.scope["connection"] = self  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()
        self._wait()

    def on_body(self, body: bytes) -> None:
        """Wait for the next piece."""
        super().on_body(body)
        self._wait()

    def on_message_complete(self) -> None:
        """Wait for nothing: the idle timeout is uvicorn's."""
        super().on_message_complete()
        self._in_head = True
        self._n_head_bytes = 0
        self._stop_waiting()

    def on_response_complete(self) -> None:
        """Answer the next request of the pipeline; after the last one, read on."""
        super().on_response_complete()
        self.flow.resume_reading()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or what a callback above refused."""
        self._refuse(self._status)

    def abort(self) -> None:
        """Close the connection at once, whatever is still to be written."""
        if self.transport is not None:
            self.transport.abort()

    async def send_chunks(self, pieces: list[bytes]) -> None:
        """Send pieces of a body, each as an HTTP chunk, in one write; wait for a slow reader.

        The response was begun through ASGI, and is ended so: there, each piece is a write.
        """
        if self.flow.write_paused:
            await self.flow.drain()
        if not self.transport.is_closing():
            self.transport.write(b"".join([b"%x\r\n%b\r\n" % (len(p), p) for p in pieces]))

    def _wait(self) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(self.header_timeout, self._too_late)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        if self.flow.read_paused:  # it is we who do not read
            self._wait()
        elif self.transport is not None and not self.transport.is_closing():
            self._refuse(408)

    def _refuse(self, status: int) -> None:
        """Answer a request that no handler sees, and close the connection."""
        self._stop_waiting()
        if self.transport.is_closing():
            return
        text = _TEXTS[status].encode("ascii")
        head = (
            b"HTTP/1.1 %d Refused\r\ncontent-type: text/plain; charset=utf-8\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n" % (status, len(text))
        )
        self.transport.write(head + text)
        self.transport.close()
