"""The books of a simulation: who holds what, who waits, how much is in use, and since when.

A row a role, the subtree of it; the last row is the cluster. What an event changes is booked on
the rows of its role and of all above it, and on the cluster's.

W7. `levels` of a row are what its integers say; up to `since_s` of it they are in the bins.
W8. `held` is what tasks take, claims included, `open` what offers hold that are kept open; shares
    are of both, and of what is up.
W9. A row has consumed what is reserved to its subtree, and what of `held` and `open` is not of
    those reservations (`own`).
"""

cimport cython
from cpython.mem cimport PyMem_Free
from libc.stdint cimport int64_t, uint8_t

from allocator.engine._memory cimport zeroed
from allocator.sim._bins cimport Bins
from allocator.sim._placing cimport Grants, Need

import numpy as np

cdef extern from *:
    # Jobs that each fit the cluster may together wait for more than 2**63 thousandths.
    ctypedef long long int128_t "__int128"

#: Fields of a row in the bins; after them, `use` and `need` by axis.
cdef enum:
    SHARE, IN_NEED, QUEUE, RUNNING, N_PLAIN

#: Intervals in which a run measures itself, at most.
cdef Py_ssize_t N_MEASURED = 500


cdef struct Meter:
    # The integrals of a level to the mark and in all; as `allocator.sim.meter.Meter`.
    double level
    double peak
    double since_s
    double mark_area
    double run_area


cdef struct Condition:
    # The integral of a level while a condition holds; as `allocator.sim.meter.ConditionMeter`.
    double level
    double since_s
    double area
    double span_s
    bint holds


cdef struct Account:
    int64_t submitted
    int64_t finished
    int64_t running       # jobs
    int64_t waiting       # jobs
    int64_t never_fits
    int64_t tasks_started
    int64_t n_running     # tasks
    int64_t n_lost        # tasks
    Meter share
    Condition in_need
    bint has_quota


cdef void set_meter(Meter *meter, double now_s, double level, double mark_s) noexcept:
    meter.run_area += meter.level * (now_s - meter.since_s)
    if meter.since_s < mark_s:
        meter.mark_area += meter.level * (min(now_s, mark_s) - meter.since_s)
    meter.since_s, meter.level = now_s, level
    meter.peak = max(meter.peak, level)


cdef void set_condition(Condition *of, double now_s, double level, bint holds) noexcept:
    if of.holds:
        of.area += of.level * (now_s - of.since_s)
        of.span_s += now_s - of.since_s
    of.since_s, of.level, of.holds = now_s, level, holds


cdef tuple means(Meter *meter, double end_s, double mark_s):
    """Return the averages to the mark and to the end, as `Meter.means`."""
    set_meter(meter, end_s, meter.level, mark_s)
    mean_run = meter.run_area / end_s if end_s > 0 else meter.level
    if 0 < mark_s <= end_s:
        return meter.mark_area / mark_s, mean_run
    return mean_run, mean_run


@cython.final
@cython.auto_pickle(False)
cdef class Ledger:
    """Keeps the books per role, at every level of the tree, and for the cluster.

    Parameters
    ----------
    parents : (roles,) int64
        The row of each role's parent; -1 for none.
    capacity : (axes,) int64
        Thousandths that are up.
    counted : (axes,) uint8
        Not 0 where a resource counts for shares.
    mark_s : float
        The last submission, after which a cluster only drains.
    points : int
        Intervals of the series at most, positive.
    """

    cdef readonly Py_ssize_t n_rows
    cdef readonly Py_ssize_t n_axes
    cdef readonly int64_t tasks_ended
    cdef double mark_s
    cdef int64_t[::1] parents
    cdef uint8_t[::1] counted
    cdef int64_t[::1] capacity
    cdef double[:, ::1] capacity_levels  # (1, axes)
    cdef double capacity_since_s
    cdef Account *accounts               # (rows,)
    cdef Meter *uses                     # (axes,) of the cluster, in thousandths
    cdef int64_t[:, ::1] held            # (rows, axes), W8
    cdef int64_t[:, ::1] open            # (rows, axes), W8
    cdef int64_t[:, ::1] use             # (rows, axes), what running tasks use
    cdef int128_t *waiting               # (rows, axes), what waiting tasks are to use
    cdef double[:, ::1] levels           # (rows, fields), W7
    cdef double[::1] since_s             # (rows,), W7
    cdef int64_t[::1] taken              # (axes,) sums over what is being booked
    cdef int64_t[::1] used
    cdef Bins series
    cdef Bins measured                   # the same as `series` where that has as many intervals
    cdef Bins capacity_series
    cdef Bins capacity_measured
    cdef list late                       # (instant, row, offers) beyond the bins
    cdef int64_t[:, ::1] guarantee       # (rows, axes), -1 for none
    cdef int64_t[:, ::1] limit           # (rows, axes), -1 for none
    cdef int64_t[:, ::1] reserved        # (rows, axes), on machines that are up; W9
    cdef int64_t[:, ::1] own             # (rows, axes), W9
    cdef int64_t[:, ::1] most            # (rows, axes), the most that was consumed
    cdef double[:, ::1] met_s            # (rows, axes), for how long the guarantee was met

    def __cinit__(
        self, const int64_t[::1] parents, const int64_t[::1] capacity,
        const uint8_t[::1] counted, double mark_s, Py_ssize_t points
    ):
        cdef Py_ssize_t n = parents.shape[0] + 1, k = capacity.shape[0]
        cdef tuple shape = (n, k)
        self.n_rows, self.n_axes, self.mark_s = n, k, mark_s
        self.parents, self.counted = np.array(parents), np.array(counted)
        self.accounts = <Account *>zeroed(n, sizeof(Account))
        self.uses = <Meter *>zeroed(k, sizeof(Meter))
        self.waiting = <int128_t *>zeroed(n * k, sizeof(int128_t))
        self.held, self.open = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self.use, self.own = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self.reserved, self.most = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self.guarantee, self.limit = np.full(shape, -1), np.full(shape, -1)
        self.met_s = np.zeros(shape)
        self.levels, self.since_s = np.zeros((n, N_PLAIN + 2 * k)), np.zeros(n)
        self.taken, self.used = np.zeros(k, np.int64), np.zeros(k, np.int64)
        self.late = []
        self.series = self.measured = Bins(n, N_PLAIN + 2 * k, points)
        self.capacity_series = self.capacity_measured = Bins(1, k, points)
        if points != N_MEASURED:
            self.measured = Bins(n, N_PLAIN + 2 * k, N_MEASURED)
            self.capacity_measured = Bins(1, k, N_MEASURED)
        self.capacity = np.array(capacity)
        self.capacity_levels = np.array(capacity)[np.newaxis] / 1000

    def __dealloc__(self):
        PyMem_Free(self.accounts)
        PyMem_Free(self.uses)
        PyMem_Free(self.waiting)

    # What changes a row.

    cdef Py_ssize_t above(self, Py_ssize_t row) noexcept:
        """Return the next row that something is booked on: the parent, the cluster, then -1."""
        if row == self.n_rows - 1:
            return -1
        return self.parents[row] if self.parents[row] >= 0 else self.n_rows - 1

    cdef int advance(self, Py_ssize_t row, double now_s) except -1:
        """Put a row's levels in the bins up to the present (W7)."""
        cdef double since_s = self.since_s[row]
        if now_s <= since_s:
            return 0
        self.series.add(row, since_s, now_s, &self.levels[row, 0])
        if self.measured is not self.series:
            self.measured.add(row, since_s, now_s, &self.levels[row, 0])
        if self.accounts[row].has_quota:
            self.advance_quota(row, now_s - since_s)
        self.since_s[row] = now_s
        if self.late:
            self.count_late()
        return 0

    cdef int advance_quota(self, Py_ssize_t row, double span_s) except -1:
        cdef Py_ssize_t axis
        cdef int128_t wanted
        for axis in range(self.n_axes):
            wanted = self.waiting[row * self.n_axes + axis] + self.use[row, axis]
            if self.guarantee[row, axis] >= 0 and (
                    self.consumed(row, axis) >= min(wanted, <int128_t>self.guarantee[row, axis])):
                self.met_s[row, axis] += span_s

    cdef int64_t consumed(self, Py_ssize_t row, Py_ssize_t axis) noexcept:
        return (self.reserved[row, axis] + self.held[row, axis] + self.open[row, axis]
                - self.own[row, axis])

    cdef double dominant_share(self, Py_ssize_t row) noexcept:
        cdef double share = 0
        cdef int64_t held
        cdef Py_ssize_t axis
        for axis in range(self.n_axes):
            held = self.held[row, axis] + self.open[row, axis]
            if held and self.counted[axis] and self.capacity[axis] > 0:
                share = max(share, <double>held / <double>self.capacity[axis])
        return share

    cdef int note_share(self, Py_ssize_t row, double now_s) except -1:
        """Book a share, or that the role began or ceased to wait for more."""
        cdef Account *account = &self.accounts[row]
        cdef double share = self.levels[row, SHARE]
        if share != account.share.level:
            set_meter(&account.share, now_s, share, self.mark_s)
        set_condition(&account.in_need, now_s, share, account.waiting > 0)

    cdef int look_at(self, Py_ssize_t row) except -1:
        """Have a row's levels say what its integers do (W7)."""
        cdef Account *account = &self.accounts[row]
        cdef double *level = &self.levels[row, 0]
        cdef Py_ssize_t axis
        level[SHARE] = self.dominant_share(row)
        level[IN_NEED] = account.waiting > 0
        level[QUEUE] = account.waiting
        level[RUNNING] = account.n_running
        for axis in range(self.n_axes):
            level[N_PLAIN + axis] = self.use[row, axis] / 1000.0
            level[N_PLAIN + self.n_axes + axis] = <double>(
                self.waiting[row * self.n_axes + axis] + self.use[row, axis]) / 1000.0
        if account.has_quota:
            for axis in range(self.n_axes):
                self.most[row, axis] = max(self.most[row, axis], self.consumed(row, axis))
        return 0

    cdef int64_t add_up(self, Need need, Grants grants) except -1:
        """Sum what tasks take and use; return how many they are. O(grants × axes)."""
        cdef Py_ssize_t i, axis, at
        cdef int64_t n_tasks = 0
        self.taken[:] = 0
        self.used[:] = 0
        for i in range(grants.n):
            n_tasks += grants.count[i]
            at = grants.group[i] * self.n_axes
            for axis in range(self.n_axes):
                self.taken[axis] += grants.count[i] * need.taken[at + axis]
                self.used[axis] += grants.count[i] * need.used[at + axis]
        return n_tasks

    cdef int hold(self, Py_ssize_t row, double now_s, int64_t n_tasks, bint waits) except -1:
        """Book that so many tasks more (or fewer) run on what `taken` and `used` say.

        With `waits`, tasks that waited start, or that ran wait again.
        """
        cdef Py_ssize_t axis
        cdef int64_t sign = 1 if n_tasks > 0 else -1
        cdef bint is_cluster = False
        while row >= 0:
            is_cluster = row == self.n_rows - 1
            self.advance(row, now_s)
            self.accounts[row].n_running += n_tasks
            for axis in range(self.n_axes):
                self.held[row, axis] += sign * self.taken[axis]
                self.use[row, axis] += sign * self.used[axis]
                if waits:
                    self.waiting[row * self.n_axes + axis] -= sign * self.used[axis]
            self.look_at(row)
            if not is_cluster:
                self.note_share(row, now_s)
            row = self.above(row)
        for axis in range(self.n_axes):
            if self.used[axis]:
                set_meter(
                    &self.uses[axis], now_s,
                    self.uses[axis].level + sign * self.used[axis], self.mark_s)
        return 0

    # Events.

    def submitted(self, Py_ssize_t row, double now_s, tuple needs):
        """Count a job that has come: it waits for what it starts, or with None never fits.

        O(depth × (needs + axes)).
        """
        cdef Account *account
        cdef Need need
        while row >= 0:
            account = &self.accounts[row]
            account.submitted += 1
            if needs is None:
                account.never_fits += 1
            else:
                self.advance(row, now_s)
                account.waiting += 1
                for times, need in needs:
                    self.want(row, need, times)
                self.look_at(row)
                if account.waiting == 1 and row < self.n_rows - 1:
                    self.note_share(row, now_s)
            row = self.above(row)

    cdef int want(self, Py_ssize_t row, Need need, int64_t times) except -1:
        cdef Py_ssize_t group, axis
        cdef int128_t n
        for group in range(need.n_groups):
            n = times * need.count[group]
            for axis in range(self.n_axes):
                self.waiting[row * self.n_axes + axis] += (
                    n * need.used[group * self.n_axes + axis])
        return 0

    def started(
        self, Py_ssize_t row, double now_s, Need need, Grants grants, bint is_new=True
    ):
        """Book tasks that waited and run; `is_new`: the run has started them.

        O(depth × axes + grants).
        """
        cdef int64_t n_tasks = self.add_up(need, grants)
        cdef Py_ssize_t r = row if is_new else -1
        while r >= 0:
            self.accounts[r].tasks_started += n_tasks
            r = self.above(r)
        self.hold(row, now_s, n_tasks, True)

    def ended(self, Py_ssize_t row, double now_s, Need need, Grants grants):
        """Book tasks that have ended. O(depth × axes + grants)."""
        cdef int64_t n_tasks = self.add_up(need, grants)
        self.tasks_ended += n_tasks
        self.hold(row, now_s, -n_tasks, False)

    def lost(self, Py_ssize_t row, double now_s, Need need, Grants grants):
        """Book tasks that were lost, and wait again. O(depth × axes + grants)."""
        cdef int64_t n_tasks = self.add_up(need, grants)
        cdef Py_ssize_t r = row
        while r >= 0:
            self.accounts[r].n_lost += n_tasks
            r = self.above(r)
        self.hold(row, now_s, -n_tasks, True)

    def all_started(self, Py_ssize_t row, double now_s):
        """Book a job of which no task waits any more. O(depth)."""
        self.wait(row, now_s, -1)

    def waits_again(self, Py_ssize_t row, double now_s):
        """Book a job of which tasks wait again. O(depth)."""
        self.wait(row, now_s, 1)

    cdef int wait(self, Py_ssize_t row, double now_s, int64_t n) except -1:
        cdef Account *account
        while row >= 0:
            account = &self.accounts[row]
            self.advance(row, now_s)
            account.waiting += n
            account.running -= n
            self.look_at(row)
            if account.waiting == (1 if n > 0 else 0) and row < self.n_rows - 1:
                self.note_share(row, now_s)
            row = self.above(row)
        return 0

    def finished(self, Py_ssize_t row):
        """Book a job whose tasks have all ended. O(depth)."""
        while row >= 0:
            self.accounts[row].running -= 1
            self.accounts[row].finished += 1
            row = self.above(row)

    def keep_open(self, Py_ssize_t row, double now_s, amounts, int64_t sign):
        """Book an offer that is kept open (1) or not any more (-1). O(depth × axes)."""
        cdef Py_ssize_t axis
        while row >= 0:
            self.advance(row, now_s)
            for axis in range(self.n_axes):
                self.open[row, axis] += sign * <int64_t>amounts[axis]
            self.look_at(row)
            if row < self.n_rows - 1:
                self.note_share(row, now_s)
            row = self.above(row)

    def offered(self, Py_ssize_t row, double now_s, int64_t n, bint goes_on):
        """Count offers; `goes_on`: the run surely does not end before. O(depth)."""
        while row >= 0:
            if goes_on:
                self.count(row, now_s, n)
            else:
                self.count_or_keep(now_s, row, n)
            row = self.above(row)

    cdef int count(self, Py_ssize_t row, double now_s, int64_t n) except -1:
        self.series.reach(now_s)
        self.series.count(row, now_s, n)
        if self.measured is not self.series:
            self.measured.reach(now_s)
            self.measured.count(row, now_s, n)
        return 0

    cdef int count_late(self) except -1:
        """Count what came beyond the bins and is not any more."""
        late, self.late = self.late, []
        for now_s, row, n in late:
            self.count_or_keep(now_s, row, n)
        return 0

    cdef int count_or_keep(self, double now_s, Py_ssize_t row, int64_t n) except -1:
        if self.series.reaches(now_s) and self.measured.reaches(now_s):
            self.count(row, now_s, n)
        else:
            self.late.append((now_s, row, n))
        return 0

    # The cluster and the policy.

    def set_capacity(self, double now_s, const int64_t[::1] capacity):
        """Have machines leave or return: so much is up now. O(rows × axes)."""
        cdef Py_ssize_t row, axis
        self.advance_capacity(now_s)
        self.capacity[:] = capacity
        for axis in range(self.n_axes):
            self.capacity_levels[0, axis] = capacity[axis] / 1000.0
        for row in range(self.n_rows):
            self.advance(row, now_s)
            self.look_at(row)
            if row < self.n_rows - 1:
                self.note_share(row, now_s)

    cdef int advance_capacity(self, double now_s) except -1:
        if now_s > self.capacity_since_s:
            self.capacity_series.add(0, self.capacity_since_s, now_s, &self.capacity_levels[0, 0])
            if self.capacity_measured is not self.capacity_series:
                self.capacity_measured.add(
                    0, self.capacity_since_s, now_s, &self.capacity_levels[0, 0])
            self.capacity_since_s = now_s
        return 0

    def set_quota(self, Py_ssize_t row, guarantee, limit):
        """Watch a role's quota: thousandths by axis, -1 where there is none. O(axes)."""
        cdef Py_ssize_t axis
        self.accounts[row].has_quota = True
        for axis in range(self.n_axes):
            self.guarantee[row, axis] = guarantee[axis]
            self.limit[row, axis] = limit[axis]

    def reserve(self, Py_ssize_t row, double now_s, amounts, int64_t sign):
        """Add to (1) or take from (-1) what is reserved on machines that are up.

        O(depth × axes).
        """
        self.add(self.reserved, row, now_s, amounts, sign)

    def take_reserved(self, Py_ssize_t row, double now_s, amounts, int64_t sign):
        """Say what of the tasks that start next (1) or have ended (-1) is reserved; W9.

        O(depth × axes).
        """
        self.add(self.own, row, now_s, amounts, sign)

    cdef int add(
        self, int64_t[:, ::1] to, Py_ssize_t row, double now_s, object amounts, int64_t sign
    ) except -1:
        cdef Py_ssize_t axis
        while row >= 0:
            self.advance(row, now_s)
            for axis in range(self.n_axes):
                to[row, axis] += sign * <int64_t>amounts[axis]
            self.look_at(row)
            row = self.above(row)
        return 0

    def leaves_room(self, Py_ssize_t row, Need need, int64_t times):
        """Tell whether a need, so many times, is within all limits above. O(depth × axes)."""
        cdef Py_ssize_t axis
        cdef int128_t together
        while row >= 0:
            for axis in range(self.n_axes):
                together = <int128_t>times * need.total[axis]
                if self.limit[row, axis] >= 0 and together and (
                        together + self.consumed(row, axis) > self.limit[row, axis]):
                    return False
            row = self.above(row)
        return True

    # Afterwards.

    def counts(self, Py_ssize_t row):
        """Return the counts of a row, by name. O(1)."""
        cdef Account *account = &self.accounts[row]
        return {
            "submitted": account.submitted,
            "finished": account.finished,
            "running": account.running,
            "waiting": account.waiting,
            "never_fits": account.never_fits,
            "tasks_started": account.tasks_started,
        }

    def tasks_lost(self, Py_ssize_t row):
        """Return how many tasks of a row were lost. O(1)."""
        return self.accounts[row].n_lost

    def shares(self, Py_ssize_t row, double end_s):
        """Return what there is to say of a role's share at the end of the run. O(1)."""
        cdef Account *account = &self.accounts[row]
        share, share_run = means(&account.share, end_s, self.mark_s)
        set_condition(&account.in_need, end_s, account.in_need.level, account.in_need.holds)
        span_s = account.in_need.span_s
        return {
            "share": share,
            "share_run": share_run,
            "share_peak": account.share.peak,
            "share_in_need": account.in_need.area / span_s if span_s > 0 else None,
            "in_need_s": span_s,
        }

    def uses_of(self, Py_ssize_t axis, double end_s):
        """Return the peak and the averages, to the mark and in all, of the use, in thousandths."""
        to_mark, in_all = means(&self.uses[axis], end_s, self.mark_s)
        return self.uses[axis].peak, to_mark, in_all

    def quota(self, Py_ssize_t row, double end_s):
        """Return the part of the time the guarantee was met and the most consumed, by axis."""
        cdef Py_ssize_t axis
        cdef double span_s = end_s
        if end_s <= 0:  # the state that the run ends with
            self.advance_quota(row, 1.0)
            span_s = 1.0
        return (
            [min(self.met_s[row, axis] / span_s, 1.0) for axis in range(self.n_axes)],
            [self.most[row, axis] for axis in range(self.n_axes)])

    def finish(self, double end_s):
        """Bring all books up to the end of the run. O(rows × axes)."""
        cdef Py_ssize_t row
        for row in range(self.n_rows):
            self.advance(row, end_s)
        self.advance_capacity(end_s)
        self.series.reach(end_s)
        self.measured.reach(end_s)
        self.capacity_series.reach(self.series.limit * self.series.width)
        self.capacity_measured.reach(self.measured.limit * self.measured.width)
        late, self.late = self.late, []
        for now_s, row, n in late:
            self.count(row, min(now_s, end_s), n)

    def curves(self, double end_s, bint measured):
        """Return the arrays of `Curves`, by name. O(rows × fields × intervals)."""
        cdef Bins bins = self.measured if measured else self.series
        cdef Bins capacity = self.capacity_measured if measured else self.capacity_series
        cdef Py_ssize_t k = self.n_axes
        found = bins.averages(end_s, self.levels)
        return {
            "edges_s": bins.edges(end_s),
            "share": found[:, SHARE],
            "in_need": np.minimum(found[:, IN_NEED], 1.0),
            "queue": found[:, QUEUE],
            "running": found[:, RUNNING],
            "offers": bins.counted(end_s),
            "use": found[:, N_PLAIN:N_PLAIN + k],
            "need": found[:, N_PLAIN + k:],
            "capacity": capacity.averages(end_s, self.capacity_levels)[0],
        }
