"""The order of agents: one hash in the engine and in the reference, and the sort by it."""

from __future__ import annotations

import random
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.engine import _order
from allocator.reference import order as reference
from tests.compiled.order import sorted_by_place

WORDS = st.integers(0, 2**64 - 1)
#: Text of any code points, lone surrogates too.
TEXTS = st.text(st.characters(exclude_categories=()))


def test_the_compiled_module_is_in_use() -> None:
    assert _order.__file__.endswith(tuple(EXTENSION_SUFFIXES))


def test_without_the_compiled_module_there_is_no_slow_path() -> None:
    script = "import sys; sys.modules['allocator.engine._order'] = None; import allocator.engine"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    last = run.stderr.splitlines()[-1]
    assert last.startswith("ImportError: the compiled module allocator.engine._order is missing")
    assert "`pip install --no-build-isolation -e .`" in last


@given(TEXTS)
def test_engine_and_reference_hash_alike(text: str) -> None:
    assert _order.hash64(text) == reference.hash64(text)


@given(WORDS)
def test_engine_and_reference_mix_alike(word: int) -> None:
    assert _order.mix64(word) == reference.mix64(word)


@given(TEXTS, st.integers(0), st.sampled_from([_order.GUARANTEES, _order.FAIR_SHARE]))
def test_engine_and_reference_place_alike(seed: str, cycle: int, stage: int) -> None:
    salt = _order.stage_salt(seed, cycle, stage)
    [(key, agent)] = reference.agent_keys(["a1"], seed, cycle, stage)
    assert (_order.place(_order.hash64(agent), salt), agent) == (key, "a1")


# FNV-1a's published values, and the first number of splitmix64 from 0.


@pytest.mark.parametrize(
    ("text", "fnv"),
    [
        ("", 0xCBF29CE484222325),
        ("a", 0xAF63DC4C8601EC8C),
        ("foobar", 0x85944171F73967E8),
    ],
)
def test_the_hash_is_mixed_fnv(text: str, fnv: int) -> None:
    assert _order.hash64(text) == _order.mix64(fnv)


def test_the_mixer_is_that_of_splitmix64() -> None:
    assert _order.mix64(0) == 0
    assert _order.mix64(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF


def test_text_beyond_ascii_is_hashed_as_utf8() -> None:
    assert _order.hash64("é") != _order.hash64("\xc3\xa9")
    assert _order.hash64("\ud800") != _order.hash64("\ud801")


@pytest.mark.parametrize("wrong", [None, 1, b"a"])
def test_only_text_is_hashed(wrong: object) -> None:
    with pytest.raises(TypeError):
        _order.hash64(wrong)  # type: ignore[arg-type]


# Sorting.


def in_order(places: list[int]) -> list[int]:
    """Return positions by place as Python sorts them, stably."""
    return sorted(range(len(places)), key=places.__getitem__)


@given(st.lists(WORDS, max_size=100))
def test_a_few_places_are_sorted(places: list[int]) -> None:
    assert sorted_by_place(places) == in_order(places)


@pytest.mark.parametrize("n", [0, 1, 2, 64, 65, 66, 1000, 20_000])
@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(2**64 - 1, id="all-digits"),
        pytest.param(0x7, id="many-equal"),
        pytest.param(0xFF << 56, id="first-digit"),
        pytest.param(0xFF00_00FF_0000_FF00, id="three-digits"),
        pytest.param(0, id="all-equal"),
    ],
)
def test_many_places_are_sorted(n: int, mask: int) -> None:
    rng = random.Random(n)
    places = [rng.getrandbits(64) & mask for _ in range(n)]
    assert sorted_by_place(places) == in_order(places)
