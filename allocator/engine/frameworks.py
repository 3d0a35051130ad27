"""Frameworks, and their subscriptions to roles: the leaves of the two sorted levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from allocator.resources import Quantities, Resources

if TYPE_CHECKING:
    from allocator.engine.agents import Holding
    from allocator.engine.constraints import RoleConstraints
    from allocator.engine.filters import Filter
    from allocator.engine.roles import RoleNode

#: Any one of these amounts makes an offer worth making; an empty tuple accepts anything.
Minimum = tuple[Quantities, ...]


class Framework:
    """One framework: what it can do, what it asks for, and where it is subscribed.

    `minimum` is None where the engine's own applies, one for all roles, or one by role (a role
    that the mapping leaves out falls back to the engine's).
    """

    __slots__ = (
        "active",
        "capabilities",
        "constraints",
        "id",
        "minimum",
        "roles",
        "subscriptions",
    )

    def __init__(
        self,
        id: str,
        *,
        active: bool,
        capabilities: frozenset[str],
        minimum: Minimum | Mapping[str, Minimum] | None,
        constraints: Mapping[str, RoleConstraints],
    ) -> None:
        self.id = id
        self.active = active
        self.capabilities = capabilities
        self.minimum = minimum
        #: role path → which agents it wants to be offered there; a role left out admits all.
        self.constraints = constraints
        #: The roles it is subscribed to now, in the order given.
        self.roles: tuple[str, ...] = ()
        #: role path → subscription, also of roles it has left while it holds something there.
        self.subscriptions: dict[str, Subscription] = {}


class Subscription:
    """A framework in one role: a leaf that offers go to.

    It exists while the framework is subscribed to the role or holds something there; it is active
    while the framework is active and subscribed and has not suppressed the role.
    """

    __slots__ = (
        "active",
        "filters",
        "framework",
        "holdings",
        "node",
        "subscribed",
        "suppressed",
    )

    def __init__(self, framework: Framework, node: RoleNode) -> None:
        self.framework = framework
        self.node = node
        self.subscribed = False
        self.suppressed = False
        #: As the sorters have it; `State.settle` keeps it right.
        self.active = False
        #: agent id → holding; the same objects as in `Agent.holdings`.
        self.holdings: dict[str, Holding] = {}
        #: agent id → filters that may still hold there; kept by `Filters`.
        self.filters: dict[str, list[Filter]] = {}

    @property
    def should_be_active(self) -> bool:
        """Whether the framework wants offers in this role."""
        return self.framework.active and self.subscribed and not self.suppressed

    def minimum(self, default: Minimum) -> Minimum:
        """Return what an offer here must at least contain. O(1)."""
        own = self.framework.minimum
        if own is None:
            return default
        if isinstance(own, tuple):
            return own
        return own.get(self.node.path, default)


def suffices(resources: Resources, minimum: Minimum) -> bool:
    """Tell whether `resources` contain any one of the amounts of `minimum`.

    Scalars count their amount, ranges and sets their elements. O(amounts × names).
    """
    if not minimum:
        return True
    counts = resources.counts()
    return any(counts >= amounts for amounts in minimum)
