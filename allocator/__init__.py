"""Dominant Resource Fairness for a cluster: agents, frameworks, roles, offers.

`Allocator` is the engine; `AllocationLoop` runs its cycles in asyncio. Resources are values,
written as text (`"cpus:4;mem:8192"`), mappings or v1 JSON wherever one is taken. Every refusal is
an `AllocatorError`.

A name here is loaded when it is first asked for, so that a process which needs only resources does
not carry the engine and NumPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allocator.clock import ManualClock
    from allocator.contract import InverseOffer, Offer
    from allocator.engine import Allocator, Offers
    from allocator.errors import (
        AllocatorError,
        AuditError,
        ConstraintError,
        DuplicateAgent,
        DuplicateClient,
        DuplicateFramework,
        FairnessError,
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
    from allocator.resources.conversions import (
        Create,
        Destroy,
        GrowVolume,
        Reserve,
        ShrinkVolume,
        Unreserve,
    )

    __version__: str

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
    "FairnessError",
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

#: Public name → the module below this one that has it; `errors` has all others.
_HOMES = {
    "AllocationLoop": "loop",
    "Allocator": "engine",
    "Create": "resources.conversions",
    "Destroy": "resources.conversions",
    "GrowVolume": "resources.conversions",
    "InverseOffer": "contract",
    "ManualClock": "clock",
    "Offer": "contract",
    "Offers": "engine",
    "Quantities": "resources",
    "Reserve": "resources.conversions",
    "Resource": "resources",
    "Resources": "resources",
    "ShrinkVolume": "resources.conversions",
    "Unreserve": "resources.conversions",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value = import_module("allocator.version").installed_version()
    elif name in __all__:
        value = getattr(import_module(f"allocator.{_HOMES.get(name, 'errors')}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # so that the next look finds it at once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
