"""Max-min divisions by linear programs: on machines that differ, or pooled as a check of filling.

What varies is the dominant share that each tenant has on each group of machines. A program finds
the largest level that every tenant who is not fixed yet can have, as share / weight. Those whose
constraint has a price at the optimum cannot have more in any solution: they are fixed at that level
(or at their bound, which lies there), and the next program goes on with the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from allocator.errors import AllocatorError
from allocator.fairness.asked import Asked, Capacity, Demands, Floats, Numbers, read
from allocator.fairness.divided import ITERATED, Division

if TYPE_CHECKING:
    from scipy.sparse import csr_array

#: A price above this part of the largest is one: small where little of a full name is demanded.
_PRICE = 1e-12
#: What shares that are given may lack by rounding.
_ROUNDING = 1e-12
#: As exact as HiGHS can be told to be.
_OPTIONS = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


def drfh(
    machines: Capacity,
    demands: Demands,
    *,
    weights: Numbers | None = None,
    tasks: Numbers | None = None,
) -> Division:
    """Divide by DRF on machines that differ.

    The lexicographic max-min of global dominant share / weight, where a tenant's tasks may run in
    part on each group of machines that has all of what they demand. A tenant none of whose tasks
    can run anywhere gets 0.

    Parameters
    ----------
    machines : sequence of (count, quantities), or quantities
        Groups of alike machines: their number, which need not be whole, and what one has.
    demands, weights, tasks
        As of `drf`.

    Returns
    -------
    Division
        With `by_group`; exact to 1e-6 of the largest number of tasks.

    Raises
    ------
    FairnessError
        As of `drf`. Some linear programs of n g variables, no more than n.

    Notes
    -----
    Wang, Li, Liang, Dominant Resource Fairness in Cloud Computing Systems with Heterogeneous
    Servers (INFOCOM 2014). Needs SciPy, whose HiGHS solves the programs.

    Examples
    --------
    >>> machines = [(1, {"cpus": 2, "mem": 12}), (1, {"cpus": 12, "mem": 2})]
    >>> demands = {"1": {"cpus": 0.2, "mem": 1}, "2": {"cpus": 1, "mem": 0.2}}
    >>> {tenant: round(n, 6) for tenant, n in drfh(machines, demands).tasks.items()}
    {'1': 10.0, '2': 10.0}
    """
    asked, own = read(machines, demands, weights, tasks)
    on_groups = lexicographic(asked)
    runs = on_groups.sum(axis=1)
    return Division(asked, runs, weights=own, on_groups=on_groups, tolerance=ITERATED)


def pooled(asked: Asked) -> Asked:
    """Return the same problem with all machines in one group."""
    return Asked(
        asked.tenants,
        asked.names,
        np.ones(1),
        asked.capacity[None, :],
        asked.capacity,
        asked.demands,
        asked.weights,
        asked.bounds,
        asked.grouped,
    )


def scipy() -> tuple[Any, Any]:
    """Return SciPy's `linprog` and its sparse arrays, or say what brings them."""
    try:
        from scipy import sparse
        from scipy.optimize import linprog
    except ImportError as error:
        what = "linear programs need SciPy: pip install 'drf-allocator[lab]'"
        raise ImportError(what, name=error.name) from error
    return linprog, sparse


@dataclass(slots=True)
class Places:
    """Where tenants can run: a variable for each tenant and group that has all it demands."""

    asked: Asked
    #: (v,) tenant and group of each variable, which is a dominant share.
    tenant: Any
    group: Any
    #: (m, v) parts of each group's amounts that the variables use, no more than 1 each.
    usage: csr_array
    #: (n, v) which variables are whose.
    whose: csr_array

    @classmethod
    def of(cls, asked: Asked) -> Places:
        """Return the variables and constraints of a problem. O(n g k)."""
        csr_array = scipy()[1].csr_array
        there = asked.machines * asked.counts[:, None]  # (g, k)
        runs = ~((asked.demands[:, None, :] > 0) & (there[None, :, :] <= 0)).any(axis=2)
        tenant, group = np.nonzero(runs & (asked.bounds[:, None] > 0))
        # What a dominant share of 1 takes of each name of each group.
        of_share = asked.demands / asked.dominant[:, None]
        safe = np.where(there > 0, there, 1.0)
        taken = of_share[tenant] / safe[group]  # (v, k)
        variable, name = np.nonzero(taken)
        k = len(asked.names)
        usage = csr_array(
            (taken[variable, name], (group[variable] * k + name, variable)),
            shape=(len(asked.counts) * k, len(tenant)),
        )
        n = len(tenant)
        whose = csr_array((np.ones(n), (tenant, np.arange(n))), shape=(len(asked.tenants), n))
        return cls(asked, tenant, group, usage[np.diff(usage.indptr) > 0], whose)

    def tasks(self, shares: Floats) -> Floats:
        """Return the tasks of each tenant on each group."""
        tasks = np.zeros((len(self.asked.tenants), len(self.asked.counts)))
        # Never below 0, nor −0.
        tasks[self.tenant, self.group] = shares.clip(0) / self.asked.dominant[self.tenant] + 0.0
        return tasks


def lexicographic(asked: Asked) -> Floats:
    """Return the tasks of each tenant on each group, (n, g), of which the least grow first."""
    places = Places.of(asked)
    #: What each tenant is fixed at, as a dominant share; NaN while it is not.
    fixed = np.where(np.isin(np.arange(len(asked.tenants)), places.tenant), np.nan, 0.0)
    shares = np.zeros(len(places.tenant))
    while np.isnan(fixed).any():
        level, shares, prices = best_level(places, fixed)
        free = np.isnan(fixed)
        stuck = free & (prices > _PRICE * prices[free].max())
        most = asked.bounds * asked.dominant
        fixed[stuck] = np.minimum(asked.weights * level, most)[stuck]
    return places.tasks(shares)


def best_level(places: Places, fixed: Floats) -> tuple[float, Floats, Floats]:
    """Return the largest level of those not fixed, all shares, and each tenant's price."""
    linprog, sparse = scipy()
    asked = places.asked
    free = np.isnan(fixed)
    heaviest = float(asked.weights[free].max())
    weights = np.where(free, asked.weights / heaviest, 0.0)
    most = np.where(free, asked.bounds * asked.dominant, fixed)
    bounded = np.flatnonzero(np.isfinite(most))
    n_usage = places.usage.shape[0]
    # Usage ≤ 1; level × weight − share ≤ 0, or −share ≤ −fixed; share ≤ bound, or ≤ fixed.
    rows = [
        [places.usage, None],
        [-places.whose, sparse.csr_array(weights[:, None])],
        [places.whose[bounded], sparse.csr_array((len(bounded), 1))],
    ]
    at_least = np.where(free, 0.0, -np.nan_to_num(fixed))
    solved = linprog(
        np.append(np.zeros(len(places.tenant)), -1.0),
        A_ub=sparse.block_array(rows if len(bounded) else rows[:2], format="csr"),
        b_ub=np.concatenate([np.ones(n_usage), at_least, most[bounded]]),
        method="highs",
        options=_OPTIONS,
    )
    if solved.status != 0:
        raise AllocatorError(f"no division was found: {solved.message}")
    prices = -solved.ineqlin.marginals[n_usage : n_usage + len(fixed)]
    return float(solved.x[-1]) / heaviest, solved.x[:-1], np.where(free, prices * weights, 0.0)


def largest_gain(asked: Asked, shares: Floats) -> float:
    """Return by how much one tenant's share could grow while nobody's falls."""
    linprog, sparse = scipy()
    places = Places.of(asked)
    n_usage = places.usage.shape[0]
    gain = 0.0
    for tenant in np.unique(places.tenant):
        solved = linprog(
            -(places.tenant == tenant).astype(float),
            A_ub=sparse.vstack([places.usage, -places.whose], format="csr"),
            b_ub=np.concatenate([np.ones(n_usage), -shares * (1 - _ROUNDING)]),
            bounds=(0, None),
            method="highs",
            options=_OPTIONS,
        )
        if solved.status != 0:
            raise AllocatorError(f"no largest gain was found: {solved.message}")
        most = min(-float(solved.fun), float(asked.bounds[tenant] * asked.dominant[tenant]))
        gain = max(gain, most - float(shares[tenant]))
    return gain
