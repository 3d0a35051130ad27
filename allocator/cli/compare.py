"""`allocator compare`: one cluster through several orderings, as a table."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from allocator.errors import shown
from allocator.sim import compare

DESCRIPTION = """\
Run one cold cycle of the SingleRole workload (all frameworks in one role, nothing offered
before) through the naive, the sortedcontainers and the compiled ordering of frameworks, over a
grid of cluster sizes. Every cycle runs on an engine of its own, timed until each offer has been
looked at; the orderings take turns. The offers of all must be identical.
"""

EPILOG = """\
examples:
  allocator compare
  allocator compare --agents 10000 --frameworks 1000 --naive-limit 1e7 --repeat 5

exit status: 0 all offers identical, 1 some differ, 2 a wrong argument
"""


#: The orderings that the compiled one is compared with.
OTHERS = [name for name in compare.ORDERINGS if name != compare.COMPILED]

#: Python reads no number of thousands of digits.
_MAX_DIGITS = 18

HEADER = [
    "agents",
    "frameworks",
    "offers",
    *compare.ORDERINGS.values(),
    *(f"{compare.ORDERINGS[name]} / compiled" for name in OTHERS),
    "decisions",
]


def register(subparsers: Any) -> None:
    """Add this subcommand's options."""
    parser = subparsers.add_parser(
        "compare",
        help="time the same cluster through several orderings, and check that all offers agree",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--agents",
        type=numbers,
        default=[100, 1000],
        metavar="N,N…",
        help="numbers of agents (default: 100,1000)",
    )
    parser.add_argument(
        "--frameworks",
        type=numbers,
        default=[10, 100, 1000],
        metavar="N,N…",
        help="numbers of frameworks (default: 10,100,1000)",
    )
    parser.add_argument(
        "--repeat",
        type=positive,
        default=3,
        metavar="N",
        help="cycles for each ordering; the table shows the median (default: 3)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="decides the order of agents (default: 0)"
    )
    parser.add_argument(
        "--naive-limit",
        type=float,
        default=math.inf,
        metavar="N",
        help="leave the naive ordering out where agents × (agents / 2 + frameworks), which its "
        "time grows with, exceeds N; 0: always (default: never)",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the results; times under `timing`"
    )
    parser.add_argument("--no-progress", action="store_true", help="no progress bar on stderr")
    parser.set_defaults(func=run)


def numbers(text: str) -> list[int]:
    """Return the positive numbers of a list such as `100,1000`."""
    return [positive(part) for part in text.split(",")]


def positive(text: str) -> int:
    """Return a number from 1 on."""
    if not text.strip().isdecimal() or len(text) > _MAX_DIGITS or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a number from 1 on")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Run the comparison, print its table, and return 1 if any offers differ."""
    # Here, not above: `allocator --help` works without rich.
    from allocator.cli.console import print_line, print_table, progress_bar

    clusters = compare.plan(args.agents, args.frameworks, naive_limit=args.naive_limit)
    n_cycles = args.repeat * sum(len(orderings) for _, orderings in clusters)
    with progress_bar("cycles", n_cycles, shown=not args.no_progress) as advance:
        for comparison, orderings in clusters:
            compare.run(comparison, orderings, repeat=args.repeat, seed=args.seed, on_cycle=advance)
    results = [comparison for comparison, _ in clusters]
    if args.json is not None:
        text = json.dumps(to_json(results, args), indent=2, allow_nan=False)
        args.json.write_text(text + "\n", encoding="utf-8")
    print_table(
        f"One cold cycle, median of {args.repeat}", HEADER, [row(r) for r in results], left=0
    )
    different = [result for result in results if result.difference]
    for result in different:
        size = f"{result.n_agents:,} agents, {result.n_frameworks:,} frameworks"
        print_line(f"{size}: {result.difference}")
    return 1 if different else 0


def row(result: compare.Comparison) -> list[str]:
    """Return the table's line for one cluster."""
    return [
        f"{result.n_agents:,}",
        f"{result.n_frameworks:,}",
        f"{result.n_offers:,}",
        *(milliseconds(result.median(name)) for name in compare.ORDERINGS),
        *(times(result.ratio(name)) for name in OTHERS),
        "differ" if result.difference else "identical",
    ]


def milliseconds(seconds: float | None) -> str:
    """Return a time with three significant digits or whole milliseconds; `-` for none."""
    if seconds is None:
        return "-"
    ms = seconds * 1e3
    return f"{ms:,.0f} ms" if ms >= 100 else f"{ms:.3g} ms"


def times(ratio: float | None) -> str:
    """Return a ratio as `12.3×`; `-` for none."""
    if ratio is None:
        return "-"
    return f"{ratio:,.0f}×" if ratio >= 100 else f"{ratio:.3g}×"


def to_json(results: list[compare.Comparison], args: argparse.Namespace) -> dict[str, Any]:
    """Return the report: what the seed decides, and under `timing` what was measured."""
    return {
        "workload": "single-role",
        "seed": args.seed,
        "repeat": args.repeat,
        "identical": not any(result.difference for result in results),
        "clusters": [result.to_json() for result in results],
        "timing": [result.timing_to_json() for result in results],
    }
