"""The books of a simulation: who holds what, who waited how long, how much is in use."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from allocator.roles import ancestry
from allocator.sim.meter import ConditionMeter, Meter, percentile
from allocator.sim.placing import Grant
from allocator.sim.recorded import Use, use_of
from allocator.sim.result import Counts, RoleResult, Waits


@dataclass(slots=True)
class _Account:
    """What is kept of one role's subtree. `held` is by axis, in thousandths."""

    held: list[int]
    share: Meter
    share_in_need: ConditionMeter = field(default_factory=ConditionMeter)
    submitted: int = 0
    finished: int = 0
    running: int = 0
    waiting: int = 0
    never_fits: int = 0
    tasks_started: int = 0
    waits_s: array[float] = field(default_factory=lambda: array("d"))

    def note_share(self, now_s: float, share: float) -> None:
        """Book a share, or that the role began or ceased to wait for more."""
        if share != self.share.level:
            self.share.set(now_s, share)
        self.share_in_need.set(now_s, share, self.waiting > 0)

    def counts(self) -> Counts:
        return Counts(
            submitted=self.submitted,
            finished=self.finished,
            running=self.running,
            waiting=self.waiting,
            never_fits=self.never_fits,
            tasks_started=self.tasks_started,
        )

    def waits(self) -> Waits:
        ascending = sorted(self.waits_s)
        return Waits(percentile(ascending, 50), percentile(ascending, 95))


class Ledger:
    """Keeps the books per role, at every level of the tree, and for the cluster.

    Parameters
    ----------
    names : sequence of str
        The resource of each axis.
    totals : sequence of int
        The cluster's total of each axis, in thousandths; a total of 0 counts for no share.
    roles : mapping
        Role -> weight, of each role with a framework and of all their ancestors.
    mark_s : float
        The last submission (see `Meter`).
    """

    def __init__(
        self,
        names: Sequence[str],
        totals: Sequence[int],
        roles: Mapping[str, float],
        mark_s: float,
    ) -> None:
        self._names = names
        self._totals = totals
        self._weights = roles
        self._accounts = {role: _Account([0] * len(names), Meter(mark_s)) for role in roles}
        self._paths = {role: [self._accounts[above] for above in ancestry(role)] for role in roles}
        self._cluster = _Account([0] * len(names), Meter(mark_s))
        self._use = [Meter(mark_s) for _ in names]
        self._charged = {role: [*path, self._cluster] for role, path in self._paths.items()}

    def submitted(self, role: str, now_s: float, *, fits: bool) -> None:
        """Count a job that has come; it waits if it ever fits. O(depth)."""
        for account in self._charged[role]:
            account.submitted += 1
            if not fits:
                account.never_fits += 1
                continue
            account.waiting += 1
            if account.waiting == 1:
                account.note_share(now_s, account.share.level)

    def started(self, role: str, now_s: float, grants: Sequence[Grant]) -> None:
        """Book tasks that have started. O(depth × axes + grants)."""
        n_tasks = sum(grant.count for grant in grants)
        for account in self._charged[role]:
            account.tasks_started += n_tasks
        self._hold(role, now_s, grants, 1)

    def all_started(self, role: str, now_s: float, submit_s: float) -> None:
        """Book a job whose tasks have all started. O(depth)."""
        for account in self._charged[role]:
            account.waiting -= 1
            account.running += 1
            account.waits_s.append(now_s - submit_s)
            if account.waiting == 0:
                account.note_share(now_s, account.share.level)

    def ended(self, role: str, now_s: float, grants: Sequence[Grant]) -> None:
        """Book tasks that have ended. O(depth × axes + grants)."""
        self._hold(role, now_s, grants, -1)

    def finished(self, role: str) -> None:
        """Book a job whose tasks have all ended. O(depth)."""
        for account in self._charged[role]:
            account.running -= 1
            account.finished += 1

    def _hold(self, role: str, now_s: float, grants: Sequence[Grant], sign: int) -> None:
        change: dict[int, int] = {}
        for grant in grants:
            for axis, amount in grant.demand:
                change[axis] = change.get(axis, 0) + sign * grant.count * amount
        for account in self._paths[role]:
            for axis, amount in change.items():
                account.held[axis] += amount
            account.note_share(now_s, self._dominant_share(account.held))
        for axis, amount in change.items():
            meter = self._use[axis]
            meter.set(now_s, meter.level + amount)

    def _dominant_share(self, held: Sequence[int]) -> float:
        return max((h / t for h, t in zip(held, self._totals, strict=True) if t), default=0.0)

    @property
    def counts(self) -> Counts:
        """The counts of all jobs."""
        return self._cluster.counts()

    @property
    def waits(self) -> Waits:
        """The waits of all jobs. O(n log n)."""
        return self._cluster.waits()

    def use(self, end_s: float) -> dict[str, Use]:
        """Return the use of each resource that the cluster has. O(names)."""
        return {
            name: use_of(meter, total, end_s)
            for name, meter, total in zip(self._names, self._use, self._totals, strict=True)
            if total
        }

    def roles(self, end_s: float, with_framework: frozenset[str]) -> tuple[RoleResult, ...]:
        """Return what there is to say of every role, by path. O(jobs × log jobs)."""
        results = []
        for role, account in sorted(self._accounts.items()):
            share, share_run = account.share.means(end_s)
            results.append(
                RoleResult(
                    role=role,
                    weight=self._weights[role],
                    has_framework=role in with_framework,
                    counts=account.counts(),
                    waits=account.waits(),
                    share=share,
                    share_run=share_run,
                    share_peak=account.share.peak,
                    share_in_need=account.share_in_need.mean(end_s),
                    in_need_s=account.share_in_need.span_s,
                )
            )
        return tuple(results)
