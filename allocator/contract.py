"""The engine's contract: its calls, and the values that go in and come out.

`Decider` has the calls by which offers come about and are answered; the engine, the reference and
the audit log fill it, and tests hold the three to each other. `Engine` adds what only a running
engine is asked for, and the reference does without.

Each call is marked: `changing`, it may change what is decided or shown from then on, and an audit
log records it; or `looking`, it changes nothing of that kind. A new call is written here first.
What it does is said where the engine does it, on `Allocator` and its views; here stands how it is
called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    NamedTuple,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    overload,
)

from allocator.resources import Quantities, QuantitiesLike, Resources, ResourcesLike

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from allocator.resources.conversions import Operation


# Values that go in and come out.


class Offer(NamedTuple):
    """Resources of one agent, offered to one framework in one role.

    The value is what was offered; what is still in the offer is the engine's to know.
    """

    id: str
    framework: str
    role: str
    agent: str
    resources: Resources


class InverseOffer(NamedTuple):
    """A request to a framework to leave an agent that becomes unavailable.

    `start` is in seconds of the engine's clock, `duration` in seconds, None for good.
    """

    framework: str
    agent: str
    start: float
    duration: float | None


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "unset"


#: Stands for an argument that was not given, where None means something.
UNSET: Final = Unset.UNSET

#: What an agent can do unless it says otherwise: all that a present-day agent can.
DEFAULT_AGENT_CAPABILITIES: Final = frozenset(
    {"MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT"}
)
#: How long a declined offer's resources are refused if nothing is said, and what Mesos falls back
#: to for a time that is none, in seconds.
DEFAULT_REFUSE_SECONDS: Final = 5.0

#: role → resources, or agent/framework → role → resources.
ByRole: TypeAlias = Mapping[str, ResourcesLike]
Used: TypeAlias = Mapping[str, ByRole]
MinimumLike: TypeAlias = "Iterable[QuantitiesLike] | Mapping[str, Iterable[QuantitiesLike]] | None"
#: role → `{"guarantee": …, "limit": …}`.
QuotasLike: TypeAlias = "Mapping[str, Mapping[str, QuantitiesLike | None]]"
#: An array, list or tuple of n amounts.
AmountsLike: TypeAlias = "NDArray[Any] | Sequence[Any]"
#: Resources of each of n agents or offers: the same for all, or some amounts for each.
EachLike: TypeAlias = (
    "ResourcesLike | Mapping[str, str | float | AmountsLike] | list[Resources] | list[str]"
)
#: What is in use of each of n agents: `framework` and `role`, each one text or n, `resources` as
#: `EachLike`.
UsedLike: TypeAlias = "Mapping[str, Any]"
#: An offer, its id, or several: `Offers`, or other offers and ids.
OffersLike: TypeAlias = "Offer | str | Iterable[Offer | str]"
#: Seconds, None for no filter, or one of these for each of several offers.
RefuseLike: TypeAlias = "float | Sequence[float | None] | NDArray[np.float64] | None"


# What a caller is shown.


class Offers(Protocol):
    """The offers of one cycle, in the order made, and its inverse offers."""

    @property
    def inverse(self) -> Sequence[InverseOffer]: ...

    @property
    def rescinded(self) -> Sequence[str]: ...

    def by_framework(self) -> dict[str, list[Offer]]: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Offer]: ...

    def __getitem__(self, index: int, /) -> Offer: ...


class AgentView(Protocol):
    """One agent."""

    @property
    def id(self) -> str: ...

    @property
    def hostname(self) -> str: ...

    @property
    def attributes(self) -> Mapping[str, object]: ...

    @property
    def capabilities(self) -> frozenset[str]: ...

    @property
    def region(self) -> str | None: ...

    @property
    def zone(self) -> str | None: ...

    @property
    def active(self) -> bool: ...

    @property
    def total(self) -> Resources: ...

    @property
    def available(self) -> Resources: ...

    @property
    def offered(self) -> Resources: ...

    @property
    def allocated(self) -> Resources: ...

    @property
    def reserved(self) -> Resources: ...


class FrameworkView(Protocol):
    """One framework; what it holds is by agent and role."""

    @property
    def id(self) -> str: ...

    @property
    def active(self) -> bool: ...

    @property
    def roles(self) -> tuple[str, ...]: ...

    @property
    def suppressed(self) -> frozenset[str]: ...

    @property
    def capabilities(self) -> frozenset[str]: ...

    @property
    def offered(self) -> Mapping[str, Mapping[str, Resources]]: ...

    @property
    def allocated(self) -> Mapping[str, Mapping[str, Resources]]: ...

    @property
    def share(self) -> Callable[[str], float]: ...


class QuotaView(Protocol):
    """A role's guarantee, and its limit by name."""

    @property
    def guarantee(self) -> Quantities: ...

    @property
    def limit(self) -> Mapping[str, float]: ...


class RoleView(Protocol):
    """One role; the sums are over its subtree, frameworks and filters its own."""

    @property
    def path(self) -> str: ...

    @property
    def weight(self) -> float: ...

    @property
    def share(self) -> float: ...

    @property
    def quota(self) -> QuotaView: ...

    @property
    def consumed(self) -> Quantities: ...

    @property
    def offered(self) -> Quantities: ...

    @property
    def allocated(self) -> Quantities: ...

    @property
    def reserved(self) -> Quantities: ...

    @property
    def frameworks(self) -> tuple[str, ...]: ...

    @property
    def filters(self) -> int: ...


class Changes(Protocol):
    """A reader of what changed: (kind, id) of each thing, once since it was last taken."""

    def take(self) -> list[tuple[str, str]]: ...

    def close(self) -> None: ...


class Explanation(Protocol):
    """What the next cycle offers a framework, and why not more."""

    def headline(self) -> str: ...

    def summary(self) -> Sequence[tuple[str, int]]: ...

    def to_json(self) -> dict[str, Any]: ...


# The calls.

_Call = TypeVar("_Call", bound=Callable[..., Any])
_MARK: Final = "__changing__"


def changing(call: _Call) -> _Call:
    """Mark a call that may change what the engine decides or shows."""
    setattr(call, _MARK, True)
    return call


def looking(call: _Call) -> _Call:
    """Mark a call that changes nothing of what the engine decides or shows."""
    setattr(call, _MARK, False)
    return call


class Decider(Protocol):
    """The calls by which offers come about and are answered."""

    # Agents.

    @changing
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
    ) -> None: ...

    @changing
    def update_agent(
        self,
        id: str,
        *,
        resources: ResourcesLike | Unset = UNSET,
        attributes: object = UNSET,
        capabilities: Iterable[str] | Unset = UNSET,
    ) -> None: ...

    @changing
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
    ) -> None: ...

    @changing
    def update_agents(self, ids: Iterable[str], resources: EachLike) -> None: ...

    @changing
    def add_resources(
        self, id: str, resources: ResourcesLike, used: Used | None = None
    ) -> None: ...

    @changing
    def remove_agent(self, id: str) -> None: ...

    @changing
    def activate_agent(self, id: str) -> None: ...

    @changing
    def deactivate_agent(self, id: str) -> None: ...

    # Frameworks.

    @changing
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
    ) -> None: ...

    @changing
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
    ) -> None: ...

    @changing
    def update_framework(
        self,
        id: str,
        *,
        roles: Iterable[str] | Unset = UNSET,
        suppressed: Iterable[str] | Unset = UNSET,
        capabilities: Iterable[str] | Unset = UNSET,
        min_allocatable: MinimumLike | Unset = UNSET,
        constraints: object = UNSET,
    ) -> None: ...

    @changing
    def remove_framework(self, id: str) -> None: ...

    @changing
    def activate_framework(self, id: str) -> None: ...

    @changing
    def deactivate_framework(self, id: str) -> None: ...

    @changing
    def suppress(self, id: str, roles: Iterable[str] | None = None) -> None: ...

    @changing
    def revive(self, id: str, roles: Iterable[str] | None = None) -> None: ...

    # Policy.

    @changing
    def set_weight(self, role: str, weight: float) -> None: ...

    @changing
    def set_weights(self, weights: Mapping[str, float]) -> None: ...

    @changing
    def set_quota(
        self,
        role: str,
        guarantee: QuantitiesLike | None = None,
        limit: QuantitiesLike | None = None,
    ) -> None: ...

    @changing
    def set_quotas(self, quotas: QuotasLike) -> None: ...

    @changing
    def remove_quota(self, role: str) -> None: ...

    @changing
    def set_whitelist(self, hostnames: Iterable[str] | None) -> None: ...

    # Cycles.

    @changing
    def allocate(self, agents: Iterable[str] | None = None) -> Offers: ...

    @changing
    def skip_cycles(self, n: int) -> None: ...

    @looking
    def next_due(self) -> float: ...

    @changing
    def pause(self) -> None: ...

    @changing
    def resume(self) -> None: ...

    @changing
    def recover(self, expected_agents: int, quotas: QuotasLike) -> None: ...

    # Answers.

    @changing
    def accept(
        self,
        offer: OffersLike,
        resources: EachLike | None = None,
        *,
        refuse_seconds: RefuseLike = None,
    ) -> None: ...

    @changing
    def decline(
        self, offer: OffersLike, *, refuse_seconds: RefuseLike = DEFAULT_REFUSE_SECONDS
    ) -> None: ...

    @changing
    def rescind(self, offer: OffersLike) -> None: ...

    @overload
    def release(self, framework: Iterable[Offer], *, resources: EachLike | None = None) -> None: ...

    @overload
    def release(self, framework: str, agent: str, role: str, resources: ResourcesLike) -> None: ...

    @changing
    def release(
        self,
        framework: str | Iterable[Offer],
        agent: str | None = None,
        role: str | None = None,
        resources: Any = None,
    ) -> None: ...

    @changing
    def recover_resources(
        self,
        framework: str,
        agent: str,
        role: str,
        resources: ResourcesLike,
        *,
        refuse_seconds: float | None = None,
        allocated: bool = False,
    ) -> None: ...

    # Conversions.

    @changing
    def apply(self, offer: Offer | str, operations: Operation | Iterable[Operation]) -> Offer: ...

    @changing
    def apply_available(self, agent: str, operations: Operation | Iterable[Operation]) -> None: ...

    # Maintenance.

    @changing
    def set_unavailability(
        self, agent: str, start: float, duration: float | None = None
    ) -> None: ...

    @changing
    def clear_unavailability(self, agent: str) -> None: ...

    @changing
    def answer_inverse(
        self,
        framework: str,
        agent: str,
        status: str | None,
        *,
        refuse_seconds: float | None = None,
    ) -> None: ...

    # Looking.

    @looking
    def agent(self, id: str) -> AgentView: ...

    @looking
    def framework(self, id: str) -> FrameworkView: ...

    @looking
    def role(self, path: str) -> RoleView: ...

    @property
    @looking
    def agents(self) -> Mapping[str, AgentView]: ...

    @property
    @looking
    def frameworks(self) -> Mapping[str, FrameworkView]: ...

    @property
    @looking
    def roles(self) -> Mapping[str, RoleView]: ...

    @property
    @looking
    def open_offers(self) -> Mapping[str, Offer]: ...

    @looking
    def inverse_statuses(self, agent: str) -> Mapping[str, str]: ...

    @looking
    def changes(self, wake: Callable[[], object] | None = None) -> Changes: ...

    @looking
    def now(self) -> float: ...

    @looking
    def fork(self) -> Self: ...


class Engine(Decider, Protocol):
    """All calls of an engine: those of a `Decider`, and what a running one is asked for."""

    @looking
    def explain(
        self, framework: str, role: str | None = None, agent: str | None = None
    ) -> Explanation: ...

    @looking
    def metrics(self) -> dict[str, float]: ...

    @looking
    def touched_agents(self) -> list[str] | None: ...

    @looking
    def snapshot(self) -> dict[str, Any]: ...


def _marked(is_changing: bool) -> tuple[str, ...]:
    """Return the names of the calls and attributes with a mark, in the order of the contract."""
    return tuple(
        name
        for protocol in (Decider, Engine)
        for name, member in vars(protocol).items()
        if getattr(getattr(member, "fget", member), _MARK, None) is is_changing
    )


#: The calls that may change what an engine decides or shows.
CHANGING: Final = _marked(True)
#: The calls and attributes that change nothing.
LOOKING: Final = _marked(False)
