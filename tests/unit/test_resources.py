"""Resources as values: what they accept, arithmetic, containment, views."""

import copy
import pickle
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from allocator.errors import AllocatorError, ResourceError
from allocator.resources import (
    DiskInfo,
    DiskSource,
    Persistence,
    Quantities,
    Reservation,
    Resource,
    Resources,
    Volume,
)
from tests import strategies as own

Json = dict[str, Any]


def disk(mb: float, volume: str | None = None, **fields: object) -> Json:
    info = {} if volume is None else {"disk": {"persistence": {"id": volume}}}
    return {"name": "disk", "type": "SCALAR", "scalar": {"value": mb}, **info, **fields}


def mount(mb: float, kind: str = "MOUNT") -> Json:
    return {**disk(mb), "disk": {"source": {"type": kind}}}


PHOTOS = disk(64, "photos", shared={})
MIXED = Resources(
    [
        "cpus:4;mem:1024;ports:[1-10];models:{a,b}",
        "cpus(eng):2;cpus(eng/prod):1;mem(ops):64;ports(eng):[20-21]",
        {"name": "cpus", "scalar": {"value": 8}, "revocable": {}},
        {"name": "cpus", "scalar": {"value": 16}, "role": "eng", "revocable": {}},
        disk(100, "v1", role="eng"),
        PHOTOS,
        PHOTOS,
    ]
)


# What is accepted


@pytest.mark.parametrize(
    "source",
    [
        "cpus:4;mem:8192",
        {"cpus": 4, "mem": 8192},
        {"cpus": "4", "mem": 8192.0},
        {"cpus": Decimal(4), "mem": Fraction(8192)},
        {"cpus": np.int32(4), "mem": np.float32(8192)},
        {"cpus": 4, "mem": 8192, "gpus": 0},
        Quantities("cpus:4;mem:8192"),
        '{"cpus": 4, "mem": 8192}',
        [
            {"name": "cpus", "type": "SCALAR", "scalar": {"value": 4}},
            {"name": "mem", "type": "SCALAR", "scalar": {"value": 8192}},
        ],
        ("cpus:1", {"cpus": 3}, Resource("mem:8000"), Resources("mem:192")),
        (text for text in ("cpus:4", "mem:8192")),
        ["cpus:4", ["mem:8192", []]],
        Resources("mem:8192;cpus:4"),
        np.str_("cpus:4;mem:8192"),
    ],
)
def test_everything_that_stands_for_resources(source: Any) -> None:
    assert Resources(source) == Resources("cpus:4;mem:8192")


def test_values_in_a_mapping_may_be_text() -> None:
    found = Resources({"ports": "[1-2]", "models": "{a,b}", "cpus": "0.5"})
    assert found == Resources("ports:[1-2];models:{a,b};cpus:0.5")


def test_a_mapping_may_have_names_that_v1_uses() -> None:
    found = Resources({"name": 1, "type": 2, "role": 3, "set": "{a}"})
    assert found == Resources("name:1;type:2;role:3;set:{a}")


def test_what_is_one_already_is_returned() -> None:
    value, entry, amount = Resources("cpus:1"), Resource("cpus:1"), Quantities("cpus:1")
    assert Resources(value) is value
    assert Resource(entry) is entry
    assert Quantities(amount) is amount
    assert Resources(entry) == value
    assert Resource(value) == entry


@pytest.mark.parametrize(
    "source",
    [
        None,
        5,
        1.5,
        True,
        b"cpus:1",
        [b"cpus:1"],
        [5],
        object(),
        {"cpus": None},
        {"cpus": [1]},
        {5: 1},
        {"": 1},
        {"cpus(eng)": 1},
        {"a b": 1},
        np.array([1.0]),
    ],
)
def test_what_is_no_resources_is_refused(source: Any) -> None:
    with pytest.raises(ResourceError):
        Resources(source)
    with pytest.raises(AllocatorError):
        Resources("cpus:1") + source


def test_a_list_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ResourceError, match="too deep"):
        Resources(loop)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", "is no resource"),
        ("cpus:1;mem:1", "is more than one resource"),
        ("cpus:1;cpus:1", "is more than one resource"),
        ([PHOTOS, disk(65, "photos", shared={})], "with another value"),
        ([], "is no resource"),
    ],
)
def test_an_entry_is_exactly_one(source: Any, reason: str) -> None:
    with pytest.raises(ResourceError, match=reason):
        Resource(source)


def test_a_single_entry_may_be_empty_and_vanishes() -> None:
    for text in ("cpus:0", "ports:[]", "models:{}"):
        entry = Resource(text)
        assert not entry
        assert str(entry) == text
        assert not Resources([entry])
    assert Resource("cpus:0.001")


# As values


def test_equal_values_have_equal_hashes() -> None:
    left = Resources("cpus:1;cpus(eng):2;ports:[1-4]")
    right = Resources("ports:[3-4];cpus(eng):2") + {"cpus": 1} + "ports:[1-2]"
    assert left == right
    assert hash(left) == hash(right)
    assert len({left, right, Resources(str(left))}) == 1
    assert left != Resources("cpus:3;ports:[1-4]")
    assert left != "cpus:1;cpus(eng):2;ports:[1-4]"
    assert left != 5


def test_values_cannot_be_changed() -> None:
    value, entry, amount = Resources("cpus:1"), Resource("cpus:1"), Quantities("cpus:1")
    for thing, name in ((value, "names"), (entry, "value"), (amount, "milli"), (value, "new")):
        with pytest.raises(AttributeError):
            setattr(thing, name, 1)
    for mapping in (value.plain_milli, amount.milli):
        with pytest.raises(TypeError):
            mapping["cpus"] = 5  # type: ignore[index]
    before = str(MIXED)
    MIXED + "cpus:1;ports:[50-51];cpus(eng):1"
    MIXED - "cpus:1;ports:[1-2];cpus(eng):1"
    assert str(MIXED) == before


@given(own.resources())
def test_values_survive_pickling_and_copying(value: Resources) -> None:
    for again in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
        assert again == value
        assert hash(again) == hash(value)
        assert again.to_json() == value.to_json()
        assert again.quantities() == value.quantities()
    for entry in value:
        assert pickle.loads(pickle.dumps(entry)) == copy.deepcopy(entry) == entry
        assert pickle.loads(pickle.dumps(entry)).identity is entry.identity
        assert repr(entry.identity).startswith(f"identity_of({entry.name!r}, {entry.type!r}, ")
        assert pickle.loads(pickle.dumps(entry)).disk == entry.disk
    amounts = value.quantities()
    assert pickle.loads(pickle.dumps(amounts)) == copy.deepcopy(amounts) == copy.copy(amounts)


def test_length_and_order_are_those_of_the_identities() -> None:
    assert len(MIXED) == 12
    texts = [str(entry) for entry in MIXED]
    assert texts == sorted(texts)
    assert len(Resources()) == 0
    assert not Resources()
    assert MIXED


# Identity


@pytest.mark.parametrize(
    "other",
    [
        disk(1, "v2", role="eng"),
        disk(1, role="eng"),
        disk(1, "v1"),
        disk(1, "v1", role="eng/prod"),
        disk(1, "v1", role="eng", reservation={}),
        disk(1, "v1", role="eng", revocable={}),
        disk(1, "v1", role="eng", shared={}),
        disk(1, "v1", role="eng", provider_id={"value": "p"}),
        {
            **disk(1, role="eng"),
            "disk": {"persistence": {"id": "v1"}, "source": {"type": "RAW"}},
        },
    ],
)
def test_entries_that_differ_in_identity_stay_apart(other: Json) -> None:
    one = Resources([disk(1, "v1", role="eng")])
    both = one + Resource(other)
    assert len(both) == 2
    assert one != Resources([other])
    assert [other] not in one
    assert both - [other] == one
    assert both["disk"] == 2.0


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"principal": "a"}, {"principal": "b"}),
        ({"principal": "a"}, {}),
        ({"labels": {"labels": [{"key": "k"}]}}, {}),
        ({"labels": {"labels": [{"key": "k", "value": "v"}]}}, {"labels": {"labels": []}}),
    ],
)
def test_principal_and_labels_of_a_reservation_are_identity(left: Json, right: Json) -> None:
    made = [
        Resource({"name": "cpus", "scalar": {"value": 1}, "role": "eng", "reservation": body})
        for body in (left, right)
    ]
    assert made[0] != made[1]
    assert len(Resources(made)) == 2


def test_the_persistence_principal_and_the_volume_are_carried_along() -> None:
    bare = Resource(disk(1, "v1"))
    body = disk(1)
    body["disk"] = {
        "persistence": {"id": "v1", "principal": "ops"},
        "volume": {"mode": "RO", "container_path": "data"},
    }
    full = Resource(body)
    assert bare == full
    assert hash(bare) == hash(full)
    assert [bare] in Resources([full])
    assert not Resources([full]) - [bare]
    assert next(iter(Resources([full]) + "cpus:1" - "cpus:1")).disk == full.disk


def test_reservation_labels_have_no_order() -> None:
    labels = [("a", "1"), ("b", None), ("a", None)]
    assert Reservation("STATIC", "eng", labels=tuple(labels)) == Reservation(
        "STATIC", "eng", labels=tuple(reversed(labels))
    )


# Arithmetic


def test_entries_of_one_identity_add_up() -> None:
    total = Resources("cpus:1;cpus(eng):1;ports:[1-2];models:{a}") + "cpus:2;cpus(eng):0.5"
    assert total == Resources("cpus:3;cpus(eng):1.5;ports:[1-2];models:{a}")
    assert total + "ports:[3-4];models:{b}" == Resources(
        "cpus:3;cpus(eng):1.5;ports:[1-4];models:{a,b}"
    )
    assert "cpus:1" + Resources("cpus:2") == Resources("cpus:3")
    assert {"cpus": 1} + Resources("cpus:2") == Resources("cpus:3")
    listed = ["cpus:1"]
    assert listed + Resources("cpus:2") == Resources("cpus:3")
    assert sum([Resources("cpus:1")] * 3, Resources()) == Resources("cpus:3")


def test_what_is_taken_must_be_there() -> None:
    total = Resources("cpus:4;cpus(eng):2;ports:[1-10];models:{a,b}")
    assert total - "cpus:4;cpus(eng):1;ports:[4-5];models:{a}" == Resources(
        "cpus(eng):1;ports:[1-3,6-10];models:{b}"
    )
    assert not total - total
    assert not total - str(total)
    assert "cpus:5" - Resources("cpus:2") == Resources("cpus:3")
    for text in (
        "cpus:4.001",
        "cpus(eng):3",
        "cpus(ops):1",
        "mem:1",
        "ports:[10-11]",
        "models:{c}",
    ):
        assert text not in total
        assert not total >= text
        with pytest.raises(ResourceError) as caught:
            total - text
        assert f"{text!r} is not contained in" in str(caught.value)
    with pytest.raises(ResourceError, match="'mem:1' is not contained in ''"):
        "" - Resources("mem:1")


def test_containment_reads_both_ways() -> None:
    assert "cpus:1" in Resources("cpus:2")
    assert Resources("cpus:2") >= {"cpus": 2}
    assert Resources("cpus:2") <= Resources("cpus:2;mem:1")
    assert Resources("cpus:2") >= "cpus:1"
    assert not Resources("cpus:2") >= "cpus:3"
    assert "" in Resources()
    assert Resource("cpus:1") in Resources("cpus:2")


def test_one_name_has_one_type() -> None:
    with pytest.raises(ResourceError, match="'disk' is both SET and SCALAR"):
        Resources("disk:{a}") + "disk:1"
    with pytest.raises(ResourceError, match="'disk' is both SET and SCALAR"):
        Resources("disk:1") + "disk(eng):{a}"
    with pytest.raises(ResourceError, match="'disk' is both"):
        Resources("disk(eng):[1-2]") + "disk:{a}"
    assert "disk:1" not in Resources("disk:{a}")
    with pytest.raises(ResourceError, match="'disk:1' is not contained"):
        Resources("disk:{a}") - "disk:1"
    assert Resources("disk:{a}") - "disk:{a}" + "disk:1" == Resources("disk:1")


@pytest.mark.parametrize("second", ["mem:1", "mem(eng):1"])
def test_a_name_never_exceeds_an_int64(second: str) -> None:
    full = Resources("mem:9223372036854775.807")
    with pytest.raises(ResourceError, match=r"'mem': 9223372036854776\.807 in all is over-large"):
        full + second
    with pytest.raises(ResourceError, match="over-large"):
        second + full
    with pytest.raises(ResourceError, match="over-large"):
        full.quantities() + "mem:1"
    assert full["mem"] == 9223372036854775.807


@given(own.divisible_resources(), own.divisible_resources())
def test_what_was_added_can_be_taken_again(left: Resources, right: Resources) -> None:
    total = left + right
    assert total - right == left
    assert total - left == right
    assert total >= left
    assert right in total
    assert total.quantities() == left.quantities() + right.quantities()


@given(own.resources(), own.resources(), own.resources())
def test_addition_commutes_and_associates(a: Resources, b: Resources, c: Resources) -> None:
    assert a + b == b + a
    assert hash(a + b) == hash(b + a)
    assert (a + b) + c == a + (b + c)
    assert (a + b).quantities() == (b + a).quantities()
    assert a + Resources() == Resources() + a == a
    assert Resources([*a, *b, *c]) == a + b + c


@given(own.wholes_and_parts())
def test_a_part_is_taken_and_given_back(pair: tuple[Resources, Resources]) -> None:
    whole, part = pair
    assert part in whole
    assert whole >= part
    rest = whole - part
    assert rest + part == whole
    assert (rest + part).quantities() == whole.quantities()
    assert rest in whole
    assert whole - rest == part
    # What is kept beside the entries is what they add up to.
    assert rest.quantities() == Resources(list(rest)).quantities()
    assert not any(not entry for entry in rest)


@given(own.resources(), own.resources())
def test_containment_is_an_order(a: Resources, b: Resources) -> None:
    assert a >= a
    assert a >= Resources()
    assert (a >= b and b >= a) == (a == b)
    try:
        rest = a - b
    except ResourceError:
        assert not a >= b
    else:
        assert a >= b
        assert rest + b == a


@given(own.plain_resources(), own.plain_resources())
def test_plain_scalars_are_counted_like_integers(a: Resources, b: Resources) -> None:
    names = a.plain_milli.keys() | b.plain_milli.keys()
    left, right = dict(a.plain_milli), dict(b.plain_milli)
    assert (a + b).plain_milli == {name: left.get(name, 0) + right.get(name, 0) for name in names}
    assert (a >= b) == all(left.get(name, 0) >= right.get(name, 0) for name in names)


@pytest.mark.parametrize(
    ("taken", "left"),
    [
        ("", "cpus(eng):2;cpus:4;mem:8;models:{a,b};ports:[1-9]"),
        ("cpus:6;gpus:1", "cpus(eng):2;mem:8;models:{a,b};ports:[1-9]"),
        ("cpus(eng):3;cpus(ops):1", "cpus:4;mem:8;models:{a,b};ports:[1-9]"),
        ("cpus(eng):0.5;mem:7.5", "cpus(eng):1.5;cpus:4;mem:0.5;models:{a,b};ports:[1-9]"),
        ("models:{b,c};ports:[5-20]", "cpus(eng):2;cpus:4;mem:8;models:{a};ports:[1-4]"),
        ("models:{a,b,c};ports:[0-20]", "cpus(eng):2;cpus:4;mem:8"),
    ],
)
def test_what_is_not_there_is_overlooked_on_request(taken: str, left: str) -> None:
    total = Resources("cpus:4;cpus(eng):2;mem:8;ports:[1-9];models:{a,b}")
    rest = total.minus_floor(taken)
    assert str(rest) == left
    assert rest.quantities() == Resources(left).quantities()


@given(own.resources(), own.resources())
def test_taking_what_is_there_leaves_a_part(a: Resources, b: Resources) -> None:
    rest = a.minus_floor(b)
    assert rest in a
    assert not a.minus_floor(a)
    assert rest.quantities() == Resources(list(rest)).quantities()
    if a >= b:
        assert rest == a - b


# Unsplittable entries


@pytest.mark.parametrize("body", [disk(10, "v1"), mount(10), mount(10, "BLOCK")])
def test_a_part_of_an_unsplittable_entry_is_not_contained_in_it(body: Json) -> None:
    whole = Resources([body, "cpus:1"])
    part = Resource(body).replace(value=5000)
    assert not part.splittable
    assert part not in whole
    assert [body] in whole
    assert whole.minus_floor(part) == Resources("cpus:1")
    with pytest.raises(ResourceError, match="is not contained"):
        whole - [part]
    assert whole - [body] == Resources("cpus:1")


@pytest.mark.parametrize("kind", ["PATH", "RAW"])
def test_other_disks_can_be_split(kind: str) -> None:
    whole = Resource(mount(10, kind))
    assert whole.splittable
    assert whole.replace(value=4000) in Resources(whole)
    assert Resources(whole) - whole.replace(value=4000) == Resources(whole.replace(value=6000))


def test_an_unsplittable_set_is_whole_too() -> None:
    body = {"name": "disk", "set": {"item": ["sda", "sdb"]}, "disk": {"source": {"type": "BLOCK"}}}
    whole = Resources([body])
    assert body in whole
    assert Resource(body).replace(value={"sda"}) not in whole


# Shared entries


def test_shared_entries_count_copies() -> None:
    one = Resources([PHOTOS])
    three = one + one + one
    assert len(three) == 1
    assert next(iter(three)).copies == 3
    assert three >= one
    assert not one >= three
    assert three - one == one + one
    assert three - one - one == one
    assert not three - three
    assert three.minus_floor(one) == one + one
    assert not one.minus_floor(three)
    with pytest.raises(ResourceError, match="is not contained"):
        one - (one + one)
    assert three["disk"] == 64.0
    assert three.quantities() == (three - one).quantities() == Quantities("disk:64")
    assert (three - one - one - one).quantities() == Quantities()
    assert three.shared() == three
    assert not three.nonshared()


def test_a_shared_entry_has_copies_instead_of_parts() -> None:
    whole = Resource({"name": "cpus", "scalar": {"value": 4}, "shared": {}})
    assert not whole.splittable
    assert whole.replace(value=1000) not in Resources(whole)


def test_a_shared_identity_has_one_value() -> None:
    bigger = Resources([disk(65, "photos", shared={})])
    with pytest.raises(ResourceError, match="with another value"):
        Resources([PHOTOS]) + bigger
    assert bigger not in Resources([PHOTOS])
    assert [PHOTOS] not in bigger


def test_a_shared_entry_beside_plain_ones_counts_once() -> None:
    both = Resources(["disk:10", PHOTOS])
    more = both + Resource(PHOTOS)
    assert more["disk"] == both["disk"] == 74.0
    assert (more - "disk:10")["disk"] == 64.0


# Views


def texts(value: Resources) -> list[str]:
    """Its entries, each by its amount, role and flags, which tell MIXED's entries apart."""
    return sorted(
        f"{entry.name}{f'({entry.role})' if entry.role else ''}"
        f"{'!' if entry.revocable else ''}{f'#{entry.persistence_id}' if entry.disk else ''}"
        for entry in value
    )


ALL = texts(MIXED)


def test_views_select_entries() -> None:
    reserved = ["cpus(eng)", "cpus(eng)!", "cpus(eng/prod)", "disk(eng)#v1", "mem(ops)"]
    assert texts(MIXED.reserved()) == [*reserved, "ports(eng)"]
    assert texts(MIXED.reserved("eng")) == ["cpus(eng)", "cpus(eng)!", "disk(eng)#v1", "ports(eng)"]
    assert texts(MIXED.reserved("eng/prod")) == ["cpus(eng/prod)"]
    assert texts(MIXED.reserved("en")) == []
    assert texts(MIXED.unreserved()) == ["cpus", "cpus!", "disk#photos", "mem", "models", "ports"]
    assert texts(MIXED.revocable()) == ["cpus!", "cpus(eng)!"]
    assert texts(MIXED.nonrevocable()) == [text for text in ALL if "!" not in text]
    assert texts(MIXED.shared()) == ["disk#photos"]
    assert texts(MIXED.nonshared()) == [text for text in ALL if "#photos" not in text]
    assert texts(MIXED.scalars()) == [text for text in ALL if text[0] in "cd" or text[:2] == "me"]
    assert texts(MIXED.special()) == [text for text in ALL if text not in ("cpus", "mem")]
    assert MIXED.plain_milli == {"cpus": 4000, "mem": 1024000}


@pytest.mark.parametrize(
    ("role", "reserved"),
    [
        ("eng", ["cpus(eng)", "cpus(eng)!", "disk(eng)#v1", "ports(eng)"]),
        (
            "eng/prod",
            ["cpus(eng)", "cpus(eng)!", "cpus(eng/prod)", "disk(eng)#v1", "ports(eng)"],
        ),
        (
            "eng/prod/web",
            ["cpus(eng)", "cpus(eng)!", "cpus(eng/prod)", "disk(eng)#v1", "ports(eng)"],
        ),
        ("eng/production", ["cpus(eng)", "cpus(eng)!", "disk(eng)#v1", "ports(eng)"]),
        ("ops", ["mem(ops)"]),
        ("engineering", []),
        ("*", []),
    ],
)
def test_a_role_may_have_what_it_or_an_ancestor_reserves(role: str, reserved: list[str]) -> None:
    mine = MIXED.allocatable_to(role)
    assert mine.unreserved() == MIXED.unreserved()
    assert texts(mine.reserved()) == reserved


def test_only_the_innermost_reservation_counts() -> None:
    refined = Resources(
        [
            {
                "name": "cpus",
                "scalar": {"value": 1},
                "reservations": [
                    {"type": "STATIC", "role": "eng"},
                    {"type": "DYNAMIC", "role": "eng/prod"},
                ],
            }
        ]
    )
    assert refined.reserved("eng/prod") == refined
    assert not refined.reserved("eng")
    assert not refined.allocatable_to("eng")
    assert refined.allocatable_to("eng/prod") == refined


@given(own.resources())
def test_views_part_the_whole(value: Resources) -> None:
    plain = Resources.from_milli(value.plain_milli)
    assert value.reserved() + value.unreserved() == value
    assert value.revocable() + value.nonrevocable() == value
    assert value.shared() + value.nonshared() == value
    assert value.special() + plain == value
    for view in (
        value.reserved(),
        value.unreserved(),
        value.scalars(),
        value.special(),
        value.allocatable_to("eng/prod"),
    ):
        assert view in value
        assert view.quantities() == Resources(list(view)).quantities()


def test_sums_over_all_identities() -> None:
    assert MIXED["cpus"] == 31.0
    assert MIXED["disk"] == 164.0
    assert MIXED["ports"] == ((1, 10), (20, 21))
    assert MIXED["models"] == {"a", "b"}
    assert MIXED["gpus"] == 0.0
    assert MIXED.quantities() == {"cpus": 31, "mem": 1088, "disk": 164}
    assert MIXED.counts() == {"cpus": 31, "mem": 1088, "disk": 164, "ports": 12, "models": 2}
    assert Resources("cpus:1").counts() is Resources("cpus:1").quantities()


def test_counts_stop_at_what_an_int64_holds() -> None:
    vast = Resources("ports:[0-9223372036854775807];ports(eng):[1-2]")
    assert vast.counts().milli == {"ports": 2**63 - 1}


def test_plain_scalars_from_thousandths() -> None:
    assert Resources.from_milli({"cpus": 1500, "mem": 0}) == Resources("cpus:1.5")
    counted: Any = {"cpus": np.int64(7)}
    assert Resources.from_milli(counted) == Resources("cpus:0.007")
    for bad in ({"cpus": -1}, {"cpus": 2**63}, {"cpus": 1.5}, {"cpus": True}, {"": 1}, {5: 1}):
        with pytest.raises(ResourceError):
            Resources.from_milli(bad)  # type: ignore[arg-type]
        with pytest.raises(ResourceError):
            Quantities.from_milli(bad)  # type: ignore[arg-type]


# Entries


def test_an_entry_with_parts_replaced() -> None:
    entry = Resource("disk(eng):64")
    outer = entry.reservations
    assert str(entry.replace(value=1500)) == "disk(eng):1.5"
    assert str(entry.replace(reservations=())) == "disk:64"
    assert entry.replace(reservations=[*outer, Reservation("DYNAMIC", "eng/a")]).role == "eng/a"
    assert entry.replace(revocable=True, provider_id="p").to_json() == {
        **entry.to_json(),
        "revocable": {},
        "provider_id": {"value": "p"},
    }
    volume = entry.replace(disk=DiskInfo(Persistence("v"), Volume("x")), shared=True, copies=2)
    assert (volume.persistence_id, volume.copies, volume.splittable) == ("v", 2, False)
    assert volume.replace(disk=None, shared=False, copies=1) == entry
    assert entry.replace(disk=DiskInfo()) == entry
    assert entry.replace(disk=DiskInfo(source=DiskSource("RAW"))).source == DiskSource("RAW")
    assert str(Resource("ports:[1-9]").replace(value=[(5, 6), (1, 4)])) == "ports:[1-6]"
    assert str(Resource("models:{a}").replace(value=["b", "c"])) == "models:{b,c}"
    assert entry.replace() == entry


@pytest.mark.parametrize(
    ("text", "parts", "reason"),
    [
        ("cpus:1", {"value": -1}, "negative"),
        ("cpus:1", {"value": 2**63}, "over-large"),
        ("cpus:1", {"value": 1.5}, "1.5 is not an amount in 1/1000"),
        ("cpus:1", {"value": "{a}"}, "'{a}' is not an amount in 1/1000"),
        ("ports:[1-2]", {"value": 5}, "5 is no value of type RANGES"),
        ("ports:[1-2]", {"value": [(1, 2, 3)]}, "is no value of type RANGES"),
        ("ports:[1-2]", {"value": [(2, 1)]}, "2-1 ends before it begins"),
        ("ports:[1-2]", {"value": [(1, 2**63)]}, "is not an integer from 0"),
        ("models:{a}", {"value": "ab"}, "'ab' is no value of type SET"),
        ("models:{a}", {"value": [""]}, "is no value of type SET"),
        ("models:{a}", {"value": 5}, "5 is no value of type SET"),
        ("cpus:1", {"copies": 2}, "2 copies"),
        ("cpus:1", {"copies": 0, "shared": True}, "0 copies"),
        ("cpus:1", {"disk": DiskInfo()}, "belongs to 'disk', not to 'cpus'"),
        ("cpus:1", {"provider_id": 5}, "'provider_id' must be a text, not 5"),
        ("cpus:1", {"reservations": ["eng"]}, "'eng' is not a Reservation"),
        (
            "cpus(eng):1",
            {"reservations": [Reservation("STATIC", "eng"), Reservation("DYNAMIC", "ops")]},
            "'ops' does not refine the one for 'eng'",
        ),
    ],
)
def test_a_replacement_that_does_not_fit_is_refused(text: str, parts: Json, reason: str) -> None:
    with pytest.raises(ResourceError) as caught:
        Resource(text).replace(**parts)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: Reservation("STATIC", "*"), "role '*'"),
        (lambda: Reservation("STATIC", "a//b"), "role 'a//b'"),
        (lambda: Reservation("static", "a"), "'static' is not STATIC"),  # type: ignore[arg-type]
        (lambda: Reservation("STATIC", "a", 5), "'principal' must be"),  # type: ignore[arg-type]
        (lambda: Reservation("STATIC", "a", labels=((1, "b"),)), "(1, 'b')"),  # type: ignore[arg-type]
        (lambda: Reservation("STATIC", "a", labels=(("k", 5),)), "not 5"),  # type: ignore[arg-type]
        (lambda: Persistence(""), "persistence id ''"),
        (lambda: Persistence("v", 5), "'principal' must be"),  # type: ignore[arg-type]
        (lambda: Volume(mode="rw"), "volume mode 'rw'"),  # type: ignore[arg-type]
        (lambda: DiskSource("DISC"), "'DISC' is none of"),  # type: ignore[arg-type]
        (lambda: DiskSource("BLOCK", root="/"), "a BLOCK disk has no root"),
        (lambda: Reservation("STATIC", "a", labels=5), "5 is not a collection"),  # type: ignore[arg-type]
        (lambda: DiskInfo("v1"), "'v1' in disk information is no Persistence"),  # type: ignore[arg-type]
        (lambda: DiskInfo(volume=Volume("x")), "'volume' without 'persistence'"),
    ],
)
def test_malformed_parts_are_refused(build: Any, reason: str) -> None:
    with pytest.raises(ResourceError) as caught:
        build()
    assert reason in str(caught.value)
