"""The allocator's options, and the weights, quotas and reservations of roles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from allocator.resources import Quantities
from allocator.resources.fixed import write_milli
from allocator.roles import DEFAULT_ROLE, ancestry, parent_of
from allocator.sim.reserving import unreserved_of
from allocator.sim.scenario.clusters import Cluster
from allocator.sim.scenario.problems import Place, dotted
from allocator.sim.setting import Policy, RolePolicy
from allocator.sorter import SORTERS


def read_policy(table: Mapping[str, Any], seed: int | str) -> Policy:
    """Return the options of the allocator that `[policy]` says."""
    sorter = table.get("sorter", "drf")
    role_sorter = table.get("role_sorter", sorter)
    framework_sorter = table.get("framework_sorter", sorter)
    known = {**SORTERS[role_sorter].options, **SORTERS[framework_sorter].options}
    # What a sorter does not take says nothing to it: a scenario may be run with another.
    options = {"saturation": table["saturation"]} if "saturation" in table else {}
    minima = table.get("min_allocatable")
    return Policy(
        seed=seed,
        role_sorter=role_sorter,
        framework_sorter=framework_sorter,
        sorter_options={name: value for name, value in options.items() if name in known},
        interval_s=table.get("interval", 1.0),
        fairness_exclude=tuple(name for name in table.get("fairness_exclude", ()) if name),
        min_allocatable=None if minima is None else tuple(minima),
        offer_timeout_s=table.get("offer_timeout"),
    )


def read_roles(
    tables: Mapping[str, Mapping[str, Any]], place: Place, cluster: Cluster | None
) -> dict[str, RolePolicy]:
    """Return role -> policy; what the cluster or other roles do not allow is noted.

    O(roles × depth × names), and machines for each reservation.
    """
    roles = {
        role: RolePolicy(
            weight=table.get("weight", 1.0),
            guarantee=table.get("guarantee", Quantities()),
            limit=table.get("limit", {}),
            reserve=tuple(table.get("reserve", ())),
        )
        for role, table in tables.items()
    }
    _Guarantees(roles, place).check(None if cluster is None else cluster.total)
    if cluster is not None:
        _check_reservations(roles, place, cluster)
    return roles


class _Guarantees:
    """What roles are guaranteed, held against the limits and guarantees above and the cluster.

    A role that guarantees none of a name counts as the sum of its children, as in the engine.
    """

    def __init__(self, roles: Mapping[str, RolePolicy], place: Place) -> None:
        self._roles = roles
        self._place = place
        self._children: dict[str | None, list[str]] = defaultdict(list)
        paths = {path for role in roles for path in ancestry(role)}
        for path in sorted(paths):
            self._children[parent_of(path)].append(path)
        self._paths = paths
        #: (path, name) -> thousandths guaranteed in the subtree
        self._together: dict[tuple[str, str], int] = {}

    def check(self, total: Quantities | None) -> None:
        """Note all that contradicts."""
        names = {name for policy in self._roles.values() for name in policy.guarantee.milli}
        for name in sorted(names):
            for path in sorted(self._paths, key=lambda path: -path.count("/")):
                self._check_role(path, name)
            if total is not None:
                self._check_cluster(name, total.milli.get(name, 0))

    def _check_role(self, path: str, name: str) -> None:
        below = sum(self._together[child, name] for child in self._children.get(path, ()))
        policy = self._roles.get(path, RolePolicy())
        own = policy.guarantee.milli.get(name)
        together = below if own is None else own
        self._together[path, name] = together
        if own is not None and below > own:
            self._reject_children(path, name, below, own)
        limit = policy.limit.get(name)
        if limit is not None and together > limit:
            what = f"at least {_amount(name, together)}, which it and all below it are guaranteed"
            self._at(path, "limit", name).reject(_amount(name, limit), what)

    def _reject_children(self, path: str, name: str, below: int, own: int) -> None:
        """Note the guarantees below that alone are too large, or the one that is too small."""
        bound = f"at most {_amount(name, own)}, the guarantee of {dotted((path,))}"
        large = [role for role in self._guaranteed(path, name) if self._own(role, name) > own]
        for role in large:
            found = _amount(name, self._own(role, name))
            self._at(role, "guarantee", name).reject(found, bound)
        if not large:
            what = f"at least {_amount(name, below)}, what the roles below are guaranteed together"
            self._at(path, "guarantee", name).reject(_amount(name, own), what)

    def _check_cluster(self, name: str, total: int) -> None:
        tops = self._children[None]
        together = sum(self._together[path, name] for path in tops)
        if together <= total:
            return
        bound = f"at most {_amount(name, total)}, which the cluster has"
        large = [role for role in self._guaranteed(None, name) if self._own(role, name) > total]
        for role in large:
            found = _amount(name, self._own(role, name))
            self._at(role, "guarantee", name).reject(found, bound)
        if not large:
            self._place.reject(f"guarantees of {_amount(name, together)} in all", bound)

    def _guaranteed(self, path: str | None, name: str) -> Iterator[str]:
        """Yield the topmost roles below a path, or of all, that guarantee a name."""
        for child in self._children.get(path, ()):
            if self._own(child, name):
                yield child
            else:
                yield from self._guaranteed(child, name)

    def _own(self, role: str, name: str) -> int:
        policy = self._roles.get(role)
        return 0 if policy is None else policy.guarantee.milli.get(name, 0)

    def _at(self, role: str, key: str, name: str) -> Place:
        return self._place[role][key].deeper(name)


def _check_reservations(roles: Mapping[str, RolePolicy], place: Place, cluster: Cluster) -> None:
    """Note reservations for which too few machines have enough that is not reserved yet."""
    if not any(policy.reserve for policy in roles.values()):
        return
    free = [unreserved_of(machine) for machine in cluster.machines]
    for role, policy in roles.items():
        if policy.reserve and role == DEFAULT_ROLE:
            place[role]["reserve"].reject("given", "none: nothing is reserved for *")
            continue
        for count, resources in policy.reserve:
            left = count
            for machine in free:
                if left and all(machine.get(n, 0) >= x for n, x in resources.milli.items()):
                    left -= 1
                    for name, amount in resources.milli.items():
                        machine[name] -= amount
            if left:
                place[role]["reserve"].reject(
                    f"{count}x {resources}", f"at most {count - left}: no more machines have it"
                )


def _amount(name: str, milli: int) -> str:
    return f"{name}:{write_milli(milli)}"
