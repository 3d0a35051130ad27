"""Draw how long containers take to launch, to destroy and to read, for docs/performance.md.

    python -m benchmarks.container_plots             # measures and writes docs/pictures/*.svg

Needs root and cgroups, a C compiler, crun and runc, and matplotlib (`pip install '.[plots]'`).
Measures for some minutes; let the machine do nothing else meanwhile. What is measured stands in
benchmarks/containers.py.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

from .containers import Agent, Machine, Peer, Read, apart, memory, reads
from .plots import PICTURES, framed

COUNTS = (50, 150, 500, 1000)
MOUNTS = (0, 150, 1000)
RUNTIMES = ("linux", "process", "oci")
PEERS = ("crun", "runc")

#: Okabe and Ito's colours, told apart by everybody.
STYLES = {
    "linux": {"color": "#009E73", "marker": "^", "linestyle": "-"},
    "process": {"color": "#0072B2", "marker": "v", "linestyle": "-"},
    "oci": {"color": "#E69F00", "marker": "D", "linestyle": "-"},
    "crun": {"color": "#D55E00", "marker": "o", "linestyle": ":"},
    "runc": {"color": "#CC79A7", "marker": "s", "linestyle": ":"},
}
LABELS = {
    "linux": "linux",
    "process": "process: no cgroups, no namespaces",
    "oci": "oci, the runtime included",
    "crun": "crun alone, two at a time",
    "runc": "runc alone, two at a time",
}
OF_MOUNTS = {
    0: {"color": "#009E73", "marker": "^", "linestyle": "-"},
    150: {"color": "#0072B2", "marker": "v", "linestyle": "-"},
    1000: {"color": "#E69F00", "marker": "D", "linestyle": "-"},
}
BARE = {"color": "#767676", "marker": "", "linestyle": ":"}

#: Who does it -> seconds by number of containers.
Curves = dict[str, dict[int, float]]


def lives(machine: Machine) -> tuple[Curves, Curves]:
    """Return how long launches and destructions take; each size has its turn of all."""
    launched: Curves = {}
    destroyed: Curves = {}

    def note(name: str, n: int, who: Agent | Peer) -> None:
        launch = launched.setdefault(name, {})[n] = who.launch(n)
        destroy = destroyed.setdefault(name, {})[n] = who.destroy(n)
        print(f"{name}, {n}: launch {launch:.2f} s, destroy {destroy:.2f} s")

    peers = {name: Peer(machine, name, max(COUNTS)) for name in PEERS}
    for n in COUNTS:
        for runtime in RUNTIMES:
            with Agent(machine, runtime) as agent:
                note(runtime, n, agent)
        for name, peer in peers.items():
            note(name, n, peer)
    return launched, destroyed


def read_all(machine: Machine) -> dict[int, dict[int, Read]]:
    """Return how long `/containers` takes, by number of containers and of mounts."""
    found = {}
    with Agent(machine, "linux") as agent:
        taken = memory(agent, max(COUNTS))
        print(f"idle {taken.idle:.0f}, each {taken.each:.2f}, init {taken.init:.0f} KiB")
        for n in COUNTS:
            found[n] = reads(agent, n, MOUNTS)
            for n_mounts, read in found[n].items():
                print(f"read {n} with {n_mounts} more mounts: {read}")
    return found


def draw_lives(curves: Curves, picture: Path, what: str) -> None:
    """Draw seconds by number of containers, both axes logarithmic."""
    with framed(picture, f"{what} so many containers", "containers", "time until all are") as axes:
        for name, curve in curves.items():
            axes.plot(*zip(*curve.items(), strict=True), label=LABELS[name], **STYLES[name])
        axes.set_ylim(0.01, 150)  # of both pictures
        axes.set_xscale("log")
        axes.set_xticks(COUNTS)
        axes.minorticks_off()


def draw_reads(found: Mapping[int, Mapping[int, Read]], picture: Path) -> None:
    """Draw how long `/containers` takes by number of containers, for each number of mounts."""
    title = "One GET of /containers"
    with framed(picture, title, "containers", "time of one answer, the fastest") as axes:
        for n_mounts in MOUNTS:
            curve = {n: by_mounts[n_mounts].whole.least for n, by_mounts in found.items()}
            label = f"{n_mounts:,} more mounts".replace(",", "\u202f")
            axes.plot(*zip(*curve.items(), strict=True), label=label, **OF_MOUNTS[n_mounts])
        files = {n: by_mounts[0].bare.least for n, by_mounts in found.items()}
        axes.plot(*zip(*files.items(), strict=True), label="pread of the same files", **BARE)
        axes.set_xscale("log")
        axes.set_xticks(COUNTS)
        axes.minorticks_off()


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--directory", type=Path, default=PICTURES)
    parser.add_argument("--what", choices=["all", "reads", "lives"], default="all")
    parser.add_argument("--format", choices=["svg", "png"], default="svg")
    options = parser.parse_args()
    apart("benchmarks.container_plots")
    options.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder))
        if options.what != "lives":
            found = read_all(machine)
            draw_reads(found, options.directory / f"containers_read.{options.format}")
        if options.what != "reads":
            launched, destroyed = lives(machine)
            for what, curves in (("Launching", launched), ("Destroying", destroyed)):
                name = f"containers_{what.lower()}.{options.format}"
                draw_lives(curves, options.directory / name, what)
        machine.leave()


if __name__ == "__main__":
    main()
