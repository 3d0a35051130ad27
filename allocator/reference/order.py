"""Who is next: dominant shares and the orders that follow from them (contract §4, §6.1)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache

from allocator.reference.state import Amounts, ByAgent, State, total, tree_nodes
from allocator.resources import Resources
from allocator.roles import is_at_or_below, parent_of
from allocator.sorter import RandomSorter


class Ordering:
    """How roles and frameworks are put in order.

    Parameters
    ----------
    exclude : collection of str
        Resource names left out of the dominant share, at both levels.
    role_sorter, framework_sorter : str
        "random" for a weighted chance, "hdrf" and "naive-hdrf" for hierarchical dominant resource
        fairness; all others stand for dominant resource fairness, as those two do among frameworks.
    saturation : float
        Of hierarchical dominant resource fairness: a name is saturated when no larger part is left.
    """

    def __init__(
        self,
        exclude: Collection[str],
        role_sorter: str,
        framework_sorter: str,
        saturation: float = 0.0,
    ) -> None:
        self._exclude = frozenset(exclude)
        self._hierarchical = role_sorter in ("hdrf", "naive-hdrf")
        self._saturation = saturation
        self._random_roles = role_sorter == "random"
        self._random_frameworks = framework_sorter == "random"

    def roles(self, state: State, key: int) -> list[str]:
        """Return the roles in which somebody wants offers, the neediest first."""
        active = {role for role, _ in state.active_members()}
        if self._random_roles:
            clients = {role for role, _ in state.members()}
            return drawn_order(clients, active, key, state.weights, flat=False)
        return [role for role in self._preorder(state) if role in active]

    def frameworks(self, state: State, role: str, key: int) -> list[str]:
        """Return the frameworks that want offers in `role`, the neediest first."""
        members = {framework for in_role, framework in state.members() if in_role == role}
        active = {framework for in_role, framework in state.active_members() if in_role == role}
        if self._random_frameworks:
            stream = mix64(key ^ hash64(role))
            return drawn_order(members, active, stream, {}, flat=True)
        return sorted(
            active,
            key=lambda framework: (
                self.framework_share(state, role, framework),
                state.framework_times[role, framework],
                framework,
            ),
        )

    def role_share(self, state: State, node: str) -> float:
        """Return the share of a node of the role tree, divided by its weight.

        The implicit leaf's own weight is 1: weights belong to paths (§4.1).
        """
        client = node.removesuffix("/.")
        held = gathered(
            (place.agent, resources)
            for place, resources in state.holdings()
            if (place.role == client if node != client else is_at_or_below(place.role, node))
        )
        return self._share(state, held) / state.weights.get(node, 1.0)

    def framework_share(self, state: State, role: str, framework: str) -> float:
        """Return the share of what a framework holds in one role; frameworks have no weights."""
        held = gathered(
            (place.agent, resources)
            for place, resources in state.holdings()
            if place.role == role and place.framework == framework
        )
        return self._share(state, held)

    def _share(self, state: State, held: ByAgent) -> float:
        """Return the largest part of a cluster's scalar that is held, before weights.

        Agents count in the totals while they are there, active or not.
        """
        have = amounts_in(held)
        return max(
            (
                float(have.get(name, 0)) / float(amount)
                for name, amount in self._totals(state).items()
            ),
            default=0.0,
        )

    def _totals(self, state: State) -> Amounts:
        """Return what counts in shares of what the agents have."""
        totals = amounts_in({agent.id: agent.total for agent in state.agents.values()})
        return {name: amount for name, amount in totals.items() if name not in self._exclude}

    def _preorder(self, state: State) -> Iterator[str]:
        """Yield all clients: siblings by share, number of allocations and path; depth first."""
        nodes = tree_nodes({role for role, _ in state.members()})
        tree = Hierarchy(state, nodes, self._totals(state), self._saturation)

        def place(node: str) -> tuple[float, int, str]:
            share = tree.key(node) if self._hierarchical else self.role_share(state, node)
            return share, state.role_times[node], node

        def visit(parent: str | None) -> Iterator[str]:
            for node in sorted((n for n in nodes if parent_of(n) == parent), key=place):
                if any(parent_of(n) == node for n in nodes):
                    yield from visit(node)
                else:
                    yield node.removesuffix("/.")

        return visit(None)


class Hierarchy:
    """What roles go by under hierarchical dominant resource fairness, at one moment.

    Bhattacharya et al., Hierarchical Scheduling for Diverse Datacenter Workloads (SoCC 2013), as
    amounts: a node counts those children that can still be given something as if each had no more
    than the neediest of them, and no resource of which nothing is left.
    """

    def __init__(
        self, state: State, nodes: Collection[str], totals: Amounts, saturation: float
    ) -> None:
        self._state = state
        self._nodes = nodes
        self._totals = totals
        self._active = {role for role, _ in state.active_members()}
        #: What a node counts as holding, in thousandths.
        self._amounts = cache(self._amounts_of)
        self._children = cache(self._children_of)
        held = amounts_in(gathered((place.agent, part) for place, part in state.holdings()))
        self._full = {
            name
            for name, amount in totals.items()
            if amount > 0 and amount - held.get(name, 0) <= saturation * amount
        }

    def key(self, node: str) -> float:
        """Return the share of a node divided by its weight."""
        counted = self._totals.keys() - (self._full if self._children(node) else set())
        amounts = self._amounts(node)
        shares = [
            amounts.get(name, 0.0) / float(self._totals[name])
            for name in counted
            if self._totals[name] > 0
        ]
        return max(shares, default=0.0) / self._state.weights.get(node, 1.0)

    def _children_of(self, node: str) -> list[str]:
        return sorted(below for below in self._nodes if parent_of(below) == node)

    def _is_blocked(self, node: str) -> bool:
        children = self._children(node)
        if children:
            return all(self._is_blocked(child) for child in children)
        held = self._amounts(node)
        return node.removesuffix("/.") not in self._active or any(
            held.get(name, 0.0) > 0 for name in self._full
        )

    def _amounts_of(self, node: str) -> Mapping[str, float]:
        children = self._children(node)
        if not children:
            role = node.removesuffix("/.")
            held = gathered((p.agent, part) for p, part in self._state.holdings() if p.role == role)
            return {name: float(milli) for name, milli in amounts_in(held).items()}
        free = {child for child in children if not self._is_blocked(child)}
        least = min((key for key in map(self.key, free) if key > 0), default=0.0)
        amounts: dict[str, float] = {}
        for child in children:
            key = self.key(child)
            part = least / key if child in free and key > 0 else 1.0
            for name, amount in self._amounts(child).items():
                amounts[name] = amounts.get(name, 0.0) + part * amount
        return amounts


def gathered(parts: Iterable[tuple[str, Resources]]) -> ByAgent:
    """Return what is held on each agent."""
    by_agent: dict[str, list[Resources]] = {}
    for agent, resources in parts:
        by_agent.setdefault(agent, []).append(resources)
    return {agent: total(listed) for agent, listed in by_agent.items()}


def amounts_in(held: ByAgent) -> Amounts:
    """Return the scalars held, a shared entry once on each agent however many copies (§4.2)."""
    amounts: dict[str, int] = {}
    for resources in held.values():
        for name, milli in resources.quantities().milli.items():
            amounts[name] = amounts.get(name, 0) + milli
    return amounts


def drawn_order(
    clients: Collection[str],
    active: Collection[str],
    key: int,
    weights: dict[str, float],
    flat: bool,
) -> list[str]:
    """Return the active clients in the order that the random sorter draws from a stream."""
    sorter = RandomSorter(flat=flat)
    for path, weight in sorted(weights.items()):
        sorter.update_weight(path, weight)
    for client in sorted(clients):
        sorter.add(client)
        if client in active:
            sorter.activate(client)
    sorter.begin(key)
    return sorter.sort()


# The order of agents (§6.1): from the seed, the cycle, the stage and the agent's id alone.

_MASK = (1 << 64) - 1


def agent_keys(ids: Iterable[str], seed: str, cycle: int, stage: int) -> list[tuple[int, str]]:
    """Return (key, agent id) in the order of one stage, 1 or 2, of one cycle."""
    salt = hash64(f"{seed}/{cycle}/{stage}")
    return sorted((mix64(hash64(id) ^ salt), id) for id in ids)


def hash64(text: str) -> int:
    """Return FNV-1a (Fowler, Noll and Vo) of the text in UTF-8, mixed."""
    bits = 0xCBF29CE484222325
    for byte in text.encode("utf-8", "surrogatepass"):
        bits = (bits ^ byte) * 0x100000001B3 & _MASK
    return mix64(bits)


def mix64(x: int) -> int:
    """Return the finalizer of splitmix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    x ^= x >> 30
    x = x * 0xBF58476D1CE4E5B9 & _MASK
    x ^= x >> 27
    x = x * 0x94D049BB133111EB & _MASK
    return x ^ x >> 31
