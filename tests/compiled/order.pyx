"""The sort of agents by place, for Python."""

from cpython.mem cimport PyMem_Free
from libc.stdint cimport int32_t, uint64_t

from allocator.engine._memory cimport grown
from allocator.engine._order cimport sort_by_place


def sorted_by_place(list places not None):
    """Return the positions of places, which are below 2**64, in ascending order."""
    cdef int32_t n = <int32_t>len(places)
    cdef int32_t i
    cdef uint64_t *keys = NULL
    cdef int32_t *items = NULL
    try:
        keys = <uint64_t *>grown(NULL, 2 * n * sizeof(uint64_t))
        items = <int32_t *>grown(NULL, 2 * n * sizeof(int32_t))
        for i in range(n):
            keys[i] = places[i]
            items[i] = i
        sort_by_place(keys, items, n, keys + n, items + n)
        return [items[i] for i in range(n)]
    finally:
        PyMem_Free(keys)
        PyMem_Free(items)
