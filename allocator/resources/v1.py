"""The v1 JSON form of one resource, as Mesos' scheduler and operator APIs write it.

Reading follows `Resources::validate` of Mesos: a `role` without `reservations` is the older way
to say a static reservation, with `reservation` beside it a dynamic one. `null` means unset,
`allocation_info` and fields not known here are ignored.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from allocator.errors import ResourceError
from allocator.resources.fixed import number_of, read_milli, shown
from allocator.resources.identity import (
    DISK,
    DYNAMIC,
    RANGES,
    SCALAR,
    SET,
    SOURCE_TYPES,
    STATIC,
    DiskInfo,
    DiskSource,
    Entry,
    Identity,
    Kind,
    Labels,
    Persistence,
    Reservation,
    Value,
    Volume,
    identity_of,
)
from allocator.resources.ranges import MAX_BOUND, Ranges, normal
from allocator.resources.text import checked_range, read_bound
from allocator.roles import DEFAULT_ROLE

#: The field that holds the value of each kind.
_VALUE_FIELDS: Final[dict[Kind, str]] = {SCALAR: "scalar", RANGES: "ranges", SET: "set"}

Json = dict[str, Any]


def is_v1(mapping: Mapping[Any, Any]) -> bool:
    """Tell a v1 resource from a mapping of names to amounts. O(1)."""
    return isinstance(mapping.get("name"), str) and any(
        field in mapping for field in ("type", *_VALUE_FIELDS.values())
    )


def read_v1(entry: Mapping[str, Any]) -> Entry:
    """Return the entry that a v1 JSON object stands for.

    Raises
    ------
    ResourceError
        Naming the resource and the field that is malformed. O(size of the object).
    """
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise ResourceError(f"resource {shown(entry)}: 'name' must be a non-empty text")
    try:
        kind, value = _read_value(entry)
        disk = _read_disk(name, _message(entry, "disk"))
        identity = identity_of(
            name,
            kind,
            _read_stack(entry),
            disk.persistence.id if disk and disk.persistence else None,
            disk.source if disk else None,
            _text(_message(entry, "provider_id") or {}, "value"),
            revocable=_message(entry, "revocable") is not None,
            shared=_message(entry, "shared") is not None,
        )
    except ResourceError as error:
        raise ResourceError(f"resource {shown(name)}: {error}") from None
    return Entry.of(identity, value, disk)


# Fields


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


def _text(parent: Mapping[str, Any], field: str, *, required: bool = False) -> str | None:
    value = parent.get(field)
    if value is None and not required:
        return None
    if not isinstance(value, str) or (required and not value):
        raise ResourceError(f"{field!r} must be a text, not {shown(value)}")
    return value


# Values


def _read_value(entry: Mapping[str, Any]) -> tuple[Kind, Value]:
    given = [kind for kind, field in _VALUE_FIELDS.items() if entry.get(field) is not None]
    kind = entry.get("type")
    if kind is not None and not (isinstance(kind, str) and kind in _VALUE_FIELDS):
        raise ResourceError(f"the type {shown(kind)} is not SCALAR, RANGES or SET")
    if len(given) != 1 or (kind is not None and kind != given[0]):
        raise ResourceError(
            f"type {shown(kind)} with {[_VALUE_FIELDS[k] for k in given]}: exactly the value of"
            " the type must be given"
        )
    body = _message(entry, _VALUE_FIELDS[given[0]]) or {}
    if given[0] == SCALAR:
        return SCALAR, read_milli(body.get("value"))
    if given[0] == RANGES:
        return RANGES, _read_ranges(body)
    return SET, frozenset(_read_words(body))


def _read_ranges(body: Mapping[str, Any]) -> Ranges:
    pairs = []
    for item in _list(body, "range"):
        if not isinstance(item, Mapping):
            raise ResourceError(f"{shown(item)} is not a range")
        pairs.append(checked_range(_bound(item.get("begin")), _bound(item.get("end"))))
    return normal(pairs)


def _bound(value: object) -> int:
    if isinstance(value, str):
        return read_bound(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_BOUND:
        raise ResourceError(f"{shown(value)} is not an integer from 0 to 2**63 - 1")
    return value


def _read_words(body: Mapping[str, Any]) -> list[str]:
    words = list(_list(body, "item"))
    for word in words:
        if not isinstance(word, str) or not word:
            raise ResourceError(f"{shown(word)} is not a word of a set")
    return words


# Reservations


def _read_stack(entry: Mapping[str, Any]) -> tuple[Reservation, ...]:
    role = _text(entry, "role")
    legacy = _message(entry, "reservation")
    stack = tuple(_read_reservation(item) for item in _list(entry, "reservations"))
    if not stack:
        return _legacy_stack(role, legacy)
    innermost = stack[-1]
    if role not in (None, DEFAULT_ROLE, innermost.role):
        raise ResourceError(f"role {role!r} beside reservations for {innermost.role!r}")
    if legacy is not None and _legacy_stack(innermost.role, legacy) != (innermost,):
        raise ResourceError("'reservation' differs from the innermost of 'reservations'")
    return stack


def _legacy_stack(
    role: str | None, reservation: Mapping[str, Any] | None
) -> tuple[Reservation, ...]:
    if role in (None, DEFAULT_ROLE):
        if reservation is not None:
            raise ResourceError(f"role {role!r} with a 'reservation': it reserves for no role")
        return ()
    if reservation is None:
        return (Reservation(STATIC, role),)
    return (
        Reservation(DYNAMIC, role, _text(reservation, "principal"), _labels(reservation, "labels")),
    )


def _read_reservation(item: object) -> Reservation:
    if not isinstance(item, Mapping):
        raise ResourceError(f"{shown(item)} is not a reservation")
    return Reservation(
        item.get("type"),  # type: ignore[arg-type]  # Reservation refuses what is not a type
        _text(item, "role", required=True) or "",
        _text(item, "principal"),
        _labels(item, "labels"),
    )


def _labels(parent: Mapping[str, Any], field: str) -> Labels:
    pairs = []
    for label in _list(_message(parent, field) or {}, "labels"):
        if not isinstance(label, Mapping):
            raise ResourceError(f"{shown(label)} is not a label")
        key = label.get("key")
        if not isinstance(key, str):
            raise ResourceError(f"the label key {shown(key)} is not a text")
        pairs.append((key, _text(label, "value")))
    return tuple(pairs)


# Disks


def _read_disk(name: str, disk: Mapping[str, Any] | None) -> DiskInfo | None:
    if disk is None:
        return None
    if name != DISK:
        raise ResourceError(f"disk information belongs to 'disk', not {name!r}")
    persistence, volume = _message(disk, "persistence"), _message(disk, "volume")
    source = _message(disk, "source")
    if volume is not None and persistence is None:
        raise ResourceError("a 'volume' needs 'persistence' beside it")
    if persistence is None and source is None:
        return None
    return DiskInfo(
        None if persistence is None else _read_persistence(persistence),
        None if volume is None else _read_volume(volume),
        None if source is None else _read_source(source),
    )


def _read_persistence(persistence: Mapping[str, Any]) -> Persistence:
    return Persistence(
        _text(persistence, "id", required=True) or "", _text(persistence, "principal")
    )


def _read_volume(volume: Mapping[str, Any]) -> Volume:
    mode = volume.get("mode")
    if mode not in (None, "RW", "RO"):
        raise ResourceError(f"the volume mode {shown(mode)} is not RW or RO")
    return Volume(_text(volume, "container_path"), mode, _text(volume, "host_path"))


def _read_source(source: Mapping[str, Any]) -> DiskSource:
    kind = source.get("type")
    if kind not in SOURCE_TYPES:
        raise ResourceError(f"the disk source type {shown(kind)} is not {'/'.join(SOURCE_TYPES)}")
    root = None
    for field in ("path", "mount"):
        mounted = _message(source, field)
        if mounted is not None:
            if kind != field.upper():
                raise ResourceError(f"a disk source of type {kind} with {field!r}")
            root = _text(mounted, "root")
    return DiskSource(
        kind,
        root,
        _text(source, "id"),
        _text(source, "profile"),
        _text(source, "vendor"),
        _labels(source, "metadata"),
    )


# Writing


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


def _write_value(value: Value) -> Json:
    if isinstance(value, int):
        return {"value": number_of(value)}
    if isinstance(value, frozenset):
        return {"item": sorted(value)}
    return {"range": [{"begin": begin, "end": end} for begin, end in value]}


def _write_reservation(reservation: Reservation) -> Json:
    return _set_fields(
        type=reservation.type,
        role=reservation.role,
        principal=reservation.principal,
        labels=_write_labels(reservation.labels),
    )


def _write_labels(labels: Labels) -> Json | None:
    if not labels:
        return None
    return {"labels": [_set_fields(key=key, value=value) for key, value in labels]}


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


def _set_fields(**fields: object) -> Json:
    return {name: value for name, value in fields.items() if value is not None}
