"""Agents and subscriptions as other compiled modules see them."""

from libc.stdint cimport int32_t, int64_t, uint64_t

from allocator.engine._bundles cimport Bundles
from allocator.engine._changes cimport Record
from allocator.engine._minima cimport Minima
from allocator.engine._roles cimport RoleNode

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
    int32_t excess       # what is in use beyond the total (A3)


cdef class Agent(Record):
    cdef readonly str id
    cdef readonly str hostname
    cdef readonly object region      # str or None
    cdef readonly object zone        # str or None
    cdef readonly object attributes  # Mapping of str to object
    cdef readonly object capabilities  # frozenset of str
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
    cdef bint is_touched             # whether that is since something happened to it
    cdef bint has_gpus               # whether the total has GPUs
    cdef bint has_shared             # whether the total has shared entries
    cdef bint is_intricate           # whether unreserved scalars of the total have more than a name
    cdef bint overdrawn              # overcommitted, or with shared entries
    cdef bint multi_role             # whether it can be offered to MULTI_ROLE frameworks
    cdef bint hierarchical           # whether it can be offered in roles below others
    cdef readonly bint overcommitted  # whether the total shrank below what is in use (A1)

    cdef int set_capabilities(self, object capabilities) except -1


cdef class Framework(Record):
    cdef readonly str id
    cdef readonly bint active        # whether it takes part at all
    cdef readonly object capabilities  # frozenset of str
    cdef readonly object minimum     # tuple of Quantities, or role -> tuple, None for the engine's
    cdef readonly object constraints  # role -> RoleConstraints; a role left out admits all agents
    cdef readonly tuple roles        # that it is subscribed to now, in the order given
    cdef readonly dict subscriptions  # role -> Subscription, also of one left while it holds there

    cdef object minimum_in(self, str role)
    cdef Framework copied(self)


cdef class Subscription:
    cdef readonly Framework framework
    cdef readonly RoleNode node
    cdef readonly bint subscribed
    cdef readonly bint suppressed
    cdef readonly bint active        # as the sorters have it
    cdef bint is_wanted              # whether the cycle that is running tries it on every agent
    cdef bint is_nested              # whether its role lies below another
    cdef int can                     # capability bits
    cdef int32_t viewer              # what it may see, by number of `Bundles.viewer`
    cdef int32_t leaf                # its leaf in the role's sorter
    cdef readonly int32_t index      # its place in `State.leaves_at`
    cdef int32_t first_holding       # index of a holding of it, or NONE
    cdef int64_t stamp               # last agent's turn in which it was wanted
    cdef readonly double refusal     # seconds for which its last answer refused all of an offer:
                                     # −inf for none, NaN if it took something or gave no answer yet
    cdef object constraints          # RoleConstraints or None
    cdef Minima own_minima           # what an offer must contain, None for the engine's

    cdef int refresh(self) except -1
    cdef bint should_be_active(self) noexcept


cdef Agent copied_agent(Agent agent, Bundles bundles)
cdef int32_t viewer_of(Bundles bundles, str role, object can) except -1
