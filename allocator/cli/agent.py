"""`allocator agent`: a machine's resources offered through a master, and the tasks it runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from allocator.cli.arguments import count, duration, duration_or_zero, port
from allocator.errors import InvalidValue, shown

if TYPE_CHECKING:
    from allocator.agent.start import Settings

DESCRIPTION = """\
usage: allocator agent (--master URL | --standalone) [OPTION ...]

Offer this machine's resources through a master, run the tasks that frameworks launch, and report on
them. Writes `listening on http://IP:PORT` to stdout when it is ready, and its log, one JSON object
a line, to stderr. SIGTERM and SIGINT stop it and leave its tasks: the next agent on its work
dir finds them, and how they ended. SIGUSR1 unregisters it and ends them.
"""

RUNTIMES = ("process", "linux", "oci", "null")

EXAMPLES = """\
examples:
  allocator agent --master http://127.0.0.1:5050
  allocator agent --master zk://zk1:2181,zk2:2181/allocator --attributes "rack:a;size:4"
  allocator agent --master http://127.0.0.1:5050 --resources "cpus:4;mem:8192;ports:[31000-32000]"
  allocator agent --standalone --runtime process --port 0
  allocator agent --master http://127.0.0.1:5050 --runtime null --count 1000 --port 0

`--runtime process` runs tasks as plain processes. `--runtime linux`, which needs root and cgroups
(v1, v2 or both), holds each to its cpus, mem and number of processes, in namespaces of its own.
`--runtime oci` does so, too, and has crun or runc run those that name a bundle or a rootfs.
`--runtime null` makes one process that is N agents, NAME-0 to NAME-(N-1), whose tasks need nothing:
the command `true` finishes at once, `sleep S` after S seconds, any other runs until it is killed.

exit status: 0 after a signal, 2 if it cannot start (one line on stderr says why)
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand and its options."""
    parser = subparsers.add_parser(
        "agent",
        help="offer a machine's resources, and run tasks",
        usage=argparse.SUPPRESS,  # it stands in the description: an error is one line
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    either = parser.add_mutually_exclusive_group(required=True)
    either.add_argument("--master", metavar="URL", help="http://HOST:PORT or zk://HOST:PORT,…/PATH")
    either.add_argument(
        "--standalone", action="store_true", help="without a master: run what is launched at it"
    )
    add("--runtime", choices=RUNTIMES, help="what tasks run in (linux for root, else process)")
    add(
        "--count",
        dest="n_agents",
        type=count,
        default=1,
        metavar="N",
        help="of agents, with the null runtime (1)",
    )
    add("--resources", metavar="TEXT", help='such as "cpus:4;mem:8192"; others are detected')
    add("--attributes", metavar="TEXT", help='such as "rack:a;size:4"')
    add("--hostname", metavar="NAME", help="what others call this machine (its name)")
    add("--ip", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    add("--port", type=port, default=5051, help="port to listen on, 0 for a free one (5051)")
    add("--work-dir", type=Path, metavar="DIR", help="where ids, notes and sandboxes lie")
    add(
        "--executor-environment",
        type=environment,
        default={},
        metavar="JSON",
        help='variables that all tasks have, such as {"LANG":"C"}',
    )
    add(
        "--gc-delay",
        type=duration_or_zero,
        default=604800.0,
        metavar="S",
        help="until the sandbox of a task that ended is removed, in seconds (604800: a week)",
    )
    add(
        "--executor-registration-timeout",
        type=duration,
        default=60.0,
        metavar="S",
        help="for an executor to subscribe after it was started, in seconds (60)",
    )
    add(
        "--recovery-timeout",
        type=duration,
        default=900.0,
        metavar="S",
        help="for an executor to come back after the agent was away, in seconds (900)",
    )
    _add_sandboxes(parser.add_argument_group("sandboxes").add_argument)
    _add_limits(parser.add_argument_group("containers (--runtime linux or oci)").add_argument)
    _add_oci(parser.add_argument_group("images (--runtime oci)").add_argument)
    group = parser.add_argument_group("access")
    group.add_argument("--credential", type=Path, metavar="FILE", help="its own, to the master")
    group.add_argument("--credentials", type=Path, metavar="FILE", help="who is let in")
    group.add_argument("--acls", type=Path, metavar="FILE", help="who may do what")
    group.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate, to serve https")
    group.add_argument("--tls-key", type=Path, metavar="FILE", help="the key of the certificate")
    _accept_underscores(parser)
    parser.set_defaults(func=run)


def _add_sandboxes(add: Callable[..., argparse.Action]) -> None:
    add(
        "--container-disk-watch-interval",
        type=duration,
        default=15.0,
        metavar="S",
        help="between looks at what they have on the disk, in seconds (15)",
    )
    add(
        "--enforce-container-disk-quota",
        action=Switch,
        default=True,
        help="end what has more on the disk than it asked for",
    )
    add(
        "--log-size",
        type=count,
        default=10 * 2**20,
        metavar="BYTES",
        help="of stdout and stderr, from which on they are moved to stdout.1 … (10485760)",
    )
    add(
        "--log-keep",
        type=count_or_zero,
        default=9,
        metavar="N",
        help="how many of the moved ones are kept (9)",
    )
    add(
        "--fetch-limit",
        type=count,
        default=2**32,
        metavar="BYTES",
        help="of what uris bring and unpack for a task that asks for no disk (4294967296)",
    )


def _add_limits(add: Callable[..., argparse.Action]) -> None:
    add("--cgroups-root", default="allocator", metavar="NAME", help="where theirs are (allocator)")
    add(
        "--cgroups-hierarchy",
        type=Path,
        default=Path("/sys/fs/cgroup"),
        metavar="DIR",
        help="below which cgroups are mounted (/sys/fs/cgroup)",
    )
    add(
        "--pids-limit",
        type=count,
        default=1024,
        metavar="N",
        help="of processes and threads, where a task does not say otherwise (1024)",
    )
    add(
        "--cgroups-enable-cfs",
        action=Switch,
        default=True,
        help="have a task use no more than its cpus when others are idle",
    )
    add("--cgroups-limit-swap", action="store_true", help="have mem limit memory and swap together")


def _add_oci(add: Callable[..., argparse.Action]) -> None:
    add("--oci-runtime", metavar="PATH", help="what runs them (the first of crun, runc that works)")
    add(
        "--oci-root",
        dest="oci_roots",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="below which bundles and rootfs may be; may be given several times",
    )


class Switch(argparse.BooleanOptionalAction):
    """`--name` and `--no-name`, however they are spelled."""

    def __call__(  # noqa: D102 -- argparse's
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        assert option_string is not None
        setattr(namespace, self.dest, not option_string.startswith("--no-"))


def _accept_underscores(parser: argparse.ArgumentParser) -> None:
    """Take options as Mesos spells them, too (`--work_dir`), without a word in the help."""
    for text, action in list(parser._option_string_actions.items()):
        no, name = ("--no-", text[5:]) if text.startswith("--no-") else ("--", text[2:])
        parser._option_string_actions[no + name.replace("-", "_")] = action


def count_or_zero(text: str) -> int:
    """Return a number of things, 0 included; raises `ArgumentTypeError`."""
    return 0 if text.strip() == "0" else count(text)


def environment(text: str) -> dict[str, str]:
    """Return variables by name; raises `ArgumentTypeError`."""
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, dict) or not all(
        name and "=" not in name and isinstance(value, str) and "\0" not in name + value
        for name, value in given.items()
    ):
        raise argparse.ArgumentTypeError(f'{shown(text)} is no JSON object such as {{"LANG":"C"}}')
    return given


def run(args: argparse.Namespace) -> int:
    """Run the agent until it is told to stop."""
    from allocator.agent import start  # needs the extra `master`

    return start.run(settings(args))


def settings(args: argparse.Namespace) -> Settings:
    """Return what the arguments say."""
    from allocator.agent.start import Settings

    if args.n_agents > 1 and args.runtime != "null":
        raise InvalidValue(f"--count {args.n_agents}: only with --runtime null")
    given = {name: getattr(args, name) for name in Settings._fields if name != "flags"}
    given["oci_roots"] = [path.absolute() for path in given["oci_roots"]]
    return Settings(**given, flags=flags(given))


def flags(given: Mapping[str, object]) -> dict[str, str]:
    """Return what is shown of options, as they would be given: without those that say nothing.

    Examples
    --------
    >>> flags({"n_agents": 2, "cgroups_enable_cfs": True, "gc_delay": 60.0, "acls": None})
    {'count': '2', 'cgroups_enable_cfs': 'true', 'gc_delay': '60'}
    """
    named = {"n_agents": "count", "oci_roots": "oci_root"}
    texts = {named.get(name, name): _text(value) for name, value in given.items()}
    return {name: text for name, text in texts.items() if text}


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.15g}"
        case list():
            return ":".join(map(str, value))
        case dict():
            return json.dumps(value) if value else ""
        case _:
            return str(value)
