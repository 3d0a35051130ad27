"""AddAndUpdateAgent: a cluster that is in use comes, and each of its agents gains resources.

The parameters are those of Apache Mesos' benchmark of adding and updating agents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from allocator.resources import Resources

from .engines import ENGINES, OneCallEach, build, look_at
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
CAPABILITIES = ["REVOCABLE_RESOURCES"]


class AddAndUpdateAgent(OneCallEach):
    """All calls of one kind, or the one call for all, and the cycle that serves what changed."""

    params = (
        [
            "add_frameworks",
            "add_frameworks_at_once",
            "add_agents",
            "add_agents_at_once",
            "update_agents",
            "update_agents_at_once",
        ],
        ENGINES,
        sizes(smoke=[50], default=[100, 10_000], full=[1000, 5000, 10_000, 20_000, 30_000, 50_000]),
        sizes(smoke=[10], default=[100, 200, 1000], full=[1, 50, 100, 200, 500, 1000, 3000, 6000]),
    )
    param_names = ("operation", "sorter", "agents", "frameworks")

    def setup(self, operation: str, sorter: str, n_agents: int, n_frameworks: int) -> None:
        self.engine = build(sorter, n_agents, n_frameworks, n_cycles=2)
        self.ids = [f"agent{index}" for index in range(n_agents)]
        self.frameworks = [f"framework{index}" for index in range(n_frameworks)]
        #: Who uses a part of each agent.
        self.users = [self.frameworks[index % n_frameworks] for index in range(n_agents)]
        if not operation.startswith("add_frameworks"):
            self.add_frameworks_at_once()
        if operation.startswith("update_agents"):
            self.add_agents_at_once()

    def add_frameworks(self) -> None:
        for framework in self.frameworks:
            self.engine.add_framework(framework, capabilities=CAPABILITIES)

    def add_frameworks_at_once(self) -> None:
        self.engine.add_frameworks(self.frameworks, capabilities=CAPABILITIES)

    def add_agents(self) -> None:
        for id, framework in zip(self.ids, self.users, strict=True):
            self.engine.add_agent(id, TOTAL, used={framework: {"*": IN_USE}})

    def add_agents_at_once(self) -> None:
        used = {"framework": self.users, "role": "*", "resources": IN_USE}
        self.engine.add_agents(self.ids, TOTAL, used=used)

    def update_agents(self) -> None:
        for id in self.ids:
            self.engine.update_agent(id, resources=GROWN)

    def update_agents_at_once(self) -> None:
        self.engine.update_agents(self.ids, GROWN)

    def time_operation(self, operation: str, *_: object) -> None:
        getattr(self, operation)()
        look_at(self.engine.allocate())


def each_different(n_agents: int) -> list[str]:
    """Return the resources of so many agents as text, no two alike but for their ports."""
    return [
        f"cpus:{4 + index % 61 + index / 1000};mem:{8192 + index};disk:{100_000 + 3 * index}"
        ";ports:[31000-32000]"
        for index in range(n_agents)
    ]


#: In what form an agent's resources come: what makes it of text.
FORMS: dict[str, Callable[[str], Any]] = {
    "text": lambda text: text,
    "json": lambda text: Resources(text).to_json(),
    "resources": Resources,
}


class AddDifferentAgents(OneCallEach):
    """Agents are added one by one, each with resources of its own."""

    params = (
        list(FORMS),
        ["drf"],
        sizes(smoke=[50], default=[10_000], full=[1000, 10_000, 50_000]),
    )
    param_names = ("form", "sorter", "agents")

    def setup(self, form: str, sorter: str, n_agents: int) -> None:
        self.engine = build(sorter, n_agents, 0)
        self.ids = [f"agent{index}" for index in range(n_agents)]
        self.totals = [FORMS[form](text) for text in each_different(n_agents)]

    def time_operation(self, *_: object) -> None:
        for id, total in zip(self.ids, self.totals, strict=True):
            self.engine.add_agent(id, total)
