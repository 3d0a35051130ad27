"""Alibaba's 2025 trace of disaggregated deep-learning recommendation services.

See L. Yang et al., "GPU-Disaggregated Serving for Deep Learning Recommendation Models at Scale",
NSDI 2025.
"""

import math
from collections.abc import Sequence

from allocator.errors import ResourceError
from allocator.resources import Quantities
from allocator.sim.cluster import MachineGroup
from allocator.sim.readers.format import Format, with_columns
from allocator.sim.readers.lines import Lines, rows
from allocator.sim.readers.workload import (
    NOT_POSITIVE,
    Malformed,
    Shapes,
    Workload,
    amount,
    instant,
    milli,
    role_name,
    tenant_named,
    whole,
)
from allocator.sim.recorded import peak_demand
from allocator.sim.trace import Job, Shape, Spread

COLUMNS = (
    *("instance_sn", "role", "app_name", "cpu_request", "gpu_request", "rdma_request"),
    *("memory_request", "disk_request", "max_instance_per_node"),
    *("creation_time", "scheduled_time", "deletion_time"),
)

EXISTED = "existed before the start: submitted at 0"
OUTLIVES = "outlives the end: never ends"
NO_START = "scheduled_time missing: no recorded start, run time from its creation"

_MB_PER_GIB = 1024

#: resource name -> (column, units of the resource in one unit of the column)
_DEMAND = {
    "cpus": ("cpu_request", 1),
    "gpus": ("gpu_request", 1),
    "rdma": ("rdma_request", 1),
    "mem": ("memory_request", _MB_PER_GIB),
    "disk": ("disk_request", _MB_PER_GIB),
}

#: Of the peak demand, so that instances compete: the mean demand is 78 to 94 % of the peak.
_DEFAULT_FRACTION = 0.9
_GPUS_PER_NODE = 8


def read(lines: Lines) -> Workload:
    """Read a list of instances.

    An instance is a job of one task, its application the tenant. `max_instance_per_node` bounds
    the tasks of that application and role (CN or HN) on a machine. Requests count, limits do not.

    Raises
    ------
    TraceError
        At the first malformed line, unless the lines are lenient.
    """
    shapes = Shapes()
    workload = Workload([], {}, _default_cluster)
    latest_s = 0.0
    for row in rows(lines, COLUMNS):
        try:
            job = _job(row, shapes, workload)
        except (Malformed, ResourceError) as error:
            lines.reject(str(error))
            continue
        latest_s = max(latest_s, *(float(row[name] or 0) for name in COLUMNS[-3:]))
        if job is not None:
            workload.jobs.append(job)
    workload.end_s = latest_s
    return workload


def _job(row: dict[str, str], shapes: Shapes, workload: Workload) -> Job | None:
    times = [instant(row[name], name) if row[name] else None for name in COLUMNS[-3:]]
    created_s, scheduled_s, deleted_s = times
    defects = workload.defects
    if created_s is None:
        defects[EXISTED] += 1
        created_s = scheduled_s = 0.0
    if scheduled_s is not None and scheduled_s < created_s:
        raise Malformed(f"scheduled at {scheduled_s:g} s, before its creation at {created_s:g} s")
    if deleted_s is None:
        run_s = math.inf
    else:
        run_s = deleted_s - (created_s if scheduled_s is None else scheduled_s)
    shape = _shape(row, shapes)
    if run_s <= 0:
        defects[NOT_POSITIVE] += 1
        return None
    defects[OUTLIVES] += deleted_s is None
    defects[NO_START] += scheduled_s is None
    tenant = tenant_named(role_name(row["app_name"]), workload.tenants)
    return Job(row["instance_sn"], tenant, created_s, run_s, shape, scheduled_s)


def _shape(row: dict[str, str], shapes: Shapes) -> Shape:
    demand = {
        name: milli(amount(row[column], column) * unit, column)
        for name, (column, unit) in _DEMAND.items()
    }
    limit = whole(row["max_instance_per_node"], "max_instance_per_node")
    if limit == 0 or limit < -1:
        raise Malformed(f"max_instance_per_node {limit} is neither -1 nor positive")
    spread = Spread(row["role"], limit) if limit > 0 else None
    return shapes.of((1, {k: v for k, v in demand.items() if v}), spread=spread)


def _default_cluster(jobs: Sequence[Job]) -> tuple[tuple[MachineGroup, ...], str]:
    """Split a part of the recorded peak evenly over nodes of 8 GPUs."""
    peak = {name: peak_demand(jobs, name) for name in _DEMAND}
    share = {name: int(amount * _DEFAULT_FRACTION) for name, amount in peak.items()}
    largest = {
        name: max((job.shape.tasks[0].demand.milli.get(name, 0) for job in jobs), default=0)
        for name in _DEMAND
    }
    nodes = max(1, share["gpus"] // (_GPUS_PER_NODE * 1000))
    # A node must hold the largest instance, which few nodes of a small trace might not.
    of_each = {n: -(-max(share[n] // nodes, largest[n]) // 1000) * 1000 for n in _DEMAND}
    of_each["gpus"] = _GPUS_PER_NODE * 1000
    group = MachineGroup(nodes, Quantities.from_milli({k: v for k, v in of_each.items() if v}))
    source = f"the trace has none: {_DEFAULT_FRACTION:.0%} of its peak demand in equal nodes"
    return (group,), source


FORMAT = Format(
    name="dlrm",
    help="Alibaba DLRM 2025, a list of instances",
    told=with_columns(COLUMNS),
    read=read,
)
