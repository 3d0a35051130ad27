"""Offers, and the sequence of them that a cycle returns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

import numpy as np

from allocator.contract import InverseOffer, Offer
from allocator.errors import InvalidValue, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from allocator.engine._cycle import OfferColumns
    from allocator.engine._state import State


class Offers(Sequence[Offer]):
    """The offers of one cycle, in the order in which they were made. Read-only.

    At most one per (framework, role, agent). `inverse` holds the cycle's inverse offers, and
    `rescinded` the ids of those offers that the engine took back as the cycle began, since they had
    been open for its `offer_timeout`, in the order made. Each `Offer` is made when it is looked at;
    `columns` needs none. A slice, an array of places, or an array that says of each offer whether
    it is wanted selects some of them, again as `Offers`: what answers one offer answers a whole
    selection too.

    Examples
    --------
    >>> from allocator import Allocator
    >>> engine = Allocator(seed=1)
    >>> engine.add_agents(["a1", "a2"], "cpus:8;mem:1024")
    >>> engine.add_framework("spark")
    >>> offers = engine.allocate()
    >>> offers
    <Offers: 2>
    >>> offers.columns()["quantities"].tolist()
    [[8000, 1024000], [8000, 1024000]]
    >>> engine.accept(offers[:1])
    >>> engine.decline(offers[[1]], refuse_seconds=60)
    """

    __slots__ = ("_columns", "_offers", "_places", "inverse", "rescinded")

    def __init__(
        self,
        offers: Sequence[Offer] = (),
        inverse: Sequence[InverseOffer] = (),
        rescinded: Sequence[str] = (),
    ) -> None:
        #: The offers, None until all were looked at.
        self._offers: tuple[Offer, ...] | None = tuple(offers)
        #: Where the offers are if they were made in columns, and at which places there.
        self._columns: OfferColumns | None = None
        self._places: NDArray[np.int64] = np.empty(0, np.int64)
        self.inverse = tuple(inverse)
        self.rescinded = tuple(rescinded)

    @classmethod
    def _of(
        cls,
        columns: OfferColumns,
        places: NDArray[np.int64] | None = None,
        inverse: Sequence[InverseOffer] = (),
        rescinded: Sequence[str] = (),
    ) -> Offers:
        """Return the offers in `columns`, or those at some places there. O(1)."""
        self = cls((), inverse, rescinded)
        if places is None:
            places = np.arange(columns.n)
        self._offers, self._columns, self._places = None, columns, places
        return self

    @overload
    def __getitem__(self, index: int) -> Offer: ...

    @overload
    def __getitem__(self, index: slice | Sequence[int] | NDArray[Any]) -> Offers: ...

    def __getitem__(self, index: int | slice | Sequence[int] | NDArray[Any]) -> Any:
        """Return one offer, or a selection of them as `Offers`.

        Raises
        ------
        IndexError
            No offer is there, or a mask has another length. O(selected).
        """
        # Arrays first: telling what stands for an integer takes longer than to select.
        if not isinstance(index, np.ndarray) and isinstance(index, SupportsIndex):
            place = range(len(self))[index]
            if self._offers is not None:
                return self._offers[place]
            assert self._columns is not None
            return self._columns.offer(int(self._places[place]))
        picked = np.arange(len(self))[_selection(index)]
        if self._columns is None:
            return Offers([self._offers[place] for place in picked] if self._offers else ())
        return Offers._of(self._columns, self._places[picked])

    def __len__(self) -> int:
        return len(self._places) if self._columns is not None else len(self._all())

    def __iter__(self) -> Iterator[Offer]:
        return iter(self._all())

    def _all(self) -> tuple[Offer, ...]:
        if self._offers is None:
            assert self._columns is not None
            self._offers = tuple(map(self._columns.offer, self._places.tolist()))
        return self._offers

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Offers):
            return NotImplemented
        return (
            self._all() == other._all()
            and self.inverse == other.inverse
            and self.rescinded == other.rescinded
        )

    __hash__ = None  # type: ignore[assignment]  # a sequence that may be long; compare, don't hash

    def __repr__(self) -> str:
        return f"<Offers: {len(self)}>"

    def __reduce__(self) -> tuple[type[Offers], tuple[object, ...]]:
        return Offers, (self._all(), self.inverse, self.rescinded)

    def by_framework(self) -> dict[str, list[Offer]]:
        """Return each framework's offers, in the order made. O(offers)."""
        grouped: dict[str, list[Offer]] = {}
        for offer in self:
            grouped.setdefault(offer.framework, []).append(offer)
        return grouped

    def columns(self) -> dict[str, Any]:
        """Return the offers as columns, so that a caller need not look at each.

        Returns
        -------
        dict
            `agent`, `framework`, `role`: (n,) int64 arrays that index the lists of ids `agents`,
            `frameworks`, `roles`; `quantities`: (n, k) int64 array of scalars in 1/1000, whose
            columns the list `names` names. O(offers × names).
        """
        if self._columns is not None:
            return self._columns.columns(self._places)
        offers = self._all()
        frameworks, framework_index = _indexed([offer.framework for offer in offers])
        roles, role_index = _indexed([offer.role for offer in offers])
        agents, agent_index = _indexed([offer.agent for offer in offers])
        rows: list[Mapping[str, int]] = [o.resources.quantities().milli for o in offers]
        names = sorted({name for row in rows for name in row})
        quantities = np.array([[row.get(name, 0) for name in names] for row in rows], np.int64)
        return {
            "agent": agent_index,
            "framework": framework_index,
            "role": role_index,
            "quantities": quantities.reshape(len(rows), len(names)),
            "agents": agents,
            "frameworks": frameworks,
            "roles": roles,
            "names": names,
        }

    def _numbers(self, state: State) -> NDArray[np.int64]:
        """Return N of each id; raises `OfferGone` for one of another prefix. O(offers)."""
        if self._columns is not None and self._columns.prefix == state.offer_prefix:
            return self._places + self._columns.first_number
        return np.array([state.offer_number(offer.id) for offer in self._all()], np.int64)


def _selection(index: object) -> Any:
    """Return what selects some of an array, an empty list too."""
    if isinstance(index, slice):
        return index
    array = np.asarray(index)
    return array if array.size else array.astype(np.int64)


def _indexed(ids: list[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the distinct ids in order of first use, and each id's index among them."""
    places: dict[str, int] = {}
    index = np.fromiter((places.setdefault(i, len(places)) for i in ids), np.int64, len(ids))
    return list(places), index


def offer_id(offer: Offer | str) -> str:
    """Return the id of an offer; raises `InvalidValue` for what is neither. O(1)."""
    id = offer.id if isinstance(offer, Offer) else offer
    if not isinstance(id, str):
        raise InvalidValue(f"{shown(offer)} is neither an offer nor the id of one")
    return str.__str__(id)  # of a subclass, its text


def offer_numbers(state: State, offers: Iterable[Offer | str]) -> NDArray[np.int64]:
    """Return N of the id of each of several offers.

    Raises
    ------
    InvalidValue
        One is no offer, or they are not several.
    OfferGone
        An id is none of the engine's. O(offers).
    """
    if isinstance(offers, Offers):
        return offers._numbers(state)
    if not isinstance(offers, Iterable):
        raise InvalidValue(f"{shown(offers)} is no offer, nor the id of one, nor several")
    return np.array([state.offer_number(offer_id(each)) for each in offers], np.int64)
