"""Workloads that need no file."""

import math

from allocator.errors import InvalidValue, shown
from allocator.resources import Quantities
from allocator.sim.cluster import MachineGroup, scaled
from allocator.sim.trace import Job, Shape, Tasks, Tenant, Trace


def mesos_workload(scale: float = 1.0) -> Trace:
    """Return MultiFrameworkAllocations of Apache Mesos' allocator benchmarks.

    80 agents of 64 cpus and 488000 MB. Four frameworks in roles of their own want 4000 tasks of
    0.07 cpus and 400 MB each, at most 100 an offer; 500 frameworks in one role 5 tasks of 0.1 cpus
    and 4000 MB, one an offer; 50 frameworks in roles of their own 20 tasks of 1 cpu and 1000 MB,
    five an offer. What is left of an offer goes back without a filter, and tasks never end: the
    run is over when all 19 500 run.

    Parameters
    ----------
    scale : float
        How many agents there are for one of the benchmark's.

    Raises
    ------
    InvalidValue
        If the scale is not positive and finite.
    """
    cluster = (MachineGroup(80, Quantities("cpus:64;mem:488000"), "agent"),)
    jobs: list[Job] = []
    tenants: dict[str, Tenant] = {}

    def add(name: str, role: str, n_tasks: int, demand: str, tasks_per_offer: int) -> None:
        tenants[name] = Tenant(name, role, tasks_per_offer, uses_filters=False)
        shape = Shape((Tasks(1, Quantities(demand)),))
        jobs.extend(Job(f"{name}-{i}", name, 0.0, math.inf, shape) for i in range(n_tasks))

    for i in range(4):
        add(f"large-{i}", f"large-{i}", 4000, "cpus:0.07;mem:400", 100)
    for i in range(500):
        add(f"small-{i:03d}", "small", 5, "cpus:0.1;mem:4000", 1)
    for i in range(50):
        add(f"medium-{i:02d}", f"medium-{i:02d}", 20, "cpus:1;mem:1000", 5)
    return Trace(
        name="mesos",
        format="workload",
        jobs=tuple(jobs),
        tenants=tenants,
        cluster=scaled(cluster, scale),
        cluster_source="built in" + (f"; scaled by {scale:g}" if scale != 1 else ""),
        notes=("tasks never end: the run is over when no more can start",),
    )


#: Name -> the workload, given the cluster's scale.
WORKLOADS = {"mesos": mesos_workload}


def workload(name: str, scale: float = 1.0) -> Trace:
    """Return a built-in workload by name.

    Raises
    ------
    InvalidValue
        If there is none of that name, or the scale is not positive and finite.
    """
    if name not in WORKLOADS:
        raise InvalidValue(f"workload {shown(name)}: not one of {', '.join(sorted(WORKLOADS))}")
    return WORKLOADS[name](scale)
