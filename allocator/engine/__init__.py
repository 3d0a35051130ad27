"""The allocator: roles in a tree share the resources of many machines by weighted DRF."""

from allocator.engine.allocator import Allocator
from allocator.engine.conversions import (
    Create,
    Destroy,
    GrowVolume,
    Operation,
    Reserve,
    ShrinkVolume,
    Unreserve,
)
from allocator.engine.offers import InverseOffer, Offer, Offers

__all__ = [
    "Allocator",
    "Create",
    "Destroy",
    "GrowVolume",
    "InverseOffer",
    "Offer",
    "Offers",
    "Operation",
    "Reserve",
    "ShrinkVolume",
    "Unreserve",
]
