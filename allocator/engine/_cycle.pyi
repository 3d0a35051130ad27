from collections.abc import Iterable
from typing import Any, Protocol, Self, final

import numpy as np
from numpy.typing import NDArray

from allocator.contract import Offer
from allocator.engine._records import Agent, Subscription
from allocator.engine._state import State
from allocator.engine.rules import Rules
from allocator.resources import Resources

CONSTRAINTS: str

class _Watch(Protocol):
    def turn(self, stage: int, agent: Agent) -> None: ...
    def considered(self, agent: Agent, leaf: Subscription, offered: Resources) -> None: ...
    def offering(self, agent: Agent, leaf: Subscription, resources: Resources) -> None: ...
    def decided(
        self, agent: Agent, leaf: Subscription, resources: Resources, is_made: bool
    ) -> None: ...

@final
class Cycle:
    def __new__(
        cls, state: State, rules: Rules, number: int, watch: _Watch | None = None
    ) -> Self: ...
    def run(self, named: list[Agent] | None = None) -> OfferColumns: ...
    def misfits(self, agent: Agent, leaf: Subscription) -> list[str]: ...
    def visible(
        self, agent: Agent, leaf: Subscription, capabilities: Iterable[str] = ()
    ) -> Resources: ...

@final
class OfferColumns:
    @property
    def first_number(self) -> int: ...
    @property
    def n(self) -> int: ...
    def offer(self, i: int) -> Offer: ...
    def columns(self, places: NDArray[np.int64]) -> dict[str, Any]: ...

@final
class Distinct: ...
