"""What may stand at a key: reading a value with its problems, and the JSON Schema that says so."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

from allocator.errors import InvalidValue, shown
from allocator.resources import Quantities, read_limits
from allocator.roles import validate_role
from allocator.sim.scenario.durations import GRAMMAR, seconds
from allocator.sim.scenario.problems import Place, nearest

JSON: TypeAlias = dict[str, Any]

#: What is read of a value that has a problem.
UNFIT = None


class Kind(Protocol):
    """What may stand at a key."""

    def read(self, value: object, place: Place) -> Any:
        """Return what a value says; if it is unfit, note why and return `UNFIT`."""

    def schema(self) -> JSON:
        """Return the JSON Schema of what is accepted; it may admit more than `read` does."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value that is read by a function, which raises `InvalidValue` at what it does not take.

    `expected` says in words what it takes.
    """

    take: Callable[[Any], Any]
    expected: str
    json: JSON = field(default_factory=dict)

    def read(self, value: object, place: Place) -> Any:
        """Return what the function makes of it."""
        try:
            return self.take(value)
        except InvalidValue:
            place.reject(shown(value), self.expected)
            return UNFIT

    def schema(self) -> JSON:
        """Return the schema it was made with."""
        return {**self.json, "description": self.expected}


@dataclass(frozen=True, slots=True)
class OneOrMany:
    """A value, or a list of at least one; read as a list."""

    kind: Kind

    def read(self, value: object, place: Place) -> Any:
        """Return the list of what was read; `UNFIT` if any of it is."""
        if not isinstance(value, (list, tuple)):
            one = self.kind.read(value, place)
            return UNFIT if one is UNFIT else [one]
        if not value:
            place.reject("an empty list", "at least one entry")
            return UNFIT
        read = [self.kind.read(one, place[index]) for index, one in enumerate(value)]
        return UNFIT if any(one is UNFIT for one in read) else read

    def schema(self) -> JSON:
        """Return a schema of both forms."""
        one = self.kind.schema()
        return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}


@dataclass(frozen=True, slots=True)
class Many:
    """A list, which may be empty."""

    kind: Kind

    def read(self, value: object, place: Place) -> Any:
        """Return the list of what was read, `UNFIT` in place of what was unfit."""
        if not isinstance(value, (list, tuple)):
            place.reject(shown(value), "a list")
            return UNFIT
        return [self.kind.read(one, place[index]) for index, one in enumerate(value)]

    def schema(self) -> JSON:
        """Return the schema of an array."""
        return {"type": "array", "items": self.kind.schema()}


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a table: what stands there, what it is for, and whether it must be there."""

    kind: Kind
    doc: str
    required: bool = False


class Found(dict[str, Any]):
    """What was read of a table: the values that are fit, and the keys that stand there."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.names = frozenset(names)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of known keys; read as `Found`."""

    keys: Mapping[str, Key]

    def read(self, value: object, place: Place) -> Any:
        """Return key -> what was read."""
        if not isinstance(value, Mapping):
            place.reject(shown(value), "a table")
            return UNFIT
        read = Found(name for name in value if name in self.keys)
        for name, given in value.items():
            key = self.keys.get(name)
            if key is None:
                place[str(name)].reject("unknown key", nearest(str(name), list(self.keys)))
                continue
            found = key.kind.read(given, place[name])
            if found is not UNFIT:
                read[name] = found
        for name, key in self.keys.items():
            if key.required and name not in value:
                place[name].reject("nothing", f"{name}: {key.doc}")
        return read

    def schema(self) -> JSON:
        """Return the schema of an object that has no other keys."""
        required = [name for name, key in self.keys.items() if key.required]
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {name: _described(key) for name, key in self.keys.items()},
            **({"required": required} if required else {}),
        }


def _described(key: Key) -> JSON:
    return {**key.kind.schema(), "description": key.doc}


@dataclass(frozen=True, slots=True)
class Named:
    """A table of tables of one kind by names that the user chooses."""

    kind: Kind
    name: Value

    def read(self, value: object, place: Place) -> Any:
        """Return name -> what was read, without names and tables that are unfit."""
        if not isinstance(value, Mapping):
            place.reject(shown(value), "a table of tables")
            return UNFIT
        read = {}
        for name, given in value.items():
            at = place[str(name)]
            if self.name.read(name, at) is not UNFIT:
                found = self.kind.read(given, at)
                if found is not UNFIT:
                    read[name] = found
        return read

    def schema(self) -> JSON:
        """Return the schema of an object with any names."""
        return {"type": "object", "additionalProperties": self.kind.schema()}


# Values that several keys take.


def number(least: float, most: float, *, above: bool = False) -> Value:
    """Return the kind of a number within bounds, the lower one left out if `above`."""

    def take(value: object) -> float:
        found = _finite(value)
        if not least <= found <= most or (above and found == least):
            raise InvalidValue(shown(value))
        return found

    bound = f"above {least:g} up to {most:g}" if above else f"from {least:g} to {most:g}"
    low = "exclusiveMinimum" if above else "minimum"
    return Value(take, f"a number {bound}", {"type": "number", low: least, "maximum": most})


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidValue(shown(value))
    if isinstance(value, int) and value.bit_length() > 1000:
        raise InvalidValue(shown(value))
    if not math.isfinite(value):
        raise InvalidValue(shown(value))
    return float(value)


def integer(least: int, most: int) -> Value:
    """Return the kind of a whole number within bounds."""

    def take(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InvalidValue(shown(value))
        return value

    json: JSON = {"type": "integer", "minimum": least, "maximum": most}
    return Value(take, f"a whole number from {least} to {most}", json)


def text(expected: str) -> Value:
    """Return the kind of a text that is not empty."""
    return Value(_text, expected, {"type": "string", "minLength": 1})


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > _MAX_TEXT or "\0" in value:
        raise InvalidValue(shown(value))
    return value


#: No title, name or path may be longer.
_MAX_TEXT = 4096


def choice(names: Iterable[str]) -> Value:
    """Return the kind of one of these words."""
    known = list(names)

    def take(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise InvalidValue(shown(value))
        return value

    return Value(take, f"one of {', '.join(known)}", {"enum": known})


def duration(*, zero: bool) -> Value:
    """Return the kind of a time in seconds, 0 among them or not."""

    def take(value: object) -> float:
        found = seconds(value)
        if not zero and found == 0:
            raise InvalidValue(shown(value))
        return found

    json: JSON = {
        "anyOf": [
            {"type": "number", "minimum": 0} if zero else {"type": "number", "exclusiveMinimum": 0},
            {"type": "string", "pattern": r"^([0-9.]+(ms|[smhdw])?)+$"},
        ]
    }
    return Value(take, f"{GRAMMAR}, up to 1e12 s" + ("" if zero else ", not 0"), json)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidValue(shown(value))
    return value


FLAG = Value(_flag, "true or false", {"type": "boolean"})

_AMOUNTS: JSON = {
    "anyOf": [
        {"type": "string"},
        {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}},
    ]
}


def _quantities(value: object) -> Quantities:
    return Quantities(_amounts(value))


def _amounts(value: object) -> str | Mapping[str, float]:
    """Return what `Quantities` reads, without what is no TOML amount."""
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping):
        raise InvalidValue(shown(value))
    return {name: _finite(amount) for name, amount in value.items()}


def _some(value: object) -> Quantities:
    found = _quantities(value)
    if not found.milli:
        raise InvalidValue(shown(value))
    return found


def _limits(value: object) -> dict[str, int]:
    return read_limits(_amounts(value))


_AS = 'amounts such as "cpus:4;mem:8192" or { cpus = 4, mem = 8192 }'

#: Amounts of resources, which may be none.
AMOUNTS = Value(_quantities, _AS, _AMOUNTS)
#: Amounts of resources, at least one of them.
SOME = Value(_some, f"{_AS}, not none", _AMOUNTS)
#: Amounts in thousandths by name, where 0 is an amount.
LIMITS = Value(_limits, _AS, _AMOUNTS)

#: Of a cluster's tasks, many are in one role.
_known_role = lru_cache(maxsize=4096)(validate_role)


def _role(value: object) -> str:
    return _known_role(value) if isinstance(value, str) else validate_role(value)


ROLE = Value(_role, "a role path such as eng/batch", {"type": "string", "minLength": 1})
