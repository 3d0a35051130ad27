"""Amounts by name, as those who look at the engine's rows get to see them."""

from __future__ import annotations

from collections.abc import Mapping

from allocator.resources import Quantities


class Tally(dict[str, int]):
    """Resource name → amount in thousandths; a name that is absent stands for zero.

    Unlike `Quantities` it changes in place and may hold negative amounts: a limit that was lowered
    below consumption leaves a negative remainder.
    """

    __slots__ = ()

    def __missing__(self, name: str) -> int:
        return 0

    def add(self, amounts: Mapping[str, int]) -> None:
        """Add `amounts`, dropping names that become zero. O(names)."""
        for name, milli in amounts.items():
            value = self[name] + milli
            if value:
                self[name] = value
            else:
                self.pop(name, None)

    def quantities(self) -> Quantities:
        """Return the positive amounts as a value to hand out. O(names)."""
        return Quantities.from_milli({name: milli for name, milli in self.items() if milli > 0})
