"""The H-DRF sorter that keeps its order up to date, compiled.

Invariants beside those of the tree (`_tree.pyx`), which `tests/compiled/sorters.pyx` verifies:

G1. The children of a node are linked by `ahead` and `behind` from its `eldest` on, active or not,
    in the order of their paths; those of the root in any, as they are never summed.
G2. By the names taken for `full`, a leaf is blocked if it is inactive or holds some of one, another
    node if all its children are.
G3. `vectors[node]` of an inner node below the root is the sum over its children by path, those that
    are not blocked and hold something scaled down to the least of their keys. A leaf's is its row.
G4. The share in `places` is the key of each node, whether it has a place or not.
G5. What is `full` is compared with the sums at each question; if it is another, all is recomputed.

An adjustment recomputes the nodes on one path from their children, in the order of these, so that
rounding is the same whatever came before.
"""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Realloc
from libc.math cimport INFINITY
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from allocator.sorter._ordering cimport Ordering
from allocator.sorter._siblings cimport NONE, Place
from allocator.sorter._tree cimport ROOT, TreeOrdering

from allocator.sorter.base import checked_saturation


@cython.final
@cython.auto_pickle(False)
cdef class HDRFSorter(TreeOrdering):
    """Clients by hierarchical Dominant Resource Fairness, in an order that is kept up to date.

    A node that holds several things is not punished for what one part of it has while another part
    can still be served: of the children that are not blocked, each counts as if it had no more than
    the least of them, and names of which nothing is left do not count.

    Parameters
    ----------
    exclude : iterable of str
        Resource names left out of the share.
    flat : bool
        Whether each client is one leaf, whatever characters its name has.
    totals : Totals, optional
        Agents' totals shared with other sorters; its own without.
    saturation : float
        A name is saturated when no larger part of its total than this is left, from 0 (exactly
        all is held) to 1.

    Raises
    ------
    InvalidValue
        If `exclude` is not a collection of names, or `saturation` not a number from 0 to 1.

    Notes
    -----
    The rule is that of Bhattacharya et al., Hierarchical Scheduling for Diverse Datacenter
    Workloads (SoCC 2013), with weights; the interface is that of `Sorter`. `share` is the dominant
    share of what a node holds, as in every sorter; what it goes by is in `standing`. Adjustments
    cost O(children × k) for each node of the path below the top, where `TreeOrdering` has O(k). On
    a flat tree the order is that of `DRFSorter`.

    Examples
    --------
    >>> sorter = HDRFSorter()
    >>> sorter.add_agent("a1", "cpus:10;gpus:10")
    >>> for client in ("n1", "n2/a", "n2/b"):
    ...     sorter.add(client)
    ...     sorter.activate(client)
    >>> sorter.allocated("n1", "a1", "cpus:3")
    >>> sorter.allocated("n2/a", "a1", "cpus:6")
    >>> sorter.allocated("n2/b", "a1", "gpus:2")
    >>> sorter.sort(), sorter.share("n2"), sorter.standing("n2").share
    (['n2/b', 'n2/a', 'n1'], 0.6, 0.2)
    """

    def __cinit__(self, exclude=(), *, flat=False, totals=None, saturation=0.0):
        self.saturation = checked_saturation(saturation)
        self.fit(self.capacity, self.stride)
        self.kin[ROOT] = Kin(NONE, NONE, NONE, False)

    def __dealloc__(self):
        PyMem_Free(self.kin)
        PyMem_Free(self.vectors)
        PyMem_Free(self.full)

    def add(self, client):
        """Add an inactive client; raises as `TreeOrdering.add`. O(d children k)."""
        TreeOrdering.add(self, client)
        self.settle(self.find(client))

    def update_weight(self, path, weight):
        """Set the weight of a path; raises as `TreeOrdering.update_weight`. O(d children k)."""
        TreeOrdering.update_weight(self, path, weight)
        self.settle(self.index.get(path, ROOT))

    cdef TreeOrdering blank(self, object totals):
        """Return a sorter of the same kind and options on these totals, without clients."""
        return HDRFSorter(
            self.exclude, flat=self.flat, totals=totals, saturation=self.saturation)

    # As an `Ordering`.

    cdef int sync(self) except -1:
        """Take over the totals, and what is saturated, if they changed. O(k) if not."""
        TreeOrdering.sync(self)
        return self.follow()

    cdef int32_t first(self) except? -2:
        """Return the neediest active leaf, or NONE, by the totals last seen. O(d + k)."""
        self.follow()
        return self.descend(ROOT)

    cdef int start_walk(self, uint64_t key) except -1:
        """Take the order of the moment, by the totals last seen. O(k)."""
        self.follow()
        return TreeOrdering.start_walk(self, key)

    # A copy for some there cannot be: who is blocked decides what the nodes above go by.

    # What is saturated.

    cdef bint is_full(self, Py_ssize_t column) noexcept nogil:
        """Tell whether a counted name is saturated now. O(1)."""
        cdef int64_t left = self.amounts[column] - self.rows[ROOT * self.stride + column]
        cdef double spare = self.saturation * <double>self.amounts[column]
        # An integer is no larger than a double exactly if it is no larger than its whole part.
        return left <= 0 or spare >= <double>INT64_MAX or left <= <int64_t>spare

    cdef void note_full(self) noexcept nogil:
        """Take note of what is saturated now. O(k)."""
        cdef Py_ssize_t i
        self.any_full = False
        memset(self.full, 0, self.vector_stride)
        for i in range(self.n_counted):
            if self.is_full(self.counted[i]):
                self.full[self.counted[i]] = True
                self.any_full = True

    cdef int follow(self) except -1:
        """Recompute everything if other names are saturated than was noted (G5). O(k) if not."""
        cdef Py_ssize_t i
        for i in range(self.n_counted):
            if self.full[self.counted[i]] != self.is_full(self.counted[i]):
                self.disturb(NONE)
                self.rebuild()
                break
        return 0

    # Keys.

    cdef double key_of(self, int32_t node) noexcept nogil:
        """Compute a node's key, blocked and vector from its children. O(children k)."""
        return self.key_of_leaf(node) if self.nodes[node].is_leaf else self.key_of_inner(node)

    cdef double key_of_leaf(self, int32_t leaf) noexcept nogil:
        """Compute a leaf's key and whether it is blocked. O(k)."""
        cdef const int64_t *row = self.rows + leaf * self.stride
        cdef bint blocked = not self.nodes[leaf].n_active
        cdef Py_ssize_t i
        if self.any_full and not blocked:
            for i in range(self.n_counted):
                if self.full[self.counted[i]] and row[self.counted[i]] > 0:
                    blocked = True
        self.kin[leaf].blocked = blocked
        return self.share_of(leaf)

    cdef double key_of_inner(self, int32_t node) noexcept nogil:
        """Compute an inner node's key, whether it is blocked, and its vector. O(children k)."""
        cdef const double *vector = self.vectors + node * self.vector_stride
        cdef double dominant = 0.0
        cdef double ratio
        cdef Py_ssize_t i
        cdef int32_t column
        self.sum_vectors(node, self.least_key(node))
        for i in range(self.n_counted):
            column = self.counted[i]
            if not self.full[column]:
                ratio = vector[column] / <double>self.amounts[column]
                if ratio > dominant:
                    dominant = ratio
        return dominant / self.nodes[node].weight

    cdef double least_key(self, int32_t node) noexcept nogil:
        """Return the least key above 0 of children that are not blocked, and set its blocked."""
        cdef double least = INFINITY
        cdef bint blocked = True
        cdef int32_t child = self.kin[node].eldest
        while child != NONE:
            if not self.kin[child].blocked:
                blocked = False
                if 0 < self.places[child].share < least:
                    least = self.places[child].share
            child = self.kin[child].behind
        self.kin[node].blocked = blocked
        return least

    cdef void sum_vectors(self, int32_t node, double least) noexcept nogil:
        """Sum the children's vectors by path, scaled as G3 says. O(children k)."""
        cdef double *vector = self.vectors + node * self.vector_stride
        cdef const double *of_child
        cdef const int64_t *row
        cdef double key, scale
        cdef Py_ssize_t column
        cdef int32_t child = self.kin[node].eldest
        for column in range(self.stride):
            vector[column] = 0.0
        while child != NONE:
            key = self.places[child].share
            scale = least / key if key > 0 and not self.kin[child].blocked else 1.0
            if self.nodes[child].is_leaf:
                row = self.rows + child * self.stride
                for column in range(self.stride):
                    vector[column] += scale * <double>row[column]
            else:
                of_child = self.vectors + child * self.vector_stride
                for column in range(self.stride):
                    vector[column] += scale * of_child[column]
            child = self.kin[child].behind

    cdef void refresh_keys(self) noexcept nogil:
        """Recompute all keys by what is saturated now. O(n k)."""
        self.note_full()
        self.refresh_below(ROOT)

    cdef void refresh_below(self, int32_t node) noexcept nogil:
        """Recompute all keys below a node, the deepest first. O(n k)."""
        cdef int32_t child = self.kin[node].eldest
        while child != NONE:
            if not self.nodes[child].is_leaf:
                self.refresh_below(child)
            self.places[child].share = self.key_of(child)
            child = self.kin[child].behind

    cdef void set_active(self, int32_t leaf, bint active) noexcept nogil:
        """Change whether a leaf is active, to what it is not. O(d (children k + log s))."""
        TreeOrdering.set_active(self, leaf, active)
        self.settle(leaf)

    # The tree of paths.

    cdef int fit(self, int32_t capacity, Py_ssize_t stride) except -1:
        """Have room for so many nodes and columns, not fewer than there are. O(n k)."""
        cdef void *grown
        cdef double *vectors
        cdef int32_t node
        grown = PyMem_Realloc(self.kin, capacity * sizeof(Kin))
        if grown == NULL:
            raise MemoryError
        self.kin = <Kin *>grown
        grown = PyMem_Realloc(self.full, stride)
        if grown == NULL:
            raise MemoryError
        self.full = <char *>grown
        vectors = <double *>PyMem_Calloc(capacity * stride, sizeof(double))
        if vectors == NULL:
            raise MemoryError
        memset(self.full + self.vector_stride, 0, stride - self.vector_stride)
        for node in range(self.kin_capacity):
            memcpy(vectors + node * stride, self.vectors + node * self.vector_stride,
                   self.vector_stride * sizeof(double))
        PyMem_Free(self.vectors)
        self.vectors = vectors
        self.kin_capacity, self.vector_stride = capacity, stride
        return 0

    cdef int reserve_columns(self, Py_ssize_t n_columns) except -1:
        """Make room for that many columns. O(1) if there is, else O(n k)."""
        if n_columns > self.stride:
            self.fit(self.kin_capacity, max(n_columns, 2 * self.stride))
        return TreeOrdering.reserve_columns(self, n_columns)

    cdef int grow(self, int32_t capacity) except -1:
        """Have that many nodes, not fewer than there are. O(capacity)."""
        self.fit(capacity, self.vector_stride)
        return TreeOrdering.grow(self, capacity)

    cdef int32_t take_node(self, int32_t parent, str label, str name) except -1:
        """Make a free node a child of `parent`. O(siblings + k), O(k) below the root."""
        cdef int32_t node = TreeOrdering.take_node(self, parent, label, name)
        memset(self.vectors + node * self.vector_stride, 0, self.vector_stride * sizeof(double))
        self.kin[node] = Kin(NONE, NONE, NONE, True)
        self.link(node)
        return node

    cdef int link(self, int32_t node) except -1:
        """Put a new node among its siblings (G1). O(siblings), O(1) below the root."""
        cdef int32_t parent = self.nodes[node].parent
        cdef int32_t ahead = NONE
        cdef int32_t behind = self.kin[parent].eldest
        while parent != ROOT and behind != NONE and by_name(
                &self.places[behind], &self.places[node]) < 0:
            ahead = behind
            behind = self.kin[behind].behind
        self.kin[node].ahead, self.kin[node].behind = ahead, behind
        if ahead == NONE:
            self.kin[parent].eldest = node
        else:
            self.kin[ahead].behind = node
        if behind != NONE:
            self.kin[behind].ahead = node
        return 0

    cdef int split(self, int32_t node) except -1:
        """Give a leaf that is to have children an implicit leaf, which is as the leaf was. O(k)."""
        cdef int32_t leaf
        TreeOrdering.split(self, node)
        leaf = self.nodes[node].implicit
        self.places[leaf].share = self.key_of(leaf)  # whether it is active or not (G4)
        return 0

    cdef int release_node(self, int32_t node) except -1:
        """Free a node that has no children and no place. O(1)."""
        cdef Kin *kin = &self.kin[node]
        if kin.ahead == NONE:
            self.kin[self.nodes[node].parent].eldest = kin.behind
        else:
            self.kin[kin.ahead].behind = kin.behind
        if kin.behind != NONE:
            self.kin[kin.behind].ahead = kin.ahead
        return TreeOrdering.release_node(self, node)

    cdef int adopt_arrays(self, TreeOrdering original) except -1:
        """Take over the nodes of a sorter of the same kind and capacity. O(n k)."""
        TreeOrdering.adopt_arrays(self, original)
        memcpy(self.kin, (<HDRFSorter>original).kin, original.n_taken * sizeof(Kin))
        self.full_as(<HDRFSorter>original)
        self.refresh_below(ROOT)
        return 0

    cdef int full_as(self, HDRFSorter original) except -1:
        """Take the same names for saturated as another does: keys and places then agree. O(k)."""
        cdef Py_ssize_t source
        for name, source in original.totals.columns.items():
            if source < original.stride:
                self.full[<Py_ssize_t>self.totals.columns[name]] = original.full[source]
        self.any_full = original.any_full
        return 0


cdef inline int by_name(const Place *a, const Place *b) noexcept nogil:
    """Compare the names of siblings, as code points do: below 0 if `a` comes first."""
    cdef int verdict = memcmp(a.name, b.name, min(a.name_bytes, b.name_bytes))
    return verdict if verdict else a.name_bytes - b.name_bytes
