"""How long a refusal lasts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from allocator.contract import DEFAULT_REFUSE_SECONDS
from allocator.errors import InvalidValue, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: No refusal lasts longer than this, in seconds.
MAX_REFUSE_SECONDS = 365 * 86400.0


def filter_seconds(refuse_seconds: Any, allocation_interval: float) -> float | None:
    """Return how long a filter lives, in seconds, or None for no filter.

    At least one allocation interval, so that a refusal outlives the next cycle; a negative or NaN
    time counts as 5 s, more than a year as a year (Mesos, `recoverResources`).

    Raises
    ------
    InvalidValue
        `refuse_seconds` is not a number.
    """
    if refuse_seconds is None:
        return None
    if isinstance(refuse_seconds, np.number):
        refuse_seconds = refuse_seconds.item()
    if isinstance(refuse_seconds, bool) or not isinstance(refuse_seconds, (int, float)):
        raise InvalidValue(
            f"refuse_seconds is a number of seconds or None, not {shown(refuse_seconds)}"
        )
    if refuse_seconds == 0:
        return None
    if not refuse_seconds > 0:  # negative or NaN
        refuse_seconds = DEFAULT_REFUSE_SECONDS
    return max(float(min(refuse_seconds, MAX_REFUSE_SECONDS)), allocation_interval)


def filter_time(refuse_seconds: object, allocation_interval: float) -> float:
    """Return how long a filter lives, in seconds, −inf for none, as `filter_seconds` reads it.

    Raises
    ------
    InvalidValue
        `refuse_seconds` is not a number, or there are several.
    """
    if isinstance(refuse_seconds, (np.ndarray, list, tuple)):
        raise InvalidValue(f"{shown(refuse_seconds)} are several refuse_seconds for one offer")
    return _time_of(filter_seconds(refuse_seconds, allocation_interval))


def filter_times(
    refuse_seconds: Any, n: int, allocation_interval: float
) -> float | NDArray[np.float64]:
    """Return how long n filters live, in seconds, −inf for none: all alike, or each of them.

    Each as `filter_seconds` reads it. O(n) if each has a time of its own.

    Raises
    ------
    InvalidValue
        One is not a number, or they are not n.
    """
    if isinstance(refuse_seconds, np.ndarray):
        _check_length(len(refuse_seconds) if refuse_seconds.ndim == 1 else -1, n)
        if refuse_seconds.dtype.kind in "iuf":
            return _times_of(refuse_seconds.astype(np.float64), allocation_interval)
    elif isinstance(refuse_seconds, list | tuple):
        _check_length(len(refuse_seconds), n)
    else:
        return _time_of(filter_seconds(refuse_seconds, allocation_interval))
    lives = [filter_seconds(each, allocation_interval) for each in refuse_seconds]
    return np.array([_time_of(each) for each in lives], np.float64)


def _check_length(length: int, n: int) -> None:
    if length != n:
        raise InvalidValue(f"refuse_seconds are one number, or {n} for as many offers")


def _times_of(given: NDArray[np.float64], allocation_interval: float) -> NDArray[np.float64]:
    """Return the times of an array, by the rules of `filter_seconds`."""
    times = np.minimum(np.where(given > 0, given, DEFAULT_REFUSE_SECONDS), MAX_REFUSE_SECONDS)
    return np.where(given == 0, -math.inf, np.maximum(times, allocation_interval))


def _time_of(seconds: float | None) -> float:
    return -math.inf if seconds is None else seconds
