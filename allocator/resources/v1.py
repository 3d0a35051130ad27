"""The v1 JSON form of one resource, as Mesos' scheduler and operator APIs write it.

Reading follows `Resources::validate` of Mesos: a `role` without `reservations` is the older way
to say a static reservation, and with `reservation` beside it a dynamic one. `null` means unset;
`allocation_info` and fields not known here are ignored.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from allocator.errors import ResourceError, shown
from allocator.resources.disk import (
    MOUNTED_SOURCES,
    DiskInfo,
    DiskSource,
    Persistence,
    Volume,
    check_disk_name,
)
from allocator.resources.fixed import number_of, read_milli
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
from allocator.resources.ranges import Ranges, checked, normal
from allocator.resources.reservation import (
    DYNAMIC,
    STATIC,
    Labels,
    Reservation,
    optional_text,
)
from allocator.resources.text import read_bound
from allocator.roles import DEFAULT_ROLE

#: The field that holds the value of each type.
_VALUE_FIELDS: Final[dict[Kind, str]] = {SCALAR: "scalar", RANGES: "ranges", SET: "set"}
#: Fields that tell a v1 resource from a mapping of names to amounts.
_TELLING_FIELDS: Final = ("type", "role", "reservation", "reservations", *_VALUE_FIELDS.values())

Json = dict[str, Any]


def is_v1(mapping: Mapping[Any, Any]) -> bool:
    """Tell a v1 resource from a mapping of names to amounts. O(1)."""
    is_named = isinstance(mapping.get("name"), str)
    return any(
        field in mapping and (is_named or isinstance(mapping[field], Mapping))
        for field in _TELLING_FIELDS
    )


def read_v1(entry: Mapping[str, Any]) -> Entry:
    """Return the entry that a v1 JSON object stands for.

    Raises
    ------
    ResourceError
        Naming the resource and what is malformed. O(size of the object).
    """
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise ResourceError(f"resource {shown(entry)}: its 'name' must be a non-empty text")
    name = str.__str__(name)  # of a subclass, its text
    try:
        kind, value = _read_value(entry)
        disk = _read_disk(name, _message(entry, "disk"))
        identity = identity_of(
            name,
            kind,
            _read_stack(entry),
            disk.persistence.id if disk and disk.persistence else None,
            disk.source if disk else None,
            _read_provider(entry),
            revocable=_message(entry, "revocable") is not None,
            shared=_message(entry, "shared") is not None,
        )
    except ResourceError as error:
        raise ResourceError(f"resource {shown(name)}: {error}") from None
    return Entry.of(identity, value, disk)


def _read_provider(entry: Mapping[str, Any]) -> str | None:
    """Return the provider's id, which must be there if its object is."""
    body = _message(entry, "provider_id")
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


def _message(parent: Mapping[str, Any], field: str) -> Mapping[str, Any] | None:
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


def _messages(parent: Mapping[str, Any], field: str) -> Sequence[Mapping[str, Any]]:
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


def _read_value(entry: Mapping[str, Any]) -> tuple[Kind, Value]:
    kind = _read_kind(entry)
    body = _message(entry, _VALUE_FIELDS[kind]) or {}
    if kind == SCALAR:
        return kind, read_milli(body.get("value"))
    if kind == RANGES:
        return kind, _read_ranges(body)
    return kind, _read_words(body)


def _read_kind(entry: Mapping[str, Any]) -> Kind:
    """Return the type, which exactly one value must be given for and which may go unsaid."""
    said = entry.get("type")
    given = [kind for kind, field in _VALUE_FIELDS.items() if entry.get(field) is not None]
    if said is not None and said not in tuple(_VALUE_FIELDS):
        raise ResourceError(f"the type {shown(said)} is none of {', '.join(_VALUE_FIELDS)}")
    if len(given) != 1:
        raise ResourceError(f"it has {len(given)} values {given} instead of one")
    if said is not None and said != given[0]:
        raise ResourceError(f"its type is {said}, but its value is of the type {given[0]}")
    return given[0]


def _read_ranges(body: Mapping[str, Any]) -> Ranges:
    return normal(
        checked(_bound(item.get("begin")), _bound(item.get("end")))
        for item in _messages(body, "range")
    )


def _bound(bound: object) -> object:
    return read_bound(bound) if isinstance(bound, str) else bound


def _read_words(body: Mapping[str, Any]) -> frozenset[str]:
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
    role, older = _text(entry, "role"), _message(entry, "reservation")
    stack = tuple(map(_read_reservation, _messages(entry, "reservations")))
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
        return (Reservation(STATIC, role),)
    for field in ("type", "role"):
        if reservation.get(field) is not None:
            raise ResourceError(f"its 'reservation' has a {field!r}; only 'reservations' have one")
    return (
        Reservation(DYNAMIC, role, reservation.get("principal"), _labels(reservation, "labels")),
    )


def _read_reservation(item: Mapping[str, Any]) -> Reservation:
    return Reservation(
        item.get("type"),  # type: ignore[arg-type]  # Reservation refuses what is no type
        item.get("role"),  # type: ignore[arg-type]  # Reservation refuses what is no role
        item.get("principal"),
        _labels(item, "labels"),
    )


def _write_reservation(reservation: Reservation) -> Json:
    return _set_fields(
        type=reservation.type,
        role=reservation.role,
        principal=reservation.principal,
        labels=_write_labels(reservation.labels),
    )


def _labels(parent: Mapping[str, Any], field: str) -> Labels:
    labels = _messages(_message(parent, field) or {}, "labels")
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
    persistence, volume = _message(disk, "persistence"), _message(disk, "volume")
    source = _message(disk, "source")
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
        mount = _message(source, mounted.lower())
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
