"""Quantities: how much, without which."""

from typing import Any

import pytest
from hypothesis import given

from allocator.errors import ResourceError
from allocator.resources import Quantities, Resource, Resources, read_limits
from tests import strategies as own


@pytest.mark.parametrize(
    "source",
    [
        "cpus:1.5;mem:64",
        "mem:60;cpus:1.5;mem:4;gpus:0",
        {"cpus": 1.5, "mem": "64"},
        '{"cpus": 1.5, "mem": 64}',
        [{"name": "cpus", "scalar": {"value": 1.5}}, {"name": "mem", "scalar": {"value": 64}}],
        ("cpus:1.5", "mem:64"),
        Resources("cpus:1;cpus(eng):0.5;mem(ops):64;ports:[1-2];models:{a}"),
        Quantities("cpus:1.5;mem:64"),
    ],
)
def test_everything_that_stands_for_quantities(source: Any) -> None:
    found = Quantities(source)
    assert found == Quantities("cpus:1.5;mem:64")
    assert found.milli == {"cpus": 1500, "mem": 64000}
    assert str(found) == "cpus:1.5;mem:64"


def test_an_entry_stands_for_its_own_quantities() -> None:
    assert Quantities(Resource("cpus(eng):2")) == {"cpus": 2}
    assert Quantities(Resource("cpus:0")) == {}
    assert Quantities(Resource("ports:[1-2]")) == {}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("ports:[1-2]", "'ports' is not a plain scalar"),
        ("cpus:1;models:{a}", "'models' is not a plain scalar"),
        ({"cpus": 1, "ports": "[1-2]"}, "'ports' is not a plain scalar"),
        ("cpus(eng):1", "'cpus' is not a plain scalar"),
        ("ports:[]", "'ports' is not a plain scalar"),
        ("cpus:-1", "'cpus:-1'"),
        ("cpus:9e15;cpus:9e15", "over-large"),
        ({"cpus": float("nan")}, "nan is not finite"),
        (5, "5 is not resources"),
        (None, "None is not resources"),
    ],
)
def test_anything_but_plain_scalars_is_refused(source: Any, reason: str) -> None:
    with pytest.raises(ResourceError) as caught:
        Quantities(source)
    assert reason in str(caught.value)


def test_limits_keep_their_zeros() -> None:
    assert read_limits("cpus:0;mem:1.5;mem:1") == {"cpus": 0, "mem": 2500}
    assert read_limits({"cpus": 0}) == {"cpus": 0}
    assert read_limits(Resources("cpus:1;cpus(eng):1")) == {"cpus": 2000}
    assert read_limits("") == {}
    with pytest.raises(ResourceError, match="'ports' is not a plain scalar"):
        read_limits("cpus:0;ports:[1-2]")


def test_quantities_are_a_mapping() -> None:
    found = Quantities("cpus:1.5;mem:64")
    assert dict(found) == {"cpus": 1.5, "mem": 64.0}
    assert len(found) == 2
    assert "cpus" in found
    assert "gpus" not in found
    assert found["gpus"] == 0.0
    assert found.get("gpus") is None
    assert found.get("gpus", 7.0) == 7.0
    assert found.get("cpus", 7.0) == 1.5
    assert bool(found)
    assert not Quantities()
    assert Quantities(dict(found)) == found
    assert repr(found) == "Quantities('cpus:1.5;mem:64')"


def test_equality_with_any_mapping() -> None:
    found = Quantities("cpus:0.3")
    assert found == {"cpus": 0.1 + 0.2}  # 0.30000000000000004 rounds to 0.3
    assert found == {"cpus": 0.3, "mem": 0}
    assert found == {"cpus": 0.3}
    assert found != {"cpus": 0.301}
    assert found != {"cpus": "[1-2]"}
    assert found != {5: 0.3}
    assert found != "cpus:0.3"
    assert hash(found) == hash(Quantities({"cpus": 0.3, "mem": 0}))


def test_containment_is_name_by_name() -> None:
    found = Quantities("cpus:2;mem:64")
    assert found >= "cpus:2"
    assert found >= {}
    assert found >= {"cpus": 1}
    assert not found >= "cpus:2.001"
    assert not found >= "gpus:1"
    assert not found <= "cpus:2"
    assert found <= "cpus:2;mem:64;gpus:1"


def test_arithmetic() -> None:
    found = Quantities("cpus:2;mem:64")
    assert found + {"cpus": 1, "gpus": 1} == {"cpus": 3, "mem": 64, "gpus": 1}
    assert "cpus:1" + found == {"cpus": 3, "mem": 64}
    assert found - "cpus:2" == {"mem": 64}
    assert "cpus:5;mem:64" - found == {"cpus": 3}
    assert found + Resources("cpus(eng):1") == {"cpus": 3, "mem": 64}
    assert found.minus_floor("cpus:3;mem:1;gpus:1") == {"mem": 63}
    with pytest.raises(ResourceError, match="'cpus:3' is not contained in 'cpus:2;mem:64'"):
        found - "cpus:3"
    with pytest.raises(ResourceError, match="'gpus:1' is not contained in"):
        found - "gpus:1"


def test_a_name_that_text_cannot_say_reads_back() -> None:
    odd = Resources([{"name": "a b", "scalar": {"value": 1.5}}]).quantities()
    assert str(odd).startswith("[{")
    assert Quantities(str(odd)) == odd


@given(own.quantities(), own.quantities(), own.quantities())
def test_laws(a: Quantities, b: Quantities, c: Quantities) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert (a + b) - b == a
    assert a + b >= a
    assert a.minus_floor(b) + b >= a
    assert (a.minus_floor(b) == {}) == (b >= a)
    assert a.minus_floor(Quantities()) == a
    names = a.milli.keys() | b.milli.keys()
    assert (a >= b) == all(a.milli.get(name, 0) >= b.milli.get(name, 0) for name in names)
    assert 0 not in a.minus_floor(b).milli.values()


@given(own.resources())
def test_the_quantities_of_resources_are_their_sums(value: Resources) -> None:
    expected: dict[str, int] = {}
    for entry in value:
        if isinstance(entry.value, int):
            expected[entry.name] = expected.get(entry.name, 0) + entry.value
    assert value.quantities().milli == expected
    assert value.quantities() is value.quantities()
    assert Quantities(value) is value.quantities()
    assert all(value[name] == milli / 1000 for name, milli in expected.items())
