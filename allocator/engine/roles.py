"""The role tree: weights, quotas, what each subtree holds, and who is subscribed where.

Invariants, cited by number where code relies on them:

R1. A node exists exactly while it has a subscription, a reservation, a quota, a weight of its own,
    or a child (`RoleTree.prune` restores this after anything that may have ended).
R2. `reserved`, `offered`, `allocated` and `consumed` of a node cover its whole subtree.
R3. consumed = reserved + unreserved, non-revocable scalars offered or allocated.
R4. need[name] = max(guarantee − consumed, Σ needs of the children, 0), and `children_need` is that
    sum; `RoleTree.required` is the sum over the top-level roles: the required headroom.
R5. The role sorter has a client for each node with a subscription, active exactly while one of
    its subscriptions is active.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from allocator.engine._order import hash64
from allocator.engine.tally import HeldTally, Portion, Tally
from allocator.errors import UnknownClient
from allocator.resources import Quantities
from allocator.roles import parent_of
from allocator.sorter import Sorter, Totals

if TYPE_CHECKING:
    from allocator.engine.frameworks import Subscription

DEFAULT_WEIGHT = 1.0


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
NO_QUOTA = Quota({}, {})


class RoleNode:
    """One role: its place in the tree and the sums kept for its subtree."""

    #: The sums, each a `Tally` in thousandths by name.
    SUMS = (
        "allocated",
        "children_guarantee",
        "children_need",
        "consumed",
        "need",
        "offered",
        "reserved",
    )

    __slots__ = (
        "allocated",
        "children",
        "children_guarantee",
        "children_need",
        "consumed",
        "id_hash",
        "n_active",
        "n_reserving",
        "need",
        "offered",
        "parent",
        "path",
        "quota",
        "reserved",
        "sorter",
        "subscriptions",
        "weight",
    )

    def __init__(self, path: str, parent: RoleNode | None, sorter: Sorter) -> None:
        self.path = path
        #: Sets the random order of this role's frameworks apart from that of others.
        self.id_hash = hash64(path)
        self.parent = parent
        #: full path → child; kept by `RoleTree.ensure` and `RoleTree.prune`.
        self.children: dict[str, RoleNode] = {}
        #: framework id → its subscription here, also one that has left but still holds something.
        self.subscriptions: dict[str, Subscription] = {}
        #: Orders the frameworks of this very role by what they hold in it.
        self.sorter = sorter
        #: Number of active subscriptions (R5).
        self.n_active = 0
        self.weight = DEFAULT_WEIGHT
        self.quota = NO_QUOTA
        #: Number of agents with anything, scalar or not, reserved to exactly this role (R1).
        self.n_reserving = 0
        self.reserved = Tally()
        self.offered = HeldTally()
        self.allocated = HeldTally()
        self.consumed = HeldTally()
        #: Σ what the children are guaranteed, each by itself or, where it is not, by its children.
        self.children_guarantee = Tally()
        self.need = Tally()
        self.children_need = Tally()

    def upward(self) -> Iterator[RoleNode]:
        """Yield this node and then each ancestor, innermost first. O(depth)."""
        node: RoleNode | None = self
        while node is not None:
            yield node
            node = node.parent

    def guaranteed(self, name: str) -> int:
        """Return what is guaranteed here: by its own quota or, failing that, by its children's."""
        own = self.quota.guarantee.get(name)
        return self.children_guarantee[name] if own is None else own

    @property
    def is_needed(self) -> bool:
        """Whether R1 keeps this node in the tree."""
        return bool(
            self.subscriptions
            or self.children
            or self.n_reserving
            or self.quota is not NO_QUOTA
            or self.weight != DEFAULT_WEIGHT
        )


class RoleTree:
    """All roles, and the sorter that orders those with frameworks.

    Parameters
    ----------
    totals : Totals
        What shares are measured against, shared by all sorters, so that an agent costs the same
        however many roles there are.
    role_sorter, framework_sorter : callable
        Make, on these totals, the hierarchical sorter whose clients are role paths, and the flat
        sorter of one role's frameworks.
    """

    def __init__(
        self,
        totals: Totals,
        role_sorter: Callable[[Totals], Sorter],
        framework_sorter: Callable[[Totals], Sorter],
    ) -> None:
        self.totals = totals
        self.sorter = role_sorter(totals)
        self._framework_sorter = framework_sorter
        #: Path → node, in the order in which they came to be.
        self.nodes: dict[str, RoleNode] = {}
        #: Σ needs of the top-level roles (R4), in thousandths by name.
        self.required = Tally()
        #: Number of roles with a quota; without any, a cycle need not think of limits or headroom.
        self.n_quotas = 0

    def get(self, path: str) -> RoleNode | None:
        """Return the node of a role that exists (R1), else None. O(1)."""
        return self.nodes.get(path)

    def ensure(self, path: str) -> RoleNode:
        """Return the node of `path`, making it and absent ancestors. O(depth)."""
        node = self.nodes.get(path)
        if node is None:
            parent_path = parent_of(path)
            parent = self.ensure(parent_path) if parent_path is not None else None
            node = self.nodes[path] = RoleNode(path, parent, self._framework_sorter(self.totals))
            if parent is not None:
                parent.children[path] = node
        return node

    def prune(self, node: RoleNode | None) -> None:
        """Drop `node` and ancestors that nothing keeps any more (R1). O(depth)."""
        while node is not None and not node.is_needed:
            del self.nodes[node.path]
            if node.parent is not None:
                del node.parent.children[node.path]
            node = node.parent

    # Subscriptions.

    def attach(self, subscription: Subscription) -> None:
        """Make `subscription` a client of its role's sorter, inactive at first. O(depth)."""
        node = subscription.node
        if not node.subscriptions:
            self.sorter.add(node.path)
        node.subscriptions[subscription.framework.id] = subscription
        node.sorter.add(subscription.framework.id)

    def detach(self, subscription: Subscription) -> None:
        """Undo `attach` for an inactive subscription that holds nothing. O(depth)."""
        node = subscription.node
        del node.subscriptions[subscription.framework.id]
        node.sorter.remove(subscription.framework.id)
        if not node.subscriptions:
            self.sorter.remove(node.path)
        self.prune(node)

    def activate(self, subscription: Subscription) -> None:
        """Let `subscription` take part in cycles. O(log siblings)."""
        node = subscription.node
        node.sorter.activate(subscription.framework.id)
        node.n_active += 1
        if node.n_active == 1:
            self.sorter.activate(node.path)

    def deactivate(self, subscription: Subscription) -> None:
        """Keep `subscription` out of cycles; what it holds still counts. O(log siblings)."""
        node = subscription.node
        node.sorter.deactivate(subscription.framework.id)
        node.n_active -= 1
        if node.n_active == 0:
            self.sorter.deactivate(node.path)

    # Policy.

    def set_weight(self, path: str, weight: float) -> None:
        """Weigh the subtree of `path`, now and for roles that come later. O(log siblings)."""
        node = self.ensure(path)
        node.weight = weight
        self.sorter.update_weight(path, weight)
        self.prune(node)

    def set_quota(self, path: str, quota: Quota) -> None:
        """Replace the quota of `path`; `NO_QUOTA` removes it. O(depth × names)."""
        node = self.ensure(path)
        self.n_quotas += (quota is not NO_QUOTA) - (node.quota is not NO_QUOTA)
        names = node.quota.guarantee.keys() | quota.guarantee.keys()
        before = {name: node.guaranteed(name) for name in names}
        node.quota = quota
        for name in names:
            self._pass_up(node, name, node.guaranteed(name) - before[name])
        for ancestor in node.upward():
            self._refresh_need(ancestor, names)
        self.prune(node)

    @staticmethod
    def _pass_up(node: RoleNode, name: str, change: int) -> None:
        parent = node.parent
        while parent is not None and change:
            parent.children_guarantee.adjust(name, change)
            if name in parent.quota.guarantee:
                return
            parent = parent.parent

    # Sums (R2, R3, R4).

    def reserve(self, path: str, amounts: Mapping[str, int]) -> None:
        """Count what an agent has reserved to `path`, in thousandths by name. O(depth)."""
        node = self.ensure(path)
        node.n_reserving += 1
        for role in node.upward():
            role.reserved.add(amounts)
            role.consumed.add(amounts)
            if self.n_quotas:
                self._refresh_need(role, amounts)

    def unreserve(self, path: str, amounts: Mapping[str, int]) -> None:
        """Undo `reserve`. O(depth)."""
        node = self.nodes[path]
        node.n_reserving -= 1
        for role in node.upward():
            role.reserved.subtract(amounts)
            role.consumed.subtract(amounts)
            if self.n_quotas:
                self._refresh_need(role, amounts)
        self.prune(node)

    def hold(self, node: RoleNode, whole: Portion, charged: Portion, *, offered: bool) -> None:
        """Count what `node` was given, of which `charged` is consumed quota. O(depth × names)."""
        for role in node.upward():
            (role.offered if offered else role.allocated).hold(whole)
            role.consumed.hold(charged)
            if self.n_quotas:
                self._refresh_need(role, charged.names)

    def free(self, node: RoleNode, whole: Portion, charged: Portion, *, offered: bool) -> None:
        """Undo `hold`. O(depth × names)."""
        for role in node.upward():
            (role.offered if offered else role.allocated).free(whole)
            role.consumed.free(charged)
            if self.n_quotas:
                self._refresh_need(role, charged.names)

    def keep(self, node: RoleNode, whole: Portion) -> None:
        """Count as allocated what was counted as offered. O(depth × names)."""
        for role in node.upward():
            role.offered.free(whole)
            role.allocated.hold(whole)

    def _refresh_need(self, node: RoleNode, names: Iterable[str]) -> None:
        """Restore R4 at `node`, whose children are right already."""
        above = self.required if node.parent is None else node.parent.children_need
        for name in names:
            own = node.quota.guarantee.get(name, 0) - node.consumed[name]
            need = max(own, node.children_need[name], 0)
            change = need - node.need[name]
            if change:
                node.need.adjust(name, change)
                above.adjust(name, change)

    # Looking.

    def remaining(self, node: RoleNode) -> dict[str, int]:
        """Return what every limit on the path still allows, for the names that are limited.

        An amount below zero means that a limit was lowered below consumption. O(depth × names).
        """
        least: dict[str, int] = {}
        for ancestor in node.upward():
            for name, limit in ancestor.quota.limit.items():
                left = limit - ancestor.consumed[name]
                least[name] = min(left, least.get(name, left))
        return least

    def serves(self, node: RoleNode) -> dict[str, int]:
        """Return what given to `node` would serve a guarantee on its path, in thousandths by name.

        Per name the largest on the path, where a guarantee serves its unmet amount less the needs
        of the subtrees below it that branch off the path: those are served elsewhere.
        O(depth × names).
        """
        serves: dict[str, int] = {}
        branching = Tally(node.children_need)
        below: RoleNode | None = None
        for role in node.upward():
            if below is not None:
                branching.add(role.children_need)
                branching.subtract(below.need)
            for name, least in role.quota.guarantee.items():
                unmet = least - role.consumed[name] - branching[name]
                if unmet > serves.get(name, 0):
                    serves[name] = unmet
            below = role
        return serves

    def required_after(self, node: RoleNode, amounts: Mapping[str, int]) -> Tally:
        """Return what `required` would be had `node` consumed `amounts` more. O(depth × names)."""
        required = Tally(self.required)
        for name, milli in amounts.items():
            change = 0
            for role in node.upward():
                own = role.quota.guarantee.get(name, 0) - role.consumed[name] - milli
                need = max(own, role.children_need[name] + change, 0)
                change = need - role.need[name]
            required.adjust(name, change)
        return required

    def share(self, path: str) -> float:
        """Return the weighted dominant share of a subtree; 0.0 where nobody holds anything."""
        try:
            return self.sorter.share(path)
        except UnknownClient:
            return 0.0


def quantities(tally: Mapping[str, int]) -> Quantities:
    """Return a tally's positive amounts as a value to hand out."""
    return Quantities.from_milli({name: milli for name, milli in tally.items() if milli > 0})
