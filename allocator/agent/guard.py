"""Watching over a task that runs: its checks, and the time that it may take."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import ssl
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from allocator.agent.containers.protocol import HostEnded
from allocator.agent.instructions import Checked, Container, Event, Expired, Looked
from allocator.agent.probes import Http, Probe, read_probe
from allocator.agent.runtime import Runtime
from allocator.errors import AllocatorError

Json = dict[str, Any]

_HOST: Final = "127.0.0.1"
#: Statuses of HTTP that are those of a healthy task.
_GOOD: Final = range(200, 400)


class Result(NamedTuple):
    """What a check found."""

    is_good: bool
    #: As CheckStatusInfo has it; without details where nothing was found out.
    status: Json


async def guard(
    runtime: Runtime, container: Container, since: float, tell: Callable[[Event], None]
) -> None:
    """Run a task's checks and its clock until cancelled.

    Parameters
    ----------
    runtime : Runtime
    container : Container
    since : float
        When it was running, in seconds since 1970.
    tell : callable
        Is told what was found.
    """
    task, whose = container.task, container.executor_id
    async with asyncio.TaskGroup() as group:
        if task.max_completion_time is not None:
            left = since + task.max_completion_time.seconds - time.time()
            group.create_task(_expire(container, left, tell))
        if task.health_check is not None:
            probe = read_probe(whose, task.health_check, is_health=True)
            group.create_task(_check_health(runtime, container, probe, since, tell))
        if task.check is not None:
            probe = read_probe(whose, task.check, is_health=False)
            group.create_task(_check(runtime, container, probe, tell))


async def _expire(container: Container, seconds: float, tell: Callable[[Event], None]) -> None:
    await asyncio.sleep(max(seconds, 0.0))
    tell(Expired(container.id))


async def _check_health(
    runtime: Runtime,
    container: Container,
    probe: Probe,
    since: float,
    tell: Callable[[Event], None],
) -> None:
    n_failures = 0
    was_healthy = False
    await asyncio.sleep(probe.delay)
    while True:
        try:
            is_good = (await _try(runtime, container, probe)).is_good
        except HostEnded:
            return  # which is told to others
        if is_good:
            n_failures, was_healthy = 0, True
            tell(Checked(container.id, is_healthy=True, is_fatal=False))
        elif was_healthy or time.time() > since + probe.grace_period:
            n_failures += 1
            is_fatal = n_failures >= probe.consecutive_failures
            tell(Checked(container.id, is_healthy=False, is_fatal=is_fatal))
        await asyncio.sleep(probe.interval)


async def _check(
    runtime: Runtime, container: Container, probe: Probe, tell: Callable[[Event], None]
) -> None:
    await asyncio.sleep(probe.delay)
    while True:
        try:
            tell(Looked(container.id, (await _try(runtime, container, probe)).status))
        except HostEnded:
            return
        await asyncio.sleep(probe.interval)


async def _try(runtime: Runtime, container: Container, probe: Probe) -> Result:
    """Check once; whatever prevents that, and taking too long, is a failure.

    Raises `HostEnded` where a command failed as the task has ended.
    """
    kind = probe.kind
    try:
        async with asyncio.timeout(None if math.isinf(probe.timeout) else probe.timeout):
            if kind == "COMMAND":
                status = await runtime.run_inside(container, probe.command)
                code = os.waitstatus_to_exitcode(status)
                found = {"exit_code": code if code >= 0 else 128 - code}
                return Result(code == 0, {"type": kind, "command": found})
            if probe.http is not None and kind == "HTTP":
                code = await _get(probe.http)
                return Result(code in _GOOD, {"type": kind, "http": {"status_code": code}})
            assert probe.tcp is not None
            _, writer = await asyncio.open_connection(_HOST, probe.tcp.port)
            writer.close()
            return Result(True, {"type": kind, "tcp": {"succeeded": True}})
    except HostEnded:
        raise
    except (OSError, TimeoutError, ValueError, EOFError, AllocatorError) as error:
        refused = kind == "TCP" and not isinstance(error, TimeoutError)
        details = {"succeeded": False} if refused else {}
        return Result(False, {"type": kind, kind.lower(): details})


async def _get(http: Http) -> int:
    """Return the status that this machine answers to a GET with."""
    tls = None
    if http.scheme == "https":
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(_HOST, http.port, ssl=tls)
    with contextlib.closing(writer):
        path = http.path or "/"
        head = f"GET {path} HTTP/1.1\r\nHost: {_HOST}:{http.port}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        words = (await reader.readline()).split()
    if len(words) < 2:
        raise EOFError("no answer")
    return int(words[1])
