"""`allocator framework run`: one command, run many times in a cluster."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

from allocator.cli.arguments import count
from allocator.cli.asking import add_master, read_address, write_json
from allocator.errors import AllocatorError, InvalidValue
from allocator.roles import validate_role

if TYPE_CHECKING:
    from allocator.cli.runner import Runner

Json = dict[str, Any]

EXAMPLES = """\
examples:
  allocator framework run --command "sleep 1" --count 100
  allocator framework run --role eng --task "cpus:1;mem:64" --command "make test" --count 8
  allocator framework run --command "exit 1" --json

What is lost with an agent is launched anew. Ctrl-C kills what runs.

exit status: 0 all have finished, 1 some have not, 2 they could not be run
"""

#: The ways in which tasks end.
_ENDS = ("finished", "failed", "killed")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand and its options."""
    parser = subparsers.add_parser(
        "framework",
        help="run a command many times in a cluster",
        description="Run a command many times in a cluster, and wait for all of them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(func=run)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    running = actions.add_parser(
        "run",
        help="run a command",
        description="Run a command many times in a cluster, and wait for all of them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_master(running)
    add = running.add_argument
    add("--command", required=True, metavar="TEXT", help="what the shell of the agent runs")
    add("--count", type=count, default=1, metavar="N", help="how many times (1)")
    add("--task", default="cpus:1;mem:64", metavar="TEXT", help='what each takes ("cpus:1;mem:64")')
    add("--role", default="*", metavar="ROLE", help="who pays for it (*)")
    add("--name", default="allocator-run", metavar="NAME", help="of the framework and its tasks")


def run(args: argparse.Namespace) -> int:
    """Run the command, and say how it went."""
    from allocator.cli import runner  # needs the extra `master`
    from allocator.cli.console import progress_bar
    from allocator.resources import Resources
    from allocator.wire.credentials import own_headers

    try:
        resources = Resources(args.task)
    except AllocatorError as error:
        raise InvalidValue(f"--task {error}") from None
    if not resources:
        raise InvalidValue(f"--task {args.task!r}: takes nothing")
    work = runner.Runner(args.name, args.command, resources, args.count)
    began = time.monotonic()
    with progress_bar(args.name, args.count, shown=not args.json) as advance:
        session = runner.Session(
            work,
            read_address(args.master),
            own_headers(args.credential),
            args.name,
            validate_role(args.role),
            advance,
        )
        asyncio.run(session.run())
    tell(args, work, session.framework_id, time.monotonic() - began)
    return 0 if work.ended["finished"] == args.count else 1


def tell(args: argparse.Namespace, work: Runner, framework_id: str | None, seconds: float) -> None:
    """Print how it went."""
    told: Json = {"framework_id": framework_id}
    told |= {key: work.ended[key] for key in _ENDS}
    if args.json:
        write_json({**told, "seconds": round(seconds, 3), "failures": dict(work.failures)})
        return
    words = [f"{work.ended[key]} {key}" for key in _ENDS if work.ended[key]]
    print(f"{', '.join(words)} in {seconds:.1f} s")
    for message, n in work.failures.most_common(5):
        print(f"  {n} × {message}", file=sys.stderr)
