"""What the reference remembers, and what follows from it.

Only what cannot be derived is kept: who is there, who holds what, which filters and offers are
open, and how often each node of the two sorted levels was allocated something. Everything else is
computed from that whenever it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from allocator.contract import Offer
from allocator.errors import ResourceError, shown
from allocator.resources import Quantities, Resources
from allocator.resources.fixed import MAX_MILLI
from allocator.roles import ancestry, is_at_or_below

EMPTY = Resources()

#: Resource name → amount in thousandths; an absent name stands for zero.
Amounts: TypeAlias = Mapping[str, int]

#: Agent id → what is held there.
ByAgent: TypeAlias = dict[str, Resources]

#: Any one of these amounts makes an offer worth making; none at all accepts anything.
Minimum: TypeAlias = tuple[Quantities, ...]


class Constraint(NamedTuple):
    """One condition on an attribute of an agent, or on what stands for one.

    `pseudo` tells that `selector` is HOSTNAME, REGION or ZONE rather than an attribute's name;
    `operand` is the text or the regular expression of the predicates that have one.
    """

    pseudo: bool
    selector: str
    predicate: str
    operand: str


#: Role → groups of constraints; all of a group must hold, and any group suffices.
Constraints: TypeAlias = Mapping[str, tuple[tuple[Constraint, ...], ...]]


class Place(NamedTuple):
    """Where something is held, by whom and for which role."""

    agent: str
    framework: str
    role: str

    @classmethod
    def of(cls, offer: Offer) -> Place:
        """Return where an offer's resources are held."""
        return cls(offer.agent, offer.framework, offer.role)


@dataclass
class Maintenance:
    """An agent that becomes unavailable, and what frameworks say to that (§5.11)."""

    start: float
    duration: float | None
    #: Frameworks that were sent an inverse offer and did not answer yet.
    outstanding: set[str] = field(default_factory=set)
    #: Framework → its last answer, ACCEPT or DECLINE.
    answers: dict[str, str] = field(default_factory=dict)


@dataclass
class Agent:
    """A machine; `hostname` is what the whitelist goes by."""

    id: str
    total: Resources
    hostname: str
    attributes: Mapping[str, object]
    capabilities: frozenset[str]
    region: str | None
    zone: str | None
    active: bool = True
    maintenance: Maintenance | None = None


@dataclass
class Framework:
    """A framework; `suppressed` are those of its roles in which it wants no offers for now.

    `minimum` is None where the engine's own applies, else one for all roles or one by role.
    """

    id: str
    roles: tuple[str, ...]
    active: bool
    suppressed: frozenset[str]
    capabilities: frozenset[str]
    minimum: Minimum | Mapping[str, Minimum] | None
    constraints: Constraints


class Quota(NamedTuple):
    """A role's guarantee and limit; a name absent from the limit is not limited, zero limits."""

    guarantee: Amounts
    limit: Amounts


class Filter(NamedTuple):
    """A refusal of `resources` and of anything that they contain, gone at the instant `end`."""

    framework: str
    role: str
    agent: str
    resources: Resources
    end: float


class InverseFilter(NamedTuple):
    """A framework's wish to hear no more of an agent's maintenance, gone at the instant `end`."""

    framework: str
    agent: str
    end: float


class State:
    """Everything that the reference remembers between calls."""

    def __init__(self) -> None:
        self.agents: dict[str, Agent] = {}
        self.frameworks: dict[str, Framework] = {}
        #: Role → weight, where it is not 1.
        self.weights: dict[str, float] = {}
        #: Role → quota, where there is one.
        self.quotas: dict[str, Quota] = {}
        #: Open offers by id, the oldest first.
        self.offers: dict[str, Offer] = {}
        #: Id of an offer, open or not any more → the instant from which on it is rescinded.
        self.offer_ends: dict[str, float] = {}
        #: What frameworks use.
        self.allocated: dict[Place, Resources] = {}
        #: What frameworks that were not added yet use (§5.5).
        self.pending: dict[Place, Resources] = {}
        self.filters: list[Filter] = []
        self.inverse_filters: list[InverseFilter] = []
        self.whitelist: frozenset[str] | None = None
        #: Node of the role tree → how often something was allocated at or below it (§4.4).
        self.role_times: dict[str, int] = {}
        #: (role, framework) → how often something was allocated to it there (§4.4).
        self.framework_times: dict[tuple[str, str], int] = {}

    # Holdings.

    def holdings(self) -> Iterator[tuple[Place, Resources]]:
        """Yield what known frameworks hold, allocated or offered."""
        yield from self.allocated.items()
        for offer in self.offers.values():
            yield Place.of(offer), offer.resources

    def uses(self) -> Iterator[tuple[Place, Resources]]:
        """Yield `holdings`, and what frameworks that were not added yet use."""
        yield from self.holdings()
        yield from self.pending.items()

    def offered_at(self, place: Place) -> Resources:
        """Return the sum of the open offers of one place."""
        return total(offer.resources for offer in self.offers.values() if Place.of(offer) == place)

    def offered_on(self, agent: str) -> Resources:
        """Return the sum of an agent's open offers."""
        return total(offer.resources for offer in self.offers.values() if offer.agent == agent)

    def allocated_on(self, agent: str) -> Resources:
        """Return what is in use on an agent, also by frameworks that were not added yet."""
        used = [*self.allocated.items(), *self.pending.items()]
        return total(resources for place, resources in used if place.agent == agent)

    def available_on(self, agent: str) -> Resources:
        """Return what can be offered of an agent.

        That is total − offered − allocated, by identity and nowhere below zero (§8.1). Shared
        entries can be offered while they are in use (as in Mesos).
        """
        in_use = self.offered_on(agent) + self.allocated_on(agent)
        return self.agents[agent].total.minus_floor(in_use.nonshared())

    def check_reach(
        self, totals: Mapping[str, Resources], used: Mapping[str, Resources] | None = None
    ) -> None:
        """Refuse totals of some agents, old or new, if a sum over all agents becomes over-large.

        What counts of an agent is what it has or has in use, `used` in addition, by entry the
        larger: so no sum of totals, and none of what may ever be in use, exceeds the bound (§8).
        """
        sums: dict[str, int] = {}
        for id in self.agents.keys() | totals.keys():
            has = totals[id] if id in totals else self.agents[id].total
            in_use = self.offered_on(id) + self.allocated_on(id) + (used or {}).get(id, EMPTY)
            check_compatible(has, in_use)
            lacking = in_use.nonshared().minus_floor(has.nonshared())
            single = Resources([entry.replace(copies=1) for entry in in_use.shared()])
            for part in (has, lacking, single.minus_floor(has.shared())):
                for name, milli in part.quantities().milli.items():
                    sums[name] = sums.get(name, 0) + milli
        for name, milli in sums.items():
            if milli > MAX_MILLI:
                raise ResourceError(f"{shown(name)}: {milli} thousandths in all are over-large")

    def candidates(self) -> frozenset[str]:
        """Return the active agents whose hostname the whitelist admits (§6.1)."""
        return frozenset(
            agent.id
            for agent in self.agents.values()
            if agent.active and (self.whitelist is None or agent.hostname in self.whitelist)
        )

    # Roles and who is in them.

    def members(self) -> set[tuple[str, str]]:
        """Return (role, framework) of all who are subscribed to, or hold something in, a role."""
        subscribed = {(role, f.id) for f in self.frameworks.values() for role in f.roles}
        return subscribed | {(place.role, place.framework) for place, _ in self.holdings()}

    def active_members(self) -> set[tuple[str, str]]:
        """Return those members that want offers: active, subscribed and not suppressed there."""
        return {
            (role, framework.id)
            for framework in self.frameworks.values()
            if framework.active
            for role in framework.roles
            if role not in framework.suppressed
        }

    def roles(self) -> set[str]:
        """Return the roles that exist (§3.2)."""
        kept = {role for role, _ in self.members()} | self.weights.keys() | self.quotas.keys()
        kept |= {e.role for a in self.agents.values() for e in a.total if e.role is not None}
        return {ancestor for role in kept for ancestor in ancestry(role)}

    # How often something was allocated (§4.4).

    def settle(self) -> None:
        """Bring the numbers of allocations in line with who is a member now.

        A new node begins at zero. A client that was a leaf and now has clients below it passes its
        number on to its implicit leaf and keeps it as well. Nodes that are gone lose theirs;
        nothing is taken from their ancestors'.
        """
        members = self.members()
        # First with those who leave, then without them: a framework that moves between related
        # roles joins the new one before it leaves the old (Mesos, `updateFramework`; §5.4).
        for present in (members | self.framework_times.keys(), members):
            nodes = tree_nodes({role for role, _ in present})
            self.role_times = {
                node: self.role_times.get(node, self._first_number(node)) for node in nodes
            }
            self.framework_times = {m: self.framework_times.get(m, 0) for m in present}

    def _first_number(self, node: str) -> int:
        client = node.removesuffix("/.")
        was_leaf = node != client and any(role == client for role, _ in self.framework_times)
        return self.role_times[client] if was_leaf else 0

    def count_allocation(self, role: str, framework: str) -> None:
        """Count one allocation to a member, at its leaf and at every node above."""
        self.framework_times[role, framework] += 1
        for node in (f"{role}/.", *ancestry(role)):
            if node in self.role_times:
                self.role_times[node] += 1


def tree_nodes(clients: set[str]) -> set[str]:
    """Return the nodes of the tree that has these leaves.

    A client that has clients below it competes with them through an implicit leaf of its own, whose
    path is the client's followed by `/.` (§4.1).
    """
    nodes = {ancestor for client in clients for ancestor in ancestry(client)}
    return nodes | {f"{client}/." for client in clients if has_below(client, clients)}


def has_below(role: str, roles: Iterable[str]) -> bool:
    """Tell whether any of `roles` lies below `role`."""
    return any(other != role and is_at_or_below(other, role) for other in roles)


def check_compatible(has: Resources, in_use: Resources) -> None:
    """Refuse a total with another type under a name, or another value of a shared entry."""
    types = {entry.name: entry.type for entry in has}
    for entry in in_use:
        if types.get(entry.name, entry.type) != entry.type:
            raise ResourceError(f"{shown(entry.name)} is in use, and of another type")
    has.shared() + in_use.shared()


def total(parts: Iterable[Resources]) -> Resources:
    """Return the sum of resources."""
    return sum(parts, EMPTY)
