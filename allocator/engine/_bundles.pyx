"""Resources by number, compiled. What bundles are is said in `_bundles.pxd`.

Beyond B1 to B3, and B5 and B7 of rests:

B4. A bundle in use, and NOTHING, is in the chain of its hash from `buckets`.
B6. In a bundle the sums of plain row and rest fit an int64, and no name of the plain row is that
    of a range or set in the rest, as in every `Resources`. Every scalar name has a column.
"""

cimport cython
from cpython.dict cimport PyDict_GetItem, PyDict_Next
from cpython.mem cimport PyMem_Free
from cpython.ref cimport Py_CLEAR, Py_XDECREF, Py_XINCREF
from libc.string cimport memcmp, memcpy, memset

from allocator.engine._answers cimport ALONG, NONSHARED, SEEN
from allocator.engine._items cimport Items, role_alone, without_role
from allocator.engine._memory cimport grown, owned, zeroed
from allocator.engine._order cimport mixed
from allocator.engine._rests cimport bit, retained_rest, wrapping_sum
from allocator.sorter._siblings cimport NONE

from allocator.engine.tally import Tally
from allocator.resources import Resources

#: What the number of a rest counts in a hash: the golden ratio of 2**64.
cdef uint64_t REST_FACTOR = 0x9E3779B97F4A7C15


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
    For compiled callers. In the costs given below k is the number of columns.
    """

    def __cinit__(self, totals):
        self.totals = totals
        self.columns = totals.columns
        self.rests = Rests(Items(totals))
        self.free = NONE
        self.widen(4)
        self.grow(16)
        self.new_bundle(self.sums, NOTHING, 0)

    def __dealloc__(self):
        cdef int32_t i
        for i in range(self.capacity):
            Py_XDECREF(self.bundles[i].value)
        PyMem_Free(self.plain)
        PyMem_Free(self.bundles)
        PyMem_Free(self.buckets)
        PyMem_Free(self.factors)
        PyMem_Free(self.sums)

    # Columns.

    cdef int adopt_columns(self) except -1:
        """Take over the columns that others gave to names. O(1) if none, else O(all)."""
        cdef Py_ssize_t n_columns = len(self.columns)
        if n_columns == self.n_columns:
            return 0
        self.rests.adopt_columns()
        if n_columns > self.stride:
            self.widen(max(n_columns, self.stride * 3 // 2))
        self.n_columns = n_columns
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
        cdef int32_t bundle, rest
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
        rest = self.rests.of(resources)
        if len(self.columns) != self.n_columns:
            self.adopt_for(rest)
        bundle = self.interned(self.sums, rest)
        self.forget_last()
        self.last = resources
        self.last_bundle = retained(self, bundle)
        return bundle

    cdef object tally(self, const int64_t *row, Py_ssize_t stride):
        """Return a row of so many columns by name: a `Tally`. O(k)."""
        return Tally(self.rests.named(row, min(stride, self.n_columns)))

    cdef object value(self, int32_t bundle):
        """Return the `Resources` of a bundle. O(entries) at first, then O(1)."""
        cdef dict plain
        if self.bundles[bundle].value == NULL:
            resources = self.rests.value(self.bundles[bundle].rest)
            if self.bundles[bundle].names:
                plain = self.rests.named(self.row(bundle), self.n_columns)
                whole = self.rests.named(self.whole(bundle, self.sums), self.n_columns)
                resources = Resources._make(plain, resources._special, whole)
            self.bundles[bundle].value = owned(resources)
        return <object>self.bundles[bundle].value

    cdef int32_t of_row(self, const int64_t *plain, int32_t rest) except -1:
        """Return the bundle of plain amounts, `n_columns` of them, and a rest. O(k).

        No amount is negative, and the two fit together (B6).
        """
        return self.interned(plain, retained_rest(self.rests, rest))

    # References.

    cdef int discard(self, int32_t bundle) except -1:
        """Free a bundle that nobody has a reference to. O(k)."""
        cdef Bundle *record = &self.bundles[bundle]
        cdef int32_t *link = &self.buckets[self.bucket(record.hash)]
        while link[0] != bundle:
            link = &self.bundles[link[0]].next
        link[0] = record.next
        Py_CLEAR(record.value)
        self.rests.release(record.rest)
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
        if (self.bundles[a].names & self.rests.at[other].others
                or self.bundles[b].names & self.rests.at[rest].others):
            return self.of(self.value(a) + self.value(b))
        rest = self.rests.plus(rest, other)
        x, y = self.row(a), self.row(b)
        for column in range(self.n_columns):
            self.sums[column] = wrapping_sum(x[column], y[column])
            signs |= self.sums[column]
        if rest == NONE or signs < 0 or not self.fits(self.sums, rest):
            self.rests.release(rest)
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
        rest = self.rests.minus(self.bundles[a].rest, self.bundles[b].rest)
        x, y = self.row(a), self.row(b)
        for column in range(self.n_columns):
            self.sums[column] = x[column] - y[column]
            signs |= self.sums[column]
        if rest == NONE or signs < 0:
            self.rests.release(rest)
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
        return self.rests.covers(self.bundles[a].rest, self.bundles[b].rest)

    cdef int32_t nonshared(self, int32_t bundle) except -1:
        """Return the entries that are not shared. O(1) if all are, else O(k)."""
        cdef int32_t rest = self.bundles[bundle].rest
        if not self.rests.at[rest].is_shared:
            return retained(self, bundle)
        rest = self.rests.asked(NONSHARED, rest, 0)
        return self.interned(self.row(bundle), rest)

    # Amounts.

    cdef const int64_t *whole(self, int32_t bundle, int64_t *scratch) noexcept:
        """Return the amounts of all scalars, a shared one counted once. O(k).

        They stand in `scratch`, or in a row that is good until there is a new bundle.
        """
        return self.added(bundle, self.rests.at[self.bundles[bundle].rest].whole, scratch)

    cdef const int64_t *charged(self, int32_t bundle, int64_t *scratch) noexcept:
        """Return, as `whole` does, the amounts of what is unreserved and not revocable. O(k)."""
        return self.added(bundle, self.rests.at[self.bundles[bundle].rest].charged, scratch)

    cdef int64_t amount(self, int32_t bundle, int32_t column, int32_t counted) noexcept:
        """Return how much of one name there is, 1/1000: of its scalars, or of its elements.

        `column` and `counted` are the numbers of the name, each NONE if it has none. O(names).
        """
        cdef const Rest *rest = &self.rests.at[self.bundles[bundle].rest]
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
        """Return what is reserved to each role, as `Rests.reservations` does."""
        return self.rests.reservations(self.bundles[bundle].rest)

    # What a framework may see.

    cdef int32_t viewer(self, str role, bint revocable, bint shared, bint refined) except -1:
        """Return the number of a kind of framework: its role, and what it is shown. O(1)."""
        return self.rests.items.viewer(role, revocable, shared, refined)

    cdef int32_t seen_by(self, int32_t bundle, int32_t viewer) except -1:
        """Return what a viewer may see. O(1) if anybody may see all, else O(k)."""
        cdef int32_t rest = self.bundles[bundle].rest
        if self.rests.at[rest].is_open:
            return retained(self, bundle)
        if not self.rests.at[rest].is_reserved:
            viewer = without_role(viewer)
        rest = self.rests.asked(SEEN, rest, viewer)
        return self.interned(self.row(bundle), rest)

    cdef int32_t along(self, int32_t bundle, int32_t viewer) except -1:
        """Return what comes along with what serves a guarantee of the viewer's role. O(k).

        That is, of what it may see: ranges, sets, revocables, reservations of the role itself.
        """
        cdef int32_t rest = self.bundles[bundle].rest
        if rest == NOTHING:
            return NOTHING
        viewer = role_alone(viewer) if self.rests.at[rest].is_reserved else 0
        rest = self.rests.asked(ALONG, rest, viewer)
        return self.interned(self.row(NOTHING), rest)

    cdef Bundles copy_for(self, object totals):
        """Return a copy with the same numbers and references, on totals of the same columns.

        O(capacity); values are the same objects.
        """
        cdef Bundles twin = Bundles(totals)
        assert list(twin.columns)[:self.n_columns] == list(self.columns)[:self.n_columns]
        twin.rests = self.rests.copy_for(totals)
        twin.adopt_arrays(self)
        twin.last = self.last
        twin.last_bundle = self.last_bundle
        return twin

    # Within.

    cdef int adopt_for(self, int32_t rest) except -1:
        """Take over columns that came with a rest, a reference to which is given back if not."""
        try:
            return self.adopt_columns()
        except:
            self.rests.release(rest)
            raise

    cdef int forget_last(self) except -1:
        """Give back the reference that is kept to be quick. O(1)."""
        cdef int32_t bundle = self.last_bundle
        self.last = None
        self.last_bundle = NOTHING
        return release(self, bundle)

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
                self.rests.release(rest)
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
            self.make_room(rest)
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

    cdef int make_room(self, int32_t rest) except -1:
        """Have free bundles; if there can be none, the reference to a rest is given back."""
        try:
            return self.grow(self.capacity + self.capacity // 2)
        except:
            self.rests.release(rest)
            raise

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
        buckets = <int32_t *>grown(NULL, n_buckets * sizeof(int32_t))
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
        cdef int64_t *plain = NULL
        cdef int64_t *sums = NULL
        cdef uint64_t *factors = NULL
        cdef int32_t i
        cdef Py_ssize_t column
        try:
            sums = <int64_t *>zeroed(stride, sizeof(int64_t))
            factors = <uint64_t *>zeroed(stride, sizeof(uint64_t))
            plain = <int64_t *>zeroed(max(self.capacity, 1) * stride, sizeof(int64_t))
        except:
            PyMem_Free(sums)
            PyMem_Free(factors)
            raise
        for i in range(self.capacity):
            memcpy(plain + i * stride, self.row(i), self.stride * sizeof(int64_t))
        if self.stride:
            memcpy(sums, self.sums, self.stride * sizeof(int64_t))
        for column in range(stride):
            factors[column] = mixed(<uint64_t>column + 1) | 1
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
        cdef const int64_t *special = self.rests.at[rest].whole
        cdef Py_ssize_t column
        if special != NULL:
            for column in range(self.n_columns):
                if wrapping_sum(row[column], special[column]) < 0:
                    return False
        return True

    cdef int adopt_arrays(self, Bundles original) except -1:
        """Take over all bundles, while there is only NOTHING here. O(capacity)."""
        cdef int32_t i
        if original.stride > self.stride:
            self.widen(original.stride)
        if original.capacity > self.capacity:
            self.grow(original.capacity)
        memcpy(self.plain, original.plain, self.capacity * self.stride * sizeof(int64_t))
        memcpy(self.bundles, original.bundles, self.capacity * sizeof(Bundle))
        memcpy(self.buckets, original.buckets, self.n_buckets * sizeof(int32_t))
        for i in range(self.capacity):
            Py_XINCREF(self.bundles[i].value)
        self.n_columns, self.n_bundles = original.n_columns, original.n_bundles
        self.free = original.free
        return 0


@cython.final
@cython.auto_pickle(False)
@cython.no_gc_clear  # `__dealloc__` needs the bundles
cdef class EachBundle:
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
        self.numbers = <int32_t *>zeroed(max(n, 1), sizeof(int32_t))
        self.n = n

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.n):
            release(self.bundles, self.numbers[i])
        PyMem_Free(self.numbers)
