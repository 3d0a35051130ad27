"""Who may do what: rules of Mesos' form, the first that matches decides.

`{"permissive": false, ACTION: [{"principals": E, OBJECT: E}, …], …}` where E is
`{"values": […]}` or `{"type": "ANY"|"NONE"}`. `eng/%` among the values stands for all roles below
`eng`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from allocator.errors import InvalidValue

#: Action → what it is done to, as the rules name it.
ACTIONS: Final[Mapping[str, str]] = {
    "register_frameworks": "roles",
    "update_weights": "roles",
    "update_quotas": "roles",
    "reserve_resources": "roles",
    "teardown_frameworks": "framework_principals",
    "register_agents": "agents",
    "update_maintenance_schedules": "machines",
    "mark_agents_gone": "agents",
    "get_endpoints": "paths",
}

_BELOW: Final = "/%"

#: What something is called: a name, several of which a rule may give any, or None for nobody in
#: particular.
Names: TypeAlias = str | tuple[str, ...] | None


class Entities(NamedTuple):
    """Some names: `values`, or all if that is None; `denied` where the rule says NONE."""

    values: tuple[str, ...] | None
    denied: bool = False

    def match(self, names: Names) -> bool:
        """Tell whether a name is one of these; nobody in particular (None) only if all are."""
        if self.values is None:
            return True
        if names is None:
            return False
        called = (names,) if isinstance(names, str) else names
        return any(_matches(value, name) for value in self.values for name in called)


class Rule(NamedTuple):
    """One line of an action's list."""

    principals: Entities
    objects: Entities


def _matches(value: str, name: str) -> bool:
    if value.endswith(_BELOW):
        return name.startswith(value[:-1]) and len(name) > len(value) - 1
    return value == name


class Acls:
    """The rules; without any, everybody may do everything.

    Parameters
    ----------
    rules : mapping
        Action → its rules, in order.
    permissive : bool
        What holds where no rule matches.
    """

    def __init__(
        self, rules: Mapping[str, tuple[Rule, ...]] | None = None, permissive: bool = True
    ) -> None:
        self._rules = dict(rules or {})
        self._permissive = permissive

    @classmethod
    def read(cls, path: str | Path) -> Acls:
        """Read a file of rules.

        Raises
        ------
        OSError
            It cannot be read.
        InvalidValue
            Malformed, or an action or key that there is not.
        """
        try:
            content = msgspec.json.decode(Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf"))
            return cls.from_json(content)
        except (msgspec.DecodeError, UnicodeDecodeError, InvalidValue) as error:
            raise InvalidValue(f"{path}: {error}") from None

    @classmethod
    def from_json(cls, content: Any) -> Acls:
        """Return the rules that JSON says; raises `InvalidValue`."""
        if not isinstance(content, dict):
            raise InvalidValue("ACLs are an object of actions")
        permissive = content.get("permissive", True)
        if not isinstance(permissive, bool):
            raise InvalidValue(f"permissive is true or false, not {permissive!r}")
        rules = {}
        for action, given in content.items():
            if action == "permissive":
                continue
            if action not in ACTIONS:
                known = ", ".join(ACTIONS)
                raise InvalidValue(f"there is no action {action!r}; there are {known}")
            if not isinstance(given, list):
                raise InvalidValue(f"{action} is a list of rules, not {given!r}")
            rules[action] = tuple(_read_rule(action, rule) for rule in given)
        return cls(rules, permissive)

    def allow(self, principal: str | None, action: str, objects: Iterable[Names]) -> bool:
        """Tell whether a principal may do an action to all of these. O(rules × objects)."""
        return all(self._allows(principal, action, names) for names in objects)

    def _allows(self, principal: str | None, action: str, names: Names) -> bool:
        for rule in self._rules.get(action, ()):
            if rule.principals.match(principal) and rule.objects.match(names):
                return not (rule.principals.denied or rule.objects.denied)
        return self._permissive


def _read_rule(action: str, rule: Any) -> Rule:
    objects = ACTIONS[action]
    if not isinstance(rule, dict) or rule.keys() != {"principals", objects}:
        raise InvalidValue(f'a rule of {action} is {{"principals": …, "{objects}": …}}')
    return Rule(*(_read_entities(action, key, rule[key]) for key in ("principals", objects)))


def _read_entities(action: str, key: str, given: Any) -> Entities:
    if isinstance(given, dict) and given.keys() == {"type"}:
        if given["type"] == "ANY":
            return Entities(None)
        if given["type"] == "NONE":
            return Entities(None, denied=True)
    if isinstance(given, dict) and given.keys() == {"values"}:
        values = given["values"]
        if isinstance(values, list) and all(isinstance(value, str) for value in values):
            return Entities(tuple(values))
    raise InvalidValue(
        f'{key} in a rule of {action} is {{"values": […]}} or {{"type": "ANY"|"NONE"}}'
    )
