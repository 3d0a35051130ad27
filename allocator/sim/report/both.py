"""The report of two runs: the same work without changes and with them, both in each plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from allocator.sim.record import Floats
from allocator.sim.report import axes, charts
from allocator.sim.report.frame import framed
from allocator.sim.report.sections import MAX_ROLES, Shown, card, cdf
from allocator.sim.report.tenants import waits
from allocator.sim.report.words import number, rounded, scale_of, spanned

if TYPE_CHECKING:
    from allocator.sim.comparison import Comparison, Json

_LINKS = (
    ("roles", "Roles"),
    ("table", "Figures"),
    ("utilisation", "Utilisation"),
    ("queues", "Queues"),
    ("waits", "Waits"),
)

#: Figure of a comparison → the head of its column, and how it is written.
_COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "share": ("Share", rounded),
    "wait_p50_s": ("Wait p50", spanned),
    "wait_p95_s": ("Wait p95", spanned),
    "tasks": ("Tasks started", "{:,}".format),
    "quota_met": ("Guarantee met", rounded),
}


@dataclass(frozen=True)
class Both:
    """Two results, and what plots of both need."""

    before: Shown
    after: Shown

    @cached_property
    def end_s(self) -> float:
        """The end of the longer run."""
        return max(self.before.result.end_s, self.after.result.end_s)

    def plot(self, before: Floats, after: Floats, y: axes.Axis, style: str, label: str) -> str:
        """Return a plot of levels an interval: filled with the changes, dashed without."""
        x = axes.times(self.end_s, n=5)
        edges = self.after.edges
        inside = charts.path(
            charts.area(edges, np.zeros(len(after)), after, x, y), f"layer soft {style}"
        )
        inside += charts.path(charts.steps(edges, after, x, y), f"line {style}")
        inside += charts.path(charts.steps(self.before.edges, before, x, y), "line fair")
        return charts.plot(inside, x, y, label=f"{label}, without the changes and with them")

    def means(self, before: Floats, after: Floats, show: Callable[[float], str]) -> str:
        """Return how the average over the run changes."""
        return changed(show(self.before.mean(before)), show(self.after.mean(after)))


def page(comparison: Comparison, title: str, changes: Sequence[str]) -> str:
    """Return the report.

    Parameters
    ----------
    comparison : Comparison
        Of results that were not loaded from files.
    title : str
    changes : sequence of str
        What was changed, in words.
    """
    both = Both(Shown(comparison.before), Shown(comparison.after))
    told = comparison.roles()
    body = "".join(
        [
            _verdict(comparison, told, changes),
            _roles(both),
            _table(told),
            _utilisation(both),
            _queues(both),
            _waits(both),
        ]
    )
    return framed(f"{title}: what if", _LINKS, body)


def changed(before: str, after: str) -> str:
    """Return two texts as a change; one if they are the same.

    Examples
    --------
    >>> changed("1", "2"), changed("1", "1")
    ('1 → 2', '1')
    """
    return before if before == after else f"{before} → {after}"


_KEY = charts.legend([("with the changes", "c0"), ("without them", "fair")])


def _verdict(
    comparison: Comparison, told: dict[str, tuple[Json, Json]], changes: Sequence[str]
) -> str:
    before, after = comparison.before, comparison.after
    finished = changed(f"{before.counts.finished:,}", f"{after.counts.finished:,}")
    waiting = changed(f"{before.counts.waiting:,}", f"{after.counts.waiting:,}")
    median = changed(spanned(before.waits.p50_s), spanned(after.waits.p50_s))
    late = changed(spanned(before.waits.p95_s), spanned(after.waits.p95_s))
    said = [
        f"Changed: {', '.join(changes)}." if changes else "Nothing was changed.",
        f"Jobs finished: {finished}; waiting at the end: {waiting}.",
        f"Median wait of jobs: {median}; 95 % within {late}.",
        *_most_changed(told),
        "Both runs are of one seed; a sweep over seeds tells what is chance.",
    ]
    lines = "".join(f"<p>{escape(text)}</p>" for text in said)
    return f'<section class="card" id="verdict"><h2>Verdict</h2>{lines}</section>'


def _most_changed(told: dict[str, tuple[Json, Json]]) -> list[str]:
    """Return a sentence on the roles whose shares gain and lose the most."""
    changes = {
        path: after["share"] - before["share"]
        for path, (before, after) in told.items()
        if before["share"] is not None and after["share"] is not None
    }
    moved = sorted(
        (path for path in changes if abs(changes[path]) >= 5e-4), key=changes.__getitem__
    )
    if not moved:
        return ["No role's mean share changes by as much as a tenth of a point."]
    ends = dict.fromkeys((moved[-1], moved[0]))
    parts = [f"{path} {100 * changes[path]:+.1f} points" for path in ends]
    return [f"Mean shares change the most for {' and '.join(parts)}."]


def _roles(both: Both) -> str:
    """Return a chart a role: its share in both runs."""
    before, after = both.before.result.record, both.after.result.record
    nothing = np.zeros(len(both.before.edges) - 1)
    rows = {path: row for row, path in enumerate(before.roles)}
    figures = []
    for at, row in enumerate(both.after.ranked[:MAX_ROLES]):
        path, share = after.roles[row], after.series.share[row]
        then = before.series.share[rows[path]] if path in rows else nothing
        y = axes.shares(float(max(share.max(), then.max())), "share", n=3)
        style = f"c{at}" if at < 8 else "others"
        plot = both.plot(then, share, y, style, f"Share of {path}")
        note = f"mean {both.means(then, share, rounded)}"
        figures.append(charts.figure(path, plot, note=note))
    rest = len(after.roles) - len(figures)
    note = f"{rest:,} roles with smaller shares are not drawn." if rest > 0 else ""
    body = f'{_KEY}<div class="figures small">{"".join(figures)}</div>'
    return card("roles", "Shares of each role", body, note=note)


def _table(told: dict[str, tuple[Json, Json]]) -> str:
    heads = "".join(
        f'<th scope="col" class="number">{escape(head)}</th>' for head, _ in _COLUMNS.values()
    )
    rows = "".join(
        f"<tr><td>{escape(path)}</td>"
        + "".join(
            f'<td class="number">{_cell(before[name], after[name], show)}</td>'
            for name, (_, show) in _COLUMNS.items()
        )
        + "</tr>"
        for path, (before, after) in told.items()
    )
    table = f'<thead><tr><th scope="col">Role</th>{heads}</tr></thead><tbody>{rows}</tbody>'
    body = f'<div class="scroller"><table>{table}</table></div>'
    return card("table", "Without the changes → with them", body)


def _cell(before: float | None, after: float | None, show: Callable[[float], str]) -> str:
    one, other = ("-" if value is None else show(value) for value in (before, after))
    return escape(changed(one, other))


def _utilisation(both: Both) -> str:
    before, after = both.before.result.record, both.after.result.record
    figures = []
    for row, name in enumerate(after.names):
        capacity, use = after.series.capacity[row], after.series.use[-1, row]
        if not capacity.any() or name not in before.names:
            continue
        then = before.series.use[-1, before.names.index(name)]
        most = float(max(capacity.max(), use.max(), then.max()))
        divisor, unit = scale_of(name, most)
        y = axes.linear(most / divisor, unit)
        plot = both.plot(then / divisor, use / divisor, y, "c0", f"Use of {name}")
        note = f"mean {both.means(then / divisor, use / divisor, number)} {unit}"
        figures.append(charts.figure(name, plot, note=note))
    body = f'{_KEY}<div class="figures small">{"".join(figures)}</div>'
    return card("utilisation", "Used by tasks", body)


def _queues(both: Both) -> str:
    before, after = both.before.result.record.series, both.after.result.record.series
    figures = []
    for title, then, now, what in (
        ("Jobs that waited", before.queue[-1], after.queue[-1], "jobs"),
        ("Tasks that ran", before.running[-1], after.running[-1], "tasks"),
    ):
        y = axes.linear(float(max(then.max(), now.max())), what)
        note = f"mean {both.means(then, now, number)}"
        figures.append(charts.figure(title, both.plot(then, now, y, "c0", title), note=note))
    return card("queues", "Queues", f'{_KEY}<div class="figures">{"".join(figures)}</div>')


def _waits(both: Both) -> str:
    """Return the distributions of waits of both runs."""
    then, now = waits(both.before.result.record), waits(both.after.result.record)
    if not len(then) and not len(now):
        return card("waits", "Waiting times", '<p class="none">No job has started.</p>')
    every = np.sort(np.concatenate([then, now]))
    low = float(min(every[every > 0], default=1.0))
    x = axes.logarithmic_times(max(low, 0.1), max(float(every[-1]), 1.0), "wait")
    y = axes.linear(1.0, "jobs that waited no longer", label=lambda part: f"{part:.0%}")
    inside = charts.path(cdf(now, x, y), "line c0") if len(now) else ""
    inside += charts.path(cdf(then, x, y), "line fair") if len(then) else ""
    label = "Distribution of the waits of jobs, without the changes and with them"
    body = _KEY + charts.plot(inside, x, y, label=label, tall=True)
    return card(
        "waits",
        "Waiting times",
        body,
        note="From submission to the start of the last task, of jobs that have started.",
    )
