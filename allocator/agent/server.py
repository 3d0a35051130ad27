"""The agent's own HTTP: paths to read, answered at once, and calls that may take their time.

Small on purpose: no web framework, one asyncio protocol over httptools.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, BinaryIO, Final, NamedTuple, TypeAlias
from urllib.parse import parse_qs

import httptools

from allocator.agent.tokens import Tokens
from allocator.wire.acls import Acls
from allocator.wire.credentials import Credentials, read_claim
from allocator.wire.decode import cut, encode
from allocator.wire.recordio import framed
from allocator.wire.refusal import (
    BAD_REQUEST,
    FORBIDDEN,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    TOO_LARGE,
    UNAUTHORIZED,
    UNAVAILABLE,
    CallRefused,
)
from allocator.wire.requests import (
    JSONP_NAME,
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    canonical,
    unproven,
)

_LOG = logging.getLogger("allocator.agent")

#: How long a connection may be without a request, or a request be on its way, in seconds.
_IDLE_SECONDS: Final = 75.0

#: How long, and how much of it, the rest of a request is taken in that was refused before its end.
_LINGER_SECONDS: Final = 5.0
_MAX_LINGER_BYTES: Final = 8 * MAX_BODY_BYTES

#: One, as an scrypt may take a gigabyte: whoever guesses at secrets waits in turn.
_PROVERS: Final = ThreadPoolExecutor(1, thread_name_prefix="scrypt")

#: Where executors call, which prove by tokens of their own what they are.
EXECUTOR_PATH: Final = "/api/v1/executor"

#: Answered to anybody.
OPEN_PATHS: Final = frozenset({"/health", "/version"})

#: Of a stream, that its reader has not taken yet.
_MAX_WAITING_BYTES: Final = 2**25

#: Answered before all is recovered.
_EARLY_PATH: Final = "/health"

#: By which clients may ask for each path: its own, and Mesos'.
_PREFIXES: Final = ("/agent", "/slave(1)", "/slave%281%29")

_TEXT: Final = "text/plain; charset=utf-8"


class Answer(NamedTuple):
    """What is answered to a request that is not refused."""

    body: bytes = b""
    content_type: str = "application/json"
    status: int = 200
    headers: Mapping[str, str] = {}
    #: Sent instead of the body, and closed then; only by what answers later.
    file: BinaryIO | None = None
    #: Is given what comes after the head: records, for as long as both want.
    stream: Callable[[Stream], None] | None = None


class Stream:
    """An answer that goes on: records, each in a chunk of its own.

    Parameters
    ----------
    transport : asyncio.Transport
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        #: Called once, when it has ended.
        self.ended: Callable[[], None] = lambda: None

    def send(self, record: bytes) -> None:
        """Send a record; one who does not read what he is sent is cut off."""
        if self._transport.is_closing():
            return
        piece = framed(record)
        self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        if self._transport.get_write_buffer_size() > _MAX_WAITING_BYTES:
            self._transport.abort()

    def close(self) -> None:
        """End it."""
        if not self._transport.is_closing():
            self._transport.write(b"0\r\n\r\n")
            self._transport.close()


Query: TypeAlias = Mapping[str, str]


class Request(NamedTuple):
    """What somebody asks for."""

    method: str
    #: Without prefix, `.json` and a trailing slash.
    path: str
    #: The first value of each parameter.
    query: Query
    #: By names in lower case.
    headers: Mapping[str, str]
    body: bytes
    is_kept: bool


class Route(NamedTuple):
    """What answers a path, now or later; raises `CallRefused`."""

    answer: Callable[[Request], Answer | Awaitable[Answer]]
    methods: tuple[str, ...] = ("GET", "HEAD")


Routes: TypeAlias = Mapping[str, Route]


class Access(NamedTuple):
    """Who may ask for what, and from when on."""

    credentials: Credentials | None = None
    acls: Acls | None = None
    #: Until it is set only `/health` is answered; None: from the beginning.
    ready: asyncio.Event | None = None
    #: By which executors prove what they are.
    tokens: Tokens | None = None


def json_answer(value: Any, query: Query) -> Answer:
    """Return JSON, or JavaScript that calls what `jsonp` names; raises `CallRefused`."""
    callback = query.get("jsonp")
    if callback is None:
        return Answer(encode(value))
    if not JSONP_NAME.fullmatch(callback):
        raise CallRefused(BAD_REQUEST, f"jsonp {cut(callback)!r} is no name of a function")
    return Answer(b"%b(%b);" % (callback.encode(), encode(value)), "text/javascript")


class Protocol(asyncio.Protocol):
    """One connection; requests are answered in order, one at a time."""

    def __init__(self, routes: Routes, access: Access) -> None:
        self._routes = routes
        self._access = access
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        #: Those that came while the one before them was not answered.
        self._waiting: deque[Request] = deque()
        #: The answer that is awaited.
        self._task: asyncio.Task[None] | None = None
        #: The answer that goes on.
        self._stream: Stream | None = None
        #: How much more is taken in, and not looked at; None: all is looked at.
        self._n_idle_bytes: int | None = None
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._n_head_bytes = 0
        self._body = bytearray()
        #: Whether a client waits to be told that it may send the body.
        self._owes_continue = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_waiting()
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
        if self._stream is not None:
            self._stream.ended()

    def _wait(self) -> None:
        self._stop_waiting()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_IDLE_SECONDS, self._transport.close)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def data_received(self, data: bytes) -> None:
        """Take in a piece of a request; after one whose answer goes on there is no other."""
        if self._stream is not None:
            return
        if self._n_idle_bytes is not None:
            self._n_idle_bytes -= len(data)
            if self._n_idle_bytes < 0:
                self._transport.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._transport.close()
        except (CallRefused, httptools.HttpParserError) as error:
            cause = error if isinstance(error, CallRefused) else error.__context__
            if not isinstance(cause, CallRefused):
                cause = CallRefused(BAD_REQUEST, "the request is not HTTP")
            self._write(_refusal(cause), is_kept=False, is_last=self._task is not None)
            if not self._transport.is_closing():
                self._linger()

    def _linger(self) -> None:
        """Take in the rest for a while: closed at once, many a client never reads the answer."""
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._n_idle_bytes = _MAX_LINGER_BYTES
        self._stop_waiting()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_LINGER_SECONDS, self._transport.close)

    # Called by the parser.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._begin()

    def on_url(self, url: bytes) -> None:
        """Take in a piece of the URL."""
        self._url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take in a header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")
        self._count(len(name) + len(value) + 4)

    def _count(self, n_bytes: int) -> None:
        self._n_head_bytes += n_bytes
        if self._n_head_bytes > MAX_HEAD_BYTES:
            raise CallRefused(431, f"the head has more than {MAX_HEAD_BYTES} bytes")

    def on_headers_complete(self) -> None:
        """Refuse a body that will be too long, and have others sent by those who ask first."""
        if int(self._headers.get("content-length") or 0) > MAX_BODY_BYTES:
            raise CallRefused(TOO_LARGE, f"the body has more than {MAX_BODY_BYTES} bytes")
        asks = self._headers.get("expect", "").lower() == "100-continue"
        self._owes_continue = asks and self._parser.get_http_version() != "1.0"
        self._let_continue()

    def _let_continue(self) -> None:
        """Tell a client to send the body, after the answers to the requests before it."""
        if self._owes_continue and self._task is None:
            self._owes_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Take in a piece of the body, unless there is too much of it."""
        self._body += body
        if len(self._body) > MAX_BODY_BYTES:
            raise CallRefused(TOO_LARGE, f"the body has more than {MAX_BODY_BYTES} bytes")

    def on_message_complete(self) -> None:
        """Answer the request, after those before it."""
        try:
            url = httptools.parse_url(self._url)
        except httptools.HttpParserInvalidURLError:
            raise CallRefused(BAD_REQUEST, "the request has no path") from None
        query = parse_qs(  # a path may have bytes in it that are no text
            (url.query or b"").decode("latin-1"), keep_blank_values=True, errors="surrogateescape"
        )
        request = Request(
            self._parser.get_method().decode("latin-1"),
            canonical((url.path or b"/").decode("latin-1"), _PREFIXES),
            {name: values[0] for name, values in query.items()},
            self._headers,
            bytes(self._body),
            self._parser.should_keep_alive(),
        )
        if self._task is None:
            self._take(request)
        else:
            self._waiting.append(request)
            self._transport.pause_reading()

    # Answering.

    def _take(self, request: Request) -> None:
        """Answer at once if that can be done, else have it done."""
        self._wait()
        try:
            answer = self._answer(request) if self._is_let_in(request) else self._prove(request)
        except CallRefused as refused:
            answer = _refusal(refused)
        except Exception:
            answer = _failure(request)
        if isinstance(answer, Answer):
            self._respond(request, answer)
        else:
            self._stop_waiting()
            self._task = asyncio.ensure_future(self._respond_later(request, answer))

    def _is_let_in(self, request: Request) -> bool:
        """Tell whether a request proves who sends it, or needs not; raises `CallRefused`."""
        ready = self._access.ready
        if ready is not None and not ready.is_set() and request.path != _EARLY_PATH:
            raise CallRefused(UNAVAILABLE, "the agent has not recovered yet; try again")
        credentials = self._access.credentials
        if credentials is None or request.path in OPEN_PATHS:
            return True
        authorization, tokens = request.headers.get("authorization"), self._access.tokens
        if request.path == EXECUTOR_PATH and tokens is not None and tokens.container(authorization):
            return True
        claim = read_claim(authorization)
        if claim is None:
            raise unproven()
        return credentials.proven(claim)

    async def _prove(self, request: Request) -> Answer:
        """Answer when a claim is proved, which takes some time, once; raises `CallRefused`."""
        claim = read_claim(request.headers.get("authorization"))
        assert claim is not None
        assert self._access.credentials is not None
        loop = asyncio.get_running_loop()
        if not await loop.run_in_executor(_PROVERS, self._access.credentials.prove, claim):
            raise unproven()
        answer = self._answer(request)
        return answer if isinstance(answer, Answer) else await answer

    def _answer(self, request: Request) -> Answer | Awaitable[Answer]:
        route = self._routes.get(request.path)
        if route is None:
            raise CallRefused(NOT_FOUND, f"there is no {cut(request.path)}")
        if request.method not in route.methods:
            allowed = ", ".join(route.methods)
            text = f"{cut(request.method)} {request.path}: only {allowed} here\n"
            return Answer(text.encode(), _TEXT, METHOD_NOT_ALLOWED, {"Allow": allowed})
        self._check_right(request)
        return route.answer(request)

    def _check_right(self, request: Request) -> None:
        acls = self._access.acls
        if acls is None or request.path in OPEN_PATHS or request.path == EXECUTOR_PATH:
            return
        claim = read_claim(request.headers.get("authorization"))
        principal = None if claim is None or self._access.credentials is None else claim.principal
        if not acls.allow(principal, "get_endpoints", [request.path]):
            who = "nobody in particular" if principal is None else cut(repr(principal))
            raise CallRefused(FORBIDDEN, f"{who} may not use {request.path}")

    async def _respond_later(self, request: Request, answer: Awaitable[Answer]) -> None:
        try:
            found = await answer
        except CallRefused as refused:
            found = _refusal(refused)
        except Exception:
            found = _failure(request)
        if found.file is None:
            self._respond(request, found)
        else:
            await self._send_file(request, found, found.file)
        self._task = None
        while self._waiting and self._task is None:
            self._take(self._waiting.popleft())
        if self._task is None and not self._transport.is_closing():
            self._let_continue()
            self._transport.resume_reading()

    async def _send_file(self, request: Request, answer: Answer, file: BinaryIO) -> None:
        """Send as much of a file as it has now, and close the connection if it becomes less."""
        with file:
            size = os.fstat(file.fileno()).st_size
            self._write(answer, is_kept=request.is_kept, size=size)
            n_sent = size
            if request.method != "HEAD" and size and not self._transport.is_closing():
                loop = asyncio.get_running_loop()
                n_sent = await loop.sendfile(self._transport, file, 0, size)
        if n_sent < size or not request.is_kept:
            self._transport.close()
        self._wait()

    def _respond(self, request: Request, answer: Answer) -> None:
        if answer.stream is not None:
            self._begin_stream(answer, answer.stream)
            return
        self._wait()
        self._write(answer, is_kept=request.is_kept, has_body=request.method != "HEAD")

    def _begin_stream(self, answer: Answer, begin: Callable[[Stream], None]) -> None:
        self._stop_waiting()
        if self._transport.is_closing():
            return
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: %b\r\n\r\n"
            % answer.content_type.encode("latin-1")
        )
        self._stream = Stream(self._transport)
        begin(self._stream)

    def _write(
        self,
        answer: Answer,
        *,
        is_kept: bool,
        has_body: bool = True,
        size: int | None = None,
        is_last: bool = True,
    ) -> None:
        """Write an answer, or of one whose body follows the head; close unless it is kept."""
        if self._transport.is_closing():
            return
        lines = [
            f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
            f"Content-Type: {answer.content_type}",
            f"Content-Length: {len(answer.body) if size is None else size}",
            *(f"{name}: {value}" for name, value in answer.headers.items()),
        ]
        if not is_kept:
            lines.append("Connection: close")
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        self._transport.write(head + (answer.body if has_body else b""))
        if not is_kept and size is None and is_last:
            self._transport.close()


def _refusal(refused: CallRefused) -> Answer:
    is_unproven = refused.status == UNAUTHORIZED
    headers = {"WWW-Authenticate": 'Basic realm="allocator"'} if is_unproven else {}
    text = refused.text.encode(errors="backslashreplace")
    return Answer(text + b"\n", _TEXT, refused.status, headers)


def _failure(request: Request) -> Answer:
    """Log a defect, and have others served."""
    _LOG.exception("defect", extra={"fields": {"request": f"{request.method} {request.path}"}})
    return Answer(b"the agent failed; its log says how\n", _TEXT, 500)
