"""The machines of a scenario, and what happens to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from allocator.errors import InvalidValue, cut, shown
from allocator.resources import Quantities
from allocator.sim.cluster import (
    Machine,
    MachineGroup,
    check_size,
    machines,
    merged,
    scaled,
    totals,
)
from allocator.sim.errors import TraceError
from allocator.sim.readers import read_machines
from allocator.sim.scenario.dump import Dump, read_dump
from allocator.sim.scenario.kinds import Found
from allocator.sim.scenario.problems import Place, nearest
from allocator.sim.scenario.work import within
from allocator.sim.setting import ClusterEvent

#: What a file of `[cluster]` that holds a whole cluster is called.
_DUMPS = (".json", ".json.gz")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Machines, in groups and one by one, and where they come from.

    Nothing starts on those of `inactive`.
    """

    groups: tuple[MachineGroup, ...]
    machines: tuple[Machine, ...]
    source: str
    inactive: frozenset[str] = frozenset()

    @classmethod
    def of_groups(cls, groups: tuple[MachineGroup, ...], source: str) -> Cluster:
        """Return the machines of groups, named after their kinds. O(machines)."""
        return cls(groups, tuple(machines(groups)), source)

    @property
    def total(self) -> Quantities:
        """The sum over all machines. O(groups × names)."""
        return totals(self.groups)

    @property
    def kinds(self) -> list[str]:
        """The kinds that there are. O(groups)."""
        return sorted({group.kind for group in self.groups if group.kind})

    def fits(self, demand: Quantities, kinds: Collection[str] = ()) -> bool:
        """Tell whether a task fits on one of the machines, of these kinds if any. O(groups)."""
        return any(
            group.resources >= demand for group in self.groups if not kinds or group.kind in kinds
        )


def read_cluster(table: Mapping[str, Any], place: Place, base: str) -> Cluster | None:
    """Return the machines of `[cluster]`; None if it states none, or none that are fit."""
    if "machines" in table and "file" in table:
        place["file"].reject("given", "none beside machines")
        return None
    if "scale" in getattr(table, "names", ()) and "scale" not in table:
        return None
    if "machines" in table:
        groups, source, key = merged(table["machines"]), "the scenario", "machines"
    elif isinstance(table.get("file"), Dump):
        return _of_dump(table["file"], table, place)
    elif "file" in table:
        path, key, source = within(base, table["file"]), "file", table["file"]
        if path.endswith(_DUMPS):
            return _of_dump(path, table, place)
        try:
            groups = read_machines([path])
        except (TraceError, InvalidValue) as error:
            place["file"].reject(error, "a file of machines")
            return None
    else:
        return None
    return _scaled(groups, source, table.get("scale", 1.0), place[key])


def _scaled(
    groups: tuple[MachineGroup, ...], source: str, scale: float, place: Place
) -> Cluster | None:
    try:
        check_size(groups, source)
        groups = scaled(groups, scale) if scale != 1 else groups
    except InvalidValue as error:
        place.reject(error, "a cluster that an engine can hold")
        return None
    suffix = f"; scaled by {scale:g}" if scale != 1 else ""
    return Cluster.of_groups(groups, source + suffix) if groups else None


def _of_dump(path: str | Dump, table: Mapping[str, Any], place: Place) -> Cluster | None:
    """Return the machines of a dump, which keep their ids."""
    if "scale" in table:
        place["scale"].reject("given", "none: the machines of a cluster.json are as they are")
    dump = read_dump(path, place["file"])
    if dump is None:
        return None
    groups = merged(MachineGroup(1, machine.resources, machine.kind) for machine in dump.machines)
    source = "what was imported" if isinstance(path, Dump) else table["file"]
    try:
        check_size(groups, source)
    except InvalidValue as error:
        place["file"].reject(error, "a cluster that an engine can hold")
        return None
    return Cluster(groups, dump.machines, source, dump.inactive)


def read_events(
    tables: Sequence[Found | None], place: Place, cluster: Cluster | None
) -> tuple[ClusterEvent, ...]:
    """Return the events of `[[cluster.event]]`; what does not fit the cluster is noted."""
    found = []
    for index, table in enumerate(tables):
        if table is not None:
            event = _event(table, place[index], cluster)
            if event is not None:
                found.append(event)
    return tuple(found)


def _event(table: Found, place: Place, cluster: Cluster | None) -> ClusterEvent | None:
    action, which = table.get("action"), table.get("machines")
    if action == "return" and "for" in table.names:
        place["for"].reject("given", "none: what is back stays")
    if action in ("fail", "return") and "notice" in table.names:
        place["notice"].reject("given", "none: only a drain is announced")
    if action in ("fail", "drain") and "machines" not in table.names:
        place["machines"].reject("nothing", "a number of machines, or a list of ids")
    ids = which if isinstance(which, tuple) else ()
    if ids and "kind" in table.names:
        place["kind"].reject("given", "none beside ids of machines")
    if cluster is not None:
        _check_names(table, ids, place, cluster)
    if cluster is None or action is None or "at" not in table:
        return None
    # Of `return` without a number, all that are down.
    n_machines = None if ids else (which or len(cluster.machines))
    return ClusterEvent(
        table["at"],
        action,
        n_machines,
        ids,
        table.get("kind"),
        table.get("for"),
        table.get("notice", 0.0),
    )


def _check_names(table: Found, ids: tuple[str, ...], place: Place, cluster: Cluster) -> None:
    if "kind" in table:
        check_kind(table["kind"], place["kind"], cluster)
    if ids:
        known = {machine.id for machine in cluster.machines}
        for position, name in enumerate(ids):
            if name not in known:
                alike = nearest(name, sorted(known)[:_MAX_COMPARED])
                few = alike if not alike.startswith("one of ") else _some_ids(cluster)
                place["machines"].deeper(position).reject(
                    shown(name), f"the id of a machine: {few}"
                )


#: A name is compared with so many ids at most.
_MAX_COMPARED = 10_000


def _some_ids(cluster: Cluster) -> str:
    first, last = cluster.machines[0].id, cluster.machines[-1].id
    return first if first == last else f"{first} … {last}"


def check_kind(kind: str, place: Place, cluster: Cluster) -> None:
    """Note a kind that no machine has. O(groups)."""
    if kind not in cluster.kinds:
        what = f"a kind of machine: {nearest(kind, cluster.kinds)}" if cluster.kinds else "no kind"
        place.reject(shown(kind), cut(what))
