"""Amounts: read exactly, rounded half up, refused by name."""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from allocator.errors import AllocatorError, ResourceError, shown
from allocator.resources import Resources
from allocator.resources.fixed import MAX_MILLI, number_of, read_milli, write_milli

LARGEST = "9223372036854775.807"


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (4, 4000),
        (0, 0),
        (0.1, 100),
        (-0.0, 0),
        ("-0", 0),
        ("0e999999999", 0),
        (0.0005, 1),  # half up, whatever the binary fraction nearest to it
        (1.0005, 1001),
        (1.0015, 1002),
        (2.6754999999999995, 2675),
        ("1.00049999999999999999999999999999999999999", 1000),
        ("+1.5", 1500),
        (".5", 500),
        ("5.", 5000),
        ("1e3", 1_000_000),
        ("25E-1", 2500),
        (" 2 ", 2000),
        (Decimal("0.3"), 300),
        (Fraction(1, 3), 333),
        (Fraction(1, 2000), 1),
        (np.float64(0.1), 100),
        (np.float32(0.1), 100),
        (np.float32(0.0025), 3),  # it stands for the decimal it prints, not 0.00249999994
        (np.int64(7), 7000),
        (np.uint8(255), 255_000),
        (LARGEST, MAX_MILLI),
        (Decimal(LARGEST), MAX_MILLI),
        pytest.param("0" * 5000 + "1", 1000, id="zeros"),
    ],
)
def test_numbers_are_read_exactly(number: Any, expected: int) -> None:
    assert read_milli(number) == expected


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (-1, "-1 is negative"),
        (-0.001, "-0.001 is negative"),
        ("-1e-9", "'-1e-9' is negative"),
        (Fraction(-1, 9), "Fraction(-1, 9) is negative"),
        (float("nan"), "nan is not finite"),
        (float("inf"), "inf is not finite"),
        (float("-inf"), "-inf is not finite"),
        (Decimal("sNaN"), "is not finite"),
        (np.float32("nan"), "is not an amount|is not finite"),
        (True, "True is not an amount"),
        (np.bool_(True), "is not an amount"),
        (None, "None is not an amount"),
        ("", "'' is not an amount"),
        ("nan", "'nan' is not an amount"),
        ("inf", "'inf' is not an amount"),
        ("1_000", "'1_000' is not an amount"),
        ("0x10", "'0x10' is not an amount"),
        ("1,5", "'1,5' is not an amount"),
        ("1 2", "'1 2' is not an amount"),
        ("٣", "'٣' is not an amount"),
        ("e5", "'e5' is not an amount"),
        (1j, "1j is not an amount"),
        (b"1", "b'1' is not an amount"),
        ([1], "[1] is not an amount"),
        (0.0004, "0.0004 is not zero but rounds to 0"),
        ("0.00049999999999999999999999", "rounds to 0"),
        ("1e-999999999", "rounds to 0"),
        (Fraction(1, 2001), "rounds to 0"),
        (5e-324, "rounds to 0"),
        ("9223372036854775.8075", "over-large"),
        ("9223372036854775.808", "over-large"),
        (2**63, "over-large"),
        (1e300, "over-large"),
        (Fraction(10**30), "over-large"),
        pytest.param(10**5000, "an integer of 16610 bits is over-large", id="10**5000"),
        ("1e999999999", "'1e999999999' is over-large"),
        ("1e99999999999999999999", "out of bounds"),
        pytest.param("9" * 100_000, "over-large", id="nines"),
    ],
)
def test_what_is_no_amount_is_refused_by_name(number: Any, reason: str) -> None:
    with pytest.raises(ResourceError) as caught:
        read_milli(number)
    assert any(part in str(caught.value) for part in reason.split("|"))
    assert isinstance(caught.value, AllocatorError)
    assert len(str(caught.value)) < 400


@given(st.decimals(min_value=0, max_value=10**12, allow_nan=False, places=6))
@example(Decimal("0.0005"))
@example(Decimal("0.000499"))
def test_rounding_is_half_up(number: Decimal) -> None:
    expected = int(number.quantize(Decimal("0.001"), rounding=ROUND_HALF_UP) * 1000)
    if number and not expected:
        with pytest.raises(ResourceError, match="rounds to 0"):
            read_milli(number)
    else:
        assert read_milli(number) == read_milli(str(number)) == expected
        assert read_milli(Fraction(number)) == expected


@given(st.integers(0, MAX_MILLI))
def test_amounts_read_back_from_text_and_json(milli: int) -> None:
    assert read_milli(write_milli(milli)) == milli
    assert read_milli(number_of(milli)) == milli


@given(st.floats(0, 1e12, allow_nan=False))
def test_a_float_is_the_decimal_it_prints(number: float) -> None:
    try:
        milli = read_milli(number)
    except ResourceError:
        assert 0 < number < 0.0005
    else:
        assert milli == read_milli(repr(number))


@pytest.mark.parametrize(
    ("milli", "text", "number"),
    [
        (500, "0.5", 0.5),
        (1, "0.001", 0.001),
        (8_192_000, "8192", 8192),
        (1010, "1.01", 1.01),
        (MAX_MILLI, LARGEST, LARGEST),  # a double has too few digits
    ],
)
def test_amounts_are_written_short(milli: int, text: str, number: Any) -> None:
    assert write_milli(milli) == text
    assert number_of(milli) == number
    assert type(number_of(milli)) is type(number)


def test_tenths_add_up() -> None:
    assert Resources("cpus:0.1") + Resources("cpus:0.2") == Resources("cpus:0.3")
    assert (Resources({"cpus": 0.1}) + {"cpus": 0.2})["cpus"] == 0.3


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def test_a_refusal_shows_anything_in_bounded_space() -> None:
    assert shown(Unshowable()) == "<Unshowable>"
    assert len(shown("x" * 10_000)) < 300
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert shown(nested) == "<list>"


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("100m", "write 0.1 without a unit"),
        ("1500m", "write 1.5 without a unit"),
        ("64Gi", "write 65536, in MB, without a unit"),
        ("1.5 GB", "write 1536, in MB, without a unit"),
        ("512Mi", "write 512, in MB, without a unit"),
        ("512M", "write 512, in MB, without a unit"),
        ("2048KiB", "write 2, in MB, without a unit"),
        ("2Ti", "write 2097152, in MB, without a unit"),
    ],
)
def test_a_unit_is_refused_with_what_to_write_instead(text: str, instead: str) -> None:
    for call in (
        lambda: read_milli(text),
        lambda: Resources(f"mem:{text}"),
        lambda: Resources({"mem": text}),
        lambda: Resources([{"name": "mem", "scalar": {"value": text}}]),
    ):
        with pytest.raises(ResourceError) as caught:
            call()
        assert f"{text!r} is not an amount: {instead}" in str(caught.value)


@pytest.mark.parametrize("text", ["4 cores", "m", "Gi", "0.0001m", "999999999999999P", "1e3Gi"])
def test_other_words_behind_a_number_are_refused_without(text: str) -> None:
    with pytest.raises(ResourceError) as caught:
        read_milli(text)
    assert str(caught.value) == f"{text!r} is not an amount"
