"""Recovery: after a restart offers wait for the agents to come back (contract §5.7)."""

import pytest

from allocator import AllocatorError, Quantities, QuotaError, UnknownRole
from tests.contract import amounts, served

QUOTAS = {"eng": {"guarantee": "cpus:2", "limit": {"cpus": 9}}}


@pytest.fixture
def engine(engine):
    engine.add_framework("f1", ["eng"])
    return engine


def add_agents(engine, first, last):
    for n in range(first, last + 1):
        engine.add_agent(f"a{n}", "cpus:1")


class TestWaiting:
    def test_until_enough_agents_are_back(self, engine):
        """Mesos: recovery holds offers back until 80 % of the agents reregistered."""
        engine.recover(5, QUOTAS)
        add_agents(engine, 1, 3)
        assert len(engine.allocate()) == 0
        # int(5 × 0.8) = 4.
        add_agents(engine, 4, 4)
        assert served(engine.allocate()) == ["f1"] * 4

    def test_until_the_timeout_at_the_latest(self, engine, clock):
        engine.recover(5, QUOTAS)
        add_agents(engine, 1, 1)
        clock.advance(599)
        assert len(engine.allocate()) == 0
        clock.advance(1)
        assert len(engine.allocate()) == 1

    def test_it_is_over_once_it_is_over(self, engine):
        engine.recover(2, QUOTAS)
        add_agents(engine, 1, 1)
        assert len(engine.allocate()) == 1
        engine.remove_agent("a1")
        add_agents(engine, 2, 2)
        assert len(engine.allocate()) == 1

    @pytest.mark.parametrize(
        ("expected", "factor", "awaited"), [(5, 0.5, 2), (10, 0.99, 9), (3, 1.0, 3), (4, 0.25, 1)]
    )
    def test_rounded_down(self, make, expected, factor, awaited):
        engine = make(recovery_factor=factor)
        engine.add_framework("f1", ["eng"])
        engine.recover(expected, QUOTAS)
        add_agents(engine, 1, awaited - 1)
        assert len(engine.allocate()) == 0
        add_agents(engine, awaited, awaited)
        assert len(engine.allocate()) == awaited

    def test_a_timeout_of_ones_own(self, make, clock):
        engine = make(recovery_timeout=3.0)
        engine.add_framework("f1", ["eng"])
        engine.recover(5, QUOTAS)
        add_agents(engine, 1, 1)
        clock.advance(3)
        assert len(engine.allocate()) == 1

    @pytest.mark.parametrize(
        ("expected", "factor", "quotas"),
        [(5, 0.8, {}), (0, 0.8, QUOTAS), (1, 0.8, QUOTAS), (5, 0.0, QUOTAS)],
    )
    def test_no_wait(self, make, expected, factor, quotas):
        """Without quotas, or where int(expected × factor) is 0."""
        engine = make(recovery_factor=factor)
        engine.add_framework("f1", ["eng"])
        engine.recover(expected, quotas)
        add_agents(engine, 1, 1)
        assert len(engine.allocate()) == 1

    def test_a_pause_stays_a_pause(self, engine):
        engine.recover(1, QUOTAS)
        engine.pause()
        add_agents(engine, 1, 2)
        assert len(engine.allocate()) == 0
        engine.resume()
        assert len(engine.allocate()) == 2


class TestQuotas:
    def test_they_are_set(self, engine):
        engine.recover(1, {**QUOTAS, "ops": {"limit": "mem:5"}, "a/b": {"guarantee": "cpus:1"}})
        assert engine.role("eng").quota.guarantee == Quantities("cpus:2")
        assert dict(engine.role("eng").quota.limit) == {"cpus": 9.0}
        assert dict(engine.role("ops").quota.limit) == {"mem": 5.0}
        assert engine.role("a/b").quota.guarantee == Quantities("cpus:1")

    def test_they_hold_afterwards(self, engine):
        engine.add_framework("f2", ["ops"])
        engine.recover(3, {"eng": {"guarantee": "cpus:2"}})
        engine.suppress("f1")
        add_agents(engine, 1, 3)
        assert amounts(engine.allocate()) == [("f2", "cpus:1")]

    @pytest.mark.parametrize("order", [["eng", "eng/a"], ["eng/a", "eng"]])
    def test_in_any_order(self, engine, order):
        quotas = {"eng": {"guarantee": "cpus:2"}, "eng/a": {"guarantee": "cpus:2"}}
        engine.recover(1, {role: quotas[role] for role in order})
        assert engine.role("eng/a").quota.guarantee == Quantities("cpus:2")

    def test_quotas_that_contradict_each_other_are_refused_as_one(self, engine):
        before = engine.snapshot()
        quotas = {"ops": {"limit": "mem:5"}, "eng": {"guarantee": "cpus:1"}}
        with pytest.raises(QuotaError):
            engine.recover(5, {**quotas, "eng/a": {"guarantee": "cpus:2"}})
        assert engine.snapshot() == before
        with pytest.raises(UnknownRole):
            engine.role("ops")
        add_agents(engine, 1, 1)
        assert len(engine.allocate()) == 1


class TestBeforeAnyAgent:
    def test_refused_afterwards(self, engine):
        add_agents(engine, 1, 1)
        with pytest.raises(AllocatorError):
            engine.recover(5, QUOTAS)
        assert len(engine.allocate()) == 1

    def test_a_negative_number_is_refused(self, engine):
        with pytest.raises(AllocatorError, match="-1"):
            engine.recover(-1, QUOTAS)
