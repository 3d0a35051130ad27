"""Finding the smallest change that leads to an offer, by trying changes out on forks.

Reasons that decide by themselves (a suppressed role, an absent capability) each have their own
remedy, and what stands behind them shows only when they are gone: those are mended one after the
other. The others (a limit, guarantees, `min_allocatable`, others' needs) stand side by side, and
each remedy is tried by itself. What is found is not what would be best for everybody.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from allocator.engine._order import FAIR_SHARE
from allocator.engine._records import Agent
from allocator.engine._state import State
from allocator.engine.explain.changes import (
    LEAST_FIRST,
    ActivateAgent,
    ActivateFramework,
    AddAgentCapability,
    AddCapability,
    Free,
    LiftConstraints,
    LowerGuarantee,
    LowerMinimum,
    RaiseLimit,
    RaiseWeight,
    Resume,
    Revive,
    Step,
    Wait,
    Whitelist,
)
from allocator.engine.explain.reasons import (
    AgentInactive,
    BelowMinimum,
    ConstraintUnmet,
    Filtered,
    FrameworkInactive,
    HeldBack,
    Json,
    MissingCapability,
    NotWhitelisted,
    OverLimit,
    Paused,
    Reason,
    Recovering,
    ServedEarlier,
    Suppressed,
    brief,
)
from allocator.engine.explain.watch import Case, Question, look
from allocator.errors import AllocatorError
from allocator.resources import Quantities, Resources
from allocator.sorter.base import MAX_WEIGHT

if TYPE_CHECKING:
    from allocator.engine.allocator import Allocator

Steps: TypeAlias = tuple[Step, ...]
#: role → name → thousandths.
ByRole: TypeAlias = dict[str, dict[str, int]]

#: A change has at most so many rounds of mending, and so many changes are tried in all.
MAX_ROUNDS = 5
MAX_TRIALS = 24
#: Of cases with the same kinds of reasons, and of remedies of the same kinds, so many are tried.
MAX_ALIKE = 3


@dataclass(frozen=True, slots=True)
class Change:
    """Steps that lead to an offer, and what is offered then: tried on a fork."""

    steps: tuple[Step, ...]
    cases: tuple[Case, ...]

    def to_json(self) -> Json:
        """Return the change as JSON. O(size)."""
        return {
            "steps": [step.to_json() for step in self.steps],
            "offers": [
                {"role": case.role, "agent": case.agent, "resources": str(case.offered)}
                for case in self.cases
            ],
        }

    def __str__(self) -> str:
        first = self.cases[0]
        more = f", and {len(self.cases) - 1} more" if len(self.cases) > 1 else ""
        steps = "; ".join(map(str, self.steps))
        return f"{steps} → {first.role} on {first.agent}: {brief(first.offered)}{more}"


def find_changes(
    engine: Allocator, question: Question, cases: tuple[Case, ...]
) -> tuple[Change, ...]:
    """Return what would lead to an offer, the smallest change first.

    Of each kind of change the first that worked, among those that take the fewest rounds of
    mending. None if something is offered anyway. At most `MAX_TRIALS` forks and cycles.
    """
    if not cases or any(case.offered for case in cases):
        return ()
    trials = Trials(engine, question)
    level: list[tuple[Steps, tuple[Case, ...]]] = [((), cases)]
    for _ in range(MAX_ROUNDS):
        following = []
        for before, seen in level:
            for more, mends in _remedies(engine, question.framework, seen):
                outcome = trials.try_out(before + more)
                if outcome is not None and mends:
                    following.append((before + more, outcome))
        if trials.found:
            break
        level = following
    return tuple(sorted(trials.found.values(), key=_size))


class Trials:
    """Changes that were tried out.

    Parameters
    ----------
    engine : Allocator
        Forked for each trial.
    question : Question
        What an offer is wanted for.
    """

    def __init__(self, engine: Allocator, question: Question) -> None:
        self._engine = engine
        self._question = question
        self._n_left = MAX_TRIALS
        self._tried: set[Steps] = set()
        self._n_alike: Counter[tuple[type[Step], ...]] = Counter()
        #: kinds of steps → the first change of these that led to an offer.
        self.found: dict[tuple[type[Step], ...], Change] = {}

    def try_out(self, steps: Steps) -> tuple[Case, ...] | None:
        """Return the cases after `steps`; None if they led to an offer or are not worth a try."""
        kinds = tuple(map(type, steps))
        if (
            kinds in self.found
            or steps in self._tried
            or self._n_alike[kinds] == MAX_ALIKE
            or not self._n_left
        ):
            return None
        self._tried.add(steps)
        self._n_alike[kinds] += 1
        self._n_left -= 1
        twin = self._engine.fork()
        try:
            for step in steps:
                step.apply(twin)
        except AllocatorError:  # what else is set does not allow it
            return None
        cases = look(twin, self._question)
        offers = tuple(case for case in cases if case.offered)
        if not offers:
            return cases
        self.found[kinds] = Change(steps, offers)
        return None


def _size(change: Change) -> tuple[int, list[int]]:
    return len(change.steps), [LEAST_FIRST.index(type(step)) for step in change.steps]


def _remedies(
    engine: Allocator, framework: str, cases: tuple[Case, ...]
) -> Iterator[tuple[Steps, bool]]:
    """Yield steps that may lead on, and whether they mend a reason that decides by itself."""
    alike: Counter[tuple[type[Reason], ...]] = Counter()
    # First where little is in the way, and where that ends soonest.
    for case in sorted(cases, key=lambda case: (len(case.reasons), _seconds(case))):
        kinds = tuple(map(type, case.reasons))
        alike[kinds] += 1
        if alike[kinds] > MAX_ALIKE:
            continue
        deciding = next((reason for reason in case.reasons if reason.decides), None)
        if deciding is not None:
            yield from (((step,), True) for step in _mend(deciding, framework, case))
        else:
            yield from ((steps, False) for steps in _make_room(engine, framework, case))


def _seconds(case: Case) -> float:
    return max((r.seconds for r in case.reasons if isinstance(r, Filtered)), default=0.0)


def _mend(reason: Reason, framework: str, case: Case) -> Iterator[Step]:
    """Yield what ends a reason that decides by itself."""
    match reason:
        case Paused():
            yield Resume()
        case Recovering():
            yield Wait(reason.until, reason.seconds)
        case FrameworkInactive():
            yield ActivateFramework(framework)
        case Suppressed():
            yield Revive(framework, reason.role)
        case AgentInactive():
            yield ActivateAgent(case.agent)
        case NotWhitelisted():
            yield Whitelist(reason.hostname)
        case MissingCapability(of_agent=True):
            yield AddAgentCapability(case.agent, reason.capability)
        case MissingCapability():
            yield AddCapability(framework, reason.capability)
        case ConstraintUnmet():
            yield LiftConstraints(framework, case.role)
        case Filtered():
            yield Wait(reason.until, reason.seconds)
            yield Revive(framework, case.role)


def _make_room(engine: Allocator, framework: str, case: Case) -> Iterator[Steps]:
    """Yield what would make more of the agent's resources available to the framework."""
    below = next((r for r in reversed(case.reasons) if isinstance(r, BelowMinimum)), None)
    if below is not None:
        amounts = below.nearest.minus_floor(below.lacking)
        yield (LowerMinimum(framework, case.role, amounts),)
    limits, guarantees = _loosen(case, below)
    raised = tuple(RaiseLimit(role, Quantities.from_milli(by)) for role, by in limits.items())
    lowered = tuple(
        LowerGuarantee(role, Quantities.from_milli(by)) for role, by in guarantees.items()
    )
    yield from dict.fromkeys(steps for steps in (raised, lowered, raised + lowered) if steps)
    for reason in case.reasons:
        if isinstance(reason, ServedEarlier):
            yield from _overtake(engine, reason, case)
    yield from _free(engine._state, engine._state.agents[case.agent], framework, below)


def _loosen(case: Case, below: BelowMinimum | None) -> tuple[ByRole, ByRole]:
    """Return by how much to raise limits and to lower guarantees, each by role.

    So that what is missing of the least amount fits or, without one, all that is there.
    """
    limits: ByRole = {}
    guarantees: ByRole = {}
    for reason in case.reasons:
        if not isinstance(reason, OverLimit | HeldBack):
            continue
        wanted = reason.wanted_milli
        if below is not None:
            if reason.name not in below.lacking:
                continue
            wanted = min(wanted, below.nearest.milli[reason.name])
        if isinstance(reason, OverLimit):
            by = reason.consumed_milli + wanted - reason.limit_milli
            if by > 0:
                limits.setdefault(reason.role, {})[reason.name] = by
        else:
            by = wanted - reason.surplus_milli
            for need in reason.roles:
                taken = min(by, need.held_milli)
                if taken > 0:
                    guarantees.setdefault(need.role, {})[reason.name] = taken
                    by -= taken
    return limits, guarantees


def _overtake(engine: Allocator, reason: ServedEarlier, case: Case) -> Iterator[Steps]:
    """Yield the weight by which a role would come before the first that was served."""
    first = reason.ahead[0]
    node = engine._state.tree.get(first.behind)
    if first.stage != FAIR_SHARE or first.role == case.role or node is None:
        return
    if first.ahead_share > 0:
        weight = node.weight * first.behind_share / first.ahead_share
        raised = math.floor(weight * 1000 + 1) / 1000
        if raised <= MAX_WEIGHT:
            yield (RaiseWeight(node.path, raised),)


def _free(
    state: State, agent: Agent, framework: str, below: BelowMinimum | None
) -> Iterator[Steps]:
    """Yield what other frameworks could give back, the smallest part of the agent first.

    What is lacking or, where nothing says how much that is, all that one holds.
    """
    lacking = None if below is None else Resources.from_milli(below.lacking.milli)
    found = []
    for holding in state.holdings_on(agent):
        leaf = holding.subscription
        for held, allocated in ((holding.allocated, True), (holding.offered, False)):
            freed = held if lacking is None else lacking
            # Of ranges and sets `lacking` tells how many, not which: nobody holds that.
            if held and held >= freed:
                found.append(Free(leaf.framework.id, leaf.node.path, agent.id, freed, allocated))
    total = agent.total.quantities().milli
    found.sort(key=lambda step: (_part(step.resources, total), step.framework, step.role))
    yield from ((step,) for step in found if step.framework != framework)


def _part(resources: Resources, total: Mapping[str, int]) -> float:
    """Return how much of an agent `resources` are, at least 0, to compare by."""
    amounts = resources.quantities().milli
    return sum(milli / total[name] for name, milli in amounts.items() if name in total)
