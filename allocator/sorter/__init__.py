"""Who is next: clients in a tree, neediest first.

`DRFSorter` is compiled and keeps its order up to date; `NaiveDRFSorter` recomputes everything at
every question and is the specification; `SortedDRFSorter` does in plain Python what the compiled
one does. `HDRFSorter` and `NaiveHDRFSorter` are the same by hierarchical DRF. `RandomSorter` is a
weighted shuffle. All have the interface of `Sorter`, and are to the engine an `Ordering`.
"""

from allocator.errors import check_built
from allocator.sorter.base import Sorter, Standing, parting

try:
    from allocator.sorter._drf import DRFSorter
    from allocator.sorter._hdrf import HDRFSorter
    from allocator.sorter._ordering import Ordering, PlainOrdering
except ModuleNotFoundError as error:
    check_built(error)
    raise

from allocator.sorter.naive import NaiveDRFSorter
from allocator.sorter.naive_hdrf import NaiveHDRFSorter
from allocator.sorter.random import RandomSorter
from allocator.sorter.registry import SORTERS, SorterKind, Sorters, read_sorters
from allocator.sorter.sorted import SortedDRFSorter
from allocator.sorter.totals import Totals

__all__ = [
    "SORTERS",
    "DRFSorter",
    "HDRFSorter",
    "NaiveDRFSorter",
    "NaiveHDRFSorter",
    "Ordering",
    "PlainOrdering",
    "RandomSorter",
    "SortedDRFSorter",
    "Sorter",
    "SorterKind",
    "Sorters",
    "Standing",
    "Totals",
    "parting",
    "read_sorters",
]
