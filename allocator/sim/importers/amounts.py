"""Amounts as other systems write them, as exact fractions until they are rounded once.

The engine's `mem` and `disk` are in MiB (2**20 bytes), as Mesos, Slurm and YARN have them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from math import floor

from allocator.errors import InvalidValue, shown
from allocator.resources import Quantities
from allocator.resources.fixed import MAX_MILLI
from allocator.resources.text import is_word

#: Exact amounts by name, in whole units.
Amounts = dict[str, Fraction]
#: Amounts by name in thousandths.
Milli = dict[str, int]

MIB = 2**20

#: What Kubernetes puts after a number ("Quantity").
_SUFFIXES = {
    "": Fraction(1),
    **{s: Fraction(1, 1000**n) for n, s in enumerate(("m", "u", "n"), 1)},
    **{s: Fraction(1000**n) for n, s in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{s: Fraction(1024**n) for n, s in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
}
_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))(?:[eE](?P<exponent>[+-]?\d{1,3})|(?P<suffix>[a-zA-Z]*))"
)
#: No amount is written in more characters, and none is so large or small.
_MAX_CHARS = 80
_MAX_EXPONENT = 40


@lru_cache(maxsize=4096)
def _quantity(text: str) -> Fraction:
    match = _QUANTITY.fullmatch(text.strip()) if len(text) <= _MAX_CHARS else None
    suffix = match["suffix"] or "" if match else None
    if match is None or suffix not in _SUFFIXES:
        raise InvalidValue(f"{shown(text)} is no quantity")
    exponent = int(match["exponent"] or 0)
    if abs(exponent) > _MAX_EXPONENT:
        raise InvalidValue(f"{shown(text)} is no quantity that a machine has")
    return Fraction(match["number"]) * Fraction(10) ** exponent * _SUFFIXES[suffix]


def quantity(value: object) -> Fraction:
    """Return a Kubernetes quantity, text or number.

    Raises
    ------
    InvalidValue
        If it is none. O(length).

    Examples
    --------
    >>> [str(quantity(text)) for text in ("100m", "1Ki", "1k", "1E3", "1E")]
    ['1/10', '1024', '1000', '1000', '1000000000000000000']
    """
    return _quantity(value) if isinstance(value, str) else number(value)


def number(value: object) -> Fraction:
    """Return a plain number, given as such or as text, exactly; raises `InvalidValue`."""
    try:
        if isinstance(value, bool) or not isinstance(value, (int, str, float, Decimal, Fraction)):
            raise InvalidValue(f"{shown(value)} is no number")
        if isinstance(value, (int, Fraction)):
            return Fraction(value)
        if isinstance(value, str) and len(value) > _MAX_CHARS:
            raise InvalidValue(f"{shown(value)} is no number")
        read = Decimal(str(value).strip())
        if not read.is_finite():
            raise InvalidValue(f"{shown(value)} is no finite number")
        if read and abs(read.adjusted()) > _MAX_EXPONENT:
            if read.adjusted() < 0:
                return Fraction(0)
            raise InvalidValue(f"{shown(str(value))} is larger than anything that a cluster has")
        return Fraction(read)
    except InvalidOperation:
        raise InvalidValue(f"{shown(value)} is no number") from None


def positive(value: Fraction, text: object) -> Fraction:
    """Return an amount that is not negative; raises `InvalidValue`, which shows `text`."""
    if value < 0:
        raise InvalidValue(f"{shown(text)} is negative")
    return value


def milli(value: Fraction) -> int:
    """Return thousandths, rounded half up.

    Examples
    --------
    >>> milli(Fraction(1, 2000)), milli(Fraction("88.5100000000053"))
    (1, 88510)
    """
    return floor(value * 1000 + Fraction(1, 2))


def rounded(amounts: Mapping[str, Fraction]) -> Milli:
    """Return amounts in thousandths, each rounded half up, without zeros. O(names).

    Raises
    ------
    InvalidValue
        If one is negative, or larger than the engine can count.
    """
    found = {}
    for name, amount in amounts.items():
        check_name(name)
        value = milli(amount)
        if not 0 <= value <= MAX_MILLI:
            what = "negative" if value < 0 else "larger than the engine can count"
            raise InvalidValue(f"{name} of {float(amount):g} is {what}")
        if value:
            found[name] = value
    return found


def check_name(name: str) -> None:
    """Raise `InvalidValue` for what is no name of a resource. O(length)."""
    if not is_word(name):
        raise InvalidValue(f"{shown(name)} is no name of a resource")


def add(into: Amounts, more: Mapping[str, Fraction], times: int = 1) -> None:
    """Add amounts in place. O(names)."""
    for name, amount in more.items():
        into[name] = into.get(name, Fraction(0)) + amount * times


def limit_by(into: Amounts, more: Mapping[str, Fraction]) -> None:
    """Have the smaller amount of each name bind, in place. O(names)."""
    for name, amount in more.items():
        into[name] = min(amount, into.get(name, amount))


def add_milli(into: Milli, more: Mapping[str, int], times: int = 1) -> None:
    """Add amounts in thousandths in place. O(names)."""
    for name, amount in more.items():
        into[name] = into.get(name, 0) + amount * times


def total_of(all_amounts: Iterable[Mapping[str, int]]) -> Milli:
    """Return a sum in thousandths. O(amounts)."""
    total: Milli = {}
    for amounts in all_amounts:
        add_milli(total, amounts)
    return total


def plain(amounts: Mapping[str, int]) -> dict[str, int | float]:
    """Return thousandths as numbers that JSON and TOML write well. O(names)."""
    return {name: whole(amounts[name]) for name in sorted(amounts)}


def whole(value: int) -> int | float:
    """Return thousandths as a number, an integer where it is one."""
    return value // 1000 if value % 1000 == 0 else value / 1000


def quantities(amounts: Mapping[str, int]) -> Quantities:
    """Return thousandths as `Quantities`. O(names)."""
    return Quantities.from_milli(amounts)
