"""What a scenario says, changed keys, its JSON Schema, and those that come with the package."""

from __future__ import annotations

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.cli.main import main
from allocator.resources import Quantities
from allocator.sim import Scenario, ScenarioError
from allocator.sim.scenario import SHIPPED, json_schema, shipped_text, template_text
from allocator.sim.setting import Behaviour, ClusterEvent, Policy, RolePolicy
from allocator.sorter import SORTERS

FULL = """\
title = "Everything"
seed = "s"
horizon = "7d"
[policy]
sorter = "naive"
framework_sorter = "random"
interval = "2s"
fairness_exclude = ["disk"]
saturation = 0.1
min_allocatable = ["cpus:0.01;mem:32", { gpus = 1 }]
offer_timeout = "5m"
[cluster]
machines = ["8x cpus:64;mem:488000", "4x cpus:64;mem:488000;gpus:8 @a100"]
scale = 0.5
[[cluster.event]]
at = "2h"
action = "drain"
machines = 2
kind = "a100"
for = "30m"
notice = "10m"
[[cluster.event]]
at = 0
action = "fail"
machines = ["node-0003", "a100-0000"]
[[cluster.event]]
at = "1d"
action = "return"
[roles.eng]
guarantee = "cpus:200"
[roles."eng/batch"]
weight = 2.0
guarantee = "cpus:100"
limit = { cpus = 400, gpus = 0 }
reserve = "2x cpus:4;mem:8192"
[workload]
load = 2
[[workload.tenant]]
name = "nightly"
role = "eng/batch"
rate = "20/h"
demand = "cpus:1"
duration = "1h"
[[workload.tenant]]
name = "queue/a"
jobs = 1
arrivals = "at-once"
demand = "cpus:1"
duration = "1h"
[[workload.tenant]]
name = "queue/b"
jobs = 1
rate = "1/s"
demand = "cpus:1"
duration = "1h"
[tenants."*"]
refuse = "0"
gang = false
[tenants."queue/*"]
behaviour = "hoard"
hold = "10s"
gang = true
[tenants."queue/?"]
backfill = "easy"
[tenants."queue/b"]
behaviour = "picky"
kinds = ["a100"]
claims = "mem:8192"
"""


@pytest.fixture
def full(tmp_path: Path) -> Scenario:
    (tmp_path / "full.toml").write_text(FULL)
    return Scenario.load(tmp_path / "full.toml")


def test_what_a_file_says(full: Scenario) -> None:
    setting = full.setting()
    assert (setting.title, setting.horizon_s) == ("Everything", 7 * 86400)
    assert setting.policy == Policy(
        seed="s",
        role_sorter="naive",
        framework_sorter="random",
        sorter_options={},
        interval_s=2.0,
        fairness_exclude=("disk",),
        min_allocatable=(Quantities("cpus:0.01;mem:32"), Quantities("gpus:1")),
        offer_timeout_s=300.0,
    )
    assert [machine.id for machine in setting.machines] == [
        *("node-0000", "node-0001", "node-0002", "node-0003"),
        *("a100-0000", "a100-0001"),
    ]
    assert setting.trace.cluster_source == "the scenario; scaled by 0.5"
    assert setting.events == (
        ClusterEvent(7200.0, "drain", 2, (), "a100", 1800.0, 600.0),
        ClusterEvent(0.0, "fail", None, ("node-0003", "a100-0000")),
        # All that are down.
        ClusterEvent(86400.0, "return", 6),
    )
    assert setting.roles == {
        "eng": RolePolicy(guarantee=Quantities("cpus:200")),
        "eng/batch": RolePolicy(
            2.0,
            Quantities("cpus:100"),
            {"cpus": 400_000, "gpus": 0},
            ((2, Quantities("cpus:4;mem:8192")),),
        ),
    }
    assert setting.asked["weights"] == {"eng/batch": 2.0}
    assert (setting.asked["gang"], setting.asked["refuse_seconds"]) == (False, 0.0)
    assert setting.asked["scenario"]["workload"]["tenant"][0]["name"] == "nightly"
    json.dumps(setting.asked, allow_nan=False)


def test_of_each_key_the_most_specific_pattern_counts(full: Scenario) -> None:
    assert full.setting().behaviours == {
        "nightly": Behaviour(refuse_s=0.0, gang=False),
        "queue/a": Behaviour("hoard", 10.0, refuse_s=0.0, gang=True, backfill="easy"),
        "queue/b": Behaviour(
            *("picky", 10.0, frozenset({"a100"}), 0.0, True),
            claims=Quantities("mem:8192"),
            backfill="easy",
        ),
    }
    # Of patterns as long as each other, the first in alphabetical order.
    tied = full.with_({"tenants.queue/*.backfill": "none"}).setting().behaviours
    assert tied["queue/a"].backfill == "none"


def test_an_option_that_a_sorter_does_not_take_says_nothing_to_it(full: Scenario) -> None:
    for sorter, kind in SORTERS.items():
        found = full.with_({"policy.sorter": sorter}).setting().policy
        expected = {"saturation": 0.1} if "saturation" in kind.options else {}
        assert found.sorter_options == expected


# Changed keys.


def test_with_makes_another_and_leaves_the_first(full: Scenario) -> None:
    before = copy.deepcopy(full.data)
    other = full.with_(
        {"roles.eng/batch.limit.cpus": 300, 'roles."eng/web".weight': 3},
        seed=4,
        horizon=None,
        **{"workload.tenant.nightly.jobs": 7, "workload.tenant[1].start": "1m"},
    )
    assert full.data == before
    setting = other.setting()
    assert (setting.policy.seed, setting.horizon_s) == (4, None)
    assert setting.roles["eng/batch"].limit == {"cpus": 300_000, "gpus": 0}
    assert setting.roles["eng/web"] == RolePolicy(3.0)
    counts = [
        sum(job.tenant == name for job in setting.trace.jobs) for name in ("nightly", "queue/a")
    ]
    assert counts == [7, 1]
    assert next(j for j in setting.trace.jobs if j.tenant == "queue/a").submit_s == 30.0
    assert full.setting() == Scenario.from_dict(before).setting()


def test_text_becomes_a_table_where_one_amount_is_set(full: Scenario) -> None:
    other = full.with_({"roles.eng.guarantee.mem": 5, "roles.eng.guarantee.cpus": 150.5})
    assert other.setting().roles["eng"].guarantee == Quantities("cpus:150.5;mem:5")


def test_what_was_changed_has_no_line(full: Scenario) -> None:
    with pytest.raises(ScenarioError) as caught:
        full.with_({"policy.interval": 0, "roles.eng.weight": -1, "tenants.x.gang": True})
    assert [(p.line, p.key) for p in caught.value.problems] == [
        (None, "policy.interval"),
        (None, "roles.eng.weight"),
        (None, "tenants.x"),
    ]
    # What is wrong elsewhere because of it keeps its line.
    with pytest.raises(ScenarioError) as caught:
        full.with_({"roles.eng.guarantee": "cpus:50"})
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (33, 'roles."eng/batch".guarantee')


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("policy.sorterr", "policy.sorterr: unknown key; expected sorter"),
        (
            "workload.tenant.weekly.jobs",
            "workload.tenant.weekly: nothing there; expected a position below 3, or a"
            " name: nightly, queue/a, queue/b",
        ),
        (
            "workload.tenant[3].jobs",
            "workload.tenant[3]: nothing there; expected a position below 3",
        ),
        ("title.x", "title.x: nothing there; expected a table"),
        ("policy[0]", "policy[0]: nothing there; expected a key of a table"),
        ("a..b", "'a..b' is not a key such as policy.sorter; expected a dotted key"),
    ],
)
def test_keys_that_cannot_be_set(full: Scenario, key: str, problem: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        full.with_({key: 3})
    assert problem in str(caught.value)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "seed": st.integers() | st.text("ab", min_size=1),
            "horizon": st.floats(1, 1e6),
            "policy.interval": st.floats(0.1, 100),
            "policy.sorter": st.sampled_from(list(SORTERS)),
            "roles.eng.weight": st.floats(1e-9, 1e9),
            "workload.tenant.nightly.jobs": st.integers(1, 5),
        },
    )
)
def test_changing_keys_is_writing_them_into_the_file(changes: dict[str, Any]) -> None:
    data = tomllib.loads(FULL)
    expected = copy.deepcopy(data)
    for key, value in changes.items():
        if key == "workload.tenant.nightly.jobs":
            expected["workload"]["tenant"][0]["jobs"] = value
            continue
        inside = expected
        *steps, last = key.split(".")
        for step in steps:
            inside = inside[step]
        inside[last] = value
    base = Scenario.from_dict(data)
    assert base.with_(changes).data == expected
    assert base.data == data
    # One by one or at once, in whatever order.
    for key, value in reversed(changes.items()):
        base = base.with_({key: value})
    assert base.data == expected


# What comes with the package.

RUNNABLE = [name for name in SHIPPED if name != "hdrf" or "hdrf" in SORTERS]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_scenarios_are_fit_and_satisfy_the_schema(name: str) -> None:
    if name not in RUNNABLE:
        pytest.skip("its sorter is not there")
    assert Scenario.load(name).title
    jsonschema.validate(tomllib.loads(shipped_text(name)), SCHEMA)


SCHEMA = json_schema()


def test_the_schema_is_one_and_refuses_what_it_does_not_know() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for text in (FULL, template_text()):
        jsonschema.validate(tomllib.loads(text), SCHEMA)
    valid = tomllib.loads(FULL)
    for wrong in (
        {**valid, "polcy": {}},
        {**valid, "policy": {"sorterr": "drf"}},
        {**valid, "policy": {"sorter": "dfr"}},
        {**valid, "roles": {"eng": {"weight": -1}}},
        {**valid, "horizon": "1h 30m"},
        {"cluster": valid["cluster"]},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, SCHEMA)


# The command.


def run(*args: object) -> int:
    return main(["scenario", *map(str, args)])


def test_init_writes_what_check_accepts_and_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("init") == 0
    assert capsys.readouterr().out == template_text()
    assert run("init", "scenario.toml") == 0
    assert run("init", "other.toml") == 0
    assert run("check", "scenario.toml", "other.toml") == 0
    assert capsys.readouterr().out.endswith("scenario.toml: ok\nother.toml: ok\n")
    Path("other.toml").write_text("mine")
    assert run("init", "other.toml") == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors == "allocator scenario: other.toml: is there already (--force overwrites it)\n"
    assert Path("other.toml").read_text() == "mine"
    assert run("init", "--force", "other.toml") == 0
    assert Path("other.toml").read_text("utf-8") == template_text()
    assert run("init", "no/such/folder.toml") == 2


def test_check_tells_all_problems_of_all_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.toml").write_text(FULL)
    (tmp_path / "bad.toml").write_text(FULL.replace("seed", "sede").replace('"2s"', '"x"'))
    files = [tmp_path / "good.toml", tmp_path / "bad.toml", tmp_path / "none.toml"]
    assert run("check", *files) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    first, second, third, last = errors.splitlines()
    assert first == f"{files[1]}:2: sede: unknown key; expected seed"
    assert second.startswith(f"{files[1]}:7: policy.interval: 'x'; expected a number of seconds")
    assert third.startswith(f"{files[2]}: no such file; expected a file, or one of starvation")
    assert last == "3 problems"


def test_schema_list_and_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("schema") == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
    assert run("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(SHIPPED)
    assert "A million tasks on ten thousand machines" in lines[-1]
    assert run("show", "quota") == 0
    assert capsys.readouterr().out == shipped_text("quota")
    assert run("show", "quotas") == 2
    assert "no scenario 'quotas' is shipped: starvation, quota" in capsys.readouterr().err


def test_a_file_comes_before_a_shipped_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Scenario.load("quota").title == "Production is guaranteed what research would take"
    Path("quota").mkdir()
    assert Scenario.load("quota").file == "quota.toml"
    Path("quota").rmdir()
    Path("quota").write_text(FULL)
    assert Scenario.load("quota").title == "Everything"
