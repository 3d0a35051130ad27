"""What was asked of rests before, and answered: a table in which the last few thousand stay.

An answer stands in one of the two places that its question hashes to; a new one takes the first,
what was there the second, and what was there goes. Whoever asks keeps the references (B5).
"""

from libc.stdint cimport int32_t, uint64_t

from allocator.engine._order cimport mixed

cdef enum:
    N_ANSWERS = 4096  # places, a power of two

    # What is asked of rests.
    PLUS = 1
    MINUS = 2
    NONSHARED = 3
    SEEN = 4
    ALONG = 5


cdef struct Answer:
    int32_t operation  # what was asked for, 0 in an empty place
    int32_t a          # the rest that it was asked of
    int32_t b          # the other rest, or the viewer, or 0
    int32_t result     # the rest it gave, NONE if it cannot be done


cdef inline Answer *places_of(Answer *answers, int operation, int32_t a, int32_t b) noexcept nogil:
    """Return the two places of a question."""
    cdef uint64_t pair = <uint64_t>a << 32 | <uint64_t>b
    # The golden ratio of 2**64 spreads pairs; the operation must not only change low bits.
    return answers + (mixed(pair * 0x9E3779B97F4A7C15ULL + <uint64_t>operation) % N_ANSWERS & ~1)


cdef inline bint is_of_rests(int operation) noexcept nogil:
    """Tell whether an operation is asked of two rests."""
    return operation == PLUS or operation == MINUS
