"""Removing the sandboxes of tasks that ended long ago.

The time of a sandbox's folder is that of its task's end, or of a change in it since.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

_LOG = logging.getLogger("allocator.agent")

#: How often is looked for old ones at most, in seconds.
_PERIOD_SECONDS: Final = 3600.0


async def sweep_for_ever(
    work_dir: Path, delay_seconds: float, is_in_use: Callable[[str], bool]
) -> None:
    """Remove sandboxes that nobody uses and that are old enough, now and from time to time.

    Parameters
    ----------
    work_dir : Path
    delay_seconds : float
        How old.
    is_in_use : callable
        Tells of a container's id whether its task is not over yet.
    """
    loop = asyncio.get_running_loop()
    while True:
        found = await loop.run_in_executor(None, lambda: list(old_ones(work_dir, delay_seconds)))
        for sandbox in found:
            if not is_in_use(sandbox.name):
                await loop.run_in_executor(None, remove, sandbox)
                _LOG.info("sandbox removed", extra={"fields": {"directory": str(sandbox)}})
        await asyncio.sleep(min(max(delay_seconds, 1.0), _PERIOD_SECONDS))


def old_ones(work_dir: Path, delay_seconds: float) -> Iterator[Path]:
    """Yield the sandboxes that have not changed for so many seconds. O(sandboxes)."""
    before = time.time() - delay_seconds
    for sandbox in work_dir.glob("agents/*/frameworks/*/executors/*/runs/*"):
        with contextlib.suppress(OSError):
            if not sandbox.is_symlink() and sandbox.stat().st_mtime <= before:
                yield sandbox


def remove(sandbox: Path) -> None:
    """Remove a sandbox, the link that leads to it, and the folders above that are empty then."""
    shutil.rmtree(sandbox, ignore_errors=True)
    latest = sandbox.parent / "latest"
    with contextlib.suppress(OSError):
        if latest.readlink() == Path(sandbox.name):
            latest.unlink()
        # runs, the task's, executors, the framework's
        for folder in list(sandbox.parents)[:4]:
            folder.rmdir()
