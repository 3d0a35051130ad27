"""What a simulation found, as typed values, as JSON and as frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any

from allocator.sim import frames
from allocator.sim.frames import lost_by_role
from allocator.sim.record import Record, RoleQuota
from allocator.sim.recorded import Use


@dataclass(frozen=True, slots=True)
class Counts:
    """Jobs and tasks, of a role's subtree or of all.

    Every submitted job ends up in one of `finished`, `running`, `waiting` and `never_fits`; a job
    of which only a part has started waits. Jobs after the horizon are not submitted.
    """

    submitted: int = 0
    finished: int = 0
    running: int = 0
    waiting: int = 0
    never_fits: int = 0
    tasks_started: int = 0


@dataclass(frozen=True, slots=True)
class Waits:
    """Nearest-rank percentiles of job waits, from submission to the start of the last task."""

    p50_s: float | None
    p95_s: float | None


@dataclass(frozen=True, slots=True)
class RoleResult:
    """One role: its whole subtree.

    `share` and `share_run` average its dominant share over time, from the first submission to the
    last and over the whole run; `share_peak` is its peak. `share_in_need` averages over the
    `in_need_s` seconds in which some of its jobs waited, None if none ever did: of roles in need,
    this is what DRF makes proportional to the weights. No share here is divided by the weight.
    """

    role: str
    weight: float
    has_framework: bool
    counts: Counts
    waits: Waits
    share: float
    share_run: float
    share_peak: float
    share_in_need: float | None
    in_need_s: float


@dataclass(frozen=True, slots=True)
class CycleCounts:
    """What the allocator did."""

    cycles_run: int
    cycles_skipped: int
    offers: int
    offers_accepted: int
    offers_declined: int
    revives: int


@dataclass(frozen=True, slots=True)
class RecordedResult:
    """What the trace recorded, on the same cluster."""

    jobs: int
    use: Mapping[str, Use]
    waits: Waits


@dataclass(frozen=True, slots=True)
class Timing:
    """Measured times: the only part of a result that differs between equal runs.

    `engine_s` is the time within calls of the allocator, the making of it included.
    """

    wall_s: float
    cycles_s: float
    cycle_p50_us: float | None
    cycle_p99_us: float | None
    engine_s: float


@dataclass(frozen=True)
class Result:
    """What one simulation found.

    Parameters
    ----------
    trace : mapping
        Name, format, numbers of jobs and tenants, notes.
    options : mapping
        What the run was asked for, seed included.
    cluster : mapping
        The number of machines, their groups, totals, and where they come from.
    defects : mapping
        What was odd in the input and what was done about it -> how often.
    arrivals_s, end_s : float
        The last submission, and the end of the run, both from the first submission.
    counts, waits : Counts, Waits
        Of all jobs.
    use : mapping
        Resource name -> `Use` by running tasks.
    recorded : RecordedResult or None
        The same of the starts that the trace recorded.
    roles : tuple of RoleResult
        Every role, by path.
    cycles : CycleCounts
    timing : Timing
    record : Record
        Jobs, series, quotas and the heat map, in flat arrays.
    """

    trace: Mapping[str, Any]
    options: Mapping[str, Any]
    cluster: Mapping[str, Any]
    defects: Mapping[str, int]
    arrivals_s: float
    end_s: float
    counts: Counts
    waits: Waits
    use: Mapping[str, Use]
    recorded: RecordedResult | None
    roles: tuple[RoleResult, ...]
    cycles: CycleCounts
    timing: Timing
    record: Record = field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values. O(jobs).

        Two runs of the same scenario differ under the key `timing` alone.
        """
        told = {
            part.name: _plain(getattr(self, part.name))
            for part in fields(self)
            if part.name not in ("roles", "record", "timing")
        }
        lost = lost_by_role(self.record)
        told["tasks_lost"] = self.record.tasks_lost
        told["roles"] = [
            {
                **asdict(role),
                "tasks_lost": lost[role.role],
                "quota": quota_to_json(self.record.quota.get(role.role, NO_QUOTA)),
            }
            for role in self.roles
        ]
        told["timing"] = asdict(self.timing)
        return told

    def jobs_frame(self) -> Any:
        """Return a pandas frame with a row a job; first the work that ran from the beginning.

        Columns: `job, tenant, role, state, submit_s, start_s, end_s, wait_s, tasks, tasks_lost,
        task_seconds, slowdown`. A job starts when the last of its tasks has. `state` is one of
        `finished`, `running`, `waiting` and `never` (it fits no empty cluster). `slowdown`, of
        finished jobs, is (wait + run) / run, where a run counts as of 10 s at least. What is not
        known is NaN. O(jobs).

        Raises
        ------
        ImportError
            If pandas (extra `lab`) is missing.
        """
        return frames.jobs_frame(self)


#: Of a role without quota.
NO_QUOTA = RoleQuota({}, {})


def quota_to_json(quota: RoleQuota) -> dict[str, Any]:
    """Return a role's quota, and what came of it, as JSON values."""
    return {
        "guarantee": {n: {"amount": a, "met": met} for n, (a, met) in quota.guarantee.items()},
        "limit": {n: {"amount": a, "peak": peak} for n, (a, peak) in quota.limit.items()},
    }


def _plain(value: Any) -> Any:
    """Return a value, or what is in it, as JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return value
