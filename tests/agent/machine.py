"""Real containers on this machine, and what the kernel says of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from allocator.agent.containers import cgroups
from allocator.agent.containers.cgroups import Amounts, Cgroups, NoCgroups, Root
from allocator.agent.containers.containers import Containers, End
from allocator.agent.containers.launcher import Launcher
from allocator.agent.containers.protocol import NotLaunched, Plan, User

#: For what needs some time on a busy machine; a failure takes as long.
PATIENCE_SECONDS = 60.0

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SMALL = Amounts(cpus=0.5, mem_mb=64, pids_limit=64)

_numbers = itertools.count()


def usable_cgroups() -> Cgroups | str:
    """Return what the machine has, or why containers cannot be tested on it."""
    if os.geteuid() != 0:
        return "containers need root"
    try:
        found = cgroups.find(Path("/sys/fs/cgroup"))
        Root(found, root_name()).close()
    except NoCgroups as error:
        return str(error)
    except OSError as error:
        return f"cgroups cannot be written: {error}"
    remove_roots()
    return found


def root_name() -> str:
    return f"allocator-test-{os.getpid()}-{next(_numbers)}"


def remove_roots() -> None:
    """Remove what tests of this process left empty; what is not empty fails."""
    mounts = cgroups.read_mounts(Path("/proc/self/mountinfo").read_text())
    for hierarchy in mounts:  # also those that only an OCI runtime uses
        for folder in hierarchy.path.glob(f"allocator-test-{os.getpid()}-*"):
            folder.rmdir()


class Machine:
    """An agent's containers, driven step by step; each test has its own."""

    def __init__(self, folder: Path, found: Cgroups | None, name: str | None = None) -> None:
        self.folder = folder
        self.found = found
        self.name = name or root_name()
        self.loop = asyncio.new_event_loop()
        self.root = None if found is None else Root(found, self.name)
        self.pids: dict[str, int] = {}
        self.failures: dict[str, str] = {}
        self.ends: dict[str, End] = {}
        self.launchers: list[Launcher] = []
        self.containers = Containers(
            folder / "meta" / "containers", self.root, self._start_launcher, self
        )
        self.loop.run_until_complete(self._attach())

    def _start_launcher(self) -> Launcher:
        self.launchers.append(Launcher(self.folder / "meta", self.root))
        return self.launchers[-1]

    async def _attach(self) -> None:
        self.containers.attach()

    # What is told.

    def started(self, container_id: str, pid: int) -> None:
        assert container_id not in self.pids
        self.pids[container_id] = pid

    def failed(self, container_id: str, message: str) -> None:
        assert container_id not in self.failures
        self.failures[container_id] = message

    def ended(self, container_id: str, end: End) -> None:
        assert container_id not in self.ends
        self.ends[container_id] = end

    # What tests do.

    def until(self, holds: Callable[[], object]) -> None:
        """Let things happen until something holds."""

        async def wait() -> None:
            until = time.monotonic() + PATIENCE_SECONDS
            while not holds():
                assert time.monotonic() < until, "it does not come to that"
                await asyncio.sleep(0.002)

        self.loop.run_until_complete(wait())

    def begin(
        self,
        id: str,
        *command: str,
        amounts: Amounts = SMALL,
        environment: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> Path:
        """Ask for a container, and return its folder."""
        sandbox = self.folder / "sandboxes" / id
        sandbox.mkdir(parents=True)
        user = fields.get("user")
        if isinstance(user, User):
            os.chown(sandbox, user.uid, user.gid)
        plan = Plan(
            program=command[0],
            arguments=fields.pop("arguments", command),
            environment={"PATH": PATH, **(environment or {})},
            directory=fields.pop("directory", str(sandbox)),
            stdout=str(sandbox / "stdout"),
            stderr=str(sandbox / "stderr"),
            has_namespaces=self.root is not None,
            **fields,
        )
        self.loop.run_until_complete(self._launch(id, plan, amounts))
        return sandbox

    async def _launch(self, id: str, plan: Plan, amounts: Amounts) -> None:
        self.containers.launch(id, plan, amounts)

    def launch(self, id: str, *command: str, **fields: Any) -> Path:
        """Start a container, and return its folder; raises `NotLaunched`."""
        sandbox = self.begin(id, *command, **fields)
        self.until(lambda: id in self.pids or id in self.failures)
        if id in self.failures:
            raise NotLaunched(self.failures[id])
        return sandbox

    def shell(self, id: str, text: str, **fields: Any) -> Path:
        return self.launch(id, "sh", "-c", text, **fields)

    def end(self, id: str) -> End:
        """Return how a container ended, once it has."""
        self.until(lambda: id in self.ends)
        return self.ends[id]

    def output(self, id: str, text: str, **fields: Any) -> str:
        """Run a command to its end, and return what it wrote."""
        sandbox = self.shell(id, text, **fields)
        end = self.end(id)
        assert end.wait_status == 0, (end, (sandbox / "stderr").read_text())
        return (sandbox / "stdout").read_text()

    def recover(self) -> set[str]:
        """Take over what a former agent left in the folder, and return what ran."""
        folder = self.folder / "meta" / "containers"
        known = [each.name for each in folder.iterdir()]
        found = {id for id in known if self.containers.recover(id, SMALL)}
        self.containers.remove_others()
        return found

    def destroy_all(self) -> None:
        for id in list(self.containers):
            self.containers.destroy(id)
        self.until(lambda: not len(self.containers))

    def die(self) -> None:
        """Leave all as it is, as an agent that is killed does."""
        for launcher in self.launchers:
            with contextlib.suppress(ProcessLookupError):
                launcher.close()
        self.containers.close()
        self.loop.close()
        if self.root is not None:
            self.root.close()

    def close(self) -> None:
        """End all, and see to it that nothing is left."""
        self.destroy_all()
        left = set() if self.root is None else self.root.names()
        paths = [] if self.root is None else self.root.paths
        self.die()
        for path in paths:
            path.rmdir()
        assert left == set()


@contextlib.contextmanager
def machine(folder: Path, found: Cgroups | None, name: str | None = None) -> Iterator[Machine]:
    """Run something with a machine of its own, of which nothing is left in the end."""
    this = Machine(folder, found, name)
    try:
        yield this
    finally:
        this.close()


def tree(pid: int) -> set[int]:
    """Return the pids of a process and all below it."""
    found = {pid}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found |= tree(int(child))
    return found


def cgroup_of(pid: int) -> dict[str, str]:
    """Return the cgroup of a process by the controllers of its hierarchy."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    rows = [line.split(":", 2) for line in lines]
    return {name: path for _, names, path in rows for name in names.split(",")}


def processes_below(name: str) -> set[int]:
    """Return the pids of all processes in cgroups of this root."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f":/{name}/" in (folder / "cgroup").read_text():
                found.add(int(folder.name))
    return found


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def skip_without(found: Cgroups | str) -> Cgroups:
    if isinstance(found, str):
        pytest.skip(found)
    return found
