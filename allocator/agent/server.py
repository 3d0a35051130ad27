"""The agent's own HTTP: a few paths to read, answered at once.

Small on purpose: no web framework, one asyncio protocol over httptools.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import parse_qs

import httptools

from allocator.wire.credentials import Claim, Credentials, read_claim
from allocator.wire.decode import cut, encode
from allocator.wire.refusal import (
    BAD_REQUEST,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    TOO_LARGE,
    UNAUTHORIZED,
    CallRefused,
)

#: The most that the head and the body of a request may have, in bytes.
MAX_HEAD_BYTES: Final = 64 * 1024
MAX_BODY_BYTES: Final = 8 * 2**20

#: How long a connection may be without a request, or a request be on its way, in seconds.
_IDLE_SECONDS: Final = 75.0

#: One, as an scrypt may take a gigabyte: whoever guesses at secrets waits in turn.
_PROVERS: Final = ThreadPoolExecutor(1, thread_name_prefix="scrypt")

#: Answered to anybody.
OPEN_PATHS: Final = frozenset({"/health", "/version"})

_CALLBACK: Final = re.compile(r"[A-Za-z_$][\w$.]*", re.ASCII)

_PHRASES: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
}


class Answer(NamedTuple):
    """What is answered to a request that is not refused."""

    body: bytes
    content_type: str = "application/json"


Query: TypeAlias = Mapping[str, str]
#: Path → what answers it, given the parameters.
Routes: TypeAlias = Mapping[str, Callable[[Query], Answer]]


def canonical(path: str) -> str:
    """Return what a path stands for, without `/agent` or `/slave(1)`, `.json`, a trailing slash.

    Examples
    --------
    >>> [canonical(path) for path in ("/slave(1)/state.json", "/agent/health/", "/")]
    ['/state', '/health', '/']
    """
    for prefix in ("/agent", "/slave(1)"):
        if path == prefix or path.startswith(prefix + "/"):
            path = path.removeprefix(prefix)
    return path.rstrip("/").removesuffix(".json") or "/"


def json_answer(value: Any, query: Query) -> Answer:
    """Return JSON, or JavaScript that calls what `jsonp` names; raises `CallRefused`."""
    callback = query.get("jsonp")
    if callback is None:
        return Answer(encode(value))
    if not _CALLBACK.fullmatch(callback):
        raise CallRefused(BAD_REQUEST, f"jsonp {cut(callback)!r} is no name of a function")
    return Answer(b"%b(%b);" % (callback.encode(), encode(value)), "text/javascript")


class Protocol(asyncio.Protocol):
    """One connection; requests are answered in order, each as soon as it has come."""

    def __init__(self, routes: Routes, credentials: Credentials | None) -> None:
        self._routes = routes
        self._credentials = credentials
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        #: Whether a secret is looked at; what is sent after it is not answered.
        self._is_proving = False
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._n_head_bytes = 0
        self._n_body_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_IDLE_SECONDS, self._transport.close)

    def data_received(self, data: bytes) -> None:
        """Take in a piece of a request."""
        try:
            self._parser.feed_data(data)
        except CallRefused as refused:
            self._refuse(refused)
        except httptools.HttpParserUpgrade:
            self._transport.close()
        except httptools.HttpParserError as error:
            cause = error.__context__
            if not isinstance(cause, CallRefused):
                cause = CallRefused(BAD_REQUEST, "the request is not HTTP")
            self._refuse(cause)

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

    def on_body(self, body: bytes) -> None:
        """Pass over a piece of the body, unless there is too much of it."""
        self._n_body_bytes += len(body)
        if self._n_body_bytes > MAX_BODY_BYTES:
            raise CallRefused(TOO_LARGE, f"the body has more than {MAX_BODY_BYTES} bytes")

    def on_message_complete(self) -> None:
        """Answer the request, unless the one before it is still looked at."""
        if self._is_proving:
            return
        self._wait()
        method = self._parser.get_method().decode("latin-1")
        is_kept = self._parser.should_keep_alive()
        try:
            url = httptools.parse_url(self._url)
        except httptools.HttpParserInvalidURLError:
            self._refuse(CallRefused(BAD_REQUEST, "the request has no path"))
            return
        path = canonical((url.path or b"/").decode("latin-1"))
        claim = read_claim(self._headers.get("authorization"))
        if self._credentials is None or path in OPEN_PATHS:
            self._respond(method, path, url.query, is_kept=is_kept)
        elif claim is None:
            self._refuse(_unproven(), is_kept=is_kept)
        elif self._credentials.proven(claim):
            self._respond(method, path, url.query, is_kept=is_kept)
        else:
            self._prove(self._credentials, claim, method, path, url.query)

    def _prove(
        self, credentials: Credentials, claim: Claim, method: str, path: str, query: bytes | None
    ) -> None:
        """Answer when the claim is proved, which takes some time, once; then close."""
        self._is_proving = True

        def proved(proof: asyncio.Future[bool]) -> None:
            if self._transport.is_closing():
                return
            if proof.result():
                self._respond(method, path, query, is_kept=False)
            else:
                self._refuse(_unproven())

        loop = asyncio.get_running_loop()
        loop.run_in_executor(_PROVERS, credentials.prove, claim).add_done_callback(proved)

    def _respond(self, method: str, path: str, query: bytes | None, *, is_kept: bool) -> None:
        try:
            answer = self._answer(method, path, query)
        except CallRefused as refused:
            self._refuse(refused, is_kept=is_kept)
            return
        self._write(200, answer, {}, is_kept=is_kept, has_body=method != "HEAD")

    def _answer(self, method: str, path: str, raw_query: bytes | None) -> Answer:
        route = self._routes.get(path)
        if route is None:
            raise CallRefused(NOT_FOUND, f"there is no {cut(path)}")
        if method not in ("GET", "HEAD"):
            raise CallRefused(METHOD_NOT_ALLOWED, "only GET and HEAD here")
        query = parse_qs((raw_query or b"").decode("latin-1"), keep_blank_values=True)
        return route({name: values[0] for name, values in query.items()})

    def _refuse(self, refused: CallRefused, *, is_kept: bool = False) -> None:
        headers = {}
        if refused.status == UNAUTHORIZED:
            headers["WWW-Authenticate"] = 'Basic realm="allocator"'
        if refused.status == METHOD_NOT_ALLOWED:
            headers["Allow"] = "GET, HEAD"
        answer = Answer(refused.text.encode() + b"\n", "text/plain; charset=utf-8")
        self._write(refused.status, answer, headers, is_kept=is_kept)

    def _write(
        self,
        status: int,
        answer: Answer,
        headers: Mapping[str, str],
        *,
        is_kept: bool,
        has_body: bool = True,
    ) -> None:
        lines = [
            f"HTTP/1.1 {status} {_PHRASES[status]}",
            f"Content-Type: {answer.content_type}",
            f"Content-Length: {len(answer.body)}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        if not is_kept:
            lines.append("Connection: close")
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        self._transport.write(head + (answer.body if has_body else b""))
        if not is_kept:
            self._transport.close()


def _unproven() -> CallRefused:
    return CallRefused(UNAUTHORIZED, "the request does not prove who sends it")
