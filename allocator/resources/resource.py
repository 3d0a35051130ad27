"""One entry of resources."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, final

from allocator.errors import ResourceError
from allocator.resources import ranges
from allocator.resources.fixed import MAX_MILLI, shown
from allocator.resources.identity import (
    SCALAR,
    DiskInfo,
    DiskSource,
    Entry,
    Identity,
    Kind,
    Reservation,
    Value,
)
from allocator.resources.reader import read_entries
from allocator.resources.text import write_text
from allocator.resources.v1 import write_v1


@final
class Resource(Entry):
    """One immutable entry: so much of one identity.

    Parameters
    ----------
    source : str, mapping or Resource
        Text (`"cpus(eng):4"` or JSON), a v1 JSON object, or a mapping of one name to its amount.

    Raises
    ------
    ResourceError
        If it is malformed or stands for more or fewer than one entry.

    Notes
    -----
    An entry's identity is its name, type, reservations (type, role, principal, labels),
    persistence id, disk source, provider id, and whether it is revocable or shared. The
    persistence principal and the volume are carried along but, as in Mesos, are no part of it.
    A single entry may be empty; it vanishes as it enters `Resources`.

    Examples
    --------
    >>> entry = Resource("cpus(eng/prod):0.5")
    >>> entry.value, entry.reservations[0].role, entry.splittable
    (500, 'eng/prod', True)
    >>> print(entry)
    cpus(eng/prod):0.5
    """

    __slots__ = ("_text",)

    _text: str | None

    def __new__(cls, source: object) -> Resource:  # noqa: D102 -- the class docstring says it
        if source.__class__ is cls:
            return source
        merged: Entry | None = None
        for entry in read_entries(source):
            if merged is None:
                merged = entry
            elif entry._identity is merged._identity and entry._identity.shared:
                merged = plus(merged, entry)
            else:
                raise ResourceError(f"{shown(source)} is more than one resource")
        if merged is None:
            raise ResourceError(f"{shown(source)} is no resource")
        return cls._of(merged)

    @classmethod
    def _make(
        cls, identity: Identity, value: Value, disk: DiskInfo | None = None, copies: int = 1
    ) -> Resource:
        self = object.__new__(Resource)
        self._identity = identity
        self._value = value
        self._disk = disk
        self._copies = copies
        self._text = None
        return self

    @classmethod
    def _of(cls, entry: Entry) -> Resource:
        if entry.__class__ is cls:
            return entry
        return Resource._make(entry._identity, entry._value, entry._disk, entry._copies)

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
        """Whether a part of it is contained in it: not so for volumes, MOUNT and BLOCK disks."""
        return self._identity.splittable

    def with_value(self, value: Value) -> Resource:
        """Return an entry of the same identity with another value of the same type, unchecked.

        O(1).
        """
        return Resource._make(self._identity, value, self._disk, self._copies)

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
        if self._text is None:
            text = write_text(self._identity, self._value)
            if text is None:
                body = self.to_json()
                text = compact_json(body if self._copies == 1 else [body] * self._copies)
            self._text = text
        return self._text

    def __repr__(self) -> str:
        return f"Resource({str(self)!r})"

    def __reduce__(self) -> tuple[Callable[..., Resource], tuple[object, ...]]:
        return Resource._make, (self._identity, self._value, self._disk, self._copies)

    def __copy__(self) -> Resource:
        return self

    def __deepcopy__(self, memo: object) -> Resource:
        return self


def compact_json(body: object) -> str:
    """Return the one JSON text of `body`: sorted keys, no blanks. O(size)."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def plus(left: Entry, right: Entry) -> Resource:
    """Return the sum of two entries of one identity; shared ones count their copies instead.

    Raises
    ------
    ResourceError
        If shared entries differ in value, or an amount exceeds 2**63 - 1. O(size).
    """
    identity = left._identity
    mine, theirs = left._value, right._value
    if identity.shared:
        if mine != theirs:
            raise ResourceError(
                f"shared {shown(str(Resource._of(left)))} is there with another value:"
                f" {shown(str(Resource._of(right)))}"
            )
        return Resource._make(identity, mine, left._disk, left._copies + right._copies)
    if isinstance(mine, int) and isinstance(theirs, int):
        if mine + theirs > MAX_MILLI:
            raise ResourceError(
                f"{Resource._of(left)} and {Resource._of(right)} add up to an over-large amount"
            )
        return Resource._make(identity, mine + theirs, left._disk)
    if isinstance(mine, frozenset) and isinstance(theirs, frozenset):
        return Resource._make(identity, mine | theirs, left._disk)
    assert isinstance(mine, tuple)
    assert isinstance(theirs, tuple)
    return Resource._make(identity, ranges.union(mine, theirs), left._disk)


def covers(left: Entry, right: Entry) -> bool:
    """Tell whether `right` is contained in `left`, an entry of the same identity. O(size)."""
    identity = left._identity
    mine, theirs = left._value, right._value
    if identity.shared:
        return left._copies >= right._copies and mine == theirs
    if not identity.splittable:
        return mine == theirs
    if isinstance(mine, int) and isinstance(theirs, int):
        return mine >= theirs
    if isinstance(mine, frozenset) and isinstance(theirs, frozenset):
        return mine >= theirs
    assert isinstance(mine, tuple)
    assert isinstance(theirs, tuple)
    return ranges.contains(mine, theirs)


def minus(left: Entry, right: Entry) -> Resource | None:
    """Return `left` less `right`, which it covers; None if nothing is left. O(size)."""
    identity = left._identity
    mine, theirs = left._value, right._value
    if identity.shared:
        copies = left._copies - right._copies
        return Resource._make(identity, mine, left._disk, copies) if copies else None
    rest: Value
    if isinstance(mine, int) and isinstance(theirs, int):
        rest = mine - theirs
    elif isinstance(mine, tuple) and isinstance(theirs, tuple):
        rest = ranges.difference(mine, theirs)
    else:
        assert isinstance(mine, frozenset)
        assert isinstance(theirs, frozenset)
        rest = mine - theirs
    return Resource._make(identity, rest, left._disk) if rest else None


def is_scalar(entry: Entry) -> bool:
    """Tell whether its value is an amount. O(1)."""
    return entry._identity.kind == SCALAR
