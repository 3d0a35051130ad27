"""The rule that mounts are looked up once, by what the kernel is asked."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from allocator.agent.containers.cgroups import Cgroups
from tests.agent.machine import PATIENCE_SECONDS, root_name, skip_without

ROOT = Path(__file__).parents[2]
N_MOUNTS = 300

#: In a mount namespace of its own, with many more mounts.
WITH_MOUNTS = f"""
for i in $(seq {N_MOUNTS}); do mkdir "$1/$i" && mount --bind /etc "$1/$i" || exit 1; done
shift; exec "$@"
"""
CALLS = "openat,open,readlink,readlinkat,statfs,fstatfs,?statmount,?listmount,stat,newfstatat,lstat"


def wait_for(log: Path, *pids: str) -> None:
    """Wait until strace says that it follows some processes."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not all(re.search(rf"Process {pid} attached", log.read_text()) for pid in pids):
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.01)


def test_neither_a_launch_nor_a_reading_looks_at_mounts(
    found: Cgroups | str, tmp_path: Path
) -> None:
    hierarchies = skip_without(found).hierarchies
    for program in ("strace", "unshare"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    (tmp_path / "mounts").mkdir()
    driver = [sys.executable, "-m", "tests.agent.driver", "trace", str(tmp_path), root_name()]
    apart = ["unshare", "-m", "--propagation", "private", "sh", "-c", WITH_MOUNTS, "sh"]
    calls, log = tmp_path / "calls", tmp_path / "log"
    with (
        log.open("w") as err,
        subprocess.Popen(
            [*apart, str(tmp_path / "mounts"), *driver],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as traced,
    ):
        assert traced.stdin is not None
        assert traced.stdout is not None
        _, *pids = traced.stdout.readline().split()
        assert Path(f"/proc/{pids[0]}/mountinfo").read_text().count("\n") > N_MOUNTS
        follow = [word for pid in pids for word in ("-p", pid)]
        command = ["strace", "-f", "-e", f"trace={CALLS}", "-o", str(calls), *follow]
        with subprocess.Popen(command, stderr=err) as strace:
            wait_for(log, *pids)
            print("go", file=traced.stdin, flush=True)
            assert traced.stdout.readline() == "done\n"
            strace.terminate()
        print("end", file=traced.stdin, flush=True)
        assert traced.wait(PATIENCE_SECONDS) == 0
    made = calls.read_text()
    assert "cgroup.procs" in made  # it did follow
    assert not re.findall(r".*(?:mountinfo|/mounts|mountstats).*", made)
    # The C library of a program that starts asks for the program's name.
    links = re.findall(r'readlink(?:at)?\((?:AT_FDCWD, )?"([^"]*)"', made)
    assert set(links) <= {"/proc/self/exe"}
    assert not re.findall(r".*(?:statfs|statmount|listmount).*", made)
    # Below the hierarchies all names are relative to folders that are open.
    absolute = [str(each.path) for each in hierarchies]
    assert not [line for line in made.splitlines() if any(path in line for path in absolute)]
    opened = re.findall(r'openat\(\d+, "(c\d/[^"]*)"', made)
    for id in ("c1", "c2", "c3"):
        for file in ("memory.stat", "cpu.stat"):
            assert opened.count(f"{id}/{file}") == 1  # read four times or more
    assert 'before/memory.stat"' not in made
