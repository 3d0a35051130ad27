"""What there is to say of each tenant, out of the table of jobs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.sim.frames import slowdowns
from allocator.sim.record import FINISHED, NEVER, WAITING, Floats, Record


@dataclass(frozen=True, slots=True)
class TenantSummary:
    """One tenant. Waits, in ascending order, are of its jobs that have started."""

    tenant: str
    role: str
    jobs: int
    finished: int
    waiting: int
    never: int
    tasks_lost: int
    task_seconds: float
    waits_s: Floats
    slowdown: float | None

    def wait_s(self, percent: float) -> float | None:
        """Return the nearest-rank percentile of its waits, None if no job has started. O(1)."""
        return nearest_rank(self.waits_s, percent)


def nearest_rank(ascending: Floats, percent: float) -> float | None:
    """Return the nearest-rank percentile of values in ascending order, None of none. O(1)."""
    if not len(ascending):
        return None
    return float(ascending[max(int(np.ceil(len(ascending) * percent / 100)), 1) - 1])


def waits(record: Record) -> Floats:
    """Return the waits of submitted jobs that have started, in ascending order. O(n log n)."""
    jobs = record.jobs
    found = (jobs.start_s - jobs.submit_s)[jobs.n_placed :]
    ascending: Floats = np.sort(found[~np.isnan(found)])
    return ascending


def summaries(record: Record) -> list[TenantSummary]:
    """Return a summary of each tenant that has jobs, in the record's order. O(n log n) in jobs."""
    jobs = record.jobs
    order = np.argsort(jobs.tenant, kind="stable")
    tenants, starts = np.unique(jobs.tenant[order], return_index=True)
    slowdown = slowdowns(record)
    all_waits_s = jobs.start_s - jobs.submit_s
    found = []
    ends = [*starts[1:].tolist(), len(order)]
    for tenant, start, end in zip(
        tenants.tolist(), starts.tolist(), ends[: len(starts)], strict=True
    ):
        rows = order[start:end]
        state = jobs.state[rows]
        submitted = rows[rows >= jobs.n_placed]
        wait_s = all_waits_s[submitted]
        slow = slowdown[rows][state == FINISHED]
        found.append(
            TenantSummary(
                tenant=record.tenants[tenant],
                role=record.tenant_roles[tenant],
                jobs=len(rows),
                finished=int((state == FINISHED).sum()),
                waiting=int((state == WAITING).sum()),
                never=int((state == NEVER).sum()),
                tasks_lost=int(jobs.tasks_lost[rows].sum()),
                task_seconds=float(jobs.task_seconds[rows].sum()),
                waits_s=np.sort(wait_s[~np.isnan(wait_s)]),
                slowdown=nearest_rank(np.sort(slow), 50),
            )
        )
    return found
