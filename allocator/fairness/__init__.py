"""Exact divisions of divisible tasks, and measures of how fair one is; knows numbers only.

`drf`, `drfh`, `hdrf`, `asset` and `ceei` divide a capacity among tenants and return a `Division`;
`division` makes one of tasks that came from elsewhere. `jain`, `envy`, `envy1`,
`sharing_incentive`, `pareto_slack` and `strategy_gain` measure.
"""

from allocator.errors import FairnessError
from allocator.fairness.deviation import deviation
from allocator.fairness.divided import Division, division
from allocator.fairness.filling import asset, drf
from allocator.fairness.hierarchical import hdrf
from allocator.fairness.linear import drfh
from allocator.fairness.market import ceei
from allocator.fairness.measures import (
    envy,
    envy1,
    jain,
    pareto_slack,
    sharing_incentive,
    strategy_gain,
)

__all__ = [
    "Division",
    "FairnessError",
    "asset",
    "ceei",
    "deviation",
    "division",
    "drf",
    "drfh",
    "envy",
    "envy1",
    "hdrf",
    "jain",
    "pareto_slack",
    "sharing_incentive",
    "strategy_gain",
]
