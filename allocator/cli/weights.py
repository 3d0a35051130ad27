"""`allocator weights`: how much more of a cluster some roles get than others."""

from __future__ import annotations

import argparse

from allocator.cli.asking import add_master, ask, number, write_json
from allocator.errors import shown

EXAMPLES = """\
examples:
  allocator weights
  allocator weights set eng=2 ops=0.5

A role that has none set weighs 1. `set` needs the right to update the roles' weights.
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand and its options."""
    parser = subparsers.add_parser(
        "weights",
        help="how much more some roles get than others",
        description="List the weights of a master's roles, or set some: all of them or none.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_master(parser)
    parser.set_defaults(func=run)
    actions = parser.add_subparsers(metavar="ACTION")
    setting = actions.add_parser("set", help="set the weights of roles")
    setting.add_argument("weights", type=weight, nargs="+", metavar="ROLE=WEIGHT")
    setting.set_defaults(func=set_weights)
    add_master(setting, again=True)


def weight(text: str) -> tuple[str, float]:
    """Return role and weight; raises `ArgumentTypeError`."""
    role, equals, number = text.rpartition("=")
    try:
        if role and equals:
            return role, float(number)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{shown(text)} is no ROLE=WEIGHT, such as eng=2")


def run(args: argparse.Namespace) -> int:
    """Print the weights."""
    infos = ask(args, "GET_WEIGHTS")["get_weights"].get("weight_infos") or []
    infos.sort(key=lambda info: info["role"])
    if args.json:
        write_json(infos)
        return 0
    from allocator.cli.console import print_table

    rows = [[info["role"], number(info["weight"])] for info in infos]
    print_table(f"{len(rows)} weights", ["role", "weight"], rows)
    return 0


def set_weights(args: argparse.Namespace) -> int:
    """Have the master set weights."""
    infos = [{"role": role, "weight": weight} for role, weight in args.weights]
    ask(args, "UPDATE_WEIGHTS", weight_infos=infos)
    return 0
