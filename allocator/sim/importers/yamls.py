"""YAML documents with every scalar kept as text, so that 010 is no 8 and `off` no falsehood.

Built from the parser's events, one after the other: neither deep nesting nor anchors that stand
for ever more anchors cost more than the bounds here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from allocator.errors import InvalidValue

#: No document is nested deeper, and none has more nodes once its anchors are written out.
MAX_DEPTH = 100
MAX_NODES = 50_000_000
#: What anchors may add to a document.
MAX_REPEATED = 1_000_000

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_MERGE = "<<"


def yaml_documents(text: str) -> Iterator[tuple[int, Any]]:
    r"""Yield each document with the line that it begins on.

    Raises
    ------
    InvalidValue
        If the text is no YAML; it names the line. O(size).

    Examples
    --------
    >>> list(yaml_documents("a: 010\n---\n[off, ~]"))
    [(1, {'a': '010'}), (3, ['off', None])]
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        composer = _Composer()
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, yaml.DocumentStartEvent):
                composer = _Composer()
            elif isinstance(event, yaml.DocumentEndEvent):
                yield composer.line, composer.root
            else:
                composer.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise InvalidValue(f"{line}no YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        if isinstance(error, InvalidValue):
            raise
        raise InvalidValue(f"no YAML: {error}") from None


class _Composer:
    """One document in the making: a stack of what is open."""

    def __init__(self) -> None:
        self.root: Any = None
        self.line = 1
        self._started = False
        #: What is open: (container, anchor, nodes before it began, key that waits for a value)
        self._open: list[list[Any]] = []
        #: anchor -> (value, nodes in it)
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._n_nodes = 0
        self._n_repeated = 0

    def take(self, event: Any) -> None:
        """Take the next event."""
        kind = type(event).__name__
        line = event.start_mark.line + 1
        if not self._started and kind != "StreamStartEvent":
            self._started, self.line = True, line
        if kind in ("MappingStartEvent", "SequenceStartEvent"):
            if len(self._open) >= MAX_DEPTH:
                raise InvalidValue(f"line {line}: nested more than {MAX_DEPTH} deep")
            made: Any = {} if kind == "MappingStartEvent" else []
            self._open.append([made, event.anchor, self._n_nodes, _NONE])
            self._count(line, 1)
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            made, anchor, before, _ = self._open.pop()
            self._put(made, anchor, self._n_nodes - before, line)
        elif kind == "ScalarEvent":
            self._count(line, 1)
            is_null = event.implicit[0] and event.value in _NULL
            self._put(None if is_null else event.value, event.anchor, 1, line)
        elif kind == "AliasEvent":
            self._repeat(event.anchor, line)

    def _repeat(self, anchor: str, line: int) -> None:
        if anchor not in self._anchors:
            raise InvalidValue(f"line {line}: no YAML: alias {anchor!r} of nothing")
        value, size = self._anchors[anchor]
        self._n_repeated += size
        if self._n_repeated > MAX_REPEATED:
            raise InvalidValue(f"line {line}: its anchors stand for too much")
        self._count(line, size)
        self._put(value, None, size, line)

    def _count(self, line: int, n: int) -> None:
        self._n_nodes += n
        if self._n_nodes > MAX_NODES:
            raise InvalidValue(f"line {line}: more than {MAX_NODES} nodes")

    def _put(self, value: Any, anchor: str | None, size: int, line: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = value, size
        if not self._open:
            self.root = value
            return
        top = self._open[-1]
        if isinstance(top[0], list):
            top[0].append(value)
        elif top[3] is _NONE:
            if isinstance(value, (dict, list)):
                raise InvalidValue(f"line {line}: a key that is no text")
            top[3] = "null" if value is None else value
        else:
            _set(top[0], top[3], value)
            top[3] = _NONE


_NONE = object()


def _set(mapping: dict[str, Any], key: str, value: Any) -> None:
    """Set a key, or merge what `<<` names: what is there already stays."""
    if key != _MERGE:
        mapping[key] = value
        return
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict):
            for name, inner in one.items():
                mapping.setdefault(name, inner)
