"""Placing tasks and the decisions of one framework's scheduler."""

from __future__ import annotations

import pytest

from allocator.resources import Quantities
from allocator.sim import Shape, Spread, Tasks, Tenant
from allocator.sim.placing import Need, Running, Space, needs_of, place, take_back
from allocator.sim.scheduler import JobState, Scheduler, Start

AXES = {"cpus": 0, "mem": 1}
KINDS = ["old", "new", "new", "old"]


def needs(
    *tasks: tuple[int, str],
    kinds: frozenset[str] = frozenset(),
    spread: Spread | None = None,
    gang: bool = True,
) -> tuple[tuple[int, Need], ...]:
    groups = tuple(Tasks(count, Quantities(demand)) for count, demand in tasks)
    return needs_of(Shape(groups, kinds, spread), AXES, KINDS, gang=gang)


def need(*tasks: tuple[int, str], **wishes: object) -> Need:
    ((times, only),) = needs(*tasks, **wishes)  # type: ignore[arg-type]
    assert times == 1
    return only


def spaces(*cpus: int, mem: int = 100, room: int = 100) -> list[Space]:
    return [Space(i, [1000 * n, 1000 * mem], room) for i, n in enumerate(cpus)]


def placed(wanted: Need, times: int, where: list[Space]) -> list[tuple[int, int]]:
    return [(g.space.agent, g.count) for g in place(wanted, times, where, {})[1]]


# Placing.


def test_tasks_go_to_the_first_spaces_they_fit() -> None:
    where = spaces(1, 5, 9)
    assert placed(need((4, "cpus:2")), 1, where) == [(1, 2), (2, 2)]
    assert [space.free[0] for space in where] == [1000, 1000, 5000]


def test_a_gang_that_does_not_fit_takes_nothing() -> None:
    where = spaces(3, 3, mem=100)
    assert place(need((3, "cpus:1;mem:60")), 1, where, {}) == (0, [])
    assert [space.free for space in where] == [[3000, 100_000]] * 2
    assert [space.room for space in where] == [100] * 2


def test_single_tasks_are_placed_as_often_as_they_fit() -> None:
    times, grants = place(need((1, "cpus:2")), 7, spaces(5, 5), {})
    assert times == 4
    assert [(g.space.agent, g.count) for g in grants] == [(0, 2), (1, 2)]


def test_room_bounds_the_tasks_of_a_space() -> None:
    assert placed(need((1, "cpus:1")), 9, spaces(5, 5, room=2)) == [(0, 2), (1, 2)]


def test_kinds_bound_the_agents() -> None:
    wanted = need((3, "cpus:1"), kinds=frozenset({"new"}))
    assert placed(wanted, 1, spaces(2, 2, 2, 2)) == [(1, 2), (2, 1)]


def test_spread_bounds_the_running_tasks_of_a_group() -> None:
    wanted = need((1, "cpus:1"), spread=Spread("web", 2))
    running: Running = {("web", 0): 1, ("other", 1): 2}
    _, grants = place(wanted, 9, spaces(9, 9), running)
    assert [(g.space.agent, g.count) for g in grants] == [(0, 1), (1, 2)]
    assert running == {("web", 0): 2, ("web", 1): 2, ("other", 1): 2}
    take_back(wanted, grants, running)
    assert running == {("web", 0): 1, ("other", 1): 2}


def test_without_gangs_each_task_is_a_need() -> None:
    found = needs((2, "cpus:2"), (3, "cpus:1"), gang=False)
    assert [(times, n.n_tasks, n.total) for times, n in found] == [
        (2, 1, ((0, 2000),)),
        (3, 1, ((0, 1000),)),
    ]


# The scheduler.


class Jobs:
    """A scheduler with what a simulation does around it, as far as one framework sees."""

    def __init__(self, *, tasks_per_offer: int | None = None) -> None:
        self.scheduler = Scheduler(Tenant("f", "f", tasks_per_offer), len(AXES), seed=1)
        self.names: dict[int, str] = {}
        self.needs: dict[object, tuple[tuple[int, Need], ...]] = {}

    def submit(self, name: str, *tasks: tuple[int, str]) -> bool:
        if tasks not in self.needs:
            self.needs[tasks] = needs(*tasks)
        job = JobState(0.0, 1.0, sum(count for count, _ in tasks))
        self.names[id(job)] = name
        return self.scheduler.submit(job, self.needs[tasks])

    def offer(self, **cpus: int) -> list[str]:
        """Offer cpus of agents `a0`, `a1`…, and refuse what is left of them."""
        where = [Space(int(name[1:]), [1000 * n, 10**6], 100) for name, n in cpus.items()]
        starts: list[Start] = self.scheduler.fill(where)
        for space in where:
            self.scheduler.refuse(space.agent, space.free)
        return [self.names[id(start.job)] for start in starts]


def test_the_first_job_revives_and_the_next_of_its_shape_does_not() -> None:
    jobs = Jobs()
    assert jobs.submit("a", (1, "cpus:4"))
    jobs.scheduler.revived()
    assert not jobs.submit("b", (1, "cpus:4"))
    assert jobs.offer(a0=3) == []
    assert not jobs.submit("c", (1, "cpus:5"))  # fits into nothing refused
    assert jobs.submit("d", (1, "cpus:3"))  # fits where the others did not


def test_older_jobs_come_first_and_younger_ones_fill_in() -> None:
    jobs = Jobs()
    for name, cpus in (("a", 4), ("b", 2), ("c", 4), ("d", 1), ("e", 2)):
        jobs.submit(name, (1, f"cpus:{cpus}"))
    assert jobs.offer(a0=3, a1=3) == ["b", "d", "e"]
    assert jobs.offer(a0=9) == ["a", "c"]
    assert not jobs.scheduler.waits


def test_a_gang_of_offers_in_different_cycles_asks_for_a_full_view() -> None:
    jobs = Jobs()
    jobs.submit("gang", (3, "cpus:2"))
    jobs.scheduler.revived()
    assert jobs.offer(a0=4) == []
    assert jobs.scheduler.pause_before_revive() is None  # four of six cpus
    assert jobs.offer(a1=2) == []
    assert jobs.scheduler.pause_before_revive() == 0
    jobs.scheduler.revived()
    assert jobs.offer(a0=4, a1=2) == ["gang"]


def test_revives_in_vain_are_followed_by_longer_and_longer_pauses() -> None:
    jobs = Jobs()
    jobs.submit("gang", (2, "cpus:2"))
    pauses = []
    for _ in range(40):
        jobs.scheduler.revived()
        assert jobs.offer(a0=2) == jobs.offer(a1=2) == []
        pause = jobs.scheduler.pause_before_revive()
        assert pause is not None
        if pause:
            assert jobs.scheduler.pause_before_revive() is None  # one waits already
        jobs.scheduler.end_pause()
        pauses.append(pause)
    assert pauses[0] == 0
    assert all(1 <= pause <= 2 ** min(i, 8) for i, pause in enumerate(pauses[1:], start=1))
    assert max(pauses) > 100
    assert jobs.offer(a0=2, a1=2) == ["gang"]
    jobs.submit("gang", (2, "cpus:2"))
    assert jobs.scheduler.pause_before_revive() == 0  # a start ends the pauses


def test_single_tasks_need_no_full_view() -> None:
    jobs = Jobs()
    jobs.submit("a", (1, "cpus:4"))
    assert jobs.offer(a0=2) == jobs.offer(a1=2) == []
    assert jobs.scheduler.pause_before_revive() is None


def test_what_was_refused_is_the_most_of_each_resource() -> None:
    scheduler = Scheduler(Tenant("f", "f"), 2, seed=1)
    scheduler.submit(JobState(0.0, 1.0, 2), needs((2, "cpus:3;mem:2")))
    scheduler.refuse(0, [6000, 0])
    assert not scheduler.still_fits()
    scheduler.refuse(0, [0, 4000])
    assert scheduler.still_fits()
    scheduler.revived()
    assert not scheduler.still_fits()


@pytest.mark.parametrize("seed", [0, "a word"])
def test_pauses_depend_on_seed_and_name_alone(seed: int | str) -> None:
    def pauses() -> list[int | None]:
        scheduler = Scheduler(Tenant("f", "f"), 2, seed)
        scheduler.submit(JobState(0.0, 1.0, 2), needs((2, "cpus:1")))
        scheduler.refuse(0, [2000, 0])
        found = []
        for _ in range(20):
            found.append(scheduler.pause_before_revive())
            scheduler.end_pause()
        return found

    assert pauses() == pauses()
