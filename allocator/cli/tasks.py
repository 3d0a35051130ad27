"""`allocator tasks`: what runs in a cluster."""

from __future__ import annotations

import argparse
from typing import Any

from allocator.cli.asking import add_master, amounts, ask, text_of, write_json

Json = dict[str, Any]

EXAMPLES = """\
examples:
  allocator tasks
  allocator tasks --framework 6f1c…-0000 --completed
  allocator tasks --json
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand and its options."""
    parser = subparsers.add_parser(
        "tasks",
        help="what runs in a cluster",
        description="List the tasks of a master's frameworks.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_master(parser)
    parser.add_argument("--framework", metavar="ID", help="of this framework only")
    parser.add_argument("--completed", action="store_true", help="also those that have ended")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Ask the master and print."""
    given = ask(args, "GET_TASKS")["get_tasks"]
    kinds = ["tasks", "unreachable_tasks", *(["completed_tasks"] if args.completed else [])]
    tasks = [
        _task(task)
        for kind in kinds
        for task in given.get(kind) or ()
        if args.framework in (None, task["framework_id"]["value"])
    ]
    if args.json:
        write_json(tasks)
    else:
        show(tasks)
    return 0


def _task(given: Json) -> Json:
    statuses = given.get("statuses") or []
    return {
        "id": given["task_id"]["value"],
        "name": given["name"],
        "framework_id": given["framework_id"]["value"],
        "agent_id": given["agent_id"]["value"],
        "state": given["state"],
        "resources": amounts(given.get("resources")),
        "message": (statuses[-1].get("message") or "") if statuses else "",
    }


def show(tasks: list[Json]) -> None:
    """Print a table."""
    from allocator.cli.console import print_table

    header = ["id", "state", "framework", "agent", "resources", "message"]
    rows = [
        [
            task["id"],
            task["state"].removeprefix("TASK_").lower(),
            task["framework_id"],
            task["agent_id"],
            text_of(task["resources"]),
            task["message"],
        ]
        for task in tasks
    ]
    print_table(f"{len(tasks)} tasks", header, rows, left=len(header))
