"""`/containers` and `/monitor/statistics`: what runs, and what it uses, from one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from allocator.agent.instructions import Container
from allocator.agent.server import Answer, Query, Request, Route, Routes, json_answer
from allocator.agent.service import Service
from allocator.wire.refusal import BAD_REQUEST, CallRefused

Json = dict[str, Any]

#: Those of `/containers` that `/monitor/statistics` has, too.
_OF_STATISTICS = ("executor_id", "executor_name", "framework_id", "source", "statistics")


def routes(service: Service) -> Routes:
    """Return what answers each path."""

    def containers(request: Request) -> Answer:
        chosen = choose(service.containers.values(), request.query)
        return json_answer(list(rows(service, chosen)), request.query)

    def statistics(request: Request) -> Answer:
        found = rows(service, service.containers.values())
        kept = [{name: row[name] for name in _OF_STATISTICS} for row in found if _has_both(row)]
        return json_answer(kept, request.query)

    return {"/containers": Route(containers), "/monitor/statistics": Route(statistics)}


def _has_both(row: Json) -> bool:
    return "statistics" in row


def choose(containers: Iterable[Container], query: Query) -> list[Container]:
    """Return the containers that the parameters of `/containers` ask for.

    Raises
    ------
    CallRefused
        400: they do not go together.
    """
    given = [name for name in ("container_id", "framework_id", "executor_id") if name in query]
    if "container_id" in given and len(given) > 1:
        raise CallRefused(BAD_REQUEST, f"container_id goes without {' and '.join(given[1:])}")
    if given == ["executor_id"]:
        raise CallRefused(BAD_REQUEST, "executor_id goes with framework_id")
    fields = {"container_id": "id"}
    return [
        each
        for each in containers
        if all(query[name] == getattr(each, fields.get(name, name)) != "" for name in given)
    ]


def rows(service: Service, containers: Iterable[Container]) -> Iterator[Json]:
    """Yield what is shown of each container; without what cannot be read of it."""
    chosen = list(containers)
    statistics = service.runtime.statistics([each.id for each in chosen])
    for each in chosen:
        row: Json = {
            "container_id": each.id,
            "executor_id": each.executor_id,
            "executor_name": each.executor_name,
            "framework_id": each.framework_id,
            "source": each.source,
        }
        pid = service.runtime.pid(each.id)
        if pid is not None:
            row["status"] = {
                "container_id": {"value": each.id},
                "network_infos": [],
                "executor_pid": pid,
            }
        if each.id in statistics:
            row["statistics"] = {**statistics[each.id], **service.watch.statistics(each)}
        yield row
