"""What an offer to a framework must at least contain."""

from __future__ import annotations

from allocator.resources import Quantities, Resources

#: Any one of these amounts makes an offer worth making; an empty tuple accepts anything.
Minimum = tuple[Quantities, ...]


def suffices(resources: Resources, minimum: Minimum) -> bool:
    """Tell whether `resources` contain any one of the amounts of `minimum`.

    Scalars count their amount, ranges and sets their elements. O(amounts × names).
    """
    if not minimum:
        return True
    counts = resources.counts()
    return any(counts >= amounts for amounts in minimum)
