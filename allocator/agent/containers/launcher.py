"""The launcher, from the agent's side: a process that starts and ends containers.

The agent itself starts no other process. The launcher outlives the agent while there are
containers, to reap them, and the next agent on the folder takes it over. When it is killed,
containers stay; another one is started and takes them over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
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
#: How long it may take to end when it has no containers, in seconds.
_END_SECONDS: Final = 1.0
#: Of the socket in the folder.
_NAME: Final = "launcher"
_CREDENTIALS: Final = struct.Struct("=3i")


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
    """The launcher of a former agent on the folder, or a new one.

    Starts at once, and needs no event loop before `attach`: to be made before the agent grows.

    Parameters
    ----------
    folder : Path
        Of the agent, where the next one finds the launcher.
    root : Root or None
        The cgroups of the agent; None: containers have none.

    Raises
    ------
    OSError
        It cannot be started.
    """

    def __init__(self, folder: Path, root: Root | None) -> None:
        launcher, init = program("allocator-launcher"), program("allocator-init")
        #: Whether it is a process of this one, which has to reap it.
        self._is_own = False
        with _opened(folder, os.O_DIRECTORY) as place:
            name = f"/proc/self/fd/{place}/{_NAME}"  # paths of sockets are short
            found = _connected(name, launcher)
            if found is None:
                found = _started(name, launcher)
                self._is_own = True
        #: Its pid.
        self.pid, self._socket = found
        self._socket.setblocking(False)
        self._is_closed = False
        self._waiting: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._take: Callable[[list[Reply]], None] = lambda replies: None
        self._lost: Callable[[], None] = lambda: None
        folders = [] if root is None else [os.dup(each) for each in root.folders]
        fds = (os.open(init, os.O_PATH | os.O_CLOEXEC), *folders)
        self.send(protocol.pack_greeting([] if root is None else _kinds(root)), fds)

    def attach(self, take: Callable[[list[Reply]], None], lost: Callable[[], None]) -> None:
        """Have replies taken in, by the running loop, and the end of the launcher told."""
        self._take, self._lost = take, lost
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._receive)

    def close(self) -> None:
        """Leave it alone; containers stay, and it ends if there are none."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._loop = None
        self._drop_waiting()
        self._is_closed = True
        self._socket.close()

    def reap(self, seconds: float = 0.0) -> None:
        """Take in that it has ended, if it is a child of this process; wait for that so long."""
        until = time.monotonic() + seconds
        while self._is_own:
            try:
                self._is_own = os.waitpid(self.pid, os.WNOHANG)[0] == 0
            except ChildProcessError:
                self._is_own = False
            if not self._is_own or time.monotonic() > until:
                break
            time.sleep(0.001)

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
            self.reap(_END_SECONDS)
            self._lost()


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        yield file
    finally:
        os.close(file)


def _connected(name: str, launcher: Path) -> tuple[int, socket.socket] | None:
    """Return the pid of a launcher that is there, and a socket to it; None if there is none.

    One of another installation is left alone: it ends when its containers have.
    """
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        link.connect(name)
        credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(credentials)
        if uid == os.geteuid() and os.readlink(f"/proc/{pid}/exe") == str(launcher.resolve()):
            link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
            return pid, link
    except OSError:
        pass
    link.close()
    return None


def _started(name: str, launcher: Path) -> tuple[int, socket.socket]:
    """Start a launcher; return its pid and a socket to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, listener:
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            listener.bind(name)
        except OSError:  # a full disk; it ends with the agent then
            listener.close()
        for each in (theirs, listener):
            if each.fileno() >= 0:
                each.set_inheritable(True)
        pid = os.posix_spawn(
            launcher,
            [launcher.name, str(theirs.fileno()), str(listener.fileno())],
            {},
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            setsid=True,
        )
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    return pid, ours


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
