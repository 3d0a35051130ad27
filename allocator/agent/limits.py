"""What a task is limited to: by its resources, by its own words, by the command line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from allocator.agent.containers import protocol
from allocator.agent.containers.cgroups import Amounts
from allocator.resources import Resources
from allocator.wire.messages import TaskInfo


class Options(NamedTuple):
    """What the command line says of limits."""

    #: Of processes and threads, for all that do not say otherwise.
    pids_limit: int = 1024
    #: Whether a task may use no more than its cores when others are idle.
    has_quota: bool = True
    limits_swap: bool = False


def amounts(
    resources: list[dict[str, Any]], limits: Mapping[str, float], options: Options
) -> Amounts:
    """Return what a task was promised and may use.

    Examples
    --------
    >>> cpus = {"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.5}}
    >>> given = amounts([cpus], {"cpus": float("inf")}, Options())
    >>> given.cpus, given.cpus_limit, given.mem_mb, given.pids_limit
    (0.5, inf, None, 1024)
    """
    promised = Resources(resources).quantities()

    def promise(name: str) -> float | None:
        return float(promised[name]) if name in promised else None

    return Amounts(
        cpus=promise("cpus"),
        cpus_limit=limits.get("cpus"),
        mem_mb=promise("mem"),
        mem_limit_mb=limits.get("mem"),
        pids_limit=limits.get("pids", options.pids_limit),
        has_quota=options.has_quota,
        limits_swap=options.limits_swap,
    )


def given_limits(task: TaskInfo) -> dict[str, float]:
    """Return the limits that a task names, by resource; infinite ones are none."""
    return {
        name: math.inf if limit.value is None else limit.value
        for name, limit in (task.limits or {}).items()
    }


def resource_limits(info: Mapping[str, Any]) -> dict[int, tuple[int, int]]:
    """Return the limits in a ContainerInfo that was checked by their numbers, as (soft, hard).

    Examples
    --------
    >>> resource_limits({"rlimit_info": {"rlimits": [{"type": "RLMT_CORE"}]}})
    {4: (-1, -1)}
    """
    found = {}
    for each in (info.get("rlimit_info") or {}).get("rlimits") or ():
        number = protocol.rlimit(str(each.get("type")))
        soft, hard = each.get("soft"), each.get("hard")
        assert number is not None
        found[number] = (-1, -1) if soft is None else (soft, hard)
    return found
