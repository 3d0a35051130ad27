"""Offers, and the sequence of them that a cycle returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from allocator.resources import Resources

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Offer(NamedTuple):
    """Resources of one agent, offered to one framework in one role.

    The value is what was offered; what is still in the offer is the engine's to know.
    """

    id: str
    framework: str
    role: str
    agent: str
    resources: Resources


class InverseOffer(NamedTuple):
    """A request to a framework to leave an agent that becomes unavailable.

    `start` is in seconds of the engine's clock, `duration` in seconds, None for good.
    """

    framework: str
    agent: str
    start: float
    duration: float | None


class Offers(Sequence[Offer]):
    """The offers of one cycle, in the order in which they were made. Read-only.

    At most one per (framework, role, agent). `inverse` holds the cycle's inverse offers.

    Examples
    --------
    >>> from allocator import Allocator
    >>> engine = Allocator(seed=1)
    >>> engine.add_agent("a1", "cpus:8;mem:1024")
    >>> engine.add_framework("spark")
    >>> offers = engine.allocate()
    >>> offers
    <Offers: 1>
    >>> offers.columns()["quantities"].tolist()
    [[8000, 1024000]]
    """

    __slots__ = ("_offers", "inverse")

    def __init__(self, offers: Sequence[Offer] = (), inverse: Sequence[InverseOffer] = ()) -> None:
        self._offers = tuple(offers)
        self.inverse = tuple(inverse)

    @overload
    def __getitem__(self, index: int) -> Offer: ...

    @overload
    def __getitem__(self, index: slice) -> Offers: ...

    def __getitem__(self, index: int | slice) -> Offer | Offers:
        """Return one offer, or some of them as `Offers`."""
        if isinstance(index, slice):
            return Offers(self._offers[index])
        return self._offers[index]

    def __len__(self) -> int:
        return len(self._offers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Offers):
            return NotImplemented
        return self._offers == other._offers and self.inverse == other.inverse

    __hash__ = None  # type: ignore[assignment]  # a sequence that may be long; compare, don't hash

    def __repr__(self) -> str:
        return f"<Offers: {len(self)}>"

    def by_framework(self) -> dict[str, list[Offer]]:
        """Return each framework's offers, in the order made. O(offers)."""
        grouped: dict[str, list[Offer]] = {}
        for offer in self._offers:
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
        frameworks, framework_index = _indexed([offer.framework for offer in self._offers])
        roles, role_index = _indexed([offer.role for offer in self._offers])
        agents, agent_index = _indexed([offer.agent for offer in self._offers])
        rows: list[Mapping[str, int]] = [o.resources.quantities().milli for o in self._offers]
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


def _indexed(ids: list[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the distinct ids in order of first use, and each id's index among them."""
    places: dict[str, int] = {}
    index = np.fromiter((places.setdefault(i, len(places)) for i in ids), np.int64, len(ids))
    return list(places), index
