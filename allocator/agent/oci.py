"""The OCI runtime: tasks of a bundle or rootfs, started by crun or runc; others as under linux."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from allocator.agent.checkpoint import Checkpoint
from allocator.agent.containers import oci
from allocator.agent.containers.cgroups import Root
from allocator.agent.containers.oci import BadImage, Oci
from allocator.agent.containers.protocol import Plan, User
from allocator.agent.instructions import Container, Event
from allocator.agent.limits import Options, resource_limits
from allocator.agent.linux import LinuxRuntime
from allocator.agent.sandboxes import (
    LaunchFailed,
    command_line,
    command_variables,
    find_owner,
    refuse_what_is_not_done,
)


class OciRuntime(LinuxRuntime):
    """Runs tasks in containers of their own, those that name an image by an OCI runtime.

    Parameters
    ----------
    tell, checkpoint, environment, root, options
        As of `LinuxRuntime`.
    runtime : Oci
    roots : sequence of Path
        Below which bundles and rootfs are.
    """

    def __init__(
        self,
        tell: Callable[[list[Event]], None],
        checkpoint: Checkpoint,
        environment: Mapping[str, str],
        root: Root,
        options: Options,
        runtime: Oci,
        roots: Sequence[Path],
    ) -> None:
        super().__init__(tell, checkpoint, environment, root, options, runtime)
        self._roots = tuple(roots)
        self._notes = checkpoint.folder

    def _plan(self, container: Container) -> Plan:
        """Return what the init does; makes the sandbox."""
        image = _image(container)
        if image is None:
            return super()._plan(container)
        refuse_what_is_not_done(container, allowed="oci")
        try:
            kind, folder = oci.find_image(image, self._roots)
            return self._plan_of(container, kind, folder)
        except BadImage as error:
            raise LaunchFailed(str(error)) from None

    def _plan_of(self, container: Container, kind: str, folder: Path) -> Plan:
        info = container.task.container or {}
        given = oci.Given(
            user=_user(container, kind),
            environment=self._sandboxes.variables(
                container, Path(oci.SANDBOX) if kind == "rootfs" else None
            ),
            hostname=info.get("hostname") or "",
            limits=self._limits(info) if kind == "rootfs" else resource_limits(info),
        )
        if kind == "bundle":
            config = oci.of_bundle(folder, self._roots, given)
        else:
            config = oci.of_rootfs(folder, self._sandboxes.directory(container), given)
        command = container.task.command or {}
        program, arguments = _command_line(command, config["process"])
        sandbox = self._sandboxes.make(container, find_owner(container))
        return Plan(
            program=program,
            arguments=arguments,
            environment={},  # it is in the configuration
            directory="/",
            stdout=str(sandbox / "stdout"),
            stderr=str(sandbox / "stderr"),
            config=config,
        )

    def _guest(self, container: Container, command: Mapping[str, Any]) -> Plan:
        """Return the plan of a command that is run inside, as what runs there but for itself."""
        if _image(container) is None:
            return super()._guest(container, command)
        process = oci.process_of(self._notes(container.id))
        user = process["user"]
        program, arguments = command_line(command)
        return Plan(
            program=program,
            arguments=arguments,
            environment=oci.variables(process) | command_variables(command),
            directory=process["cwd"],
            stdout=os.devnull,
            stderr=os.devnull,
            user=User(user["uid"], user["gid"], tuple(user.get("additionalGids") or ())),
        )


def _image(container: Container) -> object:
    """Return what names the image of a container; None if it has none."""
    return (container.task.container or {}).get("oci")


def _user(container: Container, kind: str) -> User | None:
    """Return who runs a container; None: whom its bundle names."""
    if kind == "bundle" and not (container.task.command or {}).get("user"):
        return None
    owner = find_owner(container)
    return User(0, 0) if owner is None else User(*owner)


def _command_line(command: Mapping[str, Any], process: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the program and argv of a container: those of the command, else of the bundle."""
    if command.get("value"):
        return command_line(command)
    words = process.get("args")
    if not isinstance(words, list) or not words:
        raise LaunchFailed("neither the command nor the bundle says what to run")
    return str(words[0]), [str(word) for word in words]
