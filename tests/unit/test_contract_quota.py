"""Quota: guarantees, limits and headroom at every depth (contract §6.2, §6.3, §6.7)."""

import random

import pytest

from allocator import Quantities, QuotaError, UnknownRole
from tests.contract import R, amounts, check_conserved, mount_disk, revocable, served


def given(offers, framework):
    """Return all that `framework` was offered."""
    return sum((o.resources for o in offers if o.framework == framework), R())


class TestGuarantee:
    def test_drf_with_quota(self, engine):
        """Mesos: DRFWithQuota."""
        engine.set_quota("quota", guarantee="cpus:0.25;mem:128")
        engine.add_framework("framework1", ["quota"])
        engine.add_framework("framework2", ["none"])
        engine.add_agent("agent1", "cpus:1;mem:512")
        # Stage one: 0.25 cpus and 128 MB serve the guarantee; then nothing is required any more,
        # and the rest comes along.
        assert amounts(engine.allocate()) == [("framework1", "cpus:1;mem:512")]
        engine.add_agent("agent2", "cpus:1;mem:512")
        # The guarantee is met: quota = 1/2, none = 0.
        assert amounts(engine.allocate()) == [("framework2", "cpus:1;mem:512")]

    def test_a_guarantee_goes_before_fairness(self, engine):
        engine.set_quota("z", guarantee="cpus:8")
        engine.add_framework("fz", ["z"])
        engine.add_framework("fa", ["a"])
        engine.add_agent("used", "cpus:5", used={"fz": {"z": "cpus:5"}})
        engine.add_agent("free", "cpus:3")
        # z = 5/8 and a = 0, but z is 3 cpus short.
        assert amounts(engine.allocate()) == [("fz", "cpus:3")]

    def test_quota_provides_guarantee(self, engine):
        """Mesos: QuotaProvidesGuarantee; what is guaranteed is held back for who declines."""
        engine.set_quota("quota", guarantee="cpus:2;mem:1024")
        engine.add_framework("f1", ["quota"])
        engine.add_framework("f2", ["none"])
        engine.add_agent("agent1", "cpus:1;mem:512")
        engine.add_agent("agent2", "cpus:1;mem:512")
        offers = engine.allocate()
        assert served(offers) == ["f1", "f1"]
        engine.decline(offers[0], refuse_seconds=100)
        # One half is needed still, and f2 gets nothing of it.
        assert len(engine.allocate()) == 0

    def test_removing_the_quota_frees_what_was_held_back(self, engine):
        """Mesos: RemoveQuota."""
        engine.set_quota("quota", guarantee="cpus:2")
        engine.add_framework("f2", ["none"])
        engine.add_agent("a1", "cpus:2")
        assert len(engine.allocate()) == 0
        engine.remove_quota("quota")
        assert amounts(engine.allocate()) == [("f2", "cpus:2")]
        with pytest.raises(UnknownRole):
            engine.role("quota")

    def test_removing_none_does_nothing(self, engine):
        before = engine.snapshot()
        engine.remove_quota("nobody")
        engine.remove_quota("nobody/at/all")
        assert engine.snapshot() == before

    def test_multi_quota_with_frameworks(self, engine):
        """Mesos: MultiQuotaWithFrameworks; roles short of their guarantees go by share."""
        for n in (1, 2):
            engine.set_quota(f"role{n}", guarantee="cpus:200;mem:2000")
            engine.add_framework(f"framework{n}", [f"role{n}"])
            used = {f"framework{n}": {f"role{n}": "cpus:2;mem:10"}}
            engine.add_agent(f"agent{n}", "cpus:2;mem:10", used=used)
        engine.add_agent("agent3", "cpus:1;mem:5")
        # role1 = role2 = 2/5, once each: by name.
        assert served(engine.allocate()) == ["framework1"]
        engine.add_agent("agent4", "cpus:1;mem:5")
        # role1 = 3/6, role2 = 2/6.
        assert served(engine.allocate()) == ["framework2"]

    def test_only_roles_short_of_their_guarantee_take_part_in_stage_one(self, engine):
        engine.set_quota("a", guarantee="cpus:1")
        engine.set_quota("b", guarantee="cpus:4")
        engine.add_framework("fa", ["a"])
        engine.add_framework("fb", ["b"])
        engine.add_agent("a1", "cpus:1", used={"fa": {"a": "cpus:1"}})
        engine.add_agent("a2", "cpus:9", used={"fb": {"b": "cpus:3"}})
        # a = 1/10 is met; b = 3/10 lacks one cpu: that one, and with it all the rest.
        assert amounts(engine.allocate()) == [("fb", "cpus:6")]

    def test_what_does_not_serve_waits_for_fairness(self, engine):
        """Nothing in stage one where no unreserved scalar serves a guarantee."""
        engine.set_quota("a", guarantee="cpus:4")
        engine.add_framework("fa", ["a"])
        engine.add_framework("fb", ["b"])
        engine.add_agent("a1", "mem:10", used={"fa": {"a": "mem:10"}})
        engine.add_agent("a2", "mem:10;ports:[1-9]")
        # a = 10/20, b = 0; no cpus here.
        assert amounts(engine.allocate()) == [("fb", "mem:10;ports:[1-9]")]

    def test_a_framework_that_may_not_does_not_end_the_loop(self, engine):
        engine.set_quota("a", guarantee="cpus:4")
        engine.add_framework("f1", ["a"])
        engine.add_framework("f2", ["a"], capabilities=["GPU_RESOURCES"])
        engine.add_framework("f3", ["b"], capabilities=["GPU_RESOURCES"])
        engine.add_agent("a1", "cpus:4;gpus:1")
        assert served(engine.allocate()) == ["f2"]

    def test_a_filter_holds_for_guarantees_too(self, engine, clock):
        engine.set_quota("a", guarantee="cpus:4")
        engine.add_framework("f1", ["a"])
        engine.add_agent("a1", "cpus:4")
        engine.decline(engine.allocate()[0], refuse_seconds=7)
        clock.advance(6)
        assert len(engine.allocate()) == 0
        clock.advance(1)
        assert served(engine.allocate()) == ["f1"]

    def test_reservations_count_as_consumed_even_if_not_in_use(self, engine):
        engine.set_quota("a", guarantee="cpus:4")
        engine.add_framework("fb", ["b"])
        engine.add_agent("a1", "cpus(a):4;cpus:4")
        # The guarantee is met by the reservation; nothing is held back.
        assert amounts(engine.allocate()) == [("fb", "cpus:4")]

    def test_revocable_use_does_not_count_as_consumed(self, engine):
        engine.set_quota("a", guarantee="cpus:4")
        engine.add_framework("fa", ["a"], capabilities=["REVOCABLE_RESOURCES"])
        engine.add_framework("fb", ["b"])
        engine.add_agent("a1", revocable("cpus:4"), used={"fa": {"a": revocable("cpus:4")}})
        assert engine.role("a").consumed == Quantities("")
        engine.suppress("fa")
        engine.add_agent("a2", "cpus:5")
        # All 4 are still needed.
        assert amounts(engine.allocate()) == [("fb", "cpus:1")]


class TestSurplus:
    """Beside what serves a guarantee, stage one offers what nobody else is guaranteed."""

    def test_not_what_others_are_guaranteed(self, engine):
        engine.set_quota("a", guarantee="cpus:2")
        engine.set_quota("b", guarantee="cpus:3")
        engine.add_framework("fa", ["a"])
        engine.add_agent("a1", "cpus:8")
        # 2 serve; of the other 6 b's 3 stay.
        assert amounts(engine.allocate()) == [("fa", "cpus:5")]
        assert engine.agent("a1").available == R("cpus:3")

    def test_never_less_than_what_serves(self, engine):
        """Also where guarantees are more than there is."""
        engine.set_quota("a", guarantee="cpus:6")
        engine.set_quota("b", guarantee="cpus:6")
        engine.add_framework("fa", ["a"])
        engine.add_agent("a1", "cpus:8")
        # 6 serve; available 2 − required 6 is below zero.
        assert amounts(engine.allocate()) == [("fa", "cpus:6")]

    def test_per_resource_where_something_is_required(self, engine):
        engine.set_quota("a", guarantee="cpus:2")
        engine.set_quota("b", guarantee="cpus:6")
        engine.add_framework("fa", ["a"])
        engine.add_agent("a1", "cpus:8;mem:100")
        assert amounts(engine.allocate()) == [("fa", "cpus:2;mem:100")]

    def test_within_every_limit(self, engine):
        engine.set_quota("a", guarantee="cpus:2", limit="cpus:4;mem:30")
        engine.add_framework("fa", ["a"])
        engine.add_framework("fb", ["b"])
        engine.add_agent("a1", "cpus:10;mem:100")
        assert amounts(engine.allocate()) == [
            ("fa", "cpus:4;mem:30"),
            ("fb", "cpus:6;mem:70"),
        ]

    def test_large_and_small_guarantees_are_all_met(self, engine):
        """Three roles with different guarantees on equal agents."""
        wanted = {"a": 2, "b": 3, "c": 4}
        for role, cpus in wanted.items():
            engine.set_quota(role, guarantee={"cpus": cpus}, limit={"cpus": cpus})
            engine.add_framework(f"f{role}", [role])
        for n in range(9):
            engine.add_agent(f"a{n}", "cpus:1;mem:1")
        offers = engine.allocate()
        for role, cpus in wanted.items():
            assert given(offers, f"f{role}")["cpus"] == cpus


class TestHeadroom:
    def test_quota_absent_framework(self, engine):
        """Mesos: QuotaAbsentFramework; a guarantee is held back though nobody is there for it."""
        engine.set_quota("quota", guarantee="cpus:2;mem:1024")
        engine.add_framework("f1", ["none"])
        engine.add_agent("agent1", "cpus:2;mem:1024")
        engine.add_agent("agent2", "cpus:1;mem:512")
        # 3 − 2 cpus, 1536 − 1024 MB.
        assert given(engine.allocate(), "f1") == R("cpus:1;mem:512")

    def test_multi_quota_absent_frameworks(self, engine):
        """Mesos: MultiQuotaAbsentFrameworks."""
        engine.set_quota("quota1", guarantee="cpus:1;mem:512")
        engine.set_quota("quota2", guarantee="cpus:1;mem:512")
        engine.add_agent("agent1", "cpus:1;mem:512")
        engine.add_agent("agent2", "cpus:1;mem:512")
        engine.add_framework("f1", ["quota1"])
        # Only quota1's part is offered; quota2's waits.
        assert given(engine.allocate(), "f1") == R("cpus:1;mem:512")

    def test_a_suppressed_framework_keeps_its_guarantee(self, engine):
        engine.set_quota("quota", guarantee="cpus:2")
        engine.add_framework("f1", ["quota"], suppressed=["quota"])
        engine.add_framework("f2", ["none"])
        engine.add_agent("a1", "cpus:3")
        assert amounts(engine.allocate()) == [("f2", "cpus:1")]

    def test_resources_that_nobody_is_guaranteed_are_not_bound(self, engine):
        engine.set_quota("quota", guarantee="cpus:8")
        engine.add_framework("f1", ["none"])
        engine.add_agent("a1", "cpus:4;mem:100;ports:[1-9]")
        assert amounts(engine.allocate()) == [("f1", "mem:100;ports:[1-9]")]

    def test_chopped_to_three_decimals(self, engine):
        engine.set_quota("quota", guarantee="cpus:1.001")
        engine.add_framework("f1", ["none"])
        engine.add_agent("a1", "cpus:1.25")
        assert amounts(engine.allocate()) == [("f1", "cpus:0.249")]

    def test_disproportionate_quota_vs_allocation(self, engine):
        """Mesos: DisproportionateQuotaVsAllocation."""
        engine.set_quota("quota", guarantee="cpus:2;mem:20")
        engine.add_framework("f1", ["quota"], suppressed=["quota"])
        engine.add_framework("f2", ["none"])
        engine.add_agent("a1", "cpus:4;mem:100", used={"f1": {"quota": "mem:50"}})
        # It uses more memory than it is guaranteed, which takes nothing from its cpus.
        assert amounts(engine.allocate()) == [("f2", "cpus:2;mem:50")]

    def test_one_roles_excess_is_not_anothers_loss(self, engine):
        engine.set_quota("a", guarantee="cpus:1")
        engine.set_quota("b", guarantee="cpus:2")
        engine.add_framework("fa", ["a"])
        engine.add_framework("fc", ["c"])
        engine.add_agent("a1", "cpus:8", used={"fa": {"a": "cpus:5"}})
        engine.suppress("fa")
        # Of 3 available 2 are b's.
        assert amounts(engine.allocate()) == [("fc", "cpus:1")]

    def test_unallocated_reservations_are_not_available_to_a_guarantee(self, engine):
        engine.set_quota("quota", guarantee="cpus:6")
        engine.add_framework("f1", ["none"])
        engine.add_agent("a1", "cpus:6;cpus(ops):4")
        # 10 − 4 reserved = 6, all of it required.
        assert len(engine.allocate()) == 0

    def test_allocated_reservations_are_counted_once(self, engine):
        engine.set_quota("quota", guarantee="cpus:5")
        engine.add_framework("fo", ["ops"])
        engine.add_framework("f1", ["none"])
        engine.add_agent("a1", "cpus:6;cpus(ops):4", used={"fo": {"ops": "cpus(ops):3"}})
        engine.suppress("fo")
        # 10 − 3 in use − 1 reserved and free = 6; 5 are required.
        assert amounts(engine.allocate()) == [("f1", "cpus:1")]

    def test_a_reservation_for_the_role_lowers_its_need(self, engine):
        engine.set_quota("quota", guarantee="cpus:6")
        engine.add_framework("f1", ["none"])
        engine.add_agent("a1", "cpus:6;cpus(quota):4")
        # available 10 − 4 = 6, required 6 − 4 = 2.
        assert amounts(engine.allocate()) == [("f1", "cpus:4")]

    def test_available_revocables_do_not_count(self, engine):
        engine.set_quota("quota", guarantee="cpus:4")
        engine.add_framework("f1", ["none"], capabilities=["REVOCABLE_RESOURCES"])
        engine.add_agent("a1", R("cpus:4") + revocable("cpus:3"))
        # 7 − 3 revocable = 4, all of it required; the revocable cpus are not bound.
        (offer,) = engine.allocate()
        assert offer.resources == revocable("cpus:3")

    def test_a_roles_own_reservations_are_not_bound(self, engine):
        engine.set_quota("quota", guarantee="cpus:99")
        engine.add_framework("f1", ["none"])
        engine.add_agent("a1", "cpus:4;cpus(none):3")
        assert amounts(engine.allocate()) == [("f1", "cpus(none):3")]

    def test_a_role_may_take_what_it_is_guaranteed_itself(self, engine):
        engine.set_quota("quota", guarantee="cpus:3")
        engine.add_framework("f1", ["quota"])
        engine.add_framework("f2", ["none"])
        engine.add_agent("a1", "cpus:2")
        assert amounts(engine.allocate()) == [("f1", "cpus:2")]

    def test_many_small_agents(self, engine):
        """Whatever the order of the agents, exactly the guarantee stays."""
        engine.set_quota("quota", guarantee="cpus:3.5")
        engine.add_framework("f1", ["none"])
        for n in range(10):
            engine.add_agent(f"a{n}", "cpus:0.7;mem:5")
        offers = engine.allocate()
        assert given(offers, "f1") == R("cpus:3.5;mem:50")
        check_conserved(engine, *(f"a{n}" for n in range(10)))

    def test_an_unsplittable_entry_is_left_out_where_a_part_would_fit(self, engine):
        engine.set_quota("quota", guarantee="disk:50")
        engine.add_framework("f1", ["none"])
        engine.add_agent("a1", R("cpus:1") + mount_disk(100))
        assert amounts(engine.allocate()) == [("f1", "cpus:1")]
        engine.add_agent("a2", "disk:50")
        # 150 available, 50 required: the mount disk, or the plain one.
        assert given(engine.allocate(), "f1") in (R("disk:50"), mount_disk(100))


class TestHeadroomIsWhatCanBeOffered:
    """Agents that no cycle considers have nothing for a guarantee."""

    def two_agents(self, engine):
        engine.set_quota("q", guarantee="cpus:4")
        engine.add_framework("other", ["other"])
        engine.add_agent("n1", "cpus:4")
        engine.add_agent("n2", "cpus:4", hostname="h2")

    def test_a_deactivated_agent_holds_nothing_back(self, engine):
        self.two_agents(engine)
        engine.deactivate_agent("n2")
        # n1's 4 cpus are all there is, and q's 4 are required.
        assert len(engine.allocate()) == 0
        engine.activate_agent("n2")
        # 8 available, 4 required.
        assert given(engine.allocate(), "other") == R("cpus:4")

    def test_nor_does_one_that_is_not_whitelisted(self, engine):
        self.two_agents(engine)
        engine.set_whitelist(["n1"])
        assert len(engine.allocate()) == 0
        engine.set_whitelist(["n1", "h2"])
        assert given(engine.allocate(), "other") == R("cpus:4")

    def test_the_role_finds_what_was_held_back(self, engine):
        self.two_agents(engine)
        engine.deactivate_agent("n2")
        engine.add_framework("fq", ["q"])
        assert amounts(engine.allocate()) == [("fq", "cpus:4")]

    def test_what_is_in_use_there_comes_and_goes_with_the_agent(self, engine):
        engine.add_framework("other", ["other"])
        engine.add_agent("n1", "cpus:8", used={"other": {"other": "cpus:3"}})
        engine.add_agent("n2", "cpus:2")
        engine.set_quota("q", guarantee="cpus:5")
        engine.deactivate_agent("n1")
        # 2 available; 5 required.
        assert len(engine.allocate()) == 0
        engine.activate_agent("n1")
        # 5 + 2 available.
        assert given(engine.allocate(), "other") == R("cpus:2")

    def test_an_inactive_agent_below_its_use_takes_nothing_from_the_others(self, engine):
        engine.add_framework("other", ["other"])
        engine.add_agent("n1", "cpus:8", used={"other": {"other": "cpus:8"}})
        engine.add_agent("n2", "cpus:6")
        engine.set_quota("q", guarantee="cpus:1")
        engine.update_agent("n1", resources="cpus:3")
        # −5 + 6 available, 1 required.
        assert len(engine.allocate()) == 0
        engine.deactivate_agent("n1")
        assert given(engine.allocate(), "other") == R("cpus:5")

    def test_a_named_cycle_counts_all_candidates(self, engine):
        self.two_agents(engine)
        assert given(engine.allocate(["n1"]), "other") == R("cpus:4")
        assert len(engine.allocate()) == 0

    def test_an_agent_that_comes_while_a_whitelist_keeps_it_out(self, engine):
        self.two_agents(engine)
        engine.set_whitelist(["n1"])
        engine.add_agent("n3", "cpus:9")
        assert len(engine.allocate()) == 0
        engine.remove_agent("n3")
        engine.set_whitelist(None)
        assert given(engine.allocate(), "other") == R("cpus:4")


class TestNeedsThatLimitsMakeImpossible:
    """A need is no more than the limit leaves, at each role."""

    def test_a_limit_that_a_sibling_used_up_caps_the_need(self, engine):
        engine.set_quota("a", limit="cpus:4")
        engine.set_quota("a/x", guarantee="cpus:3")
        engine.add_framework("fy", ["a/y"], suppressed=["a/y"])
        engine.add_framework("other", ["other"])
        engine.add_agent("n1", "cpus:10", used={"fy": {"a/y": "cpus:3"}})
        # a/x lacks 3, of which a has room for 1: 7 − 1.
        assert amounts(engine.allocate()) == [("other", "cpus:6")]

    def test_an_exhausted_limit_needs_nothing(self, engine):
        engine.set_quota("a", limit="cpus:4")
        engine.set_quota("a/x", guarantee="cpus:3")
        engine.add_framework("fy", ["a/y"], suppressed=["a/y"])
        engine.add_framework("other", ["other"])
        engine.add_agent("n1", "cpus:10", used={"fy": {"a/y": "cpus:6"}})
        assert amounts(engine.allocate()) == [("other", "cpus:4")]
        # Back to 3 of 4: 1 is needed again, of the 3 that came back.
        engine.release("fy", "n1", "a/y", "cpus:3")
        assert amounts(engine.allocate()) == [("other", "cpus:2")]

    def test_a_limit_on_its_own_role(self, engine):
        engine.set_quota("a", guarantee="cpus:3", limit="cpus:3")
        engine.add_framework("other", ["other"])
        engine.add_agent("n1", "cpus:6;cpus(a/x):2")
        # Reservations count: 3 − 2 is lacking, and allowed.
        assert amounts(engine.allocate()) == [("other", "cpus:5")]

    def test_two_limits_on_a_path(self, engine):
        engine.set_quota("a", limit="cpus:5")
        engine.set_quota("a/b", limit="cpus:4")
        engine.set_quota("a/b/x", guarantee="cpus:3")
        engine.set_quota("a/c", guarantee="cpus:1")
        engine.add_framework("fy", ["a/b/y"], suppressed=["a/b/y"])
        engine.add_framework("other", ["other"])
        engine.add_agent("n1", "cpus:10", used={"fy": {"a/b/y": "cpus:2"}})
        # a/b: min(3, 4 − 2) = 2; a: min(2 + 1, 5 − 2) = 3.
        assert amounts(engine.allocate()) == [("other", "cpus:5")]

    def test_consumption_where_there_is_a_limit_alone_moves_the_need_above(self, engine):
        engine.set_quota("a", guarantee="cpus:4")
        engine.set_quota("a/b", limit="cpus:3")
        engine.set_quota("a/b/x", guarantee="cpus:3")
        engine.add_framework("fy", ["a/b/y"], suppressed=["a/b/y"])
        engine.add_framework("other", ["other"])
        engine.add_agent("n1", "cpus:10", used={"fy": {"a/b/y": "cpus:2"}})
        # a/b: min(3, 3 − 2) = 1; a: max(4 − 2, 1) = 2.
        assert amounts(engine.allocate()) == [("other", "cpus:6")]

    def test_per_resource(self, engine):
        engine.set_quota("a", limit="cpus:2")
        engine.set_quota("a/x", guarantee="cpus:2;mem:5")
        engine.add_framework("fy", ["a/y"], suppressed=["a/y"])
        engine.add_framework("other", ["other"])
        engine.add_agent("n1", "cpus:8;mem:8", used={"fy": {"a/y": "cpus:2"}})
        assert amounts(engine.allocate()) == [("other", "cpus:6;mem:3")]

    def test_raising_the_limit_brings_the_need_back(self, engine):
        engine.set_quota("a", limit="cpus:3")
        engine.set_quota("a/x", guarantee="cpus:3")
        engine.add_framework("fy", ["a/y"], suppressed=["a/y"])
        engine.add_framework("other", ["other"])
        engine.add_agent("n1", "cpus:9", used={"fy": {"a/y": "cpus:3"}})
        engine.decline(engine.allocate()[0], refuse_seconds=None)
        engine.set_quota("a", limit="cpus:5")
        # 2 more are possible: 6 − 2.
        assert amounts(engine.allocate()) == [("other", "cpus:4")]


class TestLimitsKeepRoomForGuarantees:
    """What a limit leaves beside the needs of the subtrees that branch off the path."""

    def test_an_idle_guarantee_finds_its_part_of_the_limit(self, engine):
        engine.set_quota("a", limit="cpus:10")
        engine.set_quota("a/x", guarantee="cpus:5")
        engine.add_framework("fy", ["a/y"])
        engine.add_agent("n1", "cpus:30")
        # 10 − 0 − 5 of a/x.
        assert amounts(engine.allocate()) == [("fy", "cpus:5")]
        engine.add_framework("fx", ["a/x"])
        assert amounts(engine.allocate()) == [("fx", "cpus:5")]

    def test_its_own_need_does_not_stand_in_its_way(self, engine):
        engine.set_quota("a", limit="cpus:10")
        engine.set_quota("a/x", guarantee="cpus:5")
        engine.add_framework("fx", ["a/x"])
        engine.add_agent("n1", "cpus:30")
        # 5 serve, and 5 more are allowed: nobody else needs anything.
        assert amounts(engine.allocate()) == [("fx", "cpus:10")]

    def test_a_parents_framework_leaves_it_too(self, engine):
        engine.set_quota("a", limit="cpus:10")
        engine.set_quota("a/b/x", guarantee="cpus:4")
        engine.add_framework("fa", ["a"])
        engine.add_framework("fb", ["a/b"])
        engine.add_agent("n1", "cpus:30")
        # a comes first, by number of allocations and path: 10 − 4; a/b: 10 − 6 − 4.
        assert amounts(engine.allocate()) == [("fa", "cpus:6")]

    def test_at_every_limit_on_the_path(self, engine):
        engine.set_quota("a", limit="cpus:10")
        engine.set_quota("a/b", limit="cpus:8")
        engine.set_quota("a/b/x", guarantee="cpus:3")
        engine.set_quota("a/c", guarantee="cpus:4")
        engine.add_framework("fy", ["a/b/y"])
        engine.add_agent("n1", "cpus:30")
        # a/b: 8 − 3 = 5; a: 10 − 3 − 4 = 3.
        assert amounts(engine.allocate()) == [("fy", "cpus:3")]

    def test_what_is_consumed_already_needs_no_room(self, engine):
        engine.set_quota("a", limit="cpus:10")
        engine.set_quota("a/x", guarantee="cpus:5")
        engine.add_framework("fx", ["a/x"], suppressed=["a/x"])
        engine.add_framework("fy", ["a/y"])
        engine.add_agent("n1", "cpus:30", used={"fx": {"a/x": "cpus:3"}})
        # 10 − 3 − 2.
        assert amounts(engine.allocate()) == [("fy", "cpus:5")]

    def test_a_need_that_a_limit_below_caps_takes_no_more_room(self, engine):
        engine.set_quota("a", limit="cpus:10")
        engine.set_quota("a/b", limit="cpus:4")
        engine.set_quota("a/b/x", guarantee="cpus:4")
        engine.add_framework("fz", ["a/b/z"], suppressed=["a/b/z"])
        engine.add_framework("fy", ["a/y"])
        engine.add_agent("n1", "cpus:30", used={"fz": {"a/b/z": "cpus:3"}})
        # a/b needs min(4, 4 − 3) = 1: 10 − 3 − 1.
        assert amounts(engine.allocate()) == [("fy", "cpus:6")]

    def test_in_stage_one_what_serves_is_within_the_limit_and_the_rest_beside_needs(self, engine):
        engine.set_quota("a", limit="cpus:10")
        engine.set_quota("a/x", guarantee="cpus:5")
        engine.set_quota("a/y", guarantee="cpus:2")
        engine.add_framework("fy", ["a/y"])
        engine.add_agent("n1", "cpus:30")
        # 2 serve; then a leaves 10 − 2 − 5 = 3 beside a/x's need.
        assert amounts(engine.allocate()) == [("fy", "cpus:5")]

    def test_what_serves_goes_before_a_siblings_need_where_both_do_not_fit(self, engine):
        engine.set_quota("a", limit="cpus:7")
        engine.set_quota("a/x", guarantee="cpus:5")
        engine.set_quota("a/y", guarantee="cpus:2")
        engine.add_framework("fz", ["a/z"], suppressed=["a/z"])
        engine.add_framework("fy", ["a/y"])
        engine.add_agent("n1", "cpus:30", used={"fz": {"a/z": "cpus:4"}})
        # a leaves 3; 2 serve a/y.
        assert amounts(engine.allocate()) == [("fy", "cpus:2")]

    def test_per_resource(self, engine):
        engine.set_quota("a", limit="cpus:10;mem:10")
        engine.set_quota("a/x", guarantee="cpus:5")
        engine.add_framework("fy", ["a/y"])
        engine.add_agent("n1", "cpus:30;mem:30")
        assert amounts(engine.allocate()) == [("fy", "cpus:5;mem:10")]

    def test_an_entry_that_cannot_be_split_fits_beside_needs_or_is_left_out(self, engine):
        engine.set_quota("a", limit="disk:100")
        engine.set_quota("a/x", guarantee="disk:20")
        engine.add_framework("fy", ["a/y"])
        engine.add_agent("n1", R("cpus:1") + mount_disk(90))
        assert amounts(engine.allocate()) == [("fy", "cpus:1")]
        engine.add_agent("n2", mount_disk(80, "/mnt/2"))
        assert given(engine.allocate(), "fy") == mount_disk(80, "/mnt/2")


class TestNestedGuarantee:
    def serve(self, engine, cpus):
        """Return what a role beside everything gets of so many cpus."""
        engine.add_framework("other", ["other"])
        engine.add_agent("a1", {"cpus": cpus})
        return [resources for _, resources in amounts(engine.allocate())]

    def test_the_need_of_a_parent_is_the_larger_one(self, engine):
        engine.set_quota("eng", guarantee="cpus:5")
        engine.set_quota("eng/a", guarantee="cpus:2")
        engine.set_quota("eng/b", guarantee="cpus:2")
        # max(5, 2 + 2).
        assert self.serve(engine, 10) == ["cpus:5"]

    def test_a_parent_without_a_guarantee_needs_what_its_children_need(self, engine):
        engine.set_quota("eng/a", guarantee="cpus:2")
        engine.set_quota("eng/b/c", guarantee="cpus:3")
        assert self.serve(engine, 10) == ["cpus:5"]

    def test_what_one_child_takes_beyond_its_own_is_not_its_siblings_loss(self, engine):
        engine.set_quota("eng", guarantee="cpus:5")
        engine.set_quota("eng/a", guarantee="cpus:2")
        engine.set_quota("eng/b", guarantee="cpus:3")
        engine.add_framework("fa", ["eng/a"])
        engine.add_agent("used", "cpus:5", used={"fa": {"eng/a": "cpus:5"}})
        engine.suppress("fa")
        # eng has consumed its 5, but eng/b lacks 3: max(0, 0 + 3).
        assert self.serve(engine, 10) == ["cpus:7"]

    def test_what_a_childs_child_holds_counts_upward(self, engine):
        engine.set_quota("eng", guarantee="cpus:5")
        engine.set_quota("eng/a", guarantee="cpus:2")
        engine.add_framework("fa", ["eng/a/x"])
        engine.add_agent("used", "cpus:4", used={"fa": {"eng/a/x": "cpus:4"}})
        engine.suppress("fa")
        # eng/a is met, eng lacks 1.
        assert self.serve(engine, 10) == ["cpus:9"]

    def test_a_role_below_a_guarantee_is_served_by_it(self, engine):
        """Mesos: NestedRoleQuota; frameworks deep below take part in stage one."""
        engine.set_quota("eng", guarantee="cpus:4")
        engine.add_framework("deep", ["eng/a/b"])
        engine.add_framework("other", ["a"])
        engine.add_agent("a1", "cpus:4")
        # Fair share would take a first, by name.
        assert served(engine.allocate()) == ["deep"]

    def test_a_role_above_is_not(self, engine):
        """Mesos: QuotaAgainstDescendants the other way round."""
        engine.set_quota("eng/a", guarantee="cpus:4")
        engine.add_framework("parent", ["eng"])
        engine.add_agent("a1", "cpus:5")
        assert amounts(engine.allocate()) == [("parent", "cpus:1")]

    def test_a_parents_framework_does_not_get_what_its_children_need(self, engine):
        engine.set_quota("eng", guarantee="cpus:10")
        engine.set_quota("eng/a", guarantee="cpus:4")
        engine.add_framework("parent", ["eng"])
        engine.add_agent("a1", "cpus:10")
        # It serves eng's 10 less the 4 that eng/a needs; then 4 are available and 4 required.
        assert amounts(engine.allocate()) == [("parent", "cpus:6")]

    def test_a_sibling_does_not_either(self, engine):
        engine.set_quota("eng", guarantee="cpus:10")
        engine.set_quota("eng/a", guarantee="cpus:4")
        engine.add_framework("sibling", ["eng/b"])
        engine.add_agent("a1", "cpus:10")
        assert amounts(engine.allocate()) == [("sibling", "cpus:6")]
        engine.add_framework("child", ["eng/a"])
        assert amounts(engine.allocate()) == [("child", "cpus:4")]

    def test_subtrees_that_branch_off_deeper_count_too(self, engine):
        engine.set_quota("eng", guarantee="cpus:10")
        engine.set_quota("eng/a/x", guarantee="cpus:3")
        engine.set_quota("eng/b", guarantee="cpus:2")
        engine.add_framework("f1", ["eng/a/y"])
        engine.add_agent("a1", "cpus:10")
        # eng's 10 less 3 (branches off at eng/a) less 2 (at eng).
        assert amounts(engine.allocate()) == [("f1", "cpus:5")]

    def test_the_largest_on_the_path_serves(self, engine):
        engine.set_quota("eng", guarantee="cpus:10")
        engine.set_quota("eng/a", guarantee="cpus:4")
        engine.set_quota("rival", guarantee="cpus:20")
        engine.add_framework("f1", ["eng/a"])
        engine.add_agent("a1", "cpus:30")
        # 4 would serve eng/a, 10 serve eng; of the other 20 all are the rival's.
        assert amounts(engine.allocate()) == [("f1", "cpus:10")]


class TestLimit:
    def test_an_offer_is_chopped_to_fit(self, engine):
        engine.set_quota("eng", limit="cpus:2")
        engine.add_framework("f1", ["eng"])
        engine.add_framework("f2", ["ops"])
        engine.add_agent("a1", "cpus:8;mem:64;ports:[1-9]")
        assert amounts(engine.allocate()) == [
            ("f1", "cpus:2;mem:64;ports:[1-9]"),
            ("f2", "cpus:6"),
        ]

    def test_over_several_agents_and_cycles(self, engine):
        engine.set_quota("eng", limit="cpus:5")
        engine.add_framework("f1", ["eng"])
        for n in range(4):
            engine.add_agent(f"a{n}", "cpus:2")
        offers = engine.allocate()
        assert given(offers, "f1") == R("cpus:5")
        assert engine.role("eng").consumed == Quantities("cpus:5")
        assert len(engine.allocate()) == 0
        engine.accept(offers[0])
        assert len(engine.allocate()) == 0
        engine.decline(offers[1], refuse_seconds=None)
        assert given(engine.allocate(), "f1") == offers[1].resources

    def test_several_frameworks_share_it(self, engine):
        engine.set_quota("eng", limit="cpus:3")
        engine.add_framework("f1", ["eng"])
        engine.add_framework("f2", ["eng"])
        for n in range(4):
            engine.add_agent(f"a{n}", "cpus:1")
        # f1 by name; f2 = 0 < 1/4; f1 by name.
        assert served(engine.allocate()) == ["f1", "f2", "f1"]

    def test_zero_is_a_limit(self, engine):
        engine.set_quota("eng", limit={"cpus": 0})
        engine.add_framework("f1", ["eng"])
        engine.add_agent("a1", "cpus:2")
        assert len(engine.allocate()) == 0
        engine.add_agent("a2", "cpus:2;mem:1")
        assert amounts(engine.allocate()) == [("f1", "mem:1")]

    def test_three_decimals(self, engine):
        engine.set_quota("eng", limit="cpus:0.123")
        engine.add_framework("f1", ["eng"])
        engine.add_agent("a1", "cpus:1")
        assert amounts(engine.allocate()) == [("f1", "cpus:0.123")]

    def test_reservations_count_but_are_not_bound(self, engine):
        engine.set_quota("eng", limit="cpus:4")
        engine.add_framework("f1", ["eng"])
        engine.add_agent("a1", "cpus:8;cpus(eng):3")
        assert amounts(engine.allocate()) == [("f1", "cpus(eng):3;cpus:1")]

    def test_more_reserved_than_allowed(self, engine):
        engine.set_quota("eng", limit="cpus:2")
        engine.add_framework("f1", ["eng"])
        engine.add_agent("a1", "cpus:8;cpus(eng):3")
        assert amounts(engine.allocate()) == [("f1", "cpus(eng):3")]

    def test_a_reservation_elsewhere_counts_at_once(self, engine):
        engine.set_quota("eng", limit="cpus:4")
        engine.add_framework("f1", ["eng"])
        engine.add_agent("a1", "cpus(eng):3")
        engine.deactivate_agent("a1")
        engine.add_agent("a2", "cpus:8")
        assert amounts(engine.allocate()) == [("f1", "cpus:1")]

    def test_revocables_are_not_bound(self, engine):
        engine.set_quota("eng", limit={"cpus": 1})
        engine.add_framework("f1", ["eng"], capabilities=["REVOCABLE_RESOURCES"])
        engine.add_agent("a1", R("cpus:4") + revocable("cpus:4"))
        (offer,) = engine.allocate()
        assert offer.resources == R("cpus:1") + revocable("cpus:4")
        assert engine.role("eng").consumed == Quantities("cpus:1")

    def test_unsplittable_entries_whole_or_not_at_all(self, engine):
        engine.set_quota("eng", limit="disk:150")
        engine.add_framework("f1", ["eng"])
        engine.add_agent("a1", mount_disk(100, "/mnt/a") + mount_disk(100, "/mnt/b"))
        # In the order of their text: a fits, b does not.
        (offer,) = engine.allocate()
        assert offer.resources == mount_disk(100, "/mnt/a")
        assert engine.agent("a1").available == mount_disk(100, "/mnt/b")

    def test_an_agent_of_disks_is_looked_at_again_after_a_quota_came(self, engine):
        engine.add_agent("a1", mount_disk(100), capabilities=[])
        engine.add_framework("f", ["eng/prod"])
        # The agent cannot do roles below others.
        assert len(engine.allocate()) == 0
        engine.set_quota("ops", guarantee="cpus:1")
        assert len(engine.allocate()) == 0
        engine.update_agent("a1", capabilities=["HIERARCHICAL_ROLE"])
        assert given(engine.allocate(), "f") == mount_disk(100)

    def test_lowered_below_consumption(self, engine):
        engine.add_framework("f1", ["eng"])
        engine.add_agent("a1", "cpus:4", used={"f1": {"eng": "cpus:4"}})
        engine.add_agent("a2", "cpus:4")
        engine.set_quota("eng", limit="cpus:2")
        assert len(engine.allocate()) == 0
        engine.release("f1", "a1", "eng", "cpus:2")
        # Exactly full.
        assert len(engine.allocate()) == 0
        engine.release("f1", "a1", "eng", "cpus:0.5")
        assert given(engine.allocate(), "f1") == R("cpus:0.5")

    def test_raised_and_removed(self, engine):
        engine.set_quota("eng", limit="cpus:1")
        engine.add_framework("f1", ["eng"])
        engine.add_agent("a1", "cpus:4")
        assert amounts(engine.allocate()) == [("f1", "cpus:1")]
        engine.set_quota("eng", limit="cpus:2")
        assert amounts(engine.allocate()) == [("f1", "cpus:1")]
        engine.remove_quota("eng")
        assert amounts(engine.allocate()) == [("f1", "cpus:2")]

    def test_every_limit_on_the_path_binds(self, engine):
        engine.set_quota("eng", limit="cpus:3")
        engine.set_quota("eng/prod", limit="cpus:2;mem:5")
        engine.add_framework("f1", ["eng/prod/web"])
        engine.add_framework("f2", ["eng/test"])
        engine.add_framework("f3", ["ops"])
        engine.add_agent("a1", "cpus:8;mem:8")
        # eng/prod/web: min(3, 2) cpus, 5 MB; eng/test: 3 − 2 cpus, what is left of memory.
        assert amounts(engine.allocate()) == [
            ("f1", "cpus:2;mem:5"),
            ("f2", "cpus:1;mem:3"),
            ("f3", "cpus:5"),
        ]

    def test_what_an_ancestor_reserved_is_charged_to_it_and_not_to_the_child(self, engine):
        engine.set_quota("eng/prod", limit="cpus:1")
        engine.add_framework("f1", ["eng/prod"])
        engine.add_agent("a1", "cpus(eng):3;cpus:3")
        assert amounts(engine.allocate()) == [("f1", "cpus(eng):3;cpus:1")]


class TestRefused:
    def test_a_guarantee_above_its_own_limit(self, engine):
        with pytest.raises(QuotaError):
            engine.set_quota("eng", guarantee="cpus:2", limit="cpus:1")
        engine.set_quota("eng", guarantee="cpus:2", limit="cpus:2")

    def test_a_guarantee_above_a_limit_on_its_path(self, engine):
        engine.set_quota("eng", limit="cpus:2")
        with pytest.raises(QuotaError):
            engine.set_quota("eng/a/b", guarantee="cpus:2.001")
        engine.set_quota("eng/a/b", guarantee="cpus:2")

    def test_a_limit_below_a_guarantee_below_it(self, engine):
        engine.set_quota("eng/a/b", guarantee="cpus:2")
        with pytest.raises(QuotaError):
            engine.set_quota("eng", limit="cpus:1.999")
        engine.set_quota("eng", limit="cpus:2")

    def test_what_a_subtree_guarantees_in_all_must_fit_in_every_limit_on_its_path(self, engine):
        engine.set_quota("a", limit="cpus:2")
        engine.set_quota("a/b/c", guarantee="cpus:2")
        with pytest.raises(QuotaError, match="cpus:2"):
            engine.set_quota("a/b/d", guarantee="cpus:2")
        with pytest.raises(QuotaError):
            engine.set_quota("a/d", guarantee="cpus:0.001")
        engine.set_quota("a/b/c", guarantee="cpus:1")
        engine.set_quota("a/b/d", guarantee="cpus:1")
        with pytest.raises(QuotaError):
            engine.set_quota("a", limit="cpus:1.999")
        with pytest.raises(QuotaError):
            engine.set_quota("a/b", limit="cpus:1.999")
        assert engine.role("a").quota.limit == {"cpus": 2}

    def test_a_guarantee_in_between_stands_for_all_below_it_against_a_limit(self, engine):
        engine.set_quota("a", limit="cpus:6")
        engine.set_quota("a/b", guarantee="cpus:4")
        engine.set_quota("a/b/c", guarantee="cpus:3")
        # a/b counts as its own 4.
        engine.set_quota("a/d", guarantee="cpus:2")
        with pytest.raises(QuotaError):
            engine.set_quota("a/b", guarantee="cpus:4.001")
        engine.remove_quota("a/b")
        # Now as 3.
        engine.set_quota("a/d", guarantee="cpus:3")

    def test_all_together_are_judged_in_the_end(self, engine):
        engine.set_quota("a/b", guarantee="cpus:4")
        engine.set_quotas({"a": {"limit": "cpus:3"}, "a/b": {"guarantee": "cpus:3"}})
        before = engine.snapshot()
        with pytest.raises(QuotaError):
            engine.set_quotas({"a": {"limit": "cpus:2"}, "a/c": {"guarantee": "cpus:1"}})
        assert engine.snapshot() == before

    def test_at_the_greatest_depth(self, engine):
        """Nothing is looked for below a limit, however deep it goes."""
        deepest = "/".join("a" * 128)
        engine.set_quota(deepest, guarantee="cpus:2")
        with pytest.raises(QuotaError):
            engine.set_quota("a", limit="cpus:1")
        engine.set_quota("a", limit="cpus:2")
        with pytest.raises(QuotaError):
            engine.set_quota("a/b", guarantee="cpus:1")

    def test_children_must_fit_in_their_parent(self, engine):
        engine.set_quota("eng", guarantee="cpus:5")
        engine.set_quota("eng/a", guarantee="cpus:3")
        with pytest.raises(QuotaError):
            engine.set_quota("eng/b", guarantee="cpus:2.001")
        engine.set_quota("eng/b", guarantee="cpus:2")
        with pytest.raises(QuotaError):
            engine.set_quota("eng", guarantee="cpus:4.999")
        assert engine.role("eng").quota.guarantee == Quantities("cpus:5")
        # Its own are replaced, not added.
        engine.set_quota("eng/a", guarantee="cpus:1")
        engine.set_quota("eng/b", guarantee="cpus:4")

    def test_a_parent_that_does_not_guarantee_a_name_sets_no_bound(self, engine):
        engine.set_quota("eng", guarantee="cpus:5")
        engine.set_quota("eng/a", guarantee="mem:100;cpus:5")
        assert engine.role("eng/a").quota.guarantee == Quantities("cpus:5;mem:100")

    def test_a_child_without_counts_as_the_sum_of_its_own_children(self, engine):
        engine.set_quota("eng", guarantee="cpus:10")
        engine.set_quota("eng/a/x", guarantee="cpus:4")
        engine.set_quota("eng/a/y", guarantee="cpus:2")
        with pytest.raises(QuotaError):
            engine.set_quota("eng/b", guarantee="cpus:5")
        engine.set_quota("eng/b", guarantee="cpus:4")
        # A guarantee in between stands for what is below it, and is at least as much.
        with pytest.raises(QuotaError):
            engine.set_quota("eng/a", guarantee="cpus:5")
        with pytest.raises(QuotaError):
            engine.set_quota("eng/a", guarantee="cpus:7")
        engine.set_quota("eng/a", guarantee="cpus:6")
        engine.set_quota("eng/a/y", guarantee="cpus:1")
        engine.remove_quota("eng/a")
        # eng/a is 4 + 1 now.
        engine.set_quota("eng/b", guarantee="cpus:5")

    def test_a_guarantee_in_between_that_lacks_the_name(self, engine):
        engine.set_quota("eng", guarantee="cpus:3")
        engine.set_quota("eng/a", guarantee="mem:1")
        with pytest.raises(QuotaError):
            engine.set_quota("eng/a/x", guarantee="cpus:4")
        engine.set_quota("eng/a/x", guarantee="cpus:3")

    def test_a_parent_that_comes_later_must_hold_its_children(self, engine):
        engine.set_quota("eng/a", guarantee="cpus:3")
        engine.set_quota("eng/b/x", guarantee="cpus:3")
        with pytest.raises(QuotaError):
            engine.set_quota("eng", guarantee="cpus:5")
        engine.set_quota("eng", guarantee="cpus:6")


class TestExactAfterEachEvent:
    """Consumption of nested roles, from first principles, after every event of a random run."""

    roles = ("eng", "eng/a", "eng/a/x", "eng/b", "ops")
    kinds = ("cpus:4;mem:40", "cpus:2;cpus(eng):3", "cpus:3;mem(eng/a):9;ports:[1-9]", "mem(ops):5")

    def expected(self, engine, path, agents, frameworks):
        def inside(role):
            return role == path or role.startswith(path + "/")

        consumed = Quantities("")
        for agent in agents:
            for entry in engine.agent(agent).total.reserved():
                if inside(entry.reservations[-1].role):
                    consumed += R(entry).quantities()
        for framework in frameworks:
            view = engine.framework(framework)
            for held in (view.offered, view.allocated):
                for by_role in held.values():
                    for role, resources in by_role.items():
                        if inside(role):
                            consumed += resources.unreserved().nonrevocable().quantities()
        return consumed

    def step(self, engine, draw, agents, frameworks):
        kind = draw.randrange(9)
        if kind == 0 or not agents:
            agents.append(f"a{draw.randrange(10**9)}")
            engine.add_agent(agents[-1], draw.choice(self.kinds))
        elif kind == 1 or not frameworks:
            frameworks.append(f"f{draw.randrange(10**9)}")
            engine.add_framework(frameworks[-1], draw.sample(self.roles, 2))
        elif kind == 2:
            engine.set_quota(draw.choice(self.roles), limit={"cpus": draw.randrange(9)})
        elif kind == 3:
            engine.remove_quota(draw.choice(self.roles))
        elif kind == 4 and draw.random() < 0.3:
            engine.remove_agent(agents.pop(draw.randrange(len(agents))))
        elif kind == 5 and draw.random() < 0.3:
            engine.remove_framework(frameworks.pop(draw.randrange(len(frameworks))))
        elif kind == 6:
            engine.update_agent(draw.choice(agents), resources=draw.choice(self.kinds))
        elif kind == 7:
            roles = draw.sample(self.roles, 2)
            engine.update_framework(draw.choice(frameworks), roles=roles)
        else:
            for offer in engine.allocate():
                keep = {"cpus": min(1, offer.resources["cpus"])}
                if draw.random() < 0.5:
                    engine.decline(offer, refuse_seconds=None)
                elif offer.resources >= R(keep):
                    engine.accept(offer, keep)

    @pytest.mark.parametrize("seed", range(15))
    def test_consumption(self, engine, seed):
        draw = random.Random(seed)
        agents, frameworks = [], []
        for _ in range(80):
            self.step(engine, draw, agents, frameworks)
            for path in self.roles:
                expected = self.expected(engine, path, agents, frameworks)
                try:
                    assert engine.role(path).consumed == expected
                except UnknownRole:
                    assert expected == Quantities("")

    @pytest.mark.parametrize("seed", range(15))
    def test_limits_hold_at_every_depth(self, engine, seed):
        draw = random.Random(seed)
        limits = {path: draw.randrange(1, 12) for path in self.roles}
        for path, cpus in limits.items():
            engine.set_quota(path, limit={"cpus": cpus})
        for n in range(12):
            engine.add_agent(f"a{n}", {"cpus": draw.randrange(1, 5)})
        for n in range(6):
            engine.add_framework(f"f{n}", draw.sample(self.roles, 2))
        for _ in range(10):
            for offer in engine.allocate():
                if draw.random() < 0.5:
                    engine.decline(offer, refuse_seconds=None)
            for path, cpus in limits.items():
                assert engine.role(path).consumed["cpus"] <= cpus

    @pytest.mark.parametrize("seed", range(15))
    def test_guarantees_can_always_be_met(self, engine, seed):
        """What is not consumed of the guarantees stays available, while the total suffices."""
        draw = random.Random(seed)
        guarantees = {"eng": 6, "eng/a": 2, "eng/b": 3, "ops": 4}
        for path, cpus in guarantees.items():
            engine.set_quota(path, guarantee={"cpus": cpus})
        agents = [f"a{n}" for n in range(15)]
        for name in agents:
            engine.add_agent(name, "cpus:1")
        engine.add_framework("greedy", ["greedy", "eng/a"])
        engine.add_framework("other", [draw.choice(["eng", "eng/a/x", "ops"])])
        for _ in range(6):
            for offer in engine.allocate():
                if draw.random() < 0.5:
                    engine.decline(offer, refuse_seconds=None)
            lacks = {p: max(0, g - engine.role(p).consumed["cpus"]) for p, g in guarantees.items()}
            required = max(lacks["eng"], lacks["eng/a"] + lacks["eng/b"]) + lacks["ops"]
            available = sum(engine.agent(name).available["cpus"] for name in agents)
            assert available >= required

    def test_more_than_any_cluster_can_have_cannot_be_guaranteed(self, engine):
        most = {"cpus": (2**63 - 1) // 1000}
        engine.set_quota("eng", guarantee=most)
        engine.set_quota("eng/prod", guarantee=most)  # is part of the former
        with pytest.raises(QuotaError, match=r"over-large"):
            engine.set_quota("ops/db", guarantee={"cpus": 10})
        engine.remove_quota("eng/prod")
        engine.set_quota("eng", guarantee={"cpus": 1})
        engine.set_quota("ops/db", guarantee={"cpus": 10})
        with pytest.raises(QuotaError, match=r"over-large"):
            engine.set_quota("ops/mail", guarantee=most)


def test_quotas_may_be_the_first_to_name_resources(engine):
    engine.add_framework("f", ["eng"])
    engine.add_agent("a1", "cpus:4;mem:4;disk:4;net:4")
    names = ["licenses", "iops", "bandwidth"]
    engine.set_quota("eng", guarantee=dict.fromkeys(names, 1), limit=dict.fromkeys(names, 2))
    (offer,) = engine.allocate()
    engine.accept(offer, "cpus:1")
    assert engine.agent("a1").available == R("cpus:3;mem:4;disk:4;net:4")
    assert engine.role("eng").consumed == {"cpus": 1}
