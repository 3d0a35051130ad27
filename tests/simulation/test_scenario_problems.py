"""What is wrong with a scenario: all of it at once, each with its place and what is expected."""

from __future__ import annotations

import gzip
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from allocator.errors import InvalidValue
from allocator.sim import Problem, Scenario, ScenarioError
from allocator.sim.scenario.problems import nearest

TENANT: dict[str, Any] = {
    "name": "a",
    "jobs": 3,
    "rate": "6/m",
    "demand": "cpus:1",
    "duration": "1m",
}
SCENARIO: dict[str, Any] = {
    "cluster": {"machines": ["4x cpus:8;mem:1000 @big", "2x cpus:4;mem:1000"]},
    "workload": {"tenant": [TENANT]},
}

MANY = """\
title = "Much is wrong"
sede = 7
[policy]
sorter = "drff"
intervall = "1s"
interval = "1h 30m"
[cluster]
machines = ["4x cpus:8;mem:1000 @big",
  "2x cpus:4;mem:1000"]
[[cluster.event]]
at = "2h"
action = "fail"
machines = 5
kind = "bigg"
[[cluster.event]]
at = true
action = "fail"
machines = ["big-0003",
            "big-0004"]
[roles."eng/batch"]
weight = -2.0
guarantee = "cpus:41"
[roles.eng]
guarantee = { cpus = 40 }
[roles.ops]
guarantee = { mem = 7000.5 }
[[workload.tenant]]
name = "a"
rate = "20/h"
demand = "cpus:1"
duration = "1m"
[[workload.tenant]]
name = "nightly"
role = "eng/batch"
jobs = 10
rate = "20/h"
tasks = "1..8"
demand = ["cpus:1;mem:10",
          "cpus:9;mem:1"]
duration = "exponential 10m"
[tenants.nightlyy]
behaviour = "greedy"
"""

EXPECTED = [
    (2, "sede", "unknown key", "seed"),
    (4, "policy.sorter", "'drff'", "one of drf"),
    (5, "policy.intervall", "unknown key", "interval"),
    (6, "policy.interval", "'1h 30m'", "a number of seconds, or text such as 90s"),
    (14, "cluster.event[0].kind", "'bigg'", "big"),
    (16, "cluster.event[1].at", "True", "a number of seconds"),
    (19, "cluster.event[1].machines[1]", "'big-0004'", "the id of a machine: big-000"),
    (21, 'roles."eng/batch".weight', "-2.0", "a number from 1e-09 to 1e+09"),
    (22, 'roles."eng/batch".guarantee', "cpus:41", "at most cpus:40, the guarantee of eng"),
    (26, "roles.ops.guarantee.mem", "mem:7000.5", "at most mem:6000, which the cluster has"),
    # Without a number of jobs and a horizon, the jobs of `a` would never end.
    (27, "workload.tenant[0].jobs", "nothing", "a number of jobs, or a horizon"),
    (39, "workload.tenant[1].demand[1]", "cpus:9;mem:1", "no more than one machine has: cpus:8"),
    (41, "tenants.nightlyy", "matches no tenant", "nightly"),
]


def problems_of(data: dict[str, Any]) -> list[Problem]:
    with pytest.raises(ScenarioError) as caught:
        Scenario.from_dict(data)
    return list(caught.value.problems)


def only(data: dict[str, Any]) -> tuple[str, str, str]:
    """Return key, found and expected of the one problem of a scenario."""
    (problem,) = problems_of(data)
    assert (problem.file, problem.line) == ("scenario", None)
    assert str(problem) == f"scenario: {problem.key}: {problem.found}; expected {problem.expected}"
    return problem.key, problem.found, problem.expected


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the scenario with a key set, tables made on the way to it."""
    data: dict[str, Any] = json.loads(json.dumps(SCENARIO))
    inside: Any = data
    *steps, last = path.split(".")
    for step in steps:
        inside = inside[int(step)] if step.isdigit() else inside.setdefault(step, {})
    inside[last] = value
    return data


def test_all_problems_at_once_each_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "much.toml"
    path.write_text(MANY)
    with pytest.raises(ScenarioError) as caught:
        Scenario.load(path)
    error = caught.value
    assert isinstance(error, InvalidValue)
    found = [(p.line, p.key, p.found) for p in error.problems]
    assert found == [case[:3] for case in EXPECTED]
    for problem, case in zip(error.problems, EXPECTED, strict=True):
        assert problem.file == str(path)
        assert case[3] in problem.expected
    lines = str(error).splitlines()
    assert lines[0] == f"{path}:2: sede: unknown key; expected seed"
    assert lines[-1] == "13 problems"


def test_what_is_unfit_hides_nothing_else_of_its_tenant() -> None:
    data = changed("tenants.a.gang", False)
    data["tenants"]["b*"] = {"claims": "cpus:9"}
    data["workload"]["tenant"] = [
        {**TENANT, "jobs": "many", "demand": ["cpus:1", "cpus:9"]},
        {**TENANT, "arrivals": "at-once", "duration": "soon"},
        {**TENANT, "name": "b", "role": "b//c", "demand": "gpus:1"},
        {"name": "c d"},
    ]
    found = {problem.key: problem.expected for problem in problems_of(data)}
    at = "workload.tenant"
    assert {key for key in found if key.startswith(at)} == {
        f"{at}[0].jobs",
        f"{at}[0].demand[1]",
        f"{at}[1].name",
        f"{at}[1].rate",
        f"{at}[1].duration",
        f"{at}[2].role",
        f"{at}[2].demand",
        *(f"{at}[3].{key}" for key in ("name", "rate", "jobs", "demand", "duration")),
    }
    assert [key for key in found if not key.startswith(at)] == ['tenants."b*".claims']


@pytest.mark.parametrize(
    ("unfit", "noted"),
    [
        ({**TENANT, "name": 3}, "workload.tenant[1].name"),
        ({**TENANT, "name": "b", "copies": 0}, "workload.tenant[1].copies"),
        (3, "workload.tenant[1]"),
    ],
)
def test_patterns_may_be_for_tenants_whose_names_are_unfit(unfit: Any, noted: str) -> None:
    data = changed("tenants.b000.gang", False)
    data["workload"]["tenant"].append(unfit)
    assert only(data)[0] == noted
    data["workload"]["tenant"][1] = {**TENANT, "name": "b"}
    assert only(data)[0] == "tenants.b000"


def test_each_file_that_is_missing_is_told_where_it_is_named(tmp_path: Path) -> None:
    data = {"workload": {"trace": "none.swf", "machines": ["4x cpus:1", "none.csv"]}}
    found = {problem.key: problem.found for problem in problems_of(data)}
    assert found == {
        "workload.trace": "none.swf: no such file",
        "workload.machines[1]": "none.csv: no such file",
    }
    (tmp_path / "none.swf").touch()
    with pytest.raises(ScenarioError) as caught:
        Scenario.from_dict(data, base=tmp_path)
    assert [problem.key for problem in caught.value.problems] == ["workload.machines[1]"]


@pytest.mark.parametrize("source", ["trace", "builtin", "cluster", "tenant"])
def test_a_source_of_work_that_is_unfit_is_one_all_the_same(source: str) -> None:
    assert only({"workload": {source: 3}})[:2] == (f"workload.{source}", "3")


@pytest.mark.parametrize("key", ["horizon", "cluster.scale"])
def test_nothing_is_held_against_what_is_unfit(key: str) -> None:
    data = changed(key, -1)
    data["roles"] = {"a": {"guarantee": "cpus:1000"}}
    if key == "horizon":
        del data["workload"]["tenant"][0]["jobs"]
        del data["roles"]
    assert only(data)[0] == key


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("title", 3, "3"),
        ("title", "", "''"),
        ("seed", 1.5, "1.5"),
        ("seed", True, "True"),
        ("horizon", 0, "0"),
        ("horizon", -1, "-1"),
        ("horizon", float("nan"), "nan"),
        ("horizon", 10**400, "an integer of 1329 bits"),
        ("horizon", "1e3s", "'1e3s'"),
        ("horizon", "1m1h", "'1m1h'"),
        ("policy", 3, "3"),
        ("policy.interval", 0, "0"),
        ("policy.saturation", 2, "2"),
        ("policy.fairness_exclude", "mem", "'mem'"),
        ("policy.offer_timeout", "soon", "'soon'"),
        ("policy.min_allocatable", "cpus:x", "'cpus:x'"),
        ("cluster.scale", 0, "0"),
        ("cluster.scale", "2", "'2'"),
        ("cluster.event", {}, "{}"),
        ("roles", [], "[]"),
        ("roles.eng", 4, "4"),
        ("roles.eng.weight", "2", "'2'"),
        ("roles.eng.weight", float("inf"), "inf"),
        ("roles.eng.weight", 10**400, "an integer of 1329 bits"),
        ("roles.eng.guarantee", 4, "4"),
        ("roles.eng.limit", {"cpus": "4"}, "{'cpus': '4'}"),
        ("roles.eng.reserve", "cpus:4", "'cpus:4'"),
        ("workload.load", 0, "0"),
        ("workload.tenant.0.jobs", 0, "0"),
        ("workload.tenant.0.jobs", 10**12, "1000000000000"),
        ("workload.tenant.0.copies", 1.5, "1.5"),
        ("workload.tenant.0.start", "-1s", "'-1s'"),
        ("workload.tenant.0.rate", 20, "20"),
        ("workload.tenant.0.rate", "0/h", "'0/h'"),
        ("workload.tenant.0.rate", "20/y", "'20/y'"),
        ("workload.tenant.0.arrivals", "often", "'often'"),
        ("workload.tenant.0.tasks", 0, "0"),
        ("workload.tenant.0.tasks", "8..1", "'8..1'"),
        ("workload.tenant.0.tasks", [1, "2"], "[1, '2']"),
        ("workload.tenant.0.demand", "", "''"),
        ("workload.tenant.0.demand", [], "an empty list"),
        ("workload.tenant.0.duration", 0, "0"),
        ("workload.tenant.0.duration", "normal 1h", "'normal 1h'"),
        ("workload.tenant.0.duration", "uniform 2h..1h", "'uniform 2h..1h'"),
        ("workload.tenant.0.duration", "lognormal 1h 11", "'lognormal 1h 11'"),
        ("workload.tenant.0.duration", "exponential 0s", "'exponential 0s'"),
        ("tenants.a.behaviour", "nice", "'nice'"),
        ("tenants.a.gang", 1, "1"),
        ("tenants.a.hold", "x", "'x'"),
        ("tenants.a.backfill", "hard", "'hard'"),
    ],
)
def test_wrong_types_and_values(key: str, value: Any, found: str) -> None:
    """The key names the place; lists by position."""
    (problem,) = problems_of(changed(key, value))
    assert problem.key.replace("[0]", ".0") == key
    assert problem.found == found


def test_what_cannot_be_known_of_unfit_values_is_not_told() -> None:
    """Without machines, nothing is said about what does not fit them."""
    data = changed("roles.eng.guarantee", "cpus:1000000")
    data["cluster"]["machines"] = "many"
    assert only(data)[:2] == ("cluster.machines", "'many'")


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("roles.a b", {}, ('roles."a b"', "'a b'", "a role path such as eng/batch")),
        ("roles.a.reserve", "3x cpus:8", ("roles.a.reserve", None, None)),
        (
            "roles.a.reserve",
            "5x cpus:8",
            ("roles.a.reserve", "5x cpus:8", "at most 4: no more machines have it"),
        ),
        (
            "roles.a",
            {"guarantee": "cpus:4", "limit": {"cpus": 3}},
            (
                "roles.a.limit.cpus",
                "cpus:3",
                "at least cpus:4, which it and all below it are guaranteed",
            ),
        ),
        ("roles.a", {"guarantee": "cpus:4", "limit": {"mem": 0}}, (None, None, None)),
        (
            "roles",
            {"a": {"guarantee": "cpus:30"}, "b": {"guarantee": "cpus:30"}},
            ("roles", "guarantees of cpus:60 in all", "at most cpus:40, which the cluster has"),
        ),
        (
            "roles",
            {n: {"guarantee": "cpus:4"} for n in ("a", "a/b", "a/c/d")},
            (
                "roles.a.guarantee",
                "cpus:4",
                "at least cpus:8, what the roles below are guaranteed together",
            ),
        ),
        # A role that guarantees none of a name is no bound for those below it.
        ("roles", {"a": {"weight": 2}, "a/b": {"guarantee": "cpus:4"}}, (None, None, None)),
        (
            "workload.tenant",
            [TENANT, TENANT],
            ("workload.tenant[1].name", "'a'", "a name that no other tenant has"),
        ),
        ("workload.tenant", [], (None, None, None)),
        ("workload.builtin", "mesos", ("workload", "builtin and tenant", None)),
        ("workload.format", "swf", ("workload.format", "given for tenant", None)),
        ("workload.tenant.0.arrivals", "at-once", ("workload.tenant[0].rate", "given", None)),
        ("cluster.file", "x.csv", ("cluster.file", "given", "none beside machines")),
        ("tenants.a.claims", "mem:1001", ("tenants.a.claims", "mem:1001", None)),
        ("tenants.a.kinds", ["big", "bg"], ("tenants.a.kinds[1]", "'bg'", None)),
        ("tenants.a.behaviour", "picky", ("tenants.a", "picky without kinds", None)),
        ("tenants.b*", {}, ('tenants."b*"', "matches no tenant", None)),
    ],
)
def test_what_does_not_fit_together(
    key: str, value: Any, problem: tuple[str | None, str | None, str | None]
) -> None:
    data = changed(key, value)
    if problem[1] is None:
        Scenario.from_dict(data)
        return
    for found, expected in zip(only(data), problem, strict=True):
        assert expected is None or found == expected


def test_claims_and_kinds_count_with_what_a_task_needs() -> None:
    """A task of 1 cpu and 1000 MB claimed fits; of 8 cpus only where there are 8."""
    data = changed("tenants", {"a": {"behaviour": "picky", "kinds": ["big"], "claims": "cpus:8"}})
    Scenario.from_dict(data)
    data["cluster"]["machines"].append("1x cpus:1;gpus:1 @gpu")
    data["workload"]["tenant"][0]["demand"] = "gpus:1"
    key, found, _ = only(data)
    assert (key, found) == ("tenants.a.claims", "cpus:8, so that a task takes cpus:8;gpus:1")
    data["tenants"]["a"]["claims"] = "cpus:1"
    assert only(data)[:2] == ("tenants.a.kinds", "big, where no cpus:1;gpus:1 fits")


@pytest.mark.parametrize(
    ("event", "key"),
    [
        ({"action": "fail"}, "machines"),
        ({"action": "fail", "machines": 1, "notice": "1m"}, "notice"),
        ({"action": "return", "for": "1m"}, "for"),
        ({"action": "explode", "machines": 1}, "action"),
        ({"action": "fail", "machines": 0}, "machines"),
        ({"action": "fail", "machines": ["big-0000", "x"]}, "machines[1]"),
        ({"action": "fail", "machines": "x"}, "machines"),
        ({"action": "fail", "machines": ["big-0000"], "kind": "big"}, "kind"),
        ({"action": "fail", "machines": 1, "kind": "small"}, "kind"),
    ],
)
def test_events_that_cannot_be(event: dict[str, Any], key: str) -> None:
    assert only(changed("cluster.event", [{"at": 0, **event}]))[0] == f"cluster.event[0].{key}"


def test_missing_keys_and_files() -> None:
    assert only({"cluster": SCENARIO["cluster"]})[:2] == ("workload", "nothing")
    assert only({"workload": {"tenant": [TENANT]}})[:2] == ("cluster", "no machines")
    assert only({"workload": {"load": 2}})[:2] == ("workload", "none of them")
    tenant = {key: TENANT[key] for key in ("name", "jobs", "rate")}
    missing = problems_of({**SCENARIO, "workload": {"tenant": [tenant]}})
    assert [p.key for p in missing] == ["workload.tenant[0].demand", "workload.tenant[0].duration"]
    key, found, expected = only({"workload": {"trace": "no/such.swf"}})
    assert (key, found) == ("workload.trace", "no/such.swf: no such file")
    assert expected == "a trace that can be read"
    assert only({**SCENARIO, "cluster": {"file": "none.csv"}})[0] == "cluster.file"
    assert only({**SCENARIO, "cluster": {"file": "none.json"}})[0] == "cluster.file"
    with pytest.raises(ScenarioError, match=r"^scenario: \[\]; expected a table"):
        Scenario.from_dict([])  # type: ignore[arg-type]


def test_lines_at_fault_in_a_trace_and_in_a_list_of_machines(tmp_path: Path) -> None:
    (tmp_path / "bad.swf").write_text("; MaxNodes: 2\n1 2 3\n")
    (tmp_path / "nodes").write_text("2x cpus:4\n2x cpus\n")
    (tmp_path / "s.toml").write_text('[workload]\n\ntrace = "bad.swf"\nformat = "swf"\n')
    with pytest.raises(ScenarioError) as caught:
        Scenario.load(tmp_path / "s.toml")
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (3, "workload.trace")
    assert problem.found == f"{tmp_path / 'bad.swf'}:2: 3 fields instead of 18"
    base = {**SCENARIO, "cluster": {"file": "nodes"}}
    with pytest.raises(ScenarioError, match=r"/nodes:2: resource 'cpus': not of the form"):
        Scenario.from_dict(base, base=tmp_path)


@pytest.mark.parametrize(
    ("content", "line", "found"),
    [
        (b"title = \n", 1, "Invalid value"),
        (b"a = 1\n[b]\n[b]\n", 3, "Cannot declare ('b',) twice"),
        (b"a = " + b"9" * 5000, None, "Exceeds the limit"),
        (b"a = " + b"[" * 20000, None, "maximum recursion depth exceeded"),
        (b"\xff\xfea\0", None, "UTF-16 text"),
        (b"a = '\xff'", None, "not UTF-8 text"),
        (b"\x1f\x8b12345", None, "gzip"),
    ],
)
def test_files_that_are_no_toml(
    content: bytes, line: int | None, found: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(ScenarioError) as caught:
        Scenario.load(path)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.key) == (str(path), line, "")
    assert found in problem.found


def test_no_such_file() -> None:
    with pytest.raises(ScenarioError, match=r"^none\.toml: no such file; expected .* hdrf"):
        Scenario.load("none.toml")


def test_files_packed_piped_and_marked(tmp_path: Path) -> None:
    text = 'title = "T"\n[cluster]\nfile = "nodes.gz"\n[workload]\nbuiltin = "mesos"\n'
    (tmp_path / "nodes.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf2x cpus:4\n"))
    packed = tmp_path / "s.toml.gz"
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.encode()))
    scenario = Scenario.load(packed)
    assert (scenario.title, len(scenario.setting().machines)) == ("T", 2)

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(text))
    writer.start()
    assert Scenario.load(pipe).title == "T"
    writer.join()


def test_a_problem_in_a_dump_stands_at_its_own_key(tmp_path: Path) -> None:
    dump = {"machines": [{"id": "m"}, {"id": "n", "resources": {"cpus": 1}, "colour": 1}]}
    (tmp_path / "cluster.json").write_text(json.dumps(dump))
    data = {"cluster": {"file": "cluster.json"}, "workload": SCENARIO["workload"]}
    with pytest.raises(ScenarioError) as caught:
        Scenario.from_dict(data, base=tmp_path)
    found = [(p.file, p.key, p.found) for p in caught.value.problems]
    path = str(tmp_path / "cluster.json")
    assert found == [
        (path, "machines[0].resources", "nothing"),
        (path, "machines[1].colour", "unknown key"),
    ]


def test_bounds_on_what_a_scenario_makes() -> None:
    many = [{**TENANT, "name": f"t{i}", "copies": 100_000, "jobs": 1} for i in range(11)]
    key, found, expected = only(changed("workload.tenant", many))
    assert (key, found) == ("workload.tenant", "1100000 tenants in all")
    assert expected == "at most 1000000"
    key, found, _ = only(changed("workload.tenant", [{**TENANT, "copies": 1000, "jobs": 10**5}]))
    assert found == "100000000 jobs in all"
    endless = {key: value for key, value in TENANT.items() if key != "jobs"}
    data = {**changed("workload.tenant", [{**endless, "rate": "1000/s"}]), "horizon": "1w"}
    assert only(data)[1] == "604800000 jobs in all"
    key, found, _ = only(changed("cluster.machines", "1000001x cpus:8"))
    assert key == "cluster.machines"
    assert only(changed("cluster.scale", 1e6))[0] == "cluster.machines"


def test_the_nearest_known_word() -> None:
    assert nearest("guarantees", ["guarantee", "limit"]) == "guarantee"
    assert nearest("x" * 10_000, ["guarantee"]) == "one of guarantee"
    assert nearest("x", []) == "one of none"


def test_thousands_of_problems_are_counted() -> None:
    data = {**SCENARIO, **{f"key{i}": i for i in range(3000)}}
    with pytest.raises(ScenarioError) as caught:
        Scenario.from_dict(data)
    assert len(caught.value.problems) == 3000
    lines = str(caught.value).splitlines()
    assert (len(lines), lines[-1]) == (1001, "3000 problems")
