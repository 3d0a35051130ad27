"""The launcher, from the agent's side: a process that starts and ends containers.

The agent itself starts no other process. When the launcher is killed, containers stay; another one
is started and takes them over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from allocator.agent.containers import protocol
from allocator.agent.containers.cgroups import Root
from allocator.agent.containers.protocol import Reply
from allocator.errors import AllocatorError

_PROGRAMS: Final = Path(__file__).parent / "programs"
_BUFFER_BYTES: Final = 1 << 20
#: How many packets are taken in before others have their turn.
_MAX_BATCH: Final = 256
#: How long it may take to end before it is killed.
_END_SECONDS: Final = 1.0


def program(name: str) -> Path:
    """Return where a program of this package is; raises `ImportError` if it was not built."""
    path = _PROGRAMS / name
    if not path.exists():
        raise ImportError(
            f"the program {path} is missing; build it with `pip install --no-build-isolation -e .`"
        )
    return path


class LauncherGone(AllocatorError):
    """The launcher has ended."""


class Launcher:
    """One process of the launcher.

    Starts at once, and needs no event loop before `attach`: to be made before the agent grows.

    Parameters
    ----------
    root : Root or None
        The cgroups of the agent; None: containers have none.
    """

    def __init__(self, root: Root | None) -> None:
        init = os.open(program("allocator-init"), os.O_PATH | os.O_CLOEXEC)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            for each in (self._socket, theirs):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
            folders = [] if root is None else root.folders
            kinds = [] if root is None else _kinds(root)
            self._process = subprocess.Popen(
                [
                    str(program("allocator-launcher")),
                    str(theirs.fileno()),
                    str(init),
                    *(f"{kind}:{folder}" for kind, folder in zip(kinds, folders, strict=True)),
                ],
                env={},
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), init, *folders),
                start_new_session=True,
            )
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()
            os.close(init)
        self._socket.setblocking(False)
        self._is_closed = False
        self._waiting: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._take: Callable[[list[Reply]], None] = lambda replies: None
        self._lost: Callable[[], None] = lambda: None

    @property
    def pid(self) -> int:
        """Its pid."""
        return self._process.pid

    def attach(self, take: Callable[[list[Reply]], None], lost: Callable[[], None]) -> None:
        """Have replies taken in, by the running loop, and the end of the launcher told."""
        self._take, self._lost = take, lost
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._receive)

    def close(self) -> None:
        """Have it end; containers stay."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._loop = None
        self._drop_waiting()
        self._is_closed = True
        self._socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        self._process.kill()
        self._process.wait()

    def send(self, packet: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send a packet, now or when there is room for it; closes the descriptors after that."""
        fds = tuple(descriptors)
        if self._is_closed:
            _close(fds)  # another launcher will take over what this one did not get
        elif self._waiting or not self._send(packet, fds):
            self._waiting.append((packet, fds))

    def _send(self, packet: bytes, fds: tuple[int, ...]) -> bool:
        try:
            if fds:
                socket.send_fds(self._socket, [packet], fds, socket.MSG_NOSIGNAL)
            else:
                self._socket.send(packet, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            if self._loop is not None:
                self._loop.add_writer(self._socket, self._send_waiting)
            return False
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has ended, which is told when it is read
        _close(fds)
        return True

    def _send_waiting(self) -> None:
        while self._waiting and self._send(*self._waiting[0]):
            self._waiting.popleft()
        if not self._waiting and self._loop is not None:
            self._loop.remove_writer(self._socket)

    def _drop_waiting(self) -> None:
        while self._waiting:
            _close(self._waiting.popleft()[1])

    def _receive(self) -> None:
        replies = []
        is_lost = False
        for _ in range(_MAX_BATCH):
            try:
                packet = self._socket.recv(4096)
            except BlockingIOError:
                break
            except OSError:
                packet = b""
            if not packet:
                is_lost = True
                break
            replies.append(protocol.read_reply(packet))
        if replies:
            self._take(replies)
        if is_lost:
            self.close()
            self._lost()


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _kinds(root: Root) -> list[str]:
    """Return what the launcher has to know of each hierarchy."""
    memory = None if root.cgroups.kind == "v2" else root.cgroups.of("memory")
    return [
        "unified" if each.is_v2 else "memory" if index == memory else "other"
        for index, each in enumerate(root.cgroups.hierarchies)
    ]
