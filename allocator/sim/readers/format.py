"""What makes a trace format: one record each, kept by the module that reads it."""

import csv
from collections.abc import Callable
from dataclasses import dataclass

from allocator.sim.cluster import MachineGroup
from allocator.sim.readers.lines import Lines
from allocator.sim.readers.workload import Workload

#: Tells by a file's first line that is not blank whether it has a form.
Told = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class MachineList:
    """A form of files that list machines: how it is told, and what reads it."""

    told: Told
    read: Callable[[Lines], list[MachineGroup]]


@dataclass(frozen=True, slots=True)
class Format:
    """A form of traces.

    Parameters
    ----------
    name : str
        What `--format` calls it.
    help : str
        What it is, in a few words.
    told : callable
        Tells by a file's first line that is not blank whether it is one.
    read : callable
        Makes a workload of its lines.
    machines : MachineList or None
        The list of machines that is published with such traces.
    machines_suffix : str
        If not empty, such a trace says nothing about its machines: unless others are named, they
        stand in the file that has the trace's name, `.gz` left out, and this suffix.
    """

    name: str
    help: str
    told: Told
    read: Callable[[Lines], Workload]
    machines: MachineList | None = None
    machines_suffix: str = ""


def with_columns(columns: tuple[str, ...]) -> Told:
    """Return what tells a CSV file whose header has all of these columns."""

    def told(line: str) -> bool:
        try:
            names = {name.strip() for name in next(csv.reader([line]), [])}
        except csv.Error:
            return False
        return names >= set(columns)

    return told


def with_fields(n_fields: int) -> Told:
    """Return what tells a file of so many blank-separated fields a line, the first a number."""

    def told(line: str) -> bool:
        fields = line.split()
        return len(fields) == n_fields and _is_number(fields[0])

    return told


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
