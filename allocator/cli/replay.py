"""`allocator replay`: an audit log run again, and its offers compared."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from allocator.audit import Replay, replay
from allocator.errors import AuditError

DESCRIPTION = """\
Make every call of an audit log again, from the snapshot that it begins with and at the time of
each, and verify that every offer comes out the same and every refused call is refused the same.
"""

EPILOG = """\
examples:
  allocator replay run.jsonl
  allocator replay run.jsonl.gz --json result.json
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
        "log", metavar="LOG", help="what an AuditLog wrote; gzip is recognised; -: stdin"
    )
    parser.add_argument(
        "--lenient",
        action="store_true",
        help="accept a log whose last record was written only in part, as a crash can leave it",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result as JSON")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar on stderr")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Replay the log, print what was found, and return 1 if anything differs."""
    # Here, not above: `allocator --help` works without rich.
    from allocator.cli.console import print_line, progress_bar

    name = "<stdin>" if args.log == "-" else args.log
    with progress_bar("replaying", shown=not args.no_progress and args.log != "-") as advance:
        done = 0.0

        def progress(part: float) -> None:
            nonlocal done
            advance(part - done)
            done = part

        found = replay(sys.stdin.buffer if args.log == "-" else args.log, progress=progress)
    if args.json is not None:
        text = json.dumps(to_json(name, found), indent=2, allow_nan=False)
        args.json.write_text(text + "\n", encoding="utf-8")
    if found.difference is not None:
        print_line(f"{name}:{found.difference.line}: {found.difference}")
        return 1
    if found.cut_off is not None and not args.lenient:
        raise AuditError(
            f"{name}:{found.cut_off}: the log is cut off here; before that, {found} came out as"
            " logged (--lenient accepts this)"
        )
    print_line(f"{name}: {found} came out as logged{end_of(found)}")
    return 0


def end_of(found: Replay) -> str:
    """Return what there is to say about a log that was not closed."""
    if found.cut_off is not None:
        return f"; cut off at line {found.cut_off}"
    return "" if found.closed else "; not closed, so later lines may be missing"


def to_json(name: str, found: Replay) -> dict[str, Any]:
    """Return the result as JSON."""
    return {"log": name, "identical": found.difference is None, **asdict(found)}
