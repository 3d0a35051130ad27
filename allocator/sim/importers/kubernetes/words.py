"""How Kubernetes writes objects and amounts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from allocator.errors import InvalidValue, shown
from allocator.sim.importers.amounts import MIB, Amounts, positive, quantity
from allocator.sim.importers.documents import Document

Json = Mapping[str, Any]

#: Whole devices, whoever makes them.
_GPUS = frozenset(
    (
        "nvidia.com/gpu",
        "amd.com/gpu",
        "gpu.intel.com/i915",
        "gpu.intel.com/xe",
        "alpha.kubernetes.io/nvidia-gpu",
        "gpu",
    )
)
#: Devices in the cluster of a published trace, where no other name says them.
GPU_COUNT = "alibabacloud.com/gpu-count"
GPU_MILLI = "alibabacloud.com/gpu-milli"
_CPUS = frozenset(("cpu", "vcore"))


@dataclass(frozen=True, slots=True)
class Object:
    """An object: what it is, whose it is, and what it says."""

    kind: str
    group: str
    name: str
    namespace: str
    value: Json
    document: Document

    @property
    def labels(self) -> Json:
        """Its labels. O(1)."""
        return mapping(mapping(self.value.get("metadata")).get("labels"))

    @property
    def annotations(self) -> Json:
        """Its annotations. O(1)."""
        return mapping(mapping(self.value.get("metadata")).get("annotations"))

    @property
    def spec(self) -> Json:
        """What is wanted of it. O(1)."""
        return mapping(self.value.get("spec"))

    @property
    def status(self) -> Json:
        """What became of it. O(1)."""
        return mapping(self.value.get("status"))

    @property
    def title(self) -> str:
        """Its kind and name. O(length)."""
        where = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {where}"


def mapping(value: Any) -> Json:
    """Return a mapping; none stands for an empty one. Raises `InvalidValue` for anything else."""
    if value.__class__ is dict:  # nearly always, and sooner told than a Mapping
        known: Json = value
        return known
    if value is None:
        return {}
    raise InvalidValue(f"{shown(value)} stands where an object should")


def listing(value: Any) -> list[Any]:
    """Return a list; none stands for an empty one. Raises `InvalidValue` for anything else."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidValue(f"{shown(value)} stands where a list should")
    return value


def is_true(value: Any) -> bool:
    """Tell whether a flag is set, given as such or as text."""
    return value is True or (isinstance(value, str) and value.lower() == "true")


def whole(value: Any, default: int = 0) -> int:
    """Return a count, given as a number or as text; raises `InvalidValue`."""
    if value is None:
        return default
    found = positive(quantity(value), value)
    if found.denominator != 1 or found > 2**31:
        raise InvalidValue(f"{shown(value)} is no count")
    return int(found)


def amounts(value: Any) -> Amounts:
    """Return resources under the source's names, exactly, without those of 0. O(names)."""
    found = {}
    for name, text in mapping(value).items():
        if text is not None:
            amount = positive(quantity(text), text)
            if amount:
                found[str(name)] = amount
    return found


def all_amounts(value: Any) -> Amounts:
    """Return resources as `amounts` does, those of 0 among them, which limits may be. O(names)."""
    return {**{str(name): Fraction(0) for name in mapping(value)}, **amounts(value)}


def named(source: Amounts) -> Amounts:
    """Return resources under the names of the engine: cores, MiB, devices; pods left out."""
    found: Amounts = {}
    for name, amount in source.items():
        if name == "pods":
            continue
        own, value = _named(name, amount, source)
        if own:
            found[own] = found.get(own, Fraction(0)) + value
    return found


def _named(name: str, amount: Fraction, source: Amounts) -> tuple[str, Fraction]:
    if name in _CPUS:
        return "cpus", amount
    if name == "memory":
        return "mem", amount / MIB
    if name == "ephemeral-storage":
        return "disk", amount / MIB
    if name in _GPUS:
        return "gpus", amount
    if name == GPU_COUNT:
        return ("" if any(source.get(gpu) for gpu in _GPUS) else "gpus"), amount
    return name.replace("/", "."), amount


def name_of(resource: str) -> str:
    """Return the engine's name of a resource."""
    own, _ = _named(resource, Fraction(0), {})
    return own or "gpus"
