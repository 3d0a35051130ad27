"""Why a framework is not offered an agent: each reason as a value that people can read.

`kind` names a reason for programs, `label` groups equal ones in a summary, `str()` is a sentence.
Amounts are held in thousandths, as everywhere in the engine, and written in their own units. A
sentence shows at most 200 characters of each name and of each collection of resources.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, ClassVar, TypeAlias

from allocator.errors import cut
from allocator.explain.rehearsal import FAIR_SHARE, GUARANTEES
from allocator.resources import EMPTY, Quantities, Resource, Resources
from allocator.resources.fixed import number_of, write_milli
from allocator.sorter import Standing

Json: TypeAlias = dict[str, Any]

#: How a served framework's stage is written.
STAGES: Mapping[int, str] = {GUARANTEES: "guarantees", FAIR_SHARE: "fair share"}

#: At most so many of several things of one kind stand in one sentence.
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason why nothing, or no more, is offered."""

    #: The reason's name in JSON.
    kind: ClassVar[str]
    #: Whether it keeps every framework from everything, whatever a cycle would decide.
    halts: ClassVar[bool] = False
    #: Whether a cycle looks no further: other reasons show only when this one has gone.
    decides: ClassVar[bool] = True

    @property
    def label(self) -> str:
        """What equal reasons have in common, in few words."""
        return self.kind.replace("_", " ")

    def to_json(self) -> Json:
        """Return the reason's name, its parts and its text. O(size)."""
        return {"reason": self.kind, **parts_to_json(self), "text": str(self)}


@dataclass(frozen=True, slots=True)
class Paused(Reason):
    """The engine is paused."""

    kind = "paused"
    halts = True

    def __str__(self) -> str:
        return "the engine is paused"


@dataclass(frozen=True, slots=True)
class Recovering(Reason):
    """Offers wait until enough agents are back, or the time is up.

    `until` is in seconds of the engine's clock, `seconds` what remains of it.
    """

    kind = "recovering"
    halts = True

    n_agents: int
    n_awaited: int
    until: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"recovering: {self.n_agents} of the {self.n_awaited} agents waited for are back; "
            f"ends in {write_seconds(self.seconds)} in any case"
        )


@dataclass(frozen=True, slots=True)
class FrameworkInactive(Reason):
    """The framework is deactivated."""

    kind = "framework_inactive"

    def __str__(self) -> str:
        return "the framework is inactive"


@dataclass(frozen=True, slots=True)
class Suppressed(Reason):
    """The framework asked for no offers in this role."""

    kind = "suppressed"

    role: str

    def __str__(self) -> str:
        return f"suppressed in role {cut(self.role)}"


@dataclass(frozen=True, slots=True)
class AgentInactive(Reason):
    """The agent is deactivated."""

    kind = "agent_inactive"

    def __str__(self) -> str:
        return "the agent is inactive"


@dataclass(frozen=True, slots=True)
class NotWhitelisted(Reason):
    """The whitelist leaves the agent's host out."""

    kind = "not_whitelisted"

    hostname: str

    def __str__(self) -> str:
        return f"host {cut(self.hostname)} is not whitelisted"


@dataclass(frozen=True, slots=True)
class MissingCapability(Reason):
    """The framework, or the agent, cannot do what the other needs it to.

    `hidden` is what of the agent's resources a framework without it is not shown; empty where the
    whole agent is out of the question.
    """

    kind = "capability"

    capability: str
    of_agent: bool = False
    hidden: Resources = EMPTY

    @property
    def label(self) -> str:
        """Names the capability, and who lacks it."""
        return f"{'agent' if self.of_agent else 'framework'} lacks capability {self.capability}"

    def __str__(self) -> str:
        return f"the {self.label}" + (f", needed for {brief(self.hidden)}" if self.hidden else "")


@dataclass(frozen=True, slots=True)
class ConstraintUnmet(Reason):
    """The framework's constraints in this role rule the agent out.

    `failing` has, for each group of constraints, those that do not hold, as text.
    """

    kind = "constraint"

    failing: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        return "constraint not met: " + cut("; nor: ".join(" and ".join(g) for g in self.failing))


@dataclass(frozen=True, slots=True)
class Filtered(Reason):
    """The framework refused what would be offered.

    `until` is in seconds of the engine's clock, `seconds` what remains of it.
    """

    kind = "filtered"

    resources: Resources
    until: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"filtered for {write_seconds(self.seconds)} more (until {self.until:.3f}): "
            f"it refused {brief(self.resources)}"
        )


@dataclass(frozen=True, slots=True)
class BelowMinimum(Reason):
    """What is left is less than every amount of `min_allocatable`.

    `nearest` is the amount that `left` comes nearest to, `lacking` what is missing of it.
    """

    kind = "below_min_allocatable"
    decides = False

    left: Resources
    nearest: Quantities
    lacking: Quantities

    @classmethod
    def by(cls, left: Resources, minimum: Sequence[Quantities]) -> BelowMinimum:
        """Return by what the amounts of which it lacks the smallest parts exceeds `left`. O(n)."""
        counts = left.counts()
        lacking = [amounts.minus_floor(counts) for amounts in minimum]
        parts = [
            sum(milli / amounts.milli[name] for name, milli in missing.milli.items())
            for amounts, missing in zip(minimum, lacking, strict=True)
        ]
        nearest = parts.index(min(parts))
        return cls(left, minimum[nearest], lacking[nearest])

    @property
    def label(self) -> str:
        """Names the option."""
        return "below min_allocatable"

    def __str__(self) -> str:
        return (
            f"{brief(self.left)} is below min_allocatable {cut(self.nearest)} "
            f"by {cut(self.lacking)}"
        )


@dataclass(frozen=True, slots=True)
class Guaranteed:
    """So much of a resource is held back for a role, whose guarantee is short of so much."""

    role: str
    held_milli: int
    short_milli: int

    def to_json(self) -> Json:
        """Return the parts. O(1)."""
        return parts_to_json(self)

    def __str__(self) -> str:
        return f"{cut(self.role)} ({write_milli(self.held_milli)})"


@dataclass(frozen=True, slots=True)
class OverLimit(Reason):
    """A limit on the role's path does not allow all of what is there.

    `wanted_milli` is what of the name could be offered but for quotas, `kept` what the limit keeps
    room for beside it: what other roles below it are guaranteed and do not consume yet.
    """

    kind = "over_limit"
    decides = False

    role: str
    name: str
    limit_milli: int
    consumed_milli: int
    wanted_milli: int
    kept: tuple[Guaranteed, ...] = ()

    @property
    def kept_milli(self) -> int:
        """What the limit keeps room for, in thousandths."""
        return sum(role.held_milli for role in self.kept)

    @property
    def over_milli(self) -> int:
        """By how much the limit would be exceeded, in thousandths."""
        return self.consumed_milli + self.kept_milli + self.wanted_milli - self.limit_milli

    @property
    def label(self) -> str:
        """Names the role and the resource."""
        return f"over limit of role {self.role} for {self.name}"

    def to_json(self) -> Json:
        """Return the parts and by how much it is over. O(1)."""
        return {**Reason.to_json(self), "over": number_of(self.over_milli)}

    def __str__(self) -> str:
        kept = f"kept for guarantees of {listed(self.kept)}, " if self.kept else ""
        return (
            f"over limit of role {cut(self.role)} for {cut(self.name)} "
            f"by {write_milli(self.over_milli)} "
            f"(limit {write_milli(self.limit_milli)}, consumed {write_milli(self.consumed_milli)}, "
            f"{kept}here {write_milli(self.wanted_milli)})"
        )


@dataclass(frozen=True, slots=True)
class HeldBack(Reason):
    """Unmet guarantees need what is there.

    `headroom_milli` is what of the name is available on agents that are active and whitelisted,
    `roles` who needs how much of it, `wanted_milli` what could be offered here but for quotas.
    """

    kind = "held_back"
    decides = False

    name: str
    wanted_milli: int
    headroom_milli: int
    roles: tuple[Guaranteed, ...]

    @property
    def surplus_milli(self) -> int:
        """What is available beyond what is held back, in thousandths; may be below zero."""
        return self.headroom_milli - sum(role.held_milli for role in self.roles)

    @property
    def label(self) -> str:
        """Names the resource."""
        return f"held back for guarantees ({self.name})"

    def __str__(self) -> str:
        held = min(self.wanted_milli, self.wanted_milli - self.surplus_milli)
        return (
            f"{cut(self.name)}:{write_milli(held)} held back for guarantees of roles "
            f"{listed(self.roles)}, of {write_milli(max(self.headroom_milli, 0))} "
            "that can be offered in the cluster"
        )


@dataclass(frozen=True, slots=True)
class Served:
    """An offer made earlier in the cycle on the same agent, and why it came first.

    `ahead` and `behind` are where the two differ: the topmost roles in which they part, or the
    frameworks if they are in one role; with what the order went by as the agent's turn began (in
    stage one only roles with unmet guarantees took part). `refused_seconds` is for how long that
    framework refused its last offer, 0 without a filter, None if it took something of it.
    """

    stage: int
    framework: str
    role: str
    resources: Resources
    ahead: Standing
    behind: Standing
    refused_seconds: float | None = None

    def to_json(self) -> Json:
        """Return the parts. O(size)."""
        return {
            "stage": STAGES[self.stage],
            "framework": self.framework,
            "role": self.role,
            "resources": str(self.resources),
            "ahead": self.ahead.path,
            "ahead_share": self.ahead.share,
            "behind": self.behind.path,
            "behind_share": self.behind.share,
            "order": self.ahead.before(self.behind),
            "refused_seconds": self.refused_seconds,
        }

    def __str__(self) -> str:
        stage = " for a guarantee" if self.stage == GUARANTEES else ""
        refused = ""
        if self.refused_seconds is not None:
            seconds = self.refused_seconds
            how = f"for {write_seconds(seconds)}" if seconds else "without a filter"
            refused = f"; it refused its last offer {how}"
        return (
            f"{cut(self.framework)} in role {cut(self.role)} took {brief(self.resources)}{stage} "
            f"({cut(self.ahead.path)} before {cut(self.behind.path)}: "
            f"{self.ahead.before(self.behind)}{refused})"
        )


@dataclass(frozen=True, slots=True)
class ServedEarlier(Reason):
    """Others were served first on this agent, in this order."""

    kind = "served_earlier"
    decides = False

    ahead: tuple[Served, ...]

    def __str__(self) -> str:
        return f"served earlier: {listed(self.ahead, '; ')}"


@dataclass(frozen=True, slots=True)
class NothingLeft(Reason):
    """Nothing was available on the agent before the cycle began."""

    kind = "nothing_left"
    decides = False

    offered: Resources
    allocated: Resources

    def __str__(self) -> str:
        held = [
            f"{brief(resources)} {how}"
            for resources, how in ((self.offered, "offered"), (self.allocated, "allocated"))
            if resources
        ]
        return "nothing left: " + (" and ".join(held) if held else "the agent has no resources")


@dataclass(frozen=True, slots=True)
class NothingVisible(Reason):
    """What is available is reserved to roles that are not on this one's path."""

    kind = "nothing_visible"
    decides = False

    reserved: Resources

    def __str__(self) -> str:
        return (
            f"nothing visible: what is available is reserved to other roles, {brief(self.reserved)}"
        )


def listed(things: Collection[object], separator: str = ", ", shown: int = SHOWN) -> str:
    """Return the first few of some things as text, and how many more there are. O(1).

    Examples
    --------
    >>> listed(["a", "b", "c", "d", "e"]), listed(["a", "b"])
    ('a, b, c and 2 more', 'a, b')
    """
    text = separator.join(cut(thing) for thing in islice(things, shown))
    more = len(things) - shown
    return f"{text} and {more} more" if more > 0 else text


def parts_to_json(record: Any) -> Json:
    """Return a record's fields as JSON: resources as text, thousandths in their own units."""
    found = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if field.name.endswith("_milli"):
            found[field.name.removesuffix("_milli")] = number_of(value)
        else:
            found[field.name] = _json(value)
    return found


def _json(value: Any) -> Any:
    if isinstance(value, Resources | Quantities):
        return str(value)
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    return value.to_json() if hasattr(value, "to_json") else value


def brief(resources: Resources) -> str:
    """Return resources as people read them, though not all of it could be read back. O(n).

    Examples
    --------
    >>> print(brief(Resources([
    ...     {"name": "cpus", "type": "SCALAR", "scalar": {"value": 2}, "revocable": {}},
    ...     {"name": "mem", "type": "SCALAR", "scalar": {"value": 64}, "role": "eng"},
    ... ])))
    mem(eng):64;cpus{revocable}:2
    """
    return cut(";".join(map(_brief_entry, resources)))


def _brief_entry(entry: Resource) -> str:
    text = entry.name
    if entry.role is not None:
        text += f"({entry.role})"
    if entry.persistence_id is not None:
        text += f"[{entry.persistence_id}]"
    elif entry.source is not None:
        text += f"[{entry.source.type.lower()}]"
    marks = [mark for mark in ("revocable", "shared") if getattr(entry, mark)]
    text += "{" + ",".join(marks) + "}" if marks else ""
    value = entry.value
    if isinstance(value, int):
        return f"{text}:{write_milli(value)}"
    if isinstance(value, frozenset):
        return f"{text}:{{{','.join(sorted(value))}}}"
    return f"{text}:[{','.join(f'{begin}-{end}' for begin, end in value)}]"


def write_seconds(seconds: float) -> str:
    """Return a duration as text, with at most three decimals. O(1).

    Examples
    --------
    >>> write_seconds(4.5), write_seconds(86400.0)
    ('4.5 s', '86400 s')
    """
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + " s"
