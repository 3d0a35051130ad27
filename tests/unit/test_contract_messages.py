"""A refusal shows at most 200 characters of each value that was wrong (contract §2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from allocator import Allocator, AllocatorError, ManualClock, reference
from allocator.errors import cut, shown
from allocator.resources import Quantities, Reservation, Resource, Resources
from allocator.sorter import DRFSorter, NaiveDRFSorter, RandomSorter, SortedDRFSorter

LONG = "x" * 100_000
LONG_ROLE = "-" + LONG

#: A message names three values or four, at 201 characters and quotes, and says what is wrong.
MOST = 4 * 204 + 200


def message(call: Callable[[], object]) -> str:
    """Return what the refusal of a call says."""
    with pytest.raises(AllocatorError) as raised:
        call()
    return str(raised.value)


def entries(name: str) -> list[dict[str, Any]]:
    """Return v1 JSON of a thousand reservations, whose text is long."""
    return [
        {"name": name, "type": "SCALAR", "scalar": {"value": 1}, "role": f"role{n}"}
        for n in range(1000)
    ]


ENGINE: dict[str, Callable[[Any], object]] = {
    "agent there": lambda e: e.add_agent(LONG, "cpus:1"),
    "agent absent": lambda e: e.remove_agent("y" + LONG),
    "agents twice": lambda e: e.add_agents(["y" + LONG] * 2, "cpus:1"),
    "agents there": lambda e: e.add_agents([LONG], "cpus:1"),
    "agents' resources": lambda e: e.add_agents(["a"], {LONG: ["x"]}),
    "agents' amounts": lambda e: e.add_agents(["a"], {"cpus": [LONG]}),
    "agent id": lambda e: e.add_agent([LONG], "cpus:1"),
    "attributes": lambda e: e.add_agent("a", "cpus:1", attributes=LONG),
    "attribute": lambda e: e.add_agent("a", "cpus:1", attributes=[{"nom": LONG}]),
    "capability": lambda e: e.add_agent("a", "cpus:1", capabilities=[LONG]),
    "capabilities": lambda e: e.add_agent("a", "cpus:1", capabilities=LONG),
    "region": lambda e: e.add_agent("a", "cpus:1", region=[LONG]),
    "used": lambda e: e.add_agent("a", "cpus:1", used=LONG),
    "used by role": lambda e: e.add_agent("a", "cpus:1", used={"f": LONG}),
    "used too much": lambda e: e.add_agent("a", "cpus:1", used={"f": {"r": entries("cpus")}}),
    "resources": lambda e: e.add_agent("a", LONG),
    "total": lambda e: e.update_agent(LONG, resources=LONG),
    "providers": lambda e: e.add_resources(LONG, "cpus:1", used={"f": {"r": "cpus:9"}}),
    "framework there": lambda e: e.add_framework(LONG),
    "framework absent": lambda e: e.remove_framework("y" + LONG),
    "framework uses": lambda e: e.add_framework("f", used={LONG: {"*": entries("cpus")}}),
    "role": lambda e: e.add_framework("f", [LONG_ROLE]),
    "roles": lambda e: e.add_framework("f", LONG),
    "suppressed": lambda e: e.add_framework("f", ["a"], suppressed=[LONG]),
    "not in role": lambda e: e.suppress(LONG, ["y"]),
    "no such role": lambda e: e.role("y" + LONG),
    "minimum": lambda e: e.add_framework("f", min_allocatable=LONG),
    "constraints": lambda e: e.add_framework("f", ["eng"], constraints={"eng": LONG}),
    "constraint": lambda e: e.add_framework(
        "f", ["eng"], constraints={"eng": {"groups": [{"attribute_constraints": [LONG]}]}}
    ),
    "weight": lambda e: e.set_weight("eng", LONG),
    "weights": lambda e: e.set_weights(LONG),
    "weight's role": lambda e: e.set_weight(LONG_ROLE, 1.0),
    "quota": lambda e: e.set_quota(LONG, "cpus:2", "cpus:1"),
    "quota's name": lambda e: e.set_quota("eng", {LONG: 2}, {LONG: 1}),
    "quotas": lambda e: e.set_quotas({LONG: LONG}),
    "quota's sum": lambda e: e.set_quota(LONG + "/a", {"cpus": 3}),
    "whitelist": lambda e: e.set_whitelist([[LONG]]),
    "cycle": lambda e: e.allocate([LONG + "y"]),
    "offer": lambda e: e.accept(LONG),
    "no offer": lambda e: e.accept([{LONG: LONG}]),
    "kept": lambda e: e.accept("O0", entries("mem")),
    "refusal": lambda e: e.decline("O0", refuse_seconds=LONG),
    "release": lambda e: e.release(LONG, LONG, "*", entries("mem")),
    "operations": lambda e: e.apply("O0", LONG),
    "operation": lambda e: e.apply("O0", [{"type": "RESERVE", "reserve": LONG}]),
    "reserve": lambda e: e.apply(
        "O0", [{"type": "RESERVE", "reserve": {"resources": [{**entries(LONG)[0]}]}}]
    ),
    "unavailability": lambda e: e.set_unavailability(LONG, LONG),
    "inverse": lambda e: e.answer_inverse(LONG, LONG, "ACCEPT"),
    "inverse status": lambda e: e.answer_inverse(LONG, LONG, LONG),
}


@pytest.fixture(params=[Allocator, reference.Allocator])
def engine(request: pytest.FixtureRequest) -> Any:
    """An engine and the reference, with long names and an open offer."""
    engine = request.param(seed=7, clock=ManualClock())
    engine.set_quota(LONG, "cpus:2", "cpus:4")
    engine.add_agent(LONG, "cpus:4")
    engine.add_framework(LONG)
    engine.allocate()
    return engine


@pytest.mark.parametrize("call", ENGINE.values(), ids=ENGINE)
def test_of_the_engine(engine: Any, call: Callable[[Any], object]) -> None:
    assert len(message(lambda: call(engine))) <= MOST


@pytest.mark.parametrize(
    "option",
    ["seed", "clock", "sorter", "fairness_exclude", "min_allocatable", "region", "recovery_factor"],
)
@pytest.mark.parametrize("make", [Allocator, reference.Allocator])
def test_of_options(make: Callable[..., object], option: str) -> None:
    values = {"fairness_exclude": LONG, "min_allocatable": LONG, "sorter": LONG}
    assert len(message(lambda: make(**{option: values.get(option, [LONG])}))) <= MOST


@pytest.mark.parametrize(
    "source",
    [
        LONG,
        f"cpus:{LONG}",
        f"cpus:{'1' * 100_000}",
        f"{LONG}:[1-",
        f"{LONG}:[{LONG}]",
        f"{LONG}:{{a,,b}}",
        f"cpus({LONG_ROLE}):1",
        f"cpus({LONG}):x",
        f"{LONG}:1;{LONG}:[1-2]",
        "[" + LONG,
        {LONG: LONG},
        {LONG: 2.0**63},
        [{"name": LONG, "type": LONG}],
        [{"name": LONG, "type": "SCALAR", "scalar": {"value": LONG}}],
        [{"name": LONG, "scalar": {"value": 1}, "role": LONG, "reservation": {"type": "STATIC"}}],
        [{"name": LONG, "scalar": {"value": 1}, "role": LONG_ROLE}],
        [
            {
                "name": "disk",
                "scalar": {"value": 1},
                "role": LONG,
                "reservations": [{"type": "DYNAMIC", "role": "y" + LONG}],
            }
        ],
        [{"name": "disk", "scalar": {"value": 1}, "disk": {"source": {"type": LONG}}}],
        [{"name": LONG, "scalar": {"value": 1}, "disk": {}}],
        [{"name": LONG, "set": {"item": [[LONG]]}}],
        [{"name": LONG, "ranges": {"range": [{"begin": LONG, "end": 1}]}}],
        [[LONG]],
        3 * 10**4000,
    ],
    ids=lambda source: repr(source)[:30],
)
@pytest.mark.parametrize("kind", [Resources, Resource, Quantities])
def test_of_resources(kind: Callable[[Any], object], source: Any) -> None:
    assert len(message(lambda: kind(source))) <= MOST


def test_of_arithmetic() -> None:
    many = Resources(entries("cpus"))
    named = Quantities.from_milli({f"name{n}": 1 for n in range(1000)})
    for call in (
        lambda: many - (many + "cpus:1"),
        lambda: named - {LONG: 1},
        lambda: Resources({LONG: 1}) + {LONG: "[1-2]"},
        lambda: Resources({LONG: 2**53}) + {LONG: 2**53},
        lambda: Resources.from_milli({LONG: -1}),
        lambda: Resource({LONG: 1}).replace(copies=2),
        lambda: Resource("cpus:1").replace(value=LONG),
        lambda: Resource("cpus:1").replace(
            reservations=[Reservation("STATIC", LONG), Reservation("STATIC", f"{LONG}/y")]
        ),
    ):
        assert len(message(call)) <= MOST


@pytest.mark.parametrize("kind", [DRFSorter, NaiveDRFSorter, RandomSorter, SortedDRFSorter])
def test_of_sorters(kind: Callable[..., Any]) -> None:
    sorter = kind()
    sorter.add(LONG)
    sorter.add_agent(LONG, "cpus:1")
    for call in (
        lambda: kind(LONG),
        lambda: sorter.add(LONG),
        lambda: sorter.add([LONG]),
        lambda: sorter.remove("y" + LONG),
        lambda: sorter.activate("y" + LONG),
        lambda: sorter.allocation("y" + LONG),
        lambda: sorter.add_agent(LONG, "cpus:1"),
        lambda: sorter.remove_agent("y" + LONG),
        lambda: sorter.update_weight(LONG, LONG),
    ):
        assert len(message(call)) <= MOST


def test_shown_and_cut() -> None:
    assert shown("a'b") == '"a\'b"'
    assert shown("x" * 198) == repr("x" * 198)
    assert shown("x" * 199) == repr("x" * 199)[:200] + "…"
    assert cut("x" * 200) == "x" * 200
    assert cut("x" * 201) == "x" * 200 + "…"
    assert cut(Resources("cpus:1")) == "cpus:1"
