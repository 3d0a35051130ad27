"""What a machine has: the resources that nobody names when the agent starts."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, Final

from allocator.errors import InvalidValue, ResourceError, shown
from allocator.resources import Resources

_MB: Final = 2**20


def resources(text: str | None, work_dir: Path) -> Resources:
    """Return the resources of an agent: those named, and of the others what is detected.

    cpus: the processors that the agent may use; mem: all but 1 GB, disk: all but 5 GB of the file
    system of the work dir, in MB, or half where there is little. A name with 0 means none.

    Raises
    ------
    InvalidValue
        The text is none of resources.
    """
    try:
        named = Resources(text or "")
    except ResourceError as error:
        raise InvalidValue(f"--resources {error}") from None
    detected = {
        "cpus": float(len(os.sched_getaffinity(0))),
        "mem": float(memory_mb()),
        "disk": float(disk_mb(work_dir)),
    }
    names = _named(text or "")
    return named + {name: amount for name, amount in detected.items() if name not in names}


def _named(text: str) -> set[str]:
    """Return the names in a text of resources, with those that have 0, of which nothing is left."""
    try:
        entries = json.loads(text)
    except ValueError:
        return {part.partition(":")[0].partition("(")[0].strip() for part in text.split(";")}
    found: set[str] = set()
    for entry in entries if isinstance(entries, list) else [entries]:
        found.update([entry["name"]] if "name" in entry else entry)
    return found


def memory_mb() -> int:
    """Return the memory to offer, in MB."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MB
    return total - 1024 if total >= 2048 else total // 2


def disk_mb(folder: Path) -> int:
    """Return the disk to offer, in MB."""
    while not folder.exists():
        folder = folder.parent
    system = os.statvfs(folder)
    total = system.f_blocks * system.f_frsize // _MB
    return total - 5120 if total >= 10240 else total // 2


def attributes(text: str | None) -> list[dict[str, Any]]:
    """Return attributes in their v1 JSON form: scalars, ranges or text.

    Raises
    ------
    InvalidValue
        A part of the text is no `name:value`.

    Examples
    --------
    >>> attributes("rack:a;size:4")[1]
    {'name': 'size', 'type': 'SCALAR', 'scalar': {'value': 4.0}}
    """
    found = []
    for part in filter(None, (part.strip() for part in (text or "").split(";"))):
        name, colon, value = (piece.strip() for piece in part.partition(":"))
        if not (name and colon and value):
            raise InvalidValue(f"--attributes {shown(part)}: is not name:value")
        found.append({"name": name, **_typed(part, value)})
    return found


def _typed(part: str, value: str) -> dict[str, Any]:
    if value.startswith("[") and value.endswith("]"):
        try:
            ends = [tuple(int(end) for end in piece.split("-")) for piece in value[1:-1].split(",")]
            ranges = [{"begin": begin, "end": end} for begin, end in ends]
        except ValueError:
            raise InvalidValue(f"--attributes {shown(part)}: no ranges such as [1-5]") from None
        return {"type": "RANGES", "ranges": {"range": ranges}}
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        return {"type": "SCALAR", "scalar": {"value": number}}
    return {"type": "TEXT", "text": {"value": value}}
