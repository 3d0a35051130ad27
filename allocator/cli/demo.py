"""`allocator demo`: a small cluster to look at, all of it on this machine."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from allocator.cli.arguments import port
from allocator.cli.asking import ask
from allocator.errors import AllocatorError

if TYPE_CHECKING:
    from allocator.cli.runner import Session

DESCRIPTION = """\
Start a master, three agents whose tasks need nothing, and two frameworks that always have more to
run, and say where to look at them. Ctrl-C stops everything and leaves nothing behind.
"""

EXAMPLES = """\
examples:
  allocator demo
  allocator demo --port 5050

exit status: 0 after Ctrl-C or SIGTERM, 2 if it cannot start
"""

#: Role → its weight; each has a framework of that name.
WEIGHTS: Final = {"batch": 1.0, "web": 2.0}

_AGENTS: Final = ("--count", "3", "--resources", "cpus:8;mem:16384;disk:102400")
_TASK: Final = "cpus:1;mem:1024"
#: How long tasks take, in seconds: they do not all end at once, so each end is a small choice.
_SHORTEST: Final = 4.0
_LONGEST: Final = 12.0

#: How long a process may take to be ready, or to end, in seconds.
_READY_SECONDS: Final = 60.0
_END_SECONDS: Final = 15.0

TEXT: Final = """\
Look at it:  {url}/ui

  Roles       batch has weight 1, web has weight 2. Tasks of 4 to 12 s end all the time, and what
              they leave goes to the role that is further below its fair share: in half a minute
              batch uses a third of the CPUs and web two thirds.
  Frameworks  "Why no offers?" says what keeps one from more, agent by agent.
  Try         {command} weights set batch=2 --master {url}
              and watch the shares settle anew; or
              {command} status --master {url}

Ctrl-C ends the demo.
"""


class DemoFailed(AllocatorError):
    """The demo cannot start."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand and its options."""
    parser = subparsers.add_parser(
        "demo",
        help="start a small cluster on this machine, to look at",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=port, default=0, help="of the master, 0 for a free one (0)")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo until it is told to stop."""
    with tempfile.TemporaryDirectory(prefix="allocator-demo-") as folder:
        return asyncio.run(_run(Path(folder), args.port))


async def _run(folder: Path, master_port: int) -> int:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    stopping = asyncio.create_task(ended.wait())
    running = asyncio.create_task(_cluster(folder, master_port))
    await asyncio.wait({stopping, running}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    return 0


async def _cluster(folder: Path, master_port: int) -> None:
    """Start everything, and run the frameworks until cancelled."""
    given = ("--port", str(master_port), "--cluster", "demo")
    async with (
        _process(folder, "master", *given) as url,
        _process(folder, "agent", "--master", url, "--port", "0", *_null_agents()),
    ):
        await asyncio.to_thread(_set_weights, url)
        print(TEXT.format(url=url, command=command()), flush=True)
        try:
            async with asyncio.TaskGroup() as group:
                for role in WEIGHTS:
                    group.create_task(_session(url, role).run())
        except* AllocatorError as failed:
            raise DemoFailed(str(failed.exceptions[0])) from None


def command() -> str:
    """Return how this command was called: `allocator` where that is found, or where it lies."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return "python -m allocator"
    found = shutil.which(called.name)
    return called.name if found and Path(found).samefile(called) else str(called)


def _null_agents() -> tuple[str, ...]:
    return ("--runtime", "null", "--hostname", "demo", *_AGENTS)


def _set_weights(url: str) -> None:
    infos = [{"role": role, "weight": weight} for role, weight in WEIGHTS.items()]
    args = argparse.Namespace(master=url, credential=None)
    ask(args, "UPDATE_WEIGHTS", weight_infos=infos)


def _session(url: str, role: str) -> Session:
    """Return a framework that goes on for ever."""
    from allocator.cli.asking import read_address
    from allocator.cli.runner import Runner, Session
    from allocator.resources import Resources

    class Endless(Runner):
        def command(self) -> str:
            return f"sleep {random.uniform(_SHORTEST, _LONGEST):.1f}"

    runner = Endless(role, "", Resources(_TASK), sys.maxsize)
    return Session(runner, read_address(url), {}, role, role, lambda n: None)


@contextlib.asynccontextmanager
async def _process(folder: Path, command: str, *arguments: str) -> AsyncIterator[str]:
    """Run a command of `allocator` meanwhile, and yield the URL that it listens on."""
    work_dir = folder / command
    work_dir.mkdir()
    log = work_dir / "log"
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "allocator", command, "--work-dir", str(work_dir)),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,  # Ctrl-C is ours: we end it when its turn has come
        )
    try:
        yield await _ready(process, command, log)
    finally:
        await asyncio.shield(_end(process))


async def _ready(process: Any, command: str, log: Path) -> str:
    """Return the URL that a process listens on; raises `DemoFailed`."""
    try:
        async with asyncio.timeout(_READY_SECONDS):
            line = (await process.stdout.readline()).decode()
    except TimeoutError:
        line = ""
    if not line.startswith("listening on "):
        said = log.read_text().strip().splitlines() or ["it is not ready in time"]
        raise DemoFailed(said[-1].removeprefix(f"allocator {command}: "))
    return str(line.removeprefix("listening on ").strip())


async def _end(process: Any) -> None:
    """Have a process end, and return when it has."""
    _send(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except TimeoutError:
        _send(process, signal.SIGKILL)
        await process.wait()


def _send(process: Any, number: int) -> None:
    """Send a signal, unless the process has ended.

    Not by its own methods: these would collect how it ended, which asyncio waits for.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
