"""`allocator scenario`: files that say everything a simulation depends on."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from allocator.errors import InvalidValue
from allocator.files import STDIN
from allocator.sim.scenario import (
    SHIPPED,
    Problem,
    Scenario,
    ScenarioError,
    json_schema,
    shipped_text,
    template_text,
)

DESCRIPTION = """\
Write, check and look at scenarios: TOML files that say everything a simulation depends on.
`allocator simulate` runs them, and those that come with the package by their names.
"""

EPILOG = """\
examples:
  allocator scenario init cluster.toml
  allocator scenario init | less
  allocator scenario check cluster.toml other.toml
  allocator scenario list
  allocator scenario show quota > quota.toml

exit status: 0 done; 2 a wrong argument or scenario: each problem is a line on stderr
"""


def register(subparsers: Any) -> None:
    """Add this subcommand's options."""
    parser = subparsers.add_parser(
        "scenario",
        help="write, check and look at scenarios",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    init = actions.add_parser("init", help="write a scenario to begin with, with all its keys")
    init.add_argument(
        "file", nargs="?", default=STDIN, metavar="FILE", help="(default: standard output)"
    )
    init.add_argument("--force", action="store_true", help="overwrite FILE if it is there")
    init.set_defaults(do=write_new)
    check = actions.add_parser("check", help="tell all that is wrong with scenarios")
    check.add_argument(
        "files", nargs="+", metavar="FILE", help="plain or gzip, or a shipped name; - is stdin"
    )
    check.set_defaults(do=check_all)
    schema = actions.add_parser("schema", help="print the JSON Schema (2020-12) of scenarios")
    schema.set_defaults(do=print_schema)
    listed = actions.add_parser("list", help="list the scenarios that come with the package")
    listed.set_defaults(do=print_list)
    show = actions.add_parser("show", help="print one of them")
    show.add_argument("name", metavar="NAME", help="one of those that `list` lists")
    show.set_defaults(do=show_one)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Do what was asked for."""
    status: int = args.do(args)
    return status


def write_new(args: argparse.Namespace) -> int:
    """Print the template, or write it to a new file."""
    if args.file == STDIN:
        sys.stdout.write(template_text())
        return 0
    try:
        with Path(args.file).open("w" if args.force else "x", encoding="utf-8") as file:
            file.write(template_text())
    except FileExistsError:
        raise InvalidValue(f"{args.file}: is there already (--force overwrites it)") from None
    print(f"{args.file}: written; `allocator simulate {args.file}` runs it")
    return 0


def check_all(args: argparse.Namespace) -> int:
    """Check files; all problems of all of them are told together."""
    problems: list[Problem] = []
    for name in args.files:
        try:
            Scenario.load(name)
        except ScenarioError as error:
            problems += error.problems
    if problems:
        raise ScenarioError(problems)
    for name in args.files:
        print(f"{name}: ok")
    return 0


def print_schema(args: argparse.Namespace) -> int:
    """Print the JSON Schema."""
    print(json.dumps(json_schema(), indent=2))
    return 0


def print_list(args: argparse.Namespace) -> int:
    """Print name and title of each shipped scenario."""
    width = max(map(len, SHIPPED))
    for name in SHIPPED:
        title = next(line for line in shipped_text(name).splitlines() if line.startswith("title"))
        print(f"{name:{width}}  {json.loads(title.partition('=')[2])}")
    return 0


def show_one(args: argparse.Namespace) -> int:
    """Print a shipped scenario as it is."""
    sys.stdout.write(shipped_text(args.name))
    return 0
