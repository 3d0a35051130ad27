"""Containers: launched, destroyed and read, beside an OCI runtime and bare reads, in one run.

    python -m benchmarks.containers [N] [--turns T] [--peer crun|runc|none] [--mounts M]

Needs root and cgroups. Runs in a mount namespace of its own, from which the mount of cgroup v2 is
taken for the peer where there are v1 hierarchies too: crun refuses such a machine otherwise.

launch: from the first request to the last program executed: cgroups (4 of v1 and one of v2 on a
machine with both) with limits of cpus, quota, memory and pids; pid, mount, uts and ipc namespaces;
an own /proc; sandbox, record and output files. No executor, no image. The peer: `run -d` of a
bundle with the same limits, namespaces and program, one after the other, or two at a time if that
is faster.
destroy: from the first request to the last container gone, its processes reaped, its cgroups
removed. The peer: `delete -f`.
read: the statistics of all containers, as JSON, against `pread` of four files of each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from allocator.agent.containers import cgroups
from allocator.agent.containers.cgroups import Amounts, Cgroups, Root
from allocator.agent.containers.containers import Containers, End
from allocator.agent.containers.launcher import Launcher
from allocator.agent.containers.protocol import Plan

_AMOUNTS: Final = Amounts(cpus=0.5, mem_mb=64, pids_limit=1024)
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


class Agent:
    """An agent's containers, and nothing else of it."""

    def __init__(self, folder: Path, root: Root) -> None:
        self.folder = folder
        self.root = root
        self.n_started = self.n_ended = 0
        self.changed = asyncio.Event()
        (folder / "meta").mkdir(parents=True)
        self.launcher = Launcher(folder / "meta", root)
        self.containers = Containers(
            folder / "meta" / "containers", root, lambda: self.launcher, listener=self
        )
        self.containers.attach()

    def started(self, container_id: str, pid: int) -> None:
        """Count it."""
        self.n_started += 1
        self.changed.set()

    def failed(self, container_id: str, message: str) -> None:
        """Give up."""
        raise RuntimeError(message)

    def ended(self, container_id: str, end: End) -> None:
        """Count it."""
        self.n_ended += 1
        self.changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        while not holds():
            self.changed.clear()
            await self.changed.wait()

    async def launch(self, n: int, program: str) -> float:
        """Launch n containers; return the seconds."""
        begin = time.perf_counter()
        until = self.n_started + n
        for number in range(n):
            sandbox = self.folder / "sandboxes" / str(number)
            sandbox.mkdir(parents=True)
            text = str(sandbox)
            plan = Plan(program, [program], {}, text, f"{text}/stdout", f"{text}/stderr")
            self.containers.launch(str(number), plan, _AMOUNTS)
            if number % 16 == 0:
                await asyncio.sleep(0)
        await self.until(lambda: self.n_started == until)
        return time.perf_counter() - begin

    async def destroy(self) -> float:
        """Destroy all containers; return the seconds."""
        begin = time.perf_counter()
        until = self.n_ended + len(self.containers)
        for id in list(self.containers):
            self.containers.destroy(id)
        await self.until(lambda: self.n_ended == until)
        seconds = time.perf_counter() - begin
        shutil.rmtree(self.folder / "sandboxes")
        return seconds


class Peer:
    """An OCI runtime, with a bundle for each container."""

    def __init__(self, name: str, folder: Path, program: str, found: Cgroups) -> None:
        self.name = name
        self.folder = folder
        self.is_hybrid = found.kind == "hybrid"
        self.program = program

    def prepare(self, n: int) -> None:
        """Write the bundles."""
        for number in range(n):
            bundle = self.folder / "bundles" / str(number)
            for each in ("dev", "proc", "sys"):
                (bundle / "rootfs" / each).mkdir(parents=True)
            os.link(self.program, bundle / "rootfs" / "program")
            (bundle / "config.json").write_text(json.dumps(self._config(number)))

    def _config(self, number: int) -> dict[str, Any]:
        cpu = {"shares": 512, "quota": 50_000, "period": 100_000}
        memory = {"limit": 64 * 2**20, "reservation": 64 * 2**20}
        options = ["nosuid", "noexec", "nodev"]
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
                "cgroupsPath": f"/allocator-bench-peer/{number}",
                "namespaces": [{"type": each} for each in ("pid", "mount", "uts", "ipc")],
                "resources": {"cpu": cpu, "memory": memory, "pids": {"limit": 1024}},
            },
        }

    def _each(self, n: int, command: str, at_a_time: int) -> float:
        """Run a command for each of n numbers; return the seconds."""
        unmount = "umount /sys/fs/cgroup/unified 2>/dev/null; " if self.is_hybrid else ""
        numbers = f"seq 0 {n - 1} | xargs -P{at_a_time} -I@"
        script = f"{unmount}date +%s.%N; {numbers} {command} && date +%s.%N"
        # What it starts holds its output open, which therefore is a file.
        with (self.folder / "out").open("w+") as out, (self.folder / "err").open("w+") as err:
            result = subprocess.run(
                ["unshare", "-m", "--propagation", "private", "sh", "-c", script],
                cwd=self.folder / "bundles",
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                check=False,
            )
            times = (self.folder / "out").read_text().split()
            if result.returncode or len(times) != 2:
                raise RuntimeError(f"{self.name}: {(self.folder / 'err').read_text()[:500]}")
        return float(times[1]) - float(times[0])

    def leave(self) -> None:
        """Remove what it leaves of cgroups."""
        for folder in Path("/sys/fs/cgroup").glob("**/allocator-bench-peer"):
            folder.rmdir()

    def launch(self, n: int, at_a_time: int) -> float:
        """Run n containers; return the seconds."""
        return self._each(n, f"{self.name} run -d --bundle @ allocator-bench-@", at_a_time)

    def destroy(self, n: int, at_a_time: int) -> float:
        """Delete n containers; return the seconds."""
        return self._each(n, f"{self.name} delete -f allocator-bench-@", at_a_time)


def pss(pid: int | str) -> int:
    """Return the memory of a process in KiB, with its part of what it shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def bare_descriptors(root: Root, ids: Sequence[str]) -> list[int]:
    """Open the files that have to be read."""
    kind = "v2" if root.cgroups.kind == "v2" else "v1"
    return [
        os.open(root.paths[root.cgroups.of(controller)] / id / file, os.O_RDONLY)
        for id in ids
        for controller, file in _FILES[kind]
    ]


def median_seconds(work: Callable[[], object], turns: int = 51) -> float:
    """Return how long a call takes, in the median."""
    found = []
    for _ in range(turns):
        begin = time.perf_counter()
        work()
        found.append(time.perf_counter() - begin)
    return statistics.median(found)


def read_bare(descriptors: Sequence[int]) -> None:
    """Read files from their beginning."""
    for descriptor in descriptors:
        os.pread(descriptor, 16384, 0)


async def measure_reading(agent: Agent, n: int, n_mounts: int, program: str) -> list[str]:
    """Read n containers, without and with other mounts on the machine."""
    await agent.launch(n, program)
    encode = msgspec.json.Encoder().encode
    descriptors = bare_descriptors(agent.root, list(agent.containers))

    def read() -> None:
        encode(list(agent.containers.statistics().values()))

    found = []
    read()
    for mounts in (0, n_mounts):
        mount_many(agent.folder / "mounts", mounts)
        whole = median_seconds(read)
        bare = median_seconds(lambda: read_bare(descriptors))
        found.append(
            f"read {n} with {mounts} more mounts: {whole * 1e3:.2f} ms, "
            f"{whole / bare:.2f} of bare pread ({bare * 1e3:.2f} ms)"
        )
    for descriptor in descriptors:
        os.close(descriptor)
    await agent.destroy()
    return found


def mount_many(folder: Path, n: int) -> None:
    """Make mounts in this process's namespace."""
    script = "".join(f"mkdir -p {folder}/{i}; mount --bind /etc {folder}/{i}\n" for i in range(n))
    subprocess.run(["sh"], input=script, text=True, check=True)


async def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """Measure all, and print it."""
    found = cgroups.find(Path("/sys/fs/cgroup"))
    root = Root(found, "allocator-bench")
    (folder / "sleep.c").write_text(_SLEEP)
    program = str(folder / "program")
    subprocess.run(["cc", "-O2", "-static", "-o", program, folder / "sleep.c"], check=True)
    agent = Agent(folder / "agent", root)
    n, peer = arguments.n, None
    if arguments.peer != "none":
        peer = Peer(arguments.peer, folder / "peer", program, found)
        peer.prepare(n)
    print(
        f"{found.kind}, {os.cpu_count()} processors, {n} containers, medians of {arguments.turns}"
    )
    times: dict[str, list[float]] = {}

    def note(name: str, seconds: float) -> None:
        times.setdefault(name, []).append(seconds)

    for turn in range(arguments.turns):
        before = pss("self") + pss(agent.launcher.pid)
        note("launch", await agent.launch(n, program))
        if turn == 0:
            each = (pss("self") + pss(agent.launcher.pid) - before) / n
            init = statistics.median(pss(agent.containers.pid(id) or 0) for id in agent.containers)
            print(f"memory: {each:.2f} KiB a container in agent and launcher; an init {init} KiB")
        note("destroy", await agent.destroy())
        for at_a_time in (1, 2) if peer is not None else ():
            assert peer is not None
            note(f"peer launch {at_a_time}", peer.launch(n, at_a_time))
            note(f"peer destroy {at_a_time}", peer.destroy(n, at_a_time))
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    for name, seconds in medians.items():
        print(f"{name}: {seconds:.3f} s, {seconds / n * 1e3:.2f} ms each")
    for name in ("launch", "destroy") if peer is not None else ():
        best = min(medians[f"peer {name} {at_a_time}"] for at_a_time in (1, 2))
        print(f"{name}: {medians[name] / best:.3f} of {arguments.peer}")
    if peer is not None:
        peer.leave()
    for line in await measure_reading(agent, arguments.read, arguments.mounts, program):
        print(line)
    agent.containers.close()
    root.close()
    for path in root.paths:
        path.rmdir()


def main() -> None:
    """Measure in a mount namespace that nobody else sees."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("n", type=int, nargs="?", default=1000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--peer", choices=("crun", "runc", "none"), default="crun")
    parser.add_argument("--read", type=int, default=150)
    parser.add_argument("--mounts", type=int, default=300)
    arguments = parser.parse_args()
    if os.environ.get("ALLOCATOR_BENCH_UNSHARED") != "1":
        os.environ["ALLOCATOR_BENCH_UNSHARED"] = "1"
        command = ["unshare", "-m", "--propagation", "private", sys.executable, "-m"]
        os.execvp("unshare", [*command, "benchmarks.containers", *sys.argv[1:]])
    with tempfile.TemporaryDirectory() as folder:
        try:
            asyncio.run(measure(arguments, Path(folder)))
        finally:
            subprocess.run(["sh", "-c", f"umount {folder}/agent/mounts/* 2>/dev/null"], check=False)


if __name__ == "__main__":
    main()
