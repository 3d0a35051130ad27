"""A small client of HTTP/1.1, for asyncio: what an agent and the command line need of it.

One connection carries one request at a time, and is kept for the next. Answers have a
Content-Length, come in chunks, or go on until the connection ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

from allocator.errors import AllocatorError, InvalidValue, shown
from allocator.wire.requests import authority

#: The most that the head of an answer, and an answer that is read whole, may have, in bytes.
MAX_HEAD_BYTES: Final = 64 * 1024
MAX_BODY_BYTES: Final = 2**30

#: How much is read ahead of who reads, in bytes.
_BUFFER_BYTES: Final = 2**20

_PORTS: Final = {"http": 80, "https": 443}


class ConnectionFailed(AllocatorError):
    """Nobody answers there, or not in a way that can be understood."""


class Address(NamedTuple):
    """Where a server is."""

    scheme: str
    host: str
    port: int

    @classmethod
    def read(cls, text: str) -> Address:
        """Return the address of a URL, whose path is left out.

        Raises
        ------
        InvalidValue
            It is none of http or https.

        Examples
        --------
        >>> Address.read("http://localhost:5050/")
        Address(scheme='http', host='localhost', port=5050)
        """
        try:
            parts = urlsplit(text)
            scheme, host, port = parts.scheme, parts.hostname, parts.port
        except ValueError:
            scheme, host, port = "", None, None
        if scheme not in _PORTS or not host:
            raise InvalidValue(f"{shown(text)} is no URL such as http://127.0.0.1:5050")
        return cls(scheme, host, port or _PORTS[scheme])

    def at(self, location: str) -> Address:
        """Return where a Location header leads to; raises `ConnectionFailed`."""
        try:
            url = f"{self.scheme}:{location}" if location.startswith("//") else location
            return Address.read(url)
        except InvalidValue:
            raise ConnectionFailed(f"{self} redirects to {shown(location)}") from None

    @property
    def authority(self) -> str:
        """Host and port as a URL has them."""
        return authority(self.host, self.port)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


class Head(NamedTuple):
    """What an answer begins with; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]


class Response(NamedTuple):
    """An answer that was read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as one line for a person."""
        return " ".join(self.body.decode("utf-8", "replace").split())[:500]


class Connection:
    """A connection to a server, open until `close`.

    Made by `open`; all that fails raises `ConnectionFailed`.
    """

    def __init__(
        self, address: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.address = address
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, address: Address, timeout: float) -> Self:
        """Connect within so many seconds."""
        context = ssl.create_default_context() if address.scheme == "https" else None
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await asyncio.open_connection(
                    address.host, address.port, ssl=context, limit=_BUFFER_BYTES
                )
        except TimeoutError:
            raise ConnectionFailed(f"{address} did not answer in {timeout:g} s") from None
        except OSError as error:
            # What asyncio says of it repeats the address.
            number = error.errno or 0
            text = os.strerror(number) if number > 0 else error.strerror or error
            raise ConnectionFailed(f"{address}: {text}") from None
        return cls(address, reader, writer)

    async def begin(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Head:
        """Send a request and return the head of the answer; `pieces` has the rest."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.address.authority}"]
        if body or method != "GET":
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        await self._write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        return await self._head()

    async def _write(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise self._failed(error) from None

    async def _head(self) -> Head:
        try:
            return _read_head(await self._reader.readuntil(b"\r\n\r\n"))
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise self._failed(error) from None

    async def pieces(self, head: Head) -> AsyncIterator[bytes]:
        """Yield the body of the answer that `begin` returned, as it comes."""
        try:
            if head.headers.get("transfer-encoding", "").lower() == "chunked":
                async for piece in self._chunks():
                    yield piece
            elif "content-length" in head.headers:
                left = _read_size(head.headers["content-length"], 10)
                while left:
                    piece = await self._reader.read(min(left, _BUFFER_BYTES))
                    if not piece:
                        raise ConnectionFailed(f"{self.address} ended the connection")
                    left -= len(piece)
                    yield piece
            elif head.status not in (204, 304):
                while piece := await self._reader.read(_BUFFER_BYTES):
                    yield piece
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise self._failed(error) from None

    async def _chunks(self) -> AsyncIterator[bytes]:
        reader = self._reader
        while True:
            line = await reader.readuntil(b"\n")
            size = _read_size(line.partition(b";")[0].strip().decode("latin-1"), 16)
            if size == 0:
                while (await reader.readuntil(b"\n")).strip():
                    pass
                return
            yield await reader.readexactly(size)
            await reader.readexactly(2)

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        timeout: float,
    ) -> Response:
        """Send a request and return the whole answer, which comes within so many seconds."""
        try:
            async with asyncio.timeout(timeout):
                return await self._rest(await self.begin(method, path, headers, body))
        except TimeoutError:
            raise ConnectionFailed(f"{self.address} did not answer in {timeout:g} s") from None

    async def _rest(self, head: Head) -> Response:
        content = bytearray()
        async for piece in self.pieces(head):
            content += piece
            if len(content) > MAX_BODY_BYTES:
                raise ConnectionFailed(f"{self.address} answers with too much")
        return Response(head.status, head.headers, bytes(content))

    async def post_all(
        self, path: str, headers: Mapping[str, str], bodies: Sequence[bytes], *, timeout: float
    ) -> list[Response]:
        """Send requests one after the other without waiting, and return all their answers."""
        head = f"POST {path} HTTP/1.1\r\nHost: {self.address.authority}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        start = head.encode("latin-1")
        requests = [b"%bContent-Length: %d\r\n\r\n%b" % (start, len(b), b) for b in bodies]
        try:
            async with asyncio.timeout(timeout):
                await self._write(b"".join(requests))
                return [await self._rest(await self._head()) for _ in bodies]
        except TimeoutError:
            raise ConnectionFailed(f"{self.address} did not answer in {timeout:g} s") from None

    def _failed(self, error: Exception) -> ConnectionFailed:
        if isinstance(error, asyncio.IncompleteReadError):
            return ConnectionFailed(f"{self.address} ended the connection")
        return ConnectionFailed(f"{self.address}: {getattr(error, 'strerror', None) or error}")

    def close(self) -> None:
        """End the connection at once."""
        with contextlib.suppress(RuntimeError):  # the loop may be closed already
            self._writer.transport.abort()


_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: [^\r\n]*)?\r\n")


def _read_head(data: bytes) -> Head:
    match = _STATUS_LINE.match(data)
    if match is None or len(data) > MAX_HEAD_BYTES:
        raise ConnectionFailed("what answers is no HTTP server")
    headers = {}
    for line in data[match.end() :].decode("latin-1").splitlines():
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Head(int(match[1]), headers)


def _read_size(text: str, base: int) -> int:
    try:
        size = int(text, base)
    except ValueError:
        size = -1
    if size < 0:
        raise ConnectionFailed(f"{text[:20]!r} is no length")
    return size
