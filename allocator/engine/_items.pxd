"""What rests are made of: each distinct identity, or whole entry, once, by number (B5, B7)."""

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t

cdef enum:
    # A viewer: what it is shown in the lowest bits, above them the number of its role.
    REVOCABLE = 1
    SHARED = 2
    REFINED = 4
    FLAGS = 7
    FLAG_BITS = 3


cdef struct Item:
    PyObject *key       # owned: what it is found by
    PyObject *identity  # owned: `Identity`
    PyObject *entry     # owned: the `Resource`, NULL if parts tell amounts of the identity (B7)
    int64_t amount      # of a whole entry, 1/1000: how much, or how many elements
    int32_t column      # of its name, NONE if it has none, as names of ranges and sets may
    int32_t counted     # number of its name among those of ranges and sets, NONE of a scalar
    int32_t role        # number of the role that it is reserved to, 0 if unreserved
    int32_t refs        # rests that have it
    int32_t next        # next in the free list
    bint is_scalar      # whether it is a scalar
    bint is_revocable   # whether it is revocable
    bint is_shared      # whether it is shared
    bint is_refined     # whether it has more than one reservation


cdef class Items:
    cdef object totals              # Totals, which number the columns
    cdef dict columns               # str -> int: `totals.columns`
    cdef Item *at                   # (capacity,) items by number
    cdef int32_t capacity           # items, free ones included
    cdef int32_t free               # the first free item, NONE if there is none
    cdef dict index                 # Identity, or the parts of an entry -> int: the item
    cdef dict roles                 # str or None -> int: numbers of roles, 0 for None
    cdef list role_names            # str or None: roles by number
    cdef dict counted_names         # str -> int: numbers of the names of ranges and sets
    cdef Py_ssize_t n_counted_names

    cdef int32_t of(self, object identity, object entry) except -1
    cdef int release(self, int32_t item) except -1
    cdef int drop_unused(self) except -1
    cdef int adopt_columns(self) except -1

    # What a framework may see.
    cdef int32_t viewer(self, str role, bint revocable, bint shared, bint refined) except -1
    cdef bint shows(self, const Item *item, int32_t viewer) except -1
    cdef bint brings_along(self, const Item *item, int32_t viewer) noexcept

    cdef Items copy_for(self, object totals)

    # Within.
    cdef int32_t made(self, object key, object identity, object entry) except -1
    cdef int describe(self, Item *item, object identity, object entry) except -1
    cdef int drop(self, int32_t item) except -1
    cdef int32_t role_number(self, object role) except -1
    cdef int32_t counted_number(self, object name) except -1
    cdef int grow(self, int32_t capacity) except -1


cdef inline int32_t without_role(int32_t viewer) noexcept:
    """Return a viewer that is shown the same and has the role None."""
    return viewer & FLAGS


cdef inline int32_t role_alone(int32_t viewer) noexcept:
    """Return a viewer of the same role that is shown nothing special."""
    return viewer & ~FLAGS
