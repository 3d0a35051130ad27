"""The engine's state and its one mutator: everything that is kept is adjusted here.

Each of the few changes below (something is held, moved from offered to allocated, given back;
an agent's total changes; a subscription becomes active) adjusts every sum that depends on it at
once: the agent's, the holding's, both sorters', the role tree's, the cluster's. Nothing else in
the engine writes to those.

S1. `holdings` of agents and of subscriptions are the same objects; a holding exists exactly while
    it is not empty.
S2. `total`, `in_use` are sums over agents and holdings of scalars by name; `headroom` is what of
    the agents' unreserved, non-revocable scalars is in no known framework's hands.
S3. `dirty` has the agents on which a cycle could make an offer to anybody for which it could not
    at its last look; `fresh` the subscriptions that could be offered what they could not before,
    anywhere; `reopened` those that could on one agent. An agent or subscription in none of them
    can be passed over while no quota is set: its last look ended with nothing anyone would take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from allocator.engine.agents import Agent, Holding
from allocator.engine.filters import Filters
from allocator.engine.frameworks import Framework, Subscription
from allocator.engine.roles import RoleNode, RoleTree
from allocator.engine.tally import HeldTally, Portion, Tally
from allocator.resources import Resources
from allocator.sorter import Sorter, Totals


def free_part(resources: Resources) -> Resources:
    """Return the unreserved, non-revocable entries, whose scalars quota is charged for. O(n)."""
    if not resources.special():
        return resources
    return resources.unreserved().nonrevocable()


def _portions(agent: str, resources: Resources) -> tuple[Portion, Portion]:
    """Return what `resources` are in a sum of all that is held, and in one of what is charged."""
    whole = Portion.of(agent, resources)
    free = free_part(resources)
    return whole, whole if free is resources else Portion.of(agent, free)


def reservations(resources: Resources) -> dict[str, Mapping[str, int]]:
    """Return role → scalars reserved to exactly that role, in thousandths."""
    roles = {e.reservations[-1].role for e in resources.special() if e.reservations}
    return {role: resources.reserved(role).quantities().milli for role in sorted(roles)}


class State:
    """Agents, frameworks, roles, filters and open offers, and the sums over them.

    Parameters
    ----------
    role_sorter, framework_sorter : callable
        Make a hierarchical and a flat sorter on the totals given to them.
    """

    #: The sums, each a `Tally` in thousandths by name.
    SUMS = ("total", "in_use", "headroom", "_charged")

    def __init__(
        self,
        role_sorter: Callable[[Totals], Sorter],
        framework_sorter: Callable[[Totals], Sorter],
    ) -> None:
        self.totals = Totals()
        self.tree = RoleTree(self.totals, role_sorter, framework_sorter)
        self.agents: dict[str, Agent] = {}
        self.frameworks: dict[str, Framework] = {}
        self.filters = Filters()
        #: offer id → (subscription, agent) of each open offer; its resources are in the holding.
        self.open_offers: dict[str, tuple[Subscription, Agent]] = {}
        self.n_offers_made = 0
        #: framework not yet added → agents on which it uses something already.
        self.expected: dict[str, dict[str, Agent]] = {}
        self.total = Tally()
        self.in_use = HeldTally()
        self.headroom = Tally()
        #: What `headroom` has been lessened by.
        self._charged = HeldTally()
        self.dirty: dict[str, Agent] = {}
        self.fresh: dict[Subscription, None] = {}
        self.reopened: dict[Agent, dict[Subscription, None]] = {}
        #: Whether anything happened since the last full cycle began.
        self.changed = False
        #: Told the id of an agent that may have something to offer, None for all agents.
        self.listener: Callable[[str | None], None] | None = None

    # What may be offered now (S3).

    def touch_agent(self, agent: Agent) -> None:
        """Have the next cycle look at `agent`. O(1)."""
        self.changed = True
        self.dirty[agent.id] = agent
        if self.listener is not None:
            self.listener(agent.id)

    def touch_all(self) -> None:
        """Have the next cycle look at every agent. O(agents)."""
        self.changed = True
        self.dirty.update(self.agents)
        if self.listener is not None:
            self.listener(None)

    def touch_subscription(self, subscription: Subscription) -> None:
        """Have the next cycle try `subscription` on every agent. O(1)."""
        self.changed = True
        self.fresh[subscription] = None
        if self.listener is not None:
            self.listener(None)

    def expire_filters(self, now: float) -> None:
        """Drop filters that have ended and look again where they held. O(ended × log filters)."""
        for ended in self.filters.expire(now):
            self.reopen(ended.subscription, ended.agent)

    def reopen(self, subscription: Subscription, agent: Agent) -> None:
        """Have the next cycle try `subscription` on `agent`. O(1)."""
        self.changed = True
        self.reopened.setdefault(agent, {})[subscription] = None

    # Agents.

    def add_agent(self, agent: Agent) -> None:
        """Take in an agent on which nothing is held yet. O(entries); may raise `ResourceError`."""
        self.totals.add_agent(agent.id, agent.total)
        self.agents[agent.id] = agent
        self._count_total(agent.total)
        self.touch_agent(agent)

    def change_total(self, agent: Agent, total: Resources) -> None:
        """Replace an agent's total, which may be less than what is in use there. O(entries)."""
        self.totals.update_agent(agent.id, total)
        before = agent.total
        agent.change_total(total)
        # The new before the old, so that no role ceases to exist in between.
        self._count_total(total)
        self._discount_total(before)
        self.touch_agent(agent)

    def remove_agent(self, agent: Agent) -> None:
        """Forget an agent with all that is held, offered and filtered there. O(held there)."""
        for subscription in list(agent.holdings):
            holding = agent.holdings[subscription]
            self.free(subscription, agent, holding.offered, offered=True)
            self.free(subscription, agent, holding.allocated, offered=False)
        for framework in list(agent.pending):
            self._unexpect(framework, agent)
        self.filters.drop_agent(agent)
        self._discount_total(agent.total)
        self.totals.remove_agent(agent.id)
        del self.agents[agent.id]
        self.dirty.pop(agent.id, None)
        self.reopened.pop(agent, None)
        self.changed = True

    def _count(self, node: RoleNode, agent: Agent, resources: Resources, *, offered: bool) -> None:
        """Add to all sums what is held of `agent`."""
        whole, charged = _portions(agent.id, resources)
        self.tree.hold(node, whole, charged, offered=offered)
        self.in_use.hold(whole)
        self.headroom.subtract(self._charged.hold(charged))

    def _discount(
        self, node: RoleNode, agent: Agent, resources: Resources, *, offered: bool
    ) -> None:
        """Undo `_count`."""
        whole, charged = _portions(agent.id, resources)
        self.tree.free(node, whole, charged, offered=offered)
        self.in_use.free(whole)
        self.headroom.add(self._charged.free(charged))

    def _count_total(self, resources: Resources) -> None:
        self.total.add(resources.quantities().milli)
        self.headroom.add(free_part(resources).quantities().milli)
        for role, amounts in reservations(resources).items():
            self.tree.reserve(role, amounts)

    def _discount_total(self, resources: Resources) -> None:
        self.total.subtract(resources.quantities().milli)
        self.headroom.subtract(free_part(resources).quantities().milli)
        for role, amounts in reservations(resources).items():
            self.tree.unreserve(role, amounts)

    # Holdings (S1, S2).

    def hold(
        self,
        subscription: Subscription,
        agent: Agent,
        resources: Resources,
        *,
        offered: bool,
        taken: bool = True,
    ) -> Holding:
        """Give `resources` of `agent` to `subscription`. O(names × depth + log siblings).

        `taken=False` where the agent accounts for them already, as for an expected framework.
        """
        self.changed = True
        holding = agent.holdings.get(subscription)
        if holding is None:
            holding = agent.holdings[subscription] = Holding()
            subscription.holdings[agent.id] = holding
        node = subscription.node
        if offered:
            holding.offered += resources
        else:
            holding.allocated += resources
        if taken:
            agent.take(resources, offered=offered)
        self._count(node, agent, resources, offered=offered)
        self.tree.sorter.allocated(node.path, agent.id, resources)
        node.sorter.allocated(subscription.framework.id, agent.id, resources)
        return holding

    def free(
        self, subscription: Subscription, agent: Agent, resources: Resources, *, offered: bool
    ) -> None:
        """Take back what `subscription` holds of `agent`. O(names × depth + log siblings).

        The caller keeps `Holding.offers` right and decides what the next cycle looks at.
        """
        if not resources:
            return
        self.changed = True
        holding = agent.holdings[subscription]
        node = subscription.node
        if offered:
            holding.offered -= resources
        else:
            holding.allocated -= resources
        agent.give_back(resources, offered=offered)
        self._discount(node, agent, resources, offered=offered)
        self.tree.sorter.unallocated(node.path, agent.id, resources)
        node.sorter.unallocated(subscription.framework.id, agent.id, resources)
        if not holding.offered and not holding.allocated:
            self._drop_holding(subscription, agent, holding)

    def keep(self, subscription: Subscription, agent: Agent, resources: Resources) -> None:
        """Turn offered resources into allocated ones; no share changes. O(names × depth)."""
        holding = agent.holdings[subscription]
        holding.offered -= resources
        holding.allocated += resources
        agent.offered -= resources
        agent.allocated += resources
        self.tree.keep(subscription.node, Portion.of(agent.id, resources))

    def _drop_holding(self, subscription: Subscription, agent: Agent, holding: Holding) -> None:
        for offer_id in holding.offers:
            del self.open_offers[offer_id]
        del agent.holdings[subscription]
        del subscription.holdings[agent.id]
        self.settle(subscription)

    # Conversions.

    def convert_offered(
        self, subscription: Subscription, agent: Agent, offer_id: str, converted: Resources
    ) -> None:
        """Replace what is left in an open offer by resources of the same quantities.

        O(entries + names × depth + log siblings).
        """
        holding = agent.holdings[subscription]
        before = holding.offers[offer_id]
        node, framework = subscription.node, subscription.framework.id
        offered = agent.offered - before + converted
        total = agent.total - before + converted
        holding.offered = holding.offered - before + converted
        holding.offers[offer_id] = converted
        agent.offered = offered
        self.tree.sorter.update(node.path, agent.id, before, converted)
        node.sorter.update(framework, agent.id, before, converted)
        # The new before the old, so that nothing is counted as gone in between.
        self._count(node, agent, converted, offered=True)
        self._discount(node, agent, before, offered=True)
        self.change_total(agent, total)

    # Offers.

    def open_offer(self, subscription: Subscription, agent: Agent, resources: Resources) -> str:
        """Name an offer of resources that are held as offered, and return its id. O(1)."""
        self.n_offers_made += 1
        offer_id = f"O{self.n_offers_made}"
        self.open_offers[offer_id] = (subscription, agent)
        agent.holdings[subscription].offers[offer_id] = resources
        return offer_id

    def close_offer(self, offer_id: str) -> tuple[Subscription, Agent, Resources]:
        """Forget an open offer; its resources stay held as offered. O(1)."""
        subscription, agent = self.open_offers.pop(offer_id)
        return subscription, agent, agent.holdings[subscription].offers.pop(offer_id)

    def shorten_offers(self, holding: Holding, resources: Resources) -> None:
        """Take `resources` out of the holding's open offers, the oldest first. O(offers there)."""
        for offer_id, left in list(holding.offers.items()):
            remaining = left.minus_floor(resources)
            resources = resources.minus_floor(left)
            if remaining:
                holding.offers[offer_id] = remaining
            else:
                del holding.offers[offer_id]
                del self.open_offers[offer_id]
            if not resources:
                return

    # Frameworks and their subscriptions.

    def subscription(self, framework: Framework, role: str) -> Subscription:
        """Return the framework's leaf in `role`, attaching an inactive one if absent. O(depth)."""
        found = framework.subscriptions.get(role)
        if found is None:
            found = Subscription(framework, self.tree.ensure(role))
            framework.subscriptions[role] = found
            self.tree.attach(found)
        return found

    def settle(self, subscription: Subscription) -> None:
        """Bring a leaf's activity in line, and drop it if nothing keeps it any more. O(depth)."""
        wanted = subscription.should_be_active
        if wanted != subscription.active:
            subscription.active = wanted
            if wanted:
                self.tree.activate(subscription)
                self.touch_subscription(subscription)
            else:
                self.tree.deactivate(subscription)
                self.fresh.pop(subscription, None)
        if not subscription.subscribed and not subscription.holdings:
            role = subscription.node.path
            if subscription.framework.subscriptions.get(role) is subscription:
                del subscription.framework.subscriptions[role]
                self.tree.detach(subscription)

    def drop_filters(self, subscription: Subscription) -> None:
        """End all filters of a leaf early. O(its filters)."""
        if self.filters.drop(subscription):
            self.touch_subscription(subscription)

    def subscribe(
        self, framework: Framework, roles: Iterable[str], suppressed: Iterable[str]
    ) -> None:
        """Set the roles a framework is subscribed to and which of them are suppressed."""
        framework.roles = tuple(roles)
        quiet = set(suppressed)
        for role in framework.roles:
            leaf = self.subscription(framework, role)
            leaf.subscribed = True
            if leaf.suppressed and role not in quiet:
                self.drop_filters(leaf)
            leaf.suppressed = role in quiet
            self.settle(leaf)
        for role, leaf in list(framework.subscriptions.items()):
            if role not in framework.roles:
                leaf.subscribed = leaf.suppressed = False
                self.filters.drop(leaf)
                self.settle(leaf)

    def remove_framework(self, framework: Framework) -> None:
        """Forget a framework; what it held goes back to the agents. O(held)."""
        for leaf in list(framework.subscriptions.values()):
            leaf.subscribed = False
            self.filters.drop(leaf)
            for agent_id, holding in list(leaf.holdings.items()):
                agent = self.agents[agent_id]
                self.free(leaf, agent, holding.offered, offered=True)
                self.free(leaf, agent, holding.allocated, offered=False)
                self.touch_agent(agent)
            self.settle(leaf)
        del self.frameworks[framework.id]
        self.changed = True

    # Frameworks that use something before they are added.

    def expect(self, framework: str, agent: Agent, role: str, resources: Resources) -> None:
        """Set aside on `agent` what a framework that was not added yet uses there. O(entries)."""
        by_role = agent.pending.setdefault(framework, {})
        by_role[role] = by_role.get(role, Resources()) + resources
        agent.take(resources, offered=False)
        self.expected.setdefault(framework, {})[agent.id] = agent

    def _unexpect(self, framework: str, agent: Agent) -> dict[str, Resources]:
        del self.expected[framework][agent.id]
        if not self.expected[framework]:
            del self.expected[framework]
        return agent.pending.pop(framework)

    def welcome(self, framework: Framework) -> None:
        """Enter what a framework that is added now used already. O(its holdings)."""
        for agent in list(self.expected.get(framework.id, {}).values()):
            for role, resources in self._unexpect(framework.id, agent).items():
                leaf = self.subscription(framework, role)
                self.hold(leaf, agent, resources, offered=False, taken=False)
