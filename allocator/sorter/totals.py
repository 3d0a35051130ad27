"""What the agents have in all: the denominators of every share."""

from __future__ import annotations

from allocator.errors import DuplicateAgent, UnknownAgent, shown
from allocator.resources import Quantities, Resources, ResourcesLike


class Totals:
    """The agents' scalars, summed; several sorters may measure their shares against one of these.

    Nobody is told of a change: a sorter compares `version` with the one it saw last when it is
    next asked for something. So an agent costs the same however many sorters there are.

    T1. `quantities` is the sum of all agents' quantities, a shared entry of an agent counted once.
    T2. `version` grows whenever `quantities` changes, and only then.
    T3. A column, once given to a name, is that name's for ever; columns are 0, 1, 2, ….

    Examples
    --------
    >>> totals = Totals()
    >>> totals.add_agent("a1", "cpus:8;mem:1024")
    >>> totals.add_agent("a2", "cpus:4;ports:[31000-32000]")
    >>> str(totals.quantities), totals.version
    ('cpus:12;mem:1024', 2)
    """

    def __init__(self) -> None:
        #: Grows with every change of `quantities` (T2).
        self.version = 0
        #: How much of each scalar name all agents have together (T1).
        self.quantities = Quantities()
        #: resource name → its column in the int64 rows of all sorters that share this (T3). It
        #: also has names that no agent has, as soon as some client holds them.
        self.columns: dict[str, int] = {}
        #: What compiled sorters made of `quantities`, kept here for all of them.
        self.row: object = None
        #: agent id → what it adds to `quantities`.
        self._agents: dict[str, Quantities] = {}

    def column(self, name: str) -> int:
        """Return the column of a resource name, the next free one if it is new. O(1)."""
        return self.columns.setdefault(name, len(self.columns))

    def add_agent(self, agent: str, resources: ResourcesLike) -> None:
        """Add an agent.

        Raises
        ------
        DuplicateAgent
            If it is there already.
        ResourceError
            If the resources are malformed, or a total exceeds 2**63 - 1 thousandths. O(names).
        """
        if agent in self._agents:
            raise DuplicateAgent(f"agent {shown(agent)} is in the sorter already")
        added = Resources(resources).quantities()
        self._replace(self.quantities + added)
        self._agents[agent] = added

    def update_agent(self, agent: str, resources: ResourcesLike) -> None:
        """Replace what an agent has.

        Raises
        ------
        UnknownAgent
            If it is not there.
        ResourceError
            If the resources are malformed, or a total exceeds 2**63 - 1 thousandths. O(names).
        """
        before = self._quantities_of(agent)
        after = Resources(resources).quantities()
        self._replace(self.quantities - before + after)
        self._agents[agent] = after

    def remove_agent(self, agent: str) -> None:
        """Remove an agent; raises `UnknownAgent` if it is not there. O(names)."""
        self._replace(self.quantities - self._quantities_of(agent))
        del self._agents[agent]

    def replace(self, quantities: Quantities) -> None:
        """Set the sum of all agents, for an owner that keeps account of them itself. O(names)."""
        self._replace(quantities)

    def copy(self) -> Totals:
        """Return a copy that changes on its own from now on. O(agents)."""
        twin = Totals()
        twin.version = self.version
        twin.quantities = self.quantities
        twin.columns = self.columns.copy()
        twin._agents = self._agents.copy()
        return twin

    def __contains__(self, agent: object) -> bool:
        return agent in self._agents

    def __len__(self) -> int:
        return len(self._agents)

    def _quantities_of(self, agent: str) -> Quantities:
        found = self._agents.get(agent)
        if found is None:
            raise UnknownAgent(f"agent {shown(agent)} is not in the sorter")
        return found

    def _replace(self, quantities: Quantities) -> None:
        if quantities != self.quantities:
            self.quantities = quantities
            self.version += 1
