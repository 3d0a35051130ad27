"""Orders of which the engine knows nothing: whatever an order is made of, it is told the same.

A compiled one, told rows, always asked for the first and copied where only some roles take part,
goes beside one of the same rule in plain Python, told values, asked for an order once a walk and
never copied. Both make the same offers on random histories.
"""

from __future__ import annotations

import json
import os

import pytest

from allocator import Allocator, AllocatorError, ManualClock
from allocator.sorter import SORTERS, NaiveDRFSorter, SorterKind
from tests.compiled.sorters import LeastHeld
from tests.differential.history import Call
from tests.differential.judge import outcome, plain
from tests.differential.workload import FEATURES, Workload

NAMES = ("least-held", "plain-least-held")
N_HISTORIES = int(os.environ.get("ALLOCATOR_HISTORIES", "2000")) // 20


class PlainLeastHeld(NaiveDRFSorter):
    """The rule of `LeastHeld` from all that is held."""

    def sort(self) -> list[str]:
        """Return the active clients."""
        return sorted(self._active, key=self.place)

    def place(self, client: str) -> tuple[int, str]:
        """Return what a client goes by."""
        return sum(self.quantities(client).milli.values()), client


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, made in zip(NAMES, (LeastHeld, PlainLeastHeld), strict=True):
        monkeypatch.setitem(SORTERS, name, SorterKind(made, name))


def filled(sorter: str) -> Allocator:
    """Return an engine in which f holds half of the cpus, and g more thousandths, all MB."""
    engine = Allocator(sorter=sorter, seed=7, clock=ManualClock())
    engine.add_agents(["a1", "a2"], "cpus:4;mem:1000")
    for framework in "fg":
        engine.add_framework(framework, [f"of-{framework}"])
    for offer in engine.allocate():
        part = "cpus:4" if offer.framework == "f" else "mem:5"
        engine.accept(offer, part, refuse_seconds=None)
    return engine


@pytest.mark.parametrize(
    ("sorter", "expected"), [("drf", "g"), ("least-held", "f"), ("plain-least-held", "f")]
)
def test_it_decides_by_its_own_rule(sorter: str, expected: str) -> None:
    # f: 4 of 8 cpus; g: 5 of 2000 MB
    assert {offer.framework for offer in filled(sorter).allocate(["a1"])} == {expected}


PER_TEST = 10


@pytest.mark.parametrize("first", range(0, N_HISTORIES, PER_TEST))
def test_a_compiled_and_a_plain_one_decide_the_same(first: int) -> None:
    assert sum(map(n_offers_alike, range(first, first + PER_TEST))) > 0


def n_offers_alike(seed: int) -> int:
    """Make the calls of a history on both; return how many offers they made."""
    workload = Workload(seed, (FEATURES, frozenset({"quota", "special"}))[seed % 2])
    clock = ManualClock()
    options = {**workload.options(seed), "clock": clock}
    engines = [Allocator(**{**options, "sorter": name}) for name in NAMES]
    n_offers = 0
    for _ in range(100):
        made = workload.next(engines[0])
        if made.method == "advance":
            clock.advance(*made.args)
            continue
        if made.method in ("fork", "restore"):
            engines = [continued(engine, clock, made) for engine in engines]
            continue
        expected, found = (outcome(engine, made) for engine in engines)
        assert plain(found) == plain(expected), made
        workload.shown(expected)
        if made.method == "allocate" and not isinstance(expected, AllocatorError):
            n_offers += len(expected)
    return n_offers


def continued(engine: Allocator, clock: ManualClock, made: Call) -> Allocator:
    """Return the engine to go on with."""
    if made.method == "fork":
        return engine.fork()
    return Allocator.restore(json.loads(json.dumps(engine.snapshot())), clock=clock)
