"""Minima, compiled: whether a bundle has enough for an offer to be worth making.

Scalars count their amount, ranges and sets their elements (`Resources.counts`).

N1. A need's `column` and `counted` are what `Bundles` had for its name when it last looked names
    up. Both only ever come to names that had none, so that it looks again when there are more.
"""

cimport cython
from cpython.mem cimport PyMem_Free

from allocator.engine._bundles cimport Bundles
from allocator.engine._items cimport Items
from allocator.engine._memory cimport grown
from allocator.sorter._siblings cimport NONE


@cython.final
@cython.auto_pickle(False)
cdef class Minima:
    """Amounts any one of which makes an offer worth making.

    Parameters
    ----------
    bundles : Bundles
        Where what is offered stands.
    amounts : tuple of Quantities
        The minima; without any, or with an empty one, everything is enough.
    """

    def __cinit__(self, Bundles bundles not None, tuple amounts not None):
        cdef Py_ssize_t n = sum(map(len, amounts))
        self.bundles = bundles
        self.items = bundles.rests.items
        self.amounts = amounts
        self.is_void = not amounts or not all(amounts)
        self.names = [name for each in amounts for name in each]
        self.n_columns = self.n_counted_names = NONE
        if n:
            self.needs = <Need *>grown(NULL, n * sizeof(Need))
            self.fill()

    def __dealloc__(self):
        PyMem_Free(self.needs)

    cdef int fill(self) except -1:
        """Write down how much of each name is needed. O(names)."""
        cdef Py_ssize_t i = 0
        for each in self.amounts:
            for milli in each.milli.values():
                self.needs[i] = Need(milli, NONE, NONE, False)
                i += 1
            if each:
                self.needs[i - 1].is_last = True
        return 0

    cdef int look_up(self) except -1:
        """Find what stands for the names by now (N1). O(names)."""
        cdef Py_ssize_t i
        for i in range(len(self.names)):
            name = self.names[i]
            column = self.bundles.columns.get(name, NONE)
            self.needs[i].column = column if column < self.bundles.n_columns else NONE
            self.needs[i].counted = self.items.counted_names.get(name, NONE)
        self.n_columns = self.bundles.n_columns
        self.n_counted_names = self.items.n_counted_names
        return 0

    cdef bint are_met_by(self, int32_t bundle) except -1:
        """Tell whether resources contain any one of the amounts. O(names)."""
        cdef Need *need = self.needs
        cdef Need *end = need + len(self.names)
        if self.is_void:
            return True
        if (self.n_columns != self.bundles.n_columns
                or self.n_counted_names != self.items.n_counted_names):
            self.look_up()
        while need < end:
            if self.bundles.amount(bundle, need.column, need.counted) < need.milli:
                while not need.is_last:
                    need += 1
            elif need.is_last:
                return True
            need += 1
        return False
