"""`allocator sweep`: one scenario at every point of a grid, over and over, on many processes."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from allocator.cli.arguments import count
from allocator.cli.overrides import add_set
from allocator.errors import InvalidValue, shown
from allocator.sim.scenario import Scenario
from allocator.sim.sweeps import Sweep, parse_grid, sweep
from allocator.sim.sweeps.report import write_report
from allocator.sim.sweeps.statistics import Mean, by_point, measures_of_all, paired, told

DESCRIPTION = """\
Run a scenario at every combination of the values of some keys, each on the same seeds, and print
the means of what came of it with their 95 % intervals, and how much each value of a key changes,
seed by seed. What is found is kept in a folder; a second call runs what is not there yet.
"""

EPILOG = """\
examples:
  allocator sweep quota --grid policy.sorter=drf,random --repeat 10 -o out
  allocator sweep cluster.toml --grid policy.sorter=drf,hdrf --grid workload.load=0.5..1.5/5 -o out
  allocator sweep cluster.toml --grid roles.eng.weight=1,2,4 --dask tcp://10.0.0.1:8786 -o out

Values are TOML, or else text; A..B/N is N of them evenly from A to B. The folder has index.sqlite,
a table `runs`, the result of each run in runs/, and a report.

exit status: 0 all runs are done, 1 some have failed, 2 a wrong argument or scenario (nothing has
run), 130 interrupted (what is done is kept)
"""


def register(subparsers: Any) -> None:
    """Add this subcommand's options."""
    parser = subparsers.add_parser(
        "sweep",
        help="run a scenario at every point of a grid, and tell means and differences",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", metavar="SCENARIO", help="a file, or a shipped name")
    parser.add_argument(
        "--grid",
        type=grid,
        action="append",
        default=[],
        metavar="KEY=VALUES",
        help="a key of the scenario and its values, a,b,c or A..B/N; may be repeated",
    )
    add_set(parser)
    parser.add_argument(
        "--repeat", type=count, default=1, metavar="N", help="runs of each point (default: 1)"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="FOLDER", help="where what is found is kept"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--workers", type=count, metavar="N", help="processes (default: one for each processor)"
    )
    where.add_argument("--dask", metavar="ADDRESS", help="run on the cluster of a Dask scheduler")
    parser.add_argument(
        "--retry-failed", action="store_true", help="run again what has failed in another call"
    )
    parser.add_argument("--no-progress", action="store_true", help="no progress bar on stderr")
    parser.set_defaults(func=run)


def grid(text: str) -> tuple[str, list[Any]]:
    """Return key and values of `KEY=VALUES`."""
    try:
        return parse_grid(text)
    except InvalidValue as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(args: argparse.Namespace) -> int:
    """Run what is not there yet, print what all of it says, and return 1 if a run failed."""
    # Here, not above: `allocator --help` works without rich.
    from allocator.cli.console import print_line, progress_bar

    scenario = Scenario.load(args.scenario, dict(args.set))
    wanted: dict[str, list[Any]] = {}
    for key, values in args.grid:
        if key in wanted:
            raise InvalidValue(f"grid {shown(key)}: given twice")
        wanted[key] = values
    with ExitStack() as stack:
        executor = None
        if args.dask is not None:
            executor = stack.enter_context(_dask(args.dask))
        advance = stack.enter_context(progress_bar("runs", shown=not args.no_progress))
        told = 0.0

        def progress(n_done: int, n_runs: int) -> None:
            nonlocal told
            advance(n_done / n_runs - told)
            told = n_done / n_runs

        found = sweep(
            scenario,
            wanted,
            repeat=args.repeat,
            out=args.output,
            executor=executor,
            workers=args.workers,
            retry_failed=args.retry_failed,
            progress=progress,
        )
    print_sweep(found)
    print_line(f"\nreport: {write_report(found, scenario.title, args.output)}")
    return 1 if found.n_failed else 0


def _dask(address: str) -> Any:
    distributed: Any = importlib.import_module("distributed")
    try:
        return distributed.Client(address, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InvalidValue(f"dask {address}: {error}") from None


#: So many measures are columns; all are in the index and in the frame.
_SHOWN = ("finished", "waiting", "wait_p50_s", "wait_p95_s", "deviation_mean", "jain")


def print_sweep(found: Sweep) -> None:
    """Print a table of points, and one for each key of how its values differ."""
    from allocator.cli.console import print_line, print_table

    n_done = len(found.runs) - found.n_failed
    print_line(f"{len(found.runs):,} runs: {n_done:,} done, {found.n_failed:,} failed")
    for failed in [run for run in found.runs if run.error is not None][:5]:
        print_line(f"  {_point(failed.point)} seed={failed.seed}: {failed.error}")
    names = [name for name in measures_of_all(found) if name in _SHOWN or name.startswith("use.")]
    rows = [
        [_point(point.point), f"{point.n_runs - point.n_failed:,}", *_means(point.means, names)]
        for point in by_point(found)
    ]
    print_table("Points: mean ± half of the 95 % interval", ["point", "runs", *names], rows)
    for key in found.keys:
        rows = [
            [f"{d.other} against {d.first}", _point(d.point), *_means(d.means, names)]
            for d in paired(found, key)
        ]
        if rows:
            title = f"{key}: differences on the same seeds"
            print_table(title, ["values", "at", *names], rows, left=2)


def _point(point: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in point.items()) or "-"


def _means(means: Mapping[str, Mean | None], names: Iterable[str]) -> list[str]:
    return [told(means.get(name)) for name in names]
