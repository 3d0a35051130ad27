"""Watching a cycle: what it decides about some subscriptions and agents, and why.

The decisions are those of `Cycle` itself, which tells a `Watch` of each; that notes down why an
attempt came to nothing and who was served before. So what is said would be offered is offered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from allocator.engine._cycle import CONSTRAINTS, Cycle
from allocator.engine._order import FAIR_SHARE, GUARANTEES
from allocator.engine._records import Agent, Subscription
from allocator.engine._roles import RoleNode
from allocator.engine._state import State
from allocator.engine.constraints import AttributeConstraint
from allocator.engine.explain.reasons import (
    AgentInactive,
    BelowMinimum,
    ConstraintUnmet,
    Filtered,
    FrameworkInactive,
    Guaranteed,
    HeldBack,
    Json,
    MissingCapability,
    NothingLeft,
    NothingVisible,
    NotWhitelisted,
    OverLimit,
    Paused,
    Reason,
    Recovering,
    Served,
    ServedEarlier,
    Suppressed,
    brief,
)
from allocator.engine.frameworks import Minimum, suffices
from allocator.engine.inputs import AGENT_CAPABILITIES
from allocator.engine.rules import Rules
from allocator.resources import EMPTY, Resources

if TYPE_CHECKING:
    from allocator.engine.allocator import Allocator

#: What a framework must be capable of to be shown some kinds of resources.
SHOWING = ("REVOCABLE_RESOURCES", "SHARED_RESOURCES", "RESERVATION_REFINEMENT")


class Question(NamedTuple):
    """What is asked: about one framework, perhaps one of its roles, perhaps one agent."""

    framework: str
    role: str | None
    agent: str | None


@dataclass(frozen=True, slots=True)
class Case:
    """What becomes of one agent for the framework in one role.

    Parameters
    ----------
    role, agent : str
    resources : Resources
        What the cycle offers, both stages together; also where the engine makes no offers at all.
    reasons : tuple of Reason
        Why nothing is offered or, with `resources`, why not more; in the order in which the engine
        comes across them.
    """

    role: str
    agent: str
    resources: Resources
    reasons: tuple[Reason, ...]

    @property
    def offered(self) -> Resources:
        """What the next `allocate()` offers: nothing while the engine is paused or recovering."""
        return EMPTY if any(reason.halts for reason in self.reasons) else self.resources

    def to_json(self) -> Json:
        """Return the case as JSON. O(size)."""
        return {
            "role": self.role,
            "agent": self.agent,
            "offered": str(self.offered),
            "resources": str(self.resources),
            "reasons": [reason.to_json() for reason in self.reasons],
        }

    def __str__(self) -> str:
        said = [f"offered {brief(self.offered)}"] if self.offered else []
        return f"{self.role} on {self.agent}: " + "; ".join([*said, *map(str, self.reasons)])


def look(twin: Allocator, question: Question) -> tuple[Case, ...]:
    """Run the next cycle on an engine that is there for this, and return what came of it."""
    leaves = twin._leaves(question.framework, None if question.role is None else [question.role])
    state, now = twin._state, twin._clock()
    halts = tuple(_halts(twin, now))
    agents = [a for id, a in sorted(state.agents.items()) if question.agent in (None, id)]
    held_before = {agent: NothingLeft(agent.offered, agent.allocated) for agent in agents}
    state.expire_filters(now)
    state.touch_all()
    watch = Watch(state, twin._rules, leaves, agents, now)
    cycle = watch.cycle = Cycle(state, twin._rules, twin._n_cycles + 1, watch)
    cycle.run()
    cases = []
    for leaf in leaves:
        for agent in agents:
            reasons = (*_exclusions(twin, leaf, agent), *watch.misfits(leaf, agent))
            if not reasons:
                reasons = watch.reasons(leaf, agent)
            offered = watch.offered(leaf, agent)
            if not reasons and not offered:
                reasons = (held_before[agent],)
            cases.append(Case(leaf.node.path, agent.id, offered, halts + reasons))
    return tuple(cases)


def _halts(engine: Allocator, now: float) -> Iterator[Reason]:
    if engine._paused:
        yield Paused()
    recovery = engine._recovery
    if recovery.holds_back(now):
        n_agents = len(engine._state.agents)
        yield Recovering(n_agents, recovery.awaited, recovery.end, recovery.end - now)


def _exclusions(engine: Allocator, leaf: Subscription, agent: Agent) -> Iterator[Reason]:
    """Yield what keeps a framework or an agent out of cycles altogether."""
    if not leaf.framework.active:
        yield FrameworkInactive()
    if leaf.suppressed:
        yield Suppressed(leaf.node.path)
    if not agent.active:
        yield AgentInactive()
    whitelist = engine._state.whitelist
    if whitelist is not None and agent.hostname not in whitelist:
        yield NotWhitelisted(agent.hostname)


class Watch:
    """Notes of what becomes of some subscriptions on some agents in a cycle.

    Parameters
    ----------
    state, rules
        As of `Cycle`.
    leaves : collection of Subscription
        Those asked about.
    agents : collection of Agent
        Those asked about; the cycle looks at all others just the same.
    now : float
        In seconds of the engine's clock.
    """

    def __init__(
        self,
        state: State,
        rules: Rules,
        leaves: Collection[Subscription],
        agents: Collection[Agent],
        now: float,
    ) -> None:
        #: The cycle that is watched, as soon as there is one.
        self.cycle: Cycle
        self._state = state
        self._tree = state.tree
        self._rules = rules
        #: (subscription, agent) → what both stages offered.
        self._made: dict[tuple[Subscription, Agent], Resources] = {}
        self._asked = frozenset(leaves)
        self._asked_agents = frozenset(agents)
        self._now = now
        self._stage = GUARANTEES
        #: (subscription, agent, stage) → why nothing, or no more, came of the attempt.
        self._notes: dict[tuple[Subscription, Agent, int], list[Reason]] = {}
        #: (subscription, agent) → who was offered something there before it had its last turn.
        self._ahead: dict[tuple[Subscription, Agent], list[Served]] = {}
        #: (subscription, agent) whose turn has come in stage two.
        self._reached: set[tuple[Subscription, Agent]] = set()
        #: Subscription → what to note for it if the offer that is being decided is made.
        self._served: dict[Subscription, Served] = {}
        #: role path, or role path and framework → share as the agent's turn began.
        self._shares: dict[str | tuple[str, str], float] = {}
        self._guarantors = [node for node in state.tree.nodes.values() if node.quota.guarantee]

    # What came of it.

    def offered(self, leaf: Subscription, agent: Agent) -> Resources:
        """Return what the cycle offered. O(1)."""
        return self._made.get((leaf, agent), EMPTY)

    def reasons(self, leaf: Subscription, agent: Agent) -> tuple[Reason, ...]:
        """Return why nothing was offered, or no more. O(notes).

        Empty if all was offered, or if there was nothing for anybody when its turn came.
        """
        last = self._notes.get((leaf, agent, FAIR_SHARE), [])
        if self.offered(leaf, agent):
            return tuple(last)
        notes = dict.fromkeys((*self._notes.get((leaf, agent, GUARANTEES), ()), *last))
        ahead = self._ahead.get((leaf, agent))
        enough_was_left = any(isinstance(r, Filtered | OverLimit | HeldBack) for r in notes)
        too_little = any(isinstance(reason, BelowMinimum) for reason in notes)
        if ahead and (too_little or not enough_was_left):
            return (*notes, ServedEarlier(tuple(ahead)))
        return tuple(notes)

    def misfits(self, leaf: Subscription, agent: Agent) -> Iterator[Reason]:
        """Yield all that rules the agent out, each as if what comes before it were mended."""
        for misfit in self.cycle.misfits(agent, leaf):
            if misfit == CONSTRAINTS:
                groups = leaf.framework.constraints[leaf.node.path].groups
                yield ConstraintUnmet(tuple(_failing(group, agent) for group in groups))
            else:
                yield MissingCapability(misfit, misfit in AGENT_CAPABILITIES)

    # What the cycle tells.

    def turn(self, stage: int, agent: Agent) -> None:
        """Note that an agent's turn in a stage begins."""
        self._stage = stage
        self._shares.clear()

    def considered(self, agent: Agent, leaf: Subscription, offered: Resources) -> None:
        """Note what stage two would offer."""
        if leaf in self._asked and agent in self._asked_agents:
            self._reached.add((leaf, agent))
            visible = self.cycle.visible(agent, leaf)
            if not visible:
                self._note(leaf, agent, self._hidden(leaf, agent))
            elif offered != visible:
                self._note(leaf, agent, self._chopped(leaf, visible))

    def offering(self, agent: Agent, leaf: Subscription, resources: Resources) -> None:
        """Note who would be behind if an offer is made now."""
        self._served = self._would_be_served(agent, leaf, resources)

    def decided(
        self, agent: Agent, leaf: Subscription, resources: Resources, is_made: bool
    ) -> None:
        """Note whether the offer was made."""
        if is_made:
            self._made[leaf, agent] = self._made.get((leaf, agent), EMPTY) + resources
            for behind, entry in self._served.items():
                self._ahead.setdefault((behind, agent), []).append(entry)
        elif leaf in self._asked and agent in self._asked_agents:
            self._note(leaf, agent, self._unwanted(leaf, agent, resources))

    def _note(self, leaf: Subscription, agent: Agent, reasons: Iterator[Reason]) -> None:
        self._notes.setdefault((leaf, agent, self._stage), []).extend(reasons)

    # Why an attempt came to nothing.

    def _unwanted(self, leaf: Subscription, agent: Agent, resources: Resources) -> Iterator[Reason]:
        """Yield why `_offer` made no offer of `resources`."""
        minimum = leaf.minimum(self._rules.minimum)
        if not suffices(resources, minimum):
            yield _below(resources, minimum)
            return
        held = self._state.filters_on(leaf, agent)
        until = max(end for refused, end in held if refused >= resources)
        yield Filtered(resources, until, until - self._now)

    def _chopped(self, leaf: Subscription, visible: Resources) -> Iterator[Reason]:
        """Yield the limits and guarantees that do not allow all of `visible`."""
        tree, headroom = self._tree, self._state.headroom
        wanted = visible.unreserved().nonrevocable().quantities().milli
        for role in leaf.node.upward():
            for name in sorted(role.quota.limit.keys() & wanted.keys()):
                limit, consumed = role.quota.limit[name], role.consumed[name]
                if consumed + wanted[name] > limit:
                    yield OverLimit(role.path, name, limit, consumed, wanted[name])
        for name in sorted(tree.required.keys() & wanted.keys()):
            if headroom[name] - tree.required[name] < wanted[name]:
                yield HeldBack(name, wanted[name], headroom[name], tuple(self._needs(name)))

    def _needs(self, name: str) -> Iterator[Guaranteed]:
        """Yield which roles' guarantees the required headroom of a name is for; sums up to it."""
        for node in self._guarantors:
            above = (role for role in node.upward() if role is not node)
            if _is_own_need(node, name) and not any(_is_own_need(role, name) for role in above):
                yield Guaranteed(node.path, node.need[name])

    def _hidden(self, leaf: Subscription, agent: Agent) -> Iterator[Reason]:
        """Yield why the framework may see nothing of what is available."""
        lacking = [name for name in SHOWING if name not in leaf.framework.capabilities]
        shown = {name: self.cycle.visible(agent, leaf, (name,)) for name in lacking}
        if not any(shown.values()):
            # Entries that need more than one of them.
            shown = dict.fromkeys(lacking, self.cycle.visible(agent, leaf, lacking))
        for name, resources in shown.items():
            if resources:
                yield MissingCapability(name, hidden=resources)
        elsewhere = agent.available - agent.available.allocatable_to(leaf.node.path)
        if elsewhere:
            yield NothingVisible(elsewhere)

    # Who was served before, and by which shares.

    def _would_be_served(
        self, agent: Agent, leaf: Subscription, resources: Resources
    ) -> dict[Subscription, Served]:
        """Return what to note for each subscription whose turn on the agent is yet to come."""
        # Before anything below them is served, so that all are as the turn began.
        for role in leaf.node.upward():
            self._share(role.path)
        self._framework_share(leaf)
        if agent not in self._asked_agents:
            return {}
        return {
            behind: Served(
                self._stage,
                leaf.framework.id,
                leaf.node.path,
                resources,
                *self._compared(leaf, behind),
            )
            for behind in self._asked
            if behind.active and behind is not leaf and (behind, agent) not in self._reached
        }

    def _compared(self, ahead: Subscription, behind: Subscription) -> tuple[str, float, str, float]:
        """Return where two subscriptions part in the order, and the shares there."""
        if ahead.node is behind.node:
            shares = self._framework_share(ahead), self._framework_share(behind)
            return ahead.framework.id, shares[0], behind.framework.id, shares[1]
        above = ""
        for a, b in zip_longest(_downward(ahead.node), _downward(behind.node)):
            if a != b:
                break
            above = a
        # A role competes with those below it through its implicit leaf.
        first, second = a or f"{above}/.", b or f"{above}/."
        return first, self._share(first), second, self._share(second)

    def _share(self, path: str) -> float:
        if path not in self._shares:
            self._shares[path] = self._tree.share(path)
        return self._shares[path]

    def _framework_share(self, leaf: Subscription) -> float:
        key = leaf.node.path, leaf.framework.id
        if key not in self._shares:
            self._shares[key] = leaf.node.sorter.share(leaf.framework.id)
        return self._shares[key]


def _failing(group: tuple[AttributeConstraint, ...], agent: Agent) -> tuple[str, ...]:
    return tuple(
        f"{item.name} {item.predicate}" + ("" if item.operand is None else f" {item.operand!r}")
        for item in group
        if not item.holds(agent)
    )


def _below(resources: Resources, minimum: Minimum) -> BelowMinimum:
    """Say which of the amounts `resources` come nearest to, by the parts that are missing."""
    counts = resources.counts()
    lacking = [amounts.minus_floor(counts) for amounts in minimum]
    parts = [
        sum(milli / amounts.milli[name] for name, milli in missing.milli.items())
        for amounts, missing in zip(minimum, lacking, strict=True)
    ]
    nearest = parts.index(min(parts))
    return BelowMinimum(resources, minimum[nearest], lacking[nearest])


def _is_own_need(node: RoleNode, name: str) -> bool:
    """Tell whether the node's need is that of its own guarantee, not only of those below (R4)."""
    own = node.quota.guarantee.get(name, 0) - node.consumed[name]
    return own > 0 and own >= node.children_need[name]


def _downward(node: RoleNode) -> list[str]:
    return [role.path for role in node.upward()][::-1]
