"""What a pod holds of a machine: the effective request.

For each resource the larger of what runs at the end, containers and sidecars, and of what each init
container needs beside the sidecars that started before it; and the overhead.
"""

from __future__ import annotations

from typing import Any

from allocator.sim.importers.amounts import Amounts, add
from allocator.sim.importers.kubernetes.words import Json, amounts, listing, mapping


def effective_request(spec: Json, status: Json | None = None) -> Amounts:
    """Return the effective request of a pod, under the source's names, exactly.

    O(containers × names). Raises `InvalidValue`.
    """
    held = _allocated(status or {})
    together: Amounts = {}
    for container in listing(spec.get("containers")):
        add(together, _own(container, held))
    sidecars: Amounts = {}
    peaks: list[Amounts] = []
    for container in listing(spec.get("initContainers")):
        own = _own(container, held)
        if mapping(container).get("restartPolicy") == "Always":
            add(sidecars, own)
        else:
            peak = dict(sidecars)
            add(peak, own)
            peaks.append(peak)
    add(together, sidecars)
    for peak in peaks:
        for name, amount in peak.items():
            together[name] = max(amount, together.get(name, amount))
    together.update(_requested(mapping(spec.get("resources"))))
    add(together, amounts(spec.get("overhead")))
    return together


def plain_key(spec: Json, status: Json) -> tuple[Any, ...] | None:
    """Return what the effective request of a pod of plain containers depends on; None for others.

    Pods of equal keys have equal requests, which need to be found once. O(containers × names).
    """
    if spec.get("initContainers") or spec.get("overhead") or spec.get("resources"):
        return None
    if any("allocatedResources" in one for one in status.get("containerStatuses") or ()):
        return None
    key: list[Any] = []
    for container in spec.get("containers") or ():
        if "allocatedResources" in container:
            return None
        resources = container.get("resources") or {}
        for part in ("requests", "limits"):
            key.append(tuple((resources.get(part) or {}).items()))
    try:
        hash(found := tuple(key))
    except TypeError:
        return None
    return found


def _own(container: Any, held: dict[str, Amounts]) -> Amounts:
    """Return what a container asks for, or holds while it is being resized."""
    container = mapping(container)
    found = _requested(mapping(container.get("resources")))
    allocated = held.get(str(container.get("name"))) or amounts(container.get("allocatedResources"))
    for name, amount in allocated.items():
        found[name] = max(amount, found.get(name, amount))
    return found


def _requested(resources: Json) -> Amounts:
    """Return requests; a limit without one is one."""
    requests = mapping(resources.get("requests"))
    limits = mapping(resources.get("limits"))
    return amounts({**{n: x for n, x in limits.items() if n not in requests}, **requests})


def _allocated(status: Json) -> dict[str, Amounts]:
    found = {}
    for key in ("containerStatuses", "initContainerStatuses"):
        for one in listing(status.get(key)):
            if mapping(one).get("allocatedResources"):
                found[str(one.get("name"))] = amounts(one["allocatedResources"])
    return found
