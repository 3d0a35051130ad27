"""The tables that `allocator simulate` prints."""

from __future__ import annotations

from collections.abc import Sequence

from allocator.cli.console import print_line, print_table
from allocator.sim import Counts, Result, RoleResult, Waits
from allocator.sim.report.words import milliseconds, percent, span

#: So many roles are shown, the rest summed up in one line.
TOP_ROLES = 20

#: So many groups of machines and no more are listed.
MAX_GROUPS = 8

_NONE = "-"

_LEGEND = (
    "share: mean dominant share while jobs arrive; in need: mean while some of the role's jobs",
    "wait, which is what DRF makes proportional to the weights; tasks: started; waiting: jobs not",
    "started at the end; never: jobs that fit no empty cluster; p50, p95: of the jobs' waits",
)


def print_report(result: Result, *, all_roles: bool = False) -> None:
    """Print what a simulation found; all that was measured stands in the last table."""
    _print_input(result)
    top = [role for role in result.roles if "/" not in role.role]
    own = [role for role in result.roles if role.has_framework]
    if len(own) < len(result.roles):
        _print_roles("Top-level roles, each with all below it", top, all_roles)
    _print_roles("Roles with frameworks", own, all_roles)
    for line in _LEGEND:
        print_line(line)
    _print_jobs(result)
    _print_cluster(result)
    _print_run(result)


def _print_input(result: Result) -> None:
    trace, cluster = result.trace, result.cluster
    print_line(
        f"{trace['name']} ({trace['format']}): {trace['jobs']:,} jobs of {trace['tenants']:,} "
        f"tenants, submitted over {span(result.arrivals_s)}"
    )
    for note in trace["notes"]:
        print_line(f"  {note}")
    print_line(f"cluster: {cluster['machines']:,} machines ({cluster['source']})")
    groups = cluster["groups"]
    for group in groups[:MAX_GROUPS]:
        print_line(f"  {group}")
    if len(groups) > MAX_GROUPS:
        print_line(f"  and {len(groups) - MAX_GROUPS} smaller groups")
    if result.defects:
        rows = [[what, f"{n:,}"] for what, n in result.defects.items()]
        print_table("Oddities of the input, and what was done", ["what", "jobs"], rows)


def _print_roles(title: str, roles: Sequence[RoleResult], all_roles: bool) -> None:
    ranked = sorted(roles, key=lambda role: (-role.share, role.role))
    shown = ranked if all_roles or len(ranked) <= TOP_ROLES + 1 else ranked[:TOP_ROLES]
    rest = ranked[len(shown) :]
    rows = [
        [
            role.role,
            f"{role.weight:g}",
            percent(role.share),
            percent(role.share_in_need),
            _NONE if role.share_in_need is None else percent(role.share_in_need / role.weight),
            percent(role.share_peak),
            *_counts(role.counts),
            *_waits(role.waits),
        ]
        for role in shown
    ]
    if rest:
        rows.append([f"{len(rest)} others (--all-roles)", *[""] * 5, *_counts(_sum(rest)), "", ""])
    header = ["role", "weight", "share", "in need", "/ weight", "peak"]
    print_table(title, [*header, "jobs", "tasks", "waiting", "never", "p50", "p95"], rows)


def _sum(roles: Sequence[RoleResult]) -> Counts:
    names = ("submitted", "finished", "running", "waiting", "never_fits", "tasks_started")
    return Counts(**{name: sum(getattr(role.counts, name) for role in roles) for name in names})


def _print_cluster(result: Result) -> None:
    recorded = result.recorded
    header = ["resource", "total", "peak", "of total", "mean", "to the end"]
    if recorded is not None:
        header += ["recorded: peak", "mean", "to the end"]
    rows = []
    for name, use in result.use.items():
        row = [name, f"{use.total:,.10g}", f"{use.peak:,.10g}", percent(use.peak / use.total)]
        row += [percent(use.mean_arrivals), percent(use.mean_run)]
        if recorded is not None:
            then = recorded.use[name]
            row += [f"{then.peak:,.10g}", percent(then.mean_arrivals), percent(then.mean_run)]
        rows.append(row)
    print_table("Cluster, as used by running tasks (mean: while jobs arrive)", header, rows)


def _print_jobs(result: Result) -> None:
    counts = result.counts
    row = ["simulated", *_counts(counts), *_waits(result.waits)]
    rows = [[*row[:2], f"{counts.finished:,}", f"{counts.running:,}", *row[2:]]]
    if result.recorded is not None:
        recorded = result.recorded
        rows.append(["recorded", f"{recorded.jobs:,}", *[""] * 5, *_waits(recorded.waits)])
    header = ["", "jobs", "finished", "running", "tasks", "waiting", "never", "p50", "p95"]
    print_table("All jobs", header, rows)


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
        ["cycle p50", milliseconds(timing.cycle_p50_us)],
        ["cycle p99", milliseconds(timing.cycle_p99_us)],
        ["all cycles", f"{timing.cycles_s:.2f} s"],
        ["whole run", f"{timing.wall_s:.2f} s"],
    ]
    print_table("Measured on this machine", ["what", "time"], measured)


def _counts(counts: Counts) -> list[str]:
    numbers = (counts.submitted, counts.tasks_started, counts.waiting, counts.never_fits)
    return [f"{n:,}" for n in numbers]


def _waits(waits: Waits) -> list[str]:
    return [_NONE if wait is None else span(wait) for wait in (waits.p50_s, waits.p95_s)]
