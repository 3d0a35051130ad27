"""All sorters in lockstep through random histories: same answers and refusals, to the last tie."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any, TypeAlias

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from allocator.errors import AllocatorError
from allocator.resources import Resources
from allocator.sorter import (
    DRFSorter,
    HDRFSorter,
    NaiveDRFSorter,
    NaiveHDRFSorter,
    Ordering,
    RandomSorter,
    SortedDRFSorter,
    Totals,
    parting,
)
from tests.compiled.sorters import change_as_engine, check, walked

#: Names on both sides of "." and "/" in code points, one a prefix of another, and beyond ASCII,
#: where UTF-16 would order otherwise than code points do.
NAMES = ("a", "b", "a!", "a+", "!", "aa", "é", "\uffff", "\U0001f600", "\ud800")
AGENTS = ("a1", "a2", "a3")

paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
bad_paths = st.sampled_from(["", "/", "a/", "a//b", "a/.", "..", "*/a", "a b", "*"])
agents = st.sampled_from(AGENTS)


def shared_volume(volume: str, size: float, copies: int) -> Resources:
    """Return copies of a shared volume; one identity may come in two sizes, which is refused."""
    body = {
        "name": "disk",
        "type": "SCALAR",
        "scalar": {"value": size},
        "reservations": [{"type": "DYNAMIC", "role": "a"}],
        "disk": {"persistence": {"id": volume}, "volume": {"mode": "RW", "container_path": "x"}},
        "shared": {},
    }
    return Resources([body] * copies)


#: Few different amounts, so that shares tie; some that no total has, some that no share counts.
RESOURCES = tuple(
    Resources(source)
    for source in (
        "cpus:1",
        "cpus:1",
        "cpus:2;mem:1",
        "mem:3",
        "cpus:0.001",
        "mem:0.001",
        "cpus(a):1;ports:[1-3]",
        "ports:[5-6]",
        "gpus:1",
        "zebra:1;models:{x}",
        "",
        "models:1",
        shared_volume("v1", 5, 1),
        shared_volume("v1", 5, 2),
        shared_volume("v2", 1, 1) + "cpus:1",
        shared_volume("v2", 2, 1),
        Resources.from_milli({"cpus": 2**62}),
    )
)
resources = st.sampled_from(RESOURCES)
totals = st.sampled_from(
    (
        *RESOURCES[:-1],
        *map(Resources, ("cpus:3;mem:9", "cpus:7;mem:100;disk:10", "cpus:10;mem:1000", "gpus:2")),
        Resources.from_milli({"cpus": 2**62, "mem": 2**63 - 1}),
    )
)
weights = st.sampled_from([1, 1.0, 2, 0.1, 3.7, 1e-9, 1e9])
bad_weights = st.sampled_from([0, -1, 9e-10, 2e9, float("nan"), 10**400, "2", None, True])


class ByRows:
    """A compiled sorter as compiled callers use it, who keep the account of what is held."""

    def __init__(self, sorter: DRFSorter | HDRFSorter) -> None:
        self.sorter = sorter
        #: client → agent → what it holds there.
        self.account: dict[str, dict[str, Resources]] = {}

    def __getattr__(self, method: str) -> Any:
        return getattr(self.sorter, method)

    def allocated(self, client: str, agent: str, resources: Resources) -> None:
        self.change(client, agent, Resources(), resources, 1)

    def unallocated(self, client: str, agent: str, resources: Resources) -> None:
        self.change(client, agent, resources, Resources(), 0)

    def update(self, client: str, agent: str, old: Resources, new: Resources) -> None:
        self.change(client, agent, old, new, 0)

    def change(
        self, client: str, agent: str, lost: Resources, gained: Resources, times: int
    ) -> None:
        after = self.allocation(client).get(agent, Resources()) - lost + gained
        change_as_engine(self.sorter, client, agent, lost, gained, times)
        by_agent = self.account.setdefault(client, {})
        by_agent[agent] = after
        if not after:
            del by_agent[agent]

    def remove(self, client: str) -> None:
        self.sorter.remove(client)
        self.account.pop(client, None)

    def allocation(self, client: str) -> dict[str, Resources]:
        assert self.sorter.allocation(client) == {}
        return dict(self.account.get(client, {}))

    def copy(self) -> ByRows:
        twin = ByRows(self.sorter.copy())
        twin.account = {client: dict(by_agent) for client, by_agent in self.account.items()}
        return twin


Ordered: TypeAlias = DRFSorter | HDRFSorter | ByRows | SortedDRFSorter
AnySorter: TypeAlias = NaiveDRFSorter | Ordered | RandomSorter


def made(
    kind: str, saturation: float, exclude: tuple[str, ...], **options: Any
) -> tuple[NaiveDRFSorter, list[Ordered]]:
    """Return a naive sorter and those that must give its order."""
    if kind == "hdrf":
        options["saturation"] = saturation
        compiled = HDRFSorter(exclude, **options), HDRFSorter(exclude, **options)
        return NaiveHDRFSorter(exclude, **options), [compiled[0], ByRows(compiled[1])]
    ordering = DRFSorter(exclude, **options), ByRows(DRFSorter(exclude, **options))
    return NaiveDRFSorter(exclude, **options), [*ordering, SortedDRFSorter(exclude, **options)]


def inner(sorter: AnySorter) -> Ordering:
    """Return the sorter itself."""
    return sorter.sorter if isinstance(sorter, ByRows) else sorter


def outcome(sorter: AnySorter | Totals, method: str, *arguments: Any) -> object:
    """Return what a call returns, or the class of its refusal."""
    try:
        return getattr(sorter, method)(*arguments)
    except AllocatorError as error:
        return type(error)


class Lockstep(RuleBasedStateMachine):
    """Every call goes to all sorters of a kind; the naive one says what is right."""

    def __init__(self) -> None:
        super().__init__()
        self.naive = NaiveDRFSorter()
        #: Those that must give the naive one's order.
        self.ordering: list[Ordered] = []
        self.random = RandomSorter()
        #: What each walk under way has still to give, and the walks of each implementation.
        self.walks: list[tuple[list[str], list[Iterator[str]]]] = []
        #: What sorters that were copied, or are copies, must give whenever they are asked.
        self.left: list[tuple[list[str], list[AnySorter]]] = []

    @initialize(
        flat=st.booleans(),
        exclude=st.sampled_from([(), ("mem",), ("gpus", "cpus")]),
        common=st.booleans(),
        kind=st.sampled_from(["drf", "hdrf"]),
        saturation=st.sampled_from([0, 0.0, 0.3, 0.5, 1]),
    )
    def begin(
        self, flat: bool, exclude: tuple[str, ...], common: bool, kind: str, saturation: float
    ) -> None:
        """Make the sorters, with totals of their own or the same for all."""
        shared = Totals() if common else None
        self.common = shared
        self.naive, self.ordering = made(kind, saturation, exclude, flat=flat, totals=shared)
        self.random = RandomSorter(exclude, flat=flat, totals=shared, seed=1)

    @property
    def sorters(self) -> list[AnySorter]:
        return [self.naive, *self.ordering, self.random]

    def call(self, method: str, *arguments: Any) -> object:
        """Call all sorters and return what all of them answered."""
        expected, *others = [outcome(sorter, method, *arguments) for sorter in self.sorters]
        assert all(other == expected for other in others), (method, arguments, expected, others)
        return expected

    def call_totals(self, method: str, *arguments: Any) -> None:
        if self.common is None:
            self.call(method, *arguments)
        else:
            outcome(self.common, method, *arguments)

    @rule(agent=agents, resources=totals)
    def add_agent(self, agent: str, resources: Resources) -> None:
        self.call_totals("add_agent", agent, resources)

    @rule(agent=agents)
    def remove_agent(self, agent: str) -> None:
        self.call_totals("remove_agent", agent)

    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def add(self, data: st.DataObject, name: str) -> None:
        """Add a client anywhere, or below one that may have to be split."""
        path = data.draw(paths | self.clients().map(lambda client: f"{client}/{name}"))
        self.call("add", path)
        if data.draw(st.booleans()):
            self.call("activate", path)

    @rule(data=st.data(), first=st.integers(0, 30), n=st.integers(10, 30))
    def add_many(self, data: st.DataObject, first: int, n: int) -> None:
        """Add so many siblings that their trees get some height."""
        parent = data.draw(st.sampled_from(["", "a/", "b/a/"]))
        for number in range(first, first + n):
            self.call("add", f"{parent}{number}")
            self.call("activate", f"{parent}{number}")

    @rule(path=bad_paths)
    def add_malformed(self, path: str) -> None:
        self.call("add", path)

    @rule(data=st.data(), known=st.integers(0, 9))
    def change_client(self, data: st.DataObject, known: int) -> None:
        client = data.draw(self.clients() if known else paths)
        method = data.draw(st.sampled_from(["remove", "activate", "deactivate", "activate"]))
        self.call(method, client)

    @rule(path=paths | bad_paths, weight=weights | bad_weights)
    def update_weight(self, path: str, weight: Any) -> None:
        self.call("update_weight", path, weight)

    @rule(data=st.data(), agent=agents, resources=resources)
    def allocated(self, data: st.DataObject, agent: str, resources: Resources) -> None:
        self.call("allocated", data.draw(self.clients()), agent, resources)

    @rule(data=st.data(), agent=agents, resources=resources)
    def unallocated(self, data: st.DataObject, agent: str, resources: Resources) -> None:
        client = data.draw(self.clients())
        held = self.held(client, agent)
        taken = data.draw(st.sampled_from([resources, resources, held, held.shared()]))
        self.call("unallocated", client, agent, taken)

    @rule(data=st.data(), agent=agents, new=resources)
    def update(self, data: st.DataObject, agent: str, new: Resources) -> None:
        client = data.draw(self.clients())
        old = data.draw(st.sampled_from([*RESOURCES, self.held(client, agent)]))
        self.call("update", client, agent, old, new)

    @rule(data=st.data(), path=paths | bad_paths)
    def set_times_allocated(self, data: st.DataObject, path: str) -> None:
        known = sorted(self.naive._numbers)
        path = data.draw(st.sampled_from([*known, path]))
        number = data.draw(st.sampled_from([0, 1, 2, 5, 2**62, -1, 2**63, True]))
        self.call("set_times_allocated", dict.fromkeys([*known[:1], path], number))

    @rule(keep=st.booleans())
    def copy(self, keep: bool) -> None:
        """Keep the originals or go on with copies; the others must stay as they are."""
        expected = self.naive.sort()
        originals = self.sorters
        copies = (self.naive.copy(), [kept.copy() for kept in self.ordering], self.random.copy())
        if keep:
            self.left.append((expected, [copies[0], *copies[1], copies[2]]))
        else:
            self.left.append((expected, originals))
            self.naive, self.ordering, self.random = copies
            self.common = None

    @rule(n=st.integers(1, 5), resources=resources, agent=agents)
    def serve(self, n: int, resources: Resources, agent: str) -> None:
        """Do as a cycle does: take the first clients and allocate to each as it comes."""
        expected = self.naive.sort()
        walks = [sorter.order() for sorter in self.ordering]
        for client in expected[:n]:
            assert [next(walk) for walk in walks] == [client] * len(walks)
            self.call("allocated", client, agent, resources)
            self.check_orders()
        assert [list(walk) for walk in walks] == [expected[n:]] * len(walks)

    @rule(data=st.data(), n=st.integers(1, 3), agent=agents, resources=resources)
    def walk_as_the_engine(
        self, data: st.DataObject, n: int, agent: str, resources: Resources
    ) -> None:
        """Take a few clients, allocate to anybody and take the rest, as an engine may."""
        expected = self.naive.sort()
        walks = [walked(inner(sorter)) for sorter in (self.naive, *self.ordering)]
        assert [list(islice(walk, n)) for walk in walks] == [expected[:n]] * len(walks)
        self.call("allocated", data.draw(self.clients()), agent, resources)
        assert [list(walk) for walk in walks] == [expected[n:]] * len(walks)

    @rule()
    def begin_walk(self) -> None:
        expected = self.naive.sort()
        self.walks.append((expected, [sorter.order() for sorter in self.ordering]))

    @precondition(lambda self: self.walks)
    @rule(data=st.data(), n=st.integers(1, 3), agent=agents, resources=resources)
    def follow_walk(self, data: st.DataObject, n: int, agent: str, resources: Resources) -> None:
        """Take a few clients from a walk, and adjust one of those, or any other."""
        expected, walks = data.draw(st.sampled_from(self.walks))
        taken = expected[:n]
        del expected[:n]
        for walk in walks:
            assert list(islice(walk, n)) == taken
        if taken:
            self.call("allocated", data.draw(st.sampled_from(taken)), agent, resources)

    @precondition(lambda self: self.walks)
    @rule(data=st.data())
    def end_walk(self, data: st.DataObject) -> None:
        expected, walks = self.walks.pop(data.draw(st.integers(0, len(self.walks) - 1)))
        assert [list(walk) for walk in walks] == [expected] * len(walks)

    def clients(self) -> st.SearchStrategy[str]:
        known = sorted(self.naive._held)
        return st.sampled_from(known) if known else paths

    def held(self, client: str, agent: str) -> Resources:
        held = self.naive._held.get(client, {})
        return held.get(agent, Resources())

    def check_orders(self) -> None:
        expected = self.naive.sort()
        for sorter in self.ordering:
            assert sorter.sort() == expected

    def check_standings(self) -> None:
        """Where two clients part, their standings say which comes first."""
        for path in self.naive._numbers:
            expected = self.naive.standing(path)
            assert all(sorter.standing(path) == expected for sorter in self.ordering)
        for client, following in pairwise(self.naive.sort()):
            siblings = (client, following) if self.naive.flat else parting(client, following)
            ahead, behind = map(self.naive.standing, siblings)
            assert (ahead.share, ahead.times, ahead.path) < (
                behind.share,
                behind.times,
                behind.path,
            )

    @invariant()
    def agree(self) -> None:
        self.check_orders()
        assert sorted(self.random.sort()) == sorted(self.naive.sort())
        self.call("quantities")
        self.call("times_allocated")
        self.call("__len__")
        for path in self.naive._numbers:
            self.call("share", path)
        for client in self.naive._held:
            self.call("allocation", client)
            self.call("quantities", client)
        self.check_standings()
        for sorter in self.ordering:
            check(inner(sorter))

    def teardown(self) -> None:
        for expected, (*deciding, random) in self.left:
            assert [sorter.sort() for sorter in deciding] == [expected] * len(deciding)
            assert sorted(random.sort()) == sorted(expected)
        for expected, walks in self.walks:
            assert [list(walk) for walk in walks] == [expected] * len(walks)


#: Histories to try; more of them find what is rarer.
EXAMPLES = int(os.environ.get("ALLOCATOR_HISTORIES", "60"))

TestLockstep = Lockstep.TestCase
TestLockstep.settings = settings(max_examples=EXAMPLES, stateful_step_count=40)
