"""Placing tasks and the decisions of one framework's scheduler."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from allocator.resources import Quantities
from allocator.sim import Shape, Spread, Tasks
from allocator.sim._placing import Grants, Hand, Need, Reservation, grouped, place, undo
from allocator.sim._scheduler import Scheduler
from allocator.sim.framework import lost_need, needs_of
from allocator.sim.setting import Behaviour

AXES = {"cpus": 0, "mem": 1}
KINDS = ["old", "new", "new", "old"]
MANY = 100


def needs(
    *tasks: tuple[int, str],
    kinds: frozenset[str] = frozenset(),
    spread: Spread | None = None,
    picks: frozenset[str] | None = None,
    **behaviour: Any,
) -> tuple[tuple[int, Need], ...]:
    if picks is not None:
        behaviour.update(kind="picky", kinds=picks)
    groups = tuple(Tasks(count, Quantities(demand)) for count, demand in tasks)
    return needs_of(Shape(groups, kinds, spread), Behaviour(**behaviour), AXES, KINDS)


def need(*tasks: tuple[int, str], **wishes: Any) -> Need:
    ((times, only),) = needs(*tasks, **wishes)
    assert times == 1
    return only


def hand(*cpus: int, mem: int = 100, room: int = 100) -> Hand:
    found = Hand(2)
    for agent, n in enumerate(cpus):
        found.add(agent, [1000 * n, 1000 * mem], room)
    return found


def left(where: Hand) -> list[int]:
    return [where.left(row)[0] for row in range(where.n)]


def at(grants: Grants) -> list[tuple[int, int]]:
    return [(agent, n) for agent, _, _, n in grants]


def placed(wanted: Need, times: int, where: Hand) -> list[tuple[int, int]]:
    return at(place(wanted, times, where, {}))


# Placing.


def test_tasks_go_to_the_first_spaces_they_fit() -> None:
    where = hand(1, 5, 9)
    assert placed(need((4, "cpus:2")), 1, where) == [(1, 2), (2, 2)]
    assert left(where) == [1000, 1000, 5000]
    assert where.touched() == [(1, (4000, 0)), (2, (4000, 0))]


def test_a_gang_that_does_not_fit_takes_nothing() -> None:
    where = hand(3, 3, mem=100)
    assert placed(need((3, "cpus:1;mem:60")), 1, where) == []
    assert where.touched() == []
    assert placed(need((2, "cpus:1;mem:60")), 1, where) == [(0, 1), (1, 1)]


def test_single_tasks_are_placed_as_often_as_they_fit() -> None:
    assert placed(need((1, "cpus:2")), 7, hand(5, 5)) == [(0, 2), (1, 2)]


def test_room_bounds_the_tasks_of_an_offer() -> None:
    assert placed(need((3, "cpus:1")), 1, hand(5, 5, room=2)) == [(0, 2), (1, 1)]
    assert placed(need((5, "cpus:1")), 1, hand(5, 5, room=2)) == []


def test_kinds_bound_the_agents() -> None:
    wanted = need((3, "cpus:1"), kinds=frozenset({"new"}))
    assert placed(wanted, 1, hand(2, 2, 2, 2)) == [(1, 2), (2, 1)]


def test_picky_frameworks_admit_only_their_kinds() -> None:
    old, new = frozenset({"old"}), frozenset({"new"})
    assert placed(need((3, "cpus:1"), picks=old), 1, hand(2, 2, 2, 2)) == [(0, 2), (3, 1)]
    assert need((1, "cpus:1"), kinds=new, picks=old).mask == bytes(4)


def test_claims_are_taken_and_demands_used() -> None:
    ((count, taken, used),) = need((1, "cpus:2;mem:3"), claims=Quantities("cpus:1;mem:5")).tasks
    assert (count, dict(taken), dict(used)) == (1, {0: 2000, 1: 5000}, {0: 2000, 1: 3000})


def test_spread_bounds_the_running_tasks_of_a_group() -> None:
    wanted = need((3, "cpus:1"), spread=Spread("web", 2))
    running = {("web", 0): 1, ("other", 1): 2}
    where = hand(9, 9)
    grants = place(wanted, 1, where, running)
    assert at(grants) == [(0, 1), (1, 2)]
    assert running == {("web", 0): 2, ("web", 1): 2, ("other", 1): 2}
    undo(wanted, grants, where, running)
    assert running == {("web", 0): 1, ("other", 1): 2}


def test_without_gangs_each_task_is_a_need() -> None:
    found = needs((2, "cpus:2"), (3, "cpus:1"), gang=False)
    assert [(times, n.n_tasks, n.tasks[0][1]) for times, n in found] == [
        (2, 1, ((0, 2000),)),
        (3, 1, ((0, 1000),)),
    ]


def test_grants_on_machines_that_are_lost_are_split_off() -> None:
    wanted = need((3, "cpus:1"), (2, "cpus:2"))
    grants = place(wanted, 1, hand(4, 4), {})
    assert list(grants) == [(0, 0, 0, 3), (1, 1, 1, 2)]
    gone = grants.split(np.array([0, 1], np.uint8))
    assert gone is not None
    assert (list(grants), list(gone)) == ([(0, 0, 0, 3)], [(1, 1, 1, 2)])
    assert grants.split(np.array([0, 1], np.uint8)) is None
    assert lost_need(wanted, {1: 2}).tasks == ((2, ((0, 2000),), ((0, 2000),)),)


def test_rows_are_grouped_in_order() -> None:
    groups = grouped(np.array([1, 0, 1, 2, 1]), 4)
    assert [rows.tolist() for rows in groups] == [[1], [0, 2, 4], [3], []]


# The scheduler.


class Jobs:
    """A scheduler with what a simulation does around it, as far as one framework sees."""

    def __init__(self) -> None:
        self.scheduler = Scheduler("f", len(AXES), 1, MANY)
        self.names: list[str] = []
        self.needs: dict[object, tuple[tuple[int, Need], ...]] = {}

    def submit(
        self, name: str, *tasks: tuple[int, str], s: float = 1.0, of: Reservation | None = None
    ) -> bool:
        if tasks not in self.needs:
            self.needs[tasks] = needs(*tasks)
        self.names.append(name)
        order = len(self.names) - 1
        return self.scheduler.submit(order, order, s, self.needs[tasks], 0.0, of)

    def offer(self, of: Reservation | None = None, **cpus: int) -> list[str]:
        """Offer cpus of agents `a0`, `a1`…, and refuse what is left of them."""
        where = Hand(2)
        for name, n in cpus.items():
            where.add(int(name[1:]), [1000 * n, 10**6], MANY)
        starts = self.scheduler.fill(where, 0.0, of)
        self.scheduler.refuse(where)
        return [self.names[start.job] for start in starts]

    def pause(self) -> int | None:
        return self.scheduler.pause_before_revive(0.0)


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
    assert jobs.pause() is None  # four of six cpus
    assert jobs.offer(a1=2) == []
    assert jobs.pause() == 0
    jobs.scheduler.revived()
    assert jobs.offer(a0=4, a1=2) == ["gang"]


def test_revives_in_vain_are_followed_by_longer_and_longer_pauses() -> None:
    jobs = Jobs()
    jobs.submit("gang", (2, "cpus:2"))
    pauses = []
    for _ in range(40):
        jobs.scheduler.revived()
        assert jobs.offer(a0=2) == jobs.offer(a1=2) == []
        pause = jobs.pause()
        assert pause is not None
        if pause:
            assert jobs.pause() is None  # one waits already
        jobs.scheduler.end_pause()
        pauses.append(pause)
    assert pauses[0] == 0
    assert all(1 <= pause <= 2 ** min(i, 8) for i, pause in enumerate(pauses[1:], start=1))
    assert max(pauses) > 100
    assert jobs.offer(a0=2, a1=2) == ["gang"]
    jobs.submit("gang", (2, "cpus:2"))
    assert jobs.pause() == 0  # a start ends the pauses


def test_single_tasks_need_no_full_view() -> None:
    jobs = Jobs()
    jobs.submit("a", (1, "cpus:4"))
    assert jobs.offer(a0=2) == jobs.offer(a1=2) == []
    assert jobs.pause() is None


def refused(scheduler: Scheduler, *amounts: int) -> None:
    where = Hand(2)
    where.add(0, amounts, MANY)
    scheduler.refuse(where)


def test_what_was_refused_is_the_most_of_each_resource() -> None:
    scheduler = Scheduler("f", 2, 1, MANY)
    scheduler.submit(0, 0, 1.0, needs((2, "cpus:3;mem:2")), 0.0)
    refused(scheduler, 6000, 0)
    assert not scheduler.still_fits(0.0)
    refused(scheduler, 0, 4000)
    assert scheduler.still_fits(0.0)
    scheduler.revived()
    assert not scheduler.still_fits(0.0)


@pytest.mark.parametrize("seed", [0, "a word"])
def test_pauses_depend_on_seed_and_name_alone(seed: int | str) -> None:
    def pauses() -> list[int | None]:
        scheduler = Scheduler("f", 2, seed, MANY)
        scheduler.submit(0, 0, 1.0, needs((2, "cpus:1")), 0.0)
        refused(scheduler, 2000, 0)
        found = []
        for _ in range(20):
            found.append(scheduler.pause_before_revive(0.0))
            scheduler.end_pause()
        return found

    assert pauses() == pauses()


def test_lost_tasks_come_before_all_others() -> None:
    jobs = Jobs()
    for name in "abc":
        jobs.submit(name, (1, "cpus:2"))
    assert jobs.offer(a0=2) == ["a"]
    (_, only) = jobs.needs[(1, "cpus:2"),][0]
    for order in range(1, 40):
        jobs.names.append(f"lost{order}")
        jobs.scheduler.put_back(len(jobs.names) - 1, -order, 1.0, 1, only)
    lost = [f"lost{order}" for order in range(39, 0, -1)]
    assert jobs.offer(a0=80) == [*lost, "b"]
    assert jobs.scheduler.oldest() == (2, 2, only, 1)


# Reservations.


def reserved(extra: int, *, start_s: float = 10.0, order: int = 0) -> Reservation:
    """All of agent 0 is reserved from `start_s` on, but for some cpus."""
    return Reservation(start_s, order, np.array([[1000 * extra, 10**6]]))


def test_younger_jobs_have_what_a_reservation_leaves_or_end_before() -> None:
    jobs = Jobs()
    jobs.submit("wide", (9, "cpus:1"), s=50)
    for name, s in (("long", 20), ("later", 20), ("short", 10), ("brief", 1)):
        jobs.submit(name, (1, "cpus:1"), s=s)
    assert jobs.offer(reserved(1), a0=3) == ["long", "short", "brief"]
    assert jobs.scheduler.barred
    assert jobs.offer(a0=3) == ["later"]


def test_older_jobs_are_not_bound_by_a_reservation() -> None:
    jobs = Jobs()
    jobs.submit("a", (1, "cpus:1"), s=20)
    jobs.submit("b", (1, "cpus:1"), s=20)
    assert jobs.offer(reserved(0, order=0), a0=3) == ["a"]
    assert jobs.offer(reserved(0, order=1), a0=3) == ["b"]


def test_a_job_that_a_reservation_bars_asks_when_it_may_start() -> None:
    jobs = Jobs()
    jobs.submit("wide", (9, "cpus:1"), s=50)
    jobs.submit("long", (1, "cpus:1"), s=20)
    jobs.scheduler.revived()
    assert jobs.offer(reserved(0), a0=3) == []
    assert not jobs.scheduler.still_fits(0.0, reserved(0), None, False)
    assert jobs.scheduler.still_fits(0.0, reserved(1), None, False)
    assert jobs.scheduler.still_fits(0.0, reserved(0, start_s=20.0), None, False)
    assert not jobs.submit("another", (1, "cpus:1"), s=20, of=reserved(0))
    assert jobs.submit("short", (1, "cpus:1"), s=10, of=reserved(0))


def test_what_has_started_out_of_turn_is_forgotten() -> None:
    jobs = Jobs()
    jobs.submit("wide", (999, "cpus:1"), s=50)
    for i in range(100):
        jobs.submit(str(i), (1, "cpus:1"), s=1 if i % 10 else 20)
    assert jobs.offer(reserved(0), a0=95) == [str(i) for i in range(100) if i % 10]
    assert jobs.offer(reserved(0), a0=95) == []
    assert jobs.offer(a0=95) == [str(i) for i in range(0, 100, 10)]
    assert jobs.offer(a0=95) == []
