"""Recording: an engine that writes down each call before it answers."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from allocator.audit.calls import (
    CLOSE,
    FORMAT,
    SIGNATURES,
    VERSION,
    Json,
    perform,
    read_line,
    write_line,
    written,
)
from allocator.audit.values import from_json, to_json
from allocator.clock import Clock
from allocator.contract import CHANGING, LOOKING, Engine
from allocator.engine import Allocator
from allocator.errors import InvalidValue, NotAllowed

if TYPE_CHECKING:
    from allocator.engine._changes import Changes

    # To a type checker a log is the engine that it stands for; at run time it has one.
    _Base = Allocator
else:
    _Base = object


class AuditLog(_Base):
    """An engine whose calls and offers are recorded.

    It has all methods of an `Allocator` but `restore`, and can be used wherever one can. Calls
    that may change anything are recorded and then return or raise what the engine's would, refused
    ones included; calls that only look are passed on.

    Parameters
    ----------
    engine : Allocator
        Where to start. The log goes on from its state, by its clock, in an engine of its own (J1);
        `engine` itself stays as it is, and is not to be used on in its place.
    out : path or text stream
        Where the records go. A file must not exist yet, and is closed by `close`; a stream is only
        flushed.

    Raises
    ------
    FileExistsError, OSError
        The file cannot be created or written.

    Notes
    -----
    A record is handed to the operating system before its call returns or raises (J2): what a
    caller was told survives the end of the process, though not a failure of the machine. If a
    record cannot be written, its call raises the `OSError`, and every further one `NotAllowed`:
    the engine is then ahead of the log.

    Arguments are passed on as the log holds them (`to_json`); what it has no form for is refused
    as the engine refuses it. Who reads what changes (`changes`) is woken when the record of the
    call that changed it is written, and may then make calls.

    Creation takes as long as a snapshot and its restoration; a call O(size of its arguments and
    offers) more than the engine's.

    Examples
    --------
    >>> import io
    >>> from allocator import ManualClock
    >>> out = io.StringIO()
    >>> with AuditLog(Allocator(seed=7, clock=ManualClock()), out) as engine:
    ...     engine.add_agent("a1", "cpus:8;mem:16384")
    ...     engine.add_framework("spark", roles=["eng"])
    ...     for offer in engine.allocate():
    ...         engine.accept(offer, "cpus:1;mem:1024")
    >>> print(out.getvalue().splitlines()[1])
    {"n":1,"at":0.0,"call":"add_agent","args":{"id":"a1","resources":"cpus:8;mem:16384"}}
    """

    def __init__(self, engine: Allocator, out: str | os.PathLike[str] | TextIO) -> None:
        self._time = _StillClock(engine.now)
        with self._time.held() as now:
            snapshot = to_json(engine.snapshot())
            header = write_line(
                {"log": FORMAT, "version": VERSION, "at": now, "snapshot": snapshot}
            )
            as_written = from_json(read_line(header)["snapshot"])
            self._inner = Allocator.restore(as_written, clock=self._time)
        #: How many records were written, or begun.
        self._n_records = 0
        #: Why no call can be made; None if one can.
        self._hindrance: str | None = None
        #: What is to be called when the record of the call under way is written.
        self._to_wake: list[Callable[[], object]] = []
        self._owns_out = isinstance(out, str | os.PathLike)
        self._out: TextIO = (
            open(out, "x", encoding="ascii", newline="\n")  # noqa: SIM115 -- `close` closes it
            if isinstance(out, str | os.PathLike)
            else out
        )
        self._write(header)

    def changes(self, wake: Callable[[], object] | None = None) -> Changes:
        """Return a reader of what changes, as `Allocator.changes` does."""
        if not callable(wake):
            return self._inner.changes(wake)
        return self._inner.changes(lambda: self._to_wake.append(wake))

    def close(self) -> None:
        """Record that the log ends here; later calls raise `NotAllowed`, looking goes on.

        A log that was not closed can be replayed, but does not tell whether its last lines are
        missing. Closing twice does nothing more.

        Raises
        ------
        OSError
            The record cannot be written. O(1).
        """
        try:
            if self._hindrance is None:
                self._append(self._time(), CLOSE, {}, {})
        finally:
            self._hindrance = "the audit log is closed"
            if self._owns_out:
                self._out.close()

    def __repr__(self) -> str:
        return f"<AuditLog: records {self._n_records}, {self._inner!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, name: str, given: Mapping[str, Any]) -> Any:
        """Make a call, record it, and return or raise what came of it."""
        if self._hindrance is not None:
            raise NotAllowed(f"{name}() cannot be recorded: {self._hindrance}")
        try:
            args = written(name, given)
        except RecursionError:
            raise InvalidValue(f"{name}(): an argument is nested too deep") from None
        # Until the record is written, and for good if it is not, the log lags behind the engine.
        self._hindrance = f"{name}() is under way, or its record was not written"
        with self._time.held() as now:
            returned, error, outcome = perform(self._inner, name, args)
            self._append(now, name, args, outcome)
        self._hindrance = None
        try:
            if error is not None:
                raise error
            return returned
        finally:
            self._wake()

    def _wake(self) -> None:
        """Wake those who read what changes, all of them also if one raises."""
        while self._to_wake:
            try:
                self._to_wake.pop(0)()
            finally:
                self._wake()

    def _append(self, now: float, name: str, args: Json, outcome: Json) -> None:
        self._n_records += 1
        record = {"n": self._n_records, "at": now, "call": name, "args": args, **outcome}
        self._write(write_line(record))

    def _write(self, line: str) -> None:
        self._out.write(line)
        self._out.flush()


class _StillClock:
    """A clock that can be held, so that the log knows all that a call reads from it.

    It stands still, too, where `clock` runs back, which the engine relies on never to happen.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest = -math.inf
        self._is_held = False

    def __call__(self) -> float:
        if not self._is_held:
            self._latest = max(self._latest, float(self._clock()))
        return self._latest

    @contextmanager
    def held(self) -> Iterator[float]:
        """Stand still during the body; yields the time."""
        now = self()
        self._is_held = True
        try:
            yield now
        finally:
            self._is_held = False


def _recorded(name: str) -> Any:
    """Return a method that makes the engine's call and records it."""

    def call(self: AuditLog, /, *args: Any, **kwargs: Any) -> Any:
        # Whoever calls with arguments that the method does not have is told so before all else.
        given = SIGNATURES[name].bind(self, *args, **kwargs).arguments
        del given["self"]
        return self._call(name, given)

    return _named(call, name, f"Do what `Allocator.{name}` does, and record it.")


def _passed_on(name: str) -> Any:
    """Return a method or property that hands on what the engine's comes to."""
    member = getattr(Engine, name)
    doc = f"Do what `Allocator.{name}` does."

    def look(self: AuditLog) -> Any:
        return getattr(self._inner, name)

    def call(self: AuditLog, /, *args: Any, **kwargs: Any) -> Any:
        return look(self)(*args, **kwargs)

    if isinstance(member, property):
        return property(look, doc=doc)
    return _named(call, name, doc)


def _named(call: Any, name: str, doc: str) -> Any:
    """Make a function look like the method of that name."""
    call.__name__, call.__qualname__, call.__doc__ = name, f"{AuditLog.__name__}.{name}", doc
    call.__signature__ = inspect.signature(getattr(Engine, name))
    return call


for _name in CHANGING:
    setattr(AuditLog, _name, _recorded(_name))
for _name in LOOKING:
    if _name not in vars(AuditLog):
        setattr(AuditLog, _name, _passed_on(_name))
