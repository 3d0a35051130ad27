"""Sets of integers as closed intervals, as in `allocator.resources.ranges`, without Python objects.

A set is an array of int64: begin and end of each interval, in ascending order, with gaps of at
least one integer between them. Lengths count array elements, two for each interval.

The functions are inline so that modules which cimport them need nothing at run time.
"""

from libc.stdint cimport int64_t


cdef inline Py_ssize_t union_of(
    const int64_t *a, Py_ssize_t n, const int64_t *b, Py_ssize_t m, int64_t *result
) noexcept nogil:
    """Write what is in either, at most n + m long; return its length. O(n + m)."""
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t j = 0
    cdef Py_ssize_t length = 0
    cdef const int64_t *least
    while i < n or j < m:
        if j == m or (i < n and a[i] <= b[j]):
            least = a + i
            i += 2
        else:
            least = b + j
            j += 2
        # Not `end + 1`, which may be beyond int64; no begin is negative.
        if length and least[0] - 1 <= result[length - 1]:
            result[length - 1] = max(result[length - 1], least[1])
        else:
            result[length] = least[0]
            result[length + 1] = least[1]
            length += 2
    return length


cdef inline Py_ssize_t difference_of(
    const int64_t *a, Py_ssize_t n, const int64_t *b, Py_ssize_t m, int64_t *result
) noexcept nogil:
    """Write `a` without `b`, which it contains, at most n + m long; return its length. O(n + m)."""
    cdef Py_ssize_t i
    cdef Py_ssize_t j = 0
    cdef Py_ssize_t length = 0
    cdef int64_t begin
    for i in range(0, n, 2):
        begin = a[i]
        while j < m and b[j] <= a[i + 1]:
            if begin < b[j]:
                result[length] = begin
                result[length + 1] = b[j] - 1
                length += 2
            # Not beyond the end, which may be that of int64.
            begin = -1 if b[j + 1] == a[i + 1] else b[j + 1] + 1
            j += 2
        if begin >= 0:
            result[length] = begin
            result[length + 1] = a[i + 1]
            length += 2
    return length


cdef inline bint contains(
    const int64_t *a, Py_ssize_t n, const int64_t *b, Py_ssize_t m
) noexcept nogil:
    """Tell whether all of `b` is in `a`. O(n + m)."""
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t j
    for j in range(0, m, 2):
        while i < n and a[i + 1] < b[j]:
            i += 2
        if i == n or b[j] < a[i] or b[j + 1] > a[i + 1]:
            return False
    return True
