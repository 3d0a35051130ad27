"""From the body of a request to a typed call, or to the refusal that its sender is told.

A call is `{"type": T, "<t>": {…}}`, T in capitals, t the same in lower case. Unknown fields are
ignored, null stands for a field that is not there, numbers may be text, and a byte order mark is
skipped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from allocator.wire._nesting import depth_of
from allocator.wire.refusal import BAD_REQUEST, NOT_IMPLEMENTED, UNSUPPORTED_MEDIA_TYPE, CallRefused
from allocator.wire.shapes import check_shape

#: Arrays and objects within one another; more are refused.
MAX_DEPTH: Final = 100

#: So much of a caller's text is repeated to it.
MAX_ECHO: Final = 200

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

Call = TypeVar("Call", bound=msgspec.Struct)
Value = TypeVar("Value")


class _Typed(msgspec.Struct):
    """What all calls have in common."""

    type: Any = None


_TYPED: Final = msgspec.json.Decoder(_Typed)


def check_content_type(value: str | None) -> None:
    """Refuse a body that does not call itself JSON (400 if it does not say, else 415)."""
    if value is None or not value.strip():
        raise CallRefused(BAD_REQUEST, "the request has no Content-Type; it is application/json")
    if value.partition(";")[0].strip().lower() != "application/json":
        raise CallRefused(
            UNSUPPORTED_MEDIA_TYPE, f"Content-Type {cut(value)} is not application/json"
        )


def accepts_json(value: str | None) -> bool:
    """Tell whether an Accept header admits application/json; an absent one admits anything."""
    if value is None or not value.strip():
        return True
    return any(_admits_json(part) for part in value.split(","))


def _admits_json(part: str) -> bool:
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    if media not in ("*/*", "application/*", "application/json"):
        return False
    qualities = [text[2:] for text in parameters if text.startswith("q=")]
    try:
        return not qualities or float(qualities[0]) > 0
    except ValueError:
        return True


def read_type(body: bytes) -> tuple[bytes, str]:
    """Return a body without its byte order mark, and the type of the call in it.

    Raises
    ------
    CallRefused
        400: empty, no JSON object, nested too deeply, or `type` is missing or no text.
    """
    body = _checked(body)
    try:
        type = _TYPED.decode(body).type
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CallRefused(BAD_REQUEST, f"the body cannot be read: {cut(str(error))}") from None
    if not isinstance(type, str):
        raise CallRefused(BAD_REQUEST, "the call has no type, which is text")
    return body, type


def _checked(body: bytes) -> bytes:
    """Return a body without its byte order mark; raises `CallRefused` (400)."""
    body = body.removeprefix(_BYTE_ORDER_MARK)
    if not body.strip():
        raise CallRefused(BAD_REQUEST, "the request has no body; it is JSON")
    if depth_of(body) > MAX_DEPTH:
        raise CallRefused(BAD_REQUEST, f"the body is nested deeper than {MAX_DEPTH}")
    return body


def read_value(body: bytes, decoder: msgspec.json.Decoder[Value]) -> Value:
    """Return what a body that is no call says; raises `CallRefused` (400)."""
    try:
        return decoder.decode(_checked(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CallRefused(BAD_REQUEST, f"the body cannot be read: {cut(str(error))}") from None


def read_call(body: bytes, calls: Mapping[str, msgspec.json.Decoder[Call]]) -> tuple[str, Call]:
    """Return the type and the content of a call.

    Parameters
    ----------
    body : bytes
        UTF-8.
    calls : mapping
        Type → decoder of the whole body.

    Raises
    ------
    CallRefused
        As `read_type`; 501 where no call has this type; 400 where a field is missing or of another
        JSON type than it should be.
    """
    body, type = read_type(body)
    decoder = calls.get(type)
    if decoder is None:
        raise CallRefused(NOT_IMPLEMENTED, f"there is no call {cut(type)}")
    try:
        call = decoder.decode(body)
        check_shape(type, body)
        return type, call
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CallRefused(BAD_REQUEST, f"{type}: {cut(str(error))}") from None


def encode(value: object) -> bytes:
    """Return compact JSON on one line, in ASCII."""
    text = _ENCODER.encode(value)
    if text.isascii():
        return text
    return json.dumps(msgspec.json.decode(text), separators=(",", ":")).encode("ascii")


_ENCODER: Final = msgspec.json.Encoder()


def cut(text: str) -> str:
    """Return a caller's text as it is repeated to it: on one line, and not too long."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_ECHO else line[: MAX_ECHO - 1] + "…"
