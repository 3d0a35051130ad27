"""Charts as HTML with inline SVG: they stretch with the page, and take its colours.

The plot itself is an SVG that is stretched to the width there is, with lines that keep theirs; the
labels are text beside it, so that they stay readable on a phone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from allocator.sim.record import Floats
from allocator.sim.report.axes import Axis

#: The inner size of a plot: whole numbers are exact enough, and short.
WIDTH, HEIGHT = 4000, 1000


@dataclass(frozen=True, slots=True)
class Line:
    """A curve: one level an interval, drawn in steps. `style` is a class of the style sheet."""

    name: str
    levels: Floats
    style: str


def steps(edges: Floats, levels: Floats, x: Axis, y: Axis) -> str:
    """Return the path of levels that hold from edge to edge; what is unknown is left out."""
    parts: list[str] = []
    last: tuple[int, int] | None = None
    at = [_x(x, edge) for edge in edges.tolist()]
    for i, level in enumerate(levels.tolist()):
        if level != level:
            last = None
            continue
        height = _y(y, level)
        if last is None:
            parts.append(f"M{at[i]} {height}")
        elif height != last[1]:
            parts.append(f"H{at[i]}V{height}")
        last = at[i + 1], height
        if i + 1 == len(levels) or levels[i + 1] != levels[i + 1]:
            parts.append(f"H{at[i + 1]}")
    return "".join(parts)


def area(edges: Floats, low: Floats, high: Floats, x: Axis, y: Axis) -> str:
    """Return the path around what lies between two step curves."""
    above = steps(edges, high, x, y)
    below = _backwards(edges, low, x, y)
    return f"{above}{below}Z" if above else ""


def _backwards(edges: Floats, levels: Floats, x: Axis, y: Axis) -> str:
    parts: list[str] = []
    last: int | None = None
    at = [_x(x, edge) for edge in edges.tolist()]
    for i in range(len(levels) - 1, -1, -1):
        height = _y(y, float(levels[i]))
        if height != last:
            parts.append(f"H{at[i + 1]}V{height}" if last is not None else f"V{height}")
        last = height
    return "".join(parts) + f"H{at[0]}"


def _x(axis: Axis, value: float) -> int:
    return round(axis.place(value) * WIDTH)


def _y(axis: Axis, value: float) -> int:
    return round((1 - axis.place(value)) * HEIGHT)


def path(d: str, style: str, title: str = "") -> str:
    """Return one path of an SVG."""
    inside = f"<title>{escape(title)}</title>" if title else ""
    return f'<path class="{style}" d="{d}">{inside}</path>' if d else ""


def plot(
    inside: str,
    x: Axis,
    y: Axis,
    *,
    label: str,
    tall: bool = False,
    size: tuple[int, int] | None = None,
) -> str:
    """Return a plot with its axes.

    `label` says what it shows to those who do not see it. `size` is the inner one, if it is not
    (`WIDTH`, `HEIGHT`); then there are no lines of a grid.
    """
    width, height = size or (WIDTH, HEIGHT)
    ticks = () if size else y.ticks
    grid = "".join(f"M0 {round((1 - at) * HEIGHT)}h{WIDTH}" for at, _ in ticks)
    marks = "".join(
        f'<span style="bottom:{at * 100:.2f}%">{escape(text)}</span>' for at, text in y.ticks
    )
    below = _below(x)
    return (
        f'<div class="plot{" tall" if tall else ""}">'
        f'<p class="y-title">{escape(y.title)}</p><div class="y">{_widest(y)}{marks}</div>'
        f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}">{path(grid, "grid")}{inside}</svg>'
        f'<div class="x">{below}</div><p class="x-title">{escape(x.title)}</p></div>'
    )


def _below(axis: Axis) -> str:
    """Return the labels below a plot; on a narrow page every other of many is left out."""
    n = len(axis.ticks)
    return "".join(
        _x_mark(at, text, "minor" if n > 5 and (n - 1 - i) % 2 else "")
        for i, (at, text) in enumerate(axis.ticks)
    )


def _x_mark(at: float, text: str, style: str) -> str:
    side = "last" if at > 0.97 else "first" if at < 0.02 else ""
    return f'<span class="{side} {style}" style="left:{at * 100:.2f}%">{escape(text)}</span>'


def _widest(axis: Axis) -> str:
    """Return the longest label once more, unseen: it makes the room for all of them."""
    longest = max((text for _, text in axis.ticks), key=len, default="")
    return f"<i>{escape(longest)}</i>"


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """Return the key of a chart: (name, style) each."""
    keys = "".join(f'<li><i class="key {style}"></i>{escape(name)}</li>' for name, style in entries)
    return f'<ul class="legend">{keys}</ul>'


def figure(title: str, body: str, *, note: str = "", style: str = "") -> str:
    """Return a chart with its title, and what there is to know of it."""
    below = f"<p>{escape(note)}</p>" if note else ""
    return (
        f'<figure class="{style}"><figcaption><b>{escape(title)}</b>{below}</figcaption>'
        f"{body}</figure>"
    )


def curves(edges: Floats, lines: Sequence[Line], x: Axis, y: Axis, *, label: str) -> str:
    """Return a plot of step curves, the last one on top."""
    inside = "".join(path(steps(edges, line.levels, x, y), line.style) for line in lines)
    return plot(inside, x, y, label=label)


def stack(edges: Floats, layers: Sequence[Line], x: Axis, y: Axis, *, label: str) -> str:
    """Return a plot of curves that stand on each other, the first at the bottom."""
    low = np.zeros(len(edges) - 1)
    inside = []
    for layer in layers:
        high = low + layer.levels
        inside.append(path(area(edges, low, high, x, y), f"layer {layer.style}", layer.name))
        low = high
    return plot("".join(inside), x, y, label=label, tall=True)


def bars(heights: Sequence[float], edges: Sequence[float], x: Axis, y: Axis, *, label: str) -> str:
    """Return a plot of bars, each from edge to edge."""
    d = "".join(
        f"M{_x(x, edges[i])} {HEIGHT}V{_y(y, height)}H{_x(x, edges[i + 1])}V{HEIGHT}Z"
        for i, height in enumerate(heights)
        if height
    )
    return plot(path(d, "bars"), x, y, label=label)


@dataclass(frozen=True, slots=True)
class Range:
    """One row of a chart of ranges: marks at places from 0 to 1, and a bar from one to another."""

    name: str
    low: float
    high: float
    marks: tuple[tuple[float, str], ...]
    said: str
    style: str = ""


def ranges(rows: Sequence[Range], x: Axis) -> str:
    """Return a row each with a bar from `low` to `high` and marks on it, over one axis."""
    lines = "".join(
        f'<li><span class="name" title="{escape(row.name)}">{escape(row.name)}</span>'
        f'<span class="track"><i class="{row.style}" style="left:{row.low * 100:.2f}%;'
        f'width:{max(row.high - row.low, 0) * 100:.2f}%"></i>'
        + "".join(
            f'<b class="{style}" style="left:{at * 100:.2f}%"></b>' for at, style in row.marks
        )
        + f'</span><span class="said">{escape(row.said)}</span></li>'
        for row in rows
    )
    below = _below(x)
    foot = (
        f'<li class="axis"><span></span><span class="x">{below}</span><span></span></li>'
        if x.ticks
        else ""
    )
    title = f'<p class="x-title">{escape(x.title)}</p>' if x.title else ""
    return f'<ul class="ranges">{lines}{foot}</ul>{title}'


#: Shades of a heat map; 0 is nothing in use.
N_SHADES = 9


def heat(levels: Floats, x: Axis, y: Axis, *, label: str) -> str:
    """Return rows of cells from 0 to 1 in shades; NaN is down. The first row is on top."""
    n_rows, n_columns = levels.shape
    known = ~np.isnan(levels)
    shades = np.full(levels.shape, N_SHADES, np.int64)
    shades[known] = np.minimum(np.ceil(levels[known] * (N_SHADES - 1)), N_SHADES - 1)
    d: list[list[str]] = [[] for _ in range(N_SHADES + 1)]
    for row in range(n_rows):
        ends = [*(np.flatnonzero(np.diff(shades[row])) + 1).tolist(), n_columns]
        start = 0
        for end in ends:
            d[shades[row, start]].append(f"M{start} {row}h{end - start}v1h-{end - start}z")
            start = end
    inside = "".join(
        path("".join(parts), "down" if shade == N_SHADES else f"heat h{shade}")
        for shade, parts in enumerate(d)
        if shade
    )
    return plot(inside, x, y, label=label, tall=True, size=(n_columns, n_rows))
