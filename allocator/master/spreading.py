"""A reservation that takes something of several offers: which part each of them carries out.

Frameworks may accept several offers of an agent together, and mean all that is in them (Mesos adds
them up). The engine converts one offer at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

from allocator.resources import Resources
from allocator.resources.conversions import Operation, Reserve, Unreserve


def spread(operation: Operation, lefts: Sequence[Resources]) -> list[list[Operation]] | None:
    """Return what each offer is to carry out, the first ones as much as they can.

    Parameters
    ----------
    operation : Operation
        One that all offers together allow.
    lefts : sequence of Resources
        What is left of each offer.

    Returns
    -------
    list of lists of Operation, or None
        Together they do what the operation does. None where it cannot be divided: a volume is
        whole.

    Notes
    -----
    O(entries of the operation × entries of the offers).

    Examples
    --------
    >>> eng = Resources([{"name": "cpus", "type": "SCALAR", "scalar": {"value": 3},
    ...                   "reservations": [{"type": "DYNAMIC", "role": "eng"}]}])
    >>> parts = spread(Reserve(eng), [Resources("cpus:2"), Resources("cpus:4")])
    >>> [[part.resources["cpus"] for part in each] for each in parts]
    [[2.0], [1.0]]
    """
    if not isinstance(operation, Reserve | Unreserve):
        return None
    parts: list[list[Operation]] = [[] for _ in lefts]
    rests = list(lefts)
    for entry in operation.resources:
        needed = Resources(entry)
        if isinstance(operation, Reserve):
            before = entry.reservations[:-1]
            if operation.source:
                before = next(iter(operation.source)).reservations
            needed = Resources(entry.replace(reservations=before))
        for place, rest in enumerate(rests):
            beyond = needed.minus_floor(rest)
            part, needed = needed - beyond, beyond
            if not part:
                continue
            rests[place] = rest - part
            if isinstance(operation, Reserve):
                made = [each.replace(reservations=entry.reservations) for each in part]
                parts[place].append(Reserve(made, source=part))
            else:
                parts[place].append(Unreserve(part))
        if needed:
            return None
    return parts
