"""What is left of containers when the launcher or the agent is killed, or the notes are torn."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from allocator.agent.containers.cgroups import Amounts, Cgroups
from tests.agent.machine import (
    Machine,
    is_gone,
    machine,
    processes_below,
    root_name,
    skip_without,
    tree,
)

ROOT = Path(__file__).parents[2]


def test_another_launcher_takes_over(host: Machine) -> None:
    for id in ("a", "b", "c"):
        host.launch(id, "sleep", "1000")
    host.launch(
        "eater",
        "sh",
        "-c",
        "while [ ! -e go ]; do sleep 0.01; done; exec python3 -c 'x = bytearray(2**30)'",
    )
    os.kill(host.launchers[0].pid, signal.SIGKILL)
    host.until(lambda: len(host.launchers) == 2)
    host.launch("d", "sleep", "1000")
    assert not any(is_gone(pid) for pid in host.pids.values())
    assert host.containers.statistics().keys() == {"a", "b", "c", "d", "eater"}
    host.containers.signal("a", signal.SIGTERM)
    assert host.end("a").wait_status == signal.SIGTERM
    host.containers.destroy("b")
    assert host.end("b").wait_status == signal.SIGKILL
    (host.folder / "sandboxes" / "eater" / "go").touch()
    end = host.end("eater")
    assert end.limitation is not None
    assert host.ends.keys() == {"a", "b", "eater"}


@pytest.mark.parametrize("seed", range(4))
def test_a_launcher_that_is_killed_at_any_instant(host: Machine, seed: int) -> None:
    draw = random.Random(seed)
    for number in range(24):
        host.begin(f"c{number}", *draw.choice([("sleep", "1000"), ("true",), ("nosuch",)]))
        if draw.random() < 0.2:
            host.containers.destroy(f"c{draw.randrange(number + 1)}")
        if draw.random() < 0.2:
            time.sleep(draw.random() * 0.01)
            os.kill(host.launchers[-1].pid, signal.SIGKILL)
            n = len(host.launchers)
            host.until(lambda n=n: len(host.launchers) > n)
    ids = {f"c{number}" for number in range(24)}
    host.until(lambda: host.pids.keys() | host.failures.keys() == ids)
    assert host.pids.keys() & host.failures.keys() == set()
    host.until(lambda: set(host.containers) == host.pids.keys() - host.ends.keys())
    host.until(lambda: is_all(host))


def is_all(host: Machine) -> bool:
    """Tell whether the containers that are known run, and nothing else is there."""
    assert host.root is not None
    pids = [host.containers.pid(id) or 0 for id in host.containers]
    if host.root.names() != set(host.containers) or any(is_gone(pid) for pid in pids):
        return False
    return processes_below(host.name) == set().union(*map(tree, pids))


def run_driver(folder: Path, name: str, seed: int) -> tuple[set[str], set[str], set[str]]:
    """Run an agent for a moment and kill it; return what it said was started, ended, destroyed."""
    command = [sys.executable, "-m", "tests.agent.driver", str(folder), name, str(seed)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "ready\n"
        time.sleep(random.Random(seed).random() * 0.3)
        driver.kill()
        said = [line.split() for line in driver.stdout]
    groups: dict[str, set[str]] = {"started": set(), "ended": set(), "destroyed": set()}
    for word, id in (words for words in said if len(words) == 2):
        groups[word].add(id)
    return groups["started"], groups["ended"], groups["destroyed"]


@pytest.mark.parametrize("seed", range(6))
def test_an_agent_that_is_killed_at_any_instant(
    found: Cgroups | str, tmp_path: Path, seed: int
) -> None:
    cgroups, name = skip_without(found), root_name()
    started, ended, destroyed = run_driver(tmp_path, name, seed)
    with machine(tmp_path, cgroups, name) as host:
        ran = host.recover()
        assert started - ended <= ran
        # What was not said to run before runs now, or nothing is left of it.
        host.until(lambda: set(host.containers) | host.ends.keys() == ran)
        host.until(lambda: is_all(host))
        for id, end in host.ends.items():
            killed = end.wait_status == signal.SIGKILL and id in destroyed
            assert end.wait_status == 0 or killed, id


def test_ends_in_the_agents_absence_are_told(found: Cgroups | str, tmp_path: Path) -> None:
    cgroups, name = skip_without(found), root_name()
    first = Machine(tmp_path, cgroups, name)
    wait = "while [ ! -e ../../go ]; do sleep 0.01; done"
    first.shell("exits", f"{wait}; exit 3")
    first.shell("killed", f"{wait}; kill -9 $$")
    eats = "exec python3 -c 'x = bytearray(2**30)'"
    first.shell("eats", f"{wait}; {eats}", amounts=Amounts(mem_mb=32))
    first.launch("stays", "sleep", "1000")
    pids = first.pids
    first.die()
    (tmp_path / "go").touch()
    deadline = time.monotonic() + 60
    while not all(is_gone(pids[id]) for id in ("exits", "killed", "eats")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with machine(tmp_path, cgroups, name) as host:
        assert host.recover() == {"exits", "killed", "eats", "stays"}
        assert host.end("exits") == (3 << 8, None)
        assert host.end("killed") == (signal.SIGKILL, None)
        end = host.end("eats")
        assert end.wait_status == signal.SIGKILL
        assert end.limitation is not None
        assert end.limitation.message.startswith("Memory limit exceeded")
        assert host.containers.pid("stays") == pids["stays"]
        assert host.containers.statistics().keys() == {"stays"}
        host.containers.signal("stays", signal.SIGINT)
        assert host.end("stays").wait_status == signal.SIGINT


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"running x y z", b"gone 1 1 1", b"\xff\xfe"])
def test_a_record_that_is_torn(found: Cgroups | str, tmp_path: Path, content: bytes) -> None:
    cgroups, name = skip_without(found), root_name()
    first = Machine(tmp_path, cgroups, name)
    first.launch("a", "sleep", "1000")
    first.launch("b", "sleep", "1000")
    first.die()
    (tmp_path / "meta" / "containers" / "a" / "record").write_bytes(content)
    with machine(tmp_path, cgroups, name) as host:
        assert host.recover() == {"b"}
        host.until(lambda: is_gone(first.pids["a"]))
        host.until(lambda: list(host.containers) == ["b"])
        assert not host.ends


def test_cgroups_that_nobody_knows_are_removed(found: Cgroups | str, tmp_path: Path) -> None:
    cgroups, name = skip_without(found), root_name()
    first = Machine(tmp_path / "first", cgroups, name)
    first.shell("a", "sleep 1000 & sleep 1000")
    first.until(lambda: len(tree(first.pids["a"])) == 4)
    first.die()
    second = tmp_path / "second"
    (second / "meta" / "containers").mkdir(parents=True)
    with machine(second, cgroups, name) as host:
        assert host.root is not None
        for path in host.root.paths:
            (path / "a" / "below" / "deeper").mkdir(parents=True)
        (host.root.paths[0] / "stray").mkdir()
        assert host.recover() == set()
        host.until(lambda: host.root is not None and not host.root.names())
        host.until(lambda: is_gone(first.pids["a"]))
        assert not host.ends


def test_a_record_of_another_start_of_the_machine(found: Cgroups | str, tmp_path: Path) -> None:
    cgroups, name = skip_without(found), root_name()
    meta = tmp_path / "meta"
    for id, record in (("a", b"running 1 4 0"), ("b", b"ended 1 4 768")):
        (meta / "containers" / id).mkdir(parents=True)
        (meta / "containers" / id / "record").write_bytes(record.ljust(63) + b"\n")
    (meta / "boot").write_text("another\n")
    with machine(tmp_path, cgroups, name) as host:
        assert host.recover() == {"a", "b"}
        assert host.end("a").wait_status is None
        assert host.end("b").wait_status == 768
    assert not is_gone(1)


def test_a_pid_of_another_process_is_not_taken_for_its_init(
    found: Cgroups | str, tmp_path: Path
) -> None:
    cgroups, name = skip_without(found), root_name()
    with subprocess.Popen(["sleep", "1000"]) as other:
        with machine(tmp_path, cgroups, name) as first:
            first.launch("a", "sleep", "1000")
        folder = tmp_path / "meta" / "containers" / "b"
        folder.mkdir()
        (folder / "record").write_bytes(f"running {other.pid} 4 0".encode().ljust(63) + b"\n")
        with machine(tmp_path, cgroups, name) as host:
            assert host.recover() >= {"b"}
            assert host.end("b").wait_status == signal.SIGKILL
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize("seed", range(2))
def test_launches_and_kills_interleaved(host: Machine, seed: int) -> None:
    draw = random.Random(seed)
    ids = [f"c{number}" for number in range(100)]
    for number, id in enumerate(ids):
        host.begin(
            id, *draw.choice([("sleep", "1000"), ("true",), ("sh", "-c", "sleep 1000 & wait")])
        )
        for _ in range(draw.randrange(3)):
            other = ids[draw.randrange(number + 1)]
            if draw.random() < 0.5:
                host.containers.signal(other, draw.choice([1, 2, 10, 15]))
            else:
                host.containers.destroy(other)
    host.until(lambda: host.pids.keys() | host.failures.keys() == set(ids))
    host.until(lambda: len(host.containers) == len(host.pids.keys() - host.ends.keys()))
    host.destroy_all()
    assert processes_below(host.name) == set()


def test_a_full_disk(found: Cgroups | str, tmp_path: Path) -> None:
    usable = skip_without(found)
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(tmp_path)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("nothing can be mounted")
    try:
        with machine(tmp_path, usable) as host:
            host.launch("stays", "sleep", "1000")
            eats = "python3 -c 'x = bytearray(2**30)'"
            host.shell("eats", f"while [ ! -e go ]; do sleep 0.01; done; {eats}; sleep 1000")
            sandbox = host.shell("fills", "cat /dev/zero > zeros; exit 3")
            assert host.end("fills").wait_status == 3 << 8
            with pytest.raises(OSError, match="No space left"):
                (tmp_path / "more").write_bytes(bytes(2**18))
            with pytest.raises(OSError, match="No space left"):
                host.begin("late", "true")
            assert "late" not in host.containers
            with pytest.raises(OSError, match="No space left"):
                (tmp_path / "more").write_bytes(bytes(2**18))
            (host.folder / "sandboxes" / "eats" / "go").symlink_to("/")
            end = host.end("eats")
            assert end.limitation is not None
            (sandbox / "zeros").unlink()
            (tmp_path / "more").unlink()
            host.containers.signal("stays", signal.SIGTERM)
            assert host.end("stays").wait_status == signal.SIGTERM
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
