"""What the starts that a trace recorded amount to, to lay beside a simulation of it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from allocator.sim.cluster import totals
from allocator.sim.meter import Meter
from allocator.sim.trace import Job, Trace


@dataclass(frozen=True, slots=True)
class Use:
    """How one resource of the cluster was used.

    `total` and `peak` are amounts; `mean_arrivals` and `mean_run` are fractions of `total`: the
    averages over time, from the first submission to the last and to the end of the run.
    """

    total: float
    peak: float
    mean_arrivals: float
    mean_run: float


@dataclass(frozen=True, slots=True)
class Recorded:
    """The recorded starts, replayed as they are, whether they fit the cluster or not.

    `use` maps resource name -> `Use`; `waits_s` has the wait of each job, in ascending order.
    """

    use: Mapping[str, Use]
    waits_s: tuple[float, ...]


def recorded(trace: Trace) -> Recorded | None:
    """Replay the recorded starts; None if the trace has none. O(n log n) in the jobs."""
    starts = [(job, job.recorded_start_s) for job in trace.jobs]
    started = [(job, start_s) for job, start_s in starts if start_s is not None]
    if not started:
        return None
    jobs = [job for job, _ in started]
    use = {
        name: _use(_changes(jobs, name), total, trace.last_submit_s, trace.end_s)
        for name, total in totals(trace.cluster).milli.items()
    }
    return Recorded(use, tuple(sorted(start_s - job.submit_s for job, start_s in started)))


def peak_demand(jobs: Iterable[Job], name: str) -> int:
    """Return the most of a resource held at once, in thousandths.

    A job without a recorded start counts from its submission. O(n log n).
    """
    held = peak = 0
    for _, change in _changes(jobs, name):
        held += change
        peak = max(peak, held)
    return peak


def _changes(jobs: Iterable[Job], name: str) -> list[tuple[float, int]]:
    """Return (instant, change of what is held); at one instant, what ends comes first."""
    changes: list[tuple[float, int]] = []
    for job in jobs:
        amount = sum(t.count * t.demand.milli.get(name, 0) for t in job.shape.tasks)
        start_s = job.submit_s if job.recorded_start_s is None else job.recorded_start_s
        changes.append((start_s, amount))
        if math.isfinite(job.run_s):
            changes.append((start_s + job.run_s, -amount))
    changes.sort()
    return changes


def _use(
    changes: list[tuple[float, int]], total: int, last_submit_s: float, end_s: float | None
) -> Use:
    meter = Meter(last_submit_s)
    for now_s, change in changes:
        meter.set(now_s, meter.level + change)
    return use_of(meter, total, changes[-1][0] if end_s is None else end_s)


def use_of(meter: Meter, total: int, end_s: float) -> Use:
    """Return what a meter of thousandths says of a resource with `total` thousandths. O(1)."""
    mean_arrivals, mean_run = meter.means(end_s)
    return Use(total / 1000, meter.peak / 1000, mean_arrivals / total, mean_run / total)
