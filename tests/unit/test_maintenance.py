"""Inverse offers: who is asked to leave which agent, and for how long an answer counts."""

import json
import math

import pytest

from allocator.contract import InverseOffer
from allocator.engine.maintenance import Maintenance
from allocator.errors import InvalidValue, OfferGone

HOLDERS = {"a1": ["spark", "flink"], "a2": ["spark"], "a3": ["flink"]}


def made(maintenance, now=0.0, agents=None, holders=HOLDERS):
    return [(o.agent, o.framework) for o in maintenance.due(agents, holders.__getitem__, now)]


def planned(*agents):
    maintenance = Maintenance()
    for agent in agents:
        maintenance.set(agent, 100.0, 10.0)
    return maintenance


def test_offers_go_to_all_holders_by_agent_and_framework():
    assert made(planned("a2", "a1")) == [("a1", "flink"), ("a1", "spark"), ("a2", "spark")]


def test_an_offer_says_when():
    maintenance = Maintenance()
    maintenance.set("a2", 100)
    assert maintenance.due(["a2"], HOLDERS.__getitem__, 0.0) == [
        InverseOffer("spark", "a2", 100.0, None)
    ]


def test_only_the_agents_of_the_cycle_with_an_unavailability_are_considered():
    maintenance = planned("a1", "a2")
    assert made(maintenance, agents=["a3", "a2"]) == [("a2", "spark")]
    assert made(maintenance, agents=[]) == []
    assert len(maintenance) == 2
    assert "a3" not in maintenance


def test_one_offer_is_outstanding_until_it_is_answered():
    maintenance = planned("a2")
    assert made(maintenance) == [("a2", "spark")]
    assert made(maintenance) == []
    maintenance.answer("spark", "a2", "ACCEPT", now=0.0)
    assert maintenance.statuses("a2") == {"spark": "ACCEPT"}
    assert made(maintenance) == [("a2", "spark")]


def test_a_rescinded_offer_leaves_the_status():
    maintenance = planned("a2")
    made(maintenance)
    maintenance.answer("spark", "a2", "DECLINE", now=0.0)
    made(maintenance)
    maintenance.answer("spark", "a2", None, now=0.0)
    assert maintenance.statuses("a2") == {"spark": "DECLINE"}
    assert made(maintenance) == [("a2", "spark")]


def test_an_answer_to_an_earlier_offer_changes_no_status():
    maintenance = planned("a2")
    maintenance.answer("spark", "a2", "ACCEPT", now=0.0)
    assert maintenance.statuses("a2") == {}


def test_a_filter_has_no_least_life_and_is_gone_at_its_end():
    maintenance = planned("a2")
    made(maintenance)
    maintenance.answer("spark", "a2", "DECLINE", now=1.0, refuse_seconds=0.25)
    assert maintenance.next_end(1.0) == 1.25
    assert made(maintenance, now=1.2499) == []
    assert made(maintenance, now=1.25) == [("a2", "spark")]
    assert maintenance.next_end(1.25) == math.inf


@pytest.mark.parametrize(
    ("refuse_seconds", "end"),
    [(0, 0.0), (-1.0, 5.0), (math.nan, 5.0), (1e12, 365 * 86400.0)],
)
def test_odd_times_count_as_for_offers(refuse_seconds, end):
    maintenance = planned("a2")
    maintenance.answer("spark", "a2", None, now=0.0, refuse_seconds=refuse_seconds)
    if end:
        assert made(maintenance, now=math.nextafter(end, 0)) == []
    assert made(maintenance, now=end) == [("a2", "spark")]


def test_the_last_refusal_to_end_counts():
    maintenance = planned("a2")
    maintenance.answer("spark", "a2", None, now=0.0, refuse_seconds=10.0)
    maintenance.answer("spark", "a2", None, now=1.0, refuse_seconds=2.0)
    assert made(maintenance, now=9.0) == []


def test_a_new_plan_makes_frameworks_think_again():
    maintenance = planned("a1")
    made(maintenance)
    maintenance.answer("spark", "a1", "DECLINE", now=0.0, refuse_seconds=1000.0)
    maintenance.set("a1", 200.0)
    assert maintenance.statuses("a1") == {}
    assert made(maintenance) == [("a1", "flink"), ("a1", "spark")]


def test_a_cleared_agent_has_no_inverse_offers():
    maintenance = planned("a2")
    made(maintenance)
    maintenance.clear("a2")
    maintenance.clear("a2")
    assert made(maintenance) == []
    assert maintenance.unavailability("a2") is None
    with pytest.raises(OfferGone, match="a2"):
        maintenance.answer("spark", "a2", "ACCEPT", now=0.0)


def test_filters_end_early_on_revival_and_new_attributes():
    maintenance = planned("a1", "a2")
    for framework, agent in [("spark", "a1"), ("flink", "a1"), ("spark", "a2")]:
        maintenance.answer(framework, agent, None, now=0.0, refuse_seconds=60.0)
    assert made(maintenance) == []
    maintenance.drop_filters("spark")
    assert made(maintenance) == [("a1", "spark"), ("a2", "spark")]
    maintenance.drop_agent_filters("a1")
    maintenance.drop_agent_filters("a3")
    assert made(maintenance) == [("a1", "flink")]


def test_a_removed_framework_is_forgotten():
    maintenance = planned("a1")
    made(maintenance)
    maintenance.answer("spark", "a1", "DECLINE", now=0.0, refuse_seconds=60.0)
    maintenance.forget("spark")
    assert maintenance.statuses("a1") == {}
    assert made(maintenance) == [("a1", "spark")]


@pytest.mark.parametrize("status", ["UNKNOWN", "accept", 1])
def test_unknown_answers_are_refused_and_change_nothing(status):
    maintenance = planned("a2")
    made(maintenance)
    with pytest.raises(InvalidValue, match=str(status)):
        maintenance.answer("spark", "a2", status, now=0.0, refuse_seconds=1.0)
    assert made(maintenance) == []
    assert maintenance.next_end(0.0) == math.inf


@pytest.mark.parametrize(
    ("start", "duration"),
    [
        *((start, None) for start in (math.nan, math.inf, "soon", True, 10**400)),
        *((0.0, duration) for duration in (-1.0, math.nan, "long")),
    ],
)
def test_times_that_cannot_be_are_refused_and_change_nothing(start, duration):
    maintenance = planned("a1")
    with pytest.raises(InvalidValue, match="unavailability"):
        maintenance.set("a1", start, duration)
    assert maintenance.unavailability("a1").start == 100.0


def test_json_keeps_the_remaining_time_of_filters():
    maintenance = planned("a1", "a2")
    made(maintenance)
    maintenance.answer("spark", "a1", "DECLINE", now=3.0, refuse_seconds=4.0)
    body = json.loads(json.dumps(maintenance.to_json(5.0)))
    assert body["a1"]["filters"] == {"spark": 2.0}
    restored = Maintenance.from_json(body, 1000.0)
    assert restored.to_json(1000.0) == body
    assert restored.statuses("a1") == {"spark": "DECLINE"}
    assert made(restored, now=1001.9) == []
    assert made(restored, now=1002.0) == [("a1", "spark")]


def test_a_copy_changes_on_its_own():
    maintenance = planned("a1")
    made(maintenance)
    twin = maintenance.copy()
    assert twin.to_json(0.0) == maintenance.to_json(0.0)
    twin.answer("spark", "a1", "ACCEPT", now=0.0, refuse_seconds=9.0)
    twin.clear("a1")
    assert made(maintenance) == []
    assert maintenance.statuses("a1") == {}
