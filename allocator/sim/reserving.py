"""Static reservations: where they are, and which of an offer's resources tasks take.

A task takes what is reserved to its role first, of the longest role, then what is unreserved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from allocator.resources import Reservation, Resource, Resources
from allocator.roles import ancestry
from allocator.sim.cluster import Machine
from allocator.sim.setting import RolePolicy

#: machine index -> role -> name -> thousandths
Reserved = dict[int, dict[str, dict[str, int]]]


def spread_reservations(machines: Sequence[Machine], roles: Mapping[str, RolePolicy]) -> Reserved:
    """Return what is reserved where.

    What machines have reserved themselves, then for each role on the first machines that have so
    much unreserved left; where there are fewer, on all of these.
    O(machines + reservations × machines × names).
    """
    reserved: Reserved = {
        index: {role: dict(amounts.milli) for role, amounts in machine.reserved}
        for index, machine in enumerate(machines)
        if machine.reserved
    }
    for role, policy in roles.items():
        for count, amounts in policy.reserve:
            left = count
            for index, machine in enumerate(machines):
                if left == 0:
                    break
                there = reserved.get(index, {})
                if not all(
                    unreserved(machine, there, name) >= amount
                    for name, amount in amounts.milli.items()
                ):
                    continue
                mine = reserved.setdefault(index, {}).setdefault(role, {})
                for name, amount in amounts.milli.items():
                    mine[name] = mine.get(name, 0) + amount
                left -= 1
    return reserved


def unreserved(machine: Machine, there: Mapping[str, Mapping[str, int]], name: str) -> int:
    """Return what of a resource is not reserved on a machine, in thousandths. O(roles there)."""
    total = machine.resources.milli.get(name, 0)
    return total - sum(amounts.get(name, 0) for amounts in there.values())


def unreserved_of(machine: Machine) -> dict[str, int]:
    """Return what a machine has not reserved itself, in thousandths. O(names × roles there)."""
    there = {role: amounts.milli for role, amounts in machine.reserved}
    return {name: unreserved(machine, there, name) for name in machine.resources.milli}


def resources_of(machine: Machine, there: Mapping[str, Mapping[str, int]]) -> Resources:
    """Return all that a machine has, reserved or not. O(roles there × names)."""
    if not there:
        return Resources.from_milli(machine.resources.milli)
    plain = {name: unreserved(machine, there, name) for name in machine.resources.milli}
    found = Resources.from_milli({name: amount for name, amount in plain.items() if amount})
    for role, amounts in there.items():
        stack = (Reservation("STATIC", role),)
        entries = Resources.from_milli(amounts)
        found += Resources([entry.replace(reservations=stack) for entry in entries])
    return found


def elsewhere(there: Mapping[str, Mapping[str, int]], role: str) -> dict[str, int]:
    """Return what on a machine is reserved to roles whose resources a role cannot have."""
    own = set(ancestry(role))
    sums: dict[str, int] = {}
    for reserved_to, amounts in there.items():
        if reserved_to not in own:
            for name, amount in amounts.items():
                sums[name] = sums.get(name, 0) + amount
    return sums


def chosen(resources: Resources, amounts: Mapping[str, int]) -> Resources:
    """Return which of some resources are taken for so many thousandths of each name.

    What is reserved to the longest role comes first, then what is unreserved. O(entries).
    """
    left = dict(amounts)
    taken = []
    for entry in sorted(resources, key=_nearest_first):
        part = min(left.get(entry.name, 0), entry.value) if isinstance(entry.value, int) else 0
        if part > 0:
            left[entry.name] -= part
            taken.append(entry.replace(value=part))
    return Resources(taken)


def _nearest_first(entry: Resource) -> tuple[int, str]:
    role = entry.reservations[-1].role if entry.reservations else ""
    return -len(role), str(entry)
