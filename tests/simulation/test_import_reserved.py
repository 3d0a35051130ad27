"""What dumps say of reservations, in the scenario, its run and the snapshot of an engine."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from allocator.engine import Allocator
from allocator.sim import Scenario, ScenarioError, simulate
from allocator.sim.changes import RemoveAgents, with_machines
from allocator.sim.fit import fit
from allocator.sim.importers import DumpError, Imported, read
from allocator.sim.importers.holding import holding
from allocator.sim.importers.writing import CLUSTER, write_folder
from allocator.sim.run import Run
from allocator.sim.setting import ClusterEvent, Setting


def mesos(tmp_path: Path, *agents: dict[str, Any], tasks: list[dict[str, Any]]) -> Imported:
    frameworks = [{"id": "F", "name": "f", "roles": ["eng", "eng/ci", "sci"], "tasks": tasks}]
    (tmp_path / "state").write_text(json.dumps({"slaves": agents, "frameworks": frameworks}))
    return read("mesos", tmp_path / "state")


def agent(id: str, resources: dict[str, Any], **reserved: dict[str, Any]) -> dict[str, Any]:
    return {"id": id, "resources": resources, "reserved_resources": reserved}


def task(id: str, agent: str, role: str, cpus: float) -> dict[str, Any]:
    where = {"slave_id": agent, "state": "TASK_RUNNING", "role": role}
    return {"id": id, "resources": {"cpus": cpus}, **where}


def begun(setting: Setting) -> Allocator:
    """Return the engine of a run as it begins."""
    made: list[Allocator] = []

    def make(**options: Any) -> Allocator:
        made.append(Allocator(**options))
        return made[-1]

    Run(setting, 1, make)
    return made[0]


def standing(engine: Allocator) -> dict[str, tuple[str, str]]:
    """Return agent -> what it has, and what of it is free."""
    return {id: (str(agent.total), str(agent.available)) for id, agent in engine.agents.items()}


def test_reservations_go_to_the_scenario_and_come_back(tmp_path: Path) -> None:
    found = mesos(
        tmp_path,
        agent("A", {"cpus": 8, "mem": 100}, eng={"cpus": 2, "mem": 50}, sci={"cpus": 1.5}),
        agent("B", {"cpus": 8}),
        tasks=[task("t", "A", "eng", 3)],
    )
    write_folder(found, str(tmp_path / "lab"))
    content = json.loads((tmp_path / "lab" / CLUSTER).read_text())
    assert [m.get("reserved") for m in content["machines"]] == [
        {"eng": {"cpus": 2, "mem": 50}, "sci": {"cpus": 1.5}},
        None,
    ]
    setting = Scenario.load(tmp_path / "lab" / "scenario.toml").setting()
    assert [[(r, str(q)) for r, q in m.reserved] for m in setting.machines] == [
        [("eng", "cpus:2;mem:50"), ("sci", "cpus:1.5")],
        [],
    ]
    total = "cpus(eng):2;cpus(sci):1.5;cpus:4.5;mem(eng):50;mem:50"
    free = "cpus(sci):1.5;cpus:3.5;mem(eng):50;mem:50"
    assert standing(begun(setting))["A"] == (total, free)
    restored = Allocator.restore(found.snapshot())
    assert standing(restored) == standing(begun(setting))
    assert begun(found.scenario().setting()).roles["eng"].reserved["cpus"] == 2


def test_a_run_keeps_what_is_reserved_for_others(tmp_path: Path) -> None:
    machines = [{"id": "m", "resources": {"cpus": 8}, "reserved": {"eng": {"cpus": 6}}}]
    waiting = [
        {"tenant": "s", "role": "sci", "demand": {"cpus": 1}, "tasks": 8},
        {"tenant": "e", "role": "eng/ci", "demand": {"cpus": 1}, "tasks": 8, "submit_s": 5},
    ]
    (tmp_path / CLUSTER).write_text(json.dumps({"machines": machines, "waiting": waiting}))
    data = {
        "horizon": "60s",
        "cluster": {"file": CLUSTER},
        "workload": {"cluster": CLUSTER},
        "tenants": {"*": {"gang": False}},
    }
    scenario = Scenario.from_dict(data, base=tmp_path)
    frame = {role.role: role for role in simulate(scenario).roles}
    assert (frame["sci"].share_peak, frame["eng"].share_peak) == (2 / 8, 6 / 8)
    assert not fit(scenario, "sci", "cpus:3").fits
    assert fit(scenario, "eng/ci", "cpus:3").machines == {"m": 1}
    wide = scenario.with_({"roles.sci.reserve": "1x cpus:2"})
    assert begun(wide.setting()).agents["m"].total.reserved("sci")["cpus"] == 2
    with pytest.raises(ScenarioError, match=r"roles\.sci\.reserve: 1x cpus:3; expected at most 0"):
        scenario.with_({"roles.sci.reserve": "1x cpus:3"})


def test_machines_that_are_back_have_their_reservations_again(tmp_path: Path) -> None:
    machines = [
        {"id": id, "resources": {"cpus": 4}, "reserved": {"eng": {"cpus": 3}}} for id in ("m", "n")
    ]
    waiting = [{"tenant": "s", "role": "sci", "demand": {"cpus": 2}, "submit_s": 50}]
    (tmp_path / CLUSTER).write_text(json.dumps({"machines": machines, "waiting": waiting}))
    events = [{"at": 10, "action": "fail", "machines": ["m"], "for": 10}]
    data = {
        "horizon": "60s",
        "cluster": {"file": CLUSTER, "event": events},
        "workload": {"cluster": CLUSTER},
    }
    scenario = Scenario.from_dict(data, base=tmp_path)
    assert simulate(scenario).counts.never_fits == 1
    changed = RemoveAgents("n").on_setting(scenario.setting())
    assert begun(changed).roles["eng"].reserved["cpus"] == 3
    assert with_machines(changed, changed.machines).machines == changed.machines


def test_more_reserved_than_there_is_is_refused(tmp_path: Path) -> None:
    over = agent("A", {"cpus": 8}, eng={"cpus": 5}, sci={"cpus": 3.5})
    with pytest.raises(
        DumpError, match=r"machine 'A': cpus:8\.5 reserved in all, more than the cpu"
    ):
        mesos(tmp_path, over, tasks=[])
    with pytest.raises(DumpError, match="gpus:1 reserved in all, more than the gpus:0"):
        mesos(tmp_path, agent("A", {"cpus": 8}, eng={"gpus": 1}), tasks=[])
    # thirds of a thousandth are rounded up each: that much is trimmed
    thirds = {f"r{i}": {"cpus": 0.3335} for i in range(3)}
    found = mesos(tmp_path, agent("A", {"cpus": 1.0005}, **thirds), tasks=[])
    reserved = found.reserved["A"]
    assert sum(own["cpus"] for own in reserved.values()) == found.machines["A"].amounts["cpus"]
    assert found.scenario().setting().machines[0].reserved


def test_what_is_reserved_in_a_cluster_file_is_checked(tmp_path: Path) -> None:
    machines = [
        {"id": "m", "resources": {"cpus": 4}, "reserved": {"a": {"cpus": 3}, "b": {"cpus": 2}}},
        {"id": "n", "resources": {"cpus": 4}, "reserved": {"*": {"cpus": 1}, "a": {"mem": 1}}},
    ]
    path = tmp_path / CLUSTER
    path.write_text(json.dumps({"machines": machines}))
    data = {"cluster": {"file": CLUSTER}, "workload": {"cluster": CLUSTER}}
    with pytest.raises(ScenarioError) as caught:
        Scenario.from_dict(data, base=tmp_path)
    lines = {line.removeprefix(f"{path}: ") for line in caught.value.lines[:-1]}
    assert lines == {
        "machines[0].reserved: cpus:5 in all; expected at most cpus:4, which machine 'm' has",
        'machines[1].reserved."*": given; expected none: nothing is reserved for *',
        "machines[1].reserved: mem:1 in all; expected at most mem:0, which machine 'n' has",
    }
    for wrong in ({"a b": {"cpus": 1}}, {"a": {"cpus": -1}}, {"a": {}}, ["a"], "cpus:1"):
        machines = [{"id": "m", "resources": {"cpus": 4}, "reserved": wrong}]
        path.write_text(json.dumps({"machines": machines}))
        with pytest.raises(ScenarioError, match="reserved"):
            Scenario.from_dict(data, base=tmp_path)


def test_reservations_give_way_to_what_others_hold(tmp_path: Path) -> None:
    found = mesos(
        tmp_path,
        agent("A", {"cpus": 8}, eng={"cpus": 6}),
        tasks=[task("t", "A", "sci", 5), task("u", "A", "eng/ci", 1)],
    )
    assert found.reserved == {"A": {"eng": {"cpus": 3000}}}
    texts = {t.text for t in found.told if t.kind == "reservations"}
    assert "machines where others hold what is reserved, which gives way" in texts
    engine = begun(found.scenario().setting())
    assert standing(engine) == standing(Allocator.restore(found.snapshot()))
    assert engine.agents["A"].allocated["cpus"] == 6


def test_the_nearest_reservation_is_taken_first() -> None:
    reserved = {"a": {"cpus": 2}, "*": {"cpus": 9}, "a/b": {"cpus": 2}, "c": {"cpus": 1}}
    found = holding({"cpus": 6}, reserved, {("f", "a/b/x"): {"cpus": 3}, ("g", "a"): {"cpus": 2}})
    assert found.taken == {
        ("f", "a/b/x"): [("cpus", 2, "a/b"), ("cpus", 1, "a")],
        ("g", "a"): [("cpus", 1, "a"), ("cpus", 1, None)],
    }
    assert not found.gave_way


@pytest.mark.parametrize("seed", range(25))
def test_a_run_begins_as_the_snapshot_says(tmp_path: Path, seed: int) -> None:
    """Whatever is reserved and held: on the same machines, by the same roles, nothing waits."""
    rng = random.Random(seed)
    roles = ["eng", "eng/ci", "sci"]
    agents, tasks = [], []
    for index in range(4):
        cpus = rng.randint(4, 12)
        cut = sorted(rng.randint(0, cpus) for _ in roles)
        parts = [high - low for low, high in zip([0, *cut], cut, strict=False)]
        reserved = {r: {"cpus": x} for r, x in zip(rng.sample(roles, 3), parts, strict=True) if x}
        agents.append(agent(f"A{index}", {"cpus": cpus}, **reserved))
        while cpus and rng.random() < 0.8:
            held = rng.randint(1, cpus)
            cpus -= held
            tasks.append(task(f"t{len(tasks)}", f"A{index}", rng.choice(roles), held))
    rng.shuffle(tasks)
    found = mesos(tmp_path, *agents, tasks=tasks)
    engine = begun(found.scenario().setting())
    restored = Allocator.restore(found.snapshot())
    held: Counter[tuple[str, str]] = Counter()
    for one in tasks:
        held[one["slave_id"], one["role"]] += one["resources"]["cpus"]
    for each in (engine, restored):
        assert sum(held.values()) == sum(a.allocated["cpus"] for a in each.agents.values())
        for id, of in each.agents.items():
            assert of.allocated["cpus"] == sum(n for (at, _), n in held.items() if at == id)
    totals = {id: str(of.total) for id, of in engine.agents.items()}
    assert totals == {id: str(of.total) for id, of in restored.agents.items()}
    assert {r: engine.roles[r].reserved for r in roles if r in engine.roles} == {
        r: restored.roles[r].reserved for r in roles if r in engine.roles
    }


# Slurm.


def slurm(tmp_path: Path, *texts: str) -> Imported:
    for index, text in enumerate(texts):
        (tmp_path / f"dump-{index}").write_text(text)
    return read("slurm", [tmp_path / f"dump-{index}" for index in range(len(texts))])


NODES = "".join(
    f"NodeName=n{i} CPUTot=8 RealMemory=1000 State={state}\n"
    for i, state in enumerate(("IDLE", "IDLE", "DOWN", "IDLE+DRAIN"))
)
ACCOUNTS = "Account|User|RawShares\nphys||4\n phys|ann|1\n phys|ben|parent\nbio||2\n"


def reservation(nodes: str, **pairs: str) -> str:
    given = {"Nodes": nodes, "Flags": "SPEC_NODES", "Users": "(null)", "Accounts": "(null)"}
    return "ReservationName=r " + " ".join(f"{k}={x}" for k, x in {**given, **pairs}.items())


def reserved(found: Imported) -> dict[str, list[str]]:
    return {id: list(by_role) for id, by_role in found.reserved.items()}


def lacking(found: Imported) -> str:
    return "\n".join(one.text for one in found.told if one.kind == "not modelled")


@pytest.mark.parametrize(
    ("pairs", "roles", "counted"),
    [
        ({"Accounts": "phys"}, {"n0": ["phys"], "n1": ["phys"]}, ""),
        ({"Accounts": "phys", "Users": "ann,ann"}, {"n0": ["phys/ann"], "n1": ["phys/ann"]}, ""),
        # a user who shares the account's own has no role
        ({"Accounts": "phys", "Users": "ben"}, {}, "for users, or for several"),
        ({"Accounts": "phys", "Users": "ann,ben"}, {}, "for users, or for several"),
        ({"Accounts": "phys,bio"}, {}, "for users, or for several"),
        ({"Accounts": "-phys"}, {}, "for users, or for several"),
        ({"Accounts": "root"}, {}, "for users, or for several"),
        ({"Users": "ann"}, {}, "for users, or for several"),
        ({"Accounts": "phys", "State": "INACTIVE"}, {}, "do not hold yet"),
        ({"Accounts": "phys", "Nodes": "n9"}, {}, "without a machine that is listed"),
        ({"Accounts": "phys", "Nodes": "(null)"}, {}, "without a machine that is listed"),
        ({"Accounts": "phys", "NodeName": "n0 CoreIDs=0-3"}, {}, "some cores"),
    ],
)
def test_reservations_of_slurm(
    tmp_path: Path, pairs: dict[str, str], roles: dict[str, list[str]], counted: str
) -> None:
    found = slurm(tmp_path, NODES, ACCOUNTS, reservation("n[0-1]", **pairs))
    assert reserved(found) == roles
    assert counted in lacking(found)
    machines = found.scenario().setting().machines
    assert {m.id: [r for r, _ in m.reserved] for m in machines if m.reserved} == roles
    for machine in machines:
        assert all(amounts == machine.resources for _, amounts in machine.reserved)


def test_cores_of_a_reservation_on_lines_of_their_own(tmp_path: Path) -> None:
    text = reservation("n0", Accounts="phys") + "\n  NodeName=n0 CoreIDs=0-3\n"
    found = slurm(tmp_path, NODES, ACCOUNTS, text)
    assert (reserved(found), list(found.machines)) == ({}, ["n0", "n1", "n3"])
    assert "some cores" in lacking(found)


def test_machines_under_maintenance_take_nothing_new(tmp_path: Path) -> None:
    text = reservation("n[0-3]", Flags="MAINT,IGNORE_JOBS,SPEC_NODES", Users="root")
    found = slurm(tmp_path, NODES, text)
    # n2 is down and holds nothing: it is gone, whatever is planned there
    assert {id: node.state for id, node in found.machines.items()} == {
        "n0": "MAINT (r)",
        "n1": "MAINT (r)",
        "n3": "IDLE+DRAIN",
    }
    assert found.scenario().setting().inactive == {"n0", "n1", "n3"}
    assert all(not agent.active for agent in Allocator.restore(found.snapshot()).agents.values())


def test_reservations_of_slurmrestd_hold_at_the_time_of_the_dump(tmp_path: Path) -> None:
    def at(now: int, **more: Any) -> Imported:
        one = {"name": "r", "node_list": "n0", "accounts": "phys", "users": "", "flags": []}
        times = {
            key: {"set": True, "infinite": False, "number": number}
            for key, number in (("start_time", 100), ("end_time", 200))
        }
        value = {
            "reservations": [{**one, **times, **more}],
            "last_update": {"set": True, "infinite": False, "number": now},
        }
        return slurm(tmp_path, NODES, json.dumps(value))

    assert reserved(at(100)) == reserved(at(199)) == {"n0": ["phys"]}
    for now in (99, 200):
        assert reserved(at(now)) == {}
        assert "do not hold yet" in lacking(at(now))
    soon = at(40, flags=["MAINT"])
    event = ClusterEvent(60.0, "drain", None, ("n0",), for_s=100.0)
    assert (soon.scenario().setting().events, list(soon.inactive)) == ((event,), ["n3"])
    assert Allocator.restore(soon.snapshot()).snapshot()["maintenance"]
    assert "do not hold yet" in lacking(at(40, flags=["MAINT", "DAILY"]))
    assert "do not hold yet" in lacking(at(200, flags=["MAINT"]))
    cores = {"core_specializations": [{"node": "n0", "core": "0-3"}]}
    assert "some cores" in lacking(at(150, **cores))
    assert "n0" in at(150, flags=["MAINT"]).inactive


def test_a_machine_in_two_reservations(tmp_path: Path) -> None:
    texts = [reservation("n0", Accounts=account) for account in ("phys", "bio")]
    found = slurm(tmp_path, NODES, ACCOUNTS, "\n".join(texts))
    assert reserved(found) == {"n0": ["phys"]}
    assert "more than one reservation" in lacking(found)


# In full.


def full(cpus: float, *stack: dict[str, str], **more: Any) -> dict[str, Any]:
    entry = {"name": "cpus", "type": "SCALAR", "scalar": {"value": cpus}, "role": stack[-1]["role"]}
    return {**entry, "reservations": list(stack), **more}


STATIC = {"type": "STATIC", "role": "eng"}
DYNAMIC = {"type": "DYNAMIC", "role": "eng", "principal": "ops"}
REFINED = {"type": "DYNAMIC", "role": "eng/ci", "principal": "ann"}


def reserved_by(engine: Allocator) -> dict[str, list[list[str]]]:
    """Return amount by name -> who reserved it, of what is reserved on A."""
    found: dict[str, list[list[str]]] = {}
    for entry in engine.agents["A"].total.reserved():
        stack = [f"{r.type} {r.role} {r.principal or ''}".strip() for r in entry.reservations]
        found.setdefault(entry.name, []).append([*stack, str(entry.value)])
    return {name: sorted(stacks) for name, stacks in found.items()}


def test_reservations_in_full_are_as_they_were(tmp_path: Path) -> None:
    one = agent("A", {"cpus": 8.0000000001, "disk": 10}, eng={"cpus": 5}, **{"eng/ci": {"cpus": 1}})
    volume = {"id": "v", "principal": "ops"}, {"mode": "RW", "container_path": "data"}
    disk = {"persistence": volume[0], "volume": volume[1]}
    one["reserved_resources"]["eng"]["disk"] = 6
    one["reserved_resources_full"] = {
        "eng": [
            full(2, STATIC, allocation_info={"role": "eng"}),
            full(3.0000000001, DYNAMIC),
            full(6, DYNAMIC, name="disk", disk=disk),
        ],
        "eng/ci": [full(1, STATIC, REFINED)],
    }
    holds = task("t", "A", "eng/ci", 2.5)
    holds["resources"]["disk"] = 6
    found = mesos(tmp_path, one, tasks=[holds])
    engine = Allocator.restore(found.snapshot())
    assert reserved_by(engine) == {
        "cpus": [
            ["DYNAMIC eng ops", "3000"],
            ["STATIC eng", "2000"],
            ["STATIC eng", "DYNAMIC eng/ci ann", "1000"],
        ],
        "disk": [["DYNAMIC eng ops", "6000"]],
    }
    allocated = engine.agents["A"].allocated
    assert (allocated["cpus"], allocated["disk"]) == (2.5, 6)
    assert allocated.reserved("eng/ci")["cpus"] == 1
    assert [entry.disk is not None for entry in allocated if entry.name == "disk"] == [True]
    # the scenario has the amounts
    assert found.reserved["A"] == {
        "eng": {"cpus": 5000, "disk": 6000},
        "eng/ci": {"cpus": 1000},
    }


def test_what_does_not_split_counts_by_amounts(tmp_path: Path) -> None:
    disk = {"persistence": {"id": "v"}, "volume": {"mode": "RW", "container_path": "data"}}
    one = agent("A", {"disk": 10})
    one["reserved_resources_full"] = {"eng": [full(6, DYNAMIC, name="disk", disk=disk)]}
    holds = task("t", "A", "eng", 0)
    holds["resources"] = {"disk": 2}
    engine = Allocator.restore(mesos(tmp_path, one, tasks=[holds]).snapshot())
    assert reserved_by(engine) == {"disk": [["STATIC eng", "6000"]]}
    assert engine.agents["A"].allocated["disk"] == 2


def test_reservations_in_full_that_give_way_or_are_not_known(tmp_path: Path) -> None:
    one = agent("A", {"cpus": 8})
    one["reserved_resources_full"] = {"eng": [full(6, DYNAMIC)]}
    found = mesos(tmp_path, one, tasks=[task("t", "A", "sci", 4)])
    assert reserved_by(Allocator.restore(found.snapshot())) == {"cpus": [["STATIC eng", "4000"]]}
    one["reserved_resources_full"] = {"eng": [full(6, {"type": "NEW", "role": "eng"})]}
    found = mesos(tmp_path, one, tasks=[])
    assert reserved_by(Allocator.restore(found.snapshot())) == {"cpus": [["STATIC eng", "6000"]]}


def test_reservations_of_the_operator_api(tmp_path: Path) -> None:
    one = {"id": "A", "resources": [full(3, DYNAMIC), {**full(5, STATIC), "reservations": []}]}
    one["resources"][1]["role"] = "*"
    found = mesos(tmp_path, one, tasks=[task("t", "A", "eng", 4)])
    engine = Allocator.restore(found.snapshot())
    assert reserved_by(engine) == {"cpus": [["DYNAMIC eng ops", "3000"]]}
    assert engine.agents["A"].allocated["cpus"] == 4


# Work without a machine.


def test_work_without_a_machine_keeps_off_what_others_reserved(tmp_path: Path) -> None:
    jobs = "JobID|Account|State|AllocTRES\n1|bio|RUNNING|cpu=6\n2|phys|RUNNING|cpu=5\n"
    nodes = NODES.replace("State=DOWN", "State=IDLE")
    held = reservation("n[0-1]", Accounts="phys")
    found = slurm(tmp_path, nodes, ACCOUNTS, held, jobs)
    places = {(w.path, w.machine) for w in found.placement.found}
    assert places == {(("bio",), "n2"), (("phys",), "n0")}
    assert reserved(found) == {"n0": ["phys"], "n1": ["phys"]}
    assert "gives way" not in "".join(t.text for t in found.told)
    engine = begun(found.scenario().setting())
    assert standing(engine) == standing(Allocator.restore(found.snapshot()))


def test_but_is_put_there_where_there_is_no_other_room(tmp_path: Path) -> None:
    jobs = "JobID|Account|State|AllocTRES\n" + "".join(f"{i}|bio|RUNNING|cpu=6\n" for i in range(3))
    nodes = NODES.replace("State=DOWN", "State=IDLE")
    found = slurm(tmp_path, nodes, ACCOUNTS, reservation("n[0-1]", Accounts="phys"), jobs)
    assert sorted(w.machine or "" for w in found.placement.found) == ["n0", "n2", "n3"]
    assert {id: own["phys"]["cpus"] for id, own in found.reserved.items()} == {
        "n0": 2000,
        "n1": 8000,
    }
    assert "machines where others hold what is reserved, which gives way" in {
        t.text for t in found.told
    }
    engine = begun(found.scenario().setting())
    assert standing(engine) == standing(Allocator.restore(found.snapshot()))


@pytest.mark.parametrize("seed", range(25))
def test_first_fit_beside_reservations_is_the_same_in_run_and_snapshot(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    roles = ["eng", "eng/ci", "sci"]
    agents, tasks = [], []
    for index in range(4):
        cpus = rng.randint(4, 12)
        parts = {r: {"cpus": rng.randint(0, cpus // 3)} for r in roles}
        agents.append(agent(f"A{index}", {"cpus": cpus}, **parts))
    for index in range(rng.randint(1, 12)):
        where = rng.choice(["A0", "A1", "gone", "gone"])
        tasks.append(task(f"t{index}", where, rng.choice(roles), rng.randint(1, 4)))
    found = mesos(tmp_path, *agents, tasks=tasks)
    engine = begun(found.scenario().setting())
    restored = Allocator.restore(found.snapshot())
    for id, of in engine.agents.items():
        other = restored.agents[id]
        assert str(of.total) == str(other.total)
        assert of.allocated["cpus"] == other.allocated["cpus"]
    n_held = sum(w.count * w.demand["cpus"] for w in found.placement.unfit)
    n_tasks = sum(1000 * one["resources"]["cpus"] for one in tasks)
    n_here = sum(1000 * a.allocated["cpus"] for a in engine.agents.values())
    assert n_held + n_here == n_tasks
