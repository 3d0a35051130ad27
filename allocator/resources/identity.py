"""What makes two entries the same resource: name, kind, reservations, disk, provider, flags.

Identities are interned: equal ones are one object, so comparing and hashing them, which every
sum and difference of resources does, costs a pointer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal
from weakref import WeakValueDictionary

from allocator.errors import InvalidRole, ResourceError
from allocator.resources.fixed import shown
from allocator.resources.ranges import Ranges
from allocator.roles import DEFAULT_ROLE, is_at_or_below, validate_role

Kind = Literal["SCALAR", "RANGES", "SET"]
SCALAR: Final = "SCALAR"
RANGES: Final = "RANGES"
SET: Final = "SET"

#: An amount in milli, closed intervals of integers, or words, as the kind says.
Value = int | Ranges | frozenset[str]

#: Sorted (key, value) pairs; a value may be absent. Mesos compares labels without their order.
Labels = tuple[tuple[str, str | None], ...]

ReservationType = Literal["STATIC", "DYNAMIC"]
STATIC: Final = "STATIC"
DYNAMIC: Final = "DYNAMIC"

SourceType = Literal["PATH", "MOUNT", "BLOCK", "RAW"]
SOURCE_TYPES: Final[tuple[SourceType, ...]] = ("PATH", "MOUNT", "BLOCK", "RAW")
#: A disk of these sources belongs to one holder, as a whole.
WHOLE_SOURCES: Final = frozenset({"MOUNT", "BLOCK"})

VolumeMode = Literal["RW", "RO"]

#: The name that disk information is for.
DISK: Final = "disk"


@dataclass(frozen=True, slots=True)
class Reservation:
    """One level of a reservation stack.

    Parameters
    ----------
    type : {"STATIC", "DYNAMIC"}
        Static reservations are an agent's own; dynamic ones are made and undone at run time.
    role : str
        The role reserved for, never `*`.
    principal : str, optional
        Who made it.
    labels : tuple of (str, str or None) pairs
        Free remarks, part of the identity. Their order does not count.

    Raises
    ------
    ResourceError
        If a part is malformed.

    Examples
    --------
    >>> Reservation("DYNAMIC", "eng/prod", principal="ops").role
    'eng/prod'
    """

    type: ReservationType
    role: str
    principal: str | None = None
    labels: Labels = ()

    def __post_init__(self) -> None:
        if self.type not in (STATIC, DYNAMIC):
            raise ResourceError(f"reservation type {shown(self.type)} is not STATIC or DYNAMIC")
        try:
            validate_role(self.role)
        except InvalidRole as error:
            raise ResourceError(f"reservation: {error}") from None
        if self.role == DEFAULT_ROLE:
            raise ResourceError("reservation: role '*' cannot be reserved for")
        object.__setattr__(self, "labels", sorted_labels(self.labels))


def sorted_labels(labels: Labels) -> Labels:
    """Return labels in the one order, absent values first. O(n log n)."""
    return tuple(sorted(labels, key=lambda label: (label[0], label[1] is not None, label[1] or "")))


@dataclass(frozen=True, slots=True)
class Persistence:
    """What makes a disk entry a persistent volume: its id; the principal is carried along."""

    id: str
    principal: str | None = None


@dataclass(frozen=True, slots=True)
class Volume:
    """Where and how a persistent volume is mounted; carried along, not part of the identity."""

    container_path: str | None = None
    mode: VolumeMode | None = None
    host_path: str | None = None


@dataclass(frozen=True, slots=True)
class DiskSource:
    """What a disk entry is made of; all of it is part of the identity.

    Parameters
    ----------
    type : {"PATH", "MOUNT", "BLOCK", "RAW"}
        MOUNT and BLOCK disks cannot be split.
    root : str, optional
        Where a PATH or MOUNT disk is mounted.
    id, profile, vendor : str, optional
        As its storage provider names them.
    metadata : tuple of (str, str or None) pairs
        As its storage provider labels it; the order does not count.
    """

    type: SourceType
    root: str | None = None
    id: str | None = None
    profile: str | None = None
    vendor: str | None = None
    metadata: Labels = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "metadata", sorted_labels(self.metadata))


@dataclass(frozen=True, slots=True)
class DiskInfo:
    """What is known of a disk entry beyond its size.

    The persistence id and the source are part of the entry's identity. The persistence
    principal and the volume describe the use made of it and are carried along, as in Mesos.
    """

    persistence: Persistence | None = None
    volume: Volume | None = None
    source: DiskSource | None = None


class Identity:
    """All that must be equal for two entries to add up; made by `identity_of` only.

    Attributes
    ----------
    name, kind, reservations, persistence_id, source, provider_id, revocable, shared
        The identity itself; reservations from the outermost to the innermost.
    splittable : bool
        Whether a part of an entry can be held apart from the rest.
    plain : bool
        A scalar with nothing but a name and an amount.
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
    splittable: bool
    plain: bool

    @property
    def role(self) -> str | None:
        """The innermost reservation's role, None if unreserved. O(1)."""
        return self.reservations[-1].role if self.reservations else None

    def key(self) -> _Key:
        """Return the identity as the arguments of `identity_of`. O(1)."""
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
        return f"Identity{self.key()!r}"

    def __reduce__(self) -> tuple[Callable[..., Identity], _Key]:
        return identity_of, self.key()


_Key = tuple[
    str,
    Kind,
    tuple[Reservation, ...],
    str | None,
    DiskSource | None,
    str | None,
    bool,
    bool,
]

#: Every identity in use, by its key. Weak: identities that nothing holds any more are dropped.
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
        If the reservations do not refine downward, one below the outermost is static, or disk
        information stands on another name than `disk`. O(length of the parts).
    """
    key = (name, kind, reservations, persistence_id, source, provider_id, revocable, shared)
    identity = _interned.get(key)
    if identity is not None:
        return identity
    check_stack(name, reservations)
    if name != DISK and not (persistence_id is None and source is None):
        raise ResourceError(f"{shown(name)}: disk information belongs to 'disk' only")
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
    identity.splittable = identity.persistence_id is None and (
        identity.source is None or identity.source.type not in WHOLE_SOURCES
    )
    identity.plain = key[1] == SCALAR and key[2:] == ((), None, None, None, False, False)
    return identity


def check_stack(name: str, reservations: tuple[Reservation, ...]) -> None:
    """Refuse a reservation stack that does not refine downward, outermost first.

    Each role must lie strictly below the one before it, and only the outermost reservation may
    be static (Mesos, `Resources::validate`).

    Raises
    ------
    ResourceError
        Naming the two roles. O(depth).
    """
    for outer, inner in pairwise(reservations):
        if inner.type == STATIC:
            raise ResourceError(
                f"{shown(name)}: the static reservation for {inner.role!r} is not the outermost"
            )
        if inner.role == outer.role or not is_at_or_below(inner.role, outer.role):
            raise ResourceError(
                f"{shown(name)}: the reservation for {inner.role!r} does not refine"
                f" the one for {outer.role!r}"
            )


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
    def of(
        identity: Identity, value: Value, disk: DiskInfo | None = None, copies: int = 1
    ) -> Entry:
        """Return an entry of these parts, unchecked. O(1)."""
        entry = object.__new__(Entry)
        entry._identity = identity
        entry._value = value
        entry._copies = copies
        entry._disk = disk
        return entry
