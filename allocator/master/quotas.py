"""What a new quota needs beside the engine's rules: room in the cluster, and offers taken back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from allocator.errors import QuotaError, shown
from allocator.master.master import Master
from allocator.resources import Quantities, Resources, read_limits
from allocator.roles import ancestry, is_at_or_below
from allocator.wire.messages import Number, QuotaConfig

#: {"guarantees": {name: amount}, "limits": {name: amount}}
Quota: TypeAlias = dict[str, dict[str, float]]


def read_quotas(configs: Iterable[QuotaConfig]) -> dict[str, Quota]:
    """Return role → quota; raises `ResourceError` for an amount that is none."""
    return {
        config.role: {
            "guarantees": dict(Quantities(_amounts(config.guarantees))),
            "limits": {n: v / 1000 for n, v in read_limits(_amounts(config.limits)).items()},
        }
        for config in configs
    }


def _amounts(given: Mapping[str, Number] | None) -> dict[str, float]:
    return {name: number.value for name, number in (given or {}).items()}


def engine_quotas(quotas: Mapping[str, Quota]) -> dict[str, Any]:
    """Return quotas as the engine takes them."""
    return {
        role: {"guarantee": quota["guarantees"], "limit": quota["limits"]}
        for role, quota in quotas.items()
    }


def check_quotas(master: Master, quotas: Mapping[str, Quota]) -> None:
    """Refuse quotas that the cluster cannot keep, unless whoever sets them insists.

    Raises
    ------
    QuotaError
        What all roles are guaranteed is more than the registered agents have; or a role consumes
        more than its new limit. O(agents + roles + offers).
    """
    total = Quantities()
    for agent in master.agents.values():
        total += agent.resources.nonrevocable()
    after = {**master.quotas, **quotas}
    for name in sorted({name for quota in quotas.values() for name in quota["guarantees"]}):
        guaranteed = guaranteed_to_all(after, name)
        if not total >= {name: guaranteed}:
            raise QuotaError(
                f"all roles together would be guaranteed {name}:{guaranteed:g}, of which all "
                f"agents have {total[name]:g}; force sets it nonetheless"
            )
    for role, quota in quotas.items():
        consumed = consumption(master, role)
        for name, limit in quota["limits"].items():
            if consumed[name] > limit:
                raise QuotaError(
                    f"role {shown(role)} consumes {name}:{consumed[name]:g}, more than a limit of "
                    f"{limit:g}; force sets it nonetheless"
                )


def guaranteed_to_all(quotas: Mapping[str, Quota], name: str) -> float:
    """Return what all roles are guaranteed of a name together. O(roles × depth).

    What a role is guaranteed includes what those below it are.
    """
    own = {role: q["guarantees"][name] for role, q in quotas.items() if name in q["guarantees"]}
    tops = (role for role in own if not any(r in own for r in ancestry(role) if r != role))
    return Quantities.from_milli({name: sum(round(own[role] * 1000) for role in tops)})[name]


def consumption(master: Master, role: str) -> Quantities:
    """Return what a role consumes, open offers left out. O(offers)."""
    view = master.engine.roles.get(role)
    if view is None:
        return Quantities()
    consumed = view.consumed
    for offer in master.engine.open_offers.values():
        if is_at_or_below(offer.role, role):
            consumed = consumed.minus_floor(counted(offer.resources))
    return consumed


def counted(resources: Resources) -> Quantities:
    """Return what of an offer its role consumes by it: reservations it consumes anyway."""
    return resources.unreserved().nonrevocable().quantities()


def rescind_beyond(master: Master, role: str) -> None:
    """Take back offers until what a role consumes with them fits its limit, if it can.

    Younger ones go first; those without anything of which there is too much stay open. O(offers).
    """
    limits = master.quotas.get(role, {}).get("limits", {})
    view = master.engine.roles.get(role)
    if view is None:
        return
    consumed = view.consumed
    beyond: list[str] = []
    for id in reversed(master.offers):
        offer = master.engine.open_offers[id]
        given_back = counted(offer.resources)
        if is_at_or_below(offer.role, role) and any(
            consumed[name] > limits.get(name, consumed[name]) for name in given_back
        ):
            beyond.append(id)
            consumed = consumed.minus_floor(given_back)
    master.rescind(beyond, tell=True)
