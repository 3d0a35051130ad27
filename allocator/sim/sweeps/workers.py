"""Processes that make runs: an executor of which one may be lost without taking others with it."""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import IO, Any, TypeAlias

from allocator.errors import AllocatorError

_Work: TypeAlias = tuple[Future[Any], bytes]

#: The length of a message comes first, in so many bytes.
_LENGTH_BYTES = 8


class WorkerLost(AllocatorError):
    """A process ended in the middle of a run."""


class Workers:
    """An executor whose workers are processes of their own, each with one run at a time.

    Each is a new interpreter, so that it depends on nothing of the caller's: no `__main__` that is
    imported again, no threads that a fork would tear apart. They do not see the terminal's Ctrl-C.
    `close` ends them at once, in the middle of what they do.

    Parameters
    ----------
    n_workers : int
    """

    def __init__(self, n_workers: int) -> None:
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._closed = False
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._threads = [
            threading.Thread(target=self._serve, args=(index,), daemon=True)
            for index in range(n_workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, call: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Have a function of a module called in a worker.

        The future raises `WorkerLost` if the process ends before it has answered.
        """
        future: Future[Any] = Future()
        self._work.put((future, pickle.dumps((call, args))))
        return future

    def close(self) -> None:
        """End all workers; what they were doing raises `WorkerLost`."""
        self._closed = True
        for process in list(self._processes.values()):
            process.kill()
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self, index: int) -> None:
        """Hand work to one process, and make another where it has ended."""
        while (work := self._work.get()) is not None and not self._closed:
            future, message = work
            if not future.set_running_or_notify_cancel():
                continue
            try:
                process = self._process(index)
                _send(process.stdin, message)
                answer = _receive(process.stdout)
            except (OSError, EOFError):
                self._end(index)
                future.set_exception(WorkerLost("the process of the run ended"))
                continue
            future.set_result(pickle.loads(answer))
        self._end(index)

    def _process(self, index: int) -> subprocess.Popen[bytes]:
        process = self._processes.get(index)
        if process is None:
            path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
            process = self._processes[index] = subprocess.Popen(
                [sys.executable, "-c", f"from {__name__} import serve; serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )
            if self._closed:  # meanwhile, and `close` has not seen it
                process.kill()
        return process

    def _end(self, index: int) -> None:
        process = self._processes.pop(index, None)
        if process is not None:
            process.kill()
            process.communicate()


def _send(stream: IO[bytes] | None, message: bytes) -> None:
    assert stream is not None
    stream.write(len(message).to_bytes(_LENGTH_BYTES, "big"))
    stream.write(message)
    stream.flush()


def _receive(stream: IO[bytes] | None) -> bytes:
    """Return the next message; raises `EOFError` at the end of the stream."""
    assert stream is not None
    length = int.from_bytes(_exactly(stream, _LENGTH_BYTES), "big")
    return _exactly(stream, length)


def _exactly(stream: IO[bytes], n_bytes: int) -> bytes:
    content = stream.read(n_bytes)
    if len(content) < n_bytes:
        raise EOFError
    return content


def serve() -> None:
    """Answer calls from stdin on stdout until stdin ends: what a worker's process does."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Whatever else is printed belongs elsewhere.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    while True:
        try:
            message = _receive(sys.stdin.buffer)
        except EOFError:
            return
        call, args = pickle.loads(message)
        _send(answers, pickle.dumps(call(*args)))
