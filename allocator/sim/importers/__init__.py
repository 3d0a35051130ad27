"""Bring your cluster: dumps of other systems as what the lab runs on.

One room a system: it reads the source's own words into a `Source`, and `SYSTEMS` knows it. What
queues, work and machines become is decided in one place for all (`policy`, `placing`, `imported`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from allocator.errors import InvalidValue, shown
from allocator.sim.importers import kubernetes, mesos, slurm, yarn
from allocator.sim.importers.documents import Form, documents, files_of
from allocator.sim.importers.errors import DumpError
from allocator.sim.importers.imported import Imported
from allocator.sim.importers.options import Options, read_options
from allocator.sim.importers.policy import Role
from allocator.sim.importers.source import (
    NOT_MODELLED,
    UNKNOWN_FILES,
    Node,
    Source,
    Told,
    Work,
)

__all__ = [
    "SYSTEMS",
    "DumpError",
    "Imported",
    "Node",
    "Options",
    "Role",
    "System",
    "Told",
    "Work",
    "read",
]


@dataclass(frozen=True, slots=True)
class System:
    """One system whose dumps are read.

    Parameters
    ----------
    help : str
        What of it is read, in a few words.
    reader : callable
        Makes a reader of a `Source` and the options. It has `take(document)`, which reads a
        document and tells whether it knows it, and `finish()`, called when all were taken.
    plain : str
        What a file is that is neither JSON nor XML: `yaml` or `text`.
    items : bool
        Whether long lists of objects come one object at a time.
    options : frozenset of str
        Those of `Options` that only some systems know, and this one does.
    """

    help: str
    reader: Callable[[Source, Options], Any]
    plain: Form
    items: bool = False
    options: frozenset[str] = frozenset()


SYSTEMS: dict[str, System] = {
    "kubernetes": System(
        "nodes, pods, quotas, jobs, and the queues of Kueue, Volcano, YuniKorn, KAI, Armada and"
        " ElasticQuota",
        kubernetes.Reader,
        plain="yaml",
        items=True,
        options=frozenset(("role_label", "daemons_role", "split_flavors", "plugin", "partition")),
    ),
    "slurm": System(
        "scontrol, sinfo, squeue, sacct, sshare, sacctmgr, slurm.conf, slurmrestd",
        slurm.Reader,
        plain="text",
        options=frozenset(("partition",)),
    ),
    "yarn": System(
        "capacity-scheduler.xml, fair-scheduler.xml, what the ResourceManager answers",
        yarn.Reader,
        plain="text",
        options=frozenset(("user_limits",)),
    ),
    "mesos": System(
        "/state, /state-summary, /slaves, /frameworks, /roles, /quota, /weights,"
        " /maintenance/schedule, operator API",
        mesos.Reader,
        plain="text",
        options=frozenset(("frameworks", "taken")),
    ),
}


def read(
    system: str, paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], **options: Any
) -> Imported:
    """Read the dumps of a cluster.

    Parameters
    ----------
    system : str
        One of `SYSTEMS`.
    paths : path or iterable of paths
        Files and folders in any order, told apart by content, plain or gzip; `-` is standard input.
    **options
        Fields of `Options`: `entitlements`, `cluster`, `strict` and those of a system.

    Returns
    -------
    Imported

    Raises
    ------
    DumpError
        What cannot be read, or is of two clusters: with file and place, in one line.
    InvalidValue
        For an unknown system or option, and for names that would become one.
    OSError
        A file cannot be read. O(size of the files).
    """
    if system not in SYSTEMS:
        raise InvalidValue(f"{shown(system)} is no system: one of {', '.join(SYSTEMS)}")
    known = SYSTEMS[system]
    chosen = read_options(options, system, known.options)
    source = Source(system)
    reader = known.reader(source, chosen)
    named = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    files = list(files_of(named))
    unknown = [file for file in files if not _read_file(file, known, reader)]
    machines = chosen.machines()
    shown_files = files or [os.fspath(path) for path in named]
    where = ", ".join(shown_files[:3]) + ("" if len(shown_files) <= 3 else ", …")
    with _naming(lambda error: DumpError(where, "", error)):
        reader.finish()
    if source.is_empty():
        raise DumpError(where, "", f"nothing in it that is imported from {system}")
    for file in unknown:
        source.tell(UNKNOWN_FILES, f"files with nothing that is imported from {system}", file)
    with _naming(lambda error: DumpError(where, "", error)):
        imported = Imported(source, chosen.entitlements, machines)
    if chosen.strict:
        _refuse_told(imported.told)
    return imported


def _read_file(path: str, system: System, reader: Any) -> bool:
    """Have a reader take the documents of a file; tell whether it knew any of them."""
    known = False
    for document in documents(path, system.plain, items=system.items):
        with _naming(document.error):
            known = bool(reader.take(document)) or known
    return known


@contextmanager
def _naming(make: Callable[[object], DumpError]) -> Iterator[None]:
    """Make errors of what is wrong with a dump that say where, whatever it is."""
    try:
        yield
    except DumpError:
        raise
    except InvalidValue as error:
        raise make(error) from None
    except (AttributeError, LookupError, TypeError, ArithmeticError, ValueError) as error:
        raise make(f"not as such dumps are: {_short(error)}") from None
    except RecursionError:
        raise make("nested too deep") from None


def _short(error: Exception) -> str:
    return f"{type(error).__name__} {error}" if not isinstance(error, KeyError) else f"no {error}"


def _refuse_told(told: Iterable[Told]) -> None:
    """Raise for what is not modelled, or not understood."""
    for one in told:
        if one.kind in (NOT_MODELLED, UNKNOWN_FILES):
            where = one.objects[0] if one.objects else "the dump"
            raise DumpError(where, "", f"{one.kind}: {one.text} ({one.count} in all; --strict)")
