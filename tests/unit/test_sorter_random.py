"""The random sorter: every order of the tree, by lot, by weight."""

from __future__ import annotations

from collections import Counter

from allocator.sorter import RandomSorter


def sorter_of(*clients: str, seed: int | str | None = 1) -> RandomSorter:
    sorter = RandomSorter(seed=seed)
    for client in clients:
        sorter.add(client)
        sorter.activate(client)
    return sorter


def first_counts(sorter: RandomSorter, n: int) -> Counter[str]:
    """Count over `n` orders who comes first."""
    return Counter(sorter.sort()[0] for _ in range(n))


def test_only_active_clients_each_once() -> None:
    sorter = sorter_of("a", "b/c", "b/d", "b", "e/f")
    sorter.deactivate("e/f")
    sorter.add("g")
    for _ in range(50):
        assert sorted(sorter.sort()) == ["a", "b", "b/c", "b/d"]
        assert sorted(sorter.order()) == ["a", "b", "b/c", "b/d"]


def test_subtrees_stay_together() -> None:
    sorter = sorter_of("a/x", "a/y", "a", "b/x", "b/y", "c")
    seen = set()
    for _ in range(200):
        tops = [client.partition("/")[0] for client in sorter.sort()]
        runs = [top for n, top in enumerate(tops) if n == 0 or tops[n - 1] != top]
        assert sorted(runs) == ["a", "b", "c"]
        seen.add(tuple(runs))
    assert len(seen) == 6


def test_the_stream_depends_on_the_key_alone() -> None:
    one, other = sorter_of(*"abcdef", seed=1), sorter_of(*"fedcba", seed=2)
    one.sort()
    for key in (0, 5, 2**64 - 1):
        one.begin(key)
        other.begin(key)
        assert [one.sort() for _ in range(5)] == [other.sort() for _ in range(5)]


def test_inactive_clients_take_no_draws() -> None:
    one, other = sorter_of(*"abc"), sorter_of(*"abc")
    other.add("ab/x")
    assert [one.sort() for _ in range(5)] == [other.sort() for _ in range(5)]


def test_the_seed_begins_the_stream() -> None:
    orders = [sorter_of(*"abcdefgh", seed=seed).sort() for seed in (3, 3, "x", "x", 4)]
    assert orders[0] == orders[1]
    assert orders[2] == orders[3]
    assert orders[0] != orders[4]


def test_a_copy_draws_the_same_from_then_on() -> None:
    sorter = sorter_of(*"abcdefgh")
    sorter.sort()
    twin = sorter.copy()
    assert [twin.sort() for _ in range(5)] == [sorter.sort() for _ in range(5)]


def test_weights_are_odds() -> None:
    sorter = sorter_of("a", "b", "c/x", "c/y")
    sorter.update_weight("b", 2.0)
    sorter.update_weight("c", 5.0)
    counts = first_counts(sorter, 4000)
    # 500, 1000 and 2500 expected; 5 standard deviations are at most 158. The seed is fixed.
    assert abs(counts["a"] - 500) < 160
    assert abs(counts["b"] - 1000) < 160
    assert abs(counts["c/x"] - 1250) < 160
    assert abs(counts["c/y"] - 1250) < 160


def test_an_implicit_leaf_has_a_weight_of_its_own() -> None:
    sorter = sorter_of("a", "a/x")
    sorter.update_weight("a", 100.0)
    counts = first_counts(sorter, 1000)
    # 500 each expected; 5 standard deviations are 79.
    assert abs(counts["a"] - 500) < 80


def test_who_comes_first_is_chance() -> None:
    sorter = sorter_of("a", "b")
    sorter.add_agent("a1", "cpus:10")
    sorter.allocated("b", "a1", "cpus:5")
    assert sorter.standing("a").before(sorter.standing("b")) == "drawn by lot"
    assert sorter.standing("b").share == 0.5
