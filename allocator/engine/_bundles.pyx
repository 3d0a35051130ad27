"""Resources by number, compiled. What bundles and rests are is said in `_bundles.pxd`.

Beyond B1 to B3:

B4. A bundle in use is in the chain of its hash from `buckets`; NOTHING is too.
B5. `refs` of a rest counts the bundles and memos that have it, no one else keeps one.
B6. In a bundle the sums of plain row and rest fit an int64, and no name of the plain row is that
    of a range or set in the rest, as in every `Resources`. Every scalar name has a column.

Plain rows are added and subtracted here; what is done with rests is remembered by their numbers
(`asked`), as the same few rests meet again and again.
"""

cimport cython
from cpython.dict cimport PyDict_GetItem, PyDict_Next
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.ref cimport Py_CLEAR, Py_INCREF, Py_XDECREF, Py_XINCREF
from libc.string cimport memcmp, memcpy, memset

from allocator.errors import ResourceError
from allocator.resources import Resources
from allocator.resources.identity import SCALAR as _SCALAR
from allocator.roles import is_at_or_below

cdef enum:
    N_MEMOS = 4096  # answers remembered, a power of two

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
@cython.no_gc  # refers to nothing that refers back; who gives back references last needs it whole
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
        self.roles = {None: 0}
        self.role_names = [None]
        self.free = self.free_rest = NONE
        self.memos = <Memo *>PyMem_Calloc(N_MEMOS, sizeof(Memo))
        if self.memos == NULL:
            raise MemoryError
        self.widen(4)
        self.grow_rests(8)
        self.grow(16)
        self.free_rest = self.rests[NOTHING].next
        self.free = self.bundles[NOTHING].next
        self.rests[NOTHING].is_open = True
        self.rests[NOTHING].value = owned(EMPTY)
        self.chain(NOTHING)

    def __dealloc__(self):
        cdef int32_t i
        for i in range(self.capacity):
            Py_XDECREF(self.bundles[i].value)
        for i in range(self.rest_capacity):
            clear_rest(&self.rests[i])
        PyMem_Free(self.plain)
        PyMem_Free(self.bundles)
        PyMem_Free(self.rests)
        PyMem_Free(self.buckets)
        PyMem_Free(self.factors)
        PyMem_Free(self.memos)
        PyMem_Free(self.sums)

    # Columns.

    cdef int adopt_columns(self) except -1:
        """Take over the columns that others gave to names. O(1) if none, else O(all)."""
        cdef Py_ssize_t n_columns = len(self.columns)
        cdef int32_t rest
        if n_columns == self.n_columns:
            return 0
        if n_columns > self.stride:
            self.widen(max(n_columns, self.stride * 3 // 2))
        self.names = list(self.columns)
        self.n_columns = n_columns
        for rest in range(self.rest_capacity):
            if self.rests[rest].is_counted:
                self.rests[rest].others = self.other_names(<object>self.rests[rest].value)
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
            return self.retained_bundle(self.last_bundle)
        plain = resources._plain
        memset(self.sums, 0, self.stride * sizeof(int64_t))
        while PyDict_Next(plain, &position, &name, &milli):
            found = PyDict_GetItem(self.columns, <object>name)
            column = self.n_columns if found == NULL else <object>found
            if column >= self.n_columns:
                column = self.column(<object>name)
            self.sums[column] = <object>milli
        bundle = self.interned(self.sums, self.rest_of(resources))
        self.release_bundle(self.last_bundle)
        self.last = resources
        self.last_bundle = self.retained_bundle(bundle)
        return bundle

    cdef object value(self, int32_t bundle):
        """Return the `Resources` of a bundle. O(entries) at first, then O(1)."""
        cdef dict plain
        cdef const int64_t *row
        cdef Py_ssize_t column
        if self.bundles[bundle].value == NULL:
            resources = <object>self.rests[self.bundles[bundle].rest].value
            if self.bundles[bundle].names:
                row = self.row(bundle)
                plain = {self.names[column]: row[column]
                         for column in range(self.n_columns) if row[column]}
                resources = Resources._make(plain, {}, plain) + resources
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
            return self.retained_bundle(a)
        if a == NOTHING:
            return self.retained_bundle(b)
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
            return self.retained_bundle(a)
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
        cdef int32_t rest
        cdef Py_ssize_t column
        if a == b or b == NOTHING:
            return True
        x, y = self.row(a), self.row(b)
        for column in range(self.n_columns):
            if x[column] < y[column]:
                return False
        rest = self.rest_minus(self.bundles[a].rest, self.bundles[b].rest)
        self.release_rest(rest)
        return rest != NONE

    cdef int32_t nonshared(self, int32_t bundle) except -1:
        """Return the entries that are not shared. O(1) if all are, else O(k)."""
        cdef int32_t rest = self.bundles[bundle].rest
        if not self.rests[rest].is_shared:
            return self.retained_bundle(bundle)
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

    cdef tuple reservations(self, int32_t bundle):
        """Return (role, amounts in 1/1000 by name) of what is reserved to exactly a role.

        Sorted by role; amounts are empty where only ranges and sets are reserved. O(entries) at
        first, then O(1).
        """
        cdef Rest *rest = &self.rests[self.bundles[bundle].rest]
        if rest.reservations == NULL:
            resources = <object>rest.value
            roles = {identity.role for identity in resources._special if identity.reservations}
            rest.reservations = owned(tuple([
                (role, dict(resources.reserved(role).quantities().milli))
                for role in sorted(roles)]))
        return <tuple>rest.reservations

    # What a framework may see.

    cdef int32_t viewer(self, str role, bint revocable, bint shared, bint refined) except -1:
        """Return the number of a kind of framework: its role, and what it is shown. O(1)."""
        cdef int32_t number = self.roles.setdefault(role, len(self.role_names))
        if number == len(self.role_names):
            self.role_names.append(role)
        return (number << FLAG_BITS | (REVOCABLE if revocable else 0)
                | (SHARED if shared else 0) | (REFINED if refined else 0))

    cdef int32_t seen_by(self, int32_t bundle, int32_t viewer) except -1:
        """Return what a viewer may see. O(1) if anybody may see all, else O(k)."""
        cdef int32_t rest = self.bundles[bundle].rest
        if self.rests[rest].is_open:
            return self.retained_bundle(bundle)
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

    cdef inline int32_t retained_bundle(self, int32_t bundle) noexcept:
        """Do as `retained` in the .pxd does, which is for other modules. O(1)."""
        if bundle != NOTHING:
            self.bundles[bundle].refs += 1
        return bundle

    cdef inline int release_bundle(self, int32_t bundle) except -1:
        """Do as `release` in the .pxd does, which is for other modules. O(1)."""
        if bundle != NOTHING:
            self.bundles[bundle].refs -= 1
            if self.bundles[bundle].refs == 0:
                self.discard(bundle)
        return 0

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
                return self.retained_bundle(bundle)
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
        cdef void *grown
        # One that grew while another could not is only larger than it need be.
        grown = PyMem_Realloc(self.bundles, capacity * sizeof(Bundle))
        if grown == NULL:
            raise MemoryError
        self.bundles = <Bundle *>grown
        grown = PyMem_Realloc(self.plain, capacity * self.stride * sizeof(int64_t))
        if grown == NULL:
            raise MemoryError
        self.plain = <int64_t *>grown
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
            if bundle == NOTHING or self.bundles[bundle].refs:
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
        memcpy(self.plain, original.plain, self.capacity * self.stride * sizeof(int64_t))
        memcpy(self.bundles, original.bundles, self.capacity * sizeof(Bundle))
        memcpy(self.buckets, original.buckets, self.n_buckets * sizeof(int32_t))
        memcpy(self.memos, original.memos, N_MEMOS * sizeof(Memo))
        for i in range(self.capacity):
            Py_XINCREF(self.bundles[i].value)
        for i in range(self.rest_capacity):
            copy_rest(&self.rests[i], &original.rests[i], self.stride)
        self.n_columns = original.n_columns
        self.n_bundles, self.n_rests = original.n_bundles, original.n_rests
        self.free, self.free_rest = original.free, original.free_rest
        return 0

    # Rests.

    cdef int32_t rest_of(self, object resources) except -1:
        """Return the rest of `Resources`, with a new reference. O(its entries)."""
        cdef dict special = resources._special
        cdef int32_t rest
        if not special:
            return NOTHING
        # Equality of entries does not look at all disk information.
        key = frozenset([(identity, entry._value, entry._copies, entry._disk)
                         for identity, entry in special.items()])
        found = self.rest_index.get(key)
        if found is None:
            return self.new_rest(resources.special(), key)
        rest = found
        self.rests[rest].refs += 1
        return rest

    cdef int32_t new_rest(self, object resources, object key) except -1:
        """Return the rest of special entries that is not there yet. O(entries + k)."""
        cdef list entries = list(resources._special.values())
        cdef list free = [entry for entry in entries
                          if not entry.identity.reservations and not entry.identity.revocable]
        cdef int32_t number
        cdef Rest *rest
        for entry in entries:
            if entry.type == _SCALAR:
                self.column(entry.name)
        if self.free_rest == NONE:
            self.grow_rests(self.rest_capacity + self.rest_capacity // 2)
        number = self.free_rest
        rest = &self.rests[number]
        rest.whole = self.amounts(entries)
        rest.charged = self.amounts(free)
        rest.is_shared = any([entry.shared for entry in entries])
        rest.is_reserved = any([entry.reservations for entry in entries])
        rest.is_open = len(free) == len(entries) and not rest.is_shared
        rest.is_counted = any([entry.type != _SCALAR for entry in entries])
        rest.others = self.other_names(resources)
        self.rest_index[key] = number
        rest.value = owned(resources)
        rest.key = owned(key)
        rest.refs = 1
        self.free_rest = rest.next
        self.n_rests += 1
        return number

    cdef int64_t *amounts(self, list entries) except? NULL:
        """Return a row of the scalars among entries, NULL if there are none. O(entries + k)."""
        cdef int64_t *row = NULL
        cdef int64_t milli
        for entry in entries:
            if entry.type == _SCALAR:
                if row == NULL:
                    row = <int64_t *>PyMem_Calloc(self.stride, sizeof(int64_t))
                    if row == NULL:
                        raise MemoryError
                milli = entry.value
                row[self.column(entry.name)] += milli
        return row

    cdef uint64_t other_names(self, object resources) except? 0:
        """Return the bits of the columns whose names are ranges or sets. O(entries)."""
        cdef uint64_t bits = 0
        cdef Py_ssize_t column
        for identity in resources._special:
            if identity.kind != _SCALAR:
                column = self.columns.get(identity.name, self.n_columns)
                if column < self.n_columns:
                    bits |= bit(column)
        return bits

    cdef inline int32_t retained_rest(self, int32_t rest) noexcept:
        """Return a rest, or NONE, with one more reference."""
        if rest > NOTHING:
            self.rests[rest].refs += 1
        return rest

    cdef int release_rest(self, int32_t rest) except -1:
        """Give a reference to a rest, or NONE, back. O(1)."""
        cdef Rest *record = &self.rests[rest]
        if rest <= NOTHING:
            return 0
        record.refs -= 1
        if record.refs == 0:
            del self.rest_index[<object>record.key]
            clear_rest(record)
            record.next = self.free_rest
            self.free_rest = rest
            self.n_rests -= 1
        return 0

    cdef int32_t rest_plus(self, int32_t a, int32_t b) except? -1:
        """Return the sum of two rests, with a new reference, or NONE if there is none."""
        if b == NOTHING:
            return self.retained_rest(a)
        if a == NOTHING:
            return self.retained_rest(b)
        return self.asked(PLUS, a, b)

    cdef int32_t rest_minus(self, int32_t a, int32_t b) except? -1:
        """Return `a` without `b`, with a new reference, or NONE if `b` is not contained."""
        if b == NOTHING:
            return self.retained_rest(a)
        if a == b:
            return NOTHING
        if a == NOTHING:
            return NONE
        return self.asked(MINUS, a, b)

    cdef int32_t asked(self, int operation, int32_t a, int32_t b) except? -1:
        """Return what an operation makes of a rest, with a new reference. O(1) if remembered.

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
        """Do as `asked` does, without looking into the memos. O(entries × path)."""
        value = <object>self.rests[a].value
        if operation == PLUS:
            try:
                value = value + <object>self.rests[b].value
            except ResourceError:
                return NONE
        elif operation == MINUS:
            if not value >= <object>self.rests[b].value:
                return NONE
            value = value - <object>self.rests[b].value
        elif operation == NONSHARED:
            value = value.nonshared()
        elif operation == SEEN:
            value = visible(value, self.role_names[b >> FLAG_BITS], b)
        else:
            value = coming_along(value, self.role_names[b >> FLAG_BITS])
        return self.rest_of(value)

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

    cdef int grow_rests(self, int32_t capacity) except -1:
        """Have that many rests, more than there are. O(capacity)."""
        cdef int32_t rest
        cdef void *grown = PyMem_Realloc(self.rests, capacity * sizeof(Rest))
        if grown == NULL:
            raise MemoryError
        self.rests = <Rest *>grown
        memset(self.rests + self.rest_capacity, 0,
               (capacity - self.rest_capacity) * sizeof(Rest))
        for rest in range(capacity - 1, self.rest_capacity - 1, -1):
            self.rests[rest].next = self.free_rest
            self.free_rest = rest
        self.rest_capacity = capacity
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
        self.release_bundle(self.last_bundle)
        self.last = None
        self.last_bundle = NOTHING

    def __len__(self):
        return self.n_bundles + self.n_rests

    def _check(self):
        """Raise `AssertionError` unless B1 to B6 hold, by recomputing. For tests."""
        check_bundles(self)
        check_rests(self)


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
        self.bundles.release_bundle(self.number)

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


# Values.

cdef object visible(object resources, object role, int flags):
    """Return the entries that a framework in a role is shown; without a role, none is reserved."""
    if role is not None:
        resources = resources.allocatable_to(role)
    if not flags & REVOCABLE:
        resources = resources.nonrevocable()
    if not flags & SHARED:
        resources = resources.nonshared()
    if not flags & REFINED:
        resources = Resources([e for e in resources if len(e.reservations) <= 1])
    return resources


cdef object coming_along(object resources, object role):
    """Return the entries offered beside what serves a guarantee of a role."""
    return Resources([e for e in resources
                      if e.type != _SCALAR or e.revocable or e.reservations and e.role == role])


cdef dict named(Bundles bundles, const int64_t *row):
    """Return a row by name, without zeros."""
    cdef Py_ssize_t column
    return {bundles.names[column]: row[column]
            for column in range(bundles.n_columns) if row[column]}


# Integers and memory.

cdef inline int64_t wrapping_sum(int64_t a, int64_t b) noexcept nogil:
    """Add; the sum of two amounts is negative exactly if it does not fit."""
    return <int64_t>(<uint64_t>a + <uint64_t>b)


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
    wide = <int64_t *>PyMem_Realloc(row, stride * sizeof(int64_t))
    if wide == NULL:
        raise MemoryError
    memset(wide + n_columns, 0, (stride - n_columns) * sizeof(int64_t))
    return wide


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
    Py_XINCREF(rest.value)
    Py_XINCREF(rest.key)
    Py_XINCREF(rest.reservations)
    rest.whole = copied(original.whole, stride)
    rest.charged = copied(original.charged, stride)
    return 0


cdef int clear_rest(Rest *rest) noexcept:
    """Free all that a rest owns and zero it."""
    Py_XDECREF(rest.value)
    Py_XDECREF(rest.key)
    Py_XDECREF(rest.reservations)
    PyMem_Free(rest.whole)
    PyMem_Free(rest.charged)
    memset(rest, 0, sizeof(Rest))


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
    assert len(chained) == bundles.n_bundles + 1 and not chained & free
    assert len(chained) + len(free) == bundles.capacity
    for i in chained:
        record = &bundles.bundles[i]
        assert i == NOTHING or record.refs > 0
        row = [bundles.row(i)[column] for column in range(bundles.stride)]
        assert min(row) >= 0 and not any(row[bundles.n_columns:])
        assert (*row, record.rest) not in seen
        seen.add((*row, record.rest))
        names = 0
        for column in range(bundles.stride):
            names |= bit(column) if row[column] else 0
        assert record.names == names
        assert bundles.interned(bundles.row(i), bundles.retained_rest(record.rest)) == i
        bundles.release_bundle(i)
        value = bundles.value(i)
        assert {bundles.columns[name]: milli for name, milli in value._plain.items()} == {
            column: milli for column, milli in enumerate(row) if milli}
        assert value._special == (<object>bundles.rests[record.rest].value)._special
        # Reading it anew finds clashing types and over-large sums.
        assert Resources([entry for entry in value]) == value
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
    """Check keys, amounts and references of rests (B2, B5)."""
    cdef int32_t i
    cdef Rest *rest
    cdef dict refs = references_to_rests(bundles)
    assert set(refs) == set(bundles.rest_index.values()) and len(refs) == bundles.n_rests
    for key, i in bundles.rest_index.items():
        rest = &bundles.rests[i]
        value = <object>rest.value
        assert rest.refs == refs[i] and <object>rest.key is key
        assert not value._plain and bundles.rest_of(value) == i
        bundles.release_rest(i)
        whole, free = value.quantities().milli, value.unreserved().nonrevocable()
        assert (named(bundles, rest.whole) if rest.whole else {}) == whole
        assert (named(bundles, rest.charged) if rest.charged else {}) == free.quantities().milli
        assert rest.is_shared == bool(value.shared())
        assert rest.is_reserved == bool(value.reserved())
        assert rest.is_open == (value == free.nonshared())
        assert rest.is_counted == (value != value.scalars())
        assert rest.others == bundles.other_names(value)
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
