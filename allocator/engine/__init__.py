"""The allocator: roles in a tree share the resources of many machines by weighted DRF."""

from allocator.contract import InverseOffer, Offer
from allocator.engine.offers import Offers
from allocator.errors import check_built
from allocator.resources.conversions import (
    Create,
    Destroy,
    GrowVolume,
    Operation,
    Reserve,
    ShrinkVolume,
    Unreserve,
)

try:
    from allocator.engine.allocator import Allocator
except ModuleNotFoundError as error:
    check_built(error)
    raise

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
