"""`allocator demo` as people run it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from allocator.cli.demo import WEIGHTS
from tests.service.serving import PATIENCE_SECONDS

#: How near the shares come to the weights: two tasks of 24 are what one choice may be off.
TASKS_OFF = 2


class Demo:
    """A demo in a folder of its own, so that what it leaves behind is seen."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "allocator", "demo", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(folder)},
            text=True,
        )

    def url(self) -> str:
        assert self.popen.stdout is not None
        assert select.select([self.popen.stdout], [], [], PATIENCE_SECONDS)[0]
        line = self.popen.stdout.readline()
        assert line.startswith("Look at it:"), self.popen.communicate()
        return line.split()[-1]

    def stop(self, number: int) -> int:
        self.popen.send_signal(number)
        self.popen.communicate(timeout=PATIENCE_SECONDS)
        return self.popen.returncode

    def kill(self) -> None:
        self.popen.kill()
        self.popen.communicate()


def of_folder(folder: Path) -> list[str]:
    """Return the command lines of processes that have to do with a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in text:
            found.append(text)
    return found


def cpus(url: str) -> dict[str, float]:
    roles = httpx.get(f"{url}/roles").json()["roles"]
    return {role["name"]: role["allocated"]["cpus"] for role in roles}


def has_settled(used: dict[str, float]) -> bool:
    total = sum(used.values())
    fair = {role: total * weight / sum(WEIGHTS.values()) for role, weight in WEIGHTS.items()}
    return total >= 20 and all(abs(used[role] - fair[role]) <= TASKS_OFF for role in WEIGHTS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_settles_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    demo = Demo(tmp_path)
    try:
        page = demo.url()
        assert httpx.get(page).headers["content-type"].startswith("text/html")
        url = page.removesuffix("/ui")
        assert len(of_folder(tmp_path)) == 2  # the master and the agents
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not has_settled(cpus(url)):
            assert time.monotonic() < deadline, cpus(url)
            time.sleep(0.5)
        assert demo.stop(number) == 0
        assert of_folder(tmp_path) == []
        assert list(tmp_path.iterdir()) == []
    finally:
        demo.kill()


def test_demo_says_why_it_cannot_start(tmp_path: Path) -> None:
    first = Demo(tmp_path)
    try:
        port = first.url().rsplit(":", 1)[1].removesuffix("/ui")
        second = Demo(tmp_path, "--port", port)
        _, stderr = second.popen.communicate(timeout=PATIENCE_SECONDS)
        assert second.popen.returncode == 2
        assert stderr.count("\n") == 1
        assert f"127.0.0.1:{port}" in stderr
        assert first.stop(signal.SIGTERM) == 0
    finally:
        first.kill()
    assert of_folder(tmp_path) == []
