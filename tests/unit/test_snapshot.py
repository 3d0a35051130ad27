"""Snapshots and forks: the same decisions from then on, and nothing shared that changes."""

import copy
import json
from typing import Any

import pytest

from allocator import Allocator, ManualClock, Offer, SnapshotError
from allocator.engine import Reserve


def make_engine(**options: Any) -> tuple[Allocator, ManualClock]:
    """Return an engine with something of everything in it, and its clock."""
    clock = ManualClock(100.0)
    engine = Allocator(seed=5, clock=clock, **options)
    engine.recover(2, {"eng": {"guarantee": "cpus:4", "limit": {"cpus": 30, "gpus": 0}}})
    for number in range(6):
        engine.add_agent(
            f"a{number}",
            "cpus:8;mem:4096;ports:[31000-31009];cpus(eng/prod):2",
            hostname=f"host{number}",
            attributes={"rack": "r1"},
            used={"later": {"ops": "cpus:1"}},
        )
    engine.add_framework("f1", ["eng/prod", "ops"], suppressed=["ops"])
    engine.add_framework("f2", ["eng"], min_allocatable={"eng": ["cpus:1"]})
    engine.add_framework(
        "f3", ["*"], constraints={"*": {"groups": [{"attribute_constraints": [
            {"selector": {"attribute_name": "rack"}, "predicate": {"exists": {}}}]}]}},
    )  # fmt: skip
    engine.set_weight("eng", 2.0)
    engine.set_unavailability("a0", 500.0, 60.0)
    for number, offer in enumerate(engine.allocate()):
        if number % 3 == 0:
            part = "cpus:1" if "cpus:1" in offer.resources else None
            engine.accept(offer, part, refuse_seconds=30)
        elif number % 3 == 1:
            engine.decline(offer, refuse_seconds=5 + number)
    engine.deactivate_agent("a5")
    engine.set_whitelist([f"host{number}" for number in range(5)])
    return engine, clock


def assert_alike(one: Allocator, other: Allocator, clock: ManualClock) -> None:
    """Both decide the same over some cycles and answers."""
    for _ in range(12):
        offers = one.allocate()
        assert other.allocate() == offers
        for number, offer in enumerate(offers):
            for engine in (one, other):
                if number % 2:
                    engine.accept(offer, refuse_seconds=3)
                else:
                    engine.decline(offer, refuse_seconds=2)
        clock.advance(1.5)
        assert one.snapshot() == other.snapshot()


@pytest.mark.parametrize("sorter", ["drf", "naive", "sorted", "random"])
def test_a_restored_engine_decides_alike(sorter: str) -> None:
    engine, clock = make_engine(sorter=sorter)
    snapshot = json.loads(json.dumps(engine.snapshot()))
    restored = Allocator.restore(snapshot, clock=clock)
    assert restored.snapshot() == engine.snapshot()
    assert_alike(engine, restored, clock)


@pytest.mark.parametrize("sorter", ["drf", "naive", "sorted", "random"])
def test_a_fork_decides_alike(sorter: str) -> None:
    engine, clock = make_engine(sorter=sorter)
    assert_alike(engine, engine.fork(), clock)


def test_filters_keep_the_time_that_remains_to_them() -> None:
    engine, clock = make_engine()
    later = ManualClock(9000.0)
    restored = Allocator.restore(engine.snapshot(), clock=later)
    clock.advance(7)
    later.advance(7)
    assert restored.snapshot() == engine.snapshot()
    assert restored.allocate() == engine.allocate()


def with_filters(n_agents: int, n_frameworks: int, alone: bool) -> Allocator:
    """Return an engine with filters, on each agent of all frameworks or of one alone."""
    engine = Allocator(seed=1, clock=ManualClock(1000.0))
    agents = [f"agent-{n:018}" for n in range(n_agents)]
    frameworks = [f"framework-{n:014}" for n in range(n_frameworks)]
    engine.add_agents(agents, "cpus:4;mem:1024;ports:[31000-32000]")
    engine.add_frameworks(frameworks, ["eng/production"])
    if alone:
        engine.decline(engine.allocate(), refuse_seconds=3600)
    while not alone and (offers := engine.allocate()):
        engine.decline(offers, refuse_seconds=3600)
    return engine


@pytest.mark.parametrize(
    ("n_agents", "n_frameworks", "alone"),
    [(100, 20, False), (500, 1, False), (40, 100, False), (500, 500, True)],
)
def test_filters_that_share_what_they_refuse_and_when_they_end_are_small(
    n_agents: int, n_frameworks: int, alone: bool
) -> None:
    engine = with_filters(n_agents, n_frameworks, alone)
    n_filters = engine.role("eng/production").filters
    assert n_filters == n_agents * (1 if alone else n_frameworks)
    snapshot = engine.snapshot()
    assert len(snapshot["filters"]) == 1
    assert len(json.dumps(snapshot["filters"])) <= 40 * n_filters
    restored = Allocator.restore(json.loads(json.dumps(snapshot)), clock=ManualClock(1000.0))
    assert restored.snapshot() == snapshot
    assert restored.role("eng/production").filters == n_filters


def test_filters_apart_in_what_they_refuse_or_when_they_end_stay_apart() -> None:
    engine = Allocator(seed=1, clock=ManualClock())
    engine.add_agents(["a1", "a2", "a3"], {"cpus": [1, 2, 2]})
    engine.add_framework("f", ["eng", "ops"], suppressed=["eng"])
    by_agent = {offer.agent: offer for offer in engine.allocate()}
    for agent, seconds in (("a1", 10.0), ("a2", 10.0), ("a3", 20.0)):
        engine.decline(by_agent[agent], refuse_seconds=seconds)
    assert engine.snapshot()["filters"] == [
        {"seconds": 10.0, "resources": "cpus:1", "held": [[0, 1, [0]]]},
        {"seconds": 10.0, "resources": "cpus:2", "held": [[0, 1, [1]]]},
        {"seconds": 20.0, "resources": "cpus:2", "held": [[0, 1, [2]]]},
    ]


def test_the_version_that_is_not_read_is_named() -> None:
    with pytest.raises(SnapshotError, match="a snapshot of version 1; this release reads 2"):
        Allocator.restore({**Allocator(seed=1).snapshot(), "version": 1})


def test_nothing_done_to_a_fork_reaches_the_original_or_back() -> None:
    engine, _ = make_engine()
    before = engine.snapshot()
    fork = engine.fork()
    fork.add_agent("b1", "cpus:100;mem:100000")
    fork.add_framework("g1", ["new/role"])
    fork.set_weight("ops", 3.0)
    fork.set_quota("ops", "cpus:1")
    for offer in fork.allocate():
        fork.accept(offer)
    fork.remove_agent("a1")
    fork.remove_framework("f2")
    fork.revive("f1")
    assert engine.snapshot() == before
    changed = fork.snapshot()
    engine.add_agent("b1", "cpus:1")
    engine.remove_framework("f3")
    engine.allocate()
    assert fork.snapshot() == changed


def test_roles_that_come_later_in_a_fork_measure_shares_against_its_own_agents() -> None:
    engine = Allocator(seed=1, clock=ManualClock())
    engine.add_agent("a1", "cpus:10;mem:10")
    fork = engine.fork()
    # Had the fork's new sorter the original's totals, memory would be scarcer than processors.
    engine.add_agent("a2", "mem:1")
    fork.add_agent("a2", "mem:990")
    fork.add_framework("f", ["r"], used={"a1": {"r": "cpus:1;mem:10"}})
    # f: max(1 / 10 cpus, 10 / 1000 mem) = 0.1
    assert fork.framework("f").share("r") == 0.1


def test_offers_of_before_are_taken_by_the_fork_and_by_the_original() -> None:
    engine = Allocator(seed=1, clock=ManualClock())
    engine.add_agent("a1", "cpus:4")
    engine.add_framework("f")
    (offer,) = engine.allocate()
    fork = engine.fork()
    fork.decline(offer)
    engine.accept(offer)
    assert str(engine.agent("a1").allocated) == "cpus:4"
    assert not fork.agent("a1").allocated


def test_equal_states_have_equal_snapshots_however_they_came_about() -> None:
    engines = []
    for order in (["a1", "a2"], ["a2", "a1"]):
        engine = Allocator(seed=1, clock=ManualClock())
        for agent in order:
            engine.add_agent(agent, "cpus:1")
        engine.add_framework("f", ["x"])
        engine.set_quota("x", "cpus:1")
        engine.remove_quota("x")
        engines.append(engine)
    assert engines[0].snapshot() == engines[1].snapshot()


def test_an_agent_with_less_than_is_in_use_comes_back_as_it_was() -> None:
    engine = Allocator(seed=1, clock=ManualClock())
    engine.add_agent("a1", "cpus:4;mem:64")
    engine.add_framework("f", used={"a1": {"*": "cpus:3"}})
    engine.update_agent("a1", resources="cpus:2;mem:64")
    restored = Allocator.restore(engine.snapshot(), clock=ManualClock())
    assert str(restored.agent("a1").available) == "mem:64"
    restored.release("f", "a1", "*", "cpus:2")
    # 2 of 2 cpus were in use at least; 1 is.
    assert str(restored.agent("a1").available) == "cpus:1;mem:64"


def test_a_conversion_survives() -> None:
    engine = Allocator(seed=1, clock=ManualClock())
    engine.add_agent("a1", "cpus:4")
    engine.add_framework("f", ["r"])
    (offer,) = engine.allocate()
    reserved = {
        "name": "cpus",
        "type": "SCALAR",
        "scalar": {"value": 2},
        "reservations": [{"type": "DYNAMIC", "role": "r", "principal": "p"}],
    }
    converted = engine.apply(offer, Reserve([reserved]))
    assert isinstance(converted, Offer)
    restored = Allocator.restore(json.loads(json.dumps(engine.snapshot())), clock=ManualClock())
    restored.accept(converted)
    assert restored.agent("a1").allocated == converted.resources


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), 1),
        (("version",), 3),
        (("version",), None),
        (("cycle",), -1),
        (("cycle",), 1.5),
        (("paused",), "no"),
        (("offers_made",), None),
        (("offers_made",), 0),
        (("options", "seed"), 1.5),
        (("options", "role_sorter"), "fifo"),
        (("agents", "a0", "resources"), "cpus:-1"),
        (("agents", "a0", "active"), 1),
        (("agents", "a0", "holdings"), [{"framework": "nobody", "role": "*"}]),
        (("frameworks", "f1", "roles"), ["a//b"]),
        (("frameworks", "f1", "capabilities"), ["FLYING"]),
        (("roles", "eng", "weight"), 0),
        (("roles", "eng", "weight"), 2e9),
        (("roles", "eng", "guarantee"), {"cpus": 99}),
        (("roles", "eng", "times_allocated"), {"nobody": 1}),
        (("filters",), [{"framework": "f1"}]),
        (("filters",), [{"seconds": 1.0, "resources": "cpus:1", "held": [[0, 0, [99]]]}]),
        (("filters",), [{"seconds": 1.0, "resources": "cpus:1", "held": [[0, 0, [-1]]]}]),
        (("filters",), [{"seconds": 1.0, "resources": "cpus:1", "held": [[99, 0, [0]]]}]),
        (("filters",), [{"seconds": 1.0, "resources": "cpus:1", "held": [[0, 99, [0]]]}]),
        (("filters",), [{"seconds": 1.0, "resources": "cpus:1", "held": [[0, True, [0]]]}]),
        (("filters",), [{"seconds": 0.0, "resources": "cpus:1", "held": [[0, 0, [0]]]}]),
        (("offer_ends",), [{"seconds": 1.0, "offers": ["O1"]}]),
        (("options", "offer_timeout"), 5.0),
        (("options", "offer_prefix"), "other-"),
        (("maintenance",), {"a0": {"start": "soon"}}),
    ],
)
def test_a_malformed_snapshot_is_refused(path: tuple[str, ...], value: object) -> None:
    engine, clock = make_engine()
    snapshot = copy.deepcopy(engine.snapshot())
    part: Any = snapshot
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    with pytest.raises(SnapshotError):
        Allocator.restore(snapshot, clock=clock)


@pytest.mark.parametrize("snapshot", [None, [], "x", {}, {"version": 1}])
def test_what_is_no_snapshot_is_refused(snapshot: Any) -> None:
    with pytest.raises(SnapshotError):
        Allocator.restore(snapshot)
