"""Reservations: whom an entry is set aside for, level by level."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from allocator.errors import InvalidRole, ResourceError, shown
from allocator.roles import DEFAULT_ROLE, is_at_or_below, validate_role

#: Sorted (key, value) pairs; a value may be absent. Mesos compares labels without their order.
Labels = tuple[tuple[str, str | None], ...]

ReservationType = Literal["STATIC", "DYNAMIC"]
STATIC: Final = "STATIC"
DYNAMIC: Final = "DYNAMIC"


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
    labels : iterable of (str, str or None) pairs
        Free remarks. Their order does not count; they are held sorted.

    Raises
    ------
    ResourceError
        If a part is malformed.

    Notes
    -----
    All of it is part of the identity of what is reserved.

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
            raise ResourceError(f"the reservation type {shown(self.type)} is not STATIC or DYNAMIC")
        try:
            validate_role(self.role)
        except InvalidRole as error:
            raise ResourceError(f"reservation: {error}") from None
        if self.role == DEFAULT_ROLE:
            raise ResourceError("reservation: nothing is reserved for the role '*'")
        optional_text("principal", self.principal)
        object.__setattr__(self, "labels", sorted_labels(self.labels))


def optional_text(field: str, value: object) -> None:
    """Refuse, with `ResourceError`, a field that is neither text nor None. O(1)."""
    if value is not None and not isinstance(value, str):
        raise ResourceError(f"{field!r} must be a text, not {shown(value)}")


def sorted_labels(labels: Iterable[tuple[str, str | None]]) -> Labels:
    """Return labels in the one order, absent values first.

    Raises
    ------
    ResourceError
        If one is not a pair of a text key and a text value or None. O(n log n).
    """
    if not isinstance(labels, Iterable):
        raise ResourceError(f"{shown(labels)} is not a collection of labels")
    pairs = []
    for label in labels:
        if not isinstance(label, tuple) or len(label) != 2 or not isinstance(label[0], str):
            raise ResourceError(f"{shown(label)} is not a label, a text key and a value")
        optional_text("value", label[1])
        pairs.append(label)
    return tuple(sorted(pairs, key=lambda label: (label[0], label[1] is not None, label[1] or "")))


def check_stack(reservations: tuple[Reservation, ...]) -> None:
    """Refuse a reservation stack, outermost first, that does not refine downward.

    Each role must lie strictly below the one before it, and only the outermost reservation may
    be static (Mesos, `Resources::validate`).

    Raises
    ------
    ResourceError
        Naming the offending role. O(depth).
    """
    for reservation in reservations:
        if not isinstance(reservation, Reservation):
            raise ResourceError(f"{shown(reservation)} is not a Reservation")
    for outer, inner in pairwise(reservations):
        if inner.type == STATIC:
            raise ResourceError(
                f"the static reservation for {shown(inner.role)} is not the outermost of its stack"
            )
        if inner.role == outer.role or not is_at_or_below(inner.role, outer.role):
            raise ResourceError(
                f"the reservation for {shown(inner.role)} does not refine the one"
                f" for {shown(outer.role)}"
            )
