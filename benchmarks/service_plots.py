"""Draw how long readers of `/state` wait, for docs/performance.md.

    python -m benchmarks.service_plots               # measures and writes docs/pictures/*.svg

Needs matplotlib (`pip install '.[plots]'`) and Debian's wrk. Measures for some minutes; let the
machine do nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from . import load
from .plots import PICTURES, framed

COUNTS = (1, 5, 10, 20, 50, 100)

#: Mean seconds of a poll by number of clients, as published for the same cluster on other machines.
PUBLISHED = {
    "Mesos 1.6": {1: 0.22, 5: 1.02, 10: 2.07, 20: 3.87},
    "Mesos 1.7": {1: 0.10, 5: 0.24, 10: 0.42, 20: 0.96},
}

#: Title -> encoding, and whether something changes between polls.
OURS = {
    "ours": ("identity", False),
    "ours, gzip": ("gzip", False),
    "ours, gzip, changing": ("gzip", True),
}

#: Okabe and Ito's colours, told apart by everybody.
STYLES = {
    "Mesos 1.6": {"color": "#D55E00", "marker": "o", "linestyle": ":"},
    "Mesos 1.7": {"color": "#CC79A7", "marker": "s", "linestyle": ":"},
    "ours": {"color": "#009E73", "marker": "^", "linestyle": "-"},
    "ours, gzip": {"color": "#0072B2", "marker": "v", "linestyle": "-"},
    "ours, gzip, changing": {"color": "#E69F00", "marker": "D", "linestyle": "-"},
}


def measured(encoding: str, changing: bool) -> tuple[dict[int, float], load.Json]:
    """Return mean seconds of an answer by number of clients, and all that was found."""
    found = asyncio.run(load.asked(100, 10, COUNTS, 6, encoding, changing))
    return {n: found[f"{n} clients, mean, ms"] / 1e3 for n in COUNTS}, found


def draw(curves: dict[str, dict[int, float]], picture: Path) -> None:
    """Draw mean times by number of clients, both axes logarithmic."""
    title = "/state of 20\u202f000 tasks, asked for again and again"
    with framed(picture, title, "clients that ask at once", "mean time of one answer") as axes:
        for name, curve in curves.items():
            axes.plot(*zip(*curve.items(), strict=True), label=name, linewidth=2, **STYLES[name])
        axes.set_xscale("log")
        axes.set_xticks(COUNTS)
        axes.minorticks_off()


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description="Draw how long readers of /state wait.")
    parser.add_argument("--directory", type=Path, default=PICTURES)
    parser.add_argument("--format", choices=["svg", "png"], default="svg")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    curves = dict(PUBLISHED)
    for name, (encoding, changing) in OURS.items():
        curves[name], found = measured(encoding, changing)
        print(name, found)
    draw(curves, options.directory / f"state_by_clients.{options.format}")


if __name__ == "__main__":
    main()
