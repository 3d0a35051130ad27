"""Resource values: what an agent has, an offer holds, a task takes.

`Resources` is a collection of `Resource` entries that tells *which*; `Quantities` tells only *how
much* of each scalar name.
"""

from allocator.resources.disk import DiskInfo, DiskSource, Persistence, Volume
from allocator.resources.quantities import Quantities, QuantitiesLike, read_limits
from allocator.resources.reservation import Reservation
from allocator.resources.resource import Resource
from allocator.resources.resources import EMPTY, Resources, ResourcesLike

__all__ = [
    "EMPTY",
    "DiskInfo",
    "DiskSource",
    "Persistence",
    "Quantities",
    "QuantitiesLike",
    "Reservation",
    "Resource",
    "Resources",
    "ResourcesLike",
    "Volume",
    "read_limits",
]
