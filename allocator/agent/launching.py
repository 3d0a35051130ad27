"""What runtimes share whose containers the launcher starts, each with an init of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from allocator.agent.checkpoint import Checkpoint
from allocator.agent.containers.cgroups import Amounts, Root
from allocator.agent.containers.containers import Containers, End
from allocator.agent.containers.launcher import Launcher
from allocator.agent.containers.oci import Oci
from allocator.agent.containers.protocol import Plan, User
from allocator.agent.instructions import Container, Ended, Event, Limitation, NotStarted, Started
from allocator.agent.limits import Options, amounts, given_limits, resource_limits
from allocator.agent.runtime import Runtime
from allocator.agent.sandboxes import (
    LaunchFailed,
    Owner,
    Sandboxes,
    command_line,
    error_in_words,
    find_owner,
    raise_file_limit,
    refuse_what_is_not_done,
)

_LOG = logging.getLogger("allocator.agent")

#: How long is waited for what a former agent left to be gone, in seconds.
_PATIENCE_SECONDS: Final = 10.0


class LaunchingRuntime(Runtime):
    """Runs tasks that the launcher starts.

    Needs a running event loop, from the start.

    Parameters
    ----------
    tell : callable
        As of `Runtime`.
    checkpoint : Checkpoint
        The work dir.
    environment : mapping
        Variables that all tasks have.
    root : Root or None
        Where their cgroups are; None: they have none, and no namespaces.
    options : Options
    runtime : Oci or None
        What starts those that have an image.
    """

    def __init__(
        self,
        tell: Callable[[list[Event]], None],
        checkpoint: Checkpoint,
        environment: Mapping[str, str],
        root: Root | None,
        options: Options,
        runtime: Oci | None = None,
    ) -> None:
        super().__init__(tell)
        self._options = options
        self._sandboxes = Sandboxes(checkpoint.work_dir, environment)
        #: What is started or recovered, and not told to have ended.
        self._known: dict[str, Container] = {}
        #: Those of a former agent whose program never ran.
        self._unborn: set[str] = set()
        self._hard_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self._soft_files = raise_file_limit()
        self._containers = Containers(
            checkpoint.containers,
            root,
            lambda: Launcher(checkpoint.containers.parent, root),
            listener=self,
            runtime=runtime,
        )
        self._containers.attach()

    # What is asked.

    def start(self, container: Container) -> None:
        """Start a container."""
        try:
            plan = self._plan(container)
            self._containers.launch(container.id, plan, self._amounts(container))
        except (OSError, LaunchFailed, UnicodeError) as error:
            self._not_started(
                container, error_in_words(error) if isinstance(error, OSError) else str(error)
            )
        except Exception:  # a defect, which is nothing to the other containers
            _LOG.exception("defect", extra={"fields": {"container_id": container.id}})
            self._not_started(container, "the agent failed; its log says how")
        else:
            self._known[container.id] = container

    def _not_started(self, container: Container, why: str) -> None:
        self._sandboxes.remove(container)
        self.tell(NotStarted(container.id, f"Not started: {why}"))

    def _plan(self, container: Container) -> Plan:
        """Return what the init does; makes the sandbox."""
        refuse_what_is_not_done(container)
        limits = self._limits(container.task.container or {})
        owner = find_owner(container)
        program, arguments = command_line(container.task.command or {})
        sandbox = self._sandboxes.make(container, owner)
        return Plan(
            program=program,
            arguments=arguments,
            environment=self._sandboxes.variables(container, sandbox),
            directory=str(sandbox),
            stdout=str(sandbox / "stdout"),
            stderr=str(sandbox / "stderr"),
            user=None if owner is None else User(*owner),
            hostname=(container.task.container or {}).get("hostname") or "",
            limits=limits,
        )

    def _limits(self, info: Mapping[str, Any]) -> dict[int, tuple[int, int]]:
        """Return the limits of a container's processes."""
        files = (self._soft_files, self._hard_files)
        return {resource.RLIMIT_NOFILE: files, **resource_limits(info)}

    def _amounts(self, container: Container) -> Amounts:
        task = container.task
        return amounts(task.resources or [], given_limits(task), self._options)

    def prepare(self, container: Container) -> tuple[Path, Owner | None]:
        """Make its sandbox."""
        owner = find_owner(container)
        return self._sandboxes.make(container, owner), owner

    def discard(self, container: Container) -> None:
        """Remove its sandbox."""
        self._sandboxes.remove(container)

    def recover(self, container: Container) -> bool:
        """Find a container again, or what it left."""
        self._known[container.id] = container
        has_run = self._containers.recover(container.id, self._amounts(container))
        if has_run:
            self.tell(Started(container.id))
        else:
            self._unborn.add(container.id)
        return has_run

    async def recovered(self) -> None:
        """End and remove what nobody knows, and what never ran."""
        others = self._containers.remove_others() | self._unborn
        self._unborn.clear()
        until = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        while others := {name for name in others if name in self._containers}:
            if asyncio.get_running_loop().time() > until:
                fields = {"names": sorted(others)}
                _LOG.error("containers that cannot be removed", extra={"fields": fields})
                break
            await asyncio.sleep(0.01)

    def ask_to_end(self, container_id: str) -> None:
        """Send SIGTERM to its program."""
        self._containers.signal(container_id, signal.SIGTERM)

    def make_end(self, container_id: str) -> None:
        """Kill all in it."""
        self._containers.destroy(container_id)

    def limit(self, container_id: str, limitation: Limitation) -> None:
        """Kill all in it."""
        self._containers.limit(container_id, limitation)

    def signal(self, container_id: str, number: int) -> None:
        """Send a signal to its program."""
        self._containers.signal(container_id, number)

    def resize(self, container: Container) -> None:
        """Write what it is limited to into its cgroups, if it has any."""
        if container.id in self._known:
            self._known[container.id] = container
            self._containers.resize(container.id, self._amounts(container))

    async def run_inside(self, container: Container, command: Mapping[str, Any]) -> int:
        """Run a command in its namespaces and cgroups; what it writes is not kept."""
        return await self._containers.run_inside(container.id, self._guest(container, command))

    def _guest(self, container: Container, command: Mapping[str, Any]) -> Plan:
        """Return the plan of a command that is run inside."""
        sandbox = self._sandboxes.directory(container)
        program, arguments = command_line(command)
        owner = find_owner(container)
        return Plan(
            program=program,
            arguments=arguments,
            environment=self._sandboxes.variables(container, sandbox, command),
            directory=str(sandbox),
            stdout=os.devnull,
            stderr=os.devnull,
            user=None if owner is None else User(*owner),
            limits=self._limits({}),
        )

    def abandon(self, container_id: str) -> None:
        """Kill all in it, and remove its cgroups."""
        self._containers.remove(container_id)

    def forget(self, container_id: str) -> None:
        """Sandboxes stay for people to look at."""
        self._containers.forget(container_id)

    def directory(self, container: Container) -> Path:
        """Return the sandbox of a container."""
        return self._sandboxes.directory(container)

    def close(self) -> None:
        """End the launcher; containers go on."""
        super().close()
        self._containers.close()

    def pid(self, container_id: str) -> int | None:
        """Return the host's pid of the first process of a container; None if it has none."""
        return self._containers.pid(container_id)

    # What is told.

    def started(self, container_id: str, pid: int) -> None:
        """Take in that the program runs."""
        self.tell(Started(container_id))

    def failed(self, container_id: str, message: str) -> None:
        """Take in that a container could not be started."""
        self._sandboxes.remove(self._known.pop(container_id))
        self.tell(NotStarted(container_id, f"Not started: {message}"))

    def ended(self, container_id: str, end: End) -> None:
        """Take in that a container has ended."""
        self._sandboxes.touch(self._known.pop(container_id))
        self.tell(Ended(container_id, end.wait_status, end.limitation))
