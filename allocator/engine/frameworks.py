"""Frameworks: what they can do and ask for. Their subscriptions are records of the state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from allocator.resources import Quantities, Resources

if TYPE_CHECKING:
    from allocator.engine._records import Subscription
    from allocator.engine.constraints import RoleConstraints

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

    def minimum_in(self, role: str) -> Minimum | None:
        """Return what an offer in a role must at least contain, None for the engine's own. O(1)."""
        own = self.minimum
        if own is None or isinstance(own, tuple):
            return own
        return own.get(role)


def suffices(resources: Resources, minimum: Minimum) -> bool:
    """Tell whether `resources` contain any one of the amounts of `minimum`.

    Scalars count their amount, ranges and sets their elements. O(amounts × names).
    """
    if not minimum:
        return True
    counts = resources.counts()
    return any(counts >= amounts for amounts in minimum)
