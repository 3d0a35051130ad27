"""Conversions of resources, by what Mesos consumes and makes for each operation (contract §5.10).

An operation is read from its v1 JSON, which all operations can write, so that the reference knows
nothing of the classes that stand for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from allocator.errors import ResourceError, cut, shown
from allocator.resources import DiskInfo, Quantities, Resource, Resources

#: Role and id: what makes a persistent volume unique on an agent.
VolumeKey: TypeAlias = tuple[str | None, str | None]

#: (resources, body of the operation, volumes elsewhere on the agent, shared ones in use) → the
#: converted resources.
Conversion: TypeAlias = Callable[
    [Resources, Mapping[str, Any], set[VolumeKey], set[VolumeKey]], Resources
]


def converted(
    resources: Resources, operations: object, total: Resources, elsewhere: Resources
) -> Resources:
    """Return what resources become by operations in turn, all or none.

    Parameters
    ----------
    resources : Resources
        An offer's, or what is available on an agent.
    operations : operation or v1 JSON of one, or iterable of these
    total : Resources
        All that the agent has; ids of volumes are unique there.
    elsewhere : Resources
        What else is offered or in use there.

    Raises
    ------
    ResourceError
        An operation is malformed or not possible.
    """
    others = volume_keys(total) - volume_keys(resources)
    in_use = volume_keys(elsewhere.shared())
    for kind, body in _read(operations):
        try:
            resources = _CONVERSIONS[kind](resources, body, others, in_use)
        except ResourceError as error:
            raise ResourceError(f"{kind}: {error}") from None
    return resources


def _read(operations: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    single = isinstance(operations, Mapping) or hasattr(operations, "to_json")
    if not single and not isinstance(operations, Iterable):
        raise ResourceError(f"{shown(operations)} is no operation")
    for operation in [operations] if single else list(operations):  # type: ignore[call-overload]
        json = operation.to_json() if hasattr(operation, "to_json") else operation
        if not isinstance(json, Mapping) or json.get("type") not in _CONVERSIONS:
            raise ResourceError(f"{shown(operation)} is no operation")
        kind = json["type"]
        body = json.get(kind.lower())
        if not isinstance(body, Mapping):
            raise ResourceError(f"{kind}: {kind.lower()!r} is an object, not {shown(body)}")
        yield kind, body


def _field(body: Mapping[str, Any], name: str) -> Any:
    if body.get(name) is None:
        raise ResourceError(f"{shown(name)} is missing in {shown(dict(body))}")
    return body[name]


# The operations: (resources, body, volumes elsewhere, shared volumes in use elsewhere).


def _reserve(
    resources: Resources, body: Mapping[str, Any], others: set[VolumeKey], in_use: set[VolumeKey]
) -> Resources:
    wanted = Resources(_field(body, "resources"))
    for entry in wanted:
        _check_reservation(entry)
        if entry.revocable:
            raise ResourceError(f"{cut(entry)} is revocable")
    if not body.get("source"):
        return resources - _popped(wanted) + wanted
    source = Resources(body["source"])
    if _bare(source) != _bare(wanted):
        raise ResourceError(f"{cut(source)} and {cut(wanted)} differ in more than reservations")
    stacks = [{entry.reservations for entry in side} for side in (source, wanted)]
    if any(len(found) > 1 for found in stacks):
        raise ResourceError(f"{cut(source)} or {cut(wanted)} have several reservations")
    before, after = ({r for stack in found for r in stack} for found in stacks)
    if any(reservation.type == "STATIC" for reservation in before ^ after):
        raise ResourceError(f"{cut(source)} and {cut(wanted)} differ in a static reservation")
    return resources - source + wanted


def _unreserve(
    resources: Resources, body: Mapping[str, Any], others: set[VolumeKey], in_use: set[VolumeKey]
) -> Resources:
    given = Resources(_field(body, "resources"))
    for entry in given:
        _check_reservation(entry)
    return resources - given + _popped(given)


def _create(
    resources: Resources, body: Mapping[str, Any], others: set[VolumeKey], in_use: set[VolumeKey]
) -> Resources:
    # One by one: as `Resources`, two volumes of one id would add up to one.
    given = _field(body, "volumes")
    for part in given if isinstance(given, list) else [given]:
        volume = Resource(part)
        key = _volume_key(volume)
        if volume.revocable or (
            volume.disk and volume.disk.volume and volume.disk.volume.mode == "RO"
        ):
            raise ResourceError(f"{cut(volume)} is revocable or read-only")
        if volume.copies > 1 or key in others | volume_keys(resources):
            raise ResourceError(f"the id of {cut(volume)} is not unique")
        resources = resources - Resources(_disk_of(volume)) + Resources(volume)
    return resources


def _destroy(
    resources: Resources, body: Mapping[str, Any], others: set[VolumeKey], in_use: set[VolumeKey]
) -> Resources:
    volumes = Resources(_field(body, "volumes"))
    rest = resources - volumes
    for volume in volumes:
        if volume.copies > 1 or _volume_key(volume) in in_use | volume_keys(rest):
            raise ResourceError(f"the shared volume {cut(volume)} is in use elsewhere")
    return rest + Resources([_disk_of(volume) for volume in volumes])


def _grow(
    resources: Resources, body: Mapping[str, Any], others: set[VolumeKey], in_use: set[VolumeKey]
) -> Resources:
    volume = _resizable(_field(body, "volume"))
    addition = Resource(_field(body, "addition"))
    if not addition or addition.identity is not _disk_of(volume).identity:
        raise ResourceError(
            f"{cut(addition)} is not disk of the kind that {cut(volume)} is made of"
        )
    rest = resources - Resources(volume) - Resources(addition)
    return rest + Resources(_sized(volume, resources, _milli(volume) + _milli(addition)))


def _shrink(
    resources: Resources, body: Mapping[str, Any], others: set[VolumeKey], in_use: set[VolumeKey]
) -> Resources:
    volume = _resizable(_field(body, "volume"))
    subtract = Quantities({"disk": _field(_field(body, "subtract"), "value")}).milli.get("disk", 0)
    if not 0 < subtract < _milli(volume):
        raise ResourceError(f"{subtract} thousandths are not a part of {cut(volume)}")
    smaller = _sized(volume, resources, _milli(volume) - subtract)
    freed = _disk_of(volume).replace(value=subtract)
    return resources - Resources(volume) + Resources([smaller, freed])


_CONVERSIONS: dict[str, Conversion] = {
    "RESERVE": _reserve,
    "UNRESERVE": _unreserve,
    "CREATE": _create,
    "DESTROY": _destroy,
    "GROW_VOLUME": _grow,
    "SHRINK_VOLUME": _shrink,
}


# What several operations have in common.


def volume_keys(resources: Resources) -> set[VolumeKey]:
    """Return the keys of the persistent volumes."""
    return {(e.role, e.persistence_id) for e in resources if e.persistence_id is not None}


def _volume_key(volume: Resource) -> VolumeKey:
    if volume.persistence_id is None or volume.type != "SCALAR" or not volume:
        raise ResourceError(f"{cut(volume)} is not a persistent volume")
    return volume.role, volume.persistence_id


def _resizable(given: Any) -> Resource:
    volume = Resource(given)
    _volume_key(volume)
    on_other_disk = volume.source is not None and volume.source.type != "PATH"
    if volume.shared or volume.provider_id is not None or on_other_disk:
        raise ResourceError(f"{cut(volume)} cannot be resized")
    return volume


def _check_reservation(entry: Resource) -> None:
    if entry.persistence_id is not None or entry.shared:
        raise ResourceError(f"{cut(entry)} is a persistent volume or shared")
    if not entry.reservations or entry.reservations[-1].type != "DYNAMIC":
        raise ResourceError(f"{cut(entry)} is not dynamically reserved")


def _popped(resources: Resources) -> Resources:
    return Resources([e.replace(reservations=e.reservations[:-1]) for e in resources])


def _bare(resources: Resources) -> Resources:
    return Resources([e.replace(reservations=()) for e in resources])


def _disk_of(volume: Resource) -> Resource:
    disk = None if volume.source is None else DiskInfo(source=volume.source)
    return volume.replace(disk=disk, shared=False)


def _sized(volume: Resource, resources: Resources, milli: int) -> Resource:
    """Return a volume in another size, with all that is carried along in `resources`."""
    held = [entry for entry in resources if entry.identity is volume.identity]
    if not held:
        raise ResourceError(f"{cut(volume)} is not there")
    return held[0].replace(value=milli)


def _milli(entry: Resource) -> int:
    assert isinstance(entry.value, int)
    return entry.value
