"""Chopping scalars to fit, value by value: for entries that are more than a name and an amount.

The compiled cycle chops plain scalars itself, on rows, and comes here for an agent that has other
unreserved scalars too, such as disk of a source.
"""

from __future__ import annotations

from collections.abc import Mapping

from allocator.resources import Resources


def unreserved_scalars(resources: Resources) -> Resources:
    """Return the entries that limits and headroom bind: unreserved, non-revocable scalars. O(n)."""
    return resources.unreserved().nonrevocable().scalars()


def least(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    """Return the smaller amount of each name that is in either. O(names)."""
    return {n: min(bounds[n] for bounds in (a, b) if n in bounds) for n in a.keys() | b.keys()}


def fit(scalars: Resources, bounds: Mapping[str, int], *, others: bool = True) -> Resources:
    """Chop `scalars` to `bounds`, in thousandths by name.

    Entries of one name are taken in the order of their canonical text; one that cannot be split is
    taken whole or left. Names without a bound are taken if `others`. O(entries).
    """
    left = dict(bounds)
    taken = []
    for entry in scalars:
        bound = left.get(entry.name)
        if bound is None:
            if others:
                taken.append(entry)
            continue
        whole = entry.value
        assert isinstance(whole, int)
        amount = min(whole, bound)
        if amount <= 0 or (amount < whole and not entry.splittable):
            continue
        left[entry.name] = bound - amount
        taken.append(entry if amount == whole else entry.replace(value=amount))
    return Resources(taken)
