"""How frameworks behave: `[tenants]`, by names and patterns, and whether their tasks fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import translate
from typing import Any

from allocator.resources import Quantities
from allocator.sim.scenario.clusters import Cluster, check_kind
from allocator.sim.scenario.problems import Place, nearest
from allocator.sim.scenario.work import Work
from allocator.sim.setting import Behaviour

#: Key of a table -> the field of `Behaviour` that it sets.
_FIELDS = {
    "behaviour": "kind",
    "hold": "hold_s",
    "refuse": "refuse_s",
    "gang": "gang",
    "claims": "claims",
    "backfill": "backfill",
}


def read_behaviours(
    tables: Mapping[str, Mapping[str, Any]],
    place: Place,
    work: Work | None,
    cluster: Cluster | None,
) -> dict[str, Behaviour]:
    """Return tenant -> behaviour, of those that any table is for; note what does not fit.

    A key comes from the most specific table that has it: that of the tenant's name, or else the
    longest pattern, of those as long as each other the first in alphabetical order.
    O(tenants × patterns).
    """
    if cluster is not None:
        _check_kinds(tables, place, cluster)
    if work is None:
        return {}
    matched = _matched(tables, place, work)
    made: dict[tuple[str, ...], Behaviour] = {}
    for patterns in dict.fromkeys(matched.values()):
        made[patterns] = _behaviour([tables[pattern] for pattern in patterns])
        if made[patterns].kind == "picky" and not made[patterns].kinds:
            place[patterns[0]].reject("picky without kinds", "the kinds of machine that it takes")
    if cluster is not None:
        _Claims(tables, place, cluster).check(work, matched, made)
    return {tenant: made[patterns] for tenant, patterns in matched.items()}


def _matched(tables: Mapping[str, Any], place: Place, work: Work) -> dict[str, tuple[str, ...]]:
    """Return tenant -> the keys that match it, the most specific first."""
    names = list(work.tenants)
    known = set(names)
    exact = tables.keys() & known
    globs = sorted(tables.keys() - exact, key=lambda key: (-len(key), key))
    found: dict[str, list[str]] = {name: [name] for name in names if name in exact}
    for glob in globs:
        matches = re.compile(translate(glob)).match
        here = [name for name in names if matches(name)]
        if not here and work.is_whole:
            place[glob].reject(
                "matches no tenant", f"the name of a tenant, or a pattern: {_alike(glob, names)}"
            )
        for name in here:
            found.setdefault(name, []).append(glob)
    return {name: tuple(keys) for name, keys in found.items()}


def _alike(glob: str, names: list[str]) -> str:
    alike = nearest(glob, names[:_MAX_COMPARED])
    if not alike.startswith("one of "):
        return alike
    few = ", ".join(names[:5])
    return f"{few} …" if len(names) > 5 else few


#: A pattern that matches nobody is compared with so many names at most.
_MAX_COMPARED = 10_000


def _behaviour(tables: Iterable[Mapping[str, Any]]) -> Behaviour:
    """Return what tables say together, the first that has a key deciding."""
    merged: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            merged.setdefault(key, value)
    fields = {field: merged[key] for key, field in _FIELDS.items() if key in merged}
    return Behaviour(**fields, kinds=frozenset(merged.get("kinds", ())))


def _check_kinds(tables: Mapping[str, Mapping[str, Any]], place: Place, cluster: Cluster) -> None:
    for pattern, table in tables.items():
        for position, kind in enumerate(table.get("kinds", ())):
            check_kind(kind, place[pattern]["kinds"].deeper(position), cluster)


class _Claims:
    """Holds what tasks claim against what one machine has."""

    def __init__(
        self, tables: Mapping[str, Mapping[str, Any]], place: Place, cluster: Cluster
    ) -> None:
        self._tables = tables
        self._place = place
        self._cluster = cluster

    def check(
        self,
        work: Work,
        matched: Mapping[str, tuple[str, ...]],
        made: Mapping[tuple[str, ...], Behaviour],
    ) -> None:
        """Note claims that no machine can meet, by themselves or with what a task needs."""
        for pattern, table in self._tables.items():
            claims = table.get("claims", Quantities())
            if not self._cluster.fits(claims):
                self._place[pattern]["claims"].reject(claims, bound(self._cluster))
        for _, template in work.templates:
            keys = dict.fromkeys(matched.get(tenant.name, ()) for tenant in template.tenants())
            for patterns in keys:
                for demand in template.demands if patterns else ():
                    self._check_task(demand, made[patterns], patterns)

    def _check_task(
        self, demand: Quantities, behaviour: Behaviour, patterns: tuple[str, ...]
    ) -> None:
        """Note what keeps a task that fits by itself from fitting any machine."""
        claims = behaviour.claims
        if not self._cluster.fits(demand) or not self._cluster.fits(claims):
            return  # noted already
        taken = at_least(demand, claims)
        if not self._cluster.fits(taken):
            key, found = "claims", f"{claims}, so that a task takes {taken}"
        elif behaviour.kind == "picky" and not self._cluster.fits(taken, behaviour.kinds):
            key, found = "kinds", f"{', '.join(sorted(behaviour.kinds))}, where no {taken} fits"
        else:
            return
        pattern = next((name for name in patterns if key in self._tables[name]), patterns[0])
        self._place[pattern].deeper(key).reject(found, bound(self._cluster))


def at_least(demand: Quantities, claims: Quantities) -> Quantities:
    """Return what a task takes that claims to need more than it does. O(names)."""
    names = demand.milli.keys() | claims.milli.keys()
    return Quantities.from_milli(
        {n: max(demand.milli.get(n, 0), claims.milli.get(n, 0)) for n in sorted(names)}
    )


def check_demands(work: Work, place: Place, cluster: Cluster) -> None:
    """Note each synthetic task that no machine has room for. O(demands × groups)."""
    for index, template in work.templates:
        for position, demand in enumerate(template.demands):
            if not cluster.fits(demand):
                at = place[index]["demand"]
                at = at.deeper(position) if not isinstance(at.value, Mapping) else at
                at.reject(demand, bound(cluster))


def bound(cluster: Cluster) -> str:
    """Return in words how large a task may be. O(groups × names)."""
    sizes = list(dict.fromkeys(str(group.resources) for group in cluster.groups))
    few = ", or ".join(sizes[:3]) + (" …" if len(sizes) > 3 else "")
    return f"no more than one machine has: {few}"
