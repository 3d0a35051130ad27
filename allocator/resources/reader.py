"""Reading whatever stands for resources: text, mappings, v1 JSON, entries, and lists of these."""

import json
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NoReturn

from allocator.errors import ResourceError, shown
from allocator.resources.fixed import read_milli
from allocator.resources.identity import Entry, identity_of, plain_identity
from allocator.resources.text import is_word, read_text, read_value
from allocator.resources.v1 import is_v1, read_v1

#: Lists may hold lists, this deep; a list that holds itself ends here.
_MAX_DEPTH = 8

#: Texts up to this length are kept parsed by those who read them; longer ones seldom recur.
CACHED_TEXT_CHARS = 256


def read_entries(source: object, depth: int = 0) -> Iterator[Entry]:
    """Yield the entries that `source` stands for, in its order, empty amounts included.

    Raises
    ------
    ResourceError
        Naming what is malformed, or is no resource at all. O(size).
    """
    if isinstance(source, str):
        stripped = source.lstrip()
        if stripped.startswith(("[", "{")):
            yield from read_entries(_decode(stripped), depth + 1)
        else:
            yield from read_text(source)
    elif isinstance(source, Entry):
        yield source
    elif isinstance(source, Mapping):
        if is_v1(source):
            yield read_v1(source)
        else:
            yield from _read_mapping(source)
    elif isinstance(source, Iterable) and not isinstance(source, bytes | bytearray | memoryview):
        if depth > _MAX_DEPTH:
            raise ResourceError(f"{shown(source)}: lists within lists are too deep")
        for item in source:
            yield from read_entries(item, depth + 1)
    else:
        raise ResourceError(f"{shown(source)} is not resources")


def _read_mapping(amounts: Mapping[Any, Any]) -> Iterator[Entry]:
    for name, amount in amounts.items():
        if not isinstance(name, str) or not is_word(name):
            raise ResourceError(f"{shown(name)} is not a resource name")
        name = str.__str__(name)  # of a subclass, its text
        try:
            if isinstance(amount, str):
                kind, value = read_value(amount)
                entry = Entry.of(identity_of(name, kind), value)
            else:
                entry = Entry.of(plain_identity(name), read_milli(amount))
        except ResourceError as error:
            raise ResourceError(f"resource {shown(name)}: {error}") from None
        yield entry


def _decode(text: str) -> object:
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except RecursionError:
        raise ResourceError(f"{shown(text)}: JSON nested too deep") from None
    except (ValueError, ArithmeticError) as error:
        raise ResourceError(f"{shown(text)}: malformed JSON ({error})") from None


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number")
