"""Who may get what: capabilities and offer constraints (contract §5, §6.5)."""

import pytest

from allocator import ConstraintError
from tests.contract import amounts, reserved, served

REFINED = [{"type": "STATIC", "role": "eng"}, {"type": "DYNAMIC", "role": "eng/prod"}]


class TestGPUs:
    """Mesos: AllocateWithGPUs."""

    def test_an_agent_with_gpus_is_for_who_knows_them(self, engine):
        engine.add_framework("f1")
        engine.add_framework("f2", capabilities=["GPU_RESOURCES"])
        engine.add_agent("a1", "cpus:4;gpus:1")
        assert amounts(engine.allocate()) == [("f2", "cpus:4;gpus:1")]

    def test_and_an_agent_without_for_all(self, engine):
        engine.add_framework("f1", capabilities=["GPU_RESOURCES"])
        engine.add_framework("f2")
        for n in range(2):
            engine.add_agent(f"a{n}", "cpus:4")
        assert served(engine.allocate()) == ["f1", "f2"]

    def test_also_when_all_gpus_are_in_use(self, engine):
        engine.add_framework("f1")
        engine.add_framework("f2", capabilities=["GPU_RESOURCES"], suppressed=["*"])
        engine.add_agent("a1", "cpus:4;gpus:1", used={"f2": {"*": "gpus:1"}})
        assert len(engine.allocate()) == 0

    def test_the_filter_may_be_off(self, make):
        engine = make(filter_gpus=False)
        engine.add_framework("f1")
        engine.add_agent("a1", "cpus:4;gpus:1")
        assert amounts(engine.allocate()) == [("f1", "cpus:4;gpus:1")]

    def test_a_framework_may_learn_and_an_agent_may_change(self, engine):
        engine.add_framework("f1")
        engine.add_agent("a1", "cpus:4;gpus:1")
        engine.add_agent("a2", "cpus:4;gpus:1")
        assert len(engine.allocate()) == 0
        engine.update_agent("a2", resources="cpus:4")
        assert [o.agent for o in engine.allocate()] == ["a2"]
        engine.update_framework("f1", capabilities=["GPU_RESOURCES"])
        assert [o.agent for o in engine.allocate()] == ["a1"]


class TestRegion:
    """Mesos: domain-aware frameworks."""

    @pytest.mark.parametrize(
        ("own", "agents", "aware", "offered"),
        [
            ("eu", "eu", False, True),
            ("eu", "us", False, False),
            ("eu", "us", True, True),
            ("eu", None, False, True),
            (None, "us", False, True),
            (None, None, False, True),
        ],
    )
    def test_agents_of_another_region(self, make, own, agents, aware, offered):
        engine = make(region=own)
        engine.add_framework("f1", capabilities=["REGION_AWARE"] if aware else [])
        engine.add_agent("a1", "cpus:1", region=agents, zone="z1")
        assert bool(engine.allocate()) is offered

    def test_zones_do_not_matter(self, make):
        engine = make(region="eu")
        engine.add_framework("f1")
        engine.add_agent("a1", "cpus:1", region="eu", zone="z1")
        engine.add_agent("a2", "cpus:1", region="eu", zone="z2")
        assert len(engine.allocate()) == 2


class TestAgentCapabilities:
    def test_hierarchical_role(self, engine):
        engine.add_framework("f1", ["eng/prod"])
        engine.add_framework("f2", ["ops"])
        engine.add_agent("a1", "cpus:1", capabilities=["MULTI_ROLE"])
        assert served(engine.allocate()) == ["f2"]

    def test_multi_role(self, engine):
        """Frameworks with the capability need agents that have it too."""
        engine.add_framework("f1", ["a"], capabilities=["MULTI_ROLE"])
        engine.add_framework("f2", ["b"])
        engine.add_agent("a1", "cpus:1", capabilities=["HIERARCHICAL_ROLE"])
        assert served(engine.allocate()) == ["f2"]

    def test_a_framework_with_several_roles_needs_none(self, engine):
        engine.add_framework("f1", ["a", "b"])
        engine.add_agent("a1", "cpus:1", capabilities=[])
        assert served(engine.allocate()) == ["f1"]

    def test_agents_have_them_by_default(self, engine):
        engine.add_framework(
            "f1", ["eng/prod"], capabilities=["MULTI_ROLE", "RESERVATION_REFINEMENT"]
        )
        engine.add_agent("a1", reserved(REFINED, "cpus:1"))
        assert served(engine.allocate()) == ["f1"]

    def test_an_agent_may_learn(self, engine):
        engine.add_framework("f1", ["eng/prod"])
        engine.add_agent("a1", "cpus:1", capabilities=[])
        assert len(engine.allocate()) == 0
        engine.update_agent("a1", capabilities=["HIERARCHICAL_ROLE"])
        assert served(engine.allocate()) == ["f1"]

    def test_partition_awareness_changes_nothing_here(self, engine):
        engine.add_framework("f1", capabilities=["PARTITION_AWARE"])
        engine.add_agent("a1", "cpus:1")
        assert served(engine.allocate()) == ["f1"]


def constraint(predicate, operand=None, **selector):
    field = "regex" if "matches" in predicate else "value"
    body = {} if operand is None else {field: operand}
    return {"selector": selector or {"attribute_name": "rack"}, "predicate": {predicate: body}}


def groups(*lists):
    return {"groups": [{"attribute_constraints": list(items)} for items in lists]}


class TestConstraints:
    @pytest.fixture
    def engine(self, engine):
        """Agents by the value of their attribute rack."""
        engine.add_agent("r1", "cpus:1", attributes={"rack": "r1"}, hostname="h1")
        engine.add_agent("r2", "cpus:1", attributes={"rack": "r2"}, hostname="h2")
        engine.add_agent("number", "cpus:1", attributes={"rack": 7})
        engine.add_agent("none", "cpus:1", attributes={"os": "linux"}, region="eu", zone="z1")
        return engine

    def agents(self, engine, role_constraints):
        engine.add_framework("f1", ["eng"], constraints={"eng": role_constraints})
        return {offer.agent for offer in engine.allocate()}

    @pytest.mark.parametrize(
        ("predicate", "operand", "expected"),
        [
            ("exists", None, {"r1", "r2", "number"}),
            ("not_exists", None, {"none"}),
            # Attributes that are not text pass text predicates.
            ("text_equals", "r1", {"r1", "number"}),
            ("text_not_equals", "r1", {"r2", "number", "none"}),
            ("text_matches", "r[1-9]", {"r1", "r2", "number"}),
            ("text_matches", "r", {"number"}),  # all of the text
            ("text_not_matches", "r1|x", {"r2", "number", "none"}),
        ],
    )
    def test_predicates(self, engine, predicate, operand, expected):
        assert self.agents(engine, groups([constraint(predicate, operand)])) == expected

    @pytest.mark.parametrize(
        ("kind", "value", "expected"),
        [("HOSTNAME", "h2", {"r2"}), ("REGION", "eu", {"none"}), ("ZONE", "z1", {"none"})],
    )
    def test_pseudoattributes(self, engine, kind, value, expected):
        where = constraint("text_equals", value, pseudoattribute_type=kind)
        assert self.agents(engine, groups([where])) == expected

    def test_all_of_one_group_or_all_of_another(self, engine):
        first = [constraint("exists"), constraint("text_not_equals", "r1")]
        second = [constraint("text_equals", "linux", attribute_name="os")]
        assert self.agents(engine, groups(first, second)) == {"r2", "number", "none"}

    def test_each_role_has_its_own(self, engine):
        only = groups([constraint("text_equals", "r1")])
        engine.add_framework("f1", ["a", "b"], constraints={"a": only})
        got = {(offer.role, offer.agent) for offer in engine.allocate()}
        assert {role for role, agent in got if agent in ("r2", "none")} == {"b"}
        assert len(got) == 4

    def test_the_outer_object_of_v1_json(self, engine):
        only = groups([constraint("text_equals", "r1")])
        engine.add_framework("f1", ["eng"], constraints={"role_constraints": {"eng": only}})
        assert {offer.agent for offer in engine.allocate()} == {"r1", "number"}

    def test_attributes_as_v1_json(self, engine):
        engine.add_agent(
            "v1",
            "cpus:1",
            attributes=[{"name": "zoo", "type": "TEXT", "text": {"value": "lion"}}],
        )
        lion = constraint("text_equals", "lion", attribute_name="zoo")
        assert self.agents(engine, groups([lion])) == {"v1"}

    def test_they_may_change(self, engine):
        only = {"eng": groups([constraint("text_equals", "nowhere")])}
        engine.update_agent("number", attributes={})
        engine.add_framework("f1", ["eng"], constraints=only)
        assert len(engine.allocate()) == 0
        engine.update_framework("f1", roles=["eng"])
        assert len(engine.allocate()) == 0
        engine.update_agent("r2", attributes={"rack": "nowhere"})
        assert [o.agent for o in engine.allocate()] == ["r2"]
        engine.update_framework("f1", constraints=None)
        assert {o.agent for o in engine.allocate()} == {"r1", "number", "none"}

    def test_one_that_is_constrained_away_does_not_end_the_loop(self, engine):
        engine.add_framework(
            "a", ["eng"], constraints={"eng": groups([constraint("text_equals", "nowhere")])}
        )
        engine.add_framework("b", ["eng"])
        engine.deactivate_agent("number")
        assert set(served(engine.allocate())) == {"b"}

    @pytest.mark.parametrize(
        "bad",
        [
            {"groups": []},
            {"groups": [{"attribute_constraints": []}]},
            groups([{"predicate": {"exists": {}}}]),
            groups([{"selector": {"attribute_name": "rack"}}]),
            groups([constraint("is_nice")]),
            groups([constraint("text_equals")]),
            groups([constraint("text_matches", "(")]),
            groups([constraint("text_matches", r"(a)\1")]),  # RE2 has no back references
            groups([constraint("exists", pseudoattribute_type="MOOD")]),
            "rack == r1",
        ],
    )
    def test_malformed_ones_are_refused(self, engine, bad):
        before = engine.snapshot()
        with pytest.raises(ConstraintError):
            engine.add_framework("f1", ["eng"], constraints={"eng": bad})
        assert engine.snapshot() == before
