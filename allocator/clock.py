"""Clocks: the engine reads time only through a callable that returns seconds."""

import math
from collections.abc import Callable

from allocator.errors import InvalidValue, shown

#: A clock returns seconds from an arbitrary start and never runs backwards.
Clock = Callable[[], float]


class ManualClock:
    """A clock that moves only when told to, for tests and simulations.

    Parameters
    ----------
    start : float
        The first reading, in seconds.

    Examples
    --------
    >>> clock = ManualClock()
    >>> clock.advance(2.5)
    >>> clock()
    2.5
    """

    __slots__ = ("_now",)

    def __init__(self, start: float = 0.0) -> None:
        self._now = float(start)

    def __call__(self) -> float:
        """Return the current time in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`; raises `InvalidValue` if negative or not finite."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise InvalidValue(
                f"a clock advances by a finite, non-negative time, not {shown(seconds)}"
            )
        self._now += seconds

    def advance_to(self, when: float) -> None:
        """Move forward to the time `when`; raises `InvalidValue` if that lies in the past."""
        if not (math.isfinite(when) and when >= self._now):
            raise InvalidValue(f"a clock at {shown(self._now)} cannot advance to {shown(when)}")
        self._now = float(when)
