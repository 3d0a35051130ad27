"""Where frameworks answer their offers: what is kept, refused, or kept open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from allocator.contract import Offer
from allocator.resources import EMPTY, Resources
from allocator.sim._placing import Hand, grouped
from allocator.sim._scheduler import Start
from allocator.sim.framework import Framework, Held
from allocator.sim.reserving import chosen

if TYPE_CHECKING:
    from allocator.sim.run import Run

#: With so few offers, looking at each is faster than columns.
_FEW_OFFERS = 32

#: With so few, a call each is faster than one for all.
_FEW_ANSWERS = 2

#: With more, what is kept and what is not are told apart, which saves a look at each.
_MANY_OFFERS = 256

#: Resources made of amounts are kept for the next time, so many at most.
_MAX_MADE = 65536


class Desk:
    """Has the frameworks of a run answer their offers."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._hand = Hand(len(run.stage.names))
        #: thousandths by axis -> plain resources
        self._made: dict[tuple[int, ...], Resources] = {}
        #: id of an offer that is kept open -> whose
        self._holders: dict[str, Framework] = {}
        #: hoarders to which a job has come
        self._restless: dict[int, Framework] = {}
        #: events to come that only end the holding of offers
        self.n_holds = 0
        self.n_offers = self.n_accepted = self.n_declined = 0

    # The offers of a cycle.

    def answer(self, offers: Any) -> None:
        """Have each framework answer its offers, in the order of their first."""
        self.n_offers += len(offers)
        if len(offers) <= _FEW_OFFERS:
            for name, in_hand in self._run.engine.by_framework(offers).items():
                framework = self._run.frameworks[name]
                self._count(framework, len(in_hand))
                self._answer_each(framework, in_hand)
                self._look_ahead(framework)
        else:
            self._answer_columns(offers, self._run.engine.columns(offers))

    def _count(self, framework: Framework, n: int) -> None:
        run = self._run
        run.ledger.offered(framework.row, run.now_s(), n, run.has_to_come())

    def _answer_each(self, framework: Framework, offers: list[Offer]) -> None:
        """Answer one framework's offers, looking at each."""
        if framework.hoards:
            self._answer_hoarder(framework, offers)
            return
        run, hand = self._run, self._hand
        hand.clear()
        for offer in offers:
            amounts = run.stage.vector(offer.resources.quantities().milli)
            hand.add(run.agents[offer.agent], amounts, framework.scheduler.room)
        kept = dict(self._serve(framework, lambda row: offers[row].resources))
        self._refuse(framework)
        self._send(offers, kept, framework.refuse_s)

    def _answer_columns(self, offers: Any, columns: dict[str, Any]) -> None:
        """Answer the offers of several frameworks by their columns, at once."""
        run, hand = self._run, self._hand
        ids = columns["agents"]
        index = np.fromiter(map(run.agents.__getitem__, ids), np.int64, len(ids))
        agents = index[columns["agent"]]
        axes = np.array([run.stage.axes.get(name, -1) for name in columns["names"]], np.int64)
        frameworks = [run.frameworks[name] for name in columns["frameworks"]]
        kept: dict[int, Resources] = {}
        hoarded: list[NDArray[np.int64]] = []
        groups = grouped(columns["framework"], len(frameworks))
        for framework, rows in zip(frameworks, groups, strict=True):
            self._count(framework, len(rows))
            if framework.hoards:
                hoarded.append(rows)
                self._answer_hoarder(framework, list(offers[rows]))
                continue
            hand.clear()
            hand.add_rows(rows, agents, columns["quantities"], axes, framework.scheduler.room)
            for row, resources in self._serve(framework, partial(_resources_at, offers, rows)):
                kept[int(rows[row])] = resources
            self._refuse(framework)
        self._send_many(offers, kept, _refusals(frameworks, groups, len(offers)), hoarded)
        for framework in frameworks:
            self._look_ahead(framework)

    def _send(self, offers: Sequence[Offer], kept: dict[int, Resources], refuse_s: float) -> None:
        """Have the engine know what is kept of which of a few offers."""
        self._count_answers(len(offers), len(kept))
        if not kept and len(offers) > _FEW_ANSWERS:
            self._run.engine.accept(offers, EMPTY, refuse_s or None)
            return
        for place, offer in enumerate(offers):
            self._run.engine.accept(offer, kept.get(place, EMPTY), refuse_s or None)

    def _send_many(
        self,
        offers: Any,
        kept: dict[int, Resources],
        refuse_s: float | NDArray[np.float64] | None,
        hoarded: list[NDArray[np.int64]],
    ) -> None:
        """Have the engine know what is kept of which offers; those `hoarded` stay open."""
        engine, n = self._run.engine, len(offers)
        self._count_answers(n - sum(map(len, hoarded)), len(kept))
        if n <= _MANY_OFFERS and kept and not hoarded:
            engine.accept(offers, [kept.get(place, EMPTY) for place in range(n)], refuse_s)
            return
        declined = np.ones(n, bool)
        if kept:
            places = np.fromiter(kept, np.int64, len(kept))
            declined[places] = False
            engine.accept(offers[places], list(kept.values()), _at(refuse_s, places))
        for rows in hoarded:
            declined[rows] = False
        if declined.all():
            engine.accept(offers, EMPTY, refuse_s)
        elif declined.any():
            places = np.flatnonzero(declined)
            engine.accept(offers[places], EMPTY, _at(refuse_s, places))

    def _count_answers(self, n: int, n_accepted: int) -> None:
        self.n_accepted += n_accepted
        self.n_declined += n - n_accepted

    def _serve(
        self,
        framework: Framework,
        resources_at: Callable[[int], Resources],
        close: Callable[[int], None] | None = None,
    ) -> list[tuple[int, Resources]]:
        """Start what fits into the offers in hand; return what is kept of which rows.

        `resources_at` returns the resources of the offer in a row. `close` is called with a row
        before anything starts there: what was kept open must not count beside what is taken of it.
        """
        run, hand = self._run, self._hand
        left: dict[int, Resources] = {}
        reserved: dict[int, Resources] = {}
        goes_on = True
        while goes_on:
            starts = framework.scheduler.fill(hand, run.now_s(), run.reservation)
            if run.stage.reserved:
                self._choose(starts, resources_at, left, reserved)
            for start in starts:
                if close is not None:
                    for _, row, *_ in start.grants:
                        close(row)
                run.begin(framework, start)
            goes_on = bool(starts) and run.reserves_anew(framework)
        return [
            (row, reserved[row] if row in reserved else self._resources(taken))
            for row, taken in hand.touched()
        ]

    def _choose(
        self,
        starts: list[Start],
        resources_at: Callable[[int], Resources],
        left: dict[int, Resources],
        kept: dict[int, Resources],
    ) -> None:
        """Say of each start which resources it takes where some are reserved.

        `left` and `kept` of each row of the hand with such a machine follow.
        """
        run = self._run
        for start in starts:
            if not any(agent in run.stage.reserved for agent, *_ in start.grants):
                continue
            start.kept = []
            for agent, row, group, n in start.grants:
                taken = run.resources_of(start.need, group, n)
                if agent in run.stage.reserved:
                    there = left[row] if row in left else resources_at(row)
                    taken = chosen(there, taken.quantities().milli)
                    left[row] = there - taken
                    kept[row] = kept.get(row, EMPTY) + taken
                start.kept.append(taken)

    def _resources(self, taken: tuple[int, ...]) -> Resources:
        """Return plain resources of thousandths by axis; made only once."""
        made = self._made.get(taken)
        if made is None:
            if len(self._made) >= _MAX_MADE:
                self._made.clear()
            amounts = dict(zip(self._run.stage.names, taken, strict=True))
            made = self._made[taken] = Resources.from_milli(amounts)
        return made

    def _refuse(self, framework: Framework) -> None:
        if framework.refuse_s > 0:
            framework.scheduler.refuse(self._hand)

    def _look_ahead(self, framework: Framework) -> None:
        """Suppress a framework that wants nothing; revive one whose gang might fit after all."""
        run, scheduler = self._run, framework.scheduler
        if not scheduler.waits:
            scheduler.suppressed = True
            run.engine.suppress(framework.tenant.name)
            return
        pause = scheduler.pause_before_revive(
            run.now_s(), run.reservation, self.held_hand(framework), run.holds_back(framework)
        )
        if pause == 0:
            run.revive(framework)
        elif pause is not None:
            run.at_cycle(pause, self._end_pause, framework)

    def _end_pause(self, framework: Framework) -> None:
        run, scheduler = self._run, framework.scheduler
        scheduler.end_pause()
        if not scheduler.suppressed and scheduler.still_fits(
            run.now_s(), run.reservation, self.held_hand(framework)
        ):
            run.revive(framework)

    # Hoarders: offers of no use stay open for a while.

    @property
    def n_held(self) -> int:
        """How many offers are kept open."""
        return len(self._holders)

    def disturb(self, framework: Framework) -> None:
        """Have a hoarder look at what it keeps open: a job has come."""
        if framework.held:
            self._restless[framework.index] = framework

    def answer_restless(self) -> None:
        """Have hoarders to which jobs have come start them on what they keep open."""
        while self._restless:
            framework = self._restless.pop(min(self._restless))
            self._answer_hoarder(framework, [])
            self._look_ahead(framework)

    def held_hand(self, framework: Framework) -> Hand | None:
        """Return the offers that a framework keeps open; None if it keeps none."""
        if not framework.held:
            return None
        hand = Hand(len(self._run.stage.names))
        for held in framework.held.values():
            hand.add(held.agent, held.amounts, framework.scheduler.room)
        return hand

    def _answer_hoarder(self, framework: Framework, offers: list[Offer]) -> None:
        """Start what fits into offers, new and kept open; keep open the new ones of no use."""
        run, hand = self._run, self._hand
        self._restless.pop(framework.index, None)
        new = [
            Held(
                offer,
                run.agents[offer.agent],
                tuple(run.stage.vector(offer.resources.quantities().milli)),
            )
            for offer in offers
        ]
        in_hand = [*framework.held.values(), *new]
        hand.clear()
        for held in in_hand:
            hand.add(held.agent, held.amounts, framework.scheduler.room)
        served = self._serve(
            framework,
            lambda row: in_hand[row].offer.resources,
            lambda row: self._forget(framework, in_hand[row].offer.id),
        )
        for row, resources in served:
            held = in_hand[row]
            if framework.refuse_s > 0:
                framework.scheduler.refused.note_row(hand, row)
            self._send([held.offer], {0: resources}, framework.refuse_s)
            new = [each for each in new if each is not held]
        self._keep_open(framework, new)

    def _keep_open(self, framework: Framework, new: list[Held]) -> None:
        if not new:
            return
        run = self._run
        for held in new:
            framework.held[held.offer.id] = held
            self._holders[held.offer.id] = framework
            run.keep_open(framework, held.amounts, 1)
        self.n_holds += 1
        ids = [held.offer.id for held in new]
        run.at(run.now_s() + framework.behaviour.hold_s, self._end_hold, (framework, ids))

    def _forget(self, framework: Framework, id: str) -> None:
        """Take note that an offer is not open any more, if it was kept open."""
        held = framework.held.pop(id, None)
        if held is not None:
            del self._holders[id]
            self._run.keep_open(framework, held.amounts, -1)

    def _end_hold(self, what: tuple[Framework, list[str]]) -> None:
        framework, ids = what
        self.n_holds -= 1
        gone = [framework.held[id] for id in ids if id in framework.held]
        self._decline(framework, gone)
        if gone and not framework.scheduler.suppressed:
            self._look_ahead(framework)

    def _decline(self, framework: Framework, gone: list[Held]) -> None:
        hand = self._hand
        hand.clear()
        for held in gone:
            hand.add(held.agent, held.amounts, framework.scheduler.room)
            self._forget(framework, held.offer.id)
        self._refuse(framework)
        self._send([held.offer for held in gone], {}, framework.refuse_s)

    def give_up(self, machine: int) -> None:
        """Give back offers of a machine that are kept open."""
        for framework in dict.fromkeys(self._holders.values()):
            gone = [held for held in framework.held.values() if held.agent == machine]
            self._decline(framework, gone)

    def time_out(self, ids: Sequence[str]) -> None:
        """Take note of offers that the engine took back: declined, without a filter."""
        for id in ids:
            self._forget(self._holders[id], id)
            self.n_declined += 1


def _resources_at(offers: Any, rows: NDArray[np.int64], row: int) -> Resources:
    resources: Resources = offers[int(rows[row])].resources
    return resources


def _refusals(
    frameworks: list[Framework], groups: list[NDArray[np.int64]], n: int
) -> float | NDArray[np.float64] | None:
    """Return how long each of n offers is refused, one number if that is the same for all."""
    lives = {framework.refuse_s for framework in frameworks}
    if len(lives) == 1:
        return lives.pop() or None
    refuse_s = np.zeros(n)
    for framework, rows in zip(frameworks, groups, strict=True):
        refuse_s[rows] = framework.refuse_s
    return refuse_s


def _at(
    refuse_s: float | NDArray[np.float64] | None, places: NDArray[np.int64]
) -> float | NDArray[np.float64] | None:
    return refuse_s[places] if isinstance(refuse_s, np.ndarray) else refuse_s
