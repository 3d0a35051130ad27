"""SteadyState, Churn, DeepRoles: engines that have run for a while, and a deep tree of roles."""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import lru_cache

from allocator import Offer
from allocator.resources import Resources
from allocator.sim.single_role import AGENT_RESOURCES, ROLE

from .engines import CLUSTERS, SORTERS, OneCallEach, add_agents, add_frameworks, build, look_at
from .grid import sizes

REFUSE_SECONDS = 3600.0


class Steady:
    """A SingleRole cluster all of which is on offer, from cycle to cycle.

    A part of the offers is declined for an hour, and the next cycle offers their agents anew.
    """

    def __init__(self, sorter: str, cluster: str, n_agents: int, n_frameworks: int) -> None:
        resources, minima = CLUSTERS[cluster]
        self.engine = build(sorter, n_agents, n_frameworks, n_cycles=12, minima=minima)
        add_frameworks(self.engine, n_frameworks, ROLE)
        add_agents(self.engine, n_agents, resources)
        self.random = random.Random(0)
        #: The open offers, in no order.
        self.open: list[Offer] = list(self.engine.allocate())
        assert len(self.open) == n_agents

    def free(self, n_offers: int) -> None:
        """Decline so many offers, each as likely as the next."""
        self.random.shuffle(self.open)
        for _ in range(n_offers):
            self.engine.decline(self.open.pop(), refuse_seconds=REFUSE_SECONDS)


#: One for all timed calls of a process: it is as steady after a cycle as before.
steady = lru_cache(maxsize=1)(Steady)


class SteadyState(OneCallEach):
    """The cycle after a part of the agents got its resources back; at 0 %, ten such cycles."""

    params = (
        SORTERS,
        ["scalars", "ports, minima"],
        sizes(
            smoke=[50],
            default=[50, 10_000, 50_000],
            full=[1000, 5000, 10_000, 20_000, 30_000, 50_000],
        ),
        sizes(smoke=[20], default=[20, 1000], full=[50, 100, 200, 500, 1000, 3000, 6000]),
        # Percent.
        [0, 0.1, 1, 10],
    )
    param_names = ("sorter", "cluster", "agents", "frameworks", "percent_freed")

    def setup(
        self, sorter: str, cluster: str, n_agents: int, n_frameworks: int, percent: float
    ) -> None:
        self.steady = steady(sorter, cluster, n_agents, n_frameworks)
        self.n_freed = max(1, round(n_agents * percent / 100)) if percent else 0
        self.steady.free(self.n_freed)

    def time_cycle(self, *_: object) -> None:
        if not self.n_freed:
            for _cycle in range(10):
                look_at(self.steady.engine.allocate())
            return
        offers = self.steady.engine.allocate()
        look_at(offers)
        self.offers = offers

    def teardown(self, *_: object) -> None:
        if self.n_freed and hasattr(self, "offers"):
            assert len(self.offers) == self.n_freed
            self.steady.open.extend(self.offers)


TASK = Resources("cpus:1;mem:128;disk:128")
TASKS_PER_AGENT = 10


def times(n: int, resources: Resources) -> Resources:
    """Return the resources n times over."""
    return sum([resources] * n, start=Resources())


class Busy:
    """A SingleRole cluster whose frameworks take one task an offer; a tenth of the tasks end."""

    def __init__(self, sorter: str, n_agents: int, n_frameworks: int) -> None:
        self.engine = build(sorter, n_agents, n_frameworks, n_cycles=10)
        names = add_frameworks(self.engine, n_frameworks, ROLE)
        self.random = random.Random(0)
        #: (framework, agent) of each running task, in no order.
        self.running: list[tuple[str, str]] = []
        self.ending: list[tuple[str, str]] = []
        # Tasks that start and tasks that end balance at ten tasks an agent.
        for index in range(n_agents):
            agent = f"agent{index}"
            chosen = [names[(index + step) % n_frameworks] for step in range(TASKS_PER_AGENT)]
            used = {framework: {ROLE: times(chosen.count(framework), TASK)} for framework in chosen}
            self.engine.add_agent(agent, AGENT_RESOURCES, used=used)
            self.running += [(framework, agent) for framework in chosen]

    def choose_ending(self) -> None:
        """Choose which tasks end next: a tenth."""
        self.random.shuffle(self.running)
        self.ending = [self.running.pop() for _ in range(len(self.running) // 10)]

    def answer(self, offers: Iterable[Offer]) -> None:
        """Make all calls between two cycles."""
        for framework, agent in self.ending:
            self.engine.release(framework, agent, ROLE, TASK)
        for offer in offers:
            self.engine.accept(offer, TASK)
            self.running.append((offer.framework, offer.agent))


#: One for all timed calls of a process, as `steady`.
busy = lru_cache(maxsize=1)(Busy)


class Churn(OneCallEach):
    """The cycle, and the calls between cycles: an accept an offer, a release an ended task."""

    params = (
        ["cycle", "calls"],
        SORTERS,
        sizes(smoke=[10], default=[20, 1000, 10_000], full=[1000, 5000, 10_000, 20_000, 50_000]),
        sizes(smoke=[5], default=[20, 1000], full=[50, 100, 200, 500, 1000, 3000, 6000]),
    )
    param_names = ("operation", "sorter", "agents", "frameworks")

    def setup(self, operation: str, sorter: str, n_agents: int, n_frameworks: int) -> None:
        self.busy = busy(sorter, n_agents, n_frameworks)
        self.operation = operation
        self.busy.choose_ending()
        if operation == "calls":
            self.offers = self.busy.engine.allocate()

    def time_operation(self, operation: str, *_: object) -> None:
        if operation == "cycle":
            self.offers = self.busy.engine.allocate()
            look_at(self.offers)
        else:
            self.busy.answer(self.offers)

    def teardown(self, *_: object) -> None:
        if hasattr(self, "offers") and self.operation == "cycle":
            assert self.offers
            self.busy.answer(self.offers)


#: How deep the tree of DeepRoles is.
DEPTH = 6

#: What each role without children is guaranteed; its ancestors are guaranteed as
#: much as their children together, and the limit of each role is four times its guarantee.
GUARANTEE = {"cpus": 1, "mem": 128, "disk": 128}


class DeepRoles(OneCallEach):
    """A tree of roles with a weight, a guarantee and a limit at every node, a framework a leaf.

    There is an agent for ten roles. `policy` sets all weights and quotas, `full_cycle` gives all
    away, `empty_cycle` follows it, and `cycle_freed` follows a decline of each hundredth offer.
    The reference is left out: it adds up needs anew at each decision, and takes 13 s at 100 roles.
    """

    params = (
        ["policy", "full_cycle", "empty_cycle", "cycle_freed"],
        ["naive", "drf"],
        sizes(smoke=[100], default=[100, 1000, 10_000], full=[100, 1000, 10_000]),
    )
    param_names = ("operation", "sorter", "roles")

    def setup(self, operation: str, sorter: str, n_roles: int) -> None:
        paths, parents = deep_tree(n_roles)
        n_agents = n_roles // 10
        self.engine = build(sorter, n_agents, n_roles, n_cycles=2)
        self.paths = paths
        self.leaves = leaves_below(parents)
        add_agents(self.engine, n_agents, AGENT_RESOURCES)
        inner = set(parents)
        for index, path in enumerate(paths):
            if index not in inner:
                self.engine.add_framework(f"framework{index}", roles=(path,))
        if operation == "policy":
            return
        self.set_policy()
        if operation == "full_cycle":
            return
        offers = self.engine.allocate()
        assert offers
        if operation == "cycle_freed":
            for offer in list(offers)[::100]:
                self.engine.decline(offer, refuse_seconds=REFUSE_SECONDS)

    def set_policy(self) -> None:
        for index, path in enumerate(self.paths):
            self.engine.set_weight(path, 1.0 + index % 3)
            guarantee = {name: self.leaves[index] * amount for name, amount in GUARANTEE.items()}
            limit = {name: 4 * amount for name, amount in guarantee.items()}
            self.engine.set_quota(path, guarantee=guarantee, limit=limit)

    def time_operation(self, operation: str, *_: object) -> None:
        if operation == "policy":
            self.set_policy()
        else:
            look_at(self.engine.allocate())


def deep_tree(n_roles: int) -> tuple[list[str], list[int]]:
    """Return the paths of a tree, breadth first, and the index of each one's parent, -1 for none.

    Each role has as many children as it takes for the tree to be `DEPTH` deep, until there are
    `n_roles`: five at 10 000.
    """
    branching = 2
    while sum(branching**level for level in range(1, DEPTH + 1)) < n_roles:
        branching += 1
    parents = [index // branching - 1 for index in range(n_roles)]
    paths: list[str] = []
    for index, parent in enumerate(parents):
        name = f"r{index % branching}"
        paths.append(name if parent < 0 else f"{paths[parent]}/{name}")
    return paths, parents


def leaves_below(parents: list[int]) -> list[int]:
    """Return how many roles without children are at or below each role."""
    leaves = [0] * len(parents)
    for index in reversed(range(len(parents))):
        leaves[index] = leaves[index] or 1
        if parents[index] >= 0:
            leaves[parents[index]] += leaves[index]
    return leaves
