"""What is in use already, as agents and frameworks say when they come (contract §5.5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from allocator.contract import Used, UsedLike
from allocator.engine.inputs import read_id
from allocator.engine.many import Each, check_length, read_each
from allocator.errors import InvalidValue, ResourceError, cut, shown
from allocator.resources import EMPTY, Resources
from allocator.roles import validate_role

if TYPE_CHECKING:
    from allocator.engine._records import Agent


class Users(NamedTuple):
    """Who uses what of the agents that come by one call: lists of one length."""

    #: The place of the agent among those of the call.
    owners: list[int]
    frameworks: list[str]
    roles: list[str]
    #: What each of them uses.
    resources: Each


def read_used(what: str, used: Used | None) -> list[tuple[str, str, Resources]]:
    """Return (framework or agent, role, resources) of what is in use; empty amounts vanish."""
    if used is None:
        return []
    if not isinstance(used, Mapping):
        raise InvalidValue(f"used is a mapping of {what} to role to resources, not {shown(used)}")
    found = []
    for id, by_role in used.items():
        id = read_id(what, id)
        if not isinstance(by_role, Mapping):
            raise InvalidValue(f"used: {shown(id)} maps roles to resources, not {shown(by_role)}")
        for role, given in by_role.items():
            resources = Resources(given)
            role = validate_role(role)
            if resources:
                found.append((id, role, resources))
    return found


def read_users(used: Used | None) -> Users | None:
    """Return who uses what of one agent, None if nothing is used. O(entries)."""
    found = read_used("framework", used)
    if not found:
        return None
    frameworks, roles, resources = map(list, zip(*found, strict=True))
    return Users([0] * len(found), frameworks, roles, resources)


def read_used_by(used: UsedLike | None, n: int) -> Users | None:
    """Return who uses what of each of n agents, None if nothing is used.

    Raises
    ------
    InvalidValue, InvalidRole, ResourceError
        O(n × names).
    """
    if used is None:
        return None
    if not isinstance(used, Mapping) or used.keys() != {"framework", "role", "resources"}:
        raise InvalidValue(f"used says a framework, a role and resources, not {shown(used)}")
    frameworks = _texts("framework", used["framework"], n)
    roles = _texts("role", used["role"], n)
    known = {role: validate_role(role) for role in dict.fromkeys(roles)}
    return Users(
        list(range(n)),
        [read_id("framework", framework) for framework in frameworks],
        [known[role] for role in roles],
        read_each("agents", used["resources"], n),
    )


def beyond_said(
    agents: Mapping[str, Agent], framework: str, used: list[tuple[str, str, Resources]]
) -> list[tuple[Agent, str, Resources]]:
    """Return what a framework uses, as (agent, role, resources), beyond what its agents said.

    Agents that are not there are left out.

    Raises
    ------
    ResourceError
        That is not available. O(entries of `used`).
    """
    more: list[tuple[Agent, str, Resources]] = []
    taken: dict[str, Resources] = {}
    for id, role, resources in used:
        agent = agents.get(id)
        if agent is None:
            continue
        said = (agent.pending or {}).get(framework, {}).get(role, EMPTY)
        unsaid = resources.minus_floor(said)
        if not unsaid:
            continue
        taken[id] = taken.get(id, EMPTY) + unsaid
        if not agent.available >= taken[id]:
            raise ResourceError(
                f"framework {shown(framework)} uses {cut(unsaid)} of agent {shown(id)}, "
                f"which has only {cut(agent.available) or 'nothing'} available"
            )
        more.append((agent, role, unsaid))
    return more


def check_contained(what: str, total: Resources, used: Resources) -> None:
    """Refuse use of more than there is; several may use one copy of a shared entry."""
    single = Resources(entry.replace(copies=1) for entry in used.shared())
    if not total >= used.nonshared() + single:
        raise ResourceError(f"{what}: {cut(used)} of {cut(total)}")


def beyond(total: Resources, in_use: Resources) -> Resources:
    """Return what is in use beyond a total, by entry; a shared one that it has not counts once.

    Raises
    ------
    ResourceError
        They cannot go together: a name is of another type in one, or a shared entry another value.
    """
    kinds = {entry.name: entry.type for entry in total}
    for entry in in_use:
        if kinds.get(entry.name, entry.type) != entry.type:
            raise ResourceError(
                f"{shown(entry.name)} is in use as {entry.type}, not as {kinds[entry.name]}"
            )
    shared = total.shared()
    shared + in_use.shared()  # refuses one that is there with another value
    single = (entry.replace(copies=1) for entry in in_use.shared())
    gone = Resources([entry for entry in single if entry not in shared])
    return in_use.nonshared().minus_floor(total.nonshared()) + gone


def _texts(what: str, given: Any, n: int) -> list[str]:
    """Return n texts, from one for all or from as many."""
    if isinstance(given, str):
        return [given] * n
    if not isinstance(given, Iterable):
        raise InvalidValue(f"used: {shown(given)} is no {what}, nor a sequence of them")
    found = list(given)
    check_length("agents", f"{what}s", found, n)
    return found
