"""What the policy wants done; the server carries it out, in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

Json: TypeAlias = dict[str, Any]


class Send(NamedTuple):
    """Send a record into a stream: of a framework, or of an agents' process."""

    stream_id: str
    record: Json


class EndStream(NamedTuple):
    """End a stream, once what was sent before is out."""

    stream_id: str


class Publish(NamedTuple):
    """Send an event to those who subscribed to the operator API."""

    event: Json


class Persist(NamedTuple):
    """Write a row of a table of the registry, or with None take it out, before answering."""

    table: str
    key: str
    value: Mapping[str, Any] | None


Instruction: TypeAlias = Send | EndStream | Publish | Persist
