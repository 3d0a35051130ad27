"""An imported cluster as the snapshot of an engine, in which its work is held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allocator.clock import ManualClock
from allocator.errors import InvalidValue, ResourceError, shown
from allocator.resources import Resources
from allocator.resources.fixed import write_milli
from allocator.roles import DEFAULT_ROLE, is_at_or_below
from allocator.sim.importers.amounts import Milli, add_milli
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
    held = _held(imported)
    for id, node in imported.machines.items():
        total, used = _with_use(imported, node, held.get(id, {}))
        try:
            engine.add_agent(
                id,
                total,
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
    quiet = imported.suppressed()
    for framework, roles in imported.framework_roles().items():
        engine.add_framework(
            framework,
            roles,
            active=framework not in imported.disconnected(),
            suppressed=roles if framework in quiet else sorted(imported.closed.intersection(roles)),
            capabilities=("GPU_RESOURCES", "MULTI_ROLE"),
        )
    return engine.snapshot()


def _amounts(amounts: Milli) -> list[object]:
    return [_entry(name, amount) for name, amount in amounts.items()]


def _entry(name: str, amount: int, role: str | None = None) -> Json:
    entry: Json = {"name": name, "type": "SCALAR", "scalar": {"value": float(write_milli(amount))}}
    if role is not None:
        entry["reservations"] = [{"type": "STATIC", "role": role}]
    return entry


#: (framework, role) -> what it holds of one machine, and the ranges and sets with it
_Held = dict[tuple[str, str], tuple[Milli, list[str]]]


def _held(imported: Imported) -> dict[str, _Held]:
    """Return machine -> what is held there, by whom. O(work × names)."""
    found: dict[str, _Held] = {}
    placement = imported.placement
    for work in (*placement.placed, *placement.found):
        by_client = found.setdefault(work.machine or "", {})
        amounts, others = by_client.setdefault((work.framework, imported.role(work)), ({}, []))
        add_milli(amounts, work.demand, work.count)
        if work.others:
            others.append(work.others)
    return found


def _with_use(
    imported: Imported, node: Node, held: _Held
) -> tuple[Resources, dict[str, dict[str, Resources]]]:
    """Return what a machine has, reserved and not, and what is in use of it by whom.

    Reservations give way to what others hold: a dump that says both was not taken at one time.
    """
    reserved = {imported.role_of_path(path): dict(own) for path, own in node.reserved.items()}
    reserved.pop(DEFAULT_ROLE, None)
    free = dict(node.amounts)
    for own in reserved.values():
        for name in list(own):
            own[name] = min(own[name], max(0, free.get(name, 0)))
            free[name] = free.get(name, 0) - own[name]
    rests = {role: dict(own) for role, own in reserved.items()}
    entries: dict[tuple[str, str], list[Json]] = {}
    for (framework, role), (amounts, _) in held.items():
        taken = entries.setdefault((framework, role), [])
        for name, amount in amounts.items():
            taken += _taken(name, amount, role, free, rests, reserved)
    total: list[Json] = []
    for name in node.amounts:
        for role, own in reserved.items():
            total += [_entry(name, own[name], role)] if own.get(name) else []
        unreserved = node.amounts[name] - sum(own.get(name, 0) for own in reserved.values())
        total += [_entry(name, unreserved)] if unreserved else []
    used: dict[str, dict[str, Resources]] = {}
    left = Resources(node.others) if node.others else Resources()
    for (framework, role), taken in entries.items():
        resources = Resources(taken)
        for text in held[framework, role][1]:
            more = Resources(text)
            if more in left:
                left -= more
                resources += more
        used.setdefault(framework, {})[role] = resources
    return Resources(total) + (Resources(node.others) if node.others else Resources()), used


def _taken(
    name: str,
    amount: int,
    role: str,
    free: Milli,
    rests: dict[str, Milli],
    reserved: dict[str, Milli],
) -> list[Json]:
    """Take so much of a machine for a role: reserved for it first, then what nobody reserved."""
    found: list[Json] = []
    for other, rest in rests.items():
        part = min(amount, rest.get(name, 0)) if is_at_or_below(role, other) else 0
        if part:
            found.append(_entry(name, part, other))
            rest[name] -= part
            amount -= part
    for other, rest in rests.items():
        lacking = min(max(0, amount - free.get(name, 0)), rest.get(name, 0))
        if lacking:
            rest[name] -= lacking
            reserved[other][name] -= lacking
            free[name] = free.get(name, 0) + lacking
    if amount:
        free[name] = free.get(name, 0) - amount
        found.append(_entry(name, amount))
    return found
