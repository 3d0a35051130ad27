"""What the launcher and the inits are told and tell: `programs/protocol.h`, from the agent's side.

Pure functions; numbers are native, as both ends are on one machine.
"""

from __future__ import annotations

import enum
import os
import resource
import signal
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from allocator.errors import AllocatorError

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWPID: Final = 0x20000000
NAMESPACES: Final = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID

_MAGIC: Final = 0x416C6C31
_PLAN: Final = struct.Struct("=8I")
_LIMIT: Final = struct.Struct("=IIQQ")
_HAS_NAMESPACES: Final = 1
_HAS_IDENTITY: Final = 2
_IS_GUEST: Final = 4
_IS_REAPER: Final = 8
_IS_RUNTIME: Final = 16
#: Beside namespaces, that an OCI runtime makes them.
_BY_RUNTIME: Final = 1

_REQUEST: Final = struct.Struct("=4I")
_REPLY: Final = struct.Struct("=3Ii")
#: Of the launcher's buffer; a plan may be longer, as it goes another way.
MAX_PACKET_BYTES: Final = 1 << 16
#: Of a name of a cgroup.
MAX_NAME_BYTES: Final = 255


class Kind(enum.IntEnum):
    """What the launcher tells."""

    STARTED = 1
    FAILED = 2
    OUT_OF_MEMORY = 3
    ENDED = 4
    GONE = 5


class _Ask(enum.IntEnum):
    LAUNCH = 1
    ADOPT = 2
    SIGNAL = 3
    DESTROY = 4
    ENTER = 5
    GREET = 6


#: What failed, by its number in protocol.h, in words that go before a path or nothing.
STEPS: Final = (
    "",
    "create the cgroup",
    "write into the cgroup",
    "watch the memory of the cgroup",
    "start a process in new namespaces",
    "enter the cgroup",
    "run the init",
    "read the plan",
    "write the record",
    "detach the mounts",
    "mount /proc",
    "set the hostname",
    "open the output",
    "start a process",
    "start a session",
    "set the resource limits",
    "take the groups",
    "become the user",
    "enter the folder",
    "execute",
    "enter the container",
    "run the OCI runtime",
)
STEP_INIT: Final = 6
STEP_RUNTIME: Final = 21


class User(NamedTuple):
    """Who runs a program."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


class Plan(NamedTuple):
    """What an init does.

    `environment` is all that the program has; `directory` is where it starts, and where a relative
    path of it is looked up; a program without a slash is looked up in its PATH.
    """

    program: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    directory: str
    stdout: str
    stderr: str
    user: User | None = None
    hostname: str = ""
    #: By their numbers in `resource`, as (soft, hard), −1 for none.
    limits: Mapping[int, tuple[int, int]] = {}
    #: Whether it runs in a pid namespace, at the end of which all in it end.
    has_namespaces: bool = True
    #: Whether the program joins a container that runs.
    is_guest: bool = False
    #: Of an OCI runtime that starts it, without what it runs; None: the launcher does.
    config: dict[str, Any] | None = None


def pack_plan(plan: Plan) -> bytes:
    """Return a plan as the init reads it. O(its length)."""
    flags = _IS_GUEST if plan.is_guest else 0
    if plan.config is not None:
        flags |= _IS_RUNTIME
    elif not plan.has_namespaces:
        flags |= _IS_REAPER
    elif not plan.is_guest:
        flags |= _HAS_NAMESPACES
    uid = gid = 0
    groups: tuple[int, ...] = ()
    if plan.user is not None:
        flags |= _HAS_IDENTITY
        uid, gid, groups = plan.user
    head = _PLAN.pack(
        _MAGIC,
        flags,
        uid,
        gid,
        len(plan.limits),
        len(groups),
        len(plan.arguments),
        len(plan.environment),
    )
    limits = [
        _LIMIT.pack(number, 0, *(each & 0xFFFF_FFFF_FFFF_FFFF for each in pair))
        for number, pair in plan.limits.items()
    ]
    texts = [
        plan.hostname,
        plan.directory,
        plan.stdout,
        plan.stderr,
        plan.program,
        *plan.arguments,
        *(f"{name}={value}" for name, value in plan.environment.items()),
        "",
    ]
    return b"".join(
        (head, *limits, struct.pack(f"={len(groups)}I", *groups), os.fsencode("\0".join(texts)))
    )


class Write(NamedTuple):
    """A value for a file of a cgroup in the hierarchy of an index."""

    hierarchy: int
    file: str
    value: str


def pack_greeting(kinds: Sequence[str]) -> bytes:
    """Return the packet that, with the init's program and the agent's cgroups, is the first one."""
    texts = "".join(f"{kind}\0" for kind in kinds)
    return _REQUEST.pack(_Ask.GREET, 0, 0, 0) + texts.encode()


def pack_launch(
    handle: int, name: str, writes: Sequence[Write], namespaces: int, removal: Sequence[str] = ()
) -> bytes:
    """Return the packet that, with a plan and a record, has a container started.

    If by an OCI runtime, it has where that writes the pid, and the command by which it removes it.
    """
    texts = [name]
    for hierarchy, file, value in writes:
        texts += (chr(ord("a") + hierarchy) + file, value)
    texts += removal
    number = namespaces | _BY_RUNTIME * bool(removal)
    head = _REQUEST.pack(_Ask.LAUNCH, handle, number, len(writes))
    return head + os.fsencode("\0".join(texts)) + b"\0"


def pack_adopt(handle: int, name: str, namespaces: int, removal: Sequence[str] = ()) -> bytes:
    """Return the packet that, with the pidfd of its init or none, has a container taken over."""
    number = namespaces | _BY_RUNTIME * bool(removal)
    texts = "\0".join((name, *removal))
    return _REQUEST.pack(_Ask.ADOPT, handle, number, 0) + os.fsencode(texts) + b"\0"


def pack_enter(handle: int, host: int) -> bytes:
    """Return the packet that, with a plan and a record, has a program join a container."""
    return _REQUEST.pack(_Ask.ENTER, handle, host, 0)


def pack_signal(handle: int, number: int) -> bytes:
    """Return the packet that has a signal sent to the program of a container."""
    return _REQUEST.pack(_Ask.SIGNAL, handle, number, 0)


def pack_destroy(handle: int) -> bytes:
    """Return the packet that has all in a container ended and its cgroups removed."""
    return _REQUEST.pack(_Ask.DESTROY, handle, 0, 0)


class Reply(NamedTuple):
    """What the launcher tells of a container."""

    kind: Kind
    handle: int
    #: At what a start failed, as a number of `STEPS`.
    step: int
    #: The errno of a start that failed, the host's pid of the init of one that did not.
    number: int
    #: Which file of the cgroups it was.
    where: str


def read_reply(packet: bytes) -> Reply:
    """Return what a packet of the launcher says."""
    kind, handle, step, number = _REPLY.unpack_from(packet)
    return Reply(Kind(kind), handle, step, number, os.fsdecode(packet[_REPLY.size :]))


class NotLaunched(AllocatorError):
    """A container could not be started, and nothing is left of it; the text says why."""


class HostEnded(NotLaunched):
    """A program that was to run beside another one, which has ended."""


def why_not(reply: Reply, plan: Plan) -> str:
    """Return why a container could not be started: what was tried, on what, and the error.

    Examples
    --------
    >>> plan = Plan("nosuch", ["nosuch"], {}, "/sandbox", "/sandbox/stdout", "/sandbox/stderr")
    >>> why_not(Reply(Kind.FAILED, 0, STEPS.index("execute"), 2, ""), plan)
    'Failed to execute nosuch: No such file or directory'
    """
    step = STEPS[reply.step] if reply.step < len(STEPS) else f"do step {reply.step}"
    subjects = {
        "execute": plan.program,
        "enter the folder": plan.directory,
        "open the output": plan.stdout,
        "set the hostname": plan.hostname,
        "become the user": "" if plan.user is None else str(plan.user.uid),
    }
    subject = subjects.get(step, reply.where)
    if reply.step == STEP_INIT and reply.number in (10, 125):  # ECHILD, ECANCELED: it was ended
        return "The container was ended before its program ran"
    if reply.number < 0:
        return f"Failed to {step}: exit status {-reply.number}"
    return f"Failed to {step}{' ' * bool(subject)}{subject}: {os.strerror(reply.number)}"


# Records.

#: Of a record, always: writing it needs no place on a disk that may be full.
RECORD_BYTES: Final = 64


class Record(NamedTuple):
    """What an init wrote down: `new`, `starting`, `running` or `ended`, and who it is."""

    state: str
    pid: int
    #: When it started, in ticks of the clock since the machine did: with the pid, who it is.
    start: int
    #: As wait(2) has it, once ended.
    wait_status: int


def new_record() -> bytes:
    """Return the record of an init that has not begun."""
    return _as_record("new 0 0 0")


def killed_record() -> bytes:
    """Return the record of an init that was killed before it wrote down more than who it is."""
    return _as_record(f"ended 0 0 {int(signal.SIGKILL)}")


def _as_record(text: str) -> bytes:
    return text.encode("ascii").ljust(RECORD_BYTES - 1) + b"\n"


def read_record(content: bytes) -> Record | None:
    """Return what a record says; None if it makes no sense.

    Examples
    --------
    >>> read_record(b"ended 4711 88213 768 ")
    Record(state='ended', pid=4711, start=88213, wait_status=768)
    """
    words = content.split()
    try:
        state, pid, start, status = words
        record = Record(state.decode("ascii"), int(pid), int(start), int(status))
    except ValueError:
        return None
    return record if record.state in ("new", "starting", "running", "ended") else None


def start_time(pid: int) -> int | None:
    """Return when a process started, in ticks since the machine did; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def rlimit(name: str) -> int | None:
    """Return the number of a limit by Mesos' name, such as `RLMT_NOFILE`; None if unknown."""
    number = getattr(resource, name.replace("RLMT_", "RLIMIT_", 1), None)
    return number if name.startswith("RLMT_") and isinstance(number, int) else None


def rlimit_name(number: int) -> str:
    """Return the name of a limit as the kernel's documentation has it, by its number."""
    names = (name for name in dir(resource) if name.startswith("RLIMIT_"))
    return min(name for name in names if getattr(resource, name) == number)
