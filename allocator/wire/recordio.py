"""Records in a stream: the length in decimal digits, a newline, and as many bytes of JSON."""

from __future__ import annotations

from collections.abc import Iterator

from allocator.errors import InvalidValue

#: Digits of a length; a longer one is no length.
MAX_DIGITS = 12


def framed(record: bytes) -> bytes:
    r"""Return a record as it goes into a stream.

    Examples
    --------
    >>> framed(b"{}")
    b'2\n{}'
    """
    return b"%d\n%b" % (len(record), record)


class RecordReader:
    r"""Takes a stream apart into records, in whatever pieces it comes.

    Examples
    --------
    >>> reader = RecordReader()
    >>> list(reader.feed(b"2\n{}7\n")), list(reader.feed(b'{"a":1}'))
    ([b'{}'], [b'{"a":1}'])
    """

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the records that are complete now.

        Raises
        ------
        InvalidValue
            A length that is none.
        """
        self._rest += data
        while True:
            end = self._rest.find(b"\n", 0, MAX_DIGITS + 1)
            if end < 0:
                if len(self._rest) > MAX_DIGITS:
                    raise InvalidValue(f"{bytes(self._rest[:MAX_DIGITS])!r} begins no record")
                return
            digits = bytes(self._rest[:end])
            if not digits.isdigit():
                raise InvalidValue(f"{digits!r} is not the length of a record")
            length = int(digits)
            if len(self._rest) < end + 1 + length:
                return
            record = bytes(self._rest[end + 1 : end + 1 + length])
            del self._rest[: end + 1 + length]
            yield record
