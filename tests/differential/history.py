"""Histories: calls on an engine that can be run, shortened and printed as Python.

A call holds literals only: resources as text or v1 JSON, offers by their ids. So any part of a
history is a history again, and each line of it can be pasted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Call(NamedTuple):
    """One step of a history.

    The method is the engine's, or one of `advance` (the clock), `restore` (go on with an engine
    made of a snapshot) and `fork` (go on with a fork).
    """

    method: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012 -- nobody writes to it

    def __str__(self) -> str:
        given = [repr(arg) for arg in self.args]
        given += [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.method}({', '.join(given)})"


def call(method: str, *args: Any, **kwargs: Any) -> Call:
    """Return a call, written as one would make it."""
    return Call(method, args, kwargs)


class History(NamedTuple):
    """The options of an engine, and what is done with it."""

    options: dict[str, Any]
    calls: Sequence[Call]

    def __str__(self) -> str:
        """Return the history as Python that runs."""
        options = "".join(f"{name}={value!r}, " for name, value in self.options.items())
        return "\n".join(
            [
                "import json",
                "from contextlib import suppress",
                "from math import inf, nan",
                "",
                "from allocator import Allocator, AllocatorError, ManualClock",
                "",
                "clock = ManualClock()",
                f"engine = Allocator({options}clock=clock)",
                *(_line(made) for made in self.calls),
            ]
        )


def _line(made: Call) -> str:
    if made.method == "advance":
        return f"clock.{made}"
    if made.method == "restore":
        snapshot = "json.loads(json.dumps(engine.snapshot()))"
        return f"engine = Allocator.restore({snapshot}, clock=clock)"
    if made.method == "fork":
        return "engine = engine.fork()"
    if made.method == "allocate":
        return f"with suppress(AllocatorError):\n    print(*engine.{made}, sep='\\n')"
    return f"with suppress(AllocatorError):\n    engine.{made}"


def shortest(history: History, fails: Callable[[History], bool]) -> History:
    """Return a part of a failing history that still fails and of which every call is needed.

    Leaves out ever smaller blocks of calls (Zeller and Hildebrandt, delta debugging, 2002).
    """
    calls = list(history.calls)
    size = max(len(calls) // 2, 1)
    while True:
        start, removed = 0, False
        while start < len(calls):
            part = calls[:start] + calls[start + size :]
            if fails(history._replace(calls=part)):
                calls, removed = part, True
            else:
                start += size
        if size == 1 and not removed:
            return history._replace(calls=calls)
        size = max(size // 2, 1)
