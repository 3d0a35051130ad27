"""The order of the DRF sorters: the scenarios of Mesos' sorter tests, and every tie."""

from __future__ import annotations

from typing import Protocol

import pytest

from allocator.errors import UnknownClient
from allocator.resources import Resources
from allocator.sorter import (
    DRFSorter,
    NaiveDRFSorter,
    SortedDRFSorter,
    Sorter,
    Standing,
    parting,
)


class SorterFactory(Protocol):
    def __call__(self, exclude: tuple[str, ...] = (), *, flat: bool = False) -> Sorter: ...


@pytest.fixture(params=[NaiveDRFSorter, SortedDRFSorter, DRFSorter])
def make(request: pytest.FixtureRequest) -> SorterFactory:
    """Each of the DRF sorters."""
    factory: SorterFactory = request.param
    return factory


@pytest.fixture
def sorter(make: SorterFactory) -> Sorter:
    """A sorter with one agent of 100 cpus and 100 MB."""
    sorter = make()
    sorter.add_agent("agent", "cpus:100;mem:100")
    return sorter


def join(sorter: Sorter, *clients: str) -> None:
    """Add active clients."""
    for client in clients:
        sorter.add(client)
        sorter.activate(client)


def give(sorter: Sorter, client: str, resources: str | Resources) -> None:
    sorter.allocated(client, "agent", resources)


def take(sorter: Sorter, client: str, resources: str | Resources) -> None:
    sorter.unallocated(client, "agent", resources)


def set_total(sorter: Sorter, resources: str | Resources) -> None:
    sorter.remove_agent("agent")
    sorter.add_agent("agent", resources)


def shared_disk(size: int) -> Resources:
    """Return one copy of a shared volume."""
    return Resources(
        [
            {
                "name": "disk",
                "type": "SCALAR",
                "scalar": {"value": size},
                "reservations": [{"type": "STATIC", "role": "role1"}],
                "disk": {
                    "persistence": {"id": "id1"},
                    "volume": {"mode": "RW", "container_path": "path1"},
                },
                "shared": {},
            }
        ]
    )


# Shares.


@pytest.mark.parametrize(
    "nest",
    [
        pytest.param(lambda name: name, id="flat"),
        pytest.param(lambda name: f"{name}/{name}", id="shallow"),
        pytest.param(lambda name: "/".join(name * (ord(name) - 95)), id="deep"),
    ],
)
def test_a_life(sorter: Sorter, nest) -> None:  # type: ignore[no-untyped-def]
    """One client a branch: depth must not matter."""
    a, b, c, d, e, f = map(nest, "abcdef")

    join(sorter, a, b)
    give(sorter, a, "cpus:5;mem:5")
    give(sorter, b, "cpus:6;mem:6")
    # shares: a = .05, b = .06
    assert sorter.sort() == [a, b]
    assert (sorter.share(a), sorter.share(b)) == (0.05, 0.06)

    join(sorter, c, d)
    give(sorter, c, "cpus:1;mem:1")
    give(sorter, d, "cpus:3;mem:1")
    # shares: a = .05, b = .06, c = .01, d = .03
    assert sorter.sort() == [c, d, a, b]

    sorter.remove(a)
    take(sorter, b, "cpus:4;mem:4")
    # shares: b = .02, c = .01, d = .03
    assert sorter.sort() == [c, b, d]

    join(sorter, e)
    give(sorter, e, "cpus:1;mem:5")
    set_total(sorter, "cpus:50;mem:100")
    # shares: b = .04, c = .02, d = .06, e = .05
    assert sorter.sort() == [c, b, e, d]
    assert [sorter.share(client) for client in (b, c, d, e)] == [0.04, 0.02, 0.06, 0.05]

    set_total(sorter, "cpus:50;mem:200")
    join(sorter, f)
    give(sorter, f, "cpus:5;mem:1")
    give(sorter, c, "mem:15")
    # shares: b = .04, c = .08, d = .06, e = .025, f = .1
    assert sorter.sort() == [e, b, d, c, f]
    assert b in sorter
    assert a not in sorter
    assert len(sorter) == 5

    sorter.deactivate(d)
    assert d in sorter
    assert sorter.sort() == [e, b, c, f]
    assert len(sorter) == 5
    sorter.activate(d)
    assert sorter.sort() == [e, b, d, c, f]


def test_it_says_why_one_stands_before_another(sorter: Sorter) -> None:
    for client in ("eng", "eng/prod", "lab", "ops", "web"):
        sorter.add(client)
        sorter.activate(client)
    sorter.allocated("eng", "a1", "cpus:10")
    sorter.allocated("eng/prod", "a1", "cpus:30")
    sorter.allocated("ops", "a1", "cpus:20")
    sorter.allocated("ops", "a1", "cpus:20")
    sorter.allocated("web", "a1", "cpus:40")

    # lab 0; web 0.4, once; eng 0.4, twice (itself 0.1, prod 0.3); ops 0.4, twice
    assert sorter.sort() == ["lab", "web", "eng", "eng/prod", "ops"]
    assert sorter.standing("eng") == Standing("eng", 0.4, 2)

    def why(ahead: str, behind: str) -> str:
        first, second = map(sorter.standing, parting(ahead, behind))
        return first.before(second)

    assert why("lab", "eng/prod") == "share 0 < 0.4"
    assert why("eng", "eng/prod") == "share 0.1 < 0.3"
    assert why("web", "eng/prod") == "equal shares of 0.4, times allocated 1 < 2"
    assert why("eng/prod", "ops") == "equal shares of 0.4, as many times allocated, by name"
    with pytest.raises(UnknownClient, match="'eng/test'"):
        sorter.standing("eng/test")


def test_shares_that_hardly_differ_are_written_in_full() -> None:
    ahead, behind = Standing("a", 0.1, 7), Standing("b", 0.1 + 2**-40, 0)
    assert ahead.before(behind) == "share 0.1 < 0.1000000000009095"


def test_weights_divide_shares(sorter: Sorter) -> None:
    join(sorter, "a", "b")
    give(sorter, "a", "cpus:5;mem:5")
    sorter.update_weight("b", 2)
    give(sorter, "b", "cpus:6;mem:6")
    # shares: a = .05, b = .03
    assert sorter.sort() == ["b", "a"]

    join(sorter, "c")
    give(sorter, "c", "cpus:4;mem:4")
    # shares: a = .05, b = .03, c = .04
    assert sorter.sort() == ["b", "c", "a"]

    sorter.update_weight("d", 10)
    join(sorter, "d")
    give(sorter, "d", "cpus:10;mem:20")
    # shares: a = .05, b = .03, c = .04, d = .02
    assert sorter.sort() == ["d", "b", "c", "a"]

    sorter.remove("b")
    assert sorter.sort() == ["d", "c", "a"]

    give(sorter, "d", "cpus:10;mem:25")
    # shares: a = .05, c = .04, d = .045
    assert sorter.sort() == ["c", "d", "a"]

    join(sorter, "e")
    sorter.update_weight("e", 0.1)
    give(sorter, "e", "cpus:1;mem:1")
    # shares: a = .05, c = .04, d = .045, e = .1
    assert sorter.sort() == ["c", "d", "a", "e"]

    sorter.remove("a")
    assert sorter.sort() == ["c", "d", "e"]


def test_a_share_is_one_division_by_the_total_and_one_by_the_weight(sorter: Sorter) -> None:
    set_total(sorter, "cpus:5;mem:7")
    join(sorter, "a")
    give(sorter, "a", "cpus:3;mem:4")
    sorter.update_weight("a", 0.1)
    # 3/5 (cpus) > 4/7 (mem); other ways to say the same give other doubles.
    share = (3.0 / 5.0) / 0.1
    assert share not in (3.0 / (5.0 * 0.1), (3.0 / 0.1) / 5.0, (3.0 / 5.0) * (1.0 / 0.1))
    assert sorter.share("a") == share


def test_amounts_beyond_the_integers_of_a_double_are_rounded_once(sorter: Sorter) -> None:
    total, part = 2**62 + 12345, 2**61 + 999
    set_total(sorter, Resources.from_milli({"cpus": total}))
    join(sorter, "a")
    give(sorter, "a", Resources.from_milli({"cpus": part}))
    assert sorter.share("a") == float(part) / float(total)


def test_names_without_a_positive_total_do_not_count(sorter: Sorter) -> None:
    join(sorter, "a", "b")
    give(sorter, "a", "gpus:8")
    give(sorter, "b", "cpus:1")
    # shares: a = 0 (nobody has gpus), b = .01
    assert sorter.sort() == ["a", "b"]
    sorter.add_agent("gpu-agent", "gpus:16")
    # shares: a = .5, b = .01
    assert sorter.sort() == ["b", "a"]
    sorter.remove_agent("gpu-agent")
    assert sorter.sort() == ["a", "b"]
    assert sorter.share("a") == 0.0


def test_excluded_names_do_not_count(make: SorterFactory) -> None:
    sorter = make(exclude=("gpus",))
    sorter.add_agent("agent", "cpus:100;gpus:4")
    join(sorter, "a", "b")
    give(sorter, "a", "cpus:1;gpus:4")
    give(sorter, "b", "cpus:2")
    # shares: a = .01 (gpus would be 1), b = .02
    assert sorter.sort() == ["a", "b"]
    assert sorter.quantities("a")["gpus"] == 4.0


def test_without_totals_all_shares_are_zero(make: SorterFactory) -> None:
    sorter = make()
    join(sorter, "b", "a")
    give(sorter, "a", "cpus:1")
    # shares: a = b = 0; numbers: a = 1, b = 0
    assert sorter.sort() == ["b", "a"]
    assert sorter.share("a") == 0.0


def test_only_scalars_count(sorter: Sorter) -> None:
    set_total(sorter, "cpus:100;ports:[1-10];disks:{a,b}")
    join(sorter, "a", "b")
    give(sorter, "a", "ports:[1-10];disks:{a,b}")
    give(sorter, "b", "cpus:1")
    # shares: a = 0, b = .01
    assert sorter.sort() == ["a", "b"]


def test_reserved_and_revocable_amounts_of_a_name_add_up(sorter: Sorter) -> None:
    revocable = {"name": "cpus", "type": "SCALAR", "scalar": {"value": 9}, "revocable": {}}
    set_total(sorter, Resources("cpus:10;cpus(x):1;mem:100") + Resources([revocable]))
    join(sorter, "a", "b")
    give(sorter, "a", "cpus:2;mem:1")
    give(sorter, "b", Resources("cpus:1;cpus(x):1;mem:1") + Resources([revocable]))
    # shares: a = .1, b = .55
    assert sorter.sort() == ["a", "b"]
    assert (sorter.share("a"), sorter.share("b")) == (0.1, 0.55)


def test_a_changed_total_changes_the_order(sorter: Sorter) -> None:
    set_total(sorter, "cpus:10;mem:100")
    join(sorter, "a", "b")
    give(sorter, "a", "cpus:2;mem:1")
    give(sorter, "b", "cpus:1;mem:2")
    # shares: a = .2 (cpus), b = .1 (cpus)
    assert sorter.sort() == ["b", "a"]
    set_total(sorter, "cpus:100;mem:10")
    # shares: a = .1 (mem), b = .2 (mem)
    assert sorter.sort() == ["a", "b"]


def test_totals_of_several_agents_add_up(sorter: Sorter) -> None:
    set_total(sorter, "cpus:5;mem:50")
    sorter.add_agent("other", "cpus:5;mem:50")
    join(sorter, "a", "b")
    sorter.allocated("a", "agent", "cpus:2;mem:1")
    sorter.allocated("b", "other", "cpus:1;mem:3")
    # shares: a = .2 (cpus), b = .1 (cpus)
    assert sorter.sort() == ["b", "a"]
    set_total(sorter, "cpus:95;mem:50")
    # shares: a = .02 (cpus), b = .03 (mem)
    assert sorter.sort() == ["a", "b"]


# Ties.


def test_equal_shares_go_by_the_number_of_times_allocated(sorter: Sorter) -> None:
    join(sorter, *"abcde")
    for client, amount in [*zip("abcccdde", [3, 3, 1, 1, 1, 2, 1, 3], strict=True)]:
        give(sorter, client, f"cpus:{amount};mem:{amount}")
    # numbers: a, b, e = 1, d = 2, c = 3
    assert sorter.sort() == ["a", "b", "e", "d", "c"]

    take(sorter, "c", "cpus:3;mem:3")
    # share of c = 0
    assert sorter.sort() == ["c", "a", "b", "e", "d"]
    give(sorter, "c", "cpus:3;mem:3")
    # numbers: a, b, e = 1, d = 2, c = 4; giving back took nothing from it
    assert sorter.sort() == ["a", "b", "e", "d", "c"]

    sorter.deactivate("c")
    sorter.activate("c")
    assert sorter.sort() == ["a", "b", "e", "d", "c"]

    sorter.deactivate("a")
    take(sorter, "a", "cpus:1;mem:3")
    give(sorter, "a", "cpus:1;mem:3")
    assert sorter.sort() == ["b", "e", "d", "c"]
    sorter.activate("a")
    # numbers: b, e = 1, a, d = 2, c = 4
    assert sorter.sort() == ["b", "e", "a", "d", "c"]


def test_an_allocation_of_nothing_counts_and_an_update_does_not(sorter: Sorter) -> None:
    join(sorter, "a", "b")
    give(sorter, "a", "")
    # numbers: a = 1, b = 0
    assert sorter.sort() == ["b", "a"]
    give(sorter, "b", "")
    sorter.update("b", "agent", "", "cpus:1")
    sorter.update("b", "agent", "cpus:1", "")
    # numbers: a = b = 1
    assert sorter.sort() == ["a", "b"]


def test_the_number_of_an_inner_node_grows_with_every_client_below(sorter: Sorter) -> None:
    join(sorter, "a/x", "a/y", "b")
    for client in ("a/x", "a/y", "b"):
        give(sorter, client, "")
    # shares: all 0; numbers: a = 2 (a/x = a/y = 1), b = 1
    assert sorter.sort() == ["b", "a/x", "a/y"]
    sorter.remove("a/x")
    sorter.remove("a/y")
    join(sorter, "a/z")
    # a is new again: number 0
    assert sorter.sort() == ["a/z", "b"]


def test_removing_a_client_takes_nothing_from_the_number_of_its_ancestors(sorter: Sorter) -> None:
    join(sorter, "a/x", "a/y", "b")
    give(sorter, "a/x", "")
    sorter.remove("a/x")
    # numbers: a = 1 (a/y = 0), b = 0
    assert sorter.sort() == ["b", "a/y"]


def test_a_split_leaf_and_its_implicit_leaf_have_the_number_of_the_leaf(sorter: Sorter) -> None:
    join(sorter, "a", "b")
    give(sorter, "a", "")
    join(sorter, "a/x")
    give(sorter, "b", "")
    # shares: all 0; numbers: a = 1 (a/. = 1, a/x = 0), b = 1
    assert sorter.sort() == ["a/x", "a", "b"]
    give(sorter, "a/x", "")
    # numbers: a = 2 (a/. = 1, a/x = 1), b = 1
    assert sorter.sort() == ["b", "a", "a/x"]


def test_a_parent_that_is_a_leaf_again_keeps_its_own_number(sorter: Sorter) -> None:
    join(sorter, "a", "a/x", "b")
    give(sorter, "a/x", "")
    sorter.remove("a/x")
    # numbers: a = 1, although its implicit leaf had 0; b = 0
    assert sorter.sort() == ["b", "a"]
    assert sorter.times_allocated() == {"a": 1, "b": 0}


def test_equal_shares_and_numbers_go_by_path_in_code_points(sorter: Sorter) -> None:
    clients = ["b", "a", "a!", "a+", "aa", "\U0001f600", "\uffff", "é", "a/b", "A", "~"]
    join(sorter, *clients)
    # "!" and "+" sort below "/", but siblings compare: a (with a/., a/b below it), a!, a+, aa.
    # UTF-16 would have the emoji below U+FFFF.
    assert sorter.sort() == [
        "A", "a", "a/b", "a!", "a+", "aa", "b", "~", "é", "\uffff", "\U0001f600",
    ]  # fmt: skip


def test_the_path_of_an_implicit_leaf_ends_in_a_dot(sorter: Sorter) -> None:
    join(sorter, "a", "a/!", "a/+", "a/.x", "a/0")
    # "!" < "+" < "." < ".x" < "0"
    assert sorter.sort() == ["a/!", "a/+", "a", "a/.x", "a/0"]


# The tree.


def test_siblings_compete_on_each_level(sorter: Sorter) -> None:
    join(sorter, "a", "b/c", "b/d")
    assert len(sorter) == 3
    assert "b" not in sorter
    # shares: a = 0, b = 0 (b/c = 0, b/d = 0)
    assert sorter.sort() == ["a", "b/c", "b/d"]

    give(sorter, "a", "cpus:6;mem:6")
    # shares: a = .06, b = 0
    assert sorter.sort() == ["b/c", "b/d", "a"]

    give(sorter, "b/c", "cpus:4;mem:4")
    give(sorter, "b/d", "cpus:3;mem:3")
    # shares: a = .06, b = .07 (b/c = .04, b/d = .03)
    assert sorter.sort() == ["a", "b/d", "b/c"]
    assert sorter.share("b") == 0.07

    give(sorter, "a", "cpus:2;mem:2")
    # shares: a = .08, b = .07
    assert sorter.sort() == ["b/d", "b/c", "a"]

    join(sorter, "b/e/f")
    assert "b/e" not in sorter
    # shares: a = .08, b = .07 (b/e = 0, b/d = .03, b/c = .04)
    assert sorter.sort() == ["b/e/f", "b/d", "b/c", "a"]

    give(sorter, "b/e/f", "cpus:3.5;mem:3.5")
    # shares: a = .08, b = .105 (b/d = .03, b/e = .035, b/c = .04)
    assert sorter.sort() == ["a", "b/d", "b/e/f", "b/c"]

    sorter.remove("b/e/f")
    # shares: a = .08, b = .07
    assert sorter.sort() == ["b/d", "b/c", "a"]

    sorter.update("b/c", "agent", "cpus:4;mem:4", "cpus:1;mem:1")
    # shares: a = .08, b = .04 (b/c = .01, b/d = .03)
    assert sorter.sort() == ["b/c", "b/d", "a"]

    join(sorter, "b/e/f")
    give(sorter, "b/e/f", "cpus:3.5;mem:3.5")
    # shares: a = .08, b = .075 (b/c = .01, b/d = .03, b/e = .035)
    assert sorter.sort() == ["b/c", "b/d", "b/e/f", "a"]


def test_the_order_of_the_whole_tree_is_preorder(sorter: Sorter) -> None:
    join(sorter, "a/b", "c", "d", "d/e")
    # shares: all 0
    assert sorter.sort() == ["a/b", "c", "d", "d/e"]
    give(sorter, "c", "cpus:8;mem:8")
    # shares: a = 0, d = 0, c = .08
    assert sorter.sort() == ["a/b", "d", "d/e", "c"]
    give(sorter, "d", "cpus:3;mem:3")
    give(sorter, "d/e", "cpus:2;mem:2")
    # shares: a = 0, d = .05 (d/e = .02, d/. = .03), c = .08
    assert sorter.sort() == ["a/b", "d/e", "d", "c"]
    give(sorter, "a/b", "cpus:6;mem:6")
    # shares: d = .05, a = .06, c = .08
    assert sorter.sort() == ["d/e", "d", "a/b", "c"]


def test_a_client_gets_clients_below_it(sorter: Sorter) -> None:
    join(sorter, "a", "b")
    give(sorter, "a", "cpus:10;mem:10")
    give(sorter, "b", "cpus:6;mem:6")
    assert sorter.sort() == ["b", "a"]

    join(sorter, "a/c")
    give(sorter, "a/c", "cpus:5;mem:5")
    # shares: b = .06, a = .15 (a/c = .05, a/. = .1)
    assert sorter.sort() == ["b", "a/c", "a"]
    assert (sorter.share("a"), sorter.share("a/.")) == (0.15, 0.1)

    sorter.remove("a")
    # shares: a = .05, b = .06
    assert "a" not in sorter
    assert sorter.sort() == ["a/c", "b"]

    join(sorter, "a")
    give(sorter, "a", "cpus:10;mem:10")
    assert sorter.sort() == ["b", "a/c", "a"]

    sorter.update_weight("a/c", 0.2)
    # shares: b = .06, a = .15 (a/. = .1, a/c = .25)
    assert sorter.sort() == ["b", "a", "a/c"]
    sorter.update_weight("a", 3)
    # shares: a = .05 (a/. = .1, whose own weight is 1, a/c = .25), b = .06
    assert sorter.sort() == ["a", "a/c", "b"]
    sorter.update_weight("a/c", 1)
    # shares: a = .05 (a/c = .05, a/. = .1), b = .06
    assert sorter.sort() == ["a/c", "a", "b"]


def test_an_inner_node_becomes_a_client(sorter: Sorter) -> None:
    join(sorter, "x/a", "x/b")
    give(sorter, "x/a", "cpus:10;mem:10")
    give(sorter, "x/b", "cpus:6;mem:6")
    assert sorter.sort() == ["x/b", "x/a"]
    join(sorter, "x")
    give(sorter, "x", "cpus:7;mem:7")
    # shares: x/b = .06, x/. = .07, x/a = .1
    assert sorter.sort() == ["x/b", "x", "x/a"]
    join(sorter, "z")
    give(sorter, "z", "cpus:20;mem:20")
    # shares: z = .2, x = .23
    assert sorter.sort() == ["z", "x/b", "x", "x/a"]
    sorter.remove("x")
    # shares: x = .16, z = .2
    assert sorter.sort() == ["x/b", "x/a", "z"]


def test_an_inactive_client_gets_clients_below_it(sorter: Sorter) -> None:
    join(sorter, "a", "b")
    give(sorter, "a", "cpus:10;mem:10")
    give(sorter, "b", "cpus:6;mem:6")
    sorter.deactivate("a")
    assert sorter.sort() == ["b"]
    join(sorter, "a/c")
    give(sorter, "a/c", "cpus:5;mem:5")
    # shares: b = .06, a = .15: what the inactive client holds counts
    assert sorter.sort() == ["b", "a/c"]
    sorter.activate("a")
    assert sorter.sort() == ["b", "a/c", "a"]


@pytest.mark.parametrize("active", [True, False])
def test_a_parent_becomes_a_leaf_again(sorter: Sorter, active: bool) -> None:
    join(sorter, "a", "b", "a/c/d")
    give(sorter, "a", "cpus:10;mem:10")
    give(sorter, "b", "cpus:6;mem:6")
    give(sorter, "a/c/d", "cpus:5;mem:5")
    assert sorter.sort() == ["b", "a/c/d", "a"]
    if not active:
        sorter.deactivate("a")
    sorter.remove("a/c/d")
    assert sorter.sort() == (["b", "a"] if active else ["b"])
    assert sorter.share("a") == 0.1
    assert sorter.allocation("a") == {"agent": Resources("cpus:10;mem:10")}
    sorter.remove("a")
    assert sorter.sort() == ["b"]
    assert sorter.times_allocated() == {"b": 1}


def test_weights_of_subtrees_hold_for_what_comes_later(sorter: Sorter) -> None:
    sorter.update_weight("b", 3)
    sorter.update_weight("a", 2)
    join(sorter, "a/x", "b/y")
    assert sorter.sort() == ["a/x", "b/y"]
    give(sorter, "a/x", "cpus:10;mem:10")
    give(sorter, "b/y", "cpus:10;mem:10")
    # shares: a = .05, b = .0333
    assert sorter.sort() == ["b/y", "a/x"]
    assert (sorter.share("a"), sorter.share("b")) == (0.1 / 2, 0.1 / 3)
    join(sorter, "b/z")
    give(sorter, "b/z", "cpus:5;mem:5")
    # shares: a = .1 / 2, b = .15 / 3, which as a double is just below (b/z = .05, b/y = .1)
    assert (sorter.share("a"), sorter.share("b")) == (0.1 / 2, 0.15 / 3)
    assert sorter.sort() == ["b/z", "b/y", "a/x"]
    join(sorter, "b")
    give(sorter, "b", "cpus:4;mem:4")
    # shares: a = .05, b = .0633 (b/. = .04, b/z = .05, b/y = .1)
    assert sorter.sort() == ["a/x", "b", "b/z", "b/y"]
    join(sorter, "a/zz")
    give(sorter, "a/zz", "cpus:2;mem:2")
    # shares: a = .06 (a/zz = .02, a/x = .1), b = .0633
    assert sorter.sort() == ["a/zz", "a/x", "b", "b/z", "b/y"]
    sorter.remove("a/x")
    sorter.remove("a/zz")
    join(sorter, "a")
    give(sorter, "a", "cpus:12")
    # The weight is the path's, whether leaf or inner node: a = .06.
    assert sorter.share("a") == 0.12 / 2


def test_a_flat_sorter_takes_names_as_they_are(make: SorterFactory) -> None:
    sorter = make(flat=True)
    sorter.add_agent("agent", "cpus:100")
    names = ["", "a/b", "a", "a/", "a/.", "//", " ", ".", "*/x", "\n"]
    join(sorter, *names)
    assert sorter.sort() == sorted(names)
    give(sorter, "a/b", "cpus:6")
    sorter.update_weight("a/.", 2)
    give(sorter, "a/.", "cpus:10")
    # shares: a/. = .05, a/b = .06, the others 0: a is not above them.
    assert sorter.sort()[-2:] == ["a/.", "a/b"]
    assert sorter.share("a") == 0.0
    sorter.remove("a/b")
    sorter.remove(".")
    assert sorter.sort() == [*sorted({*names} - {"a/b", "a/.", "."}), "a/."]


# Shared resources.


def test_each_of_several_clients_bears_a_shared_resource(sorter: Sorter) -> None:
    disk = shared_disk(100)
    set_total(sorter, Resources("cpus:100;mem:100;disk(role1):900") + disk)
    join(sorter, "a", "b", "c")
    give(sorter, "a", Resources("cpus:5;mem:5") + disk)
    give(sorter, "b", "cpus:6;mem:6")
    give(sorter, "c", Resources("cpus:1;mem:1") + disk)
    # shares: a = .1 (disk), b = .06 (cpus), c = .1 (disk)
    assert sorter.sort() == ["b", "a", "c"]
    # All together it counts once.
    assert sorter.quantities()["disk"] == 100.0
    sorter.remove("a")
    assert sorter.quantities()["disk"] == 100.0
    sorter.remove("c")
    assert sorter.quantities()["disk"] == 0.0


def test_copies_of_a_shared_resource_count_once(sorter: Sorter) -> None:
    disk = shared_disk(100)
    set_total(sorter, Resources("cpus:100;mem:100;disk(role1):900") + disk + disk)
    join(sorter, "a", "b")
    give(sorter, "a", Resources("cpus:2;mem:2") + disk + disk + disk)
    give(sorter, "b", "cpus:6;mem:6")
    # shares: a = .1 (disk, of a total of 1000), b = .06
    assert sorter.sort() == ["b", "a"]
    assert sorter.share("a") == 0.1
    take(sorter, "a", disk)
    assert sorter.share("a") == 0.1
    take(sorter, "a", disk + disk)
    # shares: a = .02, b = .06
    assert sorter.sort() == ["a", "b"]


def test_a_shared_resource_counts_once_in_each_node_above(sorter: Sorter) -> None:
    disk = shared_disk(100)
    set_total(sorter, Resources("cpus:100;disk(role1):900") + disk)
    join(sorter, "a/x", "a/y", "b")
    give(sorter, "a/x", disk)
    give(sorter, "a/y", disk)
    # shares: a/x = a/y = a = .1
    assert [sorter.share(path) for path in ("a", "a/x", "a/y")] == [0.1, 0.1, 0.1]
    take(sorter, "a/x", disk)
    assert [sorter.share(path) for path in ("a", "a/x", "a/y")] == [0.1, 0.0, 0.1]
    # On another agent it is another one.
    sorter.allocated("a/x", "elsewhere", disk)
    assert [sorter.share(path) for path in ("a", "a/x", "a/y")] == [0.2, 0.1, 0.1]


# Walking.


def test_an_order_is_that_of_the_moment_it_was_asked_for(sorter: Sorter) -> None:
    join(sorter, "a/x", "a/y", "b", "c")
    walk = sorter.order()
    assert next(walk) == "a/x"
    give(sorter, "a/x", "cpus:5")
    assert sorter.sort() == ["b", "c", "a/y", "a/x"]
    assert next(walk) == "a/y"
    give(sorter, "a/y", "cpus:5")
    assert next(walk) == "b"
    take(sorter, "a/x", "cpus:5")
    assert list(walk) == ["c"]
    assert list(walk) == []


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("allocated", ("d", "agent", "cpus:9")),
        ("unallocated", ("b/y", "agent", "cpus:2")),
        ("update", ("b/y", "agent", "cpus:2", "cpus:50")),
        ("update_weight", ("b", 0.001)),
        ("activate", ("0",)),
        ("deactivate", ("b/y",)),
        ("add", ("b/x/1",)),
        ("remove", ("b/y",)),
        ("remove", ("a",)),
        ("add_agent", ("new", "mem:1")),
        ("set_times_allocated", ({"d": 0, "c": 7},)),
    ],
)
def test_an_order_survives_any_change(
    sorter: Sorter, call: str, arguments: tuple[object, ...]
) -> None:
    join(sorter, "a", "b/x", "b/y", "c", "d")
    sorter.add("0")
    give(sorter, "b/y", "cpus:2")
    give(sorter, "d", "cpus:1")
    expected = ["a", "c", "d", "b/x", "b/y"]
    assert sorter.sort() == expected
    walks = [sorter.order() for _ in expected]
    for n, walk in enumerate(walks):
        assert [next(walk) for _ in range(n)] == expected[:n]
    getattr(sorter, call)(*arguments)
    sorter.sort()
    for n, walk in enumerate(walks):
        assert list(walk) == expected[n:]
