"""A result as pandas frames. pandas is imported by whoever asks for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from allocator.sim.record import FINISHED, STATES, Floats, Record

if TYPE_CHECKING:
    from allocator.sim.result import Result

#: A job that ran more shortly counts as one of so many seconds in its slowdown.
SHORTEST_RUN_S = 10.0

#: Curves that a frame, and the series as JSON, have by name besides the fair share.
CURVES = ("share", "in_need", "queue", "running", "offers")


def pandas() -> Any:
    """Return pandas, or say what brings it."""
    try:
        import pandas
    except ModuleNotFoundError as error:
        what = "frames need pandas: pip install 'drf-allocator[lab]'"
        raise ModuleNotFoundError(what, name=error.name) from error
    return pandas


def roles_frame(result: Result) -> Any:
    """Return a row a role, by path. O(roles)."""
    rows = []
    tasks_lost = lost_by_role(result.record)
    for role in result.roles:
        far = result.fairness["roles"].get(role.role, dict.fromkeys(("mean", "p95", "worst")))
        rows.append(
            {
                "role": role.role,
                "weight": role.weight,
                "has_framework": role.has_framework,
                **asdict(role.counts),
                "tasks_lost": tasks_lost[role.role],
                **{f"wait_{name}": wait for name, wait in asdict(role.waits).items()},
                "share": role.share,
                "share_run": role.share_run,
                "share_peak": role.share_peak,
                "share_in_need": role.share_in_need,
                "in_need_s": role.in_need_s,
                **{f"deviation_{name}": value for name, value in far.items()},
            }
        )
    frame = pandas().DataFrame(rows)
    # Where all are unknown, they would be objects.
    floats = [name for name in frame if name.startswith(("wait_", "share", "deviation_"))]
    return frame.astype(dict.fromkeys(floats, float))


def lost_by_role(record: Record) -> dict[str, int]:
    """Return how many tasks of each role's subtree were lost with their machines. O(jobs)."""
    jobs = record.jobs
    by_tenant = np.zeros(len(record.tenants), np.int64)
    np.add.at(by_tenant, jobs.tenant, jobs.tasks_lost)
    lost = dict.fromkeys(record.roles, 0)
    for role, n in zip(record.tenant_roles, by_tenant.tolist(), strict=True):
        path = role
        while path:
            lost[path] += n
            path = path.rpartition("/")[0]
    return lost


def slowdowns(record: Record) -> Floats:
    """Return the slowdown of each job, NaN unless it has finished.

    It is (wait + run) / run, where a run counts as of `SHORTEST_RUN_S` at least; never below 1.
    O(jobs).
    """
    jobs = record.jobs
    wait_s = jobs.start_s - jobs.submit_s
    run_s = jobs.end_s - jobs.start_s
    slowdown = np.maximum(1.0, (wait_s + run_s) / np.maximum(run_s, SHORTEST_RUN_S))
    return np.where(jobs.state == FINISHED, slowdown, np.nan)


def jobs_frame(result: Result) -> Any:
    """Return a row a job. O(jobs)."""
    record, jobs = result.record, result.record.jobs
    return pandas().DataFrame(
        {
            "job": np.array(jobs.ids, object),
            "tenant": np.array(record.tenants, object)[jobs.tenant],
            "role": np.array(record.tenant_roles, object)[jobs.tenant],
            "state": np.array(STATES, object)[jobs.state],
            "submit_s": jobs.submit_s,
            "start_s": jobs.start_s,
            "end_s": jobs.end_s,
            "wait_s": jobs.start_s - jobs.submit_s,
            "tasks": jobs.tasks,
            "tasks_lost": jobs.tasks_lost,
            "task_seconds": jobs.task_seconds,
            "slowdown": slowdowns(record),
        }
    )


def series_frame(result: Result) -> Any:
    """Return a row an interval of each role, first the cluster's. O(size of the series)."""
    record, curves = result.record, result.record.series
    n = len(curves.edges_s) - 1
    rows = [len(record.roles), *range(len(record.roles))]
    roles = np.array(["", *record.roles], object)
    columns: dict[str, Any] = {
        "role": np.repeat(roles, n),
        "start_s": np.tile(curves.edges_s[:-1], len(rows)),
        "end_s": np.tile(curves.edges_s[1:], len(rows)),
        "share": curves.share[rows].ravel(),
        "fair_share": result.fair_share[rows].ravel(),
        **{name: getattr(curves, name)[rows].ravel() for name in CURVES[1:]},
    }
    for axis, name in enumerate(record.names):
        columns[f"use.{name}"] = curves.use[rows, axis].ravel()
    for axis, name in enumerate(record.names):
        capacity = np.full((len(rows), n), np.nan)
        capacity[0] = curves.capacity[axis]
        columns[f"capacity.{name}"] = capacity.ravel()
    return pandas().DataFrame(columns)


def series_to_json(result: Result) -> dict[str, Any]:
    """Return the series as `Result.to_json` tells them. O(size)."""
    record, curves, fair_share = result.record, result.record.series, result.fair_share

    def told(row: int) -> dict[str, Any]:
        found: dict[str, Any] = {name: getattr(curves, name)[row].tolist() for name in CURVES}
        found["fair_share"] = fair_share[row].tolist()
        found["use"] = _by_name(record, curves.use[row])
        return found

    cluster = told(len(record.roles))
    return {
        "start_s": curves.edges_s[:-1].tolist(),
        "end_s": curves.edges_s[1:].tolist(),
        "roles": {role: told(row) for row, role in enumerate(record.roles)},
        "cluster": {**cluster, "capacity": _by_name(record, curves.capacity)},
    }


def _by_name(record: Record, levels: Floats) -> Mapping[str, list[float]]:
    return {name: levels[axis].tolist() for axis, name in enumerate(record.names)}
