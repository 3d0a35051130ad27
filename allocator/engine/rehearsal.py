"""Rehearsals: forks whose next cycle is watched, for those who explain what it does.

They show by ids, paths and amounts what the engine decides by, so that nobody else need know how
it is kept. `allocator.explain.rehearsal.Rehearsal` says what each of these is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from allocator.clock import Clock, ManualClock
from allocator.contract import Engine
from allocator.engine._cycle import CONSTRAINTS, Cycle, WatchedCycle
from allocator.engine._records import Agent, Subscription
from allocator.engine._state import State
from allocator.engine.constraints import AttributeConstraint
from allocator.engine.inputs import AGENT_CAPABILITIES
from allocator.engine.lookup import agent_of, leaves_of
from allocator.engine.offers import Offers
from allocator.engine.options import Options
from allocator.engine.recovery import Recovery
from allocator.explain.rehearsal import Holding, RoleSums, RuledOut, Watcher
from allocator.resources import Quantities, Resources
from allocator.sorter import Standing


class Fork(Engine, Protocol):
    """What a rehearsal knows of an allocator, which hands itself over."""

    _clock: Clock
    _state: State
    _options: Options
    _recovery: Recovery
    _paused: bool
    _n_cycles: int

    def _begin_cycle(self, now: float) -> list[str]: ...


class Rehearsal:
    """A fork, and what decides its next cycle; see `allocator.explain.rehearsal.Rehearsal`.

    Parameters
    ----------
    engine : Allocator
        Stays as it is.
    """

    def __init__(self, engine: Fork) -> None:
        self._fork = fork = engine.fork()
        fork._clock = self.clock = ManualClock(engine.now())
        self._state = fork._state

    @property
    def engine(self) -> Engine:
        """The fork. O(1)."""
        return self._fork

    @property
    def cycle(self) -> int:
        """The number of the cycle that comes next. O(1)."""
        return self._fork._n_cycles + 1

    @property
    def paused(self) -> bool:
        """Whether the engine is paused. O(1)."""
        return self._fork._paused

    @property
    def recovery(self) -> tuple[int, float] | None:
        """How many agents are waited for and until when, if at all. O(1)."""
        recovery = self._fork._recovery
        return (recovery.awaited, recovery.end) if recovery.holds_back(self.clock()) else None

    @property
    def whitelist(self) -> frozenset[str] | None:
        """The hosts whose agents may be offered. O(1)."""
        return self._state.whitelist

    @property
    def agents(self) -> Sequence[str]:
        """The ids of all agents. O(agents · log)."""
        return sorted(self._state.agents)

    def ruled_out(self, framework: str, role: str, agent: str) -> RuledOut:
        """Return what rules an agent out. O(constraints)."""
        leaf, on = self._leaf(framework, role), self._state.agents[agent]
        misfits = Cycle(self._state, self._fork._options, self.cycle).misfits(on, leaf)
        lacks = [misfit for misfit in misfits if misfit != CONSTRAINTS]
        unmet: tuple[tuple[str, ...], ...] = ()
        if len(lacks) < len(misfits):
            groups = leaf.framework.constraints[role].groups
            unmet = tuple(_unmet(group, on) for group in groups)
        return RuledOut(
            tuple(name for name in lacks if name not in AGENT_CAPABILITIES),
            tuple(name for name in lacks if name in AGENT_CAPABILITIES),
            unmet,
        )

    def minimum(self, framework: str, role: str) -> tuple[Quantities, ...]:
        """Return the amounts any one of which an offer must contain. O(1)."""
        return self._leaf(framework, role).minimum(self._fork._options.min_allocatable)

    def constraints(self, framework: str) -> Mapping[str, Any]:
        """Return a framework's constraints by role. O(constraints)."""
        by_role = self._state.frameworks[framework].constraints
        return {role: own.to_json() for role, own in by_role.items()}

    @property
    def interval(self) -> float:
        """How many seconds lie between cycles, 1 where that is 0. O(1)."""
        return self._fork._options.allocation_interval or 1.0

    def refusals(self) -> dict[tuple[str, str], float]:
        """Return for how long the last answers refused an offer. O(subscriptions)."""
        return {
            (framework.id, role): max(leaf.refusal, 0.0)
            for framework in self._state.frameworks.values()
            for role, leaf in framework.subscriptions.items()
            if leaf.subscribed and not math.isnan(leaf.refusal)
        }

    def filters(self, framework: str, role: str, agent: str) -> Sequence[tuple[Resources, float]]:
        """Return what was refused there. O(filters there)."""
        return self._state.filters_on(self._leaf(framework, role), self._state.agents[agent])

    def holdings(self, agent: str) -> Sequence[Holding]:
        """Return who holds what on an agent. O(holdings)."""
        return [
            Holding(
                held.subscription.framework.id,
                held.subscription.node.path,
                held.offered,
                held.allocated,
            )
            for held in self._state.holdings_on(self._state.agents[agent])
        ]

    def sums(self, role: str) -> RoleSums:
        """Return a role's quota and sums. O(names)."""
        node = self._state.tree.nodes[role]
        quota = node.quota
        return RoleSums(quota.guarantee, quota.limit, node.consumed, node.need, node.children_need)

    def guarantors(self) -> Sequence[str]:
        """Return the roles that have a guarantee. O(roles)."""
        return [path for path, node in self._state.tree.roles.items() if node.quota.guarantee]

    def headroom(self, name: str) -> int:
        """Return how much of a resource is available in the cluster. O(names)."""
        return self._state.headroom[name]

    def required(self, name: str) -> int:
        """Return how much of a resource all guarantees need. O(names)."""
        return self._state.tree.required[name]

    def standing(self, path: str, framework: str | None = None) -> Standing:
        """Return what a role or a framework is ordered by. O(names)."""
        tree = self._state.tree
        if framework is None:
            return tree.sorter.standing(path)
        return tree.nodes[path].sorter.standing(framework)

    def watch(
        self, watcher: Watcher, framework: str, role: str | None = None, agent: str | None = None
    ) -> Offers:
        """Run the next cycle and tell of it. O(a cycle that looks at everybody)."""
        fork, state = self._fork, self._state
        leaves = leaves_of(state, framework, None if role is None else [role])
        agents = state.agents.values() if agent is None else [agent_of(state, agent)]
        fork._begin_cycle(self.clock())
        cycle = WatchedCycle(state, fork._options, fork._n_cycles)
        return Offers._of(cycle.watch(watcher, frozenset(leaves), frozenset(agents)), inverse=[])

    def _leaf(self, framework: str, role: str) -> Subscription:
        return self._state.frameworks[framework].subscriptions[role]


def _unmet(group: tuple[AttributeConstraint, ...], agent: Agent) -> tuple[str, ...]:
    return tuple(
        f"{item.name} {item.predicate}" + ("" if item.operand is None else f" {item.operand!r}")
        for item in group
        if not item.holds(agent)
    )
