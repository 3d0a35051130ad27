"""Bodies that are compressed part by part are those that are compressed whole."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.master import _crc, compressing
from allocator.master.compressing import Gzip

SIZES = st.sampled_from([0, 1, 100, 4095, 4096, 5000, 70_000])
PARTS = st.builds(lambda letters, size: (letters * size)[:size], st.binary(min_size=1), SIZES)


@given(st.lists(st.lists(PARTS, max_size=6), max_size=4))
def test_what_is_decompressed_is_what_was_given(bodies: list[list[bytes]]) -> None:
    kept = Gzip()
    for parts in bodies:
        found = kept.compress(parts)
        assert gzip.decompress(found) == b"".join(parts)
        assert found == Gzip().compress(parts)  # what was compressed before makes no difference


@given(st.binary(), st.binary())
def test_checksums_are_joined(before: bytes, after: bytes) -> None:
    found = _crc.joined(zlib.crc32(before), zlib.crc32(after), _crc.shift(len(after)))
    assert found == zlib.crc32(before + after)


@pytest.mark.parametrize("n_bytes", [0, 1, 255, 1 << 20])
def test_a_shift_is_that_of_so_many_zeros(n_bytes: int) -> None:
    zeros = bytes(n_bytes)
    found = _crc.joined(zlib.crc32(b"x"), zlib.crc32(zeros), _crc.shift(n_bytes))
    assert found == zlib.crc32(b"x" + zeros)


def test_a_part_is_compressed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compressed: list[int] = []

    def compressobj(*args: int, **options: int) -> object:
        compressed.append(1)
        return original(*args, **options)

    original = zlib.compressobj
    monkeypatch.setattr(compressing.zlib, "compressobj", compressobj)
    kept = Gzip()
    parts = [bytes([i]) * 5000 for i in range(20)]
    kept.compress(parts)
    assert len(compressed) == 20
    parts[7] = b"another" * 1000
    kept.compress([b"[", *parts])
    assert len(compressed) == 22


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressing, "MAX_KEPT_BYTES", 10_000)
    kept = Gzip()
    for number in range(300):
        parts = [number.to_bytes(2) * 4096, b"the same" * 1000]
        assert gzip.decompress(kept.compress(parts)) == b"".join(parts)
    assert sum(len(piece.deflated) for piece in kept._kept.values()) <= 10_000
    assert b"the same" * 1000 in kept._kept
