"""The engine's records as the compiled cycle sees them. What they mean stands in `_state.pyx`."""

from libc.stdint cimport int32_t, int64_t, uint64_t

from allocator.engine._bundles cimport Bundles, Several
from allocator.engine._filters cimport Filters
from allocator.engine._intmap cimport IntMap
from allocator.engine._roles cimport RoleNode, RoleTree

cdef enum:
    # What a framework or an agent can do: bits of `Subscription.can`, the last one of an agent.
    GPU_RESOURCES = 1
    REGION_AWARE = 2
    MULTI_ROLE = 4
    HIERARCHICAL_ROLE = 8


cdef struct AgentBundles:
    int32_t total        # all that it has
    int32_t available    # what is neither offered nor allocated
    int32_t offered      # what is in open offers
    int32_t allocated    # what frameworks use, also ones not yet added


cdef struct Holding:
    int32_t agent        # index of the agent; next free holding in a free one
    int32_t leaf         # index of the subscription
    int32_t offered      # bundle in open offers
    int32_t allocated    # bundle in use
    int32_t first_offer  # index of the oldest open offer, NONE if there is none
    int32_t last_offer   # index of the newest
    int32_t made         # what the cycle that is running made here: place among its offers
    int32_t on_agent[2]  # holdings before and after it on the agent, or NONE
    int32_t on_leaf[2]   # holdings before and after it of the subscription, or NONE


cdef struct OpenOffer:
    int64_t number       # N of its id "ON"; offers are numbered as they are made
    int32_t holding      # index of the holding that it is part of; next free offer in a free one
    int32_t bundle       # what is still in it
    int32_t older        # index of the next older offer of the holding, or NONE
    int32_t newer        # index of the next newer one, or NONE


cdef class Agent:
    cdef readonly str id
    cdef readonly str hostname
    cdef readonly object region      # str or None
    cdef readonly object zone        # str or None
    cdef public object attributes    # Mapping of str to object
    cdef object can                  # frozenset of str: its capabilities
    cdef Bundles bundles             # what the numbers below stand for
    cdef readonly dict pending       # framework not yet added -> role -> Resources; None if none
    cdef uint64_t id_hash            # sets its place in each cycle's order
    cdef int64_t looked              # `State.epoch` when all were tried on it last
    cdef int64_t cycle               # number of the cycle that looked at it last
    cdef readonly int32_t index      # its place in `State.agents_at`
    cdef AgentBundles bundle         # what it has and what becomes of it (A1)
    cdef int32_t first_holding       # index of a holding on it, or NONE
    cdef readonly bint active
    cdef bint admitted               # active, and admitted by the whitelist
    cdef bint is_dirty               # whether the next cycle looks at it whatever else happens (S3)
    cdef bint has_gpus               # whether the total has GPUs
    cdef bint has_shared             # whether the total has shared entries
    cdef bint multi_role             # whether it can be offered to MULTI_ROLE frameworks
    cdef bint hierarchical           # whether it can be offered in roles below others
    cdef readonly bint overcommitted  # whether the total shrank below what is in use (A1)


cdef class Subscription:
    cdef readonly object framework   # Framework
    cdef readonly RoleNode node
    cdef readonly bint subscribed
    cdef public bint suppressed
    cdef readonly bint active        # as the sorters have it
    cdef bint is_wanted              # whether the cycle that is running tries it on every agent
    cdef bint is_nested              # whether its role lies below another
    cdef int can                     # capability bits
    cdef int32_t viewer              # what it may see, by number of `Bundles.viewer`
    cdef int32_t leaf                # its leaf in the role's compiled sorter, NONE in another
    cdef readonly int32_t index      # its place in `State.leaves_at`
    cdef int32_t first_holding       # index of a holding of it, or NONE
    cdef int64_t stamp               # last agent's turn in which it was wanted
    cdef object constraints          # RoleConstraints or None
    cdef object own_minimum          # tuple of Quantities, None for the engine's


cdef class State:
    cdef readonly Bundles bundles
    cdef readonly object totals      # Totals of all sorters
    cdef readonly RoleTree tree
    cdef readonly Filters filters
    cdef readonly dict agents        # id -> Agent
    cdef readonly dict frameworks    # id -> Framework
    cdef readonly dict expected      # framework not yet added -> agent id -> Agent it uses
    cdef readonly object whitelist   # frozenset of host names, None admits all
    cdef public object listener      # told the id of an agent with something to offer, None for all
    cdef list agents_at              # index -> Agent or None
    cdef list free_agents            # int: free indices
    cdef list leaves_at              # index -> Subscription or None
    cdef list free_leaves            # int: free indices

    # Holdings and open offers (S1).
    cdef Holding *holdings           # (holding_capacity,)
    cdef int32_t holding_capacity
    cdef int32_t free_holding        # index of the first free one, or NONE
    cdef IntMap holding_of           # agent << 32 | leaf -> holding
    cdef OpenOffer *offers           # (offer_capacity,)
    cdef int32_t offer_capacity
    cdef int32_t free_offer          # index of the first free one, or NONE
    cdef IntMap offer_of             # number -> open offer
    cdef public int64_t n_offers_made

    # Sums (S2), rows as `Bundles` has them.
    cdef Py_ssize_t stride
    cdef int64_t *total_row          # (stride,) all agents' totals
    cdef int64_t *in_use_row         # (stride,) all that is held
    cdef int64_t *headroom_row       # (stride,)
    cdef int64_t *whole_row          # (stride,) scratch
    cdef int64_t *charged_row        # (stride,) scratch
    cdef int64_t *change_row         # (stride,) scratch
    cdef dict copies                 # (sum, agent id, identity) -> copies of a shared entry held

    # What may be offered now (S3).
    cdef int64_t epoch               # grows when all agents are to be looked at
    cdef int64_t swept               # the epoch up to which a full cycle did
    cdef int32_t *dirty              # (n_dirty,) indices of agents; some may be dirty no more
    cdef Py_ssize_t n_dirty
    cdef Py_ssize_t dirty_capacity
    cdef readonly dict fresh         # Subscription -> None
    cdef uint64_t *reopened          # (n_reopened,) agent << 32 | leaf
    cdef Py_ssize_t n_reopened
    cdef Py_ssize_t reopened_capacity
    cdef public bint changed         # whether anything happened since the last full cycle began
    cdef bint in_cycle               # whether a cycle is what changes the state

    cdef int fit_columns(self) except -1
    cdef int32_t bundle_of(self, object resources) except -1
    cdef int32_t holding_at(self, Agent agent, Subscription leaf) noexcept
    cdef int32_t hold(
        self, Subscription leaf, Agent agent, int32_t bundle, bint offered, bint taken
    ) except -1
    cdef int free(
        self, Subscription leaf, Agent agent, int32_t bundle, bint offered
    ) except -1
    cdef int free_all(self, int32_t holding) except -1
    cdef int keep(self, int32_t holding, int32_t bundle) except -1
    cdef int count(
        self, Subscription leaf, Agent agent, int32_t bundle, bint offered, int64_t sign
    ) except -1
    cdef int count_shared(
        self, Subscription leaf, Agent agent, int32_t bundle, bint offered, int64_t sign
    ) except -1
    cdef int account(
        self, Subscription leaf, Agent agent, int32_t lost, int32_t gained, int64_t times
    ) except -1
    cdef const int64_t *change_of(self, int32_t lost, int32_t gained) except NULL
    cdef bint is_shared(self, int32_t bundle) noexcept
    cdef int account_by_value(
        self, Subscription leaf, Agent agent, object lost, object gained, int64_t times
    ) except -1
    cdef int count_total(self, int32_t bundle, int64_t sign) except -1
    cdef int check_fit(self, int32_t bundle, const int64_t *sums) except -1
    cdef int publish_totals(self) except -1
    cdef int note_total(self, Agent agent) except -1
    cdef int replace_total(self, Agent agent, int32_t bundle) except -1
    cdef int refresh(self, Agent agent) except -1
    cdef int take(self, Agent agent, int32_t bundle, bint offered) except -1
    cdef int add_in_use(self, Agent agent, int32_t bundle, bint offered) except -1
    cdef int take_from_use(self, Agent agent, int32_t bundle, bint offered) except -1
    cdef int give_back(self, Agent agent, int32_t bundle, bint offered) except -1
    cdef int32_t new_holding(self, Agent agent, Subscription leaf) except -1
    cdef int drop_holding(self, int32_t holding) except -1
    cdef int32_t open_offer(self, int32_t holding, int32_t bundle, int64_t number) except -1
    cdef int close_offer(self, int32_t offer) except -1
    cdef int32_t offer_at(self, int64_t number) except -1
    cdef object held(self, int32_t holding)
    cdef int check_open(self, const int64_t[:] numbers) except -1
    cdef int check_in_offers(self, const int64_t[:] numbers, Several kept) except -1
    cdef int shorten_offers(self, Agent agent, Subscription leaf, object resources) except -1
    cdef int check_held(
        self, Subscription leaf, Agent agent, int32_t bundle, bint offered
    ) except -1
    cdef int settle_offer(self, int32_t offer, int32_t kept, double end) except -1
    cdef int give_back_and_refuse(
        self, Subscription leaf, Agent agent, int32_t bundle, bint offered, double end
    ) except -1
    cdef int32_t exchanged(self, int32_t before, object resources) except -1
    cdef dict unexpect(self, str framework, Agent agent)
    cdef int touch_quotas(self) except -1
    cdef int mark_dirty(self, Agent agent) except -1
    cdef int drop_stale_marks(self) except -1
    cdef int mark_reopened(self, uint64_t pair) except -1

    cdef Agent new_agent(
        self, str id, object hostname, object attributes, object capabilities, object region,
        object zone, int32_t bundle
    )
    cdef int use_bundle(self, str id, str role, Agent agent, int32_t bundle) except -1
    cdef int fill(
        self, Several found, int32_t common, const int64_t[:, :] amounts, list names
    ) except -1
    cdef int check_used(self, list ids, Several totals, Several used) except -1
    cdef int check_fit_together(
        self, Several gained, list lost, const int64_t *sums
    ) except -1

    cdef object adopt_framework(self, object framework)
    cdef int adopt_arrays(self, State original) except -1


cdef int32_t viewer_of(Bundles bundles, str role, object can) except -1
