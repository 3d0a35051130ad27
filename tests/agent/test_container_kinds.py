"""Containers on machines of other kinds than this one, as far as it can stand for them."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from allocator.agent.containers import cgroups
from allocator.agent.containers._usage import Files
from allocator.agent.containers.cgroups import Amounts, Cgroups, Hierarchy, Root
from allocator.agent.containers.protocol import NotLaunched
from tests.agent.machine import Machine, cgroup_of, is_gone, machine, skip_without, tree


@pytest.fixture
def v1(found: Cgroups | str, tmp_path: Path) -> Iterator[Machine]:
    """A machine that has no cgroups of v2."""
    usable = skip_without(found)
    if not usable.v1:
        pytest.skip("there are no hierarchies of v1")
    with machine(tmp_path, Cgroups(usable.v1)) as this:
        yield this


@pytest.fixture
def v2(found: Cgroups | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine that has only cgroups of v2, without limits where v1 has the controllers."""
    unified = skip_without(found).unified
    if unified is None:
        pytest.skip("there is no hierarchy of v2")
    if not unified.controllers.issuperset(cgroups.V2_CONTROLLERS):
        monkeypatch.setattr(cgroups, "V2_CONTROLLERS", ())
        monkeypatch.setattr(cgroups, "settings", lambda kind, amounts: [])
    with machine(tmp_path, Cgroups((unified,))) as this:
        yield this


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Machine]:
    """A machine whose containers have neither namespaces nor cgroups."""
    with machine(tmp_path, None) as this:
        yield this


def test_v1_alone(v1: Machine) -> None:
    sandbox = v1.shell("a", "sleep 1000 & echo $!; exec sleep 1000")
    v1.until(lambda: (sandbox / "stdout").read_text() and len(tree(v1.pids["a"])) == 3)
    pids = tree(v1.pids["a"])
    for pid in pids:
        of = cgroup_of(pid)
        assert {of[name] for name in cgroups.V1_CONTROLLERS} == {f"/{v1.name}/a"}
    assert v1.containers.statistics()["a"]["processes"] == 3
    v1.containers.signal("a", signal.SIGTERM)
    assert v1.end("a").wait_status == signal.SIGTERM
    assert all(is_gone(pid) for pid in pids)
    v1.launch("b", "python3", "-c", "x = bytearray(2**30)", amounts=Amounts(mem_mb=32))
    assert v1.end("b").limitation is not None


def test_v2_alone(v2: Machine) -> None:
    v2.shell("a", "sleep 1000 & exec sleep 1000")
    v2.until(lambda: len(tree(v2.pids["a"])) == 3)
    pids = tree(v2.pids["a"])
    assert {cgroup_of(pid)[""] for pid in pids} == {f"/{v2.name}/a"}
    v2.containers.destroy("a")
    assert v2.end("a").wait_status == signal.SIGKILL
    assert all(is_gone(pid) for pid in pids)
    with pytest.raises(NotLaunched, match="execute nosuch"):
        v2.launch("b", "nosuch")


def test_none_at_all(bare: Machine) -> None:
    bare.shell("a", "setsid sh -c 'sleep 1000 & sleep 1000' & exec sleep 1000")
    bare.until(lambda: len(tree(bare.pids["a"])) >= 5)
    pids = tree(bare.pids["a"])
    bare.containers.signal("a", signal.SIGTERM)
    assert bare.end("a").wait_status == signal.SIGTERM
    assert all(is_gone(pid) for pid in pids)


def test_none_at_all_and_destroyed(bare: Machine) -> None:
    bare.shell("a", "trap '' TERM; (setsid sleep 1000 &) ; while :; do sleep 0.01; done")
    bare.until(lambda: len(tree(bare.pids["a"])) >= 3)
    pids = tree(bare.pids["a"])
    bare.containers.signal("a", signal.SIGTERM)
    bare.containers.destroy("a")
    assert bare.end("a").wait_status == signal.SIGKILL
    assert all(is_gone(pid) for pid in pids)
    with pytest.raises(NotLaunched, match="execute nosuch"):
        bare.launch("b", "nosuch")


# What a machine of v2 shows, from files.

V2_FILES = {
    "cpu.stat": "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\nnr_periods 7\n"
    "nr_throttled 3\nthrottled_usec 2500000\n",
    "memory.current": "104857600\n",
    "memory.max": "134217728\n",
    "memory.stat": "anon 5000\nfile 6000\nkernel 1\nfile_mapped 700\nunevictable 80\n",
    "memory.swap.current": "90\n",
    "pids.current": "5\n",
    "cgroup.procs": "1\n2\n33\n",
}


def folder_of(path: Path, files: dict[str, str]) -> Root:
    (path / "cgroup.subtree_control").touch()
    (path / "root" / "a").mkdir(parents=True)
    (path / "root" / "cgroup.subtree_control").touch()
    for name, text in files.items():
        (path / "root" / "a" / name).write_text(text)
    return Root(Cgroups((Hierarchy(path, frozenset(cgroups.V2_CONTROLLERS), True),)), "root")


def test_statistics_of_v2(tmp_path: Path) -> None:
    root = folder_of(tmp_path, V2_FILES)
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert (tmp_path / "root" / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    files = Files(root, "a", 1.5)
    expected = {
        "timestamp": 12.5,
        "processes": 3,
        "threads": 5,
        "cpus_user_time_secs": 2.0,
        "cpus_system_time_secs": 1.0,
        "cpus_limit": 1.5,
        "cpus_nr_periods": 7,
        "cpus_nr_throttled": 3,
        "cpus_throttled_time_secs": 2.5,
        "mem_total_bytes": 104857600,
        "mem_limit_bytes": 134217728,
        "mem_rss_bytes": 5000,
        "mem_anon_bytes": 5000,
        "mem_cache_bytes": 6000,
        "mem_file_bytes": 6000,
        "mem_mapped_file_bytes": 700,
        "mem_swap_bytes": 90,
        "mem_unevictable_bytes": 80,
    }
    assert files.read(12.5) == expected
    (tmp_path / "root" / "a" / "cpu.stat").write_text("usage_usec 1\nuser_usec 1\nsystem_usec 0\n")
    later = files.read(13.0)
    assert (later["cpus_user_time_secs"], later["cpus_system_time_secs"]) == (2.0, 1.0)
    assert "cpus_nr_periods" not in later
    files.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        files.read(14.0)
    root.close()


def test_no_limits_are_not_shown(tmp_path: Path) -> None:
    root = folder_of(tmp_path, {**V2_FILES, "memory.max": "max\n"})
    files = Files(root, "a", math.inf)
    shown = files.read(1.0)
    assert "mem_limit_bytes" not in shown
    assert "cpus_limit" not in shown
    root.close()


def test_a_file_that_is_missing_leaves_none_open(tmp_path: Path) -> None:
    without = {name: text for name, text in V2_FILES.items() if name != "memory.max"}
    root = folder_of(tmp_path, without)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError, match=r"memory\.max"):
        Files(root, "a", 1.0)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    root.close()
