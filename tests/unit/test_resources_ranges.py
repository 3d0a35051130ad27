"""Ranges against the plain sets of integers that they stand for."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.errors import ResourceError
from allocator.resources import Resources, ranges
from tests import strategies as own


def integers(spans: ranges.Ranges) -> set[int]:
    return {number for begin, end in spans for number in range(begin, end + 1)}


def normal_ranges() -> st.SearchStrategy[ranges.Ranges]:
    return st.one_of(st.just(()), own.ranges(40).map(ranges.normal))


@given(own.ranges(40))
def test_the_normal_form_is_sorted_disjoint_and_apart(pairs: list[tuple[int, int]]) -> None:
    spans = ranges.normal(pairs)
    assert integers(spans) == integers(tuple(pairs))
    for (_, end), (begin, _) in pairwise(spans):
        assert begin > end + 1
    assert ranges.count(spans) == len(integers(spans))


@given(normal_ranges(), normal_ranges())
def test_operations_are_those_of_sets(left: ranges.Ranges, right: ranges.Ranges) -> None:
    assert ranges.union(left, right) == ranges.normal([*left, *right])
    assert integers(ranges.union(left, right)) == integers(left) | integers(right)
    rest = ranges.difference(left, right)
    assert integers(rest) == integers(left) - integers(right)
    assert rest == ranges.normal(rest)
    assert ranges.contains(left, right) == (integers(left) >= integers(right))


@pytest.mark.parametrize(
    ("whole", "part", "rest"),
    [
        ("ports:[1-10]", "ports:[1-1]", "ports:[2-10]"),
        ("ports:[1-10]", "ports:[10-10]", "ports:[1-9]"),
        ("ports:[1-10]", "ports:[4-6]", "ports:[1-3,7-10]"),
        ("ports:[1-3,7-10]", "ports:[2-3,7-8]", "ports:[1-1,9-10]"),
        ("ports:[1-3,7-10]", "ports:[1-3,7-10]", ""),
        ("ports:[0-9223372036854775807]", "ports:[0-0]", "ports:[1-9223372036854775807]"),
    ],
)
def test_a_part_is_taken_and_given_back(whole: str, part: str, rest: str) -> None:
    assert str(Resources(whole) - part) == rest
    assert str(Resources(rest) + part) == whole


@pytest.mark.parametrize("part", ["ports:[0-0]", "ports:[3-4]", "ports:[2-7]", "ports:[11-12]"])
def test_a_range_that_reaches_beyond_is_not_contained(part: str) -> None:
    whole = Resources("ports:[1-3,7-10]")
    assert part not in whole
    with pytest.raises(ResourceError, match=r"ports:.* is not contained in 'ports:\[1-3,7-10\]'"):
        whole - part


def test_ranges_over_all_identities_are_one() -> None:
    assert Resources("ports:[1-2];ports(eng):[3-4];ports(ops):[9-9]")["ports"] == ((1, 4), (9, 9))
