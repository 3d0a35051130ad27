"""Snapshots: the whole state as JSON, and back.

A snapshot has what decides anything from now on, and nothing else: no statistics, no marks of what
a cycle may leave out (a restored engine looks at everything once). It lists everything by id, and
times as time remaining, so that equal states have equal snapshots.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from allocator.engine.agents import Agent
from allocator.engine.constraints import constraints_to_json, read_constraints
from allocator.engine.frameworks import Framework, Minimum
from allocator.engine.inputs import read_minimum
from allocator.engine.roles import Quota
from allocator.engine.state import State
from allocator.resources import Quantities, Resources, read_limits
from allocator.resources.fixed import write_milli

Json: TypeAlias = dict[str, Any]

#: Grows when the format changes in a way that an older reader would misread.
VERSION = 1


def state_to_json(state: State, now: float) -> Json:
    """Return a state as JSON. O(size of the state × log)."""
    return {
        "agents": {id: _agent(agent) for id, agent in sorted(state.agents.items())},
        "frameworks": {id: _framework(f) for id, f in sorted(state.frameworks.items())},
        "roles": {
            path: {
                "weight": node.weight,
                "guarantee": _amounts(node.quota.guarantee),
                "limit": _amounts(node.quota.limit),
                "times_allocated": node.sorter.times_allocated(),
            }
            for path, node in sorted(state.tree.nodes.items())
        },
        "times_allocated": state.tree.sorter.times_allocated(),
        "filters": [
            {
                "framework": held.subscription.framework.id,
                "role": held.subscription.node.path,
                "agent": held.agent.id,
                "resources": str(held.resources),
                "seconds": held.end - now,
            }
            for held in sorted(
                state.filters.held(),
                key=lambda held: (
                    held.subscription.framework.id,
                    held.subscription.node.path,
                    held.agent.id,
                    held.end,
                    str(held.resources),
                ),
            )
            if held.end > now
        ],
        "offers_made": state.n_offers_made,
    }


def _agent(agent: Agent) -> Json:
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
                    "framework": leaf.framework.id,
                    "role": leaf.node.path,
                    "allocated": str(holding.allocated),
                    "offers": {id: str(left) for id, left in holding.offers.items()},
                }
                for leaf, holding in agent.holdings.items()
            ),
            key=lambda holding: (holding["framework"], holding["role"]),
        ),
        "expected": {
            framework: {role: str(used) for role, used in sorted(by_role.items())}
            for framework, by_role in sorted(agent.pending.items())
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
    }


def minimum_to_json(minimum: Minimum | Mapping[str, Minimum] | None) -> Any:
    """Return what `read_minimum` reads back."""
    if minimum is None:
        return None
    if isinstance(minimum, tuple):
        return [str(amounts) for amounts in minimum]
    return {role: [str(amounts) for amounts in own] for role, own in sorted(minimum.items())}


def _amounts(milli: Mapping[str, int]) -> dict[str, str]:
    return {name: write_milli(amount) for name, amount in sorted(milli.items())}


def restore_state(state: State, body: Mapping[str, Any], now: float) -> None:
    """Fill an empty state with what `state_to_json` wrote. O(size of the state)."""
    for path, role in body["roles"].items():
        guarantee = Quantities(role["guarantee"]).milli
        limit = read_limits(role["limit"])
        if guarantee or limit:
            state.tree.set_quota(path, Quota(guarantee, limit))
        state.tree.set_weight(path, role["weight"])
    for id, agent in body["agents"].items():
        state.add_agent(_restored_agent(id, agent))
    for id, framework in body["frameworks"].items():
        _restore_framework(state, id, framework)
    for id, agent in body["agents"].items():
        _restore_holdings(state, state.agents[id], agent)
    for held in body["filters"]:
        leaf = state.frameworks[held["framework"]].subscriptions[held["role"]]
        agent = state.agents[held["agent"]]
        state.filters.add(leaf, agent, Resources(held["resources"]), now + held["seconds"])
    for path, role in body["roles"].items():
        state.tree.nodes[path].sorter.set_times_allocated(role["times_allocated"])
    state.tree.sorter.set_times_allocated(body["times_allocated"])
    state.n_offers_made = body["offers_made"]


def _restored_agent(id: str, body: Json) -> Agent:
    agent = Agent(
        id,
        Resources(body["resources"]),
        hostname=body["hostname"],
        attributes=dict(body["attributes"]),
        capabilities=frozenset(body["capabilities"]),
        region=body["region"],
        zone=body["zone"],
    )
    agent.active = body["active"]
    return agent


def _restore_framework(state: State, id: str, body: Json) -> None:
    framework = Framework(
        id,
        active=body["active"],
        capabilities=frozenset(body["capabilities"]),
        minimum=read_minimum(body["min_allocatable"]),
        constraints=read_constraints(body["constraints"]),
    )
    state.frameworks[id] = framework
    state.subscribe(framework, body["roles"], body["suppressed"])


def _restore_holdings(state: State, agent: Agent, body: Json) -> None:
    """Hold again what was held, which may be more than the agent has now (A1)."""
    for held in body["holdings"]:
        leaf = state.subscription(state.frameworks[held["framework"]], held["role"])
        allocated = Resources(held["allocated"])
        offers = {offer: Resources(left) for offer, left in held["offers"].items()}
        if allocated:
            state.hold(leaf, agent, allocated, offered=False, taken=False)
            agent.allocated += allocated
        for offer, left in offers.items():
            holding = state.hold(leaf, agent, left, offered=True, taken=False)
            holding.offers[offer] = left
            state.open_offers[offer] = (leaf, agent)
            agent.offered += left
    for framework, by_role in body["expected"].items():
        for role, used in by_role.items():
            resources = Resources(used)
            agent.pending.setdefault(framework, {})[role] = resources
            state.expected.setdefault(framework, {})[agent.id] = agent
            agent.allocated += resources
    agent.refresh()
