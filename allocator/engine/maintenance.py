"""Maintenance: agents that become unavailable, and the frameworks that are asked to leave them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from allocator.contract import InverseOffer
from allocator.engine.filters import filter_seconds
from allocator.errors import InvalidValue, OfferGone, shown

#: What a framework may answer; None stands for an inverse offer that was rescinded.
ANSWERS: Final = ("ACCEPT", "DECLINE")


class Unavailability:
    """When one agent becomes unavailable, and what the frameworks on it said to that.

    `start` is in seconds of the engine's clock, `duration` in seconds, None for good.
    """

    __slots__ = ("duration", "filters", "outstanding", "start", "statuses")

    def __init__(self, start: float, duration: float | None) -> None:
        self.start = start
        self.duration = duration
        #: Frameworks that have an inverse offer and did not answer yet.
        self.outstanding: set[str] = set()
        #: framework → its last answer.
        self.statuses: dict[str, str] = {}
        #: framework → the instant until which it wants no inverse offer.
        self.filters: dict[str, float] = {}


class Maintenance:
    """The agents with a planned unavailability, and the inverse offers made for them.

    An inverse offer asks a framework that holds something on such an agent to leave it. It is
    outstanding until it is answered; after that the next cycle makes a new one, whatever the
    answer, unless the framework refused further ones for a time (Mesos,
    `generateInverseOffers`, `updateInverseOffer`).

    M1. At most one inverse offer is outstanding per framework and agent.
    M2. Statuses, outstanding offers and filters exist for agents with an unavailability only, and
        go when it is changed or cleared: the frameworks are to think again.

    Examples
    --------
    >>> maintenance = Maintenance()
    >>> maintenance.set("a1", 3600.0, 600.0)
    >>> maintenance.due(["a1", "a2"], {"a1": ["spark"], "a2": ["spark"]}.__getitem__, now=0.0)
    [InverseOffer(framework='spark', agent='a1', start=3600.0, duration=600.0)]
    >>> maintenance.answer("spark", "a1", "DECLINE", now=1.0, refuse_seconds=30.0)
    True
    >>> maintenance.due(["a1"], {"a1": ["spark"]}.__getitem__, now=2.0)
    []
    """

    __slots__ = ("_agents",)

    def __init__(self) -> None:
        self._agents: dict[str, Unavailability] = {}

    def __len__(self) -> int:
        """Return how many agents have an unavailability, in O(1)."""
        return len(self._agents)

    def __contains__(self, agent: object) -> bool:
        return agent in self._agents

    def unavailability(self, agent: str) -> Unavailability | None:
        """Return what is planned for an agent, None if nothing is. O(1)."""
        return self._agents.get(agent)

    # Planning

    def set(self, agent: str, start: float, duration: float | None = None) -> None:
        """Plan an agent's unavailability in place of any planned before (M2). O(1).

        Parameters
        ----------
        agent : str
        start : float
            In seconds of the engine's clock.
        duration : float, optional
            In seconds; None for good.

        Raises
        ------
        InvalidValue
            `start` is not finite, or `duration` neither None nor finite and at least 0.
        """
        begins = _finite("the start of an unavailability", start)
        lasts = None
        if duration is not None:
            lasts = _finite("the duration of an unavailability", duration)
            if lasts < 0:
                raise InvalidValue(
                    f"the duration of an unavailability is negative: {shown(duration)}"
                )
        self._agents[agent] = Unavailability(begins, lasts)

    def clear(self, agent: str) -> None:
        """Plan nothing for an agent any more, if anything was (M2). O(1)."""
        self._agents.pop(agent, None)

    # Inverse offers

    def due(
        self,
        agents: Iterable[str] | None,
        holders: Callable[[str], Iterable[str]],
        now: float,
    ) -> list[InverseOffer]:
        """Make, and mark as outstanding, the inverse offers of one cycle.

        Parameters
        ----------
        agents : iterable of str, optional
            The cycle's agents, whether offers can be made on them or not; None for all.
        holders : callable
            Returns the active frameworks that hold something on an agent.
        now : float
            The time in seconds; a filter that ends now is gone.

        Returns
        -------
        list of InverseOffer
            By agent and then framework, both in the order of their ids.

        Notes
        -----
        O(agents + frameworks that hold something on those with an unavailability).
        """
        if not self._agents:
            return []
        planned = self._agents if agents is None else self._agents.keys() & set(agents)
        made = []
        for agent in sorted(planned):
            plan = self._agents[agent]
            for framework in sorted(set(holders(agent)) - plan.outstanding):
                if plan.filters.get(framework, -math.inf) <= now:
                    plan.filters.pop(framework, None)
                    plan.outstanding.add(framework)
                    made.append(InverseOffer(framework, agent, plan.start, plan.duration))
        return made

    def answer(
        self,
        framework: str,
        agent: str,
        status: str | None,
        *,
        now: float,
        refuse_seconds: float | None = None,
    ) -> bool:
        """Take a framework's answer to an inverse offer; return whether one was outstanding.

        Parameters
        ----------
        framework, agent : str
        status : {"ACCEPT", "DECLINE"} or None
            None if it was rescinded or timed out: the status of before stays. So does it if the
            framework has no inverse offer outstanding, as the answer is then to an earlier one.
        now : float
            The time in seconds.
        refuse_seconds : float, optional
            How long no further one is wanted, with no minimum; otherwise as for offers. None
            makes no filter.

        Raises
        ------
        InvalidValue
            An unknown status, or a time that is no number.
        OfferGone
            Nothing is planned for the agent (any more). O(1).
        """
        if status is not None and status not in ANSWERS:
            raise InvalidValue(
                f"inverse offer status {shown(status)} is none of {', '.join(ANSWERS)}"
            )
        seconds = filter_seconds(refuse_seconds, 0.0)
        plan = self._agents.get(agent)
        if plan is None:
            raise OfferGone(
                f"there is no inverse offer on agent {shown(agent)}: it stays available"
            )
        was_outstanding = framework in plan.outstanding
        if was_outstanding:
            plan.outstanding.discard(framework)
            if status is not None:
                plan.statuses[framework] = status
        if seconds is not None:
            # Several refusals hold side by side: the last to end counts.
            plan.filters[framework] = max(plan.filters.get(framework, now), now + seconds)
        return was_outstanding

    def statuses(self, agent: str) -> dict[str, str]:
        """Return framework → its last answer on an agent. O(answers)."""
        plan = self._agents.get(agent)
        return {} if plan is None else dict(plan.statuses)

    def next_end(self, now: float) -> float:
        """Return when the next filter ends after `now`, infinity if none does. O(filters)."""
        ends = [end for plan in self._agents.values() for end in plan.filters.values()]
        return min((end for end in ends if end > now), default=math.inf)

    # What ends early

    def drop_filters(self, framework: str) -> None:
        """End a framework's filters: it was revived or deactivated. O(agents planned for)."""
        for plan in self._agents.values():
            plan.filters.pop(framework, None)

    def drop_agent_filters(self, agent: str) -> None:
        """End the filters on an agent: its attributes changed. O(1)."""
        plan = self._agents.get(agent)
        if plan is not None:
            plan.filters.clear()

    def forget(self, framework: str) -> list[str]:
        """Forget a framework that was removed; return the agents that asked it to leave.

        O(agents planned for).
        """
        asked = []
        for agent, plan in self._agents.items():
            if framework in plan.outstanding or framework in plan.statuses:
                asked.append(agent)
            plan.outstanding.discard(framework)
            plan.statuses.pop(framework, None)
            plan.filters.pop(framework, None)
        return asked

    # As a value

    def to_json(self, now: float) -> dict[str, Any]:
        """Return all of it as JSON, filters by the time that remains to them. O(all of it)."""
        return {
            agent: {
                "start": plan.start,
                "duration": plan.duration,
                "outstanding": sorted(plan.outstanding),
                "statuses": dict(sorted(plan.statuses.items())),
                "filters": {
                    framework: end - now
                    for framework, end in sorted(plan.filters.items())
                    if end > now
                },
            }
            for agent, plan in sorted(self._agents.items())
        }

    @classmethod
    def from_json(cls, agents: Mapping[str, Mapping[str, Any]], now: float) -> Maintenance:
        """Return what `to_json` wrote, with the remaining times counted from `now`. O(all)."""
        restored = cls()
        for agent, body in agents.items():
            restored.set(agent, body["start"], body["duration"])
            plan = restored._agents[agent]
            plan.outstanding.update(body["outstanding"])
            plan.statuses.update(body["statuses"])
            if not set(plan.statuses.values()) <= set(ANSWERS):
                raise InvalidValue(
                    f"inverse offer statuses are {ANSWERS}, not {shown(plan.statuses)}"
                )
            for framework, left in body["filters"].items():
                plan.filters[framework] = now + _finite("a filter's time", left)
        return restored

    def copy(self) -> Maintenance:
        """Return a copy that changes on its own. O(all of it)."""
        twin = Maintenance()
        for agent, plan in self._agents.items():
            other = twin._agents[agent] = Unavailability(plan.start, plan.duration)
            other.outstanding.update(plan.outstanding)
            other.statuses.update(plan.statuses)
            other.filters.update(plan.filters)
        return twin


def _finite(what: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise InvalidValue(f"{what} is a finite number of seconds, not {shown(value)}")
