"""What queues become: weights, guarantees and limits of roles, the same way for all systems.

An entitlement that others may use while it is idle is no guarantee of the engine, which withholds
what it guarantees. By default it becomes the weight among siblings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from allocator.errors import InvalidValue, shown
from allocator.resources.fixed import MAX_MILLI, write_milli
from allocator.roles import DEFAULT_ROLE, parent_of
from allocator.sim.importers.amounts import Amounts, Milli, add, check_name, limit_by, milli
from allocator.sim.importers.names import Names
from allocator.sim.importers.source import Queue, Source
from allocator.sorter.base import MAX_WEIGHT, MIN_WEIGHT

Entitlements = Literal["weight", "guarantee", "none"]
ENTITLEMENTS: tuple[Entitlements, ...] = ("weight", "guarantee", "none")

_ZERO = Fraction(0)
_ONE = Fraction(1)


@dataclass(slots=True)
class Role:
    """What becomes of a queue: what the engine is told, and what the source said."""

    path: str
    weight: float = 1.0
    guarantee: Milli = field(default_factory=dict)
    limit: Milli = field(default_factory=dict)
    queue: Queue | None = None
    entitlement: Milli = field(default_factory=dict)
    #: `entitlement` before it was rounded
    exact: Amounts = field(default_factory=dict)


def roles_of(
    source: Source, names: Names, mode: Entitlements, total: Milli | None
) -> dict[str, Role]:
    """Return all roles by path: those of queues and all above them.

    Parameters
    ----------
    source : Source
        What is odd is told to it.
    names : Names
    mode : str
        What becomes of entitlements: `weight`, `guarantee` or `none`.
    total : dict or None
        What all machines have together, in thousandths; None without machines.

    Raises
    ------
    InvalidValue
        For names that would become one, and negative weights. O(roles × depth × names).
    """
    roles = {DEFAULT_ROLE: Role(DEFAULT_ROLE)} if (DEFAULT_ROLE,) in source.queues else {}
    for queue in source.queues.values():
        for depth in range(1, len(queue.path) + 1):
            path = names.role(queue.path[:depth])
            roles.setdefault(path, Role(path))
        roles[names.role(queue.path)].queue = queue
    for role in roles.values():
        if role.queue is not None:
            _take(role, role.queue, total, source)
    _tell_percentages(roles, total, source)
    _tell_entitlements(roles, mode, total, source)
    _weigh(roles, mode, total, source)
    Guarantees(roles, source).settle(total, soft=mode == "guarantee")
    _tell_limits(roles, total, source)
    return roles


def children_of(roles: Iterable[str]) -> dict[str | None, list[str]]:
    """Return parent -> children, None for the topmost. O(roles × depth)."""
    found: dict[str | None, list[str]] = defaultdict(list)
    for path in roles:
        found[parent_of(path)].append(path)
    return found


def _take(role: Role, queue: Queue, total: Milli | None, source: Source) -> None:
    """Round what a queue says, percentages of the cluster with it."""
    entitlement = dict(queue.entitlement)
    limit = dict(queue.limit)
    if total is not None:
        for name, amount in _part(queue.entitlement_percent, total).items():
            entitlement.setdefault(name, amount)
        if queue.limit_percent != 100:
            limit_by(limit, _part(queue.limit_percent, total))
    for name in (*entitlement, *limit, *queue.guarantee):
        check_name(name)
    role.exact = entitlement
    role.entitlement = _bounded(entitlement, role, source, "entitlement")
    role.guarantee = _bounded(queue.guarantee, role, source, "guarantee")
    for name, amount in limit.items():
        if amount < 0:
            raise InvalidValue(f"queue {shown(role.path)}: limit of {name} that is negative")
        if milli(amount) <= MAX_MILLI:
            role.limit[name] = milli(amount)
        else:
            text = "amounts larger than the engine counts, taken as no limit"
            source.tell("limits", text, role.path)


def _bounded(amounts: Amounts, role: Role, source: Source, what: str) -> Milli:
    found: Milli = {}
    for name, amount in amounts.items():
        value = milli(amount)
        if value < 0:
            raise InvalidValue(f"queue {shown(role.path)}: {what} of {name} that is negative")
        if value > MAX_MILLI:
            source.tell("entitlements", "amounts larger than the engine counts, cut", role.path)
        found[name] = min(value, MAX_MILLI)
    return found


def _part(percent: Fraction | Amounts | None, total: Milli) -> Amounts:
    """Return so much of the cluster, by name."""
    if percent is None:
        return {}
    by_name = percent if isinstance(percent, dict) else dict.fromkeys(total, percent)
    return {name: p * total.get(name, 0) / 100_000 for name, p in by_name.items()}


# What is told.


def _tell_percentages(roles: Mapping[str, Role], total: Milli | None, source: Source) -> None:
    for role in roles.values():
        queue = role.queue
        if queue is None or (queue.limit_percent in (None, 100) and not queue.entitlement_percent):
            continue
        if total is None:
            text = "percentages of the cluster, which no machines are given for: not taken"
        else:
            text = (
                "percentages, taken of the machines that are given: import again when they change"
            )
        source.tell("limits", text, role.path)


def _tell_entitlements(
    roles: Mapping[str, Role], mode: Entitlements, total: Milli | None, source: Source
) -> None:
    entitled = [role for role in roles.values() if any(role.entitlement.values())]
    if not entitled:
        return
    below = children_of(roles)

    def together(path: str, name: str) -> int:
        own = roles[path].entitlement.get(name)
        inner = sum(together(child, name) for child in below.get(path, ()))
        return inner if own is None else max(own, inner)

    names = sorted({name for role in entitled for name in role.entitlement})
    sums = {name: sum(together(path, name) for path in below[None]) for name in names}
    how = {
        "weight": "taken as weights among siblings, not withheld",
        "guarantee": "taken as guarantees, withheld while idle",
        "none": "ignored: the source's own weights count",
    }[mode]
    text = ";".join(f"{name}:{write_milli(amount)}" for name, amount in sums.items())
    if total is not None:
        have = ";".join(f"{name}:{write_milli(total.get(name, 0))}" for name in names)
        text += f" in all, of {have} in the cluster"
    source.tell("entitlements", f"entitlements {how}: {text}", None, len(entitled))
    for role in entitled:
        for name, amount in role.entitlement.items():
            if total is not None and amount > total.get(name, 0):
                source.tell(
                    "entitlements",
                    f"entitlements to more {name} than the cluster has, cut to"
                    f" {write_milli(total.get(name, 0))}",
                    role.path,
                )


def _tell_limits(roles: Mapping[str, Role], total: Milli | None, source: Source) -> None:
    for role in roles.values():
        for name, amount in role.limit.items():
            if total is not None and amount > total.get(name, 0):
                text = f"limits of {name} above what the cluster has, which never bind"
                source.tell("limits", text, role.path)


# Weights.


def _weigh(
    roles: Mapping[str, Role], mode: Entitlements, total: Milli | None, source: Source
) -> None:
    """Set the weights, each sibling's beside the others'."""
    weights: dict[str, Fraction] = {}
    for siblings in children_of(roles).values():
        own = {path: _own_weight(roles[path]) for path in siblings}
        weights.update(_by_entitlement(siblings, roles, own, total) if mode == "weight" else own)
    least = min((weight for weight in weights.values() if weight), default=_ONE)
    for path, weight in weights.items():
        if not weight:
            text = f"weights of 0, taken as {float(least / 1000):g}: a thousandth of the least"
            source.tell("weights", text, path)
            weight = least / 1000
        number = float(weight)
        if not MIN_WEIGHT <= number <= MAX_WEIGHT:
            source.tell("weights", "weights out of bounds, taken as the nearest in them", path)
            number = min(max(number, MIN_WEIGHT), MAX_WEIGHT)
        roles[path].weight = number


def _own_weight(role: Role) -> Fraction:
    weight = _ONE if role.queue is None or role.queue.weight is None else role.queue.weight
    if weight < 0:
        raise InvalidValue(f"queue {shown(role.path)}: a weight of {float(weight):g}")
    return weight


def _by_entitlement(
    siblings: list[str], roles: Mapping[str, Role], own: dict[str, Fraction], total: Milli | None
) -> dict[str, Fraction]:
    """Return weights by what siblings are entitled to; those without keep theirs beside the least.

    A sibling's weight is its largest part, over names, of what all of them are entitled to.
    """
    entitled = {path: _weighed(roles[path], total) for path in siblings}
    sums: Amounts = {}
    for amounts in entitled.values():
        add(sums, amounts or {})
    if not any(sums.values()):
        return own
    shares = {
        path: max((x / sums[name] for name, x in amounts.items() if sums[name]), default=_ZERO)
        for path, amounts in entitled.items()
        if amounts is not None
    }
    least = min(share for share in shares.values() if share)
    return {path: shares[path] / least if path in shares else own[path] for path in siblings}


def _weighed(role: Role, total: Milli | None) -> Amounts | None:
    """Return what a role's weight is found by, cut to the cluster; None for no entitlement."""
    queue = role.queue
    if queue is None or isinstance(queue.entitlement_percent, Fraction):
        return None
    amounts = role.exact or queue.implied
    if not amounts:
        return None
    if total is None:
        return amounts
    return {name: min(x, Fraction(total.get(name, 0), 1000)) for name, x in amounts.items()}


# Guarantees.


class Guarantees:
    """Guarantees made to fit: children's into their parent's, all into limits and the cluster."""

    def __init__(self, roles: Mapping[str, Role], source: Source) -> None:
        self._roles = roles
        self._source = source
        self._below = children_of(roles)
        #: (role, name) -> what is guaranteed in its subtree in any case, and is not cut
        self._hard: dict[tuple[str, str], int] = {}

    def settle(self, total: Milli | None, *, soft: bool) -> None:
        """Set guarantees; entitlements are some if `soft`. O(roles × depth × names).

        Where not all fit, those that are none in the source give way to those that are.
        """
        self._settle(total)
        if not soft:
            return
        names = {name for role in self._roles.values() for name in role.guarantee}
        self._hard = {
            (path, name): self._together(path, name) for path in self._roles for name in names
        }
        for role in self._roles.values():
            for name, amount in role.entitlement.items():
                have = amount if total is None else min(amount, total.get(name, 0))
                role.guarantee[name] = max(role.guarantee.get(name, 0), have)
        self._settle(total)

    def _settle(self, total: Milli | None) -> None:
        """Make the guarantees that roles have now fit."""
        for role in self._roles.values():
            role.guarantee = {name: x for name, x in role.guarantee.items() if x}
        for name in sorted({name for role in self._roles.values() for name in role.guarantee}):
            tops = self._below[None]
            together = sum(self._fit(path, name) for path in tops)
            if total is not None and together > total.get(name, 0):
                have = total.get(name, 0)
                text = (
                    f"guarantees of {name}:{write_milli(together)} in all,"
                    f" cut to the {write_milli(have)} of the cluster"
                )
                self._source.tell("guarantees", text)
                hard = sum(self._hard.get((path, name), 0) for path in tops)
                for path in tops:
                    self._scale(path, name, have - hard, together - hard)
        for role in self._roles.values():
            role.guarantee = {name: x for name, x in role.guarantee.items() if x}

    def _together(self, path: str, name: str) -> int:
        """Return what is guaranteed in a subtree."""
        below = sum(self._together(child, name) for child in self._below.get(path, ()))
        return max(self._roles[path].guarantee.get(name, 0), below)

    def _fit(self, path: str, name: str) -> int:
        """Fit what is below into a role, and return what is guaranteed in its subtree."""
        role = self._roles[path]
        below = sum(self._fit(child, name) for child in self._below.get(path, ()))
        own = role.guarantee.get(name)
        if own is not None and own < below:
            self._source.tell("guarantees", "raised to what the roles below are guaranteed", path)
            role.guarantee[name] = below
        together = max(own or 0, below)
        limit = role.limit.get(name)
        if limit is not None and together > limit:
            self._source.tell("guarantees", "cut to the limit of the role", path)
            hard = self._hard.get((path, name), 0)
            self._scale(path, name, limit - hard, together - hard)
            together = limit
        return together

    def _scale(self, path: str, name: str, part: int, whole: int) -> None:
        """Cut what is guaranteed in a subtree beyond what is hard there to a part of a whole."""
        role = self._roles[path]
        if name in role.guarantee:
            hard = self._hard.get((path, name), 0)
            role.guarantee[name] = hard + (role.guarantee[name] - hard) * part // whole
        for child in self._below.get(path, ()):
            self._scale(child, name, part, whole)
