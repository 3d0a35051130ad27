"""Short histories of what random ones seldom come to; the reference and the engine must agree."""

from __future__ import annotations

import pytest

from tests.differential.history import Call, History, call
from tests.differential.judge import run

CPUS = "cpus:8;mem:8"


def a_framework_moves_to_a_role_below() -> list[Call]:
    """It joins the new role before it leaves the old, whose number of allocations stays."""
    return [
        call("add_agent", "a1", CPUS),
        call("add_framework", "f1", ["eng"]),
        call("allocate"),
        call("rescind", "O1"),
        call("update_framework", "f1", roles=["eng/prod"]),
        call("add_framework", "f2", ["zoo"]),
        call("allocate"),
        call("rescind", "O2"),
        call("allocate"),
    ]


def a_leaf_is_split_and_whole_again() -> list[Call]:
    """The implicit leaf inherits the number; the parent keeps its own."""
    return [
        call("add_agent", "a1", CPUS),
        call("add_framework", "f1", ["eng"]),
        call("allocate"),
        call("rescind", "O1"),
        call("add_framework", "f2", ["eng/prod"]),
        call("allocate"),
        call("rescind", "O2"),
        call("allocate"),
        call("rescind", "O3"),
        call("remove_framework", "f2"),
        call("add_framework", "f3", ["fun"]),
        call("allocate"),
    ]


def an_offer_is_declined_after_its_role_was_left() -> list[Call]:
    """No filter is made where the framework is not subscribed."""
    return [
        call("add_agent", "a1", CPUS),
        call("add_framework", "f1", ["eng"]),
        call("allocate"),
        call("update_framework", "f1", roles=["ops"]),
        call("decline", "O1", refuse_seconds=100),
        call("update_framework", "f1", roles=["eng"]),
        call("allocate"),
    ]


def a_role_is_left_while_something_is_held_in_it() -> list[Call]:
    """The role exists until the last is given back, and is offered nothing."""
    return [
        call("add_agent", "a1", CPUS),
        call("add_framework", "f1", ["eng/prod"]),
        call("allocate"),
        call("accept", "O1", "cpus:2"),
        call("update_framework", "f1", roles=["ops"]),
        call("allocate"),
        call("release", "f1", "a1", "eng/prod", "cpus:1"),
        call("allocate"),
        call("release", "f1", "a1", "eng/prod", "cpus:1"),
        call("allocate"),
    ]


def inverse_filters_end_with_a_revival_by_update() -> list[Call]:
    """A role that is no longer suppressed is revived."""
    return [
        call("add_agent", "a1", CPUS, used={"f1": {"eng": "cpus:1"}}),
        call("add_framework", "f1", ["eng"], suppressed=["eng"]),
        call("set_unavailability", "a1", 100.0),
        call("allocate"),
        call("answer_inverse", "f1", "a1", "DECLINE", refuse_seconds=50),
        call("allocate"),
        call("update_framework", "f1", suppressed=[]),
        call("allocate"),
    ]


def an_update_that_revives_nothing_keeps_inverse_filters() -> list[Call]:
    """Only what is revived ends them."""
    return [
        call("add_agent", "a1", CPUS, used={"f1": {"eng": "cpus:1"}}),
        call("add_framework", "f1", ["eng"]),
        call("set_unavailability", "a1", 100.0),
        call("allocate"),
        call("answer_inverse", "f1", "a1", "DECLINE", refuse_seconds=50),
        call("update_framework", "f1", suppressed=["eng"], min_allocatable=[]),
        call("allocate"),
    ]


def inverse_answers_overlap() -> list[Call]:
    """An answer to what is not outstanding counts as a filter only; filters hold side by side."""
    return [
        call("add_agent", "a1", CPUS, used={"f1": {"eng": "cpus:1"}}),
        call("add_framework", "f1", ["eng"]),
        call("answer_inverse", "f1", "a1", "ACCEPT"),
        call("set_unavailability", "a1", 100.0, 5.0),
        call("answer_inverse", "f1", "a1", "DECLINE", refuse_seconds=2),
        call("answer_inverse", "f1", "a1", "DECLINE", refuse_seconds=0.5),
        call("allocate"),
        call("advance", 2),
        call("allocate"),
        call("allocate"),
        call("answer_inverse", "f1", "a1", None),
        call("deactivate_framework", "f1"),
        call("allocate"),
    ]


def quotas_are_replaced_together() -> list[Call]:
    """What counts is whether all quotas fit together in the end."""
    return [
        call("set_quota", "eng", guarantee="cpus:8"),
        call("set_quota", "eng/prod", guarantee="cpus:6"),
        call("recover", 0, {"eng": {"guarantee": "cpus:2"}, "eng/prod": {"guarantee": "cpus:1"}}),
        call("recover", 0, {"eng": {"guarantee": "cpus:2"}, "eng/prod": {"guarantee": "cpus:3"}}),
        call("set_quota", "eng/prod", guarantee="cpus:2"),
    ]


def empty_quotas_hold_nothing_back() -> list[Call]:
    """An empty quota is none, and without any there is no wait."""
    return [
        call("recover", 5, {"eng": {}}),
        call("add_agent", "a1", CPUS),
        call("add_framework", "f1", ["eng"]),
        call("allocate"),
    ]


def a_filter_is_gone_at_its_end_instant() -> list[Call]:
    """It holds before, and no view counts it any more from then on."""
    return [
        call("add_agent", "a1", CPUS),
        call("add_framework", "f1", ["eng"]),
        call("allocate"),
        call("decline", "O1", refuse_seconds=2),
        call("advance", 1.875),
        call("allocate"),
        call("advance", 0.125),
        call("allocate"),
    ]


def an_agent_shrinks_below_what_is_in_use() -> list[Call]:
    """Nothing is available there until enough was given back."""
    return [
        call("add_agent", "a1", CPUS),
        call("add_agent", "a2", CPUS),
        call("add_framework", "f1", ["eng"]),
        call("allocate", ["a1"]),
        call("accept", "O1", "cpus:6"),
        call("update_agent", "a1", resources="cpus:2;mem:8"),
        call("set_quota", "ops", guarantee="cpus:1"),
        call("allocate"),
        call("release", "f1", "a1", "eng", "cpus:3"),
        call("allocate"),
        call("release", "f1", "a1", "eng", "cpus:2"),
        call("allocate"),
    ]


def shared_volumes_are_counted_once() -> list[Call]:
    """Two frameworks of a role hold the same volume: charged once, at the role and above."""
    volume = {
        "name": "disk",
        "type": "SCALAR",
        "scalar": {"value": 4},
        "disk": {"persistence": {"id": "v1"}},
        "shared": {},
    }
    return [
        call("add_agent", "a1", [volume]),
        call("add_framework", "f1", ["eng"], capabilities=["SHARED_RESOURCES"]),
        call("add_framework", "f2", ["eng/prod"], capabilities=["SHARED_RESOURCES"]),
        call("allocate"),
        call("allocate"),
        call("accept", "O1"),
        call("decline", "O2", refuse_seconds=None),
        call("release", "f1", "a1", "eng", [volume]),
        call("release", "f2", "a1", "eng/prod", [volume]),
    ]


CORNERS = [
    a_framework_moves_to_a_role_below,
    a_leaf_is_split_and_whole_again,
    an_offer_is_declined_after_its_role_was_left,
    a_role_is_left_while_something_is_held_in_it,
    inverse_filters_end_with_a_revival_by_update,
    an_update_that_revives_nothing_keeps_inverse_filters,
    inverse_answers_overlap,
    quotas_are_replaced_together,
    empty_quotas_hold_nothing_back,
    a_filter_is_gone_at_its_end_instant,
    an_agent_shrinks_below_what_is_in_use,
    shared_volumes_are_counted_once,
]


@pytest.mark.parametrize("corner", CORNERS, ids=lambda corner: corner.__name__)
def test_corner(corner) -> None:
    run(History({"seed": 7}, corner()), ("drf", "naive", "sorted"))
