"""Steps that lead to an offer: what an operator or a framework would do, as values to try out.

A step is tried on a fork of the engine, through the calls that anybody would make.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from allocator.errors import cut
from allocator.explain.reasons import Json, brief, parts_to_json, write_seconds
from allocator.explain.rehearsal import Rehearsal
from allocator.resources import Quantities, Resources
from allocator.resources.fixed import write_milli


@dataclass(frozen=True, slots=True)
class Step(ABC):
    """One thing to do, or to wait for."""

    #: The step's name in JSON.
    kind: ClassVar[str]

    @abstractmethod
    def apply(self, rehearsal: Rehearsal) -> None:
        """Do it on a fork; raises `AllocatorError` where that cannot be done."""

    def to_json(self) -> Json:
        """Return the step's name, its parts and its text. O(size)."""
        return {"step": self.kind, **parts_to_json(self), "text": str(self)}


@dataclass(frozen=True, slots=True)
class Wait(Step):
    """Let time pass, while nobody else does anything.

    `until` is in seconds of the engine's clock, `seconds` what remains of it.
    """

    kind = "wait"

    until: float
    seconds: float

    def apply(self, rehearsal: Rehearsal) -> None:
        """Put the fork's clock forward."""
        rehearsal.clock.advance_to(max(self.until, rehearsal.clock()))

    def __str__(self) -> str:
        return f"wait {write_seconds(self.seconds)}"


@dataclass(frozen=True, slots=True)
class Revive(Step):
    """Revive the framework in a role, which ends suppression and filters."""

    kind = "revive"

    framework: str
    role: str

    def apply(self, rehearsal: Rehearsal) -> None:
        """Call `revive`."""
        rehearsal.engine.revive(self.framework, [self.role])

    def __str__(self) -> str:
        return f"revive role {cut(self.role)} of framework {cut(self.framework)}"


@dataclass(frozen=True, slots=True)
class Resume(Step):
    """Resume a paused engine."""

    kind = "resume"

    def apply(self, rehearsal: Rehearsal) -> None:
        """Call `resume`."""
        rehearsal.engine.resume()

    def __str__(self) -> str:
        return "resume the engine"


@dataclass(frozen=True, slots=True)
class ActivateFramework(Step):
    """Activate the framework."""

    kind = "activate_framework"

    framework: str

    def apply(self, rehearsal: Rehearsal) -> None:
        """Call `activate_framework`."""
        rehearsal.engine.activate_framework(self.framework)

    def __str__(self) -> str:
        return f"activate framework {cut(self.framework)}"


@dataclass(frozen=True, slots=True)
class ActivateAgent(Step):
    """Activate an agent."""

    kind = "activate_agent"

    agent: str

    def apply(self, rehearsal: Rehearsal) -> None:
        """Call `activate_agent`."""
        rehearsal.engine.activate_agent(self.agent)

    def __str__(self) -> str:
        return f"activate agent {cut(self.agent)}"


@dataclass(frozen=True, slots=True)
class Whitelist(Step):
    """Add a host to the whitelist."""

    kind = "whitelist"

    hostname: str

    def apply(self, rehearsal: Rehearsal) -> None:
        """Call `set_whitelist` with one host more."""
        rehearsal.engine.set_whitelist({*(rehearsal.whitelist or ()), self.hostname})

    def __str__(self) -> str:
        return f"whitelist host {cut(self.hostname)}"


@dataclass(frozen=True, slots=True)
class LowerMinimum(Step):
    """Lower the framework's `min_allocatable` in a role to these amounts."""

    kind = "lower_min_allocatable"

    framework: str
    role: str
    amounts: Quantities

    def apply(self, rehearsal: Rehearsal) -> None:
        """Call `update_framework`; the amounts that suffice already still do."""
        roles = rehearsal.engine.framework(self.framework).roles
        lowered = {role: rehearsal.minimum(self.framework, role) for role in roles}
        lowered[self.role] = (*lowered[self.role], self.amounts) if self.amounts else ()
        rehearsal.engine.update_framework(self.framework, min_allocatable=lowered)

    def __str__(self) -> str:
        of = f"of framework {cut(self.framework)} in role {cut(self.role)}"
        return f"lower min_allocatable {of} to {cut(self.amounts) or 'nothing'}"


@dataclass(frozen=True, slots=True)
class LiftConstraints(Step):
    """Drop the framework's offer constraints in a role."""

    kind = "lift_constraints"

    framework: str
    role: str

    def apply(self, rehearsal: Rehearsal) -> None:
        """Call `update_framework`; the constraints in other roles stay."""
        by_role = rehearsal.constraints(self.framework)
        kept = {role: own for role, own in by_role.items() if role != self.role}
        rehearsal.engine.update_framework(self.framework, constraints={"role_constraints": kept})

    def __str__(self) -> str:
        return f"lift the constraints of framework {cut(self.framework)} in role {cut(self.role)}"


@dataclass(frozen=True, slots=True)
class AddCapability(Step):
    """Give the framework a capability."""

    kind = "add_capability"

    framework: str
    capability: str

    def apply(self, rehearsal: Rehearsal) -> None:
        """Call `update_framework`."""
        can = rehearsal.engine.framework(self.framework).capabilities
        rehearsal.engine.update_framework(self.framework, capabilities=can | {cut(self.capability)})

    def __str__(self) -> str:
        return f"add capability {cut(self.capability)} to framework {cut(self.framework)}"


@dataclass(frozen=True, slots=True)
class AddAgentCapability(Step):
    """Give an agent a capability."""

    kind = "add_agent_capability"

    agent: str
    capability: str

    def apply(self, rehearsal: Rehearsal) -> None:
        """Call `update_agent`."""
        can = rehearsal.engine.agent(self.agent).capabilities
        rehearsal.engine.update_agent(self.agent, capabilities=can | {cut(self.capability)})

    def __str__(self) -> str:
        return f"add capability {cut(self.capability)} to agent {cut(self.agent)}"


@dataclass(frozen=True, slots=True)
class RaiseLimit(Step):
    """Raise a role's limit by these amounts."""

    kind = "raise_limit"

    role: str
    amounts: Quantities

    def apply(self, rehearsal: Rehearsal) -> None:
        """Call `set_quota`."""
        quota = rehearsal.sums(self.role)
        more = self.amounts.milli
        limit = {name: milli + more.get(name, 0) for name, milli in quota.limit.items()}
        rehearsal.engine.set_quota(self.role, _written(quota.guarantee), _written(limit))

    def __str__(self) -> str:
        return f"raise the limit of role {cut(self.role)} by {cut(self.amounts)}"


@dataclass(frozen=True, slots=True)
class LowerGuarantee(Step):
    """Lower a role's guarantee by these amounts."""

    kind = "lower_guarantee"

    role: str
    amounts: Quantities

    def apply(self, rehearsal: Rehearsal) -> None:
        """Call `set_quota`."""
        quota = rehearsal.sums(self.role)
        lowered = Quantities.from_milli(quota.guarantee).minus_floor(self.amounts)
        rehearsal.engine.set_quota(self.role, lowered, _written(quota.limit))

    def __str__(self) -> str:
        return f"lower the guarantee of role {cut(self.role)} by {cut(self.amounts)}"


@dataclass(frozen=True, slots=True)
class RaiseWeight(Step):
    """Raise a role's weight, so that it comes before another."""

    kind = "raise_weight"

    role: str
    weight: float

    def apply(self, rehearsal: Rehearsal) -> None:
        """Call `set_weight`."""
        rehearsal.engine.set_weight(self.role, self.weight)

    def __str__(self) -> str:
        return f"raise the weight of role {cut(self.role)} to {self.weight:g}"


@dataclass(frozen=True, slots=True)
class Free(Step):
    """Have a framework give back what it uses, or is offered, on an agent."""

    kind = "free"

    framework: str
    role: str
    agent: str
    resources: Resources
    allocated: bool

    def apply(self, rehearsal: Rehearsal) -> None:
        """Call `recover_resources`."""
        rehearsal.engine.recover_resources(
            self.framework, self.agent, self.role, self.resources, allocated=self.allocated
        )

    def __str__(self) -> str:
        held = "uses" if self.allocated else "is offered"
        return (
            f"free {brief(self.resources)} on agent {cut(self.agent)}, "
            f"which framework {cut(self.framework)} {held} in role {cut(self.role)}"
        )


#: From what costs nobody anything to what takes something away from others.
LEAST_FIRST: tuple[type[Step], ...] = (
    Wait,
    Revive,
    Resume,
    ActivateFramework,
    ActivateAgent,
    Whitelist,
    LowerMinimum,
    LiftConstraints,
    AddCapability,
    AddAgentCapability,
    RaiseLimit,
    RaiseWeight,
    LowerGuarantee,
    Free,
)


def _written(milli: Mapping[str, int]) -> dict[str, str]:
    """Return amounts as a mapping that is read back exactly, zeros too."""
    return {name: write_milli(amount) for name, amount in milli.items()}
