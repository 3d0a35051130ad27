"""What changed, as other compiled modules tell it: see `_changes.pyx`."""

from libc.stdint cimport int64_t


cdef class Record:
    cdef int64_t told                # `Journal.n_told` when its last change was told

    cdef tuple change(self)


cdef class Journal:
    cdef readonly str offer_prefix   # what the ids of offers begin with, before their "O"
    cdef int64_t n_told              # grows with each change told
    cdef int64_t last_take           # `n_told` when a reader last took changes, −1 without readers
    cdef list readers                # Changes: those that are open
    cdef list to_wake                # Changes: those that had nothing to take before this call
    cdef int depth                   # how many calls are under way, one within the other
    cdef dict calls                  # name -> call, while there are readers: the engine's own

    cdef int note(self, object change, int64_t told) except -1
    cdef int tell_gone(self, Record record) except -1
    cdef int64_t tell_offers(self, int64_t first, int64_t n) except -1
    cdef int begin_call(self) except -1
    cdef int end_call(self, bint is_refused) except -1
    cdef int wake(self) except -1
    cdef int forget_reader(self, Changes reader) except -1
    cdef Journal copy(self)


cdef class Changes:
    cdef Journal journal             # None once it is closed
    cdef object wake                 # callable or None
    cdef list found                  # Record, (kind, id), number of an offer or range of numbers
    cdef set pairs                   # the (kind, id) among them
    cdef Py_ssize_t n_settled        # how many of `found` are of calls that have ended
    cdef int64_t taken               # `Journal.n_told` at the last take
    cdef bint may_repeat             # whether an id may be in `found` twice

    cdef int add(self, object change) except -1
    cdef int take_back(self) except -1


# A thing whose last change every reader has yet to take is not told again: `told` is then above
# `last_take`. Without readers that is −1, and nothing is.

cdef inline int tell(Journal journal, Record record) except -1:
    """Tell that what a view of a record shows has changed. O(1), O(readers) the first time."""
    if record.told <= journal.last_take:
        journal.note(record, record.told)
        record.told = journal.n_told
    return 0


cdef inline int tell_offer(Journal journal, int64_t number, int64_t *told) except -1:
    """Tell that an open offer has changed. O(1), O(readers) the first time."""
    if told[0] <= journal.last_take:
        journal.note(number, told[0])
        told[0] = journal.n_told
    return 0
