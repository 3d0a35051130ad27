"""Guarantees, limits and headroom (contract §6.2, §6.3, §6.7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from allocator.errors import QuotaError, shown
from allocator.reference.order import amounts_in, gathered
from allocator.reference.state import Amounts, Quota, State
from allocator.resources import Resources
from allocator.resources.fixed import MAX_MILLI
from allocator.roles import ancestry, is_at_or_below, parent_of

#: Role → what counts against its quota, for all roles with one.
Consumption: TypeAlias = Mapping[str, Amounts]

Quotas: TypeAlias = Mapping[str, Quota]


def plain_scalars(resources: Resources) -> Resources:
    """Return what limits and headroom bind: unreserved, non-revocable scalars."""
    return resources.unreserved().nonrevocable().scalars()


def reserved(state: State, role: str) -> Amounts:
    """Return what is reserved to a role and all below it, in use or not."""
    return amounts_in(
        gathered(
            (
                agent.id,
                Resources([e for e in agent.total if e.role and is_at_or_below(e.role, role)]),
            )
            for agent in state.agents.values()
        )
    )


def consumed(state: State, role: str) -> Amounts:
    """Return reservations, allocated or not, plus unreserved, non-revocable scalars held.

    Both of the role and of all below it, also what frameworks that were not added yet use (§5). A
    shared entry is charged once on each agent.
    """
    held = gathered(
        (place.agent, plain_scalars(resources))
        for place, resources in state.uses()
        if is_at_or_below(place.role, role)
    )
    return plus(reserved(state, role), amounts_in(held))


def consumption(state: State) -> Consumption:
    """Return what all roles with a quota consume."""
    return {role: consumed(state, role) for role in state.quotas}


def consumption_with(before: Consumption, role: str, amounts: Amounts) -> Consumption:
    """Return the consumption once `role` consumes `amounts` more."""
    return {
        path: plus(used, amounts) if is_at_or_below(role, path) else used
        for path, used in before.items()
    }


def need(quotas: Quotas, used: Consumption, role: str) -> Amounts:
    """Return the larger, per resource, of the role's own need and its children's together.

    But no more than its limit leaves.
    """
    own = unmet(quotas, used, role)
    below = plus(*(need(quotas, used, child) for child in children(quotas, role)))
    needed = {n: max(own.get(n, 0), below.get(n, 0)) for n in own.keys() | below.keys()}
    left = {name: max(milli, 0) for name, milli in room(quotas, used, role, path=[role]).items()}
    return {name: min(milli, left.get(name, milli)) for name, milli in needed.items()}


def unmet(quotas: Quotas, used: Consumption, role: str) -> Amounts:
    """Return guarantee − consumed of one role, never below zero."""
    if role not in quotas:
        return {}
    return {
        name: max(milli - used[role].get(name, 0), 0)
        for name, milli in quotas[role].guarantee.items()
    }


def children(quotas: Quotas, parent: str | None) -> set[str]:
    """Return the roles one level below that have a quota or lie above one."""
    paths = {ancestor for role in quotas for ancestor in ancestry(role)}
    return {path for path in paths if parent_of(path) == parent}


def required_headroom(quotas: Quotas, used: Consumption) -> Amounts:
    """Return the needs of the top-level roles together."""
    return plus(*(need(quotas, used, role) for role in children(quotas, None)))


def available_headroom(state: State) -> Amounts:
    """Return the unreserved, non-revocable scalars of the candidates less what of them is held.

    Summed with signs: an agent that shrank below what is in use there takes from the others'.
    """
    candidates = state.candidates()
    totals = {id: plain_scalars(state.agents[id].total) for id in candidates}
    held = gathered(
        (place.agent, plain_scalars(r)) for place, r in state.uses() if place.agent in candidates
    )
    return minus(amounts_in(totals), amounts_in(held))


def surplus(state: State, used: Consumption, taken: Amounts) -> Amounts:
    """Return available − required headroom, per resource where something is required.

    `used` is the consumption with `taken` in it, an amount that `state` does not know of yet.
    """
    required = {n: milli for n, milli in required_headroom(state.quotas, used).items() if milli}
    if not required:
        return {}
    available = minus(available_headroom(state), taken)
    return {name: available.get(name, 0) - milli for name, milli in required.items()}


def room(
    quotas: Quotas, used: Consumption, role: str, path: Iterable[str] | None = None
) -> Amounts:
    """Return what every limit on the path still allows, for the names that are limited."""
    return least(
        {name: milli - used[at].get(name, 0) for name, milli in quotas[at].limit.items()}
        for at in (ancestry(role) if path is None else path)
        if at in quotas
    )


def room_beside_needs(quotas: Quotas, used: Consumption, role: str) -> Amounts:
    """Return what every limit on the path leaves beside the needs below it (§6.2, §6.3).

    These are the needs of all subtrees that branch off the path below the role that is limited.
    """
    return least(
        {
            name: left - branching(quotas, used, role, limited).get(name, 0)
            for name, left in room(quotas, used, role, path=[limited]).items()
        }
        for limited in ancestry(role)
    )


def branching(quotas: Quotas, used: Consumption, role: str, above: str) -> Amounts:
    """Return the needs of all subtrees below `above` that branch off the path to `role`.

    Also of those right below `role` itself.
    """
    path = list(ancestry(role))
    return plus(
        *(
            need(quotas, used, child)
            for node in path[: path.index(above) + 1]
            for child in children(quotas, node)
            if child not in path
        )
    )


def serving(quotas: Quotas, used: Consumption, role: str) -> Amounts:
    """Return how much of each resource, given to `role`, serves a guarantee on its path.

    Per resource the largest on the path; a guarantee serves its unmet amount less the needs of all
    subtrees below it that branch off the path (§6.2).
    """
    serves: dict[str, int] = {}
    for guarantor in ancestry(role):
        branches = branching(quotas, used, role, guarantor)
        for name, milli in minus(unmet(quotas, used, guarantor), branches).items():
            serves[name] = max(serves.get(name, 0), milli)
    return serves


def fitting(scalars: Resources, bounds: Amounts, *, unbound: bool) -> Resources:
    """Chop scalars to bounds; names without a bound are taken whole if `unbound`, else left.

    Entries of one name go in the order of their canonical text, in which `Resources` iterates. One
    that cannot be split is taken whole or left out (§6.3).
    """
    left = dict(bounds)
    taken = []
    for entry in scalars:
        assert isinstance(entry.value, int)
        milli = min(entry.value, max(left.get(entry.name, entry.value if unbound else 0), 0))
        if not entry.splittable and milli < entry.value:
            continue
        if entry.name in left:
            left[entry.name] -= milli
        taken.append(entry.replace(value=milli))
    return Resources(taken)


def check_quotas(quotas: Quotas) -> None:
    """Refuse quotas that contradict one another (§6.7).

    Raises
    ------
    QuotaError
        What a subtree is guaranteed in all does not fit in a limit on its path, what children are
        guaranteed does not fit in what their parent is, or all together exceed the largest amount
        there is.
    """
    for name, milli in plus(*(guaranteed(quotas, top) for top in children(quotas, None))).items():
        if milli > MAX_MILLI:
            raise QuotaError(
                f"what all roles are guaranteed of {shown(name)} together is over-large"
            )
    for role, quota in quotas.items():
        for name, milli in guaranteed(quotas, role).items():
            if milli > quota.limit.get(name, milli):
                raise QuotaError(
                    f"role {shown(role)}: what its subtree is guaranteed of {shown(name)} exceeds "
                    "its limit"
                )
        below = plus(*(guaranteed(quotas, child) for child in children(quotas, role)))
        for name, milli in quota.guarantee.items():
            if below.get(name, 0) > milli:
                raise QuotaError(
                    f"role {shown(role)}: the guarantee of {shown(name)} is below its children's "
                    "together"
                )


def guaranteed(quotas: Quotas, role: str) -> Amounts:
    """Return a role's guarantee; its children's together for names that it does not guarantee."""
    own = quotas[role].guarantee if role in quotas else {}
    below = plus(*(guaranteed(quotas, child) for child in children(quotas, role)))
    return {**below, **own}


# Arithmetic by name; an absent name is zero, except in bounds, where it is no bound.


def plus(*parts: Amounts) -> Amounts:
    """Return the sum."""
    return {name: sum(p.get(name, 0) for p in parts) for name in {n for p in parts for n in p}}


def minus(left: Amounts, right: Amounts) -> Amounts:
    """Return the difference, which may be negative."""
    return {n: left.get(n, 0) - right.get(n, 0) for n in left.keys() | right.keys()}


def least(bounds: Iterable[Amounts]) -> Amounts:
    """Return the smallest bound of each name that has any."""
    smallest: dict[str, int] = {}
    for each in bounds:
        for name, milli in each.items():
            smallest[name] = min(milli, smallest.get(name, milli))
    return smallest
