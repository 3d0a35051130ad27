"""FullSort and HierarchyFullSort: each operation in a sorter's life, on every implementation.

The parameters are those of Apache Mesos' sorter benchmarks. Unlike there, the clients are
activated, so that the sorts have something to sort.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle, product

from allocator.resources import Resources
from allocator.sorter import (
    DRFSorter,
    HDRFSorter,
    NaiveDRFSorter,
    NaiveHDRFSorter,
    SortedDRFSorter,
    Sorter,
)

from .grid import sizes

SORTERS = {
    "naive": NaiveDRFSorter,
    "sorted": SortedDRFSorter,
    "compiled": DRFSorter,
    "naive-hdrf": NaiveHDRFSorter,
    "hdrf": HDRFSorter,
}

TOTAL = Resources("cpus:24;mem:4096;disk:4096")

#: What each agent gives to one client: scalars and 100 port ranges.
ALLOCATION = Resources(
    "cpus:16;mem:2014;disk:1024;ports:["
    + ",".join(f"{port}-{port + 8}" for port in range(31000, 32000, 10))
    + "]"
)


class Life:
    """A sorter and the operations on it, in the order in which they can follow each other."""

    def __init__(self, implementation: str, n_agents: int, clients: list[str]) -> None:
        self.sorter: Sorter = SORTERS[implementation]()
        self.agents = [f"agent{i}" for i in range(n_agents)]
        self.clients = clients

    def before(self, operation: str) -> None:
        """Run every operation that comes before this one."""
        for earlier in OPERATIONS:
            if earlier == operation:
                return
            OPERATIONS[earlier](self)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield each agent with the client that its resources go to, round-robin."""
        return zip(cycle(self.clients), self.agents, strict=False)

    def add_clients(self) -> None:
        for client in self.clients:
            self.sorter.add(client)
            self.sorter.activate(client)

    def add_agents(self) -> None:
        for agent in self.agents:
            self.sorter.add_agent(agent, TOTAL)

    def allocate_all(self) -> None:
        for client, agent in self.pairs():
            self.sorter.allocated(client, agent, ALLOCATION)

    def sort(self) -> None:
        self.sorter.sort()

    def unallocate_all(self) -> None:
        for client, agent in self.pairs():
            self.sorter.unallocated(client, agent, ALLOCATION)

    def remove_agents(self) -> None:
        for agent in self.agents:
            self.sorter.remove_agent(agent)

    def remove_clients(self) -> None:
        for client in self.clients:
            self.sorter.remove(client)


#: The operations by name, in the order of a sorter's life.
OPERATIONS: dict[str, Callable[[Life], None]] = {
    "add_clients": Life.add_clients,
    "add_agents": Life.add_agents,
    "allocated": Life.allocate_all,
    "full_sort": Life.sort,
    "sort_unchanged": Life.sort,
    "unallocated": Life.unallocate_all,
    "remove_agents": Life.remove_agents,
    "remove_clients": Life.remove_clients,
}


class FullSort:
    """Clients side by side."""

    params = (
        list(OPERATIONS),
        list(SORTERS),
        sizes(smoke=[100], default=[10_000], full=[1000, 5000, 10_000, 20_000, 30_000, 50_000]),
        sizes(
            smoke=[10],
            default=[50, 1000, 10_000],
            full=[1, 50, 100, 200, 500, 1000, 10_000, 100_000],
        ),
    )
    param_names = ("operation", "implementation", "agents", "clients")
    repeat = (3, 10, 5.0)

    def setup(self, operation: str, implementation: str, n_agents: int, n_clients: int) -> None:
        self.life = Life(implementation, n_agents, [f"client{i}" for i in range(n_clients)])
        self.life.before(operation)

    # A setup makes asv time single calls, so the loops stand inside the timed body.
    def time_operation(self, operation: str, *_: object) -> None:
        OPERATIONS[operation](self.life)


class HierarchyFullSort:
    """Clients in a full tree: every node is a client, inner nodes beside their children."""

    params = (
        list(OPERATIONS),
        list(SORTERS),
        sizes(smoke=[100], default=[10_000], full=[1000, 5000, 10_000, 20_000, 30_000, 50_000]),
        # "levels × branching": 1056, 1092 and 1022 clients.
        sizes(smoke=["3x3"], default=["3x32", "7x3", "10x2"], full=["3x32", "7x3", "10x2"]),
    )
    param_names = ("operation", "implementation", "agents", "tree")
    repeat = (3, 10, 5.0)

    def setup(self, operation: str, implementation: str, n_agents: int, tree: str) -> None:
        levels, branching = (int(number) for number in tree.split("x"))
        self.life = Life(implementation, n_agents, tree_paths(levels, branching))
        self.life.before(operation)

    def time_operation(self, operation: str, *_: object) -> None:
        OPERATIONS[operation](self.life)


class OneLeaf:
    """One leaf's change among so many siblings, and the next question."""

    params = (
        ["compiled", "hdrf"],
        sizes(smoke=[10], default=[10, 100, 1000], full=[10, 100, 1000]),
    )
    param_names = ("implementation", "siblings")
    repeat = (3, 10, 5.0)

    def setup(self, implementation: str, n_siblings: int) -> None:
        paths = [f"{top}/{below}" for top in range(10) for below in range(n_siblings)]
        self.life = Life(implementation, 1, paths)
        self.life.add_clients()
        self.life.add_agents()
        for path in paths:
            self.life.sorter.allocated(path, "agent0", "cpus:0.001;mem:0.01")

    def time_changed_x1000(self, *_: object) -> None:
        sorter, client = self.life.sorter, self.life.clients[0]
        for _ in range(1000):
            sorter.allocated(client, "agent0", SMALL)
            next(sorter.order())
            sorter.unallocated(client, "agent0", SMALL)


#: What one leaf is given and gives back.
SMALL = Resources("cpus:0.001;mem:0.02")


def tree_paths(levels: int, branching: int) -> list[str]:
    """Return the nodes of a full tree of so many levels, the root counted but not returned."""
    paths: list[str] = []
    level = [""]
    for _ in range(levels - 1):
        level = [f"{parent}{child}/" for parent, child in product(level, range(branching))]
        paths += [path.rstrip("/") for path in level]
    return paths
