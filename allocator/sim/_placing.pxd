"""Fitting tasks into what machines have left; the classes' fields, for the modules beside it."""

from libc.stdint cimport int32_t, int64_t, uint8_t

from allocator.engine._intmap cimport IntMap


cdef class Need:
    cdef readonly tuple tasks      # ((count, taken, used), …): groups of equal tasks
    cdef readonly object spread    # `Spread` or None
    cdef readonly int64_t n_tasks
    cdef readonly object mask      # bytes, one an agent, not 0 where tasks may run; None: anywhere
    cdef readonly dict made        # (group, count) -> the resources of so many tasks
    cdef readonly Py_ssize_t n_axes
    cdef Py_ssize_t n_groups
    cdef int64_t *count            # (n_groups,)
    cdef int64_t *taken            # (n_groups, n_axes), thousandths a task
    cdef int64_t *used             # (n_groups, n_axes), thousandths a task
    cdef int64_t *total            # (n_axes,), thousandths taken by all tasks, at most 2**63 - 1
    cdef const uint8_t *allowed    # the bytes of `mask`, or NULL
    cdef object group              # the spread's group
    cdef int64_t limit             # the spread's limit


cdef class Grants:
    cdef readonly Py_ssize_t n
    cdef Py_ssize_t capacity
    cdef int32_t *agent            # (n,) index of the machine
    cdef int32_t *row              # (n,) row of the hand that it came from
    cdef int32_t *group            # (n,) group of the need
    cdef int64_t *count            # (n,) tasks
    cdef int add(self, int32_t agent, int32_t row, int32_t group, int64_t count) except -1


cdef class Hand:
    cdef readonly Py_ssize_t n
    cdef readonly Py_ssize_t n_axes
    cdef Py_ssize_t capacity
    cdef int32_t *agent            # (n,) index of the machine
    cdef int64_t *room             # (n,) tasks that may still come
    cdef int64_t *free             # (n, n_axes), thousandths left
    cdef int64_t *offered          # (n, n_axes), thousandths that were there
    cdef int grow(self, Py_ssize_t more) except -1
    cdef int64_t *row_for(self, int32_t agent, int64_t room) except NULL


cdef class Refused:
    cdef readonly Py_ssize_t n
    cdef Py_ssize_t n_axes
    cdef Py_ssize_t capacity
    cdef IntMap rows               # agent -> row
    cdef int32_t *agent            # (n,)
    cdef int64_t *free             # (n, n_axes), the most that was refused of each resource
    cdef int64_t *total            # (n_axes,), sums of `free`
    cdef int note(self, int32_t agent, const int64_t *left) except -1
    cdef int32_t new_row(self, int32_t agent) except -1
    cdef bint holds(self, Need need) noexcept
    cdef bint fits(
        self, Need need, int64_t room, Hand more, dict running, Reservation reservation
    ) except -1


cdef class Reservation:
    cdef readonly double start_s   # when the job is to start
    cdef readonly int64_t order    # its place in the order of age
    cdef Py_ssize_t n_agents
    cdef Py_ssize_t n_axes
    cdef int64_t *extra            # (n_agents, n_axes), thousandths that others may have beyond it


cdef int64_t place_group(
    Need need, Py_ssize_t group, int64_t count, Hand hand, Py_ssize_t begin, dict running,
    Reservation reservation, Grants grants) except -1
cdef Grants place_need(
    Need need, int64_t times, Hand hand, Py_ssize_t begin, dict running, Reservation reservation)
cdef int take_back(
    Need need, Grants grants, Hand hand, dict running, Reservation reservation) except -1
cdef int count_running(Need need, Grants grants, int64_t sign, dict running) except -1
