"""MultiFrameworkAllocations: frameworks of three kinds, until all of their tasks run.

The parameters are those of Apache Mesos' benchmark of that name, where not all tasks ever run.
"""

from __future__ import annotations

from typing import NamedTuple

from allocator import Allocator, Offer
from allocator.resources import Resources

from .engines import SORTERS, OneCallEach, add_agents, build
from .grid import sizes

N_AGENTS = 80
AGENT = Resources("cpus:64;mem:488000")


class Kind(NamedTuple):
    """Frameworks that are alike."""

    name: str
    n_frameworks: int
    #: Whether each has a role of its own.
    own_roles: bool
    #: The tasks that each of them wants.
    n_tasks: int
    task: str
    tasks_per_offer: int


KINDS = (
    Kind("large", 4, True, 4000, "cpus:0.07;mem:400", 100),
    Kind("small", 500, False, 5, "cpus:0.1;mem:4000", 1),
    Kind("medium", 50, True, 20, "cpus:1;mem:1000", 5),
)


#: The largest share at which each is timed.
MOST_SHARE = {"reference": 0.25, "naive": 1.0, "drf": 1.0}


class Framework:
    """What a framework still wants, and how it answers an offer."""

    def __init__(self, kind: Kind, n_tasks: int) -> None:
        self.n_waiting = n_tasks
        #: What n tasks need, by n.
        task = Resources(kind.task)
        self.needs = [Resources()]
        for _ in range(kind.tasks_per_offer):
            self.needs.append(self.needs[-1] + task)

    def answer(self, engine: Allocator, offer: Offer) -> int:
        """Run as many tasks as fit; return their number. The rest goes back without a filter."""
        n_tasks = min(len(self.needs) - 1, self.n_waiting)
        while not offer.resources >= self.needs[n_tasks]:
            n_tasks -= 1
        engine.accept(offer, self.needs[n_tasks])
        self.n_waiting -= n_tasks
        if not self.n_waiting:
            engine.suppress(offer.framework)
        return n_tasks


class MultiFrameworkAllocations(OneCallEach):
    """Cycles and answers until all tasks run: 19 500 at a share of 1.

    `share` is the part of the agents and of the tasks that there is, with so many fewer frameworks
    of the kinds that have many. A framework that has all of its tasks suppresses. The frameworks'
    own work, a comparison or two an offer, is in it.
    """

    params = (SORTERS, sizes(smoke=[0.05], default=[0.05, 0.25, 1.0], full=[0.05, 0.25, 1.0]))
    param_names = ("sorter", "share")

    def setup(self, sorter: str, share: float) -> None:
        n_agents = round(N_AGENTS * share)
        if share > MOST_SHARE[sorter]:
            raise NotImplementedError(f"{sorter} would take half a minute or more")
        self.engine = build(sorter, n_agents, 1)
        add_agents(self.engine, n_agents, AGENT)
        self.frameworks: dict[str, Framework] = {}
        for kind in KINDS:
            # The few large ones stay, each with fewer tasks.
            few = kind.n_frameworks < 10
            n_frameworks = kind.n_frameworks if few else round(kind.n_frameworks * share)
            n_tasks = round(kind.n_tasks * share) if few else kind.n_tasks
            for index in range(n_frameworks):
                name = f"{kind.name}{index}"
                role = name if kind.own_roles else kind.name
                self.engine.add_framework(name, roles=(role,))
                self.frameworks[name] = Framework(kind, n_tasks)
        self.n_tasks = sum(framework.n_waiting for framework in self.frameworks.values())

    def time_until_all_run(self, *_: object) -> None:
        n_waiting = self.n_tasks
        while n_waiting:
            n_before = n_waiting
            for offer in self.engine.allocate():
                n_waiting -= self.frameworks[offer.framework].answer(self.engine, offer)
            assert n_waiting < n_before, f"{n_waiting} tasks find no room"
