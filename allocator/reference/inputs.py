"""Reading what callers pass in: all of it is checked before anything changes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from numbers import Real
from typing import Any

import numpy as np

from allocator.contract import DEFAULT_REFUSE_SECONDS
from allocator.errors import (
    ConstraintError,
    DuplicateAgent,
    DuplicateFramework,
    InvalidValue,
    cut,
    shown,
)
from allocator.reference.state import Constraint, Constraints, Minimum, Quota
from allocator.resources import Quantities, QuantitiesLike, Resources, read_limits
from allocator.resources.reader import is_v1
from allocator.roles import validate_role

FRAMEWORK_CAPABILITIES = frozenset(
    [
        "GPU_RESOURCES",
        "MULTI_ROLE",
        "PARTITION_AWARE",
        "REGION_AWARE",
        "RESERVATION_REFINEMENT",
        "REVOCABLE_RESOURCES",
        "SHARED_RESOURCES",
        "TASK_KILLING_STATE",
    ]
)
AGENT_CAPABILITIES = frozenset(
    [
        "AGENT_OPERATION_FEEDBACK",
        "HIERARCHICAL_ROLE",
        "MULTI_ROLE",
        "RESERVATION_REFINEMENT",
        "RESIZE_VOLUME",
        "RESOURCE_PROVIDER",
        "TASK_RESOURCE_LIMITS",
    ]
)
_MAX_REFUSE_SECONDS = 365 * 86400.0

_PREDICATES = {
    "exists": None,
    "not_exists": None,
    "text_equals": "value",
    "text_not_equals": "value",
    "text_matches": "regex",
    "text_not_matches": "regex",
}


def id_of(kind: str, value: object) -> str:
    """Return an id, which is non-empty text."""
    if not isinstance(value, str) or not value:
        raise InvalidValue(f"{kind} id {shown(value)}: an id is non-empty text")
    return value


def name(what: str, value: object) -> str | None:
    """Return text or None."""
    if value is not None and not isinstance(value, str):
        raise InvalidValue(f"{what} is text or None, not {shown(value)}")
    return value


def text(what: str, value: object) -> str:
    """Return text."""
    if not isinstance(value, str):
        raise InvalidValue(f"{what} is text, not {shown(value)}")
    return value


def number(what: str, value: object, at_least: float = 0.0) -> float:
    """Return a finite number that is not below `at_least`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidValue(f"{what} is a number, not {shown(value)}")
    try:
        read = float(value)
    except OverflowError:
        read = math.inf
    if not (math.isfinite(read) and read >= at_least):
        raise InvalidValue(f"{what} is finite and at least {at_least:g}, not {shown(value)}")
    return read


def count(what: str, value: object) -> int:
    """Return an integer from 0 to 2**62."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidValue(f"{what} is a non-negative integer, not {shown(value)}")
    if value > 2**62:
        raise InvalidValue(f"{what} is at most 2**62, not {shown(value)}")
    return value


def words(what: str, given: object) -> tuple[str, ...]:
    """Return distinct texts; a single text is refused rather than taken apart."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InvalidValue(f"{what} is a collection of texts, not {shown(given)}")
    found = tuple(given)
    for word in found:
        if not isinstance(word, str):
            raise InvalidValue(f"{what}: {shown(word)} is not text")
    return tuple(dict.fromkeys(found))


def sorter_options(given: object, sorters: list[str]) -> dict[str, float]:
    """Return options of sorters: only hierarchical fairness takes one."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidValue(f"sorter_options map names to values, not {shown(given)}")
    taken = ["saturation"] if {"hdrf", "naive-hdrf"} & set(sorters) else []
    for option in given:
        if option not in taken:
            raise InvalidValue(
                f"sorter_options: {shown(option)} is not among the options of"
                f" {' and '.join(dict.fromkeys(sorters))}: {', '.join(taken) or 'none'}"
            )
    return {option: _part(option, value) for option, value in given.items()}


def _part(what: str, given: object) -> float:
    """Return a part of a whole."""
    if isinstance(given, Real) and not isinstance(given, bool):
        with suppress(OverflowError):
            if 0.0 <= float(given) <= 1.0:
                return float(given)
    raise InvalidValue(f"{what} is a number from 0 to 1, not {shown(given)}")


def role_paths(given: object) -> tuple[str, ...]:
    """Return distinct role paths."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InvalidValue(f"roles is a collection of role paths, not {shown(given)}")
    return tuple(dict.fromkeys(validate_role(role) for role in given))


def capabilities(what: str, given: object, known: frozenset[str]) -> frozenset[str]:
    """Return capability names, all of them known."""
    found = frozenset(words(f"{what} capabilities", given))
    for name in sorted(found - known):
        raise InvalidValue(f"{what} capability {shown(name)} is not known")
    return found


def used_by(given: object) -> list[tuple[str, str, Resources]]:
    """Return (framework or agent, role, resources) of what is in use."""
    if given is None:
        return []
    if not isinstance(given, Mapping):
        raise InvalidValue(f"used maps ids to roles to resources; it is {shown(given)}")
    found = []
    for id, by_role in given.items():
        id_of("user", id)
        if not isinstance(by_role, Mapping):
            raise InvalidValue(f"used: {shown(id)} maps roles to resources, not {shown(by_role)}")
        for role, resources in by_role.items():
            found.append((id, validate_role(role), Resources(resources)))
    return [each for each in found if each[2]]


def ids(kind: str, given: object) -> list[str]:
    """Return ids."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InvalidValue(f"{kind} ids are a sequence of texts, not {shown(given)}")
    return [id_of(kind, id) for id in given]


def new_ids(kind: str, given: object, known: Iterable[str]) -> list[str]:
    """Return distinct ids, none of which is known already."""
    found = ids(kind, given)
    duplicate = DuplicateAgent if kind == "agent" else DuplicateFramework
    for id in found:
        if id in known or found.count(id) > 1:
            raise duplicate(f"{kind} {shown(id)} is there already, or twice")
    return found


def each(given: Any, n: int) -> list[Resources]:
    """Return n resources: one for all, n of them, or a mapping with columns."""
    if (
        isinstance(given, (list, tuple))
        and given
        and all(isinstance(r, (str, Resources)) for r in given)
    ):
        return [Resources(each) for each in _as_long(given, n)]
    if isinstance(given, Mapping) and not is_v1(given):
        columns = {name: _as_long(value, n) for name, value in given.items() if _is_column(value)}
        if columns:
            Resources({**given, **dict.fromkeys(columns, 0)})
        return [
            Resources({**given, **{name: column[i] for name, column in columns.items()}})
            for i in range(n)
        ]
    return [Resources(given)] * n


def _is_column(value: object) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _as_long(given: Any, n: int) -> Any:
    if len(given) != n or getattr(given, "ndim", 1) != 1:
        raise InvalidValue(f"{shown(given)} is not a sequence of {n}")
    return given


def each_used(given: object, n: int) -> list[dict[str, dict[str, Resources]]]:
    """Return framework → role → resources of each of n agents."""
    if given is None:
        return [{}] * n
    if not isinstance(given, Mapping) or given.keys() != {"framework", "role", "resources"}:
        raise InvalidValue(f"used says a framework, a role and resources, not {shown(given)}")
    frameworks = _each_text(given["framework"], n)
    roles = _each_text(given["role"], n)
    for role in roles:
        validate_role(role)
    for framework in frameworks:
        id_of("framework", framework)
    used = zip(frameworks, roles, each(given["resources"], n), strict=True)
    return [{framework: {role: resources}} for framework, role, resources in used]


def _each_text(given: Any, n: int) -> Any:
    if isinstance(given, str):
        return [given] * n
    if not isinstance(given, Iterable):
        raise InvalidValue(f"{shown(given)} is no text, nor a sequence of texts")
    return _as_long(list(given), n)


def each_attributes(given: object, n: int) -> list[object]:
    """Return the attributes of each of n agents."""
    return list(_as_long(given, n)) if isinstance(given, (list, tuple)) else [given] * n


def each_roles(given: Any, n: int) -> list[tuple[str, ...]]:
    """Return the roles of each of n frameworks."""
    listed = isinstance(given, (list, tuple)) and given
    if listed and all(isinstance(roles, (list, tuple)) for roles in given):
        return [role_paths(roles) for roles in _as_long(given, n)]
    return [role_paths(given)] * n


def weights(given: object) -> dict[str, float]:
    """Return role → weight."""
    if not isinstance(given, Mapping):
        raise InvalidValue(f"weights map roles to numbers, not {shown(given)}")
    return {validate_role(role): weight(role, value) for role, value in given.items()}


def weight(role: str, value: object) -> float:
    """Return a weight: a number from 1e-9 to 1e9."""
    found = number(f"the weight of {shown(role)}", value, at_least=1e-9)
    if found > 1e9:
        raise InvalidValue(f"the weight of {shown(role)} is at most 1e9, not {shown(value)}")
    return found


def minimum(given: object) -> Minimum | dict[str, Minimum] | None:
    """Return a least amount: none given, a list of alternatives, or one list by role."""
    if given is None:
        return None
    if isinstance(given, Mapping):
        return {validate_role(role): alternatives(listed) for role, listed in given.items()}
    return alternatives(given)


def alternatives(given: object) -> Minimum:
    """Return a list of quantities."""
    if isinstance(given, (str, Mapping)) or not isinstance(given, Iterable):
        raise InvalidValue(f"min_allocatable is a list of quantities, not {shown(given)}")
    return tuple(Quantities(amounts) for amounts in given)


def quota(guarantee: QuantitiesLike | None, limit: QuantitiesLike | None) -> Quota:
    """Return a quota. In a limit, unlike in a guarantee, zero counts."""
    return Quota(
        {} if guarantee is None else dict(Quantities(guarantee).milli),
        {} if limit is None else read_limits(limit),
    )


def quotas(given: object) -> dict[str, Quota]:
    """Return role → quota from role → {"guarantee": …, "limit": …}."""
    if not isinstance(given, Mapping):
        raise InvalidValue(f"quotas map roles to guarantees and limits, not {shown(given)}")
    found = {}
    for role, body in given.items():
        validate_role(role)
        if not isinstance(body, Mapping) or not body.keys() <= {"guarantee", "limit"}:
            raise InvalidValue(
                f"the quota of {shown(role)} has a guarantee and a limit, not {shown(body)}"
            )
        found[role] = quota(body.get("guarantee"), body.get("limit"))
    return found


def refusal(refuse_seconds: object) -> float | None:
    """Return how long a refusal is asked to last, None for no filter (§6.6)."""
    if refuse_seconds is None:
        return None
    if isinstance(refuse_seconds, bool) or not isinstance(refuse_seconds, (int, float)):
        raise InvalidValue(
            f"refuse_seconds is a number of seconds or None, not {shown(refuse_seconds)}"
        )
    if refuse_seconds == 0:
        return None
    if math.isnan(refuse_seconds) or refuse_seconds < 0:
        return DEFAULT_REFUSE_SECONDS
    return float(min(refuse_seconds, _MAX_REFUSE_SECONDS))


def refusals(refuse_seconds: Any, n: int) -> list[float | None]:
    """Return how long each of n refusals is asked to last: one time for all, or n of them."""
    if _is_column(refuse_seconds):
        return [refusal(each) for each in _as_long(refuse_seconds, n)]
    return [refusal(refuse_seconds)] * n


def attributes(given: object) -> dict[str, object]:
    """Return attributes by name, from a mapping or a list of v1 JSON attributes.

    Text stands for a text attribute, everything else for one of another type.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        pairs = list(given.items())
    elif isinstance(given, (list, tuple)):
        pairs = [_attribute(body) for body in given]
    else:
        raise InvalidValue(f"attributes are a mapping of name to value, not {shown(given)}")
    for name, _ in pairs:
        if not isinstance(name, str) or not name:
            raise InvalidValue(f"attribute name {shown(name)}: a name is non-empty text")
    return dict(pairs)


def _attribute(body: object) -> tuple[object, object]:
    if isinstance(body, Mapping) and "name" in body:
        for kind in ("text", "scalar", "ranges", "set"):
            value = body.get(kind)
            if isinstance(value, Mapping):
                return body["name"], value.get("value", dict(value))
    raise InvalidValue(f"attribute {shown(body)} has no name or no value")


def constraints(given: object) -> Constraints:
    """Return v1 `OfferConstraints`, with or without its outer `role_constraints`, by role."""
    if given is None:
        return {}
    by_role = _message("constraints", given)
    if by_role.keys() == {"role_constraints"}:
        by_role = _message("role_constraints", by_role["role_constraints"])
    return {validate_role(role): tuple(_groups(role, body)) for role, body in by_role.items()}


def _groups(role: str, body: object) -> Iterator[tuple[Constraint, ...]]:
    where = f"constraints of role {shown(role)}"
    for group in _listed(where, body, "groups"):
        yield tuple(_constraint(where, c) for c in _listed(where, group, "attribute_constraints"))


def _constraint(where: str, body: object) -> Constraint:
    constraint = _message(where, body)
    selector = _message(where, constraint.get("selector"))
    if len(selector) != 1:
        raise ConstraintError(f"{where}: a selector names one attribute, not {shown(selector)}")
    ((kind, name),) = selector.items()
    pseudo = kind == "pseudoattribute_type"
    if not isinstance(name, str) or kind not in ("pseudoattribute_type", "attribute_name"):
        raise ConstraintError(f"{where}: {shown(selector)} selects no attribute")
    if pseudo and name not in ("HOSTNAME", "REGION", "ZONE"):
        raise ConstraintError(f"{where}: {shown(name)} is not HOSTNAME, REGION or ZONE")
    return Constraint(pseudo, name, *_predicate(where, constraint.get("predicate")))


def _predicate(where: str, body: object) -> tuple[str, str]:
    predicate = _message(where, body)
    if len(predicate) != 1 or not predicate.keys() <= _PREDICATES.keys():
        raise ConstraintError(f"{where}: {shown(predicate)} is not one known predicate")
    ((kind, arguments),) = predicate.items()
    operand = _PREDICATES[kind]
    if operand is None:
        return kind, ""
    text = _message(where, arguments).get(operand)
    if not isinstance(text, str):
        raise ConstraintError(f"{where}: {kind} has a text {shown(operand)}, not {shown(text)}")
    if operand == "regex":
        _check_regex(where, text)
    return kind, text


def _check_regex(where: str, regex: str) -> None:
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(regex, options)
    except re2.error as error:
        raise ConstraintError(
            f"{where}: {shown(regex)} is not an RE2 expression: {cut(error)}"
        ) from None


def _message(where: str, body: object) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise ConstraintError(f"{where}: {shown(body)} is not a JSON object")
    return body


def _listed(where: str, body: object, field: str) -> list[Any] | tuple[Any, ...]:
    listed = _message(where, body).get(field)
    if not isinstance(listed, (list, tuple)) or not listed:
        raise ConstraintError(
            f"{where}: {field!r} is a list that is not empty, not {shown(listed)}"
        )
    return listed
