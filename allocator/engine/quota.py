"""What a quota may say, given the others in the tree (contract §6.7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from allocator.errors import AllocatorError, InvalidValue, QuotaError, cut, shown
from allocator.resources import Quantities, QuantitiesLike, read_limits
from allocator.resources.fixed import MAX_MILLI, write_milli
from allocator.roles import ancestry, validate_role

if TYPE_CHECKING:
    from allocator.contract import QuotasLike
    from allocator.engine._roles import RoleNode, RoleTree
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
        As `check_quota`. O(n × depth × names), and the subtree of each limit.
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
    """Refuse a quota for `path` that contradicts one on its path or below it.

    Raises
    ------
    QuotaError
        A guarantee exceeds a limit on its path, children's guarantees do not fit in their
        parent's, or all together exceed 2**63 - 1 thousandths. O(depth × names), and the subtree
        where there is a limit.
    """
    for name, least in quota.guarantee.items():
        _check_limits_above(tree, path, quota, name, least)
    node = tree.get(path)
    if node is not None:
        _check_limits_below(node, quota)
    for name in quota.guarantee.keys() | (node.quota.guarantee.keys() if node else set()):
        _check_sums(tree, path, quota, name)


def _check_limits_above(tree: RoleTree, path: str, quota: Quota, name: str, least: int) -> None:
    for role in ancestry(path):
        limit = quota.limit if role == path else _quota_of(tree, role).limit
        if name in limit and least > limit[name]:
            raise QuotaError(
                f"role {shown(path)}: guarantee {_amount(name, least)} exceeds the limit "
                f"{_amount(name, limit[name])} of {shown(role)}"
            )


def _check_limits_below(node: RoleNode, quota: Quota) -> None:
    if not quota.limit:
        return
    for below in _descendants(node):
        for name, least in below.quota.guarantee.items():
            if least > quota.limit.get(name, least):
                raise QuotaError(
                    f"role {shown(node.path)}: limit {_amount(name, quota.limit[name])} is below "
                    f"the guarantee {_amount(name, least)} of {shown(below.path)}"
                )


def _check_sums(tree: RoleTree, path: str, quota: Quota, name: str) -> None:
    """Check that children fit into `path`, and `path` into its nearest guarantor, if any."""
    node = tree.get(path)
    below = node.children_guarantee[name] if node is not None else 0
    own = quota.guarantee.get(name)
    if own is not None and below > own:
        raise QuotaError(
            f"role {shown(path)}: guarantee {_amount(name, own)} is below what its children are "
            f"guaranteed together, {_amount(name, below)}"
        )
    after = below if own is None else own
    before = node.guaranteed(name) if node is not None else 0
    for role in ancestry(path):
        above = _quota_of(tree, role).guarantee
        if role != path and name in above:
            together = tree.nodes[role].children_guarantee[name] - before + after
            if together > above[name]:
                raise QuotaError(
                    f"role {shown(path)}: with {_amount(name, after)} the children of "
                    f"{shown(role)} would be guaranteed {_amount(name, together)}, more than its "
                    f"{_amount(name, above[name])}"
                )
            return
    together = tree.guaranteed[name] - before + after
    if together > MAX_MILLI:
        raise QuotaError(
            f"role {shown(path)}: with {_amount(name, after)} all roles would be guaranteed "
            f"{_amount(name, together)} together, which is over-large"
        )


def _quota_of(tree: RoleTree, path: str) -> Quota:
    node = tree.get(path)
    return node.quota if node is not None else Quota({}, {})


def _descendants(node: RoleNode) -> Iterator[RoleNode]:
    for child in node.children.values():
        yield child
        yield from _descendants(child)


def _amount(name: str, milli: int) -> str:
    return f"{cut(name)}:{write_milli(milli)}"
