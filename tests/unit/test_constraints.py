"""Offer constraints: reading them, and which agents they admit."""

import copy
import pickle
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.engine.constraints import (
    MAX_REGEX_PROGRAM_SIZE,
    AttributeConstraint,
    RoleConstraints,
    constraints_to_json,
    read_constraints,
)
from allocator.errors import ConstraintError, InvalidRole


def agent(hostname="node-7", region=None, zone=None, **attributes):
    return SimpleNamespace(hostname=hostname, region=region, zone=zone, attributes=attributes)


def constraint(predicate, operand=None, **selector):
    field = {"text_equals": "value", "text_not_equals": "value"}.get(predicate, "regex")
    body = {} if operand is None else {field: operand}
    return {"selector": selector or {"attribute_name": "rack"}, "predicate": {predicate: body}}


def groups(*lists):
    return {"groups": [{"attribute_constraints": list(items)} for items in lists]}


def admits(at, *lists):
    return read_constraints({"eng": groups(*lists)})["eng"].admits(at)


# What each predicate says of: no such attribute, the text "r1", another text, something not text.
@pytest.mark.parametrize(
    ("predicate", "operand", "absent", "same", "other", "not_text"),
    [
        ("exists", None, False, True, True, True),
        ("not_exists", None, True, False, False, False),
        ("text_equals", "r1", False, True, False, True),
        ("text_not_equals", "r1", True, False, True, True),
        ("text_matches", "r[1]", False, True, False, True),
        ("text_not_matches", "r[1]", True, False, True, True),
    ],
)
def test_predicates(predicate, operand, absent, same, other, not_text):
    wanted = [constraint(predicate, operand)]
    assert admits(agent(), wanted) is absent
    assert admits(agent(rack="r1"), wanted) is same
    assert admits(agent(rack="r12"), wanted) is other
    for value in (4.0, {"item": ["r1"]}, {"range": []}, None):
        assert admits(agent(rack=value), wanted) is not_text


@pytest.mark.parametrize("pseudo", ["HOSTNAME", "REGION", "ZONE"])
def test_pseudoattributes(pseudo):
    wanted = [constraint("text_equals", "x", pseudoattribute_type=pseudo)]
    assert admits(agent(**{pseudo.lower(): "x"}), wanted)
    assert not admits(agent(**{pseudo.lower(): "y"}), wanted)
    # An attribute of that name is something else.
    assert not admits(agent(**{pseudo: "x"}), wanted)


@pytest.mark.parametrize("pseudo", ["REGION", "ZONE"])
def test_an_agent_without_fault_domain_has_no_region_and_zone(pseudo):
    assert admits(agent(), [constraint("not_exists", pseudoattribute_type=pseudo)])
    assert admits(agent(), [constraint("text_not_equals", "x", pseudoattribute_type=pseudo)])
    assert not admits(agent(), [constraint("exists", pseudoattribute_type=pseudo)])
    assert not admits(agent(), [constraint("text_matches", ".*", pseudoattribute_type=pseudo)])


def test_constraints_of_a_group_must_all_hold_and_one_group_must():
    rack = constraint("text_equals", "r1")
    fast = constraint("exists", attribute_name="ssd")
    gone = constraint("not_exists", attribute_name="rack")
    assert admits(agent(rack="r1", ssd="y"), [rack, fast])
    assert not admits(agent(rack="r1"), [rack, fast])
    assert admits(agent(), [rack, fast], [gone])
    assert not admits(agent(rack="r1"), [rack, fast], [gone])


def test_a_regex_matches_the_whole_text():
    wanted = [constraint("text_matches", "node-[0-9]", pseudoattribute_type="HOSTNAME")]
    assert admits(agent("node-7"), wanted)
    assert not admits(agent("node-77"), wanted)
    assert not admits(agent("a-node-7"), wanted)
    assert not admits(agent("node-7\n"), wanted)


def test_a_text_that_is_no_unicode_can_be_judged():
    assert not admits(agent(rack="\ud800"), [constraint("text_matches", "r1")])
    assert admits(agent(rack="é"), [constraint("text_matches", ".")])


def test_matching_takes_linear_time():
    # Backtracking would take 2^40 steps here.
    assert not admits(agent(rack="a" * 40 + "b"), [constraint("text_matches", "(a*)*(a|a)*")])


@pytest.mark.parametrize("regex", ["(", "(?=a)", r"(a)\1", "a{1001}", "[z-a]", "\ud800"])
def test_a_regex_that_re2_cannot_read_is_refused(regex, capfd):
    with pytest.raises(ConstraintError) as refusal:
        admits(agent(), [constraint("text_matches", regex)])
    assert repr(regex) in str(refusal.value)
    assert "'eng'" in str(refusal.value)
    assert capfd.readouterr() == ("", "")


def test_a_regex_too_complex_is_refused():
    assert admits(agent(rack="a" * 90), [constraint("text_matches", "a{90}")])
    with pytest.raises(ConstraintError, match=f"'a[{{]99[}}]'.* exceeds {MAX_REGEX_PROGRAM_SIZE}"):
        admits(agent(), [constraint("text_not_matches", "a{99}")])
    with pytest.raises(ConstraintError, match="too large"):
        admits(agent(), [constraint("text_matches", r"[\pL]+[\pN]+")])


def test_without_re2_only_regexes_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "re2", None)
    assert admits(agent(rack="r1"), [constraint("text_equals", "r1")])
    with pytest.raises(ConstraintError, match=r"'r1' needs .*drf-allocator\[constraints\]"):
        admits(agent(), [constraint("text_matches", "r1")])


ROLE = groups([constraint("exists")])
GROUP = ROLE["groups"][0]


def test_roles_stand_alone_or_in_role_constraints():
    assert read_constraints({"role_constraints": {"eng": ROLE}}) == read_constraints({"eng": ROLE})
    for nothing in (None, {}, {"role_constraints": {}}, {"role_constraints": None}):
        assert read_constraints(nothing) == {}


def test_a_bad_role_is_refused():
    with pytest.raises(InvalidRole, match="eng//prod"):
        read_constraints({"eng//prod": ROLE})


@pytest.mark.parametrize(
    "malformed",
    [
        [],
        "eng",
        {"eng": None},
        {"eng": []},
        {"eng": {}},
        {"eng": {"groups": []}},
        {"eng": {"groups": GROUP}},
        {"eng": {"groups": [GROUP, {}]}},
        {"eng": {"groups": [GROUP, {"attribute_constraints": []}]}},
        {"eng": {"groups": [GROUP, {"attribute_constraints": "exists"}]}},
        {"eng": {"groups": [[]]}},
        {"eng": {"groups": [GROUP], "limits": 1}},
        {"role_constraints": [ROLE]},
        {"role_constraints": {"eng": ROLE}, "eng": ROLE},
    ],
)
def test_malformed_constraints_are_refused(malformed):
    with pytest.raises(ConstraintError):
        read_constraints(malformed)


@pytest.mark.parametrize(
    ("selector", "named"),
    [
        (None, "selector"),
        ({}, "selector"),
        ({"attribute_name": None}, "selector"),
        ({"attribute_name": ""}, "''"),
        ({"attribute_name": 3}, "3"),
        ({"pseudoattribute_type": "UNKNOWN"}, "UNKNOWN"),
        ({"pseudoattribute_type": "hostname"}, "hostname"),
        ({"pseudoattribute_type": 1}, "1"),
        ({"tag": "x"}, "tag"),
        ({"attribute_name": "x", "pseudoattribute_type": "ZONE"}, "exactly one"),
    ],
)
def test_unknown_selectors_are_refused(selector, named):
    item = {"selector": selector, "predicate": {"exists": {}}}
    with pytest.raises(ConstraintError, match=named):
        read_constraints({"eng": groups([item])})


@pytest.mark.parametrize(
    ("predicate", "named"),
    [
        (None, "predicate"),
        ({}, "exactly one"),
        ({"exists": None}, "exactly one"),
        ({"exists": {}, "not_exists": {}}, "exactly one"),
        ({"text_contains": {"value": "x"}}, "text_contains"),
        ({"exists": {"value": "x"}}, "value"),
        ({"exists": True}, "True"),
        ({"text_equals": {}}, "value"),
        ({"text_equals": "x"}, "x"),
        ({"text_equals": {"value": 3}}, "3"),
        ({"text_equals": {"regex": "x"}}, "regex"),
        ({"text_matches": {"value": "x"}}, "value"),
        ({"text_matches": {"regex": None}}, "regex"),
    ],
)
def test_unknown_predicates_are_refused(predicate, named):
    item = {"selector": {"attribute_name": "rack"}, "predicate": predicate}
    with pytest.raises(ConstraintError, match=named):
        read_constraints({"eng": groups([item])})


@pytest.mark.parametrize(
    "parts", [("rack", "near"), ("rack", "text_equals"), ("rack", "exists", "x")]
)
def test_constraints_made_directly_are_checked_too(parts):
    with pytest.raises(ConstraintError):
        AttributeConstraint(*parts)


def test_an_unset_alternative_is_no_second_one():
    selector = {"attribute_name": "rack", "pseudoattribute_type": None}
    item = {"selector": selector, "predicate": {"exists": {}, "text_equals": None}}
    assert read_constraints({"eng": groups([item])}) == read_constraints({"eng": ROLE})


texts = st.text("ab.é", max_size=3)
selectors = st.one_of(
    st.builds(lambda name: {"attribute_name": name}, st.sampled_from(["a", "b", "ZONE"])),
    st.sampled_from(["HOSTNAME", "REGION", "ZONE"]).map(lambda t: {"pseudoattribute_type": t}),
)
predicates = st.one_of(
    st.sampled_from(["exists", "not_exists"]).map(lambda kind: {kind: {}}),
    st.builds(
        lambda kind, text: {kind: {"value": text}},
        st.sampled_from(["text_equals", "text_not_equals"]),
        texts,
    ),
    st.builds(
        lambda kind, text: {kind: {"regex": text}},
        st.sampled_from(["text_matches", "text_not_matches"]),
        texts,
    ),
)
items = st.builds(lambda s, p: {"selector": s, "predicate": p}, selectors, predicates)
role_constraints = st.lists(st.lists(items, min_size=1, max_size=3), min_size=1, max_size=3).map(
    lambda lists: groups(*lists)
)
agents = st.builds(
    agent,
    texts,
    region=st.none() | texts,
    zone=st.none() | texts,
    a=texts | st.integers(),
)


@given(st.dictionaries(st.sampled_from(["eng", "eng/prod", "*"]), role_constraints))
def test_json_round_trip(by_role):
    read = read_constraints(by_role)
    assert constraints_to_json(read) == {"role_constraints": by_role}
    assert read_constraints(constraints_to_json(read)) == read


@given(role_constraints, agents)
def test_copies_admit_the_same(body, at):
    constraints = RoleConstraints.from_json(body)
    for twin in (copy.deepcopy(constraints), pickle.loads(pickle.dumps(constraints))):
        assert twin == constraints
        assert hash(twin) == hash(constraints)
        assert twin.admits(at) is constraints.admits(at)


@given(items, agents)
def test_a_negated_predicate_says_the_opposite_of_texts_and_absent_attributes(item, at):
    [(kind, details)] = item["predicate"].items()
    twin_kind = (
        kind.replace("not_", "")
        if "not_" in kind
        else {"exists": "not_exists"}.get(kind, kind.replace("text_", "text_not_"))
    )
    holds = AttributeConstraint.from_json(item).holds(at)
    twin = AttributeConstraint.from_json({**item, "predicate": {twin_kind: details}}).holds(at)
    name = item["selector"].get("attribute_name")
    if "text" in kind and isinstance(at.attributes.get(name), int):
        assert holds is twin is True
    else:
        assert holds is not twin
