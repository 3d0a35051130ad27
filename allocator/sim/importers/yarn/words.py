"""How YARN writes resources, and XML as JSON has it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from allocator.errors import InvalidValue, shown
from allocator.sim.importers.amounts import Amounts, number, positive
from allocator.sim.importers.source import Path

Json = Mapping[str, Any]

_NAMES = {
    **dict.fromkeys(("memory", "memory-mb", "mb"), "mem"),
    **dict.fromkeys(("vcores", "vcore", "cpu", "cpus"), "cpus"),
    **dict.fromkeys(("gpu", "yarn.io/gpu"), "gpus"),
}
_VALUE = re.compile(r"(-?\d+(?:\.\d*)?)\s*(%|w|)")


def name_of(resource: str) -> str:
    """Return the engine's name of a resource type."""
    return _NAMES.get(resource.lower(), resource.replace("/", "."))


def value_of(text: str) -> tuple[Fraction, str]:
    """Return a number and its kind: empty for an amount, `%` or `w`. Raises `InvalidValue`."""
    match = _VALUE.fullmatch(text.strip())
    if match is None:
        raise InvalidValue(f"{shown(text)} is no amount, percentage or weight")
    return number(match[1]), match[2]


def vector(text: str) -> dict[str, tuple[Fraction, str]]:
    """Return a vector of capacities, name -> number and kind. Raises `InvalidValue`.

    Examples
    --------
    >>> vector("[memory=50%,vcores=2w]")
    {'mem': (Fraction(50, 1), '%'), 'cpus': (Fraction(2, 1), 'w')}
    """
    found = {}
    for part in text.strip().strip("[]").split(","):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise InvalidValue(f"{shown(text)} is no vector of capacities")
        found[name_of(name.strip())] = value_of(value)
    return found


def fair_resources(text: str) -> tuple[Amounts, Fraction | Amounts | None]:
    """Return the amounts and the percentages that a text of the FairScheduler says.

    Raises
    ------
    InvalidValue
        If it is none. O(length).

    Examples
    --------
    >>> fair_resources("1024 mb, 2 vcores")[0]
    {'mem': Fraction(1024, 1), 'cpus': Fraction(2, 1)}
    >>> fair_resources("50%")[1], fair_resources("vcores=3, memory-mb=25%")
    (Fraction(50, 1), ({'cpus': Fraction(3, 1)}, {'mem': Fraction(25, 1)}))
    """
    amounts: Amounts = {}
    percents: Amounts = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals:
            match = re.fullmatch(r"\s*(-?[\d.]+\s*%?)\s*([\w./-]*)\s*", part)
            if match is None:
                raise InvalidValue(f"{shown(text)} says no resources")
            value, name = match[1], match[2]
        found, kind = value_of(value)
        positive(found, text)
        if not name.strip():
            if kind != "%" or "," in text:
                raise InvalidValue(f"{shown(text)} says no resources")
            return {}, found
        (percents if kind == "%" else amounts)[name_of(name.strip())] = found
    return amounts, percents or None


def resource_info(value: Any) -> Amounts:
    """Return what a resource of the REST API says, those of 0 among it. O(names)."""
    if not isinstance(value, Mapping):
        return {}
    found: Amounts = {}
    if value.get("memory") is not None:
        found["mem"] = number(value["memory"])
    if value.get("vCores") is not None:
        found["cpus"] = number(value["vCores"])
    inner = value.get("resourceInformations")
    for one in listing(inner.get("resourceInformation") if isinstance(inner, Mapping) else None):
        name = name_of(str(one.get("name")))
        if name not in ("mem", "cpus"):
            found[name] = number(one.get("value") or 0)
    return {name: max(Fraction(0), amount) for name, amount in found.items()}


def listing(value: Any) -> list[Any]:
    """Return a list; a list of one may stand as its only element."""
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]


def path_of(queue: str) -> Path:
    """Return a queue's path without the root.

    Examples
    --------
    >>> path_of("root.a.b"), path_of("root"), path_of("a")
    (('a', 'b'), (), ('a',))
    """
    parts = tuple(part for part in queue.strip().split("."))
    return parts[1:] if parts[0] == "root" else parts


def product(parent: Fraction | Amounts | None, own: Fraction | Amounts) -> Fraction | Amounts:
    """Return percentages of the cluster, of what is a percentage of the parent's. O(names)."""
    above: Fraction | Amounts = Fraction(100) if parent is None else parent
    if isinstance(above, Fraction) and isinstance(own, Fraction):
        return above * own / 100
    names = (own if isinstance(own, dict) else {}) | (above if isinstance(above, dict) else {})
    return {
        name: _percent(above, name) * _percent(own, name) / 100
        for name in names
        if _percent(above, name) * _percent(own, name) != 10_000
    }


def _percent(value: Fraction | Amounts, name: str) -> Fraction:
    return value.get(name, Fraction(100)) if isinstance(value, dict) else value


def as_json(element: Any) -> Any:
    """Return an element as the REST API's JSON has it: repeated children as lists. O(size)."""
    if not len(element):
        return (element.text or "").strip()
    found: dict[str, Any] = {}
    for child in element:
        tag = local(child.tag)
        value = as_json(child)
        kind = next((x for key, x in child.attrib.items() if local(key) == "type"), None)
        if kind is not None and isinstance(value, dict):
            value.setdefault("type", kind)
        if tag in found:
            found[tag] = [*listing(found[tag]), value]
        else:
            found[tag] = value
    return found


def local(tag: Any) -> str:
    """Return a tag without its name space."""
    return str(tag).rpartition("}")[2]


def is_number(value: Any) -> bool:
    """Tell whether a value is a number, as such or as text."""
    if isinstance(value, (int, Decimal)):
        return True
    return isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value) is not None
