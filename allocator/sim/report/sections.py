"""The sections of the report, each a card."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from allocator.sim.record import Floats
from allocator.sim.report import axes, charts
from allocator.sim.report.charts import Line, Range
from allocator.sim.report.tenants import TenantSummary, nearest_rank, summaries, waits
from allocator.sim.report.words import amount, number, rounded, scale_of, span, spanned

if TYPE_CHECKING:
    from allocator.sim.result import Result

#: So many roles have a colour of their own; the others share one.
N_COLOURS = 7

#: So many roles have a chart of their own.
MAX_ROLES = 24

#: All colours that lines can have.
ALL_COLOURS = tuple(f"c{at}" for at in range(N_COLOURS + 1))

#: So many rows a chart of ranges has, and so many charts of quota there are.
MAX_RANGES = 20
MAX_QUOTAS = 12

#: The table of tenants is no larger.
MAX_TABLE_BYTES = 2_000_000

#: So many lines, of so many characters, tell what the run was asked for.
MAX_OPTIONS = 200
MAX_LINE = 1000

#: A curve of a distribution has so many steps.
_CDF_STEPS = 200

_N_BINS = 40


@dataclass(frozen=True)
class Shown:
    """A result with what several sections need of it."""

    result: Result

    @cached_property
    def edges(self) -> Floats:
        """The edges of the intervals; a run of no time gets one of a second."""
        edges = self.result.record.series.edges_s
        return edges if edges[-1] > 0 else np.array([0.0, 1.0])

    @cached_property
    def time(self) -> axes.Axis:
        """The axis of the run's time."""
        return axes.times(self.result.end_s)

    @cached_property
    def short_time(self) -> axes.Axis:
        """The same with few ticks, for small charts."""
        return axes.times(self.result.end_s, n=5)

    @cached_property
    def tenants(self) -> list[TenantSummary]:
        """A summary of each tenant."""
        return summaries(self.result.record)

    def mean(self, levels: Floats) -> float:
        """Return the average over the run of a level an interval."""
        lengths = np.diff(self.edges)
        return math.fsum((levels * lengths).tolist()) / math.fsum(lengths.tolist())

    @cached_property
    def ranked(self) -> list[int]:
        """The rows of all roles, the largest mean share first."""
        record = self.result.record
        means = [self.mean(levels) for levels in record.series.share[:-1]]
        return sorted(range(len(record.roles)), key=lambda row: (-means[row], record.roles[row]))

    @cached_property
    def coloured(self) -> list[int]:
        """The rows of the leaf roles that have a colour of their own."""
        is_leaf = self.result.record.is_leaf
        leaves = [row for row in self.ranked if is_leaf[row]]
        return leaves if len(leaves) <= N_COLOURS + 1 else leaves[:N_COLOURS]

    def layers(self, levels: Floats) -> list[Line]:
        """Return what to stack of (R + 1, n) levels: the leaf roles, the small ones as one."""
        record = self.result.record
        lines = [
            Line(record.roles[row], levels[row], f"c{at}") for at, row in enumerate(self.coloured)
        ]
        others = [
            row
            for row, is_leaf in enumerate(record.is_leaf)
            if is_leaf and row not in set(self.coloured)
        ]
        if others:
            name = f"{len(others)} others"
            lines.append(Line(name, levels[others].sum(axis=0), "others"))
        return lines


def card(id: str, title: str, body: str, *, note: str = "") -> str:
    """Return a section of the page."""
    below = f"<p>{escape(note)}</p>" if note else ""
    return (
        f'<section class="card" id="{id}"><div class="head"><h2>{escape(title)}</h2>{below}</div>'
        f"{body}</section>"
    )


def what_was_run(shown: Shown) -> str:
    """Return what the run was asked for and ran on."""
    result = shown.result
    trace, cluster = result.trace, result.cluster
    groups = ", ".join(cluster["groups"][:6])
    if len(cluster["groups"]) > 6:
        groups += f" and {len(cluster['groups']) - 6} smaller groups"
    total = ", ".join(amount(name, most) for name, most in cluster["total"].items())
    entries: list[tuple[str, str]] = [
        ("Workload", f"{trace['name']} ({trace['format']}): {trace['jobs']:,} jobs of "
         f"{trace['tenants']:,} tenants, submitted over {span(result.arrivals_s)}"),
        ("Cluster", f"{cluster['machines']:,} machines ({cluster['source']}): {groups}"),
        ("Resources", total),
        ("Simulated", f"{span(result.end_s)}; {result.cycles.cycles_run:,} cycles run, "
         f"{result.cycles.cycles_skipped:,} skipped, {result.cycles.offers:,} offers made"),
    ]  # fmt: skip
    entries += [("Note", note) for note in trace["notes"]]
    entries += [("Odd in the input", f"{what}: {n:,}") for what, n in result.defects.items()]
    listed = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in entries if v)
    options = "\n".join(
        line[:MAX_LINE]
        for line in _flat(result.options.get("scenario") or result.options)[:MAX_OPTIONS]
    )
    listed += f"<dt>Asked for</dt><dd><pre>{escape(options)}</pre></dd>"
    return card("run", "What was run", f"<dl>{listed}</dl>")


def _flat(value: Any, key: str = "") -> list[str]:
    """Return nested options as a line each, `KEY = VALUE`; what is not set is left out."""
    if isinstance(value, Mapping):
        parts = [(f"{key}.{name}" if key else name, part) for name, part in value.items()]
    elif isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
        parts = [(f"{key}[{at}]", part) for at, part in enumerate(value)]
    else:
        return [] if value is None else [f"{key} = {json.dumps(value, ensure_ascii=False)}"]
    return [line for name, part in parts for line in _flat(part, name)]


def tiles(shown: Shown) -> str:
    """Return the figures at the top."""
    result = shown.result
    counts, far = result.counts, result.fairness["all"]["mean"]
    jain = result.fairness["jain"]
    found = [
        ("Jobs finished", f"{counts.finished:,}", f"of {counts.submitted:,} that came"),
        ("Wait, median", spanned(result.waits.p50_s), f"95 % within {spanned(result.waits.p95_s)}"),
        ("Running tasks", number(shown.mean(result.record.series.running[-1])), "on average"),
        (
            "From fair share",
            "-" if far is None else f"{far * 100:.1f} points",
            "nobody was in need" if jain is None else f"Jain's index {jain:.3f}",
        ),
        ("Tasks lost", f"{result.record.tasks_lost:,}", "with their machines"),
    ]
    return '<div class="tiles">{}</div>'.format(
        "".join(
            f'<div class="tile"><h3>{escape(name)}</h3><p class="value">{escape(value)}</p>'
            f'<p class="detail">{escape(detail)}</p></div>'
            for name, value, detail in found
        )
    )


def shares(shown: Shown) -> str:
    """Return shares over time, stacked beside the stacked fair shares."""
    series = shown.result.record.series
    got, fair = shown.layers(series.share), shown.layers(shown.result.fair_share)
    most = max(_height(got), _height(fair))
    y = axes.shares(most, "dominant shares, stacked")
    figures = [
        charts.figure(
            title, charts.stack(shown.edges, layers, shown.time, y, label=title), style="half"
        )
        for title, layers in (("What roles held", got), ("What would have been fair", fair))
    ]
    key = charts.legend((line.name, line.style) for line in got)
    return card(
        "shares",
        "Shares over time",
        f'{key}<div class="figures">{"".join(figures)}</div>',
        note="Dominant shares of what was up, by what roles held, open offers included. Shares of "
        "different resources can add up to more than 100 %.",
    )


def _height(layers: Sequence[Line]) -> float:
    """Return how high a stack becomes."""
    return float(np.sum([line.levels for line in layers], axis=0).max()) if layers else 0.0


def roles(shown: Shown) -> str:
    """Return a chart a role: its share against its fair share."""
    result, record = shown.result, shown.result.record
    colours = {row: f"c{at}" for at, row in enumerate(shown.coloured)}
    figures = []
    for row in shown.ranked[:MAX_ROLES]:
        share, fair = record.series.share[row], result.fair_share[row]
        name, colour = record.roles[row], colours.get(row, "others")
        y = axes.shares(float(max(share.max(), fair.max())), "share", n=3)
        x, edges = shown.short_time, shown.edges
        inside = charts.path(
            charts.area(edges, np.zeros(len(share)), share, x, y), f"layer soft {colour}"
        )
        inside += charts.path(charts.steps(edges, share, x, y), f"line {colour}")
        inside += charts.path(charts.steps(edges, fair, x, y), "line fair")
        in_need = shown.mean(record.series.in_need[row])
        note = f"weight {record.weights[row]:g}, mean {rounded(shown.mean(share))}"
        note += f", in need {rounded(in_need)} of the time"
        label = f"Share of {name} over time against its fair share"
        figures.append(charts.figure(name, charts.plot(inside, x, y, label=label), note=note))
    key = charts.legend([("share", "c0"), ("fair share", "fair")])
    rest = len(record.roles) - len(figures)
    note = "The fair share is that of hierarchical DRF for what the role's tasks, running and "
    note += "waiting, needed at the time."
    if rest > 0:
        note += f" {rest:,} roles with smaller shares are not drawn."
    return card(
        "roles",
        "Each role against its fair share",
        f'{key}<div class="figures small">{"".join(figures)}</div>',
        note=note,
    )


def utilisation(shown: Shown) -> str:
    """Return a chart a resource: what tasks used of what was up."""
    record, series = shown.result.record, shown.result.record.series
    figures = []
    for axis, name in enumerate(record.names):
        capacity, use = series.capacity[axis], series.use[-1, axis]
        if not capacity.any():
            continue
        divisor, unit = scale_of(name, float(capacity.max()))
        y = axes.linear(float(max(capacity.max(), use.max())) / divisor, unit, n=4)
        inside = charts.path(
            charts.area(shown.edges, np.zeros(len(use)), use / divisor, shown.short_time, y),
            "layer soft c0",
        )
        inside += charts.path(
            charts.steps(shown.edges, use / divisor, shown.short_time, y), "line c0"
        )
        inside += charts.path(
            charts.steps(shown.edges, capacity / divisor, shown.short_time, y), "line fair"
        )
        part = shown.mean(use) / shown.mean(capacity)
        label = f"Use of {name} over time against capacity"
        body = charts.plot(inside, shown.short_time, y, label=label)
        figures.append(charts.figure(name, body, note=f"{rounded(part)} in use on average"))
    key = charts.legend([("used by tasks", "c0"), ("capacity that was up", "fair")])
    return card(
        "utilisation", "Utilisation", f'{key}<div class="figures small">{"".join(figures)}</div>'
    )


def queues(shown: Shown) -> str:
    """Return how many jobs waited and how many tasks ran over time."""
    series = shown.result.record.series
    figures = []
    for title, levels, what in (
        ("Jobs that waited", series.queue, "jobs"),
        ("Tasks that ran", series.running, "tasks"),
    ):
        layers = shown.layers(levels)
        y = axes.linear(_height(layers), what)
        body = charts.stack(shown.edges, layers, shown.time, y, label=f"{title} over time")
        figures.append(charts.figure(title, body, style="half"))
    key = charts.legend((line.name, line.style) for line in shown.layers(series.queue))
    return card("queues", "Queues", f'{key}<div class="figures">{"".join(figures)}</div>')


def waiting(shown: Shown) -> str:
    """Return how long jobs waited: the distribution, and each tenant's."""
    all_s = waits(shown.result.record)
    if not len(all_s):
        return card("waits", "Waiting times", '<p class="none">No job has started.</p>')
    most = [t for t in shown.tenants if len(t.waits_s)]
    most.sort(key=lambda t: (-len(t.waits_s), t.tenant))
    low = float(min(all_s[all_s > 0], default=1.0))
    x = axes.logarithmic_times(max(low, 0.1), max(float(all_s[-1]), 1.0), "wait")
    y = axes.linear(1.0, "jobs that waited no longer", n=4, label=lambda part: f"{part:.0%}")
    drawn = most[:5] if len(most) > 1 else []
    styles = _tenant_styles(shown, drawn)
    lines = [(t.tenant, t.waits_s, f"line {styles[t.tenant]}") for t in drawn]
    lines.append(("all jobs", all_s, "line text"))
    inside = "".join(charts.path(cdf(w, x, y), style, name) for name, w, style in lines)
    key = charts.legend((name, style.split()[1]) for name, _, style in reversed(lines))
    distribution = charts.figure(
        "Distribution over jobs",
        key + charts.plot(inside, x, y, label="Distribution of the waits of jobs", tall=True),
        style="half",
    )
    listed = sorted(most[:MAX_RANGES], key=lambda t: (-(t.wait_s(95) or 0.0), t.tenant))
    rows = [
        Range(
            t.tenant,
            x.place(t.wait_s(50) or 0.0),
            x.place(t.wait_s(95) or 0.0),
            ((x.place(t.wait_s(50) or 0.0), "dot"),),
            f"{spanned(t.wait_s(50))} / {spanned(t.wait_s(95))}",
            "c0",
        )
        for t in listed
    ]
    note = "From the median (dot) to the 95th percentile."
    if len(most) > len(rows):
        note += f" The {len(rows)} tenants with the most jobs of {len(most):,}."
    per_tenant = charts.figure("Per tenant", charts.ranges(rows, x), note=note, style="half")
    return card(
        "waits",
        "Waiting times",
        f'<div class="figures">{distribution}{per_tenant}</div>',
        note="From submission to the start of the last task, of jobs that have started.",
    )


def _tenant_styles(shown: Shown, tenants: Sequence[TenantSummary]) -> dict[str, str]:
    """Return a colour a tenant: its role's, unless another tenant has that or the role none."""
    names = shown.result.record.roles
    of_role = {names[row]: f"c{at}" for at, row in enumerate(shown.coloured)}
    free = [style for style in ALL_COLOURS if style not in {of_role.get(t.role) for t in tenants}]
    styles: dict[str, str] = {}
    for tenant in tenants:
        style = of_role.get(tenant.role, "")
        taken = not style or style in styles.values()
        styles[tenant.tenant] = free.pop(0) if taken else style
    return styles


def cdf(ascending: Floats, x: axes.Axis, y: axes.Axis) -> str:
    """Return the path of a distribution in at most `_CDF_STEPS` steps."""
    n = len(ascending)
    ranks = np.unique(np.linspace(1, n, min(n, _CDF_STEPS)).round().astype(np.int64))
    edges = np.concatenate(([x.low], ascending[ranks - 1], [x.high]))
    levels = np.concatenate(([0.0], ranks / n))
    return charts.steps(np.maximum.accumulate(edges), levels, x, y)


def quotas(shown: Shown) -> str:
    """Return what roles with quotas used, against guarantee and limit."""
    record = shown.result.record
    rows = {role: row for row, role in enumerate(record.roles)}
    figures, n = [], 0
    for role, quota in record.quota.items():
        for name in sorted({*quota.guarantee, *quota.limit}):
            n += 1
            if n > MAX_QUOTAS or name not in record.names:
                continue
            use = record.series.use[rows[role], record.names.index(name)]
            figures.append(_quota(shown, role, name, use))
    if not figures:
        return card("quota", "Quota", '<p class="none">No role has a guarantee or a limit.</p>')
    key = charts.legend([("used by tasks", "c0"), ("limit", "limit"), ("guarantee", "guarantee")])
    note = f"The first {MAX_QUOTAS} of {n:,}." if n > MAX_QUOTAS else ""
    body = f'{key}<div class="figures small">{"".join(figures)}</div>'
    return card("quota", "Quota", body, note=note)


def _quota(shown: Shown, role: str, name: str, use: Floats) -> str:
    quota = shown.result.record.quota[role]
    least, met = quota.guarantee.get(name, (None, None))
    most, peak = quota.limit.get(name, (None, None))
    divisor, unit = scale_of(name, max(float(use.max()), least or 0.0, most or 0.0))
    highest = max(float(use.max()), least or 0.0, most or 0.0) / divisor
    x, y = shown.short_time, axes.linear(highest, unit, n=3)
    inside = charts.path(
        charts.area(shown.edges, np.zeros(len(use)), use / divisor, x, y), "layer soft c0"
    )
    inside += charts.path(charts.steps(shown.edges, use / divisor, x, y), "line c0")
    said = []
    for level, style in ((most, "limit"), (least, "guarantee")):
        if level is not None:
            levels = np.full(len(use), level / divisor)
            inside += charts.path(charts.steps(shown.edges, levels, x, y), f"line {style}")
    if least is not None:
        said.append(f"guarantee of {amount(name, least)} met {rounded(met)} of the time")
    if most is not None and peak is not None:
        said.append(f"peak {amount(name, peak)} of a limit of {amount(name, most)}")
    label = f"Use of {name} by {role} against its quota"
    return charts.figure(
        f"{role}: {name}", charts.plot(inside, x, y, label=label), note="; ".join(said)
    )


def fairness(shown: Shown) -> str:
    """Return how far each role in need was from its fair share."""
    told = {
        role: far
        for role, far in shown.result.fairness["roles"].items()
        if far["worst"] is not None
    }
    if not told:
        return card("fairness", "Fairness", '<p class="none">No role was ever in need.</p>')
    ranked = sorted(told, key=lambda role: (-told[role]["mean"], role))[:MAX_RANGES]
    x = axes.shares(max(told[role]["worst"] for role in ranked), "distance from the fair share")
    rows = [
        Range(
            role,
            0.0,
            x.place(told[role]["p95"]),
            ((x.place(told[role]["mean"]), "dot"), (x.place(told[role]["worst"]), "stroke")),
            f"{rounded(told[role]['mean'])} / {rounded(told[role]['p95'])} / "
            f"{rounded(told[role]['worst'])}",
            "c0",
        )
        for role in ranked
    ]
    note = "Distance of the share from the fair share while the role was in need: mean (dot), 95th "
    note += "percentile (bar) and worst (stroke)."
    if len(told) > len(rows):
        note += f" The {len(rows)} farthest of {len(told):,} roles."
    return card("fairness", "Fairness", charts.ranges(rows, x), note=note)


def cycles(shown: Shown) -> str:
    """Return how long the allocator's cycles took."""
    times_s = np.sort(shown.result.record.cycle_ns / 1e9)
    times_s = times_s[times_s > 0]
    if not len(times_s):
        return card("cycles", "Cycle times", '<p class="none">No cycle was run.</p>')
    x = axes.logarithmic_times(float(times_s[0]), float(times_s[-1]), "time of a cycle")
    edges = np.exp(np.linspace(math.log(x.low), math.log(x.high), _N_BINS + 1))
    heights, _ = np.histogram(np.clip(times_s, x.low, x.high), edges)
    body = charts.bars(
        heights.tolist(), edges.tolist(), x, axes.linear(float(heights.max()), "cycles"),
        label="Distribution of the times of cycles",
    )  # fmt: skip
    p50, p99 = (spanned_short(nearest_rank(times_s, percent)) for percent in (50, 99))
    timing = shown.result.timing
    note = f"Median {p50}, 99th percentile {p99}. The run took {timing.wall_s:.2f} s, of which "
    note += f"{timing.engine_s:.2f} s in the allocator. Measured, and different on each machine."
    return card("cycles", "Cycle times", body, note=note)


def spanned_short(seconds: float | None) -> str:
    """Return a short time in its largest unit."""
    if seconds is None:
        return "-"
    for unit_s, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def machines(shown: Shown) -> str:
    """Return the heat map of machines over time."""
    heat, ids = shown.result.record.heat, shown.result.record.machines
    if not heat.share.size:
        return card("machines", "Machines", '<p class="none">There are no machines.</p>')
    n_rows = heat.share.shape[0]
    every = max(1, math.ceil(n_rows / 6))
    ticks = tuple(
        (1 - (row + 0.5) / n_rows, ids[int(heat.first[row])]) for row in range(0, n_rows, every)
    )
    y = axes.Axis(0.0, 1.0, ticks, "machines")
    body = charts.heat(heat.share, shown.time, y, label="Use of machines over time")
    key = '<ul class="legend"><li>idle</li><li class="shades">'
    key += "".join(f'<i class="key h{shade}"></i>' for shade in range(charts.N_SHADES))
    key += '</li><li>full</li><li><i class="key down"></i>down</li></ul>'
    pooled = n_rows < len(ids)
    note = "The part of a machine's scarcest resource that tasks used."
    note += (
        f" Each of {n_rows} rows is the mean of some neighbours of {len(ids):,}." if pooled else ""
    )
    return card("machines", "Machines over time", key + body, note=note)


#: Heads of the table of tenants, and whether what is below is a number.
_HEADS: tuple[tuple[str, bool], ...] = (
    ("Tenant", False), ("Role", False), ("Jobs", True), ("Finished", True), ("Waiting", True),
    ("Never fit", True), ("Tasks lost", True), ("Task-hours", True), ("Wait p50", True),
    ("Wait p95", True), ("Longest wait", True), ("Slowdown p50", True),
)  # fmt: skip


def tenants(shown: Shown) -> str:
    """Return the table of tenants, which sorts by its heads."""
    ranked = sorted(shown.tenants, key=lambda t: (-t.task_seconds, t.tenant))
    rows: list[str] = []
    size = 0
    for tenant in ranked:
        row = _tenant(tenant)
        size += len(row.encode())
        if size > MAX_TABLE_BYTES:
            break
        rows.append(row)
    heads = "".join(
        f'<th scope="col"{" class=number" if is_number else ""}'
        f"{' aria-sort=descending' if name == 'Task-hours' else ''}>"
        f'<button type="button">{escape(name)}</button></th>'
        for name, is_number in _HEADS
    )
    note = "Click on a head to sort by it."
    if len(ranked) > len(rows):
        note += f" The {len(rows):,} with the most task-hours of {len(ranked):,}."
    return (
        f'<section class="card"><div class="head"><h2>Tenants</h2><p>{escape(note)}</p></div>'
        f'<div class="scroller"><table id="tenants"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _tenant(tenant: TenantSummary) -> str:
    longest = float(tenant.waits_s[-1]) if len(tenant.waits_s) else None
    numbers: list[tuple[float | None, str]] = [
        *((n, f"{n:,}") for n in (tenant.jobs, tenant.finished, tenant.waiting, tenant.never)),
        (tenant.tasks_lost, f"{tenant.tasks_lost:,}"),
        (tenant.task_seconds, f"{tenant.task_seconds / 3600:,.1f}"),
        *((s, spanned(s)) for s in (tenant.wait_s(50), tenant.wait_s(95), longest)),
        (tenant.slowdown, "-" if tenant.slowdown is None else f"{tenant.slowdown:,.2f}"),
    ]
    return f"<tr>{_texts((tenant.tenant, tenant.role))}{_numbers(numbers)}</tr>"


def _texts(texts: Iterable[str]) -> str:
    return "".join(f"<td>{escape(text)}</td>" for text in texts)


def _numbers(numbers: Sequence[tuple[float | None, str]]) -> str:
    """Return cells with what to sort by: nothing where nothing is known."""
    return "".join(
        f'<td data-by="{"" if value is None else f"{value:.10g}"}">{text}</td>'
        for value, text in numbers
    )
