"""What a sweep has found so far, in a folder: an index in SQLite, and a file for each run."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from allocator.errors import InvalidValue
from allocator.sim.sweeps.grid import Point
from allocator.sim.sweeps.running import Outcome

INDEX = "index.sqlite"
RUNS = "runs"

DONE, FAILED = "done", "failed"

_TABLE = """
create table if not exists runs (
    id text primary key, point text, seed text, status text, error text, file text
)
"""


class Row(NamedTuple):
    """One run of the index."""

    id: str
    status: str
    error: str | None
    file: str | None


class Store:
    """The folder of a sweep.

    A run's file is there, whole, before the index says so: whatever ends the process, what the
    index knows is done.

    Parameters
    ----------
    folder : path
        Made if it is not there.

    Raises
    ------
    InvalidValue
        If it is a folder of something else, or its index is damaged.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        index = self.folder / INDEX
        if self.folder.exists() and not index.exists() and any(self.folder.iterdir()):
            raise InvalidValue(f"{self.folder}: is not empty, and no folder of a sweep")
        (self.folder / RUNS).mkdir(parents=True, exist_ok=True)
        self._index = sqlite3.connect(index)
        try:
            self._index.execute(_TABLE)
            self._index.execute("select id, status, error, file from runs limit 1")
        except sqlite3.DatabaseError as error:
            self._index.close()
            raise InvalidValue(f"{index}: {error}") from None

    def close(self) -> None:
        """Close the index."""
        self._index.close()

    def row(self, id: str) -> Row | None:
        """Return what is known of a run. O(log runs)."""
        query = "select id, status, error, file from runs where id = ?"
        with closing(self._index.execute(query, (id,))) as rows:
            found = rows.fetchone()
        return None if found is None else Row(*found)

    def add(self, id: str, point: Point, outcome: Outcome) -> Row:
        """Keep what became of a run. O(size)."""
        file = None
        if outcome.text is not None:
            file = f"{RUNS}/{id}.json"
            part = self.folder / f"{file}.part"
            part.write_text(outcome.text + "\n", encoding="utf-8")
            part.replace(self.folder / file)
        row = Row(id, FAILED if file is None else DONE, outcome.error, file)
        written = json.dumps(dict(point.changes), sort_keys=True, default=str)
        with self._index:
            self._index.execute(
                "insert or replace into runs values (?, ?, ?, ?, ?, ?)",
                (id, written, str(point.seed), row.status, row.error, row.file),
            )
        return row

    def result(self, row: Row) -> Mapping[str, Any]:
        """Return the result of a run that is done.

        Raises
        ------
        InvalidValue
            If its file is gone or damaged. O(size).
        """
        path = self.folder / str(row.file)
        try:
            found = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            what = error.strerror if isinstance(error, OSError) else str(error)
            raise InvalidValue(f"{path}: {what}") from None
        if not isinstance(found, dict):
            raise InvalidValue(f"{path}: no result of a run")
        return found
