"""One allocation cycle: which resources of which agents are offered to whom (contract §6).

The loop is Python; the orders that it walks are kept by the sorters and cost nothing to obtain.
Whatever a decision reads (availability, consumption, needs, headroom) is kept by `State`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from allocator.engine._order import FAIR_SHARE, GUARANTEES, mix64, place, stage_salt
from allocator.engine.agents import EMPTY, Agent
from allocator.engine.filters import rejects
from allocator.engine.frameworks import Minimum, Subscription, suffices
from allocator.engine.roles import RoleNode
from allocator.engine.state import State
from allocator.resources import Resource, Resources
from allocator.sorter import RandomSorter, Sorter

#: What `Cycle._misfit` says of an agent that a framework's own constraints rule out.
CONSTRAINTS = "constraints"


class Rules(NamedTuple):
    """What the operator set once for all cycles."""

    seed: str
    #: What an offer must at least contain, unless the framework says otherwise.
    minimum: Minimum
    #: Whether agents with GPUs are kept for frameworks that know what to do with them.
    filter_gpus: bool
    #: The master's region; agents elsewhere are for frameworks that are aware of regions.
    region: str | None


class Made(NamedTuple):
    """An offer in the making; both stages may add to it."""

    subscription: Subscription
    agent: Agent
    resources: Resources


class Cycle:
    """One run over the candidates.

    Parameters
    ----------
    state : State
        What there is; the cycle holds what it offers.
    rules : Rules
        What does not change from cycle to cycle.
    number : int
        The cycle's number, from 1, which the order of agents depends on.
    """

    def __init__(self, state: State, rules: Rules, number: int) -> None:
        self._state = state
        self._tree = state.tree
        self._rules = rules
        self._number = number
        #: (subscription, agent) → what both stages offered it, in the order first made.
        self._made: dict[tuple[Subscription, Agent], Resources] = {}
        #: Shared entries that were offered in this cycle already.
        self._shown: dict[Agent, Resources] = {}

    def run(self, candidates: Iterable[Agent], *, full: bool) -> list[Made]:
        """Make all offers that can be made on `candidates`.

        `full` tells that the candidates are all agents that can be offered at all. O(what changed).
        """
        looks = self._looks(candidates)
        if full:
            self._state.fresh.clear()
            self._state.changed = False
        if self._tree.n_quotas:
            for agent, key, _ in self._in_order(looks, GUARANTEES):
                self._serve_guarantees(agent, key)
        for agent, key, leaves in self._in_order(looks, FAIR_SHARE):
            self._share_out(agent, key, leaves)
        return [Made(leaf, agent, made) for (leaf, agent), made in self._made.items()]

    # Whom to look at.

    def _looks(
        self, candidates: Iterable[Agent]
    ) -> dict[Agent, Mapping[Subscription, None] | None]:
        """Return agent → the leaves to try there, None for all; agents without any are left out.

        What is passed over could not be offered at the last look, and nothing changed (S3). With
        quotas, anything may matter anywhere, so everything is looked at.
        """
        state = self._state
        looks: dict[Agent, Mapping[Subscription, None] | None] = {}
        for agent in candidates:
            reopened = state.reopened.pop(agent, None)
            if agent.id in state.dirty or self._tree.n_quotas:
                # A shared entry can be offered again in the next cycle.
                if not agent.total.shared():
                    state.dirty.pop(agent.id, None)
                looks[agent] = None
            elif reopened or state.fresh:
                looks[agent] = {**state.fresh, **(reopened or {})}
        return looks

    def _in_order(
        self, looks: Mapping[Agent, Mapping[Subscription, None] | None], stage: int
    ) -> Iterator[tuple[Agent, int, Mapping[Subscription, None] | None]]:
        salt = stage_salt(self._rules.seed, self._number, stage)
        keyed = sorted((place(agent.id_hash, salt), agent.id, agent) for agent in looks)
        for key, _, agent in keyed:
            yield agent, key, looks[agent]

    # Stage one.

    def _serve_guarantees(self, agent: Agent, key: int) -> None:
        for node in self._roles(key):
            if not agent.available:
                return
            if not any(self._is_unmet(role) for role in node.upward()):
                continue
            for leaf in self._leaves(node, key):
                if self._misfit(agent, leaf):
                    continue
                offered = self._guaranteed(agent, leaf)
                if offered:
                    self._offer(agent, leaf, offered)

    @staticmethod
    def _is_unmet(node: RoleNode) -> bool:
        return any(node.consumed[n] < least for n, least in node.quota.guarantee.items())

    def _guaranteed(self, agent: Agent, leaf: Subscription) -> Resources:
        """Return what stage one offers: what serves a guarantee, and what can come along."""
        node = leaf.node
        visible = self._visible(agent, leaf)
        unreserved = _unreserved_scalars(visible)
        remaining = self._tree.remaining(node)
        serves = self._tree.serves(node)
        bounds = {name: min(milli, remaining.get(name, milli)) for name, milli in serves.items()}
        serving = _fit(unreserved, bounds, others=False)
        if not serving:
            return EMPTY
        served = serving.quantities().milli
        surplus = self._surplus_after(node, served)
        left = {name: milli - served.get(name, 0) for name, milli in remaining.items()}
        further = _fit(unreserved - serving, _least(left, surplus))
        along = [e for e in visible if _comes_along(e, node.path)]
        return Resources(along) + serving + further

    def _surplus_after(self, node: RoleNode, served: Mapping[str, int]) -> dict[str, int]:
        """Return available − required headroom where something is required, after `served`."""
        required = self._tree.required_after(node, served)
        headroom = self._state.headroom
        return {
            name: headroom[name] - served.get(name, 0) - milli
            for name, milli in required.items()
            if milli > 0
        }

    # Stage two.

    def _share_out(
        self, agent: Agent, key: int, leaves: Mapping[Subscription, None] | None
    ) -> None:
        if not agent.available:
            return
        for leaf in self._turns(key, leaves):
            if self._misfit(agent, leaf):
                continue
            offered = self._fair(agent, leaf)
            if offered:
                self._offer(agent, leaf, offered)
                if not agent.available:
                    return

    def _fair(self, agent: Agent, leaf: Subscription) -> Resources:
        """Return what stage two offers: all that is visible within limits and headroom."""
        visible = self._visible(agent, leaf)
        if not self._tree.n_quotas or not visible:
            return visible
        surplus = {
            name: self._state.headroom[name] - milli for name, milli in self._tree.required.items()
        }
        allowed = _least(self._tree.remaining(leaf.node), surplus)
        if not allowed:
            return visible
        unreserved = _unreserved_scalars(visible)
        return visible - unreserved + _fit(unreserved, allowed)

    # Both stages.

    def _turns(
        self, key: int, leaves: Mapping[Subscription, None] | None
    ) -> Iterator[Subscription]:
        """Yield the active ones of `leaves` (None: all), in the order of each turn."""
        if leaves is not None and len(leaves) == 1:
            # Often just one came back; it needs no order.
            yield from (leaf for leaf in leaves if leaf.active)
            return
        nodes = None if leaves is None else {leaf.node for leaf in leaves}
        for node in self._roles(key):
            if nodes is None or node in nodes:
                for leaf in self._leaves(node, key):
                    if leaves is None or leaf in leaves:
                        yield leaf

    def _roles(self, key: int) -> Iterator[RoleNode]:
        for path in _ordered(self._tree.sorter, key):
            yield self._tree.nodes[path]

    def _leaves(self, node: RoleNode, key: int) -> Iterator[Subscription]:
        for framework in _ordered(node.sorter, key, node.id_hash):
            yield node.subscriptions[framework]

    def _misfit(self, agent: Agent, leaf: Subscription) -> str | None:
        """Return what rules an offer out (§6.5): a capability's name, or `CONSTRAINTS`."""
        can = leaf.framework.capabilities
        rules = self._rules
        if agent.has_gpus and rules.filter_gpus and "GPU_RESOURCES" not in can:
            return "GPU_RESOURCES"
        here, there = rules.region, agent.region
        if here != there and None not in (here, there) and "REGION_AWARE" not in can:
            return "REGION_AWARE"
        if "MULTI_ROLE" in can and "MULTI_ROLE" not in agent.capabilities:
            return "MULTI_ROLE"
        role = leaf.node.path
        if "/" in role and "HIERARCHICAL_ROLE" not in agent.capabilities:
            return "HIERARCHICAL_ROLE"
        constraints = leaf.framework.constraints.get(role)
        if constraints is not None and not constraints.admits(agent):
            return CONSTRAINTS
        return None

    def _visible(self, agent: Agent, leaf: Subscription) -> Resources:
        """Return what of an agent's available resources the framework may see in this role."""
        available = agent.available
        if not available.special():
            return available
        can = leaf.framework.capabilities
        seen = available.allocatable_to(leaf.node.path)
        if "REVOCABLE_RESOURCES" not in can:
            seen = seen.nonrevocable()
        if "SHARED_RESOURCES" not in can:
            seen = seen.nonshared()
        elif agent in self._shown:
            seen = seen.minus_floor(self._shown[agent])
        if "RESERVATION_REFINEMENT" not in can:
            seen = Resources([entry for entry in seen if len(entry.reservations) <= 1])
        return seen

    def _offer(self, agent: Agent, leaf: Subscription, resources: Resources) -> None:
        """Offer `resources`, unless they are too little or refused by a filter."""
        if not suffices(resources, leaf.minimum(self._rules.minimum)):
            return
        if leaf.filters and rejects(leaf, agent.id, resources):
            return
        self._state.hold(leaf, agent, resources, offered=True)
        made = self._made.get((leaf, agent), EMPTY)
        self._made[leaf, agent] = made + resources
        shared = resources.shared()
        if shared:
            self._shown[agent] = self._shown.get(agent, EMPTY) + shared


def _ordered(sorter: Sorter, key: int, role_hash: int | None = None) -> Iterator[str]:
    """Return a sorter's order; a random one draws from a stream of the agent's (and role's) own."""
    if isinstance(sorter, RandomSorter):
        sorter.begin(key if role_hash is None else mix64(key ^ role_hash))
    return sorter.order()


def _unreserved_scalars(resources: Resources) -> Resources:
    """Return the entries that limits and headroom bind: unreserved, non-revocable scalars."""
    if not resources.special():
        return resources
    return resources.unreserved().nonrevocable().scalars()


def _comes_along(entry: Resource, role: str) -> bool:
    """Tell whether stage one offers `entry` beside what serves a guarantee (§6.2)."""
    if entry.type != "SCALAR" or entry.revocable:
        return True
    return bool(entry.reservations) and entry.reservations[-1].role == role


def _least(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    """Return the smaller amount of each name that is in either."""
    return {n: min(bounds[n] for bounds in (a, b) if n in bounds) for n in a.keys() | b.keys()}


def _fit(scalars: Resources, bounds: Mapping[str, int], *, others: bool = True) -> Resources:
    """Chop `scalars` to `bounds`, in thousandths by name.

    Entries of one name are taken in the order of their canonical text; one that cannot be split is
    taken whole or left. Names without a bound are taken if `others`. O(entries).
    """
    left = dict(bounds)
    taken = []
    for entry in scalars:
        bound = left.get(entry.name)
        if bound is None:
            if others:
                taken.append(entry)
            continue
        whole = entry.value
        assert isinstance(whole, int)
        amount = min(whole, bound)
        if amount <= 0 or (amount < whole and not entry.splittable):
            continue
        left[entry.name] = bound - amount
        taken.append(entry if amount == whole else entry.replace(value=amount))
    return Resources(taken)
