"""A reservation over several offers does what it would do to all that is in them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from allocator.errors import AllocatorError
from allocator.master.spreading import spread
from allocator.resources import Reservation, Resources
from allocator.resources.conversions import Create, Operation, Reserve, Unreserve, convert

STACKS: list[list[dict[str, str]]] = [
    [],
    [{"type": "DYNAMIC", "role": "eng"}],
    [{"type": "DYNAMIC", "role": "eng"}, {"type": "DYNAMIC", "role": "eng/web"}],
    [{"type": "STATIC", "role": "eng"}],
]


def entry(name: str, amount: float, stack: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "name": name,
        "type": "SCALAR",
        "scalar": {"value": amount},
        "reservations": stack,
    }


def ports(begin: int, stack: list[dict[str, str]]) -> dict[str, Any]:
    ranges = {"range": [{"begin": begin, "end": begin + 9}]}
    return {"name": "ports", "type": "RANGES", "ranges": ranges, "reservations": stack}


amounts = st.integers(1, 40).map(lambda n: n / 8)
scalars = st.builds(entry, st.sampled_from(["cpus", "mem"]), amounts, st.sampled_from(STACKS))
resources = st.lists(scalars, max_size=4).map(Resources)


@st.composite
def offers(draw: st.DrawFn) -> list[Resources]:
    """Draw what is in some offers of an agent; a port is in one of them."""
    lefts = draw(st.lists(resources, min_size=2, max_size=4))
    stacks = draw(st.lists(st.sampled_from(STACKS), max_size=len(lefts)))
    for place, stack in enumerate(stacks):
        lefts[place] += Resources(ports(20 * place, stack))
    return lefts


@st.composite
def reservations(draw: st.DrawFn, together: Resources) -> Operation:
    """Draw what may be done to some of it, whoever has it."""
    some = draw(st.lists(st.sampled_from(list(together)), min_size=1, max_size=2, unique=True))
    taken = [
        each.replace(value=draw(st.integers(1, each.value)))
        if isinstance(each.value, int)
        else each
        for each in some
    ]
    if all(each.reservations for each in taken) and draw(st.booleans()):
        return Unreserve(taken)
    deeper = [Reservation("DYNAMIC", role) for role in ("eng", "eng/web", "eng/web/a")]
    made = [
        each.replace(reservations=[*each.reservations, deeper[len(each.reservations)]])
        for each in taken
    ]
    if draw(st.booleans()):
        return Reserve(made)
    return Reserve(made[:1], source=taken[:1])


@given(offers().filter(any), st.data())
def test_parts_together_do_what_the_whole_does(lefts: list[Resources], data: st.DataObject) -> None:
    together = sum(lefts, Resources())
    whole = data.draw(reservations(together))
    try:
        wanted = convert(together, whole)
    except AllocatorError:
        return  # nobody is to do it
    parts = spread(whole, lefts)
    assert parts is not None
    after = [convert(left, some) for left, some in zip(lefts, parts, strict=True)]
    assert sum(after, Resources()) == wanted


def test_a_volume_is_not_divided() -> None:
    disk = {"persistence": {"id": "v"}, "volume": {"container_path": "p", "mode": "RW"}}
    volume = Create([{**entry("disk", 8, STACKS[1]), "disk": disk}])
    assert spread(volume, [Resources("disk(eng):4")] * 2) is None
