"""`allocator compare`: policies on one scenario, or orderings on one cluster, as tables."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from allocator.cli.overrides import add_set
from allocator.errors import InvalidValue, shown
from allocator.sim import Scenario, compare
from allocator.sim.policies import Policy, policy_of, under_policies
from allocator.sorter import SORTERS

DESCRIPTION = """\
With a scenario: run it under several policies, the same jobs and events each time, and lay side by
side what comes of it, in all and for each role.

Without: run one cold cycle of the SingleRole workload (all frameworks in one role, nothing offered
before) through the naive, the sortedcontainers and the compiled ordering of frameworks, over a
grid of cluster sizes. Every cycle runs on an engine of its own, timed until each offer has been
looked at; the orderings take turns. The offers of all must be identical.
"""

EPILOG = """\
examples:
  allocator compare hdrf --policy drf --policy hdrf
  allocator compare cluster.toml --policy drf --policy 'policy.sorter=drf roles.eng.weight=2'
  allocator compare
  allocator compare --agents 10000 --frameworks 1000 --naive-limit 1e7 --repeat 5

exit status: 0 done, and all offers identical; 1 some differ; 2 a wrong argument or scenario
"""


#: The orderings that the compiled one is compared with.
OTHERS = [name for name in compare.ORDERINGS if name != compare.COMPILED]

#: The policies that a scenario is run under if no others are named.
POLICIES = ("drf", "hdrf", "random")

#: Python reads no number of thousands of digits.
_MAX_DIGITS = 18

#: What holds if it is not said how clusters are run through orderings.
DEFAULTS: dict[str, Any] = {
    "agents": [100, 1000],
    "frameworks": [10, 100, 1000],
    "repeat": 3,
    "naive_limit": math.inf,
}

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
        help="run a scenario under several policies, or time one cluster through several orderings",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_scenario(parser)
    _add_cluster(parser)
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the results; times under `timing`"
    )
    parser.add_argument("--no-progress", action="store_true", help="no progress bar on stderr")
    parser.set_defaults(func=run)


def _add_scenario(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "scenario",
        nargs="?",
        metavar="SCENARIO",
        help="a file, plain or gzip, or the name of a shipped scenario",
    )
    parser.add_argument(
        "--policy",
        type=policy,
        action="append",
        metavar="SORTER|KEY=VALUE…",
        help="of a scenario: the name of a sorter, or keys set to values, blanks between them; may "
        "be repeated (default: drf, hdrf and random)",
    )
    add_set(parser)


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--agents",
        type=numbers,
        metavar="N,N…",
        help="numbers of agents (default: 100,1000)",
    )
    parser.add_argument(
        "--frameworks",
        type=numbers,
        metavar="N,N…",
        help="numbers of frameworks (default: 10,100,1000)",
    )
    parser.add_argument(
        "--repeat",
        type=positive,
        metavar="N",
        help="cycles for each ordering; the table shows the median (default: 3)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="decides the order of agents (default: 0), or all that a scenario draws",
    )
    parser.add_argument(
        "--naive-limit",
        type=float,
        metavar="N",
        help="leave the naive ordering out where agents × (agents / 2 + frameworks), which its "
        "time grows with, exceeds N; 0: always (default: never)",
    )


def policy(text: str) -> Policy:
    """Return the policy that a text says."""
    try:
        return policy_of(text)
    except InvalidValue as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def numbers(text: str) -> list[int]:
    """Return the positive numbers of a list such as `100,1000`."""
    return [positive(part) for part in text.split(",")]


def positive(text: str) -> int:
    """Return a number from 1 on."""
    if not text.strip().isdecimal() or len(text) > _MAX_DIGITS or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a number from 1 on")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Compare policies on a scenario, or else orderings on one cluster."""
    given = [name for name in DEFAULTS if getattr(args, name) is not None]
    if args.scenario is not None:
        if given:
            raise InvalidValue(f"--{given[0].replace('_', '-')} goes without a scenario")
        return compare_policies(args)
    if args.policy or args.set:
        raise InvalidValue("--policy and --set go with a scenario")
    for name in DEFAULTS.keys() - given:
        setattr(args, name, DEFAULTS[name])
    args.seed = args.seed or 0
    return compare_orderings(args)


def compare_policies(args: argparse.Namespace) -> int:
    """Run a scenario under each policy and print what came of it."""
    # Here, not above: `allocator --help` works without rich.
    from allocator.cli.compare_report import print_policies
    from allocator.cli.console import progress_bar

    seed = {} if args.seed is None else {"seed": args.seed}
    scenario = Scenario.load(args.scenario, {**seed, **dict(args.set)})
    policies = args.policy or [policy_of(name) for name in POLICIES if name in SORTERS]
    with progress_bar("simulating", len(policies), shown=not args.no_progress) as advance:
        done = dict.fromkeys([policy.name for policy in policies], 0.0)

        def progress(policy: Policy, part: float) -> None:
            advance(part - done[policy.name])
            done[policy.name] = part

        found = under_policies(scenario, policies, progress=progress)
    if args.json is not None:
        _write(
            {
                "scenario": scenario.file,
                "policies": {
                    policy.name: {"changes": dict(policy.changes), "result": result.to_json()}
                    for policy, result in found
                },
            },
            args.json,
        )
    print_policies(scenario, found)
    return 0


def _write(data: Any, path: Path) -> None:
    path.write_text(json.dumps(data, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def compare_orderings(args: argparse.Namespace) -> int:
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
        _write(to_json(results, args), args.json)
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
