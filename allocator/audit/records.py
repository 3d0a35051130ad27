"""Reading a log: each line checked as far as that needs no engine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from allocator.audit.calls import (
    CLOSE,
    FORMAT,
    OUTCOME,
    SIGNATURES,
    VERSION,
    Json,
    read_line,
)
from allocator.audit.values import from_json
from allocator.contract import CHANGING
from allocator.errors import AuditError, InvalidValue, shown
from allocator.files import Input, Truncated, Unreadable

_HEADER: Final = frozenset({"log", "version", "at", "snapshot"})
_RECORD: Final = frozenset({"n", "at", "call", "args"})


@dataclass(frozen=True, slots=True)
class Record:
    """One call: when, which, with what, and what came of it, as JSON."""

    at: float
    call: str
    args: Json
    outcome: Json


class Records:
    """The records of one log.

    Parameters
    ----------
    file : Input
        Its lines.

    Attributes
    ----------
    line : int
        The line last read, counted from 1.
    cut_off : int or None
        The line at which the log breaks off; the call there was never answered (J2).
    """

    def __init__(self, file: Input) -> None:
        self.line = 0
        self.cut_off: int | None = None
        self._file = file

    def header(self) -> tuple[Json, float]:
        """Return the snapshot and when it was restored; raises `AuditError`."""
        header = self._next()
        if header is None:
            raise self.error("there is no whole header")
        if header.get("log") != FORMAT:
            raise self.error(f"not an audit log, whose header has 'log': {FORMAT!r}")
        if header.get("version") != VERSION:
            version = shown(header.get("version"))
            raise self.error(f"a log of version {version}; this release reads {VERSION}")
        self._check_fields(header, _HEADER)
        return self._read(header["snapshot"]), self._time(header)

    def __iter__(self) -> Iterator[Record]:
        """Yield the records that follow the header; raises `AuditError`."""
        n = 0
        while (record := self._next()) is not None:
            n += 1
            self._check_fields(record, _RECORD, OUTCOME)
            if record["n"] != n:
                raise self.error(f"record {shown(record['n'])} where record {n} is due")
            yield self._checked(record)

    def error(self, what: str) -> AuditError:
        """Return an error that names the line last read."""
        return AuditError(f"{self._file.name}:{max(self.line, 1)}: {what}")

    def _next(self) -> Json | None:
        """Return the next line, or None at the end of the log."""
        self.line += 1
        try:
            raw = self._file.readline()
        except Truncated:
            self.cut_off = self.line
            return None
        except Unreadable as error:
            raise self.error(str(error)) from None
        if not raw:
            self.line -= 1
            return None
        if not raw.endswith(b"\n"):
            self.cut_off = self.line
            return None
        try:
            record = read_line(raw.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise self.error(f"not a line of JSON: {error}") from None
        if not isinstance(record, dict):
            raise self.error(f"{shown(record)} is not an object")
        return record

    def _checked(self, record: Json) -> Record:
        call, args = record["call"], record["args"]
        if not isinstance(args, dict):
            raise self.error(f"'args' is an object, not {shown(args)}")
        if call == CLOSE:
            if args or len(record) > len(_RECORD):
                raise self.error(f"{CLOSE!r} has neither arguments nor an outcome")
        elif call in CHANGING:
            self._read(args)
            try:
                SIGNATURES[call].bind(None, **args)
            except TypeError as error:
                raise self.error(f"{call}(): {error}") from None
        else:
            raise self.error(f"no call is named {shown(call)}")
        outcome = {field: record[field] for field in OUTCOME if field in record}
        for field, value in outcome.items():
            if not isinstance(value, OUTCOME[field]) or not value:
                raise self.error(f"{field!r} cannot be {shown(value)}")
        return Record(self._time(record), call, args, outcome)

    def _check_fields(
        self, record: Json, needed: frozenset[str], optional: Iterable[str] = ()
    ) -> None:
        for name in sorted(needed - record.keys()):
            raise self.error(f"the field {shown(name)} is missing")
        for name in sorted(record.keys() - needed - set(optional)):
            raise self.error(f"the field {shown(name)} is not known here")

    def _time(self, record: Json) -> float:
        at = record["at"]
        if isinstance(at, float) and math.isfinite(at):
            return at
        raise self.error(f"'at' is a time in seconds, not {shown(at)}")

    def _read(self, value: Any) -> Any:
        try:
            return from_json(value)
        except (InvalidValue, ValueError, ArithmeticError, TypeError, RecursionError) as error:
            raise self.error(f"an unreadable value: {error}") from None
