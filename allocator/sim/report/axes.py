"""Where the ticks of an axis stand, and what they are called."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from allocator.sim.report.words import number

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0

#: (seconds between ticks, unit, its symbol)
_TIME_STEPS: tuple[tuple[float, float, str], ...] = (
    *((s, 1.0, "s") for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)),
    *((m * _MINUTE, _MINUTE, "min") for m in (1, 2, 5, 10, 20)),
    *((h * _HOUR, _HOUR, "h") for h in (1, 2, 4, 6, 12)),
    *((d * _DAY, _DAY, "d") for d in (1, 2, 5, 7, 14, 30, 60, 90, 182, 365)),
)


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: from `low` to `high`, with ticks at (place from 0 to 1, label), and a title."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    title: str
    is_log: bool = False

    def place(self, value: float) -> float:
        """Return where a value stands, from 0 to 1; what lies beyond an end stands at it."""
        low, high = self.low, self.high
        if self.is_log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, self.low))
        if high <= low:
            return 0.0
        return min(max((value - low) / (high - low), 0.0), 1.0)


def nice_step(extent: float, n: int) -> float:
    """Return a step of 1, 2 or 5 times a power of ten of which at most n fill an extent."""
    rough = extent / n
    power = 10.0 ** math.floor(math.log10(rough))
    return next(f * power for f in (1, 2, 5, 10) if f * power >= rough * (1 - 1e-9))


def linear(most: float, title: str, *, n: int = 4, label: Callable[[float], str] = number) -> Axis:
    """Return an axis from 0 to the first tick at or above a value."""
    most = most if most > 0 and math.isfinite(most) else 1.0
    step = nice_step(most, n)
    n_steps = max(math.ceil(most / step - 1e-9), 1)
    high = n_steps * step
    ticks = tuple((i / n_steps, label(i * step)) for i in range(n_steps + 1))
    return Axis(0.0, high, ticks, title)


def shares(most: float, title: str, n: int = 4) -> Axis:
    """Return an axis of percentages from 0."""
    most = most if most > 0 else 0.01
    return linear(most, title, n=n, label=lambda x: f"{x * 100:.3g}%")


def times(end_s: float, title: str = "time since the first submission", n: int = 6) -> Axis:
    """Return an axis of simulated time from 0 to exactly the end."""
    if end_s <= 0:
        return Axis(0.0, 1.0, ((0.0, "0"),), title)
    fitting = (step for step in _TIME_STEPS if end_s / step[0] <= n)
    step_s, unit_s, unit = next(fitting, (0.0, _DAY, "d"))
    if not step_s:
        step_s = nice_step(end_s / _DAY, n) * _DAY
    elif end_s / step_s < 1:
        step_s, unit_s, unit = nice_step(end_s, n), 1.0, "s"
    n_steps = math.floor(end_s / step_s + 1e-9)
    labels = [number(i * step_s / unit_s) for i in range(n_steps + 1)]
    ticks = (
        (min(i * step_s / end_s, 1.0), labels[i] + (f" {unit}" if i else ""))
        for i in range(n_steps + 1)
    )
    return Axis(0.0, end_s, tuple(ticks), title)


#: What the ticks of a logarithmic axis of times may be.
_LOG_TICKS: tuple[tuple[float, str], ...] = (
    (1e-7, "0.1 µs"), (1e-6, "1 µs"), (1e-5, "10 µs"), (1e-4, "100 µs"), (1e-3, "1 ms"),
    (1e-2, "10 ms"), (0.1, "100 ms"), (1.0, "1 s"), (10.0, "10 s"), (_MINUTE, "1 min"),
    (10 * _MINUTE, "10 min"), (_HOUR, "1 h"), (6 * _HOUR, "6 h"), (_DAY, "1 d"), (7 * _DAY, "7 d"),
    (30 * _DAY, "30 d"), (365 * _DAY, "1 y"), (10 * 365 * _DAY, "10 y"),
)  # fmt: skip


def logarithmic_times(low_s: float, high_s: float, title: str) -> Axis:
    """Return a logarithmic axis of times, from a tick at or below `low_s` to one above."""
    low_s = max((at for at, _ in _LOG_TICKS if at <= low_s), default=_LOG_TICKS[0][0])
    high_s = min(
        (at for at, _ in _LOG_TICKS if at >= high_s and at > low_s), default=max(high_s, 2 * low_s)
    )
    axis = Axis(low_s, high_s, (), title, is_log=True)
    inside = [(axis.place(at), label) for at, label in _LOG_TICKS if low_s <= at <= high_s]
    return Axis(low_s, high_s, tuple(inside), title, is_log=True)
