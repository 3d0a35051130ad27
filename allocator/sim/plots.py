"""The curves of a run as pictures, by matplotlib, which is imported by whoever asks for one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from allocator.sim.record import Floats
from allocator.sim.report import axes
from allocator.sim.report.sections import MAX_QUOTAS, Shown
from allocator.sim.report.tenants import waits
from allocator.sim.report.words import scale_of

if TYPE_CHECKING:
    from allocator.sim.result import Result

#: Okabe and Ito's colours, told apart by everybody, in the order of the report's.
COLOURS = (
    *("#0072b2", "#e69f00", "#009e73", "#d55e00"),
    *("#56b4e9", "#cc79a7", "#f0e442", "#5b4a8a"),
)
_OTHERS = "#9aa4ab"
_TEXT = "#1d2327"

#: So many roles have a panel of their own.
_MAX_PANELS = 12

_STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e6e9",
    "legend.frameon": False,
    # Names are as they are: a dollar begins no formula.
    "text.parse_math": False,
    # The same run gives the same file.
    "svg.hashsalt": "allocator",
}


def plot(result: Result, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Draw the curves of a run; see `Result.plot`."""
    library, figure = matplotlib()
    shown = Shown(result)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with library.rc_context(_STYLE), warnings.catch_warnings():
        # What the font does not have is drawn as a box; nobody else has to know.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        for name, draw in _ALL.items():
            drawn = draw(shown, figure)
            if drawn is None:
                continue
            for suffix in formats:
                path = folder / f"{name}.{suffix}"
                metadata = {"Date": None} if suffix == "svg" else {}
                drawn.savefig(path, dpi=150, metadata=metadata)
                written.append(path)
    return written


def matplotlib() -> tuple[Any, Callable[..., Any]]:
    """Return matplotlib and its figures, or say what brings it."""
    try:
        import matplotlib as library
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        what = "plots need matplotlib: pip install 'drf-allocator[lab]'"
        raise ModuleNotFoundError(what, name=error.name) from error
    return library, Figure


def _time(panel: Any, shown: Shown, title: str, y_title: str) -> None:
    """Give a panel the axes of a curve over time."""
    axis = shown.short_time
    end_s = max(axis.high, 1e-9)
    panel.set_xlim(0, end_s)
    panel.set_xticks([at * end_s for at, _ in axis.ticks], [label for _, label in axis.ticks])
    panel.set_ylim(bottom=0)
    panel.set_title(title, loc="left", fontsize=9, fontweight="bold")
    panel.set_xlabel(axis.title)
    panel.set_ylabel(y_title)


def _share(panel: Any) -> None:
    panel.yaxis.set_major_formatter(lambda part, _: f"{part * 100:.3g}%")


def _colour(style: str) -> str:
    return COLOURS[int(style[1:])] if style[1:].isdecimal() else _OTHERS


def _curve(panel: Any, shown: Shown, levels: Floats, **given: Any) -> None:
    panel.stairs(levels, shown.edges, baseline=None, **{"linewidth": 1.2, **given})


def _stack(panel: Any, shown: Shown, levels: Floats) -> None:
    low = np.zeros(levels.shape[1])
    for layer in shown.layers(levels):
        high = low + layer.levels
        look = {"color": _colour(layer.style), "label": _label(layer.name)}
        panel.stairs(high, shown.edges, baseline=low, fill=True, **look)
        low = high


def _label(name: str) -> str:
    """Return a name as a legend shows it: matplotlib leaves out what begins with `_`."""
    return f" {name}" if name.startswith("_") else name


def _legend(figure: Any, panel: Any) -> None:
    handles, labels = panel.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper left", ncols=4)


def _panels(figure: Callable[..., Any], n: int) -> tuple[Any, list[Any]]:
    """Return a figure with n panels, three in a row."""
    columns = min(n, 3)
    rows = -(-n // columns)
    drawn = figure(figsize=(3.4 * columns + 0.4, 2.5 * rows + 0.4), layout="constrained")
    panels = list(drawn.subplots(rows, columns, squeeze=False).flat)
    for panel in panels[n:]:
        panel.remove()
    return drawn, panels[:n]


def _two(figure: Callable[..., Any]) -> tuple[Any, list[Any]]:
    drawn = figure(figsize=(10, 3.6), layout="constrained")
    return drawn, list(drawn.subplots(1, 2))


def _shares(shown: Shown, figure: Callable[..., Any]) -> Any:
    drawn, panels = _two(figure)
    share, fair = shown.result.record.series.share, shown.result.fair_share
    for panel, title, levels in (
        (panels[0], "What roles held", share),
        (panels[1], "What would have been fair", fair),
    ):
        _stack(panel, shown, levels)
        _time(panel, shown, title, "dominant shares, stacked")
        _share(panel)
    top = max(panel.get_ylim()[1] for panel in panels)
    for panel in panels:
        panel.set_ylim(0, top)
    _legend(drawn, panels[0])
    return drawn


def _roles(shown: Shown, figure: Callable[..., Any]) -> Any:
    record = shown.result.record
    rows = shown.ranked[:_MAX_PANELS]
    if not rows:
        return None
    drawn, panels = _panels(figure, len(rows))
    colours = {row: COLOURS[at] for at, row in enumerate(shown.coloured)}
    for row, panel in zip(rows, panels, strict=True):
        colour = colours.get(row, _OTHERS)
        _curve(panel, shown, record.series.share[row], color=colour, label="share")
        _curve(
            panel, shown, shown.result.fair_share[row], color=_TEXT, linestyle="--", label="fair"
        )
        _time(panel, shown, record.roles[row], "share")
        _share(panel)
        panel.legend(fontsize=7)
    return drawn


def _utilisation(shown: Shown, figure: Callable[..., Any]) -> Any:
    record, series = shown.result.record, shown.result.record.series
    rows = [axis for axis in range(len(record.names)) if series.capacity[axis].any()]
    if not rows:
        return None
    drawn, panels = _panels(figure, len(rows))
    for axis, panel in zip(rows, panels, strict=True):
        divisor, unit = scale_of(record.names[axis], float(series.capacity[axis].max()))
        use, capacity = series.use[-1, axis] / divisor, series.capacity[axis] / divisor
        panel.stairs(use, shown.edges, fill=True, color=COLOURS[0], alpha=0.25)
        _curve(panel, shown, use, color=COLOURS[0], label="used by tasks")
        _curve(panel, shown, capacity, color=_TEXT, linestyle="--", label="capacity")
        _time(panel, shown, record.names[axis], unit)
        panel.legend(fontsize=7)
    return drawn


def _queues(shown: Shown, figure: Callable[..., Any]) -> Any:
    drawn, panels = _two(figure)
    series = shown.result.record.series
    for panel, title, levels, what in (
        (panels[0], "Jobs that waited", series.queue, "jobs"),
        (panels[1], "Tasks that ran", series.running, "tasks"),
    ):
        _stack(panel, shown, levels)
        _time(panel, shown, title, what)
    _legend(drawn, panels[0])
    return drawn


def _waits(shown: Shown, figure: Callable[..., Any]) -> Any:
    all_s = waits(shown.result.record)
    if not len(all_s):
        return None
    drawn = figure(figsize=(5.5, 3.6), layout="constrained")
    panel = drawn.subplots()
    low = max(float(min(all_s[all_s > 0], default=1.0)), 0.1)
    x = axes.logarithmic_times(low, max(float(all_s[-1]), 1.0), "wait")
    most = sorted(shown.tenants, key=lambda t: (-len(t.waits_s), t.tenant))
    lines = [(t.tenant, t.waits_s, COLOURS[at]) for at, t in enumerate(most[:5]) if len(most) > 1]
    for name, of, colour in [*lines, ("all jobs", all_s, _TEXT)]:
        if len(of):
            panel.ecdf(np.maximum(of, x.low), color=colour, label=_label(name))
    panel.set_xscale("log")
    panel.set_xlim(x.low, x.high)
    ticks = {x.low * (x.high / x.low) ** at: label for at, label in x.ticks}
    panel.set_xticks(list(ticks), list(ticks.values()), rotation=30, ha="right")
    panel.minorticks_off()
    panel.set_xlabel("wait, from submission to the start of the last task")
    panel.set_ylabel("jobs that waited no longer")
    panel.yaxis.set_major_formatter(lambda part, _: f"{part:.0%}")
    panel.legend(fontsize=8)
    return drawn


def _quota(shown: Shown, figure: Callable[..., Any]) -> Any:
    record = shown.result.record
    rows = {role: row for row, role in enumerate(record.roles)}
    pairs = [
        (role, name)
        for role, quota in record.quota.items()
        for name in sorted({*quota.guarantee, *quota.limit} & set(record.names))
    ][:MAX_QUOTAS]
    if not pairs:
        return None
    drawn, panels = _panels(figure, len(pairs))
    for (role, name), panel in zip(pairs, panels, strict=True):
        quota = record.quota[role]
        use = record.series.use[rows[role], record.names.index(name)]
        levels = {"limit": quota.limit.get(name), "guarantee": quota.guarantee.get(name)}
        most = max(float(use.max()), *(pair[0] for pair in levels.values() if pair))
        divisor, unit = scale_of(name, most)
        panel.stairs(use / divisor, shown.edges, fill=True, color=COLOURS[0], alpha=0.25)
        _curve(panel, shown, use / divisor, color=COLOURS[0], label="used by tasks")
        for what, colour, line in (("limit", COLOURS[3], "-"), ("guarantee", COLOURS[2], ":")):
            pair = levels[what]
            if pair is not None:
                panel.axhline(pair[0] / divisor, color=colour, linestyle=line, label=what)
        _time(panel, shown, f"{role}: {name}", unit)
        panel.legend(fontsize=7)
    return drawn


def _cycles(shown: Shown, figure: Callable[..., Any]) -> Any:
    times_s = shown.result.record.cycle_ns / 1e9
    times_s = times_s[times_s > 0]
    if not len(times_s):
        return None
    drawn = figure(figsize=(5.5, 3.2), layout="constrained")
    panel = drawn.subplots()
    low, high = float(times_s.min()), max(float(times_s.max()), 2 * float(times_s.min()))
    panel.hist(times_s, np.geomspace(low, high, 41), color=COLOURS[0])
    panel.set_xscale("log")
    panel.set_xlabel("time of a cycle / s")
    panel.set_ylabel("cycles")
    return drawn


def _machines(shown: Shown, figure: Callable[..., Any]) -> Any:
    heat = shown.result.record.heat
    if not heat.share.size:
        return None
    drawn = figure(figsize=(8, 3.8), layout="constrained")
    panel = drawn.subplots()
    edges = heat.edges_s if heat.edges_s[-1] > 0 else np.array([0.0, 1.0])
    rows = np.arange(len(heat.first))
    panel.set_facecolor(COLOURS[1])
    mesh = panel.pcolormesh(
        edges, rows, np.ma.masked_invalid(heat.share), cmap="Blues", vmin=0, vmax=1, rasterized=True
    )
    _time(panel, shown, "The part of a machine that tasks used (orange: down)", "machines")
    panel.set_ylim(rows[-1], 0)
    ids, every = shown.result.record.machines, max(1, -(-len(rows) // 6))
    shown_rows = range(0, len(rows) - 1, every)
    panel.set_yticks([r + 0.5 for r in shown_rows], [ids[int(heat.first[r])] for r in shown_rows])
    panel.grid(False)
    bar = drawn.colorbar(mesh, ax=panel, format=lambda part, _: f"{part:.0%}")
    bar.set_label("scarcest resource in use")
    return drawn


#: File name without suffix -> who draws it; None where there is nothing to draw.
_ALL: dict[str, Callable[[Shown, Callable[..., Any]], Any]] = {
    "shares": _shares,
    "roles": _roles,
    "utilisation": _utilisation,
    "queues": _queues,
    "waits": _waits,
    "quota": _quota,
    "cycles": _cycles,
    "machines": _machines,
}
