"""A tree of paths with its sums, in an order that is kept up to date, compiled.

`DRFSorter` (`_drf.pyx`) is this as it stands; `HDRFSorter` (`_hdrf.pyx`) has other keys of inner
nodes. What it overrides goes through the table of methods: `key_of`, `refresh_keys`, and what
makes, activates and frees nodes.

Invariants, which `tests/compiled/sorters.pyx` verifies:

D1. `rows[node]` is what the leaves at or below a node hold, by column; a shared entry of an agent
    counts once in each row.
D2. A node has a place among its parent's `children` exactly when an active leaf is at or below it,
    so an inactive subtree is never walked.
D3. The share in a place is `key_of` its node by the totals last seen; the `children` are in
    order (L1, L2 in `_siblings.pxd`). Of nodes without a place it is computed when they get one.
D4. `listing` is the order of the whole tree while `listed` holds.
D5. While a walk follows the live order, only nodes that it has passed move, which have its number
    in `passed`. Any other change takes down the rest of its order first (`disturb`). `ahead` has
    for each level the next node to enter, which has not been passed and thus stays where it is.
D6. Nodes from `n_taken` on have never been touched; those below are in use or in the free list.

An adjustment (`allocated`, `unallocated`, `update`, a weight, `activate`, `deactivate`) re-places
the nodes on one path. A change of the totals recomputes all shares and repairs all orders once, at
the next question (`sync`).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Realloc
from cpython.unicode cimport PyUnicode_DATA, PyUnicode_GET_LENGTH
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint64_t
from libc.string cimport memcpy, memset

from allocator.sorter._ordering cimport Ordering
from allocator.sorter._siblings cimport (
    NONE,
    Place,
    Siblings,
    in_order,
    insert,
    rearrange,
    remove,
)

from allocator.errors import DuplicateClient, ResourceError, cut, shown
from allocator.resources import Quantities, Resources
from allocator.sorter.base import (
    IMPLICIT_NAME as _IMPLICIT_NAME,
    Standing,
    checked_numbers,
    checked_weight,
    client_path,
    unknown_client,
)

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)

cdef object NOTHING = Resources()

# Stands for every mapping of a sorter that has no entries yet; nothing is ever put into it (`own`).
cdef dict EMPTY = {}


@cython.final
@cython.auto_pickle(False)
cdef class TotalsRow:
    """Totals by column, made once for all sorters that share them."""

    def __dealloc__(self):
        PyMem_Free(self.amounts)

    cdef int refresh(self, object totals) except -1:
        """Take over the totals if they changed. O(k)."""
        cdef Py_ssize_t column
        cdef int64_t *amounts
        if totals.version == self.version:
            return 0
        milli = totals.quantities.milli
        for name in milli:
            totals.column(name)
        amounts = <int64_t *>PyMem_Calloc(max(1, len(totals.columns)), sizeof(int64_t))
        if amounts == NULL:
            raise MemoryError
        for name, column in totals.columns.items():
            amounts[column] = milli.get(name, 0)
        PyMem_Free(self.amounts)
        self.amounts = amounts
        self.n_columns = len(totals.columns)
        self.version = totals.version
        return 0


@cython.auto_pickle(False)
cdef class TreeOrdering(Ordering):
    """Clients as leaves of a tree, siblings in an order that is kept up to date; abstract.

    The interface is that of `Sorter`. In the costs given below, s is the number of siblings on each
    level, d the depth of the client and k the number of resource names.
    """

    def __cinit__(self, exclude=(), *, flat=False, totals=None, **options):
        self.is_live = True
        if self.totals.row is None:
            self.totals.row = TotalsRow()
        self.totals_row = self.totals.row
        self.version = 0
        self.index = {}
        self.names = self.held = self.shared = self.weights = EMPTY
        self.free = NONE
        self.levels = 1
        self.reserve_columns(4)
        self.reserve_nodes(2)
        self.take_node(NONE, "", "")

    def __dealloc__(self):
        PyMem_Free(self.nodes)
        PyMem_Free(self.places)
        PyMem_Free(self.rows)
        PyMem_Free(self.amounts)
        PyMem_Free(self.counted)
        PyMem_Free(self.delta)
        PyMem_Free(self.ahead)

    # Clients.

    def add(self, client):
        """Add an inactive client that holds nothing.

        Raises
        ------
        DuplicateClient
            If it is there already.
        InvalidRole
            If the path is malformed; in a flat sorter `InvalidValue` if it is not text. O(d + k).
        """
        cdef int32_t node = ROOT
        cdef str path = client_path(client, flat=self.flat)
        cdef str label = ""
        cdef list names = [path] if self.flat else path.split("/")
        if self.find(path) != NONE:
            raise DuplicateClient(f"client {shown(path)} is in the sorter already")
        self.disturb(NONE)
        # A node a name is enough: an implicit leaf is made only where a name has its node already.
        self.reserve_nodes(<int32_t>len(names))
        for name in names:
            label = name if node == ROOT else f"{label}/{name}"
            if label == path:
                label = path  # one text in memory, not two
            found = self.index.get(label)
            if found is None:
                if self.nodes[node].is_leaf:
                    self.split(node)
                node = self.take_node(node, label, name)
            else:
                node = found
        self.new_leaf(node)
        self.n_clients += 1
        self.shape += 1
        self.levels = max(self.levels, <int32_t>len(names) + 1)

    def remove(self, client):
        """Remove a client and what it holds.

        Ancestors keep the number of times allocated; those without clients below vanish.

        Raises
        ------
        UnknownClient
            If it is not there. O(d (k + log s)), and for each shared entry held O(d).
        """
        cdef int32_t node = self.leaf_of(client)
        cdef int32_t parent
        self.disturb(NONE)
        self.shape += 1
        if self.nodes[node].n_active:
            self.set_active(node, False)
        self.withdraw(node)
        self.n_clients -= 1
        while node != ROOT and self.nodes[node].n_children == 0:
            parent = self.nodes[node].parent
            self.release_node(node)
            node = parent
        if self.nodes[node].n_children == 1 and self.nodes[node].implicit != NONE:
            self.merge(node)
        self.settle(node)

    def activate(self, client):
        """Have `sort` list a client from now on.

        Raises
        ------
        UnknownClient
            If it is not there. O(d log s).
        """
        self.activate_leaf(self.leaf_of(client), True)

    def deactivate(self, client):
        """Leave a client out of `sort`; it keeps what it holds.

        Raises
        ------
        UnknownClient
            If it is not there. O(d log s).
        """
        self.activate_leaf(self.leaf_of(client), False)

    def update_weight(self, path, weight):
        """Set the weight of a path and thus of its subtree, also for a path yet to come.

        Raises
        ------
        InvalidValue
            Unless the weight lies between 1e-9 and 1e9.
        InvalidRole
            If the path is malformed; in a flat sorter `InvalidValue` if it is not text. O(log s).
        """
        path = client_path(path, flat=self.flat)
        cdef double value = checked_weight(weight)
        cdef int32_t node = self.index.get(path, NONE)
        if node != NONE:
            self.disturb(NONE)
            self.nodes[node].weight = value
            self.reposition(node)
        self.weights = own(self.weights)
        self.weights[path] = value

    # Allocations.

    def allocated(self, client, agent, resources):
        """Add to what a client holds on an agent, and one to the number of times allocated.

        Raises
        ------
        UnknownClient
            If the client is not there; the agent need not be.
        ResourceError
            If the resources are malformed, do not go with what is held there (types under one
            name), or a sum exceeds 2**63 - 1 thousandths. O(d (k + log s)).
        """
        self.change(self.leaf_of(client), agent, NOTHING, value_of(resources), 1)

    def unallocated(self, client, agent, resources):
        """Take from what a client holds on an agent.

        Raises
        ------
        UnknownClient
            If the client is not there.
        ResourceError
            If the resources are malformed or it does not hold all of them. O(d (k + log s)).
        """
        self.change(self.leaf_of(client), agent, value_of(resources), NOTHING, 0)

    def update(self, client, agent, old, new):
        """Replace `old` by `new` in what a client holds on an agent.

        Raises
        ------
        UnknownClient
            If the client is not there.
        ResourceError
            As `allocated` and `unallocated`. O(d (k + log s)).
        """
        self.change(self.leaf_of(client), agent, value_of(old), value_of(new), 0)

    # Questions.

    def sort(self):
        """Return the active clients, neediest first.

        Returns
        -------
        list of str
            A new list. O(n), a bare copy of the last answer if the order has not changed since;
            after a change of the totals O(n log n) at worst.
        """
        cdef list listing
        cdef int32_t leaf
        self.sync()
        if not self.listed:
            listing = []
            leaf = self.first()
            while leaf != NONE:
                listing.append(self.labels[leaf])
                leaf = self.successor(leaf)
            self.listing = listing
            self.listed = True
        return self.listing[:]

    def order(self):
        """Iterate over the active clients in the order of the moment of this call.

        The iterator gives what `sort()` would have returned, whatever happens meanwhile, but
        costs only what is taken from it as long as nothing is changed but the allocations of
        clients that it has given out. Any other change, and a further `order()`, makes it take
        down the rest of the order, O(n).

        Returns
        -------
        iterator of str
            O(d); then O(1) amortised a client.
        """
        self.sync()
        self.disturb(NONE)
        return Walk(self)

    def share(self, path):
        """Return the share of a client or of an ancestor of one.

        Of a client with clients below it, this is its subtree's; its implicit leaf's has the
        path `client/.`.

        Raises
        ------
        UnknownClient
            If no node has this path. O(k).
        """
        self.sync()
        try:
            return self.share_of(self.index[path])
        except (KeyError, TypeError):
            raise unknown_client(path) from None

    def standing(self, path):
        """Return what a client or an ancestor of one goes by among its siblings.

        Returns
        -------
        Standing
            Its share and the number of times allocated.

        Raises
        ------
        UnknownClient
            If no node has this path. O(k).
        """
        cdef int32_t node
        self.sync()
        try:
            node = self.index[path]
        except (KeyError, TypeError):
            raise unknown_client(path) from None
        return Standing(path, self.key_of(node), self.places[node].number)

    def allocation(self, client):
        """Return what a client itself holds.

        Returns
        -------
        dict of str to Resources
            By agent; none is empty.

        Raises
        ------
        UnknownClient
            If it is not there. O(agents).
        """
        return dict(self.held.get(self.leaf_of(client), EMPTY))

    def quantities(self, client=None):
        """Return how much a client itself, or without one everybody together, holds.

        Returns
        -------
        Quantities
            A shared entry of an agent counts once.

        Raises
        ------
        UnknownClient
            If it is not there. O(k).
        """
        cdef int32_t node = ROOT if client is None else self.leaf_of(client)
        cdef dict milli = {}
        for name, column in self.totals.columns.items():
            if column < self.stride:
                milli[name] = self.rows[node * self.stride + <Py_ssize_t>column]
        return Quantities.from_milli(milli)

    def times_allocated(self):
        """Return the number of times allocated of every node, by path.

        Returns
        -------
        dict of str to int
            Implicit leaves have paths that end in `/.`. O(n log n).
        """
        return {path: self.places[<int32_t>node].number
                for path, node in sorted(self.index.items())}

    def set_times_allocated(self, numbers):
        """Set the number of times allocated of nodes; the others keep theirs.

        Raises
        ------
        UnknownClient
            If a path has no node.
        InvalidValue
            If a number is not an integer from 0 to 2**63 - 1. O(n log n) at worst.
        """
        numbers = checked_numbers(numbers, self.index)
        self.disturb(NONE)
        for path, number in numbers.items():
            self.places[<int32_t>self.index[path]].number = number
        self.rebuild()

    def copy(self, totals=None):
        """Return a copy that answers the same, on these totals or on a copy of its own.

        O(n k), and the (client, agent) pairs that hold something.
        """
        cdef TreeOrdering twin = self.blank(self.totals.copy() if totals is None else totals)
        twin.grow(self.capacity)
        twin.labels = self.labels.copy()
        twin.index = self.index.copy()
        twin.names = self.names.copy() or EMPTY
        twin.held = {leaf: by_agent.copy() for leaf, by_agent in self.held.items()} or EMPTY
        twin.shared = {node: by_agent.copy() for node, by_agent in self.shared.items()} or EMPTY
        twin.weights = self.weights.copy() or EMPTY
        twin.adopt_arrays(self)
        twin.listing = self.listing
        twin.listed = self.listed
        return twin

    def __contains__(self, client):
        return self.find(client) != NONE

    def __len__(self):
        return self.n_clients

    cdef TreeOrdering blank(self, object totals):
        """Return a sorter of the same kind and options on these totals, without clients."""
        raise NotImplementedError

    # As an `Ordering`.

    cdef int sync(self) except -1:
        """Take over the totals if they changed. O(1) if not, else O(n log n) at worst.

        Nothing is recomputed for a name that nobody holds or that does not count.
        """
        cdef int32_t column
        cdef bint stale = False
        version = self.totals.version
        if version == self.version:
            return 0
        self.totals_row.refresh(self.totals)
        self.reserve_columns(self.totals_row.n_columns)
        memset(self.delta, 0, self.stride * sizeof(int64_t))
        memcpy(self.delta, self.totals_row.amounts, self.totals_row.n_columns * sizeof(int64_t))
        for name in self.exclude:
            # A name may have got its column since the row of totals was made.
            column = self.totals.columns.get(name, self.stride)
            if column < self.stride:
                self.delta[column] = 0
        for column in range(self.stride):
            if self.delta[column] != self.amounts[column] and self.rows[column]:
                stale = True
        if stale:
            self.disturb(NONE)
        self.n_counted = 0
        for column in range(self.stride):
            self.amounts[column] = self.delta[column]
            if self.amounts[column]:
                self.counted[self.n_counted] = column
                self.n_counted += 1
        self.version = version
        if stale:
            self.rebuild()
        return 0

    cdef int start_walk(self, uint64_t key) except -1:
        """Take the order of the moment, by the totals last seen. O(1)."""
        if self.walking and self.iterator != NULL:
            self.take_down()
        if self.rest is not None:
            self.rest = None
        return self.begin_walk(NULL)

    cdef int32_t advance(self) except? -2:
        """Return the next leaf of the walk, or NONE at the end. O(1) amortised."""
        cdef int32_t leaf
        if self.rest is not None:
            return self.leaf_of(self.rest.pop()) if self.rest else NONE
        leaf = self.step()
        if leaf == NONE:
            self.walking = False
        return leaf

    cdef int end_walk(self) except -1:
        """Let go of the order taken. O(1)."""
        if self.iterator == NULL:
            self.walking = False
        if self.rest is not None:
            self.rest = None
        return 0

    cdef int32_t leaf_of(self, object client) except? -2:
        """Return a client's leaf; raises `UnknownClient`. O(1)."""
        cdef int32_t leaf = self.find(client)
        if leaf == NONE:
            raise unknown_client(client)
        return leaf

    cdef int32_t first(self) except? -2:
        """Return the neediest active leaf, or NONE, by the totals last seen. O(d)."""
        return self.descend(ROOT)

    cdef int remove_leaf(self, int32_t leaf) except -1:
        """Do as `remove` does."""
        self.remove(self.labels[leaf])
        return 0

    @cython.final
    cdef int32_t successor(self, int32_t leaf) noexcept nogil:
        """Return the active leaf after another one, or NONE. O(d), O(1) amortised over all."""
        cdef int32_t node = leaf
        while node != ROOT:
            if self.places[node].after != NONE:
                return self.descend(self.places[node].after)
            node = self.nodes[node].parent
        return NONE

    cdef int add_row(
        self, int32_t leaf, const int64_t *row, Py_ssize_t n_columns, int64_t times
    ) except -1:
        """Add unshared amounts to a leaf and its ancestors and re-place them. O(d (k + log s)).

        Rows count in shares and quantities but belong to no agent, so that `allocation` does not
        show them: who adds rows keeps that account.
        """
        if n_columns > self.stride:
            self.reserve_columns(n_columns)
        self.check_fit(row, n_columns)
        self.disturb(leaf)
        self.add_to_path(leaf, row, n_columns, times)
        self.settle(leaf)
        return 0

    cdef int change_held(
        self, int32_t leaf, object agent, object lost, object gained, int64_t times
    ) except -1:
        """Change which shared entries a leaf has on an agent. O(d (k + log s)).

        As with rows, who calls this keeps the account of what was gained, and of that alone
        something may be lost: `allocation` does not show it. The row that goes with it tells all
        else, and the number of times.
        """
        lost, gained = shared_of(lost), shared_of(gained)
        if lost is NOTHING and gained is NOTHING:
            return 0
        memset(self.delta, 0, self.stride * sizeof(int64_t))
        return self.add_delta(leaf, agent, lost, gained, 0)

    cdef int activate_leaf(self, int32_t leaf, bint active) except -1:
        """Do as `activate` or `deactivate` does. O(d log s)."""
        if self.nodes[leaf].n_active != active:
            self.disturb(NONE)
            self.set_active(leaf, active)
        return 0

    # Columns.

    cdef int reserve_columns(self, Py_ssize_t n_columns) except -1:
        """Make room for that many columns. O(1) if there is, else O(n k)."""
        cdef Py_ssize_t stride, node
        cdef int64_t *rows
        cdef int64_t *amounts
        cdef int64_t *delta
        cdef int32_t *counted
        if n_columns <= self.stride:
            return 0
        stride = max(n_columns, 2 * self.stride)
        rows = <int64_t *>PyMem_Calloc(self.capacity * stride, sizeof(int64_t))
        amounts = <int64_t *>PyMem_Calloc(stride, sizeof(int64_t))
        delta = <int64_t *>PyMem_Calloc(stride, sizeof(int64_t))
        counted = <int32_t *>PyMem_Calloc(stride, sizeof(int32_t))
        if rows == NULL or amounts == NULL or delta == NULL or counted == NULL:
            PyMem_Free(rows)
            PyMem_Free(amounts)
            PyMem_Free(delta)
            PyMem_Free(counted)
            raise MemoryError
        if self.stride:
            for node in range(self.n_taken):
                memcpy(rows + node * stride, self.rows + node * self.stride,
                       self.stride * sizeof(int64_t))
            memcpy(amounts, self.amounts, self.stride * sizeof(int64_t))
            memcpy(delta, self.delta, self.stride * sizeof(int64_t))
            memcpy(counted, self.counted, self.n_counted * sizeof(int32_t))
        PyMem_Free(self.rows)
        PyMem_Free(self.amounts)
        PyMem_Free(self.delta)
        PyMem_Free(self.counted)
        self.rows, self.amounts, self.delta, self.counted = rows, amounts, delta, counted
        self.stride = stride
        return 0

    # The tree of paths.

    @cython.final
    cdef int reserve_nodes(self, int32_t n_nodes) except -1:
        """Have that many nodes not in use. O(1) amortised."""
        if self.n_nodes + n_nodes > self.capacity:
            self.grow(max(self.capacity + self.capacity // 2, self.n_nodes + n_nodes))
        return 0

    cdef int grow(self, int32_t capacity) except -1:
        """Have that many nodes, not fewer than there are. O(capacity)."""
        cdef void *grown
        # One that grew while another could not is only larger than it need be.
        grown = PyMem_Realloc(self.nodes, capacity * sizeof(Node))
        if grown == NULL:
            raise MemoryError
        self.nodes = <Node *>grown
        grown = PyMem_Realloc(self.places, capacity * sizeof(Place))
        if grown == NULL:
            raise MemoryError
        self.places = <Place *>grown
        grown = PyMem_Realloc(self.rows, capacity * self.stride * sizeof(int64_t))
        if grown == NULL:
            raise MemoryError
        self.rows = <int64_t *>grown
        self.labels = self.labels + [None] * (capacity - len(self.labels))
        self.capacity = capacity
        return 0

    @cython.final
    cdef int32_t find(self, object client) except? NONE:
        """Return a client's leaf, or NONE if there is no such client. O(1)."""
        cdef int32_t node
        found = self.index.get(client) if isinstance(client, str) else None
        if found is None:
            return NONE
        node = found
        if self.nodes[node].implicit != NONE:
            return self.nodes[node].implicit
        if not self.nodes[node].is_leaf or self.nodes[self.nodes[node].parent].implicit == node:
            return NONE
        return node

    cdef int32_t take_node(self, int32_t parent, str label, str name) except -1:
        """Make a free node a child of `parent`: neither leaf nor active, holding nothing. O(k)."""
        cdef int32_t node = self.n_taken if self.free == NONE else self.free
        cdef bint implicit = name == _IMPLICIT_NAME and not self.flat
        if node != ROOT:
            self.index[f"{label}/{name}" if implicit else label] = node
        self.labels[node] = label
        if node == self.n_taken:
            self.n_taken += 1
        else:
            self.free = self.nodes[node].parent
        self.n_nodes += 1
        memset(&self.nodes[node], 0, sizeof(Node))
        memset(&self.places[node], 0, sizeof(Place))
        memset(self.rows + node * self.stride, 0, self.stride * sizeof(int64_t))
        self.nodes[node].weight = 1.0 if implicit else self.weights.get(label, 1.0)
        self.nodes[node].parent = parent
        self.nodes[node].implicit = NONE
        self.nodes[node].children = Siblings(NONE, NONE, NONE)
        self.set_name(node, name if implicit else label, name)
        if parent != NONE:
            self.nodes[parent].n_children += 1
            if implicit:
                self.nodes[parent].implicit = node
        return node

    @cython.final
    cdef int set_name(self, int32_t node, str text, str name) except -1:
        """Have a node's place point to its name, the end of a text that lives as long. O(length).

        ASCII text is its own UTF-8, and needs no copy.
        """
        cdef bytes encoded
        cdef Py_ssize_t n_bytes
        if PyUnicode_IS_ASCII(text):
            n_bytes = PyUnicode_GET_LENGTH(name)
            self.places[node].name = (
                <const char *>PyUnicode_DATA(text) + PyUnicode_GET_LENGTH(text) - n_bytes)
        else:
            encoded = name.encode("utf-8", "surrogatepass")
            n_bytes = PyBytes_GET_SIZE(encoded)
            self.names = own(self.names)
            self.names[node] = encoded
            self.places[node].name = PyBytes_AS_STRING(encoded)
        self.places[node].name_bytes = <int32_t>n_bytes
        return 0

    cdef int release_node(self, int32_t node) except -1:
        """Free a node that has no children and no place. O(1)."""
        cdef int32_t parent = self.nodes[node].parent
        cdef str label = self.labels[node]
        if self.nodes[parent].implicit == node:
            self.nodes[parent].implicit = NONE
            label = f"{label}/{_IMPLICIT_NAME}"
        del self.index[label]
        for by_node in (self.names, self.held, self.shared):
            by_node.pop(node, None)
        self.labels[node] = None
        self.nodes[parent].n_children -= 1
        self.nodes[node].parent = self.free
        self.free = node
        self.n_nodes -= 1
        return 0

    @cython.final
    cdef int new_leaf(self, int32_t node) except -1:
        """Make the leaf of a new client, whose path has this node: the node or one below it."""
        if self.nodes[node].n_children:
            node = self.take_node(node, self.labels[node], _IMPLICIT_NAME)
        self.nodes[node].is_leaf = True
        return 0

    cdef int split(self, int32_t node) except -1:
        """Give a leaf that is to have children an implicit leaf, which is as the leaf was. O(k)."""
        cdef int32_t leaf = self.take_node(node, self.labels[node], _IMPLICIT_NAME)
        if node in self.held:
            self.held[leaf] = self.held.pop(node)
        if node in self.shared:
            self.shared[leaf] = dict(self.shared[node])
        memcpy(self.rows + leaf * self.stride, self.rows + node * self.stride,
               self.stride * sizeof(int64_t))
        self.nodes[node].is_leaf = False
        self.nodes[leaf].is_leaf = True
        self.places[leaf].number = self.places[node].number
        self.nodes[leaf].n_active = self.nodes[node].n_active
        if self.nodes[leaf].n_active:
            self.places[leaf].share = self.key_of(leaf)
            insert(self.places, &self.nodes[node].children, leaf)
        return 0

    @cython.final
    cdef int merge(self, int32_t node) except -1:
        """Make a leaf again of a node whose only child is its implicit leaf. O(1)."""
        cdef int32_t leaf = self.nodes[node].implicit
        if self.nodes[leaf].n_active:
            remove(self.places, &self.nodes[node].children, leaf)
        if leaf in self.held:
            self.held[node] = self.held.pop(leaf)
        self.nodes[node].is_leaf = True
        self.release_node(leaf)
        return 0

    @cython.final
    cdef int withdraw(self, int32_t leaf) except -1:
        """Take what a leaf holds from its ancestors' sums. O(d k), and O(d) a shared entry."""
        cdef int32_t parent = self.nodes[leaf].parent
        cdef Py_ssize_t column
        cdef dict shared = self.shared.get(leaf, EMPTY)
        cdef list changes = []
        for agent, resources in shared.items():
            changes += self.shared_changes(parent, agent, resources, NOTHING)
        # Of shared entries others may hold copies, node by node.
        memset(self.delta, 0, self.stride * sizeof(int64_t))
        for resources in shared.values():
            self.fill_delta(resources.quantities().milli, 1)
        for column in range(self.stride):
            self.delta[column] -= self.rows[leaf * self.stride + column]
        self.store_shared(changes)
        self.add_to_path(parent, self.delta, self.stride, 0)
        return 0

    # Adjusting.

    @cython.final
    cdef int change(
        self, int32_t leaf, object agent, object lost, object gained, int64_t times
    ) except -1:
        """Change what a leaf holds on an agent, refusing before anything is changed."""
        before = self.held.get(leaf, EMPTY).get(agent, NOTHING)
        after = before
        if lost is not NOTHING:
            after = after - lost
        if gained is not NOTHING:
            after = gained if after is NOTHING else after + gained
        memset(self.delta, 0, self.stride * sizeof(int64_t))
        lost_shared, gained_shared = shared_of(lost), shared_of(gained)
        if lost_shared is NOTHING and gained_shared is NOTHING:
            self.fill_delta(gained.quantities().milli, 1)
            if lost is not NOTHING:
                self.fill_delta(lost.quantities().milli, -1)
            self.add_row(leaf, self.delta, self.stride, times)
        else:
            self.fill_delta(gained.nonshared().quantities().milli, 1)
            self.fill_delta(lost.nonshared().quantities().milli, -1)
            self.add_delta(leaf, agent, lost_shared, gained_shared, times)
        self.held = with_entry(self.held, leaf, agent, after)
        return 0

    @cython.final
    cdef int add_delta(
        self, int32_t leaf, object agent, object lost_shared, object gained_shared, int64_t times
    ) except -1:
        """Do as `add_row` does with `delta`, and change the shared entries with it."""
        cdef list changes = self.shared_changes(leaf, agent, lost_shared, gained_shared)
        self.check_fit_shared(changes)
        self.disturb(leaf)
        self.store_shared(changes)
        self.add_to_path(leaf, self.delta, self.stride, times)
        self.settle(leaf)
        return 0

    @cython.final
    cdef list shared_changes(self, int32_t node, object agent, object lost, object gained):
        """Return (node, agent, shared before, shared after) for `node` and each ancestor."""
        cdef list changes = []
        while node != NONE:
            before = self.shared.get(node, EMPTY).get(agent, NOTHING)
            changes.append((node, agent, before, before - lost + gained))
            node = self.nodes[node].parent
        return changes

    @cython.final
    cdef int store_shared(self, list changes) except -1:
        """Carry out `shared_changes`: each node counts an entry while it has a copy of it."""
        cdef int32_t node
        cdef Py_ssize_t column
        cdef int64_t amount
        cdef int64_t *row
        for node, agent, before, after in changes:
            row = self.rows + node * self.stride
            self.shared = with_entry(self.shared, node, agent, after)
            for name, amount in after.quantities().milli.items():
                column = self.totals.column(name)
                row[column] = wrapping_sum(row[column], amount)
            for name, amount in before.quantities().milli.items():
                column = self.totals.column(name)
                row[column] = wrapping_sum(row[column], -amount)
        return 0

    @cython.final
    cdef int fill_delta(self, object amounts, int64_t sign) except -1:
        """Add amounts by name, with a sign, to `delta`. O(names)."""
        cdef Py_ssize_t column
        cdef int64_t amount
        cdef dict columns = self.totals.columns
        for name, amount in amounts.items():
            found = columns.get(name)
            column = self.totals.column(name) if found is None else found
            self.reserve_columns(column + 1)
            self.delta[column] += sign * amount
        return 0

    @cython.final
    cdef int check_fit(self, const int64_t *row, Py_ssize_t n_columns) except -1:
        """Refuse what would take a sum beyond int64; the root's are the largest. O(k)."""
        cdef Py_ssize_t column
        for column in range(n_columns):
            if row[column] > 0 and self.rows[column] > INT64_MAX - row[column]:
                raise too_much(self.totals, column, self.rows[column] + <object>row[column])
        return 0

    @cython.final
    cdef int check_fit_shared(self, list changes) except -1:
        """Do as `check_fit` does for `delta` and `shared_changes` together."""
        before, after = (
            resources.quantities().milli for resources in changes[len(changes) - 1][2:])
        for name in (*before, *after):
            self.reserve_columns(self.totals.column(name) + 1)
        for name, column in self.totals.columns.items():
            if column < self.stride:
                total = (<object>self.rows[<Py_ssize_t>column]
                         + <object>self.delta[<Py_ssize_t>column]
                         + after.get(name, 0) - before.get(name, 0))
                if total > INT64_MAX:
                    raise too_much(self.totals, column, total)
        return 0

    @cython.final
    cdef void add_to_path(
        self, int32_t node, const int64_t *row, Py_ssize_t n_columns, int64_t times
    ) noexcept nogil:
        """Add to the sums of a node and its ancestors, leaving their places. O(d k)."""
        cdef Py_ssize_t column
        cdef int64_t *sums
        while node != NONE:
            sums = self.rows + node * self.stride
            for column in range(n_columns):
                sums[column] = wrapping_sum(sums[column], row[column])
            self.places[node].number += times
            node = self.nodes[node].parent

    @cython.final
    cdef double share_of(self, int32_t node) noexcept nogil:
        """Compute a share, as `dominant_share` in base.py does. O(k)."""
        cdef const int64_t *row = self.rows + node * self.stride
        cdef double dominant = 0.0
        cdef double ratio
        cdef Py_ssize_t i
        cdef int32_t column
        for i in range(self.n_counted):
            column = self.counted[i]
            ratio = <double>row[column] / <double>self.amounts[column]
            if ratio > dominant:
                dominant = ratio
        return dominant / self.nodes[node].weight

    cdef double key_of(self, int32_t node) noexcept nogil:
        """Compute what a node goes by first among its siblings. O(k)."""
        return self.share_of(node)

    @cython.final
    cdef void reposition(self, int32_t node) noexcept nogil:
        """Recompute a node's key and move it if its neighbours no longer bound it. O(log s)."""
        cdef Siblings *siblings
        self.places[node].share = self.key_of(node)
        if not self.nodes[node].n_active or in_order(self.places, node):
            return
        siblings = &self.nodes[self.nodes[node].parent].children
        remove(self.places, siblings, node)
        insert(self.places, siblings, node)
        self.listed = False

    @cython.final
    cdef void settle(self, int32_t node) noexcept nogil:
        """Re-place a node and its ancestors. O(d (k + log s))."""
        while node != ROOT:
            self.reposition(node)
            node = self.nodes[node].parent

    cdef void set_active(self, int32_t leaf, bint active) noexcept nogil:
        """Change whether a leaf is active, to what it is not. O(d log s)."""
        cdef int32_t node = leaf
        cdef int32_t parent
        while node != ROOT:
            parent = self.nodes[node].parent
            self.nodes[node].n_active += 1 if active else -1
            if active and self.nodes[node].n_active == 1:
                self.places[node].share = self.key_of(node)
                insert(self.places, &self.nodes[parent].children, node)
            elif self.nodes[node].n_active == 0:
                remove(self.places, &self.nodes[parent].children, node)
            node = parent
        self.nodes[ROOT].n_active += 1 if active else -1
        self.listed = False

    cdef void refresh_keys(self) noexcept nogil:
        """Recompute the keys of all that have a place. O(n k)."""
        cdef int32_t node
        for node in range(self.n_taken):
            if self.places[node].height:
                self.places[node].share = self.key_of(node)

    @cython.final
    cdef void rebuild(self) noexcept nogil:
        """Recompute all keys and repair all orders. O(n k + n log s), O(n k) if they survive."""
        cdef int32_t node
        self.refresh_keys()
        for node in range(self.n_taken):
            if (node == ROOT or self.places[node].height) and not self.nodes[node].is_leaf:
                if rearrange(self.places, &self.nodes[node].children):
                    self.listed = False

    @cython.final
    cdef int32_t descend(self, int32_t node) noexcept nogil:
        """Return the first active leaf at or below a node, or NONE. O(d)."""
        while node != NONE and not self.nodes[node].is_leaf:
            node = self.nodes[node].children.first
        return node

    # Walks (D5).

    @cython.final
    cdef inline int begin_walk(self, void *iterator) except -1:
        """Begin a walk in the order of the moment; no iterator's may be under way. O(1)."""
        cdef int32_t *ahead
        if self.n_levels < self.levels:
            ahead = <int32_t *>PyMem_Realloc(self.ahead, self.levels * sizeof(int32_t))
            if ahead == NULL:
                raise MemoryError
            self.ahead = ahead
            self.n_levels = self.levels
        self.ahead[0] = self.nodes[ROOT].children.first
        self.level = 0
        self.n_walks += 1
        self.walking = True
        self.iterator = iterator
        return 0

    @cython.final
    cdef inline int32_t step(self) noexcept:
        """Return the next leaf of the walk that follows the live order, or NONE. O(1) amortised."""
        cdef int32_t node
        while self.level >= 0:
            node = self.ahead[self.level]
            if node == NONE:
                self.level -= 1
                continue
            self.nodes[node].passed = self.n_walks
            self.ahead[self.level] = self.not_passed(self.places[node].after)
            if self.nodes[node].is_leaf:
                return node
            self.level += 1
            self.ahead[self.level] = self.nodes[node].children.first
        return NONE

    @cython.final
    cdef inline int32_t not_passed(self, int32_t node) noexcept:
        """Return the first sibling from `node` on that has not been passed, or NONE."""
        while node != NONE and self.nodes[node].passed == self.n_walks:
            node = self.places[node].after
        return node

    @cython.final
    cdef int disturb(self, int32_t leaf) except -1:
        """Prepare a walk under way for a change at a leaf, or with NONE for any other (D5)."""
        if self.walking and (leaf == NONE or self.nodes[leaf].passed != self.n_walks):
            self.take_down()
        return 0

    @cython.final
    cdef int take_down(self) except -1:
        """Have the walk under way take down the rest of its order. O(rest)."""
        cdef list rest = []
        cdef int32_t leaf = self.step()
        while leaf != NONE:
            rest.append(self.labels[leaf])
            leaf = self.step()
        rest.reverse()
        if self.iterator == NULL:
            self.rest = rest
        else:
            (<Walk>self.iterator).rest = rest
        self.walking = False
        self.iterator = NULL
        return 0

    cdef int adopt_arrays(self, TreeOrdering original) except -1:
        """Take over the nodes of a sorter of the same capacity; columns may differ. O(n k)."""
        cdef Py_ssize_t column, source
        cdef int32_t node
        memcpy(self.nodes, original.nodes, original.n_taken * sizeof(Node))
        memcpy(self.places, original.places, original.n_taken * sizeof(Place))
        self.free = original.free
        self.n_taken = original.n_taken
        self.n_nodes = original.n_nodes
        self.n_clients = original.n_clients
        self.levels = original.levels
        self.n_walks = original.n_walks
        for name in original.totals.columns:
            self.reserve_columns(<Py_ssize_t>self.totals.column(name) + 1)
        memset(self.rows, 0, self.n_taken * self.stride * sizeof(int64_t))
        for name, source in original.totals.columns.items():
            if source < original.stride:
                column = self.totals.column(name)
                for node in range(self.n_taken):
                    self.rows[node * self.stride + column] = (
                        original.rows[node * original.stride + source])
                self.amounts[column] = original.amounts[source]
                if self.amounts[column]:
                    self.counted[self.n_counted] = <int32_t>column
                    self.n_counted += 1
        self.version = None  # whether these totals are the same is seen at the next question
        return 0


@cython.final
@cython.auto_pickle(False)
@cython.no_gc_clear  # `__dealloc__` needs the sorter
cdef class Walk:
    """Iterator over the active clients in the order of the moment of its making (D5)."""

    def __cinit__(self, TreeOrdering sorter not None):
        sorter.disturb(NONE)
        sorter.begin_walk(<void *>self)
        self.sorter = sorter

    def __dealloc__(self):
        if self.sorter is not None and self.sorter.iterator == <void *>self:
            self.sorter.iterator = NULL
            self.sorter.walking = False

    def __iter__(self):
        return self

    def __next__(self):
        cdef int32_t leaf
        if self.rest is None:
            leaf = self.sorter.step()
            if leaf != NONE:
                return self.sorter.labels[leaf]
            self.sorter.take_down()
        if not self.rest:
            raise StopIteration
        return self.rest.pop()


cdef inline int64_t wrapping_sum(int64_t a, int64_t b) noexcept nogil:
    """Add; on the way to a sum that fits, the parts of one change may pass beyond int64."""
    return <int64_t>(<uint64_t>a + <uint64_t>b)


cdef inline dict own(dict mapping):
    """Return a mapping to write to: itself, or a new one for `EMPTY`."""
    return {} if mapping is EMPTY else mapping


cdef dict with_entry(dict by_node, int32_t node, object agent, object resources):
    """Set what a node has on an agent, leaving out what is empty; return the mapping. O(1)."""
    cdef dict by_agent = by_node.get(node)
    if resources:
        by_node = own(by_node)
        if by_agent is None:
            by_node[node] = {agent: resources}
        else:
            by_agent[agent] = resources
    elif by_agent is not None:
        by_agent.pop(agent, None)
        if not by_agent:
            del by_node[node]
    return by_node


cdef inline object value_of(object resources):
    """Return `Resources(resources)`, without a call where it is that already."""
    return resources if type(resources) is Resources else Resources(resources)


cdef object shared_of(object resources):
    """Return the shared entries of `Resources`, `NOTHING` itself if there are none."""
    if resources is NOTHING or len(resources) == len(resources.plain_milli):
        return NOTHING
    return resources.shared() or NOTHING


cdef object too_much(object totals, Py_ssize_t column, object total):
    """Return the error that says that a sum of allocations is over-large."""
    name = list(totals.columns)[column]
    return ResourceError(f"{cut(name)}: {total} thousandths allocated in all are over-large")
