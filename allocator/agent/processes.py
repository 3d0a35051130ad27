"""Which processes there are below an init, and what they use, as `/proc` says."""

from __future__ import annotations

import math
import os
import time
from typing import Any, Final, NamedTuple

from allocator.agent.containers.cgroups import Amounts, limit_of

_TICK_SECONDS: Final = 1.0 / os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Process(NamedTuple):
    """One process; times in ticks, those of children that were waited for included."""

    parent: int
    user: int
    system: int
    n_threads: int
    n_pages: int


class Usage(NamedTuple):
    """What a container uses; times in seconds."""

    n_processes: int
    n_threads: int
    user: float
    system: float
    rss_bytes: int


class Table:
    """All processes of the machine, as they are when this is made. O(processes)."""

    def __init__(self) -> None:
        #: By pid.
        self.processes: dict[int, Process] = {}
        #: Pids by that of their parent.
        self.children: dict[int, list[int]] = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                process = _read(int(name))
                if process is not None:
                    self.processes[int(name)] = process
                    self.children.setdefault(process.parent, []).append(int(name))

    def usage(self, init: int) -> Usage | None:
        """Return what a process and all below it use; None if it has ended. O(those)."""
        if init not in self.processes:
            return None
        below = {init}
        left = [init]
        while left:
            # A pid that was used again while we read may be below itself.
            more = [pid for pid in self.children.get(left.pop(), ()) if pid not in below]
            below.update(more)
            left += more
        found = [self.processes[pid] for pid in below]
        return Usage(
            len(found),
            sum(each.n_threads for each in found),
            sum(each.user for each in found) * _TICK_SECONDS,
            sum(each.system for each in found) * _TICK_SECONDS,
            sum(each.n_pages for each in found) * _PAGE_BYTES,
        )


def _read(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            words = file.read().rpartition(b")")[2].split()
    except OSError:
        return None  # it has ended meanwhile
    user, system, user_below, system_below = (int(word) for word in words[11:15])
    return Process(
        parent=int(words[1]),
        user=user + user_below,
        system=system + system_below,
        n_threads=int(words[17]),
        n_pages=int(words[21]),
    )


def statistics(usage: Usage, amounts: Amounts) -> dict[str, Any]:
    """Return what a container uses under Mesos' names."""
    statistics: dict[str, Any] = {
        "timestamp": time.time(),
        "processes": usage.n_processes,
        "threads": usage.n_threads,
        "cpus_user_time_secs": usage.user,
        "cpus_system_time_secs": usage.system,
        "mem_rss_bytes": usage.rss_bytes,
        "mem_total_bytes": usage.rss_bytes,
    }
    cpus = limit_of(amounts.cpus, amounts.cpus_limit)
    mem_mb = limit_of(amounts.mem_mb, amounts.mem_limit_mb)
    if math.isfinite(cpus):
        statistics["cpus_limit"] = cpus
    if math.isfinite(mem_mb):
        statistics["mem_limit_bytes"] = round(mem_mb * 2**20)
    return statistics
