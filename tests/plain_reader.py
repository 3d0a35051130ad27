"""The reader of resources in plain Python: what the compiled one is held to.

It shares with it what is not compiled: numbers and their refusals (`fixed`), ranges, and all that
a v1 object has beyond a name and a value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NoReturn

from allocator.errors import ResourceError, shown
from allocator.resources import Resource, Resources
from allocator.resources.fixed import read_milli
from allocator.resources.identity import RANGES, SCALAR, SET, Entry, Identity, Kind, identity_of
from allocator.resources.quantities import add_amount
from allocator.resources.ranges import Ranges, checked, normal, read_bound
from allocator.resources.reservation import STATIC, Reservation
from allocator.resources.text import is_word
from allocator.resources.v1 import object_in, objects_in, read_rest, read_words, refuse_type
from allocator.roles import DEFAULT_ROLE

_HEAD = re.compile(r"([^()]*)(?:\(([^()]*)\))?")
_VALUE_FIELDS: dict[Kind, str] = {SCALAR: "scalar", RANGES: "ranges", SET: "set"}
_TELLING_FIELDS = ("type", "role", "reservation", "reservations", *_VALUE_FIELDS.values())
_MAX_DEPTH = 8


def read_entries(source: object, depth: int = 0) -> Iterator[Entry]:
    """Yield the entries that `source` stands for."""
    if isinstance(source, str):
        text = source.removeprefix("\ufeff")
        if text.lstrip().startswith(("[", "{")):
            yield from read_entries(_decode(text.lstrip()), depth + 1)
        else:
            yield from _read_text(text)
    elif isinstance(source, Entry):
        yield source
    elif isinstance(source, Mapping):
        yield from [_read_v1(source)] if is_v1(source) else _read_mapping(source)
    elif isinstance(source, Iterable) and not isinstance(source, bytes | bytearray | memoryview):
        if depth > _MAX_DEPTH:
            raise ResourceError(f"{shown(source)}: lists within lists are too deep")
        for item in source:
            yield from read_entries(item, depth + 1)
    else:
        raise ResourceError(f"{shown(source)} is not resources")


def gather(source: object) -> Resources:
    """Return the sum of the entries that `source` stands for."""
    plain: dict[str, int] = {}
    special: dict[Identity, Resource] = {}
    totals: dict[str, int] = {}
    kinds: dict[str, Kind] = {}
    for entry in map(Resource._of, read_entries(source)):
        identity, value = entry.identity, entry.value
        kind = kinds.setdefault(identity.name, identity.kind)
        if kind != identity.kind:
            raise ResourceError(f"{shown(identity.name)} is both {kind} and {identity.kind}")
        if not value:
            continue
        mine = special.get(identity)
        if not identity.plain:
            special[identity] = entry if mine is None else mine._plus(entry)
        if isinstance(value, int) and not (identity.shared and mine is not None):
            add_amount(totals, identity.name, value)
        if identity.plain and isinstance(value, int):
            plain[identity.name] = plain.get(identity.name, 0) + value
    return Resources._make(plain, special, totals)


def _read_mapping(amounts: Mapping[Any, Any]) -> Iterator[Entry]:
    for name, amount in amounts.items():
        if not isinstance(name, str) or not is_word(name):
            raise ResourceError(f"{shown(name)} is not a resource name")
        try:
            kind: Kind = SCALAR
            if isinstance(amount, str):
                kind, value = read_value(amount)
            else:
                value = read_milli(amount)
        except ResourceError as error:
            raise ResourceError(f"resource {shown(name)}: {error}") from None
        yield Entry.of(identity_of(str.__str__(name), kind), value)


def _decode(text: str) -> object:
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except RecursionError:
        raise ResourceError(f"{shown(text)}: JSON nested too deep") from None
    except (ValueError, ArithmeticError) as error:
        raise ResourceError(f"{shown(text)}: malformed JSON ({error})") from None


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number")


# Text.


def _read_text(text: str) -> Iterator[Entry]:
    for segment in text.split(";"):
        segment = segment.strip()
        if segment:
            yield _read_segment(segment)


def _read_segment(segment: str) -> Entry:
    head, colon, tail = segment.partition(":")
    match = _HEAD.fullmatch(head.strip())
    if not colon or match is None:
        raise ResourceError(f"resource {shown(segment)}: not of the form name(role):value")
    name = match[1].strip()
    if not is_word(name):
        raise ResourceError(f"resource {shown(segment)}: {shown(name)} is not a name")
    try:
        kind, value = read_value(tail)
        role = DEFAULT_ROLE if match[2] is None else match[2].strip()
        stack = () if role == DEFAULT_ROLE else (Reservation(STATIC, role),)
    except ResourceError as error:
        raise ResourceError(f"resource {shown(segment)}: {error}") from None
    return Entry.of(identity_of(name, kind, stack), value)


def read_value(text: str) -> tuple[Kind, Any]:
    """Return the kind and value that a text such as `4`, `[1-2]` or `{a,b}` stands for."""
    text = text.strip()
    if text.startswith("["):
        return RANGES, _read_ranges(text)
    if text.startswith("{"):
        return SET, frozenset(_read_words(text))
    return SCALAR, read_milli(text)


def _items(text: str, closing: str) -> list[str]:
    if not text.endswith(closing):
        raise ResourceError(f"{shown(text)} does not end with {closing!r}")
    inner = text[1:-1].strip()
    return [item.strip() for item in inner.split(",")] if inner else []


def _read_ranges(text: str) -> Ranges:
    pairs = []
    for item in _items(text, "]"):
        begin, dash, end = item.partition("-")
        if not dash:
            raise ResourceError(f"{shown(item)} is not a range begin-end")
        pairs.append(checked(read_bound(begin.strip()), read_bound(end.strip())))
    return normal(pairs)


def _read_words(text: str) -> Iterator[str]:
    for item in _items(text, "}"):
        if not is_word(item):
            raise ResourceError(f"{shown(item)} is not a word of a set")
        yield item


# v1 JSON.


def is_v1(mapping: Mapping[Any, Any]) -> bool:
    """Tell a v1 resource from a mapping of names to amounts."""
    is_named = isinstance(mapping.get("name"), str)
    return any(
        field in mapping and (is_named or isinstance(mapping[field], Mapping))
        for field in _TELLING_FIELDS
    )


def _read_v1(given: Mapping[str, Any]) -> Entry:
    name = given.get("name")
    if not isinstance(name, str) or not name:
        raise ResourceError(f"resource {shown(given)}: its 'name' must be a non-empty text")
    try:
        kind, value = _read_v1_value(given)
        identity, disk = read_rest(dict(given), str.__str__(name), kind)
    except ResourceError as error:
        raise ResourceError(f"resource {shown(name)}: {error}") from None
    return Entry.of(identity, value, disk)


def _read_v1_value(given: Mapping[str, Any]) -> tuple[Kind, Any]:
    kinds = [kind for kind, field in _VALUE_FIELDS.items() if given.get(field) is not None]
    if len(kinds) != 1 or given.get("type") not in (None, kinds[0]):
        refuse_type(given)
    (kind,) = kinds
    body = object_in(given, _VALUE_FIELDS[kind]) or {}
    if kind == SCALAR:
        return kind, read_milli(body.get("value"))
    if kind == SET:
        return kind, read_words(body)
    return kind, normal(
        checked(_bound(item.get("begin")), _bound(item.get("end")))
        for item in objects_in(body, "range")
    )


def _bound(bound: object) -> object:
    return read_bound(bound) if isinstance(bound, str) else bound
