"""What is drawn in synthetic work, and the random numbers it is drawn with.

A draw depends on the seed, the tenant and what it is for alone: adding a tenant changes nothing of
the others. It is the same on every machine: the bits are those of PCG64, which NumPy keeps, and
times are rounded to whole microseconds, so that the last bit of a logarithm does not show.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from allocator.errors import InvalidValue, shown
from allocator.sim.scenario.durations import seconds
from allocator.sim.trace import LONGEST_S

Floats: TypeAlias = NDArray[np.float64]

#: The distributions of which a duration may be drawn.
Form: TypeAlias = Literal["constant", "uniform", "exponential", "lognormal"]

#: A duration is one of these, its numbers in words.
GRAMMAR = (
    'a time, or "uniform A..B", "exponential MEAN" or "lognormal MEDIAN SIGMA" of times that are '
    "not 0, SIGMA from 0 to 10"
)

_WORD = re.compile(r"(?P<form>uniform|exponential|lognormal) +(?P<rest>\S.*)")

_MAX_SIGMA = 10.0
#: Microseconds in a second: what drawn times are rounded to.
_US = 1e6


class Random:
    """Random numbers for one purpose of one tenant.

    Parameters
    ----------
    seed : int or str
        The scenario's; 1 and "1" are the same.
    tenant, purpose : str
        Whose, and what for.
    """

    def __init__(self, seed: int | str, tenant: str, purpose: str) -> None:
        key = json.dumps([str(seed), tenant, purpose]).encode()
        digest = hashlib.sha256(key).digest()
        self._bits = np.random.PCG64(int.from_bytes(digest, "big"))

    def uniform(self, n: int) -> Floats:
        """Return `n` numbers in [0, 1), 53 bits each. O(n)."""
        drawn: NDArray[np.uint64] = self._bits.random_raw(n)
        return (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def choices(self, n: int, n_choices: int) -> NDArray[np.int64]:
        """Return `n` positions in a list, each as likely as any other. O(n)."""
        return (self.uniform(n) * n_choices).astype(np.int64)

    def exponential(self, n: int) -> Floats:
        """Return `n` gaps of a Poisson process of one event a second on average. O(n)."""
        gaps: Floats = -np.log1p(-self.uniform(n))
        return gaps

    def normal(self, n: int) -> Floats:
        """Return `n` numbers of mean 0 and variance 1, by Box and Muller. O(n)."""
        # 1 − u: the logarithm of 0 is none.
        radius = np.sqrt(-2.0 * np.log1p(-self.uniform(n)))
        normal: Floats = radius * np.cos(2.0 * np.pi * self.uniform(n))
        return normal


@dataclass(frozen=True, slots=True)
class Durations:
    """How long jobs run.

    `a` is the duration, the shortest, the mean or the median in seconds; `b` is the longest of
    `uniform`, and the standard deviation of the logarithm of `lognormal`.
    """

    form: Form
    a: float
    b: float = 0.0

    def draw(self, n: int, random: Random) -> Floats:
        """Return `n` durations in seconds, from 1 µs to 1e12 s. O(n)."""
        if self.form == "constant":
            return np.full(n, self.a)
        if self.form == "uniform":
            drawn = self.a + (self.b - self.a) * random.uniform(n)
        elif self.form == "exponential":
            drawn = self.a * random.exponential(n)
        else:
            drawn = self.a * np.exp(self.b * random.normal(n))
        bounded: Floats = np.clip(microseconds(drawn), 1 / _US, LONGEST_S)
        return bounded


def microseconds(times_s: Floats) -> Floats:
    """Return times in seconds, rounded to whole microseconds. O(n)."""
    rounded: Floats = np.rint(times_s * _US) / _US
    return rounded


def read_durations(value: object) -> Durations:
    """Return the durations that a value of a scenario says.

    Raises
    ------
    InvalidValue
        If it says none (`GRAMMAR`). O(length).

    Examples
    --------
    >>> read_durations("lognormal 10m 1.5")
    Durations(form='lognormal', a=600.0, b=1.5)
    """
    match = _WORD.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return Durations("constant", _positive(value))
    rest = match["rest"]
    if match["form"] == "uniform":
        least, dots, most = rest.partition("..")
        found = Durations("uniform", _positive(least), _positive(most))
        if not dots or found.a > found.b:
            raise InvalidValue(f"{shown(value)} is not {GRAMMAR}")
        return found
    if match["form"] == "exponential":
        return Durations("exponential", _positive(rest))
    median, _, sigma = rest.partition(" ")
    return Durations("lognormal", _positive(median), _sigma(sigma.strip(" ")))


def _positive(value: object) -> float:
    found = seconds(value)
    if found == 0:
        raise InvalidValue("a duration is not 0")
    return found


def _sigma(written: str) -> float:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,20})?|\.[0-9]{1,20}", written):
        raise InvalidValue(f"sigma {shown(written)} is not a number")
    found = float(written)
    if found > _MAX_SIGMA:
        raise InvalidValue(f"sigma {shown(written)} is above {_MAX_SIGMA:g}")
    return found


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """How many tasks jobs have: any of these, each as likely."""

    choices: tuple[int, ...] = ()
    least: int = 0
    most: int = 0

    def draw(self, n: int, random: Random) -> NDArray[np.int64]:
        """Return `n` counts. O(n)."""
        if not self.choices:
            return self.least + random.choices(n, self.most - self.least + 1)
        return np.array(self.choices, dtype=np.int64)[random.choices(n, len(self.choices))]

    @property
    def largest(self) -> int:
        """The most tasks that a job can have."""
        return max(self.choices, default=self.most)


#: No job has more tasks.
MAX_TASKS = 1_000_000

TASKS_GRAMMAR = (
    f'a whole number from 1 to {MAX_TASKS}, a range such as "1..8", or a list of numbers'
)

_RANGE = re.compile(r"(?P<least>[0-9]{1,7})\.\.(?P<most>[0-9]{1,7})")


def read_tasks(value: object) -> TaskCounts:
    """Return the numbers of tasks that a value of a scenario says.

    Raises
    ------
    InvalidValue
        If it says none (`TASKS_GRAMMAR`). O(length).

    Examples
    --------
    >>> read_tasks("1..8").largest, read_tasks([2, 4]).choices
    (8, (2, 4))
    """
    if isinstance(value, str):
        match = _RANGE.fullmatch(value)
        least, most = (int(match["least"]), int(match["most"])) if match else (0, 0)
        if not 1 <= least <= most <= MAX_TASKS:
            raise InvalidValue(f"tasks {shown(value)}: not {TASKS_GRAMMAR}")
        return TaskCounts(least=least, most=most)
    given = value if isinstance(value, (list, tuple)) else [value]
    counts = [n for n in given if type(n) is int and 1 <= n <= MAX_TASKS]
    if not counts or len(counts) < len(given):
        raise InvalidValue(f"tasks {shown(value)}: not {TASKS_GRAMMAR}")
    return TaskCounts(choices=tuple(counts))
