"""Which format a file has, told by its first line that says something."""

import csv

from allocator.sim.cluster import looks_like_spec
from allocator.sim.errors import TraceError
from allocator.sim.readers import csv_dlrm, csv_openb, csv_philly, metacentrum, swf
from allocator.sim.readers.lines import Lines

TRACE_FORMATS = ("swf", "metacentrum", "openb", "dlrm", "philly")

_CSV_TRACES = {
    "openb": csv_openb.COLUMNS,
    "dlrm": csv_dlrm.COLUMNS,
    "philly": csv_philly.COLUMNS,
}
_CSV_MACHINES = {"openb": csv_openb.NODE_COLUMNS, "philly": csv_philly.MACHINE_COLUMNS}
_BLANK_SEPARATED = {swf.N_FIELDS: "swf", metacentrum.N_FIELDS: "metacentrum"}
_N_MACHINES_FIELDS = 6


def trace_format(path: str) -> str:
    """Return the format of a trace.

    Raises
    ------
    TraceError
        If the file cannot be read, or is none of the known formats. O(length of one line).
    """
    number, line = _first(path)
    if line.lstrip().startswith(";"):
        return "swf"
    found = _by_columns(line, _CSV_TRACES)
    if found is not None:
        return found
    fields = line.split()
    if len(fields) in _BLANK_SEPARATED and _is_number(fields[0]):
        return _BLANK_SEPARATED[len(fields)]
    if machines_format(path, line) is not None:
        raise TraceError(path, number, "a list of machines, not a trace: pass it with --machines")
    known = ", ".join(TRACE_FORMATS)
    raise TraceError(path, number, f"unknown format: not one of {known} (--format says which)")


def machines_format(path: str, line: str | None = None) -> str | None:
    """Return the format of a machines file, or None if it is none of the known ones.

    Raises
    ------
    TraceError
        If the file cannot be read. O(length of one line).
    """
    line = _first(path)[1] if line is None else line
    found = _by_columns(line, _CSV_MACHINES)
    if found is not None:
        return found
    if looks_like_spec(line.strip()):
        return "spec"
    fields = line.split()
    if len(fields) == _N_MACHINES_FIELDS and _is_number(fields[0]):
        return "metacentrum"
    return None


def _first(path: str) -> tuple[int, str]:
    lines = Lines(path)
    for line in lines:
        return lines.number, line
    raise TraceError(path, None, "the file has only blank lines")


def _by_columns(line: str, formats: dict[str, tuple[str, ...]]) -> str | None:
    names = {name.strip() for name in next(csv.reader([line]), [])}
    return next((form for form, columns in formats.items() if names >= set(columns)), None)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
