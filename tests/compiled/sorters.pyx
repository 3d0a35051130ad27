"""What sorters keep, by recomputation, and orderings as compiled callers use and make them."""

from libc.stdint cimport int32_t, int64_t, uint64_t

from allocator.sorter._hdrf cimport HDRFSorter
from allocator.sorter._ordering cimport Ordering
from allocator.sorter._siblings cimport (
    LEFT,
    NONE,
    RIGHT,
    Place,
    Siblings,
    height_of,
    precedes,
)
from allocator.sorter._tree cimport ROOT, TreeOrdering

from allocator.errors import ResourceError
from allocator.resources import Resources
from allocator.sorter import Standing
from allocator.sorter.base import IMPLICIT_NAME as _IMPLICIT_NAME, unknown_client

cdef object NOTHING = Resources()


def walked(Ordering ordering not None, key=0):
    """Iterate over the active clients as the engine does (O1)."""
    cdef int32_t leaf
    ordering.sync()
    ordering.start_walk(key)
    try:
        leaf = ordering.advance()
        while leaf != NONE:
            yield ordering.labels[leaf]
            leaf = ordering.advance()
    finally:
        ordering.end_walk()


def change_as_engine(Ordering ordering not None, client, agent, lost, gained, times):
    """Change what a client holds on an agent as the engine does (O2), or leave all as it was."""
    cdef int32_t leaf = ordering.leaf_of(client)
    cdef Py_ssize_t column
    changes = {}
    for resources, sign in ((gained, 1), (lost, -1)):
        for name, milli in resources.nonshared().quantities().milli.items():
            column = ordering.totals.column(name)
            changes[column] = changes.get(column, 0) + sign * milli
    row = [changes.get(column, 0) for column in range(max(1, len(ordering.totals.columns)))]
    ordering.change_held(leaf, agent, lost, gained, times)
    try:
        add_row(ordering, leaf, row, times)
    except ResourceError:
        ordering.change_held(leaf, agent, gained, lost, 0)
        raise


cdef int add_row(Ordering ordering, int32_t leaf, list amounts, int64_t times) except -1:
    cdef int64_t[64] row
    cdef Py_ssize_t column
    assert len(amounts) <= 64
    for column in range(len(amounts)):
        row[column] = amounts[column]
    return ordering.add_row(leaf, row, len(amounts), times)


cdef class LeastHeld(Ordering):
    """Whoever holds least is next: thousandths of all names together; ties by name.

    A compiled ordering of which the engine knows nothing. It takes clients as they are, each for
    itself, without weights.
    """

    cdef dict leaves      # str -> int: client to leaf
    cdef list amounts     # by leaf: int, thousandths of all names
    cdef dict shared      # (leaf, agent) -> Resources: shared entries
    cdef set active       # int: leaves
    cdef list rest        # int: leaves, what is left of the walk, last first

    def __cinit__(self, exclude=(), *, flat=False, totals=None):
        self.is_live = True
        self.leaves = {}
        self.amounts = []
        self.shared = {}
        self.active = set()
        self.rest = []

    def add(self, client):
        self.leaves[client] = len(self.labels)
        self.labels.append(client)
        self.amounts.append(0)
        self.shape += 1

    def remove(self, client):
        leaf = self.leaves.pop(client)
        self.active.discard(leaf)
        self.shape += 1

    def activate(self, client):
        self.active.add(self.leaves[client])

    def deactivate(self, client):
        self.active.discard(self.leaves[client])

    def update_weight(self, path, weight):
        pass

    def sort(self):
        return [self.labels[leaf] for leaf in sorted(self.active, key=self.place)]

    def place(self, leaf):
        """Return what a leaf goes by."""
        return self.amounts[leaf], self.labels[leaf]

    def share(self, path):
        if path not in self.leaves:
            raise unknown_client(path)
        return 0.0

    def standing(self, path):
        return Standing(path, self.share(path), 0)

    def times_allocated(self):
        return {}

    def set_times_allocated(self, numbers):
        assert not numbers

    def copy(self, totals=None):
        cdef LeastHeld twin = LeastHeld(
            self.exclude, flat=self.flat, totals=self.totals.copy() if totals is None else totals)
        twin.labels, twin.leaves = list(self.labels), dict(self.leaves)
        twin.amounts, twin.shared = list(self.amounts), dict(self.shared)
        twin.active = set(self.active)
        return twin

    cdef int sync(self) except -1:
        return 0

    cdef int32_t first(self) except? -2:
        return min(self.active, key=self.place) if self.active else NONE

    cdef int start_walk(self, uint64_t key) except -1:
        self.rest = sorted(self.active, key=self.place, reverse=True)
        return 0

    cdef int32_t advance(self) except? -2:
        return self.rest.pop() if self.rest else NONE

    cdef int end_walk(self) except -1:
        self.rest = []
        return 0

    cdef int32_t leaf_of(self, object client) except? -2:
        return self.leaves[client]

    cdef int remove_leaf(self, int32_t leaf) except -1:
        self.remove(self.labels[leaf])
        return 0

    cdef int activate_leaf(self, int32_t leaf, bint active) except -1:
        if active:
            self.active.add(leaf)
        else:
            self.active.discard(leaf)
        return 0

    cdef int add_row(
        self, int32_t leaf, const int64_t *row, Py_ssize_t n_columns, int64_t times
    ) except -1:
        cdef Py_ssize_t column
        for column in range(n_columns):
            self.amounts[leaf] += row[column]
        return 0

    cdef int change_held(
        self, int32_t leaf, object agent, object lost, object gained, int64_t times
    ) except -1:
        before = self.shared.get((leaf, agent), NOTHING)
        after = before - lost.shared() + gained.shared()
        self.shared[leaf, agent] = after
        self.amounts[leaf] += (
            sum(after.quantities().milli.values()) - sum(before.quantities().milli.values()))
        return 0

    cdef Ordering copy_for_some(self, object totals):
        return self.copy(totals)


def check(Ordering sorter not None):
    """Raise `AssertionError` unless what a sorter keeps is as recomputed: D, G and L."""
    if isinstance(sorter, TreeOrdering):
        check_tree(sorter)
        if isinstance(sorter, HDRFSorter):
            check_hdrf(sorter)
    else:
        sorter._check()


cdef int check_tree(TreeOrdering sorter) except -1:
    sorter.sync()
    check_nodes(sorter)
    check_sums(sorter)
    for node in (ROOT, *sorter.index.values()):
        check_order(sorter, node)
    listing, sorter.listed = sorter.sort(), False
    assert listing == sorter.sort()
    return 0


cdef int check_nodes(TreeOrdering sorter) except -1:
    """Check the tree of paths: labels, counts, leaves, free nodes, who has a place (D2)."""
    cdef int32_t node, parent
    cdef dict n_children = {}
    cdef dict n_active = {}
    cdef set used = {ROOT, *sorter.index.values()}
    assert len(used) == len(sorter.index) + 1 == sorter.n_nodes
    for path, node in sorter.index.items():
        parent = sorter.nodes[node].parent
        assert parent in used
        label = sorter.labels[node]
        implicit = sorter.nodes[parent].implicit == node
        assert path == (f"{label}/{_IMPLICIT_NAME}" if implicit else label)
        name = path if sorter.flat else path.rpartition("/")[2]
        assert (sorter.places[node].name[:sorter.places[node].name_bytes]
                == name.encode("utf-8", "surrogatepass"))
        assert sorter.nodes[node].weight == (1.0 if implicit else sorter.weights.get(path, 1.0))
        assert sorter.nodes[node].is_leaf == (sorter.find(label) == node)
        assert not implicit or sorter.find(path) == NONE
        assert (sorter.places[node].height > 0) == (sorter.nodes[node].n_active > 0)
        n_children[parent] = n_children.get(parent, 0) + 1
        n_active[parent] = n_active.get(parent, 0) + sorter.nodes[node].n_active
    for node in used:
        assert sorter.nodes[node].n_children == n_children.get(node, 0)
        if sorter.nodes[node].is_leaf:
            assert not sorter.nodes[node].n_children and 0 <= sorter.nodes[node].n_active <= 1
        else:
            assert sorter.nodes[node].n_active == n_active.get(node, 0)
            assert node == ROOT or sorter.nodes[node].n_children
            assert sorter.nodes[node].implicit == NONE or sorter.nodes[node].n_children > 1
    node = sorter.free
    while node != NONE:
        assert node not in used and sorter.places[node].height == 0
        used.add(node)
        node = sorter.nodes[node].parent
    assert used == set(range(sorter.n_taken)) and sorter.n_taken <= sorter.capacity
    return 0


cdef int check_sums(TreeOrdering sorter) except -1:
    """Check D1; what no agent has, by `add_row`, must agree between leaves and ancestors."""
    cdef int32_t node, leaf
    cdef list leaves = [leaf for leaf in sorter.index.values() if sorter.nodes[leaf].is_leaf]
    cdef dict below = {ROOT: []}
    assert len(leaves) == sorter.n_clients
    assert sorter.held.keys() <= set(leaves)
    for leaf in leaves:
        check_held(sorter, leaf)
        node = leaf
        while node != NONE:
            below.setdefault(node, []).append(leaf)
            node = sorter.nodes[node].parent
    assert sorter.shared.keys() <= below.keys()
    for node, leaves in below.items():
        assert sorter.shared.get(node, {}) == shared_below(sorter, leaves)
        expected = [sum(column) for column in zip(*(unshared_row(sorter, leaf) for leaf in leaves))]
        assert unshared_row(sorter, node) == (expected or [0] * sorter.stride)
    return 0


cdef int check_held(TreeOrdering sorter, int32_t leaf) except -1:
    """Check that what a leaf holds by agent is not empty, and shared entries are counted."""
    cdef dict by_agent = sorter.held.get(leaf, {})
    assert by_agent or leaf not in sorter.held
    for agent, resources in by_agent.items():
        assert resources
        assert sorter.shared.get(leaf, {}).get(agent, NOTHING) >= resources.shared()
    return 0


cdef dict shared_below(TreeOrdering sorter, list leaves):
    """Return by agent the shared entries of leaves, taken together."""
    cdef dict shared = {}
    for leaf in leaves:
        for agent, resources in sorter.shared.get(leaf, {}).items():
            assert resources
            shared[agent] = shared.get(agent, NOTHING) + resources
    return shared


cdef list unshared_row(TreeOrdering sorter, int32_t node):
    """Return by column what a node's row has beyond its shared entries."""
    cdef Py_ssize_t column
    cdef list row = [sorter.rows[node * sorter.stride + column] for column in range(sorter.stride)]
    for resources in sorter.shared.get(node, {}).values():
        for name, amount in resources.quantities().milli.items():
            row[sorter.totals.columns[name]] -= amount
    return row


cdef int check_order(TreeOrdering sorter, int32_t node) except -1:
    """Check D3, and L1 to L3 of the children of a node."""
    cdef Siblings *siblings = &sorter.nodes[node].children
    cdef Place *places = sorter.places
    cdef int32_t before = NONE
    cdef int32_t child
    cdef list in_tree = []
    check_subtree(sorter, siblings.top, NONE, in_tree)
    for child in in_tree:
        assert sorter.nodes[child].parent == node
        assert places[child].share == sorter.key_of(child)
        assert places[child].before == before
        assert before == NONE or places[before].after == child
        assert before == NONE or precedes(&places[before], &places[child])
        before = child
    assert siblings.first == (in_tree[0] if in_tree else NONE)
    assert siblings.last == before
    assert before == NONE or places[before].after == NONE
    for child in sorter.index.values():
        assert (child in in_tree) == (
            sorter.nodes[child].parent == node and sorter.nodes[child].n_active > 0)
    return 0


cdef int check_subtree(TreeOrdering sorter, int32_t top, int32_t up, list in_tree) except -1:
    """Check links and heights at and below `top`; append its records in order."""
    cdef Place *places = sorter.places
    cdef int32_t left, right
    if top == NONE:
        return 0
    assert places[top].up == up
    check_subtree(sorter, places[top].child[LEFT], top, in_tree)
    in_tree.append(top)
    check_subtree(sorter, places[top].child[RIGHT], top, in_tree)
    left = height_of(places, places[top].child[LEFT])
    right = height_of(places, places[top].child[RIGHT])
    assert abs(left - right) <= 1 and places[top].height == 1 + max(left, right)
    return 0


cdef int check_hdrf(HDRFSorter sorter) except -1:
    """Check G1, and G2 to G5 as far as `NaiveHDRFSorter` does not show that they hold."""
    cdef int32_t node, child, ahead
    cdef Py_ssize_t column
    cdef dict children = {ROOT: []}
    for column in range(sorter.stride):
        total, held = sorter.amounts[column], sorter.rows[column]
        full = total > 0 and total - held <= sorter.saturation * total
        assert sorter.full[column] == full or not total
    for node in sorter.index.values():
        children.setdefault(sorter.nodes[node].parent, []).append(node)
    for node in (ROOT, *sorter.index.values()):
        in_list, ahead, child = [], NONE, sorter.kin[node].eldest
        while child != NONE:
            in_list.append(child)
            assert sorter.kin[child].ahead == ahead
            ahead, child = child, sorter.kin[child].behind
        assert sorted(in_list) == sorted(children.get(node, []))
        check_kin(sorter, node, in_list)
    return 0


cdef int check_kin(HDRFSorter sorter, int32_t node, list children) except -1:
    """Check the order of the children, and what is kept of them, by recomputing it."""
    cdef Py_ssize_t column
    cdef int32_t child
    cdef list vector = [sorter.vectors[node * sorter.vector_stride + column]
                        for column in range(sorter.stride)]
    cdef bint blocked = sorter.kin[node].blocked
    if node == ROOT:
        return 0
    names = [sorter.places[child].name[:sorter.places[child].name_bytes] for child in children]
    assert names == sorted(names)
    assert sorter.places[node].share == sorter.key_of(node)
    assert sorter.kin[node].blocked == blocked
    if children:
        assert blocked == all([sorter.kin[child].blocked for child in children])
        assert vector == [sorter.vectors[node * sorter.vector_stride + column]
                          for column in range(sorter.stride)]
    return 0
