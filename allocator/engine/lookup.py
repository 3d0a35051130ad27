"""Finding by id what a call is about, or refusing the call."""

from __future__ import annotations

from collections.abc import Iterable

from allocator.engine._records import Agent, Framework, Subscription
from allocator.engine._state import Expected, State
from allocator.engine.inputs import read_roles
from allocator.errors import UnknownAgent, UnknownFramework, UnknownRole, shown
from allocator.roles import validate_role


def agent_of(state: State, id: str) -> Agent:
    """Return an agent; raises `UnknownAgent`. O(1)."""
    try:
        return state.agents[id]
    except (KeyError, TypeError):
        raise UnknownAgent(f"there is no agent {shown(id)}") from None


def framework_of(state: State, id: str) -> Framework:
    """Return a framework; raises `UnknownFramework`. O(1)."""
    try:
        return state.frameworks[id]
    except (KeyError, TypeError):
        raise UnknownFramework(f"there is no framework {shown(id)}") from None


def leaf_of(state: State, framework: str, role: str) -> Subscription:
    """Return the leaf of a framework in a role to which it is subscribed or holds something there.

    Raises
    ------
    UnknownFramework, InvalidRole
    UnknownRole
        It neither is nor does. O(1).
    """
    # A role that a framework has is well-formed; to find that out anew takes longer than all else.
    subscriptions = framework_of(state, framework).subscriptions
    leaf = subscriptions.get(role) if isinstance(role, str) else None
    if leaf is None:
        validate_role(role)
        raise UnknownRole(f"framework {shown(framework)} is not subscribed to role {shown(role)}")
    return leaf


def leaves_of(state: State, framework: str, roles: Iterable[str] | None) -> list[Subscription]:
    """Return the leaves of the roles to which a framework is subscribed, or of these of them.

    Raises
    ------
    UnknownFramework, InvalidValue, InvalidRole
    UnknownRole
        It is not subscribed to one of them. O(roles).
    """
    found = framework_of(state, framework)
    wanted = found.roles if roles is None else read_roles(roles)
    for role in wanted:
        if role not in found.roles:
            raise UnknownRole(
                f"framework {shown(framework)} is not subscribed to role {shown(role)}"
            )
    return [found.subscriptions[role] for role in wanted]


def user_of(state: State, framework: str, role: str) -> Subscription | Expected:
    """Return whose use is meant, perhaps a framework's that was not added yet.

    Raises
    ------
    UnknownFramework, InvalidRole
    UnknownRole
        It uses nothing there. O(1), or the agents of one that was not added yet.
    """
    if not (isinstance(framework, str) and framework in state.expected):
        return leaf_of(state, framework, role)
    if not state.expects_in(framework, validate_role(role)):
        raise UnknownRole(f"framework {shown(framework)} uses nothing in role {shown(role)}")
    return Expected(framework, role)


def holders_on(state: State, agent: str) -> set[str]:
    """Return the active frameworks that hold something on an agent. O(holdings there)."""
    leaves = (held.subscription for held in state.holdings_on(state.agents[agent]))
    return {leaf.framework.id for leaf in leaves if leaf.framework.active}
