from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from allocator.contract import Offer
from allocator.engine._records import Agent, Subscription
from allocator.engine._state import State
from allocator.engine.options import Options
from allocator.explain.rehearsal import Watcher

CONSTRAINTS: str

@disjoint_base
class Cycle:
    def __new__(cls, state: State, options: Options, number: int) -> Self: ...
    def run(self, named: list[Agent] | None = None, end: float = ...) -> OfferColumns: ...
    def misfits(self, agent: Agent, leaf: Subscription) -> list[str]: ...

@final
class WatchedCycle(Cycle):
    def watch(
        self, watcher: Watcher, leaves: frozenset[Subscription], agents: frozenset[Agent]
    ) -> OfferColumns: ...

@final
class OfferColumns:
    @property
    def prefix(self) -> str: ...
    @property
    def first_number(self) -> int: ...
    @property
    def n(self) -> int: ...
    def offer(self, i: int) -> Offer: ...
    def columns(self, places: NDArray[np.int64]) -> dict[str, Any]: ...

@final
class Distinct: ...
