"""Commands that read from pipes and standard input find what they find in files."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from allocator import Allocator, ManualClock
from allocator.audit import AuditLog
from allocator.sim import read_trace
from tests.unit.test_extreme_numbers import FILES, File, read
from tests.unit.test_traces import SWF_HEADER, swf_line

JOBS = [swf_line(job=i, submit=30 * i, user=i % 9, run=60 + i % 7) for i in range(2000)]
TRACE = "".join(f"{line}\n" for line in [*SWF_HEADER, *JOBS]).encode()
MACHINES = "".join(f"1xcpus:{cores};mem:64\n" for cores in range(4, 700)).encode()
MARK = b"\xef\xbb\xbf"


def run(*arguments: object, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "allocator", *map(str, arguments)]
    return subprocess.run(
        command,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        check=False,
        timeout=300,
    )


@contextmanager
def pipe(path: Path, content: bytes) -> Iterator[Path]:
    """Write `content` into a pipe, for whoever opens it first."""
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(content,))
    writer.start()
    yield path
    writer.join()


def simulated(folder: Path, *arguments: object, stdin: bytes | None = None) -> dict[str, Any]:
    """Return what a simulation found, but for the names of its files and its times."""
    out = folder / "out.json"
    done = run("simulate", *arguments, "--horizon", "5m", "--json", out, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, b"")
    found: dict[str, Any] = json.loads(out.read_text("utf-8"))
    asked = found["options"]["scenario"]
    del found["timing"], found["trace"]["name"], found["cluster"]["source"]
    del asked["title"], asked["workload"]["trace"]
    return found


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What comes of the two files."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "trace").write_bytes(TRACE)
    (folder / "machines").write_bytes(MACHINES)
    found = simulated(folder, folder / "trace", "--machines", folder / "machines")
    assert (found["trace"]["jobs"], found["counts"]["submitted"]) == (2000, 11)
    assert found["cluster"]["machines"] == 696
    return found


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_a_simulation_of_two_pipes(packed: bool, expected: dict[str, Any], tmp_path: Path) -> None:
    pack = gzip.compress if packed else bytes
    with (
        pipe(tmp_path / "trace", pack(TRACE)) as trace,
        pipe(tmp_path / "machines", pack(MACHINES)) as machines,
    ):
        assert simulated(tmp_path, trace, "--machines", machines) == expected


def test_a_simulation_of_standard_input(expected: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "trace").write_bytes(TRACE)
    (tmp_path / "machines").write_bytes(gzip.compress(MACHINES))
    options = ["--machines", tmp_path / "machines"]
    assert simulated(tmp_path, "-", *options, stdin=gzip.compress(MARK + TRACE)) == expected
    options = ["--machines", "-"]
    assert simulated(tmp_path, tmp_path / "trace", *options, stdin=MARK + MACHINES) == expected


def test_replay_and_explain_of_pipes(tmp_path: Path) -> None:
    out = io.StringIO()
    engine = AuditLog(Allocator(seed=7, clock=ManualClock()), out)
    for i in range(500):
        engine.add_agent(f"a{i}", "cpus:8;mem:64")
    engine.add_framework("f")
    engine.allocate()
    engine.close()
    log = out.getvalue().encode()
    snapshot = json.dumps(engine.snapshot()).encode()
    for i, content in enumerate((log, gzip.compress(log), MARK + log)):
        with pipe(tmp_path / f"log{i}", content) as path:
            done = run("replay", path)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.endswith(b": 502 calls, 1 cycle, 500 offers came out as logged\n")
    answers = set()
    for i, content in enumerate((snapshot, gzip.compress(snapshot), MARK + snapshot)):
        with pipe(tmp_path / f"snapshot{i}", content) as path:
            answers.add(run("explain", path, "f", "--json").stdout)
        answers.add(run("explain", "-", "f", "--json", stdin=content).stdout)
    assert len(answers) == 1
    assert len(json.loads(answers.pop())["cases"]) == 500


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_a_byte_order_mark_changes_nothing_in_any_format(file: File, tmp_path: Path) -> None:
    content = "".join(f"{line}\n" for line in [*file.before, file.line])
    plain = read(tmp_path, content, file.is_trace)
    assert read(tmp_path, "\ufeff" + content, file.is_trace) == plain


def test_a_byte_order_mark_does_not_hide_the_header(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(MARK + b"; MaxProcs: 8\n" + TRACE)
    trace = read_trace(str(path), lenient=True)
    assert trace.cluster_source == "the header: MaxNodes 3, MaxProcs 8"


@pytest.mark.parametrize("command", ["simulate", "explain", "replay"])
def test_utf16_is_refused_by_name(command: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(TRACE.decode().encode("utf-16"))
    done = run(command, path, *(["f"] if command == "explain" else []))
    assert done.returncode == 2
    assert done.stderr.startswith(f"allocator {command}: {path}:".encode())
    assert b"UTF-16 text: make it UTF-8 first" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_whoever_stops_reading_ends_a_simulation_quietly() -> None:
    command = [sys.executable, "-m", "allocator", "simulate", "--workload", "mesos", "--all-roles"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141
