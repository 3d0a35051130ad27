"""What a cycle passes over changes nothing: clusters larger than the reference can follow.

One engine does as it likes, the others look at every agent for everybody's sake in each cycle, or
order naively besides. All make the same offers in the same order.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from allocator import Allocator, AllocatorError, ManualClock, Offers, Resources
from tests.contract import mount_disk

N_HISTORIES = int(os.environ.get("ALLOCATOR_HISTORIES", "2000")) // 10
FIRST_SEED = int(os.environ.get("ALLOCATOR_FIRST_SEED", "0"))
PER_TEST = 20
N_STEPS = 60

ROLES = ["*", "ops", "web", "eng", "eng/prod", "eng/prod/a", "eng/prod/b", "eng/test", "eng/test/c"]
AMOUNTS = [
    "cpus:1",
    "cpus:4;mem:8",
    "mem:16",
    "cpus:20;mem:40",
    "cpus:60",
    "mem:0",
    "disk:5",
    "disk:7",
    "disk:15;cpus:2",
]
#: Of a framework that comes later, or never.
USED = ["cpus:1", "cpus:2;mem:1", "mem:4"]
SHARED = (
    '[{"name":"disk","scalar":{"value":4},"shared":{},"disk":{"persistence":{"id":"v"}}},'
    '{"name":"cpus","scalar":{"value":2}}]'
)
TOTALS = [
    "cpus:4;mem:8",
    "cpus:8;mem:16;disk:10",
    "cpus:2;mem:32;ports:[1-20]",
    "cpus:3;cpus(eng):2;mem:9",
    "cpus:6;mem:12;disk(eng/prod):4;ports:[1-5]",
    '[{"name":"cpus","scalar":{"value":3}},{"name":"cpus","revocable":{},"scalar":{"value":5}}]',
    '[{"name":"disk","scalar":{"value":6},"disk":{"source":{"type":"MOUNT","mount":{"root":"/m"}}}}'
    ',{"name":"disk","scalar":{"value":9}},{"name":"cpus","scalar":{"value":1}}]',
    SHARED,
]


CAPABILITIES = ("REVOCABLE_RESOURCES", "MULTI_ROLE", "SHARED_RESOURCES")


class Thorough(Allocator):
    """An engine without shortcuts between cycles."""

    def allocate(self, agents: Iterable[str] | None = None) -> Offers:
        """Look at every agent for everybody's sake."""
        self._state.touch_all()
        return super().allocate(agents)


class History:
    """Random calls on several engines at once."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = ManualClock()
        options: dict[str, Any] = {"seed": seed, "clock": self.clock}
        if seed % 3 == 0:
            options["min_allocatable"] = ["cpus:0.5", "mem:4"]
        self.engines = [Allocator(**options), Thorough(**options)]
        if seed % 2 == 0:
            self.engines.append(Thorough(sorter="naive", **options))
        self.n_agents = self.n_frameworks = 0
        self.offers: Any = ()
        #: (framework, agent, role, resources) that were accepted.
        self.used: list[tuple[str, str, str, Any]] = []
        self.quotas = seed % 4 != 1
        for _ in range(self.random.randint(5, 25)):
            self.agent()
        for _ in range(self.random.randint(2, 10)):
            self.framework()

    def all(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Make a call on all engines; return what came of it, the same everywhere."""
        outcomes = []
        for engine in self.engines:
            try:
                outcomes.append(getattr(engine, method)(*args, **kwargs))
            except AllocatorError as error:
                outcomes.append(type(error))
        if method == "allocate":
            for others in outcomes[1:]:
                assert list(outcomes[0]) == list(others), (method, args)
        return outcomes[0]

    def pick(self, kind: str, n: int) -> str:
        return f"{kind}{self.random.randrange(max(1, n))}"

    def agent(self) -> None:
        self.n_agents += 1
        used = {}
        if self.random.random() < 0.2:
            used[self.pick("f", self.n_frameworks + 3)] = {
                self.random.choice(ROLES): self.random.choice(USED)
            }
        id, total = f"a{self.n_agents - 1}", self.random.choice(TOTALS)
        self.all("add_agent", id, total, used=used)
        for framework, by_role in used.items():
            self.used += [(framework, id, role, part) for role, part in by_role.items()]

    def framework(self) -> None:
        self.n_frameworks += 1
        can = [c for c in CAPABILITIES if self.random.random() < 0.5]
        self.all(
            "add_framework",
            f"f{self.n_frameworks - 1}",
            self.random.sample(ROLES, self.random.randint(1, 3)),
            capabilities=can,
            min_allocatable=self.random.choice([None, None, [], ["cpus:2"], ["ports:3", "mem:9"]]),
        )

    def cycle(self) -> None:
        named = None
        if self.random.random() < 0.3:
            named = sorted(self.engines[0]._state.agents)
            named = self.random.sample(named, min(len(named), 3))
        self.offers = self.all("allocate", named)

    def answer(self) -> None:
        for offer in self.offers:
            choice = self.random.random()
            seconds = self.random.choice([None, 1, 5, 20])
            if choice < 0.5:
                self.all("decline", offer, refuse_seconds=seconds)
            elif choice < 0.8:
                part = type(offer.resources)(
                    [entry for entry in offer.resources if self.random.random() < 0.6]
                )
                self.all("accept", offer, part, refuse_seconds=seconds)
                if part:
                    self.used.append((offer.framework, offer.agent, offer.role, part))
        self.offers = ()

    def release(self) -> None:
        self.random.shuffle(self.used)
        for _ in range(min(len(self.used), 3)):
            self.all("release", *self.used.pop())

    def quota(self) -> None:
        if self.quotas:
            guarantee = self.random.choice([None, None, *AMOUNTS])
            limit = self.random.choice([None, None, *AMOUNTS])
            self.all("set_quota", self.random.choice(ROLES), guarantee, limit)

    def tree(self) -> None:
        """Limits above guarantees, some of which take all that the limits leave."""
        if self.quotas:
            cpus = [self.random.choice([0, 2, 4, 10]) for _ in range(5)]
            self.all(
                "set_quotas",
                {
                    "eng": {"limit": {"cpus": sum(cpus)}},
                    "eng/prod": {"limit": {"cpus": cpus[0] + cpus[1] + cpus[2] // 2}},
                    "eng/prod/a": {"guarantee": {"cpus": cpus[0]}},
                    "eng/prod/b": {"guarantee": {"cpus": cpus[1]}},
                    "eng/test/c": {"guarantee": {"cpus": cpus[3]}},
                },
            )

    def other(self) -> None:
        agent = self.pick("a", self.n_agents)
        framework = self.pick("f", self.n_frameworks)
        role = self.random.choice(ROLES)
        calls: list[tuple[Any, ...]] = [
            ("set_weight", role, self.random.choice([0.5, 1.0, 3.0])),
            ("revive", framework),
            ("suppress", framework),
            ("deactivate_framework", framework),
            ("activate_framework", framework),
            ("remove_framework", framework),
            ("deactivate_agent", agent),
            ("activate_agent", agent),
            ("remove_agent", agent),
            ("set_whitelist", self.random.choice([None, [f"a{n}" for n in range(0, 30, 2)]])),
        ]
        self.all(*self.random.choice(calls))

    def shrink(self) -> None:
        self.all(
            "update_agent",
            self.pick("a", self.n_agents),
            resources=self.random.choice(TOTALS),
        )

    def wait(self) -> None:
        self.clock.advance(self.random.choice([0.5, 1.0, 4.0, 30.0]))

    def step(self) -> None:
        calls: list[Callable[[], None]] = [
            *[self.cycle] * 5,
            *[self.answer] * 3,
            *[self.release] * 2,
            *[self.quota] * 2,
            self.tree,
            self.other,
            self.wait,
            self.shrink,
            self.agent,
            self.framework,
        ]
        self.random.choice(calls)()


@pytest.mark.parametrize("first", range(FIRST_SEED, FIRST_SEED + N_HISTORIES, PER_TEST))
def test_what_is_passed_over_changes_nothing(first: int) -> None:
    for seed in range(first, first + PER_TEST):
        history = History(seed)
        for step in range(N_STEPS):
            try:
                history.step()
            except AssertionError as error:
                raise AssertionError(f"history {seed}, step {step}") from error


class Together:
    """An engine and thorough ones, on which the same is done; all must make the same offers."""

    def __init__(self, seed: int) -> None:
        self.clock = ManualClock()
        options: dict[str, Any] = {"seed": seed, "clock": self.clock}
        self.engines = [Allocator(**options), Thorough(**options)]
        self.engines.append(Thorough(sorter="naive", **options))

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            outcomes = [getattr(engine, method)(*args, **kwargs) for engine in self.engines]
            if method == "allocate":
                for others in outcomes[1:]:
                    assert list(outcomes[0]) == list(others)
            return outcomes[0]

        return call


def only_on(role: str, rack: str) -> dict[str, Any]:
    """Return constraints that admit the agents of one rack."""
    constraint = {
        "selector": {"attribute_name": "rack"},
        "predicate": {"text_equals": {"value": rack}},
    }
    return {"role_constraints": {role: {"groups": [{"attribute_constraints": [constraint]}]}}}


@pytest.fixture(params=range(6))
def together(request: pytest.FixtureRequest) -> Any:
    """Engines whose cycles visit agents in one order or another."""
    return Together(request.param)


def found(offers: Offers) -> list[tuple[str, str, str]]:
    return [(offer.framework, offer.agent, str(offer.resources)) for offer in offers]


def test_a_name_that_is_required_no_longer_is_not_bound_anywhere(together: Any) -> None:
    """Also where headroom has less than is available on an agent (S4)."""
    together.add_framework("user", ["user"], suppressed=["user"])
    together.add_agent("below", "cpus:8", used={"user": {"user": "cpus:8"}})
    together.update_agent("below", resources="")
    together.set_quota("q", guarantee="cpus:3")
    together.add_framework("fq", ["q"], suppressed=["q"], constraints=only_on("q", "b"))
    together.add_framework("other", ["other"], constraints=only_on("other", "a"))
    together.add_agent("a", "cpus:10", attributes={"rack": "a"})
    together.add_agent("b", "cpus:3", attributes={"rack": "b"})
    # 10 + 3 − 8 available, 3 required.
    assert found(together.allocate()) == [("other", "a", "cpus:2")]
    assert not together.allocate()
    together.revive("fq")
    # Once q has its 3, nothing is required, and nothing holds back what is left of a.
    assert found(together.allocate()) == [("fq", "b", "cpus:3"), ("other", "a", "cpus:8")]


def test_what_is_required_no_longer_after_what_serves_comes_along(together: Any) -> None:
    """In stage one, where another role's need has ceased meanwhile (S4)."""
    together.add_framework("user", ["user"], suppressed=["user"])
    together.add_agent("below", "cpus:8", used={"user": {"user": "cpus:8"}})
    together.update_agent("below", resources="")
    together.set_quota("p", guarantee="cpus:2")
    together.set_quota("q", guarantee="cpus:3")
    together.add_framework("fp", ["p"], constraints=only_on("p", "a"))
    together.add_framework("fq", ["q"], constraints=only_on("q", "b"))
    together.add_agent("a", "cpus:10", attributes={"rack": "a"})
    together.add_agent("b", "cpus:3", attributes={"rack": "b"})
    # 10 + 3 − 8 − 2 available after what serves p, 3 required.
    assert found(together.allocate(["a"])) == [("fp", "a", "cpus:2")]
    together.decline("O1", refuse_seconds=1000)
    assert found(together.allocate(["b"])) == [("fq", "b", "cpus:3")]
    together.decline("O2", refuse_seconds=1)
    assert not together.allocate()
    together.clock.advance(1.0)
    # Once q has its 3, nothing is required but what serves p, and all of a may come along: in
    # this cycle if a's turn comes after b's, else in the next.
    offers = found(together.allocate()) + found(together.allocate())
    assert offers == [("fq", "b", "cpus:3"), ("fp", "a", "cpus:10")]


def test_a_shared_entry_in_use_takes_nothing_from_headroom(together: Any) -> None:
    """It meets a need all the same, so that others may have more (S4)."""
    volume = Resources(SHARED).shared()
    can = {"capabilities": ["SHARED_RESOURCES"]}
    together.add_framework("ops", ["ops"], suppressed=["ops"], **can)
    together.add_agent("s", volume, used={"ops": {"ops": volume}})
    together.set_quota("q", guarantee="disk:6")
    together.add_framework("fq", ["q"], suppressed=["q"], constraints=only_on("q", "s"), **can)
    together.update_agent("s", attributes={"rack": "s"})
    together.add_framework("other", ["other"], constraints=only_on("other", "b"))
    together.add_agent("b", "disk:10", attributes={"rack": "b"})
    # 10 available, 6 required.
    assert found(together.allocate()) == [("other", "b", "disk:4")]
    assert not together.allocate()
    together.revive("fq")
    # fq's volume leaves q in need of 2, and 6 are available still.
    offers = found(together.allocate()) + found(together.allocate())
    assert [(framework, agent) for framework, agent, _ in offers] == [("fq", "s"), ("other", "b")]
    assert offers[1][2] == "disk:4"


def test_a_smaller_room_lets_through_what_a_larger_did_not(together: Any) -> None:
    """Of entries that cannot be split (S4)."""
    together.set_quota("eng", limit="disk:120")
    together.add_framework("f", ["eng/f"], constraints=only_on("eng/f", "a"))
    together.add_framework("g", ["eng/g"], suppressed=["eng/g"], constraints=only_on("eng/g", "b"))
    total = mount_disk(100, "/m1") + mount_disk(80, "/m2")
    together.add_agent("a", total, attributes={"rack": "a"})
    together.add_agent("b", "disk:30", attributes={"rack": "b"})
    (offer,) = together.allocate()
    assert offer.resources == mount_disk(100, "/m1")
    together.decline(offer.id, refuse_seconds=1000)
    assert not together.allocate()
    together.revive("g")
    # g takes 30 of the limit's 120; 90 have no room for the 100, but for the 80 not refused.
    offers = found(together.allocate()) + found(together.allocate())
    assert sorted(offers) == [("f", "a", str(mount_disk(80, "/m2"))), ("g", "b", "disk:30")]


def test_an_agent_that_comes_back_frees_what_others_have(together: Any) -> None:
    together.set_quota("q", guarantee="cpus:4")
    together.add_framework("other", ["other"], constraints=only_on("other", "a"))
    together.add_agent("a", "cpus:4", attributes={"rack": "a"})
    together.add_agent("b", "cpus:4", attributes={"rack": "b"})
    together.deactivate_agent("b")
    assert not together.allocate()
    together.activate_agent("b")
    # 8 available, 4 required; the 4 of b are nothing for the other.
    assert found(together.allocate()) == [("other", "a", "cpus:4")]
