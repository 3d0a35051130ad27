"""The rule that mounts are looked up once, by what the kernel is asked."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from allocator.agent.containers.cgroups import Cgroups
from tests.agent.machine import PATIENCE_SECONDS, remove_roots, root_name, skip_without
from tests.service.serving import Json

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


def call(client: httpx.Client, type: str, id: str, **more: object) -> None:
    content: Json = {"container_id": {"value": id}, **more}
    r = client.post("/api/v1", json={"type": type, type.lower(): content})
    assert r.status_code == 200, r.text


def launch(client: httpx.Client, id: str) -> None:
    limited = {"resources": "cpus:0.1;mem:32"}
    call(client, "LAUNCH_CONTAINER", id, command={"value": "sleep 1000"}, **limited)


def read(client: httpx.Client, n: int) -> None:
    rows = client.get("/containers").json()
    assert len([row for row in rows if row["statistics"]["processes"] > 1]) == n


def test_neither_a_launch_nor_a_reading_looks_at_mounts(
    found: Cgroups | str, tmp_path: Path
) -> None:
    hierarchies = skip_without(found).hierarchies
    for program in ("strace", "unshare"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    (tmp_path / "mounts").mkdir()
    kind = ("--runtime", "linux", "--cgroups-root", root_name(), "--work-dir", str(tmp_path / "w"))
    agent = [sys.executable, "-m", "allocator", "agent", "--standalone", "--port", "0", *kind]
    apart = ["unshare", "-m", "--propagation", "private", "sh", "-c", WITH_MOUNTS, "sh"]
    calls, log = tmp_path / "calls", tmp_path / "log"
    with (
        log.open("w") as err,
        subprocess.Popen(
            [*apart, str(tmp_path / "mounts"), *agent],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as traced,
    ):
        assert traced.stdout is not None
        url = traced.stdout.readline().split()[-1]
        assert Path(f"/proc/{traced.pid}/mountinfo").read_text().count("\n") > N_MOUNTS
        children = Path(f"/proc/{traced.pid}/task/{traced.pid}/children").read_text()
        pids = [str(traced.pid), *children.split()]
        assert len(pids) == 2  # and the launcher
        follow = [word for pid in pids for word in ("-p", pid)]
        command = ["strace", "-f", "-e", f"trace={CALLS}", "-o", str(calls), *follow]
        with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS) as client:
            launch(client, "before")
            read(client, 1)
            with subprocess.Popen(command, stderr=err) as strace:
                wait_for(log, *pids)
                for number in range(4):
                    launch(client, f"c{number}")
                    read(client, number + 2)
                call(client, "KILL_CONTAINER", "c0")
                call(client, "WAIT_CONTAINER", "c0")
                read(client, 4)
                strace.terminate()
        traced.send_signal(signal.SIGUSR1)
        assert traced.wait(PATIENCE_SECONDS) == 0
    remove_roots()
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
