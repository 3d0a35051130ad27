"""What the operator set once for all cycles."""

from typing import NamedTuple

from allocator.engine.frameworks import Minimum


class Rules(NamedTuple):
    """What does not change from cycle to cycle."""

    seed: str
    #: What an offer must at least contain, unless the framework says otherwise.
    minimum: Minimum
    #: Whether agents with GPUs are kept for frameworks that know what to do with them.
    filter_gpus: bool
    #: The master's region; agents elsewhere are for frameworks that are aware of regions.
    region: str | None
