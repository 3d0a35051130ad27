"""Scenarios: one file that says everything a run depends on."""

from allocator.sim.scenario.grammar import json_schema
from allocator.sim.scenario.problems import Problem, ScenarioError
from allocator.sim.scenario.scenario import SHIPPED, Scenario, is_file, shipped_text, template_text

__all__ = [
    "SHIPPED",
    "Problem",
    "Scenario",
    "ScenarioError",
    "is_file",
    "json_schema",
    "shipped_text",
    "template_text",
]
