"""Ctrl-C: a command ends early, and tells what it has so far."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

#: What a shell reports of a command that SIGINT ended.
INTERRUPTED = 128 + 2


@contextmanager
def interruption() -> Iterator[Callable[[], bool]]:
    """Note the first SIGINT while the body runs; the second interrupts it as usual.

    Outside the main thread, which alone can take signals, nothing is noted.

    Yields
    ------
    callable
        Tells whether there was one.
    """
    noted = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        noted.set()
        signal.signal(signal.SIGINT, before)

    if threading.current_thread() is not threading.main_thread():
        yield noted.is_set
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield noted.is_set
    finally:
        signal.signal(signal.SIGINT, before)
