"""Steps that lead to an offer: what an operator or a framework would do, as values to try out.

A step is tried on a fork of the engine, through the calls that anybody would make.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from allocator.errors import cut
from allocator.explain.reasons import Json, brief, listed, parts_to_json, write_seconds
from allocator.explain.rehearsal import Rehearsal
from allocator.explain.watch import Case
from allocator.resources import Quantities, Resources
from allocator.resources.fixed import MAX_MILLI, write_milli

#: At most so many of those who would have to do something stand in one sentence.
SHOWN_TOLD = 12
#: A framework, and a role in which it refuses what it is offered.
Refuser: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Step(ABC):
    """One thing to do, or to wait for."""

    #: The step's name in JSON.
    kind: ClassVar[str]

    @property
    def size(self) -> int:
        """How many have to do something. O(1)."""
        return 1

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
class LetPass(Step):
    """Let cycles go by, for as many seconds, until one of this number."""

    kind = "let_pass"

    cycle: int
    seconds: float

    def apply(self, rehearsal: Rehearsal) -> None:
        """Do nothing: the cycles that come are a course."""

    def __str__(self) -> str:
        wait = f"wait {write_seconds(self.seconds)}, until" if self.seconds else "wait for"
        return f"{wait} cycle {self.cycle}"


@dataclass(frozen=True, slots=True)
class Told(Step):
    """One thing that each of some frameworks does that refuse what they are offered."""

    #: Each with its role.
    refusers: tuple[Refuser, ...]

    @property
    def size(self) -> int:
        """One for each. O(1)."""
        return len(self.refusers)

    @property
    def named(self) -> str:
        """The frameworks, or the first of them, in words. O(refusers)."""
        names = list(dict.fromkeys(framework for framework, _ in self.refusers))
        return f"framework{'s' if len(names) > 1 else ''} {listed(names, shown=SHOWN_TOLD)}"


@dataclass(frozen=True, slots=True)
class RefuseLonger(Told):
    """Have frameworks refuse for at least so long."""

    kind = "refuse_longer"

    seconds: float

    def apply(self, rehearsal: Rehearsal) -> None:
        """Do nothing yet: a course refuses in their place."""

    def __str__(self) -> str:
        return f"have {self.named} decline for {write_seconds(self.seconds)}"


@dataclass(frozen=True, slots=True)
class Suppress(Told):
    """Suppress frameworks, each in its role, as they take nothing."""

    kind = "suppress"

    def apply(self, rehearsal: Rehearsal) -> None:
        """Call `suppress`."""
        for framework, role in self.refusers:
            rehearsal.engine.suppress(framework, [role])

    def __str__(self) -> str:
        return f"suppress {self.named}"


@dataclass(frozen=True, slots=True)
class RaiseMinimum(Told):
    """Raise the `min_allocatable` of frameworks, each in its role, above what they refuse."""

    kind = "raise_min_allocatable"

    above: Quantities

    def apply(self, rehearsal: Rehearsal) -> None:
        """Call `update_framework`; other roles keep theirs."""
        more = Quantities.from_milli(
            {name: min(milli + 1, MAX_MILLI) for name, milli in self.above.milli.items()}
        )
        for framework, role in self.refusers:
            roles = rehearsal.engine.framework(framework).roles
            raised = {each: rehearsal.minimum(framework, each) for each in roles}
            raised[role] = (more,)
            rehearsal.engine.update_framework(framework, min_allocatable=raised)

    def __str__(self) -> str:
        return f"raise min_allocatable of {self.named} above {cut(self.above)}, which they refuse"


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
class RaiseGuarantee(Step):
    """Raise a role's guarantee by these amounts."""

    kind = "raise_guarantee"

    role: str
    amounts: Quantities

    def apply(self, rehearsal: Rehearsal) -> None:
        """Call `set_quota`."""
        quota = rehearsal.sums(self.role)
        raised = Quantities.from_milli(quota.guarantee) + self.amounts
        rehearsal.engine.set_quota(self.role, raised, _written(quota.limit))

    def __str__(self) -> str:
        return f"raise the guarantee of role {cut(self.role)} by {cut(self.amounts)}"


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
    LetPass,
    Revive,
    Resume,
    ActivateFramework,
    ActivateAgent,
    Whitelist,
    LowerMinimum,
    LiftConstraints,
    AddCapability,
    AddAgentCapability,
    RefuseLonger,
    Suppress,
    RaiseMinimum,
    RaiseLimit,
    RaiseWeight,
    RaiseGuarantee,
    LowerGuarantee,
    Free,
)


@dataclass(frozen=True, slots=True)
class Change:
    """Steps that lead to an offer, and what is offered then: tried on a fork.

    Parameters
    ----------
    steps : tuple of Step
    cases : tuple of Case
        What is offered of what was asked about.
    cycle : int
        The number of the cycle that offers it.
    is_later : bool
        Whether that is not the next.
    refusing : tuple of str
        Frameworks that refuse again in the meantime what they are offered, as they did last.
    """

    steps: tuple[Step, ...]
    cases: tuple[Case, ...]
    cycle: int
    is_later: bool = False
    refusing: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, list[int]]:
        """What changes are compared by: how many have to do something, and what."""
        ranks = [LEAST_FIRST.index(type(step)) for step in self.steps]
        return sum(step.size for step in self.steps), ranks

    def to_json(self) -> Json:
        """Return the change as JSON. O(size)."""
        return {
            "steps": [step.to_json() for step in self.steps],
            "offers": [
                {"role": case.role, "agent": case.agent, "resources": str(case.offered)}
                for case in self.cases
            ],
            "cycle": self.cycle,
            "is_later": self.is_later,
            "refusing": list(self.refusing),
        }

    def __str__(self) -> str:
        first = self.cases[0]
        said = f"{'; '.join(map(str, self.steps))} → "
        if self.is_later and not isinstance(self.steps[-1], LetPass):
            said += f"in cycle {self.cycle}, "
        said += f"{cut(first.role)} on {cut(first.agent)}: {brief(first.offered)}"
        if len(self.cases) > 1:
            said += f", and {len(self.cases) - 1} more"
        if self.refusing:
            said += f" (while {listed(self.refusing)} refuse again)"
        return said


def _written(milli: Mapping[str, int]) -> dict[str, str]:
    """Return amounts as a mapping that is read back exactly, zeros too."""
    return {name: write_milli(amount) for name, amount in milli.items()}
