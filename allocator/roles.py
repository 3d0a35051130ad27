"""Role paths: `eng/prod/web` is a path of names, `*` the default role."""

from collections.abc import Iterator

from allocator.errors import InvalidRole, shown

#: The default role. It has no ancestors and no descendants.
DEFAULT_ROLE = "*"

#: The longest path: everything that goes up or down the tree of roles is bounded by this.
MAX_PARTS = 128

_BACKSPACES = ("\x08", "\x7f")


def validate_role(role: object) -> str:
    """Return `role` if it is a well-formed role path.

    Each name in the path must be a valid directory name: not empty, not `.` or `..`, without a
    leading `-`, slash, NUL, backspace (U+0008, U+007F) or white space; `*` only as the whole role.
    A path has at most 128 names.

    Raises
    ------
    InvalidRole
        Naming the role and what is wrong with it. O(length of the path).

    Examples
    --------
    >>> validate_role("eng/prod")
    'eng/prod'
    >>> validate_role("eng//prod")
    Traceback (most recent call last):
    allocator.errors.InvalidRole: role 'eng//prod': a name in the path is empty
    """
    if not isinstance(role, str):
        raise InvalidRole(f"role {shown(role)}: a role is text, not {type(role).__name__}")
    if role == DEFAULT_ROLE:
        return DEFAULT_ROLE
    names = role.split("/", MAX_PARTS)
    if len(names) > MAX_PARTS:
        raise InvalidRole(f"role {shown(role)}: a path has at most {MAX_PARTS} names")
    for name in names:
        reason = _name_defect(name)
        if reason:
            raise InvalidRole(f"role {shown(role)}: {reason}")
    return str.__str__(role)  # of a subclass, its text


def _name_defect(name: str) -> str | None:
    if not name:
        return "a name in the path is empty"
    if name in (".", ".."):
        return f"a name in the path is {shown(name)}"
    if name.startswith("-"):
        return f"the name {shown(name)} starts with '-'"
    if name == DEFAULT_ROLE:
        return "'*' stands only as the whole role"
    if "\0" in name:
        return "it contains NUL"
    if any(char in name for char in _BACKSPACES):
        return "it contains a backspace"
    if any(char.isspace() for char in name):
        return "it contains white space"
    return None


def parent_of(role: str) -> str | None:
    """Return the path one level up, or None for a top-level role. O(length of the path)."""
    head, slash, _ = role.rpartition("/")
    return head if slash else None


def ancestry(role: str) -> Iterator[str]:
    """Yield `role` and then each ancestor, innermost first. O(depth × length of the path).

    Examples
    --------
    >>> list(ancestry("eng/prod/web"))
    ['eng/prod/web', 'eng/prod', 'eng']
    """
    path: str | None = role
    while path is not None:
        yield path
        path = parent_of(path)


def is_at_or_below(role: str, ancestor: str) -> bool:
    """Tell whether `role` is `ancestor` or lies below it. O(length of the path)."""
    return role == ancestor or role.startswith(ancestor + "/")
