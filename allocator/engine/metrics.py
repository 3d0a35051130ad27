"""Counters and latencies, under the names that Mesos gives them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from allocator.engine._state import State

PREFIX = "allocator/mesos"

#: Name in the metrics → the part of the samples that lies below.
PERCENTILES = {
    "p25": 0.25,
    "p50": 0.5,
    "p75": 0.75,
    "p90": 0.9,
    "p95": 0.95,
    "p99": 0.99,
    "p999": 0.999,
    "p9999": 0.9999,
}


class Latency:
    """The last durations of something, and statistics over them.

    Parameters
    ----------
    window : int
        How many durations are kept; `count` goes on counting.

    Examples
    --------
    >>> cycle = Latency()
    >>> for ms in (1.0, 2.0, 9.0):
    ...     cycle.record(ms)
    >>> statistics = dict(cycle.statistics("run_ms"))
    >>> statistics["run_ms"], statistics["run_ms/count"], statistics["run_ms/p50"]
    (9.0, 3, 2.0)
    """

    def __init__(self, window: int = 1000) -> None:
        self.count = 0
        self._samples: deque[float] = deque(maxlen=window)

    def record(self, milliseconds: float) -> None:
        """Add one duration. O(1)."""
        self.count += 1
        self._samples.append(milliseconds)

    def latest(self, n: int) -> list[float]:
        """Return the last n durations or fewer, in milliseconds, the latest at the end. O(n)."""
        found = list(islice(reversed(self._samples), n))
        return found[::-1]

    def statistics(self, name: str) -> Iterator[tuple[str, float]]:
        """Yield the last sample as `name`, and `name/count`, `/min`, `/max`, `/p50` … of the rest.

        Percentiles interpolate between neighbours, as Mesos' do. O(window log window).
        """
        yield f"{name}/count", self.count
        if not self._samples:
            return
        ordered = sorted(self._samples)
        yield name, self._samples[-1]
        yield f"{name}/min", ordered[0]
        yield f"{name}/max", ordered[-1]
        for percentile, part in PERCENTILES.items():
            place = part * (len(ordered) - 1)
            below = int(place)
            above = min(below + 1, len(ordered) - 1)
            value = ordered[below] + (ordered[above] - ordered[below]) * (place - below)
            yield f"{name}/{percentile}", value


def state_metrics(state: State, now: float) -> Iterator[tuple[str, float]]:
    """Yield what the state knows about itself at a time, each by its full Mesos name.

    O(names × roles + subscriptions).
    """
    total, in_use = state.total, state.in_use
    for name in sorted({"cpus", "mem", "disk"} | total.keys()):
        yield f"{PREFIX}/resources/{name}/total", total[name] / 1000
        yield f"{PREFIX}/resources/{name}/offered_or_allocated", in_use[name] / 1000
    for path, node in state.tree.roles.items():
        if node.subscriptions:
            yield f"{PREFIX}/roles/{path}/shares/dominant", state.tree.share(path)
            leaves = node.subscriptions.values()
            active = sum(state.filters_of(leaf, now) for leaf in leaves)
            yield f"{PREFIX}/offer_filters/roles/{path}/active", active
        quota = node.quota
        for name in quota.guarantee.keys() | quota.limit.keys():
            root = f"{PREFIX}/quota/roles/{path}/resources/{name}"
            if name in quota.guarantee:
                yield f"{root}/guarantee", quota.guarantee[name] / 1000
            if name in quota.limit:
                yield f"{root}/limit", quota.limit[name] / 1000
            held = node.offered[name] + node.allocated[name]
            yield f"{root}/offered_or_allocated", held / 1000
            yield f"{root}/consumed", node.consumed[name] / 1000
