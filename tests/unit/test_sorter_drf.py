"""What only the sorters that keep an order have to prove: that it is kept, and at what cost."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import weakref
from importlib.machinery import EXTENSION_SUFFIXES
from typing import TypeAlias

import pytest

from allocator.resources import Resources
from allocator.sorter import DRFSorter, NaiveDRFSorter, SortedDRFSorter, Totals, _drf
from tests.compiled.sorters import change_as_engine, check, walked

Incremental: TypeAlias = DRFSorter | SortedDRFSorter


@pytest.fixture(params=[SortedDRFSorter, DRFSorter])
def make(request: pytest.FixtureRequest) -> type[Incremental]:
    """Each sorter that keeps an order up to date."""
    factory: type[Incremental] = request.param
    return factory


def test_the_compiled_module_is_in_use() -> None:
    assert DRFSorter is _drf.DRFSorter
    assert _drf.__file__.endswith(tuple(EXTENSION_SUFFIXES))


@pytest.mark.parametrize(
    "module", [f"allocator.sorter._{name}" for name in ("drf", "hdrf", "tree", "ordering")]
)
def test_without_a_compiled_module_there_is_no_slow_path(module: str) -> None:
    script = f"import sys; sys.modules['{module}'] = None; import allocator.sorter"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    last = run.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: the compiled module {module} is missing")
    assert "`pip install --no-build-isolation -e .`" in last


@pytest.mark.parametrize("flat", [True, False])
def test_many_siblings_over_a_long_life(make: type[Incremental], flat: bool) -> None:
    """Trees of some height under every kind of change, against the naive order."""
    rng = random.Random(int(flat))
    naive = NaiveDRFSorter(flat=flat)
    kept = make(flat=flat)
    both = (naive, kept)
    amounts = [Resources(text) for text in ("cpus:1", "cpus:3", "mem:2", "cpus:1;mem:1", "")]
    for sorter in both:
        sorter.add_agent("a0", "cpus:1000;mem:1000")
    clients: list[str] = []
    for step in range(4000):
        dice = rng.random()
        if dice < 0.15 or not clients:
            client = f"{rng.randrange(3)}/{rng.randrange(1000)}"
            if client in naive:
                continue
            clients.append(client)
            for sorter in both:
                sorter.add(client)
                sorter.activate(client)
        elif dice < 0.20:
            client = clients.pop(rng.randrange(len(clients)))
            for sorter in both:
                sorter.remove(client)
        elif dice < 0.22:
            client, switch = rng.choice(clients), rng.choice(["activate", "deactivate"])
            for sorter in both:
                getattr(sorter, switch)(client)
        elif dice < 0.24:
            path, weight = rng.choice([*clients, "0", "1"]), rng.choice([0.5, 1, 2])
            for sorter in both:
                sorter.update_weight(path, weight)
        elif dice < 0.25:
            size = rng.choice(["cpus:7", "mem:900", "cpus:500;mem:3"])
            for sorter in both:
                if "a1" in sorter.totals:
                    sorter.remove_agent("a1")
                sorter.add_agent("a1", size)
        elif dice < 0.50:
            client = rng.choice(clients)
            held = naive.allocation(client).get("a1", Resources())
            for sorter in both:
                sorter.unallocated(client, "a1", held)
        else:
            client = rng.choice(clients) if dice < 0.75 else next(kept.order(), clients[0])
            amount = rng.choice(amounts)
            for sorter in both:
                sorter.allocated(client, "a1", amount)
        if step % 50 == 0:
            check(kept)
            assert kept.sort() == naive.sort()
    assert len(clients) > 300


def test_from_first_to_last_and_back(make: type[Incremental]) -> None:
    sorter = make(flat=True)
    sorter.add_agent("a1", "cpus:1000000")
    clients = [f"c{n:03}" for n in range(300)]
    for client in clients:
        sorter.add(client)
        sorter.activate(client)
    for number, client in enumerate(clients):
        assert next(sorter.order()) == client
        sorter.allocated(client, "a1", "cpus:5")
        if number % 30 == 0:
            check(sorter)
    assert sorter.sort() == clients
    for client in reversed(clients):
        sorter.unallocated(client, "a1", "cpus:5")
        assert next(sorter.order()) == client
    # numbers: all 1 again, shares 0
    assert sorter.sort() == clients


def test_totals_may_reverse_the_order(make: type[Incremental]) -> None:
    sorter = make(flat=True)
    sorter.add_agent("cpus", "cpus:1000000")
    clients = [f"c{n:03}" for n in range(200)]
    for number, client in enumerate(clients):
        sorter.add(client)
        sorter.activate(client)
        sorter.allocated(client, "a1", {"cpus": number + 1, "mem": 200 - number})
    assert sorter.sort() == clients
    sorter.add_agent("mem", "mem:200")
    assert sorter.sort() == clients[::-1]
    check(sorter)
    sorter.remove_agent("cpus")
    assert sorter.sort() == clients[::-1]
    sorter.remove_agent("mem")
    assert sorter.sort() == clients
    check(sorter)


def follows_the_live_order(walk: object) -> bool:
    """Tell whether a walk has not taken down the rest of its order."""
    return not any(isinstance(part, list) for part in gc.get_referents(walk))


def test_a_cycle_does_not_make_a_walk_take_down_its_order() -> None:
    sorter = DRFSorter()
    sorter.add_agent("a1", "cpus:100")
    for client in ("a/x", "a/y", "b", "c", "d"):
        sorter.add(client)
        sorter.activate(client)
    walk = sorter.order()
    for expected in ("a/x", "a/y", "b"):
        assert next(walk) == expected
        sorter.allocated(expected, "a1", "cpus:1")
        sorter.unallocated("a/x", "a1", "cpus:0.001")
        sorter.share("c")
        check(sorter)
        assert follows_the_live_order(walk)
    sorter.allocated("c", "a1", "cpus:1")
    assert not follows_the_live_order(walk)
    assert list(walk) == ["c", "d"]


def test_the_engine_gets_the_order_of_the_start_whatever_is_changed(
    make: type[Incremental],
) -> None:
    sorter = make()
    sorter.add_agent("a1", "cpus:100")
    for client in ("a/x", "a/y", "b", "c", "d"):
        sorter.add(client)
        sorter.activate(client)
    walk = walked(sorter)
    assert [next(walk), next(walk)] == ["a/x", "a/y"]
    # What is passed may move; then the next but one gets something, and d leaves.
    sorter.allocated("a/x", "a1", "cpus:1")
    sorter.allocated("c", "a1", "cpus:2")
    sorter.deactivate("d")
    assert sorter.sort() == ["b", "a/y", "a/x", "c"]
    # Walks of others are no concern of it, nor it of theirs.
    other = sorter.order()
    assert next(other) == "b"
    assert list(walk) == ["b", "c", "d"]
    assert list(other) == ["a/y", "a/x", "c"]
    assert list(walked(sorter)) == ["b", "a/y", "a/x", "c"]


def test_a_walk_of_the_engine_leaves_others_their_order(make: type[Incremental]) -> None:
    sorter = make()
    for client in "abcd":
        sorter.add(client)
        sorter.activate(client)
    other = sorter.order()
    assert next(other) == "a"
    walk = walked(sorter)
    assert next(walk) == "a"
    sorter.allocated("a", "a1", "cpus:1")
    walk.close()
    sorter.deactivate("c")
    assert list(other) == ["b", "c", "d"]


def test_a_walk_outlives_its_sorter(make: type[Incremental]) -> None:
    sorter = make()
    for client in "abc":
        sorter.add(client)
        sorter.activate(client)
    walk = sorter.order()
    assert next(walk) == "a"
    del sorter
    gc.collect()
    assert list(walk) == ["b", "c"]


def test_a_walk_dropped_half_way_leaves_no_trace(make: type[Incremental]) -> None:
    sorter = make()
    for client in "abc":
        sorter.add(client)
        sorter.activate(client)
    for _ in range(3):
        walk = sorter.order()
        next(walk)
        del walk
        sorter.deactivate("b")
        sorter.activate("b")
    assert sorter.sort() == ["a", "b", "c"]


def test_sorters_and_what_they_hold_are_freed(make: type[Incremental]) -> None:
    class Text(str):
        """A string that can be watched."""

    sorter = make(flat=True)
    agent = Text("a1")
    watch = weakref.ref(agent)
    sorter.add("a")
    sorter.activate("a")
    sorter.allocated("a", agent, "cpus:1")
    del agent
    assert watch() is not None
    sorter.unallocated("a", "a1", "cpus:1")
    assert watch() is None

    agent = Text("a2")
    watch = weakref.ref(agent)
    sorter.allocated("a", agent, "cpus:1")
    del agent
    sorter.order()
    del sorter
    gc.collect()
    assert watch() is None


def test_many_names_widen_the_rows() -> None:
    totals = Totals()
    first, second = DRFSorter(totals=totals), DRFSorter(totals=totals)
    for sorter in (first, second):
        sorter.add("a/b")
        sorter.add("a/c")
    for number in range(50):
        first.allocated("a/b", "a1", {f"name{number}": number + 1})
        second.allocated("a/c", "a1", {f"name{49 - number}": 1})
        totals.add_agent(f"agent{number}", {f"name{number}": 100})
        assert first.share("a/b") == (number + 1) / 100
        check(first)
        check(second)
    assert second.share("a") == 1 / 100
    assert len(first.quantities()) == len(second.quantities()) == 50


def test_shared_entries_beside_rows_count_once_and_add_no_time() -> None:
    volume = shared_volume(40)
    sorter = DRFSorter()
    sorter.add_agent("a1", "cpus:100;disk:100")
    for client in ("a/x", "a/y"):
        sorter.add(client)
        sorter.activate(client)
        change_as_engine(sorter, client, "a1", Resources(), Resources("cpus:10") + volume, 0)
    # shares: a = .4 (disk; cpus = .2), a/x = a/y = .4
    assert [sorter.share(path) for path in ("a", "a/x", "a/y")] == [0.4, 0.4, 0.4]
    assert sorter.times_allocated() == {"a": 0, "a/x": 0, "a/y": 0}
    sorter.allocated("a/x", "a1", volume)
    twin = sorter.copy()
    for kept in (sorter, twin):
        check(kept)
        kept.unallocated("a/x", "a1", volume)
        # a/x has its first copy still
        assert kept.share("a/x") == 0.4
        kept.remove("a/x")
        # shares: a = .4 (disk; cpus = .1)
        assert (kept.share("a"), kept.quantities()["cpus"]) == (0.4, 10)
        change_as_engine(kept, "a/y", "a1", volume, Resources(), 0)
        # shares: a = .1 (cpus)
        assert kept.share("a") == 0.1
        check(kept)


def shared_volume(size: int) -> Resources:
    """Return one copy of a shared volume."""
    body = {
        "name": "disk",
        "type": "SCALAR",
        "scalar": {"value": size},
        "reservations": [{"type": "STATIC", "role": "a"}],
        "disk": {"persistence": {"id": "v1"}, "volume": {"mode": "RW", "container_path": "x"}},
        "shared": {},
    }
    return Resources([body])


def test_names_beyond_ascii_last_as_long_as_their_nodes(make: type[Incremental]) -> None:
    """Names of which some stand in their paths' own text and some in text of their own."""
    names = ["a", "é", "\uffff", "\U0001f600", "\ud800", "b" * 40]
    paths = [f"{parent}/{name}" for parent in names for name in names]
    for flat in (True, False):
        naive, kept = NaiveDRFSorter(flat=flat), make(flat=flat)
        for path in paths:
            for sorter in (naive, kept):
                sorter.add("".join(path))  # a text that nobody else keeps
                sorter.activate(path)
        twin = kept.copy()
        for path in paths[::2]:
            for sorter in (naive, kept):
                sorter.remove(path)
        assert kept.sort() == naive.sort()
        del kept
        gc.collect()
        for path in paths[::2]:
            twin.remove(path)
        check(twin)
        assert twin.sort() == naive.sort()


def test_the_compiled_sorter_is_final_and_not_pickled() -> None:
    with pytest.raises(TypeError, match="not an acceptable base type"):
        type("Sub", (DRFSorter,), {})
    with pytest.raises(TypeError):
        DRFSorter().__reduce__()


def test_an_excluded_name_that_comes_after_the_totals_were_read() -> None:
    # With "cpus", "mem", "disk" and "ports" a row is full; "gpus" gets its column from a client.
    script = """
from allocator.sorter import DRFSorter, Totals

totals = Totals()
totals.add_agent("a", "cpus:10;mem:7;disk:1;ports:1")
first, second = (DRFSorter(exclude=("gpus",), totals=totals) for _ in range(2))
first.sort()
first.add("f")
first.activate("f")
first.allocated("f", "a", "gpus:1")
second.sort()
for _ in range(3):
    second = second.copy(totals.copy())
    second.sort()
"""
    # This allocator of memory ends the process when a block was written to beyond its end.
    environment = {**os.environ, "PYTHONMALLOC": "debug"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
