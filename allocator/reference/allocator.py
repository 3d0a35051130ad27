"""The calls of the contract's §5, in its order."""

from __future__ import annotations

import copy
import math
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from allocator.clock import Clock
from allocator.contract import (
    CHANGING,
    DEFAULT_AGENT_CAPABILITIES,
    DEFAULT_REFUSE_SECONDS,
    UNSET,
    Decider,
    EachLike,
    MinimumLike,
    Offer,
    OffersLike,
    QuotasLike,
    RefuseLike,
    Unset,
    Used,
    UsedLike,
)
from allocator.errors import (
    DuplicateAgent,
    DuplicateFramework,
    InvalidValue,
    NotAllowed,
    OfferGone,
    ResourceError,
    UnknownAgent,
    UnknownFramework,
    UnknownRole,
    cut,
    shown,
)
from allocator.reference import inputs
from allocator.reference.changes import Changes, told
from allocator.reference.conversions import converted
from allocator.reference.cycle import Cycle, Rules, inverse_offers
from allocator.reference.order import Ordering, amounts_in, gathered
from allocator.reference.quota import check_quotas, consumed, reserved
from allocator.reference.state import (
    EMPTY,
    Agent,
    Filter,
    Framework,
    InverseFilter,
    Maintenance,
    Place,
    Quota,
    State,
    check_compatible,
    total,
)
from allocator.reference.views import (
    AgentView,
    FrameworkView,
    Looked,
    Offers,
    QuotaView,
    RoleView,
)
from allocator.resources import Quantities, QuantitiesLike, Resources, ResourcesLike
from allocator.roles import is_at_or_below, validate_role

SORTERS = ("drf", "naive", "sorted", "random", "hdrf", "naive-hdrf")


class Allocator:
    """The specification in code: the same decisions as the engine, all recomputed at each one.

    The parameters, methods and errors are those of `allocator.Allocator`, but for `columns()`,
    `metrics()`, `explain()` and `snapshot()`, which it does without. All orderings by share are
    the same here.

    Examples
    --------
    >>> reference = Allocator(seed=7)
    >>> reference.add_agent("a1", "cpus:8;mem:16384")
    >>> reference.add_framework("spark", roles=["eng/batch"])
    >>> for offer in reference.allocate():
    ...     reference.accept(offer, "cpus:1;mem:1024")
    >>> print(reference.agent("a1").available)
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
        seed = secrets.randbits(64) if seed is None else seed
        if isinstance(seed, bool) or not isinstance(seed, (int, str)):
            raise InvalidValue(f"seed is an integer, text or None, not {shown(seed)}")
        if not callable(clock):
            raise InvalidValue(f"clock is a callable that returns seconds, not {shown(clock)}")
        sorters = [sorter if own is None else own for own in (role_sorter, framework_sorter)]
        for name in sorters:
            if name not in SORTERS:
                raise InvalidValue(f"sorter {shown(name)} is not one of {', '.join(SORTERS)}")
        options = inputs.sorter_options(sorter_options, sorters)
        self._rules = Rules(
            ordering=Ordering(
                inputs.words("fairness_exclude", fairness_exclude),
                sorters[0],
                sorters[1],
                **options,
            ),
            seed=str(seed),
            minimum=() if min_allocatable is None else inputs.alternatives(min_allocatable),
            filter_gpus=bool(filter_gpus),
            region=inputs.name("region", region),
        )
        self._interval = inputs.number("allocation_interval", allocation_interval)
        self._recovery_timeout = inputs.number("recovery_timeout", recovery_timeout)
        self._recovery_factor = inputs.number("recovery_factor", recovery_factor)
        if self._recovery_factor > 1:
            raise InvalidValue(
                f"recovery_factor is a part from 0 to 1, not {shown(recovery_factor)}"
            )
        if offer_timeout is not None:
            offer_timeout = inputs.number("offer_timeout", offer_timeout)
        #: How long an offer stays open, None for as long as it may.
        self._offer_timeout = offer_timeout
        self._offer_prefix = inputs.text("offer_prefix", offer_prefix)
        self._clock = clock
        self._state = State()
        self._paused = False
        #: How many agents a recovery still waits for, and until when at most.
        self._awaited = 0
        self._recovery_end = -math.inf
        self._n_cycles = 0
        self._n_offers = 0
        #: Who is told of changes, and whether a call is under way that tells them in the end.
        self._readers: list[Changes] = []
        self._is_called = False

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
        """Add an agent. Its id stands for the hostname if there is none (§5.3)."""
        inputs.id_of("agent", id)
        if id in self._state.agents:
            raise DuplicateAgent(f"there is an agent {shown(id)} already")
        agent = Agent(
            id,
            Resources(resources),
            hostname=id if hostname is None else inputs.id_of("host", hostname),
            attributes=inputs.attributes(attributes),
            capabilities=inputs.capabilities("agent", capabilities, inputs.AGENT_CAPABILITIES),
            region=inputs.name("region", region),
            zone=inputs.name("zone", zone),
        )
        in_use = inputs.used_by(used)
        _check_used(id, agent.total, in_use)
        self._state.check_reach({id: agent.total})
        self._state.agents[id] = agent
        self._use(id, in_use)
        if len(self._state.agents) >= self._awaited:
            self._awaited = 0

    def update_agent(
        self,
        id: str,
        *,
        resources: ResourcesLike | Unset = UNSET,
        attributes: object = UNSET,
        capabilities: Iterable[str] | Unset = UNSET,
    ) -> None:
        """Change what is given; new attributes end the filters on the agent."""
        agent = self._agent(id)
        new_total = agent.total if resources is UNSET else Resources(resources)
        known = agent.attributes if attributes is UNSET else inputs.attributes(attributes)
        able = agent.capabilities
        if capabilities is not UNSET:
            able = inputs.capabilities("agent", capabilities, inputs.AGENT_CAPABILITIES)
        self._state.check_reach({id: new_total})
        agent.total, agent.capabilities = new_total, able
        if known != agent.attributes:
            agent.attributes = known
            self._end_filters(agent=id)

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
        """Add agents one after the other, all or none."""
        named = inputs.new_ids("agent", ids, self._state.agents)
        hosts = named if hostnames is None else list(hostnames)
        totals = inputs.each(resources, len(named))
        in_use = inputs.each_used(used, len(named))
        known = inputs.each_attributes(attributes, len(named))
        if len(hosts) != len(named):
            raise InvalidValue(f"{len(hosts)} hostnames for {len(named)} agents")
        trial = self.fork()
        for place, id in enumerate(named):
            trial.add_agent(
                id,
                totals[place],
                hostname=hosts[place],
                attributes=known[place],
                capabilities=capabilities,
                region=region,
                zone=zone,
                used=in_use[place],
            )
        self._take_over(trial)

    def update_agents(self, ids: Iterable[str], resources: EachLike) -> None:
        """Replace the totals of agents, all or none, as judged in the end."""
        named = [self._agent(id).id for id in inputs.ids("agent", ids)]
        if len(set(named)) < len(named):
            raise InvalidValue(f"an agent is there twice: {shown(named)}")
        totals = dict(zip(named, inputs.each(resources, len(named)), strict=True))
        self._state.check_reach(totals)
        for id, new_total in totals.items():
            self._state.agents[id].total = new_total

    def add_resources(self, id: str, resources: ResourcesLike, used: Used | None = None) -> None:
        """Add what a resource provider brings, some of which may be in use."""
        agent = self._agent(id)
        added = Resources(resources)
        in_use = inputs.used_by(used)
        new_total = agent.total + added
        _check_used(id, self._state.available_on(id) + added, in_use)
        self._state.check_reach({id: new_total}, {id: total(held for _, _, held in in_use)})
        agent.total = new_total
        self._use(id, in_use)

    def remove_agent(self, id: str) -> None:
        """Forget an agent, its offers, its filters and all that is held there."""
        self._agent(id)
        state = self._state
        del state.agents[id]
        state.offers = {o.id: o for o in state.offers.values() if o.agent != id}
        state.allocated = {p: held for p, held in state.allocated.items() if p.agent != id}
        state.pending = {p: held for p, held in state.pending.items() if p.agent != id}
        self._end_filters(agent=id)
        state.settle()

    def activate_agent(self, id: str) -> None:
        """Let cycles consider an agent again."""
        self._agent(id).active = True

    def deactivate_agent(self, id: str) -> None:
        """Keep cycles from an agent."""
        self._agent(id).active = False

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
        """Add a framework, with what it uses already.

        What its agents said of that and what is said here is the same: together it is, by entry,
        the larger of the two.
        """
        inputs.id_of("framework", id)
        if id in self._state.frameworks:
            raise DuplicateFramework(f"there is a framework {shown(id)} already")
        subscribed = inputs.role_paths(roles)
        framework = Framework(
            id,
            subscribed,
            active=bool(active),
            suppressed=_suppressed(id, suppressed, subscribed),
            capabilities=inputs.capabilities(
                "framework", capabilities, inputs.FRAMEWORK_CAPABILITIES
            ),
            minimum=inputs.minimum(min_allocatable),
            constraints=inputs.constraints(constraints),
        )
        state = self._state
        said = {place: held for place, held in state.pending.items() if place.framework == id}
        more = [
            (Place(agent, id, role), held.minus_floor(said.get(Place(agent, id, role), EMPTY)))
            for agent, role, held in inputs.used_by(used)
            if agent in state.agents
        ]
        for agent, taken in gathered((place.agent, held) for place, held in more).items():
            if not state.available_on(agent) >= taken:
                raise ResourceError(
                    f"framework {shown(id)} uses {cut(taken)} of {shown(agent)}: not available"
                )
        state.frameworks[id] = framework
        state.pending = {p: held for p, held in state.pending.items() if p not in said}
        for place, held in [*said.items(), *more]:
            self._allocate(place, held)
        state.settle()

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
        """Add frameworks one after the other, all or none."""
        named = inputs.new_ids("framework", ids, self._state.frameworks)
        trial = self.fork()
        for id, own in zip(named, inputs.each_roles(roles, len(named)), strict=True):
            trial.add_framework(
                id,
                own,
                active=active,
                suppressed=suppressed,
                capabilities=capabilities,
                min_allocatable=min_allocatable,
                constraints=constraints,
            )
        self._take_over(trial)

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
        """Change what is given; roles that are no longer suppressed are revived."""
        framework = self._framework(id)
        subscribed = framework.roles if roles is UNSET else inputs.role_paths(roles)
        quiet = framework.suppressed & set(subscribed)
        if suppressed is not UNSET:
            quiet = _suppressed(id, suppressed, subscribed)
        new = copy.copy(framework)
        if capabilities is not UNSET:
            new.capabilities = inputs.capabilities(
                "framework", capabilities, inputs.FRAMEWORK_CAPABILITIES
            )
        if min_allocatable is not UNSET:
            new.minimum = inputs.minimum(min_allocatable)
        if constraints is not UNSET:
            new.constraints = inputs.constraints(constraints)
        left = set(framework.roles) - set(subscribed)
        revived = (framework.suppressed - quiet) - left
        new.roles, new.suppressed = subscribed, quiet
        self._state.frameworks[id] = new
        for role in left | revived:
            self._end_filters(framework=id, role=role)
        if revived:
            self._end_inverse_filters(framework=id)
        self._state.settle()

    def remove_framework(self, id: str) -> None:
        """Forget a framework and its offers; what it held is available."""
        self._framework(id)
        state = self._state
        del state.frameworks[id]
        state.offers = {o.id: o for o in state.offers.values() if o.framework != id}
        state.allocated = {p: held for p, held in state.allocated.items() if p.framework != id}
        self._end_filters(framework=id)
        for agent in state.agents.values():
            if agent.maintenance is not None:
                agent.maintenance.outstanding.discard(id)
                agent.maintenance.answers.pop(id, None)
        state.settle()

    def activate_framework(self, id: str) -> None:
        """Let a framework take part again."""
        self._framework(id).active = True

    def deactivate_framework(self, id: str) -> None:
        """Offer a framework nothing more, and end its filters."""
        self._framework(id).active = False
        self._end_filters(framework=id)

    def suppress(self, id: str, roles: Iterable[str] | None = None) -> None:
        """Offer a framework nothing more in these roles, None for all of its."""
        framework = self._framework(id)
        framework.suppressed |= self._own_roles(framework, roles)

    def revive(self, id: str, roles: Iterable[str] | None = None) -> None:
        """End suppression and filters in these roles, None for all of its.

        Filters of inverse offers all end (Mesos, `reviveRoles`; §5.4).
        """
        framework = self._framework(id)
        revived = self._own_roles(framework, roles)
        framework.suppressed -= revived
        for role in revived:
            self._end_filters(framework=id, role=role)
        self._end_inverse_filters(framework=id)

    # Policy.

    def set_weight(self, role: str, weight: float) -> None:
        """Weigh a role's subtree."""
        self.set_weights({validate_role(role): weight})

    def set_weights(self, weights: Mapping[str, float]) -> None:
        """Weigh the subtrees of roles."""
        together = {**self._state.weights, **inputs.weights(weights)}
        self._state.weights = {role: weight for role, weight in together.items() if weight != 1.0}

    def set_quota(
        self,
        role: str,
        guarantee: QuantitiesLike | None = None,
        limit: QuantitiesLike | None = None,
    ) -> None:
        """Replace a role's quota; an empty one is none."""
        validate_role(role)
        self._set_quotas({role: inputs.quota(guarantee, limit)})

    def set_quotas(self, quotas: QuotasLike) -> None:
        """Replace the quotas of roles; they must fit together."""
        self._set_quotas(inputs.quotas(quotas))

    def remove_quota(self, role: str) -> None:
        """Remove a role's quota, if it has one."""
        self.set_quota(role)

    def set_whitelist(self, hostnames: Iterable[str] | None) -> None:
        """Restrict cycles to agents on these hosts; None lifts the restriction."""
        if hostnames is not None:
            hostnames = frozenset(inputs.words("whitelist", hostnames))
        self._state.whitelist = hostnames

    # Cycles.

    def allocate(self, agents: Iterable[str] | None = None) -> Offers:
        """Run a cycle over all agents or those named.

        One that is paused or recovering makes nothing and does not count (§5.7).
        """
        named = self._state.agents.keys() if agents is None else inputs.words("agents", agents)
        chosen = frozenset(self._agent(id).id for id in named)
        now = self._clock()
        if self._paused or self._is_recovering(now):
            return Offers()
        ends = self._state.offer_ends
        rescinded = [id for id in self._state.offers if ends.get(id, math.inf) <= now]
        if rescinded:
            self.rescind(rescinded)
        self._n_cycles += 1
        cycle = Cycle(
            self._state,
            self._rules,
            self._n_cycles,
            chosen,
            now,
            self._n_offers,
            f"{self._offer_prefix}O",
        )
        offers = cycle.run()
        self._n_offers = cycle.n_made
        if self._offer_timeout is not None:
            end = now + self._offer_timeout
            self._state.offer_ends.update((offer.id, end) for offer in offers)
        return Offers(offers, inverse_offers(self._state, chosen, now), rescinded)

    def skip_cycles(self, n: int) -> None:
        """Count `n` cycles that were not run because they could do nothing."""
        skipped = inputs.count("a number of cycles", n)
        self._n_cycles = inputs.count("the number of all cycles", self._n_cycles + skipped)

    def next_due(self) -> float:
        """Return a time not later than that at which a cycle may next make an offer: now."""
        return self._clock()

    def pause(self) -> None:
        """Make no offers until `resume`."""
        self._paused = True

    def resume(self) -> None:
        """Make offers again, unless a recovery holds them back (§5.7)."""
        self._paused = False

    def recover(self, expected_agents: int, quotas: QuotasLike) -> None:
        """Hold offers back until enough agents are back or enough time has passed."""
        if self._state.agents:
            raise NotAllowed("recover() comes before any agent")
        expected = inputs.count("expected_agents", expected_agents)
        found = inputs.quotas(quotas)
        self._set_quotas(found)
        if any(quota.guarantee or quota.limit for quota in found.values()):
            self._awaited = int(expected * self._recovery_factor)
            self._recovery_end = self._clock() + self._recovery_timeout

    # Answers.

    def accept(
        self,
        offer: OffersLike,
        resources: Any = None,
        *,
        refuse_seconds: RefuseLike = None,
    ) -> None:
        """Keep an offer or a part of it; the rest goes back, with a filter if asked for.

        Several offers are answered one after the other, all or none.
        """
        offers = self._opened(offer)
        several = not _is_one(offer)
        if resources is None:
            kept = [held.resources for held in offers]
        else:
            kept = inputs.each(resources, len(offers)) if several else [Resources(resources)]
        rests = [
            _difference(held.resources, part, f"offer {shown(held.id)}")
            for held, part in zip(offers, kept, strict=True)
        ]
        self._answer(offers, kept, rests, refuse_seconds if several else [refuse_seconds])

    def decline(
        self, offer: OffersLike, *, refuse_seconds: RefuseLike = DEFAULT_REFUSE_SECONDS
    ) -> None:
        """Give an offer back, or several, with a filter unless `refuse_seconds` is None or 0."""
        offers = self._opened(offer)
        several = not _is_one(offer)
        rests = [held.resources for held in offers]
        nothing = [EMPTY] * len(offers)
        self._answer(offers, nothing, rests, refuse_seconds if several else [refuse_seconds])

    def rescind(self, offer: OffersLike) -> None:
        """Take an offer back, or several, without a filter."""
        self.decline(offer, refuse_seconds=None)

    def release(
        self,
        framework: str | Iterable[Offer],
        agent: str | None = None,
        role: str | None = None,
        resources: Any = None,
    ) -> None:
        """Give back what a framework uses, or what was accepted of several offers."""
        if isinstance(framework, str):
            if agent is None or role is None or resources is None:
                raise InvalidValue("release() needs an agent, a role and resources, or offers")
            self.recover_resources(framework, agent, role, resources, allocated=True)
            return
        offers = list(framework)
        parts = [offer.resources for offer in offers]
        if resources is not None:
            parts = inputs.each(resources, len(offers))
        trial = self.fork()
        for offer, part in zip(offers, parts, strict=True):
            trial.release(offer.framework, offer.agent, offer.role, part)
        self._take_over(trial)

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
        """Give back resources that are allocated, or shorten the oldest offers that hold them."""
        if allocated and any(place.framework == framework for place in self._state.pending):
            self._release_pending(framework, agent, role, resources, refuse_seconds)
            return
        self._framework(framework)
        if (validate_role(role), framework) not in self._state.members():
            raise UnknownRole(f"framework {shown(framework)} is not in role {shown(role)}")
        place = Place(self._agent(agent).id, framework, role)
        given = Resources(resources)
        seconds = inputs.refusal(refuse_seconds)
        if allocated:
            held = self._state.allocated.get(place, EMPTY)
            self._allocated_is(place, _difference(held, given, f"what {shown(framework)} uses"))
        else:
            _difference(self._state.offered_at(place), given, f"what {shown(framework)} is offered")
            self._shorten_offers(place, given)
        self._refuse(place, given, seconds)
        self._state.settle()

    def _release_pending(
        self, framework: str, agent: str, role: str, resources: Any, refuse_seconds: Any
    ) -> None:
        """Give back what a framework that was not added yet uses, without a filter (§5)."""
        pending = self._state.pending
        if (framework, validate_role(role)) not in {(p.framework, p.role) for p in pending}:
            raise UnknownRole(f"framework {shown(framework)} uses nothing in role {shown(role)}")
        place = Place(self._agent(agent).id, framework, role)
        given = Resources(resources)
        inputs.refusal(refuse_seconds)
        held = pending.get(place, EMPTY)
        pending[place] = _difference(held, given, f"what {shown(framework)} uses")
        if not pending[place]:
            del pending[place]

    # Conversions.

    def apply(self, offer: Offer | str, operations: object) -> Offer:
        """Convert what is in an open offer, which stays open; it is no new allocation (§5.10)."""
        held = self._open(offer)
        agent = self._agent(held.agent)
        in_use = self._state.offered_on(agent.id) + self._state.allocated_on(agent.id)
        after = converted(
            held.resources, operations, total=agent.total, elsewhere=in_use - held.resources
        )
        new_total = _difference(agent.total, held.resources, f"agent {shown(agent.id)}") + after
        new_use = in_use - held.resources + after
        check_compatible(new_total, new_use)
        agent.total = new_total
        self._state.offers[held.id] = held._replace(resources=after)
        return self._state.offers[held.id]

    def apply_available(self, agent: str, operations: object) -> None:
        """Convert what is available on an agent."""
        on = self._agent(agent)
        available = self._state.available_on(agent)
        in_use = self._state.offered_on(agent) + self._state.allocated_on(agent)
        after = converted(available, operations, total=on.total, elsewhere=in_use)
        new_total = on.total - available + after
        check_compatible(new_total, in_use)
        on.total = new_total

    # Maintenance.

    def set_unavailability(self, agent: str, start: float, duration: float | None = None) -> None:
        """Plan an agent's unavailability anew: who was asked to leave is to think again."""
        on = self._agent(agent)
        begins = inputs.number("the start of an unavailability", start, at_least=-math.inf)
        if duration is not None:
            duration = inputs.number("the duration of an unavailability", duration)
        on.maintenance = Maintenance(begins, duration)
        self._end_inverse_filters(agent=agent)

    def clear_unavailability(self, agent: str) -> None:
        """Plan nothing for an agent any more."""
        self._agent(agent).maintenance = None
        self._end_inverse_filters(agent=agent)

    def answer_inverse(
        self,
        framework: str,
        agent: str,
        status: str | None,
        *,
        refuse_seconds: float | None = None,
    ) -> None:
        """Answer an inverse offer; an answer to one that is not outstanding is only a filter."""
        self._framework(framework)
        plan = self._agent(agent).maintenance
        if status not in ("ACCEPT", "DECLINE", None):
            raise InvalidValue(f"the answer {shown(status)} is none of ACCEPT, DECLINE, None")
        seconds = inputs.refusal(refuse_seconds)
        if plan is None:
            raise OfferGone(f"no inverse offer is out for agent {shown(agent)}")
        if framework in plan.outstanding:
            plan.outstanding.discard(framework)
            if status is not None:
                plan.answers[framework] = status
        if seconds is not None:
            end = self._clock() + seconds
            self._state.inverse_filters.append(InverseFilter(framework, agent, end))

    # Looking.

    def agent(self, id: str) -> AgentView:
        """Return a picture of an agent."""
        agent = self._agent(id)
        return AgentView(
            id,
            agent.hostname,
            agent.active,
            agent.attributes,
            agent.capabilities,
            agent.region,
            agent.zone,
            total=agent.total,
            available=self._state.available_on(id),
            offered=self._state.offered_on(id),
            allocated=self._state.allocated_on(id),
            reserved=agent.total.reserved(),
        )

    def framework(self, id: str) -> FrameworkView:
        """Return a picture of a framework."""
        framework = self._framework(id)

        def share(role: str) -> float:
            if (role, id) not in self._state.members():
                raise UnknownRole(f"framework {shown(id)} is not in role {shown(role)}")
            return self._rules.ordering.framework_share(self._state, role, id)

        offered = [(Place.of(o), o.resources) for o in self._state.offers.values()]
        return FrameworkView(
            id,
            framework.active,
            framework.roles,
            framework.suppressed,
            framework.capabilities,
            offered=_by_agent_and_role(id, offered),
            allocated=_by_agent_and_role(id, self._state.allocated.items()),
            share=share,
        )

    def role(self, path: str) -> RoleView:
        """Return a picture of a role that exists."""
        state = self._state
        if path not in state.roles():
            raise UnknownRole(f"there is no role {shown(path)}")
        quota = state.quotas.get(path, Quota({}, {}))
        offered = [(Place.of(o), o.resources) for o in state.offers.values()]
        now = self._clock()
        return RoleView(
            path,
            weight=state.weights.get(path, 1.0),
            share=self._rules.ordering.role_share(state, path),
            quota=QuotaView(
                Quantities.from_milli(quota.guarantee),
                {name: milli / 1000 for name, milli in quota.limit.items()},
            ),
            consumed=Quantities.from_milli(consumed(state, path)),
            offered=_below(path, offered),
            allocated=_below(path, state.allocated.items()),
            reserved=Quantities.from_milli(reserved(state, path)),
            frameworks=tuple(sorted(f for role, f in state.members() if role == path)),
            filters=sum(f.role == path and now < f.end for f in state.filters),
        )

    @property
    def agents(self) -> Mapping[str, AgentView]:
        """All agents by id, in the order in which they came."""
        return Looked(lambda: self._state.agents, self.agent)

    @property
    def frameworks(self) -> Mapping[str, FrameworkView]:
        """All frameworks by id, in the order in which they came."""
        return Looked(lambda: self._state.frameworks, self.framework)

    @property
    def roles(self) -> Mapping[str, RoleView]:
        """All roles that exist by path, in the order of paths."""
        return Looked(lambda: sorted(self._state.roles()), self.role)

    @property
    def open_offers(self) -> Mapping[str, Offer]:
        """All open offers by id, with what is left in them, in the order made."""
        return Looked(lambda: self._state.offers, self._open)

    def inverse_statuses(self, agent: str) -> Mapping[str, str]:
        """Return framework → its last answer to an inverse offer on an agent."""
        maintenance = self._agent(agent).maintenance
        return {} if maintenance is None else dict(maintenance.answers)

    def changes(self, wake: Callable[[], object] | None = None) -> Changes:
        """Return a reader of what changes from now on."""
        self._readers.append(Changes(wake))
        return self._readers[-1]

    def now(self) -> float:
        """Return the time of the clock."""
        return self._clock()

    def fork(self) -> Allocator:
        """Return a copy that decides on its own and shares the clock."""
        return copy.deepcopy(self, {id(self._clock): self._clock, id(self._readers): []})

    def __repr__(self) -> str:
        state = self._state
        counts = f"agents {len(state.agents)}, frameworks {len(state.frameworks)}"
        return f"<reference: {counts}, open offers {len(state.offers)}, cycle {self._n_cycles}>"

    # What several calls have in common.

    def _take_over(self, trial: Allocator) -> None:
        """Go on as a fork on which some calls were tried."""
        self.__dict__.update(trial.__dict__, _readers=self._readers)

    def _agent(self, id: str) -> Agent:
        if not isinstance(id, str) or id not in self._state.agents:
            raise UnknownAgent(f"there is no agent {shown(id)}")
        return self._state.agents[id]

    def _framework(self, id: str) -> Framework:
        if not isinstance(id, str) or id not in self._state.frameworks:
            raise UnknownFramework(f"there is no framework {shown(id)}")
        return self._state.frameworks[id]

    def _own_roles(self, framework: Framework, roles: Iterable[str] | None) -> frozenset[str]:
        wanted = framework.roles if roles is None else inputs.role_paths(roles)
        for role in wanted:
            if role not in framework.roles:
                raise UnknownRole(
                    f"framework {shown(framework.id)} is not subscribed to {shown(role)}"
                )
        return frozenset(wanted)

    def _opened(self, offer: OffersLike) -> list[Offer]:
        """Return an open offer or several, each there once."""
        several: Any = [offer] if _is_one(offer) else offer
        if not isinstance(several, Iterable):
            raise InvalidValue(f"{shown(offer)} is no offer, nor the id of one, nor several")
        offers = [self._open(each) for each in several]
        if len({held.id for held in offers}) < len(offers):
            raise OfferGone("an offer is there twice")
        return offers

    def _answer(
        self,
        offers: Sequence[Offer],
        kept: Sequence[Resources],
        rests: Sequence[Resources],
        refuse_seconds: Any,
    ) -> None:
        """Keep a part of each of some offers and give the rest back."""
        seconds = inputs.refusals(refuse_seconds, len(offers))
        for place, held in enumerate(offers):
            del self._state.offers[held.id]
            if kept[place]:
                before = self._state.allocated.get(Place.of(held), EMPTY)
                self._state.allocated[Place.of(held)] = before + kept[place]
            self._refuse(Place.of(held), rests[place], seconds[place])
        self._state.settle()

    def _open(self, offer: Offer | str) -> Offer:
        id = getattr(offer, "id", offer)
        if not isinstance(id, str):
            raise InvalidValue(f"{shown(offer)} is neither an offer nor the id of one")
        if id not in self._state.offers:
            raise OfferGone(f"offer {shown(id)} is not open")
        return self._state.offers[id]

    def _is_recovering(self, now: float) -> bool:
        return self._awaited > 0 and now < self._recovery_end

    def _set_quotas(self, new: Mapping[str, Quota]) -> None:
        """Set all of these quotas, or none if they contradict one another."""
        quotas = {**self._state.quotas, **new}
        quotas = {role: quota for role, quota in quotas.items() if quota.guarantee or quota.limit}
        check_quotas(quotas)
        self._state.quotas = quotas

    def _use(self, agent: str, in_use: list[tuple[str, str, Resources]]) -> None:
        """Enter what is in use on an agent; for whom is not there yet, as pending (§5.5)."""
        for framework, role, used in in_use:
            place = Place(agent, framework, role)
            if framework in self._state.frameworks:
                self._allocate(place, used)
            else:
                self._state.pending[place] = self._state.pending.get(place, EMPTY) + used

    def _allocate(self, place: Place, resources: Resources) -> None:
        """Enter what a framework uses already; for the order it is an allocation (§4.4)."""
        if resources:
            self._state.allocated[place] = self._state.allocated.get(place, EMPTY) + resources
            self._state.settle()
            self._state.count_allocation(place.role, place.framework)

    def _allocated_is(self, place: Place, resources: Resources) -> None:
        self._state.allocated[place] = resources
        if not resources:
            del self._state.allocated[place]

    def _shorten_offers(self, place: Place, given: Resources) -> None:
        """Take resources out of the open offers of a place, the oldest first."""
        for offer in list(self._state.offers.values()):
            if Place.of(offer) == place:
                rest = offer.resources.minus_floor(given)
                given = given.minus_floor(offer.resources)
                self._state.offers[offer.id] = offer._replace(resources=rest)
                if not rest:
                    del self._state.offers[offer.id]

    def _refuse(self, place: Place, resources: Resources, seconds: float | None) -> None:
        """Keep a filter of what was given back, for at least the allocation interval (§6.6).

        Not in a role that the framework has left: leaving a role drops its filters (§5.8).
        """
        framework = self._state.frameworks[place.framework]
        if seconds is None or not resources or place.role not in framework.roles:
            return
        end = self._clock() + max(seconds, self._interval)
        self._state.filters.append(Filter(place.framework, place.role, place.agent, resources, end))

    def _end_filters(
        self, *, framework: str | None = None, role: str | None = None, agent: str | None = None
    ) -> None:
        """End all filters of a framework, of it in one role, or on an agent."""
        self._state.filters = [
            held
            for held in self._state.filters
            if (framework is not None and held.framework != framework)
            or (role is not None and held.role != role)
            or (agent is not None and held.agent != agent)
        ]
        if role is None:
            self._end_inverse_filters(framework=framework, agent=agent)

    def _end_inverse_filters(
        self, *, framework: str | None = None, agent: str | None = None
    ) -> None:
        self._state.inverse_filters = [
            held
            for held in self._state.inverse_filters
            if held.framework != framework and held.agent != agent
        ]


def _suppressed(id: str, suppressed: object, subscribed: tuple[str, ...]) -> frozenset[str]:
    quiet = inputs.role_paths(suppressed)
    for role in quiet:
        if role not in subscribed:
            raise UnknownRole(
                f"framework {shown(id)} suppresses role {shown(role)}, which it is not in"
            )
    return frozenset(quiet)


def _check_used(id: str, have: Resources, in_use: list[tuple[str, str, Resources]]) -> None:
    """Refuse use of more than there is; several may use one copy of a shared entry."""
    used = total(resources for _, _, resources in in_use)
    single = Resources([entry.replace(copies=1) for entry in used.shared()])
    if not have >= used.nonshared() + single:
        raise ResourceError(f"agent {shown(id)}: {cut(used)} of {cut(have)} cannot be in use")


def _is_one(offer: object) -> bool:
    """Tell an offer or its id from several."""
    return isinstance(offer, str) or hasattr(offer, "id")


def _difference(have: Resources, taken: Resources, what: str) -> Resources:
    if not have >= taken:
        raise ResourceError(f"{what}: {cut(have)} does not contain {cut(taken)}")
    return have - taken


def _by_agent_and_role(
    framework: str, holdings: Iterable[tuple[Place, Resources]]
) -> dict[str, dict[str, Resources]]:
    found: dict[str, dict[str, Resources]] = {}
    for place, resources in holdings:
        if place.framework == framework:
            roles = found.setdefault(place.agent, {})
            roles[place.role] = roles.get(place.role, EMPTY) + resources
    return found


def _below(path: str, holdings: Iterable[tuple[Place, Resources]]) -> Quantities:
    """Return what is held in a role's subtree, a shared entry once on each agent."""
    held = gathered((p.agent, r) for p, r in holdings if is_at_or_below(p.role, path))
    return Quantities.from_milli(amounts_in(held))


for _name in CHANGING:
    setattr(Allocator, _name, told(getattr(Allocator, _name)))

if TYPE_CHECKING:
    # Type checkers hold the class to the contract here.
    _contract: type[Decider] = Allocator
