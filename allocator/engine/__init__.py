"""The allocator: roles in a tree share the resources of many machines by weighted DRF."""

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
