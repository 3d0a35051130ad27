"""What an order is: the abstract base of all sorters, and of those in plain Python.

The engine knows nothing else of them. Whose turn it is, and what everybody holds, goes through the
few operations of `Ordering`; what people ask goes through the methods of `Sorter`.

O1. A walk gives the active clients in the order of the moment in which it was started, whatever is
    allocated meanwhile. There is one at a time.
O2. An amount that counts in shares is told once: by `add_row`, a shared entry by `change_held`; or
    to an ordering that goes `by_value` all of it by `change_held`.
"""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint64_t

from allocator.sorter._siblings cimport NONE

from allocator.sorter.base import excluded_names, unknown_client
from allocator.sorter.totals import Totals


@cython.auto_pickle(False)
cdef class Ordering:
    """Clients in an order, as the engine uses them; abstract.

    Parameters
    ----------
    exclude : iterable of str
        Resource names left out of the share.
    flat : bool
        Whether each client is one leaf, whatever characters its name has.
    totals : Totals, optional
        Agents' totals shared with other sorters; its own without.

    Raises
    ------
    InvalidValue
        If `exclude` is not a collection of names.
    """

    def __cinit__(self, exclude=(), *, flat=False, totals=None, **options):
        self.exclude = excluded_names(exclude)
        self.flat = flat
        self.totals = Totals() if totals is None else totals
        self.labels = []

    def add_agent(self, agent, resources):
        """Add an agent to the totals.

        Raises
        ------
        DuplicateAgent
            If it is there already.
        ResourceError
            If the resources are malformed, or a total exceeds 2**63 - 1 thousandths. O(k).
        """
        self.totals.add_agent(agent, resources)

    def remove_agent(self, agent):
        """Remove an agent from the totals; what clients hold there stays theirs.

        Raises
        ------
        UnknownAgent
            If it is not there. O(k).
        """
        self.totals.remove_agent(agent)

    # Order.

    cdef int sync(self) except -1:
        """Take over the totals if they changed."""
        raise NotImplementedError

    cdef int32_t first(self) except? -2:
        """Return the neediest active leaf, or NONE; only asked for if the ordering `is_live`."""
        raise NotImplementedError

    cdef int start_walk(self, uint64_t key) except -1:
        """Take the order of the moment (O1); one that is drawn by lot depends on `key` alone."""
        raise NotImplementedError

    cdef int32_t advance(self) except? -2:
        """Return the next leaf of the walk, or NONE at the end, once."""
        raise NotImplementedError

    cdef int end_walk(self) except -1:
        """Let go of the order that was taken, if any, so that changes need not think of it."""
        raise NotImplementedError

    # Clients.

    cdef int32_t leaf_of(self, object client) except? -2:
        """Return a client's leaf; raises `UnknownClient`."""
        raise NotImplementedError

    cdef int remove_leaf(self, int32_t leaf) except -1:
        """Remove a client and what it holds."""
        raise NotImplementedError

    cdef int activate_leaf(self, int32_t leaf, bint active) except -1:
        """Have the order list a client or leave it out."""
        raise NotImplementedError

    # What they hold.

    cdef int add_row(
        self, int32_t leaf, const int64_t *row, Py_ssize_t n_columns, int64_t times
    ) except -1:
        """Add unshared amounts to what a client holds (O2).

        `row` has `n_columns` amounts in 1/1000 by column of `totals.columns`; they may be negative.
        `times` is added to the number of times allocated. Raises `ResourceError` if a sum would
        exceed 2**63 - 1; nothing is changed then.
        """
        raise NotImplementedError

    cdef int change_held(
        self, int32_t leaf, object agent, object lost, object gained, int64_t times
    ) except -1:
        """Change what a client holds on an agent by value, as far as no row tells it (O2).

        `times` is 0 or 1, and nothing is lost then. Raises `ResourceError` if the agent's entries
        do not go together or a sum would exceed 2**63 - 1; nothing is changed then.
        """
        raise NotImplementedError

    cdef Ordering copy_for_some(self, object totals):
        """Return a copy of which only some clients will be active, which keeps them in this order.

        None if there can be none: where the order of some depends on the others.
        """
        return None


@cython.auto_pickle(False)
cdef class PlainOrdering(Ordering):
    """An order that is kept or made in plain Python.

    A subclass has the methods of `Sorter`. It is told all that is held by value and asked for the
    order once a walk, and knows nothing of leaves.
    """

    def __cinit__(self, exclude=(), *, flat=False, totals=None, **options):
        self.by_value = True
        self.leaves = {}
        self.free = []

    def begin(self, key):
        """Begin a stream of draws anew, for an order that is drawn by lot. O(1)."""

    cdef int sync(self) except -1:
        """Do nothing: totals are looked at when an order is asked for."""
        return 0

    cdef int start_walk(self, uint64_t key) except -1:
        """Take `order()`."""
        self.rest = None  # an order that is still held would be taken down to its end
        self.begin(key)
        self.rest = iter(self.order())
        return 0

    cdef int32_t advance(self) except? -2:
        """Return the leaf of the next client in the order taken, or NONE."""
        for client in self.rest:
            return self.leaf_of(client)
        self.rest = None
        return NONE

    cdef int end_walk(self) except -1:
        """Let go of the order taken."""
        self.rest = None
        return 0

    cdef int32_t leaf_of(self, object client) except? -2:
        """Return a client's leaf, a free one if it has none yet. O(1)."""
        cdef int32_t leaf
        found = self.leaves.get(client)
        if found is not None:
            return found
        if client not in self:
            raise unknown_client(client)
        if self.free:
            leaf = self.free.pop()
            self.labels[leaf] = client
        else:
            leaf = <int32_t>len(self.labels)
            self.labels.append(client)
        self.leaves[client] = leaf
        return leaf

    cdef int remove_leaf(self, int32_t leaf) except -1:
        """Remove a client, whose leaf is free then."""
        client = self.labels[leaf]
        self.remove(client)
        self.labels[leaf] = None
        del self.leaves[client]
        self.free.append(leaf)
        self.shape += 1
        return 0

    cdef int activate_leaf(self, int32_t leaf, bint active) except -1:
        """Do as `activate` or `deactivate` does."""
        client = self.labels[leaf]
        if active:
            self.activate(client)
        else:
            self.deactivate(client)
        return 0

    cdef int add_row(
        self, int32_t leaf, const int64_t *row, Py_ssize_t n_columns, int64_t times
    ) except -1:
        """Do nothing: `change_held` tells the same by value."""
        return 0

    cdef int change_held(
        self, int32_t leaf, object agent, object lost, object gained, int64_t times
    ) except -1:
        """Do as `allocated` or `update` does."""
        client = self.labels[leaf]
        if times:
            self.allocated(client, agent, gained)
        else:
            self.update(client, agent, lost, gained)
        return 0
