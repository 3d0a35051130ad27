"""The Standard Workload Format of the Parallel Workloads Archive.

18 blank-separated numbers a line, -1 for unknown; `;` starts a header line. See D. Feitelson et
al., "Experience with using the Parallel Workloads Archive", JPDC 74(10), 2014.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from allocator.errors import InvalidValue, ResourceError, shown
from allocator.resources import Quantities
from allocator.sim.cluster import MAX_MACHINES, MachineGroup
from allocator.sim.readers.format import Format, with_fields
from allocator.sim.readers.lines import Lines
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

N_FIELDS = 18

#: Positions of the fields used here, from 0.
_JOB, _SUBMIT, _WAIT, _RUN, _ALLOCATED, _PROCS, _LIMIT, _MEMORY_KB = 0, 1, 2, 3, 4, 7, 8, 9
_STATUS, _USER, _QUEUE = 10, 11, 14
_TIMES = frozenset({_SUBMIT, _WAIT, _RUN, _LIMIT})

_CANCELLED = 5
#: A partial execution: to be continued; the last, of a job that completed; of one that failed.
_PARTIAL = frozenset({2, 3, 4})

CANCELLED = "cancelled before it ran: job dropped"
NO_PROCS = "processors unknown: job dropped"
NO_WAIT = "wait unknown: no recorded start"
OVER_LIMIT = "ran beyond its limit: recorded run time kept"
NO_MEMORY = "memory request unknown: taken as none"
PARTIAL = "partial executions beside the line of the whole job: lines dropped"
JOINED = "partial executions without a line of the whole job: joined to one job"

_HEADER = re.compile(r";\s*(?P<key>\w+):\s*(?P<value>.*)")
#: A number at the start of a header's value: not one that goes on as `1.5`, `64K` or `1 152` do.
_COUNT = re.compile(r"(\d{1,3}(?:,\d{3})+|\d{1,15})(?!\w|[.,'’]\d|\s+\d)")
_MAX_QUEUE_DIGITS = 15

#: Key -> value and line.
Header = dict[str, tuple[str, int]]


@dataclass(slots=True)
class _Log:
    """What is gathered from the lines of a log."""

    workload: Workload
    queues: dict[int, str]
    shapes: Shapes = field(default_factory=Shapes)
    #: (line, job) of each job that can be run
    jobs: list[tuple[int, Job]] = field(default_factory=list)
    #: the numbers of the jobs that have a line of their own
    whole: set[float] = field(default_factory=set)
    #: job number -> (line, its fields) of each partial execution
    partial: dict[float, list[tuple[int, list[str]]]] = field(default_factory=dict)


def read(lines: Lines) -> Workload:
    """Read a log in the Standard Workload Format.

    A job of N processors becomes N tasks of one processor each, with the requested memory per
    processor: the format does not say how many nodes it took. A tenant is `queue/user`, or
    the user alone where the queue is unknown.

    Where jobs were swapped out, each of their partial executions has a line beside that of the
    whole job, which alone counts. A job that has no such line is made of its parts, as the format
    defines it: submitted as the first was, it ran for as long as all of them together.

    Raises
    ------
    TraceError
        At the first malformed line, unless the lines are lenient.
    """
    header: Header = {}
    workload = Workload([], {}, _default_cluster(header, lines), optional=frozenset({"mem"}))
    log = _Log(workload, {})
    for line in lines:
        if line.lstrip().startswith(";"):
            _read_header(line.strip(), lines.number, header, log.queues)
            continue
        try:
            _read_line(line.split(), lines.number, log)
        except (Malformed, ResourceError) as error:
            lines.reject(str(error))
    _join_parts(log, lines)
    workload.jobs = [job for _, job in log.jobs]
    return workload


def _read_header(line: str, number: int, header: Header, queues: dict[int, str]) -> None:
    match = _HEADER.match(line)
    if match is None:
        return
    value = match["value"].strip()
    if match["key"] != "Queue":
        header.setdefault(match["key"], (value, number))
        return
    queue, name = [*value.split(maxsplit=1), "", ""][:2]
    if name and queue.isdecimal() and len(queue) <= _MAX_QUEUE_DIGITS:
        queues[int(queue)] = role_name(name.split("[")[0].strip())


def _read_line(fields: list[str], line: int, log: _Log) -> None:
    if len(fields) != N_FIELDS:
        raise Malformed(f"{len(fields)} fields instead of {N_FIELDS}")
    values = values_of(fields)
    if values[_STATUS] in _PARTIAL:
        log.partial.setdefault(values[_JOB], []).append((line, fields))
        return
    log.whole.add(values[_JOB])
    job = _job(fields, values, log)
    if job is not None:
        log.jobs.append((line, job))


def _join_parts(log: _Log, lines: Lines) -> None:
    """Drop the partial executions of jobs that have a line, and make jobs of the others."""
    for job_number, parts in log.partial.items():
        if job_number in log.whole:
            log.workload.defects[PARTIAL] += len(parts)
            continue
        line, fields = parts[0]
        values = values_of(fields)
        values[_RUN] = sum(max(0.0, values_of(part)[_RUN]) for _, part in parts)
        try:
            job = _job(fields, values, log)
        except (Malformed, ResourceError) as error:
            lines.reject(str(error), line)
            continue
        log.workload.defects[JOINED] += len(parts)
        if job is not None:
            log.jobs.append((line, job))
    log.jobs.sort(key=lambda numbered: numbered[0])


def _job(fields: list[str], values: list[float], log: _Log) -> Job | None:
    workload, defects = log.workload, log.workload.defects
    check_submission(values[_SUBMIT])
    run_s = values[_RUN]
    procs = procs_of(fields)
    if run_s <= 0:
        defects[CANCELLED if values[_STATUS] == _CANCELLED else NOT_POSITIVE] += 1
        return None
    if procs <= 0:
        defects[NO_PROCS] += 1
        return None
    demand = {"cpus": 1000}
    if values[_MEMORY_KB] > 0:
        demand["mem"] = kb_to_milli_mb(values[_MEMORY_KB])
    else:
        defects[NO_MEMORY] += 1
    role = _role(int(values[_QUEUE]), fields[_USER], log.queues)
    return Job(
        id=fields[_JOB],
        tenant=tenant_named(role, workload.tenants),
        submit_s=values[_SUBMIT],
        run_s=run_s,
        shape=log.shapes.of((procs, demand)),
        recorded_start_s=recorded_start(values[_SUBMIT], values[_WAIT], defects),
        requested_s=requested(run_s, values[_LIMIT], defects),
    )


def values_of(fields: Sequence[str]) -> list[float]:
    """Return the fields as numbers that an engine can hold, or raise `Malformed` naming one."""
    return [
        (seconds if position in _TIMES else number)(text, f"field {position + 1}")
        for position, text in enumerate(fields)
    ]


def check_submission(submit_s: float) -> None:
    """Raise `Malformed` if a submission is unknown."""
    if submit_s < 0:
        raise Malformed(f"submitted at {submit_s:g} s: not a time")


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


def requested(run_s: float, limit_s: float, defects: Counter[str]) -> float | None:
    """Return the time that a job asked for, None if unknown; count one that ran for longer."""
    if limit_s <= 0:
        return None
    if limit_s < run_s:
        defects[OVER_LIMIT] += 1
    return limit_s


def kb_to_milli_mb(kilobytes: float) -> int:
    """Return KB as thousandths of MB, rounding up: a little memory is not none."""
    return -int(-kilobytes * 1000 // 1024)


def _role(queue: int, user: str, queues: dict[int, str]) -> str:
    user_role = "user_unknown" if user == "-1" else role_name(f"user{user}")
    if queue < 0:
        return user_role
    return f"{queues.get(queue, f'queue{queue}')}/{user_role}"


def _default_cluster(
    header: Header, lines: Lines
) -> Callable[[Sequence[Job]], tuple[tuple[MachineGroup, ...], str]]:
    """Make the cluster that the header states, once it has been read."""

    def make(jobs: Sequence[Job]) -> tuple[tuple[MachineGroup, ...], str]:
        procs = _positive(header, "MaxProcs", lines)
        nodes = _positive(header, "MaxNodes", lines)
        if procs is None and nodes is None:
            return _as_large_as_the_largest(jobs)
        nodes = nodes or procs or 1
        procs = max(procs or nodes, nodes)
        amounts = {"mem": kb_to_milli_mb(_positive(header, "MaxMemory", lines) or 0)}
        few, rest = divmod(procs, nodes)
        split = ((nodes - rest, few), (rest, few + 1))
        groups = [
            MachineGroup(n, Quantities.from_milli({"cpus": cores * 1000, **amounts}))
            for n, cores in split
            if n
        ]
        return tuple(groups), f"the header: MaxNodes {nodes}, MaxProcs {procs}"

    return make


def _as_large_as_the_largest(jobs: Sequence[Job]) -> tuple[tuple[MachineGroup, ...], str]:
    largest = max(jobs, key=lambda job: job.shape.n_tasks)
    procs = largest.shape.n_tasks
    source = "no MaxProcs or MaxNodes in the header"
    if procs > MAX_MACHINES:
        wanted = f"job {shown(largest.id)} asks for {procs} processors"
        raise InvalidValue(f"{source}, and {wanted} (--machines says what there is)")
    one = Quantities.from_milli({"cpus": 1000})
    return (MachineGroup(procs, one),), f"{source}: the processors of the largest job"


def _positive(header: Header, key: str, lines: Lines) -> int | None:
    """Return a number of the header, `1,152` among them; None if it is absent or unknown."""
    value, line = header.get(key, ("", 0))
    if not any(map(str.isdigit, value)) or value.split()[0] == "-1":
        return None
    match = _COUNT.match(value)
    if match is None:
        lines.reject(f"{key} {shown(value)} cannot be read as a whole number", line)
        return None
    return int(match[1].replace(",", "")) or None


FORMAT = Format(
    name="swf",
    help="the Standard Workload Format",
    told=lambda line: line.lstrip().startswith(";") or with_fields(N_FIELDS)(line),
    read=read,
)
