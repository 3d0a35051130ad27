"""Names of other systems as names of roles: what a role refuses is percent-encoded."""

from __future__ import annotations

from allocator.errors import InvalidRole, InvalidValue, shown
from allocator.roles import DEFAULT_ROLE, validate_role
from allocator.sim.importers.source import Path


class Names:
    """The roles that paths became; no two paths become one role."""

    def __init__(self) -> None:
        self._role_of: dict[Path, str] = {}
        self._path_of: dict[str, Path] = {}
        #: path as text -> role, of those that were encoded
        self.encoded: dict[str, str] = {}

    def role(self, path: Path) -> str:
        """Return the role of a path.

        Raises
        ------
        InvalidValue
            If another path became the same role, or the path is too deep. O(length).

        Examples
        --------
        >>> names = Names()
        >>> names.role(("eng", "a team")), names.role(("*",))
        ('eng/a%20team', '*')
        """
        known = self._role_of.get(path)
        if known is not None:
            return known
        role = DEFAULT_ROLE if path in ((), (DEFAULT_ROLE,)) else "/".join(map(encoded, path))
        try:
            validate_role(role)
        except InvalidRole as error:
            raise InvalidValue(str(error)) from None
        other = self._path_of.setdefault(role, path)
        if other != path and role != DEFAULT_ROLE:
            raise InvalidValue(
                f"{shown('/'.join(other))} and {shown('/'.join(path))}"
                f" would both become role {shown(role)}"
            )
        self._role_of[path] = role
        if role != "/".join(path) and path:
            self.encoded["/".join(path)] = role
        return role


def encoded(name: str) -> str:
    """Return a name that may stand in a role's path.

    Examples
    --------
    >>> [encoded(name) for name in ("a b", "-x", "*", "..", "a/b", "Storm!!!")]
    ['a%20b', '%2Dx', '%2A', '%2E%2E', 'a%2Fb', 'Storm!!!']
    """
    if name in ("", ".", "..", DEFAULT_ROLE):
        return "".join(map(_hex, name)) or "%00"
    text = "".join(
        _hex(c) if c.isspace() or c in "/\0\x08\x7f" or not c.isprintable() else c for c in name
    )
    return _hex("-") + text[1:] if text.startswith("-") else text


def _hex(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))
