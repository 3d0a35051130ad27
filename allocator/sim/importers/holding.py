"""What of a machine is reserved, and which part of it work holds.

Work takes what is reserved for its role first, of the longest role, then what nobody reserved. What
others hold beyond that, reservations give way to: a dump that says both was not taken at one time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from allocator.roles import DEFAULT_ROLE, is_at_or_below
from allocator.sim.importers.amounts import Milli

#: A framework, and the role in which it holds something.
Client = tuple[str, str]


@dataclass(slots=True)
class Holding:
    """One machine by who may have it and who has.

    Parameters
    ----------
    reserved : dict
        Role -> what stays reserved for it, in thousandths.
    taken : dict
        Client -> (name, thousandths, the role for which they are reserved, or None).
    gave_way : bool
        Whether reservations were cut to what others leave.
    """

    reserved: dict[str, Milli]
    taken: dict[Client, list[tuple[str, int, str | None]]] = field(default_factory=dict)
    gave_way: bool = False


def holding(amounts: Milli, reserved: Mapping[str, Milli], held: Mapping[Client, Milli]) -> Holding:
    """Return who holds which part of a machine.

    Parameters
    ----------
    amounts : dict
        What it has.
    reserved : mapping
        Role -> what is reserved for it; what rounding made too much of is trimmed.
    held : mapping
        Client -> what it holds there.

    Notes
    -----
    O(clients × roles there × names).
    """
    found = Holding({role: dict(own) for role, own in reserved.items() if role != DEFAULT_ROLE})
    free = dict(amounts)
    for own in found.reserved.values():
        for name in list(own):
            own[name] = min(own[name], max(0, free.get(name, 0)))
            free[name] = free.get(name, 0) - own[name]
    rests = {role: dict(own) for role, own in found.reserved.items()}
    for client, wanted in held.items():
        taken = found.taken.setdefault(client, [])
        for name, amount in wanted.items():
            taken += _reserved_part(name, amount, client[1], rests)
            left = amount - sum(x for n, x, _ in taken if n == name)
            if left:
                _make_room(name, left, free, rests, found)
                free[name] = free.get(name, 0) - left
                taken.append((name, left, None))
    return found


def _reserved_part(
    name: str, amount: int, role: str, rests: dict[str, Milli]
) -> list[tuple[str, int, str | None]]:
    """Take what is reserved for a role, or for one above it, the nearest first."""
    taken: list[tuple[str, int, str | None]] = []
    for other in sorted(rests, key=len, reverse=True):
        part = min(amount, rests[other].get(name, 0)) if is_at_or_below(role, other) else 0
        if part:
            rests[other][name] -= part
            amount -= part
            taken.append((name, part, other))
    return taken


def _make_room(
    name: str, wanted: int, free: Milli, rests: dict[str, Milli], found: Holding
) -> None:
    """Have reservations give way, as far as that is needed to have so much unreserved."""
    for role, rest in rests.items():
        lacking = min(max(0, wanted - free.get(name, 0)), rest.get(name, 0))
        if lacking:
            rest[name] -= lacking
            found.reserved[role][name] -= lacking
            free[name] = free.get(name, 0) + lacking
            found.gave_way = True
