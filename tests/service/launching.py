"""What tests of agents have in common: tasks that a framework launches, and what it hears."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.service.serving import PATIENCE_SECONDS, FrameworkClient, Json


def task(id: str, command: str | Json, agent_id: Json, **more: Any) -> Json:
    """Return a task that takes a tenth of a processor."""
    cpus = {"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.1}}
    return {
        "name": id,
        "task_id": {"value": id},
        "agent_id": agent_id,
        "resources": [cpus],
        "command": {"value": command} if isinstance(command, str) else command,
        **more,
    }


def next_offer(framework: FrameworkClient) -> Json:
    """Return the next offer."""
    return framework.wait("OFFERS")["offers"]["offers"][0]  # type: ignore[no-any-return]


def open_offer(framework: FrameworkClient) -> Json:
    """Return an offer that is open, also one that came while something else was waited for."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        gone = {each["rescind"]["offer_id"]["value"] for each in framework.of("RESCIND")}
        for offer in [o for each in framework.of("OFFERS") for o in each["offers"]["offers"]]:
            if offer["id"]["value"] not in gone | framework.answered:
                return offer  # type: ignore[no-any-return]
        assert time.monotonic() < deadline, "no such offer comes"
        framework.next()


def accept(framework: FrameworkClient, offer: Json, *operations: Json) -> None:
    """Accept an offer, and what is left of it back at once."""
    framework.answered.add(offer["id"]["value"])
    given = {"offer_ids": [offer["id"]], "filters": {"refuse_seconds": 0}}
    r = framework.send("ACCEPT", operations=list(operations), **given)
    assert r.status_code == 202, r.text


def launch(framework: FrameworkClient, offer: Json, *tasks: Json) -> None:
    """Launch tasks."""
    accept(framework, offer, {"type": "LAUNCH", "launch": {"task_infos": list(tasks)}})


def run(framework: FrameworkClient, **commands: str) -> Json:
    """Launch tasks of some ids and commands on the next offer, which is returned."""
    offer = next_offer(framework)
    launch(framework, offer, *(task(id, each, offer["agent_id"]) for id, each in commands.items()))
    return offer


def next_status(
    framework: FrameworkClient, holds: Callable[[Json], bool] = lambda status: True
) -> Json:
    """Return the next status of which something holds; all up to it are acknowledged.

    That a task is about to run is passed over.
    """
    while True:
        status: Json = framework.wait("UPDATE")["update"]["status"]
        if "uuid" in status:
            acknowledged = {name: status[name] for name in ("agent_id", "task_id", "uuid")}
            assert framework.send("ACKNOWLEDGE", **acknowledged).status_code == 202
        if status["state"] != "TASK_STARTING" and holds(status):
            return status


def next_states(framework: FrameworkClient, n: int) -> dict[str, list[str]]:
    """Return the states of so many statuses by task, each acknowledged."""
    states: dict[str, list[str]] = {}
    for _ in range(n):
        status = next_status(framework)
        states.setdefault(status["task_id"]["value"], []).append(status["state"])
    return states
