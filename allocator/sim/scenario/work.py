"""Where the work of a scenario comes from: a trace, a built-in workload, a dump, or draws."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from allocator.errors import InvalidRole, InvalidValue, shown
from allocator.files import STDIN
from allocator.roles import DEFAULT_ROLE, validate_role
from allocator.sim.cluster import MachineGroup, looks_like_spec
from allocator.sim.errors import TraceError
from allocator.sim.readers import read_trace
from allocator.sim.scenario.distributions import Durations, TaskCounts
from allocator.sim.scenario.dump import Dump, read_dump
from allocator.sim.scenario.grammar import MAX_JOBS, MAX_TENANTS
from allocator.sim.scenario.kinds import Found
from allocator.sim.scenario.marks import file_mark
from allocator.sim.scenario.problems import Place
from allocator.sim.scenario.synthetic import Template, jobs_of
from allocator.sim.setting import Placed
from allocator.sim.trace import Job, Tenant, Trace
from allocator.sim.workloads import workload

#: The keys of `[workload]` of which there is exactly one; a cluster may have tenants beside it.
SOURCES = ("trace", "builtin", "cluster", "tenant")


@dataclass(frozen=True, slots=True)
class Work:
    """Who asks for what and when.

    Parameters
    ----------
    tenants : mapping
        Tenant name -> tenant.
    make : callable
        Returns the jobs, as a trace; its cluster is the work's own, if it has one.
    cluster : tuple of MachineGroup, optional
        The machines that come with it.
    cluster_source : str
        Where they come from.
    templates : tuple of (int, Template)
        Synthetic tenants, each with its position in the scenario.
    placed : tuple of Placed
        What runs when the run begins.
    is_whole : bool
        False if there are tenants whose names are unfit, and noted as such.
    """

    tenants: Mapping[str, Tenant]
    make: Callable[[], Trace]
    cluster: tuple[MachineGroup, ...] | None = None
    cluster_source: str = ""
    templates: tuple[tuple[int, Template], ...] = ()
    placed: tuple[Placed, ...] = ()
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Given:
    """What of a scenario its work depends on, besides `[workload]`.

    Parameters
    ----------
    base : str
        The folder that names of files are relative to.
    title : str
    seed : int or str
    horizon_s : float
        Infinite without one.
    groups : tuple of MachineGroup or None
        The machines of `[cluster]`, scaled; None if it states none.
    scale : float
        For machines that come with the work.
    """

    base: str
    title: str
    seed: int | str
    horizon_s: float
    groups: tuple[MachineGroup, ...] | None
    scale: float


def within(base: str, path: str) -> str:
    """Return a path of a scenario as one that can be opened; standard input as it is."""
    return path if path == STDIN else os.path.join(base, path)


def read_work(table: Found, place: Place, given: Given) -> Work | None:
    """Return the work of `[workload]`; None, and noted why, if it has none that is fit."""
    named = [name for name in SOURCES if name in table.names]
    if len(named) != 1 and named != ["cluster", "tenant"]:
        found = " and ".join(named) or "none of them"
        place.reject(found, "exactly one of trace, builtin, cluster and [[workload.tenant]]")
        return None
    for name in ("format", "machines", "lenient"):
        if name in table and named != ["trace"]:
            place[name].reject(f"given for {named[0]}", "none: it goes with a trace")
    if not table.keys() >= set(named):
        return None  # noted already
    load = table.get("load", 1.0)
    if named == ["trace"]:
        return _recorded(_trace(table, place, given), load)
    if named == ["builtin"]:
        try:
            return _recorded(workload(table["builtin"], given.scale), load)
        except InvalidValue as error:
            place["builtin"].reject(str(error), "fewer machines")
            return None
    return _drawn(table, place, given, load)


# Recorded work.


def _recorded(trace: Trace | None, load: float) -> Work | None:
    if trace is None:
        return None
    make = partial(_under_load, trace, load)
    return Work(trace.tenants, make, trace.cluster, trace.cluster_source)


def _under_load(trace: Trace, load: float) -> Trace:
    """Return a trace under a load; its recorded starts have no meaning under another than 1."""
    if load == 1:
        return trace
    jobs = tuple(
        replace(job, submit_s=job.submit_s / load, recorded_start_s=None) for job in trace.jobs
    )
    end_s = None if trace.end_s is None else trace.end_s / load
    notes = (*trace.notes, f"submission times are divided by {load:g}")
    return replace(trace, jobs=jobs, end_s=end_s, notes=notes)


def _trace(table: Mapping[str, Any], place: Place, given: Given) -> Trace | None:
    source = table["trace"]
    if isinstance(source, Trace):
        return source
    if given.groups is not None and "machines" in table:
        place["machines"].reject("given", "none beside the machines of [cluster]")
        return None
    path = within(given.base, source)
    named = _machines(table, place["machines"], given.base)
    if named is None and _is_there(path):
        return None
    machines = [str(group) for group in given.groups or ()] or named or ()
    try:
        return _read_once(
            path,
            table.get("format"),
            tuple(machines),
            # The machines of [cluster] are scaled already.
            given.scale if given.groups is None else 1.0,
            table.get("lenient", False),
        )
    except (TraceError, InvalidValue) as error:
        place["trace"].reject(error, "a trace that can be read")
        return None


def _machines(table: Mapping[str, Any], place: Place, base: str) -> list[str] | None:
    """Return the files and groups of a trace's machines; None, and noted, if a file is missing."""
    named = [
        name if looks_like_spec(name) else within(base, name) for name in table.get("machines", ())
    ]
    missing = [at for at, name in enumerate(named) if not _is_there(name)]
    for at in missing:
        place.deeper(at).reject(f"{named[at]}: no such file", "a file, or a group of machines")
    return None if missing else named


def _is_there(name: str) -> bool:
    """Tell whether a name is of a file that there is, standard input, or a group of machines."""
    return looks_like_spec(name) or name == STDIN or os.path.exists(name)


def _read_once(
    path: str, format: str | None, machines: tuple[str, ...], scale: float, lenient: bool
) -> Trace:
    """Read a trace, or take it as it was read last, if none of its files has changed."""
    marks = [file_mark(name) for name in (path, f"{path.removesuffix('.gz')}.machines", *machines)]
    read = _read if marks[0] is not None else _read.__wrapped__
    return read(path, format, machines, scale, lenient, tuple(marks))


@lru_cache(maxsize=2)
def _read(
    path: str,
    format: str | None,
    machines: tuple[str, ...],
    scale: float,
    lenient: bool,
    marks: tuple[object, ...],
) -> Trace:
    return read_trace(path, format=format, machines=machines, scale=scale, lenient=lenient)


# Drawn work, and what stood in a cluster.


def _drawn(table: Mapping[str, Any], place: Place, given: Given, load: float) -> Work | None:
    tables = table.get("tenant", ())
    templates = _templates(tables, place["tenant"], given.horizon_s)
    tenants: dict[str, Tenant] = {}
    placed: tuple[Placed, ...] = ()
    waiting: tuple[Job, ...] = ()
    if "cluster" in table:
        named = table["cluster"]
        path = named if isinstance(named, Dump) else within(given.base, named)
        dump = read_dump(path, place["cluster"])
        if dump is None:
            return None
        tenants.update(dump.tenants)
        placed, waiting = dump.placed, dump.waiting
    n_tenants = sum(template.copies for _, template in templates)
    if n_tenants > MAX_TENANTS:
        place["tenant"].reject(f"{n_tenants} tenants in all", f"at most {MAX_TENANTS}")
        return None
    _check_names(templates, tenants, place["tenant"])
    end_s = given.horizon_s * load
    expected = sum(t.copies * t.expected_jobs(end_s) for _, t in templates)
    if expected > MAX_JOBS:
        place["tenant"].reject(f"{expected:.0f} jobs in all", f"at most {MAX_JOBS}")
    drawn = tuple(template for _, template in templates)
    make = partial(_draw, given, load, drawn, tenants, waiting)
    is_whole = all(map(_has_names, tables))
    return Work(tenants, make, templates=tuple(templates), placed=placed, is_whole=is_whole)


def _has_names(table: Found | None) -> bool:
    """Tell whether the names of a table's tenants are fit."""
    return (
        table is not None and "name" in table and ("copies" in table) >= ("copies" in table.names)
    )


def _draw(
    given: Given,
    load: float,
    templates: tuple[Template, ...],
    tenants: Mapping[str, Tenant],
    waiting: tuple[Job, ...],
) -> Trace:
    jobs = jobs_of(templates, given.seed, given.horizon_s, load)
    if waiting:
        jobs = tuple(sorted((*waiting, *jobs), key=lambda job: job.submit_s))
    return Trace(given.title, "synthetic" if templates else "cluster", jobs, tenants, (), "")


def _check_names(
    templates: Sequence[tuple[int, Template]], tenants: dict[str, Tenant], place: Place
) -> None:
    """Add the tenants of templates to `tenants`; note names given twice, or that are no role."""
    for index, template in templates:
        for tenant in template.tenants():
            if tenant.name in tenants:
                place[index]["name"].reject(shown(tenant.name), "a name that no other tenant has")
                break
            tenants[tenant.name] = tenant
            try:
                validate_role(tenant.role)
            except InvalidRole as error:
                place[index]["name"].reject(error, "a role path, or a role beside the name")
                break


def _templates(
    tables: Sequence[Found | None], place: Place, horizon_s: float
) -> list[tuple[int, Template]]:
    """Return the templates of `[[workload.tenant]]`, without those that have no name."""
    if not tables:
        return []
    found = [
        (index, None if table is None else _template(table, place[index], horizon_s))
        for index, table in enumerate(tables)
    ]
    return [(index, template) for index, template in found if template is not None]


def _template(table: Found, place: Place, horizon_s: float) -> Template | None:
    """Return what a table says, None without a name; what is unfit is noted, and stands in.

    So that what is fit is checked, too: nothing is drawn from a template that is unfit.
    """
    fits = _check_arrivals(table, place, horizon_s)
    if "name" not in table:
        return None
    return Template(
        name=table["name"],
        role=table.get("role", DEFAULT_ROLE if "role" in table.names else None),
        copies=table.get("copies", 1),
        n_jobs=table.get("jobs") if fits else 1,
        start_s=table.get("start", 0.0),
        arrivals=table.get("arrivals", "poisson"),
        rate=table.get("rate", 0.0),
        tasks=table.get("tasks", TaskCounts((1,))),
        demands=tuple(table.get("demand", ())),
        durations=table.get("duration", Durations("constant", 1.0)),
    )


def _check_arrivals(table: Found, place: Place, horizon_s: float) -> bool:
    """Tell whether a table is fit and says when jobs come and end; note what of that is not."""
    at_once = table.get("arrivals") == "at-once"
    has_rate = "rate" in table.names
    endless = "jobs" not in table.names and (at_once or math.isinf(horizon_s))
    if at_once and has_rate:
        place["rate"].reject("given", "none where jobs come at once")
    if not at_once and not has_rate:
        place["rate"].reject("nothing", 'a rate such as "20/h", or arrivals = "at-once"')
    if endless:
        place["jobs"].reject("nothing", "a number of jobs" + ("" if at_once else ", or a horizon"))
    return not endless and at_once != has_rate and table.keys() >= table.names
