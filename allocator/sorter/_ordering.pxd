"""An order as the cycle and the role tree know it, however it is kept or made.

    ordering.sync()                                # once, after which totals stand still
    ordering.start_walk(key)
    leaf = ordering.advance()                      # the neediest
    while leaf != NONE:
        ordering.add_row(leaf, row, n_columns, 1)  # it gets more
        leaf = ordering.advance()                  # the next in the order of the start
    ordering.end_walk()

Clients are known by the index of their leaf, which is good while `shape` stays the same; `leaf_of`
finds it again. A compiled ordering derives from `Ordering` and is told rows of amounts; one in
plain Python derives from `PlainOrdering`, which does all of this by the methods of `Sorter`.

That the calls go through a table of methods costs next to nothing, since Cython's calls from one
module to another do so in any case: a cold cycle takes 0.1 % more instructions than one written for
the compiled DRF sorter alone, one in many roles, or that walks them all in each turn, 0.4 %
(callgrind). Times differ by no more than what a busy machine leaves uncertain, 4 % either way:
minima over 8 to 20 processes of each, turn by turn, of cold cycles of 1000 agents × 100 frameworks
and of 10 000 × 1000 with columns, in one role and in as many as frameworks; of turns that walk 20
and 100 roles; of stage one; of 1 % freed; and of an empty cycle, 2.4 µs.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t

cdef class Ordering:
    cdef readonly object totals    # Totals: the denominators, perhaps shared with other sorters
    cdef readonly bint flat        # whether each client is one leaf below the root
    cdef readonly frozenset exclude  # str: names left out of the share
    cdef list labels               # by leaf: its client, str
    cdef int64_t shape             # grows when clients come or go: leaves may have moved then
    cdef bint by_value             # whether it is told all that is held by value, not by rows
    cdef bint is_live              # whether `first` answers at once, without a walk

    # Order.
    cdef int sync(self) except -1
    cdef int32_t first(self) except? -2
    cdef int start_walk(self, uint64_t key) except -1
    cdef int32_t advance(self) except? -2
    cdef int end_walk(self) except -1

    # Clients.
    cdef int32_t leaf_of(self, object client) except? -2
    cdef int remove_leaf(self, int32_t leaf) except -1
    cdef int activate_leaf(self, int32_t leaf, bint active) except -1

    # What they hold.
    cdef int add_row(
        self, int32_t leaf, const int64_t *row, Py_ssize_t n_columns, int64_t times
    ) except -1
    cdef int change_held(
        self, int32_t leaf, object agent, object lost, object gained, int64_t times
    ) except -1

    cdef Ordering copy_for_some(self, object totals)


cdef class PlainOrdering(Ordering):
    cdef dict leaves               # str -> int: client to leaf, of clients that were asked for
    cdef list free                 # int: leaves whose clients are gone
    cdef object rest               # iterator of str: what is left of the walk under way, or None
