"""Telling whether a file is the one that was read."""

from __future__ import annotations

import os
from typing import NamedTuple


class FileMark(NamedTuple):
    """What changes with the content of a file."""

    inode: int
    size: int
    modified_ns: int


def file_mark(path: str) -> FileMark | None:
    """Return the mark of a regular file; None for a pipe or what is not there. O(1)."""
    if not os.path.isfile(path):
        return None
    status = os.stat(path)
    return FileMark(status.st_ino, status.st_size, status.st_mtime_ns)
