"""Watching a cycle: what it decides about some roles and agents, and why.

The decisions are those of the engine's own cycle, which tells a `Watch` of each; that notes down
why an attempt came to nothing and who was served before. So what is said would be offered is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from allocator.errors import cut
from allocator.explain.guarantees import Guarantees
from allocator.explain.reasons import (
    AgentInactive,
    BelowMinimum,
    ConstraintUnmet,
    Filtered,
    FrameworkInactive,
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
from allocator.explain.rehearsal import FAIR_SHARE, GUARANTEES, Rehearsal
from allocator.resources import EMPTY, Resource, Resources
from allocator.roles import ancestry
from allocator.sorter import Standing, parting


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
        return f"{cut(self.role)} on {cut(self.agent)}: " + "; ".join(
            [*said, *map(str, self.reasons)]
        )


def look(rehearsal: Rehearsal, question: Question) -> tuple[Case, ...]:
    """Run the next cycle of a rehearsal, and return what came of it.

    Raises
    ------
    UnknownFramework, UnknownRole, UnknownAgent, InvalidRole
    """
    engine = rehearsal.engine
    halts = tuple(_halts(rehearsal))
    agents = rehearsal.agents if question.agent is None else [question.agent]
    before = {agent: _left_over(rehearsal, agent) for agent in agents}
    roles = engine.framework(question.framework).roles
    watch = Watch(rehearsal, question)
    made = rehearsal.watch(watch, *question).by_framework().get(question.framework, ())
    offered = {(offer.role, offer.agent): offer.resources for offer in made}
    cases = []
    for role in roles if question.role is None else [question.role]:
        for agent in agents:
            resources = offered.get((role, agent), EMPTY)
            reasons = tuple(_exclusions(rehearsal, question.framework, role, agent))
            if not reasons:
                reasons = watch.reasons(role, agent, bool(resources))
            if not reasons and not resources:
                reasons = (before[agent],)
            cases.append(Case(role, agent, resources, halts + reasons))
    return tuple(cases)


def _left_over(rehearsal: Rehearsal, agent: str) -> NothingLeft:
    view = rehearsal.engine.agent(agent)
    return NothingLeft(view.offered, view.allocated)


def _halts(rehearsal: Rehearsal) -> Iterator[Reason]:
    if rehearsal.paused:
        yield Paused()
    if rehearsal.recovery is not None:
        n_awaited, end = rehearsal.recovery
        yield Recovering(len(rehearsal.agents), n_awaited, end, end - rehearsal.clock())


def _exclusions(rehearsal: Rehearsal, framework: str, role: str, agent: str) -> Iterator[Reason]:
    """Yield all that keeps the framework or the agent out, each as if the others were mended."""
    asker, on = rehearsal.engine.framework(framework), rehearsal.engine.agent(agent)
    if not asker.active:
        yield FrameworkInactive()
    if role in asker.suppressed:
        yield Suppressed(role)
    if not on.active:
        yield AgentInactive()
    whitelist = rehearsal.whitelist
    if whitelist is not None and on.hostname not in whitelist:
        yield NotWhitelisted(on.hostname)
    out = rehearsal.ruled_out(framework, role, agent)
    for capability in out.framework_lacks:
        yield MissingCapability(capability)
    for capability in out.agent_lacks:
        yield MissingCapability(capability, of_agent=True)
    if out.unmet:
        yield ConstraintUnmet(out.unmet)


class Watch:
    """Notes of what becomes of a framework's roles on some agents in a cycle.

    Fills `allocator.explain.rehearsal.Watcher`.
    """

    def __init__(self, rehearsal: Rehearsal, question: Question) -> None:
        self._rehearsal = rehearsal
        self._framework = framework = question.framework
        #: Whether it is told of all offers that are made.
        self._hears_all = question.agent is None
        self._guarantees = Guarantees(rehearsal)
        self._capabilities = rehearsal.engine.framework(framework).capabilities
        self._roles = rehearsal.engine.framework(framework).roles
        self._refusals = rehearsal.refusals()
        self._now = rehearsal.clock()
        self._stage = GUARANTEES
        #: (role, agent, stage) → why nothing, or no more, came of the attempt.
        self._notes: dict[tuple[str, str, int], list[Reason]] = {}
        #: (role, agent) → who was offered something there before it had its last turn.
        self._ahead: dict[tuple[str, str], list[Served]] = {}
        #: (role, agent) whose turn has come in stage two.
        self._reached: set[tuple[str, str]] = set()
        #: Role → what to note for it if the offer that is being decided is made.
        self._served: dict[str, Served] = {}
        #: role path, or role path and framework → what it went by as the agent's turn began.
        self._standings: dict[tuple[str, str | None], Standing] = {}

    # What came of it.

    def reasons(self, role: str, agent: str, is_offered: bool) -> tuple[Reason, ...]:
        """Return why nothing was offered, or no more. O(notes).

        Empty if all was offered, or if there was nothing for anybody when its turn came.
        """
        last = self._notes.get((role, agent, FAIR_SHARE), [])
        if is_offered:
            return tuple(last)
        notes = dict.fromkeys((*self._notes.get((role, agent, GUARANTEES), ()), *last))
        ahead = self._ahead.get((role, agent))
        enough_was_left = any(isinstance(r, Filtered | OverLimit | HeldBack) for r in notes)
        too_little = any(isinstance(reason, BelowMinimum) for reason in notes)
        if ahead and (too_little or not enough_was_left):
            return (*notes, ServedEarlier(tuple(ahead)))
        return tuple(notes)

    # What the cycle tells.

    def turn(self, stage: int, agent: str) -> None:
        """Note that an agent's turn in a stage begins."""
        self._stage = stage
        self._standings.clear()
        if not self._hears_all:
            self._guarantees.forget()

    def attempt(
        self,
        agent: str,
        framework: str,
        role: str,
        visible: Resources | None,
        proposed: Resources,
    ) -> None:
        """Note what stands in the way, and who would be behind if the offer is made."""
        if visible is not None and self._stage == FAIR_SHARE:
            self._reached.add((role, agent))
            if not visible:
                self._note(role, agent, self._hidden(role, agent))
            elif proposed != visible:
                self._note(role, agent, self._chopped(role, visible))
        if proposed:
            self._served = self._would_be_served(agent, framework, role, proposed)

    def outcome(
        self, agent: str, framework: str, role: str, proposed: Resources, is_made: bool
    ) -> None:
        """Note whether the offer was made."""
        if is_made:
            self._guarantees.forget()
            for behind, entry in self._served.items():
                self._ahead.setdefault((behind, agent), []).append(entry)
        elif framework == self._framework and role in self._roles:
            self._note(role, agent, self._unwanted(role, agent, proposed))

    def _note(self, role: str, agent: str, reasons: Iterator[Reason]) -> None:
        self._notes.setdefault((role, agent, self._stage), []).extend(reasons)

    # Why an attempt came to nothing.

    def _unwanted(self, role: str, agent: str, resources: Resources) -> Iterator[Reason]:
        """Yield why no offer was made of `resources`."""
        counts = resources.counts()
        minimum = self._rehearsal.minimum(self._framework, role)
        if minimum and not any(counts >= amounts for amounts in minimum):
            yield BelowMinimum.by(resources, minimum)
            return
        held = self._rehearsal.filters(self._framework, role, agent)
        until = max(end for refused, end in held if refused >= resources)
        yield Filtered(resources, until, until - self._now)

    def _chopped(self, role: str, visible: Resources) -> Iterator[Reason]:
        """Yield the limits and guarantees that do not allow all of `visible`."""
        wanted = visible.unreserved().nonrevocable().quantities().milli
        path, kept = list(ancestry(role)), Counter[str]()
        on_path: Mapping[str, int] = {}
        for above in path:
            sums = self._guarantees.sums(above)
            for name in wanted:
                kept[name] += sums.children_need.get(name, 0) - on_path.get(name, 0)
            on_path = sums.need
            for name in sorted(sums.limit.keys() & wanted.keys()):
                limit, consumed = sums.limit[name], sums.consumed.get(name, 0)
                if consumed + kept[name] + wanted[name] > limit:
                    roles = self._guarantees.kept(above, path, name)
                    yield OverLimit(above, name, limit, consumed, wanted[name], roles)
        for name in sorted(wanted):
            headroom, required = self._rehearsal.headroom(name), self._rehearsal.required(name)
            if required and headroom - required < wanted[name]:
                yield HeldBack(name, wanted[name], headroom, self._guarantees.required(name))

    def _hidden(self, role: str, agent: str) -> Iterator[Reason]:
        """Yield why the framework may see nothing of what is available."""
        available = self._rehearsal.engine.agent(agent).available
        here = available.allocatable_to(role)
        lacking = {entry: _needed_for(entry) - self._capabilities for entry in here}
        for capability in sorted({name for names in lacking.values() for name in names}):
            hidden = Resources([entry for entry, names in lacking.items() if capability in names])
            yield MissingCapability(capability, hidden=hidden)
        if available != here:
            yield NothingVisible(available - here)

    # Who was served before, and by what.

    def _would_be_served(
        self, agent: str, framework: str, role: str, resources: Resources
    ) -> dict[str, Served]:
        """Return what to note for each role whose turn on the agent is yet to come."""
        # Before anything below them is served, so that all are as the turn began.
        for above in ancestry(role):
            self._standing(above)
        self._standing(role, framework)
        return {
            behind: Served(
                self._stage,
                framework,
                role,
                resources,
                *self._compared(framework, role, behind),
                self._refusals.get((framework, role)),
            )
            for behind in self._roles
            if (framework, role) != (self._framework, behind)
            and (behind, agent) not in self._reached
        }

    def _compared(self, framework: str, role: str, behind: str) -> tuple[Standing, Standing]:
        """Return by what a framework in a role comes before the one asked about in another."""
        if role == behind:
            return self._standing(role, framework), self._standing(role, self._framework)
        first, second = parting(role, behind)
        return self._standing(first), self._standing(second)

    def _standing(self, path: str, framework: str | None = None) -> Standing:
        key = path, framework
        if key not in self._standings:
            self._standings[key] = self._rehearsal.standing(path, framework)
        return self._standings[key]


def _needed_for(entry: Resource) -> frozenset[str]:
    """Return what a framework must be capable of to be shown an entry (contract §6.5)."""
    needed = {
        "REVOCABLE_RESOURCES": entry.revocable,
        "SHARED_RESOURCES": entry.shared,
        "RESERVATION_REFINEMENT": len(entry.reservations) > 1,
    }
    return frozenset(name for name, is_needed in needed.items() if is_needed)
