"""`allocator fit`: whether a job would be offered its resources, and what is in its way."""

from __future__ import annotations

import argparse
import json
from typing import Any

from allocator.cli.arguments import count
from allocator.cli.subject import read_subject
from allocator.errors import cut
from allocator.resources import Quantities
from allocator.sim.fit import Fit, fit, text_of, why

DESCRIPTION = """\
Tell whether a job would be offered its resources now: on which machines, or every reason in its
way with the smallest change that would help, and what would have to end first. All frameworks that
are there are taken to want nothing for now; what they hold, and what is guaranteed to them, stays.
"""

EPILOG = """\
SNAPSHOT is JSON, as `allocator import --snapshot` writes it; SCENARIO is TOML, of which the moment
counts in which its run begins.

examples:
  allocator fit lab.json --role eng/batch --task 'cpus:4;mem:8192'
  allocator fit lab/scenario.toml --role ml --task 'cpus:8;gpus:1' --tasks 16 --gang --kind a100
  ssh master cat cluster.json.gz | allocator fit - --role eng --task cpus:1 --json

exit status: 0 it fits; 1 it does not; 2 a wrong argument or input: one line on stderr says which
"""

#: Reasons are written out for so many machines, unless all are wanted.
SHOWN = 20


def register(subparsers: Any) -> None:
    """Add this subcommand's options."""
    parser = subparsers.add_parser(
        "fit",
        help="tell whether a job would be offered its resources, and what is in its way",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "subject", metavar="SCENARIO|SNAPSHOT", help="a file, or a shipped scenario; - is stdin"
    )
    parser.add_argument("--role", required=True, metavar="ROLE", help="whose job it is")
    parser.add_argument(
        "--task", required=True, metavar="AMOUNTS", help='what each task needs: "cpus:4;mem:8192"'
    )
    parser.add_argument("--tasks", type=count, default=1, metavar="N", help="how many tasks (1)")
    parser.add_argument("--gang", action="store_true", help="they start all at once")
    parser.add_argument("--kind", metavar="KIND", help="only machines of this kind")
    parser.add_argument("--all", action="store_true", help=f"show every machine, not only {SHOWN}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Read, ask, print the answer; the status says it, too."""
    need = Quantities(args.task)
    found = fit(
        read_subject(args.subject),
        args.role,
        need,
        tasks=args.tasks,
        gang=args.gang,
        kind=args.kind,
    )
    if args.json:
        print(json.dumps(found.to_json(), indent=2, allow_nan=False))
    else:
        print_fit(found, all_machines=args.all)
    return 0 if found.fits else 1


def print_fit(found: Fit, *, all_machines: bool) -> None:
    """Print tables as people read them."""
    # Here, not above: `allocator --help` works without rich.
    from allocator.cli.console import print_line, print_table

    limit = None if all_machines else SHOWN
    what = f"{found.tasks:,} × {found.task} in role {cut(found.role)}"
    print_line(f"{what}: fits" if found.fits else f"{what}: does not fit, {found.n_placed:,} do")
    machines = [(cut(id), f"{n:,}") for id, n in found.machines.items()]
    if machines:
        print_table("Where", ("machine", "tasks"), machines[:limit])
        _print_rest(len(machines), limit)
    if found.fits:
        return
    reasons = [(cut(label), f"{n:,}") for label, n in found.reasons()]
    print_table("What is in the way of the next task", ("reason", "machines"), reasons)
    cases = [(cut(case.agent), why(reason)) for case in found.cases for reason in case.reasons]
    print_table("By machine", ("machine", "why not"), cases[:limit], left=2)
    _print_rest(len(cases), limit)
    print_line()
    for index, change in enumerate(found.changes):
        print_line(f"{'or' if index else 'the smallest change that helps'}: {text_of(change)}")
    if not found.changes:
        print_line("no small change was found that helps")
    if found.ending is not None:
        print_line(f"what would have to end first: {found.ending}")


def _print_rest(n: int, limit: int | None) -> None:
    from allocator.cli.console import print_line

    if limit is not None and n > limit:
        print_line(f"… and {n - limit:,} more; --all shows them")
