"""What an offer must at least contain, as the cycle asks it of bundles."""

from libc.stdint cimport int32_t, int64_t

from allocator.engine._bundles cimport Bundles
from allocator.engine._items cimport Items


cdef struct Need:
    int64_t milli      # how much of one name, 1/1000
    int32_t column     # of the name's scalars, NONE as long as there are none
    int32_t counted    # number of the name among those of ranges and sets, NONE likewise
    bint is_last       # whether it is the last of its amounts


cdef class Minima:
    cdef readonly tuple amounts     # Quantities: any one of them is enough, () is no minimum
    cdef Bundles bundles            # what is measured against them
    cdef Items items                # theirs
    cdef Need *needs                # (len(names),) those of each amounts together
    cdef list names                 # str: the name of each need
    cdef bint is_void               # whether anything is enough
    cdef Py_ssize_t n_columns       # columns that there were when the names were last looked up
    cdef Py_ssize_t n_counted_names # and names of ranges and sets

    cdef bint are_met_by(self, int32_t bundle) except -1
    cdef int fill(self) except -1
    cdef int look_up(self) except -1
