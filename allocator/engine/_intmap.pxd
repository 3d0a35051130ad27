"""A map from 64-bit keys to 32-bit numbers: open addressing with linear probing.

H1. `n` pairs stand in `capacity` slots, a power of two, at most two thirds of them; a free slot has
    the value `NONE`.
H2. No free slot lies between the slot that a key hashes to and the one that it stands in.

The functions are inline so that modules which cimport them need nothing at run time.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int32_t, uint64_t
from libc.string cimport memcpy

from allocator.sorter._siblings cimport NONE


cdef struct IntMap:
    uint64_t *keys     # (capacity,)
    int32_t *values    # (capacity,) not negative; NONE in a free slot
    uint64_t capacity  # slots; 0 before the first pair
    uint64_t n         # pairs


cdef inline uint64_t slot_of(const IntMap *map, uint64_t key) noexcept nogil:
    """Return the slot of a key, or the free one where it would stand. O(1) expected."""
    # Fibonacci hashing; the high bits are the well-mixed ones.
    cdef uint64_t slot = ((key ^ (key >> 32)) * 0x9E3779B97F4A7C15ULL) >> 32 & (map.capacity - 1)
    while map.values[slot] != NONE and map.keys[slot] != key:
        slot = (slot + 1) & (map.capacity - 1)
    return slot


cdef inline int32_t get(const IntMap *map, uint64_t key) noexcept nogil:
    """Return the number of a key, or NONE. O(1) expected."""
    return map.values[slot_of(map, key)] if map.n else NONE


cdef inline int reserve_one(IntMap *map) except -1:
    """Have room for one more pair, so that the next `put` cannot fail. O(1) amortised."""
    cdef IntMap grown
    cdef uint64_t slot, target
    if 3 * (map.n + 1) <= 2 * map.capacity:
        return 0
    grown.capacity = 2 * map.capacity if map.capacity else 8
    grown.n = map.n
    grown.keys = <uint64_t *>PyMem_Malloc(grown.capacity * sizeof(uint64_t))
    grown.values = <int32_t *>PyMem_Malloc(grown.capacity * sizeof(int32_t))
    if grown.keys == NULL or grown.values == NULL:
        PyMem_Free(grown.keys)
        PyMem_Free(grown.values)
        raise MemoryError
    for slot in range(grown.capacity):
        grown.values[slot] = NONE
    for slot in range(map.capacity):
        if map.values[slot] != NONE:
            target = slot_of(&grown, map.keys[slot])
            grown.keys[target] = map.keys[slot]
            grown.values[target] = map.values[slot]
    clear(map)
    map[0] = grown
    return 0


cdef inline void put(IntMap *map, uint64_t key, int32_t value) noexcept nogil:
    """Add a key for which `reserve_one` has made room and that is not there yet. O(1) expected."""
    cdef uint64_t slot = slot_of(map, key)
    map.keys[slot] = key
    map.values[slot] = value
    map.n += 1


cdef inline void drop(IntMap *map, uint64_t key) noexcept nogil:
    """Remove a key that is there, moving up what it had displaced (H2). O(1) expected."""
    cdef uint64_t gap = slot_of(map, key)
    cdef uint64_t mask = map.capacity - 1
    cdef uint64_t slot = gap
    cdef uint64_t home
    while True:
        slot = (slot + 1) & mask
        if map.values[slot] == NONE:
            break
        home = ((map.keys[slot] ^ (map.keys[slot] >> 32)) * 0x9E3779B97F4A7C15ULL) >> 32 & mask
        if ((slot - home) & mask) >= ((slot - gap) & mask):
            map.keys[gap] = map.keys[slot]
            map.values[gap] = map.values[slot]
            gap = slot
    map.values[gap] = NONE
    map.n -= 1


cdef inline void clear(IntMap *map) noexcept:
    """Free all memory; the map is then empty."""
    PyMem_Free(map.keys)
    PyMem_Free(map.values)
    map.keys = NULL
    map.values = NULL
    map.capacity = map.n = 0


cdef inline int copy_to(const IntMap *map, IntMap *twin) except -1:
    """Make `twin`, which is empty, a copy. O(capacity)."""
    if not map.capacity:
        return 0
    twin.keys = <uint64_t *>PyMem_Malloc(map.capacity * sizeof(uint64_t))
    twin.values = <int32_t *>PyMem_Malloc(map.capacity * sizeof(int32_t))
    if twin.keys == NULL or twin.values == NULL:
        clear(twin)
        raise MemoryError
    twin.capacity = map.capacity
    twin.n = map.n
    memcpy(twin.keys, map.keys, map.capacity * sizeof(uint64_t))
    memcpy(twin.values, map.values, map.capacity * sizeof(int32_t))
    return 0
