"""A discrete-event run of the allocator.

Time jumps from one instant at which something can happen to the next. Cycles stand on the grid of
multiples of the allocation interval; of these, only those run before which something changed or at
which a filter has ended. The others could do nothing; they are counted, since the order of agents
depends on the cycle's number, so that leaving them out changes no decision.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Protocol

from allocator.engine import Allocator
from allocator.errors import InvalidValue, shown
from allocator.roles import ancestry, validate_role
from allocator.sim.cluster import machines
from allocator.sim.outcome import result_of
from allocator.sim.result import Result
from allocator.sim.run import Progress, Run
from allocator.sim.setting import REFUSE_SECONDS, Behaviour, Policy, RolePolicy, Setting
from allocator.sim.trace import LONGEST_S, Trace

#: Intervals of the series, unless something else is asked for.
POINTS = 500


@dataclass(frozen=True, slots=True)
class Options:
    """How to run a simulation.

    Parameters
    ----------
    seed : int or str
        Seeds the allocator and the schedulers' random pauses.
    sorter : str
        Who orders roles and frameworks: a name in `allocator.sorter.SORTERS`.
    interval_s : float
        The allocation interval.
    gang : bool
        Whether a job's tasks start all at once, or each as soon as it fits.
    refuse_seconds : float
        How long a framework refuses what it has no use for; 0 for no filters.
    weights : mapping
        Role -> weight, for any role that the trace has or whose subtree it has.
    horizon_s : float or None
        Where the run ends at the latest; by default at the end of a recording that has jobs
        which outlive it, else when nothing is left to happen.
    every_cycle : bool
        Run also the cycles that can do nothing. The same decisions, more slowly.
    """

    seed: int | str = 0
    sorter: str = "drf"
    interval_s: float = 1.0
    gang: bool = True
    refuse_seconds: float = REFUSE_SECONDS
    weights: Mapping[str, float] = field(default_factory=dict)
    horizon_s: float | None = None
    every_cycle: bool = False

    def __post_init__(self) -> None:
        bounds = f"up to {LONGEST_S:g}"
        if not 0 < self.interval_s <= LONGEST_S:
            raise InvalidValue(
                f"interval {shown(self.interval_s)}: not a positive number of seconds {bounds}"
            )
        if not 0 <= self.refuse_seconds <= LONGEST_S:
            raise InvalidValue(
                f"refuse_seconds {shown(self.refuse_seconds)}: not a number of seconds {bounds}"
            )
        if self.horizon_s is not None and not 0 < self.horizon_s <= LONGEST_S:
            raise InvalidValue(
                f"horizon {shown(self.horizon_s)}: not a positive number of seconds {bounds}"
            )


class HasSetting(Protocol):
    """What says everything that a run depends on: a scenario."""

    def setting(self) -> Setting:
        """Return that, resolved and checked."""


def simulate(
    what: Trace | HasSetting | Setting,
    options: Options | None = None,
    *,
    points: int = POINTS,
    progress: Progress | None = None,
    engine: Callable[..., Allocator] = Allocator,
) -> Result:
    """Run the allocator on a scenario or a trace.

    Each tenant is a framework in its role. Its scheduler starts what fits into its offers, refuses
    the rest, suppresses when nothing waits and revives when its needs change. Tasks run for their
    recorded time.

    Parameters
    ----------
    what : Scenario, Trace or Setting
        Loaded, read by `read_trace`, or made.
    options : Options, optional
        Of a trace: the defaults of `Options` if not given.
    points : int
        At most so many intervals of the series tile the run.
    progress : callable, optional
        Called now and then with the part of the jobs done, from 0 to 1, and the simulated seconds.
        If it returns False, the run ends there, as at a horizon.
    engine : callable
        Makes the allocator; another implementation of the contract may stand in.

    Returns
    -------
    Result
        The same for the same scenario, or trace and options, but for `Result.timing`.

    Raises
    ------
    InvalidValue, InvalidRole
        If an option cannot be accepted, or a weight is given to a role that the trace does not
        have.
    QuotaError
        If quotas contradict each other.

    Examples
    --------
    >>> from allocator.sim import mesos_workload, simulate
    >>> result = simulate(mesos_workload())
    >>> result.counts.waiting
    0
    """
    started = time.perf_counter()
    if isinstance(points, bool) or not isinstance(points, int) or points < 1:
        raise InvalidValue(f"points {shown(points)}: not a positive number of intervals")
    if isinstance(what, Trace):
        setting = setting_of(what, options or Options())
    elif options is not None:
        raise InvalidValue("options are for a trace; a scenario has its own")
    else:
        setting = what if isinstance(what, Setting) else what.setting()
    run = Run(setting, points, engine)
    run.run(progress)
    return result_of(run, time.perf_counter() - started)


def setting_of(trace: Trace, options: Options) -> Setting:
    """Return what a run of a trace depends on.

    Raises
    ------
    InvalidValue, InvalidRole
        If a weight is given to a role that the trace does not have. O(machines + tenants).
    """
    known = {role for tenant in trace.tenants.values() for role in ancestry(tenant.role)}
    for role in options.weights:
        if validate_role(role) not in known:
            raise InvalidValue(f"weight of role {shown(role)}: the trace has no such role")
    behaviour = Behaviour(gang=options.gang, refuse_s=options.refuse_seconds)
    return Setting(
        title=trace.name,
        policy=Policy(
            seed=options.seed,
            role_sorter=options.sorter,
            framework_sorter=options.sorter,
            interval_s=options.interval_s,
        ),
        machines=tuple(machines(trace.cluster)),
        trace=trace,
        roles={role: RolePolicy(weight=weight) for role, weight in options.weights.items()},
        behaviours=dict.fromkeys(trace.tenants, behaviour),
        horizon_s=trace.end_s if options.horizon_s is None else options.horizon_s,
        every_cycle=options.every_cycle,
        asked={**asdict(options), "weights": dict(options.weights)},
    )
