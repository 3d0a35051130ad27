"""What a run found, put together when it has ended."""

from __future__ import annotations

import numpy as np

from allocator.sim._placing import grouped
from allocator.sim.meter import percentile
from allocator.sim.record import Curves, Floats, Heat, Jobs, Record, RoleQuota
from allocator.sim.recorded import Use, recorded
from allocator.sim.result import (
    Counts,
    CycleCounts,
    RecordedResult,
    Result,
    RoleResult,
    Timing,
    Waits,
)
from allocator.sim.run import Run


def result_of(run: Run, wall_s: float) -> Result:
    """Return what a run found. O(jobs × depth × log jobs + size of the series)."""
    end_s = run.end_s
    cluster = len(run.stage.roles)
    run.ledger.finish(end_s)
    record = _record(run, end_s)
    return Result(
        trace=_describe_trace(run),
        options=dict(run.setting.asked),
        cluster=_describe_cluster(run),
        defects=dict(run.trace.defects),
        arrivals_s=run.trace.last_submit_s,
        end_s=end_s,
        counts=Counts(**run.ledger.counts(cluster)),
        waits=_waits(_waits_of(record.jobs, len(record.tenants))),
        use=_use(run, end_s),
        recorded=_recorded(run),
        roles=_roles(run, record, end_s),
        cycles=CycleCounts(
            cycles_run=len(run.cycle_ns),
            cycles_skipped=run.n_skipped,
            offers=run.desk.n_offers,
            offers_accepted=run.desk.n_accepted,
            offers_declined=run.desk.n_declined,
            revives=run.n_revives,
        ),
        timing=_timing(run, wall_s),
        record=record,
    )


def _record(run: Run, end_s: float) -> Record:
    stage, roles = run.stage, run.stage.roles
    tenants = run.trace.tenants
    with_framework = {tenant.role for tenant in tenants.values()}
    inner = {role.rpartition("/")[0] for role in roles}
    totals = stage.amounts.sum(axis=0, dtype=np.int64).tolist()
    return Record(
        names=tuple(stage.names),
        roles=tuple(roles),
        is_leaf=tuple(role not in inner for role in roles),
        has_framework=tuple(role in with_framework for role in roles),
        weights=tuple(stage.policy_of(role).weight for role in roles),
        excluded=tuple(run.setting.policy.fairness_exclude),
        tenants=tuple(tenants),
        tenant_roles=tuple(tenant.role for tenant in tenants.values()),
        machines=tuple(run.ids),
        total={name: total / 1000 for name, total in zip(stage.names, totals, strict=True)},
        series=Curves(**run.ledger.curves(end_s, False)),
        measured=Curves(**run.ledger.curves(end_s, True)),
        jobs=_jobs(run, end_s),
        quota={
            role: _quota(run, role, end_s)
            for role, policy in sorted(run.setting.roles.items())
            if policy.guarantee or policy.limit
        },
        heat=Heat(*run.heat.finish(end_s)),
        tasks_lost=run.ledger.tasks_lost(len(roles)),
        tasks_ended=run.ledger.tasks_ended,
        cycle_ns=np.array(run.cycle_ns, np.int64),
        engine_s=run.engine.seconds,
    )


def _jobs(run: Run, end_s: float) -> Jobs:
    n_placed = len(run.setting.placed)
    ids = [f"placed-{i}" for i in range(n_placed)] + [job.id for job in run.trace.jobs]
    return Jobs(n_placed=n_placed, ids=tuple(ids[: run.jobs.n]), **run.jobs.finish(end_s))


def _quota(run: Run, role: str, end_s: float) -> RoleQuota:
    policy, axes = run.stage.policy_of(role), run.stage.axes
    met, most = run.ledger.quota(run.stage.rows[role], end_s)
    return RoleQuota(
        guarantee={
            name: (amount / 1000, met[axes[name]])
            for name, amount in sorted(policy.guarantee.milli.items())
        },
        limit={
            name: (amount / 1000, most[axes[name]] / 1000)
            for name, amount in sorted(policy.limit.items())
        },
    )


def _waits_of(jobs: Jobs, n_tenants: int) -> list[Floats]:
    """Return each tenant's waits, of jobs that have started; placed work did not wait. O(jobs)."""
    waits: Floats = (jobs.start_s - jobs.submit_s)[jobs.n_placed :]
    known = ~np.isnan(waits)
    tenants = jobs.tenant[jobs.n_placed :][known].astype(np.int64)
    waits = waits[known]
    return [waits[rows] for rows in grouped(tenants, n_tenants)]


def _waits(parts: list[Floats]) -> Waits:
    ascending = np.sort(np.concatenate([np.empty(0), *parts])).tolist()
    return Waits(percentile(ascending, 50), percentile(ascending, 95))


def _use(run: Run, end_s: float) -> dict[str, Use]:
    """Return the use of each resource that the cluster has; means are of all machines."""
    found = {}
    totals = run.stage.amounts.sum(axis=0, dtype=np.int64).tolist()
    for axis, (name, total) in enumerate(zip(run.stage.names, totals, strict=True)):
        if total:
            peak, to_mark, in_all = run.ledger.uses_of(axis, end_s)
            found[name] = Use(total / 1000, peak / 1000, to_mark / total, in_all / total)
    return found


def _roles(run: Run, record: Record, end_s: float) -> tuple[RoleResult, ...]:
    tenant_rows = [run.stage.rows[role] for role in record.tenant_roles]
    members: dict[int, list[int]] = {row: [] for row in range(len(record.roles))}
    parents = run.stage.parents
    for tenant, row in enumerate(tenant_rows):
        while row >= 0:
            members[row].append(tenant)
            row = int(parents[row])
    results = []
    waits = _waits_of(record.jobs, len(record.tenants))
    for row, role in enumerate(record.roles):
        results.append(
            RoleResult(
                role=role,
                weight=record.weights[row],
                has_framework=record.has_framework[row],
                counts=Counts(**run.ledger.counts(row)),
                waits=_waits([waits[tenant] for tenant in members[row]]),
                **run.ledger.shares(row, end_s),
            )
        )
    return tuple(results)


def _describe_trace(run: Run) -> dict[str, object]:
    trace = run.trace
    return {
        "name": trace.name,
        "format": trace.format,
        "jobs": len(trace.jobs),
        "tenants": len(trace.tenants),
        "notes": list(trace.notes),
    }


def _describe_cluster(run: Run) -> dict[str, object]:
    totals = run.stage.amounts.sum(axis=0, dtype=np.int64).tolist()
    names = run.stage.names
    return {
        "machines": len(run.ids),
        "groups": [str(group) for group in run.trace.cluster],
        "source": run.trace.cluster_source,
        "total": {name: total / 1000 for name, total in zip(names, totals, strict=True) if total},
    }


def _recorded(run: Run) -> RecordedResult | None:
    found = recorded(run.trace)
    if found is None:
        return None
    waits = Waits(percentile(found.waits_s, 50), percentile(found.waits_s, 95))
    return RecordedResult(len(found.waits_s), found.use, waits)


def _timing(run: Run, wall_s: float) -> Timing:
    ascending = sorted(run.cycle_ns)
    p50, p99 = percentile(ascending, 50), percentile(ascending, 99)
    return Timing(
        wall_s=wall_s,
        cycles_s=sum(ascending) / 1e9,
        cycle_p50_us=None if p50 is None else p50 / 1e3,
        cycle_p99_us=None if p99 is None else p99 / 1e3,
        engine_s=run.engine.seconds,
    )
