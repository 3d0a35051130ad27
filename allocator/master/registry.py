"""What outlives the process: weights, quotas, agents, frameworks and maintenance, in SQLite.

One table of rows `(kind, key, value)`, the value as JSON: what a row means is known to whoever
writes and reads it. Changes are on the disk when `apply` returns.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from allocator.errors import AllocatorError
from allocator.master.instructions import Persist

#: Of the layout; a registry of another one is refused.
VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS facts (
    kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (kind, key)
) WITHOUT ROWID
"""


class RegistryError(AllocatorError):
    """A registry that cannot be read or written."""


class RegistryInUse(RegistryError):
    """A registry that another process has open."""


class Registry:
    """The registry in one file, which it creates if need be.

    Parameters
    ----------
    path : Path

    Raises
    ------
    RegistryError
        It is no registry, or of another version.
    RegistryInUse
        Another master has it open.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # Handed from thread to thread, one at a time.
            self._base = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise RegistryError(f"{path}: {error}") from None
        try:
            self._base.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = FULL")
            version = self._base.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, VERSION):
                raise RegistryError(f"{path}: of version {version}; this release reads {VERSION}")
            self._base.execute("BEGIN IMMEDIATE")
            self._base.execute(_SCHEMA)
            self._base.execute(f"PRAGMA user_version = {VERSION}")
            self._base.execute("COMMIT")
        except sqlite3.Error as error:
            self._base.close()
            # The lowest byte of a code is the error, the others say more of it.
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise RegistryInUse(f"{path}: another master has it open") from None
            raise RegistryError(f"{path}: {error}") from None

    def load(self, kind: str) -> dict[str, Any]:
        """Return the rows of a kind by key. O(rows)."""
        try:
            rows = self._base.execute("SELECT key, value FROM facts WHERE kind = ?", (kind,))
            return {key: msgspec.json.decode(value) for key, value in rows}
        except (sqlite3.Error, msgspec.DecodeError) as error:
            raise RegistryError(f"{self._path}: {error}") from None

    def apply(self, changes: Iterable[Persist]) -> None:
        """Write changes, all or none; they are on the disk when this returns.

        Raises
        ------
        RegistryError
            They could not be written: the disk is full, say.
        """
        try:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                for change in changes:
                    self._write(change)
                self._base.execute("COMMIT")
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise RegistryError(f"{self._path}: {error}") from None

    def _write(self, change: Persist) -> None:
        if change.value is None:
            self._base.execute(
                "DELETE FROM facts WHERE kind = ? AND key = ?", (change.table, change.key)
            )
        else:
            self._base.execute(
                "INSERT OR REPLACE INTO facts VALUES (?, ?, ?)",
                (change.table, change.key, msgspec.json.encode(change.value)),
            )

    def close(self) -> None:
        """Close the file. O(1)."""
        self._base.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
