"""The order in which a cycle visits agents: random, yet the same for every subset.

An agent's place depends on the seed, the cycle's number, the stage and the agent's own id alone,
so leaving out agents that cannot receive anything does not disturb the others (Mesos shuffles the
candidates, which makes every decision depend on who else took part).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint64_t
from libc.string cimport memcpy, memset

cdef enum:
    DIGITS = 8    # of a key, a byte each
    VALUES = 256  # of a digit
    FEW = 64      # up to so many pairs insertion is faster


def hash64(str text not None):
    """Return 64 well-mixed bits of `text`, the same on every machine. O(length)."""
    return hash_of(text)


def mix64(uint64_t x):
    """Return the splitmix64 finalizer of a 64-bit integer (Steele et al., OOPSLA 2014). O(1)."""
    return mixed(x)


def stage_salt(str seed not None, cycle, stage):
    """Return the 64 bits that set one stage of one cycle apart from all others. O(1)."""
    return hash_of(f"{seed}/{cycle}/{stage}")


def place(uint64_t id_hash, uint64_t salt):
    """Return an agent's place in a stage's order; agents go by (place, id). O(1)."""
    return mixed(id_hash ^ salt)


cdef uint64_t hash_of(str text) except? 0:
    """Return `mixed` of FNV-1a (Fowler, Noll and Vo) over the UTF-8 of `text`. O(length)."""
    cdef bytes encoded = text.encode("utf-8", "surrogatepass")
    cdef const char *data = PyBytes_AS_STRING(encoded)
    cdef uint64_t bits = 0xCBF29CE484222325ULL
    cdef Py_ssize_t i
    for i in range(PyBytes_GET_SIZE(encoded)):
        bits = (bits ^ <unsigned char>data[i]) * 0x100000001B3ULL
    return mixed(bits)


cdef void sort_by_place(
    uint64_t *keys, int32_t *items, int32_t n, uint64_t *spare_keys, int32_t *spare_items
) noexcept nogil:
    """Sort `n` pairs by key, those with equal keys staying in their order. O(n).

    A radix sort from the last digit to the first, which leaves out digits that all keys share.
    The spare arrays, too, are `n` long.
    """
    cdef int32_t[DIGITS][VALUES] starts
    cdef uint64_t *from_keys = keys
    cdef int32_t *from_items = items
    cdef int digit
    if n <= FEW:
        sort_few_by_place(keys, items, n)
        return
    count_digits(keys, n, &starts[0][0])
    for digit in range(DIGITS):
        if to_starts(starts[digit], n):
            deal(from_keys, from_items, n, 8 * digit, starts[digit], spare_keys, spare_items)
            from_keys, spare_keys = spare_keys, from_keys
            from_items, spare_items = spare_items, from_items
    if from_keys != keys:
        memcpy(keys, from_keys, n * sizeof(uint64_t))
        memcpy(items, from_items, n * sizeof(int32_t))


cdef void sort_few_by_place(uint64_t *keys, int32_t *items, int32_t n) noexcept nogil:
    """Do as `sort_by_place` does, by insertion. O(n²)."""
    cdef int32_t i, gap, item
    cdef uint64_t key
    for i in range(1, n):
        key, item, gap = keys[i], items[i], i
        while gap > 0 and keys[gap - 1] > key:
            keys[gap] = keys[gap - 1]
            items[gap] = items[gap - 1]
            gap -= 1
        keys[gap] = key
        items[gap] = item


cdef void count_digits(const uint64_t *keys, int32_t n, int32_t *counts) noexcept nogil:
    """Count by digit, the last first, and by value: `counts` is (DIGITS, VALUES). O(n)."""
    cdef int32_t i
    cdef int digit
    memset(counts, 0, DIGITS * VALUES * sizeof(int32_t))
    for i in range(n):
        for digit in range(DIGITS):
            counts[digit * VALUES + ((keys[i] >> (8 * digit)) & (VALUES - 1))] += 1


cdef bint to_starts(int32_t *counts, int32_t n) noexcept nogil:
    """Turn the counts of a digit's values into where each begins; False if all keys share one."""
    cdef int32_t start = 0
    cdef int value
    for value in range(VALUES):
        if counts[value] == n:
            return False
        counts[value], start = start, start + counts[value]
    return True


cdef void deal(
    const uint64_t *keys, const int32_t *items, int32_t n, int shift, int32_t *starts,
    uint64_t *to_keys, int32_t *to_items,
) noexcept nogil:
    """Put each pair where those with its digit at `shift` begin, one after the other. O(n)."""
    cdef int32_t i, to
    cdef int value
    for i in range(n):
        value = (keys[i] >> shift) & (VALUES - 1)
        to = starts[value]
        starts[value] = to + 1
        to_keys[to] = keys[i]
        to_items[to] = items[i]
