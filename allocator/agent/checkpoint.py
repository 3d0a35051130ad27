"""What an agent knows after a restart: its id, its tasks, the statuses that it still has to tell.

    WORK/lock                        held while an agent runs
    WORK/meta/agents                 the ids that the master gave, as JSON
    WORK/meta/key                    what the tokens of executors are made with
    WORK/meta/containers/ID/notes    what happened to a task, one JSON object a line

Notes are appended and written before what follows from them is done. They are not forced to the
disk: a crash of the machine ends the tasks too. A last line that was torn is passed over.

On a full disk nothing is launched that cannot be noted. Of what runs already, statuses are told all
the same: how a program ended is in its record, for which there always is room.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from allocator.errors import AllocatorError
from allocator.wire.decode import encode

_LOG = logging.getLogger("allocator.agent")

#: Only the agent's user looks into its notes.
_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700
_KEY_BYTES: Final = 32


class WorkDirInUse(AllocatorError):
    """Another agent runs on the work dir."""


class Checkpoint:
    """The work dir of an agent, which it creates if need be, and which no other may use meanwhile.

    Raises
    ------
    WorkDirInUse
        Another agent holds it.
    OSError
        It cannot be written.
    """

    def __init__(self, work_dir: Path) -> None:
        self.work_dir = work_dir
        #: Where things are kept of each container, in a folder of its id.
        self.containers = work_dir / "meta" / "containers"
        work_dir.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(work_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise WorkDirInUse(
                f"--work-dir {work_dir}: another agent runs on it; give this one another folder"
            ) from None
        self.containers.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)

    def close(self) -> None:
        """Let another agent have the work dir."""
        os.close(self._lock)

    # Ids.

    def ids(self) -> list[str]:
        """Return the ids that were given, by the agent's number; none if nothing can be read."""
        try:
            ids = json.loads((self.work_dir / "meta" / "agents").read_bytes())
        except (OSError, ValueError):
            return []
        return ids if isinstance(ids, list) and all(isinstance(id, str) for id in ids) else []

    def keep_ids(self, ids: Sequence[str]) -> None:
        """Write down ids by the agent's number; an empty one is not given yet."""
        file = self.work_dir / "meta" / "agents"
        new = file.with_suffix(".new")
        new.write_bytes(encode(list(ids)))
        new.replace(file)

    def key(self) -> bytes:
        """Return what tokens are made with: secret, and the same as long as the work dir lasts."""
        file = self.work_dir / "meta" / "key"
        with contextlib.suppress(OSError):
            key = file.read_bytes()
            if len(key) == _KEY_BYTES:
                return key
        key = os.urandom(_KEY_BYTES)
        new = file.with_suffix(".new")
        new.touch(_FILE_MODE)
        new.write_bytes(key)
        new.replace(file)
        return key

    # Containers.

    def folder(self, container_id: str) -> Path:
        """Return where things are kept of a container."""
        return self.containers / container_id

    def note(self, container_id: str, entry: Mapping[str, object]) -> None:
        """Append what happened to a container."""
        folder = self.folder(container_id)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            file = os.open(folder / "notes", flags, _FILE_MODE)
        except FileNotFoundError:
            folder.mkdir(mode=_FOLDER_MODE)
            file = os.open(folder / "notes", flags, _FILE_MODE)
        try:
            line = encode(entry) + b"\n"
            n_written = os.write(file, line)
            if n_written < len(line):  # or what is noted later would be behind a torn line
                os.ftruncate(file, os.fstat(file).st_size - n_written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(file)

    def try_note(self, container_id: str, entry: Mapping[str, object]) -> bool:
        """Append what happened to a container; tell whether that could be done, and log if not."""
        try:
            self.note(container_id, entry)
        except OSError as error:
            fields = {"container_id": container_id, "reason": str(error)}
            _LOG.error("cannot be noted", extra={"fields": fields})
            return False
        return True

    def forget(self, container_id: str) -> None:
        """Keep nothing of a container."""
        shutil.rmtree(self.folder(container_id), ignore_errors=True)

    def load(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Yield each container's id and notes, the first launched first.

        There are no notes where not even the first makes sense.
        """
        with contextlib.suppress(FileNotFoundError):
            folders = sorted(self.containers.iterdir(), key=lambda path: path.stat().st_ctime_ns)
            for folder in folders:
                yield folder.name, _read_notes(folder / "notes")


def _read_notes(file: Path) -> list[dict[str, Any]]:
    """Return the notes up to the first that makes no sense."""
    entries: list[dict[str, Any]] = []
    try:
        lines = file.read_bytes().splitlines()
    except OSError:
        return entries
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if not isinstance(entry, dict):
            break
        entries.append(entry)
    return entries
