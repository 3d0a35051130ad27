"""The compiled DRF sorter, for modules that know that it is this one; others take an `Ordering`."""

from allocator.sorter._tree cimport TreeOrdering


cdef class DRFSorter(TreeOrdering):
    pass
