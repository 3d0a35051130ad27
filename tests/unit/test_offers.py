"""`Offers`: made in columns by the engine, or from a list, it is the same sequence."""

import copy
import pickle

import numpy as np
import pytest

from allocator import Allocator, ManualClock, Offers


@pytest.fixture(params=["in columns", "listed"])
def offers(request: pytest.FixtureRequest) -> Offers:
    engine = Allocator(seed=3, clock=ManualClock())
    for n in range(5):
        engine.add_agent(f"a{n}", f"cpus:{n + 1};ports:[1-9]" if n % 2 else f"cpus:{n + 1};mem:8")
    engine.add_framework("f1", ["eng"])
    engine.add_framework("f2", ["eng", "ops"])
    made = engine.allocate()
    return made if request.param == "in columns" else Offers(list(made))


def test_it_is_a_sequence(offers: Offers) -> None:
    listed = list(offers)
    assert len(offers) == len(listed) == 5
    assert [offers[n] for n in range(-5, 5)] == listed * 2
    assert listed[2] in offers
    assert offers.index(listed[3]) == 3
    assert list(reversed(offers)) == listed[::-1]
    assert offers[np.int64(1)] == listed[1]
    with pytest.raises(IndexError):
        offers[5]


@pytest.mark.parametrize(
    ("selection", "places"),
    [
        (slice(1, 4, 2), [1, 3]),
        ([4, 0], [4, 0]),
        (np.array([2, -1]), [2, 4]),
        (np.array([True, False, False, True, False]), [0, 3]),
        ([False, True, False, False, False], [1]),
        ([], []),
        (slice(9, 3), []),
    ],
)
def test_selections_are_offers_again(offers: Offers, selection: object, places: list[int]) -> None:
    selected = offers[selection]  # type: ignore[index]
    assert isinstance(selected, Offers)
    assert list(selected) == [offers[place] for place in places]
    assert selected[:1] == offers[places[:1]]
    columns, whole = selected.columns(), offers.columns()
    assert [columns["agents"][n] for n in columns["agent"]] == [offers[p].agent for p in places]
    for name in columns["names"]:
        amounts = columns["quantities"][:, columns["names"].index(name)]
        assert (
            amounts.tolist() == whole["quantities"][:, whole["names"].index(name)][places].tolist()
        )


@pytest.mark.parametrize("selection", [[5], np.array([-6]), [True, False]])
def test_what_is_not_there_cannot_be_selected(offers: Offers, selection: object) -> None:
    with pytest.raises(IndexError):
        offers[selection]  # type: ignore[index]


def test_columns_say_what_the_offers_say(offers: Offers) -> None:
    columns = offers.columns()
    for kind in ("agent", "framework", "role"):
        assert columns[kind].dtype == np.int64
        said = [columns[f"{kind}s"][n] for n in columns[kind]]
        assert said == [getattr(offer, kind) for offer in offers]
        assert len(set(columns[f"{kind}s"])) == len(columns[f"{kind}s"])
    assert columns["quantities"].dtype == np.int64
    assert columns["names"] == ["cpus", "mem"]
    assert columns["quantities"].tolist() == [
        [offer.resources.quantities().milli.get(name, 0) for name in columns["names"]]
        for offer in offers
    ]


def test_it_outlives_the_engine_and_travels(offers: Offers) -> None:
    assert pickle.loads(pickle.dumps(offers)) == copy.deepcopy(offers) == offers
    assert [offer.framework for offer in offers] == [
        offer.framework
        for offer in sorted(
            (o for made in offers.by_framework().values() for o in made), key=list(offers).index
        )
    ]


def test_it_stays_what_was_offered() -> None:
    engine = Allocator(seed=3, clock=ManualClock())
    engine.add_agent("a1", "cpus:4")
    engine.add_framework("f1", ["eng"])
    offers = engine.allocate()
    engine.accept(offers[0], "cpus:1")
    engine.remove_agent("a1")
    engine.remove_framework("f1")
    engine.add_agent("a2", "mem:1")
    (offer,) = offers
    assert (offer.framework, offer.role, offer.agent, str(offer.resources)) == (
        "f1",
        "eng",
        "a1",
        "cpus:4",
    )
