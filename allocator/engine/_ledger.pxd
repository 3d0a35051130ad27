"""Holdings and open offers as other compiled modules see them."""

from libc.stdint cimport int32_t, int64_t

from allocator.engine._bundles cimport Bundles
from allocator.engine._changes cimport Journal
from allocator.engine._intmap cimport IntMap
from allocator.engine._records cimport Agent, Subscription


cdef enum:
    # Sides of a chain.
    BEFORE = 0
    AFTER = 1


cdef struct Holding:
    int32_t agent        # index of the agent; next free holding in a free one
    int32_t leaf         # index of the subscription
    int32_t offered      # bundle in open offers
    int32_t allocated    # bundle in use
    int32_t first_offer  # index of the oldest open offer, NONE if there is none
    int32_t last_offer   # index of the newest
    int32_t made         # what the cycle that is running made here: place among its offers
    int32_t on_agent[2]  # holdings before and after it on the agent, or NONE
    int32_t on_leaf[2]   # holdings before and after it of the subscription, or NONE


cdef struct OpenOffer:
    double end           # the instant from which on it is rescinded, infinity if at none
    int64_t number       # N of its id; offers are numbered as they are made
    int64_t told         # as `Record.told`
    int32_t holding      # index of the holding that it is part of; next free offer in a free one
    int32_t bundle       # what is still in it
    int32_t older        # index of the next older offer of the holding, or NONE
    int32_t newer        # index of the next newer one, or NONE
    int32_t in_order[2]  # open offers before and after it of all there are, or NONE


cdef class Ledger:
    cdef Bundles bundles             # what the numbers in it stand for
    cdef Holding *holdings           # (holding_capacity,)
    cdef int32_t holding_capacity
    cdef int32_t free_holding        # index of the first free one, or NONE
    cdef IntMap holding_of           # agent << 32 | leaf -> holding
    cdef OpenOffer *offers           # (offer_capacity,)
    cdef int32_t offer_capacity
    cdef int32_t free_offer          # index of the first free one, or NONE
    cdef IntMap offer_of             # number -> open offer
    cdef int32_t first_open          # index of the open offer made first, NONE if none is open
    cdef int32_t last_open           # index of the one made last
    cdef Journal journal             # told of each offer that changes

    cdef int32_t find(self, Agent agent, Subscription leaf) noexcept
    cdef int32_t new_holding(self, Agent agent, Subscription leaf) except -1
    cdef int drop_holding(self, int32_t holding, Agent agent, Subscription leaf) except -1
    cdef int32_t find_offer(self, int64_t number) noexcept
    cdef int32_t offer_at(self, int64_t number) except -1
    cdef str id_of(self, int64_t number)
    cdef int64_t number_of(self, str id) except -1
    cdef int64_t last_number(self) noexcept
    cdef int32_t open_offer(
        self, int32_t holding, int32_t bundle, int64_t number, double end, int64_t told
    ) except -1
    cdef int tell(self, int32_t offer) except -1
    cdef int close_offer(self, int32_t offer) except -1
    cdef dict offers_of(self, int32_t holding)
    cdef Ledger copy_for(self, Bundles bundles, Journal journal)
