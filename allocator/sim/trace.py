"""The model every trace is read into: who wants how much, when, for how long, and on what.

Times are seconds from the first submission of the trace. Amounts are `Quantities`: cpus in cores,
mem and disk in MB, gpus in devices.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from allocator.resources import Quantities
from allocator.sim.cluster import MachineGroup

#: No time may be longer, 31 700 years, so that instants are exact to a millisecond.
LONGEST_S = 1e12


@dataclass(frozen=True, slots=True)
class Tasks:
    """A number of equal node-tasks: each runs on one machine and needs `demand` there."""

    count: int
    demand: Quantities


@dataclass(frozen=True, slots=True)
class Spread:
    """At most `limit` running tasks of one tenant's `group` on a machine."""

    group: str
    limit: int


@dataclass(frozen=True, slots=True)
class Shape:
    """Everything about a job that decides where it fits; jobs of a tenant queue by shape.

    Parameters
    ----------
    tasks : tuple of Tasks
        The node-tasks. Several may share a machine.
    kinds : frozenset of str
        The kinds of machine it runs on; empty for any.
    spread : Spread or None
        A bound on the tasks per machine.
    apart : bool
        Whether each task starts for itself, whatever the framework does with its jobs.
    """

    tasks: tuple[Tasks, ...]
    kinds: frozenset[str] = frozenset()
    spread: Spread | None = None
    apart: bool = False

    @property
    def n_tasks(self) -> int:
        """The number of node-tasks. O(number of `Tasks`)."""
        return sum(tasks.count for tasks in self.tasks)


@dataclass(frozen=True, slots=True)
class Job:
    """One job: submitted once, started once, and run for its recorded time.

    `run_s` is infinite for a job that outlives the trace. `recorded_start_s` is the start that the
    trace recorded, if it did; `requested_s` the time that the job asked for, by which a scheduler
    plans where it has to.
    """

    id: str
    tenant: str
    submit_s: float
    run_s: float
    shape: Shape
    recorded_start_s: float | None = None
    requested_s: float | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who submits: one framework in one role.

    Parameters
    ----------
    name : str
        The framework's id.
    role : str
        A valid role path.
    tasks_per_offer : int or None
        At most so many tasks are started on one offer.
    uses_filters : bool
        Whether what is left of an offer is refused for a while, or goes back without a filter.
    """

    name: str
    role: str
    tasks_per_offer: int | None = None
    uses_filters: bool = True


@dataclass(frozen=True, slots=True)
class Trace:
    """A workload and the cluster it runs on.

    Parameters
    ----------
    name, format : str
        The file or built-in workload, and the format it was read in.
    jobs : tuple of Job
        In order of submission; the first at time 0.
    tenants : mapping
        Tenant name -> `Tenant`.
    cluster : tuple of MachineGroup
        The machines.
    cluster_source : str
        Where the machines come from, for people.
    defects : mapping
        What was found wrong or odd in the input and what was done about it -> how often.
    notes : tuple of str
        What the reader took for granted.
    end_s : float or None
        When the recording ended, for traces with jobs that outlive it.
    """

    name: str
    format: str
    jobs: tuple[Job, ...]
    tenants: Mapping[str, Tenant]
    cluster: tuple[MachineGroup, ...]
    cluster_source: str
    defects: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    end_s: float | None = None

    @property
    def last_submit_s(self) -> float:
        """The last submission; 0 for a trace without jobs. O(1)."""
        return self.jobs[-1].submit_s if self.jobs else 0.0
