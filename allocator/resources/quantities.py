"""How much, without which: amounts by scalar name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Protocol, TypeAlias, TypeVar, final, overload

from allocator.errors import ResourceError, shown
from allocator.resources.fixed import MAX_MILLI, MILLI, check_milli, over_large, write_milli
from allocator.resources.identity import SCALAR, identity_of
from allocator.resources.reader import CACHED_TEXT_CHARS, read_entries
from allocator.resources.text import is_word
from allocator.resources.v1 import compact_json, write_v1

T = TypeVar("T")


class HasQuantities(Protocol):
    """Anything that knows its own quantities, such as `Resources`."""

    def quantities(self) -> Quantities:
        """Return how much of each scalar name it holds."""


@final
class Quantities(Mapping[str, float]):
    """An immutable mapping of scalar names to amounts.

    Parameters
    ----------
    source : str, mapping, Resources or Quantities, optional
        Text or a mapping of plain scalars; `Resources` stand for their quantities.

    Raises
    ------
    ResourceError
        If it is malformed, or text or a mapping has anything but plain scalars.

    Notes
    -----
    Amounts are held in 1/1000 (`milli`) and given out as floats. An absent name reads as 0.0
    but is not `in` it.

    Examples
    --------
    >>> need = Quantities("cpus:0.1") + {"cpus": 0.2, "mem": 64}
    >>> need["cpus"], need["gpus"], str(need)
    (0.3, 0.0, 'cpus:0.3;mem:64')
    >>> need >= {"cpus": 0.3}
    True
    """

    __slots__ = ("_hash", "_milli")

    _milli: dict[str, int]
    _hash: int | None

    def __new__(cls, source: QuantitiesLike = ()) -> Quantities:  # noqa: D102 -- the class docstring says it
        if source.__class__ is cls:
            return source
        if isinstance(source, str):
            return _read_short(source) if len(source) <= CACHED_TEXT_CHARS else _read(source)
        # Not isinstance(source, HasQuantities): that looks through the protocol, 20 times slower.
        quantities = getattr(source, "quantities", None)
        return _read(source) if quantities is None else quantities()

    @classmethod
    def _make(cls, milli: dict[str, int]) -> Quantities:
        """Return quantities of positive amounts, which the caller no longer changes."""
        self = object.__new__(Quantities)
        self._milli = milli
        self._hash = None
        return self

    @classmethod
    def from_milli(cls, milli: Mapping[str, int]) -> Quantities:
        """Return quantities of amounts in 1/1000.

        Raises
        ------
        ResourceError
            If an amount is not an integer from 0 to 2**63 - 1. O(n).
        """
        return Quantities._make(checked_amounts(milli))

    @property
    def milli(self) -> Mapping[str, int]:
        """Amounts in 1/1000 by name, read-only, without zeros. O(1)."""
        return MappingProxyType(self._milli)

    def minus_floor(self, other: QuantitiesLike) -> Quantities:
        """Return what is left of each name when `other` is taken, never below zero. O(n).

        Examples
        --------
        >>> str(Quantities("cpus:4;mem:8").minus_floor("cpus:6;mem:2"))
        'mem:6'
        """
        taken = Quantities(other)._milli
        if not taken:
            return self
        rest = {}
        for name, milli in self._milli.items():
            left = milli - taken.get(name, 0)
            if left > 0:
                rest[name] = left
        return Quantities._make(rest)

    def __getitem__(self, name: str) -> float:
        return self._milli.get(name, 0) / MILLI

    def __contains__(self, name: object) -> bool:
        return name in self._milli

    @overload
    def get(self, name: str, default: None = None, /) -> float | None: ...
    @overload
    def get(self, name: str, default: float, /) -> float: ...
    @overload
    def get(self, name: str, default: T, /) -> float | T: ...
    def get(self, name: str, default: object = None, /) -> object:
        """Return the amount of a name that is in it, otherwise `default`. O(1)."""
        milli = self._milli.get(name)
        return default if milli is None else milli / MILLI

    def __iter__(self) -> Iterator[str]:
        return iter(self._milli)

    def __len__(self) -> int:
        return len(self._milli)

    def __add__(self, other: QuantitiesLike) -> Quantities:
        theirs = Quantities(other)._milli
        if not theirs:
            return self
        if not self._milli:
            return Quantities._make(theirs)
        totals = self._milli.copy()
        for name, milli in theirs.items():
            add_amount(totals, name, milli)
        return Quantities._make(totals)

    def __radd__(self, other: QuantitiesLike) -> Quantities:
        return Quantities(other) + self

    def __sub__(self, other: QuantitiesLike) -> Quantities:
        other = Quantities(other)
        if not self >= other:
            raise ResourceError(f"{shown(str(other))} is not contained in {shown(str(self))}")
        return self.minus_floor(other)

    def __rsub__(self, other: QuantitiesLike) -> Quantities:
        return Quantities(other) - self

    def __ge__(self, other: QuantitiesLike) -> bool:
        mine = self._milli
        return all(mine.get(name, 0) >= milli for name, milli in Quantities(other)._milli.items())

    def __le__(self, other: QuantitiesLike) -> bool:
        return Quantities(other) >= self

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Quantities):
            return self._milli == other._milli
        if not isinstance(other, Mapping):
            return NotImplemented
        try:
            return self._milli == Quantities(other)._milli
        except ResourceError:
            return False

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._milli.items()))
        return self._hash

    def __bool__(self) -> bool:
        return bool(self._milli)

    def __str__(self) -> str:
        names = sorted(self._milli)
        if all(map(is_word, names)):
            return ";".join(f"{name}:{write_milli(self._milli[name])}" for name in names)
        return compact_json(
            [write_v1(identity_of(name, SCALAR), self._milli[name], None) for name in names]
        )

    def __repr__(self) -> str:
        return f"Quantities({str(self)!r})"

    def __reduce__(self) -> tuple[Callable[..., Quantities], tuple[dict[str, int]]]:
        return Quantities._make, (self._milli,)

    def __copy__(self) -> Quantities:
        return self

    def __deepcopy__(self, memo: object) -> Quantities:
        return self


#: Whatever `Quantities` reads; text and mappings of plain scalars only.
QuantitiesLike: TypeAlias = (
    str | Mapping[str, object] | HasQuantities | tuple[object, ...] | list[object]
)


def _read(source: object) -> Quantities:
    totals: dict[str, int] = {}
    for name, milli in _read_scalars(source):
        add_amount(totals, name, milli)
    return Quantities._make(totals)


def read_limits(source: QuantitiesLike) -> dict[str, int]:
    """Return amounts in 1/1000 by name where, unlike in `Quantities`, zero is an amount.

    Raises
    ------
    ResourceError
        As `Quantities`. O(size).

    Examples
    --------
    >>> read_limits("cpus:0;mem:1.5")
    {'cpus': 0, 'mem': 1500}
    """
    if hasattr(source, "quantities"):
        return dict(source.quantities().milli)
    limits: dict[str, int] = {}
    for name, milli in _read_scalars(source):
        limits.setdefault(name, 0)
        add_amount(limits, name, milli)
    return limits


def _read_scalars(source: object) -> Iterator[tuple[str, int]]:
    """Yield the name and the amount in 1/1000 of each entry, all of which must be plain scalars."""
    for entry in read_entries(source):
        identity, value = entry._identity, entry._value
        if not (identity.plain and isinstance(value, int)):
            raise ResourceError(
                f"{shown(source)}: {shown(identity.name)} is not a plain scalar, as all"
                " quantities are"
            )
        yield identity.name, value


_read_short = lru_cache(maxsize=1024)(_read)


def add_amount(totals: dict[str, int], name: str, milli: int) -> None:
    """Add to one name's total in place, leaving no zero behind.

    Raises
    ------
    ResourceError
        If the total exceeds 2**63 - 1; `totals` is then unchanged. O(1).
    """
    total = totals.get(name, 0) + milli
    if total > MAX_MILLI:
        raise over_large(name, total)
    if total:
        totals[name] = total


def checked_amounts(milli: Mapping[str, int]) -> dict[str, int]:
    """Return a copy of amounts in 1/1000 without zeros; raises `ResourceError`. O(n)."""
    amounts = {}
    for name, amount in milli.items():
        if not isinstance(name, str) or not name:
            raise ResourceError(f"{shown(name)} is not a resource name")
        if check_milli(name, amount):
            amounts[name] = int(amount)
    return amounts
