"""A result as pandas frames. pandas is imported by whoever asks for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from allocator.sim.record import FINISHED, STATES, Floats, Record

if TYPE_CHECKING:
    from allocator.sim.result import Result

#: A job that ran more shortly counts as one of so many seconds in its slowdown.
SHORTEST_RUN_S = 10.0


def pandas() -> Any:
    """Return pandas, or say what brings it."""
    try:
        import pandas
    except ImportError as error:
        what = "frames need pandas: pip install 'drf-allocator[lab]'"
        raise ImportError(what, name=error.name) from error
    return pandas


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
