"""A framework's scheduler: which offers it takes, what it refuses, when it asks again.

Invariants, of one scheduler:

W1. It is suppressed if and only if nothing waits.
W2. `refused` holds, per agent, at least what the agent has left, unless the engine has yet to
    offer that agent to it, or an offer of it is held: what was refused is filtered, and a filter
    lets pass whatever has grown beyond it. So if a waiting need fits nowhere in `refused`, only a
    new offer can start it.
W3. A need that fits in `refused` has asked for a full view (a revive), or waits for its turn to,
    or a reservation bars all that wait for it (`barred`).
"""

cimport cython
from cpython.mem cimport PyMem_Free
from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from libc.string cimport memmove

from allocator.engine._memory cimport grown
from allocator.sim._placing cimport (
    Grants,
    Hand,
    Need,
    Refused,
    Reservation,
    count_running,
    place_need,
)

import random
from heapq import heapify, heappop, heapreplace

#: The longest pause before another revive is drawn from 2 to this power cycles.
_MAX_BACKOFF_POWER = 8

#: So often one that has a reservation revives in vain without a pause: others keep clear of it.
_N_URGENT = 16


@cython.final
@cython.auto_pickle(False)
cdef class Start:
    """Tasks of one job that start together."""

    cdef readonly Py_ssize_t job    # row of the job
    cdef readonly Need need
    cdef readonly Grants grants
    cdef public list kept           # resources of each grant where some are reserved, or None

    def __cinit__(self, Py_ssize_t job, Need need, Grants grants):
        self.job, self.need, self.grants = job, need, grants


cdef struct Entry:
    int64_t order       # place in the order of age
    int64_t times       # how often it has yet to start; 0 of one that has started already
    Py_ssize_t job      # row of the job
    double requested_s  # how long it says that its tasks run


@cython.final
@cython.auto_pickle(False)
cdef class Queue:
    """The jobs that wait for one need, the oldest first."""

    cdef readonly Need need
    cdef Entry *entries
    cdef Py_ssize_t head      # the first that waits
    cdef Py_ssize_t end
    cdef Py_ssize_t capacity
    cdef Py_ssize_t n_gone    # between `head` and `end`, those that have started

    def __cinit__(self, Need need):
        self.need = need

    def __dealloc__(self):
        PyMem_Free(self.entries)

    cdef int append(self, Entry entry) except -1:
        """Add the youngest. O(1) amortised."""
        if self.end == self.capacity and self.head > self.capacity // 2:
            self.shift(0)
        if self.end == self.capacity:
            self.capacity = 2 * self.capacity if self.capacity else 2
            self.entries = <Entry *>grown(self.entries, self.capacity * sizeof(Entry))
        self.entries[self.end] = entry
        self.end += 1
        return 0

    cdef int prepend(self, Entry entry) except -1:
        """Add the one that is to start next. O(1) amortised."""
        cdef Py_ssize_t n = self.end - self.head
        if self.head == 0:
            self.capacity = 2 * n + 4
            self.entries = <Entry *>grown(self.entries, self.capacity * sizeof(Entry))
            self.shift(n + 2)
        self.head -= 1
        self.entries[self.head] = entry
        return 0

    cdef void shift(self, Py_ssize_t to) noexcept:
        """Move all entries so that the first is at `to`, where there is room. O(entries)."""
        cdef Py_ssize_t n = self.end - self.head
        memmove(&self.entries[to], &self.entries[self.head], n * sizeof(Entry))
        self.head, self.end = to, to + n

    cdef Py_ssize_t after(self, Py_ssize_t place, double longest_s) noexcept:
        """Return the first from a place on that waits and says it runs no longer; or the end."""
        while place < self.end and not (
                self.entries[place].times and self.entries[place].requested_s <= longest_s):
            place += 1
        return place

    cdef void trim(self) noexcept:
        """Drop those that have started: at the head, and all when they are many. O(1) amortised."""
        cdef Py_ssize_t i, n = 0
        while self.head < self.end and self.entries[self.head].times == 0:
            self.head += 1
            self.n_gone -= 1
        if 2 * self.n_gone <= self.end - self.head:
            return
        for i in range(self.head, self.end):
            if self.entries[i].times:
                self.entries[n] = self.entries[i]
                n += 1
        self.head, self.end, self.n_gone = 0, n, 0


@cython.final
@cython.auto_pickle(False)
cdef class Tried:
    """How far one queue has been tried on the offers in hand."""

    cdef Queue queue
    cdef Py_ssize_t place      # whose turn it is
    cdef Py_ssize_t begin      # row of the hand before which nothing fits
    cdef double longest_s      # only those are tried that say they run no longer

    def __cinit__(self, Queue queue):
        self.queue, self.place, self.longest_s = queue, queue.head, INFINITY

    @property
    def order(self):
        """The place in the order of age of the entry whose turn it is."""
        return self.queue.entries[self.place].order

    cdef bint next(self) noexcept:
        """Go to the next entry that may be tried; tell whether there is one."""
        if self.longest_s < 0:
            return False
        self.place = self.queue.after(self.place, self.longest_s)
        return self.place < self.queue.end


@cython.final
@cython.auto_pickle(False)
cdef class Scheduler:
    """Decides for one framework.

    Waiting jobs queue by need. Offers are filled first fit, the oldest job first; younger ones
    fill what it leaves. A gang starts from the offers of one cycle or not at all; what was
    refused is remembered, and as soon as new offers together with the remembered would let a gang
    start, the framework revives, to be shown everything at once. Frameworks that revive at once
    and split the view between them would do so for ever: after a revive in vain the next one
    waits for a random number of cycles, up to twice as many each time.

    Where a job has reserved its start, younger ones that say they run beyond it have only what it
    leaves.

    Parameters
    ----------
    name : str
        The framework's.
    n_axes : int
    seed : int or str
        Seeds the random pauses, together with the name.
    room : int
        The tasks that may be started on one offer.
    """

    cdef readonly str name
    cdef readonly int64_t room
    cdef public bint suppressed
    cdef readonly bint barred       # something fits but for a reservation
    cdef readonly dict running      # (group, agent) -> running tasks, of needs that are spread
    cdef readonly Refused refused   # the most that was refused since the last revive (W2)
    cdef dict queues                # Need -> Queue, of those in which something waits
    cdef object random
    cdef int vain_revives
    cdef bint pausing

    def __cinit__(self, str name, Py_ssize_t n_axes, seed, int64_t room):
        self.name, self.room, self.suppressed = name, room, True
        self.running, self.queues = {}, {}
        self.refused = Refused(n_axes)
        self.random = random.Random(f"{seed}/{name}")

    @property
    def waits(self):
        """Whether anything waits to be started."""
        return len(self.queues) > 0

    def submit(
        self, Py_ssize_t job, int64_t order, double requested_s, tuple needs, double now_s,
        Reservation reservation=None, Hand held=None
    ):
        """Queue a job; tell whether to revive, as what it needs could be met.

        Parameters
        ----------
        job : int
            Its row.
        order : int
            Its first need's place in the order of age; those of the others follow.
        requested_s : float
            How long it says that its tasks run.
        needs : tuple of (int, Need)
            What it starts, and how often.
        now_s : float
        reservation : Reservation, optional
        held : Hand, optional
            Offers that are held open.

        Notes
        -----
        O(needs × agents refused).
        """
        cdef bint ask = self.suppressed
        cdef Entry entry
        cdef Need need
        cdef Queue queue
        for times, need in needs:
            entry = Entry(order, times, job, requested_s)
            order += 1
            queue = self.queues.get(need)
            if queue is not None:
                queue.append(entry)
                # W3: those before it have asked already, if nothing barred them.
                ask = ask or (self.barred and self.can_start(
                    need, entry, now_s, reservation, held))
                continue
            queue = self.queues[need] = Queue(need)
            queue.append(entry)
            ask = ask or self.can_start(need, entry, now_s, reservation, held)
        return ask

    def put_back(self, Py_ssize_t job, int64_t order, double requested_s, int64_t times, Need need):
        """Queue tasks that were lost, before all others. O(1) amortised."""
        queue = self.queues.get(need)
        if queue is None:
            queue = Queue(need)
            self.queues[need] = queue
        (<Queue>queue).prepend(Entry(order, times, job, requested_s))

    cdef bint can_start(
        self, Need need, Entry entry, double now_s, Reservation reservation, Hand held
    ) except -1:
        """Tell whether an entry fits into what was refused, or is barred from it."""
        cdef bint bars = is_barred(entry, now_s, reservation)
        if self.refused.fits(need, self.room, held, self.running, reservation if bars else None):
            return True
        self.barred = self.barred or bars
        return False

    def fill(self, Hand hand, double now_s, Reservation reservation=None):
        """Start what fits into the offers in hand, oldest first.

        When all of the one that has the reservation starts, no others are tried: what they are
        left depends on who has the next.

        O(needs × offers + started × (offers + log needs)).
        """
        cdef list starts = []
        cdef list tried = [Tried(queue) for queue in self.queues.values()]
        cdef list heads = [(one.order, i) for i, one in enumerate(tried)]
        cdef Tried one
        heapify(heads)
        while heads:
            one = tried[heads[0][1]]
            if self.start_one(one, hand, now_s, reservation, starts):
                break
            if one.next():
                heapreplace(heads, (one.order, heads[0][1]))
            else:
                heappop(heads)
        for one in tried:
            one.queue.trim()
            if one.queue.head == one.queue.end:
                del self.queues[one.queue.need]
        if starts:
            self.vain_revives = 0
        return starts

    cdef bint start_one(
        self, Tried one, Hand hand, double now_s, Reservation reservation, list starts
    ) except -1:
        """Start what fits of the entry of a queue whose turn it is.

        Tells whether that is all, of the one with the reservation.
        """
        cdef Entry *entry = &one.queue.entries[one.place]
        cdef Need need = one.queue.need
        cdef bint bars = is_barred(entry[0], now_s, reservation)
        cdef Grants grants = place_need(
            need, entry.times, hand, one.begin, self.running, reservation if bars else None)
        if grants.n:
            starts.append(Start(entry.job, need, grants))
            entry.times -= grants.n_tasks if need.n_tasks == 1 else 1
            if need.n_groups == 1 and not bars:
                one.begin = grants.row[grants.n - 1]  # W4
        if entry.times == 0:
            one.queue.n_gone += 1
            return reservation is not None and entry.order == reservation.order
        if bars:
            self.barred = True
            one.longest_s = reservation.start_s - now_s
        else:
            one.longest_s = -1  # what did not fit now does not fit younger jobs either
        return False

    def refuse(self, Hand hand):
        """Remember what is left of offers that were answered with a filter. O(rows × axes)."""
        self.refused.note_all(hand)

    def pause_before_revive(
        self, double now_s, Reservation reservation=None, Hand held=None, bint urgent=False
    ):
        """After offers were answered: tell whether a gang would fit if all could be seen at once.

        `urgent`: one of its jobs has a reservation.

        Returns
        -------
        int or None
            How many cycles to wait before asking `still_fits` and reviving, 0 for at once; None
            if no gang would fit, or one waits to revive already. O(gangs × agents refused).
        """
        if self.pausing or not self.still_fits(now_s, reservation, held):
            return None
        power = min(self.vain_revives, _MAX_BACKOFF_POWER)
        if urgent and self.vain_revives < _N_URGENT:
            power = 0
        self.vain_revives += 1
        if power == 0:
            return 0
        self.pausing = True
        return self.random.randint(1, 2**power)

    def still_fits(
        self, double now_s, Reservation reservation=None, Hand held=None, bint gangs_only=True
    ):
        """Tell whether a waiting gang fits into what was refused, or anything that waits.

        O(needs × agents refused).
        """
        cdef Queue queue
        cdef Py_ssize_t place
        for queue in self.queues.values():
            if gangs_only and queue.need.n_tasks == 1:
                continue
            if held is None and not self.refused.holds(queue.need):
                continue
            place = queue.head
            if self.can_start(queue.need, queue.entries[place], now_s, reservation, held):
                return True
            if is_barred(queue.entries[place], now_s, reservation):
                place = queue.after(place, reservation.start_s - now_s)
                if place < queue.end and self.can_start(
                        queue.need, queue.entries[place], now_s, reservation, held):
                    return True
        return False

    def end_pause(self):
        """End the pause before a revive. O(1)."""
        self.pausing = False

    def revived(self):
        """Forget what was refused: all of it will be offered again. O(agents refused)."""
        self.suppressed = False
        self.barred = False
        self.refused.clear()

    def oldest(self):
        """Return (order, job, need, times) of the oldest that waits; None if none. O(needs)."""
        cdef Queue queue
        cdef Entry *entry
        cdef object found = None
        for queue in self.queues.values():
            entry = &queue.entries[queue.head]
            if found is None or entry.order < found[0]:
                found = entry.order, entry.job, queue.need, entry.times
        return found

    def ended(self, Start start, Grants grants):
        """Take note of tasks that have ended. O(grants)."""
        count_running(start.need, grants, -1, self.running)


cdef bint is_barred(Entry entry, double now_s, Reservation reservation) noexcept:
    """Tell whether a job is younger than one with a reservation and says it runs beyond it."""
    return (
        reservation is not None
        and entry.order > reservation.order
        and now_s + entry.requested_s > reservation.start_s)
