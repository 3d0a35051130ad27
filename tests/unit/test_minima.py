"""What an offer must at least contain: the engine's compiled minima against `counts` of values."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator import Allocator, ManualClock
from allocator.engine import _minima
from allocator.reference import Allocator as Reference
from allocator.resources import Quantities, Resources
from tests import strategies

MAX_MILLI = 2**63 - 1
#: The most elements that can be told in 1/1000.
MOST = MAX_MILLI // 1000
#: Sees whatever is not reserved elsewhere.
ALL = ("REVOCABLE_RESOURCES", "SHARED_RESOURCES", "RESERVATION_REFINEMENT", "GPU_RESOURCES")
NAMES = (
    *strategies.SCALAR_NAMES,
    *strategies.RANGES_NAMES,
    *strategies.SET_NAMES,
    "what-nobody-has",
)

amounts = st.dictionaries(
    st.sampled_from(NAMES),
    st.one_of(st.integers(1, 5), st.integers(1, 8).map(lambda n: n * 1000), strategies.milli()),
    max_size=3,
).map(Quantities.from_milli)
minima = st.lists(amounts, max_size=3).map(tuple)


def suffices(resources: Resources, minimum: tuple[Quantities, ...]) -> bool:
    """Return what the contract says: any one of the amounts is contained."""
    return not minimum or any(resources.counts() >= each for each in minimum)


def one_framework(kind: type[Allocator], **minimum: object) -> Allocator:
    engine = kind(seed=1, clock=ManualClock(), filter_gpus=False)
    engine.add_framework("f", roles=["eng/prod/web"], capabilities=ALL, **minimum)
    return engine


def test_the_module_is_compiled() -> None:
    assert _minima.__file__.endswith(tuple(EXTENSION_SUFFIXES))


@given(st.lists(st.tuples(strategies.resources(), minima), min_size=1, max_size=5))
def test_an_offer_is_made_where_its_counts_are_enough(
    steps: list[tuple[Resources, tuple[Quantities, ...]]],
) -> None:
    # Names come with the minima, with the agents, as scalars, ranges and sets, one after the other.
    engine = one_framework(Allocator)
    for i, (resources, minimum) in enumerate(steps):
        engine.update_framework("f", min_allocatable=minimum)
        engine.add_agent(f"a{i}", resources)
        visible = resources.allocatable_to("eng/prod/web")
        offered = {offer.agent: offer.resources for offer in engine.allocate()}
        assert (f"a{i}" in offered) == (bool(visible) and suffices(visible, minimum))
        engine.remove_agent(f"a{i}")


@given(st.lists(st.tuples(strategies.resources(), minima), min_size=1, max_size=4), minima, minima)
def test_engine_and_reference_take_the_same_for_enough(
    steps: list[tuple[Resources, tuple[Quantities, ...]]],
    default: tuple[Quantities, ...],
    own: tuple[Quantities, ...],
) -> None:
    made = []
    for kind in (Allocator, Reference):
        engine = kind(seed=1, clock=ManualClock(), filter_gpus=False, min_allocatable=default)
        engine.add_framework("f", ["eng", "ops"], capabilities=ALL, min_allocatable={"eng": own})
        offers = []
        for i, (resources, minimum) in enumerate(steps):
            engine.add_framework(f"f{i}", ["ops"], capabilities=ALL, min_allocatable=minimum)
            engine.add_agent(f"a{i}", resources)
            offers.append([tuple(offer) for offer in engine.allocate()])
        made.append(offers)
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("resources", "least", "offered"),
    [
        # 2**63 ports are more than an int64 holds in 1/1000, and count as the most that it does.
        (f"ports:[0-{MAX_MILLI}]", MAX_MILLI, True),
        (f"ports:[1-{MOST}]", 1000 * MOST, True),
        (f"ports:[1-{MOST}]", 1000 * MOST + 1, False),
        (f"ports:[1-{MOST}]", MAX_MILLI, False),
        (f"ports:[1-{MOST}];ports(eng):[1-1]", MAX_MILLI, True),
        (f"ports:[1-{MOST - 1}];ports(eng):[1-1]", 1000 * MOST, True),
        (f"ports:[1-{MOST - 1}];ports(eng):[1-1]", 1000 * MOST + 1, False),
    ],
)
@pytest.mark.parametrize("kind", [Allocator, Reference])
def test_counts_near_the_largest_amount(
    kind: type[Allocator], resources: str, least: int, offered: bool
) -> None:
    engine = one_framework(kind, min_allocatable=[Quantities.from_milli({"ports": least})])
    engine.add_agent("a", resources)
    assert bool(engine.allocate()) is offered


@pytest.mark.parametrize("kind", [Allocator, Reference])
def test_scalars_of_all_kinds_count_together(kind: type[Allocator]) -> None:
    engine = one_framework(kind, min_allocatable=["cpus:3"])
    engine.add_agent("a", "cpus:1;cpus(eng):1;cpus(eng/prod):0.999;ports:[1-9]")
    assert not engine.allocate()
    engine.update_agent("a", resources="cpus:1;cpus(eng):1;cpus(eng/prod):1;ports:[1-9]")
    assert len(engine.allocate()) == 1


@pytest.mark.parametrize("kind", [Allocator, Reference])
def test_a_name_is_what_it_is_where_it_is(kind: type[Allocator]) -> None:
    # One agent has "slots" as a range, another as a scalar; 70 more names share the last bit.
    engine = one_framework(kind, min_allocatable=["slots:2"])
    engine.add_agent("many", ";".join(f"n{i}:1" for i in range(70)))
    engine.add_agent("range", "slots:[5-5]")
    engine.add_agent("scalar", "slots:1.999")
    assert not engine.allocate()
    engine.update_agent("range", resources="slots:[5-6]")
    assert [offer.agent for offer in engine.allocate()] == ["range"]
    engine.update_agent("scalar", resources="slots:2")
    assert [offer.agent for offer in engine.allocate()] == ["scalar"]


def test_a_fork_measures_by_its_own_names() -> None:
    engine = one_framework(Allocator, min_allocatable=["x:1", "y:2"])
    twin = engine.fork()
    engine.add_agent("a", "z:1;y:1")
    twin.add_agent("a", "y:2;z:1")
    assert not engine.allocate()
    assert len(twin.allocate()) == 1
    engine.update_agent("a", resources="z:1;y:1;x:1")
    assert len(engine.allocate()) == 1
