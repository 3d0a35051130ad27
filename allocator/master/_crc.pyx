"""The CRC-32 of a text, from those of the parts that it is joined from.

To append n bytes multiplies the checksum before them by x^8n modulo the polynomial, and adds theirs
(M. Adler, zlib, `crc32_combine`). Polynomials are 32 bits, x^0 the highest.
"""

from libc.stdint cimport uint32_t, uint64_t

cdef uint32_t POLYNOMIAL = 0xEDB88320
cdef uint32_t ONE = <uint32_t>1 << 31

#: x to the power of 2^i modulo the polynomial.
cdef uint32_t[32] SQUARES


cdef uint32_t product(uint32_t one, uint32_t other) noexcept nogil:
    """Return the product of two polynomials."""
    cdef uint32_t found = 0
    while one:
        if one & ONE:
            found ^= other
        one <<= 1
        other = (other >> 1) ^ (POLYNOMIAL if other & 1 else 0)
    return found


cdef int _fill() except -1:
    cdef int i
    SQUARES[0] = ONE >> 1
    for i in range(1, 32):
        SQUARES[i] = product(SQUARES[i - 1], SQUARES[i - 1])
    return 0


_fill()


def shift(uint64_t n_bytes):
    """Return what a checksum is multiplied by when so many bytes follow. O(log n)."""
    cdef uint32_t found = ONE
    cdef int i = 3  # a byte is x^8
    while n_bytes:
        if n_bytes & 1:
            found = product(SQUARES[i & 31], found)  # the 32nd square is x again
        n_bytes >>= 1
        i += 1
    return found


def joined(uint32_t before, uint32_t after, uint32_t shift_of_after):
    """Return the checksum of two texts together. O(1).

    Parameters
    ----------
    before, after : int
        Their checksums, as `zlib.crc32` returns them.
    shift_of_after : int
        What `shift` returns for the length of the second.
    """
    return product(shift_of_after, before) ^ after
