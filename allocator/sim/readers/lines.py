"""Lines of a text file, plain or gzip'ed, with the place of every complaint."""

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterator

from allocator.sim.errors import TraceError

_GZIP_MAGIC = b"\x1f\x8b"

#: What is counted for a line that a lenient reader skips.
SKIPPED = "malformed lines: skipped"


class Lines:
    """The lines of one file that are not blank, without their line ends.

    gzip is recognised by content. A reader that cannot use a line calls `reject`, which raises,
    or, if lenient, counts it; either way the line at fault is the one last yielded.

    Parameters
    ----------
    path : str
        The file; it must exist, be a text file and have at least one line.
    lenient : bool
        Skip and count what would otherwise be an error in a line.

    Attributes
    ----------
    defects : Counter
        What was found and what was done about it -> how often.
    number : int
        The line last yielded, counted from 1.
    """

    def __init__(self, path: str, *, lenient: bool = False) -> None:
        self.path = path
        self.lenient = lenient
        self.defects: Counter[str] = Counter()
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        """Yield each line that is not blank.

        Raises
        ------
        TraceError
            If the file cannot be opened, is empty, not UTF-8, or a broken gzip.
        """
        self.number = 0
        with self._open() as file:
            while (raw := self._next(file)) is not None:
                self.number += 1
                try:
                    line = raw.decode("utf-8").rstrip("\r\n")
                except UnicodeDecodeError:
                    self.reject("not UTF-8 text")
                    continue
                if line.strip():
                    yield line
        if self.number == 0:
            raise TraceError(self.path, None, "the file is empty")

    def reject(self, what: str) -> None:
        """Refuse the current line: raise `TraceError`, or count it if lenient."""
        if not self.lenient:
            raise TraceError(self.path, self.number, what)
        self.defects[SKIPPED] += 1

    def _open(self) -> io.BufferedIOBase:
        try:
            with open(self.path, "rb") as file:
                packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
            if packed:
                return gzip.open(self.path, "rb")
            return open(self.path, "rb")
        except FileNotFoundError:
            raise TraceError(self.path, None, "no such file") from None
        except OSError as error:
            raise TraceError(self.path, None, str(error.strerror or error)) from None

    def _next(self, file: io.BufferedIOBase) -> bytes | None:
        """Return the next line, or None at the end or where a broken gzip breaks off."""
        try:
            return file.readline() or None
        except EOFError:
            what = "truncated gzip: the file ends in the middle of its data"
        except (gzip.BadGzipFile, zlib.error) as error:
            what = f"broken gzip: {error}"
        except OSError as error:
            raise TraceError(self.path, self.number, str(error.strerror or error)) from None
        self.number += 1
        self.reject(what)
        return None


def rows(lines: Lines, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Yield each row of a CSV file by the names in its header, blanks around values removed.

    The header must have `columns`; further ones are yielded too. A row with another number of
    values than the header is rejected. O(1) memory.

    Raises
    ------
    TraceError
        If a column is missing, or a row is malformed and the lines are not lenient.
    """
    header: list[str] = []
    for line in lines:
        try:
            values = [value.strip() for value in next(csv.reader([line], strict=True))]
        except csv.Error as error:
            lines.reject(str(error))
            continue
        if not header:
            header = values
            missing = [name for name in columns if name not in header]
            if missing:
                raise TraceError(lines.path, lines.number, f"no column {missing[0]!r} in header")
        elif len(values) != len(header):
            lines.reject(f"{len(values)} values instead of {len(header)}")
        else:
            yield dict(zip(header, values, strict=True))
