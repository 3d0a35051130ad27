"""One engine, its agents and frameworks, and who is offered what (contract §5, §6, §8)."""

import pytest

import allocator
from allocator import (
    Allocator,
    InvalidRole,
    ManualClock,
    OfferGone,
    Quantities,
    ResourceError,
    UnknownAgent,
    UnknownFramework,
    UnknownRole,
)
from tests.contract import R, amounts, answered, check_conserved, served, volume


class TestOneCycle:
    def test_all_of_an_agent_is_offered(self, engine):
        engine.add_agent("a1", "cpus:8;mem:16384;ports:[31000-32000]")
        engine.add_framework("f1")
        offers = engine.allocate()
        assert answered(offers) == [("f1", "a1", R("cpus:8;mem:16384;ports:[31000-32000]"))]
        assert offers[0].role == "*"

    def test_what_is_offered_is_not_offered_again(self, engine):
        engine.add_agent("a1", "cpus:8")
        engine.add_framework("f1")
        assert len(engine.allocate()) == 1
        engine.add_framework("f2")
        assert len(engine.allocate()) == 0

    def test_nothing_happens_without_a_cycle(self, engine):
        engine.add_framework("f1")
        engine.add_agent("a1", "cpus:8")
        assert engine.agent("a1").available == R("cpus:8")

    def test_accepting_a_part_gives_the_rest_back(self, engine):
        engine.add_agent("a1", "cpus:8;mem:16384")
        engine.add_framework("spark", roles=["eng/batch"])
        engine.set_weight("eng", 2.0)
        engine.set_quota("eng", guarantee="cpus:4", limit={"cpus": 16})
        for offer in engine.allocate():
            engine.accept(offer, "cpus:1;mem:1024")
        agent = engine.agent("a1")
        assert agent.allocated == R("cpus:1;mem:1024")
        assert agent.available == R("cpus:7;mem:15360")
        assert agent.offered == R()

    def test_all_agents_one_framework(self, engine):
        for n in range(5):
            engine.add_agent(f"a{n}", {"cpus": n + 1})
        engine.add_framework("f1")
        got = {agent: resources for _, agent, resources in answered(engine.allocate())}
        assert got == {f"a{n}": R({"cpus": n + 1}) for n in range(5)}

    def test_no_framework_no_offer(self, engine):
        engine.add_agent("a1", "cpus:8")
        assert len(engine.allocate()) == 0

    def test_an_agent_without_resources_yields_no_offer(self, engine):
        engine.add_agent("a1", "")
        engine.add_framework("f1")
        assert len(engine.allocate()) == 0

    def test_named_agents_only(self, engine):
        for n in range(4):
            engine.add_agent(f"a{n}", "cpus:1")
        engine.add_framework("f1")
        assert {o.agent for o in engine.allocate(["a1", "a3"])} == {"a1", "a3"}
        assert {o.agent for o in engine.allocate()} == {"a0", "a2"}

    def test_named_agents_must_be_active_and_whitelisted(self, engine):
        for name in ("on", "off", "out"):
            engine.add_agent(name, "cpus:1")
        engine.deactivate_agent("off")
        engine.set_whitelist(["on", "off"])
        engine.add_framework("f1")
        assert [o.agent for o in engine.allocate(["on", "off", "out"])] == ["on"]

    def test_no_agents_named_none_considered(self, engine):
        engine.add_agent("a1", "cpus:1")
        engine.add_framework("f1")
        assert len(engine.allocate([])) == 0


class TestFairness:
    def test_unreserved_drf(self, engine):
        """Mesos: UnreservedDRF."""
        engine.add_agent("agent1", "cpus:2;mem:1024")
        engine.add_framework("framework1", ["role1"])
        # role1 is alone.
        assert served(engine.allocate()) == ["framework1"]

        engine.add_framework("framework2", ["role2"])
        engine.add_agent("agent2", "cpus:1;mem:512")
        # Total cpus=3, mem=1536. role1 = 2/3; role2 = 0.
        assert served(engine.allocate()) == ["framework2"]

        engine.add_agent("agent3", "cpus:3;mem:2048")
        # Total cpus=6, mem=3584. role1 = max(2/6, 1024/3584) = 0.33;
        # role2 = max(1/6, 512/3584) = 0.17.
        assert served(engine.allocate()) == ["framework2"]

        engine.add_framework("framework3", ["role1"])
        engine.add_agent("agent4", "cpus:4;mem:4096")
        # Total cpus=10, mem=7680. role1 = max(2/10, 1024/7680) = 0.2;
        # role2 = max(4/10, 2560/7680) = 0.4. In role1: framework1 = 0.2, framework3 = 0.
        assert served(engine.allocate()) == ["framework3"]

        engine.add_framework("framework4", ["role1"])
        engine.add_agent("agent5", "cpus:1;mem:512")
        # Total cpus=11, mem=8192. role1 = max(6/11, 5120/8192) = 0.63;
        # role2 = max(4/11, 2560/8192) = 0.36.
        assert served(engine.allocate()) == ["framework2"]

    def test_reserved_drf(self, engine):
        """Mesos: ReservedDRF; what is reserved counts in the shares once it is offered."""
        engine.add_agent("agent1", "cpus:1;mem:512;cpus(role1):100;mem(role1):1024")
        engine.add_framework("framework1", ["role1"])
        # All unreserved and role1's own.
        assert served(engine.allocate()) == ["framework1"]

        engine.add_framework("framework2", ["role2"])
        engine.add_agent("agent2", "cpus:2;mem:512")
        # Total cpus=103. role1 = 101/103 or 1536/2048; role2 = 0.
        assert served(engine.allocate()) == ["framework2"]

        engine.add_agent("agent3", "cpus:2;mem:512")
        # Total cpus=105, mem=2560. role1 = 101/105; role2 = max(2/105, 512/2560).
        assert served(engine.allocate()) == ["framework2"]

        engine.add_framework("framework3", ["role1"])
        engine.add_agent("agent4", "cpus:2;mem:512;cpus(role1):2;mem(role1):512")
        # role2 is below role1 and takes what is unreserved; role1's own waits for role1, whose
        # framework3 has nothing and framework1 nearly everything.
        assert amounts(engine.allocate()) == [
            ("framework2", "cpus:2;mem:512"),
            ("framework3", "cpus(role1):2;mem(role1):512"),
        ]

    def test_same_share_goes_by_number_of_times_allocated_then_name(self, engine):
        for name in ("f2", "f1", "f3"):
            engine.add_framework(name)
        for n in range(6):
            engine.add_agent(f"a{n}", "cpus:1")
            # All have the same share after three rounds: by name, and again.
        assert served(engine.allocate()) == ["f1", "f2", "f3", "f1", "f2", "f3"]

    def test_the_number_of_times_outlives_the_allocation(self, engine):
        engine.add_framework("f1")
        engine.add_framework("f2")
        engine.add_agent("a1", "cpus:1")
        (offer,) = engine.allocate()
        assert offer.framework == "f1"
        engine.rescind(offer)
        # Both hold nothing; f1 was served once, f2 never.
        (offer,) = engine.allocate()
        assert offer.framework == "f2"
        engine.rescind(offer)
        # Once each: by name.
        assert served(engine.allocate()) == ["f1"]

    def test_an_excluded_resource_does_not_count(self, make):
        engine = make(fairness_exclude=["gpus"], filter_gpus=False)
        engine.add_agent("a1", "cpus:10;gpus:1")
        engine.add_agent("a2", "cpus:30")
        engine.add_framework("f1", used={"a1": {"*": "cpus:1;gpus:1"}})
        engine.add_framework("f2", used={"a2": {"*": "cpus:2"}})
        # Without gpus: f1 = 1/40, f2 = 2/40; with them f1 would have all of the cluster's.
        assert served(engine.allocate())[0] == "f1"

    def test_without_exclusion_it_does(self, make):
        engine = make(filter_gpus=False)
        engine.add_agent("a1", "cpus:10;gpus:1")
        engine.add_agent("a2", "cpus:30")
        engine.add_framework("f1", used={"a1": {"*": "cpus:1;gpus:1"}})
        engine.add_framework("f2", used={"a2": {"*": "cpus:2"}})
        # f1 = max(1/40, 1/1) = 1; f2 = 2/40.
        assert served(engine.allocate())[0] == "f2"

    def test_offers_count_at_once(self, engine):
        """Within one cycle the next decision sees what the last one gave (§6.4)."""
        engine.add_framework("small", used=None)
        engine.add_framework("large")
        for n in range(4):
            engine.add_agent(f"a{n}", "cpus:1")
        engine.add_agent("big", "cpus:4", used={"large": {"*": "cpus:2"}})
        engine.deactivate_agent("big")
        # Total 8. large = 2/8. small takes 1/8, then 2/8 ties: small was allocated twice, large
        # once (its use); large 3/8; then small 2/8 < 3/8.
        assert served(engine.allocate()) == ["small", "small", "large", "small"]

    def test_deactivated_agents_count_in_the_total(self, engine):
        engine.add_agent("a1", "cpus:4")
        engine.add_agent("a2", "cpus:4")
        engine.deactivate_agent("a2")
        engine.add_framework("f1", ["r"])
        engine.allocate()
        # 4 of 8.
        assert engine.role("r").share == 0.5

    def test_removing_an_agent_leaves_the_total(self, engine):
        engine.add_agent("a1", "cpus:4")
        engine.add_agent("a2", "cpus:4")
        engine.add_framework("f1", ["r"], used={"a1": {"r": "cpus:1"}})
        assert engine.role("r").share == 1 / 8
        engine.remove_agent("a2")
        assert engine.role("r").share == 1 / 4


class TestOrderOfAgents:
    def order(self, engine, agents=None):
        offers = engine.allocate(agents)
        order = [offer.agent for offer in offers]
        for offer in offers:
            engine.rescind(offer)
        return order

    def cluster(self, make, names, **options):
        engine = make(**options)
        for name in names:
            engine.add_agent(name, "cpus:1")
        engine.add_framework("f1")
        return engine

    names = tuple(f"agent-{n}" for n in range(30))

    def test_it_changes_from_cycle_to_cycle(self, make):
        engine = self.cluster(make, self.names)
        assert self.order(engine) != self.order(engine)

    def test_it_is_set_by_the_seed(self, make):
        orders = [self.order(self.cluster(make, self.names, seed=seed)) for seed in (1, 1, 2)]
        assert orders[0] == orders[1] != orders[2]

    def test_it_is_not_the_order_of_arrival(self, make):
        there = self.order(self.cluster(make, self.names))
        back = self.order(self.cluster(make, self.names[::-1]))
        assert there == back != list(self.names)

    @pytest.mark.parametrize("part", [names[:7], names[11:29], names[::-3]])
    def test_a_subset_keeps_its_order(self, make, part):
        whole = self.order(self.cluster(make, self.names))
        assert self.order(self.cluster(make, self.names), part) == [n for n in whole if n in part]
        assert self.order(self.cluster(make, part)) == [n for n in whole if n in part]

    def test_the_second_stage_has_an_order_of_its_own(self, make):
        guaranteed = self.cluster(make, self.names)
        guaranteed.set_quota("*", guarantee="cpus:30")
        # All is offered in stage one here, and in stage two there, in the same cycle.
        assert self.order(guaranteed) != self.order(self.cluster(make, self.names))

    def test_the_order_of_roles_is_taken_when_an_agents_turn_begins(self, engine):
        engine.set_quota("a/x", limit="cpus:1")
        for framework, role in (("fx", "a/x"), ("fy", "a/y"), ("fb", "b")):
            engine.add_framework(framework, [role])
        engine.add_agent("a1", "cpus:3")
        # All shares are 0: a/x, a/y, b. After fx's cpu, a = 1/3 and b = 0, but the order stands.
        assert amounts(engine.allocate()) == [("fx", "cpus:1"), ("fy", "cpus:2")]


class TestAgents:
    def test_used_resources_are_not_available(self, engine):
        engine.add_framework("f1", ["eng"])
        engine.add_agent("a1", "cpus:4;mem:64", used={"f1": {"eng": "cpus:1;mem:64"}})
        assert engine.agent("a1").allocated == R("cpus:1;mem:64")
        assert amounts(engine.allocate()) == [("f1", "cpus:3")]
        # 4 of 4 cpus, offered or allocated.
        assert engine.role("eng").share == 1.0

    def test_what_an_unknown_framework_uses_waits_for_it(self, engine):
        engine.add_agent("a1", "cpus:4", used={"late": {"eng": "cpus:1"}})
        agent = engine.agent("a1")
        assert (agent.available, agent.allocated) == (R("cpus:3"), R("cpus:1"))
        engine.add_framework("other", ["ops"])
        assert amounts(engine.allocate()) == [("other", "cpus:3")]
        engine.add_framework("late", ["eng"])
        assert engine.role("eng").share == 0.25
        assert engine.framework("late").allocated == {"a1": {"eng": R("cpus:1")}}
        engine.release("late", "a1", "eng", "cpus:1")
        assert engine.agent("a1").available == R("cpus:1")

    def test_both_may_name_the_same_use(self, engine):
        engine.add_agent("a1", "cpus:4", used={"f1": {"eng": "cpus:1"}})
        engine.add_framework("f1", ["eng"], used={"a1": {"eng": "cpus:1"}})
        assert engine.agent("a1").allocated == R("cpus:1")
        assert engine.agent("a1").available == R("cpus:3")

    def test_unknown_agents_in_used_are_ignored(self, engine):
        engine.add_framework("f1", used={"nowhere": {"*": "cpus:1"}})
        assert engine.framework("f1").allocated == {}

    def test_used_may_be_in_a_role_the_framework_is_not_in(self, engine):
        engine.add_framework("f1", ["eng"])
        engine.add_agent("a1", "cpus:4", used={"f1": {"old": "cpus:1"}})
        assert engine.role("old").share == 0.25
        # Only in its own roles is it offered anything.
        assert [o.role for o in engine.allocate()] == ["eng"]
        engine.release("f1", "a1", "old", "cpus:1")
        with pytest.raises(allocator.UnknownRole):
            engine.role("old")

    def test_a_larger_total_is_offered(self, engine):
        engine.add_framework("f1")
        engine.add_agent("a1", "cpus:4")
        engine.allocate()
        engine.update_agent("a1", resources="cpus:6;mem:10")
        assert engine.agent("a1").total == R("cpus:6;mem:10")
        assert amounts(engine.allocate()) == [("f1", "cpus:2;mem:10")]

    def test_a_total_below_what_is_in_use(self, engine):
        engine.add_framework("f1")
        engine.add_agent("a1", "cpus:4;mem:64")
        engine.accept(engine.allocate()[0], "cpus:3")
        engine.update_agent("a1", resources="cpus:2;mem:64")
        agent = engine.agent("a1")
        # 3 of 2 cpus are in use: nothing is negative, and nothing of it is offered.
        assert agent.available == R("mem:64")
        assert agent.allocated == R("cpus:3")
        assert engine.role("*").share == 1.5
        assert amounts(engine.allocate()) == [("f1", "mem:64")]
        # One cpu back makes it fit exactly; the next one is free.
        engine.release("f1", "a1", "*", "cpus:1")
        assert engine.agent("a1").available == R()
        assert len(engine.allocate()) == 0
        engine.release("f1", "a1", "*", "cpus:1")
        assert amounts(engine.allocate()) == [("f1", "cpus:1")]

    def test_a_total_below_what_is_offered(self, engine):
        engine.add_framework("f1")
        engine.add_agent("a1", "cpus:4")
        (offer,) = engine.allocate()
        engine.update_agent("a1", resources="cpus:1")
        engine.decline(offer, refuse_seconds=None)
        assert engine.agent("a1").available == R("cpus:1")
        check_conserved(engine, "a1")

    def test_a_total_that_comes_back(self, engine):
        engine.add_framework("f1", used=None)
        engine.add_agent("a1", "cpus:4", used={"f1": {"*": "cpus:4"}})
        engine.update_agent("a1", resources="cpus:1")
        engine.update_agent("a1", resources="cpus:5")
        assert amounts(engine.allocate()) == [("f1", "cpus:1")]
        check_conserved(engine, "a1")

    def test_update_changes_only_what_is_given(self, engine):
        engine.add_agent("a1", "cpus:4", hostname="h", attributes={"rack": "r1"}, region="eu")
        engine.update_agent("a1", resources="cpus:5")
        agent = engine.agent("a1")
        assert (agent.hostname, dict(agent.attributes), agent.region) == ("h", {"rack": "r1"}, "eu")
        engine.update_agent("a1", attributes={"rack": "r2"})
        assert engine.agent("a1").total == R("cpus:5")
        assert dict(engine.agent("a1").attributes) == {"rack": "r2"}

    def test_a_resource_provider_adds_to_the_total(self, engine):
        engine.add_framework("f1", ["eng"])
        engine.add_agent("a1", "cpus:4")
        engine.allocate()
        engine.add_resources("a1", "disk:100;cpus:2", used={"f1": {"eng": "disk:30"}})
        assert engine.agent("a1").total == R("cpus:6;disk:100")
        assert amounts(engine.allocate()) == [("f1", "cpus:2;disk:70")]
        check_conserved(engine, "a1")

    def test_an_inactive_agent_is_not_offered(self, engine):
        engine.add_framework("f1")
        engine.add_agent("a1", "cpus:4")
        engine.deactivate_agent("a1")
        assert len(engine.allocate()) == 0
        engine.activate_agent("a1")
        assert len(engine.allocate()) == 1

    def test_deactivating_an_agent_leaves_its_offers_open(self, engine):
        engine.add_framework("f1")
        engine.add_agent("a1", "cpus:4")
        (offer,) = engine.allocate()
        engine.deactivate_agent("a1")
        engine.accept(offer)
        assert engine.agent("a1").allocated == R("cpus:4")

    def test_removing_an_agent_makes_its_offers_gone(self, engine):
        engine.add_framework("f1")
        engine.add_agent("a1", "cpus:4")
        (offer,) = engine.allocate()
        engine.remove_agent("a1")
        with pytest.raises(OfferGone):
            engine.accept(offer)
        assert engine.framework("f1").offered == {}
        # A new agent of the same name is another agent.
        engine.add_agent("a1", "cpus:4")
        with pytest.raises(OfferGone):
            engine.decline(offer)
        assert len(engine.allocate()) == 1

    def test_removing_an_agent_takes_what_was_used_there(self, engine):
        engine.add_framework("f1", ["eng"])
        engine.add_agent("a1", "cpus:4", used={"f1": {"eng": "cpus:4"}})
        engine.add_agent("a2", "cpus:4")
        engine.remove_agent("a1")
        assert engine.role("eng").share == 0.0
        assert engine.framework("f1").allocated == {}


class TestUseOfAFrameworkThatIsNotAdded:
    """It is held on the agent, consumed by its role, and can be given back."""

    def test_it_can_be_released(self, engine):
        engine.add_agent("n", "cpus:8", used={"f": {"q": "cpus:4"}})
        engine.release("f", "n", "q", "cpus:1")
        agent = engine.agent("n")
        assert (agent.available, agent.allocated) == (R("cpus:5"), R("cpus:3"))
        engine.add_framework("f", ["q"])
        assert engine.framework("f").allocated == {"n": {"q": R("cpus:3")}}

    def test_all_of_it_can_be_released(self, engine):
        engine.add_agent("n", "cpus:8", used={"f": {"q": "cpus:4"}})
        engine.recover_resources("f", "n", "q", "cpus:4", allocated=True, refuse_seconds=100)
        with pytest.raises(UnknownFramework):
            engine.release("f", "n", "q", "cpus:1")
        engine.add_framework("f", ["q"])
        # No filter was made.
        assert amounts(engine.allocate()) == [("f", "cpus:8")]

    @pytest.mark.parametrize(
        ("error", "call"),
        [
            (ResourceError, ("f", "n", "q", "cpus:4.001")),
            (ResourceError, ("f", "m", "q", "cpus:1")),
            (UnknownRole, ("f", "n", "r", "cpus:1")),
            (InvalidRole, ("f", "n", "q/", "cpus:1")),
            (UnknownAgent, ("f", "nowhere", "q", "cpus:1")),
            (UnknownFramework, ("g", "n", "q", "cpus:1")),
        ],
    )
    def test_no_more_than_it_uses(self, engine, error, call):
        engine.add_agent("n", "cpus:8", used={"f": {"q": "cpus:4"}})
        engine.add_agent("m", "cpus:8")
        before = engine.snapshot()
        with pytest.raises(error):
            engine.release(*call)
        assert engine.snapshot() == before

    def test_it_was_not_offered(self, engine):
        engine.add_agent("n", "cpus:8", used={"f": {"q": "cpus:4"}})
        with pytest.raises(UnknownFramework):
            engine.recover_resources("f", "n", "q", "cpus:1")

    def test_a_limit_counts_it(self, engine):
        engine.set_quota("q", limit="cpus:6")
        engine.add_agent("n", "cpus:8", used={"f": {"q": "cpus:4"}})
        engine.add_framework("g", ["q"])
        assert engine.role("q").consumed == Quantities("cpus:4")
        assert amounts(engine.allocate()) == [("g", "cpus:2")]
        engine.add_framework("f", ["q"])
        assert engine.role("q").consumed == Quantities("cpus:6")

    def test_limits_and_guarantees_above_count_it(self, engine):
        engine.set_quota("eng", guarantee="cpus:4", limit="cpus:4")
        engine.add_agent("n", "cpus:8", used={"f": {"eng/q": "cpus:3"}})
        engine.add_framework("g", ["other"])
        # 5 available, 1 required.
        assert amounts(engine.allocate()) == [("g", "cpus:4")]
        assert engine.role("eng").consumed == Quantities("cpus:3")

    def test_headroom_does_not(self, engine):
        engine.set_quota("q", guarantee="cpus:2")
        engine.add_framework("g", ["other"])
        engine.add_agent("n", "cpus:8", used={"f": {"r": "cpus:5"}})
        # 3 available, 2 required.
        assert amounts(engine.allocate()) == [("g", "cpus:1")]
        engine.release("f", "n", "r", "cpus:2")
        assert amounts(engine.allocate()) == [("g", "cpus:2")]

    def test_shares_and_what_is_allocated_do_not_show_it(self, engine):
        engine.set_quota("q", limit="cpus:8")
        engine.add_agent("n", "cpus:8", used={"f": {"q": "cpus:4"}})
        role = engine.role("q")
        assert (role.share, role.allocated, role.offered) == (0, Quantities(), Quantities())
        key = "allocator/mesos/resources/cpus/offered_or_allocated"
        assert engine.metrics()[key] == 0
        engine.add_framework("f", ["q"])
        assert (role.share, role.allocated) == (0.5, Quantities("cpus:4"))
        assert engine.metrics()[key] == 4

    def test_it_makes_no_role(self, engine):
        engine.add_agent("n", "cpus:8", used={"f": {"eng/q": "cpus:4"}})
        for role in ("eng", "eng/q"):
            with pytest.raises(UnknownRole):
                engine.role(role)
        engine.set_weight("eng", 2.0)
        assert engine.role("eng").consumed == Quantities("cpus:4")
        with pytest.raises(UnknownRole):
            engine.role("eng/q")
        engine.set_weight("eng", 1.0)
        with pytest.raises(UnknownRole):
            engine.role("eng")

    def test_what_the_framework_says_itself_counts_once(self, engine):
        engine.set_quota("q", limit="cpus:8")
        engine.add_agent("n", "cpus:8", used={"f": {"q": "cpus:4"}})
        engine.add_framework("f", ["q"], used={"n": {"q": "cpus:5"}, "gone": {"q": "cpus:1"}})
        assert engine.role("q").consumed == Quantities("cpus:5")
        assert engine.agent("n").available == R("cpus:3")

    def test_removing_the_agent_gives_all_of_it_up(self, engine):
        engine.set_quota("q", limit="cpus:6")
        engine.add_agent("n", "cpus:8", used={"f": {"q": "cpus:4"}})
        engine.remove_agent("n")
        assert engine.role("q").consumed == Quantities()
        with pytest.raises(UnknownFramework):
            engine.release("f", "n", "q", "cpus:1")
        engine.add_agent("n", "cpus:8")
        engine.add_framework("f", ["q"])
        assert amounts(engine.allocate()) == [("f", "cpus:6")]

    def test_a_shared_entry_is_consumed_once_whoever_uses_it(self, engine):
        shared = volume(4, role="eng", shared=True)
        free = R([{**entry.to_json(), "reservations": []} for entry in shared])
        engine.set_quota("q", limit="disk:9")
        engine.add_framework("g", ["q"])
        engine.add_agent("n", free, used={"f": {"q": free}, "g": {"q": free}})
        assert engine.role("q").consumed == Quantities("disk:4")
        engine.release("g", "n", "q", free)
        assert engine.role("q").consumed == Quantities("disk:4")
        engine.release("f", "n", "q", free)
        assert engine.role("q").consumed == Quantities()

    def test_a_snapshot_and_a_fork_have_it(self, engine):
        engine.set_quota("q", limit="cpus:6")
        engine.add_agent("n", "cpus:8", used={"f": {"q": "cpus:4", "r/s": "cpus:1"}})
        for twin in (engine.fork(), Allocator.restore(engine.snapshot())):
            assert twin.snapshot() == engine.snapshot()
            assert twin.role("q").consumed == Quantities("cpus:4")
            twin.release("f", "n", "q", "cpus:4")
            twin.release("f", "n", "r/s", "cpus:1")
            assert twin.role("q").consumed == Quantities()
            assert twin.agent("n").available == R("cpus:8")
        assert engine.role("q").consumed == Quantities("cpus:4")

    def test_several_offers_of_a_framework_that_is_back_only_on_its_agents(self, engine):
        engine.add_framework("f", ["q"])
        engine.add_agent("n", "cpus:4")
        offers = engine.allocate()
        engine.accept(offers)
        engine.remove_framework("f")
        engine.remove_agent("n")
        engine.add_agent("n", "cpus:4", used={"f": {"q": "cpus:4"}})
        with pytest.raises(ResourceError):
            engine.release([*offers, *offers])
        engine.release(offers)
        assert engine.agent("n").available == R("cpus:4")


MOST = "cpus:9223372036854775.807"


class TestSumsNearTheBound:
    """2**63 − 1 thousandths of a name is the most there can be, in all or in use."""

    def refused(self, engine, error, call):
        """Check that a call is refused and leaves no trace."""
        before = engine.snapshot(), engine.metrics()
        with pytest.raises(error):
            call()
        assert (engine.snapshot(), engine.metrics()) == before

    def test_totals_of_one_agent_after_another(self, engine):
        engine.add_agent("a1", "cpus:9223372036854775")
        self.refused(engine, ResourceError, lambda: engine.add_agent("a2", "cpus:9223372036854775"))
        self.refused(engine, ResourceError, lambda: engine.add_agents(["a2", "a3"], "cpus:0.404"))
        engine.add_agents(["a2", "a3"], "cpus:0.403")
        self.refused(engine, ResourceError, lambda: engine.add_resources("a2", "cpus:0.002"))
        engine.add_resources("a2", "cpus:0.001")
        self.refused(engine, ResourceError, lambda: engine.update_agent("a1", resources=MOST))

    def test_an_agent_in_use_beyond_its_total_counts_with_its_use(self, engine):
        engine.add_framework("f")
        engine.add_agent("a1", MOST, used={"f": {"*": MOST}})
        engine.update_agent("a1", resources="mem:1")
        # All that can be in use is.
        self.refused(engine, ResourceError, lambda: engine.add_agent("a2", "cpus:1"))
        assert engine.agent("a1").allocated == R(MOST)
        engine.release("f", "a1", "*", "cpus:1")
        engine.add_agent("a2", "cpus:1")
        assert len(engine.allocate()) == 2
        assert engine.role("*").offered == Quantities("cpus:1;mem:1")

    def test_a_framework_that_comes_finds_all_that_was_expected_of_it(self, engine):
        engine.add_agent("a1", MOST, used={"f": {"*": MOST}})
        engine.update_agent("a1", resources="")
        self.refused(
            engine, ResourceError, lambda: engine.add_agent("a2", MOST, used={"f": {"*": MOST}})
        )
        engine.add_framework("f")
        assert engine.framework("f").allocated == {"a1": {"*": R(MOST)}}
        assert len(engine.allocate()) == 0

    def test_totals_of_several_are_judged_in_the_end(self, engine):
        engine.add_agents(["a1", "a2"], {"cpus": ["9223372036854775", 0]})
        engine.update_agents(["a2", "a1"], {"cpus": ["9223372036854775", "0.807"]})
        self.refused(
            engine,
            ResourceError,
            lambda: engine.update_agents(["a1", "a2"], {"cpus": ["0.808", "9223372036854775"]}),
        )

    def test_headroom_far_below_zero_lets_nobody_have_anything(self, engine):
        engine.add_framework("f1", ["eng"])
        engine.add_framework("f2", ["web"])
        engine.add_agent("a1", MOST, used={"f1": {"eng": MOST}})
        engine.set_quota("ops", guarantee=MOST)
        engine.update_agent("a1", resources="cpus:1")
        engine.release("f1", "a1", "eng", "cpus:5")
        engine.add_agent("a2", "cpus:4;mem:1")
        # 4 + 1 − 9223372036854770.807 available, 9223372036854775.807 required.
        assert engine.role("web").offered == Quantities()
        assert sum((o.resources for o in engine.allocate()), R()) == R("mem:1")

    @pytest.mark.parametrize("total", ["ports:5", "ports:{a}"])
    def test_a_total_cannot_turn_what_is_in_use_into_another_type(self, engine, total):
        engine.add_framework("f")
        engine.add_agent("a1", "ports:[1-9]")
        engine.allocate()
        self.refused(engine, ResourceError, lambda: engine.update_agent("a1", resources=total))
        engine.update_agent("a1", resources="cpus:1")
        self.refused(engine, ResourceError, lambda: engine.add_resources("a1", total))

    def test_nor_a_shared_volume_into_one_of_another_size(self, engine):
        engine.add_framework("f", ["eng"], capabilities=["SHARED_RESOURCES"])
        engine.add_agent("a1", volume(4, shared=True))
        engine.allocate()
        smaller = volume(2, shared=True)
        self.refused(engine, ResourceError, lambda: engine.update_agent("a1", resources=smaller))


class TestFailuresOfWhatIsNotTheEngines:
    """A clock, or a value, that raises in the middle of a call leaves no trace either."""

    class Moody(str):
        """An attribute that cannot be compared."""

        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other):
            raise RuntimeError("not now")

        __ne__ = __eq__

    def test_a_clock(self, make):
        def broken():
            raise RuntimeError("no time")

        engine = make(clock=broken)
        with pytest.raises(RuntimeError):
            engine.recover(3, {"eng": {"guarantee": "cpus:1"}})
        with pytest.raises(UnknownRole):
            engine.role("eng")
        engine.add_agent("a1", "cpus:1")
        engine.add_framework("f1")
        for call in (engine.allocate, lambda: engine.allocate(["a1"])):
            with pytest.raises(RuntimeError):
                call()
        assert engine.agent("a1").available == R("cpus:1")

    def test_an_attribute(self, engine):
        engine.add_agent("a1", "cpus:1", attributes={"rack": self.Moody("a")})
        with pytest.raises(RuntimeError):
            engine.update_agent("a1", resources="cpus:2", attributes={"rack": "b"})
        assert engine.agent("a1").total == R("cpus:1")


class TestResourceProviders:
    """`add_resources`: what is used is covered by what is added and what is available."""

    def test_use_of_what_the_agent_has_available(self, engine):
        engine.add_agent("s", "cpus:2")
        engine.add_resources("s", "", used={"f": {"r": "cpus:1"}})
        assert engine.agent("s").available == R("cpus:1")
        engine.add_framework("f", ["r"])
        assert engine.framework("f").allocated == {"s": {"r": R("cpus:1")}}

    def test_of_both_together(self, engine):
        engine.add_framework("f", ["r"])
        engine.add_agent("s", "cpus:2")
        engine.add_resources("s", "cpus:2;disk:5", used={"f": {"r": "cpus:3;disk:5"}})
        assert engine.agent("s").available == R("cpus:1")
        assert engine.role("r").allocated == Quantities("cpus:3;disk:5")

    def test_not_of_more(self, engine):
        engine.add_framework("f", ["r"])
        engine.add_agent("s", "cpus:2", used={"f": {"r": "cpus:1"}})
        before = engine.snapshot()
        with pytest.raises(ResourceError):
            engine.add_resources("s", "cpus:2", used={"f": {"r": "cpus:3.001"}})
        assert engine.snapshot() == before

    @pytest.mark.parametrize("framework", ["known", "expected"])
    def test_on_an_agent_below_its_use(self, engine, framework):
        engine.add_framework("known", ["r"])
        engine.add_agent("s", "cpus:8", used={"known": {"r": "cpus:6"}})
        engine.update_agent("s", resources="cpus:3")
        with pytest.raises(ResourceError):
            engine.add_resources("s", "cpus:1", used={framework: {"r": "cpus:1.001"}})
        engine.add_resources("s", "cpus:1;mem:4", used={framework: {"r": "cpus:1;mem:1"}})
        agent = engine.agent("s")
        assert agent.total == R("cpus:4;mem:4")
        assert agent.allocated == R("cpus:7;mem:1")
        assert agent.available == R("mem:3")
        engine.release(framework, "s", "r", "cpus:1")
        assert engine.agent("s").available == R("mem:3")
        engine.release("known", "s", "r", "cpus:3")
        assert engine.agent("s").available == R("cpus:1;mem:3")


class TestFrameworks:
    def test_one_role_each_by_default(self, engine):
        engine.add_framework("f1")
        assert tuple(engine.framework("f1").roles) == ("*",)

    def test_several_roles_need_no_capability(self, engine):
        engine.add_framework("f1", ["a", "b"])
        engine.add_agent("a1", "cpus:1")
        engine.add_agent("a2", "cpus:1")
        # a = 0, b = 0: a by name; then a = 1/2, b = 0.
        assert [o.role for o in engine.allocate()] == ["a", "b"]

    def test_offers_of_one_framework_in_two_roles_on_one_agent(self, engine):
        engine.add_framework("f1", ["a", "b"])
        engine.add_agent("a1", "cpus(a):1;cpus(b):2")
        offers = engine.allocate()
        assert [(o.role, str(o.resources)) for o in offers] == [
            ("a", "cpus(a):1"),
            ("b", "cpus(b):2"),
        ]

    def test_an_inactive_framework_is_not_offered(self, engine):
        engine.add_agent("a1", "cpus:1")
        engine.add_framework("f1", active=False)
        assert len(engine.allocate()) == 0
        engine.activate_framework("f1")
        assert served(engine.allocate()) == ["f1"]

    def test_deactivate_and_reactivate(self, engine):
        """Mesos: DeactivateAndReactivateFramework."""
        engine.add_agent("a1", "cpus:2")
        engine.add_framework("f1")
        (offer,) = engine.allocate()
        engine.deactivate_framework("f1")
        # The open offer stays open; what is given back is not offered again.
        engine.accept(offer, "cpus:1")
        assert engine.agent("a1").allocated == R("cpus:1")
        assert len(engine.allocate()) == 0
        engine.activate_framework("f1")
        assert amounts(engine.allocate()) == [("f1", "cpus:1")]

    def test_an_inactive_frameworks_use_still_counts(self, engine):
        engine.add_agent("a1", "cpus:4")
        engine.add_framework("f1", ["eng"], used={"a1": {"eng": "cpus:1"}})
        engine.deactivate_framework("f1")
        assert engine.role("eng").share == 0.25

    def test_suppress_and_revive(self, engine):
        """Mesos: SuppressAndReviveOffers."""
        engine.add_agent("a1", "cpus:1")
        engine.add_framework("f1")
        engine.suppress("f1")
        assert len(engine.allocate()) == 0
        engine.suppress("f1")
        engine.revive("f1")
        assert served(engine.allocate()) == ["f1"]

    def test_suppress_and_revive_one_role(self, engine):
        """Mesos: SuppressAndReviveOffersWithMultiRole."""
        engine.add_framework("f1", ["a", "b"])
        engine.suppress("f1", ["a"])
        engine.add_agent("a1", "cpus:1")
        # a would be first by name.
        assert [o.role for o in engine.allocate()] == ["b"]
        engine.suppress("f1")
        engine.add_agent("a2", "cpus:1")
        assert len(engine.allocate()) == 0
        engine.revive("f1", ["a"])
        assert [o.role for o in engine.allocate()] == ["a"]
        assert set(engine.framework("f1").suppressed) == {"b"}

    def test_suppressed_from_the_start(self, engine):
        engine.add_framework("f1", ["a", "b"], suppressed=["a"])
        engine.add_agent("a1", "cpus:1")
        assert [o.role for o in engine.allocate()] == ["b"]

    def test_revive_does_not_activate(self, engine):
        engine.add_framework("f1", active=False)
        engine.add_agent("a1", "cpus:1")
        engine.revive("f1")
        assert len(engine.allocate()) == 0

    def test_activating_does_not_revive(self, engine):
        engine.add_framework("f1", suppressed=["*"])
        engine.add_agent("a1", "cpus:1")
        engine.deactivate_framework("f1")
        engine.activate_framework("f1")
        assert len(engine.allocate()) == 0

    def test_update_changes_the_suppressed_roles(self, engine):
        engine.add_framework("f1", ["a", "b"], suppressed=["a"])
        engine.update_framework("f1", suppressed=["b"])
        engine.add_agent("a1", "cpus:1")
        engine.add_agent("a2", "cpus:1")
        assert [o.role for o in engine.allocate()] == ["a", "a"]

    def test_update_changes_only_what_is_given(self, engine):
        engine.add_framework("f1", ["a", "b"], suppressed=["a"], capabilities=["GPU_RESOURCES"])
        engine.update_framework("f1", min_allocatable=[])
        view = engine.framework("f1")
        assert set(view.roles) == {"a", "b"}
        assert set(view.suppressed) == {"a"}
        assert set(view.capabilities) == {"GPU_RESOURCES"}
        engine.update_framework("f1", capabilities=[])
        assert set(engine.framework("f1").suppressed) == {"a"}

    def test_update_roles(self, engine):
        """Mesos: UpdateFrameworkRoles."""
        engine.add_framework("f1", ["a"])
        engine.update_framework("f1", roles=["b"])
        engine.add_agent("a1", "cpus:1")
        assert [o.role for o in engine.allocate()] == ["b"]

    def test_leaving_a_role_while_holding_there(self, engine):
        engine.add_framework("f1", ["a"])
        engine.add_agent("a1", "cpus:4")
        engine.accept(engine.allocate()[0], "cpus:1")
        engine.update_framework("f1", roles=["b"])
        # It keeps what it uses; the share of a tells so.
        assert engine.role("a").share == 0.25
        assert engine.framework("f1").allocated == {"a1": {"a": R("cpus:1")}}
        assert [(o.role, str(o.resources)) for o in engine.allocate()] == [("b", "cpus:3")]
        engine.release("f1", "a1", "a", "cpus:1")
        with pytest.raises(allocator.UnknownRole):
            engine.role("a")
        assert [(o.role, str(o.resources)) for o in engine.allocate()] == [("b", "cpus:1")]

    def test_leaving_a_role_with_an_open_offer(self, engine):
        engine.add_framework("f1", ["a"])
        engine.add_agent("a1", "cpus:4")
        (offer,) = engine.allocate()
        engine.update_framework("f1", roles=["b"])
        engine.accept(offer, "cpus:1")
        assert engine.role("a").share == 0.25
        engine.update_framework("f1", roles=["a", "b"])
        # Back in a: it holds what it held. b = 0 comes before a = 1/4.
        assert [(o.role, str(o.resources)) for o in engine.allocate()] == [("b", "cpus:3")]

    def test_removing_a_framework_frees_what_it_held(self, engine):
        engine.add_framework("f1", ["eng"])
        engine.add_agent("a1", "cpus:4")
        engine.add_agent("a2", "cpus:4")
        first, second = engine.allocate()
        engine.accept(first)
        engine.remove_framework("f1")
        assert engine.agent("a1").available == engine.agent("a2").available == R("cpus:4")
        with pytest.raises(OfferGone):
            engine.accept(second)
        engine.add_framework("f2")
        assert len(engine.allocate()) == 2

    def test_an_incapable_framework_does_not_end_the_loop(self, engine):
        engine.add_agent("a1", "cpus:4;gpus:1")
        engine.add_framework("a-blind", ["eng"])
        engine.add_framework("b-able", ["eng"], capabilities=["GPU_RESOURCES"])
        engine.add_framework("c-able", ["ops"], capabilities=["GPU_RESOURCES"])
        assert amounts(engine.allocate()) == [("b-able", "cpus:4;gpus:1")]
        engine.remove_framework("b-able")
        assert amounts(engine.allocate()) == [("c-able", "cpus:4;gpus:1")]


class TestMinAllocatable:
    """Mesos: Allocatable, CoarseGrained."""

    @pytest.mark.parametrize(
        ("resources", "offered"),
        [
            ("cpus:1;mem:31", True),
            ("cpus:0.5;mem:32", True),
            ("cpus:0.5;mem:31", False),
            ("disk:1000", False),
            ("cpus:0.999", False),
        ],
    )
    def test_any_one_of_several_suffices(self, make, resources, offered):
        engine = make(min_allocatable=["cpus:1", "mem:32"])
        engine.add_framework("f1")
        engine.add_agent("a1", resources)
        assert bool(engine.allocate()) is offered

    def test_all_amounts_of_one_are_needed(self, make):
        engine = make(min_allocatable=["cpus:1;mem:32"])
        engine.add_framework("f1")
        engine.add_agent("a1", "cpus:8;mem:31")
        assert len(engine.allocate()) == 0
        engine.update_agent("a1", resources="cpus:8;mem:32")
        assert len(engine.allocate()) == 1

    def test_by_default_anything_will_do(self, engine):
        engine.add_framework("f1")
        engine.add_agent("a1", "cpus:0.001")
        assert amounts(engine.allocate()) == [("f1", "cpus:0.001")]

    def test_a_framework_may_have_its_own(self, make):
        engine = make(min_allocatable=["cpus:1"])
        engine.add_framework("a-modest", min_allocatable=["cpus:0.1"])
        engine.add_framework("b-usual")
        engine.add_agent("a1", "cpus:0.5")
        engine.suppress("a-modest")
        assert len(engine.allocate()) == 0
        engine.revive("a-modest")
        assert served(engine.allocate()) == ["a-modest"]

    def test_the_own_one_replaces_the_global_one(self, make):
        engine = make(min_allocatable=["cpus:1"])
        engine.add_framework("greedy", min_allocatable=["mem:10"])
        engine.add_agent("a1", "cpus:5;mem:9")
        assert len(engine.allocate()) == 0

    def test_an_empty_list_accepts_anything(self, make):
        engine = make(min_allocatable=["cpus:1"])
        engine.add_framework("f1", min_allocatable=[])
        engine.add_agent("a1", "cpus:0.001")
        assert len(engine.allocate()) == 1

    def test_by_role(self, make):
        engine = make(min_allocatable=["cpus:1"])
        engine.add_framework("f1", ["a", "b"], min_allocatable={"b": ["cpus:0.1"]})
        engine.add_agent("a1", "cpus:0.5")
        # Role a, first by name, has the global one.
        assert [o.role for o in engine.allocate()] == ["b"]

    def test_ranges_and_sets_count_elements(self, make):
        engine = make()
        engine.add_framework("f1", min_allocatable=["ports:3", "disks:2"])
        engine.add_agent("a1", "ports:[1-1,5-5];disks:{sda}")
        assert len(engine.allocate()) == 0
        engine.update_agent("a1", resources="ports:[1-1,5-6]")
        assert len(engine.allocate()) == 1
        engine.add_agent("a2", "disks:{sda,sdb}")
        assert len(engine.allocate()) == 1

    def test_updating_it_counts_in_the_next_cycle(self, make):
        engine = make(min_allocatable=["cpus:1"])
        engine.add_framework("f1")
        engine.add_agent("a1", "cpus:0.5")
        assert len(engine.allocate()) == 0
        engine.update_framework("f1", min_allocatable=["cpus:0.5"])
        assert len(engine.allocate()) == 1
        check_conserved(engine, "a1")


class TestWhitelist:
    def test_only_whitelisted_hosts(self, engine):
        """Mesos: Whitelist."""
        engine.add_framework("f1")
        engine.add_agent("a1", "cpus:1", hostname="dummy")
        engine.set_whitelist(["dummy-agent"])
        assert len(engine.allocate()) == 0
        engine.set_whitelist(["dummy"])
        assert len(engine.allocate()) == 1

    def test_an_empty_one_admits_nobody(self, engine):
        engine.add_framework("f1")
        engine.add_agent("a1", "cpus:1")
        engine.set_whitelist([])
        assert len(engine.allocate()) == 0
        engine.set_whitelist(None)
        assert len(engine.allocate()) == 1

    def test_it_holds_for_agents_that_come_later(self, engine):
        engine.add_framework("f1")
        engine.set_whitelist(["h2"])
        engine.add_agent("a1", "cpus:1", hostname="h1")
        engine.add_agent("a2", "cpus:1", hostname="h2")
        assert [o.agent for o in engine.allocate()] == ["a2"]


class TestPause:
    def test_paused_nothing_is_offered(self, engine):
        engine.add_framework("f1")
        engine.add_agent("a1", "cpus:1")
        engine.pause()
        assert len(engine.allocate()) == 0
        assert len(engine.allocate(["a1"])) == 0
        engine.resume()
        assert len(engine.allocate()) == 1

    def test_paused_answers_and_events_go_on(self, engine):
        engine.add_framework("f1")
        engine.add_agent("a1", "cpus:4")
        (offer,) = engine.allocate()
        engine.pause()
        engine.accept(offer, "cpus:1")
        engine.add_agent("a2", "cpus:1")
        engine.release("f1", "a1", "*", "cpus:1")
        engine.resume()
        assert {o.agent: str(o.resources) for o in engine.allocate()} == {
            "a1": "cpus:4",
            "a2": "cpus:1",
        }


class TestRelease:
    def test_a_task_ends(self, engine):
        engine.add_framework("f1", ["eng"])
        engine.add_agent("a1", "cpus:4")
        engine.accept(engine.allocate()[0], "cpus:3")
        engine.release("f1", "a1", "eng", "cpus:2")
        assert engine.agent("a1").allocated == R("cpus:1")
        assert engine.role("eng").share == 0.25
        assert amounts(engine.allocate()) == [("f1", "cpus:3")]

    def test_more_than_is_used_is_refused(self, engine):
        engine.add_framework("f1", ["eng"])
        engine.add_agent("a1", "cpus:4")
        engine.accept(engine.allocate()[0], "cpus:3")
        with pytest.raises(ResourceError):
            engine.release("f1", "a1", "eng", "cpus:4")
        assert engine.agent("a1").allocated == R("cpus:3")

    def test_what_is_offered_is_not_released(self, engine):
        engine.add_framework("f1")
        engine.add_agent("a1", "cpus:4")
        engine.allocate()
        with pytest.raises(ResourceError):
            engine.release("f1", "a1", "*", "cpus:1")


class TestOptions:
    def test_two_orderings_apart(self):
        engine = allocator.Allocator(role_sorter="naive", framework_sorter="drf", seed=1)
        engine.add_agent("a1", "cpus:1")
        engine.add_framework("f1")
        assert served(engine.allocate()) == ["f1"]

    def test_by_chance_but_seeded(self):
        def order(seed):
            engine = allocator.Allocator(sorter="random", seed=seed)
            for n in range(20):
                engine.add_framework(f"f{n}")
                engine.add_agent(f"a{n}", "cpus:1")
            return answered(engine.allocate())

        assert order(1) == order(1) != order(2)

    def test_random_sorters_never_serve_the_inactive(self):
        engine = allocator.Allocator(sorter="random", seed=3)
        for n in range(5):
            engine.add_framework(f"f{n}")
        engine.deactivate_framework("f0")
        engine.suppress("f1")
        engine.remove_framework("f2")
        for n in range(40):
            engine.add_agent(f"a{n}", "cpus:1")
        assert set(served(engine.allocate())) == {"f3", "f4"}

    def test_any_callable_is_a_clock(self):
        engine = allocator.Allocator(clock=lambda: 5.0, seed=1)
        engine.add_agent("a1", "cpus:1")
        engine.add_framework("f1")
        engine.decline(engine.allocate()[0])
        assert len(engine.allocate()) == 0

    def test_a_manual_clock_advances(self):
        clock = ManualClock()
        before = clock()
        clock.advance(2.5)
        assert clock() - before == 2.5
