"""Writing the text form, Mesos' `name(role):value`, which `_reader` describes and reads."""

import re

from allocator.resources.fixed import write_milli
from allocator.resources.identity import (
    Identity,
    Value,
)
from allocator.resources.reservation import STATIC, Reservation

#: Characters with a meaning in this syntax; a name, role or word with one is written as JSON.
#: So is one with a byte order mark, which is skipped at the beginning of a text.
_STRUCTURE = re.compile(r"[()\[\]{}:;,\"\s\ufeff]")


def is_word(text: str) -> bool:
    """Tell whether `text` can stand as a name, role or set element in this syntax. O(length)."""
    return bool(text) and _STRUCTURE.search(text) is None


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
