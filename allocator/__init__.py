"""Dominant Resource Fairness for a cluster: agents, frameworks, roles, offers.

`Allocator` is the engine; `AllocationLoop` runs its cycles in asyncio. Resources are values,
written as text (`"cpus:4;mem:8192"`), mappings or v1 JSON wherever one is taken. Every refusal is
an `AllocatorError`.
"""

from allocator.clock import ManualClock
from allocator.engine import (
    Allocator,
    Create,
    Destroy,
    GrowVolume,
    InverseOffer,
    Offer,
    Offers,
    Reserve,
    ShrinkVolume,
    Unreserve,
)
from allocator.errors import (
    AllocatorError,
    AuditError,
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
    "AuditError",
    "ConstraintError",
    "Create",
    "Destroy",
    "DuplicateAgent",
    "DuplicateClient",
    "DuplicateFramework",
    "GrowVolume",
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
    "Reserve",
    "Resource",
    "ResourceError",
    "Resources",
    "ShrinkVolume",
    "SnapshotError",
    "UnknownAgent",
    "UnknownClient",
    "UnknownFramework",
    "UnknownRole",
    "Unreserve",
]
