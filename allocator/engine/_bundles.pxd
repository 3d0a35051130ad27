"""Resources by number: each distinct value that an engine holds is kept once, as a bundle.

A bundle is a row of plain scalars and a rest, the special part of the value (`_rests.pxd`), which
is kept once, too. So equal values have equal numbers, a sum or difference of plain scalars is a few
integers, and the special parts of many agents alike are computed once.

B1. A bundle's number is good while somebody has a reference to it. Functions that return one give
    a new reference to the caller (`release` it); arguments are borrowed. `NOTHING` needs none.
B2. No two bundles have the same plain row and rest, no two rests the same entries, disk
    information included.
B3. Columns are those of `totals.columns`, the first `n_columns` of them; rows are `stride` long,
    and zero beyond. Both grow in `of`, `column` and `adopt_columns` only. Rests may know more.
"""

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint64_t

from allocator.engine._rests cimport NOTHING, Rest, Rests


cdef struct Bundle:
    uint64_t hash     # of the plain row and the rest
    uint64_t names    # bit min(column, 63) for each column of the plain row that is not zero
    PyObject *value   # owned: the `Resources`, NULL until it was asked for
    int32_t rest      # index of the special part, NOTHING if all is plain; one reference
    int32_t refs      # references to it
    int32_t next      # next in its bucket, or in the free list


cdef class Bundles:
    cdef readonly object totals     # Totals, which number the columns
    cdef dict columns               # str -> int: `totals.columns`
    cdef readonly Py_ssize_t n_columns  # columns in use
    cdef readonly Py_ssize_t stride     # columns there is room for
    cdef Rests rests                # the special parts
    cdef int64_t *plain             # (capacity, stride) plain scalars by bundle, 1/1000
    cdef Bundle *bundles            # (capacity,)
    cdef int32_t capacity           # bundles, free ones included
    cdef int32_t free               # the first free bundle, NONE if there is none
    cdef Py_ssize_t n_bundles       # bundles in use, NOTHING included

    # Lookup.
    cdef int32_t *buckets           # (n_buckets,) first bundle of those of a hash, or NONE
    cdef Py_ssize_t n_buckets       # a power of two, not less than `capacity`
    cdef uint64_t *factors          # (stride,) what a column's amount counts in the hash
    cdef object last                # Resources: the last argument of `of`
    cdef int32_t last_bundle        # its bundle; one reference
    cdef int64_t *sums              # (stride,) scratch: the row of a sum or difference

    # Columns.
    cdef int adopt_columns(self) except -1
    cdef Py_ssize_t column(self, str name) except -1

    # Values in and out.
    cdef int32_t of(self, object resources) except -1
    cdef object tally(self, const int64_t *row, Py_ssize_t stride)
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
    cdef int64_t amount(self, int32_t bundle, int32_t column, int32_t counted) noexcept
    cdef tuple reservations(self, int32_t bundle)

    # What a framework may see.
    cdef int32_t viewer(self, str role, bint revocable, bint shared, bint refined) except -1
    cdef int32_t seen_by(self, int32_t bundle, int32_t viewer) except -1
    cdef int32_t along(self, int32_t bundle, int32_t viewer) except -1

    cdef Bundles copy_for(self, object totals)

    # Within.
    cdef int64_t *row(self, int32_t bundle) noexcept
    cdef Py_ssize_t bucket(self, uint64_t hash) noexcept
    cdef int32_t interned(self, const int64_t *row, int32_t rest) except -1
    cdef int32_t new_bundle(self, const int64_t *row, int32_t rest, uint64_t hash) except -1
    cdef int make_room(self, int32_t rest) except -1
    cdef void chain(self, int32_t bundle) noexcept
    cdef int grow(self, int32_t capacity) except -1
    cdef int grow_buckets(self, int32_t capacity) except -1
    cdef int widen(self, Py_ssize_t stride) except -1
    cdef const int64_t *added(
        self, int32_t bundle, const int64_t *special, int64_t *scratch
    ) noexcept
    cdef bint fits(self, const int64_t *row, int32_t rest) noexcept
    cdef int adopt_for(self, int32_t rest) except -1
    cdef int forget_last(self) except -1
    cdef int adopt_arrays(self, Bundles original) except -1


cdef inline const Rest *rest_of(Bundles bundles, int32_t bundle) noexcept:
    """Return what is told of the special part of a bundle, good until there is a new one."""
    return &bundles.rests.at[bundles.bundles[bundle].rest]


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


cdef inline int add_to(Bundles bundles, int32_t *place, int32_t bundle) except -1:
    """Add to the bundle at a place, which has a reference to it."""
    cdef int32_t before = place[0]
    place[0] = bundles.plus(before, bundle)
    return release(bundles, before)


cdef inline int take_from(Bundles bundles, int32_t *place, int32_t bundle) except -1:
    """Take from the bundle at a place, which has a reference to it."""
    cdef int32_t before = place[0]
    place[0] = bundles.minus(before, bundle)
    return release(bundles, before)


cdef class EachBundle:
    cdef Bundles bundles         # where they are
    cdef int32_t *numbers        # (n,) bundles; one reference each
    cdef readonly Py_ssize_t n
