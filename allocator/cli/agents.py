"""`allocator agents`: the agents of a cluster, and what of them is in use."""

from __future__ import annotations

import argparse
from typing import Any

from allocator.cli.asking import add_master, amounts, ask, share, write_json

Json = dict[str, Any]

EXAMPLES = """\
examples:
  allocator agents
  allocator agents --json | jq '.[] | select(.active | not) | .hostname'
"""

#: Columns that all tables have, whatever agents bring.
_ALWAYS = ("cpus", "mem", "disk")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand and its options."""
    parser = subparsers.add_parser(
        "agents",
        help="a cluster's agents, and what of them is in use",
        description="List the agents of a master, and what of them is in use.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_master(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Ask the master and print."""
    given = ask(args, "GET_AGENTS")["get_agents"].get("agents") or []
    agents = sorted(map(_agent, given), key=lambda agent: (agent["hostname"], agent["id"]))
    if args.json:
        write_json(agents)
    else:
        show(agents)
    return 0


def _agent(given: Json) -> Json:
    info = given["agent_info"]
    return {
        "id": info["id"]["value"],
        "hostname": info["hostname"],
        "active": given["active"],
        "version": given["version"],
        **{
            key: amounts(given.get(f"{key}_resources")) for key in ("total", "allocated", "offered")
        },
    }


def show(agents: list[Json]) -> None:
    """Print a table."""
    from allocator.cli.console import print_table

    others = {name for agent in agents for name in agent["total"]} - set(_ALWAYS)
    names = [*_ALWAYS, *sorted(others)]
    rows = [
        [
            agent["hostname"],
            agent["id"],
            "yes" if agent["active"] else "no",
            *(share(agent["allocated"].get(n, 0), agent["total"].get(n, 0)) for n in names),
        ]
        for agent in agents
    ]
    print_table(f"{len(agents)} agents", ["hostname", "id", "active", *names], rows, left=3)
