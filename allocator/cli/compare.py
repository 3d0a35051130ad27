"""`allocator compare`: one cluster through several orderings, as a table."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

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
  allocator compare --agents 10000 --frameworks 1000 --naive-limit 1e6 --repeat 5

exit status: 0 all offers identical, 1 some differ, 2 a wrong argument
"""


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
        help="leave the naive ordering out where agents × frameworks exceeds N; 0: always",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the results; times under `timing`"
    )
    parser.set_defaults(func=run)


def numbers(text: str) -> list[int]:
    """Return the positive numbers of a list such as `100,1000`."""
    return [positive(part) for part in text.split(",")]


def positive(text: str) -> int:
    """Return a number from 1 on."""
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)
