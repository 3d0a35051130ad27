"""Marks as other compiled modules see them: what the next cycle has to look at (S3, S4)."""

from libc.stdint cimport int32_t, int64_t, uint64_t

from allocator.engine._records cimport Agent, Subscription


cdef class Marks:
    cdef list agents_at              # index -> Agent or None: that of `State`
    cdef dict fresh                  # Subscription -> None: to be tried on every agent
    cdef int64_t epoch               # grows when all agents are to be looked at
    cdef int64_t swept               # the epoch up to which a full cycle did
    cdef int64_t widened             # the epoch that `mark_all` made last
    cdef int32_t *dirty              # (n_dirty,) indices of agents; some may be dirty no more
    cdef Py_ssize_t n_dirty
    cdef Py_ssize_t dirty_capacity
    cdef uint64_t *reopened          # (n_reopened,) agent << 32 | leaf
    cdef Py_ssize_t n_reopened
    cdef Py_ssize_t reopened_capacity
    cdef bint changed                # whether anything happened since the last full cycle began
    cdef bint in_cycle               # whether a cycle is what changes the state

    # Marking.
    cdef void note(self) noexcept
    cdef int mark_agent(self, Agent agent) except -1
    cdef int put_dirty(self, Agent agent) except -1
    cdef void unmark_agent(self, Agent agent) noexcept
    cdef void mark_all(self) noexcept
    cdef void mark_all_for_quotas(self) noexcept
    cdef void mark_rest(self) noexcept
    cdef int mark_subscription(self, Subscription leaf) except -1
    cdef int unmark_subscription(self, Subscription leaf) except -1
    cdef int mark_pair(self, int32_t agent, int32_t leaf) except -1

    # What a cycle does with marks.
    cdef void begin_cycle(self) noexcept
    cdef void end_cycle(self) noexcept
    cdef void begin_sweep(self) noexcept
    cdef int end_sweep(self) except -1
    cdef list wanted(self)
    cdef bint is_due(self, Agent agent) noexcept
    cdef int set_looked(self, Agent agent, bint has_quotas) except -1
    cdef Agent dirty_agent(self, Py_ssize_t i)
    cdef int keep_dirty(self) except -1
    cdef uint64_t *take_pairs(self, Py_ssize_t *n) noexcept
    cdef int spread_pairs(self) except -1

    # Looking.
    cdef bint any_due(self, object agents) except -1
    cdef object touched(self)
    cdef Marks copy_for(self, list agents_at, list leaves_at)
