"""Every refusal is an AllocatorError that names the value and changes nothing (contract §5.1)."""

import math

import pytest

import allocator
from allocator import (
    Allocator,
    AllocatorError,
    ConstraintError,
    DuplicateAgent,
    DuplicateFramework,
    InvalidRole,
    InvalidValue,
    OfferGone,
    QuotaError,
    ResourceError,
    UnknownAgent,
    UnknownFramework,
    UnknownRole,
)
from allocator.reference import Allocator as Reference


@pytest.fixture
def engine(engine, clock):
    """A bit of everything: offers open, filters, quota, use, a plan."""
    engine.set_weight("eng", 2.0)
    engine.set_quota("eng", guarantee="cpus:2", limit="cpus:6;mem:100")
    engine.add_framework("f1", ["eng/prod", "ops"])
    engine.add_framework("f2", ["eng/test"])
    engine.add_agent("a1", "cpus:4;mem:64", used={"f1": {"ops": "cpus:1"}})
    engine.add_agent("a2", "cpus:4;mem:64;ports:[1-9]", hostname="h2")
    engine.decline(engine.allocate(["a1"])[0], refuse_seconds=50)
    engine.allocate(["a2"])
    engine.set_unavailability("a1", clock() + 10)
    return engine


# What is called, the error, and what its message names.
REFUSED = {
    "unknown agent": [
        (lambda e: e.remove_agent("a9"), UnknownAgent, "a9"),
        (lambda e: e.update_agent("a9", resources="cpus:1"), UnknownAgent, "a9"),
        (lambda e: e.activate_agent("a9"), UnknownAgent, "a9"),
        (lambda e: e.deactivate_agent("a9"), UnknownAgent, "a9"),
        (lambda e: e.add_resources("a9", "cpus:1"), UnknownAgent, "a9"),
        (lambda e: e.allocate(["a1", "a9"]), UnknownAgent, "a9"),
        (lambda e: e.release("f1", "a9", "ops", "cpus:1"), UnknownAgent, "a9"),
        (lambda e: e.recover_resources("f1", "a9", "ops", "cpus:1"), UnknownAgent, "a9"),
        (lambda e: e.apply_available("a9", []), UnknownAgent, "a9"),
        (lambda e: e.set_unavailability("a9", 1.0), UnknownAgent, "a9"),
        (lambda e: e.clear_unavailability("a9"), UnknownAgent, "a9"),
        (lambda e: e.answer_inverse("f1", "a9", "ACCEPT"), UnknownAgent, "a9"),
        (lambda e: e.agent("a9"), UnknownAgent, "a9"),
    ],
    "unknown framework": [
        (lambda e: e.remove_framework("f9"), UnknownFramework, "f9"),
        (lambda e: e.update_framework("f9", roles=["eng"]), UnknownFramework, "f9"),
        (lambda e: e.activate_framework("f9"), UnknownFramework, "f9"),
        (lambda e: e.deactivate_framework("f9"), UnknownFramework, "f9"),
        (lambda e: e.suppress("f9"), UnknownFramework, "f9"),
        (lambda e: e.revive("f9"), UnknownFramework, "f9"),
        (lambda e: e.release("f9", "a1", "ops", "cpus:1"), UnknownFramework, "f9"),
        (lambda e: e.recover_resources("f9", "a1", "ops", "cpus:1"), UnknownFramework, "f9"),
        (lambda e: e.answer_inverse("f9", "a1", "ACCEPT"), UnknownFramework, "f9"),
        (lambda e: e.framework("f9"), UnknownFramework, "f9"),
    ],
    "unknown role": [
        (lambda e: e.suppress("f1", ["ops", "fin"]), UnknownRole, "fin"),
        (lambda e: e.revive("f1", ["fin"]), UnknownRole, "fin"),
        (lambda e: e.release("f1", "a1", "fin", "cpus:1"), UnknownRole, "fin"),
        (lambda e: e.role("fin"), UnknownRole, "fin"),
    ],
    "duplicates": [
        (lambda e: e.add_agent("a1", "cpus:1"), DuplicateAgent, "a1"),
        (lambda e: e.add_framework("f1"), DuplicateFramework, "f1"),
    ],
    "offers": [
        (lambda e: e.accept("no-such-offer"), OfferGone, "no-such-offer"),
        (lambda e: e.decline("no-such-offer"), OfferGone, "no-such-offer"),
        (lambda e: e.rescind("no-such-offer"), OfferGone, "no-such-offer"),
        (lambda e: e.apply("no-such-offer", []), OfferGone, "no-such-offer"),
    ],
    "resources": [
        (lambda e: e.add_agent("a3", "cpus"), ResourceError, "cpus"),
        (lambda e: e.add_agent("a3", "cpus:-1"), ResourceError, "-1"),
        (lambda e: e.add_agent("a3", {"cpus": math.nan}), ResourceError, "cpus"),
        (lambda e: e.add_agent("a3", {"cpus": math.inf}), ResourceError, "cpus"),
        (lambda e: e.add_agent("a3", {"cpus": 1e300}), ResourceError, "cpus"),
        (lambda e: e.add_agent("a3", "cpus:1;cpus:[1-2]"), ResourceError, "cpus"),
        (lambda e: e.add_agent("a3", "cpus(a//b):1"), ResourceError, "a//b"),
        (lambda e: e.add_agent("a3", 17), ResourceError, "17"),
        (lambda e: e.update_agent("a1", resources="cpus:x"), ResourceError, "x"),
        (lambda e: e.add_resources("a1", "cpus:x"), ResourceError, "x"),
        (lambda e: e.release("f1", "a1", "ops", "cpus:1.5"), ResourceError, "1.5"),
        (lambda e: e.recover_resources("f1", "a2", "ops", "cpus:99"), ResourceError, "99"),
        (
            lambda e: e.add_agent("a3", "cpus:1", used={"f1": {"ops": "cpus:2"}}),
            ResourceError,
            "a3",
        ),
        (
            lambda e: e.add_framework("f3", used={"a1": {"*": "cpus:44"}}),
            ResourceError,
            "f3",
        ),
    ],
    "roles": [
        (lambda e: e.add_framework("f3", ["ok", "not ok"]), InvalidRole, "not ok"),
        (lambda e: e.add_framework("f3", ["/eng"]), InvalidRole, "/eng"),
        (lambda e: e.update_framework("f1", roles=["eng/"]), InvalidRole, "eng/"),
        (lambda e: e.set_weight("a/*", 1), InvalidRole, r"a/\*"),
        (lambda e: e.set_quota("..", "cpus:1"), InvalidRole, r"\.\."),
        (lambda e: e.remove_quota("-x"), InvalidRole, "-x"),
        (
            lambda e: e.add_agent("a3", "cpus:1", used={"f1": {"a//b": "cpus:1"}}),
            InvalidRole,
            "a//b",
        ),
    ],
    "weights": [
        (lambda e: e.set_weight("eng", 0), AllocatorError, "0"),
        (lambda e: e.set_weight("eng", -1.5), AllocatorError, "-1.5"),
        (lambda e: e.set_weight("eng", 9.99e-10), AllocatorError, "9.99e-10"),
        (lambda e: e.set_weight("eng", 1.001e9), AllocatorError, "1001000000.0"),
        (lambda e: e.set_weight("eng", math.nan), AllocatorError, "nan"),
        (lambda e: e.set_weight("eng", math.inf), AllocatorError, "inf"),
        (lambda e: e.set_weight("eng", "heavy"), AllocatorError, "heavy"),
    ],
    "quotas": [
        (lambda e: e.set_quota("eng", "cpus:7", "cpus:6"), QuotaError, "cpus"),
        (lambda e: e.set_quota("eng/prod", "cpus:3"), QuotaError, "cpus"),
        (lambda e: e.set_quota("eng/prod", "mem:101"), QuotaError, "mem"),
        (lambda e: e.set_quota("eng", "cpus:x"), ResourceError, "x"),
        (lambda e: e.set_quota("eng", limit="cpus:-1"), ResourceError, "-1"),
    ],
    "constraints": [
        (
            lambda e: e.add_framework("f3", ["eng"], constraints={"eng": {"groups": []}}),
            ConstraintError,
            "eng",
        ),
        (
            lambda e: e.update_framework("f1", roles=["fin"], constraints={"fin": "rack"}),
            ConstraintError,
            "rack",
        ),
    ],
    "whatever": [
        (lambda e: e.add_framework("f3", capabilities=["FLYING"]), AllocatorError, "FLYING"),
        (lambda e: e.add_agent("a3", "cpus:1", capabilities=["FLYING"]), AllocatorError, "FLYING"),
        (lambda e: e.answer_inverse("f1", "a1", "MAYBE"), AllocatorError, "MAYBE"),
        (lambda e: e.set_unavailability("a1", math.nan), AllocatorError, "nan"),
        (lambda e: e.recover(5, {}), AllocatorError, "recover"),
    ],
    "half right": [
        (lambda e: e.update_agent("a1", resources="cpus:9", attributes=7), AllocatorError, "7"),
        (
            lambda e: e.update_agent("a1", resources="cpus:9", capabilities=["FLYING"]),
            AllocatorError,
            "FLYING",
        ),
        (
            lambda e: e.update_framework("f1", roles=["x"], capabilities=["FLYING"]),
            AllocatorError,
            "FLYING",
        ),
        (lambda e: e.update_framework("f1", roles=["x"], suppressed=["y"]), UnknownRole, "y"),
        (
            lambda e: e.update_framework("f1", min_allocatable=[], constraints="none"),
            ConstraintError,
            "none",
        ),
        (
            lambda e: e.add_resources("a1", "cpus:1", used={"f1": {"ops": "cpus:9"}}),
            ResourceError,
            "a1",
        ),
        (
            lambda e: e.add_agent("a3", "cpus:2", used={"f1": {"ops": "cpus:1", "..": "cpus:1"}}),
            InvalidRole,
            r"\.\.",
        ),
        (lambda e: e.set_whitelist(["h1", 7]), AllocatorError, "7"),
    ],
}

CASES = [
    pytest.param(*case, id=f"{about}-{n}")
    for about, cases in REFUSED.items()
    for n, case in enumerate(cases)
]


class TestRefusals:
    @pytest.mark.parametrize(("call", "error", "names"), CASES)
    def test_named_and_without_effect(self, engine, call, error, names):
        before = engine.snapshot()
        with pytest.raises(error, match=names) as raised:
            call(engine)
        assert isinstance(raised.value, AllocatorError)
        assert engine.snapshot() == before

    def test_a_refused_answer_leaves_the_offer_open(self, engine):
        engine.add_agent("a3", "cpus:1")
        (offer,) = engine.allocate(["a3"])
        before = engine.snapshot()
        for kept in ("cpus:2", "cpus:x", "mem:1"):
            with pytest.raises(ResourceError):
                engine.accept(offer, kept)
        with pytest.raises(AllocatorError, match="soon"):
            engine.decline(offer, refuse_seconds="soon")
        assert engine.snapshot() == before
        engine.accept(offer)

    def test_an_offer_of_another_life_is_gone(self, engine, make):
        other = make()
        other.add_agent("a1", "cpus:1")
        other.add_framework("f1")
        offers = [other.allocate()[0]]
        other.rescind(offers[0])
        with pytest.raises(OfferGone):
            other.accept(offers[0])


class TestClasses:
    @pytest.mark.parametrize("name", [n for n in allocator.__all__ if n.endswith("Error")])
    def test_one_root(self, name):
        assert issubclass(getattr(allocator, name), AllocatorError)

    @pytest.mark.parametrize(
        "error",
        [
            DuplicateAgent,
            DuplicateFramework,
            InvalidRole,
            OfferGone,
            UnknownAgent,
            UnknownFramework,
            UnknownRole,
        ],
    )
    def test_the_others_too(self, error):
        assert issubclass(error, AllocatorError)


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "names"),
        [
            ({"sorter": "bogus"}, "bogus"),
            ({"role_sorter": "bogus"}, "bogus"),
            ({"framework_sorter": "bogus"}, "bogus"),
            ({"role_sorter": ""}, "''"),
            ({"sorter_options": {"depth": 2}}, "'depth' is not among the options of drf: none"),
            (
                {"sorter_options": {"depth": 2}, "role_sorter": "random"},
                "'depth' is not among the options of random and drf: none",
            ),
            ({"sorter_options": {2: 2}}, "2 is not among the options of drf"),
            ({"sorter_options": ["depth"]}, "depth"),
            ({"sorter_options": "depth"}, "'depth'"),
            ({"allocation_interval": -1}, "-1"),
            ({"allocation_interval": math.nan}, "nan"),
            ({"recovery_timeout": -5}, "-5"),
            ({"recovery_factor": 1.5}, "1.5"),
            ({"recovery_factor": -0.5}, "-0.5"),
            ({"min_allocatable": ["cpus:x"]}, "x"),
            ({"seed": 1.5}, "1.5"),
            ({"clock": 17}, "17"),
        ],
    )
    @pytest.mark.parametrize("make", [Allocator, Reference])
    def test_a_bad_one_is_refused(self, make, options, names):
        with pytest.raises(AllocatorError, match=names):
            make(**options)

    @pytest.mark.parametrize("make", [Allocator, Reference])
    @pytest.mark.parametrize("sorter_options", [None, {}])
    def test_sorters_without_options_take_none(self, make, sorter_options):
        assert len(make(sorter_options=sorter_options).allocate()) == 0


@pytest.mark.parametrize("kind", [Allocator, Reference])
def test_cycles_are_counted_up_to_a_bound(kind):
    engine = kind(seed=7)
    engine.add_agent("a1", "cpus:4")
    engine.add_framework("f1")
    engine.skip_cycles(2**62 - 1)
    with pytest.raises(InvalidValue, match=r"the number of all cycles is at most 2\*\*62"):
        engine.skip_cycles(2)
    with pytest.raises(InvalidValue, match=r"a number of cycles .* an integer of 1001 bits"):
        engine.skip_cycles(2**1000)
    assert len(engine.allocate()) == 1
