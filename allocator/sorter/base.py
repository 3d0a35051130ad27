"""What every sorter offers, and the rules that all of them apply to paths, weights and shares."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from numbers import Real
from typing import Protocol, Self, runtime_checkable

from allocator.errors import InvalidValue, UnknownClient, shown
from allocator.resources import Quantities, Resources, ResourcesLike
from allocator.roles import validate_role
from allocator.sorter.totals import Totals

#: Name of the leaf in which a client competes with the clients below it. No role can have it.
IMPLICIT_NAME = "."

#: Weights lie between these, both included: far enough apart for any policy, and near enough that
#: no share that is divided by one overflows or vanishes.
MIN_WEIGHT, MAX_WEIGHT = 1e-9, 1e9

_NOTHING_EXCLUDED: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Standing:
    """What a node of the tree went by among its siblings, at one moment.

    Examples
    --------
    >>> Standing("eng", 0.25, 3).before(Standing("ops", 0.5, 1))
    'share 0.25 < 0.5'
    """

    path: str
    #: Its weighted dominant share, or what the sorter goes by instead of it.
    share: float
    #: How many times something was allocated at or below it.
    times: int

    def before(self, sibling: Standing) -> str:
        """Say in a few words why this node stood before a sibling. O(1)."""
        share, other = f"{self.share:.4g}", f"{sibling.share:.4g}"
        if self.share != sibling.share:
            if share == other:
                share, other = repr(self.share), repr(sibling.share)
            return f"share {share} {'<' if self.share < sibling.share else '>'} {other}"
        if self.times != sibling.times:
            sign = "<" if self.times < sibling.times else ">"
            return f"equal shares of {share}, times allocated {self.times} {sign} {sibling.times}"
        return f"equal shares of {share}, as many times allocated, by name"


@runtime_checkable
class Sorter(Protocol):
    """Clients in a tree of paths, neediest first.

    Every sorter is made with `exclude` (resource names left out of the share) and the keywords
    `flat` (each client is one leaf, whatever characters its name has) and `totals` (a `Totals`
    shared with other sorters; its own without).

    A client is a leaf of the tree. A client that has clients below it competes with them through
    an implicit leaf, whose path is the client's followed by `/.`. A node's share is its dominant
    share divided by its weight, `dominant_share`. Siblings go by (share, number of times
    allocated, path), the tree in pre-order. All paths compare by code points.

    A call that is refused changes nothing.
    """

    @property
    def totals(self) -> Totals:
        """The agents' totals against which shares are measured."""

    def add_agent(self, agent: str, resources: ResourcesLike) -> None:
        """Add an agent to the totals; see `Totals.add_agent`."""

    def remove_agent(self, agent: str) -> None:
        """Remove an agent from the totals; see `Totals.remove_agent`."""

    def add(self, client: str) -> None:
        """Add an inactive client that holds nothing.

        Raises `DuplicateClient`, `InvalidRole` if the path is malformed (not if flat).
        """

    def remove(self, client: str) -> None:
        """Remove a client and what it holds; raises `UnknownClient`."""

    def activate(self, client: str) -> None:
        """Have `sort` list a client from now on; raises `UnknownClient`."""

    def deactivate(self, client: str) -> None:
        """Leave a client out of `sort`; it keeps what it holds. Raises `UnknownClient`."""

    def update_weight(self, path: str, weight: float) -> None:
        """Set the weight of a path and thus of its subtree, also for a path yet to come.

        Raises `InvalidValue` unless the weight lies between 1e-9 and 1e9, `InvalidRole` if the
        path is malformed (not if flat).
        """

    def allocated(self, client: str, agent: str, resources: ResourcesLike) -> None:
        """Add to what a client holds on an agent, and one to the number of times allocated.

        The agent need not be in the totals. Raises `UnknownClient`, and `ResourceError` if a sum
        exceeds 2**63 - 1 thousandths or types under one name clash.
        """

    def unallocated(self, client: str, agent: str, resources: ResourcesLike) -> None:
        """Take from what a client holds on an agent.

        Raises `UnknownClient`, and `ResourceError` if it does not hold all of it.
        """

    def update(self, client: str, agent: str, old: ResourcesLike, new: ResourcesLike) -> None:
        """Replace `old` by `new` in what a client holds on an agent.

        Raises as `allocated` and `unallocated`.
        """

    def sort(self) -> list[str]:
        """Return the active clients, neediest first."""

    def order(self) -> Iterator[str]:
        """Iterate over the active clients in the order of the moment of this call.

        The iterator gives what `sort()` would have returned, whatever happens meanwhile.
        """

    def share(self, path: str) -> float:
        """Return the share of a client or of an ancestor of one; raises `UnknownClient`."""

    def standing(self, path: str) -> Standing:
        """Return what a client or an ancestor of one goes by among its siblings.

        Which nodes decide between two clients `parting` tells; `Standing.before` says in words
        why one comes first. Raises `UnknownClient`.
        """

    def allocation(self, client: str) -> dict[str, Resources]:
        """Return what a client itself holds, by agent; raises `UnknownClient`."""

    def quantities(self, client: str | None = None) -> Quantities:
        """Return how much a client itself, or everybody together, holds.

        A shared entry counts once an agent. Raises `UnknownClient`.
        """

    def times_allocated(self) -> dict[str, int]:
        """Return the number of times allocated of every node, by path.

        Together with the clients, what they hold, the weights and the totals this is the whole
        state. Implicit leaves have paths that end in `/.`.
        """

    def set_times_allocated(self, numbers: Mapping[str, int]) -> None:
        """Set the number of times allocated of nodes; the others keep theirs.

        Raises `UnknownClient` if a path has no node, `InvalidValue` if a number is not an integer
        from 0 to 2**63 - 1.
        """

    def copy(self, totals: Totals | None = None) -> Self:
        """Return a copy that answers the same, on these totals or on a copy of its own."""

    def __contains__(self, client: object) -> bool: ...

    def __len__(self) -> int: ...


def parting(client: str, other: str) -> tuple[str, str]:
    """Return the siblings, at or above two clients of a tree, that decide which comes first.

    The clients differ. One competes with those below it through its implicit leaf. O(length).

    Examples
    --------
    >>> parting("eng/prod/web", "eng/test"), parting("eng", "eng/test")
    (('eng/prod', 'eng/test'), ('eng/.', 'eng/test'))
    """
    mine, others = [*client.split("/"), IMPLICIT_NAME], [*other.split("/"), IMPLICIT_NAME]
    level = 0
    while mine[level] == others[level]:
        level += 1
    return "/".join(mine[: level + 1]), "/".join(others[: level + 1])


def client_path(client: object, *, flat: bool) -> str:
    """Return `client` if it can be a client's path.

    Raises
    ------
    InvalidRole
        If it is not a well-formed role path.
    InvalidValue
        If it is not text, in a flat sorter. O(length of the path).
    """
    if not flat:
        return validate_role(client)
    if not isinstance(client, str):
        raise InvalidValue(f"client {shown(client)}: a client is text, not {type(client).__name__}")
    return client


def checked_weight(weight: object) -> float:
    """Return a weight as a float; raises `InvalidValue` unless it lies in its bounds. O(1)."""
    try:
        if isinstance(weight, Real) and not isinstance(weight, bool):
            value = float(weight)
            if MIN_WEIGHT <= value <= MAX_WEIGHT:
                return value
    except OverflowError:
        pass
    raise InvalidValue(
        f"a weight is a number from {MIN_WEIGHT:g} to {MAX_WEIGHT:g}, not {shown(weight)}"
    )


def checked_saturation(saturation: object) -> float:
    """Return a part from 0 to 1 as a float; raises `InvalidValue` if it is none. O(1)."""
    if isinstance(saturation, Real) and not isinstance(saturation, bool):
        with suppress(OverflowError):
            if 0.0 <= float(saturation) <= 1.0:
                return float(saturation)
    raise InvalidValue(f"saturation is a number from 0 to 1, not {shown(saturation)}")


def checked_numbers(numbers: Mapping[str, int], known: Container[str]) -> dict[str, int]:
    """Return numbers of times allocated of known nodes; raises as `set_times_allocated`. O(n)."""
    for path, number in numbers.items():
        if path not in known:
            raise unknown_client(path)
        if type(number) is not int or not 0 <= number < 2**63:
            raise InvalidValue(f"{shown(path)} cannot have been allocated to {shown(number)} times")
    return dict(numbers)


def excluded_names(exclude: Iterable[str]) -> frozenset[str]:
    """Return resource names as a set; raises `InvalidValue` if they are not names. O(n).

    There is one empty set for all, and a `frozenset` is returned as it is: sorters are many.
    """
    names = exclude if isinstance(exclude, (str, frozenset)) else tuple(exclude)
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise InvalidValue(f"exclude={shown(exclude)} is not a collection of resource names")
    return frozenset(names) or _NOTHING_EXCLUDED


def dominant_share(
    allocated: Mapping[str, int],
    totals: Mapping[str, int],
    exclude: frozenset[str],
    weight: float,
) -> float:
    """Return the weighted dominant share.

    The largest of allocated/total over the names with a positive total that are not excluded,
    divided by the weight (Ghodsi et al., Dominant Resource Fairness, NSDI 2011, section 4.1 and
    4.3). Both amounts are converted to a double and divided once, then the weight divides: the
    compiled sorter does the same in the same order, so that shares agree to the last bit.

    Parameters
    ----------
    allocated, totals : mapping of str to int
        Amounts in 1/1000 by name.

    Examples
    --------
    >>> dominant_share({"cpus": 3000, "mem": 1000}, {"cpus": 9000, "mem": 2000}, frozenset(), 2.0)
    0.25
    """
    dominant = 0.0
    for name, total in totals.items():
        if total > 0 and name not in exclude:
            dominant = max(dominant, float(allocated.get(name, 0)) / float(total))
    return dominant / weight


def unknown_client(client: object) -> UnknownClient:
    """Return the error that says that there is no such client or path."""
    return UnknownClient(f"client {shown(client)} is not in the sorter")
