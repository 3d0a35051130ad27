"""A scenario, read and checked: all that can be said before its jobs are drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from allocator.sim.scenario.behaviours import check_demands, read_behaviours
from allocator.sim.scenario.clusters import Cluster, read_cluster, read_events
from allocator.sim.scenario.durations import seconds
from allocator.sim.scenario.grammar import SCENARIO
from allocator.sim.scenario.policies import read_policy, read_roles
from allocator.sim.scenario.problems import Place, ScenarioError, in_order
from allocator.sim.scenario.work import Given, Work, read_work
from allocator.sim.setting import (
    REFUSE_SECONDS,
    Behaviour,
    ClusterEvent,
    Policy,
    RolePolicy,
    Setting,
    placed_on,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a scenario says, checked; `setting` draws the jobs."""

    title: str
    policy: Policy
    cluster: Cluster
    events: tuple[ClusterEvent, ...]
    roles: Mapping[str, RolePolicy]
    work: Work
    behaviours: Mapping[str, Behaviour]
    horizon_s: float | None

    def setting(self, data: Mapping[str, Any]) -> Setting:
        """Return what the simulator runs; `data` is all it says. O(n log n) in jobs."""
        trace = self.work.make()
        return Setting(
            title=self.title,
            policy=self.policy,
            machines=self.cluster.machines,
            trace=replace(trace, cluster=self.cluster.groups, cluster_source=self.cluster.source),
            inactive=self.cluster.inactive,
            events=self.events,
            roles=self.roles,
            behaviours=self.behaviours,
            placed=placed_on(self.work.placed, {machine.id for machine in self.cluster.machines}),
            horizon_s=trace.end_s if self.horizon_s is None else self.horizon_s,
            asked=self._asked(data),
        )

    def _asked(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return what was asked for as JSON values: a few keys that people look for, then all."""
        everybody = data.get("tenants", {}).get("*", {})
        stated = data.get("roles", {})
        return {
            "seed": self.policy.seed,
            "sorter": self.policy.role_sorter,
            "interval_s": self.policy.interval_s,
            "gang": everybody.get("gang", True),
            "refuse_seconds": seconds(everybody.get("refuse", REFUSE_SECONDS)),
            "weights": {r: p.weight for r, p in self.roles.items() if "weight" in stated[r]},
            "horizon_s": self.horizon_s,
            "every_cycle": False,
            "scenario": data,
        }


#: A horizon before which few jobs come, in seconds.
_SHORT_S = 1.0


def read_plan(place: Place, base: str, title: str) -> Plan:
    """Read and check a scenario; the files that it names are read, too.

    Parameters
    ----------
    place : Place
        The scenario as a whole.
    base : str
        The folder that names of files are relative to.
    title : str
        What it is called if it does not say.

    Raises
    ------
    ScenarioError
        With all that is wrong with it.
    """
    found = SCENARIO.read(place.value, place) or {}
    stated = found.get("cluster", {})
    cluster = read_cluster(stated, place["cluster"], base)
    # One that is unfit stands in as short: whatever depends on it is not known.
    horizon_s = found.get("horizon", _SHORT_S if "horizon" in getattr(found, "names", ()) else None)
    given = Given(
        base=base,
        title=found.get("title", title),
        seed=found.get("seed", 0),
        horizon_s=math.inf if horizon_s is None else horizon_s,
        groups=None if cluster is None else cluster.groups,
        scale=stated.get("scale", 1.0),
    )
    work = read_work(found["workload"], place["workload"], given) if "workload" in found else None
    if cluster is None and not {"machines", "file"} & getattr(stated, "names", frozenset()):
        cluster = _own_cluster(work, place)
    events = read_events(stated.get("event", ()), place["cluster"]["event"], cluster)
    roles = read_roles(found.get("roles", {}), place["roles"], cluster)
    behaviours = read_behaviours(found.get("tenants", {}), place["tenants"], work, cluster)
    if work is not None and cluster is not None:
        check_demands(work, place["workload"]["tenant"], cluster)
    if place.problems or work is None or cluster is None:
        raise ScenarioError(in_order(place.problems))
    policy = read_policy(found.get("policy", {}), given.seed)
    return Plan(given.title, policy, cluster, events, roles, work, behaviours, horizon_s)


def _own_cluster(work: Work | None, place: Place) -> Cluster | None:
    """Return the machines that come with the work; note if nothing says what it runs on."""
    if work is None:
        return None
    if work.cluster is None:
        place["cluster"].reject("no machines", "machines, or a file of them")
        return None
    return Cluster.of_groups(work.cluster, work.cluster_source)
