"""Reading traces and machines: one small module a format, chosen by content."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from allocator.errors import InvalidValue, shown
from allocator.files import STDIN
from allocator.sim.cluster import (
    MachineGroup,
    check_size,
    looks_like_spec,
    merged,
    parse_group,
    scaled,
)
from allocator.sim.errors import TraceError
from allocator.sim.readers import csv_dlrm, csv_openb, csv_philly, metacentrum, swf
from allocator.sim.readers.format import Format, MachineList
from allocator.sim.readers.lines import Lines
from allocator.sim.readers.workload import Workload, in_order, of_any_kind, reshaped, without
from allocator.sim.trace import Trace

KINDS_UNKNOWN = "kind of machine asked for, but not known of the machines: left out"

__all__ = ["FORMATS", "TRACE_FORMATS", "read_machines", "read_trace"]

#: Name -> the format. A new one is a module and a line here (docs/change.md).
FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        swf.FORMAT,
        metacentrum.FORMAT,
        csv_openb.FORMAT,
        csv_dlrm.FORMAT,
        csv_philly.FORMAT,
    )
}

TRACE_FORMATS = tuple(FORMATS)


def read_trace(
    path: str,
    *,
    format: str | None = None,
    machines: str | Sequence[str] = (),
    scale: float = 1.0,
    lenient: bool = False,
) -> Trace:
    """Read a trace and the machines that it runs on, each file once.

    Parameters
    ----------
    path : str
        The trace, plain or gzip'ed; `-` is standard input.
    format : str, optional
        One of `TRACE_FORMATS`; by default the file's content decides.
    machines : str or sequence of str
        Machines files, `-` among them, or groups such as `20xcpus:80;mem:517018`. Without any, a
        MetaCentrum log takes the `.machines` file of its name, and other traces a default that
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
        If `format`, `scale` or a machine group is malformed, there would be too many machines, or
        standard input is to be read twice. O(size of the files).
    """
    if format is not None and format not in FORMATS:
        raise InvalidValue(f"format {shown(format)}: not one of {', '.join(TRACE_FORMATS)}")
    named = [machines] if isinstance(machines, str) else list(machines)
    if [path, *named].count(STDIN) > 1:
        raise InvalidValue("standard input can be read once only: - is named more than once")
    with Lines(path, lenient=lenient) as lines:
        form = _told(lines) if format is None else FORMATS[format]
        lines.first()
        workload = form.read(lines)
        if not workload.jobs:
            raise TraceError(lines.path, None, "no job in it can be run")
        named = named or _beside(path, form)
        cluster, source = _cluster(named, workload, lines)
    workload.defects.update(lines.defects)
    _drop_unknown(workload, cluster)
    jobs, origin = in_order(workload)
    return Trace(
        name=Path(lines.path).name,
        format=form.name,
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
        with Lines(name, lenient=lenient) as lines:
            groups += _from_file(lines)
        if defects is not None:
            defects.update(lines.defects)
    return merged(groups)


def _told(lines: Lines) -> Format:
    """Return the format of a trace, told by its first line."""
    line = lines.first()
    for form in FORMATS.values():
        if form.told(line):
            return form
    if any(form.told(line) for form in _MACHINE_LISTS):
        what = "a list of machines, not a trace: pass it with --machines"
    else:
        what = f"unknown format: not one of {', '.join(FORMATS)} (--format says which)"
    raise TraceError(lines.path, lines.number, what)


def _from_file(lines: Lines) -> list[MachineGroup]:
    line = lines.first()
    form = next((form for form in _MACHINE_LISTS if form.told(line)), None)
    if form is None:
        raise TraceError(lines.path, lines.number, "not a machines file of a known form")
    groups = form.read(lines)
    if not groups:
        raise TraceError(lines.path, None, "no machine in it")
    return groups


def _beside(path: str, form: Format) -> list[str]:
    """Return the machines file that must stand beside a trace of this format, if any must."""
    if not form.machines_suffix:
        return []
    name = path.removesuffix(".gz") + form.machines_suffix
    if path == STDIN:
        raise TraceError("stdin", None, f"{form.name} needs a machines file (--machines names it)")
    if not Path(name).is_file():
        raise TraceError(name, None, "missing machines file (--machines names another)")
    return [name]


def _cluster(
    named: list[str], workload: Workload, lines: Lines
) -> tuple[tuple[MachineGroup, ...], str]:
    """Return the machines, named or by default, and where they come from."""
    if named or workload.default_cluster is None:
        cluster = read_machines(named, lenient=lines.lenient, defects=workload.defects)
        source = ", ".join("stdin" if name == STDIN else name for name in named)
        check_size(cluster, source)
        return cluster, source
    try:
        cluster, source = workload.default_cluster(workload.jobs)
        check_size(cluster, source)
    except InvalidValue as error:
        raise TraceError(lines.path, None, str(error)) from None
    return cluster, source


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


_MACHINE_LISTS = (
    MachineList(lambda line: looks_like_spec(line.strip()), _read_specs),
    *(form.machines for form in FORMATS.values() if form.machines is not None),
)
