"""The MetaCentrum dialect of SWF, as the Alea simulator ships it, and its `.machines` files.

No header; 21 fields, of which 1-18 are those of SWF with placeholders, but field 2 is absolute
Unix time and field 10 the requested memory in bytes per *node*; 19 is the nodes used, 20 the queue
by name, 21 the PBS nodespec `N:ppn=P[:property...][+N:ppn=P...][#excl]`.
"""

import re
from collections import Counter

from allocator.errors import ResourceError
from allocator.resources import Quantities
from allocator.sim.cluster import MachineGroup
from allocator.sim.readers import swf
from allocator.sim.readers.format import Format, MachineList, with_fields
from allocator.sim.readers.lines import Lines
from allocator.sim.readers.workload import (
    NOT_POSITIVE,
    Malformed,
    Shapes,
    Workload,
    milli,
    number,
    role_name,
    tenant_named,
    whole,
)
from allocator.sim.trace import Job

N_FIELDS = 21
N_MACHINE_FIELDS = 6

_JOB, _SUBMIT, _WAIT, _RUN, _LIMIT, _MEMORY_BYTES, _USER = 0, 1, 2, 3, 8, 9, 11
_N_NUMBERS = 18
_QUEUE, _NODESPEC = 19, 20
_NODESPEC_NAME = f"field {_NODESPEC + 1}"

INCOMPLETE = "nodespec without N:ppn=P: completed from the processors"
MISMATCH = "processors differ from the leading N:ppn=P: nodespec believed"
EXCLUSIVE = "asks for whole nodes (#excl): given what it asks for"
OTHER_PROPERTY = "nodespec properties other than a cluster's name: not modelled"

_BYTES_PER_MB = 1024 * 1024
_CLUSTER = "cl_"
_PPN = re.compile(r"ppn=(\d*\.?\d+)")
_LEADING = re.compile(r"\d+:ppn=\d")


def read(lines: Lines) -> Workload:
    """Read a MetaCentrum log.

    A job becomes N node-tasks of P cores and the requested memory each, as its nodespec says; a
    property `cl_NAME` keeps it on machines of that kind. A tenant is `queue/user`.

    Raises
    ------
    TraceError
        At the first malformed line, unless the lines are lenient.
    """
    shapes = Shapes()
    workload = Workload([], {})
    for line in lines:
        try:
            job = _job(line.split(), shapes, workload)
        except (Malformed, ResourceError) as error:
            lines.reject(str(error))
            continue
        if job is not None:
            workload.jobs.append(job)
    return workload


def _job(fields: list[str], shapes: Shapes, workload: Workload) -> Job | None:
    if len(fields) != N_FIELDS:
        raise Malformed(f"{len(fields)} fields instead of {N_FIELDS}")
    values = swf.values_of(fields[:_N_NUMBERS])
    defects = workload.defects
    swf.check_submission(values[_SUBMIT])
    if values[_RUN] <= 0:
        defects[NOT_POSITIVE] += 1
        return None
    procs = swf.procs_of(fields)
    if procs <= 0:
        defects[swf.NO_PROCS] += 1
        return None
    node_tasks, kinds = _nodespec(fields[_NODESPEC], procs, defects)
    memory = _memory(values[_MEMORY_BYTES], workload)
    tasks = [(n, {"cpus": cores, **memory}) for n, cores in node_tasks]
    role = f"{role_name(fields[_QUEUE])}/{role_name('user' + fields[_USER])}"
    return Job(
        id=fields[_JOB],
        tenant=tenant_named(role, workload.tenants),
        submit_s=values[_SUBMIT],
        run_s=values[_RUN],
        shape=shapes.of(*tasks, kinds=kinds),
        recorded_start_s=swf.recorded_start(values[_SUBMIT], values[_WAIT], defects),
        requested_s=swf.requested(values[_RUN], values[_LIMIT], defects),
    )


def _memory(in_bytes: float, workload: Workload) -> dict[str, int]:
    if in_bytes > 0:
        return {"mem": -int(-in_bytes * 1000 // _BYTES_PER_MB)}
    workload.defects[swf.NO_MEMORY] += 1
    return {}


def _nodespec(
    text: str, procs: int, defects: Counter[str]
) -> tuple[list[tuple[int, int]], frozenset[str]]:
    """Return (nodes, thousandths of a core on each) and the kinds of machine admitted.

    What a nodespec leaves out is completed: one node, and the job's processors divided by the
    nodes.
    """
    spec, _, flag = text.partition("#")
    node_tasks: list[tuple[int, int]] = []
    properties: set[str] = set()
    for chunk in spec.split("+"):
        words = chunk.split(":")
        nodes = 1
        if words[0].isdecimal():
            nodes = max(1, whole(words.pop(0), _NODESPEC_NAME))
        ppn = [match for match in map(_PPN.fullmatch, words) if match]
        cores = max(1, procs // nodes) * 1000
        if ppn:
            cores = milli(number(ppn[0][1], _NODESPEC_NAME), _NODESPEC_NAME)
        node_tasks.append((nodes, cores))
        properties.update(word for word in words if not _PPN.fullmatch(word))
    kinds = {p.removeprefix(_CLUSTER) for p in properties if p.startswith(_CLUSTER)}
    defects[EXCLUSIVE] += flag == "excl"
    defects[INCOMPLETE] += _LEADING.match(spec) is None
    defects[OTHER_PROPERTY] += len(properties) > len(kinds)
    defects[MISMATCH] += node_tasks[0][0] * node_tasks[0][1] != procs * 1000
    node_tasks.sort(key=lambda pair: -pair[1])
    return node_tasks, frozenset(kinds)


def read_machines(lines: Lines) -> list[MachineGroup]:
    """Read a `.machines` file: cluster id, name, nodes, cores and speed of each, KB of each.

    Raises
    ------
    TraceError
        At the first malformed line, unless the lines are lenient.
    """
    groups = []
    for line in lines:
        try:
            groups.append(_machines(line.split()))
        except (Malformed, ResourceError) as error:
            lines.reject(str(error))
    return groups


def _machines(fields: list[str]) -> MachineGroup:
    if len(fields) != N_MACHINE_FIELDS:
        raise Malformed(f"{len(fields)} fields instead of {N_MACHINE_FIELDS}")
    nodes, cores = whole(fields[2], "nodes"), whole(fields[3], "cores per node")
    memory_kb = whole(fields[5], "memory per node")
    if nodes <= 0 or cores <= 0 or memory_kb < 0:
        raise Malformed("a cluster has nodes with cores, and memory that is not negative")
    amounts = {"cpus": cores * 1000, "mem": memory_kb * 1000 // 1024}
    return MachineGroup(nodes, Quantities.from_milli(amounts), role_name(fields[1]))


FORMAT = Format(
    name="metacentrum",
    help="Alea's MetaCentrum logs",
    told=with_fields(N_FIELDS),
    read=read,
    machines=MachineList(with_fields(N_MACHINE_FIELDS), read_machines),
    machines_suffix=".machines",
)
