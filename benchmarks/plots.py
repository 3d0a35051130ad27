"""Draw how long a cycle takes, for docs/performance.md.

    python -m benchmarks.plots                       # measures and writes docs/pictures/*.svg
    python -m benchmarks.plots --format png --directory /tmp/pictures

Needs matplotlib (`pip install '.[plots]'`). Measures for some minutes; let the machine do nothing
else meanwhile. The orderings take turns, and the median of the turns is drawn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from allocator import Allocator, ManualClock
from allocator.sim import single_role
from allocator.sim.compare import ORDERINGS, naive_work

from .reach import Y, empty_cycle, freed_cycle, seconds

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"

#: The ideal ordering from Python, drawn beside the three.
YARDSTICK = "Y"
LABELS = {**ORDERINGS, YARDSTICK: "yardstick Y(n, f)"}

#: Who orders -> colour, marker and line: the colours are Okabe and Ito's, told apart by everybody.
STYLES = {
    "naive": {"color": "#D55E00", "marker": "o", "linestyle": "-"},
    "sorted": {"color": "#0072B2", "marker": "s", "linestyle": "-"},
    "drf": {"color": "#009E73", "marker": "^", "linestyle": "-"},
    YARDSTICK: {"color": "#767676", "marker": "", "linestyle": ":"},
}

#: The naive ordering is left out where it would look at more entries: half a minute.
NAIVE_LIMIT = 12_000_000

TURNS = 9
#: A side that took this long is not measured again.
LONG_SECONDS = 0.5

FRAMEWORKS = [1, 10, 100, 1000, 3000, 10_000]
AGENTS = [100, 300, 1000, 3000, 10_000, 30_000, 50_000]
#: Of the agents of the steady cluster, how many are free again before a cycle.
N_FREED = [0, 1, 10, 100, 1000, 10_000]
STEADY_AGENTS, STEADY_FRAMEWORKS = 10_000, 1000


class Curve(NamedTuple):
    """Median seconds of one ordering by size."""

    sizes: list[int]
    seconds: list[float]


#: Who orders -> its curve.
Curves = dict[str, Curve]


def in_turns(work: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Return the median of what each function returns, in seconds."""
    found: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(TURNS):
        for name, measure in work.items():
            if not found[name] or found[name][0] < LONG_SECONDS:
                found[name].append(measure())
    return {name: statistics.median(times) for name, times in found.items()}


def add_points(curves: Curves, size: int, work: dict[str, Callable[[], float]]) -> None:
    """Measure everybody at one size."""
    for name, median in in_turns(work).items():
        curve = curves.setdefault(name, Curve([], []))
        curve.sizes.append(size)
        curve.seconds.append(median)


def cold_cycle(sorter: str, n_agents: int, n_frameworks: int) -> float:
    """Return the seconds of a cold SingleRole cycle, its offers as columns."""
    engine = single_role.build(n_agents, n_frameworks, sorter=sorter)
    return seconds(lambda: engine.allocate().columns())


def cold_cycles(clusters: Iterable[tuple[int, int, int]]) -> Curves:
    """Measure each (size, agents, frameworks)."""
    curves: Curves = {}
    for size, n_agents, n_frameworks in clusters:
        work: dict[str, Callable[[], float]] = {}
        for sorter in ORDERINGS:
            if sorter != "naive" or naive_work(n_agents, n_frameworks) <= NAIVE_LIMIT:
                work[sorter] = lambda s=sorter, a=n_agents, f=n_frameworks: cold_cycle(s, a, f)
        work[YARDSTICK] = lambda a=n_agents, f=n_frameworks: Y(a, f)
        add_points(curves, size, work)
    return curves


def steady_cycles() -> Curves:
    """Measure cycles after some of the agents of a cluster, all of which is on offer, are free.

    One cold cycle with the compiled ordering makes the cluster; the others get it as a snapshot,
    which decides the same.
    """
    compiled = single_role.build(STEADY_AGENTS, STEADY_FRAMEWORKS)
    first = [offer.id for offer in compiled.allocate()]
    snapshot = compiled.snapshot()
    engines = {}
    for sorter in ORDERINGS:
        snapshot["options"].update(role_sorter=sorter, framework_sorter=sorter)
        engines[sorter] = Allocator.restore(snapshot, clock=ManualClock())
    open_offers = {sorter: list(first) for sorter in ORDERINGS}
    curves: Curves = {}
    for n_freed in N_FREED:
        work: dict[str, Callable[[], float]] = {}
        for sorter, engine in engines.items():
            # An offer of the naive ordering looks at all allocations and all frameworks.
            if sorter == "naive" and naive_work(1, STEADY_AGENTS) * n_freed > NAIVE_LIMIT:
                continue
            offers = open_offers[sorter]
            if n_freed:
                work[sorter] = lambda e=engine, o=offers, n=n_freed: freed_cycle(e, o, n)
            else:
                work[sorter] = lambda e=engine: empty_cycle(e)
        # Where nothing is decided there is nothing to order.
        if n_freed:
            work[YARDSTICK] = lambda n=n_freed: Y(n, STEADY_FRAMEWORKS)
        add_points(curves, n_freed, work)
    return curves


def draw(curves: Curves, picture: Path, title: str, x_label: str) -> None:
    """Draw the curves into one picture, both axes logarithmic but for a size of 0."""
    with framed(picture, title, x_label, "time of one cycle") as axes:
        for name, label in LABELS.items():
            curve = curves[name]
            axes.plot(*curve, label=label, linewidth=2, markersize=6, **STYLES[name])
        if 0 in curves["drf"].sizes:
            axes.set_xscale("symlog", linthresh=1, linscale=0.5)
        else:
            axes.set_xscale("log")


@contextmanager
def framed(picture: Path, title: str, x_label: str, y_label: str) -> Iterator[Any]:
    """Yield axes to draw into, times upwards; write the picture in the end."""
    import matplotlib

    matplotlib.use("Agg")
    # The same figures give the same file.
    matplotlib.rcParams["svg.hashsalt"] = picture.stem
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    axes.set_yscale("log")
    yield axes
    axes.yaxis.set_major_formatter(in_seconds)
    axes.xaxis.set_major_formatter(in_thousands)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_title(title, loc="left")
    axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    metadata = {"Date": None} if picture.suffix == ".svg" else {}
    figure.savefig(picture, dpi=120, metadata=metadata)
    pyplot.close(figure)


def in_seconds(value: float, _position: int) -> str:
    """Return seconds as they stand on an axis."""
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= factor * 0.999:
            return f"{value / factor:,.0f} {unit}".replace(",", "\u202f")
    return f"{value * 1e6:g} µs"


def in_thousands(value: float, _position: int) -> str:
    """Return a number of agents or frameworks as it stands on an axis."""
    return f"{value:,.0f}".replace(",", "\u202f")


def main() -> None:
    """Measure and draw all pictures."""
    parser = argparse.ArgumentParser(description="Draw how long a cycle takes.")
    parser.add_argument("--directory", type=Path, default=PICTURES)
    parser.add_argument("--format", choices=["svg", "png"], default="svg")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    pictures = {
        "cycle_by_agents": (
            lambda: cold_cycles((n, n, 1000) for n in AGENTS),
            "A cold cycle, 1000 frameworks in one role",
            "agents",
        ),
        "cycle_by_frameworks": (
            lambda: cold_cycles((n, 1000, n) for n in FRAMEWORKS),
            "A cold cycle, 1000 agents",
            "frameworks in one role",
        ),
        "cycle_by_change": (
            steady_cycles,
            "A later cycle, 1000 frameworks in one role",
            "agents on which something is free again, of 10\u202f000",
        ),
    }
    for name, (measure, title, x_label) in pictures.items():
        begin = time.perf_counter()
        curves = measure()
        picture = options.directory / f"{name}.{options.format}"
        draw(curves, picture, title, x_label)
        print(f"{picture} ({time.perf_counter() - begin:.0f} s)")
        for sorter, curve in curves.items():
            times = ", ".join(
                f"{size}: {seconds * 1e3:.3g} ms" for size, seconds in zip(*curve, strict=True)
            )
            print(f"  {LABELS[sorter]}: {times}")


if __name__ == "__main__":
    main()
