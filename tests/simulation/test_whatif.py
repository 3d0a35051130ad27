"""What a change would do, on engines small enough to work it out by hand."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator import Allocator, ManualClock
from allocator.cli import main as cli
from allocator.errors import AllocatorError, InvalidValue
from allocator.sim.changes import CHANGES, Change, role_key
from allocator.sim.comparison import compared
from allocator.sim.result import Result
from allocator.sim.scenario import Scenario
from allocator.sim.scenario.overrides import parse_key
from allocator.sim.whatif import Outlook, outlook


def change(kind: str, text: str) -> Change:
    return CHANGES[kind].parse(text)


def cluster(n_agents: int, resources: str, *roles: str) -> Allocator:
    """Return an engine with a framework in each role, called as its role."""
    engine = Allocator(seed=7, clock=ManualClock())
    engine.add_agents([f"n{i}" for i in range(n_agents)], resources)
    for role in roles:
        engine.add_framework(role.replace("/", "."), roles=[role])
    return engine


def take(engine: Allocator, role: str, n_agents: int) -> None:
    """Have a role's framework hold all of so many agents."""
    for offer in engine.allocate(list(engine.agents)[:n_agents]):
        if offer.role == role:
            engine.accept(offer)
        else:
            engine.decline(offer)


def cpus(found: Outlook) -> dict[str, tuple[float, float, float, float]]:
    return {
        path: tuple(
            held.get("cpus", 0.0)
            for held in (r.now.amounts, r.before.amounts, r.after.amounts, r.preempted)
        )
        for path, r in found.roles.items()
    }


def test_a_weight_moves_what_is_free_and_tells_what_is_held_beyond_it() -> None:
    engine = cluster(6, "cpus:2", "a")
    engine.accept(engine.allocate())  # all twelve
    engine.add_framework("b", roles=["b"])
    engine.add_agents(["m0", "m1", "m2", "m3", "m4", "m5"], "cpus:2")
    found = outlook(engine, [change("set-weight", "b=3")])
    # Of 24: by weights of 1 : 1 each gets 12, of 1 : 3 a is due 6 and holds 12 already.
    assert cpus(found) == {"a": (12, 12, 12, 6), "b": (0, 12, 12, 0)}
    assert found.roles["b"].weight == 3
    assert found.roles["a"].now.share == pytest.approx(0.5)


def test_the_engine_is_not_touched() -> None:
    engine = cluster(4, "cpus:4", "a", "b")
    engine.decline(engine.allocate(["n0"]), refuse_seconds=1000)
    kept = engine.allocate(["n1"])
    before = engine.snapshot()
    for kind, text in [
        ("set-weight", "a=2"),
        ("set-quota", "a:limit=cpus:1"),
        ("add-agents", "2xcpus:1"),
        ("remove-agents", "2"),
        ("sorter", "naive"),
    ]:
        outlook(engine, [change(kind, text)])
    assert engine.snapshot() == before
    engine.accept(kept)


def test_open_offers_filters_and_a_pause_are_in_nobodys_way() -> None:
    engine = cluster(3, "cpus:4", "a")
    engine.allocate(["n0"])
    engine.decline(engine.allocate(["n1"]), refuse_seconds=1e6)
    engine.pause()
    found = outlook(engine, [])
    assert cpus(found) == {"a": (0, 12, 12, 0)}


def test_what_removed_agents_held_is_gone_and_to_be_given_back() -> None:
    engine = cluster(4, "cpus:4", "a")
    engine.accept(engine.allocate())
    found = outlook(engine, [change("remove-agents", "n1"), change("remove-agents", "2")])
    assert cpus(found) == {"a": (16, 16, 4, 12)}
    assert found.n_agents == (4, 1)


def test_parents_are_told_as_their_children_are() -> None:
    engine = cluster(8, "cpus:1", "eng/ci", "eng/batch", "ops")
    found = outlook(engine, [change("set-quota", "eng:limit=cpus:2")])
    assert cpus(found) == {
        "eng": (0, 4, 2, 0),
        "eng/batch": (0, 2, 1, 0),
        "eng/ci": (0, 2, 1, 0),
        "ops": (0, 4, 6, 0),
    }


def test_a_guarantee_is_kept_free_and_can_be_removed() -> None:
    engine = cluster(8, "cpus:1", "a")
    engine.set_quota("b", guarantee="cpus:3")
    found = outlook(engine, [change("remove-quota", "b")])
    assert cpus(found)["a"] == (0, 5, 8, 0)


def test_changes_are_made_in_their_order() -> None:
    engine = cluster(2, "cpus:1", "a")
    first = [change("add-agents", "3x cpus:1"), change("remove-agents", "3")]
    assert outlook(engine, first).n_agents == (2, 2)
    with pytest.raises(InvalidValue, match="3 agents: 1 to 1 of 2"):
        outlook(engine, first[::-1])


def test_use_of_a_framework_that_is_not_back_counts() -> None:
    engine = Allocator(seed=7, clock=ManualClock())
    engine.add_agent("n0", "cpus:8", used={"gone": {"a": "cpus:6"}})
    engine.add_framework("f", roles=["b"])
    found = outlook(engine, [])
    assert cpus(found) == {"a": (6, 6, 6, 6), "b": (0, 2, 2, 0)}


def test_what_is_shared_is_not_taken_for_ever() -> None:
    engine = Allocator(seed=7, clock=ManualClock())
    disk = {
        "name": "disk",
        "type": "SCALAR",
        "scalar": {"value": 10},
        "disk": {"persistence": {"id": "v"}, "volume": {"container_path": "v", "mode": "RW"}},
        "reservations": [{"type": "DYNAMIC", "role": "a", "principal": "p"}],
        "shared": {},
    }
    cpus_json = {"name": "cpus", "type": "SCALAR", "scalar": {"value": 4}}
    engine.add_agent("n0", [disk, cpus_json])
    engine.add_framework("f", roles=["a"], capabilities=["SHARED_RESOURCES"])
    assert cpus(outlook(engine, []))["a"] == (0, 4, 4, 0)


def test_what_removed_agents_held_is_preempted_whatever_there_is_elsewhere() -> None:
    engine = cluster(2, "cpus:10", "a")
    take(engine, "a", 1)
    (holder,) = [id for id, agent in engine.agents.items() if agent.allocated]
    # The role gets as much on the other one, and still loses what runs here.
    assert cpus(outlook(engine, [change("remove-agents", holder)])) == {"a": (10, 20, 10, 10)}
    (other,) = set(engine.agents) - {holder}
    assert cpus(outlook(engine, [change("remove-agents", other)])) == {"a": (10, 20, 10, 0)}


def test_a_role_gives_back_what_goes_with_agents_and_what_others_are_due() -> None:
    engine = cluster(3, "cpus:2", "a")
    engine.accept(engine.allocate())
    engine.add_framework("b", roles=["b"])
    # Of the two that are left each role is due one: a loses one, and gives one of two to b.
    found = outlook(engine, [change("remove-agents", "1")])
    assert cpus(found) == {"a": (6, 6, 4, 4), "b": (0, 0, 0, 0)}


@settings(max_examples=40, deadline=None)
@given(
    weights=st.lists(st.sampled_from([0.5, 1, 2, 5]), min_size=2, max_size=4),
    n_agents=st.integers(1, 12),
    held=st.integers(0, 12),
    removed=st.integers(0, 3),
)
def test_nothing_is_made_and_nothing_lost(
    weights: list[float], n_agents: int, held: int, removed: int
) -> None:
    roles = [f"r{i}" for i in range(len(weights))]
    engine = cluster(n_agents, "cpus:2;mem:64", *roles)
    take(engine, "r0", held)
    changes = [change("set-weight", f"{r}={w}") for r, w in zip(roles, weights, strict=True)]
    if 0 < removed < n_agents:
        changes.append(change("remove-agents", str(removed)))
    found = outlook(engine, changes)
    for moment, total in zip(("before", "after"), found.total, strict=True):
        sums = sum(getattr(role, moment).amounts.get("cpus", 0) for role in found.roles.values())
        assert sums == total["cpus"]
    for role in found.roles.values():
        assert role.preempted.get("cpus", 0) <= role.now.amounts.get("cpus", 0)
    assert found == outlook(engine, changes)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("set-weight", "eng"),
        ("set-weight", "=2"),
        ("set-weight", "eng=much"),
        ("set-quota", "eng"),
        ("set-quota", "eng:cpus:1"),
        ("set-quota", "eng:limit=cpus:1,limit=cpus:2"),
        ("set-quota", "eng:guarantee=cpus:-1"),
        ("add-agents", "cpus:1"),
        ("add-agents", "0xcpus:1"),
        ("remove-agents", " "),
        ("sorter", "fair"),
        ("set", "policy.sorter"),
    ],
)
def test_malformed_changes_are_refused(kind: str, text: str) -> None:
    with pytest.raises(AllocatorError):
        change(kind, text)


@pytest.mark.parametrize(
    ("kind", "text", "names"),
    [
        ("set-weight", "nobody=2", "nobody"),
        ("set-weight", "a=-1", "-1"),
        ("set-quota", "a:guarantee=cpus:3,limit=cpus:1", "cpus:1"),
        ("remove-quota", "nobody", "nobody"),
        ("remove-agents", "n9", "n9"),
        ("remove-agents", "2", "2"),
        ("add-agents", "1xcpus:1@gpu", "@gpu"),
        ("set", "seed=2", "seed"),
    ],
)
def test_a_change_that_cannot_be_made_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, text: str, names: str
) -> None:
    file = tmp_path / "snapshot.json"
    file.write_text(json.dumps(cluster(2, "cpus:1", "a").snapshot()))
    assert cli.main(["whatif", str(file), f"--{kind}", text]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert names in err


def test_the_command_prints_tables_or_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = cluster(4, "cpus:2", "a", "b")
    take(engine, "a", 4)
    file = tmp_path / "snapshot.json.gz"
    file.write_bytes(gzip.compress(b"\xef\xbb\xbf" + json.dumps(engine.snapshot()).encode()))
    told = ["whatif", str(file), "--set-weight", "b=3", "--add-agents", "2x cpus:2"]
    assert cli.main(told) == 0
    table = capsys.readouterr().out
    assert "agents: 4, then 6" in table
    assert cli.main([*told, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found.keys() == {"roles", "preempted"}
    for role in found["roles"].values():
        assert role.keys() == {"now", "before", "after", "difference"}
        more = role["after"]["share"] - role["before"]["share"]
        assert role["difference"]["share"] == pytest.approx(more)


# Scenarios.

SCENARIO = """
seed = 4
horizon = "2h"
[cluster]
machines = ["3x cpus:4", "1x cpus:8 @big"]
[roles.a]
guarantee = "cpus:4"
[[workload.tenant]]
name = "a"
rate = "2/m"
demand = "cpus:1"
duration = "10m"
[[workload.tenant]]
name = "b"
rate = "2/m"
demand = "cpus:1"
duration = "10m"
"""


def test_changes_of_a_scenario_are_those_of_its_keys() -> None:
    scenario = Scenario.from_text(SCENARIO)
    for kind, text, keys in [
        ("set-weight", "a=2", {"roles.a.weight": 2.0}),
        ("set-quota", "a:limit=cpus:3", {"roles.a.limit": "cpus:3", "roles.a.guarantee": None}),
        ("remove-quota", "a", {"roles.a.guarantee": None}),
        ("sorter", "hdrf", {"policy.sorter": "hdrf"}),
        ("set", "workload.load=2", {"workload.load": 2}),
    ]:
        assert change(kind, text).on_scenario(scenario).data == scenario.with_(keys).data


def test_machines_of_a_scenario_come_and_go_at_its_end() -> None:
    setting = Scenario.from_text(SCENARIO).setting()
    more = change("add-agents", "2x cpus:2@big").on_setting(setting)
    assert [m.id for m in more.machines[4:]] == ["added-0000", "added-0001"]
    assert more.machines[-1].kind == "big"
    again = change("add-agents", "1x cpus:2").on_setting(more)
    assert again.machines[-1].id == "added-0002"
    less = change("remove-agents", "3").on_setting(more)
    assert [m.id for m in less.machines] == [m.id for m in setting.machines[:3]]
    assert sum(group.count for group in less.trace.cluster) == 3
    one = change("remove-agents", "node-0001").on_setting(setting)
    assert [m.id for m in one.machines] == ["node-0000", "node-0002", "big-0000"]


def test_a_scenario_is_run_twice_on_one_seed() -> None:
    scenario = Scenario.from_text(SCENARIO)
    same = compared(scenario, []).to_json()
    assert set(same) == {"before", "after", "difference"}
    for figures in same["difference"]["roles"].values():
        assert figures.keys() == {"share", "wait_p50_s", "wait_p95_s", "tasks", "quota_met"}
        assert set(figures.values()) <= {0, None}
    changes = [change("set-weight", "b=3"), change("add-agents", "4x cpus:4")]
    found = compared(scenario, changes)
    told = found.to_json()
    before, after = (
        {role["role"]: role for role in told[moment]["roles"]} for moment in ("before", "after")
    )
    for path, figures in told["difference"]["roles"].items():
        tasks = [run[path]["counts"]["tasks_started"] for run in (before, after)]
        assert figures["tasks"] == tasks[1] - tasks[0]
    assert told["difference"]["roles"]["b"]["tasks"] > 0
    assert found.after.cluster["machines"] == 8


def test_the_command_tells_scenarios_from_snapshots_by_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "no-suffix"
    file.write_bytes(gzip.compress(SCENARIO.encode()))
    assert cli.main(["whatif", str(file), "--set-weight", "a=2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["difference"]["roles"].keys() == {"a", "b"}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(SCENARIO.encode())))
    assert cli.main(["whatif", "-", "--sorter", "naive"]) == 0
    assert "without the changes" in capsys.readouterr().out
    assert cli.main(["whatif", str(file), "--set", "policy.sortr=x"]) == 2
    out, err = capsys.readouterr()
    assert (out, "policy.sortr" in err, len(err.splitlines())) == ("", True, 1)


def test_both_runs_are_in_each_plot_of_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow")
    file, out = tmp_path / "two.toml", tmp_path / "out"
    file.write_text(SCENARIO)
    told = ["whatif", str(file), "--add-agents", "2x cpus:8", "-o", str(out)]
    assert cli.main(told) == 0
    assert cli.main(told) == 0  # writes over what it wrote
    text = (out / "report.html").read_text("utf-8")
    assert "--add-agents 2x cpus:8" in text
    for name in ("src=", "url(", "@import", "http:", "https:"):
        assert name not in text
    plots = text.count("<svg")
    assert plots == 2 + 1 + 2 + 1  # roles, resources, queues, waits
    assert text.count('class="line fair"') == plots
    assert Result.load(out / "before") != Result.load(out / "after")
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "thesis.tex").touch()
    assert cli.main([*told[:-1], str(other)]) == 2
    assert "thesis" in capsys.readouterr().err
    snapshot = tmp_path / "snapshot.json"
    snapshot.write_text(json.dumps(cluster(1, "cpus:1", "a").snapshot()))
    assert cli.main(["whatif", str(snapshot), "-o", str(out)]) == 2


@given(st.text(min_size=1))
def test_keys_of_roles_read_back(role: str) -> None:
    assert parse_key(role_key(role, "weight")) == ("roles", role, "weight")
