"""Filters: who refused what, where and until when.

See `_filters.pxd` for the data and its invariants (F1 to F5). In the costs given below, a search in
a leaf's table is O(1) expected, and linear in the number of filters of that leaf on that agent.

A filter is found in two ways: by leaf and agent, in the table of the leaf, and by its end, in a
batch. The way from a batch to the table is a pair of leaf and agent, which counts only if a slot
of theirs names that batch. So a filter that goes early need not be looked for in its batch, and
what it leaves there means nothing to those who get the same indices later.

A cycle asks many leaves about one agent in turn, each with its own table, most of which are in no
cache of the processor. Those who share a role are shown, and refuse, the same bundle, so where an
agent has many filters, the leaves that refuse its common bundle are kept as bits side by side.
"""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from allocator.engine._bundles cimport Bundles, release, retained
from allocator.engine._memory cimport duplicate, grown
from allocator.sorter._siblings cimport NONE


@cython.final
@cython.auto_pickle(False)
cdef class Filters:
    """All filters, by leaf and agent and by the time at which they end.

    Filters with one end, added one after another, share a batch. Each costs 15 to 19 bytes in the
    table of its leaf and 8 to 10 in its batch. A batch costs 36 to 45 apart from that, so a filter
    with an end of its own costs 60 to 75 in all, and what the allocation of a small array adds.
    The bits of leaves cost at most 2 a filter, and up to 4 where half of the filters have gone.
    """

    def __cinit__(self):
        self.free_batch = NONE
        self.latest = NONE

    def __dealloc__(self):
        # References to bundles are not given back: a store goes with the filters that refer to it.
        cdef int32_t i
        for i in range(self.leaf_capacity):
            PyMem_Free(self.by_leaf[i].slots)
        for i in range(self.agent_capacity):
            self.forget_common(i)
        for i in range(self.batch_capacity):
            PyMem_Free(self.batches[i].pairs)
        PyMem_Free(self.by_leaf)
        PyMem_Free(self.on_agent)
        PyMem_Free(self.common)
        PyMem_Free(self.asked)
        PyMem_Free(self.batches)
        PyMem_Free(self.heap)
        PyMem_Free(self.ended)

    cpdef int add(
        self, Bundles bundles, int32_t leaf, int32_t agent, int32_t bundle, double end
    ) except -1:
        """Refuse `bundle` of an agent until `end`. O(1) amortised, O(log batches) for a new end."""
        cdef Table *table
        cdef Batch *batch
        cdef int32_t index, slot
        self.reserve_leaf(leaf)
        self.reserve_agent(agent)
        table = &self.by_leaf[leaf]
        reserve_slot(table)
        index = self.batch_for(end)  # the last that can fail: no batch without filters remains
        slot = slot_for(table, agent)
        table.slots[slot].agent = agent
        table.slots[slot].bundle = retained(bundles, bundle)
        table.slots[slot].batch = index
        table.n_held += 1
        batch = &self.batches[index]
        batch.pairs[batch.n_pairs] = <int64_t>leaf << 32 | agent
        batch.n_pairs += 1
        batch.n_held += 1
        self.on_agent[agent] += 1
        self.n_held += 1
        self.note(leaf, agent, bundle)
        return 0

    cpdef bint rejects(
        self, Bundles bundles, int32_t leaf, int32_t agent, int32_t bundle
    ) except -1:
        """Tell whether a filter refuses `bundle`: what it refuses covers that. O(1)."""
        cdef const Table *table
        cdef Common *common
        cdef int32_t i
        if (agent >= self.agent_capacity or self.on_agent[agent] == 0
                or leaf >= self.leaf_capacity or self.by_leaf[leaf].n_held == 0):
            return False
        common = self.common_on(agent)
        if common != NULL and has_bit(common, leaf) and (
                common.bundle == bundle or bundles.covers(common.bundle, bundle)):
            return True
        table = &self.by_leaf[leaf]
        i = home_of(table, agent)
        while table.slots[i].agent != NONE:
            if table.slots[i].agent == agent and (
                    table.slots[i].bundle == bundle
                    or bundles.covers(table.slots[i].bundle, bundle)):
                if common != NULL and table.slots[i].bundle == common.bundle:
                    set_bit(common, leaf)  # older than the choice, or cleared with another
                return True
            i = following(table, i)
        return False

    cpdef int ask(self, int32_t leaf, bint asked) except -1:
        """Have cycles ask a leaf, or not (F5). O(1) amortised."""
        cdef int32_t word = leaf >> 6
        cdef Py_ssize_t n_words = max(word + 1, 2 * <Py_ssize_t>self.n_asked_words)
        if word >= self.n_asked_words:
            self.asked = <uint64_t *>grown(self.asked, n_words * sizeof(uint64_t))
            memset(self.asked + self.n_asked_words, 0,
                   (n_words - self.n_asked_words) * sizeof(uint64_t))
            self.n_asked_words = <int32_t>n_words
        if asked:
            self.asked[word] |= <uint64_t>1 << (leaf & 63)
        else:
            self.asked[word] &= ~(<uint64_t>1 << (leaf & 63))
        return 0

    cpdef bint all_refuse(self, Bundles bundles, int32_t agent, int32_t bundle) except -1:
        """Tell whether all leaves that cycles ask are known to refuse whatever is in `bundle`.

        What is offered of a bundle is covered by whatever covers that, so a leaf whose filter
        refuses the common bundle refuses it too (F4). False tells nothing. O(leaves / 64).
        """
        cdef const Common *common
        cdef int32_t i
        if agent >= self.agent_capacity or self.on_agent[agent] < MANY:
            return False
        common = self.common_on(agent)
        if common == NULL or not (
                common.bundle == bundle or bundles.covers(common.bundle, bundle)):
            return False
        for i in range(self.n_asked_words):
            if self.asked[i] & ~(common.leaves[i] if i < common.n_words else 0):
                return False
        return True

    cpdef list held_on(self, int32_t leaf, int32_t agent):
        """Return (bundle, end) of each filter of a leaf on an agent. O(1)."""
        cdef const Table *table
        cdef list found = []
        cdef int32_t i
        if leaf >= self.leaf_capacity or self.by_leaf[leaf].n_held == 0:
            return found
        table = &self.by_leaf[leaf]
        i = home_of(table, agent)
        while table.slots[i].agent != NONE:
            if table.slots[i].agent == agent:
                found.append((table.slots[i].bundle, self.batches[table.slots[i].batch].end))
            i = following(table, i)
        return found

    cpdef int expire(self, Bundles bundles, double now) except -1:
        """End the filters whose end has come; `ended` has their pairs. O(ended + log batches)."""
        cdef Batch *batch
        cdef int64_t pair
        cdef int32_t capacity, slot
        PyMem_Free(self.ended)  # which may be the trace of a million
        self.ended = NULL
        self.n_ended = self.ended_capacity = 0
        while self.n_batches and self.next_end() <= now:
            if self.n_ended == self.ended_capacity:
                capacity = next_capacity(self.ended_capacity)
                self.ended = <int64_t *>grown(self.ended, capacity * sizeof(int64_t))
                self.ended_capacity = capacity
            batch = &self.batches[self.heap[0]]
            batch.n_pairs -= 1
            pair = batch.pairs[batch.n_pairs]
            slot = slot_of(&self.by_leaf[pair >> 32], <int32_t>pair, self.heap[0])
            if slot != NONE:
                self.ended[self.n_ended] = pair
                self.n_ended += 1
                self.drop(bundles, <int32_t>(pair >> 32), slot)
        return 0

    cpdef double next_end(self) noexcept:
        """Return the earliest end, infinity if there is no filter. O(1)."""
        return self.batches[self.heap[0]].end if self.n_batches else INFINITY

    cpdef int32_t n_held_by(self, int32_t leaf, double now) noexcept:
        """Return how many filters of a leaf end after `now`. O(its filters), O(1) if all do."""
        cdef int32_t n = 0
        cdef int32_t i
        cdef const Table *table
        if leaf >= self.leaf_capacity:
            return 0
        table = &self.by_leaf[leaf]
        if self.next_end() > now:
            return table.n_held
        for i in range(table.capacity):
            if table.slots[i].agent != NONE and self.batches[table.slots[i].batch].end > now:
                n += 1
        return n

    cpdef int32_t drop_leaf(self, Bundles bundles, int32_t leaf) except -1:
        """End early all filters of a leaf; return how many. O(its filters)."""
        cdef Table gone
        cdef int32_t i
        if leaf >= self.leaf_capacity or self.by_leaf[leaf].n_held == 0:
            return 0
        gone = self.by_leaf[leaf]
        memset(&self.by_leaf[leaf], 0, sizeof(Table))
        self.n_held -= gone.n_held
        try:
            for i in range(gone.capacity):
                if gone.slots[i].agent != NONE:
                    self.forget(leaf, gone.slots[i].agent)
                    self.leave(gone.slots[i].batch)
            for i in range(gone.capacity):
                if gone.slots[i].agent != NONE:
                    release(bundles, gone.slots[i].bundle)
        finally:
            PyMem_Free(gone.slots)
        return gone.n_held

    cpdef int drop_agent(self, Bundles bundles, int32_t agent) except -1:
        """End early all filters on an agent. O(leaves + filters there), O(1) if there is none."""
        cdef int32_t leaf = 0
        cdef int32_t slot
        if agent >= self.agent_capacity:
            return 0
        self.forget_common(agent)
        while self.on_agent[agent]:
            slot = slot_of(&self.by_leaf[leaf], agent, ANY)
            if slot == NONE:
                leaf += 1
            else:
                self.drop(bundles, leaf, slot)
        return 0

    cdef list leaves_on(self, int32_t agent, list leaves_at):
        """Return the records of the leaves with filters on an agent. O(leaves), O(1) if none."""
        cdef list found = []
        cdef int32_t leaf
        if agent < self.agent_capacity and self.on_agent[agent]:
            for leaf in range(self.leaf_capacity):
                if slot_of(&self.by_leaf[leaf], agent, ANY) != NONE:
                    found.append(leaves_at[leaf])
        return found

    cpdef list held(self):
        """Return (leaf, agent, bundle, end) of each filter, in no particular order. O(filters)."""
        cdef list held = []
        cdef int32_t leaf, i
        cdef const Filter *filter
        for leaf in range(self.leaf_capacity):
            for i in range(self.by_leaf[leaf].capacity):
                filter = &self.by_leaf[leaf].slots[i]
                if filter.agent != NONE:
                    held.append(
                        (leaf, filter.agent, filter.bundle, self.batches[filter.batch].end))
        return held

    cpdef Filters copy(self):
        """Return the same filters, for use with a copy of the bundles. O(filters)."""
        cdef Filters twin = Filters()
        cdef int32_t i
        if self.leaf_capacity:
            twin.reserve_leaf(self.leaf_capacity - 1)
        for i in range(self.leaf_capacity):
            twin.by_leaf[i].slots = <Filter *>duplicate(
                self.by_leaf[i].slots, self.by_leaf[i].capacity * sizeof(Filter))
            twin.by_leaf[i].capacity = self.by_leaf[i].capacity
            twin.by_leaf[i].n_held = self.by_leaf[i].n_held
        twin.on_agent = <int32_t *>duplicate(
            self.on_agent, self.agent_capacity * sizeof(int32_t))
        twin.agent_capacity = self.agent_capacity
        twin.asked = <uint64_t *>duplicate(self.asked, self.n_asked_words * sizeof(uint64_t))
        twin.n_asked_words = self.n_asked_words
        if self.common != NULL:
            twin.common = <Common **>PyMem_Calloc(self.agent_capacity, sizeof(Common *))
            if twin.common == NULL:
                raise MemoryError
            for i in range(self.agent_capacity):
                if self.common[i] != NULL:
                    twin.common[i] = <Common *>duplicate(
                        self.common[i], size_of(self.common[i].n_words))
        twin.heap = <int32_t *>duplicate(self.heap, self.batch_capacity * sizeof(int32_t))
        twin.batches = <Batch *>duplicate(self.batches, self.batch_capacity * sizeof(Batch))
        for i in range(self.batch_capacity):
            twin.batches[i].pairs = NULL
        twin.batch_capacity = self.batch_capacity
        for i in range(self.batch_capacity):
            twin.batches[i].pairs = <int64_t *>duplicate(
                self.batches[i].pairs, self.batches[i].capacity * sizeof(int64_t))
        twin.n_batches = self.n_batches
        twin.free_batch = self.free_batch
        twin.latest = self.latest
        twin.n_held = self.n_held
        return twin

    @property
    def n_bytes(self):
        """Memory taken, in bytes, by capacities. O(leaves + agents + batches)."""
        cdef int64_t n = sizeof(Table) * self.leaf_capacity + sizeof(int32_t) * self.agent_capacity
        cdef int32_t i
        n += (sizeof(Batch) + sizeof(int32_t)) * self.batch_capacity
        n += sizeof(int64_t) * self.ended_capacity + sizeof(uint64_t) * self.n_asked_words
        for i in range(self.leaf_capacity):
            n += sizeof(Filter) * self.by_leaf[i].capacity
        for i in range(self.batch_capacity):
            n += sizeof(int64_t) * self.batches[i].capacity
        if self.common != NULL:
            n += sizeof(Common *) * self.agent_capacity
            for i in range(self.agent_capacity):
                if self.common[i] != NULL:
                    n += size_of(self.common[i].n_words)
        return n

    # Room, before anything is changed.

    cdef int reserve_leaf(self, int32_t leaf) except -1:
        """Make room for a leaf. O(1) amortised."""
        cdef Py_ssize_t capacity = max(leaf + 1, next_capacity(self.leaf_capacity))
        if leaf >= self.leaf_capacity:
            self.by_leaf = <Table *>grown(self.by_leaf, capacity * sizeof(Table))
            memset(self.by_leaf + self.leaf_capacity, 0,
                   (capacity - self.leaf_capacity) * sizeof(Table))
            self.leaf_capacity = <int32_t>capacity
        return 0

    cdef int reserve_agent(self, int32_t agent) except -1:
        """Make room for an agent. O(1) amortised."""
        cdef Py_ssize_t capacity = max(agent + 1, next_capacity(self.agent_capacity))
        if agent >= self.agent_capacity:
            self.on_agent = <int32_t *>grown(self.on_agent, capacity * sizeof(int32_t))
            memset(self.on_agent + self.agent_capacity, 0,
                   (capacity - self.agent_capacity) * sizeof(int32_t))
            if self.common != NULL:
                self.common = <Common **>grown(self.common, capacity * sizeof(Common *))
                memset(self.common + self.agent_capacity, 0,
                       (capacity - self.agent_capacity) * sizeof(Common *))
            self.agent_capacity = <int32_t>capacity
        return 0

    cdef int reserve_batch(self) except -1:
        """See to it that a batch is free. O(1) amortised."""
        cdef Py_ssize_t capacity = next_capacity(self.batch_capacity)
        cdef Py_ssize_t i
        if self.free_batch != NONE:
            return 0
        self.heap = <int32_t *>grown(self.heap, capacity * sizeof(int32_t))
        self.batches = <Batch *>grown(self.batches, capacity * sizeof(Batch))
        for i in range(self.batch_capacity, capacity):
            memset(&self.batches[i], 0, sizeof(Batch))
            self.batches[i].n_held = NONE
            self.batches[i].place = self.free_batch
            self.free_batch = <int32_t>i
        self.batch_capacity = <int32_t>capacity
        return 0

    # Filters come and go.

    cdef int32_t batch_for(self, double end) except -1:
        """Return a batch that ends then, with room for a pair: the latest or a new one."""
        cdef int32_t index = self.latest
        if index != NONE and self.batches[index].end == end:
            reserve_pair(&self.batches[index])
            return index
        self.reserve_batch()
        index = self.free_batch
        reserve_pair(&self.batches[index])
        self.free_batch = self.batches[index].place
        self.batches[index].end = end
        self.batches[index].n_held = 0
        self.batches[index].place = self.n_batches
        self.heap[self.n_batches] = index
        self.n_batches += 1
        self.rise(index)
        self.latest = index
        return index

    cdef int drop(self, Bundles bundles, int32_t leaf, int32_t slot) except -1:
        """End one filter. O(1) amortised, O(log batches) if it is the last of its batch."""
        cdef Filter gone = self.by_leaf[leaf].slots[slot]
        clear_slot(&self.by_leaf[leaf], slot)
        self.forget(leaf, gone.agent)
        self.n_held -= 1
        self.leave(gone.batch)
        return release(bundles, gone.bundle)

    cdef void leave(self, int32_t batch) noexcept:
        """Count one filter of a batch less, which is in no table any more (F2)."""
        cdef Batch *left = &self.batches[batch]
        left.n_held -= 1
        if left.n_held == 0:
            self.close(batch)
        elif left.n_pairs > 2 * <int64_t>left.n_held:
            self.forget_left_overs(batch)

    cdef void forget_left_overs(self, int32_t batch) noexcept:
        """Write the pairs of a batch anew, one for each filter that holds. O(pairs).

        A left-over may name the leaf and agent of a later filter in the same batch. So each slot
        found is marked, by the complement of its batch, until all pairs have been looked at.
        """
        cdef Batch *kept = &self.batches[batch]
        cdef Table *table
        cdef int32_t n = 0
        cdef int32_t i, slot
        for i in range(kept.n_pairs):
            table = &self.by_leaf[kept.pairs[i] >> 32]
            slot = slot_of(table, <int32_t>kept.pairs[i], batch)
            if slot != NONE:
                table.slots[slot].batch = ~batch
                kept.pairs[n] = kept.pairs[i]
                n += 1
        for i in range(n):
            table = &self.by_leaf[kept.pairs[i] >> 32]
            table.slots[slot_of(table, <int32_t>kept.pairs[i], ~batch)].batch = batch
        kept.n_pairs = n
        fit_pairs(kept)

    cdef void close(self, int32_t batch) noexcept:
        """Drop a batch without filters. O(log batches)."""
        cdef Batch *closed = &self.batches[batch]
        cdef int32_t moved
        self.n_batches -= 1
        moved = self.heap[self.n_batches]
        if moved != batch:
            self.batches[moved].place = closed.place
            self.rise(moved)
            self.sink(moved)
        PyMem_Free(closed.pairs)
        memset(closed, 0, sizeof(Batch))
        closed.n_held = NONE
        closed.place = self.free_batch
        self.free_batch = batch
        if self.latest == batch:
            self.latest = NONE
        if self.n_batches == 0:
            self.forget_batches()

    cdef void forget_batches(self) noexcept:
        """Give back the memory for batches, none of which is in use. O(1)."""
        PyMem_Free(self.batches)
        PyMem_Free(self.heap)
        self.batches = NULL
        self.heap = NULL
        self.batch_capacity = 0
        self.free_batch = NONE

    # Leaves that refuse the common bundle of an agent. Without memory for them there are none.

    cdef inline Common *common_on(self, int32_t agent) noexcept:
        """Return the common bundle of an agent and its leaves, or NULL. O(1)."""
        return NULL if self.common == NULL else self.common[agent]

    cdef void note(self, int32_t leaf, int32_t agent, int32_t bundle) noexcept:
        """Take notice of a new filter. O(1) amortised, O(leaves / 64) for a new common bundle."""
        cdef Common *common
        if self.on_agent[agent] < MANY:
            return
        common = self.common_on(agent)
        if common == NULL or not has_room(common, leaf):
            common = self.reserve_common(agent)
        if common == NULL:
            return
        if common.bundle == bundle:
            common.n_others = 0
        else:
            common.n_others += 1
        if common.n_others == PATIENCE:
            common.bundle = bundle
            common.n_others = 0
            common.is_gathered = False
            memset(common.leaves, 0, common.n_words * sizeof(uint64_t))
        if common.bundle == bundle:
            set_bit(common, leaf)
        if not common.is_gathered and (
                self.leaf_capacity <= LEAVES_PER_FILTER * <int64_t>self.on_agent[agent]):
            self.gather(agent, common)

    cdef void gather(self, int32_t agent, Common *common) noexcept:
        """Set the bits of leaves whose filters are older than the common bundle. O(leaves)."""
        cdef const Table *table
        cdef int32_t leaf, i
        common.is_gathered = True
        for leaf in range(self.leaf_capacity):
            table = &self.by_leaf[leaf]
            if table.n_held == 0 or has_bit(common, leaf):
                continue
            i = home_of(table, agent)
            while table.slots[i].agent != NONE:
                if table.slots[i].agent == agent and table.slots[i].bundle == common.bundle:
                    set_bit(common, leaf)
                    break
                i = following(table, i)

    cdef Common *reserve_common(self, int32_t agent) noexcept:
        """Make room for all leaves, if there are filters enough; return what there is then."""
        cdef Common *common = self.common_on(agent)
        cdef int32_t n_words = (self.leaf_capacity + 63) // 64
        cdef int32_t n_before = 0 if common == NULL else common.n_words
        if 64 * <int64_t>n_words > BITS_PER_FILTER * <int64_t>self.on_agent[agent]:
            return common
        if self.common == NULL:
            self.common = <Common **>PyMem_Calloc(self.agent_capacity, sizeof(Common *))
            if self.common == NULL:
                return NULL
        common = <Common *>PyMem_Realloc(common, size_of(n_words))
        if common == NULL:
            return self.common[agent]
        if n_before == 0:
            common.bundle = NONE
            common.is_gathered = False
            common.n_others = PATIENCE - 1  # the next is the common one
        memset(&common.leaves[n_before], 0, (n_words - n_before) * sizeof(uint64_t))
        common.n_words = n_words
        self.common[agent] = common
        return common

    cdef void forget(self, int32_t leaf, int32_t agent) noexcept:
        """Count one filter less on an agent. O(1)."""
        cdef Common *common = self.common_on(agent)
        cdef int64_t n = self.on_agent[agent] - 1
        self.on_agent[agent] = <int32_t>n
        if common == NULL:
            return
        if 2 * n < MANY or 64 * <int64_t>common.n_words > 2 * BITS_PER_FILTER * n:
            self.forget_common(agent)
        else:
            clear_bit(common, leaf)  # of another filter there, too, until it is found again

    cdef void forget_common(self, int32_t agent) noexcept:
        """Give back the memory for the leaves of an agent. O(1)."""
        if self.common != NULL:
            PyMem_Free(self.common[agent])
            self.common[agent] = NULL

    # The heap.

    cdef void rise(self, int32_t batch) noexcept:
        """Move a batch up from its place to where its end belongs. O(log batches)."""
        cdef int32_t place = self.batches[batch].place
        cdef int32_t above
        while place > 0:
            above = self.heap[(place - 1) // 2]
            if self.batches[above].end <= self.batches[batch].end:
                break
            self.heap[place] = above
            self.batches[above].place = place
            place = (place - 1) // 2
        self.heap[place] = batch
        self.batches[batch].place = place

    cdef void sink(self, int32_t batch) noexcept:
        """Move a batch down from its place to where its end belongs. O(log batches)."""
        cdef int32_t place = self.batches[batch].place
        cdef int32_t below
        while 2 * <int64_t>place + 1 < self.n_batches:
            below = 2 * place + 1
            if (below + 1 < self.n_batches and self.batches[self.heap[below + 1]].end
                    < self.batches[self.heap[below]].end):
                below += 1
            if self.batches[batch].end <= self.batches[self.heap[below]].end:
                break
            self.heap[place] = self.heap[below]
            self.batches[self.heap[place]].place = place
            place = below
        self.heap[place] = batch
        self.batches[batch].place = place


# Tables: linear probing from a mixed index, so that a capacity need not be a power of two. A table
# is never full; at most 4/5 of it are in use.

cdef inline int32_t distance(const Table *table, int32_t a, int32_t b) noexcept nogil:
    """Return how many steps it is from slot `a` on to slot `b`."""
    return b - a if a <= b else b - a + table.capacity


cdef inline int32_t slot_of(const Table *table, int32_t agent, int32_t batch) noexcept nogil:
    """Return a slot of an agent in a batch, or in ANY, or NONE if there is none. O(1)."""
    cdef int32_t slot
    if table.n_held == 0:
        return NONE
    slot = home_of(table, agent)
    while table.slots[slot].agent != NONE:
        if table.slots[slot].agent == agent and (
                batch == ANY or table.slots[slot].batch == batch):
            return slot
        slot = following(table, slot)
    return NONE


cdef inline int32_t slot_for(const Table *table, int32_t agent) noexcept nogil:
    """Return the empty slot for a further filter on an agent. O(1)."""
    cdef int32_t slot = home_of(table, agent)
    while table.slots[slot].agent != NONE:
        slot = following(table, slot)
    return slot


cdef int reserve_slot(Table *table) except -1:
    """Make room for a filter. O(1) amortised."""
    if 5 * (<int64_t>table.n_held + 1) > 4 * <int64_t>table.capacity:
        if not resize(table, max(2, <int32_t>next_capacity(table.capacity))):
            raise MemoryError
    return 0


cdef bint resize(Table *table, int32_t capacity) noexcept:
    """Give a table so many slots; return False and leave it if there is no memory. O(slots)."""
    cdef Table old = table[0]
    cdef int32_t i
    cdef Filter *slots = <Filter *>PyMem_Malloc(capacity * sizeof(Filter))
    if slots == NULL:
        return False
    memset(slots, 0xFF, capacity * sizeof(Filter))  # all NONE
    table.slots = slots
    table.capacity = capacity
    for i in range(old.capacity):
        if old.slots[i].agent != NONE:
            slots[slot_for(table, old.slots[i].agent)] = old.slots[i]
    PyMem_Free(old.slots)
    return True


cdef void clear_slot(Table *table, int32_t slot) noexcept:
    """Take a filter out, and move those behind it that are not at home nearer to it. O(1)."""
    cdef Filter *slots = table.slots
    cdef int32_t i = following(table, slot)
    while slots[i].agent != NONE:
        if distance(table, home_of(table, slots[i].agent), i) >= distance(table, slot, i):
            slots[slot] = slots[i]
            slot = i
        i = following(table, i)
    slots[slot].agent = NONE
    table.n_held -= 1
    if table.n_held == 0:
        PyMem_Free(slots)
        memset(table, 0, sizeof(Table))
    elif table.capacity > 4 * <int64_t>table.n_held:
        resize(table, 2 * table.n_held)


# Leaves as bits.

cdef inline void set_bit(Common *common, int32_t leaf) noexcept nogil:
    if has_room(common, leaf):
        common.leaves[leaf >> 6] |= <uint64_t>1 << (leaf & 63)


cdef inline void clear_bit(Common *common, int32_t leaf) noexcept nogil:
    if has_room(common, leaf):
        common.leaves[leaf >> 6] &= ~(<uint64_t>1 << (leaf & 63))


cdef inline size_t size_of(int32_t n_words) noexcept nogil:
    """Return what a common bundle with so many words of leaves takes, in bytes."""
    return sizeof(Common) + (n_words - 1) * sizeof(uint64_t)


# Room for more.

cdef inline Py_ssize_t next_capacity(Py_ssize_t capacity) noexcept nogil:
    """Return the next capacity: small steps, since memory is what filters are short of."""
    return capacity + capacity // 4 + 1


cdef int reserve_pair(Batch *batch) except -1:
    """Make room for a pair. O(1) amortised."""
    if batch.n_pairs == batch.capacity:
        batch.pairs = <int64_t *>grown(batch.pairs, next_capacity(batch.capacity) * sizeof(int64_t))
        batch.capacity = <int32_t>next_capacity(batch.capacity)
    return 0


cdef void fit_pairs(Batch *batch) noexcept:
    """Give back the room for pairs that is not in use."""
    cdef void *fitted = PyMem_Realloc(batch.pairs, batch.n_pairs * sizeof(int64_t))
    if fitted != NULL:
        batch.pairs = <int64_t *>fitted
        batch.capacity = batch.n_pairs
