"""Bodies compressed with gzip without compressing anything twice.

A body is joined from parts, of which few differ from those of the last one. Each is compressed for
itself (RFC 1951: blocks that refer to nothing before them, ended at a byte), so that what stands
between the head and the end of a gzip file (RFC 1952) is joined from what is kept of each.
"""

from __future__ import annotations

import struct
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from allocator.master import _crc

#: Parts of fewer bytes are compressed together with their neighbours.
SMALL_BYTES: Final = 1 << 12

#: How many bytes of compressed pieces are kept at the most, but for those of the last body.
MAX_KEPT_BYTES: Final = 1 << 25

#: Deflate, without name and time: the same bytes each time; level 1 is told as the fastest.
_HEAD: Final = b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"

#: A last block, which is empty.
_END: Final = b"\x03\0"


class Piece(NamedTuple):
    """A part of a body, compressed."""

    deflated: bytes
    n_bytes: int
    crc: int
    #: What a checksum before it is multiplied by.
    shift: int


class Gzip:
    """Compresses bodies, and keeps what their parts became. To be used by one thread at a time."""

    def __init__(self) -> None:
        #: Part → what it became; what was used last is at the end.
        self._kept: OrderedDict[bytes, Piece] = OrderedDict()
        self._n_bytes = 0

    def compress(self, parts: Iterable[bytes]) -> bytes:
        """Return the gzip file of what parts are together.

        O(parts + bytes of those that are not known + length of what is returned).
        """
        n_bytes = crc = 0
        found = [_HEAD]
        for part in gathered(parts):
            piece = self._piece(part)
            found.append(piece.deflated)
            n_bytes += piece.n_bytes
            crc = _crc.joined(crc, piece.crc, piece.shift)
        found.append(_END)
        found.append(struct.pack("<II", crc, n_bytes & 0xFFFFFFFF))
        self._forget(len(found))
        return b"".join(found)

    def _piece(self, part: bytes) -> Piece:
        piece = self._kept.get(part)
        if piece is not None:
            self._kept.move_to_end(part)
            return piece
        stream = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
        deflated = stream.compress(part) + stream.flush(zlib.Z_SYNC_FLUSH)
        piece = Piece(deflated, len(part), zlib.crc32(part), _crc.shift(len(part)))
        self._kept[part] = piece
        self._n_bytes += len(deflated)
        return piece

    def _forget(self, n_last: int) -> None:
        """Let what was used longest ago go, but for so many that were used last."""
        while self._n_bytes > MAX_KEPT_BYTES and len(self._kept) > n_last:
            _, piece = self._kept.popitem(last=False)
            self._n_bytes -= len(piece.deflated)


def gathered(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield large parts as they are, and small ones that follow each other as one.

    Examples
    --------
    >>> list(gathered([b"[", b"1,", b"2" * 5000, b"]"]))[0::2]
    [b'[1,', b']']
    """
    small: list[bytes] = []
    for part in parts:
        if len(part) < SMALL_BYTES:
            small.append(part)
            continue
        if small:
            yield b"".join(small)
            small = []
        yield part
    if small:
        yield b"".join(small)
