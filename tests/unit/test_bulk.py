"""Many at once: what bulk calls do, against as many single ones, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator import Allocator, AllocatorError, ManualClock, Offer, Offers, Resources
from allocator.engine.columns import read_milli_array
from allocator.errors import (
    ConstraintError,
    DuplicateAgent,
    DuplicateFramework,
    InvalidRole,
    InvalidValue,
    OfferGone,
    QuotaError,
    ResourceError,
    UnknownAgent,
    UnknownRole,
)
from allocator.resources.fixed import read_milli
from tests.invariants import check

SHARED = {
    "name": "disk",
    "type": "SCALAR",
    "scalar": {"value": 4},
    "disk": {"persistence": {"id": "v1"}},
    "shared": {},
}
ENTRY = {"name": "cpus", "type": "SCALAR", "scalar": {"value": 2}, "reservations": []}
IDS = ["a1", "a2", "a3"]
#: Forms of the resources of three agents, and the same for each of them.
FORMS: list[tuple[Any, list[Any]]] = [
    ("cpus:8;mem:64;ports:[1-9]", ["cpus:8;mem:64;ports:[1-9]"] * 3),
    (Resources("cpus(eng):8"), ["cpus(eng):8"] * 3),
    ({"cpus": 8, "ports": "[1-9]"}, ["cpus:8;ports:[1-9]"] * 3),
    (ENTRY, ["cpus:2"] * 3),
    ([ENTRY, {**ENTRY, "revocable": {}}], [[ENTRY, {**ENTRY, "revocable": {}}]] * 3),
    ({"cpus": [1, 2, 3], "mem": 4}, ["cpus:1;mem:4", "cpus:2;mem:4", "cpus:3;mem:4"]),
    (
        {"cpus": np.array([1.5, 0, 0.0005]), "mem": (1, 2, 3), "ports": "[1-2]"},
        ["cpus:1.5;mem:1;ports:[1-2]", "mem:2;ports:[1-2]", "cpus:0.001;mem:3;ports:[1-2]"],
    ),
    ({"cpus": np.array([1, 2, 3], np.uint8)}, ["cpus:1", "cpus:2", "cpus:3"]),
    ({"cpus": np.array([0.1, 2.0005, 3], np.float32)}, ["cpus:0.1", "cpus:2.001", "cpus:3"]),
    (
        {"cpus": [Decimal("1.5"), Fraction(1, 2), np.float32(0.1)]},
        ["cpus:1.5", "cpus:0.5", "cpus:0.1"],
    ),
    (
        [Resources("cpus:1"), Resources([SHARED]), Resources()],
        [Resources("cpus:1"), Resources([SHARED]), ""],
    ),
    (["cpus:1", Resources("cpus:2"), "mem:3"], ["cpus:1", "cpus:2", "mem:3"]),
]


def fresh(sorter: str = "drf") -> Allocator:
    """Return an engine with two frameworks, in clusters of roles of which one has a quota."""
    engine = Allocator(seed=7, sorter=sorter, clock=ManualClock())
    engine.add_framework("f1", ["eng"], capabilities=["SHARED_RESOURCES"])
    engine.add_framework("f2", ["ops", "eng/prod"])
    engine.set_quota("eng", guarantee="cpus:2", limit="mem:100")
    return engine


def with_offers(n: int = 4) -> tuple[Allocator, Offers]:
    """Return an engine and n open offers of `cpus:8;mem:64`."""
    engine = Allocator(seed=7, clock=ManualClock())
    engine.add_agents([f"a{i}" for i in range(n)], "cpus:8;mem:64")
    engine.add_framework("f1")
    offers = engine.allocate()
    assert len(offers) == n
    return engine, offers


def same(engine: Allocator, twin: Allocator) -> None:
    """Check that two engines are in one state and go on alike."""
    assert engine.snapshot() == twin.snapshot()
    assert engine.allocate() == twin.allocate()
    assert engine.snapshot() == twin.snapshot()
    if len(engine.snapshot()["agents"]) < 100:
        check(engine)


def refused(engine: Allocator, error: type[AllocatorError], call: Callable[[], object]) -> str:
    """Check that a call is refused and changes nothing; return what it says."""
    before = engine.snapshot()
    with pytest.raises(error) as caught:
        call()
    assert engine.snapshot() == before
    check(engine)
    return str(caught.value)


# Agents.


@pytest.mark.parametrize("sorter", ["drf", "naive", "sorted", "random"])
@pytest.mark.parametrize(("form", "each"), FORMS)
def test_added_agents_are_as_if_added_one_by_one(sorter: str, form: Any, each: list[Any]) -> None:
    engine, twin = fresh(sorter), fresh(sorter)
    engine.add_agents(IDS, form)
    for id, resources in zip(IDS, each, strict=True):
        twin.add_agent(id, resources)
    same(engine, twin)


@pytest.mark.parametrize(("form", "each"), FORMS)
def test_updated_agents_are_as_if_updated_one_by_one(form: Any, each: list[Any]) -> None:
    engine, twin = fresh(), fresh()
    for one in (engine, twin):
        one.add_agents(IDS, {"cpus": [4, 2, 1], "mem": 32, "gpus": 1})
        one.accept(one.allocate())
    engine.update_agents(IDS, form)
    for id, resources in zip(IDS, each, strict=True):
        twin.update_agent(id, resources=resources)
    same(engine, twin)


@pytest.mark.parametrize("sorter", ["drf", "naive"])
def test_what_is_in_use_is_as_if_said_one_by_one(sorter: str) -> None:
    engine, twin = fresh(sorter), fresh(sorter)
    frameworks, roles = ["f1", "f2", "f9"], ["eng", "eng/prod", "web"]
    used = {"framework": frameworks, "role": roles, "resources": {"cpus": [1, 2, 0.5]}}
    engine.add_agents(IDS, "cpus:8;mem:64", used=used)
    for id, framework, role, cpus in zip(IDS, frameworks, roles, [1, 2, 0.5], strict=True):
        twin.add_agent(id, "cpus:8;mem:64", used={framework: {role: {"cpus": cpus}}})
    same(engine, twin)
    for one in (engine, twin):
        one.add_framework("f9", ["web"])
    same(engine, twin)
    assert engine.framework("f9").allocated["a3"]["web"] == Resources("cpus:0.5")


def test_one_framework_and_role_stand_for_all_and_nothing_used_is_nothing() -> None:
    engine = fresh()
    used = {"framework": "f1", "role": "eng", "resources": {"cpus": [1, 0, 2]}}
    engine.add_agents(IDS, "cpus:8", used=used)
    assert engine.framework("f1").allocated.keys() == {"a1", "a3"}


def test_one_copy_of_a_shared_entry_may_be_in_use_several_times() -> None:
    engine = fresh()
    copies = Resources([SHARED, SHARED])
    used = {"framework": "f1", "role": "eng", "resources": copies}
    engine.add_agents(["a1"], [SHARED], used=used)
    assert engine.agent("a1").allocated == copies


def test_further_columns_are_those_of_single_calls() -> None:
    engine, twin = fresh(), fresh()
    attributes = [{"rack": "a"}, None, [{"name": "x", "type": "TEXT", "text": {"value": "y"}}]]
    engine.add_agents(
        np.array(IDS),
        "cpus:1",
        hostnames=("h1", "h2", "h1"),
        attributes=attributes,
        capabilities=["MULTI_ROLE"],
        region="r1",
        zone="z1",
    )
    for id, host, own in zip(IDS, ["h1", "h2", "h1"], attributes, strict=True):
        capabilities = ["MULTI_ROLE"]
        twin.add_agent(
            id,
            "cpus:1",
            hostname=host,
            attributes=own,
            capabilities=capabilities,
            region="r1",
            zone="z1",
        )
    same(engine, twin)


def test_agents_that_come_at_once_end_a_recovery_and_are_told_of() -> None:
    engine = Allocator(seed=1, clock=ManualClock())
    engine.recover(4, {"eng": {"guarantee": "cpus:1"}})
    engine.add_framework("f1")
    changes = engine.changes()
    engine.add_agents(IDS, "cpus:1")
    assert changes.take() == [*(("agent", id) for id in IDS), ("engine", "")]
    engine.update_agents(IDS[:2], "cpus:2")
    assert changes.take() == [*(("agent", id) for id in IDS[:2]), ("engine", "")]
    assert engine.allocate()


def test_none_at_all() -> None:
    engine = fresh()
    before = engine.snapshot()
    engine.add_agents([], {"cpus": []})
    engine.update_agents([], "cpus:1")
    engine.add_frameworks([], [])
    engine.set_weights({})
    engine.set_quotas({})
    engine.accept([])
    engine.release([])
    assert engine.snapshot() == before


USED = {"framework": "f1", "role": "eng", "resources": "cpus:1"}
WRONG: list[tuple[type[AllocatorError], str, dict[str, Any]]] = [
    (DuplicateAgent, "'old'", {"ids": ["a1", "old", "a3"]}),
    (DuplicateAgent, "'a1' is there twice", {"ids": ["a1", "a2", "a1"]}),
    (InvalidValue, "''", {"ids": ["a1", "", "a3"]}),
    (InvalidValue, "'a12'", {"ids": "a12"}),
    (InvalidValue, "7", {"ids": 7}),
    (InvalidValue, "2 hostnames for 3 agents", {"hostnames": ["h1", "h2"]}),
    (InvalidValue, "None", {"hostnames": ["h1", "h2", None]}),
    (InvalidValue, "2 attributes for 3 agents", {"attributes": [{}, {}]}),
    (InvalidValue, "'rack'", {"attributes": "rack"}),
    (InvalidValue, "'FLYING'", {"capabilities": ["FLYING"]}),
    (InvalidValue, "region", {"region": 1}),
    (InvalidValue, "2 amounts of 'cpus' for 3 agents", {"resources": {"cpus": [1, 2]}}),
    (InvalidValue, "2 dimensions", {"resources": {"cpus": np.ones((3, 1))}}),
    (InvalidValue, "2 resources for 3", {"resources": [Resources("cpus:1")] * 2}),
    (InvalidValue, "2 resources for 3", {"resources": ["cpus:1", "cpus:2"]}),
    (ResourceError, "'cpus': the amount -1.0 is neg", {"resources": {"cpus": [1.0, -1.0, 2.0]}}),
    (ResourceError, "-1", {"resources": {"cpus": np.array([1, -1, 2])}}),
    (ResourceError, "nan", {"resources": {"cpus": np.array([1, math.nan, 2])}}),
    (ResourceError, "inf", {"resources": {"cpus": np.array([1, math.inf, 2])}}),
    (ResourceError, "over-large", {"resources": {"cpus": np.array([1, 2**60, 2])}}),
    (ResourceError, "1e+300", {"resources": {"cpus": [1.0, 1e300, 2.0]}}),
    (ResourceError, "rounds to 0", {"resources": {"cpus": np.array([1, 1e-9, 2])}}),
    (ResourceError, "True", {"resources": {"cpus": [True, False, True]}}),
    (ResourceError, "'a b'", {"resources": {"a b": [1, 2, 3]}}),
    (ResourceError, "nonsense", {"resources": "nonsense"}),
    (ResourceError, "cpus", {"resources": {"cpus": [9 * 10**15, 1, 10**15]}}),
    (ResourceError, "'a2' uses more", {"used": {**USED, "resources": {"cpus": [1, 9, 1]}}}),
    (ResourceError, "'a1' uses more", {"used": {**USED, "resources": [SHARED]}}),
    (InvalidRole, "'eng/'", {"used": {**USED, "role": ["eng", "eng/", "eng"]}}),
    (InvalidValue, "2 frameworks for 3", {"used": {**USED, "framework": ["f1", "f2"]}}),
    (InvalidValue, "''", {"used": {**USED, "framework": ""}}),
    (InvalidValue, "used", {"used": {"f1": {"eng": "cpus:1"}}}),
    (InvalidValue, "used", {"used": ["f1"]}),
    (InvalidValue, "role", {"used": {**USED, "role": 3}}),
]


@pytest.mark.parametrize(("error", "words", "wrong"), WRONG)
def test_refused_agents_leave_everything_as_it_was(
    error: type[AllocatorError], words: str, wrong: dict[str, Any]
) -> None:
    engine = fresh()
    engine.add_agent("old", "cpus:1")
    given = {"ids": IDS, "resources": "cpus:8", **wrong}
    assert words in refused(engine, error, lambda: engine.add_agents(**given))
    engine.add_agents(IDS, "cpus:8", used=USED)  # nothing is left of the refused call


@pytest.mark.parametrize(
    ("error", "words", "ids", "resources"),
    [
        (UnknownAgent, "'a9'", ["a1", "a9"], "cpus:1"),
        (InvalidValue, "'a1' is there twice", ["a1", "a1"], "cpus:1"),
        (InvalidValue, "'a1'", "a1", "cpus:1"),
        (ResourceError, "-2", ["a1", "a2"], {"cpus": [1, -2]}),
        (ResourceError, "cpus", ["a1", "a2"], {"cpus": [9 * 10**15, 10**15]}),
    ],
)
def test_refused_updates_leave_everything_as_it_was(
    error: type[AllocatorError], words: str, ids: Any, resources: Any
) -> None:
    engine = fresh()
    engine.add_agents(IDS, "cpus:8")
    assert words in refused(engine, error, lambda: engine.update_agents(ids, resources))


def test_ten_thousand_agents_of_their_own_each() -> None:
    n = 10_000
    random = np.random.default_rng(3)
    cpus = random.integers(1, 64_000, n) / 1000
    engine, twin = (Allocator(seed=7, clock=ManualClock()) for _ in range(2))
    ids = [f"a{i}" for i in range(n)]
    used = {"framework": [f"f{i % 50}" for i in range(n)], "role": "*", "resources": "cpus:0.001"}
    engine.add_agents(ids, {"cpus": cpus, "mem": 1024}, used=used)
    for i, id in enumerate(ids):
        total = {"cpus": float(cpus[i]), "mem": 1024}
        twin.add_agent(id, total, used={f"f{i % 50}": {"*": "cpus:0.001"}})
    assert engine.snapshot() == twin.snapshot()
    for one in (engine, twin):
        one.add_frameworks([f"f{i}" for i in range(50)])
    same(engine, twin)


# Amounts in arrays.

near_halves = st.integers(0, 10**9).map(lambda milli: (2 * milli + 1) / 2000)
amounts = st.one_of(near_halves, st.floats(0, 1e12), st.sampled_from([0.0, -0.0, 0.0005, 2.0**50]))


@given(st.lists(amounts), st.sampled_from([np.float16, np.float32, np.float64, np.longdouble]))
def test_arrays_are_read_as_their_numbers_are(numbers: list[float], kind: type[Any]) -> None:
    with np.errstate(over="ignore"):
        array = np.array(numbers, kind)
    try:
        expected = [read_milli(number) for number in array]
    except ResourceError:
        with pytest.raises(ResourceError):
            read_milli_array(array)
    else:
        assert read_milli_array(array).tolist() == expected


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_integers_are_read_as_they_are(numbers: list[int]) -> None:
    array = np.array(numbers, np.int64)
    if all(0 <= 1000 * number < 2**63 for number in numbers):
        assert read_milli_array(array).tolist() == [1000 * number for number in numbers]
    else:
        with pytest.raises(ResourceError):
            read_milli_array(array)


# Frameworks and policy.


def test_added_frameworks_are_as_if_added_one_by_one() -> None:
    engine, twin = fresh(), fresh()
    for one in (engine, twin):
        one.add_agent("a1", "cpus:8;mem:64", used={"f4": {"web": "cpus:1"}})
    more: dict[str, Any] = {
        "capabilities": ["GPU_RESOURCES"],
        "min_allocatable": ["cpus:1"],
        "suppressed": ["web"],
        "constraints": {"role_constraints": {}},
    }
    engine.add_frameworks(["f3", "f4"], ["web", "eng/prod/x"], **more)
    engine.add_frameworks(("f5", "f6"), (("ops",), ["ops", "eng"]), active=False)
    for id in ("f3", "f4"):
        twin.add_framework(id, ["web", "eng/prod/x"], **more)
    twin.add_framework("f5", ["ops"], active=False)
    twin.add_framework("f6", ["ops", "eng"], active=False)
    same(engine, twin)


@pytest.mark.parametrize(
    ("error", "words", "given"),
    [
        (DuplicateFramework, "'f1'", {"ids": ["f8", "f1"]}),
        (DuplicateFramework, "'f8' is there twice", {"ids": ["f8", "f8"]}),
        (InvalidValue, "''", {"ids": ["f8", ""]}),
        (InvalidRole, "'eng/'", {"roles": [["eng"], ["eng/"]]}),
        (InvalidValue, "2", {"ids": ["f8", "f9", "f10"], "roles": [["eng"], ["ops"]]}),
        (InvalidValue, "'eng'", {"roles": "eng"}),
        (UnknownRole, "'f9'", {"roles": [["eng"], ["ops"]], "suppressed": ["eng"]}),
        (InvalidValue, "'FLYING'", {"capabilities": ["FLYING"]}),
        (ConstraintError, "'eng'", {"constraints": {"role_constraints": {"eng": {}}}}),
    ],
)
def test_refused_frameworks_leave_everything_as_it_was(
    error: type[AllocatorError], words: str, given: dict[str, Any]
) -> None:
    engine = fresh()
    arguments = {"ids": ["f8", "f9"], **given}
    assert words in refused(engine, error, lambda: engine.add_frameworks(**arguments))


def test_weights_and_quotas_are_set_all_or_none() -> None:
    engine, twin = fresh(), fresh()
    engine.set_weights({"eng": 2.0, "ops": 0.5, "new/one": 3, "f2": 1.0})
    for role, weight in {"eng": 2.0, "ops": 0.5, "new/one": 3}.items():
        twin.set_weight(role, weight)
    # The child is more than the parent had, and fits into what it has in the end.
    engine.set_quotas({"eng/prod": {"guarantee": "cpus:5"}, "eng": {"guarantee": "cpus:6"}})
    twin.set_quota("eng", guarantee="cpus:6")
    twin.set_quota("eng/prod", guarantee="cpus:5")
    same(engine, twin)
    refused(engine, InvalidValue, lambda: engine.set_weights({"eng": 1.0, "ops": math.nan}))
    refused(engine, InvalidRole, lambda: engine.set_weights({"eng": 1.0, "ops/": 1.0}))
    refused(engine, InvalidValue, lambda: engine.set_weights(3))  # type: ignore[arg-type]
    over = {"ops": {"limit": "cpus:1"}, "eng": {"guarantee": "cpus:4"}}
    assert "'eng'" in refused(engine, QuotaError, lambda: engine.set_quotas(over))
    unread = {"eng": {"guarantee": "cpus:9"}, "ops": {"limit": "x"}}
    refused(engine, ResourceError, lambda: engine.set_quotas(unread))
    refused(engine, InvalidValue, lambda: engine.set_quotas({"eng": {"most": "cpus:9"}}))
    engine.set_quotas({"eng": {}, "eng/prod": {}})
    assert not engine.role("eng").quota.guarantee


# Answers.


def test_several_offers_are_named_in_any_way() -> None:
    ways: list[Callable[[Offers], Any]] = [
        lambda offers: offers,
        lambda offers: offers[:],
        lambda offers: offers[np.ones(len(offers), bool)],
        lambda offers: offers[[3, 1, 0, 2]],
        list,
        tuple,
        lambda offers: (offer.id for offer in offers),
        lambda offers: np.array([offer.id for offer in offers]),
        lambda offers: {offer.id: None for offer in offers}.keys(),
    ]
    for way in ways:
        engine, offers = with_offers()
        engine.accept(way(offers), "cpus:2")
        assert engine.framework("f1").allocated.keys() == {"a0", "a1", "a2", "a3"}
        engine.release(offers, resources="cpus:1")
        engine.release(iter(list(offers)), resources={"cpus": [1, 1, 1, 1]})
        assert not engine.framework("f1").allocated


def test_each_offer_has_a_part_of_its_own() -> None:
    engine, offers = with_offers(2)
    engine.accept(offers, {"cpus": np.array([1.5, 0]), "mem": 1})
    allocated = engine.framework("f1").allocated
    assert allocated[offers[0].agent]["*"] == Resources("cpus:1.5;mem:1")
    assert allocated[offers[1].agent]["*"] == Resources("mem:1")
    offers = engine.allocate()
    engine.accept(offers, [Resources("mem:1"), Resources()])
    assert engine.framework("f1").allocated[offers[0].agent]["*"]["mem"] == 2


def test_a_list_of_resources_for_one_offer_adds_up() -> None:
    engine, offers = with_offers(1)
    engine.accept(offers[0], [Resources("cpus:1"), Resources("mem:1")])
    assert engine.agent("a0").allocated == Resources("cpus:1;mem:1")


@pytest.mark.parametrize(
    ("error", "words", "answer"),
    [
        (OfferGone, "'O1' is there twice", lambda e, o: e.accept(["O1", "O2", "O1"])),
        (OfferGone, "'O9'", lambda e, o: e.decline([*o, "O9"])),
        (OfferGone, "'O3'", lambda e, o: e.accept(e.rescind("O3") or o)),
        (InvalidValue, "None", lambda e, o: e.rescind([o[0], None])),
        (InvalidValue, "7", lambda e, o: e.accept(7)),
        (ResourceError, "cpus:9", lambda e, o: e.accept(o, {"cpus": [8, 8, 9, 8]})),
        (ResourceError, "-1", lambda e, o: e.accept(o, {"cpus": [8, 8, -1, 8]})),
        (
            InvalidValue,
            "3 amounts of 'cpus' for 4 offers",
            lambda e, o: e.accept(o, {"cpus": [1] * 3}),
        ),
        (InvalidValue, "2 resources for 4", lambda e, o: e.accept(o, [Resources("cpus:1")] * 2)),
        (InvalidValue, "refuse_seconds", lambda e, o: e.decline(o, refuse_seconds=[5.0] * 3)),
        (InvalidValue, "'5'", lambda e, o: e.decline(o, refuse_seconds=[5, None, 1, "5"])),
        (InvalidValue, "True", lambda e, o: e.decline(o, refuse_seconds=np.ones(4, bool))),
        (InvalidValue, "4", lambda e, o: e.decline(o, refuse_seconds=np.ones((4, 1)))),
        (InvalidValue, "one offer", lambda e, o: e.decline(o[0], refuse_seconds=[5.0])),
        (ResourceError, "'f1' uses nothing", lambda e, o: e.release(o)),
        (InvalidValue, "'O1'", lambda e, o: e.release(["O1"])),
        (InvalidValue, "several offers", lambda e, o: e.release(o[0])),
    ],
)
def test_refused_answers_leave_everything_as_it_was(
    error: type[AllocatorError], words: str, answer: Callable[[Allocator, Offers], object]
) -> None:
    engine, offers = with_offers()
    if "O3" in words:
        engine.rescind("O3")
        answer = lambda e, o: e.accept(o)  # noqa: E731
    assert words in refused(engine, error, lambda: answer(engine, offers))


def test_a_mask_of_another_length_is_no_selection() -> None:
    _, offers = with_offers()
    for wrong in (np.ones(3, bool), np.ones(5, bool), [0, 4], [True, False]):
        with pytest.raises(IndexError):
            offers[wrong]


TIMES = [0, None, math.nan, -1, 0.25, 7, math.inf, 1e9]


def test_each_refusal_has_a_time_of_its_own() -> None:
    engine, offers = with_offers(len(TIMES))
    engine.decline(offers, refuse_seconds=TIMES)
    twin, same_offers = with_offers(len(TIMES))
    for offer, seconds in zip(same_offers, TIMES, strict=True):
        twin.decline(offer, refuse_seconds=seconds)
    assert engine.snapshot() == twin.snapshot()
    # In an array None has no place; 0 makes no filter either.
    third, offers = with_offers(len(TIMES))
    third.decline(offers, refuse_seconds=np.array([seconds or 0 for seconds in TIMES]))
    assert third.snapshot() == twin.snapshot()


def test_releasing_one_offer_twice_over_is_refused_as_a_whole() -> None:
    engine, offers = with_offers()
    engine.accept(offers)
    refused(engine, ResourceError, lambda: engine.release([*offers, offers[0]]))
    halves: list[Offer] = [*offers, *offers]
    engine.release(halves, resources="cpus:4;mem:32")
    assert not engine.framework("f1").allocated
