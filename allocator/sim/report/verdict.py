"""The verdict: what came of a run, in five sentences with figures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from allocator.sim.report.tenants import TenantSummary
from allocator.sim.report.words import amount, counted, rounded, span

if TYPE_CHECKING:
    from allocator.sim.result import Result


def verdict(result: Result, tenants: list[TenantSummary]) -> list[str]:
    """Return five sentences: what ran, who waited, how full it was, how fair, and quotas."""
    return [
        _work(result),
        _waiting(result, tenants),
        _use(result),
        _fairness(result),
        _quota(result),
    ]


def joined(parts: Iterable[str]) -> str:
    """Return parts of a sentence as a list in words."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def _work(result: Result) -> str:
    counts = result.counts
    placed = result.record.jobs.n_placed
    if not counts.submitted:
        return f"No job came in {span(result.end_s)} on {_machines(result)}."
    parts = [f"{counts.finished:,} of {counted(counts.submitted, 'job')} finished"]
    if counts.running:
        parts.append(counted(counts.running, "was running", "were running"))
    if counts.waiting:
        parts.append(f"{counts.waiting:,} still waited")
    if counts.never_fits:
        parts.append(f"{counts.never_fits:,} would not fit the empty cluster")
    lost = result.record.tasks_lost
    told = joined(parts) + f" after {span(result.end_s)} on {_machines(result)}"
    if lost:
        told += f", where {counted(lost, 'task was', 'tasks were')} lost with their machines"
    if placed:
        told += f", beside {counted(placed, 'group')} of tasks that ran from the beginning"
    return told + "."


def _machines(result: Result) -> str:
    return counted(int(result.cluster["machines"]), "machine")


def _waiting(result: Result, tenants: list[TenantSummary]) -> str:
    if result.waits.p50_s is None or result.waits.p95_s is None:
        return "No job has started, so that there are no waits to tell."
    told = f"Half of the jobs that started did so within {span(result.waits.p50_s)}"
    told += f", and 95 % within {span(result.waits.p95_s)}"
    longest = max(
        (t for t in tenants if len(t.waits_s)), key=lambda t: t.wait_s(95) or 0.0, default=None
    )
    if longest is not None and len(tenants) > 1 and longest.wait_s(95):
        told += f"; the longest waits were those of {longest.tenant}, 95 % within "
        told += span(longest.wait_s(95) or 0.0)
    return told + "."


def _use(result: Result) -> str:
    means = {name: part for name, part in capacity_used(result).items() if not math.isnan(part)}
    if not means:
        return "Nothing was up that could have been used."
    ranked = sorted(means, key=lambda name: (-means[name], name))
    first, others = ranked[0], ranked[1:3]
    told = f"Of what was up, {rounded(means[first])} of {first} was in use on average"
    if others:
        told += ", as against " + joined(f"{rounded(means[name])} of {name}" for name in others)
    return told + "."


def capacity_used(result: Result) -> dict[str, float]:
    """Return name -> the part of what was up that tasks used, over the run; NaN if none was up."""
    record, series = result.record, result.record.series
    length = np.diff(series.edges_s)
    length = length if length.sum() > 0 else np.ones(len(length))
    found = {}
    for axis, name in enumerate(record.names):
        up = math.fsum((series.capacity[axis] * length).tolist())
        used = math.fsum((series.use[-1, axis] * length).tolist())
        if up:
            found[name] = used / up
    return found


def _fairness(result: Result) -> str:
    fairness = result.fairness
    mean = fairness["all"]["mean"]
    if mean is None:
        return "No role ever had to wait for its share, so that there is no unfairness to tell."
    told = f"While roles were in need, their shares were on average {points(mean)} from fair"
    ranked = [(far["mean"], role) for role, far in fairness["roles"].items() if far["mean"]]
    if len(ranked) > 1:
        far, role = max(ranked, key=lambda pair: (pair[0], pair[1]))
        told += f", farthest that of {role} with {points(far)}"
    if fairness["jain"] is not None:
        told += f", and Jain's index of share by weight was {fairness['jain']:.2f}"
    return told + "."


def points(part: float) -> str:
    """Return a difference of shares in percentage points."""
    return counted_points(f"{part * 100:.1f}")


def counted_points(text: str) -> str:
    """Return a number of percentage points."""
    return f"{text} point" if text == "1.0" else f"{text} points"


def _quota(result: Result) -> str:
    quota = result.record.quota
    if not quota:
        return "No role had a guarantee or a limit."
    guarantees = [
        (met, role, name, least)
        for role, told in quota.items()
        for name, (least, met) in told.guarantee.items()
    ]
    limits = [
        (peak / most if most else 1.0, role, name, most)
        for role, told in quota.items()
        for name, (most, peak) in told.limit.items()
    ]
    parts = []
    if guarantees:
        met, role, name, least = min(guarantees)
        whose = f"{role}'s guarantee of {amount(name, least)}"
        if met == 1.0:
            parts.append(
                f"{counted(len(guarantees), 'guarantee was', 'guarantees were')} always met"
            )
        else:
            parts.append(f"{whose} was met {rounded(met)} of the time")
    if limits:
        peak, role, name, most = max(limits)
        parts.append(f"{role} came to {rounded(peak)} of its limit of {amount(name, most)}")
    told = joined(parts)
    return told[0].upper() + told[1:] + "." if told[0].isascii() else told + "."
