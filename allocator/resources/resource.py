"""One entry of resources."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from types import EllipsisType
from typing import Any, Final, final

from allocator.errors import ResourceError, shown
from allocator.resources import ranges
from allocator.resources.disk import DiskInfo, DiskSource, check_disk_name
from allocator.resources.fixed import check_milli
from allocator.resources.identity import (
    RANGES,
    SCALAR,
    SET,
    Entry,
    Identity,
    Kind,
    Value,
    identity_of,
)
from allocator.resources.quantities import Quantities
from allocator.resources.reader import read_entries
from allocator.resources.reservation import Reservation, optional_text
from allocator.resources.text import write_text
from allocator.resources.v1 import compact_json, write_v1

#: How values of each type add up, are taken from each other, and contain each other.
_PLUS: Final[dict[Kind, Callable[[Any, Any], Any]]] = {
    SCALAR: operator.add,
    RANGES: ranges.union,
    SET: operator.or_,
}
_MINUS: Final[dict[Kind, Callable[[Any, Any], Any]]] = {
    SCALAR: operator.sub,
    RANGES: ranges.difference,
    SET: operator.sub,
}
_COVERS: Final[dict[Kind, Callable[[Any, Any], bool]]] = {
    SCALAR: operator.ge,
    RANGES: ranges.contains,
    SET: operator.ge,
}


@final
class Resource(Entry):
    """One immutable entry: so much of one identity.

    Parameters
    ----------
    source : text, mapping or Resource
        `"cpus(eng):4"`, a v1 JSON object (also as text), or a mapping of one name to its amount.

    Raises
    ------
    ResourceError
        If it is malformed or stands for more or fewer than one entry.

    Notes
    -----
    An entry's identity is its name, type, reservations (type, role, principal, labels),
    persistence id, disk source, provider id, and whether it is revocable or shared. The
    persistence principal and the volume are carried along but, as in Mesos, are no part of it,
    nor of equality. A single entry may be empty (it is then false); it vanishes as it enters
    `Resources`.

    Examples
    --------
    >>> entry = Resource("cpus(eng/prod):0.5")
    >>> entry.value, entry.reservations[0].role, entry.splittable
    (500, 'eng/prod', True)
    >>> print(entry.replace(value=2000, reservations=()))
    cpus:2
    """

    __slots__ = ("_canonical",)

    _canonical: str | None

    def __new__(cls, source: str | Mapping[str, object] | Entry | Iterable[object]) -> Resource:  # noqa: D102 -- the class docstring says it
        if source.__class__ is Resource:
            return source
        merged: Resource | None = None
        for entry in map(Resource._of, read_entries(source)):
            if merged is None:
                merged = entry
            elif entry.shared and entry.identity is merged.identity:
                merged = merged._plus(entry)
            else:
                raise ResourceError(f"{shown(source)} is more than one resource")
        if merged is None:
            raise ResourceError(f"{shown(source)} is no resource")
        return merged

    @staticmethod
    def _make(
        identity: Identity, value: Value, disk: DiskInfo | None = None, copies: int = 1
    ) -> Resource:
        """Return an entry of these parts, unchecked."""
        self = object.__new__(Resource)
        self._identity = identity
        self._value = value
        self._disk = disk
        self._copies = copies
        self._canonical = None
        return self

    @staticmethod
    def _of(entry: Entry) -> Resource:
        if isinstance(entry, Resource):
            return entry
        return Resource._make(entry._identity, entry._value, entry._disk, entry._copies)

    # Parts

    @property
    def identity(self) -> Identity:
        """What entries that add up have in common; interned, so compare it with `is`."""
        return self._identity

    @property
    def name(self) -> str:
        """The resource name."""
        return self._identity.name

    @property
    def type(self) -> Kind:
        """SCALAR, RANGES or SET."""
        return self._identity.kind

    @property
    def value(self) -> Value:
        """An amount in 1/1000, disjoint sorted (begin, end) pairs, or a frozenset of words."""
        return self._value

    @property
    def copies(self) -> int:
        """How many copies of a shared entry this is; 1 for all others."""
        return self._copies

    @property
    def reservations(self) -> tuple[Reservation, ...]:
        """The reservation stack, outermost first; empty if unreserved."""
        return self._identity.reservations

    @property
    def role(self) -> str | None:
        """The innermost reservation's role, None if unreserved."""
        return self._identity.role

    @property
    def disk(self) -> DiskInfo | None:
        """Persistence, volume and source of a disk entry, None if it has none of them."""
        return self._disk

    @property
    def source(self) -> DiskSource | None:
        """The disk source, None if there is none."""
        return self._identity.source

    @property
    def persistence_id(self) -> str | None:
        """The persistent volume's id, None if it is no persistent volume."""
        return self._identity.persistence_id

    @property
    def provider_id(self) -> str | None:
        """The resource provider's id, None if the agent itself provides it."""
        return self._identity.provider_id

    @property
    def revocable(self) -> bool:
        """Whether it may be taken back at any time."""
        return self._identity.revocable

    @property
    def shared(self) -> bool:
        """Whether several holders may have it at once."""
        return self._identity.shared

    @property
    def splittable(self) -> bool:
        """Whether a part of it is contained in it, as its identity says."""
        return self._identity.splittable

    def replace(
        self,
        *,
        value: int | Iterable[tuple[int, int]] | Iterable[str] | EllipsisType = ...,
        copies: int | EllipsisType = ...,
        reservations: Iterable[Reservation] | EllipsisType = ...,
        disk: DiskInfo | EllipsisType | None = ...,
        provider_id: str | EllipsisType | None = ...,
        revocable: bool | EllipsisType = ...,
        shared: bool | EllipsisType = ...,
    ) -> Resource:
        """Return this entry with some parts replaced.

        Parameters
        ----------
        value : int, iterable of (int, int) pairs, or iterable of str, optional
            A value of the entry's type, an amount in 1/1000.
        copies : int, optional
            At least 1, and 1 for an entry that is not shared.
        reservations : iterable of Reservation, optional
            The whole stack, outermost first.
        disk, provider_id, revocable, shared : optional
            As the properties of these names.

        Raises
        ------
        ResourceError
            If a new part is malformed or does not fit the others. O(size).

        Examples
        --------
        >>> entry = Resource("disk(eng):64")
        >>> deeper = (*entry.reservations, Reservation("DYNAMIC", "eng/prod"))
        >>> entry.replace(reservations=deeper).role
        'eng/prod'
        """
        identity, new_disk = self._identity, self._disk
        if not (reservations is disk is provider_id is revocable is shared is ...):
            new_disk = _checked_disk(identity.name, new_disk if disk is ... else disk)
            new_provider_id = identity.provider_id if provider_id is ... else provider_id
            optional_text("provider_id", new_provider_id)
            identity = identity_of(
                identity.name,
                identity.kind,
                identity.reservations if reservations is ... else tuple(reservations),
                new_disk.persistence.id if new_disk and new_disk.persistence else None,
                new_disk.source if new_disk else None,
                new_provider_id,
                identity.revocable if revocable is ... else bool(revocable),
                identity.shared if shared is ... else bool(shared),
            )
        new_copies = self._copies if copies is ... else copies
        if new_copies < 1 or (new_copies > 1 and not identity.shared):
            raise ResourceError(f"{shown(str(self))}: {shown(new_copies)} copies of it cannot be")
        new_value = self._value if value is ... else _checked_value(identity, value)
        return Resource._make(identity, new_value, new_disk, new_copies)

    # Arithmetic on entries of one identity, for `Resources`

    def _plus(self, other: Resource) -> Resource:
        """Return the sum; raises `ResourceError` if shared entries differ in value. O(size)."""
        identity, mine, theirs = self._identity, self._value, other._value
        if not identity.shared:
            return Resource._make(identity, _PLUS[identity.kind](mine, theirs), self._disk)
        if mine != theirs:
            raise ResourceError(
                f"shared {shown(str(other))} is there with another value: {shown(str(self))}"
            )
        return Resource._make(identity, mine, self._disk, self._copies + other._copies)

    def _covers(self, other: Resource) -> bool:
        """Tell whether it contains the other. O(size)."""
        identity, mine, theirs = self._identity, self._value, other._value
        if identity.shared:
            return self._copies >= other._copies and mine == theirs
        if not identity.splittable:
            return mine == theirs
        return _COVERS[identity.kind](mine, theirs)

    def _minus(self, other: Resource) -> Resource | None:
        """Return what is left without the other, which it covers; None if nothing is. O(size)."""
        identity = self._identity
        if identity.shared:
            copies = self._copies - other._copies
            return Resource._make(identity, self._value, self._disk, copies) if copies else None
        rest = _MINUS[identity.kind](self._value, other._value)
        return Resource._make(identity, rest, self._disk) if rest else None

    def _minus_floor(self, other: Resource) -> Resource | None:
        """Return what is left of it without whatever of the other is in it. O(size)."""
        identity, mine, theirs = self._identity, self._value, other._value
        if identity.shared:
            return self._minus(other) if self._copies > other._copies else None
        if not identity.splittable:
            return None
        if isinstance(mine, int) and isinstance(theirs, int) and mine < theirs:
            return None
        return self._minus(other)

    # As a value

    def quantities(self) -> Quantities:
        """Return its amount by its name, one copy's; none if it is no scalar. O(1)."""
        if not (self._value and isinstance(self._value, int)):
            return Quantities()
        return Quantities._make({self.name: self._value})

    def to_json(self) -> dict[str, Any]:
        """Return one copy of it as a v1 JSON object. O(size).

        Examples
        --------
        >>> Resource("ports:[1-2]").to_json()["ranges"]
        {'range': [{'begin': 1, 'end': 2}]}
        """
        return write_v1(self._identity, self._value, self._disk)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Resource):
            return NotImplemented
        return (
            self._identity is other._identity
            and self._value == other._value
            and self._copies == other._copies
        )

    def __hash__(self) -> int:
        return hash((self._identity, self._value, self._copies))

    def __str__(self) -> str:
        """Return its canonical text, which reads back as it: JSON if plain text cannot say it."""
        if self._canonical is None:
            text = write_text(self._identity, self._value)
            if text is None:
                body = self.to_json()
                text = compact_json(body if self._copies == 1 else [body] * self._copies)
            self._canonical = text
        return self._canonical

    def __repr__(self) -> str:
        return f"Resource({str(self)!r})"

    def __reduce__(self) -> tuple[Callable[..., Resource], tuple[object, ...]]:
        return Resource._make, (self._identity, self._value, self._disk, self._copies)

    def __copy__(self) -> Resource:
        return self

    def __deepcopy__(self, memo: object) -> Resource:
        return self


def _checked_disk(name: str, disk: DiskInfo | None) -> DiskInfo | None:
    """Return disk information that says something, or None; raises `ResourceError`. O(1)."""
    if disk is None:
        return None
    check_disk_name(name)
    return disk if disk.persistence or disk.source else None


def _checked_value(identity: Identity, value: Any) -> Value:
    """Return a value of the identity's type in its one form; raises `ResourceError`. O(n log n)."""
    try:
        if identity.kind == SCALAR:
            return check_milli(identity.name, value)
        if identity.kind == RANGES:
            return ranges.normal(ranges.checked(*pair) for pair in value)
        words = frozenset(value)
    except TypeError:  # not iterable, or not of pairs
        raise ResourceError(f"{shown(value)} is no value of type {identity.kind}") from None
    if isinstance(value, str) or not all(isinstance(word, str) and word for word in words):
        raise ResourceError(f"{shown(value)} is no value of type {identity.kind}")
    return words
