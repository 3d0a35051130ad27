"""Reading what callers pass in: everything is checked here, before anything changes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from allocator.contract import MinimumLike
from allocator.engine.frameworks import Minimum
from allocator.errors import InvalidValue, UnknownRole, shown
from allocator.resources import Quantities, QuantitiesLike
from allocator.roles import validate_role
from allocator.sorter.base import MAX_WEIGHT, MIN_WEIGHT

#: Mesos' names of what frameworks and agents can do.
FRAMEWORK_CAPABILITIES = frozenset(
    {
        "GPU_RESOURCES",
        "MULTI_ROLE",
        "PARTITION_AWARE",
        "REGION_AWARE",
        "RESERVATION_REFINEMENT",
        "REVOCABLE_RESOURCES",
        "SHARED_RESOURCES",
        "TASK_KILLING_STATE",
    }
)
AGENT_CAPABILITIES = frozenset(
    {
        "AGENT_OPERATION_FEEDBACK",
        "HIERARCHICAL_ROLE",
        "MULTI_ROLE",
        "RESERVATION_REFINEMENT",
        "RESIZE_VOLUME",
        "RESOURCE_PROVIDER",
        "TASK_RESOURCE_LIMITS",
    }
)

#: No count is larger, so that what is counted on from there fits in an int64.
MAX_COUNT: Final = 2**62

#: Each set of capabilities that was read.
_CAPABILITY_SETS: dict[frozenset[str], frozenset[str]] = {}

#: What most agents have; shared, and never changed.
NO_ATTRIBUTES: Final[Mapping[str, object]] = MappingProxyType({})


def read_id(kind: str, value: object) -> str:
    """Return an agent's or framework's id; raises `InvalidValue` unless it is non-empty text."""
    if not isinstance(value, str) or not value:
        raise InvalidValue(f"{kind} id {shown(value)}: an id is non-empty text")
    return str.__str__(value)  # of a subclass, its text


def read_weight(role: str, value: object) -> float:
    """Return a role's weight; raises `InvalidValue` unless it is a number in its bounds."""
    what = f"the weight of role {shown(role)}"
    number = read_number(what, value, least=MIN_WEIGHT)
    if number > MAX_WEIGHT:
        raise InvalidValue(f"{what} is at most {MAX_WEIGHT:g}, not {shown(value)}")
    return number


def read_number(what: str, value: object, *, least: float, open_end: bool = False) -> float:
    """Return a finite number of at least `least`, or above it if `open_end`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidValue(f"{what} is a number, not {shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < least or (open_end and number == least):
        bound = "above" if open_end else "at least"
        raise InvalidValue(f"{what} is finite and {bound} {least:g}, not {shown(value)}")
    return number


def read_count(what: str, value: object) -> int:
    """Return an integer from 0 to `MAX_COUNT`; raises `InvalidValue` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidValue(f"{what} is a non-negative integer, not {shown(value)}")
    if value > MAX_COUNT:
        raise InvalidValue(f"{what} is at most 2**62, not {shown(value)}")
    return value


def read_flag(what: str, value: object) -> bool:
    """Return a truth value; raises `InvalidValue` for anything but True and False."""
    if not isinstance(value, bool):
        raise InvalidValue(f"{what} is True or False, not {shown(value)}")
    return value


def read_name(what: str, value: object) -> str | None:
    """Return text or None; raises `InvalidValue` for anything else."""
    if value is not None and not isinstance(value, str):
        raise InvalidValue(f"{what} is text or None, not {shown(value)}")
    return None if value is None else str.__str__(value)


def read_text(what: str, value: object) -> str:
    """Return text, which may be empty; raises `InvalidValue` for anything else."""
    if not isinstance(value, str):
        raise InvalidValue(f"{what} is text, not {shown(value)}")
    return str.__str__(value)  # of a subclass, its text


def read_words(what: str, words: Iterable[str]) -> tuple[str, ...]:
    """Return distinct texts in the order given; a single text is refused as a likely slip."""
    if isinstance(words, str) or not isinstance(words, Iterable):
        raise InvalidValue(f"{what} is a collection of texts, not {shown(words)}")
    found = tuple(words)
    for word in found:
        if not isinstance(word, str):
            raise InvalidValue(f"{what}: {shown(word)} is not text")
    return tuple(dict.fromkeys(found))


def read_whitelist(hostnames: Iterable[str] | None) -> frozenset[str] | None:
    """Return the hosts on a whitelist, None for all; raises `InvalidValue`."""
    return None if hostnames is None else frozenset(read_words("whitelist", hostnames))


def read_roles(roles: Iterable[str]) -> tuple[str, ...]:
    """Return distinct role paths in the order given; raises `InvalidRole`."""
    if isinstance(roles, str) or not isinstance(roles, Iterable):
        raise InvalidValue(f"roles is a collection of role paths, not {shown(roles)}")
    return tuple(dict.fromkeys(validate_role(role) for role in roles))


def read_suppressed(
    framework: str, suppressed: Iterable[str], subscribed: tuple[str, ...]
) -> tuple[str, ...]:
    """Return role paths, which must be among those subscribed to; raises `UnknownRole`."""
    quiet = read_roles(suppressed)
    for role in quiet:
        if role not in subscribed:
            raise UnknownRole(
                f"framework {shown(framework)} is not in role {shown(role)} to suppress it"
            )
    return quiet


def read_capabilities(what: str, names: Iterable[str], known: frozenset[str]) -> frozenset[str]:
    """Return a set of known capability names; raises `InvalidValue` naming an unknown one."""
    if isinstance(names, frozenset):
        kept = _CAPABILITY_SETS.get(names)
        if kept is not None and kept <= known:
            return kept
    given = frozenset(read_words(f"{what} capabilities", names))
    for name in sorted(given - known):
        raise InvalidValue(
            f"{what} capability {shown(name)} is not one of {', '.join(sorted(known))}"
        )
    # Equal sets are one object: there are many agents and frameworks, and few kinds of them.
    return _CAPABILITY_SETS.setdefault(given, given)


def read_minimum(given: MinimumLike) -> Minimum | dict[str, Minimum] | None:
    """Return a framework's `min_allocatable`: None, amounts, or amounts by role."""
    if given is None:
        return None
    if isinstance(given, Mapping):
        return {validate_role(role): _amounts(listed) for role, listed in given.items()}
    return _amounts(given)


def read_default_minimum(given: Iterable[QuantitiesLike] | None) -> Minimum:
    """Return the engine's own `min_allocatable`; None accepts anything."""
    return () if given is None else _amounts(given)


def _amounts(given: Iterable[QuantitiesLike]) -> Minimum:
    if isinstance(given, (str, Mapping)) or not isinstance(given, Iterable):
        raise InvalidValue(f"min_allocatable is a list of quantities, not {shown(given)}")
    return tuple(Quantities(amounts) for amounts in given)


def read_attributes(given: object) -> Mapping[str, object]:
    """Return attributes by name from a mapping, or from a list of v1 JSON attributes.

    A value is text, a number, or whatever else the v1 JSON of its type holds.
    """
    if given is None:
        return NO_ATTRIBUTES
    if isinstance(given, Mapping):
        items = list(given.items())
    elif isinstance(given, (list, tuple)):
        items = [_read_attribute(attribute) for attribute in given]
    else:
        raise InvalidValue(f"attributes are a mapping of name to value, not {shown(given)}")
    attributes: dict[str, object] = {}
    for name, value in items:
        if not isinstance(name, str) or not name:
            raise InvalidValue(f"attribute name {shown(name)}: a name is non-empty text")
        # Of several attributes of one name, constraints look at the first, as in Mesos.
        attributes.setdefault(name, value)
    return attributes


def _read_attribute(attribute: object) -> tuple[object, object]:
    if isinstance(attribute, Mapping) and "name" in attribute:
        for kind in ("text", "scalar", "ranges", "set"):
            body = attribute.get(kind)
            if isinstance(body, Mapping):
                return attribute["name"], body.get("value", dict(body))
    raise InvalidValue(f"attribute {shown(attribute)} has no name or no value")
