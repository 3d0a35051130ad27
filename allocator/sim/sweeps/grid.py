"""The points of a sweep: every combination of the values of some keys, with seeds."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from allocator.errors import InvalidValue, shown
from allocator.sim.scenario import Scenario
from allocator.sim.scenario.overrides import parse_key, parse_value

#: No sweep has more runs.
MAX_RUNS = 1_000_000

_RANGE = re.compile(
    r"(?P<least>-?[0-9]+(\.[0-9]+)?)\.\.(?P<most>-?[0-9]+(\.[0-9]+)?)/(?P<count>[0-9]{1,6})"
)


@dataclass(frozen=True, slots=True)
class Point:
    """One run to make.

    Parameters
    ----------
    changes : mapping
        Grid key -> value.
    repeat : int
        Counts the runs of these changes, from 0.
    seed : int or str
        The scenario's seed of this run; the same at every point.
    """

    changes: Mapping[str, Any]
    repeat: int
    seed: int | str

    def of(self, scenario: Scenario) -> Scenario:
        """Return the scenario of this run; raises `ScenarioError`."""
        return scenario.with_({**self.changes, "seed": self.seed})


def points_of(
    scenario: Scenario, grid: Mapping[str, Sequence[Any]], repeat: int
) -> Iterator[Point]:
    """Yield every combination of the grid's values, the last key fastest, `repeat` times each.

    Raises
    ------
    InvalidValue
        If a key has no list of values, none or one twice, or there are too many runs.
    """
    if isinstance(repeat, bool) or not isinstance(repeat, int) or repeat < 1:
        raise InvalidValue(f"repeat {shown(repeat)}: not a number from 1 on")
    n_runs = repeat
    for key, values in grid.items():
        if isinstance(values, (str, bytes)):
            raise InvalidValue(f"grid {key}: a list of values, not {shown(values)}")
        written = [json.dumps(value, sort_keys=True, default=str) for value in values]
        if not written or len(set(written)) < len(written):
            raise InvalidValue(f"grid {key}: at least one value, each once, not {shown(values)}")
        n_runs *= len(written)
    if n_runs > MAX_RUNS:
        raise InvalidValue(f"{n_runs} runs, more than {MAX_RUNS}")
    return _points(scenario, grid, repeat)


def _points(scenario: Scenario, grid: Mapping[str, Sequence[Any]], repeat: int) -> Iterator[Point]:
    for values in itertools.product(*grid.values()):
        changes = dict(zip(grid, values, strict=True))
        seed = changes.get("seed", scenario.seed)
        for k in range(repeat):
            yield Point(changes, k, seed + k if isinstance(seed, int) else f"{seed}/{k}")


def run_id(depends: object, point: Point) -> str:
    """Return what a run is known by: a hash of all that its result depends on. O(size).

    `depends` is what the scenario says at this point (`Scenario.depends_on`).
    """
    told = [depends, dict(point.changes), point.seed]
    text = json.dumps(told, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def parse_grid(text: str) -> tuple[str, list[Any]]:
    """Return key and values of a text such as `policy.sorter=drf,hdrf`.

    Values are TOML, or else text; `A..B/N` is N of them evenly from A to B, both included.

    Raises
    ------
    InvalidValue
        If it has another form. O(length).

    Examples
    --------
    >>> parse_grid("policy.sorter=drf,hdrf"), parse_grid("workload.load=0.5..1.5/3")
    (('policy.sorter', ['drf', 'hdrf']), ('workload.load', [0.5, 1.0, 1.5]))
    >>> parse_grid("roles.eng.weight=1..4/4")
    ('roles.eng.weight', [1, 2, 3, 4])
    """
    match = re.match(r"""(?:[^"'=]|"(?:[^"\\]|\\.)*"|'[^']*')+=""", text)
    values = text[match.end() :].strip() if match else ""
    if match is None or not values:
        raise InvalidValue(f"{shown(text)} is not of the form KEY=VALUE,…")
    key = match[0][:-1].strip()
    parse_key(key)
    evenly = _RANGE.fullmatch(values)
    return key, _evenly(evenly, text) if evenly else _listed(values)


def _evenly(match: re.Match[str], text: str) -> list[Any]:
    least, most, count = float(match["least"]), float(match["most"]), int(match["count"])
    if count < 2 or most <= least:
        raise InvalidValue(f"{shown(text)}: A..B/N is two or more values from A up to B")
    values = [least + (most - least) * i / (count - 1) for i in range(count - 1)] + [most]
    is_whole = "." not in match["least"] + match["most"]
    whole = [int(value) for value in values]
    return whole if is_whole and whole == values else values


def _listed(values: str) -> list[Any]:
    try:
        found = tomllib.loads(f"values = [{values}]")
        if found.keys() == {"values"}:
            return list(found["values"])
    except (ValueError, RecursionError):
        pass  # not all of them are TOML
    return [parse_value(part.strip()) for part in _split(values)]


def _split(values: str) -> list[str]:
    """Split at commas that stand in no quotes, brackets or braces."""
    parts, depth, quote = [""], 0, ""
    for char in values:
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        else:
            depth += (char in "[{") - (char in "]}")
        if char == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += char
    return parts
