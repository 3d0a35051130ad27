"""Marks: what the next cycle has to look at, so that it may pass over all else.

S3. An agent is dirty if a cycle could make an offer to anybody on it for which it could not at its
    last look; `fresh` has the subscriptions that could be offered what they could not before,
    anywhere; `reopened` the pairs that could on one agent. What is in none of them is passed over:
    the last look ended with nothing that anyone would take, and until one of these marks is set
    there is nothing that could be taken then and could not now.
S4. Within a cycle resources are only given away, so that whatever a quota refused it goes on to
    refuse. Say that a role is given x of a name: it and all above it consume x more, and headroom
    has x less.
    a. The need of a role on the path falls by 0 to x, and no other changes: from the bottom up,
       guarantee − consumed falls by x, the sum of the children's needs by 0 to x, so the larger of
       both falls by 0 to x, and so does the smaller of that and what the limit leaves, which falls
       by 0 to x itself. So required headroom falls by 0 to x, and available less required shrinks.
    b. What a limit leaves a role beside needs never grows. A limit above the one that is given
       something falls by x in limit − consumed, and by no more in the needs that branch off: only
       one of those subtrees can contain that role, and its need falls by 0 to x. Other limits, and
       the needs below them, stay as they are. Guarantees serve less by the same argument.
    c. What stage one proposes of a name is the larger of what serves and the least of three: what
       is available, what limits leave beside needs, and available less required, both after what
       serves. All of these shrink; what is required after more was served elsewhere is, by a, less
       by no more than that.
    Two things may let a quota allow more. A name that is required no longer (in stage one, after
    what serves: so whenever a role ceases to need it) is no longer bound by headroom. And a shared
    entry that somebody has already is charged to a role, but not to headroom and to the roles above
    that were charged already. The first matters only where headroom has less than is available on
    the agent itself: x was at least what was required, so that before as much as is left now could
    be had. Both thus need agents that are overdrawn: in use beyond their totals, or with shared
    entries. Where there are such, `Cycle` looks at all agents from there on (`go_on_widely`).
    Entries that cannot be split are a third: of two that a name has, a smaller bound may let
    through the other. Agents that have such, and quotas, are looked at in each cycle.
    Between cycles, any change of what quotas are about marks all agents (`mark_all_for_quotas`).

`State` sets marks as things change, `Cycle` takes them back as it looks; nobody else has them.
"""

cimport cython
from cpython.mem cimport PyMem_Free
from libc.stdint cimport int32_t, int64_t, uint64_t

from allocator.engine._memory cimport duplicate, grown
from allocator.engine._records cimport Agent, Subscription


@cython.final
@cython.auto_pickle(False)
cdef class Marks:
    """The marks on one state's agents and subscriptions (S3).

    Parameters
    ----------
    agents_at : list
        index → agent, None at a free place; as the state keeps it.
    """

    def __cinit__(self, list agents_at not None):
        self.agents_at = agents_at
        self.fresh = {}
        self.epoch = 1

    def __dealloc__(self):
        PyMem_Free(self.dirty)
        PyMem_Free(self.reopened)

    # Marking.

    cdef void note(self) noexcept:
        """Note that something happened, which need not make an offer possible. O(1)."""
        self.changed = True

    cdef int mark_agent(self, Agent agent) except -1:
        """Have the next cycle look at an agent. O(1) amortised."""
        self.changed = True
        agent.is_touched = True
        return 0 if agent.is_dirty else self.put_dirty(agent)

    cdef int put_dirty(self, Agent agent) except -1:
        """List an agent that is not dirty as dirty. O(1) amortised."""
        cdef Py_ssize_t capacity = max(64, 2 * self.dirty_capacity)
        if self.n_dirty == self.dirty_capacity:
            self.keep_dirty()
        if 2 * self.n_dirty >= self.dirty_capacity:
            self.dirty = <int32_t *>grown(self.dirty, capacity * sizeof(int32_t))
            self.dirty_capacity = capacity
        self.dirty[self.n_dirty] = agent.index
        self.n_dirty += 1
        agent.is_dirty = True
        return 0

    cdef void unmark_agent(self, Agent agent) noexcept:
        """Forget an agent that is gone. O(1)."""
        agent.is_dirty = agent.is_touched = False

    cdef void mark_all(self) noexcept:
        """Have the next cycle look at every agent. O(1)."""
        self.changed = True
        self.epoch += 1
        self.widened = self.epoch

    cdef void mark_all_for_quotas(self) noexcept:
        """Do as `mark_all` where a quota may now allow what it did not, but for a cycle (S4)."""
        if not self.in_cycle:
            self.epoch += 1

    cdef void mark_rest(self) noexcept:
        """Have the next cycle look at every agent that this one has not yet looked at. O(1)."""
        self.epoch += 1

    cdef int mark_subscription(self, Subscription leaf) except -1:
        """Have the next cycle try a subscription on every agent. O(1)."""
        self.changed = True
        self.fresh[leaf] = None
        return 0

    cdef int unmark_subscription(self, Subscription leaf) except -1:
        """Forget a subscription that is to be offered nothing. O(1)."""
        self.fresh.pop(leaf, None)
        return 0

    cdef int mark_pair(self, int32_t agent, int32_t leaf) except -1:
        """Have the next cycle try a subscription on an agent, by their indices. O(1) amortised."""
        cdef Py_ssize_t capacity = max(64, 2 * self.reopened_capacity)
        self.changed = True
        if self.n_reopened == self.reopened_capacity:
            self.reopened = <uint64_t *>grown(self.reopened, capacity * sizeof(uint64_t))
            self.reopened_capacity = capacity
        self.reopened[self.n_reopened] = <uint64_t>agent << 32 | <uint64_t>leaf
        self.n_reopened += 1
        return 0

    # What a cycle does with marks.

    cdef void begin_cycle(self) noexcept:
        """Have what changes be a cycle's doing, until `end_cycle`."""
        self.in_cycle = True

    cdef void end_cycle(self) noexcept:
        self.in_cycle = False

    cdef void begin_sweep(self) noexcept:
        """Begin to look at all that is due: what happens from here on is for the next cycle."""
        self.changed = False

    cdef int end_sweep(self) except -1:
        """Take back the marks that are not on agents, all of which were seen to. O(fresh)."""
        self.swept = self.epoch
        self.fresh.clear()
        return 0

    cdef list wanted(self):
        """Return the active subscriptions to be tried on every agent. O(fresh)."""
        cdef list found = []
        cdef Subscription leaf
        for leaf in self.fresh:
            if leaf.active:
                found.append(leaf)
        return found

    cdef bint is_due(self, Agent agent) noexcept:
        """Tell whether an agent is to be looked at for everybody's sake. O(1)."""
        return agent.is_dirty or agent.looked < self.epoch

    cdef int set_looked(self, Agent agent, bint has_quotas) except -1:
        """Take back an agent's mark as it is looked at. O(1) amortised."""
        agent.is_touched = False
        agent.looked = self.epoch
        # A shared entry can be offered again in the next cycle; of entries that cannot be split,
        # a quota that leaves less room may let through others than before.
        if not (agent.has_shared or (has_quotas and agent.is_intricate)):
            agent.is_dirty = False
        elif not agent.is_dirty:
            self.put_dirty(agent)
        return 0

    cdef Agent dirty_agent(self, Py_ssize_t i):
        """Return the i-th of the agents marked, None if it is dirty no more. O(1)."""
        cdef Agent agent = self.agents_at[self.dirty[i]]
        return agent if agent is not None and agent.is_dirty else None

    cdef int keep_dirty(self) except -1:
        """List each dirty agent once: looks and removals leave others behind. O(marks)."""
        cdef Py_ssize_t n_marks = self.n_dirty
        cdef Py_ssize_t i
        cdef Agent agent
        self.n_dirty = 0
        for i in range(n_marks):
            agent = self.dirty_agent(i)
            if agent is not None:
                agent.is_dirty = False  # until all were seen
                self.dirty[self.n_dirty] = agent.index
                self.n_dirty += 1
        for i in range(self.n_dirty):
            (<Agent>self.agents_at[self.dirty[i]]).is_dirty = True
        return 0

    cdef uint64_t *take_pairs(self, Py_ssize_t *n) noexcept:
        """Hand over what was reopened, which the caller then frees, and set how many. O(1)."""
        cdef uint64_t *pairs = self.reopened
        n[0] = self.n_reopened
        self.reopened = NULL
        self.n_reopened = self.reopened_capacity = 0
        return pairs

    cdef int spread_pairs(self) except -1:
        """Have what was reopened looked at for everybody's sake. O(reopened)."""
        cdef Py_ssize_t i
        cdef Agent agent
        for i in range(self.n_reopened):
            agent = self.agents_at[self.reopened[i] >> 32]
            if agent is not None:
                self.mark_agent(agent)
        self.n_reopened = 0
        return 0

    # Looking.

    cdef bint any_due(self, object agents) except -1:
        """Tell whether the next cycle tries anything on any of all agents. O(marks)."""
        cdef Py_ssize_t i
        cdef Agent agent
        if self.fresh:
            return True
        if self.swept < self.epoch:
            for agent in agents:
                if agent.admitted:
                    return True
            return False
        for i in range(self.n_dirty):
            agent = self.dirty_agent(i)
            if agent is not None and agent.admitted:
                return True
        for i in range(self.n_reopened):
            agent = self.agents_at[self.reopened[i] >> 32]
            if agent is not None and agent.admitted:
                return True
        return False

    cdef object touched(self):
        """Return the agents to which something happened, None if it was to all. O(marks).

        Not those that are dirty for nothing but shared entries, nor those looked at for the sake of
        quotas: they are due in the next full cycle.
        """
        cdef list found = []
        cdef Py_ssize_t i
        cdef Agent agent
        if self.fresh or self.swept < self.widened:
            return None
        self.keep_dirty()
        for i in range(self.n_dirty):
            agent = self.dirty_agent(i)
            if agent.is_touched and agent.admitted:
                found.append(agent)
        return found

    cdef Marks copy_for(self, list agents_at, list leaves_at):
        """Return the same marks on a fork's records, which are at the same places. O(marks)."""
        cdef Marks twin = Marks(agents_at)
        twin.fresh = {leaves_at[(<Subscription>leaf).index]: None for leaf in self.fresh}
        twin.epoch, twin.swept, twin.widened = self.epoch, self.swept, self.widened
        twin.changed = self.changed
        twin.dirty = <int32_t *>duplicate(self.dirty, self.dirty_capacity * sizeof(int32_t))
        twin.n_dirty, twin.dirty_capacity = self.n_dirty, self.dirty_capacity
        twin.reopened = <uint64_t *>duplicate(
            self.reopened, self.reopened_capacity * sizeof(uint64_t))
        twin.n_reopened, twin.reopened_capacity = self.n_reopened, self.reopened_capacity
        return twin
