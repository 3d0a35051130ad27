"""Filters: refused resources that a framework does not want to see again for a while."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from allocator.errors import InvalidValue
from allocator.resources import Resources

if TYPE_CHECKING:
    from allocator.engine.agents import Agent
    from allocator.engine.frameworks import Subscription

#: What Mesos falls back to for a refusal time that is no time, in seconds.
DEFAULT_REFUSE_SECONDS = 5.0
#: No refusal lasts longer than this, in seconds.
MAX_REFUSE_SECONDS = 365 * 86400.0


def filter_seconds(refuse_seconds: float | None, allocation_interval: float) -> float | None:
    """Return how long a filter lives, in seconds, or None for no filter.

    At least one allocation interval, so that a refusal outlives the next cycle; a negative or NaN
    time counts as 5 s, more than a year as a year (Mesos, `recoverResources`).

    Raises
    ------
    InvalidValue
        `refuse_seconds` is not a number.
    """
    if refuse_seconds is None:
        return None
    if isinstance(refuse_seconds, bool) or not isinstance(refuse_seconds, (int, float)):
        raise InvalidValue(f"refuse_seconds is a number of seconds or None, not {refuse_seconds!r}")
    if refuse_seconds == 0:
        return None
    if not refuse_seconds > 0:  # negative or NaN
        refuse_seconds = DEFAULT_REFUSE_SECONDS
    return max(float(min(refuse_seconds, MAX_REFUSE_SECONDS)), allocation_interval)


class Filter:
    """One refusal by one subscription on one agent, until the instant `end`."""

    __slots__ = ("agent", "end", "resources", "subscription")

    def __init__(
        self, subscription: Subscription, agent: Agent, resources: Resources, end: float
    ) -> None:
        self.subscription = subscription
        self.agent = agent
        self.resources = resources
        self.end = end

    @property
    def holds(self) -> bool:
        """Whether the filter is still in place: it may have gone before its end."""
        return self in self.subscription.filters.get(self.agent.id, ())


class Filters:
    """All filters, found by subscription and agent, and by the time at which they end.

    F1. A filter stands in `subscription.filters[agent.id]` exactly while it holds, and
        `agent.filtered` has the subscriptions for which that list is there.
    F2. Each filter that holds is in the heap; one that went early stays there until its end or
        until such left-overs are the majority, when the heap is built anew.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Filter]] = []
        self._n_made = 0
        self._n_held = 0
        #: role path → number of filters that hold there.
        self.by_role: dict[str, int] = {}

    def add(
        self, subscription: Subscription, agent: Agent, resources: Resources, end: float
    ) -> None:
        """Refuse `resources` of `agent` until `end`. O(log filters)."""
        made = Filter(subscription, agent, resources, end)
        subscription.filters.setdefault(agent.id, []).append(made)
        agent.filtered.add(subscription)
        self._n_made += 1
        heappush(self._heap, (end, self._n_made, made))
        self._count(subscription, 1)

    def expire(self, now: float) -> list[Filter]:
        """Drop and return the filters whose end has come. O(ended × log filters)."""
        ended = []
        while self._heap and self._heap[0][0] <= now:
            candidate = heappop(self._heap)[2]
            if candidate.holds:
                self._drop(candidate)
                ended.append(candidate)
        return ended

    def next_end(self) -> float:
        """Return the time of the earliest end, infinity if there is no filter. O(1) amortised."""
        while self._heap and not self._heap[0][2].holds:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def drop(self, subscription: Subscription) -> bool:
        """End early all filters of a subscription; tell whether any held. O(its filters)."""
        dropped = [held for on_agent in subscription.filters.values() for held in on_agent]
        self._drop_all(dropped)
        return bool(dropped)

    def drop_agent(self, agent: Agent) -> None:
        """End early all filters on one agent. O(filters there)."""
        self._drop_all([held for leaf in agent.filtered for held in leaf.filters[agent.id]])

    def held(self) -> list[Filter]:
        """Return the filters that hold, in no particular order. O(filters)."""
        return [entry[2] for entry in self._heap if entry[2].holds]

    def copy(self, copies: Mapping[Filter, Filter]) -> Filters:
        """Return the same filters over the copies of those that hold. O(filters)."""
        twin = Filters()
        # What is left of a heap without some entries, sorted, is one again.
        twin._heap = sorted(
            (end, age, copies[held]) for end, age, held in self._heap if held in copies
        )
        twin._n_made, twin._n_held = self._n_made, self._n_held
        twin.by_role = dict(self.by_role)
        return twin

    def _drop_all(self, dropped: Iterable[Filter]) -> None:
        for held in dropped:
            self._drop(held)
        self._compact()

    def _drop(self, held: Filter) -> None:
        subscription, agent = held.subscription, held.agent
        on_agent = subscription.filters[agent.id]
        on_agent.remove(held)
        if not on_agent:
            del subscription.filters[agent.id]
            agent.filtered.discard(subscription)
        self._count(subscription, -1)

    def _count(self, subscription: Subscription, change: int) -> None:
        self._n_held += change
        role = subscription.node.path
        count = self.by_role.get(role, 0) + change
        if count:
            self.by_role[role] = count
        else:
            del self.by_role[role]

    def _compact(self) -> None:
        if len(self._heap) > 64 and len(self._heap) > 2 * self._n_held:
            self._heap = [entry for entry in self._heap if entry[2].holds]
            # A sorted list is a heap.
            self._heap.sort(key=lambda entry: entry[:2])


def rejects(subscription: Subscription, agent_id: str, resources: Resources) -> bool:
    """Tell whether a filter refuses `resources`: its refused resources contain them (§6.5)."""
    return any(refused.resources >= resources for refused in subscription.filters.get(agent_id, ()))
