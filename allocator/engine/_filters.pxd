"""Filters: refused resources that a framework does not want to see again for a while.

Agents and subscriptions ("leaves") are known by their index in the engine's state, refused
resources by their bundle. A filter takes 12 bytes in the table of its leaf and 8 in the batch of
those that end together; no Python object, no timer. Where an agent has many, a bit for each leaf
tells of most of them without a look at the leaf's table.

F1. A filter stands in `by_leaf[leaf]` exactly while it holds; `on_agent[agent]` counts those on it.
F2. Each filter that holds is in the batch that it names. What went early stays there until the
    batch ends, or until such left-overs are its majority, when it is written anew; a batch
    without filters is dropped.
F3. A filter has one reference to its bundle.
F4. A bit in `common[agent]` is set only while its leaf has a filter there that refuses exactly
    the common bundle. A clear bit tells nothing. The common bundle has no reference: as long as
    a bit is set, a filter has one, and without a bit nobody looks at it.
F5. `asked` has a bit for each leaf that cycles ask, those that are active, and no other.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from allocator.engine._bundles cimport Bundles

cdef enum:
    ANY = 0x7FFFFFFF  # whatever batch
    MANY = 32  # filters on an agent from which leaves with the common bundle are kept as bits
    BITS_PER_FILTER = 16  # no more of them for each filter on the agent
    LEAVES_PER_FILTER = 4  # a look at each leaf for older filters, once there are not more of them
    PATIENCE = 8  # filters in succession with another bundle that make theirs the common one


cdef struct Filter:
    int32_t agent   # index of the agent, NONE in an empty slot
    int32_t bundle  # what is refused
    int32_t batch   # index of the batch of filters that end together


cdef struct Table:
    Filter *slots     # (capacity,) open addressing by agent; NULL while there is no filter
    int32_t capacity  # slots
    int32_t n_held    # filters, of which several may be on one agent


cdef struct Common:
    int32_t bundle    # what filters on an agent commonly refuse
    int32_t n_others  # how many in succession, up to the latest, refuse something else
    int32_t n_words   # words of leaves
    bint is_gathered  # whether filters older than the choice of the bundle have their bits too
    uint64_t leaves[1]  # (n_words,) bits of leaves known to refuse it; leaves beyond have none


cdef struct Batch:
    double end        # the instant at which its filters are gone, in seconds
    int64_t *pairs    # (capacity,) leaf << 32 | agent, those of filters that went early too
    int32_t n_pairs   # pairs in use
    int32_t capacity  # pairs there is room for
    int32_t n_held    # filters that hold; NONE in a free batch
    int32_t place     # place in the heap of batches by their end; next free batch in a free one


cdef class Filters:
    cdef readonly int64_t n_held   # filters in all
    cdef Table *by_leaf            # (leaf_capacity,) the filters of each
    cdef int32_t leaf_capacity     # leaves there is room for
    cdef int32_t *on_agent         # (agent_capacity,) number of filters
    cdef Common **common           # (agent_capacity,) NULL where filters are few; NULL if none yet
    cdef int32_t agent_capacity    # agents there is room for
    cdef uint64_t *asked           # (n_asked_words,) bits of leaves (F5)
    cdef int32_t n_asked_words     # words in it

    # Batches.
    cdef Batch *batches            # (batch_capacity,) free ones included
    cdef int32_t batch_capacity    # batches there is room for
    cdef int32_t free_batch        # the first free batch, NONE if there is none
    cdef int32_t latest            # the batch made last, NONE if it is gone
    cdef int32_t *heap             # (batch_capacity,) batches in use, a binary heap by end
    cdef int32_t n_batches         # batches in use

    # Pairs (leaf << 32 | agent) that the last `expire` ended.
    cdef int64_t *ended            # (n_ended,)
    cdef Py_ssize_t n_ended        # pairs in use
    cdef Py_ssize_t ended_capacity  # pairs there is room for

    cpdef int add(
        self, Bundles bundles, int32_t leaf, int32_t agent, int32_t bundle, double end
    ) except -1
    cpdef bint rejects(
        self, Bundles bundles, int32_t leaf, int32_t agent, int32_t bundle
    ) except -1
    cpdef int ask(self, int32_t leaf, bint asked) except -1
    cpdef bint all_refuse(self, Bundles bundles, int32_t agent, int32_t bundle) except -1
    cpdef list held_on(self, int32_t leaf, int32_t agent)
    cpdef int expire(self, Bundles bundles, double now) except -1
    cpdef double next_end(self) noexcept
    cpdef int32_t n_held_by(self, int32_t leaf, double now) noexcept
    cpdef int32_t drop_leaf(self, Bundles bundles, int32_t leaf) except -1
    cpdef int drop_agent(self, Bundles bundles, int32_t agent) except -1
    cdef list leaves_on(self, int32_t agent, list leaves_at)
    cpdef list held(self)
    cpdef Filters copy(self)

    # Within.
    cdef int reserve_leaf(self, int32_t leaf) except -1
    cdef int reserve_agent(self, int32_t agent) except -1
    cdef int reserve_batch(self) except -1
    cdef Common *common_on(self, int32_t agent) noexcept
    cdef void note(self, int32_t leaf, int32_t agent, int32_t bundle) noexcept
    cdef void gather(self, int32_t agent, Common *common) noexcept
    cdef Common *reserve_common(self, int32_t agent) noexcept
    cdef void forget(self, int32_t leaf, int32_t agent) noexcept
    cdef void forget_common(self, int32_t agent) noexcept
    cdef int32_t batch_for(self, double end) except -1
    cdef int drop(self, Bundles bundles, int32_t leaf, int32_t slot) except -1
    cdef void leave(self, int32_t batch) noexcept
    cdef void close(self, int32_t batch) noexcept
    cdef void forget_batches(self) noexcept
    cdef void forget_left_overs(self, int32_t batch) noexcept
    cdef void rise(self, int32_t batch) noexcept
    cdef void sink(self, int32_t batch) noexcept


# What is inline of tables (open addressing from a mixed index, `slots`) and of leaves as bits.

cdef inline int32_t home_of(const Table *table, int32_t agent) noexcept nogil:
    """Return the slot where an agent belongs: murmur3's finalizer, brought into range."""
    cdef uint32_t x = <uint32_t>agent
    x ^= x >> 16
    x *= <uint32_t>0x85EBCA6B
    x ^= x >> 13
    x *= <uint32_t>0xC2B2AE35
    x ^= x >> 16
    return <int32_t>(<uint64_t>x * <uint64_t>table.capacity >> 32)


cdef inline int32_t following(const Table *table, int32_t slot) noexcept nogil:
    return 0 if slot + 1 == table.capacity else slot + 1


cdef inline bint has_room(const Common *common, int32_t leaf) noexcept nogil:
    return leaf < 64 * <int64_t>common.n_words


cdef inline bint has_bit(const Common *common, int32_t leaf) noexcept nogil:
    return has_room(common, leaf) and common.leaves[leaf >> 6] >> (leaf & 63) & 1
