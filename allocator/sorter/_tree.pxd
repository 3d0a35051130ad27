"""The compiled tree of paths, for the sorters that derive from it; others take an `Ordering`.

A leaf's index is a node's, good until `add` or `remove` is called. Shared entries are no part of
rows; they go to `change_held`.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t

from allocator.sorter._ordering cimport Ordering
from allocator.sorter._siblings cimport NONE, Place, Siblings

cdef enum:
    ROOT = 0  # index of the root node, which has no place and no client


cdef struct Node:
    double weight       # > 0; 1 in an implicit leaf
    int64_t passed      # id of the last walk that gave it out or entered it
    int32_t parent      # index of the parent, NONE at the root; next in the free list when free
    int32_t implicit    # index of the implicit leaf among its children, or NONE
    int32_t n_children  # children, active or not
    int32_t n_active    # active leaves at or below it; 0 or 1 in a leaf
    bint is_leaf        # whether it stands for a client and has no children
    Siblings children   # those children with n_active > 0, in order


cdef class TotalsRow:
    cdef object version            # int: `Totals.version` when the amounts were last seen, or None
    cdef int64_t *amounts          # (n_columns,) totals, 1/1000
    cdef Py_ssize_t n_columns

    cdef int refresh(self, object totals) except -1


cdef class TreeOrdering(Ordering):
    cdef TotalsRow totals_row      # `totals.row`

    # Nodes: parallel arrays of `capacity` records, indexed by node (D6).
    cdef Node *nodes               # (capacity,) the tree of paths
    cdef Place *places             # (capacity,) key and place among siblings
    cdef int64_t *rows             # (capacity, stride) allocated at or below, 1/1000, by column
    # `labels`, (capacity,): str, each one's path; of an implicit leaf its client's.
    cdef int32_t capacity          # nodes there is room for
    cdef int32_t n_taken           # nodes ever taken, those in the free list included
    cdef int32_t n_nodes           # nodes in use, the root included
    cdef int32_t n_clients         # leaves among them
    cdef int32_t free              # index of the first in the free list, NONE if there is none
    cdef int32_t levels            # no leaf is deeper than this below the root; >= 1

    # Columns: those of `totals.columns`, as far as this sorter has met them.
    cdef Py_ssize_t stride         # columns there is room for
    cdef int64_t *amounts          # (stride,) totals as last seen, 1/1000; 0 if not counted
    cdef int32_t *counted          # (n_counted,) columns with a positive total, not excluded
    cdef Py_ssize_t n_counted
    cdef int64_t *delta            # (stride,) scratch: what an adjustment adds, 1/1000
    cdef object version            # int: `totals.version` when the totals were last seen

    # Lookup. All but `index` are often empty, and then the one `EMPTY` of the module.
    cdef dict index                # str -> int: path to node; implicit leaves end in "/."
    cdef dict names                # int -> bytes: node to places[].name if no part of ASCII text
    cdef dict held                 # int -> dict: leaf to agent -> Resources, none empty; no rows
    cdef dict shared               # int -> dict: node to agent -> shared Resources at or below it
    cdef dict weights              # str -> float: path to weight, also without a node

    # Answers.
    cdef list listing              # str: the last answer of sort(), None before the first
    cdef bint listed               # whether `listing` still holds

    # The walk that follows the live order, if there is one (D5).
    cdef bint walking              # whether there is
    cdef void *iterator            # borrowed Walk that takes it, NULL if a compiled caller does
    cdef int64_t n_walks           # walks begun so far: the number of this one
    cdef int32_t *ahead            # (n_levels,) by level the next node to enter, or NONE
    cdef int32_t n_levels          # levels there is room for
    cdef int32_t level             # level at which it goes on, -1 at the end
    cdef list rest                 # str: of a compiled caller's that was disturbed, last first

    cdef int32_t successor(self, int32_t leaf) noexcept nogil

    cdef TreeOrdering blank(self, object totals)

    # Within.
    cdef int reserve_columns(self, Py_ssize_t n_columns) except -1
    cdef int reserve_nodes(self, int32_t n_nodes) except -1
    cdef int grow(self, int32_t capacity) except -1
    cdef int32_t find(self, object client) except? NONE
    cdef int32_t take_node(self, int32_t parent, str label, str name) except -1
    cdef int set_name(self, int32_t node, str text, str name) except -1
    cdef int release_node(self, int32_t node) except -1
    cdef int new_leaf(self, int32_t node) except -1
    cdef int split(self, int32_t node) except -1
    cdef int merge(self, int32_t node) except -1
    cdef int withdraw(self, int32_t leaf) except -1
    cdef int change(
        self, int32_t leaf, object agent, object lost, object gained, int64_t times
    ) except -1
    cdef int add_delta(
        self, int32_t leaf, object agent, object lost_shared, object gained_shared, int64_t times
    ) except -1
    cdef list shared_changes(self, int32_t node, object agent, object lost, object gained)
    cdef int store_shared(self, list changes) except -1
    cdef int fill_delta(self, object amounts, int64_t sign) except -1
    cdef int check_fit(self, const int64_t *row, Py_ssize_t n_columns) except -1
    cdef int check_fit_shared(self, list changes) except -1
    cdef void add_to_path(
        self, int32_t node, const int64_t *row, Py_ssize_t n_columns, int64_t times
    ) noexcept nogil
    cdef double share_of(self, int32_t node) noexcept nogil
    cdef double key_of(self, int32_t node) noexcept nogil
    cdef void reposition(self, int32_t node) noexcept nogil
    cdef void settle(self, int32_t node) noexcept nogil
    cdef void set_active(self, int32_t leaf, bint active) noexcept nogil
    cdef void refresh_keys(self) noexcept nogil
    cdef void rebuild(self) noexcept nogil
    cdef int32_t descend(self, int32_t node) noexcept nogil
    cdef int begin_walk(self, void *iterator) except -1
    cdef int32_t step(self) noexcept
    cdef int32_t not_passed(self, int32_t node) noexcept
    cdef int disturb(self, int32_t leaf) except -1
    cdef int take_down(self) except -1
    cdef int adopt_arrays(self, TreeOrdering original) except -1


cdef class Walk:
    cdef TreeOrdering sorter          # whose order this is
    cdef list rest                 # str: what is left, last first, once it no longer follows that
