"""Filters against a plain list of them, and how little memory they take."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from allocator.engine._bundles import Bundles
from allocator.engine._filters import Filters
from allocator.resources import Resources
from allocator.sorter import Totals
from tests.compiled.bundles import BundleView, copied, forget_all, held, n_in_use
from tests.compiled.filters import asked, check, ended_pairs, known

#: What is refused or asked for; some contain others, some have a special part.
VALUES = tuple(
    map(
        Resources,
        ("", "cpus:1", "cpus:2;mem:1", "mem:1", "cpus:1;ports:[1-5]", "ports:[2-3]", "gpus(a):1"),
    )
)

#: leaf, agent, position in VALUES, end.
Row = tuple[int, int, int, float]


class Store:
    """Bundles of VALUES; their numbers are good as long as the store is not closed."""

    def __init__(self, bundles: Bundles, held: list[BundleView]) -> None:
        self.bundles = bundles
        self.held = held
        self.numbers = [bundle.number for bundle in held]

    @classmethod
    def new(cls) -> Store:
        """Return a store of its own."""
        bundles = Bundles(Totals())
        return cls(bundles, [held(bundles, value) for value in VALUES])

    def copy(self) -> Store:
        """Return a copy with the same numbers and as many references."""
        bundles = copied(self.bundles, self.bundles.totals.copy())
        return Store(bundles, [BundleView(bundles, number) for number in self.numbers])

    def close(self) -> None:
        """Give up all references, and check that nobody else has any."""
        self.held.clear()
        forget_all(self.bundles)
        assert n_in_use(self.bundles) == 0


class Twins:
    """Filters, and the plain list of what they should be."""

    def __init__(
        self, store: Store, filters: Filters, rows: list[Row], asked: frozenset[int] = frozenset()
    ) -> None:
        self.store = store
        self.filters = filters
        self.rows = rows
        self.asked = asked

    def copy(self) -> Twins:
        """Return a copy of both."""
        return Twins(self.store.copy(), self.filters.copy(), self.rows[:], self.asked)

    def ask(self, leaf: int, asked: bool) -> None:
        """Have a leaf be asked, or not."""
        self.filters.ask(leaf, asked)
        self.asked = self.asked | {leaf} if asked else self.asked - {leaf}

    def all_refuse(self, agent: int, value: int) -> bool:
        """Tell whether all that are asked are known to refuse, which is then so."""
        answer = self.filters.all_refuse(self.store.bundles, agent, self.store.numbers[value])
        for leaf in self.asked if answer else ():
            assert any(
                row[:2] == (leaf, agent) and VALUES[row[2]] >= VALUES[value] for row in self.rows
            )
        return answer

    def add(self, leaf: int, agent: int, value: int, end: float) -> None:
        """Add a filter."""
        self.filters.add(self.store.bundles, leaf, agent, self.store.numbers[value], end)
        self.rows.append((leaf, agent, value, end))

    def expire(self, now: float) -> None:
        """End what ends until `now`."""
        self.filters.expire(self.store.bundles, now)
        ended = {row[:2] for row in self.rows if row[3] <= now}
        assert set(ended_pairs(self.filters)) == ended
        self.rows = [row for row in self.rows if row[3] > now]

    def drop_leaf(self, leaf: int) -> None:
        """End the filters of a leaf."""
        n_dropped = self.filters.drop_leaf(self.store.bundles, leaf)
        assert n_dropped == sum(row[0] == leaf for row in self.rows)
        self.rows = [row for row in self.rows if row[0] != leaf]

    def drop_agent(self, agent: int) -> None:
        """End the filters on an agent."""
        self.filters.drop_agent(self.store.bundles, agent)
        self.rows = [row for row in self.rows if row[1] != agent]

    def rejects(self, leaf: int, agent: int, value: int) -> bool:
        """Ask both whether an offer is refused."""
        answer = self.filters.rejects(self.store.bundles, leaf, agent, self.store.numbers[value])
        assert answer == any(
            row[:2] == (leaf, agent) and VALUES[row[2]] >= VALUES[value] for row in self.rows
        )
        return answer

    def check(self) -> None:
        """Check that both are the same in all that can be asked."""
        numbers = self.store.numbers
        expected = [(leaf, agent, numbers[value], end) for leaf, agent, value, end in self.rows]
        assert sorted(self.filters.held()) == sorted(expected)
        assert self.filters.n_held == len(expected)
        assert self.filters.next_end() == min((row[3] for row in self.rows), default=math.inf)
        assert asked(self.filters) == sorted(self.asked)
        check(self.filters, self.store.bundles)

    def close(self) -> None:
        """End all filters, and check that nothing is left."""
        self.expire(math.inf)
        self.check()
        self.store.close()


indices = st.integers(0, 2) | st.integers(0, 40)
values = st.integers(0, len(VALUES) - 1)
#: Seconds from now; few different ones, so that filters of several times of adding end together.
lives = st.sampled_from([1.0, 1.0, 2.0, 3.0, 5.0])


class History(RuleBasedStateMachine):
    """Filters and the list through the same random history, from time to time in a copy."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.twins = Twins(Store.new(), Filters(), [])
        self.left: list[Twins] = []

    @rule(leaf=indices, agent=indices, value=values, life=lives)
    def add(self, leaf: int, agent: int, value: int, life: float) -> None:
        """Add one filter."""
        self.twins.add(leaf, agent, value, self.now + life)

    @rule(
        seed=st.integers(0, 2**32),
        n_filters=st.integers(1, 200),
        n_leaves=st.integers(1, 40),
        n_agents=st.integers(1, 4) | st.integers(1, 200),
        value=st.none() | values,
        life=st.none() | lives,
    )
    def add_many(
        self,
        seed: int,
        n_filters: int,
        n_leaves: int,
        n_agents: int,
        value: int | None,
        life: float | None,
    ) -> None:
        """Add many filters, of any values and each with an end of its own unless these are given.

        On so few agents as four, they are enough for leaves to be kept as bits.
        """
        draw = random.Random(seed)
        for _ in range(n_filters):
            self.twins.add(
                draw.randrange(n_leaves),
                draw.randrange(n_agents),
                draw.randrange(len(VALUES)) if value is None else value,
                self.now + (1.0 + draw.random() if life is None else life),
            )

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 1.5, 5.0]))
    def expire(self, seconds: float) -> None:
        """Go on in time."""
        self.now += seconds
        self.twins.expire(self.now)

    @rule(leaf=indices)
    def drop_leaf(self, leaf: int) -> None:
        """Drop the filters of one leaf."""
        self.twins.drop_leaf(leaf)

    @rule(first=st.integers(0, 40), step=st.integers(1, 4))
    def drop_leaves(self, first: int, step: int) -> None:
        """Drop the filters of many leaves, so that batches have left-overs."""
        for leaf in range(first, 41, step):
            self.twins.drop_leaf(leaf)

    @rule(agent=indices)
    def drop_agent(self, agent: int) -> None:
        """Drop the filters on one agent."""
        self.twins.drop_agent(agent)

    @rule()
    def drop_agents(self) -> None:
        """Drop the filters on most agents."""
        for agent in range(200):
            if agent % 5:
                self.twins.drop_agent(agent)

    @rule(leaf=indices, asked=st.booleans())
    def ask(self, leaf: int, asked: bool) -> None:
        """Have a leaf be asked, or not."""
        self.twins.ask(leaf, asked)

    @rule(data=st.data(), value=values)
    def all_refuse(self, data: st.DataObject, value: int) -> None:
        """Ask about all, perhaps all of those that have a bit."""
        pairs = known(self.twins.filters)
        agent = data.draw(st.sampled_from(pairs))[1] if pairs else 0
        if data.draw(st.booleans()):
            for leaf in self.twins.asked - {leaf for leaf, on in pairs if on == agent}:
                self.twins.ask(leaf, False)
        self.twins.all_refuse(agent, value)

    @rule(leaf=indices, agent=indices, value=values)
    def rejects(self, leaf: int, agent: int, value: int) -> None:
        """Ask about any offer."""
        self.twins.rejects(leaf, agent, value)

    @rule(data=st.data(), value=values)
    def rejects_there(self, data: st.DataObject, value: int) -> None:
        """Ask about an offer where there is a filter."""
        if self.twins.rows:
            row = data.draw(st.sampled_from(self.twins.rows))
            self.twins.rejects(row[0], row[1], value)

    @rule(data=st.data(), value=values)
    def rejects_known(self, data: st.DataObject, value: int) -> None:
        """Ask about an offer to a leaf that has a bit there."""
        if pairs := known(self.twins.filters):
            self.twins.rejects(*data.draw(st.sampled_from(pairs)), value)

    @rule(leaf=indices, seconds=st.sampled_from([0.0, 1.0, 2.5]))
    def n_held_by(self, leaf: int, seconds: float) -> None:
        """Count the filters of a leaf that hold at some time to come."""
        now = self.now + seconds
        expected = sum(row[0] == leaf and row[3] > now for row in self.twins.rows)
        assert self.twins.filters.n_held_by(leaf, now) == expected

    @rule(follow=st.booleans())
    def copy(self, follow: bool) -> None:
        """Go on with a copy or with the original; the other stays as it is."""
        twin = self.twins.copy()
        if follow:
            self.twins, twin = twin, self.twins
        self.left.append(twin)

    @invariant()
    def same(self) -> None:
        """Check the one that changes."""
        self.twins.check()

    def teardown(self) -> None:
        """Check those left behind, and that all end like any."""
        for twins in (*self.left, self.twins):
            twins.check()
            twins.close()


TestHistory = History.TestCase


@pytest.fixture
def twins() -> Twins:
    """No filters."""
    return Twins(Store.new(), Filters(), [])


def test_a_filter_refuses_what_it_covers_until_its_end(twins: Twins) -> None:
    twins.add(3, 5, 2, 1.0)
    assert twins.rejects(3, 5, 2)
    assert twins.rejects(3, 5, 1)
    assert twins.rejects(3, 5, 0)
    assert not twins.rejects(3, 5, 4)
    assert not twins.rejects(3, 4, 2)
    assert not twins.rejects(2, 5, 2)
    assert not twins.rejects(3000, 5, 2)
    assert not twins.rejects(3, 5000, 2)
    twins.expire(0.999)
    assert twins.rejects(3, 5, 2)
    twins.expire(1.0)
    assert not twins.rejects(3, 5, 2)
    assert ended_pairs(twins.filters) == [(3, 5)]
    twins.expire(1.0)
    assert ended_pairs(twins.filters) == []


def test_several_filters_hold_side_by_side(twins: Twins) -> None:
    for value, end in ((1, 1.0), (3, 2.0), (1, 3.0), (1, 3.0)):
        twins.add(0, 0, value, end)
    assert twins.filters.n_held_by(0, 0.0) == 4
    assert twins.filters.n_held_by(0, 1.0) == 3
    assert twins.rejects(0, 0, 1)
    assert twins.rejects(0, 0, 3)
    twins.expire(2.0)
    assert not twins.rejects(0, 0, 3)
    assert twins.rejects(0, 0, 1)
    twins.check()


@pytest.mark.parametrize("same_end", [True, False])
def test_left_overs_mean_nothing_to_those_with_the_same_indices(
    twins: Twins, same_end: bool
) -> None:
    for leaf in range(8):
        twins.add(leaf, 0, 1, 1.0)
    for _ in range(50):
        twins.drop_leaf(0)
        twins.add(0, 0, 1, 1.0 if same_end else 2.0)
        twins.check()
    for leaf in (1, 2, 3, 4, 5, 6):  # the batch is written anew, left-overs of leaf 0 or not
        twins.drop_leaf(leaf)
        twins.check()
    twins.expire(1.0)
    assert twins.rejects(0, 0, 1) is not same_end
    twins.close()


def test_leaves_with_the_common_bundle_are_known_where_filters_are_many(twins: Twins) -> None:
    for leaf in range(31):
        twins.add(leaf, 7, 1, 1.0 + leaf)
    assert known(twins.filters) == []
    twins.add(31, 7, 1, 50.0)  # from here on, those that came before are known as well
    assert known(twins.filters) == [(leaf, 7) for leaf in range(32)]
    twins.add(100, 7, 1, 50.0)  # the others stay known when there are more leaves
    assert len(known(twins.filters)) == 33
    assert twins.rejects(100, 7, 0)  # less than the common bundle
    assert not twins.rejects(100, 7, 2)  # more than it
    twins.add(100, 7, 2, 60.0)
    assert twins.rejects(100, 7, 2)
    twins.expire(16.0)
    assert len(known(twins.filters)) == 17
    twins.check()
    twins.expire(19.0)
    assert known(twins.filters) == []  # half as many as at first are few
    twins.close()


def test_all_refuse_what_they_are_known_to_refuse(twins: Twins) -> None:
    for leaf in range(40):
        twins.ask(leaf, True)
        twins.add(leaf, 0, 1, 2.0 + leaf)
    assert twins.all_refuse(0, 1)
    assert twins.all_refuse(0, 0)  # less than what they refuse
    assert not twins.all_refuse(0, 2)  # more than that
    assert not twins.all_refuse(1, 1)
    twins.ask(70, True)  # one more is asked, and refuses nothing
    assert not twins.all_refuse(0, 1)
    twins.ask(70, False)
    twins.expire(2.0)
    assert not twins.all_refuse(0, 1)
    twins.ask(0, False)
    assert twins.all_refuse(0, 1)
    assert twins.copy().all_refuse(0, 1)
    twins.close()


def test_older_filters_are_looked_for_when_leaves_are_not_too_many(twins: Twins) -> None:
    for leaf in range(0, 1000, 10):
        twins.add(leaf, 0, 1, 2.0)
    # Room for so many leaves comes late, and a look at each when there are a quarter as many.
    first = len(known(twins.filters))
    assert first < 100
    for leaf in range(1, 1000, 5):
        twins.add(leaf, 0, 1, 2.0)
    assert len(known(twins.filters)) == 300
    twins.close()


def test_a_leaf_is_unknown_when_one_of_its_filters_goes_until_another_is_found(
    twins: Twins,
) -> None:
    for leaf in range(40):
        twins.add(leaf, 0, 1, 2.0)
    twins.add(35, 0, 1, 1.0)
    assert (35, 0) in known(twins.filters)
    twins.expire(1.0)
    assert (35, 0) not in known(twins.filters)
    assert twins.rejects(35, 0, 1)
    assert (35, 0) in known(twins.filters)
    twins.drop_leaf(35)
    assert (35, 0) not in known(twins.filters)
    assert not twins.rejects(35, 0, 1)
    twins.drop_agent(0)
    assert known(twins.filters) == []
    twins.close()


def test_the_common_bundle_follows_what_is_refused(twins: Twins) -> None:
    for leaf in range(40):
        twins.add(leaf, 0, 1, 1.0)
    for leaf in range(7):
        twins.add(leaf, 0, 2, 1.0)
    assert all(twins.rejects(leaf, 0, 2) for leaf in range(7))
    assert len(known(twins.filters)) == 40  # who refuse value 1
    for leaf in range(20, 28):
        twins.add(leaf, 0, 2, 1.0)
    assert [leaf for leaf, _ in known(twins.filters)] == [*range(7), *range(20, 28)]
    twins.close()


@pytest.mark.parametrize(("n_agents", "n_on_agent"), [(20_000, 20), (2000, 40), (200, 1000)])
def test_filters_of_very_many_leaves_take_little_memory(
    twins: Twins, n_agents: int, n_on_agent: int
) -> None:
    filters, bundles, numbers = twins.filters, twins.store.bundles, twins.store.numbers
    filters.add(bundles, 9_999, 0, numbers[1], 1.0)
    for agent in range(n_agents):
        for i in range(n_on_agent):
            filters.add(bundles, (agent * 7919 + i) % 10_000, agent, numbers[1], 1.0)
    assert bool(known(filters)) == (n_on_agent == 1000)
    assert filters.n_bytes <= 32 * filters.n_held
    check(filters, bundles)


def test_many_filters_take_little_memory(twins: Twins) -> None:
    filters, bundles, numbers = twins.filters, twins.store.bundles, twins.store.numbers
    n_filters, n_leaves = 1_000_000, 1000
    for i in range(n_filters):
        filters.add(bundles, i % n_leaves, i // 20, numbers[i % 7], float(i // 50_000))
    assert filters.n_bytes <= 32 * n_filters
    for leaf in range(n_leaves):
        if leaf % 10:
            filters.drop_leaf(bundles, leaf)
    assert filters.n_bytes <= 40 * filters.n_held  # some pairs are left-overs
    filters.expire(bundles, math.inf)
    filters.expire(bundles, math.inf)
    assert filters.n_bytes <= 24 * n_leaves + 8 * (n_filters // 20)


def test_one_filter_a_batch_takes_more(twins: Twins) -> None:
    filters, bundles, numbers = twins.filters, twins.store.bundles, twins.store.numbers
    for i in range(100_000):
        filters.add(bundles, i % 100, i // 20, numbers[1], float(i * 7919 % 100_003))
    assert filters.n_bytes <= 76 * 100_000
    check(filters, bundles)
