"""The DRF sorter that keeps nothing but what it was told: the specification of the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Self

from allocator.errors import DuplicateClient, ResourceError, shown
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


class NaiveDRFSorter(PlainOrdering):
    """Clients by weighted Dominant Resource Fairness, everything recomputed at every question.

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
    The methods are those of `Sorter`. It knows no tree: the nodes are the paths that clients and
    their ancestors have, each with the number of times allocated, which no allocation tells.
    `sort` costs O(h d + n log n), where h counts (client, agent) pairs that hold something, d is
    the depth and n the number of clients.

    Examples
    --------
    >>> sorter = NaiveDRFSorter()
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
        #: client → agent → what it holds there, never empty.
        self._held: dict[str, dict[str, Resources]] = {}
        self._active: set[str] = set()
        #: path → weight, also of paths that no node has.
        self._weights: dict[str, float] = {}
        #: node → number of times allocated at or below it; has exactly the nodes.
        self._numbers: dict[str, int] = {}
        #: path → number of clients below it, never zero.
        self._n_below: dict[str, int] = {}
        #: name → a bound on the sum of what is held, which counts shared entries per client.
        self._ceiling: dict[str, int] = {}

    def add(self, client: str) -> None:
        """Add an inactive client; raises `DuplicateClient`, `InvalidRole`. O(d)."""
        client = client_path(client, flat=self.flat)
        if client in self._held:
            raise DuplicateClient(f"client {shown(client)} is in the sorter already")
        for ancestor in self._ancestors(client):
            if ancestor in self._held and ancestor not in self._n_below:
                # The leaf is split, and its implicit leaf inherits its number.
                self._numbers[_implicit(ancestor)] = self._numbers[ancestor]
            self._numbers.setdefault(ancestor, 0)
            self._n_below[ancestor] = self._n_below.get(ancestor, 0) + 1
        self._held[client] = {}
        self._numbers[self._leaf(client)] = 0

    def remove(self, client: str) -> None:
        """Remove a client and what it holds; raises `UnknownClient`. O(d + agents)."""
        for resources in self._holdings(client).values():
            self._count(resources, -1)
        del self._numbers[self._leaf(client)]
        del self._held[client]
        self._active.discard(client)
        for ancestor in self._ancestors(client):
            self._n_below[ancestor] -= 1
            if not self._n_below[ancestor]:
                del self._n_below[ancestor]
                # A client is a leaf again and keeps the node's number; other nodes are gone.
                gone = _implicit(ancestor) if ancestor in self._held else ancestor
                del self._numbers[gone]

    def activate(self, client: str) -> None:
        """Have `sort` list a client from now on; raises `UnknownClient`. O(1)."""
        self._holdings(client)
        self._active.add(client)

    def deactivate(self, client: str) -> None:
        """Leave a client out of `sort`; raises `UnknownClient`. O(1)."""
        self._holdings(client)
        self._active.discard(client)

    def update_weight(self, path: str, weight: float) -> None:
        """Set the weight of a path; raises `InvalidValue`, `InvalidRole`. O(1)."""
        path = client_path(path, flat=self.flat)
        self._weights[path] = checked_weight(weight)

    def allocated(self, client: str, agent: str, resources: ResourcesLike) -> None:
        """Add to what a client holds; raises `UnknownClient`, `ResourceError`. O(d)."""
        self._change(client, agent, _NOTHING, Resources(resources))
        for node in self._nodes(client):
            self._numbers[node] += 1

    def unallocated(self, client: str, agent: str, resources: ResourcesLike) -> None:
        """Take from what a client holds; raises `UnknownClient`, `ResourceError`. O(1)."""
        self._change(client, agent, Resources(resources), _NOTHING)

    def update(self, client: str, agent: str, old: ResourcesLike, new: ResourcesLike) -> None:
        """Replace part of what a client holds; raises as the two above. O(1)."""
        self._change(client, agent, Resources(old), Resources(new))

    def sort(self) -> list[str]:
        """Return the active clients, neediest first. O(h d + n log n)."""
        clients_below = self._clients_below()
        keys = self._keys(clients_below)
        key_of = {node: (keys[node], self._numbers[node], node) for node in clients_below}

        def place(client: str) -> list[tuple[float, int, str]]:
            # Keys from the top level down: comparing these lists is comparing in pre-order.
            return [key_of[node] for node in reversed(self._nodes(client))]

        return sorted(self._active, key=place)

    def order(self) -> Iterator[str]:
        """Iterate over `sort()`."""
        return iter(self.sort())

    def share(self, path: str) -> float:
        """Return the share of a node; raises `UnknownClient`. O(h d)."""
        if not isinstance(path, str) or path not in self._numbers:
            raise unknown_client(path)
        return self._share(path, [client for client in self._held if path in self._nodes(client)])

    def standing(self, path: str) -> Standing:
        """Return what a node goes by; raises `UnknownClient`. O(h d)."""
        if not isinstance(path, str) or path not in self._numbers:
            raise unknown_client(path)
        return Standing(path, self._keys(self._clients_below())[path], self._numbers[path])

    def allocation(self, client: str) -> dict[str, Resources]:
        """Return what a client itself holds, by agent; raises `UnknownClient`. O(agents)."""
        return dict(self._holdings(client))

    def quantities(self, client: str | None = None) -> Quantities:
        """Return how much a client, or everybody, holds; raises `UnknownClient`. O(h)."""
        if client is None:
            return Quantities.from_milli(self._amounts(self._held))
        self._holdings(client)
        return Quantities.from_milli(self._amounts([client]))

    def times_allocated(self) -> dict[str, int]:
        """Return the number of times allocated of every node, by path. O(n log n)."""
        return dict(sorted(self._numbers.items()))

    def set_times_allocated(self, numbers: Mapping[str, int]) -> None:
        """Set numbers of times allocated; raises `UnknownClient`, `InvalidValue`. O(n)."""
        self._numbers.update(checked_numbers(numbers, self._numbers))

    def copy(self, totals: Totals | None = None) -> Self:
        """Return a copy that answers the same, on these totals or a copy of its own. O(h)."""
        twin = self._blank(self.totals.copy() if totals is None else totals)
        twin._held = {client: held.copy() for client, held in self._held.items()}
        twin._active = self._active.copy()
        twin._weights = self._weights.copy()
        twin._numbers = self._numbers.copy()
        twin._n_below = self._n_below.copy()
        twin._ceiling = self._ceiling.copy()
        return twin

    def __contains__(self, client: object) -> bool:
        return isinstance(client, str) and client in self._held

    def __len__(self) -> int:
        return len(self._held)

    def _ancestors(self, client: str) -> list[str]:
        """Return the paths above a client's, innermost first."""
        if self.flat:
            return []
        names = client.split("/")
        return ["/".join(names[:depth]) for depth in range(len(names) - 1, 0, -1)]

    def _leaf(self, client: str) -> str:
        return _implicit(client) if client in self._n_below else client

    def _nodes(self, client: str) -> list[str]:
        """Return a client's leaf and the nodes above it, innermost first."""
        leaf = self._leaf(client)
        return [leaf, *([client] if leaf != client else []), *self._ancestors(client)]

    def _blank(self, totals: Totals) -> Self:
        """Return a sorter of the same kind and options on these totals, without clients."""
        return type(self)(self.exclude, flat=self.flat, totals=totals)

    def _clients_below(self) -> dict[str, list[str]]:
        """Return the clients at or below each node."""
        clients_below: dict[str, list[str]] = {}
        for client in self._held:
            for node in self._nodes(client):
                clients_below.setdefault(node, []).append(client)
        return clients_below

    def _keys(self, clients_below: Mapping[str, list[str]]) -> dict[str, float]:
        """Return what each node goes by first among its siblings."""
        return {node: self._share(node, clients) for node, clients in clients_below.items()}

    def _holdings(self, client: str) -> dict[str, Resources]:
        if client not in self:
            raise unknown_client(client)
        return self._held[client]

    def _share(self, node: str, clients: Iterable[str]) -> float:
        """Return the share of a node from what the clients at and below it hold."""
        amounts = self._amounts(clients)
        weight = self._weights.get(node, 1.0)
        return dominant_share(amounts, self.totals.quantities.milli, self.exclude, weight)

    def _amounts(self, clients: Iterable[str]) -> dict[str, int]:
        """Return how much clients hold together; a shared entry of an agent counts once."""
        amounts: dict[str, int] = {}
        shared: dict[str, Resources] = {}
        for client in clients:
            for agent, resources in self._held[client].items():
                if resources.shared():
                    shared[agent] = shared.get(agent, _NOTHING) + resources.shared()
                _add(amounts, resources.nonshared(), 1)
        for resources in shared.values():
            _add(amounts, resources, 1)
        return amounts

    def _change(self, client: str, agent: str, lost: Resources, gained: Resources) -> None:
        """Change what a client holds on an agent, or leave all as it was and raise."""
        held = self._holdings(client)
        before = held.get(agent, _NOTHING)
        after = before - lost + gained
        self._hold(held, agent, after)
        if gained.shared() or max(self._ceiling.values(), default=0) > MAX_MILLI:
            try:
                self.quantities()
            except ResourceError:
                self._hold(held, agent, before)
                raise

    def _hold(self, held: dict[str, Resources], agent: str, resources: Resources) -> None:
        self._count(held.pop(agent, _NOTHING), -1)
        self._count(resources, 1)
        if resources:
            held[agent] = resources

    def _count(self, resources: Resources, sign: int) -> None:
        _add(self._ceiling, resources, sign)


def _implicit(client: str) -> str:
    return f"{client}/{IMPLICIT_NAME}"


def _add(amounts: dict[str, int], resources: Resources, sign: int) -> None:
    for name, milli in resources.quantities().milli.items():
        amounts[name] = amounts.get(name, 0) + sign * milli
