"""The v1 JSON form, in and out."""

import json
from typing import Any

import pytest
from hypothesis import given

from allocator.errors import ResourceError
from allocator.resources import (
    DiskInfo,
    DiskSource,
    Persistence,
    Reservation,
    Resource,
    Resources,
    Volume,
)
from tests import strategies as own

Json = dict[str, Any]


def cpus(**fields: object) -> Json:
    return {"name": "cpus", "type": "SCALAR", "scalar": {"value": 4}, **fields}


def disk(**fields: object) -> Json:
    return {"name": "disk", "type": "SCALAR", "scalar": {"value": 10}, "disk": fields}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (cpus(), "cpus:4"),
        (cpus(role="*"), "cpus:4"),
        (cpus(role=None, reservations=None, disk=None, shared=None), "cpus:4"),
        (cpus(reservations=[]), "cpus:4"),
        (cpus(role="eng/prod"), "cpus(eng/prod):4"),
        (cpus(role="eng", reservations=[]), "cpus(eng):4"),
        (cpus(reservations=[{"type": "STATIC", "role": "eng"}]), "cpus(eng):4"),
        (cpus(role="eng", reservations=[{"type": "STATIC", "role": "eng"}]), "cpus(eng):4"),
        (cpus(role="*", reservations=[{"type": "STATIC", "role": "eng"}]), "cpus(eng):4"),
        (cpus(allocation_info={"role": "eng"}, colour="red"), "cpus:4"),
        ({"name": "cpus", "scalar": {"value": "0.5"}}, "cpus:0.5"),
        ({"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.1}, "set": None}, "cpus:0.1"),
        (
            {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 1, "end": 2}]}},
            "ports:[1-2]",
        ),
        ({"name": "ports", "ranges": {"range": [{"begin": "1", "end": "2"}]}}, "ports:[1-2]"),
        ({"name": "models", "type": "SET", "set": {"item": ["b", "a", "b"]}}, "models:{a,b}"),
        ({"name": "models", "set": {}}, ""),
        ({"name": "ports", "ranges": {"range": None}}, ""),
        (disk(), "disk:10"),
        (disk(persistence=None, source=None), "disk:10"),
    ],
)
def test_json_that_text_can_say_too(body: Json, text: str) -> None:
    assert str(Resources([body])) == text
    assert Resources(json.dumps([body])) == Resources(text)
    assert Resources(body) == Resources(json.dumps(body)) == Resources((body,)) == Resources(text)


def test_the_reservation_stack() -> None:
    entry = Resource(
        cpus(
            reservations=[
                {"type": "STATIC", "role": "eng"},
                {
                    "type": "DYNAMIC",
                    "role": "eng/prod",
                    "principal": "ops",
                    "labels": {"labels": [{"key": "z", "value": "1"}, {"key": "a"}]},
                },
            ]
        )
    )
    assert entry.reservations == (
        Reservation("STATIC", "eng"),
        Reservation("DYNAMIC", "eng/prod", "ops", (("a", None), ("z", "1"))),
    )
    assert entry.role == "eng/prod"
    assert entry.to_json()["reservations"][1]["labels"] == {
        "labels": [{"key": "a"}, {"key": "z", "value": "1"}]
    }


def test_the_older_form_of_a_dynamic_reservation() -> None:
    older = {"principal": "ops", "labels": {"labels": [{"key": "a", "value": "b"}]}}
    entry = Resource(cpus(role="eng", reservation=older))
    assert entry.reservations == (Reservation("DYNAMIC", "eng", "ops", (("a", "b"),)),)
    assert Resource(cpus(role="eng", reservation={})).reservations[0].type == "DYNAMIC"
    both = cpus(
        role="eng", reservation=older, reservations=[{"type": "DYNAMIC", "role": "eng", **older}]
    )
    assert Resource(both) == entry


def test_disk_information() -> None:
    body = disk(
        persistence={"id": "v1", "principal": "ops"},
        volume={"mode": "RW", "container_path": "data", "host_path": "/data"},
        source={
            "type": "MOUNT",
            "mount": {"root": "/mnt/a"},
            "id": "d1",
            "profile": "fast",
            "vendor": "acme",
            "metadata": {"labels": [{"key": "rack", "value": "7"}]},
        },
    )
    entry = Resource(body)
    assert entry.disk == DiskInfo(
        Persistence("v1", "ops"),
        Volume("data", "RW", "/data"),
        DiskSource("MOUNT", "/mnt/a", "d1", "fast", "acme", (("rack", "7"),)),
    )
    assert entry.persistence_id == "v1"
    assert entry.source is not None
    assert entry.source.root == "/mnt/a"
    assert entry.to_json() == body
    assert Resource(str(entry)).to_json() == body


@pytest.mark.parametrize("kind", ["PATH", "MOUNT", "BLOCK", "RAW"])
def test_a_disk_source_of_each_type(kind: str) -> None:
    entry = Resource(disk(source={"type": kind}))
    assert entry.to_json() == disk(source={"type": kind})
    assert entry.splittable == (kind in ("PATH", "RAW"))


def test_flags_and_the_provider() -> None:
    entry = Resource(cpus(revocable={}, shared={}, provider_id={"value": "p1"}))
    assert (entry.revocable, entry.shared, entry.provider_id) == (True, True, "p1")
    assert entry.to_json() == {
        "name": "cpus",
        "type": "SCALAR",
        "scalar": {"value": 4},
        "provider_id": {"value": "p1"},
        "revocable": {},
        "shared": {},
    }


@pytest.mark.parametrize("provider", [{}, {"value": None}, {"value": 7}, "p1"])
def test_a_provider_has_an_id(provider: object) -> None:
    with pytest.raises(ResourceError, match=r"cpus.*provider_id|cpus.*value"):
        Resource(cpus(provider_id=provider))


def test_json_has_one_object_for_each_copy() -> None:
    volume = {**disk(persistence={"id": "v1"}), "shared": {}}
    value = Resources([volume, volume, "cpus:1", volume])
    assert len(value) == 2
    assert value.to_json() == [*[Resource(volume).to_json()] * 3, Resource("cpus:1").to_json()]
    assert Resources(value.to_json()) == Resources(str(value)) == value
    entry = next(iter(value.shared()))
    assert entry.copies == 3
    assert Resource(str(entry)) == entry
    assert Resource([volume] * 3) == entry


@pytest.mark.parametrize(
    ("body", "reasons"),
    [
        ({"type": "SCALAR", "scalar": {"value": 4}}, ["'name' must be a non-empty text"]),
        (cpus(name=""), ["'name' must be a non-empty text"]),
        (cpus(name=7), ["'name' must be a non-empty text"]),
        (cpus(type="TEXT"), ["'cpus'", "'TEXT' is none of SCALAR, RANGES, SET"]),
        (cpus(type="scalar"), ["'scalar' is none of"]),
        (cpus(type=["SCALAR"]), ["['SCALAR'] is none of"]),
        (cpus(type="SET"), ["its type is SET, but its value is of the type SCALAR"]),
        (cpus(set={"item": ["a"]}), ["2 values"]),
        (cpus(scalar=None), ["0 values"]),
        (cpus(scalar=4), ["'scalar' must be an object, not 4"]),
        (cpus(scalar={}), ["None is not an amount"]),
        (cpus(scalar={"value": -1}), ["'cpus'", "-1 is negative"]),
        (cpus(scalar={"value": "NaN"}), ["'NaN' is not an amount"]),
        (cpus(scalar={"value": True}), ["True is not an amount"]),
        (cpus(role=7), ["'role' must be a text, not 7"]),
        (cpus(role=""), ["role ''"]),
        (cpus(role="a//b"), ["role 'a//b'"]),
        (cpus(role="eng", reservations={}), ["'reservations' must be a list, not {}"]),
        (cpus(reservations=["eng"]), ["'reservations' must hold objects, not 'eng'"]),
        (cpus(reservations=[{"type": "DYNAMIC"}]), ["role None"]),
        (cpus(reservations=[{"role": "eng"}]), ["None is not STATIC or DYNAMIC"]),
        (cpus(reservations=[{"type": "BOTH", "role": "eng"}]), ["'BOTH' is not STATIC"]),
        (cpus(reservations=[{"type": "DYNAMIC", "role": "*"}]), ["role '*'"]),
        (cpus(reservations=[{"type": "DYNAMIC", "role": "../x"}]), ["role '../x'"]),
        (
            cpus(reservations=[{"type": "DYNAMIC", "role": "eng", "principal": 1}]),
            ["'principal' must be a text, not 1"],
        ),
        (
            cpus(reservations=[{"type": "DYNAMIC", "role": "eng", "labels": []}]),
            ["'labels' must be an object"],
        ),
        (
            cpus(reservations=[{"type": "DYNAMIC", "role": "e", "labels": {"labels": [{}]}}]),
            ["(None, None) is not a label"],
        ),
        (
            cpus(role="ops", reservations=[{"type": "DYNAMIC", "role": "eng"}]),
            ["its role is 'ops', but it is reserved for 'eng'"],
        ),
        (
            cpus(
                reservations=[
                    {"type": "DYNAMIC", "role": "eng"},
                    {"type": "STATIC", "role": "eng/prod"},
                ]
            ),
            ["static reservation for 'eng/prod' is not the outermost"],
        ),
        (
            cpus(reservations=[{"type": "DYNAMIC", "role": "eng"}] * 2),
            ["'eng' does not refine the one for 'eng'"],
        ),
        (
            cpus(
                reservations=[
                    {"type": "STATIC", "role": "eng/prod"},
                    {"type": "DYNAMIC", "role": "eng"},
                ]
            ),
            ["'eng' does not refine the one for 'eng/prod'"],
        ),
        (
            cpus(
                reservations=[
                    {"type": "STATIC", "role": "eng"},
                    {"type": "DYNAMIC", "role": "engineering"},
                ]
            ),
            ["'engineering' does not refine the one for 'eng'"],
        ),
        (cpus(reservation={}), ["no role that it is reserved for"]),
        (cpus(role="*", reservation={"principal": "p"}), ["no role that it is reserved for"]),
        (cpus(role="eng", reservation={"role": "eng"}), ["'reservation' has a 'role'"]),
        (
            cpus(reservation={}, reservations=[{"type": "STATIC", "role": "eng"}]),
            ["'reservation' differs from the innermost"],
        ),
        (cpus(disk={}), ["disk information belongs to 'disk', not to 'cpus'"]),
        (cpus(disk={"persistence": {"id": "v"}}), ["belongs to 'disk', not to 'cpus'"]),
        (disk(persistence={}), ["the persistence id None"]),
        (disk(persistence={"id": ""}), ["the persistence id ''"]),
        (disk(persistence="v1"), ["'persistence' must be an object"]),
        (disk(volume={"mode": "RW"}), ["'volume' without 'persistence'"]),
        (disk(persistence={"id": "v"}, volume={"mode": "X"}), ["volume mode 'X' is not RW or RO"]),
        (disk(persistence={"id": "v"}, volume={"host_path": 1}), ["'host_path' must be a text"]),
        (disk(source={}), ["the disk source type None is none of"]),
        (disk(source={"type": "TAPE"}), ["the disk source type 'TAPE' is none of"]),
        (disk(source={"type": "BLOCK", "mount": {"root": "/"}}), ["'BLOCK' has 'mount'"]),
        (disk(source={"type": "PATH", "mount": {}}), ["'PATH' has 'mount'"]),
        (disk(source={"type": "RAW", "id": 5}), ["'id' must be a text, not 5"]),
        (cpus(revocable=True), ["'revocable' must be an object, not True"]),
        (cpus(shared=False), ["'shared' must be an object, not False"]),
        (cpus(provider_id="p"), ["'provider_id' must be an object, not 'p'"]),
        (
            {"name": "ports", "ranges": {"range": [{"begin": 2, "end": 1}]}},
            ["2-1 ends before it begins"],
        ),
        ({"name": "ports", "ranges": {"range": [{"begin": 1}]}}, ["None is not an integer"]),
        (
            {"name": "ports", "ranges": {"range": [{"begin": True, "end": 2}]}},
            ["True is not an integer"],
        ),
        (
            {"name": "ports", "ranges": {"range": [{"begin": -1, "end": 2}]}},
            ["-1 is not an integer"],
        ),
        (
            {"name": "ports", "ranges": {"range": [{"begin": 0, "end": 2**63}]}},
            [f"{2**63} is not an integer"],
        ),
        (
            {"name": "ports", "ranges": {"range": [{"begin": 0, "end": "1e3"}]}},
            ["'1e3' is not an integer"],
        ),
        ({"name": "ports", "ranges": {"range": [[1, 2]]}}, ["must hold objects, not [1, 2]"]),
        ({"name": "models", "set": {"item": [""]}}, ["'' is not a word"]),
        ({"name": "models", "set": {"item": [1]}}, ["1 is not a word"]),
        ({"name": "models", "set": {"item": "ab"}}, ["'item' must be a list, not 'ab'"]),
    ],
)
def test_malformed_json_is_refused_by_name(body: Json, reasons: list[str]) -> None:
    for source in (body, [body], json.dumps([body])):
        with pytest.raises(ResourceError) as caught:
            Resources(source)
        for reason in reasons:
            assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[", "malformed JSON"),
        ("[1-2]", "malformed JSON"),
        ("{cpus}", "malformed JSON"),
        ("[{}] x", "malformed JSON"),
        ('{"cpus": NaN}', "NaN is not a number"),
        ('{"cpus": -Infinity}', "-Infinity is not a number"),
        ('{"cpus": 1e99999999999999999999}', "malformed JSON"),
        ('{"cpus": ' + "9" * 10_000 + "}", "malformed JSON"),
        ('{"cpus": true}', "True is not an amount"),
        ('{"cpus": {"value": 1}}', "is not an amount"),
        ('{"cpus": null}', "None is not an amount"),
        ("[1]", "1 is not resources"),
        ("[null]", "None is not resources"),
        ("[" * 100_000, "nested too deep"),
        ('[{"name":' * 100_000, "nested too deep"),
        ("[" * 50 + "]" * 50, "too deep"),
    ],
)
def test_malformed_json_text_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ResourceError) as caught:
        Resources(text)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 600


def test_json_numbers_are_read_exactly() -> None:
    digits = "9223372036854775.807"
    text = f'[{{"name": "mem", "type": "SCALAR", "scalar": {{"value": {digits}}}}}]'
    assert Resources(text).plain_milli == {"mem": 2**63 - 1}
    assert Resources('{"cpus": 1.00049999999999999999999}') == Resources("cpus:1")


@given(own.resources())
def test_resources_read_back_from_their_json(value: Resources) -> None:
    assert Resources(value.to_json()) == value
    assert Resources(json.dumps(value.to_json())) == value
    assert Resources(json.loads(json.dumps(value.to_json()))) == value


@given(own.entries())
def test_an_entry_reads_back_from_its_json(entry: Resource) -> None:
    again = Resource(entry.to_json())
    assert again == entry
    assert again.disk == entry.disk
    assert again.to_json() == entry.to_json()
