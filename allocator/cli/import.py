"""`allocator import`: dumps of a cluster as what the lab runs on."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from allocator.errors import InvalidValue, cut
from allocator.sim.importers import SYSTEMS, Imported, read
from allocator.sim.importers.options import PLUGINS
from allocator.sim.importers.policy import ENTITLEMENTS

DESCRIPTION = """\
Read the dumps of a cluster, as its own tools write them, offline and without credentials: machines,
queues, running and waiting work. What the source says and the lab does not model is counted and
told. Files and folders stand in any order and are told apart by content; - is standard input.
"""

EPILOG = """\
examples:
  kubectl get nodes,pods,resourcequotas -A -o json | allocator import kubernetes - -o lab
  allocator import kubernetes nodes.json pods.json queues.yaml -o lab --snapshot lab.json
  allocator import slurm nodes.txt jobs.txt shares.txt --entitlements none
  allocator import yarn capacity-scheduler.xml --cluster '40x cpus:64;mem:256000' --json
  allocator import mesos state.json -o lab && allocator simulate lab/scenario.toml

exit status: 0 done; 2 a wrong argument or dump: one line on stderr says where, nothing is written
"""

#: So many rows of a table are printed.
SHOWN = 40


def register(subparsers: Any) -> None:
    """Add this subcommand's options."""
    parser = subparsers.add_parser(
        "import",
        help="read the dumps of a cluster: Kubernetes, Slurm, YARN, Mesos",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    systems = "; ".join(f"{name}: {system.help}" for name, system in SYSTEMS.items())
    parser.add_argument("system", metavar="SYSTEM", choices=tuple(SYSTEMS), help=systems)
    parser.add_argument("files", metavar="FILE", nargs="+", help="a file or a folder; - is stdin")
    _add_output(parser)
    parser.add_argument(
        "--strict",
        action="store_true",
        help="make errors of what is not modelled and of files that are not understood",
    )
    parser.add_argument(
        "--entitlements",
        choices=ENTITLEMENTS,
        default="weight",
        help="what becomes of entitlements that are lent while idle (weight)",
    )
    parser.add_argument(
        "--cluster",
        metavar="SCENARIO",
        help="whose machines are taken where the files have none: a scenario, or a group of them",
    )
    _add_own(parser)
    parser.set_defaults(func=run)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", help="write scenario.toml and cluster.json there"
    )
    parser.add_argument("--force", action="store_true", help="overwrite another scenario.toml")
    parser.add_argument(
        "--snapshot", metavar="FILE", help="write a snapshot for explain, whatif and fit"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def _add_own(parser: argparse.ArgumentParser) -> None:
    """Add the options that only some systems know."""
    group = parser.add_argument_group("of one system")
    group.add_argument(
        "--role-label", metavar="KEY", help="kubernetes: a label whose value is a pod's role"
    )
    group.add_argument(
        "--daemons-role",
        metavar="ROLE",
        help="kubernetes: the role of pods of DaemonSets and static pods (as other pods)",
    )
    group.add_argument(
        "--split-flavors", action="store_true", help="kubernetes: Kueue's flavors kept apart"
    )
    group.add_argument("--plugin", choices=PLUGINS, help="kubernetes: which of Volcano's rules")
    group.add_argument(
        "--partition", metavar="NAME", help="kubernetes: YuniKorn's (default); slurm: only this one"
    )
    group.add_argument(
        "--user-limits", action="store_true", help="yarn: user-limit-factor as limits of users"
    )
    group.add_argument(
        "--frameworks", metavar="NAME=ROLE,…", help="mesos: roles that a dump does not say"
    )
    group.add_argument(
        "--taken",
        metavar="TIME",
        help="mesos: when the dump was taken, for planned maintenance (the latest time in it)",
    )


def run(args: argparse.Namespace) -> int:
    """Read, write what is asked for, and print the rest."""
    own = (
        *("role_label", "daemons_role", "split_flavors", "plugin", "partition"),
        *("user_limits", "frameworks", "taken"),
    )
    found = read(
        args.system,
        args.files,
        entitlements=args.entitlements,
        cluster=args.cluster,
        strict=args.strict,
        **{name: getattr(args, name) for name in own},
    )
    _write(found, args)
    if args.json:
        print(json.dumps(found.to_json(), indent=2, allow_nan=False))
    else:
        print_import(found, args)
    return 0


def _write(found: Imported, args: argparse.Namespace) -> None:
    """Write the files, all or none."""
    from allocator.sim.importers.writing import (
        check_folder,
        folder_for,
        write_files,
        write_snapshot,
    )

    if args.output is not None:
        check_folder(found, args.output, force=args.force)
    if args.snapshot == "-":
        raise InvalidValue("--snapshot -: name a file")
    # what is wrong with a snapshot shows before a folder is made, in which it may be written
    snapshot = None if args.snapshot is None else found.snapshot()
    with folder_for(args.output):
        if snapshot is not None:
            write_snapshot(snapshot, args.snapshot)
        if args.output is not None:
            write_files(found, args.output)


def print_import(found: Imported, args: argparse.Namespace) -> None:
    """Print tables as people read them."""
    # Here, not above: `allocator --help` works without rich.
    from allocator.cli.console import print_line, print_table

    value = found.to_json()
    machines = value["machines"]
    print_line(
        f"{found.system}: {machines['count']:,} machines, {machines['unusable']:,} of which take"
        f" nothing new; in all {_amounts(value['total'])}"
    )
    roles = [
        (
            cut(path),
            f"{role['weight']:g}",
            _amounts(role["entitlement"]),
            _amounts(role["guarantee"]),
            _amounts(role["limit"]),
        )
        for path, role in value["roles"].items()
    ]
    header = ("role", "weight", "entitlement", "guarantee", "limit")
    if roles:
        title = f"Roles (entitlements: {args.entitlements})"
        print_table(title, header, _cut(roles), left=1)
    for title, key in (("Running", "running"), ("Waiting", "waiting")):
        rows = [
            (cut(name), f"{held['tasks']:,}", _amounts(held)) for name, held in value[key].items()
        ]
        if rows:
            print_table(title, ("who", "tasks", "amounts"), _cut(rows), left=1)
    told = [
        (one["kind"], f"{one['count']:,}", cut(one["text"]), cut(", ".join(one["objects"])))
        for one in value["told"]
    ]
    if told:
        print_table("What is told", ("kind", "count", "what", "of"), told, left=4)
    _print_written(args)


def _print_written(args: argparse.Namespace) -> None:
    from allocator.cli.console import print_line

    print_line()
    if args.output is not None:
        print_line(
            f"{args.output}: written; `allocator simulate {args.output}/scenario.toml` runs it"
        )
    if args.snapshot is not None:
        print_line(f"{args.snapshot}: written, for explain, whatif and fit")


def _amounts(amounts: Mapping[str, Any]) -> str:
    extra = ("tasks", "tasks_without_requests")
    return ";".join(f"{name}:{x:,}" for name, x in amounts.items() if name not in extra) or "-"


def _cut(rows: Sequence[tuple[str, ...]]) -> Sequence[tuple[str, ...]]:
    if len(rows) <= SHOWN:
        return rows
    hidden = (f"… and {len(rows) - SHOWN:,} more", *("" for _ in rows[0][1:]))
    return [*rows[:SHOWN], hidden]
