"""How times are written in scenarios and on the command line."""

from __future__ import annotations

import math
import re

from allocator.errors import InvalidValue, shown
from allocator.sim.trace import LONGEST_S

#: Unit -> seconds, from the longest on.
UNITS = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3}

#: What is a duration, for messages.
GRAMMAR = "a number of seconds, or text such as 90s, 1.5h or 1h30m (of ms s m h d w)"

_NUMBER = r"(?:[0-9]{1,20}(?:\.[0-9]{1,20})?|\.[0-9]{1,20})"
_DURATION = re.compile(
    f"(?P<plain>{_NUMBER})|" + "".join(f"(?:(?P<{u}>{_NUMBER}){u})?" for u in UNITS)
)


def seconds(value: object) -> float:
    """Return the seconds of a duration: a number of seconds, or text.

    Text is a number with a unit, or a sum of such, from the longest unit to the shortest; a plain
    number in text is one of seconds.

    Raises
    ------
    InvalidValue
        If it is no duration, negative, or longer than 1e12 s. O(length).

    Examples
    --------
    >>> seconds(90), seconds("1h30m"), seconds("250ms"), seconds("1.5d")
    (90.0, 5400.0, 0.25, 129600.0)
    """
    found = _number(value)
    if found is None:
        raise InvalidValue(f"{shown(value)} is not {GRAMMAR}")
    if not 0 <= found <= LONGEST_S:
        raise InvalidValue(f"{shown(value)} is not a time from 0 to {LONGEST_S:g} s")
    return found


def _number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return float(value) if abs(value) <= LONGEST_S else math.inf
    if isinstance(value, float):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) and value else None
    if match is None:
        return None
    if match["plain"]:
        return float(match["plain"])
    return math.fsum(float(match[unit]) * size for unit, size in UNITS.items() if match[unit])


_RATE = re.compile(f"(?P<number>{_NUMBER})/(?P<unit>[smhdw])")

#: What is a rate, for messages.
RATE_GRAMMAR = 'a rate such as "20/h", of /s /m /h /d /w'

#: No rate may be higher, a second: drawn instants are whole microseconds.
MAX_RATE = 1e5


def per_second(value: object) -> float:
    """Return a rate such as `20/h` as a number a second.

    Raises
    ------
    InvalidValue
        If it is none, not positive, or beyond 1e5 a second. O(length).

    Examples
    --------
    >>> per_second("90/m")
    1.5
    """
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    rate = float(match["number"]) / UNITS[match["unit"]] if match else 0.0
    if not 0 < rate <= MAX_RATE:
        raise InvalidValue(f"{shown(value)} is not {RATE_GRAMMAR}, positive and up to 100000/s")
    return rate
