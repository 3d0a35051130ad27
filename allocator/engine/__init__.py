"""The allocator: roles in a tree share the resources of many machines by weighted DRF."""

from allocator.contract import InverseOffer, Offer
from allocator.engine.offers import Offers
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
    if not str(error.name).rpartition(".")[2].startswith("_"):
        raise
    raise ImportError(
        f"the compiled module {error.name} is missing; build it with"
        " `pip install --no-build-isolation -e .`",
        name=error.name,
    ) from error

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
