"""`allocator replay`: an audit log run again, and its offers compared."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from allocator.audit import Replay, replay
from allocator.errors import AuditError
from allocator.files import STDIN

DESCRIPTION = """\
Make every call of an audit log again, from the snapshot that it begins with and at the time of
each, and verify that every offer comes out the same and every refused call is refused the same.
"""

EPILOG = """\
examples:
  allocator replay run.jsonl
  allocator replay run.jsonl.gz --json
  zcat run.jsonl.gz | allocator replay -
  allocator replay --lenient crashed.jsonl

exit status:
  0  everything came out as logged
  1  something did not: one line says where, and what was logged and replayed
  2  the log is malformed or cut off, or an argument is wrong: one line on stderr says where
"""


def register(subparsers: Any) -> None:
    """Add this subcommand's options."""
    parser = subparsers.add_parser(
        "replay",
        help="run an audit log again and verify that every offer comes out the same",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "log", metavar="LOG", help="what an AuditLog wrote, plain or gzip; - is standard input"
    )
    parser.add_argument(
        "--lenient",
        action="store_true",
        help="accept a log whose last record was written only in part, as a crash can leave it",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a line")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar on stderr")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Replay the log, print what was found, and return 1 if anything differs."""
    # Here, not above: `allocator --help` works without rich.
    from allocator.cli.console import print_line, progress_bar

    name = "stdin" if args.log == STDIN else args.log
    with progress_bar("replaying", shown=not args.no_progress and args.log != STDIN) as advance:
        done = 0.0

        def progress(part: float) -> None:
            nonlocal done
            advance(part - done)
            done = part

        found = replay(args.log, progress=progress)
    if args.json:
        print(json.dumps(to_json(name, found), indent=2, allow_nan=False))
    else:
        print_line(f"{name}{found_in(found)}")
    if found.difference is not None:
        return 1
    if found.cut_off is not None and not args.lenient:
        raise AuditError(
            f"{name}:{found.cut_off}: the log is cut off here (--lenient accepts this)"
        )
    return 0


def found_in(found: Replay) -> str:
    """Return what was found, as it follows the log's name in a line."""
    if found.difference is not None:
        return f":{found.difference.line}: {found.difference}"
    came_out = f": {found} came out as logged"
    if found.cut_off is not None:
        return f"{came_out}; cut off at line {found.cut_off}"
    return came_out if found.closed else f"{came_out}; not closed, so later lines may be missing"


def to_json(name: str, found: Replay) -> dict[str, Any]:
    """Return the result as JSON."""
    return {"log": name, "identical": found.difference is None, **asdict(found)}
