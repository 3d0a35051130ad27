"""What a change would do to a cluster as it stands.

Two copies of an engine run on, one with the changes made: every framework takes all that it is
offered until nothing is left. A third is emptied first, to tell what would have to be given back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from allocator.clock import ManualClock
from allocator.engine import Allocator
from allocator.resources import Quantities, Resources
from allocator.roles import ancestry
from allocator.sim.changes import Change

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Held:
    """What a role's subtree holds, and which part of the cluster that is."""

    share: float = 0.0
    amounts: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> Json:
        """Return share and amounts in one object."""
        return {"share": self.share, **self.amounts}


@dataclass(frozen=True, slots=True)
class RoleOutlook:
    """A role now, after the cluster is full, and after it is full with the changes made."""

    weight: float
    now: Held
    before: Held
    after: Held
    #: What it holds now beyond what it would if all were given back and filled anew, at least what
    #: it holds on agents that are removed.
    preempted: Mapping[str, float]

    def to_json(self) -> Json:
        """Return all but what is preempted, with what `after` has more than `before`."""
        names = sorted({*self.before.amounts, *self.after.amounts})
        more = {
            name: round(self.after.amounts.get(name, 0) - self.before.amounts.get(name, 0), 3)
            for name in names
        }
        return {
            "now": self.now.to_json(),
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "difference": {"share": self.after.share - self.before.share, **more},
        }


@dataclass(frozen=True, slots=True)
class Outlook:
    """What changes would do, role by role at every depth of the tree."""

    roles: Mapping[str, RoleOutlook]
    #: Of all agents, before and after.
    total: tuple[Quantities, Quantities]
    n_agents: tuple[int, int]

    def to_json(self) -> Json:
        """Return it as JSON."""
        return {
            "roles": {path: role.to_json() for path, role in self.roles.items()},
            "preempted": {
                path: dict(role.preempted) for path, role in self.roles.items() if role.preempted
            },
        }


def outlook(engine: Allocator, changes: Iterable[Change]) -> Outlook:
    """Tell what changes would do to a cluster as it stands.

    The engine is not touched. Open offers are taken whole, filters are dropped, a pause or a
    recovery is over, and every active framework takes all it is offered until nothing is left.

    Parameters
    ----------
    engine : Allocator
    changes : iterable of Change
        Made in this order.

    Raises
    ------
    AllocatorError
        If one of them cannot be made.

    Notes
    -----
    As long as five snapshots and the cycles that fill three clusters.

    Examples
    --------
    >>> from allocator.sim.changes import SetWeight
    >>> engine = Allocator(seed=7)
    >>> engine.add_agents(["n1", "n2", "n3", "n4"], "cpus:3")
    >>> for name in ("a", "b"):
    ...     engine.add_framework(name, roles=[name])
    >>> found = outlook(engine, [SetWeight("a", 3)])
    >>> found.roles["a"].before.amounts, found.roles["a"].after.amounts
    ({'cpus': 6.0}, {'cpus': 9.0})
    """
    snapshot = engine.snapshot()
    changed = restored(snapshot)
    for change in changes:
        changed = change.on_engine(changed)
    after = changed.snapshot()
    books = [
        _Books(run)
        for run in (
            restored(snapshot),
            restored(after),
            filled(restored(snapshot)),
            filled(restored(after)),
            filled(restored(emptied(after))),
        )
    ]
    paths = sorted({path for each in books for path in each.paths})
    roles = {path: _outlook_of(path, *books) for path in paths}
    now, then = books[:2]
    agents = len(now.engine.agents), len(then.engine.agents)
    return Outlook(roles, (now.total, then.total), agents)


class _Books:
    """What roles hold of one cluster."""

    def __init__(self, engine: Allocator) -> None:
        self.engine = engine
        sums: dict[str, int] = {}
        for agent in engine.agents.values():
            for name, amount in agent.total.quantities().milli.items():
                sums[name] = sums.get(name, 0) + amount
        self.total = Quantities.from_milli(sums)
        snapshot = engine.snapshot()
        excluded = snapshot["options"]["fairness_exclude"]
        self._counted = [name for name in self.total if name not in excluded]
        #: Role → what frameworks use there that are not back yet.
        self._expected = _expected(snapshot)

    @property
    def paths(self) -> set[str]:
        """The roles that there are."""
        return {*self.engine.roles, *self._expected}

    def of(self, path: str) -> Quantities:
        """Return what a role's subtree holds. O(names)."""
        role = self.engine.roles.get(path)
        held = Quantities() if role is None else role.allocated
        return held + self._expected.get(path, Quantities())

    def held(self, path: str) -> Held:
        """Return the same with its dominant share. O(names)."""
        held = self.of(path)
        shares = (held[name] / self.total[name] for name in self._counted)
        return Held(max(shares, default=0.0), dict(held))


def _expected(snapshot: Mapping[str, Any]) -> dict[str, Quantities]:
    found: dict[str, Quantities] = {}
    for agent in snapshot["agents"].values():
        for by_role in agent["expected"].values():
            for role, used in by_role.items():
                for path in ancestry(role):
                    found[path] = found.get(path, Quantities()) + Resources(used).quantities()
    return found


def _outlook_of(
    path: str, now: _Books, kept: _Books, before: _Books, after: _Books, anew: _Books
) -> RoleOutlook:
    held, left, due = (books.of(path).milli for books in (now, kept, anew))
    # What stands on agents that are removed is lost, whatever the role is due elsewhere.
    gone = {name: x - min(left.get(name, 0), due.get(name, 0)) for name, x in held.items()}
    role = after.engine.roles.get(path)
    return RoleOutlook(
        weight=1.0 if role is None else role.weight,
        now=now.held(path),
        before=before.held(path),
        after=after.held(path),
        preempted={name: amount / 1000 for name, amount in gone.items() if amount > 0},
    )


def restored(snapshot: Mapping[str, Any]) -> Allocator:
    """Return an engine of a snapshot that goes on at once and refuses nothing."""
    unhindered = {"filters": [], "paused": False, "awaited_agents": 0, "recovery_seconds": None}
    return Allocator.restore({**snapshot, **unhindered}, clock=ManualClock())


def emptied(snapshot: Mapping[str, Any]) -> Json:
    """Return a snapshot in which nobody holds anything."""
    nothing: Json = {"holdings": [], "expected": {}}
    agents = {id: {**agent, **nothing} for id, agent in snapshot["agents"].items()}
    return {**snapshot, "agents": agents, "offer_ends": []}


def filled(engine: Allocator) -> Allocator:
    """Return the engine when everything that it offers is taken whole."""
    engine.accept(list(engine.open_offers))
    while offers := engine.allocate():
        engine.accept(offers)
        if not any(offer.resources.nonshared() for offer in offers):
            break  # what is shared would be offered for ever
    return engine
