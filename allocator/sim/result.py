"""What a simulation found, as typed values, as JSON, as frames, in a folder and for people."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from allocator.sim import frames, saved
from allocator.sim.fairshares import fair_shares, measure
from allocator.sim.frames import lost_by_role, series_to_json
from allocator.sim.record import Floats, Heat, Jobs, Record, RoleQuota
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


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What one simulation found.

    Two results are equal if all that they tell is, measured times included.

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
    record: Record

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Result):
            return NotImplemented
        return (
            self.to_json() == other.to_json()
            and _same(self.record.jobs, other.record.jobs)
            and _same(self.record.heat, other.record.heat)
            and np.array_equal(self.record.cycle_ns, other.record.cycle_ns)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        counts = self.counts
        done = f"{counts.finished} of {counts.submitted} jobs finished in {self.end_s:g} s"
        return f"<Result of {self.trace['name']!r}: {done}>"

    @cached_property
    def fair_share(self) -> Floats:
        """The fair share of each role, the cluster's last, in each interval of the series.

        (R + 1, n), rows as in `record`. Computed when first asked for: O(intervals × a division).
        """
        return fair_shares(self.record, self.record.series)

    @cached_property
    def fairness(self) -> dict[str, Any]:
        r"""How far from their fair shares leaf roles were while in need.

        `roles` maps each leaf role that needed anything to the mean, the 95th percentile (nearest
        rank) and the worst of \|share − fair share\| over 250 to 500 intervals of the run, each
        weighted by its length and the part of it in which the role was in need; all None if it
        never was. `all` is the same over all of these roles, `jain` Jain's index of
        share in need / weight over those that were in need, None if none was. Computed when first
        asked for: O(intervals × a division).
        """
        record, measured = self.record, self.record.measured
        assert measured is not None
        if np.array_equal(measured.edges_s, record.series.edges_s):
            fair_share = self.fair_share
        else:
            fair_share = fair_shares(record, measured)
        return measure(record, fair_share, {role.role: role.share_in_need for role in self.roles})

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values. O(jobs + size of the series + `fairness`).

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
        told["fairness"] = self.fairness
        told["series"] = series_to_json(self)
        told["timing"] = asdict(self.timing)
        return told

    def roles_frame(self) -> Any:
        """Return a pandas frame with a row a role, by path. O(roles + `fairness`).

        Raises
        ------
        ImportError
            If pandas (extra `lab`) is missing.
        """
        return frames.roles_frame(self)

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

    def series_frame(self) -> Any:
        """Return a pandas frame with a row an interval of each role, first the cluster's (`""`).

        Columns: `role, start_s, end_s, share, fair_share, in_need, queue, running, offers`,
        `use.NAME` and, of the cluster, `capacity.NAME`. Each is the time average of its interval;
        `offers` is a number. O(size of the series + `fair_share`).

        Raises
        ------
        ImportError
            If pandas (extra `lab`) is missing.
        """
        return frames.series_frame(self)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the result into a folder: for programs, for pandas and for people.

        `result.json` is what `to_json` returns, `jobs.parquet` and `series.parquet` are the
        frames, `report.html` is the report. O(size of the result).

        Parameters
        ----------
        folder : path
            Made if it is not there. A result that is in it is replaced.

        Raises
        ------
        InvalidValue
            If there is something in the folder, and not a result.
        ImportError
            If pandas or pyarrow (extra `lab`) is missing.
        """
        saved.save(self, folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Result:
        """Return the result that was saved into a folder; it equals the one that was saved.

        O(size of the result).

        Raises
        ------
        InvalidValue
            If a file of it is missing or damaged; the text names it.
        ImportError
            If pandas or pyarrow (extra `lab`) is missing.
        """
        return saved.load(folder)

    def report(self) -> str:
        """Return the report: one page of HTML that needs nothing else. O(size of the result)."""
        from allocator.sim.report import page

        return page(self)

    def plot(
        self, folder: str | os.PathLike[str], formats: Sequence[str] = ("svg", "png")
    ) -> list[Path]:
        """Draw the curves of the report with matplotlib, and return the files that were written.

        Parameters
        ----------
        folder : path
            Made if it is not there.
        formats : sequence of str
            Suffixes of files that matplotlib writes.

        Raises
        ------
        ImportError
            If matplotlib (extra `lab`) is missing.
        """
        from allocator.sim.plots import plot

        return plot(self, Path(folder), formats)

    def _repr_html_(self) -> str:
        """Return the verdict, the roles and the curves, for a notebook."""
        from allocator.sim.report import excerpt

        return excerpt(self)


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


def _same(one: Jobs | Heat, other: Jobs | Heat) -> bool:
    """Tell whether two tables are equal; unknown values are."""
    pairs = ((getattr(one, p.name), getattr(other, p.name)) for p in fields(one))
    return all(
        np.array_equal(a, b, equal_nan=a.dtype.kind == "f") if isinstance(a, np.ndarray) else a == b
        for a, b in pairs
    )
