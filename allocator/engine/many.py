"""Reading what callers pass in for many agents at once, or for many offers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from allocator.contract import AmountsLike, EachLike
from allocator.engine.columns import read_milli_array
from allocator.engine.inputs import read_attributes, read_id, read_roles
from allocator.errors import AllocatorError, InvalidValue, ResourceError, shown
from allocator.resources import Resources
from allocator.resources.fixed import read_milli
from allocator.resources.reader import is_v1

if TYPE_CHECKING:
    from numpy.typing import NDArray


class EachColumns(NamedTuple):
    """Resources that differ in plain scalars alone."""

    #: What all have, none of it of these names.
    common: Resources
    names: list[str]
    #: (n, names) in 1/1000.
    amounts: NDArray[np.int64]


#: What each of n agents or offers has: all the same, or n of them.
Each: TypeAlias = "Resources | list[Resources] | EachColumns"

#: What a list has one of for each agent or offer; a list of anything else is one v1 value.
_ONE_EACH = (str, Resources)


def read_each(what: str, given: EachLike, n: int) -> Each:
    """Return the resources of each of n `what`: the same for all, or n of them.

    Raises
    ------
    InvalidValue
        There are more or fewer than n.
    ResourceError
        Malformed. O(n × names).
    """
    if isinstance(given, list | tuple) and given:
        if set(map(type, given)) == {Resources}:  # nothing is to be read
            check_length(what, "resources", given, n)
            return list(given)
        if all(isinstance(each, _ONE_EACH) for each in given):
            check_length(what, "resources", given, n)
            return [Resources(each) for each in given]
    if isinstance(given, Mapping) and not is_v1(given):
        columns = {name: value for name, value in given.items() if _is_column(value)}
        if columns:
            return _read_columns(what, given, columns, n)
    return Resources(given)


def read_ids(kind: str, ids: Iterable[str]) -> list[str]:
    """Return ids; raises `InvalidValue` for what is none. O(n)."""
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise InvalidValue(f"{kind} ids are a sequence of texts, not {shown(ids)}")
    return [read_id(kind, id) for id in ids]


def read_new_ids(
    kind: str, ids: Iterable[str], known: Mapping[str, object], duplicate: type[AllocatorError]
) -> list[str]:
    """Return ids that are not known; raises `InvalidValue`, and `duplicate` for others. O(n)."""
    found = read_ids(kind, ids)
    if not known.keys().isdisjoint(found):
        id = next(id for id in found if id in known)
        raise duplicate(f"{kind} {shown(id)} is there already")
    check_distinct(kind, found, duplicate)
    return found


def check_distinct(kind: str, ids: Sequence[str], error: type[AllocatorError]) -> None:
    """Refuse an id that is there twice. O(n)."""
    if len(set(ids)) < len(ids):
        id = next(id for id, n in Counter(ids).items() if n > 1)
        raise error(f"{kind} {shown(id)} is there twice")


def read_each_attributes(given: object, n: int) -> list[Mapping[str, object]]:
    """Return the attributes of each of n agents, from one mapping for all or a list. O(n)."""
    if isinstance(given, list | tuple):
        check_length("agents", "attributes", given, n)
        return [read_attributes(each) for each in given]
    return [read_attributes(given)] * n


def read_each_roles(given: Any, n: int) -> list[tuple[str, ...]]:
    """Return the roles of each of n frameworks, from those of all or a list of lists.

    Raises
    ------
    InvalidValue, InvalidRole
        O(n × roles).
    """
    listed = isinstance(given, list | tuple) and given
    if listed and all(isinstance(roles, list | tuple) for roles in listed):
        check_length("frameworks", "collections of roles", given, n)
        return [read_roles(roles) for roles in given]
    return [read_roles(given)] * n


def check_length(what: str, of: str, given: Sized, n: int) -> None:
    """Refuse a list that is not as long as what it is about."""
    if len(given) != n:
        raise InvalidValue(f"{len(given)} {of} for {n} {what}")


def _is_column(value: object) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _read_columns(
    what: str, given: Mapping[str, Any], columns: Mapping[str, Any], n: int
) -> EachColumns:
    # The names of the columns stay in, with nothing, so that they are checked.
    common = Resources({name: 0 if name in columns else given[name] for name in given})
    amounts = np.empty((n, len(columns)), np.int64)
    for place, (name, column) in enumerate(columns.items()):
        try:
            amounts[:, place] = _read_column(what, name, column, n)
        except ResourceError as error:
            raise ResourceError(f"resource {shown(name)}: {error}") from None
    return EachColumns(common, list(columns), amounts)


def _read_column(what: str, name: str, column: AmountsLike, n: int) -> NDArray[np.int64]:
    if isinstance(column, np.ndarray) and column.ndim != 1:
        raise InvalidValue(f"{shown(name)} is an array of {column.ndim} dimensions, not of one")
    check_length(what, f"amounts of {shown(name)}", column, n)
    if isinstance(column, np.ndarray):
        return read_milli_array(column)
    kinds = set(map(type, column))
    if kinds == {float} or kinds == {int}:
        return read_milli_array(np.array(column))
    return np.array([read_milli(amount) for amount in column], np.int64)
