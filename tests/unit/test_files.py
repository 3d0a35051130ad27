"""Reading an input once: what a pipe gives, gzip, byte order marks, and what is refused."""

from __future__ import annotations

import gzip
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from allocator import files
from allocator.files import Damaged, Input, Truncated, Unreadable

TEXT = b"".join(b"line %d of a file\n" % i for i in range(20_000))
MARK = b"\xef\xbb\xbf"


@contextmanager
def pipe(folder: Path, content: bytes, first: int = 0) -> Iterator[Path]:
    """Give a path that can be read once: a writer writes `first` bytes, and later the others."""
    path = folder / "pipe"
    os.mkfifo(path)

    def write() -> None:
        with open(path, "wb", buffering=0) as out:
            out.write(content[:first])
            time.sleep(0.05 if first else 0)
            out.write(content[first:])

    writer = threading.Thread(target=write)
    writer.start()
    yield path
    writer.join()


@pytest.mark.parametrize("first", [0, 1, 2, 3, 11])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
def test_a_pipe_is_as_good_as_a_file(
    pack: Callable[[bytes], bytes], first: int, tmp_path: Path
) -> None:
    with pipe(tmp_path, pack(MARK + TEXT), first) as path, Input(path) as opened:
        assert opened.part_read() is None
        assert opened.readline() == b"line 0 of a file\n"
        assert opened.read() == TEXT[len(b"line 0 of a file\n") :]
        assert opened.readline() == b""


def test_a_file_tells_how_much_of_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(TEXT)
    with Input(path) as opened:
        opened.readline()
        part = opened.part_read()
        assert part is not None
        assert 0 < part < 0.5
        opened.read()
        assert opened.part_read() == 1.0


@pytest.mark.parametrize("content", [b"", b"a", b"\x1f", MARK, MARK[:2], b"no end"])
def test_short_contents(content: bytes) -> None:
    for source in (content, gzip.compress(content)):
        with Input(io.BytesIO(source)) as opened:
            assert opened.read() == content.removeprefix(MARK)


def test_a_mark_is_one_at_the_start_only() -> None:
    opened = Input(io.BytesIO(MARK + MARK + b"a\n" + MARK + b"b\n"))
    assert [opened.readline(), opened.readline()] == [MARK + b"a\n", MARK + b"b\n"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
def test_other_encodings_are_named(pack: Callable[[bytes], bytes], encoding: str) -> None:
    marked = "a\n" if encoding in ("utf-16", "utf-32") else "\ufeffa\n"
    name = encoding[:6].upper()
    for read in (Input.readline, Input.read):
        opened = Input(io.BytesIO(pack(marked.encode(encoding))))
        with pytest.raises(Unreadable, match=f"^{name} text: .* iconv -f {name} -t UTF-8 does$"):
            read(opened)


def test_a_stream_is_not_closed_and_has_a_name(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a\nb\n")
    with path.open("rb") as stream:
        with Input(stream) as opened:
            assert opened.name == str(path)
            assert opened.readline() == b"a\n"
        assert not stream.closed
    assert Input(io.BytesIO()).name == "log"


def test_damaged_gzip() -> None:
    packed = gzip.compress(TEXT)
    opened = Input(io.BytesIO(packed[: len(packed) // 2]))
    assert opened.readline() == b"line 0 of a file\n"
    with pytest.raises(Truncated, match=r"^truncated gzip: "):
        opened.read()
    for bad in (packed[:-8] + bytes(8), packed[:100] + b"\xff" * 100 + packed[200:]):
        with pytest.raises(Damaged, match=r"^broken gzip: ") as caught:
            Input(io.BytesIO(bad)).read()
        assert not isinstance(caught.value, Truncated)


def test_a_gzip_bomb_is_refused_before_it_fills_the_memory() -> None:
    packed = gzip.compress(bytes(2**25))
    assert len(packed) < 2**16
    with pytest.raises(Unreadable, match=r"^a line of more than 1048576 bytes$"):
        Input(io.BytesIO(packed)).readline(2**20)
    with pytest.raises(Unreadable, match=r"^more than 1048576 bytes$"):
        Input(io.BytesIO(packed)).read(2**20)
    assert files.MAX_BYTES < 2**31


def test_what_cannot_be_opened_or_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        Input(tmp_path / "none")
    assert missing.value.filename == str(tmp_path / "none")

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output") as broken:
        Input(Broken())
    assert broken.value.filename == "log"
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(OSError, match="Bad file descriptor: 'stdin'"):
        Input("-")
