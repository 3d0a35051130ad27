"""What the reference decides where the right answer can be worked out by hand.

The engine stands beside it in every test: both are held to the same arithmetic, which the comments
carry out.
"""

from __future__ import annotations

from typing import Any

import pytest

import allocator
from allocator import ManualClock, NotAllowed, OfferGone, ResourceError, Resources, reference
from tests.contract import dynamic, mount_disk, reserved, revocable, volume

IMPLEMENTATIONS = {"reference": reference.Allocator, "engine": allocator.Allocator}

#: An allocator of either kind.
AnyAllocator = Any


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=IMPLEMENTATIONS)
def make(request: pytest.FixtureRequest, clock: ManualClock) -> Any:
    """Return a maker of allocators of one kind."""
    kind = IMPLEMENTATIONS[request.param]

    def made(**options: Any) -> AnyAllocator:
        return kind(**{"seed": 7, "clock": clock, **options})

    return made


@pytest.fixture
def engine(make: Any) -> AnyAllocator:
    return make()


def drawn(offers: Any) -> list[tuple[str, str]]:
    """Return (framework, text of the resources) of each offer."""
    return [(offer.framework, str(offer.resources)) for offer in offers]


def fill(engine: AnyAllocator, demands: dict[str, str]) -> dict[str, int]:
    """Let each framework take one task an offer until nothing fits; return the tasks of each."""
    tasks = dict.fromkeys(demands, 0)
    while True:
        offers = engine.allocate()
        if not offers:
            return tasks
        for offer in offers:
            if offer.resources >= Resources(demands[offer.framework]):
                engine.accept(offer, demands[offer.framework])
                tasks[offer.framework] += 1
            else:
                engine.decline(offer, refuse_seconds=1000)


class TestDominantShare:
    def test_the_example_of_the_paper(self, engine: AnyAllocator) -> None:
        # ⟨9 CPU, 18 GB⟩; A's task ⟨1, 4⟩ has the share max(1/9, 4/18) = 2/9, B's ⟨3, 1⟩ 3/9.
        # B A: 3/9, 2/9 → A: 4/9 → B: 6/9 → A: 6/9; then B's next would need 9 + 3 CPU.
        engine.add_agent("a1", "cpus:9;mem:18")
        engine.add_framework("A", ["a"])
        engine.add_framework("B", ["b"])
        assert fill(engine, {"A": "cpus:1;mem:4", "B": "cpus:3;mem:1"}) == {"A": 3, "B": 2}
        assert engine.role("a").share == 12 / 18
        assert engine.role("b").share == 6 / 9

    def test_within_one_role(self, engine: AnyAllocator) -> None:
        engine.add_agent("a1", "cpus:9;mem:18")
        engine.add_framework("A", ["*"])
        engine.add_framework("B", ["*"])
        assert fill(engine, {"A": "cpus:1;mem:4", "B": "cpus:3;mem:1"}) == {"A": 3, "B": 2}
        assert engine.framework("A").share("*") == 12 / 18

    def test_weights(self, engine: AnyAllocator) -> None:
        # One task is 1/12; weight 2 halves a's share, so that a runs 8 tasks and b 4: 8/24, 4/12.
        engine.add_agent("a1", "cpus:12")
        engine.add_framework("A", ["a"])
        engine.add_framework("B", ["b"])
        engine.set_weight("a", 2.0)
        assert fill(engine, {"A": "cpus:1", "B": "cpus:1"}) == {"A": 8, "B": 4}
        assert engine.role("a").share == engine.role("b").share == 4 / 12

    def test_weights_in_the_tree(self, engine: AnyAllocator) -> None:
        # eng (weight 3) : ops = 3 : 1, so 9 and 3 of 12; within eng, prod (2) : test = 6 : 3.
        engine.add_agent("a1", "cpus:12")
        for name, role in (("P", "eng/prod"), ("T", "eng/test"), ("O", "ops")):
            engine.add_framework(name, [role])
        engine.set_weight("eng", 3.0)
        engine.set_weight("eng/prod", 2.0)
        tasks = fill(engine, dict.fromkeys("PTO", "cpus:1"))
        assert tasks == {"P": 6, "T": 3, "O": 3}
        assert engine.role("eng").share == 9 / 12 / 3
        assert engine.role("eng/prod").share == 6 / 12 / 2

    def test_a_role_competes_with_its_children_by_an_implicit_leaf(
        self, engine: AnyAllocator
    ) -> None:
        # The weight is the subtree's: eng's own leaf and eng/prod share 8 of 12 evenly.
        engine.add_agent("a1", "cpus:12")
        for name, role in (("E", "eng"), ("P", "eng/prod"), ("O", "ops")):
            engine.add_framework(name, [role])
        engine.set_weight("eng", 2.0)
        assert fill(engine, dict.fromkeys("EPO", "cpus:1")) == {"E": 4, "P": 4, "O": 4}

    def test_names_left_out(self, make: Any) -> None:
        # ⟨12, 18⟩, by cpus alone: A 1/12, B 3/12, A 2/12, A 3/12, B (served less often) 6/12,
        # A 4/12; then mem is gone. With mem, A and B would run 3 tasks each.
        engine = make(fairness_exclude=["mem"])
        engine.add_agent("a1", "cpus:12;mem:18")
        engine.add_framework("A", ["a"])
        engine.add_framework("B", ["b"])
        assert fill(engine, {"A": "cpus:1;mem:4", "B": "cpus:3;mem:1"}) == {"A": 4, "B": 2}
        assert engine.role("a").share == 4 / 12

    def test_a_shared_volume_counts_once_for_a_role(self, engine: AnyAllocator) -> None:
        # 10 MB of disk in all, 4 of them a volume that both frameworks hold.
        engine.add_agent("a1", Resources("disk(eng):6") + volume(4, shared=True))
        engine.add_framework("f1", ["eng"], capabilities=["SHARED_RESOURCES"])
        engine.add_framework("f2", ["eng"], capabilities=["SHARED_RESOURCES"])
        engine.accept(engine.allocate()[0], volume(4, shared=True))
        (second,) = engine.allocate()
        assert second.framework == "f2"
        engine.accept(second, volume(4, shared=True))
        assert engine.role("eng").share == 4 / 10
        assert engine.role("eng").allocated == {"disk": 4.0}


class TestFilters:
    def test_a_refusal_holds_until_its_end(self, engine: AnyAllocator, clock: ManualClock) -> None:
        engine.add_agent("a1", "cpus:4")
        engine.add_framework("f1")
        engine.decline(engine.allocate()[0], refuse_seconds=5)
        clock.advance(4.875)
        assert not engine.allocate()
        clock.advance(0.125)
        assert drawn(engine.allocate()) == [("f1", "cpus:4")]

    def test_more_than_was_refused_is_offered(self, engine: AnyAllocator) -> None:
        engine.add_agent("a1", "cpus:4")
        engine.add_framework("f1")
        engine.decline(engine.allocate()[0], refuse_seconds=5)
        engine.update_agent("a1", resources="cpus:4.001")
        assert drawn(engine.allocate()) == [("f1", "cpus:4.001")]

    def test_the_rest_of_an_offer_is_refused(self, engine: AnyAllocator) -> None:
        engine.add_agent("a1", "cpus:4")
        engine.add_framework("f1")
        engine.add_framework("f2")
        engine.accept(engine.allocate()[0], "cpus:1", refuse_seconds=5)
        assert drawn(engine.allocate()) == [("f2", "cpus:3")]


class TestQuota:
    def test_a_limit_chops(self, engine: AnyAllocator) -> None:
        engine.add_agent("a1", "cpus:4;mem:8")
        engine.set_quota("eng", limit="cpus:2.5")
        engine.add_framework("f1", ["eng/prod"])
        assert drawn(engine.allocate()) == [("f1", "cpus:2.5;mem:8")]
        assert engine.role("eng").consumed == {"cpus": 2.5, "mem": 8}

    def test_headroom_is_held_back(self, engine: AnyAllocator) -> None:
        # eng needs 3 of the 8 cpus and has nobody yet; mem is not required and goes whole.
        engine.add_agent("a1", "cpus:8;mem:8")
        engine.set_quota("eng", guarantee="cpus:3")
        engine.add_framework("f1", ["ops"])
        assert drawn(engine.allocate()) == [("f1", "cpus:5;mem:8")]

    def test_a_guarantee_comes_first_and_bursts_into_the_surplus(
        self, engine: AnyAllocator
    ) -> None:
        # 2 of eng's 3 unmet cpus serve it; of the other 6, 2 are required by web, so 4 − … : what
        # serves is min(8, 3) = 3, surplus after that (8 − 3) − 2 = 3, 6 cpus in all.
        engine.add_agent("a1", "cpus:8")
        engine.set_quota("eng", guarantee="cpus:3")
        engine.set_quota("web", guarantee="cpus:2")
        engine.add_framework("f1", ["eng"])
        engine.add_framework("f0", ["alpha"])
        assert drawn(engine.allocate()) == [("f1", "cpus:6")]

    def test_a_parent_serves_what_its_other_children_do_not_need(
        self, engine: AnyAllocator
    ) -> None:
        # eng is guaranteed 6, eng/test 4 of them. To eng/prod, 6 − 4 = 2 serve; required after
        # that are 4, so no surplus in 6 − 2 = 4.
        engine.add_agent("a1", "cpus:6")
        engine.set_quota("eng", guarantee="cpus:6")
        engine.set_quota("eng/test", guarantee="cpus:4")
        engine.add_framework("f1", ["eng/prod"])
        assert drawn(engine.allocate()) == [("f1", "cpus:2")]

    def test_reservations_are_consumed_whether_used_or_not(self, engine: AnyAllocator) -> None:
        engine.add_agent("a1", "cpus:4;cpus(eng):3")
        engine.set_quota("eng", guarantee="cpus:4", limit="cpus:5")
        assert engine.role("eng").consumed == {"cpus": 3}
        engine.add_framework("f1", ["eng"])
        assert drawn(engine.allocate()) == [("f1", "cpus(eng):3;cpus:2")]

    def test_what_cannot_be_split_is_left_out(self, engine: AnyAllocator) -> None:
        # The mount disk of 10 does not fit into 12 − 4: text order has it after the plain disk.
        engine.add_agent("a1", Resources("disk:4") + mount_disk(10))
        engine.set_quota("eng", limit="disk:12")
        engine.add_framework("f1", ["eng"])
        assert [offer.resources for offer in engine.allocate()] == [Resources("disk:4")]

    def test_an_offer_of_both_stages_is_one(self, engine: AnyAllocator) -> None:
        # Stage one gives what serves and eng's own; what is reserved to eng comes to eng/prod in
        # stage two, into the same offer.
        engine.add_agent("a1", "cpus:2;cpus(eng):1")
        engine.set_quota("eng/prod", guarantee="cpus:2")
        engine.add_framework("f1", ["eng/prod"])
        assert drawn(engine.allocate()) == [("f1", "cpus(eng):1;cpus:2")]

    def test_limits_above_bind(self, engine: AnyAllocator) -> None:
        engine.add_agent("a1", "cpus:8")
        engine.set_quota("eng", limit="cpus:3")
        engine.set_quota("eng/prod", limit="cpus:2")
        engine.add_framework("f1", ["eng/prod"])
        engine.add_framework("f2", ["eng/test"])
        engine.add_framework("f3", ["ops"])
        offers = engine.allocate()
        assert sorted(drawn(offers)) == [("f1", "cpus:2"), ("f2", "cpus:1"), ("f3", "cpus:5")]

    @pytest.mark.parametrize(
        ("role", "guarantee", "limit"),
        [
            ("eng", "cpus:5", None),  # its children have 4 + 2
            ("eng/new", "cpus:3", None),  # 4 + 2 + 3 > 8
            ("eng/prod", "cpus:7", None),
            ("eng", "cpus:8", "cpus:7"),
            ("eng", "cpus:8", {"mem": 0, "cpus": 0}),
            ("eng/test/deep", "cpus:3", None),  # the limit of eng/test is 2
        ],
    )
    def test_contradictions(
        self, engine: AnyAllocator, role: str, guarantee: str, limit: Any
    ) -> None:
        engine.set_quota("eng", guarantee="cpus:8")
        engine.set_quota("eng/prod/web", guarantee="cpus:4")
        engine.set_quota("eng/test", guarantee="cpus:2", limit="cpus:2")
        with pytest.raises(allocator.QuotaError, match=role.split("/")[0]):
            engine.set_quota(role, guarantee=guarantee, limit=limit)
        assert engine.role("eng").quota.guarantee == {"cpus": 8}


class TestEntries:
    def test_revocables_are_for_those_who_can(self, engine: AnyAllocator) -> None:
        engine.add_agent("a1", Resources("cpus:2") + revocable("cpus:4"))
        engine.set_quota("eng", limit={"cpus": 0})
        engine.add_framework("f1", ["eng"], capabilities=["REVOCABLE_RESOURCES"])
        engine.add_framework("f2", ["ops"])
        offers = {offer.framework: offer.resources for offer in engine.allocate()}
        assert offers == {"f1": revocable("cpus:4"), "f2": Resources("cpus:2")}

    def test_reservations_go_to_the_role_and_below(self, engine: AnyAllocator) -> None:
        deep = reserved(
            [{"type": "STATIC", "role": "eng"}, {"type": "DYNAMIC", "role": "eng/prod"}], "mem:1"
        )
        engine.add_agent("a1", Resources("cpus(eng):2") + deep + dynamic("ops", "cpus:1"))
        engine.add_framework("f1", ["eng/prod"], capabilities=["RESERVATION_REFINEMENT"])
        engine.add_framework("f2", ["eng/test"])
        offers = engine.allocate()
        assert next(o.resources for o in offers if o.framework == "f1") >= deep
        assert all(not o.resources.reserved("ops") for o in offers)

    def test_a_shared_volume_is_offered_once_a_cycle_even_in_use(
        self, engine: AnyAllocator
    ) -> None:
        engine.add_agent("a1", volume(4, role="eng", shared=True))
        for name in ("f1", "f2"):
            engine.add_framework(name, ["eng"], capabilities=["SHARED_RESOURCES"])
        assert [len(engine.allocate()) for _ in range(3)] == [1, 1, 1]


class TestConversions:
    def test_an_offer_is_converted_and_stays(self, engine: AnyAllocator) -> None:
        engine.add_agent("a1", "cpus:4;disk:8")
        engine.add_framework("f1", ["eng"])
        (offer,) = engine.allocate()
        wanted = dynamic("eng", "cpus:3")
        body = {"type": "RESERVE", "reserve": {"resources": wanted.to_json()}}
        converted = engine.apply(offer, [body])
        assert (converted.id, converted.resources) == (
            offer.id,
            wanted + Resources("cpus:1;disk:8"),
        )
        assert engine.agent("a1").total == engine.agent("a1").offered == converted.resources
        assert engine.role("eng").reserved == {"cpus": 3}
        engine.rescind(offer.id)

    def test_all_or_nothing(self, engine: AnyAllocator) -> None:
        engine.add_agent("a1", "disk:8")
        create = {"type": "CREATE", "create": {"volumes": volume(4, role="eng").to_json()}}
        take = {
            "type": "RESERVE",
            "reserve": {"resources": dynamic("eng", "disk:4").to_json()},
        }
        with pytest.raises(ResourceError):
            engine.apply_available("a1", [take, create, create])
        assert engine.agent("a1").total == Resources("disk:8")
        engine.apply_available("a1", [take, create])
        assert engine.agent("a1").available == Resources("disk:4") + volume(4, role="eng")


class TestAnswers:
    def test_offered_resources_are_recovered_from_the_oldest_offer(
        self, engine: AnyAllocator
    ) -> None:
        engine.add_agent("a1", "cpus:2")
        engine.add_framework("f1")
        (first,) = engine.allocate()
        engine.update_agent("a1", resources="cpus:5")
        (second,) = engine.allocate()
        engine.recover_resources("f1", "a1", "*", "cpus:3")
        with pytest.raises(OfferGone):
            engine.accept(first)
        engine.accept(second)
        assert engine.agent("a1").allocated == Resources("cpus:2")

    def test_recovery_waits_for_agents_or_time(self, make: Any, clock: ManualClock) -> None:
        engine = make(recovery_timeout=60)
        engine.recover(4, {"eng": {"guarantee": "cpus:1"}})
        engine.add_framework("f1", ["eng"])
        engine.add_agent("a1", "cpus:4")
        with pytest.raises(NotAllowed):
            engine.recover(4, {})
        assert not engine.allocate()  # int(4 × 0.8) = 3 agents
        clock.advance(60)
        assert engine.allocate()

    def test_inverse_offers(self, engine: AnyAllocator, clock: ManualClock) -> None:
        engine.add_agent("a1", "cpus:4", used={"f1": {"eng": "cpus:1"}})
        engine.add_framework("f1", ["eng"])
        engine.set_unavailability("a1", 10.0, 5.0)
        assert [tuple(each) for each in engine.allocate().inverse] == [("f1", "a1", 10.0, 5.0)]
        assert not engine.allocate().inverse  # still outstanding
        engine.answer_inverse("f1", "a1", "DECLINE", refuse_seconds=0.25)
        assert not engine.allocate().inverse
        clock.advance(0.25)
        assert engine.allocate().inverse

    def test_use_by_a_framework_that_comes_later(self, engine: AnyAllocator) -> None:
        engine.add_agent("a1", "cpus:4", used={"f1": {"eng": "cpus:3"}})
        assert engine.agent("a1").available == Resources("cpus:1")
        with pytest.raises(allocator.UnknownRole):
            engine.role("eng")
        engine.add_framework("f1", ["ops"], used={"a1": {"eng": "cpus:3"}, "a9": {"eng": "cpus:1"}})
        assert engine.role("eng").share == 3 / 4
        assert engine.agent("a1").allocated == Resources("cpus:3")


def test_an_agents_place_is_its_own_affair(make: Any) -> None:
    """The order of a subset is the same whoever else takes part (§6.1)."""

    def order(names: list[str]) -> list[str]:
        engine = make()
        for name in names:
            engine.add_agent(name, "cpus:1")
        engine.add_framework("f1")
        return [offer.agent for offer in engine.allocate()]

    everyone = [f"a{n}" for n in range(30)]
    some = everyone[::3]
    assert order(some) == [name for name in order(everyone) if name in some]
    assert order(everyone) != everyone


def test_a_fork_of_the_reference_goes_its_own_way(clock: ManualClock) -> None:
    one = reference.Allocator(seed=1, clock=clock)
    one.add_agent("a1", "cpus:4")
    one.add_framework("f1")
    (offer,) = one.allocate()
    other = one.fork()
    other.decline(offer, refuse_seconds=5)
    one.accept(offer)
    clock.advance(5)
    assert not one.allocate()
    assert drawn(other.allocate()) == [("f1", "cpus:4")]
