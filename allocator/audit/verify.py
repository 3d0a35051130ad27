"""Replaying: the calls of a log made again, and what comes of each compared."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import IO, Any

from allocator.audit.calls import CLOSE, OUTCOME, Json, perform
from allocator.audit.records import Record, Records
from allocator.clock import ManualClock
from allocator.engine import Allocator
from allocator.errors import InvalidValue, SnapshotError
from allocator.files import Input

#: Part of an outcome that is a list → what one of it is called.
_KINDS = {"rescinded": "rescinded offer", "offers": "offer", "inverse": "inverse offer"}

#: The least progress that is worth telling, as a part of the whole.
_STEP = 0.005


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a replay came out otherwise than the log says.

    `what` names the part of the outcome; `logged` and `replayed` are what it is, as JSON, None
    where there is none.
    """

    line: int
    call: str
    what: str
    logged: Any
    replayed: Any

    def __str__(self) -> str:
        return (
            f"{self.call}(): {self.what}: logged {_text(self.logged)},"
            f" replayed {_text(self.replayed)}"
        )


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay found.

    Parameters
    ----------
    calls, cycles, offers : int
        How many came out as logged, refused calls and inverse offers included.
    closed : bool
        Whether the log ends as one that was closed does, so that no last lines are missing.
    cut_off : int or None
        The line of a last record that was written only in part, and is left out.
    difference : Difference or None
        The first, at which the replay ends.
    """

    calls: int
    cycles: int
    offers: int
    closed: bool
    cut_off: int | None
    difference: Difference | None

    def __str__(self) -> str:
        counts = {"call": self.calls, "cycle": self.cycles, "offer": self.offers}
        return ", ".join(f"{n:,} {what}{'' if n == 1 else 's'}" for what, n in counts.items())


def replay(
    log: str | os.PathLike[str] | IO[bytes], *, progress: Callable[[float], None] | None = None
) -> Replay:
    """Make the calls of a log again, and compare what comes of each.

    Parameters
    ----------
    log : path or binary stream
        What `AuditLog` wrote, gzip'ed or not; `-` is standard input.
    progress : callable, optional
        Called now and then with the part of the file that was read, from 0 to 1; not for a stream
        or a pipe.

    Returns
    -------
    Replay
        With the first difference, if there is one.

    Raises
    ------
    AuditError
        Malformed, of another version, or without a whole header; names file and line.
    OSError
        It cannot be read.

    Notes
    -----
    Takes as long as the engine takes for the calls, and memory for the engine and one line.

    Examples
    --------
    >>> import io
    >>> from allocator.audit import AuditLog
    >>> out = io.StringIO()
    >>> with AuditLog(Allocator(seed=7), out) as engine:
    ...     engine.add_agent("a1", "cpus:8;mem:16384")
    ...     engine.add_framework("spark")
    ...     offers = engine.allocate()
    >>> print(replay(io.BytesIO(out.getvalue().encode())))
    3 calls, 1 cycle, 1 offer
    >>> changed = out.getvalue().replace('"resources":"cpus:8', '"resources":"cpus:6', 1)
    >>> found = replay(io.BytesIO(changed.encode())).difference
    >>> found.line, found.what
    (4, 'offer 1 (resources)')
    """
    with Input(log) as file:
        told = 0.0

        def tell() -> None:
            nonlocal told
            part = file.part_read() if progress is not None else None
            if progress is not None and part is not None and part - told >= _STEP:
                told = part
                progress(part)

        return _replay(Records(file), tell)


def _replay(records: Records, tell: Callable[[], None]) -> Replay:
    snapshot, start = records.header()
    clock = ManualClock(start)
    try:
        engine = Allocator.restore(snapshot, clock=clock)
    except SnapshotError as error:
        raise records.error(str(error)) from None
    calls = cycles = offers = 0
    closed = False
    difference = None
    for record in records:
        if closed:
            raise records.error("a record after the log was closed")
        try:
            clock.advance_to(record.at)
        except InvalidValue:
            raise records.error(f"time runs back from {clock()!r} to {record.at!r}") from None
        if record.call == CLOSE:
            closed = True
            continue
        _, refusal, outcome = perform(engine, record.call, record.args)
        if outcome != record.outcome:
            difference = _first_difference(records.line, record, outcome, refusal)
            break
        calls += 1
        cycles += record.call == "allocate" and refusal is None
        offers += len(outcome.get("offers", ())) + len(outcome.get("inverse", ()))
        tell()
    return Replay(calls, cycles, offers, closed, records.cut_off, difference)


def _first_difference(
    line: int, record: Record, outcome: Json, refusal: Exception | None
) -> Difference:
    """Return the first of what differs between a record's outcome and another one."""
    field = next(f for f in OUTCOME if record.outcome.get(f) != outcome.get(f))
    logged, replayed = record.outcome.get(field), outcome.get(field)
    what = field
    if field == "error" and refusal is not None:
        what = f"error ({refusal})"
    elif field == "offer":
        what += _where(logged, replayed)
    elif field != "error":
        pairs = enumerate(zip_longest(logged or (), replayed or ()), start=1)
        number, (logged, replayed) = next((n, pair) for n, pair in pairs if pair[0] != pair[1])
        what = f"{_KINDS[field]} {number}{_where(logged, replayed)}"
    return Difference(line, record.call, what, logged, replayed)


def _where(logged: Any, replayed: Any) -> str:
    """Return, in parentheses, the fields in which two offers differ."""
    if not (isinstance(logged, dict) and isinstance(replayed, dict)):
        return ""
    names = (logged | replayed).keys()
    return f" ({', '.join(n for n in names if logged.get(n) != replayed.get(n))})"


def _text(side: Any) -> str:
    return "none" if side is None else json.dumps(side)
