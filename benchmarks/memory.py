"""Bytes an agent, a framework and a filter, and the most that a SingleRole cycle takes.

What `tracemalloc` sees is counted: all that Python, NumPy and the compiled modules ask Python's
allocators for, so also the arrays of C records that the engine keeps (`PyMem_Realloc`). The names
given to the engine are in it.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

from allocator import Allocator
from allocator.sim import single_role

from .declines import all_rounds
from .engines import add_frameworks, build, look_at
from .grid import sizes


def bytes_kept(work: Callable[[], object]) -> int:
    """Return by how many bytes more is held after `work` than before."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    work()
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return after - before


class BytesPerAgent:
    """Agents with four scalars and a port range, all of one size or each of its own."""

    params = (sizes(smoke=[200], default=[10_000], full=[1000, 10_000, 50_000]), [True, False])
    param_names = ("agents", "alike")
    unit = "bytes"
    timeout = 1800

    def track_bytes(self, n_agents: int, alike: bool) -> float:
        """Bytes an agent with four scalars and a port range: reach 600."""
        engine = build("drf", n_agents, 0)

        def add() -> None:
            for index in range(n_agents):
                memory_mb = 4096 if alike else 4096 + index
                resources = f"cpus:24;mem:{memory_mb};disk:4096;net:1000;ports:[31000-32000]"
                engine.add_agent(f"agent{index}", resources)

        return bytes_kept(add) / n_agents


class BytesPerFramework:
    """Frameworks without any offer, in one role or each in a role of its own."""

    params = (sizes(smoke=[200], default=[1000], full=[1000, 10_000]), [False, True])
    param_names = ("frameworks", "own_roles")
    unit = "bytes"
    timeout = 1800

    def track_bytes(self, n_frameworks: int, own_roles: bool) -> float:
        """Bytes a framework: reach 1024."""
        engine = build("drf", 0, n_frameworks)

        def add() -> None:
            if not own_roles:
                add_frameworks(engine, n_frameworks, "batch")
                return
            for index in range(n_frameworks):
                engine.add_framework(f"framework{index}", roles=(f"role{index}",))

        return bytes_kept(add) / n_frameworks


class BytesPerFilter:
    """All frameworks of a role declined all agents for ever.

    The first cycle comes before, so that what the cycles themselves keep is not counted.
    """

    params = (
        sizes(smoke=[50], default=[1000, 10_000], full=[1000, 10_000, 50_000]),
        sizes(smoke=[5], default=[50], full=[50, 200]),
    )
    param_names = ("agents", "frameworks")
    unit = "bytes"
    timeout = 1800

    def track_bytes(self, n_agents: int, n_frameworks: int) -> float:
        """Bytes a filter: reach 32."""
        engine = single_role.build(n_agents, n_frameworks)
        engine.rescind(engine.allocate())
        kept = bytes_kept(lambda: all_rounds(engine))
        return kept / (n_agents * n_frameworks)


class PeakMemory:
    """The process's greatest size with a SingleRole cluster, after one cold cycle."""

    params = (
        sizes(smoke=[100], default=[10_000], full=[1000, 10_000, 50_000]),
        sizes(smoke=[10], default=[1000], full=[1000, 6000]),
    )
    param_names = ("agents", "frameworks")
    timeout = 1800

    def setup(self, n_agents: int, n_frameworks: int) -> None:
        self.engine: Allocator = single_role.build(n_agents, n_frameworks)

    def peakmem_cold_cycle(self, *_: object) -> None:
        look_at(self.engine.allocate())
