"""The H-DRF sorter that keeps nothing but what it was told: the specification of the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self

from allocator.sorter.base import checked_saturation
from allocator.sorter.naive import NaiveDRFSorter
from allocator.sorter.totals import Totals


class _Judged(NamedTuple):
    """What a node counts for in the one above it."""

    #: Its share divided by its weight.
    key: float
    #: Whether nothing at or below it can be given more.
    blocked: bool
    #: name → thousandths.
    vector: Mapping[str, float]


class NaiveHDRFSorter(NaiveDRFSorter):
    """Clients by hierarchical Dominant Resource Fairness, everything recomputed at every question.

    Parameters
    ----------
    exclude : iterable of str
        Resource names left out of the share.
    flat : bool
        Whether each client is one leaf, whatever characters its name has.
    totals : Totals, optional
        Agents' totals shared with other sorters; its own without.
    saturation : float
        A name is saturated when no larger part of its total than this is left, from 0 to 1.

    Raises
    ------
    InvalidValue
        If `exclude` is not a collection of names, or `saturation` not a number from 0 to 1.

    Notes
    -----
    The rule is that of `HDRFSorter`. `sort` costs O(h d + c k + n log n), where c counts all nodes.
    """

    def __init__(
        self,
        exclude: Iterable[str] = (),
        *,
        flat: bool = False,
        totals: Totals | None = None,
        saturation: float = 0.0,
    ) -> None:
        super().__init__(exclude, flat=flat, totals=totals)
        self.saturation = checked_saturation(saturation)

    def _blank(self, totals: Totals) -> Self:
        return type(self)(self.exclude, flat=self.flat, totals=totals, saturation=self.saturation)

    def _keys(self, clients_below: Mapping[str, list[str]]) -> dict[str, float]:
        """Return what each node goes by, from the leaves up."""
        saturated = self._saturated()
        children: dict[str, set[str]] = {}
        judged: dict[str, _Judged] = {}
        for client in self._held:
            leaf, *above = self._nodes(client)
            judged[leaf] = self._judge_leaf(leaf, client, saturated)
            below = leaf
            for node in above:
                children.setdefault(node, set()).add(below)
                below = node
        for node in sorted(children, key=lambda path: -path.count("/")):
            under = [judged[child] for child in sorted(children[node])]
            judged[node] = self._judge_inner(node, under, saturated)
        return {node: judged[node].key for node in clients_below}

    def _saturated(self) -> set[str]:
        """Return the names that count and of which all, or nearly all, is held."""
        held = self.quantities().milli
        return {
            name
            for name, total in self.totals.quantities.milli.items()
            if total > 0 and name not in self.exclude
            # Python compares an integer and a float exactly.
            if total - held.get(name, 0) <= self.saturation * total
        }

    def _judge_leaf(self, leaf: str, client: str, saturated: set[str]) -> _Judged:
        amounts = self._amounts([client])
        blocked = client not in self._active or any(amounts.get(name, 0) > 0 for name in saturated)
        vector = {name: float(milli) for name, milli in amounts.items()}
        return _Judged(self._share(leaf, [client]), blocked, vector)

    def _judge_inner(self, node: str, children: list[_Judged], saturated: set[str]) -> _Judged:
        """Judge a node by its children, which stand in the order of their paths."""
        free = [child for child in children if not child.blocked]
        least = min((child.key for child in free if child.key > 0), default=0.0)
        vector: dict[str, float] = {}
        for child in children:
            scale = least / child.key if child.key > 0 and not child.blocked else 1.0
            for name, amount in child.vector.items():
                vector[name] = vector.get(name, 0.0) + scale * amount
        dominant = 0.0
        for name, total in self.totals.quantities.milli.items():
            if total > 0 and name not in self.exclude and name not in saturated:
                dominant = max(dominant, vector.get(name, 0.0) / float(total))
        return _Judged(dominant / self._weights.get(node, 1.0), not free, vector)
