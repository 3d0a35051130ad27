"""The report of a sweep: one HTML file that needs nothing from elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from allocator.sim.sweeps.statistics import Mean, PointMeans, by_point, paired, short, told
from allocator.sim.sweeps.sweep import Sweep

REPORT = "report.html"

#: Figure → what people call it, with its unit, and by how much it is divided.
FIGURES: Mapping[str, tuple[str, float]] = {
    "end_s": ("end of the run, hours", 3600),
    "finished": ("jobs finished", 1),
    "waiting": ("jobs waiting at the end", 1),
    "wait_p50_s": ("median wait, minutes", 60),
    "wait_p95_s": ("95 % of waits at most, minutes", 60),
    "deviation_mean": ("mean deviation from the fair share, %", 0.01),
    "jain": ("Jain's index of shares by weight", 1),
}

_STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#1b1f24, #e6e9ec); --faint: light-dark(#6a737d,
  #9aa4ae); --line: light-dark(#d8dde2, #3a4149); --mark: light-dark(#0072b2, #56b4e9);
  --paper: light-dark(#fff, #16191d); }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; font: 16px/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--paper); }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; } p, figcaption { color: var(--faint); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line);
  vertical-align: bottom; } td { white-space: nowrap; } .key { text-align: left; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr));
  gap: 1.5rem; } figure { margin: 0; } svg { width: 100%; height: auto; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; } .axis { stroke: var(--line); }
.bar { stroke: var(--mark); stroke-width: 2; } .dot { fill: var(--mark); }
"""


def write_report(found: Sweep, title: str, folder: str | os.PathLike[str]) -> Path:
    """Write the report into a folder; return its path. O(runs × measures)."""
    path = Path(folder) / REPORT
    path.write_text(report(found, title), "utf-8")
    return path


def report(found: Sweep, title: str) -> str:
    """Return the report of a sweep as HTML. O(runs × measures)."""
    points = by_point(found)
    means = [_in_units(point.means) for point in points]
    names = [_named(point.point) for point in points]
    body = "\n".join(
        [
            f"<h1>{escape(title)}</h1>",
            f"<p>{_what(found, points)}</p>",
            f'<div class="charts">{"".join(_charts(names, means))}</div>',
            "<h2>Mean and 95 % interval at each point</h2>",
            _table(found.keys, [point.point for point in points], means),
            *(line for key in found.keys for line in _differences(found, key)),
            *_failures(found),
        ]
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: a sweep</title><style>{_STYLE}</style></head>"
        f"<body>{body}</body></html>\n"
    )


def _what(found: Sweep, points: Sequence[PointMeans]) -> str:
    n_done = len(found.runs) - found.n_failed
    over = ", ".join(escape(key) for key in found.keys) or "one point"
    repeats = points[0].n_runs if points else 0
    return (
        f"A sweep over {over}: {len(points)} points with {repeats} seeds each, the same at every "
        f"point; {n_done} of {len(found.runs)} runs are done. Means are over seeds; an interval "
        "holds the mean with a confidence of 95 % (Student's t)."
    )


def _named(point: Mapping[str, Any]) -> str:
    return ", ".join(map(str, point.values())) or "the scenario"


def _in_units(means: Mapping[str, Mean | None]) -> dict[str, Mean | None]:
    """Return the means that are shown, in the units in which they are."""
    return {key: _divided(means.get(key), unit) for key, (_, unit) in FIGURES.items()}


def _divided(mean: Mean | None, unit: float) -> Mean | None:
    if mean is None:
        return None
    return Mean(mean.mean / unit, None if mean.half is None else mean.half / unit, mean.n)


def _table(
    keys: Sequence[str],
    points: Sequence[Mapping[str, Any]],
    lines: Sequence[Mapping[str, Mean | None]],
) -> str:
    """Return a table with a line for each point, of the figures that any of them has."""
    shown = [key for key in FIGURES if any(line[key] for line in lines)]
    head = [f'<th class="key">{escape(key)}</th>' for key in keys]
    head += [f"<th>{escape(FIGURES[key][0])}</th>" for key in shown]
    body = [
        "<tr>"
        + "".join(f'<td class="key">{escape(str(point[key]))}</td>' for key in keys)
        + "".join(f"<td>{told(line[key])}</td>" for key in shown)
        + "</tr>"
        for point, line in zip(points, lines, strict=True)
    ]
    return f'<div class="wide"><table><tr>{"".join(head)}</tr>{"".join(body)}</table></div>'


def _differences(found: Sweep, key: str) -> Iterator[str]:
    """Yield how the values of a key differ from its first one, seed by seed."""
    differences = paired(found, key)
    if not differences:
        return
    yield f"<h2>{escape(key)}: less the same at {escape(str(differences[0].first))}</h2>"
    yield (
        "<p>On the same seeds: pairs share all that the seed draws, so that a difference is seen "
        "with far fewer runs than means take. There is one where 0 is not in the interval.</p>"
    )
    points = [{key: each.other, **each.point} for each in differences]
    yield _table(found.keys, points, [_in_units(each.means) for each in differences])


def _failures(found: Sweep) -> Iterator[str]:
    failed = [run for run in found.runs if run.error is not None]
    if failed:
        yield f"<h2>{len(failed)} runs failed</h2>"
        for run in failed[:100]:
            what = f"{_named(run.point)}, seed {run.seed}: {run.error}"
            yield f"<p>{escape(what)}</p>"


def _charts(names: Sequence[str], means: Sequence[Mapping[str, Mean | None]]) -> Iterator[str]:
    """Yield a chart of each figure that is not the same everywhere."""
    for key, (title, _) in FIGURES.items():
        found = [line[key] for line in means]
        if len({each.mean for each in found if each is not None}) > 1:
            yield f"<figure><figcaption>{escape(title)}</figcaption>{_chart(names, found)}</figure>"


#: Of a chart, in pixels: its width, where values begin, a line of text.
_WIDTH, _LEFT, _LINE = 360, 130, 26


def _chart(names: Sequence[str], found: Sequence[Mean | None]) -> str:
    """Return a chart: a line for each point, with its mean and interval."""
    ends = [
        end
        for each in found
        if each is not None
        for end in (each.mean - (each.half or 0), each.mean + (each.half or 0))
    ]
    low, high = min(ends), max(ends)
    pad = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    low, high = low - pad, high + pad

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - 10)

    height = _LINE * len(names) + 24
    parts = [f'<svg viewBox="0 0 {_WIDTH} {height}" role="img">']
    for place, (name, each) in enumerate(zip(names, found, strict=True)):
        y = _LINE * place + _LINE / 2
        label = name if len(name) <= 20 else name[:19] + "…"
        parts.append(f"<text x='0' y='{y + 4:.0f}'>{escape(label)}</text>")
        parts.append(f"<line class='axis' x1='{_LEFT}' x2='{_WIDTH}' y1='{y}' y2='{y}'/>")
        if each is not None:
            half = each.half or 0.0
            ends_x = f"x1='{x(each.mean - half):.1f}' x2='{x(each.mean + half):.1f}'"
            parts.append(f"<line class='bar' {ends_x} y1='{y}' y2='{y}'/>")
            parts.append(f"<circle class='dot' cx='{x(each.mean):.1f}' cy='{y}' r='4'>")
            parts.append(f"<title>{escape(name)}: {told(each)}</title></circle>")
    bottom = _LINE * len(names) + 16
    parts.append(f"<text x='{_LEFT}' y='{bottom}'>{short(low + pad)}</text>")
    parts.append(
        f"<text x='{_WIDTH}' y='{bottom}' text-anchor='end'>{short(high - pad)}</text></svg>"
    )
    return "".join(parts)
