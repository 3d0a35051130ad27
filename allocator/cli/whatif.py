"""`allocator whatif`: what a change would do to a cluster as it stands, or to a scenario."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from allocator.cli.subject import read_subject
from allocator.engine import Allocator
from allocator.errors import AllocatorError, InvalidValue, cut
from allocator.sim.changes import CHANGES, Change
from allocator.sim.comparison import Comparison, compared
from allocator.sim.scenario import Scenario, ScenarioError
from allocator.sim.whatif import Outlook, RoleOutlook, outlook

DESCRIPTION = """\
Tell what changes of policy or machines would do, before anybody makes them. Of a snapshot: who
would hold what once the cluster is full, without the changes and with them, and what would have to
be given back. Of a scenario: the same work run twice, role by role. The input is never changed.
"""

EPILOG = """\
A snapshot is JSON, written by an engine's owner (json.dump(engine.snapshot(), file)) or by
`allocator import`; a scenario is TOML, or the name of a shipped one. Which it is, is told by
content. Changes are made in the order in which they stand.

examples:
  allocator whatif cluster.json.gz --set-weight eng=2
  allocator whatif cluster.json --set-quota 'eng:guarantee=cpus:10,limit=cpus:40' --json
  allocator whatif cluster.json --remove-agents 3 --add-agents '10x cpus:64;mem:256000'
  allocator whatif quota --sorter hdrf -o out
  ssh master cat cluster.json.gz | allocator whatif - --remove-quota eng

exit status: 0 done; 2 a wrong argument or input: one line on stderr says which
"""

#: Option → what its value is called, and what it says.
_HELP = {
    "set-weight": ("ROLE=WEIGHT", "another weight"),
    "set-quota": ("ROLE:guarantee=AMOUNTS,limit=AMOUNTS", "another quota, as a whole"),
    "remove-quota": ("ROLE", "no guarantee and no limit"),
    "add-agents": ("COUNTxRESOURCES", "more machines: added-0000 and so on"),
    "remove-agents": ("N|ID", "without the last N machines, or without one"),
    "sorter": ("SORTER", "another order of roles and frameworks"),
    "set": ("KEY=VALUE", "another value of any key of a scenario"),
}


class _Add(argparse.Action):
    """Notes a change after those that stand before it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option: str | None = None,
    ) -> None:
        kind = str(option).removeprefix("--")
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), (kind, str(values))])


def register(subparsers: Any) -> None:
    """Add this subcommand's options."""
    parser = subparsers.add_parser(
        "whatif",
        help="tell what a change would do to a cluster as it stands, or to a scenario",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "subject",
        metavar="SNAPSHOT|SCENARIO",
        help="a file, plain or gzip, or a shipped scenario; - is standard input",
    )
    group = parser.add_argument_group("changes")
    for name in CHANGES:
        metavar, help = _HELP[name]
        group.add_argument(
            f"--{name}", dest="changes", action=_Add, default=[], metavar=metavar, help=help
        )
    parser.add_argument(
        *("-o", "--output"),
        metavar="FOLDER",
        help="of a scenario: write both results here, and a report with both in each plot",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar on stderr")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Read the input, try the changes, and print what they do."""
    changes = [_read(kind, text) for kind, text in args.changes]
    subject = read_subject(args.subject)
    if isinstance(subject, Allocator):
        if args.output is not None:
            raise InvalidValue(f"--output {args.output}: reports are of scenarios")
        return _outlook(subject, changes, as_json=args.json)
    return _comparison(subject, changes, args)


def _read(kind: str, text: str) -> Change:
    try:
        return CHANGES[kind].parse(text)
    except AllocatorError as error:
        raise InvalidValue(f"--{kind}: {error}") from None


def _outlook(engine: Allocator, changes: Sequence[Change], *, as_json: bool) -> int:
    found = outlook(engine, changes)
    if as_json:
        print(json.dumps(found.to_json(), indent=2, allow_nan=False))
    else:
        print_outlook(found)
    return 0


def _comparison(scenario: Scenario, changes: Sequence[Change], args: argparse.Namespace) -> int:
    # Here, not above: `allocator --help` works without rich.
    from allocator.cli.console import progress_bar

    with progress_bar("simulating twice", shown=not args.no_progress) as advance:
        done = 0.0

        def progress(part: float, now_s: float) -> None:
            nonlocal done
            advance(part - done)
            done = part

        try:
            found = compared(scenario, changes, progress=progress)
        except ScenarioError as error:
            # The scenario itself was fine: what is wrong with it now is the change.
            raise InvalidValue("; ".join(map(str, error.problems))) from None
    if args.output is not None:
        asked = [f"--{kind} {text}" for kind, text in args.changes]
        found.save(args.output, scenario.title, asked)
    if args.json:
        print(json.dumps(found.to_json(), indent=2, allow_nan=False))
    else:
        print_comparison(scenario.title, found)
    return 0


def print_comparison(title: str, found: Comparison) -> None:
    """Print both runs side by side, as people read them."""
    from allocator.cli.console import print_line, print_table
    from allocator.sim.report.words import span

    shown: dict[str, tuple[str, Callable[[float], str]]] = {
        "share": ("share", "{:.2%}".format),
        "wait_p50_s": ("wait p50", span),
        "wait_p95_s": ("wait p95", span),
        "tasks": ("tasks started", "{:,}".format),
        "quota_met": ("guarantee met", "{:.1%}".format),
    }
    print_line(f"{title}: without the changes → with them")
    rows = [
        (cut(path), *(_change(show, one[name], other[name]) for name, (_, show) in shown.items()))
        for path, (one, other) in found.roles().items()
    ]
    print_table("Roles", ("role", *(head for head, _ in shown.values())), rows)
    before, after = found.before, found.after
    print_line()
    for what, show, one, other in (
        ("jobs finished", "{:,}".format, before.counts.finished, after.counts.finished),
        ("jobs waiting at the end", "{:,}".format, before.counts.waiting, after.counts.waiting),
        ("end of the run", span, before.end_s, after.end_s),
    ):
        print_line(f"{what}: {_change(show, one, other)}")


def _change(show: Callable[[float], str], before: float | None, after: float | None) -> str:
    one, other = ("-" if value is None else show(value) for value in (before, after))
    return one if one == other else f"{one} → {other}"


def print_outlook(found: Outlook) -> None:
    """Print tables as people read them."""
    # Here, not above: `allocator --help` works without rich.
    from allocator.cli.console import print_line, print_table

    before, after = found.n_agents
    agents = f"{before:,}" if before == after else f"{before:,}, then {after:,}"
    print_line(f"agents: {agents}; shares are parts of all machines, of the dominant resource")
    rows = [_line(path, role) for path, role in found.roles.items()]
    header = ("role", "weight", "now", "full", "full, changed", "difference", "more, or less")
    print_table("Who would hold what", header, rows)
    preempted = [(path, role) for path, role in found.roles.items() if role.preempted]
    if preempted:
        held = [(cut(path), _amounts(role.preempted)) for path, role in preempted]
        title = "Held now beyond what all given back and shared out anew would bring"
        print_table(title, ("role", "to give back"), held, left=2)


def _line(path: str, role: RoleOutlook) -> tuple[str, ...]:
    change = role.to_json()["difference"]
    share = change.pop("share")
    return (
        cut(path),
        f"{role.weight:g}",
        *(f"{held.share:.2%}" for held in (role.now, role.before, role.after)),
        f"{share:+.2%}" if share else "-",
        _amounts({name: amount for name, amount in change.items() if amount}, sign="+") or "-",
    )


def _amounts(amounts: Mapping[str, float], sign: str = "") -> str:
    return ";".join(f"{name}:{amount:{sign},.10g}" for name, amount in amounts.items())
