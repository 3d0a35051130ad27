"""Reading a file once, from start to end: plain or gzip'ed, from a disk, a pipe or standard input.

Every command opens what it reads here, so that a pipe is as good as a file: nothing is opened
twice, and nothing goes back to its start.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Callable
from typing import IO, Final, Self, TypeVar

from allocator.errors import InvalidValue

#: The name that stands for standard input.
STDIN: Final = "-"

#: No line, and no content that is read whole, may be longer: a few kilobytes of gzip can be
#: gigabytes of text.
MAX_BYTES: Final = 2**30

_GZIP_MAGIC: Final = b"\x1f\x8b"
_UTF8_MARK: Final = b"\xef\xbb\xbf"
#: Byte order marks of other encodings; of two that begin alike, the longer first.
_OTHER_MARKS: Final = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


_T = TypeVar("_T")


class Unreadable(InvalidValue):
    """Content that is not what can be read here. The text says why; whoever reads knows where."""


class Damaged(Unreadable):
    """A gzip file whose content is not what was packed."""


class Truncated(Damaged):
    """A gzip file without its end; all before it was read."""


class Input:
    r"""One input, read once.

    gzip is told by the first bytes and unpacked; a byte order mark of UTF-8 is skipped.

    Parameters
    ----------
    source : path or binary stream
        `-` is standard input. A stream is read from where it stands, and is not closed.

    Attributes
    ----------
    name : str
        What messages call it.

    Raises
    ------
    OSError
        It cannot be opened or read; `filename` is its name.

    Examples
    --------
    >>> with Input(io.BytesIO(gzip.compress(b"\xef\xbb\xbfone\ntwo\n"))) as packed:
    ...     packed.readline(), packed.read()
    (b'one\n', b'two\n')
    """

    def __init__(self, source: str | os.PathLike[str] | IO[bytes]) -> None:
        self._owned: IO[bytes] | None = None
        if not isinstance(source, str | os.PathLike):
            file, self.name = source, _name_of(source)
        elif os.fspath(source) == STDIN:
            file, self.name = _stdin(), "stdin"
        else:
            file = self._owned = open(source, "rb")  # noqa: SIM115 -- `close` closes it
            self.name = os.fspath(source)
        self._file = file
        self._at_start = True
        try:
            self._stream = self._get(lambda: _unpacked(file))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, if it was opened here."""
        if self._owned is not None:
            self._owned.close()

    def readline(self, max_bytes: int = MAX_BYTES) -> bytes:
        """Return the next line with its end, or nothing at the end of the input.

        Raises
        ------
        Unreadable
            It is longer than `max_bytes`, in UTF-16, or of a damaged gzip file. O(length).
        """
        line = self._get(lambda: self._stream.readline(max_bytes + 1))
        if len(line) > max_bytes:
            raise Unreadable(f"a line of more than {max_bytes} bytes")
        return self._unmarked(line) if self._at_start else line

    def read(self, max_bytes: int = MAX_BYTES) -> bytes:
        """Return all that is left; raises as `readline` does. O(size)."""
        content = self._get(lambda: self._stream.read(max_bytes + 1))
        if len(content) > max_bytes:
            raise Unreadable(f"more than {max_bytes} bytes")
        return self._unmarked(content) if self._at_start else content

    def chunk(self, n_bytes: int) -> bytes:
        """Return the next bytes, at most so many; nothing at the end. Raises as `readline` does."""
        content = self._get(lambda: self._stream.read(n_bytes))
        return self._unmarked(content) if self._at_start else content

    def part_read(self) -> float | None:
        """Return how much of the file was read, from 0 to 1; None for a pipe or stream. O(1)."""
        if self._owned is None:
            return None
        status = os.fstat(self._owned.fileno())
        if not stat.S_ISREG(status.st_mode):
            return None
        return self._owned.tell() / max(status.st_size, 1)

    def _get(self, read: Callable[[], _T]) -> _T:
        """Read, and say in one way what is wrong with a gzip file."""
        try:
            return read()
        except EOFError:
            what = "truncated gzip: the file ends in the middle of its data"
            raise Truncated(what) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise Damaged(f"broken gzip: {error}") from None
        except OSError as error:
            error.filename = self.name
            raise

    def _unmarked(self, content: bytes) -> bytes:
        self._at_start = False
        for mark, encoding in _OTHER_MARKS.items():
            if content.startswith(mark):
                raise Unreadable(
                    f"{encoding} text: make it UTF-8 first, as iconv -f {encoding} -t UTF-8 does"
                )
        return content.removeprefix(_UTF8_MARK)


class _Resumed(io.RawIOBase):
    """A stream whose first bytes were read already: they come again, then the others."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = head
        # What is there, not all that is asked for: whoever writes into a pipe may take its time.
        self._read: Callable[[int], bytes | None] = getattr(rest, "read1", rest.read)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        content = self._head or self._read(len(buffer)) or b""
        taken, self._head = content[: len(buffer)], content[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


def _unpacked(file: IO[bytes]) -> io.BufferedIOBase:
    head = b""
    while len(head) < len(_GZIP_MAGIC) and (more := file.read(len(_GZIP_MAGIC) - len(head))):
        head += more
    whole = io.BufferedReader(_Resumed(head, file))
    return gzip.GzipFile(fileobj=whole, mode="rb") if head == _GZIP_MAGIC else whole


def _stdin() -> IO[bytes]:
    if sys.stdin is None:  # closed before the process began
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "stdin")
    return sys.stdin.buffer


def _name_of(stream: IO[bytes]) -> str:
    name = str(getattr(stream, "name", "log"))
    return "stdin" if name == "<stdin>" else name
