"""Rests: the special parts of resources, each distinct one once, by number (B2, B5, B7).

A rest is whatever of a value is not plain scalars: ranges, sets, what is reserved, revocable,
shared, or has disk information or a provider. What cycles ask of it stands beside it.
"""

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint64_t

from allocator.engine._answers cimport Answer
from allocator.engine._items cimport Item, Items

cdef enum:
    NOTHING = 0  # the empty rest, and the empty bundle


cdef struct Count:
    int64_t milli     # elements of the ranges or sets of a name, 1/1000, at most INT64_MAX
    int32_t name      # number of the name (`Items.counted_names`)


cdef struct Rest:
    PyObject *value   # owned: `Resources` without plain scalars, NULL until it was asked for
    PyObject *key     # owned: bytes of its parts, by which it is found
    PyObject *reservations  # owned: tuple of its amounts by role, NULL until it was asked for
    int64_t *whole    # (stride,) its scalars, a shared one counted once, 1/1000; NULL if none
    int64_t *charged  # (stride,) the unreserved, non-revocable ones of them; NULL if none
    Count *counts     # (n_counts,) by name what minima count of its ranges and sets; NULL if none
    int32_t n_counts  # names of ranges and sets in it
    uint64_t names    # bit min(column, 63) for each column of its scalars
    uint64_t others   # bit min(column, 63) for each column whose name is a range or set here
    int32_t refs      # references to it, those of bundles included
    int32_t next      # next in the free list
    bint is_open      # all entries are unreserved, non-revocable and unshared: anybody may see them
    bint is_shared    # whether an entry is shared
    bint is_reserved  # whether an entry is reserved
    bint has_sets     # whether there are sets, or ranges that are whole entries


cdef class Rests:
    cdef Items items                # what they are made of
    cdef Rest *at                   # (capacity,) rests by number
    cdef int32_t capacity           # rests, free ones included
    cdef int32_t free               # the first free rest, NONE if there is none
    cdef dict index                 # bytes -> int: the rest of these parts
    cdef list names                 # (n_columns,) str: the name of each column
    cdef Py_ssize_t n_columns       # columns in use
    cdef Py_ssize_t stride          # columns there is room for in a row
    cdef Answer *answers            # (N_ANSWERS,) what was computed before
    cdef int64_t *parts             # (n_words,) scratch: the parts of a rest in the making
    cdef Py_ssize_t n_words         # words there is room for in it

    # Functions that return a rest give a new reference to the caller.
    cdef int32_t of(self, object resources) except -1
    cdef object value(self, int32_t rest)
    cdef int release(self, int32_t rest) except -1
    cdef int adopt_columns(self) except -1

    # Arithmetic.
    cdef int32_t plus(self, int32_t a, int32_t b) except? -1
    cdef int32_t minus(self, int32_t a, int32_t b) except? -1
    cdef bint covers(self, int32_t a, int32_t b) except -1
    cdef int32_t asked(self, int operation, int32_t a, int32_t b) except? -1

    # Amounts.
    cdef tuple reservations(self, int32_t rest)
    cdef dict named(self, const int64_t *row, Py_ssize_t n_columns)

    cdef Rests copy_for(self, object totals)

    # Within.
    cdef const int64_t *parts_of(self, int32_t rest, Py_ssize_t *n_words) noexcept
    cdef int reserve_words(self, Py_ssize_t n_words) except -1
    cdef Py_ssize_t put_entries(self, dict special) except -1
    cdef int32_t of_parts(self, Py_ssize_t n_words) except -1
    cdef int32_t made(self, bytes key) except -1
    cdef int describe(self, Rest *rest, const int64_t *part, Py_ssize_t n_words) except -1
    cdef int take_scalar(self, Rest *rest, const Item *item, const int64_t *part) except -1
    cdef int count(self, Rest *rest, const Item *item, const int64_t *part) except -1
    cdef uint64_t other_names(self, const int64_t *part, Py_ssize_t n_words) noexcept
    cdef int grow(self, int32_t capacity) except -1
    cdef int widen(self, Py_ssize_t stride) except -1
    cdef int32_t computed(self, int operation, int32_t a, int32_t b) except? -1
    cdef Py_ssize_t put_sum(self, int32_t a, int32_t b) except? -1
    cdef Py_ssize_t put_difference(self, int32_t a, int32_t b) except? -1
    cdef Py_ssize_t put_admitted(self, int operation, int32_t rest, int32_t viewer) except -1
    cdef bint admits(self, int operation, const Item *item, int32_t viewer) except -1
    cdef int32_t computed_by_value(self, int operation, int32_t a, int32_t b) except? -1
    cdef int forget(self, Answer *answer) except -1
    cdef int adopt_arrays(self, Rests original) except -1


cdef inline int32_t retained_rest(Rests rests, int32_t rest) noexcept:
    """Return a rest, or NONE, with one more reference."""
    if rest > NOTHING:
        rests.at[rest].refs += 1
    return rest


cdef inline uint64_t bit(Py_ssize_t column) noexcept nogil:
    """Return the bit of a column; those from 63 on share the last."""
    return <uint64_t>1 << min(column, 63)


cdef inline int64_t wrapping_sum(int64_t a, int64_t b) noexcept nogil:
    """Add; the sum of two amounts is negative exactly if it does not fit."""
    return <int64_t>(<uint64_t>a + <uint64_t>b)
