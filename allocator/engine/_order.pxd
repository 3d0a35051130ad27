"""The order of agents as other compiled modules see it: see `_order.pyx`."""

from libc.stdint cimport int32_t, uint64_t

# The stages of a cycle that draw an order of their own.
cpdef enum:
    GUARANTEES = 1
    FAIR_SHARE = 2


cdef inline uint64_t mixed(uint64_t x) noexcept nogil:
    """Return the splitmix64 finalizer of `x` (Steele et al., OOPSLA 2014). O(1)."""
    x ^= x >> 30
    x *= 0xBF58476D1CE4E5B9ULL
    x ^= x >> 27
    x *= 0x94D049BB133111EBULL
    return x ^ (x >> 31)


cdef uint64_t hash_of(str text) except? 0
cdef void sort_by_place(
    uint64_t *keys, int32_t *items, int32_t n, uint64_t *spare_keys, int32_t *spare_items
) noexcept nogil
