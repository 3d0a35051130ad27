"""What a simulation found, as typed values and as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from allocator.sim.record import Record
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


@dataclass(frozen=True, slots=True)
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
        Jobs, series and quotas, in flat arrays.
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
    record: Record | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values. O(size).

        Two runs of the same trace with the same options differ under the key `timing` alone.
        """
        # `asdict` would copy the arrays of the record.
        return {
            key: value
            for key, value in asdict(replace(self, record=None)).items()
            if key != "record"
        }
