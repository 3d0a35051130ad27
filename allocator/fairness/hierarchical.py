"""Hierarchical DRF as the limit of ever smaller tasks, had exactly from event to event."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from allocator.errors import FairnessError, InvalidRole
from allocator.fairness.asked import Asked, Capacity, Demands, Floats, Numbers, read
from allocator.fairness.divided import Division
from allocator.fairness.filling import filled
from allocator.roles import ancestry, parent_of, validate_role

#: Keys and amounts that differ by no larger part than this are the same: far above what rounding
#: leaves, far below what the result is asked to be exact to.
_SAME = 1e-12

#: A name is full when no larger part of it is left.
_NOTHING = 1e-14


def hdrf(
    capacity: Capacity,
    demands: Demands,
    *,
    weights: Numbers | None = None,
    tasks: Numbers | None = None,
) -> Division:
    """Divide by hierarchical DRF: what `HDRFSorter` comes to from nothing, by ever smaller tasks.

    Parameters
    ----------
    capacity, tasks
        As of `drf`. A tenant at its bound wants nothing more, as an inactive client.
    demands : mapping of str to quantities
        Path of a tenant to what one of its tasks takes. One with paths below it competes with them
        as a leaf of weight 1.
    weights : mapping of str to float, optional
        Any prefix of a path to the weight of its subtree; 1 where it is left out.

    Returns
    -------
    Division

    Raises
    ------
    FairnessError
        As of `drf`; also if a path is malformed. O(e i k + n log n), i inner nodes, e events: no
        more than a few for each tenant, name and inner node.

    Notes
    -----
    Bhattacharya et al., Hierarchical Scheduling for Diverse Datacenter Workloads (SoCC 2013), with
    weights; the rule is that of `docs/sorters.md`. Between events all grows linearly. An event is
    a name that is full, a bound that is reached, another name that becomes dominant in a node, or
    a node that caught up: when a name fills, the share of a node may drop, and it then grows alone.

    Examples
    --------
    >>> demands = {"n1": {"gpus": 1}, "n2/a": {"cpus": 1}, "n2/b": {"gpus": 1}}
    >>> division = hdrf({"cpus": 10, "gpus": 10}, demands)
    >>> {tenant: round(n, 9) for tenant, n in division.tasks.items()}
    {'n1': 5.0, 'n2/a': 10.0, 'n2/b': 5.0}
    """
    prefixes = _prefixes(demands)
    asked, own = read(capacity, demands, weights, tasks, prefixes)
    tree = _Tree(asked, own, prefixes)
    runs = filled(asked, asked.dominant) if tree.is_flat else tree.grown()
    return Division(asked, runs, weights=own, entitlements=tree.entitlements())


def _prefixes(demands: object) -> set[str]:
    """Return all paths at and above those of tenants; raises `FairnessError` if one is none."""
    found: set[str] = set()
    for tenant in demands if isinstance(demands, Mapping) else ():
        try:
            found.update(ancestry(validate_role(tenant)))
        except InvalidRole as error:
            raise FairnessError(f"tenant: {error}") from None
    return found


@dataclass(slots=True, eq=False)
class _Pool:
    """The leaves of one node that are not blocked: their keys have grown alike from nothing on.

    A leaf's tasks are its speed × `key`, so together they hold `key` × their `direction`.
    """

    #: Tenants, by the key at which each reaches its bound.
    tenants: list[int]
    ends: list[float]
    #: By position, of the tenants from there on: the sum of (speed × parts of the capacity).
    directions: list[list[float]]
    #: By position, of the tenants from there on: the sum of speeds.
    speeds: list[float]
    #: How many are at their bounds.
    done: int = 0
    key: float = 0.0

    @property
    def direction(self) -> list[float]:
        return self.directions[self.done]


@dataclass(slots=True, eq=False)
class _Inner:
    """A node with others below it, the root too; amounts are parts of the capacity by name."""

    path: str | None
    weight: float
    pool: _Pool
    inner: list[_Inner] = field(default_factory=list)
    #: What blocked leaves hold.
    blocked_leaves: list[float] = field(default_factory=list)
    blocked_tasks: float = 0.0

    # What follows from the leaves, set by `_Tree.measure`.
    blocked: bool = False
    least: float = 0.0
    amounts: list[float] = field(default_factory=list)
    dominant: float = 0.0
    key: float = 0.0
    tasks: float = 0.0

    # How it moves, set by `_Tree.moves`, all for one unit of the node's own.
    amounts_speed: list[float] = field(default_factory=list)
    key_speed: float = 0.0
    tasks_speed: float = 0.0
    least_speed: float = 0.0
    #: Those that move, and how much of theirs goes with a unit of this one's; of the pool 0 or 1.
    moving: list[tuple[_Inner, float]] = field(default_factory=list)
    pool_speed: float = 0.0

    def waits(self, key: float) -> bool:
        """Tell whether a child with this key is ahead of others."""
        return key > self.least * (1 + _SAME)


class _Tree:
    """The tenants of a problem as a tree, and how far each has come."""

    def __init__(self, asked: Asked, weights: dict[str, float], prefixes: set[str]) -> None:
        self._asked = asked
        self._parts = asked.parts
        self._k = len(asked.names)
        self._weights = weights
        self._tenants = {tenant: index for index, tenant in enumerate(asked.tenants)}
        parents = {parent for path in prefixes if (parent := parent_of(path)) is not None}
        #: path of an inner node, None for the root → tenants that are leaves right below it; by
        #: path, so that sums are the same whatever the order of sets is.
        self._leaves: dict[str | None, list[int]] = {path: [] for path in (None, *sorted(parents))}
        for tenant, index in self._tenants.items():
            self._leaves[tenant if tenant in self._leaves else parent_of(tenant)].append(index)
        self._speeds = np.array([self._leaf_weight(t) for t in asked.tenants]) / asked.dominant
        self._runs = np.zeros(len(asked.tenants))
        self._full = [False] * self._k
        self._left = [1.0] * self._k

    @property
    def is_flat(self) -> bool:
        """Whether all tenants stand side by side."""
        return len(self._leaves) == 1

    def entitlements(self) -> Floats:
        """Return what part of the capacity each tenant is entitled to, by weights on its path."""
        part: dict[str | None, float] = {None: 1.0}
        found = np.zeros(len(self._runs))
        below_of: dict[str | None, list[str]] = {path: [] for path in self._leaves}
        for below in self._leaves:
            if below is not None:
                below_of[parent_of(below)].append(below)
        for path in sorted(self._leaves, key=_depth):
            inner = below_of[path]
            leaves = self._leaves[path]
            own = [self._leaf_weight(self._asked.tenants[leaf]) for leaf in leaves]
            together = sum(own) + sum(self._weights.get(below, 1.0) for below in inner)
            for below in inner:
                part[below] = part[path] * self._weights.get(below, 1.0) / together
            for leaf, weight in zip(leaves, own, strict=True):
                found[leaf] = part[path] * weight / together
        return found

    def _leaf_weight(self, tenant: str) -> float:
        return 1.0 if tenant in self._leaves else self._weights.get(tenant, 1.0)

    def grown(self) -> Floats:
        """Return the tasks of each when nothing can grow any more."""
        self._nodes = self._made()
        root = self._nodes[-1]
        self._measure()
        while not root.blocked:
            self._moves()
            self._advance(self._until_event(root), root)
            self._measure()
        return self._runs

    def _made(self) -> list[_Inner]:
        """Return the inner nodes, each after those below it, the root last."""
        made: dict[str | None, _Inner] = {}
        for path in sorted(self._leaves, key=_depth, reverse=True):
            weight = 1.0 if path is None else self._weights.get(path, 1.0)
            node = made[path] = _Inner(path, weight, self._pooled(self._leaves[path]))
            node.blocked_leaves = [0.0] * self._k
        for path, node in made.items():
            if path is not None:
                made[parent_of(path)].inner.append(node)
        return list(made.values())

    def _pooled(self, leaves: list[int], key: float = 0.0) -> _Pool:
        ends = self._asked.bounds[leaves] / self._speeds[leaves]
        order = np.argsort(ends, kind="stable")
        tenants = [leaves[place] for place in order]
        speeds = self._speeds[tenants]
        of_each = speeds[:, None] * self._parts[tenants]
        directions = np.zeros((len(tenants) + 1, self._k))
        directions[:-1] = np.cumsum(of_each[::-1], axis=0)[::-1]
        together = np.append(np.cumsum(speeds[::-1])[::-1], 0.0)
        return _Pool(tenants, ends[order].tolist(), directions.tolist(), together.tolist(), key=key)

    # What nodes have.

    def _measure(self) -> None:
        """Have every node know what it holds, by the rule; block what can go no further."""
        for node in self._nodes:
            self._block_leaves(node)
            pool = node.pool
            free = [child for child in node.inner if not child.blocked]
            keys = [child.key for child in free]
            if pool.done < len(pool.tenants):
                keys.append(pool.key)
            node.blocked = not keys
            node.least = min(keys, default=0.0)
            node.amounts = list(node.blocked_leaves)
            node.tasks = node.blocked_tasks + pool.key * pool.speeds[pool.done]
            for name, x in enumerate(pool.direction):
                node.amounts[name] += node.least * x
            for child in node.inner:
                scale = 1.0 if child.blocked or child.key == 0 else node.least / child.key
                node.tasks += child.tasks
                for name, x in enumerate(child.amounts):
                    node.amounts[name] += scale * x
            counted = [x for x, full in zip(node.amounts, self._full, strict=True) if not full]
            node.dominant = max(counted, default=0.0)
            node.key = node.dominant / node.weight

    def _block_leaves(self, node: _Inner) -> None:
        """Take those leaves out of the pool that are at their bounds or demand what is full."""
        pool = node.pool
        done = bisect_right(pool.ends, pool.key * (1 + _SAME), lo=pool.done)
        while pool.done < done:
            self._block(node, pool.tenants[pool.done], pool.ends[pool.done])
            pool.done += 1
        full = [name for name in range(self._k) if self._full[name] and pool.direction[name] > 0]
        if full:
            free = pool.tenants[pool.done :]
            stopped = [any(self._parts[leaf][full] > 0) for leaf in free]
            for leaf, stops in zip(free, stopped, strict=True):
                if stops:
                    self._block(node, leaf, pool.key)
            going = [leaf for leaf, stops in zip(free, stopped, strict=True) if not stops]
            node.pool = self._pooled(going, pool.key)

    def _block(self, node: _Inner, leaf: int, key: float) -> None:
        self._runs[leaf] = min(key * self._speeds[leaf], self._asked.bounds[leaf])
        node.blocked_tasks += float(self._runs[leaf])
        for name, part in enumerate(self._parts[leaf]):
            node.blocked_leaves[name] += self._runs[leaf] * part

    # How they move.

    def _moves(self) -> None:
        """Have every node know how it moves when it is given more, those below it first."""
        for node in self._nodes:
            if not node.blocked:
                self._move(node)

    def _move(self, node: _Inner) -> None:
        """Set how a node moves: the least of its children grow alike, in their keys.

        Those whose keys do not grow with what they get, as others of theirs that are blocked make
        them large, get all of it until they do; of several the one with the fewest tasks does.
        """
        free = [child for child in node.inner if not child.blocked]
        behind = [child for child in free if not node.waits(child.key)]
        stuck = [child for child in behind if child.key_speed <= 0]
        pooled = node.pool.done < len(node.pool.tenants)
        if stuck:
            fewest = min(child.tasks for child in stuck)
            stuck = [child for child in stuck if child.tasks <= fewest * (1 + _SAME)]
            node.moving = [(child, 1 / child.tasks_speed) for child in stuck]
            node.least_speed = node.pool_speed = 0.0
        else:
            node.moving = [(child, 1 / child.key_speed) for child in behind]
            node.least_speed = 1.0
            node.pool_speed = 1.0 if pooled and not node.waits(node.pool.key) else 0.0
        speed = [0.0] * self._k
        if node.least_speed:
            speed = list(node.pool.direction)
            for child in free:
                if node.waits(child.key):
                    for name, x in enumerate(child.amounts):
                        speed[name] += x / child.key
        for child, scale in node.moving:
            for name, x in enumerate(child.amounts_speed):
                speed[name] += scale * x
        node.amounts_speed = speed
        node.tasks_speed = node.pool_speed * node.pool.speeds[node.pool.done] + sum(
            scale * child.tasks_speed for child, scale in node.moving
        )
        node.key_speed = self._key_speed(node)

    def _key_speed(self, node: _Inner) -> float:
        """Return how the key grows: as the fastest of the names that are dominant."""
        tied = node.dominant * (1 - _SAME)
        return max(
            (
                speed / node.weight
                for x, speed, full in zip(node.amounts, node.amounts_speed, self._full, strict=True)
                if not full and x >= tied
            ),
            default=0.0,
        )

    def _moving(self, node: _Inner, speed: float = 1.0) -> Iterator[tuple[_Inner, float]]:
        """Yield a node and those below it that move, with their speeds."""
        yield node, speed
        for child, scale in node.moving:
            yield from self._moving(child, speed * scale)

    def _until_event(self, root: _Inner) -> float:
        """Return how far the root can go until something else holds."""
        used = [0.0] * self._k
        nearest = math.inf
        for node, speed in self._moving(root):
            if node.pool_speed:
                for name, x in enumerate(node.pool.direction):
                    used[name] += speed * x
            nearest = min(nearest, self._own_event(node) / speed)
        for name, x in enumerate(used):
            if x > 0 and not self._full[name]:
                nearest = min(nearest, self._left[name] / x)
        return nearest

    def _own_event(self, node: _Inner) -> float:
        """Return how far a node can go, in its own units, until it moves otherwise."""
        nearest = math.inf
        if node.pool_speed:
            nearest = node.pool.ends[node.pool.done] - node.pool.key
        free = [child for child in node.inner if not child.blocked]
        if node.least_speed:
            waiting = [child.key for child in free if node.waits(child.key)]
            if node.pool.done < len(node.pool.tenants) and node.waits(node.pool.key):
                waiting.append(node.pool.key)
            nearest = min(nearest, min(waiting, default=math.inf) - node.least)
        else:
            moving = {id(child) for child, _ in node.moving}
            fewest = min(child.tasks for child, _ in node.moving)
            for child in free:
                is_stuck = child.key_speed <= 0 and not node.waits(child.key)
                if is_stuck and id(child) not in moving:
                    nearest = min(nearest, child.tasks - fewest)
        if node.path is None:
            return nearest
        for x, speed, full in zip(node.amounts, node.amounts_speed, self._full, strict=True):
            faster = speed - node.key_speed * node.weight
            if not full and faster > 0 and x < node.dominant * (1 - _SAME):
                nearest = min(nearest, (node.dominant - x) / faster)
        return nearest

    def _advance(self, distance: float, root: _Inner) -> None:
        """Let all that move go so far."""
        for node, speed in self._moving(root):
            if node.pool_speed:
                grown = speed * distance
                node.pool.key += grown
                for name, x in enumerate(node.pool.direction):
                    self._left[name] -= grown * x
        for name, left in enumerate(self._left):
            if left <= _NOTHING:
                self._full[name] = True


def _depth(path: str | None) -> int:
    return 0 if path is None else 1 + path.count("/")
