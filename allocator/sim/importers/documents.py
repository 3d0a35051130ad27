"""The files of a dump as documents, told apart by content and read once from start to end.

Long JSON lists of objects come one object at a time, so that a dump need not fit in memory.
"""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from allocator.errors import InvalidValue, shown
from allocator.files import STDIN, Input
from allocator.sim.importers.errors import DumpError
from allocator.sim.importers.yamls import MAX_DEPTH, yaml_documents

Form = Literal["json", "yaml", "xml", "text"]

#: So much is read at once, in bytes.
_CHUNK = 1 << 20
#: What objects say in YAML, of any system here; a text without it is none of theirs.
_OBJECT = re.compile(
    r"(^|[{\s])(apiVersion|kind|items|partitions|queues|clusters)[\"']?\s*:", re.MULTILINE
)
_BLANK = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file.

    Parameters
    ----------
    file : str
    place : str
        Where in the file; empty for the whole of it.
    form : str
        `json`, `yaml`, `xml` or `text`.
    value : object
        What it says: JSON values, an element, or text.
    list_kind, list_version : str
        Of an item of a list of objects, what the list says that its items are.
    """

    file: str
    place: str
    form: Form
    value: Any
    list_kind: str = ""
    list_version: str = ""

    def error(self, what: object, inner: str = "") -> DumpError:
        """Return an error at this place; of one that says its file already, what it says."""
        what = what.what if isinstance(what, DumpError) else what
        return DumpError(self.file, f"{self.place} {inner}".strip(), what)


def files_of(paths: Iterable[str | os.PathLike[str]]) -> Iterator[str]:
    """Yield all files that are named, those of folders in the order of their names."""
    for path in paths:
        name = os.fspath(path)
        if name == STDIN or not os.path.isdir(name):
            yield name
            continue
        for folder, inner, names in os.walk(name):
            inner[:] = sorted(one for one in inner if not one.startswith("."))
            yield from (os.path.join(folder, n) for n in sorted(names) if not n.startswith("."))


def documents(path: str, plain: Form, *, items: bool) -> Iterator[Document]:
    """Yield the documents of one file.

    Parameters
    ----------
    path : str
        `-` is standard input; plain or gzip.
    plain : str
        What a file is that is neither JSON nor XML: `yaml` or `text`.
    items : bool
        Whether lists of objects come one object at a time.

    Raises
    ------
    DumpError
        With the place. O(size).
    """
    with Input(path) as file:
        name = file.name
        try:
            chars = _Chars(file)
            first = chars.peek()
            if first == "<":
                yield Document(name, "", "xml", _xml(chars.rest()))
            elif first in ("{", "[") and (plain != "yaml" or chars.looks_like_json()):
                yield from _json(name, chars, items=items)
            elif plain == "text" or not first:
                yield Document(name, "", "text", chars.rest())
            elif not _OBJECT.search(text := chars.rest()):
                yield Document(name, "", "text", text)
            else:
                for line, value in yaml_documents(text):
                    yield from _flat(Document(name, f"line {line}", "yaml", value), items=items)
        except DumpError:
            raise
        except UnicodeDecodeError as error:
            raise DumpError(name, "", f"no UTF-8 text: {error.reason}") from None
        except InvalidValue as error:
            raise DumpError(name, "", error) from None


def _flat(document: Document, *, items: bool) -> Iterator[Document]:
    """Yield a document, or the items of a list of objects, also of lists in it."""
    value = document.value
    if items and isinstance(value, dict) and isinstance(value.get("items"), list):
        for index, item in enumerate(value["items"]):
            place = f"{document.place} items[{index}]".strip()
            yield from _flat(_item(document.file, place, document.form, item, value), items=True)
    else:
        yield document


def _item(file: str, place: str, form: Form, item: Any, of: dict[str, Any]) -> Document:
    """Return an item of a list of objects, which may say what the list says for it."""
    kind = str(of.get("kind") or "").removesuffix("List")
    return Document(file, place, form, item, kind, str(of.get("apiVersion") or ""))


class _Chars:
    """A file as text, of which no more is held than the value that is being read."""

    def __init__(self, file: Input) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._text = ""
        self._at = 0
        self._lines_before = 0
        self._ended = False

    def more(self, n_bytes: int = _CHUNK) -> bool:
        """Read on; False at the end of the file."""
        if self._ended:
            return False
        content = self._file.chunk(n_bytes)
        self._ended = not content
        self._lines_before += self._text.count("\n", 0, self._at)
        self._text = self._text[self._at :] + self._decode(content, self._ended)
        self._at = 0
        return True

    def peek(self) -> str:
        """Return the next character that is no blank; empty at the end."""
        while True:
            match = _BLANK.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self.more():
                return ""

    def looks_like_json(self) -> bool:
        """Tell JSON from YAML that begins with the same bracket: a key of JSON has quotes."""
        match = re.compile(r"\{\s*(.)", re.DOTALL).match(self._text, self._at)
        return match is None or match[1] in '"}'

    def rest(self) -> str:
        """Return all that is left, at most what a file may have that is read whole."""
        return self._text[self._at :] + self._decode(self._file.read(), True)

    def skip(self, char: str) -> None:
        """Pass over one character that must come next."""
        if self.peek() != char:
            raise InvalidValue(f"{self.where()}: no JSON: {shown(self.peek())}, not {char!r}")
        self._at += 1

    def where(self) -> str:
        return f"line {self._lines_before + self._text.count(chr(10), 0, self._at) + 1}"

    def value(self) -> Any:
        """Return the next JSON value. O(its size)."""
        self.peek()
        n_bytes = _CHUNK
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
                if end < len(self._text) or not self.more(n_bytes):
                    self._at = end
                    return value
            except json.JSONDecodeError as error:
                if not self.more(n_bytes):
                    self._at = error.pos
                    raise InvalidValue(f"{self.where()}: no JSON: {error.msg}") from None
            except RecursionError:
                raise InvalidValue(f"{self.where()}: nested too deep") from None
            except ValueError as error:
                raise InvalidValue(f"{self.where()}: no JSON: {error}") from None
            # Twice as much each time: a value is begun anew, but not often.
            n_bytes *= 2


def _no_constant(name: str) -> Any:
    raise InvalidValue(f"no JSON: {name}")


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_constant)


def _json(name: str, chars: _Chars, *, items: bool) -> Iterator[Document]:
    """Yield the JSON documents of a file, one after the other, lists taken apart."""
    while first := chars.peek():
        if items and first == "[":
            for index, value in enumerate(_elements(chars)):
                yield from _flat(Document(name, f"[{index}]", "json", value), items=True)
        elif items and first == "{":
            yield from _object(name, chars)
        else:
            yield Document(name, "", "json", chars.value())


def _elements(chars: _Chars) -> Iterator[Any]:
    """Yield the elements of a list."""
    chars.skip("[")
    while chars.peek() != "]":
        yield chars.value()
        if chars.peek() == ",":
            chars.skip(",")
        elif chars.peek() != "]":
            chars.skip("]")
    chars.skip("]")


def _object(name: str, chars: _Chars) -> Iterator[Document]:
    """Yield an object, or what its `items` are.

    What the list is may be said after the items; their own words tell what they are then.
    """
    chars.skip("{")
    found: dict[str, Any] = {}
    listed = False
    where = chars.where()
    while chars.peek() != "}":
        key = chars.value()
        if not isinstance(key, str):
            raise InvalidValue(f"{chars.where()}: no JSON: a key that is no text")
        chars.skip(":")
        if key == "items" and chars.peek() == "[":
            listed = True
            for index, value in enumerate(_elements(chars)):
                item = _item(name, f"items[{index}]", "json", value, found)
                yield from _flat(item, items=True)
        else:
            found[key] = chars.value()
        if chars.peek() == ",":
            chars.skip(",")
        elif chars.peek() != "}":
            chars.skip("}")
    chars.skip("}")
    if not listed:
        yield Document(name, "" if where == "line 1" else where, "json", found)


def _xml(text: str) -> Any:
    """Return the root element; entities and references to elsewhere are refused."""
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    try:
        # As bytes without its declaration, which may name an encoding that it no longer has.
        root = fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text).encode(), forbid_dtd=False)
    except DefusedXmlException as error:
        raise InvalidValue(f"no XML that is read: {type(error).__name__}") from None
    except ParseError as error:
        line, column = error.position
        raise InvalidValue(
            f"line {line}, column {column}: no XML: {str(error).partition(':')[0]}"
        ) from None
    level, depth = [root], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise InvalidValue(f"nested more than {MAX_DEPTH} deep")
        level = [child for element in level for child in element]
    return root
