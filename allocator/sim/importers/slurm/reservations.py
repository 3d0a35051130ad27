"""Slurm's reservations: machines that are kept for maintenance, or for one account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from allocator.sim.importers.slurm.accounts import Accounts
from allocator.sim.importers.slurm.hostlist import hosts
from allocator.sim.importers.slurm.words import Json, count, text_of
from allocator.sim.importers.source import Outage, Path, Source

#: Flags of reservations that come again.
_REPEATING = frozenset(("HOURLY", "DAILY", "WEEKDAY", "WEEKEND", "WEEKLY"))


@dataclass(slots=True)
class Reservation:
    """A reservation.

    Parameters
    ----------
    name : str
    nodes : str
        A list of hosts.
    accounts, users : str
        Who may use it, between commas; where both are given, who is in both.
    is_maintenance : bool
    is_active : bool
        Whether it holds at the time of the dump.
    is_partial : bool
        Whether it has only some cores of its machines.
    away_s : tuple of float or None
        When it begins, in seconds from the dump on, and for how long it holds, of one that is yet
        to come, once, where the dump says when it was taken.
    """

    name: str
    nodes: str
    accounts: str
    users: str
    is_maintenance: bool
    is_active: bool = True
    is_partial: bool = False
    away_s: tuple[float, float] | None = None


def json_reservation(one: Json, now: Fraction | None) -> Reservation:
    """Return a reservation of slurmrestd, at the time of its dump. Raises `InvalidValue`."""
    start, end = count(one.get("start_time")), count(one.get("end_time"))
    given = one.get("flags")
    flags = given if isinstance(given, list) else []
    is_once = not any(str(flag) in _REPEATING for flag in flags)
    away_s = None
    if now is not None and start is not None and end is not None and now < start < end and is_once:
        away_s = float(start - now), float(end - start)
    return Reservation(
        str(one.get("name")),
        text_of(one.get("node_list")),
        text_of(one.get("accounts")),
        text_of(one.get("users")),
        is_maintenance="MAINT" in flags,
        is_active=now is None or ((start is None or start <= now) and (end is None or now < end)),
        is_partial=bool(one.get("core_specializations")),
        away_s=away_s,
    )


def text_reservation(pairs: Mapping[str, str]) -> Reservation:
    """Return a reservation of `scontrol show reservation`. O(1)."""
    return Reservation(
        pairs["reservationname"],
        text_of(pairs.get("nodes")),
        text_of(pairs.get("accounts")),
        text_of(pairs.get("users")),
        is_maintenance="MAINT" in pairs.get("flags", "").split(","),
        is_active=pairs.get("state", "ACTIVE") == "ACTIVE",
        is_partial="coreids" in pairs,
    )


def reserve(one: Reservation, accounts: Accounts, source: Source) -> None:
    """Drain the machines of a reservation, or hold them for the role that it is for.

    What is not exact is counted. Raises `InvalidValue`. O(machines).
    """
    path = () if one.is_maintenance else _whose(one, accounts)
    if one.is_maintenance and one.away_s and not one.is_partial:
        _plan(one, *one.away_s, source)
    elif not one.is_active:
        source.lacks("reservations that do not hold yet, or not any more", one.name)
    elif one.is_partial:
        source.lacks("reservations of some cores of machines", one.name)
    elif one.is_maintenance:
        _drain(one, source)
    elif not path:
        source.lacks("reservations for users, or for several accounts", one.name)
    else:
        _hold(one, path, source)


def _whose(one: Reservation, accounts: Accounts) -> Path:
    """Return the one role that a reservation is for; nothing if it is for no one role."""
    named = dict.fromkeys(filter(None, one.accounts.split(",")))
    users = dict.fromkeys(filter(None, one.users.split(",")))
    if len(named) != 1 or len(users) > 1:
        return ()
    account, user = next(iter(named)), next(iter(users), "")
    if account.startswith("-") or user.startswith("-"):
        return ()
    return accounts.role(account, user) if user else accounts.path(account)


def _drain(one: Reservation, source: Source) -> None:
    for name in hosts(one.nodes):
        node = source.nodes.get(name)
        if node is not None and not node.state:
            node.state, node.stays = f"MAINT ({one.name})", True


def _plan(one: Reservation, start_s: float, duration_s: float, source: Source) -> None:
    """Have the machines of maintenance that is yet to come go and be back."""
    planned = {id for outage in source.outages for id in outage.machines}
    known = [name for name in hosts(one.nodes) if name in source.nodes]
    for name in filter(planned.__contains__, known):
        source.lacks("machines of more than one maintenance, of which the first counts", name)
    machines = tuple(name for name in known if name not in planned)
    if machines:
        source.outages.append(Outage(machines, start_s, duration_s))
        text = "maintenance that is yet to come: machines go and are back at these times"
        source.tell("maintenance", text, one.name)


def _hold(one: Reservation, path: Path, source: Source) -> None:
    found = False
    for name in hosts(one.nodes):
        node = source.nodes.get(name)
        if node is None:
            continue
        found = True
        if node.reserved:
            text = "machines in more than one reservation, of which the first counts"
            source.lacks(text, name)
        else:
            node.reserved = {path: dict(node.amounts)}
    if found:
        text = "reservations for one account: machines reserved for its role"
        source.tell("reservations", text, one.name)
    else:
        source.lacks("reservations without a machine that is listed", one.name)
