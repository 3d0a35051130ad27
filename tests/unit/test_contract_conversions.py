"""Conversions of what is offered and of what is available (contract §5.10)."""

import pytest

from allocator import (
    Create,
    Destroy,
    GrowVolume,
    OfferGone,
    Quantities,
    Reserve,
    ResourceError,
    ShrinkVolume,
    UnknownAgent,
    UnknownRole,
    Unreserve,
)
from tests.contract import R, amounts, answered, check_conserved, dynamic, reserved, volume

REFINED = [{"type": "STATIC", "role": "eng"}, {"type": "DYNAMIC", "role": "eng/prod"}]


@pytest.fixture
def engine(engine):
    """One agent, and a framework that may have every kind of entry."""
    engine.add_framework("f1", ["eng"], capabilities=["SHARED_RESOURCES"])
    engine.add_agent("a1", "cpus:4;disk:100")
    return engine


class TestApply:
    def test_the_offer_stays_open_with_what_it_became(self, engine):
        (offer,) = engine.allocate()
        converted = engine.apply(offer, [Reserve(dynamic("eng", "cpus:3"))])
        assert converted.id == offer.id
        assert (converted.framework, converted.role, converted.agent) == ("f1", "eng", "a1")
        assert converted.resources == R("cpus:1;disk:100") + dynamic("eng", "cpus:3")
        agent = engine.agent("a1")
        assert agent.offered == agent.total == converted.resources
        assert agent.reserved == dynamic("eng", "cpus:3")
        engine.accept(converted, dynamic("eng", "cpus:2"))
        assert engine.agent("a1").allocated == dynamic("eng", "cpus:2")
        check_conserved(engine, "a1")

    def test_a_single_operation(self, engine):
        (offer,) = engine.allocate()
        converted = engine.apply(offer, Reserve(dynamic("eng", "cpus:3")))
        assert converted.resources == R("cpus:1;disk:100") + dynamic("eng", "cpus:3")

    def test_the_first_value_names_the_same_offer(self, engine):
        (offer,) = engine.allocate()
        engine.apply(offer, [Reserve(dynamic("eng", "cpus:4"))])
        with pytest.raises(ResourceError):
            engine.accept(offer, "cpus:1")
        engine.decline(offer, refuse_seconds=None)
        with pytest.raises(OfferGone):
            engine.apply(offer, [])

    def test_what_was_converted_comes_back_converted(self, engine):
        engine.add_framework("f2", ["ops"])
        offers = engine.allocate()
        assert [o.framework for o in offers] == ["f1"]
        engine.apply(offers[0], [Reserve(dynamic("eng", "cpus:3"))])
        engine.rescind(offers[0])
        # Nobody holds anything; f1 was allocated once: f2 takes what is unreserved.
        assert answered(engine.allocate()) == [
            ("f2", "a1", R("cpus:1;disk:100")),
            ("f1", "a1", dynamic("eng", "cpus:3")),
        ]

    def test_one_after_the_other(self, engine):
        (offer,) = engine.allocate()
        photos = volume(64)
        converted = engine.apply(offer, [Reserve(dynamic("eng", "disk:80")), Create(photos)])
        assert converted.resources == R("cpus:4;disk:20") + dynamic("eng", "disk:16") + photos

    def test_all_or_nothing(self, engine):
        (offer,) = engine.allocate()
        before = engine.snapshot()
        operations = [Reserve(dynamic("eng", "disk:80")), Create(volume(81))]
        with pytest.raises(ResourceError, match="81"):
            engine.apply(offer, operations)
        assert engine.snapshot() == before

    def test_what_another_holds_is_not_converted(self, engine):
        (offer,) = engine.allocate()
        engine.accept(offer, "cpus:3")
        (offer,) = engine.allocate()
        with pytest.raises(ResourceError):
            engine.apply(offer, Reserve(dynamic("eng", "cpus:2")))


class TestApplyAvailable:
    def test_what_is_available(self, engine):
        engine.apply_available("a1", [Reserve(dynamic("ops", "cpus:3"))])
        assert engine.agent("a1").total == R("cpus:1;disk:100") + dynamic("ops", "cpus:3")
        assert amounts(engine.allocate()) == [("f1", "cpus:1;disk:100")]
        check_conserved(engine, "a1")

    def test_not_what_is_offered(self, engine):
        engine.allocate()
        before = engine.snapshot()
        with pytest.raises(ResourceError, match="cpus"):
            engine.apply_available("a1", [Reserve(dynamic("ops", "cpus:1"))])
        assert engine.snapshot() == before

    def test_an_unknown_agent(self, engine):
        with pytest.raises(UnknownAgent, match="a9"):
            engine.apply_available("a9", [Reserve(dynamic("ops", "cpus:1"))])

    def test_a_role_exists_while_something_is_reserved_to_it(self, engine):
        engine.apply_available("a1", [Reserve(dynamic("ops", "cpus:1"))])
        assert engine.role("ops").reserved == Quantities("cpus:1")
        engine.apply_available("a1", [Unreserve(dynamic("ops", "cpus:1"))])
        with pytest.raises(UnknownRole):
            engine.role("ops")
        assert engine.agent("a1").total == R("cpus:4;disk:100")


class TestReserve:
    def test_from_one_role_to_another(self, engine):
        engine.apply_available("a1", Reserve(dynamic("eng", "cpus:2")))
        engine.apply_available("a1", Reserve(dynamic("ops", "cpus:2"), dynamic("eng", "cpus:2")))
        assert engine.agent("a1").total == R("cpus:2;disk:100") + dynamic("ops", "cpus:2")

    def test_refined(self, engine):
        engine.add_agent("a2", "cpus(eng):2")
        engine.apply_available("a2", Reserve(reserved(REFINED, "cpus:1")))
        assert engine.agent("a2").total == R("cpus(eng):1") + reserved(REFINED, "cpus:1")
        engine.apply_available("a2", Unreserve(reserved(REFINED, "cpus:1")))
        assert engine.agent("a2").total == R("cpus(eng):2")

    def test_ports(self, engine):
        engine.add_agent("a2", "ports:[1-10]")
        engine.apply_available("a2", Reserve(dynamic("eng", "ports:[3-4]")))
        assert engine.agent("a2").total == R("ports:[1-2,5-10]") + dynamic("eng", "ports:[3-4]")

    @pytest.mark.parametrize(
        "operation",
        [
            lambda: Reserve(dynamic("eng", "cpus:5")),
            lambda: Reserve("cpus:1"),  # nothing is reserved by it
            lambda: Reserve("cpus(eng):1"),  # static
            lambda: Unreserve("cpus:1"),
            lambda: Unreserve(dynamic("eng", "cpus:1")),
        ],
    )
    def test_refused(self, engine, operation):
        before = engine.snapshot()
        with pytest.raises(ResourceError, match="cpus"):
            engine.apply_available("a1", operation())
        assert engine.snapshot() == before

    def test_a_static_reservation_is_not_undone(self, engine):
        engine.add_agent("a2", "cpus(eng):2")
        with pytest.raises(ResourceError, match="cpus"):
            engine.apply_available("a2", Unreserve("cpus(eng):2"))


class TestVolumes:
    @pytest.fixture
    def engine(self, engine):
        engine.apply_available("a1", Reserve(dynamic("eng", "disk:100")))
        return engine

    def test_create_and_destroy(self, engine):
        engine.apply_available("a1", Create(volume(64)))
        assert engine.agent("a1").total == R("cpus:4") + dynamic("eng", "disk:36") + volume(64)
        engine.apply_available("a1", Destroy(volume(64)))
        assert engine.agent("a1").total == R("cpus:4") + dynamic("eng", "disk:100")

    def test_several_at_once(self, engine):
        both = volume(10, "v1") + volume(20, "v2")
        engine.apply_available("a1", Create(both))
        assert engine.agent("a1").total == R("cpus:4") + dynamic("eng", "disk:70") + both
        engine.apply_available("a1", Destroy(both))

    def test_grow(self, engine):
        engine.apply_available("a1", Create(volume(64)))
        engine.apply_available("a1", GrowVolume(volume(64), dynamic("eng", "disk:16")))
        assert engine.agent("a1").total == R("cpus:4") + dynamic("eng", "disk:20") + volume(80)

    @pytest.mark.parametrize("subtract", [24, "disk:24", {"disk": 24}, {"value": 24}])
    def test_shrink(self, engine, subtract):
        engine.apply_available("a1", Create(volume(64)))
        engine.apply_available("a1", ShrinkVolume(volume(64), subtract))
        assert engine.agent("a1").total == R("cpus:4") + dynamic("eng", "disk:60") + volume(40)

    @pytest.mark.parametrize(
        "operation",
        [
            lambda: Create(volume(101, "v2")),
            lambda: Create(volume(10, "v2", role="ops")),
            lambda: Create(volume(10, "v1")),  # the id is taken
            lambda: Create(dynamic("eng", "disk:10")),  # not a volume
            lambda: Destroy(volume(64, "v2")),
            lambda: Destroy(volume(32)),  # a part
            lambda: GrowVolume(volume(64), dynamic("eng", "disk:37")),
            lambda: GrowVolume(volume(63), dynamic("eng", "disk:1")),
            lambda: GrowVolume(volume(64), "disk:1"),
            lambda: ShrinkVolume(volume(64), 64),
            lambda: ShrinkVolume(volume(64), 65),
            lambda: Unreserve(volume(64)),
        ],
    )
    def test_refused(self, engine, operation):
        engine.apply_available("a1", Create(volume(64)))
        before = engine.snapshot()
        with pytest.raises(ResourceError, match="disk"):
            engine.apply_available("a1", operation())
        assert engine.snapshot() == before

    def test_an_offer_of_it(self, engine):
        (offer,) = engine.allocate()
        converted = engine.apply(offer, Create(volume(64)))
        engine.accept(converted, volume(64))
        (offer,) = engine.allocate()
        assert offer.resources == R("cpus:4") + dynamic("eng", "disk:36")
        with pytest.raises(ResourceError):
            engine.apply(offer, Destroy(volume(64)))
        engine.release("f1", "a1", "eng", volume(64))
        (again,) = engine.allocate()
        assert engine.apply(again, Destroy(volume(64))).resources == dynamic("eng", "disk:64")


class TestSharedVolumes:
    photos = volume(64, shared=True)

    @pytest.fixture
    def engine(self, engine):
        engine.apply_available("a1", [Reserve(dynamic("eng", "disk:64")), Create(self.photos)])
        return engine

    def test_destroying_one_in_use_elsewhere_is_refused(self, engine):
        (offer,) = engine.allocate()
        engine.accept(offer, self.photos)
        (offer,) = engine.allocate()
        assert offer.resources == R("cpus:4;disk:36") + self.photos
        before = engine.snapshot()
        with pytest.raises(ResourceError):
            engine.apply(offer, Destroy(self.photos))
        with pytest.raises(ResourceError):
            engine.apply_available("a1", Destroy(self.photos))
        assert engine.snapshot() == before
        engine.release("f1", "a1", "eng", self.photos)
        engine.apply(offer, Destroy(self.photos))
        assert engine.agent("a1").total == R("cpus:4;disk:36") + dynamic("eng", "disk:64")

    def test_destroying_one_that_is_offered_elsewhere_is_refused(self, engine):
        (first,) = engine.allocate()
        (second,) = engine.allocate()
        assert second.resources == self.photos
        with pytest.raises(ResourceError):
            engine.apply(second, Destroy(self.photos))
        engine.rescind(first)
        engine.apply(second, Destroy(self.photos))


class TestQuotaAndShares:
    def test_reserving_what_is_offered_charges_nothing_more(self, engine):
        engine.set_quota("eng", limit="cpus:4;disk:100")
        (offer,) = engine.allocate()
        engine.apply(offer, Reserve(dynamic("eng", "cpus:3")))
        assert engine.role("eng").consumed == Quantities("cpus:4;disk:100")
        engine.rescind(offer)
        # What is reserved stays consumed.
        assert engine.role("eng").consumed == Quantities("cpus:3")
        assert engine.role("eng").share == 0.0

    def test_unreserving_what_is_offered_keeps_the_charge_until_it_goes_back(self, engine):
        engine.apply_available("a1", Reserve(dynamic("eng", "cpus:3")))
        (offer,) = engine.allocate()
        engine.apply(offer, Unreserve(dynamic("eng", "cpus:3")))
        assert engine.role("eng").consumed == Quantities("cpus:4;disk:100")
        engine.rescind(offer)
        assert engine.role("eng").consumed == Quantities("")

    def test_reserving_what_is_available_is_charged(self, engine):
        engine.set_quota("eng", limit="cpus:4")
        engine.add_agent("a2", "cpus:3")
        engine.apply_available("a2", Reserve(dynamic("eng", "cpus:3")))
        engine.deactivate_agent("a2")
        # 1 of 4 is left.
        assert amounts(engine.allocate()) == [("f1", "cpus:1;disk:100")]

    def test_a_guarantee_met_by_a_reservation_frees_headroom(self, engine):
        engine.set_quota("quota", guarantee="cpus:3")
        assert amounts(engine.allocate()) == [("f1", "cpus:1;disk:100")]
        engine.add_agent("a2", "cpus:3")
        engine.apply_available("a2", Reserve(dynamic("quota", "cpus:3")))
        # The need is met on a2; all of a1's is free.
        assert amounts(engine.allocate()) == [("f1", "cpus:3")]

    def test_a_conversion_is_no_allocation(self, engine):
        """It changes neither shares nor how often somebody was allocated something."""
        engine.add_framework("f2", ["eng"])
        engine.add_agent("a2", "cpus:4;disk:100")
        first, second = engine.allocate()
        assert (first.framework, second.framework) == ("f1", "f2")
        for amount in (1, 2, 1):
            engine.apply(first, Reserve(dynamic("eng", {"cpus": amount})))
        assert engine.role("eng").share == 1.0
        engine.add_agent("a3", "cpus:4")
        # f1 = f2 = 4/12 and 100/200, once each: by name.
        assert amounts(engine.allocate()) == [("f1", "cpus:4")]
