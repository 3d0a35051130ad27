"""Recovery: after a restart, offers wait until enough agents are back (contract §5.7)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from allocator.engine.inputs import read_count, read_number


class Recovery:
    """Tells whether offers are still held back.

    Handing out what the first few agents have before the others are back would break guarantees
    that the whole cluster could keep (Mesos, `HierarchicalAllocator::recover`).

    Parameters
    ----------
    factor : float
        The part of the expected agents that is waited for, 0 to 1.
    timeout : float
        Seconds after which nothing is waited for any more.
    """

    def __init__(self, factor: float, timeout: float) -> None:
        self.factor = factor
        self.timeout = timeout
        #: Number of agents still to be waited for; 0 when no recovery is under way.
        self.awaited = 0
        #: The time at which the recovery ends in any case.
        self.end = -math.inf

    def to_json(self, now: float) -> dict[str, Any]:
        """Return what of it is part of a snapshot. O(1)."""
        left = self.end - now if self.awaited else None
        return {"awaited_agents": self.awaited, "recovery_seconds": left}

    def restore(self, body: Mapping[str, Any], now: float) -> None:
        """Go on as `to_json` said, with the time that remained counted from `now`. O(1)."""
        self.awaited = read_count("awaited_agents", body["awaited_agents"])
        if self.awaited:
            self.end = now + read_number("recovery_seconds", body["recovery_seconds"], least=0)

    def begin(self, expected_agents: int, now: float) -> None:
        """Wait for int(`expected_agents` × factor) agents. O(1)."""
        self.awaited = int(expected_agents * self.factor)
        self.end = now + self.timeout

    def agent_added(self, n_agents: int) -> None:
        """Tell how many agents there are now. O(1)."""
        if n_agents >= self.awaited:
            self.awaited = 0

    def holds_back(self, now: float) -> bool:
        """Tell whether offers are held back at the time `now`; ends a recovery in time. O(1)."""
        if self.awaited and now >= self.end:
            self.awaited = 0
        return self.awaited > 0
