"""How long the latest runs of one thing took, under the names that Mesos' metrics use."""

import math
from collections import deque
from collections.abc import Iterator

#: Suffix of a metric -> the fraction of the window that lies at or below it.
PERCENTILES = {
    "p50": 0.50,
    "p90": 0.90,
    "p95": 0.95,
    "p99": 0.99,
    "p999": 0.999,
    "p9999": 0.9999,
}

#: How many of the latest durations are kept, as many as a Mesos timer keeps.
WINDOW = 1000


class Latency:
    """The latest durations of one repeated piece of work.

    Memory is bounded: the newest `window` durations are kept, older ones only counted.

    Parameters
    ----------
    window : int
        How many durations the extremes and percentiles are taken over.

    Examples
    --------
    >>> latency = Latency()
    >>> for seconds in (0.001, 0.002, 0.003):
    ...     latency.record(seconds)
    >>> latency.count, latency.last
    (3, 0.003)
    >>> dict(latency.metrics("run_ms"))["run_ms/p50"]
    2.0
    """

    __slots__ = ("_count", "_recent")

    def __init__(self, window: int = WINDOW) -> None:
        self._count = 0
        self._recent: deque[float] = deque(maxlen=window)

    def record(self, seconds: float) -> None:
        """Add one duration. O(1)."""
        self._count += 1
        self._recent.append(seconds)

    @property
    def count(self) -> int:
        """How many durations were recorded, also those that left the window."""
        return self._count

    @property
    def last(self) -> float:
        """The newest duration in seconds; NaN before the first."""
        return self._recent[-1] if self._recent else math.nan

    def percentile(self, fraction: float) -> float:
        """Return the duration in seconds below which `fraction` of the window lies.

        Between two durations the value is interpolated linearly, as in Mesos. NaN before the
        first. O(window · log window).
        """
        return _interpolate(sorted(self._recent), fraction)

    def metrics(self, name: str) -> Iterator[tuple[str, float]]:
        """Yield (key, milliseconds) pairs under `name`, which should end in `_ms`.

        The keys are `name` (the newest duration), `name/count` (a number, not a time),
        `name/max`, `name/min` and one for each of `PERCENTILES`; none before the first duration.
        O(window · log window).
        """
        if not self._recent:
            return
        ordered = sorted(self._recent)
        yield name, self._recent[-1] * 1e3
        yield f"{name}/count", self._count
        yield f"{name}/max", ordered[-1] * 1e3
        yield f"{name}/min", ordered[0] * 1e3
        for suffix, fraction in PERCENTILES.items():
            yield f"{name}/{suffix}", _interpolate(ordered, fraction) * 1e3


def _interpolate(ordered: list[float], fraction: float) -> float:
    if not ordered:
        return math.nan
    position = fraction * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])
