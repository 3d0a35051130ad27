"""Rows of parts, of which rests are made, and what sums and differences make of them.

B7. A rest is a row of parts, one for each identity in the order of their addresses; a part is the
    number of its item, the number of words that follow, and these: the amount of a scalar, begin
    and end of the intervals of a range. Where such numbers do not tell all (sets, shared entries,
    and what cannot be split, which may have more disk information than its identity), the item is
    the whole entry, and no words follow.

Lengths count words. Sums and differences of whole entries of one identity are UNKNOWN here; they
are left to `Resources`. The functions are inline so that the module which cimports them needs
nothing at run time.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint64_t
from libc.string cimport memcpy

from allocator.engine._items cimport Item
from allocator.engine._ranges cimport contains, difference_of, union_of

cdef enum:
    UNKNOWN = -2    # what is left to `Resources`
    MILLI = 1000    # thousandths in one element


cdef inline const int64_t *after(const int64_t *part) noexcept nogil:
    """Return the part after another one."""
    return part + 2 + part[1]


cdef inline int64_t scalar(const Item *item, const int64_t *part) noexcept nogil:
    """Return the amount of a part that is a scalar."""
    return part[2] if item.entry == NULL else item.amount


cdef inline int64_t elements_of(const Item *item, const int64_t *part) noexcept nogil:
    """Return how many elements a part has that is no scalar, 1/1000, at most INT64_MAX."""
    cdef uint64_t n = 0
    cdef Py_ssize_t i
    if item.entry != NULL:
        return item.amount
    for i in range(2, 2 + part[1], 2):
        n += <uint64_t>(part[i + 1] - part[i]) + 1
    return <int64_t>n * MILLI if n <= <uint64_t>(INT64_MAX // MILLI) else INT64_MAX


cdef inline bint precedes(const Item *items, const int64_t *x, const int64_t *y) noexcept nogil:
    """Tell whether the identity of a part comes before that of another one."""
    return <size_t>items[x[0]].identity < <size_t>items[y[0]].identity


cdef inline Py_ssize_t copied_part(const int64_t *part, int64_t *result) noexcept nogil:
    """Copy a part; return its words."""
    memcpy(result, part, (2 + part[1]) * sizeof(int64_t))
    return 2 + part[1]


cdef inline int parts_cover(
    const Item *items, const int64_t *x, Py_ssize_t n, const int64_t *y, Py_ssize_t m
) noexcept nogil:
    """Tell whether parts contain others, unless it is UNKNOWN. O(n + m)."""
    cdef const int64_t *x_end = x + n
    cdef const int64_t *y_end = y + m
    cdef int verdict = True
    while y < y_end:
        while x < x_end and precedes(items, x, y):
            x = after(x)
        if x == x_end or precedes(items, y, x):
            return False
        if items[x[0]].entry != NULL:
            # Equal entries contain each other, whatever they are.
            if x[0] != y[0]:
                verdict = UNKNOWN
        elif items[x[0]].is_scalar:
            if x[2] < y[2]:
                return False
        elif not contains(x + 2, x[1], y + 2, y[1]):
            return False
        x = after(x)
        y = after(y)
    return verdict


cdef inline Py_ssize_t difference_of_parts(
    const Item *items, const int64_t *x, Py_ssize_t n, const int64_t *y, Py_ssize_t m,
    int64_t *result
) noexcept nogil:
    """Write parts without others, which they contain; return the words. O(n + m)."""
    cdef const int64_t *x_end = x + n
    cdef const int64_t *y_end = y + m
    cdef Py_ssize_t length = 0
    while x < x_end:
        if y == y_end or precedes(items, x, y):
            length += copied_part(x, result + length)
            x = after(x)
            continue
        result[length] = x[0]
        result[length + 1] = 0
        if items[x[0]].entry == NULL:
            if not items[x[0]].is_scalar:
                result[length + 1] = difference_of(
                    x + 2, x[1], y + 2, y[1], result + length + 2)
            elif x[2] > y[2]:
                result[length + 1] = 1
                result[length + 2] = x[2] - y[2]
        if result[length + 1]:
            length += 2 + result[length + 1]
        x = after(x)
        y = after(y)
    return length


cdef inline Py_ssize_t sum_of_parts(
    const Item *items, const int64_t *x, Py_ssize_t n, const int64_t *y, Py_ssize_t m,
    int64_t *result
) noexcept nogil:
    """Write the sum of parts, which fits an int64; return the words, or UNKNOWN. O(n + m)."""
    cdef const int64_t *x_end = x + n
    cdef const int64_t *y_end = y + m
    cdef Py_ssize_t length = 0
    while x < x_end or y < y_end:
        if y == y_end or (x < x_end and precedes(items, x, y)):
            length += copied_part(x, result + length)
            x = after(x)
        elif x == x_end or precedes(items, y, x):
            length += copied_part(y, result + length)
            y = after(y)
        elif items[x[0]].entry != NULL:
            return UNKNOWN
        else:
            result[length] = x[0]
            if items[x[0]].is_scalar:
                result[length + 1] = 1
                result[length + 2] = x[2] + y[2]
            else:
                result[length + 1] = union_of(x + 2, x[1], y + 2, y[1], result + length + 2)
            length += 2 + result[length + 1]
            x = after(x)
            y = after(y)
    return length
