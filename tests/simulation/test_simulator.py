"""The event loop: decisions do not depend on skipped cycles, nothing starves, the books balance."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from allocator.engine import Allocator, Offer, Offers
from allocator.errors import AllocatorError, InvalidRole, InvalidValue
from allocator.resources import Quantities, Resources
from allocator.sim import (
    Job,
    MachineGroup,
    Options,
    Result,
    Shape,
    Spread,
    Tasks,
    Tenant,
    Trace,
    mesos_workload,
    simulate,
    workload,
)


def shape(n_tasks: int, demand: str, **wishes: Any) -> Shape:
    return Shape((Tasks(n_tasks, Quantities(demand)),), **wishes)


def trace_of(
    jobs: Sequence[Job], *machines: str, tenants: Sequence[Tenant] = (), end_s: float | None = None
) -> Trace:
    ordered = tuple(sorted(jobs, key=lambda job: job.submit_s))
    named = {job.tenant: Tenant(job.tenant, job.tenant) for job in ordered}
    named.update((tenant.name, tenant) for tenant in tenants)
    groups = []
    for text in machines:
        count, _, rest = text.partition("x")
        resources, _, kind = rest.partition("@")
        groups.append(MachineGroup(int(count), Quantities(resources), kind))
    return Trace("made", "made", ordered, named, tuple(groups), "made", end_s=end_s)


def random_trace(seed: int) -> Trace:
    """A contended workload: gangs, mixed gangs, kinds, spreads, roles in a tree."""
    rng = random.Random(seed)
    tenants = ["a/x", "a/y", "b", "b/z", "c"]
    jobs = []
    for i in range(60):
        tasks = [
            Tasks(
                rng.randint(1, 4), Quantities({"cpus": rng.randint(1, 4), "mem": rng.randint(1, 8)})
            )
            for _ in range(rng.choice([1, 1, 1, 2]))
        ]
        kinds = frozenset({rng.choice(["p", "q"])}) if rng.random() < 0.2 else frozenset[str]()
        spread = Spread("s", 2) if rng.random() < 0.2 else None
        submit_s = round(rng.uniform(0, 300), rng.choice([0, 1, 3]))
        run_s = rng.choice([0.25, 7.0, 60.0, 133.3])
        tenant = rng.choice(tenants)
        jobs.append(Job(str(i), tenant, submit_s, run_s, Shape(tuple(tasks), kinds, spread)))
    return trace_of(jobs, "3xcpus:8;mem:16@p", "2xcpus:12;mem:12@q", "1xcpus:4;mem:4")


class Audited(Allocator):
    """Keeps its own books of every offer, start and end, and checks them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.clock = options["clock"]
        self.log: list[tuple[Any, ...]] = []
        self.totals: dict[str, Resources] = {}
        self.used: dict[str, Resources] = {}
        self.open: dict[str, Offer] = {}
        self.wanting: set[str] = set()

    def add_agents(self, ids: Any, resources: Any, **options: Any) -> None:
        super().add_agents(ids, resources, **options)
        for id, each in zip(ids, resources, strict=True):
            self.totals[id] = Resources(each)
            self.used[id] = Resources()

    def suppress(self, id: str, roles: Any = None) -> None:
        super().suppress(id, roles)
        self.wanting.discard(id)
        self.log.append(("suppress", self.clock(), id))

    def revive(self, id: str, roles: Any = None) -> None:
        super().revive(id, roles)
        self.wanting.add(id)
        self.log.append(("revive", self.clock(), id))

    def allocate(self, agents: Any = None) -> Offers:
        assert not self.open, "an offer of the last cycle was not answered"
        offers = super().allocate(agents)
        self.open = {offer.id: offer for offer in offers}
        assert all(offer.framework in self.wanting for offer in offers)
        self.log += [("offer", self.clock(), *offer[1:4], str(offer.resources)) for offer in offers]
        return offers

    def accept(self, offer: Any, resources: Any = None, *, refuse_seconds: Any = None) -> None:
        super().accept(offer, resources, refuse_seconds=refuse_seconds)
        offers = [offer] if isinstance(offer, Offer) else list(offer)
        kept = resources if isinstance(resources, list) else [resources] * len(offers)
        for each, part in zip(offers, kept, strict=True):
            self._accepted(each, Resources(part))

    def _accepted(self, offer: Offer, kept: Resources) -> None:
        del self.open[offer.id]
        assert offer.resources >= kept
        if kept:
            self.used[offer.agent] += kept
            assert self.totals[offer.agent] >= self.used[offer.agent]
            self.log.append(("accept", self.clock(), *offer[1:4], str(kept)))

    def release(self, framework: Any, *where: Any, resources: Any = None) -> None:
        if isinstance(framework, str):
            framework = [Offer("", framework, where[1], where[0], Resources(where[2]))]
        super().release(framework, resources=resources)
        for _, name, _, agent, given in framework:
            self.used[agent] -= given
            self.log.append(("release", self.clock(), name, agent, str(given)))


def audited(trace: Trace, **options: Any) -> tuple[Result, Audited]:
    made: list[Audited] = []

    def make(**engine_options: Any) -> Audited:
        made.append(Audited(**engine_options))
        return made[0]

    return simulate(trace, Options(**options), engine=make), made[0]


def untimed(result: Result) -> dict[str, Any]:
    found = result.to_json()
    del found["timing"]
    return found


@pytest.mark.parametrize("gang", [True, False])
@pytest.mark.parametrize("refuse_seconds", [0.0, 5.0, 50.0, 1e6])
@pytest.mark.parametrize("seed", range(4))
def test_skipping_cycles_changes_nothing(seed: int, refuse_seconds: float, gang: bool) -> None:
    trace = random_trace(seed)
    options = {"seed": seed, "refuse_seconds": refuse_seconds, "gang": gang, "interval_s": 0.7}
    few, few_engine = audited(trace, **options)
    all_, all_engine = audited(trace, **options, every_cycle=True)
    assert few_engine.log == all_engine.log
    assert few.roles == all_.roles
    assert (few.counts, few.use, few.end_s) == (all_.counts, all_.use, all_.end_s)
    assert all_.cycles.cycles_skipped == 0
    if refuse_seconds == 1e6:
        assert few.cycles.cycles_skipped > few.cycles.cycles_run


@pytest.mark.parametrize("gang", [True, False])
@pytest.mark.parametrize("sorter", ["drf", "naive", "sorted", "random"])
@pytest.mark.parametrize("seed", range(3))
def test_every_job_is_accounted_for(seed: int, sorter: str, gang: bool) -> None:
    trace = random_trace(seed)
    result, engine = audited(trace, seed=seed, sorter=sorter, gang=gang)
    counts = result.counts
    assert counts.submitted == len(trace.jobs)
    assert counts.finished + counts.never_fits == counts.submitted
    assert counts.running == counts.waiting == 0
    assert not any(engine.used.values())
    assert result.use["cpus"].peak > 0.7 * result.use["cpus"].total
    top = [role for role in result.roles if "/" not in role.role]
    assert sum(role.counts.tasks_started for role in top) == counts.tasks_started
    assert sum(role.counts.submitted for role in top) == counts.submitted


@pytest.mark.parametrize("sorter", ["naive", "sorted"])
def test_plain_sorters_decide_as_the_compiled_one(sorter: str) -> None:
    trace = random_trace(5)
    assert audited(trace, sorter=sorter)[1].log == audited(trace)[1].log


@pytest.mark.parametrize("seed", [0, "a word"])
def test_the_same_seed_gives_the_same_result(seed: int | str) -> None:
    trace = random_trace(1)
    assert untimed(simulate(trace, Options(seed=seed))) == untimed(
        simulate(trace, Options(seed=seed))
    )
    assert untimed(simulate(trace, Options(seed="another"))) != untimed(simulate(trace, Options()))


def test_the_result_does_not_depend_on_pythons_hash_seed() -> None:
    program = (
        "import json\n"
        "from tests.simulation.test_simulator import random_trace, simulate, untimed\n"
        "print(json.dumps(untimed(simulate(random_trace(2)))))\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in (1, 2, 3)
    }
    assert len(found) == 1
    assert json.loads(found.pop())["counts"]["submitted"] == 60


# Single decisions.


def test_a_job_starts_at_the_next_cycle_and_runs_for_its_time() -> None:
    jobs = [
        Job("a", "t", 0.25, 2.5, shape(1, "cpus:1")),
        Job("b", "t", 3.0, 1.0, shape(1, "cpus:1")),
    ]
    result, engine = audited(trace_of(jobs, "1xcpus:1"))
    accepted = [(entry[0], entry[1]) for entry in engine.log if entry[0] in ("accept", "release")]
    # "a" starts at 1 and ends at 3.5, so that "b", which comes at 3, starts at 4.
    assert accepted == [("accept", 1.0), ("release", 3.5), ("accept", 4.0), ("release", 5.0)]
    assert result.end_s == 5.0
    assert (result.waits.p50_s, result.waits.p95_s) == (0.75, 1.0)


def test_gangs_wait_for_room_for_all_their_tasks() -> None:
    jobs = [
        Job("one", "a", 0, 10, shape(1, "cpus:1")),
        Job("gang", "b", 1, 10, shape(2, "cpus:2")),
    ]
    together = simulate(trace_of(jobs, "2xcpus:2"))
    # At 10 the gang is offered one machine, remembers the other, and asks to see both.
    assert [role.waits.p50_s for role in together.roles] == [0, 10]
    assert together.use["cpus"].peak == 4
    assert together.end_s == 21
    apart = simulate(trace_of(jobs, "2xcpus:2"), Options(gang=False))
    # One task starts at once, but the job has started only when the other has, at 10.
    assert [role.waits.p50_s for role in apart.roles] == [0, 9]
    assert apart.end_s == 20


@pytest.mark.parametrize("seed", range(5))
def test_gangs_that_contend_for_the_whole_cluster_all_start(seed: int) -> None:
    jobs = [
        Job(f"{tenant}{i}", tenant, i, 5, shape(8 - i % 3, "cpus:1"))
        for tenant in ("a", "b", "c", "d")
        for i in range(10)
    ]
    result, _ = audited(trace_of(jobs, "8xcpus:1"), seed=seed)
    assert result.counts.finished == 40
    # One after the other they take 40 × 5 s; looking for each other's offers may take no more.
    assert result.end_s < 3 * 40 * 5


def test_what_never_fits_is_told_and_does_not_wait() -> None:
    jobs = [
        Job("wide", "t", 0, 1, shape(5, "cpus:2")),
        Job("high", "t", 0, 1, shape(1, "cpus:4")),
        Job("kind", "t", 0, 1, shape(1, "cpus:1", kinds=frozenset({"new"}))),
        Job("gpu", "t", 0, 1, shape(1, "gpus:1")),
        Job("good", "t", 0, 1, shape(4, "cpus:2")),
    ]
    result = simulate(trace_of(jobs, "2xcpus:2@old", "1xcpus:5@old"))
    assert result.counts.never_fits == 3
    assert result.counts.finished == 2
    apart = simulate(trace_of(jobs, "2xcpus:2@old", "1xcpus:5@old"), Options(gang=False))
    assert apart.counts.never_fits == 2
    assert apart.counts.finished == 3


def test_machines_with_gpus_are_offered() -> None:
    result = simulate(trace_of([Job("a", "t", 0, 1, shape(1, "cpus:1"))], "1xcpus:1;gpus:4"))
    assert result.counts.finished == 1


def test_a_spread_bounds_tasks_on_a_machine() -> None:
    jobs = [Job(str(i), "t", 0, 10, shape(1, "cpus:1", spread=Spread("web", 2))) for i in range(6)]
    result = simulate(trace_of(jobs, "2xcpus:9"))
    assert result.use["cpus"].peak == 4
    assert result.end_s == 20


def test_weights_divide_a_contended_cluster() -> None:
    jobs = [
        Job(f"{tenant}{i}", tenant, 0, 10, shape(1, "cpus:1"))
        for tenant in ("eng/a", "eng/b", "ops")
        for i in range(400)
    ]
    # Machines of one task each, so that shares can be as fine as that.
    result = simulate(trace_of(jobs, "40xcpus:1"), Options(weights={"eng": 3.0, "eng/a": 2.0}))
    share = {role.role: role.share_in_need for role in result.roles}
    weight = {role.role: role.weight for role in result.roles}
    assert weight == {"eng": 3, "eng/a": 2, "eng/b": 1, "ops": 1}
    assert share["eng"] == pytest.approx(0.75, abs=0.03)
    assert share["ops"] == pytest.approx(0.25, abs=0.15)  # alone in need at the end
    assert share["eng/a"] == pytest.approx(0.5, abs=0.03)


def test_the_horizon_ends_the_run() -> None:
    jobs = [Job(str(i), "t", 10 * i, 25, shape(1, "cpus:1")) for i in range(10)]
    result = simulate(trace_of(jobs, "1xcpus:1"), Options(horizon_s=40.5))
    # Submitted at 0, 10 … 40; the first ends at 25, the second is running, three wait.
    counts = result.counts
    assert (counts.submitted, counts.finished, counts.running, counts.waiting) == (5, 1, 1, 3)
    assert result.end_s == 40.5
    assert result.use["cpus"].mean_run == pytest.approx(1.0)


def test_jobs_that_outlive_the_recording_run_to_its_end() -> None:
    jobs = [Job("a", "t", 0, math.inf, shape(1, "cpus:1")), Job("b", "t", 5, 5, shape(1, "cpus:1"))]
    result = simulate(trace_of(jobs, "1xcpus:2", end_s=20))
    assert (result.counts.running, result.counts.finished) == (1, 1)
    assert result.end_s == 20
    assert result.use["cpus"].mean_run == pytest.approx((20 + 5) / 20 / 2)


@pytest.mark.parametrize("refuse_seconds", [0.0, 3.0, 1e6])
def test_a_run_ends_when_nothing_can_start_any_more(refuse_seconds: float) -> None:
    jobs = [Job(str(i), "t", 0, math.inf, shape(1, "cpus:2")) for i in range(5)]
    result = simulate(trace_of(jobs, "2xcpus:3"), Options(refuse_seconds=refuse_seconds))
    assert (result.counts.running, result.counts.waiting) == (2, 3)
    assert result.end_s == 0


def test_the_empty_trace() -> None:
    result = simulate(trace_of([], "2xcpus:3"))
    assert result.counts == replace(result.counts, submitted=0, finished=0)
    assert result.waits.p50_s is None
    assert result.end_s == 0


def test_progress_is_told() -> None:
    told: list[tuple[float, float]] = []
    simulate(random_trace(0), Options(every_cycle=True), progress=lambda *now: told.append(now))
    assert len(told) > 1
    assert told == sorted(told)
    assert 0 < told[-1][0] <= 1


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"interval_s": 0}, InvalidValue),
        ({"interval_s": math.nan}, InvalidValue),
        ({"refuse_seconds": -1}, InvalidValue),
        ({"horizon_s": 0}, InvalidValue),
        ({"weights": {"nobody": 2.0}}, InvalidValue),
        ({"weights": {"a//b": 2.0}}, InvalidRole),
        ({"weights": {"a": -2.0}}, InvalidValue),
        ({"sorter": "fifo"}, InvalidValue),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[AllocatorError]) -> None:
    with pytest.raises(error):
        simulate(random_trace(0), Options(**options))


# The built-in workload.


def test_the_mesos_workload_is_the_published_one() -> None:
    trace = mesos_workload()
    assert len(trace.jobs) == 19_500
    assert [str(group) for group in trace.cluster] == ["80xcpus:64;mem:488000@agent"]
    frameworks = Counter(job.tenant.partition("-")[0] for job in trace.jobs)
    assert frameworks == {"large": 16_000, "small": 2_500, "medium": 1_000}
    assert {tenant.role for tenant in trace.tenants.values() if tenant.tasks_per_offer == 1} == {
        "small"
    }


def test_all_of_the_mesos_workload_runs() -> None:
    result = simulate(mesos_workload())
    assert result.counts.running == result.counts.tasks_started == 19_500
    assert result.use["cpus"].peak == pytest.approx(4 * 4000 * 0.07 + 500 * 5 * 0.1 + 50 * 20)


def test_a_cluster_too_small_for_the_mesos_workload_fills_up() -> None:
    result = simulate(mesos_workload(scale=0.1))
    assert result.counts.waiting > 0
    assert result.use["mem"].peak > 0.99 * result.use["mem"].total or (
        result.use["cpus"].peak > 0.99 * result.use["cpus"].total
    )


def test_unknown_workloads() -> None:
    with pytest.raises(InvalidValue, match="workload 'nomad': not one of mesos"):
        workload("nomad")
