"""The containers of an agent: started, watched, ended, and found again after a restart.

    FOLDER/../boot       which start of the machine it was: no process of another one is there
    FOLDER/ID/record     what the init wrote down: who it is, and how the program ended
    FOLDER/ID/bundle, pid, log   what an OCI runtime is told, and tells, of one that it starts
    FOLDER/ID/limitation which limit a container is ended for, written before it is

Y1. A container is known from `launch` or `recover` until its end was told; its handle is the
    launcher's name for it, and is free for another one only then.
Y2. The record is locked by whoever may still start or run the program: the agent that makes it, the
    launcher, the init. One that is not locked changes no more.
Y3. An end is told when nothing is left: no process, no cgroup.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from allocator.agent.containers import cgroups, oci, protocol
from allocator.agent.containers._usage import Files
from allocator.agent.containers.cgroups import Amounts, Root
from allocator.agent.containers.launcher import Launcher
from allocator.agent.containers.oci import Oci, Place
from allocator.agent.containers.protocol import (
    HostEnded,
    Kind,
    NotLaunched,
    Plan,
    Record,
    Reply,
    Write,
)
from allocator.agent.instructions import Limitation
from allocator.errors import NotAllowed, cut

_LOG = logging.getLogger("allocator.agent")

Json = dict[str, Any]

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
#: How long a start that was under way when the agent or the launcher died may still take, in s.
_PATIENCE_SECONDS: Final = 2.0
#: Between attempts to start a launcher, if each ends before it has done anything.
_MAX_PAUSE_SECONDS: Final = 10.0
#: How many are started by an OCI runtime at a time: each takes some megabytes meanwhile.
_MAX_RUNTIMES: Final = 4


class End(NamedTuple):
    """How a container ended."""

    #: As wait(2) has it; None if nobody knows.
    wait_status: int | None
    limitation: Limitation | None = None


class Listener(Protocol):
    """Is told what becomes of containers, never while a method of `Containers` is called."""

    def started(self, container_id: str, pid: int) -> None:
        """Take in that the program runs; the pid is that of the init."""

    def failed(self, container_id: str, message: str) -> None:
        """Take in that it could not be started; nothing is left of it."""

    def ended(self, container_id: str, end: End) -> None:
        """Take in that it has ended; nothing is left of it."""


class _Container:
    """One container."""

    __slots__ = (
        "amounts",
        "files",
        "handle",
        "has_started",
        "id",
        "is_by_runtime",
        "is_known",
        "is_of_this_boot",
        "is_resized",
        "is_unwanted",
        "limitation",
        "pid",
        "plan",
    )

    def __init__(self, id: str, handle: int, plan: Plan | None, amounts: Amounts) -> None:
        self.id = id
        self.handle = handle
        #: What it was launched with, until that has succeeded.
        self.plan = plan
        self.amounts = amounts
        #: Of its init; 0 if not known, or ended.
        self.pid = 0
        self.has_started = False
        #: Whether an OCI runtime is starting it.
        self.is_by_runtime = False
        #: Whether somebody wants to hear of it.
        self.is_known = True
        #: Whether it was launched since the machine started.
        self.is_of_this_boot = True
        #: Whether it was launched with other amounts than it has now.
        self.is_resized = False
        #: Whether it is to be destroyed.
        self.is_unwanted = False
        self.limitation: Limitation | None = None
        #: Its cgroups' files, open since they were first read.
        self.files: Files | None = None


class _Guest(NamedTuple):
    """A program that runs in a container beside that which it was launched for."""

    handle: int
    plan: Plan
    #: In memory, as nobody asks for it after a restart.
    record: int
    #: How it ended.
    ended: asyncio.Future[int]


class Containers:
    """All containers that are not gone.

    Parameters
    ----------
    folder : Path
        Where there is a folder for each; created if need be.
    root : Root or None
        None: they have no cgroups.
    launcher : callable
        Starts a launcher; called at once, and again when one has ended.
    listener : Listener
    runtime : Oci or None
        What starts those whose plans have a configuration.
    """

    def __init__(
        self,
        folder: Path,
        root: Root | None,
        launcher: Callable[[], Launcher],
        listener: Listener,
        runtime: Oci | None = None,
    ) -> None:
        self._folder = folder.absolute()
        self._root = root
        self._start_launcher = launcher
        self._listener = listener
        self._runtime = runtime
        #: What an OCI runtime is to start when others have been: the packet, and what goes with it.
        self._queue: dict[str, tuple[bytes, tuple[int, int]]] = {}
        self._n_runtimes = 0
        #: By id, in the order of launching (Y1).
        self._containers: dict[str, _Container] = {}
        #: By handle; None is free.
        self._by_handle: list[_Container | _Guest | None] = []
        self._free: list[int] = []
        #: In a row, that ended before they had done anything.
        self._n_useless_launchers = 0
        self._replacing: asyncio.TimerHandle | None = None
        self._namespaces = 0 if root is None else protocol.NAMESPACES
        self._is_same_boot = _note_boot(folder)
        self._launcher = launcher()

    def attach(self) -> None:
        """Have the running event loop take in what happens."""
        self._launcher.attach(self._take, self._replace_launcher)

    def close(self) -> None:
        """Leave containers as they are."""
        if self._replacing is not None:
            self._replacing.cancel()
        self._launcher.close()
        if not self._containers:
            self._launcher.reap(_PATIENCE_SECONDS)
        for container in self._containers.values():
            _close_files(container)
        for each in self._by_handle:
            if isinstance(each, _Guest):
                os.close(each.record)
                each.ended.cancel()
        for _, descriptors in self._queue.values():
            for descriptor in descriptors:
                os.close(descriptor)
        self._queue.clear()

    # What is asked.

    def launch(self, container_id: str, plan: Plan, amounts: Amounts) -> None:
        """Start a container: `started` or `failed` follows, then `ended` after the former.

        Raises
        ------
        NotAllowed
            One of this id is not gone.
        OSError, UnicodeError
            Nothing was done.
        """
        if container_id in self._containers:
            raise NotAllowed(f"container {cut(container_id)} is there already")
        plan = plan._replace(has_namespaces=self._root is not None)
        record = self._make_record(container_id)
        container = self._add(container_id, plan, amounts)
        try:
            packet, descriptor = self._request(container, plan)
        except BaseException:
            os.close(record)
            self._drop(container)
            self.forget(container_id)
            raise
        if plan.config is None:
            self._launcher.send(packet, (descriptor, record))
        else:
            self._queue[container_id] = packet, (descriptor, record)
            self._start_queued()

    def _request(self, container: _Container, plan: Plan) -> tuple[bytes, int]:
        """Return the packet that has a container started, and a descriptor of the plan."""
        id, removal, namespaces = container.id, [], self._namespaces
        if plan.config is not None:
            assert self._runtime is not None
            assert self._root is not None
            folder = self._folder / id
            place = Place(f"{self._root.name}/{id}", container.amounts)
            namespaces = oci.namespaces(plan.config)
            plan = self._runtime.plan(folder, plan, [id, str(container.handle)], place)
            removal = self._runtime.removal(folder, id)
        writes = self._writes(container.amounts)
        packet = protocol.pack_launch(container.handle, id, writes, namespaces, removal)
        return packet, _sealed(protocol.pack_plan(plan))

    def _start_queued(self) -> None:
        while self._queue and self._n_runtimes < _MAX_RUNTIMES:
            id = next(iter(self._queue))
            self._n_runtimes += 1
            self._containers[id].is_by_runtime = True
            self._launcher.send(*self._queue.pop(id))

    def _runtime_ended(self, container: _Container) -> None:
        if container.is_by_runtime:
            container.is_by_runtime = False
            self._n_runtimes -= 1
            self._start_queued()

    def _give_up_queued(self, container: _Container) -> None:
        for descriptor in self._queue.pop(container.id)[1]:
            os.close(descriptor)
        message = "The container was ended before its program ran"
        asyncio.get_running_loop().call_soon(self._gone_before, container, message)

    def _gone_before(self, container: _Container, message: str) -> None:
        self._drop(container)
        self.forget(container.id)
        self._listener.failed(container.id, message)

    def signal(self, container_id: str, number: int) -> None:
        """Send a signal to the program of a container, 9 to all in it; one not there: nothing."""
        container = self._containers.get(container_id)
        if container is not None:
            self._launcher.send(protocol.pack_signal(container.handle, number))

    def destroy(self, container_id: str) -> None:
        """End all in a container, whatever it does; one that is not there: nothing."""
        container = self._containers.get(container_id)
        if container is not None and container_id in self._queue:
            self._give_up_queued(container)
        elif container is not None:
            self._destroy(container)

    async def run_inside(self, container_id: str, plan: Plan) -> int:
        """Run a program in the namespaces and cgroups of a container, as `wait(2)` has its end.

        Ends with the container or the agent; killed when this is cancelled.

        Raises
        ------
        NotLaunched
            It cannot be run; the text says why.
        HostEnded
            The container has ended meanwhile, or is not there: that it failed says nothing.
        """
        host = self._containers.get(container_id)
        if host is None:
            raise HostEnded(f"container {cut(container_id)} is not there")
        plan = plan._replace(is_guest=True, has_namespaces=self._root is not None)
        descriptor = _sealed(protocol.pack_plan(plan))
        record = _sealed(protocol.new_record())
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        guest = _Guest(self._new_handle(), plan, record, ended)
        self._by_handle[guest.handle] = guest
        packet = protocol.pack_enter(guest.handle, host.handle)
        self._launcher.send(packet, (descriptor, os.dup(record)))
        try:
            status = await ended
        except NotLaunched:
            self._check_host(container_id)
            raise
        finally:
            if self._by_handle[guest.handle] is guest:
                self._launcher.send(protocol.pack_destroy(guest.handle))
        if status != 0:
            self._check_host(container_id)
        return status

    def _check_host(self, container_id: str) -> None:
        """Raise `HostEnded` if a container has ended: its init writes that down, then kills all."""
        record = self._record(container_id)
        if record is None or record.state == "ended":
            raise HostEnded(f"container {cut(container_id)} has ended")

    def _take_of_guest(self, guest: _Guest, reply: Reply) -> None:
        if reply.kind == Kind.ENDED:
            self._launcher.send(protocol.pack_destroy(guest.handle))
        elif reply.kind in (Kind.FAILED, Kind.GONE):
            record = protocol.read_record(os.pread(guest.record, protocol.RECORD_BYTES, 0))
            self._drop_guest(guest)
            if guest.ended.done():
                return  # nobody waits any more
            if reply.kind == Kind.FAILED:
                guest.ended.set_exception(NotLaunched(protocol.why_not(reply, guest.plan)))
            elif record is not None and record.state == "ended":
                guest.ended.set_result(record.wait_status)
            else:
                guest.ended.set_result(int(signal.SIGKILL))

    def _drop_guest(self, guest: _Guest) -> None:
        os.close(guest.record)
        self._free_handle(guest.handle)

    def resize(self, container_id: str, amounts: Amounts) -> None:
        """Hold a container to other amounts from now on; one that is not there: nothing."""
        container = self._containers.get(container_id)
        if container is None:
            return
        container.amounts = amounts
        container.is_resized = not container.has_started
        if container.has_started:
            self._write_amounts(container)

    def _write_amounts(self, container: _Container) -> None:
        if self._root is None:
            return
        if container.files is not None:
            limit = cgroups.limit_of(container.amounts.cpus, container.amounts.cpus_limit)
            container.files.set_cpus_limit(limit)
        for each, error in cgroups.change(self._root, container.id, container.amounts):
            fields = {"container_id": container.id, "file": each.file, "reason": str(error)}
            _LOG.warning("limit cannot be changed", extra={"fields": fields})

    def limit(self, container_id: str, limitation: Limitation) -> None:
        """Destroy a container for a limit that it went over. The first one counts."""
        container = self._containers.get(container_id)
        if container is None:
            return
        if container.limitation is None:
            container.limitation = limitation
            try:
                _write_limitation(self._folder / container_id, limitation)
            except OSError as error:
                fields = {"container_id": container_id, "reason": str(error)}
                _LOG.error("limitation cannot be noted", extra={"fields": fields})
        self.destroy(container_id)

    def recover(self, container_id: str, amounts: Amounts) -> bool:
        """Take over a container of a former life of the agent; before `attach` or after it.

        Returns
        -------
        bool
            Whether its program ran: `ended` follows once it has. If it did not it never will, and
            `failed` follows when nothing is left of it.
        """
        record = self._settled(container_id)
        has_run = record is not None and record.state in ("running", "ended")
        container = self._add(container_id, None, amounts)
        container.limitation = _read_limitation(self._folder / container_id)
        container.has_started = has_run
        container.is_of_this_boot = self._is_same_boot
        self._adopt(container, record)
        return has_run

    def remove_others(self) -> set[str]:
        """End and remove what is in cgroups that are of no container; return their names."""
        names = set() if self._root is None else self._root.names()
        if self._runtime is not None:
            names |= self._runtime.names().difference(map(oci.name_of, self._containers))
        others = names.difference(self._containers)
        for name in others:
            _LOG.warning("unknown cgroup", extra={"fields": {"name": name}})
            self.remove(name)
        return others

    def remove(self, container_id: str) -> None:
        """End and remove what there may be of a container that is not known; tell nothing."""
        container = self._add(container_id, None, Amounts())
        container.is_known = False
        container.is_of_this_boot = self._is_same_boot
        self._adopt(container, self._settled(container_id))

    def forget(self, container_id: str) -> None:
        """Keep nothing of a container that has ended."""
        for name in ("record", "limitation"):
            with contextlib.suppress(FileNotFoundError):
                (self._folder / container_id / name).unlink()
        if self._runtime is not None:
            oci.forget(self._folder / container_id)

    # What is known.

    def __len__(self) -> int:
        return len(self._containers)

    def __iter__(self) -> Iterator[str]:
        """Yield their ids, the first launched first."""
        return iter(self._containers)

    def __contains__(self, container_id: object) -> bool:
        return container_id in self._containers

    def pid(self, container_id: str) -> int | None:
        """Return the host's pid of the init of a container; None if it is not running."""
        container = self._containers.get(container_id)
        return container.pid or None if container is not None else None

    def statistics(self, container_ids: Iterable[str] | None = None) -> dict[str, Json]:
        """Return what containers use, all in one pass; one that cannot be read is left out.

        After the first reading of a container none of its files is opened again.
        """
        found: dict[str, Json] = {}
        ids = self._containers if container_ids is None else container_ids
        for id in ids:
            container = self._containers.get(id)
            if container is None or not container.has_started:
                continue
            try:
                found[id] = self._files(container).read(time.time())
            except OSError as error:
                fields = {"container_id": id, "reason": str(error)}
                _LOG.warning("statistics cannot be read", extra={"fields": fields})
        return found

    def _files(self, container: _Container) -> Files:
        if container.files is None:
            assert self._root is not None
            limit = cgroups.limit_of(container.amounts.cpus, container.amounts.cpus_limit)
            container.files = Files(self._root, container.id, limit)
        return container.files

    # What the launcher tells.

    def _take(self, replies: list[Reply]) -> None:
        self._n_useless_launchers = 0
        for reply in replies:
            container = self._by_handle[reply.handle]
            if container is None:
                continue
            if isinstance(container, _Guest):
                self._take_of_guest(container, reply)
                continue
            if reply.kind in (Kind.STARTED, Kind.FAILED, Kind.GONE):
                self._runtime_ended(container)
            match reply.kind:
                case Kind.STARTED:
                    container.plan = None
                    container.pid = reply.number
                    container.has_started = True
                    if container.is_resized:
                        self._write_amounts(container)
                    self._listener.started(container.id, container.pid)
                case Kind.FAILED:
                    self._failed(container, reply)
                case Kind.OUT_OF_MEMORY:
                    self._out_of_memory(container)
                case Kind.ENDED:
                    container.pid = 0
                    self._destroy(container)
                case Kind.GONE:
                    self._gone(container)

    def _failed(self, container: _Container, reply: Reply) -> None:
        self._drop(container)
        if container.limitation is not None and container.plan is not None:
            self._limited_before(container)
            return
        why = (
            "" if reply.step != protocol.STEP_RUNTIME else oci.why_not(self._folder / container.id)
        )
        self.forget(container.id)
        if container.plan is not None:
            self._listener.failed(container.id, why or protocol.why_not(reply, container.plan))

    def _limited_before(self, container: _Container) -> None:
        """Tell how one ended that ran into a limit before it was told that its program ran."""
        record = self._folder / container.id / "record"
        with contextlib.suppress(OSError), record.open("r+b") as file:
            file.write(protocol.killed_record())
        self._listener.started(container.id, 0)
        self._listener.ended(container.id, End(int(signal.SIGKILL), container.limitation))

    def _out_of_memory(self, container: _Container) -> None:
        """End a container of which a process was killed, if that was for its own limit."""
        assert self._root is not None
        limit, peak = _memory_limit_and_peak(self._root, container.id)
        if limit is None:
            return
        mb = limit / 2**20
        peak_text = "" if peak is None else f", the most that it used was {peak / 2**20:g} MB"
        message = f"Memory limit exceeded: it is {mb:g} MB{peak_text}"
        self.limit(
            container.id,
            Limitation("REASON_CONTAINER_LIMITATION_MEMORY", message, {"mem": mb}),
        )

    def _gone(self, container: _Container) -> None:
        self._drop(container)
        if not container.is_known:
            self.forget(container.id)
        elif container.has_started:
            status = self._wait_status(container)
            self._listener.ended(container.id, End(status, container.limitation))
        else:
            self.forget(container.id)
            self._listener.failed(container.id, "The agent ended before the program ran")

    def _wait_status(self, container: _Container) -> int | None:
        record = self._record(container.id)
        if record is not None and record.state == "ended":
            return record.wait_status
        # Only SIGKILL ends an init, and with it the program by the same.
        return int(signal.SIGKILL) if container.is_of_this_boot else None

    # How it is done.

    def _add(self, id: str, plan: Plan | None, amounts: Amounts) -> _Container:
        container = _Container(id, self._new_handle(), plan, amounts)
        self._by_handle[container.handle] = container
        self._containers[id] = container
        return container

    def _drop(self, container: _Container) -> None:
        del self._containers[container.id]
        self._free_handle(container.handle)
        _close_files(container)

    def _new_handle(self) -> int:
        if not self._free:
            self._free.append(len(self._by_handle))
            self._by_handle.append(None)
        return self._free.pop()

    def _free_handle(self, handle: int) -> None:
        self._by_handle[handle] = None
        self._free.append(handle)

    def _writes(self, amounts: Amounts) -> list[Write]:
        if self._root is None:
            return []
        of = self._root.cgroups.of
        settings = cgroups.settings(self._root.cgroups.kind, amounts)
        return [Write(of(each.controller), each.file, each.value) for each in settings]

    def _make_record(self, container_id: str) -> int:
        """Return the descriptor of a new record, locked (Y2)."""
        folder = self._folder / container_id
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            record = os.open(folder / "record", flags, 0o600)
        except FileNotFoundError:
            folder.mkdir(mode=0o700)
            record = os.open(folder / "record", flags, 0o600)
        try:
            fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(record, protocol.new_record())
        except BaseException:
            os.close(record)
            raise
        return record

    def _record(self, container_id: str) -> Record | None:
        folder = self._folder / container_id
        try:
            record = protocol.read_record((folder / "record").read_bytes())
        except OSError:
            return None
        if record is None or self._runtime is None or not (folder / "bundle").exists():
            return record
        return oci.record_of(folder, record)

    def _settled(self, container_id: str) -> Record | None:
        """Return a record, once a start that is under way has come to its end or failed (Y2)."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            record = self._record(container_id)
            if record is None or record.state in ("running", "ended"):
                return record
            if not _is_locked(self._folder / container_id / "record"):
                return self._record(container_id)
            if time.monotonic() > until:
                return record
            time.sleep(0.002)

    def _adopt(self, container: _Container, record: Record | None) -> None:
        """Have the launcher take over a container; one whose program never ran is destroyed."""
        pidfd = None
        if record is not None and container.is_of_this_boot:
            pidfd = _pidfd(record)
        container.pid = 0 if pidfd is None or record is None else record.pid
        removal, namespaces = [], self._namespaces
        if self._runtime is not None:
            removal = self._runtime.removal(self._folder / container.id, container.id)
            namespaces = oci.namespaces_of(self._folder / container.id) if removal else namespaces
        packet = protocol.pack_adopt(container.handle, container.id, namespaces, removal)
        self._launcher.send(packet, () if pidfd is None else (pidfd,))
        container.is_unwanted |= not container.has_started or container.limitation is not None
        if container.is_unwanted:
            self._destroy(container)

    def _destroy(self, container: _Container) -> None:
        container.is_unwanted = True
        self._launcher.send(protocol.pack_destroy(container.handle))

    def _replace_launcher(self) -> None:
        """Start another launcher, at once or, if that does not help, ever later; it adopts all."""
        loop = asyncio.get_running_loop()
        pause = min(0.05 * 2**self._n_useless_launchers - 0.05, _MAX_PAUSE_SECONDS)
        self._n_useless_launchers += 1
        _LOG.error("the launcher has ended: another one follows", extra={"fields": {"in_s": pause}})
        if pause:
            self._replacing = loop.call_later(pause, self._start_another)
        else:
            self._start_another()

    def _start_another(self) -> None:
        try:
            self._launcher = self._start_launcher()
        except OSError as error:
            _LOG.error("no launcher", extra={"fields": {"reason": str(error)}})
            self._replace_launcher()
            return
        self.attach()
        for guest in [each for each in self._by_handle if isinstance(each, _Guest)]:
            self._drop_guest(guest)
            if not guest.ended.done():
                guest.ended.set_result(int(signal.SIGKILL))  # it ended with the launcher
        for container in list(self._containers.values()):
            if container.id in self._queue:
                continue
            record = self._settled(container.id)
            if not container.has_started and record is not None:
                container.has_started = record.state in ("running", "ended")
                if container.has_started and container.is_resized:
                    self._write_amounts(container)
                if container.has_started and container.plan is not None:
                    container.plan = None
                    self._runtime_ended(container)
                    self._listener.started(container.id, record.pid)
            self._adopt(container, record)


def _note_boot(folder: Path) -> bool:
    """Tell whether the machine has not been started since the folder was used last; note it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    boot_id = _BOOT_ID.read_text().strip()
    file = folder.parent / "boot"
    try:
        if file.read_text().strip() == boot_id:
            return True
    except (OSError, ValueError):
        pass
    file.write_text(boot_id + "\n")
    return False


def _sealed(content: bytes) -> int:
    """Return the descriptor of a file in memory."""
    descriptor = os.memfd_create("plan", os.MFD_CLOEXEC)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _pidfd(record: Record) -> int | None:
    """Return the pidfd of the init that a record is of; None if it has ended."""
    if record.pid <= 0:
        return None
    try:
        pidfd = os.pidfd_open(record.pid)
    except OSError:
        return None
    if protocol.start_time(record.pid) != record.start:
        os.close(pidfd)  # another one of the same pid
        return None
    return pidfd


def _close_files(container: _Container) -> None:
    if container.files is not None:
        container.files.close()
        container.files = None


def _memory_limit_and_peak(root: Root, name: str) -> tuple[int | None, int | None]:
    """Return the limit that a container ran into, None if it did not, and the most it used."""
    if root.cgroups.kind == "v2":
        folder = root.paths[-1] / name
        events = dict(line.split() for line in _read(folder / "memory.events").splitlines())
        limit, peak, hits = "memory.max", "memory.peak", int(events.get("oom", 0))
    else:
        folder = root.paths[root.cgroups.of("memory")] / name
        limit, peak = "memory.limit_in_bytes", "memory.max_usage_in_bytes"
        hits = _integer(_read(folder / "memory.failcnt")) or 0
    if not hits:
        return None, None
    return _integer(_read(folder / limit)), _integer(_read(folder / peak))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _integer(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None


def _write_limitation(folder: Path, limitation: Limitation) -> None:
    new = folder / "limitation.new"
    new.write_text(json.dumps(limitation._asdict()))
    new.replace(folder / "limitation")


def _read_limitation(folder: Path) -> Limitation | None:
    try:
        fields: Mapping[str, Any] = json.loads((folder / "limitation").read_bytes())
        resources = {str(name): float(mb) for name, mb in fields["resources"].items()}
        return Limitation(str(fields["reason"]), str(fields["message"]), resources)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
