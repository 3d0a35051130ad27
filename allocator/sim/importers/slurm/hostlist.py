"""Lists as Slurm writes them: hosts in brackets, and ranges of numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from allocator.errors import InvalidValue, shown

#: No list stands for more.
MAX_HOSTS = 1_000_000

#: What stands where there is no host.
NOWHERE = frozenset(("", "None assigned", "(null)", "None", "n/a", "N/A"))

_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_RANGE = re.compile(r"(\d+)-(\d+)(?::(\d+))?")


def hosts(text: str) -> list[str]:
    """Return the hosts of a list, in order, each as often as it stands there.

    Raises
    ------
    InvalidValue
        If it is malformed, or too long. O(hosts).

    Examples
    --------
    >>> hosts("n[01-03,7],gpu-2"), hosts("r[1-2]n[1-2]"), hosts("None assigned")
    (['n01', 'n02', 'n03', 'n7', 'gpu-2'], ['r1n1', 'r1n2', 'r2n1', 'r2n2'], [])
    """
    if text.strip() in NOWHERE:
        return []
    found: list[str] = []
    for part in _split(text.strip()):
        for host in _expanded(part, text):
            found.append(host)
            if len(found) > MAX_HOSTS:
                raise InvalidValue(f"list of hosts {shown(text)}: more than {MAX_HOSTS}")
    return found


def numbers(text: str) -> int:
    """Return how many numbers a list has: `1-10%2` has 10, `0-8:2` has 5. Raises `InvalidValue`.

    Examples
    --------
    >>> numbers("1-10%2"), numbers("[0-8:2]"), numbers("3,5-6"), numbers("7")
    (10, 5, 3, 1)
    """
    inner = text.strip().strip("[]").partition("%")[0]
    count = 0
    for part in inner.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is not None:
            first, last, step = int(match[1]), int(match[2]), int(match[3] or 1)
            if step == 0 or last < first:
                raise InvalidValue(f"range {shown(part)}")
            count += (last - first) // step + 1
        elif part.strip().isdigit():
            count += 1
        else:
            raise InvalidValue(f"list of numbers {shown(text)}")
    return count


def _split(text: str) -> Iterator[str]:
    """Yield the parts between commas that stand outside of brackets."""
    depth, start = 0, 0
    for index, char in enumerate(text):
        depth += (char == "[") - (char == "]")
        if depth not in (0, 1):
            raise InvalidValue(f"list of hosts {shown(text)}: brackets that do not match")
        if char == "," and depth == 0:
            yield text[start:index]
            start = index + 1
    if depth:
        raise InvalidValue(f"list of hosts {shown(text)}: brackets that do not match")
    yield text[start:]


def _expanded(part: str, whole: str) -> Iterator[str]:
    """Yield what a part with brackets stands for, the last bracket the fastest."""
    match = _BRACKETS.search(part)
    if match is None:
        if not part:
            raise InvalidValue(f"list of hosts {shown(whole)}: an empty name")
        yield part
        return
    head, tail = part[: match.start()], part[match.end() :]
    for piece in match[1].split(","):
        for number in _range(piece, whole):
            yield from (f"{head}{number}{rest}" for rest in _rests(tail, whole))


def _rests(tail: str, whole: str) -> Iterator[str]:
    return _expanded(tail, whole) if tail else iter([""])


def _range(piece: str, whole: str) -> Iterator[str]:
    match = _RANGE.fullmatch(piece)
    if match is None:
        yield piece
        return
    first, last, step = int(match[1]), int(match[2]), int(match[3] or 1)
    if step == 0 or last < first or (last - first) // step >= MAX_HOSTS:
        raise InvalidValue(f"list of hosts {shown(whole)}: range {shown(piece)}")
    width = len(match[1])
    yield from (f"{number:0{width}d}" for number in range(first, last + 1, step))
