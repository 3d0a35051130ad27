"""Slurm's tree of accounts and users, with shares and limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from allocator.errors import InvalidValue, shown
from allocator.sim.importers.amounts import Amounts, number
from allocator.sim.importers.slurm.words import Json, count, limits
from allocator.sim.importers.source import Path, Queue, Source

#: In JSON, the share that means the account's own.
_PARENT = 2147483647
_ROOT = "root"


@dataclass(slots=True)
class Association:
    """An account, or a user in one.

    Parameters
    ----------
    account, user, parent : str
        The user is empty for an account; the parent is the account above.
    shares : Fraction or None
    is_parents : bool
        The user holds no share, but has part in the account's.
    limit : dict
        What may be in use at once.
    others : tuple of str
        Names of limits of other kinds.
    qos : tuple of str
        Those that its jobs may have; none: those of the account above.
    """

    account: str
    user: str
    parent: str
    shares: Fraction | None = None
    is_parents: bool = False
    limit: Amounts = field(default_factory=dict)
    others: tuple[str, ...] = ()
    qos: tuple[str, ...] = ()


class Runner(NamedTuple):
    """Whoever runs jobs: the role, and all QOS that they may have; none if that is not known."""

    path: Path
    qos: tuple[str, ...]


class Accounts:
    """Collects associations, and knows whose role is which."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._accounts: dict[str, Association] = {}
        self._users: dict[tuple[str, str], Association] = {}

    def __len__(self) -> int:
        return len(self._accounts) + len(self._users)

    def add(self, one: Association) -> None:
        """Take an association; one that is there already must be the same."""
        known: Association
        if one.user:
            known = self._users.setdefault((one.account, one.user), one)
        else:
            known = self._accounts.setdefault(one.account, one)
        if known is not one:
            if known.parent in ("", one.parent) or not one.parent:
                known.parent = known.parent or one.parent
                known.limit = known.limit or one.limit
                known.others = known.others or one.others
                known.qos = tuple(dict.fromkeys((*known.qos, *one.qos)))
                known.shares = one.shares if known.shares is None else known.shares
                what = f"{one.account}/{one.user}" if one.user else one.account
                text = "associations given more than once, of which the first counts"
                self._source.tell("given twice", text, what)
            else:
                raise InvalidValue(
                    f"account {shown(one.account)} is below {shown(known.parent)} and below"
                    f" {shown(one.parent)}"
                )

    def finish(self) -> None:
        """Make roles of accounts and users. Raises `InvalidValue`."""
        for one in (*self._accounts.values(), *self._users.values()):
            for what in one.others:
                whose = "/".join(filter(None, (one.account, one.user)))
                self._source.lacks(f"{what} of associations", whose)
        for account, one in self._accounts.items():
            path = self.path(account)
            if path:
                self._add_queue(path, one)
            elif one.limit:
                self._source.lacks("GrpTRES of the whole cluster", account)
        for (account, user), one in self._users.items():
            if one.is_parents:
                text = "users with the shares of their account, who have no role of their own"
                self._source.tell("weights", text, f"{account}/{user}")
                if one.limit:
                    text = "GrpTRES of users who have no role of their own"
                    self._source.lacks(text, f"{account}/{user}")
            else:
                self._add_queue((*self.path(account), user), one)
        if len(self):
            text = "fair share by decayed past use: shares are weights of what is held now"
            self._source.lacks(text, n=len(self))

    def _add_queue(self, path: Path, one: Association) -> None:
        queue = self._source.queues.setdefault(path, Queue(path))
        queue.weight = one.shares
        queue.limit = dict(one.limit)
        if one.shares is not None:
            queue.words.append(f"shares {float(one.shares):g}")

    def path(self, account: str) -> Path:
        """Return the role of an account, the root's left out. Raises `InvalidValue`."""
        path: list[str] = []
        while account and account != _ROOT:
            if account in path:
                raise InvalidValue(f"account {shown(account)} is its own ancestor")
            path.append(account)
            known = self._accounts.get(account)
            account = known.parent if known else ""
        return tuple(reversed(path))

    def role(self, account: str, user: str) -> Path:
        """Return the role of a user in an account; nothing if it has none of its own. O(depth)."""
        known = self._users.get((account, user))
        return () if known is not None and known.is_parents else (*self.path(account), user)

    def runners(self) -> list[Runner]:
        """Return whoever runs jobs: users, or accounts with none below. O(users × depth)."""
        if self._users:
            return [
                Runner(
                    self.role(account, user) or self.path(account),
                    one.qos or self._qos_of(account),
                )
                for (account, user), one in self._users.items()
            ]
        above = {one.parent for one in self._accounts.values()}
        leaves = [name for name in self._accounts if name not in above]
        return [Runner(self.path(name), self._qos_of(name)) for name in leaves]

    def _qos_of(self, account: str) -> tuple[str, ...]:
        """Return the QOS of an account, or of the nearest one above that says. O(depth)."""
        known = self._accounts.get(account)
        while known is not None and not known.qos:
            known = self._accounts.get(known.parent) if known.account != _ROOT else None
        return () if known is None else known.qos

    def client(self, account: str, user: str) -> tuple[Path, str]:
        """Return the role and framework of a user in an account. O(depth)."""
        framework = "/".join(part for part in (account, user) if part) or "unknown"
        path = self.path(account)
        known = self._users.get((account, user))
        if known is not None and known.is_parents:
            return path or (user,), framework
        if known is None and len(self):
            text = "users of jobs who are not in the associations: roles of weight 1"
            self._source.tell("roles", text, framework)
        whole = (*path, *((user,) if user else ()))
        return whole or ("unknown",), framework


# Forms.


def json_associations(value: Json) -> Iterator[Association]:
    """Yield the associations of slurmrestd and `sacctmgr --json`."""
    for one in value.get("associations") or []:
        shares = count(one.get("shares_raw"))
        maxima = ((one.get("max") or {}).get("tres") or {}).get("group") or {}
        yield Association(
            str(one.get("account") or ""),
            str(one.get("user") or ""),
            str(one.get("parent_account") or ""),
            None if shares == _PARENT else shares,
            is_parents=shares == _PARENT,
            limit=listed_limits(maxima.get("active")),
            others=tuple(_other_limits(one.get("max"), ("max",))),
            qos=tuple(str(name) for name in one.get("qos") or ()),
        )


def listed_limits(value: Any) -> Amounts:
    """Return limits listed as type, name and count."""
    texts = []
    for one in value if isinstance(value, list) else []:
        amount = count(one.get("count"))
        if amount is not None:
            name = one.get("type") + (f"/{one['name']}" if one.get("name") else "")
            texts.append(f"{name}={amount}{'M' if one.get('type') == 'mem' else ''}")
    return limits(",".join(texts))


def _other_limits(value: Any, path: Path) -> Iterator[str]:
    """Yield the names of limits that are set, but for those of what may be in use at once."""
    if isinstance(value, Mapping) and "set" not in value:
        for key, inner in value.items():
            if (*path, key) != ("max", "tres", "group", "active"):
                yield from _other_limits(inner, (*path, str(key)))
    elif bool(value) if isinstance(value, list) else count(value) is not None:
        yield ".".join(path)


def names_of(text: str) -> tuple[str, ...]:
    """Return the names of a list between commas. O(length)."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def json_shares(value: Json) -> Iterator[Association]:
    """Yield the associations of `sshare --json`."""
    for one in value.get("shares") or []:
        kinds = one.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        name, parent = str(one.get("name") or ""), str(one.get("parent") or "")
        shares = count(one.get("shares"))
        is_parents = shares == _PARENT
        if "USER" in kinds:
            yield Association(parent, name, "", None if is_parents else shares, is_parents)
        else:
            yield Association(name, "", parent, None if is_parents else shares)


#: Columns of limits that are not modelled, in lower case -> as Slurm writes them.
_OTHERS = {
    word.lower(): word
    for word in (
        *("GrpTRESMins", "GrpTRESRunMins", "GrpJobs", "GrpJobsAccrue", "GrpSubmit"),
        *("GrpSubmitJobs", "GrpWall", "GrpNodes", "MaxTRES", "MaxTRESPerJob", "MaxTRESPerNode"),
        *("MaxTRESMins",),
        *("MaxTRESMinsPerJob", "MaxTRESRunMins", "MaxJobs", "MaxJobsAccrue", "MaxSubmit"),
        *("MaxSubmitJobs", "MaxWall", "MaxWallDurationPerJob", "MaxNodes", "MaxCPUs", "MaxCPUMins"),
    )
}

#: The columns of `sshare -P`, where no line names them.
SSHARE_COLUMNS = (
    *("account", "user", "rawshares", "normshares", "rawusage"),
    *("normusage", "fairshare"),
)


def looks_like_sshare(row: list[str]) -> bool:
    """Tell whether a row without a header is one of `sshare -P`. O(1)."""
    return (
        len(row) == len(SSHARE_COLUMNS)
        and bool(row[0].strip())
        and (row[2] in ("", "parent") or row[2].isdigit())
        and _is_number(row[3])
    )


def _is_number(text: str) -> bool:
    try:
        number(text or "0")
    except InvalidValue:
        return False
    return True


def rows_of(rows: Iterable[Mapping[str, str]]) -> Iterator[Association]:
    """Yield the associations of `sshare -P` and of `sacctmgr -P show associations`.

    The tree stands in leading blanks, or in a column of parents.
    """
    above: list[tuple[int, str]] = []
    for row in rows:
        text = row.get("account", "")
        depth = len(text) - len(text.lstrip())
        account, user = text.strip(), row.get("user", "").strip()
        shares = (row.get("rawshares") or row.get("share") or "").strip()
        is_parents = shares == "parent"
        weight = number(shares) if shares and not is_parents else None
        limit = limits(row.get("grptres", "").strip())
        qos = names_of(row.get("qos", ""))
        others = tuple(word for key, word in _OTHERS.items() if row.get(key, "").strip())
        if user:
            yield Association(account, user, "", weight, is_parents, limit, others, qos)
            continue
        while above and above[-1][0] >= depth:
            above.pop()
        parent = (row.get("parentname") or row.get("par name") or "").strip()
        parent = parent or (above[-1][1] if above else "")
        above.append((depth, account))
        yield Association(account, "", parent, weight, limit=limit, others=others, qos=qos)
