"""Planned maintenance of Mesos: in the snapshot's engine, and as events of the scenario."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from allocator.cli.main import main
from allocator.clock import ManualClock
from allocator.engine import Allocator
from allocator.errors import InvalidValue
from allocator.sim import Scenario, simulate
from allocator.sim.importers import DumpError, Imported, read
from allocator.sim.importers.writing import write_folder
from allocator.sim.setting import ClusterEvent

Json = dict[str, Any]

#: When the dump was taken, in seconds since 1970.
NOW = 1_700_000_000


def agent(id: str, hostname: str, ip: str, **more: Any) -> Json:
    pid = f"slave(1)@{ip}:5051"
    return {"id": id, "hostname": hostname, "pid": pid, "resources": {"cpus": 4}, **more}


def away(start_s: float, duration_s: float | None = None) -> Json:
    found = {"start": {"nanoseconds": int((NOW + start_s) * 1e9)}}
    if duration_s is not None:
        found["duration"] = {"nanoseconds": int(duration_s * 1e9)}
    return found


def window(start_s: float, duration_s: float | None, *machines: Json) -> Json:
    return {"machine_ids": list(machines), "unavailability": away(start_s, duration_s)}


def host(name: str = "", ip: str = "") -> Json:
    return {key: value for key, value in (("hostname", name), ("ip", ip)) if value}


def state(*agents: Json, cpus: float = 3) -> Json:
    where = {"slave_id": "A", "state": "TASK_RUNNING", "resources": {"cpus": cpus}}
    task = {"id": "t", **where, "statuses": [{"state": "TASK_RUNNING", "timestamp": NOW - 5.25}]}
    frameworks = [{"id": "F", "name": "f", "roles": ["eng"], "tasks": [task]}]
    return {"start_time": NOW - 1e6, "slaves": list(agents), "frameworks": frameworks}


AGENTS = (
    agent("A", "Host-a", "10.0.0.1"),
    agent("B", "host-b", "10.0.0.2"),
    agent("C", "host-c", "10.0.0.3", reregistered_time=NOW),
    agent("D", "host-d", "10.0.0.4", active=False),
)


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load(*contents: Json, **options: Any) -> Imported:
        paths = []
        for index, content in enumerate(contents):
            paths.append(tmp_path / f"dump-{index}")
            paths[-1].write_text(json.dumps(content))
        return read("mesos", paths, **options)

    return load


def told(found: Imported) -> dict[str, tuple[str, ...]]:
    return {t.text: t.objects for t in found.told}


def events(found: Imported) -> tuple[ClusterEvent, ...]:
    return found.scenario().setting().events


def unavailable(found: Imported) -> dict[str, tuple[float, float | None]]:
    """Return agent -> when it is away, as frameworks that hold something there are told."""
    engine = Allocator.restore(found.snapshot(), clock=ManualClock())
    for id in engine.agents:
        engine.add_framework(f"on {id}", ["x"], used={id: {"x": "cpus:1"}})
    inverse = engine.allocate().inverse
    return {one.agent: (one.start, one.duration) for one in inverse}


SCHEDULE = {
    "windows": [
        window(3600, 600, host("host-A", "10.0.0.1"), host(ip="10.0.0.2")),
        window(7200, None, host("host-c")),
    ]
}


def test_machines_of_a_schedule_go_and_are_back(load: Any, tmp_path: Path) -> None:
    found = load(state(*AGENTS), SCHEDULE)
    expected = (
        ClusterEvent(3600.0, "drain", None, ("A", "B"), for_s=600.0),
        ClusterEvent(7200.0, "drain", None, ("C",)),
    )
    assert events(found) == expected
    assert unavailable(found) == {"A": (3600, 600), "B": (3600, 600), "C": (7200, None)}
    write_folder(found, str(tmp_path / "lab"))
    scenario = Scenario.load(tmp_path / "lab" / "scenario.toml")
    assert scenario.setting().events == expected
    assert "times are from 2023-11-14T22:13:20Z on, the latest in the dump (--taken)" in told(found)
    # the task of A waits for nothing: it goes to C, and from there back to A or B
    result = simulate(scenario.with_(horizon="8000s"))
    assert result.to_json()["tasks_lost"] == 2
    assert result.counts.running == 1


def test_a_task_waits_until_its_machine_is_back(load: Any) -> None:
    found = load(state(AGENTS[0]), {"windows": [window(100, 50, host("host-a"))]}, taken=NOW)
    result = simulate(found.scenario().with_(horizon="200s"))
    # 3 of 4 cores in 150 of 200 seconds
    assert result.use["cpus"].mean_run == pytest.approx(3 / 4 * 150 / 200)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {
            "type": "GET_MAINTENANCE_SCHEDULE",
            "get_maintenance_schedule": {"schedule": s},
        },
        lambda s: s,
    ],
)
def test_the_forms_of_a_schedule(load: Any, wrap: Any) -> None:
    assert [event.at_s for event in events(load(state(*AGENTS), wrap(SCHEDULE)))] == [3600, 7200]


def test_the_unavailability_of_an_agent(load: Any) -> None:
    one = agent("A", "host-a", "10.0.0.1", unavailability=away(60, 30))
    found = load(state(one), taken=NOW)
    assert unavailable(found) == {"A": (60, 30)}
    assert events(found) == (ClusterEvent(60.0, "drain", None, ("A",), for_s=30.0),)
    same = {"windows": [window(60, 30, host("host-a"))]}
    assert events(load(state(one), same, taken=NOW)) == events(found)
    with pytest.raises(DumpError, match="machine 'A' has two times of maintenance"):
        load(state(one), {"windows": [window(61, 30, host("host-a"))]}, taken=NOW)


@pytest.mark.parametrize(
    ("taken", "at"),
    [
        (NOW - 100, 160.0),
        (f"{NOW - 100}.5", 159.5),
        ("2023-11-14T22:13:20Z", 60.0),
        ("2023-11-14T22:13:20", 60.0),
        ("2023-11-14T23:13:20+01:00", 60.0),
    ],
)
def test_when_the_dump_was_taken(load: Any, taken: Any, at: float) -> None:
    found = load(state(*AGENTS), {"windows": [window(60, 30, host("host-a"))]}, taken=taken)
    assert [event.at_s for event in events(found)] == [at]
    assert not any("the latest in the dump" in text for text in told(found))


def test_windows_that_have_begun_or_are_over(load: Any) -> None:
    windows = [
        window(-100, 160, host("host-a")),
        window(-100, 100, host("host-b")),
        window(-100, None, host("host-c")),
    ]
    found = load(state(*AGENTS), {"windows": windows})
    assert events(found) == (
        ClusterEvent(0.0, "drain", None, ("A",), for_s=60.0),
        ClusterEvent(0.0, "drain", None, ("C",)),
    )
    assert unavailable(found) == {"A": (-100, 160), "C": (-100, None)}
    assert told(found)["windows of maintenance that are over"] == ("2023-11-14T22:11:40Z: B",)
    begun = "windows of maintenance that have begun: their machines go at once"
    assert told(found)[begun] == ("2023-11-14T22:11:40Z: A", "2023-11-14T22:11:40Z: C")


def test_machines_that_are_not_there_or_are_others(load: Any) -> None:
    names = [host("nobody"), host("host-a", "10.0.0.9"), host("host-b", "10.0.0.2")]
    found = load(state(*AGENTS), {"windows": [window(9, 9, *names)]})
    assert [event.ids for event in events(found)] == [("B",)]
    missing = told(found)["machines of windows that are not in the dump"]
    assert missing == ("nobody", "host-a 10.0.0.9")


def test_deactivated_machines_stay_so_when_they_are_back(load: Any) -> None:
    found = load(state(*AGENTS), {"windows": [window(5, 5, host("host-d"))]})
    setting = found.scenario().setting()
    assert ([event.ids for event in setting.events], setting.inactive) == ([("D",)], {"D"})
    assert simulate(found.scenario().with_(horizon="20s")).use["cpus"].peak == 3


def test_machines_that_are_down(load: Any) -> None:
    status = {
        "draining_machines": [{"id": host("host-b"), "statuses": []}],
        "down_machines": [host("host-c"), host(ip="10.0.0.1"), host("gone")],
    }
    wrapped = {"type": "GET_MAINTENANCE_STATUS", "get_maintenance_status": {"status": status}}
    for form in (status, wrapped):
        found = load(state(*AGENTS), form)
        # A holds something, C nothing
        assert set(found.machines) == {"A", "B", "D"}
        assert found.inactive == {"A", "D"}
        assert told(found)["machines down for maintenance, left out"] == ("gone",)


def test_a_dump_that_does_not_say_when_it_was_taken(load: Any) -> None:
    bare = {"slaves": [agent("A", "host-a", "10.0.0.1", registered_time="soon")]}
    found = load(bare, SCHEDULE)
    assert (events(found), unavailable(found)) == ((), {})
    assert any("does not say when it was taken (--taken)" in text for text in told(found))
    assert len(events(load(bare, SCHEDULE, taken=NOW))) == 1


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"machine_ids": [host("a")]}, "without unavailability"),
        (window(0, 5, {}), "neither hostname nor ip"),
        (window(0, -5, host("a")), "negative"),
        ({"machine_ids": [host("a")], "unavailability": {}}, "no time in nanoseconds"),
        (
            {"machine_ids": [host("a")], "unavailability": {"start": {"nanoseconds": 10**30}}},
            "no time in nanoseconds",
        ),
        (
            {"machine_ids": [host("a")], "unavailability": {"start": {"nanoseconds": "x"}}},
            "'x' is no number",
        ),
    ],
)
def test_what_is_no_window_is_refused(load: Any, wrong: Json, match: str) -> None:
    with pytest.raises(DumpError, match=match):
        load(state(*AGENTS), {"windows": [wrong]})


def test_on_the_command_line(load: Any, tmp_path: Path, capsys: Any) -> None:
    load(state(*AGENTS), SCHEDULE)
    files = [str(tmp_path / "dump-0"), str(tmp_path / "dump-1")]
    folder = tmp_path / "lab"
    argv = ["import", "mesos", *files, "-o", str(folder)]
    for wrong in ("yesterday", "-5", "nan", "1e20"):
        assert main([*argv, f"--taken={wrong}"]) == 2
        assert f"taken '{wrong}'" in capsys.readouterr().err
        assert not folder.exists()
    assert main([*argv, "--taken", str(NOW + 600)]) == 0
    text = (folder / "scenario.toml").read_text()
    assert 'at = 3000.0\naction = "drain"\nmachines = ["A", "B"]\nfor = 600.0\n' in text
    with pytest.raises(InvalidValue, match="taken says nothing to slurm"):
        read("slurm", files, taken=NOW)


@pytest.mark.parametrize(
    "nothing",
    [
        {},
        [],
        {"windows": []},
        {"draining_machines": [], "down_machines": []},
        {"type": "GET_MAINTENANCE_SCHEDULE", "get_maintenance_schedule": {"schedule": {}}},
        {"type": "GET_MAINTENANCE_STATUS", "get_maintenance_status": {"status": {}}},
    ],
)
def test_where_nothing_is_planned(load: Any, nothing: Any) -> None:
    found = load(state(*AGENTS), nothing, strict=True)
    assert (events(found), unavailable(found)) == ((), {})
    with pytest.raises(DumpError, match="nothing in it that is imported"):
        load(nothing)
