"""`allocator simulate`: a scenario or a trace through the allocator, and what came of it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import webbrowser
from pathlib import Path
from typing import Any

from allocator.cli.arguments import count
from allocator.cli.interrupting import INTERRUPTED, interruption
from allocator.cli.overrides import add_overrides, changes_of, once
from allocator.errors import InvalidValue, shown
from allocator.files import STDIN
from allocator.roles import ancestry
from allocator.sim import (
    WORKLOADS,
    Options,
    Result,
    Scenario,
    Trace,
    plots,
    read_trace,
    saved,
    workload,
)
from allocator.sim.cluster import looks_like_spec
from allocator.sim.readers import FORMATS
from allocator.sim.report.words import span
from allocator.sim.scenario import SHIPPED, is_file
from allocator.sim.simulator import POINTS, simulate

DESCRIPTION = """\
Run the allocator on a scenario, a recorded trace or a built-in workload, in simulated time. Each
tenant is a framework in a role; its scheduler starts what fits into the offers it gets, refuses
the rest, and gives resources back when tasks end.
"""

EPILOG = """\
examples:
  allocator simulate quota
  allocator simulate cluster.toml --set policy.sorter=hdrf --limit 'eng/batch=cpus:400'
  allocator simulate --workload mesos
  allocator simulate wagap-2013.swf.gz --machines wagap-2013.swf.machines
  allocator simulate HPC2N.swf.gz --machines '120xcpus:2;mem:1024' --no-gang
  allocator simulate SDSC-BLUE.swf.gz --weights high=4,low=0.5 --horizon 90d --json report.json
  allocator simulate openb_pod_list.csv --machines openb_node_list.csv --scale 0.01

A file that ends in .toml is a scenario, another file a trace; what is no file is the name of a
scenario that `allocator scenario list` lists (./NAME is always a file). A group of machines is
COUNTxRESOURCES[@KIND]; mem and disk are in MB. Exit status: 0 done, 2 a wrong argument or input:
one line on stderr says which, or one for each problem of a scenario; 130 interrupted by Ctrl-C:
tables and files are of the run so far.
"""

#: What a scenario's file ends in.
_SCENARIOS = (".toml", ".toml.gz")


def register(subparsers: Any) -> None:
    """Add this subcommand's options."""
    parser = subparsers.add_parser(
        "simulate",
        help="run a scenario, a trace or a built-in workload and report who got what",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_input(parser)
    add_overrides(parser)
    _add_output(parser)
    parser.set_defaults(func=run)


def _add_input(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("input")
    source = group.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "source",
        nargs="?",
        metavar="SCENARIO|TRACE",
        help="a file, plain or gzip, or the name of a shipped scenario; - is a trace on standard "
        "input",
    )
    source.add_argument("--workload", choices=sorted(WORKLOADS), help="a built-in workload")
    group.add_argument(
        "--format",
        choices=FORMATS,
        help="of a trace (default: told by its content): "
        + "; ".join(f"{form.name}, {form.help}" for form in FORMATS.values()),
    )
    group.add_argument(
        "--machines",
        action="append",
        default=[],
        metavar="FILE|GROUP",
        help="a machines file (- is standard input), or a group such as '20xcpus:80;mem:517018'; "
        "may be repeated (default: depends on the format, and is printed)",
    )
    group.add_argument(
        "--scale",
        type=float,
        metavar="X",
        help="machines of each kind for one that was stated (default: 1)",
    )
    group.add_argument(
        "--lenient", action="store_true", help="skip and count malformed lines of the input"
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--all-roles", action="store_true", help="show every role, not only the largest"
    )
    group.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")
    group.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FOLDER",
        help="also write result.json, jobs.parquet, series.parquet and report.html into a folder "
        "that is new, empty or has a result",
    )
    group.add_argument(
        "--open", action="store_true", help="show the report in a browser when the run has ended"
    )
    group.add_argument(
        "--plots", type=Path, metavar="DIR", help="also draw the curves as SVG and PNG files"
    )
    group.add_argument(
        "--points",
        type=count,
        default=POINTS,
        metavar="N",
        help=f"intervals of the curves over time at most (default: {POINTS})",
    )
    group.add_argument("--no-progress", action="store_true", help="no progress bar on stderr")


def run(args: argparse.Namespace) -> int:
    """Read the input, run it, and print and write what came of it."""
    # Here, not above: `allocator --help` works without rich.
    from allocator.cli.simulate_report import print_report

    _check_output(args)
    result, interrupted = _simulated(_scenario(args), args)
    if interrupted:
        so_far = f"interrupted after {span(result.end_s)} of simulated time"
        print(f"allocator simulate: {so_far}; this is the run so far", file=sys.stderr)
    if args.json is not None:
        _write(result, args.json)
    if args.output is not None:
        result.save(args.output)
    if args.plots is not None:
        result.plot(args.plots)
    print_report(result, all_roles=args.all_roles)
    if args.open:
        _show(result, args.output)
    return INTERRUPTED if interrupted else 0


def _check_output(args: argparse.Namespace) -> None:
    """Raise now what would keep the results from being written when the run has ended."""
    if args.output is not None:
        saved.check(args.output)
        saved.parquet()
    if args.plots is not None:
        plots.matplotlib()


def _simulated(scenario: Scenario, args: argparse.Namespace) -> tuple[Result, bool]:
    """Run a scenario with progress; tell whether it was interrupted, and ended there."""
    from allocator.cli.console import progress_bar

    bar = progress_bar("simulating", shown=not args.no_progress)
    with bar as advance, interruption() as interrupted:
        started_s, done = time.monotonic(), 0.0

        def progress(part: float, now_s: float) -> bool:
            nonlocal done
            rate = now_s / max(time.monotonic() - started_s, 1e-9)
            advance(part - done, said=f"{span(now_s)}, {span(rate)} a second")
            done = part
            return not interrupted()

        result = simulate(scenario, points=args.points, progress=progress)
        return result, interrupted()


def _show(result: Result, folder: Path | None) -> None:
    """Show the report in a browser."""
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="allocator-report-"))
        (folder / saved.REPORT).write_text(result.report(), encoding="utf-8")
    page = (folder / saved.REPORT).resolve()
    if not webbrowser.open(page.as_uri()):
        print(f"allocator simulate: no browser was found to show {page}", file=sys.stderr)


def _scenario(args: argparse.Namespace) -> Scenario:
    """Return the scenario that was named, or that of a trace or workload, under the options."""
    changes = changes_of(args)
    if args.workload is None and names_scenario(args.source):
        scenario = Scenario.load(args.source, {**_input_changes(args), **changes})
    else:
        _check_plain(args)
        trace = _trace(args)
        name = args.source or args.workload
        data = {"title": trace.name, "workload": {"trace": trace}}
        scenario = Scenario.from_dict(data, changes, file=name)
    _check_weights(args, scenario)
    return scenario


def names_scenario(name: str) -> bool:
    """Tell whether a name is that of a scenario rather than of a trace.

    Raises
    ------
    InvalidValue
        If it is neither a file nor the name of a shipped scenario.
    """
    if name == STDIN:
        return False
    if name.endswith(_SCENARIOS):
        return True
    if is_file(name):
        return False
    if name not in SHIPPED:
        what = f"no such file, and no scenario of this name is shipped: {', '.join(SHIPPED)}"
        raise InvalidValue(f"{name}: {what}")
    return True


def _input_changes(args: argparse.Namespace) -> dict[str, Any]:
    """Return the keys of a scenario that the options of the input set."""
    changes: dict[str, Any] = {}
    if args.machines:
        changes |= {"cluster.machines": None, "cluster.file": None, "workload.machines": None}
        if all(looks_like_spec(name) for name in args.machines):
            changes["cluster.machines"] = args.machines
        elif len(args.machines) == 1:
            changes["cluster.file"] = _from_here(args.machines[0])
        else:
            raise InvalidValue("--machines: of a scenario one file, or one or more groups")
    plain = {
        "cluster.scale": args.scale,
        "workload.format": args.format,
        "workload.lenient": args.lenient or None,
    }
    return changes | {key: value for key, value in plain.items() if value is not None}


def _from_here(path: str) -> str:
    """Return a path of the command line, which is not relative to the scenario's folder."""
    return path if path == STDIN else os.path.abspath(path)


def _check_plain(args: argparse.Namespace) -> None:
    """Raise `InvalidValue` in one line where an option of a trace has no meaning."""
    given = {
        "interval_s": args.interval,
        "refuse_seconds": args.refuse_seconds,
        "horizon_s": args.horizon,
    }
    Options(**{name: value for name, value in given.items() if value is not None})


def _check_weights(args: argparse.Namespace, scenario: Scenario) -> None:
    """Raise `InvalidValue` if a weight is given to a role that nobody is in or below."""
    known = {path for tenant in scenario.tenants.values() for path in ancestry(tenant.role)}
    for role in once("weight", [pair for pairs in args.weights for pair in pairs]):
        if role not in known:
            raise InvalidValue(f"weight of role {shown(role)}: the trace has no such role")


def _trace(args: argparse.Namespace) -> Trace:
    scale = 1.0 if args.scale is None else args.scale
    if args.workload is None:
        return read_trace(
            args.source,
            format=args.format,
            machines=args.machines,
            scale=scale,
            lenient=args.lenient,
        )
    if args.machines or args.format:
        raise InvalidValue("--machines and --format go with a trace, not with --workload")
    return workload(args.workload, scale)


def _write(result: Result, path: Path) -> None:
    text = json.dumps(result.to_json(), indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
