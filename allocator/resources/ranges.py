"""Sets of integers as closed intervals: tuples of disjoint, sorted (begin, end) pairs.

Intervals that touch (`[1-2,3-4]`) are held as one, so equal sets of integers are equal tuples.
"""

import re
from collections.abc import Iterable
from numbers import Integral

from allocator.errors import ResourceError, shown

#: Disjoint (begin, end) pairs, both ends included, sorted, with gaps of at least one between.
Ranges = tuple[tuple[int, int], ...]

#: The largest integer in a range.
MAX_BOUND = 2**63 - 1

_BOUND_DIGITS = re.compile(r"0*([0-9]{1,19})")


def checked(begin: object, end: object) -> tuple[int, int]:
    """Return the pair as ints if it is a range.

    Raises
    ------
    ResourceError
        If an end is not an integer from 0 to 2**63 - 1, or the range ends before it begins. O(1).
    """
    low, high = _checked_bound(begin), _checked_bound(end)
    if low > high:
        raise ResourceError(f"the range {low}-{high} ends before it begins")
    return low, high


def _checked_bound(bound: object) -> int:
    if isinstance(bound, Integral) and not isinstance(bound, bool) and 0 <= int(bound) <= MAX_BOUND:
        return int(bound)
    raise ResourceError(f"{shown(bound)} is not an integer from 0 to 2**63 - 1")


def read_bound(digits: str) -> int:
    """Return an end of a range from its decimal digits, which may be more than fit an int64.

    Raises
    ------
    ResourceError
        If it is not a text of digits, or has far too many. O(length).
    """
    match = _BOUND_DIGITS.fullmatch(digits)
    if match is None:
        raise ResourceError(f"{shown(digits)} is not an integer from 0 to 2**63 - 1")
    return int(match[1])


def normal(pairs: Iterable[tuple[int, int]]) -> Ranges:
    """Return the union of closed intervals in the one form. O(n log n).

    Examples
    --------
    >>> normal([(5, 9), (1, 2), (3, 3), (7, 12)])
    ((1, 3), (5, 12))
    """
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(pairs):
        if merged and begin <= merged[-1][1] + 1:
            if end > merged[-1][1]:
                merged[-1] = (merged[-1][0], end)
        else:
            merged.append((begin, end))
    return tuple(merged)


def union(left: Ranges, right: Ranges) -> Ranges:
    """Return what is in either. O((n + m) log(n + m))."""
    return normal((*left, *right))


def difference(left: Ranges, right: Ranges) -> Ranges:
    """Return what is in `left` and not in `right`. O(n + m).

    Examples
    --------
    >>> difference(((1, 10),), ((3, 4), (8, 20)))
    ((1, 2), (5, 7))
    """
    rest: list[tuple[int, int]] = []
    index = 0
    for begin, end in left:
        while index < len(right) and right[index][1] < begin:
            index += 1
        cut = index
        while cut < len(right) and right[cut][0] <= end:
            if begin < right[cut][0]:
                rest.append((begin, right[cut][0] - 1))
            begin = right[cut][1] + 1
            cut += 1
        if begin <= end:
            rest.append((begin, end))
    return tuple(rest)


def contains(left: Ranges, right: Ranges) -> bool:
    """Tell whether all of `right` is in `left`. O(n + m)."""
    spans = iter(left)
    span = next(spans, None)
    for begin, end in right:
        while span is not None and span[1] < begin:
            span = next(spans, None)
        if span is None or begin < span[0] or end > span[1]:
            return False
    return True


def count(ranges: Ranges) -> int:
    """Return how many integers are in it. O(n)."""
    return sum(end - begin + 1 for begin, end in ranges)
