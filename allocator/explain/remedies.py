"""Finding the smallest change that leads to an offer, by trying changes out on forks.

Reasons that decide by themselves (a suppressed role, an absent capability) each have their own
remedy, and what stands behind them shows only when they are gone: those are mended one after the
other. The others (a limit, guarantees, `min_allocatable`, others' needs) stand side by side, and
each remedy is tried by itself. What is found is not what would be best for everybody.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
    Guaranteed,
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
            or any(set(steps) >= set(change.steps) for change in self.found.values())
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
    # First where few things are in the way, and where they end soonest or are the smallest.
    for case in sorted(cases, key=_hardness):
        kinds = tuple(map(type, case.reasons))
        alike[kinds] += 1
        if alike[kinds] > MAX_ALIKE:
            continue
        deciding = next((reason for reason in case.reasons if reason.decides), None)
        if deciding is not None:
            yield from (((step,), True) for step in _mend(deciding, framework, case))
        else:
            yield from ((steps, False) for steps in _make_room(at_rest, framework, case))


def _hardness(case: Case) -> tuple[int, float, int, float]:
    return len(case.reasons), _seconds(case), _over(case), _lacking(case)


def _lacking(case: Case) -> float:
    """Return which part of what is asked for is not there, of the name that lacks most."""
    below = [reason for reason in case.reasons if isinstance(reason, BelowMinimum)]
    return max(
        (x / r.nearest.milli[name] for r in below for name, x in r.lacking.milli.items()),
        default=0.0,
    )


def _seconds(case: Case) -> float:
    return max((r.seconds for r in case.reasons if isinstance(r, Filtered)), default=0.0)


def _over(case: Case) -> int:
    return sum(reason.over_milli for reason in case.reasons if isinstance(reason, OverLimit))


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
        if isinstance(reason, HeldBack):
            yield from _widen(at_rest, reason, case)
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
    limits, held, kept = ByName(), ByName(), ByName()
    for reason in case.reasons:
        if not isinstance(reason, OverLimit | HeldBack):
            continue
        name, wanted = reason.name, reason.wanted_milli
        if below is not None:
            if name not in below.lacking:
                continue
            wanted = min(wanted, below.nearest.milli[name])
        if isinstance(reason, OverLimit):
            by = reason.over_milli - reason.wanted_milli + wanted
            limits.note(name, reason.role, by)
            kept.note_shares(name, reason.kept, by)
        else:
            held.note_shares(name, reason.roles, wanted - reason.surplus_milli)
    names = {*limits.roles, *held.roles}
    ordered = sorted(names, key=lambda name: (total.get(name, 0), name))
    # Any one name makes an offer, unless there is an amount that asks for several.
    for chosen in [ordered] if below is not None else [[name] for name in ordered]:
        raised = tuple(RaiseLimit(*each) for each in limits.by_role(chosen))
        lowered = tuple(LowerGuarantee(*each) for each in held.by_role(chosen))
        all_lowered = tuple(LowerGuarantee(*each) for each in held.joined(kept).by_role(chosen))
        choices = raised, lowered, all_lowered, raised + lowered
        yield from dict.fromkeys(steps for steps in choices if steps)


class ByName:
    """Amounts by resource and role."""

    def __init__(self) -> None:
        #: name → role → thousandths, above zero.
        self.roles: dict[str, dict[str, int]] = {}

    def note(self, name: str, role: str, milli: int) -> None:
        """Have at least so much."""
        if milli > 0:
            roles = self.roles.setdefault(name, {})
            roles[role] = max(milli, roles.get(role, 0))

    def note_shares(self, name: str, needs: Sequence[Guaranteed], milli: int) -> None:
        """Have so much of what is held for these roles less, the first of them first.

        Where a limit leaves less than they are short of, that much more of their guarantees.
        """
        left = milli + sum(need.short_milli - need.held_milli for need in needs)
        for need in needs:
            self.note(name, need.role, min(left, need.short_milli))
            left -= need.short_milli

    def joined(self, other: ByName) -> ByName:
        """Return the larger of both."""
        both = ByName()
        for each in (self, other):
            for name, roles in each.roles.items():
                for role, milli in roles.items():
                    both.note(name, role, milli)
        return both

    def by_role(self, names: Sequence[str]) -> Iterator[tuple[str, Quantities]]:
        """Yield role and amounts of these names."""
        roles = dict.fromkeys(role for name in names for role in self.roles.get(name, ()))
        for role in roles:
            amounts = {name: self.roles.get(name, {}).get(role, 0) for name in names}
            yield role, Quantities.from_milli(amounts)


def _widen(at_rest: Rehearsal, reason: HeldBack, case: Case) -> Iterator[Steps]:
    """Yield what adds to the headroom: the largest of the agents that cannot be offered, by how.

    Those that are not active, or not whitelisted, do not count in it.
    """
    whitelist = at_rest.whitelist
    largest: dict[tuple[type[Step], ...], tuple[int, Steps]] = {}
    for id in at_rest.agents:
        agent = at_rest.engine.agent(id)
        steps: Steps = () if agent.active else (ActivateAgent(id),)
        if whitelist is not None and agent.hostname not in whitelist:
            steps += (Whitelist(agent.hostname),)
        if not steps or id == case.agent:
            continue
        free = agent.available.unreserved().nonrevocable().quantities().milli.get(reason.name, 0)
        kinds = tuple(map(type, steps))
        if free > largest.get(kinds, (0, ()))[0]:
            largest[kinds] = free, steps
    yield from (steps for _, steps in largest.values())


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
