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


cdef struct Count:
    int64_t milli     # elements of the ranges or sets of a name, 1/1000, at most INT64_MAX
    int32_t name      # number of the name (`Bundles.counted_names`)


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
    bint has_sets     # whether there are sets


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
    cdef Item *items                # (item_capacity,) what rests are made of
    cdef int32_t item_capacity      # items, free ones included
    cdef int32_t free               # the first free bundle, NONE if there is none
    cdef int32_t free_rest          # the first free rest, NONE if there is none
    cdef int32_t free_item          # the first free item, NONE if there is none
    cdef Py_ssize_t n_bundles       # bundles in use, NOTHING included

    # Lookup.
    cdef int32_t *buckets           # (n_buckets,) first bundle of those of a hash, or NONE
    cdef Py_ssize_t n_buckets       # a power of two, not less than `capacity`
    cdef uint64_t *factors          # (stride,) what a column's amount counts in the hash
    cdef dict columns               # str -> int: `totals.columns`
    cdef list names                 # (n_columns,) str: the name of each column
    cdef dict rest_index            # bytes -> int: the rest of these parts
    cdef dict item_index            # Identity, or the parts of an entry -> int: the item
    cdef dict counted_names         # str -> int: numbers of the names of ranges and sets
    cdef Py_ssize_t n_counted_names
    cdef dict roles                 # str or None -> int: numbers of roles, 0 for None
    cdef list role_names            # str or None: roles by number

    # What was computed before.
    cdef object last                # Resources: the last argument of `of`
    cdef int32_t last_bundle        # its bundle; one reference
    cdef Memo *memos                # (N_MEMOS,) answers, in one of two places by a hash
    cdef int64_t *sums              # (stride,) scratch: the row of a sum or difference
    cdef int64_t *parts             # (n_words,) scratch: the parts of a rest in the making
    cdef Py_ssize_t n_words         # words there is room for in it

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
    cdef int64_t amount(self, int32_t bundle, int32_t column, int32_t counted) noexcept
    cdef tuple reservations(self, int32_t bundle)

    # What a framework may see.
    cdef int32_t viewer(self, str role, bint revocable, bint shared, bint refined) except -1
    cdef int32_t seen_by(self, int32_t bundle, int32_t viewer) except -1
    cdef int32_t along(self, int32_t bundle, int32_t viewer) except -1

    cdef Bundles copy_for(self, object totals)

    # Within: bundles.
    cdef int64_t *row(self, int32_t bundle) noexcept
    cdef Py_ssize_t bucket(self, uint64_t hash) noexcept
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
    cdef const int64_t *parts_of(self, int32_t rest, Py_ssize_t *n_words) noexcept
    cdef int reserve_words(self, Py_ssize_t n_words) except -1
    cdef int32_t rest_of(self, object resources) except -1
    cdef int32_t rest_of_parts(self, Py_ssize_t n_words) except -1
    cdef int32_t new_rest(self, bytes key) except -1
    cdef int take_in(self, Rest *rest, const int64_t *part) except -1
    cdef int count_in(self, Rest *rest, const int64_t *part) except -1
    cdef uint64_t other_names(self, int32_t rest) noexcept
    cdef object rest_value(self, int32_t rest)
    cdef int grow_rests(self, int32_t capacity) except -1
    cdef int32_t retained_rest(self, int32_t rest) noexcept
    cdef int release_rest(self, int32_t rest) except -1

    # Within: items.
    cdef int32_t role_number(self, object role) except -1
    cdef int32_t counted_number(self, object name) except -1
    cdef int32_t item_of(self, object identity, object entry) except -1
    cdef int32_t new_item(self, object key, object identity, object entry) except -1
    cdef int release_item(self, int32_t item) except -1
    cdef int grow_items(self, int32_t capacity) except -1

    # Within: arithmetic of rests.
    cdef int32_t rest_plus(self, int32_t a, int32_t b) except? -1
    cdef int32_t rest_minus(self, int32_t a, int32_t b) except? -1
    cdef bint rest_covers(self, int32_t a, int32_t b) except -1
    cdef int32_t asked(self, int operation, int32_t a, int32_t b) except? -1
    cdef int32_t computed(self, int operation, int32_t a, int32_t b) except? -1
    cdef Py_ssize_t put_sum(self, int32_t a, int32_t b) except? -1
    cdef Py_ssize_t put_difference(self, int32_t a, int32_t b) except? -1
    cdef Py_ssize_t put_admitted(self, int operation, int32_t rest, int32_t viewer) except -1
    cdef bint admits(self, int operation, Item *item, int32_t viewer) except -1
    cdef int32_t computed_by_value(self, int operation, int32_t a, int32_t b) except? -1
    cdef int forget(self, Memo *memo) except -1


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


cdef class Held:
    cdef Bundles bundles         # where it is
    cdef readonly int32_t number # the bundle; one reference


cdef class Several:
    cdef Bundles bundles         # where they are
    cdef int32_t *numbers        # (n,) bundles; one reference each
    cdef readonly Py_ssize_t n
