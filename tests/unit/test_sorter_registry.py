"""The list of sorters, and an ordering that the engine has never heard of, put on it by a test."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from allocator import Allocator, InvalidValue, ManualClock, Resources, SnapshotError, reference
from allocator.errors import UnknownClient
from allocator.reference.allocator import SORTERS as REFERENCE_SORTERS
from allocator.resources import Quantities, ResourcesLike
from allocator.sim.compare import ORDERINGS
from allocator.sorter import (
    SORTERS,
    Ordering,
    PlainOrdering,
    Sorter,
    SorterKind,
    Standing,
    Totals,
)

DOCS = Path(__file__).parents[2] / "docs"


class InTurn(PlainOrdering):
    """Whoever was served least often is next, whatever it holds; ties by name, or backward.

    All of it stands here: it derives nothing from the sorters that there are.
    """

    def __init__(
        self,
        exclude: Iterable[str] = (),
        *,
        flat: bool = False,
        totals: Totals | None = None,
        backward: bool = False,
    ) -> None:
        self.backward = backward
        self.times: dict[str, int] = {}
        self.active: set[str] = set()
        self.held: dict[str, dict[str, Resources]] = {}

    def add(self, client: str) -> None:
        self.times[client] = 0
        self.held[client] = {}

    def remove(self, client: str) -> None:
        self.active.discard(client)
        del self.times[client], self.held[client]

    def activate(self, client: str) -> None:
        self.active.add(client)

    def deactivate(self, client: str) -> None:
        self.active.discard(client)

    def update_weight(self, path: str, weight: float) -> None:
        """Whose turn it is has no weight."""

    def allocated(self, client: str, agent: str, resources: ResourcesLike) -> None:
        self.update(client, agent, (), resources)
        self.times[client] += 1

    def unallocated(self, client: str, agent: str, resources: ResourcesLike) -> None:
        self.update(client, agent, resources, ())

    def update(self, client: str, agent: str, old: ResourcesLike, new: ResourcesLike) -> None:
        before = self.held[client].get(agent, Resources())
        self.held[client][agent] = before - Resources(old) + Resources(new)

    def sort(self) -> list[str]:
        names = sorted(self.active, reverse=self.backward)
        return sorted(names, key=self.times.__getitem__)

    def order(self) -> Iterator[str]:
        return iter(self.sort())

    def share(self, path: str) -> float:
        if path not in self.times:
            raise UnknownClient(path)
        return 0.0

    def standing(self, path: str) -> Standing:
        return Standing(path, self.share(path), self.times[path])

    def allocation(self, client: str) -> dict[str, Resources]:
        return {agent: held for agent, held in self.held[client].items() if held}

    def quantities(self, client: str | None = None) -> Quantities:
        clients = self.held if client is None else [client]
        held = [held for each in clients for held in self.held[each].values()]
        return sum(held, Resources()).quantities()

    def times_allocated(self) -> dict[str, int]:
        return dict(self.times)

    def set_times_allocated(self, numbers: Mapping[str, int]) -> None:
        self.times.update(numbers)

    def copy(self, totals: Totals | None = None) -> InTurn:
        twin = InTurn(
            self.exclude,
            flat=self.flat,
            totals=self.totals.copy() if totals is None else totals,
            backward=self.backward,
        )
        twin.times, twin.active = dict(self.times), set(self.active)
        twin.held = {client: dict(held) for client, held in self.held.items()}
        return twin

    def __contains__(self, client: object) -> bool:
        return client in self.times

    def __len__(self) -> int:
        return len(self.times)


def read_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidValue(f"backward is true or false, not {value!r}")
    return value


@pytest.fixture(autouse=True)
def in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the registry know the ordering of this module, and nothing else of the package."""
    kind = SorterKind(InTurn, "in turn", {"backward": read_flag})
    monkeypatch.setitem(SORTERS, "in-turn", kind)


def make(**options: Any) -> Allocator:
    return Allocator(**{"seed": 7, "sorter": "in-turn", "clock": ManualClock(), **options})


def next_served(engine: Allocator, role_of_g: str) -> str:
    """Return who is next of f, which was served once and got much, and g, twice and little."""
    engine.add_agent("large", "cpus:8")
    engine.add_agents(["a1", "a2", "a3"], "cpus:1")
    engine.add_framework("f", ["r"])
    engine.accept(engine.allocate(["large"])[0])
    engine.deactivate_framework("f")
    engine.add_framework("g", [role_of_g])
    engine.accept(engine.allocate(["a1"])[0])
    engine.accept(engine.allocate(["a2"])[0])
    engine.activate_framework("f")
    return engine.allocate()[0].framework


@pytest.mark.parametrize("role_of_g", ["r", "s"])
def test_it_decides_otherwise_than_shares(role_of_g: str) -> None:
    # f holds 8 of 11 cpus, g 2
    assert next_served(make(sorter="drf"), role_of_g) == "g"
    assert next_served(make(), role_of_g) == "f"


@pytest.mark.parametrize(
    ("level", "role_of_g", "expected"),
    [
        ("role_sorter", "s", "f"),
        ("role_sorter", "r", "g"),
        ("framework_sorter", "s", "g"),
        ("framework_sorter", "r", "f"),
    ],
)
def test_it_orders_one_level_beside_another_sorter(
    level: str, role_of_g: str, expected: str
) -> None:
    assert next_served(make(**{"sorter": "drf", level: "in-turn"}), role_of_g) == expected


def test_frameworks_and_roles_come_and_go() -> None:
    engine = make()
    engine.add_agents([f"a{n}" for n in range(6)], "cpus:1")
    for framework in "abc":
        engine.add_framework(framework, [f"r{framework}", "common"])
    engine.remove_framework("b")
    engine.add_framework("d", ["rd", "common"])
    engine.add_framework("e", ["common"])
    engine.update_framework("c", roles=["rc"])
    offers = engine.allocate()
    # common, ra, rc and rd in turn, each once before the first is served again; in common a, d.
    assert [offer.role for offer in offers] == ["common", "ra", "rc", "rd", "common", "ra"]
    assert [offer.framework for offer in offers] == ["a", "a", "c", "d", "d", "a"]
    for offer in offers:
        engine.decline(offer, refuse_seconds=None)
    for framework in "acde":
        engine.remove_framework(framework)
    assert len(engine.allocate()) == 0


def test_guarantees_are_served_in_its_order() -> None:
    engine = make()
    engine.add_agents(["a1", "a2", "a3"], "cpus:2")
    for role in ("p", "q", "r"):
        engine.add_framework(f"f{role}", [role])
    engine.set_quotas({"q": {"guarantee": "cpus:2"}, "r": {"guarantee": "cpus:2"}})
    # q and r are guaranteed two each, in turn; p has what nobody is guaranteed.
    assert [offer.role for offer in engine.allocate()] == ["q", "r", "p"]
    engine.remove_quota("q")
    engine.remove_quota("r")
    assert len(engine.allocate()) == 0


def test_shared_entries_are_told_once() -> None:
    volume = Resources(
        [
            {
                "name": "disk",
                "type": "SCALAR",
                "scalar": {"value": 10},
                "reservations": [{"type": "DYNAMIC", "role": "r"}],
                "disk": {"persistence": {"id": "v"}, "volume": {"container_path": "v"}},
                "shared": {},
            }
        ]
    )
    engine = make()
    engine.add_agent("a1", volume + "cpus:2")
    engine.add_framework("f", ["r"], capabilities=["SHARED_RESOURCES"])
    offer = engine.allocate()[0]
    assert offer.resources == volume + "cpus:2"
    engine.accept(offer, volume + "cpus:1", refuse_seconds=None)
    assert engine.framework("f").allocated["a1"]["r"] == volume + "cpus:1"
    sorter = engine._state.tree.sorter
    assert isinstance(sorter, InTurn)
    assert sorter.allocation("r") == {"a1": volume + "cpus:1"}


def test_options_outlive_snapshots_and_forks() -> None:
    engine = make(sorter_options={"backward": True}, framework_sorter="drf")
    engine.add_agents(["a1", "a2"], "cpus:1")
    for role in "xyz":
        engine.add_framework(f"f{role}", [role])
    snapshot = json.loads(json.dumps(engine.snapshot()))
    assert snapshot["options"]["sorter_options"] == {"backward": True}
    for twin in (engine.fork(), Allocator.restore(snapshot, clock=ManualClock())):
        assert twin.snapshot() == snapshot
        # Nobody was served yet: the last by name is first.
        assert [offer.role for offer in twin.allocate()] == ["z", "y"]
    assert [offer.role for offer in engine.allocate()] == ["z", "y"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"sorter": "fifo"},
            "sorter 'fifo' is not one of drf, naive, sorted, random, hdrf, naive-hdrf, in-turn",
        ),
        (
            {"sorter": "hdrf", "sorter_options": {"saturation": 1.5}},
            "saturation is a number from 0 to 1, not 1.5",
        ),
        ({"sorter_options": {"forward": True}}, "'forward' is not among the options of in-turn"),
        ({"sorter_options": {"backward": 3}}, "backward is true or false, not 3"),
        (
            {"sorter": "drf", "sorter_options": {"backward": True}},
            "'backward' is not among the options of drf: none",
        ),
    ],
)
def test_refusals_name_what_is_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=re.escape(message)):
        make(**options)


def test_a_snapshot_with_a_sorter_that_is_not_known_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    snapshot = make().snapshot()
    monkeypatch.delitem(SORTERS, "in-turn")
    with pytest.raises(SnapshotError, match="'in-turn' is not one of drf"):
        Allocator.restore(snapshot)


@pytest.mark.parametrize("name", SORTERS)
@pytest.mark.parametrize("flat", [True, False])
def test_each_kind_makes_an_ordering_on_given_totals(name: str, flat: bool) -> None:
    totals = Totals()
    made = SORTERS[name].make(("mem",), flat=flat, totals=totals)
    assert isinstance(made, Ordering)
    assert isinstance(made, Sorter)
    assert (made.totals, made.flat, made.exclude) == (totals, flat, {"mem"})


def test_others_list_the_same_sorters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(SORTERS, "in-turn")
    assert tuple(SORTERS) == REFERENCE_SORTERS
    assert ORDERINGS.keys() <= SORTERS.keys()
    listed = re.findall(r"^\| `\"([\w-]+)\"` \|", (DOCS / "sorters.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(SORTERS)


@pytest.mark.parametrize("make_one", [Allocator, reference.Allocator])
def test_the_reference_refuses_what_the_engine_refuses(make_one: Callable[..., Any]) -> None:
    with pytest.raises(InvalidValue, match="sorter 'fifo' is not one of drf, naive, sorted, ran"):
        make_one(framework_sorter="fifo")
