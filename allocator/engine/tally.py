"""Amounts by name that are adjusted rather than recomputed."""

from collections.abc import Mapping


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

    def subtract(self, amounts: Mapping[str, int]) -> None:
        """Subtract `amounts`, dropping names that become zero. O(names)."""
        for name, milli in amounts.items():
            value = self[name] - milli
            if value:
                self[name] = value
            else:
                self.pop(name, None)

    def adjust(self, name: str, delta: int) -> None:
        """Add `delta` to one name. O(1)."""
        value = self[name] + delta
        if value:
            self[name] = value
        else:
            self.pop(name, None)
