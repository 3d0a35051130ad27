"""Conversions: operations that turn resources into the same amount of other ones (contract §5.10).

A reservation is made or undone; a persistent volume is created, destroyed or resized. What is
consumed and what comes of it is as in Mesos (`getResourceConversions`), and so are the refusals
(`src/master/validation.cpp`), but for those that depend on who asks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias

from allocator.errors import ResourceError, cut, shown
from allocator.resources import (
    DiskInfo,
    Quantities,
    Resource,
    Resources,
    ResourcesLike,
)
from allocator.resources.fixed import number_of
from allocator.resources.reader import read_entries

Json: TypeAlias = dict[str, Any]
#: Whatever stands for one entry.
ResourceLike: TypeAlias = ResourcesLike
#: A number of MB, a v1 JSON scalar, or quantities of disk.
AmountLike: TypeAlias = float | Real | Decimal | Quantities | ResourcesLike
#: What makes a persistent volume unique on its agent: its role, and its id.
VolumeKey: TypeAlias = tuple[str | None, str]

EMPTY: Final = Resources()


class Elsewhere(NamedTuple):
    """What there is on the agent beside the resources that are converted."""

    volumes: frozenset[VolumeKey] = frozenset()
    #: Shared volumes that are offered to or used by somebody else.
    in_use: frozenset[VolumeKey] = frozenset()


class Operation(ABC):
    """One conversion: an immutable value, which is checked as it is applied."""

    __slots__ = ()

    #: As v1 JSON names it; the field with the operation's body is called the same in small letters.
    type: ClassVar[str]

    @abstractmethod
    def apply(self, resources: Resources, elsewhere: Elsewhere) -> Resources:
        """Return `resources` converted; raises `ResourceError` if that is impossible."""

    @abstractmethod
    def body(self) -> Json:
        """Return what the operation is made of, as v1 JSON."""

    def to_json(self) -> Json:
        """Return the v1 JSON object, which `operation_from_json` reads. O(size).

        Examples
        --------
        >>> Destroy("disk(eng):64").to_json()["type"]
        'DESTROY'
        """
        return {"type": self.type, self.type.lower(): self.body()}


def convert(
    resources: Resources,
    operations: Operation | Mapping[str, Any] | Iterable[Operation | Mapping[str, Any]],
    *,
    existing: Resources = EMPTY,
    shared_in_use: Resources = EMPTY,
) -> Resources:
    """Return what `resources` become by all of the operations, one after the other.

    Parameters
    ----------
    resources : Resources
        What is converted: those of an offer, or what is available on an agent.
    operations : operation, its v1 JSON, or iterable of these
        Applied in this order, all or none.
    existing : Resources
        All that the agent has, `resources` included or not: the ids of volumes are unique on it.
    shared_in_use : Resources
        What somebody else is offered or uses; its shared volumes cannot be destroyed.

    Returns
    -------
    Resources
        The same quantities.

    Raises
    ------
    ResourceError
        If an operation is malformed or impossible, naming it and the resource.

    Notes
    -----
    O(operations × entries). Neither argument changes.

    Examples
    --------
    >>> from allocator.resources import Reservation
    >>> reserved = Resource("cpus:2").replace(reservations=[Reservation("DYNAMIC", "eng")])
    >>> after = convert(Resources("cpus:8"), [Reserve(reserved)])
    >>> str(after.unreserved()), after.reserved("eng")["cpus"]
    ('cpus:6', 2.0)
    >>> convert(after, [Unreserve(reserved)]) == Resources("cpus:8")
    True
    """
    elsewhere = Elsewhere(
        volume_keys(existing) - volume_keys(resources), volume_keys(shared_in_use.shared())
    )
    converted = resources
    for operation in read_operations(operations):
        with _naming(operation.type):
            converted = operation.apply(converted, elsewhere)
    assert converted.quantities() == resources.quantities()
    return converted


# The operations


@dataclass(frozen=True, slots=True, init=False)
class Reserve(Operation):
    """Reserve resources, or move them from one reservation to another.

    Parameters
    ----------
    resources : resources
        As they are to be, dynamically reserved. They are made of the same without the innermost
        reservation, unless there is a source.
    source : resources, optional
        What they are made of instead: the same amounts with another reservation stack. All of the
        source have one stack, and so have all of the resources; static reservations stay.

    Notes
    -----
    Neither can be persistent volumes, shared or revocable.
    """

    type: ClassVar[str] = "RESERVE"

    resources: Resources
    source: Resources | None

    def __init__(self, resources: ResourcesLike, source: ResourcesLike | None = None) -> None:
        with _naming(self.type):
            _set(self, "resources", Resources(resources))
            _set(self, "source", None if source is None else Resources(source))

    def apply(self, resources: Resources, elsewhere: Elsewhere) -> Resources:
        """Return `resources` with these of them reserved. O(entries)."""
        for entry in self.resources:
            _check_unreservable(entry)
            if entry.revocable:
                raise ResourceError(f"{cut(entry)} is revocable; that cannot be reserved")
        if self.source is None:
            source = _popped(self.resources)
        else:
            source = self.source
            self._check_source(source)
        return resources - source + self.resources

    def _check_source(self, source: Resources) -> None:
        if _without_reservations(source) != _without_reservations(self.resources):
            raise ResourceError(
                f"{cut(self.resources)} cannot be made of {cut(source)}:"
                " more than reservations differ"
            )
        stacks = [{entry.reservations for entry in side} for side in (source, self.resources)]
        if any(len(found) > 1 for found in stacks):
            raise ResourceError(
                f"{cut(self.resources)} or {cut(source)}: there are several reservations"
            )
        changed = set.symmetric_difference(*({r for s in found for r in s} for found in stacks))
        for reservation in changed:
            if reservation.type == "STATIC":
                raise ResourceError(
                    f"{cut(source)} to {cut(self.resources)}: the reservation for"
                    f" {shown(reservation.role)} is static"
                )

    def body(self) -> Json:
        """Return what the operation is made of, as v1 JSON. O(size)."""
        body: Json = {"resources": self.resources.to_json()}
        if self.source is not None:
            body["source"] = self.source.to_json()
        return body


@dataclass(frozen=True, slots=True, init=False)
class Unreserve(Operation):
    """Undo the innermost reservation of each entry, which must be dynamic.

    Parameters
    ----------
    resources : resources
        As they are; neither shared nor persistent volumes, which are to be destroyed first.
    """

    type: ClassVar[str] = "UNRESERVE"

    resources: Resources

    def __init__(self, resources: ResourcesLike) -> None:
        with _naming(self.type):
            _set(self, "resources", Resources(resources))

    def apply(self, resources: Resources, elsewhere: Elsewhere) -> Resources:
        """Return `resources` with these of them no longer reserved. O(entries)."""
        for entry in self.resources:
            _check_unreservable(entry)
        return resources - self.resources + _popped(self.resources)

    def body(self) -> Json:
        """Return what the operation is made of, as v1 JSON. O(size)."""
        return {"resources": self.resources.to_json()}


@dataclass(frozen=True, slots=True, init=False)
class Create(Operation):
    """Make persistent volumes of disk.

    Parameters
    ----------
    volumes : resources
        As they are to be: disk with a persistence id that no other volume of their role has on
        the agent; shared or not. Each is made of as much disk of its reservation and source.
    """

    type: ClassVar[str] = "CREATE"

    #: Not `Resources`, in which two volumes of one id would add up to one.
    volumes: tuple[Resource, ...]

    def __init__(self, volumes: ResourcesLike) -> None:
        with _naming(self.type):
            _set(self, "volumes", tuple(map(Resource, read_entries(volumes))))

    def apply(self, resources: Resources, elsewhere: Elsewhere) -> Resources:
        """Return `resources` with the volumes in place of disk. O(entries)."""
        for volume in self.volumes:
            key = _check_volume(volume)
            if volume.revocable:
                raise ResourceError(
                    f"{cut(volume)} is revocable; that cannot be a persistent volume"
                )
            if volume.disk and volume.disk.volume and volume.disk.volume.mode == "RO":
                raise ResourceError(f"the persistent volume {cut(volume)} is read-only")
            if volume.copies > 1 or key in elsewhere.volumes or key in volume_keys(resources):
                raise ResourceError(f"the id of the persistent volume {cut(volume)} is not unique")
            resources = resources - Resources(_disk_of(volume)) + Resources(volume)
        return resources

    def body(self) -> Json:
        """Return what the operation is made of, as v1 JSON. O(size)."""
        return {"volumes": [volume.to_json() for volume in self.volumes]}


@dataclass(frozen=True, slots=True, init=False)
class Destroy(Operation):
    """Turn persistent volumes back into the disk that they were made of.

    Parameters
    ----------
    volumes : resources
        As they are, whole; shared ones in use nowhere else.
    """

    type: ClassVar[str] = "DESTROY"

    volumes: Resources

    def __init__(self, volumes: ResourcesLike) -> None:
        with _naming(self.type):
            _set(self, "volumes", Resources(volumes))

    def apply(self, resources: Resources, elsewhere: Elsewhere) -> Resources:
        """Return `resources` with disk in place of the volumes. O(entries)."""
        rest = resources - self.volumes
        for volume in self.volumes:
            key = _check_volume(volume)
            if volume.copies > 1 or key in elsewhere.in_use or key in volume_keys(rest):
                raise ResourceError(f"the shared volume {cut(volume)} is in use elsewhere")
        return rest + Resources(map(_disk_of, self.volumes))

    def body(self) -> Json:
        """Return what the operation is made of, as v1 JSON. O(size)."""
        return {"volumes": self.volumes.to_json()}


@dataclass(frozen=True, slots=True, init=False)
class GrowVolume(Operation):
    """Add disk to a persistent volume.

    Parameters
    ----------
    volume : resource
        As it is, whole: not shared, not of a resource provider, not on a MOUNT or BLOCK disk.
    addition : resource
        Disk of the volume's reservation and source.
    """

    type: ClassVar[str] = "GROW_VOLUME"

    volume: Resource
    addition: Resource

    def __init__(self, volume: ResourceLike, addition: ResourceLike) -> None:
        with _naming(self.type):
            _set(self, "volume", _one(volume))
            _set(self, "addition", _one(addition))

    def apply(self, resources: Resources, elsewhere: Elsewhere) -> Resources:
        """Return `resources` with the larger volume. O(entries)."""
        _check_resizable(self.volume)
        if not self.addition or self.addition.identity is not _disk_of(self.volume).identity:
            raise ResourceError(
                f"{cut(self.addition)} is not disk of the reservation and source of"
                f" {cut(self.volume)}"
            )
        rest = resources - Resources(self.volume) - Resources(self.addition)
        return rest + Resources(_resized(self.volume, resources, _milli(self.addition)))

    def body(self) -> Json:
        """Return what the operation is made of, as v1 JSON. O(size)."""
        return {"volume": self.volume.to_json(), "addition": self.addition.to_json()}


@dataclass(frozen=True, slots=True, init=False)
class ShrinkVolume(Operation):
    """Take disk away from a persistent volume.

    Parameters
    ----------
    volume : resource
        As it is, whole: not shared, not of a resource provider, not on a MOUNT or BLOCK disk.
    subtract : number, v1 JSON scalar, or quantities or resources of disk
        How much, in MB; more than nothing, and less than all of it.
    """

    type: ClassVar[str] = "SHRINK_VOLUME"

    volume: Resource
    subtract: Quantities

    def __init__(self, volume: ResourceLike, subtract: AmountLike) -> None:
        with _naming(self.type):
            _set(self, "volume", _one(volume))
            _set(self, "subtract", _disk_amount(subtract))

    def apply(self, resources: Resources, elsewhere: Elsewhere) -> Resources:
        """Return `resources` with the smaller volume and the disk that it gave up. O(entries)."""
        _check_resizable(self.volume)
        milli = self.subtract.milli.get("disk", 0)
        if not 0 < milli < _milli(self.volume):
            raise ResourceError(
                f"{cut(self.subtract) or 'nothing'} is not a part of the volume {cut(self.volume)}"
            )
        rest = resources - Resources(self.volume)
        freed = _disk_of(self.volume).replace(value=milli)
        return rest + Resources([_resized(self.volume, resources, -milli), freed])

    def body(self) -> Json:
        """Return what the operation is made of, as v1 JSON. O(size)."""
        milli = self.subtract.milli.get("disk", 0)
        return {"volume": self.volume.to_json(), "subtract": {"value": number_of(milli)}}


# Reading


class _Form(NamedTuple):
    """The operation of a type, and the fields of its JSON body."""

    make: Callable[..., Operation]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


_FORMS: Final = {
    "RESERVE": _Form(Reserve, ("resources",), ("source",)),
    "UNRESERVE": _Form(Unreserve, ("resources",)),
    "CREATE": _Form(Create, ("volumes",)),
    "DESTROY": _Form(Destroy, ("volumes",)),
    "GROW_VOLUME": _Form(GrowVolume, ("volume", "addition")),
    "SHRINK_VOLUME": _Form(ShrinkVolume, ("volume", "subtract")),
}


def operation_from_json(operation: Mapping[str, Any]) -> Operation:
    """Return the operation that a v1 JSON object (`Offer.Operation`) stands for.

    Fields that are not known, such as `id`, are ignored.

    Raises
    ------
    ResourceError
        If it is malformed, or of a type that is no conversion. O(size).

    Examples
    --------
    >>> operation_from_json({"type": "UNRESERVE", "unreserve": {"resources": "cpus(eng):1"}})
    Unreserve(resources=Resources('cpus(eng):1'))
    """
    kind = operation.get("type")
    form = _FORMS.get(kind) if isinstance(kind, str) else None
    if form is None or not isinstance(kind, str):
        raise ResourceError(f"operation type {shown(kind)} is none of {', '.join(_FORMS)}")
    body = operation.get(kind.lower())
    if not isinstance(body, Mapping):
        raise ResourceError(f"{kind}: {kind.lower()!r} must be an object, not {shown(body)}")
    for field in form.required:
        if body.get(field) is None:
            raise ResourceError(f"{kind}: {field!r} is missing in {shown(body)}")
    # An empty list is how JSON made of protocol buffers may show that nothing is set.
    given = {name: body[name] for name in form.optional if body.get(name)}
    return form.make(**{name: body[name] for name in form.required}, **given)


def read_operations(
    operations: Operation | Mapping[str, Any] | Iterable[Operation | Mapping[str, Any]],
) -> tuple[Operation, ...]:
    """Return operations given as such or as v1 JSON, one or several of them.

    Raises
    ------
    ResourceError
        If one is malformed or no operation. O(size).
    """
    if isinstance(operations, Operation | Mapping) or not isinstance(operations, Iterable):
        return (_read_operation(operations),)
    return tuple(map(_read_operation, operations))


def _read_operation(given: object) -> Operation:
    if isinstance(given, Operation):
        return given
    if isinstance(given, Mapping):
        return operation_from_json(given)
    raise ResourceError(f"{shown(given)} is not an operation")


def _one(given: ResourceLike) -> Resource:
    return given if isinstance(given, Resource) else Resource(given)


def _disk_amount(given: AmountLike) -> Quantities:
    if isinstance(given, Real | Decimal | float):
        return Quantities({"disk": given})
    if isinstance(given, Mapping) and set(given) == {"value"}:
        return Quantities({"disk": given["value"]})
    amount = given if isinstance(given, Quantities) else Resources(given).quantities()
    if not amount.milli.keys() <= {"disk"}:
        raise ResourceError(f"{shown(given)} is not an amount of disk")
    return amount


# What several operations have in common


@contextmanager
def _naming(operation: str) -> Iterator[None]:
    """Let a refusal within say what operation it is about."""
    try:
        yield
    except ResourceError as error:
        raise ResourceError(f"{operation}: {error}") from None


def _set(operation: Operation, field: str, value: object) -> None:
    """Set a field while the frozen operation is made."""
    object.__setattr__(operation, field, value)


def volume_keys(resources: Resources) -> frozenset[VolumeKey]:
    """Return the keys of the persistent volumes in `resources`. O(entries)."""
    return frozenset(
        (entry.role, entry.persistence_id)
        for entry in resources.special()
        if entry.persistence_id is not None
    )


def _check_volume(entry: Resource) -> VolumeKey:
    """Return the key of a persistent volume; anything else is refused."""
    if entry.persistence_id is None or not isinstance(entry.value, int) or not entry:
        raise ResourceError(f"{cut(entry)} is not a persistent volume")
    return entry.role, entry.persistence_id


def _check_resizable(volume: Resource) -> None:
    _check_volume(volume)
    if volume.shared:
        raise ResourceError(f"the volume {cut(volume)} is shared; that cannot be resized")
    if volume.provider_id is not None:
        raise ResourceError(
            f"the volume {cut(volume)} is a resource provider's; it is not resized here"
        )
    if volume.source is not None and volume.source.type != "PATH":
        raise ResourceError(
            f"the volume {cut(volume)} is on a {volume.source.type} disk; that cannot be resized"
        )


def _check_unreservable(entry: Resource) -> None:
    """Refuse an entry whose innermost reservation cannot have been made at run time."""
    if entry.persistence_id is not None:
        raise ResourceError(f"{cut(entry)} is a persistent volume; its reservation cannot change")
    if entry.shared:
        raise ResourceError(f"{cut(entry)} is shared; its reservation cannot change")
    if not entry.reservations or entry.reservations[-1].type != "DYNAMIC":
        raise ResourceError(f"{cut(entry)} is not dynamically reserved")


def _popped(resources: Resources) -> Resources:
    """Return the resources without their innermost reservations."""
    return Resources(entry.replace(reservations=entry.reservations[:-1]) for entry in resources)


def _without_reservations(resources: Resources) -> Resources:
    return Resources(entry.replace(reservations=()) for entry in resources)


def _disk_of(volume: Resource) -> Resource:
    """Return the disk that a persistent volume is made of; only volumes can be shared."""
    disk = None if volume.source is None else DiskInfo(source=volume.source)
    return volume.replace(disk=disk, shared=False)


def _milli(entry: Resource) -> int:
    assert isinstance(entry.value, int)
    return entry.value


def _resized(volume: Resource, resources: Resources, change: int) -> Resource:
    """Return a volume that is in `resources`, with what it carries along, in another size."""
    held = next(entry for entry in resources if entry.identity is volume.identity)
    return held.replace(value=_milli(held) + change)
