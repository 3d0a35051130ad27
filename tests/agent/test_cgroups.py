"""Where cgroups are, and what is written into them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from allocator.agent.containers import cgroups
from allocator.agent.containers.cgroups import (
    MIN_MEMORY_BYTES,
    Amounts,
    Cgroups,
    Hierarchy,
    NoCgroups,
    Root,
)
from allocator.errors import InvalidValue

BASE = Path("/sys/fs/cgroup")

HYBRID = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
50 27 0:40 / /mnt/with\\040space/cpu rw - cgroup cgroup rw,cpu
"""


def v2(*controllers: str) -> Hierarchy:
    return Hierarchy(BASE, frozenset(controllers), is_v2=True)


def v1(*controllers: str) -> Hierarchy:
    return Hierarchy(BASE / ",".join(controllers), frozenset(controllers))


V1 = [v1("cpu", "cpuacct"), v1("memory"), v1("pids")]


def test_mounts_are_read_with_their_controllers_and_odd_names() -> None:
    mounts = cgroups.read_mounts(HYBRID)
    assert [str(each.path) for each in mounts] == [
        "/sys/fs/cgroup/cpu,cpuacct",
        "/sys/fs/cgroup/memory",
        "/sys/fs/cgroup/pids",
        "/sys/fs/cgroup/systemd",
        "/sys/fs/cgroup/unified",
        "/mnt/with space/cpu",
    ]
    assert [each.is_v2 for each in mounts] == [False, False, False, False, True, False]
    assert mounts[0].controllers >= {"cpu", "cpuacct"}


def test_a_hybrid_machine_limits_by_v1_and_places_by_v2() -> None:
    found = cgroups.choose(cgroups.read_mounts(HYBRID), BASE)
    assert found.kind == "hybrid"
    assert [each.path.name for each in found.hierarchies] == [
        "cpu,cpuacct",
        "memory",
        "pids",
        "unified",
    ]
    assert [found.of(name) for name in ("cpu", "cpuacct", "memory", "pids")] == [0, 0, 1, 2]


def test_only_what_is_mounted_below_the_folder_counts() -> None:
    with pytest.raises(NoCgroups, match=r"below /mnt has cpuacct, memory, pids$"):
        cgroups.choose(cgroups.read_mounts(HYBRID), Path("/mnt"))
    with pytest.raises(NoCgroups, match="no cgroups are mounted at or below /nowhere"):
        cgroups.choose(cgroups.read_mounts(HYBRID), Path("/nowhere"))


def test_v1_alone_and_v2_alone() -> None:
    assert cgroups.choose(V1, BASE).kind == "v1"
    found = cgroups.choose([v2("cpu", "io", "memory", "pids")], BASE)
    assert found.kind == "v2"
    assert found.of("memory") == 0
    assert found.unified == found.hierarchies[0]


def test_what_is_missing_is_named() -> None:
    with pytest.raises(NoCgroups, match=r"has pids, and that of v2 .* not have cpu, memory, pids"):
        cgroups.choose([*V1[:2], v2("hugetlb")], BASE)


def test_controllers_that_are_turned_off() -> None:
    text = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t0\t1\t0\n"
    assert cgroups.disabled_controllers(text) == {"memory"}


@pytest.mark.parametrize(
    ("cpus", "shares"), [(0, 2), (0.001, 2), (0.002, 2), (0.003, 3), (1, 1024), (3.3, 3379)]
)
def test_shares(cpus: float, shares: int) -> None:
    assert cgroups.cpu_shares(cpus) == shares


@pytest.mark.parametrize(
    ("cpus", "quota"),
    [(0.29, 29000), (0.57, 57000), (0.005, 1000), (1, 100000), (12.5, 1250000), (math.inf, -1)],
)
def test_quota(cpus: float, quota: int) -> None:
    assert cgroups.cfs_quota_us(cpus) == quota


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(2, 1), (102, 4), (1024, 39), (2048, 79), (262144, 10000), (10**9, 10000)],
)
def test_weight_is_the_kernels(shares: int, weight: int) -> None:
    assert cgroups.cpu_weight(shares) == weight


@pytest.mark.parametrize(
    ("mb", "number"), [(0, MIN_MEMORY_BYTES), (31.9, MIN_MEMORY_BYTES), (64.5, 67633152)]
)
def test_memory(mb: float, number: int) -> None:
    assert cgroups.memory_bytes(mb) == number


def values(kind: str, amounts: Amounts) -> dict[str, str]:
    return {each.file: each.value for each in cgroups.settings(kind, amounts)}


def test_settings_of_v1() -> None:
    amounts = Amounts(cpus=0.5, cpus_limit=2, mem_mb=64, mem_limit_mb=128, pids_limit=9)
    assert values("hybrid", amounts) == {
        "cpu.shares": "512",
        "cpu.cfs_quota_us": "200000",
        "memory.soft_limit_in_bytes": "67108864",
        "memory.limit_in_bytes": "134217728",
        "pids.max": "9",
    }


def test_settings_of_v2() -> None:
    amounts = Amounts(cpus=0.5, cpus_limit=2, mem_mb=64, mem_limit_mb=128, pids_limit=9)
    assert values("v2", amounts) == {
        "cpu.weight": "20",
        "cpu.max": "200000 100000",
        "memory.low": "67108864",
        "memory.max": "134217728",
        "pids.max": "9",
    }


def test_nothing_asked_for_is_no_limit() -> None:
    assert values("v1", Amounts()) == {}
    assert values("v2", Amounts()) == {"cpu.weight": "39"}
    assert values("v1", Amounts(cpus=1, has_quota=False)) == {"cpu.shares": "1024"}
    unlimited = Amounts(cpus=1, cpus_limit=math.inf, mem_mb=64, mem_limit_mb=math.inf)
    assert values("v1", unlimited) == {
        "cpu.shares": "1024",
        "memory.soft_limit_in_bytes": "67108864",
    }


def test_swap_is_limited_where_asked_for() -> None:
    amounts = Amounts(mem_mb=64, limits_swap=True)
    assert values("v1", amounts)["memory.memsw.limit_in_bytes"] == "67108864"
    assert values("v2", amounts)["memory.swap.max"] == "0"


@pytest.mark.parametrize("name", ["", "..", "a/../b", "/a", "cgroup.procs"])
def test_a_root_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidValue, match="--cgroups-root"):
        Root(Cgroups((v2("cpu", "memory", "pids"),)), name)


def test_a_root_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    hierarchy = Hierarchy(file, frozenset(cgroups.V1_CONTROLLERS))
    with pytest.raises(NoCgroups, match=r"cgroups below .*/file/x: Not a directory"):
        Root(Cgroups((hierarchy,)), "x")


def test_two_agents_do_not_share_a_root(tmp_path: Path) -> None:
    hierarchy = Hierarchy(tmp_path, frozenset(cgroups.V1_CONTROLLERS))
    first = Root(Cgroups((hierarchy,)), "x")
    with pytest.raises(NoCgroups, match=r"another agent has its containers below .*/x"):
        Root(Cgroups((hierarchy,)), "x")
    first.close()
    Root(Cgroups((hierarchy,)), "x").close()
