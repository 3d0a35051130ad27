"""The role tree: weights, quotas, what each subtree holds, and who is subscribed where.

Invariants, cited by number where code relies on them:

R1. A role exists while it has a subscription, a reservation, a quota, a weight of its own, or a
    role below it that exists; `roles` has these. A node is there for each of them, and for each
    role in which a framework that was not added yet uses something, and those above.
    `RoleTree.settle` restores this after anything that may have begun or ended.
R2. The rows RESERVED, OFFERED, ALLOCATED and CONSUMED of a node cover its whole subtree. A shared
    entry of an agent counts once in each, however many copies are held; `copies` has the numbers.
R3. consumed = reserved + unreserved, non-revocable scalars offered or allocated, also by frameworks
    that were not added yet, which OFFERED and ALLOCATED do not have.
R4. need[name] = min(max(guarantee − consumed, Σ needs of the children, 0),
    max(limit − consumed, 0)), and CHILDREN_NEED is that sum: what a limit makes impossible holds
    nothing back. `required` is the sum over the top-level roles: the required headroom.
R5. The role sorter has a client for each node with a subscription, active exactly while one of
    its subscriptions is active.
R6. `needy` is there exactly while some role has a guarantee and the role sorter can order some
    roles without the others. It is the same but for who is active: those of the active roles that
    have, or lie below a role that has, a guarantee not met yet. So stage one of a cycle meets
    nobody else; without it, it passes over the others.
R7. `guaranteed`, the sum of what top-level roles are guaranteed by themselves or by their children,
    fits in an int64, so that no sum of needs can overflow. What a role and all below it are
    guaranteed fits in its own guarantee and limit, so that the needs below it do, too.
"""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint64_t
from libc.string cimport memcpy, memset

from allocator.engine._bundles cimport Bundles
from allocator.engine._changes cimport Journal, Record, tell
from allocator.sorter._ordering cimport Ordering
from allocator.sorter._siblings cimport NONE

from allocator.engine._order import hash64
from allocator.engine.quota import DEFAULT_WEIGHT as _DEFAULT_WEIGHT, NO_QUOTA
from allocator.engine.tally import Tally
from allocator.errors import UnknownClient
from allocator.roles import parent_of


@cython.final
@cython.auto_pickle(False)
cdef class RoleNode(Record):
    """One role: its place in the tree and the sums kept for its subtree."""

    def __cinit__(
        self, str path, RoleNode parent, Ordering sorter not None, Bundles bundles
    ):
        self.path = path
        self.id_hash = hash64(path)
        self.parent = parent
        self.children = {}
        self.subscriptions = {}
        self.sorter = sorter
        self.at_leaf = []
        self.weight = _DEFAULT_WEIGHT
        self.quota = NO_QUOTA
        self.bundles = bundles
        self.leaf_shape = self.needy_shape = -1
        self.fit_columns()

    def __dealloc__(self):
        PyMem_Free(self.rows)

    # Looking.

    @property
    def reserved(self):
        """What is reserved to the subtree, in use or not: a `Tally`. O(names)."""
        return self.bundles.tally(self.rows + RESERVED * self.stride, self.stride)

    @property
    def offered(self):
        """What is in open offers to the subtree: a `Tally`. O(names)."""
        return self.bundles.tally(self.rows + OFFERED * self.stride, self.stride)

    @property
    def allocated(self):
        """What the subtree uses: a `Tally`. O(names)."""
        return self.bundles.tally(self.rows + ALLOCATED * self.stride, self.stride)

    @property
    def consumed(self):
        """What counts against the quota (R3): a `Tally`. O(names)."""
        return self.bundles.tally(self.rows + CONSUMED * self.stride, self.stride)

    @property
    def need(self):
        """What has to be held back for the subtree (R4): a `Tally`. O(names)."""
        return self.bundles.tally(self.rows + NEED * self.stride, self.stride)

    @property
    def children_need(self):
        """What has to be held back for the children (R4): a `Tally`. O(names)."""
        return self.bundles.tally(self.rows + CHILDREN_NEED * self.stride, self.stride)

    @property
    def children_guarantee(self):
        """What the children are guaranteed, by themselves or by theirs: a `Tally`. O(names)."""
        return self.bundles.tally(self.rows + CHILDREN_GUARANTEE * self.stride, self.stride)

    def upward(self):
        """Yield this node and then each ancestor, innermost first. O(depth)."""
        node = self
        while node is not None:
            yield node
            node = node.parent

    def guaranteed(self, name):
        """Return what is guaranteed here: by its own quota or, failing that, by its children's."""
        own = self.quota.guarantee.get(name)
        return self.children_guarantee[name] if own is None else own

    @property
    def is_needed(self):
        """Whether R1 keeps this node in the tree."""
        return self.exists or self.n_expected != 0 or len(self.children) != 0

    cdef bint is_role(self) noexcept:
        """Tell whether it is a role by itself, whatever is below it."""
        return (
            len(self.subscriptions) != 0
            or self.n_reserving != 0
            or self.quota is not NO_QUOTA
            or self.weight != <double>_DEFAULT_WEIGHT
        )

    # Rows.

    cdef int fit_columns(self) except -1:
        """Make the rows as long as those of the bundles. O(columns)."""
        cdef Py_ssize_t stride = self.bundles.stride
        cdef Py_ssize_t sum
        cdef int64_t *rows
        if stride == self.stride:
            return 0
        rows = <int64_t *>PyMem_Calloc(N_ROWS * stride, sizeof(int64_t))
        if rows == NULL:
            raise MemoryError
        for sum in range(N_SUMS if self.stride else 0):
            memcpy(rows + sum * stride, self.rows + sum * self.stride,
                   self.stride * sizeof(int64_t))
        PyMem_Free(self.rows)
        self.rows = rows
        self.stride = stride
        return self.store_quota(self.quota)

    cdef int store_quota(self, object quota) except -1:
        """Take a quota over into rows; its names have columns. O(columns)."""
        cdef Py_ssize_t column
        self.quota = quota
        self.guarantee = self.limit = NULL
        if quota is NO_QUOTA:
            return 0
        self.guarantee = self.rows + GUARANTEE * self.stride
        self.limit = self.rows + LIMIT * self.stride
        for column in range(self.stride):
            self.guarantee[column] = 0
            self.limit[column] = INT64_MAX
        for name, milli in quota.guarantee.items():
            self.guarantee[self.bundles.column(name)] = milli
        for name, milli in quota.limit.items():
            self.limit[self.bundles.column(name)] = milli
        return 0

    cdef bint falls_short(self) noexcept:
        """Tell whether an amount of its own guarantee is not consumed. O(columns)."""
        cdef const int64_t *consumed = self.rows + CONSUMED * self.stride
        cdef Py_ssize_t column
        if self.guarantee != NULL:
            for column in range(self.bundles.n_columns):
                if consumed[column] < self.guarantee[column]:
                    return True
        return False

    cdef bint on_unmet_path(self) noexcept:
        """Tell whether it has, or lies below a role that has, a guarantee not met. O(depth)."""
        cdef RoleNode node = self
        while node is not None:
            if node.is_unmet:
                return True
            node = node.parent
        return False

    cdef RoleNode copy_for(self, RoleNode parent, Bundles bundles):
        """Return a copy without subscriptions and children, for a fork. O(its sorter)."""
        cdef RoleNode twin = RoleNode(self.path, parent, self.sorter.copy(bundles.totals), bundles)
        memcpy(twin.rows, self.rows, N_SUMS * self.stride * sizeof(int64_t))
        twin.n_active = self.n_active
        twin.weight = self.weight
        twin.n_reserving, twin.n_expected = self.n_reserving, self.n_expected
        twin.exists, twin.n_existing = self.exists, self.n_existing
        twin.is_unmet = self.is_unmet
        twin.in_needy = self.in_needy
        twin.copies = None if self.copies is None else dict(self.copies)
        twin.store_quota(self.quota)
        if parent is not None:
            parent.children[self.path] = twin
        return twin

    cdef tuple change(self):
        return "role", self.path

    def __repr__(self):
        return f"<role node {self.path!r}>"


@cython.final
@cython.auto_pickle(False)
cdef class RoleTree:
    """All roles, and the sorter that orders those with frameworks.

    Parameters
    ----------
    bundles : Bundles
        Tells which column a resource name has; its totals are what shares are measured against,
        shared by all sorters, so that an agent costs the same however many roles there are.
    role_sorter, framework_sorter : callable
        Make, on these totals, the hierarchical sorter whose clients are role paths, and the flat
        sorter of one role's frameworks.
    journal : Journal
        Told of each role whose view changes.
    """

    def __cinit__(
        self, Bundles bundles, object role_sorter, object framework_sorter, Journal journal
    ):
        self.bundles = bundles
        self.journal = journal
        self.totals = bundles.totals
        self.sorter = role_sorter(self.totals)
        self.framework_sorter = framework_sorter
        self.nodes = {}
        self.roles = {}
        self.guaranteed = Tally()
        self.fit_columns()

    def __dealloc__(self):
        PyMem_Free(self.required_row)

    def get(self, path):
        """Return the node of a role that exists (R1), else None. O(1)."""
        return self.roles.get(path)

    def ensure(self, str path):
        """Return the node of `path`, making it and absent ancestors. O(depth)."""
        cdef RoleNode parent = None
        cdef RoleNode node = self.nodes.get(path)
        if node is None:
            parent_path = parent_of(path)
            if parent_path is not None:
                parent = self.ensure(parent_path)
            try:
                node = RoleNode(path, parent, self.framework_sorter(self.totals), self.bundles)
            except MemoryError:
                if parent is not None:
                    self.settle(parent)
                raise
            self.nodes[path] = node
            if parent is not None:
                parent.children[path] = node
        return node

    cdef int tell(self, RoleNode node) except -1:
        """Tell that what a node's view shows has changed, if it is a role. O(1)."""
        return tell(self.journal, node) if node.exists else 0

    cdef int settle(self, RoleNode node) except -1:
        """Restore R1 at a node and above it. O(depth)."""
        cdef bint exists, is_needed
        while node is not None:
            exists = node.n_existing != 0 or node.is_role()
            is_needed = exists or node.n_expected != 0 or len(node.children) != 0
            if is_needed and exists == node.exists:
                return 0
            if exists != node.exists:
                node.exists = exists
                if exists:
                    self.roles[node.path] = node
                    tell(self.journal, node)
                else:
                    del self.roles[node.path]
                    self.journal.tell_gone(node)
                if node.parent is not None:
                    node.parent.n_existing += 1 if exists else -1
            if not is_needed:
                del self.nodes[node.path]
                if node.parent is not None:
                    del node.parent.children[node.path]
            node = node.parent
        return 0

    @property
    def required(self):
        """Σ needs of the top-level roles (R4): a `Tally`. O(names)."""
        return self.bundles.tally(self.required_row, self.stride)

    def share(self, path):
        """Return the weighted dominant share of a subtree; 0.0 where nobody holds anything."""
        try:
            return self.sorter.share(path)
        except UnknownClient:
            return 0.0

    cdef RoleTree copy_for(self, Bundles bundles, Journal journal):
        """Return a copy without subscriptions, for a fork. O(roles × columns + sorters)."""
        cdef RoleTree twin = RoleTree(
            bundles, self.sorter.copy, self.framework_sorter, journal)
        cdef RoleNode node, parent
        memcpy(twin.required_row, self.required_row, self.stride * sizeof(int64_t))
        # A parent comes to be before its children, and so stands before them.
        for path, node in self.nodes.items():
            parent = None if node.parent is None else twin.nodes[node.parent.path]
            twin.nodes[path] = node.copy_for(parent, bundles)
        twin.roles = {path: twin.nodes[path] for path in self.roles}
        twin.needy = None if self.needy is None else self.needy.copy(bundles.totals)
        twin.n_quotas = self.n_quotas
        twin.n_guarantees = self.n_guarantees
        twin.guaranteed = Tally(self.guaranteed)
        twin.n_met, twin.n_settled = self.n_met, self.n_settled
        return twin

    # Columns.

    cdef int fit_columns(self) except -1:
        """Make all rows as long as those of the bundles. O(roles × columns) if they are not."""
        cdef int64_t *row
        cdef RoleNode node
        if self.stride == self.bundles.stride:
            return 0
        # All or, as long as one is not, none: whoever fails here is asked again.
        for node in self.nodes.values():
            node.fit_columns()
        row = <int64_t *>PyMem_Calloc(self.bundles.stride, sizeof(int64_t))
        if row == NULL:
            raise MemoryError
        if self.stride:
            memcpy(row, self.required_row, self.stride * sizeof(int64_t))
        PyMem_Free(self.required_row)
        self.required_row = row
        self.stride = self.bundles.stride
        return 0

    # Subscriptions.

    def attach(self, RoleNode node, str framework, object subscription):
        """Make a subscription a client of its role's sorter, inactive at first. O(depth)."""
        cdef int32_t leaf
        node.sorter.add(framework)
        if not node.subscriptions:
            try:
                self.add_client(node.path)
            except MemoryError:
                node.sorter.remove(framework)
                raise
        leaf = node.sorter.leaf_of(framework)
        self.adopt(node, framework, subscription, leaf)
        self.settle(node)
        tell(self.journal, node)
        return leaf

    cdef int add_client(self, str path) except -1:
        """Make a role a client of both its sorters, or of neither. O(depth)."""
        self.sorter.add(path)
        if self.needy is not None:
            try:
                self.needy.add(path)
            except MemoryError:
                self.sorter.remove(path)
                raise
        return 0

    cdef int adopt(
        self, RoleNode node, str framework, object subscription, int32_t leaf
    ) except -1:
        """Have a subscription whose clients the sorters, being copies, have already. O(1)."""
        node.subscriptions[framework] = subscription
        if leaf >= len(node.at_leaf):
            node.at_leaf.extend([None] * (leaf + 1 - len(node.at_leaf)))
        node.at_leaf[leaf] = subscription
        return 0

    def detach(self, RoleNode node, str framework, int32_t leaf):
        """Undo `attach` for an inactive subscription that holds nothing. O(depth)."""
        tell(self.journal, node)
        del node.subscriptions[framework]
        node.sorter.remove_leaf(leaf)
        node.at_leaf[leaf] = None
        if not node.subscriptions:
            self.sorter.remove_leaf(self.leaf_of(node))
            if self.needy is not None:
                self.needy.remove_leaf(self.needy_leaf_of(node))
        self.settle(node)

    def activate(self, RoleNode node, str framework):
        """Let a subscription take part in cycles. O(log siblings)."""
        node.sorter.activate(framework)
        node.n_active += 1
        if node.n_active == 1:
            self.sorter.activate(node.path)
            self.enter_needy(node)

    def deactivate(self, RoleNode node, str framework):
        """Keep a subscription out of cycles; what it holds still counts. O(log siblings)."""
        node.sorter.deactivate(framework)
        node.n_active -= 1
        if node.n_active == 0:
            self.sorter.deactivate(node.path)
            self.enter_needy(node)

    # Policy.

    def set_weight(self, str path, double weight):
        """Weigh the subtree of `path`, now and for roles that come later. O(log siblings)."""
        cdef RoleNode node = self.nodes.get(path)
        if weight == (_DEFAULT_WEIGHT if node is None else node.weight):
            return
        node = self.ensure(path)
        tell(self.journal, node)
        node.weight = weight
        self.sorter.update_weight(path, weight)
        if self.needy is not None:
            self.needy.update_weight(path, weight)
        self.settle(node)

    def set_times_allocated(self, numbers):
        """Set the number of times allocated of roles, as `Sorter.set_times_allocated` does."""
        self.sorter.set_times_allocated(numbers)
        if self.needy is not None:
            self.needy.set_times_allocated(numbers)

    cdef int pass_up(self, RoleNode node, str name, object change) except -1:
        """Adjust what the ancestors' children are guaranteed, up to one that has its own word."""
        cdef RoleNode parent = node.parent
        cdef Py_ssize_t column = self.bundles.column(name)
        while parent is not None:
            parent.rows[CHILDREN_GUARANTEE * parent.stride + column] += <int64_t>change
            if name in parent.quota.guarantee:
                return 0
            parent = parent.parent
        self.guaranteed.add({name: change})
        return 0

    def set_quota(self, str path, object quota):
        """Replace the quota of `path`; `NO_QUOTA` removes it. O(depth × names)."""
        cdef RoleNode node = self.nodes.get(path)
        cdef RoleNode ancestor
        cdef Ordering needy
        cdef int64_t n_guarantees = self.n_guarantees
        before = NO_QUOTA if node is None else node.quota
        if quota == before:
            return
        node = self.ensure(path)
        tell(self.journal, node)
        names = before.guarantee.keys() | quota.guarantee.keys()
        guaranteed = {name: node.guaranteed(name) for name in names}
        n_guarantees += bool(quota.guarantee) - bool(before.guarantee)
        try:
            for name in (*names, *quota.limit):
                self.bundles.column(name)
            self.fit_columns()
            node.fit_columns()
            needy = self.needy_for(n_guarantees)
        except MemoryError:
            self.settle(node)
            raise
        node.store_quota(quota)
        self.n_quotas += (quota is not NO_QUOTA) - (before is not NO_QUOTA)
        self.n_guarantees = n_guarantees
        for name in names:
            self.pass_up(node, name, node.guaranteed(name) - guaranteed[name])
        ancestor = node
        while ancestor is not None:
            for name in names | before.limit.keys() | quota.limit.keys():
                self.refresh_need(ancestor, self.bundles.column(name))
            ancestor = ancestor.parent
        self.adopt_needy(needy)
        self.refresh_unmet(node)
        self.settle(node)

    cdef void note_uneven(self) noexcept:
        """Note that consumption grew by more at a role than above it, as of a shared entry (S4)."""
        self.n_met += 1
        self.n_settled += 1

    # Sums (R2, R3, R4, R6).

    def reserve(self, str path, object amounts, int64_t sign):
        """Count what an agent has reserved to `path`, or with sign −1 no longer. O(depth)."""
        cdef RoleNode node = self.ensure(path)
        cdef RoleNode role
        cdef Py_ssize_t column
        cdef int64_t milli
        self.fit_columns()
        node.n_reserving += sign
        for name, milli in amounts.items():
            column = self.bundles.column(name)
            role = node
            while role is not None:
                self.tell(role)
                role.rows[RESERVED * role.stride + column] += sign * milli
                role.rows[CONSUMED * role.stride + column] += sign * milli
                if self.n_quotas:
                    self.refresh_need(role, column)
                role = role.parent
        self.refresh_path(node)
        self.settle(node)

    cdef int expect(self, RoleNode node, int64_t change) except -1:
        """Count use by a framework not added yet as a reason to be there (R1). O(depth)."""
        node.n_expected += change
        self.settle(node)
        return 0

    cdef int hold(self, RoleNode node, const int64_t *whole, int sum, int64_t sign) except -1:
        """Count what a role was given in one of the sums, or with sign −1 no longer has.

        O(depth × columns).
        """
        cdef Py_ssize_t column
        cdef int64_t *sums
        while node is not None:
            self.tell(node)
            sums = node.rows + sum * node.stride
            for column in range(self.bundles.n_columns):
                sums[column] += sign * whole[column]
            node = node.parent
        return 0

    cdef int charge(self, RoleNode node, const int64_t *charged, int64_t sign) except -1:
        """Count what a role consumes, or with sign −1 no longer. O(depth × columns)."""
        cdef Py_ssize_t column
        cdef RoleNode role = node
        cdef int64_t *consumed
        while role is not None:
            self.tell(role)
            consumed = role.rows + CONSUMED * role.stride
            for column in range(self.bundles.n_columns):
                if charged[column]:
                    consumed[column] += sign * charged[column]
                    if self.n_quotas:
                        self.refresh_need(role, column)
            role = role.parent
        if self.n_guarantees:
            self.refresh_path(node)
        return 0

    cdef int keep(self, RoleNode node, const int64_t *whole) except -1:
        """Count as allocated what was counted as offered. O(depth × columns)."""
        cdef Py_ssize_t column
        cdef RoleNode role = node
        while role is not None:
            self.tell(role)
            for column in range(self.bundles.n_columns):
                role.rows[OFFERED * role.stride + column] -= whole[column]
                role.rows[ALLOCATED * role.stride + column] += whole[column]
            role = role.parent
        return 0

    cdef int hold_shared(
        self, RoleNode node, str agent, object entry, Py_ssize_t column, int sum, int64_t sign
    ) except -1:
        """Count copies of a shared entry in one of the sums, or with sign −1 no longer (R2)."""
        cdef RoleNode role = node
        cdef int64_t milli = entry.value
        key = (sum, agent, entry.identity)
        while role is not None:
            self.tell(role)
            if role.copies is None:
                role.copies = {}
            role.rows[sum * role.stride + column] += milli * count_copies(
                role.copies, key, sign * entry.copies)
            if sum == CONSUMED and self.n_quotas:
                self.refresh_need(role, column)
            role = role.parent
        if self.n_guarantees:
            self.refresh_path(node)
        return 0

    cdef int account(self, RoleNode node, const int64_t *change, int64_t times) except -1:
        """Add unshared amounts to a role's leaf in the sorters. O(depth × columns)."""
        self.sorter.add_row(self.leaf_of(node), change, self.bundles.n_columns, times)
        if self.needy is not None:
            self.needy.add_row(
                self.needy_leaf_of(node), change, self.bundles.n_columns, times)
        return 0

    cdef int account_by_value(
        self, RoleNode node, str agent, object lost, object gained, int64_t times
    ) except -1:
        """Tell the sorters by value what no row tells them."""
        self.sorter.change_held(self.leaf_of(node), agent, lost, gained, times)
        if self.needy is not None:
            self.needy.change_held(self.needy_leaf_of(node), agent, lost, gained, times)
        return 0

    cdef int32_t leaf_of(self, RoleNode node) except -1:
        """Return a role's leaf in `sorter`. O(1)."""
        if node.leaf_shape != self.sorter.shape:
            node.leaf = self.sorter.leaf_of(node.path)
            node.leaf_shape = self.sorter.shape
        return node.leaf

    cdef int32_t needy_leaf_of(self, RoleNode node) except -1:
        """Return a role's leaf in `needy`. O(1)."""
        if node.needy_shape != self.needy.shape:
            node.needy_leaf = self.needy.leaf_of(node.path)
            node.needy_shape = self.needy.shape
        return node.needy_leaf

    cdef int refresh_need(self, RoleNode node, Py_ssize_t column) except -1:
        """Restore R4 for one name at a node whose children are right already. O(1)."""
        cdef int64_t need = need_of(
            node, column, node.rows[CHILDREN_NEED * node.stride + column],
            node.rows[CONSUMED * node.stride + column])
        cdef int64_t change = need - node.rows[NEED * node.stride + column]
        cdef int64_t *above
        if change:
            node.rows[NEED * node.stride + column] = need
            if need == 0:
                self.n_settled += 1
            if node.parent is not None:
                above = node.parent.rows + CHILDREN_NEED * node.parent.stride
            else:
                above = self.required_row
                if change + above[column] == 0:
                    self.n_met += 1
            above[column] += change
        return 0

    cdef int refresh_path(self, RoleNode node) except -1:
        """Restore R6 after the consumption of a node and its ancestors changed. O(depth)."""
        while node is not None:
            if node.guarantee != NULL:
                self.refresh_unmet(node)
            node = node.parent
        return 0

    cdef int refresh_unmet(self, RoleNode node) except -1:
        """Restore R6 after a node's consumption or guarantee changed. O(1), else O(subtree)."""
        cdef bint unmet = node.falls_short()
        if unmet != node.is_unmet:
            node.is_unmet = unmet
            self.enter_needy_below(node)
        return 0

    cdef int enter_needy_below(self, RoleNode node) except -1:
        """Restore R6 for a whole subtree. O(subtree)."""
        cdef RoleNode child
        self.enter_needy(node)
        for child in node.children.values():
            self.enter_needy_below(child)
        return 0

    cdef int enter_needy(self, RoleNode node) except -1:
        """Make a role active in `needy` if it is to be, inactive if not. O(depth + log)."""
        cdef bint wanted
        if self.needy is None or not node.subscriptions:
            node.in_needy = False
            return 0
        wanted = node.n_active > 0 and node.on_unmet_path()
        if wanted != node.in_needy:
            if self.leaving is not None and not wanted:
                # The order that is being walked stays as it was when the turn began.
                self.leaving.append(node)
                return 0
            node.in_needy = wanted
            self.needy.activate_leaf(self.needy_leaf_of(node), wanted)
        return 0

    cdef int leave_needy(self) except -1:
        """Carry out what was put off while an agent had its turn. O(roles that left)."""
        cdef list leaving = self.leaving
        self.leaving = None
        for node in leaving:
            self.enter_needy(node)
        return 0

    cdef Ordering needy_for(self, int64_t n_guarantees):
        """Return `needy` as it is with so many guarantees (R6). O(1) unless it comes."""
        if not n_guarantees:
            return None
        return self.sorter.copy_for_some(self.totals) if self.needy is None else self.needy

    cdef int adopt_needy(self, Ordering needy) except -1:
        """Have `needy` exactly while it is needed (R6). O(1) unless it comes or goes."""
        cdef RoleNode node
        if needy is self.needy:
            return 0
        self.needy = needy
        for node in self.nodes.values():
            node.needy_shape = -1  # what was looked up belongs to another sorter
        for node in self.nodes.values():
            # As in the sorter that it is a copy of.
            node.in_needy = self.needy is not None and node.n_active > 0
        for node in self.nodes.values():
            self.enter_needy(node)
        return 0

    # What quotas allow, as rows.

    cdef bint remaining(self, RoleNode node, int64_t *row) noexcept:
        """Write what every limit on the path still allows, INT64_MAX where nothing is limited.

        An amount below zero means that a limit was lowered below consumption. Returns whether
        anything is limited. O(depth × columns).
        """
        cdef Py_ssize_t column
        cdef int64_t left
        cdef bint is_limited = False
        for column in range(self.bundles.n_columns):
            row[column] = INT64_MAX
        while node is not None:
            if node.limit != NULL:
                is_limited = True
                for column in range(self.bundles.n_columns):
                    if node.limit[column] != INT64_MAX:
                        left = node.limit[column] - node.rows[CONSUMED * node.stride + column]
                        if left < row[column]:
                            row[column] = left
            node = node.parent
        return is_limited

    cdef void beside_needs(self, RoleNode node, int64_t *row, int64_t *scratch) noexcept:
        """Write what every limit on the path leaves beside needs; otherwise as `remaining`.

        A limit leaves what is not consumed, less the needs of the subtrees below it that branch off
        the path: there they find it when they come. O(depth × columns); `scratch` is a row too.
        """
        cdef Py_ssize_t n_columns = self.bundles.n_columns
        cdef Py_ssize_t column
        cdef RoleNode below = None
        cdef int64_t left
        if self.n_guarantees == 0:
            self.remaining(node, row)
            return
        memset(scratch, 0, n_columns * sizeof(int64_t))
        for column in range(n_columns):
            row[column] = INT64_MAX
        while node is not None:
            add_branching(node, below, scratch, n_columns)
            if node.limit != NULL:
                for column in range(n_columns):
                    if node.limit[column] != INT64_MAX:
                        # In this order nothing overflows (R7).
                        left = node.limit[column] - scratch[column]
                        left -= node.rows[CONSUMED * node.stride + column]
                        if left < row[column]:
                            row[column] = left
            below = node
            node = node.parent

    cdef void serves(self, RoleNode node, int64_t *row, int64_t *scratch) noexcept:
        """Write what given to `node` would serve a guarantee on its path.

        Per name the largest on the path, where a guarantee serves its unmet amount less the needs
        of the subtrees below it that branch off the path: those are served elsewhere.
        O(depth × columns); `scratch` is a row too.
        """
        cdef Py_ssize_t n_columns = self.bundles.n_columns
        cdef Py_ssize_t column
        cdef RoleNode below = None
        cdef int64_t unmet
        memset(row, 0, n_columns * sizeof(int64_t))
        memset(scratch, 0, n_columns * sizeof(int64_t))
        while node is not None:
            add_branching(node, below, scratch, n_columns)
            if node.guarantee != NULL:
                for column in range(n_columns):
                    if node.guarantee[column]:
                        # In this order nothing overflows (R7).
                        unmet = node.guarantee[column] - scratch[column]
                        unmet -= node.rows[CONSUMED * node.stride + column]
                        if unmet > row[column]:
                            row[column] = unmet
            below = node
            node = node.parent

    cdef void required_after(
        self, RoleNode node, const int64_t *served, int64_t *row
    ) noexcept:
        """Write what `required` would be had `node` consumed `served` more. O(depth × columns)."""
        cdef Py_ssize_t column
        cdef RoleNode role
        cdef int64_t change
        for column in range(self.bundles.n_columns):
            row[column] = self.required_row[column]
            if not served[column]:
                continue
            change = 0
            role = node
            while role is not None:
                change = need_of(
                    role, column, role.rows[CHILDREN_NEED * role.stride + column] + change,
                    role.rows[CONSUMED * role.stride + column] + served[column]
                ) - role.rows[NEED * role.stride + column]
                role = role.parent
            row[column] += change


cdef inline int64_t need_of(
    RoleNode node, Py_ssize_t column, int64_t children_need, int64_t consumed
) noexcept:
    """Return the need of one name, its children's together and its consumption being these (R4)."""
    cdef int64_t need = children_need
    cdef int64_t left
    if node.guarantee != NULL:
        need = max(need, node.guarantee[column] - consumed)
        if node.limit[column] != INT64_MAX:
            left = node.limit[column] - consumed
            need = min(need, max(left, 0))
    return need


cdef inline void add_branching(
    RoleNode node, RoleNode below, int64_t *row, Py_ssize_t n_columns
) noexcept:
    """Add the needs of the subtrees that branch off a path at a node; `below` is next on it."""
    cdef const int64_t *all = node.rows + CHILDREN_NEED * node.stride
    cdef Py_ssize_t column
    for column in range(n_columns):
        row[column] += all[column]
    if below is not None:
        for column in range(n_columns):
            row[column] -= below.rows[NEED * below.stride + column]


cdef bint is_closed(RoleNode node, uint64_t names) noexcept:
    """Tell whether limits on the path leave no room beside needs for any of these names.

    `names` are bits as in `Bundle.names`. O(depth × names).
    """
    cdef int64_t needs[63]
    cdef Py_ssize_t n_columns = min(63, node.bundles.n_columns)
    cdef Py_ssize_t column
    cdef RoleNode below = None
    cdef RoleNode role = node
    cdef bint is_limited = False
    while role is not None:
        is_limited = is_limited or role.limit != NULL
        role = role.parent
    if not is_limited:
        return names == 0
    memset(needs, 0, n_columns * sizeof(int64_t))
    while node is not None and names:
        add_branching(node, below, needs, n_columns)
        if node.limit != NULL:
            for column in range(n_columns):
                if node.limit[column] != INT64_MAX and (
                        node.rows[CONSUMED * node.stride + column]
                        >= node.limit[column] - needs[column]):
                    names &= ~(<uint64_t>1 << column)
        below = node
        node = node.parent
    return names == 0


cdef int count_copies(dict copies, tuple key, int64_t change) except -2:
    """Adjust a number of copies; return 1 if the first came, −1 if the last went, else 0."""
    before = copies.get(key, 0)
    after = before + change
    if after:
        copies[key] = after
    else:
        del copies[key]
    return bool(after) - bool(before)
