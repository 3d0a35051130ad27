"""Competitive equilibrium from equal incomes: prices at which all is sold that is wanted."""

from __future__ import annotations

import numpy as np

from allocator.errors import AllocatorError
from allocator.fairness.asked import Asked, Capacity, Demands, Floats, Numbers, read
from allocator.fairness.divided import ITERATED, Division

#: By how much each turn comes nearer; how near the dual, as a double, can tell, and how near is
#: near enough also of names with tiny prices: price × part left of each name.
_NEARER, _NEAR, _NEAREST = 0.1, 1e-13, 1e-24

#: Steps in one turn, of which some five are needed.
_MOST_STEPS = 100


def ceei(
    capacity: Capacity,
    demands: Demands,
    *,
    weights: Numbers | None = None,
    tasks: Numbers | None = None,
) -> Division:
    """Divide by competitive equilibrium from equal incomes.

    Everybody buys tasks with an income of its weight, at prices at which the market clears: the
    division with the largest product of (tasks to the power of weight), to 1e-6 in tasks.

    Parameters, returns and errors are those of `drf`. O(n k²) a step, of which there are some 50.

    Notes
    -----
    Ghodsi et al. 2011, section 4.1.2; Eisenberg, Gale 1959 (Annals of Mathematical Statistics).
    The dual, a convex function of the k prices, is minimised by Newton's method with a barrier.

    Examples
    --------
    >>> division = ceei({"cpus": 9, "mem": 18}, {"a": "cpus:1;mem:4", "b": "cpus:3;mem:1"})
    >>> {tenant: round(n, 6) for tenant, n in division.tasks.items()}
    {'a': 4.090909, 'b': 1.636364}
    """
    asked, own = read(capacity, demands, weights, tasks)
    return Division(asked, _bought(asked), weights=own, tolerance=ITERATED)


def _bought(asked: Asked) -> Floats:
    """Return the tasks of each at the prices that clear the market."""
    tasks = np.zeros(len(asked.tenants))
    buyers = np.flatnonzero(asked.bounds > 0)
    if not len(buyers):
        return tasks
    parts = asked.parts[buyers]
    wanted = np.flatnonzero(parts.any(axis=0))
    incomes = asked.weights[buyers] / asked.weights[buyers].sum()
    market = _Market(parts[:, wanted], incomes, asked.bounds[buyers])
    tasks[buyers] = market.tasks(market.cleared())
    return tasks


class _Market:
    """Buyers with incomes that sum to 1, of names of which there is 1 each."""

    def __init__(self, parts: Floats, incomes: Floats, bounds: Floats) -> None:
        self._parts = parts
        self._incomes = incomes
        self._bounds = bounds

    def tasks(self, prices: Floats) -> Floats:
        """Return what everybody buys."""
        bought: Floats = np.minimum(self._incomes / (self._parts @ prices), self._bounds)
        return bought

    def cleared(self) -> Floats:
        """Return prices at which price × part left is next to nothing for every name."""
        k = self._parts.shape[1]
        prices = np.full(k, 1 / k)
        near = 1 / k
        while near > _NEAR:
            near *= _NEARER
            prices = self._step_to(prices, near)
        # From here on each whole step is right, but for its length where a price falls to 0.
        while near > _NEAREST:
            near *= _NEARER
            for _ in range(3):
                change, _ = self._newton(prices, near)
                prices = prices * (1 + np.clip(change, -0.95, 10.0))
        return prices

    def _newton(self, prices: Floats, near: float) -> tuple[Floats, float]:
        """Return Newton's change of prices, as parts of them, and what it promises to lower."""
        costs = self._parts @ prices
        tasks = np.minimum(self._incomes / costs, self._bounds)
        slope = (1 - tasks @ self._parts) * prices - near
        moving = np.where(tasks < self._bounds, np.sqrt(self._incomes) / costs, 0.0)
        # In logarithms of prices, and then so that the curve is 1 along each.
        rows = moving[:, None] * self._parts * prices
        size = np.sqrt((rows * rows).sum(axis=0) + near)
        rows = rows / size
        curve = rows.T @ rows + np.diag(near / size**2)
        change = np.asarray(np.linalg.lstsq(curve, -slope / size, rcond=None)[0] / size, float)
        return change, -float(slope @ change)

    def _step_to(self, prices: Floats, near: float) -> Floats:
        """Return prices that minimise the dual and the barrier `near` × −Σ log price."""
        for _ in range(_MOST_STEPS):
            change, promised = self._newton(prices, near)
            if promised <= 0.01 * near:
                return prices * (1 + change)
            stepped = self._line_search(prices, change, promised, near)
            if stepped is None:
                return prices  # as near as rounding allows
            prices = stepped
        raise AllocatorError("no prices were found that clear the market")

    def _line_search(
        self, prices: Floats, change: Floats, promised: float, near: float
    ) -> Floats | None:
        """Return prices some way along a change that lower the dual enough, None if none do."""
        before = self._dual(prices, near)
        part = min(1.0, 0.95 / max(1e-300, float(-change.min())))
        while part > 1e-10:
            stepped = prices * (1 + part * change)
            if self._dual(stepped, near) <= before - 1e-4 * part * promised:
                return stepped
            part /= 2
        return None

    def _dual(self, prices: Floats, near: float) -> float:
        costs = self._parts @ prices
        tasks = np.minimum(self._incomes / costs, self._bounds)
        gain = self._incomes * np.log(tasks) - costs * tasks
        return float(prices.sum() + gain.sum() - near * np.log(prices).sum())
