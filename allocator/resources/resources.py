"""Resources: an immutable collection of entries, and all that is done with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeAlias, final

from allocator.errors import ResourceError, shown
from allocator.resources import ranges
from allocator.resources.fixed import MAX_MILLI, MILLI, over_large
from allocator.resources.identity import SCALAR, SET, Entry, Identity, Kind, plain_identity
from allocator.resources.quantities import Quantities, add_amount, checked_amounts
from allocator.resources.reader import CACHED_TEXT_CHARS, read_sum
from allocator.resources.resource import Resource
from allocator.resources.v1 import compact_json
from allocator.roles import is_at_or_below


@final
class Resources:
    """An immutable collection of entries, one for each identity.

    Parameters
    ----------
    source : text, mapping, list of v1 JSON resources, Resource, Resources, or a list of these
        Text may be `name(role):value;…` or JSON. A mapping gives amounts (numbers, or text such
        as `"[1-2]"` and `"{a,b}"`) by name. Entries of one identity add up; shared ones count
        copies. Empty amounts vanish.

    Raises
    ------
    ResourceError
        If it is malformed, one name has two types, one shared identity has two values, or the
        amounts of a name add up to more than 2**63 - 1 thousandths.

    Notes
    -----
    `a + b` raises `ResourceError` if one name would have two types, a shared identity two values,
    or a name too much; `a - b` if `b` is not contained in `a`. `a >= b` and `b in a` tell whether
    it is: each entry of `b` in the entry of `a` of the same identity, ranges and sets as sets, an
    unsplittable entry only as a whole, shared ones by their copies. Operands may be whatever
    `Resources` reads, on either side. All take O(names) time for plain scalars, O(entries) beyond.
    `str(a)` reads back as an equal value: plain text where that can say it, JSON otherwise.

    Invariants, which the arithmetic keeps:

    1. `_plain` holds the plain scalars (unreserved, non-revocable, unshared, without disk
       information or provider), by name, in 1/1000; none is zero. Nearly all that an engine adds
       and subtracts is of this kind, so it is kept apart from the rest.
    2. `_special` holds all other entries by identity; none is empty.
    3. `_totals` holds, by scalar name, the sum of both, a shared entry counted once; it is
       `_plain` itself when `_special` is empty.
    4. A name has one type in all of its entries.

    Examples
    --------
    >>> total = Resources("cpus:4;mem:8192;ports:[31000-32000];cpus(eng/prod):2")
    >>> total["cpus"], total["ports"]
    (6.0, ((31000, 32000),))
    >>> print(total - "cpus:1.5;ports:[31000-31009]")
    cpus(eng/prod):2;cpus:2.5;mem:8192;ports:[31010-32000]
    >>> "cpus:5" in total, total >= {"cpus": 4}
    (False, True)
    """

    __slots__ = ("_entries", "_hash", "_kinds", "_plain", "_quantities", "_special", "_totals")

    _plain: dict[str, int]
    _special: dict[Identity, Resource]
    _totals: dict[str, int]
    _entries: tuple[Resource, ...] | None
    _hash: int | None
    _kinds: dict[str, Kind] | None
    _quantities: Quantities | None

    # Construction

    def __new__(cls, source: ResourcesLike = ()) -> Resources:  # noqa: D102 -- the class docstring says it
        if source.__class__ is cls:
            return source
        if isinstance(source, str) and len(source) <= CACHED_TEXT_CHARS:
            return _read_short(source)
        return Resources._make(*read_sum(source, Resource))

    @classmethod
    def _make(
        cls, plain: dict[str, int], special: dict[Identity, Resource], totals: dict[str, int]
    ) -> Resources:
        """Return a value of dicts that keep the invariants and that nobody changes any more."""
        self = object.__new__(Resources)
        self._plain = plain
        self._special = special
        self._totals = totals
        self._entries = self._hash = self._kinds = self._quantities = None
        return self

    @classmethod
    def from_milli(cls, milli: Mapping[str, int]) -> Resources:
        """Return plain unreserved scalars of amounts in 1/1000.

        Raises
        ------
        ResourceError
            If an amount is not an integer from 0 to 2**63 - 1. O(n).
        """
        plain = checked_amounts(milli)
        return Resources._make(plain, {}, plain)

    # Looking

    @property
    def plain_milli(self) -> Mapping[str, int]:
        """The plain scalars, in 1/1000 by name, read-only, without zeros. O(1)."""
        return MappingProxyType(self._plain)

    @property
    def names(self) -> tuple[str, ...]:
        """The resource names in it, sorted. O(n log n)."""
        return tuple(sorted(self._totals.keys() | self._other_kinds().keys()))

    def __getitem__(self, name: str) -> Any:
        """Return the sum of a name over all identities, a shared entry counted once.

        Returns
        -------
        float, tuple of (int, int), or frozenset of str
            As the name's type says, 0.0 if there is none. Not a union for the type checker: the
            caller knows which names are scalars. O(1) for scalars, O(n) otherwise.
        """
        kind = self._other_kinds().get(name)
        if kind is None:
            return self._totals.get(name, 0) / MILLI
        values: list[Any] = [entry.value for entry in self._special.values() if entry.name == name]
        if kind == SET:
            return frozenset().union(*values)
        return ranges.normal(pair for pairs in values for pair in pairs)

    def quantities(self) -> Quantities:
        """Return how much of each scalar name it holds, a shared entry counted once. O(1)."""
        found = self._quantities
        if found is None:
            found = self._quantities = Quantities._make(self._totals)
        return found

    def counts(self) -> Quantities:
        """Return `quantities()` with ranges and sets too, as the number of their elements.

        Beyond what an int64 holds in 1/1000 they count as the most it does. O(n).

        Examples
        --------
        >>> print(Resources("cpus:1;ports:[1-10];disk:{sda,sdb}").counts())
        cpus:1;disk:2;ports:10
        """
        if not self._other_kinds():
            return self.quantities()
        totals = self._totals.copy()
        for entry in self._special.values():
            value = entry.value
            if not isinstance(value, int):
                elements = ranges.count(value) if isinstance(value, tuple) else len(value)
                totals[entry.name] = min(totals.get(entry.name, 0) + MILLI * elements, MAX_MILLI)
        return Quantities._make(totals)

    def __len__(self) -> int:
        return len(self._plain) + len(self._special)

    def __bool__(self) -> bool:
        return bool(self._plain) or bool(self._special)

    def __iter__(self) -> Iterator[Resource]:
        """Iterate over the entries in the order of their canonical text. O(n log n), then O(n)."""
        if self._entries is None:
            entries = [
                Resource._make(plain_identity(name), milli) for name, milli in self._plain.items()
            ]
            entries.extend(self._special.values())
            self._entries = tuple(sorted(entries, key=str))
        return iter(self._entries)

    # Views

    def scalars(self) -> Resources:
        """Return the scalar entries. O(n)."""
        return self._select(lambda entry: entry.type == SCALAR, plain=True)

    def special(self) -> Resources:
        """Return all but the plain scalars of `plain_milli`. O(n)."""
        return self._select(lambda entry: True, plain=False)

    def reserved(self, role: str | None = None) -> Resources:
        """Return the reserved entries, or those whose innermost reservation is `role`'s. O(n)."""
        if role is None:
            return self._select(lambda entry: bool(entry.reservations), plain=False)
        return self._select(lambda entry: entry.role == role, plain=False)

    def unreserved(self) -> Resources:
        """Return the entries without reservation. O(n)."""
        return self._select(lambda entry: not entry.reservations, plain=True)

    def revocable(self) -> Resources:
        """Return the revocable entries. O(n)."""
        return self._select(lambda entry: entry.revocable, plain=False)

    def nonrevocable(self) -> Resources:
        """Return the entries that are not revocable. O(n)."""
        return self._select(lambda entry: not entry.revocable, plain=True)

    def shared(self) -> Resources:
        """Return the shared entries, with their copies. O(n)."""
        return self._select(lambda entry: entry.shared, plain=False)

    def nonshared(self) -> Resources:
        """Return the entries that are not shared. O(n)."""
        return self._select(lambda entry: not entry.shared, plain=True)

    def allocatable_to(self, role: str) -> Resources:
        """Return what may be allocated to a role.

        That is the unreserved entries, and those whose innermost reservation is for the role
        itself or an ancestor of it. O(n × length of the path).

        Examples
        --------
        >>> print(Resources("cpus:1;cpus(eng):2;cpus(ops):4").allocatable_to("eng/prod"))
        cpus(eng):2;cpus:1
        """
        return self._select(
            lambda entry: entry.role is None or is_at_or_below(role, entry.role), plain=True
        )

    def _select(self, wanted: Callable[[Resource], bool], *, plain: bool) -> Resources:
        """Return the special entries `wanted`, with or without the plain scalars."""
        if not self._special:
            return self if plain else EMPTY
        special = {identity: entry for identity, entry in self._special.items() if wanted(entry)}
        if len(special) == len(self._special) and (plain or not self._plain):
            return self
        kept = self._plain if plain else {}
        return Resources._make(kept, special, _totals_of(kept, special))

    # Arithmetic

    def __add__(self, other: ResourcesLike) -> Resources:
        if other.__class__ is not Resources:
            other = Resources(other)
        if not (other._plain or other._special):
            return self
        if not (self._plain or self._special):
            return other
        if not (self._special or other._special):
            plain = _plain_sum(self._plain, other._plain)
            return Resources._make(plain, self._special, plain)
        self._check_kinds(other)
        totals = self._totals.copy()
        for name, milli in other._plain.items():
            add_amount(totals, name, milli)
        plain = _plain_sum(self._plain, other._plain) if other._plain else self._plain
        special = self._special.copy()
        for entry in other._special.values():
            _add_special(special, totals, entry)
        return Resources._make(plain, special, totals)

    def __radd__(self, other: ResourcesLike) -> Resources:
        return Resources(other) + self

    def __sub__(self, other: ResourcesLike) -> Resources:
        if other.__class__ is not Resources:
            other = Resources(other)
        if not (other._plain or other._special):
            return self
        if other is self:
            return EMPTY
        plain = self._plain
        if other._plain:
            plain = plain.copy()
            for name, milli in other._plain.items():
                left = plain.get(name, 0) - milli
                if left > 0:
                    plain[name] = left
                elif left == 0:
                    del plain[name]
                else:
                    raise self._lacks(other)
        if not self._special:
            if other._special:
                raise self._lacks(other)
            return Resources._make(plain, self._special, plain)
        return self._less_special(other, plain)

    def __rsub__(self, other: ResourcesLike) -> Resources:
        return Resources(other) - self

    def _less_special(self, other: Resources, plain: dict[str, int]) -> Resources:
        """Return what is left, `plain` being what is left of the plain scalars."""
        special = self._special
        if other._special:
            special = special.copy()
            for identity, entry in other._special.items():
                mine = special.get(identity)
                if mine is None or not mine._covers(entry):
                    raise self._lacks(other)
                rest = mine._minus(entry)
                if rest is None:
                    del special[identity]
                else:
                    special[identity] = rest
        if not special:
            return Resources._make(plain, special, plain)
        totals = self._totals.copy()
        for name, milli in other._plain.items():
            _take_amount(totals, name, milli)
        for identity, entry in other._special.items():
            # A shared entry counts once, so it leaves the total with its last copy.
            if isinstance(entry._value, int) and not (identity.shared and identity in special):
                _take_amount(totals, identity.name, entry._value)
        return Resources._make(plain, special, totals)

    def minus_floor(self, other: ResourcesLike) -> Resources:
        """Return what is left of each entry without whatever of `other` is in it.

        Unlike `-` it takes away what is there and overlooks what is not; an unsplittable entry goes
        whole. O(n).

        Examples
        --------
        >>> print(Resources("cpus:4;mem:8;ports:[1-9]").minus_floor("cpus:6;ports:[5-20]"))
        mem:8;ports:[1-4]
        """
        taken = Resources(other)
        if not taken or not self:
            return self
        plain = {
            name: milli - taken._plain.get(name, 0)
            for name, milli in self._plain.items()
            if milli > taken._plain.get(name, 0)
        }
        special = {}
        for identity, entry in self._special.items():
            theirs = taken._special.get(identity)
            rest = entry if theirs is None else entry._minus_floor(theirs)
            if rest is not None:
                special[identity] = rest
        return Resources._make(plain, special, _totals_of(plain, special))

    def __ge__(self, other: ResourcesLike) -> bool:
        if other.__class__ is not Resources:
            other = Resources(other)
        if other is self:
            return True
        plain = self._plain
        for name, milli in other._plain.items():
            if plain.get(name, 0) < milli:
                return False
        special = self._special
        for identity, entry in other._special.items():
            mine = special.get(identity)
            if mine is None or not mine._covers(entry):
                return False
        return True

    def __le__(self, other: ResourcesLike) -> bool:
        return Resources(other) >= self

    def __contains__(self, other: ResourcesLike) -> bool:
        return self >= other

    def _lacks(self, other: Resources) -> ResourceError:
        missing = next(entry for entry in other if not self >= entry)
        return ResourceError(f"{shown(str(missing))} is not contained in {shown(str(self))}")

    def _other_kinds(self) -> dict[str, Kind]:
        """Return the type of each name that is not a scalar."""
        kinds = self._kinds
        if kinds is None:
            kinds = self._kinds = {
                identity.name: identity.kind
                for identity in self._special
                if identity.kind != SCALAR
            }
        return kinds

    def _check_kinds(self, other: Resources) -> None:
        """Refuse two types under one name (invariant 4)."""
        mine, theirs = self._other_kinds(), other._other_kinds()
        for ours, others, totals in ((mine, theirs, other._totals), (theirs, mine, self._totals)):
            for name, kind in ours.items():
                other_kind = SCALAR if name in totals else others.get(name, kind)
                if other_kind != kind:
                    raise ResourceError(f"{shown(name)} is both {kind} and {other_kind}")

    # As a value

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Resources):
            return NotImplemented
        return self._plain == other._plain and self._special == other._special

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash((frozenset(self._plain.items()), frozenset(self._special.values())))
        return self._hash

    def to_json(self) -> list[dict[str, Any]]:
        """Return v1 JSON objects in the order of iteration, one for each copy. O(n log n)."""
        return [entry.to_json() for entry in self for _ in range(entry.copies)]

    def __str__(self) -> str:
        texts = [str(entry) for entry in self]
        if not any(text.startswith(("{", "[")) for text in texts):
            return ";".join(texts)
        return compact_json(self.to_json())

    def __repr__(self) -> str:
        return f"Resources({str(self)!r})"

    def __reduce__(self) -> tuple[Callable[..., Resources], tuple[object, ...]]:
        return _rebuild, (self._plain, tuple(self._special.values()))

    def __copy__(self) -> Resources:
        return self

    def __deepcopy__(self, memo: object) -> Resources:
        return self


#: Whatever `Resources` reads.
ResourcesLike: TypeAlias = str | Mapping[str, object] | Entry | Resources | Iterable[object]

#: Nothing.
EMPTY = Resources._make({}, {}, {})


# Enough for the sizes of machines and tasks that recur; a value of its own takes some 1.6 KB.
@lru_cache(maxsize=512)
def _read_short(text: str) -> Resources:
    return Resources._make(*read_sum(text, Resource))


def _rebuild(plain: dict[str, int], special: tuple[Resource, ...]) -> Resources:
    return Resources._make(plain, {}, plain) + Resources(special)


def _add_special(
    special: dict[Identity, Resource], totals: dict[str, int], entry: Resource
) -> None:
    """Add an entry to the special ones and to the totals, in place."""
    identity = entry._identity
    mine = special.get(identity)
    special[identity] = entry if mine is None else mine._plus(entry)
    if isinstance(entry._value, int) and not (identity.shared and mine is not None):
        add_amount(totals, identity.name, entry._value)


def _totals_of(plain: dict[str, int], special: dict[Identity, Resource]) -> dict[str, int]:
    """Return the totals of invariant 3."""
    if not special:
        return plain
    totals = plain.copy()
    for entry in special.values():
        if isinstance(entry._value, int):
            totals[entry.name] = totals.get(entry.name, 0) + entry._value
    return totals


def _plain_sum(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    """Return the sum of plain scalars; raises `ResourceError` if one is over-large."""
    total = left.copy()
    for name, milli in right.items():
        amount = total.get(name, 0) + milli
        if amount > MAX_MILLI:
            raise over_large(name, amount)
        total[name] = amount
    return total


def _take_amount(totals: dict[str, int], name: str, milli: int) -> None:
    left = totals[name] - milli
    if left:
        totals[name] = left
    else:
        del totals[name]
