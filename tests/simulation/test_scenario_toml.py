"""Lines of TOML keys, dotted keys, and how durations and rates are written."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.errors import InvalidValue
from allocator.sim.scenario.durations import UNITS, per_second, seconds
from allocator.sim.scenario.overrides import parse_key, parse_setting, parse_value
from allocator.sim.scenario.positions import lines_of
from allocator.sim.scenario.problems import Path, dotted

ODD = '''\
# a comment with "quotes" and [brackets]
a = 1 # another = one
b . "c.d" . 'e' = [ # in an array
  1, "two # no comment", [3,
  4], { x = 1, y = { z = "}" } },
]
text = """
[not.a.table]
k = 1 \\""" still text """""
"a\\u0062" = 2
literal = \'\'\'
'x' = 3\'\'\'
[t]
  k.l = 1979-05-27T07:32:00
[[u.v]]
k = 1
[u.v.w]
k = 2
[[u.v]]

k = -inf
[[u.v.inner]]
[u]
z = {}
'''


def test_the_line_of_each_key() -> None:
    assert {dotted(path): line for path, line in lines_of(ODD).items()} == {
        "a": 2,
        "b": 3,
        'b."c.d"': 3,
        'b."c.d".e': 3,
        'b."c.d".e[0]': 4,
        'b."c.d".e[1]': 4,
        'b."c.d".e[2]': 4,
        'b."c.d".e[2][0]': 4,
        'b."c.d".e[2][1]': 5,
        'b."c.d".e[3]': 5,
        'b."c.d".e[3].x': 5,
        'b."c.d".e[3].y': 5,
        'b."c.d".e[3].y.z': 5,
        "text": 7,
        "ab": 10,
        "literal": 11,
        "t": 13,
        "t.k": 14,
        "t.k.l": 14,
        "u": 15,
        "u.v": 15,
        "u.v[0]": 15,
        "u.v[0].k": 16,
        "u.v[0].w": 17,
        "u.v[0].w.k": 18,
        "u.v[1]": 19,
        "u.v[1].k": 21,
        "u.v[1].inner": 22,
        "u.v[1].inner[0]": 22,
        "u.z": 24,
    }


def paths_of(value: Any, path: Path = ()) -> set[Path]:
    """Return the path of everything in a value but itself."""
    steps: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        steps = list(value.items())
    elif isinstance(value, list):
        steps = list(enumerate(value))
    return {(*path, k) for k, _ in steps}.union(*(paths_of(v, (*path, k)) for k, v in steps))


def test_each_key_that_tomllib_reads_has_a_line() -> None:
    assert lines_of(ODD).keys() == paths_of(tomllib.loads(ODD))


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.integers() | st.booleans() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)


def written(value: Any) -> str:
    """Return a value as inline TOML; JSON's text and numbers are TOML's."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{written(k)} = {written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[\n" + ",\n # x\n".join(map(written, value)) + "\n]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


@given(st.dictionaries(st.text("ab.\"' #[]=\n", max_size=3), VALUES, max_size=4))
def test_lines_of_any_toml(data: dict[str, Any]) -> None:
    text = "\n".join(f"{written(key)} = {written(value)}" for key, value in data.items())
    assert tomllib.loads(text) == data
    lines = lines_of(text)
    assert lines.keys() == paths_of(data)
    starts = {(key,): line for (key, *rest), line in lines.items() if not rest}
    for (key,), line in starts.items():
        assert text.split("\n")[line - 1].startswith(written(key))


@given(st.lists(st.text("a.\"'[]/* é\n\\0", max_size=4) | st.integers(0, 99), min_size=1))
def test_a_path_written_as_a_dotted_key_is_the_same_path(path: list[str | int]) -> None:
    steps = ("first", *path)
    assert parse_key(dotted(steps)) == steps


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..b", "a[", "a[x]", "a[0", '"a', "[0]", "a b]"]
)
def test_keys_that_are_none(text: str) -> None:
    with pytest.raises(InvalidValue, match="is not a key such as"):
        parse_key(text)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("policy.sorter=hdrf", "policy.sorter", "hdrf"),
        ("seed = 4", "seed", 4),
        ("seed='4'", "seed", "4"),
        ('roles."a=b".weight=2.5', 'roles."a=b".weight', 2.5),
        ("roles.eng.limit={ cpus = 4 }", "roles.eng.limit", {"cpus": 4}),
        ("horizon=1979-05-27x", "horizon", "1979-05-27x"),
        ("title=a=b", "title", "a=b"),
        ("title=1\nb=2", "title", "1\nb=2"),
        ("title=", "title", ""),
    ],
)
def test_settings(text: str, key: str, value: Any) -> None:
    assert parse_setting(text) == (key, value)


@pytest.mark.parametrize("text", ["", "a", "=1", "a..b=1"])
def test_settings_that_are_none(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_setting(text)


def test_values_nested_without_end_are_text() -> None:
    assert parse_value("[" * 20000) == "[" * 20000


# Durations.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (90, 90),
        (0, 0),
        (0.25, 0.25),
        ("0", 0),
        ("0s", 0),
        ("90", 90),
        ("250ms", 0.25),
        ("1.5h", 5400),
        (".5m", 30),
        ("1h30m", 5400),
        ("1w2d3h4m5s6ms", 604800 + 2 * 86400 + 3 * 3600 + 4 * 60 + 5 + 0.006),
        ("90m", 5400),
        ("1h90m", 9000),
        (10**12, 1e12),
    ],
)
def test_durations(value: object, expected: float) -> None:
    assert seconds(value) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "s", "1h 30m", "1m1h", "1h1h", "1e3s", "1e3", "-1s", "+1s", "1 s", " 1s", "1s "),
        *("1S", "1min", "1y", "nan", "inf", "1,5h", "1.5.5h", "1_000s", "٣s", "1h30", "9" * 30),
        *(-1, -0.5, float("nan"), float("inf"), 1e13, 10**400, True, None, [], {}, b"1s", "1e12w"),
        *("10000000w",),
    ],
)
def test_what_is_no_duration(value: object) -> None:
    with pytest.raises(InvalidValue):
        seconds(value)


@given(st.lists(st.sampled_from(list(UNITS)), min_size=1, unique=True), st.data())
def test_a_sum_of_units_from_the_longest_on(units: list[str], data: st.DataObject) -> None:
    amounts = {unit: data.draw(st.integers(0, 999)) for unit in units}
    text = "".join(f"{amount}{unit}" for unit, amount in amounts.items())
    ordered = units == [unit for unit in UNITS if unit in units]
    if not ordered:
        with pytest.raises(InvalidValue):
            seconds(text)
        return
    milli = sum(n * round(1000 * UNITS[unit]) for unit, n in amounts.items())
    assert seconds(text) == pytest.approx(milli / 1000, rel=1e-14)


@given(st.floats(0, 1e12))
def test_a_number_is_its_own_duration(value: float) -> None:
    assert seconds(value) == value


@pytest.mark.parametrize(
    ("text", "rate"), [("20/h", 20 / 3600), ("1.5/s", 1.5), ("7/w", 7 / 604800), ("60/m", 1.0)]
)
def test_rates(text: str, rate: float) -> None:
    assert per_second(text) == rate


@pytest.mark.parametrize(
    "value", ["20", 20, "0/s", "-1/s", "1/ms", "1/y", "1e3/s", "/s", "1/", "1 /s", "100001/s", None]
)
def test_what_is_no_rate(value: object) -> None:
    with pytest.raises(InvalidValue, match="is not a rate such as"):
        per_second(value)
