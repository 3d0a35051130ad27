"""Items, compiled. What they are is said in `_items.pxd`, what parts are made of them in B7."""

cimport cython
from cpython.dict cimport PyDict_GetItem
from cpython.mem cimport PyMem_Free
from cpython.ref cimport Py_XDECREF, Py_XINCREF
from libc.string cimport memset

from allocator.engine._memory cimport grown, owned
from allocator.sorter._siblings cimport NONE

from allocator.resources import Resources
from allocator.resources.identity import SCALAR as _SCALAR, SET as _SET
from allocator.roles import is_at_or_below


@cython.final
@cython.auto_pickle(False)
@cython.no_gc  # It refers to nothing that refers back.
cdef class Items:
    """The distinct identities and whole entries of what an engine holds.

    Parameters
    ----------
    totals : Totals
        Whose columns their names have.
    """

    def __cinit__(self, totals):
        self.totals = totals
        self.columns = totals.columns
        self.index = {}
        self.roles = {None: 0}
        self.role_names = [None]
        self.counted_names = {}
        self.free = NONE

    def __dealloc__(self):
        cdef int32_t i
        for i in range(self.capacity):
            clear(&self.at[i])
        PyMem_Free(self.at)

    cdef int32_t of(self, object identity, object entry) except -1:
        """Return the item of an entry; one that is new has no reference yet. O(1)."""
        cdef PyObject *found = PyDict_GetItem(self.index, identity)
        if found != NULL:
            return <object>found
        if identity.splittable and identity.kind != _SET:
            return self.made(identity, identity, None)
        # Equality of entries does not look at all disk information.
        key = (identity, entry._value, entry._copies, entry._disk)
        found = PyDict_GetItem(self.index, key)
        if found != NULL:
            return <object>found
        return self.made(key, identity, entry)

    cdef int32_t made(self, object key, object identity, object entry) except -1:
        """Return an item that is not there yet, of a whole entry or with None of its identity."""
        cdef Item item
        cdef int32_t number
        self.describe(&item, identity, entry)
        if self.free == NONE:
            self.grow(self.capacity + self.capacity // 2 + 8)
        number = self.free
        self.index[key] = number
        # Nothing can fail from here on.
        self.free = self.at[number].next
        item.key = owned(key)
        item.identity = owned(identity)
        item.entry = NULL if entry is None else owned(entry)
        self.at[number] = item
        return number

    cdef int describe(self, Item *item, object identity, object entry) except -1:
        """Fill in all that is a number. O(1), O(elements) of a set."""
        memset(item, 0, sizeof(Item))
        item.is_scalar = identity.kind == _SCALAR
        item.is_revocable = identity.revocable
        item.is_shared = identity.shared
        item.is_refined = len(identity.reservations) > 1
        item.role = self.role_number(identity.role)
        if item.is_scalar:
            item.column = self.totals.column(identity.name)
            item.counted = NONE
        else:
            item.column = self.columns.get(identity.name, NONE)
            item.counted = self.counted_number(identity.name)
        if entry is not None:
            item.amount = (
                entry._value if item.is_scalar
                else Resources([entry]).counts().milli[identity.name])
        return 0

    cdef int32_t role_number(self, object role) except -1:
        """Return the number of a role, or of None. O(1)."""
        cdef PyObject *found = PyDict_GetItem(self.roles, role)
        if found == NULL:
            self.role_names.append(role)
            self.roles[role] = len(self.role_names) - 1
            return <int32_t>len(self.role_names) - 1
        return <object>found

    cdef int32_t counted_number(self, object name) except -1:
        """Return the number of a name of ranges or sets. O(1)."""
        cdef int32_t number = self.counted_names.setdefault(name, self.n_counted_names)
        self.n_counted_names = len(self.counted_names)
        return number

    cdef int release(self, int32_t item) except -1:
        """Have one rest less with an item. O(1)."""
        self.at[item].refs -= 1
        return 0 if self.at[item].refs else self.drop(item)

    cdef int drop(self, int32_t item) except -1:
        """Forget an item that no rest has. O(1)."""
        del self.index[<object>self.at[item].key]
        clear(&self.at[item])
        self.at[item].next = self.free
        self.free = item
        return 0

    cdef int drop_unused(self) except -1:
        """Forget the items that were made for a rest which could not be made. O(items)."""
        cdef int32_t i
        for i in range(self.capacity):
            if self.at[i].key != NULL and self.at[i].refs == 0:
                self.drop(i)
        return 0

    cdef int adopt_columns(self) except -1:
        """Let ranges and sets know of columns that others gave to their names. O(items)."""
        cdef int32_t i
        for i in range(self.capacity):
            if self.at[i].key != NULL and self.at[i].column == NONE:
                self.at[i].column = self.columns.get((<object>self.at[i].identity).name, NONE)
        return 0

    cdef int grow(self, int32_t capacity) except -1:
        """Have that many items, more than there are. O(capacity)."""
        cdef int32_t item
        self.at = <Item *>grown(self.at, capacity * sizeof(Item))
        memset(self.at + self.capacity, 0, (capacity - self.capacity) * sizeof(Item))
        for item in range(capacity - 1, self.capacity - 1, -1):
            self.at[item].next = self.free
            self.free = item
        self.capacity = capacity
        return 0

    # What a framework may see.

    cdef int32_t viewer(self, str role, bint revocable, bint shared, bint refined) except -1:
        """Return the number of a kind of framework: its role, and what it is shown. O(1)."""
        return (self.role_number(role) << FLAG_BITS | (REVOCABLE if revocable else 0)
                | (SHARED if shared else 0) | (REFINED if refined else 0))

    cdef bint shows(self, const Item *item, int32_t viewer) except -1:
        """Tell whether a viewer may see the entries of an item. O(length of the role's path)."""
        cdef int32_t role = viewer >> FLAG_BITS
        if (item.is_revocable and not viewer & REVOCABLE or item.is_shared and not viewer & SHARED
                or item.is_refined and not viewer & REFINED):
            return False
        return (item.role == 0 or item.role == role
                or is_at_or_below(self.role_names[role], self.role_names[item.role]))

    cdef bint brings_along(self, const Item *item, int32_t viewer) noexcept:
        """Tell whether the entries of an item, visible ones, come along with a guarantee. O(1)."""
        cdef int32_t role = viewer >> FLAG_BITS
        return not item.is_scalar or item.is_revocable or item.role and item.role == role

    # Copying.

    cdef Items copy_for(self, object totals):
        """Return a copy with the same numbers, on totals of the same columns. O(capacity)."""
        cdef Items twin = Items(totals)
        cdef int32_t i
        twin.grow(self.capacity)
        for i in range(self.capacity):
            twin.at[i] = self.at[i]
            Py_XINCREF(twin.at[i].key)
            Py_XINCREF(twin.at[i].identity)
            Py_XINCREF(twin.at[i].entry)
        twin.free = self.free
        twin.index = self.index.copy()
        twin.roles = self.roles.copy()
        twin.role_names = self.role_names.copy()
        twin.counted_names = self.counted_names.copy()
        twin.n_counted_names = self.n_counted_names
        return twin


cdef void clear(Item *item) noexcept:
    """Free all that an item owns and zero it."""
    Py_XDECREF(item.key)
    Py_XDECREF(item.identity)
    Py_XDECREF(item.entry)
    memset(item, 0, sizeof(Item))
