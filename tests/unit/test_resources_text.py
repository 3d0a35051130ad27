"""The text form: what it says, what it tolerates, and what it refuses by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.errors import ResourceError
from allocator.resources import Quantities, Reservation, Resource, Resources
from tests import strategies as own


def test_the_text_of_every_kind() -> None:
    found = Resources("cpus:4;mem:8192;ports:[31000-32000];disk:{sda,sdb};cpus(eng/prod):2")
    assert found["cpus"] == 6.0
    assert found["mem"] == 8192.0
    assert found["ports"] == ((31000, 32000),)
    assert found["disk"] == frozenset({"sda", "sdb"})
    assert found["gpus"] == 0.0
    assert found.names == ("cpus", "disk", "mem", "ports")
    assert [str(entry) for entry in found] == [
        "cpus(eng/prod):2",
        "cpus:4",
        "disk:{sda,sdb}",
        "mem:8192",
        "ports:[31000-32000]",
    ]
    reserved = next(iter(found))
    assert reserved.reservations == (Reservation("STATIC", "eng/prod"),)
    assert str(found) == ";".join(str(entry) for entry in found)
    assert repr(found) == f"Resources({str(found)!r})"
    assert repr(reserved) == "Resource('cpus(eng/prod):2')"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", ""),
        ("   ", ""),
        (" ; ;", ""),
        ("cpus:0", ""),
        ("cpus:0;ports:[];models:{}", ""),
        ("cpus(eng):0.000", ""),
        ("cpus:1;", "cpus:1"),
        (";cpus:1;;mem:2", "cpus:1;mem:2"),
        ("\n cpus ( eng ) :\t1.50 ;\n mem : 2\n", "cpus(eng):1.5;mem:2"),
        ("cpus(*):1", "cpus:1"),
        ("cpus:1;cpus:2", "cpus:3"),
        ("cpus(eng):1;cpus:1;cpus(eng):1", "cpus(eng):2;cpus:1"),
        ("ports:[ 5 - 6 , 1-2,3-3 ]", "ports:[1-3,5-6]"),
        ("ports:[1-5,3-9]", "ports:[1-9]"),
        ("ports:[007-010]", "ports:[7-10]"),
        ("models:{ b , a,b }", "models:{a,b}"),
        ("x-y_z.1:1e-3", "x-y_z.1:0.001"),
        ("cpus:0.0005", "cpus:0.001"),
    ],
)
def test_text_is_read_and_written_in_one_form(text: str, canonical: str) -> None:
    assert str(Resources(text)) == canonical
    assert Resources(canonical) == Resources(text)
    assert Resources([text]) == Resources(text)


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("cpus", ["'cpus'", "name(role):value"]),
        ("mem:1;cpus=4", ["'cpus=4'", "name(role):value"]),
        ("mem:1;cpus:", ["'cpus:'", "'' is not an amount"]),
        (":4", ["':4'", "is not a name"]),
        ("(eng):4", ["'(eng):4'", "is not a name"]),
        ("c pus:4", ["'c pus:4'", "is not a name"]),
        ("c,pus:4", ["'c,pus' is not a name"]),
        ("cpus:four", ["'cpus:four'", "'four' is not an amount"]),
        ("cpus:-4", ["'cpus:-4'", "negative"]),
        ("cpus:nan", ["'cpus:nan'", "not an amount"]),
        ("cpus:inf", ["'cpus:inf'", "not an amount"]),
        ("cpus:1e999999999", ["'cpus:1e999999999'", "over-large"]),
        ("cpus:9223372036854775.808", ["9223372036854775.808", "over-large"]),
        ("cpus:9e15;cpus:9e15", ["'cpus'", "18000000000000000", "over-large"]),
        ("cpus:9e15;cpus(eng):9e15", ["'cpus'", "over-large"]),
        ("cpus:0.0001", ["'cpus:0.0001'", "rounds to 0"]),
        ("cpus:4:5", ["'cpus:4:5'", "'4:5' is not an amount"]),
        ("cpus(eng:4", ["'cpus(eng:4'", "name(role):value"]),
        ("cpus eng):4", ["'cpus eng):4'", "name(role):value"]),
        ("cpus(a)(b):4", ["'cpus(a)(b):4'", "name(role):value"]),
        ("cpus(eng)x:4", ["'cpus(eng)x:4'", "name(role):value"]),
        ("cpus():4", ["'cpus():4'", "role ''"]),
        ("cpus(a//b):4", ["'cpus(a//b):4'", "role 'a//b'"]),
        ("cpus(../b):4", ["role '../b'"]),
        ("cpus(-a):4", ["role '-a'"]),
        ("cpus(a/*):4", ["role 'a/*'"]),
        ("cpus(a b):4", ["role 'a b'", "white space"]),
        ("ports:[1-2", ["'ports:[1-2'", "does not end with ']'"]),
        ("ports:[1]", ["'1' is not a range"]),
        ("ports:[1-2-3]", ["'2-3' is not an integer"]),
        ("ports:[1-2,]", ["'' is not a range"]),
        ("ports:[5-3]", ["5-3 ends before it begins"]),
        ("ports:[-1-3]", ["'' is not an integer"]),
        ("ports:[1.5-3]", ["'1.5' is not an integer"]),
        ("ports:[0-9223372036854775808]", ["9223372036854775808 is not an integer from 0"]),
        ("ports:[0-" + "9" * 10_000 + "]", ["is not an integer"]),
        ("models:{a", ["does not end with '}'"]),
        ("models:{a,,b}", ["'' is not a word"]),
        ("models:{a b}", ["'a b' is not a word"]),
        ("models:{a:b}", ["'a:b' is not a word"]),
        ("models:{{a}}", ["'{a}' is not a word"]),
        ("cpus:1;cpus:[1-2]", ["'cpus' is both SCALAR and RANGES"]),
        ("disk:{a};disk(eng):5", ["'disk' is both SET and SCALAR"]),
        ("disk:{};disk:5", ["'disk' is both SET and SCALAR"]),
    ],
)
def test_malformed_text_is_refused_by_name(text: str, reasons: list[str]) -> None:
    with pytest.raises(ResourceError) as caught:
        Resources(text)
    for reason in reasons:
        assert reason in str(caught.value)
    assert len(str(caught.value)) < 800


def test_long_text_is_read_like_short_text() -> None:
    text = ";".join(f"name{number}:{number}" for number in range(1, 100))
    assert len(Resources(text)) == 99
    assert Resources(str(Resources(text))) == Resources(text)


@given(own.resources())
def test_resources_read_back_from_their_text(value: Resources) -> None:
    assert Resources(str(value)) == value
    assert str(Resources(str(value))) == str(value)


@given(own.entries())
def test_an_entry_reads_back_from_its_text(entry: Resource) -> None:
    assert Resource(str(entry)) == entry
    assert Resource(str(entry)).disk == entry.disk


@given(own.quantities())
def test_quantities_read_back_from_their_text(value: Quantities) -> None:
    assert Quantities(str(value)) == value


@given(own.plain_resources(), st.data())
def test_white_space_and_empty_segments_say_nothing(value: Resources, data: st.DataObject) -> None:
    blank = st.sampled_from(["", " ", "\t", "\n ", "\u2003"])
    segments = []
    for name, milli in value.plain_milli.items():
        parts = (name, ":", f"{milli / 1000:.3f}")
        segments.append("".join(data.draw(blank) + part + data.draw(blank) for part in parts))
        segments.extend([" "] * data.draw(st.integers(0, 1)))
    assert Resources(";".join(segments)) == value


@pytest.mark.parametrize(
    "body",
    [
        {"name": "a b", "type": "SCALAR", "scalar": {"value": 1}},
        {"name": "a;b", "type": "SCALAR", "scalar": {"value": 1}},
        {"name": "[a", "type": "SCALAR", "scalar": {"value": 1}},
        {"name": "models", "type": "SET", "set": {"item": ["a,b"]}},
        {"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}, "role": "a:b"},
        {"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}, "role": "(a"},
    ],
)
def test_what_text_has_no_way_to_say_is_written_as_json(body: dict[str, object]) -> None:
    value = Resources([body])
    assert str(value).startswith("[{")
    assert Resources(str(value)) == value
    assert str(next(iter(value))).startswith("{")
    assert Resource(str(next(iter(value)))) == Resource(body)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        value = Resources(text)
    except ResourceError:
        return
    assert Resources(str(value)) == value


@given(st.text('cpus():;[]{},-0123456789.eE+ *\n"', max_size=30))
def test_any_text_of_the_syntax_is_read_or_refused(text: str) -> None:
    try:
        value = Resources(text)
    except ResourceError:
        return
    assert Resources(str(value)) == value
