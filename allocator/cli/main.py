"""The `allocator` command: its options, its subcommands and its exit status."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from allocator.cli.interrupting import INTERRUPTED
from allocator.errors import AllocatorError
from allocator.version import installed_version

#: Each is a module of this package with `register(subparsers)`, which sets `func`, and
#: `run(args) -> int`, the exit status.
SUBCOMMANDS = (
    *("simulate", "scenario", "compare", "whatif", "sweep", "explain", "replay"),
    *("import", "fit"),
    *("master", "agent", "framework", "credentials", "demo"),
    *("status", "agents", "tasks", "roles", "quota", "weights"),
)

#: What to type for what only the command line needs: import name -> pip's name.
EXTRAS = {
    "rich": "rich",
    "yaml": "drf-allocator[import]",
    "defusedxml": "drf-allocator[import]",
    "distributed": "drf-allocator[dask]",
    "matplotlib": "drf-allocator[lab]",
    "pandas": "drf-allocator[lab]",
    "pyarrow": "drf-allocator[lab]",
    "scipy": "drf-allocator[lab]",
    "httptools": "drf-allocator[master]",
    "httpx": "drf-allocator[master]",
    "kazoo": "drf-allocator[master]",
    "msgspec": "drf-allocator[master]",
    "prometheus_client": "drf-allocator[master]",
    "starlette": "drf-allocator[master]",
    "uvicorn": "drf-allocator[master]",
    "uvloop": "drf-allocator[master]",
}

EXAMPLES = """\
examples:
  allocator simulate --workload mesos
  allocator simulate trace.swf.gz --machines trace.machines --json report.json
  allocator scenario init cluster.toml
  allocator compare --agents 100,1000 --frameworks 10,100
  allocator whatif snapshot.json.gz --set-weight eng=2
  allocator sweep cluster.toml --grid policy.sorter=drf,random --repeat 10 -o out
  allocator explain snapshot.json.gz spark --role eng/batch
  allocator import kubernetes nodes.json pods.json -o lab --snapshot lab.json
  allocator fit lab.json --role eng/batch --task "cpus:4;mem:8192"
  allocator replay run.jsonl
  allocator master --port 5050
  allocator demo
  allocator agent --master http://127.0.0.1:5050
  allocator framework run --command "sleep 1" --count 10
  allocator status
  allocator agents
  allocator tasks --json
  allocator roles
  allocator quota set eng --guarantee "cpus:10;mem:4096"
  allocator weights set eng=2
  allocator credentials ops < secret

exit status:
  0  done
  1  done, and what was checked does not hold
  2  a wrong argument or input: one line on stderr says which, or one for each problem
"""

#: What a shell reports of a command that SIGPIPE ended.
PIPE_CLOSED = 128 + 13


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the command's name; those of the process by default.

    Raises
    ------
    SystemExit
        From argparse, for `--help`, `--version` and wrong arguments.
    """
    if sys.stdout is None:  # closed before the process began
        print("allocator: stdout: Bad file descriptor", file=sys.stderr)
        return 2
    try:
        args = _parsed(argv)
    except BrokenPipeError:
        return _leave_closed_pipe()
    try:
        status: int = args.func(args)
        sys.stdout.flush()
    except BrokenPipeError:
        return _leave_closed_pipe()
    except (AllocatorError, OSError, ModuleNotFoundError) as error:
        # What knows several things that are wrong, with their places, tells them line by line.
        told = getattr(error, "lines", None)
        lines = told or [f"allocator {args.subcommand}: {_one_line(error)}"]
        print("\n".join(lines), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    given = sys.argv[1:] if argv is None else argv
    # Only what is asked for is loaded: an agent has no use for the engine, which `simulate` needs.
    named = [given[0]] if given and given[0] in SUBCOMMANDS else SUBCOMMANDS
    try:
        args, others = build_parser(named).parse_known_args(given)
        if others:
            words = "error: unrecognized arguments"
            print(f"allocator {args.subcommand}: {words}: {' '.join(others)}", file=sys.stderr)
            raise SystemExit(2)
        return args
    finally:
        sys.stdout.flush()  # of help, which nobody may read to its end


class _Parser(argparse.ArgumentParser):
    """One that tells what is wrong in one line, as all else is told; subcommands have it too."""

    def error(self, message: str) -> NoReturn:
        """Say it and end with 2."""
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


def build_parser(names: Sequence[str] = SUBCOMMANDS) -> argparse.ArgumentParser:
    """Return the parser with these subcommands."""
    parser = _Parser(
        prog="allocator",
        description="Share a cluster by Dominant Resource Fairness.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"allocator {installed_version()}")
    subparsers = parser.add_subparsers(dest="subcommand", metavar="COMMAND", required=True)
    for name in names:
        importlib.import_module(f"allocator.cli.{name}").register(subparsers)
    return parser


def _one_line(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        package = EXTRAS.get((error.name or "").partition(".")[0])
        if package is None:
            raise error  # not a missing extra: a defect, which the traceback shows
        return f"needs {package}, which is not installed: python -m pip install {package}"
    if isinstance(error, OSError) and error.strerror is not None:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split("\n"))


def _leave_closed_pipe() -> int:
    """Return quietly: whoever read our output has had enough of it, as `head` has."""
    # The interpreter flushes stdout once more at its end, which must not fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return PIPE_CLOSED
