"""What makes two entries the same resource: name, type, reservations, disk, provider, flags.

Identities are interned: equal ones are one object, so comparing and hashing them, which every
sum and difference of resources does, costs a pointer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal, final
from weakref import WeakValueDictionary

from allocator.resources.disk import WHOLE_SOURCES, DiskInfo, DiskSource
from allocator.resources.ranges import Ranges
from allocator.resources.reservation import Reservation, check_stack

#: The type of a resource, as v1 JSON names it.
Kind = Literal["SCALAR", "RANGES", "SET"]
SCALAR: Final = "SCALAR"
RANGES: Final = "RANGES"
SET: Final = "SET"

#: An amount in milli, closed intervals of integers, or words, as the type says.
Value = int | Ranges | frozenset[str]

_Key = tuple[
    str, Kind, tuple[Reservation, ...], str | None, DiskSource | None, str | None, bool, bool
]


@final
class Identity:
    """All that must be equal for two entries to add up; made by `identity_of` only.

    Attributes
    ----------
    name, kind, reservations, persistence_id, source, provider_id, revocable, shared
        The identity itself; reservations from the outermost to the innermost.
    role : str or None
        The innermost reservation's role, None if unreserved.
    splittable : bool
        Whether a part of an entry is contained in it: not so for persistent volumes, MOUNT and
        BLOCK disks, nor for shared entries, which have copies instead of parts.
    plain : bool
        Whether it is a scalar with nothing but a name.
    """

    __slots__ = (
        "__weakref__",
        "kind",
        "name",
        "persistence_id",
        "plain",
        "provider_id",
        "reservations",
        "revocable",
        "role",
        "shared",
        "source",
        "splittable",
    )

    name: str
    kind: Kind
    reservations: tuple[Reservation, ...]
    persistence_id: str | None
    source: DiskSource | None
    provider_id: str | None
    revocable: bool
    shared: bool
    role: str | None
    splittable: bool
    plain: bool

    def key(self) -> _Key:
        """Return the arguments of `identity_of` that give this identity. O(1)."""
        return (
            self.name,
            self.kind,
            self.reservations,
            self.persistence_id,
            self.source,
            self.provider_id,
            self.revocable,
            self.shared,
        )

    def __repr__(self) -> str:
        return f"identity_of{self.key()!r}"

    def __reduce__(self) -> tuple[Callable[..., Identity], _Key]:
        return identity_of, self.key()


#: Every identity in use, by its key. Weak: what nothing holds any more is dropped.
_interned: WeakValueDictionary[_Key, Identity] = WeakValueDictionary()
#: Two threads must not intern one key twice, as identities compare by address.
_interning = threading.Lock()


def identity_of(
    name: str,
    kind: Kind,
    reservations: tuple[Reservation, ...] = (),
    persistence_id: str | None = None,
    source: DiskSource | None = None,
    provider_id: str | None = None,
    revocable: bool = False,
    shared: bool = False,
) -> Identity:
    """Return the one identity of these parts.

    Raises
    ------
    ResourceError
        If the reservations do not refine downward, or one below the outermost is static.
        O(length of the parts).
    """
    key = (name, kind, reservations, persistence_id, source, provider_id, revocable, shared)
    identity = _interned.get(key)
    if identity is not None:
        return identity
    check_stack(reservations)
    with _interning:
        identity = _interned.get(key)
        if identity is None:
            identity = _interned[key] = _new_identity(key)
    return identity


def _new_identity(key: _Key) -> Identity:
    identity = object.__new__(Identity)
    (
        identity.name,
        identity.kind,
        identity.reservations,
        identity.persistence_id,
        identity.source,
        identity.provider_id,
        identity.revocable,
        identity.shared,
    ) = key
    identity.role = identity.reservations[-1].role if identity.reservations else None
    identity.splittable = not (
        identity.shared
        or identity.persistence_id is not None
        or (identity.source is not None and identity.source.type in WHOLE_SOURCES)
    )
    identity.plain = identity.kind == SCALAR and key[2:] == ((), None, None, None, False, False)
    return identity


@lru_cache(maxsize=1024)
def plain_identity(name: str) -> Identity:
    """Return the identity of a scalar with nothing but a name, from few names that recur. O(1)."""
    return identity_of(name, SCALAR)


class Entry:
    """The parts of one entry, as the readers of text and JSON make them.

    `Resource` is the public face of it. `copies` exceeds 1 for shared entries only.
    """

    __slots__ = ("_copies", "_disk", "_identity", "_value")

    _identity: Identity
    _value: Value
    _copies: int
    _disk: DiskInfo | None

    @staticmethod
    def of(identity: Identity, value: Value, disk: DiskInfo | None = None) -> Entry:
        """Return an entry of these parts, one copy, unchecked. O(1)."""
        entry = object.__new__(Entry)
        entry._identity = identity
        entry._value = value
        entry._copies = 1
        entry._disk = disk
        return entry
