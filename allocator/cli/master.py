"""`allocator master`: the engine as a service, over HTTP."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allocator.cli.arguments import count, duration, duration_or_zero, port
from allocator.errors import InvalidValue

if TYPE_CHECKING:
    from allocator.master.process import Settings

DESCRIPTION = """\
Offer the resources of agents to frameworks over HTTP, in the dialect of Mesos' v1 scheduler and
operator APIs. Writes `listening on http://HOST:PORT` to stdout when it is ready, and its log, one
JSON object a line, to stderr. SIGTERM and SIGINT stop it; tasks go on running on their agents.
"""

EXAMPLES = """\
examples:
  allocator master
  allocator master --port 0 --work-dir /var/lib/allocator/master
  allocator master --ip 10.0.0.1 --credentials credentials.json --acls acls.json \\
      --tls-cert cert.pem --tls-key key.pem

then:
  allocator agent --master http://127.0.0.1:5050
  curl http://127.0.0.1:5050/state

exit status: 0 after SIGTERM or SIGINT, 2 if it cannot start (one line on stderr says why)
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand and its options."""
    parser = subparsers.add_parser(
        "master",
        help="offer agents' resources to frameworks, over HTTP",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_address(parser)
    _add_times(parser)
    _add_access(parser)
    parser.set_defaults(func=run)


def _add_address(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--ip", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    add("--port", type=port, default=5050, help="port to listen on, 0 for a free one (5050)")
    add("--hostname", metavar="NAME", help="what others call this machine (the ip)")
    add("--cluster", metavar="NAME", help="what the cluster is called")
    add(
        "--work-dir",
        type=Path,
        default=Path("allocator-master"),
        metavar="DIR",
        help="where the registry lies (./allocator-master)",
    )
    add("--registry", type=Path, metavar="FILE", help="the registry (registry.sqlite in DIR)")
    add(
        "--ha",
        metavar="zk://HOST:PORT,…/PATH",
        help="be one of several masters, of which one leads; they share the registry",
    )


def _add_times(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("times, in seconds")
    for name, default, text in (
        ("heartbeat-interval", 15.0, "between heartbeats to frameworks"),
        ("allocation-interval", 1.0, "between cycles over all agents"),
        ("agent-ping-timeout", 15.0, "between pings to agents"),
        ("agent-reregister-timeout", 600.0, "for known agents to come back after a restart"),
        ("recovery-timeout", 600.0, "until offers are made after a restart at the latest"),
        ("ha-session-timeout", 10.0, "until a silent master counts as dead, with --ha"),
        ("header-timeout", 10.0, "for the head of a request, and between pieces of its body"),
        ("idle-timeout", 75.0, "until a connection without requests is closed"),
    ):
        group.add_argument(
            f"--{name}",
            type=duration,
            default=default,
            metavar="S",
            help=f"{text} ({default:g})",
        )
    group.add_argument(
        "--offer-timeout",
        type=duration_or_zero,
        default=0.0,
        metavar="S",
        help="until an open offer is taken back, 0 for never (0)",
    )
    group.add_argument(
        "--max-agent-ping-timeouts",
        type=count,
        default=5,
        metavar="N",
        help="pings in a row that an agent may miss (5)",
    )


def _add_access(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("access")
    add = group.add_argument
    add("--credentials", type=Path, metavar="FILE", help="who is let in (anybody, on loopback)")
    add("--acls", type=Path, metavar="FILE", help="who may do what")
    add("--tls-cert", type=Path, metavar="FILE", help="certificate, to serve https")
    add("--tls-key", type=Path, metavar="FILE", help="the key of the certificate")
    add(
        "--max-streams",
        type=count,
        default=10_000,
        metavar="N",
        help="streams that may be open at once (10000)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the master until it is told to stop."""
    from allocator.master import process  # needs the extra `master`

    return process.run(settings(args))


def settings(args: argparse.Namespace) -> Settings:
    """Return what the arguments say."""
    from allocator.master.master import Options
    from allocator.master.process import Settings

    given: dict[str, Any] = vars(args)
    options = Options(**{name: given[name] for name in Options._fields})
    names = [name for name in Settings._fields if name != "options"]
    if args.registry is not None and args.registry.is_dir():
        raise InvalidValue(f"--registry {args.registry}: is a folder, not a file")
    return Settings(options=options, **{name: given[name] for name in names})
