"""What the reference hands out: offers of a cycle, and pictures of agents, frameworks and roles.

A picture shows the moment at which it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, overload

from allocator.contract import InverseOffer, Offer
from allocator.resources import Quantities, Resources

Shown = TypeVar("Shown")


class Looked(Mapping[str, Shown]):
    """All that there is of one kind at the time one looks."""

    def __init__(self, names: Callable[[], Collection[str]], look: Callable[[str], Shown]) -> None:
        self._names = names
        self._look = look

    def __getitem__(self, name: str) -> Shown:
        """Return what is there under a name; raises `KeyError`."""
        if name not in self._names():
            raise KeyError(name)
        return self._look(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())


class Offers(Sequence[Offer]):
    """The offers of one cycle, in the order made, its inverse offers, and what was rescinded."""

    def __init__(
        self,
        offers: Sequence[Offer] = (),
        inverse: Sequence[InverseOffer] = (),
        rescinded: Sequence[str] = (),
    ) -> None:
        self._offers = tuple(offers)
        self.inverse = tuple(inverse)
        self.rescinded = tuple(rescinded)

    @overload
    def __getitem__(self, index: int) -> Offer: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Offer]: ...

    def __getitem__(self, index: int | slice) -> Offer | Sequence[Offer]:
        """Return one offer, or some of them."""
        return self._offers[index]

    def __len__(self) -> int:
        return len(self._offers)

    def __repr__(self) -> str:
        return f"<Offers: {len(self)}>"

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
