"""Reservations: to whom they are offered, and what comes along with a guarantee (contract §6)."""

import pytest

from allocator import Quantities
from tests.contract import R, amounts, dynamic, reserved, revocable, served

REFINED = [{"type": "STATIC", "role": "eng"}, {"type": "DYNAMIC", "role": "eng/prod"}]


class TestWhoMayHaveThem:
    @pytest.mark.parametrize(
        ("role", "offered"),
        [
            ("eng", True),
            ("eng/prod", True),
            ("eng/prod/web", True),
            ("engine", False),
            ("ops", False),
            ("ops/eng", False),
            ("*", False),
        ],
    )
    @pytest.mark.parametrize("kind", ["static", "dynamic"])
    def test_the_role_and_its_descendants(self, engine, role, offered, kind):
        resources = R("cpus(eng):2") if kind == "static" else dynamic("eng", "cpus:2")
        engine.add_framework("f1", [role])
        engine.add_agent("a1", resources)
        offers = engine.allocate()
        assert [o.resources for o in offers] == ([resources] if offered else [])

    def test_not_the_parent_of_the_role(self, engine):
        engine.add_framework("f1", ["eng"])
        engine.add_agent("a1", "cpus(eng/prod):2;cpus:1")
        assert amounts(engine.allocate()) == [("f1", "cpus:1")]

    def test_what_is_unreserved_is_for_all(self, engine):
        engine.add_framework("f1", ["ops"])
        engine.add_framework("f2", ["eng"])
        engine.add_agent("a1", "cpus(eng):2;cpus(ops):1;cpus:4;mem(eng):5")
        # All 0: eng by name takes its own and what is unreserved; ops its own.
        assert amounts(engine.allocate()) == [
            ("f2", "cpus(eng):2;cpus:4;mem(eng):5"),
            ("f1", "cpus(ops):1"),
        ]

    def test_ranges_and_sets_too(self, engine):
        engine.add_framework("f1", ["ops"])
        engine.add_framework("f2", ["eng"])
        engine.add_agent("a1", "ports(eng):[1-5];disks(ops):{sda}")
        assert dict(amounts(engine.allocate())) == {
            "f1": "disks(ops):{sda}",
            "f2": "ports(eng):[1-5]",
        }

    def test_children_share_what_their_parent_reserved(self, engine):
        engine.add_framework("f1", ["eng/a"])
        engine.add_framework("f2", ["eng/b"])
        for n in range(4):
            engine.add_agent(f"a{n}", "cpus(eng):1")
        assert served(engine.allocate()) == ["f1", "f2", "f1", "f2"]

    def test_reserved_use_counts_in_shares(self, engine):
        engine.add_framework("f1", ["a"])
        engine.add_framework("f2", ["b"])
        engine.add_agent("a1", "cpus(a):4;cpus:4")
        (offer,) = (o for o in engine.allocate() if o.framework == "f1")
        engine.accept(offer, "cpus(a):4")
        # a = 4/8, b = 0.
        assert engine.role("a").share == 0.5
        assert amounts(engine.allocate()) == [("f2", "cpus:4")]

    def test_a_multi_role_framework_gets_each_in_its_role(self, engine):
        engine.add_framework("f1", ["a", "b"])
        engine.add_agent("a1", "cpus(a):1;cpus(b):2")
        engine.add_agent("a2", "cpus(b):4")
        got = {(o.role, o.agent): str(o.resources) for o in engine.allocate()}
        assert got == {
            ("a", "a1"): "cpus(a):1",
            ("b", "a1"): "cpus(b):2",
            ("b", "a2"): "cpus(b):4",
        }


class TestRefined:
    def test_only_to_the_innermost_role_and_below(self, engine):
        engine.add_framework("f1", ["eng"], capabilities=["RESERVATION_REFINEMENT"])
        engine.add_agent("a1", reserved(REFINED, "cpus:2"))
        assert len(engine.allocate()) == 0
        engine.add_framework("f2", ["eng/prod"], capabilities=["RESERVATION_REFINEMENT"])
        (offer,) = engine.allocate()
        assert (offer.framework, offer.resources) == ("f2", reserved(REFINED, "cpus:2"))

    def test_not_to_frameworks_that_do_not_know_them(self, engine):
        engine.add_framework("f1", ["eng/prod"])
        engine.add_framework("f2", ["eng/prod"], capabilities=["RESERVATION_REFINEMENT"])
        engine.add_agent("a1", reserved(REFINED, "cpus:2") + R("cpus:1"))
        # f1 by name: without the refined reservation; f2 the rest.
        offers = engine.allocate()
        assert [(o.framework, o.resources) for o in offers] == [
            ("f1", R("cpus:1")),
            ("f2", reserved(REFINED, "cpus:2")),
        ]

    def test_consumed_by_the_innermost_role_and_all_above(self, engine):
        engine.add_agent("a1", reserved(REFINED, "cpus:2") + R("cpus(eng):1"))
        assert engine.role("eng/prod").consumed == Quantities("cpus:2")
        assert engine.role("eng").consumed == Quantities("cpus:3")
        assert engine.role("eng").reserved == Quantities("cpus:3")


class TestAlongWithAGuarantee:
    """Stage one, and what of an agent is left to stage two."""

    def test_its_own_reservations_come_along(self, engine):
        engine.set_quota("z", guarantee="cpus:3")
        engine.add_framework("fz", ["z"])
        engine.add_agent("a1", "cpus:2;mem(z):10;cpus(z):1")
        assert amounts(engine.allocate()) == [("fz", "cpus(z):1;cpus:2;mem(z):10")]

    def test_scalars_reserved_to_an_ancestor_wait_for_fair_share(self, engine):
        engine.set_quota("eng/z", guarantee="cpus:2")
        engine.add_framework("fz", ["eng/z"])
        engine.add_framework("fa", ["eng/a"])
        engine.add_agent("a1", "cpus:2;cpus(eng):3")
        # Stage one: 2 cpus for fz. Stage two: eng/a = 0 < eng/z.
        assert amounts(engine.allocate()) == [("fz", "cpus:2"), ("fa", "cpus(eng):3")]

    def test_ranges_and_sets_reserved_to_an_ancestor_come_along(self, engine):
        engine.set_quota("eng/z", guarantee="cpus:2")
        engine.add_framework("fz", ["eng/z"])
        engine.add_framework("fa", ["eng/a"])
        engine.add_agent("a1", "cpus:2;ports(eng):[1-5];disks(eng):{sda};ports:[7-9]")
        assert amounts(engine.allocate()) == [
            ("fz", "cpus:2;disks(eng):{sda};ports(eng):[1-5];ports:[7-9]")
        ]

    def test_revocables_come_along(self, engine):
        engine.set_quota("z", guarantee="cpus:2")
        engine.add_framework("fz", ["z"], capabilities=["REVOCABLE_RESOURCES"])
        engine.add_framework("fa", ["a"], capabilities=["REVOCABLE_RESOURCES"])
        engine.add_agent("a1", R("cpus:2") + revocable("cpus:3;mem:5"))
        (offer,) = engine.allocate()
        assert offer.framework == "fz"
        assert offer.resources == R("cpus:2") + revocable("cpus:3;mem:5")

    def test_nothing_where_only_reservations_would_serve(self, engine):
        engine.set_quota("eng/z", guarantee="cpus:2")
        engine.add_framework("fz", ["eng/z"])
        engine.add_framework("fa", ["eng/a"])
        engine.add_agent("used", "mem:9", used={"fz": {"eng/z": "mem:9"}})
        engine.add_agent("a1", "cpus(eng):3;mem:1;ports:[1-3]")
        # No unreserved cpus here: fair share, with eng/a = 0 < eng/z = 9/10.
        assert amounts(engine.allocate()) == [("fa", "cpus(eng):3;mem:1;ports:[1-3]")]

    def test_both_stages_make_one_offer(self, engine):
        engine.set_quota("eng/z", guarantee="cpus:2")
        engine.add_framework("fz", ["eng/z"])
        engine.add_agent("a1", "cpus:2;cpus(eng):3")
        assert amounts(engine.allocate()) == [("fz", "cpus(eng):3;cpus:2")]


class TestQuotaAndReservations:
    def test_a_reservation_lets_a_role_take_less_of_the_unreserved(self, engine):
        """Mesos: ReservationWithinQuota; reserved plus unreserved is what is guaranteed."""
        engine.set_quota("quota", guarantee="cpus:2;mem:256")
        engine.add_framework("f1", ["quota"], suppressed=["quota"])
        engine.add_framework("f2", ["none"])
        engine.add_agent("a1", "cpus:8;mem:2048")
        engine.add_agent("a2", dynamic("quota", "cpus:2;mem:256"))
        # Nothing is needed any more.
        assert amounts(engine.allocate()) == [("f2", "cpus:8;mem:2048")]

    def test_a_lost_reservation_is_needed_again(self, engine):
        engine.set_quota("quota", guarantee="cpus:2")
        engine.add_framework("f2", ["none"])
        engine.add_agent("a1", "cpus:1;cpus(quota):2")
        engine.update_agent("a1", resources="cpus:3")
        assert amounts(engine.allocate()) == [("f2", "cpus:1")]

    def test_a_removed_agent_takes_its_reservations_with_it(self, engine):
        engine.set_quota("quota", guarantee="cpus:2")
        engine.add_agent("a2", "cpus(quota):2")
        engine.remove_agent("a2")
        assert engine.role("quota").consumed == Quantities("")
        assert engine.role("quota").reserved == Quantities("")
        engine.add_framework("f2", ["none"])
        engine.add_agent("a1", "cpus:3")
        assert amounts(engine.allocate()) == [("f2", "cpus:1")]

    def test_a_childs_reservation_serves_its_parents_guarantee(self, engine):
        engine.set_quota("eng", guarantee="cpus:5")
        engine.add_framework("f2", ["none"])
        engine.add_agent("a1", "cpus:6;cpus(eng/a):3")
        # eng lacks 2 of 6 available.
        assert amounts(engine.allocate()) == [("f2", "cpus:4")]

    def test_a_parents_reservation_does_not_serve_its_childs(self, engine):
        engine.set_quota("eng/a", guarantee="cpus:5")
        engine.add_framework("f2", ["none"])
        engine.add_agent("a1", "cpus:6;cpus(eng):3")
        assert amounts(engine.allocate()) == [("f2", "cpus:1")]
