"""What holds for every sorter, whatever its order: books, refusals, copies."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from allocator.errors import (
    AllocatorError,
    DuplicateAgent,
    DuplicateClient,
    InvalidRole,
    InvalidValue,
    ResourceError,
    UnknownAgent,
    UnknownClient,
    shown,
)
from allocator.resources import Quantities, Resources
from allocator.sorter import (
    DRFSorter,
    HDRFSorter,
    NaiveDRFSorter,
    NaiveHDRFSorter,
    RandomSorter,
    SortedDRFSorter,
    Sorter,
    Totals,
)

SORTERS = (
    NaiveDRFSorter,
    SortedDRFSorter,
    DRFSorter,
    NaiveHDRFSorter,
    HDRFSorter,
    RandomSorter,
)
MAX_MILLI = 2**63 - 1


@pytest.fixture(params=SORTERS)
def make(request: pytest.FixtureRequest) -> Callable[..., Sorter]:
    """Each of the sorters."""
    factory: Callable[..., Sorter] = request.param
    return factory


@pytest.fixture
def sorter(make: Callable[..., Sorter]) -> Sorter:
    """A sorter with two agents, and clients of which one has clients below it."""
    sorter = make()
    sorter.add_agent("a1", "cpus:8;mem:1024")
    sorter.add_agent("a2", "cpus:8;mem:1024")
    for client in ("eng", "eng/prod", "ops"):
        sorter.add(client)
        sorter.activate(client)
    sorter.allocated("eng", "a1", "cpus:2;ports:[1-5]")
    sorter.allocated("eng", "a2", "cpus:1;cpus(x):1")
    sorter.allocated("eng/prod", "a1", "cpus:1;mem:64")
    return sorter


def picture(sorter: Sorter) -> dict[str, object]:
    """Return all that a sorter tells of itself, but for the order."""
    clients = [path for path in ("eng", "eng/prod", "ops") if path in sorter]
    return {
        "len": len(sorter),
        "active": sorted(sorter.sort()),
        "numbers": sorter.times_allocated(),
        "shares": {path: sorter.share(path) for path in sorter.times_allocated()},
        "standings": {path: sorter.standing(path) for path in sorter.times_allocated()},
        "allocations": {client: sorter.allocation(client) for client in clients},
        "quantities": {client: sorter.quantities(client) for client in clients},
        "all": sorter.quantities(),
        "totals": sorter.totals.quantities,
    }


def test_all_have_one_interface(sorter: Sorter) -> None:
    assert isinstance(sorter, Sorter)


def test_clients_are_counted_and_found(sorter: Sorter) -> None:
    assert len(sorter) == 3
    assert "eng" in sorter
    assert "en" not in sorter
    assert "eng/." not in sorter
    assert 7 not in sorter
    assert [] not in sorter


def test_a_new_client_is_inactive_and_holds_nothing(sorter: Sorter) -> None:
    sorter.add("new")
    assert "new" not in sorter.sort()
    assert sorter.allocation("new") == {}
    assert sorter.quantities("new") == Quantities()
    assert sorter.share("new") == 0.0


def test_activating_and_deactivating_twice_is_as_once(sorter: Sorter) -> None:
    sorter.activate("ops")
    sorter.activate("ops")
    assert sorted(sorter.sort()) == ["eng", "eng/prod", "ops"]
    sorter.deactivate("ops")
    sorter.deactivate("ops")
    assert sorted(sorter.sort()) == ["eng", "eng/prod"]
    sorter.activate("ops")
    assert sorted(sorter.sort()) == ["eng", "eng/prod", "ops"]


def test_a_deactivated_client_keeps_what_it_holds(sorter: Sorter) -> None:
    sorter.deactivate("eng")
    assert sorter.share("eng") == 5 / 16
    assert sorter.quantities("eng")["cpus"] == 4.0


def test_what_each_client_itself_holds(sorter: Sorter) -> None:
    assert sorter.allocation("eng") == {
        "a1": Resources("cpus:2;ports:[1-5]"),
        "a2": Resources("cpus:1;cpus(x):1"),
    }
    assert sorter.quantities("eng") == Quantities("cpus:4")
    assert sorter.quantities("eng/prod") == Quantities("cpus:1;mem:64")
    assert sorter.quantities() == Quantities("cpus:5;mem:64")
    assert [sorter.share(path) for path in ("eng", "eng/.", "eng/prod")] == [5 / 16, 4 / 16, 1 / 16]


def test_an_allocation_is_the_callers_to_change(sorter: Sorter) -> None:
    sorter.allocation("eng").clear()
    assert set(sorter.allocation("eng")) == {"a1", "a2"}
    sorter.sort().clear()
    assert len(sorter.sort()) == 3


def test_nothing_is_left_of_what_was_taken_back(sorter: Sorter) -> None:
    sorter.unallocated("eng", "a1", "cpus:1")
    assert sorter.allocation("eng")["a1"] == Resources("cpus:1;ports:[1-5]")
    sorter.unallocated("eng", "a1", "cpus:1;ports:[1-5]")
    assert set(sorter.allocation("eng")) == {"a2"}
    sorter.allocated("eng", "a3", "")
    assert set(sorter.allocation("eng")) == {"a2"}


def test_an_update_replaces(sorter: Sorter) -> None:
    sorter.update("eng", "a1", "cpus:2", "cpus(x):2")
    assert sorter.allocation("eng")["a1"] == Resources("cpus(x):2;ports:[1-5]")
    assert sorter.quantities("eng") == Quantities("cpus:4")
    sorter.update("eng", "a1", "cpus(x):2", "cpus(x):1;mem:5")
    assert sorter.quantities("eng") == Quantities("cpus:3;mem:5")
    sorter.update("eng", "a1", "cpus(x):1;mem:5;ports:[1-5]", "")
    assert set(sorter.allocation("eng")) == {"a2"}


def test_agents_of_allocations_need_not_be_known(sorter: Sorter) -> None:
    sorter.allocated("ops", "elsewhere", "cpus:4")
    assert sorter.share("ops") == 4 / 16
    sorter.remove_agent("a1")
    assert sorter.share("ops") == 4 / 8
    assert sorter.allocation("eng")["a1"] == Resources("cpus:2;ports:[1-5]")
    sorter.unallocated("eng", "a1", "cpus:2")


def test_a_removed_client_comes_back_with_nothing(sorter: Sorter) -> None:
    for client in ("eng", "eng/prod"):
        sorter.remove(client)
        sorter.add(client)
    assert sorter.quantities() == Quantities()
    # eng kept its number as a node, as a leaf while eng/prod was gone, and so in its implicit leaf.
    assert sorter.times_allocated() == {"eng": 3, "eng/.": 3, "eng/prod": 0, "ops": 0}
    assert sorter.sort() == ["ops"]


def test_an_emptied_sorter_is_as_new(make: Callable[..., Sorter]) -> None:
    sorter = make()
    for client in ("a/b", "a", "a/b/c", "d"):
        sorter.add(client)
        sorter.activate(client)
        sorter.allocated(client, "a1", "cpus:1")
    for client in ("a/b", "d", "a", "a/b/c"):
        sorter.remove(client)
    assert len(sorter) == 0
    assert sorter.sort() == []
    assert sorter.times_allocated() == {}
    assert sorter.quantities() == Quantities()


@pytest.mark.parametrize(
    "call",
    [
        ("remove", "nobody"),
        ("activate", "nobody"),
        ("deactivate", "nobody"),
        ("allocated", "nobody", "a1", "cpus:1"),
        ("unallocated", "nobody", "a1", ""),
        ("update", "nobody", "a1", "", ""),
        ("share", "nobody"),
        ("share", "ops/."),
        ("share", ""),
        ("allocation", "nobody"),
        ("quantities", "nobody"),
        ("allocated", "eng/.", "a1", "cpus:1"),
        ("activate", ["nobody"]),
        ("share", ["nobody"]),
        ("set_times_allocated", {"eng": 1, "nobody": 2}),
    ],
)
def test_unknown_clients_are_refused(sorter: Sorter, call: tuple[Any, ...]) -> None:
    refuses(sorter, UnknownClient, *call)


@pytest.mark.parametrize(
    "path", ["", "/", "/a", "a/", "a//b", ".", "a/..", "-a", "a b", "*/a", "a/*", "a\0", None, 7]
)
def test_malformed_paths_are_refused(sorter: Sorter, path: Any) -> None:
    refuses(sorter, InvalidRole, "add", path)
    refuses(sorter, InvalidRole, "update_weight", path, 2.0)


def test_a_flat_sorter_refuses_only_what_is_not_text(make: Callable[..., Sorter]) -> None:
    sorter = make(flat=True)
    refuses(sorter, InvalidValue, "add", 7)
    refuses(sorter, InvalidValue, "update_weight", None, 2.0)


def test_the_default_role_can_be_a_client(sorter: Sorter) -> None:
    sorter.add("*")
    assert "*" in sorter


@pytest.mark.parametrize(
    "weight",
    [0, 0.0, -1, 9.99e-10, 1.0000001e9, float("nan"), float("inf"), "2", None, True, 1j],
)
def test_weights_lie_in_their_bounds(sorter: Sorter, weight: Any) -> None:
    refuses(sorter, InvalidValue, "update_weight", "eng", weight, naming=shown(weight))


def test_a_weight_too_large_for_a_float_is_refused(sorter: Sorter) -> None:
    refuses(sorter, InvalidValue, "update_weight", "eng", 10**400, naming="1329 bits")


def test_the_bounds_of_weights_are_weights(sorter: Sorter) -> None:
    for client in ("light", "heavy"):
        sorter.add(client)
        sorter.allocated(client, "a1", "cpus:1")
    share = sorter.share("light")
    assert share > 0
    sorter.update_weight("light", 1e-9)
    sorter.update_weight("heavy", 1e9)
    assert (sorter.share("light"), sorter.share("heavy")) == (share / 1e-9, share / 1e9)


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (DuplicateClient, ("add", "ops")),
        (DuplicateClient, ("add", "eng")),
        (DuplicateAgent, ("add_agent", "a1", "cpus:1")),
        (UnknownAgent, ("remove_agent", "a9")),
        (ResourceError, ("add_agent", "a9", "cpus:-1")),
        (ResourceError, ("allocated", "ops", "a1", "cpus:x")),
        (ResourceError, ("allocated", "eng", "a1", "ports:1")),
        (ResourceError, ("unallocated", "eng", "a1", "cpus:2.001")),
        (ResourceError, ("unallocated", "eng", "a1", "cpus:1;ports:[5-6]")),
        (ResourceError, ("unallocated", "eng", "a3", "cpus:1")),
        (ResourceError, ("unallocated", "eng/prod", "a2", "cpus:1")),
        (ResourceError, ("update", "eng", "a1", "cpus:3", "cpus:1")),
        (ResourceError, ("update", "eng", "a1", "cpus:2", "ports:1")),
        (InvalidValue, ("set_times_allocated", {"eng": 1, "ops": -1})),
        (InvalidValue, ("set_times_allocated", {"eng": 1, "ops": 2**63})),
        (InvalidValue, ("set_times_allocated", {"eng": 1, "ops": 1.0})),
    ],
)
def test_refusals(sorter: Sorter, error: type[AllocatorError], call: tuple[Any, ...]) -> None:
    refuses(sorter, error, *call)


def test_sums_beyond_int64_are_refused(sorter: Sorter) -> None:
    most = Resources.from_milli({"mem": MAX_MILLI - 64_000})
    sorter.allocated("ops", "a1", most)
    assert sorter.quantities().milli["mem"] == MAX_MILLI
    refuses(sorter, ResourceError, "allocated", "ops", "a2", "mem:0.001", naming="mem")
    refuses(sorter, ResourceError, "allocated", "eng", "a1", "cpus:1;mem:0.001", naming="mem")
    refuses(sorter, ResourceError, "update", "eng", "a1", "cpus:1", "mem:0.001", naming="mem")
    sorter.update("ops", "a1", most, Resources.from_milli({"mem": 1}))
    sorter.allocated("eng", "a1", "mem:0.001")
    sorter.remove("ops")
    assert sorter.quantities().milli["mem"] == 64_001


def test_sums_with_shared_entries_beyond_int64_are_refused(sorter: Sorter) -> None:
    volume = shared_volume(MAX_MILLI // 1000 - 1000)
    sorter.allocated("ops", "a1", volume)
    sorter.allocated("eng", "a1", volume)
    sorter.allocated("eng", "a1", Resources("disk:500") + volume)
    refuses(sorter, ResourceError, "allocated", "eng/prod", "a2", volume, naming="disk")
    refuses(sorter, ResourceError, "allocated", "eng/prod", "a1", "disk:501", naming="disk")
    assert sorter.quantities("eng")["disk"] == sorter.quantities()["disk"]


def test_a_shared_volume_of_two_sizes_is_refused(sorter: Sorter) -> None:
    sorter.allocated("ops", "a1", shared_volume(5))
    refuses(sorter, ResourceError, "allocated", "eng/prod", "a1", shared_volume(6))
    sorter.allocated("eng/prod", "a2", shared_volume(6))


def test_totals_beyond_int64_are_refused(sorter: Sorter) -> None:
    refuses(sorter, ResourceError, "add_agent", "a9", Resources.from_milli({"cpus": MAX_MILLI}))


@pytest.mark.parametrize("exclude", ["cpus", [1], ("cpus", None)])
def test_what_is_excluded_must_be_names(make: Callable[..., Sorter], exclude: Any) -> None:
    with pytest.raises(InvalidValue, match="exclude="):
        make(exclude)


def test_sorters_share_totals(make: Callable[..., Sorter]) -> None:
    totals = Totals()
    first, second = make(totals=totals), make(("mem",), flat=True, totals=totals)
    for sorter in (first, second):
        sorter.add("a")
        sorter.allocated("a", "a1", "cpus:1;mem:1")
    first.add_agent("a1", "cpus:10;mem:2")
    assert (first.share("a"), second.share("a")) == (1 / 2, 1 / 10)
    totals.update_agent("a1", "cpus:5;mem:4")
    assert (first.share("a"), second.share("a")) == (1 / 4, 1 / 5)
    second.remove_agent("a1")
    assert (first.share("a"), second.share("a")) == (0.0, 0.0)
    assert first.totals is second.totals is totals


def test_numbers_can_be_saved_and_set(sorter: Sorter) -> None:
    numbers = sorter.times_allocated()
    assert numbers == {"eng": 3, "eng/.": 2, "eng/prod": 1, "ops": 0}
    sorter.allocated("eng", "a1", "cpus:1")
    sorter.unallocated("eng", "a1", "cpus:1")
    before = sorter.times_allocated()
    assert before == {"eng": 4, "eng/.": 3, "eng/prod": 1, "ops": 0}
    sorter.set_times_allocated({"ops": 9})
    assert sorter.times_allocated() == before | {"ops": 9}
    sorter.set_times_allocated(numbers)
    assert sorter.times_allocated() == numbers


def test_a_copy_answers_the_same_and_goes_its_own_way(sorter: Sorter) -> None:
    sorter.update_weight("eng", 2.0)
    sorter.update_weight("later", 4.0)
    twin = sorter.copy()
    assert type(twin) is type(sorter)
    before = picture(sorter)
    assert picture(twin) == before
    twin.remove("eng/prod")
    twin.allocated("eng", "a1", "cpus:1")
    twin.update_weight("ops", 3.0)
    twin.add_agent("a3", "cpus:100")
    twin.add("later")
    twin.allocated("later", "a1", "cpus:4")
    assert twin.share("later") == 4 / 116 / 4.0
    after = picture(twin)
    assert after != before
    assert picture(sorter) == before
    sorter.remove("eng")
    sorter.deactivate("ops")
    assert picture(twin) == after


def test_a_copy_on_other_totals(sorter: Sorter) -> None:
    totals = Totals()
    totals.add_agent("b1", "gpus:3;mem:128;cpus:10")
    totals.add_agent("b2", "disk:3")
    twin = sorter.copy(totals)
    assert twin.totals is totals
    assert twin.share("eng") == 5 / 10
    assert twin.share("eng/prod") == 64 / 128
    assert picture(twin)["allocations"] == picture(sorter)["allocations"]
    assert picture(twin)["quantities"] == picture(sorter)["quantities"]


def test_many_clients_and_names_come_and_go(make: Callable[..., Sorter]) -> None:
    """Books of a long life, checked against a plain dictionary."""
    rng = random.Random(3)
    sorter = make()
    sorter.add_agent("a1", "cpus:100")
    books: dict[str, dict[str, int]] = {}
    for step in range(3000):
        client = f"r{rng.randrange(12)}/{rng.randrange(12)}"
        if client not in books:
            sorter.add(client)
            books[client] = {}
        elif rng.random() < 0.1:
            sorter.remove(client)
            del books[client]
            continue
        name = f"n{rng.randrange(40)}"
        sorter.allocated(client, "a1", {name: 1})
        books[client][name] = books[client].get(name, 0) + 1
        if step % 100 == 0:
            assert {c: dict(sorter.quantities(c)) for c in books} == books
            sums: dict[str, int] = {}
            for held in books.values():
                for name, amount in held.items():
                    sums[name] = sums.get(name, 0) + amount
            assert dict(sorter.quantities()) == sums
    assert len(sorter) == len(books)


def shared_volume(size: int) -> Resources:
    return Resources(
        [
            {
                "name": "disk",
                "type": "SCALAR",
                "scalar": {"value": str(size)},
                "reservations": [{"type": "STATIC", "role": "eng"}],
                "disk": {"persistence": {"id": "v"}, "volume": {"container_path": "x"}},
                "shared": {},
            }
        ]
    )


def refuses(
    sorter: Sorter, error: type[AllocatorError], method: str, *arguments: Any, naming: str = ""
) -> None:
    """Check that a call is refused, names what was wrong, and changes nothing."""
    before = picture(sorter)
    with pytest.raises(error) as refusal:
        getattr(sorter, method)(*arguments)
    assert naming in str(refusal.value)
    assert picture(sorter) == before
