"""What filters keep within, and their invariants by recomputation (F1 to F4)."""

from libc.stdint cimport int32_t, int64_t

from allocator.engine._bundles cimport Bundles
from allocator.engine._filters cimport (
    BITS_PER_FILTER,
    MANY,
    PATIENCE,
    Common,
    Filter,
    Filters,
    Table,
    following,
    has_bit,
    home_of,
)
from allocator.sorter._siblings cimport NONE

from collections import Counter


def ended_pairs(Filters filters):
    """Return (leaf, agent) of the filters that the last `expire` ended."""
    cdef Py_ssize_t i
    return [(filters.ended[i] >> 32, <int32_t>filters.ended[i]) for i in range(filters.n_ended)]


def asked(Filters filters):
    """Return the leaves that cycles ask (F5)."""
    cdef int32_t leaf
    return [
        leaf
        for leaf in range(64 * filters.n_asked_words)
        if filters.asked[leaf >> 6] >> (leaf & 63) & 1
    ]


def known(Filters filters):
    """Return (leaf, agent) of what is known to be refused without a look."""
    cdef int32_t leaf, agent
    return [
        (leaf, agent)
        for agent in range(filters.agent_capacity if filters.common != NULL else 0)
        for leaf in range(filters.leaf_capacity)
        if filters.common[agent] != NULL and has_bit(filters.common[agent], leaf)
    ]


def check(Filters filters, Bundles bundles):
    """Raise `AssertionError` unless F1 to F4 hold, by recomputing."""
    held = filters.held()
    assert len(held) == filters.n_held
    check_tables(filters, held)
    check_common(filters, held)
    check_batches(filters)
    check_heap(filters)
    check_references(bundles, held)


cdef int check_tables(Filters filters, list held) except -1:
    """Check F1, and that each filter is found from its agent's home."""
    cdef int32_t leaf, agent, i
    cdef Table *table
    on_agent = [0] * filters.agent_capacity
    for leaf, agent, _, _ in held:
        on_agent[agent] += 1
    assert on_agent == [filters.on_agent[i] for i in range(filters.agent_capacity)]
    for leaf in range(filters.leaf_capacity):
        table = &filters.by_leaf[leaf]
        # One that could not be added, for lack of memory, may have left room for itself.
        assert 5 * table.n_held <= 4 * table.capacity <= 16 * max(table.n_held, 1)
        assert (table.slots == NULL) == (table.capacity == 0)
        in_use = [i for i in range(table.capacity) if table.slots[i].agent != NONE]
        assert len(in_use) == table.n_held
        for slot in in_use:
            i = home_of(table, table.slots[slot].agent)
            while i != slot:
                assert table.slots[i].agent != NONE
                i = following(table, i)
    return 0


cdef int check_common(Filters filters, list held) except -1:
    """Check F4, and that few filters have no leaves as bits."""
    cdef int32_t leaf, agent
    cdef Common *common
    refused = {filter[:3] for filter in held}
    for leaf, agent in known(filters):
        assert (leaf, agent, filters.common[agent].bundle) in refused
    for agent in range(filters.agent_capacity):
        common = filters.common_on(agent)
        if common != NULL:
            assert 2 * filters.on_agent[agent] >= MANY
            assert 64 * common.n_words <= 2 * BITS_PER_FILTER * filters.on_agent[agent]
            assert 0 <= common.n_others < PATIENCE
    return 0


cdef int check_batches(Filters filters) except -1:
    """Check F2: each slot has its pair, the latest and the free batches are what they should."""
    cdef int32_t leaf, i, batch
    cdef Filter *filter
    pairs = {filters.heap[i]: [] for i in range(filters.n_batches)}
    for leaf in range(filters.leaf_capacity):
        for i in range(filters.by_leaf[leaf].capacity):
            filter = &filters.by_leaf[leaf].slots[i]
            if filter.agent != NONE:
                pairs[filter.batch].append(<int64_t>leaf << 32 | filter.agent)
    for batch, expected in pairs.items():
        assert filters.batches[batch].n_held == len(expected) > 0
        assert filters.batches[batch].n_pairs <= 2 * filters.batches[batch].n_held
        assert filters.batches[batch].n_pairs <= filters.batches[batch].capacity
        found = [filters.batches[batch].pairs[i] for i in range(filters.batches[batch].n_pairs)]
        assert Counter(expected) <= Counter(found)
    assert filters.latest == NONE or filters.latest in pairs
    batch = filters.free_batch
    while batch != NONE:
        assert batch not in pairs
        assert filters.batches[batch].n_held == NONE and filters.batches[batch].pairs == NULL
        pairs[batch] = []
        batch = filters.batches[batch].place
    assert len(pairs) == filters.batch_capacity
    return 0


cdef int check_heap(Filters filters) except -1:
    """Check that no batch ends before the one above it, and that each knows its place."""
    cdef int32_t place
    cdef double end
    for place in range(filters.n_batches):
        end = filters.batches[filters.heap[place]].end
        assert filters.batches[filters.heap[place]].place == place
        assert place == 0 or filters.batches[filters.heap[(place - 1) // 2]].end <= end
    return 0


cdef int check_references(Bundles bundles, list held) except -1:
    """Check F3 as far as it can be seen from here: others have references, too."""
    cdef int32_t bundle
    refs = {}
    for _, _, bundle, _ in held:
        refs[bundle] = refs.get(bundle, 0) + 1
    for bundle, n in refs.items():
        assert bundle == 0 or bundles.bundles[bundle].refs >= n
    return 0
