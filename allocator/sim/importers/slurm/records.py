"""Slurm's text forms as records: `Key=value` blocks, columns between bars, columns of blanks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

#: What the records of `scontrol show` and the lines of slurm.conf begin with.
_BEGIN = re.compile(
    r"^\s*(NodeName|JobId|PartitionName|ReservationName|DownNodes)=", re.MULTILINE | re.IGNORECASE
)
_PAIR = re.compile(
    r"(?:^|(?<=\s))([A-Za-z][A-Za-z0-9_:/()\-]*)=(.*?)(?=\s+[A-Za-z][A-Za-z0-9_:/()\-]*=|\s*$)",
    re.DOTALL,
)
#: `scontrol show job -d` tells what a job holds of each machine.
_DETAIL = re.compile(r"\bNodes=(\S+)\s+CPU_IDs=(\S+)\s+Mem=(\S+)(?:\s+GRES=(\S*))?")


@dataclass(frozen=True, slots=True)
class Record:
    """One record: what kind it is, its pairs, and where it stands.

    Parameters
    ----------
    kind : str
        The key that it begins with, in lower case.
    pairs : dict
        Key, in lower case -> value.
    details : tuple
        Of a job: (hosts, CPU ids, MiB, gres) of machines.
    line : int
    """

    kind: str
    pairs: dict[str, str]
    details: tuple[tuple[str, str, str, str], ...]
    line: int


def records(text: str) -> Iterator[Record]:
    """Yield the records of `scontrol show`, on one line each or on many. O(length)."""
    begins = [match.start(1) for match in _BEGIN.finditer(text)]
    line, before = 1, 0
    ends = [*begins[1:], len(text)]
    for start, end in zip(begins, ends, strict=False):
        line += text.count("\n", before, start)
        before = start
        body = text[start:end]
        details = tuple(_DETAIL.findall(body))
        plain = _DETAIL.sub("", body)
        pairs: dict[str, str] = {}
        for key, value in _PAIR.findall(plain):
            pairs.setdefault(key.lower(), value.strip())
        yield Record(next(iter(pairs), ""), pairs, details, line)


def configuration(text: str) -> tuple[dict[str, str], list[Record]]:
    """Return the plain keys of slurm.conf, and its lines of nodes and partitions. O(length)."""
    plain: dict[str, str] = {}
    found: list[Record] = []
    pending, first = "", 1
    for number, line in enumerate(text.splitlines(), start=1):
        line = re.sub(r"(^|\s)#.*", "", line)
        first = first if pending else number
        pending += line
        if pending.rstrip().endswith("\\"):
            pending = pending.rstrip()[:-1] + " "
            continue
        pairs = {key.lower(): value.strip() for key, value in _PAIR.findall(pending.strip())}
        kind = next(iter(pairs), "")
        if kind in ("nodename", "partitionname"):
            found.append(Record(kind, pairs, (), first))
        else:
            plain.update(pairs)
        pending = ""
    return plain, found


def is_configuration(text: str) -> bool:
    """Tell whether a text is a slurm.conf. O(length)."""
    return bool(
        re.search(r"^\s*(ClusterName|SlurmctldHost|ControlMachine)\s*=", text, re.MULTILINE | re.I)
        or re.search(
            r"^\s*NodeName=\S+\s+(?!Arch)[^\n]*\b(CPUs|Sockets|Boards)=", text, re.M | re.I
        )
    ) and not re.search(r"\bCPUAlloc=|\bCPUTot=|^JobId=", text, re.MULTILINE)


def rows(text: str) -> list[list[str]]:
    """Return the rows of a table between bars, each cell trimmed on the right. O(length)."""
    found = []
    for line in text.splitlines():
        if line.strip() and "|" in line:
            cells = line.rstrip("\r\n").split("|")
            found.append([cell.rstrip() for cell in cells])
    return found
