"""Offer constraints: which agents a framework wants to be offered in a role (contract §6.5).

They are Mesos' `OfferConstraints`: for each role groups, of which one must hold; in each group
constraints on the agent's attributes, which must all hold. Whatever cannot be read is refused
when the framework is added, so that evaluating never fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from allocator.errors import ConstraintError, cut, shown
from allocator.roles import validate_role

Json: TypeAlias = dict[str, Any]

#: Mesos' defaults (`--offer_constraints_re2_max_mem` in bytes, `…_max_program_size`).
MAX_REGEX_MEMORY: Final = 4096
MAX_REGEX_PROGRAM_SIZE: Final = 100


class HasAttributes(Protocol):
    """What constraints look at of an agent; `Agent` and `AgentView` have it."""

    @property
    def hostname(self) -> str:
        """The host's name."""

    @property
    def region(self) -> str | None:
        """The region of its fault domain, None if it has none."""

    @property
    def zone(self) -> str | None:
        """The zone of its fault domain, None if it has none."""

    @property
    def attributes(self) -> Mapping[str, object]:
        """Its attributes by name; text ones have text as their value."""


class _Absent:
    """The type of `ABSENT`."""


#: Stands for the value of an attribute that the agent does not have.
ABSENT: Final = _Absent()

#: What a pseudoattribute of each type stands for, None where the agent has none.
_PSEUDOATTRIBUTES: Final[dict[str, Callable[[HasAttributes], str | None]]] = {
    "HOSTNAME": lambda agent: agent.hostname,
    "REGION": lambda agent: agent.region,
    "ZONE": lambda agent: agent.zone,
}


class _Form(NamedTuple):
    """How a predicate is written and decides."""

    #: The field with what the value is compared to, None if there is nothing to compare.
    operand: str | None
    #: Whether it holds where the one without "not" does not. An absent attribute has no value,
    #: so exactly the negated ones hold of it.
    is_negated: bool


_PREDICATES: Final = {
    "exists": _Form(None, False),
    "not_exists": _Form(None, True),
    "text_equals": _Form("value", False),
    "text_not_equals": _Form("value", True),
    "text_matches": _Form("regex", False),
    "text_not_matches": _Form("regex", True),
}


@dataclass(frozen=True, slots=True)
class AttributeConstraint:
    """One condition on one attribute or pseudoattribute of an agent.

    Parameters
    ----------
    name : str
        The attribute's name, or the pseudoattribute's type: HOSTNAME, REGION or ZONE.
    predicate : str
        As v1 JSON names it, from `exists` to `text_not_matches`.
    operand : str, optional
        The text or RE2 regular expression of a text predicate.
    is_pseudo : bool
        Whether `name` is that of a pseudoattribute.

    Raises
    ------
    ConstraintError
        If a part is unknown or missing, or the regular expression is malformed or too complex, or
        the package that reads it is not installed.
    """

    name: str
    predicate: str
    operand: str | None = None
    is_pseudo: bool = False
    #: The operand compiled by RE2, None if it is no regular expression.
    _regex: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ConstraintError(f"attribute name {shown(self.name)} is not a non-empty text")
        if self.is_pseudo and self.name not in _PSEUDOATTRIBUTES:
            raise ConstraintError(
                f"pseudoattribute type {shown(self.name)} is none of {', '.join(_PSEUDOATTRIBUTES)}"
            )
        form = _PREDICATES.get(self.predicate)
        if form is None:
            raise ConstraintError(
                f"predicate {shown(self.predicate)} is none of {', '.join(_PREDICATES)}"
            )
        if isinstance(self.operand, str) != (form.operand is not None):
            raise ConstraintError(
                f"predicate {self.predicate!r}: {form.operand or 'operand'} cannot be"
                f" {shown(self.operand)}"
            )
        regex = _compiled(self.operand) if form.operand == "regex" else None
        object.__setattr__(self, "_regex", regex)

    def holds(self, agent: HasAttributes) -> bool:
        """Tell whether the agent meets the condition. O(length of the text)."""
        form = _PREDICATES[self.predicate]
        value = self._value(agent)
        if value is ABSENT:
            return form.is_negated
        if form.operand is None:
            return not form.is_negated
        # What is no text cannot be judged as text, so it is let through.
        return not isinstance(value, str) or self._fits(value) != form.is_negated

    def _fits(self, text: str) -> bool:
        """Tell whether a text is what the predicate, apart from its "not", is about."""
        if self._regex is None:
            return text == self.operand
        # Bytes, as a text may hold lone surrogates, which RE2 has no characters for.
        return self._regex.fullmatch(text.encode("utf-8", "surrogatepass")) is not None

    def _value(self, agent: HasAttributes) -> object:
        if not self.is_pseudo:
            return agent.attributes.get(self.name, ABSENT)
        value = _PSEUDOATTRIBUTES[self.name](agent)
        return ABSENT if value is None else value

    def to_json(self) -> Json:
        """Return the v1 JSON object. O(1)."""
        operand = _PREDICATES[self.predicate].operand
        return {
            "selector": {_selector_field(self.is_pseudo): self.name},
            "predicate": {self.predicate: {} if operand is None else {operand: self.operand}},
        }

    @classmethod
    def from_json(cls, constraint: object) -> AttributeConstraint:
        """Return the constraint of a v1 JSON object; raises `ConstraintError`. O(size)."""
        body = _object("an attribute constraint", constraint, ("selector", "predicate"))
        selector = _object(
            "a selector", body.get("selector"), ("attribute_name", "pseudoattribute_type")
        )
        predicate = _object("a predicate", body.get("predicate"), tuple(_PREDICATES))
        chosen, name = _only("a selector", selector)
        kind, details = _only("a predicate", predicate)
        operand = _PREDICATES[kind].operand
        comparison = _object(f"predicate {kind!r}", details, () if operand is None else (operand,))
        return cls(
            name,
            kind,
            None if operand is None else comparison.get(operand),
            is_pseudo=chosen == _selector_field(True),
        )


@dataclass(frozen=True, slots=True)
class RoleConstraints:
    """What an agent must be like to be offered in one role.

    Parameters
    ----------
    groups : tuple of tuples of AttributeConstraint
        One of the groups must hold; a group holds if all in it do. None is empty.

    Raises
    ------
    ConstraintError
        If there is no group, or an empty one.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> selector, predicate = {"attribute_name": "rack"}, {"text_equals": {"value": "r1"}}
    >>> group = {"attribute_constraints": [{"selector": selector, "predicate": predicate}]}
    >>> constraints = RoleConstraints.from_json({"groups": [group]})
    >>> agent = SimpleNamespace(hostname="h", region=None, zone=None, attributes={"rack": "r1"})
    >>> constraints.admits(agent)
    True
    """

    groups: tuple[tuple[AttributeConstraint, ...], ...]

    def __post_init__(self) -> None:
        if not self.groups or not all(self.groups):
            raise ConstraintError("constraints have at least one group, and no empty one")

    def admits(self, agent: HasAttributes) -> bool:
        """Tell whether the agent may be offered. O(constraints)."""
        return any(all(item.holds(agent) for item in group) for group in self.groups)

    def to_json(self) -> Json:
        """Return the v1 JSON object. O(constraints)."""
        return {
            "groups": [
                {"attribute_constraints": [item.to_json() for item in group]}
                for group in self.groups
            ]
        }

    @classmethod
    def from_json(cls, constraints: object) -> RoleConstraints:
        """Return the constraints of a v1 JSON object; raises `ConstraintError`. O(size)."""
        body = _object("the constraints of a role", constraints, ("groups",))
        return cls(
            tuple(
                tuple(map(AttributeConstraint.from_json, _list(group, "attribute_constraints")))
                for group in _list(body, "groups")
            )
        )


def read_constraints(constraints: object) -> dict[str, RoleConstraints]:
    """Return the constraints by role of v1 `OfferConstraints` JSON.

    Parameters
    ----------
    constraints : mapping or None
        `{"role_constraints": {role: {"groups": […]}}}`, or the inner mapping alone.

    Returns
    -------
    dict
        Role path → constraints; a role that is not in it has none.

    Raises
    ------
    InvalidRole
    ConstraintError
        If they are malformed, have an unknown selector or predicate, an empty group, or a regular
        expression that cannot be used. O(size).
    """
    if constraints is None:
        return {}
    by_role = _object("offer constraints", constraints)
    if "role_constraints" in by_role:
        by_role = _object("offer constraints", by_role, ("role_constraints",))
        by_role = _object("'role_constraints'", by_role["role_constraints"] or {})
    found = {}
    for role, groups in by_role.items():
        validate_role(role)
        try:
            found[role] = RoleConstraints.from_json(groups)
        except ConstraintError as error:
            raise ConstraintError(f"constraints of role {shown(role)}: {error}") from None
    return found


def constraints_to_json(constraints: Mapping[str, RoleConstraints]) -> Json:
    """Return v1 `OfferConstraints` JSON, which `read_constraints` reads. O(constraints)."""
    return {"role_constraints": {role: constraints[role].to_json() for role in sorted(constraints)}}


def _compiled(regex: str | None) -> Any:
    """Return a regular expression that RE2 matches in time linear in the length of the text."""
    try:
        import re2
    except ImportError:
        raise ConstraintError(
            f"regex {shown(regex)} needs the package google-re2:"
            " pip install 'drf-allocator[constraints]'"
        ) from None
    options = re2.Options()
    options.max_mem = MAX_REGEX_MEMORY
    options.log_errors = False
    try:
        compiled = re2.compile(regex, options)
    except (re2.error, UnicodeEncodeError) as error:
        raise ConstraintError(
            f"regex {shown(regex)} cannot be used: {cut(_reason(error))}"
        ) from None
    if compiled.programsize > MAX_REGEX_PROGRAM_SIZE:
        raise ConstraintError(
            f"regex {shown(regex)} is too complex: its program size of {compiled.programsize}"
            f" exceeds {MAX_REGEX_PROGRAM_SIZE}"
        )
    return compiled


def _reason(error: Exception) -> str:
    """Return what RE2 found wrong, which it says in bytes."""
    said = error.args[0] if error.args else ""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(error)


def _selector_field(is_pseudo: bool) -> str:
    return "pseudoattribute_type" if is_pseudo else "attribute_name"


def _object(what: str, value: object, fields: tuple[str, ...] | None = None) -> Mapping[str, Any]:
    """Return a JSON object, which has no other fields than these if they are given."""
    if not isinstance(value, Mapping):
        raise ConstraintError(f"{what} must be an object, not {shown(value)}")
    if fields is not None:
        for name in value:
            if name not in fields:
                known = ", ".join(fields) or "nothing"
                raise ConstraintError(f"{what} has {known}, not {shown(name)}")
    return value


def _only(what: str, value: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the one field of a JSON object that is set."""
    given = [item for item in value.items() if item[1] is not None]
    if len(given) != 1:
        raise ConstraintError(f"{what} has exactly one field set: {shown(dict(value))}")
    return given[0]


def _list(parent: object, name: str) -> list[Any] | tuple[Any, ...]:
    value = _object(f"what holds {name!r}", parent, (name,)).get(name)
    if value is not None and not isinstance(value, list | tuple):
        raise ConstraintError(f"{name!r} must be a list, not {shown(value)}")
    return value or ()
