"""Resources by number: each distinct value that an engine holds is kept once, as a bundle.

A bundle is a row of plain scalars and a rest, the special part of the value (ranges, sets, whatever
is reserved, revocable, shared, or has disk information or a provider); a rest, too, is kept once.
So equal values have equal numbers, a sum or difference of plain scalars is a few integers, and
the special parts of many agents alike are computed once.

B1. A bundle's number is good while somebody has a reference to it. Functions that return one give
    a new reference to the caller (`release` it); arguments are borrowed. `NOTHING` needs none.
B2. No two bundles have the same plain row and rest, no two rests the same entries, disk
    information included.
B3. Columns are those of `totals.columns`, the first `n_columns` of them; rows are `stride` long,
    and zero beyond. Both grow in `of`, `column` and `adopt_columns` only.
"""

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint64_t

cdef enum:
    NOTHING = 0  # the empty bundle, and the empty rest


cdef struct Bundle:
    uint64_t hash     # of the plain row and the rest
    uint64_t names    # bit min(column, 63) for each column of the plain row that is not zero
    PyObject *value   # owned: the `Resources`, NULL until it was asked for
    int32_t rest      # index of the special part, NOTHING if all is plain; one reference
    int32_t refs      # references to it
    int32_t next      # next in its bucket, or in the free list


cdef struct Rest:
    PyObject *value   # owned: `Resources` without plain scalars
    PyObject *key     # owned: what it is found by
    int64_t *whole    # (stride,) its scalars, a shared one counted once, 1/1000; NULL if none
    int64_t *charged  # (stride,) the unreserved, non-revocable ones of them; NULL if none
    int32_t refs      # references to it, those of bundles included
    int32_t next      # next in the free list
    bint is_open      # all entries are unreserved, non-revocable and unshared: anybody may see them
    bint is_shared    # whether an entry is shared
    bint is_counted   # whether there are ranges or sets, of which minima count the elements


cdef class Bundles:
    cdef readonly object totals     # Totals, which number the columns
    cdef readonly Py_ssize_t n_columns  # columns in use
    cdef readonly Py_ssize_t stride     # columns there is room for
    cdef int64_t *plain             # (capacity, stride) plain scalars by bundle, 1/1000
    cdef Bundle *bundles            # (capacity,)
    cdef Rest *rests                # (rest_capacity,)

    # Columns.
    cdef int adopt_columns(self) except -1
    cdef Py_ssize_t column(self, str name) except -1

    # Values in and out.
    cdef int32_t of(self, object resources) except -1
    cdef object value(self, int32_t bundle)
    cdef int32_t of_row(self, const int64_t *plain, int32_t rest) except -1

    # References.
    cdef int discard(self, int32_t bundle) except -1

    # Arithmetic.
    cdef int32_t plus(self, int32_t a, int32_t b) except -1
    cdef int32_t minus(self, int32_t a, int32_t b) except -1
    cdef bint covers(self, int32_t a, int32_t b) except -1
    cdef int32_t nonshared(self, int32_t bundle) except -1

    # Amounts, as rows of `n_columns`.
    cdef const int64_t *whole(self, int32_t bundle, int64_t *scratch) noexcept
    cdef const int64_t *charged(self, int32_t bundle, int64_t *scratch) noexcept
    cdef tuple reservations(self, int32_t bundle)

    # What a framework may see.
    cdef int32_t viewer(self, str role, bint revocable, bint shared, bint refined) except -1
    cdef int32_t seen_by(self, int32_t bundle, int32_t viewer) except -1
    cdef int32_t along(self, int32_t bundle, int32_t viewer) except -1

    cdef Bundles copy_for(self, object totals)


cdef inline int32_t retained(Bundles bundles, int32_t bundle) noexcept:
    """Return `bundle` with one more reference."""
    if bundle != NOTHING:
        bundles.bundles[bundle].refs += 1
    return bundle


cdef inline int release(Bundles bundles, int32_t bundle) except -1:
    """Give a reference back."""
    if bundle != NOTHING:
        bundles.bundles[bundle].refs -= 1
        if bundles.bundles[bundle].refs == 0:
            bundles.discard(bundle)
    return 0
