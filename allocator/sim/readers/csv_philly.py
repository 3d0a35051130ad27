"""Microsoft's Philly trace of GPU training jobs, in the form of the Pollux simulator.

See M. Jeon et al., "Analysis of Large-Scale Multi-Tenant GPU Clusters for DNN Training Workloads",
USENIX ATC 2019.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from allocator.errors import ResourceError, shown
from allocator.resources import Quantities
from allocator.sim.cluster import MachineGroup
from allocator.sim.readers.format import Format, MachineList, with_columns
from allocator.sim.readers.lines import Lines, rows
from allocator.sim.readers.workload import (
    NOT_POSITIVE,
    Malformed,
    Shapes,
    Workload,
    number,
    role_name,
    seconds,
    tenant_named,
    whole,
)
from allocator.sim.trace import Job

COLUMNS = ("timestamp", "duration", "num_gpus", "gpu_time", "cluster")
MACHINE_COLUMNS = ("machineId", "number of GPUs", "single GPU mem")

DUPLICATE = "duplicate rows: dropped"
GPU_TIME = "gpu_time is not duration x num_gpus: not used"

#: A job of more GPUs than its largest machines have is split over several.
_GPUS_PER_TASK = 8
_TIMESTAMP = "%Y-%m-%d %H:%M:%S"
_DEFAULT_NODES = 60


def read(lines: Lines) -> Workload:
    """Read a list of jobs.

    A job of up to 8 GPUs is one task, a larger one tasks of 8 and one of the rest; its virtual
    cluster is the tenant. Local wall clock is taken as it is: the hour that the change to winter
    time repeats is not told apart.

    Raises
    ------
    TraceError
        At the first malformed line, unless the lines are lenient.
    """
    shapes = Shapes()
    seen: set[tuple[str, ...]] = set()
    workload = Workload([], {}, _default_cluster)
    for row in rows(lines, COLUMNS):
        key = tuple(row[name] for name in COLUMNS)
        if key in seen:
            workload.defects[DUPLICATE] += 1
            continue
        try:
            job = _job(row, lines.number, shapes, workload)
        except (Malformed, ResourceError) as error:
            lines.reject(str(error))
            continue
        seen.add(key)
        if job is not None:
            workload.jobs.append(job)
    return workload


def _job(row: dict[str, str], line: int, shapes: Shapes, workload: Workload) -> Job | None:
    try:
        submitted = datetime.strptime(row["timestamp"], _TIMESTAMP).replace(tzinfo=UTC)
    except ValueError:
        given = shown(row["timestamp"])
        raise Malformed(f"timestamp {given} is not like 2017-10-09 07:01:55") from None
    run_s = seconds(row["duration"], "duration")
    gpus = whole(row["num_gpus"], "num_gpus")
    if gpus <= 0:
        raise Malformed(f"num_gpus {gpus} is not positive")
    if abs(number(row["gpu_time"], "gpu_time") - run_s * gpus) > 1e-6 * abs(run_s * gpus):
        workload.defects[GPU_TIME] += 1
    if run_s <= 0:
        workload.defects[NOT_POSITIVE] += 1
        return None
    full, rest = divmod(gpus, _GPUS_PER_TASK)
    split = [(full, _GPUS_PER_TASK), (1 if rest else 0, rest)]
    tasks = [(n, {"gpus": size * 1000}) for n, size in split if n]
    tenant = tenant_named(role_name(row["cluster"]), workload.tenants)
    return Job(f"line {line}", tenant, submitted.timestamp(), run_s, shapes.of(*tasks))


def _default_cluster(jobs: Sequence[Job]) -> tuple[tuple[MachineGroup, ...], str]:
    node = Quantities.from_milli({"gpus": _GPUS_PER_TASK * 1000})
    source = "built in: between the mean demand of the Philly trace, 374 GPUs, and its peak, 1243"
    return (MachineGroup(_DEFAULT_NODES, node),), source


def read_machines(lines: Lines) -> list[MachineGroup]:
    """Read a list of machines; the memory of their GPUs is their kind.

    Raises
    ------
    TraceError
        At the first malformed line, unless the lines are lenient.
    """
    groups = []
    for row in rows(lines, MACHINE_COLUMNS):
        try:
            gpus = whole(row["number of GPUs"], "number of GPUs")
            if gpus <= 0:
                raise Malformed(f"number of GPUs {gpus} is not positive")
            node = Quantities.from_milli({"gpus": gpus * 1000})
        except (Malformed, ResourceError) as error:
            lines.reject(str(error))
            continue
        groups.append(MachineGroup(1, node, row["single GPU mem"]))
    return groups


FORMAT = Format(
    name="philly",
    help="Microsoft Philly, a list of jobs",
    told=with_columns(COLUMNS),
    read=read,
    machines=MachineList(with_columns(MACHINE_COLUMNS), read_machines),
)
