"""`command.uris`: what is copied and unpacked, whose rights that takes, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import signal
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from allocator.agent.containers.cgroups import Cgroups
from allocator.agent.fetching import Bound, Fetch, Uri, read_uris
from allocator.agent.sandboxes import LaunchFailed, Owner
from allocator.agent.watch import used_bytes
from tests.agent.machine import remove_roots, root_name, skip_without
from tests.agent.test_standalone import Agent

NOBODY = Owner(65534, 65534, (65534,))


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    folder = tmp_path / "sandbox"
    folder.mkdir()
    return folder


def fetch(sandbox: Path, *uris: Uri, owner: Owner | None = None, n_bytes: int = 2**20) -> set[str]:
    """Fetch, and return what is there then."""
    Fetch(list(uris), sandbox, owner, Bound(n_bytes, "as was asked for")).run()
    return {path.relative_to(sandbox).as_posix() for path in sandbox.rglob("*")}


def tar_of(path: Path, *members: tarfile.TarInfo) -> Uri:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            content = member.name.encode() if member.isreg() else b""
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return Uri(value=str(path))


def member(name: str, kind: bytes = tarfile.REGTYPE, linkname: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, linkname, 0o755
    return info


def test_copies(tmp_path: Path, sandbox: Path) -> None:
    source = tmp_path / "run.sh"
    source.write_text("echo hello\n")
    source.chmod(0o666)
    uris = [
        Uri(value=str(source)),
        Uri(value=f"file://{source}", executable=True, output_file="bin/run"),
        Uri(value=f"file://localhost{source}", output_file="run.sh"),
    ]
    assert fetch(sandbox, *uris) == {"run.sh", "bin", "bin/run"}
    assert (sandbox / "bin/run").read_text() == "echo hello\n"
    modes = [stat.S_IMODE((sandbox / name).stat().st_mode) for name in ("run.sh", "bin/run")]
    assert modes == [0o644, 0o755]


def test_unpacks_what_the_name_tells(tmp_path: Path, sandbox: Path) -> None:
    tar = tar_of(
        tmp_path / "a.tgz",
        member("one/two"),
        member("one", tarfile.DIRTYPE),
        member("one/link", tarfile.SYMTYPE, "two"),
        member("hard", tarfile.LNKTYPE, "one/two"),
    )
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("three/four", "4")
        archive.mkdir("five") if hasattr(archive, "mkdir") else archive.writestr("five/", "")
    (tmp_path / "six.gz").write_bytes(gzip.compress(b"6"))
    more = [Uri(value=str(tmp_path / name)) for name in ("b.zip", "six.gz")]
    there = {"a.tgz", "one", "one/two", "one/link", "hard", "b.zip", "three", "three/four", "five"}
    assert fetch(sandbox, tar, *more) == there | {"six", "six.gz"}
    assert (sandbox / "one/link").read_text() == (sandbox / "hard").read_text() == "one/two"
    assert (sandbox / "three/four").read_text() == "4"
    assert (sandbox / "six").read_text() == "6"
    assert os.access(sandbox / "one/two", os.X_OK)


def test_unpacks_nothing_that_is_not_to_be(tmp_path: Path, sandbox: Path) -> None:
    tar = tar_of(tmp_path / "a.tar.gz", member("one"))
    tar.extract = False
    run = Uri(value=tar.value, executable=True, output_file="b.tgz")
    assert fetch(sandbox, tar, run) == {"a.tar.gz", "b.tgz"}


@pytest.mark.parametrize(
    "members",
    [
        [member("../out")],
        [member("/out")],
        [member("a/../../out")],
        [member("link", tarfile.SYMTYPE, "..")],
        [member("link", tarfile.SYMTYPE, "/tmp")],
        [member("a/link", tarfile.SYMTYPE, "../../out")],
        [member("link", tarfile.SYMTYPE, "."), member("link/out")],
        [member("link", tarfile.LNKTYPE, "../out")],
        [member("pipe", tarfile.FIFOTYPE)],
    ],
)
def test_nothing_leads_outside(
    tmp_path: Path, sandbox: Path, members: list[tarfile.TarInfo]
) -> None:
    (tmp_path / "out").write_text("before")
    with pytest.raises(LaunchFailed, match=r"uri .*a\.tgz"):
        fetch(sandbox, tar_of(tmp_path / "a.tgz", *members))
    assert (tmp_path / "out").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tgz", "out", "sandbox"]


def test_a_zip_leads_nowhere_else_either(tmp_path: Path, sandbox: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../out", "x")
    with pytest.raises(LaunchFailed, match="not below the sandbox"):
        fetch(sandbox, Uri(value=str(tmp_path / "a.zip")))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ({"value": "http://example.org/x"}, "scheme is http"),
        ({"value": "HDFS:x"}, "scheme is HDFS"),
        ({"value": "relative/path"}, "no absolute path"),
        ({"value": "file://other/x"}, "no absolute path"),
        ({"value": "/"}, "no name of a file"),
        ({"value": "/etc/hosts", "output_file": "../x"}, "not below the sandbox"),
        ({"value": "/etc/hosts", "output_file": "/x"}, "not below the sandbox"),
        ({"value": "/etc/hosts", "output_file": "x/"}, "no name of a file"),
        ({"value": 3}, "Expected `str`"),
        ({}, "value"),
    ],
)
def test_uris_that_make_no_sense(uri: dict[str, object], words: str) -> None:
    with pytest.raises(LaunchFailed, match=words):
        read_uris({"uris": [uri]})


def test_only_files_are_copied(tmp_path: Path, sandbox: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "none"):
        with pytest.raises(LaunchFailed, match=r"no regular file|No such file"):
            fetch(sandbox, Uri(value=str(path)))
    (tmp_path / "broken.tar").write_text("no archive")
    with pytest.raises(LaunchFailed, match=r"broken\.tar"):
        fetch(sandbox, Uri(value=str(tmp_path / "broken.tar")))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_with_the_rights_of_the_user(sandbox: Path) -> None:
    """Even into a sandbox below folders that the user cannot enter, as the agent's may be."""
    os.chown(sandbox, NOBODY.uid, NOBODY.gid)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        secret, open_to_all = Path(folder, "secret"), Path(folder, "open")
        for file, mode in ((secret, 0o640), (open_to_all, 0o644)):
            file.write_text("x")
            file.chmod(mode)
        with pytest.raises(LaunchFailed, match="Permission denied"):
            fetch(sandbox, Uri(value=str(secret)), owner=NOBODY)
        assert fetch(sandbox, Uri(value=str(open_to_all)), owner=NOBODY) == {"open"}
        assert secret.read_text() == "x"  # we are who we were
    assert (sandbox / "open").stat().st_uid == NOBODY.uid


def test_one_that_is_not_wanted_fails(tmp_path: Path, sandbox: Path) -> None:
    (tmp_path / "file").write_text("x")
    bound = Bound(2**20, "as was asked for")
    fetching = Fetch([Uri(value=str(tmp_path / "file"))], sandbox, None, bound)
    fetching.cancel()
    with pytest.raises(LaunchFailed, match="not wanted"):
        fetching.run()


# How much.

_OPEN: dict[str, Any] = {"tar": open, "gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}


def bomb(folder: Path, kind: str, n_bytes: int = 2**24) -> Uri:
    """Return a small archive of many zeros."""
    path = folder / f"bomb.{kind}"
    zeros = bytes(n_bytes)
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("zeros", zeros)
    elif kind == "gz":
        path.write_bytes(gzip.compress(zeros))
    else:
        info = tarfile.TarInfo("zeros")
        info.size = n_bytes
        compressed = _OPEN[kind.rpartition(".")[2]]
        with compressed(path, "wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
            tar.addfile(info, io.BytesIO(zeros))
    return Uri(value=str(path))


@pytest.mark.parametrize("kind", ["zip", "gz", "tar.gz", "tar.bz2", "tar.xz"])
def test_an_archive_unpacks_to_no_more_than_it_may(
    tmp_path: Path, sandbox: Path, kind: str
) -> None:
    uri = bomb(tmp_path, kind)
    with pytest.raises(LaunchFailed, match=r"uri .*bomb\..* more than 1 MB, as was asked for"):
        fetch(sandbox, uri)
    assert used_bytes(sandbox) <= 2**20
    fetch(sandbox, uri, n_bytes=2**25)
    assert used_bytes(sandbox) >= 2**24


@pytest.mark.parametrize(
    ("name", "compress"),
    [("a.tar.gz", bz2.open), ("a.tar", lzma.open), ("a.tgz", open), ("a.txz", gzip.open)],
)
def test_what_a_tar_is_compressed_by_is_seen(
    tmp_path: Path, sandbox: Path, name: str, compress: Any
) -> None:
    with compress(tmp_path / name, "wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
        tar.addfile(member("one"))
    assert fetch(sandbox, Uri(value=str(tmp_path / name))) == {name, "one"}


def test_a_copy_is_bounded_with_all_others(tmp_path: Path, sandbox: Path) -> None:
    (tmp_path / "half").write_bytes(b"x" * 2**19)
    uris = [Uri(value=str(tmp_path / "half"), output_file=name) for name in "abc"]
    assert fetch(sandbox, *uris[:2]) == {"a", "b"}
    with pytest.raises(LaunchFailed, match="more than 1 MB"):
        fetch(sandbox, *uris)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE])
def test_what_is_empty_takes_something_too(tmp_path: Path, sandbox: Path, kind: bytes) -> None:
    members = [member(str(number), kind, "x" * (kind == tarfile.SYMTYPE)) for number in range(400)]
    with pytest.raises(LaunchFailed, match="more than 1 MB"):
        fetch(sandbox, tar_of(tmp_path / "a.tgz", *members))
    assert len([*sandbox.iterdir()]) <= 2**20 / 4096 + 1


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_name_without_end_is_not_read(tmp_path: Path, sandbox: Path, kind: bytes) -> None:
    """It would be, into memory, before anything is written."""
    header = member("name", kind)
    header.size = 2**25
    with gzip.open(tmp_path / "a.tgz", "wb") as file:
        file.write(header.tobuf() + bytes(2**25))
    with pytest.raises(LaunchFailed, match="header of 33554432 bytes"):
        fetch(sandbox, Uri(value=str(tmp_path / "a.tgz")))


def test_what_takes_much_memory_to_unpack_is_refused(tmp_path: Path, sandbox: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 2**28}]
    path = tmp_path / "a.tar.xz"
    tar_of(tmp_path / "a.tgz", member("one"))
    plain = gzip.decompress((tmp_path / "a.tgz").read_bytes())
    path.write_bytes(lzma.compress(plain, filters=filters))
    with pytest.raises(LaunchFailed, match="Memory usage limit"):
        fetch(sandbox, Uri(value=str(path)))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("one", "1")
    with pytest.raises(LaunchFailed, match="'one' is compressed by LZMA"):
        fetch(sandbox, Uri(value=str(tmp_path / "a.zip")))


def test_streams_of_xz_follow_one_another_and_are_whole(tmp_path: Path, sandbox: Path) -> None:
    tar_of(tmp_path / "a.tgz", member("one"), member("two"))
    plain = gzip.decompress((tmp_path / "a.tgz").read_bytes())
    whole = lzma.compress(plain[:700], preset=9) + bytes(4) + lzma.compress(plain[700:])
    (tmp_path / "a.txz").write_bytes(whole)
    assert fetch(sandbox, Uri(value=str(tmp_path / "a.txz"))) == {"a.txz", "one", "two"}
    (tmp_path / "b.txz").write_bytes(lzma.compress(plain)[:100])
    with pytest.raises(LaunchFailed, match=r"b\.txz: it is cut short"):
        fetch(sandbox, Uri(value=str(tmp_path / "b.txz")))


# With an agent.


@pytest.fixture(params=["process", "linux"])
def agent(request: pytest.FixtureRequest, found: Cgroups | str, tmp_path: Path) -> Iterator[Agent]:
    kind = ["--runtime", request.param]
    if request.param == "linux":
        skip_without(found)
        kind += ["--cgroups-root", root_name()]
    with Agent(tmp_path, *kind) as process:
        yield process
        assert process.stop(signal.SIGUSR1) == 0
    remove_roots()


def test_a_program_finds_what_it_asked_for(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\ncat data/words\n")
    (tmp_path / "words").write_text("hello")
    uris = [
        {"value": str(tmp_path / "tool"), "executable": True},
        {"value": f"file://{tmp_path}/words", "output_file": "data/words"},
    ]
    assert agent.launch("c", {"value": "./tool", "uris": uris}).status_code == 200
    assert agent.wait("c")["exit_status"] == 0
    assert (agent.work / "containers/c/stdout").read_text() == "hello"


def test_what_cannot_be_fetched_is_not_launched(agent: Agent) -> None:
    r = agent.launch("c", {"value": "true", "uris": [{"value": "s3://bucket/x"}]})
    assert r.status_code == 400
    assert "scheme is s3" in r.text
    assert not (agent.work / "containers/c").exists()
    assert agent.launch("c", "true").status_code == 200


def test_an_archive_bomb_is_a_failure_of_who_has_it_unpacked(tmp_path: Path) -> None:
    command = {"value": "sleep 99", "uris": [{"value": bomb(tmp_path, "tar.gz").value}]}
    off = "--no-enforce-container-disk-quota"
    for more, words in (
        ((), "more than 2 MB, the disk that was asked for"),
        (("--fetch-limit", "1048576", off), "more than 1 MB, the --fetch-limit of this agent"),
    ):
        with Agent(tmp_path, "--runtime", "process", *more) as agent:
            r = agent.launch("c", command, resources="disk:2")
            assert (r.status_code, words in r.text) == (400, True), r.text
            assert not (agent.work / "containers/c").exists()
            assert agent.launch("d", command, resources="disk:17").status_code == 200 or more
            agent.close()
