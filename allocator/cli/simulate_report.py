"""The tables that `allocator simulate` prints."""

from __future__ import annotations

from collections.abc import Sequence

from allocator.cli.console import print_line, print_table
from allocator.sim import Counts, Result, RoleResult, Waits

#: So many roles are shown, the rest summed up in one line.
TOP_ROLES = 20

#: So many groups of machines and no more are listed.
_MAX_GROUPS = 8

_NONE = "-"


def print_report(result: Result, *, all_roles: bool = False) -> None:
    """Print what a simulation found; all that was measured stands in the last table."""
    _print_input(result)
    top = [role for role in result.roles if "/" not in role.role]
    own = [role for role in result.roles if role.has_framework]
    if len(own) < len(result.roles):
        _print_roles("Top-level roles, each with all below it", top, result, all_roles)
    _print_roles("Roles with frameworks", own, result, all_roles)
    _print_cluster(result)
    _print_waits(result)
    _print_run(result)


def _print_input(result: Result) -> None:
    trace, cluster = result.trace, result.cluster
    print_line(
        f"{trace['name']} ({trace['format']}): {trace['jobs']:,} jobs of {trace['tenants']:,} "
        f"tenants, submitted over {span(result.arrivals_s)}"
    )
    groups = cluster["groups"]
    shown = ", ".join(groups[:_MAX_GROUPS])
    more = f", and {len(groups) - _MAX_GROUPS} other kinds" if len(groups) > _MAX_GROUPS else ""
    print_line(f"cluster: {cluster['machines']:,} machines: {shown}{more}")
    print_line(f"         ({cluster['source']})")
    for note in trace["notes"]:
        print_line(f"note: {note}")
    if result.defects:
        rows = [[what, f"{n:,}"] for what, n in result.defects.items()]
        print_table("In the input, and what was done", ["what", "count"], rows)


def _print_roles(title: str, roles: Sequence[RoleResult], result: Result, all_roles: bool) -> None:
    ranked = sorted(roles, key=lambda role: (-role.share, role.role))
    shown = ranked if all_roles or len(ranked) <= TOP_ROLES + 1 else ranked[:TOP_ROLES]
    header = ["role", "weight", "share", "/ weight", "peak"]
    header += ["jobs", "finished", "tasks run", "waiting", "never fits", "wait p50", "wait p95"]
    rows = [
        [
            role.role,
            f"{role.weight:g}",
            percent(role.share),
            percent(role.share / role.weight),
            percent(role.share_peak),
            *_counts(role.counts),
            *_waits(role.waits),
        ]
        for role in shown
    ]
    if len(shown) < len(ranked):
        rows.append(_others(ranked[len(shown) :]))
    rows.append(["all", "", "", "", "", *_counts(result.counts), *_waits(result.waits)])
    print_table(f"{title} (mean dominant share while jobs arrive)", header, rows)


def _others(roles: Sequence[RoleResult]) -> list[str]:
    """Return one line for many roles: sums where sums mean something."""
    names = ("submitted", "finished", "tasks_started", "waiting", "never_fits")
    sums = {name: sum(getattr(role.counts, name) for role in roles) for name in names}
    label = f"{len(roles)} others (--all-roles)"
    return [label, "", "", "", "", *_counts(Counts(**sums)), "", ""]


def _print_cluster(result: Result) -> None:
    recorded = result.recorded
    header = ["resource", "total", "peak", "peak %", "mean %", "mean % to the end"]
    if recorded is not None:
        header += ["recorded peak", "recorded mean %", "recorded mean % to the end"]
    rows = []
    for name, use in result.use.items():
        row = [name, f"{use.total:,.10g}", f"{use.peak:,.10g}", percent(use.peak / use.total)]
        row += [percent(use.mean_arrivals), percent(use.mean_run)]
        if recorded is not None:
            then = recorded.use[name]
            row += [f"{then.peak:,.10g}", percent(then.mean_arrivals), percent(then.mean_run)]
        rows.append(row)
    print_table("Cluster, used by running tasks (mean while jobs arrive)", header, rows)


def _print_waits(result: Result) -> None:
    if result.recorded is None:
        return
    rows = [
        ["simulated", f"{result.counts.finished + result.counts.running:,}", *_waits(result.waits)],
        ["recorded", f"{result.recorded.jobs:,}", *_waits(result.recorded.waits)],
    ]
    print_table("Waits", ["", "jobs started", "wait p50", "wait p95"], rows)


def _print_run(result: Result) -> None:
    cycles, timing = result.cycles, result.timing
    rows = [
        ["simulated time", span(result.end_s)],
        ["offers", f"{cycles.offers:,}"],
        ["  accepted", f"{cycles.offers_accepted:,}"],
        ["  declined", f"{cycles.offers_declined:,}"],
        ["revives", f"{cycles.revives:,}"],
        ["cycles run", f"{cycles.cycles_run:,}"],
        ["cycles skipped", f"{cycles.cycles_skipped:,}"],
    ]
    print_table("Run", ["what", "count"], rows)
    measured = [
        ["cycle p50", micros(timing.cycle_p50_us)],
        ["cycle p99", micros(timing.cycle_p99_us)],
        ["all cycles", f"{timing.cycles_s:.2f} s"],
        ["whole run", f"{timing.wall_s:.2f} s"],
    ]
    print_table("Measured on this machine", ["what", "time"], measured)


def _counts(counts: Counts) -> list[str]:
    numbers = (counts.submitted, counts.finished, counts.tasks_started)
    return [f"{n:,}" for n in (*numbers, counts.waiting, counts.never_fits)]


def _waits(waits: Waits) -> list[str]:
    return [_NONE if wait is None else span(wait) for wait in (waits.p50_s, waits.p95_s)]


def percent(part: float) -> str:
    """Return a fraction as a percentage with two decimals."""
    return f"{part * 100:.2f} %"


def span(seconds: float) -> str:
    """Return a time in the two largest units that it has.

    Examples
    --------
    >>> span(0), span(59.94), span(3_661), span(7_686_036)
    ('0 s', '59.9 s', '1 h 01 min', '88 d 23 h')
    """
    if seconds < 60:
        return f"{round(seconds, 1):g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24:02d} h"


def micros(value: float | None) -> str:
    """Return microseconds in a fitting unit."""
    if value is None:
        return _NONE
    return f"{value:.0f} µs" if value < 1000 else f"{value / 1000:.1f} ms"
