"""The allocator: the calls that change its state, and the views on it (contract §5)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, overload

from allocator.clock import Clock
from allocator.contract import (
    CHANGING,
    DEFAULT_AGENT_CAPABILITIES,
    DEFAULT_REFUSE_SECONDS,
    UNSET,
    EachLike,
    Engine,
    MinimumLike,
    Offer,
    OffersLike,
    QuotasLike,
    RefuseLike,
    Unset,
    Used,
    UsedLike,
)
from allocator.engine._changes import Changes
from allocator.engine._cycle import Cycle
from allocator.engine._records import Framework
from allocator.engine._state import Expected, State
from allocator.engine.constraints import read_constraints
from allocator.engine.filters import filter_seconds
from allocator.engine.inputs import (
    AGENT_CAPABILITIES,
    FRAMEWORK_CAPABILITIES,
    read_attributes,
    read_capabilities,
    read_count,
    read_flag,
    read_id,
    read_minimum,
    read_name,
    read_roles,
    read_suppressed,
    read_weight,
    read_whitelist,
    read_words,
)
from allocator.engine.lookup import (
    agent_of,
    framework_of,
    holders_on,
    leaf_of,
    leaves_of,
    user_of,
)
from allocator.engine.maintenance import Maintenance
from allocator.engine.many import (
    Each,
    check_distinct,
    check_length,
    read_each,
    read_each_attributes,
    read_each_roles,
    read_ids,
    read_new_ids,
)
from allocator.engine.metrics import PREFIX, Latency, state_metrics
from allocator.engine.offers import Offers, offer_id, offer_numbers
from allocator.engine.options import read_options
from allocator.engine.quota import NO_QUOTA, read_quota, read_quotas, set_quotas
from allocator.engine.recovery import Recovery
from allocator.engine.snapshot import VERSION, reading, restore_state, state_to_json
from allocator.engine.use import beyond_said, read_used, read_used_by, read_users
from allocator.engine.views import AgentView, FrameworkView, OpenOffers, RoleView, Views
from allocator.errors import (
    DuplicateAgent,
    DuplicateFramework,
    InvalidValue,
    NotAllowed,
    shown,
)
from allocator.resources import (
    EMPTY,
    QuantitiesLike,
    Resources,
    ResourcesLike,
)
from allocator.resources.conversions import Operation, convert, read_operations
from allocator.roles import validate_role

if TYPE_CHECKING:
    from allocator.explain import Explanation


class Allocator:
    """Shares the resources of many agents among frameworks by hierarchical, weighted DRF.

    In process: no thread, no server, no I/O. Every call that is refused raises an
    `AllocatorError` that names the value that was wrong, and changes nothing.

    Parameters
    ----------
    sorter : {"drf", "naive", "sorted", "random", "hdrf", "naive-hdrf"}
        How roles and frameworks are ordered: by dominant resource fairness with the order kept up
        to date in compiled code, recomputed each time, or kept on sortedcontainers (all three
        decide the same); by weighted chance; or by hierarchical dominant resource fairness, kept up
        to date in compiled code or recomputed each time.
    role_sorter, framework_sorter : str, optional
        The same for one of the two levels alone.
    sorter_options : mapping of str to value, optional
        What the sorters take beside: of "hdrf" and "naive-hdrf" `saturation`, the part of a
        resource's total, from 0 (which is the default) to 1, up to which it counts as used up.
    fairness_exclude : iterable of str
        Resource names left out of the dominant share.
    min_allocatable : list of quantities, optional
        An offer must contain any one of them; None makes no condition.
    filter_gpus : bool
        Keep agents that have GPUs for frameworks with the `GPU_RESOURCES` capability.
    region : str, optional
        The master's region; agents of other regions are for `REGION_AWARE` frameworks.
    allocation_interval : float
        Seconds between cycles; the least time that a filter lives.
    recovery_timeout : float
        Seconds after which a recovery ends whoever is back.
    recovery_factor : float
        The part of the expected agents, 0 to 1, that must be back for a recovery to end.
    offer_timeout : float, optional
        Seconds after which an open offer is rescinded, without a filter, when the next cycle
        begins; None for never.
    offer_prefix : str
        What the ids of offers begin with: the n-th offer is this and `O<n>`.
    seed : int or str, optional
        Sets the order in which cycles visit agents, and the random sorter; None draws one.
    clock : callable
        Returns the time in seconds and never runs backwards.

    Raises
    ------
    InvalidValue
        An option that cannot be.

    Examples
    --------
    >>> engine = Allocator(seed=7)
    >>> engine.add_agent("a1", "cpus:8;mem:16384")
    >>> engine.add_framework("spark", roles=["eng/batch"])
    >>> for offer in engine.allocate():
    ...     print(offer.framework, offer.resources)
    ...     engine.accept(offer, "cpus:1;mem:1024")
    spark cpus:8;mem:16384
    >>> print(engine.agent("a1").available)
    cpus:7;mem:15360
    """

    def __init__(
        self,
        *,
        sorter: str = "drf",
        role_sorter: str | None = None,
        framework_sorter: str | None = None,
        sorter_options: Mapping[str, object] | None = None,
        fairness_exclude: Iterable[str] = (),
        min_allocatable: Iterable[QuantitiesLike] | None = None,
        filter_gpus: bool = True,
        region: str | None = None,
        allocation_interval: float = 1.0,
        recovery_timeout: float = 600.0,
        recovery_factor: float = 0.8,
        offer_timeout: float | None = None,
        offer_prefix: str = "",
        seed: int | str | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        if not callable(clock):
            raise InvalidValue(f"clock is a callable that returns seconds, not {shown(clock)}")
        self._options = options = read_options(
            sorter=sorter,
            role_sorter=role_sorter,
            framework_sorter=framework_sorter,
            sorter_options=sorter_options,
            fairness_exclude=fairness_exclude,
            min_allocatable=min_allocatable,
            filter_gpus=filter_gpus,
            region=region,
            allocation_interval=allocation_interval,
            recovery_timeout=recovery_timeout,
            recovery_factor=recovery_factor,
            offer_timeout=offer_timeout,
            offer_prefix=offer_prefix,
            seed=seed,
        )
        self._clock = clock
        sorters = options.sorters
        self._state = State(sorters.of_roles, sorters.of_frameworks, options.offer_prefix)
        self._recovery = Recovery(options.recovery_factor, options.recovery_timeout)
        self._maintenance = Maintenance()
        self._paused = False
        self._n_cycles = 0
        self._run = Latency()

    # Agents.

    def add_agent(
        self,
        id: str,
        resources: ResourcesLike,
        *,
        hostname: str | None = None,
        attributes: object = None,
        capabilities: Iterable[str] = DEFAULT_AGENT_CAPABILITIES,
        region: str | None = None,
        zone: str | None = None,
        used: Used | None = None,
    ) -> None:
        """Add an agent with all of its resources.

        Parameters
        ----------
        id : str
        resources : resources
            What it has in all.
        hostname : str, optional
            What the whitelist goes by; the id if not given.
        attributes : mapping or list of v1 JSON attributes, optional
        capabilities : iterable of str
            Mesos's names in capitals.
        region, zone : str, optional
            Its fault domain.
        used : mapping of framework to role to resources, optional
            What is in use there already. What a framework that was not added yet uses counts as
            consumed by its role at once, and enters shares when it is added.

        Raises
        ------
        DuplicateAgent, InvalidValue, InvalidRole
        ResourceError
            Malformed, or more is used than there is.

        Notes
        -----
        O(entries + used), however many agents, frameworks and roles there are.
        """
        id = read_id("agent", id)
        if id in self._state.agents:
            raise DuplicateAgent(f"there is an agent {shown(id)} already")
        total = Resources(resources)
        users = read_users(used)
        state = self._state
        state.add_agents(
            [id],
            [id if hostname is None else read_id("host", hostname)],
            [read_attributes(attributes)],
            read_capabilities("agent", capabilities, AGENT_CAPABILITIES),
            read_name("region", region),
            read_name("zone", zone),
            state.each_bundle([total], 1),
            users,
        )
        self._end_recovery()

    def update_agent(
        self,
        id: str,
        *,
        resources: ResourcesLike | Unset = UNSET,
        attributes: object = UNSET,
        capabilities: Iterable[str] | Unset = UNSET,
    ) -> None:
        """Replace an agent's total, attributes or capabilities; what is not given stays.

        The total may shrink below what is in use: nothing is available then until enough was
        given back. New attributes end the filters on the agent. O(entries).

        Raises
        ------
        UnknownAgent, ResourceError, InvalidValue
        """
        agent = agent_of(self._state, id)
        total = agent.total if resources is UNSET else Resources(resources)
        known = agent.attributes if attributes is UNSET else read_attributes(attributes)
        can = agent.capabilities
        if capabilities is not UNSET:
            can = read_capabilities("agent", capabilities, AGENT_CAPABILITIES)
        is_other = known != agent.attributes  # asks values that may be anybody's
        if total != agent.total:
            self._state.change_total(agent, total)
        if is_other:
            self._maintenance.drop_agent_filters(id)
        self._state.describe_agent(agent, known, can)

    def add_agents(
        self,
        ids: Iterable[str],
        resources: EachLike,
        *,
        hostnames: Iterable[str] | None = None,
        attributes: object = None,
        capabilities: Iterable[str] = DEFAULT_AGENT_CAPABILITIES,
        region: str | None = None,
        zone: str | None = None,
        used: UsedLike | None = None,
    ) -> None:
        """Add many agents, all or none; what differs from one to the other is given as columns.

        Parameters
        ----------
        ids : sequence of n str
        resources : resources, mapping with columns, or list of n texts or Resources
            What each has in all: one value for all; or a mapping in which arrays, lists or tuples
            of n amounts stand for plain scalars, each agent's own, beside what all have alike.
        hostnames : sequence of n str, optional
            The ids if not given.
        attributes : mapping, or list of n, optional
        capabilities : iterable of str
            Of each.
        region, zone : str, optional
            Of each.
        used : mapping, optional
            `framework` and `role`, one text for all or n of them, and `resources`, in the forms
            above: what is in use of each agent.

        Raises
        ------
        DuplicateAgent, InvalidValue, InvalidRole, ResourceError
            As by `add_agent`, or something is not n long; no agent is added then.

        Notes
        -----
        O(n × (names × depth + log frameworks)): some ten times faster than as many calls.

        Examples
        --------
        >>> engine = Allocator(seed=7)
        >>> used = {"framework": ["spark", "flink"], "role": "*", "resources": "cpus:1"}
        >>> engine.add_agents(["a1", "a2"], {"cpus": [8, 4.5], "ports": "[1-9]"}, used=used)
        >>> print(engine.agent("a2").available)
        cpus:3.5;ports:[1-9]
        """
        named = read_new_ids("agent", ids, self._state.agents, DuplicateAgent)
        n = len(named)
        hosts = named if hostnames is None else read_ids("host", hostnames)
        check_length("agents", "hostnames", hosts, n)
        totals = read_each("agents", resources, n)
        users = read_used_by(used, n)
        known = read_each_attributes(attributes, n)
        can = read_capabilities("agent", capabilities, AGENT_CAPABILITIES)
        at = read_name("region", region), read_name("zone", zone)
        state = self._state
        state.add_agents(
            named,
            hosts,
            known,
            can,
            *at,
            state.each_bundle(totals, n),
            users,
        )
        self._end_recovery()

    def update_agents(self, ids: Iterable[str], resources: EachLike) -> None:
        """Replace the totals of many agents, all or none, as `update_agent` does for each.

        Parameters
        ----------
        ids : sequence of n str
        resources : resources, mapping with columns, or list of n texts or Resources
            As in `add_agents`.

        Raises
        ------
        UnknownAgent, InvalidValue, ResourceError
            As by `update_agent`, or something is not n long, or an agent is there twice. Nothing
            changes then.

        Notes
        -----
        O(n × names).

        Examples
        --------
        >>> engine = Allocator(seed=7)
        >>> engine.add_agents(["a1", "a2"], "cpus:8")
        >>> engine.update_agents(["a1", "a2"], {"cpus": [16, 8], "mem": 1024})
        >>> print(engine.agent("a1").total)
        cpus:16;mem:1024
        """
        named = read_ids("agent", ids)
        agents = [agent_of(self._state, id) for id in named]
        check_distinct("agent", named, InvalidValue)
        totals = read_each("agents", resources, len(named))
        self._state.update_agents(agents, self._state.each_bundle(totals, len(named)))

    def add_resources(self, id: str, resources: ResourcesLike, used: Used | None = None) -> None:
        """Add what a resource provider brings to an agent. O(entries + used).

        Raises
        ------
        UnknownAgent, InvalidValue, InvalidRole
        ResourceError
            Malformed, or more is used than it brings and the agent has available.
        """
        agent = agent_of(self._state, id)
        added = Resources(resources)
        self._state.add_resources(agent, added, read_used("framework", used))

    def remove_agent(self, id: str) -> None:
        """Remove an agent; its offers are gone, and so is what was held there. O(held there).

        Raises
        ------
        UnknownAgent
        """
        agent = agent_of(self._state, id)
        self._state.remove_agent(agent)
        self._clear_unavailability(agent.id)

    def activate_agent(self, id: str) -> None:
        """Let cycles consider an agent again; raises `UnknownAgent`. O(1)."""
        self._state.set_active(agent_of(self._state, id), True)

    def deactivate_agent(self, id: str) -> None:
        """Keep cycles from an agent; open offers stay open. Raises `UnknownAgent`. O(1)."""
        self._state.set_active(agent_of(self._state, id), False)

    # Frameworks.

    def add_framework(
        self,
        id: str,
        roles: Iterable[str] = ("*",),
        *,
        active: bool = True,
        suppressed: Iterable[str] = (),
        capabilities: Iterable[str] = (),
        min_allocatable: MinimumLike = None,
        constraints: object = None,
        used: Used | None = None,
    ) -> None:
        """Subscribe a framework to its roles.

        Parameters
        ----------
        id : str
        roles : iterable of str
            Role paths.
        active : bool
            Whether it takes part already.
        suppressed : iterable of str
            Those of its roles in which it wants no offers for now.
        capabilities : iterable of str
            Mesos's names in capitals.
        min_allocatable : list of quantities, or mapping of role to list, optional
            Replaces the engine's; `[]` accepts anything. Ranges and sets count elements.
        constraints : mapping, optional
            v1 `OfferConstraints` JSON: by role, which agents it wants to be offered.
        used : mapping of agent to role to resources, optional
            What it uses already. What the agents said of it is counted once; agents that are not
            there are ignored.

        Raises
        ------
        DuplicateFramework, InvalidRole, InvalidValue, ConstraintError
        UnknownRole
            A suppressed role that is not among its roles.
        ResourceError
            It uses what is not available.

        Notes
        -----
        O(roles + used).
        """
        id = read_id("framework", id)
        if id in self._state.frameworks:
            raise DuplicateFramework(f"there is a framework {shown(id)} already")
        subscribed = read_roles(roles)
        quiet = read_suppressed(id, suppressed, subscribed)
        framework = Framework(
            id,
            active=bool(active),
            capabilities=read_capabilities("framework", capabilities, FRAMEWORK_CAPABILITIES),
            minimum=read_minimum(min_allocatable),
            constraints=read_constraints(constraints),
        )
        more = beyond_said(self._state.agents, id, read_used("agent", used))
        self._state.add_framework(framework, subscribed, quiet)
        for agent, role, resources in more:
            self._state.use(id, role, agent, resources)

    def add_frameworks(
        self,
        ids: Iterable[str],
        roles: Iterable[str] | Sequence[Sequence[str]] = ("*",),
        *,
        active: bool = True,
        suppressed: Iterable[str] = (),
        capabilities: Iterable[str] = (),
        min_allocatable: MinimumLike = None,
        constraints: object = None,
    ) -> None:
        """Subscribe many frameworks that are alike, all or none.

        Parameters
        ----------
        ids : sequence of n str
        roles : iterable of str, or list of n lists of str
            The roles of all, or those of each.
        active, suppressed, capabilities, min_allocatable, constraints
            Of each, as in `add_framework`.

        Raises
        ------
        DuplicateFramework, InvalidRole, InvalidValue, ConstraintError, UnknownRole
            As by `add_framework`, or the list of roles is not n long; none is added then.

        Notes
        -----
        O(n × roles).

        Examples
        --------
        >>> engine = Allocator(seed=7)
        >>> engine.add_frameworks(["spark", "flink"], [["eng/batch"], ["eng/batch", "eng/stream"]])
        >>> engine.framework("flink").roles
        ('eng/batch', 'eng/stream')
        """
        named = read_new_ids("framework", ids, self._state.frameworks, DuplicateFramework)
        subscribed = read_each_roles(roles, len(named))
        pairs = list(zip(named, subscribed, strict=True))
        quiet = [read_suppressed(id, suppressed, own) for id, own in pairs]
        can = read_capabilities("framework", capabilities, FRAMEWORK_CAPABILITIES)
        minimum, wanted = read_minimum(min_allocatable), read_constraints(constraints)
        for (id, own), silent in zip(pairs, quiet, strict=True):
            framework = Framework(
                id, active=bool(active), capabilities=can, minimum=minimum, constraints=wanted
            )
            self._state.add_framework(framework, own, silent)

    def update_framework(
        self,
        id: str,
        *,
        roles: Iterable[str] | Unset = UNSET,
        suppressed: Iterable[str] | Unset = UNSET,
        capabilities: Iterable[str] | Unset = UNSET,
        min_allocatable: MinimumLike | Unset = UNSET,
        constraints: object = UNSET,
    ) -> None:
        """Change what is given of a framework; the rest stays. O(roles).

        Newly suppressed roles are suppressed, ones no longer suppressed revived. A role that it
        leaves loses its filters; what it holds there it keeps until it gives it back.

        Raises
        ------
        UnknownFramework, InvalidRole, InvalidValue, ConstraintError
        UnknownRole
            A suppressed role that is not among its roles.
        """
        framework = framework_of(self._state, id)
        subscribed = framework.roles if roles is UNSET else read_roles(roles)
        before = {role for role, leaf in framework.subscriptions.items() if leaf.suppressed}
        quiet = before.intersection(subscribed)
        if suppressed is not UNSET:
            quiet = set(read_suppressed(id, suppressed, subscribed))
        can, minimum, wanted = framework.capabilities, framework.minimum, framework.constraints
        if capabilities is not UNSET:
            can = read_capabilities("framework", capabilities, FRAMEWORK_CAPABILITIES)
        if min_allocatable is not UNSET:
            minimum = read_minimum(min_allocatable)
        if constraints is not UNSET:
            wanted = read_constraints(constraints)
        if before.intersection(subscribed) - quiet:
            self._maintenance.drop_filters(id)
        self._state.update_framework(
            framework, subscribed, quiet, capabilities=can, minimum=minimum, constraints=wanted
        )

    def remove_framework(self, id: str) -> None:
        """Remove a framework; its offers are gone and what it held is available. O(held).

        Raises
        ------
        UnknownFramework
        """
        self._state.remove_framework(framework_of(self._state, id))
        for agent in self._maintenance.forget(id):
            self._tell("maintenance", agent)

    def activate_framework(self, id: str) -> None:
        """Let a framework take part again; raises `UnknownFramework`. O(roles)."""
        self._state.set_framework_active(framework_of(self._state, id), True)

    def deactivate_framework(self, id: str) -> None:
        """Offer a framework nothing more; its open offers stay, its filters go. O(roles + filters).

        Raises
        ------
        UnknownFramework
        """
        self._state.set_framework_active(framework_of(self._state, id), False)
        self._maintenance.drop_filters(id)

    def suppress(self, id: str, roles: Iterable[str] | None = None) -> None:
        """Offer a framework nothing more in these roles, or in all of its roles. O(roles).

        Raises
        ------
        UnknownFramework, InvalidRole
        UnknownRole
            It is not subscribed to one of them.
        """
        for leaf in leaves_of(self._state, id, roles):
            self._state.suppress(leaf)

    def revive(self, id: str, roles: Iterable[str] | None = None) -> None:
        """End the filters and the suppression in these roles, or in all of them. O(filters).

        Raises
        ------
        UnknownFramework, InvalidRole
        UnknownRole
            It is not subscribed to one of them.
        """
        for leaf in leaves_of(self._state, id, roles):
            self._state.revive(leaf)
        self._maintenance.drop_filters(id)

    # Policy.

    def set_weight(self, role: str, weight: float) -> None:
        """Weigh a role's subtree against its siblings, also while the role does not exist yet.

        Raises
        ------
        InvalidRole
        InvalidValue
            The weight does not lie between 1e-9 and 1e9. O(log siblings).
        """
        self.set_weights({validate_role(role): weight})

    def set_weights(self, weights: Mapping[str, float]) -> None:
        """Weigh many roles, each as `set_weight` does, all or none.

        Raises
        ------
        InvalidRole
        InvalidValue
            A weight does not lie between 1e-9 and 1e9. O(n × log siblings).

        Examples
        --------
        >>> engine = Allocator(seed=7)
        >>> engine.set_weights({"eng": 2.0, "ops": 0.5})
        >>> engine.role("ops").weight
        0.5
        """
        if not isinstance(weights, Mapping):
            raise InvalidValue(f"weights map roles to numbers, not {shown(weights)}")
        read = {validate_role(role): read_weight(role, weight) for role, weight in weights.items()}
        for role, number in read.items():
            self._state.set_weight(role, number)

    def set_quota(
        self,
        role: str,
        guarantee: QuantitiesLike | None = None,
        limit: QuantitiesLike | None = None,
    ) -> None:
        """Replace a role's quota; an empty one is none.

        Parameters
        ----------
        role : str
        guarantee : quantities, optional
            What is held back for the subtree until it consumes as much.
        limit : quantities, optional
            The most that the subtree may consume; zero is a limit. It may lie below what is
            consumed: nothing more is offered then until it fits again.

        Raises
        ------
        InvalidRole, ResourceError
        QuotaError
            A guarantee above a limit on its path, or children's above their parent's.
        """
        set_quotas(self._state, {validate_role(role): read_quota(guarantee, limit)})

    def set_quotas(self, quotas: QuotasLike) -> None:
        """Replace the quotas of many roles, all or none; empty ones are none.

        They are judged by how all fit together in the end, whatever the order.

        Parameters
        ----------
        quotas : mapping
            role → `{"guarantee": …, "limit": …}`, each as in `set_quota`.

        Raises
        ------
        InvalidValue, InvalidRole, ResourceError, QuotaError

        Notes
        -----
        O(n × depth × names).

        Examples
        --------
        >>> engine = Allocator(seed=7)
        >>> engine.set_quota("eng", guarantee="cpus:4")
        >>> engine.set_quotas({"eng/web": {"guarantee": "cpus:6"}, "eng": {"guarantee": "cpus:8"}})
        >>> print(engine.role("eng/web").quota.guarantee)
        cpus:6
        """
        set_quotas(self._state, read_quotas(quotas))

    def remove_quota(self, role: str) -> None:
        """Remove a role's quota, if it has one; raises `InvalidRole`, `QuotaError`."""
        if self._state.tree.get(validate_role(role)) is not None:
            self.set_quota(role)

    def set_whitelist(self, hostnames: Iterable[str] | None) -> None:
        """Restrict cycles to agents on these hosts; None lifts the restriction. O(agents)."""
        self._state.set_whitelist(read_whitelist(hostnames))

    # Cycles.

    def allocate(self, agents: Iterable[str] | None = None) -> Offers:
        """Run one cycle: offer what is available to whom it is due (contract §6).

        Parameters
        ----------
        agents : iterable of str, optional
            The agents to consider; None considers all.

        Returns
        -------
        Offers
            In the order in which they were made; none while paused or recovering, when no cycle
            begins.

        Raises
        ------
        UnknownAgent

        Notes
        -----
        The cost follows what changed since the last cycle; an offer costs O(log frameworks).
        """
        named = None
        if agents is not None:
            named = [agent_of(self._state, id) for id in read_words("agents", agents)]
        now = self._clock()
        self._end_recovery(now)
        if self._paused or self._recovery.holds_back(now):
            return Offers()
        started = time.perf_counter()
        state = self._state
        rescinded = self._begin_cycle(now)
        made = Cycle(state, self._options, self._n_cycles).run(
            named, now + self._options.offer_timeout
        )
        inverse = self._maintenance.due(
            None if named is None else [agent.id for agent in named],
            partial(holders_on, self._state),
            now,
        )
        for asked in inverse:
            self._tell("maintenance", asked.agent)
        self._run.record((time.perf_counter() - started) * 1000)
        return Offers._of(made, inverse=inverse, rescinded=rescinded)

    def skip_cycles(self, n: int) -> None:
        """Count `n` cycles that were not run because they could do nothing (see `next_due`).

        The order of agents depends on the cycle's number, so that a simulation that leaves such
        cycles out decides as if it had run them. Raises `InvalidValue` unless `n` ≥ 0 and
        all cycles together are at most 2**62. O(1).
        """
        skipped = read_count("a number of cycles", n)
        self._n_cycles = read_count("the number of all cycles", self._n_cycles + skipped)

    def next_due(self) -> float:
        """Return the time at which a cycle may next make an offer if nobody calls meanwhile.

        The present if something changed since the last cycle, else when the earliest filter, open
        offer or recovery ends; infinity if only a call can bring an offer about. O(changed).
        """
        now = self._clock()
        if self._paused:
            return math.inf
        if self._recovery.holds_back(now):
            return self._recovery.end
        state = self._state
        ends = min(state.filters.next_end(), state.next_offer_end)
        if state.tree.n_quotas or self._maintenance:
            ends = min(ends, self._maintenance.next_end(now))
            return now if state.has_changed else max(now, ends)
        return now if state.has_work else max(now, ends)

    def pause(self) -> None:
        """Make no offers until `resume`. O(1)."""
        self._set_paused(True)

    def resume(self) -> None:
        """Make offers again. O(1)."""
        self._set_paused(False)

    def recover(self, expected_agents: int, quotas: QuotasLike) -> None:
        """Hold offers back until enough agents are back after a restart.

        Parameters
        ----------
        expected_agents : int
            How many agents there were; int(that × `recovery_factor`) of them are waited for.
        quotas : mapping
            role → `{"guarantee": …, "limit": …}`. Without any, nothing is waited for.

        Raises
        ------
        NotAllowed
            There are agents already.
        InvalidValue, InvalidRole, ResourceError, QuotaError
            Then no quota is set.
        """
        if self._state.agents:
            raise NotAllowed(
                f"recover() comes before any agent, and there are {len(self._state.agents)}"
            )
        expected = read_count("expected_agents", expected_agents)
        read = read_quotas(quotas)
        now = self._clock()
        set_quotas(self._state, read)
        if any(quota is not NO_QUOTA for quota in read.values()):
            self._recovery.begin(expected, now)
            if self._recovery.awaited:
                self._tell("engine")

    # Answers.

    def accept(
        self,
        offer: OffersLike,
        resources: EachLike | None = None,
        *,
        refuse_seconds: RefuseLike = None,
    ) -> None:
        """Keep an offer, or a part of it; the rest goes back.

        Parameters
        ----------
        offer : Offer or its id, or several
            `Offers`, a selection of them (`offers[:10]`, `offers[mask]`), or a collection of offers
            or ids: answered as a whole, or not at all.
        resources : resources, optional
            What is kept; all if not given. Of several offers, that much of each; or a list of n
            `Resources`, or a mapping with columns of n amounts, as in `add_agents`.
        refuse_seconds : float, or array of n float, optional
            How long the rest is not wanted again; None makes no filter, nor does 0. Of several
            offers, one for all or one for each.

        Raises
        ------
        OfferGone
            It is not open any more, or there twice.
        ResourceError
            More than is in the offer.
        InvalidValue

        Notes
        -----
        O(names × depth + log siblings) an offer.
        """
        self._answer(offer, resources, refuse_seconds)

    def decline(
        self, offer: OffersLike, *, refuse_seconds: RefuseLike = DEFAULT_REFUSE_SECONDS
    ) -> None:
        """Give an offer back, and refuse its resources for a time (None: no filter).

        `offer` and `refuse_seconds` as in `accept`.

        Raises
        ------
        OfferGone, InvalidValue
        """
        self._answer(offer, EMPTY, refuse_seconds)

    def rescind(self, offer: OffersLike) -> None:
        """Take an offer back, or several; what is in it is available again. Raises `OfferGone`."""
        self.decline(offer, refuse_seconds=None)

    @overload
    def release(self, framework: Iterable[Offer], *, resources: EachLike | None = None) -> None: ...

    @overload
    def release(self, framework: str, agent: str, role: str, resources: ResourcesLike) -> None: ...

    def release(
        self,
        framework: str | Iterable[Offer],
        agent: str | None = None,
        role: str | None = None,
        resources: Any = None,
    ) -> None:
        """Give back what a framework uses: a task has ended.

        Parameters
        ----------
        framework : str, or several offers
            `Offers`, a selection of them, or a collection of `Offer`: stands for all that was in
            them, unless `resources` says how much of each, as in `accept`; given back as a whole,
            or not at all.
        agent, role : str
        resources : resources

        Raises
        ------
        UnknownFramework, UnknownAgent, UnknownRole
        ResourceError
            More than it uses there.
        """
        if isinstance(framework, Iterable) and not isinstance(framework, Offer | str):
            self._release_offers(list(framework), resources)
        elif agent is None or role is None or resources is None:
            raise InvalidValue("release() needs an agent, a role and resources, or several offers")
        else:
            self.recover_resources(framework, agent, role, resources, allocated=True)

    def recover_resources(
        self,
        framework: str,
        agent: str,
        role: str,
        resources: ResourcesLike,
        *,
        refuse_seconds: float | None = None,
        allocated: bool = False,
    ) -> None:
        """Give back resources that are offered or, with `allocated`, in use.

        What a framework that was not added yet uses is given back without a filter.

        Offered ones are taken out of the oldest open offers of that framework, agent and role; an
        offer that is emptied is gone.

        Raises
        ------
        UnknownFramework, UnknownAgent, InvalidValue
        UnknownRole
            The framework neither is subscribed to the role nor holds anything there.
        ResourceError
            More than it holds there.
        """
        user = (
            user_of(self._state, framework, role)
            if allocated
            else leaf_of(self._state, framework, role)
        )
        on = agent_of(self._state, agent)
        given = Resources(resources)
        seconds = filter_seconds(refuse_seconds, self._options.allocation_interval)
        if isinstance(user, Expected):
            self._state.release([user], [on], self._state.each_bundle(given, 1))
            return
        life = -math.inf if seconds is None else seconds
        self._state.recover(user, on, given, not allocated, life, self._clock())

    # Conversions.

    def apply(self, offer: Offer | str, operations: Operation | Iterable[Operation]) -> Offer:
        """Convert what is in an open offer: reserve it, create volumes from it, and back.

        Parameters
        ----------
        offer : Offer or its id
        operations : Operation, or an iterable of them
            Applied in order, all or none.

        Returns
        -------
        Offer
            The same offer with the converted resources; it stays open.

        Raises
        ------
        OfferGone
        ResourceError
            An operation that the resources do not allow.

        Notes
        -----
        O(entries of the agent).
        """
        id = offer_id(offer)
        leaf, agent, left = self._state.find_offer(id)
        converted = convert(
            left,
            read_operations(operations),
            existing=agent.total,
            shared_in_use=agent.offered + agent.allocated - left,
        )
        self._state.convert_offered(id, converted)
        return Offer(id, leaf.framework.id, leaf.node.path, agent.id, converted)

    def apply_available(self, agent: str, operations: Operation | Iterable[Operation]) -> None:
        """Convert what is available on an agent, as `apply` converts an offer.

        Raises
        ------
        UnknownAgent
        ResourceError
            An operation that the resources do not allow. O(entries of the agent).
        """
        on = agent_of(self._state, agent)
        converted = convert(
            on.available,
            read_operations(operations),
            existing=on.total,
            shared_in_use=on.offered + on.allocated,
        )
        self._state.change_total(on, on.total - on.available + converted)

    # Maintenance.

    def set_unavailability(self, agent: str, start: float, duration: float | None = None) -> None:
        """Plan an agent's unavailability; the next cycles ask frameworks on it to leave. O(1).

        Parameters
        ----------
        agent : str
        start : float
            In seconds of the engine's clock.
        duration : float, optional
            In seconds; None for good.

        Raises
        ------
        UnknownAgent, InvalidValue
        """
        id = agent_of(self._state, agent).id
        self._maintenance.set(id, start, duration)
        self._tell("maintenance", id)
        self._state.touch()

    def clear_unavailability(self, agent: str) -> None:
        """Plan nothing for an agent any more; raises `UnknownAgent`. O(1)."""
        self._clear_unavailability(agent_of(self._state, agent).id)

    def answer_inverse(
        self,
        framework: str,
        agent: str,
        status: str | None,
        *,
        refuse_seconds: float | None = None,
    ) -> None:
        """Answer an inverse offer; the next cycle asks again unless that is refused for a time.

        Parameters
        ----------
        framework, agent : str
        status : {"ACCEPT", "DECLINE"} or None
        refuse_seconds : float, optional
            How long no further one is wanted, without a minimum.

        Raises
        ------
        UnknownFramework, UnknownAgent, InvalidValue
        OfferGone
            Nothing is planned for the agent.
        """
        asked, on = framework_of(self._state, framework).id, agent_of(self._state, agent).id
        was_outstanding = self._maintenance.answer(
            asked,
            on,
            status,
            now=self._clock(),
            refuse_seconds=refuse_seconds,
        )
        if was_outstanding:
            self._tell("maintenance", on)
        self._state.touch()

    # Looking.

    def agent(self, id: str) -> AgentView:
        """Return a read-only view of an agent; raises `UnknownAgent`."""
        return AgentView(self._state, id)

    def framework(self, id: str) -> FrameworkView:
        """Return a read-only view of a framework; raises `UnknownFramework`."""
        return FrameworkView(self._state, id)

    def role(self, path: str) -> RoleView:
        """Return a read-only view of a role that exists; raises `UnknownRole`."""
        return RoleView(self._state, path, self._clock)

    @property
    def agents(self) -> Mapping[str, AgentView]:
        """All agents by id, as they are whenever one looks, in the order in which they came.

        Examples
        --------
        >>> engine = Allocator(seed=7)
        >>> engine.add_agents(["a1", "a2"], "cpus:8")
        >>> agents = engine.agents
        >>> len(agents), "a3" in agents, str(agents["a1"].available)
        (2, False, 'cpus:8')
        """
        return Views("agents", self._state.agents, self.agent)

    @property
    def frameworks(self) -> Mapping[str, FrameworkView]:
        """All frameworks by id, as they are whenever one looks, in the order in which they came."""
        return Views("frameworks", self._state.frameworks, self.framework)

    @property
    def roles(self) -> Mapping[str, RoleView]:
        """All roles that exist by path, as they are whenever one looks, in the order of paths."""
        return Views("roles", self._state.tree.roles, self.role, in_order=sorted)

    @property
    def open_offers(self) -> Mapping[str, Offer]:
        """All open offers by id, whenever one looks, in the order in which they were made.

        An `Offer` here has what is left in it, which is less than was offered where a part was
        recovered.
        """
        return OpenOffers(self._state)

    def inverse_statuses(self, agent: str) -> dict[str, str]:
        """Return what frameworks last answered to inverse offers on an agent.

        Returns
        -------
        dict
            Framework → `"ACCEPT"` or `"DECLINE"`; one that did not answer yet is left out.

        Raises
        ------
        UnknownAgent
            O(answers).
        """
        return self._maintenance.statuses(agent_of(self._state, agent).id)

    def explain(
        self, framework: str, role: str | None = None, agent: str | None = None
    ) -> Explanation:
        """Tell what the next cycle offers a framework, why not more, and what would lead to more.

        Parameters
        ----------
        framework : str
        role : str, optional
            One of the roles it is subscribed to; all of them if not given.
        agent : str, optional
            All agents if not given.

        Returns
        -------
        Explanation
            For each role and agent what is offered or the reasons why not, a summary by reason,
            and the smallest change that would lead to an offer. What it says is offered is exactly
            what `allocate()` offers next; nothing changes.

        Raises
        ------
        UnknownFramework, UnknownAgent, InvalidRole
        UnknownRole
            The framework is not subscribed to it.

        Notes
        -----
        O(a fork and a full cycle), and a bounded number of times that again where nothing is
        offered and changes are tried out.

        Examples
        --------
        >>> engine = Allocator(seed=7)
        >>> engine.add_agent("a1", "cpus:8")
        >>> engine.add_framework("spark", suppressed=["*"])
        >>> explanation = engine.explain("spark")
        >>> print(explanation.cases[0])
        * on a1: suppressed in role *
        >>> print(explanation.change)
        revive role * of framework spark → * on a1: cpus:8
        """
        # Here, not above: few engines are ever asked. What explains knows nothing of the engine.
        from allocator.engine.rehearsal import Rehearsal
        from allocator.explain import explain

        return explain(lambda: Rehearsal(self), framework, role, agent)

    def metrics(self) -> dict[str, float]:
        """Return counters, gauges and latencies by Mesos's names. O(roles × names).

        Resources are in their own units, times in milliseconds.
        """
        return {
            f"{PREFIX}/allocation_runs": self._run.count,
            **dict(self._run.statistics(f"{PREFIX}/allocation_run_ms")),
            f"{PREFIX}/open_offers": self._state.n_open_offers,
            f"{PREFIX}/offers_made": self._state.n_offers_made,
            **dict(state_metrics(self._state, self._clock())),
        }

    def changes(self, wake: Callable[[], object] | None = None) -> Changes:
        """Return a reader of what changes from now on; there may be several.

        Whatever a view or a mapping would show otherwise is told. So are unavailabilities,
        inverse offers and the answers to them; and of the engine as a whole: pauses, the whitelist,
        recoveries, and that shares moved with the totals alone. What changed and changed back is
        told too. Filters that end are told of when a cycle begins; a refused call tells of nothing.

        Parameters
        ----------
        wake : callable, optional
            Called without arguments when there is something to take after there was nothing, after
            the call that changed it has ended, so that it may call the engine. What it raises, that
            call raises, and the change stands.

        Returns
        -------
        Changes
            Its `take()` returns (kind, id) of what changed since the last time, each once, its
            `close()` ends it.

        Raises
        ------
        InvalidValue
            `wake` cannot be called.

        Notes
        -----
        Costs nothing without a reader; with some, one call more for each call, and O(1) for each
        thing that changes.

        Examples
        --------
        >>> engine = Allocator(seed=7)
        >>> changes = engine.changes(wake=lambda: print("something changed"))
        >>> engine.add_agent("a1", "cpus:8")
        something changed
        >>> engine.deactivate_agent("a1")
        >>> changes.take()
        [('agent', 'a1'), ('engine', '')]
        """
        return self._state.journal.reader(self, wake)

    def touched_agents(self) -> list[str] | None:
        """Return the agents for which a cycle is worth while now, None for all of them.

        Those to which something happened since a cycle looked at them, on account of which an offer
        on them may be possible; none while paused or recovering. Where quotas, filters that end or
        shared resources may make others possible, that is left to the next full cycle. O(them).

        Examples
        --------
        >>> engine = Allocator(seed=7)
        >>> engine.add_framework("spark")
        >>> engine.add_agents(["a1", "a2"], "cpus:8")
        >>> offers = engine.allocate()
        >>> engine.touched_agents()
        []
        >>> engine.decline(offers[0], refuse_seconds=60)
        >>> engine.touched_agents() == [offers[0].agent]
        True
        """
        if self._paused or self._recovery.holds_back(self._clock()):
            return []
        touched = self._state.touched_agents()
        return None if touched is None else [agent.id for agent in touched]

    def now(self) -> float:
        """Return the time of the engine's clock, in seconds."""
        return self._clock()

    # The whole state.

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state as JSON, from which `restore` makes an engine that decides alike.

        Equal states have equal snapshots: everything is listed by id, and times are those that
        remain. Statistics are not part of it. O(size of the state).

        Examples
        --------
        >>> engine = Allocator(seed=7)
        >>> engine.add_agent("a1", "cpus:8")
        >>> engine.add_framework("spark")
        >>> twin = Allocator.restore(engine.snapshot())
        >>> twin.allocate() == engine.allocate()
        True
        """
        now = self._clock()
        return {
            "version": VERSION,
            "options": self._options.to_json(),
            "cycle": self._n_cycles,
            "paused": self._paused,
            **self._recovery.to_json(now),
            "maintenance": self._maintenance.to_json(now),
            **state_to_json(self._state, now),
        }

    @classmethod
    def restore(cls, snapshot: Mapping[str, Any], *, clock: Clock = time.monotonic) -> Allocator:
        """Return an engine in the state of a snapshot; times that remain count from now.

        Parameters
        ----------
        snapshot : mapping
            What `snapshot` returned, or the same after a trip through JSON.
        clock : callable
            As in the constructor.

        Raises
        ------
        SnapshotError
            Malformed, or of a version that this release does not read. O(size of the state).
        """
        with reading(snapshot):
            engine = cls(**snapshot["options"], clock=clock)
            now = clock()
            restore_state(engine._state, snapshot, now)
            engine._n_cycles = read_count("cycle", snapshot["cycle"])
            engine._paused = read_flag("paused", snapshot["paused"])
            engine._recovery.restore(snapshot, now)
            engine._maintenance = Maintenance.from_json(snapshot["maintenance"], now)
        return engine

    def fork(self) -> Allocator:
        """Return a copy that decides alike, to try out what would happen.

        It shares the clock, takes the same `Offer` objects, and never touches the original. Much
        cheaper than `restore(snapshot())`: records are copied, values shared. O(size of the state).

        Examples
        --------
        >>> engine = Allocator(seed=7)
        >>> engine.add_agent("a1", "cpus:8")
        >>> what_if = engine.fork()
        >>> what_if.add_framework("spark")
        >>> len(what_if.allocate()), len(engine.allocate())
        (1, 0)
        """
        twin = copy(self)
        for name in CHANGING:
            vars(twin).pop(name, None)  # those of an engine that somebody reads
        twin._state = self._state.fork()
        twin._recovery = copy(self._recovery)
        twin._maintenance = self._maintenance.copy()
        twin._run = Latency()
        return twin

    def __repr__(self) -> str:
        state = self._state
        counts = f"agents {len(state.agents)}, frameworks {len(state.frameworks)}"
        return f"<Allocator: {counts}, open offers {state.n_open_offers}, cycle {self._n_cycles}>"

    # What several calls have in common.

    def _tell(self, kind: str, id: str = "") -> None:
        """Tell readers of what the state does not know."""
        self._state.journal.tell_of(kind, id)

    def _set_paused(self, paused: bool) -> None:
        if paused != self._paused:
            self._paused = paused
            self._tell("engine")

    def _end_recovery(self, now: float = -math.inf) -> None:
        """End a recovery if enough agents are back, or if by now none is waited for any more."""
        if self._recovery.has_ended(len(self._state.agents), now):
            self._tell("engine")

    def _clear_unavailability(self, agent: str) -> None:
        if agent in self._maintenance:
            self._maintenance.clear(agent)
            self._tell("maintenance", agent)

    def _begin_cycle(self, now: float) -> list[str]:
        """Count a cycle, drop what ends before it, and return the offers rescinded. O(ended)."""
        self._n_cycles += 1
        self._state.expire_filters(now)
        return self._state.expire_offers(now)

    def _answer(self, offer: OffersLike, kept: EachLike | None, refuse_seconds: RefuseLike) -> None:
        """Keep a part of an offer or of several, None for all, and give the rest back."""
        interval = self._options.allocation_interval
        if isinstance(offer, Offer | str):
            id = offer_id(offer)
            self._state.answer_one(id, kept, refuse_seconds, interval, self._clock())
        else:
            numbers = offer_numbers(self._state, offer)
            self._state.answer(numbers, kept, refuse_seconds, interval, self._clock())

    def _release_offers(self, offers: list[Offer], resources: EachLike | None) -> None:
        """Give back what was accepted of these offers, all or none."""
        for offer in offers:
            if not isinstance(offer, Offer):
                raise InvalidValue(f"{shown(offer)} is no offer")
        users = [user_of(self._state, offer.framework, offer.role) for offer in offers]
        agents = [agent_of(self._state, offer.agent) for offer in offers]
        given: Each = [offer.resources for offer in offers]
        if resources is not None:
            given = read_each("offers", resources, len(offers))
        self._state.release(users, agents, self._state.each_bundle(given, len(offers)))


if TYPE_CHECKING:
    # Type checkers hold the class to the contract here.
    _contract: type[Engine] = Allocator
