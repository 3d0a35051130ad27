"""The jobs of a run, a row each."""

from libc.stdint cimport int32_t, int64_t, uint8_t


cdef class JobTable:
    cdef readonly Py_ssize_t n         # rows in use
    cdef int32_t[::1] tenant
    cdef uint8_t[::1] never
    cdef double[::1] submit_s
    cdef double[::1] run_s             # how long each task runs
    cdef double[::1] requested_s       # how long it says that they do
    cdef double[::1] start_s           # when the last of its tasks first ran, or NaN
    cdef double[::1] end_s             # when its last task ended, or NaN
    cdef double[::1] since_s           # up to when `task_seconds` counts
    cdef double[::1] task_seconds
    cdef int64_t[::1] n_waiting
    cdef int64_t[::1] n_running
    cdef int64_t[::1] tasks
    cdef int64_t[::1] tasks_lost
    cdef int advance(self, Py_ssize_t row, double now_s) noexcept
