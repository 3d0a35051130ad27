"""What is wrong with a scenario: everything at once, each with its place in the file."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from allocator.errors import InvalidValue, cut

#: The way to a value: keys of tables and positions in arrays.
Path: TypeAlias = tuple[str | int, ...]

#: More problems than this are counted, but not told one by one.
MAX_TOLD = 1000

_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a scenario.

    Parameters
    ----------
    file : str
        The file, as it was named.
    line : int or None
        The line, counted from 1; None where none is known, as of a key that was set from outside.
    key : str
        The key, as dotted TOML; empty where the file as a whole is at fault.
    found, expected : str
        What stands there, and what should.

    Examples
    --------
    >>> str(Problem("a.toml", 3, "roles.eng.weight", "-1", "a number from 1e-09 to 1e+09"))
    'a.toml:3: roles.eng.weight: -1; expected a number from 1e-09 to 1e+09'
    """

    file: str
    line: int | None
    key: str
    found: str
    expected: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        key = f"{self.key}: " if self.key else ""
        return f"{place}: {key}{self.found}; expected {self.expected}"


class ScenarioError(InvalidValue):
    """A scenario that cannot be run.

    Parameters
    ----------
    problems : iterable of Problem
        All that is wrong with it, at least one, in the order of the file.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__(self.problems)

    @property
    def lines(self) -> list[str]:
        """What is told of it: each problem on a line, then how many there are."""
        told = [" ".join(str(problem).split("\n")) for problem in self.problems[:MAX_TOLD]]
        return [*told, f"{len(self.problems)} problems"]

    def __str__(self) -> str:
        return "\n".join(self.lines)


class Place:
    """Where in a scenario something stands, and where to say what is wrong with it.

    One is made for each value that is read, so what it knows is worked out only when asked for.

    Parameters
    ----------
    file : str
        What messages call the file.
    lines : mapping
        Path -> line; None of what was set from outside. What is absent stands where that stands
        which it is in.
    problems : list of Problem
        Where problems are added; shared by all places of a scenario.
    value : object
        The scenario as a whole, as it was given: the place made so is where it begins.
    """

    __slots__ = ("_above", "_lines", "_step", "_value", "file", "problems")

    def __init__(
        self, file: str, lines: Mapping[Path, int | None], problems: list[Problem], value: object
    ) -> None:
        self.file = file
        self.problems = problems
        self._lines = lines
        self._value = value
        self._above: Place | None = None
        self._step: str | int = ""

    def __getitem__(self, step: str | int) -> Place:
        place = Place(self.file, self._lines, self.problems, None)
        place._above = self
        place._step = step
        return place

    @property
    def path(self) -> Path:
        """The way to it. O(depth)."""
        return () if self._above is None else (*self._above.path, self._step)

    @property
    def value(self) -> Any:
        """What stands here, as it was given; None where nothing does. O(depth)."""
        if self._above is None:
            return self._value
        above = self._above.value
        return above[self._step] if _has(above, self._step) else None

    def deeper(self, step: str | int) -> Place:
        """Return the place one step on, if something stands there, else this one. O(depth)."""
        return self[step] if _has(self.value, step) else self

    def reject(self, found: object, expected: str) -> None:
        """Note a problem with what stands here. O(depth)."""
        path = self.path
        known = (path[:depth] for depth in range(len(path), 0, -1) if path[:depth] in self._lines)
        line = next((self._lines[inner] for inner in known), None)
        self.problems.append(Problem(self.file, line, dotted(path), cut(found), cut(expected)))


def _has(value: object, step: str | int) -> bool:
    if isinstance(value, (list, tuple)):
        return isinstance(step, int) and step < len(value)
    return isinstance(value, Mapping) and step in value


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Return each problem once, by line, those without one last. O(n log n)."""
    unique = dict.fromkeys(problems)
    return sorted(unique, key=lambda problem: math.inf if problem.line is None else problem.line)


def dotted(path: Path) -> str:
    """Return a path as dotted TOML. O(length).

    Examples
    --------
    >>> dotted(("workload", "tenant", 1, "demand")), dotted(("roles", "eng/batch"))
    ('workload.tenant[1].demand', 'roles."eng/batch"')
    """
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _BARE.fullmatch(step) else quoted(step))
    return text


def quoted(key: str) -> str:
    """Return text as a basic string of TOML. O(length)."""
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    written = (
        escapes.get(c) or (c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}") for c in key
    )
    return '"' + "".join(written) + '"'


def nearest(word: str, known: Sequence[str]) -> str:
    """Return the known word that is most like this one, or all of them where none is like it.

    Examples
    --------
    >>> nearest("wieght", ["weight", "limit"]), nearest("colour", ["weight", "limit"])
    ('weight', 'one of weight, limit')
    """
    alike = difflib.get_close_matches(word[:100], known, n=1, cutoff=0.5)
    return alike[0] if alike else f"one of {', '.join(known) or 'none'}"
