"""`allocator status`: what a cluster has, uses and runs, in short."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

from allocator.cli.asking import add_master, amounts, ask, number, write_json

Json = dict[str, Any]

EXAMPLES = """\
examples:
  allocator status
  allocator status --master http://10.0.0.1:5050 --credential me.json
  allocator status --json
"""

#: What is told of each resource.
_KEYS = ("total", "allocated", "offered")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand and its options."""
    parser = subparsers.add_parser(
        "status",
        help="what a cluster has, uses and runs",
        description="Show what a master's cluster has, uses and runs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_master(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Ask the master and print."""
    info = ask(args, "GET_MASTER")["get_master"]["master_info"]
    state = ask(args, "GET_STATE")["get_state"]
    status = summary(info, state)
    if args.json:
        write_json(status)
    else:
        show(status)
    return 0


def summary(info: Json, state: Json) -> Json:
    """Return the numbers out of what the master says of itself and of all there is."""
    agents = state["get_agents"].get("agents") or []
    frameworks = state["get_frameworks"].get("frameworks") or []
    tasks = state["get_tasks"]
    there = [*(tasks.get("tasks") or []), *(tasks.get("unreachable_tasks") or [])]
    resources: dict[str, dict[str, float]] = {}
    for agent in agents:
        for key in _KEYS:
            for name, amount in amounts(agent.get(f"{key}_resources")).items():
                of_name = resources.setdefault(name, dict.fromkeys(_KEYS, 0.0))
                of_name[key] += amount
    return {
        "master": {key: info[key] for key in ("id", "hostname", "port", "version")},
        "agents": {"active": sum(a["active"] for a in agents), "registered": len(agents)},
        "frameworks": {
            "connected": sum(framework["connected"] for framework in frameworks),
            "registered": len(frameworks),
        },
        "tasks": dict(sorted(Counter(task["state"] for task in there).items())),
        "resources": dict(sorted(resources.items())),
    }


def show(status: Json) -> None:
    """Print it for people."""
    from allocator.cli.console import print_line, print_table

    master, agents, frameworks = status["master"], status["agents"], status["frameworks"]
    print_line(f"master      {master['id']} at {master['hostname']}:{master['port']}")
    print_line(f"version     {master['version']}")
    print_line(f"agents      {agents['active']} active of {agents['registered']}")
    print_line(f"frameworks  {frameworks['connected']} connected of {frameworks['registered']}")
    if status["resources"]:
        rows = [
            [name, *(number(of_name[key]) for key in _KEYS), _part(of_name)]
            for name, of_name in status["resources"].items()
        ]
        print_table("Resources", ["name", *_KEYS, "allocated %"], rows)
    if status["tasks"]:
        rows = [[state, str(n)] for state, n in status["tasks"].items()]
        print_table("Tasks", ["state", "tasks"], rows)


def _part(of_name: dict[str, float]) -> str:
    return f"{100 * of_name['allocated'] / of_name['total']:.1f}" if of_name["total"] else "-"
