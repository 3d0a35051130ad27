"""The specification in code: the contract in plain Python that recomputes everything.

It keeps nothing that follows from something else and shares no code with the engine but the
values that go in and come out (resources, `allocator.contract`), the errors, the clock, role paths
and, where an order is drawn by lot, the random sorter. The engine must decide the same to the last
tie; its slowness is the measure of every shortcut.
"""

from allocator.contract import InverseOffer, Offer
from allocator.reference.allocator import Allocator
from allocator.reference.views import Offers

__all__ = ["Allocator", "InverseOffer", "Offer", "Offers"]
