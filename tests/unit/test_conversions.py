"""Conversions: what becomes of resources, and which conversions are impossible."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.errors import ResourceError, cut
from allocator.resources import DiskInfo, DiskSource, Persistence, Reservation, Resource, Resources
from allocator.resources import Volume as Mount
from allocator.resources.conversions import (
    Create,
    Destroy,
    GrowVolume,
    Reserve,
    ShrinkVolume,
    Unreserve,
    convert,
    operation_from_json,
    read_operations,
)

PATH, MOUNT, BLOCK = DiskSource("PATH", "/a"), DiskSource("MOUNT", "/b"), DiskSource("BLOCK")
NOTHING = Resources()


def stack(*roles):
    """Return a stack in which `+eng` is a static reservation."""
    return tuple(
        Reservation("STATIC" if role.startswith("+") else "DYNAMIC", role.lstrip("+"))
        for role in roles
    )


def entry(text, *roles, **parts):
    return Resource(text).replace(reservations=stack(*roles), **parts)


def resources(*entries):
    return Resources(entries)


def disk(size, *roles, source=None, **parts):
    return entry(f"disk:{size}", *roles, disk=DiskInfo(source=source), **parts)


def volume(size, *roles, id="v1", source=None, mode="RW", **parts):
    info = DiskInfo(Persistence(id), Mount("data", mode), source)
    return entry(f"disk:{size}", *roles, disk=info, **parts)


def refused(before, operations, *named, **elsewhere):
    """Check that it is refused, by a message that has all of these texts."""
    with pytest.raises(ResourceError) as refusal:
        convert(before, operations, **elsewhere)
    for text in named:
        assert cut(text) in str(refusal.value)


# Reserve and Unreserve


def test_reserve_takes_what_is_unreserved():
    before = resources("cpus:4;mem:8;ports:[1-9]")
    wanted = resources(entry("cpus:1", "eng"), entry("ports:[2-3]", "eng"))
    after = convert(before, [Reserve(wanted)])
    assert after == resources("cpus:3;mem:8;ports:[1-1,4-9]") + wanted


def test_reserve_refines_what_is_reserved():
    before = resources(entry("cpus:4", "+eng"))
    after = convert(before, [Reserve(entry("cpus:1", "+eng", "eng/prod"))])
    assert after == resources(entry("cpus:3", "+eng"), entry("cpus:1", "+eng", "eng/prod"))


def test_unreserve_pops_one_reservation():
    before = resources(entry("cpus:4", "eng", "eng/prod"))
    after = convert(before, [Unreserve(before)])
    assert after == resources(entry("cpus:4", "eng"))
    assert convert(after, [Unreserve(after)]) == resources("cpus:4")


def test_reserve_moves_from_a_source_to_another_role():
    source, target = entry("cpus:1", "eng", "eng/prod"), entry("cpus:1", "eng", "eng/test")
    assert convert(resources(source, "cpus:3"), [Reserve(target, source)]) == resources(
        target, "cpus:3"
    )
    target = entry("cpus:1", "ops")
    assert convert(resources(source), [Reserve(target, source)]) == resources(target)
    target = entry("cpus:1", "ops", "ops/db")
    assert convert(resources("cpus:1"), [Reserve(target, "cpus:1")]) == resources(target)


def test_reserve_from_a_source_keeps_other_parts():
    source, target = disk(5, "eng", source=PATH), disk(5, "ops", source=PATH)
    assert convert(resources(source), [Reserve(target, source)]) == resources(target)
    refused(resources(source), [Reserve(disk(5, "ops"), source)], "RESERVE", source)


@pytest.mark.parametrize(
    ("target", "source"),
    [
        (entry("cpus:1", "ops"), entry("cpus:2", "eng")),
        (entry("cpus:1", "ops"), entry("mem:1", "eng")),
        (entry("cpus:1", "ops"), NOTHING),
        (entry("cpus:1", "ops"), entry("cpus:1", "+eng")),
        (entry("cpus:1", "+ops", "ops/db"), entry("cpus:1", "eng")),
        (
            [entry("cpus:1", "ops"), entry("mem:1", "eng")],
            [entry("cpus:1;", "x"), entry("mem:1", "x")],
        ),
        (
            [entry("cpus:1", "x"), entry("mem:1", "x")],
            [entry("cpus:1;", "ops"), entry("mem:1", "eng")],
        ),
    ],
)
def test_reserve_from_what_cannot_be_its_source(target, source):
    refused(Resources(source), [Reserve(target, source)], "RESERVE: ", Resources(target))


@pytest.mark.parametrize("operation", [Reserve, Unreserve])
@pytest.mark.parametrize(
    "wanted",
    [
        entry("cpus:1"),
        entry("cpus:1", "+eng"),
        volume(5, "eng"),
        volume(5, "+eng", "eng/prod"),
        disk(5, "eng", shared=True),
    ],
)
def test_only_what_is_dynamically_reserved_and_no_volume(operation, wanted):
    before = resources(wanted.replace(reservations=wanted.reservations[:-1]), wanted)
    refused(before, [operation(wanted)], operation.type, wanted)


def test_revocable_resources_cannot_be_reserved():
    wanted = entry("cpus:1", "eng", revocable=True)
    refused(resources(entry("cpus:1", revocable=True)), [Reserve(wanted)], "RESERVE", wanted)


@pytest.mark.parametrize(
    ("before", "operation"),
    [
        (resources("cpus:1"), Reserve(entry("cpus:1.001", "eng"))),
        (resources(entry("cpus:1", "+eng")), Reserve(entry("cpus:1", "eng", "eng/prod"))),
        (resources(entry("cpus:1", "eng")), Unreserve(entry("cpus:1", "ops"))),
        (resources(entry("cpus:1", "eng")), Unreserve(entry("cpus:2", "eng"))),
        (resources("ports:[1-4]"), Reserve(entry("ports:[4-5]", "eng"))),
        (resources(disk(8, "eng")), Create(volume(9, "eng"))),
        (resources(disk(8, "eng")), Create(volume(8, "ops"))),
        (resources(disk(8, "eng")), Create(volume(8, "eng", source=PATH))),
        (resources(disk(8, "eng", source=MOUNT)), Create(volume(4, "eng", source=MOUNT))),
        (resources(volume(8, "eng")), Destroy(volume(4, "eng"))),
        (resources(volume(8, "eng")), Destroy(volume(8, "eng", id="v2"))),
        (resources(volume(8, "eng")), GrowVolume(volume(8, "eng"), disk(1, "eng"))),
        (resources(volume(8, "eng"), disk(9, "eng")), GrowVolume(volume(4, "eng"), disk(1, "eng"))),
        (resources(volume(8, "eng")), ShrinkVolume(volume(4, "eng"), 2)),
        (NOTHING, ShrinkVolume(volume(4, "eng"), 2)),
    ],
)
def test_what_is_not_there_cannot_be_converted(before, operation):
    refused(before, [operation], operation.type, "is not contained in")


# Create and Destroy


@pytest.mark.parametrize("source", [None, PATH, MOUNT, BLOCK])
@pytest.mark.parametrize("shared", [False, True])
def test_create_and_destroy(source, shared):
    before = resources(disk(8, "+eng", source=source), "cpus:1")
    made = volume(8, "+eng", source=source, shared=shared)
    after = convert(before, [Create(made)])
    assert after == resources(made, "cpus:1")
    assert next(e for e in after if e.disk).disk.volume == Mount("data", "RW")
    assert convert(after, [Destroy(made)], existing=after) == before


def test_a_volume_takes_a_part_of_a_disk_that_can_be_split():
    before = resources(disk(8, "eng", source=PATH))
    after = convert(before, [Create(volume(3, "eng", source=PATH))])
    assert after == resources(volume(3, "eng", source=PATH), disk(5, "eng", source=PATH))


def test_ids_are_unique_per_role():
    before = resources(disk(8, "eng"), disk(8, "ops"), volume(1, "eng", id="old"))
    both = resources(volume(1, "eng"), volume(1, "ops"))
    assert convert(before, [Create(both)]) == (
        resources(disk(7, "eng"), disk(7, "ops"), volume(1, "eng", id="old")) + both
    )
    twice = [volume(1, "eng"), volume(1, "eng")]
    refused(before, [Create(twice)], "CREATE", twice[0], "not unique")
    refused(before, [Create(twice[0]), Create(twice[0])], "not unique")
    refused(before, [Create([volume(1, "eng", shared=True)] * 2)], "not unique")
    refused(before, [Create(volume(1, "eng", id="old"))], "not unique")
    refused(before, [Create(volume(2, "eng", id="old", shared=True))], "not unique")


def test_ids_are_unique_on_the_agent():
    offered, elsewhere = (
        resources(disk(8, "eng"), volume(1, "eng")),
        resources(volume(9, "eng", id="v2")),
    )
    again = Create(volume(1, "eng", id="v2"))
    for existing in (elsewhere, offered + elsewhere):
        refused(offered, [again], "not unique", existing=existing)
    # An id that becomes free on the way can be used again.
    operations = [Destroy(volume(1, "eng")), Create(volume(9, "eng"))]
    after = convert(offered, operations, existing=offered + elsewhere)
    assert after == resources(volume(9, "eng"))


@pytest.mark.parametrize(
    "wanted",
    [
        entry("cpus:1", "eng"),
        disk(1, "eng"),
        disk(1, "eng", source=PATH),
        volume(1, "eng", mode="RO"),
        volume(1, revocable=True),
        volume(0, "eng"),
    ],
)
def test_only_writable_persistent_volumes_can_be_created(wanted):
    before = resources(
        wanted.replace(disk=DiskInfo(source=wanted.source)) if wanted.disk else wanted
    )
    refused(before + resources(disk(1, "eng")), [Create(wanted)], "CREATE", wanted)


def test_only_persistent_volumes_can_be_destroyed():
    refused(resources(disk(1, "eng")), [Destroy(disk(1, "eng"))], "DESTROY", disk(1, "eng"))


def test_a_shared_volume_in_use_cannot_be_destroyed():
    shared, other = volume(8, "eng", shared=True), volume(8, "eng", id="v2")
    before = resources(shared, other)
    refused(before, [Destroy(shared)], "DESTROY", shared, "in use", shared_in_use=before)
    refused(before + resources(shared), [Destroy(shared)], shared, "in use")
    refused(before + resources(shared), [Destroy([shared, shared])], "in use")
    # Others may be destroyed all the same, and it may be when nobody uses it.
    assert convert(before, [Destroy(other)], shared_in_use=before) == resources(
        shared, disk(8, "eng")
    )
    assert convert(before, [Destroy(shared)], shared_in_use=resources(other)) == resources(
        other, disk(8, "eng")
    )


# GrowVolume and ShrinkVolume


@pytest.mark.parametrize("source", [None, PATH])
def test_grow_and_shrink(source):
    before = resources(volume(4, "eng", source=source), disk(3, "eng", source=source))
    addition = disk(1.5, "eng", source=source)
    after = convert(before, [GrowVolume(volume(4, "eng", source=source), addition)])
    assert after == resources(volume(5.5, "eng", source=source), disk(1.5, "eng", source=source))
    assert convert(after, [ShrinkVolume(volume(5.5, "eng", source=source), 1.5)]) == before


def test_a_resized_volume_keeps_what_it_carries_along():
    bare = entry("disk:4", "eng", disk=DiskInfo(Persistence("v1")))
    before = resources(volume(4, "eng"), disk(3, "eng"))
    for operation in (GrowVolume(bare, disk(3, "eng")), ShrinkVolume(bare, 1)):
        [resized] = [e for e in convert(before, [operation]) if e.persistence_id]
        assert resized.disk.volume == Mount("data", "RW")


@pytest.mark.parametrize(
    "amount",
    [
        *(2, 2.0, Decimal(2), {"value": 2}),
        *("disk:2", {"disk": 2}, [{"name": "disk", "scalar": {"value": 2}}]),
        *(Resources("disk:2").quantities(), disk(2, "eng"), resources(disk(2, "eng"))),
    ],
)
def test_amounts_to_shrink_by(amount):
    operation = ShrinkVolume(volume(4, "eng"), amount)
    assert operation == ShrinkVolume(volume(4, "eng"), 2)
    assert convert(resources(volume(4, "eng")), [operation]) == resources(
        volume(2, "eng"), disk(2, "eng")
    )


@pytest.mark.parametrize("amount", [-1, "cpus:1", "disk", float("nan"), True, "disk:1;mem:1"])
def test_what_is_no_amount_of_disk_is_refused(amount):
    with pytest.raises(ResourceError, match="SHRINK_VOLUME"):
        ShrinkVolume(volume(4, "eng"), amount)


@pytest.mark.parametrize("amount", [0, 4, 4.001, {}])
def test_a_volume_shrinks_by_a_part_of_it(amount):
    refused(resources(volume(4, "eng")), [ShrinkVolume(volume(4, "eng"), amount)], volume(4, "eng"))


@pytest.mark.parametrize(
    "fixed",
    [
        volume(4, "eng", source=MOUNT),
        volume(4, "eng", source=BLOCK),
        volume(4, "eng", shared=True),
        volume(4, "eng", provider_id="p1"),
        disk(4, "eng"),
        entry("cpus:4", "eng"),
    ],
)
def test_what_cannot_be_resized(fixed):
    plain = fixed.replace(disk=DiskInfo(source=fixed.source), shared=False) if fixed.disk else fixed
    before = resources(fixed, plain)
    refused(before, [GrowVolume(fixed, plain)], "GROW_VOLUME", fixed)
    refused(before, [ShrinkVolume(fixed, 1)], "SHRINK_VOLUME", fixed)


@pytest.mark.parametrize(
    "addition",
    [
        disk(1),
        disk(1, "ops"),
        disk(1, "eng", source=PATH),
        disk(0, "eng"),
        volume(1, "eng", id="v2"),
        entry("mem:1", "eng"),
    ],
)
def test_a_volume_grows_by_disk_of_its_kind(addition):
    before = resources(volume(4, "eng"), addition)
    refused(before, [GrowVolume(volume(4, "eng"), addition)], "GROW_VOLUME", addition)


# Several of them


def test_operations_build_on_each_other():
    operations = [
        Reserve(disk(8, "eng")),
        Create(volume(3, "eng")),
        GrowVolume(volume(3, "eng"), disk(2, "eng")),
        Unreserve(disk(3, "eng")),
    ]
    after = convert(resources("disk:9"), operations)
    assert after == resources(volume(5, "eng"), "disk:4")


def test_all_or_nothing():
    before = resources("cpus:4")
    text = str(before)
    refused(before, [Reserve(entry("cpus:1", "eng")), Reserve(entry("cpus:4", "eng"))], "RESERVE")
    assert str(before) == text


def test_no_operation_is_no_change():
    assert convert(resources("cpus:4"), []) == resources("cpus:4")
    assert convert(resources("cpus:4"), [Reserve(""), Create([])]) == resources("cpus:4")


# Reading and writing

EACH = [
    Reserve(entry("cpus:1", "eng")),
    Reserve(entry("cpus:0.5", "eng"), entry("cpus:0.5", "ops")),
    Unreserve([entry("cpus:1", "eng"), entry("ports:[1-2]", "eng")]),
    Create([volume(1, "eng"), volume(2, "eng", id="v2", source=PATH)]),
    Destroy([volume(1, "eng", shared=True), volume(2, "eng", id="v2")]),
    GrowVolume(volume(1, "eng"), disk(2, "eng")),
    ShrinkVolume(volume(3, "eng"), 0.5),
]


@pytest.mark.parametrize("operation", EACH, ids=lambda operation: operation.type)
def test_json_round_trip(operation):
    body = json.loads(json.dumps(operation.to_json()))
    again = operation_from_json(body)
    assert again == operation
    assert hash(again) == hash(operation)
    assert again.to_json() == body
    assert type(again) is type(operation)


def test_the_json_is_that_of_v1():
    assert ShrinkVolume(volume(3, "eng"), 0.5).to_json() == {
        "type": "SHRINK_VOLUME",
        "shrink_volume": {
            "volume": volume(3, "eng").to_json(),
            "subtract": {"value": 0.5},
        },
    }
    assert Reserve(entry("cpus:1", "eng"), entry("cpus:1", "ops")).to_json() == {
        "type": "RESERVE",
        "reserve": {
            "resources": [entry("cpus:1", "eng").to_json()],
            "source": [entry("cpus:1", "ops").to_json()],
        },
    }


def test_operations_may_be_json_and_stand_alone():
    operation = Reserve(entry("cpus:1", "eng"))
    assert read_operations(operation) == (operation,)
    assert read_operations(operation.to_json()) == (operation,)
    assert read_operations(iter([operation, operation.to_json()])) == (operation, operation)
    assert convert(resources("cpus:1"), operation.to_json()) == resources(entry("cpus:1", "eng"))


def test_an_empty_source_and_unknown_fields_are_none():
    operation = Reserve(entry("cpus:1", "eng"))
    body = operation.to_json()
    body["id"] = {"value": "o1"}
    body["reserve"]["source"] = []
    assert operation_from_json(body) == operation


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "None"),
        ({"type": "LAUNCH", "launch": {}}, "LAUNCH"),
        ({"type": ["RESERVE"]}, "RESERVE"),
        ({"type": "reserve"}, "'reserve'"),
        ({"type": "RESERVE"}, "'reserve' must be an object"),
        ({"type": "RESERVE", "reserve": []}, "'reserve' must be an object"),
        ({"type": "RESERVE", "unreserve": {"resources": []}}, "'reserve' must be an object"),
        ({"type": "CREATE", "create": {"resources": []}}, "CREATE: 'volumes' is missing"),
        ({"type": "UNRESERVE", "unreserve": {"resources": "cpus:x"}}, "UNRESERVE: .*cpus:x"),
        ({"type": "GROW_VOLUME", "grow_volume": {"volume": "disk:1"}}, "'addition' is missing"),
        (
            {
                "type": "GROW_VOLUME",
                "grow_volume": {"volume": "disk:1;mem:1", "addition": "disk:1"},
            },
            "more than one",
        ),
        ("RESERVE", "'R' is not an operation"),
        (7, "7 is not an operation"),
        ([None], "None is not an operation"),
    ],
)
def test_what_is_no_operation_is_refused(given, named):
    with pytest.raises(ResourceError, match=named):
        read_operations(given)


# Laws

ROLES = [(), ("+eng",), ("eng",), ("+eng", "eng/prod"), ("eng", "eng/prod")]
sizes = st.integers(1, 9000)
stacks = st.sampled_from(ROLES)
scalars = st.builds(
    lambda name, milli, roles: Resource(f"{name}:1").replace(
        value=milli, reservations=stack(*roles)
    ),
    st.sampled_from(["cpus", "mem", "disk"]),
    sizes,
    stacks,
)
ports = st.builds(
    lambda begin, length, roles: entry(f"ports:[{begin}-{begin + length}]", *roles),
    st.integers(0, 20),
    st.integers(0, 5),
    stacks,
)
disks = st.builds(
    lambda milli, roles, source: disk(1, *roles, source=source).replace(value=milli),
    sizes,
    stacks,
    st.sampled_from([None, PATH, MOUNT, BLOCK]),
)


@st.composite
def parts_of(draw, before):
    """Draw a part of each of some entries."""
    taken = []
    for item in before:
        if draw(st.booleans()):
            splits = item.type == "SCALAR" and item.splittable
            taken.append(item.replace(value=draw(st.integers(1, item.value))) if splits else item)
    return taken


def deeper(item):
    """Return the entry with one more reservation."""
    role = item.role + "/x" if item.role else "new"
    return item.replace(reservations=(*item.reservations, Reservation("DYNAMIC", role, "ops")))


@given(st.data())
def test_unreserve_undoes_reserve(data):
    before = Resources(data.draw(st.lists(st.one_of(scalars, ports, disks), max_size=6)))
    reserved = [deeper(item) for item in data.draw(parts_of(before))]
    after = convert(before, [Reserve(reserved)])
    assert after >= Resources(reserved)
    assert after.quantities() == before.quantities()
    assert convert(after, [Unreserve(reserved)]) == before
    assert convert(before, [Reserve(reserved), Unreserve(reserved)]) == before


@given(st.data())
def test_destroy_undoes_create(data):
    before = Resources(data.draw(st.lists(st.one_of(scalars, disks), max_size=6)))
    volumes = []
    for item in data.draw(parts_of(before)):
        if item.name == "disk":
            info = DiskInfo(Persistence(f"v{len(volumes)}"), source=item.source)
            volumes.append(item.replace(disk=info, shared=data.draw(st.booleans())))
    after = convert(before, [Create(volumes)])
    assert after >= Resources(volumes)
    assert after.quantities() == before.quantities()
    assert convert(after, [Destroy(volumes)], existing=after) == before


@given(milli=sizes, addition=sizes, source=st.sampled_from([None, PATH]), roles=stacks)
def test_shrink_undoes_grow(milli, addition, source, roles):
    small = volume(1, *roles, source=source).replace(value=milli)
    more = disk(1, *roles, source=source).replace(value=addition)
    before = resources(small, more)
    grown = small.replace(value=milli + addition)
    assert convert(before, [GrowVolume(small, more)]) == resources(grown)
    assert convert(resources(grown), [ShrinkVolume(grown, more)]) == before


operations = st.one_of(
    st.builds(Reserve, scalars.filter(lambda item: item.reservations)),
    st.builds(Unreserve, scalars),
    st.builds(lambda milli, roles: Create(volume(1, *roles).replace(value=milli)), sizes, stacks),
    st.builds(lambda milli, roles: Destroy(volume(1, *roles).replace(value=milli)), sizes, stacks),
)


#: Enough of everything that most of the operations are possible.
PLENTY = Resources(
    entry(f"{name}:99", *roles) for name in ("cpus", "mem", "disk") for roles in ROLES
)


@given(st.lists(st.one_of(scalars, ports), max_size=6), st.lists(operations, max_size=4))
def test_a_conversion_conserves_quantities_or_is_refused(entries, operations):
    before = PLENTY + entries
    refusal = None
    try:
        after = convert(before, operations)
    except ResourceError as error:
        after, refusal = before, str(error)
    assert after.quantities() == before.quantities()
    assert after["ports"] == before["ports"]
    assert refusal is None or refusal.startswith(tuple(o.type for o in operations))
