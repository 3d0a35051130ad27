"""Read-only views: what an operator may look at without being able to change it.

A view reads the live state each time; one of something that has gone raises as a look-up would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TypeVar

from allocator.clock import Clock
from allocator.contract import Offer
from allocator.engine._records import Agent, Framework
from allocator.engine._roles import RoleNode
from allocator.engine._state import HoldingView, State
from allocator.engine.lookup import agent_of, framework_of
from allocator.engine.quota import Quota
from allocator.errors import OfferGone, UnknownRole, shown
from allocator.resources import Quantities, Resources

V = TypeVar("V")


class Views(Mapping[str, V]):
    """Views of all agents, frameworks or roles that there are at the time one looks.

    Parameters
    ----------
    what : str
        What they are.
    records : mapping
        What the state has, by id or path.
    view : callable
        Returns the view of one that is there.
    in_order : callable
        Puts the keys in order; by default they are in that of the records.
    """

    __slots__ = ("_in_order", "_records", "_view", "_what")

    def __init__(
        self,
        what: str,
        records: Mapping[str, object],
        view: Callable[[str], V],
        in_order: Callable[[Iterable[str]], Iterable[str]] = iter,
    ) -> None:
        self._what = what
        self._records = records
        self._view = view
        self._in_order = in_order

    def __getitem__(self, key: str) -> V:
        """Return the view of one; raises `KeyError`. O(1)."""
        if key not in self._records:
            raise KeyError(key)
        return self._view(key)

    def __contains__(self, key: object) -> bool:
        return key in self._records

    def __iter__(self) -> Iterator[str]:
        return iter(self._in_order(self._records))

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"<{len(self)} {self._what}>"


class OpenOffers(Mapping[str, Offer]):
    """The offers that are open at the time one looks, with what is then left in them."""

    __slots__ = ("_state",)

    def __init__(self, state: State) -> None:
        self._state = state

    def __getitem__(self, id: str) -> Offer:
        """Return one with what is left in it; raises `KeyError`. O(1)."""
        try:
            leaf, agent, left = self._state.find_offer(id)
        except (OfferGone, TypeError):
            raise KeyError(id) from None
        return Offer(id, leaf.framework.id, leaf.node.path, agent.id, left)

    def __iter__(self) -> Iterator[str]:
        return iter([id for id, _ in self._state.open_offers()])

    def __len__(self) -> int:
        return self._state.n_open_offers

    def __repr__(self) -> str:
        return f"<{len(self)} open offers>"


class AgentView:
    """One agent: what it has, and how much of it is offered and allocated."""

    __slots__ = ("_id", "_state")

    def __init__(self, state: State, id: str) -> None:
        self._state = state
        self._id = id
        _ = self._agent

    @property
    def _agent(self) -> Agent:
        return agent_of(self._state, self._id)

    @property
    def id(self) -> str:
        """The agent's id."""
        return self._id

    @property
    def hostname(self) -> str:
        """The host's name, which the whitelist goes by."""
        return self._agent.hostname

    @property
    def attributes(self) -> Mapping[str, object]:
        """The attributes by name."""
        return MappingProxyType(dict(self._agent.attributes))

    @property
    def capabilities(self) -> frozenset[str]:
        """What the agent can do, by Mesos's names."""
        return self._agent.capabilities

    @property
    def region(self) -> str | None:
        """The region of the agent's fault domain."""
        return self._agent.region

    @property
    def zone(self) -> str | None:
        """The zone of the agent's fault domain."""
        return self._agent.zone

    @property
    def active(self) -> bool:
        """Whether cycles consider the agent."""
        return self._agent.active

    @property
    def total(self) -> Resources:
        """All that the agent has."""
        return self._agent.total

    @property
    def available(self) -> Resources:
        """What is neither offered nor allocated."""
        return self._agent.available

    @property
    def offered(self) -> Resources:
        """What is in open offers."""
        return self._agent.offered

    @property
    def allocated(self) -> Resources:
        """What frameworks use, also ones that were not added yet."""
        return self._agent.allocated

    @property
    def reserved(self) -> Resources:
        """What of the total is reserved to a role."""
        return self._agent.total.reserved()

    def __repr__(self) -> str:
        return f"<agent {self._id!r}: {self.total}>"


class FrameworkView:
    """One framework: where it is subscribed and what it holds."""

    __slots__ = ("_id", "_state")

    def __init__(self, state: State, id: str) -> None:
        self._state = state
        self._id = id
        _ = self._framework

    @property
    def _framework(self) -> Framework:
        return framework_of(self._state, self._id)

    @property
    def id(self) -> str:
        """The framework's id."""
        return self._id

    @property
    def active(self) -> bool:
        """Whether the framework takes part at all."""
        return self._framework.active

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles it is subscribed to, in the order given."""
        return self._framework.roles

    @property
    def suppressed(self) -> frozenset[str]:
        """The roles in which it wants no offers for now."""
        leaves = self._framework.subscriptions.items()
        return frozenset(role for role, leaf in leaves if leaf.suppressed)

    @property
    def capabilities(self) -> frozenset[str]:
        """What the framework can do, by Mesos's names."""
        return self._framework.capabilities

    @property
    def offered(self) -> dict[str, dict[str, Resources]]:
        """What is in open offers to it: agent → role → resources."""
        return self._held(lambda held: held.offered)

    @property
    def allocated(self) -> dict[str, dict[str, Resources]]:
        """What it uses: agent → role → resources."""
        return self._held(lambda held: held.allocated)

    def _held(self, part: Callable[[HoldingView], Resources]) -> dict[str, dict[str, Resources]]:
        found: dict[str, dict[str, Resources]] = {}
        for role, leaf in self._framework.subscriptions.items():
            for held in self._state.holdings_of_leaf(leaf):
                resources = part(held)
                if resources:
                    found.setdefault(held.agent.id, {})[role] = resources
        return found

    def share(self, role: str) -> float:
        """Return its dominant share among the frameworks of `role`; raises `UnknownRole`."""
        leaf = self._framework.subscriptions.get(role)
        if leaf is None:
            raise UnknownRole(
                f"framework {shown(self._id)} is not subscribed to role {shown(role)}"
            )
        return leaf.node.sorter.share(self._id)

    def __repr__(self) -> str:
        return f"<framework {self._id!r} in {', '.join(self.roles)}>"


class QuotaView:
    """A role's guarantee and limit."""

    __slots__ = ("_quota",)

    def __init__(self, quota: Quota) -> None:
        self._quota = quota

    @property
    def guarantee(self) -> Quantities:
        """The least that is held back for the role's subtree."""
        return Quantities.from_milli(self._quota.guarantee)

    @property
    def limit(self) -> Mapping[str, float]:
        """The most that the subtree may consume, by name; an absent name is not limited."""
        return MappingProxyType({name: milli / 1000 for name, milli in self._quota.limit.items()})

    def __repr__(self) -> str:
        return f"<quota guarantee={str(self.guarantee)!r} limit={dict(self.limit)}>"


class RoleView:
    """One role: its weight, quota and share, and the sums over its subtree."""

    __slots__ = ("_clock", "_path", "_state", "_tree")

    def __init__(self, state: State, path: str, clock: Clock) -> None:
        self._state = state
        self._tree = state.tree
        self._path = path
        self._clock = clock
        _ = self._node

    @property
    def _node(self) -> RoleNode:
        node = self._tree.get(self._path) if isinstance(self._path, str) else None
        if node is None:
            raise UnknownRole(f"there is no role {shown(self._path)}")
        return node

    @property
    def path(self) -> str:
        """The role's path."""
        return self._path

    @property
    def weight(self) -> float:
        """The weight of the subtree against its siblings."""
        return self._node.weight

    @property
    def share(self) -> float:
        """The weighted dominant share of the subtree."""
        _ = self._node
        return self._tree.share(self._path)

    @property
    def quota(self) -> QuotaView:
        """The guarantee and limit."""
        return QuotaView(self._node.quota)

    @property
    def consumed(self) -> Quantities:
        """What counts against the quota: reservations, and unreserved scalars offered or used."""
        return self._node.consumed.quantities()

    @property
    def offered(self) -> Quantities:
        """What is in open offers to the subtree's frameworks."""
        return self._node.offered.quantities()

    @property
    def allocated(self) -> Quantities:
        """What the subtree's frameworks use."""
        return self._node.allocated.quantities()

    @property
    def reserved(self) -> Quantities:
        """What is reserved to the subtree, in use or not."""
        return self._node.reserved.quantities()

    @property
    def frameworks(self) -> tuple[str, ...]:
        """The frameworks that are subscribed to, or hold something in, this very role, by id."""
        return tuple(sorted(self._node.subscriptions))

    @property
    def filters(self) -> int:
        """How many filters hold in this very role now."""
        now = self._clock()
        leaves = self._node.subscriptions.values()
        return sum(self._state.filters_of(leaf, now) for leaf in leaves)

    def __repr__(self) -> str:
        return f"<role {self._path!r}: share {self.share:.4f}, weight {self.weight:g}>"
