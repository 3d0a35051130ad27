"""Rests, compiled. What they are is said in `_rests.pxd`, what they are made of in `_parts.pxd`.

What is done with rests is remembered by their numbers (`asked`), as the same few often meet again
and again. Sums and differences of whole entries of one identity are left to `Resources`.

B5. `refs` of a rest counts the bundles and answers that have it, no one else keeps one; `refs` of
    an item counts the rests that have it.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.mem cimport PyMem_Free
from cpython.ref cimport Py_XDECREF, Py_XINCREF
from libc.stdint cimport INT64_MAX
from libc.string cimport memcpy, memset

from allocator.engine._answers cimport (
    ALONG,
    MINUS,
    N_ANSWERS,
    NONSHARED,
    PLUS,
    is_of_rests,
    places_of,
)
from allocator.engine._memory cimport duplicate, grown, owned, zeroed
from allocator.engine._parts cimport (
    UNKNOWN,
    after,
    copied_part,
    difference_of_parts,
    elements_of,
    parts_cover,
    scalar,
    sum_of_parts,
)
from allocator.sorter._siblings cimport NONE

from operator import itemgetter

from allocator.errors import ResourceError
from allocator.resources import DiskInfo as _DiskInfo, Resource as _Resource, Resources


@cython.final
@cython.auto_pickle(False)
@cython.no_gc  # It refers to nothing that refers back.
cdef class Rests:
    """The distinct special parts of what an engine holds.

    Parameters
    ----------
    items : Items
        What they are made of.

    Notes
    -----
    In the costs given below k is the number of columns, and words are those of a rest's parts.
    """

    def __cinit__(self, Items items not None):
        self.items = items
        self.names = []
        self.index = {}
        self.free = NONE
        self.stride = 4
        self.answers = <Answer *>zeroed(N_ANSWERS, sizeof(Answer))
        self.grow(8)
        self.made(b"")
        self.at[NOTHING].value = owned(Resources())

    def __dealloc__(self):
        cdef int32_t i
        for i in range(self.capacity):
            clear(&self.at[i])
        PyMem_Free(self.at)
        PyMem_Free(self.answers)
        PyMem_Free(self.parts)

    # Values in and out.

    cdef int32_t of(self, object resources) except -1:
        """Return the rest of `Resources`. O(entries log entries + intervals)."""
        cdef dict special = resources._special
        if not special:
            return NOTHING
        try:
            return self.of_parts(self.put_entries(special))
        except:
            self.items.drop_unused()
            raise

    cdef Py_ssize_t put_entries(self, dict special) except -1:
        """Put the parts of entries into `parts`; return their words."""
        cdef Py_ssize_t n_words = 0
        cdef Py_ssize_t i
        cdef Item *item
        for identity, entry in (
            special.items() if len(special) == 1 else sorted(special.items(), key=address)
        ):
            value = entry._value
            i = self.items.of(identity, entry)
            item = &self.items.at[i]
            self.reserve_words(n_words + 3 + (0 if item.is_scalar else 2 * len(value)))
            self.parts[n_words] = i
            i = n_words + 2
            if item.entry == NULL:
                if item.is_scalar:
                    self.parts[i] = value
                    i += 1
                else:
                    for begin, end in value:
                        self.parts[i] = begin
                        self.parts[i + 1] = end
                        i += 2
            self.parts[n_words + 1] = i - n_words - 2
            n_words = i
        return n_words

    cdef int32_t of_parts(self, Py_ssize_t n_words) except -1:
        """Return the rest of so many words in `parts`. O(words), O(words + k) if it is new."""
        cdef bytes key = PyBytes_FromStringAndSize(<char *>self.parts, n_words * sizeof(int64_t))
        cdef PyObject *found = PyDict_GetItem(self.index, key)
        if found == NULL:
            return self.made(key)
        return retained_rest(self, <object>found)

    cdef int32_t made(self, bytes key) except -1:
        """Return the rest of parts that is not there yet. O(words + k)."""
        cdef Py_ssize_t n_words = PyBytes_GET_SIZE(key) // <Py_ssize_t>sizeof(int64_t)
        cdef const int64_t *part = <const int64_t *>PyBytes_AS_STRING(key)
        cdef const int64_t *end = part + n_words
        cdef int32_t number
        cdef Rest rest
        memset(&rest, 0, sizeof(Rest))
        self.adopt_columns()  # a scalar's name may be new
        if self.free == NONE:
            self.grow(self.capacity + self.capacity // 2)
        number = self.free
        try:
            self.describe(&rest, part, n_words)
            self.index[key] = number
        except:
            clear(&rest)
            raise
        # Nothing can fail from here on.
        self.free = self.at[number].next
        rest.key = owned(key)
        rest.refs = 1
        self.at[number] = rest
        while part < end:
            self.items.at[part[0]].refs += 1
            part = after(part)
        return number

    cdef int describe(self, Rest *rest, const int64_t *part, Py_ssize_t n_words) except -1:
        """Fill in what is asked of a rest of some parts. O(words + k)."""
        cdef const int64_t *end = part + n_words
        cdef const Item *item
        rest.is_open = True
        rest.others = self.other_names(part, n_words)
        while part < end:
            item = &self.items.at[part[0]]
            if item.role or item.is_revocable or item.is_shared:
                rest.is_open = False
            rest.is_shared = rest.is_shared or item.is_shared
            rest.is_reserved = rest.is_reserved or item.role != 0
            if item.is_scalar:
                self.take_scalar(rest, item, part)
            else:
                rest.has_sets = rest.has_sets or item.entry != NULL
                self.count(rest, item, part)
            part = after(part)
        return 0

    cdef int take_scalar(self, Rest *rest, const Item *item, const int64_t *part) except -1:
        """Add a scalar to the amounts of a new rest. O(1), O(k) for the first one."""
        if rest.whole == NULL:
            rest.whole = <int64_t *>zeroed(self.stride, sizeof(int64_t))
        rest.whole[item.column] += scalar(item, part)
        rest.names |= bit(item.column)
        if not (item.role or item.is_revocable):
            if rest.charged == NULL:
                rest.charged = <int64_t *>zeroed(self.stride, sizeof(int64_t))
            rest.charged[item.column] += scalar(item, part)
        return 0

    cdef int count(self, Rest *rest, const Item *item, const int64_t *part) except -1:
        """Count the elements of a range or set in a new rest. O(intervals + names)."""
        cdef int64_t milli = elements_of(item, part)
        cdef int32_t i
        for i in range(rest.n_counts):
            if rest.counts[i].name == item.counted:
                # What does not fit counts as the most that does.
                rest.counts[i].milli = (
                    INT64_MAX if milli > INT64_MAX - rest.counts[i].milli
                    else rest.counts[i].milli + milli)
                return 0
        rest.counts = <Count *>grown(rest.counts, (rest.n_counts + 1) * sizeof(Count))
        rest.counts[rest.n_counts] = Count(milli, item.counted)
        rest.n_counts += 1
        return 0

    cdef uint64_t other_names(self, const int64_t *part, Py_ssize_t n_words) noexcept:
        """Return the bits of the columns whose names are ranges or sets in parts. O(parts)."""
        cdef const int64_t *end = part + n_words
        cdef const Item *item
        cdef uint64_t bits = 0
        while part < end:
            item = &self.items.at[part[0]]
            if not item.is_scalar and item.column != NONE:
                bits |= bit(item.column)
            part = after(part)
        return bits

    cdef object value(self, int32_t rest):
        """Return the `Resources` of a rest. O(words) at first, then O(1)."""
        cdef Py_ssize_t n_words
        cdef const int64_t *part = self.parts_of(rest, &n_words)
        cdef const int64_t *end = part + n_words
        cdef int64_t *whole = self.at[rest].whole
        cdef dict special = {}
        if self.at[rest].value == NULL:
            while part < end:
                identity = <object>self.items.at[part[0]].identity
                special[identity] = entry_of(&self.items.at[part[0]], part)
                part = after(part)
            totals = {} if whole == NULL else self.named(whole, self.n_columns)
            self.at[rest].value = owned(Resources._make({}, special, totals))
        return <object>self.at[rest].value

    cdef inline const int64_t *parts_of(self, int32_t rest, Py_ssize_t *n_words) noexcept:
        """Return the parts of a rest and their length, good while the rest is."""
        cdef PyObject *key = self.at[rest].key
        n_words[0] = PyBytes_GET_SIZE(<object>key) // <Py_ssize_t>sizeof(int64_t)
        return <const int64_t *>PyBytes_AS_STRING(<object>key)

    cdef inline int reserve_words(self, Py_ssize_t n_words) except -1:
        """Make room for that many words in `parts`. O(1) amortised."""
        if n_words > self.n_words:
            self.parts = <int64_t *>grown(self.parts, 2 * n_words * sizeof(int64_t))
            self.n_words = 2 * n_words
        return 0

    cdef int release(self, int32_t rest) except -1:
        """Give a reference to a rest, or NONE, back. O(1), O(parts) if it was the last."""
        cdef Py_ssize_t n_words
        cdef const int64_t *part
        cdef const int64_t *end
        if rest <= NOTHING:
            return 0
        self.at[rest].refs -= 1
        if self.at[rest].refs == 0:
            part = self.parts_of(rest, &n_words)
            end = part + n_words
            while part < end:
                self.items.release(<int32_t>part[0])
                part = after(part)
            del self.index[<object>self.at[rest].key]
            clear(&self.at[rest])
            self.at[rest].next = self.free
            self.free = rest
        return 0

    # Room.

    cdef int adopt_columns(self) except -1:
        """Take over the columns that others gave to names. O(1) if none, else O(all)."""
        cdef Py_ssize_t n_columns = len(self.items.columns)
        cdef Py_ssize_t n_words
        cdef const int64_t *part
        cdef int32_t i
        if n_columns == self.n_columns:
            return 0
        if n_columns > self.stride:
            self.widen(max(n_columns, self.stride * 3 // 2))
        self.names = list(self.items.columns)
        self.items.adopt_columns()
        for i in range(self.capacity):
            if self.at[i].n_counts:
                part = self.parts_of(i, &n_words)
                self.at[i].others = self.other_names(part, n_words)
        self.n_columns = n_columns
        return 0

    cdef int widen(self, Py_ssize_t stride) except -1:
        """Have room for that many columns, more than there are. O(all)."""
        cdef int32_t i
        for i in range(self.capacity):
            # One that grew while another could not is only larger than it need be.
            self.at[i].whole = widened(self.at[i].whole, self.stride, stride)
            self.at[i].charged = widened(self.at[i].charged, self.stride, stride)
        self.stride = stride
        return 0

    cdef int grow(self, int32_t capacity) except -1:
        """Have that many rests, more than there are. O(capacity)."""
        cdef int32_t rest
        self.at = <Rest *>grown(self.at, capacity * sizeof(Rest))
        memset(self.at + self.capacity, 0, (capacity - self.capacity) * sizeof(Rest))
        for rest in range(capacity - 1, self.capacity - 1, -1):
            self.at[rest].next = self.free
            self.free = rest
        self.capacity = capacity
        return 0

    # Arithmetic.

    cdef int32_t plus(self, int32_t a, int32_t b) except? -1:
        """Return the sum of two rests, or NONE if there is none."""
        if b == NOTHING:
            return retained_rest(self, a)
        if a == NOTHING:
            return retained_rest(self, b)
        return self.asked(PLUS, a, b)

    cdef int32_t minus(self, int32_t a, int32_t b) except? -1:
        """Return `a` without `b`, or NONE if `b` is not contained."""
        if b == NOTHING:
            return retained_rest(self, a)
        if a == b:
            return NOTHING
        if a == NOTHING:
            return NONE
        return self.asked(MINUS, a, b)

    cdef bint covers(self, int32_t a, int32_t b) except -1:
        """Tell whether `b` is contained in `a`. O(words), mostly."""
        cdef Py_ssize_t n, m
        cdef const int64_t *x = self.parts_of(a, &n)
        cdef const int64_t *y = self.parts_of(b, &m)
        cdef int32_t verdict = a == b or parts_cover(self.items.at, x, n, y, m)
        if verdict == UNKNOWN:
            verdict = self.minus(a, b)
            self.release(verdict)
            return verdict != NONE
        return verdict

    cdef int32_t asked(self, int operation, int32_t a, int32_t b) except? -1:
        """Return what an operation makes of a rest, NONE if it cannot. O(1) if remembered.

        `b` is the other rest, the viewer, or 0.
        """
        cdef Answer *places = places_of(self.answers, operation, a, b)
        cdef int32_t result
        cdef int i
        for i in range(2):
            if places[i].operation == operation and places[i].a == a and places[i].b == b:
                return retained_rest(self, places[i].result)
        result = self.computed(operation, a, b)
        self.forget(&places[1])
        places[1] = places[0]
        places[0] = Answer(operation, retained_rest(self, a), b, retained_rest(self, result))
        if is_of_rests(operation):
            retained_rest(self, b)
        return result

    cdef int32_t computed(self, int operation, int32_t a, int32_t b) except? -1:
        """Do as `asked` does, without looking into the answers. O(words), mostly."""
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
        return self.of_parts(n_words)

    cdef Py_ssize_t put_sum(self, int32_t a, int32_t b) except? -1:
        """Put the sum of two rests into `parts`; return its words, or UNKNOWN. O(words + k)."""
        cdef Rest *mine = &self.at[a]
        cdef Rest *theirs = &self.at[b]
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
        return sum_of_parts(self.items.at, x, n, y, m, self.parts)

    cdef Py_ssize_t put_difference(self, int32_t a, int32_t b) except? -1:
        """Put `a` without `b` into `parts`; return its words, NONE, or UNKNOWN. O(words)."""
        cdef Py_ssize_t n, m
        cdef const int64_t *x = self.parts_of(a, &n)
        cdef const int64_t *y = self.parts_of(b, &m)
        cdef int verdict = parts_cover(self.items.at, x, n, y, m)
        if verdict == UNKNOWN:
            return UNKNOWN
        if not verdict:
            return NONE
        self.reserve_words(n + m)
        return difference_of_parts(self.items.at, x, n, y, m, self.parts)

    cdef Py_ssize_t put_admitted(self, int operation, int32_t rest, int32_t viewer) except -1:
        """Put the parts that a view has into `parts`; return its words. O(words + path)."""
        cdef Py_ssize_t n_words
        cdef Py_ssize_t length = 0
        cdef const int64_t *part = self.parts_of(rest, &n_words)
        cdef const int64_t *end = part + n_words
        self.reserve_words(n_words)
        while part < end:
            if self.admits(operation, &self.items.at[part[0]], viewer):
                length += copied_part(part, self.parts + length)
            part = after(part)
        return length

    cdef bint admits(self, int operation, const Item *item, int32_t viewer) except -1:
        """Tell whether a view has the entries of an item. O(length of the role's path)."""
        if operation == NONSHARED:
            return not item.is_shared
        if operation == ALONG:
            return self.items.brings_along(item, viewer)
        return self.items.shows(item, viewer)

    cdef int32_t computed_by_value(self, int operation, int32_t a, int32_t b) except? -1:
        """Compute a sum or difference as `Resources` do. O(entries)."""
        mine, theirs = self.value(a), self.value(b)
        if operation == PLUS:
            try:
                return self.of(mine + theirs)
            except ResourceError:
                return NONE
        return self.of(mine - theirs) if mine >= theirs else NONE

    cdef int forget(self, Answer *answer) except -1:
        """Empty a place for an answer."""
        cdef Answer old = answer[0]
        if old.operation:
            answer.operation = 0
            self.release(old.a)
            self.release(old.result)
            if is_of_rests(old.operation):
                self.release(old.b)
        return 0

    # Amounts.

    cdef tuple reservations(self, int32_t rest):
        """Return (role, amounts in 1/1000 by name) of what is reserved to exactly a role.

        Sorted by role; amounts are empty where only ranges and sets are reserved. O(entries) at
        first, then O(1).
        """
        cdef Py_ssize_t n_words
        cdef const int64_t *part = self.parts_of(rest, &n_words)
        cdef const int64_t *end = part + n_words
        cdef const Item *item
        cdef dict by_role = {}
        cdef dict amounts
        if self.at[rest].reservations == NULL:
            while part < end:
                item = &self.items.at[part[0]]
                if item.role:
                    amounts = by_role.setdefault(self.items.role_names[item.role], {})
                    if item.is_scalar:
                        name = self.names[item.column]
                        amounts[name] = amounts.get(name, 0) + <object>scalar(item, part)
                part = after(part)
            self.at[rest].reservations = owned(tuple(sorted(by_role.items(), key=itemgetter(0))))
        return <tuple>self.at[rest].reservations

    cdef dict named(self, const int64_t *row, Py_ssize_t n_columns):
        """Return the first columns of a row by name, without zeros. O(k)."""
        cdef Py_ssize_t column
        return {self.names[column]: row[column] for column in range(n_columns) if row[column]}

    # Copying.

    cdef Rests copy_for(self, object totals):
        """Return a copy with the same numbers, on totals of the same columns. O(capacity)."""
        cdef Rests twin = Rests(self.items.copy_for(totals))
        twin.names = self.names.copy()
        twin.index = self.index.copy()
        twin.n_columns = self.n_columns
        twin.adopt_arrays(self)
        return twin

    cdef int adopt_arrays(self, Rests original) except -1:
        """Take over all rests and answers, while there is only NOTHING here. O(capacity)."""
        cdef int32_t i
        self.stride = original.stride
        if original.capacity > self.capacity:
            self.grow(original.capacity)
        for i in range(original.capacity):
            copy(&self.at[i], &original.at[i], self.stride)
        memcpy(self.answers, original.answers, N_ANSWERS * sizeof(Answer))
        self.free = original.free
        return 0


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


cdef object address(object pair):
    """Return the address of an identity, given with its entry."""
    return <size_t><PyObject *>pair[0]


# Records.

cdef int64_t *widened(int64_t *row, Py_ssize_t n_columns, Py_ssize_t stride) except? NULL:
    """Return a row, if there is one, with room for more columns."""
    cdef int64_t *wide
    if row == NULL:
        return NULL
    wide = <int64_t *>grown(row, stride * sizeof(int64_t))
    memset(wide + n_columns, 0, (stride - n_columns) * sizeof(int64_t))
    return wide


cdef int copy(Rest *rest, const Rest *original, Py_ssize_t stride) except -1:
    """Overwrite a rest by a copy of another; one that fails is whole as far as it goes."""
    clear(rest)
    rest[0] = original[0]
    rest.whole = rest.charged = NULL
    rest.counts = NULL
    Py_XINCREF(rest.value)
    Py_XINCREF(rest.key)
    Py_XINCREF(rest.reservations)
    rest.whole = <int64_t *>duplicate(original.whole, stride * sizeof(int64_t))
    rest.charged = <int64_t *>duplicate(original.charged, stride * sizeof(int64_t))
    rest.counts = <Count *>duplicate(original.counts, original.n_counts * sizeof(Count))
    return 0


cdef void clear(Rest *rest) noexcept:
    """Free all that a rest owns and zero it."""
    Py_XDECREF(rest.value)
    Py_XDECREF(rest.key)
    Py_XDECREF(rest.reservations)
    PyMem_Free(rest.whole)
    PyMem_Free(rest.charged)
    PyMem_Free(rest.counts)
    memset(rest, 0, sizeof(Rest))
