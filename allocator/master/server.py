"""HTTP: with `limits`, all that knows Starlette and uvicorn.

A request goes through the same steps whatever it asks for: is it for us to answer (the leader),
who sends it, what does it want; then a typed call goes to the service, or the read model is asked.
A refusal is one line of text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, TypeAlias

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from allocator.master import agents, openapi, operator, page, scheduler, why
from allocator.master.accepting import roles_to_reserve
from allocator.master.assets import assets
from allocator.master.limits import LimitedProtocol
from allocator.master.reading import PATHS, Reader, matches, parsed
from allocator.master.service import Service
from allocator.master.streams import Stream
from allocator.master.viewers import Viewer
from allocator.wire import messages as m
from allocator.wire.acls import Acls, Names
from allocator.wire.credentials import Credentials, read_claim
from allocator.wire.decode import accepts_json, check_content_type, cut, encode, read_call
from allocator.wire.refusal import (
    BAD_REQUEST,
    FORBIDDEN,
    NOT_ACCEPTABLE,
    NOT_FOUND,
    TOO_LARGE,
    UNAUTHORIZED,
    UNAVAILABLE,
    CallRefused,
    MethodNotAllowed,
)
from allocator.wire.requests import MAX_BODY_BYTES, canonical, unproven

#: Answered to anybody, and by a master that does not lead, too.
OPEN_PATHS: Final = frozenset({"/health", "/version", "/redirect"})

#: Answered by a master that does not lead, too, of itself.
STANDBY_PATHS: Final = frozenset({"/metrics", "/metrics/snapshot"})

#: By which clients may ask for each path, too.
_PREFIXES: Final = ("/master",)

#: The methods of what is read.
_READ: Final = ("GET", "HEAD")

_STREAM_ID: Final = "mesos-stream-id"

Scope: TypeAlias = Any
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]


class Access(NamedTuple):
    """Who is let in, everybody if `credentials` is None; and who may do what."""

    credentials: Credentials | None
    acls: Acls

    def check(self, principal: str | None, action: str, objects: Iterable[Names]) -> None:
        """Raise `CallRefused` (403) unless a principal may do an action to all of these."""
        named = list(objects)
        if not self.acls.allow(principal, action, named):
            listed = cut(", ".join(str(name) for name in named))
            raise CallRefused(FORBIDDEN, f"{principal or 'nobody'} may not {action}: {listed}")


class Application:
    """The ASGI application of one master.

    Parameters
    ----------
    access : Access
    leader : callable
        Returns `host:port` of the master that leads, this one or another; None if none does.
    standby : Reader
        Answers what is asked of this very process while another master leads.
    """

    def __init__(self, access: Access, leader: Callable[[], str | None], standby: Reader) -> None:
        self._access = access
        self._leader = leader
        self._standby = standby
        #: While this master leads.
        self._service: Service | None = None
        #: Two, as each may take a gigabyte: whoever guesses at secrets waits in turn.
        self._provers = ThreadPoolExecutor(2, thread_name_prefix="scrypt")

    def lead(self, service: Service) -> None:
        """Answer requests from now on, rather than send them to another master."""
        self._service = service
        self._standby.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except CallRefused as refused:
            response = refusal(refused)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Answer:
        path = canonical(request.scope["path"], _PREFIXES)
        if path in OPEN_PATHS:
            return await self._open(request, path)
        service = self._service
        if service is None:
            return await self._stand_by(request, path)
        principal = await self._principal(request)
        if path == "/openapi":
            check_method(request, *_READ)
            return JSONResponse(openapi.document())
        asked = _Asked(request, principal, service, self._access)
        if path in PATHS:
            return await _read(asked, path)
        if path == "/":
            return Response(status_code=307, headers={"Location": "/ui"})
        if path == "/ui" or path.startswith("/ui/"):
            return await _look(asked, path)
        answer = _POSTS.get(path)
        if answer is None:
            raise CallRefused(NOT_FOUND, f"there is no {cut(path)}")
        check_method(request, "POST")
        return await answer(asked)

    async def _open(self, request: Request, path: str) -> Response:
        """Answer what anybody may ask of any master."""
        check_method(request, *_READ)
        if path in PATHS:
            return await _answered(self._standby, request, path, None)
        return self._send_on("")

    async def _stand_by(self, request: Request, path: str) -> Response:
        """Answer what is asked while another master leads, or none."""
        if path not in STANDBY_PATHS:
            return self._redirect(request)
        principal = await self._principal(request)
        check_method(request, *_READ)
        self._access.check(principal, "get_endpoints", [path])
        return await _answered(self._standby, request, path, principal)

    def _redirect(self, request: Request) -> Response:
        """Send a request on to the master that leads, path and query as they came."""
        path = request.scope["raw_path"].decode("latin-1")
        query = request.scope["query_string"].decode("latin-1")
        return self._send_on(path + (f"?{query}" if query else ""))

    def _send_on(self, target: str) -> Response:
        """Return where the master that leads has something; raises `CallRefused` (503)."""
        leader = self._leader()
        if leader is None:
            raise CallRefused(UNAVAILABLE, "no master leads at the moment")
        return Response(status_code=307, headers={"Location": f"//{leader}{target}"})

    async def _principal(self, request: Request) -> str | None:
        """Return who sends a request, None where nobody is asked; raises `CallRefused` (401)."""
        credentials = self._access.credentials
        if credentials is None:
            return None
        claim = read_claim(request.headers.get("authorization"))
        if claim is not None:
            if credentials.proven(claim):
                return claim.principal
            loop = asyncio.get_running_loop()
            if await loop.run_in_executor(self._provers, credentials.prove, claim):
                return claim.principal
        raise unproven()


class _Asked(NamedTuple):
    """A request, who sends it, and who answers it."""

    request: Request
    principal: str | None
    service: Service
    access: Access

    def check(self, action: str, objects: Iterable[Names]) -> None:
        """Raise `CallRefused` (403) unless the sender may do this."""
        self.access.check(self.principal, action, objects)

    @property
    def caller(self) -> operator.Caller:
        """The sender, as the operator API sees it."""
        reader = self.service.reader
        return operator.Caller(self.principal, self.check, reader.metrics, reader.model)


async def _read(asked: _Asked, path: str) -> Answer:
    """Answer a GET out of the read model, and PUT of weights."""
    request, service = asked.request, asked.service
    if path == "/weights" and request.method == "PUT":
        body = await read_body(request)  # curl calls it a form, as in Mesos' documentation
        await service.call(lambda: operator.put_weights(service.master, body, asked.caller))
        return Response()
    check_method(request, *_READ, *(["PUT"] if path == "/weights" else []))
    asked.check("get_endpoints", [path])
    return await _answered(service.reader, request, path, asked.principal)


async def _answered(reader: Reader, request: Request, path: str, principal: str | None) -> Response:
    """Return what a reader answers to a request."""
    query = request.scope["query_string"].decode("latin-1")
    found = await reader.answer(path, query, request.headers, principal)
    return Response(found.body, found.status, found.headers)


async def _look(asked: _Asked, path: str) -> Answer:
    """Answer what the page at `/ui` is made of, and what it asks for."""
    request = asked.request
    asset = assets().get(path)
    if asset is None and path not in _LIVE:
        raise CallRefused(NOT_FOUND, f"there is no {cut(path)}")
    check_method(request, *_READ)
    asked.check("get_endpoints", ["/ui"])
    if asset is not None:
        if matches(request.headers.get("if-none-match"), asset.headers["ETag"]):
            return Response(status_code=304, headers=asset.headers)
        return Response(asset.body, headers=asset.headers)
    if path == "/ui/events" and request.method == "HEAD":
        return Response(headers=_EVENTS)
    query = request.scope["query_string"].decode("latin-1")
    return await _LIVE[path](asked.service, parsed(query))


async def _look_on(service: Service, given: Mapping[str, str]) -> Answer:
    """Answer `GET /ui/events`: pictures of the cluster as they come."""
    return Viewing(service, service.view())


async def _find(service: Service, given: Mapping[str, str]) -> Answer:
    """Answer `GET /ui/find`: rows of a kind that have all words of a text."""
    found = await page.find(service.subject, given.get("kind", ""), given.get("text", ""))
    return _fresh(found)


async def _explain(service: Service, given: Mapping[str, str]) -> Answer:
    """Answer `GET /ui/explain`: why a framework is not offered anything."""
    question = why.Question(
        given.get("framework_id", ""), given.get("role") or None, given.get("slave_id") or None
    )
    return _fresh(await service.explain(question))


def _fresh(found: page.Json) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(encode(found), media_type="application/json", headers=headers)


#: Path → what answers what the page asks for.
_LIVE: Final[dict[str, Callable[[Service, Mapping[str, str]], Awaitable[Answer]]]] = {
    "/ui/events": _look_on,
    "/ui/find": _find,
    "/ui/explain": _explain,
}


async def _answer_scheduler(asked: _Asked) -> Answer:
    """Answer `POST /api/v1/scheduler`."""
    type, call = read_call(await read_call_body(asked.request), m.SCHEDULER_CALLS)
    if isinstance(call, m.SubscribeCall):
        return await _subscribe(asked, call)
    if isinstance(call, m.UpdateFrameworkCall):
        asked.check("register_frameworks", _roles(call.update_framework.framework_info))
    master = asked.service.master
    stream_id = asked.request.headers.get(_STREAM_ID)

    def act() -> None:
        framework = scheduler.check_caller(master, call, asked.principal, stream_id)
        if isinstance(call, m.AcceptCall):
            asked.check("reserve_resources", roles_to_reserve(call))
        scheduler.CALLS[type](master, framework, call)

    await asked.service.call(act)
    return Response(status_code=200 if isinstance(call, m.UpdateFrameworkCall) else 202)


async def _subscribe(asked: _Asked, call: m.SubscribeCall) -> Answer:
    headers = asked.request.headers
    if not accepts_json(headers.get("accept")):
        raise CallRefused(NOT_ACCEPTABLE, "the answer is application/json")
    if _STREAM_ID in headers:
        raise CallRefused(BAD_REQUEST, "a SUBSCRIBE has no Mesos-Stream-Id")
    scheduler.check_ids(call, asked.principal)
    asked.check("register_frameworks", _roles(call.subscribe.framework_info))
    return Streaming(asked.service, *await asked.service.subscribe(call, asked.principal))


def _roles(info: m.FrameworkInfo) -> list[str]:
    return list(info.roles or [info.role or "*"])


async def _answer_agents(asked: _Asked) -> Answer:
    """Answer `POST /api/v1/agents`, the agents' own API."""
    type, call = read_call(await read_call_body(asked.request), m.AGENT_CALLS)
    service = asked.service
    session_id = asked.request.headers.get(_STREAM_ID)
    if isinstance(call, m.RegisterCall):
        asked.check("register_agents", [a.agent_info.hostname for a in call.register.agents])
        if session_id is None:
            return Streaming(service, *await service.register(call, asked.principal))

    def act() -> None:
        session = agents.check_session(service.master, session_id, asked.principal)
        agents.CALLS[type](service.master, session, call)

    await service.call(act)
    return Response(status_code=202)


async def _answer_operator(asked: _Asked) -> Answer:
    """Answer `POST /api/v1`."""
    type, call = read_call(await read_call_body(asked.request), m.OPERATOR_CALLS)
    if not accepts_json(asked.request.headers.get("accept")):
        raise CallRefused(NOT_ACCEPTABLE, "the answer is application/json")
    service, caller = asked.service, asked.caller
    if type == "SUBSCRIBE":
        operator.check_reading(caller)
        return Streaming(service, *await service.watch())
    if type in operator.LARGE_READS:
        operator.check_reading(caller)
        await service.reader.write_in_v1()
    act = operator.CALLS[type]
    reply = await service.call(lambda: act(service.master, call, caller))
    if reply is None:
        return Response(status_code=operator.status_of(type))
    return Response(encode(reply), media_type="application/json")


#: Path → what answers a POST to it.
_POSTS: Final[dict[str, Callable[[_Asked], Awaitable[Answer]]]] = {
    "/api/v1/scheduler": _answer_scheduler,
    "/api/v1/agents": _answer_agents,
    "/api/v1": _answer_operator,
    "/api/v1/operator": _answer_operator,
}


class Streaming:
    """A response that goes on until its stream ends, or its reader has gone.

    Each record is an HTTP chunk of its own: clients read them so.
    """

    def __init__(self, service: Service, stream_id: str, stream: Stream) -> None:
        self._service = service
        self._id = stream_id
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream's records as they come."""
        # A graceful close would wait for a reader who does not read.
        self._stream.when_overrun = scope["connection"].abort
        leaving = asyncio.create_task(_end_when_left(receive, self._stream))
        try:
            await self._send(send, scope["connection"])
        finally:
            leaving.cancel()
            await asyncio.shield(self._service.left(self._id))

    async def _send(self, send: Send, connection: LimitedProtocol) -> None:
        head = [
            (b"content-type", b"application/json"),
            (b"mesos-stream-id", self._id.encode("ascii")),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        async for batch in self._stream.batches():
            await connection.send_chunks(batch)
        await send({"type": "http.response.body", "body": b""})


#: Headers of a stream of events.
_EVENTS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # what stands between is not to wait for more
}


class Viewing:
    """A response that goes on with events for the page, until the reader has gone or we stop."""

    def __init__(self, service: Service, viewer: Viewer) -> None:
        self._service = service
        self._viewer = viewer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events as they come."""
        leaving = asyncio.create_task(_end_when_left(receive, self._viewer))
        head = [(name.encode(), value.encode()) for name, value in _EVENTS.items()]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": head})
            async for events in self._viewer.events():
                await send({"type": "http.response.body", "body": events, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            leaving.cancel()
            self._service.stop_viewing(self._viewer)


async def _end_when_left(receive: Receive, stream: Stream | Viewer) -> None:
    """End a stream when whoever reads it has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.end()


Answer: TypeAlias = Response | Streaming | Viewing


def check_method(request: Request, *methods: str) -> None:
    """Raise `MethodNotAllowed` (405) unless a request has one of these methods."""
    if request.method not in methods:
        raise MethodNotAllowed(*methods)


async def read_call_body(request: Request) -> bytes:
    """Return the body of a call; raises `CallRefused` (400, 413, 415)."""
    check_content_type(request.headers.get("content-type"))
    return await read_body(request)


async def read_body(request: Request) -> bytes:
    """Return a body, whatever it calls itself; raises `CallRefused` (413)."""
    length = request.headers.get("content-length", "")
    too_large = CallRefused(TOO_LARGE, f"the body has more than {MAX_BODY_BYTES} bytes")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise too_large
    return bytes(body)


def refusal(refused: CallRefused) -> Response:
    """Return the answer to a request that is refused."""
    headers = {}
    if refused.status == UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Basic realm="allocator"'
    if isinstance(refused, MethodNotAllowed):
        headers["Allow"] = ", ".join(refused.methods)
    if refused.status == TOO_LARGE:
        headers["Connection"] = "close"  # the rest of the body is not worth reading
    return PlainTextResponse(refused.text + "\n", refused.status, headers)
