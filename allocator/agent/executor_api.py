"""`POST /api/v1/executor`: Mesos' v1 executor API, in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from allocator.agent.executors import Executor, Subscribe, Update, check_subscribed, check_updates
from allocator.agent.server import EXECUTOR_PATH, Answer, Request, Route, Routes
from allocator.agent.service import Service
from allocator.agent.tokens import Tokens
from allocator.wire import messages as m
from allocator.wire.decode import accepts_json, check_content_type, cut, read_call
from allocator.wire.refusal import FORBIDDEN, NOT_ACCEPTABLE, CallRefused

_ACCEPTED: Final = 202


class _Call(m.Message, kw_only=True):
    framework_id: m.Value
    executor_id: m.Value


class _Subscribing(_Call, kw_only=True):
    subscribe: Subscribe


class _Updating(_Call, kw_only=True):
    update: Update


class _Said(m.Message, kw_only=True):
    data: str


class _Saying(_Call, kw_only=True):
    message: _Said


_DECODERS: Final[Mapping[str, msgspec.json.Decoder[Any]]] = {
    "SUBSCRIBE": msgspec.json.Decoder(_Subscribing, strict=False),
    "UPDATE": msgspec.json.Decoder(_Updating, strict=False),
    "MESSAGE": msgspec.json.Decoder(_Saying, strict=False),
}


def routes(service: Service, tokens: Tokens | None) -> Routes:
    """Return what answers the path; `tokens` where executors have to prove what they are."""

    def answer(request: Request) -> Answer:
        check_content_type(request.headers.get("content-type"))
        type, call = read_call(request.body, _DECODERS)
        executor = service.find_executor(call.framework_id.value, call.executor_id.value)
        check_token(executor, tokens, request)
        if type == "SUBSCRIBE":
            check_accept(request)
            check_updates(executor, call.subscribe)
            return Answer(stream=lambda stream: service.subscribe(executor, call.subscribe, stream))
        check_subscribed(executor)
        if type == "UPDATE":
            service.update_by(executor, call.update.status)
        else:
            service.say_by(executor, call.message.data)
        return Answer(status=_ACCEPTED)

    return {EXECUTOR_PATH: Route(answer, ("POST",))}


def check_token(executor: Executor, tokens: Tokens | None, request: Request) -> None:
    """Refuse who does not prove to be the executor; raises `CallRefused` (403)."""
    if tokens is None:
        return
    if tokens.container(request.headers.get("authorization")) != executor.container.id:
        raise CallRefused(FORBIDDEN, "the token is not that of the executor's container")


def check_accept(request: Request) -> None:
    """Refuse a stream that its reader could not read; raises `CallRefused` (406)."""
    accept = request.headers.get("accept")
    if not accepts_json(accept):
        raise CallRefused(NOT_ACCEPTABLE, f"Accept {cut(accept or '')}: events are JSON alone")
