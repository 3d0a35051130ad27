"""The engine's state as the compiled cycle sees it."""

from libc.stdint cimport int32_t, int64_t

from allocator.engine._bundles cimport Bundles, EachBundle
from allocator.engine._changes cimport Journal
from allocator.engine._filters cimport Filters
from allocator.engine._ledger cimport Ledger
from allocator.engine._marks cimport Marks
from allocator.engine._minima cimport Minima
from allocator.engine._records cimport Agent, Framework, Subscription
from allocator.engine._roles cimport RoleNode, RoleTree

cdef class State:
    cdef readonly Bundles bundles
    cdef readonly object totals      # Totals of all sorters
    cdef readonly RoleTree tree
    cdef readonly Filters filters
    cdef readonly dict agents        # id -> Agent
    cdef readonly dict frameworks    # id -> Framework
    cdef readonly dict expected      # framework not yet added -> agent id -> Agent it uses
    cdef readonly object whitelist   # frozenset of host names, None admits all
    cdef readonly Journal journal    # told of what views show otherwise
    cdef list agents_at              # index -> Agent or None
    cdef list free_agents            # int: free indices
    cdef list leaves_at              # index -> Subscription or None
    cdef list free_leaves            # int: free indices

    cdef Minima default_minima       # those of the last cycle's rules, None before the first
    cdef Ledger ledger               # holdings and open offers
    cdef readonly int64_t n_offers_made

    # Sums (S2), rows as `Bundles` has them.
    cdef Py_ssize_t stride
    cdef int64_t *total_row          # (stride,) all agents' totals
    cdef int64_t *in_use_row         # (stride,) all that is held
    cdef int64_t *excess_row         # (stride,) what is in use beyond totals (A3)
    cdef int64_t *headroom_row       # (stride,) what of the candidates headroom counts
    cdef Py_ssize_t n_overdrawn      # agents of which more may be offered than that (S4)
    cdef int64_t *whole_row          # (stride,) scratch
    cdef int64_t *charged_row        # (stride,) scratch
    cdef int64_t *change_row         # (stride,) scratch
    cdef dict copies                 # (sum, agent id, identity) -> copies of a shared entry held

    cdef Marks marks                 # what the next cycle has to look at (S3)

    cdef int fit_columns(self) except -1
    cdef int32_t bundle_of(self, object resources) except -1
    cdef Minima minima_of(self, tuple amounts)
    cdef int32_t hold(
        self, Subscription leaf, Agent agent, int32_t bundle, bint offered
    ) except -1
    cdef int32_t book(
        self, Subscription leaf, Agent agent, int32_t bundle, bint offered
    ) except -1
    cdef int free(
        self, Subscription leaf, Agent agent, int32_t bundle, bint offered
    ) except -1
    cdef int free_all(self, int32_t holding) except -1
    cdef int keep(self, int32_t holding, int32_t bundle) except -1
    cdef int count(
        self, RoleNode node, Agent agent, int32_t bundle, bint offered, int64_t sign
    ) except -1
    cdef int charge(
        self, RoleNode node, Agent agent, int32_t bundle, int64_t sign
    ) except -1
    cdef int account(
        self, Subscription leaf, Agent agent, int32_t lost, int32_t gained, int64_t times
    ) except -1
    cdef const int64_t *change_of(self, int32_t lost, int32_t gained) except NULL
    cdef bint is_shared(self, int32_t bundle) noexcept
    cdef int count_total(self, Agent agent, int32_t bundle, int64_t sign) except -1
    cdef int check_reach(self, list agents, EachBundle totals, EachBundle in_use) except -1
    cdef int add_whole(self, int64_t *sums, int32_t bundle, int64_t sign) except -1
    cdef int32_t excess_of(self, int32_t total, int32_t in_use) except -1
    cdef int set_excess(self, Agent agent, int32_t excess) except -1
    cdef EachBundle in_use_of(self, list agents)
    cpdef int publish_totals(self) except -1
    cdef int note_total(self, Agent agent) except -1
    cdef int note_overdrawn(self, Agent agent) except -1
    cdef bint is_candidate(self, Agent agent) except -1
    cdef int replace_total(self, Agent agent, int32_t bundle) except -1
    cdef int refresh(self, Agent agent) except -1
    cdef int take(self, Agent agent, int32_t bundle, bint offered) except -1
    cdef int add_in_use(self, Agent agent, int32_t bundle, bint offered) except -1
    cdef int take_from_use(self, Agent agent, int32_t bundle, bint offered) except -1
    cdef int give_back(self, Agent agent, int32_t bundle, bint offered) except -1
    cdef int drop_holding(self, int32_t holding) except -1
    cdef object held(self, int32_t holding)
    cdef int32_t open_offer(
        self, int32_t holding, int32_t bundle, double end, int64_t told
    ) except -1
    cdef int check_open(self, const int64_t[:] numbers) except -1
    cdef int check_in_offer(self, int32_t offer, int32_t kept) except -1
    cdef int shorten_offers(self, Agent agent, Subscription leaf, object resources) except -1
    cdef int check_held(
        self, Subscription leaf, Agent agent, int32_t bundle, bint offered
    ) except -1
    cdef int settle_offer(self, int32_t offer, int32_t kept, double life, double now) except -1
    cdef int give_back_and_refuse(
        self, Subscription leaf, Agent agent, int32_t bundle, bint offered, double end
    ) except -1
    cdef int32_t exchanged(self, int32_t before, object resources) except -1
    cdef int claim(self, str id, str role, Agent agent, int32_t bundle) except -1
    cdef int expect(self, str framework, Agent agent, str role, object resources) except -1
    cdef dict unexpect(self, str framework, Agent agent)
    cdef int check_expected(self, object user, Agent agent, int32_t bundle) except -1
    cdef int release_expected(self, object user, Agent agent, int32_t bundle) except -1
    cdef int check_used_by(self, object user, Agent agent, int32_t bundle) except -1
    cdef int disclaim(self, Agent agent, str role, object resources) except -1
    cdef int touch_quotas(self) except -1

    cdef Agent new_agent(
        self, str id, object hostname, object attributes, object capabilities, object region,
        object zone, int32_t bundle
    )
    cdef int use_bundle(self, str framework, str role, Agent agent, int32_t bundle) except -1
    cdef int fill(
        self, EachBundle found, int32_t common, const int64_t[:, :] amounts, list names
    ) except -1
    cdef int check_used(self, list ids, EachBundle totals, list owners, EachBundle used) except -1

    cdef Framework adopt_framework(self, Framework framework)
    cdef Subscription subscription(self, Framework framework, str role)
    cdef int settle(self, Subscription leaf) except -1
    cdef int drop_filters(self, Subscription leaf) except -1
    cdef int forget_filters(self, Subscription leaf) except -1
    cdef int forget_agent_filters(self, Agent agent) except -1
    cdef int set_suppressed(self, Subscription leaf, bint suppressed) except -1
    cdef int tell_role(self, int32_t leaf) except -1
    cdef int subscribe(self, Framework framework, object roles, object suppressed) except -1
    cdef int admit(self, Agent agent) except -1
    cdef int welcome(self, Framework framework) except -1
    cdef int adopt_arrays(self, State original) except -1

