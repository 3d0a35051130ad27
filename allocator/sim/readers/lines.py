"""Lines of a text file, plain or gzip'ed, with the place of every complaint."""

import csv
from collections import Counter
from collections.abc import Iterator
from typing import Self

from allocator.files import Damaged, Input, Unreadable
from allocator.sim.errors import TraceError

#: What is counted for a line that a lenient reader skips.
SKIPPED = "malformed lines: skipped"

#: A longer line is none of a trace.
_MAX_LINE_BYTES = 2**20


class Lines:
    """The lines of one file that are not blank, without their line ends; each is read once.

    A reader that cannot use a line calls `reject`, which raises, or, if lenient, counts it; either
    way the line at fault is the one last yielded, unless another is named.

    Parameters
    ----------
    path : str
        The file; `-` is standard input.
    lenient : bool
        Skip and count what would otherwise be an error in a line.

    Attributes
    ----------
    path : str
        What messages call the file.
    defects : Counter
        What was found and what was done about it -> how often.
    number : int
        The line last read, counted from 1.

    Raises
    ------
    TraceError
        If the file cannot be opened or read, is not UTF-8, or a broken gzip.
    """

    def __init__(self, path: str, *, lenient: bool = False) -> None:
        self.path = path
        self.lenient = lenient
        self.defects: Counter[str] = Counter()
        self.number = 0
        self._ahead: str | None = None
        try:
            self._input = Input(path)
        except FileNotFoundError:
            raise TraceError(path, None, "no such file") from None
        except (Unreadable, OSError) as error:
            raise TraceError(path, None, _what(error)) from None
        self.path = self._input.name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._input.close()

    def first(self) -> str:
        """Return the first line, which is yielded nevertheless.

        Raises
        ------
        TraceError
            If there is none.
        """
        if self._ahead is None:
            self._ahead = self._next_line()
        if self._ahead is not None:
            return self._ahead
        what = "no line of it can be read" if self.defects else "the file has only blank lines"
        raise TraceError(self.path, None, what if self.number else "the file is empty")

    def __iter__(self) -> Iterator[str]:
        """Yield each line that is not blank."""
        while True:
            line, self._ahead = self._ahead, None
            if line is None:
                line = self._next_line()
            if line is None:
                return
            yield line

    def reject(self, what: str, number: int | None = None) -> None:
        """Refuse a line, by default the current one: raise `TraceError`, or count it if lenient."""
        if not self.lenient:
            raise TraceError(self.path, number or self.number, what)
        self.defects[SKIPPED] += 1

    def _next_line(self) -> str | None:
        while raw := self._next_raw():
            try:
                line = raw.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                self.reject("not UTF-8 text")
                continue
            if line.strip():
                return line
        return None

    def _next_raw(self) -> bytes:
        """Return the next line, or nothing at the end or where a damaged gzip breaks off."""
        self.number += 1
        try:
            raw = self._input.readline(_MAX_LINE_BYTES)
        except Damaged as error:
            self.reject(str(error))
            return b""
        except (Unreadable, OSError) as error:
            raise TraceError(self.path, self.number, _what(error)) from None
        self.number -= not raw
        return raw


def _what(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


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
