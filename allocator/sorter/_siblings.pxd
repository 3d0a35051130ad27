"""Siblings in order: an AVL tree threaded through the records that it orders.

All records stand in one array and link to each other by index. A record has its place in at most
one tree. An adjustment allocates nothing and therefore cannot fail half-way.

L1. In-order, `precedes` holds between neighbours; `before` and `after` thread the same order, and
    `first` and `last` are its ends.
L2. The heights of the two subtrees of a record differ by at most one, so that n records are at
    most 1.44 log2(n) high (Adelson-Velsky and Landis, 1962).
L3. `height` is 0 exactly when the record is in no tree.

The functions are inline so that modules which cimport them need nothing at run time.
"""

from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcmp

cdef enum:
    NONE = -1  # no index: there is no record, here and in all that is kept by index
    LEFT = 0   # the side of the smaller keys
    RIGHT = 1  # the side of the greater ones


cdef struct Place:
    double share        # key, first: dominant share / weight
    int64_t number      # key, second: how many times allocated at or below
    const char *name    # key, third: UTF-8, which compares as code points do; owned elsewhere
    int32_t name_bytes  # length of `name`
    int32_t up          # index of the parent in the AVL tree, NONE at the top
    int32_t[2] child    # by side: index of the subtree, or NONE
    int32_t before      # index of the neighbour before, NONE for the first
    int32_t after       # index of the neighbour after, NONE for the last
    int32_t height      # height of the subtree in records; 0: in no tree (L3)


cdef struct Siblings:
    int32_t top    # index of the root of the AVL tree, NONE if empty
    int32_t first  # index of the first in order, NONE if empty
    int32_t last   # index of the last in order, NONE if empty


cdef inline bint precedes(const Place *a, const Place *b) noexcept nogil:
    """Tell whether `a` comes before `b`; names differ among siblings. O(length of the names)."""
    cdef int verdict
    if a.share != b.share:
        return a.share < b.share
    if a.number != b.number:
        return a.number < b.number
    verdict = memcmp(a.name, b.name, min(a.name_bytes, b.name_bytes))
    return verdict < 0 or (verdict == 0 and a.name_bytes < b.name_bytes)


cdef inline bint in_order(const Place *places, int32_t i) noexcept nogil:
    """Tell whether the neighbours of `i` still bound it after a change of its key. O(1)."""
    cdef int32_t before = places[i].before
    cdef int32_t after = places[i].after
    return ((before == NONE or precedes(&places[before], &places[i]))
            and (after == NONE or precedes(&places[i], &places[after])))


cdef inline int32_t height_of(const Place *places, int32_t i) noexcept nogil:
    return 0 if i == NONE else places[i].height


cdef inline void measure(Place *places, int32_t i) noexcept nogil:
    """Set the height of `i` from those of its subtrees."""
    cdef int32_t left = height_of(places, places[i].child[LEFT])
    cdef int32_t right = height_of(places, places[i].child[RIGHT])
    places[i].height = 1 + (left if left > right else right)


cdef inline void hang(
    Place *places, Siblings *siblings, int32_t up, int32_t old, int32_t new
) noexcept nogil:
    """Put the subtree `new` where `old` hung below `up`."""
    if up == NONE:
        siblings.top = new
    else:
        places[up].child[LEFT if places[up].child[LEFT] == old else RIGHT] = new
    if new != NONE:
        places[new].up = up


cdef inline int32_t rotate(Place *places, Siblings *siblings, int32_t i, int side) noexcept nogil:
    """Lift the child on one side of `i` above it; return that child."""
    cdef int32_t lifted = places[i].child[side]
    cdef int32_t between = places[lifted].child[1 - side]
    hang(places, siblings, places[i].up, i, lifted)
    places[i].child[side] = between
    if between != NONE:
        places[between].up = i
    places[lifted].child[1 - side] = i
    places[i].up = lifted
    measure(places, i)
    measure(places, lifted)
    return lifted


cdef inline int32_t balance(Place *places, Siblings *siblings, int32_t i) noexcept nogil:
    """Restore L2 at `i`, whose subtrees keep it; return the top of the subtree."""
    cdef int lean = height_of(places, places[i].child[LEFT])
    cdef int side
    cdef int32_t higher
    lean -= height_of(places, places[i].child[RIGHT])
    if -1 <= lean <= 1:
        measure(places, i)
        return i
    side = LEFT if lean > 0 else RIGHT
    higher = places[i].child[side]
    if (height_of(places, places[higher].child[side])
            < height_of(places, places[higher].child[1 - side])):
        rotate(places, siblings, higher, 1 - side)
    return rotate(places, siblings, i, side)


cdef inline void balance_upward(Place *places, Siblings *siblings, int32_t i) noexcept nogil:
    """Restore L2 from `i` up to where the height is what it was. O(log n)."""
    cdef int32_t height
    while i != NONE:
        height = places[i].height
        i = balance(places, siblings, i)
        if places[i].height == height:
            return
        i = places[i].up


cdef inline void insert(Place *places, Siblings *siblings, int32_t i) noexcept nogil:
    """Put `i`, which is in no tree, in its place. O(log n); O(1) amortised at the end."""
    cdef int32_t up = siblings.last
    cdef int32_t below
    cdef int side = RIGHT
    places[i].child[LEFT] = places[i].child[RIGHT] = NONE
    places[i].height = 1
    # Whoever was just served often goes last.
    if up != NONE and precedes(&places[i], &places[up]):
        below = siblings.top
        while below != NONE:
            up = below
            side = precedes(&places[up], &places[i])
            below = places[up].child[side]
    places[i].up = up
    if up == NONE:
        siblings.top = siblings.first = siblings.last = i
        places[i].before = places[i].after = NONE
        return
    places[up].child[side] = i
    if side == LEFT:
        thread(places, siblings, i, places[up].before, up)
    else:
        thread(places, siblings, i, up, places[up].after)
    balance_upward(places, siblings, up)


cdef inline void thread(
    Place *places, Siblings *siblings, int32_t i, int32_t before, int32_t after
) noexcept nogil:
    """Link `i` between two neighbours."""
    places[i].before = before
    places[i].after = after
    if before == NONE:
        siblings.first = i
    else:
        places[before].after = i
    if after == NONE:
        siblings.last = i
    else:
        places[after].before = i


cdef inline void remove(Place *places, Siblings *siblings, int32_t i) noexcept nogil:
    """Take `i` out, wherever its key would now belong. O(log n), without comparing keys."""
    cdef int32_t before = places[i].before
    cdef int32_t after = places[i].after
    cdef int32_t left = places[i].child[LEFT]
    cdef int32_t right = places[i].child[RIGHT]
    cdef int32_t lowest = places[i].up  # the lowest record one of whose subtrees has changed
    if before == NONE:
        siblings.first = after
    else:
        places[before].after = after
    if after == NONE:
        siblings.last = before
    else:
        places[after].before = before
    if left == NONE or right == NONE:
        hang(places, siblings, lowest, i, right if left == NONE else left)
    else:
        # `after` is the leftmost below `right`; it takes the place of `i`.
        lowest = after
        if after != right:
            lowest = places[after].up
            hang(places, siblings, lowest, after, places[after].child[RIGHT])
            places[after].child[RIGHT] = right
            places[right].up = after
        places[after].child[LEFT] = left
        places[left].up = after
        hang(places, siblings, places[i].up, i, after)
        places[after].height = places[i].height
    places[i].height = 0
    balance_upward(places, siblings, lowest)


cdef inline bint rearrange(Place *places, Siblings *siblings) noexcept nogil:
    """Restore the order after any number of keys changed; tell whether it had been lost.

    O(n) if the order survived, else O(n log r) where r is the number of ascending runs in it.
    """
    cdef int32_t i = siblings.first
    cdef int32_t n = 0
    cdef int32_t before = NONE
    cdef bint lost = False
    while i != NONE:
        lost = lost or not in_order(places, i)
        n += 1
        i = places[i].after
    if not lost:
        return False
    i = siblings.first = sorted_chain(places, siblings.first)
    while i != NONE:
        places[i].before = before
        before = i
        i = places[i].after
    siblings.last = before
    i = siblings.first
    siblings.top = build(places, n, &i)
    places[siblings.top].up = NONE
    return True


cdef inline int32_t sorted_chain(Place *places, int32_t rest) noexcept nogil:
    """Sort a chain linked by `after`: a natural merge sort that needs no memory."""
    cdef int32_t bins[32]  # bins[k] is NONE or the merger of 2**k runs, earlier than bins[k - 1]
    cdef int32_t n_bins = 0
    cdef int32_t k, run
    while rest != NONE:
        run = rest
        rest = cut_run(places, run)
        k = 0
        while k < n_bins and bins[k] != NONE:
            run = merged(places, bins[k], run)
            bins[k] = NONE
            k += 1
        if k == n_bins:
            n_bins += 1
        bins[k] = run
    run = NONE
    for k in range(n_bins):
        run = merged(places, bins[k], run)
    return run


cdef inline int32_t cut_run(Place *places, int32_t i) noexcept nogil:
    """End the chain `i` after its first ascending run; return what followed."""
    cdef int32_t after = places[i].after
    while after != NONE and precedes(&places[i], &places[after]):
        i = after
        after = places[i].after
    places[i].after = NONE
    return after


cdef inline int32_t merged(Place *places, int32_t a, int32_t b) noexcept nogil:
    """Merge two ascending chains linked by `after`; return the first."""
    cdef int32_t first = NONE
    cdef int32_t last = NONE
    cdef int32_t least
    while a != NONE and b != NONE:
        if precedes(&places[a], &places[b]):
            least = a
            a = places[a].after
        else:
            least = b
            b = places[b].after
        if last == NONE:
            first = least
        else:
            places[last].after = least
        last = least
    least = b if a == NONE else a
    if last == NONE:
        return least
    places[last].after = least
    return first


cdef inline int32_t build(Place *places, int32_t n, int32_t *rest) noexcept nogil:
    """Make a balanced tree of the next `n` of an ascending chain; return its top. O(n)."""
    cdef int32_t top, left, right
    if n == 0:
        return NONE
    left = build(places, n // 2, rest)
    top = rest[0]
    rest[0] = places[top].after
    right = build(places, n - n // 2 - 1, rest)
    places[top].child[LEFT] = left
    places[top].child[RIGHT] = right
    if left != NONE:
        places[left].up = top
    if right != NONE:
        places[right].up = top
    measure(places, top)
    return top
