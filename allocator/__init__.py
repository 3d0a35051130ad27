"""Dominant Resource Fairness for a cluster: agents, frameworks, roles, offers.

`Allocator` is the engine; `AllocationLoop` runs its cycles in asyncio. Resources are values,
written as text (`"cpus:4;mem:8192"`), mappings or v1 JSON wherever one is taken. Every refusal is
an `AllocatorError`.
"""

from allocator.clock import ManualClock
from allocator.engine import Allocator, InverseOffer, Offer, Offers
from allocator.errors import (
    AllocatorError,
    ConstraintError,
    DuplicateAgent,
    DuplicateClient,
    DuplicateFramework,
    InvalidRole,
    InvalidValue,
    NotAllowed,
    OfferGone,
    QuotaError,
    ResourceError,
    SnapshotError,
    UnknownAgent,
    UnknownClient,
    UnknownFramework,
    UnknownRole,
)
from allocator.loop import AllocationLoop
from allocator.resources import Quantities, Resource, Resources
from allocator.version import installed_version

__version__ = installed_version()

__all__ = [
    "AllocationLoop",
    "Allocator",
    "AllocatorError",
    "ConstraintError",
    "DuplicateAgent",
    "DuplicateClient",
    "DuplicateFramework",
    "InvalidRole",
    "InvalidValue",
    "InverseOffer",
    "ManualClock",
    "NotAllowed",
    "Offer",
    "OfferGone",
    "Offers",
    "Quantities",
    "QuotaError",
    "Resource",
    "ResourceError",
    "Resources",
    "SnapshotError",
    "UnknownAgent",
    "UnknownClient",
    "UnknownFramework",
    "UnknownRole",
]
