"""`allocator roles`: who shares a cluster, and how."""

from __future__ import annotations

import argparse
from typing import Any

from allocator.cli.asking import add_master, amounts, ask, number, text_of, write_json
from allocator.cli.quota import quotas

Json = dict[str, Any]

EXAMPLES = """\
examples:
  allocator roles
  allocator roles --json
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand and its options."""
    parser = subparsers.add_parser(
        "roles",
        help="who shares a cluster, and how",
        description="List the roles of a master, with weights, quotas and what they hold.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_master(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Ask the master and print."""
    of_roles = quotas(args)
    roles = [
        {
            "name": role["name"],
            "weight": role["weight"],
            "frameworks": [id["value"] for id in role.get("frameworks") or ()],
            "resources": amounts(role.get("resources")),
            "guarantees": of_roles.get(role["name"], {}).get("guarantees", {}),
            "limits": of_roles.get(role["name"], {}).get("limits", {}),
        }
        for role in ask(args, "GET_ROLES")["get_roles"].get("roles") or ()
    ]
    roles.sort(key=lambda role: role["name"].split("/"))
    if args.json:
        write_json(roles)
    else:
        show(roles)
    return 0


def show(roles: list[Json]) -> None:
    """Print a table."""
    from allocator.cli.console import print_table

    header = ["role", "held or offered", "guarantee", "limit", "weight", "frameworks"]
    rows = [
        [
            role["name"],
            text_of(role["resources"]),
            text_of(role["guarantees"]),
            text_of(role["limits"]),
            number(role["weight"]),
            str(len(role["frameworks"])),
        ]
        for role in roles
    ]
    print_table(f"{len(roles)} roles", header, rows, left=4)
