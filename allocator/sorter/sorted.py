"""The DRF sorter that keeps its order up to date, in plain Python on `sortedcontainers`."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator

from sortedcontainers import SortedList

from allocator.sorter.totals import Totals
from allocator.sorter.tree import Node, TreeSorter

#: (share, number, path, node): sorted as siblings are; paths differ, so nodes never compare.
_Key = tuple[float, int, str, Node]


class SortedDRFSorter(TreeSorter):
    """Clients by weighted Dominant Resource Fairness, in an order that is kept up to date.

    It adjusts as the compiled `DRFSorter` does, and so shows what compiling alone buys.

    Parameters
    ----------
    exclude : iterable of str
        Resource names left out of the share.
    flat : bool
        Whether each client is one leaf, whatever characters its name has.
    totals : Totals, optional
        Agents' totals shared with other sorters; its own without.

    Raises
    ------
    InvalidValue
        If `exclude` is not a collection of names.

    Notes
    -----
    The methods are those of `Sorter`. `_orders` has a `SortedList` for each node with children,
    which has the keys of those children at or below which an active leaf is; `_keys` has the keys
    as they stand there.

    Examples
    --------
    >>> sorter = SortedDRFSorter()
    >>> sorter.add_agent("a1", "cpus:100;mem:100")
    >>> for client in ("eng/prod", "ops"):
    ...     sorter.add(client)
    ...     sorter.activate(client)
    >>> sorter.allocated("eng/prod", "a1", "cpus:5;mem:10")
    >>> sorter.sort(), sorter.share("eng")
    (['ops', 'eng/prod'], 0.1)
    """

    def __init__(
        self, exclude: Iterable[str] = (), *, flat: bool = False, totals: Totals | None = None
    ) -> None:
        super().__init__(exclude, flat=flat, totals=totals)
        self._version = 0
        #: node → keys of its active children, in order; never empty.
        self._orders: dict[Node, SortedList[_Key]] = {}
        #: node → its key in its parent's order.
        self._keys: dict[Node, _Key] = {}
        #: The last answer of `sort`, None once the order changed.
        self._listing: list[str] | None = None
        #: The walk that follows the live order, if any.
        self._walk: weakref.ref[_Walk] | None = None

    def sort(self) -> list[str]:
        """Return the active clients, neediest first. O(n), a copy if nothing changed."""
        self._sync()
        if self._listing is None:
            self._listing = list(self._clients_below(self._root))
        return self._listing.copy()

    def order(self) -> Iterator[str]:
        """Iterate over the active clients in the order of the moment of this call.

        As in `DRFSorter.order`; O(log s) a client.
        """
        self._sync()
        self._disturb(None)
        walk = _Walk(self._root, self._orders)
        self._walk = weakref.ref(walk)
        return walk

    def _sync(self) -> None:
        """Take over the totals if they changed. O(1) if not, else O(n log n)."""
        if self._version == self.totals.version:
            return
        self._version = self.totals.version
        self._disturb(None)
        self._listing = None
        for node in self._keys:
            self._keys[node] = self._key(node)
        for node in self._orders:
            children = node.children.values()
            self._orders[node] = SortedList(
                self._keys[child] for child in children if child in self._keys
            )

    def _clients_below(self, node: Node) -> Iterator[str]:
        for *_, child in self._orders.get(node, ()):
            if child.held is not None:
                yield child.label
            else:
                yield from self._clients_below(child)

    def _key(self, node: Node) -> _Key:
        return self._share(node), node.number, node.path, node

    # Hooks.

    def _disturb(self, leaf: Node | None) -> None:
        walk = self._walk() if self._walk is not None else None
        if walk is None:
            self._walk = None
        elif leaf is None or leaf not in walk.passed:
            walk.detach()
            self._walk = None

    def _adjusted(self, node: Node) -> None:
        before = self._keys.get(node)
        if before is None or node.parent is None:
            return
        after = self._key(node)
        if after != before:
            order = self._orders[node.parent]
            order.remove(before)
            order.add(after)
            self._keys[node] = after
            self._listing = None

    def _appeared(self, node: Node) -> None:
        assert node.parent is not None
        self._keys[node] = self._key(node)
        self._orders.setdefault(node.parent, SortedList()).add(self._keys[node])
        self._listing = None

    def _vanished(self, node: Node) -> None:
        assert node.parent is not None
        order = self._orders[node.parent]
        order.remove(self._keys.pop(node))
        if not order:
            del self._orders[node.parent]
        self._listing = None

    def _check(self) -> None:
        """Raise `AssertionError` unless orders and sums are as recomputed. For tests."""
        self._sync()
        placed = {node for node in self._nodes.values() if node.n_active}
        assert set(self._keys) == placed
        assert set(self._orders) == {node.parent for node in placed}
        assert all(self._keys[node] == self._key(node) for node in placed)
        for node, order in self._orders.items():
            order._check()
            assert {child for *_, child in order} == placed & set(node.children.values())
        for node in (self._root, *self._nodes.values()):
            children = node.children.values()
            assert (node.held is None) == (bool(children) or node is self._root)
            if children:
                assert node.n_active == sum(child.n_active for child in children)
                assert list(node.children) != ["."] or self.flat
        assert self._listing is None or self._listing == list(self._clients_below(self._root))


class _Walk(Iterator[str]):
    """Iterator over the active clients in the order of the moment of its making.

    While it follows the live order, the only nodes whose keys have changed are those in `passed`:
    on each level it goes on after the key it came by, skipping these.
    """

    def __init__(self, root: Node, orders: dict[Node, SortedList[_Key]]) -> None:
        self._orders = orders
        #: Nodes that have been given out or entered and may be anywhere now.
        self.passed: set[Node] = set()
        #: By level: the node whose children are walked, and the key of the last one taken.
        self._levels: list[tuple[Node, _Key | None]] = [(root, None)]
        #: What is left, last first, once the live order is no longer followed.
        self._rest: list[str] | None = None

    def __next__(self) -> str:
        if self._rest is None:
            client = self._advance()
            if client is not None:
                return client
            self._rest = []
        if not self._rest:
            raise StopIteration
        return self._rest.pop()

    def detach(self) -> None:
        """Take down the rest of the order and no longer follow the live one. O(rest × log s)."""
        rest: list[str] = []
        client = self._advance()
        while client is not None:
            rest.append(client)
            client = self._advance()
        rest.reverse()
        self._rest = rest

    def _advance(self) -> str | None:
        while self._levels:
            parent, last = self._levels.pop()
            key = self._next_key(parent, last)
            if key is None:
                continue
            node = key[-1]
            self._levels.append((parent, key))
            self.passed.add(node)
            if node.held is not None:
                return node.label
            self._levels.append((node, None))
        return None

    def _next_key(self, parent: Node, last: _Key | None) -> _Key | None:
        order = self._orders.get(parent)
        if order is None:
            return None
        keys: Iterator[_Key] = order.irange(last, inclusive=(False, True))
        return next((key for key in keys if key[-1] not in self.passed), None)
