"""Draws the figures of docs/fairness.md with matplotlib: `python docs/draw.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from allocator import fairness
from allocator.sim import Scenario, simulate

PICTURES = Path(__file__).parent / "pictures"

#: Okabe and Ito's colours, told apart by everybody.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"


@contextmanager
def figure(name: str, **options: Any) -> Iterator[Any]:
    """Yield axes to draw into, and write the picture in the end, the same for the same data."""
    matplotlib.rcParams["svg.hashsalt"] = name
    drawn, axes = pyplot.subplots(layout="constrained", **options)
    yield axes
    for each in drawn.axes:
        each.spines[["top", "right"]].set_visible(False)
        each.set_axisbelow(True)
    drawn.savefig(PICTURES / f"{name}.svg", metadata={"Date": None})
    pyplot.close(drawn)


def rules() -> None:
    """Draw what three rules make of the example of the DRF paper: 9 processors and 18 GB."""
    capacity = {"cpus": 9, "mem": 18}
    demands = {"A": {"cpus": 1, "mem": 4}, "B": {"cpus": 3, "mem": 1}}
    found = {
        "DRF": fairness.drf(capacity, demands),
        "asset fairness": fairness.asset(capacity, demands),
    }
    with figure("drf_rules", figsize=(7, 2.8), ncols=2, sharey=True) as axes:
        for place, (name, division) in zip(axes, found.items(), strict=True):
            left = {"cpus": 0.0, "mem": 0.0}
            for tenant, colour in (("A", BLUE), ("B", ORANGE)):
                parts = [division.allocation[tenant].get(n, 0) / capacity[n] for n in left]
                place.barh(list(left), parts, left=list(left.values()), color=colour, label=tenant)
                for row, resource in enumerate(left):
                    middle = left[resource] + parts[row] / 2
                    amount = division.allocation[tenant].get(resource, 0)
                    place.text(middle, row, f"{amount:.3g}", ha="center", va="center", color="w")
                    left[resource] += parts[row]
            tasks = ", ".join(f"{t} {n:.3g} tasks" for t, n in division.tasks.items())
            place.set_title(f"{name}: {tasks}", loc="left", fontsize=10)
            place.set_xlim(0, 1)
            place.set_xlabel("part of the cluster")
        axes[1].legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.05), ncols=2)


def settling() -> None:
    """Draw how much of their resource teams hold under plain and under hierarchical DRF."""
    # Thick below thin: some curves lie on each other.
    roles = {
        "a": {"color": BLUE, "linewidth": 6, "alpha": 0.4},
        "c/gpu": {"color": PURPLE, "linewidth": 3},
        "d": {"color": "black", "linewidth": 1, "linestyle": "--"},
        "c/cpu": {"color": GREEN, "linewidth": 2},
    }
    with figure("hdrf_settles", figsize=(8, 3.2), ncols=2, sharey=True) as axes:
        for place, sorter in zip(axes, ("drf", "hdrf"), strict=True):
            result = simulate(Scenario.load("hdrf").with_({"policy.sorter": sorter}), points=200)
            record = result.record
            hours = (record.series.edges_s[1:] + record.series.edges_s[:-1]) / 2 / 3600
            for role, style in roles.items():
                share = record.series.share[record.roles.index(role)]
                place.plot(hours, 100 * share, label=role, **style)
            place.set_title("plain DRF" if sorter == "drf" else "hierarchical DRF", loc="left")
            place.set_xlabel("hours")
            place.set_ylim(0, 105)
            place.grid(visible=True, color="#dddddd", linewidth=0.8)
        axes[0].set_ylabel("dominant share, %")
        axes[1].legend(frameon=False, ncols=2)


def weights() -> None:
    """Draw how weighted DRF fills a cluster: tasks are given to whoever is furthest behind."""
    weights = {"A": 1.0, "B": 2.0}
    capacity = {"cpus": 30, "mem": 60}
    demands = {"A": {"cpus": 1, "mem": 4}, "B": {"cpus": 3, "mem": 1}}
    with figure("drf_filling", figsize=(7, 3)) as axes:
        used = dict.fromkeys(capacity, 0.0)
        shares = {tenant: [0.0] for tenant in demands}
        while True:
            behind = {t: of[-1] / weights[t] for t, of in shares.items()}
            tenant = min(behind, key=lambda t: (behind[t], t))
            after = {name: used[name] + demands[tenant].get(name, 0) for name in used}
            if any(after[name] > capacity[name] for name in capacity):
                break
            used = after
            step = max(demands[tenant][name] / capacity[name] for name in capacity)
            for each, of in shares.items():
                of.append(of[-1] + (step if each == tenant else 0.0))
        for (tenant, of), colour in zip(shares.items(), (BLUE, ORANGE), strict=True):
            label = f"{tenant}, weight {weights[tenant]:g}"
            axes.step(
                range(len(of)), [100 * s for s in of], where="post", color=colour, label=label
            )
        axes.set_xlabel("tasks started")
        axes.set_ylabel("dominant share, %")
        axes.grid(visible=True, color="#dddddd", linewidth=0.8)
        axes.legend(frameon=False)


if __name__ == "__main__":
    rules()
    weights()
    settling()
