"""One cluster through several orderings."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from allocator.cli.main import main
from allocator.engine import Offer
from allocator.errors import InvalidValue
from allocator.resources import Resources
from allocator.sim import Scenario, ScenarioError, compare, single_role
from allocator.sim.policies import policy_of, under_policies


def offer(framework: str, cpus: int = 1) -> Offer:
    return Offer("O1", framework, "batch", "a0", Resources({"cpus": cpus}))


def test_single_role_gives_every_agent_whole_to_the_neediest_framework() -> None:
    offers, seconds = single_role.run_cold_cycle(single_role.build(7, 3))
    assert seconds > 0
    # All agents are alike, so that the frameworks take turns: 3, 2 and 2 agents.
    assert [offer.framework for offer in offers] == ["f0", "f1", "f2", "f0", "f1", "f2", "f0"]
    assert {offer.agent for offer in offers} == {f"a{i}" for i in range(7)}
    assert {offer.resources for offer in offers} == {Resources(single_role.AGENT_RESOURCES)}


def test_the_seed_decides_the_order_of_agents() -> None:
    agents = [
        [offer.agent for offer in single_role.build(20, 2, seed=seed).allocate()]
        for seed in (1, 1, 2)
    ]
    assert agents[0] == agents[1] != agents[2]


@pytest.mark.parametrize("seed", [0, 1])
def test_all_orderings_agree(seed: int) -> None:
    (comparison, orderings), *rest = compare.plan([30], [7], naive_limit=math.inf)
    assert orderings == ["naive", "sorted", "drf"]
    assert not rest
    n_cycles = []
    compare.run(comparison, orderings, repeat=2, seed=seed, on_cycle=lambda: n_cycles.append(1))
    assert comparison.difference is None
    assert comparison.n_offers == 30
    assert {name: len(seconds) for name, seconds in comparison.seconds.items()} == {
        "naive": 2,
        "sorted": 2,
        "drf": 2,
    }
    assert len(n_cycles) == 6


def test_naive_is_left_out_beyond_its_limit() -> None:
    # It would look at 10 · (5 + 10) and 100 · (50 + 10) entries.
    clusters = compare.plan([10, 100], [10], naive_limit=150)
    assert [(c.n_agents, c.n_frameworks, orderings) for c, orderings in clusters] == [
        (10, 10, ["naive", "sorted", "drf"]),
        (100, 10, ["sorted", "drf"]),
    ]
    left_out, orderings = clusters[1]
    compare.run(left_out, orderings, repeat=1, seed=0)
    assert left_out.median("naive") is None
    assert left_out.ratio("naive") is None


@pytest.mark.parametrize(("agents", "frameworks"), [([], [1]), ([1], []), ([0], [1]), ([1], [-1])])
def test_the_grid_has_positive_sides(agents: list[int], frameworks: list[int]) -> None:
    with pytest.raises(InvalidValue, match="numbers of"):
        compare.plan(agents, frameworks, naive_limit=math.inf)


def test_ratios_are_of_medians() -> None:
    comparison = compare.Comparison(1, 1)
    comparison.seconds = {"naive": [30.0, 1.0, 20.0], "sorted": [], "drf": [2.0, 4.0]}
    assert comparison.median("naive") == 20.0
    assert comparison.median("drf") == 3.0
    assert comparison.ratio("naive") == 20.0 / 3.0
    assert comparison.ratio("sorted") is None


def test_the_first_difference_is_named() -> None:
    same = [offer("f0"), offer("f1")]
    assert compare.first_difference(same, list(same), "naive", "compiled") is None
    assert compare.first_difference(same, [offer("f0"), offer("f2", 3)], "naive", "compiled") == (
        "offer 1: naive offers cpus:1 of a0 to f1 in batch, "
        "compiled offers cpus:3 of a0 to f2 in batch"
    )
    assert compare.first_difference(same, same[:1], "naive", "compiled") == (
        "offer 1: naive offers cpus:1 of a0 to f1 in batch, compiled has none"
    )


def test_an_ordering_that_differs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    build = single_role.build

    def build_wrong(n_agents: int, n_frameworks: int, *, sorter: str, seed: int) -> object:
        return build(n_agents, n_frameworks, sorter="naive", seed=seed + (sorter == "drf"))

    monkeypatch.setattr(single_role, "build", build_wrong)
    (comparison, orderings), *_ = compare.plan([20], [2], naive_limit=math.inf)
    compare.run(comparison, orderings, repeat=1, seed=0)
    assert comparison.difference is not None
    assert comparison.difference.startswith("offer 0: naive offers")


def test_command_prints_one_line_for_each_cluster(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    report = tmp_path / "compare.json"
    argv = ["compare", "--agents", "5,20", "--frameworks", "3", "--repeat", "1", "--seed", "4"]
    assert main([*argv, "--json", str(report)]) == 0
    out = capsys.readouterr().out
    assert out.count("identical") == 2
    assert "sortedcontainers" in out
    written = json.loads(report.read_text("utf-8"))
    assert written["identical"] is True
    assert written["seed"] == 4
    assert [(row["agents"], row["offers"]) for row in written["clusters"]] == [(5, 5), (20, 20)]
    assert [len(row["seconds"]["drf"]) for row in written["timing"]] == [1, 1]


def test_command_fails_and_names_the_first_difference(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "first_difference", lambda *_: "offer 3: naive …, compiled …")
    assert main(["compare", "--agents", "4", "--frameworks", "2", "--repeat", "1"]) == 1
    out = capsys.readouterr().out
    assert "differ" in out
    assert "4 agents, 2 frameworks: offer 3: naive …, compiled …" in out


def test_same_seed_same_report(tmp_path: Path) -> None:
    reports = []
    for name in ("one.json", "two.json"):
        argv = ["compare", "--agents", "6", "--frameworks", "2", "--repeat", "1"]
        assert main([*argv, "--json", str(tmp_path / name)]) == 0
        report = json.loads((tmp_path / name).read_text("utf-8"))
        del report["timing"]
        reports.append(report)
    assert reports[0] == reports[1]


# Policies on a scenario.


SCENARIO = """\
seed = 3
horizon = "1h"
cluster.machines = "2x cpus:4"
[[workload.tenant]]
name = "a"
jobs = 40
arrivals = "at-once"
demand = "cpus:1"
duration = "exponential 10m"
[[workload.tenant]]
name = "b"
jobs = 40
arrivals = "at-once"
demand = "cpus:1"
duration = "exponential 10m"
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "two.toml"
    path.write_text(SCENARIO)
    return path


def test_policies_on_one_scenario(scenario: Path) -> None:
    policies = [policy_of(text) for text in ("drf", "naive", "roles.a.weight=3 horizon=2h")]
    seen: list[tuple[str, float]] = []
    loaded = Scenario.load(scenario)
    found = under_policies(loaded, policies, progress=lambda p, part: seen.append((p.name, part)))
    assert [policy for policy, _ in found] == policies
    drf, naive, heavy = (result for _, result in found)
    assert drf.counts == naive.counts
    assert (drf.end_s, heavy.end_s) == (3600.0, 7200.0)
    shares = [{role.role: role.share_in_need for role in r.roles} for r in (drf, heavy)]
    # Both of them always want more: 1 : 1, and 3 : 1 by their weights.
    assert shares[0]["a"] == pytest.approx(0.5, abs=0.02)
    assert shares[1]["a"] == pytest.approx(0.75, abs=0.03)
    assert {name for name, _ in seen} <= {policy.name for policy in policies}


def test_all_that_is_wrong_with_policies_is_told_before_anything_runs(scenario: Path) -> None:
    loaded = Scenario.load(scenario)
    with pytest.raises(ScenarioError) as caught:
        under_policies(loaded, [policy_of(text) for text in ("drff", "drf", "sed=1")])
    assert [problem.key for problem in caught.value.problems] == ["policy.sorter", "sed"]
    with pytest.raises(InvalidValue, match="policy 'drf': given twice"):
        under_policies(loaded, [policy_of("drf"), policy_of("drf")])


@pytest.mark.parametrize("text", ["a=1 b", "a='1", "=1"])
def test_what_is_no_policy(text: str) -> None:
    with pytest.raises(InvalidValue):
        policy_of(text)


def test_tables_of_policies(
    scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    args = ["compare", str(scenario), "--policy", "drf", "--policy", "roles.a.weight=3"]
    assert main([*args, "--set", "horizon=30m", "--seed", "4", "--json", str(out)]) == 0
    output = capsys.readouterr().out
    assert output.startswith("two: 80 jobs of 2 tenants on 2 machines\n")
    titles = ("Policies", "Roles under drf", "Roles under roles.a.weight=3")
    assert all(f"\n{title}\n" in output for title in titles)
    assert "unfair" in output
    rows = [line.split() for line in output.splitlines()]
    assert [row[1] for row in rows if row[:1] == ["a"]] == ["1", "3"]
    data = json.loads(out.read_text("utf-8"))["policies"]
    assert data["drf"]["result"]["end_s"] == 1800.0
    assert data["drf"]["result"]["options"]["seed"] == 4
    assert data["roles.a.weight=3"]["changes"] == {"roles.a.weight": 3}
    assert data["drf"]["changes"] == {"policy.sorter": "drf"}


def test_policies_go_with_a_scenario(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--policy", "drf"]) == 2
    assert capsys.readouterr().err == "allocator compare: --policy and --set go with a scenario\n"
    assert main(["compare", str(scenario), "--naive-limit", "3"]) == 2
    assert capsys.readouterr().err == "allocator compare: --naive-limit goes without a scenario\n"
    assert main(["compare", str(scenario), "--set", "sed=1"]) == 2
    assert capsys.readouterr().err.endswith("sed: unknown key; expected seed\n1 problems\n")
