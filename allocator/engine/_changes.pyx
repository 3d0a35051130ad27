"""What changed: told as it happens, taken by readers when they like.

The state tells the journal of each agent, framework, role and offer whose view changes; the journal
notes it for the readers that do not have it yet. That is a comparison where it was told already,
and where nobody reads: a cycle that makes 10 000 offers tells of 30 000 things.

K1. A reader has what was told since it last took, each thing once: `Record.told` says when a thing
    was told last, and is above `Changes.taken` of just the readers that have it.
K2. What a call tells is there when it has ended, and gone if it was refused. Only then are readers
    woken, so that they may call the engine; a call made from there is a call like any other.
K3. Without readers the engine's calls are those of its class. While there are some, calls of its
    own stand before them, which end by `end_call`.
"""

cimport cython
from libc.stdint cimport int64_t

from functools import wraps

from allocator.contract import CHANGING as _CHANGING
from allocator.errors import AllocatorError, InvalidValue, shown


@cython.auto_pickle(False)
cdef class Record:
    """What a view shows: an agent, a framework, a role."""

    cdef tuple change(self):
        """Return its kind and id."""
        raise NotImplementedError


@cython.final
@cython.auto_pickle(False)
cdef class Journal:
    """Tells readers of what changes in one engine.

    Parameters
    ----------
    offer_prefix : str
        What the ids of offers begin with, before their "O".
    """

    def __cinit__(self, str offer_prefix not None):
        self.offer_prefix = offer_prefix
        self.last_take = -1
        self.readers = []
        self.to_wake = []

    def reader(self, engine, wake=None):
        """Return a new reader of what changes from now on, whose calls these are. O(calls)."""
        cdef Changes reader = Changes.__new__(Changes)
        if wake is not None and not callable(wake):
            raise InvalidValue(f"wake is a callable or None, not {shown(wake)}")
        reader.journal = self
        reader.wake = wake
        reader.found, reader.pairs = [], set()
        reader.taken = self.last_take = self.n_told
        if not self.readers:
            self.calls = vars(engine)
            for name in _CHANGING:
                self.calls[name] = self.told(getattr(engine, name))
        self.readers.append(reader)
        return reader

    def told(self, call):
        """Return a call that ends as K2 says."""
        @wraps(call)
        def made(*args, **kwargs):
            cdef bint is_refused = False
            self.begin_call()
            try:
                return call(*args, **kwargs)
            except AllocatorError:
                is_refused = True
                raise
            finally:
                self.end_call(is_refused)
        return made

    def tell_of(self, str kind, str id=""):
        """Tell of something that has no record. O(readers)."""
        if self.readers:
            self.note((kind, id), 0)

    # Telling; `tell` and `tell_offer` stand in the header.

    cdef int note(self, object change, int64_t told) except -1:
        """Note a change for those who did not have it at `told`. O(readers)."""
        cdef Changes reader
        self.n_told += 1
        for reader in self.readers:
            if told <= reader.taken:
                reader.add(change)
        return 0

    cdef int tell_gone(self, Record record) except -1:
        """Tell that a record has gone; another of its id may come. O(readers)."""
        cdef Changes reader
        tell(self, record)
        for reader in self.readers:
            reader.may_repeat = True
        return 0

    cdef int64_t tell_offers(self, int64_t first, int64_t n) except -1:
        """Tell of n offers with new numbers, and return when. O(readers)."""
        if n and self.readers:
            self.note(range(first, first + n), 0)
        return self.n_told

    # Calls (K2).

    cdef int begin_call(self) except -1:
        self.depth += 1
        return 0

    cdef int end_call(self, bint is_refused) except -1:
        """Let readers have what a call told, and wake those that had nothing to take."""
        cdef Changes reader
        self.depth -= 1
        if self.depth:
            return 0
        for reader in self.readers:
            if is_refused:
                reader.take_back()
            reader.n_settled = len(reader.found)
        return self.wake()

    cdef int wake(self) except -1:
        """Wake all that are to be woken, also if one raises."""
        cdef Changes reader
        while self.to_wake:
            reader = self.to_wake.pop(0)
            if reader.found:
                try:
                    reader.wake()
                finally:
                    self.wake()
        return 0

    # Readers and copies.

    cdef int forget_reader(self, Changes reader) except -1:
        """Tell a reader nothing more. O(calls) for the last one, else O(readers)."""
        cdef Changes other
        self.readers.remove(reader)
        self.last_take = -1
        for other in self.readers:
            self.last_take = max(self.last_take, other.taken)
        if not self.readers:
            for name in _CHANGING:
                del self.calls[name]
            self.calls = None
        return 0

    cdef Journal copy(self):
        """Return one without readers for a fork, in whose records `told` may stand. O(1)."""
        cdef Journal twin = Journal(self.offer_prefix)
        twin.n_told = self.n_told
        return twin


@cython.final
@cython.auto_pickle(False)
cdef class Changes:
    """A reader of what changed in an engine; `Allocator.changes` makes one."""

    def take(self):
        """Return what changed since the last `take`, or since there is this reader.

        Returns
        -------
        list of (kind, id)
            Each once, in the order of first changes. Kinds are `agent`, `framework`, `role`,
            `offer`; `maintenance` with an agent's id, for its unavailability, inverse offers and
            the answers to them; and `engine` with an empty id. O(what changed).
        """
        cdef list found = self.found
        cdef list pairs = []
        if self.journal is None:
            return pairs
        prefix = f"{self.journal.offer_prefix}O"
        for change in found:
            if isinstance(change, Record):
                pairs.append((<Record>change).change())
            elif isinstance(change, tuple):
                pairs.append(change)
            elif isinstance(change, int):
                pairs.append(("offer", f"{prefix}{change}"))
            else:
                pairs.extend([("offer", f"{prefix}{number}") for number in change])
        if self.may_repeat:
            pairs = list(dict.fromkeys(pairs))
        self.clear()
        return pairs

    def clear(self):
        """Forget what there is to take. O(what changed)."""
        if self.journal is not None:
            self.found, self.pairs = [], set()
            self.n_settled = 0
            self.may_repeat = False
            self.taken = self.journal.last_take = self.journal.n_told

    def close(self):
        """Read no longer: nothing more is told, and `take` returns nothing. O(readers)."""
        if self.journal is not None:
            self.clear()
            self.journal.forget_reader(self)
            self.journal = None

    cdef int add(self, object change) except -1:
        """Note a change that is not noted yet. O(1)."""
        if isinstance(change, tuple):
            if change in self.pairs:
                return 0
            self.pairs.add(change)
        if not self.found and self.wake is not None:
            self.journal.to_wake.append(self)
        self.found.append(change)
        return 0

    cdef int take_back(self) except -1:
        """Forget what a call told that was refused. O(that)."""
        cdef Changes other
        while len(self.found) > self.n_settled:
            change = self.found.pop()
            if isinstance(change, Record):
                (<Record>change).told = 0
                for other in self.journal.readers:
                    other.may_repeat = True  # where it was told before this call
            else:
                self.pairs.discard(change)
        return 0
