"""A cluster as it stood: its machines, what ran on them and what waited.

The one place where `cluster.json` is read, whatever wrote it: `[cluster] file` takes the machines
out of it, `[workload] cluster` the work.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from allocator.errors import InvalidValue, cut, shown
from allocator.files import Input
from allocator.resources.fixed import write_milli
from allocator.roles import DEFAULT_ROLE
from allocator.sim.cluster import MAX_MACHINES, Machine
from allocator.sim.scenario.kinds import (
    AMOUNTS,
    FLAG,
    ROLE,
    SOME,
    Key,
    Many,
    Named,
    Table,
    Value,
    duration,
    integer,
    text,
)
from allocator.sim.scenario.marks import FileMark, file_mark
from allocator.sim.scenario.problems import Place, ScenarioError, in_order
from allocator.sim.setting import Placed
from allocator.sim.trace import Job, Shape, Tasks, Tenant

#: So many jobs wait at most.
_MAX_JOBS = 10_000_000

_MACHINE = Table(
    {
        "id": Key(text("an id"), "the machine's id", required=True),
        "resources": Key(SOME, "what it has", required=True),
        "kind": Key(text("a kind"), "what jobs may ask for (none)"),
        "reserved": Key(Named(SOME, ROLE), "role -> what of it is reserved for it (nothing)"),
        "active": Key(FLAG, "whether anything new starts there (true)"),
        "state": Key(text("a state"), "why nothing new starts there"),
    }
)

_TASKS = {
    "tenant": Key(text("a name"), "whose they are", required=True),
    "role": Key(ROLE, "the tenant's role (its name)"),
    "demand": Key(AMOUNTS, "what each of them needs", required=True),
    "tasks": Key(integer(1, 2**31), "how many (1)"),
    "run_s": Key(duration(zero=False), "how long they run yet, in seconds (to the end)"),
}

_RUNNING = Table(
    {
        **_TASKS,
        "machine": Key(text("an id"), "where (wherever there is room)"),
        "fixed": Key(FLAG, "whether they belong to it: lost and back with it (false)"),
    }
)

_WAITING = Table(
    {
        **_TASKS,
        "id": Key(text("an id"), "the job's id"),
        "submit_s": Key(duration(zero=True), "when it is submitted, in seconds (0)"),
        "gang": Key(FLAG, "whether its tasks may start all at once only (true)"),
        "jobs": Key(integer(1, _MAX_JOBS), "how many such jobs (1)"),
    }
)

DUMP = Table(
    {
        "machines": Key(Many(_MACHINE), "all machines", required=True),
        "running": Key(Many(_RUNNING), "tasks that run, in the order in which they are placed"),
        "waiting": Key(Many(_WAITING), "jobs that wait"),
        "system": Key(Value(lambda value: value, "anything"), "what it was read from"),
        "told": Key(Value(lambda value: value, "anything"), "what was odd in it"),
    }
)


@dataclass(frozen=True, slots=True)
class Dump:
    """What a `cluster.json` says; jobs that ask for nothing are left out of `waiting`."""

    machines: tuple[Machine, ...]
    inactive: frozenset[str]
    tenants: Mapping[str, Tenant]
    placed: tuple[Placed, ...]
    waiting: tuple[Job, ...]


def dump_from(content: Any, name: str) -> Dump:
    """Return what a `cluster.json` of this content says; raises `ScenarioError`. O(size)."""
    inside = Place(name, {}, [], content)
    found = DUMP.read(content, inside)
    dump = None if inside.problems or found is None else _dump(found, inside)
    if dump is None:
        raise ScenarioError(in_order(inside.problems))
    return dump


def read_dump(path: str | Dump, place: Place) -> Dump | None:
    """Read a `cluster.json`, plain or gzip, once; one that was read already is as it is.

    What is wrong with the file as a whole is noted at `place`, what is wrong in it at its own keys.
    None if anything is. O(size).
    """
    if isinstance(path, Dump):
        return path
    mark = file_mark(path)
    dump = _last_read.get((path, mark))
    if dump is None:
        dump = _read(path, place)
        _last_read.clear()
        if dump is not None and mark is not None:
            _last_read[path, mark] = dump
    return dump


#: The file read last, with what changes when it does -> what it says: a scenario takes machines out
#: of it, and work.
_last_read: dict[tuple[str, FileMark | None], Dump] = {}


def _read(path: str, place: Place) -> Dump | None:
    try:
        with Input(path) as file:
            content = json.loads(file.read())
    except (OSError, InvalidValue, ValueError, RecursionError) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else cut(error)
        place.reject(f"{path}: {what}", "a cluster.json that can be read")
        return None
    inside = Place(path, {}, place.problems, content)
    n_before = len(place.problems)
    found = DUMP.read(content, inside)
    return _dump(found, inside) if len(place.problems) == n_before else None


def _dump(found: dict[str, Any], place: Place) -> Dump | None:
    machines = tuple(_machine(m) for m in found["machines"])
    if not 0 < len({machine.id for machine in machines}) == len(machines) <= MAX_MACHINES:
        place["machines"].reject(
            f"{len(machines)} machines", f"1 to {MAX_MACHINES} machines, each of its own id"
        )
        return None
    if not _reservations_fit(machines, place["machines"]):
        return None
    running, waiting = found.get("running", []), found.get("waiting", [])
    if not _places_fit(running, {machine.id for machine in machines}, place["running"]):
        return None
    if (n_jobs := sum(tasks.get("jobs", 1) for tasks in waiting)) > _MAX_JOBS:
        place["waiting"].reject(f"{n_jobs} jobs in all", f"at most {_MAX_JOBS}")
        return None
    return Dump(
        machines,
        frozenset(m["id"] for m in found["machines"] if not m.get("active", True)),
        {
            t["tenant"]: Tenant(t["tenant"], t.get("role", t["tenant"]))
            for t in (*waiting, *running)
        },
        tuple(_placed(tasks) for tasks in running),
        _jobs(waiting),
    )


def _machine(found: Mapping[str, Any]) -> Machine:
    reserved = tuple(found.get("reserved", {}).items())
    return Machine(found["id"], found["resources"], found.get("kind", ""), reserved)


def _reservations_fit(machines: Sequence[Machine], place: Place) -> bool:
    """Tell whether each machine has what it reserves; what it has not is noted."""
    fit = True
    for index, machine in enumerate(machines):
        sums: dict[str, int] = {}
        for role, amounts in machine.reserved:
            if role == DEFAULT_ROLE:
                fit = False
                place[index]["reserved"][role].reject("given", "none: nothing is reserved for *")
            for name, amount in amounts.milli.items():
                sums[name] = sums.get(name, 0) + amount
        for name, amount in sums.items():
            has = machine.resources.milli.get(name, 0)
            if amount > has:
                fit = False
                what = f"at most {name}:{write_milli(has)}, which machine {shown(machine.id)} has"
                found = f"{name}:{write_milli(amount)} in all"
                place[index]["reserved"].reject(found, what)
    return fit


def _places_fit(
    running: Sequence[Mapping[str, Any]], machines: Collection[str], place: Place
) -> bool:
    """Tell whether work runs on machines that there are; what does not is noted."""
    fit = True
    for index, tasks in enumerate(running):
        machine = tasks.get("machine")
        if machine is None and "fixed" in tasks:
            fit = False
            place[index]["fixed"].reject("given", "none without a machine")
        elif machine is not None and machine not in machines:
            fit = False
            place[index]["machine"].reject(shown(machine), "the id of one of the machines")
    return fit


def _placed(tasks: Mapping[str, Any]) -> Placed:
    return Placed(
        tasks["tenant"],
        tasks.get("machine"),
        tasks["demand"],
        tasks.get("tasks", 1),
        tasks.get("run_s", math.inf),
        tasks.get("fixed", False),
    )


def _jobs(waiting: Sequence[Mapping[str, Any]]) -> tuple[Job, ...]:
    """Return the jobs that wait, by submission."""
    jobs = [
        job
        for index, tasks in enumerate(waiting)
        if tasks["demand"].milli
        for job in _equal_jobs(tasks, tasks.get("id", f"waiting-{index}"))
    ]
    return tuple(sorted(jobs, key=lambda job: job.submit_s))


def _equal_jobs(tasks: Mapping[str, Any], id: str) -> Iterator[Job]:
    """Yield the jobs of an entry, which differ by their ids."""
    groups = (Tasks(tasks.get("tasks", 1), tasks["demand"]),)
    shape = Shape(groups, apart=not tasks.get("gang", True))
    submit_s, run_s = tasks.get("submit_s", 0.0), tasks.get("run_s", math.inf)
    n = tasks.get("jobs", 1)
    for index in range(n):
        own = id if n == 1 else f"{id}-{index}"
        yield Job(own, tasks["tenant"], submit_s, run_s, shape)
