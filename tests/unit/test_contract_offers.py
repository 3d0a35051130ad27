"""Offers: the value, the sequence, its columns, and every answer to one (contract §5.8, §5.12)."""

import numpy as np
import pytest

from allocator import Offer, OfferGone, Offers, ResourceError
from tests.contract import R, amounts, check_conserved, served


@pytest.fixture
def offer(engine):
    """One open offer of 4 cpus and 64 MB."""
    engine.add_framework("f1", ["eng"])
    engine.add_agent("a1", "cpus:4;mem:64")
    return engine.allocate()[0]


@pytest.fixture
def offers(engine):
    """Four offers on four agents to two frameworks."""
    engine.add_framework("f1", ["eng"])
    engine.add_framework("f2", ["ops"])
    for n in range(4):
        engine.add_agent(f"a{n}", "cpus:1.5;mem:64")
    return engine.allocate()


class TestSequence:
    def test_it_is_a_read_only_sequence(self, offers):
        assert isinstance(offers, Offers)
        assert len(offers) == 4
        assert list(offers) == [offers[0], offers[1], offers[2], offers[3]]
        assert offers[-1] == offers[3]
        assert offers[2] in offers
        with pytest.raises(TypeError):
            offers[0] = offers[1]
        with pytest.raises(IndexError):
            offers[4]

    def test_an_empty_one(self, engine):
        offers = engine.allocate()
        assert list(offers) == []
        assert not offers
        assert dict(offers.by_framework()) == {}
        assert list(offers.inverse) == []

    def test_the_fields_of_an_offer(self, offer):
        assert isinstance(offer, Offer)
        assert (offer.framework, offer.role, offer.agent) == ("f1", "eng", "a1")
        assert offer.resources == R("cpus:4;mem:64")
        with pytest.raises(AttributeError):
            offer.agent = "a2"

    def test_ids_are_distinct_over_cycles(self, engine, offers):
        ids = {offer.id for offer in offers}
        for offer in offers:
            engine.rescind(offer)
        ids.update(offer.id for offer in engine.allocate())
        assert len(ids) == 8

    def test_by_framework_in_the_order_made(self, offers):
        grouped = offers.by_framework()
        assert set(grouped) == {"f1", "f2"}
        for framework, of_it in grouped.items():
            assert list(of_it) == [o for o in offers if o.framework == framework]

    def test_at_most_one_per_framework_role_and_agent(self, engine):
        """Guarantee and fair share on one agent come in one offer."""
        engine.add_framework("f1", ["eng"])
        engine.add_framework("f2", ["ops"])
        engine.set_quota("eng", guarantee="cpus:2")
        engine.set_quota("ops", guarantee="cpus:2")
        for n in range(3):
            engine.add_agent(f"a{n}", "cpus:3;mem:64")
        offers = engine.allocate()
        keys = [(o.framework, o.role, o.agent) for o in offers]
        assert len(keys) == len(set(keys))
        assert sum((o.resources for o in offers), R()) == R("cpus:9;mem:192")


class TestColumns:
    def test_indices_and_lists_stand_for_the_offers(self, offers):
        columns = offers.columns()
        for key in ("agent", "framework", "role"):
            named = [columns[key + "s"][i] for i in columns[key]]
            assert named == [getattr(offer, key) for offer in offers]

    def test_quantities_are_thousandths(self, offers):
        columns = offers.columns()
        quantities = columns["quantities"]
        assert quantities.dtype == np.int64
        assert quantities.shape == (4, len(columns["names"]))
        cpus, mem = columns["names"].index("cpus"), columns["names"].index("mem")
        assert quantities[:, cpus].tolist() == [1500] * 4
        assert quantities[:, mem].tolist() == [64000] * 4

    def test_an_absent_amount_is_zero(self, engine):
        engine.add_framework("f1")
        engine.add_agent("a1", "cpus:1")
        engine.add_agent("a2", "mem:2")
        columns = engine.allocate().columns()
        row = {columns["agents"][i]: n for n, i in enumerate(columns["agent"])}
        cpus, mem = columns["names"].index("cpus"), columns["names"].index("mem")
        assert columns["quantities"][row["a1"], [cpus, mem]].tolist() == [1000, 0]
        assert columns["quantities"][row["a2"], [cpus, mem]].tolist() == [0, 2000]

    def test_of_no_offers(self, engine):
        columns = engine.allocate().columns()
        assert [len(columns[key]) for key in ("agent", "framework", "role")] == [0, 0, 0]
        assert columns["quantities"].dtype == np.int64
        assert columns["quantities"].shape[0] == 0


class TestAccept:
    def test_whole(self, engine, offer):
        engine.accept(offer)
        assert engine.agent("a1").allocated == R("cpus:4;mem:64")
        assert engine.agent("a1").offered == R()
        assert engine.framework("f1").allocated == {"a1": {"eng": R("cpus:4;mem:64")}}

    def test_a_part(self, engine, offer):
        engine.accept(offer, {"cpus": 1})
        assert engine.agent("a1").allocated == R("cpus:1")
        assert engine.agent("a1").available == R("cpus:3;mem:64")
        # No filter: the rest comes with the next cycle.
        assert amounts(engine.allocate()) == [("f1", "cpus:3;mem:64")]

    def test_nothing(self, engine, offer):
        engine.accept(offer, "")
        assert engine.agent("a1").available == R("cpus:4;mem:64")
        assert served(engine.allocate()) == ["f1"]

    def test_the_rest_may_be_refused_for_a_time(self, engine, clock, offer):
        engine.accept(offer, "cpus:1", refuse_seconds=10)
        clock.advance(9)
        assert len(engine.allocate()) == 0
        clock.advance(1)
        assert amounts(engine.allocate()) == [("f1", "cpus:3;mem:64")]

    def test_a_part_of_ranges(self, engine):
        engine.add_framework("f1")
        engine.add_agent("a1", "ports:[31000-31009]")
        engine.accept(engine.allocate()[0], "ports:[31003-31004]")
        assert amounts(engine.allocate()) == [("f1", "ports:[31000-31002,31005-31009]")]
        engine.release("f1", "a1", "*", "ports:[31003-31003]")
        assert amounts(engine.allocate()) == [("f1", "ports:[31003-31003]")]
        check_conserved(engine, "a1")

    def test_more_than_offered_is_refused(self, engine, offer):
        with pytest.raises(ResourceError, match="5"):
            engine.accept(offer, "cpus:5")
        # Nothing happened: the offer is still open.
        assert engine.agent("a1").offered == R("cpus:4;mem:64")
        engine.accept(offer, "cpus:4")

    def test_only_once(self, engine, offer):
        engine.accept(offer, "cpus:1")
        for answer in (engine.accept, engine.decline, engine.rescind):
            with pytest.raises(OfferGone, match=offer.id):
                answer(offer)
        assert engine.agent("a1").allocated == R("cpus:1")


class TestDecline:
    def test_the_resources_go_back(self, engine, offer):
        engine.decline(offer)
        assert engine.agent("a1").available == R("cpus:4;mem:64")
        assert engine.framework("f1").offered == {}
        assert engine.role("eng").share == 0.0

    def test_for_five_seconds_if_not_said(self, engine, clock, offer):
        engine.decline(offer)
        clock.advance(4.5)
        assert len(engine.allocate()) == 0
        clock.advance(0.5)
        assert served(engine.allocate()) == ["f1"]

    @pytest.mark.parametrize("refuse_seconds", [None, 0, 0.0])
    def test_without_a_filter(self, engine, offer, refuse_seconds):
        engine.decline(offer, refuse_seconds=refuse_seconds)
        assert served(engine.allocate()) == ["f1"]

    def test_others_may_have_it(self, engine, offer):
        engine.add_framework("f2", ["ops"])
        engine.decline(offer)
        assert served(engine.allocate()) == ["f2"]

    def test_an_offer_that_is_gone(self, engine, offer):
        engine.decline(offer)
        with pytest.raises(OfferGone):
            engine.decline(offer)


class TestRescind:
    def test_taken_back_without_a_filter(self, engine, offer):
        engine.rescind(offer)
        assert engine.agent("a1").available == R("cpus:4;mem:64")
        assert served(engine.allocate()) == ["f1"]
        with pytest.raises(OfferGone):
            engine.accept(offer)


class TestRecoverResources:
    def test_an_open_offer_gets_shorter(self, engine, offer):
        engine.recover_resources("f1", "a1", "eng", "cpus:1;mem:64")
        agent = engine.agent("a1")
        assert (agent.offered, agent.available) == (R("cpus:3"), R("cpus:1;mem:64"))
        with pytest.raises(ResourceError):
            engine.accept(offer, "cpus:4")
        engine.accept(offer)
        assert engine.agent("a1").allocated == R("cpus:3")

    def test_an_emptied_offer_is_gone(self, engine, offer):
        engine.recover_resources("f1", "a1", "eng", "cpus:4;mem:64")
        with pytest.raises(OfferGone):
            engine.accept(offer)
        assert served(engine.allocate()) == ["f1"]

    def test_the_oldest_first(self, engine, offer):
        engine.add_resources("a1", "cpus:2")
        (second,) = engine.allocate()
        engine.recover_resources("f1", "a1", "eng", "cpus:5;mem:64")
        # The first had 4 cpus, the second 2: the first is gone, one cpu of the second is left.
        with pytest.raises(OfferGone):
            engine.accept(offer)
        engine.accept(second)
        assert engine.agent("a1").allocated == R("cpus:1")
        check_conserved(engine, "a1")

    def test_without_a_filter_unless_asked(self, engine, clock, offer):
        engine.recover_resources("f1", "a1", "eng", "cpus:1")
        (again,) = engine.allocate()
        assert again.resources == R("cpus:1")
        engine.recover_resources("f1", "a1", "eng", "cpus:1", refuse_seconds=3)
        clock.advance(2)
        assert len(engine.allocate()) == 0
        clock.advance(1)
        assert amounts(engine.allocate()) == [("f1", "cpus:1")]

    def test_what_is_in_use(self, engine, offer):
        engine.accept(offer, "cpus:2")
        engine.recover_resources("f1", "a1", "eng", "cpus:1", allocated=True)
        assert engine.agent("a1").allocated == R("cpus:1")

    def test_more_than_is_offered_is_refused(self, engine, offer):
        with pytest.raises(ResourceError):
            engine.recover_resources("f1", "a1", "eng", "cpus:5")
        with pytest.raises(ResourceError):
            engine.recover_resources("f1", "a1", "eng", "cpus:1", allocated=True)
        assert engine.agent("a1").offered == R("cpus:4;mem:64")
