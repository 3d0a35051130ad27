"""Mappings of all there is, offers that end, their ids, and answers shown (contract §5).

Each test runs on the engine and on the reference.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest

import allocator
from allocator import InvalidValue, ManualClock, OfferGone, UnknownAgent, reference
from tests.contract import R, volume

IMPLEMENTATIONS = {"engine": allocator.Allocator, "reference": reference.Allocator}

MAPPINGS = ["agents", "frameworks", "roles", "open_offers"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=IMPLEMENTATIONS)
def make(request: pytest.FixtureRequest, clock: ManualClock) -> Any:
    kind = IMPLEMENTATIONS[request.param]

    def made(**options: Any) -> Any:
        return kind(**{"seed": 7, "clock": clock, **options})

    return made


@pytest.fixture
def engine(make: Any) -> Any:
    return make()


class TestMappings:
    @pytest.mark.parametrize("name", MAPPINGS)
    def test_of_nothing(self, engine, name):
        found = getattr(engine, name)
        assert isinstance(found, Mapping)
        assert len(found) == 0
        assert list(found) == []
        assert "nothing" not in found
        with pytest.raises(KeyError, match="nothing"):
            found["nothing"]
        assert found.get("nothing") is None

    @pytest.mark.parametrize("name", MAPPINGS)
    def test_they_are_read_only(self, engine, name):
        with pytest.raises(TypeError):
            getattr(engine, name)["x"] = 1
        with pytest.raises(TypeError):
            del getattr(engine, name)["x"]
        with pytest.raises(AttributeError):
            setattr(engine, name, {})

    def test_agents_are_in_the_order_in_which_they_came(self, engine):
        for id in ("b", "a", "c"):
            engine.add_agent(id, "cpus:1")
        engine.remove_agent("b")
        engine.add_agent("b", "cpus:2")
        assert list(engine.agents) == ["a", "c", "b"]
        assert engine.agents["b"].total == R("cpus:2")
        assert [view.id for view in engine.agents.values()] == ["a", "c", "b"]

    def test_frameworks_are_in_the_order_in_which_they_came(self, engine):
        engine.add_frameworks(["g", "f"], ["r"])
        assert list(engine.frameworks) == ["g", "f"]
        assert engine.frameworks["f"].roles == ("r",)

    def test_roles_are_in_the_order_of_paths(self, engine):
        engine.set_weight("ops", 2.0)
        engine.add_framework("f", ["eng/web"])
        engine.set_quota("eng", limit="cpus:3")
        assert list(engine.roles) == ["eng", "eng/web", "ops"]
        assert engine.roles["ops"].weight == 2.0

    def test_open_offers_are_in_the_order_made_with_what_is_left(self, engine):
        engine.add_framework("f")
        engine.add_agents([f"a{n}" for n in range(12)], "cpus:4")
        offers = list(engine.allocate())
        assert list(engine.open_offers.values()) == offers
        engine.decline(offers[3])
        engine.recover_resources("f", offers[5].agent, "*", "cpus:1")
        assert list(engine.open_offers) == [o.id for o in offers if o != offers[3]]
        assert engine.open_offers[offers[5].id].resources == R("cpus:3")
        assert offers[3].id not in engine.open_offers

    def test_an_offer_that_was_converted_shows_what_it_is_now(self, engine):
        engine.add_framework("f", ["eng"])
        engine.add_agent("a", R("disk:64") + volume(8))
        (offer,) = engine.allocate()
        after = engine.apply(offer, allocator.Destroy(volume(8)))
        assert engine.open_offers == {offer.id: after}

    def test_they_are_live(self, engine):
        agents, frameworks, roles, offers = (getattr(engine, name) for name in MAPPINGS)
        engine.add_agent("a", "cpus:4")
        engine.add_framework("f", ["eng"])
        engine.allocate()
        assert [len(found) for found in (agents, frameworks, roles, offers)] == [1, 1, 1, 1]
        assert "a" in agents
        assert "f" in frameworks
        assert "eng" in roles
        assert "O1" in offers
        engine.remove_framework("f")
        assert [len(found) for found in (agents, frameworks, roles, offers)] == [1, 0, 0, 0]

    def test_a_fork_has_its_own(self, engine):
        engine.add_agent("a", "cpus:4")
        mine = engine.agents
        fork = engine.fork()
        fork.add_agent("b", "cpus:4")
        assert list(mine) == ["a"]
        assert list(fork.agents) == ["a", "b"]

    @pytest.mark.parametrize("name", MAPPINGS)
    def test_keys_that_are_no_ids(self, engine, name):
        found = getattr(engine, name)
        assert None not in found
        assert 1 not in found


class TestOfferTimeout:
    def begin(self, make, **options):
        engine = make(**options)
        engine.add_framework("f")
        engine.add_agent("a", "cpus:4")
        return engine

    def test_without_one_offers_stay_open(self, make, clock):
        engine = self.begin(make)
        (offer,) = engine.allocate()
        clock.advance(1e9)
        assert list(engine.allocate().rescinded) == []
        assert list(engine.open_offers) == [offer.id]

    def test_it_is_rescinded_when_a_cycle_begins_once_it_was_open_for_so_long(self, make, clock):
        engine = self.begin(make, offer_timeout=5)
        (offer,) = engine.allocate()
        clock.advance(4.875)
        later = engine.allocate()
        assert (list(later), list(later.rescinded)) == ([], [])
        clock.advance(0.125)
        assert offer.id in engine.open_offers
        again = engine.allocate()
        assert list(again.rescinded) == [offer.id]
        # No filter: it goes to the same framework at once.
        assert [(o.framework, str(o.resources)) for o in again] == [("f", "cpus:4")]
        with pytest.raises(OfferGone, match=offer.id):
            engine.accept(offer)

    def test_a_cycle_over_other_agents_begins_too(self, make, clock):
        engine = self.begin(make, offer_timeout=5)
        (offer,) = engine.allocate()
        engine.add_agent("b", "cpus:1")
        clock.advance(5)
        offers = engine.allocate(["b"])
        assert list(offers.rescinded) == [offer.id]
        assert [o.agent for o in offers] == ["b"]
        assert str(engine.agent("a").available) == "cpus:4"

    def test_zero_is_until_the_next_cycle(self, make):
        engine = self.begin(make, offer_timeout=0)
        (offer,) = engine.allocate()
        assert offer.id in engine.open_offers
        assert list(engine.allocate().rescinded) == [offer.id]

    def test_a_paused_engine_begins_no_cycle(self, make, clock):
        engine = self.begin(make, offer_timeout=5)
        (offer,) = engine.allocate()
        engine.pause()
        clock.advance(50)
        assert list(engine.allocate().rescinded) == []
        assert offer.id in engine.open_offers
        engine.resume()
        assert list(engine.allocate().rescinded) == [offer.id]

    def test_a_recovering_engine_begins_no_cycle(self, make, clock):
        engine = make(offer_timeout=5)
        engine.recover(4, {"q": {"guarantee": "cpus:1"}})
        engine.add_agent("a", "cpus:4")
        engine.add_framework("f")
        assert list(engine.allocate()) == []
        clock.advance(599)
        assert list(engine.allocate()) == []
        clock.advance(1)
        # The wait is over: 1 of 4 is held back for the guarantee.
        assert [str(o.resources) for o in engine.allocate()] == ["cpus:3"]

    def test_what_was_answered_is_not_rescinded(self, make, clock):
        engine = self.begin(make, offer_timeout=5)
        engine.add_agents(["b", "c"], "cpus:4")
        first, second, third = engine.allocate()
        engine.accept(second, "cpus:1")
        clock.advance(5)
        assert list(engine.allocate().rescinded) == [first.id, third.id]
        assert str(engine.agent(second.agent).allocated) == "cpus:1"

    def test_each_offer_has_its_own_time(self, make, clock):
        engine = self.begin(make, offer_timeout=5)
        (first,) = engine.allocate()
        clock.advance(3)
        engine.add_agent("b", "cpus:2")
        (second,) = engine.allocate()
        clock.advance(2)
        assert list(engine.allocate().rescinded) == [first.id]
        clock.advance(3)
        assert list(engine.allocate().rescinded) == [second.id]

    def test_a_converted_offer_keeps_its_time(self, make, clock):
        engine = make(offer_timeout=5)
        engine.add_framework("f", ["eng"])
        engine.add_agent("a", R("disk:64") + volume(8))
        (offer,) = engine.allocate()
        clock.advance(3)
        engine.apply(offer, allocator.Destroy(volume(8)))
        clock.advance(2)
        assert list(engine.allocate().rescinded) == [offer.id]

    def test_a_fork_goes_on_counting(self, make, clock):
        engine = self.begin(make, offer_timeout=5)
        (offer,) = engine.allocate()
        clock.advance(3)
        fork = engine.fork()
        clock.advance(2)
        assert list(fork.allocate().rescinded) == [offer.id]
        assert list(engine.open_offers) == [offer.id]

    def test_it_is_due_when_the_oldest_offer_ends(self, make, clock):
        engine = self.begin(make, offer_timeout=5)
        engine.allocate()
        engine.allocate()
        assert engine.next_due() <= 5.0
        clock.advance(5)
        assert engine.next_due() <= clock()
        assert engine.allocate()

    def test_cycles_in_which_nothing_is_due_can_be_skipped(self):
        def run(skips: bool) -> list[Any]:
            clock = ManualClock()
            engine = allocator.Allocator(seed=7, clock=clock, offer_timeout=3.5)
            engine.add_agents(["a", "b", "c"], "cpus:4")
            engine.add_frameworks(["f", "g"], ["r"])
            made: list[Any] = []
            skipped = 0
            for second in range(40):
                if skips and engine.next_due() > clock():
                    skipped += 1
                else:
                    engine.skip_cycles(skipped)
                    skipped = 0
                    offers = engine.allocate()
                    if offers:
                        made.append((second, list(offers), offers.rescinded))
                        engine.decline(offers[:1], refuse_seconds=2.25)
                clock.advance(1)
            return made

        assert len(run(False)) > 8
        assert run(True) == run(False)

    @pytest.mark.parametrize(
        "value", [-1, math.nan, math.inf, "5", True, 10**400], ids=lambda value: str(value)[:9]
    )
    def test_it_is_a_finite_number_from_zero_up(self, make, value):
        with pytest.raises(InvalidValue, match="offer_timeout"):
            make(offer_timeout=value)


class TestOfferPrefix:
    def test_ids_begin_with_it(self, make):
        engine = make(offer_prefix="m1-")
        engine.add_framework("f")
        engine.add_agents(["a", "b"], "cpus:4")
        offers = engine.allocate()
        assert sorted(o.id for o in offers) == ["m1-O1", "m1-O2"]
        engine.accept(offers[0])
        engine.decline("m1-O2")
        assert len(engine.open_offers) == 0

    @pytest.mark.parametrize("other", ["O1", "m2-O1", "m1-1", "m1-O01", "m1-O0", "xm1-O1", "m1-O2"])
    def test_ids_of_another_are_gone(self, make, other):
        engine = make(offer_prefix="m1-")
        engine.add_framework("f")
        engine.add_agent("a", "cpus:4")
        engine.allocate()
        for answer in (engine.accept, engine.decline, engine.rescind):
            with pytest.raises(OfferGone, match=other):
                answer(other)
        with pytest.raises(OfferGone, match=other):
            engine.apply(other, [])
        assert other not in engine.open_offers

    def test_offers_of_another_are_gone_as_a_whole(self, make):
        engines = [make(offer_prefix=prefix) for prefix in ("m1-", "m2-", "")]
        for engine in engines:
            engine.add_framework("f")
            engine.add_agent("a", "cpus:4")
        offers = [engine.allocate() for engine in engines]
        for mine, engine in enumerate(engines):
            for theirs, made in enumerate(offers):
                if mine != theirs:
                    with pytest.raises(OfferGone, match=made[0].id):
                        engine.accept(made)
            engine.accept(offers[mine])

    def test_it_may_look_like_an_id(self, make):
        engine = make(offer_prefix="O1")
        engine.add_framework("f")
        engine.add_agent("a", "cpus:4")
        assert [offer.id for offer in engine.allocate()] == ["O1O1"]
        with pytest.raises(OfferGone):
            engine.accept("O1")
        engine.accept("O1O1")

    @pytest.mark.parametrize("value", [None, 1, b"x", ["x"]])
    def test_it_is_text(self, make, value):
        with pytest.raises(InvalidValue, match="offer_prefix"):
            make(offer_prefix=value)


class TestInverseStatuses:
    @pytest.fixture
    def engine(self, engine):
        used = {"f": {"*": "cpus:1"}, "g": {"*": "cpus:1"}}
        engine.add_agent("a", "cpus:4", used=used)
        engine.add_framework("f", suppressed=["*"])
        engine.add_framework("g", suppressed=["*"])
        engine.set_unavailability("a", 60.0)
        engine.allocate()
        return engine

    def test_what_frameworks_answered(self, engine):
        assert engine.inverse_statuses("a") == {}
        engine.answer_inverse("f", "a", "ACCEPT")
        assert engine.inverse_statuses("a") == {"f": "ACCEPT"}
        engine.answer_inverse("g", "a", "DECLINE", refuse_seconds=60)
        assert engine.inverse_statuses("a") == {"f": "ACCEPT", "g": "DECLINE"}
        engine.allocate()
        engine.answer_inverse("f", "a", "DECLINE")
        assert engine.inverse_statuses("a") == {"f": "DECLINE", "g": "DECLINE"}

    def test_they_go_with_the_plan_and_with_the_framework(self, engine):
        engine.answer_inverse("f", "a", "ACCEPT")
        engine.answer_inverse("g", "a", "ACCEPT")
        engine.remove_framework("g")
        assert engine.inverse_statuses("a") == {"f": "ACCEPT"}
        engine.set_unavailability("a", 90.0)
        assert engine.inverse_statuses("a") == {}

    def test_what_is_returned_is_the_callers(self, engine):
        engine.answer_inverse("f", "a", "ACCEPT")
        engine.inverse_statuses("a")["f"] = "DECLINE"
        assert engine.inverse_statuses("a") == {"f": "ACCEPT"}

    def test_an_agent_without_a_plan_and_none(self, engine):
        engine.add_agent("b", "cpus:1")
        assert engine.inverse_statuses("b") == {}
        with pytest.raises(UnknownAgent, match="nowhere"):
            engine.inverse_statuses("nowhere")


class TestSnapshot:
    def test_open_offers_keep_the_time_that_remains_to_them(self):
        clock, later = ManualClock(), ManualClock(9000.0)
        engine = allocator.Allocator(seed=7, clock=clock, offer_timeout=5, offer_prefix="m1-")
        engine.add_framework("f")
        engine.add_agents([f"a{n}" for n in range(12)], "cpus:4")
        engine.allocate()
        engine.decline([f"m1-O{n}" for n in (2, 3, 12)], refuse_seconds=60)
        clock.advance(3)
        engine.add_agent("b", "cpus:1")
        engine.allocate()
        snapshot = json.loads(json.dumps(engine.snapshot(), sort_keys=True))
        restored = allocator.Allocator.restore(snapshot, clock=later)
        assert restored.snapshot() == engine.snapshot() == snapshot
        assert restored.open_offers == engine.open_offers
        assert list(restored.open_offers) == list(engine.open_offers)
        for _ in range(2):
            clock.advance(2)
            later.advance(2)
            assert restored.allocate() == engine.allocate()
            assert restored.snapshot() == engine.snapshot()

    def test_an_offer_whose_end_has_passed_is_rescinded_after_a_restart(self):
        clock = ManualClock()
        engine = allocator.Allocator(seed=7, clock=clock, offer_timeout=5)
        engine.add_framework("f")
        engine.add_agent("a", "cpus:4")
        engine.allocate()
        clock.advance(7)
        restored = allocator.Allocator.restore(engine.snapshot(), clock=clock)
        assert restored.allocate().rescinded == ("O1",)
