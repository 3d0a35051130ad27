"""`allocator credentials`: an entry for a credentials file, from a secret on stdin."""

from __future__ import annotations

import argparse
import getpass
import json
import sys

from allocator.errors import InvalidValue

EXAMPLES = """\
examples:
  allocator credentials ops
  pass show cluster/ops | allocator credentials ops

The master's `--credentials FILE` is {"credentials": [ENTRY, ...]}, readable by its owner alone.
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand and its options."""
    parser = subparsers.add_parser(
        "credentials",
        help="make an entry for a credentials file",
        description="Read a secret from stdin and print an entry that has its scrypt hash.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("principal", metavar="PRINCIPAL", help="whose secret it is")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print the entry."""
    from allocator.wire.credentials import hashed  # needs the extra `master`

    principal: str = args.principal
    if not principal or ":" in principal:
        raise InvalidValue(f"principal {principal!r} is text without colons")
    if sys.stdin.isatty():
        secret = getpass.getpass(f"secret of {principal}: ")
    else:
        secret = sys.stdin.read().removeprefix("\ufeff").removesuffix("\n").removesuffix("\r")
    if not secret:
        raise InvalidValue("stdin: has no secret")
    print(json.dumps({"principal": principal, "secret": hashed(secret)}))
    return 0
