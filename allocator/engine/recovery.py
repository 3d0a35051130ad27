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
        if not self.holds_back(now):
            return {"awaited_agents": 0, "recovery_seconds": None}
        return {"awaited_agents": self.awaited, "recovery_seconds": self.end - now}

    def restore(self, body: Mapping[str, Any], now: float) -> None:
        """Go on as `to_json` said, with the time that remained counted from `now`. O(1)."""
        self.awaited = read_count("awaited_agents", body["awaited_agents"])
        if self.awaited:
            self.end = now + read_number("recovery_seconds", body["recovery_seconds"], least=0)

    def begin(self, expected_agents: int, now: float) -> None:
        """Wait for int(`expected_agents` × factor) agents. O(1)."""
        self.awaited = int(expected_agents * self.factor)
        self.end = now + self.timeout

    def has_ended(self, n_agents: int, now: float) -> bool:
        """End a recovery when enough agents are back or its time is over; tell whether. O(1)."""
        if not self.awaited or (n_agents < self.awaited and self.holds_back(now)):
            return False
        self.awaited = 0
        return True

    def holds_back(self, now: float) -> bool:
        """Tell whether offers are held back at the time `now`. O(1)."""
        return self.awaited > 0 and now < self.end
