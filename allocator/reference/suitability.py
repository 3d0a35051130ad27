"""Who may be shown what: capabilities, constraints and least amounts (contract §6.5)."""

from __future__ import annotations

from allocator.reference.state import Agent, Constraint, Framework, Minimum
from allocator.resources import Resources


def is_ruled_out(
    agent: Agent, framework: Framework, role: str, *, filter_gpus: bool, region: str | None
) -> bool:
    """Tell whether an agent is nothing for a framework in a role, whatever is left there."""
    can = framework.capabilities
    if filter_gpus and "GPU_RESOURCES" not in can and agent.total["gpus"]:
        return True
    # An agent whose region is not known, or of an engine without one, is not remote (as in
    # Mesos; §6.5).
    is_remote = agent.region is not None and region is not None and agent.region != region
    if is_remote and "REGION_AWARE" not in can:
        return True
    if "MULTI_ROLE" in can and "MULTI_ROLE" not in agent.capabilities:
        return True
    if "/" in role and "HIERARCHICAL_ROLE" not in agent.capabilities:
        return True
    groups = framework.constraints.get(role)
    return groups is not None and not any(
        all(holds(constraint, agent) for constraint in group) for group in groups
    )


def shown_to(framework: Framework, resources: Resources) -> Resources:
    """Return the entries that a framework's capabilities let it see."""
    can = framework.capabilities
    return Resources(
        [
            entry
            for entry in resources
            if ("REVOCABLE_RESOURCES" in can or not entry.revocable)
            and ("SHARED_RESOURCES" in can or not entry.shared)
            and ("RESERVATION_REFINEMENT" in can or len(entry.reservations) <= 1)
        ]
    )


def minimum_of(framework: Framework, role: str, default: Minimum) -> Minimum:
    """Return what an offer to a framework in a role must contain at least one of."""
    own = framework.minimum
    if own is None:
        return default
    return own if isinstance(own, tuple) else own.get(role, default)


def suffices(resources: Resources, minimum: Minimum) -> bool:
    """Tell whether resources contain any one of some amounts; ranges and sets count elements."""
    return not minimum or any(resources.counts() >= amounts for amounts in minimum)


def holds(constraint: Constraint, agent: Agent) -> bool:
    """Tell whether an agent meets one constraint (Mesos, `AttributeConstraintPredicate`).

    An absent attribute fails `EXISTS` and the positive text predicates and passes their opposites;
    one that is not text passes all text predicates. Regular expressions match the whole text.
    """
    value = _selected(constraint, agent)
    if constraint.predicate == "exists":
        return value is not None
    if constraint.predicate == "not_exists":
        return value is None
    negated = constraint.predicate.startswith("text_not_")
    if value is None:
        return negated
    if not isinstance(value, str):
        return True
    if constraint.predicate.endswith("equals"):
        return (value == constraint.operand) != negated
    return matches(constraint.operand, value) != negated


def _selected(constraint: Constraint, agent: Agent) -> object:
    if not constraint.pseudo:
        return agent.attributes.get(constraint.selector)
    return {"HOSTNAME": agent.hostname, "REGION": agent.region, "ZONE": agent.zone}[
        constraint.selector
    ]


def matches(regex: str, text: str) -> bool:
    """Tell whether an RE2 regular expression matches the whole of a text."""
    import re2

    return re2.fullmatch(regex, text) is not None
