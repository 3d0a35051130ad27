"""Role nodes and their tree as other compiled modules see them. Rows are as `Bundles` has them."""

from libc.stdint cimport int32_t, int64_t, uint64_t

from allocator.engine._bundles cimport Bundles
from allocator.engine._changes cimport Journal, Record
from allocator.sorter._ordering cimport Ordering

cdef enum:
    # The sums of a role, each a row over its subtree in 1/1000 (R2).
    RESERVED            # reserved to it, in use or not
    OFFERED             # in open offers
    ALLOCATED           # in use
    CONSUMED            # what counts against its quota (R3)
    NEED                # what has to be held back for it (R4)
    CHILDREN_NEED       # Σ NEED of its children
    CHILDREN_GUARANTEE  # Σ what its children are guaranteed, by themselves or by theirs
    N_SUMS
    GUARANTEE = N_SUMS  # what its quota guarantees, 0 where nothing
    LIMIT               # what its quota allows at most, INT64_MAX where nothing is limited
    N_ROWS


cdef class RoleNode(Record):
    cdef readonly str path         # full path
    cdef readonly uint64_t id_hash  # sets the random order of its frameworks apart from others'
    cdef readonly RoleNode parent  # None for a top-level role
    cdef readonly dict children    # full path -> child
    cdef readonly dict subscriptions  # framework id -> Subscription, also ones that have left
    cdef readonly Ordering sorter  # the frameworks of this very role by what they hold in it
    cdef list at_leaf              # leaf of `sorter` -> Subscription
    cdef readonly int32_t n_active  # active subscriptions (R5)
    cdef readonly double weight
    cdef readonly object quota     # Quota; NO_QUOTA if there is none
    cdef int32_t n_reserving       # agents with anything reserved to exactly this role (R1)
    cdef readonly bint exists      # whether it is a role (R1)
    cdef int32_t n_existing        # children that are
    cdef int32_t n_expected        # uses by frameworks not yet added in exactly this role (R1)
    cdef Bundles bundles           # tells the columns
    cdef Py_ssize_t stride         # of the rows
    cdef int64_t *rows             # (N_ROWS, stride) the sums, and the quota
    cdef int64_t *guarantee        # (stride,) the row GUARANTEE; NULL without a quota
    cdef int64_t *limit            # (stride,) the row LIMIT; NULL without a quota
    cdef bint is_unmet             # whether an amount that it is guaranteed is not consumed
    cdef int32_t leaf              # its leaf in `RoleTree.sorter`,
    cdef int64_t leaf_shape        # good while this is that sorter's `shape`
    cdef int32_t needy_leaf        # its leaf in `RoleTree.needy`,
    cdef int64_t needy_shape       # good while this is that sorter's `shape`
    cdef int64_t synced            # number of the last cycle that `sorter` took over the totals for
    cdef bint in_needy             # whether it is active in `RoleTree.needy` (R6)
    cdef dict copies               # (sum, agent id, identity) -> copies of a shared entry held here

    cdef int fit_columns(self) except -1
    cdef int store_quota(self, object quota) except -1
    cdef RoleNode copy_for(self, RoleNode parent, Bundles bundles)
    cdef bint is_role(self) noexcept
    cdef bint on_unmet_path(self) noexcept
    cdef bint falls_short(self) noexcept


cdef class RoleTree:
    cdef Journal journal           # told of each role whose view changes
    cdef readonly object totals    # Totals of all sorters
    cdef readonly Bundles bundles  # tells the columns
    cdef readonly Ordering sorter  # hierarchical, of the roles with frameworks
    cdef readonly Ordering needy   # like it, with the unmet roles active only, or None (R6)
    cdef object framework_sorter   # makes the sorter of a role's frameworks on `totals`
    cdef readonly dict nodes       # path -> RoleNode, in the order in which they came to be
    cdef readonly dict roles       # path -> RoleNode: those of them that exist (R1)
    cdef int64_t *required_row     # (stride,) Σ NEED of the top-level roles (R4)
    cdef Py_ssize_t stride
    cdef readonly Py_ssize_t n_quotas      # roles with a quota
    cdef Py_ssize_t n_guarantees   # roles with a guarantee
    cdef list leaving              # RoleNode: active in `needy` until an agent's turn ends, or None
    cdef readonly object guaranteed  # Tally: what all roles together are guaranteed (R7)
    cdef readonly int64_t n_met    # grows when a name is no longer required
    cdef int64_t n_settled         # grows when a role no longer needs a name

    cdef int tell(self, RoleNode node) except -1
    cdef int settle(self, RoleNode node) except -1
    cdef int fit_columns(self) except -1
    cdef int32_t leaf_of(self, RoleNode node) except -1
    cdef int32_t needy_leaf_of(self, RoleNode node) except -1
    cdef RoleTree copy_for(self, Bundles bundles, Journal journal)
    cdef int add_client(self, str path) except -1
    cdef int adopt(
        self, RoleNode node, str framework, object subscription, int32_t leaf
    ) except -1
    cdef void note_uneven(self) noexcept
    cdef int expect(self, RoleNode node, int64_t change) except -1
    cdef int hold(self, RoleNode node, const int64_t *whole, int sum, int64_t sign) except -1
    cdef int charge(self, RoleNode node, const int64_t *charged, int64_t sign) except -1
    cdef int keep(self, RoleNode node, const int64_t *whole) except -1
    cdef int hold_shared(
        self, RoleNode node, str agent, object entry, Py_ssize_t column, int sum, int64_t sign
    ) except -1
    cdef int account(self, RoleNode node, const int64_t *change, int64_t times) except -1
    cdef int account_by_value(
        self, RoleNode node, str agent, object lost, object gained, int64_t times
    ) except -1
    cdef int pass_up(self, RoleNode node, str name, object change) except -1
    cdef int refresh_need(self, RoleNode node, Py_ssize_t column) except -1
    cdef int refresh_path(self, RoleNode node) except -1
    cdef int refresh_unmet(self, RoleNode node) except -1
    cdef int enter_needy_below(self, RoleNode node) except -1
    cdef int enter_needy(self, RoleNode node) except -1
    cdef int leave_needy(self) except -1
    cdef Ordering needy_for(self, int64_t n_guarantees)
    cdef int adopt_needy(self, Ordering needy) except -1
    cdef bint remaining(self, RoleNode node, int64_t *row) noexcept
    cdef void beside_needs(self, RoleNode node, int64_t *row, int64_t *scratch) noexcept
    cdef void serves(self, RoleNode node, int64_t *row, int64_t *scratch) noexcept
    cdef void required_after(self, RoleNode node, const int64_t *served, int64_t *row) noexcept


cdef bint is_closed(RoleNode node, uint64_t names) noexcept
cdef int count_copies(dict copies, tuple key, int64_t change) except -2
