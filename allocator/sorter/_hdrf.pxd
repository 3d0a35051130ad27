"""The compiled H-DRF sorter, for modules that know it is this one; others take an `Ordering`."""

from libc.stdint cimport int32_t, int64_t

from allocator.sorter._tree cimport TreeOrdering


cdef struct Kin:
    int32_t ahead    # index of the sibling before it by path, NONE for the first
    int32_t behind   # index of the sibling after it by path, NONE for the last
    int32_t eldest   # index of its first child by path, NONE in a leaf
    bint blocked     # whether nothing at or below it can be given more (G2)


cdef class HDRFSorter(TreeOrdering):
    cdef readonly double saturation  # a name is full if no larger part of its total is left; 0 to 1

    # By node, with room for no fewer nodes and columns than the tree has.
    cdef Kin *kin                  # (kin_capacity,) siblings by path
    cdef double *vectors           # (kin_capacity, vector_stride) of inner nodes (G3), 1/1000
    cdef int32_t kin_capacity
    cdef Py_ssize_t vector_stride

    cdef char *full                # (vector_stride,) by column: whether it is taken for saturated
    cdef bint any_full             # whether any is

    cdef int fit(self, int32_t capacity, Py_ssize_t stride) except -1
    cdef int link(self, int32_t node) except -1
    cdef bint is_full(self, Py_ssize_t column) noexcept nogil
    cdef void note_full(self) noexcept nogil
    cdef int follow(self) except -1
    cdef double key_of_leaf(self, int32_t leaf) noexcept nogil
    cdef double key_of_inner(self, int32_t node) noexcept nogil
    cdef double least_key(self, int32_t node) noexcept nogil
    cdef void sum_vectors(self, int32_t node, double least) noexcept nogil
    cdef void refresh_below(self, int32_t node) noexcept nogil
    cdef int full_as(self, HDRFSorter original) except -1
