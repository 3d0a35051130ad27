"""The engine's state and its one mutator: everything that is kept is adjusted here.

Each of the few changes below (something is held, moved from offered to allocated, given back;
an agent's total changes; a subscription becomes active) adjusts every sum that depends on it at
once: the agent's, the holding's, both sorters', the role tree's, the cluster's. Nothing else in
the engine writes to those.

The invariants of agents (A1, A2) stand in `_records.pyx`, that of holdings and offers (S1) in
`_ledger.pyx`, those of what the next cycle has to look at (S3, S4) in `_marks.pyx`.

S2. `total`, `in_use` are sums over agents and holdings of scalars by name; `headroom` is what of
    the candidates' (active and whitelisted agents') unreserved, non-revocable scalars nobody holds
    or is expected to use; an agent that shrank below its use counts with its sign. `excess` is what
    is in use of agents beyond their totals (A3). Of each name `total` and `excess` together fit in
    an int64, and so does what will ever be in use of these agents: what more is given away is
    within their totals. So no sum of what is held, consumed or allocated can overflow, in a cycle
    or out of it, and what checks that is `check_reach`, before anything changes.
"""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.math cimport INFINITY, NAN
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint64_t
from libc.string cimport memcpy, memset

from allocator.engine._bundles cimport (
    NOTHING,
    Bundles,
    add_to,
    release,
    rest_of,
    retained,
    take_from,
)
from allocator.engine._changes cimport Journal, tell
from allocator.engine._filters cimport Filters
from allocator.engine._intmap cimport IntMap, clear, get, put, reserve_one
from allocator.engine._ledger cimport AFTER, Holding, Ledger, OpenOffer
from allocator.engine._marks cimport Marks
from allocator.engine._memory cimport grown
from allocator.engine._minima cimport Minima
from allocator.engine._order cimport hash_of
from allocator.engine._records cimport Agent, AgentBundles, Framework, Subscription, copied_agent
from allocator.engine._roles cimport (
    ALLOCATED,
    CONSUMED,
    OFFERED,
    RoleNode,
    RoleTree,
    count_copies,
)
from allocator.sorter._siblings cimport NONE

from typing import NamedTuple

from allocator.engine.filters import (
    MAX_REFUSE_SECONDS as _MAX_REFUSE_SECONDS,
    filter_time,
    filter_times,
)
from allocator.engine.use import beyond, check_contained
from allocator.engine.many import read_each
from allocator.errors import InvalidValue, OfferGone, ResourceError, cut, shown
from allocator.resources import EMPTY, Quantities, Resources
from allocator.resources.fixed import over_large
from allocator.sorter import Totals

cdef double LONGEST_REFUSAL = _MAX_REFUSE_SECONDS


class HoldingView(NamedTuple):
    """What one framework holds in one role on one agent."""

    agent: Agent
    subscription: Subscription
    offered: Resources
    allocated: Resources
    #: id → what of that open offer is still in it, oldest first; sums up to `offered`.
    offers: dict


class Expected(NamedTuple):
    """A framework that was not added yet, in a role in which it uses something."""

    framework: str
    role: str


@cython.final
@cython.auto_pickle(False)
cdef class State:
    """Agents, frameworks, roles, filters and open offers, and the sums over them.

    Parameters
    ----------
    role_sorter, framework_sorter : callable
        Make a hierarchical and a flat sorter on the totals given to them.
    offer_prefix : str
        What the ids of offers begin with.
    """

    def __cinit__(self, role_sorter=None, framework_sorter=None, offer_prefix=""):
        if role_sorter is None:  # a copy in the making
            return
        self.totals = Totals()
        self.bundles = Bundles(self.totals)
        self.journal = Journal(offer_prefix)
        self.tree = RoleTree(self.bundles, role_sorter, framework_sorter, self.journal)
        self.filters = Filters()
        self.ledger = Ledger(self.bundles, self.journal)
        self.agents = {}
        self.frameworks = {}
        self.expected = {}
        self.agents_at = []
        self.free_agents = []
        self.leaves_at = []
        self.free_leaves = []
        self.copies = {}
        self.marks = Marks(self.agents_at)
        self.fit_columns()

    def __dealloc__(self):
        # What is left refers to bundles, which go with their store.
        PyMem_Free(self.total_row)
        PyMem_Free(self.in_use_row)
        PyMem_Free(self.headroom_row)
        PyMem_Free(self.excess_row)
        PyMem_Free(self.whole_row)
        PyMem_Free(self.charged_row)
        PyMem_Free(self.change_row)

    # Sums and columns.

    @property
    def total(self):
        """What all agents have: a `Tally`. O(names)."""
        return self.bundles.tally(self.total_row, self.stride)

    @property
    def in_use(self):
        """What is offered or allocated, shared entries once an agent: a `Tally`. O(names)."""
        return self.bundles.tally(self.in_use_row, self.stride)

    @property
    def headroom(self):
        """What of the candidates' unreserved, non-revocable scalars is free (S2). O(names)."""
        return self.bundles.tally(self.headroom_row, self.stride)

    @property
    def excess(self):
        """What is in use of agents beyond their totals: a `Tally`. O(names)."""
        return self.bundles.tally(self.excess_row, self.stride)

    cdef int fit_columns(self) except -1:
        """Make all rows as long as those of the bundles. O(roles × columns) if they are not.

        All or, for lack of memory, none: then whoever is about to use a row asks again.
        """
        cdef Py_ssize_t stride = self.bundles.stride
        if stride == self.stride:
            return 0
        self.tree.fit_columns()
        self.total_row = longer(self.total_row, self.stride, stride)
        self.in_use_row = longer(self.in_use_row, self.stride, stride)
        self.headroom_row = longer(self.headroom_row, self.stride, stride)
        self.excess_row = longer(self.excess_row, self.stride, stride)
        self.whole_row = longer(self.whole_row, self.stride, stride)
        self.charged_row = longer(self.charged_row, self.stride, stride)
        self.change_row = longer(self.change_row, self.stride, stride)
        self.stride = stride
        return 0

    cdef int32_t bundle_of(self, object resources) except -1:
        """Return a new reference to the bundle of a value, with room for its columns. O(names)."""
        cdef int32_t bundle = self.bundles.of(resources)
        self.fit_columns()
        return bundle

    cdef Minima minima_of(self, tuple amounts):
        """Return the engine's own minima, which are the same from cycle to cycle. O(1)."""
        self.fit_columns()
        if self.default_minima is None or self.default_minima.amounts is not amounts:
            self.default_minima = Minima(self.bundles, amounts)
        return self.default_minima

    cdef int check_reach(self, list agents, EachBundle totals, EachBundle in_use) except -1:
        """Refuse what, together with all else that agents have or have in use, exceeds int64 (S2).

        Parameters
        ----------
        agents : list of Agent
            Those whose totals and use are replaced; of none for agents that are new.
        totals : EachBundle
            What they have then.
        in_use : EachBundle or None
            What of each is in use then, None if nothing is.

        Raises
        ------
        ResourceError
            Also where a total and what is in use cannot go together. O(agents × columns).
        """
        cdef int64_t *sums
        cdef int32_t excess
        cdef Py_ssize_t i, column
        cdef Agent agent
        self.fit_columns()
        sums = <int64_t *>grown(NULL, self.stride * sizeof(int64_t))
        try:
            memcpy(sums, self.total_row, self.stride * sizeof(int64_t))
            for column in range(self.bundles.n_columns):
                sums[column] += self.excess_row[column]
            for agent in agents:
                self.add_whole(sums, agent.bundle.total, -1)
                self.add_whole(sums, agent.bundle.excess, -1)
            for i in range(totals.n):
                self.add_whole(sums, totals.numbers[i], 1)
                if in_use is not None and in_use.numbers[i] != NOTHING:
                    excess = self.excess_of(totals.numbers[i], in_use.numbers[i])
                    try:
                        self.add_whole(sums, excess, 1)
                    finally:
                        release(self.bundles, excess)
        finally:
            PyMem_Free(sums)
        return 0

    cdef int add_whole(self, int64_t *sums, int32_t bundle, int64_t sign) except -1:
        """Add what is in a bundle to sums, or with sign −1 take it out; refuses overflow."""
        cdef const int64_t *whole
        cdef Py_ssize_t column
        self.fit_columns()
        whole = self.bundles.whole(bundle, self.whole_row)
        for column in range(self.bundles.n_columns):
            if sign > 0 and whole[column] > INT64_MAX - sums[column]:
                name = list(self.totals.columns)[column]
                raise over_large(name, <object>whole[column] + <object>sums[column])
            sums[column] += sign * whole[column]
        return 0

    cdef int32_t excess_of(self, int32_t total, int32_t in_use) except -1:
        """Return what is in use beyond a total (A3), as a new reference. O(entries)."""
        if self.bundles.covers(total, in_use):
            return NOTHING
        return self.bundle_of(beyond(self.bundles.value(total), self.bundles.value(in_use)))

    cdef EachBundle in_use_of(self, list agents):
        """Return what is in use of each of some agents. O(agents × columns)."""
        cdef EachBundle found = EachBundle(self.bundles, len(agents))
        cdef Py_ssize_t i
        cdef Agent agent
        for i in range(found.n):
            agent = agents[i]
            found.numbers[i] = self.bundles.plus(agent.bundle.offered, agent.bundle.allocated)
        return found

    cpdef int publish_totals(self) except -1:
        """Let the sorters know the totals. O(names)."""
        total = Quantities._make(dict(self.total))  # positive, and fit to be held
        if total != self.totals.quantities:
            self.totals.replace(total)
            self.journal.tell_of("engine")  # for shares
        return 0

    def set_weight(self, str path, double weight):
        """Weigh the subtree of a role, now and when the role comes to be. O(log siblings)."""
        self.tree.set_weight(path, weight)
        self.marks.note()

    def set_quota(self, str path, object quota):
        """Replace a role's quota, which may bring new names; `NO_QUOTA` removes it.

        O(depth × names).
        """
        self.tree.set_quota(path, quota)
        self.fit_columns()

    # What may be offered now (S3).

    def touch_all(self):
        """Have the next cycle look at every agent. O(1)."""
        self.marks.mark_all()

    cdef int touch_quotas(self) except -1:
        """Have the next cycle look at every agent if a quota may allow what it did not (S4)."""
        if self.tree.n_quotas:
            self.marks.mark_all_for_quotas()
        return 0

    def touch(self):
        """Note that something happened on account of which a cycle may do something. O(1)."""
        self.marks.note()

    def expire_filters(self, double now):
        """Drop filters that have ended and look again where they held. O(ended)."""
        cdef Py_ssize_t i
        cdef int64_t pair
        self.filters.expire(self.bundles, now)
        for i in range(self.filters.n_ended):
            pair = self.filters.ended[i]
            self.marks.mark_pair(<int32_t>(pair & 0xFFFFFFFF), <int32_t>(pair >> 32))
            self.tell_role(<int32_t>(pair >> 32))

    @property
    def has_changed(self):
        """Whether anything happened since the last full cycle began. O(1)."""
        return self.marks.changed

    @property
    def has_work(self):
        """Whether there is an agent on which the next cycle tries anything. O(marks)."""
        return self.marks.any_due(self.agents.values())

    def touched_agents(self):
        """Return the candidates to which something happened, None if it was to all. O(marks)."""
        return self.marks.touched()

    cdef int tell_role(self, int32_t leaf) except -1:
        """Tell of a role in which a subscription's filters changed. O(1)."""
        return tell(self.journal, (<Subscription>self.leaves_at[leaf]).node)

    # Agents.

    def restore_agent(
        self, str id, object total, *, hostname, attributes, capabilities, region, zone, active
    ):
        """Take in an agent as a snapshot has it; `publish_totals` comes in the end.

        O(entries); raises `ResourceError` if the totals are over-large.
        """
        cdef EachBundle totals = self.each_bundle([total], 1)
        cdef Agent agent
        self.check_reach([], totals, None)
        agent = self.new_agent(
            id, hostname, attributes, capabilities, region, zone, totals.numbers[0])
        agent.active = active
        self.admit(agent)

    cdef Agent new_agent(
        self, str id, object hostname, object attributes, object capabilities, object region,
        object zone, int32_t bundle
    ):
        """Take in an active agent whose total is known to fit. O(columns)."""
        cdef Agent agent = Agent.__new__(Agent)
        agent.id = id
        agent.hostname = hostname
        agent.attributes = attributes
        agent.set_capabilities(capabilities)
        agent.region = region
        agent.zone = zone
        agent.bundles = self.bundles
        agent.id_hash = hash_of(id)
        agent.first_holding = NONE
        agent.bundle.total = retained(self.bundles, bundle)
        agent.bundle.available = retained(self.bundles, bundle)
        agent.active = True
        self.note_total(agent)
        agent.admitted = self.is_candidate(agent)
        agent.index = take_place(self.agents_at, self.free_agents, agent)
        tell(self.journal, agent)
        self.agents[id] = agent
        self.count_total(agent, bundle, 1)
        self.marks.mark_agent(agent)
        return agent

    cdef int note_total(self, Agent agent) except -1:
        """Take over what the total tells about offers. O(columns)."""
        cdef Py_ssize_t gpus = self.totals.columns.get("gpus", NONE)
        cdef const int64_t *whole = self.bundles.whole(agent.bundle.total, self.whole_row)
        agent.has_gpus = gpus != NONE and gpus < self.bundles.n_columns and whole[gpus] > 0
        agent.has_shared = self.is_shared(agent.bundle.total)
        agent.is_intricate = rest_of(self.bundles, agent.bundle.total).charged != NULL
        return self.note_overdrawn(agent)

    cdef int note_overdrawn(self, Agent agent) except -1:
        """Count agents of which more may be offered than headroom has of them (S4). O(1)."""
        cdef bint overdrawn = agent.overcommitted or agent.has_shared
        self.n_overdrawn += overdrawn - agent.overdrawn
        agent.overdrawn = overdrawn
        return 0

    def describe_agent(self, Agent agent, object attributes, object capabilities):
        """Replace what is known of an agent beside its resources. O(1), O(leaves) with filters.

        Other attributes end the filters there.
        """
        if attributes != agent.attributes or capabilities != agent.capabilities:
            tell(self.journal, agent)
        if attributes != agent.attributes:
            agent.attributes = attributes
            self.forget_agent_filters(agent)
        agent.set_capabilities(capabilities)
        self.marks.mark_agent(agent)

    def change_total(self, Agent agent, object total):
        """Replace an agent's total, as `update_agents` does. O(entries)."""
        self.update_agents([agent], self.each_bundle([total], 1))

    def add_resources(self, Agent agent, object added, list used):
        """Add to an agent's total, with what frameworks use of it and of what is available.

        `used` has (framework, role, resources). O(entries); raises `ResourceError`.
        """
        cdef EachBundle in_use = self.in_use_of([agent])
        cdef EachBundle totals = self.each_bundle([agent.total + added], 1)
        cdef int32_t more
        together = sum((resources for _, _, resources in used), EMPTY)
        check_contained(
            f"agent {shown(agent.id)} uses more than is added and available",
            agent.available + added, together)
        more = self.bundle_of(together)
        try:
            add_to(self.bundles, &in_use.numbers[0], more)
        finally:
            release(self.bundles, more)
        self.check_reach([agent], totals, in_use)
        self.replace_total(agent, retained(self.bundles, totals.numbers[0]))
        # What is added covers use also where the agent stays below its use.
        for framework, role, resources in used:
            self.restore_use(framework, role, agent, resources)
        self.refresh(agent)
        self.publish_totals()
        self.marks.mark_agent(agent)

    cdef int replace_total(self, Agent agent, int32_t bundle) except -1:
        """Take over a reference to a total that was checked. O(entries)."""
        cdef int32_t before = agent.bundle.total
        if bundle != before:
            tell(self.journal, agent)
        agent.bundle.total = bundle
        self.note_total(agent)
        self.refresh(agent)
        # The new before the old, so that no role ceases to exist in between.
        self.count_total(agent, bundle, 1)
        self.count_total(agent, before, -1)
        release(self.bundles, before)
        self.marks.mark_agent(agent)
        return 0

    cdef int count_total(self, Agent agent, int32_t bundle, int64_t sign) except -1:
        """Add an agent's total to the sums, or with sign −1 take it out (S2). O(entries)."""
        cdef const int64_t *whole
        cdef const int64_t *charged
        cdef Py_ssize_t column
        self.fit_columns()
        whole = self.bundles.whole(bundle, self.whole_row)
        charged = self.bundles.charged(bundle, self.charged_row)
        for column in range(self.bundles.n_columns):
            self.total_row[column] += sign * whole[column]
            if agent.admitted:
                self.headroom_row[column] += sign * charged[column]
        if self.bundles.bundles[bundle].rest != NOTHING:
            for role, amounts in self.bundles.reservations(bundle):
                self.tree.reserve(role, amounts, sign)
        return self.touch_quotas()

    def remove_agent(self, Agent agent):
        """Forget an agent with all that is held, offered and filtered there. O(held there)."""
        cdef int32_t holding, next
        cdef AgentBundles *has = &agent.bundle
        cdef Subscription leaf
        holding = agent.first_holding
        while holding != NONE:
            next = self.ledger.holdings[holding].on_agent[AFTER]
            self.free_all(holding)
            holding = next
        for framework in list(agent.pending or ()):
            for role, resources in self.unexpect(framework, agent).items():
                self.disclaim(agent, role, resources)
        self.journal.tell_gone(agent)
        self.forget_agent_filters(agent)
        self.count_total(agent, agent.bundle.total, -1)
        self.n_overdrawn -= agent.overdrawn
        self.set_excess(agent, NOTHING)
        for bundle in (has.total, has.available, has.offered, has.allocated):
            release(self.bundles, bundle)
        has.total = has.available = has.offered = has.allocated = NOTHING
        self.publish_totals()
        del self.agents[agent.id]
        self.agents_at[agent.index] = None
        self.free_agents.append(agent.index)
        self.marks.unmark_agent(agent)
        self.marks.note()

    def set_active(self, Agent agent, bint active):
        """Let cycles consider an agent, or not. O(columns)."""
        if active != agent.active:
            tell(self.journal, agent)
        agent.active = active
        self.admit(agent)
        if active:
            self.marks.mark_agent(agent)

    def set_whitelist(self, object hostnames):
        """Admit the agents on these hosts only, None admits all. O(agents × columns)."""
        if hostnames != self.whitelist:
            self.journal.tell_of("engine")
        self.whitelist = hostnames
        for agent in self.agents.values():
            self.admit(agent)
        self.touch_all()

    cdef bint is_candidate(self, Agent agent) except -1:
        """Tell whether cycles consider an agent. O(1)."""
        return agent.active and (self.whitelist is None or agent.hostname in self.whitelist)

    cdef int admit(self, Agent agent) except -1:
        """Take over whether an agent is a candidate, which headroom counts (S2). O(columns)."""
        cdef bint admitted = self.is_candidate(agent)
        cdef int64_t sign = 1 if admitted else -1
        cdef int32_t in_use
        cdef const int64_t *has
        cdef const int64_t *used
        cdef Py_ssize_t column
        if admitted == agent.admitted:
            return 0
        self.fit_columns()
        agent.admitted = admitted
        in_use = self.bundles.plus(agent.bundle.offered, agent.bundle.allocated)
        has = self.bundles.charged(agent.bundle.total, self.charged_row)
        used = self.bundles.charged(in_use, self.change_row)
        for column in range(self.bundles.n_columns):
            self.headroom_row[column] += sign * (has[column] - used[column])
        release(self.bundles, in_use)
        return self.touch_quotas()

    # What is available on an agent (A1).

    cdef int take(self, Agent agent, int32_t bundle, bint offered) except -1:
        """Count available resources as offered or allocated. O(entries)."""
        cdef int32_t taken = self.bundles.nonshared(bundle)
        take_from(self.bundles, &agent.bundle.available, taken)
        release(self.bundles, taken)
        return self.add_in_use(agent, bundle, offered)

    cdef int add_in_use(self, Agent agent, int32_t bundle, bint offered) except -1:
        """Add to what is offered or allocated on an agent. O(entries)."""
        tell(self.journal, agent)
        if offered:
            return add_to(self.bundles, &agent.bundle.offered, bundle)
        return add_to(self.bundles, &agent.bundle.allocated, bundle)

    cdef int take_from_use(self, Agent agent, int32_t bundle, bint offered) except -1:
        """Undo `add_in_use`. O(entries)."""
        tell(self.journal, agent)
        if offered:
            return take_from(self.bundles, &agent.bundle.offered, bundle)
        return take_from(self.bundles, &agent.bundle.allocated, bundle)

    cdef int give_back(self, Agent agent, int32_t bundle, bint offered) except -1:
        """Undo `take`. O(entries)."""
        cdef int32_t given
        self.take_from_use(agent, bundle, offered)
        if agent.overcommitted or agent.bundle.excess != NOTHING:
            return self.refresh(agent)
        given = self.bundles.nonshared(bundle)
        add_to(self.bundles, &agent.bundle.available, given)
        release(self.bundles, given)
        return 0

    cdef int refresh(self, Agent agent) except -1:
        """Restore A1 and A3 after the total or use beyond it changed. O(entries)."""
        cdef int32_t together = self.bundles.plus(agent.bundle.offered, agent.bundle.allocated)
        cdef int32_t in_use = self.bundles.nonshared(together)
        release(self.bundles, agent.bundle.available)
        agent.bundle.available = NOTHING
        agent.overcommitted = not self.bundles.covers(agent.bundle.total, in_use)
        if not agent.overcommitted:
            agent.bundle.available = self.bundles.minus(agent.bundle.total, in_use)
        else:
            agent.bundle.available = self.bundle_of(
                self.bundles.value(agent.bundle.total).minus_floor(self.bundles.value(in_use)))
        release(self.bundles, in_use)
        self.set_excess(agent, self.excess_of(agent.bundle.total, together))
        release(self.bundles, together)
        return self.note_overdrawn(agent)

    cdef int set_excess(self, Agent agent, int32_t excess) except -1:
        """Replace what is in use beyond an agent's total, taking a reference over. O(columns)."""
        self.add_whole(self.excess_row, agent.bundle.excess, -1)
        self.add_whole(self.excess_row, excess, 1)
        release(self.bundles, agent.bundle.excess)
        agent.bundle.excess = excess
        return 0

    # Holdings (S1, S2).

    cdef int32_t hold(
        self, Subscription leaf, Agent agent, int32_t bundle, bint offered
    ) except -1:
        """Give available resources of `agent` to `leaf`; return the holding.

        O(columns × depth + log siblings).
        """
        self.take(agent, bundle, offered)
        self.charge(leaf.node, agent, bundle, 1)
        return self.book(leaf, agent, bundle, offered)

    cdef int32_t book(
        self, Subscription leaf, Agent agent, int32_t bundle, bint offered
    ) except -1:
        """Do as `hold` for what the agent has in use, and the role consumes, already."""
        cdef int32_t holding
        cdef Holding *held
        self.marks.note()
        tell(self.journal, leaf.framework)
        holding = self.ledger.find(agent, leaf)
        if holding == NONE:
            holding = self.ledger.new_holding(agent, leaf)
        held = &self.ledger.holdings[holding]
        add_to(self.bundles, &held.offered if offered else &held.allocated, bundle)
        self.count(leaf.node, agent, bundle, offered, 1)
        self.account(leaf, agent, NOTHING, bundle, 1)
        return holding

    cdef int free(
        self, Subscription leaf, Agent agent, int32_t bundle, bint offered
    ) except -1:
        """Take back what `leaf` holds of `agent`. O(columns × depth + log siblings).

        The caller keeps the open offers right and decides what the next cycle looks at.
        """
        cdef int32_t holding
        cdef Holding *held
        if bundle == NOTHING:
            return 0
        self.marks.note()
        tell(self.journal, leaf.framework)
        holding = self.ledger.find(agent, leaf)
        held = &self.ledger.holdings[holding]
        # `bundle` may be good by the holding's reference only.
        retained(self.bundles, bundle)
        take_from(self.bundles, &held.offered if offered else &held.allocated, bundle)
        self.give_back(agent, bundle, offered)
        self.charge(leaf.node, agent, bundle, -1)
        self.count(leaf.node, agent, bundle, offered, -1)
        self.account(leaf, agent, bundle, NOTHING, 0)
        release(self.bundles, bundle)
        if held.offered == NOTHING and held.allocated == NOTHING:
            self.drop_holding(holding)
        return 0

    cdef int free_all(self, int32_t holding) except -1:
        """Take back all that is in a holding, which is then gone. O(columns × depth + log)."""
        cdef Agent agent = self.agents_at[self.ledger.holdings[holding].agent]
        cdef Subscription leaf = self.leaves_at[self.ledger.holdings[holding].leaf]
        cdef int32_t allocated = self.ledger.holdings[holding].allocated
        self.free(leaf, agent, self.ledger.holdings[holding].offered, True)
        return self.free(leaf, agent, allocated, False)

    cdef int keep(self, int32_t holding, int32_t bundle) except -1:
        """Turn offered resources into allocated ones; no share changes. O(columns × depth)."""
        cdef Holding *held = &self.ledger.holdings[holding]
        cdef Agent agent = self.agents_at[held.agent]
        cdef Subscription leaf = self.leaves_at[held.leaf]
        cdef int32_t unshared
        self.fit_columns()
        unshared = self.bundles.nonshared(bundle)
        tell(self.journal, leaf.framework)
        # `bundle` may be good by the holding's reference only.
        retained(self.bundles, bundle)
        take_from(self.bundles, &held.offered, bundle)
        add_to(self.bundles, &held.allocated, bundle)
        self.take_from_use(agent, bundle, True)
        self.add_in_use(agent, bundle, False)
        self.tree.keep(leaf.node, self.bundles.whole(unshared, self.whole_row))
        if self.is_shared(bundle):
            for entry in self.bundles.value(bundle).shared():
                column = self.bundles.column(entry.name)
                self.tree.hold_shared(leaf.node, agent.id, entry, column, ALLOCATED, 1)
                self.tree.hold_shared(leaf.node, agent.id, entry, column, OFFERED, -1)
        release(self.bundles, unshared)
        release(self.bundles, bundle)
        return 0

    cdef int count(
        self, RoleNode node, Agent agent, int32_t bundle, bint offered, int64_t sign
    ) except -1:
        """Add to the sums what is held of `agent`, or with sign −1 take it out (S2, R2)."""
        cdef int sum = OFFERED if offered else ALLOCATED
        cdef int32_t unshared
        cdef const int64_t *whole
        cdef Py_ssize_t column
        cdef int64_t milli
        self.fit_columns()
        unshared = self.bundles.nonshared(bundle)
        whole = self.bundles.whole(unshared, self.whole_row)
        self.tree.hold(node, whole, sum, sign)
        for column in range(self.bundles.n_columns):
            self.in_use_row[column] += sign * whole[column]
        release(self.bundles, unshared)
        if unshared == bundle:
            return 0
        # A shared entry counts once an agent.
        for entry in self.bundles.value(bundle).shared():
            milli = entry.value
            column = self.bundles.column(entry.name)
            self.tree.hold_shared(node, agent.id, entry, column, sum, sign)
            self.in_use_row[column] += milli * count_copies(
                self.copies, (ALLOCATED, agent.id, entry.identity), sign * entry.copies)
        return 0

    cdef int charge(
        self, RoleNode node, Agent agent, int32_t bundle, int64_t sign
    ) except -1:
        """Count what is in use of `agent` as consumed and no headroom, or with sign −1 undo it."""
        cdef int32_t unshared
        cdef const int64_t *charged
        cdef Py_ssize_t column
        cdef int64_t milli
        self.fit_columns()
        unshared = self.bundles.nonshared(bundle)
        charged = self.bundles.charged(unshared, self.charged_row)
        self.tree.charge(node, charged, sign)
        if agent.admitted:
            for column in range(self.bundles.n_columns):
                self.headroom_row[column] -= sign * charged[column]
        release(self.bundles, unshared)
        for entry in self.bundles.value(bundle).shared() if unshared != bundle else ():
            if not (entry.reservations or entry.revocable):
                column = self.bundles.column(entry.name)
                self.tree.hold_shared(node, agent.id, entry, column, CONSUMED, sign)
                self.tree.note_uneven()
                milli = entry.value * count_copies(
                    self.copies, (CONSUMED, agent.id, entry.identity), sign * entry.copies)
                if agent.admitted:
                    self.headroom_row[column] -= milli
        return self.touch_quotas()

    cdef int account(
        self, Subscription leaf, Agent agent, int32_t lost, int32_t gained, int64_t times
    ) except -1:
        """Tell both sorters what was taken back and what was given. O(depth × columns + log).

        They are told a row, to which no agent belongs; shared entries, which count once an agent,
        and all that is held where an order goes by values, apart.
        """
        cdef RoleNode node = leaf.node
        cdef bint is_shared = self.is_shared(lost) or self.is_shared(gained)
        cdef const int64_t *change
        self.fit_columns()
        change = self.change_of(lost, gained)
        self.tree.account(node, change, times)
        node.sorter.add_row(leaf.leaf, change, self.bundles.n_columns, times)
        if is_shared or self.tree.sorter.by_value or node.sorter.by_value:
            value_lost, value_gained = self.bundles.value(lost), self.bundles.value(gained)
            self.tree.account_by_value(node, agent.id, value_lost, value_gained, times)
            node.sorter.change_held(leaf.leaf, agent.id, value_lost, value_gained, times)
        return 0

    cdef const int64_t *change_of(self, int32_t lost, int32_t gained) except NULL:
        """Return what is gained less what is lost, shared entries left out, as a row."""
        cdef int32_t unshared = self.bundles.nonshared(gained)
        cdef const int64_t *row = self.bundles.whole(unshared, self.whole_row)
        cdef Py_ssize_t column
        release(self.bundles, unshared)
        if lost == NOTHING and unshared == gained:
            return row
        for column in range(self.bundles.n_columns):
            self.change_row[column] = row[column]
        unshared = self.bundles.nonshared(lost)
        row = self.bundles.whole(unshared, self.whole_row)
        for column in range(self.bundles.n_columns):
            self.change_row[column] -= row[column]
        release(self.bundles, unshared)
        return self.change_row

    cdef bint is_shared(self, int32_t bundle) noexcept:
        """Tell whether there are shared entries. O(1)."""
        return rest_of(self.bundles, bundle).is_shared

    cdef int drop_holding(self, int32_t holding) except -1:
        """Forget a holding that is empty, and what offers are left of it (S1). O(its offers)."""
        cdef Agent agent = self.agents_at[self.ledger.holdings[holding].agent]
        cdef Subscription leaf = self.leaves_at[self.ledger.holdings[holding].leaf]
        self.ledger.drop_holding(holding, agent, leaf)
        if not leaf.subscribed:
            self.settle(leaf)
        return 0

    def holdings_on(self, Agent agent):
        """Return what is held on an agent: a list of `HoldingView`. O(holdings there)."""
        cdef list found = []
        cdef int32_t holding = agent.first_holding
        while holding != NONE:
            found.append(self.held(holding))
            holding = self.ledger.holdings[holding].on_agent[AFTER]
        return found

    def holdings_of_leaf(self, Subscription leaf):
        """Return what a subscription holds: a list of `HoldingView`. O(its holdings)."""
        cdef list found = []
        cdef int32_t holding = leaf.first_holding
        while holding != NONE:
            found.append(self.held(holding))
            holding = self.ledger.holdings[holding].on_leaf[AFTER]
        return found

    def holding(self, Agent agent, Subscription leaf):
        """Return what `leaf` holds on `agent`: a `HoldingView`, or None. O(its offers)."""
        cdef int32_t holding = self.ledger.find(agent, leaf)
        return None if holding == NONE else self.held(holding)

    cdef object held(self, int32_t holding):
        cdef Holding *held = &self.ledger.holdings[holding]
        return HoldingView(
            self.agents_at[held.agent],
            self.leaves_at[held.leaf],
            self.bundles.value(held.offered),
            self.bundles.value(held.allocated),
            self.ledger.offers_of(holding),
        )

    # Open offers.

    @property
    def n_open_offers(self):
        """How many offers are open. O(1)."""
        return self.ledger.offer_of.n

    @property
    def offer_prefix(self):
        """What the ids of offers begin with."""
        return self.journal.offer_prefix

    def offer_number(self, str id):
        """Return N of the id of an offer of here; raises `OfferGone` for another. O(1)."""
        return self.ledger.number_of(id)

    def find_offer(self, str id):
        """Return (subscription, agent, what is in it) of an open offer, else `OfferGone`. O(1)."""
        cdef int32_t offer = self.ledger.offer_at(self.ledger.number_of(id))
        cdef OpenOffer *found = &self.ledger.offers[offer]
        cdef Holding *held = &self.ledger.holdings[found.holding]
        return (
            self.leaves_at[held.leaf],
            self.agents_at[held.agent],
            self.bundles.value(found.bundle),
        )

    def open_offers(self):
        """Return (id, end) of each open offer in the order made; see `Cycle.run`. O(them)."""
        cdef list found = []
        cdef int32_t offer = self.ledger.first_open
        cdef OpenOffer *held
        while offer != NONE:
            held = &self.ledger.offers[offer]
            found.append((self.ledger.id_of(held.number), held.end))
            offer = held.in_order[AFTER]
        return found

    @property
    def next_offer_end(self):
        """The earliest end of an open offer, infinity if none ends. O(1)."""
        cdef int32_t offer = self.ledger.first_open
        return INFINITY if offer == NONE else self.ledger.offers[offer].end

    def expire_offers(self, double now):
        """Rescind the open offers whose end has come; return their ids. O(them)."""
        cdef list gone = []
        cdef OpenOffer *offer
        cdef Agent agent
        cdef Subscription leaf
        cdef int32_t left
        while self.ledger.first_open != NONE:
            offer = &self.ledger.offers[self.ledger.first_open]
            if offer.end > now:
                break
            agent = self.agents_at[self.ledger.holdings[offer.holding].agent]
            leaf = self.leaves_at[self.ledger.holdings[offer.holding].leaf]
            left = retained(self.bundles, offer.bundle)
            gone.append(self.ledger.id_of(offer.number))
            self.ledger.close_offer(self.ledger.first_open)
            self.give_back_and_refuse(leaf, agent, left, True, -INFINITY)
            release(self.bundles, left)
        return gone

    def last_open_offer(self):
        """Return the number of the open offer made last, 0 if none is open. O(1)."""
        return self.ledger.last_number()

    cdef int32_t open_offer(
        self, int32_t holding, int32_t bundle, double end, int64_t told
    ) except -1:
        """Open the next offer, of resources that are held as offered. O(1) amortised."""
        self.n_offers_made += 1
        return self.ledger.open_offer(holding, bundle, self.n_offers_made, end, told)

    def restore_offers_made(self, int64_t n):
        """Have the next offer be that after the n-th. O(1)."""
        self.n_offers_made = n

    def restore_offer(
        self, Framework framework, str role, Agent agent, str id, object resources, double end
    ):
        """Open an offer as a snapshot has it, after those made before it. O(depth).

        `refresh_agent` comes after.
        """
        cdef Subscription leaf = self.subscription(framework, role)
        cdef int32_t bundle = self.bundle_of(resources)
        cdef int32_t holding
        cdef int64_t number = self.ledger.number_of(id)
        cdef int32_t last = self.ledger.last_open
        if number <= self.ledger.last_number() or bundle == NOTHING or not end > -INFINITY or (
                last != NONE and end < self.ledger.offers[last].end):
            release(self.bundles, bundle)
            raise InvalidValue(
                f"offer {shown(id)} is there twice, or empty, or ends before one made before it")
        self.add_in_use(agent, bundle, True)
        self.charge(leaf.node, agent, bundle, 1)
        holding = self.book(leaf, agent, bundle, True)
        self.ledger.open_offer(holding, bundle, number, end, 0)
        release(self.bundles, bundle)

    cdef int shorten_offers(self, Agent agent, Subscription leaf, object resources) except -1:
        """Take resources out of the open offers of a holding, the oldest first. O(offers there)."""
        cdef int32_t holding = self.ledger.find(agent, leaf)
        cdef int32_t offer = NONE if holding == NONE else self.ledger.holdings[holding].first_offer
        cdef int32_t newer, before
        while offer != NONE and resources:
            newer = self.ledger.offers[offer].newer
            left = self.bundles.value(self.ledger.offers[offer].bundle)
            remaining = left.minus_floor(resources)
            resources = resources.minus_floor(left)
            if not remaining:
                self.ledger.close_offer(offer)
            elif remaining != left:  # none of its resources are asked for otherwise
                self.ledger.tell(offer)
                before = self.ledger.offers[offer].bundle
                self.ledger.offers[offer].bundle = self.bundle_of(remaining)
                release(self.bundles, before)
            offer = newer
        return 0

    # Answers.

    def answer_one(
        self, str id, object kept, object refuse_seconds, double interval, double now
    ):
        """Keep a part of an open offer and give the rest back.

        Parameters
        ----------
        id : str
            Of the offer.
        kept : resources
            What is kept, None for all; `EMPTY` declines. Read after it is known that it is open.
        refuse_seconds : float or None
            As `filter_time` reads it, after it is known that what is kept is there.
        interval : float
            The least time that a filter lives, in seconds.
        now : float
            In seconds of the engine's clock.

        Raises
        ------
        OfferGone, ResourceError, InvalidValue
            O(columns × depth + log siblings).
        """
        cdef int64_t number = self.ledger.number_of(id)
        cdef int32_t offer = self.ledger.offer_at(number)
        cdef int32_t bundle = NONE if kept is None else NOTHING
        cdef double life
        if kept is not None and kept is not EMPTY:
            bundle = self.bundle_of(Resources(kept))
        try:
            if bundle != NONE and bundle != NOTHING:
                offer = self.ledger.offer_at(number)  # reading may have called anything
                self.check_in_offer(offer, bundle)
            life = life_of(refuse_seconds, interval)
            self.settle_offer(offer, bundle, life, now)
        finally:
            if bundle != NONE:
                release(self.bundles, bundle)

    def answer(
        self, const int64_t[:] numbers, object kept, object refuse_seconds, double interval,
        double now
    ):
        """Keep a part of each of several open offers and give the rest back, all or none.

        Parameters
        ----------
        numbers : (n,) int64
            Of the offers.
        kept : resources of each
            As `read_each` reads them, after it is known that all are open; as in `answer_one`.
        refuse_seconds : float, None, or n of them
            As `filter_times` reads them, after it is known that what is kept is there.
        interval, now : float
            As in `answer_one`.

        Raises
        ------
        OfferGone
            One is not open, or there twice.
        ResourceError
            More than is in an offer.
        InvalidValue
            O(n × (columns × depth + log siblings)).
        """
        cdef Py_ssize_t n = numbers.shape[0]
        cdef Py_ssize_t i
        cdef double life = -INFINITY
        cdef const double[:] lives = None
        cdef EachBundle parts = None
        self.check_open(numbers)
        if kept is not None:
            each = read_each("offers", kept, n)
            parts = self.each_bundle(each, n)
            for i in range(0 if each is EMPTY else n):
                self.check_in_offer(self.ledger.offer_at(numbers[i]), parts.numbers[i])
        given = filter_times(refuse_seconds, n, interval)
        if isinstance(given, float):
            life = given
        else:
            lives = given
        for i in range(n):
            self.settle_offer(
                self.ledger.offer_at(numbers[i]),
                NONE if parts is None else parts.numbers[i],
                life if lives is None else lives[i],
                now)

    cdef int check_open(self, const int64_t[:] numbers) except -1:
        """Refuse offers that are not open, or there twice. O(n)."""
        cdef Py_ssize_t n = numbers.shape[0]
        cdef Py_ssize_t i
        cdef IntMap seen
        memset(&seen, 0, sizeof(IntMap))
        try:
            for i in range(n):
                self.ledger.offer_at(numbers[i])
                if n > 1 and get(&seen, <uint64_t>numbers[i]) != NONE:
                    raise OfferGone(
                        f"offer {shown(self.ledger.id_of(numbers[i]))} is there twice")
                if n > 1:
                    reserve_one(&seen)
                    put(&seen, <uint64_t>numbers[i], 0)
        finally:
            clear(&seen)
        return 0

    cdef int check_in_offer(self, int32_t offer, int32_t kept) except -1:
        """Refuse to keep what is not in an open offer. O(columns)."""
        cdef int32_t left = self.ledger.offers[offer].bundle
        if not self.bundles.covers(left, kept):
            id = self.ledger.id_of(self.ledger.offers[offer].number)
            has, wanted = self.bundles.value(left), self.bundles.value(kept)
            raise ResourceError(f"offer {shown(id)} holds {cut(has)}, not {cut(wanted)}")
        return 0

    cdef int settle_offer(self, int32_t offer, int32_t kept, double life, double now) except -1:
        """Keep a bundle, or with NONE all, of an open offer, and give the rest back."""
        cdef int32_t holding = self.ledger.offers[offer].holding
        cdef Agent agent = self.agents_at[self.ledger.holdings[holding].agent]
        cdef Subscription leaf = self.leaves_at[self.ledger.holdings[holding].leaf]
        cdef int32_t left = retained(self.bundles, self.ledger.offers[offer].bundle)
        cdef int32_t rest
        self.ledger.close_offer(offer)
        leaf.refusal = life if kept == NOTHING else NAN
        if kept == NONE:
            self.keep(holding, left)
            release(self.bundles, left)
            self.marks.note()
            return 0
        rest = self.bundles.minus(left, kept)
        if kept != NOTHING:
            self.keep(holding, kept)
            self.marks.note()
        self.give_back_and_refuse(leaf, agent, rest, True, now + life)
        release(self.bundles, rest)
        release(self.bundles, left)
        return 0

    cdef int give_back_and_refuse(
        self, Subscription leaf, Agent agent, int32_t bundle, bint offered, double end
    ) except -1:
        """Free resources, refused until `end` unless that is −inf."""
        if bundle == NOTHING:
            return 0
        self.free(leaf, agent, bundle, offered)
        if end > -1.0e308 and leaf.subscribed:
            self.filters.add(self.bundles, leaf.index, agent.index, bundle, end)
        self.marks.mark_agent(agent)
        return 0

    def recover(
        self, Subscription leaf, Agent agent, object resources, bint offered, double life,
        double now,
    ):
        """Give back resources that a subscription holds, refused for `life` unless that is −inf.

        Offered ones are taken out of its open offers there, the oldest first. Raises
        `ResourceError` if it holds less. O(its offers there).
        """
        cdef int32_t bundle = self.bundle_of(resources)
        try:
            self.check_held(leaf, agent, bundle, offered)
        except ResourceError:
            release(self.bundles, bundle)
            raise
        if offered:
            self.shorten_offers(agent, leaf, resources)
            leaf.refusal = life
        self.give_back_and_refuse(leaf, agent, bundle, offered, now + life)
        release(self.bundles, bundle)

    cdef int check_held(
        self, Subscription leaf, Agent agent, int32_t bundle, bint offered
    ) except -1:
        """Refuse to take back more than a subscription holds. O(columns)."""
        cdef int32_t holding = self.ledger.find(agent, leaf)
        cdef int32_t held = NOTHING
        cdef Holding *parts
        if holding != NONE:
            parts = &self.ledger.holdings[holding]
            held = parts.offered if offered else parts.allocated
        if not self.bundles.covers(held, bundle):
            kind = "is offered" if offered else "uses"
            raise ResourceError(
                f"framework {shown(leaf.framework.id)} {kind} "
                f"{cut(self.bundles.value(held)) or 'nothing'} of agent {shown(agent.id)} in role "
                f"{shown(leaf.node.path)}, not {cut(self.bundles.value(bundle))}")
        return 0

    def add_filter(self, Subscription leaf, Agent agent, object resources, double end):
        """Refuse resources of an agent until `end`. O(1) amortised."""
        cdef int32_t bundle = self.bundle_of(resources)
        self.filters.add(self.bundles, leaf.index, agent.index, bundle, end)
        release(self.bundles, bundle)

    # Conversions.

    def convert_offered(self, str id, object converted):
        """Replace what is left in an open offer by resources of the same quantities.

        O(entries + columns × depth + log siblings); raises `ResourceError`.
        """
        cdef int32_t offer = self.ledger.offer_at(self.ledger.number_of(id))
        cdef int32_t holding = self.ledger.offers[offer].holding
        cdef Holding *parts = &self.ledger.holdings[holding]
        cdef Agent agent = self.agents_at[parts.agent]
        cdef Subscription leaf = self.leaves_at[parts.leaf]
        cdef int32_t before = self.ledger.offers[offer].bundle
        cdef int32_t after
        cdef EachBundle totals
        left = self.bundles.value(before)
        total = agent.total - left + converted
        offered = agent.offered - left + converted
        held = self.bundles.value(parts.offered) - left + converted
        totals = self.each_bundle([total], 1)
        self.check_reach([agent], totals, self.each_bundle([offered + agent.allocated], 1))
        after = self.bundle_of(converted)
        if after != before:
            self.ledger.tell(offer)
            tell(self.journal, leaf.framework)
        self.account(leaf, agent, before, after, 0)
        self.charge(leaf.node, agent, before, -1)
        self.count(leaf.node, agent, before, True, -1)
        self.charge(leaf.node, agent, after, 1)
        self.count(leaf.node, agent, after, True, 1)
        self.ledger.offers[offer].bundle = after
        parts.offered = self.exchanged(parts.offered, held)
        agent.bundle.offered = self.exchanged(agent.bundle.offered, offered)
        release(self.bundles, before)
        self.replace_total(agent, retained(self.bundles, totals.numbers[0]))
        self.publish_totals()
        self.marks.mark_agent(agent)

    cdef int32_t exchanged(self, int32_t before, object resources) except -1:
        """Return the bundle of `resources` and give back the reference to another."""
        cdef int32_t after = self.bundle_of(resources)
        release(self.bundles, before)
        return after

    # Frameworks and their subscriptions.

    def add_framework(self, Framework framework, object roles, object suppressed):
        """Take in a framework with what its agents said that it uses. O(roles + its holdings).

        The caller has seen that there is none of this id.
        """
        tell(self.journal, framework)
        self.frameworks[framework.id] = framework
        self.subscribe(framework, roles, suppressed)
        self.welcome(framework)

    def update_framework(
        self, Framework framework, object roles, object suppressed, *, capabilities, minimum,
        constraints
    ):
        """Replace all that a framework can do and asks for. O(roles + filters that end)."""
        cdef Subscription leaf
        if capabilities != framework.capabilities:
            tell(self.journal, framework)
        framework.capabilities = capabilities
        framework.minimum = minimum
        framework.constraints = constraints
        for leaf in framework.subscriptions.values():
            leaf.refresh()
        self.subscribe(framework, roles, suppressed)
        for leaf in framework.subscriptions.values():
            if leaf.active:
                self.marks.mark_subscription(leaf)

    def set_framework_active(self, Framework framework, bint active):
        """Let a framework take part, or not, which ends its filters. O(roles + filters)."""
        cdef Subscription leaf
        if active != framework.active:
            tell(self.journal, framework)
        framework.active = active
        for leaf in list(framework.subscriptions.values()):
            if not active:
                self.forget_filters(leaf)
            self.settle(leaf)

    def restore_refusal(self, Subscription leaf, double life):
        """Note that a subscription's last answer refused an offer, for so long. O(1)."""
        leaf.refusal = life

    def suppress(self, Subscription leaf):
        """Offer a subscription nothing more. O(log siblings)."""
        self.set_suppressed(leaf, True)
        self.settle(leaf)

    def revive(self, Subscription leaf):
        """End the suppression and the filters of a subscription. O(its filters)."""
        self.set_suppressed(leaf, False)
        self.settle(leaf)
        self.drop_filters(leaf)

    cdef int set_suppressed(self, Subscription leaf, bint suppressed) except -1:
        if suppressed != leaf.suppressed:
            tell(self.journal, leaf.framework)
        leaf.suppressed = suppressed
        return 0

    cdef Subscription subscription(self, Framework framework, str role):
        """Return the framework's leaf in `role`, attaching an inactive one if absent. O(depth)."""
        cdef Subscription found = framework.subscriptions.get(role)
        if found is None:
            found = Subscription.__new__(Subscription)
            found.framework = framework
            found.node = self.tree.ensure(role)
            found.is_nested = "/" in role
            found.first_holding = NONE
            found.refusal = NAN
            try:
                found.refresh()
                found.leaf = self.tree.attach(found.node, framework.id, found)
            except MemoryError:
                self.tree.settle(found.node)
                raise
            found.index = take_place(self.leaves_at, self.free_leaves, found)
            framework.subscriptions[role] = found
        return found

    cdef int settle(self, Subscription leaf) except -1:
        """Bring a leaf's activity in line, and drop it if nothing keeps it any more. O(depth)."""
        cdef bint wanted = leaf.should_be_active()
        if wanted != leaf.active:
            self.filters.ask(leaf.index, wanted)
            leaf.active = wanted
            if wanted:
                self.tree.activate(leaf.node, leaf.framework.id)
                self.marks.mark_subscription(leaf)
            else:
                self.tree.deactivate(leaf.node, leaf.framework.id)
                self.marks.unmark_subscription(leaf)
        if not leaf.subscribed and leaf.first_holding == NONE:
            role = leaf.node.path
            if leaf.framework.subscriptions.get(role) is leaf:
                del leaf.framework.subscriptions[role]
                self.tree.detach(leaf.node, leaf.framework.id, leaf.leaf)
                self.filters.drop_leaf(self.bundles, leaf.index)
                self.leaves_at[leaf.index] = None
                self.free_leaves.append(leaf.index)
        return 0

    cdef int drop_filters(self, Subscription leaf) except -1:
        """End all filters of a leaf early. O(its filters)."""
        if self.filters.drop_leaf(self.bundles, leaf.index):
            self.marks.mark_subscription(leaf)
            tell(self.journal, leaf.node)
        return 0

    def held_filters(self):
        """Return (subscription, agent, refused, end) of each filter. O(filters)."""
        return [
            (self.leaves_at[leaf], self.agents_at[agent], self.bundles.value(bundle), end)
            for leaf, agent, bundle, end in self.filters.held()
        ]

    def filters_on(self, Subscription leaf, Agent agent):
        """Return (refused, end) of each filter of a subscription on an agent. O(1)."""
        return [(self.bundles.value(bundle), end)
                for bundle, end in self.filters.held_on(leaf.index, agent.index)]

    def filters_of(self, Subscription leaf, double now):
        """Return how many filters of a subscription hold at a time. O(its filters)."""
        return self.filters.n_held_by(leaf.index, now)

    cdef int forget_filters(self, Subscription leaf) except -1:
        """Do as `drop_filters` for a leaf that is to be offered nothing. O(its filters)."""
        if self.filters.drop_leaf(self.bundles, leaf.index):
            tell(self.journal, leaf.node)
        return 0

    cdef int forget_agent_filters(self, Agent agent) except -1:
        """End all filters on an agent early. O(leaves), O(1) if there is none."""
        cdef Subscription leaf
        if self.journal.last_take >= 0:
            for leaf in self.filters.leaves_on(agent.index, self.leaves_at):
                tell(self.journal, leaf.node)
        return self.filters.drop_agent(self.bundles, agent.index)

    cdef int subscribe(self, Framework framework, object roles, object suppressed) except -1:
        """Set the roles a framework is subscribed to and which of them are suppressed."""
        cdef Subscription leaf
        if framework.roles != tuple(roles):
            tell(self.journal, framework)
        framework.roles = tuple(roles)
        quiet = set(suppressed)
        for role in framework.roles:
            leaf = self.subscription(framework, role)
            leaf.subscribed = True
            if leaf.suppressed and role not in quiet:
                self.drop_filters(leaf)
            self.set_suppressed(leaf, role in quiet)
            self.settle(leaf)
        for role, leaf in list(framework.subscriptions.items()):
            if role not in framework.roles:
                leaf.subscribed = leaf.suppressed = False
                self.forget_filters(leaf)
                self.settle(leaf)
        return 0

    def remove_framework(self, Framework framework):
        """Forget a framework; what it held goes back to the agents. O(held)."""
        cdef Subscription leaf
        cdef Agent agent
        cdef int32_t holding, next
        for leaf in list(framework.subscriptions.values()):
            leaf.subscribed = False
            self.forget_filters(leaf)
            holding = leaf.first_holding
            while holding != NONE:
                next = self.ledger.holdings[holding].on_leaf[AFTER]
                agent = self.agents_at[self.ledger.holdings[holding].agent]
                self.free_all(holding)
                self.marks.mark_agent(agent)
                holding = next
            self.settle(leaf)
        self.journal.tell_gone(framework)
        del self.frameworks[framework.id]
        self.marks.note()

    # Frameworks that use something before they are added.

    def use(self, str framework, str role, Agent agent, object resources):
        """Enter what a framework, added or not, uses of what is available. O(entries)."""
        cdef int32_t bundle = self.bundle_of(resources)
        self.use_bundle(framework, role, agent, bundle)
        release(self.bundles, bundle)

    cdef int use_bundle(self, str framework, str role, Agent agent, int32_t bundle) except -1:
        """Do as `use` for a bundle."""
        self.take(agent, bundle, False)
        return self.claim(framework, role, agent, bundle)

    def restore_use(self, str framework, str role, Agent agent, object resources):
        """Do as `use` where it may be more than is available; `refresh_agent` comes after."""
        cdef int32_t bundle = self.bundle_of(resources)
        self.add_in_use(agent, bundle, False)
        self.claim(framework, role, agent, bundle)
        release(self.bundles, bundle)

    def refresh_agent(self, Agent agent):
        """Restore A1 after `restore_use` and `restore_offer`, else `ResourceError`. O(entries)."""
        self.check_reach(
            [agent], self.each_bundle([agent.total], 1), self.in_use_of([agent]))
        self.refresh(agent)

    cdef int claim(self, str id, str role, Agent agent, int32_t bundle) except -1:
        """Say whose use it is that an agent has; of one that is not there, it is kept for it."""
        cdef Subscription leaf
        framework = self.frameworks.get(id)
        if framework is not None:
            leaf = self.subscription(framework, role)
            self.charge(leaf.node, agent, bundle, 1)
            self.book(leaf, agent, bundle, False)
        else:
            self.charge(self.tree.ensure(role), agent, bundle, 1)
            self.expect(id, agent, role, self.bundles.value(bundle))
        return 0

    cdef int expect(self, str framework, Agent agent, str role, object resources) except -1:
        """Add to what a framework that was not added yet uses on an agent."""
        if agent.pending is None:
            agent.pending = {}
        by_role = agent.pending.setdefault(framework, {})
        if role not in by_role:
            self.tree.expect(self.tree.nodes[role], 1)
        by_role[role] = by_role.get(role, EMPTY) + resources
        self.expected.setdefault(framework, {})[agent.id] = agent
        return 0

    cdef dict unexpect(self, str framework, Agent agent):
        """Expect a framework on an agent no more; return what it uses there in each role."""
        del self.expected[framework][agent.id]
        if not self.expected[framework]:
            del self.expected[framework]
        return agent.pending.pop(framework)

    cdef int disclaim(self, Agent agent, str role, object resources) except -1:
        """Let go of all that was expected to be in use in a role. O(entries)."""
        cdef RoleNode node = self.tree.nodes[role]
        cdef int32_t bundle = self.bundle_of(resources)
        self.charge(node, agent, bundle, -1)
        self.tree.expect(node, -1)
        release(self.bundles, bundle)
        return 0

    cdef int welcome(self, Framework framework) except -1:
        """Enter what a framework that is added now used already. O(its holdings)."""
        cdef int32_t bundle
        cdef Agent agent
        cdef Subscription leaf
        for agent in list(self.expected.get(framework.id, {}).values()):
            for role, resources in self.unexpect(framework.id, agent).items():
                bundle = self.bundle_of(resources)
                leaf = self.subscription(framework, role)
                self.book(leaf, agent, bundle, False)
                self.tree.expect(leaf.node, -1)
                release(self.bundles, bundle)
        return 0

    def expects_in(self, str framework, str role):
        """Tell whether a framework not added yet uses anything in a role. O(its agents)."""
        return any(role in agent.pending[framework]
                   for agent in self.expected.get(framework, {}).values())

    cdef int check_expected(self, object user, Agent agent, int32_t bundle) except -1:
        """Refuse to take back more than an `Expected` uses on an agent. O(entries)."""
        used = (agent.pending or {}).get(user.framework, {}).get(user.role, EMPTY)
        given = self.bundles.value(bundle)
        if not used >= given:
            raise ResourceError(
                f"framework {shown(user.framework)} uses {cut(used) or 'nothing'} of agent "
                f"{shown(agent.id)} in role {shown(user.role)}, not {cut(given)}")
        return 0

    cdef int release_expected(self, object user, Agent agent, int32_t bundle) except -1:
        """Take back what an `Expected` uses on an agent, as was checked. O(entries)."""
        cdef RoleNode node
        if bundle == NOTHING:
            return 0
        node = self.tree.nodes[user.role]
        self.give_back(agent, bundle, False)
        self.charge(node, agent, bundle, -1)
        by_role = agent.pending[user.framework]
        by_role[user.role] -= self.bundles.value(bundle)
        if not by_role[user.role]:
            del by_role[user.role]
            self.tree.expect(node, -1)
        if not by_role:
            self.unexpect(user.framework, agent)
        self.marks.mark_agent(agent)
        return 0

    # Many at once.

    def each_bundle(self, object each, Py_ssize_t n):
        """Return the bundles of n values: of `Resources`, of a list of n, or of `EachColumns`.

        O(n × columns); raises `ResourceError` where amounts do not go together.
        """
        cdef EachBundle found = EachBundle(self.bundles, n)
        cdef int32_t bundle
        cdef Py_ssize_t i
        if each is EMPTY:
            return found
        if isinstance(each, list):
            for i in range(n):
                found.numbers[i] = self.bundle_of((<list>each)[i])
        elif isinstance(each, Resources):
            bundle = self.bundle_of(each)
            for i in range(n):
                found.numbers[i] = retained(self.bundles, bundle)
            release(self.bundles, bundle)
        else:
            common, names, amounts = each
            bundle = self.bundle_of(common)
            try:
                self.fill(found, bundle, amounts, names)
            finally:
                release(self.bundles, bundle)
        return found

    cdef int fill(
        self, EachBundle found, int32_t common, const int64_t[:, :] amounts, list names
    ) except -1:
        """Put in what is `common` to all with amounts of their own of some more names."""
        cdef Bundles bundles = self.bundles
        cdef list columns = [bundles.column(name) for name in names]
        cdef int32_t rest = bundles.bundles[common].rest
        cdef Py_ssize_t i, j, column
        self.fit_columns()
        memcpy(self.change_row, bundles.row(common), self.stride * sizeof(int64_t))
        for i in range(found.n):
            for j in range(len(columns)):
                column = columns[j]
                self.change_row[column] = amounts[i, j]
            found.numbers[i] = bundles.of_row(self.change_row, rest)
        return 0

    def add_agents(
        self, list ids, list hostnames, list attributes, object capabilities, object region,
        object zone, EachBundle totals, object users
    ):
        """Take in agents with what is in use of each, all or none.

        Parameters
        ----------
        ids, hostnames, attributes : list
            Of n agents that are not there yet.
        capabilities, region, zone
            Of each of them.
        totals : EachBundle
        users : Users or None
            `Users`: who uses what of them; None if nobody uses anything.

        Raises
        ------
        ResourceError
            More is in use than there is, or the totals are over-large.
            O(n × (columns × depth + log siblings)).
        """
        cdef EachBundle used
        cdef list owners, frameworks, roles
        cdef list agents = []
        cdef Py_ssize_t i
        if users is not None:
            owners, frameworks, roles, resources = users
            used = self.each_bundle(resources, len(owners))
            self.check_used(ids, totals, owners, used)
        self.check_reach([], totals, None)
        for i in range(totals.n):
            agents.append(self.new_agent(
                ids[i], hostnames[i], attributes[i], capabilities, region, zone,
                totals.numbers[i]))
        if users is not None:
            for i in range(used.n):
                if used.numbers[i] != NOTHING:
                    self.use_bundle(
                        frameworks[i], roles[i], agents[<Py_ssize_t>owners[i]], used.numbers[i])
        self.publish_totals()

    def update_agents(self, list agents, EachBundle totals):
        """Replace the totals of agents, all or none.

        O(n × columns); raises `ResourceError` if they are over-large.
        """
        cdef Py_ssize_t i
        cdef Agent agent
        self.check_reach(agents, totals, self.in_use_of(agents))
        for i in range(totals.n):
            agent = agents[i]
            if totals.numbers[i] != agent.bundle.total:
                self.replace_total(agent, retained(self.bundles, totals.numbers[i]))
            self.marks.mark_agent(agent)
        self.publish_totals()

    def release(self, list users, list agents, EachBundle given):
        """Give back what subscriptions, or frameworks that were not added yet, use on agents.

        All or none; the same pair may be there more than once.

        Parameters
        ----------
        users : list of Subscription or Expected
        agents : list of Agent
        given : EachBundle

        Raises
        ------
        ResourceError
            One uses less. O(n × (columns × depth + log siblings)).
        """
        cdef EachBundle together = EachBundle(self.bundles, given.n)
        cdef IntMap first  # agent << 32 | leaf -> where in `together` all that it gives back is
        cdef dict first_expected = {}  # (agent, Expected) -> the same
        cdef uint64_t pair
        cdef int32_t place
        cdef Py_ssize_t i
        memset(&first, 0, sizeof(IntMap))
        try:
            for i in range(given.n):
                if isinstance(users[i], Subscription):
                    pair = (<uint64_t>(<Agent>agents[i]).index << 32
                            | <uint64_t>(<Subscription>users[i]).index)
                    place = get(&first, pair)
                    if place == NONE:
                        reserve_one(&first)
                        place = <int32_t>i
                        put(&first, pair, place)
                else:
                    place = first_expected.setdefault((agents[i], users[i]), i)
                add_to(self.bundles, &together.numbers[place], given.numbers[i])
                self.check_used_by(users[i], agents[i], together.numbers[place])
        finally:
            clear(&first)
        for i in range(given.n):
            if isinstance(users[i], Subscription):
                self.give_back_and_refuse(
                    users[i], agents[i], given.numbers[i], False, -INFINITY)
            else:
                self.release_expected(users[i], agents[i], given.numbers[i])

    cdef int check_used_by(self, object user, Agent agent, int32_t bundle) except -1:
        """Refuse to take back more than a `Subscription` or an `Expected` uses."""
        if isinstance(user, Subscription):
            return self.check_held(user, agent, bundle, False)
        return self.check_expected(user, agent, bundle)

    cdef int check_used(self, list ids, EachBundle totals, list owners, EachBundle used) except -1:
        """Refuse use of more than an agent has; several may use one copy of a shared entry."""
        cdef EachBundle together = EachBundle(self.bundles, totals.n)
        cdef Py_ssize_t i, owner
        for i in range(used.n):
            owner = owners[i]
            add_to(self.bundles, &together.numbers[owner], used.numbers[i])
        for i in range(totals.n):
            if self.is_shared(together.numbers[i]) or not self.bundles.covers(
                    totals.numbers[i], together.numbers[i]):
                check_contained(
                    f"agent {shown(ids[i])} uses more than it has",
                    self.bundles.value(totals.numbers[i]), self.bundles.value(together.numbers[i]))
        return 0

    # Copying.

    def fork(self):
        """Return a copy that decides the same from now on; nobody reads what changes in it.

        Values are shared; records, which refer to each other by index, are copied one by one.
        O(size of the state).
        """
        cdef State twin = State.__new__(State)
        self.fit_columns()
        cdef Agent agent
        cdef Subscription leaf
        twin.totals = self.totals.copy()
        twin.bundles = self.bundles.copy_for(twin.totals)
        twin.journal = self.journal.copy()
        twin.tree = self.tree.copy_for(twin.bundles, twin.journal)
        twin.filters = self.filters.copy()
        twin.ledger = self.ledger.copy_for(twin.bundles, twin.journal)
        twin.whitelist = self.whitelist
        twin.agents_at = [None if agent is None else copied_agent(agent, twin.bundles)
                          for agent in self.agents_at]
        twin.agents = {
            id: twin.agents_at[(<Agent>agent).index] for id, agent in self.agents.items()
        }
        twin.free_agents = list(self.free_agents)
        twin.expected = {
            framework: {id: twin.agents[id] for id in agents}
            for framework, agents in self.expected.items()
        }
        twin.leaves_at = [None] * len(self.leaves_at)
        twin.free_leaves = list(self.free_leaves)
        twin.frameworks = {id: twin.adopt_framework(framework)
                           for id, framework in self.frameworks.items()}
        twin.marks = self.marks.copy_for(twin.agents_at, twin.leaves_at)
        twin.copies = dict(self.copies)
        twin.fit_columns()
        twin.adopt_arrays(self)
        return twin

    cdef Framework adopt_framework(self, Framework framework):
        """Return a copy of a framework, whose subscriptions take their places here."""
        cdef Subscription leaf, own
        cdef Framework twin = framework.copied()
        for role, leaf in framework.subscriptions.items():
            own = Subscription.__new__(Subscription)
            own.framework = twin
            own.node = self.tree.nodes[role]
            own.subscribed, own.suppressed, own.active = (
                leaf.subscribed, leaf.suppressed, leaf.active)
            own.is_nested, own.index = leaf.is_nested, leaf.index
            own.leaf = own.node.sorter.leaf_of(framework.id)
            own.first_holding = leaf.first_holding
            own.refusal = leaf.refusal
            own.refresh()
            self.leaves_at[leaf.index] = twin.subscriptions[role] = own
            self.tree.adopt(own.node, framework.id, own, own.leaf)
        return twin

    cdef int adopt_arrays(self, State original) except -1:
        """Take over all that is not Python's of another state. O(size of the state)."""
        self.n_offers_made = original.n_offers_made
        memcpy(self.total_row, original.total_row, self.stride * sizeof(int64_t))
        memcpy(self.in_use_row, original.in_use_row, self.stride * sizeof(int64_t))
        memcpy(self.excess_row, original.excess_row, self.stride * sizeof(int64_t))
        memcpy(self.headroom_row, original.headroom_row, self.stride * sizeof(int64_t))
        self.n_overdrawn = original.n_overdrawn
        return 0


cdef double life_of(object refuse_seconds, double interval) except? -1.0:
    """Return how long a filter lives, as `filter_time` does, which reads what is not common."""
    cdef double seconds
    if refuse_seconds is None:
        return -INFINITY
    if type(refuse_seconds) is float:
        seconds = refuse_seconds
        if 0 < seconds <= LONGEST_REFUSAL:
            return max(seconds, interval)
    return filter_time(refuse_seconds, interval)


cdef int32_t take_place(list places, list free, object record) except -1:
    """Put a record in a free place and return its index. O(1) amortised."""
    cdef int32_t index
    if free:
        index = free.pop()
        places[index] = record
    else:
        index = <int32_t>len(places)
        places.append(record)
    return index


cdef int64_t *longer(int64_t *row, Py_ssize_t before, Py_ssize_t stride) except NULL:
    """Return a row of `stride`, beginning with the `before` amounts of another, which is freed."""
    cdef int64_t *copied = <int64_t *>PyMem_Calloc(stride, sizeof(int64_t))
    if copied == NULL:
        raise MemoryError
    if row != NULL:
        memcpy(copied, row, before * sizeof(int64_t))
        PyMem_Free(row)
    return copied
