"""What a run leaves behind, in flat arrays: a row a job, a column an interval, nothing a task.

Rows of roles are in the order of `Record.roles`, roles of every depth by path; a role is its
subtree. The row after the last role is the cluster. Amounts are in the resource's unit, times in
seconds from the first submission. Averages are over time, and exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

#: What `Jobs.state` counts to.
STATES: Final = ("finished", "running", "waiting", "never")
FINISHED, RUNNING, WAITING, NEVER = range(4)


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Levels over time, averaged over intervals that tile the run; R roles, N names, n intervals.

    Parameters
    ----------
    edges_s : float64 array of n + 1
        Where the intervals begin and end: 0 to the end of the run. A run that takes no time has
        one interval, of the levels that it ends with.
    share : (R + 1, n)
        Dominant shares of what is up, by what is taken: `claims` and open offers included. That
        of the cluster is of everything taken.
    in_need : (R + 1, n)
        The part of the interval in which some job waited.
    queue, running : (R + 1, n)
        Jobs that wait; tasks that run.
    offers : int64 array (R + 1, n)
        Offers made.
    use : (R + 1, N, n)
        What running tasks use.
    need : (R + 1, N, n) or None
        What running and waiting tasks need; None in a result that was loaded.
    capacity : (N, n)
        What is up.
    """

    edges_s: Floats
    share: Floats
    in_need: Floats
    queue: Floats
    running: Floats
    offers: Integers
    use: Floats
    need: Floats | None
    capacity: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Jobs:
    """One row a job: first the `n_placed` of `Setting.placed`, then the trace's submitted ones.

    Parameters
    ----------
    n_placed : int
        Row `n_placed + i` is `trace.jobs[i]`.
    ids : tuple of str
        What the trace calls each job; `placed-0` … for placed work.
    tenant : int32 array
        Position in `Record.tenants`.
    state : uint8 array
        Position in `STATES`.
    submit_s, start_s, end_s : float64 arrays
        `start_s`: when the last of its tasks first ran; NaN where it has not, `end_s` where the
        job has not finished.
    tasks, tasks_lost : int64 arrays
        Tasks of the job; how often one was lost with its machine.
    task_seconds : float64 array
        For how long tasks ran, together, the lost ones included.
    """

    n_placed: int
    ids: tuple[str, ...]
    tenant: NDArray[np.int32]
    state: NDArray[np.uint8]
    submit_s: Floats
    start_s: Floats
    end_s: Floats
    tasks: Integers
    tasks_lost: Integers
    task_seconds: Floats


@dataclass(frozen=True, slots=True)
class RoleQuota:
    """A role's quota and what came of it.

    `guarantee` maps a name to the amount and the part of the time in which the role consumed that
    or all it wanted; `limit` to the amount and the most that it ever consumed.
    """

    guarantee: Mapping[str, tuple[float, float]]
    limit: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """Mean dominant shares in use: machines × time, at most 200 × 200.

    Parameters
    ----------
    edges_s : float64 array of n + 1
    first : int64 array of m + 1
        Row i stands for the machines from position `first[i]` to before `first[i + 1]`.
    share : (m, n)
        NaN while none of them is up.
    """

    edges_s: Floats
    first: Integers
    share: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """What is kept of one run.

    Parameters
    ----------
    names : tuple of str
        The resources, by name; each is one position.
    roles : tuple of str
        All roles by path: those of tenants and of the policy, and all above them.
    is_leaf : tuple of bool
        Whether a role has none below it.
    has_framework : tuple of bool
    weights : tuple of float
    excluded : tuple of str
        Names that count for no share.
    tenants, tenant_roles : tuple of str
        The frameworks and the role of each.
    machines : tuple of str
        The machines' ids, in order.
    total : mapping
        Name -> the amount that all machines have, up or not.
    series : Curves
        At most `points` intervals.
    measured : Curves or None
        The run's own 250 to 500 intervals, whatever `points` is; fewer only in a run of no time.
        None in a result that was loaded.
    jobs : Jobs
    quota : mapping
        Role -> `RoleQuota`, of roles that have one.
    heat : Heat
    tasks_lost : int
    tasks_ended : int
    cycle_ns : int64 array
        How long each cycle took; measured.
    engine_s : float
        Seconds within calls of the allocator; measured.
    """

    names: tuple[str, ...]
    roles: tuple[str, ...]
    is_leaf: tuple[bool, ...]
    has_framework: tuple[bool, ...]
    weights: tuple[float, ...]
    excluded: tuple[str, ...]
    tenants: tuple[str, ...]
    tenant_roles: tuple[str, ...]
    machines: tuple[str, ...]
    total: Mapping[str, float]
    series: Curves
    measured: Curves | None
    jobs: Jobs
    quota: Mapping[str, RoleQuota]
    heat: Heat
    tasks_lost: int
    tasks_ended: int
    cycle_ns: Integers
    engine_s: float
