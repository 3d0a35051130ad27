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
from typing import TypeAlias

from allocator.errors import AllocatorError
from allocator.explain.changes import (
    ActivateAgent,
    ActivateFramework,
    AddAgentCapability,
    AddCapability,
    Change,
    Free,
    LiftConstraints,
    LowerGuarantee,
    LowerMinimum,
    RaiseGuarantee,
    RaiseLimit,
    RaiseWeight,
    Resume,
    Revive,
    Step,
    Wait,
    Whitelist,
)
from allocator.explain.courses import Courses, Rehearse, is_starved
from allocator.explain.reasons import (
    AgentInactive,
    BelowMinimum,
    ConstraintUnmet,
    Filtered,
    FrameworkInactive,
    HeldBack,
    MissingCapability,
    NotWhitelisted,
    OverLimit,
    Paused,
    Reason,
    Recovering,
    ServedEarlier,
    Suppressed,
)
from allocator.explain.rehearsal import FAIR_SHARE, Rehearsal
from allocator.explain.watch import Case, Question, look
from allocator.resources import EMPTY, Quantities, Resources
from allocator.sorter.base import IMPLICIT_NAME, MAX_WEIGHT

Steps: TypeAlias = tuple[Step, ...]
#: name → role → thousandths.
ByName: TypeAlias = dict[str, dict[str, int]]

#: A change has at most so many rounds of mending, and so many changes are tried in all.
MAX_ROUNDS = 5
MAX_TRIALS = 24
#: Of cases with the same kinds of reasons, and of remedies of the same kinds, so many are tried.
MAX_ALIKE = 3


def find_changes(
    rehearse: Rehearse, question: Question, cases: tuple[Case, ...]
) -> tuple[Change, ...]:
    """Return what would lead to an offer, the smallest change first.

    Of each kind of change the first that worked, among those that take the fewest rounds of
    mending. None if something is offered anyway. At most `MAX_TRIALS` forks and cycles.
    """
    if not cases or any(case.offered for case in cases):
        return ()
    trials, at_rest = Trials(rehearse, question), rehearse()
    found = list(Courses(rehearse, question).changes()) if is_starved(at_rest, cases) else []
    level: list[tuple[Steps, tuple[Case, ...]]] = [((), cases)]
    for _ in range(MAX_ROUNDS):
        following = []
        for before, seen in level:
            for more, mends in _remedies(at_rest, question.framework, seen):
                outcome = trials.try_out(before + more)
                if outcome is not None and mends:
                    following.append((before + more, outcome))
        if trials.found:
            break
        level = following
    return tuple(sorted([*trials.found.values(), *found], key=lambda change: change.size))


class Trials:
    """Changes that were tried out.

    Parameters
    ----------
    rehearse : callable
        Called for each trial.
    question : Question
        What an offer is wanted for.
    """

    def __init__(self, rehearse: Rehearse, question: Question) -> None:
        self._rehearse = rehearse
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
        rehearsal = self._rehearse()
        try:
            for step in steps:
                step.apply(rehearsal)
        except AllocatorError:  # what else is set does not allow it
            return None
        cycle = rehearsal.cycle
        cases = look(rehearsal, self._question)
        offers = tuple(case for case in cases if case.offered)
        if not offers:
            return cases
        self.found[kinds] = Change(steps, offers, cycle)
        return None


def _remedies(
    at_rest: Rehearsal, framework: str, cases: tuple[Case, ...]
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
            yield from ((steps, False) for steps in _make_room(at_rest, framework, case))


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


def _make_room(at_rest: Rehearsal, framework: str, case: Case) -> Iterator[Steps]:
    """Yield what would make more of the agent's resources available to the framework."""
    below = next((r for r in reversed(case.reasons) if isinstance(r, BelowMinimum)), None)
    if below is not None:
        amounts = below.nearest.minus_floor(below.lacking)
        yield (LowerMinimum(framework, case.role, amounts),)
    elif minimum := at_rest.minimum(framework, case.role):
        below = BelowMinimum.by(EMPTY, minimum)
    yield from _loosen(at_rest, case, below)
    for reason in case.reasons:
        if isinstance(reason, ServedEarlier):
            yield from _overtake(at_rest, reason, case)
            yield from _guarantee(at_rest, reason, case, below)
    yield from _free(at_rest, case.agent, framework, below)


def _loosen(at_rest: Rehearsal, case: Case, below: BelowMinimum | None) -> Iterator[Steps]:
    """Yield by how much to raise limits and to lower guarantees.

    So that what is missing of the least amount fits or, without one, all that is there of one
    name: the name of which the agent has the smallest part first.
    """
    total = at_rest.engine.agent(case.agent).total.quantities().milli
    limits: ByName = {}
    guarantees: ByName = {}
    for reason in case.reasons:
        if not isinstance(reason, OverLimit | HeldBack):
            continue
        wanted = reason.wanted_milli
        if below is not None:
            if reason.name not in below.lacking:
                continue
            wanted = min(wanted, below.nearest.milli[reason.name])
        if isinstance(reason, OverLimit):
            limits.setdefault(reason.name, {}).update(_by_limit(reason, wanted))
        else:
            guarantees.setdefault(reason.name, {}).update(_by_guarantee(reason, wanted))
    names = sorted(limits.keys() | guarantees.keys(), key=lambda name: (total.get(name, 0), name))
    # Any one name makes an offer, unless there is an amount that asks for several.
    for chosen in [names] if below is not None else [[name] for name in names]:
        raised = tuple(RaiseLimit(*each) for each in _by_role(limits, chosen))
        lowered = tuple(LowerGuarantee(*each) for each in _by_role(guarantees, chosen))
        yield from dict.fromkeys(steps for steps in (raised, lowered, raised + lowered) if steps)


def _by_limit(reason: OverLimit, wanted: int) -> Iterator[tuple[str, int]]:
    by = reason.over_milli - reason.wanted_milli + wanted
    if by > 0:
        yield reason.role, by


def _by_guarantee(reason: HeldBack, wanted: int) -> Iterator[tuple[str, int]]:
    by = wanted - reason.surplus_milli
    for need in reason.roles:
        taken = min(by, need.held_milli)
        if taken > 0:
            yield need.role, taken
            by -= taken


def _by_role(by_name: ByName, names: list[str]) -> Iterator[tuple[str, Quantities]]:
    """Yield role and amounts by name."""
    roles = dict.fromkeys(role for name in names for role in by_name.get(name, ()))
    for role in roles:
        amounts = {name: by_name[name][role] for name in names if role in by_name.get(name, ())}
        yield role, Quantities.from_milli(amounts)


def _overtake(at_rest: Rehearsal, reason: ServedEarlier, case: Case) -> Iterator[Steps]:
    """Yield the weight by which a role would come before the first that was served."""
    first = reason.ahead[0]
    ahead, behind = first.ahead, first.behind
    if first.stage != FAIR_SHARE or first.role == case.role or not ahead.share > 0:
        return
    # The weight of a role's own frameworks beside the roles below it is always 1.
    if not behind.path.endswith(f"/{IMPLICIT_NAME}"):
        weight = _above(at_rest.engine.role(behind.path).weight * (behind.share / ahead.share))
        if weight <= MAX_WEIGHT:
            yield (RaiseWeight(behind.path, weight),)


def _guarantee(
    at_rest: Rehearsal, reason: ServedEarlier, case: Case, below: BelowMinimum | None
) -> Iterator[Steps]:
    """Yield by how much to raise the role's guarantee, so that stage one offers it something.

    What `min_allocatable` asks for or, without one, all that the first took of one resource.
    """
    first = reason.ahead[0]
    if first.role == case.role:
        return
    sums, taken = at_rest.sums(case.role), first.resources.quantities().milli
    wanted = dict(below.nearest.milli) if below is not None else dict(sorted(taken.items())[:1])
    amounts = {
        name: sums.consumed.get(name, 0) + milli - sums.guarantee.get(name, 0)
        for name, milli in wanted.items()
    }
    if wanted:
        more = {name: milli for name, milli in amounts.items() if milli > 0}
        yield (RaiseGuarantee(case.role, Quantities.from_milli(more)),)


def _above(number: float) -> float:
    """Return a number of four digits that is a little larger.

    Examples
    --------
    >>> _above(2.0), _above(1234567.0), _above(0.00031)
    (2.001, 1236000.0, 0.0003101)
    """
    if not 0 < number < math.inf:
        return math.inf
    return float(f"{number + 10 ** (math.floor(math.log10(number)) - 3):.4g}")


def _free(
    at_rest: Rehearsal, agent: str, framework: str, below: BelowMinimum | None
) -> Iterator[Steps]:
    """Yield what other frameworks could give back, the smallest part of the agent first.

    What is lacking or, where nothing says how much that is, all that one holds.
    """
    lacking = None if below is None else Resources.from_milli(below.lacking.milli)
    found = []
    for holding in at_rest.holdings(agent):
        for held, allocated in ((holding.allocated, True), (holding.offered, False)):
            freed = held if lacking is None else lacking
            # Of ranges and sets `lacking` tells how many, not which: nobody holds that.
            if held and held >= freed:
                found.append(Free(holding.framework, holding.role, agent, freed, allocated))
    total = at_rest.engine.agent(agent).total.quantities().milli
    found.sort(key=lambda step: (_part(step.resources, total), step.framework, step.role))
    yield from ((step,) for step in found if step.framework != framework)


def _part(resources: Resources, total: Mapping[str, int]) -> float:
    """Return how much of an agent `resources` are, at least 0, to compare by."""
    amounts = resources.quantities().milli
    return sum(milli / total[name] for name, milli in amounts.items() if name in total)
