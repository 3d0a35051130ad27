"""The tree of paths with its sums in plain Python, for sorters that add an order to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Self

from sortedcontainers import SortedDict

from allocator.errors import DuplicateClient, ResourceError, cut, shown
from allocator.resources import Quantities, Resources, ResourcesLike
from allocator.resources.fixed import MAX_MILLI
from allocator.sorter._ordering import PlainOrdering
from allocator.sorter.base import (
    IMPLICIT_NAME,
    Standing,
    checked_numbers,
    checked_weight,
    client_path,
    dominant_share,
    unknown_client,
)
from allocator.sorter.totals import Totals

_NOTHING = Resources()


class Node:
    """A path in the tree.

    P1. `amounts` and `shared` are sums over the leaves at and below it.
    P2. `held` is None except in leaves; leaves have no children, the others have some.
    P3. `n_active` counts the active leaves at and below it; in a leaf it is 0 or 1.
    """

    __slots__ = (
        "amounts",
        "children",
        "held",
        "label",
        "n_active",
        "name",
        "number",
        "parent",
        "path",
        "shared",
        "weight",
    )

    def __init__(
        self, name: str, path: str, label: str, parent: Node | None, weight: float
    ) -> None:
        self.name = name
        #: By what it is found and compared with its siblings.
        self.path = path
        #: What it is called in answers: its path; of an implicit leaf its client's.
        self.label = label
        self.parent = parent
        self.weight = weight
        self.number = 0
        self.n_active = 0
        #: name → child, by name.
        self.children: SortedDict[str, Node] = SortedDict()
        #: agent → what the client holds there, never empty.
        self.held: dict[str, Resources] | None = None
        #: resource name → thousandths held at and below, never zero.
        self.amounts: dict[str, int] = {}
        #: agent → shared entries held at and below, never empty.
        self.shared: dict[str, Resources] = {}
        if parent is not None:
            parent.children[name] = self

    def upward(self) -> Iterator[Node]:
        """Yield this node and each one above it, the root last."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent


class TreeSorter(PlainOrdering):
    """Clients as leaves of a tree, with all sums kept up to date; all of `Sorter` but the order.

    A subclass gives the order (`sort`, `order`) and may keep one up to date by the hooks.
    """

    def __init__(
        self, exclude: Iterable[str] = (), *, flat: bool = False, totals: Totals | None = None
    ) -> None:
        self._root = Node("", "", "", None, 1.0)
        #: path → node; implicit leaves end in "/.".
        self._nodes: dict[str, Node] = {}
        #: client → its leaf.
        self._leaves: dict[str, Node] = {}
        #: path → weight, also of paths that no node has.
        self._weights: dict[str, float] = {}

    # Hooks.

    def _disturb(self, leaf: Node | None) -> None:
        """Prepare for a change at a leaf, or with None for any other change."""

    def _adjusted(self, node: Node) -> None:
        """Take note that a node's sums, number or weight changed."""

    def _appeared(self, node: Node) -> None:
        """Take note that a node below the root has an active leaf now, at or below it."""

    def _vanished(self, node: Node) -> None:
        """Take note that a node below the root no longer has one."""

    def add(self, client: str) -> None:
        """Add an inactive client; raises `DuplicateClient`, `InvalidRole`. O(d log s)."""
        client = client_path(client, flat=self.flat)
        if client in self._leaves:
            raise DuplicateClient(f"client {shown(client)} is in the sorter already")
        self._disturb(None)
        node = self._root
        for name in [client] if self.flat else client.split("/"):
            label = name if node is self._root else f"{node.label}/{name}"
            child = self._nodes.get(label)
            if child is None:
                if node.held is not None:
                    self._split(node)
                child = Node(name, label, label, node, self._weights.get(label, 1.0))
                self._nodes[label] = child
            node = child
        if node.children:
            node = self._new_implicit(node)
        node.held = {}
        self._leaves[client] = node

    def remove(self, client: str) -> None:
        """Remove a client and what it holds; raises `UnknownClient`. O(d (k + log s) + agents)."""
        node = self._leaf(client)
        self._disturb(None)
        if node.n_active:
            self._set_active(node, active=False)
        assert node.held is not None
        for agent, resources in node.held.items():
            for above, change in self._changes(node, agent, resources, _NOTHING):
                _carry_out(above, agent, change)
        del self._leaves[client]
        while node.parent is not None and not node.children:
            del self._nodes[node.path], node.parent.children[node.name]
            node = node.parent
        if len(node.children) == 1 and IMPLICIT_NAME in node.children and not self.flat:
            self._merge(node)
        for above in node.upward():
            self._adjusted(above)

    def activate(self, client: str) -> None:
        """Have `sort` list a client from now on; raises `UnknownClient`. O(d log s)."""
        leaf = self._leaf(client)
        if not leaf.n_active:
            self._disturb(None)
            self._set_active(leaf, active=True)

    def deactivate(self, client: str) -> None:
        """Leave a client out of `sort`; raises `UnknownClient`. O(d log s)."""
        leaf = self._leaf(client)
        if leaf.n_active:
            self._disturb(None)
            self._set_active(leaf, active=False)

    def update_weight(self, path: str, weight: float) -> None:
        """Set the weight of a path; raises `InvalidValue`, `InvalidRole`. O(log s)."""
        path = client_path(path, flat=self.flat)
        self._weights[path] = checked_weight(weight)
        node = self._nodes.get(path)
        if node is not None:
            self._disturb(None)
            node.weight = self._weights[path]
            self._adjusted(node)

    # Allocations.

    def allocated(self, client: str, agent: str, resources: ResourcesLike) -> None:
        """Add to what a client holds; raises `UnknownClient`, `ResourceError`. O(d (k + log s))."""
        self._change(client, agent, _NOTHING, Resources(resources), 1)

    def unallocated(self, client: str, agent: str, resources: ResourcesLike) -> None:
        """Take from what it holds; raises `UnknownClient`, `ResourceError`. O(d (k + log s))."""
        self._change(client, agent, Resources(resources), _NOTHING, 0)

    def update(self, client: str, agent: str, old: ResourcesLike, new: ResourcesLike) -> None:
        """Replace part of what it holds; raises as the two above. O(d (k + log s))."""
        self._change(client, agent, Resources(old), Resources(new), 0)

    # Questions.

    def share(self, path: str) -> float:
        """Return the share of a node; raises `UnknownClient`. O(k)."""
        return self._share(self._node(path))

    def standing(self, path: str) -> Standing:
        """Return what a node goes by; raises `UnknownClient`. O(k)."""
        node = self._node(path)
        return Standing(path, self._share(node), node.number)

    def allocation(self, client: str) -> dict[str, Resources]:
        """Return what a client itself holds, by agent; raises `UnknownClient`. O(agents)."""
        return dict(self._leaf(client).held or ())

    def quantities(self, client: str | None = None) -> Quantities:
        """Return how much a client, or everybody, holds; raises `UnknownClient`. O(k)."""
        node = self._root if client is None else self._leaf(client)
        return Quantities.from_milli(node.amounts)

    def times_allocated(self) -> dict[str, int]:
        """Return the number of times allocated of every node, by path. O(n log n)."""
        return {path: node.number for path, node in sorted(self._nodes.items())}

    def set_times_allocated(self, numbers: Mapping[str, int]) -> None:
        """Set numbers of times allocated; raises `UnknownClient`, `InvalidValue`. O(n log s)."""
        numbers = checked_numbers(numbers, self._nodes)
        self._disturb(None)
        for path, number in numbers.items():
            self._nodes[path].number = number
            self._adjusted(self._nodes[path])

    def copy(self, totals: Totals | None = None) -> Self:
        """Return a copy that answers the same, on these totals or a copy of its own.

        O(n (k + log s) + (client, agent) pairs that hold something).
        """
        twin = type(self)(
            self.exclude, flat=self.flat, totals=self.totals.copy() if totals is None else totals
        )
        twin._weights = self._weights.copy()
        twin._adopt(self._root, twin._root)
        return twin

    def __contains__(self, client: object) -> bool:
        return isinstance(client, str) and client in self._leaves

    def __len__(self) -> int:
        return len(self._leaves)

    # The tree.

    def _node(self, path: object) -> Node:
        node = self._nodes.get(path) if isinstance(path, str) else None
        if node is None:
            raise unknown_client(path)
        return node

    def _leaf(self, client: object) -> Node:
        leaf = self._leaves.get(client) if isinstance(client, str) else None
        if leaf is None:
            raise unknown_client(client)
        return leaf

    def _share(self, node: Node) -> float:
        totals = self.totals.quantities.milli
        return dominant_share(node.amounts, totals, self.exclude, node.weight)

    def _new_implicit(self, parent: Node) -> Node:
        path = f"{parent.path}/{IMPLICIT_NAME}"
        leaf = self._nodes[path] = Node(IMPLICIT_NAME, path, parent.path, parent, 1.0)
        return leaf

    def _split(self, node: Node) -> None:
        """Give a leaf that is to have children an implicit leaf, which is as the leaf was."""
        leaf = self._new_implicit(node)
        leaf.held, node.held = node.held, None
        leaf.amounts = dict(node.amounts)
        leaf.shared = dict(node.shared)
        leaf.number = node.number
        leaf.n_active = node.n_active
        self._leaves[node.label] = leaf
        if leaf.n_active:
            self._appeared(leaf)

    def _merge(self, node: Node) -> None:
        """Make a leaf again of a node whose only child is its implicit leaf."""
        leaf = node.children.pop(IMPLICIT_NAME)
        if leaf.n_active:
            self._vanished(leaf)
        del self._nodes[leaf.path]
        node.held = leaf.held
        self._leaves[node.label] = node

    def _set_active(self, leaf: Node, *, active: bool) -> None:
        for node in leaf.upward():
            node.n_active += 1 if active else -1
            if node.parent is None:
                continue
            if active and node.n_active == 1:
                self._appeared(node)
            elif not active and node.n_active == 0:
                self._vanished(node)

    def _adopt(self, original: Node, node: Node) -> None:
        """Make `node` as another sorter's node is, with copies of all nodes below it."""
        node.number = original.number
        node.n_active = original.n_active
        node.amounts = original.amounts.copy()
        node.shared = original.shared.copy()
        if original.held is not None:
            node.held = original.held.copy()
            self._leaves[node.label] = node
        for name, child in original.children.items():
            twin = Node(name, child.path, child.label, node, child.weight)
            self._nodes[child.path] = twin
            self._adopt(child, twin)
            if twin.n_active:
                self._appeared(twin)

    # Adjusting.

    def _change(
        self, client: str, agent: str, lost: Resources, gained: Resources, times: int
    ) -> None:
        """Change what a client holds on an agent, refusing before anything is changed."""
        leaf = self._leaf(client)
        assert leaf.held is not None
        after = leaf.held.get(agent, _NOTHING) - lost + gained
        changes = self._changes(leaf, agent, lost, gained)
        self._check_fit(changes[-1][1])
        self._disturb(leaf)
        if after:
            leaf.held[agent] = after
        else:
            leaf.held.pop(agent, None)
        for node, change in changes:
            _carry_out(node, agent, change)
            node.number += times
            self._adjusted(node)

    def _changes(
        self, leaf: Node, agent: str, lost: Resources, gained: Resources
    ) -> list[tuple[Node, _Change]]:
        """Return what changes in the sums of a leaf and of each node above it, the root last."""
        if not (lost.shared() or gained.shared()):
            change = _difference(lost, gained), None
            return [(node, change) for node in leaf.upward()]
        changes: list[tuple[Node, _Change]] = []
        for node in leaf.upward():
            # Whether a shared entry counts depends on who else below the node holds it.
            before = node.shared.get(agent, _NOTHING)
            after = before - lost.shared() + gained.shared()
            amounts = _difference(lost.nonshared(), gained.nonshared())
            _add(amounts, _difference(before, after))
            changes.append((node, (amounts, after)))
        return changes

    def _check_fit(self, change: _Change) -> None:
        """Refuse what would take the root's sums, which are the largest, beyond int64."""
        for name, amount in change[0].items():
            total = self._root.amounts.get(name, 0) + amount
            if total > MAX_MILLI:
                raise ResourceError(
                    f"{cut(name)}: {total} thousandths allocated in all are over-large"
                )


#: What changes in a node's sums: what is added to `amounts`, and what becomes of the agent's
#: shared entries, None if they stay.
_Change = tuple[dict[str, int], Resources | None]


def _difference(lost: Resources, gained: Resources) -> dict[str, int]:
    amounts = dict(gained.quantities().milli)
    for name, milli in lost.quantities().milli.items():
        amounts[name] = amounts.get(name, 0) - milli
    return amounts


def _add(amounts: dict[str, int], added: dict[str, int]) -> None:
    """Add in place, leaving no zeros."""
    for name, amount in added.items():
        total = amounts.get(name, 0) + amount
        if total:
            amounts[name] = total
        else:
            amounts.pop(name, None)


def _carry_out(node: Node, agent: str, change: _Change) -> None:
    amounts, shared = change
    _add(node.amounts, amounts)
    if shared:
        node.shared[agent] = shared
    elif shared is not None:
        node.shared.pop(agent, None)
