"""The allocator: roles in a tree share the resources of many machines by weighted DRF."""

from allocator.engine.allocator import Allocator
from allocator.engine.offers import InverseOffer, Offer, Offers

__all__ = ["Allocator", "InverseOffer", "Offer", "Offers"]
