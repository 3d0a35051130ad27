"""OCI runtimes: which one can be used, and what it is told to start.

A container that such a runtime starts has our init as its first process, which is mounted into it;
cgroups and their limits are ours, made before, and told to the runtime, too: crun takes a limit
away that it is not told. The runtime starts it and removes what it keeps of it; it is not there in
between.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from allocator.agent.containers import cgroups, protocol
from allocator.agent.containers.cgroups import Amounts
from allocator.agent.containers.launcher import program
from allocator.agent.containers.protocol import Plan, Record, User
from allocator.errors import AllocatorError, cut, shown

Json = dict[str, Any]

#: Those that are tried if none is named.
NAMES: Final = ("crun", "runc")
#: Where the sandbox is in a container made of a rootfs.
SANDBOX: Final = "/mnt/mesos/sandbox"

_TRIAL: Final = "trial.oci"  # no container's: those have no dots
_TRIAL_SECONDS: Final = 30.0
#: TRIAL_STATUS in programs/protocol.h: what the init ends with that is told nothing.
_TRIAL_STATUS: Final = 86
_INIT: Final = ".allocator-init"
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CLONE_FLAGS: Final = {
    "pid": protocol.CLONE_NEWPID,
    "mount": protocol.CLONE_NEWNS,
    "uts": protocol.CLONE_NEWUTS,
    "ipc": protocol.CLONE_NEWIPC,
}
#: What root may do in a container of a rootfs.
_CAPABILITIES: Final = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
]
_MOUNTS: Final = (
    ("/proc", "proc", "proc", ("nosuid", "nodev", "noexec")),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    ("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "mode=0620")),
    ("/dev/shm", "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),
    ("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    ("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
)
_ROOT: Final = {"uid": 0, "gid": 0}
#: Limits that are ours, whatever a bundle says.
_OUR_RESOURCES: Final = ("cpu", "memory", "pids", "unified")


class NoOciRuntime(AllocatorError):
    """None can be used; the text says why."""


class BadImage(AllocatorError):
    """A bundle or rootfs that no container can be made of; the text says why."""


class Oci(NamedTuple):
    """An OCI runtime, and where it keeps its notes."""

    binary: str
    state: Path

    def removal(self, folder: Path, id: str) -> list[str]:
        """Return where the pid of a container is, and the command that removes what is kept of it.

        Nothing, if there is nothing.
        """
        name = name_of(id)
        if not (folder / "bundle").exists() and not (self.state / name).exists():
            return []
        return [str(folder / "pid"), *self._command(folder), "delete", "--force", name]

    def start(self, folder: Path, id: str) -> list[str]:
        """Return the command that starts a container."""
        files = ["--bundle", str(folder / "bundle"), "--pid-file", str(folder / "pid")]
        return [
            *self._command(folder),
            "run",
            "--detach",
            "--preserve-fds",
            "3",
            *files,
            name_of(id),
        ]

    def _command(self, folder: Path) -> list[str]:
        log = ["--log", str(folder / "log"), "--log-format", "json"]
        return [self.binary, "--root", str(self.state), *log]

    def names(self) -> set[str]:
        """Return the names of the containers that it knows."""
        try:
            return set(os.listdir(self.state))
        except FileNotFoundError:
            return set()

    def plan(self, folder: Path, plan: Plan, words: Sequence[str], place: Place) -> Plan:
        """Write a bundle down, and return the plan by which the runtime is started.

        The words are what its init has to know; the container's id is the first.
        """
        assert plan.config is not None
        bundle = folder / "bundle"
        bundle.mkdir(mode=0o700)
        config = _in_cgroup(_with_init(plan.config, plan, words), place)
        (bundle / "config.json").write_text(json.dumps(config), "utf-8")
        words = self.start(folder, words[0])
        return plan._replace(
            program=words[0], arguments=words, environment={"PATH": _PATH}, directory="/"
        )


def name_of(id: str) -> str:
    """Return a container's name for a runtime: its id, if runc takes that.

    Examples
    --------
    >>> name_of("a-1"), name_of("é")
    ('a-1', 'c.4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c')
    """
    if re.fullmatch(r"[\w+-]+|[\w.]+", id, re.ASCII):
        return id  # or a name of such a one that nobody knows any more
    return f"c.{hashlib.sha256(id.encode()).hexdigest()}"


class Place(NamedTuple):
    """Where a container is among cgroups, and what it may use."""

    cgroup: str
    amounts: Amounts


class Given(NamedTuple):
    """What was asked for, in place of what a bundle says."""

    #: None: nobody in particular.
    user: User | None = None
    environment: Mapping[str, str] = {}
    hostname: str = ""
    limits: Mapping[int, tuple[int, int]] = {}


def forget(folder: Path) -> None:
    """Remove what was written down of a container."""
    for name in ("pid", "log"):
        with contextlib.suppress(FileNotFoundError):
            (folder / name).unlink()
    shutil.rmtree(folder / "bundle", ignore_errors=True)


def why_not(folder: Path) -> str:
    """Return what a runtime said last; nothing, if it said nothing."""
    try:
        lines = (folder / "log").read_text("utf-8", "replace").splitlines()
        return cut(str(json.loads(lines[-1])["msg"]))
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def record_of(folder: Path, record: Record) -> Record:
    """Return a record as the host has it: an init that a runtime starts does not know its pid.

    It runs once the runtime has told the pid.
    """
    try:
        return record._replace(pid=int((folder / "pid").read_text("ascii")))
    except (OSError, ValueError):
        state = "starting" if record.state == "running" else record.state
        return record._replace(pid=0, state=state)


def namespaces_of(folder: Path) -> int:
    """Return the new namespaces of a container's bundle, as clone(2) has them."""
    try:
        return namespaces(json.loads((folder / "bundle" / "config.json").read_bytes()))
    except (OSError, ValueError):
        return protocol.NAMESPACES


def namespaces(config: Json) -> int:
    """Return the namespaces of a bundle that are new, as clone(2) has them.

    Examples
    --------
    >>> hex(namespaces({"linux": {"namespaces": [{"type": "pid"}, {"type": "ipc", "path": "/x"}]}}))
    '0x20000000'
    """
    given = (config.get("linux") or {}).get("namespaces") or []
    return sum({_CLONE_FLAGS.get(each.get("type"), 0) for each in given if not each.get("path")})


# Which runtime.


def find(name: str | None, state: Path, cgroup: str) -> Oci:
    """Return the OCI runtime to use: that of a name or path, else the first that works.

    Each is tried: it runs a container with limits, made of nothing but our init.

    Parameters
    ----------
    name : str or None
    state : Path
        Where it keeps its notes.
    cgroup : str
        Of the agent, below which is that of the trial.

    Raises
    ------
    NoOciRuntime
        None works.
    """
    reasons = []
    for each in NAMES if name is None else (name,):
        binary = shutil.which(each)
        why = "is not there" if binary is None else _try(binary, state, cgroup)
        if binary is not None and not why:
            return Oci(os.path.realpath(binary), state)
        reasons.append(f"{each}: {why}")
    advice = "install runc or crun" if name is None else "give another --oci-runtime"
    raise NoOciRuntime(f"no OCI runtime works ({'; '.join(reasons)}); {advice}")


def _try(binary: str, state: Path, cgroup: str) -> str:
    """Return why a runtime cannot be used; nothing if it can."""
    import subprocess  # not for agents that need it not

    folder = state.parent / _TRIAL
    shutil.rmtree(folder, ignore_errors=True)
    try:
        (folder / "rootfs").mkdir(parents=True)
        shutil.copy(program("allocator-init"), folder / "rootfs" / "init")
        (folder / "rootfs" / "init").chmod(0o755)
        config = of_rootfs(folder / "rootfs", None, Given())
        config["process"]["args"] = ["/init"]
        config["process"]["cwd"] = "/"
        amounts = Amounts(cpus=1, mem_mb=64, pids_limit=64)
        config = _in_cgroup(config, Place(f"{cgroup}/{_TRIAL}", amounts))
        (folder / "config.json").write_text(json.dumps(config), "utf-8")
        words = [binary, "--root", str(folder / "state"), "run", "--bundle", str(folder), _TRIAL]
        done = subprocess.run(
            words,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_TRIAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"ran nothing within {_TRIAL_SECONDS:g} s"
    except OSError as error:
        return error.strerror or "cannot be run"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if done.returncode == _TRIAL_STATUS:
        return ""
    said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
    return cut(f"exit status {done.returncode}: {said[-1]}")


# What it is told.


def find_image(info: object, roots: Sequence[Path]) -> tuple[str, Path]:
    """Return what `container.oci` names: `bundle` or `rootfs`, and the folder, links resolved.

    Raises
    ------
    BadImage
        It names neither or both, or what is not below one of the roots.
    """
    fields = info if isinstance(info, dict) else {}
    given = [(kind, fields[kind]) for kind in ("bundle", "rootfs") if fields.get(kind) is not None]
    if len(given) != 1 or not isinstance(given[0][1], str) or "\0" in given[0][1]:
        raise BadImage(f"container.oci {shown(info)}: has a bundle or a rootfs, which is a path")
    kind, text = given[0]
    path = resolved(Path(text), roots)
    if not path.is_dir():
        raise BadImage(f"container.oci.{kind} {shown(text)}: is no folder")
    return kind, path


def resolved(path: Path, roots: Sequence[Path]) -> Path:
    """Return a path without links, if it is below one of the roots; raises `BadImage`."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or "leads nowhere"
        raise BadImage(f"{shown(str(path))}: {why}") from None
    if not path.is_absolute() or not any(real.is_relative_to(root.resolve()) for root in roots):
        raise BadImage(f"{shown(str(path))}: is not below an --oci-root of this agent")
    return real


def of_rootfs(rootfs: Path, sandbox: Path | None, given: Given) -> Json:
    """Return the configuration of a container made of a folder, without what it runs."""
    mounts = [_mount(*each) for each in _MOUNTS]
    if sandbox is not None:
        bind = {"type": "bind", "options": ["rbind", "rw"]}
        mounts.append({"destination": SANDBOX, "source": str(sandbox), **bind})
    process = {
        "terminal": False,
        "cwd": SANDBOX,
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES),
    }
    if given.user is not None and given.user.uid:
        process["capabilities"] = {"bounding": _CAPABILITIES}
    config = {
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": str(rootfs), "readonly": False},
        "mounts": mounts,
        "linux": {
            "namespaces": [{"type": name} for name in _CLONE_FLAGS],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        },
    }
    return _with_given(config, given._replace(user=given.user or User(0, 0)))


def of_bundle(bundle: Path, roots: Sequence[Path], given: Given) -> Json:
    """Return the configuration of a bundle, with what is ours; raises `BadImage`."""
    file = bundle / "config.json"
    try:
        config = json.loads(resolved(file, roots).read_bytes())
        process, root = config["process"], config["root"]
        rootfs = resolved(bundle / root["path"], roots)
        config = {
            **config,
            "process": {**process, "terminal": False, "user": process.get("user") or _ROOT},
            "root": {**root, "path": str(rootfs)},
            "mounts": _absolute(config.get("mounts") or [], bundle),
            "linux": _with_our_limits(config.get("linux") or {}),
        }
        config["process"].pop("consoleSize", None)
        environment = {**variables(process), **given.environment}
    except OSError as error:
        raise BadImage(f"{file}: {error.strerror}") from None
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise BadImage(f"{file} makes no sense: {type(error).__name__}: {error}") from None
    return _with_given(config, given._replace(environment=environment))


def _absolute(mounts: Sequence[Json], bundle: Path) -> list[Json]:
    """Return the mounts of a bundle that hold wherever they are written down; /proc is one."""
    found = []
    for each in mounts:
        options = each.get("options") or ()
        if each.get("source") and (each.get("type") == "bind" or {"bind", "rbind"} & {*options}):
            each = {**each, "source": str(bundle / each["source"])}
        found.append(each)
    if not any(each["destination"] == "/proc" for each in found):
        found.insert(0, _mount(*_MOUNTS[0]))
    return found


def _mount(to: str, kind: str, source: str, options: Sequence[str]) -> Json:
    return {"destination": to, "type": kind, "source": source, "options": list(options)}


def variables(process: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment of a process of a bundle."""
    pairs = (each.partition("=") for each in process.get("env") or ())
    return {name: value for name, _, value in pairs}


def process_of(folder: Path) -> Json:
    """Return the process of what was written down of a container; raises `OSError`."""
    process: Json = json.loads((folder / "bundle" / "config.json").read_bytes())["process"]
    return process


def _with_our_limits(linux: Json) -> Json:
    given = linux.get("resources") or {}
    resources = {name: value for name, value in given.items() if name not in _OUR_RESOURCES}
    cpu = given.get("cpu") or {}
    placed = {name: cpu[name] for name in ("cpus", "mems") if name in cpu}
    if placed:
        resources["cpu"] = placed
    return {**linux, "resources": resources}


def _with_given(config: Json, given: Given) -> Json:
    """Return a configuration with what was asked for in place of what it says."""
    process = {**config["process"]}
    process["env"] = [f"{name}={value}" for name, value in given.environment.items()]
    if given.user is not None:
        uid, gid, groups = given.user
        process["user"] = {"uid": uid, "gid": gid, "additionalGids": list(groups)}
    limits = {
        protocol.rlimit_name(number): [each & (2**64 - 1) for each in pair]
        for number, pair in given.limits.items()
    }
    process["rlimits"] = [
        *(each for each in process.get("rlimits") or () if each.get("type") not in limits),
        *({"type": type, "soft": soft, "hard": hard} for type, (soft, hard) in limits.items()),
    ]
    hostname = {"hostname": given.hostname} if given.hostname else {}
    return {**config, **hostname, "process": process}


def _with_init(config: Json, plan: Plan, words: Sequence[str]) -> Json:
    """Return a configuration whose first process is our init, which runs the plan's program."""
    mounts = list(config.get("mounts") or [])
    has_dev = any(
        each.get("destination") == "/dev" and each.get("type") == "tmpfs" for each in mounts
    )
    init = f"/dev/{_INIT}" if has_dev else f"/{_INIT}"
    options = ["bind", "ro", "nosuid", "nodev"]
    source = str(program("allocator-init").resolve())
    mounts.append({"destination": init, "type": "bind", "source": source, "options": options})
    words = [init, *words, plan.program, *plan.arguments]
    return {**config, "process": {**config["process"], "args": words}, "mounts": mounts}


def _in_cgroup(config: Json, place: Place) -> Json:
    linux = config["linux"]
    resources = {**linux["resources"], **limits_of(place.amounts)}
    resources["cpu"] = {**linux["resources"].get("cpu", {}), **resources["cpu"]}
    return {**config, "linux": {**linux, "cgroupsPath": place.cgroup, "resources": resources}}


def limits_of(amounts: Amounts) -> dict[str, Json]:
    """Return amounts as a bundle has them.

    Examples
    --------
    >>> limits_of(Amounts(cpus=0.5, cpus_limit=1.5, pids_limit=100))["cpu"]
    {'shares': 512, 'quota': 150000, 'period': 100000}
    """
    cpu, memory, pids = {}, {}, {}
    if amounts.cpus is not None:
        cpu["shares"] = cgroups.cpu_shares(amounts.cpus)
    cpus = cgroups.limit_of(amounts.cpus, amounts.cpus_limit)
    if amounts.has_quota and math.isfinite(cpus):
        cpu |= {"quota": cgroups.cfs_quota_us(cpus), "period": cgroups.CFS_PERIOD_US}
    if amounts.mem_mb is not None:
        memory["reservation"] = cgroups.memory_bytes(amounts.mem_mb)
    mb = cgroups.limit_of(amounts.mem_mb, amounts.mem_limit_mb)
    if math.isfinite(mb):
        memory["limit"] = cgroups.memory_bytes(mb)
        if amounts.limits_swap:
            memory["swap"] = memory["limit"]
    if amounts.pids_limit is not None and math.isfinite(amounts.pids_limit):
        pids["limit"] = int(amounts.pids_limit)
    return {"cpu": cpu, "memory": memory, "pids": pids} if pids else {"cpu": cpu, "memory": memory}
