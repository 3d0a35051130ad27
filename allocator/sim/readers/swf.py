"""The Standard Workload Format of the Parallel Workloads Archive.

18 blank-separated numbers a line, -1 for unknown; `;` starts a header line. See D. Feitelson et
al., "Experience with using the Parallel Workloads Archive", JPDC 74(10), 2014.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence

from allocator.errors import ResourceError
from allocator.resources import Quantities
from allocator.sim.cluster import MachineGroup
from allocator.sim.readers.lines import Lines
from allocator.sim.readers.workload import (
    NOT_POSITIVE,
    Malformed,
    Shapes,
    Workload,
    number,
    role_name,
    tenant_named,
    whole,
)
from allocator.sim.trace import Job

N_FIELDS = 18

#: Positions of the fields used here, from 0.
_JOB, _SUBMIT, _WAIT, _RUN, _ALLOCATED, _PROCS, _LIMIT, _MEMORY_KB = 0, 1, 2, 3, 4, 7, 8, 9
_STATUS, _USER, _QUEUE = 10, 11, 14

_CANCELLED = 5

CANCELLED = "cancelled before it ran: job dropped"
NO_PROCS = "processors unknown: job dropped"
NO_WAIT = "wait unknown: no recorded start"
OVER_LIMIT = "ran beyond its limit: recorded run time kept"
NO_MEMORY = "memory request unknown: taken as none"

_HEADER = re.compile(r";\s*(?P<key>\w+):\s*(?P<value>.*)")


def read(lines: Lines) -> Workload:
    """Read a log in the Standard Workload Format.

    A job of N processors becomes N tasks of one processor each, with the requested memory per
    processor: the format does not say how many nodes it took. A tenant is `queue/user`, or
    the user alone where the queue is unknown.

    Raises
    ------
    TraceError
        At the first malformed line, unless the lines are lenient.
    """
    shapes = Shapes()
    header: dict[str, str] = {}
    queues: dict[int, str] = {}
    workload = Workload([], {}, _default_cluster(header), optional=frozenset({"mem"}))
    for line in lines:
        if line.lstrip().startswith(";"):
            _read_header(line.strip(), header, queues)
            continue
        try:
            job = _job(line.split(), shapes, queues, workload)
        except (Malformed, ResourceError) as error:
            lines.reject(str(error))
            continue
        if job is not None:
            workload.jobs.append(job)
    return workload


def _read_header(line: str, header: dict[str, str], queues: dict[int, str]) -> None:
    match = _HEADER.match(line)
    if match is None:
        return
    value = match["value"].strip()
    if match["key"] != "Queue":
        header.setdefault(match["key"], value)
        return
    number_and_name = value.split(maxsplit=1)
    if len(number_and_name) == 2 and number_and_name[0].isdecimal():
        name = number_and_name[1].split("[")[0].strip()
        queues[int(number_and_name[0])] = role_name(name)


def _job(
    fields: list[str], shapes: Shapes, queues: dict[int, str], workload: Workload
) -> Job | None:
    if len(fields) != N_FIELDS:
        raise Malformed(f"{len(fields)} fields instead of {N_FIELDS}")
    values = [number(text, f"field {i}") for i, text in enumerate(fields, start=1)]
    defects = workload.defects
    if values[_SUBMIT] < 0:
        raise Malformed(f"submitted at {values[_SUBMIT]:g} s: not a time")
    run_s = values[_RUN]
    procs = procs_of(fields)
    if run_s <= 0:
        defects[CANCELLED if values[_STATUS] == _CANCELLED else NOT_POSITIVE] += 1
        return None
    if procs <= 0:
        defects[NO_PROCS] += 1
        return None
    note_limit(run_s, values[_LIMIT], defects)
    demand = {"cpus": 1000}
    if values[_MEMORY_KB] > 0:
        demand["mem"] = kb_to_milli_mb(values[_MEMORY_KB])
    else:
        defects[NO_MEMORY] += 1
    return Job(
        id=fields[_JOB],
        tenant=tenant_named(_role(int(values[_QUEUE]), fields[_USER], queues), workload.tenants),
        submit_s=values[_SUBMIT],
        run_s=run_s,
        shape=shapes.of((procs, demand)),
        recorded_start_s=recorded_start(values[_SUBMIT], values[_WAIT], defects),
    )


def procs_of(fields: Sequence[str]) -> int:
    """Return the processors requested, or allocated where the request is unknown."""
    requested = whole(fields[_PROCS], f"field {_PROCS + 1}")
    return requested if requested > 0 else whole(fields[_ALLOCATED], f"field {_ALLOCATED + 1}")


def recorded_start(submit_s: float, wait_s: float, defects: Counter[str]) -> float | None:
    """Return when the job started, or None, counted, where the wait is unknown."""
    if wait_s >= 0:
        return submit_s + wait_s
    defects[NO_WAIT] += 1
    return None


def note_limit(run_s: float, limit_s: float, defects: Counter[str]) -> None:
    """Count a job that ran for longer than it had asked for."""
    if 0 < limit_s < run_s:
        defects[OVER_LIMIT] += 1


def kb_to_milli_mb(kilobytes: float) -> int:
    """Return KB as thousandths of MB, rounding up: a little memory is not none."""
    return -int(-kilobytes * 1000 // 1024)


def _role(queue: int, user: str, queues: dict[int, str]) -> str:
    user_role = "user_unknown" if user == "-1" else role_name(f"user{user}")
    if queue < 0:
        return user_role
    return f"{queues.get(queue, f'queue{queue}')}/{user_role}"


def _default_cluster(
    header: dict[str, str],
) -> Callable[[Sequence[Job]], tuple[tuple[MachineGroup, ...], str]]:
    """Make the cluster that the header states, once it has been read."""

    def make(jobs: Sequence[Job]) -> tuple[tuple[MachineGroup, ...], str]:
        procs = _positive(header, "MaxProcs")
        nodes = _positive(header, "MaxNodes")
        if procs is None and nodes is None:
            largest = max((job.shape.n_tasks for job in jobs), default=1)
            one = Quantities.from_milli({"cpus": 1000})
            source = "no MaxProcs or MaxNodes in the header: the processors of the largest job"
            return (MachineGroup(largest, one),), source
        nodes = nodes or procs or 1
        procs = max(procs or nodes, nodes)
        amounts = {"mem": kb_to_milli_mb(_positive(header, "MaxMemory") or 0)}
        few, rest = divmod(procs, nodes)
        split = ((nodes - rest, few), (rest, few + 1))
        groups = [
            MachineGroup(n, Quantities.from_milli({"cpus": cores * 1000, **amounts}))
            for n, cores in split
            if n
        ]
        return tuple(groups), f"the header: MaxNodes {nodes}, MaxProcs {procs}"

    return make


def _positive(header: dict[str, str], key: str) -> int | None:
    text = header.get(key, "").split()[:1]
    value = int(text[0]) if text and text[0].isdecimal() else 0
    return value if value > 0 else None
