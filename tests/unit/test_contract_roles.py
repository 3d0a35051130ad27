"""Roles: which paths there are, when a role exists, what a weight applies to (contract §3)."""

import pytest

from allocator import InvalidRole, ResourceError, UnknownRole
from tests.contract import R, amounts, dynamic, served

VALID = [
    "*",
    "eng",
    "eng/prod/web",
    "a.b",
    "...",
    ".hidden",
    "a-",
    "a*",
    "ünï/çødé",
    "a:b(c);d",
    "e" * 300,
    "/".join("abcdefghij"),
    "/".join("a" * 128),
]
INVALID = [
    "",
    "/",
    "/eng",
    "eng/",
    "eng//prod",
    ".",
    "..",
    "eng/.",
    "eng/../prod",
    "-eng",
    "eng/-prod",
    "*/eng",
    "eng/*",
    "a b",
    "a\tb",
    "a\nb",
    "a\u00a0b",  # white space as Unicode has it
    "a\u2003b",
    "a\u3000b",
    "a\x0bb",
    "a\x0cb",
    "a\rb",
    "a\x00b",
    "a\x08b",
    "a\x7fb",
    None,
    7,
    b"eng",
    ("eng",),
    "/".join("a" * 129),
    "a/" * 100_000 + "a",
]


class TestPaths:
    @pytest.mark.parametrize("path", VALID)
    def test_valid(self, engine, path):
        engine.add_framework("f1", [path])
        engine.add_agent("a1", "cpus:1")
        assert [o.role for o in engine.allocate()] == [path]

    @pytest.mark.parametrize("path", INVALID, ids=lambda path: repr(path)[:30])
    def test_invalid(self, engine, path):
        for call in (
            lambda: engine.add_framework("f1", [path]),
            lambda: engine.set_weight(path, 2),
            lambda: engine.set_quota(path, "cpus:1"),
            lambda: engine.add_framework("f1", ["eng"], suppressed=[path]),
        ):
            with pytest.raises(InvalidRole) as caught:
                call()
            assert len(str(caught.value)) < 500

    def test_the_deepest_has_all_that_a_role_has(self, engine):
        """Limits at the top and guarantees at the bottom of the longest path hold."""
        deepest = VALID[-1]
        engine.set_quota("a", limit="cpus:5")
        engine.set_quota(deepest, guarantee="cpus:3")
        engine.set_weight(deepest, 2.0)
        engine.add_framework("f1", [deepest])
        engine.add_agent("a1", "cpus:8")
        assert amounts(engine.allocate()) == [("f1", "cpus:5")]
        assert engine.role("a").consumed["cpus"] == 5
        assert engine.fork().role(deepest).quota.guarantee["cpus"] == 3

    def test_reservations_go_no_deeper_either(self, engine):
        with pytest.raises(ResourceError):
            engine.add_agent("a1", dynamic("/".join("a" * 129), "cpus:1"))


def exists(engine, path):
    try:
        engine.role(path)
    except UnknownRole:
        return False
    return True


class TestExistence:
    def test_with_a_framework(self, engine):
        assert not exists(engine, "eng")
        engine.add_framework("f1", ["eng"])
        assert exists(engine, "eng")
        engine.remove_framework("f1")
        assert not exists(engine, "eng")

    @pytest.mark.parametrize("quiet", ["suppress", "deactivate_framework"])
    def test_with_a_framework_that_wants_nothing(self, engine, quiet):
        engine.add_framework("f1", ["eng"])
        getattr(engine, quiet)("f1")
        assert exists(engine, "eng")

    def test_with_a_framework_that_holds_something_there(self, engine):
        engine.add_agent("a1", "cpus:1", used={"f1": {"eng": "cpus:1"}})
        engine.add_framework("f1", ["ops"])
        assert exists(engine, "eng")
        engine.release("f1", "a1", "eng", "cpus:1")
        assert not exists(engine, "eng")

    def test_with_a_framework_that_is_offered_something_there(self, engine):
        engine.add_agent("a1", "cpus:1")
        engine.add_framework("f1", ["eng"])
        (offer,) = engine.allocate()
        engine.update_framework("f1", roles=["ops"])
        assert exists(engine, "eng")
        engine.decline(offer)
        assert not exists(engine, "eng")

    @pytest.mark.parametrize("resources", [R("cpus(eng):1"), dynamic("eng", "cpus:1")])
    def test_with_a_reservation(self, engine, resources):
        engine.add_agent("a1", resources)
        assert exists(engine, "eng")
        engine.remove_agent("a1")
        assert not exists(engine, "eng")

    def test_with_a_reservation_that_is_not_a_scalar(self, engine):
        engine.add_agent("a1", "ports(eng):[1-9]")
        assert exists(engine, "eng")
        engine.update_agent("a1", resources="ports:[1-9]")
        assert not exists(engine, "eng")

    @pytest.mark.parametrize("quota", [{"guarantee": "cpus:1"}, {"limit": {"cpus": 0}}])
    def test_with_a_quota(self, engine, quota):
        engine.set_quota("eng", **quota)
        assert exists(engine, "eng")
        engine.remove_quota("eng")
        assert not exists(engine, "eng")

    @pytest.mark.parametrize("empty", [{}, {"guarantee": ""}, {"guarantee": {"cpus": 0}}])
    def test_an_empty_quota_is_none(self, engine, empty):
        engine.set_quota("eng", **empty)
        assert not exists(engine, "eng")

    def test_with_a_weight(self, engine):
        engine.set_weight("eng", 2.5)
        assert exists(engine, "eng")
        assert engine.role("eng").weight == 2.5
        engine.set_weight("eng", 1)
        assert not exists(engine, "eng")

    def test_with_a_descendant(self, engine):
        engine.add_framework("f1", ["eng/prod/web"])
        assert exists(engine, "eng/prod")
        assert exists(engine, "eng")
        engine.set_quota("eng/test", "cpus:1")
        engine.remove_framework("f1")
        assert not exists(engine, "eng/prod")
        assert exists(engine, "eng")
        engine.remove_quota("eng/test")
        assert not exists(engine, "eng")

    def test_not_with_one_that_only_sounds_alike(self, engine):
        engine.add_framework("f1", ["engine"])
        assert not exists(engine, "eng")

    def test_the_default_role_is_one_like_the_others(self, engine):
        assert not exists(engine, "*")
        engine.add_framework("f1")
        assert exists(engine, "*")


class TestWeights:
    def test_update_weight(self, engine):
        """Mesos: UpdateWeight."""
        engine.set_weight("role1", 1.0)
        engine.set_weight("role2", 2.0)
        engine.add_framework("f1", ["role1"])
        engine.add_framework("f2", ["role2"])
        for n in range(6):
            engine.add_agent(f"a{n}", "cpus:1")
        # Shares before each offer, of 6: r1 0, r2 0 → f1 by name; r1 1/6, r2 0 → f2;
        # r1 1/6, r2 1/12 → f2; r1 1/6, r2 2/12: both … f1 was allocated once, f2 twice → f1;
        # r1 2/6, r2 2/12 → f2; r1 2/6, r2 3/12 → f2.
        offers = engine.allocate()
        assert served(offers) == ["f1", "f2", "f2", "f1", "f2", "f2"]

    def test_a_change_counts_at_once(self, engine):
        engine.add_framework("f1", ["role1"])
        engine.add_framework("f2", ["role2"])
        for n in range(3):
            engine.add_agent(f"a{n}", "cpus:1")
        assert served(engine.allocate()) == ["f1", "f2", "f1"]
        engine.add_agent("a3", "cpus:3")
        engine.set_weight("role1", 4.0)
        # Of 6 cpus: role1 = 2/6/4 = 0.083, role2 = 1/6 = 0.167.
        assert served(engine.allocate()) == ["f1"]

    def test_of_a_role_that_comes_later(self, engine):
        engine.set_weight("z", 3.0)
        for n in range(8):
            engine.add_agent(f"a{n}", "cpus:1")
        engine.add_framework("fa", ["a"])
        engine.add_framework("fz", ["z"])
        got = served(engine.allocate())
        # Weights 1 : 3, eight cpus.
        assert (got.count("fa"), got.count("fz")) == (2, 6)

    def test_it_outlives_the_frameworks(self, engine):
        engine.add_framework("f1", ["eng"])
        engine.set_weight("eng", 3.0)
        engine.remove_framework("f1")
        engine.add_framework("f2", ["eng"])
        assert engine.role("eng").weight == 3.0

    def test_it_is_that_of_the_whole_subtree(self, engine):
        """The weight of eng is shared by its children, as one against ops."""
        engine.set_weight("eng", 2.0)
        for name, role in (("f1", "eng/x"), ("f2", "eng/y"), ("f3", "ops")):
            engine.add_framework(name, [role])
        for n in range(12):
            engine.add_agent(f"a{n}", "cpus:1")
        got = served(engine.allocate())
        # eng : ops = 2 : 1 → 8 : 4; x : y = 1 : 1 → 4 : 4.
        assert [got.count(name) for name in ("f1", "f2", "f3")] == [4, 4, 4]

    def test_at_two_levels(self, engine):
        engine.set_weight("eng/x", 3.0)
        for name, role in (("f1", "eng/x"), ("f2", "eng/y"), ("f3", "ops")):
            engine.add_framework(name, [role])
        for n in range(16):
            engine.add_agent(f"a{n}", "cpus:1")
        got = served(engine.allocate())
        # eng : ops = 1 : 1 → 8 : 8; x : y = 3 : 1 → 6 : 2.
        assert [got.count(name) for name in ("f1", "f2", "f3")] == [6, 2, 8]

    def test_a_parent_with_frameworks_of_its_own_competes_with_its_children(self, engine):
        """Its implicit leaf weighs 1, whatever the subtree weighs."""
        engine.set_weight("eng", 3.0)
        engine.add_framework("f1", ["eng"])
        engine.add_framework("f2", ["eng/x"])
        engine.add_framework("f3", ["ops"])
        for n in range(16):
            engine.add_agent(f"a{n}", "cpus:1")
        got = served(engine.allocate())
        # eng : ops = 3 : 1 → 12 : 4; eng's own : x = 1 : 1 → 6 : 6.
        assert [got.count(name) for name in ("f1", "f2", "f3")] == [6, 6, 4]

    def test_roles_without_active_frameworks_take_no_part(self, engine):
        engine.add_framework("f1", ["eng"])
        engine.add_framework("f2", ["ops"])
        engine.suppress("f1")
        for n in range(3):
            engine.add_agent(f"a{n}", "cpus:1")
        assert served(engine.allocate()) == ["f2"] * 3


class TestNestedDRF:
    def test_nested_role_drf(self, engine):
        """Mesos: NestedRoleDRF."""
        engine.add_agent("agent1", "cpus:10;mem:10")
        engine.add_framework("framework1", ["a/b"])
        # a/b = 0.
        assert served(engine.allocate()) == ["framework1"]

        engine.add_framework("framework2", ["a/c"])
        engine.add_framework("framework3", ["d/e"])
        engine.add_agent("agent2", "cpus:10;mem:10")
        # a = 10/20: (a/b = 1/2, a/c = 0); d = 0.
        assert served(engine.allocate()) == ["framework3"]

        engine.add_agent("agent3", "cpus:10;mem:10")
        # a = d = 1/3, allocated once each: by name; a/c = 0 < a/b = 1/3.
        assert served(engine.allocate()) == ["framework2"]

        engine.add_agent("agent4", "cpus:40;mem:40")
        # a = 20/70 = 0.29; d = 10/70 = 0.14.
        assert served(engine.allocate()) == ["framework3"]

        engine.add_agent("agent5", "cpus:30;mem:30")
        # a = 20/100; d = 50/100; a/b = a/c = 0.1, allocated once each: by name.
        assert served(engine.allocate()) == ["framework1"]

    def test_a_parent_becomes_one_and_ceases_to_be(self, engine):
        """An implicit leaf comes with the first child, and goes with the last."""
        engine.add_framework("f1", ["eng"])
        engine.add_framework("f3", ["ops"])
        engine.add_agent("a1", "cpus:4")
        engine.accept(engine.allocate()[0], "cpus:2")
        engine.add_framework("f2", ["eng/x"])
        # eng = 2/4, ops = 0: ops. Then of 8: eng = 2/8, ops = 2/8; eng was allocated once, so
        # was ops: by name, and in eng: eng/x = 0 < its own leaf = 2/8.
        assert amounts(engine.allocate()) == [("f3", "cpus:2")]
        engine.add_agent("a2", "cpus:4")
        assert amounts(engine.allocate()) == [("f2", "cpus:4")]
        engine.remove_framework("f2")
        # eng = 2/8 is a leaf again. It keeps its own number: 1 for f1's, and 1 for f2's below it;
        # ops = 2/8 was allocated once.
        assert amounts(engine.allocate()) == [("f3", "cpus:4")]
