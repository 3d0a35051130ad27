"""Averages over intervals of a run whose end is not known yet."""

from libc.stdint cimport int64_t


cdef class Bins:
    cdef readonly Py_ssize_t n_rows
    cdef readonly Py_ssize_t n_fields
    cdef readonly Py_ssize_t limit  # intervals at most
    cdef readonly double width      # of an interval, a power of two, in seconds
    cdef double *area               # (n_rows, limit, n_fields): level × seconds
    cdef int64_t *counts            # (n_rows, limit)
    cdef Py_ssize_t n_bins          # how many are not empty, at most
    cdef int reach(self, double instant_s) except -1
    cdef int join(self, Py_ssize_t n) except -1
    cdef int add(self, Py_ssize_t row, double from_s, double to_s, const double *levels) except -1
    cdef int count(self, Py_ssize_t row, double instant_s, int64_t n) except -1
