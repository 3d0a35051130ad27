"""`allocator explain`: why a framework is not offered what, from a snapshot of the engine."""

from __future__ import annotations

import argparse
import json
from typing import Any

from allocator.cli.subject import restore
from allocator.errors import cut
from allocator.explain import Explanation
from allocator.explain.reasons import brief
from allocator.explain.watch import Case
from allocator.files import Input

DESCRIPTION = """\
Tell what the next cycle offers a framework, agent by agent: why not more, why nothing, and which
smallest change would lead to an offer. Nothing is changed; times that remain in the snapshot
count from now.
"""

EPILOG = """\
SNAPSHOT is JSON, plain or gzip, written by an engine's owner: json.dump(engine.snapshot(), file).

examples:
  allocator explain cluster.json.gz spark
  allocator explain cluster.json spark --role eng/batch --agent a17
  ssh master cat cluster.json.gz | allocator explain - spark --json

exit status: 0 done; 2 a wrong argument or input: one line on stderr says which
"""

#: Reasons are written out for so many pairs of role and agent, unless all are wanted.
SHOWN = 20


def register(subparsers: Any) -> None:
    """Add this subcommand's options."""
    parser = subparsers.add_parser(
        "explain",
        help="tell why a framework is not offered what, from a snapshot",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("snapshot", metavar="SNAPSHOT", help="a file; - is standard input")
    parser.add_argument("framework", metavar="FRAMEWORK", help="a framework's id")
    parser.add_argument("--role", metavar="ROLE", help="one of its roles (default: all)")
    parser.add_argument("--agent", metavar="AGENT", help="an agent's id (default: all)")
    parser.add_argument("--all", action="store_true", help=f"show every line, not only {SHOWN}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Read the snapshot, ask, and print the answer."""
    with Input(args.snapshot) as file:
        engine = restore(file)
    explanation = engine.explain(args.framework, args.role, args.agent)
    if args.json:
        print(json.dumps(explanation.to_json(), indent=2, allow_nan=False))
    else:
        print_explanation(explanation, all_cases=args.all)
    return 0


def print_explanation(explanation: Explanation, *, all_cases: bool) -> None:
    """Print tables as people read them."""
    # Here, not above: `allocator --help` works without rich.
    from allocator.cli.console import print_line, print_table

    print_line(explanation.headline())
    for reason in explanation.halts:
        print_line(f"{reason}; what follows is what the cycle would do otherwise")
    if not explanation.cases:
        return
    if explanation.summary():
        rows = [(cut(label), f"{n:,}") for label, n in explanation.summary()]
        print_table("Why nothing is offered", ("reason", "role × agent"), rows)
    shown = explanation.cases if all_cases else explanation.cases[:SHOWN]
    rows_by_case = [line for case in shown for line in lines(case)]
    print_table("By agent", ("role", "agent", "offered", "why not more"), rows_by_case, left=4)
    if len(shown) < len(explanation.cases):
        print_line(f"… and {len(explanation.cases) - len(shown):,} more; --all shows them")
    print_line()
    for index, change in enumerate(explanation.changes):
        print_line(f"{'or' if index else 'the smallest change that leads to an offer'}: {change}")
    if not explanation.offers and not explanation.changes:
        print_line("no small change was found that leads to an offer")


def lines(case: Case) -> list[tuple[str, str, str, str]]:
    """Return a case's lines of the table: one for each reason."""
    reasons = [str(reason) for reason in case.reasons if not reason.halts] or [""]
    offered = brief(case.resources) or "-"
    first = (cut(case.role), cut(case.agent), offered, reasons[0])
    return [first, *(("", "", "", reason) for reason in reasons[1:])]
