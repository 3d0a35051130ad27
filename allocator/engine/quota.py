"""What a quota may say, given the others in the tree (contract §6.7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from allocator.errors import AllocatorError, InvalidValue, QuotaError, cut, shown
from allocator.resources import Quantities, QuantitiesLike, read_limits
from allocator.resources.fixed import MAX_MILLI, write_milli
from allocator.roles import ancestry, validate_role

if TYPE_CHECKING:
    from allocator.contract import QuotasLike
    from allocator.engine._roles import RoleTree
    from allocator.engine._state import State

DEFAULT_WEIGHT: Final = 1.0


class Quota:
    """What a role is guaranteed and limited to, in thousandths by resource name.

    `guarantee` maps a name to the least that is held back for the subtree; an absent name is not
    guaranteed. `limit` maps a name to the most that the subtree may consume; an absent name is
    unlimited, and zero is a limit.
    """

    __slots__ = ("guarantee", "limit")

    def __init__(self, guarantee: Mapping[str, int], limit: Mapping[str, int]) -> None:
        self.guarantee = dict(guarantee)
        self.limit = dict(limit)


#: The quota of a role that has none.
NO_QUOTA: Final = Quota({}, {})


# What callers say.


def read_quota(guarantee: QuantitiesLike | None, limit: QuantitiesLike | None) -> Quota:
    """Return a quota; raises `ResourceError`. O(names)."""
    least = dict(Quantities(guarantee).milli) if guarantee is not None else {}
    most = read_limits(limit) if limit is not None else {}
    return Quota(least, most) if least or most else NO_QUOTA


def read_quotas(quotas: QuotasLike) -> dict[str, Quota]:
    """Return quotas by role; raises `InvalidValue`, `InvalidRole`, `ResourceError`. O(names)."""
    if not isinstance(quotas, Mapping):
        raise InvalidValue(f"quotas map roles to guarantees and limits, not {shown(quotas)}")
    found = {}
    for role, quota in quotas.items():
        role = validate_role(role)
        if not isinstance(quota, Mapping) or not quota.keys() <= {"guarantee", "limit"}:
            raise InvalidValue(
                f"the quota of {shown(role)} has a guarantee and a limit, not {shown(quota)}"
            )
        found[role] = read_quota(quota.get("guarantee"), quota.get("limit"))
    return found


# What fits together.


def set_quotas(state: State, quotas: Mapping[str, Quota]) -> None:
    """Set all of these quotas, or none if they do not fit together and with the others.

    Raises
    ------
    QuotaError
        As `check_quota`. O(n × depth × names).
    """
    nodes = {role: state.tree.get(role) for role in quotas}
    before = {role: NO_QUOTA if node is None else node.quota for role, node in nodes.items()}
    try:
        _replace_quotas(state, quotas)
    except AllocatorError:
        _replace_quotas(state, before)
        raise
    state.touch_all()


def _replace_quotas(state: State, quotas: Mapping[str, Quota]) -> None:
    """Set these quotas, judged by how all fit together in the end, not on the way there."""
    for role in quotas if len(quotas) > 1 else ():
        node = state.tree.get(role)
        if node is not None and node.quota is not NO_QUOTA:
            state.set_quota(role, NO_QUOTA)
    # Parents first: a child is then checked against what stands above it.
    for role in sorted(quotas, key=lambda path: path.count("/")):
        check_quota(state.tree, role, quotas[role])
        state.set_quota(role, quotas[role])


def check_quota(tree: RoleTree, path: str, quota: Quota) -> None:
    """Refuse a quota for `path` that contradicts those above and below it.

    What a subtree guarantees in all fits in the guarantee and the limit of its role, if it has any
    of the name, and of each role above.

    Raises
    ------
    QuotaError
        It does not, or all together are guaranteed more than 2**63 - 1 thousandths.
        O(depth × names).
    """
    node = tree.get(path)
    before = NO_QUOTA if node is None else node.quota
    for name in sorted(quota.guarantee.keys() | quota.limit.keys() | before.guarantee.keys()):
        below = 0 if node is None else node.children_guarantee[name]
        together = _check_bounds(path, quota, name, below)
        change = together - (0 if node is None else node.guaranteed(name))
        if change:
            _check_above(tree, path, name, together, change)


def _check_bounds(path: str, quota: Quota, name: str, below: int) -> int:
    """Check that what the children are guaranteed fits in a role's quota; return what it is."""
    own = quota.guarantee.get(name)
    if own is not None and below > own:
        raise QuotaError(
            f"role {shown(path)}: guarantee {_amount(name, own)} is below what its children are "
            f"guaranteed together, {_amount(name, below)}"
        )
    together = below if own is None else own
    limit = quota.limit.get(name)
    if limit is not None and together > limit:
        raise QuotaError(
            f"role {shown(path)}: limit {_amount(name, limit)} is below what it and all below it "
            f"are guaranteed, {_amount(name, together)}"
        )
    return together


def _check_above(tree: RoleTree, path: str, name: str, after: int, change: int) -> None:
    """Check that what changes for one role fits in those above, up to a guarantee of the name."""
    for role in ancestry(path):
        node = tree.get(role)
        if role == path or node is None:
            continue
        together = node.children_guarantee[name] + change
        for kind, bounds in (("guarantee", node.quota.guarantee), ("limit", node.quota.limit)):
            if together > bounds.get(name, together):
                raise QuotaError(
                    f"role {shown(path)}: with {_amount(name, after)} all below {shown(role)} "
                    f"would be guaranteed {_amount(name, together)}, more than its {kind} of "
                    f"{_amount(name, bounds[name])}"
                )
        if name in node.quota.guarantee:
            return
    together = tree.guaranteed[name] + change
    if together > MAX_MILLI:
        raise QuotaError(
            f"role {shown(path)}: with {_amount(name, after)} all roles would be guaranteed "
            f"{_amount(name, together)} together, which is over-large"
        )


def _amount(name: str, milli: int) -> str:
    return f"{cut(name)}:{write_milli(milli)}"
