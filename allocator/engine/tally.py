"""Amounts by name that are adjusted rather than recomputed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from allocator.resources import Resources
from allocator.resources.identity import Identity


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

    def copy(self) -> Tally:
        """Return a copy that changes on its own. O(names)."""
        return Tally(self)


class SharedEntry(NamedTuple):
    """Copies of a shared entry of one agent."""

    agent: str
    identity: Identity
    milli: int
    copies: int


class Portion(NamedTuple):
    """Scalars of one agent as sums count them: those of `shared` once, however many copies."""

    amounts: Mapping[str, int]
    shared: tuple[SharedEntry, ...] = ()

    @classmethod
    def of(cls, agent: str, resources: Resources) -> Portion:
        """Return what `resources` of an agent are in a sum. O(entries)."""
        shared = resources.shared()
        if not shared:
            return cls(resources.quantities().milli)
        entries = tuple(
            SharedEntry(agent, entry.identity, entry.value, entry.copies)
            for entry in shared
            if isinstance(entry.value, int)
        )
        return cls(resources.nonshared().quantities().milli, entries)

    @property
    def names(self) -> Iterable[str]:
        """The names of the scalars in it."""
        if not self.shared:
            return self.amounts
        return self.amounts.keys() | {entry.identity.name for entry in self.shared}


class HeldTally(Tally):
    """A sum over what is held: a shared entry of an agent counts once, however often it is held."""

    __slots__ = ("_copies",)

    def __init__(self, amounts: Mapping[str, int] | Iterable[tuple[str, int]] = ()) -> None:
        super().__init__(amounts)
        #: (agent, identity) of a shared entry → how many copies are held, never zero.
        self._copies: dict[tuple[str, Identity], int] = {}

    def hold(self, portion: Portion) -> Mapping[str, int]:
        """Count a portion and return by how much the sum grew. O(names + shared entries)."""
        self.add(portion.amounts)
        if not portion.shared:
            return portion.amounts
        grown = Tally(portion.amounts)
        for agent, identity, milli, copies in portion.shared:
            held = self._copies.get((agent, identity), 0)
            self._copies[agent, identity] = held + copies
            if not held:
                self.adjust(identity.name, milli)
                grown.adjust(identity.name, milli)
        return grown

    def free(self, portion: Portion) -> Mapping[str, int]:
        """Undo `hold` and return by how much the sum shrank. O(names + shared entries)."""
        self.subtract(portion.amounts)
        if not portion.shared:
            return portion.amounts
        shrunk = Tally(portion.amounts)
        for agent, identity, milli, copies in portion.shared:
            left = self._copies.pop((agent, identity)) - copies
            if left:
                self._copies[agent, identity] = left
            else:
                self.adjust(identity.name, -milli)
                shrunk.adjust(identity.name, milli)
        return shrunk

    def copy(self) -> HeldTally:
        """Return a copy that changes on its own. O(names + shared entries)."""
        twin = HeldTally(self)
        twin._copies = dict(self._copies)
        return twin
