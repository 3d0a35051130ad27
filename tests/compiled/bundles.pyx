"""Bundles as Python objects, and their invariants by recomputation (B2 to B7)."""

cimport cython
from cpython.mem cimport PyMem_Free
from libc.stdint cimport int32_t, int64_t, uint64_t

from allocator.engine._answers cimport N_ANSWERS, Answer, is_of_rests
from allocator.engine._bundles cimport NOTHING, Bundle, Bundles, release
from allocator.engine._items cimport Item, Items
from allocator.engine._memory cimport zeroed
from allocator.engine._rests cimport Rest, Rests, bit, retained_rest
from allocator.sorter._siblings cimport NONE


from allocator.resources import Resources
from allocator.resources.identity import SCALAR as _SCALAR, SET as _SET


def held(Bundles bundles, resources):
    """Return the bundle of resources, held."""
    return BundleView(bundles, bundles.of(Resources(resources)))


def viewer(Bundles bundles, role, *, revocable=False, shared=False, refined=False):
    """Return the number of a kind of framework."""
    return bundles.viewer(role, revocable, shared, refined)


def copied(Bundles bundles, totals):
    """Return a copy with the same numbers and references."""
    return bundles.copy_for(totals)


def forget_all(Bundles bundles):
    """Give back all references that are kept to be quick."""
    cdef int i
    for i in range(N_ANSWERS):
        bundles.rests.forget(&bundles.rests.answers[i])
    bundles.forget_last()


def n_in_use(Bundles bundles):
    """Return how many bundles, rests and items are in use, NOTHING not counted."""
    return bundles.n_bundles - 1 + len(bundles.rests.index) - 1 + len(bundles.rests.items.index)


@cython.no_gc_clear  # `__dealloc__` needs the bundles
cdef class BundleView:
    """A bundle with a reference of its own.

    Parameters
    ----------
    bundles : Bundles
        Where it is.
    number : int
        The bundle; a reference to it goes to the new object.
    """

    cdef Bundles bundles
    cdef readonly int32_t number

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

    def plus(self, BundleView other not None):
        """Return the sum."""
        return BundleView(self.bundles, self.bundles.plus(self.number, other.number))

    def minus(self, BundleView other not None):
        """Return what is left without another."""
        return BundleView(self.bundles, self.bundles.minus(self.number, other.number))

    def covers(self, BundleView other not None):
        """Tell whether another is contained in it."""
        return self.bundles.covers(self.number, other.number)

    def nonshared(self):
        """Return the entries that are not shared."""
        return BundleView(self.bundles, self.bundles.nonshared(self.number))

    def seen_by(self, int32_t viewer):
        """Return what a viewer may see."""
        return BundleView(self.bundles, self.bundles.seen_by(self.number, viewer))

    def along(self, int32_t viewer):
        """Return what comes along for a viewer."""
        return BundleView(self.bundles, self.bundles.along(self.number, viewer))

    def special(self):
        """Return the bundle of the rest alone."""
        cdef Bundles bundles = self.bundles
        return BundleView(bundles, bundles.of_row(
            bundles.row(NOTHING), bundles.bundles[self.number].rest))

    def amounts(self):
        """Return `whole` and `charged` by name, without zeros."""
        cdef Bundles bundles = self.bundles
        cdef Rests rests = bundles.rests
        cdef int64_t *scratch = <int64_t *>zeroed(bundles.stride, sizeof(int64_t))
        try:
            whole = rests.named(bundles.whole(self.number, scratch), bundles.n_columns)
            return whole, rests.named(bundles.charged(self.number, scratch), bundles.n_columns)
        finally:
            PyMem_Free(scratch)


def check(Bundles bundles):
    """Raise `AssertionError` unless B1 to B7 hold, by recomputing."""
    bundles.adopt_columns()
    check_bundles(bundles)
    check_rests(bundles)
    check_items(bundles.rests)


cdef int check_bundles(Bundles bundles) except -1:
    """Check rows, names and hashes of bundles, chains and the free list (B2 to B4, B6)."""
    cdef int32_t i
    cdef Py_ssize_t column
    cdef uint64_t names
    cdef Bundle *record
    cdef set chained = set()
    cdef set free = free_bundles(bundles)
    cdef set seen = set()
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
        assert bundles.interned(bundles.row(i), retained_rest(bundles.rests, record.rest)) == i
        release(bundles, i)
        value = bundles.value(i)
        assert {bundles.columns[name]: milli for name, milli in value._plain.items()} == {
            column: milli for column, milli in enumerate(row) if milli}
        assert value._special == bundles.rests.value(record.rest)._special
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
    cdef Rests rests = bundles.rests
    cdef int32_t i
    cdef Rest *rest
    cdef dict refs = references_to_rests(bundles)
    assert rests.names == list(bundles.columns)[:rests.n_columns]
    assert bundles.n_columns <= rests.n_columns <= rests.stride
    assert rests.index[b""] == NOTHING
    refs[NOTHING] = 1
    assert set(refs) == set(rests.index.values())
    for key, i in rests.index.items():
        rest = &rests.at[i]
        value = rests.value(i)
        assert rest.refs == refs[i] and <object>rest.key is key
        assert not value._plain and value._totals == Resources([*value])._totals
        # Its value has the same parts in the same order.
        assert rests.of(value) == i
        rests.release(i)
        free = value.unreserved().nonrevocable()
        assert row_by_name(rests, rest.whole) == value.quantities().milli
        assert row_by_name(rests, rest.charged) == free.quantities().milli
        assert rest.is_shared == bool(value.shared())
        assert rest.is_reserved == bool(value.reserved())
        assert rest.is_open == (value == free.nonshared())
        assert counts_by_name(rests, rest) == {
            name: milli for name, milli in value.counts().milli.items()
            if name not in value.quantities()}
        assert rest.names == bits_of(rests, [e.name for e in value.scalars()])
        assert rest.others == bits_of(rests, [e.name for e in value if e.type != _SCALAR])
    return 0


cdef dict row_by_name(Rests rests, const int64_t *row):
    """Return a row of a rest, if there is one, by name."""
    return {} if row == NULL else rests.named(row, rests.n_columns)


cdef dict counts_by_name(Rests rests, const Rest *rest):
    """Return by name what a rest counts."""
    cdef list names = list(rests.items.counted_names)
    cdef int32_t i
    assert len(names) == rests.items.n_counted_names
    return {names[rest.counts[i].name]: rest.counts[i].milli for i in range(rest.n_counts)}


cdef uint64_t bits_of(Rests rests, list names) except? 0:
    """Return the bits of the columns of those names that have one."""
    cdef uint64_t bits = 0
    for name in names:
        if name in rests.names:
            bits |= bit(rests.names.index(name))
    return bits


cdef dict references_to_rests(Bundles bundles):
    """Count the references that bundles and answers have, by rest (B5)."""
    cdef dict refs = {}
    cdef list found = []
    cdef int32_t i
    cdef Answer *answer
    for i in range(bundles.capacity):
        if bundles.bundles[i].refs:
            found.append(bundles.bundles[i].rest)
    for i in range(N_ANSWERS):
        answer = &bundles.rests.answers[i]
        if answer.operation:
            found += [answer.a, answer.result]
            if is_of_rests(answer.operation):
                found.append(answer.b)
    for rest in found:
        if rest > NOTHING:
            refs[rest] = refs.get(rest, 0) + 1
    return refs


cdef int check_items(Rests rests) except -1:
    """Check what items are found by, what is told of them, and their references (B5)."""
    cdef Items items = rests.items
    cdef int32_t i
    cdef Item *item
    cdef dict refs = {}
    for i in rests.index.values():
        for identity, entry in rests.value(i)._special.items():
            number = items.of(identity, entry)
            refs[number] = refs.get(number, 0) + 1
    assert set(refs) == set(items.index.values())
    for key, i in items.index.items():
        item = &items.at[i]
        identity = <object>item.identity
        assert item.refs == refs[i] and <object>item.key is key
        assert (item.entry == NULL) == (identity.splittable and identity.kind != _SET)
        assert items.role_names[item.role] == identity.role
        assert item.column == items.columns.get(identity.name, NONE)
    return 0
