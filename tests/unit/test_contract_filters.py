"""Filters: how long they live, what they reject, and what ends them early (contract §6.5, §6.6)."""

import math

import pytest

from tests.contract import R, amounts, served

DAY = 86400.0


@pytest.fixture
def engine(engine):
    """Framework f1 in roles a and b, on one agent."""
    engine.add_framework("f1", ["a", "b"], suppressed=["b"])
    engine.add_agent("a1", "cpus:4;mem:64")
    return engine


def refuse(engine, refuse_seconds):
    """Decline the one offer that there is."""
    (offer,) = engine.allocate()
    engine.decline(offer, refuse_seconds=refuse_seconds)


class TestLife:
    @pytest.mark.parametrize(
        ("refuse_seconds", "life"),
        [
            (10, 10.0),
            (1.5, 1.5),
            (0.25, 1.0),  # not shorter than the allocation interval
            (1e-9, 1.0),
            (-3, 5.0),
            (-math.inf, 5.0),
            (math.nan, 5.0),
            (364 * DAY, 364 * DAY),
            (366 * DAY, 365 * DAY),
            (math.inf, 365 * DAY),
        ],
    )
    def test_gone_at_its_end_and_not_before(self, engine, clock, refuse_seconds, life):
        refuse(engine, refuse_seconds)
        clock.advance(life - 2**-7)
        assert len(engine.allocate()) == 0
        clock.advance(2**-7)
        assert served(engine.allocate()) == ["f1"]

    @pytest.mark.parametrize("refuse_seconds", [0, 0.0, -0.0, None])
    def test_none_at_all(self, engine, refuse_seconds):
        refuse(engine, refuse_seconds)
        assert served(engine.allocate()) == ["f1"]

    def test_at_least_the_interval_of_this_engine(self, make, clock):
        engine = make(allocation_interval=60.0)
        engine.add_framework("f1")
        engine.add_agent("a1", "cpus:1")
        refuse(engine, 5)
        clock.advance(59)
        assert len(engine.allocate()) == 0
        clock.advance(1)
        assert len(engine.allocate()) == 1

    def test_one_that_ends_between_two_cycles(self, engine, clock):
        refuse(engine, 5)
        for _ in range(2):
            clock.advance(2)
            assert len(engine.allocate()) == 0
        clock.advance(2)
        assert served(engine.allocate()) == ["f1"]

    def test_one_that_ends_while_the_agent_is_not_considered(self, engine, clock):
        refuse(engine, 5)
        engine.deactivate_agent("a1")
        clock.advance(6)
        assert len(engine.allocate()) == 0
        engine.activate_agent("a1")
        assert served(engine.allocate()) == ["f1"]

    def test_two_on_one_agent_end_each_in_its_time(self, engine, clock):
        refuse(engine, 10)
        engine.add_resources("a1", "cpus:1")
        # 5 cpus are not contained in the 4 refused.
        refuse(engine, 5)
        clock.advance(5)
        # Of 5 cpus only the first filter is left, and it does not contain them.
        refuse(engine, 20)
        clock.advance(19)
        assert len(engine.allocate()) == 0


class TestContainment:
    def test_more_is_not_rejected(self, engine):
        refuse(engine, 100)
        engine.update_agent("a1", resources="cpus:4.001;mem:64")
        assert amounts(engine.allocate()) == [("f1", "cpus:4.001;mem:64")]

    def test_another_kind_is_not_rejected(self, engine):
        refuse(engine, 100)
        engine.update_agent("a1", resources="cpus:1;disk:1")
        assert amounts(engine.allocate()) == [("f1", "cpus:1;disk:1")]

    def test_less_is_rejected(self, engine):
        refuse(engine, 100)
        engine.update_agent("a1", resources="cpus:3;mem:64")
        assert len(engine.allocate()) == 0
        engine.update_agent("a1", resources="mem:1")
        assert len(engine.allocate()) == 0

    def test_a_part_refused_leaves_the_whole_open(self, engine):
        """Accepting a part refuses only the rest."""
        (offer,) = engine.allocate()
        engine.accept(offer, "cpus:3", refuse_seconds=100)
        assert len(engine.allocate()) == 0
        engine.release("f1", "a1", "a", "cpus:1")
        # 2 cpus and 64 MB are more than the refused 1 cpu and 64 MB.
        assert amounts(engine.allocate()) == [("f1", "cpus:2;mem:64")]

    def test_a_reservation_is_another_resource(self, engine):
        refuse(engine, 100)
        engine.update_agent("a1", resources="cpus(a):1")
        assert amounts(engine.allocate()) == [("f1", "cpus(a):1")]

    def test_ports(self, engine):
        engine.update_agent("a1", resources="ports:[10-20]")
        refuse(engine, 100)
        engine.update_agent("a1", resources="ports:[11-12,14-19]")
        assert len(engine.allocate()) == 0
        engine.update_agent("a1", resources="ports:[11-12,20-21]")
        assert amounts(engine.allocate()) == [("f1", "ports:[11-12,20-21]")]

    def test_one_of_several_suffices(self, engine):
        refuse(engine, 100)
        engine.update_agent("a1", resources="disk:10")
        refuse(engine, 100)
        engine.update_agent("a1", resources="cpus:1")
        assert len(engine.allocate()) == 0
        # Neither of the two contains both.
        engine.update_agent("a1", resources="cpus:1;disk:1")
        assert len(engine.allocate()) == 1


class TestScope:
    def test_another_agent(self, engine):
        refuse(engine, 100)
        engine.add_agent("a2", "cpus:1")
        assert [o.agent for o in engine.allocate()] == ["a2"]

    def test_another_framework(self, engine):
        refuse(engine, 100)
        engine.add_framework("f2", ["a"])
        assert served(engine.allocate()) == ["f2"]

    def test_another_role_of_the_same_framework(self, engine):
        refuse(engine, 100)
        engine.revive("f1", ["b"])
        assert [(o.framework, o.role) for o in engine.allocate()] == [("f1", "b")]

    def test_each_framework_waits_for_its_own(self, engine, clock):
        engine.add_framework("f2", ["a"])
        refuse(engine, 8)
        refuse(engine, 4)
        assert len(engine.allocate()) == 0
        clock.advance(4)
        assert served(engine.allocate()) == ["f2"]


class TestEndsEarly:
    def test_when_the_role_is_revived(self, engine):
        """Mesos: RemoveFilters."""
        refuse(engine, 100)
        engine.revive("f1", ["a"])
        assert served(engine.allocate()) == ["f1"]

    def test_when_all_roles_are_revived(self, engine):
        refuse(engine, 100)
        engine.revive("f1")
        assert served(engine.allocate()) == ["f1"]

    def test_not_when_another_role_is_revived(self, engine):
        refuse(engine, 100)
        engine.revive("f1", ["b"])
        refuse(engine, 100)  # in role b, which now sees the agent
        engine.revive("f1", ["b"])
        assert [o.role for o in engine.allocate()] == ["b"]

    def test_not_when_suppressed(self, engine):
        refuse(engine, 100)
        engine.suppress("f1", ["a"])
        assert engine.role("a").filters == 1

    def test_when_the_agents_attributes_change(self, engine):
        refuse(engine, 100)
        engine.update_agent("a1", attributes={"rack": "r1"})
        assert served(engine.allocate()) == ["f1"]

    def test_not_when_the_agents_resources_change(self, engine):
        refuse(engine, 100)
        engine.update_agent("a1", resources="cpus:2;mem:64")
        assert len(engine.allocate()) == 0

    def test_when_the_agent_is_removed(self, engine):
        refuse(engine, 100)
        engine.remove_agent("a1")
        engine.add_agent("a1", "cpus:4;mem:64")
        assert served(engine.allocate()) == ["f1"]

    def test_not_when_the_agent_is_deactivated(self, engine):
        refuse(engine, 100)
        engine.deactivate_agent("a1")
        engine.activate_agent("a1")
        assert len(engine.allocate()) == 0

    def test_when_the_framework_is_deactivated(self, engine):
        refuse(engine, 100)
        engine.deactivate_framework("f1")
        engine.activate_framework("f1")
        assert served(engine.allocate()) == ["f1"]

    def test_when_the_framework_leaves_the_role(self, engine):
        refuse(engine, 100)
        engine.update_framework("f1", roles=["b"], suppressed=["b"])
        engine.update_framework("f1", roles=["a", "b"], suppressed=["b"])
        assert [(o.framework, o.role) for o in engine.allocate()] == [("f1", "a")]

    def test_when_the_framework_comes_anew(self, engine):
        refuse(engine, 100)
        engine.remove_framework("f1")
        engine.add_framework("f1", ["a"])
        assert served(engine.allocate()) == ["f1"]

    def test_when_a_role_is_no_longer_suppressed(self, engine):
        """Update_framework revives what it no longer suppresses."""
        refuse(engine, 100)
        engine.update_framework("f1", suppressed=["a", "b"])
        assert len(engine.allocate()) == 0
        engine.update_framework("f1", suppressed=["b"])
        assert [(o.framework, o.role) for o in engine.allocate()] == [("f1", "a")]


class TestStarvation:
    """Many frameworks that decline everything, an interval of 1 s, filters of 5 s."""

    @pytest.mark.parametrize(("n_frameworks", "rounds"), [(3, 2), (6, 3), (50, 3)])
    def test_each_framework_is_offered_the_only_agent(self, make, clock, n_frameworks, rounds):
        """The bound: each of n frameworks is offered the agent within any max(n, 5) + 1 cycles.

        All hold nothing, so who was allocated the fewest times comes next: after k cycles k
        different frameworks were served. A filter only takes away ones that were. With fewer than
        5 frameworks a round takes as long as a filter: 2 rounds in the 9 cycles of 3 frameworks.
        """
        engine = make()
        names = [f"f{n:02}" for n in range(n_frameworks)]
        for name in names:
            engine.add_framework(name)
        engine.add_agent("a1", "cpus:1")
        seen = []
        for _ in range(3 * n_frameworks):
            for offer in engine.allocate():
                seen.append(offer.framework)
                engine.decline(offer, refuse_seconds=5)
            clock.advance(1)
        assert seen == names * rounds

    def test_one_with_nothing_goes_before_ones_that_hold_much(self, make, clock):
        """A newcomer waits one cycle, however many decline before it."""
        engine = make()
        for n in range(20):
            engine.add_framework(f"f{n:02}", used=None)
        engine.add_agent("a1", "cpus:40", used={f"f{n:02}": {"*": "cpus:1"} for n in range(20)})
        for _ in range(10):
            for offer in engine.allocate():
                engine.decline(offer, refuse_seconds=5)
            clock.advance(1)
        engine.add_framework("late")
        # late = 0 < 1/40.
        assert served(engine.allocate()) == ["late"]

    def test_revived_ones_are_served_beside_filtered_ones(self, make, clock):
        engine = make()
        for n in range(4):
            engine.add_framework(f"f{n}")
        for n in range(4):
            engine.add_agent(f"a{n}", "cpus:1")
        for _ in range(8):
            for offer in engine.allocate():
                engine.decline(offer, refuse_seconds=DAY)
            clock.advance(1)
        assert len(engine.allocate()) == 0
        engine.revive("f2")
        offers = engine.allocate()
        assert served(offers) == ["f2"] * 4
        assert sum((o.resources for o in offers), R()) == R("cpus:4")


def test_an_ended_filter_is_not_counted_any_more(make, clock) -> None:
    """§6.6: a filter is gone at its end instant, whether a cycle came by since or not."""
    engine = make()
    engine.add_agent("a1", "cpus:1")
    engine.add_framework("f", ["eng"])
    engine.decline(engine.allocate()[0], refuse_seconds=5)
    active = "allocator/mesos/offer_filters/roles/eng/active"
    clock.advance(4.5)
    assert (engine.role("eng").filters, engine.metrics()[active]) == (1, 1)
    clock.advance(0.5)
    assert (engine.role("eng").filters, engine.metrics()[active]) == (0, 0)
    # It is offered again, although the metrics took note of the end before the cycle did.
    assert len(engine.allocate()) == 1
