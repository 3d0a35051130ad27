"""Memory that runs out in compiled modules, at every point: `MemoryError`, never a crash.

What is promised then (docs/design.md): each store is whole, and what could not be made is not
there; who only looked or copied changed nothing. A call that changes an engine may have done a
part of its work; that engine can still be called, looked at and dropped.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from allocator import Allocator, AllocatorError, ManualClock, Resources, reference
from allocator.engine._bundles import Bundles
from allocator.engine._filters import Filters
from allocator.sorter import DRFSorter, NaiveDRFSorter, Totals
from tests.compiled import bundles as bench
from tests.compiled.faults import Faults
from tests.compiled.filters import check as check_filters
from tests.compiled.sorters import change_as_engine, walked
from tests.compiled.sorters import check as check_sorter
from tests.differential.history import Call
from tests.differential.test_histories import THEMES
from tests.differential.workload import Workload
from tests.invariants import check_stores

T = TypeVar("T")

#: Allocations of one call that are made to fail; few have more.
MAX_POINTS = 40


def at_each_point(
    make: Callable[[], T], work: Callable[[T], object], check: Callable[[T], None]
) -> int:
    """Do some work with one allocation failing, the first, the second …; then check, and redo it.

    Some do without what they asked for. Returns how many points there were.
    """
    for point in range(1, 1000):
        subject = make()
        with Faults(point) as faults:
            failed = fails(work, subject)
        check(subject)
        if failed:
            work(subject)
            check(subject)
        if faults.n_seen < point:
            return point - 1
    raise AssertionError("no end of allocations")


def fails(work: Callable[[T], object], subject: T) -> bool:
    """Tell whether memory ran out; what the traceback kept alive is gone then."""
    try:
        work(subject)
    except MemoryError:
        return True
    return False


def test_only_what_the_package_asks_for_fails() -> None:
    with Faults(1, n=10**9) as faults:
        grown = [str(i) for i in range(10_000)]
        grown.extend(reversed(grown))
    assert faults.n_seen == 0
    with Faults(1) as faults, pytest.raises(MemoryError):
        Bundles(Totals())
    assert faults.n_seen >= 1  # what a traceback takes counts, too
    with Faults() as faults:
        Bundles(Totals())
    assert faults.n_seen > 5


# Stores.

#: Equal parts, other columns, ranges, sets, whole entries: each way to make a sum or difference.
VALUES = (
    "cpus:8;mem:64;ports:[1-9];ports(eng):[20-29];cards:{a,b}",
    "cpus:1;mem:2;ports:[3-4];cards:{a}",
    "cpus(eng):1;disk(eng/prod):5;gpus:1;bandwidth:3;slots:2",
    '[{"name":"disk","type":"SCALAR","scalar":{"value":9},"disk":{"source":{"type":"MOUNT"}}}]',
)


class Store:
    """Bundles with some values in them; what is held beyond them is seen by their number."""

    def __init__(self) -> None:
        self.bundles = Bundles(Totals())
        self.held = [bench.held(self.bundles, value) for value in VALUES[:3]]
        bench.forget_all(self.bundles)
        self.n_in_use = bench.n_in_use(self.bundles)

    def check(self) -> None:
        """Check that all is whole, and that nothing is left of what could not be done."""
        bench.check(self.bundles)
        for held, value in zip(self.held, VALUES, strict=False):
            assert held.value == Resources(value)
        bench.forget_all(self.bundles)
        assert bench.n_in_use(self.bundles) == self.n_in_use


def read(store: Store) -> None:
    held = [bench.held(store.bundles, value) for value in VALUES]
    assert [each.value for each in held] == [Resources(value) for value in VALUES]


def read_many(store: Store) -> None:
    held = [bench.held(store.bundles, f"cpus:{i};ports:[{i}-90];u{i % 9}:1") for i in range(1, 50)]
    assert held[-1].value == Resources("cpus:49;ports:[49-90];u4:1")


def add(store: Store) -> None:
    one, other, further = store.held
    sums = [one.plus(other), other.plus(other), further.plus(one)]
    for _ in range(20):
        sums.append(sums[-1].plus(further))
    assert sums[0].value == one.value + other.value
    assert sums[-1].value == one.value + sum([further.value] * 21, Resources())


def subtract(store: Store) -> None:
    one, other, _ = store.held
    assert one.minus(other).value == one.value - other.value
    assert one.covers(other)


def show(store: Store) -> None:
    viewer = bench.viewer(store.bundles, "eng")
    seen = store.held[0].seen_by(viewer)
    assert seen.value == store.held[0].value
    assert seen.along(viewer).value == seen.value.special()
    assert not store.held[0].seen_by(bench.viewer(store.bundles, "ops")).value.reserved()


def copy(store: Store) -> None:
    bundles = bench.copied(store.bundles, store.bundles.totals.copy())
    bench.check(bundles)


@pytest.mark.parametrize("work", [read, read_many, add, subtract, show, copy])
def test_bundles(work: Callable[[Store], None]) -> None:
    assert at_each_point(Store, work, Store.check) > 1


class Refused:
    """Filters, some of which refuse what is more than what others do, and a list of them."""

    def __init__(self) -> None:
        self.bundles = Bundles(Totals())
        self.held = [bench.held(self.bundles, value) for value in VALUES[:2]]
        self.filters = Filters()
        self.expected: list[tuple[int, int, int, float]] = []
        for leaf in range(40):
            self.add(leaf, 0, 1.0)

    def add(self, leaf: int, agent: int, end: float) -> None:
        """Add a filter to both."""
        bundle = self.held[leaf % 2].number
        self.filters.add(self.bundles, leaf, agent, bundle, end)
        self.expected.append((leaf, agent, bundle, end))

    def check(self) -> None:
        """Check that both have the same."""
        check_filters(self.filters, self.bundles)
        assert sorted(self.filters.held()) == sorted(self.expected)


def refuse(refused: Refused) -> None:
    refused.add(3, 700, 2.0)
    refused.add(300, 1, 2.0)
    for i in range(40):
        refused.add(i, 1, 3.0 + i)


def expire(refused: Refused) -> None:
    refused.filters.expire(refused.bundles, 5.0)
    refused.expected = [row for row in refused.expected if row[3] > 5.0]


def drop(refused: Refused) -> None:
    for leaf in range(0, 40, 2):
        refused.filters.drop_leaf(refused.bundles, leaf)
        refused.expected = [row for row in refused.expected if row[0] != leaf]
    refused.filters.drop_agent(refused.bundles, 0)
    refused.expected = [row for row in refused.expected if row[1] != 0]


def copy_filters(refused: Refused) -> None:
    assert sorted(refused.filters.copy().held()) == sorted(refused.expected)


@pytest.mark.parametrize(
    ("work", "least"), [(refuse, 20), (drop, 0), (copy_filters, 5), (expire, 0)]
)
def test_filters(work: Callable[[Refused], None], least: int) -> None:
    def check(refused: Refused) -> None:
        if work is expire:  # what was ended before the failure is ended
            check_filters(refused.filters, refused.bundles)
            refused.expected = [row for row in refused.expected if row in refused.filters.held()]
        refused.check()

    assert at_each_point(Refused, work, check) >= least


class Sorters:
    """A compiled sorter and a naive one with the same clients."""

    def __init__(self) -> None:
        self.compiled, self.naive = DRFSorter(), NaiveDRFSorter()
        for sorter in (self.compiled, self.naive):
            sorter.add_agent("a", "cpus:100;mem:100")
            for client in ("eng", "ops/db", "web"):
                sorter.add(client)
                sorter.activate(client)
                sorter.allocated(client, "a", f"cpus:{len(client)}")

    def check(self) -> None:
        """Check that the compiled one is whole, and orders as the other does."""
        check_sorter(self.compiled)
        assert self.compiled.sort() == self.naive.sort()


def add_clients(sorters: Sorters) -> None:
    for client in (*(f"eng/{i}" for i in range(9)), "ops", "a/b/c/d/e/f/g/h"):
        if client not in sorters.compiled:
            sorters.compiled.add(client)
        if client not in sorters.naive:
            sorters.naive.add(client)
    for sorter in (sorters.compiled, sorters.naive):
        sorter.activate("ops")


def allocate_new_names(sorters: Sorters) -> None:
    amounts = ";".join(f"n{i}:1" for i in range(9)) + ";cpus:3"
    for sorter in (sorters.compiled, sorters.naive):
        sorter.allocated("eng", "a", amounts)


def add_totals(sorters: Sorters) -> None:
    for sorter in (sorters.compiled, sorters.naive):
        if "b" not in sorter.totals:
            sorter.add_agent("b", ";".join(f"n{i}:1" for i in range(9)))
        sorter.sort()


def copy_sorter(sorters: Sorters) -> None:
    twin = sorters.compiled.copy(sorters.compiled.totals.copy())
    check_sorter(twin)
    assert list(twin.order()) == sorters.naive.sort()


def walk(sorters: Sorters) -> None:
    # One walk is disturbed by the other, and by a change at a client that is yet to come.
    expected = sorters.naive.sort()
    others, walk = sorters.compiled.order(), walked(sorters.compiled)
    assert next(others) == next(walk) == expected[0]
    for sorter in (sorters.compiled, sorters.naive):
        sorter.deactivate(expected[-1])
        sorter.activate(expected[-1])
    assert list(walk) == list(others) == expected[1:]


def share(sorters: Sorters) -> None:
    for name in ("n1", "n2", "n3"):
        sorters.compiled.totals.column(name)  # the rows have room for four
    volume = Resources([SHARED])
    change_as_engine(sorters.compiled, "web", "a", Resources(), volume, 0)
    change_as_engine(sorters.compiled, "web", "a", volume, Resources(), 0)


#: A volume that several may use at once.
SHARED = {
    "name": "disk",
    "type": "SCALAR",
    "scalar": {"value": 9},
    "reservations": [{"type": "DYNAMIC", "role": "web"}],
    "disk": {"persistence": {"id": "v"}, "volume": {"container_path": "v"}},
    "shared": {},
}


@pytest.mark.parametrize(
    "work", [add_clients, allocate_new_names, add_totals, copy_sorter, walk, share]
)
def test_sorters(work: Callable[[Sorters], None]) -> None:
    assert at_each_point(Sorters, work, Sorters.check) > 0


# Engines.


def test_looking_and_copying_leave_no_trace() -> None:
    engine = Allocator(seed=1, clock=ManualClock())
    engine.add_agents([f"a{i}" for i in range(9)], "cpus:4;mem:8;ports:[1-9]")
    engine.add_frameworks([f"f{i}" for i in range(5)], roles=("eng/prod",))
    engine.set_quota("eng", guarantee="cpus:3", limit="mem:40")
    engine.decline(engine.allocate()[:4], refuse_seconds=60.0)
    before = engine.snapshot()

    def look(engine: Allocator) -> None:
        assert engine.snapshot() == before
        assert engine.fork().snapshot() == before
        assert Allocator.restore(before, clock=ManualClock()).snapshot() == before
        engine.explain("f1")

    def check(engine: Allocator) -> None:
        assert engine.snapshot() == before
        check_stores(engine)

    assert at_each_point(lambda: engine, look, check) > 50


def done(engine: Any, made: Call, clock: ManualClock) -> Any:
    """Make a call; return what it returns, or what it raises that is a refusal."""
    try:
        if made.method == "restore":
            return Allocator.restore(json.loads(json.dumps(engine.snapshot())), clock=clock)
        if made.method == "fork":
            return engine.fork()
        return getattr(engine, made.method)(*made.args, **made.kwargs)
    except (AllocatorError, MemoryError) as refusal:
        return refusal


@pytest.mark.parametrize("n_failing", [1, 10**6], ids=["one", "all-from-there"])
@pytest.mark.parametrize("seed", range(10))
def test_histories(seed: int, n_failing: int) -> None:
    workload = Workload(seed, THEMES[seed % len(THEMES)])
    options, clock = workload.options(seed), ManualClock()
    engine = Allocator(**options, clock=clock)
    chooser = reference.Allocator(**options, clock=clock)
    recent: deque[Call] = deque(maxlen=4)
    for _ in range(40):
        made = workload.next(chooser)
        if made.method == "advance":
            clock.advance(*made.args)
            continue
        recent.append(made)
        fail_at_each_point(engine, made, recent, clock, n_failing)
        result = done(engine, made, clock)
        assert not isinstance(result, MemoryError)
        if made.method in ("restore", "fork"):
            engine = result
        else:
            workload.shown(done(chooser, made, clock))


def fail_at_each_point(
    engine: Allocator, made: Call, recent: deque[Call], clock: ManualClock, n_failing: int
) -> None:
    """Make a call on forks of an engine, each with a failure elsewhere, and go on with each."""
    trial = engine.fork()
    with Faults() as counted:
        expected = done(trial, made, clock)
    for point in range(1, min(counted.n_seen, MAX_POINTS) + 1):
        twin = engine.fork()
        with Faults(point, n_failing):
            result = done(twin, made, clock)
        check_stores(twin)
        if isinstance(result, MemoryError):
            for later in recent:
                done(twin, later, clock)
            check_stores(twin)
            done(twin, Call("allocate"), clock)
        else:
            assert type(result) is type(expected)
            assert twin.snapshot() == trial.snapshot()
