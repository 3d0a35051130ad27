"""Courses: several cycles in a row, in which those who refused their last offer refuse again.

Where many decline for a short time, what one has refused goes to the next of them, and somebody
with a larger share waits for ever: no single cycle shows why. A course does, and it shows which
change ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from allocator.contract import Offer
from allocator.explain.changes import (
    Change,
    LetPass,
    RaiseMinimum,
    RefuseLonger,
    Refuser,
    Step,
    Suppress,
    Told,
)
from allocator.explain.reasons import NothingLeft, ServedEarlier
from allocator.explain.rehearsal import Rehearsal
from allocator.explain.watch import Case, Question
from allocator.resources import Quantities, Resources

#: Returns a new fork of the engine, to try something out on.
Rehearse: TypeAlias = Callable[[], Rehearsal]
#: Makes a step of those who refuse.
Remedy: TypeAlias = Callable[[tuple[Refuser, ...]], Step]

#: A course has at most so many cycles, and so many offers are answered in it.
MAX_CYCLES = 500
MAX_ANSWERS = 20_000


@dataclass(slots=True)
class Course:
    """What came of a course.

    Parameters
    ----------
    n_cycles : int
        How many cycles it had.
    cases : tuple of Case
        What the last of them offered of what was asked about; empty if it came to nothing.
    refusers : dict
        Who refused something on the agents asked about, in order → what they refused last.
    most : dict
        Resource → the most of it that they refused at a time, in thousandths.
    """

    n_cycles: int = 0
    cases: tuple[Case, ...] = ()
    refusers: dict[Refuser, Resources] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)

    def note(self, refuser: Refuser, resources: Resources) -> None:
        """Note that something asked about was refused. O(names)."""
        if self.refusers.get(refuser) is resources:
            return
        self.refusers[refuser] = resources
        for name, milli in resources.quantities().milli.items():
            self.most[name] = max(milli, self.most.get(name, 0))


def is_starved(at_rest: Rehearsal, cases: Sequence[Case]) -> bool:
    """Tell whether somebody who refused the last offer stands before the one asked about."""
    refusers = at_rest.refusals()
    for case in cases:
        for reason in case.reasons:
            if isinstance(reason, ServedEarlier):
                ahead = {(served.framework, served.role) for served in reason.ahead}
            elif isinstance(reason, NothingLeft) and reason.offered:
                held = at_rest.holdings(case.agent)
                ahead = {(each.framework, each.role) for each in held if each.offered}
            else:
                continue
            if not ahead.isdisjoint(refusers):
                return True
    return False


class Courses:
    """Courses of one question, tried out on forks.

    Parameters
    ----------
    rehearse : callable
        Called for each course.
    question : Question
        What an offer is wanted for.
    """

    def __init__(self, rehearse: Rehearse, question: Question) -> None:
        self._rehearse = rehearse
        self._question = question

    def changes(self) -> Iterator[Change]:
        """Yield what leads to an offer: to wait or, if that does not, what those who refuse do.

        Of each kind of change the one that the fewest take part in, those who refuse for the
        shortest time first. O(log frameworks) courses a kind.
        """
        at_rest = self._rehearse()
        refusals, interval = at_rest.refusals(), at_rest.interval
        n_cycles = min(2 * len(refusals) + 2, MAX_CYCLES)
        course = self._run((), n_cycles)
        if course.cases:
            step = LetPass(at_rest.cycle + course.n_cycles - 1, (course.n_cycles - 1) * interval)
            yield self._change(at_rest, (step,), course)
            return
        refusers = sorted(course.refusers, key=lambda each: (refusals[each], each))
        # Twice what it takes for each to have its turn: those who do not change come back between.
        seconds = 2 * (len(refusers) + 1) * interval
        remedies: list[Remedy] = [lambda some: RefuseLonger(some, seconds), Suppress]
        if course.most:
            above = Quantities.from_milli(dict([min(course.most.items())]))
            remedies.append(lambda some: RaiseMinimum(some, above))
        for remedy in remedies:
            found = self._fewest(remedy, refusers, n_cycles)
            if found is not None:
                yield self._change(at_rest, *found)

    def _fewest(
        self, remedy: Remedy, refusers: Sequence[Refuser], n_cycles: int
    ) -> tuple[tuple[Step, ...], Course] | None:
        """Return the remedy for the fewest of the first refusers, and what comes of it, if any."""

        def tried(n: int) -> tuple[tuple[Step, ...], Course] | None:
            steps = (remedy(tuple(refusers[:n])),)
            course = self._run(steps, n_cycles)
            return (steps, course) if course.cases else None

        n, too_few = len(refusers), 0
        found = tried(n) if refusers else None
        while found is not None and n - too_few > 1:
            middle = (n + too_few) // 2
            with_fewer = tried(middle)
            if with_fewer is not None:
                found, n = with_fewer, middle
            else:
                too_few = middle
        return found

    def _run(self, steps: tuple[Step, ...], n_cycles: int) -> Course:
        """Take steps, and then have cycles until there is an offer, or enough of them."""
        rehearsal, course = self._rehearse(), Course()
        refusals = rehearsal.refusals()
        for step in steps:
            step.apply(rehearsal)
            if isinstance(step, RefuseLonger):
                refusals |= {each: max(step.seconds, refusals[each]) for each in step.refusers}
        self._give_back(rehearsal, refusals, course)
        n_answers = 0
        while course.n_cycles < n_cycles and n_answers < MAX_ANSWERS:
            course.n_cycles += 1
            offers = rehearsal.engine.allocate()
            course.cases = tuple(
                Case(offer.role, offer.agent, offer.resources, ())
                for offer in offers
                if self._is_asked_for(offer)
            )
            if course.cases:
                break
            n_answers += len(offers)
            self._refuse(rehearsal, refusals, list(offers), course)
            rehearsal.clock.advance(rehearsal.interval)
        return course

    def _is_asked_for(self, offer: Offer) -> bool:
        framework, role, agent = self._question
        return (
            offer.framework == framework
            and role in (None, offer.role)
            and agent in (None, offer.agent)
        )

    def _give_back(
        self, rehearsal: Rehearsal, refusals: dict[Refuser, float], course: Course
    ) -> None:
        """Have what is offered now refused by those who refuse."""
        for agent in rehearsal.agents:
            for held in rehearsal.holdings(agent):
                refuser = held.framework, held.role
                if refuser in refusals and held.offered:
                    if self._question.agent in (None, agent):
                        course.note(refuser, held.offered)
                    rehearsal.engine.recover_resources(
                        held.framework,
                        agent,
                        held.role,
                        held.offered,
                        refuse_seconds=refusals[refuser] or None,
                    )

    def _refuse(
        self,
        rehearsal: Rehearsal,
        refusals: dict[Refuser, float],
        offers: list[Offer],
        course: Course,
    ) -> None:
        """Have offers refused by those who refuse; the others may keep them."""
        refused, seconds = [], []
        for offer in offers:
            refuser = offer.framework, offer.role
            if refuser in refusals and offer.framework != self._question.framework:
                refused.append(offer)
                seconds.append(refusals[refuser] or None)
                if self._question.agent in (None, offer.agent):
                    course.note(refuser, offer.resources)
        rehearsal.engine.decline(refused, refuse_seconds=seconds)

    def _change(self, at_rest: Rehearsal, steps: tuple[Step, ...], course: Course) -> Change:
        told = {each for step in steps if isinstance(step, Told) for each in step.refusers}
        given = tuple(sorted({framework for framework, _ in course.refusers.keys() - told}))
        cycle = at_rest.cycle + course.n_cycles - 1
        return Change(steps, course.cases, cycle, course.n_cycles > 1, given)
