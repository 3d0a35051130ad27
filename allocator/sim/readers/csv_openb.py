"""The openb GPU cluster of Alibaba's 2023 trace: pods and nodes, told by their headers.

See Q. Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation
Gradient Descent", USENIX ATC 2023.
"""

import math
from collections.abc import Sequence

from allocator.errors import ResourceError
from allocator.resources import Quantities
from allocator.sim.cluster import MachineGroup, parse_group
from allocator.sim.readers.format import Format, MachineList, with_columns
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
from allocator.sim.trace import Job, Shape

COLUMNS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")

_TIMES = ("creation_time", "scheduled_time", "deletion_time")

NEVER_SCHEDULED = "never scheduled (Pending), run time unknown: pod dropped"
PARTIAL_GPU = "gpu_milli contradicts num_gpu: num_gpu believed"
NO_TIMES = "the file has no times: every pod is submitted at 0 and stays"

#: About one machine in a hundred of the published node list, and at least one of each GPU model
#: that pods ask for.
_DEFAULT_CLUSTER = (
    "4xcpus:96;gpus:8;mem:393216@G2",
    "4xcpus:104;gpus:2;mem:524288@T4",
    "1xcpus:128;gpus:8;mem:786432@G3",
    "1xcpus:64;gpus:2;mem:262144@P100",
    "1xcpus:32;gpus:4;mem:131072@V100M16",
    "1xcpus:96;gpus:8;mem:786432@V100M32",
    "1xcpus:128;gpus:1;mem:1048576@A10",
    "2xcpus:32;mem:262144",
)


def read(lines: Lines) -> Workload:
    """Read a list of pods.

    A pod is a job of one task, its QoS class the tenant, `gpu_spec` the kinds of machine. It runs
    from its start for as long as it did in the trace, from `scheduled_time` to `deletion_time`.

    Raises
    ------
    TraceError
        At the first malformed line, unless the lines are lenient.
    """
    shapes = Shapes()
    workload = Workload([], {}, _default_cluster)
    timed = True
    for row in rows(lines, COLUMNS):
        timed = all(name in row for name in _TIMES)
        try:
            job = _job(row, timed, shapes, workload)
        except (Malformed, ResourceError) as error:
            lines.reject(str(error))
            continue
        if job is not None:
            workload.jobs.append(job)
    if not timed:
        workload.notes.append(NO_TIMES)
    return workload


def _job(row: dict[str, str], timed: bool, shapes: Shapes, workload: Workload) -> Job | None:
    shape = _shape(row, shapes, workload)
    tenant = tenant_named(role_name(row.get("qos") or "pods"), workload.tenants)
    if not timed:
        return Job(row["name"], tenant, 0.0, math.inf, shape)
    created_s = instant(row["creation_time"], "creation_time")
    if not row["scheduled_time"]:
        workload.defects[NEVER_SCHEDULED] += 1
        return None
    scheduled_s = instant(row["scheduled_time"], "scheduled_time")
    run_s = math.inf
    if row["deletion_time"]:
        run_s = instant(row["deletion_time"], "deletion_time") - scheduled_s
    if scheduled_s < created_s:
        raise Malformed(f"scheduled at {scheduled_s:g} s, before its creation at {created_s:g} s")
    if run_s <= 0:
        workload.defects[NOT_POSITIVE] += 1
        return None
    return Job(row["name"], tenant, created_s, run_s, shape, scheduled_s)


def _shape(row: dict[str, str], shapes: Shapes, workload: Workload) -> Shape:
    num_gpu = whole(row["num_gpu"], "num_gpu")
    gpu_milli = whole(row["gpu_milli"], "gpu_milli")
    if num_gpu < 0 or gpu_milli < 0:
        raise Malformed("num_gpu and gpu_milli are not negative")
    demand = {
        "cpus": whole(row["cpu_milli"], "cpu_milli"),
        "mem": milli(amount(row["memory_mib"], "memory_mib"), "memory_mib"),
    }
    if num_gpu == 1 and 0 < gpu_milli <= 1000:
        demand["gpus"] = gpu_milli
    elif num_gpu:
        demand["gpus"] = num_gpu * 1000
        workload.defects[PARTIAL_GPU] += gpu_milli != 1000
    elif gpu_milli:
        workload.defects[PARTIAL_GPU] += 1
    if min(demand.values()) < 0:
        raise Malformed("cpu_milli is not negative")
    spec = row.get("gpu_spec", "")
    return shapes.of((1, demand), kinds=frozenset(filter(None, spec.split("|"))))


def _default_cluster(jobs: Sequence[Job]) -> tuple[tuple[MachineGroup, ...], str]:
    groups = tuple(parse_group(text) for text in _DEFAULT_CLUSTER)
    return groups, "built in: about 1 % of the published openb node list"


def read_machines(lines: Lines) -> list[MachineGroup]:
    """Read a list of nodes; the GPU model is the machine's kind.

    Raises
    ------
    TraceError
        At the first malformed line, unless the lines are lenient.
    """
    groups = []
    for row in rows(lines, NODE_COLUMNS):
        try:
            groups.append(_machine(row))
        except (Malformed, ResourceError) as error:
            lines.reject(str(error))
    return groups


def _machine(row: dict[str, str]) -> MachineGroup:
    amounts = {
        "cpus": whole(row["cpu_milli"], "cpu_milli"),
        "mem": milli(amount(row["memory_mib"], "memory_mib"), "memory_mib"),
        "gpus": whole(row["gpu"], "gpu") * 1000,
    }
    if min(amounts.values()) < 0 or not any(amounts.values()):
        raise Malformed("a node has amounts that are not negative, and not all zero")
    return MachineGroup(1, Quantities.from_milli(amounts), row["model"])


FORMAT = Format(
    name="openb",
    help="Alibaba GPU 2023, a list of pods",
    told=with_columns(COLUMNS),
    read=read,
    machines=MachineList(with_columns(NODE_COLUMNS), read_machines),
)
