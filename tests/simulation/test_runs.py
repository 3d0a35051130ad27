"""Runs of settings, held to first principles."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from allocator.contract import Offer, Offers
from allocator.engine import Allocator
from allocator.errors import InvalidValue
from allocator.resources import Quantities, Resources
from allocator.sim import Result, simulate
from allocator.sim.record import Curves, Record
from allocator.sim.setting import Behaviour, ClusterEvent, Placed, Policy, Setting
from tests.simulation.settings import job, random_setting, role, setting
from tests.simulation.test_simulator import untimed

SEEDS = range(40)


def record_of(result: Result) -> Record:
    assert result.record is not None
    return result.record


def areas(curves: Curves, of: Any) -> Any:
    """Level × seconds, over the whole run."""
    return (of * np.diff(curves.edges_s)).sum(axis=-1)


class Watched(Allocator):
    """Keeps plain books of what is up and who took what; checks them after each call."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.clock = options["clock"]
        self.limits: dict[str, dict[str, float]] = {}
        self.up: dict[str, Resources] = {}
        self.closed: set[str] = set()
        #: agent -> (framework, role) -> what it took
        self.taken: dict[str, Counter[tuple[str, str, str]]] = {}
        self.opened: dict[str, Offer] = {}
        self.log: list[tuple[Any, ...]] = []

    def set_quotas(self, quotas: Any) -> None:
        super().set_quotas(quotas)
        self.limits = {
            r: {name: float(amount) for name, amount in quota["limit"].items()}
            for r, quota in quotas.items()
        }

    def add_agents(self, ids: Any, resources: Any, **options: Any) -> None:
        super().add_agents(ids, resources, **options)
        for id, each in zip(ids, resources, strict=True):
            self.up[id], self.taken[id] = each, Counter()

    def add_agent(self, id: str, resources: Any, **options: Any) -> None:
        super().add_agent(id, resources, **options)
        self.log.append(("add", self.clock(), id))
        self.closed.discard(id)
        self.up[id], self.taken[id] = resources, Counter()
        for framework, by_role in (options.get("used") or {}).items():
            for r, used in by_role.items():
                self._take(framework, r, id, used, 1)

    def remove_agent(self, id: str) -> None:
        super().remove_agent(id)
        self.log.append(("remove", self.clock(), id))
        del self.up[id], self.taken[id]
        self.opened = {key: offer for key, offer in self.opened.items() if offer.agent != id}

    def deactivate_agent(self, id: str) -> None:
        super().deactivate_agent(id)
        self.closed.add(id)

    def activate_agent(self, id: str) -> None:
        super().activate_agent(id)
        self.closed.discard(id)

    def revive(self, id: str, roles: Any = None) -> None:
        super().revive(id, roles)
        self.log.append(("revive", self.clock(), id))

    def allocate(self, agents: Any = None) -> Offers:
        offers = super().allocate(agents)
        for id in offers.rescinded:
            del self.opened[id]
        self.opened.update((offer.id, offer) for offer in offers)
        self.log += [("offer", self.clock(), *offer[1:4], str(offer.resources)) for offer in offers]
        return offers

    def accept(self, offer: Any, resources: Any = None, *, refuse_seconds: Any = None) -> None:
        super().accept(offer, resources, refuse_seconds=refuse_seconds)
        offers = [offer] if isinstance(offer, Offer) else list(offer)
        kept = resources if isinstance(resources, list) else [resources] * len(offers)
        for each, part in zip(offers, kept, strict=True):
            del self.opened[each.id]
            if part:
                assert each.agent not in self.closed
                self.log.append(("accept", self.clock(), *each[1:4], str(part)))
                self._take(each.framework, each.role, each.agent, part, 1)

    def release(self, framework: Any, *where: Any, resources: Any = None) -> None:
        if isinstance(framework, str):
            framework = [Offer("", framework, where[1], where[0], Resources(where[2]))]
        super().release(framework, resources=resources)
        for _, name, r, agent, given in framework:
            self.log.append(("release", self.clock(), name, agent, str(given)))
            self._take(name, r, agent, given, -1)

    def _take(self, framework: str, r: str, agent: str, resources: Resources, sign: int) -> None:
        for name, amount in resources.quantities().milli.items():
            self.taken[agent][framework, r, name] += sign * amount
        self._check(agent)

    def _check(self, agent: str) -> None:
        there: Counter[str] = Counter()
        for (_, _, name), amount in self.taken[agent].items():
            assert amount >= 0
            there[name] += amount
        assert Quantities.from_milli(there) <= self.up[agent].quantities()
        for r, limit in self.limits.items():
            for name, most in limit.items():
                assert self.role(r).consumed[name] <= most


def watched(given: Setting, **options: Any) -> tuple[Result, Watched]:
    made: list[Watched] = []

    def make(**engine_options: Any) -> Watched:
        made.append(Watched(**engine_options))
        return made[0]

    return simulate(given, engine=make, **options), made[0]


def tasks_on(log: Any, agent: str, of: str) -> list[float]:
    return [entry[1] for entry in log if entry[0] == of and agent in entry]


# At random.


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_books_balance(seed: int) -> None:
    result, engine = watched(random_setting(seed))
    record, jobs = record_of(result), record_of(result).jobs
    counts = result.counts
    assert counts.submitted == len(jobs.state)
    by_state = np.bincount(jobs.state, minlength=4).tolist()
    assert by_state == [counts.finished, counts.running, counts.waiting, counts.never_fits]
    assert record.tasks_lost == jobs.tasks_lost.sum()
    curves = record.series
    assert areas(curves, curves.running)[-1] == pytest.approx(jobs.task_seconds.sum())
    assert curves.offers[-1].sum() == record.measured.offers[-1].sum() == result.cycles.offers
    top = [row for row, r in enumerate(record.roles) if "/" not in r]
    for of in (curves.running, curves.queue, curves.offers, curves.use, curves.need):
        assert of[top].sum(axis=0) == pytest.approx(of[-1])
    assert (curves.share >= 0).all()
    assert (curves.share <= 1 + 1e-9).all()
    held = sum(sum(taken.values()) for taken in engine.taken.values())
    if not counts.running and not counts.waiting:
        assert held == 0
    answered = result.cycles.offers_accepted + result.cycles.offers_declined
    assert answered <= result.cycles.offers


@pytest.mark.parametrize("seed", SEEDS)
def test_skipping_cycles_changes_nothing(seed: int) -> None:
    given = random_setting(seed)
    few, few_engine = watched(given)
    every, every_engine = watched(replace(given, every_cycle=True, horizon_s=given.horizon_s))
    assert few_engine.log == every_engine.log
    assert few.roles == every.roles
    assert (few.counts, few.use, few.end_s) == (every.counts, every.use, every.end_s)


@pytest.mark.parametrize("seed", [0, 7])
def test_the_result_does_not_depend_on_pythons_hash_seed(seed: int) -> None:
    program = (
        "import json\n"
        "from tests.simulation.test_runs import digest, random_setting, simulate\n"
        f"print(digest(simulate(random_setting({seed}))))\n"
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
    assert json.loads(found.pop().splitlines()[0])["counts"]["submitted"] >= 60


def digest(result: Result) -> str:
    """Everything that is not measured, as text."""
    record = record_of(result)
    arrays = [getattr(record.series, name).tolist() for name in Curves.__slots__]
    arrays += [record.heat.share.tolist(), record.jobs.task_seconds.tolist()]
    return json.dumps(untimed(result)) + "\n" + repr(arrays)


def test_points_change_nothing_but_the_series() -> None:
    given = random_setting(3)
    results = {points: simulate(given, points=points) for points in (1, 7, 500, 1000)}
    for points, result in results.items():
        record = record_of(result)
        first, here = untimed(results[500]), untimed(result)
        assert {**here, "series": first["series"]} == first
        assert 250 <= len(record.measured.edges_s) - 1 <= 500
        assert math.ceil(points / 2) <= len(record.series.edges_s) - 1 <= points
        assert record.series.edges_s[[0, -1]].tolist() == [0.0, result.end_s]
        for name in ("share", "use", "need", "running", "queue", "in_need", "capacity"):
            total = areas(record.series, getattr(record.series, name))
            assert total == pytest.approx(areas(record.measured, getattr(record.measured, name)))


@pytest.mark.parametrize("points", [0, -1, True, 2.5])
def test_bad_points(points: Any) -> None:
    with pytest.raises(InvalidValue, match="points"):
        simulate(random_setting(0), points=points)


# Fairness and quotas.


def test_two_greedy_tenants_settle_at_their_weights() -> None:
    jobs = [job(tenant, 0, 10) for tenant in "ab" for _ in range(600)]
    result = simulate(setting(jobs, "30xcpus:1", roles={"b": role(2.0)}, horizon_s=200.0))
    curves = record_of(result).series
    assert curves.share[:, 50:] == pytest.approx(
        np.array([[1 / 3], [2 / 3], [1.0]]).repeat(len(curves.edges_s) - 51, axis=1)
    )


def test_no_limit_is_ever_exceeded_and_what_is_left_goes_to_others() -> None:
    jobs = [job(tenant, 0, 10) for tenant in ("a", "b/x", "b/y") for _ in range(400)]
    roles = {"b": role(9.0, limit="cpus:12"), "b/x": role(limit="cpus:5")}
    result, _ = watched(setting(jobs, "30xcpus:1", roles=roles, horizon_s=150.0))
    record = record_of(result)
    assert record.quota["b"].limit == {"cpus": (12.0, 12.0)}
    assert record.quota["b/x"].limit == {"cpus": (5.0, 5.0)}
    assert record.series.running[:, -1].tolist() == [18.0, 12.0, 5.0, 7.0, 30.0]


def test_a_guarantee_is_met_under_pressure() -> None:
    pressure = [job("a", 0, 1000) for _ in range(100)]
    jobs = [*pressure, *(job("b", 50, 10) for _ in range(100))]
    roles = {"b": role(guarantee="cpus:10")}
    result = simulate(setting(jobs, "30xcpus:1", roles=roles, horizon_s=200.0))
    record = record_of(result)
    assert record.quota["b"].guarantee == {"cpus": (10.0, 1.0)}
    assert record.series.running[1].max() == pytest.approx(10)
    without = simulate(setting(jobs, "30xcpus:1", horizon_s=200.0))
    assert record_of(without).series.running[1].max() == 0


def test_a_guarantee_is_met_for_the_part_of_the_time_in_which_it_is() -> None:
    # Nothing is wanted to 40, then 4 of 4 processors, which others hold to 100.
    jobs = [*(job("a", 0, 100) for _ in range(4)), *(job("b", 40, 100) for _ in range(4))]
    events = (ClusterEvent(300, "fail", n_machines=1),)
    given = setting(
        jobs, "1xcpus:4", roles={"b": role(guarantee="cpus:4")}, events=events, horizon_s=200.0
    )
    held_back = record_of(simulate(given)).quota["b"]
    assert held_back.guarantee == {"cpus": (4.0, 1.0)}
    placed = (Placed("a", None, Quantities("cpus:1"), 4, 100.0),)
    given = setting(
        jobs[4:],
        "1xcpus:4",
        tenants=("a",),
        roles={"b": role(guarantee="cpus:4")},
        placed=placed,
        horizon_s=200.0,
    )
    result = simulate(given)
    # Without from 40 to 100, of 140 seconds.
    assert result.end_s == 200
    assert record_of(result).quota["b"].guarantee == {"cpus": (4.0, pytest.approx(1 - 60 / 200))}


def test_reservations_are_taken_first_and_count_as_consumed() -> None:
    jobs = [job(tenant, 0, 100) for tenant in "ab" for _ in range(20)]
    roles = {"a": role(reserve=((2, "cpus:3"),), limit="cpus:8"), "b": role()}
    result, engine = watched(setting(jobs, "4xcpus:4", roles=roles, horizon_s=50.0))
    record = record_of(result)
    assert record.quota["a"].limit == {"cpus": (8.0, 8.0)}
    assert record.series.running[:, -1].tolist() == [8.0, 8.0, 16.0]
    reserved = [entry for entry in engine.log if entry[0] == "accept" and "(a)" in entry[-1]]
    assert [entry[-1].partition(";")[0] for entry in reserved] == ["cpus(a):3"] * 2


def test_excluded_names_count_for_no_share() -> None:
    jobs = [job("a", 0, 10, demand="cpus:1;mem:8")]
    given = setting(jobs, "1xcpus:4;mem:8", policy=Policy(fairness_exclude=("mem",)))
    assert simulate(given).roles[0].share_peak == 0.25
    assert record_of(simulate(given)).excluded == ("mem",)


# Machines.


def test_failed_machines_hold_nothing_and_their_tasks_wait_again() -> None:
    jobs = [job("a", 0, 100, 4), job("a", 1, 100)]
    events = (ClusterEvent(50, "fail", n_machines=2, for_s=20),)
    result, engine = watched(setting(jobs, "4xcpus:1", events=events))
    record = record_of(result)
    assert (record.tasks_lost, record.jobs.tasks_lost.tolist()) == (2, [2, 0])
    # Two tasks of the gang go on to 100, two begin anew at 70; the job that came later is last.
    assert record.jobs.start_s.tolist() == [0.0, 100.0]
    assert record.jobs.end_s.tolist() == [170.0, 200.0]
    assert record.jobs.task_seconds.tolist() == [2 * 100 + 2 * 50 + 2 * 100, 100]
    assert (result.waits.p50_s, result.counts.tasks_started) == (0, 7)
    down = {entry[2] for entry in engine.log if entry[0] == "remove"}
    assert [entry[1] for entry in engine.log if entry[0] == "add"] == [70, 70]
    rows = np.array([machine in down for machine in record.machines])
    middle = record.heat.edges_s[:-1] + np.diff(record.heat.edges_s) / 2
    off = (middle > 51) & (middle < 69)
    assert np.isnan(record.heat.share[rows][:, off]).all()
    assert record.heat.share[~rows][:, middle < 99] == pytest.approx(1)
    at = int(np.searchsorted(record.series.edges_s, 60)) - 1
    assert record.series.capacity[0, at] == 2
    assert record.series.share[0, at] == 1.0
    assert record.series.queue[0, at] == 2
    assert record.total == {"cpus": 4.0}


def test_single_tasks_that_were_lost_come_before_all_that_wait() -> None:
    jobs = [job("a", i, 100) for i in range(6)]
    events = (ClusterEvent(50, "fail", ids=("node-0000",), for_s=10),)
    record = record_of(simulate(setting(jobs, "2xcpus:2", events=events)))
    assert record.tasks_lost == 2
    again = np.flatnonzero(record.jobs.tasks_lost)
    assert record.jobs.end_s[again].tolist() == [160.0, 160.0]
    assert record.jobs.task_seconds.sum() == 4 * 100 + sum(50 + 100 - i for i in again)


def test_nothing_starts_on_a_machine_from_the_notice_on() -> None:
    jobs = [job("a", 0, 45), *(job("a", 10, 200) for _ in range(2))]
    events = (ClusterEvent(100, "drain", ids=("node-0000",), notice_s=60, for_s=50),)
    result, engine = watched(setting(jobs, "1xcpus:2", events=events))
    record = record_of(result)
    # One of the second jobs runs from 10, is lost at 100, and begins anew at 150, with the other.
    assert tasks_on(engine.log, "node-0000", "accept") == [0, 10, 150]
    assert record.tasks_lost == 1
    assert sorted(record.jobs.end_s.tolist()) == [45, 350, 350]


def test_a_return_ends_a_drain_and_an_outage() -> None:
    jobs = [job("a", 0, 100) for _ in range(4)]
    events = (
        ClusterEvent(10, "fail", ids=("node-0000",)),
        ClusterEvent(50, "drain", ids=("node-0001",), notice_s=40),
        ClusterEvent(20, "return", n_machines=5),
    )
    record = record_of(simulate(setting(jobs, "2xcpus:2", events=events)))
    assert record.tasks_lost == 2
    assert sorted(record.jobs.end_s.tolist()) == [100, 100, 120, 120]


def test_an_outage_within_another_is_over_when_both_are() -> None:
    jobs = [job("a", 40, 10)]
    events = (
        ClusterEvent(0, "fail", ids=("node-0000",), for_s=100),
        ClusterEvent(50, "fail", ids=("node-0000",), for_s=10),
        ClusterEvent(90, "fail", ids=("node-0000",), for_s=90),
    )
    assert simulate(setting(jobs, "1xcpus:1", events=events)).end_s == 190


def test_too_few_machines_are_all_there_are() -> None:
    events = (
        ClusterEvent(5, "fail", n_machines=9, kind="p", for_s=10),
        ClusterEvent(30, "return", n_machines=9),
    )
    jobs = [job("a", 0, 20) for _ in range(3)]
    record = record_of(simulate(setting(jobs, "2xcpus:1@p", "1xcpus:1@q", events=events)))
    assert record.tasks_lost == 2
    assert sorted(record.jobs.end_s.tolist()) == [20, 35, 35]


def test_draws_depend_on_the_seed_and_on_their_own_event_alone() -> None:
    def lost(*events: ClusterEvent, seed: int = 1) -> set[int]:
        given = setting(
            [job("a", 0, 100, 40)], "40xcpus:1", events=events, policy=Policy(seed=seed)
        )
        heat = record_of(simulate(given)).heat
        return set(np.flatnonzero(np.isnan(heat.share).any(axis=1)))

    one = ClusterEvent(10, "fail", n_machines=5, for_s=50)
    assert len(lost(one)) == 5
    assert lost(one) == lost(one) != lost(one, seed=2)
    assert lost(one) < lost(one, ClusterEvent(20, "fail", n_machines=3, for_s=50))


def test_machines_that_come_and_go_do_not_keep_a_run_going() -> None:
    events = (ClusterEvent(1e6, "fail", n_machines=1), ClusterEvent(2e6, "return", n_machines=1))
    result = simulate(setting([job("a", 0, 10)], "2xcpus:1", events=events))
    assert result.end_s == 10
    assert record_of(result).series.capacity.tolist()[0][-1] == 2


def test_a_machine_that_is_gone_for_good_leaves_jobs_waiting() -> None:
    events = (ClusterEvent(5, "fail", n_machines=1),)
    result = simulate(setting([job("a", 0, 10)], "1xcpus:1", events=events))
    assert (result.counts.waiting, result.end_s) == (1, 5)
    assert result.counts.never_fits == 0


# Behaviours.


def starts(result: Result) -> list[float]:
    return [s for s in record_of(result).jobs.start_s.tolist() if not math.isnan(s)]


def test_a_framework_may_start_one_task_an_offer() -> None:
    jobs = [job("a", 0, 10) for _ in range(6)]
    one = {"a": Behaviour(kind="one", refuse_s=0.0)}
    assert starts(simulate(setting(jobs, "2xcpus:3", behaviours=one))) == [0, 0, 1, 1, 2, 2]
    gangs = [job("a", 0, 10, 3)]
    assert simulate(setting(gangs, "2xcpus:3", behaviours=one)).counts.never_fits == 1


def test_a_hoarder_keeps_offers_of_no_use_open() -> None:
    jobs = [job("a", 0, 100, demand="cpus:2") for _ in range(2)] + [job("b", 1, 10)]
    cluster = ("2xcpus:1", "1xcpus:2")
    hoards = {"a": Behaviour(kind="hoard", hold_s=60.0)}
    result = simulate(setting(jobs, *cluster, behaviours=hoards))
    assert starts(result) == [0, 100, 60]
    curves = record_of(result).series
    at = int(np.searchsorted(curves.edges_s, 30)) - 1
    assert curves.share[0, at] == 1.0
    assert curves.use[0, 0, at] == 2.0
    timeout = Policy(offer_timeout_s=10.0)
    result = simulate(setting(jobs, *cluster, behaviours=hoards, policy=timeout))
    assert starts(result) == [0, 100, 10]
    greedy = simulate(setting(jobs, *cluster))
    assert starts(greedy) == [0, 100, 1]


def test_a_hoarder_starts_jobs_on_what_it_keeps() -> None:
    jobs = [job("a", 0, 100, demand="cpus:2"), job("a", 0, 100, demand="cpus:2"), job("a", 5.5, 10)]
    hoards = {"a": Behaviour(kind="hoard")}
    result, engine = watched(setting(jobs, "1xcpus:1", "1xcpus:2", behaviours=hoards))
    assert starts(result) == [0, 100, 6]
    assert tasks_on(engine.log, "node-0000", "offer") == [0, 16]


def test_offers_that_are_kept_open_are_gone_with_their_machine() -> None:
    jobs = [job("a", 0, 100, demand="cpus:2") for _ in range(2)] + [job("a", 30, 1)]
    for action in ("fail", "drain"):
        events = (ClusterEvent(20, action, ids=("node-0000",), for_s=50),)  # type: ignore[arg-type]
        given = setting(
            jobs,
            "1xcpus:1",
            "1xcpus:2",
            behaviours={"a": Behaviour(kind="hoard", hold_s=1000.0)},
            events=events,
        )
        assert starts(watched(given)[0]) == [0, 100, 70]


def test_a_picky_framework_takes_only_its_kinds() -> None:
    jobs = [job("a", 0, 10) for _ in range(2)]
    picky = {"a": Behaviour(kind="picky", kinds=frozenset({"q"}))}
    result = simulate(setting(jobs, "4xcpus:1@p", "1xcpus:1@q", behaviours=picky))
    assert starts(result) == [0, 10]
    none = {"a": Behaviour(kind="picky", kinds=frozenset({"r"}))}
    assert simulate(setting(jobs, "4xcpus:1@p", behaviours=none)).counts.never_fits == 2


def test_a_misreport_takes_more_than_it_uses() -> None:
    jobs = [job("a", 0, 100) for _ in range(8)]
    lies = {"a": Behaviour(claims=Quantities("cpus:2;mem:1"))}
    result = simulate(setting(jobs, "2xcpus:4;mem:9", behaviours=lies))
    assert starts(result) == [0] * 4 + [100] * 4
    assert result.roles[0].share_peak == 1.0
    assert result.use["cpus"].peak == 4
    assert result.use["mem"].peak == 0
    assert record_of(result).series.need[0, 0, 0] == 8
    large = {"a": Behaviour(claims=Quantities("cpus:5"))}
    assert simulate(setting(jobs, "2xcpus:4", behaviours=large)).counts.never_fits == 8


@pytest.mark.parametrize("refuse_s", [0.0, 3.0, 1e6])
def test_refusals_of_one_tenant_are_its_own(refuse_s: float) -> None:
    jobs = [job("a", 0, 10), job("a", 0, 10, demand="cpus:2")]
    result = simulate(
        setting(jobs, "1xcpus:1", "1xcpus:2", behaviours={"a": Behaviour(refuse_s=refuse_s)})
    )
    assert sorted(starts(result)) == [0, 0]


# Backfilling.

STREAM = [job("small", 3.0 * i, 24) for i in range(60)]
WIDE = job("wide", 40, 30, 8)


def wide_start(behaviours: Mapping[str, Behaviour], **more: Any) -> float:
    record = record_of(
        simulate(setting([*STREAM, WIDE], "8xcpus:1", behaviours=behaviours, **more))
    )
    return float(record.jobs.start_s[record.jobs.tasks == 8][0])


def test_a_wide_job_waits_for_the_end_of_a_stream_but_for_its_reservation() -> None:
    heavy = {"roles": {"wide": role(1000.0)}}
    assert wide_start({}) == wide_start({}, **heavy) >= 3 * 59 + 24
    easy = Behaviour(backfill="easy")
    # What ran when it came ends by 39 + 24; then it is shown everything within a few cycles.
    assert 63 <= wide_start({"wide": easy}) <= 66
    assert 63 <= wide_start({"wide": easy, "small": easy}) <= 66


#: When a job comes, runs, says it runs, and on how many processors.
Rigid = tuple[float, float, float, int]


def easy_starts(jobs: list[Rigid], n: int) -> list[float]:
    """EASY backfilling on n processors, at whole seconds: when each job starts."""
    found = [math.nan] * len(jobs)
    waiting: list[int] = []
    running: list[int] = []
    now = 0.0
    while any(math.isnan(start) for start in found):
        running = [i for i in running if found[i] + jobs[i][1] > now]
        waiting += [i for i, each in enumerate(jobs) if now - 1 < each[0] <= now]
        shadow, extra = math.inf, n
        for i in list(waiting):
            _, _, said, width = jobs[i]
            free = n - sum(jobs[j][3] for j in running)
            fits = width <= free and (now + said <= shadow or width <= extra)
            if fits:
                waiting.remove(i)
                running.append(i)
                found[i] = now
                extra -= width if now + said > shadow else 0
            elif shadow == math.inf:  # the oldest that waits reserves its start
                shadow, extra = reserved_start(jobs, running, found, free, width, now)
        now += 1
    return found


def reserved_start(
    jobs: list[Rigid], running: list[int], found: list[float], free: int, width: int, now: float
) -> tuple[float, int]:
    """Return when there is room, if running jobs end as they say, and how much is left then."""
    ends = sorted((max(now, found[i] + jobs[i][2]), jobs[i][3]) for i in running)
    for end, _ in ends:
        there = free + sum(w for e, w in ends if e <= end)
        if there >= width:
            return end, there - width
    raise AssertionError("wider than the cluster")


@pytest.mark.parametrize("seed", range(30))
def test_one_tenant_backfills_as_easy_does(seed: int) -> None:
    rng = random.Random(seed)
    rigid: list[Rigid] = []
    for _ in range(80):
        run = rng.randint(1, 40)
        said = run if seed % 3 else run * rng.randint(1, 3)
        rigid.append((float(rng.randint(0, 250)), run, said, rng.choice([1, 1, 2, 3, 5, 8])))
    rigid.sort(key=lambda each: each[0])
    jobs = [job("a", at, run, width, requested_s=said) for at, run, said, width in rigid]
    # Without filters all that is free is seen in each cycle.
    easy = Behaviour(backfill="easy", refuse_s=0.0)
    given = setting(jobs, "1xcpus:8", behaviours={"a": easy})
    found = record_of(simulate(given)).jobs.start_s.tolist()
    assert found == easy_starts(rigid, 8)
