"""What explaining asks of an engine: a fork to try things out on, whose next cycle is watched.

`allocator.engine.rehearsal` fills this; nothing else of the engine is known here. Agents,
frameworks and roles go by their ids and paths, amounts are thousandths by resource name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from allocator.contract import Engine, Offers
from allocator.resources import Quantities, Resources

if TYPE_CHECKING:
    from allocator.clock import ManualClock
    from allocator.sorter import Standing

#: The stages of a cycle (contract §6).
GUARANTEES: Final = 1
FAIR_SHARE: Final = 2


class RuledOut(NamedTuple):
    """What rules an agent out for a framework in a role, whatever is left there; all may be empty.

    Parameters
    ----------
    framework_lacks, agent_lacks : tuple of str
        Capabilities that the other side asks for.
    unmet : tuple of tuple of str
        For each group of the framework's constraints those that do not hold, if no group does.
    """

    framework_lacks: tuple[str, ...]
    agent_lacks: tuple[str, ...]
    unmet: tuple[tuple[str, ...], ...]


class Holding(NamedTuple):
    """What a framework holds on an agent in one role."""

    framework: str
    role: str
    offered: Resources
    allocated: Resources


class RoleSums(NamedTuple):
    """A role's quota, and the sums over its subtree that go with it, at one moment.

    `need` is what must be held back for guarantees in the subtree, `children_need` the sum of what
    must be for the roles right below.
    """

    guarantee: Mapping[str, int]
    limit: Mapping[str, int]
    consumed: Mapping[str, int]
    need: Mapping[str, int]
    children_need: Mapping[str, int]


class Watcher(Protocol):
    """Is told what a cycle decides about some agents, while it does; it may look at the rehearsal.

    Between `attempt` and `outcome` of one attempt nothing else is told.
    """

    def turn(self, stage: int, agent: str) -> None:
        """Hear that an agent's turn in a stage begins; an agent with nothing left has none."""

    def attempt(
        self,
        agent: str,
        framework: str,
        role: str,
        visible: Resources | None,
        proposed: Resources,
    ) -> None:
        """Hear what would be offered, before anything of it is.

        `proposed` is what the stage allows of what the framework may see, which is `visible` for
        those asked about and else None. For others than those, nothing is told where nothing is
        proposed.
        """

    def outcome(
        self, agent: str, framework: str, role: str, proposed: Resources, is_made: bool
    ) -> None:
        """Hear whether something that was proposed is offered."""


class Rehearsal(Protocol):
    """A fork of an engine, on a clock of its own, and what decides its next cycle."""

    @property
    def engine(self) -> Engine:
        """The fork. It may be called as any engine."""

    @property
    def clock(self) -> ManualClock:
        """What the fork reads the time from."""

    @property
    def cycle(self) -> int:
        """The number of the cycle that comes next."""

    @property
    def paused(self) -> bool:
        """Whether the engine is paused."""

    @property
    def recovery(self) -> tuple[int, float] | None:
        """How many agents are waited for and until when, None if no recovery is under way."""

    @property
    def whitelist(self) -> frozenset[str] | None:
        """The hosts whose agents may be offered, None for all."""

    @property
    def agents(self) -> Sequence[str]:
        """The ids of all agents, sorted."""

    def ruled_out(self, framework: str, role: str, agent: str) -> RuledOut:
        """Return what rules an agent out for a framework in a role that it is subscribed to."""

    def minimum(self, framework: str, role: str) -> tuple[Quantities, ...]:
        """Return the amounts any one of which an offer must contain; none for any offer."""

    def constraints(self, framework: str) -> Mapping[str, Any]:
        """Return a framework's constraints by role, as v1 JSON."""

    @property
    def interval(self) -> float:
        """How many seconds lie between cycles."""

    def refusals(self) -> dict[tuple[str, str], float]:
        """Return by framework and role for how many seconds the last answer refused an offer.

        0 without a filter. Those who took something, gave no answer yet or have left the role are
        not there.
        """

    def filters(self, framework: str, role: str, agent: str) -> Sequence[tuple[Resources, float]]:
        """Return what a framework refused there, each with the time at which the filter ends."""

    def holdings(self, agent: str) -> Sequence[Holding]:
        """Return who holds what on an agent."""

    def sums(self, role: str) -> RoleSums:
        """Return a role's quota and the sums that go with it."""

    def guarantors(self) -> Sequence[str]:
        """Return the roles that have a guarantee."""

    def headroom(self, name: str) -> int:
        """Return how much of a resource is available in the cluster; it may be below zero."""

    def required(self, name: str) -> int:
        """Return how much of a resource all guarantees together need."""

    def standing(self, path: str, framework: str | None = None) -> Standing:
        """Return what a node of the role tree, or a framework in a role, is ordered by."""

    def watch(
        self, watcher: Watcher, framework: str, role: str | None = None, agent: str | None = None
    ) -> Offers:
        """Run the next cycle, also while the engine is paused or recovering, and tell of it.

        The watcher is told of all attempts on the agent, or on all agents, with details where they
        are the framework's in that role, or in any of its own.

        Raises
        ------
        UnknownFramework, UnknownRole, UnknownAgent, InvalidRole
        """
