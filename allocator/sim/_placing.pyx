"""Fitting tasks into what machines have left, in whole thousandths.

Amounts are rows over the trace's resource names, each name one position ("axis"). A task takes at
least its demand of a machine; with a misreport it takes more than it uses.

W4. Within one `Hand`, `free` only shrinks as tasks are placed, but where a gang that did not fit
    is taken back: so where a group of tasks did not fit, it does not fit later.
"""

cimport cython
from cpython.mem cimport PyMem_Free
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from allocator.engine._intmap cimport clear as clear_map
from allocator.engine._intmap cimport get, put, reserve_one
from allocator.engine._memory cimport grown, zeroed
from allocator.sorter._siblings cimport NONE

import numpy as np


@cython.final
@cython.auto_pickle(False)
cdef class Need:
    """What starts at once or not at all: tasks, and the machines that they may run on.

    Parameters
    ----------
    tasks : tuple of (int, Demand, Demand)
        Groups of equal tasks: how many, what each takes, and what each uses of it. A `Demand` is
        (axis, thousandths) of each resource.
    n_axes : int
    mask : bytes, optional
        One an agent, not 0 where tasks may run; anywhere if not given.
    spread : Spread, optional
        A bound on the tasks per machine.
    """

    def __cinit__(self, tuple tasks, Py_ssize_t n_axes, bytes mask=None, object spread=None):
        cdef Py_ssize_t i
        cdef object total
        self.tasks, self.mask, self.spread = tasks, mask, spread
        self.made = {}
        self.n_groups, self.n_axes = len(tasks), n_axes
        self.count = <int64_t *>zeroed(self.n_groups, sizeof(int64_t))
        self.taken = <int64_t *>zeroed(self.n_groups * n_axes, sizeof(int64_t))
        self.used = <int64_t *>zeroed(self.n_groups * n_axes, sizeof(int64_t))
        self.total = <int64_t *>zeroed(n_axes, sizeof(int64_t))
        sums = [0] * n_axes
        for i, (count, taken, used) in enumerate(tasks):
            self.count[i] = count
            for axis, amount in taken:
                self.taken[i * n_axes + axis] = amount
                sums[axis] += count * amount
            for axis, amount in used:
                self.used[i * n_axes + axis] = amount
        for i, total in enumerate(sums):
            self.total[i] = min(total, INT64_MAX)
        self.n_tasks = min(sum(count for count, _, _ in tasks), INT64_MAX)
        self.allowed = NULL if mask is None else <const uint8_t *><const char *>mask
        if spread is not None:
            self.group, self.limit = spread.group, spread.limit

    def __dealloc__(self):
        PyMem_Free(self.count)
        PyMem_Free(self.taken)
        PyMem_Free(self.used)
        PyMem_Free(self.total)


@cython.final
@cython.auto_pickle(False)
cdef class Grants:
    """Room for tasks of one need: so many of a group on a machine, each."""

    def __dealloc__(self):
        PyMem_Free(self.agent)
        PyMem_Free(self.row)
        PyMem_Free(self.group)
        PyMem_Free(self.count)

    cdef int add(self, int32_t agent, int32_t row, int32_t group, int64_t count) except -1:
        """Add a grant. O(1) amortised."""
        if self.n == self.capacity:
            self.capacity = 2 * self.capacity if self.capacity else 1
            self.agent = <int32_t *>grown(self.agent, self.capacity * sizeof(int32_t))
            self.row = <int32_t *>grown(self.row, self.capacity * sizeof(int32_t))
            self.group = <int32_t *>grown(self.group, self.capacity * sizeof(int32_t))
            self.count = <int64_t *>grown(self.count, self.capacity * sizeof(int64_t))
        self.agent[self.n], self.row[self.n] = agent, row
        self.group[self.n], self.count[self.n] = group, count
        self.n += 1
        return 0

    @property
    def n_tasks(self):
        """How many tasks in all. O(grants)."""
        cdef Py_ssize_t i
        cdef int64_t n = 0
        for i in range(self.n):
            n += self.count[i]
        return n

    def __len__(self):
        return self.n

    def __iter__(self):
        """Yield (agent, row, group, count) of each grant."""
        cdef Py_ssize_t i
        for i in range(self.n):
            yield self.agent[i], self.row[i], self.group[i], self.count[i]

    def split(self, const uint8_t[::1] lost):
        """Take out and return what is on the machines that are `lost`, one byte each; None if none.

        O(grants).
        """
        cdef Grants gone = None
        cdef Py_ssize_t i, kept = 0
        for i in range(self.n):
            if lost[self.agent[i]]:
                if gone is None:
                    gone = Grants()
                gone.add(self.agent[i], self.row[i], self.group[i], self.count[i])
                continue
            self.agent[kept], self.row[kept] = self.agent[i], self.row[i]
            self.group[kept], self.count[kept] = self.group[i], self.count[i]
            kept += 1
        self.n = kept
        return gone


def grants_of(each):
    """Return grants of (agent, group, count) each. O(n)."""
    cdef Grants grants = Grants()
    for agent, group, count in each:
        grants.add(agent, 0, group, count)
    return grants


@cython.final
@cython.auto_pickle(False)
cdef class Hand:
    """What one framework has been offered and may start tasks on: a row an offer.

    `room` is the number of tasks that may come to one offer.
    """

    def __cinit__(self, Py_ssize_t n_axes):
        self.n_axes = n_axes

    def __dealloc__(self):
        PyMem_Free(self.agent)
        PyMem_Free(self.room)
        PyMem_Free(self.free)
        PyMem_Free(self.offered)

    cdef int grow(self, Py_ssize_t more) except -1:
        cdef Py_ssize_t k = self.n_axes
        if self.n + more <= self.capacity:
            return 0
        self.capacity = max(2 * self.capacity, self.n + more, 8)
        self.agent = <int32_t *>grown(self.agent, self.capacity * sizeof(int32_t))
        self.room = <int64_t *>grown(self.room, self.capacity * sizeof(int64_t))
        self.free = <int64_t *>grown(self.free, self.capacity * k * sizeof(int64_t))
        self.offered = <int64_t *>grown(self.offered, self.capacity * k * sizeof(int64_t))
        return 0

    cdef int64_t *row_for(self, int32_t agent, int64_t room) except NULL:
        """Return a new row, of zeros; what it has must be put in `free` and `offered`."""
        self.grow(1)
        self.agent[self.n], self.room[self.n] = agent, room
        memset(&self.free[self.n * self.n_axes], 0, self.n_axes * sizeof(int64_t))
        self.n += 1
        return &self.free[(self.n - 1) * self.n_axes]

    def clear(self):
        """Forget all offers. O(1)."""
        self.n = 0

    def add(self, int32_t agent, amounts, int64_t room):
        """Add an offer of thousandths by axis. O(axes)."""
        cdef int64_t *free = self.row_for(agent, room)
        cdef Py_ssize_t axis
        for axis in range(self.n_axes):
            free[axis] = amounts[axis]
        memcpy(&self.offered[(self.n - 1) * self.n_axes], free, self.n_axes * sizeof(int64_t))

    def add_rows(
        self, const int64_t[::1] rows, const int64_t[::1] agents, const int64_t[:, :] amounts,
        const int64_t[::1] axes, int64_t room
    ):
        """Add the offers at some rows of columns.

        Parameters
        ----------
        rows : (n,) int64
            Which of the offers.
        agents : (m,) int64
            Index of each offer's machine.
        amounts : (m, names) int64
            Thousandths.
        axes : (names,) int64
            The axis of each name; -1 for names that nobody asks for.
        room : int

        Notes
        -----
        O(n × axes).
        """
        cdef Py_ssize_t i, j
        cdef int64_t row
        cdef int64_t *free
        self.grow(rows.shape[0])
        for i in range(rows.shape[0]):
            row = rows[i]
            free = self.row_for(<int32_t>agents[row], room)
            for j in range(axes.shape[0]):
                if axes[j] >= 0:
                    free[axes[j]] = amounts[row, j]
            memcpy(&self.offered[(self.n - 1) * self.n_axes], free, self.n_axes * sizeof(int64_t))

    def touched(self):
        """Return each row of which something has been taken, and that in thousandths by axis.

        O(rows × axes).
        """
        cdef Py_ssize_t k = self.n_axes, row, axis
        cdef const int64_t *free
        cdef const int64_t *offered
        cdef list found = []
        for row in range(self.n):
            free, offered = &self.free[row * k], &self.offered[row * k]
            if memcmp(free, offered, k * sizeof(int64_t)):
                found.append((row, tuple([offered[axis] - free[axis] for axis in range(k)])))
        return found

    def left(self, Py_ssize_t row):
        """Return what is left of a row, thousandths by axis. O(axes)."""
        cdef Py_ssize_t axis
        return [self.free[row * self.n_axes + axis] for axis in range(self.n_axes)]


@cython.final
@cython.auto_pickle(False)
cdef class Refused:
    """What a framework has refused, by machine: the most of each resource.

    Machines are in the order in which they were first refused.
    """

    def __cinit__(self, Py_ssize_t n_axes):
        self.n_axes = n_axes
        self.total = <int64_t *>zeroed(n_axes, sizeof(int64_t))

    def __dealloc__(self):
        clear_map(&self.rows)
        PyMem_Free(self.agent)
        PyMem_Free(self.free)
        PyMem_Free(self.total)

    def clear(self):
        """Forget all. O(machines refused)."""
        clear_map(&self.rows)
        self.n = 0
        memset(self.total, 0, self.n_axes * sizeof(int64_t))

    def forget(self, int32_t agent):
        """Forget a machine that is gone. O(axes)."""
        cdef int32_t row = get(&self.rows, <uint64_t>agent)
        cdef Py_ssize_t axis
        if row == NONE:
            return
        for axis in range(self.n_axes):
            self.total[axis] -= self.free[row * self.n_axes + axis]
            self.free[row * self.n_axes + axis] = 0

    cdef int note(self, int32_t agent, const int64_t *left) except -1:
        cdef int32_t row = get(&self.rows, <uint64_t>agent)
        cdef int64_t *free
        cdef Py_ssize_t axis
        if row == NONE:
            row = self.new_row(agent)
        free = &self.free[row * self.n_axes]
        for axis in range(self.n_axes):
            if left[axis] > free[axis]:
                self.total[axis] += left[axis] - free[axis]
                free[axis] = left[axis]
        return 0

    cdef int32_t new_row(self, int32_t agent) except -1:
        """Return a new row, of zeros. O(axes) amortised."""
        cdef Py_ssize_t k = self.n_axes
        if self.n == self.capacity:
            self.capacity = 2 * self.capacity if self.capacity else 4
            self.agent = <int32_t *>grown(self.agent, self.capacity * sizeof(int32_t))
            self.free = <int64_t *>grown(self.free, self.capacity * k * sizeof(int64_t))
        reserve_one(&self.rows)
        put(&self.rows, <uint64_t>agent, <int32_t>self.n)
        self.agent[self.n] = agent
        memset(&self.free[self.n * k], 0, k * sizeof(int64_t))
        self.n += 1
        return <int32_t>(self.n - 1)

    def note_row(self, Hand hand, Py_ssize_t row):
        """Note what is left of one row of a hand. O(axes)."""
        self.note(hand.agent[row], &hand.free[row * hand.n_axes])

    def note_all(self, Hand hand):
        """Note what is left of each row of a hand. O(rows × axes)."""
        cdef Py_ssize_t i
        for i in range(hand.n):
            self.note(hand.agent[i], &hand.free[i * hand.n_axes])

    cdef bint holds(self, Need need) noexcept:
        """Tell whether there is as much in all as a need takes in all. O(axes)."""
        cdef Py_ssize_t axis
        for axis in range(self.n_axes):
            if self.total[axis] < need.total[axis]:
                return False
        return True

    cdef bint fits(
        self, Need need, int64_t room, Hand more, dict running, Reservation reservation
    ) except -1:
        """Tell whether a need fits into what was refused, and a hand. O((refused + rows) × axes).

        Without a hand, whether the sums would do is looked at first.
        """
        cdef Hand hand
        cdef Grants grants
        cdef Py_ssize_t i
        cdef int64_t *free
        if more is None and not self.holds(need):
            return False
        hand = Hand(self.n_axes)
        hand.grow(self.n + (0 if more is None else more.n))
        for i in range(self.n):
            free = hand.row_for(self.agent[i], room)
            memcpy(free, &self.free[i * self.n_axes], self.n_axes * sizeof(int64_t))
        for i in range(0 if more is None else more.n):
            free = hand.row_for(more.agent[i], room)
            memcpy(free, &more.free[i * self.n_axes], self.n_axes * sizeof(int64_t))
        grants = place_need(need, 1, hand, 0, running, reservation)
        take_back(need, grants, hand, running, reservation)
        return grants.n > 0


@cython.final
@cython.auto_pickle(False)
cdef class Reservation:
    """The start that the oldest waiting job has reserved.

    Parameters
    ----------
    start_s : float
        When it is to start.
    order : int
        The job's place in the order of age.
    extra : int64 array (agents, axes)
        Thousandths that tasks which run beyond the start may have, so that it is not delayed.
    """

    def __cinit__(self, double start_s, int64_t order, const int64_t[:, ::1] extra):
        cdef size_t n = extra.shape[0] * extra.shape[1]
        self.start_s, self.order = start_s, order
        self.n_agents, self.n_axes = extra.shape[0], extra.shape[1]
        self.extra = <int64_t *>zeroed(n, sizeof(int64_t))
        if n:
            memcpy(self.extra, &extra[0, 0], n * sizeof(int64_t))

    def __dealloc__(self):
        PyMem_Free(self.extra)


def place(
    Need need, int64_t times, Hand hand, dict running, Reservation reservation=None
):
    """Place a need up to `times` times, first fit over the rows of a hand.

    Consumes what is placed from the hand and counts spread tasks as running. A need of several
    tasks is placed once, or not at all.

    Returns
    -------
    Grants
        O(rows × axes).
    """
    return place_need(need, times, hand, 0, running, reservation)


def undo(Need need, Grants grants, Hand hand, dict running):
    """Take back what was placed in a hand. O(grants × axes)."""
    take_back(need, grants, hand, running, None)


cdef Grants place_need(
    Need need, int64_t times, Hand hand, Py_ssize_t begin, dict running, Reservation reservation
):
    """Place a need as `place` does, from a row on."""
    cdef Grants grants = Grants()
    cdef Py_ssize_t group
    if need.n_tasks == 1:
        place_group(need, 0, times, hand, begin, running, reservation, grants)
        return grants
    for group in range(need.n_groups):
        if place_group(
                need, group, need.count[group], hand, begin, running, reservation, grants):
            take_back(need, grants, hand, running, reservation)
            grants.n = 0
            break
    return grants


cdef int64_t place_group(
    Need need, Py_ssize_t group, int64_t count, Hand hand, Py_ssize_t begin, dict running,
    Reservation reservation, Grants grants
) except -1:
    """Place as many of `count` tasks as fit, add to `grants`, and return how many do not."""
    cdef Py_ssize_t i
    cdef int64_t fitting
    for i in range(begin, hand.n):
        fitting = fitting_in(need, group, count, hand, i, running, reservation)
        if fitting > 0:
            move(need, group, fitting, hand, i, running, reservation)
            grants.add(hand.agent[i], <int32_t>i, <int32_t>group, fitting)
            count -= fitting
            if count == 0:
                break
    return count


cdef int64_t fitting_in(
    Need need, Py_ssize_t group, int64_t wanted, Hand hand, Py_ssize_t row, dict running,
    Reservation reservation
) except? -1:
    """Return how many tasks fit into a row, at most `wanted`."""
    cdef int32_t agent = hand.agent[row]
    cdef const int64_t *taken = &need.taken[group * need.n_axes]
    cdef const int64_t *free = &hand.free[row * hand.n_axes]
    cdef const int64_t *extra = NULL
    cdef int64_t fitting = min(wanted, hand.room[row])
    cdef int64_t left
    cdef Py_ssize_t axis
    if need.allowed != NULL and not need.allowed[agent]:
        return 0
    if reservation is not None:
        extra = &reservation.extra[agent * reservation.n_axes]
    for axis in range(need.n_axes):
        if taken[axis] == 0:
            continue
        left = free[axis] if extra == NULL else min(free[axis], extra[axis])
        if left < taken[axis]:
            return 0
        if fitting > 1:
            fitting = min(fitting, left // taken[axis])
    if need.group is not None:
        fitting = min(fitting, need.limit - <int64_t>running.get((need.group, agent), 0))
    return fitting


cdef int move(
    Need need, Py_ssize_t group, int64_t count, Hand hand, Py_ssize_t row, dict running,
    Reservation reservation
) except -1:
    """Take the room of tasks from a row, or give it back where `count` is negative."""
    cdef const int64_t *taken = &need.taken[group * need.n_axes]
    cdef int64_t *free = &hand.free[row * hand.n_axes]
    cdef int64_t *extra
    cdef Py_ssize_t axis
    hand.room[row] -= count
    for axis in range(need.n_axes):
        free[axis] -= count * taken[axis]
    if reservation is not None:
        extra = &reservation.extra[hand.agent[row] * reservation.n_axes]
        for axis in range(need.n_axes):
            extra[axis] -= count * taken[axis]
    if need.group is not None:
        count_one(need.group, hand.agent[row], count, running)
    return 0


cdef int take_back(
    Need need, Grants grants, Hand hand, dict running, Reservation reservation
) except -1:
    """Undo grants of a need. O(grants × axes)."""
    cdef Py_ssize_t i
    for i in range(grants.n):
        move(need, grants.group[i], -grants.count[i], hand, grants.row[i], running, reservation)
    return 0


cdef int count_running(Need need, Grants grants, int64_t sign, dict running) except -1:
    """Count tasks of a spread need that have come or gone. O(grants)."""
    cdef Py_ssize_t i
    if need.group is not None:
        for i in range(grants.n):
            count_one(need.group, grants.agent[i], sign * grants.count[i], running)
    return 0


cdef int count_one(object group, int32_t agent, int64_t change, dict running) except -1:
    cdef object key = (group, agent)
    cdef int64_t there = running.get(key, 0) + change
    if there:
        running[key] = there
    else:
        running.pop(key, None)
    return 0


def add_taken(int64_t[:, ::1] to, Need need, Grants grants, int64_t sign):
    """Add what tasks take, or with -1 take it off: thousandths by machine and axis. O(grants)."""
    cdef Py_ssize_t i, axis
    cdef const int64_t *taken
    for i in range(grants.n):
        taken = &need.taken[grants.group[i] * need.n_axes]
        for axis in range(need.n_axes):
            to[grants.agent[i], axis] += sign * grants.count[i] * taken[axis]


def grouped(const int64_t[::1] of, Py_ssize_t n_groups):
    """Return the rows of each group, in order.

    Parameters
    ----------
    of : (n,) int64
        The group of each row.
    n_groups : int

    Returns
    -------
    list of int64 arrays
        O(n + groups).
    """
    cdef Py_ssize_t n = of.shape[0], i, group
    if n_groups == 1:
        return [np.arange(n)]
    cdef int64_t[::1] begin = np.zeros(n_groups + 1, np.int64)
    rows = np.empty(n, np.int64)
    cdef int64_t[::1] placed = rows
    for i in range(n):
        begin[of[i] + 1] += 1
    for group in range(n_groups):
        begin[group + 1] += begin[group]
    edges = np.asarray(begin).tolist()
    for i in range(n):
        placed[begin[of[i]]] = i
        begin[of[i]] += 1
    return [rows[edges[group]:edges[group + 1]] for group in range(n_groups)]
