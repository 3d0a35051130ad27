"""How long a refusal lasts."""

from __future__ import annotations

from allocator.errors import InvalidValue

#: What Mesos falls back to for a refusal time that is no time, in seconds.
DEFAULT_REFUSE_SECONDS = 5.0
#: No refusal lasts longer than this, in seconds.
MAX_REFUSE_SECONDS = 365 * 86400.0


def filter_seconds(refuse_seconds: float | None, allocation_interval: float) -> float | None:
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
    if isinstance(refuse_seconds, bool) or not isinstance(refuse_seconds, (int, float)):
        raise InvalidValue(f"refuse_seconds is a number of seconds or None, not {refuse_seconds!r}")
    if refuse_seconds == 0:
        return None
    if not refuse_seconds > 0:  # negative or NaN
        refuse_seconds = DEFAULT_REFUSE_SECONDS
    return max(float(min(refuse_seconds, MAX_REFUSE_SECONDS)), allocation_interval)
