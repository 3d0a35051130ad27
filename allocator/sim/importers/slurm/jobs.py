"""Slurm's jobs, of every form, as what each holds or asks for on how many machines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from allocator.errors import InvalidValue, shown
from allocator.sim.importers.amounts import Amounts, number
from allocator.sim.importers.slurm.hostlist import hosts, numbers
from allocator.sim.importers.slurm.records import Record
from allocator.sim.importers.slurm.words import (
    Json,
    count,
    gres,
    job_state,
    memory,
    requested_memory,
    text_of,
    tres,
)

_ONE = Fraction(1)
_ZERO = Fraction(0)
#: A step of a job: its allocation is the job's.
_STEP = re.compile(r"\.\w+$")

#: Columns of a published dump of `sacct -P -n`, and of `squeue -O` by exporters: no line names
#: them.
SACCT_COLUMNS = (
    *("JobID", "JobIDRaw", "User", "Account", "State", "Start", "End", "AveCPU", "AveDiskRead"),
    *("AveDiskWrite", "AveRSS", "AveVMSize", "ElapsedRaw", "ExitCode", "Layout", "MaxRSS"),
    *("MaxVMSize", "MinCPU", "ReqCPUS", "ReqMem", "ReqNodes", "Reservation", "Submit"),
    *("Suspended", "SystemCPU", "TimelimitRaw", "UserCPU", "NodeList", "Partition", "AllocTRES"),
    *("Priority", "JobName"),
)


@dataclass(slots=True)
class Job:
    """A job, or a task of an array.

    Parameters
    ----------
    id : str
    state : str
        `running`, `suspended`, `pending` or `finished`.
    account, user, partition : str
    total : dict
        What it holds or asks for, on all machines together.
    n_nodes : int
    n_tasks : int
        Of an array that waits, how many.
    nodes : list of str
        Its machines; empty if it has none, or they are not told.
    parts : dict
        Machine -> what it holds there; empty if only the total is known.
    is_exclusive : bool
        Whether it has its machines for itself.
    """

    id: str
    state: str
    account: str
    user: str
    partition: str = ""
    total: Amounts = field(default_factory=dict)
    n_nodes: int = 1
    n_tasks: int = 1
    nodes: list[str] = field(default_factory=list)
    parts: dict[str, Amounts] = field(default_factory=dict)
    is_exclusive: bool = False


def is_step(id: str) -> bool:
    """Tell whether a row of accounting is a step of a job. O(length)."""
    return bool(_STEP.search(id))


# JSON.


def json_job(job: Json) -> Job:
    """Return a job of `squeue --json`, `scontrol --json` or slurmrestd. Raises `InvalidValue`."""
    state = job_state(job.get("job_state") or (job.get("state") or {}))
    if not state:
        raise InvalidValue(f"job {shown(job.get('job_id'))}: state {shown(job.get('job_state'))}")
    asked = text_of(job.get("tres_alloc_str")) if state != "pending" else ""
    total = tres(asked or text_of(job.get("tres_req_str")))
    n_nodes = count(job.get("node_count")) or _ONE
    if not total:
        total = _json_total(job, n_nodes)
    found = Job(
        _json_id(job),
        state,
        text_of(job.get("account")),
        text_of(job.get("user_name")) or _uid(job),
        text_of(job.get("partition")),
        total,
        max(1, int(n_nodes)),
        nodes=hosts(text_of(job.get("nodes"))) if state != "pending" else [],
    )
    array = text_of(job.get("array_task_string"))
    if state == "pending" and array:
        found.n_tasks = numbers(array)
    if state in ("running", "suspended"):
        _take_parts(found, job)
    return found


def _json_id(job: Json) -> str:
    """Return a job's id as accounting writes it: parts of arrays and of jobs of several parts."""
    array, task = count(job.get("array_job_id")), count(job.get("array_task_id"))
    listed = text_of(job.get("array_task_string"))
    if array and (listed or task is not None):
        return f"{array}_{listed or task}"
    whole, offset = count(job.get("het_job_id")), count(job.get("het_job_offset"))
    if whole and offset is not None:
        return f"{whole}+{offset}"
    return str(count(job.get("job_id")) or job.get("job_id") or "")


def _uid(job: Json) -> str:
    uid = count(job.get("user_id"))
    return "" if uid is None else f"uid-{uid}"


def _json_total(job: Json, n_nodes: Fraction) -> Amounts:
    cpus = count(job.get("cpus")) or _ONE
    per_node, per_cpu = count(job.get("memory_per_node")), count(job.get("memory_per_cpu"))
    mem = per_node * n_nodes if per_node else (per_cpu or _ZERO) * cpus
    return {name: x for name, x in {"cpus": cpus, "mem": mem}.items() if x}


def _take_parts(found: Job, job: Json) -> None:
    """Take what a job holds of each machine, where the dump says."""
    held = job.get("job_resources") or {}
    inner = held.get("nodes")
    shared = [str(one).lower() for one in _list(job.get("exclusive"))]
    found.is_exclusive = "true" in shared or job.get("shared") == ["none"]
    allocated: list[tuple[str, Any, Any]] = []
    if isinstance(inner, Mapping):
        found.is_exclusive = found.is_exclusive or inner.get("whole") is True
        for one in _list(inner.get("allocation")):
            cpus, mem = one.get("cpus") or {}, one.get("memory") or {}
            allocated.append((str(one.get("name")), cpus.get("count"), mem.get("allocated")))
    else:
        allocated = list(_older_parts(found, held))
    for name, cpus, mem in allocated:
        amounts = {"cpus": count(cpus) or _ZERO, "mem": count(mem) or _ZERO}
        found.parts[name] = {key: x for key, x in amounts.items() if x}
    _spread_devices(found, [str(one) for one in _list(job.get("gres_detail"))])


def _older_parts(found: Job, held: Json) -> Iterator[tuple[str, Any, Any]]:
    """Yield (machine, cpus, MiB) of the older forms: a list, or an object keyed by number."""
    nodes = held.get("allocated_nodes")
    named = hosts(text_of(held.get("nodes"))) or found.nodes
    if isinstance(nodes, Mapping):
        for key, one in nodes.items():
            index = int(key)
            if not 0 <= index < len(named):
                raise InvalidValue(f"job {found.id}: machine {index} of {len(named)}")
            yield named[index], one.get("cpus"), one.get("memory")
    for index, one in enumerate(nodes if isinstance(nodes, list) else ()):
        name = one.get("nodename") or (named[index] if index < len(named) else "")
        cpus = one.get("cpus_used", one.get("cpus"))
        yield str(name), cpus, one.get("memory_allocated", one.get("memory"))


def _spread_devices(found: Job, details: list[str]) -> None:
    """Give each machine its GPUs: as told for each, else evenly."""
    devices = {n: x for n, x in found.total.items() if n not in ("cpus", "mem")}
    if not devices or not found.parts:
        return
    names = list(found.parts)
    if len(details) == len(names):
        for name, text in zip(names, details, strict=True):
            found.parts[name].update(gres(text)[0])
        return
    for name in names:
        for device, amount in devices.items():
            found.parts[name][device] = amount / len(names)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# scontrol show job.


def scontrol_job(record: Record) -> Job:
    """Return a job of `scontrol show job`, with `-d` by machine. Raises `InvalidValue`."""
    pairs = record.pairs
    state = job_state(pairs.get("jobstate", ""))
    if not state:
        raise InvalidValue(f"job {shown(pairs.get('jobid'))}: state {shown(pairs.get('jobstate'))}")
    holds = state in ("running", "suspended")
    asked = pairs.get("alloctres") if holds else pairs.get("reqtres")
    n_nodes = number((pairs.get("numnodes") or "1").partition("-")[0])
    said = map(text_of, (asked, pairs.get("tres"), pairs.get("reqtres")))
    total = tres(next(filter(None, said), ""))
    if not total:
        total = {"cpus": number((pairs.get("numcpus") or "1").partition("-")[0])}
    found = Job(
        pairs["jobid"],
        state,
        text_of(pairs.get("account")),
        text_of(pairs.get("userid")).partition("(")[0],
        text_of(pairs.get("partition")),
        total,
        max(1, int(n_nodes)),
        nodes=hosts(text_of(pairs.get("nodelist"))) if holds else [],
        is_exclusive=holds and pairs.get("oversubscribe") in ("NO", "EXCLUSIVE"),
    )
    array = text_of(pairs.get("arraytaskid"))
    if array:
        if state == "pending":
            found.n_tasks = numbers(array)
        found.id = f"{pairs.get('arrayjobid', pairs['jobid'])}_{array}"
    elif pairs.get("hetjobid") and pairs.get("hetjoboffset"):
        found.id = f"{pairs['hetjobid']}+{pairs['hetjoboffset']}"
    for listed, cpus, mem, devices in record.details if holds else ():
        for name in hosts(listed):
            own = {"cpus": Fraction(numbers(cpus)), "mem": memory(mem)}
            own.update(gres(devices)[0] if devices else {})
            found.parts[name] = {key: x for key, x in own.items() if x}
    if found.parts and not any(detail[3] for detail in record.details):
        _spread_devices(found, [])
    return found


# sacct and squeue between bars.


def row_job(row: Mapping[str, str]) -> Job | None:
    """Return the job of a row, by the lower-case names of its columns; None if it is none."""
    id = (row.get("jobid") or row.get("jobidraw") or "").strip()
    state = job_state((row.get("state") or row.get("st") or "").strip())
    if not id or not state:
        return None
    cells = {name: value.strip() for name, value in row.items()}
    holds = state in ("running", "suspended")
    total = _row_tres(cells, holds=holds)
    n_nodes = _first_number(cells, "nnodes", "numnodes", "nodes", "allocnodes", "reqnodes") or _ONE
    if not total:
        cpus = _first_number(cells, "alloccpus", "ncpus", "numcpus", "cpus", "reqcpus") or _ONE
        mem = requested_memory(cells.get("reqmem", ""), cpus, n_nodes)
        total = {name: x for name, x in {"cpus": cpus, "mem": mem}.items() if x}
    nodes = []
    if holds:
        listed = cells.get("nodelist") or cells.get("nodelist(reason)") or ""
        nodes = hosts(listed) if not listed.startswith("(") else []
    return Job(
        id,
        state,
        cells.get("account", ""),
        cells.get("user") or cells.get("username", ""),
        cells.get("partition", ""),
        total,
        len(nodes) or max(1, int(n_nodes)),
        n_tasks=_array_tasks(id) if state == "pending" else 1,
        nodes=nodes,
    )


def _row_tres(cells: Mapping[str, str], *, holds: bool) -> Amounts:
    names = ("alloctres", "tres-alloc", "tres", "reqtres")
    for name in names if holds else reversed(names):
        text = text_of(cells.get(name))
        if text:
            return tres(text)
    return {}


def _first_number(cells: Mapping[str, str], *names: str) -> Fraction | None:
    for name in names:
        text = cells.get(name, "").partition("-")[0]
        if text and text.replace(".", "").isdigit():
            return number(text)
    return None


def _array_tasks(id: str) -> int:
    """Return how many tasks an id such as `123_[4-9%2]` stands for."""
    _, bracket, inner = id.partition("_[")
    return numbers(f"[{inner}") if bracket else 1
