"""Whatever may be an argument of a call, as strict JSON, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from numbers import Real
from typing import Any, Final

import numpy as np

from allocator.engine import Offer, Operation
from allocator.errors import InvalidValue, shown
from allocator.resources import Quantities, Resource, Resources


def to_json(value: object) -> Any:
    """Return any argument of a call as JSON that `from_json` reads as one the engine takes alike.

    An offer becomes its id, an operation its v1 JSON, plain scalars text; a collection, iterator or
    array a list. What JSON has no form for becomes an object of one field, `$` and what it is:
    numbers that are no JSON numbers, other resources, mappings that no object can be, and anything
    else, which no decision goes by, as it looks. O(size).

    Raises
    ------
    RecursionError
        It is nested too deep, or contains itself.

    Examples
    --------
    >>> to_json([math.nan, {"keep": Resources("cpus:1"), "refuse": 5.0}])
    [{'$float': 'nan'}, {'keep': 'cpus:1', 'refuse': 5.0}]
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # of a subclass, its text
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "iuf":
        return _numpy(value)
    if isinstance(value, Real | Decimal):
        return _number(value)
    if isinstance(value, Offer):
        return to_json(value.id)
    if isinstance(value, Operation):
        return value.to_json()
    if isinstance(value, Quantities):
        return str(value)
    if isinstance(value, Resources | Resource):
        resources = Resources(value)
        written = resources_to_json(resources)
        # Where quantities are wanted, resources are taken that their text would not be.
        return {"$resources": written} if resources.special() else written
    if isinstance(value, Mapping):
        return _object(value)
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | memoryview):
        return [_item(item) for item in value]
    return _other(value)


def from_json(value: Any) -> Any:
    """Return what `to_json` wrote. O(size).

    Raises
    ------
    InvalidValue, ValueError, ArithmeticError, TypeError
        It is nothing that `to_json` writes.
    """
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    tags = [name for name in value if name.startswith("$")]
    if not tags:
        return {name: from_json(item) for name, item in value.items()}
    if len(value) > 1 or tags[0] not in _READERS:
        raise InvalidValue(f"{shown(value)} is no value that a log holds")
    return _READERS[tags[0]](value[tags[0]])


def resources_to_json(resources: Resources) -> Any:
    """Return resources as text, or as v1 JSON where the text would be JSON. O(n log n)."""
    text = str(resources)
    return resources.to_json() if text.startswith("[") else text


def offers_to_json(offers: Iterable[Offer]) -> Any:
    """Return offers with all that they say, for a call that goes by that."""
    return {"$offers": [offer_to_json(offer) for offer in offers]}


def offer_to_json(offer: Offer) -> dict[str, Any]:
    """Return an offer with all that it says."""
    return {**offer._asdict(), "resources": resources_to_json(offer.resources)}


def _offer(fields: Mapping[str, Any]) -> Offer:
    return Offer(**{**fields, "resources": Resources(fields["resources"])})


def _numpy(value: Any) -> Any:
    """Return numbers as Python's own, or with their type where that decides how they are read."""
    if value.dtype.itemsize > 8:
        return [_number(number) for number in value] if value.ndim else _number(value)
    plain = to_json(value.tolist())
    if isinstance(value, float) or (value.dtype.itemsize == 8 and value.ndim == 1):
        return plain
    return {"$numpy": [value.dtype.str, plain]}


def _item(value: object) -> Any:
    """Return a list's item; a list of resources is no list of their texts, which would add up."""
    if isinstance(value, Resources):
        return {"$resources": resources_to_json(value)}
    return to_json(value)


def _number(value: Real | Decimal) -> Any:
    if isinstance(value, int):
        return int(value) if value.bit_length() < 64 else {"$int": hex(value)}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": float.__repr__(value)}
    return {"$number": str(value)}


def _object(value: Mapping[Any, Any]) -> Any:
    if all(isinstance(name, str) and not name.startswith("$") for name in value):
        return {str.__str__(name): to_json(item) for name, item in value.items()}
    return {"$mapping": [[_key(name), to_json(item)] for name, item in value.items()]}


def _key(name: object) -> Any:
    """Return a key that is a key again when it is read: a tuple would be a list by then."""
    is_plain = name is None or isinstance(name, str | Real | Decimal)
    return to_json(name) if is_plain else _other(name)


def _other(value: object) -> dict[str, str]:
    return {"$other": shown(value)}


def _numbers(typed: Any) -> Any:
    """Return the numbers of NumPy's that `_numpy` wrote; no other type, of whatever size."""
    name, numbers = typed
    dtype = np.dtype(name)
    if dtype.kind not in "iuf":
        raise InvalidValue(f"{shown(name)} is no type of numbers")
    with np.errstate(all="raise"):
        return np.array(from_json(numbers), dtype)[()]


class _Other:
    """Stands for a value of a kind that no decision goes by, and looks like it in messages."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Other) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


#: Tag → what reads the text or list under it.
_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "$int": lambda text: int(text, 16),
    "$float": float,
    "$number": lambda text: Fraction(text) if "/" in text else Decimal(text),
    "$numpy": _numbers,
    "$offers": lambda offers: [_offer(offer) for offer in offers],
    "$resources": Resources,
    "$mapping": lambda pairs: {from_json(name): from_json(item) for name, item in pairs},
    "$other": _Other,
}
