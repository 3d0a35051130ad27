"""Each reason for which nothing, or no more, is offered, and what ends it."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from allocator import (
    Allocator,
    InvalidRole,
    ManualClock,
    Quantities,
    Resources,
    SnapshotError,
    UnknownAgent,
    UnknownFramework,
    UnknownRole,
)
from allocator.cli import main as cli
from allocator.engine.rehearsal import Rehearsal
from allocator.explain import changes, reasons
from allocator.explain.reasons import Reason
from allocator.explain.watch import Case
from allocator.sorter import Standing
from tests.contract import dynamic, reserved, revocable, volume
from tests.explaining import check_change


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(100.0)


@pytest.fixture
def engine(clock: ManualClock) -> Allocator:
    """One agent of 8 cpus."""
    engine = Allocator(seed=1, clock=clock)
    engine.add_agent("a1", "cpus:8;mem:64")
    return engine


def only_case(engine: Allocator, framework: str = "f", role: str | None = None) -> Case:
    (case,) = engine.explain(framework, role, "a1").cases
    return case


def why(engine: Allocator, framework: str = "f") -> tuple[Reason, ...]:
    case = only_case(engine, framework)
    assert not case.offered
    return case.reasons


def remedy(engine: Allocator, framework: str = "f") -> tuple[changes.Step, ...]:
    """Return the smallest change, having checked that it does lead to an offer."""
    change = engine.explain(framework).change
    assert change is not None
    assert not engine.fork().allocate().by_framework().get(framework)
    twin = Rehearsal(engine)
    for step in change.steps:
        step.apply(twin)
    offers = twin.engine.allocate().by_framework()[framework]
    assert [(o.role, o.agent, o.resources) for o in offers] == [
        (case.role, case.agent, case.offered) for case in change.cases
    ]
    return change.steps


# Each reason.


def test_what_is_offered_needs_no_reason(engine: Allocator) -> None:
    engine.add_framework("f")
    explanation = engine.explain("f")
    assert explanation.cases == (Case("*", "a1", Resources("cpus:8;mem:64"), ()),)
    assert explanation.offers == explanation.cases
    assert explanation.changes == ()
    assert explanation.change is None
    assert explanation.cycle == 1


def test_suppressed(engine: Allocator) -> None:
    engine.add_framework("f", ["eng"], suppressed=["eng"])
    assert why(engine) == (reasons.Suppressed("eng"),)
    assert remedy(engine) == (changes.Revive("f", "eng"),)


def test_framework_inactive(engine: Allocator) -> None:
    engine.add_framework("f", active=False)
    assert why(engine) == (reasons.FrameworkInactive(),)
    assert remedy(engine) == (changes.ActivateFramework("f"),)


def test_agent_inactive(engine: Allocator) -> None:
    engine.add_framework("f")
    engine.deactivate_agent("a1")
    assert why(engine) == (reasons.AgentInactive(),)
    assert remedy(engine) == (changes.ActivateAgent("a1"),)


def test_not_whitelisted(engine: Allocator) -> None:
    engine.add_framework("f")
    engine.set_whitelist(["elsewhere"])
    assert why(engine) == (reasons.NotWhitelisted("a1"),)
    assert remedy(engine) == (changes.Whitelist("a1"),)


def test_paused_says_what_the_cycle_would_do_otherwise(engine: Allocator) -> None:
    engine.add_framework("f")
    engine.pause()
    assert why(engine) == (reasons.Paused(),)
    assert only_case(engine).resources == Resources("cpus:8;mem:64")
    explanation = engine.explain("f")
    assert explanation.halts == (reasons.Paused(),)
    assert explanation.offers == ()
    assert remedy(engine) == (changes.Resume(),)


def test_paused_comes_before_what_else_is_in_the_way(engine: Allocator) -> None:
    engine.add_framework("f", suppressed=["*"])
    engine.pause()
    assert why(engine) == (reasons.Paused(), reasons.Suppressed("*"))
    assert remedy(engine) == (changes.Resume(), changes.Revive("f", "*"))


def test_recovering(clock: ManualClock) -> None:
    engine = Allocator(seed=1, clock=clock, recovery_timeout=60, recovery_factor=0.5)
    engine.recover(4, {"eng": {"guarantee": "cpus:1"}})
    engine.add_agent("a1", "cpus:8")
    engine.add_framework("f", ["eng"])
    clock.advance(10)
    assert why(engine) == (reasons.Recovering(1, 2, until=160.0, seconds=50.0),)
    assert remedy(engine) == (changes.Wait(until=160.0, seconds=50.0),)


def test_framework_without_a_capability_that_the_agent_asks_for(engine: Allocator) -> None:
    engine.update_agent("a1", resources="cpus:8;gpus:1")
    engine.add_framework("f")
    assert why(engine) == (reasons.MissingCapability("GPU_RESOURCES"),)
    assert remedy(engine) == (changes.AddCapability("f", "GPU_RESOURCES"),)


def test_agent_without_a_capability_that_the_role_asks_for(engine: Allocator) -> None:
    engine.update_agent("a1", capabilities=["MULTI_ROLE"])
    engine.add_framework("f", ["eng/prod"])
    assert why(engine) == (reasons.MissingCapability("HIERARCHICAL_ROLE", of_agent=True),)
    assert remedy(engine) == (changes.AddAgentCapability("a1", "HIERARCHICAL_ROLE"),)


def test_all_that_rules_an_agent_out_is_named_at_once() -> None:
    engine = Allocator(seed=1, region="here")
    engine.add_agent("a1", "cpus:8;gpus:1", region="there", capabilities=[])
    engine.add_framework("f", ["eng/prod"], constraints=rack_is("r1", role="eng/prod"))
    assert why(engine) == (
        reasons.MissingCapability("GPU_RESOURCES"),
        reasons.MissingCapability("REGION_AWARE"),
        reasons.MissingCapability("HIERARCHICAL_ROLE", of_agent=True),
        reasons.ConstraintUnmet((("rack text_equals 'r1'",),)),
    )
    # One after the other is mended, and nobody else is bothered.
    assert set(remedy(engine)) == {
        changes.AddCapability("f", "GPU_RESOURCES"),
        changes.AddCapability("f", "REGION_AWARE"),
        changes.AddAgentCapability("a1", "HIERARCHICAL_ROLE"),
        changes.LiftConstraints("f", "eng/prod"),
    }


@pytest.mark.parametrize(
    ("resources", "capability"),
    [
        (revocable("cpus:2"), "REVOCABLE_RESOURCES"),
        (volume(16, shared=True), "SHARED_RESOURCES"),
        (
            reserved(
                [{"type": "STATIC", "role": "eng"}, {"type": "DYNAMIC", "role": "eng/prod"}],
                "cpus:1",
            ),
            "RESERVATION_REFINEMENT",
        ),
    ],
)
def test_resources_that_a_framework_is_not_shown(resources: Resources, capability: str) -> None:
    engine = Allocator(seed=1)
    engine.add_agent("a1", resources)
    engine.add_framework("f", ["eng/prod"])
    assert why(engine) == (reasons.MissingCapability(capability, hidden=resources),)
    assert remedy(engine) == (changes.AddCapability("f", capability),)


def rack_is(*racks: str, role: str = "eng") -> dict[str, Any]:
    groups = [
        {
            "attribute_constraints": [
                {
                    "selector": {"attribute_name": "rack"},
                    "predicate": {"text_equals": {"value": rack}},
                },
                {"selector": {"pseudoattribute_type": "HOSTNAME"}, "predicate": {"exists": {}}},
            ]
        }
        for rack in racks
    ]
    return {role: {"groups": groups}}


def test_constraint_names_what_fails_in_each_group(engine: Allocator) -> None:
    engine.add_framework("f", ["eng"], constraints=rack_is("r1", "r2"))
    failing = (("rack text_equals 'r1'",), ("rack text_equals 'r2'",))
    assert why(engine) == (reasons.ConstraintUnmet(failing),)
    assert str(why(engine)[0]) == (
        "constraint not met: rack text_equals 'r1'; nor: rack text_equals 'r2'"
    )
    assert remedy(engine) == (changes.LiftConstraints("f", "eng"),)


def test_filtered_until_the_last_filter_that_refuses_it_ends(
    engine: Allocator, clock: ManualClock
) -> None:
    engine.add_framework("f")
    engine.decline(engine.allocate()[0], refuse_seconds=20)
    clock.advance(5)
    assert why(engine) == (reasons.Filtered(Resources("cpus:8;mem:64"), until=120.0, seconds=15.0),)
    explanation = engine.explain("f")
    assert [change.steps for change in explanation.changes] == [
        (changes.Wait(until=120.0, seconds=15.0),),
        (changes.Revive("f", "*"),),
    ]
    assert remedy(engine) == (changes.Wait(until=120.0, seconds=15.0),)


def test_below_min_allocatable_by_the_amount_that_is_nearest(engine: Allocator) -> None:
    engine.add_framework("f", min_allocatable=["gpus:1", "cpus:10;mem:16"])
    assert why(engine) == (
        reasons.BelowMinimum(
            Resources("cpus:8;mem:64"), Quantities("cpus:10;mem:16"), Quantities("cpus:2")
        ),
    )
    assert remedy(engine) == (changes.LowerMinimum("f", "*", Quantities("cpus:8;mem:16")),)


def test_below_the_engines_min_allocatable_others_keep_theirs() -> None:
    engine = Allocator(seed=1, min_allocatable=["cpus:4"])
    engine.add_agent("a1", "ports:[1-10]")
    engine.add_framework("f", ["eng", "ops"])
    engine.add_framework("g", ["eng"])
    (step,) = remedy(engine)
    assert step == changes.LowerMinimum("f", "eng", Quantities())
    twin = Rehearsal(engine)
    step.apply(twin)
    engine = twin.engine
    engine.suppress("f", ["eng"])
    assert only_case(engine, role="ops").reasons[0].kind == "below_min_allocatable"
    assert why(engine, "g")[0].kind == "below_min_allocatable"


def test_over_the_limit_of_each_role_on_the_path_by_how_much(engine: Allocator) -> None:
    engine.update_agent("a1", resources="cpus:8")
    engine.set_quota("eng", limit="cpus:2")
    engine.set_quota("eng/prod", limit="cpus:0")
    engine.add_framework("f", ["eng/prod"])
    assert why(engine) == (
        reasons.OverLimit("eng/prod", "cpus", 0, 0, 8000),
        reasons.OverLimit("eng", "cpus", 2000, 0, 8000),
    )
    assert [r.over_milli for r in why(engine) if isinstance(r, reasons.OverLimit)] == [8000, 6000]
    assert why(engine)[1].to_json() == {
        "reason": "over_limit",
        "role": "eng",
        "name": "cpus",
        "limit": 2,
        "consumed": 0,
        "wanted": 8,
        "kept": [],
        "over": 6,
        "text": "over limit of role eng for cpus by 6 (limit 2, consumed 0, here 8)",
    }
    assert remedy(engine) == (
        changes.RaiseLimit("eng/prod", Quantities("cpus:8")),
        changes.RaiseLimit("eng", Quantities("cpus:6")),
    )


def test_a_limit_keeps_room_for_guarantees_below_it(engine: Allocator) -> None:
    engine.update_agent("a1", resources="cpus:8")
    engine.set_quota("eng", limit="cpus:5")
    engine.set_quota("eng/prod", guarantee="cpus:2")
    engine.set_quota("eng/test/x", guarantee="cpus:3")
    engine.add_framework("f", ["eng/dev"])
    # Of 5 both of the others' guarantees, 2 + 3, are kept.
    reason = why(engine)[0]
    kept = (
        reasons.Guaranteed("eng/prod", 2000, 2000),
        reasons.Guaranteed("eng/test/x", 3000, 3000),
    )
    assert reason == reasons.OverLimit("eng", "cpus", 5000, 0, 8000, kept)
    assert isinstance(reason, reasons.OverLimit)
    assert str(reason) == (
        "over limit of role eng for cpus by 8 (limit 5, consumed 0, "
        "kept for guarantees of eng/prod (2), eng/test/x (3), here 8)"
    )
    assert reason.to_json()["kept"][0] == {"role": "eng/prod", "held": 2, "short": 2}
    # Nothing is in use yet: the agent's 8 cpus leave 3 beside the guarantees, and eng none.
    found = [change.steps for change in engine.explain("f").changes]
    assert found == [
        (changes.RaiseLimit("eng", Quantities("cpus:8")),),
        (
            changes.LowerGuarantee("eng/prod", Quantities("cpus:2")),
            changes.LowerGuarantee("eng/test/x", Quantities("cpus:3")),
        ),
    ]


def test_a_limit_above_keeps_room_beside_the_path_at_each_depth(engine: Allocator) -> None:
    engine.set_quota("eng", limit="cpus:6")
    engine.set_quota("eng/prod", guarantee="cpus:1")
    engine.set_quota("eng/dev/a", guarantee="cpus:2")
    engine.set_quota("eng/dev", limit="cpus:5")
    engine.add_framework("f", ["eng/dev/b"])
    case = only_case(engine)
    assert case.offered == Resources("cpus:3;mem:64")
    dev = reasons.Guaranteed("eng/dev/a", 2000, 2000)
    prod = reasons.Guaranteed("eng/prod", 1000, 1000)
    assert case.reasons == (
        reasons.OverLimit("eng/dev", "cpus", 5000, 0, 8000, (dev,)),
        reasons.OverLimit("eng", "cpus", 6000, 0, 8000, (dev, prod)),
        reasons.HeldBack("cpus", 8000, 8000, (prod, dev)),
    )


def test_a_guarantee_that_a_limit_makes_impossible_in_part_is_lowered_enough(
    engine: Allocator,
) -> None:
    engine.update_agent("a1", resources="cpus:4")
    engine.set_quota("eng", limit="cpus:7")
    engine.set_quota("eng/prod", guarantee="cpus:3")
    engine.set_quota("eng/test", guarantee="cpus:4")
    engine.add_agent("a2", "cpus:3", used={"g": {"eng/dev": "cpus:3"}})
    engine.add_framework("f", ["other"])
    # They are short of 7, of which eng has room for 4, which are all there is: for one more cpu
    # than 0 to be free, 3 + 4 have to be lacking no longer.
    assert remedy(engine) == (
        changes.LowerGuarantee("eng/prod", Quantities("cpus:3")),
        changes.LowerGuarantee("eng/test", Quantities("cpus:4")),
    )


@pytest.mark.parametrize("how", ["inactive", "not whitelisted", "both"])
def test_headroom_grows_with_agents_that_could_not_be_offered(engine: Allocator, how: str) -> None:
    engine.update_agent("a1", resources="cpus:4")
    engine.add_agent("small", "cpus:2")
    engine.add_agent("large", "cpus:4", hostname="host")
    engine.set_quota("ops", guarantee="cpus:4")
    engine.add_framework("f", ["other"])
    steps: tuple[changes.Step, ...] = ()
    for agent in ("small", "large") if how != "not whitelisted" else ():
        engine.deactivate_agent(agent)
        steps = (changes.ActivateAgent("large"),)
    if how != "inactive":
        engine.set_whitelist(["a1"])
        steps += (changes.Whitelist("host"),)
    explanation = engine.explain("f", agent="a1")
    (reason,) = explanation.cases[0].reasons
    assert str(reason) == (
        "cpus:4 held back for guarantees of roles ops (4), of 4 that can be offered in the cluster"
    )
    assert steps in [change.steps for change in explanation.changes]
    for change in explanation.changes:
        check_change(engine, explanation, change)


def test_what_a_framework_uses_that_is_not_back_yet_counts(engine: Allocator) -> None:
    engine.update_agent("a1", resources="cpus:4")
    engine.add_agent("a2", "cpus:6", used={"gone": {"eng/x": "cpus:6"}})
    engine.set_quota("eng", limit="cpus:6")
    engine.add_framework("f", ["eng/y"])
    reason = only_case(engine).reasons[0]
    assert reason == reasons.OverLimit("eng", "cpus", 6000, 6000, 4000)
    assert (changes.RaiseLimit("eng", Quantities("cpus:4")),) in [
        change.steps for change in engine.explain("f").changes
    ]


def test_held_back_is_no_more_than_a_limit_leaves(engine: Allocator) -> None:
    engine.update_agent("a1", resources="cpus:8")
    engine.add_agent("a2", "cpus:3", used={"g": {"eng/dev": "cpus:3"}})
    engine.set_quota("eng", limit="cpus:7")
    engine.set_quota("eng/prod", guarantee="cpus:3")
    engine.set_quota("eng/test", guarantee="cpus:4")
    engine.set_quota("ops", guarantee="cpus:4")
    engine.add_framework("f", ["other"])
    # 3 + 4 are lacking, of which eng has room for 7 − 3 = 4.
    (reason,) = (r for r in why(engine) if isinstance(r, reasons.HeldBack))
    assert reason.roles == (
        reasons.Guaranteed("eng/prod", 3000, 3000),
        reasons.Guaranteed("eng/test", 1000, 4000),
        reasons.Guaranteed("ops", 4000, 4000),
    )
    assert sum(need.held_milli for need in reason.roles) == engine._state.tree.required["cpus"]


def test_of_several_names_over_a_limit_only_one_is_raised(engine: Allocator) -> None:
    engine.set_quota("eng", limit="cpus:0;mem:0")
    engine.set_quota("eng/prod", limit="mem:0;cpus:1")
    engine.add_framework("f", ["eng/prod"])
    # Of 8 cpus and 64 MB the cpus are fewer.
    assert remedy(engine) == (
        changes.RaiseLimit("eng/prod", Quantities("cpus:7")),
        changes.RaiseLimit("eng", Quantities("cpus:8")),
    )
    engine.update_framework("f", min_allocatable=["cpus:2;mem:16"])
    assert [change.steps for change in engine.explain("f").changes][-1] == (
        changes.RaiseLimit("eng/prod", Quantities("cpus:1;mem:16")),
        changes.RaiseLimit("eng", Quantities("cpus:2;mem:16")),
    )


def test_a_limit_is_raised_for_the_agent_where_least_is_needed(engine: Allocator) -> None:
    engine.add_agent("a2", "cpus:3")
    engine.add_agent("a3", "cpus:5")
    engine.set_quota("eng", limit="cpus:0;mem:0")
    engine.add_framework("f", ["eng"])
    explanation = engine.explain("f")
    assert [change.steps for change in explanation.changes] == [
        (changes.RaiseLimit("eng", Quantities("cpus:3")),)
    ]


def test_a_limit_is_raised_by_no_more_than_min_allocatable_needs(engine: Allocator) -> None:
    engine.set_quota("eng", limit="cpus:2;mem:16")
    engine.add_framework("f", ["eng"], min_allocatable=["cpus:3"])
    found = [change.steps for change in engine.explain("f").changes]
    assert (changes.RaiseLimit("eng", Quantities("cpus:1")),) in found
    assert remedy(engine) == (changes.LowerMinimum("f", "eng", Quantities("cpus:2")),)


def test_a_limit_is_why_no_more_is_offered(engine: Allocator) -> None:
    engine.set_quota("eng", limit="cpus:2")
    engine.add_framework("f", ["eng"])
    case = only_case(engine)
    assert case.offered == Resources("cpus:2;mem:64")
    assert case.reasons == (reasons.OverLimit("eng", "cpus", 2000, 0, 8000),)
    assert engine.explain("f").summary() == ()


def test_held_back_for_guarantees_of_the_roles_that_need_it(engine: Allocator) -> None:
    engine.update_agent("a1", resources="cpus:8")
    # eng/prod and eng/test together need all that eng does; ops/web needs less than ops.
    engine.set_quota("eng", guarantee="cpus:5")
    engine.set_quota("eng/prod", guarantee="cpus:2")
    engine.set_quota("ops", guarantee="cpus:4")
    engine.set_quota("dev/x", guarantee="cpus:1")
    engine.add_framework("f", ["other"])
    held = tuple(
        reasons.Guaranteed(role, short, short)
        for role, short in [("eng", 5000), ("ops", 4000), ("dev/x", 1000)]
    )
    assert why(engine) == (reasons.HeldBack("cpus", 8000, 8000, held),)
    assert str(why(engine)[0]) == (
        "cpus:8 held back for guarantees of roles eng (5), ops (4), dev/x (1), "
        "of 8 that can be offered in the cluster"
    )
    assert sum(need.held_milli for need in held) == engine._state.tree.required["cpus"]
    assert set(remedy(engine)) == {
        changes.LowerGuarantee("eng", Quantities("cpus:5")),
        changes.LowerGuarantee("ops", Quantities("cpus:4")),
        changes.LowerGuarantee("dev/x", Quantities("cpus:1")),
    }


def test_held_back_names_children_whose_needs_exceed_their_parents(engine: Allocator) -> None:
    engine.update_agent("a1", resources="cpus:8")
    engine.set_quota("eng", guarantee="cpus:6")
    engine.set_quota("eng/prod", guarantee="cpus:4")
    # eng itself consumes 4 of its 6, of which eng/prod gets nothing.
    engine.add_agent("a2", dynamic("eng", "cpus:4"))
    engine.set_quota("ops", guarantee="cpus:4")
    engine.add_framework("f", ["other"])
    (reason,) = why(engine)
    assert isinstance(reason, reasons.HeldBack)
    assert reason.roles == (
        reasons.Guaranteed("eng/prod", 4000, 4000),
        reasons.Guaranteed("ops", 4000, 4000),
    )


def test_served_earlier_names_who_by_which_shares(engine: Allocator) -> None:
    engine.add_agent("b", "cpus:8", used={"f": {"eng/prod": "cpus:4"}, "g": {"ops": "cpus:2"}})
    engine.deactivate_agent("b")
    engine.add_framework("f", ["eng/prod"])
    engine.add_framework("g", ["ops"])
    # eng has 4 of 16 cpus, ops 2 of 16.
    served = reasons.Served(
        2,
        "g",
        "ops",
        Resources("cpus:8;mem:64"),
        Standing("ops", 0.125, 1),
        Standing("eng", 0.25, 1),
    )
    assert only_case(engine).reasons == (reasons.ServedEarlier((served,)),)
    assert only_case(engine).reasons[0].to_json()["ahead"][0]["stage"] == "fair share"
    # A weight of 1 × 0.25 / 0.125 would be a tie; a little more comes first.
    change = engine.explain("f", agent="a1").change
    assert change is not None
    assert change.steps == (changes.RaiseWeight("eng", 2.001),)


def test_served_earlier_in_the_same_role_compares_frameworks(engine: Allocator) -> None:
    engine.add_framework("f", ["eng"])
    engine.add_framework("e", ["eng"])
    served = reasons.Served(
        2, "e", "eng", Resources("cpus:8;mem:64"), Standing("e", 0.0, 0), Standing("f", 0.0, 0)
    )
    assert why(engine) == (reasons.ServedEarlier((served,)),)
    assert engine.explain("f").changes == ()


def test_served_earlier_by_a_role_above_compares_its_implicit_leaf(engine: Allocator) -> None:
    engine.add_framework("f", ["eng/prod"])
    engine.add_framework("g", ["eng"])
    served = reasons.Served(
        2,
        "g",
        "eng",
        Resources("cpus:8;mem:64"),
        Standing("eng/.", 0.0, 0),
        Standing("eng/prod", 0.0, 0),
    )
    assert why(engine) == (reasons.ServedEarlier((served,)),)


def test_served_earlier_for_a_guarantee(engine: Allocator) -> None:
    engine.set_quota("ops", guarantee="cpus:20")
    engine.add_framework("f", ["eng"], min_allocatable=["cpus:1"])
    engine.add_framework("g", ["ops"])
    engine.set_weight("eng", 100.0)
    (*others, served) = why(engine)
    assert others == []
    assert isinstance(served, reasons.ServedEarlier)
    assert [(s.stage, s.framework) for s in served.ahead] == [(1, "g")]
    assert "for a guarantee" in str(served)


def test_what_others_left_is_below_min_allocatable(engine: Allocator) -> None:
    engine.set_quota("dev", limit="cpus:6")
    engine.add_framework("d", ["dev"])
    engine.add_framework("f", ["eng"], min_allocatable=["cpus:4"])
    (below, earlier) = why(engine)
    assert below == reasons.BelowMinimum(
        Resources("cpus:2"), Quantities("cpus:4"), Quantities("cpus:2")
    )
    assert isinstance(earlier, reasons.ServedEarlier)
    assert [(s.framework, s.resources) for s in earlier.ahead] == [
        ("d", Resources("cpus:6;mem:64"))
    ]


def test_a_shared_entry_was_offered_to_another_role_of_the_framework() -> None:
    engine = Allocator(seed=1)
    engine.add_agent("a1", volume(16, shared=True))
    engine.add_framework("f", ["eng", "eng/prod"], capabilities=["SHARED_RESOURCES"])
    first, second = engine.explain("f").cases
    assert first.offered == volume(16, shared=True)
    (reason,) = second.reasons
    assert isinstance(reason, reasons.ServedEarlier)
    assert [(s.framework, s.role) for s in reason.ahead] == [("f", "eng")]


def test_nothing_left(engine: Allocator) -> None:
    engine.add_framework("g")
    engine.accept(engine.allocate()[0], "cpus:3")
    engine.allocate()
    engine.add_framework("f")
    assert why(engine) == (reasons.NothingLeft(Resources("cpus:5;mem:64"), Resources("cpus:3")),)
    # The smaller part of the agent is freed; f has the smaller share and so comes first.
    assert remedy(engine) == (changes.Free("g", "*", "a1", Resources("cpus:3"), True),)


def test_freeing_what_is_lacking_and_no_more(engine: Allocator) -> None:
    engine.add_framework("g")
    engine.accept(engine.allocate()[0], "cpus:6")
    engine.suppress("g")
    engine.add_framework("f", min_allocatable=["cpus:3"])
    found = [change.steps for change in engine.explain("f").changes]
    assert (changes.Free("g", "*", "a1", Resources("cpus:1"), True),) in found


def test_nothing_visible_as_other_roles_have_reserved_it() -> None:
    engine = Allocator(seed=1)
    engine.add_agent("a1", dynamic("ops", "cpus:4"))
    engine.add_framework("f", ["eng"])
    assert why(engine) == (reasons.NothingVisible(dynamic("ops", "cpus:4")),)
    assert engine.explain("f").changes == ()


# What is extreme.


@pytest.mark.parametrize("weights", [(1e-9, 1e9), (1e9, 1e-9), (1e9, 1e9), (1e-9, 1e-9)])
def test_no_weight_is_proposed_that_is_none(
    engine: Allocator, weights: tuple[float, float]
) -> None:
    engine.add_agent("b", "cpus:8", used={"f": {"eng": "cpus:4"}, "g": {"ops": "cpus:2"}})
    engine.deactivate_agent("b")
    engine.add_framework("f", ["eng"])
    engine.add_framework("g", ["ops"])
    engine.set_weights(dict(zip(("eng", "ops"), weights, strict=True)))
    explanation = engine.explain("f", agent="a1")
    if weights[0] < weights[1]:
        # A share of 0.25 / 1e-9 against 0.125 / 1e9: twice 1e9 would be needed.
        assert explanation.cases[0].reasons[0].kind == "served_earlier"
        assert not any(changes.RaiseWeight in map(type, c.steps) for c in explanation.changes)
    elif weights == (1e-9, 1e-9):
        assert explanation.change is not None
        assert explanation.change.steps == (changes.RaiseWeight("eng", 2.001e-9),)


def test_the_deepest_role_and_the_longest_names_are_explained_in_a_few_words() -> None:
    engine = Allocator(seed=1)
    engine.add_agent("a" * 100_000, {"cpus": 8, "r" * 10_000: 1}, hostname="h" * 100_000)
    role = "/".join(["x" * 50] * 128)
    engine.set_quota(role, guarantee="cpus:1")
    engine.set_quota("x" * 50, limit="cpus:1")
    engine.add_framework("f" * 100_000, ["y" * 50 + role[50:]], min_allocatable=["cpus:9"])
    engine.add_framework("g" * 100_000, [role])
    engine.set_whitelist(["h" * 100_000])
    for framework in ("f" * 100_000, "g" * 100_000):
        explanation = engine.explain(framework)
        said = str(explanation)
        assert all(len(line) < 2000 for line in said.splitlines())
        assert "…" in said
        for case in explanation.cases:
            assert all(len(reason.to_json()["text"]) < 1000 for reason in case.reasons)
    engine.set_whitelist([])
    assert all(len(str(reason)) < 250 for reason in engine.explain("f" * 100_000).cases[0].reasons)


# What a rehearsal shows that no view does.


def test_a_rehearsal_knows_for_how_long_the_last_answer_refused(engine: Allocator) -> None:
    def refusal(engine: Allocator) -> float | None:
        return Rehearsal(engine).refusals().get(("f", "*"))

    engine.add_framework("f")
    assert refusal(engine) is None
    engine.decline(engine.allocate()[0], refuse_seconds=7)
    assert refusal(engine) == 7.0
    engine.revive("f")
    engine.accept(engine.allocate()[0], "cpus:1", refuse_seconds=7)
    assert refusal(engine) is None
    engine.revive("f")
    engine.decline(list(engine.allocate()), refuse_seconds=[0.25])
    assert refusal(engine) == 1.0  # no filter lives for less than an interval
    engine.revive("f")
    (offer,) = engine.allocate()
    engine.recover_resources("f", "a1", "*", offer.resources, refuse_seconds=30)
    assert refusal(engine) == 30.0
    engine.revive("f")
    engine.decline(engine.allocate()[0], refuse_seconds=None)
    assert refusal(engine) == 0.0
    for twin in (engine.fork(), Allocator.restore(engine.snapshot(), clock=ManualClock())):
        assert refusal(twin) == 0.0
        twin.accept(twin.allocate()[0])
        assert refusal(twin) is None
    assert refusal(engine) == 0.0


def test_a_snapshot_has_refusals(engine: Allocator) -> None:
    engine.add_framework("f")
    engine.decline(engine.allocate()[0])
    snapshot = engine.snapshot()
    assert snapshot["frameworks"]["f"]["refusals"] == {"*": 5.0}
    twin = Allocator.restore(snapshot, clock=ManualClock())
    assert Rehearsal(twin).refusals() == {("f", "*"): 5.0}
    snapshot["frameworks"]["f"]["refusals"] = {"*": -1.0}
    with pytest.raises(SnapshotError):
        Allocator.restore(snapshot)


# The whole answer.


def test_the_question_narrows_the_answer_and_not_the_cycle(engine: Allocator) -> None:
    engine.add_agent("a2", "cpus:8")
    engine.add_framework("f", ["eng", "ops"])
    engine.add_framework("g", ["eng"])
    everything = engine.explain("f").cases
    assert [(case.role, case.agent) for case in everything] == [
        ("eng", "a1"),
        ("eng", "a2"),
        ("ops", "a1"),
        ("ops", "a2"),
    ]
    narrow = [engine.explain("f", case.role, case.agent).cases for case in everything]
    assert narrow == [(case,) for case in everything]
    assert engine.explain("f", "ops").cases == everything[2:]


def test_summary_counts_cases_by_reason(engine: Allocator) -> None:
    engine.add_agent("a2", "cpus:8;gpus:1")
    engine.add_agent("a3", "cpus:8;gpus:1")
    engine.add_framework("f", ["eng"], suppressed=["eng"])
    explanation = engine.explain("f")
    assert explanation.summary() == (
        ("suppressed", 3),
        ("framework lacks capability GPU_RESOURCES", 2),
    )
    assert str(explanation).splitlines() == [
        "framework f: cycle 1 makes no offer on any of 3 pairs of role, agent",
        "       3  suppressed",
        "       2  framework lacks capability GPU_RESOURCES",
        "eng on a1: suppressed in role eng",
        "eng on a2: suppressed in role eng; the framework lacks capability GPU_RESOURCES",
        "eng on a3: suppressed in role eng; the framework lacks capability GPU_RESOURCES",
        "would lead to an offer: revive role eng of framework f → eng on a1: cpus:8;mem:64",
    ]


def test_nothing_to_explain(engine: Allocator) -> None:
    engine.add_framework("f", [])
    assert engine.explain("f").cases == ()
    assert "nothing to offer" in str(engine.explain("f"))


@pytest.mark.parametrize(
    ("question", "error"),
    [
        (("g",), UnknownFramework),
        (("f", "ops"), UnknownRole),
        (("f", "a//b"), InvalidRole),
        (("f", None, "a9"), UnknownAgent),
    ],
)
def test_questions_about_what_is_not_there(
    engine: Allocator, question: tuple[str, ...], error: type[Exception]
) -> None:
    engine.add_framework("f", ["eng"])
    before = engine.snapshot()
    with pytest.raises(error):
        engine.explain(*question)
    assert engine.snapshot() == before


def test_explain_looks_where_a_cycle_has_nothing_new_to_look_at(
    engine: Allocator, clock: ManualClock
) -> None:
    engine.add_framework("f")
    engine.decline(engine.allocate()[0], refuse_seconds=20)
    assert len(engine.allocate()) == 0
    # Nothing changed since; a cycle passes the agent over, and an explanation must not.
    assert [reason.kind for reason in why(engine)] == ["filtered"]
    assert engine.next_due() == clock() + 20


# The command.


@pytest.fixture
def snapshot(engine: Allocator, tmp_path: Path) -> Path:
    for number in range(30):
        engine.add_agent(f"b{number:02}", "cpus:1")
    engine.add_framework("f", ["eng"], suppressed=["eng"])
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(engine.snapshot()), encoding="utf-8")
    return path


def test_the_command_prints_tables(snapshot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", str(snapshot), "f"]) == 0
    out = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert out[0] == "framework f: cycle 1 makes no offer on any of 31 pairs of role, agent"
    assert any(line.split() == ["suppressed", "31"] for line in out)
    assert any(line.split()[:4] == ["eng", "a1", "-", "suppressed"] for line in out)
    assert "… and 11 more; --all shows them" in out
    assert out[-1] == (
        "the smallest change that leads to an offer: revive role eng of framework f → "
        "eng on a1: cpus:8;mem:64, and 30 more"
    )


def test_the_command_shows_all_lines(snapshot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", str(snapshot), "f", "--all"]) == 0
    out = capsys.readouterr().out
    assert "more; --all" not in out
    assert "b29" in out


@pytest.mark.parametrize("packed", [False, True])
def test_the_command_reads_stdin_and_gzip_and_prints_json(
    snapshot: Path,
    packed: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = snapshot.read_bytes()
    piped = io.TextIOWrapper(io.BytesIO(gzip.compress(content, mtime=0) if packed else content))
    monkeypatch.setattr(sys, "stdin", piped)
    assert cli.main(["explain", "-", "f", "--agent", "a1", "--role", "eng", "--json"]) == 0
    engine = Allocator.restore(json.loads(content), clock=ManualClock())
    answer = json.loads(capsys.readouterr().out)
    assert answer == engine.explain("f", "eng", "a1").to_json()
    assert [reason["reason"] for reason in answer["cases"][0]["reasons"]] == ["suppressed"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not JSON: Expecting property name enclosed in double quotes"),
        (b"\xff", "not UTF-8 text"),
        (b"[" * 100_000, "not JSON: "),
        (b"[]", "a snapshot is a JSON object, not list"),
        (b"{}", "a snapshot of version None"),
        (b'{"version": 2}', "malformed snapshot"),
        (gzip.compress(b"{}", mtime=0)[:-9], "truncated gzip: the file ends in the middle"),
    ],
)
def test_the_command_refuses_what_is_no_snapshot(
    content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cluster.json"
    path.write_bytes(content)
    assert cli.main(["explain", str(path), "f"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"allocator explain: {path}: {message}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["g"], "there is no framework 'g'"),
        (["f", "--role", "ops"], "framework 'f' is not subscribed to role 'ops'"),
        (["f", "--agent", "a9"], "there is no agent 'a9'"),
    ],
)
def test_the_command_refuses_unknown_names(
    snapshot: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["explain", str(snapshot), *arguments]) == 2
    assert capsys.readouterr().err == f"allocator explain: {message}\n"


def test_the_command_refuses_a_file_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["explain", str(tmp_path / "none"), "f"]) == 2
    assert "No such file" in capsys.readouterr().err


def test_an_offer_that_ends_before_the_next_cycle_is_seen_to_be_free() -> None:
    clock = ManualClock()
    engine = Allocator(seed=1, clock=clock, offer_timeout=5)
    engine.add_agent("a", "cpus:4")
    engine.add_framework("f")
    engine.allocate()
    clock.advance(5)
    (case,) = engine.explain("f").cases
    assert str(case.offered) == "cpus:4"
    assert list(engine.open_offers) == ["O1"]
