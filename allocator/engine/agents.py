"""Agents: the machines whose resources are shared, and what is held on each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from allocator.engine._order import hash64
from allocator.resources import Resources

if TYPE_CHECKING:
    from allocator.engine.frameworks import Subscription

EMPTY = Resources()

#: What an agent can do unless it says otherwise: all that a present-day agent can.
DEFAULT_CAPABILITIES = frozenset({"MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT"})


class Holding:
    """What one framework holds in one role on one agent."""

    __slots__ = ("allocated", "offered", "offers")

    def __init__(self) -> None:
        self.offered = EMPTY
        self.allocated = EMPTY
        #: offer id → what of that open offer is still in it, oldest first; sums up to `offered`.
        self.offers: dict[str, Resources] = {}


class Agent:
    """One agent's resources and who holds them.

    Invariants:

    A1. available + offered + allocated = total by identity, unless the total shrank below what is
        in use (`overcommitted`): then available is total − offered − allocated, nowhere below zero.
        Shared entries stay available while they are in use.
    A2. `offered` and `allocated` are the sums over `holdings`; `allocated` also contains `pending`.
    """

    __slots__ = (
        "active",
        "allocated",
        "attributes",
        "available",
        "capabilities",
        "filtered",
        "has_gpus",
        "holdings",
        "hostname",
        "id",
        "id_hash",
        "offered",
        "overcommitted",
        "pending",
        "region",
        "total",
        "zone",
    )

    def __init__(
        self,
        id: str,
        total: Resources,
        *,
        hostname: str,
        attributes: Mapping[str, object],
        capabilities: frozenset[str],
        region: str | None,
        zone: str | None,
    ) -> None:
        self.id = id
        self.id_hash = hash64(id)
        self.hostname = hostname
        self.attributes = attributes
        self.capabilities = capabilities
        self.region = region
        self.zone = zone
        self.active = True
        self.total = total
        #: Whether the total has GPUs, which not every framework is offered.
        self.has_gpus = "gpus" in total.quantities()
        self.available = total
        self.offered = EMPTY
        self.allocated = EMPTY
        self.overcommitted = False
        self.holdings: dict[Subscription, Holding] = {}
        #: framework not yet added → role → what it uses here.
        self.pending: dict[str, dict[str, Resources]] = {}
        #: Subscriptions that have a filter on this agent; kept by `Filters`.
        self.filtered: set[Subscription] = set()

    def take(self, resources: Resources, *, offered: bool) -> None:
        """Count available `resources` as offered or allocated (A1). O(entries)."""
        self.available -= resources.nonshared()
        if offered:
            self.offered += resources
        else:
            self.allocated += resources

    def give_back(self, resources: Resources, *, offered: bool) -> None:
        """Undo `take`. O(entries)."""
        if offered:
            self.offered -= resources
        else:
            self.allocated -= resources
        if self.overcommitted:
            self.refresh()
        else:
            self.available += resources.nonshared()

    def change_total(self, total: Resources) -> None:
        """Replace the total; the caller accounts for the difference. O(entries)."""
        self.total = total
        self.has_gpus = "gpus" in total.quantities()
        self.refresh()

    def refresh(self) -> None:
        """Restore A1 after the total or, being overcommitted, its use changed. O(entries)."""
        in_use = (self.offered + self.allocated).nonshared()
        self.overcommitted = not self.total >= in_use
        self.available = self.total.minus_floor(in_use)
