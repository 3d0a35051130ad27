"""Reading traces and machines: one small module a format, chosen by content."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from allocator.errors import InvalidValue
from allocator.sim.cluster import MachineGroup, looks_like_spec, merged, parse_group, scaled
from allocator.sim.errors import TraceError
from allocator.sim.readers import csv_dlrm, csv_openb, csv_philly, metacentrum, swf
from allocator.sim.readers.detect import TRACE_FORMATS, machines_format, trace_format
from allocator.sim.readers.lines import Lines
from allocator.sim.readers.workload import Workload, in_order, of_any_kind, reshaped, without
from allocator.sim.trace import Trace

KINDS_UNKNOWN = "kind of machine asked for, but not known of the machines: left out"

__all__ = ["TRACE_FORMATS", "read_machines", "read_trace"]

_READERS: dict[str, Callable[[Lines], Workload]] = {
    "swf": swf.read,
    "metacentrum": metacentrum.read,
    "openb": csv_openb.read,
    "dlrm": csv_dlrm.read,
    "philly": csv_philly.read,
}


def read_trace(
    path: str,
    *,
    format: str | None = None,
    machines: str | Sequence[str] = (),
    scale: float = 1.0,
    lenient: bool = False,
) -> Trace:
    """Read a trace and the machines that it runs on.

    Parameters
    ----------
    path : str
        The trace, plain or gzip'ed.
    format : str, optional
        One of `TRACE_FORMATS`; by default the file's content decides.
    machines : str or sequence of str
        Machines files, or groups such as `20xcpus:80;mem:517018`. Without any, a MetaCentrum log
        takes the `.machines` file of its name, and other traces a default that
        `Trace.cluster_source` tells.
    scale : float
        How many machines of each kind there are for one that was stated.
    lenient : bool
        Skip and count malformed lines.

    Raises
    ------
    TraceError
        If a file cannot be read or used; it names the file and the line.
    InvalidValue
        If `format`, `scale` or a machine group is malformed. O(size of the files).
    """
    if format is not None and format not in _READERS:
        raise InvalidValue(f"format {format!r}: not one of {', '.join(TRACE_FORMATS)}")
    form = format or trace_format(path)
    lines = Lines(path, lenient=lenient)
    workload = _READERS[form](lines)
    if not workload.jobs:
        raise TraceError(path, None, "no job in it can be run")
    workload.defects.update(lines.defects)
    named = [machines] if isinstance(machines, str) else list(machines)
    if form == "metacentrum" and not named:
        named = _beside(path)
    if named or workload.default_cluster is None:
        cluster = read_machines(named, lenient=lenient, defects=workload.defects)
        source = ", ".join(named)
    else:
        cluster, source = workload.default_cluster(workload.jobs)
    _drop_unknown(workload, cluster)
    jobs, origin = in_order(workload)
    return Trace(
        name=Path(path).name,
        format=form,
        jobs=jobs,
        tenants=workload.tenants,
        cluster=scaled(cluster, scale),
        cluster_source=source + (f"; scaled by {scale:g}" if scale != 1 else ""),
        defects={what: n for what, n in workload.defects.items() if n},
        notes=tuple(workload.notes),
        end_s=None if workload.end_s is None else workload.end_s - origin,
    )


def read_machines(
    named: Sequence[str], *, lenient: bool = False, defects: Counter[str] | None = None
) -> tuple[MachineGroup, ...]:
    """Read machine groups, each written out or in a file of a known form.

    Lines that a lenient reading skips are added to `defects`.

    Raises
    ------
    TraceError
        If a file cannot be read or used; it names the file and the line.
    InvalidValue
        If a group written out is malformed. O(size of the files).
    """
    groups: list[MachineGroup] = []
    for name in named:
        if looks_like_spec(name):
            groups.append(parse_group(name))
            continue
        lines = Lines(name, lenient=lenient)
        groups += _from_file(lines)
        if defects is not None:
            defects.update(lines.defects)
    return merged(groups)


def _from_file(lines: Lines) -> list[MachineGroup]:
    form = machines_format(lines.path)
    if form is None:
        raise TraceError(lines.path, 1, "not a machines file of a known form")
    groups = _MACHINE_READERS[form](lines)
    if not groups:
        raise TraceError(lines.path, None, "no machine in it")
    return groups


def _beside(path: str) -> list[str]:
    """Return the machines file that goes with a MetaCentrum log, if it is there."""
    name = path.removesuffix(".gz") + ".machines"
    if not Path(name).is_file():
        raise TraceError(name, None, "missing machines file (--machines names another)")
    return [name]


def _drop_unknown(workload: Workload, cluster: Sequence[MachineGroup]) -> None:
    """Leave out wishes that this cluster's description cannot answer."""
    known = {name for group in cluster for name in group.resources.milli}
    unknown = workload.optional - known
    if unknown:
        workload.jobs, changed = reshaped(workload.jobs, lambda shape: without(shape, unknown))
        names = ", ".join(sorted(unknown))
        workload.defects[f"{names} asked for, but not known of the machines: left out"] += changed
    if not any(group.kind for group in cluster):
        workload.jobs, changed = reshaped(workload.jobs, of_any_kind)
        workload.defects[KINDS_UNKNOWN] += changed


def _read_specs(lines: Lines) -> list[MachineGroup]:
    groups = []
    for line in lines:
        try:
            groups.append(parse_group(line))
        except InvalidValue as error:
            lines.reject(str(error))
    return groups


_MACHINE_READERS: dict[str, Callable[[Lines], list[MachineGroup]]] = {
    "spec": _read_specs,
    "metacentrum": metacentrum.read_machines,
    "openb": csv_openb.read_machines,
    "philly": csv_philly.read_machines,
}
