"""`allocator simulate`: a trace through the allocator, and tables of what came of it."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from allocator.errors import InvalidValue, shown
from allocator.sim import WORKLOADS, Options, Result, Trace, read_trace, workload
from allocator.sim.readers import FORMATS
from allocator.sim.setting import REFUSE_SECONDS
from allocator.sim.simulator import simulate
from allocator.sorter import SORTERS

DESCRIPTION = """\
Run the allocator on a recorded or built-in workload, in simulated time. Each tenant becomes a
framework in a role of its own; its scheduler starts what fits into the offers it gets, refuses
the rest, and gives resources back when tasks end after their recorded run time.
"""

EPILOG = """\
examples:
  allocator simulate --workload mesos
  allocator simulate wagap-2013.swf.gz --machines wagap-2013.swf.machines
  allocator simulate HPC2N.swf.gz --machines '120xcpus:2;mem:1024' --no-gang
  allocator simulate SDSC-BLUE.swf.gz --weights high=4,low=0.5 --horizon 90d --json report.json
  allocator simulate openb_pod_list.csv --machines openb_node_list.csv --scale 0.01

A group of machines is COUNTxRESOURCES[@KIND]; mem and disk are in MB. Exit status: 0 done,
2 a wrong argument or input: one line on stderr says which.
"""

#: Suffix -> seconds.
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?P<number>\d+(\.\d*)?|\.\d+)(?P<unit>[smhd]?)")


def register(subparsers: Any) -> None:
    """Add this subcommand's options."""
    parser = subparsers.add_parser(
        "simulate",
        help="run a recorded or built-in workload and report who got what",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_input(parser)
    _add_policy(parser)
    _add_output(parser)
    parser.set_defaults(func=run)


def _add_input(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("input")
    source = group.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "trace", nargs="?", metavar="TRACE", help="a trace, plain or gzip; - is standard input"
    )
    source.add_argument("--workload", choices=sorted(WORKLOADS), help="a built-in workload")
    group.add_argument(
        "--format",
        choices=FORMATS,
        help="of TRACE (default: told by its content): "
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
        default=1.0,
        metavar="X",
        help="machines of each kind for one that was stated (default: 1)",
    )
    group.add_argument(
        "--lenient", action="store_true", help="skip and count malformed lines of the input"
    )


def _add_policy(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("policy")
    group.add_argument(
        "--weights",
        type=weights,
        action="append",
        default=[],
        metavar="ROLE=W,…",
        help="weights of roles at any level; may be repeated (default: 1 each)",
    )
    group.add_argument(
        "--sorter",
        choices=tuple(SORTERS),
        default="drf",
        help="who is next: compiled DRF, two plain forms of the same, or weighted random "
        "(default: drf)",
    )
    group.add_argument(
        "--interval",
        type=duration,
        default=1.0,
        metavar="TIME",
        help="between two allocation cycles (default: 1s)",
    )
    group.add_argument(
        "--refuse-seconds",
        type=duration,
        default=REFUSE_SECONDS,
        metavar="TIME",
        help="how long a framework refuses what it has no use for; it revives earlier if its "
        f"needs change; 0: not at all (default: {REFUSE_SECONDS / 86400:g}d)",
    )
    group.add_argument(
        "--gang",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="start a job's tasks all at once or not at all (default), or each when it fits",
    )
    group.add_argument(
        "--horizon",
        type=duration,
        metavar="TIME",
        help="stop here, from the first submission (default: when nothing is left to do, or at "
        "the recording's end if jobs outlive it)",
    )
    group.add_argument("--seed", default="0", metavar="SEED", help="a word or number (default: 0)")


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--all-roles", action="store_true", help="show every role, not only the largest"
    )
    group.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")
    group.add_argument("--no-progress", action="store_true", help="no progress bar on stderr")


def duration(text: str) -> float:
    """Return the seconds of a time such as `90`, `1.5h` or `30d`."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a time such as 90, 1.5h or 30d")
    return float(match["number"]) * _UNITS[match["unit"]]


def weights(text: str) -> list[tuple[str, float]]:
    """Return the roles and weights of a list such as `eng=2,eng/prod=3`."""
    found = []
    for part in text.split(","):
        role, equals, weight = part.rpartition("=")
        try:
            found.append((role.strip(), float(weight)))
        except ValueError:
            equals = ""
        if not equals or not role.strip():
            raise argparse.ArgumentTypeError(f"{shown(part)} is not of the form ROLE=WEIGHT")
    return found


def weight_of_each(given: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Return role -> weight; raises `InvalidValue` if a role has two."""
    found: dict[str, float] = {}
    for role, weight in given:
        if role in found:
            what = f"given twice, {found[role]:g} and {weight:g}"
            raise InvalidValue(f"weight of role {shown(role)}: {what}")
        found[role] = weight
    return found


def run(args: argparse.Namespace) -> int:
    """Read the input, run it, and print and write what came of it."""
    # Here, not above: `allocator --help` works without rich.
    from allocator.cli.console import progress_bar
    from allocator.cli.simulate_report import print_report

    options = Options(
        seed=args.seed,
        sorter=args.sorter,
        interval_s=args.interval,
        gang=args.gang,
        refuse_seconds=args.refuse_seconds,
        weights=weight_of_each(pair for given in args.weights for pair in given),
        horizon_s=args.horizon,
    )
    trace = _trace(args)
    with progress_bar("simulating", shown=not args.no_progress) as advance:
        done = 0.0

        def progress(part: float, now_s: float) -> None:
            nonlocal done
            advance(part - done)
            done = part

        result = simulate(trace, options, progress=progress)
    if args.json is not None:
        _write(result, args.json)
    print_report(result, all_roles=args.all_roles)
    return 0


def _trace(args: argparse.Namespace) -> Trace:
    if args.workload is None:
        return read_trace(
            args.trace,
            format=args.format,
            machines=args.machines,
            scale=args.scale,
            lenient=args.lenient,
        )
    if args.machines or args.format:
        raise InvalidValue("--machines and --format go with a trace, not with --workload")
    return workload(args.workload, args.scale)


def _write(result: Result, path: Path) -> None:
    text = json.dumps(result.to_json(), indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
