"""Containers of a real agent: launched, destroyed and read, beside crun and runc in one run.

    python -m benchmarks.containers [N] [--runtimes linux,process,oci] [--peers crun,runc]

Needs root and cgroups, and a C compiler. Runs in a mount namespace of its own, from which the mount
of cgroup v2 is taken for crun where there are v1 hierarchies too: it refuses such a machine
otherwise.

launch: from the first byte of the first LAUNCH_CONTAINER to the last 200, over some connections to
`allocator agent --standalone`: the program is executed then. It includes the call and its notes on
the disk, sandbox, output files and record; under linux and oci a cgroup in each hierarchy (4 of v1
and one of v2 on a machine with both) with limits of cpus, quota, memory and pids; pid, mount, uts
and ipc namespaces; an own /proc; under oci a rootfs. No executor.
master: the same from the first offer to the last TASK_RUNNING at a framework, by a shell; and where
each task brings an executor, a small one, which runs in the container and says so.
destroy: from the first KILL_CONTAINER to the last answer of WAIT_CONTAINER: all processes are
reaped and all cgroups removed then.
peers: `run -d` and `delete -f` of bundles with the same limits, namespaces and program, two at a
time, which is faster than one by one.
read: GET of `/containers` over a connection that stays open, the whole body read, against `pread`
of the four files of each container that it has to read: the fastest of three
times 50, and the median of those 50.
memory: proportional set size (PSS) of agent and launcher.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from allocator.agent.containers import cgroups, oci
from allocator.agent.containers.cgroups import Amounts, Cgroups
from allocator.resources import Resources

from .clients import Framework, now
from .load import Cluster, Launcher

Json = dict[str, Any]

#: Where cgroups are below each hierarchy: of the agent, of the peers.
ROOT: Final = "allocator-bench"
PEER_ROOT: Final = "allocator-bench-peer"

_N_CONNECTIONS: Final = 16
#: How often 50 readings are timed; the turn with the fastest counts.
_READ_TURNS: Final = 3
#: What `/containers` has to read of each at least.
_FILES: Final = {
    "v1": (
        ("cpuacct", "cpuacct.stat"),
        ("cpu", "cpu.stat"),
        ("memory", "memory.usage_in_bytes"),
        ("memory", "memory.stat"),
    ),
    "v2": (("cpu", "cpu.stat"), ("memory", "memory.current"), ("memory", "memory.stat")),
}
_SLEEP: Final = "int pause(void); int main(void) { for (;;) pause(); }"
_RESOURCES: Final = "cpus:0.5;mem:64"


class Machine:
    """The machine, and a folder in which there is what containers run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cgroups: Cgroups = cgroups.find(Path("/sys/fs/cgroup"))
        #: A program that sleeps, alone in a folder.
        self.rootfs = folder / "rootfs"
        self.rootfs.mkdir()
        (folder / "sleep.c").write_text(_SLEEP)
        #: What calls the agent as executors do.
        self.executor = folder / "executor"
        sources = {
            self.rootfs / "program": folder / "sleep.c",
            self.executor: Path(__file__).with_name("executor.c"),
        }
        for made, source in sources.items():
            subprocess.run(["cc", "-O2", "-static", "-o", made, source], check=True)

    def folders(self, root: str) -> list[Path]:
        """Return the cgroups of containers that are there."""
        return [each for mount in _mounts() for each in mount.glob(f"{root}/*/")]

    def leave(self) -> None:
        """Remove what agents and peers leave of cgroups."""
        for mount in _mounts():
            for name in (ROOT, PEER_ROOT):
                with contextlib.suppress(FileNotFoundError):
                    (mount / name).rmdir()


def _mounts() -> list[Path]:
    text = Path("/proc/self/mountinfo").read_text()
    return [each.path for each in cgroups.read_mounts(text)]


class Agent(contextlib.AbstractContextManager["Agent"]):
    """A standalone agent of some runtime."""

    def __init__(self, machine: Machine, runtime: str) -> None:
        self.machine = machine
        self.work = machine.folder / f"work-{runtime}"
        kind = ["--runtime", runtime, "--cgroups-root", ROOT, "--port", "0"]
        images = ["--oci-root", str(machine.folder)]
        self._log = (machine.folder / "log").open("a")
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "allocator", "agent", "--standalone"),
                *("--work-dir", str(self.work), *kind, *images),
            ],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError((machine.folder / "log").read_text())
        self.host, _, port = line.rpartition("/")[2].strip().partition(":")
        self.port = int(port)
        self._launch: Json = {
            "command": {"shell": False, "value": str(machine.rootfs / "program")},
            "resources": _RESOURCES,
        }
        if runtime == "oci":
            self._launch["command"]["value"] = "/program"
            self._launch["container"] = {"type": "MESOS", "oci": {"rootfs": str(machine.rootfs)}}

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGUSR1)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()
        shutil.rmtree(self.work)

    @property
    def pss_kib(self) -> float:
        """The memory of the agent and its launcher."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return sum(map(pss_kib, (self._process.pid, *map(int, children.read_text().split()))))

    async def _call_all(self, type: str, contents: Iterable[Json]) -> float:
        """Make calls over some connections; return the seconds."""
        bodies = [
            json.dumps({"type": type, type.lower(): content}).encode() for content in contents
        ]
        links = [await asyncio.open_connection(self.host, self.port) for _ in range(_N_CONNECTIONS)]
        begin = time.perf_counter()
        left = iter(bodies)
        await asyncio.gather(*(_call(*link, left) for link in links))
        seconds = time.perf_counter() - begin
        for _, writer in links:
            writer.close()
        return seconds

    def _ids(self, n: int) -> list[Json]:
        return [{"container_id": {"value": str(number)}} for number in range(n)]

    def launch(self, n: int) -> float:
        """Launch n containers; return the seconds."""
        contents = [{**each, **self._launch} for each in self._ids(n)]
        return asyncio.run(self._call_all("LAUNCH_CONTAINER", contents))

    def destroy(self, n: int) -> float:
        """Destroy them; return the seconds."""
        begin = time.perf_counter()
        asyncio.run(self._call_all("KILL_CONTAINER", self._ids(n)))
        asyncio.run(self._call_all("WAIT_CONTAINER", self._ids(n)))
        seconds = time.perf_counter() - begin
        assert not self.machine.folders(ROOT)
        asyncio.run(self._call_all("REMOVE_CONTAINER", self._ids(n)))
        return seconds

    def reader(self) -> Callable[[], bytes]:
        """Return what asks for `/containers` on a connection that stays open."""
        link = socket.create_connection((self.host, self.port))

        def read() -> bytes:
            link.sendall(b"GET /containers HTTP/1.1\r\nHost: x\r\n\r\n")
            parts = [link.recv(2**20)]
            head, _, rest = parts[0].partition(b"\r\n\r\n")
            left = int(head.lower().split(b"content-length: ")[1].split()[0]) - len(rest)
            parts = [rest]
            while left:
                parts.append(link.recv(2**20))
                left -= len(parts[-1])
            return b"".join(parts)

        return read


async def _call(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bodies: Iterator[bytes]
) -> None:
    """Make calls on one connection, one after the other."""
    for body in bodies:
        head = b"POST /api/v1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        writer.write(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        text = await reader.readexactly(length)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer.decode() + text.decode())


class Peer:
    """An OCI runtime, with a bundle for each container."""

    def __init__(self, machine: Machine, name: str, n: int) -> None:
        self._machine = machine
        self._name = name
        self._folder = machine.folder / name
        for number in range(n):
            bundle = self._folder / str(number)
            for each in ("dev", "proc", "sys"):
                (bundle / "rootfs" / each).mkdir(parents=True)
            os.link(machine.rootfs / "program", bundle / "rootfs" / "program")
            (bundle / "config.json").write_text(json.dumps(self._config(number)))

    def _config(self, number: int) -> Json:
        options = ["nosuid", "noexec", "nodev"]
        amounts = Amounts(cpus=0.5, mem_mb=64, pids_limit=1024)
        return {
            "ociVersion": "1.0.2",
            "process": {
                "terminal": False,
                "user": {"uid": 0, "gid": 0},
                "args": ["/program"],
                "env": [],
                "cwd": "/",
            },
            "root": {"path": "rootfs"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc", "options": options}
            ],
            "linux": {
                "cgroupsPath": f"/{PEER_ROOT}/{number}",
                "namespaces": [{"type": each} for each in ("pid", "mount", "uts", "ipc")],
                "resources": oci.limits_of(amounts),
            },
        }

    def _each(self, n: int, command: str) -> float:
        """Run a command for each of n numbers, two at a time; return the seconds."""
        unified = self._machine.cgroups.unified
        is_hybrid = unified is not None and bool(self._machine.cgroups.v1)
        unmount = f"umount {unified.path}; " if is_hybrid and unified is not None else ""
        script = f"{unmount}date +%s.%N; seq 0 {n - 1} | xargs -P2 -I@ {command} && date +%s.%N"
        # What it starts holds its output open, which therefore is a file.
        with (self._folder / "out").open("w+") as out, (self._folder / "err").open("w+") as err:
            result = subprocess.run(
                ["unshare", "-m", "--propagation", "private", "sh", "-c", script],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                check=False,
            )
        times = (self._folder / "out").read_text().split()
        if result.returncode or len(times) != 2:
            raise RuntimeError(f"{self._name}: {(self._folder / 'err').read_text()[:500]}")
        return float(times[1]) - float(times[0])

    def launch(self, n: int) -> float:
        """Run n containers; return the seconds."""
        return self._each(n, f"{self._name} run -d --bundle @ allocator-bench-@")

    def destroy(self, n: int) -> float:
        """Delete n containers; return the seconds."""
        return self._each(n, f"{self._name} delete -f allocator-bench-@")


def pss_kib(pid: int) -> float:
    """Return the memory of a process, with its part of what it shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


class Times(NamedTuple):
    """How long calls take, in seconds: the fastest, which others on the machine disturb little."""

    least: float
    median: float


def times_of(work: Callable[[], object], turns: int = 50) -> Times:
    """Return how long a call takes."""
    found = []
    for _ in range(turns):
        begin = time.perf_counter()
        work()
        found.append(time.perf_counter() - begin)
    return Times(min(found), statistics.median(found))


@contextlib.contextmanager
def bare(machine: Machine, n: int) -> Iterator[Callable[[], object]]:
    """Give what reads the files that `/containers` has to read, and nothing else."""
    of, kind = machine.cgroups.of, "v2" if machine.cgroups.kind == "v2" else "v1"
    opened = [
        os.open(
            machine.cgroups.hierarchies[of(controller)].path / ROOT / str(id) / file, os.O_RDONLY
        )
        for id in range(n)
        for controller, file in _FILES[kind]
    ]

    def read() -> None:
        for descriptor in opened:
            os.pread(descriptor, 16384, 0)

    try:
        yield read
    finally:
        for descriptor in opened:
            os.close(descriptor)


@contextlib.contextmanager
def more_mounts(folder: Path, n: int) -> Iterator[None]:
    """Have n more mounts in this process's namespace, and so in that of the agent."""
    folder.mkdir(exist_ok=True)
    if n == 0:
        yield
        return
    binds = "".join(f"mkdir {i}; mount --bind /etc {i}\n" for i in range(n))
    script = f"mount -t tmpfs none {folder} && cd {folder} || exit 1\n{binds}"
    subprocess.run(["sh"], input=script, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


class Read(NamedTuple):
    """How long `/containers` takes, and the bare reading of its files."""

    whole: Times
    bare: Times

    def __str__(self) -> str:
        ratios = [one / other for one, other in zip(*self, strict=True)]
        texts = [
            f"{name} {whole * 1e3:.2f} ms, {ratio:.2f} of bare pread ({bare * 1e3:.2f} ms)"
            for name, whole, bare, ratio in zip(("fastest", "median"), *self, ratios, strict=True)
        ]
        return "; ".join(texts)


def reads(agent: Agent, n: int, mounts: Sequence[int]) -> dict[int, Read]:
    """Return what reading n containers takes, by the number of further mounts."""
    found: dict[int, Read] = {}
    agent.launch(n)
    whole = agent.reader()
    with bare(agent.machine, n) as files:
        assert len(json.loads(whole())) == n
        for each in [*mounts] * _READ_TURNS:
            with more_mounts(agent.machine.folder / "mounts", each):
                turn = Read(times_of(whole), times_of(files))
            best = found.setdefault(each, turn)
            found[each] = Read(*(min(one, other) for one, other in zip(best, turn, strict=True)))
    agent.destroy(n)
    return found


class Memory:
    """What n containers take, in KiB."""

    def __init__(self, idle: float, busy: float, n: int, init: float) -> None:
        self.idle = idle
        self.each = (busy - idle) / n
        self.init = init


def memory(agent: Agent, n: int) -> Memory:
    """Return what n containers take."""
    idle = agent.pss_kib
    agent.launch(n)
    rows = json.loads(agent.reader()())
    busy = agent.pss_kib
    inits = [pss_kib(row["status"]["executor_pid"]) for row in rows]
    agent.destroy(n)
    return Memory(idle, busy, n, statistics.median(inits))


class Executors(Launcher):
    """Launches tasks each of which brings an executor of its own."""

    def task(self, index: int, offer: Json) -> Json:
        """Return a task to launch."""
        info = super().task(index, offer)
        info["executor"] = {
            "executor_id": {"value": f"e{index}"},
            "command": {"shell": False, "value": self.command},
            "resources": Resources("cpus:0.01;mem:32").to_json(),
        }
        del info["command"]
        return info


def through_master(machine: Machine, n: int, *, with_executors: bool) -> float:
    """Launch n tasks through a master and an agent; return the seconds until they run."""
    cluster = Cluster(0)
    work = ("--work-dir", str(machine.folder / "work-master"), "--cgroups-root", ROOT)
    size = ("--resources", f"cpus:{n};mem:{n * 128};disk:0", "--port", "0")
    cluster.start("agent", "--master", cluster.url, "--runtime", "linux", *work, *size)
    if with_executors:
        launcher: Launcher = Executors(n, str(machine.executor), 0.5, 64, most=n)
    else:
        launcher = Launcher(n, f"exec {machine.rootfs / 'program'}", 0.5, 64, most=n)
    try:
        return asyncio.run(_launch_tasks(cluster, launcher))
    finally:
        cluster.stop(signal.SIGUSR1)


async def _launch_tasks(cluster: Cluster, launcher: Launcher) -> float:
    begin = 0.0

    def take(framework: Framework, event: Json) -> None:
        nonlocal begin
        if event["type"] == "OFFERS" and not begin:
            begin = now()
        launcher.take(framework, event)

    framework = Framework(cluster.host, cluster.port, take)
    framework.reading = asyncio.ensure_future(framework.run())
    await launcher.done.wait()
    seconds = now() - begin
    framework.send("TEARDOWN")
    await framework.leave()
    return seconds


def apart(module: str) -> None:
    """Go on in a mount namespace of its own, as what nobody else sees is mounted."""
    if os.environ.get("ALLOCATOR_BENCH_UNSHARED") != "1":
        os.environ["ALLOCATOR_BENCH_UNSHARED"] = "1"
        command = ["unshare", "-m", "--propagation", "private", sys.executable, "-m"]
        os.execvp("unshare", [*command, module, *sys.argv[1:]])


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("n", type=int, nargs="?", default=1000)
    parser.add_argument("--runtimes", default="linux,process,oci")
    parser.add_argument("--peers", default="crun,runc")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--read", type=int, default=150)
    arguments = parser.parse_args()
    apart("benchmarks.containers")
    with tempfile.TemporaryDirectory() as folder:
        measure(arguments, Machine(Path(folder)))


def measure(arguments: argparse.Namespace, machine: Machine) -> None:
    """Measure all, and print it; the peers take turns with us."""
    n = arguments.n
    print(f"{machine.cgroups.kind}, {os.cpu_count()} processors, {n} containers")
    peers = {name: Peer(machine, name, n) for name in filter(None, arguments.peers.split(","))}
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(arguments.turns):
        for runtime in arguments.runtimes.split(","):
            with Agent(machine, runtime) as agent:
                times.setdefault((runtime, "launch"), []).append(agent.launch(n))
                times.setdefault((runtime, "destroy"), []).append(agent.destroy(n))
        for what, has in (("launch through a master", False), ("the same with executors", True)):
            seconds = through_master(machine, n, with_executors=has)
            times.setdefault(("linux", what), []).append(seconds)
        for name, peer in peers.items():
            times.setdefault((name, "launch"), []).append(peer.launch(n))
            times.setdefault((name, "destroy"), []).append(peer.destroy(n))
    for (name, what), found in times.items():
        median = statistics.median(found)
        print(f"{name}, {what}: {median:.2f} s, {median / n * 1e3:.2f} ms each")
    for runtime in arguments.runtimes.split(","):
        with Agent(machine, runtime) as agent:
            taken = memory(agent, n)
        idle = f"idle {taken.idle / 1024:.1f} MiB"
        print(f"{runtime}: {idle}, {taken.each:.2f} KiB a container, {taken.init:.0f} its init")
    with Agent(machine, "linux") as agent:
        for mounts, read in reads(agent, arguments.read, (0, 150, 1000)).items():
            print(f"read {arguments.read} with {mounts} more mounts: {read}")
    machine.leave()


if __name__ == "__main__":
    main()
