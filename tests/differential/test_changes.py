"""What the engine tells of changes, against what the reference sees changed.

After each call of a random history the engine must have told at least what the reference finds
changed by looking at everything, and at most what the call could concern: nothing if it was
refused. As many histories as `ALLOCATOR_HISTORIES` says for the others, divided by ten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest

from allocator.errors import AllocatorError
from allocator.roles import ancestry
from tests.differential.history import Call, History
from tests.differential.judge import Judge, explained, hold
from tests.differential.test_histories import FIRST_SEED, N_HISTORIES, THEMES
from tests.differential.workload import Workload

N_CALLS = 60
PER_TEST = 10

Thing = tuple[str, str]


class Listener(Judge):
    """A judge who reads what changes."""

    def __init__(
        self,
        options: Mapping[str, Any],
        sorters: Iterable[str] = (),
        every: int = 10,
        refusals: bool = False,
    ) -> None:
        super().__init__(options, sorters, every, refusals)
        self._seen = self.reference.changes()
        self._listen()

    def _listen(self) -> None:
        self._heard = [engine.changes(self._wake) for engine in self._engines]

    def _wake(self) -> None:
        self._n_woken += 1

    def do(self, made: Call) -> Any:
        """Make a call, and compare what is told of it."""
        self._n_woken = 0
        concern = set(self._concerned(made))
        result = super().do(made)
        if made.method in ("restore", "fork", "advance"):
            hold(not any(reader.take() for reader in self._heard), f"{made} tells of changes")
            if made.method != "advance":
                self._listen()
            return result
        changed = set(self._seen.take())
        refused = isinstance(result, AllocatorError)
        concern |= changed | set(self._concerned(made)) | set(of_offers(result))
        concern |= set(self._around(concern))
        found = [reader.take() for reader in self._heard]
        for told in found:
            hold(len(told) == len(set(told)), f"{made} tells twice: {told}")
            missing = changed - set(told)
            hold(not missing, f"{made} changes, and does not tell of, {sorted(missing)}")
            beyond = set(told) - (set() if refused else concern)
            hold(not beyond, f"{made} tells of {sorted(beyond)}, which it does not concern")
        n_wakes = sum(map(bool, found))
        hold(self._n_woken == n_wakes, f"{made} wakes {self._n_woken} times, not {n_wakes}")
        return result

    def _concerned(self, made: Call) -> Iterator[Thing]:
        """Yield what a call names, as things are now."""
        state = self.reference._state
        for text in texts((made.args, made.kwargs)):
            if text in state.agents:
                yield "agent", text
                yield "maintenance", text
            if text in state.frameworks:
                yield "framework", text
            if text in state.offers:
                yield from of_offer(state.offers[text])
            if text in self.reference.roles:
                yield from of_role(text)
        if made.method in ("set_whitelist", "pause", "resume", "recover", "allocate"):
            yield "engine", ""
        now = self.clock()
        # Their views show it already; the engine tells it when it comes across them.
        yield from (("role", held.role) for held in state.filters if held.end <= now)
        if made.method == "allocate":
            for id, end in state.offer_ends.items():
                if end <= now and id in state.offers:
                    yield from of_offer(state.offers[id])

    def _around(self, things: set[Thing]) -> Iterator[Thing]:
        """Yield what shows sums over some things, or is held on or by them."""
        state = self.reference._state
        agents = {id for kind, id in things if kind == "agent"}
        frameworks = {id for kind, id in things if kind == "framework"}
        if agents:
            yield "engine", ""
        for agent in agents & state.agents.keys():
            for entry in state.agents[agent].total:
                if entry.role is not None:
                    yield from of_role(entry.role)
            for held in state.pending:
                if held.agent == agent:
                    yield from of_role(held.role)
        for framework in frameworks & state.frameworks.keys():
            for role in state.frameworks[framework].roles:
                yield from of_role(role)


def of_offers(result: Any) -> Iterator[Thing]:
    """Yield what the offers of a cycle, or a converted offer, are about."""
    for offer in result if hasattr(result, "inverse") else [result]:
        if hasattr(offer, "framework"):
            yield from of_offer(offer)


def of_offer(offer: Any) -> Iterator[Thing]:
    yield "offer", offer.id
    yield "agent", offer.agent
    yield "framework", offer.framework
    yield from of_role(offer.role)


def of_role(role: str) -> Iterator[Thing]:
    yield from (("role", path) for path in ancestry(role))


def texts(value: Any) -> Iterator[str]:
    """Yield all texts in an argument."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from texts([*value.keys(), *value.values()])
    elif isinstance(value, (list, tuple, set, frozenset)):
        for each in value:
            yield from texts(each)


SEEDS = range(FIRST_SEED, FIRST_SEED + max(1, N_HISTORIES // 10), PER_TEST)


@pytest.mark.parametrize("first", SEEDS)
def test_histories(first: int) -> None:
    for seed in range(first, first + PER_TEST):
        check(seed)


def check(seed: int) -> None:
    workload = Workload(seed, THEMES[seed % len(THEMES)])
    judge = Listener(workload.options(seed))
    try:
        for _ in range(N_CALLS):
            workload.shown(judge.do(workload.next(judge.reference)))
        judge.compare()
    except Exception as cause:  # an engine that crashes is as wrong as one that disagrees
        told = explained(History(judge.options, judge.calls), (), cause, Listener)
        pytest.fail(f"history {seed}: {told}", pytrace=False)
