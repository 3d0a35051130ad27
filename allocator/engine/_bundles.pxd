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
    NONE = -1    # no bundle, no rest


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
    PyObject *reservations  # owned: tuple of its amounts by role, NULL until it was asked for
    int64_t *whole    # (stride,) its scalars, a shared one counted once, 1/1000; NULL if none
    int64_t *charged  # (stride,) the unreserved, non-revocable ones of them; NULL if none
    uint64_t others   # bit min(column, 63) for each column whose name is a range or set here
    int32_t refs      # references to it, those of bundles included
    int32_t next      # next in the free list
    bint is_open      # all entries are unreserved, non-revocable and unshared: anybody may see them
    bint is_shared    # whether an entry is shared
    bint is_reserved  # whether an entry is reserved
    bint is_counted   # whether there are ranges or sets, of which minima count the elements


cdef struct Memo:
    int32_t operation  # what was asked for, 0 in an empty one
    int32_t a          # the rest that it was asked of; one reference
    int32_t b          # the other rest, one reference, or the viewer
    int32_t result     # the rest it gave, one reference; NONE if it cannot be done


cdef class Bundles:
    cdef readonly object totals     # Totals, which number the columns
    cdef readonly Py_ssize_t n_columns  # columns in use
    cdef readonly Py_ssize_t stride     # columns there is room for
    cdef int64_t *plain             # (capacity, stride) plain scalars by bundle, 1/1000
    cdef Bundle *bundles            # (capacity,)
    cdef Rest *rests                # (rest_capacity,)
    cdef int32_t capacity           # bundles, free ones included
    cdef int32_t rest_capacity      # rests, free ones included
    cdef int32_t free               # the first free bundle, NONE if there is none
    cdef int32_t free_rest          # the first free rest, NONE if there is none
    cdef Py_ssize_t n_bundles       # bundles in use, NOTHING not counted
    cdef Py_ssize_t n_rests         # rests in use, NOTHING not counted

    # Lookup.
    cdef int32_t *buckets           # (n_buckets,) first bundle of those of a hash, or NONE
    cdef Py_ssize_t n_buckets       # a power of two, not less than `capacity`
    cdef uint64_t *factors          # (stride,) what a column's amount counts in the hash
    cdef dict columns               # str -> int: `totals.columns`
    cdef list names                 # (n_columns,) str: the name of each column
    cdef dict rest_index            # key -> int: the rest of these entries
    cdef dict roles                 # str or None -> int: numbers of roles, 0 for None
    cdef list role_names            # str or None: roles by number

    # What was computed before.
    cdef object last                # Resources: the last argument of `of`
    cdef int32_t last_bundle        # its bundle; one reference
    cdef Memo *memos                # (N_MEMOS,) answers, in one of two places by a hash
    cdef int64_t *sums              # (stride,) scratch: the row of a sum or difference

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

    # Within: bundles.
    cdef int64_t *row(self, int32_t bundle) noexcept
    cdef Py_ssize_t bucket(self, uint64_t hash) noexcept
    cdef int32_t retained_bundle(self, int32_t bundle) noexcept
    cdef int release_bundle(self, int32_t bundle) except -1
    cdef int32_t interned(self, const int64_t *row, int32_t rest) except -1
    cdef int32_t new_bundle(self, const int64_t *row, int32_t rest, uint64_t hash) except -1
    cdef void chain(self, int32_t bundle) noexcept
    cdef int grow(self, int32_t capacity) except -1
    cdef int grow_buckets(self, int32_t capacity) except -1
    cdef int widen(self, Py_ssize_t stride) except -1
    cdef const int64_t *added(
        self, int32_t bundle, const int64_t *special, int64_t *scratch
    ) noexcept
    cdef bint fits(self, const int64_t *row, int32_t rest) noexcept
    cdef int adopt_arrays(self, Bundles original) except -1

    # Within: rests. Those that return one return a new reference.
    cdef int32_t rest_of(self, object resources) except -1
    cdef int32_t new_rest(self, object resources, object key) except -1
    cdef int64_t *amounts(self, list entries) except? NULL
    cdef uint64_t other_names(self, object resources) except? 0
    cdef int32_t retained_rest(self, int32_t rest) noexcept
    cdef int release_rest(self, int32_t rest) except -1
    cdef int32_t rest_plus(self, int32_t a, int32_t b) except? -1
    cdef int32_t rest_minus(self, int32_t a, int32_t b) except? -1
    cdef int32_t asked(self, int operation, int32_t a, int32_t b) except? -1
    cdef int32_t computed(self, int operation, int32_t a, int32_t b) except? -1
    cdef int forget(self, Memo *memo) except -1
    cdef int grow_rests(self, int32_t capacity) except -1


cdef class Held:
    cdef Bundles bundles         # where it is
    cdef readonly int32_t number # the bundle; one reference
