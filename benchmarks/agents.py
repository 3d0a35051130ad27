"""AddAndUpdateAgent: a cluster that is in use comes, and each of its agents gains resources.

The parameters are those of Apache Mesos' benchmark of adding and updating agents.
"""

from __future__ import annotations

from collections.abc import Callable

from allocator.resources import Resources

from .engines import SORTERS, OneCallEach, add_frameworks, build, look_at
from .grid import sizes

TOTAL = Resources("cpus:2;mem:1024;disk:4096;ports:[31000-32000]")
IN_USE = Resources(
    "cpus:1;mem:128;disk:1024;ports:[31126-31510,31512-31623,31810-31852,31854-31964]"
)
#: What each agent gains.
REVOCABLE = Resources(
    [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 10}, "revocable": {}}]
)
GROWN = TOTAL + REVOCABLE


class AddAndUpdateAgent(OneCallEach):
    """All calls of one kind, and the cycle that serves what they changed."""

    params = (
        ["add_frameworks", "add_agents", "update_agents"],
        SORTERS,
        sizes(smoke=[50], default=[100, 10_000], full=[1000, 5000, 10_000, 20_000, 30_000, 50_000]),
        sizes(smoke=[10], default=[100, 200, 1000], full=[1, 50, 100, 200, 500, 1000, 3000, 6000]),
    )
    param_names = ("operation", "sorter", "agents", "frameworks")

    def setup(self, operation: str, sorter: str, n_agents: int, n_frameworks: int) -> None:
        self.engine = build(sorter, n_agents, n_frameworks, n_cycles=2)
        self.n_agents = n_agents
        self.n_frameworks = n_frameworks
        for earlier in OPERATIONS:
            if earlier == operation:
                break
            OPERATIONS[earlier](self)

    def add_frameworks(self) -> None:
        add_frameworks(self.engine, self.n_frameworks, "*", ["REVOCABLE_RESOURCES"])

    def add_agents(self) -> None:
        for index in range(self.n_agents):
            used = {f"framework{index % self.n_frameworks}": {"*": IN_USE}}
            self.engine.add_agent(f"agent{index}", TOTAL, used=used)

    def update_agents(self) -> None:
        for index in range(self.n_agents):
            self.engine.update_agent(f"agent{index}", resources=GROWN)

    def time_operation(self, operation: str, *_: object) -> None:
        OPERATIONS[operation](self)
        look_at(self.engine.allocate())


#: The operations by name, in the order in which they follow each other.
OPERATIONS: dict[str, Callable[[AddAndUpdateAgent], None]] = {
    "add_frameworks": AddAndUpdateAgent.add_frameworks,
    "add_agents": AddAndUpdateAgent.add_agents,
    "update_agents": AddAndUpdateAgent.update_agents,
}
