"""Steps that lead to an offer: what an operator or a framework would do, as values to try out.

A step is tried on a fork of the engine, through the calls that anybody would make.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from allocator.engine.explain.reasons import Json, brief, parts_to_json, write_seconds
from allocator.resources import Quantities, Resources
from allocator.resources.fixed import write_milli

if TYPE_CHECKING:
    from allocator.engine.allocator import Allocator


@dataclass(frozen=True, slots=True)
class Step(ABC):
    """One thing to do, or to wait for."""

    #: The step's name in JSON.
    kind: ClassVar[str]

    @abstractmethod
    def apply(self, engine: Allocator) -> None:
        """Do it to an engine; raises `AllocatorError` where that cannot be done."""

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

    def apply(self, engine: Allocator) -> None:
        """Set the fork's clock to the time, on which it then stands for a while."""
        clock, until = engine._clock, self.until
        engine._clock = lambda: max(clock(), until)

    def __str__(self) -> str:
        return f"wait {write_seconds(self.seconds)}"


@dataclass(frozen=True, slots=True)
class Revive(Step):
    """Revive the framework in a role, which ends suppression and filters."""

    kind = "revive"

    framework: str
    role: str

    def apply(self, engine: Allocator) -> None:
        """Call `revive`."""
        engine.revive(self.framework, [self.role])

    def __str__(self) -> str:
        return f"revive role {self.role} of framework {self.framework}"


@dataclass(frozen=True, slots=True)
class Resume(Step):
    """Resume a paused engine."""

    kind = "resume"

    def apply(self, engine: Allocator) -> None:
        """Call `resume`."""
        engine.resume()

    def __str__(self) -> str:
        return "resume the engine"


@dataclass(frozen=True, slots=True)
class ActivateFramework(Step):
    """Activate the framework."""

    kind = "activate_framework"

    framework: str

    def apply(self, engine: Allocator) -> None:
        """Call `activate_framework`."""
        engine.activate_framework(self.framework)

    def __str__(self) -> str:
        return f"activate framework {self.framework}"


@dataclass(frozen=True, slots=True)
class ActivateAgent(Step):
    """Activate an agent."""

    kind = "activate_agent"

    agent: str

    def apply(self, engine: Allocator) -> None:
        """Call `activate_agent`."""
        engine.activate_agent(self.agent)

    def __str__(self) -> str:
        return f"activate agent {self.agent}"


@dataclass(frozen=True, slots=True)
class Whitelist(Step):
    """Add a host to the whitelist."""

    kind = "whitelist"

    hostname: str

    def apply(self, engine: Allocator) -> None:
        """Call `set_whitelist` with one host more."""
        engine.set_whitelist({*(engine._state.whitelist or ()), self.hostname})

    def __str__(self) -> str:
        return f"whitelist host {self.hostname}"


@dataclass(frozen=True, slots=True)
class LowerMinimum(Step):
    """Lower the framework's `min_allocatable` in a role to these amounts."""

    kind = "lower_min_allocatable"

    framework: str
    role: str
    amounts: Quantities

    def apply(self, engine: Allocator) -> None:
        """Call `update_framework`; the amounts that suffice already still do."""
        framework = engine._framework(self.framework)
        default = engine._rules.minimum
        lowered = {role: leaf.minimum(default) for role, leaf in framework.subscriptions.items()}
        lowered[self.role] = (*lowered[self.role], self.amounts) if self.amounts else ()
        engine.update_framework(self.framework, min_allocatable=lowered)

    def __str__(self) -> str:
        to = f"to {self.amounts}" if self.amounts else "to nothing"
        return f"lower min_allocatable of framework {self.framework} in role {self.role} {to}"


@dataclass(frozen=True, slots=True)
class LiftConstraints(Step):
    """Drop the framework's offer constraints in a role."""

    kind = "lift_constraints"

    framework: str
    role: str

    def apply(self, engine: Allocator) -> None:
        """Call `update_framework`; the constraints in other roles stay."""
        constraints = engine._framework(self.framework).constraints
        kept = {role: own.to_json() for role, own in constraints.items() if role != self.role}
        engine.update_framework(self.framework, constraints={"role_constraints": kept})

    def __str__(self) -> str:
        return f"lift the constraints of framework {self.framework} in role {self.role}"


@dataclass(frozen=True, slots=True)
class AddCapability(Step):
    """Give the framework a capability."""

    kind = "add_capability"

    framework: str
    capability: str

    def apply(self, engine: Allocator) -> None:
        """Call `update_framework`."""
        can = engine.framework(self.framework).capabilities
        engine.update_framework(self.framework, capabilities=can | {self.capability})

    def __str__(self) -> str:
        return f"add capability {self.capability} to framework {self.framework}"


@dataclass(frozen=True, slots=True)
class AddAgentCapability(Step):
    """Give an agent a capability."""

    kind = "add_agent_capability"

    agent: str
    capability: str

    def apply(self, engine: Allocator) -> None:
        """Call `update_agent`."""
        can = engine.agent(self.agent).capabilities
        engine.update_agent(self.agent, capabilities=can | {self.capability})

    def __str__(self) -> str:
        return f"add capability {self.capability} to agent {self.agent}"


@dataclass(frozen=True, slots=True)
class RaiseLimit(Step):
    """Raise a role's limit by these amounts."""

    kind = "raise_limit"

    role: str
    amounts: Quantities

    def apply(self, engine: Allocator) -> None:
        """Call `set_quota`."""
        quota = engine._state.tree.nodes[self.role].quota
        more = self.amounts.milli
        limit = {name: milli + more.get(name, 0) for name, milli in quota.limit.items()}
        engine.set_quota(self.role, _written(quota.guarantee), _written(limit))

    def __str__(self) -> str:
        return f"raise the limit of role {self.role} by {self.amounts}"


@dataclass(frozen=True, slots=True)
class LowerGuarantee(Step):
    """Lower a role's guarantee by these amounts."""

    kind = "lower_guarantee"

    role: str
    amounts: Quantities

    def apply(self, engine: Allocator) -> None:
        """Call `set_quota`."""
        quota = engine._state.tree.nodes[self.role].quota
        lowered = Quantities.from_milli(quota.guarantee).minus_floor(self.amounts)
        engine.set_quota(self.role, lowered, _written(quota.limit))

    def __str__(self) -> str:
        return f"lower the guarantee of role {self.role} by {self.amounts}"


@dataclass(frozen=True, slots=True)
class RaiseWeight(Step):
    """Raise a role's weight, so that it comes before another."""

    kind = "raise_weight"

    role: str
    weight: float

    def apply(self, engine: Allocator) -> None:
        """Call `set_weight`."""
        engine.set_weight(self.role, self.weight)

    def __str__(self) -> str:
        return f"raise the weight of role {self.role} to {self.weight:g}"


@dataclass(frozen=True, slots=True)
class Free(Step):
    """Have a framework give back what it uses, or is offered, on an agent."""

    kind = "free"

    framework: str
    role: str
    agent: str
    resources: Resources
    allocated: bool

    def apply(self, engine: Allocator) -> None:
        """Call `recover_resources`."""
        engine.recover_resources(
            self.framework, self.agent, self.role, self.resources, allocated=self.allocated
        )

    def __str__(self) -> str:
        held = "uses" if self.allocated else "is offered"
        return (
            f"free {brief(self.resources)} on agent {self.agent}, "
            f"which framework {self.framework} {held} in role {self.role}"
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
