"""A discrete-event run of the allocator on a trace.

Time jumps from one instant at which something can happen to the next. Cycles stand on the grid of
multiples of the allocation interval; of these, only those run before which something changed or at
which a filter has ended. The others could do nothing; they are counted, since the order of agents
depends on the cycle's number, so that leaving them out changes no decision.
"""

import math
import sys
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import count

from allocator.clock import ManualClock
from allocator.engine import Allocator, Offer
from allocator.errors import InvalidValue, shown
from allocator.resources import Resources
from allocator.roles import ancestry, validate_role
from allocator.sim.cluster import machines, totals
from allocator.sim.ledger import Ledger
from allocator.sim.meter import percentile
from allocator.sim.placing import Demand, Grant, Need, Space, needs_of, place
from allocator.sim.recorded import recorded
from allocator.sim.result import CycleCounts, RecordedResult, Result, Timing, Waits
from allocator.sim.scheduler import JobState, Scheduler, Start
from allocator.sim.setting import REFUSE_SECONDS
from allocator.sim.trace import LONGEST_S, Job, Shape, Trace

#: Cycles in a row with offers of which nothing starts, while nothing else is to come, before the
#: run is over: without filters, offers that fit nobody would go round for ever.
STALLED_CYCLES = 1000

#: Stands for no bound on the tasks per offer.
_ANY_NUMBER = sys.maxsize

#: What a job starts: (how many times, need).
Needs = tuple[tuple[int, Need], ...]

#: Called now and then with the part of the jobs that are done (0 to 1) and the simulated time.
Progress = Callable[[float, float], None]

_PROGRESS_EVERY = 256

#: Beyond this, instants on the grid cannot be told apart (a double has 53 bits).
_MAX_CYCLES = 2**52


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


def simulate(
    trace: Trace,
    options: Options | None = None,
    *,
    progress: Progress | None = None,
    engine: Callable[..., Allocator] = Allocator,
) -> Result:
    """Run the allocator on a trace.

    Each tenant is a framework in its role. Its scheduler starts what fits into its offers, refuses
    the rest, suppresses when nothing waits and revives when its needs change. Tasks run for their
    recorded time.

    Parameters
    ----------
    trace : Trace
        Read by `read_trace`, or made.
    options : Options, optional
        The defaults of `Options` if not given.
    progress : callable, optional
        Called now and then with the part of the jobs done, from 0 to 1, and the simulated seconds.
    engine : callable
        Makes the allocator; another implementation of the contract may stand in.

    Returns
    -------
    Result
        The same for the same trace and options, but for `Result.timing`.

    Raises
    ------
    InvalidValue, InvalidRole
        If an option cannot be accepted, or a weight is given to a role that the trace does not
        have.

    Examples
    --------
    >>> from allocator.sim import mesos_workload, simulate
    >>> result = simulate(mesos_workload())
    >>> result.counts.waiting
    0
    """
    started = time.perf_counter()
    simulation = _Simulation(trace, options or Options(), engine)
    simulation.run(progress)
    return simulation.result(time.perf_counter() - started)


class _Simulation:
    """The state of one run. Events mark time; `_cycle` is the only place where tasks start."""

    def __init__(self, trace: Trace, options: Options, engine: Callable[..., Allocator]) -> None:
        self._trace = trace
        self._options = options
        self._clock = ManualClock()
        horizon_s = trace.end_s if options.horizon_s is None else options.horizon_s
        self._horizon_s = math.inf if horizon_s is None else horizon_s
        self._machines = list(machines(trace.cluster))
        self._kinds = [machine.kind for machine in self._machines]
        self._agents = {machine.id: i for i, machine in enumerate(self._machines)}
        self._name_axes()
        weights = self._role_weights()
        self._ledger = Ledger(self._names, self._totals, weights, trace.last_submit_s)
        self._schedulers = {
            name: Scheduler(tenant, len(self._names), options.seed)
            for name, tenant in trace.tenants.items()
        }
        self._engine = self._start(engine, weights)
        #: shape -> what a job of it starts, None if it fits on no empty cluster
        self._needs: dict[Shape, Needs | None] = {}
        #: (demand, count) -> the resources of so many tasks
        self._resources: dict[tuple[Demand, int], Resources] = {}
        #: (instant, tie-break, what to do then)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._event_numbers = count()
        self._next_job = 0
        #: position on the grid of the last cycle, run or skipped
        self._grid = -1
        self._last_change_s = 0.0
        self._fruitless_cycles = 0
        self._n_offers = self._n_accepted = self._n_declined = self._n_revives = 0
        self._n_skipped = 0
        self._cycle_ns: array[int] = array("q")

    # Setting up.

    def _name_axes(self) -> None:
        """Give each resource name that occurs an axis, in alphabetical order."""
        total = totals(self._trace.cluster)
        shapes = {id(job.shape): job.shape for job in self._trace.jobs}.values()
        asked = {name for s in shapes for tasks in s.tasks for name in tasks.demand.milli}
        self._names = sorted(asked | set(total.milli))
        self._axes = {name: axis for axis, name in enumerate(self._names)}
        self._totals = [total.milli.get(name, 0) for name in self._names]

    def _role_weights(self) -> dict[str, float]:
        """Return the weight of each role that has a framework, and of each ancestor."""
        tenants = self._trace.tenants.values()
        weights = {role: 1.0 for tenant in tenants for role in ancestry(tenant.role)}
        for role, weight in self._options.weights.items():
            if validate_role(role) not in weights:
                raise InvalidValue(f"weight of role {shown(role)}: the trace has no such role")
            weights[role] = weight
        return weights

    def _start(self, make: Callable[..., Allocator], weights: Mapping[str, float]) -> Allocator:
        engine = make(
            seed=self._options.seed,
            sorter=self._options.sorter,
            allocation_interval=self._options.interval_s,
            clock=self._clock,
        )
        for role in self._options.weights:
            engine.set_weight(role, weights[role])
        for machine in self._machines:
            engine.add_agent(machine.id, Resources.from_milli(machine.resources.milli))
        for tenant in self._trace.tenants.values():
            # Whoever may use GPUs here knows what they are; without saying so, a framework is not
            # offered machines that have some.
            engine.add_framework(
                tenant.name,
                roles=[tenant.role],
                suppressed=[tenant.role],
                capabilities=["GPU_RESOURCES"],
            )
        return engine

    # Running.

    def run(self, progress: Progress | None) -> None:
        """Run until nothing is left to happen, or to the horizon."""
        turns = 0
        while True:
            grid = self._next_grid()
            if grid is None or grid * self._options.interval_s > self._horizon_s:
                break
            self._engine.skip_cycles(grid - self._grid - 1)
            self._n_skipped += grid - self._grid - 1
            self._grid = grid
            instant_s = grid * self._options.interval_s
            self._happen(instant_s)
            self._clock.advance_to(instant_s)
            self._cycle()
            turns += 1
            if progress is not None and turns % _PROGRESS_EVERY == 0:
                progress(self._done(), instant_s)
        if math.isfinite(self._horizon_s):
            self._happen(self._horizon_s)

    def _next_grid(self) -> int | None:
        """Return the position of the next cycle that can do something, None if none ever can."""
        event_s = self._next_event_s()
        due_s = self._engine.next_due()
        if event_s == math.inf:
            # What is left may be offered again when filters end, to frameworks that have looked at
            # it already: nothing comes of it.
            only_filters_end = due_s > self._clock()
            if only_filters_end or self._fruitless_cycles >= STALLED_CYCLES:
                return None
        instant_s = min(event_s, due_s)
        if instant_s > self._horizon_s:
            return None
        if self._options.every_cycle:
            return self._grid + 1
        return max(self._grid + 1, self._grid_at(instant_s))

    def _grid_at(self, instant_s: float) -> int:
        """Return the first position on the grid at or after an instant."""
        interval_s = self._options.interval_s
        if instant_s > _MAX_CYCLES * interval_s:
            raise InvalidValue(
                f"interval {shown(interval_s)}: something happens at {instant_s:g} s, after more"
                " cycles than can be counted; a horizon ends the run before"
            )
        grid = math.ceil(instant_s / interval_s)
        while grid * interval_s < instant_s:
            grid += 1
        while (grid - 1) * interval_s >= instant_s:
            grid -= 1
        return grid

    def _next_event_s(self) -> float:
        jobs = self._trace.jobs
        next_s = jobs[self._next_job].submit_s if self._next_job < len(jobs) else math.inf
        return min(next_s, self._events[0][0]) if self._events else next_s

    def _happen(self, until_s: float) -> None:
        """Let happen, in order of time, what happens up to an instant; ends before arrivals."""
        jobs = self._trace.jobs
        events = self._events
        while (now_s := self._next_event_s()) <= until_s:
            self._clock.advance_to(now_s)
            if events and events[0][0] <= now_s:
                heappop(events)[2]()
            else:
                self._submit(jobs[self._next_job])
                self._next_job += 1

    def _at(self, instant_s: float, action: Callable[[], None]) -> None:
        heappush(self._events, (instant_s, next(self._event_numbers), action))

    def _submit(self, job: Job) -> None:
        tenant = self._trace.tenants[job.tenant]
        needs = self._needs_of(job.shape)
        self._last_change_s = self._clock()
        self._ledger.submitted(tenant.role, self._last_change_s, fits=needs is not None)
        if needs is None:
            return
        state = JobState(job.submit_s, job.run_s, sum(times * n.n_tasks for times, n in needs))
        scheduler = self._schedulers[job.tenant]
        if scheduler.submit(state, needs):
            self._revive(scheduler)

    def _needs_of(self, shape: Shape) -> Needs | None:
        """Return what jobs of a shape start, or None if it would not fit an empty cluster."""
        if shape not in self._needs:
            needs = needs_of(shape, self._axes, self._kinds, gang=self._options.gang)
            fits = all(self._fits_empty(need) for _, need in needs)
            self._needs[shape] = needs if fits else None
        return self._needs[shape]

    def _fits_empty(self, need: Need) -> bool:
        spaces = [
            Space(i, self._vector(machine.resources.milli), need.n_tasks)
            for i, machine in enumerate(self._machines)
        ]
        return place(need, 1, spaces, {})[0] > 0

    def _vector(self, milli: Mapping[str, int]) -> list[int]:
        return [milli.get(name, 0) for name in self._names]

    def _revive(self, scheduler: Scheduler) -> None:
        scheduler.revived()
        self._engine.revive(scheduler.tenant.name)
        self._n_revives += 1

    def _cycle(self) -> None:
        """Run one cycle and let every framework answer its offers."""
        started_ns = time.perf_counter_ns()
        offers = self._engine.allocate()
        self._cycle_ns.append(time.perf_counter_ns() - started_ns)
        if not offers:
            return
        self._n_offers += len(offers)
        self._fruitless_cycles += 1
        for name, in_hand in offers.by_framework().items():
            self._answer(self._schedulers[name], in_hand)

    def _answer(self, scheduler: Scheduler, offers: list[Offer]) -> None:
        """Start what fits into one framework's offers, and give the rest back."""
        room = scheduler.tenant.tasks_per_offer or _ANY_NUMBER
        spaces = [
            Space(self._agents[o.agent], self._vector(o.resources.quantities().milli), room)
            for o in offers
        ]
        starts = scheduler.fill(spaces)
        taken: dict[int, list[Grant]] = {}
        for start in starts:
            self._begin(scheduler, start)
            for grant in start.grants:
                taken.setdefault(grant.space.agent, []).append(grant)
        refuses = scheduler.tenant.uses_filters and self._options.refuse_seconds > 0
        refuse_seconds = self._options.refuse_seconds if refuses else None
        for offer, space in zip(offers, spaces, strict=True):
            grants = taken.get(space.agent)
            if grants is None:
                self._engine.decline(offer, refuse_seconds=refuse_seconds)
                self._n_declined += 1
            else:
                kept = self._resources_of(grants)
                self._engine.accept(offer, kept, refuse_seconds=refuse_seconds)
                self._n_accepted += 1
            if refuses:
                scheduler.refuse(space.agent, space.free)
        self._look_ahead(scheduler)

    def _look_ahead(self, scheduler: Scheduler) -> None:
        """Suppress a framework that wants nothing; revive one whose gang might fit after all."""
        if not scheduler.waits:
            scheduler.suppressed = True
            self._engine.suppress(scheduler.tenant.name)
            return
        pause = scheduler.pause_before_revive()
        if pause == 0:
            self._revive(scheduler)
        elif pause is not None:
            instant_s = (self._grid + pause) * self._options.interval_s
            self._at(instant_s, partial(self._end_pause, scheduler))

    def _end_pause(self, scheduler: Scheduler) -> None:
        scheduler.end_pause()
        if not scheduler.suppressed and scheduler.still_fits():
            self._revive(scheduler)

    def _begin(self, scheduler: Scheduler, start: Start) -> None:
        now_s = self._clock()
        job, role = start.job, scheduler.tenant.role
        n_tasks = sum(grant.count for grant in start.grants)
        job.n_waiting -= n_tasks
        job.n_running += n_tasks
        self._last_change_s = now_s
        self._fruitless_cycles = 0
        self._ledger.started(role, now_s, start.grants)
        if job.n_waiting == 0:
            self._ledger.all_started(role, now_s, job.submit_s)
        if math.isfinite(job.run_s):
            self._at(now_s + job.run_s, partial(self._end, scheduler, start))

    def _end(self, scheduler: Scheduler, start: Start) -> None:
        now_s = self._clock()
        job, tenant = start.job, scheduler.tenant
        for grant in start.grants:
            agent = self._machines[grant.space.agent].id
            self._engine.release(tenant.name, agent, tenant.role, self._resources_of([grant]))
        scheduler.ended(start)
        job.n_running -= sum(grant.count for grant in start.grants)
        self._last_change_s = now_s
        self._ledger.ended(tenant.role, now_s, start.grants)
        if job.n_waiting == job.n_running == 0:
            self._ledger.finished(tenant.role)

    def _resources_of(self, grants: Sequence[Grant]) -> Resources:
        """Return the sum of grants on one machine; that of a single one is made only once."""
        if len(grants) > 1:
            sums: dict[str, int] = {}
            for grant in grants:
                for axis, amount in grant.demand:
                    name = self._names[axis]
                    sums[name] = sums.get(name, 0) + grant.count * amount
            return Resources.from_milli(sums)
        grant = grants[0]
        key = (grant.demand, grant.count)
        resources = self._resources.get(key)
        if resources is None:
            amounts = {self._names[axis]: grant.count * amount for axis, amount in grant.demand}
            resources = self._resources[key] = Resources.from_milli(amounts)
        return resources

    # Afterwards.

    def _done(self) -> float:
        counts = self._ledger.counts
        settled = 2 * (counts.finished + counts.never_fits) + counts.running
        return settled / (2 * len(self._trace.jobs) or 1)

    def result(self, wall_s: float) -> Result:
        """Return what the run found."""
        counts = self._ledger.counts
        unfinished = counts.running or counts.waiting
        end_s = self._last_change_s
        if unfinished and math.isfinite(self._horizon_s):
            end_s = self._horizon_s
        return Result(
            trace=self._describe_trace(),
            options={**asdict(self._options), "weights": dict(self._options.weights)},
            cluster=self._describe_cluster(),
            defects=dict(self._trace.defects),
            arrivals_s=self._trace.last_submit_s,
            end_s=end_s,
            counts=counts,
            waits=self._ledger.waits,
            use=self._ledger.use(end_s),
            recorded=self._recorded(),
            roles=self._ledger.roles(
                end_s, frozenset(tenant.role for tenant in self._trace.tenants.values())
            ),
            cycles=CycleCounts(
                cycles_run=len(self._cycle_ns),
                cycles_skipped=self._n_skipped,
                offers=self._n_offers,
                offers_accepted=self._n_accepted,
                offers_declined=self._n_declined,
                revives=self._n_revives,
            ),
            timing=self._timing(wall_s),
        )

    def _describe_trace(self) -> dict[str, object]:
        trace = self._trace
        return {
            "name": trace.name,
            "format": trace.format,
            "jobs": len(trace.jobs),
            "tenants": len(trace.tenants),
            "notes": list(trace.notes),
        }

    def _describe_cluster(self) -> dict[str, object]:
        return {
            "machines": len(self._machines),
            "groups": [str(group) for group in self._trace.cluster],
            "source": self._trace.cluster_source,
            "total": {n: t / 1000 for n, t in zip(self._names, self._totals, strict=True) if t},
        }

    def _recorded(self) -> RecordedResult | None:
        found = recorded(self._trace)
        if found is None:
            return None
        waits = Waits(percentile(found.waits_s, 50), percentile(found.waits_s, 95))
        return RecordedResult(len(found.waits_s), found.use, waits)

    def _timing(self, wall_s: float) -> Timing:
        ascending = sorted(self._cycle_ns)
        p50, p99 = percentile(ascending, 50), percentile(ascending, 99)
        return Timing(
            wall_s=wall_s,
            cycles_s=sum(ascending) / 1e9,
            cycle_p50_us=None if p50 is None else p50 / 1e3,
            cycle_p99_us=None if p99 is None else p99 / 1e3,
        )
