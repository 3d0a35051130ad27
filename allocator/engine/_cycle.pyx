"""One allocation cycle: which resources of which agents are offered to whom (contract §6).

Python says when a cycle runs and what becomes of its offers; the walk over agents, roles and
frameworks runs here, on numbers: bundles stand for resources, rows of integers for what quotas
allow, and the orders are those that the sorters keep. The state (S3) tells whom to look at.

C1. An attempt to offer an agent to a subscription depends on what is available there, on limits
    and headroom, and on filters and minima, but not on the order; what it was refused for goes on
    to refuse it while the cycle gives away more (S4). So an agent's turn ends with nothing that
    anybody would take, which is why the next cycle need not look at it again.
C2. For the same reason, once all active roles are at their limits for some names, they are so for
    the rest of the cycle: agents that have nothing else are passed over (`hopeless`).
"""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.math cimport INFINITY
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint64_t
from libc.stdlib cimport qsort
from libc.string cimport memcpy, memset

from allocator.engine._bundles cimport NOTHING, Bundles, add_to, release, rest_of, retained
from allocator.engine._intmap cimport IntMap, clear, get, put, reserve_one
from allocator.engine._marks cimport Marks
from allocator.engine._memory cimport grown
from allocator.engine._minima cimport Minima
from allocator.engine._order cimport FAIR_SHARE, GUARANTEES, mixed, sort_by_place
from allocator.engine._records cimport (
    GPU_RESOURCES,
    HIERARCHICAL_ROLE,
    MULTI_ROLE,
    REGION_AWARE,
    Agent,
    Subscription,
)
from allocator.engine._roles cimport RoleNode, RoleTree, is_closed
from allocator.engine._state cimport State
from allocator.sorter._ordering cimport Ordering
from allocator.sorter._siblings cimport NONE

import numpy as np

from allocator.engine._order import stage_salt
from allocator.engine.fitting import fit, least, unreserved_scalars
from allocator.contract import Offer
from allocator.resources import EMPTY

#: What `Cycle.misfits` says of an agent that a framework's own constraints rule out.
CONSTRAINTS = "constraints"

#: bit of `Subscription.can` → Mesos's name, in the order in which they are checked.
cdef dict CAPABILITIES = {
    GPU_RESOURCES: "GPU_RESOURCES",
    REGION_AWARE: "REGION_AWARE",
    MULTI_ROLE: "MULTI_ROLE",
    HIERARCHICAL_ROLE: "HIERARCHICAL_ROLE",
}

cdef struct Look:
    Py_ssize_t first  # place of its first pair in `Cycle.pairs`, ALL to try everybody
    int32_t agent     # index of the agent


cdef enum:
    ALL = -1              # look at an agent for everybody's sake
    MAX_HOPELESS = 16     # how many sets of names C2 is noted for

cdef enum:
    # The scratch rows of a cycle, amounts by column that one attempt works with.
    LIMITED     # what limits leave
    BESIDE      # what they leave beside needs
    SERVING     # what serves a guarantee
    REQUIRED    # what guarantees need, of all roles in the end
    AVAILABLE   # the plain scalars that could be offered
    CHOSEN      # those of them that are
    N_SCRATCH


@cython.auto_pickle(False)
cdef class Cycle:
    """One run over the agents that are due.

    Parameters
    ----------
    state : State
        What there is; the cycle holds what it offers.
    options : Options
        What does not change from cycle to cycle.
    number : int
        The cycle's number, from 1, which the order of agents depends on.
    """

    cdef State state
    cdef Marks marks
    cdef Bundles bundles
    cdef RoleTree tree
    cdef object seed               # str: of all orders
    cdef Minima default_minima     # what an offer must contain where a framework says nothing
    cdef object region             # str or None: where the master is
    cdef bint filter_gpus          # whether GPU agents are kept for GPU frameworks
    cdef int64_t number

    # Whom to look at.
    cdef list named                # Agent: the agents of the cycle, None for all
    cdef Look *looks               # (n_looks,)
    cdef Py_ssize_t n_looks
    cdef Py_ssize_t capacity
    cdef uint64_t *pairs           # (n_pairs,) agent << 32 | leaf, sorted: what was reopened
    cdef Py_ssize_t n_pairs
    cdef list fresh                # Subscription: active ones to be tried on every agent
    cdef uint64_t *keys            # (2 n_looks + 1,) what the turns of a stage go by, in order
    cdef int32_t *order            # (2 n_looks + 1,) their places in `looks`
    cdef bint is_wide              # whether all of them are looked at for everybody's sake
    cdef int64_t n_loosened        # `loosened` when this was last taken care of

    # What was made, in the order first made.
    cdef int32_t *made_holdings    # (n_made,) holding
    cdef int32_t *made_bundles     # (n_made,) what both stages offered; one reference each
    cdef Py_ssize_t n_made
    cdef Py_ssize_t made_capacity
    cdef dict shown                # Agent -> shared entries offered in this cycle already

    # Orders that are walked.
    cdef Ordering roles            # of the roles
    cdef RoleNode role             # whose subscriptions are walked

    # Scratch.
    cdef int64_t *rows             # (N_SCRATCH, stride)
    cdef uint64_t hopeless[MAX_HOPELESS]  # sets of names that no role has room for (C2)
    cdef int n_hopeless

    def __cinit__(self, State state not None, options, int64_t number):
        self.state = state
        self.marks = state.marks
        self.bundles = state.bundles
        self.tree = state.tree
        self.seed = options.seed
        self.default_minima = state.minima_of(options.min_allocatable)
        self.filter_gpus = options.filter_gpus
        self.region = options.region
        self.number = number
        self.fresh = []
        self.shown = {}
        self.rows = <int64_t *>PyMem_Calloc(N_SCRATCH * self.bundles.stride, sizeof(int64_t))
        if self.rows == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self.looks)
        PyMem_Free(self.keys)
        PyMem_Free(self.order)
        PyMem_Free(self.pairs)
        PyMem_Free(self.made_holdings)
        PyMem_Free(self.made_bundles)
        PyMem_Free(self.rows)

    def run(self, list named=None, double end=INFINITY):
        """Make all offers that can be made on the named agents, or on all that are due.

        Parameters
        ----------
        named : list of Agent, optional
        end : float
            The instant from which on they are rescinded if they are still open; not before that of
            any cycle before.

        Returns
        -------
        OfferColumns
            O(what changed).
        """
        self.marks.begin_cycle()
        self.named = named
        cdef int64_t n_settled = self.tree.n_settled
        try:
            self.gather()
            self.sync_roles()
            if self.tree.n_guarantees and self.tree.required:
                self.walk(GUARANTEES)
            self.walk(FAIR_SHARE)
            if n_settled != self.tree.n_settled and self.state.n_overdrawn and self.tree.required:
                # What could not come along with another guarantee may do so next time (S4).
                self.marks.mark_rest()
            return self.opened(end)
        finally:
            self.marks.end_cycle()
            for leaf in self.fresh:
                (<Subscription>leaf).is_wanted = False

    # Whom to look at (S3).

    cdef int gather(self) except -1:
        """Find the agents to look at, and take back the marks that led to them."""
        cdef Subscription leaf
        cdef Agent agent
        self.fresh = self.marks.wanted()
        for leaf in self.fresh:
            leaf.is_wanted = True
        if self.named is not None:
            self.marks.spread_pairs()  # a search in them is not worth while here
            for agent in self.named:
                self.look(agent)
            return 0
        self.marks.begin_sweep()
        self.take_pairs()
        self.look_at_dirty()
        self.is_wide = self.marks.swept < self.marks.epoch
        if self.fresh or self.is_wide:
            for agent in self.state.agents.values():
                self.look(agent)
        else:
            self.look_at_pairs()
        return self.marks.end_sweep()

    cdef int take_pairs(self) except -1:
        """Take over what was reopened, by agent."""
        self.pairs = self.marks.take_pairs(&self.n_pairs)
        if self.n_pairs:
            qsort(self.pairs, self.n_pairs, sizeof(uint64_t), compare_pairs)
        return 0

    cdef int look_at_dirty(self) except -1:
        """Look at the dirty agents; those that are no candidates stay so."""
        cdef Agent agent
        cdef Py_ssize_t i
        for i in range(self.marks.n_dirty):
            agent = self.marks.dirty_agent(i)
            if agent is not None:
                self.look(agent)
        return self.marks.keep_dirty()

    cdef int look_at_pairs(self) except -1:
        """Look at the agents that something was reopened on."""
        cdef Py_ssize_t i
        for i in range(self.n_pairs):
            if i == 0 or self.pairs[i] >> 32 != self.pairs[i - 1] >> 32:
                agent = self.state.agents_at[self.pairs[i] >> 32]
                if agent is not None:
                    self.look(agent)
        return 0

    cdef int look(self, Agent agent) except -1:
        """Have a candidate's turn come, if there is anything to try on it."""
        cdef Py_ssize_t first = ALL
        if not agent.admitted or agent.cycle == self.number:
            return 0
        if self.marks.is_due(agent):
            self.marks.set_looked(agent, self.tree.n_quotas != 0)
        else:
            first = self.first_pair(agent.index)
            if first == self.n_pairs and not self.fresh:
                return 0
        agent.cycle = self.number
        return self.add_look(agent, first)

    cdef int add_look(self, Agent agent, Py_ssize_t first) except -1:
        """Note whom to look at, unless nothing is left there."""
        cdef Py_ssize_t capacity
        if agent.bundle.available == NOTHING:
            return 0
        if self.n_looks == self.capacity:
            capacity = max(64, 2 * self.capacity)
            self.looks = <Look *>grown(self.looks, capacity * sizeof(Look))
            self.capacity = capacity
        self.looks[self.n_looks].agent = agent.index
        self.looks[self.n_looks].first = first
        self.n_looks += 1
        return 0

    cdef Py_ssize_t first_pair(self, int32_t agent) noexcept:
        """Return the place of an agent's first pair, `n_pairs` if it has none. O(log pairs)."""
        cdef uint64_t least = <uint64_t>agent << 32
        cdef Py_ssize_t low = 0
        cdef Py_ssize_t high = self.n_pairs
        cdef Py_ssize_t middle
        while low < high:
            middle = (low + high) // 2
            if self.pairs[middle] < least:
                low = middle + 1
            else:
                high = middle
        if low < self.n_pairs and self.pairs[low] >> 32 == <uint64_t>agent:
            return low
        return self.n_pairs

    # Turns.

    cdef int walk(self, int stage) except -1:
        """Give each agent its turn in a stage."""
        cdef Py_ssize_t n = self.arrange(stage)
        cdef Py_ssize_t i = 0
        cdef uint64_t key
        cdef Agent agent
        self.n_loosened = self.loosened(stage)
        while i < n:
            key = self.keys[i]
            agent = self.state.agents_at[self.looks[self.order[i]].agent]
            if agent.bundle.available != NOTHING:
                if stage == GUARANTEES:
                    self.guarantees_turn(agent, key)
                else:
                    self.fair_turn(agent, key, self.looks[self.order[i]].first)
            i += 1
            if self.n_loosened != self.loosened(stage):
                self.n_loosened = self.loosened(stage)
                if self.state.n_overdrawn:
                    n = self.go_on_widely(stage, key, agent, n, &i)
        return 0

    cdef int64_t loosened(self, int stage) noexcept:
        """Return what grows when headroom may leave a stage more than before (S4)."""
        return self.tree.n_settled if stage == GUARANTEES else self.tree.n_met

    cdef Py_ssize_t arrange(self, int stage) except -1:
        """Fill in the order of a stage: places in `looks`, and the keys that they go by.

        Returns how many there are: agents on which nothing is left have no turn.
        """
        cdef uint64_t salt = stage_salt(self.seed, self.number, stage)
        cdef Py_ssize_t n = 0
        cdef Py_ssize_t i, j
        cdef Agent agent
        # The second half of each is what sorting needs beside it.
        self.keys = <uint64_t *>grown(self.keys, (2 * self.n_looks + 1) * sizeof(uint64_t))
        self.order = <int32_t *>grown(self.order, (2 * self.n_looks + 1) * sizeof(int32_t))
        for i in range(self.n_looks):
            agent = self.state.agents_at[self.looks[i].agent]
            if agent.bundle.available != NOTHING:
                self.keys[n] = mixed(agent.id_hash ^ salt)
                self.order[n] = <int32_t>i
                n += 1
        sort_by_place(
            self.keys, self.order, <int32_t>n, self.keys + self.n_looks, self.order + self.n_looks)
        # Agents of one key, of which there is hardly ever more than one, go by their ids.
        for i in range(1, n):
            j = i
            while j and self.keys[j - 1] == self.keys[j] and self.id_at(j) < self.id_at(j - 1):
                self.order[j - 1], self.order[j] = self.order[j], self.order[j - 1]
                j -= 1
        return n

    cdef str id_at(self, Py_ssize_t i):
        """Return the id of the agent at a place of the order."""
        return (<Agent>self.state.agents_at[self.looks[self.order[i]].agent]).id

    cdef Py_ssize_t go_on_widely(
        self, int stage, uint64_t key, Agent agent, Py_ssize_t n, Py_ssize_t *i
    ) except -1:
        """Go on after an agent's turn, of `n`, that may have left more for others (S4).

        What was held back elsewhere may be offered now: on the agents whose turn is yet to come,
        all of which are looked at from here on, and in the next cycle on the others. Returns how
        many turns there are, and sets the place of the next.
        """
        self.n_hopeless = 0
        if stage == FAIR_SHARE:
            self.marks.mark_rest()
        if self.is_wide:
            return n
        self.is_wide = True
        self.n_looks = 0
        for agent_there in self.named if self.named is not None else self.state.agents.values():
            self.look_widely(agent_there)
        n = self.arrange(stage)
        i[0] = 0
        while i[0] < n and (self.keys[i[0]] < key or (
                self.keys[i[0]] == key and self.id_at(i[0]) <= agent.id)):
            i[0] += 1
        return n

    cdef int look_widely(self, Agent agent) except -1:
        """Have a candidate's turn come for everybody's sake."""
        if agent.admitted:
            self.marks.set_looked(agent, self.tree.n_quotas != 0)
            self.add_look(agent, ALL)
        return 0

    # Stage one.

    cdef int guarantees_turn(self, Agent agent, uint64_t key) except -1:
        """Offer an agent to the roles whose guarantees it serves."""
        cdef RoleNode node
        cdef Subscription leaf
        if self.tree.needy is not None and self.tree.needy.first() == NONE:
            return 0
        if self.first_takes_all(agent, GUARANTEES):
            return 0
        self.tree.leaving = []
        try:
            self.begin_roles(key, True)
            node = self.next_role()
            while node is not None and agent.bundle.available != NOTHING:
                if node.on_unmet_path():
                    self.begin_leaves(node, key)
                    leaf = self.next_leaf()
                    while leaf is not None:
                        self.attempt(agent, leaf, GUARANTEES)
                        leaf = self.next_leaf()
                node = self.next_role()
        finally:
            self.end_walks()
            self.tree.leave_needy()
        return 0

    cdef int32_t guaranteed(self, Agent agent, Subscription leaf) except -1:
        """Return what serves a guarantee, and what can come along, as a new reference."""
        cdef Py_ssize_t stride = self.bundles.stride
        cdef int64_t *remaining = self.scratch(LIMITED)
        cdef int64_t *serves = self.scratch(SERVING)
        cdef int64_t *offered = self.scratch(CHOSEN)
        cdef int64_t *required = self.scratch(REQUIRED)
        cdef int64_t *whole = self.scratch(AVAILABLE)
        cdef int64_t *beside = self.scratch(BESIDE)
        cdef Py_ssize_t column
        cdef int64_t bound
        cdef bint any_serves = False
        cdef int32_t seen = self.seen(agent, leaf)
        cdef int32_t along
        if seen == NOTHING:
            return NOTHING
        self.tree.remaining(leaf.node, remaining)
        self.tree.serves(leaf.node, serves, required)
        if self.is_intricate(seen):
            return self.guaranteed_by_value(leaf, seen, remaining, serves)
        memcpy(whole, self.bundles.plain + seen * stride, stride * sizeof(int64_t))
        for column in range(self.bundles.n_columns):
            offered[column] = max(min(whole[column], min(serves[column], remaining[column])), 0)
            if offered[column]:
                any_serves = True
        if not any_serves:
            release(self.bundles, seen)
            return NOTHING
        self.tree.beside_needs(leaf.node, beside, required)
        self.tree.required_after(leaf.node, offered, required)
        for column in range(self.bundles.n_columns):
            bound = beside[column]
            if bound != INT64_MAX:
                bound -= offered[column]
            if required[column] > 0:
                bound = min(bound, self.surplus(column, offered[column], required[column]))
            bound = min(bound, whole[column] - offered[column])
            if bound > 0:
                offered[column] += bound
        along = self.bundles.along(seen, leaf.viewer)
        release(self.bundles, seen)
        seen = self.bundles.of_row(offered, self.bundles.bundles[along].rest)
        release(self.bundles, along)
        return seen

    cdef int32_t guaranteed_by_value(
        self, Subscription leaf, int32_t seen, const int64_t *remaining, const int64_t *serves
    ) except -1:
        """Do as `guaranteed` where unreserved scalars have more than a name; takes `seen` over."""
        cdef int64_t *required = self.scratch(REQUIRED)
        cdef int64_t *row = self.scratch(CHOSEN)
        cdef int64_t *beside = self.scratch(BESIDE)
        cdef int32_t along
        visible = self.bundles.value(seen)
        unreserved = unreserved_scalars(visible)
        left = self.bounds(remaining)
        bounds = {
            name: min(milli, left.get(name, milli))
            for name, milli in self.amounts(serves).items()
        }
        serving = fit(unreserved, bounds, others=False)
        if not serving:
            release(self.bundles, seen)
            return NOTHING
        served = serving.quantities().milli
        memset(row, 0, self.bundles.stride * sizeof(int64_t))
        for name, milli in served.items():
            row[<Py_ssize_t>self.bundles.column(name)] = milli
        self.tree.beside_needs(leaf.node, beside, required)
        self.tree.required_after(leaf.node, row, required)
        headroom = self.state.headroom
        surplus = {
            name: headroom[name] - served.get(name, 0) - milli
            for name, milli in self.amounts(required).items()
            if milli > 0
        }
        left = {
            name: milli - served.get(name, 0) for name, milli in self.bounds(beside).items()
        }
        further = fit(unreserved - serving, least(left, surplus))
        along = self.bundles.along(seen, leaf.viewer)
        offered = self.bundles.value(along) + serving + further
        release(self.bundles, along)
        release(self.bundles, seen)
        return self.state.bundle_of(offered)

    # Stage two.

    cdef int fair_turn(self, Agent agent, uint64_t key, Py_ssize_t first) except -1:
        """Offer an agent to everybody, or to those for whom something changed."""
        cdef uint64_t names = 0
        cdef bint is_bound = self.tree.n_quotas and (
            self.bundles.bundles[agent.bundle.available].rest == NOTHING)
        if is_bound:
            names = self.names_with_headroom(agent)
            if names == 0 or self.is_hopeless(names):
                return 0
        try:
            if first != ALL:
                self.fair_turn_of_some(agent, key, first)
            elif not (self.all_refuse(agent) or self.first_takes_all(agent, FAIR_SHARE)):
                self.fair_turn_of_all(agent, key, names)
        finally:
            self.end_walks()
        return 0

    cdef int fair_turn_of_all(self, Agent agent, uint64_t key, uint64_t names) except -1:
        """Try everybody; `names` are those that headroom leaves, 0 if that does not bind all."""
        cdef RoleNode node
        cdef Subscription leaf
        cdef bint all_closed = names != 0
        self.begin_roles(key, False)
        node = self.next_role()
        while node is not None:
            if not (names and is_closed(node, names)):
                all_closed = False
                self.begin_leaves(node, key)
                leaf = self.next_leaf()
                while leaf is not None:
                    self.attempt(agent, leaf, FAIR_SHARE)
                    if agent.bundle.available == NOTHING:
                        return 0
                    leaf = self.next_leaf()
            node = self.next_role()
        if all_closed and self.n_hopeless < MAX_HOPELESS:
            self.hopeless[self.n_hopeless] = names
            self.n_hopeless += 1
        return 0

    cdef int fair_turn_of_some(self, Agent agent, uint64_t key, Py_ssize_t first) except -1:
        """Try the fresh subscriptions, and those reopened on the agent."""
        cdef list wanted = self.wanted_on(agent, first)
        cdef Subscription leaf
        cdef RoleNode node
        if len(wanted) <= 1:
            # Often just one came back; it needs no order.
            for leaf in wanted:
                self.attempt(agent, leaf, FAIR_SHARE)
            return 0
        nodes = {(<Subscription>leaf).node for leaf in wanted}
        self.begin_roles(key, False)
        node = self.next_role()
        while node is not None:
            if node in nodes:
                self.begin_leaves(node, key)
                leaf = self.next_leaf()
                while leaf is not None:
                    if leaf.is_wanted or leaf.stamp == self.stamp_of(agent):
                        self.attempt(agent, leaf, FAIR_SHARE)
                        if agent.bundle.available == NOTHING:
                            return 0
                    leaf = self.next_leaf()
            node = self.next_role()
        return 0

    cdef list wanted_on(self, Agent agent, Py_ssize_t first):
        """Return the subscriptions to try on an agent, those reopened there marked by a stamp."""
        cdef list wanted = list(self.fresh)
        cdef Subscription leaf
        while first < self.n_pairs and self.pairs[first] >> 32 == <uint64_t>agent.index:
            leaf = self.state.leaves_at[self.pairs[first] & 0xFFFFFFFF]
            if leaf is not None and leaf.active and not leaf.is_wanted and (
                    leaf.stamp != self.stamp_of(agent)):
                leaf.stamp = self.stamp_of(agent)
                wanted.append(leaf)
            first += 1
        return wanted

    cdef int64_t stamp_of(self, Agent agent) noexcept:
        """Return what tells this agent's turn in this cycle from all others."""
        return self.number << 32 | agent.index

    @cython.final
    cdef inline int64_t *scratch(self, Py_ssize_t row) noexcept:
        """Return one of the scratch rows."""
        return self.rows + row * self.bundles.stride

    @cython.final
    cdef int32_t fair(self, Agent agent, Subscription leaf) except -1:
        """Return all that is visible within limits and headroom, as a new reference."""
        cdef Py_ssize_t stride = self.bundles.stride
        cdef int64_t *bounds = self.scratch(BESIDE)
        cdef int64_t *chopped = self.scratch(CHOSEN)
        cdef const int64_t *plain
        cdef Py_ssize_t column
        cdef bint is_whole = True
        cdef int32_t chosen
        cdef int32_t seen = self.seen(agent, leaf)
        if seen == NOTHING or not self.tree.n_quotas:
            return seen
        self.tree.beside_needs(leaf.node, bounds, chopped)
        for column in range(self.bundles.n_columns):
            if self.tree.required_row[column] > 0:
                bounds[column] = min(
                    bounds[column], self.surplus(column, 0, self.tree.required_row[column]))
        if self.is_intricate(seen):
            return self.fair_by_value(seen, bounds)
        plain = self.bundles.plain + seen * stride
        for column in range(self.bundles.n_columns):
            chopped[column] = plain[column]
            if plain[column] > bounds[column]:
                chopped[column] = max(bounds[column], 0)
                is_whole = is_whole and not plain[column]
        if is_whole:
            return seen
        chosen = self.bundles.of_row(chopped, self.bundles.bundles[seen].rest)
        release(self.bundles, seen)
        return chosen

    cdef int64_t surplus(self, Py_ssize_t column, int64_t taken, int64_t required) noexcept:
        """Return what headroom leaves beside what is required, below zero if nothing."""
        cdef int64_t available = self.state.headroom_row[column] - taken
        # Agents in use beyond their totals may have made it as negative as an int64 can be.
        return available - required if available > 0 else -1

    cdef int32_t fair_by_value(self, int32_t seen, const int64_t *bounds) except -1:
        """Do as `fair` where unreserved scalars have more than a name; takes `seen` over."""
        visible = self.bundles.value(seen)
        allowed = self.bounds(bounds)
        release(self.bundles, seen)
        if allowed:
            unreserved = unreserved_scalars(visible)
            visible = visible - unreserved + fit(unreserved, allowed)
        return self.state.bundle_of(visible)

    cdef uint64_t names_with_headroom(self, Agent agent) noexcept:
        """Return the names available on an agent that headroom leaves; see `Bundle.names`."""
        cdef uint64_t names = self.bundles.bundles[agent.bundle.available].names
        cdef Py_ssize_t column
        for column in range(min(63, self.bundles.n_columns)):
            if (self.tree.required_row[column] > 0
                    and self.state.headroom_row[column] <= self.tree.required_row[column]):
                names &= ~(<uint64_t>1 << column)
        return names

    cdef bint is_hopeless(self, uint64_t names) noexcept:
        """Tell whether it is known that no role has room for any of these names (C2)."""
        cdef int i
        for i in range(self.n_hopeless):
            if not names & ~self.hopeless[i]:
                return True
        return False

    cdef bint all_refuse(self, Agent agent) except -1:
        """Tell whether everybody is known to refuse what is left on an agent (F4, F5)."""
        return not agent.has_shared and self.state.filters.all_refuse(
            self.bundles, agent.index, agent.bundle.available)

    # Both stages.

    cdef bint first_takes_all(self, Agent agent, int stage) except -1:
        """Offer the whole agent to the neediest, if that is what comes of its turn.

        Most turns end so; the orders, which only matter for the next in turn, need not be kept.
        """
        cdef Ordering roles = self.tree.sorter if stage == FAIR_SHARE else self.tree.needy
        cdef RoleNode node
        cdef Subscription leaf
        cdef int32_t place, bundle
        cdef bint takes_all
        if agent.has_shared or roles is None or not roles.is_live:
            return False
        place = roles.first()
        if place == NONE:
            return True
        node = self.tree.nodes[roles.labels[place]]
        if not node.sorter.is_live:
            return False
        self.sync_leaves(node)
        leaf = node.at_leaf[node.sorter.first()]
        bundle = self.proposed(agent, leaf, stage)
        takes_all = bundle == agent.bundle.available and self.accepts(agent, leaf, bundle)
        if takes_all:
            self.give(agent, leaf, bundle)
        release(self.bundles, bundle)
        return takes_all

    cdef int attempt(self, Agent agent, Subscription leaf, int stage) except -1:
        """Offer what a stage proposes, if anything."""
        cdef int32_t bundle = self.proposed(agent, leaf, stage)
        if bundle != NOTHING:
            self.offer(agent, leaf, bundle)
            release(self.bundles, bundle)
        return 0

    @cython.final
    cdef int32_t proposed(self, Agent agent, Subscription leaf, int stage) except -1:
        """Return what a stage would offer if it is wanted, as a new reference."""
        if self.is_misfit(agent, leaf):
            return NOTHING
        if stage == GUARANTEES:
            return self.guaranteed(agent, leaf)
        return self.fair(agent, leaf)

    def misfits(self, Agent agent, Subscription leaf):
        """Return all that rules an offer out (§6.5): capabilities, `CONSTRAINTS` last."""
        cdef int lacking = self.lacking(agent, leaf)
        found = [name for bit, name in CAPABILITIES.items() if lacking & <int>bit]
        if leaf.constraints is not None and not leaf.constraints.admits(agent):
            found.append(CONSTRAINTS)
        return found

    @cython.final
    cdef bint is_misfit(self, Agent agent, Subscription leaf) except -1:
        """Tell whether anything rules an offer out (§6.5)."""
        if self.lacking(agent, leaf):
            return True
        return leaf.constraints is not None and not leaf.constraints.admits(agent)

    @cython.final
    cdef int lacking(self, Agent agent, Subscription leaf) except -1:
        """Return the capabilities that the framework or the agent lacks, as bits."""
        cdef int lacking = 0
        if agent.has_gpus and self.filter_gpus and not leaf.can & GPU_RESOURCES:
            lacking |= GPU_RESOURCES
        if (agent.region is not None and self.region is not None
                and not leaf.can & REGION_AWARE and agent.region != self.region):
            lacking |= REGION_AWARE
        if leaf.can & MULTI_ROLE and not agent.multi_role:
            lacking |= MULTI_ROLE
        if leaf.is_nested and not agent.hierarchical:
            lacking |= HIERARCHICAL_ROLE
        return lacking

    @cython.final
    cdef int32_t seen(self, Agent agent, Subscription leaf) except -1:
        """Return what of the available resources the framework may see, as a new reference."""
        cdef int32_t seen
        if rest_of(self.bundles, agent.bundle.available).is_open:
            return retained(self.bundles, agent.bundle.available)
        seen = self.bundles.seen_by(agent.bundle.available, leaf.viewer)
        if self.shown and agent in self.shown:
            value = self.bundles.value(seen).minus_floor(self.shown[agent])
            release(self.bundles, seen)
            seen = self.state.bundle_of(value)
        return seen

    cdef bint is_intricate(self, int32_t bundle) noexcept:
        """Tell whether quota binds entries with more to them than a name and an amount."""
        return rest_of(self.bundles, bundle).charged != NULL

    @cython.final
    cdef bint offer(self, Agent agent, Subscription leaf, int32_t bundle) except -1:
        """Offer resources, unless they are too little or refused by a filter."""
        cdef bint is_made = self.accepts(agent, leaf, bundle)
        if is_made:
            self.give(agent, leaf, bundle)
        return is_made

    @cython.final
    cdef bint accepts(self, Agent agent, Subscription leaf, int32_t bundle) except -1:
        """Tell whether resources are enough, and refused by no filter."""
        cdef Minima minima = self.default_minima if leaf.own_minima is None else leaf.own_minima
        if not minima.are_met_by(bundle):
            return False
        return not self.state.filters.rejects(self.bundles, leaf.index, agent.index, bundle)

    cdef int give(self, Agent agent, Subscription leaf, int32_t bundle) except -1:
        """Offer resources, which leave the agent at once."""
        cdef int32_t holding = self.state.hold(leaf, agent, bundle, True)
        cdef int32_t made = self.state.ledger.holdings[holding].made
        if 0 <= made < self.n_made and self.made_holdings[made] == holding:
            add_to(self.bundles, &self.made_bundles[made], bundle)
        else:
            self.note_made(holding, bundle)
        if self.state.is_shared(bundle):
            shared = self.bundles.value(bundle).shared()
            self.shown[agent] = self.shown.get(agent, EMPTY) + shared
        return 0

    cdef int note_made(self, int32_t holding, int32_t bundle) except -1:
        """Note a first offer of an agent to a subscription in this cycle."""
        cdef Py_ssize_t capacity = max(64, 2 * self.made_capacity)
        if self.n_made == self.made_capacity:
            self.made_holdings = <int32_t *>grown(self.made_holdings, capacity * sizeof(int32_t))
            self.made_bundles = <int32_t *>grown(self.made_bundles, capacity * sizeof(int32_t))
            self.made_capacity = capacity
        self.made_holdings[self.n_made] = holding
        self.made_bundles[self.n_made] = retained(self.bundles, bundle)
        self.state.ledger.holdings[holding].made = <int32_t>self.n_made
        self.n_made += 1
        return 0

    cdef OfferColumns opened(self, double end):
        """Open the offers that were made, and return them."""
        cdef State state = self.state
        cdef OfferColumns columns = OfferColumns.__new__(OfferColumns)
        cdef Py_ssize_t i
        cdef int32_t holding
        cdef int64_t told = state.journal.tell_offers(state.n_offers_made + 1, self.n_made)
        columns.bundles = self.bundles
        columns.first_number = state.n_offers_made + 1
        columns.prefix = state.journal.offer_prefix
        columns.agents = [None] * self.n_made
        columns.leaves = [None] * self.n_made
        for i in range(self.n_made):
            holding = self.made_holdings[i]
            state.open_offer(holding, self.made_bundles[i], end, told)
            columns.agents[i] = state.agents_at[state.ledger.holdings[holding].agent]
            columns.leaves[i] = state.leaves_at[state.ledger.holdings[holding].leaf]
        columns.offered = self.made_bundles
        columns.n = self.n_made
        self.made_bundles = NULL
        self.n_made = self.made_capacity = 0
        return columns

    # Orders.

    cdef int sync_roles(self) except -1:
        """Take over the totals in the role sorters: they stand still in a cycle."""
        self.tree.sorter.sync()
        if self.tree.needy is not None:
            self.tree.needy.sync()
        return 0

    cdef int sync_leaves(self, RoleNode node) except -1:
        """Take over the totals in the sorter of a role's frameworks, once in a cycle."""
        # One that has no sibling to compare with is the first whatever its share.
        if node.synced != self.number and node.n_active > 1:
            node.sorter.sync()
            node.synced = self.number
        return 0

    cdef int begin_roles(self, uint64_t key, bint needy_only) except -1:
        """Take the order of the roles, for stage one only of those with an unmet path if it can.

        One that is drawn by lot has draws of the agent's (and the role's) own.
        """
        self.roles = self.tree.sorter
        if needy_only and self.tree.needy is not None:
            self.roles = self.tree.needy
        return self.roles.start_walk(key)

    @cython.final
    cdef RoleNode next_role(self):
        """Return the next role in the order taken, None at the end."""
        cdef int32_t place = self.roles.advance()
        return None if place == NONE else self.tree.nodes[self.roles.labels[place]]

    cdef int begin_leaves(self, RoleNode node, uint64_t key) except -1:
        """Take the order of the subscriptions to a role."""
        self.role = node
        self.sync_leaves(node)
        return node.sorter.start_walk(mixed(key ^ node.id_hash))

    @cython.final
    cdef Subscription next_leaf(self):
        """Return the next subscription in the order taken, None at the end."""
        cdef int32_t place = self.role.sorter.advance()
        return None if place == NONE else self.role.at_leaf[place]

    cdef int end_walks(self) except -1:
        """Follow no order any longer, so that changes need not think of it."""
        if self.roles is not None:
            self.roles.end_walk()
        if self.role is not None:
            self.role.sorter.end_walk()
        return 0

    # For what is worked out by value.

    cdef dict bounds(self, const int64_t *row):
        """Return bounds by name; INT64_MAX is none."""
        cdef Py_ssize_t column
        return {
            name: row[<Py_ssize_t>column]
            for name, column in self.bundles.totals.columns.items()
            if column < self.bundles.n_columns and row[<Py_ssize_t>column] != INT64_MAX
        }

    cdef dict amounts(self, const int64_t *row):
        """Return amounts by name, without zeros."""
        return {
            name: row[<Py_ssize_t>column]
            for name, column in self.bundles.totals.columns.items()
            if column < self.bundles.n_columns and row[<Py_ssize_t>column]
        }


@cython.final
@cython.auto_pickle(False)
cdef class WatchedCycle(Cycle):
    """A cycle that tells what it decides, and takes no short way past a decision.

    It offers what `Cycle` would. `watch` runs it.
    """

    cdef object watcher
    cdef object leaves  # frozenset of Subscription: those asked about
    cdef object agents  # frozenset of Agent: those asked about

    def watch(self, watcher, leaves, agents):
        """Run, and tell a `Watcher` of all attempts on some agents.

        Parameters
        ----------
        watcher : Watcher
        leaves, agents : frozenset of Subscription, of Agent
            An attempt of one of the leaves is told even where nothing comes of it.

        Returns
        -------
        OfferColumns
        """
        self.watcher, self.leaves, self.agents = watcher, leaves, agents
        self.state.touch_all()
        return self.run()

    cdef int guarantees_turn(self, Agent agent, uint64_t key) except -1:
        """Tell that the turn begins, and give it."""
        self.tell_turn(agent, GUARANTEES)
        return Cycle.guarantees_turn(self, agent, key)

    cdef int fair_turn(self, Agent agent, uint64_t key, Py_ssize_t first) except -1:
        """Tell that the turn begins, and try everybody, also where quotas leave nothing."""
        self.tell_turn(agent, FAIR_SHARE)
        try:
            return self.fair_turn_of_all(agent, key, 0)
        finally:
            self.end_walks()

    cdef bint first_takes_all(self, Agent agent, int stage) except -1:
        """Take no short way."""
        return False

    cdef int tell_turn(self, Agent agent, int stage) except -1:
        if agent in self.agents:
            self.watcher.turn(stage, agent.id)
        return 0

    cdef int attempt(self, Agent agent, Subscription leaf, int stage) except -1:
        """Offer what a stage proposes, and tell of it before and after."""
        cdef int32_t bundle
        cdef bint is_made
        if agent not in self.agents:
            return Cycle.attempt(self, agent, leaf, stage)
        visible = self.visible(agent, leaf) if leaf in self.leaves else None
        bundle = self.proposed(agent, leaf, stage)
        proposed = self.bundles.value(bundle)
        where = agent.id, leaf.framework.id, leaf.node.path
        if proposed or visible is not None:
            self.watcher.attempt(*where, visible, proposed)
        if proposed:
            is_made = self.offer(agent, leaf, bundle)
            release(self.bundles, bundle)
            self.watcher.outcome(*where, proposed, is_made)
        return 0

    cdef object visible(self, Agent agent, Subscription leaf):
        """Return what the framework may see there now."""
        cdef int32_t bundle = self.seen(agent, leaf)
        resources = self.bundles.value(bundle)
        release(self.bundles, bundle)
        return resources


@cython.final
@cython.auto_pickle(False)
@cython.no_gc_clear  # `__dealloc__` needs the bundles
cdef class OfferColumns:
    """The offers of one cycle, numbered one after the other, as columns."""

    cdef Bundles bundles
    cdef readonly str prefix            # what their ids begin with, before their "O"
    cdef readonly int64_t first_number  # N of the first one's id
    cdef readonly Py_ssize_t n
    cdef int32_t *offered               # (n,) bundles; one reference each
    cdef list agents                    # (n,) Agent
    cdef list leaves                    # (n,) Subscription

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.n):
            release(self.bundles, self.offered[i])
        PyMem_Free(self.offered)

    def offer(self, Py_ssize_t i):
        """Return the offer at a place, which must be one. O(1)."""
        cdef Subscription leaf = self.leaves[i]
        cdef Agent agent = self.agents[i]
        return tuple.__new__(Offer, (
            f"{self.prefix}O{self.first_number + i}",
            leaf.framework.id,
            leaf.node.path,
            agent.id,
            self.bundles.value(self.offered[i]),
        ))

    def columns(self, const int64_t[:] places):
        """Return the offers at some places as `Offers.columns` does. O(places × names)."""
        cdef Py_ssize_t n = places.shape[0]
        cdef Py_ssize_t i, column
        cdef const int64_t *whole
        cdef Subscription leaf
        cdef Distinct agents = Distinct()
        cdef Distinct frameworks = Distinct()
        cdef Distinct roles = Distinct()
        cdef int64_t[::1] agent_index = np.empty(n, np.int64)
        cdef int64_t[::1] framework_index = np.empty(n, np.int64)
        cdef int64_t[::1] role_index = np.empty(n, np.int64)
        cdef int64_t[:, ::1] quantities = np.zeros((n, self.bundles.n_columns), np.int64)
        cdef int64_t[::1] scratch = np.empty(self.bundles.stride, np.int64)
        for i in range(n):
            leaf = self.leaves[places[i]]
            agent_index[i] = agents.place(self.agents[places[i]])
            framework_index[i] = frameworks.place(leaf.framework)
            role_index[i] = roles.place(leaf.node)
            whole = self.bundles.whole(self.offered[places[i]], &scratch[0])
            for column in range(self.bundles.n_columns):
                quantities[i, column] = whole[column]
        used = np.asarray(quantities).any(axis=0)
        names = sorted(
            name for name, column in self.bundles.totals.columns.items()
            if column < len(used) and used[column])
        picked = [self.bundles.totals.columns[name] for name in names]
        return {
            "agent": np.asarray(agent_index),
            "framework": np.asarray(framework_index),
            "role": np.asarray(role_index),
            "quantities": np.asarray(quantities)[:, picked],
            "agents": [(<Agent>agent).id for agent in agents.found],
            "frameworks": [framework.id for framework in frameworks.found],
            "roles": [(<RoleNode>role).path for role in roles.found],
            "names": names,
        }


@cython.final
@cython.auto_pickle(False)
cdef class Distinct:
    """The distinct ones of some objects, in the order first met."""

    cdef list found
    cdef IntMap places  # address of an object in `found` -> its place there

    def __cinit__(self):
        self.found = []

    def __dealloc__(self):
        clear(&self.places)

    cdef int32_t place(self, object record) except -1:
        """Return the place of an object. O(1)."""
        cdef uint64_t address = <uint64_t><void *>record
        cdef int32_t place = get(&self.places, address)
        if place == NONE:
            reserve_one(&self.places)
            place = <int32_t>len(self.found)
            self.found.append(record)
            put(&self.places, address, place)
        return place


cdef int compare_pairs(const void *a, const void *b) noexcept nogil:
    cdef uint64_t left = (<const uint64_t *>a)[0]
    cdef uint64_t right = (<const uint64_t *>b)[0]
    return (left > right) - (left < right)
