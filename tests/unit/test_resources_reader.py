"""The compiled reader gives the same values, or the same refusals, as the one in plain Python."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.machinery import EXTENSION_SUFFIXES
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from allocator.errors import ResourceError
from allocator.resources import Resource, Resources, _reader
from allocator.resources import reader as compiled
from tests import plain_reader as plain


def test_the_compiled_module_is_in_use() -> None:
    assert _reader.__file__.endswith(tuple(EXTENSION_SUFFIXES))
    assert compiled.read_entries is _reader.read_entries
    assert compiled.read_sum is _reader.read_sum


def test_without_the_compiled_module_there_is_no_slow_path() -> None:
    name = "allocator.resources"
    script = f"import sys; sys.modules['{name}._reader'] = None; import {name}"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    last = run.stderr.splitlines()[-1]
    assert last.startswith("ImportError: the compiled module allocator.resources._reader is miss")
    assert "`pip install --no-build-isolation -e .`" in last


def outcome(read: Callable[[Any], Any], source: Any) -> Any:
    """Return what a reader makes of a source, or its refusal."""
    try:
        return read(source)
    except ResourceError as error:
        return type(error), str(error), error.__cause__


def entries(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a reader of lists of parts, disks included, which do not count in equality."""
    return lambda source: [
        (entry._identity.key(), entry._value, entry._disk, entry.copies)
        for entry in map(Resource._of, read(source))
    ]


def whole(resources: Resources) -> Any:
    """Return all parts of a value, and the order in which it has them."""
    return (
        list(resources._plain.items()),
        [(key, str(entry), entry.disk) for key, entry in resources._special.items()],
        list(resources._totals.items()),
    )


def check(source: Any) -> None:
    """Compare what the two readers make of a source."""
    one, two = (
        outcome(lambda s: compiled.read_sum(s, Resource), source),
        outcome(plain.gather, source),
    )
    if isinstance(two, Resources):
        assert whole(Resources._make(*one)) == whole(two)
    else:
        assert one == two
    one, two = (
        outcome(entries(compiled.read_entries), source),
        outcome(entries(plain.read_entries), source),
    )
    assert one == two


#: The v1 field of a value → the type.
KINDS = {"scalar": "SCALAR", "ranges": "RANGES", "set": "SET"}

# Text.

SPACES = st.sampled_from(["", "", "", " ", "\t", "\n", "\xa0", "\u2028", "\x1c", " \u3000"])
#: Numbers right and wrong, at the ends of what is held and of what needs no second look.
ODD_NUMBERS = [
    "0",
    "00",
    "0.0",
    "4.",
    ".5",
    ".",
    "-1",
    "+2",
    "-0",
    "--1",
    "1-2",
    "1e3",
    "1E-2",
    "1e-4",
    "1e999",
    "1e999999999999",
    "nan",
    "inf",
    "1_000",
    "0x10",
    "1,5",
    "1.2.3",
    "0.0005",
    "0.0004",
    "0.00049999",
    "0.0005000000000000001",
    "0.9994999",
    "0.9995",
    "999999999999999",
    "999999999999999.9995",
    "1000000000000000",
    "9223372036854775.807",
    "9223372036854775.8075",
    "9223372036854775807",
    "0000000000000000000000001.5",
    "1.00000000000000000000000000000000001",
    "64Gi",
    "100m",
    "1;2",
]
NUMBERS = st.one_of(
    st.integers(0, 10**20).map(str),
    st.integers(0, 10**9).map(lambda n: f"{n / 2000:.4f}"),
    st.decimals(0, 10**17, allow_nan=False, allow_infinity=False).map(str),
    st.floats(0, 1e17).map(repr),
    st.sampled_from([*ODD_NUMBERS, "\u0664", "\uff14", "12\uff13", "1.\u0663", "1\0", "\0", ""]),
)
ODD_BOUNDS = [
    "0",
    "007",
    "-1",
    "+1",
    "1.0",
    "x",
    "999999999999999999",
    "1000000000000000000",
    "9223372036854775807",
    "9223372036854775808",
    "99999999999999999999",
    "00000000000000000000000000001",
]
BOUNDS = st.one_of(st.integers(0, 70_000).map(str), st.sampled_from([*ODD_BOUNDS, "\u0663", ""]))
WORDS = st.one_of(
    st.sampled_from(
        ["cpus", "mem", "disk", "ports", "a", "é", "名", "x.y", "a=b", "a'b", "*", "a/b"]
    ),
    st.sampled_from(["\ufeffcpus", "a\0b", "cpus", "disk"]),
    st.text(max_size=4),
)
ROLES = st.sampled_from(
    ["*", "eng", "eng/prod", "a//b", "../x", "-x", ".", "a(b", "a)b", "", " eng ", "é", "a b"]
)


@st.composite
def ranges(draw: st.DrawFn) -> str:
    """Return the text of a range, right or nearly so."""
    dash = draw(st.sampled_from(["-"] * 9 + ["", "--", "–"]))
    return "".join([draw(BOUNDS), draw(SPACES), dash, draw(SPACES), draw(BOUNDS)])


@st.composite
def listed(draw: st.DrawFn, opening: str, closing: str, items: st.SearchStrategy[str]) -> str:
    """Return a list of items, right or nearly so."""
    inner = [draw(SPACES) + item + draw(SPACES) for item in draw(st.lists(items, max_size=4))]
    first = draw(st.sampled_from([opening] * 9 + [opening + opening, ""]))
    last = draw(st.sampled_from([closing] * 9 + ["", closing + " ", "," + closing, closing + "x"]))
    return first + ",".join(inner) + last


VALUES = st.one_of(
    NUMBERS, listed("[", "]", ranges()), listed("{", "}", WORDS), st.text(max_size=5)
)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Return a text of resources, right or nearly so."""
    segments = []
    for _ in range(draw(st.integers(0, 4))):
        head = draw(WORDS) + draw(SPACES)
        if draw(st.booleans()):
            head += f"({draw(ROLES)}{draw(SPACES)}){draw(SPACES)}"
        colon = draw(st.sampled_from([":"] * 9 + ["", "::"]))
        segment = draw(SPACES) + head + colon + draw(SPACES) + draw(VALUES) + draw(SPACES)
        segments.append(draw(st.sampled_from([segment] * 9 + ["", " "])))
    start = draw(st.sampled_from([""] * 9 + ["\ufeff", "\ufeff\ufeff", " \ufeff"]))
    return start + ";".join(segments)


@settings(max_examples=600)
@given(texts())
@example("cpus:4;mem:8192;ports:[31000-32000];disk:{a,b};cpus(eng/prod):2")
@example("[")
@example("{")
@example("cpus:")
@example(":4")
@example("cpus:[")
@example("cpus:[]")
@example("cpus:[1-2,]")
@example("cpus:[,]")
@example("cpus:{,a}")
@example("cpus:1;cpus(eng):2;cpus:3;cpus(eng):4")
@example("cpus:9223372036854775.807;cpus:0.001")
@example("cpus(eng):9223372036854775.807;cpus:0.001")
@example("cpus:1;cpus:[1-2];mem:x")
@example("cpus(a)(b):1")
@example("cpus():1")
def test_texts(text: str) -> None:
    check(text)


@settings(max_examples=400)
@given(NUMBERS, st.sampled_from(["cpus:{}", " cpus : {} ", "cpus:{};cpus:{}"]))
def test_numbers_in_text(number: str, form: str) -> None:
    check(form.replace("{}", number))


@settings(max_examples=400)
@given(st.text(alphabet='cpus:;()[]{},-. 019e+*\ufeff"é\0\n', max_size=24))
def test_texts_of_its_own_characters(text: str) -> None:
    check(text)


# Mappings and numbers.

AMOUNTS = st.one_of(
    st.integers(-(10**20), 10**20),
    st.integers(0, 10**16),
    st.floats(),
    st.floats(0, 1e13),
    st.integers(0, 10**9).map(lambda milli: (2 * milli + 1) / 2000),
    st.decimals(),
    st.fractions(),
    st.booleans(),
    st.none(),
    VALUES,
    st.sampled_from([2.0**43, 2.0**52, 2.0**53, -0.0, 0.0005, 0.0004999, 9223372036854775.0]),
)


class Text(str):
    """Text with another face."""

    def __str__(self) -> str:
        return "another face"

    __repr__ = __str__


@settings(max_examples=400)
@given(st.dictionaries(st.one_of(WORDS, WORDS.map(Text)), AMOUNTS, max_size=3))
def test_mappings(amounts: dict[str, Any]) -> None:
    check(amounts)
    check(MappingProxyType(amounts))


@settings(max_examples=400)
@given(AMOUNTS)
def test_numbers(amount: Any) -> None:
    check({"cpus": amount})


# v1 JSON.

ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


def mostly(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return it, or now and then something else."""
    return st.one_of(strategy, strategy, strategy, strategy, ANYTHING)


def record(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return JSON objects with any of these fields."""
    return st.fixed_dictionaries({}, optional={name: mostly(of) for name, of in fields.items()})


JSON_BOUNDS = st.one_of(st.integers(-1, 2**63), st.integers(0, 70_000), BOUNDS)
RESERVATION = record(
    type=st.sampled_from(["STATIC", "DYNAMIC"]),
    role=ROLES,
    principal=st.just("ops"),
    labels=st.just({"labels": [{"key": "k", "value": "v"}]}),
)
BODIES = {
    "scalar": record(value=AMOUNTS),
    "ranges": record(range=st.lists(record(begin=JSON_BOUNDS, end=JSON_BOUNDS), max_size=3)),
    "set": record(item=st.lists(WORDS, max_size=3)),
}
REST = record(
    type=st.sampled_from(["SCALAR", "RANGES", "SET"]),
    scalar=st.just({"value": 1}),
    role=ROLES,
    reservation=RESERVATION,
    reservations=st.lists(RESERVATION, max_size=2),
    disk=record(persistence=st.just({"id": "p"}), source=st.just({"type": "MOUNT"})),
    provider_id=st.just({"value": "p"}),
    revocable=st.just({}),
    shared=st.just({}),
    allocation_info=st.just({"role": "x"}),
)


@st.composite
def v1(draw: st.DrawFn) -> dict[str, Any]:
    """Return a v1 JSON object, right or nearly so."""
    field = draw(st.sampled_from(sorted(BODIES)))
    rest = draw(REST) if draw(st.booleans()) else {}
    name = draw(mostly(st.one_of(st.just("disk"), WORDS)))
    return {"name": name, "type": KINDS[field], field: draw(mostly(BODIES[field])), **rest}


@settings(max_examples=600)
@given(st.lists(mostly(v1()), max_size=3))
def test_v1_json(objects: list[Any]) -> None:
    check(objects)
    check([MappingProxyType(each) if isinstance(each, dict) else each for each in objects])


@settings(max_examples=400)
@given(st.lists(v1(), max_size=2), SPACES)
def test_v1_json_as_text(objects: list[Any], space: str) -> None:
    try:
        text = json.dumps(objects)
    except TypeError:  # it has a Decimal or a Fraction
        return
    check(space + text + space)
    check("\ufeff" + text)
    check(text[:-1])


@given(
    st.lists(
        texts() | v1() | st.lists(texts() | st.lists(v1(), max_size=2), max_size=2), max_size=3
    )
)
def test_lists_within_lists(source: Any) -> None:
    check(source)
    check(tuple(source) if isinstance(source, list) else source)


def test_what_is_no_resources_and_what_is_too_deep() -> None:
    endless: list[Any] = []
    endless.append(endless)
    sources = [None, 7, True, b"cpus:1", bytearray(b"cpus:1"), object(), endless, [[None]], {1: 2}]
    for source in sources:
        check(source)
    for depth in range(12):
        nested: Any = "cpus:1"
        for _ in range(depth):
            nested = [nested]
        check(nested)
        check("[" * depth + '{"name":"a","scalar":{"value":1}}' + "]" * depth)


def test_entries_and_values_are_taken_as_they_are() -> None:
    shared = {"name": "disk", "scalar": {"value": 4}, "shared": {}, "role": "eng"}
    volume = {**shared, "disk": {"persistence": {"id": "p"}, "volume": {"mode": "RW"}}}
    held = Resources([shared, shared, volume, "cpus:2;ports:[1-2];cpus(eng):1"])
    check(held)
    check([held, *held, "cpus:3", {"cpus": 4}])
    check([*held, Resource("disk:[1-2]")])
    assert Resources([held, held]) == held + held


def test_what_is_kept_of_heads_is_bounded_and_right() -> None:
    rng = random.Random(7)
    for _ in range(5000):
        name, role = f"name{rng.randrange(2500)}", rng.choice(["", "(eng)", "(ops/x)", "(*)"])
        value = rng.choice(["1", "[1-2]", "{a}"])
        check(f"{name}{role}:{value}")
    check(f"{'x' * 1000}:1;{'x' * 1000}(eng):1")


class Lazy(Mapping[str, Any]):
    """A mapping that is no dict."""

    def __init__(self, items: dict[str, Any]) -> None:
        self.items_of_it = items

    def __getitem__(self, key: str) -> Any:
        return self.items_of_it[key]

    def __iter__(self) -> Any:
        return iter(self.items_of_it)

    def __len__(self) -> int:
        return len(self.items_of_it)


def test_mappings_of_other_kinds() -> None:
    check(Lazy({"cpus": 1, "ports": "[1-2]"}))
    check(Lazy({"name": "cpus", "scalar": Lazy({"value": 2.5}), "role": "eng"}))
    check(Lazy({"name": "p", "ranges": Lazy({"range": (Lazy({"begin": 1, "end": "2"}),)})}))
    check(Lazy({"name": "", "scalar": {"value": 1}}))
    check(Resources("cpus:1;mem:0.5").quantities())


@pytest.mark.parametrize("text", ["\ufeffcpus:4", "\ufeff cpus:4", '\ufeff[{"name":"a"}]'])
def test_a_byte_order_mark_at_the_beginning_is_skipped(text: str) -> None:
    assert outcome(Resources, text) == outcome(Resources, text[1:])


def test_a_name_with_a_byte_order_mark_is_written_as_json() -> None:
    held = Resources([{"name": "\ufeffcpus", "scalar": {"value": 1}}])
    assert str(held).startswith("[")
    assert Resources(str(held)) == held
