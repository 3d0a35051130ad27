"""The records that most of the engine is about: agents, frameworks, and frameworks in a role.

They hold integers where a cycle reads them. `State` is the only one to change them.

A1. available + offered + allocated = total of an agent by identity, unless the total shrank below
    what is in use (`overcommitted`): then available is total − offered − allocated, nowhere below
    zero. Shared entries stay available while they are in use.
A2. `offered` and `allocated` of an agent are the sums over its holdings; `allocated` also contains
    `pending`: what frameworks that were not added yet use.
A3. `excess` is what is offered or allocated of an agent beyond its total, by identity; a shared
    entry that the total has no more counts once. It is empty unless the total shrank.
"""

cimport cython

from allocator.engine._bundles cimport Bundles
from allocator.engine._changes cimport Record
from allocator.engine._minima cimport Minima


@cython.final
@cython.auto_pickle(False)
cdef class Agent(Record):
    """One agent's resources, as `State` keeps them (A1, A2)."""

    @property
    def total(self):
        """All that the agent has."""
        return self.bundles.value(self.bundle.total)

    @property
    def available(self):
        """What is neither offered nor allocated."""
        return self.bundles.value(self.bundle.available)

    @property
    def offered(self):
        """What is in open offers."""
        return self.bundles.value(self.bundle.offered)

    @property
    def allocated(self):
        """What frameworks use, also ones that were not added yet."""
        return self.bundles.value(self.bundle.allocated)

    @property
    def excess(self):
        """What is in use beyond the total."""
        return self.bundles.value(self.bundle.excess)

    cdef int set_capabilities(self, object capabilities) except -1:
        """Take over what it can do. O(1)."""
        self.capabilities = capabilities
        self.multi_role = "MULTI_ROLE" in capabilities
        self.hierarchical = "HIERARCHICAL_ROLE" in capabilities
        return 0

    cdef tuple change(self):
        return "agent", self.id

    def __repr__(self):
        return f"<agent record {self.id!r}>"


@cython.final
@cython.auto_pickle(False)
cdef class Framework(Record):
    """One framework: what it can do, what it asks for, and where it is subscribed.

    Parameters
    ----------
    id : str
    active : bool
    capabilities : frozenset of str
    minimum : tuple of Quantities, mapping of role to such, or None
        What an offer must at least contain, any one of; the engine's own where nothing is said.
    constraints : mapping of role to RoleConstraints
        Which agents it wants to be offered.
    """

    def __init__(self, str id not None, *, bint active, capabilities, minimum, constraints):
        self.id = id
        self.active = active
        self.capabilities = capabilities
        self.minimum = minimum
        self.constraints = constraints
        self.roles = ()
        self.subscriptions = {}

    cdef object minimum_in(self, str role):
        """Return what an offer in a role must at least contain, None for the engine's own. O(1)."""
        if self.minimum is None or isinstance(self.minimum, tuple):
            return self.minimum
        return self.minimum.get(role)

    cdef Framework copied(self):
        """Return a copy without subscriptions, for a fork. O(1)."""
        cdef Framework twin = Framework(
            self.id, active=self.active, capabilities=self.capabilities, minimum=self.minimum,
            constraints=self.constraints)
        twin.roles = self.roles
        return twin

    cdef tuple change(self):
        return "framework", self.id

    def __repr__(self):
        return f"<framework record {self.id!r}>"


@cython.final
@cython.auto_pickle(False)
cdef class Subscription:
    """A framework in one role: a leaf that offers go to.

    It exists while the framework is subscribed to the role or holds something there; it is active
    while the framework is active and subscribed and has not suppressed the role.
    """

    def minimum(self, default):
        """Return what an offer here must at least contain. O(1)."""
        return default if self.own_minima is None else self.own_minima.amounts

    cdef int refresh(self) except -1:
        """Take over what the framework can do and asks for. O(1)."""
        cdef Framework framework = self.framework
        cdef str path = self.node.path
        can = framework.capabilities
        self.can = (
            ("GPU_RESOURCES" in can) * GPU_RESOURCES
            | ("REGION_AWARE" in can) * REGION_AWARE
            | ("MULTI_ROLE" in can) * MULTI_ROLE
        )
        self.viewer = viewer_of(self.node.bundles, path, can)
        self.constraints = framework.constraints.get(path)
        own = framework.minimum_in(path)
        self.own_minima = None if own is None else Minima(self.node.bundles, own)
        return 0

    cdef bint should_be_active(self) noexcept:
        """Tell whether the framework wants offers in this role. O(1)."""
        return self.framework.active and self.subscribed and not self.suppressed

    def __repr__(self):
        return f"<subscription of {self.framework.id!r} to {self.node.path!r}>"


cdef Agent copied_agent(Agent agent, Bundles bundles):
    """Return a copy of an agent for a fork, whose bundles have the same numbers."""
    cdef Agent twin = Agent.__new__(Agent)
    twin.id, twin.hostname, twin.region, twin.zone = (
        agent.id, agent.hostname, agent.region, agent.zone)
    twin.attributes = agent.attributes
    twin.set_capabilities(agent.capabilities)
    twin.bundles = bundles
    if agent.pending is not None:
        twin.pending = {f: dict(by_role) for f, by_role in agent.pending.items()}
    twin.id_hash = agent.id_hash
    twin.looked, twin.index = agent.looked, agent.index
    twin.bundle = agent.bundle
    twin.first_holding = agent.first_holding
    twin.active, twin.admitted, twin.is_dirty = agent.active, agent.admitted, agent.is_dirty
    twin.is_touched = agent.is_touched
    twin.has_gpus, twin.has_shared = agent.has_gpus, agent.has_shared
    twin.is_intricate = agent.is_intricate
    twin.overcommitted, twin.overdrawn = agent.overcommitted, agent.overdrawn
    return twin


cdef int32_t viewer_of(Bundles bundles, str role, object can) except -1:
    """Return what a framework of these capabilities may see in a role, by number."""
    return bundles.viewer(
        role,
        "REVOCABLE_RESOURCES" in can,
        "SHARED_RESOURCES" in can,
        "RESERVATION_REFINEMENT" in can,
    )
