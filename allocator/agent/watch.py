"""What grows in sandboxes: output is kept short, and disk is counted against what was asked for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from allocator.agent.fetching import Bound
from allocator.agent.instructions import Container, Limitation
from allocator.agent.runtime import Runtime
from allocator.resources import Resources

_LOG = logging.getLogger("allocator.agent")

_OUTPUTS: Final = ("stdout", "stderr")
_BLOCK_BYTES: Final = 512
_MB: Final = 2**20


class WatchOptions(NamedTuple):
    """What the command line says of it; sizes in bytes, times in seconds."""

    interval: float = 15.0
    enforces_disk: bool = True
    log_size: int = 10 * _MB
    log_keep: int = 9
    #: Of what is fetched for a container that asked for no disk.
    fetch_limit: int = 4096 * _MB


class _Disk:
    """What a container asked for and what it has, in bytes; None where nothing is known."""

    __slots__ = ("container", "limit", "used")

    def __init__(self, container: Container) -> None:
        self.container = container
        self.limit = disk_limit(container)
        self.used: int | None = None


class Watch:
    """Looks at the sandboxes of containers from time to time.

    Parameters
    ----------
    runtime : Runtime
    containers : mapping
        Those that are not gone.
    options : WatchOptions
    """

    def __init__(
        self, runtime: Runtime, containers: dict[str, Container], options: WatchOptions
    ) -> None:
        self._runtime = runtime
        self._containers = containers
        self._options = options
        self._disks: dict[str, _Disk] = {}

    async def run(self) -> None:
        """Look for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._options.interval)
            for container in list(self._containers.values()):
                sandbox = self._runtime.directory(container)
                if sandbox is None:
                    continue
                try:
                    await loop.run_in_executor(None, self._look_at, container, sandbox)
                except OSError as error:
                    fields = {"container_id": container.id, "reason": str(error)}
                    _LOG.warning("sandbox cannot be watched", extra={"fields": fields})
                self._judge(container)
            for id in self._disks.keys() - self._containers.keys():
                del self._disks[id]

    def _disk(self, container: Container) -> _Disk:
        disk = self._disks.get(container.id)
        if disk is None or disk.container is not container:  # an id may be used again
            disk = self._disks[container.id] = _Disk(container)
        return disk

    def _look_at(self, container: Container, sandbox: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            for name in _OUTPUTS:
                rotate(sandbox, name, self._options.log_size, self._options.log_keep)
            disk = self._disk(container)
            if disk.limit is not None:
                disk.used = used_bytes(sandbox)

    def _judge(self, container: Container) -> None:
        """End a container that has more on the disk than it asked for."""
        limit, used = self._disk(container).limit, self._disk(container).used or 0
        if limit is None or used <= limit or not self._options.enforces_disk:
            return
        mb = limit / _MB
        message = f"Disk usage exceeded: the limit is {mb:g} MB, the sandbox has {used / _MB:g} MB"
        limitation = Limitation("REASON_CONTAINER_LIMITATION_DISK", message, {"disk": mb})
        self._runtime.limit(container.id, limitation)

    def statistics(self, container: Container) -> dict[str, Any]:
        """Return what is shown of a container's disk; nothing if it asked for none."""
        disk = self._disk(container)
        sandbox = None if disk.limit is None else self._runtime.directory(container)
        if sandbox is None:
            return {}
        if disk.used is None:
            disk.used = used_bytes(sandbox)
        return {"disk_limit_bytes": disk.limit, "disk_used_bytes": disk.used}

    def fetch_bound(self, container: Container) -> Bound:
        """Return what may be fetched for a container, which nobody looks at until it runs."""
        limit = disk_limit(container) if self._options.enforces_disk else None
        if limit is not None:
            return Bound(limit, "the disk that was asked for")
        return Bound(self._options.fetch_limit, "the --fetch-limit of this agent")


def disk_limit(container: Container) -> int | None:
    """Return the disk that a container asked for, in bytes."""
    given: Iterable[dict[str, Any]] = container.task.resources or ()
    if not any(each.get("name") == "disk" for each in given):
        return None
    mb = Resources(container.task.resources or []).quantities().get("disk", 0)
    return round(float(mb) * _MB) or None


def used_bytes(sandbox: Path) -> int:
    """Return what a folder and all below it take on the disk. O(files)."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for _, folders, files, folder in os.fwalk(sandbox):
        for name in (*folders, *files):
            with contextlib.suppress(FileNotFoundError):
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if (found.st_dev, found.st_ino) not in seen:
                    total += found.st_blocks * _BLOCK_BYTES
                if found.st_nlink > 1:
                    seen.add((found.st_dev, found.st_ino))
    return total


def rotate(sandbox: Path, name: str, size: int, keep: int) -> None:
    """Move what an output has into files NAME.1 (the newest) to NAME.KEEP, if it is over a size.

    Whoever writes goes on with the same file, so nothing waits and nothing breaks; what comes
    between the copy and the cut is lost. None of the files has more than the size.
    """
    folder = os.open(sandbox, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not _is_plain(found) or found.st_size <= size:
            return
        file = os.open(name, flags, dir_fd=folder)
        try:
            if not _is_plain(os.fstat(file)):  # another one, put there meanwhile
                return
            start = max(0, os.fstat(file).st_size - keep * size)
            for _ in range(keep + 1 if keep else 0):  # one more, for what comes meanwhile
                if start >= os.fstat(file).st_size:
                    break
                _make_room(folder, name, keep)
                start += _copy(file, start, size, folder, f"{name}.1")
            os.ftruncate(file, 0)
        finally:
            os.close(file)
    finally:
        os.close(folder)


def _is_plain(found: os.stat_result) -> bool:
    """Tell whether something is a task's own: no link to what is not, nor a second name of it."""
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _make_room(folder: int, name: str, keep: int) -> None:
    for number in range(keep - 1, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            old, new = f"{name}.{number}", f"{name}.{number + 1}"
            os.rename(old, new, src_dir_fd=folder, dst_dir_fd=folder)
    if keep == 1:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{name}.1", dir_fd=folder)


def _copy(file: int, start: int, size: int, folder: int, to: str) -> int:
    """Copy at most `size` bytes into a new file; return how many."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    owner = os.fstat(file)
    target = os.open(to, flags, 0o640, dir_fd=folder)
    n_copied = 0
    try:
        if os.geteuid() == 0:
            os.fchown(target, owner.st_uid, owner.st_gid)
        while n_copied < size:
            data = os.pread(file, min(_MB, size - n_copied), start + n_copied)
            if not data:
                break
            n_copied += os.write(target, data)
    finally:
        os.close(target)
    return n_copied
