"""Resources by number, compiled. What bundles and rests are is said in `_bundles.pxd`.

Beyond B1 to B3, which `_check` verifies too:

B4. A bundle in use, and NOTHING, is in the chain of its hash from `buckets`.
B5. `refs` of a rest counts the bundles and memos that have it, no one else keeps one; `refs` of an
    item counts the rests that have it.
B6. In a bundle the sums of plain row and rest fit an int64, and no name of the plain row is that
    of a range or set in the rest, as in every `Resources`. Every scalar name has a column.
B7. A rest is a row of parts, one for each identity in the order of their addresses; a part is the
    number of its item, the number of words that follow, and these: the amount of a scalar, begin
    and end of the intervals of a range. Where such numbers do not tell all (sets, shared entries,
    and what cannot be split, which may have more disk information than its identity), the item is
    the whole entry, and no words follow.

Sums and differences of whole entries of one identity are left to `Resources`. What is done with
rests is remembered by their numbers (`asked`), as the same few often meet again and again.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem, PyDict_Next
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from cpython.ref cimport Py_CLEAR, Py_INCREF, Py_XDECREF, Py_XINCREF
from libc.stdint cimport INT64_MAX
from libc.string cimport memcmp, memcpy, memset

from allocator.engine._memory cimport duplicate, grown
from allocator.engine._ranges cimport contains, difference_of, union_of

from operator import itemgetter

from allocator.errors import ResourceError
from allocator.resources import DiskInfo as _DiskInfo, Resource as _Resource, Resources
from allocator.resources.identity import SCALAR as _SCALAR, SET as _SET
from allocator.roles import is_at_or_below

cdef enum:
    MILLI = 1000    # thousandths in one element
    N_MEMOS = 4096  # answers remembered, a power of two
    UNKNOWN = -2    # what is left to `Resources`

    # What is asked of rests.
    PLUS = 1
    MINUS = 2
    NONSHARED = 3
    SEEN = 4
    ALONG = 5

    # A viewer: what it is shown in the lowest bits, above them the number of its role.
    REVOCABLE = 1
    SHARED = 2
    REFINED = 4
    FLAGS = 7
    FLAG_BITS = 3

#: What the number of a rest counts in a hash: the golden ratio of 2**64.
cdef uint64_t REST_FACTOR = 0x9E3779B97F4A7C15

cdef object EMPTY = Resources()


@cython.final
@cython.auto_pickle(False)
# It refers to nothing that refers back, and whoever has references needs it whole to the end.
@cython.no_gc
cdef class Bundles:
    """The distinct values that an engine holds.

    Parameters
    ----------
    totals : Totals
        Whose columns the rows have.

    Notes
    -----
    For compiled callers. Python sees a bundle as `Held`, which tests use. In the costs given below
    k is the number of columns.
    """

    def __cinit__(self, totals):
        self.totals = totals
        self.columns = totals.columns
        self.names = []
        self.rest_index = {}
        self.item_index = {}
        self.counted_names = {}
        self.roles = {None: 0}
        self.role_names = [None]
        self.free = self.free_rest = self.free_item = NONE
        self.memos = <Memo *>PyMem_Calloc(N_MEMOS, sizeof(Memo))
        if self.memos == NULL:
            raise MemoryError
        self.widen(4)
        self.grow_rests(8)
        self.grow(16)
        self.new_rest(b"")
        self.rests[NOTHING].value = owned(EMPTY)
        self.new_bundle(self.sums, NOTHING, 0)

    def __dealloc__(self):
        cdef int32_t i
        for i in range(self.capacity):
            Py_XDECREF(self.bundles[i].value)
        for i in range(self.rest_capacity):
            clear_rest(&self.rests[i])
        for i in range(self.item_capacity):
            clear_item(&self.items[i])
        PyMem_Free(self.plain)
        PyMem_Free(self.bundles)
        PyMem_Free(self.rests)
        PyMem_Free(self.items)
        PyMem_Free(self.buckets)
        PyMem_Free(self.factors)
        PyMem_Free(self.memos)
        PyMem_Free(self.sums)
        PyMem_Free(self.parts)

    # Columns.

    cdef int adopt_columns(self) except -1:
        """Take over the columns that others gave to names. O(1) if none, else O(all)."""
        cdef Py_ssize_t n_columns = len(self.columns)
        cdef int32_t i
        if n_columns == self.n_columns:
            return 0
        if n_columns > self.stride:
            self.widen(max(n_columns, self.stride * 3 // 2))
        self.names = list(self.columns)
        self.n_columns = n_columns
        for i in range(self.item_capacity):
            if self.items[i].key != NULL and self.items[i].column == NONE:
                self.items[i].column = self.columns.get((<object>self.items[i].identity).name, NONE)
        for i in range(self.rest_capacity):
            if self.rests[i].n_counts:
                self.rests[i].others = self.other_names(i)
        return 0

    cdef Py_ssize_t column(self, str name) except -1:
        """Return the column of a resource name, the next free one if it is new. O(1) amortised."""
        cdef Py_ssize_t column = self.totals.column(name)
        if column >= self.n_columns:
            self.adopt_columns()
        return column

    # Values in and out.

    cdef int32_t of(self, object resources) except -1:
        """Return the bundle of `Resources`. O(entries)."""
        cdef dict plain
        cdef Py_ssize_t position = 0
        cdef Py_ssize_t column
        cdef PyObject *name
        cdef PyObject *milli
        cdef PyObject *found
        cdef int32_t bundle
        if resources is self.last:
            return retained(self, self.last_bundle)
        plain = resources._plain
        memset(self.sums, 0, self.stride * sizeof(int64_t))
        while PyDict_Next(plain, &position, &name, &milli):
            found = PyDict_GetItem(self.columns, <object>name)
            column = self.n_columns if found == NULL else <object>found
            if column >= self.n_columns:
                column = self.column(<object>name)
            self.sums[column] = <object>milli
        bundle = self.interned(self.sums, self.rest_of(resources))
        release(self, self.last_bundle)
        self.last = resources
        self.last_bundle = retained(self, bundle)
        return bundle

    cdef object value(self, int32_t bundle):
        """Return the `Resources` of a bundle. O(entries) at first, then O(1)."""
        cdef dict plain
        if self.bundles[bundle].value == NULL:
            resources = self.rest_value(self.bundles[bundle].rest)
            if self.bundles[bundle].names:
                plain = named(self, self.row(bundle))
                resources = Resources._make(
                    plain, resources._special, named(self, self.whole(bundle, self.sums)))
            self.bundles[bundle].value = owned(resources)
        return <object>self.bundles[bundle].value

    cdef int32_t of_row(self, const int64_t *plain, int32_t rest) except -1:
        """Return the bundle of plain amounts, `n_columns` of them, and a rest. O(k).

        No amount is negative, and the two fit together (B6).
        """
        return self.interned(plain, self.retained_rest(rest))

    # References.

    cdef int discard(self, int32_t bundle) except -1:
        """Free a bundle that nobody has a reference to. O(k)."""
        cdef Bundle *record = &self.bundles[bundle]
        cdef int32_t *link = &self.buckets[self.bucket(record.hash)]
        while link[0] != bundle:
            link = &self.bundles[link[0]].next
        link[0] = record.next
        Py_CLEAR(record.value)
        self.release_rest(record.rest)
        record.next = self.free
        self.free = bundle
        self.n_bundles -= 1
        return 0

    # Arithmetic.

    cdef int32_t plus(self, int32_t a, int32_t b) except -1:
        """Return the sum; raises `ResourceError` as that of `Resources` does. O(k)."""
        cdef const int64_t *x
        cdef const int64_t *y
        cdef int64_t signs = 0
        cdef int32_t rest, other
        cdef Py_ssize_t column
        if b == NOTHING:
            return retained(self, a)
        if a == NOTHING:
            return retained(self, b)
        rest = self.bundles[a].rest
        other = self.bundles[b].rest
        if (self.bundles[a].names & self.rests[other].others
                or self.bundles[b].names & self.rests[rest].others):
            return self.of(self.value(a) + self.value(b))
        rest = self.rest_plus(rest, other)
        x, y = self.row(a), self.row(b)
        for column in range(self.n_columns):
            self.sums[column] = wrapping_sum(x[column], y[column])
            signs |= self.sums[column]
        if rest == NONE or signs < 0 or not self.fits(self.sums, rest):
            self.release_rest(rest)
            return self.of(self.value(a) + self.value(b))
        return self.interned(self.sums, rest)

    cdef int32_t minus(self, int32_t a, int32_t b) except -1:
        """Return what is left of `a`; raises `ResourceError` if `b` is not contained. O(k)."""
        cdef const int64_t *x
        cdef const int64_t *y
        cdef int64_t signs = 0
        cdef int32_t rest
        cdef Py_ssize_t column
        if b == NOTHING:
            return retained(self, a)
        if a == b:
            return NOTHING
        rest = self.rest_minus(self.bundles[a].rest, self.bundles[b].rest)
        x, y = self.row(a), self.row(b)
        for column in range(self.n_columns):
            self.sums[column] = x[column] - y[column]
            signs |= self.sums[column]
        if rest == NONE or signs < 0:
            self.release_rest(rest)
            return self.of(self.value(a) - self.value(b))
        return self.interned(self.sums, rest)

    cdef bint covers(self, int32_t a, int32_t b) except -1:
        """Tell whether `b` is contained in `a`. O(k)."""
        cdef const int64_t *x
        cdef const int64_t *y
        cdef Py_ssize_t column
        if a == b or b == NOTHING:
            return True
        x, y = self.row(a), self.row(b)
        for column in range(self.n_columns):
            if x[column] < y[column]:
                return False
        return self.rest_covers(self.bundles[a].rest, self.bundles[b].rest)

    cdef int32_t nonshared(self, int32_t bundle) except -1:
        """Return the entries that are not shared. O(1) if all are, else O(k)."""
        cdef int32_t rest = self.bundles[bundle].rest
        if not self.rests[rest].is_shared:
            return retained(self, bundle)
        rest = self.asked(NONSHARED, rest, 0)
        return self.interned(self.row(bundle), rest)

    # Amounts.

    cdef const int64_t *whole(self, int32_t bundle, int64_t *scratch) noexcept:
        """Return the amounts of all scalars, a shared one counted once. O(k).

        They stand in `scratch`, or in a row that is good until there is a new bundle.
        """
        return self.added(bundle, self.rests[self.bundles[bundle].rest].whole, scratch)

    cdef const int64_t *charged(self, int32_t bundle, int64_t *scratch) noexcept:
        """Return, as `whole` does, the amounts of what is unreserved and not revocable. O(k)."""
        return self.added(bundle, self.rests[self.bundles[bundle].rest].charged, scratch)

    cdef int64_t amount(self, int32_t bundle, int32_t column, int32_t counted) noexcept:
        """Return how much of one name there is, 1/1000: of its scalars, or of its elements.

        `column` and `counted` are the numbers of the name, each NONE if it has none. O(names).
        """
        cdef const Rest *rest = &self.rests[self.bundles[bundle].rest]
        cdef int64_t milli = 0
        cdef int32_t i
        if column != NONE:
            milli = self.row(bundle)[column]
            if rest.whole != NULL:
                milli += rest.whole[column]
        if counted != NONE:
            # No name is both that of scalars and of others (B6).
            for i in range(rest.n_counts):
                if rest.counts[i].name == counted:
                    return rest.counts[i].milli
        return milli

    cdef tuple reservations(self, int32_t bundle):
        """Return (role, amounts in 1/1000 by name) of what is reserved to exactly a role.

        Sorted by role; amounts are empty where only ranges and sets are reserved. O(entries) at
        first, then O(1).
        """
        cdef Rest *rest = &self.rests[self.bundles[bundle].rest]
        cdef Py_ssize_t n_words
        cdef const int64_t *part = self.parts_of(self.bundles[bundle].rest, &n_words)
        cdef const int64_t *end = part + n_words
        cdef Item *item
        cdef dict by_role = {}
        cdef dict amounts
        if rest.reservations == NULL:
            while part < end:
                item = &self.items[part[0]]
                if item.role:
                    amounts = by_role.setdefault(self.role_names[item.role], {})
                    if item.is_scalar:
                        name = self.names[item.column]
                        amounts[name] = amounts.get(name, 0) + <object>scalar(item, part)
                part = after(part)
            rest.reservations = owned(tuple(sorted(by_role.items(), key=itemgetter(0))))
        return <tuple>rest.reservations

    # What a framework may see.

    cdef int32_t viewer(self, str role, bint revocable, bint shared, bint refined) except -1:
        """Return the number of a kind of framework: its role, and what it is shown. O(1)."""
        return (self.role_number(role) << FLAG_BITS | (REVOCABLE if revocable else 0)
                | (SHARED if shared else 0) | (REFINED if refined else 0))

    cdef int32_t seen_by(self, int32_t bundle, int32_t viewer) except -1:
        """Return what a viewer may see. O(1) if anybody may see all, else O(k)."""
        cdef int32_t rest = self.bundles[bundle].rest
        if self.rests[rest].is_open:
            return retained(self, bundle)
        if not self.rests[rest].is_reserved:
            viewer &= FLAGS
        rest = self.asked(SEEN, rest, viewer)
        return self.interned(self.row(bundle), rest)

    cdef int32_t along(self, int32_t bundle, int32_t viewer) except -1:
        """Return what comes along with what serves a guarantee of the viewer's role. O(k).

        That is, of what it may see: ranges, sets, revocables, reservations of the role itself.
        """
        cdef int32_t rest = self.bundles[bundle].rest
        if rest == NOTHING:
            return NOTHING
        viewer = viewer & ~FLAGS if self.rests[rest].is_reserved else 0
        rest = self.asked(ALONG, rest, viewer)
        return self.interned(self.row(NOTHING), rest)

    cdef Bundles copy_for(self, object totals):
        """Return a copy with the same numbers and references, on totals of the same columns.

        O(capacity); values are the same objects.
        """
        cdef Bundles twin = Bundles(totals)
        assert list(twin.columns)[:self.n_columns] == self.names
        twin.adopt_arrays(self)
        twin.names = self.names.copy()
        twin.rest_index = self.rest_index.copy()
        twin.item_index = self.item_index.copy()
        twin.counted_names = self.counted_names.copy()
        twin.n_counted_names = self.n_counted_names
        twin.roles = self.roles.copy()
        twin.role_names = self.role_names.copy()
        twin.last = self.last
        twin.last_bundle = self.last_bundle
        return twin

    # Bundles.

    cdef inline int64_t *row(self, int32_t bundle) noexcept:
        """Return the plain amounts of a bundle, good until there is a new one."""
        return self.plain + bundle * self.stride

    cdef inline Py_ssize_t bucket(self, uint64_t hash) noexcept:
        """Return the place in `buckets` for a hash, by its upper bits, which are mixed best."""
        return <Py_ssize_t>(hash >> 32) & (self.n_buckets - 1)

    cdef int32_t interned(self, const int64_t *row, int32_t rest) except -1:
        """Return the bundle of a plain row and a rest, whose reference goes to it. O(k)."""
        cdef uint64_t hash = <uint64_t>rest * REST_FACTOR
        cdef int32_t bundle
        cdef Py_ssize_t column
        for column in range(self.n_columns):
            hash += <uint64_t>row[column] * self.factors[column]
        bundle = self.buckets[self.bucket(hash)]
        while bundle != NONE:
            if (self.bundles[bundle].hash == hash and self.bundles[bundle].rest == rest
                    and memcmp(self.row(bundle), row, self.n_columns * sizeof(int64_t)) == 0):
                self.release_rest(rest)
                return retained(self, bundle)
            bundle = self.bundles[bundle].next
        return self.new_bundle(row, rest, hash)

    cdef int32_t new_bundle(self, const int64_t *row, int32_t rest, uint64_t hash) except -1:
        """Return a bundle that is not there yet. O(k) amortised."""
        cdef int32_t bundle
        cdef Bundle *record
        cdef Py_ssize_t column
        if self.free == NONE:
            # The row may be one of those that are about to move.
            if row != self.sums:
                memcpy(self.sums, row, self.n_columns * sizeof(int64_t))
                row = self.sums
            self.grow(self.capacity + self.capacity // 2)
        bundle = self.free
        record = &self.bundles[bundle]
        self.free = record.next
        self.n_bundles += 1
        record.hash = hash
        record.names = 0
        record.rest = rest
        record.refs = 1
        memcpy(self.row(bundle), row, self.n_columns * sizeof(int64_t))
        for column in range(self.n_columns):
            if row[column]:
                record.names |= bit(column)
        self.chain(bundle)
        return bundle

    cdef void chain(self, int32_t bundle) noexcept:
        """Put a bundle in the chain of its hash (B4)."""
        cdef int32_t *first = &self.buckets[self.bucket(self.bundles[bundle].hash)]
        self.bundles[bundle].next = first[0]
        first[0] = bundle

    cdef int grow(self, int32_t capacity) except -1:
        """Have that many bundles, more than there are. O(capacity)."""
        cdef int32_t bundle
        # One that grew while another could not is only larger than it need be.
        self.bundles = <Bundle *>grown(self.bundles, capacity * sizeof(Bundle))
        self.plain = <int64_t *>grown(self.plain, capacity * self.stride * sizeof(int64_t))
        self.grow_buckets(capacity)
        memset(self.bundles + self.capacity, 0, (capacity - self.capacity) * sizeof(Bundle))
        memset(self.row(self.capacity), 0,
               (capacity - self.capacity) * self.stride * sizeof(int64_t))
        for bundle in range(capacity - 1, self.capacity - 1, -1):
            self.bundles[bundle].next = self.free
            self.free = bundle
        self.capacity = capacity
        return 0

    cdef int grow_buckets(self, int32_t capacity) except -1:
        """Have at least that many buckets. O(capacity) if there are fewer."""
        cdef Py_ssize_t n_buckets = max(self.n_buckets, 1)
        cdef int32_t bundle
        cdef int32_t *buckets
        while n_buckets < capacity:
            n_buckets *= 2
        if n_buckets == self.n_buckets:
            return 0
        buckets = <int32_t *>PyMem_Malloc(n_buckets * sizeof(int32_t))
        if buckets == NULL:
            raise MemoryError
        PyMem_Free(self.buckets)
        self.buckets = buckets
        self.n_buckets = n_buckets
        memset(buckets, 0xff, n_buckets * sizeof(int32_t))  # NONE everywhere
        for bundle in range(self.capacity):
            if self.bundles[bundle].refs:
                self.chain(bundle)
        return 0

    cdef int widen(self, Py_ssize_t stride) except -1:
        """Have room for that many columns, more than there are. O(all)."""
        cdef int64_t *plain
        cdef int64_t *sums
        cdef uint64_t *factors
        cdef int32_t i
        cdef Py_ssize_t column
        for i in range(self.rest_capacity):
            # One that grew while another could not is only larger than it need be.
            self.rests[i].whole = widened(self.rests[i].whole, self.stride, stride)
            self.rests[i].charged = widened(self.rests[i].charged, self.stride, stride)
        sums = <int64_t *>PyMem_Calloc(stride, sizeof(int64_t))
        factors = <uint64_t *>PyMem_Malloc(stride * sizeof(uint64_t))
        plain = <int64_t *>PyMem_Calloc(max(self.capacity, 1) * stride, sizeof(int64_t))
        if sums == NULL or factors == NULL or plain == NULL:
            PyMem_Free(sums)
            PyMem_Free(factors)
            PyMem_Free(plain)
            raise MemoryError
        for i in range(self.capacity):
            memcpy(plain + i * stride, self.row(i), self.stride * sizeof(int64_t))
        if self.stride:
            memcpy(sums, self.sums, self.stride * sizeof(int64_t))
        for column in range(stride):
            factors[column] = mix64(<uint64_t>column + 1) | 1
        PyMem_Free(self.sums)
        PyMem_Free(self.factors)
        PyMem_Free(self.plain)
        self.sums, self.factors, self.plain, self.stride = sums, factors, plain, stride
        return 0

    cdef const int64_t *added(
        self, int32_t bundle, const int64_t *special, int64_t *scratch
    ) noexcept:
        """Return the plain amounts with those of its special entries, if any. O(k)."""
        cdef const int64_t *plain = self.row(bundle)
        cdef Py_ssize_t column
        if special == NULL:
            return plain
        for column in range(self.n_columns):
            scratch[column] = plain[column] + special[column]
        return scratch

    cdef bint fits(self, const int64_t *row, int32_t rest) noexcept:
        """Tell whether the sums of a plain row and a rest fit an int64 (B6). O(k)."""
        cdef const int64_t *special = self.rests[rest].whole
        cdef Py_ssize_t column
        if special != NULL:
            for column in range(self.n_columns):
                if wrapping_sum(row[column], special[column]) < 0:
                    return False
        return True

    cdef int adopt_arrays(self, Bundles original) except -1:
        """Take over all bundles, rests and memos, while there are none here. O(capacity)."""
        cdef int32_t i
        if original.stride > self.stride:
            self.widen(original.stride)
        if original.capacity > self.capacity:
            self.grow(original.capacity)
        if original.rest_capacity > self.rest_capacity:
            self.grow_rests(original.rest_capacity)
        if original.item_capacity > self.item_capacity:
            self.grow_items(original.item_capacity)
        memcpy(self.plain, original.plain, self.capacity * self.stride * sizeof(int64_t))
        memcpy(self.bundles, original.bundles, self.capacity * sizeof(Bundle))
        memcpy(self.buckets, original.buckets, self.n_buckets * sizeof(int32_t))
        memcpy(self.memos, original.memos, N_MEMOS * sizeof(Memo))
        for i in range(self.capacity):
            Py_XINCREF(self.bundles[i].value)
        for i in range(self.rest_capacity):
            copy_rest(&self.rests[i], &original.rests[i], self.stride)
        for i in range(self.item_capacity):
            copy_item(&self.items[i], &original.items[i])
        self.n_columns, self.n_bundles = original.n_columns, original.n_bundles
        self.free, self.free_rest = original.free, original.free_rest
        self.free_item = original.free_item
        return 0

    # Rests.

    cdef inline const int64_t *parts_of(self, int32_t rest, Py_ssize_t *n_words) noexcept:
        """Return the parts of a rest and their length, good while the rest is."""
        cdef PyObject *key = self.rests[rest].key
        n_words[0] = PyBytes_GET_SIZE(<object>key) // <Py_ssize_t>sizeof(int64_t)
        return <const int64_t *>PyBytes_AS_STRING(<object>key)

    cdef inline int reserve_words(self, Py_ssize_t n_words) except -1:
        """Make room for that many words in `parts`. O(1) amortised."""
        if n_words > self.n_words:
            self.parts = <int64_t *>grown(self.parts, 2 * n_words * sizeof(int64_t))
            self.n_words = 2 * n_words
        return 0

    cdef int32_t rest_of(self, object resources) except -1:
        """Return the rest of `Resources`. O(entries log entries + intervals)."""
        cdef dict special = resources._special
        cdef Py_ssize_t n_words = 0
        cdef Py_ssize_t i
        cdef int32_t item
        if not special:
            return NOTHING
        for identity, entry in (
            special.items() if len(special) == 1 else sorted(special.items(), key=address)
        ):
            item = self.item_of(identity, entry)
            value = entry._value
            self.reserve_words(n_words + 3 + (0 if self.items[item].is_scalar else 2 * len(value)))
            self.parts[n_words] = item
            i = n_words + 2
            if self.items[item].entry == NULL:
                if self.items[item].is_scalar:
                    self.parts[i] = value
                    i += 1
                else:
                    for begin, end in value:
                        self.parts[i] = begin
                        self.parts[i + 1] = end
                        i += 2
            self.parts[n_words + 1] = i - n_words - 2
            n_words = i
        return self.rest_of_parts(n_words)

    cdef int32_t rest_of_parts(self, Py_ssize_t n_words) except -1:
        """Return the rest of so many words in `parts`. O(words), O(words + k) if it is new."""
        cdef bytes key = PyBytes_FromStringAndSize(<char *>self.parts, n_words * sizeof(int64_t))
        cdef PyObject *found = PyDict_GetItem(self.rest_index, key)
        if found == NULL:
            return self.new_rest(key)
        return self.retained_rest(<object>found)

    cdef int32_t new_rest(self, bytes key) except -1:
        """Return the rest of parts that is not there yet. O(words + k)."""
        cdef int32_t number
        cdef Rest *rest
        cdef Py_ssize_t n_words
        cdef const int64_t *part
        cdef const int64_t *end
        if self.free_rest == NONE:
            self.grow_rests(self.rest_capacity + self.rest_capacity // 2)
        number = self.free_rest
        rest = &self.rests[number]
        self.free_rest = rest.next
        rest.key = owned(key)
        rest.refs = 1
        rest.is_open = True
        self.rest_index[key] = number
        part = self.parts_of(number, &n_words)
        end = part + n_words
        while part < end:
            self.take_in(rest, part)
            part = after(part)
        rest.others = self.other_names(number)
        return number

    cdef int take_in(self, Rest *rest, const int64_t *part) except -1:
        """Have a new rest tell of one of its parts. O(1), O(k) for the first scalar."""
        cdef Item *item = &self.items[part[0]]
        cdef bint is_free = not (item.role or item.is_revocable)
        item.refs += 1
        rest.is_open = rest.is_open and is_free and not item.is_shared
        rest.is_shared = rest.is_shared or item.is_shared
        rest.is_reserved = rest.is_reserved or item.role != 0
        if not item.is_scalar:
            self.count_in(rest, part)
            rest.has_sets = rest.has_sets or item.entry != NULL
            return 0
        rest.names |= bit(item.column)
        rest.whole = present(rest.whole, self.stride)
        rest.whole[item.column] += scalar(item, part)
        if is_free:
            rest.charged = present(rest.charged, self.stride)
            rest.charged[item.column] += scalar(item, part)
        return 0

    cdef int count_in(self, Rest *rest, const int64_t *part) except -1:
        """Have a new rest count the elements of one of its parts. O(intervals + names)."""
        cdef Item *item = &self.items[part[0]]
        cdef int64_t milli = elements(item, part)
        cdef int32_t i
        for i in range(rest.n_counts):
            if rest.counts[i].name == item.counted:
                rest.counts[i].milli = saturated_sum(rest.counts[i].milli, milli)
                return 0
        rest.counts = <Count *>grown(rest.counts, (rest.n_counts + 1) * sizeof(Count))
        rest.counts[rest.n_counts] = Count(milli, item.counted)
        rest.n_counts += 1
        return 0

    cdef uint64_t other_names(self, int32_t rest) noexcept:
        """Return the bits of the columns whose names are ranges or sets in it. O(parts)."""
        cdef Py_ssize_t n_words
        cdef const int64_t *part = self.parts_of(rest, &n_words)
        cdef const int64_t *end = part + n_words
        cdef Item *item
        cdef uint64_t bits = 0
        while part < end:
            item = &self.items[part[0]]
            if not item.is_scalar and item.column != NONE:
                bits |= bit(item.column)
            part = after(part)
        return bits

    cdef object rest_value(self, int32_t rest):
        """Return the `Resources` of a rest. O(words) at first, then O(1)."""
        cdef Py_ssize_t n_words
        cdef const int64_t *part = self.parts_of(rest, &n_words)
        cdef const int64_t *end = part + n_words
        cdef int64_t *whole = self.rests[rest].whole
        cdef dict special = {}
        if self.rests[rest].value == NULL:
            while part < end:
                identity = <object>self.items[part[0]].identity
                special[identity] = entry_of(&self.items[part[0]], part)
                part = after(part)
            totals = {} if whole == NULL else named(self, whole)
            self.rests[rest].value = owned(Resources._make({}, special, totals))
        return <object>self.rests[rest].value

    cdef int grow_rests(self, int32_t capacity) except -1:
        """Have that many rests, more than there are. O(capacity)."""
        cdef int32_t rest
        self.rests = <Rest *>grown(self.rests, capacity * sizeof(Rest))
        memset(self.rests + self.rest_capacity, 0,
               (capacity - self.rest_capacity) * sizeof(Rest))
        for rest in range(capacity - 1, self.rest_capacity - 1, -1):
            self.rests[rest].next = self.free_rest
            self.free_rest = rest
        self.rest_capacity = capacity
        return 0

    cdef inline int32_t retained_rest(self, int32_t rest) noexcept:
        """Return a rest, or NONE, with one more reference."""
        if rest > NOTHING:
            self.rests[rest].refs += 1
        return rest

    cdef int release_rest(self, int32_t rest) except -1:
        """Give a reference to a rest, or NONE, back. O(1), O(parts) if it was the last."""
        cdef Py_ssize_t n_words
        cdef const int64_t *part
        cdef const int64_t *end
        if rest <= NOTHING:
            return 0
        self.rests[rest].refs -= 1
        if self.rests[rest].refs == 0:
            part = self.parts_of(rest, &n_words)
            end = part + n_words
            while part < end:
                self.release_item(<int32_t>part[0])
                part = after(part)
            del self.rest_index[<object>self.rests[rest].key]
            clear_rest(&self.rests[rest])
            self.rests[rest].next = self.free_rest
            self.free_rest = rest
        return 0

    # Items.

    cdef int32_t item_of(self, object identity, object entry) except -1:
        """Return the item of an entry. O(1)."""
        cdef PyObject *found = PyDict_GetItem(self.item_index, identity)
        if found != NULL:
            return <object>found
        if identity.splittable and identity.kind != _SET:
            return self.new_item(identity, identity, None)
        # Equality of entries does not look at all disk information.
        key = (identity, entry._value, entry._copies, entry._disk)
        found = PyDict_GetItem(self.item_index, key)
        if found != NULL:
            return <object>found
        return self.new_item(key, identity, entry)

    cdef int32_t new_item(self, object key, object identity, object entry) except -1:
        """Return an item that is not there yet, of a whole entry or with None of its identity."""
        cdef int32_t column = self.columns.get(identity.name, NONE)
        cdef int32_t role = self.role_number(identity.role)
        cdef int32_t counted = NONE
        cdef int32_t number
        cdef int64_t amount = 0
        cdef Item *item
        if identity.kind == _SCALAR:
            column = <int32_t>self.column(identity.name)
        else:
            counted = self.counted_number(identity.name)
        if entry is not None:
            amount = amount_of(identity, entry)
        if self.free_item == NONE:
            self.grow_items(self.item_capacity + self.item_capacity // 2 + 8)
        number = self.free_item
        item = &self.items[number]
        item.is_scalar = identity.kind == _SCALAR
        item.is_revocable = identity.revocable
        item.is_shared = identity.shared
        item.is_refined = len(identity.reservations) > 1
        item.column = column
        item.role = role
        item.counted = counted
        item.amount = amount
        self.item_index[key] = number
        item.key = owned(key)
        item.identity = owned(identity)
        item.entry = NULL if entry is None else owned(entry)
        self.free_item = item.next
        return number

    cdef int32_t role_number(self, object role) except -1:
        """Return the number of a role, or of None. O(1)."""
        cdef int32_t number = self.roles.setdefault(role, len(self.role_names))
        if number == len(self.role_names):
            self.role_names.append(role)
        return number

    cdef int32_t counted_number(self, object name) except -1:
        """Return the number of a name of ranges or sets. O(1)."""
        cdef int32_t number = self.counted_names.setdefault(name, self.n_counted_names)
        self.n_counted_names = len(self.counted_names)
        return number

    cdef int release_item(self, int32_t item) except -1:
        """Have one rest less with an item. O(1)."""
        cdef Item *record = &self.items[item]
        record.refs -= 1
        if record.refs == 0:
            del self.item_index[<object>record.key]
            clear_item(record)
            record.next = self.free_item
            self.free_item = item
        return 0

    cdef int grow_items(self, int32_t capacity) except -1:
        """Have that many items, more than there are. O(capacity)."""
        cdef int32_t item
        self.items = <Item *>grown(self.items, capacity * sizeof(Item))
        memset(self.items + self.item_capacity, 0,
               (capacity - self.item_capacity) * sizeof(Item))
        for item in range(capacity - 1, self.item_capacity - 1, -1):
            self.items[item].next = self.free_item
            self.free_item = item
        self.item_capacity = capacity
        return 0

    # Arithmetic of rests.

    cdef int32_t rest_plus(self, int32_t a, int32_t b) except? -1:
        """Return the sum of two rests, or NONE if there is none."""
        if b == NOTHING:
            return self.retained_rest(a)
        if a == NOTHING:
            return self.retained_rest(b)
        return self.asked(PLUS, a, b)

    cdef int32_t rest_minus(self, int32_t a, int32_t b) except? -1:
        """Return `a` without `b`, or NONE if `b` is not contained."""
        if b == NOTHING:
            return self.retained_rest(a)
        if a == b:
            return NOTHING
        if a == NOTHING:
            return NONE
        return self.asked(MINUS, a, b)

    cdef bint rest_covers(self, int32_t a, int32_t b) except -1:
        """Tell whether `b` is contained in `a`. O(words), mostly."""
        cdef Py_ssize_t n, m
        cdef const int64_t *x = self.parts_of(a, &n)
        cdef const int64_t *y = self.parts_of(b, &m)
        cdef int32_t verdict = a == b or parts_cover(self.items, x, n, y, m)
        if verdict == UNKNOWN:
            verdict = self.rest_minus(a, b)
            self.release_rest(verdict)
            return verdict != NONE
        return verdict

    cdef int32_t asked(self, int operation, int32_t a, int32_t b) except? -1:
        """Return what an operation makes of a rest, NONE if it cannot. O(1) if remembered.

        `b` is the other rest, the viewer, or 0.
        """
        cdef uint64_t hash = mix64((<uint64_t>a << 32 | <uint64_t>b) * REST_FACTOR + operation)
        cdef Memo *pair = &self.memos[hash % N_MEMOS & ~1]
        cdef int32_t result
        cdef int i
        for i in range(2):
            if pair[i].operation == operation and pair[i].a == a and pair[i].b == b:
                return self.retained_rest(pair[i].result)
        result = self.computed(operation, a, b)
        self.forget(&pair[1])
        pair[1] = pair[0]
        pair[0] = Memo(operation, self.retained_rest(a), b, self.retained_rest(result))
        if operation == PLUS or operation == MINUS:
            self.retained_rest(b)
        return result

    cdef int32_t computed(self, int operation, int32_t a, int32_t b) except? -1:
        """Do as `asked` does, without looking into the memos. O(words), mostly."""
        cdef Py_ssize_t n_words
        if operation == PLUS:
            n_words = self.put_sum(a, b)
        elif operation == MINUS:
            n_words = self.put_difference(a, b)
        else:
            n_words = self.put_admitted(operation, a, b)
        if n_words == NONE:
            return NONE
        if n_words == UNKNOWN:
            return self.computed_by_value(operation, a, b)
        return self.rest_of_parts(n_words)

    cdef Py_ssize_t put_sum(self, int32_t a, int32_t b) except? -1:
        """Put the sum of two rests into `parts`; return its words, or UNKNOWN. O(words + k)."""
        cdef Rest *mine = &self.rests[a]
        cdef Rest *theirs = &self.rests[b]
        cdef Py_ssize_t n, m, column
        cdef const int64_t *x = self.parts_of(a, &n)
        cdef const int64_t *y = self.parts_of(b, &m)
        if (mine.names & theirs.others or theirs.names & mine.others
                or mine.n_counts and theirs.n_counts and (mine.has_sets or theirs.has_sets)):
            return UNKNOWN
        if mine.whole != NULL and theirs.whole != NULL:
            for column in range(self.n_columns):
                if wrapping_sum(mine.whole[column], theirs.whole[column]) < 0:
                    return UNKNOWN
        self.reserve_words(n + m)
        return sum_of_parts(self.items, x, n, y, m, self.parts)

    cdef Py_ssize_t put_difference(self, int32_t a, int32_t b) except? -1:
        """Put `a` without `b` into `parts`; return its words, NONE, or UNKNOWN. O(words)."""
        cdef Py_ssize_t n, m
        cdef const int64_t *x = self.parts_of(a, &n)
        cdef const int64_t *y = self.parts_of(b, &m)
        cdef int verdict = parts_cover(self.items, x, n, y, m)
        if verdict == UNKNOWN:
            return UNKNOWN
        if not verdict:
            return NONE
        self.reserve_words(n + m)
        return difference_of_parts(self.items, x, n, y, m, self.parts)

    cdef Py_ssize_t put_admitted(self, int operation, int32_t rest, int32_t viewer) except -1:
        """Put the parts that a view has into `parts`; return its words. O(words + path)."""
        cdef Py_ssize_t n_words
        cdef Py_ssize_t length = 0
        cdef const int64_t *part = self.parts_of(rest, &n_words)
        cdef const int64_t *end = part + n_words
        self.reserve_words(n_words)
        while part < end:
            if self.admits(operation, &self.items[part[0]], viewer):
                length += copied_part(part, self.parts + length)
            part = after(part)
        return length

    cdef bint admits(self, int operation, Item *item, int32_t viewer) except -1:
        """Tell whether a view has the entries of an item. O(length of the role's path)."""
        cdef int32_t role = viewer >> FLAG_BITS
        if operation == NONSHARED:
            return not item.is_shared
        if operation == ALONG:
            return not item.is_scalar or item.is_revocable or item.role and item.role == role
        if (item.is_revocable and not viewer & REVOCABLE or item.is_shared and not viewer & SHARED
                or item.is_refined and not viewer & REFINED):
            return False
        return (item.role == 0 or item.role == role
                or is_at_or_below(self.role_names[role], self.role_names[item.role]))

    cdef int32_t computed_by_value(self, int operation, int32_t a, int32_t b) except? -1:
        """Compute a sum or difference as `Resources` do. O(entries)."""
        mine, theirs = self.rest_value(a), self.rest_value(b)
        if operation == PLUS:
            try:
                return self.rest_of(mine + theirs)
            except ResourceError:
                return NONE
        return self.rest_of(mine - theirs) if mine >= theirs else NONE

    cdef int forget(self, Memo *memo) except -1:
        """Empty a memo."""
        cdef Memo old = memo[0]
        if old.operation:
            memo.operation = 0
            self.release_rest(old.a)
            self.release_rest(old.result)
            if old.operation == PLUS or old.operation == MINUS:
                self.release_rest(old.b)
        return 0

    # For tests.

    def held(self, resources):
        """Return the bundle of resources for Python. O(entries)."""
        return Held(self, self.of(Resources(resources)))

    def viewer_of(self, role, *, revocable=False, shared=False, refined=False):
        """Return the number of a kind of framework for Python. O(1)."""
        return self.viewer(role, revocable, shared, refined)

    def copy(self, totals):
        """Return `copy_for(totals)` for Python."""
        return self.copy_for(totals)

    def forget_all(self):
        """Give back all references that are kept to be quick. O(memos)."""
        cdef int i
        for i in range(N_MEMOS):
            self.forget(&self.memos[i])
        release(self, self.last_bundle)
        self.last = None
        self.last_bundle = NOTHING

    def __len__(self):
        """Return how many bundles, rests and items are in use, NOTHING not counted."""
        return self.n_bundles - 1 + len(self.rest_index) - 1 + len(self.item_index)

    def _check(self):
        """Raise `AssertionError` unless B1 to B7 hold, by recomputing. For tests."""
        self.adopt_columns()
        check_bundles(self)
        check_rests(self)
        check_items(self)


@cython.final
@cython.auto_pickle(False)
@cython.no_gc_clear  # `__dealloc__` needs the bundles
cdef class Several:
    """Bundles, one for each of several agents or offers, with references of its own.

    Parameters
    ----------
    bundles : Bundles
        Where they are.
    n : int
        How many; each is NOTHING at first.
    """

    def __cinit__(self, Bundles bundles not None, Py_ssize_t n):
        self.bundles = bundles
        self.numbers = <int32_t *>PyMem_Calloc(max(n, 1), sizeof(int32_t))
        if self.numbers == NULL:
            raise MemoryError
        self.n = n

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.n):
            release(self.bundles, self.numbers[i])
        PyMem_Free(self.numbers)

@cython.final
@cython.auto_pickle(False)
@cython.no_gc_clear  # `__dealloc__` needs the bundles
cdef class Held:
    """A bundle as a Python object, with a reference of its own. For tests.

    Parameters
    ----------
    bundles : Bundles
        Where it is.
    number : int
        The bundle; a reference to it goes to the new object.
    """

    def __cinit__(self, Bundles bundles not None, int32_t number):
        self.bundles = bundles
        self.number = number

    def __dealloc__(self):
        release(self.bundles, self.number)

    @property
    def value(self):
        """The `Resources`."""
        return self.bundles.value(self.number)

    @property
    def reservations(self):
        """What is reserved to each role."""
        return self.bundles.reservations(self.number)

    def plus(self, Held other not None):
        """Return the sum."""
        return Held(self.bundles, self.bundles.plus(self.number, other.number))

    def minus(self, Held other not None):
        """Return what is left without another."""
        return Held(self.bundles, self.bundles.minus(self.number, other.number))

    def covers(self, Held other not None):
        """Tell whether another is contained in it."""
        return self.bundles.covers(self.number, other.number)

    def nonshared(self):
        """Return the entries that are not shared."""
        return Held(self.bundles, self.bundles.nonshared(self.number))

    def seen_by(self, int32_t viewer):
        """Return what a viewer may see."""
        return Held(self.bundles, self.bundles.seen_by(self.number, viewer))

    def along(self, int32_t viewer):
        """Return what comes along for a viewer."""
        return Held(self.bundles, self.bundles.along(self.number, viewer))

    def special(self):
        """Return the bundle of the rest alone."""
        cdef Bundles bundles = self.bundles
        return Held(bundles, bundles.of_row(
            bundles.row(NOTHING), bundles.bundles[self.number].rest))

    def amounts(self):
        """Return `whole` and `charged` by name, without zeros."""
        cdef Bundles bundles = self.bundles
        cdef int64_t *scratch = <int64_t *>PyMem_Malloc(bundles.stride * sizeof(int64_t))
        if scratch == NULL:
            raise MemoryError
        try:
            whole = named(bundles, bundles.whole(self.number, scratch))
            return whole, named(bundles, bundles.charged(self.number, scratch))
        finally:
            PyMem_Free(scratch)


# Parts (B7).

cdef inline const int64_t *after(const int64_t *part) noexcept nogil:
    """Return the part after another one."""
    return part + 2 + part[1]


cdef inline int64_t scalar(const Item *item, const int64_t *part) noexcept nogil:
    """Return the amount of a part that is a scalar."""
    return part[2] if item.entry == NULL else item.amount


cdef inline int64_t elements(const Item *item, const int64_t *part) noexcept nogil:
    """Return how many elements a part has that is no scalar, 1/1000, at most INT64_MAX."""
    cdef uint64_t n = 0
    cdef Py_ssize_t i
    if item.entry != NULL:
        return item.amount
    for i in range(2, 2 + part[1], 2):
        n += <uint64_t>(part[i + 1] - part[i]) + 1
    return <int64_t>n * MILLI if n <= <uint64_t>(INT64_MAX // MILLI) else INT64_MAX


cdef inline bint precedes(const Item *items, const int64_t *x, const int64_t *y) noexcept nogil:
    """Tell whether the identity of a part comes before that of another one."""
    return <size_t>items[x[0]].identity < <size_t>items[y[0]].identity


cdef inline Py_ssize_t copied_part(const int64_t *part, int64_t *result) noexcept nogil:
    """Copy a part; return its words."""
    memcpy(result, part, (2 + part[1]) * sizeof(int64_t))
    return 2 + part[1]


cdef int parts_cover(
    const Item *items, const int64_t *x, Py_ssize_t n, const int64_t *y, Py_ssize_t m
) noexcept nogil:
    """Tell whether parts contain others, unless it is UNKNOWN. O(n + m)."""
    cdef const int64_t *x_end = x + n
    cdef const int64_t *y_end = y + m
    cdef int verdict = True
    while y < y_end:
        while x < x_end and precedes(items, x, y):
            x = after(x)
        if x == x_end or precedes(items, y, x):
            return False
        if items[x[0]].entry != NULL:
            # Equal entries contain each other, whatever they are.
            if x[0] != y[0]:
                verdict = UNKNOWN
        elif items[x[0]].is_scalar:
            if x[2] < y[2]:
                return False
        elif not contains(x + 2, x[1], y + 2, y[1]):
            return False
        x = after(x)
        y = after(y)
    return verdict


cdef Py_ssize_t difference_of_parts(
    const Item *items, const int64_t *x, Py_ssize_t n, const int64_t *y, Py_ssize_t m,
    int64_t *result
) noexcept nogil:
    """Write parts without others, which they contain; return the words. O(n + m)."""
    cdef const int64_t *x_end = x + n
    cdef const int64_t *y_end = y + m
    cdef Py_ssize_t length = 0
    while x < x_end:
        if y == y_end or precedes(items, x, y):
            length += copied_part(x, result + length)
            x = after(x)
            continue
        result[length] = x[0]
        result[length + 1] = 0
        if items[x[0]].entry == NULL:
            if not items[x[0]].is_scalar:
                result[length + 1] = difference_of(
                    x + 2, x[1], y + 2, y[1], result + length + 2)
            elif x[2] > y[2]:
                result[length + 1] = 1
                result[length + 2] = x[2] - y[2]
        if result[length + 1]:
            length += 2 + result[length + 1]
        x = after(x)
        y = after(y)
    return length


cdef Py_ssize_t sum_of_parts(
    const Item *items, const int64_t *x, Py_ssize_t n, const int64_t *y, Py_ssize_t m,
    int64_t *result
) noexcept nogil:
    """Write the sum of parts, which fits an int64; return the words, or UNKNOWN. O(n + m)."""
    cdef const int64_t *x_end = x + n
    cdef const int64_t *y_end = y + m
    cdef Py_ssize_t length = 0
    while x < x_end or y < y_end:
        if y == y_end or (x < x_end and precedes(items, x, y)):
            length += copied_part(x, result + length)
            x = after(x)
        elif x == x_end or precedes(items, y, x):
            length += copied_part(y, result + length)
            y = after(y)
        elif items[x[0]].entry != NULL:
            return UNKNOWN
        else:
            result[length] = x[0]
            if items[x[0]].is_scalar:
                result[length + 1] = 1
                result[length + 2] = x[2] + y[2]
            else:
                result[length + 1] = union_of(x + 2, x[1], y + 2, y[1], result + length + 2)
            length += 2 + result[length + 1]
            x = after(x)
            y = after(y)
    return length


# Values.

cdef object entry_of(const Item *item, const int64_t *part):
    """Return the `Resource` that a part stands for."""
    cdef Py_ssize_t i
    if item.entry != NULL:
        return <object>item.entry
    identity = <object>item.identity
    disk = None if identity.source is None else _DiskInfo(source=identity.source)
    if item.is_scalar:
        return _Resource._make(identity, part[2], disk)
    pairs = tuple([(part[i], part[i + 1]) for i in range(2, 2 + part[1], 2)])
    return _Resource._make(identity, pairs, disk)


cdef int64_t amount_of(object identity, object entry) except -1:
    """Return how much a whole entry is, or how many elements it has, 1/1000."""
    if identity.kind == _SCALAR:
        return entry._value
    return Resources([entry]).counts().milli[identity.name]


cdef object address(object pair):
    """Return the address of an identity, given with its entry."""
    return <size_t><PyObject *>pair[0]


cdef dict named(Bundles bundles, const int64_t *row):
    """Return a row by name, without zeros."""
    cdef Py_ssize_t column
    return {bundles.names[column]: row[column]
            for column in range(bundles.n_columns) if row[column]}


# Integers and memory.

cdef inline int64_t wrapping_sum(int64_t a, int64_t b) noexcept nogil:
    """Add; the sum of two amounts is negative exactly if it does not fit."""
    return <int64_t>(<uint64_t>a + <uint64_t>b)


cdef inline int64_t saturated_sum(int64_t a, int64_t b) noexcept nogil:
    """Add two amounts; what does not fit is INT64_MAX."""
    return a + b if a <= INT64_MAX - b else INT64_MAX


cdef inline uint64_t bit(Py_ssize_t column) noexcept nogil:
    """Return the bit of a column; those from 63 on share the last."""
    return <uint64_t>1 << min(column, 63)


cdef inline uint64_t mix64(uint64_t x) noexcept nogil:
    """Return the splitmix64 finalizer, as `mix64` in order.py does."""
    x = (x ^ x >> 30) * <uint64_t>0xBF58476D1CE4E5B9
    x = (x ^ x >> 27) * <uint64_t>0x94D049BB133111EB
    return x ^ x >> 31


cdef inline PyObject *owned(object value) noexcept:
    """Return a reference to an object that a C record owns from now on."""
    Py_INCREF(value)
    return <PyObject *>value


cdef int64_t *widened(int64_t *row, Py_ssize_t n_columns, Py_ssize_t stride) except? NULL:
    """Return a row, if there is one, with room for more columns."""
    cdef int64_t *wide
    if row == NULL:
        return NULL
    wide = <int64_t *>grown(row, stride * sizeof(int64_t))
    memset(wide + n_columns, 0, (stride - n_columns) * sizeof(int64_t))
    return wide


cdef int64_t *present(int64_t *row, Py_ssize_t stride) except NULL:
    """Return a row, of zeros if there was none."""
    if row == NULL:
        row = <int64_t *>PyMem_Calloc(stride, sizeof(int64_t))
        if row == NULL:
            raise MemoryError
    return row


cdef int64_t *copied(const int64_t *row, Py_ssize_t stride) except? NULL:
    """Return a copy of a row, if there is one."""
    cdef int64_t *twin
    if row == NULL:
        return NULL
    twin = <int64_t *>PyMem_Malloc(stride * sizeof(int64_t))
    if twin == NULL:
        raise MemoryError
    memcpy(twin, row, stride * sizeof(int64_t))
    return twin


cdef int copy_rest(Rest *rest, const Rest *original, Py_ssize_t stride) except -1:
    """Overwrite a rest by a copy of another."""
    clear_rest(rest)
    rest[0] = original[0]
    rest.whole = rest.charged = NULL
    rest.counts = NULL
    Py_XINCREF(rest.value)
    Py_XINCREF(rest.key)
    Py_XINCREF(rest.reservations)
    rest.whole = copied(original.whole, stride)
    rest.charged = copied(original.charged, stride)
    rest.counts = <Count *>duplicate(original.counts, original.n_counts * sizeof(Count))
    return 0


cdef int clear_rest(Rest *rest) noexcept:
    """Free all that a rest owns and zero it."""
    Py_XDECREF(rest.value)
    Py_XDECREF(rest.key)
    Py_XDECREF(rest.reservations)
    PyMem_Free(rest.whole)
    PyMem_Free(rest.charged)
    PyMem_Free(rest.counts)
    memset(rest, 0, sizeof(Rest))
    return 0


cdef int copy_item(Item *item, const Item *original) noexcept:
    """Overwrite an item by a copy of another."""
    clear_item(item)
    item[0] = original[0]
    Py_XINCREF(item.key)
    Py_XINCREF(item.identity)
    Py_XINCREF(item.entry)
    return 0


cdef int clear_item(Item *item) noexcept:
    """Free all that an item owns and zero it."""
    Py_XDECREF(item.key)
    Py_XDECREF(item.identity)
    Py_XDECREF(item.entry)
    memset(item, 0, sizeof(Item))
    return 0


# Checks by recomputation.

cdef int check_bundles(Bundles bundles) except -1:
    """Check rows, names and hashes of bundles, chains and the free list (B2 to B4, B6)."""
    cdef int32_t i
    cdef Py_ssize_t column
    cdef uint64_t names
    cdef Bundle *record
    cdef set chained = set()
    cdef set free = free_bundles(bundles)
    cdef set seen = set()
    assert bundles.names == list(bundles.columns)[:bundles.n_columns]
    for column in range(bundles.n_buckets):
        i = bundles.buckets[column]
        while i != NONE:
            assert bundles.bucket(bundles.bundles[i].hash) == column and i not in chained
            chained.add(i)
            i = bundles.bundles[i].next
    assert len(chained) == bundles.n_bundles and not chained & free
    assert len(chained) + len(free) == bundles.capacity
    for i in chained:
        record = &bundles.bundles[i]
        assert record.refs > 0
        row = [bundles.row(i)[column] for column in range(bundles.stride)]
        assert min(row) >= 0 and not any(row[bundles.n_columns:])
        assert (*row, record.rest) not in seen
        seen.add((*row, record.rest))
        names = 0
        for column in range(bundles.stride):
            names |= bit(column) if row[column] else 0
        assert record.names == names
        assert bundles.interned(bundles.row(i), bundles.retained_rest(record.rest)) == i
        release(bundles, i)
        value = bundles.value(i)
        assert {bundles.columns[name]: milli for name, milli in value._plain.items()} == {
            column: milli for column, milli in enumerate(row) if milli}
        assert value._special == bundles.rest_value(record.rest)._special
        # Reading it anew finds clashing types and over-large sums.
        anew = Resources([entry for entry in value])
        assert anew == value and anew._totals == value._totals
    return 0


cdef set free_bundles(Bundles bundles):
    """Return the free bundles."""
    cdef set free = set()
    cdef int32_t i = bundles.free
    while i != NONE:
        assert i not in free and bundles.bundles[i].refs == 0 and bundles.bundles[i].value == NULL
        free.add(i)
        i = bundles.bundles[i].next
    return free


cdef int check_rests(Bundles bundles) except -1:
    """Check keys, references and what is told of rests (B2, B5, B7)."""
    cdef int32_t i
    cdef Rest *rest
    cdef dict refs = references_to_rests(bundles)
    assert bundles.rest_index[b""] == NOTHING
    refs[NOTHING] = 1
    assert set(refs) == set(bundles.rest_index.values())
    for key, i in bundles.rest_index.items():
        rest = &bundles.rests[i]
        value = bundles.rest_value(i)
        assert rest.refs == refs[i] and <object>rest.key is key
        assert not value._plain and value._totals == Resources([*value])._totals
        # Its value has the same parts in the same order.
        assert bundles.rest_of(value) == i
        bundles.release_rest(i)
        free = value.unreserved().nonrevocable()
        assert (named(bundles, rest.whole) if rest.whole else {}) == value.quantities().milli
        assert (named(bundles, rest.charged) if rest.charged else {}) == free.quantities().milli
        assert rest.is_shared == bool(value.shared())
        assert rest.is_reserved == bool(value.reserved())
        assert rest.is_open == (value == free.nonshared())
        assert counts_of(bundles, rest) == {
            name: milli for name, milli in value.counts().milli.items()
            if name not in value.quantities()}
        assert rest.names == bits_of(bundles, [e.name for e in value.scalars()])
        assert rest.others == bits_of(bundles, [e.name for e in value if e.type != _SCALAR])
    return 0


cdef dict counts_of(Bundles bundles, const Rest *rest):
    """Return by name what a rest counts."""
    cdef list names = list(bundles.counted_names)
    cdef int32_t i
    assert len(names) == bundles.n_counted_names
    return {names[rest.counts[i].name]: rest.counts[i].milli for i in range(rest.n_counts)}


cdef uint64_t bits_of(Bundles bundles, list names) except? 0:
    """Return the bits of the columns of those names that have one."""
    cdef uint64_t bits = 0
    for name in names:
        if name in bundles.names:
            bits |= bit(bundles.names.index(name))
    return bits


cdef int check_items(Bundles bundles) except -1:
    """Check what items are found by, what is told of them, and their references (B5)."""
    cdef int32_t i
    cdef Item *item
    cdef dict refs = {}
    for i in bundles.rest_index.values():
        for identity, entry in bundles.rest_value(i)._special.items():
            number = bundles.item_of(identity, entry)
            refs[number] = refs.get(number, 0) + 1
    assert set(refs) == set(bundles.item_index.values())
    for key, i in bundles.item_index.items():
        item = &bundles.items[i]
        identity = <object>item.identity
        assert item.refs == refs[i] and <object>item.key is key
        assert (item.entry == NULL) == (identity.splittable and identity.kind != _SET)
        assert bundles.role_names[item.role] == identity.role
        assert item.column == bundles.columns.get(identity.name, NONE)
    return 0


cdef dict references_to_rests(Bundles bundles):
    """Count the references that bundles and memos have, by rest."""
    cdef dict refs = {}
    cdef list found = []
    cdef int32_t i
    cdef Memo *memo
    for i in range(bundles.capacity):
        if bundles.bundles[i].refs:
            found.append(bundles.bundles[i].rest)
    for i in range(N_MEMOS):
        memo = &bundles.memos[i]
        if memo.operation:
            found += [memo.a, memo.result]
            if memo.operation == PLUS or memo.operation == MINUS:
                found.append(memo.b)
    for rest in found:
        if rest > NOTHING:
            refs[rest] = refs.get(rest, 0) + 1
    return refs
