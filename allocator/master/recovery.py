"""What a master knows again after a restart, out of the registry.

The cluster goes on while no master runs: tasks run, agents and frameworks try to come back. So
nothing is taken from anybody here. An agent keeps its id, and what was reserved on it; a framework
its id, and the time in which it may come back. Tasks are in no registry: their agents bring them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from allocator.errors import AllocatorError
from allocator.master.master import Master
from allocator.master.quotas import engine_quotas
from allocator.master.records import Agent, Framework
from allocator.master.registry import Registry, RegistryError
from allocator.master.schedule import Schedule
from allocator.resources import Resources
from allocator.wire.messages import AgentInfo, FrameworkInfo

Json = dict[str, Any]

#: So long a framework may try to come back after a restart, in seconds, if that is no longer than
#: its failover timeout: while no master ran it could not.
RETURN_SECONDS: Final = 10.0


def restore(master: Master, registry: Registry) -> None:
    """Have a new master know what the one before wrote down.

    Offers wait, where there are quotas, until enough agents are back (`Allocator.recover`).

    Raises
    ------
    RegistryError
        Something in the registry cannot be, naming it.
    """
    _restore_policy(master, registry)
    _restore_ids(master.removed_frameworks, registry.load("removed_frameworks"))
    _restore_ids(master.gone_agents, registry.load("gone_agents"))
    rows = registry.load("frameworks")
    for id, row in sorted(rows.items(), key=lambda item: item[1].get("registered_time", 0.0)):
        with _reading("framework", id):
            _restore_framework(master, id, row)
    _restore_agents(master, registry.load("agents"))
    master.take()  # nobody is there yet to be told


def _restore_policy(master: Master, registry: Registry) -> None:
    """Restore weights, quotas and the schedule, and have offers wait for the agents."""
    with _reading("weights", ""):
        master.weights = {role: row["weight"] for role, row in registry.load("weights").items()}
        master.engine.set_weights(master.weights)
    with _reading("quotas", ""):
        master.quotas = registry.load("quotas")
        agents = registry.load("agents").values()
        n_expected = sum(row["unreachable_time"] is None for row in agents)
        master.engine.recover(n_expected, engine_quotas(master.quotas))
    with _reading("maintenance", ""):
        for row in registry.load("maintenance").values():
            master.schedule = Schedule.from_json(row["windows"])


def _restore_ids(ids: dict[str, float], rows: dict[str, Json]) -> None:
    """Restore ids with the time since which they may not come back, the oldest first."""
    with _reading("removed frameworks and agents", ""):
        times = {id: float(row["time"]) for id, row in rows.items()}
        ids.update(sorted(times.items(), key=lambda item: item[1]))


def _restore_framework(master: Master, id: str, row: Json) -> None:
    info = msgspec.convert(row["info"], FrameworkInfo)
    framework = Framework(id, info, tuple(row["roles"]), row["principal"])
    framework.suppressed = frozenset(row["suppressed"])
    framework.constraints = row["constraints"]
    framework.registered_time = row["registered_time"]
    framework.recovered = True
    master.add_framework(framework)
    master.expect_back(framework, _seconds_left(master, framework, row["failover_deadline"]))


def _seconds_left(master: Master, framework: Framework, deadline: float | None) -> float:
    """Return how long a framework may stay away: all of its time if it was connected."""
    if deadline is None:
        return master.time_to_return(framework)
    timeout = framework.failover_timeout
    return min(max(deadline - master.wall(), RETURN_SECONDS), timeout)


def _restore_agents(master: Master, rows: dict[str, Json]) -> None:
    """Restore agents: those that were here are waited for, the others are still unreachable."""
    unreachable = []
    for id, row in rows.items():
        with _reading("agent", id):
            agent = Agent(id, msgspec.convert(row["info"], AgentInfo), Resources(row["resources"]))
            agent.registered_time = row["registered_time"]
            agent.unreachable_time = row["unreachable_time"]
        if agent.unreachable_time is None:
            master.recovered_agents[id] = agent
        else:
            unreachable.append((agent.unreachable_time, id, agent))
    master.unreachable_agents = {id: agent for _, id, agent in sorted(unreachable)}
    master.recovered_until = master.clock() + master.options.agent_reregister_timeout


@contextmanager
def _reading(kind: str, key: str) -> Iterator[None]:
    """Name what cannot be read."""
    try:
        yield
    except (AllocatorError, KeyError, TypeError, msgspec.ValidationError) as error:
        if isinstance(error, RegistryError):
            raise
        named = f"{kind} {key}" if key else kind
        raise RegistryError(f"the registry's {named} cannot be read: {error!r}") from None
