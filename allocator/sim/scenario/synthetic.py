"""Synthetic work: tenants whose jobs are drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from allocator.resources import Quantities
from allocator.sim.scenario.distributions import (
    Durations,
    Floats,
    Random,
    TaskCounts,
    microseconds,
)
from allocator.sim.trace import LONGEST_S, Job, Shape, Tasks, Tenant

#: Gaps are drawn so many at a time where the horizon says when to stop.
_CHUNK = 1024


@dataclass(frozen=True, slots=True)
class Template:
    """What one or several equal tenants ask for.

    Parameters
    ----------
    name : str
    role : str or None
        None for a role of each tenant's own name.
    copies : int
        More than one make tenants `NAME000`, `NAME001` …
    n_jobs : int or None
        None for all that come before the horizon.
    start_s : float
        When arrivals begin.
    arrivals : str
        `poisson`, `uniform` or `at-once`.
    rate : float
        Jobs a second; means nothing at once.
    tasks, demands, durations
        What is drawn for each job.
    """

    name: str
    role: str | None
    copies: int
    n_jobs: int | None
    start_s: float
    arrivals: str
    rate: float
    tasks: TaskCounts
    demands: tuple[Quantities, ...]
    durations: Durations

    def tenants(self) -> Iterator[Tenant]:
        """Yield each tenant."""
        names = [self.name]
        if self.copies > 1:
            names = [f"{self.name}{index:03d}" for index in range(self.copies)]
        for name in names:
            yield Tenant(name, name if self.role is None else self.role)

    def expected_jobs(self, end_s: float) -> float:
        """Return how many jobs each tenant has, on average where the horizon decides. O(1)."""
        if self.n_jobs is not None:
            return self.n_jobs
        return self.rate * max(0.0, end_s - self.start_s)

    def submissions(self, tenant: str, seed: int | str, end_s: float) -> Floats:
        """Return when one tenant's jobs come, in order and in seconds, before a load. O(jobs)."""
        if self.arrivals == "at-once":
            return np.full(self.n_jobs or 0, self.start_s)
        if self.arrivals == "uniform":
            n_jobs = self.n_jobs
            if n_jobs is None:
                n_jobs = math.ceil(max(0.0, end_s - self.start_s) * self.rate) + 1
            even: Floats = self.start_s + np.arange(n_jobs, dtype=np.float64) / self.rate
            return even if self.n_jobs is not None else even[even < end_s]
        random = Random(seed, tenant, "arrivals")
        if self.n_jobs is not None:
            return self._after(self.start_s, self.n_jobs, random)
        return self._until(end_s, random)

    def _until(self, end_s: float, random: Random) -> Floats:
        """Return the instants of a Poisson process before `end_s`."""
        found, last_s = [np.empty(0)], self.start_s
        while last_s < end_s:
            instants = self._after(last_s, _CHUNK, random)
            found.append(instants[instants < end_s])
            last_s = float(instants[-1])
        return np.concatenate(found)

    def _after(self, last_s: float, n: int, random: Random) -> Floats:
        """Return the next instants of a Poisson process; a running sum, so that chunks show not."""
        gaps = microseconds(np.minimum(random.exponential(n) / self.rate, LONGEST_S))
        instants: Floats = np.cumsum(np.concatenate(([last_s], gaps)))[1:]
        return instants


def jobs_of(
    templates: Sequence[Template], seed: int | str, end_s: float, load: float
) -> tuple[Job, ...]:
    """Draw the jobs of all templates, by submission; of one instant as the tenants stand.

    Parameters
    ----------
    end_s : float
        Where tenants without a number of jobs end, in seconds; infinite where there are none.
    load : float
        Submission times are divided by it.

    Notes
    -----
    O(n log n) in the jobs, whatever their tasks.
    """
    shapes: dict[tuple[int, Quantities], Shape] = {}
    jobs: list[Job] = []
    submit_s: list[Floats] = []
    for template in templates:
        for tenant in template.tenants():
            instants = template.submissions(tenant.name, seed, end_s * load) / load
            submit_s.append(np.minimum(instants, LONGEST_S))
            jobs += _drawn(template, tenant.name, seed, submit_s[-1], shapes)
    order = np.argsort(np.concatenate(submit_s), kind="stable") if submit_s else ()
    return tuple(jobs[index] for index in order)


def _drawn(
    template: Template,
    tenant: str,
    seed: int | str,
    submit_s: Floats,
    shapes: dict[tuple[int, Quantities], Shape],
) -> Iterator[Job]:
    """Yield one tenant's jobs; equal shapes are one object."""
    n = len(submit_s)
    counts = template.tasks.draw(n, Random(seed, tenant, "tasks"))
    demands = Random(seed, tenant, "demand").choices(n, len(template.demands))
    runs_s = template.durations.draw(n, Random(seed, tenant, "duration"))
    columns = (submit_s.tolist(), runs_s.tolist(), counts.tolist(), demands.tolist())
    for index, (submitted, run_s, count, choice) in enumerate(zip(*columns, strict=True)):
        key = (count, template.demands[choice])
        shape = shapes.get(key)
        if shape is None:
            shape = shapes[key] = Shape((Tasks(*key),))
        yield Job(f"{tenant}-{index}", tenant, submitted, run_s, shape)


def tenants_of(templates: Sequence[Template]) -> Mapping[str, Tenant]:
    """Return tenant name -> tenant, of names that are given twice the first. O(tenants)."""
    found: dict[str, Tenant] = {}
    for template in templates:
        for tenant in template.tenants():
            found.setdefault(tenant.name, tenant)
    return found
