"""How far a run was from fair, which the run itself knows."""

from __future__ import annotations

from typing import Any, Protocol


class HasFairness(Protocol):
    """What tells how far from fair it was: a `Result` of a simulation."""

    @property
    def fairness(self) -> dict[str, Any]:
        """Return that."""


def deviation(result: HasFairness) -> dict[str, Any]:
    r"""Return how far from their fair shares the roles of a run were while in need.

    Parameters
    ----------
    result : Result
        Of `allocator.sim.simulate`.

    Returns
    -------
    dict
        What `result.fairness` is: `roles` maps each leaf role to the mean, the 95th percentile and
        the worst of \|share − fair share\|, `all` is that of all of them, `jain` Jain's index of
        share / weight. O(intervals × a division) the first time.
    """
    return result.fairness
