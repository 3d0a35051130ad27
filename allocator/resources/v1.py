"""The v1 JSON form of one resource, as Mesos' scheduler and operator APIs write it.

Names and values are read by `_reader`, and here what an object may have beyond them, as Mesos'
`Resources::validate` does: a `role` without `reservations` is the older way to say a static
reservation, and with `reservation` beside it a dynamic one. `null` means unset; `allocation_info`
and fields not known here are ignored.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NoReturn

from allocator.errors import ResourceError, shown
from allocator.resources.disk import (
    MOUNTED_SOURCES,
    DiskInfo,
    DiskSource,
    Persistence,
    Volume,
    check_disk_name,
)
from allocator.resources.fixed import number_of
from allocator.resources.identity import (
    RANGES,
    SCALAR,
    SET,
    Identity,
    Kind,
    Value,
    identity_of,
)
from allocator.resources.reservation import (
    DYNAMIC,
    STATIC,
    Labels,
    Reservation,
    optional_text,
)
from allocator.roles import DEFAULT_ROLE

#: The field that holds the value of each type.
_VALUE_FIELDS: Final[dict[Kind, str]] = {SCALAR: "scalar", RANGES: "ranges", SET: "set"}

Json = dict[str, Any]


def read_rest(entry: Json, name: str, kind: Kind) -> tuple[Identity, DiskInfo | None]:
    """Return the identity and the disk of an object that has more than a name and a value.

    Raises
    ------
    ResourceError
        Saying what is malformed. O(size of the object).
    """
    disk = _read_disk(name, object_in(entry, "disk"))
    identity = identity_of(
        name,
        kind,
        _read_stack(entry),
        disk.persistence.id if disk and disk.persistence else None,
        disk.source if disk else None,
        _read_provider(entry),
        revocable=object_in(entry, "revocable") is not None,
        shared=object_in(entry, "shared") is not None,
    )
    return identity, disk


def _read_provider(entry: Mapping[str, Any]) -> str | None:
    """Return the provider's id, which must be there if its object is."""
    body = object_in(entry, "provider_id")
    if body is None:
        return None
    id = _text(body, "value")
    if id is None:
        raise ResourceError(f"'provider_id' must have a 'value', which {shown(body)} has not")
    return id


def write_v1(identity: Identity, value: Value, disk: DiskInfo | None) -> Json:
    """Return one entry as a v1 JSON object, unset fields left out. O(size)."""
    body: Json = {"name": identity.name, "type": identity.kind}
    body[_VALUE_FIELDS[identity.kind]] = _write_value(value)
    if identity.reservations:
        body["reservations"] = [_write_reservation(item) for item in identity.reservations]
    if disk is not None:
        body["disk"] = _write_disk(disk)
    if identity.provider_id is not None:
        body["provider_id"] = {"value": identity.provider_id}
    if identity.revocable:
        body["revocable"] = {}
    if identity.shared:
        body["shared"] = {}
    return body


def compact_json(body: object) -> str:
    """Return the one JSON text of `body`: sorted keys, no blanks. O(size)."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


# Fields: each reader takes the parent object, so that its message can name the field.


def object_in(parent: Mapping[str, Any], field: str) -> Mapping[str, Any] | None:
    """Return a field that is an object or unset; raises `ResourceError`. O(1)."""
    value = parent.get(field)
    if value is not None and not isinstance(value, Mapping):
        raise ResourceError(f"{field!r} must be an object, not {shown(value)}")
    return value


def _list(parent: Mapping[str, Any], field: str) -> Sequence[Any]:
    value = parent.get(field)
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise ResourceError(f"{field!r} must be a list, not {shown(value)}")
    return value


def objects_in(parent: Mapping[str, Any], field: str) -> Sequence[Mapping[str, Any]]:
    """Return a field that is a list of objects, or unset; raises `ResourceError`. O(n)."""
    items = _list(parent, field)
    for item in items:
        if not isinstance(item, Mapping):
            raise ResourceError(f"{field!r} must hold objects, not {shown(item)}")
    return items


def _text(parent: Mapping[str, Any], field: str) -> str | None:
    value: str | None = parent.get(field)
    optional_text(field, value)
    return value


def _set_fields(**fields: object) -> Json:
    return {name: value for name, value in fields.items() if value is not None}


# Values


def refuse_type(entry: Mapping[str, Any]) -> NoReturn:
    """Refuse, with `ResourceError`, an object that does not have one value of the type it says."""
    said = entry.get("type")
    given = [kind for kind, field in _VALUE_FIELDS.items() if entry.get(field) is not None]
    if said is not None and said not in tuple(_VALUE_FIELDS):
        raise ResourceError(f"the type {shown(said)} is none of {', '.join(_VALUE_FIELDS)}")
    if len(given) != 1:
        raise ResourceError(f"it has {len(given)} values {given} instead of one")
    raise ResourceError(f"its type is {said}, but its value is of the type {given[0]}")


def read_words(body: Mapping[str, Any]) -> frozenset[str]:
    """Return the words of the value of a set; raises `ResourceError`. O(n)."""
    words = _list(body, "item")
    for word in words:
        if not isinstance(word, str) or not word:
            raise ResourceError(f"{shown(word)} is not a word of a set")
    return frozenset(words)


def _write_value(value: Value) -> Json:
    if isinstance(value, int):
        return {"value": number_of(value)}
    if isinstance(value, frozenset):
        return {"item": sorted(value)}
    return {"range": [{"begin": begin, "end": end} for begin, end in value]}


# Reservations


def _read_stack(entry: Mapping[str, Any]) -> tuple[Reservation, ...]:
    role, older = _text(entry, "role"), object_in(entry, "reservation")
    stack = tuple(map(_read_reservation, objects_in(entry, "reservations")))
    if not stack:
        return _older_stack(role, older)
    innermost = stack[-1]
    if role not in (None, DEFAULT_ROLE, innermost.role):
        raise ResourceError(
            f"its role is {shown(role)}, but it is reserved for {shown(innermost.role)}"
        )
    if older is not None and _older_stack(innermost.role, older) != (innermost,):
        raise ResourceError("its 'reservation' differs from the innermost of its 'reservations'")
    return stack


def _older_stack(
    role: str | None, reservation: Mapping[str, Any] | None
) -> tuple[Reservation, ...]:
    """Return the stack that `role` and `reservation` stand for, in the form before refinement."""
    if role is None or role == DEFAULT_ROLE:
        if reservation is not None:
            raise ResourceError("it has a 'reservation' but no role that it is reserved for")
        return ()
    if reservation is None:
        return (_reservation(STATIC, role),)
    for field in ("type", "role"):
        if reservation.get(field) is not None:
            raise ResourceError(f"its 'reservation' has a {field!r}; only 'reservations' have one")
    labels = _labels(reservation, "labels")
    return (_reservation(DYNAMIC, role, reservation.get("principal"), labels),)


def _read_reservation(item: Mapping[str, Any]) -> Reservation:
    return _reservation(
        item.get("type"), item.get("role"), item.get("principal"), _labels(item, "labels")
    )


def _reservation(*parts: Any) -> Reservation:
    """Return the reservation of these parts, which `Reservation` may refuse; few recur often."""
    try:
        return _kept_reservation(*parts)
    except TypeError:  # a part that has no hash, which is refused
        return Reservation(*parts)


_kept_reservation = lru_cache(maxsize=1024)(Reservation)


def _write_reservation(reservation: Reservation) -> Json:
    return _set_fields(
        type=reservation.type,
        role=reservation.role,
        principal=reservation.principal,
        labels=_write_labels(reservation.labels),
    )


def _labels(parent: Mapping[str, Any], field: str) -> Labels:
    labels = objects_in(object_in(parent, field) or {}, "labels")
    return tuple((label.get("key"), label.get("value")) for label in labels)  # type: ignore[misc]


def _write_labels(labels: Labels) -> Json | None:
    if not labels:
        return None
    return {"labels": [_set_fields(key=key, value=value) for key, value in labels]}


# Disks


def _read_disk(name: str, disk: Mapping[str, Any] | None) -> DiskInfo | None:
    if disk is None:
        return None
    check_disk_name(name)
    persistence, volume = object_in(disk, "persistence"), object_in(disk, "volume")
    source = object_in(disk, "source")
    if persistence is None and volume is None and source is None:
        return None
    return DiskInfo(
        None if persistence is None else _read_persistence(persistence),
        None if volume is None else _read_volume(volume),
        None if source is None else _read_source(source),
    )


def _read_persistence(persistence: Mapping[str, Any]) -> Persistence:
    return Persistence(
        persistence.get("id"),  # type: ignore[arg-type]  # Persistence refuses what is no id
        persistence.get("principal"),
    )


def _read_volume(volume: Mapping[str, Any]) -> Volume:
    return Volume(volume.get("container_path"), volume.get("mode"), volume.get("host_path"))


def _read_source(source: Mapping[str, Any]) -> DiskSource:
    kind = source.get("type")
    root = None
    for mounted in MOUNTED_SOURCES:
        mount = object_in(source, mounted.lower())
        if mount is not None:
            if kind != mounted:
                raise ResourceError(f"a disk source of type {shown(kind)} has {mounted.lower()!r}")
            root = mount.get("root")
    return DiskSource(
        kind,  # type: ignore[arg-type]  # DiskSource refuses what is no type
        root,
        source.get("id"),
        source.get("profile"),
        source.get("vendor"),
        _labels(source, "metadata"),
    )


def _write_disk(disk: DiskInfo) -> Json:
    return _set_fields(
        persistence=disk.persistence
        and _set_fields(id=disk.persistence.id, principal=disk.persistence.principal),
        volume=disk.volume
        and _set_fields(
            container_path=disk.volume.container_path,
            mode=disk.volume.mode,
            host_path=disk.volume.host_path,
        ),
        source=disk.source and _write_source(disk.source),
    )


def _write_source(source: DiskSource) -> Json:
    body = _set_fields(
        type=source.type,
        id=source.id,
        profile=source.profile,
        vendor=source.vendor,
        metadata=_write_labels(source.metadata),
    )
    if source.root is not None:
        body[source.type.lower()] = {"root": source.root}
    return body
