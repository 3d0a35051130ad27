"""Each shipped scenario shows what its name says; what its comments propose makes a difference."""

from __future__ import annotations

from functools import cache

import pytest

from allocator.sim import Result, RoleResult, Scenario, simulate
from allocator.sim.scenario import SHIPPED, shipped_text
from allocator.sim.scenario.overrides import parse_setting


@cache
def run(name: str, *changes: str) -> Result:
    return simulate(Scenario.load(name, dict(map(parse_setting, changes))))


def role(name: str, path: str, *changes: str) -> RoleResult:
    (found,) = (role for role in run(name, *changes).roles if role.role == path)
    return found


def wait_s(name: str, path: str, *changes: str) -> float:
    """The 95th percentile of a role's waits."""
    p95_s = role(name, path, *changes).waits.p95_s
    assert p95_s is not None
    return p95_s


def tasks_lost(result: Result) -> int:
    assert result.record is not None
    return int(result.record.jobs.tasks_lost.sum())


@pytest.mark.parametrize("name", SHIPPED)
def test_its_comments_teach(name: str) -> None:
    first, *lines = shipped_text(name).splitlines()
    assert first.startswith("# ")
    assert f"#   allocator simulate {name}" in lines


def test_starvation_by_those_who_decline() -> None:
    cure = "tenants.notebook*.refuse=10m"
    assert f"--set {cure} " in shipped_text("starvation")
    # Batch waits all the time, with nine tenths of the processors free.
    starved = role("starvation", "batch")
    assert starved.in_need_s > 0.95 * run("starvation").end_s
    assert starved.share_run < 0.15
    assert run("starvation").use["cpus"].mean_run < 0.15
    assert role("starvation", "batch", cure).share_run > 0.9


def test_quota_is_there_when_it_is_wanted() -> None:
    # All at once, 100 tasks of 4 cpus: what is guaranteed.
    assert wait_s("quota", "production") <= 1
    assert role("quota", "production").share_peak == 0.25
    assert wait_s("quota", "production", "roles.production.guarantee=cpus:0") > 600
    # A thousand of 1600 cpus: reached without the guarantee, and never exceeded.
    assert role("quota", "research").share_peak <= 1000 / 1600
    without = role("quota", "research", "roles.production.guarantee=cpus:0")
    assert without.share_peak == 1000 / 1600


def test_hdrf_starves_nobody() -> None:
    # Of 30: a, b and c/cpu 10 processors each; c/gpu and d 15 GPUs each.
    expected = {"a": 1 / 3, "b": 1 / 3, "c/cpu": 1 / 3, "c/gpu": 1 / 2, "d": 1 / 2}
    for path, share in expected.items():
        assert role("hdrf", path).share_run == pytest.approx(share, abs=0.02)
    plain = [role("hdrf", path, "policy.sorter=drf").share_run for path in ("c/cpu", "c/gpu")]
    assert min(plain) < 0.01


def test_failing_rack_loses_what_ran_there() -> None:
    # A rack of 320 processors fails when most of them are in use.
    without_drain = tasks_lost(run("failing-rack", "cluster.event[1].notice=10h", "horizon=4h"))
    assert 100 < without_drain <= 320
    noticed = tasks_lost(run("failing-rack"))
    unnoticed = tasks_lost(run("failing-rack", "cluster.event[1].notice=0s"))
    assert without_drain < noticed < unnoticed
    assert run("failing-rack").counts.waiting == 0


def test_hoarder_keeps_from_others_what_it_does_not_use() -> None:
    greedy = "tenants.hoarder.behaviour=greedy"
    assert run("hoarder").use["cpus"].mean_run < run("hoarder", greedy).use["cpus"].mean_run - 0.1
    for path in ("web", "batch"):
        assert wait_s("hoarder", path) > 5 * wait_s("hoarder", path, greedy)


def test_what_a_hoarder_keeps_open_does_not_count_beside_what_it_takes_of_it() -> None:
    assert role("hoarder", "hoarder").share_peak <= 1
    limited = run("hoarder", "roles.hoarder.limit=cpus:60")
    assert limited.record is not None
    limit, peak = limited.record.quota["hoarder"].limit["cpus"]
    assert 0 < peak <= limit == 60


def test_bursts_get_their_share_and_give_it_back() -> None:
    for path in ("morning", "noon", "evening"):
        found = role("bursts", path)
        assert found.counts.finished == found.counts.submitted
        assert found.share_peak > 0.4
        # A queue of four times the weight gives way to less.
        assert role("bursts", path, "roles.queue.weight=4").share_peak < found.share_peak - 0.2
    assert role("bursts", "queue").share_run > 0.85


def test_a_misreport_does_not_pay() -> None:
    honest, liar = role("misreport", "honest"), role("misreport", "liar")
    # Equal shares, of which the liar uses a quarter.
    assert honest.share_in_need == pytest.approx(liar.share_in_need, abs=0.02)
    assert liar.counts.tasks_started < 0.35 * honest.counts.tasks_started
    truthful = role("misreport", "liar", "tenants.liar.claims=mem:4000")
    assert truthful.counts.tasks_started > 3 * liar.counts.tasks_started


def test_gpus_are_free_but_never_eight_on_one_machine() -> None:
    reserve = "roles.training.reserve=3x cpus:32;mem:256000;gpus:8"
    assert run("gpu-fragmentation").use["gpus"].mean_run < 0.7
    assert wait_s("gpu-fragmentation", "training") > 4 * 3600
    assert wait_s("gpu-fragmentation", "training", reserve) < 10


def test_wide_jobs_start_in_time_with_backfilling() -> None:
    plain = "tenants.batch.backfill=none"
    assert wait_s("wide-jobs", "batch", plain) > 2 * wait_s("wide-jobs", "batch")
    # The same jobs, all of them done.
    assert run("wide-jobs").counts.finished == run("wide-jobs", plain).counts.finished


def test_million_is_a_million_tasks_on_ten_thousand_machines() -> None:
    """Only its beginning is run here."""
    setting = Scenario.load("million").setting()
    assert len(setting.trace.tenants) == 200
    assert sum(job.shape.n_tasks for job in setting.trace.jobs) == 1_000_000
    assert len(setting.machines) == 10_000
    assert run("million", "horizon=3m").counts.tasks_started > 10_000
