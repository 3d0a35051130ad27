"""Who holds what: holdings and open offers, in arrays that refer to each other by index.

S1. A holding, what one framework holds in one role on one agent, exists exactly while it is not
    empty; it stands in the chains of its agent and of its subscription. Its open offers are
    chained from the oldest to the newest and sum up to its `offered`; so are all open offers,
    whose ends come in the same order.

What is held stands in the sums of `State`, which is the only one to change holdings.
"""

cimport cython
from cpython.mem cimport PyMem_Free
from libc.stdint cimport int32_t, int64_t, uint64_t

from allocator.engine._bundles cimport NOTHING, Bundles, release, retained
from allocator.engine._changes cimport Journal, tell_offer
from allocator.engine._intmap cimport clear, copy_to, drop, get, put, reserve_one
from allocator.engine._memory cimport duplicate, grown
from allocator.engine._records cimport Agent, Subscription
from allocator.sorter._siblings cimport NONE

from allocator.errors import OfferGone, shown


@cython.final
@cython.auto_pickle(False)
cdef class Ledger:
    """All holdings, found by agent and subscription, and all open offers, found by number."""

    def __cinit__(self, Bundles bundles not None, Journal journal not None):
        self.bundles = bundles
        self.journal = journal
        self.free_holding = self.free_offer = NONE
        self.first_open = self.last_open = NONE

    def __dealloc__(self):
        # What is left refers to bundles, which go with their store.
        PyMem_Free(self.holdings)
        PyMem_Free(self.offers)
        clear(&self.holding_of)
        clear(&self.offer_of)

    # Holdings.

    cdef int32_t find(self, Agent agent, Subscription leaf) noexcept:
        """Return what `leaf` holds on `agent`, or NONE. O(1)."""
        return get(&self.holding_of, <uint64_t>agent.index << 32 | <uint64_t>leaf.index)

    cdef int32_t new_holding(self, Agent agent, Subscription leaf) except -1:
        """Return a new, empty holding, chained to both (S1). O(1) amortised."""
        cdef int32_t holding, i
        cdef int32_t capacity
        cdef Holding *held
        if self.free_holding == NONE:
            capacity = max(64, 2 * self.holding_capacity)
            self.holdings = <Holding *>grown(self.holdings, capacity * sizeof(Holding))
            for i in range(capacity - 1, self.holding_capacity - 1, -1):
                self.holdings[i].agent = self.free_holding
                self.free_holding = i
            self.holding_capacity = capacity
        reserve_one(&self.holding_of)
        holding = self.free_holding
        held = &self.holdings[holding]
        self.free_holding = held.agent
        held.agent, held.leaf = agent.index, leaf.index
        held.offered = held.allocated = NOTHING
        held.first_offer = held.last_offer = held.made = NONE
        held.on_agent[BEFORE] = held.on_leaf[BEFORE] = NONE
        held.on_agent[AFTER] = agent.first_holding
        held.on_leaf[AFTER] = leaf.first_holding
        if agent.first_holding != NONE:
            self.holdings[agent.first_holding].on_agent[BEFORE] = holding
        if leaf.first_holding != NONE:
            self.holdings[leaf.first_holding].on_leaf[BEFORE] = holding
        agent.first_holding = leaf.first_holding = holding
        put(&self.holding_of, <uint64_t>agent.index << 32 | <uint64_t>leaf.index, holding)
        return holding

    cdef int drop_holding(self, int32_t holding, Agent agent, Subscription leaf) except -1:
        """Forget a holding that is empty, and what offers are left of it (S1). O(its offers)."""
        cdef Holding *held = &self.holdings[holding]
        while held.first_offer != NONE:
            self.close_offer(held.first_offer)
        if held.on_agent[BEFORE] == NONE:
            agent.first_holding = held.on_agent[AFTER]
        else:
            self.holdings[held.on_agent[BEFORE]].on_agent[AFTER] = held.on_agent[AFTER]
        if held.on_agent[AFTER] != NONE:
            self.holdings[held.on_agent[AFTER]].on_agent[BEFORE] = held.on_agent[BEFORE]
        if held.on_leaf[BEFORE] == NONE:
            leaf.first_holding = held.on_leaf[AFTER]
        else:
            self.holdings[held.on_leaf[BEFORE]].on_leaf[AFTER] = held.on_leaf[AFTER]
        if held.on_leaf[AFTER] != NONE:
            self.holdings[held.on_leaf[AFTER]].on_leaf[BEFORE] = held.on_leaf[BEFORE]
        drop(&self.holding_of, <uint64_t>agent.index << 32 | <uint64_t>leaf.index)
        held.agent = self.free_holding
        self.free_holding = holding
        return 0

    # Open offers.

    cdef int32_t find_offer(self, int64_t number) noexcept:
        """Return an open offer, or NONE. O(1)."""
        return get(&self.offer_of, <uint64_t>number)

    cdef int32_t offer_at(self, int64_t number) except -1:
        """Return an open offer; raises `OfferGone`. O(1)."""
        cdef int32_t offer = self.find_offer(number)
        if offer == NONE:
            raise OfferGone(f"offer {shown(self.id_of(number))} is not open")
        return offer

    cdef str id_of(self, int64_t number):
        """Return the id of the offer of a number. O(1)."""
        return f"{self.journal.offer_prefix}O{number}"

    cdef int64_t number_of(self, str id) except -1:
        """Return N of the id of an offer; raises `OfferGone` if it cannot be one of here. O(1)."""
        cdef Py_ssize_t begin = len(self.journal.offer_prefix) + 1
        cdef Py_ssize_t end = len(id)
        cdef Py_ssize_t i
        cdef int64_t number = 0
        if begin < end < begin + 19 and id[begin - 1] == u"O" and (
                id.startswith(self.journal.offer_prefix)):
            for i in range(begin, end):
                if not u"0" <= id[i] <= u"9" or id[begin] == u"0":
                    break
                number = 10 * number + <int>id[i] - <int>u"0"
            else:
                return number
        raise OfferGone(f"offer {shown(id)} is not open")

    cdef int64_t last_number(self) noexcept:
        """Return the number of the open offer made last, 0 if none is open. O(1)."""
        return 0 if self.last_open == NONE else self.offers[self.last_open].number

    cdef int32_t open_offer(
        self, int32_t holding, int32_t bundle, int64_t number, double end, int64_t told
    ) except -1:
        """Open an offer of resources that are held as offered. O(1) amortised.

        Its number is above those of all open offers, and its end not before theirs. The caller
        tells of it.
        """
        cdef int32_t offer, i
        cdef int32_t capacity
        if self.free_offer == NONE:
            capacity = max(64, 2 * self.offer_capacity)
            self.offers = <OpenOffer *>grown(self.offers, capacity * sizeof(OpenOffer))
            for i in range(capacity - 1, self.offer_capacity - 1, -1):
                self.offers[i].holding = self.free_offer
                self.free_offer = i
            self.offer_capacity = capacity
        reserve_one(&self.offer_of)
        offer = self.free_offer
        self.free_offer = self.offers[offer].holding
        self.offers[offer] = OpenOffer(
            end, number, told, holding, retained(self.bundles, bundle),
            self.holdings[holding].last_offer, NONE, [self.last_open, NONE])
        if self.holdings[holding].last_offer == NONE:
            self.holdings[holding].first_offer = offer
        else:
            self.offers[self.holdings[holding].last_offer].newer = offer
        self.holdings[holding].last_offer = offer
        if self.last_open == NONE:
            self.first_open = offer
        else:
            self.offers[self.last_open].in_order[AFTER] = offer
        self.last_open = offer
        put(&self.offer_of, <uint64_t>number, offer)
        return offer

    cdef int close_offer(self, int32_t offer) except -1:
        """Forget an open offer; its resources stay held as offered. O(1)."""
        cdef OpenOffer *closed = &self.offers[offer]
        cdef Holding *held = &self.holdings[closed.holding]
        self.tell(offer)
        if closed.older == NONE:
            held.first_offer = closed.newer
        else:
            self.offers[closed.older].newer = closed.newer
        if closed.newer == NONE:
            held.last_offer = closed.older
        else:
            self.offers[closed.newer].older = closed.older
        if closed.in_order[BEFORE] == NONE:
            self.first_open = closed.in_order[AFTER]
        else:
            self.offers[closed.in_order[BEFORE]].in_order[AFTER] = closed.in_order[AFTER]
        if closed.in_order[AFTER] == NONE:
            self.last_open = closed.in_order[BEFORE]
        else:
            self.offers[closed.in_order[AFTER]].in_order[BEFORE] = closed.in_order[BEFORE]
        drop(&self.offer_of, <uint64_t>closed.number)
        release(self.bundles, closed.bundle)
        closed.holding = self.free_offer
        self.free_offer = offer
        return 0

    cdef int tell(self, int32_t offer) except -1:
        """Tell that an open offer changes. O(1)."""
        return tell_offer(self.journal, self.offers[offer].number, &self.offers[offer].told)

    cdef dict offers_of(self, int32_t holding):
        """Return id -> what is left of each open offer of a holding, the oldest first. O(them)."""
        cdef dict found = {}
        cdef int32_t offer = self.holdings[holding].first_offer
        cdef OpenOffer *held
        while offer != NONE:
            held = &self.offers[offer]
            found[self.id_of(held.number)] = self.bundles.value(held.bundle)
            offer = held.newer
        return found

    # Copying.

    cdef Ledger copy_for(self, Bundles bundles, Journal journal):
        """Return a copy for a fork, whose bundles have the same numbers and references. O(all)."""
        cdef Ledger twin = Ledger(bundles, journal)
        twin.holdings = <Holding *>duplicate(
            self.holdings, self.holding_capacity * sizeof(Holding))
        twin.holding_capacity = self.holding_capacity
        twin.free_holding = self.free_holding
        twin.offers = <OpenOffer *>duplicate(self.offers, self.offer_capacity * sizeof(OpenOffer))
        twin.offer_capacity = self.offer_capacity
        twin.free_offer = self.free_offer
        twin.first_open, twin.last_open = self.first_open, self.last_open
        copy_to(&self.holding_of, &twin.holding_of)
        copy_to(&self.offer_of, &twin.offer_of)
        return twin
