"""Output that is kept short, and disk that is counted against what was asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from allocator.agent.containers.cgroups import Cgroups
from allocator.agent.watch import rotate, used_bytes
from tests.agent.machine import remove_roots, root_name, skip_without
from tests.agent.test_standalone import Agent


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_output_is_moved_in_pieces_of_the_size(tmp_path: Path) -> None:
    text = b"x" * 11 + b"y" * 11 + b"z" * 11
    with (tmp_path / "stdout").open("ab", buffering=0) as writer:
        writer.write(b"0123456789")
        rotate(tmp_path, "stdout", 10, 3)
        assert read(tmp_path) == {"stdout": b"0123456789"}  # not over it
        writer.write(b"abc")
        rotate(tmp_path, "stdout", 10, 3)
        assert read(tmp_path) == {"stdout": b"", "stdout.2": b"0123456789", "stdout.1": b"abc"}
        writer.write(text)
        rotate(tmp_path, "stdout", 10, 3)
        writer.write(b"goes on")
    found = read(tmp_path)
    assert found.pop("stdout") == b"goes on"
    assert sorted(found) == ["stdout.1", "stdout.2", "stdout.3"]
    assert b"".join(found[f"stdout.{n}"] for n in (3, 2, 1)) == text[3:]


def test_none_are_kept(tmp_path: Path) -> None:
    (tmp_path / "stdout").write_bytes(b"0123456789")
    rotate(tmp_path, "stdout", 5, 0)
    assert read(tmp_path) == {"stdout": b""}


def test_what_is_not_the_tasks_own_is_left_alone(tmp_path: Path) -> None:
    sandbox = tmp_path / "sandbox"
    sandbox.mkdir()
    (tmp_path / "precious").write_bytes(b"x" * 100)
    (sandbox / "stdout").symlink_to("../precious")
    os.link(tmp_path / "precious", sandbox / "stderr")
    os.mkfifo(sandbox / "fifo")
    for name in ("stdout", "stderr", "fifo"):
        rotate(sandbox, name, 10, 3)
    assert (tmp_path / "precious").stat().st_size == 100
    assert len(list(sandbox.iterdir())) == 3


def test_what_is_put_there_meanwhile_is_not_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task may have its output be a second name of a file that is not its own, at any time."""
    sandbox = tmp_path / "sandbox"
    sandbox.mkdir()
    (tmp_path / "precious").write_bytes(b"x" * 100)
    (sandbox / "stdout").write_bytes(b"x" * 100)
    look = os.stat

    def swap(name: str, *, dir_fd: int, follow_symlinks: bool) -> os.stat_result:
        found = look(name, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        (sandbox / name).unlink()
        os.link(tmp_path / "precious", sandbox / name)
        return found

    with monkeypatch.context() as patched:
        patched.setattr("os.stat", swap)
        rotate(sandbox, "stdout", 10, 3)
    assert (tmp_path / "precious").stat().st_size == 100
    assert [path.name for path in sandbox.iterdir()] == ["stdout"]


def test_disk_is_counted_once_and_without_what_links_lead_to(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(2**20))
    before = used_bytes(tmp_path)
    assert 2**20 <= before < 2**20 + 2**16
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "c").symlink_to("/usr")
    assert used_bytes(tmp_path) - before < 2**16


@pytest.fixture(params=["process", "linux"])
def agent(request: pytest.FixtureRequest, tmp_path: Path, found: Cgroups | str) -> Iterator[Agent]:
    kind = ("--runtime", request.param)
    if request.param == "linux":
        skip_without(found)
        kind += ("--cgroups-root", root_name())
    watching = ("--container-disk-watch-interval", "0.1", "--log-size", "1000", "--log_keep", "2")
    with Agent(tmp_path, *kind, *watching) as process:
        yield process
        process.close()
    if request.param == "linux":
        remove_roots()


def test_a_container_that_fills_the_disk_is_ended(agent: Agent) -> None:
    fill = "head -c 3000000 /dev/urandom > file; sleep 99"
    assert agent.launch("fills", fill, resources="disk:1").status_code == 200
    assert agent.launch("may", fill, resources="disk:99").status_code == 200
    end = agent.wait("fills")
    assert (end["state"], end["exit_status"]) == ("TASK_FAILED", 9)
    assert end["reason"] == "REASON_CONTAINER_LIMITATION_DISK"
    (limited,) = end["limitation"]["resources"]
    assert (limited["name"], limited["scalar"]) == ("disk", {"value": 1})
    while True:
        (row,) = agent.containers()
        if row["statistics"]["disk_used_bytes"] >= 3_000_000:
            break
    assert row["statistics"]["disk_limit_bytes"] == 99 * 2**20


def test_output_of_a_container_is_kept_short(agent: Agent) -> None:
    shell = "while ! test -e stdout.2; do echo 0123456789; sleep 0.005; done; echo last"
    agent.launch("talks", shell)
    assert agent.wait("talks")["exit_status"] == 0
    folder = agent.work / "containers" / "talks"
    found = {path.name: path.stat().st_size for path in folder.glob("stdout*")}
    assert {"stdout.1", "stdout.2"} <= found.keys() <= {"stdout", "stdout.1", "stdout.2"}
    assert all(size <= 1000 for name, size in found.items() if name != "stdout")
    text = "".join((folder / name).read_text() for name in sorted(found, reverse=True))
    assert text.endswith("last\n")
