"""What `explain` says on random histories, against what `allocate()` then does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator import Allocator, AllocatorError, ManualClock, Resources
from allocator.explain import Explanation
from allocator.explain.reasons import HeldBack, NothingLeft
from tests.contract import dynamic, mount_disk, reserved, revocable, volume
from tests.explaining import check_change

AGENTS = ("a1", "a2", "a3", "a4")
FRAMEWORKS = ("f1", "f2", "f3", "f4")
ROLES = ("eng", "eng/prod", "eng/prod/web", "eng/test", "ops")
FRAMEWORK_CAPABILITIES = (
    "GPU_RESOURCES",
    "MULTI_ROLE",
    "REGION_AWARE",
    "RESERVATION_REFINEMENT",
    "REVOCABLE_RESOURCES",
    "SHARED_RESOURCES",
)
AGENT_CAPABILITIES = ("MULTI_ROLE", "HIERARCHICAL_ROLE")
REFINED: list[dict[str, object]] = [
    {"type": "STATIC", "role": "eng"},
    {"type": "DYNAMIC", "role": "eng/prod"},
]
PARTS = (
    Resources("cpus:4;mem:64"),
    Resources("cpus:8"),
    Resources("gpus:1"),
    Resources("ports:[31000-31009]"),
    dynamic("eng", "cpus:2"),
    dynamic("ops", "mem:32"),
    reserved(REFINED, "cpus:1.5"),
    revocable("cpus:2;mem:16"),
    volume(16, shared=True),
    mount_disk(10),
)


class History:
    """Random calls on an engine; those that it refuses are part of the history too."""

    def __init__(self, seed: int, sorter: str) -> None:
        self.random = Random(seed)
        self.clock = ManualClock()
        self.engine = Allocator(
            seed=seed,
            sorter=sorter,
            clock=self.clock,
            region="r1",
            min_allocatable=self.pick(None, None, ["cpus:0.5", "mem:32"], ["cpus:3;mem:16"]),
        )
        if self.chance(0.2):
            self.engine.recover(5, {"eng": {"guarantee": "cpus:1"}})

    def pick(self, *items: object) -> object:
        return self.random.choice(items)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def some(self, items: tuple[str, ...], least: int = 0) -> list[str]:
        return self.random.sample(items, self.random.randint(least, len(items)))

    def step(self) -> None:
        calls: list[Callable[[], None]] = [
            self.agent, self.agent, self.framework, self.framework, self.allocate, self.allocate,
            self.allocate, self.answer, self.answer, self.answer, self.release, self.quota,
            self.quota, self.quiet, self.update, self.host, self.time,
        ]  # fmt: skip
        with suppress(AllocatorError):
            self.random.choice(calls)()

    def agent(self) -> None:
        total = sum(self.random.sample(PARTS, self.random.randint(1, 5)), Resources())
        self.engine.add_agent(
            self.pick(*AGENTS),
            total,
            attributes={"rack": self.pick("r1", "r2")},
            capabilities=self.pick((), AGENT_CAPABILITIES, AGENT_CAPABILITIES),
            region=self.pick(None, "r1", "r1", "r2"),
        )

    def constraints(self) -> object:
        equals = {
            "selector": {"attribute_name": "rack"},
            "predicate": {"text_equals": {"value": "r1"}},
        }
        groups = [{"attribute_constraints": [equals]}]
        return self.pick(None, None, None, {"eng": {"groups": groups}, "ops": {"groups": groups}})

    def minimum(self) -> object:
        return self.pick(None, None, [], ["cpus:6"], {"eng": ["mem:64"]}, ["ports:10", "cpus:2"])

    def framework(self) -> None:
        roles = self.some(ROLES, 1)
        self.engine.add_framework(
            self.pick(*FRAMEWORKS),
            roles,
            active=self.chance(0.9),
            suppressed=[role for role in roles if self.chance(0.1)],
            capabilities=self.some(FRAMEWORK_CAPABILITIES),
            min_allocatable=self.minimum(),
            constraints=self.constraints(),
        )

    def allocate(self) -> None:
        self.engine.allocate(self.pick(None, None, self.some(AGENTS)))

    def open_offers(self) -> list[str]:
        state = self.engine._state
        held = (held for agent in state.agents.values() for held in state.holdings_on(agent))
        return [id for holding in held for id in holding.offers]

    def answer(self) -> None:
        for offer in sorted(self.open_offers()):
            choice = self.random.random()
            left = self.engine._state.find_offer(offer)[2]
            if choice < 0.3:
                part = Resources([entry for entry in left if self.chance(0.5)])
                self.engine.accept(offer, part, refuse_seconds=self.pick(None, 3))
            elif choice < 0.7:
                self.engine.decline(offer, refuse_seconds=self.pick(None, 2, 7, 1000))

    def release(self) -> None:
        framework = self.pick(*FRAMEWORKS)
        for agent, by_role in self.engine.framework(framework).allocated.items():
            for role, resources in by_role.items():
                if self.chance(0.5):
                    self.engine.release(framework, agent, role, resources)

    def quota(self) -> None:
        amounts = ("cpus:2", "cpus:5;mem:40", "mem:100", "disk:10", "cpus:0")
        guarantee, limit = self.pick(None, *amounts), self.pick(None, *amounts)
        self.engine.set_quota(self.pick(*ROLES), guarantee, limit)

    def quiet(self) -> None:
        framework, roles = self.pick(*FRAMEWORKS), self.pick(None, [self.pick(*ROLES)])
        call = self.pick("suppress", "revive", "activate", "deactivate")
        if call in ("suppress", "revive"):
            getattr(self.engine, call)(framework, roles)
        else:
            getattr(self.engine, f"{call}_framework")(framework)

    def update(self) -> None:
        self.engine.update_framework(
            self.pick(*FRAMEWORKS),
            roles=self.some(ROLES, 1),
            capabilities=self.some(FRAMEWORK_CAPABILITIES),
            min_allocatable=self.minimum(),
            constraints=self.constraints(),
        )

    def host(self) -> None:
        call = self.pick("activate_agent", "deactivate_agent", "remove_agent", "whitelist", "pause")
        if call == "whitelist":
            self.engine.set_whitelist(self.pick(None, None, self.some(AGENTS)))
        elif call == "pause":
            (self.engine.resume if self.chance(0.7) else self.engine.pause)()
        else:
            getattr(self.engine, call)(self.pick(*AGENTS))

    def time(self) -> None:
        self.clock.advance(self.pick(0.5, 1, 3, 100))
        self.engine.set_weight(self.pick(*ROLES), self.pick(0.5, 1.0, 2.0, 10.0))


def offered(explanation: Explanation) -> dict[tuple[str, str], Resources]:
    return {(case.role, case.agent): case.offered for case in explanation.offers}


def check(engine: Allocator) -> None:
    before = engine.snapshot()
    cycle = engine.fork().allocate().by_framework()
    for framework in before["frameworks"]:
        explanation = engine.explain(framework)
        made = {(offer.role, offer.agent): offer.resources for offer in cycle.get(framework, ())}
        assert offered(explanation) == made
        check_reasons(engine, explanation)
        check_changes(engine, explanation)
    assert engine.snapshot() == before


def check_reasons(engine: Allocator, explanation: Explanation) -> None:
    roles, agents = engine.framework(explanation.framework).roles, sorted(engine._state.agents)
    places = [(case.role, case.agent) for case in explanation.cases]
    assert places == [(role, agent) for role in roles for agent in agents]
    for case in explanation.cases:
        assert case.offered or case.reasons
        for reason in case.reasons:
            assert str(reason)
            assert reason.to_json()["reason"] == reason.kind
            if isinstance(reason, NothingLeft):
                assert not engine.agent(case.agent).available
            if isinstance(reason, HeldBack):
                # What is named role by role is all that the whole tree needs, and it is too much.
                assert reason.surplus_milli < reason.wanted_milli
    assert sum(n for _, n in explanation.summary()) >= len(explanation.cases) - len(
        explanation.offers
    )


def check_changes(engine: Allocator, explanation: Explanation) -> None:
    """Check that each change does lead to an offer, and that smaller ones come first."""
    for change in explanation.changes:
        check_change(engine, explanation, change)
    sizes = [sum(step.size for step in change.steps) for change in explanation.changes]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("sorter", ["drf", "random"])
@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), n_steps=st.integers(5, 60))
def test_explain_says_what_allocate_does_and_changes_nothing(
    sorter: str, seed: int, n_steps: int
) -> None:
    history = History(seed, sorter)
    for _ in range(n_steps):
        history.step()
    check(history.engine)
