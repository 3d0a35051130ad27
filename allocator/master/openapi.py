"""What the master answers, as an OpenAPI 3.1 document; calls come out of their types."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec

from allocator.version import dotted_version
from allocator.wire import messages as m

Json = dict[str, Any]


class Reading(NamedTuple):
    """A path that is read."""

    path: str
    summary: str
    #: Name → what it is, of what may stand in the query.
    parameters: Mapping[str, str] = {}
    media_type: str = "application/json"


_JSONP: Final = {"jsonp": "answer in JavaScript: a call of a function of this name"}

_WEIGHTS: Final = Reading("/weights", "The weights that were set.", _JSONP)

READINGS: Final = (
    Reading("/state", "All agents, frameworks and tasks.", _JSONP),
    Reading("/state-summary", "Agents and frameworks with counts of tasks.", _JSONP),
    Reading("/slaves", "The agents.", {"slave_id": "only this one", **_JSONP}),
    Reading("/frameworks", "The frameworks.", {"framework_id": "only this one", **_JSONP}),
    Reading(
        "/tasks",
        "The tasks, the latest first.",
        {
            "limit": "how many; -1 for all",
            "offset": "how many are passed over",
            "order": "desc or asc, by the time of the first status",
            "framework_id": "only of this framework",
            "task_id": "only this one",
            **_JSONP,
        },
    ),
    Reading("/roles", "The roles with weights, quotas and what they have.", _JSONP),
    _WEIGHTS,
    Reading("/quota", "The quotas that were set.", _JSONP),
    Reading("/metrics/snapshot", "The metrics, flat.", _JSONP),
    Reading("/metrics", "The metrics for Prometheus.", media_type="text/plain"),
    Reading("/version", "Version and build.", _JSONP),
)

#: How each request may be refused; 401 and 403 only with credentials, 503 while none leads.
_REFUSALS: Final = {
    400: "The request cannot be read, or what it asks for is refused.",
    401: "It does not prove who sends it.",
    403: "Who sends it may not do this.",
    404: "There is no such thing.",
    405: "The path does not have this method.",
    413: "The body is larger than 8 MB.",
    415: "The body is not application/json.",
    431: "The head is larger than 64 KB.",
    503: "No master leads, or too many streams are open.",
}


@cache
def document() -> Json:
    """Return the document. O(size) once."""
    components: Json = {}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "allocator master",
            "version": dotted_version(),
            "description": "Mesos' v1 scheduler and operator APIs in JSON, and what is read.",
        },
        "paths": {
            **{reading.path: {"get": _get(reading)} for reading in READINGS},
            "/health": {"get": _operation("200 while the master runs.", {200: {}})},
            _WEIGHTS.path: {"get": _get(_WEIGHTS), "put": _put_weights(components)},
            "/api/v1/scheduler": {
                "post": _post("A framework's call.", m.SCHEDULER_CALLS, components)
            },
            "/api/v1": {"post": _post("An operator's call.", m.OPERATOR_CALLS, components)},
            "/api/v1/agents": {"post": _post("A call of agents.", m.AGENT_CALLS, components)},
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
        },
        "security": [{}, {"basic": []}],
    }


def _operation(summary: str, answers: Mapping[int, Json], **more: Any) -> Json:
    refusals = {
        str(status): {"description": text, "content": {"text/plain": {}}}
        for status, text in _REFUSALS.items()
    }
    texts = {200: "Done.", 202: "Taken in.", 304: "As the ETag says.", 307: "Another master leads."}
    told = {
        str(status): {"description": texts[status], **({"content": content} if content else {})}
        for status, content in {**answers, 307: {}}.items()
    }
    return {"summary": summary, "responses": {**refusals, **told}, **more}


def _get(reading: Reading) -> Json:
    content: Json = {reading.media_type: {}}
    if "jsonp" in reading.parameters:
        content["text/javascript"] = {}
    parameters = [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in reading.parameters.items()
    ]
    return _operation(reading.summary, {200: content, 304: {}}, parameters=parameters)


def _put_weights(components: Json) -> Json:
    schema = _schema(list[m.WeightInfo], components)
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return _operation("Set weights, all or none.", {200: {}}, requestBody=body)


def _post(summary: str, calls: Mapping[str, msgspec.json.Decoder[Any]], components: Json) -> Json:
    """Return a path's calls: an object of one of the types, each with its own content."""
    schemas = []
    for type, decoder in calls.items():
        schema = _schema(decoder.type, components)
        schemas.append({"allOf": [schema, {"properties": {"type": {"const": type}}}]})
    body = {"required": True, "content": {"application/json": {"schema": {"oneOf": schemas}}}}
    operation = _operation(summary, {200: {"application/json": {}}, 202: {}}, requestBody=body)
    operation["responses"] |= {
        "406": {"description": "The stream is application/json.", "content": {"text/plain": {}}},
        "409": {"description": "What is asked for is not there.", "content": {"text/plain": {}}},
        "501": {"description": "There is no such call.", "content": {"text/plain": {}}},
    }
    return operation


def _schema(type: Any, components: Json) -> Json:
    """Return the schema of a type; those of what it consists of go into the components."""
    (schema,), parts = msgspec.json.schema_components(
        [type], ref_template="#/components/schemas/{name}"
    )
    components.update(parts)
    return schema
