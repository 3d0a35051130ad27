"""Fixed point: amounts are held as integers of 1/1000 ("milli"), so that sums are exact.

A number is read through its decimal text, never through binary fractions, and rounded half up
to three decimals; `0.1 + 0.2 == 0.3` holds because 100 + 200 == 300 does.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Context, Decimal, DecimalException
from fractions import Fraction
from numbers import Integral, Real

from allocator.errors import ResourceError, cut, shown

#: Thousandths in one whole unit (a core, a MB, a device).
MILLI = 1000

#: The largest amount, in milli: what an int64 holds.
MAX_MILLI = 2**63 - 1

#: ASCII decimal syntax. `float()` and `Decimal()` take more: underscores, other digits, words.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")

#: A number with a unit that other systems write: thousandths, or bytes where amounts are in MB.
_WITH_UNIT = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?(m|[KMGTP]i?B?)")
_UNITS = {
    "m": Decimal("0.001"),
    **{
        prefix + unit: Decimal(2) ** (10 * power)
        for power, prefix in enumerate("KMGTP", start=-1)
        for unit in ("", "i", "B", "iB")
    },
}

_THOUSANDTH = Decimal("0.001")
#: Three decimals of the largest amount need 19 digits; an amount beyond is refused before.
_CONTEXT = Context(prec=32, rounding=ROUND_HALF_UP)
#: Decimal exponents of the first digit beyond which an amount overflows or rounds to zero.
_TOP_EXPONENT = 15
_BOTTOM_EXPONENT = -4

#: Every decimal of so many digits survives the way to a double and back (C's DBL_DIG).
_DOUBLE_DIGITS = 15


def read_milli(number: object) -> int:
    """Return a number as an amount in milli, rounded half up.

    Parameters
    ----------
    number : int, float, Decimal, Fraction, any other real number, or its decimal text
        A float stands for the shortest decimal that reads back as it (its repr).

    Returns
    -------
    int
        In 1/1000, from 0 to 2**63 - 1.

    Raises
    ------
    ResourceError
        If it is no number (a bool is none), is negative, NaN, infinite or over-large, or is not
        zero but rounds to zero.

    Notes
    -----
    O(number of digits).

    Examples
    --------
    >>> read_milli(0.1), read_milli("2.0005"), read_milli(3)
    (100, 2001, 3000)
    """
    if isinstance(number, Integral) and not isinstance(number, bool):
        milli = int(number) * MILLI
        if 0 <= milli <= MAX_MILLI:
            return milli
        raise ResourceError(f"the amount {shown(number)} is {_sign_or_size(milli < 0)}")
    if isinstance(number, Fraction):
        return _read_fraction(number)
    return _read_decimal(_decimal_of(number), number)


def _decimal_of(number: object) -> Decimal:
    if isinstance(number, Decimal):
        return number
    if isinstance(number, float):
        # not repr(number), which a subclass (numpy.float64) may override
        return Decimal(float.__repr__(number))
    if isinstance(number, str):
        text = number.strip()
        if not _NUMBER.fullmatch(text):
            raise ResourceError(f"{shown(number)} is not an amount{_without_unit(text)}")
    elif isinstance(number, Real) and not isinstance(number, bool):
        text = str(number)  # other float types print the shortest decimal of their precision
    else:
        raise ResourceError(f"{shown(number)} is not an amount")
    try:
        return Decimal(text)
    except DecimalException:
        raise ResourceError(f"the amount {shown(number)} is out of bounds") from None


def _without_unit(text: str) -> str:
    """Return what to write instead of a number with a unit, as a refusal says it; or nothing."""
    match = _WITH_UNIT.fullmatch(text)
    if match is None:
        return ""
    number, unit = match.groups()
    try:
        amount = write_milli(read_milli(Decimal(number) * _UNITS[unit]))
    except ResourceError:
        return ""
    return f": write {amount}{'' if unit == 'm' else ', in MB,'} without a unit"


def _read_decimal(amount: Decimal, given: object) -> int:
    if not amount.is_finite():
        raise ResourceError(f"the amount {shown(given)} is not finite")
    if amount.is_zero():
        return 0
    if amount.is_signed():
        raise ResourceError(f"the amount {shown(given)} is negative")
    # Look at the exponent first: quantizing 1e999999999 would write out all its digits.
    exponent = amount.adjusted()
    if exponent > _TOP_EXPONENT:
        raise ResourceError(f"the amount {shown(given)} is over-large")
    if exponent < _BOTTOM_EXPONENT:
        raise ResourceError(f"the amount {shown(given)} is not zero but rounds to 0")
    milli = int(amount.quantize(_THOUSANDTH, context=_CONTEXT).scaleb(3, context=_CONTEXT))
    return _in_bounds(milli, given)


def _read_fraction(amount: Fraction) -> int:
    if amount < 0:
        raise ResourceError(f"the amount {shown(amount)} is negative")
    if not amount:
        return 0
    return _in_bounds(
        (2 * MILLI * amount.numerator + amount.denominator) // (2 * amount.denominator), amount
    )


def _in_bounds(milli: int, given: object) -> int:
    if milli == 0:
        raise ResourceError(f"the amount {shown(given)} is not zero but rounds to 0")
    if milli > MAX_MILLI:
        raise ResourceError(f"the amount {shown(given)} is over-large")
    return milli


def _sign_or_size(is_negative: bool) -> str:
    return "negative" if is_negative else "over-large"


def check_milli(name: str, milli: object) -> int:
    """Return `milli` as an int if it is an amount in milli.

    Raises
    ------
    ResourceError
        If it is not an integer from 0 to 2**63 - 1. O(1).
    """
    if not isinstance(milli, Integral) or isinstance(milli, bool):
        raise ResourceError(f"{cut(name)}: {shown(milli)} is not an amount in 1/1000")
    amount = int(milli)
    if not 0 <= amount <= MAX_MILLI:
        raise ResourceError(
            f"{cut(name)}: {shown(milli)} thousandths are {_sign_or_size(amount < 0)}"
        )
    return amount


def over_large(name: str, milli: int) -> ResourceError:
    """Return the refusal of a sum that an int64 cannot hold. O(1)."""
    return ResourceError(f"{shown(name)}: {write_milli(milli)} in all is over-large")


def write_milli(milli: int) -> str:
    """Return an amount as its shortest decimal text. O(1).

    Examples
    --------
    >>> write_milli(500), write_milli(8192000)
    ('0.5', '8192')
    """
    whole, rest = divmod(milli, MILLI)
    return f"{whole}.{rest:03d}".rstrip("0") if rest else str(whole)


def number_of(milli: int) -> int | float | str:
    """Return an amount as a JSON value that reads back exactly. O(1).

    That is an int where it is whole, otherwise a float, or decimal text where a double has
    too few digits.
    """
    if milli % MILLI == 0:
        return milli // MILLI
    return milli / MILLI if milli < 10**_DOUBLE_DIGITS else write_milli(milli)
