"""The text form, Mesos' `name(role):value` separated by semicolons.

`cpus:4` is unreserved, and so is `cpus(*):4`; `cpus(eng/prod):4` is statically reserved. A value
is a number, ranges `[1-2,5-9]` or a set `{sda,sdb}`. White space may stand around every part.
"""

import re
from collections.abc import Iterator

from allocator.errors import ResourceError, shown
from allocator.resources.fixed import read_milli, write_milli
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
from allocator.resources.reservation import STATIC, Reservation
from allocator.roles import DEFAULT_ROLE

#: Characters with a meaning in this syntax; a name, role or word with one is written as JSON.
_STRUCTURE = re.compile(r"[()\[\]{}:;,\"\s]")
_HEAD = re.compile(r"([^()]*)(?:\(([^()]*)\))?")
_BOUND_DIGITS = re.compile(r"0*([0-9]{1,19})")


def read_text(text: str) -> Iterator[Entry]:
    """Yield the entries of a text; empty segments are skipped.

    Raises
    ------
    ResourceError
        Naming the segment that is malformed. O(length).
    """
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


def is_word(text: str) -> bool:
    """Tell whether `text` can stand as a name, role or set element in this syntax. O(length)."""
    return bool(text) and _STRUCTURE.search(text) is None


def read_value(text: str) -> tuple[Kind, Value]:
    """Return the kind and value that a text such as `4`, `[1-2]` or `{a,b}` stands for.

    Raises
    ------
    ResourceError
        Naming the part that is malformed. O(length).
    """
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


def read_bound(digits: str) -> int:
    """Return an end of a range from its decimal digits, which may be more than fit an int64.

    Raises
    ------
    ResourceError
        If it is not a text of digits, or has far too many. O(length).
    """
    match = _BOUND_DIGITS.fullmatch(digits)
    if match is None:
        raise ResourceError(f"{shown(digits)} is not an integer from 0 to 2**63 - 1")
    return int(match[1])


def write_text(identity: Identity, value: Value) -> str | None:
    """Return the text of one entry, None if this syntax has no way to say it. O(length)."""
    role = _writable_role(identity)
    if role is None or not is_word(identity.name):
        return None
    body = _write_value(value)
    return None if body is None else f"{identity.name}{role}:{body}"


def _writable_role(identity: Identity) -> str | None:
    """Return the `(role)` part, None if there is more to say than that."""
    bare = not (identity.revocable or identity.shared or identity.provider_id is not None)
    if not bare or identity.persistence_id is not None or identity.source is not None:
        return None
    if not identity.reservations:
        return ""
    role = identity.reservations[0].role
    if identity.reservations != (Reservation(STATIC, role),) or not is_word(role):
        return None
    return f"({role})"


def _write_value(value: Value) -> str | None:
    if isinstance(value, int):
        return write_milli(value)
    if isinstance(value, frozenset):
        return f"{{{','.join(sorted(value))}}}" if all(map(is_word, value)) else None
    return f"[{','.join(f'{begin}-{end}' for begin, end in value)}]"
