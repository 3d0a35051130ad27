"""`allocator quota`: what roles are guaranteed, and what they may have at most."""

from __future__ import annotations

import argparse
from typing import Any

from allocator.cli.asking import add_master, ask, number, text_of, write_json
from allocator.errors import AllocatorError, InvalidValue

Json = dict[str, Any]

EXAMPLES = """\
examples:
  allocator quota
  allocator quota set eng --guarantee "cpus:10;mem:4096" --limit "cpus:40"
  allocator quota set eng/batch --limit "cpus:8" --force
  allocator quota unset eng

`set` replaces what was set for the role before. Both need the right to update its quotas.
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand and its options."""
    parser = subparsers.add_parser(
        "quota",
        help="what roles are guaranteed, and may have at most",
        description="List the quotas of a master's roles, or set one.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_master(parser)
    parser.set_defaults(func=run)
    actions = parser.add_subparsers(metavar="ACTION")
    setting = actions.add_parser("set", help="set the quota of a role")
    setting.add_argument("role", metavar="ROLE")
    setting.add_argument("--guarantee", metavar="TEXT", help='such as "cpus:10;mem:4096"')
    setting.add_argument("--limit", metavar="TEXT", help='such as "cpus:40"')
    setting.add_argument("--force", action="store_true", help="even if the cluster is too small")
    setting.set_defaults(func=set_quota)
    unsetting = actions.add_parser("unset", help="take the quota of a role away")
    unsetting.add_argument("role", metavar="ROLE")
    unsetting.set_defaults(func=unset_quota)
    for action in (setting, unsetting):
        add_master(action, again=True)


def run(args: argparse.Namespace) -> int:
    """Print the quotas."""
    found = quotas(args)
    if args.json:
        write_json([{"role": role, **quota} for role, quota in found.items()])
        return 0
    from allocator.cli.console import print_table

    rows = [
        [role, text_of(quota["guarantees"]), text_of(quota["limits"])]
        for role, quota in found.items()
    ]
    print_table(f"{number(len(rows))} quotas", ["role", "guarantee", "limit"], rows, left=3)
    return 0


def quotas(args: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """Return role → {"guarantees": {name: amount}, "limits": {name: amount}}, by role."""
    status = ask(args, "GET_QUOTA")["get_quota"]["status"]
    return {
        config["role"]: {
            key: {name: each["value"] for name, each in (config.get(key) or {}).items()}
            for key in ("guarantees", "limits")
        }
        for config in sorted(status.get("configs") or (), key=lambda config: config["role"])
    }


def set_quota(args: argparse.Namespace) -> int:
    """Have the master set a quota."""
    from allocator.resources import Quantities, read_limits

    if args.guarantee is None and args.limit is None:
        raise InvalidValue(f"quota set {args.role}: give --guarantee, --limit or both")
    try:
        guarantees = dict(Quantities(args.guarantee or {}))
    except AllocatorError as error:
        raise InvalidValue(f"--guarantee {error}") from None
    try:
        limits = {name: milli / 1000 for name, milli in read_limits(args.limit or {}).items()}
    except AllocatorError as error:
        raise InvalidValue(f"--limit {error}") from None
    return _update(args, guarantees, limits, force=args.force)


def unset_quota(args: argparse.Namespace) -> int:
    """Have the master take a quota away."""
    return _update(args, {}, {}, force=False)


def _update(
    args: argparse.Namespace, guarantees: dict[str, float], limits: dict[str, float], *, force: bool
) -> int:
    config: Json = {
        "role": args.role,
        "guarantees": {name: {"value": amount} for name, amount in guarantees.items()},
        "limits": {name: {"value": amount} for name, amount in limits.items()},
    }
    ask(args, "UPDATE_QUOTA", force=force, quota_configs=[config])
    return 0
