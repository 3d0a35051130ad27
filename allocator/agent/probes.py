"""What health checks and checks ask for, read from their JSON: Mesos' HealthCheck and CheckInfo."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from allocator.agent.checks import TaskInvalid, check_command
from allocator.errors import shown
from allocator.wire.messages import Message

Json = dict[str, Any]

_LARGEST_PORT: Final = 65535


class Http(Message, kw_only=True):
    """A GET of this machine."""

    port: int
    path: str = "/"
    scheme: str = "http"


class Tcp(Message, kw_only=True):
    """A connection to this machine."""

    port: int


class _Given(Message, kw_only=True):
    type: str | None = None
    command: Json | None = None
    http: Http | None = None
    tcp: Tcp | None = None
    delay_seconds: float = 15.0
    interval_seconds: float = 10.0
    timeout_seconds: float = 20.0
    consecutive_failures: int = 3
    grace_period_seconds: float = 10.0


class Probe(NamedTuple):
    """A check: what is tried, and when; times in seconds."""

    kind: str
    #: A CommandInfo, where the kind is COMMAND.
    command: Json
    http: Http | None
    tcp: Tcp | None
    delay: float
    interval: float
    #: Infinite: for as long as it takes.
    timeout: float
    #: After so many failures in a row a task is ended.
    consecutive_failures: int
    #: For so long after the start failures do not count, until it was healthy once.
    grace_period: float


def read_probe(whose: str, given: Mapping[str, Any], *, is_health: bool) -> Probe:
    """Return a health check, or a check; raises `TaskInvalid`.

    Examples
    --------
    >>> probe = read_probe("task 't'", {"tcp": {"port": 80}, "type": "TCP"}, is_health=True)
    >>> probe.tcp.port, probe.delay, probe.timeout
    (80, 15.0, 20.0)
    """
    name = "health_check" if is_health else "check"
    try:
        read = msgspec.convert(given, _Given, strict=False)
    except msgspec.ValidationError as error:
        raise TaskInvalid(f"{name} of {whose}: {error}") from None
    kinds = {"COMMAND": read.command, "HTTP": read.http, "TCP": read.tcp}
    kind = read.type or next((each for each, what in kinds.items() if what is not None), "")
    if kinds.get(kind) is None:
        raise TaskInvalid(f"{name} of {whose}: type {shown(kind)} without what it says")
    target = read.http if kind == "HTTP" else read.tcp if kind == "TCP" else None
    if target is not None and not 1 <= target.port <= _LARGEST_PORT:
        raise TaskInvalid(f"{name} of {whose}: {target.port} is no port")
    if read.http is not None:
        _check_http(f"{name} of {whose}", read.http)
    times = (
        *(read.delay_seconds, read.interval_seconds),
        *(read.timeout_seconds, read.grace_period_seconds),
    )
    if not all(0 <= each < math.inf for each in times):
        raise TaskInvalid(f"{name} of {whose}: times are at least 0")
    command = read.command or {}
    if kind == "COMMAND":
        command = command if is_health else command.get("command") or {}
        check_command(f"{name} of {whose}", command)
    return Probe(
        kind,
        command,
        read.http,
        read.tcp,
        *times[:2],
        read.timeout_seconds or math.inf,
        read.consecutive_failures,
        read.grace_period_seconds,
    )


def _check_http(whose: str, http: Http) -> None:
    """Refuse what Mesos does, and what would say more than a path; raises `TaskInvalid`."""
    if http.scheme not in ("http", "https"):
        raise TaskInvalid(f"{whose}: scheme {shown(http.scheme)} is neither http nor https")
    if http.path and not re.fullmatch(r"/[!-~]*", http.path):
        raise TaskInvalid(f"{whose}: {shown(http.path)} is no path such as /health")


def check_probes(
    whose: str, health_check: Mapping[str, Any] | None, check: Mapping[str, Any] | None
) -> None:
    """Refuse checks that make no sense; raises `TaskInvalid`."""
    if health_check is not None:
        read_probe(whose, health_check, is_health=True)
    if check is not None:
        read_probe(whose, check, is_health=False)
