"""One framework of a simulation: its tenant, how it behaves, and what its jobs start."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from allocator.contract import Offer
from allocator.resources import Quantities
from allocator.sim._placing import Need
from allocator.sim._scheduler import Scheduler
from allocator.sim.setting import Behaviour
from allocator.sim.trace import Shape, Tenant

#: The demand of one task: (axis, thousandths) of each resource.
Demand = tuple[tuple[int, int], ...]

#: What a job starts: (how many times, need).
Needs = tuple[tuple[int, Need], ...]

#: Stands for no bound on the tasks per offer.
_ANY_NUMBER = sys.maxsize


@dataclass(slots=True)
class Held:
    """An offer that a hoarder keeps open: the machine's index, and thousandths by axis."""

    offer: Offer
    agent: int
    amounts: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Framework:
    """One framework.

    Parameters
    ----------
    index : int
        Position among the tenants.
    tenant : Tenant
    behaviour : Behaviour
    row : int
        Of its role, in the ledger.
    scheduler : Scheduler
    plans : dict
        Shape -> what jobs of it start, None if that fits on no empty cluster; shared by frameworks
        that make the same of a shape.
    held : dict
        Offer id -> offer that is kept open, in the order made.
    """

    index: int
    tenant: Tenant
    behaviour: Behaviour
    row: int
    scheduler: Scheduler
    plans: dict[Shape, Needs | None]
    held: dict[str, Held] = field(default_factory=dict)

    @property
    def refuse_s(self) -> float:
        """How long what is of no use is refused; 0 for no filter."""
        return self.behaviour.refuse_s if self.tenant.uses_filters else 0.0

    @property
    def hoards(self) -> bool:
        """Whether offers of no use are kept open."""
        return self.behaviour.kind == "hoard" and self.behaviour.hold_s > 0


def room_of(tenant: Tenant, behaviour: Behaviour) -> int:
    """Return how many tasks at most are started on one offer."""
    room = tenant.tasks_per_offer or _ANY_NUMBER
    return min(room, 1) if behaviour.kind == "one" else room


def needs_of(
    shape: Shape, behaviour: Behaviour, axes: Mapping[str, int], kinds: Sequence[str]
) -> Needs:
    """Return what a job of this shape starts: (how many times, need).

    As a gang that is all of its tasks, once; else each task for itself.

    Parameters
    ----------
    shape : Shape
    behaviour : Behaviour
        Of the framework.
    axes : mapping
        Resource name -> position in the vectors.
    kinds : sequence of str
        The kind of each agent, by agent index.
    """
    mask = mask_of(shape, behaviour, kinds)
    tasks = tuple(
        (t.count, _demand(_at_least(t.demand, behaviour.claims), axes), _demand(t.demand, axes))
        for t in shape.tasks
    )
    if behaviour.gang and not shape.apart:
        return ((1, Need(tasks, len(axes), mask, shape.spread)),)
    return tuple(
        (n, Need(((1, taken, used),), len(axes), mask, shape.spread)) for n, taken, used in tasks
    )


def lost_need(need: Need, counts: Mapping[int, int]) -> Need:
    """Return what tasks of a gang that were lost start: so many of each group. O(groups)."""
    tasks = tuple((n, *need.tasks[group][1:]) for group, n in sorted(counts.items()))
    return Need(tasks, need.n_axes, need.mask, need.spread)


def mask_of(shape: Shape, behaviour: Behaviour, kinds: Sequence[str]) -> bytes | None:
    """Return which machines tasks may run on, a byte each; None for all. O(machines)."""
    asked = [shape.kinds] if shape.kinds else []
    if behaviour.kind == "picky":
        asked.append(behaviour.kinds)
    if not asked:
        return None
    return bytes(all(kind in each for each in asked) for kind in kinds)


def _at_least(demand: Quantities, claims: Quantities) -> Quantities:
    """Return the larger amount of each name."""
    return demand + claims.minus_floor(demand)


def _demand(quantities: Quantities, axes: Mapping[str, int]) -> Demand:
    return tuple((axes[name], amount) for name, amount in quantities.milli.items())
