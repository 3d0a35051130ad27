"""What the reference hands out: offers of a cycle, and pictures of agents, frameworks and roles.

A picture shows the moment at which it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from allocator.contract import InverseOffer, Offer
from allocator.resources import Quantities, Resources


class Offers(Sequence[Offer]):
    """The offers of one cycle, in the order made, and its inverse offers."""

    def __init__(self, offers: Sequence[Offer] = (), inverse: Sequence[InverseOffer] = ()) -> None:
        self._offers = tuple(offers)
        self.inverse = tuple(inverse)

    @overload
    def __getitem__(self, index: int) -> Offer: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Offer]: ...

    def __getitem__(self, index: int | slice) -> Offer | Sequence[Offer]:
        """Return one offer, or some of them."""
        return self._offers[index]

    def __len__(self) -> int:
        return len(self._offers)

    def by_framework(self) -> dict[str, list[Offer]]:
        """Return each framework's offers, in the order made."""
        frameworks = dict.fromkeys(offer.framework for offer in self._offers)
        return {f: [offer for offer in self._offers if offer.framework == f] for f in frameworks}


@dataclass(frozen=True)
class AgentView:
    """One agent."""

    id: str
    hostname: str
    active: bool
    attributes: Mapping[str, object]
    capabilities: frozenset[str]
    region: str | None
    zone: str | None
    total: Resources
    available: Resources
    offered: Resources
    allocated: Resources
    reserved: Resources


@dataclass(frozen=True)
class FrameworkView:
    """One framework; what it holds by agent and role."""

    id: str
    active: bool
    roles: tuple[str, ...]
    suppressed: frozenset[str]
    capabilities: frozenset[str]
    offered: Mapping[str, Mapping[str, Resources]]
    allocated: Mapping[str, Mapping[str, Resources]]
    #: Role that it is in → its dominant share among the frameworks there.
    share: Callable[[str], float]


@dataclass(frozen=True)
class QuotaView:
    """A role's guarantee, and its limit by name."""

    guarantee: Quantities
    limit: Mapping[str, float]


@dataclass(frozen=True)
class RoleView:
    """One role; the sums are over its subtree, the filters and frameworks its own."""

    path: str
    weight: float
    share: float
    quota: QuotaView
    consumed: Quantities
    offered: Quantities
    allocated: Quantities
    reserved: Quantities
    frameworks: tuple[str, ...]
    filters: int
