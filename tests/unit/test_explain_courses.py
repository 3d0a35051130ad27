"""Somebody is starved by those who refuse all that they are offered, again and again."""

from __future__ import annotations

import pytest

from allocator import Allocator, ManualClock, Quantities, Resources
from allocator.explain import Explanation, changes
from allocator.explain.changes import Change, Step
from allocator.explain.reasons import NothingLeft, ServedEarlier
from tests.explaining import check_change, offers_after


def starved(
    refuse_seconds: list[float | None],
    *,
    role: str = "dev",
    sorter: str = "drf",
    n_cycles: int = 30,
    used: str = "cpus:4",
    ends_with_answers: bool = True,
) -> Allocator:
    """Return an engine after cycles in which d01, d02 … refused all that a1 has.

    f, who wants it, uses something elsewhere, and so comes after all of them.
    """
    clock = ManualClock()
    engine = Allocator(seed=1, sorter=sorter, clock=clock)
    engine.add_agent("a1", "cpus:8;mem:64")
    engine.add_agent("elsewhere", "cpus:16", used={"f": {role: used}})
    engine.deactivate_agent("elsewhere")
    engine.add_framework("f", [role])
    seconds = {f"d{i + 1:02}": each for i, each in enumerate(refuse_seconds)}
    for refuser in seconds:
        engine.add_framework(refuser, ["dev"])
    for i in range(n_cycles):
        for offer in engine.allocate():
            assert offer.framework != "f"
            if ends_with_answers or i < n_cycles - 1:
                engine.decline(offer, refuse_seconds=seconds[offer.framework])
        clock.advance(1)
    return engine


def explained(engine: Allocator) -> Explanation:
    """Return the explanation for f on a1, all of whose changes were checked."""
    explanation = engine.explain("f", agent="a1")
    for change in explanation.changes:
        check_change(engine, explanation, change)
        assert str(change)
    return explanation


def only(explanation: Explanation, kind: type[Step]) -> Step:
    (step,) = (c.steps[0] for c in explanation.changes if isinstance(c.steps[0], kind))
    return step


def refusers(change: Change) -> list[str]:
    (step,) = change.steps
    assert isinstance(step, changes.Told)
    return [framework for framework, _ in step.refusers]


@pytest.mark.parametrize("sorter", ["drf", "naive", "sorted"])
def test_twelve_who_refuse_for_five_seconds_starve_one_with_a_larger_share(sorter: str) -> None:
    engine = starved([5.0] * 12, sorter=sorter)
    before = engine.snapshot()
    explanation = explained(engine)
    assert engine.snapshot() == before
    (reason,) = explanation.cases[0].reasons
    assert isinstance(reason, ServedEarlier)
    assert reason.ahead[0].refused_seconds == 5.0
    assert "share 0 < 0.1667; it refused its last offer for 5 s" in str(reason)
    # Four who refuse for 5 s are all silent in one cycle, five are not: eight have to change.
    eight = tuple((f"d{i:02}", "dev") for i in range(1, 9))
    assert [change.steps for change in explanation.changes] == [
        (changes.RefuseLonger(eight, 26.0),),
        (changes.Suppress(eight),),
        (changes.RaiseMinimum(eight, Quantities("cpus:8")),),
    ]
    assert all(c.refusing == ("d09", "d10", "d11", "d12") for c in explanation.changes)
    for change in explanation.changes:
        assert [(case.role, case.offered) for case in change.cases] == [
            ("dev", Resources("cpus:8;mem:64"))
        ]


@pytest.mark.parametrize("kind", [changes.Suppress, changes.RaiseMinimum])
def test_one_fewer_would_not_do(kind: type[Step]) -> None:
    engine = starved([5.0] * 12)
    step = only(explained(engine), kind)
    assert isinstance(step, changes.Suppress | changes.RaiseMinimum)
    for one in step.refusers:
        others = tuple(each for each in step.refusers if each != one)
        fewer = (
            changes.RaiseMinimum(others, step.above)
            if isinstance(step, changes.RaiseMinimum)
            else changes.Suppress(others)
        )
        assert not any(offers_after(engine, (fewer,), "f", 60))


def test_without_a_change_there_is_never_an_offer() -> None:
    assert not any(offers_after(starved([5.0] * 12), (changes.LetPass(0, 0.0),), "f", 200))


def test_only_the_one_who_refuses_for_a_moment_is_named_among_those_who_do_for_long() -> None:
    engine = starved([600.0, 600.0, 1.0, 600.0])
    explanation = explained(engine)
    assert [refusers(change) for change in explanation.changes] == [["d03"]] * 3
    text = str(explanation.changes[1])
    assert text.startswith("suppress framework d03 → dev on a1: cpus:8;mem:64")


def test_one_without_a_filter_starves_all_behind_it() -> None:
    engine = starved([None])
    explanation = explained(engine)
    assert {type(change.steps[0]) for change in explanation.changes} == {
        changes.RefuseLonger,
        changes.Suppress,
        changes.RaiseMinimum,
    }
    assert "refused its last offer without a filter" in str(explanation.cases[0].reasons[0])


def test_a_guarantee_helps_a_role_of_its_own() -> None:
    explanation = explained(starved([5.0] * 12, role="ops"))
    # ops consumes 4 already, and 8 are there.
    assert explanation.change is not None
    assert explanation.change.steps == (changes.RaiseGuarantee("ops", Quantities("cpus:12")),)
    assert str(explanation.change).startswith("raise the guarantee of role ops by cpus:12 → ops on")
    assert len(explanation.changes) == 4


def test_a_weight_helps_where_those_who_refuse_hold_something() -> None:
    engine = starved([5.0] * 12, role="ops")
    engine.add_agent("more", "cpus:8", used={"d01": {"dev": "cpus:2"}})
    engine.deactivate_agent("more")
    # dev has 2 of 32 cpus, ops 4 of 32.
    explanation = explained(engine)
    assert (changes.RaiseWeight("ops", 2.001),) in [c.steps for c in explanation.changes]


def test_waiting_is_enough_where_all_are_silent_in_one_cycle() -> None:
    clock = ManualClock()
    engine = Allocator(seed=1, clock=clock)
    engine.add_agent("a1", "cpus:8;mem:64")
    engine.add_agent("elsewhere", "cpus:16", used={"f": {"dev": "cpus:4"}})
    engine.deactivate_agent("elsewhere")
    for framework in ("d01", "d02", "d03", "d04", "f"):
        engine.add_framework(framework, ["dev"], suppressed=["dev"] if framework == "f" else [])
    for _ in range(7):
        for offer in engine.allocate():
            engine.decline(offer)
        clock.advance(1)
    engine.revive("f")
    # d01 to d04 refused at 0 to 3, d01 and d02 again at 5 and 6. It is 7: d03 is next, at 8 d04,
    # and at 9 all are silent, d01 until 10.
    explanation = explained(engine)
    (change,) = explanation.changes
    assert change.steps == (changes.LetPass(10, 2.0),)
    assert change.refusing == ("d03", "d04")
    assert str(change) == (
        "wait 2 s, until cycle 10 → dev on a1: cpus:8;mem:64 (while d03, d04 refuse again)"
    )


def test_who_was_never_offered_anything_is_not_counted_on_to_refuse() -> None:
    assert explained(starved([5.0] * 12, n_cycles=7)).changes == ()


def test_who_is_offered_it_now_is_counted_on_to_refuse_again() -> None:
    engine = starved([5.0] * 12, ends_with_answers=False)
    explanation = explained(engine)
    (reason,) = explanation.cases[0].reasons
    assert isinstance(reason, NothingLeft)
    assert {type(change.steps[0]) for change in explanation.changes} == {
        changes.RefuseLonger,
        changes.Suppress,
        changes.RaiseMinimum,
    }


def test_nobody_is_counted_on_to_refuse_who_took_something_last() -> None:
    clock = ManualClock()
    engine = Allocator(seed=1, clock=clock)
    engine.add_agent("a1", "cpus:8;mem:64")
    engine.add_agent("elsewhere", "cpus:16", used={"f": {"dev": "cpus:16"}})
    engine.deactivate_agent("elsewhere")
    engine.add_framework("f", ["dev"])
    engine.add_framework("d", ["dev"])
    engine.accept(engine.allocate()[0], "cpus:1")
    assert explained(engine).changes == ()


def test_nobody_is_counted_on_to_refuse_in_a_role_that_it_has_left() -> None:
    engine = starved([5.0, 5.0, 5.0, 5.0, 5.0, 5.0], ends_with_answers=False)
    (holder,) = (offer.framework for offer in engine.open_offers.values())
    engine.update_framework(holder, roles=["ops"])
    explanation = explained(engine)
    # What it is still offered in the role that it has left, nobody gives back.
    assert isinstance(explanation.cases[0].reasons[0], NothingLeft)
    assert [change.steps for change in explanation.changes] == []


def test_a_change_as_json() -> None:
    change = explained(starved([600.0, 600.0, 1.0])).changes[1].to_json()
    assert change == {
        "steps": [
            {"step": "suppress", "refusers": [["d03", "dev"]], "text": "suppress framework d03"}
        ],
        "offers": [{"role": "dev", "agent": "a1", "resources": "cpus:8;mem:64"}],
        "cycle": 31,
        "is_later": False,
        "refusing": [],
    }
