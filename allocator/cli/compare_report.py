"""The tables that `allocator compare` prints of a scenario under several policies."""

from __future__ import annotations

from collections.abc import Sequence

from allocator.cli.console import print_line, print_table
from allocator.cli.simulate_report import TOP_ROLES
from allocator.sim import Result, RoleResult, Scenario
from allocator.sim.policies import Policy
from allocator.sim.report.words import percent, span

_NONE = "-"

_LEGEND = (
    "unfair: mean of |share − fair share| of roles in need; jain: Jain's index of share / weight",
    "share: mean dominant share over the run; in need: mean while jobs of the role wait",
)


def print_policies(scenario: Scenario, found: Sequence[tuple[Policy, Result]]) -> None:
    """Print one table of all policies, and for each policy one of its roles."""
    first = found[0][1]
    print_line(
        f"{scenario.title}: {first.trace['jobs']:,} jobs of {first.trace['tenants']:,} tenants on "
        f"{first.cluster['machines']:,} machines"
    )
    names = list(first.use)
    header = [
        "policy",
        "end",
        "finished",
        "running",
        "waiting",
        "wait p50",
        "p95",
        "unfair",
        "jain",
    ]
    rows = [
        [
            policy.name,
            span(result.end_s),
            *(f"{n:,}" for n in _counts(result)),
            *_waits(result.waits.p50_s, result.waits.p95_s),
            *_fairness(result),
            *(percent(result.use[name].mean_run) for name in names),
        ]
        for policy, result in found
    ]
    print_table("Policies", [*header, *names], rows)
    for policy, result in found:
        _print_roles(policy, result)
    for line in _LEGEND:
        print_line(line)


def _print_roles(policy: Policy, result: Result) -> None:
    """Print the roles that have frameworks, those first that held most."""
    roles = sorted(
        (role for role in result.roles if role.has_framework),
        key=lambda role: (-role.share_run, role.role),
    )
    shown = roles if len(roles) <= TOP_ROLES + 1 else roles[:TOP_ROLES]
    rows = [_row(role) for role in shown]
    if len(shown) < len(roles):
        rows.append([f"{len(roles) - len(shown)} others", *[""] * 8])
    header = ["role", "weight", "share", "in need", "finished", "tasks", "waiting", "wait p50"]
    print_table(f"Roles under {policy.name}", [*header, "p95"], rows)


def _row(role: RoleResult) -> list[str]:
    counts = role.counts
    return [
        role.role,
        f"{role.weight:g}",
        percent(role.share_run),
        percent(role.share_in_need),
        *(f"{n:,}" for n in (counts.finished, counts.tasks_started, counts.waiting)),
        *_waits(role.waits.p50_s, role.waits.p95_s),
    ]


def _counts(result: Result) -> tuple[int, int, int]:
    return result.counts.finished, result.counts.running, result.counts.waiting


def _fairness(result: Result) -> list[str]:
    jain = result.fairness["jain"]
    return [percent(result.fairness["all"]["mean"]), _NONE if jain is None else f"{jain:.3f}"]


def _waits(*waits_s: float | None) -> list[str]:
    return [_NONE if wait_s is None else span(wait_s) for wait_s in waits_s]
