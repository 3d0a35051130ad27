"""The sorter that draws lots: a weighted shuffle on each level of the tree."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from typing import Self

from allocator.sorter.base import Standing
from allocator.sorter.totals import Totals
from allocator.sorter.tree import Node, TreeSorter


class Lot(Standing):
    """What a node that draws lots went by: chance."""

    __slots__ = ()

    def before(self, sibling: Standing) -> str:
        """Say that it was chance. O(1)."""
        return "drawn by lot"


class RandomSorter(TreeSorter):
    """Clients in random order, weights being the odds to come first among siblings.

    Parameters
    ----------
    exclude : iterable of str
        Resource names left out of the share, which does not decide the order here.
    flat : bool
        Whether each client is one leaf, whatever characters its name has.
    totals : Totals, optional
        Agents' totals shared with other sorters; its own without.
    seed : int or str, optional
        Where the stream of draws begins; None begins it anywhere.

    Raises
    ------
    InvalidValue
        If `exclude` is not a collection of names.

    Notes
    -----
    The methods are those of `Sorter`. Siblings draw exponential variates at the rate of their
    weights and go in ascending order, a weighted shuffle (Efraimidis and Spirakis, 2006) such as
    the random sorter of Apache Mesos has. They draw in the order of their paths, each order of the
    tree taking as many draws from the stream as there are nodes at or below which an active
    client is.

    Examples
    --------
    >>> sorter = RandomSorter(seed=7)
    >>> for client in ("a", "b", "c"):
    ...     sorter.add(client)
    ...     sorter.activate(client)
    >>> sorter.begin(1)
    >>> first = sorter.sort()
    >>> sorter.begin(1)
    >>> sorter.sort() == first
    True
    """

    def __init__(
        self,
        exclude: Iterable[str] = (),
        *,
        flat: bool = False,
        totals: Totals | None = None,
        seed: int | str | None = None,
    ) -> None:
        super().__init__(exclude, flat=flat, totals=totals)
        self._stream = random.Random(seed)

    def begin(self, key: int) -> None:
        """Begin the stream of draws anew, so that what follows depends on `key` alone. O(1)."""
        self._stream.seed(key)

    def copy(self, totals: Totals | None = None) -> Self:
        """Return a copy that answers and draws the same; see `TreeSorter.copy`."""
        twin = super().copy(totals)
        twin._stream.setstate(self._stream.getstate())
        return twin

    def sort(self) -> list[str]:
        """Return the active clients in an order drawn anew. O(n log n)."""
        return list(self._clients_below(self._root))

    def order(self) -> Iterator[str]:
        """Iterate over `sort()`."""
        return iter(self.sort())

    def standing(self, path: str) -> Standing:
        """Return what a node goes by, its share for information; raises `UnknownClient`. O(k)."""
        node = self._node(path)
        return Lot(path, self._share(node), node.number)

    def _clients_below(self, node: Node) -> Iterator[str]:
        drawn = [
            (self._draw(child.weight), path, child)
            for path, child in node.children.items()
            if child.n_active
        ]
        for _, _, child in sorted(drawn):
            if child.held is not None:
                yield child.label
            else:
                yield from self._clients_below(child)

    def _draw(self, weight: float) -> float:
        """Return an exponential variate at the rate of the weight."""
        return -math.log(1.0 - self._stream.random()) / weight
