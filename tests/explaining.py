"""Doing what an explanation says leads to an offer, by the calls that anybody would make."""

from __future__ import annotations

from allocator import Allocator, Offer
from allocator.engine.rehearsal import Rehearsal
from allocator.explain import Explanation
from allocator.explain.changes import Change, LetPass, RefuseLonger, Step, Told


def offers_after(
    engine: Allocator, steps: tuple[Step, ...], framework: str, n_cycles: int
) -> list[list[Offer]]:
    """Return what a framework is offered in each of the cycles after some steps.

    If the steps count on it, whoever refused the last offer refuses again for as long, or for as
    long as a step says: first what it is offered now.
    """
    twin = Rehearsal(engine)
    refusals = twin.refusals() if any(isinstance(step, Told | LetPass) for step in steps) else {}
    for step in steps:
        step.apply(twin)
        if isinstance(step, RefuseLonger):
            for refuser in step.refusers:
                refusals[refuser] = max(refusals[refuser], step.seconds)
    fork, made = twin.engine, []
    for (refuser, role), seconds in refusals.items():
        for agent, by_role in fork.framework(refuser).offered.items():
            if role in by_role:
                fork.recover_resources(
                    refuser, agent, role, by_role[role], refuse_seconds=seconds or None
                )
    for _ in range(n_cycles):
        offers = list(fork.allocate())
        made.append([offer for offer in offers if offer.framework == framework])
        for offer in offers:
            seconds = refusals.get((offer.framework, offer.role))
            if offer.framework != framework and seconds is not None:
                fork.decline(offer, refuse_seconds=seconds or None)
        twin.clock.advance(twin.interval)
    return made


def check_change(engine: Allocator, explanation: Explanation, change: Change) -> None:
    """Check that a change leads to the offers that it names in the cycle that it names."""
    n_cycles = change.cycle - engine.snapshot()["cycle"]
    assert change.is_later == (n_cycles > 1)
    made = [
        {
            (offer.role, offer.agent): offer.resources
            for offer in offers
            if explanation.role in (None, offer.role) and explanation.agent in (None, offer.agent)
        }
        for offers in offers_after(engine, change.steps, explanation.framework, n_cycles)
    ]
    assert not any(made[:-1])
    assert made[-1] == {(case.role, case.agent): case.offered for case in change.cases} != {}
