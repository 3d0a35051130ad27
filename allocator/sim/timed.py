"""The allocator under test, with a watch on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allocator.contract import Offer, Offers
from allocator.engine import Allocator
from allocator.resources import Resources

#: For fewer, a call each is faster than one for all.
_FEW = 3


class TimedEngine:
    """Hands calls on to an allocator, and measures how long they take, in seconds."""

    def __init__(self, make: Callable[[], Allocator]) -> None:
        started = time.perf_counter()
        self._engine = make()
        self.seconds = time.perf_counter() - started

    def call(self, name: str, *arguments: Any, **named: Any) -> None:
        """Make any call: of those below, which are made often, each has its own."""
        started = time.perf_counter()
        getattr(self._engine, name)(*arguments, **named)
        self.seconds += time.perf_counter() - started

    def knows(self, agent: str) -> bool:
        """Tell whether an agent is there."""
        return agent in self._engine.agents

    def allocate(self) -> tuple[Any, int]:
        """Run a cycle; return its offers and how many nanoseconds it took."""
        started = time.perf_counter_ns()
        offers = self._engine.allocate()
        took_ns = time.perf_counter_ns() - started
        self.seconds += took_ns / 1e9
        return offers, took_ns

    def skip_cycles(self, n: int) -> None:
        """Count cycles that are not run."""
        started = time.perf_counter()
        self._engine.skip_cycles(n)
        self.seconds += time.perf_counter() - started

    def next_due(self) -> float:
        """Return when a cycle may next do something."""
        started = time.perf_counter()
        due_s = self._engine.next_due()
        self.seconds += time.perf_counter() - started
        return due_s

    def columns(self, offers: Any) -> dict[str, Any]:
        """Return offers as columns."""
        started = time.perf_counter()
        columns: dict[str, Any] = offers.columns()
        self.seconds += time.perf_counter() - started
        return columns

    def by_framework(self, offers: Offers) -> dict[str, list[Offer]]:
        """Return each framework's offers, each looked at."""
        started = time.perf_counter()
        grouped = offers.by_framework()
        self.seconds += time.perf_counter() - started
        return grouped

    def accept(
        self,
        offer: Offer | Sequence[Offer],
        kept: Resources | list[Resources],
        refuse_seconds: float | NDArray[np.float64] | None,
    ) -> None:
        """Keep parts of one offer or of several; nothing is a part, too."""
        started = time.perf_counter()
        self._engine.accept(offer, kept, refuse_seconds=refuse_seconds)
        self.seconds += time.perf_counter() - started

    def release(self, held: Sequence[Offer]) -> None:
        """Give back what tasks took: the resources of each, of its framework, agent and role."""
        started = time.perf_counter()
        if len(held) < _FEW:
            for _, framework, role, agent, resources in held:
                self._engine.release(framework, agent, role, resources)
        else:
            self._engine.release(held)
        self.seconds += time.perf_counter() - started

    def suppress(self, framework: str) -> None:
        """Have a framework offered nothing."""
        started = time.perf_counter()
        self._engine.suppress(framework)
        self.seconds += time.perf_counter() - started

    def revive(self, framework: str) -> None:
        """Have a framework offered everything again."""
        started = time.perf_counter()
        self._engine.revive(framework)
        self.seconds += time.perf_counter() - started
