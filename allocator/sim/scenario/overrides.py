"""Changing keys of a scenario from outside: dotted keys, as TOML writes them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from allocator.errors import InvalidValue, shown
from allocator.resources import read_limits
from allocator.sim.scenario.problems import Path, Place

_STEP = re.compile(
    r"""\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*"|'[^']*')|(?P<bare>[^."'\[\]]+)|\[(?P<index>[0-9]{1,9})\])\s*"""
)


def parse_key(text: str) -> Path:
    """Return the path that a dotted key says.

    A name with a dot, a bracket or a quote in it stands in quotes; of names with slashes, as roles
    have them, that is not asked.

    Raises
    ------
    InvalidValue
        If it is malformed. O(length).

    Examples
    --------
    >>> parse_key('roles.eng/batch.weight'), parse_key('workload.tenant[1]."a.b"')
    (('roles', 'eng/batch', 'weight'), ('workload', 'tenant', 1, 'a.b'))
    """
    path: list[str | int] = []
    at, needs_step = 0, True
    while at < len(text) or needs_step:
        match = _STEP.match(text, at)
        if match is None or (match["index"] is None) != needs_step:
            raise InvalidValue(f"{shown(text)} is not a key such as policy.sorter")
        if match["index"] is not None:
            path.append(int(match["index"]))
        elif match["quoted"]:
            path.append(_unquoted(match["quoted"], text))
        else:
            path.append(match["bare"].strip())
        at = match.end()
        needs_step = text.startswith(".", at)
        at += needs_step
    return tuple(path)


def _unquoted(quoted: str, text: str) -> str:
    try:
        return str(tomllib.loads(f"k = {quoted}")["k"])
    except tomllib.TOMLDecodeError:
        raise InvalidValue(f"{shown(text)} is not a key such as policy.sorter") from None


def parse_value(text: str) -> Any:
    """Return the TOML value that a text is, or else the text. O(length).

    Examples
    --------
    >>> parse_value("40"), parse_value("[1, 2]"), parse_value("1h30m"), parse_value("true")
    (40, [1, 2], '1h30m', True)
    """
    try:
        found = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return found["value"] if found.keys() == {"value"} else text


def parse_setting(text: str) -> tuple[str, Any]:
    """Return key and value of `KEY=VALUE`; a key may have quoted parts with `=` in them.

    Raises
    ------
    InvalidValue
        If it has another form, or the key is malformed. O(length).

    Examples
    --------
    >>> parse_setting("roles.eng.limit.cpus=40")
    ('roles.eng.limit.cpus', 40)
    """
    match = re.match(r"""(?:[^"'=]|"(?:[^"\\]|\\.)*"|'[^']*')+=""", text)
    if match is None:
        raise InvalidValue(f"{shown(text)} is not of the form KEY=VALUE")
    key = match[0][:-1].strip()
    parse_key(key)
    return key, parse_value(text[match.end() :].strip())


def changed(
    data: Mapping[str, Any], changes: Mapping[str, Any], place: Place
) -> tuple[dict[str, Any], list[Path]]:
    """Return a copy of a scenario with keys set, or, where the value is None, left out.

    What a key cannot be set for is noted at `place`. Also returns where what was set stands.
    O(size).
    """
    result = _copied(data)
    paths = []
    for key, value in changes.items():
        try:
            path = parse_key(key)
        except InvalidValue as error:
            place[key].reject(error, "a dotted key")
            continue
        paths.append(_set(result, path, _copied(value), place))
    return result, paths


def _copied(value: Any) -> Any:
    """Return a copy of nested tables and lists; other values are never changed. O(size)."""
    if isinstance(value, Mapping):
        return {key: _copied(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copied(one) for one in value]
    return value


def _set(root: dict[str, Any], path: Path, value: Any, place: Place) -> Path:
    """Set a key, or delete it if the value is None; return where it stands."""
    inside: Any = root
    for depth, step in enumerate(path):
        at = _position(inside, step)
        if at is None:
            place[step].reject("nothing there", _names(inside))
            return place.path
        place = place[at]
        if depth < len(path) - 1:
            inside = _opened(inside, at)
        elif value is not None:
            inside[at] = value
        else:
            _remove(inside, at)
    return place.path


def _remove(inside: Any, at: str | int) -> None:
    if at in (range(len(inside)) if isinstance(inside, list) else inside):
        del inside[at]


def _position(inside: Any, step: str | int) -> str | int | None:
    """Return the key or index that a step means here; None if there is nothing of the kind."""
    if isinstance(inside, dict):
        return step if isinstance(step, str) else None
    if not isinstance(inside, list):
        return None
    named = [i for i, e in enumerate(inside) if isinstance(e, dict) and e.get("name") == step]
    if named:
        return named[0]
    if isinstance(step, str):
        step = int(step) if step.isascii() and step.isdigit() and len(step) < 10 else -1
    return step if 0 <= step < len(inside) else None


def _opened(inside: Any, at: str | int) -> Any:
    """Return what stands at a key, made a table where nothing does, or where amounts are text."""
    if isinstance(inside, dict) and at not in inside:
        inside[at] = {}
    elif isinstance(inside[at], str):
        with suppress(InvalidValue):  # no amounts: nothing stands below it
            inside[at] = {name: x / 1000 for name, x in read_limits(inside[at]).items()}
    return inside[at]


def _names(inside: Any) -> str:
    if isinstance(inside, list):
        names = [e["name"] for e in inside if isinstance(e, dict) and "name" in e]
        some = ", ".join(map(str, names[:5])) + (" …" if len(names) > 5 else "")
        return f"a position below {len(inside)}" + (f", or a name: {some}" if some else "")
    return "a key of a table" if isinstance(inside, dict) else "a table"
