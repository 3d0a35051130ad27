"""Snapshots: the whole state as JSON, and back.

A snapshot has what decides anything from now on, and for how long each last answer refused, which
explaining goes by; no statistics, no marks of what a cycle may leave out (a restored engine looks
at everything once). It lists everything by id, and times as time remaining, so that equal states
have equal snapshots.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeAlias

from allocator.engine._records import Agent, Framework
from allocator.engine._state import State
from allocator.engine.constraints import constraints_to_json, read_constraints
from allocator.engine.frameworks import minimum_to_json
from allocator.engine.inputs import (
    AGENT_CAPABILITIES,
    FRAMEWORK_CAPABILITIES,
    read_attributes,
    read_capabilities,
    read_count,
    read_flag,
    read_id,
    read_minimum,
    read_name,
    read_number,
    read_roles,
    read_suppressed,
    read_weight,
    read_whitelist,
)
from allocator.engine.quota import Quota, check_quota
from allocator.errors import AllocatorError, SnapshotError, shown
from allocator.resources import Quantities, Resources, read_limits
from allocator.resources.fixed import write_milli
from allocator.roles import validate_role

Json: TypeAlias = dict[str, Any]

#: Grows when the format changes in a way that an older reader would misread.
VERSION = 2
#: What reading a snapshot raises that is not as `Allocator.snapshot` writes it.
_MALFORMED = (
    AllocatorError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)


@contextmanager
def reading(snapshot: object) -> Iterator[None]:
    """Raise `SnapshotError` for a snapshot that cannot be read, or for what its reading raises."""
    version = snapshot.get("version") if isinstance(snapshot, Mapping) else None
    if not isinstance(version, int) or version != VERSION:
        raise SnapshotError(f"a snapshot of version {shown(version)}; this release reads {VERSION}")
    try:
        yield
    except _MALFORMED as error:
        raise SnapshotError(f"malformed snapshot: {shown(error)}") from error


def state_to_json(state: State, now: float) -> Json:
    """Return a state as JSON. O(size of the state × log)."""
    return {
        "agents": {id: _agent(state, agent) for id, agent in sorted(state.agents.items())},
        "frameworks": {id: _framework(f) for id, f in sorted(state.frameworks.items())},
        "roles": {
            path: {
                "weight": node.weight,
                "guarantee": _amounts(node.quota.guarantee),
                "limit": _amounts(node.quota.limit),
                "times_allocated": node.sorter.times_allocated(),
            }
            for path, node in sorted(state.tree.roles.items())
        },
        "times_allocated": state.tree.sorter.times_allocated(),
        "filters": _filters(state, now),
        "offer_ends": _offer_ends(state, now),
        "offers_made": state.n_offers_made,
        "whitelist": None if state.whitelist is None else sorted(state.whitelist),
    }


def _filters(state: State, now: float) -> list[Json]:
    """Return all filters, those together that refuse the same until the same time.

    There may be millions, so that agents, frameworks and roles go by their places: that of an id
    among all in their order, that of a role among its framework's.
    """
    agent_place = {id: place for place, id in enumerate(sorted(state.agents))}
    leaf_place = {
        framework.subscriptions[role]: (place, role_place)
        for place, (_, framework) in enumerate(sorted(state.frameworks.items()))
        for role_place, role in enumerate(framework.roles)
    }
    groups: dict[tuple[float, str], dict[tuple[int, int], list[int]]] = {}
    for leaf, agent, refused, end in state.held_filters():
        if end > now:
            by_leaf = groups.setdefault((end - now, str(refused)), {})
            by_leaf.setdefault(leaf_place[leaf], []).append(agent_place[agent.id])
    return [
        {
            "seconds": seconds,
            "resources": refused,
            "held": [[*leaf, sorted(agents)] for leaf, agents in sorted(by_leaf.items())],
        }
        for (seconds, refused), by_leaf in sorted(groups.items(), key=itemgetter(0))
    ]


def _offer_ends(state: State, now: float) -> list[Json]:
    """Return which open offers are to be rescinded when, the first first; not those that stay."""
    ending = (found for found in state.open_offers() if found[1] < math.inf)
    return [
        {"seconds": end - now, "offers": [id for id, _ in together]}
        for end, together in groupby(ending, key=itemgetter(1))
    ]


def _agent(state: State, agent: Agent) -> Json:
    return {
        "resources": str(agent.total),
        "hostname": agent.hostname,
        "attributes": dict(agent.attributes),
        "capabilities": sorted(agent.capabilities),
        "region": agent.region,
        "zone": agent.zone,
        "active": agent.active,
        "holdings": sorted(
            (
                {
                    "framework": held.subscription.framework.id,
                    "role": held.subscription.node.path,
                    "allocated": str(held.allocated),
                    "offers": {id: str(left) for id, left in held.offers.items()},
                }
                for held in state.holdings_on(agent)
            ),
            key=lambda holding: (holding["framework"], holding["role"]),
        ),
        "expected": {
            framework: {role: str(used) for role, used in sorted(by_role.items())}
            for framework, by_role in sorted((agent.pending or {}).items())
        },
    }


def _framework(framework: Framework) -> Json:
    return {
        "roles": list(framework.roles),
        "active": framework.active,
        "suppressed": sorted(
            role for role, leaf in framework.subscriptions.items() if leaf.suppressed
        ),
        "capabilities": sorted(framework.capabilities),
        "min_allocatable": minimum_to_json(framework.minimum),
        "constraints": constraints_to_json(framework.constraints),
        # Decides nothing; explaining goes by it.
        "refusals": {
            role: None if math.isinf(leaf.refusal) else leaf.refusal
            for role, leaf in sorted(framework.subscriptions.items())
            if not math.isnan(leaf.refusal)
        },
    }


def _amounts(milli: Mapping[str, int]) -> dict[str, str]:
    return {name: write_milli(amount) for name, amount in sorted(milli.items())}


def restore_state(state: State, body: Mapping[str, Any], now: float) -> None:
    """Fill an empty state with what `state_to_json` wrote. O(size of the state).

    Raises
    ------
    AllocatorError, LookupError, TypeError, ValueError, AttributeError
        If it is malformed; the state is then good for nothing.
    """
    # Parents first: a child's guarantee is checked against what stands above it.
    for path in sorted(body["roles"], key=lambda path: path.count("/")):
        _restore_policy(state, validate_role(path), body["roles"][path])
    for id, agent in body["agents"].items():
        _restore_agent(state, id, agent)
    state.publish_totals()
    for id, framework in body["frameworks"].items():
        _restore_framework(state, id, framework)
    for id, agent in body["agents"].items():
        _restore_use(state, state.agents[id], agent)
    _restore_offers(state, body, now)
    for agent in state.agents.values():
        state.refresh_agent(agent)
    for id, framework in body["frameworks"].items():
        _restore_refusals(state, state.frameworks[id], framework)
    _restore_filters(state, body["filters"], now)
    state.set_whitelist(read_whitelist(body["whitelist"]))
    for path, role in body["roles"].items():
        state.tree.nodes[path].sorter.set_times_allocated(role["times_allocated"])
    state.tree.set_times_allocated(body["times_allocated"])
    state.restore_offers_made(read_count("offers_made", body["offers_made"]))
    if state.last_open_offer() > state.n_offers_made:
        raise SnapshotError(
            f"offer 'O{state.last_open_offer()}' is not one of {state.n_offers_made} made"
        )


def _restore_policy(state: State, path: str, body: Json) -> None:
    quota = Quota(Quantities(body["guarantee"]).milli, read_limits(body["limit"]))
    if quota.guarantee or quota.limit:
        check_quota(state.tree, path, quota)
        state.set_quota(path, quota)
    state.set_weight(path, read_weight(path, body["weight"]))


def _restore_agent(state: State, id: str, body: Json) -> None:
    state.restore_agent(
        read_id("agent", id),
        Resources(body["resources"]),
        hostname=read_id("host", body["hostname"]),
        attributes=read_attributes(body["attributes"]),
        capabilities=read_capabilities("agent", body["capabilities"], AGENT_CAPABILITIES),
        region=read_name("region", body["region"]),
        zone=read_name("zone", body["zone"]),
        active=read_flag("active", body["active"]),
    )


def _restore_framework(state: State, id: str, body: Json) -> None:
    framework = Framework(
        read_id("framework", id),
        active=read_flag("active", body["active"]),
        capabilities=read_capabilities("framework", body["capabilities"], FRAMEWORK_CAPABILITIES),
        minimum=read_minimum(body["min_allocatable"]),
        constraints=read_constraints(body["constraints"]),
    )
    roles = read_roles(body["roles"])
    state.add_framework(framework, roles, read_suppressed(id, body["suppressed"], roles))


def _restore_refusals(state: State, framework: Framework, body: Json) -> None:
    """Note what the last answers were."""
    for role, seconds in body["refusals"].items():
        life = -math.inf
        if seconds is not None:
            life = read_number("a refusal's time", seconds, least=0, open_end=True)
        state.restore_refusal(framework.subscriptions[role], life)


def _restore_use(state: State, agent: Agent, body: Json) -> None:
    """Hold again what was in use, which may be more than the agent has now (A1)."""
    for held in body["holdings"]:
        framework, role = state.frameworks[held["framework"]], validate_role(held["role"])
        allocated = Resources(held["allocated"])
        if allocated:
            state.restore_use(framework.id, role, agent, allocated)
        if not (allocated or held["offers"]):
            raise SnapshotError(
                f"agent {shown(agent.id)}: a holding of nothing by {shown(framework.id)}"
            )
    for framework_id, by_role in body["expected"].items():
        for role, used in by_role.items():
            resources = Resources(used)
            if framework_id in state.frameworks or not resources:
                raise SnapshotError(
                    f"framework {shown(framework_id)} is there already, or uses nothing"
                )
            state.restore_use(
                read_id("framework", framework_id), validate_role(role), agent, resources
            )


def _restore_offers(state: State, body: Mapping[str, Any], now: float) -> None:
    """Open again what was open, in the order in which it was made."""
    ends = {id: now + _seconds_left(end) for end in body["offer_ends"] for id in end["offers"]}
    found = [
        (state.offer_number(id), id, held, agent, left)
        for agent, described in body["agents"].items()
        for held in described["holdings"]
        for id, left in held["offers"].items()
    ]
    timed = body["options"]["offer_timeout"] is not None
    if ends.keys() != ({id for _, id, *_ in found} if timed else set()):
        raise SnapshotError("offer_ends are not of the offers that are open")
    for _, id, held, agent, left in sorted(found, key=itemgetter(0)):
        framework, role = state.frameworks[held["framework"]], validate_role(held["role"])
        end = ends.get(id, math.inf)
        state.restore_offer(framework, role, state.agents[agent], id, Resources(left), end)


def _restore_filters(state: State, groups: list[Json], now: float) -> None:
    """Refuse again what was refused."""
    agents = [agent for _, agent in sorted(state.agents.items())]
    frameworks = [framework for _, framework in sorted(state.frameworks.items())]
    for group in groups:
        refused = Resources(group["resources"])
        end = now + read_number("a filter's time", group["seconds"], least=0, open_end=True)
        for framework_place, role_place, agent_places in group["held"]:
            framework = frameworks[read_count("a framework's place", framework_place)]
            role = framework.roles[read_count("a role's place", role_place)]
            for place in agent_places:
                agent = agents[read_count("an agent's place", place)]
                state.add_filter(framework.subscriptions[role], agent, refused, end)


def _seconds_left(end: Json) -> float:
    return read_number("the time to the end of an offer", end["seconds"], least=-math.inf)
