"""Cgroups: where they are, looked up once, and what is written into them.

Mounts are read when an agent starts and never again: afterwards all names are below folders that
are held open. What goes wrong then is told by the error of what was tried.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from allocator.errors import AllocatorError, InvalidValue, shown

#: What limits a container in v1, each in its hierarchy, and in v2.
V1_CONTROLLERS: Final = ("cpu", "cpuacct", "memory", "pids")
V2_CONTROLLERS: Final = ("cpu", "memory", "pids")

CFS_PERIOD_US: Final = 100_000
MIN_QUOTA_US: Final = 1_000
MIN_SHARES: Final = 2
SHARES_PER_CPU: Final = 1024
MIN_MEMORY_BYTES: Final = 32 * 2**20
_MAX_SHARES: Final = 262_144


class NoCgroups(AllocatorError):
    """Containers cannot be limited on this machine; the text says what is missing."""


class Hierarchy(NamedTuple):
    """A mounted hierarchy of cgroups."""

    path: Path
    #: What it controls; of v2 what its root offers.
    controllers: frozenset[str]
    is_v2: bool = False


class Cgroups(NamedTuple):
    """The hierarchies that containers are in, each with a cgroup of every container."""

    #: v1 ones in the order of their controllers, then that of v2.
    hierarchies: tuple[Hierarchy, ...]

    @property
    def v1(self) -> tuple[Hierarchy, ...]:
        """Those of v1; none where limits are v2's."""
        return tuple(each for each in self.hierarchies if not each.is_v2)

    @property
    def unified(self) -> Hierarchy | None:
        """That of v2: with v1 ones it only serves to place and to kill."""
        last = self.hierarchies[-1]
        return last if last.is_v2 else None

    @property
    def kind(self) -> str:
        """`v1`, `v2` or `hybrid`."""
        if not self.v1:
            return "v2"
        return "v1" if self.unified is None else "hybrid"

    def of(self, controller: str) -> int:
        """Return the index of the hierarchy where a controller's files are."""
        for index, each in enumerate(self.hierarchies):
            if controller in each.controllers and (not self.v1 or not each.is_v2):
                return index
        raise KeyError(controller)


class Amounts(NamedTuple):
    """What a container was promised and may use at most; None where nothing is said.

    Cores and MB; `math.inf` is no limit, which is the same as none of a request.
    """

    cpus: float | None = None
    cpus_limit: float | None = None
    mem_mb: float | None = None
    mem_limit_mb: float | None = None
    pids_limit: float | None = None
    #: Whether a container may use no more than its cores when others are idle.
    has_quota: bool = True
    limits_swap: bool = False


class Setting(NamedTuple):
    """A value in a file of a cgroup."""

    controller: str
    file: str
    value: str


# What is mounted.


def read_mounts(text: str) -> list[Hierarchy]:
    """Return the hierarchies in `/proc/self/mountinfo`, in its order; O(lines).

    Examples
    --------
    >>> read_mounts("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct")[0].path
    PosixPath('/sys/fs/cgroup/cpu')
    """
    found = []
    for line in text.splitlines():
        mount, separator, system = line.partition(" - ")
        fields, kind = mount.split(" "), system.split(" ")
        if not separator or len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] not in ("cgroup", "cgroup2"):
            continue
        names = kind[2].split(",") if kind[0] == "cgroup" else []
        path = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        found.append(Hierarchy(path, frozenset(names), kind[0] == "cgroup2"))
    return found


def disabled_controllers(text: str) -> set[str]:
    """Return which controllers `/proc/cgroups` says the kernel has, but has turned off."""
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {row[0] for row in rows if len(row) == 4 and row[3] == "0"}


def choose(mounts: Iterable[Hierarchy], below: Path) -> Cgroups:
    """Return the hierarchies to use of those that are mounted at or below a folder.

    Those of v1 if all four controllers have one, with that of v2 where there is one; else that of
    v2 if it controls all.

    Raises
    ------
    NoCgroups
        Neither can be used.
    """
    mounts = [each for each in mounts if each.path.is_relative_to(below)]
    unified = next((each for each in mounts if each.is_v2), None)
    v1: dict[str, Hierarchy] = {}
    for each in mounts:
        for name in () if each.is_v2 else each.controllers:
            v1.setdefault(name, each)
    missing = [name for name in V1_CONTROLLERS if name not in v1]
    if not missing:
        chosen = tuple(dict.fromkeys(v1[name] for name in V1_CONTROLLERS))
        return Cgroups(chosen if unified is None else (*chosen, unified))
    if unified is not None and unified.controllers.issuperset(V2_CONTROLLERS):
        return Cgroups((unified,))
    if not mounts:
        raise NoCgroups(f"no cgroups are mounted at or below {below}")
    lacks = "" if unified is None else _lacks(unified)
    raise NoCgroups(f"no v1 hierarchy below {below} has {', '.join(missing)}{lacks}")


def _lacks(unified: Hierarchy) -> str:
    names = [name for name in V2_CONTROLLERS if name not in unified.controllers]
    return f", and that of v2 at {unified.path} does not have {', '.join(names)}"


def find(below: Path) -> Cgroups:
    """Return the hierarchies of this machine that containers can use.

    Raises
    ------
    NoCgroups
        None can be used.
    """
    mounts = []
    for each in read_mounts(Path("/proc/self/mountinfo").read_text()):
        if each.is_v2:
            try:
                names = (each.path / "cgroup.controllers").read_text().split()
            except OSError:
                continue
            each = each._replace(controllers=frozenset(names))
        mounts.append(each)
    try:
        return choose(mounts, below)
    except NoCgroups as error:
        off = disabled_controllers(Path("/proc/cgroups").read_text())
        off &= set(V1_CONTROLLERS)
        if not off:
            raise
        raise NoCgroups(f"{error}; the kernel has {', '.join(sorted(off))} turned off") from None


# The agent's cgroups.


class Root:
    """The cgroup of an agent in each hierarchy, below which are those of its containers.

    Created if need be; no other agent may use it meanwhile.

    Parameters
    ----------
    cgroups : Cgroups
    name : str
        Such as `allocator`; may be of several folders.

    Raises
    ------
    NoCgroups
        It cannot be made or used, or another agent uses it.
    """

    def __init__(self, cgroups: Cgroups, name: str) -> None:
        parts = Path(name).parts
        if not parts or any(part in ("..", "/") or part.startswith("cgroup.") for part in parts):
            raise InvalidValue(f"--cgroups-root {shown(name)}: is no name such as 'allocator'")
        self.cgroups = cgroups
        #: Below each hierarchy.
        self.name = "/" + "/".join(parts)
        #: Its folder in each hierarchy, as path and as descriptor.
        self.paths = [each.path.joinpath(*parts) for each in cgroups.hierarchies]
        self.folders: list[int] = []
        self._lock = -1
        try:
            for hierarchy, path in zip(cgroups.hierarchies, self.paths, strict=True):
                self.folders.append(_open_root(cgroups, hierarchy, path))
            self._lock = _lock(self.paths[0])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let another agent use it; containers stay."""
        while self.folders:
            os.close(self.folders.pop())
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def names(self) -> set[str]:
        """Return the names of all cgroups that are there, of containers or left by somebody."""
        names: set[str] = set()
        for folder in self.folders:
            with os.scandir(folder) as entries:
                names.update(each.name for each in entries if each.is_dir(follow_symlinks=False))
        return names


def _open_root(cgroups: Cgroups, hierarchy: Hierarchy, path: Path) -> int:
    try:
        path.mkdir(parents=True, exist_ok=True)
        if cgroups.kind == "v2":
            enable = " ".join(f"+{name}" for name in V2_CONTROLLERS)
            relative = path.relative_to(hierarchy.path)
            for folder in (*reversed(relative.parents), relative):
                (hierarchy.path / folder / "cgroup.subtree_control").write_text(enable)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NoCgroups(f"cgroups below {error.filename or path}: {error.strerror}") from None


def _lock(path: Path) -> int:
    """Return a descriptor that keeps others from a root; nobody else ever has it."""
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise NoCgroups(
            f"another agent has its containers below {path}; give this one another --cgroups-root"
        ) from None
    return lock


# What is written into a container's cgroups.


def thousandths(amount: float) -> int:
    """Return an amount in thousandths, which is how exact resources are."""
    return round(amount * 1000)


def cpu_shares(cpus: float) -> int:
    """Return the v1 weight of so many cores.

    Examples
    --------
    >>> [cpu_shares(cpus) for cpus in (1, 0.1, 0.0001, 2.5)]
    [1024, 102, 2, 2560]
    """
    return max(MIN_SHARES, SHARES_PER_CPU * thousandths(cpus) // 1000)


def cpu_weight(shares: int) -> int:
    """Return the v2 weight that stands for v1 shares, by the kernel's own rule.

    Examples
    --------
    >>> [cpu_weight(shares) for shares in (2, 1024, 262144)]
    [1, 39, 10000]
    """
    return 1 + (min(shares, _MAX_SHARES) - 2) * 9999 // 262142


def cfs_quota_us(cpus: float) -> int:
    """Return how much of each period a container may run that is limited to so many cores.

    Examples
    --------
    >>> [cfs_quota_us(cpus) for cpus in (0.29, 0.001, 2, math.inf)]
    [29000, 1000, 200000, -1]
    """
    if math.isinf(cpus):
        return -1
    return max(MIN_QUOTA_US, CFS_PERIOD_US * thousandths(cpus) // 1000)


def memory_bytes(mb: float) -> int:
    """Return an amount of memory in bytes, at least what a container needs to start.

    Examples
    --------
    >>> memory_bytes(64), memory_bytes(1) == MIN_MEMORY_BYTES
    (67108864, True)
    """
    return max(MIN_MEMORY_BYTES, thousandths(mb) * 2**20 // 1000)


def limit_of(request: float | None, limit: float | None) -> float:
    """Return the most that may be used: what is said, else what was asked for, else no limit."""
    if limit is not None:
        return limit
    return math.inf if request is None else request


def settings(kind: str, amounts: Amounts) -> list[Setting]:
    """Return what is written into the cgroups of a container, in order.

    What a new cgroup has anyhow is not written: no limits, 1024 shares in v1, periods of 100 ms.

    Examples
    --------
    >>> [each.value for each in settings("v2", Amounts(cpus=1, mem_mb=64, pids_limit=100))]
    ['39', '100000 100000', '67108864', '67108864', '100']
    """
    return _v2_settings(amounts) if kind == "v2" else _v1_settings(amounts)


def _v1_settings(amounts: Amounts) -> list[Setting]:
    found = []
    if amounts.cpus is not None:
        found.append(Setting("cpu", "cpu.shares", str(cpu_shares(amounts.cpus))))
    cpus = limit_of(amounts.cpus, amounts.cpus_limit)
    if amounts.has_quota and not math.isinf(cpus):
        found.append(Setting("cpu", "cpu.cfs_quota_us", str(cfs_quota_us(cpus))))
    if amounts.mem_mb is not None:
        soft = str(memory_bytes(amounts.mem_mb))
        found.append(Setting("memory", "memory.soft_limit_in_bytes", soft))
    mem = limit_of(amounts.mem_mb, amounts.mem_limit_mb)
    if not math.isinf(mem):
        limit = str(memory_bytes(mem))
        found.append(Setting("memory", "memory.limit_in_bytes", limit))
        if amounts.limits_swap:
            found.append(Setting("memory", "memory.memsw.limit_in_bytes", limit))
    return [*found, *_pids(amounts)]


def _v2_settings(amounts: Amounts) -> list[Setting]:
    shares = cpu_shares(1 if amounts.cpus is None else amounts.cpus)
    found = [Setting("cpu", "cpu.weight", str(cpu_weight(shares)))]
    cpus = limit_of(amounts.cpus, amounts.cpus_limit)
    if amounts.has_quota and not math.isinf(cpus):
        found.append(Setting("cpu", "cpu.max", f"{cfs_quota_us(cpus)} {CFS_PERIOD_US}"))
    if amounts.mem_mb is not None:
        found.append(Setting("memory", "memory.low", str(memory_bytes(amounts.mem_mb))))
    mem = limit_of(amounts.mem_mb, amounts.mem_limit_mb)
    if not math.isinf(mem):
        found.append(Setting("memory", "memory.max", str(memory_bytes(mem))))
        if amounts.limits_swap:
            found.append(Setting("memory", "memory.swap.max", "0"))
    return [*found, *_pids(amounts)]


def _pids(amounts: Amounts) -> Sequence[Setting]:
    if amounts.pids_limit is None or math.isinf(amounts.pids_limit):
        return ()
    return (Setting("pids", "pids.max", str(int(amounts.pids_limit))),)


def change(root: Root, name: str, amounts: Amounts) -> list[tuple[Setting, OSError]]:
    """Hold a container that runs to other amounts; return what cannot be written.

    A limit of memory is not set below what is in use: v1 refuses that, and v2 would kill for it.
    """
    left = _changes(root.cgroups.kind, amounts)
    failed: list[tuple[Setting, OSError]] = []
    for _ in range(2):  # of limits that hold one another, one has to be written first
        failed = []
        for each in left:
            folder = root.folders[root.cgroups.of(each.controller)]
            try:
                _write(folder, f"{name}/{each.file}", each)
            except OSError as error:
                failed.append((each, error))
        left = [each for each, _ in failed]
    return failed


#: In v1 and v2.
_NO_LIMITS: Final = (
    (("cpu.cfs_quota_us", "-1"), ("memory.limit_in_bytes", "-1")),
    (("cpu.max", f"max {CFS_PERIOD_US}"), ("memory.max", "max")),
)


def _changes(kind: str, amounts: Amounts) -> list[Setting]:
    """Return what is written into cgroups that may have had other amounts, the absent ones too."""
    found = settings(kind, amounts)
    written = {each.file for each in found}
    quota, limit = _NO_LIMITS[kind == "v2"]
    none = (Setting("cpu", *quota), Setting("memory", *limit))
    skipped = {"cpu.max", "cpu.cfs_quota_us"} if not amounts.has_quota else set()
    return [*(each for each in none if each.file not in written | skipped), *found]


def _write(folder: int, path: str, setting: Setting) -> None:
    if setting.file == "memory.max" and setting.value != "max":
        current = path.replace("memory.max", "memory.current")
        if int(_read_at(folder, current)) > int(setting.value):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.write(file, setting.value.encode("ascii"))
    finally:
        os.close(file)


def _read_at(folder: int, path: str) -> bytes:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        return os.read(file, 64)
    finally:
        os.close(file)
