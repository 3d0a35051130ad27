"""What an offer to a framework must at least contain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def minimum_to_json(minimum: Minimum | Mapping[str, Minimum] | None) -> Any:
    """Return what `read_minimum` reads back."""
    if minimum is None:
        return None
    if isinstance(minimum, tuple):
        return [str(amounts) for amounts in minimum]
    return {role: [str(amounts) for amounts in own] for role, own in sorted(minimum.items())}
