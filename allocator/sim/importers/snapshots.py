"""An imported cluster as the snapshot of an engine, in which its work is held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allocator.clock import ManualClock
from allocator.errors import InvalidValue, ResourceError, shown
from allocator.resources import Resource, Resources
from allocator.resources.fixed import write_milli
from allocator.sim.importers.amounts import Milli
from allocator.sim.importers.holding import Client, Holding, holding
from allocator.sim.importers.imported import Held
from allocator.sim.importers.source import Node

if TYPE_CHECKING:
    from allocator.sim.importers.imported import Imported

Json = dict[str, Any]


def snapshot_of(imported: Imported) -> Json:
    """Return the snapshot; raises `InvalidValue` without machines. O(size)."""
    from allocator.engine import Allocator

    imported.need_machines()
    engine = Allocator(seed=0, clock=ManualClock())
    engine.set_weights({role.path: role.weight for role in imported.roles.values()})
    engine.set_quotas(
        {
            role.path: {"guarantee": _amounts(role.guarantee), "limit": _amounts(role.limit)}
            for role in imported.roles.values()
            if role.guarantee or role.limit
        }
    )
    held = imported.held_on(imported.machines)
    for id, node in imported.machines.items():
        total, used = _with_use(imported, node, held.get(id, {}))
        try:
            engine.add_agent(
                id,
                total,
                hostname=node.attributes.get("hostname"),
                attributes={**node.attributes, **({"kind": node.kind} if node.kind else {})}
                or None,
                region=node.region,
                zone=node.zone,
                used=used or None,
            )
        except (InvalidValue, ResourceError) as error:
            raise InvalidValue(f"machine {shown(id)}: {error}") from None
        if node.state:
            engine.deactivate_agent(id)
    for outage in imported.outages:
        for id in outage.machines:
            engine.set_unavailability(id, outage.start_s, outage.duration_s)
    for framework, roles in imported.framework_roles().items():
        engine.add_framework(
            framework,
            roles,
            active=framework not in imported.disconnected(),
            suppressed=sorted(imported.suppressed(framework).intersection(roles)),
            capabilities=_capabilities(imported.capabilities(framework), len(roles)),
        )
    return engine.snapshot()


def _capabilities(said: frozenset[str] | None, n_roles: int) -> list[str]:
    """Return what a framework can deal with, of what the engine knows; work of others, anything."""
    if said is None:
        return ["GPU_RESOURCES", "MULTI_ROLE"]
    from allocator.engine.inputs import FRAMEWORK_CAPABILITIES

    more = {"MULTI_ROLE"} if n_roles > 1 else set()
    return sorted((said | more) & FRAMEWORK_CAPABILITIES)


def _amounts(amounts: Milli) -> list[object]:
    return [_entry(name, amount) for name, amount in amounts.items()]


def _entry(name: str, amount: int, role: str | None = None) -> Json:
    entry: Json = {"name": name, "type": "SCALAR", "scalar": {"value": float(write_milli(amount))}}
    if role is not None:
        entry["reservations"] = [{"type": "STATIC", "role": role}]
    return entry


def _with_use(
    imported: Imported, node: Node, held: Held
) -> tuple[Resources, dict[str, dict[str, Resources]]]:
    """Return what a machine has, reserved and not, and what is in use of it by whom."""
    reserved = {imported.role_of_path(path): own for path, own in node.reserved.items()}
    found = holding(node.amounts, reserved, {key: own for key, (own, _) in held.items()})
    exact = _exact(imported, node, found)
    taken = _taken(found, exact)
    if taken is None:
        exact = {}
        taken = _taken(found, exact) or {}
    total: list[Json] = []
    for name in node.amounts:
        for role, own in found.reserved.items():
            total += [_entry(name, own[name], role)] if own.get(name) and role not in exact else []
        unreserved = node.amounts[name] - sum(own.get(name, 0) for own in found.reserved.values())
        total += [_entry(name, unreserved)] if unreserved else []
    others = Resources(node.others) if node.others else Resources()
    used: dict[str, dict[str, Resources]] = {}
    left = others
    for (framework, role), resources in taken.items():
        for text in held[framework, role][1]:
            more = Resources(text)
            if more in left:
                left -= more
                resources += more
        used.setdefault(framework, {})[role] = resources
    return sum(exact.values(), Resources(total) + others), used


def _exact(imported: Imported, node: Node, found: Holding) -> dict[str, Resources]:
    """Return role -> its reservations as the dump has them, where they stand as a whole."""
    by_role = {imported.role_of_path(path): own for path, own in node.exact.items()}
    return {
        role: own
        for role, own in by_role.items()
        if own.quantities().milli == {n: x for n, x in found.reserved.get(role, {}).items() if x}
    }


def _taken(found: Holding, exact: dict[str, Resources]) -> dict[Client, Resources] | None:
    """Return who takes what; None if what is not to be split would have to be."""
    left = dict(exact)
    taken = {}
    for client, parts in found.taken.items():
        taken[client] = Resources([_entry(*part) for part in parts if part[2] not in left])
        for name, amount, role in parts:
            if role in left:
                part = _part(left[role], name, amount)
                if part is None:
                    return None
                left[role] -= part
                taken[client] += part
    return taken


def _part(resources: Resources, name: str, amount: int) -> Resources | None:
    """Return so many thousandths of a resource, None if no whole entries make them up."""
    parts: list[Resource] = []
    for entry in sorted(resources, key=str):
        if entry.name == name and amount and isinstance(entry.value, int):
            part = entry.replace(value=min(entry.value, amount))
            if Resources([part]) in resources:
                parts.append(part)
                amount -= min(entry.value, amount)
    return None if amount else Resources(parts)
