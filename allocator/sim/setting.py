"""What a run depends on, resolved and checked: no files and no text are left in it.

A scenario makes a `Setting`, and so do a trace and its options; the simulator runs it. Nothing
else passes between them. Times are in seconds, amounts are `Quantities`; a limit is in thousandths
by name, as `allocator.resources.read_limits` gives it, since zero is a limit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from allocator.resources import Quantities
from allocator.sim.cluster import Machine
from allocator.sim.trace import Trace

#: The default of `Behaviour.refuse_s`: a scheduler revives when its needs change, so that it need
#: not be asked again before.
REFUSE_SECONDS = 7 * 86400.0

#: The default of `Behaviour.hold_s`.
HOLD_SECONDS = 60.0

Action = Literal["fail", "return", "drain"]
Kind = Literal["greedy", "one", "hoard", "picky"]
Backfill = Literal["none", "easy"]

ACTIONS: tuple[Action, ...] = ("fail", "return", "drain")
BEHAVIOURS: tuple[Kind, ...] = ("greedy", "one", "hoard", "picky")
BACKFILLS: tuple[Backfill, ...] = ("none", "easy")

_NOTHING = Quantities()


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator of the allocator sets: the options of `Allocator` of the same names.

    `seed` seeds the allocator, the draw of machines and the schedulers' random pauses.
    """

    seed: int | str = 0
    role_sorter: str = "drf"
    framework_sorter: str = "drf"
    sorter_options: Mapping[str, float] = field(default_factory=dict)
    interval_s: float = 1.0
    fairness_exclude: tuple[str, ...] = ()
    min_allocatable: tuple[Quantities, ...] | None = None
    offer_timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class RolePolicy:
    """One role's weight, quota and static reservations.

    Parameters
    ----------
    weight : float
    guarantee : Quantities
        What is held back for the role's subtree.
    limit : mapping
        Name -> the most that the subtree may consume, in thousandths; a name that is absent is
        not limited.
    reserve : tuple of (int, Quantities)
        So much on each of the first so many machines that have it unreserved.
    """

    weight: float = 1.0
    guarantee: Quantities = _NOTHING
    limit: Mapping[str, int] = field(default_factory=dict)
    reserve: tuple[tuple[int, Quantities], ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """Machines that are lost, drained or back.

    Parameters
    ----------
    at_s : float
        When they are lost or back.
    action : str
        `fail`, `return` or `drain`.
    n_machines : int or None
        So many, drawn by the seed of those that are up (of `return`: down); None if `ids` says
        which.
    ids : tuple of str
    kind : str or None
        Draws only of this kind.
    for_s : float or None
        They are back after so long; None: not before a `return`.
    notice_s : float
        Of `drain`: nothing starts there from so long before `at_s`.
    """

    at_s: float
    action: Action
    n_machines: int | None = None
    ids: tuple[str, ...] = ()
    kind: str | None = None
    for_s: float | None = None
    notice_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a framework deals with its offers.

    Parameters
    ----------
    kind : str
        `greedy` takes whatever it can use; `one` starts one task an offer; `hoard` keeps offers
        of no use open for `hold_s`; `picky` takes only machines of `kinds`.
    hold_s : float
    kinds : frozenset of str
    refuse_s : float
        How long what is of no use is refused; 0 for no filter.
    gang : bool
        Whether a job's tasks start all at once, or each as soon as it fits.
    claims : Quantities
        A misreport: each task takes at least so much, and uses its demand.
    backfill : str
        `none`: younger jobs fill in whatever older ones leave. `easy`: the oldest waiting job
        reserves its start, and younger ones may not delay it.
    """

    kind: Kind = "greedy"
    hold_s: float = HOLD_SECONDS
    kinds: frozenset[str] = frozenset()
    refuse_s: float = REFUSE_SECONDS
    gang: bool = True
    claims: Quantities = _NOTHING
    backfill: Backfill = "none"


@dataclass(frozen=True, slots=True)
class Placed:
    """Work that runs when the run begins: `count` equal tasks of one tenant.

    They run on `machine`, or, where that is None or has no room, first fit over all machines, in
    order; what fits nowhere waits. `run_s` is infinite for work that runs to the end. What is
    `fixed` belongs to its machine: lost with it, it waits for that one alone, and begins anew as
    soon as it is back.
    """

    tenant: str
    machine: str | None
    demand: Quantities
    count: int
    run_s: float
    fixed: bool = False


def placed_on(placed: Iterable[Placed], machines: Collection[str]) -> tuple[Placed, ...]:
    """Return work for a cluster of these machines.

    What ran on another has no place yet; what belonged to another is gone. O(work).
    """
    return tuple(
        one if one.machine in machines else replace(one, machine=None)
        for one in placed
        if one.machine in machines or not one.fixed
    )


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything that a run depends on.

    Parameters
    ----------
    title : str
    policy : Policy
    machines : tuple of Machine
        In order; the same as in the groups of `trace.cluster`.
    trace : Trace
        The jobs and the tenants.
    inactive : frozenset of str
        Machines on which nothing starts.
    events : tuple of ClusterEvent
        In any order; of those at one instant the first comes first.
    roles : mapping
        Role -> `RolePolicy`; also of roles that no tenant is in.
    behaviours : mapping
        Tenant -> `Behaviour`; a tenant that is absent has the default.
    placed : tuple of Placed
    horizon_s : float or None
        Where the run ends at the latest.
    every_cycle : bool
        Run also the cycles that can do nothing. The same decisions, more slowly.
    asked : mapping
        What was asked for, as JSON values, for the result to tell.
    """

    title: str
    policy: Policy
    machines: tuple[Machine, ...]
    trace: Trace
    inactive: frozenset[str] = frozenset()
    events: tuple[ClusterEvent, ...] = ()
    roles: Mapping[str, RolePolicy] = field(default_factory=dict)
    behaviours: Mapping[str, Behaviour] = field(default_factory=dict)
    placed: tuple[Placed, ...] = ()
    horizon_s: float | None = None
    every_cycle: bool = False
    asked: Mapping[str, Any] = field(default_factory=dict)
