"""Averages over intervals of a run whose end is not known yet.

At most so many intervals of one width tile the time so far; when they do not reach any more, the
width is doubled and neighbours are joined. So the first half of them, at least, is in use in the
end, and what is kept does not grow with the run.

W5. Interval i is from i · width to (i + 1) · width; the width is a power of two, so that these
    are exact.
"""

cimport cython
from cpython.mem cimport PyMem_Free
from libc.math cimport ceil, floor
from libc.stdint cimport int64_t, uint8_t

from allocator.engine._memory cimport zeroed
from allocator.sim._placing cimport Grants, Need

import numpy as np

#: The first width, in seconds.
cdef double FIRST_WIDTH = 2.0 ** -30


@cython.final
@cython.auto_pickle(False)
cdef class Bins:
    """What some levels, and some counts, come to in each interval.

    Parameters
    ----------
    n_rows, n_fields : int
        A row has a level of each field, and a count.
    limit : int
        Intervals at most, positive.
    """

    def __cinit__(self, Py_ssize_t n_rows, Py_ssize_t n_fields, Py_ssize_t limit):
        self.n_rows, self.n_fields, self.limit = n_rows, n_fields, limit
        self.width = FIRST_WIDTH
        self.area = <double *>zeroed(n_rows * limit * n_fields, sizeof(double))
        self.counts = <int64_t *>zeroed(n_rows * limit, sizeof(int64_t))

    def __dealloc__(self):
        PyMem_Free(self.area)
        PyMem_Free(self.counts)

    cdef int reach(self, double instant_s) except -1:
        """Have intervals up to an instant. O(size) when the width grows."""
        cdef Py_ssize_t join = 1
        while instant_s > self.limit * self.width:
            self.width *= 2
            join = min(2 * join, 2 * self.limit)  # all in one, and no overflow
        if join > 1:
            self.join(join)
        return 0

    cdef int join(self, Py_ssize_t n) except -1:
        """Join each n neighbours. O(intervals in use × rows × fields)."""
        cdef Py_ssize_t row, bin, field, target
        cdef double *area
        cdef int64_t *counts
        for row in range(self.n_rows):
            area = &self.area[row * self.limit * self.n_fields]
            counts = &self.counts[row * self.limit]
            for bin in range(1, self.n_bins):
                target = bin // n
                counts[target] += counts[bin]
                counts[bin] = 0
                for field in range(self.n_fields):
                    area[target * self.n_fields + field] += area[bin * self.n_fields + field]
                    area[bin * self.n_fields + field] = 0
        self.n_bins = (self.n_bins + n - 1) // n
        return 0

    cdef int add(self, Py_ssize_t row, double from_s, double to_s, const double *levels) except -1:
        """Add what a row's levels come to from one instant to another. O(intervals × fields)."""
        cdef double *area
        cdef double begin_s = from_s, end_s
        cdef Py_ssize_t bin, field
        self.reach(to_s)
        bin = <Py_ssize_t>floor(from_s / self.width)
        while begin_s < to_s:
            end_s = min(to_s, (bin + 1) * self.width)
            area = &self.area[(row * self.limit + bin) * self.n_fields]
            for field in range(self.n_fields):
                area[field] += levels[field] * (end_s - begin_s)
            begin_s = end_s
            bin += 1
        self.n_bins = max(self.n_bins, bin)
        return 0

    cdef int count(self, Py_ssize_t row, double instant_s, int64_t n) except -1:
        """Count at an instant that the intervals reach; at the very end, in the last. O(1)."""
        cdef Py_ssize_t bin = min(<Py_ssize_t>floor(instant_s / self.width), self.limit - 1)
        self.counts[row * self.limit + bin] += n
        self.n_bins = max(self.n_bins, bin + 1)
        return 0

    def reaches(self, double instant_s):
        """Tell whether an instant is before the end of the intervals. O(1)."""
        return instant_s < self.limit * self.width

    def edges(self, double end_s):
        """Return the edges of the intervals of a run that ends at `end_s`. O(intervals)."""
        cdef Py_ssize_t n = max(1, <Py_ssize_t>ceil(end_s / self.width))
        edges = np.arange(n + 1) * self.width
        edges[n] = end_s
        return edges

    def averages(self, double end_s, const double[:, ::1] levels):
        """Return the averages of a run that ends at `end_s`, up to which all has been added.

        Parameters
        ----------
        end_s : float
        levels : (rows, fields) float64
            Those at the end: what the one interval of a run of no time has.

        Returns
        -------
        (rows, fields, n) float64 array
            O(size).
        """
        if end_s <= 0:
            return np.array(levels)[:, :, np.newaxis]
        edges = self.edges(end_s)
        n = len(edges) - 1
        found = np.empty((self.n_rows, self.n_fields, n))
        cdef double[:, :, ::1] into = found
        cdef double[::1] lengths = np.diff(edges)
        cdef Py_ssize_t row, bin, field
        for row in range(self.n_rows):
            for bin in range(lengths.shape[0]):
                for field in range(self.n_fields):
                    into[row, field, bin] = (
                        self.area[(row * self.limit + bin) * self.n_fields + field] / lengths[bin])
        return found

    def counted(self, double end_s):
        """Return the counts, (rows, n) int64; what came after the end is in the last. O(size)."""
        n = len(self.edges(end_s)) - 1
        cdef int64_t[:, ::1] into = np.zeros((self.n_rows, n), np.int64)
        cdef Py_ssize_t row, bin, last = n - 1
        for row in range(self.n_rows):
            for bin in range(self.n_bins):
                into[row, min(bin, last)] += self.counts[row * self.limit + bin]
        return np.asarray(into)


@cython.final
@cython.auto_pickle(False)
cdef class HeatMap:
    """How much of each machine is in use over time: the mean dominant share, neighbours pooled.

    Parameters
    ----------
    totals : (machines, axes) int64
        Thousandths that each machine has.
    n_pools, n_bins : int
        Rows and columns at most, positive.
    """

    cdef readonly Py_ssize_t n_machines
    cdef readonly Py_ssize_t n_axes
    cdef readonly Py_ssize_t pooled  # machines in a pool
    cdef Bins bins                   # row: a pool; fields: sum of the shares, machines up
    cdef const int64_t[:, ::1] totals
    cdef int64_t[:, ::1] used        # (machines, axes), thousandths in use
    cdef double[::1] share           # (machines,) dominant share; 0 of one that is down
    cdef uint8_t[::1] up             # (machines,)
    cdef double[:, ::1] levels       # (pools, 2)
    cdef double[::1] since_s         # (pools,) up to when the bins have it

    def __cinit__(self, const int64_t[:, ::1] totals, Py_ssize_t n_pools, Py_ssize_t n_bins):
        cdef Py_ssize_t n = totals.shape[0], n_rows, pool
        self.totals, self.n_machines, self.n_axes = totals, n, totals.shape[1]
        self.pooled = max(1, -(-n // n_pools))
        n_rows = -(-n // self.pooled)
        self.bins = Bins(n_rows, 2, n_bins)
        self.used = np.zeros((n, self.n_axes), np.int64)
        self.share = np.zeros(n)
        self.up = np.ones(n, np.uint8)
        self.levels = np.zeros((n_rows, 2))
        self.since_s = np.zeros(n_rows)
        for pool in range(n_rows):
            self.look_at(pool)

    cdef int advance(self, Py_ssize_t pool, double now_s) except -1:
        if now_s > self.since_s[pool]:
            self.bins.add(pool, self.since_s[pool], now_s, &self.levels[pool, 0])
            self.since_s[pool] = now_s
        return 0

    cdef int look_at(self, Py_ssize_t pool) except -1:
        """Add up a pool anew, so that no rounding is left of what is gone. O(machines in it)."""
        cdef Py_ssize_t machine
        cdef double share = 0, n_up = 0
        for machine in range(pool * self.pooled, min((pool + 1) * self.pooled, self.n_machines)):
            if self.up[machine]:
                n_up += 1
                share += self.share[machine]
        self.levels[pool, 0], self.levels[pool, 1] = share, n_up
        return 0

    def change(self, double now_s, Need need, Grants grants, int64_t sign):
        """Have tasks start (1) or end (-1). O(grants × (axes + machines in a pool))."""
        cdef Py_ssize_t i, axis, machine
        cdef const int64_t *used
        for i in range(grants.n):
            machine = grants.agent[i]
            used = &need.used[grants.group[i] * self.n_axes]
            self.advance(machine // self.pooled, now_s)
            self.share[machine] = 0
            for axis in range(self.n_axes):
                self.used[machine, axis] += sign * grants.count[i] * used[axis]
                if self.totals[machine, axis]:
                    self.share[machine] = max(
                        self.share[machine],
                        <double>self.used[machine, axis] / <double>self.totals[machine, axis])
            self.look_at(machine // self.pooled)

    def set_up(self, double now_s, Py_ssize_t machine, bint up):
        """Have a machine be up or down. O(machines in a pool)."""
        self.advance(machine // self.pooled, now_s)
        self.up[machine] = up
        self.look_at(machine // self.pooled)

    def finish(self, double end_s):
        """Return edges of time, edges of pools, and (pools, n) mean shares, NaN while down."""
        cdef Py_ssize_t pool
        for pool in range(self.bins.n_rows):
            self.advance(pool, end_s)
        found = self.bins.averages(end_s, self.levels)
        first = np.append(np.arange(self.bins.n_rows) * self.pooled, self.n_machines)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(found[:, 1] > 0, found[:, 0] / found[:, 1], np.nan)
        return self.bins.edges(end_s), first, mean
