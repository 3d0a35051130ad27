"""Maintenance: unavailable agents and inverse offers (contract §5.11)."""

import pytest

from allocator import AllocatorError
from tests.contract import R


@pytest.fixture
def engine(engine):
    """Framework f1 uses a1 and a2, f2 uses a2."""
    engine.add_framework("f1", ["eng"])
    engine.add_framework("f2", ["ops"])
    engine.add_agent("a1", "cpus:1", used={"f1": {"eng": "cpus:1"}})
    engine.add_agent("a2", "cpus:2", used={"f1": {"eng": "cpus:1"}, "f2": {"ops": "cpus:1"}})
    engine.add_agent("a3", "cpus:1")
    engine.deactivate_agent("a3")
    return engine


def asked(offers):
    return sorted((inverse.framework, inverse.agent) for inverse in offers.inverse)


class TestInverseOffers:
    def test_the_fields(self, engine, clock):
        engine.set_unavailability("a1", 60.0, 3600)
        engine.set_unavailability("a2", 70.0)
        inverse = {(i.framework, i.agent): i for i in engine.allocate().inverse}
        assert inverse["f1", "a1"].start == 60.0
        assert inverse["f1", "a1"].duration == 3600
        assert inverse["f2", "a2"].start == 70.0
        assert inverse["f2", "a2"].duration is None

    def test_to_all_that_hold_something_there(self, engine):
        """Mesos: MaintenanceInverseOffers."""
        engine.set_unavailability("a1", 60.0)
        engine.set_unavailability("a2", 60.0)
        engine.set_unavailability("a3", 60.0)
        assert asked(engine.allocate()) == [("f1", "a1"), ("f1", "a2"), ("f2", "a2")]

    def test_none_without_a_plan(self, engine):
        assert list(engine.allocate().inverse) == []

    def test_what_is_offered_counts_as_held(self, engine):
        engine.activate_agent("a3")
        (offer,) = engine.allocate()
        engine.set_unavailability("a3", 60.0)
        assert asked(engine.allocate()) == [(offer.framework, "a3")]

    def test_not_to_who_gave_all_back(self, engine):
        engine.set_unavailability("a2", 60.0)
        engine.release("f2", "a2", "ops", "cpus:1")
        engine.deactivate_agent("a2")
        assert asked(engine.allocate()) == [("f1", "a2")]

    def test_not_to_inactive_frameworks(self, engine):
        engine.set_unavailability("a2", 60.0)
        engine.deactivate_framework("f1")
        assert asked(engine.allocate()) == [("f2", "a2")]
        engine.activate_framework("f1")
        assert asked(engine.allocate()) == [("f1", "a2")]

    def test_suppressed_frameworks_are_asked_too(self, engine):
        engine.set_unavailability("a1", 60.0)
        engine.suppress("f1")
        assert asked(engine.allocate()) == [("f1", "a1")]

    def test_inactive_agents_too(self, engine):
        engine.set_unavailability("a1", 60.0)
        engine.deactivate_agent("a1")
        assert asked(engine.allocate()) == [("f1", "a1")]

    def test_agents_that_are_not_whitelisted_too(self, engine):
        engine.set_unavailability("a1", 60.0)
        engine.set_whitelist([])
        assert asked(engine.allocate()) == [("f1", "a1")]

    def test_only_the_cycles_agents(self, engine):
        engine.set_unavailability("a1", 60.0)
        engine.set_unavailability("a2", 60.0)
        assert asked(engine.allocate(["a1"])) == [("f1", "a1")]
        assert asked(engine.allocate()) == [("f1", "a2"), ("f2", "a2")]

    def test_an_unavailable_agent_is_still_offered(self, engine):
        engine.set_unavailability("a3", 60.0)
        engine.activate_agent("a3")
        assert [o.agent for o in engine.allocate()] == ["a3"]

    def test_offers_and_inverse_offers_in_one_cycle(self, engine):
        engine.set_unavailability("a3", 60.0)
        engine.activate_agent("a3")
        offers = engine.allocate()
        assert asked(offers) == [(offers[0].framework, "a3")]


class TestAnswers:
    def test_one_is_outstanding_until_answered(self, engine):
        """Mesos does not ask again while it waits for an answer."""
        engine.set_unavailability("a1", 60.0)
        assert asked(engine.allocate()) == [("f1", "a1")]
        assert asked(engine.allocate()) == []
        engine.answer_inverse("f1", "a1", "ACCEPT")
        assert asked(engine.allocate()) == [("f1", "a1")]

    @pytest.mark.parametrize("status", ["ACCEPT", "DECLINE", None])
    def test_a_filter_of_its_own(self, engine, clock, status):
        engine.set_unavailability("a1", 60.0)
        engine.allocate()
        engine.answer_inverse("f1", "a1", status, refuse_seconds=10)
        clock.advance(9.5)
        assert asked(engine.allocate()) == []
        clock.advance(0.5)
        assert asked(engine.allocate()) == [("f1", "a1")]

    def test_without_a_minimum_life(self, engine, clock):
        """An allocation interval of 1 s does not lengthen it."""
        engine.set_unavailability("a1", 60.0)
        engine.allocate()
        engine.answer_inverse("f1", "a1", "DECLINE", refuse_seconds=0.25)
        assert asked(engine.allocate()) == []
        clock.advance(0.25)
        assert asked(engine.allocate()) == [("f1", "a1")]

    def test_the_filter_is_not_one_of_offers(self, engine):
        engine.set_unavailability("a3", 60.0)
        engine.activate_agent("a3")
        (offer,) = engine.allocate()
        engine.answer_inverse(offer.framework, "a3", "DECLINE", refuse_seconds=100)
        engine.rescind(offer)
        assert [o.agent for o in engine.allocate()] == ["a3"]

    def test_an_offers_filter_is_not_one_of_inverse_offers(self, engine):
        engine.add_resources("a1", "cpus:1")
        (offer,) = engine.allocate()
        engine.decline(offer, refuse_seconds=100)
        engine.set_unavailability("a1", 60.0)
        assert ("f1", "a1") in asked(engine.allocate())

    def test_each_framework_answers_for_itself(self, engine):
        engine.set_unavailability("a2", 60.0)
        engine.allocate()
        engine.answer_inverse("f1", "a2", "ACCEPT", refuse_seconds=100)
        engine.answer_inverse("f2", "a2", "DECLINE")
        assert asked(engine.allocate()) == [("f2", "a2")]

    def test_an_unknown_status(self, engine):
        engine.set_unavailability("a1", 60.0)
        engine.allocate()
        with pytest.raises(AllocatorError, match="PERHAPS"):
            engine.answer_inverse("f1", "a1", "PERHAPS")


class TestPlans:
    def test_cleared(self, engine):
        engine.set_unavailability("a1", 60.0)
        engine.clear_unavailability("a1")
        assert asked(engine.allocate()) == []

    def test_clearing_none_does_nothing(self, engine):
        before = engine.snapshot()
        engine.clear_unavailability("a1")
        assert engine.snapshot() == before

    def test_a_new_plan_replaces_the_old_one(self, engine):
        engine.set_unavailability("a1", 60.0, 10)
        engine.allocate()
        engine.set_unavailability("a1", 90.0, 20)
        (inverse,) = engine.allocate().inverse
        assert (inverse.start, inverse.duration) == (90.0, 20)

    def test_they_go_with_the_agent(self, engine):
        engine.set_unavailability("a1", 60.0)
        engine.remove_agent("a1")
        engine.add_agent("a1", "cpus:1", used={"f1": {"eng": "cpus:1"}})
        assert asked(engine.allocate()) == []

    def test_holdings_are_untouched(self, engine):
        engine.set_unavailability("a1", 60.0)
        engine.allocate()
        engine.answer_inverse("f1", "a1", "ACCEPT")
        assert engine.agent("a1").allocated == R("cpus:1")
