"""The jobs of a run, a row each, in flat columns.

W6. Of a submitted job that fits, `n_waiting + n_running` are the tasks that have not ended.
"""

cimport cython
from libc.math cimport NAN, isnan
from libc.stdint cimport int64_t

import numpy as np

from allocator.sim import record


@cython.final
@cython.auto_pickle(False)
cdef class JobTable:
    """What is known of each job.

    Parameters
    ----------
    capacity : int
        Rows at most.
    """

    def __cinit__(self, Py_ssize_t capacity):
        self.tenant = np.zeros(capacity, np.int32)
        self.never = np.zeros(capacity, np.uint8)
        self.submit_s = np.zeros(capacity)
        self.run_s = np.zeros(capacity)
        self.requested_s = np.zeros(capacity)
        self.start_s = np.full(capacity, NAN)
        self.end_s = np.full(capacity, NAN)
        self.since_s = np.zeros(capacity)
        self.task_seconds = np.zeros(capacity)
        self.n_waiting = np.zeros(capacity, np.int64)
        self.n_running = np.zeros(capacity, np.int64)
        self.tasks = np.zeros(capacity, np.int64)
        self.tasks_lost = np.zeros(capacity, np.int64)

    def add(
        self, int tenant, double submit_s, double run_s, double requested_s, int64_t n_tasks,
        bint fits
    ):
        """Add a job of which all tasks wait, or that never fits; return its row. O(1)."""
        cdef Py_ssize_t row = self.n
        self.tenant[row], self.submit_s[row] = tenant, submit_s
        self.run_s[row], self.requested_s[row] = run_s, requested_s
        self.tasks[row], self.never[row] = n_tasks, not fits
        self.n_waiting[row] = n_tasks if fits else 0
        self.n += 1
        return row

    cdef int advance(self, Py_ssize_t row, double now_s) noexcept:
        self.task_seconds[row] += self.n_running[row] * (now_s - self.since_s[row])
        self.since_s[row] = now_s
        return 0

    def started(self, Py_ssize_t row, double now_s, int64_t n):
        """Have n tasks start; tell whether none waits any more. O(1)."""
        self.advance(row, now_s)
        self.n_waiting[row] -= n
        self.n_running[row] += n
        if self.n_waiting[row]:
            return False
        if isnan(self.start_s[row]):
            self.start_s[row] = now_s
        return True

    def ended(self, Py_ssize_t row, double now_s, int64_t n):
        """Have n tasks end; tell whether the job has finished. O(1)."""
        self.advance(row, now_s)
        self.n_running[row] -= n
        if self.n_waiting[row] or self.n_running[row]:
            return False
        self.end_s[row] = now_s
        return True

    def lost(self, Py_ssize_t row, double now_s, int64_t n):
        """Lose n tasks, which wait again; tell whether none did before. O(1)."""
        cdef bint none_waited = self.n_waiting[row] == 0
        self.advance(row, now_s)
        self.n_running[row] -= n
        self.n_waiting[row] += n
        self.tasks_lost[row] += n
        return none_waited

    def run_of(self, Py_ssize_t row):
        """Return how long each of its tasks runs, in seconds. O(1)."""
        return self.run_s[row]

    def requested_of(self, Py_ssize_t row):
        """Return how long it says that they run, in seconds. O(1)."""
        return self.requested_s[row]

    def finish(self, double end_s):
        """Count running tasks up to the end of the run, and return the columns by name.

        O(jobs).
        """
        cdef Py_ssize_t row
        for row in range(self.n):
            if self.n_running[row]:
                self.advance(row, end_s)
        used = slice(0, self.n)
        waiting, running = np.asarray(self.n_waiting)[used], np.asarray(self.n_running)[used]
        state = np.select(
            [np.asarray(self.never)[used] > 0, waiting > 0, running > 0],
            [record.NEVER, record.WAITING, record.RUNNING], record.FINISHED).astype(np.uint8)
        columns = {
            "tenant": self.tenant, "submit_s": self.submit_s, "start_s": self.start_s,
            "end_s": self.end_s, "tasks": self.tasks, "tasks_lost": self.tasks_lost,
            "task_seconds": self.task_seconds,
        }
        found = {name: np.asarray(column)[used].copy() for name, column in columns.items()}
        return {"state": state, **found}
