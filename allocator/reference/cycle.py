"""One cycle, step by step as the contract's §6 has it."""

from __future__ import annotations

from dataclasses import dataclass

from allocator.contract import InverseOffer, Offer
from allocator.reference.order import Ordering, agent_keys
from allocator.reference.quota import (
    consumption,
    consumption_with,
    fitting,
    least,
    plain_scalars,
    room,
    room_beside_needs,
    serving,
    surplus,
)
from allocator.reference.state import EMPTY, InverseFilter, Maintenance, Minimum, Place, State
from allocator.reference.suitability import is_ruled_out, minimum_of, shown_to, suffices
from allocator.resources import Resource, Resources

GUARANTEES, FAIR_SHARE = 1, 2


@dataclass(frozen=True)
class Rules:
    """What the operator set once for all cycles."""

    ordering: Ordering
    seed: str
    minimum: Minimum
    filter_gpus: bool
    region: str | None


class Cycle:
    """One run over the candidates among `agents`; the offers made are added to the state."""

    def __init__(
        self,
        state: State,
        rules: Rules,
        number: int,
        agents: frozenset[str],
        now: float,
        n_made: int,
        id_begins: str,
    ) -> None:
        self._state = state
        self._rules = rules
        self._number = number
        self._agents = agents
        self._now = now
        #: How many offers were made before and in this cycle; the last one's number.
        self.n_made = n_made
        self._id_begins = id_begins
        #: Where → id of the offer made there in this cycle, in the order made.
        self._made: dict[Place, str] = {}
        #: Agent → shared entries that were offered in this cycle.
        self._shared: dict[str, Resources] = {}

    def run(self) -> list[Offer]:
        """Make all offers that can be made, and return them in the order made."""
        if self._state.quotas:
            self._walk(GUARANTEES)
        self._walk(FAIR_SHARE)
        return [self._state.offers[id] for id in self._made.values()]

    def _walk(self, stage: int) -> None:
        """Decide for each agent, role and framework in turn.

        The order of roles is taken when the agent's turn begins, that of frameworks when the
        role's turn begins; all amounts are read at the decision (§6.1).
        """
        part = self._guaranteed if stage == GUARANTEES else self._fair
        order = self._rules.ordering
        candidates = self._agents & self._state.candidates()
        for key, agent in agent_keys(candidates, self._rules.seed, self._number, stage):
            for role in order.roles(self._state, key):
                for framework in order.frameworks(self._state, role, key):
                    place = Place(agent, framework, role)
                    if not self._is_ruled_out(place):
                        self._offer(place, part(place))

    # What is offered.

    def _visible(self, place: Place) -> Resources:
        """Return what is available for the role and can be shown to the framework."""
        available = self._state.available_on(place.agent).allocatable_to(place.role)
        # A shared entry is offered at most once a cycle.
        unseen = available.minus_floor(self._shared.get(place.agent, EMPTY))
        return shown_to(self._state.frameworks[place.framework], unseen)

    def _guaranteed(self, place: Place) -> Resources:
        """Return what stage one offers (§6.2): nothing if no plain scalar serves a guarantee."""
        quotas = self._state.quotas
        used = consumption(self._state)
        visible = self._visible(place)
        plain = plain_scalars(visible)
        limits = room(quotas, used, place.role)
        serves = serving(quotas, used, place.role)
        bounds = {name: least([{name: milli}, limits])[name] for name, milli in serves.items()}
        serve = fitting(plain, bounds, unbound=False)
        if not serve:
            return EMPTY
        taken = serve.quantities().milli
        extra = surplus(self._state, consumption_with(used, place.role, taken), taken)
        beside = room_beside_needs(quotas, used, place.role)
        left = {name: milli - taken.get(name, 0) for name, milli in beside.items()}
        further = fitting(plain - serve, least([left, extra]), unbound=True)
        along = [entry for entry in visible if comes_along(entry, place.role)]
        return Resources(along) + serve + further

    def _fair(self, place: Place) -> Resources:
        """Return what stage two offers (§6.3).

        The limits and the headroom bind together: what cannot be split is left out only if it
        does not fit in the least of them.
        """
        used = consumption(self._state)
        visible = self._visible(place)
        plain = plain_scalars(visible)
        limits = room_beside_needs(self._state.quotas, used, place.role)
        bounds = least([limits, surplus(self._state, used, {})])
        return visible - plain + fitting(plain, bounds, unbound=True)

    # Whether it is offered (§6.5).

    def _is_ruled_out(self, place: Place) -> bool:
        return is_ruled_out(
            self._state.agents[place.agent],
            self._state.frameworks[place.framework],
            place.role,
            filter_gpus=self._rules.filter_gpus,
            region=self._rules.region,
        )

    def _is_filtered(self, place: Place, resources: Resources) -> bool:
        """Tell whether a filter that has not ended holds resources that contain these.

        Each stage is judged by what it offers itself (Mesos; §6.5).
        """
        return any(
            held.resources >= resources
            for held in self._state.filters
            if Place(held.agent, held.framework, held.role) == place and self._now < held.end
        )

    def _offer(self, place: Place, resources: Resources) -> None:
        """Offer resources, unless there are none, they are too little or a filter holds.

        What stage two adds to an offer of stage one goes into the same offer, as there is at most
        one for a place in a cycle (§5.12), and counts as one more allocation (§6.4).
        """
        framework = self._state.frameworks[place.framework]
        minimum = minimum_of(framework, place.role, self._rules.minimum)
        if not resources or not suffices(resources, minimum):
            return
        if self._is_filtered(place, resources):
            return
        if place in self._made:
            id = self._made[place]
            resources_before = self._state.offers[id].resources
        else:
            self.n_made += 1
            id = self._made[place] = f"{self._id_begins}{self.n_made}"
            resources_before = EMPTY
        self._state.offers[id] = Offer(
            id, place.framework, place.role, place.agent, resources_before + resources
        )
        shared = self._shared.get(place.agent, EMPTY)
        self._shared[place.agent] = shared + resources.shared()
        self._state.count_allocation(place.role, place.framework)


def comes_along(entry: Resource, role: str) -> bool:
    """Tell whether stage one offers an entry beside the plain scalars that it may offer."""
    return entry.type != "SCALAR" or entry.revocable or entry.role == role


def inverse_offers(state: State, agents: frozenset[str], now: float) -> list[InverseOffer]:
    """Ask those who hold something on agents that become unavailable to leave (§5.11).

    Active frameworks that were not asked already and have no filter there; in the order of agent
    and framework ids (§5.11).
    """
    made = []
    for id in sorted(agents):
        maintenance = state.agents[id].maintenance
        if maintenance is None:
            continue
        for framework in sorted({p.framework for p, _ in state.holdings() if p.agent == id}):
            if (
                state.frameworks[framework].active
                and framework not in maintenance.outstanding
                and not _is_unwanted(state.inverse_filters, framework, id, now)
            ):
                maintenance.outstanding.add(framework)
                made.append(_inverse(framework, id, maintenance))
    return made


def _inverse(framework: str, agent: str, maintenance: Maintenance) -> InverseOffer:
    return InverseOffer(framework, agent, maintenance.start, maintenance.duration)


def _is_unwanted(filters: list[InverseFilter], framework: str, agent: str, now: float) -> bool:
    return any(f.framework == framework and f.agent == agent and now < f.end for f in filters)
