"""On which line each key of a TOML file stands, which `tomllib` does not tell."""

from __future__ import annotations

import re
import tomllib

from allocator.sim.scenario.problems import Path

_KEY = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)[ \t]*""")
#: What lies between values: blanks, ends of lines, comments.
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)
_PLAIN = re.compile(r"[^,\]}\r\n#]*")


def lines_of(text: str) -> dict[Path, int]:
    r"""Return the line, counted from 1, of each key and of each entry of an array.

    Parameters
    ----------
    text : str
        TOML that `tomllib` accepts; of other text the result means nothing.

    Returns
    -------
    dict
        Path -> line; a path has the keys, and the positions in arrays. O(length of the text).

    Examples
    --------
    >>> lines_of("a = 1\n[b.c]\nd = [2,\n3]")[("b", "c", "d", 1)]
    4
    """
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


class _Scanner:
    """Goes once through TOML that is known to be well-formed."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0
        #: path of an array of tables -> how many of its tables have begun
        self._n_tables: dict[Path, int] = {}

    def document(self) -> None:
        """Go through all of it."""
        table: Path = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> Path:
        is_array = self._text.startswith("[[", self._at)
        self._at += 1 + is_array
        path: Path = ()
        keys = self._key()
        for key in keys[:-1]:
            path = self._within((*path, key))
        path = (*path, keys[-1])
        self._note(path)
        if is_array:
            index = self._n_tables[path] = self._n_tables.get(path, -1) + 1
            path = (*path, index)
            self._note(path)
        self._skip(re.compile(r"[ \t]*\]" + r"\]" * is_array))
        return path

    def _within(self, path: Path) -> Path:
        """Return what a key in a header stands for: of an array of tables, the last one."""
        self._note(path)
        return (*path, self._n_tables[path]) if path in self._n_tables else path

    def _pair(self, table: Path) -> None:
        for key in self._key():
            table = (*table, key)
            self._note(table)
        self._skip(re.compile("="))
        self._value(table)

    def _key(self) -> list[str]:
        keys = []
        while match := _KEY.match(self._text, self._at):
            self._at = match.end()
            key = match[1]
            keys.append(str(tomllib.loads(f"k = {key}")["k"]) if key[0] in "\"'" else key)
            if not self._text.startswith(".", self._at):
                break
            self._at += 1
        return keys

    def _value(self, path: Path) -> None:
        """Go over one value and note what stands in it."""
        self._skip(_BLANK)
        first = self._text[self._at : self._at + 1]
        if first in ("[", "{"):
            self._collection(path, "]" if first == "[" else "}")
        elif match := _STRING.match(self._text, self._at):
            self._at = match.end()
        else:
            self._skip(_PLAIN)

    def _collection(self, path: Path, end: str) -> None:
        self._at += 1
        self._skip(_BLANK)
        index = 0
        while not self._text.startswith(end, self._at) and self._at < len(self._text):
            if end == "]":
                self._note((*path, index))
                self._value((*path, index))
            else:
                self._pair(path)
            index += 1
            self._skip(_BLANK)
            if self._text.startswith(",", self._at):
                self._at += 1
                self._skip(_BLANK)
        self._at += 1

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        if match is not None:
            self._at = match.end()

    def _note(self, path: Path) -> None:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        self.lines.setdefault(path, self._line)
