"""The options of an engine: read once, and the same from cycle to cycle (contract §5.2)."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from allocator.engine.frameworks import Minimum, minimum_to_json
from allocator.engine.inputs import (
    read_default_minimum,
    read_name,
    read_number,
    read_text,
    read_words,
)
from allocator.errors import InvalidValue, shown
from allocator.resources import QuantitiesLike
from allocator.sorter import Sorters, read_sorters


class Options(NamedTuple):
    """What the operator sets once, as `Allocator` describes it; times in seconds."""

    sorters: Sorters
    #: What an offer must at least contain, unless the framework says otherwise.
    min_allocatable: Minimum
    #: Whether agents with GPUs are kept for frameworks that know what to do with them.
    filter_gpus: bool
    #: The master's region; agents elsewhere are for frameworks that are aware of regions.
    region: str | None
    allocation_interval: float
    recovery_timeout: float
    recovery_factor: float
    #: How long an offer stays open; infinity for as long as it may.
    offer_timeout: float
    offer_prefix: str
    seed: str

    def to_json(self) -> dict[str, Any]:
        """Return arguments that make an `Allocator` with these options. O(size)."""
        given = self._asdict()
        sorters: Sorters = given.pop("sorters")
        return {
            **given,
            "role_sorter": sorters.role_sorter,
            "framework_sorter": sorters.framework_sorter,
            "sorter_options": dict(sorters.options),
            "fairness_exclude": sorted(sorters.exclude),
            "min_allocatable": minimum_to_json(self.min_allocatable),
            "offer_timeout": None if math.isinf(self.offer_timeout) else self.offer_timeout,
        }


def read_options(
    *,
    sorter: str,
    role_sorter: str | None,
    framework_sorter: str | None,
    sorter_options: Mapping[str, object] | None,
    fairness_exclude: Iterable[str],
    min_allocatable: Iterable[QuantitiesLike] | None,
    filter_gpus: bool,
    region: str | None,
    allocation_interval: float,
    recovery_timeout: float,
    recovery_factor: float,
    offer_timeout: float | None,
    offer_prefix: str,
    seed: int | str | None,
) -> Options:
    """Return options from the arguments of an `Allocator`; raises `InvalidValue`. O(size)."""
    if seed is None:
        seed = secrets.randbits(64)
    if isinstance(seed, bool) or not isinstance(seed, (int, str)):
        raise InvalidValue(f"seed is an integer, text or None, not {shown(seed)}")
    exclude = read_words("fairness_exclude", fairness_exclude)
    factor = read_number("recovery_factor", recovery_factor, least=0)
    if factor > 1:
        raise InvalidValue(f"recovery_factor is a part from 0 to 1, not {shown(recovery_factor)}")
    timeout = math.inf
    if offer_timeout is not None:
        timeout = read_number("offer_timeout", offer_timeout, least=0)
    return Options(
        sorters=read_sorters(sorter, role_sorter, framework_sorter, exclude, sorter_options),
        min_allocatable=read_default_minimum(min_allocatable),
        filter_gpus=bool(filter_gpus),
        region=read_name("region", region),
        allocation_interval=read_number("allocation_interval", allocation_interval, least=0),
        recovery_timeout=read_number("recovery_timeout", recovery_timeout, least=0),
        recovery_factor=factor,
        offer_timeout=timeout,
        offer_prefix=read_text("offer_prefix", offer_prefix),
        seed=str(seed),
    )
