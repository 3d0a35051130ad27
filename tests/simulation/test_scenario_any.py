"""Whatever a scenario says, it is refused in words, or it fits its schema, an engine and itself."""

from __future__ import annotations

import copy
import json
import math
import tomllib
from collections.abc import Callable
from typing import Any

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from allocator import Allocator, ManualClock
from allocator.errors import QuotaError
from allocator.sim import Scenario, ScenarioError
from allocator.sim.scenario import SHIPPED, json_schema, shipped_text, template_text
from allocator.sorter import SORTERS
from tests.simulation.test_scenario import FULL

VALIDATOR = jsonschema.Draft202012Validator(json_schema())
TEXTS = [FULL, template_text(), *(shipped_text(name) for name in SHIPPED if name != "million")]
SCENARIOS = [tomllib.loads(text) for text in TEXTS]

#: Drawing more jobs takes its time.
MANY = 50_000

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([10**30, -(10**400), math.inf, math.nan, 1e300, 5e-324])
    | st.sampled_from(["", "cpus:1", "1h", "1h30m", "20/h", "1..8", "*", "a/b", "-", "big", "\0"])
    | st.sampled_from(["uniform 1m..2m", "exponential 1h", "lognormal 1h 2", "2x cpus:1", "drf"])
    | st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)


def containers(value: Any) -> list[Any]:
    """Return all tables and lists in a value, itself included."""
    inside = value.values() if isinstance(value, dict) else value
    found = [value]
    for one in inside:
        if isinstance(one, (dict, list)):
            found += containers(one)
    return found


@st.composite
def altered(draw: st.DrawFn) -> Any:
    """Return a scenario with a few values replaced, added or left out."""
    data = copy.deepcopy(draw(st.sampled_from(SCENARIOS)))
    for _ in range(draw(st.integers(1, 3))):
        inside = draw(st.sampled_from(containers(data)))
        if isinstance(inside, list):
            inside.append(draw(VALUES))
            continue
        key = draw(
            st.sampled_from([*inside, *draw(st.lists(st.text(max_size=4), max_size=1))] or ["x"])
        )
        if draw(st.integers(0, 3)):
            inside[key] = draw(VALUES)
        else:
            inside.pop(key, None)
    return data


def read(load: Callable[[], Scenario]) -> Scenario | ScenarioError:
    """Return what is read, or why it is not."""
    try:
        return load()
    except ScenarioError as error:
        return error


@given(altered())
def test_what_is_accepted_fits_the_schema_and_can_be_drawn(data: Any) -> None:
    scenario = read(lambda: Scenario.from_dict(data))
    if isinstance(scenario, ScenarioError):
        assert scenario.problems
        assert all(problem.found and problem.expected for problem in scenario.problems)
        assert all(line and "\n" not in line for line in scenario.lines)
        return
    VALIDATOR.validate(data)
    if sum(tenant.get("jobs", 0) for tenant in data["workload"].get("tenant", [])) > MANY:
        return
    setting = scenario.setting()
    json.dumps(setting.asked, allow_nan=False)
    times = [job.submit_s for job in setting.trace.jobs]
    assert times == sorted(times)
    assert all(job.run_s > 0 for job in setting.trace.jobs)


@given(st.sampled_from(TEXTS), st.data())
def test_damaged_text_is_refused_or_read(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        to = data.draw(st.integers(at, min(len(text), at + 5)))
        put = data.draw(
            st.sampled_from(["", *"[]{}=.\"'#,\n\t\0", "[[", "]]", '"""', "x", "1", "é"])
        )
        text = text[:at] + put + text[to:]
    n_lines = text.count("\n") + 1
    found = read(lambda: Scenario.from_text(text, file="f"))
    if isinstance(found, ScenarioError):
        assert all(p.line is None or 1 <= p.line <= n_lines for p in found.problems)


PATHS = ["a", "a/b", "a/b/c", "a/d", "e", "e/f"]
AMOUNTS = st.dictionaries(st.sampled_from(["cpus", "mem"]), st.integers(0, 6), max_size=2)


@given(
    st.dictionaries(
        st.sampled_from(PATHS),
        st.fixed_dictionaries({}, optional={"guarantee": AMOUNTS, "limit": AMOUNTS}),
    )
)
def test_quotas_are_accepted_as_by_an_engine(roles: dict[str, Any]) -> None:
    """On a cluster that has enough of everything, what fits together is for both the same."""
    data = {"cluster": {"machines": "100x cpus:8;mem:8"}, "workload": WORK, "roles": roles}
    engine = Allocator(seed=1, clock=ManualClock())
    quotas = {
        role: {name: quota for name, quota in table.items() if name in ("guarantee", "limit")}
        for role, table in roles.items()
    }
    try:
        engine.set_quotas(quotas)
        fits = True
    except QuotaError:
        fits = False
    found = read(lambda: Scenario.from_dict(data))
    assert isinstance(found, Scenario) == fits


WORK = {"tenant": [{"name": "t", "jobs": 1, "rate": "1/s", "demand": "cpus:1", "duration": 1}]}


def test_all_sorters_are_named_in_the_schema() -> None:
    assert VALIDATOR.schema["properties"]["policy"]["properties"]["sorter"]["enum"] == list(SORTERS)
