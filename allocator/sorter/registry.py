"""The sorters by name, and the options that each takes: the one list of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from allocator.errors import InvalidValue, shown
from allocator.sorter._drf import DRFSorter
from allocator.sorter._hdrf import HDRFSorter
from allocator.sorter._ordering import Ordering
from allocator.sorter.base import checked_saturation, excluded_names
from allocator.sorter.naive import NaiveDRFSorter
from allocator.sorter.naive_hdrf import NaiveHDRFSorter
from allocator.sorter.random import RandomSorter
from allocator.sorter.sorted import SortedDRFSorter
from allocator.sorter.totals import Totals

#: Returns the value of an option as it is kept and as JSON has it, or raises `InvalidValue`.
OptionReader: TypeAlias = Callable[[object], Any]


@dataclass(frozen=True, slots=True)
class SorterKind:
    """What an engine can be told to order by."""

    #: Makes one from `exclude`, `flat`, `totals` and its options, all but the first by keyword.
    make: Callable[..., Ordering]
    #: What it is called in tables.
    title: str
    #: Name of an option → what reads its value.
    options: Mapping[str, OptionReader] = field(default_factory=dict)


#: name → kind, in the order in which messages list them.
SORTERS: dict[str, SorterKind] = {
    "drf": SorterKind(DRFSorter, "compiled"),
    "naive": SorterKind(NaiveDRFSorter, "naive"),
    "sorted": SorterKind(SortedDRFSorter, "sortedcontainers"),
    "random": SorterKind(RandomSorter, "random"),
    "hdrf": SorterKind(HDRFSorter, "compiled H-DRF", {"saturation": checked_saturation}),
    "naive-hdrf": SorterKind(NaiveHDRFSorter, "naive H-DRF", {"saturation": checked_saturation}),
}


@dataclass(frozen=True, slots=True)
class Sorters:
    """Who orders the roles of an engine and the frameworks of each, as its options say.

    Parameters
    ----------
    role_sorter, framework_sorter : str
        Names in `SORTERS`.
    exclude : frozenset of str
        Resource names left out of shares.
    options : mapping of str to value
        Each is given to those that take it.
    """

    role_sorter: str
    framework_sorter: str
    exclude: frozenset[str]
    options: Mapping[str, Any]

    def of_roles(self, totals: Totals) -> Ordering:
        """Return a hierarchical sorter on these totals. O(1)."""
        return self._made(self.role_sorter, totals, flat=False)

    def of_frameworks(self, totals: Totals) -> Ordering:
        """Return a flat sorter on these totals. O(1)."""
        return self._made(self.framework_sorter, totals, flat=True)

    def _made(self, name: str, totals: Totals, *, flat: bool) -> Ordering:
        kind = SORTERS[name]
        own = {option: value for option, value in self.options.items() if option in kind.options}
        return kind.make(self.exclude, flat=flat, totals=totals, **own)


def read_sorters(
    sorter: object,
    role_sorter: object,
    framework_sorter: object,
    exclude: Iterable[str],
    options: object,
) -> Sorters:
    """Return what the options of an engine say about orders; None as a level's own says nothing.

    Raises
    ------
    InvalidValue
        If a name is not that of a sorter, an option is one that neither takes, or has a value that
        it cannot have. O(options).

    Examples
    --------
    >>> read_sorters("drf", None, "random", (), None).framework_sorter
    'random'
    >>> read_sorters("drf", None, None, (), {"depth": 2})
    Traceback (most recent call last):
        ...
    allocator.errors.InvalidValue: sorter_options: 'depth' is not among the options of drf: none
    """
    names = (
        _checked_name(sorter if role_sorter is None else role_sorter),
        _checked_name(sorter if framework_sorter is None else framework_sorter),
    )
    readers = {**SORTERS[names[0]].options, **SORTERS[names[1]].options}
    if options is None:
        options = {}
    if not isinstance(options, Mapping):
        raise InvalidValue(f"sorter_options map names to values, not {shown(options)}")
    for option in options:
        if option not in readers:
            taken = ", ".join(readers) or "none"
            raise InvalidValue(
                f"sorter_options: {shown(option)} is not among the options of"
                f" {' and '.join(dict.fromkeys(names))}: {taken}"
            )
    read = {option: readers[option](value) for option, value in sorted(options.items())}
    return Sorters(*names, excluded_names(exclude), read)


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or name not in SORTERS:
        raise InvalidValue(f"sorter {shown(name)} is not one of {', '.join(SORTERS)}")
    return name
