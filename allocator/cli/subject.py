"""What commands look into: the snapshot of an engine, or a scenario, told apart by content."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from allocator.clock import ManualClock
from allocator.engine import Allocator
from allocator.errors import SnapshotError
from allocator.files import Input, Unreadable
from allocator.sim.scenario import SHIPPED, Scenario


def read_subject(name: str) -> Allocator | Scenario:
    """Return the engine of a snapshot, or the scenario of a file or of a shipped name.

    Parameters
    ----------
    name : str
        A file, plain or gzip, read once; `-` is standard input.

    Raises
    ------
    SnapshotError, ScenarioError, InvalidValue
        It is neither, or malformed; names the file. O(size).
    """
    if name in SHIPPED and not os.path.exists(name):
        return Scenario.load(name)
    with Input(name) as file:
        text = read_text(file)
        if text.lstrip().startswith("{"):
            return restored(text, file.name)
        return Scenario.from_text(text, file=file.name, base=os.path.dirname(name))


def restore(file: Input) -> Allocator:
    """Return the engine of a snapshot, whose clock stands still.

    Raises
    ------
    SnapshotError
        It is not JSON, or not a snapshot; names the file.
    """
    try:
        return restored(read_text(file), file.name)
    except Unreadable as error:
        raise SnapshotError(str(error)) from error


def read_text(file: Input) -> str:
    """Return all of an input; raises `Unreadable` that names it."""
    try:
        return file.read().decode("utf-8")
    except Unreadable as error:
        raise Unreadable(f"{file.name}: {error}") from error
    except UnicodeDecodeError as error:
        raise Unreadable(f"{file.name}: not UTF-8 text") from error


def restored(text: str, name: str) -> Allocator:
    """Return the engine of a snapshot; raises `SnapshotError` that calls it by a name."""
    try:
        snapshot = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SnapshotError(f"{name}: not JSON: {error}") from error
    if not isinstance(snapshot, Mapping):
        raise SnapshotError(f"{name}: a snapshot is a JSON object, not {type(snapshot).__name__}")
    try:
        return Allocator.restore(snapshot, clock=ManualClock())
    except SnapshotError as error:
        raise SnapshotError(f"{name}: {error}") from error
