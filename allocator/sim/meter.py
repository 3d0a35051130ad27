"""Exact averages over time, kept while time goes by."""

from collections.abc import Sequence


class Meter:
    """The peak and the integrals of a level that changes in steps.

    Parameters
    ----------
    mark_s : float
        The first integral ends here: the last submission, after which a cluster only drains. Both
        begin at time 0.
    """

    __slots__ = ("_mark_area", "_mark_s", "_run_area", "_since_s", "level", "peak")

    def __init__(self, mark_s: float) -> None:
        self.level: float = 0
        self.peak: float = 0
        self._mark_s = mark_s
        self._since_s = 0.0
        self._mark_area = 0.0
        self._run_area = 0.0

    def set(self, now_s: float, level: float) -> None:
        """Change the level at `now_s`, which is not before the last change. O(1)."""
        self._run_area += self.level * (now_s - self._since_s)
        if self._since_s < self._mark_s:
            self._mark_area += self.level * (min(now_s, self._mark_s) - self._since_s)
        self._since_s = now_s
        self.level = level
        if level > self.peak:
            self.peak = level

    def means(self, end_s: float) -> tuple[float, float]:
        """Return the averages from 0 to the mark and from 0 to `end_s`, the end of the run.

        Where the mark is at 0 or after the end, both are the average of the whole run; that of a
        run which takes no time is the level that it ends with. O(1).
        """
        self.set(end_s, self.level)
        mean_run = self._run_area / end_s if end_s > 0 else self.level
        if 0 < self._mark_s <= end_s:
            return self._mark_area / self._mark_s, mean_run
        return mean_run, mean_run


class ConditionMeter:
    """The average of a level over the time in which a condition holds."""

    __slots__ = ("_area", "_holds", "_level", "_since_s", "span_s")

    def __init__(self) -> None:
        self._level = 0.0
        self._holds = False
        self._since_s = 0.0
        self._area = 0.0
        #: for how long the condition has held, as of the last change
        self.span_s = 0.0

    def set(self, now_s: float, level: float, holds: bool) -> None:
        """Change the level or the condition at `now_s`. O(1)."""
        if self._holds:
            self._area += self._level * (now_s - self._since_s)
            self.span_s += now_s - self._since_s
        self._since_s, self._level, self._holds = now_s, level, holds

    def mean(self, end_s: float) -> float | None:
        """Return the average as of `end_s`; None if the condition never held. O(1)."""
        self.set(end_s, self._level, self._holds)
        return self._area / self.span_s if self.span_s > 0 else None


def percentile(ascending: Sequence[float], percent: int) -> float | None:
    """Return the nearest-rank percentile of values in ascending order; None of none. O(1).

    Examples
    --------
    >>> percentile([1, 2, 3, 4], 50), percentile([1, 2, 3, 4], 95), percentile([], 50)
    (2, 4, None)
    """
    if not ascending:
        return None
    rank = -(-len(ascending) * percent // 100)
    return ascending[max(rank, 1) - 1]
