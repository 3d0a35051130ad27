"""The same cluster through several orderings: how long each takes, and that all decide alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from allocator.engine import Offer, Offers
from allocator.errors import InvalidValue
from allocator.sim import single_role
from allocator.sorter import SORTERS

#: Who orders, as `Allocator(sorter=…)` names it -> what it is called in tables; all decide alike.
ORDERINGS = {name: SORTERS[name].title for name in ("naive", "sorted", "drf")}

#: The ordering that the others are compared with.
COMPILED = "drf"


def naive_work(n_agents: int, n_frameworks: int) -> int:
    """Return about how many entries the naive ordering looks at in one cold cycle.

    Before each agent it adds up every allocation made so far, one for each agent before, and
    computes every framework's share: agents · (agents / 2 + frameworks).
    """
    return n_agents * (n_agents // 2 + n_frameworks)


@dataclass
class Comparison:
    """One cluster through all orderings.

    `seconds` maps an ordering to its cold cycles, an empty list where it was left out;
    `difference` tells the first offer on which two orderings differ, if any.
    """

    n_agents: int
    n_frameworks: int
    n_offers: int = 0
    seconds: dict[str, list[float]] = field(
        default_factory=lambda: {name: [] for name in ORDERINGS}
    )
    difference: str | None = None

    def median(self, ordering: str) -> float | None:
        """Return the ordering's median cycle in seconds, None where it was left out."""
        seconds = self.seconds[ordering]
        return statistics.median(seconds) if seconds else None

    def ratio(self, ordering: str) -> float | None:
        """Return how many times as long as the compiled one the ordering takes, by the medians."""
        ours, theirs = self.median(COMPILED), self.median(ordering)
        return theirs / ours if ours and theirs else None

    def to_json(self) -> dict[str, Any]:
        """Return all that does not depend on the machine."""
        return {
            "agents": self.n_agents,
            "frameworks": self.n_frameworks,
            "offers": self.n_offers,
            "orderings": [name for name, seconds in self.seconds.items() if seconds],
            "difference": self.difference,
        }

    def timing_to_json(self) -> dict[str, Any]:
        """Return what was measured."""
        return {
            "agents": self.n_agents,
            "frameworks": self.n_frameworks,
            "seconds": self.seconds,
            "ratio_to_compiled": {name: self.ratio(name) for name in ORDERINGS},
        }


def plan(
    agents: Iterable[int], frameworks: Iterable[int], *, naive_limit: float
) -> list[tuple[Comparison, list[str]]]:
    """Return each cluster of the grid with the orderings to run on it.

    Parameters
    ----------
    agents, frameworks : iterable of int
        The sides of the grid.
    naive_limit : float
        The naive ordering is left out where it would look at more entries (`naive_work`).

    Raises
    ------
    InvalidValue
        If a side is empty or has a number below 1.
    """
    sides = {"agents": list(agents), "frameworks": list(frameworks)}
    for name, numbers in sides.items():
        if not numbers or min(numbers) < 1:
            raise InvalidValue(
                f"the numbers of {name} are at least one number from 1, not {numbers}"
            )
    return [
        (
            Comparison(n_agents, n_frameworks),
            [
                name
                for name in ORDERINGS
                if name != "naive" or naive_work(n_agents, n_frameworks) <= naive_limit
            ],
        )
        for n_agents in sides["agents"]
        for n_frameworks in sides["frameworks"]
    ]


def run(
    comparison: Comparison,
    orderings: Sequence[str],
    *,
    repeat: int,
    seed: int,
    on_cycle: Callable[[], None] = lambda: None,
) -> None:
    """Run one cluster `repeat` times through each ordering and fill in the comparison.

    The orderings take turns, so that a slow minute of the machine is shared by all; each cycle is
    cold, on an engine of its own. `on_cycle` is called after each. O(repeat · orderings) cycles;
    the offers of two cycles are in memory at a time.
    """
    expected: Offers | None = None
    for _ in range(repeat):
        for ordering in orderings:
            engine = single_role.build(
                comparison.n_agents, comparison.n_frameworks, sorter=ordering, seed=seed
            )
            offers, seconds = single_role.run_cold_cycle(engine)
            comparison.seconds[ordering].append(seconds)
            if expected is None:
                expected = offers
                comparison.n_offers = len(offers)
            elif comparison.difference is None:
                comparison.difference = first_difference(
                    expected, offers, ORDERINGS[orderings[0]], ORDERINGS[ordering]
                )
            on_cycle()


def first_difference(
    expected: Iterable[Offer], found: Iterable[Offer], expected_name: str, found_name: str
) -> str | None:
    """Tell in words where two sequences of offers first differ; None where they are identical.

    Two offers are identical if their ids, frameworks, roles, agents and resources are. O(offers).
    """
    for index, (one, other) in enumerate(zip_longest(expected, found)):
        if one != other:
            return f"offer {index}: {expected_name} {_text(one)}, {found_name} {_text(other)}"
    return None


def _text(offer: Offer | None) -> str:
    if offer is None:
        return "has none"
    return f"offers {offer.resources} of {offer.agent} to {offer.framework} in {offer.role}"
